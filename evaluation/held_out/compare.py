"""Final held-out loss of runs side by side: bits per byte at the last step that each was measured at.

A run has what it measured itself on the way and what `octo eval --loss` measured of it. Texts are the same where their
digests are, whatever manifest they came from: mixtures of one corpus with the same `hold_out` compare. Leaves out an
interval of the difference: losses of single documents are not kept.
"""

from typing import Any

from manifests.catalog import Catalog
from manifests.runs import RunDirectory
from manifests.store import Store

Row = dict[str, Any]
_FINAL = """
SELECT texts, digest, slice, name, manifest, step, bits_per_byte, bits_per_byte_error
FROM losses_held_out WHERE run = $1 OR model = $1
QUALIFY row_number() OVER (PARTITION BY texts, digest, slice, name ORDER BY step DESC, run = $1 DESC, run) = 1
ORDER BY texts, digest, list_position(['all', 'source', 'role', 'benchmark'], slice), name
"""


def final_losses(store: Store, runs: list[RunDirectory]) -> list[list[Row]]:
    """For each slice of texts on which all `runs` were measured, the last row of each run, in their order."""
    with Catalog(store) as catalog:
        found = [catalog.query(_FINAL, [run.id]).to_pylist() for run in runs]
    keyed = [{_key(row): row for row in rows} for rows in found]
    return [[rows[key] for rows in keyed] for key in keyed[0] if all(key in rows for rows in keyed)]


def compare_losses(store: Store, first: RunDirectory, second: RunDirectory) -> list[Row]:
    """For people: bits per byte of two runs, with standard errors over documents, and the difference."""
    return [
        {
            "manifest": one["manifest"],
            "texts": one["texts"],
            "slice": one["slice"],
            "of": one["name"],
            "first_step": one["step"],
            "first": one["bits_per_byte"],
            "first_error": one["bits_per_byte_error"],
            "second_step": other["step"],
            "second": other["bits_per_byte"],
            "second_error": other["bits_per_byte_error"],
            "difference": other["bits_per_byte"] - one["bits_per_byte"],
        }
        for one, other in final_losses(store, [first, second])
    ]


def _key(row: Row) -> tuple[str, ...]:
    return row["texts"], row["digest"], row["slice"], row["name"]
