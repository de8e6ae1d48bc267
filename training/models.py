"""Architectures: from a recipe to transformers' configuration, and from a model folder back to a recipe.

Knows Llama (3.1 and 3.2 with their rotary scaling) and Qwen2. `described` reads only JSON and loads no torch. Leaves
out weights, see `training.checkpoints`, and every other architecture: the torch backend starts from folders of any, the
nanotron backend from these.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_never, get_args

from manifests.errors import UserError
from training.config import ArchitectureName, ModelRecipe


@dataclass(frozen=True)
class Architecture:
    """The properties of an architecture. `has_biases`: on query, key and value."""

    model_type: str
    """transformers' name of it."""
    has_biases: bool


def architecture_of(name: ArchitectureName | None) -> Architecture:
    """The row of the architecture that a recipe names; None is a Llama."""
    match name:
        case None:
            return Architecture("llama", has_biases=False)
        case "qwen2":
            return Architecture("qwen2", has_biases=True)
        case _:
            assert_never(name)


NAMES: tuple[ArchitectureName | None, ...] = (None, *get_args(ArchitectureName))
ARCHITECTURES = {architecture_of(name).model_type: name for name in NAMES}
"""transformers' `model_type` → our `architecture`."""


def described(folder: Path) -> ModelRecipe:
    """The architecture of the model in a Hugging Face folder; UserError if no recipe can name it."""
    config = read_config(folder)
    kind = config.get("model_type")
    if kind not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise UserError(f"{folder} is a model of type {kind}; known are {known}", "Start from one of those")
    head = config["hidden_size"] // config["num_attention_heads"]
    if config.get("head_dim") not in (None, head):
        raise UserError(
            f"{folder} has heads of {config['head_dim']} instead of {head}", "Train it with --backend torch"
        )
    names = set(ModelRecipe.model_fields) - {"architecture", "rope_theta", "rope_scaling"}
    plain = {name: config[name] for name in names if config.get(name) is not None}
    return ModelRecipe(architecture=ARCHITECTURES[kind], **plain, **_rotary(config, folder))


def read_config(folder: Path) -> dict[str, Any]:
    """`config.json` of a model folder; UserError when there is none."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"{folder} is not a model folder: config.json is missing", "Give a Hugging Face folder"
        ) from error
    except ValueError as error:
        raise UserError(f"{folder}/config.json is not valid JSON", "Restore it") from error
    return config


def _rotary(config: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Base and scaling, which transformers 4 writes as `rope_theta` and `rope_scaling`, 5 as `rope_parameters`."""
    rope = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    theta, kind = rope.pop("rope_theta", config.get("rope_theta", 10_000.0)), rope.pop("rope_type", "default")
    rope.pop("type", None)
    match kind:
        case "default":
            return {"rope_theta": theta}
        case "llama3":
            return {"rope_theta": theta, "rope_scaling": rope}
    raise UserError(f"{folder} scales its rotary encoding by the rule {kind}", "Train it with --backend torch")


def rope_parameters(recipe: ModelRecipe) -> dict[str, Any]:
    """The rotary encoding in the terms of transformers 5."""
    if not recipe.rope_scaling:
        return {"rope_type": "default", "rope_theta": recipe.rope_theta}
    return {"rope_type": "llama3", "rope_theta": recipe.rope_theta} | recipe.rope_scaling.model_dump()


def parameters(recipe: ModelRecipe, vocab_size: int) -> int:
    """How many weights the model has."""
    width, layers, heads = recipe.hidden_size, recipe.num_hidden_layers, recipe.num_attention_heads
    shared = (recipe.num_key_value_heads or heads) * (width // heads)
    attention = 2 * width * width + 2 * width * shared
    biases = width + 2 * shared if architecture_of(recipe.architecture).has_biases else 0
    layer = attention + biases + 3 * width * recipe.intermediate_size + 2 * width
    embeddings = (recipe.vocab_size or vocab_size) * width * (1 if recipe.tie_word_embeddings else 2)
    return embeddings + layers * layer + width
