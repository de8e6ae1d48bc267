"""verl's configuration of a run, made from ours: a pure function of plain values, with neither verl nor a GPU.

The file is what `python -m verl.trainer.main_ppo --config-name` reads on top of verl's own defaults, so it names only
the settings that differ, and those that a reader of a GRPO run looks for. Steps, prompts, groups, minibatches, clip and
optimizer are the recipe's; both backends train the same objective. Leaves out what a configuration cannot express and
`rl.verl_hooks` does: prompts as tokens, the cap of a step, stop strings, our grader, responses without a ruling.
"""

import math
from dataclasses import dataclass
from typing import Any, assert_never

from manifests.errors import UserError
from rl.config import HalfPrecision, RLRecipe
from rl.variants import objective_of

HOOKS = "rl.verl_hooks"
"""The module whose classes and functions verl calls."""
ENGINE = "OCTO_ENGINE"
"""Environment variable with the engine's folder; every process of a run has it, so that all of them can be found and
ended."""
ESTIMATOR, AGENT, CPU_ROLLOUT = "octo_grpo", "octo_response", "octo_transformers"
"""The name under which our advantage estimator, agent loop and CPU rollout are registered."""
TOKENS_PER_GPU = 16_384
"""Tokens of one forward pass on a GPU, as in OctoThinker's released script."""
RAY_SLOTS = 16
"""CPUs declared to Ray on a machine without a GPU: verl reserves a dozen, most of which are idle."""
_DYNAMIC = {"ppo": "use_dynamic_bsz", "log_prob": "log_prob_use_dynamic_bsz"}


@dataclass(frozen=True)
class Job:
    """What a configuration needs besides the recipe: folders and the kind of machine."""

    model: str
    """Folder with the weights from which the run started and from which its KL is measured."""
    folder: str
    """Folder of the engine: it holds `prompts.parquet` and takes `checkpoints`."""
    scratch: str
    """Folder for Ray's session; short, for a socket in it may have a path of 107 bytes at most."""
    longest_prompt: int
    """Tokens of the longest prompt."""
    has_cuda: bool
    resume: str | None = None
    """Folder `global_step_N` of verl's checkpoint from which to resume."""

    def context(self, config: RLRecipe) -> int:
        """Tokens of the longest prompt with the longest response."""
        return self.longest_prompt + config.longest_cap


def to_verl(config: RLRecipe, job: Job) -> dict[str, Any]:
    """The configuration verl 0.9.1 reads, as plain YAML values. UserError for settings that verl does not support."""
    _refuse_impossible(config, job)
    return {
        "defaults": ["ppo_trainer", "_self_"],
        "hydra": {"searchpath": ["pkg://verl.trainer.config"], "run": {"dir": job.folder}, "output_subdir": None},
        "data": _data(config, job),
        "algorithm": {"adv_estimator": ESTIMATOR, "use_kl_in_reward": False},
        "actor_rollout_ref": {
            "model": _model(job),
            "actor": _actor(config, job),
            "ref": {**_parts("log_prob", config, job), "fsdp_config": _fsdp(config, job)},
            "rollout": _rollout(config, job),
        },
        "reward": {"num_workers": 1, "custom_reward_function": {"path": f"pkg://{HOOKS}", "name": "graded"}},
        "trainer": _trainer(config, job),
        "transfer_queue": {"backend": {"SimpleStorage": {"num_data_storage_units": 8 if job.has_cuda else 1}}},
        "ray_kwargs": {"ray_init": _ray(config, job)},
    }


def agent_loop() -> list[dict[str, Any]]:
    """The file that registers our agent loop with verl."""
    return [{"name": AGENT, "_target_": f"{HOOKS}.Response"}]


def _refuse_impossible(config: RLRecipe, job: Job) -> None:
    responses = _minibatch(config) * config.group_size
    if responses % config.gpus:
        raise UserError(
            f"{responses} responses of a minibatch cannot be divided evenly among {config.gpus} GPUs",
            "Choose a divisor",
        )
    if config.dynamic_sampling:
        raise UserError("the verl backend does not sample dynamically", "Use --backend torch")
    if config.watch and any(alarm.action == "fall_back" for alarm in config.watch.alarms):
        raise UserError("the verl backend does not fall back", "Set action: stop, or use --backend torch")
    if job.has_cuda and not config.precision:
        raise UserError("verl's attention takes no float32 on a GPU", "Set precision: bfloat16, or use --backend torch")


def _minibatch(config: RLRecipe) -> int:
    return config.minibatch_prompts or config.prompts_per_step


def _micro_batch(config: RLRecipe) -> int:
    """Responses of a forward pass on one GPU: as many as the recipe says, or fewer, because verl needs a divisor."""
    mine = _minibatch(config) * config.group_size // config.gpus
    return max(n for n in range(1, min(mine, config.micro_batch_responses) + 1) if mine % n == 0)


def _data(config: RLRecipe, job: Job) -> dict[str, Any]:
    file = f"{job.folder}/prompts.parquet"
    return {
        "train_files": file,
        "val_files": file,  # never read, but verl wants one
        "cache_dir": f"{job.folder}/cache",
        "train_batch_size": config.prompts_per_step,
        "max_prompt_length": job.longest_prompt,
        "max_response_length": config.longest_cap,
        "shuffle": False,  # the order is the manifest's, laid out for all steps
        "filter_overlong_prompts": False,
        "truncation": "error",
        "dataloader_num_workers": 0,
    }


