"""The front door: `octo VERB`. Each verb parses, calls one library function, and prints what it returns.

Reading `quickstart` below from top to bottom is reading the whole walk: source → corpus → mixtures → training → RL →
evaluation → report. Libraries are imported inside the verbs, so `octo --help` loads neither torch nor datatrove. What a
user can put right ends as one line on stderr and exit status 1 (2 for a wrong command line, 130 after Ctrl-C); building
verbs print the ID of what they built as their last line on stdout. With `--json` stdout holds one JSON value and
nothing else; docs/shell.md lists the shapes.
"""

import importlib.util
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

if TYPE_CHECKING:
    import pyarrow as pa

    from manifests.manifest import Manifest
    from manifests.runs import RunDirectory
    from manifests.store import Store

HERE = Path(__file__).resolve().parent
PACKAGES = ("curation", "mixtures", "training", "rl", "evaluation", "manifests")


class InOrder(TyperGroup):
    """Verbs in the order of the walk, then the others."""

    def list_commands(self, ctx: Any) -> list[str]:
        walk = ["quickstart", "sources", "curate", "annotate", "mix", "train", "rl", "benchmarks", "eval"]
        return sorted(self.commands, key=lambda name: walk.index(name) if name in walk else len(walk))


app = typer.Typer(
    cls=InOrder,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help=("From raw mathematical text to an RL-ready model, with every token accounted for."),
)
manifest_app = typer.Typer(no_args_is_help=True, help="Look at manifests, check them, keep house.")
runs_app = typer.Typer(no_args_is_help=True, help="Look at runs.")
app.add_typer(manifest_app, name="manifest")
app.add_typer(runs_app, name="runs")


class RunUnlessNamed(TyperGroup):
    """A verb with verbs of its own: what names none of these is the arguments of its `run`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        named = not args or args[0] in self.commands or args[0] in ("--help",)
        return super().parse_args(ctx, args if named else ["run", *args])


curate_app = typer.Typer(
    cls=RunUnlessNamed,
    no_args_is_help=True,
    help="Build a corpus (`octo curate RECIPE …`), or train a classifier for it.",
)
app.add_typer(curate_app, name="curate")
rl_app = typer.Typer(
    cls=RunUnlessNamed, no_args_is_help=True, help="Reinforce a model (`octo rl PROMPTS RECIPE …`), or measure prompts."
)
app.add_typer(rl_app, name="rl")

StoreOption = Annotated[
    str | None, typer.Option("--store", help="Folder or fsspec URL of the store; default $OCTO_STORE, else ./store.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
PlanOption = Annotated[bool, typer.Option("--plan", help="Print what would happen and do nothing.")]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Refuse to begin: only go on. The same command goes on without it too.")
]
WorkersOption = Annotated[int, typer.Option("--workers", min=1, help="Processes on this machine.")]
Overrides = Annotated[list[str] | None, typer.Argument(help="Overrides of recipe fields: budget.tokens=20B")]
ParentsOption = Annotated[bool, typer.Option("--parents", help="With everything that it was made from.")]
ManifestArgument = Annotated[str, typer.Argument(help="name@version, an ID, or a unique prefix of an ID.")]


def main() -> None:
    """Entry point of the command `octo`."""
    check_packages()
    from manifests.process import leave

    leave(command())


def command() -> int:
    """Do what the command line says; the exit status."""
    from manifests.process import status_of

    if (status := status_of(app)) == 130:
        print("octo: interrupted. What is done is kept: give the same command again to go on", file=sys.stderr)
    return status


def check_packages() -> None:
    """Refuse to start when another distribution's `rl` or `training` would be imported in place of ours."""
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        found = Path(spec.origin).resolve().parent if spec and spec.origin else None
        if found != HERE / package:
            print(
                f"octo: import {package} finds {found}, not {HERE / package}. Another installed distribution ships a "
                f"top-level package called {package!r}; uninstall it or use a virtual environment of its own",
                file=sys.stderr,
            )
            raise SystemExit(1)


# -- the walk ------------------------------------------------------------------------------------------------------


@app.command()
def quickstart(json_: JsonOption = False, store: StoreOption = None) -> None:
    """The whole walk on the built-in sample, some minutes on a laptop CPU: corpus to rewarded, evaluated model."""
    from curation.config import CurateRecipe
    from curation.pipeline import curate as build_corpus
    from evaluation.config import EvalRecipe
    from evaluation.scores import evaluate
    from manifests import catalog
    from manifests.manifest import resolve
    from manifests.report import report as write_report
    from mixtures.config import MixRecipe
    from mixtures.mix import mix as build_mixture
    from rl.config import RLRecipe
    from rl.launch import reinforce
    from training.config import TrainRecipe
    from training.launch import train as run_training

    home, say = open_store(store), Console(stderr=True).print

    say("[bold]1/6 curate[/] the built-in sample")
    corpus = build_corpus(home, quickstart_recipe("corpus", CurateRecipe))
    held_out = [resolve(home, parent) for parent in corpus.parents]
    say("[bold]2/6 mix[/] two stages of mid-training, and prompts")
    stable = build_mixture(home, quickstart_recipe("stable", MixRecipe))
    decay = build_mixture(home, quickstart_recipe("decay", MixRecipe))
    prompts = build_mixture(home, quickstart_recipe("prompts", MixRecipe))
    say("[bold]3/6 train[/] from random weights: stable, then decay")
    first = run_training(home, stable, quickstart_recipe("train-stable", TrainRecipe))
    base = run_training(home, decay, quickstart_recipe("train-decay", TrainRecipe), parent=first)
    say("[bold]4/6 reinforce[/] with GRPO, evaluating before and after")
    measure = quickstart_recipe("eval", EvalRecipe)
    before = evaluate(home, model_of(base), held_out, measure, parent=base, step=base.checkpoints()[-1])
    zero = reinforce(home, prompts, quickstart_recipe("rl", RLRecipe), base)
    say("[bold]5/6 evaluate[/] on held-out problems")
    after = evaluate(home, model_of(zero), held_out, measure, parent=zero, step=zero.checkpoints()[-1])
    say("[bold]6/6 report[/]")
    made = [corpus, stable, decay, prompts, first, base, before, zero, after]
    page = write_report(home, [item.id for item in made], read=read_at_step)

    tables = {"funnel": (f"Funnel of {corpus.ref}", catalog.funnel(home, corpus.id))}
    for name, mixture, run in (("stable", stable, first), ("decay", decay, base)):
        achieved = catalog.query(home, ACHIEVED, [mixture.id, run.id])
        tables[name] = (f"Planned and achieved, {mixture.ref}", achieved)
    tables["losses"] = ("Loss of both stages", catalog.query(home, LOSSES, [first.id, base.id]))
    rewards = catalog.query(home, REWARDS, [before.id, after.id])
    tables["scores"] = ("Held-out problems before and after RL", rewards)
    if json_:
        rows = {name: table.to_pylist() for name, (_, table) in tables.items()}
        print_json({"report": str(page), "made": [identity(item) for item in made], **rows})
        return
    for title, table in tables.values():
        show(table, title)
    show_rows([{"made": getattr(item, "ref", item.record["kind"] if hasattr(item, "record") else ""), "ID": item.id}
               for item in made], "What was made")  # fmt: skip
    print(f"report  {page}")
    print('next    octo sql "SELECT source, drop_reason, count(*) FROM documents GROUP BY ALL"')
    print(f"        octo trace {base.id} --step 1")
    print(f"        octo manifest verify {stable.ref}")


