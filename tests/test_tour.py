"""The tour: every block of docs/tour.md, run as one script from an empty folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).parents[1]
TOUR = HOME / "docs" / "tour.md"


@pytest.mark.slow
def test_every_block_of_the_tour_runs(tmp_path: Path) -> None:
    """`octo` is the one beside this Python; what the page prints of IDs is what comes out."""
    page = TOUR.read_text(encoding="utf-8")
    script = "\n".join(["set -euo pipefail", *re.findall(r"^```bash\n(.*?)^```", page, re.DOTALL | re.MULTILINE)])
    (tmp_path / "recipes").symlink_to(HOME / "recipes")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=os.environ | {"PATH": path, "COLUMNS": "200"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for printed in set(re.findall(r"corpus-[0-9a-f]{12}|[\d.]+K tokens; [^<]*epochs > max_epochs 1", page)):
        assert printed in done.stdout + done.stderr
    assert list((tmp_path / "tour" / "reports").glob("*.html"))
