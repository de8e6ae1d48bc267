"""The plain torch trainer: the reference for every other backend.

Float32 weights on one device, or a copy of them on each of several that share the sequences of a batch. A step reads
`batch_sequences` sequences of the mixture in its order, predicts each next token, and takes one AdamW step on the mean
loss per label over the whole batch, however it is cut into ranks and micro-batches. The first token of a document is
not a label, because nothing before it predicts it. Attention crosses documents unless the recipe restricts it.

Promises. What a step reads depends only on its number. `run(10)` equals `run(5)` and `resume(5)` loss for loss, bit for
bit on a CPU in float32 with the same number of threads and ranks. The ledgers of a step are stored before its
checkpoint is, and cut back to the checkpoint on resume. Leaves out weights sharded over devices: see nanotron.

Shapes: B sequences of a batch, S tokens of a sequence.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_never

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AttentionInterface, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from manifests.runs import RunDirectory
from mixtures.reader import Batch
from training.checkpoints import load_optimizer, load_random_state, load_weights, write_checkpoint
from training.config import (
    ArchitectureName,
    ModelRecipe,
    OptimizerRecipe,
    Precision,
    TrainRecipe,
    is_half,
    keeps_to_documents,
)
from training.models import ARCHITECTURES, rope_parameters
from training.ranks import Ranks, joined
from training.recorder import recording
from training.stages import Begin, Stage, per_document, stage_at
from training.validation import is_due, is_saved, validation_of

NO_LABEL = -100
"""What `cross_entropy` ignores."""
CAUSAL = "octothinker_causal"
"""The name in transformers of causal attention without a mask."""
AttentionInterface.register(CAUSAL, sdpa_attention_forward)  # it makes no mask for a name it has no mask function of


def run_training(
    run: RunDirectory, stages: tuple[Stage, ...], recipe: TrainRecipe, begin: Begin, tokenizer: Path
) -> None:
    """Train to the end of the last stage. UserError when the loss is not a number."""
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    with joined(recipe.parallel.dp) as ranks:
        _train(run, stages, recipe, begin, tokenizer, ranks)


def _train(
    run: RunDirectory, stages: tuple[Stage, ...], recipe: TrainRecipe, begin: Begin, tokenizer: Path, ranks: Ranks
) -> None:
    model, optimizer = _begin(stages[0], recipe, begin)
    trainer = _Trainer(model, optimizer, recipe, ranks, torch.compile(loss_of) if recipe.compile else loss_of)
    validation, last = validation_of(run, recipe, tokenizer), stages[-1].last
    if not begin.done:
        validation.measure(model, 0, False, ranks)
    if ranks.rank:
        for step, coming in _reading(stages, begin.done):
            trainer.step(stage_at(stages, step), step, coming)
            if is_due(recipe, step, last):
                validation.measure(model, step, is_saved(recipe, step, last), ranks)
        return
    with recording(run, recipe, begin.done, last) as recorder:
        for step, coming in _reading(stages, begin.done):
            recorder.step(*trainer.step(stage_at(stages, step), step, coming))
            if is_due(recipe, step, last):
                recorder.flush()
                recorder.show(step, validation.measure(model, step, is_saved(recipe, step, last), ranks))
            if is_saved(recipe, step, last):
                recorder.flush()
                run.save_checkpoint(
                    step, lambda to: write_checkpoint(to, model, optimizer.state_dict(), tokenizer), recipe.keep
                )


def _reading(stages: tuple[Stage, ...], done: int) -> Iterator[tuple[int, Future[Batch]]]:
    """The steps after `done` and what each reads. The next step is read during the current one: reading 8 × 4,096
    tokens takes 1.5 ms, for which a GPU would wait.
    """
    with ThreadPoolExecutor(1) as reader:
        coming = None
        for step in range(done + 1, stages[-1].last + 1):
            now = coming or reader.submit(stage_at(stages, step).batch, step)
            if step < stages[-1].last:
                coming = reader.submit(stage_at(stages, step + 1).batch, step + 1)
            yield step, now


def _begin(stage: Stage, recipe: TrainRecipe, begin: Begin) -> tuple[Any, torch.optim.AdamW]:
    """Model and optimizer."""
    torch.manual_seed(recipe.seed)
    if begin.folder:
        model: Any = load_weights(begin.folder)
    else:
        assert recipe.model, "the launch refuses a recipe without a start"
        model = new_model(recipe.model, stage.reader.vocab_size, stage.reader.eos_id)
    model = model.to("cuda" if torch.cuda.is_available() else "cpu").train()
    if not keeps_to_documents(recipe.attention):
        attend_without_mask(model)
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
    return _random(recipe.architecture, shape)


def _random(architecture: ArchitectureName | None, shape: dict[str, Any]) -> Any:
    match architecture:
        case None:
            return LlamaForCausalLM(LlamaConfig(**shape))
        case "qwen2":
            return Qwen2ForCausalLM(Qwen2Config(**shape))
        case _:
            assert_never(architecture)


def attend_without_mask(model: Any) -> None:
    """Let a model with plain causal attention run without a mask, which flash kernels do not accept.

    The result is the same bit for bit. Without this transformers 5.9 makes a mask of [B, 1, S, S] of every batch when
    it is compiled. Architectures other than those of `training.models`, and sliding windows, keep the mask that they
    need.
    """
    kinds = set(getattr(model.config, "layer_types", None) or ["full_attention"])
    if model.config.model_type in ARCHITECTURES and kinds == {"full_attention"}:
        model.set_attn_implementation(CAUSAL)


def adamw(model: Any, recipe: OptimizerRecipe, is_fused: bool = True) -> torch.optim.AdamW:
    """AdamW over all parameters in one group, as nanotron has it; the step sets the learning rate.

    The fused kernel takes a third of the time, 7 ms of a step of 410 ms on a CPU, and rounds differently.
    """
    return torch.optim.AdamW(
        model.parameters(),
        lr=recipe.lr,
        betas=recipe.betas,
        eps=recipe.eps,
        weight_decay=recipe.weight_decay,
        fused=is_fused,
    )


LossOf = Callable[[Any, Tensor, Tensor, Tensor | None, Precision], tuple[Tensor, Tensor]]


def loss_of(
    model: Any, inputs_BS: Tensor, labels_BS: Tensor, positions_BS: Tensor | None, precision: Precision
) -> tuple[Tensor, Tensor]:
    """The loss summed over the labels, in nats, and the logits [B, S, V]: what `compile` compiles into one graph. The
    softmax is included, because separately it makes several passes over float32 logits, 2 GB for 16,384 tokens of
    32,000.
    """
    with torch.autocast(inputs_BS.device.type, torch.bfloat16, enabled=is_half(precision)):
        logits = model(input_ids=inputs_BS, position_ids=positions_BS, use_cache=False).logits
    flat, labels = logits.float().flatten(0, 1), labels_BS.flatten()
    return F.cross_entropy(flat, labels, ignore_index=NO_LABEL, reduction="sum"), logits


@dataclass(frozen=True)
class _Trainer:
    """What takes the steps of a run."""

    model: Any
    optimizer: torch.optim.AdamW
    recipe: TrainRecipe
    ranks: Ranks
    loss_of: LossOf

    def step(
        self, stage: Stage, step: int, coming: Future[Batch]
    ) -> tuple[dict[str, Any], list[tuple[str, str, int, int]], Any]:
        """One optimizer step: its row of `steps`, what it consumed, and the losses on documents if they are kept."""
        began = time.perf_counter()
        batch, lr = coming.result(), stage.learning_rate(step)
        inputs_BS, labels_BS = inputs_and_labels(batch)
        nats_BS = torch.zeros(inputs_BS.shape) if self.recipe.document_losses else None
        loss = self._accumulate(batch, inputs_BS, labels_BS, nats_BS)
        self.ranks.add(loss, *self._gradients())
        grad_norm = update(self.model, self.optimizer, lr, self.recipe.optimizer.clip)
        row = {"step": step, "stage": stage.name, "loss": loss.item(), "grad_norm": grad_norm.item(), "lr": lr}
        row |= {"tokens": inputs_BS.numel(), "seconds": time.perf_counter() - began}
        return row, batch.consumption, self._document_losses(batch, nats_BS, step)

    def _accumulate(self, batch: Batch, inputs_BS: Tensor, labels_BS: Tensor, nats_BS: Tensor | None) -> Tensor:
        """`accumulate` on this rank's share of the batch."""
        rows = self.ranks.share(len(inputs_BS))
        positions_BS = torch.as_tensor(batch.positions) if keeps_to_documents(self.recipe.attention) else None
        return accumulate(
            self.model,
            inputs_BS[rows],
            labels_BS[rows],
            self.recipe.micro_batch_sequences,
            self.recipe.precision,
            positions_BS=None if positions_BS is None else positions_BS[rows],
            n_labels=int(batch.label_mask.sum()),
            nats_BS=None if nats_BS is None else nats_BS[rows],
            loss_of=self.loss_of,
        )

    def _gradients(self) -> list[Tensor]:
        """The gradients, for summing over ranks; zeros on a rank that got no sequence of a short last batch."""
        if self.ranks.size == 1:
            return []
        for parameter in self.model.parameters():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        return [parameter.grad for parameter in self.model.parameters()]

    def _document_losses(self, batch: Batch, nats_BS: Tensor | None, step: int) -> Any:
        if nats_BS is None:
            return None
        if self.ranks.size > 1 and torch.cuda.is_available():
            nats_BS = nats_BS.cuda()  # nccl takes no other
        self.ranks.add(nats_BS)
        return per_document(batch, nats_BS.cpu().numpy(), batch.label_mask, step)


