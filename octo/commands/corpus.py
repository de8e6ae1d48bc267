"""Commands for corpora and their inputs: `sources`, `curate`, `annotate`, `curate train-classifier`."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from octo.commands.groups import app, curate_app
from octo.commands.options import JsonOption, Overrides, PlanOption, StoreOption, WorkersOption, one_of, open_store
from octo.printing import identity, print_json, show_made, show_plan, show_rows, show_run


@app.command()
def sources(
    name: Annotated[str | None, typer.Argument(help="One source, with its columns and fields.")] = None,
    recipe: Annotated[bool, typer.Option("--recipe", help="Print a recipe that curates the source NAME.")] = False,
    json_: JsonOption = False,
) -> None:
    """List the sources that `known` may name in a recipe; if no revision is listed, the recipe must give one.

    Marks of the statements: P was read in the repository or a paper, S by one reader; M is from memory, unchecked.
    """
    from curation.known_sources import KNOWN, lookup, recipe_text

    if name and recipe and json_:
        print_json({"recipe": recipe_text(name)})
        return
    if name and recipe:
        print(recipe_text(name), end="")
        return
    if name is None:
        show_rows([source.summary() for source in KNOWN.values()], "Known sources", json_)
        return
    found = vars(lookup(name)) | {"path": lookup(name).path}
    if json_:
        print_json(found)
        return
    plain = {key: json.dumps(value) if isinstance(value, dict | tuple) else value for key, value in found.items()}
    show_rows([{"field": key, "value": value} for key, value in plain.items()], name)


@curate_app.command(name="run")
def curate(
    recipe: Annotated[Path, typer.Argument(help="YAML recipe of a corpus.")],
    overrides: Overrides = None,
    workers: WorkersOption = 1,
    on: Annotated[
        str, typer.Option("--on", help="local, slurm or ray; `place` in the recipe sets their resources.")
    ] = "local",
    wait: Annotated[
        bool, typer.Option("--wait", help="With --on slurm: wait for the end, and submit lost tasks again.")
    ] = False,
    refilter: Annotated[
        str | None,
        typer.Option("--refilter", help="Corpus manifest to re-filter with other limits; no source is read."),
    ] = None,
    append_to: Annotated[
        str | None, typer.Option("--append-to", help="Corpus manifest to append to; only files that it lacks are read.")
    ] = None,
    reselect: Annotated[str | None, typer.Option("--reselect", hidden=True)] = None,
    onto: Annotated[str | None, typer.Option("--onto", hidden=True)] = None,
    plan: PlanOption = False,
    check: Annotated[bool, typer.Option("--check", help="With --plan: look at one record of each source.")] = False,
    json_: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Read sources, annotate every document, and freeze a corpus manifest."""
    from curation import pipeline
    from curation.config import CurateRecipe
    from manifests import catalog
    from manifests.errors import UserError
    from manifests.extras import need
    from manifests.manifest import resolve
    from manifests.places.place import PlaceName
    from manifests.recipe import load
    from manifests.runs import RunDirectory

    place: PlaceName = one_of(on, PlaceName)
    if place == "ray" and not (plan or check):
        need("ray", "octo curate --on ray")
    home, config = open_store(store), load(recipe, CurateRecipe, overrides or [])
    refilter = refilter or renamed("--reselect", "--refilter", reselect)
    append_to = append_to or renamed("--onto", "--append-to", onto)
    if refilter and append_to:
        hint = "Re-filter the corpus first, then append to the result"
        raise UserError("--refilter and --append-to are two steps", hint)
    base, grown = (resolve(home, ref) if ref else None for ref in (refilter, append_to))
    if check:
        looked = pipeline.check(home, config)
        show_plan([vars(row) for row in looked], f"{config.name}@{config.version}: one record of each", json_)
        raise typer.Exit(int(any(row.problem for row in looked)))
    if plan:
        rows = pipeline.plan(home, config, base, grown)
        show_plan([vars(row) for row in rows], f"{config.name}@{config.version}", json_)
        for title, script in pipeline.scripts(home, config) if place == "slurm" and not (base or json_) else ():
            print(f"\n# {title}\n{script}")
        return
    if place == "slurm" and not wait and not base:
        submitted = pipeline.submit(home, config, grown)
        if isinstance(submitted, RunDirectory):
            print_json(identity(submitted)) if json_ else show_run(submitted)
            return
    corpus = pipeline.curate(home, config, workers, base, grown, place)
    show_made(corpus, json_, funnel=(f"Funnel of {corpus.ref}", catalog.funnel(home, corpus.id)))
    exit_if_barren(pipeline.barren(corpus))


def renamed(old: str, new: str, value: str | None) -> str | None:
    """The value of an option under its old name, with a hint; old names are taken for one release."""
    if value is not None:
        print(f"octo: {old} is now called {new}; the old name will go in the next release", file=sys.stderr)
    return value


def exit_if_barren(lines: list[str]) -> None:
    """Exit status 3, and `lines` on stderr, where a source gave no document."""
    from manifests.progress import warn

    for line in lines:
        warn(line)
    if lines:
        raise typer.Exit(3)


@app.command()
def annotate(
    recipe: Annotated[Path, typer.Argument(help="YAML recipe of annotations.")],
    overrides: Overrides = None,
    plan: PlanOption = False,
    json_: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Ask a language model about documents of a corpus: scores, rewritten texts, or question-answer pairs."""
    from curation.language_model import annotate as annotating
    from curation.language_model.config import AnnotateRecipe
    from manifests.recipe import load

    home, config = open_store(store), load(recipe, AnnotateRecipe, overrides or [])
    if plan:
        show_plan([annotating.plan(home, config)], f"{config.name}@{config.version}", json_)
        return
    made = annotating.annotate(home, config)
    if failed := made.counts["failed"]:
        print(f"octo: {failed} requests failed; another version of the recipe asks for these again", file=sys.stderr)
    show_made(made, json_, verdicts=(f"Answers of {config.model}, {made.ref}", annotating.verdicts(home, made)))


@curate_app.command(name="train-classifier")
def classifier(
    recipe: Annotated[Path, typer.Argument(help="YAML recipe of a classifier.")],
    overrides: Overrides = None,
    plan: PlanOption = False,
    json_: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Train a fastText classifier on labelled rows of a corpus, for `octo curate` to score documents with."""
    from curation.classifiers import fit
    from curation.classifiers.config import ClassifierRecipe
    from manifests import catalog
    from manifests.recipe import load

    home, config = open_store(store), load(recipe, ClassifierRecipe, overrides or [])
    if plan:
        show_plan([fit.plan(home, config)], f"{config.name}@{config.version}", json_)
        return
    made = fit.train(home, config)
    show_made(
        made,
        json_,
        thresholds=(f"{made.ref} on documents held out", catalog.query(home, THRESHOLDS, [made.id])),
        words=("Words that weigh most", catalog.query(home, FEATURES, [made.id])),
        documents=("Documents", [made.counts]),
    )


THRESHOLDS = "SELECT * EXCLUDE (manifest, shard, row) FROM thresholds WHERE manifest = $1 ORDER BY threshold"
FEATURES = """
SELECT label, string_agg(word, ' ' ORDER BY rank) AS words FROM features WHERE manifest = $1 AND rank <= 20
GROUP BY label ORDER BY label DESC
"""
