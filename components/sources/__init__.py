"""One kind of data source per file. A source reads; what its rows mean is declared by the recipe's checks."""

KINDS = {
    "digits": "digits:DigitsSource",
    "files": "files:FilesSource",
    "image-folder": "image_folder:ImageFolderSource",
    "sql": "sql:SqlSource",
}
