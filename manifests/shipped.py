"""Files that are installed with the project: the recipes and the quickstart's tokenizer.

In a checkout they are at its top; in a wheel they are inside the package `octo`. Recipes name such a file by its path
in the checkout (`recipes/quickstart/tokenizer`), and it is found in both. Leaves out data of packages, such as the
default classifier, which is beside the module that loads it.
"""

from pathlib import Path

from manifests.process import PROJECT

INSTALLED = PROJECT / "octo"
"""Where a wheel holds the files from the top of the checkout (`force-include` in pyproject.toml)."""


def shipped(path: str | Path) -> Path:
    """The location of the file or folder `path` of the checkout; `path` itself if the project has no such file."""
    found = [home / path for home in (PROJECT, INSTALLED) if (home / path).exists()]
    return found[0] if found else Path(path)
