"""Groups of runs: paired where they share stems, means with interval and n, and what cannot be compared is said."""

import json

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from evaluation.compare_groups import blocks_of, compare_groups, groups_of
from evaluation.estimates import over_seeds, paired_difference, welch
from manifests.errors import UserError
from manifests.runs import open_run
from manifests.store import Store
from manifests.tables import SCORES
from octo import app


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def run(store, kind, name, parent=None, summary=None, scores=None, way="zero"):
    """A finished run with what it came to, and scores if it is an evaluation."""
    found = open_run(store, kind, [], {"name": name, "template": way}, "torch", parent)
    found.start()
    if scores:
        rows = [
            {"step": step, "benchmark": benchmark, "metric": metric, "value": value, "low": None, "high": None, "n": 9,
             "method": "none"}
            for step, benchmark, metric, value in scores
        ]  # fmt: skip
        found.append("scores", pa.Table.from_pylist(rows, schema=SCORES.schema))
    found.finish(summary or {})
    return found


def study(store, outcomes, shared=True):
    """Arm → its RL runs, one per stem; every arm starts from the same stems if `shared`."""
    arms = {}
    for arm, values in outcomes.items():
        arms[arm] = []
        for seed, value in enumerate(values):
            stem = run(store, "train", f"stem {seed}" if shared else f"stem {seed} of {arm}")
            middle = run(store, "train", f"{arm} {seed}", stem)
            arms[arm].append(run(store, "rl", f"rl {arm} {seed}", middle, {"reward_last": value}))
    return arms, [f"{arm}={','.join(one.id for one in runs)}" for arm, runs in arms.items()]


WEB, QA, COT = [0.2, 0.25, 0.1], [0.5, 0.61, 0.42], [0.4, 0.55, 0.33]


def test_groups_that_share_stems_are_compared_within_them(store):
    _, written = study(store, {"web": WEB, "qa": QA, "cot": COT})
    found = compare_groups(store, groups_of(store, written))
    assert [(row["group"], row["n"], row["mean"]) for row in found.means] == [
        ("web", 3, pytest.approx(sum(WEB) / 3)), ("qa", 3, pytest.approx(sum(QA) / 3)),
        ("cot", 3, pytest.approx(sum(COT) / 3)),
    ]  # fmt: skip
    assert found.means[0]["low"] == over_seeds(WEB).low
    first, second = found.differences
    assert (first["outcome"], first["first"], first["second"], first["paired"]) == ("reward_last", "web", "qa", True)
    wanted = paired_difference(WEB, QA)
    assert (first["difference"], first["low"], first["high"]) == (wanted.value, wanted.low, wanted.high)
    assert second["p_holm"] >= second["p"]
    assert len(compare_groups(store, groups_of(store, written), pairs=True).differences) == 3


def test_groups_without_common_stems_are_independent(store):
    _, written = study(store, {"web": WEB, "qa": QA}, shared=False)
    (row,) = compare_groups(store, groups_of(store, written)).differences
    assert not row["paired"] and row["low"] == welch(WEB, QA).low


def test_one_common_beginning_is_no_block(store):
    base = run(store, "train", "base")
    runs = [run(store, "rl", f"{arm}{seed}", base, {"reward_last": seed / 10}) for arm in "ab" for seed in range(3)]
    groups = groups_of(store, [",".join(one.id for one in runs[:3]), ",".join(one.id for one in runs[3:])])
    assert blocks_of(store, groups) == {one.id: one.id for one in runs}


def test_a_block_is_the_nearest_common_start(store):
    base = run(store, "train", "base")
    stems = [run(store, "train", f"stem {seed}", base) for seed in range(2)]
    runs = [run(store, "rl", f"{arm}{seed}", stems[seed], {"reward_last": 0.1}) for arm in "ab" for seed in range(2)]
    groups = groups_of(store, [f"a={runs[0].id},{runs[1].id}", f"b={runs[2].id},{runs[3].id}"])
    assert blocks_of(store, groups) == {one.id: stems[place % 2].id for place, one in enumerate(runs)}


