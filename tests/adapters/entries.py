"""Commits for tests of the store."""


def write(entry, body=b"x", **meta):
    with entry.attempt() as attempt:
        (attempt.folder / "x").write_bytes(body)
        return attempt.commit(meta)
