"""Arguments and options that several verbs have."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from manifests.store import Store


StoreOption = Annotated[
    str | None, typer.Option("--store", help="Folder or fsspec URL of the store; default $OCTO_STORE, else ./store.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
PlanOption = Annotated[bool, typer.Option("--plan", help="Print what would happen and do nothing.")]
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


def open_store(url: str | None) -> "Store":
    from manifests.store import Store

    return Store(url) if url else Store.default()
