"""`octo runs …`: inspect runs."""

import json
from typing import Annotated

import typer

from octo.commands.groups import runs_app
from octo.commands.options import JsonOption, StoreOption, open_store
from octo.printing import print_json, show, show_rows, show_run


@runs_app.command(name="list")
def runs_list(json_: JsonOption = False, store: StoreOption = None) -> None:
    """List every run with kind, status, manifests and parent."""
    from manifests import catalog

    listing = "SELECT run, kind, status, backend, manifests, parent, created, finished FROM runs"
    show(catalog.query(open_store(store), listing), "Runs", json_)


@runs_app.command(name="show")
def runs_show(
    run: Annotated[str, typer.Argument(help="Run ID or unique prefix.")],
    json_: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Show the status of a curation: jobs, tasks, what failed and why. For other runs, or with --json, the record."""
    from manifests.runs import load_run

    found = load_run(open_store(store), run)
    if json_:
        print_json(found.record)
    elif found.record["kind"] == "curate":
        show_run(found)
    else:
        print(json.dumps(found.record, indent=1, ensure_ascii=False))


@runs_app.command(name="compare")
def runs_compare(
    first: Annotated[str, typer.Argument(help="An evaluation; a run with held-out loss.")],
    second: Annotated[str, typer.Argument(help="Another, on the same benchmarks or texts.")],
    flips: Annotated[int, typer.Option("--flips", min=0, help="Number of flipped items to list.")] = 20,
    json_: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Compare two evaluations item by item: the difference with its interval, and the items that flipped.

    Of runs that were measured on the same held-out texts, also the bits per byte at the last step; these may be
    training or RL runs.
    """
    from evaluation.compare import compare
    from evaluation.held_out.compare import compare_losses
    from manifests.errors import UserError
    from manifests.runs import load_run

    home = open_store(store)
    runs = load_run(home, first), load_run(home, second)
    losses, found = compare_losses(home, *runs), None
    try:
        found = compare(*runs)
    except UserError:
        if not losses:
            raise
    if json_:
        print_json((vars(found) if found else {}) | ({"bits_per_byte": losses} if losses else {}))
        return
    if losses:
        show_rows(losses, f"{first} → {second}, held-out bits per byte")
    if not found:
        return
    show_rows(found.benchmarks, f"{first} → {second}, by benchmark")
    if found.groups:
        show_rows(found.groups, "By level and subject")
    if found.flips and flips:
        show_rows(found.flips[:flips], f"Items that flipped, {min(flips, len(found.flips))} of {len(found.flips)}")
