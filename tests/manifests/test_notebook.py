"""A manifest in a notebook: three lines, its own rows and no others, frames of three libraries."""

import subprocess
import sys
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

import manifests
from manifests import tables
from manifests.errors import UserError
from manifests.manifest import Manifest
from manifests.notebook import Opened
from manifests.runs import open_run
from manifests.store import Store

ROOT = Path(manifests.__file__).parents[1]
STEP = {"step": 1, "stage": "main", "loss": 2.0, "grad_norm": 1.0, "lr": 0.1, "tokens": 8, "seconds": 0.1}


def opened(made: Manifest) -> Opened:
    return manifests.open(made.id, made.store)


def test_three_lines_give_a_frame(store: Store, corpus, monkeypatch):
    corpus(store)
    monkeypatch.setenv("OCTO_STORE", store.url)
    m = manifests.open("math@1")
    frame = m.sql(
        "SELECT source, count(*) AS n FROM documents WHERE drop_reason IS NULL GROUP BY ALL ORDER BY ALL"
    ).pl()
    assert isinstance(frame, pl.DataFrame)
    assert frame.rows() == [("qa", 2), ("web", 1)]


def test_a_store_is_a_folder_a_url_or_a_store(folder: Store, corpus):
    made = opened(corpus(folder))
    for store in (folder, folder.url, Path(folder.root)):
        assert manifests.open(made.id, store).digest == made.digest
    with pytest.raises(UserError, match="no manifest"):
        manifests.open("other@1", folder)


def test_queries_see_this_manifest_and_its_runs_alone(folder: Store, corpus, mixture):
    first = opened(corpus(folder))
    second = opened(corpus(folder, "2", [("z1", "web", 3, None)]))
    mixed = opened(mixture(folder, first, [("a1", "web", 11)]))
    for manifest in (mixed, second):
        run = open_run(folder, "train", [manifest], {"lr": 0.1}, "torch")
        run.append("steps", pa.Table.from_pylist([STEP], tables.STEPS.schema))
    assert second.sql("SELECT doc_id FROM documents").arrow()["doc_id"].to_pylist() == ["z1"]
    assert second.sql("SELECT text FROM texts JOIN documents USING (doc_id)").pl()["text"][0].startswith("text of z1")
    assert first.sql("SELECT name, version FROM manifests").pl().rows() == [("math", "1")]
    assert len(first.sql("FROM steps")) == len(first.sql("FROM runs")) == 0
    assert mixed.sql("SELECT run FROM steps").pl().rows() == mixed.sql("SELECT run FROM runs").pl().rows() != []
    assert set(first.sql("SELECT DISTINCT manifest FROM funnel").pl()["manifest"]) == {first.id}
    assert mixed.sql("SELECT doc_id FROM members WHERE n_tokens > $1", [5]).pl().rows() == [("a1",)]


def test_queries_only_read(folder: Store, corpus):
    made = opened(corpus(folder))
    with pytest.raises(UserError, match="COPY is refused"):
        made.sql("COPY (SELECT 1) TO 'x.csv'")
    with pytest.raises(UserError, match="Referenced column"):
        made.sql("SELECT nothing FROM documents")


def test_rows_are_arrow_polars_and_pandas(folder: Store, corpus):
    rows = opened(corpus(folder)).sql("SELECT doc_id, n_tokens FROM documents ORDER BY doc_id LIMIT 2")
    assert rows.arrow().to_pylist() == rows.pl().to_dicts() == pl.DataFrame(rows).to_dicts()
    assert rows.df()["doc_id"].tolist() == ["a1", "a2"]
    assert len(rows) == 2 and repr(rows) == "2 rows: doc_id, n_tokens"


def test_a_library_that_is_missing_is_named(folder: Store, corpus, monkeypatch):
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(UserError, match="polars is not installed"):
        opened(corpus(folder)).sql("SELECT 1").pl()


def test_html_is_escaped_and_short(folder: Store, corpus):
    made = opened(corpus(folder))
    shown = made.sql("SELECT '<script>' AS a, repeat('x', 1000) AS b, range AS n FROM range(1000, 1050)")._repr_html_()
    assert "&lt;script&gt;" in shown and "<script>" not in shown
    assert shown.count("<tr>") == 21 and "20 of 50 rows" in shown and "1,019" in shown and "x" * 201 not in shown
    record = made._repr_html_()
    assert made.id in record and "math@1" in record and "documents" in record


def test_importing_manifests_loads_nothing():
    heavy = "[name for name in ('pyarrow', 'duckdb', 'polars', 'pandas', 'fsspec') if name in sys.modules]"
    for program, loaded in (("import manifests", "[]"), ("import manifests.notebook", "['pyarrow', 'fsspec']")):
        done = subprocess.run(
            [sys.executable, "-c", f"{program}\nimport sys\nprint({heavy})"], cwd=ROOT, capture_output=True, text=True
        )
        assert done.stdout.strip() == loaded, done.stderr
