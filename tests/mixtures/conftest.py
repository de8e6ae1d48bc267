"""A small corpus and a small tokenizer, made without the curation pipeline."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from curation.measures.vocabulary import Vocabulary
from manifests import tables
from manifests.manifest import Draft, Manifest
from manifests.recipe import parse
from manifests.store import Store
from mixtures.config import MixRecipe
from mixtures.mix import mix

SENTENCE = "the sum of two even numbers is even because each is twice some integer and so on to infinity"
WORDS = SENTENCE.split()


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a byte-level BPE of 300 tokens."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator([SENTENCE] * 9, trainer)
    folder = tmp_path_factory.mktemp("tokenizer")
    bpe.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def make_document(source: str, number: int, **values: Any) -> dict[str, Any]:
    """A document with the text that its number gives; `values` replace columns."""
    words = [WORDS[(number * 7 + i * (number % 5 + 1)) % len(WORDS)] for i in range(3 + number * 13 % 40)]
    row = {
        "doc_id": hashlib.sha256(f"{source}/{number}".encode()).hexdigest()[:32],
        "source": source,
        "role": source if source in ("qa", "rl") else "web",
        "text": f"{number} " + " ".join(words),
        "score": number % 10 / 10,
    }
    return row | values


@pytest.fixture
def document() -> Callable[..., dict[str, Any]]:
    return make_document


@pytest.fixture
def corpus(store: Store, tokenizer: Path) -> Callable[..., Manifest]:
    """Commits a corpus manifest `toy@<version>` of the given documents, counted with the tokenizer."""
    vocabulary = Vocabulary.load(tokenizer)

    def commit(rows: list[dict[str, Any]], version: str = "1", digest: str = vocabulary.digest, **cut: Any) -> Manifest:
        rows = sorted(rows, key=lambda row: (row["source"], row["doc_id"]))
        counts = vocabulary.count([row["text"] for row in rows])
        for row, count in zip(rows, counts.tolist(), strict=True):
            row |= {"n_chars": len(row["text"]), "n_tokens": count, "text_digest": row["doc_id"]}
        draft = Draft(store, "corpus", {"tokenizer": digest})
        documents = tables.DOCUMENTS.schema.append(pa.field("score", pa.float64()))
        for family, schema in (("documents", documents), ("texts", tables.TEXTS.schema)):
            draft.write(family, [pa.Table.from_pylist(rows, schema=schema)], schema, **cut)
        return draft.commit("toy", version)

    return commit


@pytest.fixture
def toy(corpus: Callable[..., Manifest]) -> Manifest:
    """60 pages, 25 answered questions, 10 prompts; every ninth page was dropped."""
    pages = [make_document("web", i, drop_reason="too_short" if i % 9 == 0 else None) for i in range(60)]
    qa = [make_document("qa", i, question=f"q{i}", answer=str(i)) for i in range(25)]
    rl = [make_document("rl", i, question=f"What is {i} + 1?", answer=str(i + 1)) for i in range(10)]
    return corpus(pages + qa + rl)


@pytest.fixture
def recipe(tokenizer: Path) -> Callable[..., MixRecipe]:
    """A recipe over `toy@1`: two components, 100 sequences of 16; `values` replace fields."""

    def make(**values: Any) -> MixRecipe:
        plain = {
            "name": "mixture",
            "components": [
                {"name": "web", "manifest": "toy@1", "where": "role = 'web'", "weight": 3},
                {"name": "qa", "manifest": "toy@1", "where": "role = 'qa'", "weight": 2, "max_epochs": 3},
            ],
            "budget": {"sequences": 100},
            "sequence_length": 16,
            "tokenizer": str(tokenizer),
            "seed": 5,
        }
        return parse(json.loads(json.dumps(plain | values)), MixRecipe, "recipe")

    return make


@pytest.fixture
def mixture(store: Store, toy: Manifest, recipe: Callable[..., MixRecipe]) -> Manifest:
    """Two components; `qa` runs through nearly three epochs, and one of its windows over the end of one."""
    return mix(store, recipe(budget={"sequences": 280}, components=[
        {"name": "web", "manifest": "toy@1", "where": "role <> 'qa'", "weight": 9},
        {"name": "qa", "manifest": "toy@1", "where": "role = 'qa'", "weight": 19, "max_epochs": 3},
    ]))  # fmt: skip
