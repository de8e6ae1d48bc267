"""The command line's groups of verbs, and the order in which `--help` lists them."""

from typing import Any

import typer
from typer.core import TyperGroup

WALK = ("quickstart", "init", "sources", "curate", "annotate", "mix", "train", "rl", "benchmarks", "eval", "study")
OTHERS = ("manifest", "runs", "sql", "why", "trace", "near", "doctor", "ui", "report", "publish", "pull")


class InOrder(TyperGroup):
    """Verbs in the order of the walk, then the others."""

    def list_commands(self, ctx: Any) -> list[str]:
        order = (*WALK, *OTHERS)
        return sorted(self.commands, key=lambda name: order.index(name) if name in order else len(order))


app = typer.Typer(
    cls=InOrder,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help=("From raw mathematical text to an RL-ready model, with every token accounted for."),
)
manifest_app = typer.Typer(no_args_is_help=True, help="Inspect, check, export and import manifests; clean up.")
runs_app = typer.Typer(no_args_is_help=True, help="Inspect and cancel runs.")
app.add_typer(manifest_app, name="manifest")
app.add_typer(runs_app, name="runs")
study_app = typer.Typer(
    no_args_is_help=True, help="Compare mixtures by what training and RL on them come to, with error bars."
)
app.add_typer(study_app, name="study")


class RunUnlessNamed(TyperGroup):
    """A group of verbs; arguments that name none of them are passed to its verb `run`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        named = not args or args[0] in self.commands or args[0] in ("--help",)
        return super().parse_args(ctx, args if named else ["run", *args])


curate_app = typer.Typer(
    cls=RunUnlessNamed,
    no_args_is_help=True,
    help="Build a corpus (`octo curate RECIPE …`), or train a classifier for it.",
)
app.add_typer(curate_app, name="curate")
rl_app = typer.Typer(
    cls=RunUnlessNamed,
    no_args_is_help=True,
    help="Train a model with RL (`octo rl PROMPTS RECIPE …`), or measure prompts.",
)
app.add_typer(rl_app, name="rl")
