"""What a notebook shows: a manifest that answers SQL, the rows of a query for polars, pandas or Arrow, tables in HTML.

`Opened` is what `manifests.open` returns. `Rows` holds an Arrow table; every library that reads Arrow's C stream
(polars, pandas, DuckDB) reads it directly. Loads DuckDB, polars and pandas only when they are needed. Leaves out plots:
`octo report` has them.
"""

import html
import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from manifests.errors import UserError
from manifests.manifest import Manifest, resolve
from manifests.store import Store

if TYPE_CHECKING:
    import pandas
    import polars

ROWS_SHOWN, CHARACTERS_SHOWN = 20, 200
"""Rows, and characters of a cell, in HTML."""


@dataclass(frozen=True)
class Rows:
    """The rows of a query."""

    table: pa.Table

    def arrow(self) -> pa.Table:
        """As a pyarrow table, without a copy."""
        return self.table

    def pl(self) -> "polars.DataFrame":
        """As a polars frame, without a copy. UserError where polars is not installed."""
        return _library("polars").from_arrow(self.table)

    def df(self) -> "pandas.DataFrame":
        """As a pandas frame. UserError where pandas is not installed."""
        _library("pandas")
        return self.table.to_pandas()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Arrow's C stream interface."""
        return self.table.__arrow_c_stream__(requested_schema)

    def __len__(self) -> int:
        return self.table.num_rows

    def __repr__(self) -> str:
        return f"{len(self):,} rows: {', '.join(self.table.column_names)}"

    def _repr_html_(self) -> str:
        shown = html_table(self.table.column_names, self.table.slice(0, ROWS_SHOWN).to_pylist())
        more = f"<p>{ROWS_SHOWN} of {len(self):,} rows</p>" if len(self) > ROWS_SHOWN else ""
        return shown + more


class Opened(Manifest):
    """A manifest in a notebook."""

    def sql(self, query: str, parameters: list[Any] | None = None) -> Rows:
        """The rows of one SELECT over what this manifest holds: the views of docs/sql.md (`documents`, `texts`, …),
        limited to its rows and to the runs that were launched with it. `parameters` are $1, $2, … Read-only; UserError
        for anything refused or wrong."""
        from manifests.catalog import Catalog  # noqa: PLC0415 - loads DuckDB

        with Catalog(self.store, self) as catalog:
            return Rows(catalog.query(query, parameters))

    def _repr_html_(self) -> str:
        """The record and its families, for a notebook."""
        record = {"manifest": self.ref, "ID": self.id, "kind": self.kind, "parents": ", ".join(self.parents)}
        record |= {"created": self.provenance.get("time"), "store": self.store.url}
        families = [
            {"family": name, "format": family.format, "rows": family.rows, "files": len(family.files)}
            | {"bytes": sum(file.bytes for file in family.files), "columns": ", ".join(family.schema)}
            for name, family in self.families.items()
        ]
        shown = html_table(["manifest", "ID", "kind", "parents", "created", "store"], [record])
        return shown + html_table(["family", "format", "rows", "files", "bytes", "columns"], families)


def open_manifest(store: Store, ref: str) -> Opened:
    """The manifest that `ref` names, see `manifests.manifest.resolve`."""
    return Opened(**vars(resolve(store, ref)))


def html_table(columns: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as an HTML table, every cell escaped and cut at CHARACTERS_SHOWN."""
    names = list(columns)
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    body = "".join(f"<tr>{''.join(_cell(row[name]) for name in names)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f'<td style="text-align: right">{value:,}</td>'
    text = "" if value is None else str(value)
    cut = text if len(text) <= CHARACTERS_SHOWN else f"{text[:CHARACTERS_SHOWN]}…"
    return f"<td>{html.escape(cut)}</td>"


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(f"{name} is not installed", f"pip install {name}, or take .arrow()") from error
