"""A child that is killed at its nth event: an event is the moment before or after anything becomes durable."""

import os
import signal

from components.adapters.local_files import LocalFiles

EVENTS = ("publish", "create")


def killed_at(number, work, more=()):
    """Run `work` in a child that SIGKILLs itself at event `number`; whether it was hit.

    Events are the moments before and after LocalFiles.publish and LocalFiles.create (bytes made durable, a record or a
    pointer made), and before and after the functions `more`, each given as (class, name).
    """
    child = os.fork()
    if child == 0:
        code = 1
        try:
            arm(number, more)
            work()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def arm(number, more=()):
    """Let this process kill itself at event `number`."""
    seen = 0

    def event():
        nonlocal seen
        seen += 1
        if seen == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(whole):
        def counted(*arguments, **named):
            event()
            result = whole(*arguments, **named)
            event()
            return result

        return counted

    for owner, name in (*((LocalFiles, one) for one in EVENTS), *more):
        setattr(owner, name, around(getattr(owner, name)))
