"""The sample: the same from the same seed, and of a kind that means something."""

import hashlib
import json
from pathlib import Path

from curation.config import CurateRecipe
from curation.sample.write import FAULTS, write_sample
from manifests.recipe import load

RECIPES = Path(__file__).parents[2] / "recipes"


def digest(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return hashlib.sha256(b"".join(path.name.encode() + path.read_bytes() for path in files)).hexdigest()


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_sample(tmp_path / name, seed, 300)
    assert digest(tmp_path / "a") == digest(tmp_path / "b") != digest(tmp_path / "c")


def test_every_fault_is_planted_and_labelled(sample):
    assert {label["kind"] for label in sample.labels.values()} == set(FAULTS)
    items = [json.loads(line)["id"] for line in (sample.folder / "benchmark" / "arithmetic.jsonl").open()]
    assert {label["of"] for label in sample.labels.values() if label["kind"] == "leak"} <= set(items)


def test_the_recipes_load():
    for path in sorted(RECIPES.glob("*/corpus.yaml")):
        assert load(path, CurateRecipe).sources
