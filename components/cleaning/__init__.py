"""One cleaning operation per file. Nothing here is fitted.

A *value operation* rewrites cells, or gives them another type, and is shipped with the model, so a request is cleaned
as the training rows were. A *row operation* says which rows stay; a request's row that would not stay is answered
E_ROW_REJECTED.
"""

KINDS = {
    "cast": "cast:Cast",
    "clip": "clip:Clip",
    "drop-duplicates": "drop_duplicates:DropDuplicates",
    "fill": "fill:Fill",
    "fix-encoding": "fix_encoding:FixEncoding",
    "keep-rows": "keep_rows:KeepRows",
    "map-values": "map_values:MapValues",
    "normalise-text": "normalise_text:NormaliseText",
    "parse": "parse:Parse",
    "remove-suffix": "remove_suffix:RemoveSuffix",
    "require": "require:Require",
}
