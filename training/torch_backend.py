"""The plain torch trainer: the reference that every other backend is checked against.

Float32 weights on one device, or a copy of them on each of several that share the sequences of a batch. A step reads
`batch_sequences` sequences of the mixture in its order, predicts each next token, and takes one AdamW step on the mean
loss per label over the whole batch, however it is cut into ranks and micro-batches. The first token of a document is no
label: nothing before it says what it is. Attention crosses documents unless the recipe keeps it within them.

Promises. What a step reads depends on its number alone. `run(10)` equals `run(5)` and `resume(5)` loss for loss, bit
for bit on a CPU in float32 with the same number of threads and ranks. The ledgers of a step are stored before its
checkpoint is, and cut back to the checkpoint on resume. Leaves out weights that are spread over devices: see nanotron.

Shapes: B sequences of a batch, S tokens of a sequence.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from manifests.runs import RunDirectory
from mixtures.reader import Batch
from training.checkpoints import load_optimizer, load_random_state, load_weights, write_checkpoint
from training.config import ModelRecipe, OptimizerRecipe, TrainRecipe
from training.models import rope_parameters
from training.recorder import recording
from training.stages import Begin, Stage, per_document, positions_within, stage_at

NO_LABEL = -100
"""What `cross_entropy` ignores."""


@dataclass(frozen=True)
class Ranks:
    """This process among those that share a batch."""

    rank: int = 0
    size: int = 1

    def share(self, n: int) -> slice:
        """The rows of this rank out of `n`."""
        parts = np.array_split(np.arange(n), self.size)[self.rank]
        return slice(int(parts[0]), int(parts[-1]) + 1) if len(parts) else slice(0, 0)

    def add(self, *tensors: Tensor) -> None:
        """Replace each tensor by its sum over the ranks."""
        if self.size > 1:
            for handle in [dist.all_reduce(tensor, async_op=True) for tensor in tensors]:
                assert handle
                handle.wait()


@contextmanager
def joined(dp: int) -> Iterator[Ranks]:
    """Among the ranks that torchrun started, until work is done; alone when `dp` is 1."""
    if dp == 1:
        yield Ranks()
        return
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    yield Ranks(dist.get_rank(), dist.get_world_size())
    dist.destroy_process_group()  # not after an error: the other ranks may not be there any more


def run_training(
    run: RunDirectory, stages: tuple[Stage, ...], recipe: TrainRecipe, begin: Begin, tokenizer: Path
) -> None:
    """Train to the end of the last stage. UserError when the loss is no number."""
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    with joined(recipe.parallel.dp) as ranks:
        _train(run, stages, recipe, begin, tokenizer, ranks)


def _train(
    run: RunDirectory, stages: tuple[Stage, ...], recipe: TrainRecipe, begin: Begin, tokenizer: Path, ranks: Ranks
) -> None:
    model, optimizer = _begin(stages[0], recipe, begin)
    forward = torch.compile(model) if recipe.compile else model
    if ranks.rank:
        for step in range(begin.done + 1, stages[-1].last + 1):
            _step(forward, optimizer, stage_at(stages, step), recipe, step, ranks)
        return
    with recording(run, recipe, begin.done, stages[-1].last) as recorder:
        for step in range(begin.done + 1, stages[-1].last + 1):
            recorder.step(*_step(forward, optimizer, stage_at(stages, step), recipe, step, ranks))
            if step % recipe.checkpoint_every == 0 or step == stages[-1].last:
                recorder.flush()
                run.save_checkpoint(
                    step, lambda to: write_checkpoint(to, model, optimizer.state_dict(), tokenizer), recipe.keep
                )


def _begin(stage: Stage, recipe: TrainRecipe, begin: Begin) -> tuple[Any, torch.optim.AdamW]:
    """Model and optimizer."""
    torch.manual_seed(recipe.seed)
    if begin.folder:
        model: Any = load_weights(begin.folder)
    else:
        assert recipe.model, "the launch refuses a recipe without a start"
        model = new_model(recipe.model, stage.reader.vocab_size, stage.reader.eos_id)
    model = model.to("cuda" if torch.cuda.is_available() else "cpu").train()
    optimizer = adamw(model, recipe.optimizer)
    if begin.folder and begin.done:
        load_random_state(begin.folder)
    if begin.folder and begin.carries_optimizer:
        load_optimizer(begin.folder, optimizer)
    return model, optimizer


def new_model(recipe: ModelRecipe, vocab_size: int, eos_id: int) -> Any:
    """A Llama or Qwen2 with random weights, drawn from torch's global generator."""
    unnamed = {"architecture", "vocab_size", "rope_theta", "rope_scaling"}
    shape = recipe.model_dump(exclude=unnamed, exclude_none=True)
    shape |= {"vocab_size": recipe.vocab_size or vocab_size, "bos_token_id": None, "eos_token_id": eos_id}
    shape |= {"rope_parameters": rope_parameters(recipe)}
    if recipe.architecture == "qwen2":
        return Qwen2ForCausalLM(Qwen2Config(**shape))
    return LlamaForCausalLM(LlamaConfig(**shape))


