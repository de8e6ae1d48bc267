"""Tokens per second of our torch backend, transformers' Trainer and nanotron: same model, same tokens, one thread.

    python -m benchmarks.training [--steps 60] [--hidden 256] [--layers 4] [--json]
    python -m benchmarks.training --gpu [--json]

On the CPU each trainer runs a mixture of the built-in sample in float32 from random weights, once for a few steps and
once for `--steps` more; the difference in CPU seconds, children included, is what these steps cost, so that loading,
the first steps and the last checkpoint cancel, and so does most of what else the machine is doing. Ours and nanotron's
steps include reading the mixture and the ledger. `outside` is the share of our loop spent on anything but forward,
backward, clipping and the optimizer: data, ledgers, logging. Bar: not slower than either, and less than 2% outside.
Nanotron is left out where it is not installed.

On a GPU: `octo train` of a model of some 100M and one of some 1B weights on the sample at 4,096 tokens, bfloat16,
compiled, from the beginning of one step to that of the next; and the same steps bare, on random tokens, which gives
`outside`. MFU is the share of the device's own matrix product that the model's arithmetic reaches. Bar: 45%. Flops of a
token: 6 per weight that takes part in a product, and 12 · layers · width · context, halved, for causal attention
(Chowdhery et al. 2022).
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import Trainer, TrainingArguments

from curation.config import CurateRecipe
from curation.pipeline import curate
from manifests.manifest import Manifest
from manifests.recipe import load, parse
from manifests.store import Store
from mixtures.config import MixRecipe
from mixtures.mix import mix
from mixtures.reader import MixtureReader
from training import torch_backend
from training.config import ModelRecipe, OptimizerRecipe, TrainRecipe
from training.doctor import nanotron_lacks
from training.launch import train
from training.models import parameters
from training.torch_backend import accumulate, adamw, attend_without_mask, loss_of, new_model, update

RECIPES = Path(__file__).parents[1] / "recipes" / "quickstart"
LENGTH, BATCH, RATE, FIRST_STEPS = 128, 8, 1e-3, 5
OPTIMIZER = OptimizerRecipe(lr=RATE)


def mixture(store: Store, sequences: int, length: int = LENGTH) -> Manifest:
    """`sequences` sequences of the built-in sample."""
    curate(
        store, load(RECIPES / "corpus.yaml", CurateRecipe, ["sample.documents=1000", f"tokenizer={RECIPES}/tokenizer"])
    )
    recipe = {
        "name": "bench",
        "components": [{"name": "all", "manifest": "quickstart@1", "max_epochs": 1000}],
        "budget": {"sequences": sequences},
        "sequence_length": length,
        "tokenizer": str(RECIPES / "tokenizer"),
    }
    return mix(store, parse(recipe, MixRecipe, "recipe"))


def shape(hidden: int, layers: int) -> dict[str, Any]:
    heads = {"num_attention_heads": hidden // 64, "num_hidden_layers": layers, "max_position_embeddings": LENGTH}
    return {"hidden_size": hidden, "intermediate_size": 3 * hidden, "tie_word_embeddings": True} | heads


def cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    return sum(os.times()[:4])


def rate(run: Callable[[int], object], steps: int) -> float:
    """Tokens per CPU second of `steps` steps beyond the first ones."""
    spent = []
    for count in (FIRST_STEPS, FIRST_STEPS + steps):
        began = cpu_seconds()
        run(count)
        spent.append(cpu_seconds() - began)
    return steps * BATCH * LENGTH / (spent[1] - spent[0])


def outside(run: Callable[[], object]) -> float:
    """The share of our loop outside of forward, backward, clipping and optimizer, wall time."""
    spans: list[tuple[float, float]] = []
    plain = (torch_backend.accumulate, torch_backend.update)
    torch_backend.accumulate, torch_backend.update = (timed(function, spans) for function in plain)
    try:
        run()
    finally:
        torch_backend.accumulate, torch_backend.update = plain
    first, last = 2, len(spans) - 2  # from the second step's forward to the last one's
    inside = sum(end - begin for begin, end in spans[first:last])
    return 1 - inside / (spans[last][0] - spans[first][0])


def timed(function: Callable[..., Any], spans: list[tuple[float, float]]) -> Callable[..., Any]:
    """`function`, which also notes when it began and ended."""

    def call(*arguments: Any, **named: Any) -> Any:
        began = time.perf_counter()
        result = function(*arguments, **named)
        spans.append((began, time.perf_counter()))
        return result

    return call


def transformers_trainer(store: Store, manifest: Manifest, recipe: TrainRecipe, folder: Path) -> None:
    """transformers' Trainer on the same sequences, without logging, evaluation or checkpoints."""
    reader, steps = MixtureReader(store, manifest), recipe.steps
    assert recipe.model and steps
    torch.manual_seed(0)
    model = new_model(recipe.model, reader.vocab_size, reader.eos_id)
    rows = torch.as_tensor(reader.batch(np.arange(steps * BATCH)).tokens[:, :-1])
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=BATCH,
        max_steps=steps,
        learning_rate=RATE,
        lr_scheduler_type="constant",
        weight_decay=0.1,
        max_grad_norm=1.0,
        use_cpu=True,
        report_to=[],
        logging_strategy="no",
        save_strategy="no",
        disable_tqdm=True,
    )
    data = [{"input_ids": row, "labels": row} for row in rows]
    Trainer(model, arguments, train_dataset=data).train()  # type: ignore[arg-type]


