"""Nanotron beside plain torch: the same losses, documents, checkpoints and refusals. Runs wherever nanotron can."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from evaluation.config import LossRecipe
from evaluation.held_out.runs import evaluate_loss
from manifests.errors import UserError
from manifests.manifest import resolve
from manifests.runs import RunDirectory
from manifests.store import Store
from training.doctor import nanotron_lacks
from training.launch import last_checkpoint, train

LACKS = nanotron_lacks("float32")
pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(LACKS is not None, reason=f"{LACKS[0]}; to run these: {LACKS[1]}" if LACKS else ""),
]
HERE = Path(__file__).parent
COSINE = {"shape": "cosine", "min_ratio": 0.1}
TWO_STAGES = {
    "steps": 6,
    "batch_sequences": 4,
    "schedule": {"warmup_steps": 2},
    "then": [{"stage": "decay", "manifest": "web@1", "schedule": COSINE, "lr": 0.008, "steps": 4}],
    "checkpoint_every": 4,
    "threads": 1,
}
"""Six steps of mixture@1, then four of web@1; checkpoints at 4, 8 and 10."""


def column(run: RunDirectory, name: str) -> list:
    return run.table("steps")[name].to_pylist()


def alike(one: RunDirectory, other: RunDirectory, tolerance: float = 1e-5) -> None:
    """Losses, gradient norms and rates agree at every step, and what was read is the same."""
    assert column(one, "loss") == pytest.approx(column(other, "loss"), abs=tolerance)
    assert column(one, "grad_norm") == pytest.approx(column(other, "grad_norm"), abs=tolerance)
    assert column(one, "lr") == column(other, "lr")
    assert column(one, "stage") == column(other, "stage")
    assert one.table("consumption").equals(other.table("consumption"))
    for name, weight in weights(one).items():
        torch.testing.assert_close(weight, weights(other)[name], atol=20 * tolerance, rtol=1e-3)


def weights(run: RunDirectory) -> dict[str, torch.Tensor]:
    return AutoModelForCausalLM.from_pretrained(last_checkpoint(run)).state_dict()


def fresh(built: Path, folder: Path) -> Store:
    return Store(shutil.copytree(built, folder))


@pytest.fixture(scope="module")
def both(built, recipe, tmp_path_factory) -> dict[str, RunDirectory]:
    """Two stages in one run, on either backend."""
    store = fresh(built, tmp_path_factory.mktemp("both") / "store")
    two = recipe(**TWO_STAGES, micro_batch_sequences=1)
    return {name: train(store, resolve(store, "mixture@1"), two, backend=name) for name in ("torch", "nanotron")}


def test_two_stages_as_in_torch(both):
    alike(both["torch"], both["nanotron"])
    assert column(both["nanotron"], "stage") == ["stable"] * 6 + ["decay"] * 4
    summary = both["nanotron"].record["summary"]
    assert summary["planned_tokens"] == summary["achieved_tokens"] == both["torch"].record["summary"]["planned_tokens"]


def held_out(run: RunDirectory) -> dict[tuple, float]:
    return {(row["step"], row["slice"], row["name"]): row["loss"] for row in run.table("losses_held_out").to_pylist()}


def test_held_out_loss_at_checkpoints_is_that_of_their_weights(built, recipe, tmp_path):
    store = fresh(built, tmp_path / "store")
    asked = recipe(steps=4, checkpoint_every=2, validation={"loss": ["toy@1"], "every": 1, "max_documents": 20})
    one, other = (train(store, resolve(store, "mixture@1"), asked, backend=name) for name in ("torch", "nanotron"))
    found = held_out(other)
    assert {step for step, *_ in held_out(one)} == {0, 1, 2, 3, 4}
    assert {step for step, *_ in found} == {0, 2, 4}
    assert found == pytest.approx({key: held_out(one)[key] for key in found}, abs=1e-3)
    again = held_out(evaluate_loss(store, other, ["toy@1"], LossRecipe(max_documents=20), [2, 4]))
    assert again == pytest.approx({key: found[key] for key in again}, abs=1e-6)


def test_attention_within_documents_and_their_losses(built, recipe, tmp_path):
    store = fresh(built, tmp_path / "store")
    within = recipe(attention="document", document_losses=True, steps=4, micro_batch_sequences=1)
    one, other = (train(store, resolve(store, "mixture@1"), within, backend=name) for name in ("torch", "nanotron"))
    alike(one, other)
    losses = [run.table("losses") for run in (one, other)]
    assert losses[0].drop_columns("loss").equals(losses[1].drop_columns("loss"))
    assert losses[0]["loss"].to_pylist() == pytest.approx(losses[1]["loss"].to_pylist(), abs=1e-5)


@pytest.mark.parametrize(("parallel", "tolerance"), [({"dp": 2}, 1e-6), ({"tp": 2}, 1e-5), ({"dp": 2, "tp": 2}, 1e-5)])
def test_several_ranks_compute_what_one_does(built, recipe, both, tmp_path, parallel, tolerance):
    """Documents have uneven numbers of labels, so a mean of means over ranks would show."""
    store = fresh(built, tmp_path / "store")
    spread = recipe(**TWO_STAGES, parallel=parallel)
    run = train(store, resolve(store, "mixture@1"), spread, backend="nanotron")
    assert run.id == both["nanotron"].id
    alike(run, both["nanotron"], tolerance)


@pytest.mark.parametrize(("first", "second"), [("torch", "nanotron"), ("nanotron", "torch"), ("nanotron", "nanotron")])
def test_a_run_goes_on_from_a_run_of_the_other_backend(built, recipe, tmp_path, first, second):
    store = fresh(built, tmp_path / "store")
    stable, decay = recipe(steps=4), recipe(model=None, stage="decay", steps=3, schedule=COSINE)
    mixture, web = resolve(store, "mixture@1"), resolve(store, "web@1")
    torch_run = train(store, web, decay, train(store, mixture, stable))
    other = train(store, web, decay, train(store, mixture, stable, backend=first), second)
    alike(torch_run, other)


@pytest.mark.parametrize("parallel", [{}, {"dp": 2}])
def test_bfloat16_goes_on_from_its_float32_weights(built, recipe, tmp_path, both, parallel):
    """Nanotron computes in bfloat16 and updates float32 copies; those are what a checkpoint holds."""
    store, half = fresh(built, tmp_path / "store"), recipe(**TWO_STAGES, precision="bfloat16", parallel=parallel)
    whole = train(store, resolve(store, "mixture@1"), half, backend="nanotron")
    assert column(whole, "loss") == pytest.approx(column(both["torch"], "loss"), rel=0.02)
    stopped = Store(shutil.copytree(tmp_path / "store", tmp_path / "stopped"))
    folder = tmp_path / "stopped" / "runs" / whole.id
    (folder / "checkpoints" / "10" / "complete.json").unlink()
    (folder / "run.json").write_text(json.dumps(whole.record | {"status": "running"}))
    other = train(stopped, resolve(stopped, "mixture@1"), half, backend="nanotron")
    assert column(other, "loss") == column(whole, "loss")
    assert all(torch.equal(weight, weights(other)[name]) for name, weight in weights(whole).items())


def test_a_killed_run_ends_as_if_it_had_not_been(built, recipe, tmp_path):
    assert deaths(fresh(built, tmp_path / "whole"), recipe(**TWO_STAGES), kills=2) >= 2


@pytest.mark.slow
def test_a_run_killed_twenty_times_ends_as_if_it_had_not_been(built, recipe, tmp_path):
    assert deaths(fresh(built, tmp_path / "whole"), recipe(**TWO_STAGES), kills=20) >= 20


def deaths(store: Store, recipe, kills: int) -> int:
    """How many times the run was killed at a random moment; each time it ended as the whole one. See killed_runs.py."""
    folder = Path(store.root).parent
    train(store, resolve(store, "mixture@1"), recipe, backend="nanotron")
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe.model_dump(mode="json", exclude_none=True)))
    command = [sys.executable, str(HERE / "killed_runs.py"), str(folder), "mixture@1", f"{folder}/recipe.yaml"]
    environment = os.environ | {"PYTHONPATH": str(HERE.parents[1]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "random", str(kills), "nanotron"], env=environment, capture_output=True, text=True, timeout=3000
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[0])


ROPE = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
SHAPE = {"vocab_size": 96, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
SHAPE |= {"num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.1, "max_position_embeddings": 192}


@pytest.mark.parametrize("name", ["llama", "llama-3.2", "qwen2.5"])
def test_logits_are_those_of_transformers(tmp_path, name):
    """Llama 3.2's scaling shrunk to a context of 32, so that every branch of it is reached within 192 tokens."""
    torch.manual_seed(0)
    match name:
        case "llama":
            model = LlamaForCausalLM(LlamaConfig(**SHAPE))
        case "llama-3.2":
            rope = ROPE | {"original_max_position_embeddings": 32}
            model = LlamaForCausalLM(LlamaConfig(**SHAPE, rope_parameters=rope, tie_word_embeddings=True))
        case _:
            model = Qwen2ForCausalLM(Qwen2Config(**SHAPE))
            for layer in model.model.layers:  # zero at first, and nothing would be seen of them
                torch.nn.init.normal_(layer.self_attn.q_proj.bias)
    model.save_pretrained(tmp_path / "model")
    command = [sys.executable, str(HERE / "nanotron_logits.py"), str(tmp_path / "model"), str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(HERE.parents[1])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[-1]) < 1e-5


