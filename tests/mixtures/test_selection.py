"""`where`: what it selects, and everything that is refused in one line."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from manifests.catalog import Catalog
from manifests.errors import UserError
from manifests.manifest import Manifest
from manifests.store import Store
from mixtures.config import ComponentRecipe
from mixtures.selection import Selection, select

Selecting = Callable[..., Selection]


@pytest.fixture
def selecting(store: Store, toy: Manifest) -> Iterator[Selecting]:
    with Catalog(store) as catalog:
        yield lambda where, *allow: select(
            catalog, toy, ComponentRecipe(name="c", manifest="toy@1", where=where, allow=allow)
        )


@pytest.mark.parametrize(
    ("where", "allow", "documents"),
    [
        ("true", (), 53 + 25 + 10),
        ("role = 'web'", (), 53),
        ("role = 'web' -- and nothing else", (), 53),
        ("role IN ('qa', 'rl') AND score >= 0.5", (), 10 + 5),
        ("list_contains(list_transform(['qa'], lambda x: x), source)", (), 25),
        ("role = 'web') OR (role = 'rl'", (), 53 + 10),
        ("role = 'web'", ("too_short",), 60),
        ("drop_reason IS NULL AND role = 'web'", (), 53),
        ("drop_reason = 'too_short'", ("too_short",), 7),
    ],
)
def test_documents_are_selected(selecting: Selecting, where: str, allow: tuple[str, ...], documents: int) -> None:
    assert len(selecting(where, *allow).rows) == documents


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("role = 'web'; DROP TABLE documents", "is not a valid SQL condition"),
        ("DROP TABLE documents", "is not a valid SQL condition"),
        ("role = ", "is not a valid SQL condition"),
        ("", "is not one condition"),
        ("1 = 1, 2 = 2", "is not one condition"),
        ("true) FROM documents WHERE (true", "is not one condition"),
        ("true) UNION SELECT (true", "is not one condition"),
        ("SELECT true", "a subquery"),
        ("exists (FROM read_text('/etc/passwd'))", "a subquery"),
        ("doc_id IN (SELECT doc_id FROM documents)", "a subquery"),
        ("random() < 0.5", "changes from run to run"),
        ("now() > '2020-01-01'", "changes from run to run"),
        ("current_date > '2020-01-01'", "changes from run to run"),
        ("current_timestamp > '2020-01-01'", "changes from run to run"),
        ("row < 5", "says where a row lies"),
        ("colour = 'red'", "colour"),
        ("role = $2", ""),
        ("count(*) > 1", "aggregate"),
        ("row_number() OVER () < 3", "WINDOW"),
        ("doc_id", "BOOL"),
        ("role = 'poetry'", "selects no document"),
        ("drop_reason IS NOT NULL", "7 too_short"),
        ("drop_reason IS NULL OR score = 0", "allow: [too_short]"),
    ],
)
def test_what_is_no_plain_condition_is_refused_in_one_line(selecting: Selecting, where: str, says: str) -> None:
    with pytest.raises(UserError, match="component `c`") as refusal:
        selecting(where)
    assert says.lower() in str(refusal.value).lower()
    assert "\n" not in str(refusal.value)


def test_rows_and_texts_belong_together_over_many_files(
    store: Store, corpus: Callable[..., Manifest], toy: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = toy.read("documents").to_pylist()
    rows = [row | text for row, text in zip(documents, toy.read("texts").to_pylist(), strict=True)]
    texts = {row["doc_id"]: row["text"] for row in rows}
    cut = corpus(rows, version="cut", rows_per_file=7)
    assert cut.id == toy.id and len(cut.files("documents")) > 5
    with Catalog(store) as catalog:
        chosen = select(catalog, cut, ComponentRecipe(name="c", manifest="toy@cut", where="score > 0.3"))
    monkeypatch.setattr("manifests.manifest.ROWS_PER_BLOCK", 2)
    pieces = list(chosen.texts(["text"]))
    assert [first for first, _ in pieces] == list(np.cumsum([0, *(batch.num_rows for _, batch in pieces)])[:-1])
    read = [text for _, batch in pieces for text in batch.column("text").to_pylist()]
    assert read == [texts[doc_id] for doc_id in chosen.documents(["doc_id"])["doc_id"].to_pylist()]
    assert chosen.rows.tolist() == [
        i for i, row in enumerate(documents) if row["score"] > 0.3 and row["drop_reason"] is None
    ]
