"""The command line: light to start, errors in one line, its reference up to date."""

import json
import os
import pty
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import octo

ROOT = Path(octo.__file__).parents[1]


def run(*arguments: str, store: Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OCTO_STORE": str(store), "COLUMNS": "200"}
    command = [sys.executable, "-m", "octo", *arguments]
    return subprocess.run(command, cwd=store, env=environment, input=stdin, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["manifest", "show", "nothing@1"], 1, "no manifest nothing@1"),
        (["manifest", "show", "corpus-00"], 1, "octo manifest list"),
        (["manifest", "verify", "../x@1"], 1, "cannot name a manifest"),
        (["manifest", "export", "nothing@1", "--to", "x"], 1, "no manifest nothing@1"),
        (["publish", "nothing@1", "elsewhere"], 1, "no manifest nothing@1"),
        (["runs", "show", "run-00"], 1, "octo runs list"),
        (["sources", "finemath-5plus"], 1, "no known source"),
        (["curate", "missing.yaml"], 1, "cannot read recipe missing.yaml"),
        (["mix", "missing.yaml"], 1, "cannot read recipe missing.yaml"),
        (["train", "nothing@1", "missing.yaml"], 1, "cannot read recipe missing.yaml"),
        (["why", "0" * 32], 1, "no document"),
        (["trace", "nothing@1"], 1, "--step"),
        (["sql", "SELECT 1; SELECT 2"], 1, "2 statements"),
        (["sql", "COPY (SELECT 1) TO 'x.csv'"], 1, "COPY is refused"),
        (["sql", "--format", "xml", "SELECT 1"], 2, "not one of table, csv, json, parquet"),
        (["no-such-verb"], 2, "No such command"),
    ],
)
def test_what_a_user_can_put_right_is_one_line_without_a_traceback(arguments, status, says, tmp_path):
    done = run(*arguments, store=tmp_path)
    assert done.returncode == status
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    if status == 1:
        assert len(done.stderr.strip().splitlines()) == 1
        assert done.stderr.startswith("octo: ")


def test_sql_speaks_four_formats_and_reads_stdin(tmp_path):
    assert json.loads(run("sql", "SELECT 7 AS n", "--format", "json", store=tmp_path).stdout) == [{"n": 7}]
    assert run("sql", "SELECT 7 AS n", "--format", "csv", store=tmp_path).stdout == '"n"\n7\n'
    assert "manifests" in run("sql", store=tmp_path, stdin="SHOW TABLES").stdout
    command = [sys.executable, "-m", "octo", "sql", "SELECT 7 AS n", "--format", "parquet", "--store", str(tmp_path)]
    assert subprocess.run(command, capture_output=True, check=True, timeout=120).stdout.startswith(b"PAR1")


def test_sources_are_listed_and_shown(tmp_path):
    listed = json.loads(run("sources", "--json", store=tmp_path).stdout)
    assert {row["name"]: row["revision"] for row in listed}["megamath-web"] == "3cbc646"
    shown = json.loads(run("sources", "openr1-math-220k", "--json", store=tmp_path).stdout)
    assert "correctness_math_verify" in shown["columns"] and shown["path"].startswith("hf://datasets/open-r1/")
    assert "correctness_math_verify" in run("sources", "openr1-math-220k", store=tmp_path).stdout


def test_a_report_needs_no_web_server(tmp_path):
    code = "import sys; sys.modules['uvicorn'] = sys.modules['starlette'] = None; import octo; octo.main()"
    command = [sys.executable, "-c", code, "report", "nothing@1", "--store", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "no manifest nothing@1" in done.stderr


def test_a_stranger_package_of_our_name_is_named(tmp_path):
    stranger = tmp_path / "site" / "rl"
    stranger.mkdir(parents=True)
    (stranger / "__init__.py").touch()
    code = f"import sys; sys.path.insert(0, {str(stranger.parent)!r}); import octo; octo.main()"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert f"import rl finds {stranger}" in done.stderr


def test_every_verb_has_help():
    verbs = leaves(typer.main.get_command(octo.app))
    assert [path for path, verb in verbs if not verb.help] == []


def leaves(command, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], object]]:
    children = getattr(command, "commands", {})
    return [(path, command)] if not children else [x for n, c in children.items() for x in leaves(c, (*path, n))]