def test_a_loss_that_is_no_number_leads_to_its_batch(built, recipe, tmp_path):
    store = fresh(built, tmp_path / "store")
    with pytest.raises(UserError, match=r"the loss of step (\d) is nan\. .*octo trace run-\w+ --step \1"):
        train(store, resolve(store, "mixture@1"), recipe(optimizer={"lr": 1e30}), backend="nanotron")


def test_a_short_last_batch_is_refused(built, recipe, tmp_path):
    store = fresh(built, tmp_path / "store")
    with pytest.raises(UserError, match=r"short last batch of mixture@1\. Set steps: 3 for stage stable"):
        train(store, resolve(store, "mixture@1"), recipe(batch_sequences=16), backend="nanotron")
    assert not store.list("runs")


NEWER = """
import torch
from training import nanotron_cpu

class Newer(nanotron_cpu.RotaryEmbedding):
    def __init__(self, dim, base=10000.0, interleaved=False, scale_base=None, device=None):
        stock.__init__(self, dim, base, interleaved, scale_base, device=device)

stock, nanotron_cpu.RotaryEmbedding = nanotron_cpu.RotaryEmbedding, Newer
from training.nanotron_backend import FlashRotaryEmbedding

made = FlashRotaryEmbedding(8, device="cpu")
made._update_cos_sin_cache(4, torch.device("cpu"), torch.float32)
print(list(made._cos_cached.shape), flush=True)
"""


def test_the_rotary_encoding_of_flash_attention_since_2_8():
    """It takes one argument less than nanotron gives."""
    found = subprocess.run([sys.executable, "-c", NEWER], capture_output=True, text=True)
    assert found.stdout.strip() == "[4, 4]", found.stderr
