"""Launches: exact accounting, exact resume after a kill, two stages, and refusals that say what to do."""

import json
import random
import shutil
import signal
import time

import numpy as np
import pyarrow as pa
import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from manifests.errors import UserError
from manifests.manifest import Draft, resolve
from manifests.runs import load_run
from manifests.store import Store
from mixtures.reader import MixtureReader
from training.checkpoints import write_checkpoint
from training.launch import last_checkpoint, plan, trace, train
from training.torch_backend import adamw, inputs_and_labels, new_model

FIELDS = ["step", "stage", "loss", "grad_norm", "lr", "tokens"]


def same_runs(one, other) -> bool:
    """Equal ledgers (but for wall time) and equal last weights, bit for bit."""
    ledgers = one.table("steps").select(FIELDS).equals(other.table("steps").select(FIELDS))
    consumption = one.table("consumption").equals(other.table("consumption"))
    states = [AutoModelForCausalLM.from_pretrained(last_checkpoint(run)).state_dict() for run in (one, other)]
    return ledgers and consumption and all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_run_accounts_for_every_token(mixture, recipe):
    store, manifest = mixture
    run = train(store, manifest, recipe())
    summary = run.record["summary"]
    planned = {row["component"]: row["tokens"] for row in manifest.read("components").to_pylist()}
    assert summary["planned_tokens"] == summary["achieved_tokens"] == planned
    steps, consumption = run.table("steps"), run.table("consumption")
    assert steps["step"].to_pylist() == list(range(1, 11))
    per_step = consumption.group_by("step").aggregate([("tokens", "sum")]).sort_by("step")
    assert per_step["tokens_sum"].to_pylist() == steps["tokens"].to_pylist() == [5 * 32] * 10
    assert summary["loss_last"] < summary["loss_first"]


def test_the_last_batch_may_be_shorter(mixture, recipe):
    store, manifest = mixture
    run = train(store, manifest, recipe(batch_sequences=16))
    assert run.table("steps")["tokens"].to_pylist() == [512, 512, 512, 64]


def test_a_run_that_is_done_is_returned(mixture, recipe):
    store, manifest = mixture
    first = train(store, manifest, recipe())
    again = train(store, manifest, recipe(threads=1, keep=1, checkpoint_every=3))
    assert again.id == first.id and again.record["finished"] == first.record["finished"]
    assert train(store, manifest, recipe(seed=1)).id != first.id


def test_trace_names_the_documents_of_a_step(mixture, recipe):
    store, manifest = mixture
    run = train(store, manifest, recipe())
    spans = trace(store, run, 3)
    seen = run.table("consumption").filter(pa.compute.field("step") == 3)
    assert pa.compute.sum(spans["length"]).as_py() == pa.compute.sum(seen["tokens"]).as_py()
    assert set(spans["sequence"].to_pylist()) == set(range(10, 15))
    with pytest.raises(UserError, match="no step 11"):
        trace(store, run, 11)


# -- resume --------------------------------------------------------------------------------------------------------


def test_ten_steps_are_five_and_five(new_store, recipe, tmp_path):
    """What a process leaves that dies after the ledgers of step 10 and before their checkpoint is gone on with."""
    store, manifest = new_store("whole")
    whole = train(store, manifest, recipe(keep=0))
    shutil.copytree(tmp_path / "whole", tmp_path / "broken")
    folder = tmp_path / "broken" / "runs" / whole.id
    (folder / "checkpoints" / "10" / "complete.json").unlink()
    (folder / "run.json").write_text(json.dumps(whole.record | {"status": "running"}))
    other = Store(tmp_path / "broken")
    broken = load_run(other, whole.id)
    assert broken.checkpoints() == [5] and broken.table("steps").num_rows == 10
    resumed = train(other, resolve(other, "mixture@1"), recipe(keep=0))
    assert same_runs(whole, resumed)
    assert resumed.table("steps")["seconds"].to_pylist()[5:] != whole.table("steps")["seconds"].to_pylist()[5:]


def test_a_run_killed_at_a_random_moment(new_store, recipe, octo, tmp_path):
    (store, manifest), (other, _) = new_store("whole"), new_store("killed")
    changes = {"batch_sequences": 1, "checkpoint_every": 2, "seed": random.randrange(1000)}
    whole = train(store, manifest, recipe(**changes))
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe(**changes).model_dump(mode="json", exclude_none=True)))
    process = octo("train", "mixture@1", str(tmp_path / "recipe.yaml"), "threads=1", "--store", other.url)
    folder, began = tmp_path / "killed" / "runs" / whole.id / "checkpoints", time.monotonic()
    while process.poll() is None and not folder.exists() and time.monotonic() - began < 120:
        time.sleep(0.01)
    time.sleep(random.random() / 2)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert same_runs(whole, train(other, resolve(other, "mixture@1"), recipe(**changes)))


# -- stages and checkpoints ----------------------------------------------------------------------------------------


def test_the_second_stage_starts_where_the_first_ended(mixture, recipe):
    store, manifest = mixture
    first = train(store, manifest, recipe())
    decay = {"stage": "decay", "model": None, "schedule": {"shape": "cosine"}, "steps": 4}
    second = train(store, manifest, recipe(**decay), parent=first)
    fresh = train(store, manifest, recipe(**decay, carry_optimizer=False), parent=first)
    losses = [run.table("steps")["loss"].to_pylist() for run in (second, fresh)]
    model = AutoModelForCausalLM.from_pretrained(last_checkpoint(first))
    batch = MixtureReader(store, manifest).batch(np.arange(5))
    inputs, labels = inputs_and_labels(torch.as_tensor(batch.tokens), torch.as_tensor(batch.segment))
    expected = torch.nn.functional.cross_entropy(model(inputs).logits.flatten(0, 1), labels.flatten())
    assert losses[0][0] == losses[1][0] == pytest.approx(expected.item(), rel=1e-5)
    assert losses[0][1:] != losses[1][1:]
    assert second.record["parent"] == first.id


