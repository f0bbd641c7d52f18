"""Lines of models that learn from texts alone, up to the report."""

import numpy as np
import pyarrow as pa
import pytest

from components import evaluate
from components.features.label import Label
from components.features.none import Nothing
from components.features.text import Text
from components.models.decoder import Decoder
from components.models.encoder_decoder import EncoderDecoder
from components.models.glove import Glove
from components.models.word2vec import Word2Vec
from components.objectives.language_model import LanguageModel
from components.objectives.word_embedding import WordEmbedding
from components.packages import open_package
from components.sources.files import FilesSource
from components.train import TrainSettings
from components.validate import ValidateConfig
from tests.line import SHORT, packaged, table_recipe

GROUPS = (("corn", "rye", "oats", "wheat"), ("iron", "steel", "brass", "copper"))


def line(folder, **changes):
    """Sentences about grain or about metal, and the same ones turned round."""
    drawn = np.random.default_rng(0)
    folder.mkdir()
    for number, length in enumerate((8, 6)):
        cells = []
        for at in range(200):
            words = drawn.choice(GROUPS[at % 2], length)
            cells.append(f"{' '.join(words)},{' '.join(words[::-1])},{at % 2}")
        (folder / f"{number}.csv").write_text("\n".join(["said,turned,about", *cells]) + "\n")
    settings = {
        "source": FilesSource(uri=str(folder)),
        "checks": ValidateConfig(),
        "cleaning": (),
        "features": (Text(column="said"),),
        "target": Nothing(),
        "settings": TrainSettings(max_epochs=12, batch_size=32, learning_rate=0.01),
    }
    return table_recipe(folder, **(settings | changes))


def reported(recipe, ctx):
    """Its opened package, its metrics, and its page."""
    dataset, package = packaged(recipe, ctx)
    report = evaluate.run(SHORT, package, dataset, None, ctx=ctx)
    folders = [ctx.store.folder(ctx.store.artifact(step, one.fingerprint).record())
               for step, one in (("package", package), ("evaluate", report))]  # fmt: skip
    metrics = {name: one.value for name, one in report.metrics.items()}
    return open_package(folders[0] / "model"), metrics, report.baseline, (folders[1] / "report.html").read_text()


def test_a_decoder_writes_on(tmp_path, ctx):
    model, metrics, baseline, page = reported(
        line(tmp_path / "t", model=Decoder(width=16, heads=2), objective=LanguageModel()), ctx
    )
    assert metrics["perplexity"] < 6 < baseline["perplexity"], "after the first word, four go on"
    assert "Written" in page
    told = model.predict(pa.table({"said": ["corn rye oats rye corn", "corn iron oats brass rye"]})).table()
    usual, odd = told["prediction"].to_pylist()
    assert usual < odd / 2


def test_an_encoder_decoder_knows_what_it_has_read(tmp_path, ctx):
    texts = (Text(name="read", column="said"), Text(name="told", column="turned"))
    recipe = line(
        tmp_path / "t",
        features=texts,
        model=EncoderDecoder(width=32, heads=2, dropout=0, positions="learned", longest=200),
        objective=LanguageModel(feature="told"),
        settings=TrainSettings(max_epochs=20, batch_size=32, learning_rate=0.01),
    )
    _, metrics, _, _ = reported(recipe, ctx)
    assert metrics["perplexity"] < 3, "of four words each, who has not read knows none"


@pytest.mark.parametrize(
    "model",
    [*(Word2Vec(way=way, window=3, frequent=1) for way in ("skip-gram", "cbow")), Glove(window=3, most=20, rate=0.2)],
    ids=["skip-gram", "cbow", "glove"],
)
def test_vectors_of_words_lie_near_their_neighbours(model, tmp_path, ctx):
    recipe = line(
        tmp_path / "t",
        target=Label(column="about"),
        model=model,
        objective=WordEmbedding(width=8),
        settings=TrainSettings(max_epochs=12, batch_size=32, learning_rate=0.05),
    )
    _, metrics, baseline, page = reported(recipe, ctx)
    assert metrics["label_accuracy"] == 1
    assert metrics["loss"] < baseline["loss"]
    near = page[page.index("<td>corn</td>") :]
    first = near[: near.index("</tr>")].split("<td>")[2]
    assert {word.strip() for word in first.split("<")[0].split(",")[:3]} == {"rye", "oats", "wheat"}
