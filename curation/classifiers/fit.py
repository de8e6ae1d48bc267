"""Trains a fastText classifier on labelled rows of a corpus, for `octo curate train-classifier`, and freezes it with a
report.

A manifest of kind `classifier`, made from its corpus, and from annotations where a language model labels: the model
(`model.bin`, the one family in its identity), `labels` (the label of each document, whether it was held out, and its
score), `thresholds` (precision and recall on the documents held out) and `features` (the words that weigh most).

Promises. Equal corpus and recipe give equal bytes: one thread, one process, an order drawn from the seed and doc_id. No
domain is on both sides of the split. Leaves out labelling itself, tuning, and text that does not fit in memory.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation.classifiers.config import ClassifierRecipe
from curation.measures.classifier import PREFIX, Classifier, prepare
from curation.tasks import RULES_VERSION
from manifests.catalog import Catalog
from manifests.errors import UserError
from manifests.manifest import Draft, Manifest, build_key, called, check_name, find_built, refuse_taken, resolve
from manifests.process import environment
from manifests.progress import progress
from manifests.recipe import semantic
from manifests.store import Store
from manifests.tables import FEATURES, LABELS, THRESHOLDS

LABEL_NAMES = ("negative", "positive")
STEPS_OF_THRESHOLD = 20
FEATURES_PER_LABEL = 50
ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_PERTURB_": "255", "OMP_NUM_THREADS": "1"}
"""Environment of the training process: glibc maps blocks of 64 KiB and more from the system, and fills smaller ones
with the complement of the byte 255; both are zeros. See `curation.classifiers.fit_worker`."""

_LABELLED = """
WITH asked AS (
  SELECT doc_id, score AS llm_score FROM annotations WHERE manifest = $2 AND task = 'score' AND verdict = 'ok'),
known AS (FROM documents {scored} WHERE manifest = $1)
SELECT doc_id, source, coalesce(nullif(({domain})::VARCHAR, ''), doc_id) AS domain,
       coalesce(({positive}), false) AS positive, coalesce(({negative}), false) AS negative
