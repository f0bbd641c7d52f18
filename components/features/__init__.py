"""One kind of column per file: prepared without state, fitted on the training part, applied to the batch."""

KINDS = {
    "anomaly": "anomaly:Anomaly",
    "audio": "audio:Audio",
    "bag": "bag:Bag",
    "bins": "bins:Bins",
    "boolean": "boolean:Boolean",
    "boxes": "boxes:Boxes",
    "category": "category:Category",
    "datetime": "times:Times",
    "image": "image:Image",
    "label": "label:Label",
    "labels": "labels:Labels",
    "none": "none:Nothing",
    "number": "number:Number",
    "series": "series:Series",
    "several": "several:Several",
    "text": "text:Text",
    "text-pair": "text_pair:TextPair",
    "value": "value:Value",
    "vector": "vector:Vector",
}
"""`anomaly`, `label`, `labels`, `none`, `several` and `value` are targets; the others are inputs."""
