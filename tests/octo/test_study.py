"""Studies: what a recipe comes to, what is found and what is done again, and what the tables say.

One small study runs for real (two arms, two seeds, a model of a few thousand weights); everything that needs no model
is tested on made-up cells.
"""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

import octo
from manifests import catalog
from manifests.catalog import Catalog
from manifests.errors import UserError
from manifests.manifest import resolve, verify
from manifests.process import environment
from manifests.recipe import load, parse
from manifests.runs import load_runs
from manifests.store import Store
from octo.study.config import StudyRecipe
from octo.study.cost import makespan, plan
from octo.study.design import Study, design
from octo.study.outcomes import built_in, outcomes, query_of
from octo.study.results import Snapshot, compare, of_manifest, results, snapshot
from octo.study.run import run_study
from octo.study.verify import verify as verify_study

RECIPES = Path(octo.__file__).parents[1] / "recipes" / "quickstart"
SMALL_MODEL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
               "max_position_embeddings": 256, "tie_word_embeddings": True}  # fmt: skip


def write(folder: Path, name: str, data: dict) -> str:
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The recipes of a small study."""
    home = tmp_path_factory.mktemp("study")
    corpus = yaml.safe_load((RECIPES / "corpus.yaml").read_text("utf-8")) | {"sample": {"seed": 1, "documents": 400}}
    web = {"manifest": "quickstart@1", "where": "role = 'web'", "max_epochs": 50}
    sources = {"web": web, "qa": web | {"where": "role = 'qa'"}, "cot": web | {"where": "role = 'long_cot'"}}
    shared = {"sequence_length": 128, "tokenizer": str(RECIPES / "tokenizer"), "seed": 1}
    training = {"optimizer": {"lr": 0.005}, "batch_sequences": 4, "threads": 1}
    write(home, "corpus", corpus)
    write(home, "stem-mix", {"name": "stem", "components": [{"name": "web", "weight": 1, **web}],
                             "budget": {"steps": 4, "batch": 4}, **shared})  # fmt: skip
    write(home, "stem-train", {"stage": "stem", "model": SMALL_MODEL, **training})
    cells = {"web": {"weights": {"web": 1}}, "cot": {"weights": {"web": 1, "cot": 1}}}
    budget = {"steps": 2, "batch": 4}
    write(home, "arms", {"name": "arms", "sources": sources, "cells": cells, "budget": budget, **shared})
    write(home, "arm-train", {"stage": "arm", **training})
    write(home, "prompts", yaml.safe_load((RECIPES / "prompts.yaml").read_text("utf-8")))
    write(home, "rl", {"steps": 2, "prompts_per_step": 2, "group_size": 2, "max_new_tokens": 8, "grading_workers": 1,
                       "optimizer": {"lr": 0.001}, "threads": 1})  # fmt: skip
    write(home, "eval", {"max_new_tokens": 8, "limit": 3, "grading_workers": 1})
    write(home, "study", {
        "name": "small", "seeds": [1, 2], "corpus": str(home / "corpus.yaml"),
        "stems": {"base": {"mixture": str(home / "stem-mix.yaml"), "train": str(home / "stem-train.yaml")}},
        "mixtures": str(home / "arms.yaml"), "train": str(home / "arm-train.yaml"),
        "prompts": str(home / "prompts.yaml"), "rl": str(home / "rl.yaml"), "evaluation": str(home / "eval.yaml"),
        "benchmarks": ["arithmetic@1"],
        "loss": ["arithmetic@1"],
        "outcomes": {"loss": "SELECT arg_max(loss, step) FROM steps WHERE run = $base"},
        "report": ["bits_per_byte", "reward_last", "accuracy_after"],
        "claims": {"cot": {"says": "Chains help", "better": "cot", "worse": "web", "margin": 0.1}},
    })  # fmt: skip
    return home


@pytest.fixture(scope="module")
def done(folder, tmp_path_factory) -> tuple[Store, StudyRecipe]:
    """The study, run."""
    store = Store(tmp_path_factory.mktemp("studied") / "store")
    recipe = load(folder / "study.yaml", StudyRecipe)
    run_study(store, recipe, workers=2)
    return store, recipe


# -- the design ------------------------------------------------------------------------------------------------------


def recipe_of(folder: Path, **changes) -> StudyRecipe:
    data = yaml.safe_load((folder / "study.yaml").read_text("utf-8")) | changes
    return parse(data, StudyRecipe, "study")


@pytest.fixture(scope="module")
def empty(tmp_path_factory) -> Store:
    return Store(tmp_path_factory.mktemp("empty") / "store")


def test_arms_of_one_seed_share_their_stem_and_all_cells_their_prompts(folder, empty):
    study = design(empty, recipe_of(folder))
    assert [cell.name for cell in study.cells] == ["web.s1", "cot.s1", "web.s2", "cot.s2"]
    assert len({cell.nodes["stem"] for cell in study.cells}) == 2
    assert len([node for node in study.nodes if node.name == "prompts"]) == 1
    assert len([node for node in study.nodes if node.verb == "train"]) == 2 + 4
    known: set[str] = set()
    for node in study.nodes:
        assert set(node.needs.values()) <= known
        known.add(node.name)
    assert study.weights == {
        "web": {"web": 1.0, "qa": 0.0, "cot": 0.0},
        "cot": {"web": 0.5, "qa": 0.0, "cot": 0.5},
    }


def test_a_seed_reaches_every_recipe_and_an_arm_its_changes(folder, empty):
    arms = {
        "web": {},
        "long": {"cell": "cot", "mix": ["budget.steps=3"], "train": ["optimizer.lr=0.1"], "rl": ["steps=7"]},
    }
    study = design(empty, recipe_of(folder, arms=arms, claims={}))
    nodes = study.by_name
    seeded = [node for node in study.nodes if node.seed == 2 and node.verb in ("mix", "train", "rl")]
    assert {node.recipe.seed for node in seeded} == {2}
    assert nodes["arm.long.s1.mix"].recipe.budget.steps == 3
    assert nodes["arm.web.s1.mix"].recipe.budget.steps == 2
    assert nodes["arm.long.s2.train"].recipe.optimizer.lr == 0.1
    assert nodes["arm.long.s1.rl"].recipe.steps == 7


def test_a_branch_is_a_further_stage_of_every_arm(folder, empty):
    branch = {"mixture": str(folder / "stem-mix.yaml"), "train": str(folder / "arm-train.yaml")}
    study = design(empty, recipe_of(folder, branches={"long": branch, "short": branch}))
    assert len(study.cells) == 2 * 2 * 2
    cell = study.cells[0]
    decay = study.by_name[cell.nodes["base"]]
    assert decay.name == "arm.web.long.s1.train"
    assert decay.needs["parent"] == "arm.web.s1.train"
    assert study.by_name[cell.nodes["rl"]].needs["parent"] == decay.name


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"control": "none"}, "control: arm 'none' is not part of the study"),
        ({"arms": {"web": {"cell": "lost"}}, "claims": {}}, "the grid arms has no mixture lost"),
        ({"arms": {"web": {"stem": "lost"}}, "claims": {}}, "arm web: stem 'lost'"),
        ({"claims": {"x": {"says": "x", "better": "web", "worse": "lost"}}}, "claim x: arm 'lost'"),
        ({"benchmarks": []}, "names no benchmark"),
        ({"arms": {"web": {"rl": ["stepz=3"]}}, "claims": {}}, "unknown field `stepz`"),
    ],
)
def test_what_does_not_fit_the_study_is_said_in_one_line(folder, empty, changes, said):
    with pytest.raises(UserError, match=said):
        design(empty, recipe_of(folder, **changes))


@pytest.mark.parametrize(
    "changes",
    [{"seeds": []}, {"seeds": [1, 1]}, {"rl": None}, {"claims": {"x": {"says": "x", "better": "web"}}}],
)
def test_a_recipe_that_contradicts_itself_is_refused(folder, changes):
    with pytest.raises(UserError):
        recipe_of(folder, **changes)


def test_an_outcome_that_means_nothing_is_refused_before_anything_runs(folder, empty):
    with pytest.raises(UserError, match="no outcome 'glory'"):
        run_study(empty, recipe_of(folder, corpus=None, report=["glory"]))
    assert empty.list("") == []


def test_a_corpus_that_changes_between_arms_is_refused(folder, done, tmp_path):
    from octo.study.run import find_study

    store, _ = done
    from manifests.manifest import tag

    other = resolve(store, "quickstart@1")
    grid = yaml.safe_load((folder / "arms.yaml").read_text("utf-8"))
    grid["sources"]["cot"]["manifest"] = "quickstart@2"
    path = write(tmp_path, "arms", grid)
    tag(store, other.id, "quickstart", "2")  # the same content under another version is no change
    find_study(store, recipe_of(folder, mixtures=path))
    from curation.config import CurateRecipe
    from curation.pipeline import curate

    curate(store, load(folder / "corpus.yaml", CurateRecipe, ["version='3'", "sample.documents=300"]))
    grid["sources"]["cot"]["manifest"] = "quickstart@3"
    with pytest.raises(UserError, match="the corpus changed between arms"):
        find_study(store, recipe_of(folder, mixtures=write(tmp_path, "arms3", grid)))


# -- the run ---------------------------------------------------------------------------------------------------------


def test_a_study_is_a_manifest_that_verifies_from_the_store_alone(done):
    store, _ = done
    made = resolve(store, "small@1")
    assert made.kind == "study"
    assert verify(store, made) == []
    cells = made.read("study_cells").to_pylist()
    assert [cell["status"] for cell in cells] == ["done"] * 4
    assert len({cell["stem_run"] for cell in cells}) == 2
    _, problems, checked = verify_study(store, made.id)
    assert problems == []
    assert checked == {"cells": 4, "runs": 2 + 4 * 5, "outcomes": 4 * 4}


def test_run_again_nothing_is_done_twice_and_the_id_is_the_same(done):
    store, recipe = done
    before = {run["id"] for run in load_runs(store)}, resolve(store, "small@1").id
    made = run_study(store, recipe)
    assert ({run["id"] for run in load_runs(store)}, made.id) == before
    assert plan(store, recipe).lines[-1] == "everything is done"


def test_two_studies_share_what_they_have_in_common(done, folder):
    store, _ = done
    wider = recipe_of(folder, name="wider", seeds=[1, 2, 3])
    found = {row["verb"]: row for row in plan(store, wider, 2).work}
    assert found["train"]["nodes"] == 3 + 6
    assert found["train"]["done"] == 2 + 4
    assert found["rl"]["left"] == 2
    assert found["rl"]["not measured"] == 0
    assert found["rl"]["hours"] > 0


def test_what_each_node_took_is_a_query(done):
    store, _ = done
    sql = """SELECT verb, count(*) AS n, min(cpu_seconds) AS least FROM study_nodes
    WHERE status = 'done' AND NOT found GROUP BY verb"""
    rows = {row["verb"]: row for row in catalog.query(store, sql).to_pylist()}
    assert {verb: row["n"] for verb, row in rows.items()} == {"mix": 7, "train": 6, "eval": 8, "rl": 4, "loss": 4}
    assert all(row["least"] > 0 for row in rows.values())


def test_a_failed_arm_is_a_row_with_its_reason_and_stops_nothing(done, folder):
    store, _ = done
    arms = {"web": {}, "huge": {"cell": "cot", "mix": ["budget.steps=100000"]}}
    made = run_study(store, recipe_of(folder, name="half", arms=arms, claims={}))
    assert made.version.startswith("1.incomplete-")
    cells = {(cell["arm"], cell["seed"]): cell for cell in made.read("study_cells").to_pylist()}
    assert cells["web", 1]["status"] == "done"
    assert cells["huge", 2]["status"] == "failed"
    assert "arm.huge.s2.mix" in cells["huge", 2]["reason"]
    assert "max_epochs" in cells["huge", 2]["reason"]
    told = results(of_manifest(made))
    assert any(line.startswith("huge, seed 1: ") for line in told.lines)
    assert told.means["accuracy_after"]["huge"].value is None


def test_the_tables_are_the_same_from_the_run_and_from_the_manifest(done, folder):
    store, _ = done
    with Catalog(store) as opened:
        from_run = snapshot(opened, str(folder / "study.yaml"))
        from_manifest = snapshot(opened, "small@1")
    assert dataclasses.replace(from_run, run=None) == from_manifest


def test_the_commands_print_what_they_say(done, folder):
    store, _ = done
    runner = CliRunner()

    def say(*args: str) -> str:
        found = runner.invoke(octo.app, ["study", *args, "--store", store.url])
        assert found.exit_code == 0, found.output
        return found.output

    assert "accuracy_after" in say("show", "small@1")
    told = json.loads(say("show", "small@1", "--json"))
    assert {row["arm"] for row in told["arms"]} == {"web", "cot"}
    bits = [row for row in told["arms"] if row["outcome"] == "bits_per_byte"]
    assert all(0 < row["value"] < 20 and row["n"] == 2 for row in bits)
    assert told["claims"][0]["conclusion"] in ("supported", "refuted", "cannot tell at this power")
    rows = json.loads(say("compare", "small@1", "--outcome", "loss", "--json"))
    assert [row["second"] for row in rows] == ["cot"]
    assert rows[0]["paired"] is True
    assert "is sound" in say("verify", "small@1")
    assert "everything is done" in say("plan", str(folder / "study.yaml"))
    assert say("run", str(folder / "study.yaml")).splitlines()[-1] == resolve(store, "small@1").id


def test_verify_finds_an_outcome_that_the_store_does_not_give(done):
    store, _ = done
    made = resolve(store, "small@1")
    cell = made.read("study_cells").to_pylist()[0]
    record = Path(store.full(f"runs/{cell['after']}/scores.parquet"))
    aside = record.with_name("aside")
    record.rename(aside)
    try:
        _, problems, _ = verify_study(store, made.id)
    finally:
        aside.rename(record)
    assert any("accuracy_after is None" in problem for problem in problems)


def test_a_report_shows_the_study(done):
    from octo.report.write import report

    store, _ = done
    text = report(store, ["small@1"]).read_text("utf-8")
    assert "Claims, with intervals that hold for all of them at once" in text
    assert "RL of all arms" in text
    assert "2 arms × 2 seeds: 4 of 4 cells complete" in text


def killed_study(store: Store, recipe: Path, kills: int, seconds: float) -> None:
    """Run a study, killing its driver or a worker `kills` times, until it ends."""
    command = [sys.executable, "-m", "octo", "study", "run", str(recipe), "--workers", "2", "--store", store.url]
    for kill in range(kills + 1):
        process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        timer = None
        if kill < kills:
            timer = threading.Timer(seconds * (1 + kill % 5) / 3, os.kill, (process.pid, signal.SIGKILL))
            timer.start()
        process.communicate()
        if timer:
            timer.cancel()
        if process.returncode == 0 and kill >= kills:
            return


@pytest.mark.slow
def test_a_study_that_is_killed_twenty_times_comes_to_the_same(done, folder, tmp_path):
    store, _ = done
    other = Store(tmp_path / "store")
    killed_study(other, folder / "study.yaml", 20, 6.0)
    made = resolve(other, "small@1")
    assert made.id == resolve(store, "small@1").id
    doubled = "SELECT run, step FROM steps GROUP BY ALL HAVING count(*) > 1"
    assert catalog.query(other, doubled).num_rows == 0
    runs = {row["id"] for row in load_runs(other) if row["kind"] != "study"}
    assert {run for run in runs if run in {r["id"] for r in load_runs(store)}} == runs


def test_a_worker_that_dies_is_replaced_and_its_node_begun_again(done, folder, tmp_path):
    store, _ = done
    other = Store(tmp_path / "store")
    killer = threading.Thread(target=kill_a_worker, args=(other,), daemon=True)
    killer.start()
    made = run_study(other, load(folder / "study.yaml", StudyRecipe))
    killer.join()
    assert made.id == resolve(store, "small@1").id


def kill_a_worker(store: Store) -> None:
    """SIGKILL the worker of a study in `store` once it trains."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        found = subprocess.run(["pgrep", "-f", f"octo.study.worker {store.url}"], capture_output=True, text=True)
        trains = any(run["kind"] == "train" and run["status"] == "running" for run in load_runs(store))
        if trains and (pids := found.stdout.split()):
            os.kill(int(pids[0]), signal.SIGKILL)
            return
        time.sleep(0.05)
    raise AssertionError("no worker trained")


