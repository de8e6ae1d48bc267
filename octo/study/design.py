"""The study that a recipe comes to: its arms, their cells, and the nodes that make them.

A *cell* is one arm (on one branch) with one seed. A *node* is one verb with its recipe, and the nodes whose results it
takes; what cells share, such as a stem or the prompts, is one node. Promises: pure but for reading recipes, and for a
swarm the sizes of the components; nodes come after what they need; the same recipe gives the same nodes, names and
order. Leaves out doing anything: `octo.study.nodes` does a node, `octo.study.run` all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from evaluation.config import EvalRecipe, LossRecipe
from evaluation.samplers.sampling import SamplerName
from manifests.errors import UserError
from manifests.identity import json_digest
from manifests.manifest import Manifest, resolve
from manifests.recipe import Recipe, load, override, parse, semantic
from manifests.store import Store
from mixtures.config import GridRecipe, MixRecipe
from octo.study.config import ArmRecipe, Changes, StudyRecipe
from octo.study.swarm import draw, proposed_weights
from rl.config import Backend as RLBackend
from rl.config import RLRecipe
from training.config import Backend as TrainingBackend
from training.config import TrainRecipe

Verb = Literal["mix", "train", "rl", "eval", "loss"]
R = TypeVar("R", bound=Recipe)
PLAIN = ArmRecipe()


@dataclass(frozen=True)
class Node:
    """One verb with its recipe. `needs` maps what the verb takes (mixture, parent, prompts, model) to other nodes."""

    number: int
    name: str
    verb: Verb
    recipe: Recipe
    needs: dict[str, str]
    arm: str | None = None
    seed: int | None = None
    benchmarks: tuple[str, ...] = ()

    @property
    def work(self) -> str:
        """Digest of the verb and its recipe without the seed. Equal work takes about equal time."""
        said = {name: value for name, value in semantic(self.recipe).items() if name != "seed"}
        return json_digest({"verb": self.verb, "recipe": said, "benchmarks": self.benchmarks})[:16]

    @property
    def kind_of_work(self) -> str:
        """Digest of what sets the time per unit of work: all but the seed and the length."""
        but = {"seed", "steps", "sequences", "budget", "components", "limit", "samples", "schedule"}
        said = {name: value for name, value in semantic(self.recipe).items() if name not in but}
        return json_digest({"verb": self.verb, "recipe": said, "benchmarks": self.benchmarks})[:16]


@dataclass(frozen=True)
class Backends:
    """What trains, reinforces and samples."""

    training: TrainingBackend = "torch"
    rl: RLBackend = "torch"
    sampler: SamplerName = "transformers"


@dataclass(frozen=True)
class Cell:
    """One arm on one branch with one seed, and the names of the nodes that make it."""

    arm: str
    branch: str
    seed: int
    stem: str
    nodes: dict[str, str]
    """stem, mixture, base, loss, before, rl and after, as far as the study has them."""

    @property
    def name(self) -> str:
        return f"{self.arm}{f'.{self.branch}' if self.branch else ''}.s{self.seed}"


@dataclass(frozen=True)
class Study:
    """A recipe made exact."""

    recipe: StudyRecipe
    weights: dict[str, dict[str, float]]
    """Share of each component by arm."""
    nodes: tuple[Node, ...]
    cells: tuple[Cell, ...]

    @property
    def by_name(self) -> dict[str, Node]:
        return {node.name: node for node in self.nodes}

    @property
    def backends(self) -> Backends:
        """What trains, reinforces and samples."""
        return Backends(self.recipe.training_backend, self.recipe.rl_backend, self.recipe.sampler)

    @property
    def control(self) -> str:
        """The arm with which the others are compared."""
        return self.recipe.control or self.cells[0].arm

    def closure(self, cell: Cell) -> set[str]:
        """Every node that a cell needs."""
        by_name, found, ahead = self.by_name, set[str](), list(cell.nodes.values())
        while ahead:
            name = ahead.pop()
            if name not in found:
                found.add(name)
                ahead += by_name[name].needs.values()
        return found

    @property
    def meaning(self) -> dict[str, Any]:
        """What the study is, as plain JSON: what its nodes do, without places and names of files."""
        nodes = [
            {"name": node.name, "verb": node.verb, "recipe": _meaning(node.recipe), "needs": node.needs,
             "benchmarks": list(node.benchmarks)}
            for node in self.nodes
        ]  # fmt: skip
        return {"study": semantic(self.recipe), "nodes": nodes}


def _meaning(recipe: Recipe) -> dict[str, Any]:
    """The semantic part of a recipe; of a mixture, with the corpora that its components name."""
    said = semantic(recipe)
    if isinstance(recipe, MixRecipe):
        said["corpora"] = [component.manifest for component in recipe.components]
        said["budget"] = recipe.budget.model_dump(mode="json") if recipe.budget else None
    return said


def design(store: Store, recipe: StudyRecipe) -> Study:
    """The study that `recipe` declares. UserError for a recipe that cannot be read, or arms that do not fit it."""
    grid = load(recipe.mixtures, GridRecipe)
    arms = _arms(store, recipe, grid)
    _check_names(recipe, arms)
    made = _Nodes(recipe, grid, arms)
    cells = [cell for seed in recipe.seeds for arm in arms for cell in made.cells(arm, seed)]
    weights = {arm: _shares(grid, made.mixture_of(arm, recipe.seeds[0])) for arm in arms}
    return Study(recipe, weights, tuple(made.nodes.values()), tuple(cells))


def _arms(store: Store, recipe: StudyRecipe, grid: GridRecipe) -> dict[str, "Arm"]:
    """The arms by name: those that are named, or else every cell of the grid; then the swarm."""
    drawn = recipe.swarm or recipe.proposals
    named = recipe.arms or ({} if drawn else {name: PLAIN for name in grid.cells})
    arms = {name: Arm(arm, _cell(grid, arm.cell or name, name)) for name, arm in named.items()}
    if recipe.swarm:
        arms |= _swarm(store, recipe, grid)
    if recipe.proposals:
        proposed = proposed_weights(resolve(store, recipe.proposals))
        arms |= {name: Arm(PLAIN, _weighted(grid, name, weights)) for name, weights in proposed.items()}
    return arms


@dataclass(frozen=True)
class Arm:
    """What an arm changes, and its mixture before these changes."""

    recipe: ArmRecipe
    mixture: MixRecipe


def _cell(grid: GridRecipe, cell: str, arm: str) -> MixRecipe:
    if cell not in grid.cells:
        raise UserError(
            f"arm {arm}: the grid {grid.name} has no mixture {cell}", f"It has {', '.join(grid.cells)}; set `cell`"
        )
    return grid.cell(cell)


def _swarm(store: Store, recipe: StudyRecipe, grid: GridRecipe) -> dict[str, Arm]:
    """Arms with drawn weights, each within what its components can supply."""
    assert recipe.swarm
    drawn = draw(store, grid, recipe.swarm)
    width = len(str(len(drawn)))
    return {
        f"m{number:0{width}}": Arm(PLAIN, _weighted(grid, f"m{number:0{width}}", weights))
        for number, weights in enumerate(drawn, 1)
    }


def _weighted(grid: GridRecipe, name: str, weights: dict[str, float]) -> MixRecipe:
    """The mixture of the grid's sources with these weights; a component without weight is left out."""
    kept = {source: weight for source, weight in weights.items() if weight > 0}
    cell = {"weights": kept}
    return parse(grid.model_dump() | {"cells": {name: cell}}, GridRecipe, f"arm {name}").cell(name)


