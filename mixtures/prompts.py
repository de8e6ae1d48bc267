"""Prompts for reinforcement learning: questions with verifiable answers, chosen by SQL, in an order fixed by a seed.

Promises. Each selected document is one prompt at most; with a budget, prompts are apportioned over the components by
weight, and any prefix of the order has these proportions (as with the sequences of a mixture, see `mixtures.order`). A
document without a question or an answer is an error that gives their number. Leaves out prompt templates, which the
trainer applies.
"""

import hashlib
import json
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from manifests import tables
from manifests.errors import UserError
from manifests.manifest import Draft
from mixtures.config import MixRecipe
from mixtures.hold_out import HeldOut
from mixtures.order import Order, permutation
from mixtures.plan import apportion
from mixtures.selection import Selection


@dataclass(frozen=True)
class PromptsPlan:
    """How many prompts of each component's selection are taken."""

    recipe: MixRecipe
    selections: list[Selection]
    counts: list[int]
    held_out: HeldOut | None = None

    def rows(self) -> list[dict[str, Any]]:
        """One row per component."""
        weights, total = [part.weight for part in self.recipe.components], sum(self.counts)
        return [
            {
                "component": part.name,
                "documents": len(selection.rows),
                "share_wanted": round(part.weight / sum(weights), 6) if self.recipe.budget else None,
                "share": round(count / total, 6),
                "prompts": count,
            }
            for part, selection, count in zip(self.recipe.components, self.selections, self.counts, strict=True)
        ]


def choose_prompts(recipe: MixRecipe, selections: list[Selection]) -> PromptsPlan:
    """All that were selected, or the budget by weight. UserError when a component has too few."""
    _refuse_repeats(selections)
    available = [len(selection.rows) for selection in selections]
    if not recipe.budget:
        return PromptsPlan(recipe, selections, available)
    weights = [Fraction(str(part.weight)) for part in recipe.components]
    wanted = recipe.budget.count(1)
    counts = apportion(weights, wanted, [0] * len(weights), available)
    if counts is None:
        offered = ", ".join(f"`{p.name}` has {n}" for p, n in zip(recipe.components, available, strict=True))
        hint = "Lower budget.prompts or change the weights"
        raise UserError(f"{wanted} prompts cannot be drawn with these weights: {offered}", hint)
    return PromptsPlan(recipe, selections, counts)


def _refuse_repeats(selections: list[Selection]) -> None:
    doc_ids = pa.concat_tables(selection.documents(["doc_id"]) for selection in selections)["doc_id"]
    if repeats := len(doc_ids) - pc.count_distinct(doc_ids).as_py():
        raise UserError(f"{repeats} documents are selected by more than one component", "Make the `where`s disjoint")


def write_prompts(draft: Draft, chosen: PromptsPlan) -> dict[str, Any]:
    """The prompts family; returns the counts for the record."""
    recipe = chosen.recipe
    pools = [
        _pool(selection, count, recipe.seed, part.name)
        for part, selection, count in zip(recipe.components, chosen.selections, chosen.counts, strict=True)
    ]
    pool = pa.concat_tables(pools)
    component, index = Order(chosen.counts).at(np.arange(pool.num_rows))
    starts = np.cumsum(chosen.counts) - chosen.counts
    pool = pool.take(starts[component] + index)
    draft.write("prompts", [pool.add_column(0, "position", [np.arange(pool.num_rows)])], tables.PROMPTS.schema)
    return {"prompts": pool.num_rows}


def _pool(selection: Selection, count: int, seed: int, component: str) -> pa.Table:
    """The first `count` prompts of a component in its seeded order."""
    order = permutation(selection.keys, seed, component, 0)[:count]
    by_row = np.argsort(order)  # the order of the corpus: its texts are read once, front to back
    selected = selection.take(order[by_row])
    schema = pa.schema([tables.TEXTS.schema.field(name) for name in ("question", "answer")])
    texts = pa.Table.from_batches([batch for _, batch in selected.texts(schema.names)], schema)
    _refuse_missing(component, texts)
    documents, corpus = selected.documents(["doc_id", "source"]), selected.corpus.id
    doc_ids = documents["doc_id"].to_pylist()
    asked = zip(doc_ids, texts["question"].to_pylist(), texts["answer"].to_pylist(), strict=True)
    table = pa.table(
        {
            "prompt_id": [hashlib.sha256(json.dumps(prompt).encode()).hexdigest()[:32] for prompt in asked],
            "doc_id": documents["doc_id"],
            "source": documents["source"],
            "corpus": pa.repeat(corpus, len(doc_ids)),
            "question": texts["question"],
            "answer": texts["answer"],
        },
    )
    return table.take(np.argsort(by_row))


def _refuse_missing(component: str, texts: pa.Table) -> None:
    for column in texts.column_names:
        if missing := pc.sum(pc.equal(pc.fill_null(pc.utf8_trim_whitespace(texts[column]), ""), "")).as_py():
            raise UserError(
                f"component `{component}`: {missing} of {texts.num_rows} documents have no {column}",
                "Select documents of role rl, or curate the source with its question and answer columns named",
            )