# -- outcomes and tables on made-up cells ----------------------------------------------------------------------------


def cell(arm: str, seed: int, **ids) -> dict:
    roles = dict.fromkeys(("stem_run", "mixture", "base", "loss", "before", "rl", "after"))
    return {"arm": arm, "branch": "", "seed": seed, "stem": "base", "status": "done", "reason": None} | roles | ids


def made_up(values: dict[str, list[float | None]], **more) -> Snapshot:
    """A study with one outcome, `y`: the values of each arm by seed."""
    cells = [cell(arm, seed) for arm, each in values.items() for seed, _ in enumerate(each)]
    rows = [
        {"arm": arm, "branch": "", "seed": seed, "outcome": "y", "value": value}
        for arm, each in values.items()
        for seed, value in enumerate(each)
    ]
    weights = {arm: {"a": 1.0} for arm in values}
    told = {"name": "x", "version": "1", "run": None, "question": "", "reported": ("y",), "own": {}, "claims": {}}
    return Snapshot(**told | {"control": next(iter(values)), "seeds": len(next(iter(values.values()))),
                              "weights": weights, "cells": cells, "values": rows} | more)  # fmt: skip


def claims(**each) -> dict:
    from octo.study.config import ClaimRecipe

    return {name: parse(claim, ClaimRecipe, name) for name, claim in each.items()}


