"""Lets nanotron (git main, 7bc99232) run where there is no CUDA. Where there is, `install` does nothing.

No file of nanotron is copied or changed. Before its first import, `install`

1. registers plain torch functions instead of the CUDA-only packages that it imports: flash_attn, grouped_gemm,
   and its own two attention modules written in Triton;
2. loads every `nanotron.*` module through a hook that reads the string "cuda" as "cpu": the device is written out;
3. replaces the functions that talk to torch.cuda or nccl.

docs/log.md says what happens without each of them. Promises the same numbers as an independent transformers loop,
within 1e-6 in float32. Leaves out context and expert parallelism, inference, and pipeline stages: what is missing
raises.
"""

import ast
import importlib
import importlib.abc
import importlib.machinery
import os
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F


def install() -> bool:
    """Make nanotron importable on this machine; does nothing and returns False where CUDA is available."""
    if torch.cuda.is_available():
        return False
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}.items():
        os.environ.setdefault(name, value)
    _install_stand_ins()
    sys.meta_path.insert(0, _Finder())
    _patch_torch()
    _patch_nanotron()
    return True


# -- 1: stand-ins for CUDA-only packages ---------------------------------------------------------------------------
# Shapes: b sequences of s tokens, h heads of width d; T tokens of all sequences end to end.


def flash_attn_varlen_kvpacked_func(
    q_Thd: Tensor, kv_T2hd: Tensor, ends_q: Tensor, ends_k: Tensor, max_q: int, max_k: int, dropout: float = 0.0,
    softmax_scale: float | None = None, causal: bool = False, return_attn_probs: bool = False, **_: Any,
) -> Tensor:  # fmt: skip
    """Causal attention within each of the sequences that end at `ends_q`, a cumulative count from 0, [T, h, d]."""
    if dropout or not causal or return_attn_probs or not torch.equal(ends_q, ends_k):
        raise NotImplementedError("nanotron's training asks for plain causal self-attention")
    lengths = (ends_q[1:] - ends_q[:-1]).tolist()
    if len(set(lengths)) == 1:  # every sequence full: one call for all
        shape = (len(lengths), -1)
        q, k, v = (x.unflatten(0, shape) for x in (q_Thd, kv_T2hd[:, 0], kv_T2hd[:, 1]))
        return _attention(q, k, v, softmax_scale)
    cut = zip(q_Thd.split(lengths), kv_T2hd[:, 0].split(lengths), kv_T2hd[:, 1].split(lengths), strict=True)
    return torch.cat([_attention(q[None], k[None], v[None], softmax_scale) for q, k, v in cut])


def _attention(q_bshd: Tensor, k_bshd: Tensor, v_bshd: Tensor, scale: float | None) -> Tensor:
    """[b·s, h, d]."""
    q, k, v = (x.transpose(1, 2) for x in (q_bshd, k_bshd, v_bshd))
    out = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=q.shape[1] != k.shape[1])
    return out.transpose(1, 2).flatten(0, 1)


class RotaryEmbedding(torch.nn.Module):
    """flash_attn's rotary encoding of queries and keys, halves side by side. nanotron's subclass fills the cache."""

    inv_freq: Tensor
    _cos_cached: Tensor
    _sin_cached: Tensor

    def __init__(
        self, dim: int, base: float = 1e4, interleaved: bool = False, scale_base: float | None = None,
        pos_idx_in_fp32: bool = True, device: Any = None,
    ):  # fmt: skip
        super().__init__()
        if interleaved or scale_base:
            raise NotImplementedError("only the layout of transformers, without xPos")
        self.dim, self.base, self.scale, self.pos_idx_in_fp32 = dim, float(base), None, pos_idx_in_fp32
        self.register_buffer("inv_freq", self._compute_inv_freq(device), persistent=False)
        self._seq_len_cached, self._cos_cached, self._sin_cached = 0, None, None  # type: ignore[assignment]

    def _compute_inv_freq(self, device: Any = None) -> Tensor:
        return 1.0 / (self.base ** (torch.arange(0, self.dim, 2, device=device, dtype=torch.float32) / self.dim))

    def _update_cos_sin_cache(self, seqlen: int, device: Any = None, dtype: Any = None) -> None:
        raise NotImplementedError("nanotron's subclass has it")

    def forward(
        self, q_bshd: Tensor, kv_bs2hd: Tensor, seqlen_offset: int = 0, max_seqlen: int | None = None
    ) -> tuple[Tensor, Tensor]:
        self._update_cos_sin_cache(max_seqlen or q_bshd.shape[1], device=q_bshd.device, dtype=q_bshd.dtype)
        turned = [_rotate(x, self._cos_cached, self._sin_cached) for x in (q_bshd, kv_bs2hd[:, :, 0])]
        return turned[0], torch.stack((turned[1], kv_bs2hd[:, :, 1]), dim=2)


