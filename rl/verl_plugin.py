"""What every process of verl 0.9.1 loads with `import verl`, through verl's own hook (VERL_USE_EXTERNAL_MODULES).

No file of verl is copied or changed. On any machine, checkpoints are read as tensors and plain values only, where verl
would unpickle them. Where there is no CUDA the launcher sets VERL_PLATFORM=cpu, and then this module

1. registers the platform `cpu`: what verl asks about devices, memory and process groups; 2. registers a rollout that
samples with transformers, `rl.verl_rollout`; 3. makes process groups use gloo, and leaves offloaded weights in unpinned
memory, because pinning needs a GPU driver.

Where there is CUDA none of the three happens. Leaves out critics, FSDP1 and Megatron on the CPU: what is missing
raises.
"""

import importlib
import os
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.distributed.fsdp import CPUOffloadPolicy
from verl.plugin.platform import PlatformBase, PlatformRegistry  # type: ignore[import-not-found]

from rl.verl_config import CPU_ROLLOUT


def install() -> None:
    """Done once, when verl is imported."""
    _unpickle_no_file()
    if os.environ.get("VERL_PLATFORM") == "cpu":
        PlatformRegistry.register(platform="cpu")(Platform)
        _register_rollout()
        _use_gloo()
        _pin_nothing()


def _unpickle_no_file() -> None:
    """Load files with `weights_only`; data that actors exchange in memory is unchanged."""
    stock: Callable[..., Any] = torch.load
    # the state of numpy's generator lies in a checkpoint of verl
    rebuild: Any = importlib.import_module("numpy._core.multiarray")._reconstruct
    torch.serialization.add_safe_globals([rebuild, np.ndarray, np.dtype, type(np.dtype(np.uint32))])

    def load(file: Any, *arguments: Any, **named: Any) -> Any:
        if isinstance(file, str | os.PathLike):
            named["weights_only"] = True
        return stock(file, *arguments, **named)

    torch.load = load


# -- 1: the platform -----------------------------------------------------------------------------------------------


def _nothing(*_: Any, **__: Any) -> None:
    """Where there is nothing to do."""


def _device_module() -> types.ModuleType:
    """torch.cpu with the functions of torch.cuda that verl calls."""
    module = types.ModuleType("torch_cpu")
    vars(module).update({name: value for name, value in vars(torch.cpu).items() if not name.startswith("__")})
    for name in ("empty_cache", "ipc_collect", "synchronize", "set_device", "reset_peak_memory_stats"):
        setattr(module, name, _nothing)
    for name in ("memory_allocated", "memory_reserved", "max_memory_allocated", "max_memory_reserved"):
        setattr(module, name, lambda *_, **__: 0)
    vars(module).update(
        is_available=lambda: False,  # tensors that are loaded go to the CPU
        mem_get_info=lambda *_, **__: (0, 0),
        get_device_name=lambda *_: "cpu",
        get_rng_state=lambda *_: torch.get_rng_state(),
        set_rng_state=lambda state, *_: torch.set_rng_state(state),
        manual_seed=torch.manual_seed,
        manual_seed_all=torch.manual_seed,
        current_device=lambda: torch.device("cpu"),
        device_count=lambda: 1,
    )
    return module


class Platform(PlatformBase):
    """The CPU as an entry of verl's table of devices."""

    device_name = vendor_name = "cpu"
    device_module = _device_module()
    set_device = synchronize = set_allocator_settings = empty_cache = _nothing
    profiler_start = profiler_stop = cudart = _nothing

    def is_available(self) -> bool:
        return True

    def is_platform_available(self, use_smi_check: bool = False) -> bool:
        return False  # only where VERL_PLATFORM asks for it

    def current_device(self) -> Any:
        return torch.device("cpu")

    def device_count(self) -> int:
        return 1

    def manual_seed(self, seed: int) -> None:
        torch.manual_seed(seed)

    manual_seed_all = manual_seed

    def get_device_capability(self, device_index: int = 0) -> tuple[None, None]:
        return None, None

    def communication_backend_name(self) -> str:
        return "gloo"

    def visible_devices_envvar(self) -> str:
        return "CUDA_VISIBLE_DEVICES"

    def ray_resource_name(self) -> str:
        return "GPU"  # to Ray a number, which it hands out on any machine

    def ray_resource_options(self, num_gpus: float) -> dict[str, float]:
        return {"num_gpus": num_gpus}

    def ray_noset_envvars(self) -> list[str]:
        return []

    def is_ipc_supported(self) -> bool:
        return False

    @contextmanager
    def nvtx_range(self, msg: str) -> Iterator[None]:
        yield


# -- 2: the rollout ------------------------------------------------------------------------------------------------


def _register_rollout() -> None:
    base: Any = importlib.import_module("verl.workers.rollout.base")
    replica: Any = importlib.import_module("verl.workers.rollout.replica")
    base._ROLLOUT_REGISTRY[(CPU_ROLLOUT, "async")] = "rl.verl_rollout.Adapter"
    replica.RolloutReplicaRegistry.register(CPU_ROLLOUT, lambda: importlib.import_module("rl.verl_rollout").Replica)


# -- 3: process groups and memory ----------------------------------------------------------------------------------


def _use_gloo() -> None:
    """verl requests `cpu:gloo,cpu:gloo`, which torch refuses because a device is named twice."""
    distributed: Any = importlib.import_module("verl.utils.distributed")
    stock: Callable[..., Any] = distributed.initialize_global_process_group_ray

    def initialize(timeout_second: int | None = None, backend: str | None = None) -> Any:
        return stock(timeout_second=timeout_second, backend=backend or "gloo")

    distributed.initialize_global_process_group_ray = initialize


def _pin_nothing() -> None:
    stock = CPUOffloadPolicy.__init__
    CPUOffloadPolicy.__init__ = lambda self, pin_memory=False: stock(self, pin_memory=False)


install()
