"""Freeze a mixture: select documents by SQL, apportion the budget in whole sequences, write tokens and order.

`mix` makes the manifest, `plan` says beforehand what it would hold. Promises. The same recipe over the same corpora
with the same tokenizer gives the same ID, and built again it is found, not made. Corpora are verified before they are
read. Every number of a plan is counted, none estimated. Sets of prompts, the other kind of recipe, are made by
`mixtures.prompts`; trainers read through `mixtures.reader`.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from curation.vocabulary import Vocabulary
from manifests import tables
from manifests.catalog import Catalog
from manifests.errors import UserError
from manifests.manifest import Draft, Manifest, build_key, check_launch, find_built, resolve, tag
from manifests.progress import progress
from manifests.recipe import semantic
from manifests.store import Store
from mixtures.config import ComponentRecipe, MixRecipe
from mixtures.order import BLOCK, Order, document_keys, permutation
from mixtures.plan import Allotment, Plan, Supply, solve
from mixtures.prompts import PromptsPlan, choose_prompts, write_prompts
from mixtures.selection import Selection, select
from mixtures.tokens import count_tokens, write_tokens


def mix(store: Store, recipe: MixRecipe) -> Manifest:
    """The manifest that `recipe` describes, built now or found. UserError for whatever the recipe gets wrong."""
    corpora = _corpora(store, recipe)
    parents = list({corpus.id: corpus for corpus in corpora}.values())
    vocabulary = _vocabulary(recipe)
    identity = _identity(recipe, corpora, vocabulary)
    key = build_key(recipe.kind, identity, parents)
    if built := find_built(store, key):
        known = built.ref == f"{recipe.name}@{recipe.version}"
        return built if known else tag(store, built.id, recipe.name, recipe.version)
    for parent in parents:
        check_launch(store, parent)
    draft = Draft(store, recipe.kind, identity, parents)
    scratch = store.scratch(f"mix-{key[:16]}")
    selections = _selections(store, recipe, corpora)
    if vocabulary:
        counts = _write_mixture(draft, recipe, selections, vocabulary, scratch)
    else:
        counts = write_prompts(draft, choose_prompts(recipe, selections))
    manifest = draft.commit(recipe.name, recipe.version, counts, key, recipe.model_dump(mode="json"))
    shutil.rmtree(scratch)
    return manifest


def plan(store: Store, recipe: MixRecipe) -> Plan | PromptsPlan:
    """What `mix` would make, from the same selection and counts; writes nothing. Its `rows()` are a table."""
    selections, vocabulary = _selections(store, recipe, _corpora(store, recipe)), _vocabulary(recipe)
    if not vocabulary:
        return choose_prompts(recipe, selections)
    return _solved(recipe, selections, _token_counts(selections, vocabulary))


# -- what goes in --------------------------------------------------------------------------------------------------


def _corpora(store: Store, recipe: MixRecipe) -> list[Manifest]:
    """The corpus of each component."""
    corpora = [resolve(store, component.manifest) for component in recipe.components]
    for component, corpus in zip(recipe.components, corpora, strict=True):
        if corpus.kind != "corpus":
            raise UserError(
                f"component `{component.name}`: {corpus.ref} is a {corpus.kind}",
                "Name a corpus manifest; see `octo manifest list`",
            )
    return corpora


def _vocabulary(recipe: MixRecipe) -> Vocabulary | None:
    return Vocabulary.load(recipe.tokenizer) if recipe.kind == "mixture" and recipe.tokenizer else None


def _length(recipe: MixRecipe) -> int:
    return recipe.sequence_length or 1


def _identity(recipe: MixRecipe, corpora: list[Manifest], vocabulary: Vocabulary | None) -> dict[str, Any]:
    """What the manifest is made of, resolved: corpora by ID, the tokenizer by digest, the budget as a count."""
    components = [
        semantic(component) | {"corpus": corpus.id}
        for component, corpus in zip(recipe.components, corpora, strict=True)
    ]
    budget = recipe.budget.count(_length(recipe)) if recipe.budget else None
    identity = {"kind": recipe.kind, "components": components, "seed": recipe.seed}
    if not vocabulary:
        return identity | {"prompts": budget}
    return identity | {
        "sequences": budget,
        "sequence_length": recipe.sequence_length,
        "tokenizer": vocabulary.digest,
        "vocab_size": vocabulary.size,
        "eos_id": vocabulary.eos_id,
    }


def _selections(store: Store, recipe: MixRecipe, corpora: list[Manifest]) -> list[Selection]:
    with Catalog(store) as catalog, progress("mix: select", len(corpora)) as advance:
        selections = []
        for component, corpus in zip(recipe.components, corpora, strict=True):
            selections.append(select(catalog, corpus, component))
            advance(1)
    return selections


def _token_counts(selections: list[Selection], vocabulary: Vocabulary) -> list[np.ndarray]:
    """Tokens of every selected document, EOS included, per component."""
    with progress("mix: count", len(selections)) as advance:
        counts = []
        for selection in selections:
            counts.append(count_tokens(selection, vocabulary))
            advance(1)
    return counts


def _solved(recipe: MixRecipe, selections: list[Selection], counts: list[np.ndarray]) -> Plan:
    supplies = [
        Supply(part.name, part.weight, part.max_epochs, len(selection.rows), int(tokens.sum()), part.min_tokens)
        for part, selection, tokens in zip(recipe.components, selections, counts, strict=True)
    ]
    budget = recipe.budget.count(_length(recipe)) if recipe.budget else 0
    return solve(supplies, budget, _length(recipe))


# -- what comes out ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Members:
    """The documents of one component that are read, in the order of its token file.

    `chosen` are positions in the selection; `starts` and `counts` are tokens, EOS included. All int64.
    """

    component: ComponentRecipe
    selection: Selection
    allotment: Allotment
    chosen: np.ndarray
    starts: np.ndarray
    counts: np.ndarray

    @property
    def tokens(self) -> int:
        return int(self.counts.sum())

    def table(self) -> pa.Table:
        n = len(self.chosen)
        return pa.table(
            {
                "component": pa.repeat(self.component.name, n),
                "ordinal": np.arange(n),
                "doc_id": self.selection.doc_ids.take(self.chosen),
                "source": self.selection.sources.take(self.chosen),
                "corpus": pa.repeat(self.selection.corpus.id, n),
                "n_tokens": self.counts,
                "token_start": self.starts,
            }
        )


def _members(part: ComponentRecipe, selection: Selection, counts: np.ndarray, given: Allotment, seed: int) -> _Members:
    """The documents in the order of the first epoch; of less than one epoch, only as many as are read."""
    order = permutation(document_keys(selection.doc_ids), seed, part.name, 0)
    ends = np.cumsum(counts[order])
    needed = given.tokens + 1 if given.sequences else 0  # the last label looks one token ahead
    chosen = order[: int(np.searchsorted(ends, needed)) + 1] if needed else order[:0]
    counts = counts[chosen]
    return _Members(part, selection, given, chosen, np.cumsum(counts) - counts, counts)


def _write_mixture(
    draft: Draft, recipe: MixRecipe, selections: list[Selection], vocabulary: Vocabulary, scratch: Path
) -> dict[str, Any]:
    """All families of a mixture; returns the counts for its record."""
    counts = _token_counts(selections, vocabulary)
    solved = _solved(recipe, selections, counts)
    parts = zip(recipe.components, selections, counts, solved.allotments, strict=True)
    members = [_members(*part, recipe.seed) for part in parts]
    draft.write("components", [_components_table(members)], tables.COMPONENTS.schema)
    draft.write("members", (part.table() for part in members), tables.MEMBERS.schema)
    draft.write("sequences", _sequence_tables(members, solved.sequence_length), tables.SEQUENCES.schema)
    draft.write_raw("tokens", _token_files(members, vocabulary, scratch))
    draft.write_raw("tokenizer", {"tokenizer.json": vocabulary.path.read_bytes()})
    documents = sum(len(part.chosen) for part in members)
    return {"sequences": solved.sequences, "tokens": solved.tokens, "documents": documents}


def _components_table(members: list[_Members]) -> pa.Table:
    rows = [
        {
            "component": part.component.name,
            "corpus": part.selection.corpus.id,
            "where": part.component.where,
            "weight": part.component.weight,
            "max_epochs": part.component.max_epochs,
            "available_documents": part.allotment.supply.documents,
            "available_tokens": part.allotment.supply.tokens,
            "sequences": part.allotment.sequences,
            "tokens": part.allotment.tokens,
            "epochs": part.allotment.epochs,
            "share_wanted": part.allotment.share_wanted,
            "share": part.allotment.share,
        }
        for part in members
    ]
    return pa.Table.from_pylist(rows, schema=tables.COMPONENTS.schema)


def _sequence_tables(members: list[_Members], length: int) -> Iterator[pa.Table]:
    """The whole order, in pieces of constant size."""
    order = Order([part.allotment.sequences for part in members])
    names = pa.array([part.component.name for part in members])
    tokens = np.array([max(1, part.tokens) for part in members])
    with progress("mix: order", order.n_sequences) as advance:
        for start in range(0, order.n_sequences, 16 * BLOCK):
            positions = np.arange(start, min(start + 16 * BLOCK, order.n_sequences))
            component, index = order.at(positions)
            epoch = (index * length // tokens[component]).astype(np.int32)
            columns = [positions, names.take(pa.array(component)), index, epoch]
            yield pa.table(columns, names=tables.SEQUENCES.schema.names)
            advance(len(positions))


def _token_files(members: list[_Members], vocabulary: Vocabulary, scratch: Path) -> dict[str, Path | bytes]:
    """Token files of the components that are read at all, by logical name."""
    files: dict[str, Path | bytes] = {}
    with progress("mix: tokenize", sum(len(part.chosen) for part in members)) as advance:
        for part in filter(lambda part: part.tokens, members):
            target = scratch / f"{part.component.name}.ds"
            by_row = np.argsort(part.chosen)  # the order of the corpus: its texts are read once, front to back
            selected = part.selection.take(part.chosen[by_row])
            write_tokens(selected, part.starts[by_row], part.counts[by_row], vocabulary, target, advance)
            files |= {target.name: target, f"{target.name}.index": target.with_name(f"{target.name}.index")}
    return files
