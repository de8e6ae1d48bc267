"""Does one node of a study: one of the existing verbs, with the results of earlier nodes in place of IDs.

Promises: nothing is done here that a person could not do with `octo mix`, `octo train`, `octo rl` and `octo eval`; what
is there already is found by its ID and not done again; a node that was stopped resumes. `find` never writes. Leaves
out the order of nodes and what happens when one fails: see `octo.study.run`.
"""

from typing import Any, assert_never

from evaluation.config import EvalRecipe, LossRecipe
from evaluation.samplers.model_folder import checksums
from evaluation.scores import evaluate
from manifests.errors import UserError
from manifests.manifest import resolve
from manifests.recipe import parse
from manifests.runs import RunDirectory, begun, load_run
from manifests.store import Store
from mixtures import mix as mixing
from mixtures.config import MixRecipe
from octo.study.design import Backends, Node
from rl.config import RLRecipe
from training.config import TrainRecipe


def as_json(node: Node) -> dict[str, Any]:
    """`node` as plain JSON, for the record of the study and for another process."""
    plain = {name: getattr(node, name) for name in ("number", "name", "verb", "needs", "arm", "seed")}
    return plain | {"recipe": node.recipe.model_dump(mode="json"), "benchmarks": list(node.benchmarks)}


def from_json(plain: dict[str, Any]) -> Node:
    """The node that `as_json` wrote."""
    match plain["verb"]:
        case "mix":
            model = MixRecipe
        case "train":
            model = TrainRecipe
        case "rl":
            model = RLRecipe
        case "eval":
            model = EvalRecipe
        case "loss":
            model = LossRecipe
        case other:
            raise UserError(f"node {plain['name']} has no verb {other}", "Use a newer octothinker")
    recipe = parse(plain["recipe"], model, plain["name"])
    return Node(**plain | {"recipe": recipe, "benchmarks": tuple(plain["benchmarks"])})


def do(store: Store, node: Node, made: dict[str, str], backends: Backends) -> str:
    """Do `node`, or find its result; the ID of the manifest or run. `made` maps what it needs to IDs.

    UserError, and whatever the verb raises, when it fails.
    """
    match node.verb, node.recipe:
        case "mix", MixRecipe() as recipe:
            return mixing.mix(store, recipe).id
        case "train", TrainRecipe() as recipe:
            from training.launch import train

            mixture, parent = resolve(store, made["mixture"]), _run(store, made, "parent")
            return train(store, mixture, recipe, parent, backends.training).id
        case "rl", RLRecipe() as recipe:
            from rl.launch import reinforce

            return reinforce(store, resolve(store, made["prompts"]), recipe, load_run(store, made["parent"]),
                             backends.rl).id  # fmt: skip
        case "eval", EvalRecipe() as recipe:
            run = load_run(store, made["model"])
            benchmarks = [resolve(store, name) for name in node.benchmarks]
            folder = run.checkpoint(run.last_step)
            return evaluate(store, folder, benchmarks, recipe, run, backends.sampler, run.last_step).id
        case "loss", LossRecipe() as recipe:
            from evaluation.held_out.runs import evaluate_loss

            run = load_run(store, made["model"])
            return evaluate_loss(store, run, node.benchmarks, recipe, [run.last_step]).id
    raise AssertionError(f"{node.name}: {node.verb} with a {type(node.recipe).__name__}")


def find(store: Store, node: Node, made: dict[str, str], backends: Backends) -> str | None:
    """ID of the result of `node` if it is there and complete; None if it is not, or cannot be known yet."""
    try:
        if (run := _begun(store, node, made, backends)) is not None:
            return run.id if run.status == "done" else None
        if isinstance(node.recipe, MixRecipe):
            found = mixing.find(store, node.recipe)
            return found.id if found else None
    except (UserError, FileNotFoundError):  # what it needs is not there, so neither is its result
        pass
    return None


def _begun(store: Store, node: Node, made: dict[str, str], backends: Backends) -> RunDirectory | None:
    """The run that `node` would be, if it was ever begun."""
    match node.verb:
        case "mix":
            return None
        case "loss":
            from evaluation.held_out.runs import find as find_measured

            assert isinstance(node.recipe, LossRecipe)
            run = load_run(store, made["model"])
            return find_measured(store, run, node.benchmarks, node.recipe, [run.last_step])
        case "train":
            mixture = resolve(store, made["mixture"])
            return begun(store, "train", [mixture], node.recipe, backends.training, _run(store, made, "parent"))
        case "rl":
            prompts, parent = resolve(store, made["prompts"]), load_run(store, made["parent"])
            return begun(store, "rl", [prompts], node.recipe, backends.rl, parent)
        case "eval":
            run = load_run(store, made["model"])
            benchmarks = [resolve(store, name) for name in node.benchmarks]
            inputs = checksums(run.checkpoint(run.last_step))
            return begun(store, "eval", benchmarks, node.recipe, backends.sampler, run, inputs)
        case verb:
            assert_never(verb)


def _run(store: Store, made: dict[str, str], role: str) -> RunDirectory | None:
    return load_run(store, made[role]) if role in made else None
