"""Commands for benchmarks: `benchmarks` freezes them, `eval` measures a model on them."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from octo.commands.groups import app
from octo.commands.options import (
    JsonOption,
    Overrides,
    PlanOption,
    StoreOption,
    one_of,
    open_store,
)
from octo.printing import (
    identity,
    print_json,
    show,
    show_plan,
    show_rows,
)

if TYPE_CHECKING:
    from manifests.manifest import Manifest
    from manifests.runs import RunDirectory
    from manifests.store import Store


@app.command()
def benchmarks(
    names: Annotated[
        list[str] | None, typer.Argument(help="Known benchmarks to freeze; by default all in --from.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--from", help="Folder of files named after benchmarks, such as gsm8k.jsonl.")
    ] = None,
    revision: Annotated[
        str | None, typer.Option("--revision", help="Commit on the hub from which one NAME is frozen.")
    ] = None,
    version: Annotated[str, typer.Option("--version", help="Version of the manifests.")] = "1",
    json_: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """List the known benchmarks and suites; with names or --from, freeze them as manifests.

    Marks of the statements about the hub: P was read there; M is from memory, unchecked.
    """
    from evaluation.benchmarks import freeze_benchmark, freeze_folder, listing
    from evaluation.config import BenchmarkRecipe

    home = open_store(store)
    if not names and folder is None:
        show_rows(listing(home), "Benchmarks", json_)
        return
    if folder is not None:
        made = freeze_folder(home, str(folder), names or (), version)
    else:
        chosen = [BenchmarkRecipe(name=name, version=version, revision=revision) for name in names or ()]
        made = [freeze_benchmark(home, one) for one in chosen]
    if json_:
        print_json([identity(one) | {"items": one.counts["items"]} for one in made])
        return
    show_rows([{"name": one.ref, "items": one.counts["items"]} for one in made], "Frozen")
    for one in made:
        print(one.id)


@app.command(name="eval")
def evaluate_model(
    model: Annotated[
        str, typer.Argument(help="A run, a folder with a Hugging Face model, or - for the model of an endpoint.")
    ],
    recipe: Annotated[
        str | None,
        typer.Argument(
            help="YAML recipe; by default few-shot and greedy, or for an RL run the prompt of its training."
        ),
    ] = None,
    overrides: Overrides = None,
    suite: Annotated[str | None, typer.Option("--suite", help="octothinker, indicators, aime, or a benchmark.")] = None,
    benchmarks: Annotated[
        list[str] | None,
        typer.Option("--benchmark", help="Benchmark manifest; may be repeated. By default those of the recipe."),
    ] = None,
    sampler: Annotated[str, typer.Option("--sampler", help="transformers, vllm or endpoint.")] = "transformers",
    protocol: Annotated[
        str | None,
        typer.Option("--protocol", help="paper: prompts and rulings of the paper's harness; lm-eval: its prompts."),
    ] = None,
    step: Annotated[int | None, typer.Option("--step", help="Checkpoint of the run; by default the last.")] = None,
    plan: PlanOption = False,
    json_: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Sample answers to benchmark items, grade them, and store every sample and the scores with intervals.

    Beside each score is the score without the items that the model's own training data contains.
    """
    from evaluation import scores
    from evaluation.samplers.sampling import SamplerName
    from manifests import catalog
    from manifests.extras import need
    from manifests.runs import load_run

    name: SamplerName = one_of(sampler, SamplerName)
    if name != "endpoint" and not plan:
        need("vllm" if name == "vllm" else "train", f"octo eval --sampler {name}")
    home = open_store(store)
    parent = None if model == "-" or Path(model).is_dir() else load_run(home, model)
    config = eval_recipe(parent, recipe, [*(overrides or []), *([f"protocol={protocol}"] if protocol else [])])
    chosen = chosen_benchmarks(home, suite, benchmarks or list(config.benchmarks))
    if plan:
        show_plan(scores.plan(home, chosen, config, name), f"evaluating {model}", json_)
        return
    steps = parent.checkpoints() if parent else []
    at = step if step is not None else steps[-1] if steps else 0
    folder = parent.checkpoint(at) if parent and (steps or name != "endpoint") else None
    folder = folder if parent or model == "-" else Path(model)
    run = scores.evaluate(home, folder, chosen, config, parent=parent, sampler=name, step=at)
    if json_:
        scored = catalog.query(home, "SELECT * EXCLUDE run FROM scores WHERE run = $1", [run.id])
        print_json(identity(run) | {"scores": scored.to_pylist()})
        return
    show(catalog.query(home, SCORES, [run.id]), f"Scores of {model}, and without the items that leaked")
    if config.samples > 1:
        show(catalog.query(home, MORE_SCORES, [run.id]), "Of several answers")
    print(run.id)


