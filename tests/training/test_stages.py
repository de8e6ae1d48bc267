"""Several stages in one run, attention within documents, losses on documents: against the same written by hand."""

import json
import shutil

import numpy as np
import pyarrow.compute as pc
import pytest
import torch
from transformers import AutoModelForCausalLM

from manifests import catalog
from manifests.errors import UserError
from manifests.manifest import resolve
from manifests.store import Store
from mixtures.mix import mix
from mixtures.reader import MixtureReader
from training.consumed import trace
from training.launch import last_checkpoint, plan, train
from training.recorder import spikes

COSINE = {"shape": "cosine", "min_ratio": 0.1}
DECAY = {"stage": "decay", "manifest": "web@1", "schedule": COSINE, "lr": 0.008, "steps": 4}


def rows(run, *, but=()):
    return [
        {name: row[name] for name in row if name not in ("seconds", *but)} for row in run.table("steps").to_pylist()
    ]


def test_two_stages_in_one_run_are_two_runs_end_to_end(mixture, recipe):
    """Bit for bit: losses, rates, documents, weights. Steps count on, and so does the ledger."""
    store, manifest = mixture
    one = train(store, manifest, recipe(steps=6, then=[DECAY]))
    first = train(store, manifest, recipe(steps=6))
    changed = {"model": None, "stage": "decay", "schedule": COSINE, "steps": 4, "optimizer": {"lr": 0.008}}
    second = train(store, resolve(store, "web@1"), recipe(**changed), parent=first)
    apart = rows(first) + [row | {"step": row["step"] + 6} for row in rows(second)]
    assert rows(one) == apart
    assert [row["stage"] for row in rows(one)] == ["stable"] * 6 + ["decay"] * 4
    weights = [AutoModelForCausalLM.from_pretrained(last_checkpoint(run)).state_dict() for run in (one, second)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    read = one.record["summary"]["achieved_tokens"]
    assert read == one.record["summary"]["planned_tokens"] and read["decay/web"] == 4 * 5 * 32
    assert trace(store, one, 8).equals(trace(store, second, 2))


def test_the_manifests_of_all_stages_bear_identity(mixture, recipe):
    store, manifest = mixture
    runs = [train(store, manifest, recipe(steps=1, then=[DECAY | {"manifest": name}])) for name in ("web@1", "qa@1")]
    assert runs[0].id != runs[1].id
    assert [len(run.record["manifests"]) for run in runs] == [2, 2]


def test_a_stage_on_another_sequence_length_is_refused(mixture, recipe):
    from manifests.recipe import parse
    from mixtures.config import MixRecipe

    store, manifest = mixture
    settings = resolve(store, "web@1").provenance["settings"] | {"name": "short", "sequence_length": 16}
    mix(store, parse(settings, MixRecipe, "recipe"))
    with pytest.raises(UserError, match=r"short@1 has sequences of 16 tokens out of 768, the first stage of 32"):
        train(store, manifest, recipe(then=[DECAY | {"manifest": "short@1"}]))
    assert not store.list("runs")


def test_two_stages_of_one_name_are_refused(recipe):
    with pytest.raises(UserError, match="two stages of a run have the same name"):
        recipe(then=[DECAY | {"stage": "stable"}])


def test_the_plan_has_a_row_per_stage(mixture, recipe):
    planned = plan(*mixture, recipe(steps=6, then=[DECAY]))
    assert [(row["stage"], row["steps"], row["tokens"]) for row in planned] == [("stable", 6, 960), ("decay", 4, 640)]


# -- documents -----------------------------------------------------------------------------------------------------


def by_hand(model, batch) -> list[tuple[str, float | None]]:
    """The loss on each document of a batch, each run through the model on its own, with the token after it if it has
    one within the sequence."""
    found = []
    for row in range(len(batch.tokens)):
        segment = batch.segment[row]
        for number in np.unique(segment[:-1]):
            tokens = torch.as_tensor(batch.tokens[row][segment == number])[None]
            inputs = tokens[:, : int((segment[:-1] == number).sum())]
            labels = tokens[:, 1:]
            logits = model(inputs).logits[:, : labels.shape[1]]
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten()) if labels.numel() else None
            found.append(None if loss is None else loss.item())
    return found


