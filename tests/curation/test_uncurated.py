"""A corpus without curation: everything that can be read is kept, and the rules can be applied later."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation.pipeline import curate, plan
from curation.uncurated import uncurated
from manifests.catalog import funnel
from manifests.errors import UserError
from manifests.manifest import verify
from manifests.store import Store

PAGE = " ".join(f"The sum of {n} and {n * n % 89} is {n + n * n % 89}, which a proof by cases shows." for n in range(9))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Copies, a short text, a page of menus and rows that are broken, in two formats."""
    folder = tmp_path / "pages"
    folder.mkdir()
    pages = [PAGE, PAGE, PAGE + "Almost the same.", "short", "Home | Login | Share | Cookies\n" * 30, "x" * 1_500_000]
    lines = [json.dumps({"content": page, "url": f"https://a.invalid/{i}"}) for i, page in enumerate(pages)]
    (folder / "a.jsonl").write_text("\n".join([*lines, '{"content": null}', "{no json"]))
    table = pa.table({"content": [f"{PAGE} {i}" for i in range(5)], "other": list(range(5))})
    pq.write_table(table, folder / "b.parquet")
    return folder


FIELDS = ["columns.text=content", "license=CC-BY-4.0"]


def test_every_readable_record_is_kept(folder, tokenizer, tmp_path):
    store = Store(tmp_path / "store")
    recipe = uncurated(str(folder), "mine", "1", "web", str(tokenizer), FIELDS)
    corpus = curate(store, recipe)
    rows = corpus.read("documents").to_pylist()
    assert len(rows) == 11 and {row["drop_reason"] for row in rows} == {None} == {row["cluster_id"] for row in rows}
    assert {(row["source"], row["role"], row["license"]) for row in rows} == {("mine", "web", "CC-BY-4.0")}
    assert sorted(corpus.read("quarantine")["reason"].to_pylist()) == ["invalid_json", "null_field"]
    outcomes = {row["outcome"]: row["documents"] for row in funnel(store, corpus.id).to_pylist()}
    assert (outcomes["in"], outcomes["kept"]) == (13, 11) and "dropped" not in outcomes
    assert verify(store, corpus) == []
    assert curate(store, recipe).id == corpus.id


def test_the_rules_can_be_applied_later(folder, tokenizer, tmp_path):
    recipe = uncurated(str(folder), "mine", "1", "web", str(tokenizer), FIELDS)
    base = curate(Store(tmp_path / "store"), recipe)
    curated = recipe.model_copy(update={"rules": None, "version": "2"})
    again = curate(base.store, curated, base=base)
    assert again.id == curate(Store(tmp_path / "other"), curated).id != base.id
    reasons = set(again.read("documents")["drop_reason"].to_pylist())
    assert {"too_short", "exact_duplicate"} <= reasons


def test_the_plan_says_that_nothing_is_dropped(folder, tokenizer, tmp_path):
    rows = plan(Store(tmp_path / "store"), uncurated(str(folder), "mine", "1", "web", str(tokenizer), FIELDS))
    assert [row.stage for row in rows] == ["read", "annotate", "keep", "freeze"]


@pytest.mark.parametrize(
    ("path", "role", "fields", "says"),
    [
        ("nowhere", "web", [], "nothing at"),
        ("PAGES", "web", [], "no file has column text"),
        ("PAGES", "webb", [], "role"),
        ("PAGES", "web", ["columns"], "not of the form"),
        ("PAGES", "web", ["colour=red"], "unknown field"),
        ("hf://datasets/org/name", "web", [], "revision"),
    ],
)
def test_what_is_wrong_is_one_line(path, role, fields, says, folder, tokenizer, tmp_path):
    path = str(folder) if path == "PAGES" else path
    with pytest.raises(UserError, match=says) as error:
        curate(Store(tmp_path / "store"), uncurated(path, "mine", "1", role, str(tokenizer), fields))
    assert "\n" not in str(error.value)
