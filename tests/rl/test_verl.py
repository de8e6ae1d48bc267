"""verl's own main_ppo beside plain torch: the same responses, updates and ledgers; kills; hangs. Where verl works."""

import json
import math
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest
import torch
import yaml
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM

from evaluation.benchmarks import freeze_benchmark
from evaluation.config import BenchmarkRecipe
from manifests import tables
from manifests.errors import UserError
from manifests.manifest import Draft, resolve
from manifests.recipe import parse
from manifests.runs import RunDirectory, load_run, load_runs, open_run
from manifests.store import Store
from rl.config import RLRecipe
from rl.launch import reinforce
from rl.verl_backend import _bearers
from training.checkpoints import write_checkpoint, write_tokenizer
from training.config import ModelRecipe, OptimizerRecipe
from training.doctor import verl_lacks
from training.launch import last_checkpoint
from training.torch_backend import adamw, new_model

LACKS = verl_lacks()
pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(LACKS is not None, reason=f"{LACKS[0]}; to run these: {LACKS[1]}" if LACKS else ""),
]
KILLED = str(Path(__file__).parent / "killed_verl.py")
MOMENTS = ("rollouts", "update", "checkpoint", "keeping")
BOXES = [rf"\boxed{{{answer}}}" for answer in range(4)]
ENDLESS = r"\boxed{\binom{10000000}{5000000}}"
"""An answer that the grader cannot rule on in time."""
RECIPE = {
    "steps": 10,
    "prompts_per_step": 4,
    "group_size": 16,
    "minibatch_prompts": 2,
    "max_new_tokens": {1: 3, 6: 5},
    "optimizer": {"lr": 0.03, "weight_decay": 0},
    "checkpoint_every": 4,
    "grading_seconds": 0.5,
    "threads": 1,
    "patience_seconds": 300,
}
"""Checkpoints at 4, 8 and 10; longer responses from step 6 on; two updates a step."""


def begin(folder: Path) -> Store:
    """A store with six prompts whose answer is 1, and a run of random weights whose vocabulary holds whole boxes."""
    store = Store(folder / "store")
    letters = sorted(set("Question:ĊAnswer:ĊpickĠ012345") | set("\\boxed{}"))
    bpe = Tokenizer(models.BPE({"<|endoftext|>": 0} | {letter: n for n, letter in enumerate(letters, 1)}, []))
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    bpe.add_special_tokens([AddedToken("<|endoftext|>", special=True)])
    bpe.add_tokens([AddedToken(text, normalized=False) for text in (*BOXES, ENDLESS)])
    (folder / "tokenizer").mkdir()
    bpe.save(str(folder / "bare.json"))
    write_tokenizer(folder / "tokenizer", folder / "bare.json", 0)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(0)
    model = new_model(ModelRecipe(**shape, max_position_embeddings=48), bpe.get_vocab_size(), 0)
    run = open_run(store, "train", [], {"start": "random"}, "torch")
    run.start()
    state = adamw(model, OptimizerRecipe(lr=0.01)).state_dict()
    run.save_checkpoint(1, lambda to: write_checkpoint(to, model, state, folder / "tokenizer"))
    run.finish({})
    rows = [
        {"position": n, "prompt_id": f"p{n}", "doc_id": f"d{n}", "source": "odd" if n % 2 else "even"}
        | {"corpus": "corpus-0", "question": f"pick {n}", "answer": "1"}
        for n in range(6)
    ]
    draft = Draft(store, "prompts", {})
    draft.write("prompts", [pa.Table.from_pylist(rows, schema=tables.PROMPTS.schema)], tables.PROMPTS.schema)
    draft.commit("prompts", "1")
    return store


def launch(store: Store, backend: str = "verl", **values) -> RunDirectory:
    recipe = parse(RECIPE | values, RLRecipe, "rl.yaml")
    [start] = [record["id"] for record in load_runs(store) if record["kind"] == "train"]
    return reinforce(store, resolve(store, "prompts@1"), recipe, load_run(store, start), backend)


@pytest.fixture(scope="module")
def stores(tmp_path_factory) -> dict[str, Store]:
    """The same start, once for each."""
    one = tmp_path_factory.mktemp("start")
    begin(one)
    made = {}
    for name in ("torch", "verl", *MOMENTS):
        made[name] = Store(shutil.copytree(one / "store", one / name))
    return made


