"""Going on from the middle of a mixture with other weights: the first part of the order stays, sequence for sequence.

A component that keeps its name goes on in its stream of documents where the old mixture left it, so none is lost or
repeated; that takes the same corpus, condition, template, seed, tokenizer and length, and anything else is refused. A
component that the recipe does not name any more ends there; a new name begins a stream of its own. Caps and minima
count what was read before. Leaves out a new component whose documents an old one has read: make their `where`s
disjoint.
"""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from manifests.errors import UserError
from manifests.manifest import Manifest, resolve
from manifests.store import Store
from mixtures.config import ComponentRecipe, MixRecipe
from mixtures.reader import order_of

STREAM = ("corpus", "where", "allow", "template")
"""Of a component, what its stream of documents depends on beside its name."""
SHARED = ("seed", "sequence_length", "tokenizer", "hold_out")
"""Of a mixture, what the streams of all components depend on."""


@dataclass(frozen=True)
class Start:
    """The first `sequences` of `mixture`, from which another goes on."""

    mixture: Manifest
    sequences: int

    @property
    def identity(self) -> dict[str, Any]:
        return {"first": {"mixture": self.mixture.id, "sequences": self.sequences}}

    @property
    def used(self) -> dict[str, int]:
        """Sequences of each component that are read by then."""
        components = self.mixture.read("components", ["component", "sequences"])
        order = order_of(self.mixture.recipe, components["sequences"].to_pylist())
        before = order.counts_before(self.sequences).tolist()
        return dict(zip(components["component"].to_pylist(), before, strict=True))

    @property
    def parts(self) -> list[dict[str, Any]]:
        """The parts of the old order, the last one cut off where the new one begins: see `mixtures.reader.order_of`."""
        counts = self.mixture.read("components", ["sequences"])["sequences"].to_pylist()
        kept, left = [], self.sequences
        for part in self.mixture.recipe.get("parts", [{"sequences": sum(counts), "counts": counts}]):
            if left:
                kept.append(part | {"sequences": min(left, part["sequences"])})
            left -= min(left, part["sequences"])
        return kept


def shared_with(store: Store, mixture: Manifest, other: Manifest) -> int:
    """How many sequences of `other` `mixture` begins with, as an extension of it or of its extensions; else 0."""
    shared = mixture.counts["sequences"]
    while first := mixture.recipe.get("first"):
        mixture, shared = resolve(store, first["mixture"]), min(shared, first["sequences"])
        if mixture.id == other.id:
            return shared
    return 0


def start_after(mixture: Manifest, step: int, batch: int | None) -> Start:
    """After `step` steps of `batch` sequences of `mixture`. UserError where the mixture ends before."""
    if mixture.kind != "mixture":
        raise UserError(f"{mixture.ref} is a {mixture.kind}; only a mixture is extended", "See `octo manifest list`")
    if batch is None:
        raise UserError("the recipe says no batch, so that steps cannot be counted", "Give budget.batch=<sequences>")
    total = mixture.counts["sequences"]
    if not 1 <= step <= total // batch:
        raise UserError(f"{mixture.ref} has no step {step} of {batch}", f"It has {total // batch} whole steps")
    return Start(mixture, step * batch)


def continued(recipe: MixRecipe, start: Start) -> MixRecipe:
    """`recipe` with the components of the old mixture first, in their order; those it does not name weigh nothing."""
    if recipe.kind != "mixture":
        raise UserError("a set of prompts extends no mixture", "Leave out --extend")
    named = {part.name: part for part in recipe.components}
    old = [named.pop(part["name"], None) or _ended(part) for part in start.mixture.recipe["components"]]
    templates = {
        _format_of(part): part["template"] for part in start.mixture.recipe["components"] if "template" in part
    }
    formats = recipe.formats | templates
    return recipe.model_copy(update={"components": (*old, *named.values()), "formats": formats})


def _format_of(part: dict[str, Any]) -> str:
    """A name for the template of an old component that no recipe can give."""
    return f"of {part['name']} in the old mixture"


def _ended(part: dict[str, Any]) -> ComponentRecipe:
    """A component of which nothing more is read. Built unchecked: no recipe may give it the weight 0."""
    fields = {name: part[name] for name in ("name", "where", "max_epochs")}
    fields |= {"allow": tuple(part["allow"]), "manifest": part["corpus"]}
    fields["format"] = _format_of(part) if "template" in part else None
    return ComponentRecipe.model_construct(**fields, weight=0.0)


def check_same_streams(start: Start, identity: dict[str, Any]) -> None:
    """UserError unless every component of the old mixture reads on in the same stream under `identity`."""
    old = start.mixture.recipe
    for name in SHARED:
        if old.get(name) != identity.get(name):
            raise UserError(
                f"{start.mixture.ref} has another {name}", "An extension keeps it; make a new mixture to change it"
            )
    now = {part["name"]: part for part in identity["components"]}
    for part in old["components"]:
        changed = [name for name in STREAM if part.get(name) != now[part["name"]].get(name)]
        if changed:
            raise UserError(
                f"component `{part['name']}` of {start.mixture.ref} has another {' and '.join(changed)}",
                "Keep it to read on where it was left, or give the component a new name",
            )


def check_same_held_out(start: Start, now: pa.Table) -> None:
    """UserError unless `now` (`HELD_OUT`) sets aside of the old mixture's corpora what that did: a document more or
    less would shift the streams that are read on."""
    old = start.mixture.read("held_out", ["corpus", "doc_id"])
    corpora = start.mixture.read("components", ["corpus"])["corpus"].combine_chunks()
    mine = now.filter(pc.is_in(now["corpus"], corpora)).select(["corpus", "doc_id"])
    if sorted(mine.to_pylist(), key=str) != sorted(old.to_pylist(), key=str):
        raise UserError(
            f"documents of {start.mixture.ref} are near-duplicates of some that a new corpus sets aside",
            "Make a new mixture, or leave the new corpus out",
        )
