"""The recipes of the quickstart, which are installed with the project."""

import json
from typing import Any


def quickstart_recipe(name: str, model: type) -> Any:
    """A recipe of recipes/quickstart, with the path of the tokenizer beside it, from any working directory."""
    from manifests.recipe import load
    from manifests.shipped import shipped

    folder = shipped("recipes/quickstart")
    overrides = [f"tokenizer={json.dumps(str(folder / 'tokenizer'))}"] if "tokenizer" in model.model_fields else []
    return load(folder / f"{name}.yaml", model, overrides)