@pytest.fixture(scope="module")
def whole(stores) -> RunDirectory:
    """Never interrupted."""
    return launch(stores["verl"])


def ledgers_alike(one: RunDirectory, other: RunDirectory, tolerance: float, apart: tuple[str, ...] = ()) -> None:
    """Response for response, and metrics within `tolerance` but for those in `apart`."""
    assert one.table("consumption").equals(other.table("consumption"))
    pairs = zip(one.table("rollouts").to_pylist(), other.table("rollouts").to_pylist(), strict=True)
    for mine, theirs in pairs:
        assert mine == theirs
    for mine, theirs in zip(one.table("steps").to_pylist(), other.table("steps").to_pylist(), strict=True):
        for name in set(mine) - {"seconds", "stage", "accuracy_by_source", *apart}:
            assert mine[name] == pytest.approx(theirs[name], rel=tolerance, abs=tolerance), (mine["step"], name)


def test_reward_rises(whole):
    rewards = whole.table("steps")["reward"].to_pylist()
    assert rewards[0] < 0.1 and rewards[-1] > 0.6  # 0.03 and 0.73; what is too hard to grade earns 0, in torch as well


def test_it_is_the_run_of_the_torch_backend(whole, stores):
    """verl draws, grades, groups and learns as plain torch does, response for response."""
    reference = launch(stores["torch"], "torch")
    ledgers_alike(
        whole, reference, 2e-4, apart=("clip_share", "kl_to_start")
    )  # verl takes means of means, and bounds KL
    one, other = (AutoModelForCausalLM.from_pretrained(last_checkpoint(run)).state_dict() for run in (whole, reference))
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-2, atol=1e-3)


def test_the_order_is_the_manifests_and_the_cap_that_of_the_step(whole):
    rows = whole.table("rollouts").to_pylist()
    assert [row["prompt_id"] for row in rows] == [f"p{n % 6}" for n in range(40) for _ in range(16)]
    longest = [max(row["tokens"] for row in rows if row["step"] == step) for step in range(1, 11)]
    assert longest == [3] * 5 + [5] * 5


def test_an_answer_that_is_too_hard_to_grade_is_a_wrong_one(whole):
    rows = whole.table("rollouts").to_pylist()
    hard = [row for row in rows if row["reason"] == "too_hard"]
    assert hard and {(row["verdict"], row["reward"]) for row in hard} == {("UNPARSED", 0.0)}
    assert min(row["advantage"] for row in hard) < 0 and max(row["advantage"] for row in hard) <= 0
    assert all(math.isfinite(loss) for loss in whole.table("steps")["loss"].to_pylist())


def test_two_ranks_variants_and_a_trigger(stores):
    """Dr.GRPO, the cap grown after two steps: still the torch backend's run, which has one rank. In one update a step:
    verl cuts each rank's part of a batch into minibatches, so that they hold other prompts."""
    growth = {"caps": [5], "truncated_below": 1.0, "steps": 2}
    values = {"steps": 3, "max_new_tokens": 3, "growth": growth, "objective": "dr_grpo", "minibatch_prompts": 4}
    one, other = (launch(stores[name], name, gpus=2, **values) for name in ("verl", "torch"))
    assert one.table("steps")["cap"].to_pylist() == [3, 3, 5]
    ledgers_alike(one, other, 1e-3, apart=("clip_share", "kl_to_start"))


