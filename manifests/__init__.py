"""Manifests, and the three lines of a notebook:

    import manifests
    m = manifests.open("finemath@1")
    m.sql("SELECT source, count(*) AS documents FROM documents GROUP BY ALL").pl()

`import manifests` loads nothing else; `open` loads pyarrow, `sql` DuckDB, `pl` polars and `df` pandas. Leaves out
writing: manifests are built by the verbs of `octo`.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from manifests.notebook import Opened
    from manifests.store import Store

__all__ = ["open"]


def open(ref: str, store: "str | Path | Store | None" = None) -> "Opened":
    """The manifest that `ref` names in `store`: name@version, an ID, or a unique prefix of an ID.

    `store` is a folder, an fsspec URL or a Store; by default $OCTO_STORE, else ./store. Reads only the record.
    UserError when there is none.
    """
    from manifests.notebook import open_manifest
    from manifests.store import Store

    home = store if isinstance(store, Store) else Store(store) if store else Store.default()
    return open_manifest(home, ref)
