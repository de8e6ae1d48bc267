"""Freeze a mixture: select documents by SQL, apportion the budget in whole sequences, write tokens and order.

`mix` makes the manifest, `plan` says beforehand what it would hold. Promises. The same recipe over the same corpora
with the same tokenizer gives the same ID, and built again it is found, not made. Corpora are verified before they are
read. Every number of a plan is counted, none estimated. Sets of prompts, the other kind of recipe, are made by
`mixtures.prompts`; trainers read through `mixtures.reader`.
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from curation.known_sources import lookup
from curation.vocabulary import Vocabulary
from manifests import tables
from manifests.catalog import Catalog
from manifests.errors import UserError
from manifests.manifest import Draft, Manifest, build_key, check_launch, find_built, resolve, tag
from manifests.progress import progress
from manifests.recipe import semantic
from manifests.store import Store
from mixtures.config import ComponentRecipe, MixRecipe
from mixtures.extend import Start, check_same_streams, continued
from mixtures.order import BLOCK, permutation
from mixtures.plan import Allotment, Plan, Supply, solve
from mixtures.prompts import PromptsPlan, choose_prompts, write_prompts
from mixtures.reader import order_of
from mixtures.selection import Selection, select
from mixtures.tokens import Places, count_tokens, write_tokens


def mix(
    store: Store,
    recipe: MixRecipe,
    start: Start | None = None,
    tell: Callable[[Plan | PromptsPlan], None] | None = None,
) -> Manifest:
    """The manifest that `recipe` describes, built now or found. UserError for whatever the recipe gets wrong.

    From a `start` the first part of the order is that of the mixture named there, and the recipe's budget counts it.
    `tell` is given the plan before anything is written; of a manifest that is found there is none.
    """
    given, recipe = recipe, continued(recipe, start) if start else recipe
    corpora = _corpora(store, recipe)
    parents = list({corpus.id: corpus for corpus in corpora}.values()) + ([start.mixture] if start else [])
    vocabulary = _vocabulary(recipe)
    identity = _identity(recipe, corpora, vocabulary) | (start.identity if start else {})
    key = build_key(recipe.kind, identity, parents)
    if built := find_built(store, key):
        known = built.ref == f"{recipe.name}@{recipe.version}"
        return built if known else tag(store, built.id, recipe.name, recipe.version)
    for parent in parents:
        check_launch(store, parent)
    if start:
        check_same_streams(start, identity)
    scratch = store.scratch(f"mix-{key[:16]}")
    if vocabulary:
        planned, members = _chosen(store, recipe, corpora, vocabulary, start, tell or _silent)
        draft = Draft(store, recipe.kind, identity | _parts(planned, start), parents)
        totals = _write_mixture(draft, members, planned.sequence_length, vocabulary, scratch)
    else:
        chosen = choose_prompts(recipe, _selections(store, recipe, corpora))
        (tell or _silent)(chosen)
        draft = Draft(store, recipe.kind, identity, parents)
        totals = write_prompts(draft, chosen)
    manifest = draft.commit(recipe.name, recipe.version, totals, key, given.model_dump(mode="json"))
    shutil.rmtree(scratch)
    return manifest


def _chosen(
    store: Store,
    recipe: MixRecipe,
    corpora: list[Manifest],
    vocabulary: Vocabulary,
    start: Start | None,
    tell: Callable[[Plan | PromptsPlan], None],
) -> tuple[Plan, list["_Members"]]:
    """The plan, and the documents that it reads. The selections, many times as long, are given up on return."""
    selections = _selections(store, recipe, corpora)
    counts = _token_counts(recipe, selections, vocabulary)
    planned = _solved_by_count(recipe, selections, counts, start)
    tell(planned)
    parts = zip(recipe.components, selections, counts, planned.allotments, strict=True)
    return planned, [_members(*part, recipe) for part in parts]


def _silent(_: Plan | PromptsPlan) -> None:
    """Tells nobody."""


def plan(store: Store, recipe: MixRecipe, start: Start | None = None) -> Plan | PromptsPlan:
    """What `mix` would make, from the same selection and counts; writes nothing. Its `rows()` are a table.

    Of a component whose manifest is not in the store the declared size stands for the count; with nothing but such
    components neither data nor tokenizer are needed.
    """
    recipe = continued(recipe, start) if start else recipe
    declared = {part.name for part in recipe.components if _is_declared(store, part)}
    if recipe.kind == "mixture" and declared:
        return _planned_from_sizes(store, recipe, start, declared)
    corpora = _corpora(store, recipe)
    selections, vocabulary = _selections(store, recipe, corpora), _vocabulary(recipe)
    if not vocabulary:
        return choose_prompts(recipe, selections)
    if start:
        check_same_streams(start, _identity(recipe, corpora, vocabulary))
    return _solved_by_count(recipe, selections, _token_counts(recipe, selections, vocabulary), start)


# -- what goes in --------------------------------------------------------------------------------------------------


def _is_declared(store: Store, part: ComponentRecipe) -> bool:
    """Whether a plan must do with the declared size of a component, since its manifest is not there."""
    if part.manifest is None:
        return True
    try:
        resolve(store, part.manifest)
    except UserError:
        if part.known or part.declared:
            return True
        raise
    return False


def _declared(part: ComponentRecipe) -> Supply:
    """The supply of a component whose documents are not there, from the size that somebody gave."""
    known = lookup(part.known) if part.known else None
    tokens = part.declared or (known.tokens if known else None)
    size = "declared" if part.declared else "known" if tokens else "unknown"
    documents = known.documents if known else None
    return Supply(part.name, part.weight, part.max_epochs, documents, tokens, part.min_tokens, size)


def _planned_from_sizes(store: Store, recipe: MixRecipe, start: Start | None, declared: set[str]) -> Plan:
    """A plan of which the components in `declared` have their size from the recipe, the others from the store."""
    there = [part for part in recipe.components if part.name not in declared]
    supplies = {part.name: _declared(part) for part in recipe.components if part.name in declared}
    if there:
        counted = recipe.model_copy(update={"components": tuple(there)})
        vocabulary, selections = _vocabulary(recipe), _selections(store, counted, _corpora(store, counted))
        assert vocabulary
        counts = _token_counts(counted, selections, vocabulary)
        supplies |= {
            part.name: _counted(part, *each, start) for part, *each in zip(there, selections, counts, strict=True)
        }
    return _solved(recipe, [supplies[part.name] for part in recipe.components], start)


def _corpora(store: Store, recipe: MixRecipe) -> list[Manifest]:
    """The corpus of each component."""
    corpora = []
    for component in recipe.components:
        if component.manifest is None:
            raise UserError(f"component `{component.name}` names no manifest", "Name a corpus, or give --plan")
        corpora.append(resolve(store, component.manifest))
        if corpora[-1].kind != "corpus":
            raise UserError(
                f"component `{component.name}`: {corpora[-1].ref} is a {corpora[-1].kind}",
                "Name a corpus manifest; see `octo manifest list`",
            )
    return corpora


def _vocabulary(recipe: MixRecipe) -> Vocabulary | None:
    return Vocabulary.load(recipe.tokenizer) if recipe.kind == "mixture" and recipe.tokenizer else None


def _length(recipe: MixRecipe) -> int:
    return recipe.sequence_length or 1


def _identity(recipe: MixRecipe, corpora: list[Manifest], vocabulary: Vocabulary | None) -> dict[str, Any]:
    """What the manifest is made of, resolved: corpora by ID, templates by text, the tokenizer by digest, the budget as
    a count."""
    components = [
        semantic(component) | {"corpus": corpus.id} | ({"template": template} if template else {})
        for component, corpus in zip(recipe.components, corpora, strict=True)
        for template in [recipe.template(component)]
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


def _token_counts(recipe: MixRecipe, selections: list[Selection], vocabulary: Vocabulary) -> list[np.ndarray]:
    """Tokens of every selected document, EOS included, per component."""
    with progress("mix: count", len(selections)) as advance:
        counts = []
        for part, selection in zip(recipe.components, selections, strict=True):
            counts.append(count_tokens(selection, vocabulary, recipe.template(part)))
            advance(1)
    return counts


def _counted(part: ComponentRecipe, selection: Selection, tokens: np.ndarray, start: Start | None) -> Supply:
    """The supply of a component whose documents are there."""
    documents, used = len(selection.rows), start.used.get(part.name, 0) if start else 0
    return Supply(part.name, part.weight, part.max_epochs, documents, int(tokens.sum()), part.min_tokens, used=used)


def _solved_by_count(
    recipe: MixRecipe, selections: list[Selection], counts: list[np.ndarray], start: Start | None
) -> Plan:
    supplies = [_counted(*each, start) for each in zip(recipe.components, selections, counts, strict=True)]
    return _solved(recipe, supplies, start)


def _solved(recipe: MixRecipe, supplies: list[Supply], start: Start | None) -> Plan:
    budget, read = recipe.budget.count(_length(recipe)) if recipe.budget else 0, start.sequences if start else 0
    if start and budget <= read:
        raise UserError(
            f"the budget of {budget} sequences ends before the extension begins, at {read}",
            "The budget counts what is kept of the old mixture: raise it",
        )
    return solve(supplies, budget - read, _length(recipe))


def _parts(planned: Plan, start: Start | None) -> dict[str, Any]:
    """What the recipe of an extended mixture says of its order: see `mixtures.reader.order_of`."""
    if not start:
        return {}
    counts = [part.sequences - part.supply.used for part in planned.allotments]
    return {"parts": [*start.parts, {"sequences": sum(counts), "counts": counts}]}


# -- what comes out ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Members:
    """The documents of one component that are read, beside where they go in its token file.

    `selection` holds them in the order of the corpus; `places` says where each of them goes.
    """

    component: ComponentRecipe
    selection: Selection
    allotment: Allotment
    template: str | None
    places: Places

    @property
    def tokens(self) -> int:
        return int(self.places.counts.sum())

    def table(self) -> pa.Table:
        n, in_file = len(self.selection.rows), np.argsort(self.places.ordinals)
        documents = self.selection.documents(["doc_id", "source"]).take(in_file)
        return pa.table(
            {
                "component": pa.repeat(self.component.name, n),
                "ordinal": np.arange(n),
                "doc_id": documents["doc_id"],
                "source": documents["source"],
                "corpus": pa.repeat(self.selection.corpus.id, n),
                "n_tokens": self.places.counts[in_file],
                "token_start": self.places.starts[in_file],
            }
        )


def _members(
    part: ComponentRecipe, selection: Selection, counts: np.ndarray, given: Allotment, recipe: MixRecipe
) -> _Members:
    """The documents that are read: the first of the first epoch's order, or all of them."""
    order = permutation(selection.keys, recipe.seed, part.name, 0)
    needed = given.tokens + 1 if given.sequences else 0  # the last label looks one token ahead
    ends = np.cumsum(counts[order])
    chosen = order[: int(np.searchsorted(ends, needed)) + 1] if needed else order[:0]
    by_row = np.argsort(chosen)  # the order of the corpus: its texts are read once, front to back
    sizes = counts[chosen]
    places = Places((np.cumsum(sizes) - sizes)[by_row], sizes[by_row], by_row)
    return _Members(part, selection.take(chosen[by_row]), given, recipe.template(part), places)


