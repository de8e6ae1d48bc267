"""Trains with nanotron's `DistributedTrainer` on our order of sequences, with our ledgers and checkpoints.

Nanotron computes: model, pipeline engine, data and tensor parallelism, optimizer. We decide what it reads, the learning
rate, the initial weights and what is recorded, through its own hooks and these three changes, which hold on a GPU too:

- The loss of a micro-batch is its sum over the labels of the whole batch. Nanotron takes the mean of means, in which
  the weight of a label depends on the number of others beside it, and the result on the number of ranks and
  micro-batches.
- The learning rate of a step comes from its number. Nanotron's own schedule is wrong after a resume (its issue 233: the
  decay takes the checkpoint's rate as its peak, and each resume skips a step).
- Rotary frequencies are scaled as transformers scales them; nanotron reads `rope_scaling` and ignores it.

Promises. The same tokens in the same order as the torch backend, losses within 1e-5 of it in float32, the same
checkpoints: a run of either backend can continue a run of the other, also at another number of ranks. Exact resume.
Held-out loss is measured at the start and at checkpoints alone, on the first rank, by transformers on the weights as
they are written. Runs without CUDA through `training.nanotron_cpu`, which does nothing on a machine with CUDA. Leaves
out pipeline stages, ZeRO-1 (fails upstream), and nanotron's own data path and checkpoints.
"""

import contextlib
import importlib
import inspect
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from evaluation.held_out.runs import load_for_measuring
from manifests.runs import RunDirectory
from mixtures.reader import Batch
from training import nanotron_cpu, nanotron_weights
from training.checkpoints import write_checkpoint
from training.config import TrainRecipe, keeps_to_documents
from training.nanotron_config import FOLDER
from training.recorder import Recorder, recording
from training.stages import Begin, Stage, per_document, stage_at
from training.torch_backend import NO_LABEL, adamw, inputs_and_labels
from training.validation import validation_of


def _take_any_flash_attention() -> None:
    """flash-attn 2.8 has dropped an argument of its rotary encoding that nanotron passes by position."""
    rotary: Any = importlib.import_module("flash_attn.layers.rotary")
    stock = rotary.RotaryEmbedding
    if "pos_idx_in_fp32" in inspect.signature(stock).parameters:
        return

    class RotaryEmbedding(stock):
        def __init__(
            self, dim: int, base: float, interleaved: bool, scale_base: Any, pos_idx_in_fp32: bool, device: Any
        ):
            super().__init__(dim, base, interleaved, scale_base, device)
            self.pos_idx_in_fp32 = pos_idx_in_fp32

    rotary.RotaryEmbedding = RotaryEmbedding


# before nanotron is imported for the first time
os.environ.setdefault("CUDA_DEVICE_MAX_CONNECTIONS", "1")  # asserted for tensor parallelism
nanotron_cpu.install()
_take_any_flash_attention()

import nanotron.models.qwen as nanotron_qwen  # type: ignore[import-not-found]  # noqa: E402
import nanotron.trainer as nanotron_trainer  # type: ignore[import-not-found]  # noqa: E402
from nanotron import distributed as dist  # type: ignore[import-not-found]  # noqa: E402
from nanotron.nn.rotary import FlashRotaryEmbedding  # type: ignore[import-not-found]  # noqa: E402


def run_training(
    run: RunDirectory, stages: tuple[Stage, ...], recipe: TrainRecipe, begin: Begin, tokenizer: Path
) -> None:
    """Train to the end of the last stage, as one of the ranks. UserError when the loss is not a number."""
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    nanotron_trainer.wandb = None  # would start a run of its own wherever the package is installed
    nanotron_trainer.log_libraries_versions = lambda logger: None  # shells out for seconds
    nanotron_trainer.lr_scheduler_builder = _scheduler(stages, begin.done)
    nanotron_trainer.ParallelContext = _ParallelContext
    trainer = _Trainer(run, stages, recipe, begin, tokenizer)
    with contextlib.ExitStack() as stack:
        if torch.distributed.get_rank() == 0:
            trainer.recorder = stack.enter_context(recording(run, recipe, begin.done, stages[-1].last))
        trainer.train({stage.name: trainer.reading(stage) for stage in stages})
    trainer.parallel_context.destroy()


