"""Bundles in environments that have nothing but what their requirements name: tables, decoded pictures and sounds."""

import io
import json
import subprocess
import sys
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from PIL import Image as Pillow

from components import compress
from components.compress import CompressConfig
from components.features.audio import Audio
from components.features.category import Category
from components.features.image import Image
from components.features.number import Number
from components.features.text import Text
from components.models.cnn import Cnn, Conv
from components.models.recurrent import Recurrent
from components.packages import open_package
from components.raw_rows import folder_of
from components.sources.audio_folder import AudioFolderSource
from components.sources.files import FilesSource
from components.validate import ValidateConfig
from tests.line import image_recipe, packaged, table_recipe, write_images

pytestmark = pytest.mark.e2e
ASK = """
import json, sys, numpy as np
sys.path.insert(0, sys.argv[1])
from predict import Device, FOLDER
given = np.load(sys.argv[2], allow_pickle=True)["rows"].tolist()
print(json.dumps(Device(FOLDER).predict(given)))
"""


def table(folder):
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 2, 200)
    words = [("good film", "bad film, very", "so-so")[at] for at in draw.integers(0, 3, 200)]
    cells = {"n": draw.normal(labels, 1), "c": np.array(["red", "blue"])[labels], "t": words, "label": labels}
    folder.mkdir()
    pq.write_table(pa.table(cells), folder / "rows.parquet")
    more = {"source": FilesSource(uri=str(folder)), "checks": ValidateConfig(), "cleaning": ()}
    numbers = table_recipe(folder, features=(Number(columns=("n",)), Category(columns=("c",))), **more)
    texts = table_recipe(folder, features=(Text(column="t"),), model=Recurrent(hidden=8), **more)
    rows = [{"n": 0.5, "c": "red", "t": "a good film"}, {"n": -2.0, "c": None, "t": "never seen"}]
    return {"table": (numbers, rows, rows), "texts": (texts, rows, rows)}


def pictures(folder):
    recipe = image_recipe(write_images(folder))
    recipe = recipe.__class__(**{**vars(recipe), "features": (Image(height=8, width=8, channels=1),)})
    pixels = np.random.default_rng(1).integers(0, 256, (3, 8, 8, 1), np.uint8)
    files = []
    for one in pixels:
        Pillow.fromarray(one[:, :, 0]).save(file := io.BytesIO(), "PNG")
        files.append({"image": file.getvalue()})
    return {"pictures": (recipe, [{"image": one} for one in pixels], files)}


def sounds(folder):
    draw, rows, files = np.random.default_rng(2), [], []
    for at in range(60):
        tone = np.sin(np.arange(2000) * (0.1 if at % 2 else 0.7)) * 0.5 + draw.normal(0, 0.05, 2000)
        (place := folder / ("low" if at % 2 else "high")).mkdir(parents=True, exist_ok=True)
        soundfile.write(place / f"{at}.wav", tone, 8000, subtype="FLOAT")
        if at < 3:
            rows.append({"audio": (tone.astype(np.float32), 8000)})
            files.append({"audio": (place / f"{at}.wav").read_bytes()})
    recipe = image_recipe(
        folder, source=AudioFolderSource(uri=str(folder)), model=Cnn(layers=(Conv(channels=4),)),
        features=(Audio(rate=8000, seconds=0.25, bands=16),),
    )  # fmt: skip
    return {"sounds": (recipe, rows, files)}


def test_bundles_answer_where_nothing_else_is_installed(ctx, tmp_path):
    """One environment: all of these bundles require the same."""
    cases = table(tmp_path / "table") | pictures(tmp_path / "pictures") | sounds(tmp_path / "sounds")
    python, required = tmp_path / "alone" / "bin" / "python", set()
    for name, (recipe, given, rows) in cases.items():
        dataset, package = packaged(recipe, ctx)
        made = compress.run(CompressConfig(quantise="none"), package, dataset, ctx=ctx)
        with zipfile.ZipFile(
            ctx.store.open(ctx.store.artifact("compress", made.fingerprint).standing(), "bundle.zip")
        ) as zipped:
            zipped.extractall(tmp_path / "bundles" / name)
        bundle = tmp_path / "bundles" / name / "bundle"
        lines = (bundle / "requirements.txt").read_text().splitlines()
        asked = {one for one in lines if not one.startswith("#")}
        assert {one.partition("==")[0] for one in asked} == {"numpy", "onnxruntime"}
        if not required:
            subprocess.run([sys.executable, "-m", "venv", tmp_path / "alone"], check=True)
            install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r"]
            subprocess.run([*install, bundle / "requirements.txt"], check=True)
            frozen = [python, "-m", "pip", "freeze", "--disable-pip-version-check"]
            found = subprocess.run(frozen, capture_output=True, text=True, check=True).stdout.lower()
            assert not [one for one in ("torch", "pyarrow", "pillow", "soundfile", "scipy", "pandas") if one in found]
            required = asked
        assert asked == required
        np.savez(tmp_path / "given.npz", rows=np.array(given, object))
        ask = [python, "-I", "-c", ASK, bundle, tmp_path / "given.npz"]
        done = subprocess.run(ask, capture_output=True, text=True, check=True)
        predictor = open_package(folder_of(package, ctx.store))
        columns = {one.name for one in predictor.raw} & rows[0].keys()
        wanted = predictor.predict(pa.table({one: [row[one] for row in rows] for one in columns})).table().to_pylist()
        for one, other in zip(json.loads(done.stdout), wanted, strict=True):
            assert one["prediction"] == other["prediction"], name
            assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-4), name
