"""Progress on a terminal, silence elsewhere.

`with progress("curate: read", total) as advance:` shows one rich bar on stderr when stderr is a terminal; nested calls
share the display. In pipes, tests and CI nothing is drawn. Leaves out logging: what must be kept is in the ledgers.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

_display: Progress | None = None


@contextmanager
def progress(what: str, total: float | None = None) -> Iterator[Callable[..., None]]:
    """Show a task named `what`; the yielded function takes `advance(n=1, note="")`. `total` may be None (unknown)."""
    if not sys.stderr.isatty():
        yield lambda n=1, note="": None
        return
    with _shared_display() as display:
        task = display.add_task(what, total=total, note="")

        def advance(n: float = 1, note: str = "") -> None:
            display.update(task, advance=n)
            if note:
                display.update(task, note=note)

        try:
            yield advance
        finally:
            display.remove_task(task)


@contextmanager
def _shared_display() -> Iterator[Progress]:
    """The live display of this process: the outermost task starts and stops it."""
    global _display
    if _display is not None:
        yield _display
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as _display:
        try:
            yield _display
        finally:
            _display = None


def warn(what: str) -> None:
    """Print a warning on stderr: one line about something that was done and may not be intended."""
    print(f"octo: {what}", file=sys.stderr)
