"""The verbs of the command line, one module for each noun; importing a module adds its verbs to `app`."""

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
    study,
)
from octo.commands.groups import app

__all__ = [
    "app", "benchmark", "corpus", "document", "machine", "manifest", "mixture", "model", "quickstart", "recipes", "run",
    "store", "study",
]  # fmt: skip
