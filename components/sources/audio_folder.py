"""Recordings in one folder per class, or named by their class: WAV, FLAC, OGG; as a folder or in an archive."""

from typing import ClassVar, Literal

from components.contracts.spec import Column
from components.sources.class_folder import ClassFolder


class AudioFolderSource(ClassFolder):
    """Recordings in one folder per class; columns `audio` (encoded bytes) and `label`, which `name_pattern` may say."""

    content: ClassVar[Column] = Column(name="audio", type="audio", nullable=False)
    kind: Literal["audio-folder"] = "audio-folder"
