"""A store with ten prompts and a model to reinforce: one that has learned to answer 0 or 1 in a box, without regard."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch

from curation.sample_problems import problems
from curation.vocabulary import Vocabulary
from manifests import tables
from manifests.manifest import Draft, resolve
from manifests.recipe import parse
from manifests.runs import load_run
from manifests.store import Store
from mixtures.config import MixRecipe
from mixtures.mix import mix
from rl.config import RLRecipe
from training.config import TrainRecipe
from training.launch import train

TOKENIZER = Path(__file__).parents[2] / "recipes" / "quickstart" / "tokenizer"
MODEL = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small matrices gain nothing from more, and bit-exactness is promised for one number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def toy_corpus(store: Store) -> None:
    """Ten questions, half of them answered by 0 and half by 1."""
    vocabulary, rows = Vocabulary.load(TOKENIZER), []
    for number, problem in enumerate(problems(0, 10, "rl")):
        answer = str(number % 2)
        row = {"doc_id": f"{number:032x}", "source": "sums", "role": "qa", "text_digest": f"{number:032x}"}
        text = f"Question:\n{problem.question}\nAnswer:\n\\boxed{{{answer}}}"
        row |= {"n_chars": len(text), "n_tokens": int(vocabulary.count([text])[0])}
        rows.append(row | {"text": text, "question": problem.question, "answer": answer})
    draft = Draft(store, "corpus", {"tokenizer": vocabulary.digest})
    for family, spec in (("documents", tables.DOCUMENTS), ("texts", tables.TEXTS)):
        draft.write(family, [pa.Table.from_pylist(rows, schema=spec.schema)], spec.schema)
    draft.commit("toy", "1")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Holds `toy@1` (corpus), `mixture@1` and `prompts@1`."""
    store = Store(tmp_path / "store")
    toy_corpus(store)
    part = {"name": "qa", "manifest": "toy@1", "max_epochs": 99}
    packed = {"budget": {"sequences": 480}, "sequence_length": 32, "tokenizer": str(TOKENIZER)}
    mix(store, parse({"name": "mixture", "components": [part]} | packed, MixRecipe, "recipe"))
    mix(store, parse({"name": "prompts", "kind": "prompts", "components": [part]}, MixRecipe, "recipe"))
    return store


@pytest.fixture
def base(store: Store) -> Any:
    """A run of 60 steps."""
    recipe = {"stage": "stable", "model": MODEL, "optimizer": {"lr": 0.02}, "batch_sequences": 8}
    run = train(store, resolve(store, "mixture@1"), parse(recipe, TrainRecipe, "recipe"))
    return load_run(store, run.id)


@pytest.fixture
def recipe() -> Callable[..., RLRecipe]:
    """Four steps of two prompts and four responses; `values` replace fields."""

    def make(**values: Any) -> RLRecipe:
        plain = {"steps": 4, "prompts_per_step": 2, "group_size": 4, "max_new_tokens": 9, "checkpoint_every": 2}
        return parse(plain | {"optimizer": {"lr": 0.01}} | values, RLRecipe, "recipe")

    return make