ACHIEVED = """
SELECT c.component, c.tokens AS planned, sum(u.tokens)::BIGINT AS achieved,
       round(100 * c.share, 2) AS planned_percent,
       round(100 * sum(u.tokens) / sum(sum(u.tokens)) OVER (), 2) AS achieved_percent
FROM components c LEFT JOIN consumption u ON u.component = c.component AND u.run = $2
WHERE c.manifest = $1 GROUP BY ALL ORDER BY c.component
"""
LOSSES = """
SELECT run, stage, arg_min(loss, step) AS loss_at_start, arg_max(loss, step) AS loss_at_end,
       sum(tokens)::BIGINT AS tokens
FROM steps WHERE run IN ($1, $2) GROUP BY run, stage ORDER BY list_position([$1, $2], run)
"""
REWARDS = """
SELECT benchmark, metric, round(any_value(value) FILTER (run = $1), 4) AS before,
       round(any_value(value) FILTER (run = $2), 4) AS after, any_value(n) AS n
FROM scores WHERE run IN ($1, $2) GROUP BY benchmark, metric ORDER BY ALL
"""


def quickstart_recipe(name: str, model: type) -> Any:
    """A recipe of recipes/quickstart; the tokenizer lies beside it, wherever the command is run."""
    from manifests.recipe import load

    folder = HERE / "recipes" / "quickstart"
    overrides = [f"tokenizer={json.dumps(str(folder / 'tokenizer'))}"] if "tokenizer" in model.model_fields else []
    return load(folder / f"{name}.yaml", model, overrides)


@app.command()
def sources(
    name: Annotated[str | None, typer.Argument(help="One source, with its columns and fields.")] = None,
    recipe: Annotated[bool, typer.Option("--recipe", help="Print a recipe that curates the source NAME.")] = False,
    json_: JsonOption = False,
) -> None:
    """What `known` may name in a recipe; where no revision is listed the recipe must give one.

    Marks of what is said: P read in the repository or a paper, S by one reader, M from memory, unchecked.
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
        str, typer.Option("--on", help="local, slurm or ray; what these give is `place` in the recipe.")
    ] = "local",
    wait: Annotated[bool, typer.Option("--wait", help="With --on slurm: wait for the end, and try again.")] = False,
    reselect: Annotated[
        str | None,
        typer.Option("--reselect", help="Corpus manifest to decide anew by other thresholds; no source is read."),
    ] = None,
    onto: Annotated[
        str | None, typer.Option("--onto", help="Corpus manifest to add to; only files that it lacks are read.")
    ] = None,
    plan: PlanOption = False,
    check: Annotated[bool, typer.Option("--check", help="With --plan: look at one record of each source.")] = False,
    json_: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Read sources, annotate every document, freeze a corpus manifest."""
    from curation import pipeline
    from curation.config import CurateRecipe
    from manifests import catalog
    from manifests.errors import UserError
    from manifests.manifest import resolve
    from manifests.recipe import load
    from manifests.runs import RunDirectory

    if on not in ("local", "slurm", "ray"):
        raise typer.BadParameter(f"{on!r} is none of local, slurm, ray")
    home, config = open_store(store), load(recipe, CurateRecipe, overrides or [])
    if reselect and onto:
        raise UserError("--reselect and --onto are two steps", "Decide the corpus anew first, then add to that")
    base, grown = (resolve(home, ref) if ref else None for ref in (reselect, onto))
    if check:
        looked = pipeline.check(home, config)
        show_plan([vars(row) for row in looked], f"{config.name}@{config.version}: one record of each", json_)
        raise typer.Exit(int(any(row.problem for row in looked)))
    if plan:
        rows = pipeline.plan(home, config, base, grown)
        show_plan([vars(row) for row in rows], f"{config.name}@{config.version}", json_)
        for title, script in pipeline.scripts(home, config) if on == "slurm" and not (base or json_) else ():
            print(f"\n# {title}\n{script}")
        return
    if on == "slurm" and not wait and not base:
        submitted = pipeline.submit(home, config, grown)
        if isinstance(submitted, RunDirectory):
            print_json(identity(submitted)) if json_ else show_run(submitted)
            return
    corpus = pipeline.curate(home, config, workers, base, grown, on)
    show_made(corpus, json_, funnel=(f"Funnel of {corpus.ref}", catalog.funnel(home, corpus.id)))
    refuse_barren(corpus)


