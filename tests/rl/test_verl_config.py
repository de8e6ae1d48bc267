"""verl's configuration, against files written once and read by people; needs neither verl nor a GPU."""

from pathlib import Path

import golden
import pytest
import yaml

from manifests.errors import UserError
from manifests.recipe import load, parse
from rl.config import RLRecipe
from rl.verl_config import Job, agent_loop, to_verl

HERE = Path(__file__).parent
RECIPES = HERE.parents[1] / "recipes"
ON_GPUS = Job("MODEL", "ENGINE", "SCRATCH", longest_prompt=400, has_cuda=True)
ON_CPU = Job(
    "MODEL", "ENGINE", "SCRATCH", longest_prompt=20, has_cuda=False, resume="STORE/checkpoints/20/global_step_20"
)


@pytest.mark.parametrize(
    ("name", "recipe", "job"),
    [
        *((f"{size}-{branch}", f"octothinker/rl-{size}-{branch}", ON_GPUS)
          for size in ("1b", "3b") for branch in ("long", "short", "hybrid")),
        ("quickstart", "quickstart/rl", ON_CPU),
    ],
)  # fmt: skip
def test_the_configuration_of_the_recipes(name, recipe, job):
    """In verl_configs/: one in full, of the others what differs. The published ones on 8 GPUs; the quickstart's on a
    CPU, going on from step 20."""
    made = to_verl(load(RECIPES / f"{recipe}.yaml", RLRecipe), job)
    full, difference = golden.golden(HERE / "verl_configs", name)
    assert golden.of(HERE / "verl_configs", made) == difference
    assert full in (None, yaml.safe_dump(made, sort_keys=False))


@pytest.mark.parametrize("size", ["1b", "3b"])
@pytest.mark.parametrize("branch", ["long", "short", "hybrid"])
def test_the_published_settings(size, branch):
    recipe = load(RECIPES / "octothinker" / f"rl-{size}-{branch}.yaml", RLRecipe)
    assert (recipe.prompts_per_step, recipe.group_size, recipe.minibatch_prompts) == (128, 16, 64)
    assert (recipe.optimizer.lr, recipe.ratio_clip, recipe.temperature, recipe.steps) == (1e-6, 0.2, 1.0, 200)
    assert (recipe.reward, recipe.gpus) == ("signed", 8)
    wanted = [2048, 2048, 4096, 4096, 8192, 8192] if branch == "long" else [4096] * 6
    assert [recipe.cap(step) for step in (1, 99, 100, 159, 160, 200)] == wanted


def small(**values) -> RLRecipe:
    plain = {"steps": 4, "prompts_per_step": 6, "group_size": 4, "max_new_tokens": 12, "optimizer": {"lr": 0.01}}
    return parse(plain | values, RLRecipe, "rl.yaml")


def test_the_order_of_the_prompts_is_kept():
    made = to_verl(small(), ON_CPU)
    assert made["data"]["shuffle"] is made["actor_rollout_ref"]["actor"]["shuffle"] is False
    assert made["trainer"]["v1"]["sampler"]["custom_sampler"]["name"] == "OrderedBuffer"
    assert (made["trainer"]["total_epochs"], made["trainer"]["total_training_steps"]) == (1, 4)


def test_a_run_that_goes_on_and_one_that_begins():
    on, fresh = (to_verl(small(), job)["trainer"] for job in (ON_CPU, ON_GPUS_OF_ONE))
    assert (on["resume_mode"], on["resume_from_path"]) == ("resume_path", ON_CPU.resume)
    assert fresh["resume_mode"] == "disable" and "resume_from_path" not in fresh


ON_GPUS_OF_ONE = Job("MODEL", "ENGINE", "SCRATCH", longest_prompt=20, has_cuda=False)


@pytest.mark.parametrize(("asked", "micro"), [(64, 12), (10, 6), (1, 1)])
def test_forward_passes_share_a_minibatch_evenly(asked, micro):
    """Six prompts of four responses on two ranks: twelve each."""
    made = to_verl(small(gpus=2, micro_batch_responses=asked), ON_CPU)["actor_rollout_ref"]
    assert made["actor"]["ppo_micro_batch_size_per_gpu"] == micro
    assert (
        made["ref"]["log_prob_micro_batch_size_per_gpu"]
        == made["rollout"]["log_prob_micro_batch_size_per_gpu"]
        == micro
    )


def test_the_longest_response_of_any_step_sets_the_room():
    growing = small(max_new_tokens={1: 8, 3: 16}, growth={"caps": [32], "truncated_below": 0.1, "steps": 2})
    made = to_verl(growing, ON_CPU)
    assert made["data"]["max_response_length"] == 32
    assert made["actor_rollout_ref"]["rollout"]["max_model_len"] == 52


def test_variants_by_name():
    actor = to_verl(small(objective="dr_grpo", clip_higher=0.28), ON_CPU)["actor_rollout_ref"]["actor"]
    assert (actor["loss_agg_mode"], actor["loss_scale_factor"]) == ("seq-mean-token-sum-norm", 12)
    assert (actor["clip_ratio_low"], actor["clip_ratio_high"]) == (0.2, 0.28)


def test_checkpoints_meet_every_step_that_wants_one():
    validated = {"every": 6, "evaluation": {"benchmarks": ["b@1"]}}
    assert to_verl(small(checkpoint_every=4, validation=validated), ON_CPU)["trainer"]["save_freq"] == 2


def test_the_agent_loop_is_the_one_that_is_asked_for():
    [loop] = agent_loop()
    assert loop["name"] == to_verl(small(), ON_CPU)["actor_rollout_ref"]["rollout"]["agent"]["default_agent_loop"]


@pytest.mark.parametrize(
    ("values", "job", "says"),
    [
        ({"gpus": 5}, ON_CPU, "24 responses of a minibatch cannot be divided evenly among 5 GPUs"),
        ({"dynamic_sampling": 10}, ON_CPU, "does not sample dynamically"),
        (
            {"watch": {"alarms": [{"signal": "entropy", "below": 0.1, "action": "fall_back"}]}},
            ON_CPU,
            "does not fall back",
        ),
        ({}, ON_GPUS, "takes no float32 on a GPU"),
    ],
)
def test_what_verl_cannot_do_is_refused(values, job, says):
    with pytest.raises(UserError, match=says):
        to_verl(small(**values), job)
