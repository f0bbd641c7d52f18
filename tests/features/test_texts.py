"""Text as tokens, pairs and bags, beside what others make of the same text."""

import itertools
import re
import sys

import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from tokenizers import Tokenizer
from tokenizers.models import BPE

from components.adapters.shard_files import Ragged
from components.contracts.errors import ConfigError, EnvironmentFault
from components.contracts.spec import TensorSpec
from components.features import pieces
from components.features.bag import Bag
from components.features.text import Text
from components.features.text_pair import TextPair
from components.models.mlp import Mlp
from tests.features.cases import applied, fit

LINES = [
    "The mill turns; the water doesn't.", "  two  spaces\tand\n a line ", "", None, "naïve Ünïcode 水 and émile’s",
    "under_score 3.14 (x)", "\x1f marks \x1e of our own", "the the THE",
]  # fmt: skip
TABLE = pa.table({"t": LINES})


def text_of(prepared):
    """The pieces of each row."""
    (entries,), offsets = prepared.dictionaries, prepared.values.offsets
    return [[entries[code] for code in prepared.values.flat[start:stop]] for start, stop in itertools.pairwise(offsets)]


def test_words_are_cut_as_a_pattern_says():
    found = text_of(pieces.cut(TABLE["t"], "word", lowercase=True))
    pattern = re.compile(r"\w+(?:['’][^\W\d_]+)*|\x1e|[^\s\w]")
    assert found == [pattern.findall((line or "").lower().replace("\x1f", " ")) for line in LINES]
    assert found[0] == ["the", "mill", "turns", ";", "the", "water", "doesn't", "."]


def test_pieces_with_their_spaces_lose_nothing():
    for tokens in ("character", "byte-pair"):
        found = text_of(pieces.cut(TABLE["t"], tokens, lowercase=False))
        assert ["".join(one) for one in found] == [(line or "").replace("\x1f", " ") for line in LINES]
    assert found[0][:3] == ["The", " mill", " turns"]


def test_words_are_numbered_by_how_often_they_occur():
    feature = Text(column="t", min_count=2, vocabulary=6)
    state = fit(feature, TABLE.slice(0, 3), TABLE.slice(3))
    vocabulary = state["tokenizer"]["vocab"]
    assert vocabulary["the"] == 3
    assert len(vocabulary) <= 6
    tokens = applied(feature, state, TABLE)
    assert tokens[7].tolist() == [3, 3, 3] + [0] * (tokens.shape[1] - 3), "filled up to the longest row"
    assert tokens[2].tolist() == tokens[3].tolist() == [0] * tokens.shape[1], "an empty text, and a missing one"
    assert (tokens[4] == pieces.UNKNOWN).sum() >= 3
    short = Text(column="t", min_count=2, length=2)
    assert applied(short, state, TABLE)[0].tolist() == tokens[0, :2].tolist()
    end = Text(column="t", min_count=2, length=2, keep="end")
    assert applied(end, state, TABLE)[0].tolist() == tokens[0, 6:8].tolist()
    assert applied(end, state, TABLE)[7].tolist() == [3, 3]


def test_byte_pairs_are_those_of_the_library():
    lines = ["low lower lowest", "new newer newest wider", "lower newest"] * 20
    table = pa.table({"t": lines})
    feature = Text(column="t", tokens="byte-pair", vocabulary=40, min_count=1)
    state = fit(feature, table)
    assert state == fit(feature, table.slice(0, 7), table.slice(7)), "however the rows come"
    vocabulary = state["tokenizer"]["vocab"]
    assert any(len(token) >= 4 for token in vocabulary)
    assert len(vocabulary) <= 40
    model = BPE(vocabulary, [tuple(one) for one in state["tokenizer"]["merges"]], unk_token="[UNK]")
    cut = text_of(feature.prepare(table))
    wanted = [[one for piece in row for one in Tokenizer(model).encode(piece).ids] for row in cut[:3]]
    names = {number: token for token, number in vocabulary.items()}
    for row, ids in zip(applied(feature, state, table)[:3].tolist(), wanted, strict=True):
        assert row[: len(ids)] == ids
        assert not any(row[len(ids) :])
    assert ["".join(names[one] for one in ids) for ids in wanted] == lines[:3]


