"""One architecture per file: a config whose `build` gives a torch module.

torch is imported inside `build`, so that checking a recipe does not cost it.
"""

KINDS = {
    "cnn": "cnn:Cnn",
    "linear": "linear:Linear",
    "mlp": "mlp:Mlp",
    "recurrent": "recurrent:Recurrent",
    "transformer": "transformer:Transformer",
}
