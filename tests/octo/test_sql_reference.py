"""The SQL reference: complete, and every query on it runs."""

import pytest

from manifests import tables
from manifests.catalog import Catalog, query
from manifests.store import Store
from octo.sql_reference import QUERIES, sql_reference


@pytest.mark.parametrize("question", QUERIES)
def test_worked_queries_run_on_an_empty_store(question: str, folder: Store) -> None:
    assert query(folder, QUERIES[question]).num_rows == 0


@pytest.mark.parametrize("question", QUERIES)
def test_worked_queries_run_on_a_store_with_manifests(question: str, folder: Store, corpus, mixture) -> None:
    mixture(folder, corpus(folder, name="quickstart"), [("a1", "web", 10), ("b1", "qa", 5), ("b2", "qa", 17)])
    rows = query(folder, QUERIES[question])
    if "first 8 sequences" in question:
        # 8 tokens a sequence: a1 is tokens 0–9, and all three begin at 0 in this little fixture
        assert {(row["sequence"], row["doc_id"]) for row in rows.to_pylist()} >= {(0, "a1"), (1, "a1")}
    if "under which licence?" in question:
        assert rows.to_pylist() == [{"license": "not stated", "documents": 3, "tokens": 22}]
    if "Where did" in question:
        assert {"source": "web", "outcome": "in", "reason": None, "documents": 4, "tokens": 60} in rows.to_pylist()


def test_every_column_of_every_view_is_documented(folder: Store, corpus, mixture) -> None:
    mixture(folder, corpus(folder), [("a1", "web", 10)])
    page = sql_reference()
    with Catalog(folder) as catalog:
        for spec in tables.VIEWS:
            section = page.split(f"\n### {spec.name}\n")[1].split("\n### ")[0]
            documented = [line.split("`")[1] for line in section.splitlines() if line.startswith("| `")]
            assert documented == catalog.query(f"FROM {spec.name} LIMIT 0").column_names