def _rotate(x_bshd: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """`cos` and `sin` are [s or more, d / 2]."""
    cos, sin = cos[: x_bshd.shape[1], None], sin[: x_bshd.shape[1], None]
    one, two = x_bshd.chunk(2, dim=-1)
    return torch.cat((one * cos - two * sin, one * sin + two * cos), dim=-1)


def layer_norm_fn(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float = 1e-6, **rest: Any) -> Tensor:
    """flash_attn's RMSNorm, in float32."""
    if bias is not None or not rest.get("is_rms_norm") or rest.get("residual") is not None:
        raise NotImplementedError("only RMSNorm")
    wide = x.float()
    return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps) * weight.float()).to(x.dtype)


def _needs_cuda(name: str) -> Callable[..., Any]:
    def refuse(*_: Any, **__: Any) -> Any:
        raise NotImplementedError(f"{name} needs a CUDA device")

    return refuse


def _install_stand_ins() -> None:
    refused = {
        "flash_attn.bert_padding": ("unpad_input", "pad_input", "index_first_axis"),
        "flash_attn.flash_attn_interface": ("flash_attn_func", "flash_attn_varlen_func", "flash_attn_with_kvcache"),
        "grouped_gemm.ops": ("gmm",),
        "nanotron.nn.ring_attention": ("ring_flash_attn_varlen_func",),
        "nanotron.nn.llama3_ring_attention": (
            "llama3_flash_attn_varlen_qkvpacked_func",
            "llama3_flash_attn_varlen_kvpacked_func",
            "llama3_flash_attn_prepare_cu_seqlens",
        ),
    }
    real = {
        "flash_attn.modules.mha": {"flash_attn_varlen_kvpacked_func": flash_attn_varlen_kvpacked_func},
        "flash_attn.layers.rotary": {"RotaryEmbedding": RotaryEmbedding, "apply_rotary_emb": _needs_cuda("flash_attn")},
        "flash_attn.ops.triton.layer_norm": {"layer_norm_fn": layer_norm_fn},
    }
    for package in ("flash_attn", "flash_attn.layers", "flash_attn.modules", "flash_attn.ops", "flash_attn.ops.triton"):
        _register(package, {"__version__": "2.6.3"})
    _register("grouped_gemm", {})
    for name, functions in refused.items():
        _register(name, {function: _needs_cuda(function) for function in functions})
    for name, functions in real.items():
        _register(name, functions)


def _register(name: str, members: dict[str, Any]) -> None:
    module = types.ModuleType(name)
    vars(module).update(members)
    module.__spec__ = importlib.machinery.ModuleSpec(name, loader=None, is_package=True)
    module.__path__ = []
    sys.modules[name] = module
    parent, _, child = name.rpartition(".")
    if parent in sys.modules:
        setattr(sys.modules[parent], child, module)


# -- 2: "cuda" is read as "cpu" ------------------------------------------------------------------------------------


class _CudaIsCpu(ast.NodeTransformer):
    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return ast.copy_location(ast.Constant("cpu"), node) if node.value == "cuda" else node


class _Loader(importlib.machinery.SourceFileLoader):
    """Compiles each module from its changed source; a .pyc would hold the unchanged one."""

    def get_code(self, fullname: str) -> types.CodeType:
        path = self.get_filename(fullname)
        tree = ast.parse(self.get_data(path), path)
        if not fullname.endswith(".timers"):  # there "cuda" names a kind of timer
            tree = ast.fix_missing_locations(_CudaIsCpu().visit(tree))
        return compile(tree, path, "exec", dont_inherit=True)


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        if not fullname.startswith("nanotron."):
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


# -- 3: functions that talk to torch.cuda or nccl ------------------------------------------------------------------


def _patch_torch() -> None:
    torch.cuda.reset_peak_memory_stats = lambda *_, **__: None  # called for every line about memory
    torch.cuda.current_device = lambda: "cpu"  # type: ignore[assignment,return-value]  # buffers of tensor parallelism


def _patch_nanotron() -> None:
    nanotron_distributed: Any = importlib.import_module("nanotron.distributed")  # not before the hook is in place
    nanotron_distributed.initialize_torch_distributed = _initialize_gloo
    importlib.import_module("nanotron.parallel.context").ParallelContext.set_device = lambda _: None
    # gloo's mean divides in place, which a parameter that wants a gradient allows only without one
    nanotron_distributed.all_reduce = torch.no_grad()(dist.all_reduce)
    nanotron_distributed.all_reduce_coalesced = _waiting(nanotron_distributed.all_reduce_coalesced)


def _initialize_gloo() -> bool:
    """Join the ranks that torchrun started, or form a group of one with a store in memory, without opening a port."""
    if "MASTER_ADDR" in os.environ:
        dist.init_process_group("gloo", init_method="env://")
    else:
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)  # pyright: ignore
    return True


def _waiting(reduce: Callable[..., Any]) -> Callable[..., Any]:
    """A `reduce` that has finished when it returns. nanotron keeps only the handle of the last bucket: under nccl one
    stream orders them, under gloo nothing does, and gradients would silently be wrong."""

    def reduce_and_wait(*arguments: Any, **named: Any) -> Any:
        work = reduce(*arguments, **named)
        if work is not None:
            work.wait()
        return work

    return reduce_and_wait
