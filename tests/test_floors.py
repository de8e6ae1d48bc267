"""The house stands: imports point down, names collide with nothing, the light parts stay light."""

import ast
import importlib.util
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLOORS = ["manifests", "evaluation", "curation", "mixtures", "training", "rl", "octo"]
"""From the ground up; each may import what stands before it."""

MODULES = sorted(path for floor in FLOORS for path in ROOT.glob(f"{floor}/**/*.py"))


def floor_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0]


def imported(path: Path) -> set[str]:
    """Top-level names of the modules that `path` imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.relative_to(ROOT)}: relative import"
            names.add((node.module or "").split(".")[0])
    return names


def test_every_floor_is_looked_at():
    assert {floor_of(path) for path in MODULES} == set(FLOORS)


@pytest.mark.parametrize("floor", FLOORS)
def test_imports_point_down(floor: str):
    above = set(FLOORS[FLOORS.index(floor) + 1 :]) | {"tests", "benchmarks"}
    wrong = {
        str(path.relative_to(ROOT)): names
        for path in MODULES
        if floor_of(path) == floor and (names := imported(path) & above)
    }
    assert wrong == {}


def test_no_package_imports_in_circles():
    """The contracts of pyproject.toml hold; what is imported for type checking alone makes no circle. In a process of
    its own: import-linter takes over the standard output of the one that it runs in."""
    program = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


LOOKERS = {"manifests/extras.py", "octo/__init__.py", "training/doctor.py", "training/nanotron_cpu.py"}
"""What may look for a package: what knows the extras, and three that ask where one lies and not whether."""


def test_one_place_knows_whether_a_package_is_installed():
    found = {str(path.relative_to(ROOT)) for path in MODULES if "find_spec" in path.read_text(encoding="utf-8")}
    assert found == LOOKERS, "ask `manifests.extras.need` or `is_installed`"


def test_no_module_bears_the_name_of_another():
    """Neither of the standard library nor of anything installed here: `-m` and workers put our folders on the path."""
    taken = sys.stdlib_module_names | set(metadata.packages_distributions()) - set(FLOORS)
    names = {path.stem if path.stem != "__init__" else path.parent.name for path in MODULES}
    assert names & taken == set()


def test_no_module_is_a_drawer_for_odds_and_ends():
    drawers = {"utils", "util", "common", "helpers", "helper", "core", "misc", "base", "tools", "shared"}
    assert [path for path in MODULES if path.stem in drawers or path.parent.name in drawers] == []


def test_tests_are_no_package():
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_packages_resolve_beside_the_front_door():
    for floor in FLOORS:
        spec = importlib.util.find_spec(floor)
        assert spec is not None, f"{floor} is not installed"
        assert spec.origin is not None
        assert Path(spec.origin).resolve().is_relative_to(ROOT), f"{floor} comes from {spec.origin}"


HEAVY = ["torch", "datatrove", "transformers", "ray", "plotly", "duckdb"]
CONFIGS = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in MODULES if path.name == "config.py"]


@pytest.mark.parametrize(("program", "heavy"), [
    ("import sys, octo\nsys.argv = ['octo', '--help']\nassert octo.command() == 0", [*HEAVY, "pyarrow"]),
    *((f"import {config}", HEAVY) for config in CONFIGS),
    ("import manifests.manifest, manifests.runs, manifests.recipe", HEAVY),
    ("import manifests.catalog", HEAVY[:-1]),
], ids=lambda value: value.replace("\n", ";")[:40] if isinstance(value, str) else "")  # fmt: skip
def test_what_should_be_light_loads_nothing_heavy(program: str, heavy: list[str]):
    look = f"\nimport sys\nprint('loaded:', *sorted(set({heavy}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program + look], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded:"