@pytest.mark.parametrize("micro_batch", [None, 2])
def test_losses_on_documents_within_which_attention_stays(mixture, recipe, micro_batch):
    """From a folder, so that the model before the first step is known."""
    store, manifest = mixture
    first = train(store, manifest, recipe(steps=2))
    within = recipe(model=None, steps=1, attention="document", document_losses=True, micro_batch_sequences=micro_batch)
    run = train(store, manifest, within, parent=first)
    batch = MixtureReader(store, manifest).batch(np.arange(5))
    losses = run.table("losses")
    expected = by_hand(AutoModelForCausalLM.from_pretrained(last_checkpoint(first)), batch)
    assert losses["loss"].to_pylist() == [None if one is None else pytest.approx(one, rel=1e-4) for one in expected]
    where = ["sequence", "doc_id", "start", "length"]
    assert losses.select(where).to_pylist() == batch.spans.select(where).to_pylist()
    total = pc.sum(pc.multiply(losses["loss"], losses["labels"])).as_py() / pc.sum(losses["labels"]).as_py()
    assert total == pytest.approx(run.table("steps")["loss"][0].as_py(), rel=1e-6)


def test_keeping_losses_changes_nothing(mixture, recipe, tmp_path):
    store, manifest = mixture
    other = Store(shutil.copytree(tmp_path / "store", tmp_path / "other"))
    plain = train(store, manifest, recipe(steps=3))
    kept = train(other, resolve(other, "mixture@1"), recipe(steps=3, document_losses=True))
    assert plain.id == kept.id and rows(plain) == rows(kept)
    assert plain.table("losses") is None
    found = catalog.query(other, "SELECT count(*) AS n FROM losses WHERE run = $1", [kept.id]).to_pylist()
    assert found == [{"n": kept.table("losses").num_rows}]


def test_attention_across_documents_is_another_run(mixture, recipe):
    store, manifest = mixture
    across, within = (train(store, manifest, recipe(steps=2, attention=how)) for how in (None, "document"))
    assert across.id != within.id
    assert rows(across)[0]["loss"] != rows(within)[0]["loss"]


# -- what a run says -----------------------------------------------------------------------------------------------


def test_a_jump_of_the_loss_is_told_with_the_command_that_shows_its_step(mixture, recipe, capsys):
    """The learning rate of one stage is absurd, so the loss jumps at the step after its first."""
    store, manifest = mixture
    absurd = [DECAY | {"lr": 3.0, "schedule": {"shape": "constant"}, "steps": 2}]
    run = train(store, manifest, recipe(batch_sequences=2, steps=23, optimizer={"lr": 1e-4}, then=absurd))
    said = capsys.readouterr().err
    assert f"octo trace {run.id} --step 25" in said and "the loss jumps to" in said
    assert run.record["summary"]["spikes"] == [25]


def test_spikes_are_rare_in_noise_and_found_in_it():
    noise = np.random.default_rng(0).normal(2.0, 0.1, 2000)
    assert spikes(noise.tolist()) == []
    noise[[500, 1500]] += 1.0
    assert spikes(noise.tolist()) == [501, 1501]


def test_no_room_for_checkpoints_is_said_before_anything_starts(mixture, recipe):
    store, manifest = mixture
    huge = recipe().model.model_dump(exclude_none=True) | {"hidden_size": 2**17, "num_hidden_layers": 10_000}
    with pytest.raises(UserError, match=r"the checkpoints, 3 × \S+ PB, need more than the \S+ [GT]B that are free"):
        train(store, manifest, recipe(model=huge, checkpoint_every=1))
    assert not store.list("runs")


def test_a_start_of_unknown_architecture_is_refused(mixture, recipe, tmp_path):
    store, manifest = mixture
    shutil.copytree(last_checkpoint(train(store, manifest, recipe(steps=1))), tmp_path / "start")
    config = json.loads((tmp_path / "start" / "config.json").read_text()) | {"model_type": "unheard-of"}
    (tmp_path / "start" / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="is of type unheard-of, which transformers does not know"):
        train(store, manifest, recipe(model=None, start=str(tmp_path / "start")))
