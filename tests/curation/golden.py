"""Golden files of configurations: one in full, and of each other what differs from it."""

from pathlib import Path
from typing import Any

import yaml


def flat(tree: dict[str, Any], above: str = "") -> dict[str, Any]:
    """Values by their dotted names; a list is a value."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        inner = isinstance(value, dict) and value
        found |= flat(value, f"{above}{name}.") if inner else {f"{above}{name}": value}
    return found


def difference(full: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """What `other` has that `full` has not, and `absent` for what it has not."""
    one, two = flat(full), flat(other)
    changed = {name: value for name, value in two.items() if name not in one or one[name] != value}
    return changed | {name: "absent" for name in one if name not in two}


def golden(folder: Path, name: str) -> tuple[str | None, dict[str, Any]]:
    """What is written of the configuration `name`: its text where it is the full one, and its difference from that."""
    (full,) = folder.glob("full-*.yaml")
    text = full.read_text(encoding="utf-8") if full.stem == f"full-{name}" else None
    return text, yaml.safe_load((folder / "differences.yaml").read_text(encoding="utf-8")).get(name, {})


def of(folder: Path, made: dict[str, Any]) -> dict[str, Any]:
    """How `made` differs from the full one."""
    (full,) = folder.glob("full-*.yaml")
    return difference(yaml.safe_load(full.read_text(encoding="utf-8")), made)
