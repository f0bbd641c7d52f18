"""The networks of word vectors. Imports torch; imported by a model's `build` only."""

from collections.abc import Mapping
from math import log

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, pad

from components.contracts.errors import ConfigError
from components.contracts.spec import ROW_LOSS, ROW_LOSS_OF_ZEROS, VECTORS, TensorSpec

PADDING, UNKNOWN = 0, 1
"""Tokens that are no words (features/pieces.py)."""
BLOCK = 32
"""Words that meet their neighbours in one product."""
NOISE = 0.75
"""The power of a word's count by which it is drawn as one that is no neighbour (Mikolov et al. 2013)."""


class NearWords(nn.Module):
    """Two vectors a word: `table` of the word itself, `context` of the word as a neighbour."""

    counts: Tensor

    def __init__(
        self,
        name: str,
        words: int,
        width: int,
        *,
        around: bool,
        window: int,
        negatives: int,
        shared: int,
        frequent: float,
    ) -> None:
        super().__init__()
        self.name, self.around, self.window = name, around, window
        self.negatives, self.shared, self.frequent = negatives, shared, frequent
        self.table = nn.Embedding(words, width, padding_idx=PADDING)
        self.context = nn.Embedding(words, width, padding_idx=PADDING)
        nn.init.uniform_(self.table.weight, -0.5 / width, 0.5 / width)
        nn.init.zeros_(self.context.weight)
        # How often each word came so far; one more, so that none is impossible.
        self.register_buffer("counts", torch.ones(words))

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The mean of a text's vectors float32[batch, width], its mean loss, and that of vectors of zeros."""
        tokens = inputs[self.name]
        words = tokens > UNKNOWN
        vectors = self.table(tokens)
        mean = (vectors * words[..., None]).sum(1) / words.sum(1).clamp(min=1)[:, None]
        nothing = torch.full((len(tokens),), (1 + self.negatives) * log(2), device=tokens.device)
        lost = self._loss(tokens, words, self._asking(tokens, vectors))
        return {VECTORS: mean, ROW_LOSS: lost, ROW_LOSS_OF_ZEROS: nothing}

    def _loss(self, tokens: Tensor, words: Tensor, vectors: Tensor) -> Tensor:
        """float32[batch]: the mean over a row's pairs of neighbours."""
        if self.training:
            seen = torch.bincount(tokens[words], minlength=len(self.counts))
            self.counts += seen
            share = self.counts[tokens] / self.counts.sum()
            kept = (self.frequent / share).sqrt() + self.frequent / share
            words = words & (torch.rand_like(share) < kept)
        contexts = self.context(tokens)
        drawn = self.context(self._noise(tokens))
        if self.around:
            around, many = self._neighbours(vectors, words)
            here = words & (many > 0)
            row = logsigmoid((around * contexts).sum(-1)) + self._against(around, drawn)
            found, pairs = (row * here).sum(1), here.sum(1)
        else:
            near, many = self._pairs(vectors, contexts, words)
            found, pairs = near + (self._against(vectors, drawn) * many).sum(1), many.sum(1)
        return -found / pairs.clamp(min=1)

    def _pairs(self, vectors: Tensor, contexts: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        """How well neighbours fit, float32[batch], and how many each word has, float32[batch, words].

        Each block of words meets those within reach in one product of matrices.
        """
        batch, steps, width = vectors.shape
        reach = min(self.window, steps - 1)
        more = -steps % BLOCK
        left = pad(vectors, (0, 0, 0, more)).view(batch, (steps + more) // BLOCK, BLOCK, width)
        right = pad(contexts, (0, 0, reach, reach + more)).unfold(1, BLOCK + 2 * reach, BLOCK)
        own = pad(words, (0, more)).view(batch, (steps + more) // BLOCK, BLOCK, 1)
        others = pad(words, (reach, reach + more)).unfold(1, BLOCK + 2 * reach, BLOCK)[:, :, None]
        apart = torch.arange(BLOCK + 2 * reach, device=words.device) - torch.arange(BLOCK, device=words.device)[:, None]
        both = own & others & (apart >= 0) & (apart <= 2 * reach) & (apart != reach)
        fit = (logsigmoid(left @ right) * both).sum((1, 2, 3))
        return fit, both.sum(3).flatten(1)[:, :steps].float()

    def _asking(self, tokens: Tensor, vectors: Tensor) -> Tensor:
        """What is multiplied with the vectors of neighbours."""
        return vectors

    def _against(self, vectors: Tensor, drawn: Tensor) -> Tensor:
        """float32[batch, words]: how little the words that were drawn fit, as if `negatives` had been."""
        return self.negatives * logsigmoid(-(vectors @ drawn.T)).mean(-1)

    def _neighbours(self, vectors: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        """The mean vector around each word, float32[batch, words, width], and of how many words it is."""
        steps = words.shape[1]
        reach = min(self.window, steps - 1)
        places = torch.arange(steps, device=words.device)
        first, last = (places - reach).clamp(min=0), (places + reach + 1).clamp(max=steps)

        def within(values: Tensor) -> Tensor:
            """Sums over what is in reach, each word itself left out."""
            sums = pad(values.cumsum(1), (0, 0, 1, 0))
            return sums[:, last] - sums[:, first] - values

        many = within(words[..., None].float())
        return within(vectors * words[..., None]) / many.clamp(min=1), many[..., 0]

    def _noise(self, tokens: Tensor) -> Tensor:
        """Words that are drawn by their counts; outside of training always the same."""
        chances = self.counts**NOISE
        chances[: UNKNOWN + 1] = 0
        draw = None if self.training else torch.Generator(tokens.device).manual_seed(0)
        return torch.multinomial(chances, self.shared, replacement=True, generator=draw)


class CountedWords(NearWords):
    """Vectors that were found otherwise, judged in the same way.

    `left` and `context` have two numbers more than `table`: a word's bias and a one, the other way round.
    """

    def __init__(self, name: str, words: int, width: int, *, window: int, negatives: int, shared: int) -> None:
        super().__init__(
            name, words, width, around=False, window=window, negatives=negatives, shared=shared, frequent=1.0
        )
        self.left = nn.Embedding(words, width + 2, padding_idx=PADDING)
        self.context = nn.Embedding(words, width + 2, padding_idx=PADDING)

    def _asking(self, tokens: Tensor, vectors: Tensor) -> Tensor:
        asking: Tensor = self.left(tokens)
        return asking


def check_words(text: TensorSpec) -> None:
    """Raise E_CONFIG where no word of the text is known."""
    if text.classes[0] <= len((PADDING, UNKNOWN)) + 1:
        raise ConfigError(
            "E_CONFIG",
            "no word is frequent enough to be known",
            place=f"features.{text.name}.min_count",
            allowed="at least one word that occurs so often",
            action="lower it",
        )
