"""How much each thing that the network sees speaks for its answer, by captum.

Integrated gradients (Sundararajan 2017) from an empty input to the row's own: at the input of real numbers, at the
embedding of index columns and tokens. What is explained is the logit of a class less the mean of the others', or the
predicted number (of several their mean); the attributions of a row add up to how far that moves.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.contracts.errors import EnvironmentFault

STEPS, GAP = (32, 128, 512), 0.05
"""In how many steps the way is gone, until what is attributed lacks no more than this share of what it adds up to."""
BATCH = 256
"""Rows times steps at a time."""
UNKNOWN = 1
"""What an emptied token becomes (features/pieces.py); 0, which fills up, stays."""

Tensors = Mapping[str, Any]
Attributions = dict[str, NDArray[np.float32]]


def check_captum() -> None:
    """Raise E_EXTRA_MISSING where captum is not installed."""
    try:
        import captum  # noqa: F401
    except ImportError as error:
        raise EnvironmentFault(
            "E_EXTRA_MISSING",
            "captum is not installed",
            place="evaluate.explain",
            action="install it: pip install -e '.[explain]', or set evaluate.explain to 0",
        ) from error


def emptied(tensors: Tensors, specs: Sequence[Any]) -> dict[str, Any]:
    """The row of which nothing is known: numbers at their mean, unknown values, texts of as many unknown words."""
    found = {}
    for spec in specs:
        values = tensors[spec.name]
        found[spec.name] = (values != 0).long() * UNKNOWN if spec.sequence else values * 0
    return found


class Explained:
    """A network, of which answers are explained; of several `numbers` it is their mean."""

    def __init__(self, network: Any, specs: Sequence[Any], *, numbers: bool = False) -> None:
        self.specs = specs
        self._probe = _probe(network, specs, numbers=numbers)

    def outputs(self, tensors: Tensors) -> NDArray[np.float32]:
        """float32[rows, outputs], in the network's own scale."""
        import torch

        with torch.inference_mode():
            found: NDArray[np.float32] = self._probe(*self._ordered(tensors)).cpu().numpy()
        return found

    def gradients(self, tensors: Tensors, chosen: NDArray[np.int64]) -> Attributions:
        """float32, of the shape of each input: what speaks for output `chosen`, int64[rows].

        Rows whose attributions do not yet add up are gone through again in finer steps. An index column of which nobody
        knows where the network looks it up has zeros.
        """
        found: Attributions = {spec.name: np.zeros(tensors[spec.name].shape, np.float32) for spec in self.specs}
        doors = self._doors(tensors)
        wanted = self._scores(tensors, chosen) - self._scores(emptied(tensors, self.specs), chosen)
        left = np.arange(len(chosen))
        for steps in STEPS if doors else ():
            some = {name: values[left] for name, values in tensors.items()}
            given = self._integrated(some, chosen[left], doors, steps)
            for name, values in given.items():
                found[name][left] = values
            added = sum(values.reshape(len(left), -1).sum(1) for values in given.values())
            left = left[np.abs(added - wanted[left]) > GAP * np.maximum(np.abs(wanted[left]), 1)]
            if not len(left):
                break
        return found

    def _integrated(self, tensors: Tensors, chosen: NDArray[np.int64], doors: Any, steps: int) -> Attributions:
        import torch
        from captum.attr import LayerIntegratedGradients

        found: Attributions = {spec.name: np.zeros(tensors[spec.name].shape, np.float32) for spec in self.specs}
        with warnings.catch_warnings():
            # It asks to make sure that no layer lies behind another.
            warnings.simplefilter("ignore", UserWarning)
            method = LayerIntegratedGradients(self._score, [layer for _, _, layer in doors])
        given = method.attribute(
            self._ordered(tensors),
            self._ordered(emptied(tensors, self.specs)),
            additional_forward_args=(torch.from_numpy(chosen),),
            n_steps=steps,
            internal_batch_size=max(BATCH, len(chosen)),
        )
        for (name, column, layer), values in zip(doors, given, strict=True):
            one = (values[0] if isinstance(values, tuple) else values).detach().cpu().numpy()
            if isinstance(layer, torch.nn.Identity):
                found[name] += one
            elif column is None:
                found[name][:, : one.shape[1]] += one.sum(-1)
            else:
                found[name][:, column] += one.sum(-1)
        return found

    def _scores(self, tensors: Tensors, chosen: NDArray[np.int64]) -> NDArray[np.float32]:
        import torch

        with torch.inference_mode():
            found: NDArray[np.float32] = self._score(*self._ordered(tensors), torch.from_numpy(chosen)).cpu().numpy()
        return found

    def occluded(self, tensors: Tensors, name: str, chosen: NDArray[np.int64], side: int) -> NDArray[np.float32]:
        """How far the score falls where a square of `side` pixels of picture `name` is emptied."""
        import torch
        from captum.attr import Occlusion

        def score(picture: Any, chosen: Any) -> Any:
            return self._score(*self._ordered({**tensors, name: picture}), chosen)

        shape = tensors[name].shape
        with torch.inference_mode():
            found = Occlusion(score).attribute(
                tensors[name],
                (shape[1], side, side),
                strides=(shape[1], max(side // 2, 1), max(side // 2, 1)),
                additional_forward_args=(torch.from_numpy(chosen),),
            )
        maps: NDArray[np.float32] = found.cpu().numpy()
        return maps

    def grad_cam(self, tensors: Tensors, name: str, chosen: NDArray[np.int64]) -> NDArray[np.float32] | None:
        """Grad-CAM (Selvaraju 2017) of the last layer of maps that picture `name` goes through, at its size.

        float32[rows, height, width]; None of a network without such a layer.
        """
        import torch
        from captum.attr import LayerAttribution, LayerGradCam

        layers = [one for one in self._probe.modules() if isinstance(one, torch.nn.Conv2d)]
        if not layers:
            return None
        given = LayerGradCam(self._score, layers[-1]).attribute(
            self._ordered(tensors), additional_forward_args=(torch.from_numpy(chosen),), relu_attributions=True
        )
        size = tuple(tensors[name].shape[-2:])
        maps: NDArray[np.float32] = LayerAttribution.interpolate(given, size, "bilinear").detach().cpu().numpy()
        return maps[:, 0]

    def _ordered(self, tensors: Tensors) -> tuple[Any, ...]:
        return tuple(tensors[spec.name] for spec in self.specs)

    def _score(self, *given: Any) -> Any:
        """The chosen output less the mean of the others. captum repeats rows, those that were chosen with them."""
        outputs, chosen = self._probe(*given[:-1]), given[-1]
        own = outputs.gather(1, chosen[:, None])[:, 0]
        if outputs.shape[1] == 1:
            return own
        return own - (outputs.sum(1) - own) / (outputs.shape[1] - 1)

    def _doors(self, tensors: Tensors) -> list[tuple[str, int | None, Any]]:
        """Where each input enters: its name, the index column of it (None of a sequence), and the layer."""
        import torch

        seen: list[tuple[Any, Any]] = []
        hooks = [
            one.register_forward_hook(lambda layer, given, _: seen.append((layer, given[0])))
            for one in self._probe.modules()
            if isinstance(one, torch.nn.Embedding)
        ]
        with torch.inference_mode():
            self._probe(*self._ordered(tensors))
        for hook in hooks:
            hook.remove()
        doors: list[tuple[str, int | None, Any]] = [
            (spec.name, None, self._probe.doors[spec.name]) for spec in self.specs if not spec.classes
        ]
        for spec in self.specs:
            values = tensors[spec.name]
            for layer, looked in seen:
                if not spec.classes or any(layer is one for _, _, one in doors):
                    continue
                if spec.sequence and looked.ndim == 2 and torch.equal(looked, values[:, : looked.shape[1]]):
                    doors.append((spec.name, None, layer))
                elif not spec.sequence and looked.ndim == 1:
                    columns = [at for at in range(values.shape[1]) if torch.equal(looked, values[:, at])]
                    doors += [(spec.name, columns[0], layer)] if columns else []
        return doors


def _probe(network: Any, specs: Sequence[Any], *, numbers: bool) -> Any:
    """The network with its inputs as arguments; each real one comes in through a layer that changes nothing."""
    import torch

    class Probe(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network
            self.doors = torch.nn.ModuleDict({spec.name: torch.nn.Identity() for spec in specs if not spec.classes})

        def forward(self, *given: Any) -> Any:
            inputs = {spec.name: one for spec, one in zip(specs, given, strict=True)}
            inputs |= {name: door(inputs[name]) for name, door in self.doors.items()}
            (found,) = self.network(inputs).values()
            # Of quantiles, the middle one.
            found = found[..., found.shape[-1] // 2] if found.ndim == 3 else found
            return found.mean(1, keepdim=True) if numbers else found

    return Probe().eval()
