"""One kind of column per file: prepared without state, fitted on the training part, applied to the batch."""

KINDS = {
    "boolean": "boolean:Boolean",
    "category": "category:Category",
    "datetime": "times:Times",
    "image": "image:Image",
    "label": "label:Label",
    "number": "number:Number",
    "vector": "vector:Vector",
}
"""`label` is a target; the others are inputs."""