FROM known
WHERE coalesce(({positive}), false) OR coalesce(({negative}), false)
"""


@dataclass(frozen=True)
class Labelled:
    """Labelled documents in the order of training; `held_out` and `positive` are bool arrays beside `rows`."""

    rows: pa.Table
    positive: np.ndarray
    held_out: np.ndarray

    def counts(self) -> dict[str, int]:
        return {
            f"{label} {part}": int(((self.positive == bool(wanted)) & side).sum())
            for part, side in (("trained on", ~self.held_out), ("held out", self.held_out))
            for wanted, label in enumerate(LABEL_NAMES)
        }


def train(store: Store, recipe: ClassifierRecipe) -> Manifest:
    """The classifier manifest of `recipe`, trained or found.

    Raises UserError for a condition that is wrong, a document with both labels, a label without documents on either
    side of the split, or a training that diverged.
    """
    check_name(recipe.name, recipe.version)
    parents = _parents(store, recipe)
    key = build_key("classifier", semantic(recipe), parents, [("rules", str(RULES_VERSION))])
    found = find_built(store, key, "classifier", semantic(recipe), parents)
    if not found:
        refuse_taken(store, recipe, "classifier", semantic(recipe), parents)
    return called(store, found or _build(store, recipe, parents, key), recipe)


def plan(store: Store, recipe: ClassifierRecipe) -> dict[str, int]:
    """Documents of each label on each side of the split. Writes nothing."""
    corpus, *annotations = _parents(store, recipe)
    return labelled(store, corpus, recipe, *annotations).counts()


def _parents(store: Store, recipe: ClassifierRecipe) -> list[Manifest]:
    """The corpus, and the annotations if the recipe names some."""
    corpus = resolve(store, recipe.corpus)
    if corpus.kind != "corpus":
        raise UserError(f"{corpus.ref} is a {corpus.kind}, not a corpus", "Name a corpus manifest")
    if recipe.annotations is None:
        return [corpus]
    annotations = resolve(store, recipe.annotations)
    if annotations.kind != "annotations" or annotations.recipe["task"] != "score":
        raise UserError(f"{annotations.ref} holds no scores", "Name an annotations manifest of task score")
    return [corpus, annotations]


def _build(store: Store, recipe: ClassifierRecipe, parents: list[Manifest], key: str) -> Manifest:
    corpus, *annotations = parents
    with progress("classifier: label"):
        found = labelled(store, corpus, recipe, *annotations)
        lines = _lines(corpus, found.rows["doc_id"])
    with store.temporary() as folder:
        with progress("classifier: train"):
            model = fit(folder, found, lines, recipe)
        classifier = Classifier.load(model, "positive")
        with progress("classifier: report"):
            held = np.flatnonzero(found.held_out)
            score = classifier.score_lines([lines[row] for row in held])
        draft = Draft(store, "classifier", semantic(recipe), parents)
        draft.write("labels", [_labels(found, score)], LABELS.schema, identity=False)
        draft.write("thresholds", [thresholds(score, found.positive[held])], THRESHOLDS.schema, identity=False)
        draft.write("features", [features(classifier)], FEATURES.schema, identity=False)
        draft.write_raw("model", {"model.bin": model})
    counts = found.counts() | {"average_precision": round(average_precision(score, found.positive[held]), 6)}
    return draft.commit(recipe.name, recipe.version, counts, key, recipe.model_dump(mode="json"))


# -- labels ----------------------------------------------------------------------------------------------------------


def labelled(store: Store, corpus: Manifest, recipe: ClassifierRecipe, annotations: Manifest | None = None) -> Labelled:
    """The labelled documents of `corpus` in the order of training, split by domain. `annotations` hold scores of a
    language model for the conditions."""
    scored = "LEFT JOIN asked USING (doc_id)" if annotations else ""
    conditions = {name: f"\n{getattr(recipe, name)}\n" for name in ("positive", "negative", "domain")}
    with Catalog(store) as catalog:
        rows = catalog.query(_LABELLED.format(scored=scored, **conditions), [corpus.id, annotations and annotations.id])
    both = pc.sum(pc.and_(rows["positive"], rows["negative"])).as_py()
    if both:
        raise UserError(f"{both} documents of {corpus.ref} satisfy both conditions", "Make them exclude each other")
    draws = np.array([_draw(recipe.seed, "order", name) for name in rows["doc_id"].to_pylist()], np.uint64)
    order = np.argsort(draws)
    positive = rows["positive"].to_numpy()[order]
    ordinal = np.where(positive, np.cumsum(positive), np.cumsum(~positive))
    rows = rows.take(order[ordinal <= recipe.per_label])
    found = Labelled(rows, rows["positive"].to_numpy(), _held_out(rows["domain"], recipe))
    if missing := [what for what, count in found.counts().items() if not count]:
        domains = pc.count_distinct(rows["domain"]).as_py()
        raise UserError(
            f"no document is {missing[0]} ({len(rows)} labelled, {domains} domains)",
            "Correct the conditions, or split by another `domain`, such as doc_id",
        )
    return found


def _held_out(domains: pa.ChunkedArray, recipe: ClassifierRecipe) -> np.ndarray:
    limit = int(recipe.held_out * 2**64)
    return np.array([_draw(recipe.seed, "split", name) < limit for name in domains.to_pylist()], np.bool_)


def _draw(seed: int, what: str, name: str) -> int:
    """A number under 2**64 that seed, purpose and name fix."""
    return int.from_bytes(blake2b(f"{seed} {what} {name}".encode(), digest_size=8).digest(), "big")


def _lines(corpus: Manifest, doc_ids: pa.ChunkedArray) -> list[bytes]:
    """Prepared text of each document, in the order of `doc_ids`."""
    lines = [b""] * len(doc_ids)
    wanted = doc_ids.combine_chunks()
    for batch in corpus.scan("texts", ["doc_id", "text"]):
        place = pc.index_in(batch.column(0), value_set=wanted)
        chosen = pc.is_valid(place)
        texts = batch.column(1).filter(chosen)
        for position, line in zip(place.filter(chosen).to_pylist(), prepare(texts), strict=True):
            lines[position] = line
    return lines


def _labels(found: Labelled, score: np.ndarray) -> pa.Table:
    scores = np.full(len(found.rows), np.nan)
    scores[found.held_out] = score
    table = found.rows.select(["doc_id", "source", "domain"])
    table = table.append_column("label", pa.array(np.array(LABEL_NAMES)[found.positive.astype(int)], pa.string()))
    table = table.append_column("held_out", pa.array(found.held_out))
    table = table.append_column("score", pa.array(scores, pa.float64(), mask=~found.held_out))
    return table.sort_by([("source", "ascending"), ("doc_id", "ascending")])


# -- training --------------------------------------------------------------------------------------------------------


def fit(folder: Path, found: Labelled, lines: list[bytes], recipe: ClassifierRecipe) -> Path:
    """The model of the lines that are not held out; a file in `folder`."""
    source, model = folder / "lines.txt", folder / "model.bin"
    with source.open("wb") as file:
        file.writelines(_training_lines(found, lines))
    arguments = {
        "dim": recipe.dimensions,
        "wordNgrams": recipe.ngrams,
        "bucket": recipe.buckets,
        "minCount": recipe.min_count,
        "lr": recipe.learning_rate,
        "epoch": recipe.epochs,
        "seed": recipe.seed,
    }
    fit_file(source, model, arguments)
    return model


def fit_file(source: Path, model: Path, arguments: dict[str, float]) -> None:
    """Write the model of the labelled lines in `source` by fastText's own `arguments`, in a process of its own."""
    command = [sys.executable, "-m", "curation.classifiers.fit_worker", str(source), str(model), json.dumps(arguments)]
    variables = environment() | ENVIRONMENT
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"ended with status {done.returncode}"])[-1]
        raise UserError(
            f"training the classifier failed: {said}", "Lower learning_rate or min_count, or give more text"
        )


