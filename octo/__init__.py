"""The command line: `octo VERB`. Each verb parses its arguments, calls the library, and prints the result.

The verbs are in `octo.commands`, a module for each noun; `octo.commands.quickstart` is the whole walk. Libraries are
imported inside the verbs, so `octo --help` loads neither torch nor datatrove. A mistake of the user ends as one line on
stderr and exit status 1 (2 for a wrong command line, 130 after Ctrl-C); building verbs print the ID of what they built
as their last line on stdout. With `--json` stdout holds one JSON value and nothing else; docs/shell.md lists the
shapes.
"""

import importlib.util
import signal
import sys
from pathlib import Path

from octo.commands import app

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("curation", "mixtures", "training", "rl", "evaluation", "manifests")
"""Our packages; other distributions might install packages of the same names."""


def main() -> None:
    """Entry point of the command `octo`."""
    check_packages()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a run records that it was stopped, as after Ctrl-C
    from manifests.process import leave

    leave(command())


def command() -> int:
    """Run the command line; returns the exit status."""
    from manifests.process import status_of

    if (status := status_of(app)) == 130:
        print("octo: interrupted. What is done is kept. Repeat the command to resume", file=sys.stderr)
    return status


def check_packages() -> None:
    """Refuse to start when another distribution's `rl` or `training` would be imported instead of ours."""
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        found = Path(spec.origin).resolve().parent if spec and spec.origin else None
        if found != ROOT / package:
            print(
                f"octo: import {package} finds {found}, not {ROOT / package}. Another installed distribution ships a "
                f"top-level package called {package!r}; uninstall it or use a virtual environment of its own",
                file=sys.stderr,
            )
            raise SystemExit(1)
