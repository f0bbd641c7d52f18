"""What an augmentation offers: `apply` of one feature's tensor, or `mixed` of all of them."""

from collections.abc import Sequence
from typing import Any

from components.contracts.errors import ConfigError
from components.contracts.spec import TensorSpec


def check_features(augmentations: Sequence[Any], names: Sequence[str]) -> None:
    """Raise E_CONFIG where an augmentation names a feature that the recipe does not have, or two of them mix."""
    mixes = 0
    for number, one in enumerate(augmentations):
        mixes += hasattr(one, "mixed")
        if not hasattr(one, "mixed") and not hasattr(one, "apply"):
            raise ConfigError(
                "E_CONFIG",
                "an augmentation has a method apply, or mixed",
                place=f"augment.{number}.target",
                value=type(one).__name__,
                action="write one as in components/augment",
            )
        feature = getattr(one, "feature", None)
        if feature is not None and feature not in names:
            raise ConfigError(
                "E_CONFIG",
                "no feature has this name",
                place=f"augment.{number}.feature",
                value=feature,
                allowed=", ".join(names),
                action="name one of these",
            )
    if mixes > 1:
        raise ConfigError(
            "E_CONFIG",
            "rows can be mixed once",
            place="augment",
            value=mixes,
            allowed="one of mixup and cutmix",
            action="leave one out",
        )


def check_inputs(augmentations: Sequence[Any], inputs: Sequence[TensorSpec]) -> None:
    """Raise E_CONFIG where an augmentation is for tensors of another kind than its feature's.

    An augmentation may say so by `wrong(spec)`: why it is not for such a tensor, "" where it is. `moves` says that
    what stands in a picture changes its place.
    """
    specs = {spec.name: spec for spec in inputs}
    for number, one in enumerate(augmentations):
        if not hasattr(one, "wrong"):
            continue
        kept = [spec for spec in inputs if spec.sequence and spec.dtype == "float32"]
        if getattr(one, "moves", False) and kept:
            raise ConfigError(
                "E_CONFIG",
                f"{one.kind} would leave boxes where they were",
                place=f"augment.{number}",
                value=kept[0].name,
                action="leave it out",
            )
        looked = [specs[one.feature]] if hasattr(one, "feature") else list(specs.values())
        why = [one.wrong(spec) for spec in looked]
        if all(why):
            raise ConfigError(
                "E_CONFIG",
                f"{one.kind} is not for {looked[0].name}: {why[0]}",
                place=f"augment.{number}",
                value=f"{looked[0].dtype}{list(looked[0].shape)}",
                action="name another feature, or leave it out",
            )


def generator(device: Any, *numbers: int) -> Any:
    """A generator on `device` whose draws hang on these numbers alone."""
    import numpy as np
    import torch

    seed = int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
    return torch.Generator(device).manual_seed(seed)


def augmented(augmentations: Sequence[Any], inputs: dict[str, Any], draw: Any) -> tuple[dict[str, Any], Any, Any]:
    """The inputs after all of them in turn; where rows were mixed, with which, and the weight of the row itself."""
    other, weight = None, None
    for one in augmentations:
        if hasattr(one, "mixed"):
            inputs, other, weight = one.mixed(inputs, draw)
        else:
            inputs = {**inputs, one.feature: one.apply(inputs[one.feature], draw)}
    return inputs, other, weight