def test_letters_give_the_text_again():
    feature = Text(column="t", tokens="character", min_count=1, lowercase=False)
    state = fit(feature, TABLE)
    names = {number: letter for letter, number in state["tokenizer"]["vocab"].items()}
    for line, row in zip(LINES, applied(feature, state, TABLE).tolist(), strict=True):
        text = "".join(names[one] for one in row if one > pieces.SEPARATOR)
        assert text == (line or "").replace("\x1f", " ").replace("\x1e", " ")


def test_a_pair_says_which_text_a_token_is_of():
    table = pa.table({"a": ["a b", "a", None, "a \x1e b"], "b": ["b c d", None, "c", "d"]})
    feature = TextPair(first="a", second="b", min_count=1)
    state = fit(feature, table)
    number = state["tokenizer"]["vocab"]
    tokens = applied(feature, state, table)
    a, b, c, d = (number[letter] for letter in "abcd")
    assert tokens[:, 0].tolist() == [[a, b, 2, b, c, d], [a, 2, 0, 0, 0, 0], [2, c, 0, 0, 0, 0], [a, b, 2, d, 0, 0]]
    assert tokens[0, 1].tolist() == [0, 0, 1, 1, 1, 1]
    assert tokens[2, 1].tolist() == [1, 1, 0, 0, 0, 0]


@pytest.mark.parametrize("weight", ["count", "binary", "tf-idf"])
def test_bags_are_those_of_scikit_learn(weight):
    random = np.random.default_rng(0)
    words = np.array([f"w{number}" for number in range(200)])
    chance = 1 / np.arange(1, 201)
    lines = [" ".join(random.choice(words, random.integers(1, 40), p=chance / chance.sum())) for _ in range(300)]
    table = pa.table({"t": lines})
    feature = Bag(column="t", weight=weight, min_rows=3, max_share=0.6, vocabulary=10_000)
    state = fit(feature, table.slice(100), table.slice(0, 100))
    settings = {"min_df": 3, "max_df": 0.6, "token_pattern": r"\w+"}
    theirs = (
        TfidfVectorizer(**settings) if weight == "tf-idf" else CountVectorizer(binary=weight == "binary", **settings)
    )
    wanted = theirs.fit_transform(lines).toarray()
    order = [theirs.vocabulary_[word] for word in state["words"]]
    assert sorted(order) == list(range(len(theirs.vocabulary_)))
    assert np.allclose(applied(feature, state, table).numpy(), wanted[:, order], atol=1e-6)


def test_texts_need_their_extra_and_a_model_that_reads_sequences(monkeypatch):
    feature = Text(column="t")
    state = fit(feature, TABLE)
    with pytest.raises(ConfigError, match="E_CONFIG model.kind: mlp reads no sequences .got 'text'"):
        Mlp().build([feature.spec(state)], [TensorSpec(name="o", shape=(2,), dtype="float32")])
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(EnvironmentFault, match=r"E_EXTRA_MISSING .*pip install -e '\.\[text\]'"):
        fit(feature, TABLE)


def test_no_text_at_all_is_padding():
    values = (torch.zeros(0, dtype=torch.int32), torch.tensor([0, 0, 0]))
    assert pieces.padded(values, 0).tolist() == [[0], [0]]
    assert Ragged.of([], np.int32).offsets.tolist() == [0]


def test_spaces_of_other_scripts_are_no_words():
    found = text_of(pieces.cut(pa.chunked_array([["a\u00a0b\u3000c\u2003d"]]), "word", lowercase=True))
    assert found == [["a", "b", "c", "d"]]


def test_a_small_vocabulary_of_byte_pairs_stays_small():
    table = pa.table({"t": ["the quick brown fox jumps over the lazy dog"] * 5})
    feature = Text(column="t", tokens="byte-pair", vocabulary=10, min_count=1)
    state = fit(feature, table)
    assert len(state["tokenizer"]["vocab"]) <= 10
    assert applied(feature, state, table).max() < 10


def test_the_sign_between_two_texts_is_none_of_a_text():
    table = pa.table({"t": ["a\x1eb", "a b"]})
    feature = Text(column="t")
    assert feature.prepare(table).dictionaries == [["a", "b"]]