def test_arms_are_compared_within_stems_so_that_a_bad_stem_hides_nothing(empty):
    found = made_up({"a": [0.1, 0.5, 0.9], "b": [0.2, 0.61, 0.99]})
    with Catalog(empty) as opened:
        _, (row,) = compare(opened, found, None, None)
    assert row["paired"] is True
    assert row["difference"] == pytest.approx(0.1)
    assert row["low"] > 0.05
    wide = results(found).means["y"]["b"]
    assert wide.high - wide.low > 1


def test_a_claim_is_supported_refuted_or_open(empty):
    better = {"says": "b beats a", "better": "b", "worse": "a", "outcome": "y", "margin": 0.05}
    for values, said in (
        ({"a": [0.1, 0.5, 0.9], "b": [0.3, 0.71, 1.09]}, "supported"),
        ({"a": [0.1, 0.5, 0.9], "b": [0.1, 0.51, 0.9]}, "refuted"),
        ({"a": [0.1, 0.5, 0.9], "b": [0.9, 0.1, 0.4]}, "cannot tell at this power"),
        ({"a": [0.1], "b": [0.9]}, "cannot tell at this power"),
        ({"a": [0.1, 0.2], "b": [None, None]}, "cannot tell at this power"),
    ):
        (row,) = results(made_up(values, claims=claims(one=better))).claims
        assert row["conclusion"] == said, values