def on_cpu(steps: int, hidden: int, layers: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    settings = {"stage": "bench", "model": shape(hidden, layers), "optimizer": {"lr": RATE}, "batch_sequences": BATCH}
    settings |= {"threads": 1, "checkpoint_every": 10**6, "track": []}

    def recipe(count: int) -> TrainRecipe:
        return parse(settings | {"steps": count}, TrainRecipe, "recipe")

    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "store")
        manifest = mixture(store, (FIRST_STEPS + steps) * BATCH)
        trainers: dict[str, Callable[[int], object]] = {
            "ours": lambda count: train(store, manifest, recipe(count)),
            "Trainer": lambda count: transformers_trainer(store, manifest, recipe(count), Path(folder)),
        }
        if nanotron_lacks("float32") is None:
            trainers["nanotron"] = lambda count: train(store, manifest, recipe(count), backend="nanotron")
        trainers["ours"](2)  # loads what is loaded once
        rates = {name: rate(run, steps) for name, run in trainers.items()}
        share = outside(lambda: train(store, manifest, recipe(steps)))
    weights = parameters(ModelRecipe(**shape(hidden, layers)), 768)
    return {"weights": weights, "tokens_per_cpu_second": rates, "outside": share}


# -- on a GPU ------------------------------------------------------------------------------------------------------

SIZES = {
    "100M": {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 12},
    "1B": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 16},
}
MICRO = {"100M": 8, "1B": 4}
"""Sequences of a forward pass. The 1B model keeps some 25 GB for the backward pass of 4."""


@dataclass(frozen=True)
class Bench:
    """What is trained on a device: steps of `batch` sequences of `length` tokens."""

    length: int = 4096
    vocabulary: int = 32_000
    batch: int = 16
    steps: int = 30

    def recipe(self, sizes: dict[str, int], micro: int) -> TrainRecipe:
        rest = {"max_position_embeddings": self.length, "tie_word_embeddings": True, "vocab_size": self.vocabulary}
        settings = {"stage": "bench", "model": sizes | rest, "optimizer": {"lr": RATE}, "batch_sequences": self.batch}
        settings |= {"micro_batch_sequences": micro, "precision": "bfloat16", "compile": True}
        return parse(settings | {"steps": self.steps, "checkpoint_every": 10**6}, TrainRecipe, "recipe")


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def matmul_peak(device: str, size: int) -> float:
    """Flops per second of the device on a product of bfloat16 matrices."""
    one = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    return 2 * size**3 / clocked(lambda: one @ one, 20)


