"""One architecture per file: a config whose `build` gives a torch module.

torch is imported inside `build`, so that checking a recipe does not cost it.
"""

KINDS = {
    "autoencoder": "autoencoder:Autoencoder",
    "cnn": "cnn:Cnn",
    "composite": "composite:Composite",
    "decoder": "decoder:Decoder",
    "dlinear": "dlinear:DLinear",
    "encoder-decoder": "encoder_decoder:EncoderDecoder",
    "factorisation": "factorisation:Factorisation",
    "gan": "gan:Gan",
    "glove": "glove:Glove",
    "k-means": "k_means:KMeans",
    "least-squares": "least_squares:LeastSquares",
    "linear": "linear:Linear",
    "mlp": "mlp:Mlp",
    "recurrent": "recurrent:Recurrent",
    "transformer": "transformer:Transformer",
    "word2vec": "word2vec:Word2Vec",
}