def test_many_claims_are_harder_to_support_than_one():
    values = {"a": [0.1, 0.5, 0.9], "b": [0.15, 0.58, 0.96]}
    better = {"says": "b beats a", "better": "b", "worse": "a", "outcome": "y"}
    (alone,) = results(made_up(values, claims=claims(one=better))).claims
    among = results(made_up(values, claims=claims(**{f"c{n}": better for n in range(20)}))).claims[0]
    assert among["low"] < alone["low"]
    assert among["p_holm"] > alone["p_holm"]


def test_a_claim_of_prediction_is_a_correlation_over_arms():
    arms = {f"m{n}": [float(n), n + 0.1] for n in range(8)}
    found = made_up(arms)
    other = [row | {"outcome": "z", "value": -row["value"]} for row in found.values]
    found = dataclasses.replace(
        found,
        values=[*found.values, *other],
        claims=claims(p={"says": "z predicts y", "predictor": "z", "outcome": "y", "sign": -1}),
    )
    (row,) = results(found).claims
    assert row["conclusion"] == "supported"
    assert row["value"] < -0.99
    assert row["low"] <= row["value"] <= row["high"] < 0


def test_one_seed_and_an_outcome_that_no_cell_has_are_said(empty):
    assert results(made_up({"a": [0.1], "b": [0.2]})).lines == [
        "One seed: no error bar can be given. Add seeds to the recipe"
    ]
    nothing = made_up({"a": [None, None], "b": [None, None]})
    assert results(nothing).lines == ["y is NULL in every cell: no run of this study has it"]
    with Catalog(empty) as opened, pytest.raises(UserError, match="y is NULL in every cell"):
        compare(opened, nothing, None, None)


