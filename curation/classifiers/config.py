"""Recipe of a fastText classifier. Loads neither torch nor datatrove."""

from typing import Annotated

from pydantic import Field

from manifests.recipe import Amount, Local, NamedRecipe


class ClassifierRecipe(NamedRecipe):
    """A fastText classifier, trained on labelled rows of a corpus."""

    corpus: Annotated[str, Local]
    """Corpus manifest: name@version, an ID or a prefix of one. Its ID enters the identity."""
    annotations: Annotated[str | None, Local] = None
    """Annotations manifest of task score: its good scores, 0 to 5, are the column `llm_score` in the conditions, NULL
    for other documents. Its ID enters the identity."""
    positive: str
    """SQL condition over `documents` for the label positive. It includes dropped documents unless it excludes them."""
    negative: str
    """SQL condition for the label negative. No document may satisfy both."""
    domain: str = "regexp_extract(url, '^[A-Za-z]+://([^/:?#]+)', 1)"
    """SQL expression for the domain of a document. A domain is held out completely or not at all; a document without
    one is a domain by itself."""
    held_out: float = Field(default=0.1, gt=0, lt=1)
    """Share of the domains that the report is measured on."""
    per_label: Annotated[Amount, Field(gt=0)] = 200_000
    """Most documents of each label, drawn by the seed. They are kept in memory, some 2 KB each."""
    seed: int = 1
    """Seed of the split, of the draw and of the order of training."""
    dimensions: int = Field(default=64, ge=4)
    """Length of the vectors. 64 with 200,000 buckets score 20,000 documents a second; MegaMath's 256 with 2M, 3,200."""
    ngrams: int = Field(default=2, ge=2)
    """Words of the longest n-gram."""
    buckets: Annotated[Amount, Field(ge=10_000)] = 200_000
    """Rows that n-grams are hashed to."""
    min_count: int = Field(default=3, ge=1)
    """Words seen less often are left out."""
    learning_rate: float = Field(default=0.1, gt=0)
    """Learning rate at the start; it falls linearly to 0."""
    epochs: int = Field(default=3, ge=1)
    """Passes over the lines."""
