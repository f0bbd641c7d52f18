import io
import sqlite3

import numpy as np
import pytest
from PIL import Image


def png(value):
    buffer = io.BytesIO()
    Image.fromarray(np.full((4, 4), value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def places(tmp_path):
    images = tmp_path / "images"
    for label in ("cat", "dog"):
        (images / label).mkdir(parents=True)
        for number in range(3):
            (images / label / f"{number}.png").write_bytes(png(number))
    table = tmp_path / "table"
    table.mkdir()
    (table / "a.csv").write_text("id,n\nNA,1\n007,\n")
    (table / "b.csv").write_text("id,n\nx, 3 \n")
    folder = tmp_path / "database"
    folder.mkdir()
    with sqlite3.connect(folder / "data.db") as connection:
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, n TEXT, changed INTEGER)")
        connection.executemany("INSERT INTO t VALUES (?, ?, 1)", [(number, f"text {number}") for number in range(5)])
    connection.close()
    return {"image-folder": images, "files": table, "digits": None, "sql": folder}