@pytest.mark.parametrize("name", ["accuracy_after", "pass@4_before", "deep:reward_gain", "collapsed_at", "length_mean"])
def test_built_in_outcomes_are_queries(name):
    assert built_in(name)


def test_own_outcomes_come_before_built_in_ones():
    assert query_of("accuracy_after", {"accuracy_after": "SELECT 1"}) == "SELECT 1"


def test_an_outcome_is_one_number_for_each_cell(empty):
    cells = [cell("a", 1, base="run-1"), cell("a", 2), cell("b'", 1, base="run-2")]
    with Catalog(empty) as opened:
        rows = outcomes(opened, cells, ["n"], {"n": "SELECT length($base);"})
        assert [row["value"] for row in rows] == [5, None, 5]
        with pytest.raises(UserError, match="outcome bad: "):
            outcomes(opened, cells, ["bad"], {"bad": "SELECT nonsense FROM nowhere"})


def test_a_plan_spreads_nodes_over_workers_and_waits_for_what_they_need():
    from octo.study.design import Node

    def node(number: int, name: str, *needs: str) -> Node:
        recipe = StudyRecipe.model_construct()
        return Node(number, name, "mix", recipe, dict(enumerate(needs)))  # type: ignore[arg-type]

    nodes = (node(0, "stem"), node(1, "a", "stem"), node(2, "b", "stem"), node(3, "c", "a"))
    study = Study(StudyRecipe.model_construct(), {}, nodes, ())
    seconds = {"stem": 10.0, "a": 4.0, "b": 5.0, "c": 3.0}
    assert makespan(study, seconds, 1) == 22
    assert makespan(study, seconds, 2) == 17
    assert makespan(study, {"a": 4.0, "b": 5.0, "c": 3.0}, 2) == 7
    assert makespan(study, {}, 2) == 0


