"""Arguments and options shared by several commands."""

from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

if TYPE_CHECKING:
    from manifests.store import Store


StoreOption = Annotated[
    str | None, typer.Option("--store", help="Folder or fsspec URL of the store; by default $OCTO_STORE, else ./store.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
PlanOption = Annotated[bool, typer.Option("--plan", help="Print what would be done, and do nothing.")]
ResumeOption = Annotated[
    bool,
    typer.Option(
        "--resume", help="Refuse to start a new run; only resume one. Without it the same command resumes too."
    ),
]
WorkersOption = Annotated[int, typer.Option("--workers", min=1, help="Processes on this machine.")]
Overrides = Annotated[list[str] | None, typer.Argument(help="Overrides of recipe fields: budget.tokens=20B")]
ParentsOption = Annotated[bool, typer.Option("--parents", help="Copy everything from which it was made as well.")]
ManifestArgument = Annotated[str, typer.Argument(help="name@version, an ID, or a unique prefix of an ID.")]


def one_of(value: str, choices: Any) -> Any:
    """`value`, which must be a name of the Literal `choices`; another makes the command line a wrong one."""
    if value not in (names := get_args(choices)):
        raise typer.BadParameter(f"{value!r} is not one of {', '.join(names)}")
    return value


def open_store(url: str | None) -> "Store":
    from manifests.store import Store

    return Store(url) if url else Store.default()
