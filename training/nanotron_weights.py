"""Converts between a model distributed over nanotron's ranks and one Hugging Face folder: weights and the optimizer's
running means.

A parameter of nanotron is one of transformers', or several concatenated ones (query, key and value; gate and up), split
over the ranks of tensor parallelism. Nanotron records for each piece its location in the whole, so both directions are
the same few lines at any number of ranks, for weights and for running means. Float32 values stay unchanged. Leaves out
pipeline stages and experts.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from training.checkpoints import resume_state

EMBEDDING = "model.embed_tokens.weight"
PLAIN = {
    "model.token_position_embeddings.pp_block.token_embedding.weight": (EMBEDDING,),
    "model.final_layer_norm.pp_block.weight": ("model.norm.weight",),
    "model.lm_head.pp_block.weight": ("lm_head.weight",),
}
IN_LAYER = {
    "input_layernorm": ("input_layernorm",),
    "post_attention_layernorm": ("post_attention_layernorm",),
    "attn.qkv_proj": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "attn.o_proj": ("self_attn.o_proj",),
    "mlp.gate_up_proj": ("mlp.gate_proj", "mlp.up_proj"),
    "mlp.down_proj": ("mlp.down_proj",),
}
MEANS = ("exp_avg", "exp_avg_sq")


def transformers_names(name: str) -> tuple[str, ...]:
    """The parameters of transformers that are concatenated in nanotron's parameter `name`."""
    if name in PLAIN:
        return PLAIN[name]
    _, _, layer, _, rest = name.split(".", 4)  # model.decoder.3.pp_block.attn.qkv_proj.weight
    module, _, kind = rest.rpartition(".")
    return tuple(f"model.layers.{layer}.{part}.{kind}" for part in IN_LAYER[module])


@dataclass(frozen=True)
class Piece:
    """A parameter of this rank: `data` is the float32 copy of the optimizer, `model` the one that the model computes
    with."""

    name: str
    data: Tensor
    model: Tensor

    @property
    def slices(self) -> list[tuple[tuple[slice, ...], tuple[slice, ...]]]:
        """Slices of this piece (first) and their location in the whole parameter (second)."""
        parameter: Any = self.model
        if not parameter.is_sharded:
            return [((slice(None),) * parameter.dim(),) * 2]
        return [
            (pair.local_slices, pair.global_slices) for pair in parameter.get_sharded_info().local_global_slices_pairs
        ]

    @property
    def whole_shape(self) -> tuple[int, ...]:
        parameter: Any = self.model
        return tuple(parameter.get_sharded_info().unsharded_shape if parameter.is_sharded else parameter.shape)

    def cut(self, whole: Tensor) -> Tensor:
        """This rank's piece of a whole parameter."""
        piece = torch.empty_like(self.data, device="cpu", dtype=torch.float32)
        for here, there in self.slices:
            piece[here] = whole[there]
        return piece


def pieces(model: Any, accumulator: Any) -> list[Piece]:
    """The parameters of this rank, each once. `accumulator` holds float32 copies of bfloat16 weights, or is None."""
    found = []
    for name, parameter in model.get_named_params_with_correct_tied():
        master = accumulator.parameters[name]["fp32"] if accumulator else parameter
        found.append(Piece(name, master, parameter))
    return found


# -- from a folder to the ranks ------------------------------------------------------------------------------------


@torch.no_grad()
def load(folder: Path, model: Any) -> None:
    """Give the model the weights in `folder`."""
    with _Weights(folder) as read:
        for piece in pieces(model, None):
            whole = torch.cat([read(name).float() for name in transformers_names(piece.name)])
            piece.model.copy_(piece.cut(whole))


@torch.no_grad()
def load_masters(folder: Path, model: Any, accumulator: Any) -> None:
    """Give the optimizer's copies the float32 weights in `folder`: those made of bfloat16 ones have lost bits."""
    with _Weights(folder) as read, torch.inference_mode():
        for piece in pieces(model, accumulator):
            whole = torch.cat([read(name).float() for name in transformers_names(piece.name)])
            piece.data.copy_(piece.cut(whole))


