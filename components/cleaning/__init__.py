"""One cleaning operation per file. Nothing here is fitted.

A *value operation* rewrites cells and is shipped with the model, so a request is cleaned as the training rows were. A
*row operation* says which rows stay; a request's row that would not stay is answered E_ROW_REJECTED.
"""

KINDS = {
    "remove-suffix": "remove_suffix:RemoveSuffix",
    "require": "require:Require",
}
