"""Extends a mixture from any step with other weights: the first part of the order stays the same, sequence for
sequence.

A component that keeps its name continues its stream of documents where the old mixture left it, so none is lost or
repeated; its corpus, condition, template, seed, tokenizer and length must be the same. A component that the recipe no
longer names ends there; a new name starts a new stream. Caps and minima include what was read before. Leaves out a new
component whose documents an old one has read: make their `where` conditions disjoint.
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
"""Fields of a component on which its stream of documents depends."""
SHARED = ("seed", "sequence_length", "tokenizer", "hold_out")
"""Fields of a mixture on which the streams of all components depend."""


@dataclass(frozen=True)
class Start:
    """The first `sequences` of `mixture`, which another mixture continues."""

    mixture: Manifest
    sequences: int

    @property
    def identity(self) -> dict[str, Any]:
        return {"first": {"mixture": self.mixture.id, "sequences": self.sequences}}

    @property
    def used(self) -> dict[str, int]:
        """Sequences of each component that have been read by then."""
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
    """With how many sequences of `other` `mixture` begins, as an extension of it or of its extensions; otherwise 0."""
    shared = mixture.counts["sequences"]
    while first := mixture.recipe.get("first"):
        mixture, shared = resolve(store, first["mixture"]), min(shared, first["sequences"])
        if mixture.id == other.id:
            return shared
    return 0


def start_after(mixture: Manifest, step: int, batch: int | None) -> Start:
    """The start after `step` steps of `batch` sequences of `mixture`. UserError if the mixture ends before that."""
    if mixture.kind != "mixture":
        raise UserError(f"{mixture.ref} is a {mixture.kind}; only a mixture is extended", "See `octo manifest list`")
    if batch is None:
        raise UserError("the recipe gives no batch, so steps cannot be counted", "Give budget.batch=<sequences>")
    total = mixture.counts["sequences"]
    if not 1 <= step <= total // batch:
        raise UserError(f"{mixture.ref} has no step {step} of {batch}", f"It has {total // batch} whole steps")
    return Start(mixture, step * batch)


def continued(recipe: MixRecipe, start: Start) -> MixRecipe:
    """`recipe` with the components of the old mixture first, in their order; those that it does not name have weight
    0."""
    if recipe.kind != "mixture":
        raise UserError("a set of prompts cannot extend a mixture", "Leave out --extend")
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
    """A component of which nothing more is read. Built without validation, because no recipe may give the weight 0."""
    fields = {name: part[name] for name in ("name", "where", "max_epochs")}
    fields |= {"allow": tuple(part["allow"]), "manifest": part["corpus"]}
    fields["format"] = _format_of(part) if "template" in part else None
    return ComponentRecipe.model_construct(**fields, weight=0.0)


def check_same_streams(start: Start, identity: dict[str, Any]) -> None:
    """UserError unless every component of the old mixture continues the same stream under `identity`."""
    old = start.mixture.recipe
    for name in SHARED:
        if old.get(name) != identity.get(name):
            raise UserError(
                f"{start.mixture.ref} has another {name}", "An extension must keep it; make a new mixture to change it"
            )
    now = {part["name"]: part for part in identity["components"]}
    for part in old["components"]:
        changed = [name for name in STREAM if part.get(name) != now[part["name"]].get(name)]
        if changed:
            raise UserError(
                f"component `{part['name']}` of {start.mixture.ref} has another {' and '.join(changed)}",
                "Keep it, so that reading continues where it stopped, or rename the component",
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
