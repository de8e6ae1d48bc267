r"""Evaluates a model on benchmarks: prompt, sample, grade, and keep the evidence of every item beside the scores.

`evaluate` makes a run of kind `eval`. Its ledger `samples` holds a row per response, written batch by batch, so that an
evaluation that was killed goes on with the items that are missing; `scores` is written at the end. The same model,
benchmarks and recipe are the same run: one that is done is returned as it is.

`accuracy` takes an answer wherever the response states it; `reward` only in `\boxed{}`, as reinforcement does.
Scores are computed over the responses that got a ruling. A failure of the grader (ERROR) is neither right nor wrong:
its share is the metric `errors`, and it counts nowhere else. Leaves out few-shot prompts and comparisons of runs.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evaluation.answers import Grader, Verdict
from evaluation.config import EvalRecipe
from evaluation.estimates import bootstrap, pass_at_k, wilson
from evaluation.model_folder import checksums
from evaluation.samplers import SamplingParams, load_model, sample
from evaluation.templates import render, with_choices
from manifests.errors import UserError
from manifests.manifest import Manifest, check_launch
from manifests.progress import progress
from manifests.runs import RunDirectory, open_run
from manifests.store import Store
from manifests.tables import SAMPLES, SCORES

Row = dict[str, Any]


def evaluate(
    store: Store,
    model_dir: Path,
    benchmarks: Sequence[Manifest],
    recipe: EvalRecipe,
    parent: RunDirectory | None = None,
) -> RunDirectory:
    """Evaluate the Hugging Face folder `model_dir` on every item of `benchmarks`; `parent` is the run it came from.

    Raises UserError for a folder that is no model, a damaged or unsuitable manifest, a prompt beyond the context.
    What was graded before an error stays and is used when the same evaluation is started again.
    """
    _check(store, benchmarks, recipe)
    run = open_run(store, "eval", benchmarks, recipe, "transformers", parent, inputs=checksums(model_dir))
    if run.status == "done":
        return run
    with run.running():
        _sample_and_grade(run, model_dir, benchmarks, recipe)
        run.finish(_write_scores(run, [manifest.name for manifest in benchmarks], recipe))
    return run


def plan(store: Store, benchmarks: Sequence[Manifest], recipe: EvalRecipe) -> list[Row]:
    """What `evaluate` would do, after its checks: one row per benchmark."""
    _check(store, benchmarks, recipe)
    return [
        {
            "benchmark": manifest.ref,
            "items": min(manifest.families["items"].rows, recipe.limit or sys.maxsize),
            "samples": recipe.samples,
            "template": recipe.template,
            "temperature": recipe.temperature,
            "max_new_tokens": recipe.max_new_tokens,
        }
        for manifest in benchmarks
    ]


def _check(store: Store, benchmarks: Sequence[Manifest], recipe: EvalRecipe) -> None:
    if not benchmarks:
        raise UserError("no benchmark to evaluate on", "Name benchmark manifests; see `octo manifest list`")
    names = [manifest.name for manifest in benchmarks]
    if len(set(names)) < len(names):
        raise UserError(f"two benchmarks of one name among {', '.join(names)}", "Evaluate them in separate runs")
    if recipe.samples > 1 and recipe.temperature == 0:
        raise UserError(f"{recipe.samples} samples at temperature 0 are all the same", "Set temperature or samples: 1")
    render(recipe.template, "")
    for manifest in benchmarks:
        if manifest.kind != "benchmark":
            raise UserError(f"{manifest.ref} is a {manifest.kind}, not a benchmark", "See `octo manifest list`")
        check_launch(store, manifest)


# -- samples -------------------------------------------------------------------------------------------------------


def _sample_and_grade(run: RunDirectory, model_dir: Path, benchmarks: Sequence[Manifest], recipe: EvalRecipe) -> None:
    """Fill the ledger `samples` with whatever it does not hold yet."""
    kept = run.table("samples")
    done = set(zip(*(kept[c].to_pylist() for c in ("benchmark", "item_id")), strict=True)) if kept else set()
    step = max(kept["step"].to_pylist()) + 1 if kept else 0
    missing = [item for item in _items(benchmarks, recipe) if (item["benchmark"], item["item_id"]) not in done]
    if not missing:
        return
    model, tokenizer = load_model(model_dir)
    grader = Grader(recipe.grading_workers, recipe.grading_seconds)
    with grader, progress("eval: sample and grade", len(missing)) as advance:
        for batch in _batches(missing, recipe.batch_items):
            rows = _rows(batch, model, tokenizer, grader, recipe)
            run.append("samples", pa.Table.from_pylist([row | {"step": step} for row in rows], schema=SAMPLES.schema))
            advance(len(batch))
            step += 1


def _items(benchmarks: Sequence[Manifest], recipe: EvalRecipe) -> Iterator[Row]:
    """The items to run, each with its benchmark's name and its position there, which names its random stream."""
    for manifest in benchmarks:
        table = manifest.read("items", columns=["item_id", "question", "answer", "choices"])
        for position, item in enumerate(table.slice(0, recipe.limit).to_pylist()):
            yield item | {"benchmark": manifest.name, "position": position}


def _batches(items: list[Row], size: int) -> Iterator[list[Row]]:
    """Items of one benchmark at a time, since they are graded by one rule."""
    begin = 0
    while begin < len(items):
        end = begin
        while end < min(begin + size, len(items)) and items[end]["benchmark"] == items[begin]["benchmark"]:
            end += 1
        yield items[begin:end]
        begin = end


