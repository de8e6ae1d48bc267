"""Recipes: YAML files that people write, checked by frozen pydantic models, with dotted overrides.

A recipe has two kinds of field. A plain field is *semantic*: it changes what is built and so enters the identity. One
annotated `Local` (a path, a place, a name, a worker count) says where or how and never does. `semantic()` separates
them by type, so no caller keeps a list of exclusions. Leaves out templating, inheritance and code: reading a recipe
runs nothing.
"""

import re
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, field_validator
from pydantic_core import ErrorDetails

from manifests.errors import UserError
from manifests.identity import canonical_json
from manifests.shipped import shipped


class Local:
    """Marks a field that is not part of the identity: `path: Annotated[str | None, Local]`, around the whole type."""


class Recipe(BaseModel):
    """Base of every recipe and of its parts: frozen, unknown keys refused, each field documented under it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Refuse a `Local` inside a type (`Annotated[str, Local] | None`): the field would silently enter the
        identity."""
        for name, field in cls.model_fields.items():
            if _mentions_local(field.annotation):
                raise TypeError(f"{cls.__name__}.{name}: put Local around the whole type")


def _is_local(mark: Any) -> bool:
    return mark is Local or isinstance(mark, Local)


def _mentions_local(annotation: Any) -> bool:
    return _is_local(annotation) or any(_mentions_local(part) for part in get_args(annotation))


class NamedRecipe(Recipe):
    """Base of the recipes whose result is a manifest with a name and a version."""

    name: Annotated[str, Local]
    """Name of the manifest."""
    version: Annotated[str, Local] = "1"
    """Version of the manifest; with the name it is given once and for ever."""

    @field_validator("version", mode="before")
    @classmethod
    def _version_as_text(cls, value: object) -> object:
        """`version: 1` and `version: 2026.11` are what people write."""
        return str(value) if isinstance(value, int | float) else value


def _amount(value: Any) -> Any:
    """'20B' → 20_000_000_000; numbers pass through."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMBT]?)\s*", value, re.IGNORECASE)
    power = {"": 0, "K": 3, "M": 6, "B": 9, "T": 12}[match[2].upper()] if match else 0
    amount = Decimal(match[1]).scaleb(power) if match else Decimal("NaN")
    if amount.is_nan() or amount != int(amount):
        raise ValueError(f"{value!r} is not a whole amount; write 4096, 1.5M or 20B")
    return int(amount)


Amount = Annotated[int, BeforeValidator(_amount)]
"""A count that may be written with a decimal suffix: 4096, 1.5M, 20B, 1T."""


class _Loader(yaml.SafeLoader):
    """YAML without numbers in base 60: 3:32 is not 212, and a time limit of 24:00:00 is not 86400."""


_Loader.yaml_implicit_resolvers = {
    first: [pair for pair in pairs if pair[0] not in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+][0-9]+)?$|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?$"
        r"|[-+]?\.(?:inf|Inf|INF)$|\.(?:nan|NaN|NAN)$"
    ),
    list("-+0123456789."),
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int",
    re.compile(r"[-+]?(?:0b[0-1_]+|0[0-7_]+|(?:0|[1-9][0-9_]*)|0x[0-9a-fA-F_]+)$"),
    list("-+0123456789"),
)

R = TypeVar("R", bound=Recipe)


def load(path: str | Path, model: type[R], overrides: list[str] | tuple[str, ...] = ()) -> R:
    """The recipe in the YAML file `path` as a `model`, with dotted overrides (`budget.tokens=20B`) applied.

    A path that does not exist may name a recipe of the project (`recipes/quickstart/corpus.yaml`). Raises UserError
    naming the file and the field for anything wrong with either.
    """
    try:
        data = yaml.load(recipe_file(path).read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise UserError(f"cannot read recipe {path}: {error.strerror}", "Give the path of a YAML recipe") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}", "Correct the file") from error
    if not isinstance(data, dict):
        raise UserError(
            f"{path} does not hold a mapping of fields", f"See the fields of {model.__name__} in docs/recipes.md"
        )
    for change in overrides:
        override(data, change)
    return parse(data, model, str(path))


def recipe_file(path: str | Path) -> Path:
    """The file at `path`; if there is none, the recipe of the project with this name."""
    return Path(path) if Path(path).exists() else shipped(path)


def parse(data: dict[str, Any], model: type[R], where: str) -> R:
    """`data` as a `model`; UserError lists each wrong field of `where` in one line."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        wrong = "; ".join(_complaint(item) for item in error.errors())
        raise UserError(f"{where}: {wrong}", "Correct the recipe or the override") from error


def _complaint(item: ErrorDetails) -> str:
    name = ".".join(str(part) for part in item["loc"])
    match item["type"]:
        case "extra_forbidden":
            return f"unknown field `{name}`"
        case "missing":
            return f"field `{name}` is missing"
        case _:
            said = " ".join(item["msg"].removeprefix("Value error, ").split())
            return f"`{name}`: {said}" if name else said  # what is said of several fields names them itself


def override(data: dict[str, Any], change: str) -> None:
    """Set `a.b.0.c=value` inside `data`; the value is read as YAML, list items are named by position."""
    name, equals, value = change.partition("=")
    if not equals or not name:
        raise UserError(f"override {change!r} is not of the form field.part=value", "Write budget.tokens=20B")
    try:
        plain = yaml.load(value, _Loader)
    except (yaml.YAMLError, RecursionError) as error:
        raise UserError(f"override {change!r}: the value is not valid YAML", "Put quotes around it") from error
    *parents, last = name.split(".")
    node: Any = data
    for part in parents:
        node = _child(node, part, name)
    if isinstance(node, list):
        node[_position(node, last, name)] = plain
    else:
        node[last] = plain


def _child(node: Any, part: str, name: str) -> Any:
    if isinstance(node, list):
        return node[_position(node, part, name)]
    if node.get(part) is None:
        node[part] = {}
    child = node[part]
    if not isinstance(child, dict | list):
        raise UserError(f"override {name}: `{part}` is a single value and has no fields", "See the recipe's fields")
    return child


def _position(node: list[Any], part: str, name: str) -> int:
    if not part.isdigit() or int(part) >= len(node):
        raise UserError(f"override {name}: no item {part} in a list of {len(node)}", "Items count from 0")
    return int(part)


def semantic(recipe: BaseModel) -> dict[str, Any]:
    """The part of `recipe` that enters the identity, as plain JSON: all fields but those marked Local, at any depth.

    A field that is None is left out, so that a new optional field does not change the identity of earlier builds.
    """
    fields = type(recipe).model_fields
    dumped = recipe.model_dump(mode="json")
    return {
        name: _semantic_value(getattr(recipe, name), dumped[name])
        for name, field in fields.items()
        if not any(map(_is_local, field.metadata)) and getattr(recipe, name) is not None
    }


def _semantic_value(value: Any, dumped: Any) -> Any:
    match value:
        case BaseModel():
            return semantic(value)
        case list() | tuple():
            return [_semantic_value(item, plain) for item, plain in zip(value, dumped, strict=True)]
        case set() | frozenset():  # JSON has no sets: one order stands for all
            return sorted(dumped, key=canonical_json)
        case dict():
            return {str(key): _semantic_value(value[key], dumped[str(key)]) for key in value}
        case _:
            return dumped
