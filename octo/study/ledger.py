"""The ledger `study_nodes`: what became of each node, written by whichever process did it."""

import time
from typing import Any

import pyarrow as pa

from manifests.runs import RunDirectory
from manifests.tables import STUDY_NODES
from octo.study.design import Cell, Node, Study

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


def cells_of(study: Study, rows: dict[str, Row]) -> list[Row]:
    """Rows of `study_cells`, from the last row of each node."""
    return [_cell_row(study, cell, rows) for cell in study.cells]


def _cell_row(study: Study, cell: Cell, rows: dict[str, Row]) -> Row:
    ids = {role: rows.get(node, {}).get("id") for role, node in cell.nodes.items()}
    lost = [rows[name] for name in sorted(study.closure(cell)) if rows.get(name, {}).get("status") == "failed"]
    status = "failed" if lost else "done" if all(ids.values()) else "missing"
    told = next((row for row in lost if not str(row["reason"]).endswith(" failed")), lost[0] if lost else None)
    return {
        "arm": cell.arm, "branch": cell.branch, "seed": cell.seed, "stem": cell.stem, "status": status,
        "reason": f"{told['node']}: {told['reason']}" if told else None,
        "stem_run": ids.get("stem"),
        **{role: ids.get(role) for role in ("mixture", "base", "loss", "before", "rl", "after")},
    }  # fmt: skip
