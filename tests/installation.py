"""A virtual environment as `pip install octothinker[EXTRA]` makes it, linked together from what is installed here.

Nothing is downloaded: the packages that the extra asks for, and what these ask for, are linked from this environment;
every other package, a developer's above all, cannot be imported there, nor in any process that is started from there.
"""

import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def requirements(*extras: str) -> list[Requirement]:
    """What pyproject.toml asks for with `extras`."""
    named = [*PROJECT["dependencies"], *(line for extra in extras for line in PROJECT["optional-dependencies"][extra])]
    return [Requirement(line) for line in named]


def closure(wanted: list[Requirement]) -> set[str]:
    """Names of the distributions that pip would install for `wanted`, of those that are installed here."""
    found: dict[str, set[str]] = {}
    waiting = list(wanted)
    while waiting:
        one = waiting.pop()
        name, extras = canonical(one.name), {"", *one.extras}
        if extras <= found.get(name, set()):
            continue
        found[name] = found.get(name, set()) | extras
        try:
            lines = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # of an extra that is not installed here
            del found[name]
            continue
        needs = [Requirement(line) for line in lines]
        waiting += [n for n in needs if not n.marker or any(n.marker.evaluate({"extra": e}) for e in found[name])]
    return set(found)


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def environment(folder: Path, *extras: str) -> Path:
    """Make the environment in `folder`; the path of its Python. The project itself is importable, as installed
    editable."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = folder / "lib" / version / "site-packages"
    for name in closure(requirements(*extras)):
        link(metadata.distribution(name), site)
    (site / "project.pth").write_text(f"{ROOT}\n")
    return folder / "bin" / "python"


def link(distribution: metadata.Distribution, site: Path) -> None:
    """Link the top-level files and folders of a distribution into `site`."""
    home = Path(str(distribution.locate_file("")))
    tops = {file.parts[0] for file in distribution.files or [] if ".." not in file.parts}
    for top in tops - {"__pycache__"}:
        if (home / top).is_dir() and not (home / top / "__init__.py").exists() and "-info" not in top:
            merge(home / top, site / top)  # a namespace, which several distributions share
        elif not (site / top).exists():
            (site / top).symlink_to(home / top)


def merge(folder: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    for inner in folder.iterdir():
        if not (target / inner.name).exists():
            (target / inner.name).symlink_to(inner)
