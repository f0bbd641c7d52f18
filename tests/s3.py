"""A real S3 server for tests: moto behind a door that can kill, cut, refuse and hold back requests.

Requests pass one at a time, as if the bucket did one thing after another.
"""

import io
import itertools
import os
import signal
import socket
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field

ACCESS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
NUMBERS = itertools.count(1)
REFUSALS = {
    "503": (503, "SlowDown"),
    "429": (429, "TooManyRequests"),
    "403": (403, "AccessDenied"),
    "expired": (400, "ExpiredToken"),
}


@dataclass
class Door:
    """WSGI in front of moto. `rule(number, method, path)` says what becomes of each request.

    "pass" · "kill-before" and "kill-after" (the client dies; the request was not made, or was) · "cut-before" and
    "cut-after" (the connection ends without an answer) · "half" (it ends in the middle of the body, which the server
    sees) · "bytes n" (it ends behind n bytes of the answer's body) · "503", "429", "403" and "expired" (refused) ·
    "hang" (no answer for `hangs` seconds, then none) · "swap" (`swap` is called before the client has the answer).
    """

    app: object
    rule: object = None
    victim: int = 0
    hangs: float = 30.0
    swap: object = None
    log: list = field(default_factory=list)
    lock: object = field(default_factory=threading.Lock)

    def __call__(self, environ, start):
        with self.lock:
            what, answer = self._passed(environ, start)
        if what == "hang":
            threading.Event().wait(self.hangs)
            return self._cut(environ, start)
        if what == "swap":
            self.swap()
        return answer

    def _passed(self, environ, start):
        """What became of a request, and its answer."""
        length = int(environ.get("CONTENT_LENGTH") or 0)
        method, path, query = (environ[name] for name in ("REQUEST_METHOD", "PATH_INFO", "QUERY_STRING"))
        self.log.append((method, path, query, length))
        what = self.rule(len(self.log), method, path) if self.rule else "pass"
        if what == "kill-before":
            self._kill()
        if what in {"kill-before", "cut-before"}:
            return what, self._cut(environ, start)
        if what == "hang":
            return what, []
        if what in REFUSALS:
            environ["wsgi.input"].read(length)
            status, code = REFUSALS[what]
            body = f"<Error><Code>{code}</Code><Message>refused</Message></Error>".encode() * (method != "HEAD")
            start(f"{status} Refused", [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
            return what, [body]
        if what == "half":
            environ = {**environ, "wsgi.input": io.BytesIO(environ["wsgi.input"].read(length)[: length // 2])}
        answer = []

        def keep(status, headers, error=None):
            answer[:] = [status, headers]
            return lambda _: None

        body = b"".join(self.app(environ, keep))
        if what == "kill-after":
            self._kill()
        if what in {"kill-after", "cut-after", "half"}:
            return what, self._cut(environ, start)
        start(*answer)
        if what.startswith("bytes "):
            return what, self._some(environ, body, what)
        return what, [body]

    def _some(self, environ, body, what):
        """So many bytes of the answer, counted from its end where below zero, `mid` half of them."""
        count = what.removeprefix("bytes ")
        yield body[: len(body) // 2 if count == "mid" else int(count)]
        environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)

    def _kill(self):
        os.kill(self.victim, signal.SIGKILL)

    def _cut(self, environ, start):
        environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        start("500 Gone", [])
        return [b""]


class Server:
    """One server for the test run; every test takes a bucket of its own."""

    def __init__(self):
        from moto.server import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import WSGIRequestHandler, make_server

        class Quiet(WSGIRequestHandler):
            protocol_version = "HTTP/1.1"

            def log(self, *_):
                pass

        self.door = Door(DomainDispatcherApplication(create_backend_app))
        self._server = make_server("127.0.0.1", 0, self.door, threaded=True, request_handler=Quiet)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def environment(self):
        return {**ACCESS, "AWS_ENDPOINT_URL": self.address}

    def bucket(self):
        """A new bucket's address."""
        name = f"bucket-{next(NUMBERS)}"
        self.client().create_bucket(Bucket=name)
        return f"s3://{name}/store"

    def client(self):
        import boto3

        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
        return boto3.client("s3", endpoint_url=self.address, **keys)

    @contextmanager
    def ruled(self, rule, victim=0):
        """Requests inside the block are counted from 1 and pass by `rule`."""
        with self.door.lock:
            self.door.log, self.door.rule, self.door.victim = [], rule, victim
        try:
            yield self.door
        finally:
            with self.door.lock:
                self.door.rule = None

    def stop(self):
        self._server.shutdown()
