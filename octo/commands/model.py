"""Commands that train a model or measure prompts with one: `train`, `rl`, `rl pass-rate`."""

from pathlib import Path
from typing import Annotated

import typer

from octo.commands.groups import app, rl_app
from octo.commands.options import (
    JsonOption,
    ManifestArgument,
    Overrides,
    PlanOption,
    ResumeOption,
    StoreOption,
    one_of,
    open_store,
)
from octo.printing import identity, print_json, show_made, show_plan, summary_row


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
    """Train on a mixture manifest; the launch checks it and refuses anything else."""
    from manifests.extras import need
    from manifests.manifest import resolve
    from manifests.places.place import EnginePlace
    from manifests.recipe import load
    from manifests.runs import load_run
    from training import launch
    from training.config import TrainRecipe

    engine: launch.Backend = one_of(backend, launch.Backend)
    place: EnginePlace = one_of(on, EnginePlace)
    home, config = open_store(store), load(recipe, TrainRecipe, overrides or [])
    mixture, parent = resolve(home, manifest), load_run(home, start) if start else None
    if plan:
        show_plan(launch.plan(home, mixture, config, parent, engine), f"training on {mixture.ref}", json_)
        return
    need("train", "octo train")
    if place == "slurm":
        from training import slurm

        run = launch.prepare(home, mixture, config, parent, engine, resume)
        job = slurm.submit(run, config) if run.status != "done" else None
        if json_:
            print_json(identity(run) | {"job": job and job.id})
            return
        if job:
            print(f"job {job.id} {job.state}, last checkpoint: {run.last_step or 'none'}")
        print(f"{run.path}/slurm/{job.id}.log; see `octo runs show {run.id}`" if job else "done already")
        print(run.id)
        return
    run = launch.train(home, mixture, config, parent, engine, resume)
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
    """Train a run further with GRPO on a prompts manifest."""
    from manifests.extras import need
    from manifests.manifest import resolve
    from manifests.recipe import load
    from manifests.runs import load_run
    from rl import launch
    from rl.config import RLRecipe

    engine: launch.Backend = one_of(backend, launch.Backend)
    home, config = open_store(store), load(recipe, RLRecipe, overrides or [])
    source, begin = resolve(home, prompts), Path(start) if Path(start).is_dir() else load_run(home, start)
    if plan:
        show_plan([launch.plan(home, source, config, begin, engine)], f"RL on {source.ref}", json_)
        return
    need("train", "octo rl")
    run = launch.reinforce(home, source, config, begin, engine, resume)
    show_made(run, json_, summary=(f"RL on {source.ref}", [summary_row(run)]))


@rl_app.command(name="pass-rate")
def measure_pass_rate(
    prompts: ManifestArgument,
    recipe: Annotated[Path, typer.Argument(help="YAML recipe of a measurement.")],
    start: Annotated[str, typer.Option("--from", help="Run to measure, or a folder with a Hugging Face model.")],
    overrides: Overrides = None,
    json_: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Measure how often a model solves each prompt; `octo mix` can then select by the column `pass_rate`."""
    from manifests import catalog
    from manifests.extras import need
    from manifests.manifest import resolve
    from manifests.recipe import load
    from manifests.runs import load_run

    need("train", "octo rl pass-rate")
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
