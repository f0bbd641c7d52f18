"""A fitted feature from its record: the same way in training, evaluation, scoring and serving."""

from components.contracts.artifacts import FittedFeature
from components.contracts.registry import load_kind
from components.features import KINDS
from components.features.feature import Feature


def load_feature(fitted: FittedFeature) -> Feature:
    """The feature that was fitted, from its config as data."""
    kind = load_kind(__package__, KINDS, fitted.config, "features")
    feature: Feature = kind.model_validate(fitted.config)
    return feature
