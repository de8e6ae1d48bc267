"""Which prompts for RL occur in documents on which a model is trained, each with that document.

The prompts are searched in the texts of the training corpora as benchmark items are searched in documents
(`curation.measures.decontaminate`): with the same words and limits, and other numbers make another problem. Dropped
documents of those corpora are left out, because nothing trains on them. Memory is that of the prompts; texts stream,
some 20,000 documents a second. Leaves out chains of thought and answers without their question."""

import json
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation.config import DecontaminateRecipe
from curation.measures.decontaminate import PARTS, ItemIndex
from manifests.drop_reasons import DropReason
from manifests.manifest import Manifest
from manifests.progress import progress

REASON = DropReason.IN_TRAINING
BATCH_ROWS = 4096


def held_by_training(questions: pa.Array, corpora: list[Manifest], settings: DecontaminateRecipe) -> dict[int, str]:
    """Evidence as JSON (corpus, document, coverage), by position in `questions`, of those that a kept document of
    `corpora` holds: of several the one that covers most, then the first."""
    words = [questions.cast(pa.string())] * len(PARTS)  # of an item nothing is looked at but its text
    index = ItemIndex(pa.table(words, PARTS), settings)
    best: dict[int, tuple[float, str, str]] = {}
    for corpus in corpora:
        for names, texts in _kept(corpus):
            for document, item, coverage in zip(*index.pairs(texts), strict=True):
                if int(item) not in best or coverage > best[int(item)][0]:
                    best[int(item)] = (float(coverage), corpus.id, names[int(document)].as_py())
    return {
        item: json.dumps({"corpus": corpus, "document": document, "coverage": round(coverage, 4)})
        for item, (coverage, corpus, document) in best.items()
    }


def _kept(corpus: Manifest) -> Iterator[tuple[pa.Array, pa.Array]]:
    """doc_id and text of the documents of `corpus` that were kept, in its order."""
    reasons = corpus.read("documents", ["drop_reason"])["drop_reason"]
    rows = np.flatnonzero(pc.is_null(reasons).to_numpy())
    with progress(f"curate: overlap with {corpus.ref}", len(rows)) as advance:
        for batch in corpus.take("texts", ["doc_id", "text"], rows):
            for start in range(0, len(batch), BATCH_ROWS):
                part = batch.slice(start, BATCH_ROWS)
                yield part.column(0), part.column(1).cast(pa.large_string())
                advance(len(part))