def test_a_failed_run_is_missing_and_one_seed_has_no_error_bar(store):
    arms, written = study(store, {"web": WEB, "qa": QA})
    failed = open_run(store, "rl", [], {"name": "lost"}, "torch", arms["qa"][0])
    failed.start()
    failed.fail("out of memory")
    found = compare_groups(store, groups_of(store, [written[0], f"one={failed.id},{arms['qa'][1].id}"]))
    assert [(row["runs"], row["measured"], row["n"]) for row in found.means] == [(3, 3, 3), (2, 1, 1)]
    assert found.means[1]["note"] == "no error bar can be given: one seed" and found.means[1]["low"] is None
    assert found.differences[0]["note"] == "no error bar can be given: one seed in a group"
    assert found.differences[0]["p_holm"] is None


def test_scores_are_one_outcome_only_if_measured_alike(store):
    arms, written = study(store, {"web": WEB, "qa": QA})
    for arm, runs in arms.items():
        for seed, one in enumerate(runs):
            for step, value in ((5, 0.1), (10, 0.2 + 0.1 * seed + 0.3 * (arm == "qa"))):
                run(store, "eval", f"{step}", one, scores=[(step, "bench", "accuracy", value)])
    run(store, "eval", "other", arms["web"][0], scores=[(10, "other", "accuracy", 0.5)])
    found = compare_groups(store, groups_of(store, written))
    assert {row["outcome"] for row in found.means} == {"reward_last", "bench accuracy"}
    (row,) = [row for row in found.differences if row["outcome"] == "bench accuracy"]
    assert row["difference"] == pytest.approx(0.3), "the last step that was measured"
    for one in arms["qa"]:
        run(store, "eval", "few", one, scores=[(10, "bench", "accuracy", 0.9)], way="few")
    outcomes = {row["outcome"] for row in compare_groups(store, groups_of(store, written)).means}
    assert len(outcomes) == 2 and not any("few" in outcome for outcome in outcomes)


def test_the_interval_of_a_share_stays_a_share(store):
    evaluations = [
        run(store, "eval", f"{place}", scores=[(0, "bench", "accuracy", value)])
        for place, value in enumerate([0.7, 0.99, 0.9, 0.1, 0.3, 0.6])
    ]
    ids = [one.id for one in evaluations]
    found = compare_groups(store, groups_of(store, [",".join(ids[:3]), ",".join(ids[3:])]))
    assert [(row["low"] >= 0, row["high"] <= 1) for row in found.means] == [(True, True)] * 2


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (["{a},{b}"], "one group has nothing to be compared with"),
        (["{a},{b}", "{b}"], "is given twice"),
        (["{a},{a}", "{b}"], "is given twice"),
        (["x={a}", "x={b}"], "x is the name of two groups"),
        (["x=", "{b}"], "'x=' names no group of runs"),
        (["={a}", "{b}"], "names no group of runs"),
        (["{a},nothing", "{b}"], "no run 'nothing'"),
        (["{a}", "{b}"], "have no outcome in common"),
    ],
)
def test_what_is_no_group_is_said(store, written, said):
    names = {"a": run(store, "train", "a").id, "b": run(store, "train", "b").id}
    with pytest.raises(UserError, match=said):
        compare_groups(store, groups_of(store, [text.format(**names) for text in written]))


def test_the_verb_takes_groups_and_prints_json(store):
    _, written = study(store, {"web": WEB, "qa": QA})
    printed = CliRunner().invoke(app, ["runs", "compare", *written, "--json", "--store", store.url])
    assert printed.exit_code == 0, printed.output
    found = json.loads(printed.stdout)
    assert [row["n"] for row in found["means"]] == [3, 3] and found["differences"][0]["p_holm"] is not None
    told = CliRunner().invoke(app, ["runs", "compare", *written, "--store", store.url])
    assert "p_holm" in told.stdout and "reward_last" in told.stdout
