"""Encoded sound by soundfile (libsndfile): WAV, FLAC, OGG and what else it reads."""

import io
from collections.abc import Iterator

from components.contracts.errors import EnvironmentFault

RIFF, DATA, OGG = b"RIFF", b"data", b"OggS"
LAST_PAGE = b"\x04"
"""The flag of an OGG stream's last page (RFC 3533)."""
UNKNOWN = 2**32 - 1
FRAMES = 2**18
"""Frames that are decoded at a time."""


def is_sound(body: bytes | None) -> bool:
    """Whether the bytes decode as sound, WAV, FLAC and OGG to their declared end; missing ones are no fault.

    Raises:
        EnvironmentFault: E_EXTRA_MISSING, soundfile is not installed.
    """
    if body is None:
        return True
    try:
        import soundfile
    except (ImportError, OSError) as error:
        raise EnvironmentFault(
            "E_EXTRA_MISSING",
            "soundfile is not installed",
            place="checks",
            action="install it: pip install -e '.[audio]'",
        ) from error
    # libsndfile takes a WAV or OGG file that was cut off for a shorter one.
    if body[:4] == RIFF and any(end > len(body) for end in _ends(body)):
        return False
    if body[:4] == OGG and not body[body.rfind(OGG) + 5 : body.rfind(OGG) + 6] >= LAST_PAGE:
        return False
    try:
        with soundfile.SoundFile(io.BytesIO(body)) as sound:
            frames = 0
            while len(block := sound.read(FRAMES)):
                frames += len(block)
            return bool(frames == sound.frames)
    except (soundfile.LibsndfileError, RuntimeError):
        return False


def _ends(body: bytes) -> Iterator[int]:
    """Where each chunk of a WAV file says that it ends."""
    at = 12
    while at + 8 <= len(body):
        size = int.from_bytes(body[at + 4 : at + 8], "little")
        # Who writes into a pipe does not know the length, and says so.
        yield at + 8 + (size if size != UNKNOWN else 0)
        if body[at : at + 4] == DATA:
            return
        at += 8 + size + size % 2
