"""What a user installs is what is tested: with each extra alone, every verb works or names the extra that it needs."""

import json
import shutil
import subprocess
from pathlib import Path

import installation
import pytest
import yaml
from typer.main import get_command

from octo.commands import app

RECIPES = installation.ROOT / "recipes" / "quickstart"
CORPUS = [str(RECIPES / "corpus.yaml"), "sample.documents=400"]
STABLE = [str(RECIPES / "stable.yaml"), "budget={steps: 2, batch: 4}", "components.0.max_epochs=50"]
SMALL = ["batch_sequences=4", "model.hidden_size=32", "model.intermediate_size=64", "schedule.warmup_steps=1"]
TRAIN = ["quickstart-stable@1", str(RECIPES / "train-stable.yaml"), *SMALL]
RL = ["steps=1", "prompts_per_step=2", "group_size=2", "max_new_tokens=8", "grading_workers=1"]
EVAL = [str(RECIPES / "eval.yaml"), "limit=2", "max_new_tokens=8", "samples=1", "grading_workers=1"]
PASS_RATE = "{name: difficulty, samples: 2, max_new_tokens: 8, grading_workers: 1}"
IMPORT = ["--name", "i", "--tokenizer", str(RECIPES / "tokenizer"), "--plan"]
SCORE = "{name: s, corpus: quickstart@1, task: score, model: m, server: {url: 'http://127.0.0.1:9/v1'}}"

SLOW = {"quickstart"}
"""Verbs that CI runs whole, with the extra that they need; here they are only refused."""

RUNNER = """
import contextlib, io, json, sys
import octo
said = []
for arguments in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    sys.argv = ["octo", *arguments]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = octo.command()
    said.append([status, out.getvalue(), err.getvalue()])
print(json.dumps(said))
"""


def study_recipe(folder: Path) -> str:
    """A study of three mixtures, one seed and no RL; the path of its recipe."""
    source = {"manifest": "quickstart@1", "max_epochs": 50}
    sources = {role: source | {"where": f"role = '{role}'"} for role in ("web", "qa", "long_cot")}
    cells = {
        f"a{n}": {"weights": dict(zip(sources, w, strict=True))}
        for n, w in enumerate([(8, 1, 1), (1, 8, 1), (1, 1, 8)])
    }
    grid = {"name": "grid", "sources": sources, "cells": cells, "budget": {"steps": 2, "batch": 2},
            "sequence_length": 128, "tokenizer": str(RECIPES / "tokenizer")}  # fmt: skip
    training = yaml.safe_load((RECIPES / "train-stable.yaml").read_text("utf-8"))
    training |= {"batch_sequences": 2, "schedule": {"shape": "constant"}, "model": training["model"] | SMALL_MODEL}
    study = {
        "name": "tiny", "seeds": [1], "mixtures": "grid.yaml", "train": "training.yaml",
        "evaluation": "evaluation.yaml", "benchmarks": ["arithmetic@1"], "report": ["loss"],
        "outcomes": {"loss": "SELECT arg_max(loss, step) FROM steps WHERE run = $base"},
    }  # fmt: skip
    evaluation = {"limit": 2, "max_new_tokens": 4, "grading_workers": 1}
    for name, plain in (("grid", grid), ("training", training), ("evaluation", evaluation)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(plain, sort_keys=False))
        study |= {key: str(folder / value) for key, value in study.items() if value == f"{name}.yaml"}
    (folder / "study.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    return str(folder / "study.yaml")


SMALL_MODEL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}


def verbs(run: str, document: str, folder: Path, proposals: str = "") -> dict[str, tuple[str | None, list[str]]]:
    """Each verb with the extra that it needs and arguments with which it does something small."""
    pass_rate, score = folder / "pass_rate.yaml", folder / "score.yaml"
    (folder / "texts").mkdir(exist_ok=True)
    (folder / "texts" / "a.jsonl").write_text('{"text": "one"}\n')
    pass_rate.write_text(PASS_RATE)
    score.write_text(SCORE)
    return {
        "quickstart": ("train", []),
        "init": (None, [str(folder / "mine")]),
        "sources": (None, []),
        "curate run": (None, [*CORPUS, "version=2", "--workers", "2"]),
        "curate train-classifier": (None, [str(RECIPES / "classifier.yaml"), "--plan"]),
        "annotate": (None, [str(score), "--plan"]),
        "mix": (None, [*STABLE, "version=2", "seed=5"]),
        "train": ("train", [*TRAIN, "seed=7"]),
        "rl run": ("train", ["quickstart-prompts@1", str(RECIPES / "rl.yaml"), "--from", run, *RL]),
        "rl pass-rate": ("train", ["quickstart-prompts@1", str(pass_rate), "--from", run]),
        "benchmarks": (None, []),
        "eval": ("train", [run, *EVAL, "--benchmark", "arithmetic@1"]),
        "study plan": (None, [study_recipe(folder)]),
        "study run": ("train", [study_recipe(folder), "name=second"]),
        "study show": (None, ["tiny@1"]),
        "study compare": (None, ["tiny@1"]),
        "study fit": (None, ["tiny@1"]),
        "study propose": (None, [study_recipe(folder), "-n", "1"]),
        "study score": (None, [proposals, "tiny@1"]),
        "study verify": (None, ["tiny@1"]),
        "manifest list": (None, []),
        "manifest show": (None, ["quickstart@1"]),
        "manifest funnel": (None, ["quickstart@1"]),
        "manifest diff": (None, ["quickstart@1", "quickstart@1"]),
        "manifest lineage": (None, ["quickstart-stable@1"]),
        "manifest verify": (None, ["quickstart@1"]),
        "manifest rebuild": (None, ["quickstart-stable@1"]),
        "manifest tag": (None, ["quickstart@1", "another@1"]),
        "manifest gc": (None, ["--plan"]),
        "manifest export": (None, ["quickstart@1", "--to", str(folder / "hf")]),
        "manifest import": (None, [str(folder / "texts"), *IMPORT]),
        "runs list": (None, []),
        "runs show": (None, [run]),
        "runs compare": (None, []),
        "runs cancel": (None, [run]),
        "runs logs": (None, [run]),
        "sql": (None, ["SELECT count(*) FROM documents"]),
        "why": (None, [document]),
        "trace": (None, [run, "--step", "1", "--text"]),
        "near": (None, ["a text of some length that stands nowhere", "--manifest", "quickstart@1"]),
        "doctor": (None, []),
        "ui": ("ui", ["--port", "0"]),
        "report": (None, ["quickstart@1", run]),
        "publish": (None, ["quickstart@1", str(folder / "copy")]),
        "pull": (None, ["quickstart@1", str(folder / "copy")]),
    }


