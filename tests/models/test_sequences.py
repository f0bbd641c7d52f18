"""Models of sequences: what fills up a text counts nothing, and attention is what others have too."""

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from components.contracts.errors import ConfigError
from components.contracts.spec import TensorSpec
from components.models.attention import Attention, Block, turned, waves, within
from components.models.decoder import Decoder
from components.models.encoder_decoder import EncoderDecoder
from components.models.recurrent import Recurrent
from components.models.sequences import Cells
from components.models.transformer import Transformer
from components.objectives.language_model import LanguageModel
from tests.models.cases import CELLS, PLACES, TABLE, TEXT, TEXTS
from tests.models.test_models import ROWS, tokens

WANTED = [TensorSpec(name="o", shape=(2,), dtype="float32")]
READERS = [
    *(Recurrent(cell=cell, hidden=8) for cell in CELLS),
    Recurrent(hidden=8, layers=2, bidirectional=True),
    *(Transformer(width=16, heads=2, positions=one) for one in PLACES),
]


@pytest.mark.parametrize("pool", ["last", "mean", "max"])
@pytest.mark.parametrize("number", range(len(READERS)))
def test_what_fills_up_a_text_changes_nothing(number, pool):
    torch.manual_seed(0)
    network = READERS[number].model_copy(update={"pool": pool}).build(TEXT, WANTED).eval()
    short = tokens()
    longer = torch.cat([short, torch.zeros(ROWS, 5, dtype=torch.int64)], 1)
    with torch.inference_mode():
        first, second = (network({"t": one})["o"] for one in (short, longer))
    assert torch.allclose(first, second, atol=1e-6)
    assert not torch.allclose(first[3], first[4], atol=1e-4), "what stands in it does"


def test_attention_is_that_of_torch():
    torch.manual_seed(0)
    ours = Attention(16, 4, rotary=False).eval()
    theirs = torch.nn.MultiheadAttention(16, 4, batch_first=True).eval()
    theirs.in_proj_weight, theirs.in_proj_bias, theirs.out_proj = ours.into.weight, ours.into.bias, ours.out
    steps, lengths = torch.randn(5, 7, 16), torch.tensor([7, 1, 3, 5, 2])
    inside = torch.arange(7) < lengths[:, None]
    wanted, _ = theirs(steps, steps, steps, key_padding_mask=~inside, need_weights=False)
    assert torch.allclose(ours(steps, inside[:, None, None])[inside], wanted[inside], atol=1e-6)


def test_a_block_that_looks_at_another_text_is_that_of_torch():
    torch.manual_seed(0)
    ours = Block(16, 4, 32, 0.0, rotary=False, across=True).eval()
    theirs = torch.nn.TransformerDecoderLayer(16, 4, 32, 0.0, "gelu", batch_first=True, norm_first=True).eval()
    own, other = theirs.self_attn, theirs.multihead_attn
    own.in_proj_weight, own.in_proj_bias = ours.attention.into.weight, ours.attention.into.bias
    own.out_proj, other.out_proj = ours.attention.out, ours.across.out
    for name in ("weight", "bias"):
        joined = torch.cat([getattr(ours.across.asks, name), getattr(ours.across.into, name)])
        setattr(other, f"in_proj_{name}", torch.nn.Parameter(joined))
    theirs.linear1, theirs.linear2 = ours.net[0], ours.net[3]
    theirs.norm1, theirs.norm2, theirs.norm3 = ours.first, ours.between, ours.second
    steps, read, lengths = torch.randn(5, 7, 16), torch.randn(5, 6, 16), torch.tensor([6, 1, 3, 5, 2])
    ahead = torch.ones(7, 7, dtype=torch.bool).triu(1)
    inside = within(6, lengths)
    wanted = theirs(steps, read, tgt_mask=ahead, memory_key_padding_mask=~inside[:, 0, 0])
    assert torch.allclose(ours(steps, ~ahead, (read, inside)), wanted, atol=1e-6)