def _training_lines(found: Labelled, lines: list[bytes]) -> Iterator[bytes]:
    for line, positive, held_out in zip(lines, found.positive.tolist(), found.held_out.tolist(), strict=True):
        if not held_out:
            yield f"{PREFIX}{LABEL_NAMES[positive]} ".encode() + line


# -- report ----------------------------------------------------------------------------------------------------------


def thresholds(score: np.ndarray, positive: np.ndarray) -> pa.Table:
    """Precision and recall of `score >= threshold` at 0, 0.05, …, 1; precision is NULL where nothing is selected."""
    rows = []
    for step in range(STEPS_OF_THRESHOLD + 1):
        chosen = score >= step / STEPS_OF_THRESHOLD
        selected, hits = int(chosen.sum()), int((chosen & positive).sum())
        rows.append(
            {
                "threshold": step / STEPS_OF_THRESHOLD,
                "selected": selected,
                "precision": hits / selected if selected else None,
                "recall": hits / int(positive.sum()),
            }
        )
    return pa.Table.from_pylist(rows, THRESHOLDS.schema)


def average_precision(score: np.ndarray, positive: np.ndarray) -> float:
    """Sum over the distinct scores, best first, of precision times the recall gained; equal scores count together."""
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))
    hits = np.cumsum(positive[order])[last]
    return float(np.sum(np.diff(hits, prepend=0) / positive.sum() * hits / (last + 1)))


def features(classifier: Classifier) -> pa.Table:
    """The words that alone would move the log-odds of `positive` most, either way. N-grams are hashed and nameless."""
    model = classifier.model
    words, counts = model.get_words(include_freq=True)
    outputs = dict(zip(model.get_labels(), model.get_output_matrix(), strict=True))
    direction = outputs[PREFIX + "positive"] - outputs[PREFIX + "negative"]
    weight = model.get_input_matrix()[: len(words)] @ direction
    rows = []
    for label, strength in (("positive", weight), ("negative", -weight)):
        for rank, word in enumerate(np.argsort(-strength, kind="stable")[:FEATURES_PER_LABEL]):
            found = {"word": words[word], "weight": float(weight[word]), "count": int(counts[word])}
            rows.append({"label": label, "rank": rank + 1} | found)
    return pa.Table.from_pylist(rows, FEATURES.schema)
