"""The networks of language models. Imports torch; imported by a model's `build` only."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from components.models.attention import within
from components.models.sequences import PADDING, Steps, longest


class Writer(nn.Module):
    """Tokens in, scores of what comes after each out; it sees the last `longest` tokens, 0 for all."""

    def __init__(
        self, name: str, output: str, words: int, blocks: nn.Module, *, width: int, dropout: float, longest: int
    ) -> None:
        super().__init__()
        self.name, self.output, self.longest = name, output, longest
        self.table = nn.Embedding(words, width, padding_idx=PADDING)
        nn.init.normal_(self.table.weight, std=width**-0.5)
        self.dropout = nn.Dropout(dropout)
        self.blocks = blocks
        self.bias = nn.Parameter(torch.zeros(words))

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """float32[batch, longest row's tokens, words]: scores of the token behind each."""
        tokens = inputs[self.name]
        lengths = (tokens != PADDING).sum(1).clamp(min=1)
        steps = self.table(tokens[:, : longest(lengths, tokens)])
        # The table's vectors are short, so that as the answer's they begin with small scores.
        steps = self.blocks(self.dropout(steps * steps.shape[-1] ** 0.5), lengths, self._read(inputs))
        return {self.output: steps @ self.table.weight.T + self.bias}

    def _read(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor] | None:
        """What else is looked at, and which steps of it count."""
        return None

    def write(self, begun: Tensor, more: int, draw: torch.Generator, *, heat: float, likeliest: int) -> Tensor:
        """`begun`, int64[rows, tokens], with so many tokens more, each drawn from the likeliest ones."""
        tokens = begun
        for _ in range(more):
            seen = tokens[:, -self.longest :] if self.longest else tokens
            scores = self({self.name: seen})[self.output][:, -1]
            scores[:, PADDING] = -torch.inf
            best, places = scores.topk(min(likeliest, scores.shape[1]))
            drawn = torch.multinomial((best / heat).softmax(-1), 1, generator=draw)
            tokens = torch.cat([tokens, places.gather(1, drawn)], 1)
        return tokens


class Translator(Writer):
    """A writer that looks at another text, which it has read to the end."""

    def __init__(
        self,
        name: str,
        output: str,
        words: int,
        blocks: nn.Module,
        *,
        reader: Steps,
        encoder: nn.Module,
        read: str,
        width: int,
        dropout: float,
        longest: int,
    ) -> None:
        super().__init__(name, output, words, blocks, width=width, dropout=dropout, longest=longest)
        self.read, self.reader, self.encoder = read, reader, encoder

    def _read(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor] | None:
        steps, lengths = self.reader(inputs[self.read])
        return self.encoder(steps, lengths), within(steps.shape[1], lengths)