def test_an_encoder_decoder_tells_what_stands_in_the_text_that_it_reads():
    """The text that is told is the one that is read, backwards; only who reads it can know."""
    torch.manual_seed(0)
    objective = LanguageModel(feature="t")
    wanted = objective.outputs([], TEXTS)
    network = EncoderDecoder(width=32, heads=2, layers=2, dropout=0).build(TEXTS, wanted)
    optimizer = torch.optim.Adam(network.parameters(), 0.003)
    for _ in range(400):
        read = torch.randint(3, 30, (64, 6))
        batch = {"u": read, "t": read.flip(1)}
        loss = objective.loss(network(batch), batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()
    read = torch.randint(3, 30, (64, 6))
    with torch.inference_mode():
        told, blind = (
            objective.decode(network(batch), batch, None)
            for batch in ({"u": read, "t": read.flip(1)}, {"u": read.flip(0), "t": read.flip(1)})
        )
    assert told["nats"].mean() < 0.3 * blind["nats"].mean()


def test_turned_vectors_know_how_far_apart_they_are():
    torch.manual_seed(0)
    query, key = (turned(torch.randn(8).expand(1, 1, 20, 8))[0, 0] for _ in range(2))
    products = query @ key.T
    assert torch.allclose(products[0, 3], products[10, 13], atol=1e-5)
    assert not torch.allclose(products[0, 3], products[0, 4], atol=1e-3)
    assert torch.allclose((waves(50, 16, products) ** 2).sum(1), torch.full((50,), 8.0), atol=1e-4)


@pytest.mark.bad_input
def test_a_sequence_that_a_model_cannot_read_is_one_line():
    for model in (Recurrent(), Transformer()):
        with pytest.raises(ConfigError, match="E_CONFIG model.kind: .* reads one sequence and nothing else"):
            model.build(TABLE, WANTED)
    learned = Transformer(width=16, heads=2, positions="learned", longest=10)
    fixed = [TEXT[0].model_copy(update={"shape": (11,)})]
    with pytest.raises(
        ConfigError, match="E_CONFIG model.longest: the sequence is longer .* .got 11.; allowed: up to 10"
    ):
        learned.build(fixed, WANTED)
    with pytest.raises(ConfigError, match="E_CONFIG model.longest: a sequence is longer than .* .got 11."):
        learned.build(TEXT, WANTED)({"t": torch.ones(2, 11, dtype=torch.int64)})
    with pytest.raises(ConfigError, match="E_CONFIG model.kind: encoder-decoder reads one text and tells another"):
        EncoderDecoder().build(TEXT, LanguageModel().outputs([], TEXT))
    with pytest.raises(ConfigError, match="E_CONFIG objective.feature: .* one text .got 't, u'.; allowed: t, u"):
        LanguageModel().outputs([], TEXTS)
    with pytest.raises(ConfigError, match="E_CONFIG objective.feature: .*allowed: a feature of kind text"):
        LanguageModel().outputs([], TABLE)
    with pytest.raises(ValueError, match="heads have to divide"):
        Transformer(width=10, heads=4)


@pytest.mark.parametrize("cell", CELLS)
def test_states_are_those_of_packed_rows(cell):
    """Two layers, both ways: as torch's own cells over packed rows, with the same weights."""
    kind = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[cell]
    theirs = kind(5, 4, 2, batch_first=True, bidirectional=True)
    ours = Cells(cell, 5, 4, layers=2, both_ways=True, dropout=0.0)
    for layer in range(2):
        for way, nets in (("", ours.forwards), ("_reverse", ours.backwards)):
            named = dict(nets[layer].named_parameters())
            for name, one in named.items():
                one.data.copy_(getattr(theirs, name.replace("l0", f"l{layer}") + way))
    steps, lengths = torch.randn(6, 7, 5), torch.tensor([7, 1, 3, 5, 7, 2])
    packed = pack_padded_sequence(steps, lengths, batch_first=True, enforce_sorted=False)
    wanted, _ = pad_packed_sequence(theirs(packed)[0], batch_first=True)
    inside = (torch.arange(7) < lengths[:, None])[..., None]
    assert torch.allclose(ours(steps, lengths) * inside, wanted, atol=1e-6)


@pytest.mark.parametrize("positions", PLACES)
def test_a_decoder_does_not_look_ahead(positions):
    network = Decoder(width=16, heads=2, positions=positions).build(TEXT, LanguageModel().outputs([], TEXT))
    network.eval()
    first = torch.randint(1, 30, (4, 9))
    second = first.clone()
    second[:, 5:] = torch.randint(1, 30, (4, 4))
    (one,), (other,) = (network({"t": tokens}).values() for tokens in (first, second))
    assert torch.allclose(one[:, :5], other[:, :5], atol=1e-6)
    assert not torch.allclose(one[:, 5:], other[:, 5:], atol=1e-3)


def test_a_language_model_learns_what_follows_and_writes_it():
    """Tokens that follow each other round: afterwards nothing surprises, and what is written goes on."""
    torch.manual_seed(0)
    objective = LanguageModel()
    network = Decoder(width=16, heads=2, dropout=0).build(TEXT, objective.outputs([], TEXT))
    rounds = torch.arange(3, 13).repeat(3)
    texts = torch.stack([rounds[at : at + 12] for at in range(10)])
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(150):
        loss = objective.loss(network({"t": texts}), {"t": texts})
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()
    with torch.inference_mode():
        answers = objective.decode(network({"t": texts}), {"t": texts}, None)
        written = network.write(texts[:, :2], 8, torch.Generator().manual_seed(0), heat=0.5, likeliest=3)
    assert answers["tokens"].tolist() == [11] * 10
    assert objective.pooled(objective.facts(answers, None))(torch.ones(10).numpy())["perplexity"] < 1.2
    assert objective.constant(None, objective.facts(answers, None))["nats"][0] == pytest.approx(11 * 3.4012, rel=1e-4)
    assert (written == texts[:, :10]).float().mean() > 0.9
