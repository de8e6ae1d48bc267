"""The verbs of the command line, a module for each noun: importing one puts its verbs into `app`."""

from octo.commands import (
    benchmark,
    corpus,
    document,
    machine,
    manifest,
    mixture,
    model,
    quickstart,
    recipes,
    run,
    store,
)
from octo.commands.groups import app

__all__ = [
    "app", "benchmark", "corpus", "document", "machine", "manifest", "mixture", "model", "quickstart", "recipes", "run",
    "store",
]  # fmt: skip
