"""What an ID hangs on is pinned: who changes it sees at once what is renamed, and what to do.

`python tests/test_identity_pins.py` writes pins.json anew, once the change is meant and RULES_VERSION says so.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest

from curation.classifiers.config import ClassifierRecipe
from curation.config import CurateRecipe
from curation.language_model.config import AnnotateRecipe
from curation.pipeline import curate
from curation.tasks import RULES_VERSION
from evaluation.config import EvalRecipe
from manifests.identity import json_digest
from manifests.recipe import Recipe, parse, semantic
from manifests.store import Store
from mixtures.config import MixRecipe
from rl.config import RLRecipe
from rl.pass_rate import PassRateRecipe
from training.config import TrainRecipe

ROOT = Path(__file__).resolve().parents[1]
PINS = Path(__file__).with_name("pins.json")
NAMED = {"name": "n", "version": "1"}
LEAST: dict[type[Recipe], dict[str, Any]] = {
    CurateRecipe: NAMED | {"tokenizer": "t", "sources": [{"name": "s", "path": "p", "role": "web"}]},
    AnnotateRecipe: NAMED | {"corpus": "c@1", "task": "score", "model": "m", "server": {"url": "http://x/v1"}},
    ClassifierRecipe: NAMED | {"corpus": "c@1", "positive": "true", "negative": "false"},
    MixRecipe: NAMED | {
        "tokenizer": "t", "sequence_length": 8, "budget": {"tokens": 8},
        "components": [{"name": "c", "manifest": "m@1", "weight": 1}],
    },
    TrainRecipe: {"stage": "s", "optimizer": {"lr": 1.0}, "batch_sequences": 1},
    RLRecipe: {"steps": 1, "prompts_per_step": 1, "group_size": 2, "max_new_tokens": 1, "optimizer": {"lr": 1.0}},
    PassRateRecipe: NAMED | {"max_new_tokens": 1},
    EvalRecipe: {},
}  # fmt: skip
"""Each recipe with what it must have and nothing else."""
RECORDS = [
    {
        "url": "https://example.org/1",
        "text": "Home | Log in | Read more. The sum of the first n odd numbers is $n^2$: indeed $1 + 3 = 4$ and "
        "$1 + 3 + 5 = 9$. For the proof let the claim hold for n; adding $2n + 1$ gives $(n + 1)^2$. "
        "The sum of the first n odd numbers is $n^2$, which was to be shown.",
    },
    {"url": "https://example.org/2", "text": "Too short."},
]
RENAMES = {
    "recipes": "a recipe's identity changed, so whatever was made from it gets another ID. A new field needs the "
    "default None (a field that is None is left out of the identity), or `Annotated[…, Local]` if it is a path, a "
    "name, or a matter of the machine",
    "base_ids": "the identity of a document changed, so every doc_id of every corpus does: look at FIELDS "
    "(curation.reading.records), the adapters, normalisation and `_base_ids` (curation.execution.steps)",
    "measured": "what is measured or decided of a document changed. If it is meant, raise RULES_VERSION "
    "(curation.tasks) once per release, so that no old task output or manifest is taken for the new rules'",
}


def found() -> dict[str, Any]:
    """What is pinned, as this code has it."""
    with tempfile.TemporaryDirectory() as folder:
        rows = measured(Path(folder))
    return {
        "rules": RULES_VERSION,
        "recipes": {model.__name__: digest(model, plain) for model, plain in LEAST.items()},
        "base_ids": [row["doc_id"] for row in rows],
        "measured": [{name: row[name] for name in sorted(row)} for row in rows],
    }


def digest(model: type[Recipe], plain: dict[str, Any]) -> str:
    return json_digest(semantic(parse(plain, model, "pin")))


def measured(folder: Path) -> list[dict[str, Any]]:
    """The rows of `documents` for RECORDS, floats rounded."""
    source = folder / "web.jsonl"
    source.write_text("".join(json.dumps(record) + "\n" for record in RECORDS), encoding="utf-8")
    tokenizer = str(ROOT / "recipes" / "quickstart" / "tokenizer")
    plain = NAMED | {"tokenizer": tokenizer, "sources": [{"name": "s", "path": str(source), "role": "web"}]}
    manifest = curate(Store(folder / "store"), parse(plain, CurateRecipe, "pin"), workers=1)
    return [
        {name: round(value, 9) if isinstance(value, float) else value for name, value in row.items()}
        for row in manifest.read("documents").to_pylist()
    ]


@pytest.fixture(scope="module")
def now() -> dict[str, Any]:
    return found()


@pytest.mark.parametrize("what", ["recipes", "base_ids"])
def test_nothing_is_renamed_unawares(now, what: str):
    assert now[what] == json.loads(PINS.read_text())[what], f"{RENAMES[what]}. {WRITE_ANEW}"


def test_what_is_measured_changes_with_the_version_of_the_rules(now):
    pinned = json.loads(PINS.read_text())
    if now["measured"] != pinned["measured"]:
        assert now["rules"] != pinned["rules"], RENAMES["measured"]
    assert (now["rules"], now["measured"]) == (pinned["rules"], pinned["measured"]), WRITE_ANEW


WRITE_ANEW = (
    "If this is meant, `python tests/test_identity_pins.py` writes the pins anew; say in CHANGELOG.md what changed"
)

if __name__ == "__main__":
    PINS.write_text(json.dumps(found(), indent=1) + "\n", encoding="utf-8")
    print(f"wrote {PINS.relative_to(ROOT)}")
