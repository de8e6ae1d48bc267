"""`octo study …`: compare mixtures by what training and RL on them come to, with error bars."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from octo.commands.groups import study_app
from octo.commands.options import JsonOption, Overrides, PlanOption, StoreOption, WorkersOption, one_of, open_store
from octo.printing import identity, print_json, show_made, show_rows

if TYPE_CHECKING:
    from octo.study.results import Results

RecipeArgument = Annotated[Path, typer.Argument(help="YAML recipe of a study.")]
StudyArgument = Annotated[
    str, typer.Argument(help="A study: its manifest (name@version or ID), its run, or the path of its recipe.")
]


@study_app.command()
def plan(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    workers: WorkersOption = 1,
    json_: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Show the arms, what is done already, what the rest will take, and how precise the answer will be."""
    from manifests.recipe import load
    from octo.study.config import StudyRecipe
    from octo.study.cost import plan as study_plan

    found = study_plan(open_store(store), load(recipe, StudyRecipe, overrides or []), workers)
    if json_:
        print_json(found.as_json())
        return
    show_rows(found.arms, f"Arms of {found.title}")
    show_rows(found.work, "Work")
    for line in found.lines:
        print(line)


@study_app.command()
def run(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    on: Annotated[str, typer.Option("--on", help="local, or slurm: submit jobs and return.")] = "local",
    workers: WorkersOption = 1,
    plan_: PlanOption = False,
    json_: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Run every node of a study that is not done, and freeze the result as a manifest of kind study."""
    from manifests.catalog import Catalog
    from manifests.extras import need
    from manifests.places.place import EnginePlace
    from manifests.recipe import load
    from octo.study.config import StudyRecipe
    from octo.study.results import results, snapshot
    from octo.study.run import run_study, submit

    if plan_:
        plan(recipe, overrides, workers, json_, store)
        return
    place: EnginePlace = one_of(on, EnginePlace)
    need("train", "octo study run")
    home, config = open_store(store), load(recipe, StudyRecipe, overrides or [])
    if place == "slurm":
        begun, jobs = submit(home, config)
        if json_:
            print_json(identity(begun) | {"jobs": jobs})
            return
        show_rows([{"job": job, "does": name} for name, job in jobs.items()], "Submitted")
        print(begun.id)
        return
    made = run_study(home, config, workers)
    with Catalog(home) as catalog:
        found = results(snapshot(catalog, made.id))
    if json_:
        print_json(identity(made) | found.as_json())
        return
    _print(found)
    print(made.id)


@study_app.command()
def show(study: StudyArgument, json_: JsonOption = False, store: StoreOption = None) -> None:
    """Show the outcomes of every arm with their intervals, also while the study runs, and what its claims come to."""
    from manifests.catalog import Catalog
    from octo.study.results import results, snapshot

    with Catalog(open_store(store)) as catalog:
        found = results(snapshot(catalog, study))
    if json_:
        print_json(found.as_json())
        return
    _print(found)


@study_app.command()
def compare(
    study: StudyArgument,
    outcome: Annotated[str | None, typer.Option("--outcome", help="Outcome to compare; by default the last.")] = None,
    control: Annotated[str | None, typer.Option("--control", help="Arm to compare with; by default the first.")] = None,
    json_: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Compare the arms with one of them, paired by seed, with intervals corrected for the number of comparisons."""
    from manifests.catalog import Catalog
    from octo.study.results import compare as compare_arms
    from octo.study.results import snapshot

    with Catalog(open_store(store)) as catalog:
        title, rows = compare_arms(catalog, snapshot(catalog, study), outcome, control)
    show_rows(rows, title, json_)


@study_app.command()
def fit(
    studies: Annotated[list[str], typer.Argument(help="Studies: manifests, runs, or paths of recipes.")],
    outcome: Annotated[str | None, typer.Option("--outcome", help="Outcome to fit; by default the last.")] = None,
    by: Annotated[
        str | None,
        typer.Option("--by", help="SQL over `documents`: coordinates are what the runs really read, by its values."),
    ] = None,
    onto: Annotated[
        str | None, typer.Option("--onto", help="Corpus to which documents are followed; --by is over its documents.")
    ] = None,
    json_: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Fit an outcome to the mixture: models with their error for mixtures left out, the effect of each component."""
    from manifests.catalog import Catalog
    from manifests.errors import UserError
    from octo.study.learning import fit as fit_models
    from octo.study.results import snapshot

    if onto and not by:
        raise UserError("--onto follows documents, and needs --by", "Give an expression over `documents`")
    with Catalog(open_store(store)) as catalog:
        found = [snapshot(catalog, ref) for ref in studies]
        lesson = fit_models(catalog, found, outcome or found[0].reported[-1], by, onto)
    if json_:
        print_json(lesson.as_json())
        return
    show_rows(lesson.models, f"{lesson.title}: models")
    show_rows(lesson.effects, "Effect of each component, per unit of its weight")
    for line in lesson.lines:
        print(line)


@study_app.command()
def propose(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    outcome: Annotated[str | None, typer.Option("--outcome", help="Outcome to improve; by default the last.")] = None,
    n: Annotated[int, typer.Option("-n", min=1, help="Number of mixtures.")] = 4,
    lowest: Annotated[bool, typer.Option("--lowest", help="A smaller outcome is better.")] = False,
    json_: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Freeze the mixtures to run next, each with what is predicted of it, as a manifest."""
    from manifests.catalog import Catalog
    from manifests.manifest import resolve
    from manifests.recipe import load
    from mixtures.config import GridRecipe
    from octo.study.config import StudyRecipe
    from octo.study.learning import make_proposals
    from octo.study.results import snapshot

    home, config = open_store(store), load(recipe, StudyRecipe, overrides or [])
    manifest = resolve(home, f"{config.name}@{config.version}")
    with Catalog(home) as catalog:
        study = snapshot(catalog, manifest.id)
    grid = load(config.mixtures, GridRecipe)
    made = make_proposals(home, study, manifest, grid, outcome or study.reported[-1], n, lowest)
    show_made(made, json_, proposals=(f"{made.ref}, made from {manifest.ref}", made.read("proposals")))


@study_app.command()
def score(
    proposals: Annotated[str, typer.Argument(help="Manifest of proposals: name@version or ID.")],
    study: StudyArgument,
    json_: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Compare what was predicted of proposals with what a study that ran them came to."""
    from manifests.catalog import Catalog
    from octo.study.learning import score as score_proposals
    from octo.study.results import snapshot

    home = open_store(store)
    with Catalog(home) as catalog:
        rows, lines = score_proposals(home, proposals, snapshot(catalog, study))
    if json_:
        print_json({"proposals": rows, "notes": lines})
        return
    show_rows(rows, f"Predictions of {proposals}, and what {study} came to")
    for line in lines:
        print(line)


@study_app.command()
def verify(study: StudyArgument, json_: JsonOption = False, store: StoreOption = None) -> None:
    """Check a study against the store: its runs, their mixtures and starts, and every outcome computed again."""
    from manifests.errors import UserError
    from octo.study.verify import verify as verify_study

    home = open_store(store)
    made, problems, checked = verify_study(home, study)
    if json_:
        print_json(identity(made) | {"problems": problems, "checked": checked})
    else:
        for problem in problems:
            print(problem)
        if not problems:
            print(f"{made.ref} is sound: {json.dumps(checked)}")
            print(made.id)
    if problems:
        raise UserError(f"{len(problems)} problems in {made.ref}", "Run the study again in this store")


def _print(found: "Results") -> None:
    show_rows(found.cells, found.title)
    if found.claims:
        show_rows(found.claims, "Claims")
    for line in found.lines:
        print(line)
