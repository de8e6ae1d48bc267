"""Recipes: overrides, amounts, what is identity, and errors in one line."""

from pathlib import Path
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from manifests.errors import UserError
from manifests.recipe import Amount, Local, Recipe, load, parse, semantic


class Source(Recipe):
    name: str
    path: Annotated[str | None, Local] = None
    roles: frozenset[str] = frozenset()


class Budget(Recipe):
    tokens: Amount = 0


class Curate(Recipe):
    sources: tuple[Source, ...] = ()
    by_name: dict[str, Source] = Field(default_factory=dict)
    main: Source | None = None
    budget: Budget = Budget()
    workers: Annotated[int, Local] = 1
    label: Annotated[str, Local()] = ""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "curate.yaml"
    path.write_text("sources:\n- {name: web, path: /a}\n- {name: qa}\nbudget: {tokens: 4096}\nmain:\n")
    return path


def test_overrides_reach_any_depth(recipe: Path):
    overrides = [
        "budget.tokens=20B",
        "sources.1.name=qa2",
        "main.name=m",
        "workers=3",
        "label='a: b'",
        "by_name.x.name=y",
    ]
    read = load(recipe, Curate, overrides)
    assert read.budget.tokens == 20_000_000_000
    assert [source.name for source in read.sources] == ["web", "qa2"]
    assert (read.main and read.main.name, read.workers, read.label) == ("m", 3, "a: b")
    assert read.by_name["x"].name == "y"
    assert load(recipe, Curate, ["sources.0={name: other}"]).sources[0] == Source(name="other")


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("4096", 4096),
        ("1.5M", 1_500_000),
        ("20B", 20 * 10**9),
        ("0.1b", 10**8),
        ("1.1T", 11 * 10**11),
        (" 2 k ", 2000),
        (7, 7),
    ],
)
def test_an_amount_may_have_a_suffix(text, amount: int):
    assert Budget(tokens=text).tokens == amount


@given(st.integers(0, 10**6), st.integers(0, 999))
def test_an_amount_is_exact(whole: int, thousandths: int):
    assert Budget.model_validate({"tokens": f"{whole}.{thousandths:03d}K"}).tokens == whole * 1000 + thousandths


@pytest.mark.parametrize("text", ["lots", "1.2", "1.0005K", "-5", "B", "", "1e9x", None, [1]])
def test_what_is_no_whole_amount_is_refused(text):
    with pytest.raises(UserError):
        parse({"tokens": text}, Budget, "here")


def test_semantic_leaves_out_local_fields_at_any_depth():
    source = Source(name="a", path="/x", roles=frozenset({"b", "a", "c"}))
    recipe = Curate(sources=(source,), by_name={"k": source}, main=source, workers=9, label="mine")
    plain = {"name": "a", "roles": ["a", "b", "c"]}
    assert semantic(recipe) == {"sources": [plain], "by_name": {"k": plain}, "main": plain, "budget": {"tokens": 0}}


def test_a_new_optional_field_that_is_not_given_changes_no_identity():
    class Before(Recipe):
        tokens: int = 1

    class After(Before):
        limit: int | None = None

    assert semantic(Before()) == semantic(After()) != semantic(After(limit=0))


def test_local_inside_a_type_is_refused():
    with pytest.raises(TypeError, match="put Local around the whole type"):

        class Wrong(Recipe):
            path: Annotated[str, Local] | None = None


@pytest.mark.parametrize(
    ("text", "overrides", "says"),
    [
        ("bugdet: {tokens: 1}", [], "unknown field `bugdet`"),
        ("budget: {toknes: 1}", [], "unknown field `budget.toknes`"),
        ("sources: [{path: x}]", [], "field `sources.0.name` is missing"),
        ("workers: many", [], "`workers`: Input should be a valid integer"),
        ("budget: {tokens: many}", [], "`budget.tokens`: 'many' is not a whole amount"),
        ("workers: a\nlabel: 1", [], "`workers`: .*; `label`: "),
        ("[1, 2]", [], "does not hold a mapping"),
        ("", [], "does not hold a mapping"),
        ("a: [1", [], "is not valid YAML"),
        ("a: !!python/object/apply:os.getcwd []", [], "is not valid YAML"),
        ("workers: 1", ["workers"], "not of the form"),
        ("workers: 1", ["=1"], "not of the form"),
        ("workers: 1", ["workers.x=1"], "`workers` is a single value and has no fields"),
        ("sources: [{name: a}]", ["sources.1.name=b"], "no item 1 in a list of 1"),
        ("sources: [{name: a}]", ["sources.x=b"], "no item x"),
        ("workers: 1", ["label=[1"], "the value is not valid YAML"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, text: str, overrides: list[str], says: str):
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=says) as error:
        load(path, Curate, overrides)
    assert len(str(error.value).splitlines()) == 1


def test_a_recipe_that_cannot_be_read_is_named(tmp_path: Path):
    with pytest.raises(UserError, match=r"cannot read recipe .*missing\.yaml"):
        load(tmp_path / "missing.yaml", Curate)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="is not valid YAML"):
        load(tmp_path / "binary.yaml", Curate)


def test_recipes_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Curate().workers = 2  # type: ignore[misc]
