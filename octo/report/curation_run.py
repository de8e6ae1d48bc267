"""A curation in the report: its tasks over time, and those that took longest."""

from manifests.runs import RunDirectory
from octo.report import page
from octo.report.columns import table_of
from octo.report.frame import Part, Report, Row
from octo.report.page import Html, element, figure, number

STRAGGLERS, BARS = 12, 2000
"""How many tasks of a curation are listed and drawn; if there are more, the longest ones."""


def part(report: Report, run: RunDirectory) -> Part:
    """The tasks over time, lane by lane, and the longest ones compared with the median."""
    tasks = [row for row in run.lines("tasks.jsonl", "attempts") if "started" in row]
    ended = [row | {"seconds": row["ended"] - row["started"]} for row in tasks if "ended" in row]
    if not ended:
        return Part("No task has ended.", [])
    begin, end = min(row["started"] for row in tasks), max(row["ended"] for row in ended)
    middle = sorted(row["seconds"] for row in ended)[len(ended) // 2]
    documents = sum(row.get("documents", 0) for row in ended)
    lede = (
        f"{number(len(ended), 'task')}, {number(documents, 'document')} in {end - begin:,.0f} s; "
        f"half the tasks took {middle:,.1f} s or less, the longest {max(row['seconds'] for row in ended):,.1f} s."
    )
    slowest = sorted(ended, key=lambda row: -row["seconds"])[:STRAGGLERS]
    stragglers = [
        {"of_median": page.share(row["seconds"], middle), "attempts": 1, "documents": 0} | row for row in slowest
    ]
    drawn = [_bar_of(row, begin, middle) for row in sorted(ended, key=lambda row: -row["seconds"])[:BARS]]
    body: list[Html | None] = [
        element("h3", "Tasks over time"),
        figure("One line per process; twice the median and more is marked", page.lanes(drawn, end - begin)),
        page.legend({"task": page.KEPT, "straggler": page.QUARANTINED, "failed": page.WARM[0]}),
        element("h3", "Tasks that took longest"),
        table_of(stragglers, "task source file host seconds of_median documents bytes attempts"),
    ]
    return Part(lede, body)


def _bar_of(row: Row, begin: float, median: float) -> page.Bar:
    """A task as a bar of the lane of its process."""
    slow = row["seconds"] >= 2 * median and row["seconds"] > 1
    colour = page.WARM[0] if "error" in row else page.QUARANTINED if slow else page.KEPT
    title = f"task {row['task']}, {row['source']}/{row['file']}: {row['seconds']:.1f} s on {row['host']}"
    return page.Bar(f"{row['host']} {row['pid']}", row["started"] - begin, row["seconds"], colour, title)
