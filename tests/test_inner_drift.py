"""Texts, pictures and sounds are compared by what the network makes of them."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

from components import ingest, monitor
from components.features.audio import Audio
from components.features.text import Text
from components.models.cnn import Cnn, Conv
from components.models.recurrent import Recurrent
from components.monitor import Watched
from components.sources.audio_folder import AudioFolderSource
from components.sources.files import FilesSource
from components.sources.image_folder import ImageFolderSource
from components.validate import ValidateConfig
from tests.line import image_recipe, packaged, png, table_recipe
from tests.watching import Model


def words(draw, rows, moved=0.0):
    good = draw.random(rows) < 0.5
    texts = []
    for one in good:
        # Nearly equal texts would stay together in one part of the split.
        said = [f"word{number}" for number in draw.integers(0, 300, 6)]
        kind = draw.choice(("good", "fine", "nice") if one else ("bad", "poor", "dull"))
        texts.append(" ".join([*said, kind, *(["unwatched"] * int(draw.random() < moved))]))
    return pa.table({"text": texts, "label": np.where(good, "yes", "no").tolist()})


def test_texts_are_compared_by_what_the_network_makes_of_them(shared_ctx, tmp_path):
    draw = np.random.default_rng(3)
    (tmp_path / "old").mkdir()
    pq.write_table(words(draw, 2000), tmp_path / "old" / "rows.parquet")
    recipe = table_recipe(
        tmp_path, source=FilesSource(uri=str(tmp_path / "old")), cleaning=(), checks=ValidateConfig(),
        features=(Text(column="text"),), model=Recurrent(hidden=8),
    )  # fmt: skip
    model = Model(shared_ctx, *packaged(recipe, shared_ctx), tmp_path)
    same, other = model.watch(words(draw, 400)), model.watch(words(draw, 400, moved=0.8))
    assert same.alarms == ()
    assert "inner: what the network makes of the rows" in other.alarms
    assert not [one for one in other.found if one.kind == "column" and one.what == "text"]
    # So in a log, where the server was asked to write texts.
    now = datetime.now(UTC)
    model.log(words(draw, 400), now - timedelta(hours=4), ["text"])
    assert model.watch_log(now - timedelta(hours=5)).alarms == ()
    model.log(words(draw, 1000, moved=0.8), now - timedelta(hours=1), ["text"])
    assert "inner: what the network makes of the rows" in model.watch_log(now - timedelta(hours=2)).alarms


def test_pictures_that_grow_darker_are_told_apart(shared_ctx, tmp_path):
    draw = np.random.default_rng(4)

    def write(folder, each):
        for label, base in (("dark", 60), ("light", 190)):
            (folder / label).mkdir(parents=True)
            for number in range(each):
                (folder / label / f"{number:03}.png").write_bytes(png(int(base + draw.integers(0, 40))))
        return folder

    recipe = image_recipe(write(tmp_path / "old", 400))
    dataset, package = packaged(recipe, shared_ctx)
    source = ImageFolderSource(uri=str(write(tmp_path / "new", 100)))
    raw = ingest.run(ingest.IngestConfig(source=source), ctx=shared_ctx)
    config = Watched(name="toy", version="1", draws=20)
    same = monitor.run(config, raw, package, dataset, ctx=shared_ctx)
    darker = monitor.run(config.model_copy(update={"simulate": 1.0}), raw, package, dataset, ctx=shared_ctx)
    assert same.alarms == ()
    assert "inner: what the network makes of the rows" in darker.alarms


def test_sounds_in_more_noise_are_told_apart(shared_ctx, tmp_path):
    draw = np.random.default_rng(5)

    def write(folder, each, noise):
        for label, pitch in (("high", 1500), ("low", 300)):
            (folder / label).mkdir(parents=True)
            for number in range(each):
                times = np.arange(1600) / 8000
                tone = 0.3 * np.sin(2 * np.pi * pitch * draw.uniform(0.8, 1.2) * times)
                soundfile.write(folder / label / f"{number:03}.wav", tone + draw.normal(0, noise, 1600), 8000)
        return AudioFolderSource(uri=str(folder))

    old = write(tmp_path / "old", 200, 0.01)
    sound = Audio(rate=8000, seconds=0.2, bands=8)
    recipe = table_recipe(
        tmp_path,
        source=old,
        cleaning=(),
        checks=ValidateConfig(),
        features=(sound,),
        model=Cnn(layers=(Conv(channels=4),)),
    )
    dataset, package = packaged(recipe, shared_ctx)
    found = []
    for name, noise in (("same", 0.01), ("noisy", 0.15)):
        raw = ingest.run(ingest.IngestConfig(source=write(tmp_path / name, 60, noise)), ctx=shared_ctx)
        config = Watched(name="toy", version="1", draws=20)
        found.append(monitor.run(config, raw, package, dataset, ctx=shared_ctx).alarms)
    assert found[0] == ()
    assert "inner: what the network makes of the rows" in found[1]
