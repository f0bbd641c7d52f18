"""Peers in environments of their own, and children that are measured in turn: each does its work once for every line."""

import json
import os
import subprocess
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

from tests.benchmarks.start_up import ROOT

PACKAGES = {
    "keras": [("tensorflow-cpu==2.21.0", "keras==3.15.0", "pillow==13.0.0")],
    "tables": [
        ("polars==2.1.0", "duckdb==2.0.0", "pyarrow==25.0.1", "pandas==3.1.0", "dask[dataframe]==2026.8.0"),
    ],
    # What brings torchvision, and with it a torch for GPUs, is installed without what it asks for.
    "loaders": [
        ("torch==2.13.0",),
        ("--no-deps", "litdata==0.2.76", "webdataset==1.0.2"),
        ("datasets==5.2.0", "braceexpand", "obstore", "tifffile", "boto3", "lightning-utilities", "pillow==13.0.0"),
    ],
    "serving": [
        ("torch==2.13.0",),
        ("litserve==0.2.19", "onnxruntime==1.31.1", "uvicorn[standard]", "fastapi", "numpy"),
    ],
    "mosaic": [
        ("torch==2.13.0",),
        ("--no-deps", "mosaicml-streaming==0.13.0", "torchvision==0.28.0"),
        ("numpy==2.1.3", "transformers<5", "xxhash<4", "paramiko<4", "zstd", "zstandard", "brotli", "python-snappy"),
        ("boto3", "catalogue", "matplotlib", "pillow", "requests", "tqdm", "pyyaml"),
    ],
}  # fmt: skip


@cache
def environment(name):
    """The interpreter of an environment, made where it is not there yet."""
    place = ROOT / ".reports" / "peers" / name
    python = place / "bin" / "python"
    if not (place / ".done").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", place], check=True)
        for packages in PACKAGES[name]:
            command = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *packages]
            subprocess.run(command, check=True)
        (place / ".done").touch()
    return str(python)


class Child:
    """A process that gets ready, and then does its work once for each line that it is sent."""

    def __init__(self, python, script, *arguments):
        cores = str(os.cpu_count())
        more = {"OMP_NUM_THREADS": cores, "POLARS_MAX_THREADS": cores, "DO_NOT_TRACK": "1", "PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(
            [python, str(Path(__file__).with_name(script)), *map(str, arguments)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env={**os.environ, **more},
        )  # fmt: skip
        self.ready = self._said()

    def go(self):
        """What it says of one time."""
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return self._said()

    def end(self):
        """End it."""
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait(60)

    def _said(self):
        for line in self._process.stdout:
            with suppress(ValueError):
                said = json.loads(line)
                if isinstance(said, dict):
                    return said
        raise RuntimeError(f"the child ended with {self._process.wait()}: {self._process.args}")
