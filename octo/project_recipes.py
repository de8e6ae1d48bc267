"""The recipes that the project brings along: those of the quickstart, and those of verbs that were given none."""

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
FOLDER = HERE / "recipes" if (HERE / "recipes").is_dir() else HERE.parent / "recipes"
"""Within the package when installed from a wheel, beside it in a clone."""


def quickstart_recipe(name: str, model: type) -> Any:
    """A recipe of recipes/quickstart; the tokenizer lies beside it, wherever the command is run."""
    from manifests.recipe import load

    folder = FOLDER / "quickstart"
    overrides = [f"tokenizer={json.dumps(str(folder / 'tokenizer'))}"] if "tokenizer" in model.model_fields else []
    return load(folder / f"{name}.yaml", model, overrides)
