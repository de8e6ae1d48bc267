"""The texts of a manifest on which a loss is measured, each with its source, role and benchmark.

    mixture     the documents that it holds out (`hold_out`): the text as the corpus has it, without a template
    corpus      its documents, those that were dropped left out
    benchmark   the worked solution of each item, or the answer where there is none, given the problem
    prompts     the answer to each prompt, given the problem

A problem is put as `cpt_base` puts it, whatever a run was trained on, so that losses can be compared between runs.
Promises. Which documents a limit leaves depends on their IDs alone; order and place change nothing. `digest` is one of
the texts themselves. Memory: the texts. Leaves out tokens: see `evaluation.held_out.loss`.
"""

import contextlib
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evaluation.contamination import exposure, manifests_behind, statuses
from evaluation.protocols.templates import render
from evaluation.tasks import prompt, task_of
from manifests.catalog import Catalog
from manifests.errors import UserError
from manifests.manifest import Manifest, check_launch, resolve
from manifests.runs import RunDirectory
from manifests.store import Store

TEMPLATE = "cpt_base"
HOLD_OUT = "hold_out"
"""In place of the name of a manifest: what the run's own manifest holds out."""
Kind = Literal["held_out", "documents", "answers", "solutions"]


@dataclass(frozen=True)
class Texts:
    """`targets` are what is predicted, `prompts` what stands before each and does not count. `slices` maps a kind of
    slice to the name of each text's. `trained_on` says which were read in training, if that is known."""

    manifest: str
    kind: Kind
    ids: tuple[str, ...]
    prompts: tuple[str, ...]
    targets: tuple[str, ...]
    slices: dict[str, tuple[str, ...]]
    trained_on: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, chosen: Sequence[int] | np.ndarray) -> "Texts":
        """The texts at `chosen`."""
        ids, prompts, targets = (tuple(one[i] for i in chosen) for one in (self.ids, self.prompts, self.targets))
        slices = {kind: tuple(names[i] for i in chosen) for kind, names in self.slices.items()}
        seen = None if self.trained_on is None else self.trained_on[np.asarray(chosen, np.int64)]
        return Texts(self.manifest, self.kind, ids, prompts, targets, slices, seen)

    @property
    def digest(self) -> str:
        """Of the texts, in whatever order."""
        each = sorted(hashlib.sha256(json.dumps(pair).encode()).digest() for pair in zip(*self._read, strict=True))
        return hashlib.sha256(b"".join(each)).hexdigest()[:16]

    @property
    def _read(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return self.prompts, self.targets


@dataclass(frozen=True)
class Source:
    """A manifest to measure, and which of its texts."""

    manifest: Manifest
    kind: Kind


def _source_of(store: Store, name: str, own: Sequence[str] = ()) -> Source:
    """What `name` means: a manifest, or `hold_out` for what the first of the manifests `own` that does holds out.

    UserError for a manifest that is not there, or that holds nothing out.
    """
    if name == HOLD_OUT:
        return Source(_holding(store, own), "held_out")
    return Source(manifest := resolve(store, name), _kind(manifest))


def _holding(store: Store, own: Sequence[str]) -> Manifest:
    """The first of `own` that holds documents out. Those of an earlier run may lie in another store."""
    named = []
    for place, one in enumerate(own):
        with contextlib.suppress(*([UserError] if place else [])):
            manifest = resolve(store, one)
            if "held_out" in manifest.families:
                return manifest
            named.append(manifest.ref)
    said = f"{' and '.join(named) or 'a model folder'} holds no document out"
    raise UserError(said, "Mix with hold_out: {share: 0.01}, or name a manifest")


def checked_sources(store: Store, own: Sequence[str], names: Sequence[str]) -> list[Source]:
    """What each name means for a run that has the manifests `own` behind it, the nearest first; their files checked."""
    found = sources_of(store, own, names)
    for one in found:
        _check(store, one)
    return found


def sources_of(store: Store, own: Sequence[str], names: Sequence[str]) -> list[Source]:
    """What each name means for a run that has the manifests `own` behind it."""
    found = [_source_of(store, name, own) for name in names]
    if len({(one.manifest.id, one.kind) for one in found}) < len(found):
        raise UserError("two names mean the same texts of one manifest", "Name each once")
    return found


def _kind(manifest: Manifest) -> Kind:
    match manifest.kind:
        case "mixture" if "held_out" in manifest.families:
            return "held_out"
        case "mixture":
            said = "Mix with hold_out: {share: 0.01}, or name a corpus, prompts or a benchmark"
            raise UserError(f"{manifest.ref} holds no document out", said)
        case "corpus":
            return "documents"
        case "prompts":
            return "answers"
        case "benchmark":
            return "solutions"
        case _:
            raise UserError(
                f"{manifest.ref} is a {manifest.kind}, on which no loss is measured",
                "Name a mixture with hold_out, a corpus, prompts or a benchmark",
            )


def _check(store: Store, source: Source) -> None:
    """Check the files behind `source` as a launch does."""
    check_launch(store, source.manifest)
    if source.kind == "held_out":
        for corpus in pc.unique(source.manifest.read("held_out", ["corpus"])["corpus"]).to_pylist():
            check_launch(store, resolve(store, corpus))


def texts_of(store: Store, source: Source, most: int | None = None, model: RunDirectory | None = None) -> Texts:
    """The texts of `source`, at most `most` of them; with a `model`, which of them it was trained on."""
    match source.kind:
        case "held_out":
            found = _held_out(store, source.manifest, most)
        case "documents":
            found = _documents(source.manifest, most)
        case "answers":
            found = _answers(store, source.manifest)
        case "solutions":
            found = _solutions(source.manifest)
    found = _first(found, most)
    if not len(found):
        raise UserError(f"{source.manifest.ref} has no text to measure a loss on", "Name another manifest")
    seen = _trained_on(store, source, found, model)
    if model and seen is not None and seen.any():
        said = f"{int(seen.sum())} of {len(found)} texts of {source.manifest.ref} were read in training by {model.id}"
        print(f"octo: {said} or a run that it started from: their loss is not held out", file=sys.stderr)
    return replace(found, trained_on=seen)


def order_of(ids: Sequence[str]) -> np.ndarray:
    """A random order of `ids` that depends on nothing else: int64 positions."""
    return np.argsort(np.array([hashlib.md5(one.encode()).digest() for one in ids], dtype="S16"), kind="stable")


def _first(texts: Texts, most: int | None) -> Texts:
    return texts.take(order_of(texts.ids)[:most])


# -- documents -----------------------------------------------------------------------------------------------------


def _held_out(store: Store, manifest: Manifest, most: int | None) -> Texts:
    rows = manifest.read("held_out", ["corpus", "doc_id", "source", "role", "measured"])
    rows = rows.filter(rows["measured"])
    _, once = np.unique(rows["doc_id"].to_numpy(), return_index=True)  # two corpora may share a document
    rows = rows.take(np.sort(once))
    rows = rows.take(order_of(rows["doc_id"].to_pylist())[:most])
    ids, texts = rows["doc_id"].to_pylist(), {}
    for corpus in pc.unique(rows["corpus"]).to_pylist():
        wanted = rows.filter(pc.equal(rows["corpus"], corpus))["doc_id"]
        texts |= _texts(resolve(store, corpus), wanted)
    return _plain(manifest, "held_out", rows, tuple(texts[one] for one in ids))


def _documents(manifest: Manifest, most: int | None) -> Texts:
    rows = manifest.read("documents", ["doc_id", "source", "role", "drop_reason"])
    rows = rows.filter(pc.is_null(rows["drop_reason"]))
    if most is not None:
        rows = rows.take(order_of(rows["doc_id"].to_pylist())[:most])
    texts = _texts(manifest, rows["doc_id"])
    return _plain(manifest, "documents", rows, tuple(texts[one] for one in rows["doc_id"].to_pylist()))


def _texts(corpus: Manifest, wanted: pa.ChunkedArray) -> dict[str, str]:
    """The text of each document."""
    place = pc.index_in(corpus.read("documents", ["doc_id"])["doc_id"], value_set=wanted.combine_chunks())
    rows = np.flatnonzero(pc.is_valid(place).to_numpy())
    found = [batch.to_pydict() for batch in corpus.take("texts", ["doc_id", "text"], rows)]
    return {one: text for batch in found for one, text in zip(batch["doc_id"], batch["text"], strict=True)}


def _plain(manifest: Manifest, kind: Kind, rows: pa.Table, texts: tuple[str, ...]) -> Texts:
    slices = {name: tuple(rows[name].to_pylist()) for name in ("source", "role")}
    return Texts(manifest.id, kind, tuple(rows["doc_id"].to_pylist()), ("",) * len(texts), texts, slices)


# -- problems ------------------------------------------------------------------------------------------------------


def _answers(store: Store, manifest: Manifest) -> Texts:
    rows = manifest.read("prompts", ["prompt_id", "doc_id", "source", "corpus", "question", "answer"])
    asked = tuple(render(TEMPLATE, question) for question in rows["question"].to_pylist())
    slices = {"source": tuple(rows["source"].to_pylist()), "role": _roles(store, rows)}
    ids = tuple(rows["doc_id"].to_pylist())
    return Texts(manifest.id, "answers", ids, asked, tuple(rows["answer"].to_pylist()), slices)


def _roles(store: Store, prompts: pa.Table) -> tuple[str, ...]:
    """The role of the document of each prompt."""
    roles: dict[str, str] = {}
    for corpus in pc.unique(prompts["corpus"]).to_pylist():
        found = resolve(store, corpus).read("documents", ["doc_id", "role"])
        mine = found.filter(pc.is_in(found["doc_id"], prompts["doc_id"].combine_chunks()))
        roles |= zip(mine["doc_id"].to_pylist(), mine["role"].to_pylist(), strict=True)
    return tuple(roles[one] for one in prompts["doc_id"].to_pylist())


def _solutions(manifest: Manifest) -> Texts:
    items = manifest.read("items", ["item_id", "benchmark", "question", "answer", "choices", "solution"]).to_pylist()
    if bare := sum(not (item["solution"] or "").strip() for item in items):
        said = f"{bare} of {len(items)} items have no worked solution: the answer stands for it"
        print(f"octo: {manifest.ref}: {said}", file=sys.stderr)
    asked = tuple(prompt(task_of(manifest.name), item, TEMPLATE, None, None) for item in items)
    targets = tuple(item["solution"] if (item["solution"] or "").strip() else item["answer"] for item in items)
    slices = {"benchmark": tuple(item["benchmark"] for item in items)}
    return Texts(manifest.id, "solutions", tuple(item["item_id"] for item in items), asked, targets, slices)


# -- what was trained on -------------------------------------------------------------------------------------------

_MEMBERS = """
SELECT DISTINCT doc_id FROM members WHERE list_contains($1::VARCHAR[], manifest)
UNION SELECT DISTINCT doc_id FROM prompts WHERE list_contains($1::VARCHAR[], manifest)
"""


def _trained_on(store: Store, source: Source, texts: Texts, model: RunDirectory | None) -> np.ndarray | None:
    """Which texts the run `model` or a run before it was launched to read. Of a benchmark, which items leaked."""
    if model is None:
        return None
    if source.kind == "solutions":
        leaks: dict[Any, str] = dict(statuses(exposure(store, model), [source.manifest]))
        return np.array([leaks[source.manifest.name, one] == "leaked" for one in texts.ids], bool)
    behind: list[Any] = [sorted({*manifests_behind(store, model)})]
    with Catalog(store) as catalog:
        read = catalog.query(_MEMBERS, behind)["doc_id"]
    return pc.is_in(pa.array(texts.ids, pa.string()), read.combine_chunks()).to_numpy(zero_copy_only=False)
