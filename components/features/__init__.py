"""One kind of column per file: prepared without state, fitted on the training part, applied to the batch."""

KINDS = {
    "audio": "audio:Audio",
    "bag": "bag:Bag",
    "bins": "bins:Bins",
    "boolean": "boolean:Boolean",
    "boxes": "boxes:Boxes",
    "category": "category:Category",
    "datetime": "times:Times",
    "image": "image:Image",
    "label": "label:Label",
    "number": "number:Number",
    "series": "series:Series",
    "text": "text:Text",
    "text-pair": "text_pair:TextPair",
    "value": "value:Value",
    "vector": "vector:Vector",
}
"""`label` is a target; the others are inputs."""
