"""The recipe of a study. Loads neither torch nor datatrove.

A study names other recipes by path; what they say, not where they lie, enters its identity. Leaves out what the paths
hold: `octo.study.design` reads them.
"""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from evaluation.samplers.sampling import SamplerName
from manifests.paths import Name
from manifests.recipe import Local, NamedRecipe, Recipe
from rl.config import Backend as RLBackend
from training.config import Backend as TrainingBackend
from training.config import SlurmRecipe

Share = Annotated[float, Field(ge=0, le=1)]
Changes = tuple[str, ...]
"""Overrides of the fields of a recipe, as on the command line: `budget.steps=320`."""


class StemRecipe(Recipe):
    """The start that the arms of one seed share: a model trained once for each seed."""

    mixture: Annotated[str, Local]
    """Recipe of its mixture."""
    train: Annotated[str, Local]
    """Recipe of its training."""


class ArmRecipe(Recipe):
    """One arm: a mixture of the grid, and what else is different from the other arms."""

    cell: str | None = None
    """Mixture of the grid; by default the one with the name of the arm."""
    stem: str | None = None
    """Stem from which the arm starts; by default the first."""
    mix: Changes = ()
    """Changes of the recipe of the mixture, such as `budget.steps=320`."""
    train: Changes = ()
    """Changes of the recipe of the training."""
    rl: Changes = ()
    """Changes of the recipe of RL."""


class SwarmRecipe(Recipe):
    """Arms whose weights are drawn from the region that the corpus allows."""

    arms: Annotated[int, Field(ge=1, le=1000)]
    """Number of arms."""
    design: Literal["sobol", "dirichlet", "d_optimal"] = "sobol"
    """`sobol` fills the region evenly, `dirichlet` draws at random around equal weights, `d_optimal` chooses the
    mixtures from which the effects of the components are estimated best."""
    bounds: dict[str, tuple[Share, Share]] = Field(default={})
    """Smallest and largest share of a component; by default 0 and 1."""
    seed: int = 0
    """Seed of the draw."""

    @field_validator("bounds")
    @classmethod
    def _ascend(cls, bounds: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
        if wrong := [name for name, (low, high) in bounds.items() if low > high]:
            raise ValueError(f"the smallest share of {wrong[0]} is above its largest")
        return bounds


class BranchRecipe(Recipe):
    """A further stage of training, on the same mixture for every arm."""

    mixture: Annotated[str, Local]
    """Recipe of its mixture."""
    train: Annotated[str, Local]
    """Recipe of its training."""


class ClaimRecipe(Recipe):
    """A claim that the study decides: one arm is better than another, or an outcome goes with another."""

    says: str
    """The claim as a sentence."""
    better: str | None = None
    """Arm that has the larger outcome, if the claim holds."""
    worse: str | None = None
    """Arm that has the smaller one."""
    outcome: str = "accuracy_after"
    """Outcome that is compared."""
    instead_of: str | None = None
    """Outcome of `worse` if it is another than `outcome`; to compare an arm with itself, before and after."""
    predictor: str | None = None
    """Outcome that predicts `outcome` over all cells, if the claim holds, in place of `better` and `worse`."""
    sign: Literal[-1, 1] = 1
    """-1 if a larger predictor goes with a smaller outcome."""
    margin: Annotated[float, Field(ge=0)] = 0.0
    """Smallest difference (or correlation) of interest. A difference that is certainly smaller refutes the claim."""

    @model_validator(mode="after")
    def _of_one_form(self) -> "ClaimRecipe":
        pair = (self.better, self.worse)
        if (self.predictor is None) == (None in pair) or (self.predictor and any(pair)):
            raise ValueError("give `better` and `worse`, or `predictor`")
        return self


class StudyRecipe(NamedRecipe):
    """The same model and RL on several mixtures, several times, and the outcomes that are compared."""

    question: Annotated[str, Local] = ""
    """What the study asks, in one sentence; for people."""
    seeds: tuple[int, ...] = Field(min_length=1)
    """Seeds; each gives a cell of every arm. A seed sets the order of mixtures, the random weights and the sampling of
    RL; arms of one seed share their stem."""
    corpus: Annotated[str | None, Local] = None
    """Recipe of the corpus, if the study builds it; otherwise the mixtures name one that is there."""
    stems: dict[Name, StemRecipe] = Field(default={})
    """Stems by name. Without one, each arm starts from the model of its training recipe."""
    mixtures: Annotated[str, Local]
    """Recipe of a grid of mixtures: the sources, and a cell for each arm."""
    train: Annotated[str, Local]
    """Recipe of the training of an arm."""
    arms: dict[Name, ArmRecipe] = Field(default={})
    """Arms by name; by default every cell of the grid is one."""
    swarm: SwarmRecipe | None = None
    """Arms with drawn weights, in addition to those that are named in `arms`."""
    proposals: Annotated[str | None, Local] = None
    """Manifest of proposals (`octo study propose`) whose mixtures are arms as well."""
    branches: dict[Name, BranchRecipe] = Field(default={})
    """Further stages of training by name: each arm is trained on each of them, before RL."""
    prompts: Annotated[str | None, Local] = None
    """Recipe of the prompts of RL."""
    rl: Annotated[str | None, Local] = None
    """Recipe of RL; without it the study ends with training."""
    evaluation: Annotated[str, Local]
    """Recipe of the evaluations, before and after RL."""
    benchmarks: Annotated[tuple[str, ...], Local] = ()
    """Benchmark manifests; by default those that the recipe of the evaluations names."""
    loss: Annotated[tuple[str, ...], Local] = ()
    """Manifests on which the loss of every model before RL is measured, as `octo eval --loss` takes them: the outcome
    `bits_per_byte`."""
    outcomes: dict[Name, str] = Field(default={})
    """Outcomes by name, each a SELECT of one number with the parameters $mixture, $stem, $base, $loss, $before,
    $rl and $after (IDs of the cell). Built-in outcomes need no entry, see docs/guides/studies.md."""
    report: tuple[str, ...] = ("accuracy_before", "accuracy_after")
    """Outcomes of the tables, the most important one last."""
    control: str | None = None
    """Arm with which the others are compared; by default the first."""
    claims: dict[Name, ClaimRecipe] = Field(default={})
    """Claims by name, decided together (Holm)."""
    training_backend: TrainingBackend = "torch"
    """Backend of every training."""
    rl_backend: RLBackend = "torch"
    """Backend of every RL run."""
    sampler: SamplerName = "transformers"
    """Sampler of every evaluation."""
    place: Annotated[SlurmRecipe, Local] = SlurmRecipe()
    """Resources that one job requests with `--on slurm`."""

    @property
    def asked(self) -> list[str]:
        """Every outcome that the study reports, defines or decides a claim by."""
        claimed = [
            name
            for claim in self.claims.values()
            for name in (claim.outcome, claim.instead_of, claim.predictor)
            if name is not None
        ]
        return list(dict.fromkeys([*self.report, *self.outcomes, *claimed]))

    @model_validator(mode="after")
    def _hangs_together(self) -> "StudyRecipe":
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("`seeds`: a seed is given twice, which would be the same cell")
        if (self.rl is None) != (self.prompts is None):
            raise ValueError("`rl` and `prompts` go together")
        return self