def _write_mixture(
    draft: Draft, members: list[_Members], length: int, vocabulary: Vocabulary, scratch: Path
) -> dict[str, Any]:
    """All families of a mixture; returns the counts for its record."""
    draft.write("components", [_components_table(members)], tables.COMPONENTS.schema)
    draft.write("members", (part.table() for part in members), tables.MEMBERS.schema)
    draft.write("sequences", _sequence_tables(draft.recipe, members, length), tables.SEQUENCES.schema)
    draft.write_raw("tokens", _token_files(members, vocabulary, scratch))
    draft.write_raw("tokenizer", {"tokenizer.json": vocabulary.path.read_bytes()})
    sequences, documents = (
        sum(part.allotment.sequences for part in members),
        sum(len(part.places.counts) for part in members),
    )
    return {"sequences": sequences, "tokens": sequences * length, "documents": documents}


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


def _sequence_tables(recipe: dict[str, Any], members: list[_Members], length: int) -> Iterator[pa.Table]:
    """The whole order, in pieces of constant size."""
    order = order_of(recipe, [part.allotment.sequences for part in members])
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
    with progress("mix: tokenize", sum(len(part.places.counts) for part in members)) as advance:
        for part in filter(lambda part: part.tokens, members):
            target = scratch / f"{part.component.name}.ds"
            write_tokens(part.selection, part.places, vocabulary, part.template, target, advance)
            files |= {target.name: target, f"{target.name}.index": target.with_name(f"{target.name}.index")}
    return files
