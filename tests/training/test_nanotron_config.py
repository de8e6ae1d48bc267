"""Nanotron's configuration, against files written once and read by people; needs neither nanotron nor a GPU."""

import json
from pathlib import Path

import golden
import pytest
import yaml

from manifests.errors import UserError
from manifests.recipe import load, parse
from training.config import ModelRecipe, TrainRecipe
from training.models import described, parameters
from training.nanotron_config import Mixture, to_nanotron

HERE = Path(__file__).parent
RECIPES = HERE.parents[1] / "recipes" / "octothinker"
SIZES, BRANCHES = ("1b", "3b", "8b"), ("stable", "long", "short", "hybrid")
LLAMA3_ROPE = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
LLAMA3 = {
    "model_type": "llama",
    "vocab_size": 128256,
    "num_key_value_heads": 8,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500000.0,
}
CONFIGS = {
    "1b": LLAMA3
    | {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32}
    | {
        "head_dim": 64,
        "tie_word_embeddings": True,
        "rope_scaling": LLAMA3_ROPE | {"rope_type": "llama3", "factor": 32.0},
    },
    "3b": LLAMA3
    | {"hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 28, "num_attention_heads": 24}
    | {
        "head_dim": 128,
        "tie_word_embeddings": True,
        "rope_scaling": LLAMA3_ROPE | {"rope_type": "llama3", "factor": 32.0},
    },
    "8b": LLAMA3
    | {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32}
    | {"tie_word_embeddings": False, "rope_scaling": LLAMA3_ROPE | {"rope_type": "llama3", "factor": 8.0}},
}
"""The models OctoThinker starts from, as their config.json has them."""


@pytest.fixture
def model(tmp_path):
    def write(size: str) -> ModelRecipe:
        (tmp_path / "config.json").write_text(json.dumps(CONFIGS[size]))
        return described(tmp_path)

    return write


def recipe(size: str, branch: str) -> TrainRecipe:
    return load(RECIPES / f"train-{size}-{branch}.yaml", TrainRecipe)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("branch", ["stable", "long"])
def test_the_configuration_of_the_published_recipes(model, size, branch):
    """The branches differ in their mixtures alone: one of the three is enough. In nanotron_configs/: one in
    full, of the others what differs."""
    config = recipe(size, branch)
    config = config.model_copy(update={"model": model(size), "start": None})
    mixture = Mixture(sequence_length=8192, vocab_size=128256, eos_id=128001, steps=(config.steps or 0,))
    made = to_nanotron(config, mixture)
    full, difference = golden.golden(HERE / "nanotron_configs", f"{size}-{branch}")
    assert golden.of(HERE / "nanotron_configs", made) == difference
    assert full in (None, yaml.safe_dump(made, sort_keys=False))


@pytest.mark.parametrize("size", SIZES)
def test_the_published_settings(size):
    """Table 2 of the recipe: steps, batch, learning rate and its decay; warmup none, weight decay 0.1."""
    peak = {"1b": 5e-5, "3b": 2e-5, "8b": 1e-5}[size]
    for branch in BRANCHES:
        config = recipe(size, branch)
        is_stable = branch == "stable"
        assert (config.steps, config.batch_sequences) == (50_000 if is_stable else 5_000, 512)
        assert (config.optimizer.lr, config.optimizer.weight_decay) == (peak, 0.1)
        assert (config.schedule.shape, config.schedule.warmup_steps) == ("constant" if is_stable else "cosine", 0)
        assert config.stage == ("stable" if is_stable else f"decay-{branch}")
        assert is_stable == bool(config.start)
        assert is_stable or config.schedule.min_ratio == 0.1


def test_parameters_are_counted(model):
    """By the model cards: 1.24B, 3.21B and 8.03B."""
    counts = [round(parameters(model(size), 0) / 1e9, 2) for size in SIZES]
    assert counts == [1.24, 3.21, 8.03]


SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
MIXTURE = Mixture(sequence_length=32, vocab_size=768, eos_id=0, steps=(10,))


def small(**values) -> TrainRecipe:
    plain = {"stage": "stable", "model": SMALL, "optimizer": {"lr": 0.01}, "batch_sequences": 12}
    return parse(plain | values, TrainRecipe, "recipe")


def test_stages_and_their_decay():
    """Stable for 10 steps, decay for 4: nanotron's own schedule says the same as ours."""
    then = [{"stage": "decay", "manifest": "m@1", "schedule": {"shape": "1-sqrt", "min_ratio": 0.2}}]
    made = to_nanotron(small(then=then, schedule={"warmup_steps": 3}), Mixture(32, 768, 0, (10, 4)))
    assert [(stage["name"], stage["start_training_step"]) for stage in made["data_stages"]] == [
        ("stable", 1),
        ("decay", 11),
    ]
    assert made["tokens"]["train_steps"] == 14
    rate = made["optimizer"]["learning_rate_scheduler"]
    assert (rate["lr_warmup_steps"], rate["lr_warmup_style"], rate["lr_decay_style"]) == (3, "linear", "1-sqrt")
    assert (rate["lr_decay_starting_step"], rate["lr_decay_steps"]) == (10, 4)
    assert rate["min_decay_lr"] == pytest.approx(0.002)


def test_the_batch_is_cut_into_ranks_and_micro_batches():
    made = to_nanotron(small(parallel={"dp": 2, "tp": 2}, micro_batch_sequences=3), MIXTURE)
    assert made["tokens"]["micro_batch_size"] * made["tokens"]["batch_accumulation_per_replica"] * 2 == 12
    assert (made["parallelism"]["dp"], made["parallelism"]["tp"]) == (2, 2)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_gradients_add_up_in_float32(precision):
    """Nanotron refuses float32 accumulation of what is float32 already."""
    made = to_nanotron(small(precision=precision), MIXTURE)
    assert made["model"]["dtype"] == precision
    assert made["optimizer"]["accumulate_grad_in_fp32"] == (precision == "bfloat16")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"parallel": {"dp": 5}}, "12 sequences cannot be divided evenly among dp=5 ranks"),
        (
            {"parallel": {"dp": 2}, "micro_batch_sequences": 4},
            "cannot cut 6 sequences per rank into micro-batches of 4",
        ),
        ({"parallel": {"tp": 8}}, "tp=8 does not divide 768 tokens, 4 heads"),
        ({"parallel": {"tp": 2}, "model": SMALL | {"vocab_size": 769}}, "tp=2 does not divide 769 tokens"),
    ],
)
def test_what_nanotron_cannot_do_is_refused(values, says):
    with pytest.raises(UserError, match=says):
        to_nanotron(small(**values), MIXTURE)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"model_type": "qwen2", "rope_theta": 1e6}, {"architecture": "qwen2", "rope_theta": 1e6}),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 7.0}}, {"rope_theta": 7.0, "rope_scaling": None}),
        ({"rope_scaling": None, "rms_norm_eps": 1e-5}, {"rope_theta": 1e4, "rms_norm_eps": 1e-5}),
    ],
)
def test_a_folder_is_described(tmp_path, config, expected):
    plain = {"model_type": "llama", "vocab_size": 10, "max_position_embeddings": 64} | SMALL
    (tmp_path / "config.json").write_text(json.dumps(plain | config))
    found = described(tmp_path).model_dump()
    assert found | expected == found


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"model_type": "gpt2"}, "is a model of type gpt2; known are llama, qwen2"),
        ({"model_type": "llama", "rope_scaling": {"rope_type": "yarn"}}, "by the rule yarn"),
        ({"model_type": "llama", "head_dim": 8}, "heads of 8 instead of 4"),
    ],
)
def test_an_unknown_architecture_is_refused(tmp_path, config, says):
    (tmp_path / "config.json").write_text(json.dumps(SMALL | config))
    with pytest.raises(UserError, match=says):
        described(tmp_path)
