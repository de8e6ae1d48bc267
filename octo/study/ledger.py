"""The ledger `study_nodes`: what became of each node, written by whichever process did it."""

import time
from typing import Any

import pyarrow as pa

from manifests.runs import RunDirectory
from manifests.tables import STUDY_NODES
from octo.study.design import Node

Row = dict[str, Any]


def about(node: Node) -> Row:
    """What every row of `node` says."""
    return {"step": node.number, "node": node.name, "verb": node.verb, "arm": node.arm, "seed": node.seed,
            "work": node.work, "kind_of_work": node.kind_of_work}  # fmt: skip


def append(run: RunDirectory, node: Node, **said: Any) -> Row:
    """Write a row about `node`; the row."""
    row = about(node) | said | {"written_at": time.time()}
    run.append("study_nodes", pa.Table.from_pylist([row], schema=STUDY_NODES.schema))
    return row


def latest(run: RunDirectory) -> dict[str, Row]:
    """The last row of each node that was begun, by name."""
    ledger = run.table("study_nodes")
    rows = ledger.sort_by("written_at").to_pylist() if ledger else []
    return {row["node"]: row for row in rows}
