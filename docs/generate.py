"""Write the parts of the documentation that come from code: docs/cli.md from `--help`, docs/sql.md from the tables.

`make docs` runs this; a test fails while the files differ from what it would write.
"""

from pathlib import Path
from typing import Any

import typer
from typer.testing import CliRunner

import octo
from manifests.catalog_docs import sql_reference

HERE = Path(__file__).resolve().parent


def cli_reference() -> str:
    """Every verb's help as Markdown, at a fixed width."""
    runner, parts = CliRunner(), ["# Command line", "", "Made from `octo --help` by `make docs`.", ""]
    for path in _verbs([], typer.main.get_command(octo.app)):
        shown = runner.invoke(octo.app, [*path, "--help"], prog_name="octo", terminal_width=100)
        text = "\n".join(line.rstrip() for line in shown.output.splitlines())
        parts += [f"## {' '.join(['octo', *path])}", "", "```text", text.strip(), "```", ""]
    return "\n".join(parts)


def _verbs(path: list[str], command: Any) -> list[list[str]]:
    children = getattr(command, "commands", {})
    return [path] + [verb for name, child in children.items() for verb in _verbs([*path, name], child)]


def generated() -> dict[Path, str]:
    """File and content of everything this writes."""
    return {HERE / "cli.md": cli_reference(), HERE / "sql.md": sql_reference()}


if __name__ == "__main__":
    for path, content in generated().items():
        path.write_text(content, encoding="utf-8")
        print(path.relative_to(HERE.parent))
