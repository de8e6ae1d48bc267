"""The files that make a Hugging Face folder the same model, and their checksums, which enter the identity of a run.

Leaves out everything else that may lie in such a folder: cards, optimizer states, other formats of the same weights.
"""

from pathlib import Path

from manifests.errors import UserError
from manifests.store import file_sha256


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of weights, configurations and tokenizer, by file name; what is missing is left out."""
    files = [*folder.glob("*.safetensors"), *folder.glob("*config.json"), *folder.glob("tokenizer.json")]
    return {path.name: file_sha256(path) for path in sorted(files)}


def check_folder(folder: Path) -> None:
    """UserError for a folder that lacks the model's configuration or its tokenizer."""
    for name in ("config.json", "tokenizer.json"):
        if not (folder / name).is_file():
            raise UserError(f"{folder} is no model folder: {name} is missing", "Give a checkpoint or an export")
