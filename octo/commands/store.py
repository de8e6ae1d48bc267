"""Commands for a whole store: `sql`, `ui`, `report`, `publish`, `pull`."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from octo.commands.groups import app
from octo.commands.options import JsonOption, ManifestArgument, ParentsOption, StoreOption, one_of, open_store
from octo.printing import RowsFormat, show_made, show_path, write

if TYPE_CHECKING:
    from manifests.store import Store


@app.command()
def sql(
    query: Annotated[
        str | None,
        typer.Argument(help="One SELECT; if it is left out, read from stdin, or from a prompt on a terminal."),
    ] = None,
    format: Annotated[str, typer.Option("--format", help="table, csv, json or parquet.")] = "table",
    json_: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Query the whole store in SQL (DuckDB, read-only). `SHOW TABLES` lists the views; docs/sql.md explains them."""
    from manifests.catalog import Catalog
    from octo.sql_prompt import prompt

    shape: RowsFormat = one_of(format, RowsFormat)
    if query is None and not sys.stdin.isatty():
        query = sys.stdin.read()
    with Catalog(open_store(store)) as catalog:
        for path in catalog.damaged:
            print(f"octo: record {path} is damaged and left out", file=sys.stderr)
        if query is None:
            prompt(catalog)
        else:
            write(catalog.query(query), "json" if json_ else shape)


@app.command()
def ui(
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; other than loopback it requires a token.")
    ] = ("127.0.0.1"),
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 selects a free one.")] = 8321,
    json_: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Browse a store in a web browser, read-only: manifests, runs, documents, SQL, live curves of runs."""
    from manifests.extras import need

    need("ui", "octo ui")
    from octo.web.server import serve

    def say(address: str) -> None:
        print(json.dumps({"address": address}) if json_ else address, flush=True)

    serve(open_store(store), host, port, say)


@app.command()
def report(
    refs: Annotated[list[str], typer.Argument(help="Manifests and runs, in the order of the page.")],
    output: Annotated[Path | None, typer.Option("--output", help="File to write; by default in the store.")] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Plot score and response length of several runs over their steps.")
    ] = False,
    json_: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Write one self-contained HTML page with plots, for manifests and runs."""
    from octo.report.compare_runs import compare as write_comparison
    from octo.report.write import report as write_report

    home = open_store(store)
    if compare:
        show_path(write_comparison(home, refs, output), json_)
    else:
        show_path(write_report(home, refs, output), json_)


@app.command()
def publish(
    ref: ManifestArgument,
    target: Annotated[
        str, typer.Argument(help="Store to copy to: a folder, s3://BUCKET/STORE, hf://datasets/ORG/NAME/STORE.")
    ],
    parents: ParentsOption = False,
    json_: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Copy a manifest to another store: what is missing there, by checksum. Repeat the command to resume."""
    copy_between(open_store(store), ref, open_store(target), parents, json_)


@app.command()
def pull(
    ref: ManifestArgument,
    source: Annotated[
        str, typer.Argument(help="Store to copy from: a folder, or an fsspec URL such as hf://… or s3://…")
    ],
    parents: ParentsOption = False,
    json_: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Copy a manifest from another store: what is missing here, by checksum. Repeat the command to resume."""
    copy_between(open_store(source), ref, open_store(store), parents, json_)


def copy_between(source: "Store", ref: str, target: "Store", parents: bool, json_: bool) -> None:
    from manifests.exports.exchange import copy, lacking

    copied = copy(source, ref, target, parents)
    made = copied[-1].manifest
    if absent := lacking(made):
        missing = f"{target.url} lacks {', '.join(absent)}, from which it was made"
        print(f"octo: {missing}; pass --parents to copy the parents too", file=sys.stderr)
    show_made(made, json_, copied=(f"{source.url} → {target.url}", [one.row() for one in copied]))
