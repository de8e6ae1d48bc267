"""Paths of the hub: a commit and nothing else, one line when the hub does not answer, bytes read when it does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from loopback_hub import COMMIT, Hub, served

import octo
from curation.config import SourceRecipe
from curation.reading.hub import commit
from manifests.errors import UserError
from manifests.manifest import resolve
from manifests.store import Store

ROOT = Path(octo.__file__).parents[1]
FILE = "data/a.jsonl"
CONTENT = b"".join(
    json.dumps({"problem": f"What is {n} + 1?", "solution": f"{n + 1}"}).encode() + b"\n" for n in range(9)
)
CLOSED = "http://127.0.0.1:9"
"""The discard port: nothing listens there."""


def source(path: str, **fields) -> SourceRecipe:
    return SourceRecipe.model_validate({"name": "s", "role": "qa", "path": path} | fields)


def test_a_commit_is_named_in_the_path_or_beside_it():
    assert commit(source(f"hf://datasets/org/name@{COMMIT}/data")) == COMMIT
    assert commit(source("hf://datasets/org/name/data/*.parquet", revision=COMMIT[:7])) == COMMIT[:7]
    assert commit(source(f"hf://datasets/org/name@{COMMIT}", revision="ffffffff")) == COMMIT


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("hf://datasets/org/name/data", "give revision=<commit>"),
        ("hf://datasets/org/name@main/data", "'main' is not a commit"),
        ("hf://datasets/org/name@v1.0", "'v1.0' is not a commit"),
        ("hf://org/name@" + COMMIT, "is not a data set"),
        ("hf://datasets/name", "is not a data set"),
    ],
)
def test_what_names_no_commit_is_refused(path, says):
    with pytest.raises(UserError, match=f"(?i){says}"):
        commit(source(path))


def curate(folder: Path, tokenizer: Path, revision: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`octo curate` of the repository org/name in a process of its own: the hub's client reads its settings once."""
    fields = {"name": "s", "role": "qa", "path": f"hf://datasets/org/name@{revision}/data"}
    fields |= {"columns": {"question": "problem", "response": "solution"}}
    recipe = folder / "corpus.yaml"
    recipe.write_text(json.dumps({"name": "c", "tokenizer": str(tokenizer), "sources": [fields]}))
    environment = os.environ | {"HF_HOME": str(folder), "PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1"} | environment
    command = [sys.executable, "-m", "octo", "curate", str(recipe), "--store", str(folder / "store")]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("environment", "revision"), [({"HF_ENDPOINT": CLOSED}, COMMIT), ({"HF_HUB_OFFLINE": "1"}, COMMIT[:7])]
)
def test_without_the_hub_there_is_one_line(environment, revision, tokenizer, tmp_path):
    done = curate(tmp_path, tokenizer, revision, **environment)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stderr.startswith("octo: source s: cannot reach the hub for hf://datasets/org/name")


def small_hub(broken: bool = False):
    return served(Hub({FILE: CONTENT}, broken))


def test_a_data_set_of_the_hub_is_read_at_its_commit(tokenizer, tmp_path):
    with small_hub() as endpoint:
        done = curate(tmp_path, tokenizer, COMMIT[:7], HF_ENDPOINT=endpoint)
    assert done.returncode == 0, done.stderr
    manifest = resolve(Store(tmp_path / "store"), done.stdout.splitlines()[-1])
    assert sorted(manifest.read("texts")["response"].to_pylist()) == [str(n + 1) for n in range(9)]


def test_a_commit_that_is_not_there_is_named(tokenizer, tmp_path):
    with small_hub() as endpoint:
        unknown, ambiguous = (curate(tmp_path, tokenizer, sha, HF_ENDPOINT=endpoint) for sha in ("e" * 40, "e" * 8))
    assert unknown.stderr.startswith(f"octo: source s: the hub has no commit {'e' * 40}")
    assert ambiguous.stderr.startswith("octo: source s: 0 commits of org/name begin with eeeeeeee")


def test_a_download_that_fails_in_a_worker_is_one_line(tokenizer, tmp_path):
    with small_hub(broken=True) as endpoint:
        done = curate(tmp_path, tokenizer, COMMIT, HF_ENDPOINT=endpoint)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("octo: source s: cannot reach the hub")
    assert "Traceback" not in done.stderr


def test_each_source_of_the_hub_is_looked_at_before_a_build(tokenizer, tmp_path):
    fields = {"role": "qa", "columns": {"question": "problem", "response": "solution"}}
    where = f"hf://datasets/org/name@{COMMIT}"
    sources = [
        {"name": "good", "path": f"{where}/data"} | fields,
        {"name": "gone", "path": f"{where}/nowhere"} | fields,
        {"name": "elsewhere", "path": f"hf://datasets/org/other@{COMMIT}/data"} | fields,
        {"name": "columns", "path": f"{where}/data", "role": "general", "columns": {"text": "body"}},
        {"name": "also good", "path": f"{where}/data"} | fields,
    ]
    recipe = tmp_path / "corpus.yaml"
    recipe.write_text(json.dumps({"name": "c", "tokenizer": str(tokenizer), "sources": sources}))
    with small_hub() as endpoint:
        environment = os.environ | {"HF_HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1"}
        command = [sys.executable, "-m", "octo", "curate", str(recipe), "--store", str(tmp_path / "store")]
        command += ["--plan", "--check", "--json"]
        environment |= {"HF_ENDPOINT": endpoint}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    found = {row["source"]: row for row in json.loads(done.stdout)["plan"]}
    assert done.returncode == 1 and set(found) == {"good", "gone", "elsewhere", "columns", "also good"}
    for name in ("good", "also good"):
        assert found[name]["problem"] is None and "What is 0 + 1?" in found[name]["found"]
    assert "nothing at" in found["gone"]["problem"] and "sources.3" in found["columns"]["problem"]
    assert found["elsewhere"]["problem"] and not (tmp_path / "store" / "manifests").exists()
