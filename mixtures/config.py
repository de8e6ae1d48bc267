"""Recipe of a mixture of tokens, or of a set of prompts for reinforcement learning.

Loads neither torch nor datatrove. What a manifest is called and where the tokenizer lies are local: in the identity
stand the corpus manifest's ID, the tokenizer's digest and the number of sequences that the budget comes to.
"""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from manifests.recipe import Amount, Local, Recipe


class ComponentRecipe(Recipe):
    """Documents of one corpus manifest, by an SQL condition, and how much of the mixture they make up."""

    name: str = Field(pattern=r"[A-Za-z0-9][A-Za-z0-9._-]*")
    """Name of the component in every table."""
    manifest: Annotated[str, Local]
    """Corpus manifest: name@version, an ID or a prefix of one. Its ID enters the identity."""
    where: str = "true"
    """SQL condition over the columns of `documents`, as `role = 'web' AND math_density > 0.1`. Dropped documents are
    left out without being named here."""
    allow: tuple[str, ...] = ()
    """Drop reasons whose documents may be selected in spite of them."""
    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Weight in tokens (of prompts: in prompts). Weights need not sum to one."""
    max_epochs: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """How often its documents may be used. With 1.5 at most one and a half times its tokens are read, no document more
    than twice."""
    min_tokens: Annotated[Amount, Field(ge=0)] = 0
    """Fewest tokens that the component must get; a plan that gives it less is refused."""


class BudgetRecipe(Recipe):
    """How long the mixture is: tokens, sequences, or steps and batch."""

    tokens: Annotated[Amount, Field(gt=0)] | None = None
    """Tokens, rounded down to whole sequences."""
    sequences: Annotated[Amount, Field(gt=0)] | None = None
    """Sequences."""
    steps: Annotated[Amount, Field(gt=0)] | None = None
    """Optimizer steps; needs `batch`."""
    batch: Annotated[Amount, Field(gt=0)] | None = None
    """Sequences of one step."""
    prompts: Annotated[Amount, Field(gt=0)] | None = None
    """Prompts, for kind prompts."""

    @model_validator(mode="after")
    def _one_unit(self) -> "BudgetRecipe":
        if (self.steps is None) != (self.batch is None):
            raise ValueError("`steps` and `batch` go together")
        units = (self.tokens, self.sequences, self.steps, self.prompts)
        if sum(unit is not None for unit in units) != 1:
            raise ValueError("give one of `tokens`, `sequences`, `steps` with `batch`, or `prompts`")
        return self

    def count(self, sequence_length: int) -> int:
        """The budget in whole sequences of `sequence_length` tokens, or in prompts."""
        if self.tokens is not None:
            return self.tokens // sequence_length
        if self.steps is not None and self.batch is not None:
            return self.steps * self.batch
        return self.sequences or self.prompts or 0


class MixRecipe(Recipe):
    """A mixture (kind mixture) or a set of prompts (kind prompts)."""

    name: Annotated[str, Local]
    """Name of the manifest."""
    version: Annotated[str, Local] = "1"
    """Version of the manifest; with the name it is given once and for ever."""
    kind: Literal["mixture", "prompts"] = "mixture"
    """`mixture`: packed sequences of tokens for mid-training. `prompts`: questions with answers for RL."""
    components: tuple[ComponentRecipe, ...] = Field(min_length=1)
    """What it is made of."""
    budget: BudgetRecipe | None = None
    """How much of it; prompts without a budget are all that were selected."""
    sequence_length: Annotated[Amount, Field(gt=0)] | None = None
    """Input tokens of one sequence; needed for a mixture."""
    tokenizer: Annotated[str | None, Local] = None
    """A tokenizer.json or a folder with one, relative to the working directory or to the project; needed for a mixture.
    Its digest enters the identity."""
    seed: int = 0
    """Seed of the permutations of documents."""

    @field_validator("version", mode="before")
    @classmethod
    def _version_as_text(cls, value: object) -> object:
        """`version: 1` and `version: 2026.11` are what people write."""
        return str(value) if isinstance(value, int | float) else value

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
            raise ValueError("a budget in prompts is for kind prompts, and no other is")
        return self
