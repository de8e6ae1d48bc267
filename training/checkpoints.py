"""Checkpoints: a Hugging Face folder that any tool opens, and beside it the state that exact resume needs.

    config.json  generation_config.json  model.safetensors     the model, as transformers saves it tokenizer.json
    tokenizer_config.json                      identical to those that the run started with resume.pt optimizer and
    random states; only tensors and numbers

Both backends write and read this format, so a run of either can continue a run of the other, at any number of ranks.
`resume.pt` is read with `weights_only=True`: nothing in a store is unpickled. Writing and loading a float32 checkpoint
changes no bit. Leaves out sharded checkpoints: one process writes everything, 12 bytes per weight.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch.optim import Optimizer
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from manifests.errors import UserError

transformers_logging.disable_progress_bar()  # it would draw over ours, at every checkpoint

RESUME = "resume.pt"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


def write_checkpoint(folder: Path, model: Any, optimizer: dict[str, Any], tokenizer: Path) -> None:
    """Fill `folder`. `optimizer` is the state of AdamW over `model.parameters()`, from any engine; `tokenizer` is a
    folder whose tokenizer files are copied unchanged."""
    model.save_pretrained(folder)
    copy_tokenizer(tokenizer, folder)
    random = {"random": torch.get_rng_state()}
    if torch.cuda.is_available():
        random["random_on_gpu"] = torch.cuda.get_rng_state()  # what dropout draws from there
    torch.save({"optimizer": optimizer, **random}, folder / RESUME)


def copy_tokenizer(source: Path, target: Path) -> None:
    """Copy the tokenizer files that `source` has into `target`, byte for byte."""
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)


def load_weights(folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    """The model of a Hugging Face folder on the CPU, its weights as `dtype`; UserError when there is none.

    Rotary frequencies are float32 always. `model.to(torch.bfloat16)` rounds them too, and a token at position 1,000 is
    then rotated by up to 2 radians too much or too little.
    """
    try:
        return AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype=dtype)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"cannot load the model in {folder}: {reason}", "Give a Hugging Face model folder") from error


def load_optimizer(folder: Path, optimizer: Optimizer) -> None:
    """Give `optimizer` the running means of the checkpoint in `folder`; its own settings (betas, decay) stay."""
    state = resume_state(folder)["optimizer"]
    if len(state["state"]) != sum(len(group["params"]) for group in optimizer.param_groups):
        raise UserError(f"the optimizer state in {folder} belongs to another model", "Set carry_optimizer: false")
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state["state"], "param_groups": groups})


def load_random_state(folder: Path) -> None:
    """Set torch's random state, and a GPU's if there was one, to that of the checkpoint."""
    state = resume_state(folder, mmap=True)
    torch.set_rng_state(state["random"])
    if torch.cuda.is_available() and "random_on_gpu" in state:
        torch.cuda.set_rng_state(state["random_on_gpu"])


def resume_state(folder: Path, mmap: bool = False) -> dict[str, Any]:
    """What `resume.pt` holds, with tensors mapped from the file on demand if `mmap`; UserError when there is none."""
    if not (folder / RESUME).is_file():
        raise UserError(f"{folder} has no {RESUME}", "Set carry_optimizer: false, or start from a run of this project")
    return torch.load(folder / RESUME, map_location="cpu", weights_only=True, mmap=mmap)


def write_tokenizer(folder: Path, tokenizer_json: Path, eos_id: int) -> None:
    """Make `folder` a tokenizer folder of the bare file `tokenizer_json`, with the configuration transformers needs."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(tokenizer_json, folder / "tokenizer.json")
    eos = Tokenizer.from_file(str(tokenizer_json)).id_to_token(eos_id)
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": eos}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
