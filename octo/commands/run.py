"""`octo runs …`: inspect and cancel runs."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from octo.commands.groups import runs_app
from octo.commands.options import JsonOption, StoreOption, open_store
from octo.printing import identity, print_json, show, show_rows, show_run

RunArgument = Annotated[str, typer.Argument(help="Run ID or unique prefix.")]
LOGS_SHOWN, LINES_SHOWN = 3, 20

if TYPE_CHECKING:
    from manifests.runs import RunDirectory
    from manifests.store import Store


@runs_app.command(name="list")
def runs_list(json_: JsonOption = False, store: StoreOption = None) -> None:
    """List every run with kind, status, manifests and parent."""
    from manifests import catalog

    listing = "SELECT run, kind, status, backend, manifests, parent, created, finished FROM runs"
    show(catalog.query(open_store(store), listing), "Runs", json_)


@runs_app.command(name="show")
def runs_show(
    run: RunArgument,
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


@runs_app.command(name="cancel")
def runs_cancel(run: RunArgument, json_: JsonOption = False, store: StoreOption = None) -> None:
    """End all work on a run: its jobs on Slurm, or its process on this machine. The same command resumes the run."""
    from manifests.runs import load_run
    from octo.run_control import cancel

    found = load_run(open_store(store), run)
    said = cancel(found)
    found.reload()
    print_json(identity(found) | {"said": said}) if json_ else print(said)


@runs_app.command(name="logs")
def runs_logs(run: RunArgument, json_: JsonOption = False, store: StoreOption = None) -> None:
    """Show where the processes and jobs of a run wrote what they printed, and the last lines of the newest logs."""
    from manifests.errors import in_one_line
    from manifests.progress import warn
    from manifests.runs import load_run
    from octo.run_control import last_lines, logs_of, why_none

    found = load_run(open_store(store), run)
    paths = logs_of(found)
    if json_:
        print_json([{"path": str(path), "lines": last_lines(path, LINES_SHOWN)} for path in paths])
        return
    if not paths:
        warn(why_none(found))
    for path in paths[:-LOGS_SHOWN]:
        print(path)
    for path in paths[-LOGS_SHOWN:]:
        print(f"\n{path}", *map(in_one_line, last_lines(path, LINES_SHOWN)), sep="\n")


@runs_app.command(name="compare")
def runs_compare(
    groups: Annotated[
        list[str],
        typer.Argument(
            help="Two evaluations; or two or more groups of runs, RUN,RUN,RUN or NAME=RUN,RUN,RUN, the first of which "
            "is the control."
        ),
    ],
    flips: Annotated[int, typer.Option("--flips", min=0, help="Of two evaluations, the flipped items to list.")] = 20,
    pairs: Annotated[
        bool, typer.Option("--pairs", help="Compare all pairs of groups, not each with the first.")
    ] = False,
    json_: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Compare two evaluations item by item, or groups of runs by their means over seeds, with intervals.

    Groups whose runs share stems (runs that they started from) are compared within stems. p_holm is corrected for the
    number of comparisons of an outcome; the jointly_ interval holds in all of them at once.
    """
    from evaluation.compare_groups import compare_groups, groups_of

    home = open_store(store)
    found = groups_of(home, groups)
    are_two = len(found) == 2 and all(len(group.runs) == 1 for group in found)
    if are_two and _compare_two(home, found[0].runs[0], found[1].runs[0], flips, json_):
        return
    compared = compare_groups(home, found, pairs)
    if json_:
        print_json(vars(compared))
        return
    show_rows(compared.means, "Means over runs")
    corrected = "all pairs" if pairs else f"each with {found[0].name}"
    show_rows(compared.differences, f"Differences, second - first, {corrected}")


def _compare_two(home: "Store", first: "RunDirectory", second: "RunDirectory", flips: int, json_: bool) -> bool:
    """Compare two evaluations item by item, and two runs by their bits per byte on the same held-out texts; whether
    there was anything to compare so."""
    from evaluation.compare import compare
    from evaluation.held_out.compare import compare_losses
    from manifests.errors import UserError

    losses, found = compare_losses(home, first, second), None
    try:
        found = compare(first, second)
    except UserError:
        if not losses and {first.record["kind"], second.record["kind"]} == {"eval"}:
            raise
    if not losses and not found:
        return False
    if json_:
        print_json((vars(found) if found else {}) | ({"bits_per_byte": losses} if losses else {}))
        return True
    if losses:
        show_rows(losses, f"{first.id} → {second.id}, held-out bits per byte")
    if not found:
        return True
    show_rows(found.benchmarks, f"{first.id} → {second.id}, by benchmark")
    if found.groups:
        show_rows(found.groups, "By level and subject")
    if found.flips and flips:
        show_rows(found.flips[:flips], f"Items that flipped, {min(flips, len(found.flips))} of {len(found.flips)}")
    return True
