"""Nanotron's configuration of a run, made from ours: a pure function of plain values, with neither nanotron nor a GPU.

Nanotron's Qwen2 model serves every architecture: without biases on query, key and value it computes what a Llama does,
and it alone can keep attention within documents. Stages keep their names and steps, so that nanotron's logs and ours
agree. Leaves out what a configuration cannot express and `training.nanotron_backend` does: the order of the data, the
weights to start from, the exact learning rate of a step, the scaling of rotary frequencies.
"""

from dataclasses import dataclass
from typing import Any, Literal, assert_never

from manifests.errors import UserError
from training.config import ModelRecipe, ScheduleRecipe, ShapeName, TrainRecipe, is_half, keeps_to_documents
from training.models import architecture_of

FOLDER = "engine"
"""Folder of a run for the files of an engine; nanotron is configured to write checkpoints there and never does."""


@dataclass(frozen=True)
class Mixture:
    """What a configuration needs to know of the mixtures of a run: their shape, and how long each stage reads."""

    sequence_length: int
    vocab_size: int
    eos_id: int
    steps: tuple[int, ...]
    """Steps of each stage."""


def to_nanotron(config: TrainRecipe, mixture: Mixture) -> dict[str, Any]:
    """The configuration nanotron (7bc99232) reads, as plain YAML values.

    `config` must name its architecture in `model`: see `training.models.described` for a run that starts from a folder.
    UserError for settings that nanotron does not support.
    """
    assert config.model, "the launch describes the model it starts from"
    _refuse_impossible(config, config.model, mixture)
    per_rank, micro = _batch(config)
    total, is_low = sum(mixture.steps), is_half(config.precision)
    return {
        "general": {"project": "octothinker", "run": config.stage, "seed": config.seed, "ignore_sanity_checks": True},
        "checkpoints": {
            "checkpoints_path": FOLDER,
            "checkpoint_interval": min(config.checkpoint_every, total),
            "save_initial_state": False,
            "save_final_state": True,
        },
        "parallelism": _parallelism(config),
        "model": {
            "dtype": config.precision,
            "init_method": {"std": config.model.initializer_range},
            "make_vocab_size_divisible_by": 1,
            "model_config": _model(config, config.model, mixture),
        },
        "tokenizer": None,
        "tokens": {
            "sequence_length": mixture.sequence_length,
            "train_steps": total,
            "micro_batch_size": micro,
            "batch_accumulation_per_replica": per_rank // micro,
        },
        "optimizer": {
            "zero_stage": 0,  # 1 fails upstream with float32 accumulation on more than one rank
            "weight_decay": config.optimizer.weight_decay,
            "clip_grad": config.optimizer.clip,
            "accumulate_grad_in_fp32": is_low,
            "optimizer_factory": _adamw(config),
            "learning_rate_scheduler": _learning_rate(config, mixture.steps),
        },
        "logging": {"log_level": "warning", "log_level_replica": "error", "iteration_step_info_interval": 1},
        "data_stages": _stages(config, mixture),
    }


