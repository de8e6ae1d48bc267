"""Launches: exact accounting, exact resume after a kill, two stages, and refusals that say what to do."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from manifests.errors import UserError
from manifests.manifest import Draft, Manifest, resolve
from manifests.recipe import parse
from manifests.runs import RunDirectory, load_run, open_run
from manifests.store import Store
from mixtures.reader import MixtureReader
from training.checkpoints import load_optimizer, write_checkpoint
from training.config import TrainRecipe
from training.consumed import trace
from training.launch import last_checkpoint, plan, train
from training.torch_backend import adamw, new_model

HERE = Path(__file__).parent
FIELDS = ["step", "stage", "loss", "grad_norm", "lr", "tokens"]


def same_runs(one: RunDirectory, other: RunDirectory) -> bool:
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
    order = manifest.read("sequences", ["component"])["component"].to_pylist()
    for step in range(1, 11):
        read = consumption.filter(pc.field("step") == step).to_pylist()
        counted = Counter(order[5 * step - 5 : 5 * step])
        assert {row["component"]: row["tokens"] for row in read} == {name: n * 32 for name, n in counted.items()}
        assert {row["component"]: row["sequences"] for row in read} == counted
        assert {(row["component"], row["source"]) for row in read} <= {("web", "pages"), ("qa", "sums")}
    assert summary["loss_last"] < summary["loss_first"]


def test_the_last_batch_may_be_shorter(mixture, recipe):
    store, manifest = mixture
    run = train(store, manifest, recipe(batch_sequences=16))
    assert run.table("steps")["tokens"].to_pylist() == [512, 512, 512, 64]


def test_a_run_that_is_done_is_returned(mixture, recipe):
    store, manifest = mixture
    first = train(store, manifest, recipe())
    before = {path: store.modified(path) for path in store.list("")}
    again = train(store, manifest, recipe(threads=1, keep=1, checkpoint_every=3))
    assert again.record == first.record
    assert {path: store.modified(path) for path in store.list("")} == before
    assert train(store, manifest, recipe(seed=1)).id != first.id


def test_trace_names_the_documents_of_a_step(mixture, recipe):
    store, manifest = mixture
    run = train(store, manifest, recipe())
    spans = trace(store, run, 3)
    seen = run.table("consumption").filter(pc.field("step") == 3)
    assert pc.sum(spans["length"]).as_py() == pc.sum(seen["tokens"]).as_py()
    assert set(spans["sequence"].to_pylist()) == set(range(10, 15))
    with pytest.raises(UserError, match="no step 11"):
        trace(store, run, 11)


# -- resume --------------------------------------------------------------------------------------------------------


def stopped(run: RunDirectory, kept: int, target: Path) -> Store:
    """A copy of the store of `run` in `target`, as if the process had died at its end with the checkpoints up to `kept`
    alone: the ledgers reach further."""
    shutil.copytree(run.store.root, target)
    folder = target / "runs" / run.id
    for step in run.checkpoints():
        if step > kept:
            (folder / "checkpoints" / str(step) / "complete.json").unlink()
    (folder / "run.json").write_text(json.dumps(run.record | {"status": "running"}))
    return Store(target)


def resumed(
    whole: RunDirectory, kept: int, target: Path, recipe: TrainRecipe, parent: str | None = None
) -> RunDirectory:
    """The run that launching again makes of it."""
    store = stopped(whole, kept, target)
    broken = load_run(store, whole.id)
    assert max(broken.checkpoints(), default=0) == kept
    assert broken.table("steps").num_rows == whole.table("steps").num_rows
    return train(store, resolve(store, "mixture@1"), recipe, load_run(store, parent) if parent else None)


@pytest.mark.parametrize("kept", [0, 4, 8])
def test_a_run_that_stopped_goes_on_as_if_it_had_not(mixture, recipe, tmp_path, kept):
    changed = recipe(keep=0, checkpoint_every=4, schedule={"shape": "1-sqrt", "warmup_steps": 3})
    whole = train(*mixture, changed)
    other = resumed(whole, kept, tmp_path / "stopped", changed)
    assert same_runs(whole, other)
    seconds = [run.table("steps")["seconds"].to_pylist() for run in (whole, other)]
    assert seconds[0][:kept] == seconds[1][:kept] and seconds[0][kept:] != seconds[1][kept:]


def test_a_run_goes_on_on_another_number_of_ranks(mixture, recipe, tmp_path):
    """Launched again with other ranks, it is those that read what is left, each step once."""
    whole = train(*mixture, recipe(keep=0, checkpoint_every=4))
    other = resumed(whole, 4, tmp_path / "stopped", recipe(parallel={"dp": 2}))
    assert other.record["config"]["parallel"]["dp"] == 2
    assert other.table("consumption").equals(whole.table("consumption"))
    ledgers = [run.table("steps") for run in (whole, other)]
    assert ledgers[0].select(["step", "lr", "tokens"]).equals(ledgers[1].select(["step", "lr", "tokens"]))
    assert ledgers[0]["loss"].to_pylist() == pytest.approx(ledgers[1]["loss"].to_pylist(), abs=1e-5)


@pytest.mark.parametrize("carry", [True, False])
def test_a_second_stage_that_stopped_goes_on_as_if_it_had_not(mixture, recipe, tmp_path, carry):
    """Its own optimizer state is taken up again, whether or not it began with that of its parent."""
    store, manifest = mixture
    first = train(store, manifest, recipe())
    changed = recipe(model=None, steps=6, keep=0, checkpoint_every=3, carry_optimizer=carry)
    whole = train(store, manifest, changed, first)
    assert same_runs(whole, resumed(whole, 3, tmp_path / "stopped", changed, first.id))


def test_a_run_from_a_folder_that_stopped_goes_on_as_if_it_had_not(mixture, recipe, tmp_path):
    store, manifest = mixture
    shutil.copytree(last_checkpoint(train(store, manifest, recipe())), tmp_path / "start")
    changed = recipe(model=None, start=str(tmp_path / "start"), steps=6, keep=0, checkpoint_every=3)
    whole = train(store, manifest, changed)
    assert same_runs(whole, resumed(whole, 3, tmp_path / "stopped", changed))


def test_a_run_that_failed_goes_on_when_launched_again(mixture, recipe, tmp_path):
    """Here it fails because a file stands where its second checkpoint belongs."""
    store, manifest = mixture
    shutil.copytree(tmp_path / "store", tmp_path / "other")
    whole, other = train(store, manifest, recipe(checkpoint_every=3)), Store(tmp_path / "other")
    with pytest.raises(
        UserError, match=rf"nothing to resume: this launch would be {whole.id}, which was never started"
    ):
        train(other, resolve(other, "mixture@1"), recipe(checkpoint_every=3), resume=True)
    assert not other.list("runs")
    in_the_way = tmp_path / "other" / "runs" / whole.id / "checkpoints" / "6"
    in_the_way.parent.mkdir(parents=True)
    in_the_way.touch()
    with pytest.raises(OSError):
        train(other, resolve(other, "mixture@1"), recipe(checkpoint_every=3))
    failed = load_run(other, whole.id)
    assert failed.status == "failed" and failed.record["reason"]
    assert failed.checkpoints() == [3]
    in_the_way.unlink()
    assert same_runs(whole, train(other, resolve(other, "mixture@1"), recipe(checkpoint_every=3), resume=True))


def deaths(store: Store, manifest: Manifest, recipe: TrainRecipe, how: str, count: int) -> list[int]:
    """How many by signal and at points of writing, or at random; see killed_runs.py."""
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None  # thousands of calls of fsync; a disk answers slowly
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        shutil.copytree(store.root, Path(folder) / "whole")
        train(Store(Path(folder) / "whole"), manifest, recipe)
        (Path(folder) / "recipe.yaml").write_text(yaml.safe_dump(recipe.model_dump(mode="json", exclude_none=True)))
        command = [sys.executable, str(HERE / "killed_runs.py"), folder, manifest.ref, f"{folder}/recipe.yaml"]
        environment = os.environ | {"PYTHONPATH": str(HERE.parents[1]), "OMP_NUM_THREADS": "1"}
        done = subprocess.run([*command, how, str(count)], env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return [int(word) for word in done.stdout.split() if word.isdigit()]


MANY_PARTS = {"batch_sequences": 4, "micro_batch_sequences": 3, "checkpoint_every": 3, "threads": 1, "track": []}
"""Thirteen steps, the last a short one; five checkpoints. No tracker: it would take a second of each attempt."""


def test_a_run_killed_at_any_moment_ends_as_if_it_had_not_been(mixture, recipe):
    held_out = {"loss": ["toy@1"], "every": 2, "max_documents": 3}
    cosine = recipe(**MANY_PARTS, schedule={"shape": "cosine", "warmup_steps": 3}, validation=held_out)
    by_signal, at_writes = deaths(*mixture, cosine, "points", 23)
    assert by_signal == 5 and at_writes >= 5


@pytest.mark.slow
def test_a_run_killed_at_every_write_ends_as_if_it_had_not_been(mixture, recipe):
    _, at_writes = deaths(*mixture, recipe(**MANY_PARTS), "points", 1)
    assert at_writes > 150


@pytest.mark.slow
def test_a_run_killed_twenty_times_at_random_ends_as_if_it_had_not_been(mixture, recipe):
    [killed] = deaths(*mixture, recipe(**MANY_PARTS), "random", 20)
    assert killed >= 20


# -- stages and checkpoints ----------------------------------------------------------------------------------------


def plain_losses(folder: Path, reader: MixtureReader, steps: int, carry_optimizer: bool) -> list[float]:
    """Training from a checkpoint at a constant rate, as one would write it by hand."""
    model = AutoModelForCausalLM.from_pretrained(folder).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, betas=(0.9, 0.95), weight_decay=0.1)
    if carry_optimizer:
        optimizer.load_state_dict(torch.load(folder / "resume.pt", weights_only=True)["optimizer"])
    losses = []
    for step in range(steps):
        batch = reader.batch(np.arange(5 * step, 5 * step + 5))
        inputs, labels = torch.as_tensor(batch.tokens[:, :-1]), torch.as_tensor(batch.tokens[:, 1:].copy())
        labels[torch.as_tensor(batch.segment[:, 1:] != batch.segment[:, :-1])] = -100
        loss = torch.nn.functional.cross_entropy(model(inputs).logits.flatten(0, 1), labels.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("carry", [True, False])
def test_the_second_stage_starts_where_the_first_ended(mixture, recipe, carry):
    store, manifest = mixture
    first = train(store, manifest, recipe())
    second = train(store, manifest, recipe(stage="next", model=None, steps=4, carry_optimizer=carry), parent=first)
    losses = second.table("steps")["loss"].to_pylist()
    reader = MixtureReader(store, manifest)
    assert losses == pytest.approx(plain_losses(last_checkpoint(first), reader, 4, carry), rel=1e-5)
    assert losses != pytest.approx(plain_losses(last_checkpoint(first), reader, 4, not carry), rel=1e-5)
    assert second.record["parent"] == first.id


def test_two_branches_from_one_run(mixture, recipe):
    """Each reads a mixture of its own, by its own plan, and the run they start from stays as it is."""
    store, manifest = mixture
    first = train(store, manifest, recipe())
    before = {path: store.sha256(path) for path in store.list(f"runs/{first.id}")}
    decay = recipe(stage="decay", model=None, steps=3, schedule={"shape": "cosine"})
    branches = {name: train(store, resolve(store, f"{name}@1"), decay, parent=first) for name in ("web", "qa")}
    assert len({first.id, *(branch.id for branch in branches.values())}) == 3
    for name, branch in branches.items():
        assert branch.record["summary"]["planned_tokens"] == branch.record["summary"]["achieved_tokens"]
        assert branch.record["summary"]["achieved_tokens"] == {name: 3 * 5 * 32}
        assert branch.record["parent"] == first.id
        assert branch.table("steps")["stage"].to_pylist() == ["decay"] * 3
    assert {path: store.sha256(path) for path in store.list(f"runs/{first.id}")} == before


def test_a_checkpoint_opens_with_transformers(mixture, recipe, tmp_path):
    store, manifest = mixture
    model = new_model(recipe().model, 768, 0).eval()
    folder = last_checkpoint(train(store, manifest, recipe()))
    write_checkpoint(tmp_path, model, adamw(model, recipe().optimizer).state_dict(), folder)
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
        ({"steps": None, "schedule": {"warmup_steps": 10}}, "has 10 steps and a warmup of 10"),
        ({"model": None, "start": "/nowhere"}, "/nowhere is not a model folder"),
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


MODEL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"steps": 3, "schedule": {"warmup_steps": 3}}, "`schedule.warmup_steps` 3 of stage .* leave none of its 3"),
        (
            {"then": [{"stage": "b", "manifest": "m", "steps": 2, "schedule": {"warmup_steps": 9}}]},
            "`schedule.warmup_steps` 9 of stage b leave none of its 2 `steps` at the peak",
        ),
        ({"model": MODEL | {"num_attention_heads": 3}}, "`hidden_size` 16 is not an even multiple"),
        ({"model": MODEL | {"num_key_value_heads": 3}}, "`num_attention_heads` 4 is not a multiple of"),
        ({"model": MODEL | {"rope_scaling": {"factor": 8, "low_freq_factor": 4}}}, "`low_freq_factor` must be below"),
        ({"optimizer": {"lr": 1, "betas": [1, 0.9]}}, "optimizer.betas.0"),
    ],
)
def test_fields_that_undo_each_other_are_refused(changes, says):
    plain = {"stage": "a", "optimizer": {"lr": 0.1}, "batch_sequences": 2}
    with pytest.raises(UserError, match=r"^train\.yaml: .*" + says):
        parse(plain | changes, TrainRecipe, "train.yaml")


def test_a_corpus_is_refused(mixture, recipe):
    store, _ = mixture
    with pytest.raises(UserError, match="toy@1 is a corpus, not a mixture"):
        train(store, resolve(store, "toy@1"), recipe())


def flip_last_bit(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


@pytest.mark.parametrize("family", ["components", "members", "sequences", "tokens", "tokenizer"])
def test_a_damaged_file_is_refused_by_its_name(mixture, recipe, family):
    store, manifest = mixture
    path = manifest.files(family)[0].path
    flip_last_bit(Path(store.full(path)))
    with pytest.raises(
        UserError,
        match=rf"mixture@1 does not have the content that its ID {manifest.id} names: {path}: checksum differs",
    ):
        train(store, manifest, recipe())
    assert not store.list("runs")


def test_a_parent_whose_weights_have_changed_is_refused(mixture, recipe):
    store, manifest = mixture
    first = train(store, manifest, recipe())
    flip_last_bit(last_checkpoint(first) / "model.safetensors")
    with pytest.raises(UserError, match=f"{first.id}: model.safetensors of checkpoint 10 is damaged"):
        train(store, manifest, recipe(model=None), parent=first)


def test_two_starts_are_refused(mixture, recipe):
    store, manifest = mixture
    first = train(store, manifest, recipe())
    with pytest.raises(UserError, match=r"given: model and --from\. Give exactly one"):
        train(store, manifest, recipe(), parent=first)
    with pytest.raises(UserError, match="`model` and `start` exclude each other"):
        recipe(start="somewhere")


def test_a_run_that_another_process_holds_is_left_to_it(mixture, recipe):
    store, manifest = mixture
    held = open_run(store, "train", [manifest], recipe(), "torch")
    held.start()
    with pytest.raises(UserError, match=f"{held.id} is held by another process"):
        train(store, manifest, recipe())
    assert load_run(store, held.id).status == "running"
    held.release()
    assert train(store, manifest, recipe()).status == "done"


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


def test_a_loss_that_is_no_number_leads_to_its_batch(mixture, recipe, tmp_path):
    """Weights without bound give no number; the command in the message shows what the step read."""
    store, manifest = mixture
    model = new_model(recipe().model, 768, 0)
    torch.nn.init.constant_(model.model.norm.weight, float("inf"))
    shutil.copytree(last_checkpoint(train(store, manifest, recipe())), tmp_path / "start")
    model.save_pretrained(tmp_path / "start")
    with pytest.raises(UserError, match=r"the loss of step 1 is nan\. .*octo trace run-\w+ --step 1") as refusal:
        train(store, manifest, recipe(model=None, start=str(tmp_path / "start")))
    [run_id] = re.findall(r"run-\w+", refusal.value.hint)
    run = load_run(store, run_id)
    assert (run.status, run.record["reason"]) == ("failed", str(refusal.value))
    assert run.table("steps")["step"].to_pylist() == [1] and run.checkpoints() == []
    assert set(trace(store, run, 1)["sequence"].to_pylist()) == set(range(5))


def test_nothing_of_a_store_is_unpickled(mixture, recipe, tmp_path):
    """A resume state that would run code is refused before it does."""
    store, manifest = mixture
    first = train(store, manifest, recipe())
    folder = tmp_path / "start"
    shutil.copytree(last_checkpoint(first), folder)
    torch.save({"optimizer": Trap(tmp_path / "sprung"), "random": torch.get_rng_state()}, folder / "resume.pt")
    model = new_model(recipe().model, 768, 0)
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