def all_verbs(command=None, name: str = "") -> set[str]:
    """The names of all verbs, as they are typed."""
    command = command or get_command(app)
    if not hasattr(command, "commands"):
        return {name}
    return {verb for word, inner in command.commands.items() for verb in all_verbs(inner, f"{name} {word}".strip())}


def run_all(python: Path, commands: list[list[str]], store: Path) -> list[tuple[int, str, str]]:
    """Exit status, standard output and standard error of each command, in one process of an environment."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(store.parent), "OCTO_STORE": str(store)}
    done = subprocess.run(
        [python, "-c", RUNNER],
        input=json.dumps(commands),
        env=environment,
        cwd=store.parent,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [tuple(one) for one in json.loads(done.stdout.splitlines()[-1])]


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> tuple[Path, str, str, str]:
    """A store with a corpus, mixtures, a run and a study, made with the extra `train` alone; the ID of the run, of a
    document and of proposals."""
    folder = tmp_path_factory.mktemp("extras")
    python, store = installation.environment(folder / "train", "train"), folder / "store"
    prompts = str(RECIPES / "prompts.yaml")
    commands = [["curate", *CORPUS], ["mix", *STABLE], ["mix", prompts], ["train", *TRAIN]]
    study = study_recipe(folder)
    commands += [
        ["sql", "SELECT doc_id FROM texts LIMIT 1", "--json"],
        ["study", "run", study],
        ["study", "propose", study],
    ]
    made = run_all(python, commands, store)
    assert [status for status, _, _ in made] == [0] * 7, made
    return store, made[3][1].split()[-1], json.loads(made[4][1])[0]["doc_id"], made[6][1].split()[-1]


@pytest.mark.parametrize("extra", ["", "train", "ui", "ray"])
def test_every_verb_works_or_names_the_extra_that_it_needs(extra: str, small, tmp_path):
    store, run, document, proposals = small
    shutil.copytree(store, tmp_path / "store")
    python = installation.environment(tmp_path / "python", *([extra] if extra else []))
    wanted = verbs(run, document, tmp_path, proposals)
    skipped = {"runs compare"} | (SLOW if extra == "train" else set()) | ({"ui"} if extra == "ui" else set())
    names = [name for name in wanted if name not in skipped]
    said = run_all(python, [[*name.split(), *wanted[name][1]] for name in names], tmp_path / "store")
    for name, (status, _, stderr) in zip(names, said, strict=True):
        needed = wanted[name][0]
        if needed in (None, extra):
            assert status == 0, f"octo {name}: {stderr}"
        else:
            assert status == 1 and f"octothinker[{needed}]" in stderr, f"octo {name}: {stderr}"
            assert len(stderr.strip().splitlines()) == 1, stderr
    asked = [["eval", run, *EVAL, "--sampler", "vllm"], ["curate", *CORPUS, "version=3", "--on", "ray"]]
    for (status, _, stderr), needed in zip(run_all(python, asked, tmp_path / "store"), ("vllm", "ray"), strict=True):
        if needed != extra:
            assert status == 1 and f"octothinker[{needed}]" in stderr, stderr


def test_the_table_has_every_verb(tmp_path):
    assert all_verbs() == set(verbs("run", "document", tmp_path))


def test_the_ui_answers_with_its_extra_alone(small, tmp_path):
    python = installation.environment(tmp_path / "python", "ui")
    command = [python, "-m", "octo", "ui", "--port", "0", "--store", str(small[0])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as server:
        assert server.stdout is not None
        assert server.stdout.readline().startswith("http://127.0.0.1:")
        server.terminate()