def _shares(grid: GridRecipe, mixture: MixRecipe) -> dict[str, float]:
    given = {component.name: component.weight for component in mixture.components}
    total = sum(given.values())
    return {source: given.get(source, 0.0) / total for source in grid.sources}


def _check_names(recipe: StudyRecipe, arms: dict[str, Arm]) -> None:
    """Every arm and stem that the recipe mentions must be there."""

    def check(name: str | None, known: Sequence[str], what: str) -> None:
        if name is not None and name not in known:
            raise UserError(f"{what} {name!r} is not part of the study", f"It has {', '.join(known) or 'none'}")

    check(recipe.control, list(arms), "control: arm")
    for name, claim in recipe.claims.items():
        check(claim.better, list(arms), f"claim {name}: arm")
        check(claim.worse, list(arms), f"claim {name}: arm")
    for name, arm in arms.items():
        check(arm.recipe.stem, list(recipe.stems), f"arm {name}: stem")


# -- nodes -----------------------------------------------------------------------------------------------------------


class _Nodes:
    """The nodes of a study as they are first asked for, each once."""

    def __init__(self, recipe: StudyRecipe, grid: GridRecipe, arms: dict[str, Arm]):
        self.recipe, self.grid, self.arms = recipe, grid, arms
        self.nodes: dict[str, Node] = {}
        self.evaluation = load(recipe.evaluation, EvalRecipe)
        self.benchmarks = recipe.benchmarks or self.evaluation.benchmarks
        if not self.benchmarks:
            raise UserError(f"study {recipe.name} names no benchmark", "Set `benchmarks`")

    def cells(self, arm: str, seed: int) -> list[Cell]:
        """The cells of an arm with one seed, one for each branch, and their nodes."""
        return [self._cell(arm, branch, seed) for branch in self.recipe.branches or ("",)]

    def _cell(self, arm: str, branch: str, seed: int) -> Cell:
        stem = self.arms[arm].recipe.stem or next(iter(self.recipe.stems), "")
        nodes = {"stem": self._stem(stem, seed)} if stem else {}
        mixture, trained = self._trained(arm, seed, nodes.get("stem"))
        base = self._branch(arm, branch, seed, trained) if branch else trained
        nodes |= {"mixture": mixture, "base": base}
        where = f"arm.{arm}{f'.{branch}' if branch else ''}.s{seed}"
        if self.recipe.loss:
            needs, texts = {"model": base}, self.recipe.loss
            nodes["loss"] = self._add(f"{where}.loss", "loss", LossRecipe(), needs, arm, seed, texts)
        nodes["before"] = self._evaluated(f"{where}.before", base, arm, seed)
        if self.recipe.rl:
            nodes["rl"] = self._reinforced(where, base, arm, seed)
            nodes["after"] = self._evaluated(f"{where}.after", nodes["rl"], arm, seed)
        return Cell(arm, branch, seed, stem, nodes)

    def _stem(self, stem: str, seed: int) -> str:
        part, name = self.recipe.stems[stem], f"stem.{stem}.s{seed}"
        mixture = self._mix(f"{name}.mix", _changed(load(part.mixture, MixRecipe), (), seed), None, seed)
        recipe = _changed(load(part.train, TrainRecipe), (), seed)
        return self._add(f"{name}.train", "train", recipe, {"mixture": mixture}, None, seed)

    def mixture_of(self, arm: str, seed: int) -> MixRecipe:
        """The recipe of the mixture of an arm."""
        return _changed(self.arms[arm].mixture, self.arms[arm].recipe.mix, seed)

    def _trained(self, arm: str, seed: int, stem: str | None) -> tuple[str, str]:
        name = f"arm.{arm}.s{seed}"
        mixture = self._mix(f"{name}.mix", self.mixture_of(arm, seed), arm, seed)
        recipe = _changed(load(self.recipe.train, TrainRecipe), self.arms[arm].recipe.train, seed)
        needs = {"mixture": mixture} | ({"parent": stem} if stem else {})
        return mixture, self._add(f"{name}.train", "train", recipe, needs, arm, seed)

    def _branch(self, arm: str, branch: str, seed: int, trained: str) -> str:
        part = self.recipe.branches[branch]
        shared = f"branch.{branch}.s{seed}.mix"
        mixture = self._mix(shared, _changed(load(part.mixture, MixRecipe), (), seed), None, seed)
        recipe, needs = _changed(load(part.train, TrainRecipe), (), seed), {"mixture": mixture, "parent": trained}
        return self._add(f"arm.{arm}.{branch}.s{seed}.train", "train", recipe, needs, arm, seed)

    def _reinforced(self, where: str, base: str, arm: str, seed: int) -> str:
        assert self.recipe.rl and self.recipe.prompts
        prompts = self._mix("prompts", load(self.recipe.prompts, MixRecipe), None, None)
        recipe = _changed(load(self.recipe.rl, RLRecipe), self.arms[arm].recipe.rl, seed)
        return self._add(f"{where}.rl", "rl", recipe, {"prompts": prompts, "parent": base}, arm, seed)

    def _evaluated(self, name: str, model: str, arm: str, seed: int) -> str:
        return self._add(name, "eval", self.evaluation, {"model": model}, arm, seed, self.benchmarks)

    def _mix(self, name: str, recipe: MixRecipe, arm: str | None, seed: int | None) -> str:
        """A mixture, under a name that says where it is from and a version that its recipe makes its own."""
        version = json_digest(_meaning(recipe))[:8]
        called = {"name": f"{self.recipe.name}-{name.removesuffix('.mix')}", "version": version}
        return self._add(name, "mix", recipe.model_copy(update=called), {}, arm, seed)

    def _add(
        self,
        name: str,
        verb: Verb,
        recipe: Recipe,
        needs: dict[str, str],
        arm: str | None,
        seed: int | None,
        benchmarks: tuple[str, ...] = (),
    ) -> str:
        if name not in self.nodes:
            self.nodes[name] = Node(len(self.nodes), name, verb, recipe, needs, arm, seed, benchmarks)
        return name


