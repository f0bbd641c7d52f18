"""GloVe (Pennington et al. 2014): vectors of words whose products tell how often two words stand near each other."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from components.contracts.config import StepConfig
from components.contracts.spec import ROW_LOSS, TensorSpec
from components.models.passing import State, Sums, Tensors

BLOCK = 256
"""Words whose pairs with all others are looked at in one step of AdaGrad."""
AT_ONCE = 256
"""Rows of text that are looked at in one piece."""
NEGATIVES, SHARED = 5, 64
"""How vectors are judged: as those of word2vec are."""


class Glove(StepConfig):
    """One pass over the rows counts pairs of words; each further one goes once through the counts.

    Weights, powers and sums of both vectors are those of the paper.
    """

    passes: ClassVar[bool] = True
    rows_a_pass: ClassVar[int] = 0
    serves: ClassVar[tuple[str, ...]] = ("word-embedding",)

    kind: Literal["glove"] = "glove"
    window: int = Field(10, ge=1, description="words on each side that are neighbours; one at distance d counts 1/d")
    most: float = Field(100.0, gt=0, description="pairs that occur so often weigh 1, rarer ones less")
    power: float = Field(0.75, gt=0, description="of count / most, how much less")
    rate: float = Field(0.05, gt=0, description="AdaGrad's step size")

    def begin(self, sample: Tensors, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], seed: int) -> State:
        """Small vectors float32[2, words, width], biases of 0, and no counts yet."""
        words, width = inputs[0].classes[0], outputs[0].shape[0]
        drawn = np.random.Generator(np.random.PCG64(seed))
        return {
            "vectors": ((drawn.random((2, words, width)) - 0.5) / width).astype(np.float32),
            "biases": np.zeros((2, words), np.float32),
            "squares": np.ones((2, words, width), np.float32),
            "bias squares": np.ones((2, words), np.float32),
            "turn": np.array([seed, 0]),
        }

    def rests(self, state: State) -> bool:
        """Whether the next step looks at no row: the pairs are counted."""
        return "pairs" in state

    def shown(self, state: State) -> State:
        """What `look` needs: nothing while it counts, then the weights."""
        return self.weights(state) if self.rests(state) else {"words": np.array(state["biases"].shape[1])}

    def look(self, state: State, inputs: Tensors, targets: Tensors) -> Sums:
        """How near words stand to each other, a sparse float32[words, words]; of counted pairs, the rows' loss."""
        (tokens,) = inputs.values()
        if "words" not in state:
            return {"loss": np.array(self._lost(state, inputs)), "rows": np.array(float(len(tokens)))}
        words = int(state["words"])
        pairs = sum(_pairs(rows.numpy(), words, self.window) for rows in _slices(tokens))
        seen = np.bincount(tokens.flatten().numpy(), minlength=words).astype(np.float64)
        return {"pairs": pairs, "seen": seen, "loss": np.array(0.0), "rows": np.array(float(len(tokens)))}

    def _lost(self, weights: State, inputs: Tensors) -> float:
        """The sum of the rows' losses."""
        import torch

        from components.models.words import CountedWords

        (name,), (words, width) = inputs, weights["table.weight"].shape
        network = CountedWords(name, words, width, window=self.window, negatives=NEGATIVES, shared=SHARED).eval()
        network.load_state_dict({key: torch.from_numpy(one) for key, one in weights.items()})
        with torch.inference_mode():
            return sum(float(network({name: rows})[ROW_LOSS].double().sum()) for rows in _slices(inputs[name]))

    def step(self, state: State, sums: Sums) -> tuple[State, bool]:
        """Go once through all pairs, in blocks of words."""
        if sums:
            state = {**state, "pairs": sums["pairs"].tocsr(), "seen": sums["seen"]}
        seed, turn = (int(one) for one in state["turn"])
        order = np.random.Generator(np.random.PCG64([seed, turn])).permutation(state["biases"].shape[1])
        made = {name: state[name].copy() for name in ("vectors", "biases", "squares", "bias squares")}
        for start in range(0, len(order), BLOCK):
            self._learn(made, state["pairs"], np.sort(order[start : start + BLOCK]))
        return {**state, **made, "turn": np.array([seed, turn + 1])}, False

    def _learn(self, state: State, pairs: Any, rows: NDArray[np.int64]) -> None:
        """One step of AdaGrad for some words and all that stand near them; changes `state`."""
        weights, logarithms = pairs[rows], pairs[rows]
        logarithms.data = np.log(weights.data)
        weights.data = np.minimum(weights.data / self.most, 1) ** self.power
        (words, others), (own, their) = state["vectors"], state["biases"]
        here = words[rows]
        # Pairs that never occur weigh nothing, whatever their logarithm would be.
        missed = here @ others.T + own[rows, None] + their - logarithms.toarray()
        missed *= weights.toarray()
        for at, places, slopes, bias in (
            (0, rows, missed @ others, missed.sum(1)),
            (1, slice(None), missed.T @ here, missed.sum(0)),
        ):
            for name, gone in (("vectors", slopes), ("biases", bias)):
                squares = state["squares" if name == "vectors" else "bias squares"][at]
                squares[places] += gone**2
                state[name][at][places] -= self.rate * gone / np.sqrt(squares[places])

    def weights(self, state: State) -> dict[str, NDArray[Any]]:
        """The sum of both vectors, and what tells how much likelier two words stand together than by chance.

        That is the logarithm of the ratio, less that of the words it is weighed up against, as in word2vec.
        """
        words, others = state["vectors"]
        near = np.asarray(state["pairs"].sum(1)).ravel()
        alone = np.log(np.maximum(near, 1)) - (np.log(max(float(near.sum()), 1.0)) - np.log(NEGATIVES)) / 2
        own, their = ((bias - alone)[:, None] for bias in state["biases"])
        one = np.ones_like(own)
        return {
            "table.weight": words + others,
            "left.weight": np.hstack([words, own, one]).astype(np.float32),
            "context.weight": np.hstack([others, one, their]).astype(np.float32),
            "counts": (state["seen"] + 1).astype(np.float32),
        }

    def build(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Any:
        """An nn.Module from one text, int64[batch, words], to its mean vector and its loss.

        Raises:
            ConfigError: E_CONFIG, there is no text.
        """
        from components.models.sequences import single_text
        from components.models.words import CountedWords, check_words

        text = single_text(inputs, self.kind)
        check_words(text)
        return CountedWords(
            text.name, text.classes[0], outputs[0].shape[0], window=self.window, negatives=NEGATIVES, shared=SHARED
        )


def _slices(tokens: Any) -> Iterator[Any]:
    """Some rows at a time, each time as long as the longest of them."""
    for rows in tokens.split(AT_ONCE):
        yield rows[:, : max(int((rows != 0).sum(1).max()), 1)]


def _pairs(tokens: NDArray[np.int64], words: int, window: int) -> Any:
    """How near words stand to each other, both ways, a sparse float32[words, words]."""
    from scipy.sparse import coo_array

    from components.models.words import UNKNOWN

    total = coo_array((words, words), dtype=np.float32).tocsr()
    for step in range(1, min(window, tokens.shape[1] - 1) + 1):
        first, second = tokens[:, :-step].ravel(), tokens[:, step:].ravel()
        both = (first > UNKNOWN) & (second > UNKNOWN)
        near = np.full(int(both.sum()), 1 / step, np.float32)
        total = total + coo_array((near, (first[both], second[both])), shape=(words, words)).tocsr()
    return total + total.T
