"""One kind of column per file: prepared without state, fitted on the training part, applied to the batch."""

KINDS = {
    "category": "category:Category",
    "image": "image:Image",
    "label": "label:Label",
    "number": "number:Number",
}
"""`label` is a target; the others are inputs."""
