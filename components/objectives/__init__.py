"""One learning task per file: what the model must give, the loss, the decoding and the metrics."""

KINDS = {
    "adversarial": "adversarial:Adversarial",
    "classification": "classification:Classification",
    "clustering": "clustering:Clustering",
    "language-model": "language_model:LanguageModel",
    "metric-learning": "metric_learning:MetricLearning",
    "multi-label": "multi_label:MultiLabel",
    "reconstruction": "reconstruction:Reconstruction",
    "regression": "regression:Regression",
    "several": "several:Several",
    "word-embedding": "word_embedding:WordEmbedding",
}
