"""Which optional packages a verb needs, checked before it does any work.

`need("train", "octo train")` at the top of a verb ends it in one line that names the extra to install, before
anything is read or written. Nothing is imported to find out. Leaves out whether a package that is found also works,
and engines with requirements of their own (nanotron, verl), which `octo doctor` checks.
"""

import importlib.util
from typing import Literal, assert_never

from manifests.errors import UserError

Extra = Literal["train", "ui", "vllm", "ray"]


def modules_of(extra: Extra) -> tuple[str, ...]:
    """Top-level modules that an extra of pyproject.toml brings and that our code imports."""
    match extra:
        case "train":
            return "torch", "transformers", "safetensors", "accelerate"
        case "ui":
            return "starlette", "uvicorn"
        case "vllm":
            return ("vllm",)
        case "ray":
            return ("ray",)
        case _:
            assert_never(extra)


def need(extra: Extra, what: str, instead: str = "") -> None:
    """Raise UserError when packages of `extra` are missing. `what` needs them: a command such as `octo train`, or a
    choice such as `the place ray`; `instead` is what the user may do without them."""
    if missing := [name for name in modules_of(extra) if not is_installed(name)]:
        verbs = "is" if len(missing) == 1 else "are"
        raise UserError(
            f"{what} needs {' and '.join(missing)}, which {verbs} not installed",
            f"{how_to_install(extra)}{f'. Or {instead}' if instead else ''}",
        )


def how_to_install(extra: Extra) -> str:
    """The command that installs `extra`, for people."""
    return f"pip install 'octothinker[{extra}]', or '.[{extra}]' in a checkout, with --constraint constraints.txt"


def is_installed(package: str) -> bool:
    """Whether a top-level package can be found; nothing is imported."""
    try:
        return importlib.util.find_spec(package) is not None
    except ValueError:  # a stand-in that was put into sys.modules without a spec
        return True
