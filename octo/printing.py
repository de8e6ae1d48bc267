"""What verbs print: tables for people, one JSON value with `--json`, the ID of what was built as the last line."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, assert_never

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    import pyarrow as pa

    from manifests.manifest import Manifest
    from manifests.runs import RunDirectory

RowsFormat = Literal["table", "csv", "json", "parquet"]
"""How `octo sql` prints rows; each has a case in `write`."""


def identity(made: "Manifest | RunDirectory") -> dict[str, Any]:
    """What every verb that builds says of what it built, as the first keys of its JSON."""
    from manifests.manifest import Manifest

    if isinstance(made, Manifest):
        return {"id": made.id, "kind": made.kind, "name": made.name, "version": made.version, "digest": made.digest}
    return {"id": made.id, "kind": made.record["kind"], "status": made.status}


def show_made(
    made: "Manifest | RunDirectory", json_: bool, **tables: "tuple[str, pa.Table | list[dict[str, Any]]]"
) -> None:
    """What a verb built: tables (title and rows by name) and its ID last; or one object with all of it."""
    rows = {name: table if isinstance(table, list) else table.to_pylist() for name, (_, table) in tables.items()}
    if json_:
        print_json(identity(made) | rows)
        return
    for name, (title, table) in tables.items():
        show_rows(rows[name], title, columns=None if isinstance(table, list) else table.column_names)
    print(made.id)


def show_plan(rows: list[dict[str, Any]], what: str, json_: bool) -> None:
    if json_:
        print_json({"plan": rows})
    else:
        show_rows(rows, f"Plan of {what}")


def show_path(path: Path, json_: bool) -> None:
    if json_:
        print_json({"path": str(path)})
    else:
        print(path)


def print_json(value: Any) -> None:
    """One line; NaN and infinities, which JSON lacks, as null."""
    from manifests.runs import without_nan

    print(json.dumps(without_nan(value), ensure_ascii=False, default=str))


def summary_row(run: "RunDirectory") -> dict[str, Any]:
    return {"run": run.id, "status": run.status} | {
        key: value for key, value in run.record.get("summary", {}).items() if not isinstance(value, dict | list)
    }


def show(rows: "pa.Table", title: str, json_: bool = False) -> None:
    show_rows(rows.to_pylist(), title, json_, rows.column_names)


def show_rows(rows: list[dict[str, Any]], title: str, json_: bool = False, columns: list[str] | None = None) -> None:
    """Rows as a table for people, or as JSON."""
    if json_:
        print_json(rows)
        return
    columns = columns or (list(rows[0]) if rows else [])
    table = Table()
    for column in columns:
        numeric = all(isinstance(row[column], int | float) or row[column] is None for row in rows)
        table.add_column(column, justify="right" if numeric and rows else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell(row[column])) for column in columns))
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(Text(title, style="bold"))
    console.print(table)


def cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.4g}"
        case _:
            return str(value)


def write(rows: "pa.Table", format: RowsFormat) -> None:
    """Rows on stdout in one of the formats of `octo sql`."""
    import pyarrow as pa
    import pyarrow.csv as csv
    import pyarrow.parquet as pq

    match format:
        case "table":
            show(rows, f"{rows.num_rows:,} row{'s' * (rows.num_rows != 1)}")
        case "json":
            show(rows, "", json_=True)
        case "csv":
            csv.write_csv(rows, sys.stdout.buffer)
        case "parquet":
            sink = pa.BufferOutputStream()
            pq.write_table(rows, sink)
            sys.stdout.buffer.write(sink.getvalue())
        case _:
            assert_never(format)


def show_run(run: "RunDirectory") -> None:
    """A curation as it stands now; its ID last."""
    from curation.execution.status import status_of

    now = status_of(run)
    for title, rows in now.tables.items():
        if rows:
            show_rows(rows, title)
    for title, said in now.failures.items():
        print(f"\n{title}\n{said}")
    print(f"\n{now.next}")
    print(run.id)
