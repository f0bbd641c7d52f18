"""Texts in one folder per class, a file each, as the IMDB reviews lie: `train/pos/0_9.txt`."""

from typing import ClassVar, Literal

import pyarrow as pa
from pydantic import Field

from components.contracts.spec import Column
from components.sources.class_folder import ClassFolder


class TextFolderSource(ClassFolder):
    """Texts in one folder per class; columns `text` and `label` (the folder's name)."""

    content: ClassVar[Column] = Column(name="text", type="string", nullable=False)
    kind: Literal["text-folder"] = "text-folder"
    encoding: str = Field("utf-8", description="of the files, as Python names it; a file that is not is set aside")

    def cells(self, files: list[bytes]) -> tuple[pa.Array, dict[int, tuple[str, str]]]:
        """The texts."""
        texts: list[str | None] = []
        wrong = {}
        for at, body in enumerate(files):
            try:
                texts.append(body.decode(self.encoding).removeprefix("\ufeff"))
            except UnicodeDecodeError as error:
                texts.append(None)
                wrong[at] = (
                    "E_ENCODING",
                    f"byte {error.start} is not {self.encoding}; source.encoding says what it is",
                )
        return pa.array(texts, pa.string()), wrong
