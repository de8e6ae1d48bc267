"""Provenance of a build, which is not part of its identity: code, package versions, host, time.

Leaves out absolute paths and environment variables: they name machines and may hold secrets.
"""

import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("octothinker", "datatrove", "duckdb", "pyarrow", "tokenizers", "torch", "transformers")
"""Distributions whose versions are recorded when they are installed."""


def now() -> str:
    """UTC time, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def provenance() -> dict[str, Any]:
    """Code state, package versions, host and time, as plain JSON."""
    return {
        "time": now(),
        "host": platform.node(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "packages": package_versions(),
        "code": code_state(),
    }


@cache
def package_versions() -> dict[str, str]:
    """Versions of the installed PACKAGES; looked up once a process."""
    return {name: version for name in PACKAGES if (version := _version(name))}


@cache
def code_state() -> dict[str, Any]:
    """Git commit and whether the tree differs from it, as this process first saw them; empty outside a checkout."""
    commit = _git("rev-parse", "HEAD")
    return {"commit": commit, "dirty": bool(_git("status", "--porcelain"))} if commit else {}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _git(*arguments: str) -> str:
    here = Path(__file__).parent
    try:
        done = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