def test_a_checkpoint_opens_with_transformers(mixture, recipe, tmp_path):
    store, manifest = mixture
    model = new_model(recipe().model, 768, 0).eval()
    folder = last_checkpoint(train(store, manifest, recipe()))
    write_checkpoint(tmp_path, model, adamw(model, recipe().optimizer), folder)
    loaded, tokenizer = AutoModelForCausalLM.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    ids = tokenizer("What is 1+2+3?", return_tensors="pt")["input_ids"]
    assert torch.equal(loaded(ids).logits, model(ids).logits)
    assert tokenizer.eos_token_id == loaded.config.eos_token_id == MixtureReader(store, manifest).eos_id
    assert (folder / "tokenizer.json").read_bytes() == manifest.local("tokenizer")["tokenizer.json"].read_bytes()


def test_starting_from_a_folder_is_by_content_not_by_place(mixture, recipe, tmp_path):
    store, manifest = mixture
    shutil.copytree(last_checkpoint(train(store, manifest, recipe())), tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    runs = [train(store, manifest, recipe(model=None, start=str(tmp_path / name), steps=2)) for name in "ab"]
    assert runs[0].id == runs[1].id
    config = json.loads((tmp_path / "b" / "config.json").read_text()) | {"rope_theta": 5.0}
    (tmp_path / "b" / "config.json").write_text(json.dumps(config))
    assert train(store, manifest, recipe(model=None, start=str(tmp_path / "b"), steps=2)).id != runs[0].id


# -- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": None}, "given: none"),
        ({"steps": 11}, r"need 55; the mixture has 50\. Train at most 10"),
        ({"model": {"max_position_embeddings": 31}}, "sequences of 32 tokens, the model takes 31"),
        ({"model": {"vocab_size": 700}}, "has 768 tokens, the model 700"),
        ({"model": None, "start": "/nowhere"}, "/nowhere is no model folder"),
    ],
)
def test_what_does_not_fit_is_refused(mixture, recipe, changes, says):
    store, manifest = mixture
    if isinstance(changes.get("model"), dict):
        changes = {"model": recipe().model.model_dump() | changes["model"]}
    with pytest.raises(UserError, match=says):
        train(store, manifest, recipe(**changes))
    with pytest.raises(UserError, match=says):
        plan(store, manifest, recipe(**changes))
    assert not store.list("runs")


def test_other_kinds_of_manifest_and_damaged_ones_are_refused(mixture, recipe):
    store, manifest = mixture
    with pytest.raises(UserError, match="toy@1 is a corpus, not a mixture"):
        train(store, resolve(store, "toy@1"), recipe())
    path = manifest.local("tokens")["qa.ds"]
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError):
        train(store, manifest, recipe())


def test_another_tokenizer_is_refused(mixture, recipe):
    store, manifest = mixture
    run = train(store, manifest, recipe())
    folder = last_checkpoint(run)
    shutil.copytree(folder, folder.parents[3] / "elsewhere")
    changed = folder.parents[3] / "elsewhere"
    text = (changed / "tokenizer.json").read_text()
    (changed / "tokenizer.json").write_text(text + " ")
    with pytest.raises(UserError, match="tokenizer is not that of"):
        train(store, manifest, recipe(model=None, start=str(changed)))


def test_a_parent_that_is_not_done_is_refused(mixture, recipe):
    store, manifest = mixture
    with pytest.raises(UserError, match="loss of step"):
        train(store, manifest, recipe(optimizer={"lr": 1e30}))
    [failed] = [load_run(store, path.split("/")[1]) for path in store.list("runs") if path.endswith("run.json")]
    assert failed.status == "failed" and "loss of step" in failed.record["reason"]
    with pytest.raises(UserError, match="is failed, not done"):
        train(store, manifest, recipe(model=None), parent=failed)


def test_a_loss_that_is_no_number_names_the_step(mixture, recipe):
    store, manifest = mixture
    with pytest.raises(UserError, match=r"the loss of step \d+ is (nan|inf).*octo trace run-"):
        train(store, manifest, recipe(optimizer={"lr": 1e30}))


def test_nothing_of_a_store_is_unpickled(mixture, recipe, tmp_path):
    """A resume state that would run code is refused before it does."""
    store, manifest = mixture
    first = train(store, manifest, recipe())
    folder = tmp_path / "start"
    shutil.copytree(last_checkpoint(first), folder)
    torch.save({"optimizer": Trap(tmp_path / "sprung"), "random": torch.get_rng_state()}, folder / "resume.pt")
    model = new_model(recipe().model, 768, 0)
    from training.checkpoints import load_optimizer

    with pytest.raises(Exception, match=r"[Ww]eights.only"):
        load_optimizer(folder, adamw(model, recipe().optimizer))
    assert not (tmp_path / "sprung").exists()


class Trap:
    """Unpickled, it makes a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def test_a_mixture_kind_is_checked_before_its_files(tmp_path, recipe):
    store = Store(tmp_path / "store")
    schema = pa.schema([("item_id", pa.string())])
    draft = Draft(store, "benchmark", {})
    draft.write("items", [pa.table({"item_id": ["a"]}, schema)], schema)
    with pytest.raises(UserError, match="is a benchmark, not a mixture"):
        train(store, draft.commit("b", "1"), recipe())