def _model(job: Job) -> dict[str, Any]:
    plain = {
        "path": job.model,
        # our hooks encode a prompt themselves; without a template some of verl's constructors fail
        "custom_chat_template": "{% for message in messages %}{{ message['content'] }}{% endfor %}",
        "use_remove_padding": job.has_cuda,
        "enable_gradient_checkpointing": job.has_cuda,
    }
    return plain if job.has_cuda else plain | {"override_config": {"attn_implementation": "sdpa"}}


def _actor(config: RLRecipe, job: Job) -> dict[str, Any]:
    higher = config.ratio_clip if config.clip_higher is None else config.clip_higher
    return {
        "strategy": "fsdp2",  # FSDP1 wants a GPU
        "ppo_mini_batch_size": _minibatch(config),
        "ppo_epochs": 1,
        "shuffle": False,
        **_parts("ppo", config, job),
        "clip_ratio": config.ratio_clip,
        "clip_ratio_low": config.ratio_clip,
        "clip_ratio_high": higher,
        "clip_ratio_c": 1e9,  # no second clip of negative advantages: the torch backend has none
        **objective_of(config.objective).verl_aggregation(config.longest_cap),
        "use_kl_loss": True,  # measured, and counted for nothing
        "kl_loss_coef": 0.0,
        "kl_loss_type": "low_var_kl",
        "entropy_coeff": 0,
        "grad_clip": config.optimizer.clip,
        "optim": _adamw(config),
        "use_torch_compile": job.has_cuda,
        "fsdp_config": _fsdp(config, job),
        "checkpoint": {
            "save_contents": ["model", "optimizer", "extra", "hf_model"],
            "load_contents": ["model", "optimizer", "extra"],
        },
    }


def _parts(name: str, config: RLRecipe, job: Job) -> dict[str, Any]:
    """How responses are cut into forward passes: by tokens on a GPU, where padding is removed, else by number."""
    if not job.has_cuda:
        return {_DYNAMIC[name]: False, f"{name}_micro_batch_size_per_gpu": _micro_batch(config)}
    tokens = max(config.micro_batch_tokens or TOKENS_PER_GPU, job.context(config))
    return {_DYNAMIC[name]: True, f"{name}_max_token_len_per_gpu": tokens}


def _adamw(config: RLRecipe) -> dict[str, Any]:
    return {
        "lr": config.optimizer.lr,
        "betas": list(config.optimizer.betas),
        "weight_decay": config.optimizer.weight_decay,
        "clip_grad": config.optimizer.clip,
        "lr_scheduler_type": "constant",
        "lr_warmup_steps": 0,
        "override_optimizer_config": {"eps": config.optimizer.eps},
    }


def _fsdp(config: RLRecipe, job: Job) -> dict[str, Any]:
    """Weights and optimizer are float32, forward passes in the recipe's precision; on a GPU, idle weights are kept in
    main memory."""
    plain = {"model_dtype": "fp32", "use_torch_compile": job.has_cuda}
    plain |= {
        "mixed_precision": {"param_dtype": _dtype(config.precision), "reduce_dtype": "fp32", "buffer_dtype": "fp32"}
    }
    return plain | {"param_offload": True, "optimizer_offload": True} if job.has_cuda else plain


def _dtype(precision: HalfPrecision | None) -> str:
    match precision:
        case None:
            return "fp32"
        case "bfloat16":
            return "bf16"
        case _:
            assert_never(precision)


def _rollout(config: RLRecipe, job: Job) -> dict[str, Any]:
    engine = {
        "name": "vllm" if job.has_cuda else CPU_ROLLOUT,
        "n": config.group_size,
        "temperature": config.temperature,
        "top_p": 1.0,
        "top_k": -1,
        "seed": config.seed,
        "dtype": config.precision or "float32",
        "tensor_model_parallel_size": 1,
        "max_model_len": job.context(config),
        **_parts("log_prob", config, job),
        "agent": {
            "num_workers": 8 if job.has_cuda else 1,
            "default_agent_loop": AGENT,
            "agent_loop_config_path": f"{job.folder}/agent.yaml",
        },
    }
    return engine | ({"gpu_memory_utilization": 0.8} if job.has_cuda else {"free_cache_engine": False})


def _trainer(config: RLRecipe, job: Job) -> dict[str, Any]:
    resume = (
        {"resume_mode": "resume_path", "resume_from_path": job.resume} if job.resume else {"resume_mode": "disable"}
    )
    return {
        "device": "cuda" if job.has_cuda else "cpu",
        "nnodes": 1,
        "n_gpus_per_node": config.gpus,
        "project_name": "octothinker",
        "experiment_name": config.stage,
        "logger": ["file"],
        "total_epochs": 1,
        "total_training_steps": config.steps,
        "save_freq": _save_every(config),
        "test_freq": -1,
        "val_before_train": False,
        "default_local_dir": f"{job.folder}/checkpoints",
        **resume,
        "v1": {"sampler": {"custom_sampler": {"path": f"pkg://{HOOKS}", "name": "OrderedBuffer"}}},
    }


def _save_every(config: RLRecipe) -> int:
    """verl saves at multiples of one interval: the one that includes every step at which a checkpoint is needed."""
    return math.gcd(config.checkpoint_every, config.validation.every if config.validation else 0)


def _ray(config: RLRecipe, job: Job) -> dict[str, Any]:
    """A separate Ray, which ends with the run. To Ray, GPUs are only a number: on a CPU it assigns ranks with it."""
    own = {"address": "local", "include_dashboard": False, "_temp_dir": job.scratch}
    if job.has_cuda:
        return own
    return own | {"num_cpus": RAY_SLOTS, "num_gpus": config.gpus, "object_store_memory": 300_000_000}