def adamw(model: Any, recipe: OptimizerRecipe, is_fused: bool = True) -> torch.optim.AdamW:
    """AdamW over all parameters in one group, as nanotron has it; the step sets the learning rate.

    The fused kernel takes a third of the time of the other, 7 ms of a step of 410 on a CPU, and rounds differently.
    """
    return torch.optim.AdamW(
        model.parameters(),
        lr=recipe.lr,
        betas=recipe.betas,
        eps=recipe.eps,
        weight_decay=recipe.weight_decay,
        fused=is_fused,
    )


def _step(
    model: Any, optimizer: torch.optim.AdamW, stage: Stage, recipe: TrainRecipe, step: int, ranks: Ranks
) -> tuple[dict[str, Any], list[tuple[str, str, int, int]], Any]:
    """One optimizer step: its row of `steps`, what it consumed, and the losses on documents if they are kept."""
    began = time.perf_counter()
    batch = stage.batch(step)
    inputs_BS, labels_BS = inputs_and_labels(torch.as_tensor(batch.tokens), torch.as_tensor(batch.segment))
    positions_BS = torch.as_tensor(positions_within(batch.segment[:, :-1])) if recipe.attention else None
    nats_BS = torch.zeros(inputs_BS.shape) if recipe.document_losses else None
    rows, lr = ranks.share(len(inputs_BS)), stage.learning_rate(step)
    loss = torch.tensor(
        accumulate(
            model,
            inputs_BS[rows],
            labels_BS[rows],
            recipe.micro_batch_sequences,
            recipe.precision,
            positions_BS=None if positions_BS is None else positions_BS[rows],
            n_labels=int((labels_BS != NO_LABEL).sum()),
            nats_BS=None if nats_BS is None else nats_BS[rows],
        ),
        dtype=torch.float64,
        device=model.device,
    )
    ranks.add(loss, *_gradients(model, ranks))
    grad_norm = update(model, optimizer, lr, recipe.optimizer.clip)
    row = {"step": step, "stage": stage.name, "loss": loss.item(), "grad_norm": grad_norm, "lr": lr}
    row |= {"tokens": inputs_BS.numel(), "seconds": time.perf_counter() - began}
    return row, batch.consumption, _document_losses(batch, nats_BS, labels_BS, step, ranks)


def _gradients(model: Any, ranks: Ranks) -> list[Tensor]:
    """The gradients, for summing over ranks; zeros on a rank that got no sequence of a short last batch."""
    if ranks.size == 1:
        return []
    for parameter in model.parameters():
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    return [parameter.grad for parameter in model.parameters()]


def _document_losses(batch: Batch, nats_BS: Tensor | None, labels_BS: Tensor, step: int, ranks: Ranks) -> Any:
    if nats_BS is None:
        return None
    if ranks.size > 1 and torch.cuda.is_available():
        nats_BS = nats_BS.cuda()  # nccl takes no other
    ranks.add(nats_BS)
    return per_document(batch, nats_BS.cpu().numpy(), (labels_BS != NO_LABEL).numpy(), step)


def inputs_and_labels(tokens_BS1: Tensor, segment_BS1: Tensor) -> tuple[Tensor, Tensor]:
    """Inputs [B, S] and the tokens they should predict [B, S], NO_LABEL where that is the first of a document.

    `tokens_BS1` and `segment_BS1` (the document each token belongs to) are [B, S + 1].
    """
    is_first_BS = segment_BS1[:, 1:] != segment_BS1[:, :-1]
    return tokens_BS1[:, :-1], tokens_BS1[:, 1:].masked_fill(is_first_BS, NO_LABEL)


def accumulate(
    model: Any,
    inputs_BS: Tensor,
    labels_BS: Tensor,
    micro_batch: int | None,
    precision: str = "float32",
    *,
    positions_BS: Tensor | None = None,
    n_labels: int | None = None,
    nats_BS: Tensor | None = None,
) -> float:
    """Add to the gradients those of the mean loss per label of the whole batch; the loss, in nats.

    Each micro-batch contributes its sum over the batch's number of labels: the mean of means would weigh a label by how
    many others stand beside it. `n_labels` is that number where these rows are a part of the batch. Where
    `positions_BS` begin again at 0, so does attention. The loss at each input is written into `nats_BS` if given.
    """
    n_labels, total = n_labels or int((labels_BS != NO_LABEL).sum()), 0.0
    for rows in _cut(len(inputs_BS), micro_batch or len(inputs_BS)):
        inputs, labels = inputs_BS[rows].to(model.device), labels_BS[rows].to(model.device)
        places = None if positions_BS is None else positions_BS[rows].to(model.device)
        with torch.autocast(model.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            logits = model(input_ids=inputs, position_ids=places, use_cache=False).logits
        logits, labels = logits.float().flatten(0, 1), labels.flatten()
        nats = F.cross_entropy(logits, labels, ignore_index=NO_LABEL, reduction="sum")
        (nats / n_labels).backward()
        total += nats.item()
        if nats_BS is not None:
            each = F.cross_entropy(logits.detach(), labels, ignore_index=NO_LABEL, reduction="none")
            nats_BS[rows] = each.view(inputs.shape).cpu()
    return total / n_labels


def _cut(n: int, size: int) -> Iterator[slice]:
    yield from (slice(first, first + size) for first in range(0, n, size))


def update(model: Any, optimizer: torch.optim.Optimizer, lr: float, clip: float) -> float:
    """Clip the gradient, step, clear it; its global norm before clipping."""
    grad_norm = torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return grad_norm.item()