# -- learning --------------------------------------------------------------------------------------------------------


def swarm(slope: float, noise: float, arms: int = 10, seeds: int = 3, seed: int = 0) -> Snapshot:
    """A study of mixtures of a, b and c in which a unit of b adds `slope` to the outcome `y`."""
    draw = np.random.default_rng(seed)
    shares = draw.dirichlet([1, 1, 1], arms)
    stems = draw.normal(0, 0.2, seeds)
    values = {
        f"m{n}": [float(slope * share[1] + stems[s] + draw.normal(0, noise)) for s in range(seeds)]
        for n, share in enumerate(shares)
    }
    weights = {f"m{n}": dict(zip("abc", map(float, share), strict=True)) for n, share in enumerate(shares)}
    return made_up(values, weights=weights, seeds=seeds)


def test_the_effect_that_was_planted_is_found_with_its_interval(empty):
    from octo.study.learning import fit

    with Catalog(empty) as opened:
        lesson = fit(opened, [swarm(0.5, 0.01)], "y", None, None)
    (b,) = [row for row in lesson.effects if row["component"] == "b"]
    assert b["per unit low"] > 0.4
    assert b["p_holm"] < 0.001
    models = {row["model"]: row for row in lesson.models}
    assert models["linear"]["error_left_out"] < 0.02
    assert lesson.lines