def load_means(folder: Path, model: Any, accumulator: Any, optimizer: torch.optim.Optimizer) -> None:
    """Give AdamW the running means in `folder`, and the count of steps: its fused kernel reads that on the device."""
    state, order = resume_state(folder, mmap=True)["optimizer"]["state"], _order(folder)
    for piece in pieces(model, accumulator):
        numbers = [order[name] for name in transformers_names(piece.name)]
        means = {mean: piece.cut(torch.cat([state[n][mean] for n in numbers])) for mean in MEANS}
        found = {"step": state[numbers[0]]["step"].clone(), **means}
        optimizer.state[piece.data] = {name: tensor.to(piece.data.device) for name, tensor in found.items()}


class _Weights:
    """Reads a parameter of a model folder by name; one that is tied to the embedding as the embedding."""

    def __init__(self, folder: Path):
        self._files = [safe_open(path, framework="pt") for path in sorted(folder.glob("*.safetensors"))]

    def __enter__(self) -> Callable[[str], Tensor]:
        places = {name: file for file in self._files for name in list(file.keys())}

        def read(name: str) -> Tensor:
            name = name if name in places else EMBEDDING
            return places[name].get_tensor(name)

        return read

    def __exit__(self, *_: object) -> None:
        self._files.clear()


def _order(folder: Path) -> dict[str, int]:
    """The number AdamW gives each parameter of the model in `folder`."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder, local_files_only=True))
    order = {name: number for number, (name, _) in enumerate(model.named_parameters())}
    if "lm_head.weight" not in order:
        order["lm_head.weight"] = order[EMBEDDING]
    return order


# -- from the ranks to a folder ------------------------------------------------------------------------------------


def write_pieces(file: Path, model: Any, accumulator: Any, optimizer: torch.optim.Optimizer) -> None:
    """Write this rank's pieces, for `gather` on one rank."""
    told = {}
    for piece in pieces(model, accumulator):
        state = optimizer.state[piece.data]
        slices = [[_bounds(side) for side in pair] for pair in piece.slices]
        tensors = {"weight": piece.data.detach().cpu(), **{mean: state[mean].cpu() for mean in MEANS}}
        told[piece.name] = {
            "shape": [int(n) for n in piece.whole_shape],
            "slices": slices,
            "step": state["step"].cpu(),
            **tensors,
        }
    torch.save(told, file)


def _bounds(side: tuple[slice, ...]) -> list[list[int | None]]:
    """Plain numbers: a checkpoint is read with `weights_only`, and nanotron counts in numpy's."""
    return [[None if n is None else int(n) for n in (part.start, part.stop)] for part in side]


def gather(folder: Path, config: Path) -> tuple[Any, dict[int, dict[str, Tensor]]]:
    """The whole model, of the architecture in the folder `config`, and AdamW's state, from the pieces in `folder`."""
    ranks = [torch.load(path, weights_only=True, mmap=True) for path in sorted(folder.iterdir())]
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(config, local_files_only=True))
    model = model.to_empty(device="cpu").float()
    model.tie_weights()
    targets = dict(model.named_parameters())
    order = {name: number for number, name in enumerate(targets)}
    state: dict[int, dict[str, Tensor]] = {}
    for name, told in ranks[0].items():
        wholes = {kind: _whole(ranks, name, kind) for kind in ("weight", *MEANS)}
        for part, rows in _parts(name, targets):
            with torch.no_grad():
                targets[part].copy_(wholes["weight"][rows])
            steps = told["step"].clone()  # AdamW counts in place: query, key and value must not share the count
            state[order[part]] = {"step": steps, **{mean: wholes[mean][rows].clone() for mean in MEANS}}
    return model, dict(sorted(state.items()))


def _whole(ranks: list[dict[str, Any]], name: str, kind: str) -> Tensor:
    whole = torch.empty(ranks[0][name]["shape"], dtype=torch.float32)
    for told in ranks:
        for here, there in told[name]["slices"]:
            whole[_slices(there)] = told[name][kind][_slices(here)]
    return whole


def _slices(bounds: list[list[int | None]]) -> tuple[slice, ...]:
    return tuple(slice(start, stop) for start, stop in bounds)


def _parts(name: str, targets: dict[str, Any]) -> Iterator[tuple[str, slice]]:
    """The parameters of transformers in nanotron's `name`, with their rows; a tied output layer is the embedding."""
    first = 0
    for part in transformers_names(name):
        if part not in targets:
            continue
        rows = targets[part].shape[0]
        yield part, slice(first, first + rows)
        first += rows
