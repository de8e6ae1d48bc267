"""`octo quickstart`: from top to bottom it is the whole pipeline, from source to corpus, mixtures, training, RL,
evaluation and report."""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from octo.commands.groups import app
from octo.commands.options import JsonOption, StoreOption, open_store
from octo.printing import identity, print_json, show, show_rows
from octo.project_recipes import quickstart_recipe

if TYPE_CHECKING:
    from manifests.runs import RunDirectory


@app.command()
def quickstart(json_: JsonOption = False, store: StoreOption = None) -> None:
    """Run every step on the built-in sample, in minutes on a laptop CPU: from a corpus to an evaluated RL model."""
    from curation.config import CurateRecipe
    from curation.pipeline import curate as build_corpus
    from evaluation.config import EvalRecipe
    from evaluation.scores import evaluate
    from manifests import catalog
    from manifests.extras import need
    from manifests.manifest import resolve
    from mixtures.config import MixRecipe
    from mixtures.mix import mix as build_mixture
    from octo.report.write import report as write_report
    from rl.config import RLRecipe
    from rl.launch import reinforce
    from training.config import TrainRecipe
    from training.launch import train as run_training

    need("train", "octo quickstart")
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
    page = write_report(home, [item.id for item in made])

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


def model_of(run: "RunDirectory") -> Path:
    """The Hugging Face folder of a run's last checkpoint."""
    from manifests.errors import UserError

    steps = run.checkpoints()
    if not steps:
        raise UserError(f"{run.id} has no checkpoint", f"See `octo runs show {run.id}`")
    return run.checkpoint(steps[-1])
