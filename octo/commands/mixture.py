"""`octo mix`: mixtures and prompts."""

from pathlib import Path
from typing import Annotated, Any

import typer

from octo.commands.groups import app
from octo.commands.options import JsonOption, Overrides, PlanOption, StoreOption, open_store
from octo.printing import identity, print_json, show_rows


@app.command()
def mix(
    recipe: Annotated[Path, typer.Argument(help="YAML recipe of a mixture, of prompts, or of a grid of mixtures.")],
    overrides: Overrides = None,
    cell: Annotated[str | None, typer.Option("--cell", help="One mixture of a grid; by default all.")] = None,
    extend: Annotated[str | None, typer.Option("--extend", help="Mixture to extend; its first steps are kept.")] = None,
    step: Annotated[
        int | None, typer.Option("--from-step", min=1, help="With --extend: number of steps that are kept.")
    ] = None,
    plan: PlanOption = False,
    json_: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Select documents by SQL, apportion a budget exactly, and freeze tokens and order as a manifest."""
    from manifests.errors import UserError
    from manifests.manifest import resolve
    from mixtures import mix as mixing
    from mixtures.config import load_mixes
    from mixtures.extend import start_after

    home = open_store(store)
    if (extend is None) != (step is None):
        raise UserError("--extend and --from-step go together", "Give --extend MIXTURE --from-step N")
    told = []
    for config in load_mixes(recipe, overrides or [], cell):
        batch = config.budget.batch if config.budget else None
        start = start_after(resolve(home, extend), step, batch) if extend and step else None
        title, rows, aside = f"Plan of {config.name}@{config.version}", [], []

        def show_planned(
            planned: Any,
            title: str = title,
            rows: list[dict[str, Any]] = rows,
            aside: list[dict[str, Any]] = aside,
        ) -> None:
            rows += planned.rows()
            aside.extend(planned.held_out.by_source() if planned.held_out else [])
            if not json_:
                show_rows(rows, title)
            if aside and not json_:
                show_rows(aside, "Set aside by hold_out")

        if plan:
            show_planned(mixing.plan(home, config, start))
            told.append({"name": config.name, "version": config.version, "plan": rows} | _held_out(aside))
            continue
        made = mixing.mix(home, config, start, show_planned)
        told.append(identity(made) | {"plan": rows} | _held_out(aside))
        if not json_:
            print(made.id)
    if json_:
        print_json(told)


def _held_out(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"held_out": rows} if rows else {}
