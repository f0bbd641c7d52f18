"""Images in one folder per class, in any format that Pillow reads; as a folder or in an archive."""

from typing import ClassVar, Literal

from components.contracts.spec import Column
from components.sources.class_folder import ClassFolder


class ImageFolderSource(ClassFolder):
    """Images in one folder per class; columns `image` (encoded bytes) and `label` (the folder's name)."""

    content: ClassVar[Column] = Column(name="image", type="image", nullable=False)
    kind: Literal["image-folder"] = "image-folder"
