"""Networks of a user's own in training: what they give, what goes wrong in them."""

import sys
from pathlib import Path

import pytest

from components.contracts.errors import ConfigError
from components.contracts.registry import load_kind
from components.models import KINDS
from tests.line import image_recipe, table_recipe, trained, write_images, write_table


@pytest.mark.bad_input
@pytest.mark.parametrize("given", ["tensor", "other name", "a class more"])
def test_a_network_that_gives_something_else_is_one_line(tmp_path, ctx, given, monkeypatch):
    """A user's own model whose forward returns a bare tensor, or a dict with another name, or too many numbers."""
    body, found = {
        "tensor": ("return next(iter(batch.values()))[:, :2]", "Tensor"),
        "other name": ("return {'x': torch.zeros(1)}", r"x: \[1\]"),
        "a class more": ("return {'label': torch.zeros(len(batch['numbers']), 3)}", r"label: \[16, 3\]"),
    }[given]
    (tmp_path / "wrong.py").write_text(
        "from components.contracts.config import CustomConfig\n\n\nclass Net(CustomConfig):\n"
        "    def build(self, inputs, outputs):\n        import torch\n\n        class Net(torch.nn.Module):\n"
        "            def __init__(self):\n                super().__init__()\n"
        "                self.one = torch.nn.Linear(1, 1)\n\n"
        f"            def forward(self, batch):\n                {body}\n\n        return Net()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    config = {"kind": "custom", "target": "wrong:Net"}
    model = load_kind("components.models", KINDS, config, "model").model_validate(config)
    with pytest.raises(ConfigError, match=rf"E_CONFIG model: .* dict .*got '{found}'.*allowed: label: \['batch', 2\]"):
        trained(table_recipe(write_table(tmp_path / "table"), model=model), ctx)
    sys.modules.pop("wrong")


@pytest.mark.bad_input
@pytest.mark.parametrize("place", ["layer", "forward", "build"])
def test_an_error_of_a_network_of_ones_own_is_one_line(tmp_path, ctx, place, monkeypatch):
    """A layer that reads fewer numbers than it gets, a name that is not there in `forward`, another in `build`."""
    said, expected = {
        "layer": (
            ("2", "batch['numbers']", "net"),
            r"broken.py:14: .* RuntimeError in layer net \(Linear\): .* \(got 'numbers: \[16, 1\], categories: ",
        ),
        "forward": (("1", "numbers", "net"), r"broken.py:14: .* raised NameError: name 'numbers' is not defined"),
        "build": (("1", "batch['numbers']", "nat"), r"broken.py:16: .* raised NameError: name 'nat' is not defined"),
    }[place]
    width, read, given = said
    (tmp_path / "broken.py").write_text(
        "from components.contracts.config import CustomConfig\n\n\nclass Net(CustomConfig):\n"
        "    def build(self, inputs, outputs):\n        import torch\n\n        class Net(torch.nn.Module):\n"
        "            def __init__(self):\n                super().__init__()\n"
        f"                self.net = torch.nn.Linear({width}, 2)\n\n"
        f"            def forward(self, batch):\n                return {{'label': self.net({read})}}\n"
        f"        net = Net()\n        return {given}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    config = {"kind": "custom", "target": "broken:Net"}
    model = load_kind("components.models", KINDS, config, "model").model_validate(config)
    with pytest.raises(ConfigError, match=rf"E_CUSTOM .*{expected}.*its traceback stands in .*\.log") as raised:
        trained(table_recipe(write_table(tmp_path / "table"), model=model), ctx)
    assert "Error" in Path(str(raised.value).rpartition(" in ")[2]).read_text()
    sys.modules.pop("broken")


def test_a_network_of_ones_own_may_flatten_maps_as_it_likes(tmp_path, ctx, monkeypatch):
    """`view` needs maps in the usual order."""
    (tmp_path / "flat.py").write_text(
        "from components.contracts.config import CustomConfig\n\n\nclass Net(CustomConfig):\n"
        "    def build(self, inputs, outputs):\n        import torch\n\n        class Net(torch.nn.Module):\n"
        "            def __init__(self):\n                super().__init__()\n"
        "                self.one = torch.nn.Conv2d(1, 4, 3)\n                self.two = torch.nn.Linear(144, 2)\n\n"
        "            def forward(self, batch):\n                maps = self.one(batch['image'])\n"
        "                return {'label': self.two(maps.view(len(maps), -1))}\n\n        return Net()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    config = {"kind": "custom", "target": "flat:Net"}
    model = load_kind("components.models", KINDS, config, "model").model_validate(config)
    _, checkpoint = trained(image_recipe(write_images(tmp_path / "i"), model=model), ctx)
    assert checkpoint.metrics["validation_accuracy"] > 0.8
    sys.modules.pop("flat")
