"""A tokenizer, a small sample and the corpus made from it, once for all tests of curation."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from curation.config import CurateRecipe
from curation.pipeline import curate
from curation.sample.write import write_sample
from manifests.manifest import Manifest
from manifests.recipe import parse
from manifests.store import Store

SOURCES = ("web", "general", "qa", "long_cot", "rl")


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory) -> Path:
    """A byte-level BPE of a few hundred tokens with an end-of-text token."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet)
    made.train_from_iterator(["the sum of two numbers and the proof of a theorem"] * 5, trainer)
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    made.save(str(path))
    return path


@dataclass(frozen=True)
class Sample:
    """The built-in sample on disk, and its labels by url."""

    folder: Path
    labels: dict[str, dict[str, str]]

    def recipe(self, tokenizer: Path, **changes) -> CurateRecipe:
        """The recipe that curates every source of the sample against its benchmark."""
        sources = [{"name": name, "path": str(self.folder / name), "role": name} for name in SOURCES]
        benchmark = {"name": "arithmetic", "path": str(self.folder / "benchmark" / "arithmetic.jsonl")}
        plain = {"name": "sample", "tokenizer": str(tokenizer), "sources": sources}
        return parse(plain | {"decontaminate": {"benchmarks": [benchmark]}} | changes, CurateRecipe, "test")


@pytest.fixture(scope="session")
def sample(tmp_path_factory) -> Sample:
    folder = tmp_path_factory.mktemp("sample")
    write_sample(folder, seed=7, documents=900)
    labels = [json.loads(line) for line in (folder / "labels.jsonl").read_text().splitlines()]
    return Sample(folder, {label["url"]: label for label in labels})


@pytest.fixture(scope="session")
def store(tmp_path_factory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="session")
def corpus(store, sample, tokenizer) -> Manifest:
    """The sample, curated in this process."""
    return curate(store, sample.recipe(tokenizer), workers=1)
