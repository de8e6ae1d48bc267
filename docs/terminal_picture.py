"""The last lines of what a command printed, as the picture of a terminal.

octo quickstart | python docs/terminal_picture.py docs/images/quickstart.svg
"""

import sys
from io import StringIO

from rich.console import Console
from rich.text import Text

LINES = 48


def main(path: str) -> None:
    """Read standard input to its end and write the SVG to `path`."""
    lines = sys.stdin.read().rstrip().splitlines()[-LINES:]
    width = min(max(len(line) for line in lines), 110)
    console = Console(record=True, width=width, file=StringIO(), force_terminal=True)
    for line in lines:
        console.print(Text.from_ansi(line), no_wrap=True, overflow="ellipsis")
    console.save_svg(path, title="make quickstart")


if __name__ == "__main__":
    main(*sys.argv[1:])
