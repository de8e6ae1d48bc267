"""Recipe of a mixture of tokens, or of a set of prompts for reinforcement learning; and a grid of such recipes.

Loads neither torch nor datatrove. The name of a manifest and the path of the tokenizer are local: the identity holds
the ID of the corpus manifest, the digest of the tokenizer, the text of the templates and the number of sequences in the
budget. Declared sizes are used by plans only.
"""

import re
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from manifests.errors import UserError
from manifests.paths import FileName
from manifests.recipe import Amount, Local, NamedRecipe, Recipe, load, parse, recipe_file

FIELDS = ("text", "question", "response", "answer")
"""What a template may name: columns of `texts`."""


class ComponentRecipe(Recipe):
    """Documents of one corpus manifest, selected by a SQL condition, and their share of the mixture."""

    name: FileName
    """Name of the component in every table."""
    manifest: Annotated[str | None, Local] = None
    """Corpus manifest: name@version, an ID or a prefix of one. Its ID enters the identity. A plan does not need it."""
    known: Annotated[str | None, Local] = None
    """Source whose published size (`octo sources`) a plan uses if the manifest does not exist yet."""
    declared: Annotated[Amount | None, Field(gt=0), Local] = None
    """Number of tokens that a plan uses if the manifest does not exist yet; overrides the size of `known`."""
    pass_rates: Annotated[str | None, Local] = None
    """Manifest made by `octo rl pass-rate`: `where` can use its column `pass_rate`, which is NULL for documents that
    were not measured. Its ID enters the identity."""
    where: str = "true"
    """SQL condition over the columns of `documents`, such as `role = 'web' AND math_density > 0.1`. Dropped documents
    are always left out, unless `allow` names the reason."""
    allow: tuple[str, ...] = ()
    """Drop reasons whose documents may be selected although they were dropped."""
    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Weight in tokens (in prompts, for kind prompts). Weights need not sum to one."""
    max_epochs: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """How often its documents may be read. With 1.5, at most one and a half times its tokens are read, and no document
    more than twice."""
    min_tokens: Annotated[Amount, Field(ge=0)] = 0
    """Minimum number of tokens of the component; a plan with fewer is refused."""
    format: Annotated[str | None, Local] = None
    """Name of the template in `formats` that its documents are rendered with; by default `text`, unchanged."""

    @model_validator(mode="after")
    def _has_a_size(self) -> "ComponentRecipe":
        if not (self.manifest or self.known or self.declared):
            raise ValueError("give `manifest`; `known` and `declared` are for plans only")
        return self


class BudgetRecipe(Recipe):
    """The length of the mixture: tokens, sequences, or steps and batch."""

    tokens: Annotated[Amount, Field(gt=0)] | None = None
    """Tokens, rounded down to whole sequences."""
    sequences: Annotated[Amount, Field(gt=0)] | None = None
    """Sequences."""
    steps: Annotated[Amount, Field(gt=0)] | None = None
    """Optimizer steps; needs `batch`."""
    batch: Annotated[Amount, Field(gt=0)] | None = None
    """Sequences per step. With `tokens` or `sequences`, it rounds the budget down to whole steps."""
    prompts: Annotated[Amount, Field(gt=0)] | None = None
    """Prompts, for kind prompts."""

    @model_validator(mode="after")
    def _one_unit(self) -> "BudgetRecipe":
        units = (self.tokens, self.sequences, self.steps, self.prompts)
        if sum(unit is not None for unit in units) != 1:
            raise ValueError("give one of `tokens`, `sequences`, `steps` with `batch`, or `prompts`")
        if self.steps is not None and self.batch is None:
            raise ValueError("`steps` and `batch` go together")
        return self

    def count(self, sequence_length: int) -> int:
        """The budget in whole sequences of `sequence_length` tokens, or in prompts. UserError when that is zero."""
        if self.steps is not None and self.batch is not None:
            return self.steps * self.batch
        asked = self.tokens // sequence_length if self.tokens is not None else self.sequences or self.prompts or 0
        if not asked:
            wrong = f"the budget holds no sequence of {sequence_length} tokens"
            raise UserError(wrong, "Raise the budget or shorten the sequences")
        if asked < (self.batch or 1):
            wrong = f"the budget of {asked} sequences is smaller than one batch of {self.batch}"
            raise UserError(wrong, f"Raise it to {self.batch} sequences, {(self.batch or 1) * sequence_length} tokens")
        return asked - asked % (self.batch or 1)


class HoldOutRecipe(Recipe):
    """Documents that are set aside for measuring the loss: never read by this mixture, and neither are their
    near-duplicates. They depend on the corpus, the share and the seed alone, so that all mixtures of a corpus with the
    same `hold_out` set the same documents aside."""

    share: float = Field(default=0.01, gt=0, lt=1)
    """Expected share of the corpus. A larger share contains the documents of a smaller one with the same seed."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the choice."""