def _rows(batch: list[Row], model: Any, tokenizer: Any, grader: Grader, recipe: EvalRecipe) -> list[Row]:
    prompts = [_prompt(item, recipe.template) for item in batch]
    params = SamplingParams(recipe.max_new_tokens, recipe.temperature, recipe.samples, recipe.stop, recipe.seed)
    completions = sample(model, tokenizer, prompts, params, streams=[item["position"] for item in batch])
    each = [
        (item, prompt, number, completion)
        for item, prompt, group in zip(batch, prompts, completions, strict=True)
        for number, completion in enumerate(group)
    ]
    rule = "chain" if batch[0]["choices"] is None else "choice"
    responses, references = [one[3].text for one in each], [one[0]["answer"] for one in each]
    grades = grader.grade_all(responses, references, rule)
    boxed = grader.grade_all(responses, references, "boxed")  # most pairs are in the grader's cache by now
    return [
        {
            "benchmark": item["benchmark"],
            "item_id": item["item_id"],
            "sample": number,
            "prompt": prompt,
            "response": completion.text,
            "extracted": grade.extracted,
            "verdict": grade.verdict.value,
            "reason": None if grade.verdict is Verdict.CORRECT else grade.reason,
            "tokens": completion.tokens,
            "truncated": completion.truncated,
            "reference": item["answer"],
            "reward": None if strict.verdict is Verdict.ERROR else float(strict.verdict is Verdict.CORRECT),
        }
        for (item, prompt, number, completion), grade, strict in zip(each, grades, boxed, strict=True)
    ]


def _prompt(item: Row, template: str) -> str:
    question = item["question"]
    return render(template, with_choices(question, json.loads(item["choices"])) if item["choices"] else question)


# -- scores --------------------------------------------------------------------------------------------------------


def _write_scores(run: RunDirectory, names: list[str], recipe: EvalRecipe) -> dict[str, Any]:
    """Write `scores` once and give the summary: benchmark → metric → value."""
    samples = run.table("samples")
    assert samples is not None
    rows = [row for name in names for row in _score(samples.filter(pc.field("benchmark") == name), recipe)]
    if run.table("scores") is None:
        run.append("scores", pa.Table.from_pylist(rows, schema=SCORES.schema))
    return {name: {row["metric"]: row["value"] for row in rows if row["benchmark"] == name} for name in names}


def _score(samples: pa.Table, recipe: EvalRecipe) -> list[Row]:
    """Every metric of one benchmark, from its rows of `samples`."""
    verdicts = np.array(samples["verdict"].to_pylist())
    items = np.unique(np.array(samples["item_id"].to_pylist()), return_inverse=True)[1]
    tokens = samples["tokens"].to_numpy()
    correct, ruled = verdicts == Verdict.CORRECT, verdicts != Verdict.ERROR
    everything = np.ones_like(ruled)
    rewards = samples["reward"].to_numpy(zero_copy_only=False)
    rows = [
        _mean("accuracy", correct, ruled, items, recipe),
        _mean("reward", rewards, ~np.isnan(rewards), items, recipe),
        _mean("length", tokens, everything, items, recipe),
        _row("length_p95", float(np.quantile(tokens, 0.95)), None, len(tokens), "none"),
        _mean("truncated", samples["truncated"].to_numpy(zero_copy_only=False), everything, items, recipe),
        _mean("unparsed", verdicts == Verdict.UNPARSED, everything, items, recipe),
        _mean("errors", ~ruled, everything, items, recipe),
        *_pass_at(correct[ruled], items[ruled], recipe.samples),
    ]
    return [row | {"step": 0, "benchmark": samples["benchmark"][0].as_py()} for row in rows]


def _mean(metric: str, values: np.ndarray, counted: np.ndarray, items: np.ndarray, recipe: EvalRecipe) -> Row:
    """A mean over the counted responses, with Wilson's interval for a share of single answers, else by bootstrap."""
    n = int(counted.sum())
    if n == 0:
        return _row(metric, float("nan"), None, 0, "none")
    value = float(values[counted].mean())
    if values.dtype == bool and recipe.samples == 1:
        return _row(metric, value, wilson(int(values[counted].sum()), n), n, "wilson")
    sums = np.bincount(items[counted], weights=values[counted].astype(float))
    return _row(metric, value, bootstrap(sums, np.bincount(items[counted]), recipe.seed), n, "bootstrap")


def _pass_at(correct: np.ndarray, items: np.ndarray, samples: int) -> list[Row]:
    """pass@k for k = 1, 2, 4, … up to the number of samples, over the items that have that many rulings."""
    if samples == 1 or not len(items):
        return []
    ruled, right = np.bincount(items), np.bincount(items, weights=correct).astype(int)
    rows = []
    for k in (2**power for power in range(samples.bit_length())):
        chances = [pass_at_k(int(n), int(c), k) for n, c in zip(ruled, right, strict=True) if n >= k]
        if chances:
            interval = bootstrap(np.array(chances), np.ones(len(chances)), seed=0)
            rows.append(_row(f"pass@{k}", float(np.mean(chances)), interval, len(chances), "bootstrap"))
    return rows


def _row(metric: str, value: float, interval: tuple[float, float] | None, n: int, method: str) -> Row:
    low, high = interval or (None, None)
    return {"metric": metric, "value": value, "low": low, "high": high, "n": n, "method": method}
