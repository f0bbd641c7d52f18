"""Models, objectives and targets, each in every way that it has."""

from components.contracts.spec import TensorSpec
from components.features.anomaly import Anomaly
from components.features.label import Label
from components.features.labels import Labels
from components.features.none import Nothing
from components.features.value import Value
from components.models.autoencoder import Autoencoder
from components.models.cnn import Cnn, Conv, Dense, Dropout, Pool, Residual
from components.models.composite import Composite, Encoder
from components.models.decoder import Decoder
from components.models.dlinear import DLinear
from components.models.encoder_decoder import EncoderDecoder
from components.models.factorisation import Factorisation
from components.models.gan import Gan
from components.models.glove import Glove
from components.models.k_means import KMeans
from components.models.least_squares import LeastSquares
from components.models.linear import Linear
from components.models.mlp import Mlp
from components.models.recurrent import Recurrent
from components.models.transformer import Transformer
from components.models.word2vec import Word2Vec
from components.objectives.adversarial import Adversarial
from components.objectives.classification import Classification
from components.objectives.clustering import Clustering
from components.objectives.language_model import LanguageModel
from components.objectives.metric_learning import MetricLearning
from components.objectives.multi_label import MultiLabel
from components.objectives.objective import Target
from components.objectives.reconstruction import Reconstruction
from components.objectives.regression import Regression
from components.objectives.several import Several
from components.objectives.word_embedding import WordEmbedding

TABLE = [
    TensorSpec(name="n", shape=(24,), dtype="float32"),
    TensorSpec(name="c", shape=(2,), dtype="int64", classes=(5, 3)),
]
IMAGE = [TensorSpec(name="i", shape=(1, 8, 8), dtype="float32")]
TEXT = [TensorSpec(name="t", shape=(-1,), dtype="int64", classes=(30,), sequence=True)]
TEXTS = [*TEXT, TensorSpec(name="u", shape=(-1,), dtype="int64", classes=(30,), sequence=True)]
SERIES = [TensorSpec(name="s", shape=(3, 12), dtype="float32")]
CELLS = ("rnn", "lstm", "gru")
PLACES = ("sinusoidal", "rotary", "learned")
FUSED = ("concatenate", "product", "gated", "attention")
ENCODERS = (
    Encoder(inputs=("n", "c"), model=Mlp(hidden=(8,))),
    Encoder(inputs=("i",), model=Cnn(layers=(Conv(channels=4),))),
    Encoder(inputs=("t",), model=Recurrent(hidden=8)),
)
MODELS = {
    "autoencoder": (Autoencoder(code=12, hidden=(32,)), IMAGE),
    "autoencoder by convolutions": (Autoencoder(code=12, hidden=(), channels=(4, 8)), IMAGE),
    "autoencoder variational": (Autoencoder(code=12, hidden=(32,), variational=True), TABLE[:1]),
    "cnn": (
        Cnn(layers=(Conv(channels=4, norm=True), Pool(), Dropout(share=0.1), Dense(units=16), Dense(units=16))),
        IMAGE,
    ),
    **{f"composite {one}": (Composite(encoders=ENCODERS, fuse=one), TABLE + IMAGE + TEXT) for one in FUSED},
    **{f"decoder {one}": (Decoder(width=16, heads=2, dropout=0, positions=one), TEXT) for one in PLACES},
    **{
        f"encoder-decoder {one}": (EncoderDecoder(width=16, heads=2, layers=1, dropout=0, positions=one), TEXTS)
        for one in PLACES
    },
    "dlinear": (DLinear(smooth=4), SERIES),
    "factorisation": (Factorisation(width=8), TABLE),
    "gan": (Gan(noise=8, channels=(16, 8)), IMAGE),
    "gan of rows": (Gan(noise=8, hidden=(16,)), TABLE),
    "glove": (Glove(window=3, rate=0.2), TEXT),
    "k-means": (KMeans(starts=2), TABLE[:1]),
    "least-squares": (LeastSquares(), TABLE[:1]),
    "cnn residual": (
        Cnn(layers=(Residual(channels=8), Residual(channels=16, stride=2), Pool(size=0, how="average"))),
        IMAGE,
    ),
    "linear": (Linear(), TABLE),
    "mlp": (Mlp(hidden=(8,), norm=True, dropout=0.1), TABLE),
    **{f"recurrent {cell}": (Recurrent(cell=cell, hidden=12, layers=2, dropout=0.1), TEXT) for cell in CELLS},
    "recurrent both ways": (Recurrent(bidirectional=True, hidden=8, pool="max"), SERIES),
    **{f"transformer {one}": (Transformer(width=16, heads=2, positions=one), TEXT) for one in PLACES},
    **{f"word2vec {one}": (Word2Vec(way=one, window=2, shared=8, frequent=1), TEXT) for one in ("skip-gram", "cbow")},
    "transformer series": (Transformer(width=16, heads=4, pool="last"), SERIES),
}
CLASSES = Target(feature=Label(column="y"), state={"classes": ["a", "b", "c"], "counts": [1, 2, 1]}, type="string")
NUMBERS = Target(
    feature=Value(columns=("y", "z")),
    state={"mean": [10.0, -3.0], "centre": [10.0, -3.0], "scale": [2.0, 0.5]},
    type="float64",
)
OBJECTIVES = {
    "adversarial": [Adversarial(), Adversarial(way="wasserstein", critic_steps=2)],
    "classification": [Classification(), Classification(label_smoothing=0.1, focus=2)],
    "language-model": [LanguageModel(feature="t"), LanguageModel()],
    "metric-learning": [MetricLearning(width=12), MetricLearning(width=12, way="triplet")],
    "multi-label": [MultiLabel(), MultiLabel(label_smoothing=0.1, focus=2)],
    "clustering": [Clustering(clusters=12)],
    "several": [Several(parts={"label": Classification(), "value": Regression(), "labels": MultiLabel()})],
    "reconstruction": [Reconstruction(divergence=0.01), Reconstruction(error="absolute")],
    "word-embedding": [WordEmbedding(width=12)],
    "regression": [Regression(), *(Regression(error=error) for error in ("absolute", "huber", "quantile"))],
}
SEVERAL = Target(
    feature=Labels(column="y"), state={"classes": ["a", "b", "c"], "shares": [0.5, 0.2, 0.6]}, type="strings"
)
MARKED = Target(feature=Anomaly(column="y", values=("odd",)), state={"normal": 3}, type="string")
TOGETHER = Target(feature=None, state={}, type="string", parts={"label": CLASSES, "value": NUMBERS, "labels": SEVERAL})
NONE = Target(feature=Nothing(), state={}, type="string")
TARGETS = {
    "adversarial": NONE,
    "classification": CLASSES,
    "clustering": CLASSES,
    "language-model": NONE,
    "metric-learning": CLASSES,
    "multi-label": SEVERAL,
    "several": TOGETHER,
    "reconstruction": MARKED,
    "regression": NUMBERS,
    "word-embedding": CLASSES,
}

USUAL = {
    "adversarial": "gan",
    "reconstruction": "autoencoder",
    "clustering": "k-means",
    "language-model": "decoder rotary",
    "word-embedding": "word2vec skip-gram",
}
"""The model that every way of an objective is tried with; otherwise an mlp."""
