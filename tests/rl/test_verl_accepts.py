"""The configuration for GPUs read by verl itself, and the plugin where there are some: needs verl, but no GPU."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import LlamaConfig

from manifests.recipe import load
from rl.config import RLRecipe
from rl.verl_config import Job, agent_loop, to_verl
from training.checkpoints import write_tokenizer
from training.doctor import verl_lacks

LACKS = verl_lacks()
pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(LACKS is not None, reason=f"{LACKS[0]}; to run these: {LACKS[1]}" if LACKS else ""),
]
RECIPES = Path(__file__).parents[2] / "recipes"
ADDED = {
    "data.cache_dir",
    "actor_rollout_ref.actor.optim.override_optimizer_config.eps",
    "actor_rollout_ref.actor.fsdp_config.mixed_precision",
    "actor_rollout_ref.ref.fsdp_config.mixed_precision",
    "actor_rollout_ref.rollout.name",
    "ray_kwargs.ray_init.address",
    "ray_kwargs.ray_init.include_dashboard",
    "ray_kwargs.ray_init._temp_dir",
}
"""What verl reads, or hands to Ray and to torch, without a default of its own."""
INERT = """
import torch
from torch.distributed.fsdp import CPUOffloadPolicy
stock = CPUOffloadPolicy.__init__
import verl
import verl.utils.distributed as distributed
from verl.plugin.platform import PlatformRegistry
from verl.workers.rollout.base import _ROLLOUT_REGISTRY
from verl.workers.rollout.replica import RolloutReplicaRegistry
import rl.verl_plugin as plugin
assert "cpu" not in PlatformRegistry._platforms, PlatformRegistry._platforms
assert not [key for key in _ROLLOUT_REGISTRY if plugin.CPU_ROLLOUT in key]
assert plugin.CPU_ROLLOUT not in RolloutReplicaRegistry._registry
assert CPUOffloadPolicy.__init__ is stock
assert distributed.initialize_global_process_group_ray.__module__ == "verl.utils.distributed"
assert torch.load.__module__ == "rl.verl_plugin"
print("inert", flush=True)
"""


def leaves(mine: dict[str, Any], theirs: Any, path: str = "") -> Iterator[str]:
    """The keys of `mine`, from `path` on, that `theirs` lacks."""
    for name, value in mine.items():
        if name not in (theirs or ()):
            yield path + name
        elif isinstance(value, dict) and value:
            yield from leaves(value, theirs[name], f"{path}{name}.")


@pytest.mark.parametrize("name", ["1b-long", "3b-long", "3b-short", "3b-hybrid"])
def test_verl_takes_the_published_runs_on_gpus(name, tmp_path):
    """Its own composition, checks and data classes, as its trainer and its workers call them."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf, open_dict
    from verl.trainer.config import __file__ as defaults
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.utils.config import omega_conf_to_dataclass, validate_config

    shape = LlamaConfig(max_position_embeddings=131_072, architectures=["LlamaForCausalLM"])
    shape.save_pretrained(tmp_path / "model")
    write_tokenizer(tmp_path / "model", RECIPES / "quickstart" / "tokenizer" / "tokenizer.json", 0)
    recipe = load(RECIPES / "octothinker" / f"rl-{name}.yaml", RLRecipe)
    made = to_verl(recipe, Job(str(tmp_path / "model"), str(tmp_path), "SCRATCH", 380, has_cuda=True))
    (tmp_path / "verl.yaml").write_text(yaml.safe_dump(made, sort_keys=False))
    (tmp_path / "agent.yaml").write_text(yaml.safe_dump(agent_loop()))
    with initialize_config_dir(str(Path(defaults).parent), version_base=None):
        stock = compose("ppo_trainer")
    ours = {key: value for key, value in made.items() if key not in ("defaults", "hydra")}
    assert set(leaves(ours, stock)) == ADDED
    with initialize_config_dir(str(tmp_path), version_base=None):
        config = compose("verl")
    OmegaConf.resolve(config)
    validate_config(config, need_reference_policy(config), need_critic(config))
    parts = config.actor_rollout_ref
    with open_dict(parts.ref):  # as its worker does
        for theirs, name in (("use_dynamic_bsz", "log_prob_use_dynamic_bsz"),
                             ("ppo_max_token_len_per_gpu", "log_prob_max_token_len_per_gpu"),
                             ("ppo_micro_batch_size", "log_prob_micro_batch_size"),
                             ("ppo_micro_batch_size_per_gpu", "log_prob_micro_batch_size_per_gpu")):  # fmt: skip
            parts.ref[theirs] = parts.ref.pop(name)
        parts.ref.ppo_mini_batch_size = parts.actor.ppo_mini_batch_size
    actor, ref, rollout, model = (omega_conf_to_dataclass(parts[one]) for one in ("actor", "ref", "rollout", "model"))
    assert actor.engine.param_offload and ref.engine.forward_only and model.use_remove_padding
    assert rollout.max_model_len == 380 + recipe.longest_cap <= actor.ppo_max_token_len_per_gpu
    assert (rollout.name, rollout.enable_sleep_mode, rollout.free_cache_engine) == ("vllm", True, True)


def test_the_plugin_leaves_verl_alone_where_there_is_a_gpu():
    """But for checkpoints, which are not unpickled anywhere."""
    environment = {name: value for name, value in os.environ.items() if name != "VERL_PLATFORM"}
    environment["VERL_USE_EXTERNAL_MODULES"] = "rl.verl_plugin"
    found = subprocess.run([sys.executable, "-c", INERT], env=environment, capture_output=True, text=True)
    assert found.stdout.strip().endswith("inert"), found.stderr