def test_every_verb_speaks_json_and_its_shape_is_documented():
    verbs = leaves(typer.main.get_command(octo.app))
    assert len(verbs) > 25
    assert [path for path, verb in verbs if not any("--json" in option.opts for option in verb.params)] == []
    shapes = (ROOT / "docs" / "shell.md").read_text(encoding="utf-8")
    named = {" ".join(path).removesuffix(" run") for path, _ in verbs}
    shapes = shapes[shapes.index("| command | JSON |") : shapes.index("*manifest* stands for")]
    assert [name for name in named if name not in shapes and name.removeprefix("manifest ") not in shapes] == []


@pytest.mark.parametrize(
    ("shell", "asked"),
    [
        ("bash", {"COMP_WORDS": "octo manifest ", "COMP_CWORD": "2"}),
        ("zsh", {"_TYPER_COMPLETE_ARGS": "octo manifest "}),
        ("fish", {"_TYPER_COMPLETE_ARGS": "octo manifest ", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}),
    ],
)
def test_verbs_are_completed_in(shell, asked):
    environment = os.environ | asked | {"_OCTO_COMPLETE": f"complete_{shell}"}
    code = "import sys; sys.argv = ['octo']; import octo; octo.main()"
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True)
    assert "funnel" in done.stdout and "lineage" in done.stdout


@pytest.mark.parametrize("quiet", [False, True])
def test_colour_is_for_terminals_that_want_it(tmp_path, quiet):
    environment = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "CI")}
    environment |= {"TERM": "xterm-256color", "OCTO_STORE": str(tmp_path)} | ({"NO_COLOR": "1"} if quiet else {})
    code = "from octo.printing import Console, show_rows; Console(stderr=True).print('[red]red[/]'); "
    code += "show_rows([{'a': 1}], 'rows')"
    here, there = pty.openpty()
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=there)
    assert b"\x1b" not in done.stdout
    assert (b"\x1b[31m" in os.read(here, 1000)) != quiet


def test_the_reference_is_what_the_code_says():
    generated = runpy.run_path(str(ROOT / "docs" / "generate.py"))["generated"]()
    stale = [path.name for path, content in generated.items() if path.read_text(encoding="utf-8") != content]
    assert not stale, f"{stale} differ from the code: run `make docs`"


def test_every_recipe_in_the_project_loads():
    from curation.classifiers.config import ClassifierRecipe
    from curation.config import CurateRecipe
    from evaluation.config import EvalRecipe
    from manifests.recipe import load
    from mixtures.config import GridRecipe, MixRecipe
    from rl.config import RLRecipe
    from training.config import TrainRecipe

    models = {
        "corpus": CurateRecipe,
        "classifier": ClassifierRecipe,
        "stable": MixRecipe,
        "decay": MixRecipe,
        "prompts": MixRecipe,
        "mix": MixRecipe,
        "decay-long": MixRecipe,
        "decay-short": MixRecipe,
        "decay-hybrid": MixRecipe,
        "ablations": GridRecipe,
        "eval": EvalRecipe,
        "eval-base": EvalRecipe,
        "eval-rl": EvalRecipe,
        "eval-pass-at-k": EvalRecipe,
    }
    recipes = sorted((ROOT / "recipes").rglob("*.yaml"))
    assert recipes
    for path in recipes:
        family = {"train": TrainRecipe, "rl": RLRecipe}.get(path.stem.partition("-")[0])
        load(path, family or models[path.stem])


def test_help_is_the_same_with_and_without_a_terminal():
    assert "quickstart" in CliRunner().invoke(octo.app, ["--help"]).output
