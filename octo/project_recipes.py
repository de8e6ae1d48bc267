"""The recipes of the quickstart, which the project brings along."""

import json
from typing import Any


def quickstart_recipe(name: str, model: type) -> Any:
    """A recipe of recipes/quickstart; the tokenizer lies beside it, wherever the command is run."""
    from manifests.recipe import load
    from manifests.shipped import shipped

    folder = shipped("recipes/quickstart")
    overrides = [f"tokenizer={json.dumps(str(folder / 'tokenizer'))}"] if "tokenizer" in model.model_fields else []
    return load(folder / f"{name}.yaml", model, overrides)