class MixRecipe(NamedRecipe):
    """A mixture (kind mixture) or a set of prompts (kind prompts)."""

    kind: Literal["mixture", "prompts"] = "mixture"
    """`mixture`: packed sequences of tokens for mid-training. `prompts`: questions with answers for RL."""
    components: tuple[ComponentRecipe, ...] = Field(min_length=1)
    """The components."""
    budget: BudgetRecipe | None = None
    """The size; for kind prompts the default is all selected prompts."""
    sequence_length: Annotated[Amount, Field(gt=0)] | None = None
    """Input tokens of one sequence; required for a mixture."""
    tokenizer: Annotated[str | None, Local] = None
    """A tokenizer.json or a folder with one, relative to the working directory or to the project; required for a
    mixture. Its digest enters the identity."""
    formats: Annotated[dict[str, str], Local] = Field(default={})
    """Templates by name, such as "User:{question}\\nAssistant:{response}"; the fields are text, question, response and
    answer. The template, not its name, enters the identity of the components that use it."""
    seed: int = 0
    """Seed of the permutations of documents."""
    hold_out: HoldOutRecipe | None = None
    """Documents set aside for `octo eval --loss` and `validation.loss`; by default none."""

    @model_validator(mode="after")
    def _fits_its_kind(self) -> "MixRecipe":
        names = [component.name for component in self.components]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two components are called {', '.join(twice)}")
        if self.kind == "mixture":
            missing = [name for name in ("budget", "sequence_length", "tokenizer") if getattr(self, name) is None]
            if missing:
                raise ValueError(f"a mixture needs {', '.join(missing)}")
        if self.budget and (self.budget.prompts is not None) != (self.kind == "prompts"):
            raise ValueError("`kind: prompts` takes a budget in prompts, and no other kind does")
        return self

    @field_validator("formats")
    @classmethod
    def _templates(cls, formats: dict[str, str]) -> dict[str, str]:
        for name, template in formats.items():
            fields = [field for _, field in parsed(template) if field is not None]
            if not fields or (unknown := sorted({*fields} - {*FIELDS})):
                wrong = f"names {', '.join(unknown)}" if fields else "names no field"
                raise ValueError(f"template {name} {wrong}; a template may name {', '.join(FIELDS)}")
        return formats

    @model_validator(mode="after")
    def _formats_are_named(self) -> "MixRecipe":
        for part in self.components:
            if part.format and (part.format not in self.formats or self.kind == "prompts"):
                raise ValueError(f"component {part.name}: {self.kind} has no format {part.format}")
        return self

    def template(self, component: ComponentRecipe) -> str | None:
        """The text of the template that renders `component`, if any."""
        return self.formats[component.format] if component.format else None


def parsed(template: str) -> list[tuple[str, str | None]]:
    """(text, field after it) of a template, in order. ValueError for anything but plain fields in braces."""
    parts = list(string.Formatter().parse(template))
    if any(spec or conversion for _, _, spec, conversion in parts):
        raise ValueError(f"{template!r}: a field is a name in braces and nothing more")
    return [(text, field) for text, field, _, _ in parts]


# -- grids ---------------------------------------------------------------------------------------------------------


class CellRecipe(Recipe):
    """One mixture of a grid: the weights of its sources."""

    weights: dict[str, float] = Field(min_length=1)
    """Weight of each source of the mixture."""
    budget: BudgetRecipe | None = None
    """The budget of this mixture; by default that of the grid."""


class GridRecipe(NamedRecipe):
    """Mixtures that differ in the weights of their sources: one table instead of a recipe for each. The name of a
    mixture is the name of the grid, `-`, and the name of its cell."""

    sources: dict[str, dict[str, Any]] = Field(min_length=1)
    """Components by name, with every field of a component except name and weight."""
    cells: dict[str, CellRecipe] = Field(min_length=1)
    """Mixtures by name."""
    budget: BudgetRecipe
    """The length of each mixture."""
    sequence_length: Annotated[Amount, Field(gt=0)]
    """Input tokens of one sequence."""
    tokenizer: Annotated[str, Local]
    """A tokenizer.json or a folder with one, as in a mixture."""
    seed: int = 0
    """Seed of the permutations of documents."""
    hold_out: HoldOutRecipe | None = None
    """Documents set aside from every mixture of the grid; by default none."""

    def cell(self, name: str) -> MixRecipe:
        """The recipe of one cell. UserError for a cell or a source that the grid lacks."""
        if name not in self.cells:
            raise UserError(f"{self.name} has no cell {name}", f"It has {', '.join(self.cells)}")
        cell = self.cells[name]
        if unknown := ", ".join(sorted({*cell.weights} - {*self.sources})):
            raise UserError(f"cell {name} weighs {unknown}, which is not a source", "Name it under `sources`")
        components = [{"name": source, "weight": w, **self.sources[source]} for source, w in cell.weights.items()]
        shared = self.model_dump(include={"version", "sequence_length", "tokenizer", "seed", "hold_out"})
        plain = {"name": f"{self.name}-{name}", "components": components, "budget": cell.budget or self.budget}
        return parse(shared | plain, MixRecipe, f"cell {name}")


def load_mixes(path: str | Path, overrides: Sequence[str] = (), cell: str | None = None) -> list[MixRecipe]:
    """The recipe in the file `path`; of a grid (a file with `cells`) the one called `cell`, or all of them."""
    file = recipe_file(path)
    is_grid = file.is_file() and re.search(r"^cells:", file.read_text(encoding="utf-8"), re.MULTILINE)
    if not cell and not is_grid:
        return [load(path, MixRecipe, list(overrides))]
    grid = load(path, GridRecipe, list(overrides))
    return [grid.cell(name) for name in ([cell] if cell else grid.cells)]
