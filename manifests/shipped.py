"""Files that come with the project: recipes with the quickstart's tokenizer, wherever the project is installed.

In a checkout they lie at its top; a wheel carries them inside the package `octo`. Recipes name such a file by its path
in the checkout (`recipes/quickstart/tokenizer`), and it is found either way. Leaves out data of packages, such as the
default classifier, which lies beside the module that loads it.
"""

from pathlib import Path

from manifests.process import PROJECT

INSTALLED = PROJECT / "octo"
"""Where a wheel has what lies at the top of the checkout (`force-include` in pyproject.toml)."""


def shipped(path: str | Path) -> Path:
    """Where the file or folder `path` of the checkout lies; `path` itself where the project has no such file."""
    found = [home / path for home in (PROJECT, INSTALLED) if (home / path).exists()]
    return found[0] if found else Path(path)