def _scheduler(stages: tuple[Stage, ...], done: int) -> Callable[..., Any]:
    """Replaces nanotron's `lr_scheduler_builder`: our rate for each step, from whichever step a run resumes."""

    def rate(finished: int) -> float:
        step = min(finished + 1, stages[-1].last)
        return stage_at(stages, step).learning_rate(step)

    def build(optimizer: Any, **_: Any) -> torch.optim.lr_scheduler.LambdaLR:
        base = optimizer.get_base_optimizer()
        for group in base.param_groups:
            group["lr"] = group["initial_lr"] = 1.0  # so that the rate is the factor, exactly
        return torch.optim.lr_scheduler.LambdaLR(base, [rate] * len(base.param_groups), last_epoch=done - 1)

    return build


class _ParallelContext(nanotron_trainer.ParallelContext):
    """Nanotron assumes that up to eight ranks are on one node, and stops on two nodes of four GPUs."""

    def _init_parallel_groups(self) -> None:
        self.local_world_size = int(os.environ["LOCAL_WORLD_SIZE"])
        super()._init_parallel_groups()


class _Trainer(nanotron_trainer.DistributedTrainer):
    """Nanotron's trainer with our weights, data, learning rate, ledgers and checkpoints."""

    def __init__(
        self, run: RunDirectory, stages: tuple[Stage, ...], recipe: TrainRecipe, begin: Begin, tokenizer: Path
    ):
        self.run, self.stages, self.recipe, self.begin, self.tokenizer = run, stages, recipe, begin, tokenizer
        self.recorder: Recorder | None = None  # on the first rank
        self.validation = validation_of(run, recipe, tokenizer)
        self.batch: Batch
        self.nats: list[Tensor] = []
        self.saved, self.began, self.lr = begin.done, time.perf_counter(), 0.0
        super().__init__(str(run.path / FOLDER / "nanotron.yaml"))
        self._resume()

    def _load_model_checkpoint(self, model: Any) -> Any:
        """Nanotron's hook for the weights a run starts with."""
        assert self.begin.folder
        unwrapped = getattr(model, "module", model)
        nanotron_weights.load(self.begin.folder, unwrapped)
        _scale_rotary(unwrapped, self.begin.folder)
        nanotron_qwen.masked_mean = self._share_of_loss
        return model

    def _resume(self) -> None:
        """Restore the optimizer and the number of steps."""
        begin, base = self.begin, self.optimizer.get_base_optimizer()
        assert begin.folder
        if self.grad_accumulator:
            nanotron_weights.load_masters(begin.folder, self.unwrapped_model, self.grad_accumulator)
        if begin.carries_optimizer:
            nanotron_weights.load_means(begin.folder, self.unwrapped_model, self.grad_accumulator, base)
        self.metadata.last_train_step = self.iteration_step = begin.done
        self.metadata.last_stage_idx = self.stages.index(stage_at(self.stages, begin.done + 1))

    def pre_training(self, *_: Any, **__: Any) -> None:
        """Nanotron would start Weights & Biases; the recorder handles trackers."""

    # -- data and loss ---------------------------------------------------------------------------------------------

    def reading(self, stage: Stage) -> Callable[[], Iterator[dict[str, Tensor]]]:
        """Called by nanotron when `stage` begins or resumes: the micro-batches of this rank."""

        def read() -> Iterator[dict[str, Tensor]]:
            for step in range(self.iteration_step, stage.last + 1):
                self.batch = stage.batch(step)
                yield from self._micro_batches(self.batch)

        return read

    def _micro_batches(self, batch: Batch) -> Iterator[dict[str, Tensor]]:
        inputs_BS, labels_BS = inputs_and_labels(batch)
        is_label_BS, positions_BS = labels_BS != NO_LABEL, torch.as_tensor(self._positions(batch))
        ranks, rank = self.parallel_context.dp_pg.size(), dist.get_rank(self.parallel_context.dp_pg)
        size, count = self.micro_batch_size, self.n_micro_batches_per_batch
        weight = ranks * count / int(is_label_BS.sum())  # nanotron divides by the number of parts
        for first in range(rank * size * count, (rank + 1) * size * count, size):
            rows = slice(first, first + size)
            micro = {
                "input_ids": inputs_BS[rows],
                "position_ids": positions_BS[rows],
                "label_ids": labels_BS[rows].clamp(min=0),
                "label_mask": is_label_BS[rows] * weight,
            }
            yield {name: tensor.contiguous() for name, tensor in micro.items()}  # on CUDA the copy there does it

    def _positions(self, batch: Batch) -> np.ndarray:
        """Positions, int64 [B, S]; nanotron begins a new segment of attention wherever one is 0."""
        if keeps_to_documents(self.recipe.attention):
            return batch.positions
        return np.tile(np.arange(batch.tokens.shape[1] - 1), (len(batch.tokens), 1))

    def _share_of_loss(self, nats_BS: Tensor, weights_BS: Tensor, dtype: torch.dtype) -> Tensor:
        """Replaces nanotron's `masked_mean`: this micro-batch's part of the mean over the whole batch."""
        if self.recipe.document_losses:
            self.nats.append(nats_BS.detach())
        return (nats_BS * weights_BS).sum(dtype=dtype)

    # -- hooks -----------------------------------------------------------------------------------------------------

    def training_step(self, dataloader: Any) -> Any:
        self.began, self.lr = time.perf_counter(), self.optimizer.get_base_optimizer().param_groups[0]["lr"]
        return super().training_step(dataloader)

    def train_step_logs(self, outputs: Any, loss_avg: Tensor, z_loss_avg: Any, tbi_logs: Any = None) -> None:
        """Nanotron's hook at the end of a step."""
        self.iteration_timer.end()
        losses = self._document_losses()
        if not self.recorder:
            return
        step = self.iteration_step
        row = {"step": step, "stage": stage_at(self.stages, step).name, "loss": loss_avg.item()}
        row |= {"grad_norm": self.grad_norm_unclipped.item(), "lr": self.lr}
        row |= {"tokens": self.batch.segment[:, 1:].size, "seconds": time.perf_counter() - self.began}
        self.recorder.step(row, self.batch.consumption, losses)

    def _document_losses(self) -> Any:
        """The losses of the whole batch, on every rank: the ranks exchange theirs."""
        if not self.nats:
            return None
        mine = torch.cat(self.nats).contiguous()
        self.nats.clear()
        group = self.parallel_context.dp_pg
        parts = [torch.empty_like(mine) for _ in range(group.size())]
        torch.distributed.all_gather(parts, mine, group=group)
        segment = self.batch.segment
        return per_document(
            self.batch, torch.cat(parts).cpu().numpy(), segment[:, 1:] == segment[:, :-1], self.iteration_step
        )

    # -- checkpoints -----------------------------------------------------------------------------------------------

    def save_checkpoint(self) -> None:
        """Nanotron's hook for a checkpoint; at the end of a run it may come twice."""
        if self.saved == self.iteration_step:
            return
        self.saved = self.iteration_step
        if self.recorder:
            self.recorder.flush()
            self.run.save_checkpoint(self.saved, self._write, self.recipe.keep)
        else:
            self._write_pieces(None)
        torch.distributed.barrier()

    def _write(self, folder: Path) -> None:
        """On the first rank: gather the pieces of all ranks into the common checkpoint format."""
        assert self.begin.folder
        aside = folder / "pieces"
        aside.mkdir()
        self._write_pieces(aside)
        model, state = nanotron_weights.gather(aside, self.begin.folder)
        groups = adamw(model, self.recipe.optimizer).state_dict()["param_groups"]
        write_checkpoint(folder, model, {"state": state, "param_groups": groups}, self.tokenizer)
        shutil.rmtree(aside)
        if self.recorder and self.validation.names:  # the model above has no rotary frequencies
            measured = self.validation.measure(load_for_measuring(folder), self.saved, saved=True)
            self.recorder.show(self.saved, measured)

    def _write_pieces(self, aside: Path | None) -> None:
        """On every rank: the first broadcasts the folder, and the first of each data-parallel group writes."""
        told = [str(aside)]
        torch.distributed.broadcast_object_list(told, src=0)
        if dist.get_rank(self.parallel_context.dp_pg) == 0:
            file = Path(told[0]) / f"{torch.distributed.get_rank()}.pt"
            base = self.optimizer.get_base_optimizer()
            nanotron_weights.write_pieces(file, self.unwrapped_model, self.grad_accumulator, base)
        torch.distributed.barrier()


def _scale_rotary(model: Any, folder: Path) -> None:
    """If rotary frequencies are scaled, give every layer those of transformers."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    kind = config.rope_parameters["rope_type"]
    if kind == "default":
        return
    frequencies, _ = ROPE_INIT_FUNCTIONS[kind](config, torch.device("cpu"))
    for module in model.modules():
        if isinstance(module, FlashRotaryEmbedding):
            module.inv_freq = frequencies.to(module.inv_freq.device)
            module._compute_inv_freq = lambda device=None: frequencies.to(device)
            module._seq_len_cached = 0
