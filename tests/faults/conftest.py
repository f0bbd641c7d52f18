"""What trainings give when nothing happens, once for all tests of faults."""

import pytest

from components.adapters.compute import Compute
from components.context import open_context
from components.contracts.placement import Placement
from tests.faults.trainings import Place
from tests.line import prepared, table_recipe, write_table


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")
    ctx = open_context(Placement(home=folder / "data home"), "t")
    ctx.compute = Compute(workers=1, synchronous=True)
    recipe = table_recipe(write_table(folder / "table"))
    return Place(folder, prepared(recipe, ctx))


@pytest.fixture(scope="session")
def whole(place):
    """What training gives when nothing happens, and the rows of its steps."""
    made = place.train(place.context("oracle"))
    return made, place.rows()


@pytest.fixture(scope="session")
def pair(place):
    """What two processes give when nothing happens."""
    made = place.train(place.context("pair"), devices=2, accelerator="cpu")
    return made, place.rows()