def _refuse_impossible(config: TrainRecipe, model: ModelRecipe, mixture: Mixture) -> None:
    dp, tp, rows = config.parallel.dp, config.parallel.tp, config.batch_sequences
    vocab, heads = model.vocab_size or mixture.vocab_size, model.num_key_value_heads or model.num_attention_heads
    if rows % dp:
        raise UserError(
            f"{rows} sequences cannot be divided evenly among dp={dp} ranks", "Choose a divisor of batch_sequences"
        )
    if (rows // dp) % (config.micro_batch_sequences or rows // dp):
        raise UserError(
            f"nanotron cannot cut {rows // dp} sequences per rank into micro-batches of {config.micro_batch_sequences}",
            "Choose a divisor",
        )
    if vocab % tp or heads % tp or model.num_attention_heads % tp:
        raise UserError(
            f"tp={tp} does not divide {vocab} tokens, {model.num_attention_heads} heads and {heads} key-value heads",
            "Choose a divisor of all three",
        )


def _batch(config: TrainRecipe) -> tuple[int, int]:
    """Sequences of a rank in a step, and in a forward pass."""
    per_rank = config.batch_sequences // config.parallel.dp
    return per_rank, config.micro_batch_sequences or per_rank


def _parallelism(config: TrainRecipe) -> dict[str, Any]:
    return {
        "dp": config.parallel.dp,
        "tp": config.parallel.tp,
        "pp": 1,
        "pp_engine": "1f1b",
        "tp_mode": "ALL_REDUCE",
        "tp_linear_async_communication": False,
    }


def _model(config: TrainRecipe, model: ModelRecipe, mixture: Mixture) -> dict[str, Any]:
    return {
        "is_qwen2_config": True,
        "attention_bias": architecture_of(model.architecture).has_biases,
        "vocab_size": model.vocab_size or mixture.vocab_size,
        "hidden_size": model.hidden_size,
        "intermediate_size": model.intermediate_size,
        "num_hidden_layers": model.num_hidden_layers,
        "num_attention_heads": model.num_attention_heads,
        "num_key_value_heads": model.num_key_value_heads or model.num_attention_heads,
        "max_position_embeddings": model.max_position_embeddings,
        "rms_norm_eps": model.rms_norm_eps or 1e-6,
        "rope_theta": model.rope_theta,
        "rope_interleaved": False,
        "tie_word_embeddings": model.tie_word_embeddings,
        "eos_token_id": mixture.eos_id,
        "hidden_act": "silu",
        "log_attn_probs": False,
        "_use_doc_masking": keeps_to_documents(config.attention),
    }


def _adamw(config: TrainRecipe) -> dict[str, Any]:
    return {
        "name": "adamW",
        "adam_beta1": config.optimizer.betas[0],
        "adam_beta2": config.optimizer.betas[1],
        "adam_eps": config.optimizer.eps,
        "torch_adam_is_fused": True,
    }


def _schedules(config: TrainRecipe) -> list[ScheduleRecipe]:
    return [config.schedule, *(stage.schedule for stage in config.then or ())]


def _learning_rate(config: TrainRecipe, steps: tuple[int, ...]) -> dict[str, Any]:
    """Nanotron's own schedule: warmup, constant, then the first decay. The backend sets the exact rate of each step."""
    peak, warmup = config.optimizer.lr, config.schedule.warmup_steps
    plain = {"learning_rate": peak, "lr_warmup_steps": warmup, "lr_warmup_style": "linear" if warmup else "constant"}
    for number, schedule in enumerate(_schedules(config)):
        if style := _decay_style(schedule.shape):
            start = sum(steps[:number]) + (warmup if number == 0 else 0)
            return plain | {
                "lr_decay_style": style,
                "lr_decay_starting_step": start,
                "lr_decay_steps": sum(steps[: number + 1]) - start,
                "min_decay_lr": peak * schedule.min_ratio,
            }
    constant = {"lr_decay_style": "linear", "lr_decay_starting_step": sum(steps), "lr_decay_steps": 1}
    return plain | constant | {"min_decay_lr": peak}


def _decay_style(shape: ShapeName) -> Literal["cosine", "linear", "1-sqrt"] | None:
    """Nanotron's name for a decay; it has these three, and fails after the launch with any other."""
    match shape:
        case "constant":
            return None
        case "cosine" | "linear" | "1-sqrt":
            return shape
        case _:
            assert_never(shape)


def _stages(config: TrainRecipe, mixture: Mixture) -> list[dict[str, Any]]:
    names = [config.stage, *(stage.stage for stage in config.then or ())]
    starts = [1 + sum(mixture.steps[:number]) for number in range(len(names))]
    data = {"dataset": None, "seed": config.seed, "num_loading_workers": 0}
    return [
        {"name": name, "start_training_step": start, "sequence_length": mixture.sequence_length, "data": data}
        for name, start in zip(names, starts, strict=True)
    ]
