"""Freeze a mixture: select documents by SQL, apportion the budget in whole sequences, write tokens and order.

`mix` builds the manifest, `plan` shows what it would contain. Promises. The same recipe over the same corpora with the
same tokenizer gives the same ID, and an existing manifest is found and not built again. Corpora are verified before
they are read. Every number of a plan is counted, or marked as declared if the corpus does not exist yet. Memory is some
30 bytes for each selected document; text and tokens are streamed. Sets of prompts, the other kind of recipe, are made
by `mixtures.prompts`; trainers read through `mixtures.reader`; `mixtures.extend` extends a mixture.
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from curation.known_sources import lookup
from curation.measures.vocabulary import Vocabulary
from manifests import tables
from manifests.catalog import Catalog
from manifests.errors import UserError
from manifests.manifest import Draft, Manifest, build_key, called, check_launch, find_built, refuse_taken, resolve
from manifests.paths import below
from manifests.progress import progress
from manifests.recipe import semantic
from manifests.store import Store
from mixtures.config import ComponentRecipe, HoldOutRecipe, MixRecipe
from mixtures.extend import Start, check_same_held_out, check_same_streams, continued
from mixtures.hold_out import HeldOut, held_out
from mixtures.order import BLOCK, permutation
from mixtures.plan import Allotment, Plan, Supply, solve
from mixtures.prompts import PromptsPlan, choose_prompts, write_prompts
from mixtures.reader import order_of
from mixtures.selection import Selection, select
from mixtures.tokens import Places, count_tokens, write_tokens

Tell = Callable[[Plan | PromptsPlan], None]
"""Called with the plan before anything is written."""


def mix(store: Store, recipe: MixRecipe, start: Start | None = None, tell: Tell | None = None) -> Manifest:
    """The manifest that `recipe` describes, built now or found. UserError for an error in the recipe. With a `start`,
    the first part of the order is that of the mixture named there, and the recipe's budget includes it. `tell` is
    called with the plan before anything is written, unless the manifest is found.
    """
    asked = _Inputs.of(store, recipe, start)
    key = build_key(recipe.kind, asked.identity, asked.parents)
    found = find_built(store, key, recipe.kind, asked.identity, asked.parents)
    if not found:
        refuse_taken(store, recipe, recipe.kind, asked.identity, asked.parents)
    return called(store, found or _built(store, recipe, asked, key, tell or _silent), recipe)


def find(store: Store, recipe: MixRecipe) -> Manifest | None:
    """The manifest that `mix` would find and not build; nothing is written. UserError as for `mix`."""
    asked = _Inputs.of(store, recipe, None)
    key = build_key(recipe.kind, asked.identity, asked.parents)
    return find_built(store, key, recipe.kind, asked.identity, asked.parents)


def _built(store: Store, recipe: MixRecipe, asked: "_Inputs", key: str, tell: Tell) -> Manifest:
    for parent in asked.parents:
        check_launch(store, parent)
    build = _build_mixture if recipe.kind == "mixture" else _build_prompts
    with store.alone(f"mix-{key[:16]}") as scratch:
        draft, totals = build(store, asked, scratch, tell)
        manifest = draft.commit(recipe.name, recipe.version, totals, key, recipe.model_dump(mode="json"))
        shutil.rmtree(scratch)
    return manifest


def _silent(_: Plan | PromptsPlan) -> None:
    """Tells nobody."""


def plan(store: Store, recipe: MixRecipe, start: Start | None = None) -> Plan | PromptsPlan:
    """What `mix` would make, from the same selection and counts; writes nothing. Its `rows()` are a table. For a
    component whose manifest is not in the store, the declared size is used as the count; with only such components
    neither data nor tokenizer are needed.
    """
    declared = {part.name for part in recipe.components if _is_declared(store, part)}
    if recipe.kind == "mixture" and declared:
        return _planned_from_sizes(store, continued(recipe, start) if start else recipe, start, declared)
    if recipe.kind == "prompts":
        selections, aside = _selections(store, recipe, _corpora(store, recipe))
        return replace(choose_prompts(recipe, selections), held_out=aside)
    return _selected(store, _Inputs.of(store, recipe, start))[0]


# -- what goes in --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Inputs:
    """A recipe with everything that it names resolved: a corpus per component, and a tokenizer unless it is for
    prompts."""

    recipe: MixRecipe
    start: Start | None
    corpora: list[Manifest]
    rates: list[Manifest | None]
    vocabulary: Vocabulary | None

    @classmethod
    def of(cls, store: Store, recipe: MixRecipe, start: Start | None) -> "_Inputs":
        recipe = continued(recipe, start) if start else recipe
        found = cls(recipe, start, _corpora(store, recipe), _pass_rates(store, recipe), _vocabulary(recipe))
        if start:
            check_same_streams(start, found.identity)
        return found

    @property
    def parents(self) -> list[Manifest]:
        read = {manifest.id: manifest for manifest in [*self.corpora, *filter(None, self.rates)]}
        return [*read.values(), *([self.start.mixture] if self.start else [])]

    @property
    def identity(self) -> dict[str, Any]:
        return _identity(self.recipe, self.corpora, self.rates, self.vocabulary) | (
            self.start.identity if self.start else {}
        )


def supplies(store: Store, recipe: MixRecipe) -> list[Supply]:
    """What each component of a mixture offers, counted, or as declared where its corpus is not there."""
    declared = {part.name for part in recipe.components if _is_declared(store, part)}
    if declared:
        return _supplies_from_sizes(store, recipe, None, declared)
    return _supplied(store, _Inputs.of(store, recipe, None))[0]


def _is_declared(store: Store, part: ComponentRecipe) -> bool:
    """Whether a plan must use the declared size of a component because its manifest does not exist."""
    if part.manifest is None:
        return True
    try:
        resolve(store, part.manifest)
    except UserError:
        if part.known or part.declared:
            return True
        raise
    return False


def _declared(part: ComponentRecipe, held_out: HoldOutRecipe | None) -> Supply:
    """The supply of a component whose documents do not exist yet, from its declared size."""
    known = lookup(part.known) if part.known else None
    tokens = part.declared or (known.tokens if known else None)
    tokens = tokens and int(tokens * (1 - held_out.share)) if held_out else tokens
    size = "declared" if part.declared else "known" if tokens else "unknown"
    documents = known.documents if known else None
    return Supply(part.name, part.weight, part.max_epochs, documents, tokens, part.min_tokens, size)


def _planned_from_sizes(store: Store, recipe: MixRecipe, start: Start | None, declared: set[str]) -> Plan:
    """A plan in which the components in `declared` have their size from the recipe and the others from the store."""
    return _solved(recipe, _supplies_from_sizes(store, recipe, start, declared), start)


def _supplies_from_sizes(store: Store, recipe: MixRecipe, start: Start | None, declared: set[str]) -> list[Supply]:
    there = [part for part in recipe.components if part.name not in declared]
    supplies = {part.name: _declared(part, recipe.hold_out) for part in recipe.components if part.name in declared}
    if there:
        counted = recipe.model_copy(update={"components": tuple(there)})
        vocabulary, (selections, _) = _vocabulary(recipe), _selections(store, counted, _corpora(store, counted))
        assert vocabulary
        counts = _token_counts(counted, selections, vocabulary)
        for part, selection, tokens in zip(there, selections, counts, strict=True):
            supplies[part.name] = _counted(part, selection, tokens, start)
    return [supplies[part.name] for part in recipe.components]


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


def _pass_rates(store: Store, recipe: MixRecipe) -> list[Manifest | None]:
    """The pass rates that a component names, for each that does."""
    found = [resolve(store, part.pass_rates) if part.pass_rates else None for part in recipe.components]
    for part, manifest in zip(recipe.components, found, strict=True):
        if manifest and manifest.kind != "pass_rates":
            raise UserError(
                f"component `{part.name}`: {manifest.ref} is a {manifest.kind}, not a manifest of pass rates",
                "Measure some with `octo rl pass-rate`",
            )
    return found


def _vocabulary(recipe: MixRecipe) -> Vocabulary | None:
    return Vocabulary.load(recipe.tokenizer) if recipe.kind == "mixture" and recipe.tokenizer else None


def _length(recipe: MixRecipe) -> int:
    return recipe.sequence_length or 1


def _identity(
    recipe: MixRecipe, corpora: list[Manifest], rates: list[Manifest | None], vocabulary: Vocabulary | None
) -> dict[str, Any]:
    """The inputs of the manifest, resolved: corpora by ID, templates by text, the tokenizer by digest, the budget as a
    count."""
    components = [
        semantic(component)
        | {"corpus": corpus.id}
        | ({"template": template} if template else {})
        | ({"pass_rates": measured.id} if measured else {})
        for component, corpus, measured in zip(recipe.components, corpora, rates, strict=True)
        for template in [recipe.template(component)]
    ]
    budget = recipe.budget.count(_length(recipe)) if recipe.budget else None
    identity: dict[str, Any] = {"kind": recipe.kind, "components": components, "seed": recipe.seed}
    identity |= {"hold_out": semantic(recipe.hold_out)} if recipe.hold_out else {}
    if not vocabulary:
        return identity | {"prompts": budget}
    return identity | {
        "sequences": budget,
        "sequence_length": recipe.sequence_length,
        "tokenizer": vocabulary.digest,
        "vocab_size": vocabulary.size,
        "eos_id": vocabulary.eos_id,
    }


def _selections(store: Store, recipe: MixRecipe, corpora: list[Manifest]) -> tuple[list[Selection], HeldOut | None]:
    """The documents of each component, and what is set aside and in none of them."""
    with Catalog(store) as catalog, progress("mix: select", len(corpora)) as advance:
        aside, selections = held_out(catalog, corpora, recipe.hold_out) if recipe.hold_out else None, []
        for component, corpus, rates in zip(recipe.components, corpora, _pass_rates(store, recipe), strict=True):
            found = select(catalog, corpus, component, rates)
            selections.append(aside.left_of(found, component.name) if aside else found)
            advance(1)
    return selections, aside


def _token_counts(recipe: MixRecipe, selections: list[Selection], vocabulary: Vocabulary) -> list[np.ndarray]:
    """Tokens of every selected document, EOS included, per component."""
    with progress("mix: count", len(selections)) as advance:
        counts = []
        for part, selection in zip(recipe.components, selections, strict=True):
            counts.append(count_tokens(selection, vocabulary, recipe.template(part)))
            advance(1)
    return counts


def _counted(part: ComponentRecipe, selection: Selection, tokens: np.ndarray, start: Start | None) -> Supply:
    """The supply of a component whose documents exist."""
    documents, used = len(selection.rows), start.used.get(part.name, 0) if start else 0
    return Supply(part.name, part.weight, part.max_epochs, documents, int(tokens.sum()), part.min_tokens, used=used)


def _selected(store: Store, asked: _Inputs) -> tuple[Plan, list[Selection], list[np.ndarray]]:
    """The plan, and what it chooses from: each component's documents and their tokens."""
    supplied, selections, counts, aside = _supplied(store, asked)
    return replace(_solved(asked.recipe, supplied, asked.start), held_out=aside), selections, counts


