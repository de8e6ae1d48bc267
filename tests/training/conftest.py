"""A store with a small mixture of pages and answered questions, made without the curation pipeline."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch

from curation.sample_problems import problems
from curation.vocabulary import Vocabulary
from manifests import tables
from manifests.manifest import Draft, Manifest, resolve
from manifests.recipe import parse
from manifests.store import Store
from mixtures.config import MixRecipe
from mixtures.mix import mix
from training.config import TrainRecipe

PROJECT = Path(__file__).parents[2]
TOKENIZER = PROJECT / "recipes" / "quickstart" / "tokenizer"
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


@pytest.fixture
def new_store(tmp_path: Path) -> Callable[[str], tuple[Store, Manifest]]:
    """Makes a store of the given name with the mixture in it; the mixture is the same in each."""

    def make(name: str) -> tuple[Store, Manifest]:
        store = Store(tmp_path / name)
        toy_corpus(store)
        recipe = {
            "name": "mixture",
            "components": [
                {"name": "web", "manifest": "toy@1", "where": "role = 'web'", "max_epochs": 3},
                {"name": "qa", "manifest": "toy@1", "where": "role = 'qa'", "max_epochs": 2},
            ],
            "budget": {"sequences": SEQUENCES},
            "sequence_length": LENGTH,
            "tokenizer": str(TOKENIZER),
        }
        mix(store, parse(recipe, MixRecipe, "recipe"))
        return store, resolve(store, "mixture@1")

    return make


@pytest.fixture
def mixture(new_store: Callable[[str], tuple[Store, Manifest]]) -> tuple[Store, Manifest]:
    return new_store("store")


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


@pytest.fixture
def recipe() -> Callable[..., TrainRecipe]:
    return train_recipe


@pytest.fixture
def octo() -> Callable[..., subprocess.Popen]:
    """Starts the command `octo` as a process of its own; `environment` adds variables."""

    def start(*arguments: str, **environment: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "octo", *arguments]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, cwd=PROJECT, env=os.environ | environment, **quiet)

    return start
