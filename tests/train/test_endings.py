"""How the kernel's count of processes that it ended for want of memory is found."""

import pytest

from components.train import endings

COUNTED = "low 0\nhigh 0\nmax 7\noom 2\noom_kill 2\noom_group_kill 0\n"
"""As Linux writes it: cgroup-v2.rst, memory.events; memory.oom_control of version 1 has `oom_kill` after two others."""


@pytest.mark.parametrize(
    ("member", "file", "text", "expected"),
    [
        ("0::/user.slice/run.scope\n", "user.slice/run.scope/memory.events", COUNTED, 2),
        ("0::/\n", "memory.events", COUNTED, 2),
        (
            "4:memory:/jobs/7\n0::/\n",
            "memory/jobs/7/memory.oom_control",
            "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n",
            5,
        ),
        ("4:memory:/jobs/7\n0::/\n", "memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n", 5),
        ("4:memory:/jobs/7\n", "memory/jobs/7/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\n", 0),
        (None, "memory.events", COUNTED, 2),
        ("0::/gone\n", "elsewhere", COUNTED, 0),
    ],
)
def test_where_the_kernel_counts(tmp_path, monkeypatch, member, file, text, expected):
    path = tmp_path / "group" / file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    if member is not None:
        (tmp_path / "member").write_text(member)
    monkeypatch.setattr(endings, "GROUPS", tmp_path / "group")
    monkeypatch.setattr(endings, "MEMBER", tmp_path / "member")
    assert endings.kills() == expected


def test_this_machine_has_a_count_or_none():
    before = endings.kills()
    assert before >= 0
    assert endings.kills() >= before
