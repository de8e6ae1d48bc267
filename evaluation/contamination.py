"""Which benchmark items leaked into what a model was trained on, found through lineage.

From the evaluated run back through the runs that it started from, to the mixtures and prompts they were launched
with, to the corpora those were selected from. An item has leaked if a document that holds it (family `leaks` of the
corpus) is a member of one of those mixtures, or one of the prompts: a contaminated document that was dropped leaked
into nothing. So has one whose question is itself a prompt of reinforcement, whether any corpus was searched or not.
Items are matched by their question, so that another version or name of a benchmark counts too.

    leaked      a document of the training data holds the item, or it is one of the prompts
    clean       every corpus behind the model was searched for it, and no document that was used holds it
    unchecked   some corpus was made without looking for this item, so nothing is known
    unknown     the model has no lineage here (a folder), or was trained on nothing that has one

A member counts as used although its run may not have come to it. A document that holds several items leaks them all.
Reads through the catalog; leaves out searching for items, which is `curation.measures.decontaminate`.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from manifests.catalog import Catalog
from manifests.manifest import Manifest
from manifests.runs import RunDirectory, load_run
from manifests.store import Store

Status = Literal["leaked", "clean", "unchecked", "unknown"]
Key = tuple[str, str]
"""Benchmark and item_id."""

_CHECKED = """
SELECT DISTINCT i.question FROM lineage l JOIN items i ON i.manifest = l.parent WHERE l.child = $1
"""
_LEAKED = """
WITH used AS (
  SELECT doc_id FROM members WHERE manifest = $2 AND corpus = $1
  UNION SELECT doc_id FROM prompts WHERE manifest = $2 AND corpus = $1)
SELECT DISTINCT i.question
FROM leaks k JOIN used USING (doc_id)
JOIN lineage l ON l.child = k.manifest
JOIN items i ON i.manifest = l.parent AND i.benchmark = k.benchmark AND i.item_id = k.item_id
WHERE k.manifest = $1
"""
_CORPORA = """
SELECT DISTINCT corpus FROM members WHERE manifest = $1
UNION SELECT DISTINCT corpus FROM prompts WHERE manifest = $1
"""
_PROMPTS = "SELECT DISTINCT question FROM prompts WHERE manifest = $1"


@dataclass
class Exposure:
    """What the training data of a model says of questions: those that it holds, and those that were looked for."""

    corpora: int = 0
    leaked: set[str] = field(default_factory=set)
    searched: dict[str, int] = field(default_factory=dict)
    """By question, in how many corpora it was looked for."""
    prompts: set[str] = field(default_factory=set)
    """Questions that the model was reinforced on, as `folded`."""

    def status(self, question: str) -> Status:
        if question in self.leaked or folded(question) in self.prompts:
            return "leaked"
        if not self.corpora:
            return "unknown"
        return "clean" if self.searched.get(question, 0) == self.corpora else "unchecked"


def exposure(store: Store, model: RunDirectory | None) -> Exposure:
    """What is known of the training data behind the run `model`; nothing for a model without a run."""
    found = Exposure()
    if model is None:
        return found
    with Catalog(store) as catalog:
        mixtures = list(manifests_behind(store, model))
        found.prompts = {folded(text) for mixture in mixtures for text in _questions(catalog, _PROMPTS, [mixture])}
        pairs = {
            (row["corpus"], mixture) for mixture in mixtures for row in catalog.query(_CORPORA, [mixture]).to_pylist()
        }
        for corpus, mixture in sorted(pairs):
            found.leaked |= _questions(catalog, _LEAKED, [corpus, mixture])
        for corpus in sorted({corpus for corpus, _ in pairs}):
            found.corpora += 1
            for question in _questions(catalog, _CHECKED, [corpus]):
                found.searched[question] = found.searched.get(question, 0) + 1
    return found


def folded(question: str) -> str:
    """`question` without what tells no two problems apart: case, blanks, forms of one character. Prompts were
    normalised when their corpus was made, items were not."""
    return "".join(unicodedata.normalize("NFKC", question).casefold().split())


def _questions(catalog: Catalog, sql: str, parameters: list[str]) -> set[str]:
    return set(catalog.query(sql, parameters)["question"].to_pylist())


def manifests_behind(store: Store, run: RunDirectory) -> Iterator[str]:
    """The manifests that `run` and every run before it were launched with."""
    while True:
        yield from (manifest["id"] for manifest in run.record["manifests"])
        if not run.record["parent"]:
            return
        run = load_run(store, run.record["parent"])


def statuses(found: Exposure, benchmarks: Sequence[Manifest]) -> dict[Key, Status]:
    """The status of every item of `benchmarks`."""
    return {
        (manifest.name, row["item_id"]): found.status(row["question"])
        for manifest in benchmarks
        for row in manifest.read("items", columns=["item_id", "question"]).to_pylist()
    }
