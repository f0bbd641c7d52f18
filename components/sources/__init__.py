"""One kind of data source per file. A source reads; what its rows mean is declared by the recipe's checks."""

KINDS = {
    "csv": "csv:CsvSource",
    "digits": "digits:DigitsSource",
    "image-folder": "image_folder:ImageFolderSource",
}