def inputs_and_labels(batch: Batch) -> tuple[Tensor, Tensor]:
    """Inputs [B, S] and the tokens they should predict [B, S], NO_LABEL where that is the first of a document."""
    tokens_BS1, is_label_BS = torch.as_tensor(batch.tokens), torch.as_tensor(batch.label_mask)
    return tokens_BS1[:, :-1], tokens_BS1[:, 1:].masked_fill(~is_label_BS, NO_LABEL)


def accumulate(
    model: Any,
    inputs_BS: Tensor,
    labels_BS: Tensor,
    micro_batch: int | None,
    precision: Precision = "float32",
    *,
    positions_BS: Tensor | None = None,
    n_labels: int | None = None,
    nats_BS: Tensor | None = None,
    loss_of: LossOf = loss_of,
) -> Tensor:
    """Add to the gradients those of the mean loss per label of the whole batch; the loss, in nats, float64 [].

    Each micro-batch contributes its sum over the batch's number of labels: in the mean of means the weight of a label
    would depend on the number of others in its micro-batch. `n_labels` is that number if these rows are only a part of
    the batch. Attention restarts where `positions_BS` restart at 0. The loss at each input is written into `nats_BS` if
    given. Nothing else waits for the device: the next micro-batch is launched while one is computed.
    """
    n_labels = n_labels or int((labels_BS != NO_LABEL).sum())
    total = torch.zeros((), dtype=torch.float64, device=model.device)
    for rows in _cut(len(inputs_BS), micro_batch or len(inputs_BS)):
        inputs, labels = inputs_BS[rows].to(model.device), labels_BS[rows].to(model.device)
        places = None if positions_BS is None else positions_BS[rows].to(model.device)
        nats, logits = loss_of(model, inputs, labels, places, precision)
        (nats / n_labels).backward()
        total += nats.detach()
        if nats_BS is not None:
            flat = logits.detach().float().flatten(0, 1)
            each = F.cross_entropy(flat, labels.flatten(), ignore_index=NO_LABEL, reduction="none")
            nats_BS[rows] = each.view(inputs.shape).cpu()
    return total / n_labels


def _cut(n: int, size: int) -> Iterator[slice]:
    yield from (slice(first, first + size) for first in range(0, n, size))


def update(model: Any, optimizer: torch.optim.Optimizer, lr: float, clip: float) -> Tensor:
    """Clip the gradient, step, clear it; its global norm before clipping, float32 []."""
    grad_norm = torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return grad_norm
