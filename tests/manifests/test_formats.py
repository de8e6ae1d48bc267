"""docs/formats.md: its Python is run as one script, its SQL in a DuckDB without our code, over a small store."""

import re
import shutil
from pathlib import Path

import duckdb
import polars as pl
import pytest

import manifests
from manifests.store import Store

PAGE = Path(manifests.__file__).parents[1] / "docs" / "formats.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.fixture
def here(corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A working directory with the page's store; its corpus lies in two files a family."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OCTO_STORE", raising=False)
    return corpus(Store(tmp_path / "store"), name="quickstart")


def test_python_opens_the_files_as_the_page_says(here):
    names: dict = {}
    exec("\n".join(blocks("python")), names)  # our own page
    assert names["m"].id == here.id
    frame = names["kept"].collect()
    assert sorted(frame["doc_id"]) == ["a1", "b1", "b2"] and frame["text"][0].startswith("text of")
    assert isinstance(frame, pl.DataFrame)


def test_the_duckdb_shell_opens_them_too(here):
    with duckdb.connect() as shell:
        rows = [shell.execute(block).fetchall() for block in blocks("sql")][-1]
    assert rows == [("qa", None, 2), ("web", "near_duplicate", 1), ("web", "short", 1), ("web", None, 1)]


@pytest.mark.engine
def test_spark_opens_them_where_it_is_installed(here):
    """The page's Python makes the list of files, its Spark reads them; a minute of Java."""
    pytest.importorskip("pyspark")
    if not shutil.which("java"):
        pytest.skip("there is no Java")
    names: dict = {}
    exec("\n".join([*blocks("python"), *blocks("py")]), names)  # our own page
    try:
        rows = names["kept"].groupBy("source").sum("n_tokens").collect()
    finally:
        names["spark"].stop()
    assert sorted(map(tuple, rows)) == [("qa", 12), ("web", 10)]