def test_studies_with_other_components_are_pooled_only_by_content(empty):
    from octo.study.learning import fit

    other = dataclasses.replace(swarm(0.5, 0.01), name="z", weights={"m0": {"x": 1.0}})
    with Catalog(empty) as opened:
        with pytest.raises(UserError, match="different components"):
            fit(opened, [swarm(0.5, 0.01), other], "y", None, None)
        with pytest.raises(UserError, match="y cannot be fitted: "):
            fit(opened, [made_up({"m": [0.1, 0.2]})], "y", None, None)
        with pytest.raises(UserError, match="has no outcome glory"):
            fit(opened, [swarm(0.5, 0.01)], "glory", None, None)


def test_predictions_are_frozen_and_scored_by_what_came(done, folder):
    from mixtures.config import GridRecipe
    from octo.study.learning import make_proposals, score

    store, _ = done
    grid = load(folder / "arms.yaml", GridRecipe)
    names = dict(zip("abc", ("web", "qa", "cot"), strict=True))
    base = swarm(0.5, 0.02)
    renamed = {arm: {names[key]: share for key, share in each.items()} for arm, each in base.weights.items()}
    study = dataclasses.replace(base, weights=renamed)
    made = make_proposals(store, study, resolve(store, "small@1"), grid, "y", 3, False)
    again = make_proposals(store, study, resolve(store, "small@1"), grid, "y", 3, False)
    assert (made.kind, made.id) == ("proposals", again.id)
    assert verify(store, made) == []
    rows = made.read("proposals").to_pylist()
    weights = {}
    for row in rows:
        weights.setdefault(row["arm"], {})[row["component"]] = row["weight"]
    assert all(sum(each.values()) == pytest.approx(1, abs=1e-3) for each in weights.values())
    assert rows[0]["why"] == "best predicted"
    assert weights["p1"]["qa"] > 0.9
    assert rows[0]["low_95"] <= rows[0]["low_80"] <= rows[0]["predicted"] <= rows[0]["high_80"]
    came = made_up({"p1": [rows[0]["predicted"]] * 3, "p2": [99.0] * 3})
    scored, lines = score(store, made.id, came)
    assert [(row["observed"] is not None, row["in 80%"]) for row in scored] == [
        (True, True),
        (True, False),
        (False, None),
    ]
    assert lines[0].startswith("2 of 3 proposals were run: 1 of 2 lie in their 80% interval")
    proposed = design(store, recipe_of(folder, proposals=made.id, claims={}, corpus=None))
    assert set(proposed.weights) == {"p1", "p2", "p3"}
    assert proposed.weights["p1"]["qa"] == pytest.approx(weights["p1"]["qa"], abs=1e-3)
    with pytest.raises(UserError, match="is a study, not proposals"):
        design(store, recipe_of(folder, proposals="small@1", claims={}))


def test_a_swarm_lies_within_what_the_corpus_and_the_epochs_allow(done, folder, tmp_path):
    store, _ = done
    grid = yaml.safe_load((folder / "arms.yaml").read_text("utf-8"))
    grid["sources"]["qa"]["max_epochs"] = 0.02
    path = write(tmp_path, "arms", grid)
    for kind in ("sobol", "dirichlet", "d_optimal"):
        drawn = {"arms": 6, "design": kind, "bounds": {"web": [0.2, 1.0]}}
        study = design(store, recipe_of(folder, mixtures=path, swarm=drawn, claims={}, control=None))
        assert len(study.weights) == 6
        for weights in study.weights.values():
            assert sum(weights.values()) == pytest.approx(1, abs=1e-6)
            assert weights["web"] >= 0.2 - 1e-4
            assert weights["qa"] < 0.6
        again = design(store, recipe_of(folder, mixtures=path, swarm=drawn, claims={}))
        assert again.weights == study.weights
    with pytest.raises(UserError, match="less than 1"):
        too_narrow = {"arms": 3, "bounds": {"web": [0, 0.1], "qa": [0, 0.1], "cot": [0, 0.1]}}
        design(store, recipe_of(folder, swarm=too_narrow, claims={}))


