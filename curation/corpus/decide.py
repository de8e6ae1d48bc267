"""Decides for each document whether it is kept or dropped, and why, from its measurements: the only place where this is
decided.

A full run decides from what its tasks wrote, `--refilter` from the columns of a manifest; both call `decide`. A
document has at most one reason. If several apply, the first is recorded, and only a document without an earlier one
competes as a duplicate, so that the keeper of a duplicate is always a kept document. The reasons and their order are
those of `manifests.drop_reasons`.

Leaves out measuring: the items that a document contains, its scores and its duplicates are given.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation.config import CurateRecipe
from curation.corpus.duplicates import RULE, Copies
from curation.measures.language import OtherLanguage
from curation.measures.quality import RULES, Limit
from manifests.drop_reasons import ORDER, DropReason

MEASURED = ("held_item", "early_reason", "early_evidence")
"""Columns that `decide` needs beside those of `documents`, `rank` and `row`: evidence of the item held, and what speaks
against the document by itself, each NULL for most."""
DECIDED = pa.schema([(name, pa.string()) for name in ("drop_reason", "drop_evidence", "cluster_id", "keeper_id")])


def decide(rows: pa.Table, recipe: CurateRecipe, copies: Callable[[np.ndarray], Copies]) -> pa.Table:
    """The columns DECIDED of all `rows`, in any order, which hold `rank` of their source, `row` (their place by source
    and doc_id) and MEASURED.

    `copies` finds the copies among rows that it is given best first; with `rules: none` it is not asked.
    """
    if recipe.rules == "none":
        return pa.table([pa.nulls(len(rows), field.type) for field in DECIDED], DECIDED)
    reason, evidence = reasons(rows, recipe)
    ranked = _ranked(rows, pc.is_null(reason).to_numpy(), recipe.prefer or "math_density")
    noted = _noted(rows, ranked, copies(ranked)) if len(ranked) else {}
    table = pa.Table.from_pylist(list(noted.values()), DECIDED)
    found = spread(table, np.array(list(noted), np.int64), len(rows))
    both = {"drop_reason": reason, "drop_evidence": evidence}
    columns = [pc.coalesce(both[name], found[name]) if name in both else found[name] for name in DECIDED.names]
    return pa.table(columns, DECIDED)


def reasons(rows: pa.Table, recipe: CurateRecipe) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """(reason, evidence) of each row by its own content; NULL where nothing speaks against it."""
    nothing = pa.scalar(None, pa.string())
    contaminated = pc.if_else(pc.is_valid(rows["held_item"]), DropReason.CONTAMINATED, nothing)
    reason = pc.coalesce(contaminated, rows["early_reason"])
    evidence = pc.coalesce(rows["held_item"], rows["early_evidence"])
    for rule in _rules(recipe):
        broken = pc.and_(pc.is_null(reason), rule.broken(rows))
        said = pa.array(rule.evidence(rows.filter(broken)), pa.string())
        reason = pc.if_else(broken, rule.reason, reason)
        evidence = pc.coalesce(evidence, spread(said, np.flatnonzero(broken), len(rows)))
    return reason, evidence


def spread(values: pa.Array | pa.Table, places: np.ndarray, length: int) -> Any:
    """`values` at their `places` among `length` rows, NULL in the others."""
    row = np.full(length, -1)
    row[places] = np.arange(len(places))
    return values.take(pa.array(row, mask=row < 0))


def _rules(recipe: CurateRecipe) -> list[OtherLanguage | Limit]:
    """The rules of the recipe, in the order of their reasons."""
    return sorted(_unordered(recipe), key=lambda rule: ORDER[rule.reason])


def _unordered(recipe: CurateRecipe) -> Iterator[OtherLanguage | Limit]:
    if recipe.language and recipe.language.keep:
        yield OtherLanguage(recipe.language)
    yield from (rule.of(recipe.quality) for rule in RULES)
    score = recipe.classifier
    if score and score.min is not None:
        yield Limit(DropReason.LOW_SCORE, score.column, score.roles, least=score.min, digits=6)


def _ranked(rows: pa.Table, competing: np.ndarray, prefer: str) -> np.ndarray:
    """Competing rows, best first: by source rank, the column `prefer`, length, doc_id; no score comes after any."""
    row = np.flatnonzero(competing)
    rank, score, length, place = (rows[name].to_numpy()[row] for name in ("rank", prefer, "n_chars", "row"))
    return row[np.lexsort((place, -length, -score, rank))]


def _noted(rows: pa.Table, ranked: np.ndarray, copies: Copies) -> dict[int, dict[str, str]]:
    """What is decided of each row that has copies, by row. A cluster is called by the smallest doc_id in it."""
    members = np.flatnonzero(np.bincount(copies.cluster)[copies.cluster] > 1).tolist()
    name: dict[int, str] = dict(zip(members, rows["doc_id"].take(ranked[members]).to_pylist(), strict=True))
    called: dict[int, str] = {}
    for member in members:
        label = copies.cluster[member]
        called[label] = min(called.get(label, name[member]), name[member])
    noted: dict[int, dict[str, str]] = {}
    for member in members:
        noted[ranked[member]] = {"cluster_id": called[copies.cluster[member]]}
        if copies.exact[member] or copies.keeper[member] != member:
            noted[ranked[member]] |= _as_copy(copies, member, name[copies.keeper[member]])
    return noted


def _as_copy(copies: Copies, member: int, keeper: str) -> dict[str, str]:
    similarity = round(float(copies.similarity[member]), 4)
    reason, rule = DropReason.NEAR_DUPLICATE, RULE
    if copies.exact[member]:
        reason, rule = DropReason.EXACT_DUPLICATE, f"{DropReason.EXACT_DUPLICATE}/1"
    evidence: dict[str, Any] = {"keeper": keeper, "similarity": similarity, "rule": rule}
    if not copies.exact[member]:
        evidence["differs"] = copies.differs.get(member, [])
    return {
        "drop_reason": reason.value,
        "drop_evidence": json.dumps(evidence, ensure_ascii=False),
        "keeper_id": keeper,
    }