def _supplied(store: Store, asked: _Inputs) -> tuple[list[Supply], list[Selection], list[np.ndarray], HeldOut | None]:
    """What each component offers, its documents and their tokens, and what is set aside."""
    assert asked.vocabulary
    selections, aside = _selections(store, asked.recipe, asked.corpora)
    if asked.start and aside:
        check_same_held_out(asked.start, aside.table)
    counts = _token_counts(asked.recipe, selections, asked.vocabulary)
    parts = zip(asked.recipe.components, selections, counts, strict=True)
    return [_counted(*part, asked.start) for part in parts], selections, counts, aside


def _solved(recipe: MixRecipe, supplies: list[Supply], start: Start | None) -> Plan:
    budget, read = recipe.budget.count(_length(recipe)) if recipe.budget else 0, start.sequences if start else 0
    if start and budget <= read:
        raise UserError(
            f"the budget of {budget} sequences ends before the extension begins, at {read}",
            "The budget includes what is kept of the old mixture: raise it",
        )
    return solve(supplies, budget - read, _length(recipe))


def _parts(planned: Plan, start: Start | None) -> dict[str, Any]:
    """The description of the order in the recipe of an extended mixture: see `mixtures.reader.order_of`."""
    if not start:
        return {}
    counts = [part.sequences - part.supply.used for part in planned.allotments]
    return {"parts": [*start.parts, {"sequences": sum(counts), "counts": counts}]}


