"""The plain torch trainer: the reference that every other backend is checked against.

One process, one device, float32 weights. A step reads `batch_sequences` sequences of the mixture in its order, predicts
each next token, and takes one AdamW step on the mean loss per label over the whole batch, however it is cut into
micro-batches. The first token of a document is no label: nothing before it says what it is. Attention crosses
documents.

Promises. What a step reads depends on its number alone. `run(10)` equals `run(5)` and `resume(5)` loss for loss, bit
for bit on a CPU in float32 with the same number of threads. The ledgers of a step are stored before its checkpoint is,
and cut back to the checkpoint on resume. Leaves out parallelism, masks between documents, compilation.

Shapes: B sequences of a batch, S tokens of a sequence.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM

from manifests.errors import UserError
from manifests.progress import progress
from manifests.runs import RunDirectory
from manifests.tables import CONSUMPTION, STEPS
from mixtures.reader import MixtureReader
from training.checkpoints import load_optimizer, load_random_state, load_weights, write_checkpoint
from training.config import ModelRecipe, OptimizerRecipe, TrainRecipe
from training.schedule import learning_rate, positions

NO_LABEL = -100
"""What `cross_entropy` ignores."""
FLUSH_STEPS = 100
"""Steps after which ledgers are stored at the latest, so that a run can be watched."""


@dataclass
class Ledger:
    """Rows of `steps` and `consumption` that are not stored yet."""

    run: RunDirectory
    steps: list[dict[str, Any]] = field(default_factory=list)
    consumption: list[dict[str, Any]] = field(default_factory=list)

    def flush(self) -> None:
        self.run.append("consumption", pa.Table.from_pylist(self.consumption, schema=CONSUMPTION.schema))
        self.run.append("steps", pa.Table.from_pylist(self.steps, schema=STEPS.schema))
        self.steps, self.consumption = [], []


def run_training(
    run: RunDirectory, reader: MixtureReader, recipe: TrainRecipe, steps: int, start: Path | None, tokenizer: Path
) -> None:
    """Train up to `steps`, from the run's own last checkpoint if it has one, else from the model folder `start`, else
    from random weights. UserError when the loss is no number."""
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, optimizer, done = _begin(run, reader, recipe, start, device)
    ledger = Ledger(run)
    run.truncate(done)
    with progress(f"train: {recipe.stage}", steps) as advance:
        advance(done)
        for step in range(done + 1, steps + 1):
            row = _step(model, optimizer, reader, recipe, step, steps, ledger)
            if not math.isfinite(row["loss"]):
                ledger.flush()
                raise UserError(
                    f"the loss of step {step} is {row['loss']}",
                    f"Lower the learning rate, or look at the batch: octo trace {run.id} --step {step}",
                )
            is_checkpoint = step % recipe.checkpoint_every == 0 or step == steps
            if is_checkpoint or step % FLUSH_STEPS == 0:
                ledger.flush()
            if is_checkpoint:
                run.save_checkpoint(step, lambda to: write_checkpoint(to, model, optimizer, tokenizer), recipe.keep)
            advance(1, note=f"loss {row['loss']:.3f}")


def _begin(
    run: RunDirectory, reader: MixtureReader, recipe: TrainRecipe, start: Path | None, device: str
) -> tuple[Any, torch.optim.AdamW, int]:
    """Model, optimizer and the number of steps done."""
    torch.manual_seed(recipe.seed)
    done = max(run.checkpoints(), default=0)
    folder = run.checkpoint(done) if done else start
    if folder:
        model: Any = load_weights(folder)
    else:
        assert recipe.model, "the launch refuses a recipe without a start"
        model = new_model(recipe.model, reader.vocab_size, reader.eos_id)
    model = model.to(device).train()
    optimizer = adamw(model, recipe.optimizer)
    if folder and done:
        load_random_state(folder)
    if folder and (done or (recipe.carry_optimizer and not recipe.start)):
        load_optimizer(folder, optimizer)
    return model, optimizer, done


def new_model(recipe: ModelRecipe, vocab_size: int, eos_id: int) -> LlamaForCausalLM:
    """A Llama with random weights, drawn from torch's global generator."""
    shape = recipe.model_dump(exclude={"vocab_size", "rope_theta"})
    return LlamaForCausalLM(
        LlamaConfig(
            **shape,
            vocab_size=recipe.vocab_size or vocab_size,
            rope_parameters={"rope_type": "default", "rope_theta": recipe.rope_theta},
            bos_token_id=None,
            eos_token_id=eos_id,
        )
    )


