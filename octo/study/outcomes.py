"""The outcomes of the cells of a study, each one number by SQL over the catalog.

An outcome is a SELECT of one value with the parameters $mixture, $stem, $base, $loss, $before, $rl and $after, which
stand for the IDs of the cell. Built in are, for every metric of `scores`, METRIC_before, METRIC_after and METRIC_gain
(mean over the benchmarks; BENCHMARK:METRIC_after for one), `bits_per_byte`, and those of an RL run below. Promises: one
query per outcome, whatever the number of cells; NULL where a cell is incomplete. Leaves out intervals: see
`octo.study.results`.
"""

import re
from collections.abc import Sequence
from typing import Any

from manifests.catalog import Catalog
from manifests.errors import UserError

Row = dict[str, Any]
ROLES = ("mixture", "stem", "base", "loss", "before", "rl", "after")
LAST = 5
"""Steps at the end of RL over which `length_mean`, `truncated_share` and `reward_last` are averaged."""

OF_SCORES = re.compile(r"(?:(?P<benchmark>[^:]+):)?(?P<metric>.+)_(?P<when>before|after|gain)")
OF_STEPS = {"length_mean": "length_mean", "truncated_share": "truncated_share", "reward_last": "reward"}
COLLAPSED = f"""
SELECT min(step) FROM (
  SELECT run, step, smooth, max(smooth) OVER (PARTITION BY run ORDER BY step) AS best FROM (
    SELECT run, step, avg(reward) OVER (PARTITION BY run ORDER BY step ROWS {LAST - 1} PRECEDING) AS smooth
    FROM steps))
WHERE run = $rl AND smooth < best / 2
"""
"""First RL step at which the mean reward of five steps is below half of the best such mean before."""


def built_in(name: str) -> str | None:
    """The query of a built-in outcome; None if there is none of this name."""
    if name in OF_STEPS:
        last = f"list_slice(list({OF_STEPS[name]} ORDER BY step DESC), 1, {LAST})"
        return f"SELECT list_avg({last}) FROM steps WHERE run = $rl"
    if name == "collapsed_at":
        return COLLAPSED
    if name == "bits_per_byte":
        return "SELECT avg(bits_per_byte) FROM losses_held_out WHERE run = $loss AND slice = 'all'"
    if not (found := OF_SCORES.fullmatch(name)):
        return None
    which = f"benchmark = {_quote(found['benchmark'])}" if found["benchmark"] else "benchmark <> 'mean'"
    about = f"FROM scores WHERE metric = {_quote(found['metric'])} AND {which}"
    if found["when"] == "gain":
        return f"SELECT avg(value) FILTER (run = $after) - avg(value) FILTER (run = $before) {about}"
    return f"SELECT avg(value) {about} AND run = ${found['when']}"


def is_share(name: str) -> bool:
    """Whether a built-in outcome lies between 0 and 1."""
    found = OF_SCORES.fullmatch(name)
    shares = ("accuracy", "truncated", "unparsed", "errors", "pass@", "maj@")
    return name == "truncated_share" or bool(found and found["when"] != "gain" and found["metric"].startswith(shares))


def query_of(name: str, own: dict[str, str]) -> str:
    """The query of an outcome, the study's own before the built-in ones. UserError for a name that means nothing."""
    if found := own.get(name) or built_in(name):
        return found
    raise UserError(
        f"no outcome {name!r}",
        f"Define it under `outcomes`, or use accuracy_after, reward_gain, pass@4_before, …, {', '.join(OF_STEPS)}",
    )


def outcomes(catalog: Catalog, cells: Sequence[Row], names: Sequence[str], own: dict[str, str]) -> list[Row]:
    """One row (arm, branch, seed, outcome, value) for each cell and each outcome in `names`.

    `cells` are rows of `study_cells`. UserError that names the outcome for a query that fails.
    """
    return [row for name in names for row in _outcome(catalog, cells, name, query_of(name, own))]


def _outcome(catalog: Catalog, cells: Sequence[Row], name: str, query: str) -> list[Row]:
    ids = {"stem": "stem_run"}
    columns = ", ".join(["arm", "branch", "seed", *(f"id_{role}" for role in ROLES)])
    values = ", ".join(
        f"({', '.join(_literal(cell[ids.get(key, key)]) for key in ('arm', 'branch', 'seed', *ROLES))})"
        for cell in cells
    )
    one = re.sub(rf"\$({'|'.join(ROLES)})\b", r"cells.id_\1", query.strip().rstrip(";"))
    sql = f"WITH cells({columns}) AS (VALUES {values}) SELECT arm, branch, seed, ({one})::DOUBLE AS value FROM cells"
    try:
        found = catalog.query(sql).to_pylist()
    except UserError as error:
        raise UserError(f"outcome {name}: {error.what}", error.hint) from error
    known = {(row["arm"], row["branch"], row["seed"]): row["value"] for row in found}
    return [
        {**{key: cell[key] for key in ("arm", "branch", "seed")}, "outcome": name,
         "value": known[cell["arm"], cell["branch"], cell["seed"]]}
        for cell in cells
    ]  # fmt: skip


def _literal(value: str | int | None) -> str:
    return "NULL::VARCHAR" if value is None else str(value) if isinstance(value, int) else _quote(value)


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