def _changed(recipe: R, changes: Changes, seed: int) -> R:
    """`recipe` with `changes` and this seed, checked again."""
    data = recipe.model_dump(mode="json")
    for change in (*changes, f"seed={seed}"):
        override(data, change)
    return parse(data, type(recipe), "arm")


def check_corpora(store: Store, study: Study, is_plan: bool = False) -> dict[str, str]:
    """ID of each corpus by the name that mixtures give it. For a plan, one of which sizes are declared may be missing.

    UserError when one is missing, or when two arms read different versions of one corpus: their outcomes would differ
    for two reasons.
    """
    named: dict[str, list[str]] = {}
    declared: set[str] = set()
    for node in study.nodes:
        for part in node.recipe.components if isinstance(node.recipe, MixRecipe) else ():
            named.setdefault(str(part.manifest), []).append(node.name)
            if is_plan and (part.known or part.declared):
                declared.add(str(part.manifest))
    found = {ref: manifest for ref in named if (manifest := _corpus(store, ref, ref in declared))}
    names = [manifest.name for manifest in found.values()]
    for ref, manifest in found.items():
        if names.count(manifest.name) > 1 and len({m.id for m in found.values() if m.name == manifest.name}) > 1:
            others = [other for other, m in found.items() if m.name == manifest.name and m.id != manifest.id]
            raise UserError(
                f"the corpus changed between arms: {named[ref][0]} reads {ref}, {named[others[0]][0]} {others[0]}",
                "Name one version in all mixtures",
            )
    return {ref: manifest.id for ref, manifest in found.items()}


def _corpus(store: Store, ref: str, may_be_missing: bool) -> Manifest | None:
    try:
        return resolve(store, ref)
    except UserError:
        if may_be_missing:
            return None
        raise