def test_validation_and_a_watch_that_ends_the_run(stores, tmp_path, capsys):
    """The start and every second step are evaluated; the cap grows by trigger; the run is stopped once the reward has
    been high for two steps. All as plain torch has it, which ends with a checkpoint of that step."""
    items = [{"question": f"pick {n}", "answer": "1"} for n in range(4)]
    (tmp_path / "held_out.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    evaluation = {"benchmarks": ["held-out@1"], "max_new_tokens": 4, "grading_workers": 1}
    values = {
        "validation": {"every": 2, "evaluation": evaluation},
        "growth": {"caps": [5], "truncated_below": 1.0, "steps": 2},
        "max_new_tokens": 3,
        "watch": {"alarms": [{"signal": "reward", "above": 0.5, "steps": 2, "action": "stop"}], "good_every": 2},
        "checkpoint_every": 2,
        "keep": 0,
        "seed": 2,
    }
    runs = {}
    for backend in ("torch", "verl"):
        freeze_benchmark(stores[backend], BenchmarkRecipe(name="held-out", path=str(tmp_path / "held_out.jsonl")))
        runs[backend] = launch(stores[backend], backend, **values)
    whole, reference = runs["verl"], runs["torch"]
    ledgers_alike(whole, reference, 1e-3, apart=("clip_share", "kl_to_start"))
    assert whole.table("steps")["cap"].to_pylist()[:4] == [3, 3, 5, 5]
    [stop] = whole.table("alarms").to_pylist()
    assert stop == reference.table("alarms").to_pylist()[0] | {"value": pytest.approx(stop["value"])}
    assert stop["step"] < 10 and whole.record["summary"]["stopped_by"].startswith("reward")
    assert "octo: stop: step" in capsys.readouterr().err
    scored = {
        name: {(r["step"], r["metric"]): r["value"] for r in run.table("scores").to_pylist()}
        for name, run in runs.items()
    }
    steps = sorted({step for step, _ in scored["verl"]})
    assert steps == [0, *whole.checkpoints()] == [*range(0, stop["step"] + 1, 2)]
    for step, metric in scored["verl"]:
        assert scored["verl"][step, metric] == pytest.approx(scored["torch"][step, metric], nan_ok=True), (step, metric)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_run_that_was_killed_goes_on(whole, stores, tmp_path, moment):
    """Launcher and engine are killed in the middle of `moment` (see killed_verl.py), and the launch is given again."""
    store, recipe = stores[moment], tmp_path / "rl.yaml"
    recipe.write_text(yaml.safe_dump(RECIPE))
    folder = Path(store.full("runs")) / whole.id
    command = [sys.executable, KILLED, str(store.root), "prompts@1", str(recipe), whole.record["parent"], moment]
    assert subprocess.run(command).returncode == -signal.SIGKILL
    wait_for(lambda: not _bearers(folder / "engine"))  # the driver dies with the launcher, and Ray with the driver
    assert load_run(store, whole.id).checkpoints() == [4]
    assert made_by(moment, folder)
    resumed = launch(store)
    assert resumed.id == whole.id and resumed.checkpoints() == whole.checkpoints()
    assert resumed.table("steps")["step"].to_pylist() == [*range(1, 11)]
    ledgers_alike(resumed, whole, 1e-6)
    assert not _bearers(folder / "engine")


def made_by(moment: str, folder: Path) -> bool:
    """Whether what lies there shows that the run was killed at `moment`."""
    lines = {int(file.stem): len(file.read_text().splitlines()) for file in folder.glob("engine/rollouts/*.jsonl")}
    torn = folder / "engine" / "checkpoints" / "global_step_8" / "actor"
    match moment:
        case "rollouts":
            return lines[5] == 64 and lines[6] == 29
        case "update":
            return lines[6] == 64 and 7 not in lines
        case "checkpoint":
            return [*torn.glob("model_*")] != [] and not (torn / "huggingface").exists()
        case _:
            return (folder / "checkpoints" / "8" / "model.safetensors").exists()


def wait_for(condition) -> None:
    ends = time.monotonic() + 1200  # minutes on a machine that does much else
    while not condition():
        assert time.monotonic() < ends, "it did not happen"
        time.sleep(0.2)


def test_a_driver_that_hangs_is_ended(stores, monkeypatch):
    """Stopped before it has begun, it gives no sign of life."""
    from rl import verl_backend

    popen = subprocess.Popen

    def stopped(*arguments, **named):
        process = popen(*arguments, **named)
        process.send_signal(signal.SIGSTOP)
        return process

    monkeypatch.setattr(verl_backend.subprocess, "Popen", stopped)
    with pytest.raises(UserError, match="did not respond for 3 s"):
        launch(stores["verl"], seed=5, patience_seconds=3)
    [run] = [record for record in load_runs(stores["verl"]) if record["status"] == "failed"]
    assert not _bearers(Path(stores["verl"].full("runs")) / run["id"] / "engine")
