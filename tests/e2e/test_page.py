"""A person tries a model in a browser: fills in the form, drops a file, and is told the answer and why."""

import pytest

from tests.e2e.test_served import PICTURES, browser
from tests.line import image_recipe, png, registered, write_images
from tests.serve.conftest import QUIET, Line, serving

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    made = Line(tmp_path_factory.mktemp("page"))
    made.register("toy", 1)
    folder = tmp_path_factory.mktemp("pictures")
    registered(image_recipe(write_images(folder / "images", each=30)), made.ctx, "pictures")
    return made


def opened(page, client):
    """The page, and what the browser complained of."""
    said = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(str(client.base_url))
    return said


def test_a_row_is_filled_in_answered_and_explained(line):
    with serving([line.host("toy")]) as client, browser() as page:
        said = opened(page, client)
        page.get_by_label("n", exact=True).fill("25")
        page.get_by_label("c (may be empty)").fill("a")
        page.get_by_role("button", name="Answer").click()
        page.locator(".answer", has_text="yes").wait_for()
        page.get_by_text("n = 25.0").wait_for()
        page.get_by_label("n", exact=True).fill("")
        page.get_by_role("button", name="Answer").click()
        page.get_by_role("alert").get_by_text("n may not be missing").wait_for()
        page.screenshot(path=PICTURES / "try-a-row.png")
    assert [one for one in said if "400" not in one] == []


def test_a_file_is_chosen_and_several_models_share_the_page(line, tmp_path):
    (tmp_path / "bright.png").write_bytes(png(220))
    with serving([line.host("toy"), line.host("pictures")], QUIET, "a-token") as client, browser() as page:
        said = opened(page, client)
        page.get_by_label("This server asks for a token").fill("a-token")
        page.get_by_role("button", name="Open").click()
        page.get_by_label("Model").select_option(index=1)
        page.get_by_label("image").set_input_files(tmp_path / "bright.png")
        page.get_by_text("bright.png").wait_for()
        page.get_by_role("button", name="Answer").click()
        page.locator(".answer", has_text="light").wait_for()
        page.get_by_alt_text("integrated gradients").wait_for()
        page.screenshot(path=PICTURES / "try-a-file.png")
    assert [one for one in said if "401" not in one] == []
