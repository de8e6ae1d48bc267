"""Write the parts of the documentation that come from code.

    docs/cli.md       from `--help`
    docs/sql.md       from the tables and their documented columns
    docs/recipes.md   from the recipe models and the text under each field

`make docs` runs this; a test fails while the files differ from what it would write.
"""

import json
import textwrap
from pathlib import Path
from typing import Any, get_args

import typer
from typer.testing import CliRunner

import octo
from curation.classifiers.config import ClassifierRecipe
from curation.config import CurateRecipe, QualityRecipe
from curation.language_model.config import AnnotateRecipe
from curation.measures.quality import RULES
from evaluation.config import EvalRecipe
from manifests.drop_reasons import DropReason
from manifests.recipe import Local, Recipe
from mixtures.config import GridRecipe, MixRecipe
from octo.sql_reference import sql_reference
from octo.study.config import StudyRecipe
from rl.config import RLRecipe
from rl.pass_rate import PassRateRecipe
from training.config import TrainRecipe

HERE = Path(__file__).resolve().parent
CLI_PREFACE = (
    "Generated from `octo --help` by `make docs`. For exit status, the JSON of each command, completion and colour see "
    "[In a shell](shell.md)."
)
RECIPES_PREFACE = "Generated from the recipe models by `make docs`. A field marked *local* is not part of the identity."
RECIPES: dict[str, type[Recipe]] = {
    "octo curate": CurateRecipe,
    "octo annotate": AnnotateRecipe,
    "octo curate train-classifier": ClassifierRecipe,
    "octo mix": MixRecipe,
    "octo mix, a grid": GridRecipe,
    "octo train": TrainRecipe,
    "octo rl": RLRecipe,
    "octo rl pass-rate": PassRateRecipe,
    "octo eval": EvalRecipe,
    "octo study": StudyRecipe,
}


def cli_reference() -> str:
    """Every verb's help as Markdown, at a fixed width."""
    runner, parts = CliRunner(), ["# Command line", "", _wrapped(CLI_PREFACE), ""]
    for path in _verbs([], typer.main.get_command(octo.app)):
        shown = runner.invoke(octo.app, [*path, "--help"], prog_name="octo", terminal_width=100)
        text = "\n".join(line.rstrip() for line in shown.output.splitlines())
        parts += [f"## {' '.join(['octo', *path])}", "", "```text", text.strip(), "```", ""]
    return "\n".join(parts)


def _verbs(path: list[str], command: Any) -> list[list[str]]:
    children = command.list_commands(None) if hasattr(command, "commands") else []
    return [path] + [verb for name in children for verb in _verbs([*path, name], command.commands[name])]


def recipe_reference() -> str:
    """Every recipe and its parts: field, default, meaning; local fields, which bear no identity, are marked."""
    parts = [
        "# Recipes",
        "",
        _wrapped(RECIPES_PREFACE),
        "",
    ]
    for verb, model in RECIPES.items():
        parts += [f"# `{verb}`", ""]
        for part in _models(model, []):
            parts += [f"## {part.__name__}", "", _wrapped(part.__doc__ or ""), "", *_fields(part), ""]
            parts += [*_quality_rules(), ""] if part is QualityRecipe else []
    return "\n".join(parts)


def _models(model: type[Recipe], seen: list[type[Recipe]]) -> list[type[Recipe]]:
    """`model` and the recipes that its fields hold, each once, in order of their first appearance."""
    if model not in seen:
        seen.append(model)
        for field in model.model_fields.values():
            for part in _recipes_in(field.annotation):
                _models(part, seen)
    return seen


def _recipes_in(annotation: Any) -> list[type[Recipe]]:
    if isinstance(annotation, type) and issubclass(annotation, Recipe):
        return [annotation]
    return [found for inner in get_args(annotation) for found in _recipes_in(inner)]


def _fields(model: type[Recipe]) -> list[str]:
    rows = ["| field | default | meaning |", "|---|---|---|"]
    for name, field in model.model_fields.items():
        default = "required" if field.is_required() else f"`{_plain(field.get_default(call_default_factory=True))}`"
        local = "*local* " if any(mark is Local or isinstance(mark, Local) for mark in field.metadata) else ""
        rows.append(
            f"| `{name}` | {default} | {local}{' '.join((field.description or '').split())} |".replace("||", "\\|\\|")
        )
    return rows


def _quality_rules() -> list[str]:
    """The rules in the order in which the first broken one is named."""
    limits = QualityRecipe()
    rows = ["| rule | dropped when | roles | why | after |", "|---|---|---|---|---|"]
    for rule in RULES:
        sign = "<" if rule.limit.startswith("min") else ">"
        when = f"`{rule.score}` {sign} `{rule.limit}` ({getattr(limits, rule.limit)})"
        rows.append(f"| `{rule.name}` | {when} | {', '.join(rule.roles)} | {rule.why} | {rule.follows} |")
    return rows


def drop_reasons() -> str:
    """Every reason to drop a document, in the order in which they go."""
    rows = [f"| `{reason}` | {reason.meaning} |" for reason in DropReason]
    lede = "Values of `documents.drop_reason`. If several reasons apply, the first of this table is given."
    return "\n".join(["", "## Drop reasons", "", lede, "", "| reason | the document |", "|---|---|", *rows, ""])


def _wrapped(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), 100, break_long_words=False, break_on_hyphens=False)


def _plain(value: Any) -> str:
    return json.dumps(value.model_dump(mode="json") if isinstance(value, Recipe) else value, default=str)


def generated() -> dict[Path, str]:
    """File and content of everything this writes."""
    return {
        HERE / "cli.md": cli_reference(),
        HERE / "sql.md": sql_reference() + drop_reasons(),
        HERE / "recipes.md": recipe_reference(),
    }


if __name__ == "__main__":
    for path, content in generated().items():
        path.write_text(content, encoding="utf-8")
        print(path.relative_to(HERE.parent))