# -- what comes out ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Members:
    """The documents of one component that are read, and where each goes in its token file.

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
    """The documents that are read: the first ones in the order of the first epoch, or all of them."""
    order = permutation(selection.keys, recipe.seed, part.name, 0)
    needed = given.tokens + 1 if given.sequences else 0  # the last label looks one token ahead
    ends = np.cumsum(counts[order])
    chosen = order[: int(np.searchsorted(ends, needed)) + 1] if needed else order[:0]
    by_row = np.argsort(chosen)  # the order of the corpus: its texts are read once, front to back
    sizes = counts[chosen]
    places = Places((np.cumsum(sizes) - sizes)[by_row], sizes[by_row], by_row)
    return _Members(part, selection.take(chosen[by_row]), given, recipe.template(part), places)


def _chosen(store: Store, asked: _Inputs, tell: Tell) -> tuple[Plan, list[_Members]]:
    """The plan, and the documents that it reads. The selections, which are many times as long, are released on
    return."""
    planned, selections, counts = _selected(store, asked)
    tell(planned)
    parts = zip(asked.recipe.components, selections, counts, planned.allotments, strict=True)
    return planned, [_members(*part, asked.recipe) for part in parts]


def _build_mixture(store: Store, asked: _Inputs, scratch: Path, tell: Tell) -> tuple[Draft, dict[str, Any]]:
    """All families of a mixture, and the counts for its record."""
    planned, members = _chosen(store, asked, tell)
    vocabulary, length = asked.vocabulary, planned.sequence_length
    assert vocabulary
    draft = Draft(store, "mixture", asked.identity | _parts(planned, asked.start), asked.parents)
    draft.write("components", [_components_table(members)], tables.COMPONENTS.schema)
    draft.write("members", (part.table() for part in members), tables.MEMBERS.schema)
    draft.write("sequences", _sequence_tables(draft.recipe, members, length), tables.SEQUENCES.schema)
    draft.write_raw("tokens", _token_files(members, vocabulary, scratch))
    draft.write_raw("tokenizer", {"tokenizer.json": vocabulary.path.read_bytes()})
    documents = sum(len(part.places.counts) for part in members)
    totals = {"sequences": planned.sequences, "tokens": planned.tokens, "documents": documents}
    return draft, totals | _write_held_out(draft, planned.held_out)


def _write_held_out(draft: Draft, aside: HeldOut | None) -> dict[str, int]:
    """The family of what is set aside, where anything is; returns its counts for the record."""
    if not aside:
        return {}
    draft.write("held_out", [aside.table], tables.HELD_OUT.schema)
    return aside.counts


def _build_prompts(store: Store, asked: _Inputs, _: Path, tell: Tell) -> tuple[Draft, dict[str, Any]]:
    """The one family of a set of prompts, and the counts for its record."""
    selections, aside = _selections(store, asked.recipe, asked.corpora)
    chosen = replace(choose_prompts(asked.recipe, selections), held_out=aside)
    tell(chosen)
    draft = Draft(store, "prompts", asked.identity, asked.parents)
    return draft, write_prompts(draft, chosen) | _write_held_out(draft, aside)


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
    """Token files of the components of which anything is read, by logical name."""
    files: dict[str, Path | bytes] = {}
    with progress("mix: tokenize", sum(len(part.places.counts) for part in members)) as advance:
        for part in filter(lambda part: part.tokens, members):
            target = below(scratch, f"{part.component.name}.ds")
            write_tokens(part.selection, part.places, vocabulary, part.template, target, advance)
            files |= {target.name: target, f"{target.name}.index": target.with_name(f"{target.name}.index")}
    return files