def clocked(function: Callable[[], object], times: int) -> float:
    """Seconds of one call, after three to warm up."""
    for _ in range(3):
        function()
    synchronize()
    began = time.perf_counter()
    for _ in range(times):
        function()
    synchronize()
    return (time.perf_counter() - began) / times


def launched(store: Store, manifest: Manifest, recipe: TrainRecipe) -> float:
    """Seconds from step to step of a run, the median after ten; a step ends when its loss is known."""
    spans: list[tuple[float, float]] = []
    plain, torch_backend.accumulate = torch_backend.accumulate, timed(torch_backend.accumulate, spans)
    try:
        train(store, manifest, recipe)
    finally:
        torch_backend.accumulate = plain
    return float(np.median(np.diff([began for began, _ in spans])[10:]))


def bare(recipe: TrainRecipe, length: int, device: str) -> float:
    """Seconds of a step on random tokens, without mixture, ledger and trackers."""
    assert recipe.model and recipe.model.vocab_size
    model = new_model(recipe.model, recipe.model.vocab_size, 0).to(device).train()
    attend_without_mask(model)
    optimizer, compiled = adamw(model, OPTIMIZER), torch.compile(loss_of)
    tokens = torch.randint(0, recipe.model.vocab_size, (recipe.batch_sequences, length + 1))

    def step() -> None:
        micro, precision = recipe.micro_batch_sequences, recipe.precision
        accumulate(model, tokens[:, :-1], tokens[:, 1:], micro, precision, loss_of=compiled)
        update(model, optimizer, RATE, 1.0)

    return clocked(step, 10)


def flops(recipe: ModelRecipe, length: int) -> int:
    """Of a token, forward and backward."""
    assert recipe.vocab_size and recipe.tie_word_embeddings
    return 6 * parameters(recipe, recipe.vocab_size) + 6 * recipe.num_hidden_layers * recipe.hidden_size * length


def on_gpu(bench: Bench, sizes: dict[str, dict[str, int]], device: str = "cuda", product: int = 8192) -> dict[str, Any]:
    peak, found = matmul_peak(device, product), {}
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "store")
        manifest = mixture(store, bench.batch * bench.steps, bench.length)
        for name, shape in sizes.items():
            recipe = bench.recipe(shape, MICRO[name])
            assert recipe.model
            step, alone = launched(store, manifest, recipe), bare(recipe, bench.length, device)
            speed, weights = bench.batch * bench.length / step, parameters(recipe.model, bench.vocabulary)
            reached = speed * flops(recipe.model, bench.length) / peak
            found[name] = {"weights": weights, "tokens_per_second": speed, "mfu": reached, "outside": 1 - alone / step}
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "matmul_peak": peak,
        "models": found,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--gpu", action="store_true", help="measure the device instead")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    arguments = parser.parse_args()
    if arguments.gpu and not torch.cuda.is_available():
        raise SystemExit("no CUDA device: run without --gpu")
    found = on_gpu(Bench(), SIZES) if arguments.gpu else on_cpu(arguments.steps, arguments.hidden, arguments.layers)
    if arguments.json:
        print(json.dumps(found))
        return
    if arguments.gpu:
        print(f"{found['device']}, matrix product {found['matmul_peak'] / 1e12:,.0f} TFLOP/s")
        for name, model in found["models"].items():
            speed = f"{name:6} {model['tokens_per_second']:10,.0f} tokens/s"
            print(f"{speed}   MFU {model['mfu']:6.1%}   bar 45%   outside {model['outside']:6.2%}   bar 2%")
        return
    print(f"{found['weights'] / 1e6:.1f}M weights, batches of {BATCH} × {LENGTH} tokens, one thread")
    rates = found["tokens_per_cpu_second"]
    for name, speed in rates.items():
        print(f"{name:10} {speed:10,.0f} tokens per CPU second   ours is {rates['ours'] / speed:.2f} × as fast")
    print(f"outside of forward, backward, clipping and optimizer: {found['outside']:.2%} of the loop   bar 2%")


if __name__ == "__main__":
    main()