def adamw(model: Any, recipe: OptimizerRecipe) -> torch.optim.AdamW:
    """AdamW over all parameters in one group, as nanotron has it; the step sets the learning rate."""
    return torch.optim.AdamW(
        model.parameters(), lr=recipe.lr, betas=recipe.betas, eps=recipe.eps, weight_decay=recipe.weight_decay
    )


def _step(
    model: Any,
    optimizer: torch.optim.AdamW,
    reader: MixtureReader,
    recipe: TrainRecipe,
    step: int,
    steps: int,
    ledger: Ledger,
) -> dict[str, Any]:
    """One optimizer step; its row of `steps`, which the ledger has too."""
    began = time.perf_counter()
    batch = reader.batch(positions(step, recipe.batch_sequences, reader.n_sequences))
    inputs_BS, labels_BS = inputs_and_labels(torch.as_tensor(batch.tokens), torch.as_tensor(batch.segment))
    lr = learning_rate(step, steps, recipe.optimizer.lr, recipe.schedule)
    loss = accumulate(model, inputs_BS, labels_BS, recipe.micro_batch_sequences, recipe.precision)
    grad_norm = update(model, optimizer, lr, recipe.optimizer.clip)
    row = {"step": step, "stage": recipe.stage, "loss": loss, "grad_norm": grad_norm, "lr": lr}
    row |= {"tokens": inputs_BS.numel(), "seconds": time.perf_counter() - began}
    ledger.steps.append(row)
    for component, source, sequences, tokens in batch.consumption:
        counts = {"component": component, "source": source, "sequences": sequences, "tokens": tokens}
        ledger.consumption.append({"step": step} | counts)
    return row


def inputs_and_labels(tokens_BS1: Tensor, segment_BS1: Tensor) -> tuple[Tensor, Tensor]:
    """Inputs [B, S] and the tokens they should predict [B, S], NO_LABEL where that is the first of a document.

    `tokens_BS1` and `segment_BS1` (the document each token belongs to) are [B, S + 1].
    """
    is_first_BS = segment_BS1[:, 1:] != segment_BS1[:, :-1]
    return tokens_BS1[:, :-1], tokens_BS1[:, 1:].masked_fill(is_first_BS, NO_LABEL)


def accumulate(
    model: Any, inputs_BS: Tensor, labels_BS: Tensor, micro_batch: int | None, precision: str = "float32"
) -> float:
    """Add to the gradients those of the mean loss per label of the whole batch; the loss, in nats.

    Each micro-batch contributes its sum over the batch's number of labels: the mean of means would weigh a label by how
    many others stand beside it.
    """
    n_labels, total = int((labels_BS != NO_LABEL).sum()), 0.0
    for inputs, labels in _cut(inputs_BS, labels_BS, micro_batch or len(inputs_BS)):
        inputs, labels = inputs.to(model.device), labels.to(model.device)
        with torch.autocast(model.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            logits = model(input_ids=inputs, use_cache=False).logits
        nats = F.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=NO_LABEL, reduction="sum")
        (nats / n_labels).backward()
        total += nats.item()
    return total / n_labels


def _cut(inputs_BS: Tensor, labels_BS: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    yield from zip(inputs_BS.split(size), labels_BS.split(size), strict=True)


def update(model: Any, optimizer: torch.optim.Optimizer, lr: float, clip: float) -> float:
    """Clip the gradient, step, clear it; its global norm before clipping."""
    grad_norm = torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return grad_norm.item()
