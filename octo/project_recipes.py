"""The recipes of the quickstart, which are installed with the project: loaded, and copied for a user to change."""

import json
from pathlib import Path
from typing import Any

FOLDER = "recipes/quickstart"

README = """\
# Recipes to start from

Run these commands in this folder. RUN stands for the run ID that `octo train` or `octo rl` prints last.

    octo curate corpus.yaml
    octo mix stable.yaml && octo mix prompts.yaml
    octo train quickstart-stable@1 train-stable.yaml
    octo rl quickstart-prompts@1 rl.yaml --from RUN
    octo eval RUN eval.yaml --benchmark arithmetic@1

Change a recipe and give it another `name` or `version`: what was built before stays as it is. With `--plan` these
commands print what they would do.
"""


def quickstart_recipe(name: str, model: type) -> Any:
    """A recipe of recipes/quickstart, with the path of the tokenizer beside it, from any working directory."""
    from manifests.recipe import load
    from manifests.shipped import shipped

    folder = shipped(FOLDER)
    overrides = [f"tokenizer={json.dumps(str(folder / 'tokenizer'))}"] if "tokenizer" in model.model_fields else []
    return load(folder / f"{name}.yaml", model, overrides)


def copy_recipes(folder: Path) -> list[Path]:
    """Write the quickstart's recipes and a README into `folder`; the files written. UserError, and nothing is written,
    when one of them is there already."""
    from manifests.errors import UserError
    from manifests.shipped import shipped

    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is not a folder", "Give another name: octo init FOLDER")
    texts = {path.name: path.read_text(encoding="utf-8") for path in sorted(shipped(FOLDER).glob("*.yaml"))}
    texts["README.md"] = README
    if taken := [name for name in texts if (folder / name).exists() or (folder / name).is_symlink()]:
        hint = "Give another folder: octo init FOLDER"
        raise UserError(f"{folder} already has {', '.join(taken)}; nothing was written", hint)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        with (folder / name).open("x", encoding="utf-8") as file:
            file.write(text)
    return [folder / name for name in texts]
