r"""Evaluates a model on benchmarks: prompt, sample, grade, and keep the evidence of every item beside the scores.

`evaluate` makes a run of kind `eval`. Its ledger `samples` holds a row per response, written some seconds after it was
given, so that an evaluation that was killed goes on with the items that are missing; grading and writing go on in a
thread beside generation. `scores` is written at the end (`evaluation.metrics`). The same model, benchmarks, recipe and
sampler are the same run: one that is done is returned as it is.

`accuracy` takes an answer where the benchmark's task says it stands (`evaluation.tasks`); `reward` only in
`\boxed{}`, as reinforcement does. Leaves out sampling itself (`evaluation.samplers.sampling`) and comparison of runs
(`evaluation.compare`).
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from evaluation.config import EvalRecipe
from evaluation.contamination import exposure, statuses
from evaluation.grading.answers import Grader, Verdict
from evaluation.grading.extraction import continues
from evaluation.metrics import MEAN, average, score
from evaluation.protocols.released import released, shots
from evaluation.protocols.templates import FEW_SHOT, with_thought
from evaluation.samplers.model_folder import checksums
from evaluation.samplers.open_sampler import open_sampler
from evaluation.samplers.sampling import SAMPLERS, Completion, Sampler, SamplerName, SamplingParams
from evaluation.tasks import judge, prompt, task_of
from manifests.errors import UserError
from manifests.manifest import Manifest, check_launch
from manifests.progress import progress
from manifests.runs import RunDirectory, open_run
from manifests.store import Store
from manifests.tables import SAMPLES, SCORES

Row = dict[str, Any]


def evaluate(
    store: Store,
    model_dir: Path | None,
    benchmarks: Sequence[Manifest],
    recipe: EvalRecipe,
    parent: RunDirectory | None = None,
    sampler: SamplerName = "transformers",
    step: int = 0,
) -> RunDirectory:
    """Evaluate the Hugging Face folder `model_dir` on every item of `benchmarks` with the sampler called so.

    `parent` is the run that the model came from and `step` the checkpoint of it: they stand in the scores, and the
    parent's lineage says which items leaked into its training data. An endpoint needs no folder.

    Raises UserError for a folder that is no model, a damaged or unsuitable manifest, prompts beyond the context, an
    endpoint that fails. What was graded before an error stays and is used when the same evaluation is started again.
    """
    _check(store, benchmarks, recipe, sampler)
    run = open_run(store, "eval", benchmarks, recipe, sampler, parent, inputs=checksums(model_dir) if model_dir else {})
    if run.status == "done":
        return run
    with run.running():
        _sample_and_grade(run, model_dir, benchmarks, recipe, sampler)
        run.finish(_write_scores(run, benchmarks, recipe, parent, step))
    return run


def plan(
    store: Store, benchmarks: Sequence[Manifest], recipe: EvalRecipe, sampler: SamplerName = "transformers"
) -> list[Row]:
    """What `evaluate` would do, after its checks: one row per benchmark."""
    _check(store, benchmarks, recipe, sampler)
    return [
        {
            "benchmark": manifest.ref,
            "items": min(manifest.families["items"].rows, recipe.limit or sys.maxsize),
            "samples": recipe.samples,
            "sampler": sampler,
            "template": recipe.template,
            "shots": _shots(manifest.name, recipe),
            "temperature": recipe.temperature,
            "max_new_tokens": recipe.max_new_tokens,
        }
        for manifest in benchmarks
    ]


def _shots(benchmark: str, recipe: EvalRecipe) -> int:
    if how := released(recipe.protocol, benchmark):
        return shots(how)
    task = task_of(benchmark)
    has = task.n if task.shots else 0
    return 0 if recipe.template != FEW_SHOT else has if recipe.shots is None else min(recipe.shots, has)


def _check(store: Store, benchmarks: Sequence[Manifest], recipe: EvalRecipe, sampler: SamplerName) -> None:
    if not benchmarks:
        raise UserError("no benchmark to evaluate on", "Name benchmark manifests; see `octo manifest list`")
    names = [manifest.name for manifest in benchmarks]
    if len(set(names)) < len(names) or MEAN in names:
        raise UserError(f"two benchmarks of one name among {', '.join(names)}", "Evaluate them in separate runs")
    if said := recipe.contradiction():
        raise UserError(*said)
    if sampler not in SAMPLERS:
        raise UserError(f"there is no sampler {sampler!r}", f"Use one of {', '.join(SAMPLERS)}")
    if recipe.endpoint and sampler != "endpoint":
        raise UserError(
            f"`endpoint` is given, and the sampler is {sampler}", "Take --sampler endpoint, or leave it out"
        )
    if recipe.protocol and (others := [name for name in names if not released(recipe.protocol, name)]):
        if len(others) == len(names):
            raise UserError(f"{recipe.protocol} has no prompt for {', '.join(others)}", "Leave --protocol out")
        print(f"octo: {recipe.protocol} has no prompt for {', '.join(others)}: asked our own way", file=sys.stderr)
    for manifest in benchmarks:
        if manifest.kind != "benchmark":
            raise UserError(f"{manifest.ref} is a {manifest.kind}, not a benchmark", "See `octo manifest list`")
        check_launch(store, manifest)


# -- samples -------------------------------------------------------------------------------------------------------


def _sample_and_grade(
    run: RunDirectory, model_dir: Path | None, benchmarks: Sequence[Manifest], recipe: EvalRecipe, name: SamplerName
) -> None:
    """Fill the ledger `samples` with whatever it does not hold yet."""
    kept = run.table("samples")
    done = set(zip(*(kept[c].to_pylist() for c in ("benchmark", "item_id")), strict=True)) if kept else set()
    missing = [item for item in _items(benchmarks, recipe) if (item["benchmark"], item["item_id"]) not in done]
    if not missing:
        return
    groups = {manifest.name: [i for i in missing if i["benchmark"] == manifest.name] for manifest in benchmarks}
    sampler = open_sampler(name, model_dir, recipe.endpoint)
    try:
        for benchmark, items in groups.items():
            _refuse(benchmark, sampler.refusals([item["prompt"] for item in items]), len(items))
        with progress("eval: sample and grade", len(missing)) as advance, _Recorder(run, recipe, advance) as recorder:
            for benchmark, items in groups.items():
                _sample(sampler, benchmark, items, recipe, recorder)
    finally:
        sampler.close()


def _items(benchmarks: Sequence[Manifest], recipe: EvalRecipe) -> Iterator[Row]:
    """The items to run, each with its prompt, its place in the evaluation (`step`) and its position in its benchmark,
    which names its random stream."""
    step = 0
    for manifest in benchmarks:
        task = task_of(manifest.name)
        table = manifest.read("items", columns=["item_id", "question", "answer", "choices", "subject", "solution"])
        for position, item in enumerate(table.slice(0, recipe.limit).to_pylist()):
            asked = prompt(task, item, recipe.template, recipe.shots, released(recipe.protocol, manifest.name))
            yield item | {"benchmark": manifest.name, "position": position, "step": step, "prompt": asked}
            step += 1


def _refuse(benchmark: str, refusals: list[str], items: int) -> None:
    if refusals:
        raise UserError(
            f"{benchmark}: {len(refusals)} of {items} prompts cannot be continued: {refusals[0]}",
            "Take fewer examples (shots=0), another template, or a model with a longer context",
        )


def _sample(sampler: Sampler, benchmark: str, items: list[Row], recipe: EvalRecipe, recorder: "_Recorder") -> None:
    how = released(recipe.protocol, benchmark)
    stop = recipe.stop or (how.stop if how else task_of(benchmark).stop if recipe.template == FEW_SHOT else ())
    params = SamplingParams(recipe.max_new_tokens, recipe.temperature, recipe.samples, stop, recipe.seed)
    prompts, streams = [item["prompt"] for item in items], [item["position"] for item in items]
    for place, completions in sampler.sample(prompts, params, streams):
        recorder.add(items[place], completions)


class _Recorder:
    """Grades answers and writes them, in a thread beside generation. What was added is kept whatever ends the block."""

    def __init__(self, run: RunDirectory, recipe: EvalRecipe, advance: Callable[[int], None]):
        self._run, self._recipe, self._advance = run, recipe, advance
        self._grader = Grader(recipe.grading_workers, recipe.grading_seconds)
        self._thread = ThreadPoolExecutor(1, "grading")  # one at a time: a Grader is for one thread
        self._futures: list[Future[None]] = []
        self._answers: list[tuple[Row, list[Completion]]] = []
        self._flushed = time.monotonic()

    def __enter__(self) -> "_Recorder":
        return self

    def add(self, item: Row, completions: list[Completion]) -> None:
        """Keep the answers to an item. Raises what went wrong with those before."""
        other = bool(self._answers) and self._answers[0][0]["benchmark"] != item["benchmark"]
        late = time.monotonic() - self._flushed >= self._recipe.flush_seconds
        if self._answers and (other or late or len(self._answers) >= self._recipe.batch_items):
            self._flush()
        self._answers.append((item, completions))

    def _flush(self) -> None:
        for future in [future for future in self._futures if future.done()]:
            self._futures.remove(future)
            future.result()
        self._futures.append(self._thread.submit(self._record, self._answers))
        self._answers, self._flushed = [], time.monotonic()

    def _record(self, answers: list[tuple[Row, list[Completion]]]) -> None:
        rows = _rows(answers, self._grader, self._recipe)
        self._run.append("samples", pa.Table.from_pylist(rows, schema=SAMPLES.schema))
        self._advance(len(answers))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if self._answers:
                self._flush()
            for future in self._futures:
                future.result()
        except Exception:
            if error is None:
                raise
        finally:
            self._thread.shutdown()
            self._grader.close()


def _rows(answers: list[tuple[Row, list[Completion]]], grader: Grader, recipe: EvalRecipe) -> list[Row]:
    """The rows of `samples` for answers to items of one benchmark."""
    each = [(item, number, one) for item, group in answers for number, one in enumerate(group)]
    items, responses = [item for item, _, _ in each], [one.text for _, _, one in each]
    task = task_of(items[0]["benchmark"])
    grader.check([item["answer"] for item, _ in answers if not item["choices"]])
    judged = judge(task, recipe.template, recipe.protocol, items, responses, grader)
    said = [with_thought(recipe.template, response) for response in responses]
    boxed = grader.grade_all(said, [item["answer"] for item in items], "boxed")  # mostly in the grader's cache
    return [
        {
            "step": item["step"],
            "benchmark": item["benchmark"],
            "item_id": item["item_id"],
            "sample": number,
            "prompt": item["prompt"],
            "response": completion.text,
            "extracted": ruling.grade.extracted,
            "verdict": ruling.grade.verdict.value,
            "reason": None if ruling.grade.verdict is Verdict.CORRECT else ruling.grade.reason,
            "tokens": completion.tokens,
            "truncated": completion.truncated,
            "stopped_by": completion.stopped_by,
            "reference": item["answer"],
            "reward": None
            if strict.verdict is Verdict.ERROR
            else float(strict.verdict is Verdict.CORRECT and not (completion.truncated and continues(completion.text))),
            "other_verdict": ruling.other.verdict.value if ruling.other else None,
        }
        for (item, number, completion), ruling, strict in zip(each, judged, boxed, strict=True)
    ]


# -- scores --------------------------------------------------------------------------------------------------------


def _write_scores(
    run: RunDirectory, benchmarks: Sequence[Manifest], recipe: EvalRecipe, parent: RunDirectory | None, step: int
) -> Row:
    """Write `scores` once and give the summary: benchmark → metric → value."""
    samples = run.table("samples")
    assert samples is not None
    samples = samples.sort_by([("step", "ascending"), ("sample", "ascending")])
    leaks = statuses(exposure(run.store, parent), benchmarks)
    rows: list[Row] = []
    with Grader(recipe.grading_workers, recipe.grading_seconds) as grader:
        for manifest in benchmarks:
            mine = samples.filter(pc.field("benchmark") == manifest.name)
            status = [leaks[manifest.name, item] for item in mine["item_id"].to_pylist()]
            rows += score(mine, status, recipe, step, grader)
    rows += average(rows, step)
    if run.table("scores") is None:
        run.append("scores", pa.Table.from_pylist(rows, schema=SCORES.schema))
    _tell_errors(samples)
    names = dict.fromkeys(row["benchmark"] for row in rows)
    return {name: {row["metric"]: row["value"] for row in rows if row["benchmark"] == name} for name in names}


def _tell_errors(samples: pa.Table) -> None:
    """One line on the responses that the grader failed on."""
    failed = samples.filter(pc.field("verdict") == Verdict.ERROR.value)
    if failed.num_rows:
        items = len(set(zip(failed["benchmark"].to_pylist(), failed["item_id"].to_pylist(), strict=True)))
        print(
            f"octo: the grader failed on {failed.num_rows} of {samples.num_rows} responses, of {items} items, as "
            f"{failed['benchmark'][0]} {failed['item_id'][0]} ({failed['reason'][0]}); no score counts them as right",
            file=sys.stderr,
        )