def eval_recipe(parent: "RunDirectory | None", recipe: str | None, overrides: list[str]) -> Any:
    """The recipe given, else that of the project for what `parent` is: a base model, or one after RL."""
    from evaluation.config import EvalRecipe
    from manifests.recipe import load

    if recipe and "=" in recipe and not Path(recipe).exists():
        recipe, overrides = None, [recipe, *overrides]
    kind = "eval-rl" if parent and parent.record["kind"] == "rl" else "eval-base"
    return load(recipe or f"recipes/octothinker/{kind}.yaml", EvalRecipe, overrides)


def chosen_benchmarks(home: "Store", suite: str | None, names: list[str]) -> "list[Manifest]":
    """The manifests of a suite and those named; what a suite lacks here is said on stderr."""
    from evaluation.benchmarks import suite as members
    from manifests.manifest import resolve

    chosen = [resolve(home, name) for name in names] if names else []
    if suite is None:
        return chosen
    found, missing = members(home, suite)
    if missing:
        print(
            f"octo: {suite} without {', '.join(missing)}: not frozen in this store, see `octo benchmarks`",
            file=sys.stderr,
        )
    return [*found, *chosen]


SCORES = """
WITH wide AS (
  SELECT benchmark, metric, any_value(value) AS value, any_value(low) AS low, any_value(high) AS high,
         any_value(n) AS n
  FROM scores WHERE run = $1 GROUP BY ALL)
SELECT a.benchmark, a.n, a.value AS accuracy, printf('%.3f–%.3f', a.low, a.high) AS "95%",
  w.value AS without_leaked, printf('%.3f–%.3f', w.low, w.high) AS "95% without",
  l.value AS leaked, u.value AS unchecked, coalesce(p.value, c.value) AS other_protocol,
  w2.value AS reward, n.value AS length, n2.value AS p95, t.value AS truncated, x.value AS unparsed, e.value AS errors
FROM wide a
LEFT JOIN wide w ON w.benchmark = a.benchmark AND w.metric = 'accuracy_without_leaked'
LEFT JOIN wide l ON l.benchmark = a.benchmark AND l.metric = 'leaked'
LEFT JOIN wide u ON u.benchmark = a.benchmark AND u.metric = 'unchecked'
LEFT JOIN wide p ON p.benchmark = a.benchmark AND p.metric = 'accuracy_paper_harness'
LEFT JOIN wide c ON c.benchmark = a.benchmark AND c.metric = 'accuracy_corrected'
LEFT JOIN wide n ON n.benchmark = a.benchmark AND n.metric = 'length'
LEFT JOIN wide n2 ON n2.benchmark = a.benchmark AND n2.metric = 'length_p95'
LEFT JOIN wide w2 ON w2.benchmark = a.benchmark AND w2.metric = 'reward'
LEFT JOIN wide t ON t.benchmark = a.benchmark AND t.metric = 'truncated'
LEFT JOIN wide x ON x.benchmark = a.benchmark AND x.metric = 'unparsed'
LEFT JOIN wide e ON e.benchmark = a.benchmark AND e.metric = 'errors'
WHERE a.metric = 'accuracy'
ORDER BY a.benchmark = 'mean', a.benchmark
"""
MORE_SCORES = """
SELECT benchmark, metric, value, low, high, n, method FROM scores WHERE run = $1 AND metric LIKE '%@%'
ORDER BY benchmark, metric LIKE 'maj%', split_part(metric, '@', 2)::INTEGER
"""