def test_coordinates_by_content_are_the_token_stream_to_the_token(done):
    from mixtures.reader import MixtureReader
    from octo.study.evidence import coordinates

    store, _ = done
    by = "CASE WHEN math_density > .1 THEN 'dense' WHEN n_tokens > 40 THEN 'long' END"
    with Catalog(store) as opened:
        bases = [row["base"] for row in resolve(store, "small@1").read("study_cells").to_pylist()][:3]
        found = coordinates(opened, bases, by)
        labels = opened.query(f"SELECT manifest, doc_id, coalesce({by}, '(none)') AS label FROM documents").to_pylist()
        label = {row["doc_id"]: row["label"] for row in labels}
        for run, counted in zip(bases, found.tokens, strict=True):
            record = next(row for row in load_runs(store) if row["id"] == run)
            reader = MixtureReader(store, resolve(store, record["manifests"][0]["id"]))
            spans = reader.batch(np.arange(8)).spans  # two steps of four sequences
            stream = dict.fromkeys(found.labels, 0)
            for doc_id, length in zip(spans["doc_id"].to_pylist(), spans["length"].to_pylist(), strict=True):
                stream[label[doc_id]] += length
            assert dict(zip(found.labels, counted.tolist(), strict=True)) == stream
        by_source = coordinates(opened, bases, "source")
        consumed = opened.query(
            "SELECT run, source, sum(tokens)::BIGINT AS n FROM consumption GROUP BY ALL"
        ).to_pylist()
        for run, counted in zip(bases, by_source.tokens, strict=True):
            want = {row["source"]: row["n"] for row in consumed if row["run"] == run}
            got = {name: n for name, n in zip(by_source.labels, counted.tolist(), strict=True) if n}
            assert got == want


def test_documents_are_followed_to_another_corpus(done, folder):
    from curation.config import CurateRecipe
    from curation.pipeline import curate
    from octo.study.evidence import coordinates

    store, _ = done
    curate(store, load(folder / "corpus.yaml", CurateRecipe, ["version='smaller'", "sample.documents=300"]))
    with Catalog(store) as opened:
        bases = [row["base"] for row in resolve(store, "small@1").read("study_cells").to_pylist()][:2]
        same = coordinates(opened, bases, "source", "quickstart@1")
        assert same.stranded.tolist() == [0, 0]
        assert same.tokens.tolist() == coordinates(opened, bases, "source").tokens.tolist()
        other = coordinates(opened, bases, "source", "quickstart@smaller")
        assert (other.stranded > 0).all()
        assert (other.tokens.sum(1) + other.stranded == same.tokens.sum(1)).all()
        with pytest.raises(UserError):
            coordinates(opened, bases, "no_such_column")


# -- on a cluster ----------------------------------------------------------------------------------------------------


def test_on_a_cluster_every_node_is_in_one_job_that_waits_for_what_it_needs(done, folder, monkeypatch):
    from octo.study import run as running
    from octo.study.worker import main as work_on

    store, _ = done
    submitted: list = []

    class Recorder:
        def __init__(self, settings):
            assert settings.time == "1:00:00"

        def submit(self, work):
            submitted.append(work)
            return [str(len(submitted))]

    monkeypatch.setattr(running, "Slurm", Recorder)
    recipe = recipe_of(folder, name="elsewhere", claims={}, place={"time": "1:00:00"})
    run, jobs = running.submit(store, recipe)
    nodes = running.study_of(run).by_name
    job_of = {name: number for number, work in enumerate(submitted, 1) for name in work.arguments[4:]}
    assert set(job_of) == {*nodes, "freeze"}
    assert sum(len(work.arguments) - 4 for work in submitted) == len(job_of)
    for name, node in nodes.items():
        work = submitted[job_of[name] - 1]
        for need in node.needs.values():
            before = (
                list(work.arguments).index(need) < list(work.arguments).index(name) if need in work.arguments else False
            )
            assert before or str(job_of[need]) in work.after, (name, need)
    assert jobs["freeze"] == str(len(submitted))
    assert set(submitted[-1].after) == {str(number) for number in range(1, len(submitted))}
    for work in submitted:
        work_on(*work.arguments[2:])
    made = resolve(store, "elsewhere@1")
    assert made.read("study_outcomes").equals(resolve(store, "small@1").read("study_outcomes"))
    assert [cell["status"] for cell in made.read("study_cells").to_pylist()] == ["done"] * 4
