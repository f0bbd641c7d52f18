from components import ingest, validate
from components.sources.files import FilesSource
from components.validate import ValidateConfig
from components.validate.checks import ColumnCheck
from flows.artifacts import bad_rows


def test_the_page_shows_rows_that_ingest_and_validate_set_aside(tmp_path, ctx):
    (tmp_path / "a.csv").write_text("n\n" + "1\n" * 10 + "many\n-5\n")
    (tmp_path / "b.csv").write_text("")
    checks = ValidateConfig(columns={"n": ColumnCheck(type="int64", minimum=0)}, max_bad_fraction=0.5, max_bad_files=1)
    source = FilesSource(uri=str(tmp_path), files="*.csv")
    config = ingest.IngestConfig(source=source, columns=checks.declared(), set_aside_files=True)
    raw = ingest.run(config, ctx=ctx)
    valid = validate.run(checks, raw, ctx=ctx)
    assert [(one["place"], one["code"]) for one in bad_rows((raw, valid), ctx.store)] == [
        ("b.csv", "E_FILE_EMPTY"),
        ("a.csv:12", "E_TYPE"),
        ("a.csv:13", "E_VALUE"),
    ]
