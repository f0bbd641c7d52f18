"""Text cut into pieces, and pieces into the tokens of a fitted vocabulary: what text, pairs and bags share.

Shards hold the pieces, as codes into their own dictionary: cutting hangs on no fitted state. A vocabulary is fitted on
how often each piece occurs, and says for each entry of a dictionary which tokens it becomes; so encoding costs as much
as there are different pieces, not as many as there are.
"""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.adapters.shard_files import Ragged
from components.contracts.errors import EnvironmentFault
from components.features.feature import Prepared

Tokens = Literal["word", "character", "byte-pair"]
PADDING, UNKNOWN, SEPARATOR = 0, 1, 2
SPECIAL = ("[PAD]", "[UNK]", "[SEP]")
CUT = "\x1e"
"""Stands between two texts of a row: ASCII's record separator, which neither may hold."""
EDGE = "\x1f"
WORDS = r"[\pL\pM\pN_]+(?:['’][\pL\pM]+)*|\x1e|[^\s\pZ\pL\pM\pN_]"
"""Words with their apostrophes, and every other sign that is no space, alone."""
WITH_SPACES = r"\x1e| ?[\pL\pM]+| ?\pN+| ?[^\s\pL\pM\pN\x1e]+|\s+"
"""Words, numbers and signs, each with the space before it: nothing of the text is lost."""
MOST_OCCURRENCES = 5_000_000
"""Byte pairs are counted on so many occurrences of pieces: of larger texts, in proportion."""


def plain(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """The texts without the sign that separates two of them."""
    return pc.replace_substring(texts.cast(pa.string()), CUT, " ")


def cut(texts: pa.ChunkedArray, tokens: Tokens, *, lowercase: bool) -> Prepared:
    """The pieces of each text as ragged int32 codes; a missing text has none."""
    cells = pc.fill_null(texts.cast(pa.string()).combine_chunks(), "")
    if lowercase:
        cells = pc.utf8_lower(cells)
    pattern = WORDS if tokens == "word" else WITH_SPACES
    cells = pc.replace_substring(cells, EDGE, " ")
    marked = pc.replace_substring_regex(cells, f"({pattern})", rf"{EDGE}\1{EDGE}")
    lists = pc.split_pattern(marked, EDGE)
    # Between marks stand the pieces; around them, spaces (of words) or nothing.
    flat, rows = lists.flatten(), pc.list_parent_indices(lists)
    offsets = np.asarray(lists.offsets)
    inner = (np.arange(len(flat)) - np.repeat(offsets[:-1], np.diff(offsets))) % 2 == 1
    encoded = flat.filter(pa.array(inner)).dictionary_encode()
    counts = np.bincount(np.asarray(rows)[inner], minlength=len(cells))
    return Prepared(
        values=Ragged(flat=np.asarray(encoded.indices, np.int32), offsets=np.concatenate([[0], np.cumsum(counts)])),
        dictionaries=[encoded.dictionary.to_pylist()],
    )


def counted(prepared: Prepared) -> dict[str, int]:
    """How often each piece occurs."""
    (entries,) = prepared.dictionaries
    numbers = np.bincount(prepared.values.flat, minlength=len(entries)).tolist()
    return {entry: number for entry, number in zip(entries, numbers, strict=True) if number}


def added(first: dict[str, int], second: dict[str, int]) -> dict[str, int]:
    """Two counts as one."""
    large, small = (first, second) if len(first) >= len(second) else (second, first)
    return {**large, **{piece: number + large.get(piece, 0) for piece, number in small.items()}}


def vocabulary(counts: dict[str, int], tokens: Tokens, size: int, least: int) -> dict[str, Any]:
    """The fitted tokens, in the JSON of the tokenizers library: at most `size`, each at least `least` times.

    Raises:
        EnvironmentFault: E_EXTRA_MISSING, tokenizers is not installed.
    """
    library = _tokenizers()
    counts = {piece: number for piece, number in counts.items() if piece != CUT}
    if tokens == "word":
        known = [piece for piece, number in _frequent(counts) if number >= least]
        model = library.models.WordLevel(_numbered(known, size), unk_token=SPECIAL[UNKNOWN])
    elif tokens == "character":
        letters: Counter[str] = Counter()
        for piece, number in counts.items():
            for letter in piece:
                letters[letter] += number
        known = [letter for letter, number in _frequent(letters) if number >= least]
        model = library.models.BPE(_numbered(known, size), [], unk_token=SPECIAL[UNKNOWN])
    else:
        tokenizer = library.Tokenizer(library.models.BPE(unk_token=SPECIAL[UNKNOWN]))
        trainer = library.trainers.BpeTrainer(
            vocab_size=size,
            min_frequency=max(round(least * _share(counts)), 1),
            limit_alphabet=max(size - len(SPECIAL), 0),
            special_tokens=list(SPECIAL),
            show_progress=False,
        )
        tokenizer.train_from_iterator(_occurrences(counts), trainer)
        model = tokenizer.model
    fitted: dict[str, Any] = json.loads(library.Tokenizer(model).to_str())["model"]
    return fitted


def encoded(fitted: dict[str, Any], entries: list[str]) -> Ragged:
    """The tokens of each piece, and last those of a missing one: none."""
    library = _tokenizers()
    kind = library.models.WordLevel if fitted["type"] == "WordLevel" else library.models.BPE
    more = {} if fitted["type"] == "WordLevel" else {"merges": [tuple(pair) for pair in fitted["merges"]]}
    tokenizer = library.Tokenizer(kind(fitted["vocab"], **more, unk_token=SPECIAL[UNKNOWN]))
    found = [one.ids for one in tokenizer.encode_batch_fast(entries)]
    rows = [[SEPARATOR] if entry == CUT else ids for entry, ids in zip(entries, found, strict=True)]
    return Ragged.of([*rows, []], np.int32)


def padded(values: Any, length: int, *, keep_end: bool = False) -> Any:
    """Ragged tokens as int64[rows, length], cut or filled with zeros behind; length 0: that of the longest row."""
    import torch

    flat, offsets = values
    lengths = offsets.diff()
    starts = offsets[:-1]
    width = length or max(int(lengths.max()) if len(lengths) else 0, 1)
    if keep_end:
        starts = starts + (lengths - width).clamp(min=0)
    place = torch.arange(width, device=flat.device)
    inside = place < lengths.clamp(max=width)[:, None]
    at = (starts[:, None] + place).clamp(max=max(len(flat) - 1, 0))
    if not len(flat):
        return torch.zeros(len(lengths), width, dtype=torch.int64, device=flat.device)
    return torch.where(inside, flat[at].long(), PADDING)


def _frequent(counts: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda one: (-one[1], one[0]))


def _numbered(known: list[str], size: int) -> dict[str, int]:
    names = [*SPECIAL, *(one for one in known if one not in SPECIAL)]
    return {name: at for at, name in enumerate(names[:size])}


def _share(counts: dict[str, int]) -> float:
    """How much of the occurrences byte pairs are counted on."""
    return min(1.0, MOST_OCCURRENCES / max(sum(counts.values()), 1))


def _occurrences(counts: dict[str, int]) -> Iterator[list[str]]:
    share = _share(counts)
    for piece, number in sorted(counts.items()):
        yield [piece] * max(round(number * share), number * share >= 0.5)


def _tokenizers() -> Any:
    try:
        import tokenizers
    except ImportError as error:
        raise EnvironmentFault(
            "E_EXTRA_MISSING",
            "tokenizers is not installed",
            place="features",
            action="install it: pip install -e '.[text]'",
        ) from error
    return tokenizers
