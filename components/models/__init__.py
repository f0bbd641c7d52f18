"""One architecture per file: a config whose `build` gives a torch module.

torch is imported inside `build`, so that checking a recipe does not cost it.
"""

KINDS = {
    "cnn": "cnn:Cnn",
    "mlp": "mlp:Mlp",
}
