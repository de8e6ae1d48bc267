"""`octo init`: recipes to start from, in a folder of the user's own."""

from pathlib import Path
from typing import Annotated

import typer

from octo.commands.groups import app
from octo.commands.options import JsonOption
from octo.printing import print_json


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Folder to write to; it is made if it is missing.")] = Path("."),
    json_: JsonOption = False,
) -> None:
    """Copy the quickstart's recipes into a folder, to change and run there; files that exist are never overwritten."""
    from octo.project_recipes import copy_recipes

    written = copy_recipes(folder)
    if json_:
        print_json({"path": str(folder), "written": [str(path) for path in written]})
        return
    for path in written:
        print(path)
