"""A store with a small mixture of pages and answered questions, made without the curation pipeline."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch

from curation.measures.vocabulary import Vocabulary
from curation.sample.problems import problems
from manifests import tables
from manifests.manifest import Draft, Manifest, resolve
from manifests.recipe import parse
from manifests.store import Store
from mixtures.config import MixRecipe
from mixtures.mix import mix
from training.config import TrainRecipe

TOKENIZER = Path(__file__).parents[2] / "recipes" / "quickstart" / "tokenizer"
LENGTH, SEQUENCES = 32, 50


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small matrices gain nothing from more, and bit-exactness is promised for one number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def toy_corpus(store: Store) -> Manifest:
    """120 documents: pages that count upwards and problems with a chain of thought."""
    vocabulary, rows = Vocabulary.load(TOKENIZER), []
    for number, problem in enumerate(problems(0, 60, "train")):
        page = f"Page {number}. " + " ".join(str(number + i) for i in range(number % 17 + 3))
        rows.append({"doc_id": f"{number:032x}", "source": "pages", "role": "web", "text": page})
        asked = {"question": problem.question, "response": problem.cot, "answer": problem.answer}
        text = f"Question:\n{problem.question}\nAnswer:\n{problem.cot}"
        rows.append({"doc_id": f"{number + 10**6:032x}", "source": "sums", "role": "qa", "text": text} | asked)
    rows.sort(key=lambda row: (row["source"], row["doc_id"]))
    for row, count in zip(rows, vocabulary.count([row["text"] for row in rows]).tolist(), strict=True):
        row |= {"n_chars": len(row["text"]), "n_tokens": count, "text_digest": row["doc_id"]}
    draft = Draft(store, "corpus", {"tokenizer": vocabulary.digest})
    for family, spec in (("documents", tables.DOCUMENTS), ("texts", tables.TEXTS)):
        draft.write(family, [pa.Table.from_pylist(rows, schema=spec.schema)], spec.schema)
    return draft.commit("toy", "1")


PARTS = {
    "web": {"name": "web", "manifest": "toy@1", "where": "role = 'web'", "max_epochs": 3},
    "qa": {"name": "qa", "manifest": "toy@1", "where": "role = 'qa'", "max_epochs": 2},
}


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with `toy@1` and its mixtures `mixture@1`, `web@1` and `qa@1`; tests work on copies of it."""
    folder = tmp_path_factory.mktemp("training") / "store"
    store = Store(folder)
    toy_corpus(store)
    for name, parts, sequences in (("mixture", ["web", "qa"], SEQUENCES), ("web", ["web"], 20), ("qa", ["qa"], 20)):
        recipe = {
            "name": name,
            "components": [PARTS[part] for part in parts],
            "budget": {"sequences": sequences},
            "sequence_length": LENGTH,
            "tokenizer": str(TOKENIZER),
        }
        mix(store, parse(recipe, MixRecipe, "recipe"))
    return folder


@pytest.fixture
def mixture(built: Path, tmp_path: Path) -> tuple[Store, Manifest]:
    """The store, a copy of its own in `tmp_path`, and `mixture@1`: 50 sequences of 32 tokens."""
    store = Store(shutil.copytree(built, tmp_path / "store"))
    return store, resolve(store, "mixture@1")


MODEL = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
    "tie_word_embeddings": True,
}


def train_recipe(**values: Any) -> TrainRecipe:
    """Ten steps of five sequences; `values` replace fields."""
    plain = {"stage": "stable", "model": MODEL, "optimizer": {"lr": 0.01}, "batch_sequences": 5, "checkpoint_every": 5}
    return parse(plain | values, TrainRecipe, "recipe")


@pytest.fixture(scope="session")
def recipe() -> Callable[..., TrainRecipe]:
    return train_recipe