def refuse_barren(corpus: "Manifest") -> None:
    """Exit status 3, and a line on stderr, for each source of which nothing could be read."""
    from curation.pipeline import barren
    from manifests.progress import warn

    if lines := barren(corpus):
        for line in lines:
            warn(line)
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


@app.command()
def mix(
    recipe: Annotated[Path, typer.Argument(help="YAML recipe of a mixture, of prompts, or of a grid of mixtures.")],
    overrides: Overrides = None,
    cell: Annotated[str | None, typer.Option("--cell", help="One mixture of a grid; default all.")] = None,
    extend: Annotated[str | None, typer.Option("--extend", help="Mixture whose first steps are kept.")] = None,
    step: Annotated[int | None, typer.Option("--from-step", min=1, help="Steps of it that are kept.")] = None,
    plan: PlanOption = False,
    json_: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Select documents by SQL, apportion a budget exactly, freeze tokens and order as a manifest."""
    from manifests.errors import UserError
    from manifests.manifest import resolve
    from mixtures import mix as mixing
    from mixtures.config import load_mixes
    from mixtures.extend import start_after

    home = open_store(store)
    if (extend is None) != (step is None):
        raise UserError("--extend and --from-step go together", "Give --extend MIXTURE --from-step N")
    told = []
    for config in load_mixes(recipe, overrides or [], cell):
        batch = config.budget.batch if config.budget else None
        start = start_after(resolve(home, extend), step, batch) if extend and step else None
        title, rows = f"Plan of {config.name}@{config.version}", []

        def show_planned(planned: Any, title: str = title, rows: list[dict[str, Any]] = rows) -> None:
            rows += planned.rows()
            if not json_:
                show_rows(rows, title)

        if plan:
            show_planned(mixing.plan(home, config, start))
            told.append({"name": config.name, "version": config.version, "plan": rows})
            continue
        made = mixing.mix(home, config, start, show_planned)
        told.append(identity(made) | {"plan": rows})
        if not json_:
            print(made.id)
    if json_:
        print_json(told)


@app.command()
def train(
    manifest: ManifestArgument,
    recipe: Annotated[Path, typer.Argument(help="YAML recipe of a training run.")],
    overrides: Overrides = None,
    start: Annotated[str | None, typer.Option("--from", help="Run to start from.")] = None,
    backend: Annotated[str, typer.Option("--backend", help="torch or nanotron.")] = "torch",
    on: Annotated[str, typer.Option("--on", help="local, or slurm: submit a job and return.")] = "local",
    resume: ResumeOption = False,
    plan: PlanOption = False,
    json_: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Train on a mixture manifest; the launch checks the manifest and refuses anything else."""
    from manifests.manifest import resolve
    from manifests.recipe import load
    from manifests.runs import load_run
    from training import launch
    from training.config import TrainRecipe

    if backend not in ("torch", "nanotron"):
        raise typer.BadParameter(f"{backend!r} is neither torch nor nanotron")
    if on not in ("local", "slurm"):
        raise typer.BadParameter(f"{on!r} is neither local nor slurm")
    home, config = open_store(store), load(recipe, TrainRecipe, overrides or [])
    mixture, parent = resolve(home, manifest), load_run(home, start) if start else None
    if plan:
        show_plan(launch.plan(home, mixture, config, parent, backend), f"training on {mixture.ref}", json_)
        return
    if on == "slurm":
        from training import slurm

        run = launch.prepare(home, mixture, config, parent, backend, resume)
        job = slurm.submit(run, config) if run.status != "done" else None
        if json_:
            print_json(identity(run) | {"job": job and job.id})
            return
        if job:
            print(f"job {job.id} {job.state}, last checkpoint: {run.last_step or 'none'}")
        print(f"{run.path}/slurm/{job.id}.log; see `octo runs show {run.id}`" if job else "done already")
        print(run.id)
        return
    run = launch.train(home, mixture, config, parent, backend, resume)
    show_made(run, json_, summary=(f"Run on {mixture.ref}", [summary_row(run)]))


@rl_app.command(name="run")
def rl(
    prompts: ManifestArgument,
    recipe: Annotated[Path, typer.Argument(help="YAML recipe of an RL run.")],
    start: Annotated[str, typer.Option("--from", help="Run to start from, or a folder with a Hugging Face model.")],
    overrides: Overrides = None,
    backend: Annotated[str, typer.Option("--backend", help="torch or verl.")] = "torch",
    resume: ResumeOption = False,
    plan: PlanOption = False,
    json_: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Reinforce a trained run with GRPO on a prompts manifest."""
    from manifests.manifest import resolve
    from manifests.recipe import load
    from manifests.runs import load_run
    from rl import launch
    from rl.config import RLRecipe

    if backend not in ("torch", "verl"):
        raise typer.BadParameter(f"{backend!r} is neither torch nor verl")
    home, config = open_store(store), load(recipe, RLRecipe, overrides or [])
    source, begin = resolve(home, prompts), Path(start) if Path(start).is_dir() else load_run(home, start)
    if plan:
        show_plan([launch.plan(home, source, config, begin, backend)], f"RL on {source.ref}", json_)
        return
    run = launch.reinforce(home, source, config, begin, backend, resume)
    show_made(run, json_, summary=(f"RL on {source.ref}", [summary_row(run)]))


@app.command()
def benchmarks(
    names: Annotated[
        list[str] | None, typer.Argument(help="Known benchmarks to freeze; default all in --from.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--from", help="Folder of files called by benchmark: gsm8k.jsonl.")
    ] = None,
    revision: Annotated[
        str | None, typer.Option("--revision", help="Commit on the hub to freeze one NAME from.")
    ] = None,
    version: Annotated[str, typer.Option("--version", help="Version of the manifests.")] = "1",
    json_: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Benchmarks of the field and suites of them; with names or --from, freeze them as manifests.

    Marks of what is said of the hub: P read there, M from memory, unchecked.
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


@rl_app.command(name="pass-rate")
def measure_pass_rate(
    prompts: ManifestArgument,
    recipe: Annotated[Path, typer.Argument(help="YAML recipe of a measurement.")],
    start: Annotated[str, typer.Option("--from", help="Run to measure, or a folder with a Hugging Face model.")],
    overrides: Overrides = None,
    json_: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Measure how often a model solves each prompt; `pass_rate` is then a column that `octo mix` selects by."""
    from manifests import catalog
    from manifests.manifest import resolve
    from manifests.recipe import load
    from manifests.runs import load_run
    from rl.pass_rate import PassRateRecipe, pass_rates

    home, config = open_store(store), load(recipe, PassRateRecipe, overrides or [])
    begin = Path(start) if Path(start).is_dir() else load_run(home, start)
    made = pass_rates(home, resolve(home, prompts), config, begin)
    solved = catalog.query(home, PASS_RATES, [made.id])
    show_made(made, json_, prompts=(f"Prompts by pass rate, {made.ref}", solved))


PASS_RATES = """
SELECT source, CASE WHEN pass_rate IS NULL THEN 'no ruling' WHEN pass_rate = 0 THEN 'never' WHEN pass_rate = 1
  THEN 'always' ELSE 'sometimes' END AS solved, count(*) AS prompts, avg(pass_rate) AS pass_rate,
  avg(length_mean) AS length
FROM pass_rates WHERE manifest = $1 GROUP BY ALL ORDER BY ALL
"""


@app.command(name="eval")
def evaluate_model(
    model: Annotated[str, typer.Argument(help="A run, a folder with a Hugging Face model, or - for an endpoint's.")],
    recipe: Annotated[
        str | None,
        typer.Argument(help="YAML recipe; default few-shot and greedy, for an RL run its own kind of prompt."),
    ] = None,
    overrides: Overrides = None,
    suite: Annotated[str | None, typer.Option("--suite", help="octothinker, indicators, aime, or a benchmark.")] = None,
    benchmarks: Annotated[
        list[str] | None,
        typer.Option("--benchmark", help="Benchmark manifest; may be repeated. Default: the recipe's."),
    ] = None,
    sampler: Annotated[str, typer.Option("--sampler", help="transformers, vllm or endpoint.")] = "transformers",
    protocol: Annotated[
        str | None, typer.Option("--protocol", help="paper: with the known faults of the paper's harness.")
    ] = None,
    step: Annotated[int | None, typer.Option("--step", help="Checkpoint of the run; default its last.")] = None,
    plan: PlanOption = False,
    json_: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Sample answers to benchmark items, grade them, keep every sample and the scores with intervals.

    Beside each score stands the one without the items that leaked into the model's own training data.
    """
    from evaluation import scores
    from manifests import catalog
    from manifests.runs import load_run

    home = open_store(store)
    parent = None if model == "-" or Path(model).is_dir() else load_run(home, model)
    config = eval_recipe(parent, recipe, [*(overrides or []), *([f"protocol={protocol}"] if protocol else [])])
    chosen = chosen_benchmarks(home, suite, benchmarks or list(config.benchmarks))
    if plan:
        show_plan(scores.plan(home, chosen, config, sampler), f"evaluating {model}", json_)
        return
    steps = parent.checkpoints() if parent else []
    at = step if step is not None else steps[-1] if steps else 0
    folder = parent.checkpoint(at) if parent and (steps or sampler != "endpoint") else None
    folder = folder if parent or model == "-" else Path(model)
    run = scores.evaluate(home, folder, chosen, config, parent=parent, sampler=sampler, step=at)
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
    return load(recipe or HERE / "recipes" / "octothinker" / f"{kind}.yaml", EvalRecipe, overrides)


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


# -- questions -----------------------------------------------------------------------------------------------------


@app.command()
def sql(
    query: Annotated[
        str | None,
        typer.Argument(help="One SELECT; read from stdin, or at a prompt on a terminal, when none is given."),
    ] = None,
    format: Annotated[str, typer.Option("--format", help="table, csv, json or parquet.")] = "table",
    json_: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Ask the whole store in SQL (DuckDB, read-only). `SHOW TABLES` lists the views; docs/sql.md explains them."""
    from manifests.catalog import Catalog

    if format not in ("table", "csv", "json", "parquet"):
        raise typer.BadParameter(f"{format!r} is none of table, csv, json, parquet")
    if query is None and not sys.stdin.isatty():
        query = sys.stdin.read()
    with Catalog(open_store(store)) as catalog:
        for path in catalog.damaged:
            print(f"octo: record {path} is damaged and left out", file=sys.stderr)
        if query is None:
            prompt(catalog)
        else:
            write(catalog.query(query), "json" if json_ else format)


@app.command()
def why(
    doc_id: Annotated[str, typer.Argument(help="Document ID.")],
    json_: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """A document's life: source, scores, why it was dropped, where mixtures hold it, the steps that read it."""
    life = life_of(open_store(store), doc_id)
    if json_:
        print_json(life)
        return
    for row in life.pop("documents"):
        show_rows([{"field": key, "value": value} for key, value in row.items() if value is not None], doc_id)
    titles = ("What a language model said of it, and of the document that it was made from",
              "Mixtures: the sequences that hold it", "Training: the steps that read it",
              "Loss on it, where a run kept that (document_losses: true)", "Prompts made of it",
              "Reinforcement: its responses")  # fmt: skip
    for title, rows in zip(titles, life.values(), strict=True):
        show_rows(rows, title if rows else f"{title}: none")


def life_of(home: "Store", doc_id: str) -> dict[str, list[dict[str, Any]]]:
    """What the store knows of a document, part by part; UserError when it holds none of this ID."""
    from manifests.catalog import Catalog
    from manifests.errors import UserError
    from mixtures.tracing import uses
    from training.consumed import steps_that_read

    asked = {"documents": WHY_DOCUMENT, "annotations": WHY_ANNOTATED, "mixtures": None, "steps": None,
             "losses": WHY_LOSS, "prompts": WHY_PROMPT, "rollouts": WHY_ROLLOUTS}  # fmt: skip
    with Catalog(home) as catalog:
        life = {part: catalog.query(query, [doc_id]).to_pylist() if query else [] for part, query in asked.items()}
    if not life["documents"]:
        raise UserError(
            f"no document {doc_id!r} in {home.url}", "Find one with `octo sql 'SELECT doc_id FROM documents'`"
        )
    held = uses(home, doc_id)
    return life | {"mixtures": held.to_pylist(), "steps": steps_that_read(home, held).to_pylist()}


WHY_DOCUMENT = """
SELECT d.*, o.* EXCLUDE (manifest, doc_id, shard, row), t.text[:400] AS text FROM documents d
LEFT JOIN origins o USING (manifest, doc_id) LEFT JOIN texts t USING (manifest, doc_id) WHERE d.doc_id = $1
"""
WHY_ANNOTATED = """
WITH made AS (
  SELECT o.doc_id, o.manifest, l.parent AS annotations, o.native_id AS source_id
  FROM origins o JOIN lineage l ON l.child = o.manifest JOIN manifests m ON m.manifest = l.parent
  WHERE m.kind = 'annotations')
SELECT a.manifest AS annotations, a.doc_id AS source_document, a.task, a.ordinal, a.score, a.verdict, a.evidence,
       coalesce(a.text, a.question, a.response)[:200] AS said,
       list(DISTINCT made.doc_id) FILTER (made.doc_id IS NOT NULL) AS documents
FROM annotations a LEFT JOIN made ON made.annotations = a.manifest AND made.source_id = a.doc_id
WHERE a.doc_id = $1 OR made.doc_id = $1
GROUP BY ALL ORDER BY ALL
"""
WHY_PROMPT = "SELECT manifest AS prompts, position, prompt_id FROM prompts WHERE doc_id = $1 ORDER BY ALL"
WHY_ROLLOUTS = """
SELECT run, step, count(*) AS responses, avg(reward) AS reward FROM rollouts WHERE doc_id = $1 GROUP BY ALL ORDER BY ALL
"""
WHY_LOSS = """
SELECT run, step, epoch, sum(labels)::BIGINT AS labels, sum(loss * labels) / sum(labels) AS loss
FROM losses WHERE doc_id = $1 AND labels > 0 GROUP BY ALL ORDER BY run, step
"""


@app.command()
def trace(
    what: Annotated[str, typer.Argument(help="A training run, or a mixture manifest.")],
    step: Annotated[int | None, typer.Option("--step", min=1, help="Step of the run, from 1.")] = None,
    rank: Annotated[int | None, typer.Option("--rank", min=0, help="Data-parallel rank, from 0; default all.")] = None,
    sequence: Annotated[int | None, typer.Option("--sequence", min=0, help="Sequence of the mixture, from 0.")] = None,
    text: Annotated[bool, typer.Option("--text", help="With the text of each span.")] = False,
    json_: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """What the model saw at a step of a run, or what a sequence of a mixture holds: documents and spans of tokens."""
    import numpy as np

    from manifests.errors import UserError
    from manifests.manifest import resolve
    from manifests.runs import load_run
    from mixtures.tracing import trace as trace_sequences
    from training.consumed import trace as trace_step

    home = open_store(store)
    if step is not None:
        spans = trace_step(home, load_run(home, what), step, rank, text)
    elif sequence is not None:
        spans = trace_sequences(home, resolve(home, what), np.array([sequence]), text)
    else:
        raise UserError("trace needs --step (of a run) or --sequence (of a mixture)", "See `octo trace --help`")
    show(spans, f"{what}, {'step' if step else 'sequence'} {step or sequence}", json_)


@app.command()
def near(
    text: Annotated[str, typer.Argument(help="A text, or a file that holds it.")],
    manifest: Annotated[str, typer.Option("--manifest", help="Corpus manifest to look in.")],
    threshold: Annotated[float, typer.Option("--threshold", min=0, max=1, help="Least estimated similarity.")] = 0.5,
    json_: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Near-duplicates of a text in a corpus manifest."""
    from curation.corpus.near import near as find_near
    from manifests.manifest import resolve

    corpus = resolve(open_store(store), manifest)
    is_file = len(text) < 4096 and Path(text).is_file()
    content = Path(text).read_text(encoding="utf-8") if is_file else text
    show_rows([vars(row) for row in find_near(corpus, content, threshold)], f"Near-duplicates in {corpus.ref}", json_)


@app.command()
def doctor(json_: JsonOption = False) -> None:
    """Which backends, samplers and places work on this machine, and what is missing for the others."""
    from training.doctor import doctor as examine

    show_rows(examine(), "What works on this machine", json_)


@app.command()
def ui(
    host: Annotated[str, typer.Option("--host", help="Address to listen on; beyond loopback a token is needed.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any that is free.")] = 8321,
    json_: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Browse a store in a web browser, read-only: manifests, runs, documents, SQL, curves of runs while they train."""
    from manifests.errors import UserError

    if lacking := [name for name in ("starlette", "uvicorn") if not importlib.util.find_spec(name)]:
        raise UserError(
            f"octo ui needs {' and '.join(lacking)}", "pip install 'octothinker[ui]', or '.[ui]' in a clone"
        )
    from manifests.ui import serve

    def say(address: str) -> None:
        print(json.dumps({"address": address}) if json_ else address, flush=True)

    serve(open_store(store), upper_floors(), host, port, say)


def read_at_step(home: "Store", run: "RunDirectory", step: int, text: bool) -> Any:
    """What a run read at a step. Reports need this and no web server, which the extra `train` does not bring."""
    from training.consumed import trace as trace_step

    return trace_step(home, run, step, None, text)


def upper_floors() -> Any:
    """What `octo ui` shows and the floor it lives on may not import."""
    import numpy as np

    from manifests.ui import Upper
    from mixtures.tracing import trace as trace_sequences

    return Upper(
        life=life_of,
        step=read_at_step,
        sequence=lambda home, mixture, number: trace_sequences(home, mixture, np.array([number]), text=True),
    )


@app.command()
def report(
    refs: Annotated[list[str], typer.Argument(help="Manifests and runs, in the order of the page.")],
    output: Annotated[Path | None, typer.Option("--output", help="File to write; default in the store.")] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Score and response length of several runs over their steps.")
    ] = False,
    json_: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """One self-contained HTML page with plots, for manifests and runs."""
    from manifests.report import report as write_report
    from manifests.run_curves import compare as write_comparison

    home = open_store(store)
    if compare:
        show_path(write_comparison(home, refs, output), json_)
    else:
        show_path(write_report(home, refs, output, read_at_step), json_)


@app.command()
def publish(
    ref: ManifestArgument,
    target: Annotated[
        str, typer.Argument(help="Store to copy to: a folder, s3://BUCKET/STORE, hf://datasets/ORG/NAME/STORE.")
    ],
    parents: ParentsOption = False,
    json_: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Copy a manifest to another store: what is missing there, by checksum. Given again, it goes on."""
    copy_between(open_store(store), ref, open_store(target), parents, json_)


@app.command()
def pull(
    ref: ManifestArgument,
    source: Annotated[
        str, typer.Argument(help="Store to copy from: a folder, or an fsspec URL such as hf://… or s3://…")
    ],
    parents: ParentsOption = False,
    json_: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Copy a manifest from another store: what is missing here, by checksum. Given again, it goes on."""
    copy_between(open_store(source), ref, open_store(store), parents, json_)


def copy_between(source: "Store", ref: str, target: "Store", parents: bool, json_: bool) -> None:
    from manifests.exchange import copy, lacking

    copied = copy(source, ref, target, parents)
    made = copied[-1].manifest
    if absent := lacking(made):
        print(f"octo: {target.url} has not {', '.join(absent)}, which it was made from; --parents", file=sys.stderr)
    show_made(made, json_, copied=(f"{source.url} → {target.url}", [one.row() for one in copied]))


# -- manifests -----------------------------------------------------------------------------------------------------


@manifest_app.command(name="list")
def manifest_list(json_: JsonOption = False, store: StoreOption = None) -> None:
    """Every name@version with kind, ID, rows and bytes."""
    from manifests.catalog import Catalog

    with Catalog(open_store(store)) as catalog:
        for path in catalog.damaged:
            print(f"octo: record {path} is damaged", file=sys.stderr)
        listing = (
            "SELECT name || '@' || version AS name, kind, manifest, rows, bytes, created FROM manifests ORDER BY ALL"
        )
        show(catalog.query(listing), "Manifests", json_)


@manifest_app.command(name="show")
def manifest_show(ref: ManifestArgument, json_: JsonOption = False, store: StoreOption = None) -> None:
    """The record of a manifest: identity, parents, recipe, families, counts, provenance."""
    from manifests.manifest import record_bytes, resolve

    record = json.loads(record_bytes(resolve(open_store(store), ref)))
    if json_:
        print_json(record)
        return
    families = record.pop("families")
    for name, value in record.items():
        print(f"{name:12} {value if isinstance(value, str | int) else json.dumps(value, ensure_ascii=False)}")
    show_rows(
        [
            {"family": name, "format": f["format"], "in identity": f["identity"], "rows": f["rows"],
             "files": len(f["files"]), "bytes": sum(file["bytes"] for file in f["files"])}
            for name, f in families.items()
        ],
        "Families",
    )  # fmt: skip


@manifest_app.command(name="funnel")
def manifest_funnel(ref: ManifestArgument, json_: JsonOption = False, store: StoreOption = None) -> None:
    """Documents and tokens of a corpus per source: in, kept, dropped by reason, quarantined."""
    from manifests import catalog

    show(catalog.funnel(open_store(store), ref), f"Funnel of {ref}", json_)


@manifest_app.command(name="diff")
def manifest_diff(
    left: ManifestArgument, right: ManifestArgument, json_: JsonOption = False, store: StoreOption = None
) -> None:
    """Documents and tokens added, removed and changed from one manifest to another, per source and reason."""
    from manifests import catalog

    show(catalog.diff(open_store(store), left, right), f"{left} → {right}", json_)


@manifest_app.command(name="lineage")
def manifest_lineage(
    ref: Annotated[str, typer.Argument(help="Manifest or run.")], json_: JsonOption = False, store: StoreOption = None
) -> None:
    """What something was made from (depth below 0) and what was made from it (above 0)."""
    from manifests import catalog

    show(catalog.lineage(open_store(store), ref), f"Lineage of {ref}", json_)


@manifest_app.command(name="verify")
def manifest_verify(ref: ManifestArgument, json_: JsonOption = False, store: StoreOption = None) -> None:
    """Recompute every checksum and the digest of a manifest."""
    from manifests.errors import UserError
    from manifests.manifest import resolve, verify

    home = open_store(store)
    manifest = resolve(home, ref)
    problems = verify(home, manifest)
    if json_:
        print_json(identity(manifest) | {"bytes": manifest.bytes, "problems": problems})
    for problem in problems if not json_ else ():
        print(problem, file=sys.stderr)
    if problems:
        raise UserError(
            f"{manifest.ref} fails in {len(problems)} places", "Rebuild it, or restore the files named above"
        )
    if not json_:
        print(f"{manifest.ref} is {manifest.id}: {manifest.bytes:,} bytes, every checksum and the digest agree")


@manifest_app.command(name="rebuild")
def manifest_rebuild(
    ref: ManifestArgument, workers: WorkersOption = 1, json_: JsonOption = False, store: StoreOption = None
) -> None:
    """Build a manifest again from its parents in a scratch store and compare the IDs."""
    from manifests.errors import UserError
    from manifests.manifest import resolve
    from manifests.store import Store

    home = open_store(store)
    manifest = resolve(home, ref)
    with home.temporary() as folder:
        again = build_again(home, manifest, Store(folder), workers)
    if again.id != manifest.id:
        raise UserError(
            f"{manifest.ref} is {manifest.id}, built again it is {again.id}", "Its inputs or the code changed"
        )
    if json_:
        print_json(identity(manifest) | {"rebuilt": again.id})
    else:
        print(f"built again: {again.id}, the same")


def build_again(home: "Store", manifest: "Manifest", scratch: "Store", workers: int) -> "Manifest":
    """`manifest` built anew in `scratch` from its parents and the recipe that its record keeps."""
    from curation.classifiers.config import ClassifierRecipe
    from curation.classifiers.fit import train as train_classifier
    from curation.config import CurateRecipe
    from curation.pipeline import curate as build_corpus
    from evaluation.benchmarks import BenchmarkRecipe, freeze_benchmark
    from manifests.errors import UserError
    from manifests.manifest import copy_manifest, load_all, resolve
    from manifests.recipe import parse
    from mixtures.config import MixRecipe
    from mixtures.extend import Start
    from mixtures.mix import mix as build_mixture

    settings = manifest.provenance.get("settings")
    if not settings:
        raise UserError(f"the record of {manifest.ref} keeps no recipe", "It cannot be rebuilt from here")
    if manifest.kind in ("annotations", "pass_rates"):
        raise UserError(f"{manifest.ref} holds what a model answered", "It cannot be made again; see `manifest verify`")
    for known in load_all(home)[0]:  # under every name, since the recipe may call a parent by any of them
        if known.id in manifest.parents:
            copy_manifest(known, scratch)
    match manifest.kind:
        case "corpus":
            grown = manifest.counts.get("onto")
            onto = resolve(scratch, grown) if grown else None
            return build_corpus(scratch, parse(settings, CurateRecipe, manifest.ref), workers, onto=onto)
        case "benchmark":
            return freeze_benchmark(scratch, parse(settings, BenchmarkRecipe, manifest.ref))
        case "classifier":
            settings = settings | dict(zip(("corpus", "annotations"), manifest.parents, strict=False))
            return train_classifier(scratch, parse(settings, ClassifierRecipe, manifest.ref))
    first = manifest.recipe.get("first")
    start = Start(resolve(scratch, first["mixture"]), first["sequences"]) if first else None
    return build_mixture(scratch, parse(settings, MixRecipe, manifest.ref), start)


@manifest_app.command(name="tag")
def manifest_tag(
    ref: ManifestArgument,
    name: Annotated[str, typer.Argument(help="New name@version for the same content.")],
    json_: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Give a manifest another name@version. Names are added, never moved."""
    from manifests.manifest import tag

    new, _, version = name.partition("@")
    show_made(tag(open_store(store), ref, new, version), json_)


@manifest_app.command(name="gc")
def manifest_gc(
    hours: Annotated[float, typer.Option("--older-than-hours", min=0, help="Spare younger files.")] = 24.0,
    plan: PlanOption = False,
    json_: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Remove files that no record names: leftovers of builds that were stopped."""
    from manifests.manifest import collect_garbage

    removed = collect_garbage(open_store(store), hours * 3600, dry_run=plan)
    if json_:
        print_json({"plan" if plan else "removed": removed})
        return
    for path in removed:
        print(path)
    print(f"{len(removed)} files {'would be ' if plan else ''}removed", file=sys.stderr)


@manifest_app.command(name="export")
def manifest_export(
    ref: ManifestArgument,
    folder: Annotated[Path, typer.Option("--to", help="Folder to write; it must not be there or be empty.")],
    format: Annotated[str, typer.Option("--format", help="hf, croissant, jsonl, webdataset, nanoset or verl.")] = "hf",
    json_: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Write a manifest as files that other tools open: see docs/formats.md."""
    from manifests.manifest import resolve
    from mixtures.export import export

    show_path(export(resolve(open_store(store), ref), format, folder), json_)


@manifest_app.command(name="import")
def manifest_import(
    path: Annotated[
        str, typer.Argument(help="A file, folder or glob, local or any fsspec URL; hf://datasets/ORG/NAME.")
    ],
    name: Annotated[str, typer.Option("--name", help="Name of the manifest and of its source.")],
    tokenizer: Annotated[str, typer.Option("--tokenizer", help="tokenizer.json that counts tokens, or its folder.")],
    role: Annotated[str, typer.Option("--role", help="web, qa, long_cot, instruct, code, general or rl.")] = "web",
    version: Annotated[str, typer.Option("--version", help="Version of the manifest.")] = "1",
    fields: Annotated[
        list[str] | None, typer.Argument(help="Fields of the source: license=MIT columns.text=content revision=COMMIT")
    ] = None,
    workers: WorkersOption = 1,
    plan: PlanOption = False,
    json_: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """A folder or a data set of the hub as a corpus, without curation: every readable record is kept."""
    from curation import pipeline
    from curation.uncurated import uncurated
    from manifests import catalog

    home, config = open_store(store), uncurated(path, name, version, role, tokenizer, fields or [])
    if plan:
        show_plan([vars(row) for row in pipeline.plan(home, config)], f"{name}@{version}", json_)
        return
    corpus = pipeline.curate(home, config, workers)
    show_made(corpus, json_, funnel=(f"Funnel of {corpus.ref}", catalog.funnel(home, corpus.id)))
    refuse_barren(corpus)


# -- runs ----------------------------------------------------------------------------------------------------------


@runs_app.command(name="list")
def runs_list(json_: JsonOption = False, store: StoreOption = None) -> None:
    """Every run with kind, status, manifests and parent."""
    from manifests import catalog

    listing = "SELECT run, kind, status, backend, manifests, parent, created, finished FROM runs"
    show(catalog.query(open_store(store), listing), "Runs", json_)


@runs_app.command(name="show")
def runs_show(
    run: Annotated[str, typer.Argument(help="Run ID or unique prefix.")],
    json_: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """How a curation stands: its jobs, its tasks, what failed and why. Of other runs, or with --json, the record."""
    from manifests.runs import load_run

    found = load_run(open_store(store), run)
    if json_:
        print_json(found.record)
    elif found.record["kind"] == "curate":
        show_run(found)
    else:
        print(json.dumps(found.record, indent=1, ensure_ascii=False))


def show_run(run: "RunDirectory") -> None:
    """A curation as it stands now; its ID last."""
    from curation.execution.status import standing

    now = standing(run)
    for title, rows in now.tables.items():
        if rows:
            show_rows(rows, title)
    for title, said in now.failures.items():
        print(f"\n{title}\n{said}")
    print(f"\n{now.next}")
    print(run.id)


@runs_app.command(name="compare")
def runs_compare(
    first: Annotated[str, typer.Argument(help="An evaluation.")],
    second: Annotated[str, typer.Argument(help="Another, on the same benchmarks.")],
    flips: Annotated[int, typer.Option("--flips", min=0, help="Flipped items to list.")] = 20,
    json_: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Two evaluations item by item: the difference with its interval, and which items flipped."""
    from evaluation.compare import compare
    from manifests.runs import load_run

    home = open_store(store)
    found = compare(load_run(home, first), load_run(home, second))
    if json_:
        print_json(vars(found))
        return
    show_rows(found.benchmarks, f"{first} → {second}, by benchmark")
    if found.groups:
        show_rows(found.groups, "By level and subject")
    if found.flips and flips:
        show_rows(found.flips[:flips], f"Items that flipped, {min(flips, len(found.flips))} of {len(found.flips)}")


# -- printing ------------------------------------------------------------------------------------------------------


def open_store(url: str | None) -> "Store":
    from manifests.store import Store

    return Store(url) if url else Store.default()


def model_of(run: "RunDirectory") -> Path:
    """The Hugging Face folder of a run's last checkpoint."""
    from manifests.errors import UserError

    steps = run.checkpoints()
    if not steps:
        raise UserError(f"{run.id} has no checkpoint", f"See `octo runs show {run.id}`")
    return run.checkpoint(steps[-1])


def identity(made: "Manifest | RunDirectory") -> dict[str, Any]:
    """What every verb that builds says of what it built, as the first keys of its JSON."""
    from manifests.manifest import Manifest

    if isinstance(made, Manifest):
        return {"id": made.id, "kind": made.kind, "name": made.name, "version": made.version, "digest": made.digest}
    return {"id": made.id, "kind": made.record["kind"], "status": made.status}


def show_made(
    made: "Manifest | RunDirectory", json_: bool, **tables: "tuple[str, pa.Table | list[dict[str, Any]]]"
) -> None:
    """What a verb built: tables (title and rows by name) and its ID last; or one object with all of it."""
    rows = {name: table if isinstance(table, list) else table.to_pylist() for name, (_, table) in tables.items()}
    if json_:
        print_json(identity(made) | rows)
        return
    for name, (title, table) in tables.items():
        show_rows(rows[name], title, columns=None if isinstance(table, list) else table.column_names)
    print(made.id)


def show_plan(rows: list[dict[str, Any]], what: str, json_: bool) -> None:
    if json_:
        print_json({"plan": rows})
    else:
        show_rows(rows, f"Plan of {what}")


def show_path(path: Path, json_: bool) -> None:
    if json_:
        print_json({"path": str(path)})
    else:
        print(path)


def print_json(value: Any) -> None:
    """One line; NaN and infinities, which JSON lacks, as null."""
    from manifests.runs import without_nan

    print(json.dumps(without_nan(value), ensure_ascii=False, default=str))


def summary_row(run: "RunDirectory") -> dict[str, Any]:
    return {"run": run.id, "status": run.status} | {
        key: value for key, value in run.record.get("summary", {}).items() if not isinstance(value, dict | list)
    }


def show(rows: "pa.Table", title: str, json_: bool = False) -> None:
    show_rows(rows.to_pylist(), title, json_, rows.column_names)


def show_rows(rows: list[dict[str, Any]], title: str, json_: bool = False, columns: list[str] | None = None) -> None:
    """Rows as a table for people, or as JSON."""
    if json_:
        print_json(rows)
        return
    columns = columns or (list(rows[0]) if rows else [])
    table = Table()
    for column in columns:
        numeric = all(isinstance(row[column], int | float) or row[column] is None for row in rows)
        table.add_column(column, justify="right" if numeric and rows else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell(row[column])) for column in columns))
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(Text(title, style="bold"))
    console.print(table)


def cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.4g}"
        case _:
            return str(value)


def write(rows: "pa.Table", format: str) -> None:
    """Rows on stdout in one of the formats of `octo sql`."""
    import pyarrow as pa
    import pyarrow.csv as csv
    import pyarrow.parquet as pq

    match format:
        case "table":
            show(rows, f"{rows.num_rows:,} row{'s' * (rows.num_rows != 1)}")
        case "json":
            show(rows, "", json_=True)
        case "csv":
            csv.write_csv(rows, sys.stdout.buffer)
        case "parquet":
            sink = pa.BufferOutputStream()
            pq.write_table(rows, sink)
            sys.stdout.buffer.write(sink.getvalue())


def prompt(catalog: Any) -> None:
    """Read queries from a terminal, with history and completion of keywords, tables and columns; Ctrl-D ends it."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    from manifests.errors import UserError

    named = catalog.query("SELECT DISTINCT table_name, column_name FROM information_schema.columns")
    keywords = ["SELECT", "FROM", "WHERE", "GROUP BY ALL", "ORDER BY", "LIMIT", "DESCRIBE", "SHOW TABLES", "count(*)"]
    words = sorted({*keywords, *named["table_name"].to_pylist(), *named["column_name"].to_pylist()})
    store = catalog.store
    history = FileHistory(store.full("sql_history")) if store.is_local else InMemoryHistory()
    session: PromptSession[str] = PromptSession(history=history, completer=WordCompleter(words, ignore_case=True))
    while True:
        try:
            line = session.prompt("octo> ").strip().rstrip(";")
        except EOFError:
            return
        except KeyboardInterrupt:
            continue
        if line in ("exit", "quit", ".exit", ".quit"):
            return
        try:
            if line:
                write(catalog.query(line), "table")
        except UserError as error:
            print(f"octo: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
