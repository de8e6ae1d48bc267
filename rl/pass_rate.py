"""How often a given model solves each prompt: `octo rl pass-rate`, so that difficulty is a SQL `where`.

Manifests never change, so what is measured of documents is a manifest of its own, as with `octo annotate`: kind
`pass_rates`, made from the prompts manifest, one row per prompt with the document it comes from. A recipe of `octo mix`
names it beside a component (`pass_rates: NAME@VERSION`), and `pass_rate` is then a column of that component's `where`,
NULL for documents that were not measured. Every response is a row of `rollouts` of a run of kind `pass-rate`, which the
manifest names.

Promises. Same prompts, recipe and model: the same run, and on one kind of machine the same rates. A measurement that
was killed goes on with the prompts that are missing. A prompt whose reference fails the grader's controls has no rate.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, field_validator

from evaluation.config import Stop
from evaluation.grading.answers import Grader, Verdict
from evaluation.protocols.templates import TemplateName, render, with_thought
from evaluation.samplers.model_folder import checksums
from evaluation.samplers.sampling import SamplingParams
from evaluation.samplers.transformers_sampler import load_model, sample
from manifests.manifest import Draft, Manifest, build_key, called, check_name, find_built
from manifests.progress import progress
from manifests.recipe import Local, NamedRecipe, semantic
from manifests.runs import RunDirectory, open_run
from manifests.store import Store
from manifests.tables import PASS_RATES, ROLLOUTS
from rl.config import STOP, check_stop
from rl.launch import Start, check_prompts
from rl.rewards import RULE, repeats
from training.config import Count

Row = dict[str, Any]
BACKEND = "torch"


class PassRateRecipe(NamedRecipe):
    """How the responses are sampled that a pass rate is counted from."""

    template: TemplateName = "cpt_base"
    """Prompt template, as in RL."""
    stop: tuple[Stop, ...] = STOP
    """Strings that end a response, as in RL."""
    samples: Count = 8
    """Responses to each prompt."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Temperature that they are sampled at."""
    max_new_tokens: Count
    """Longest response, in tokens."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the sampling; each response has a stream of its own."""
    rollout_texts: Annotated[bool, Local] = True
    """Whether the ledger `rollouts` holds prompts and responses."""
    batch_prompts: Annotated[Count, Local] = 64
    """Prompts sampled, graded and written together: what a killed measurement loses at most."""
    grading_seconds: Annotated[float, Field(gt=0), Local] = 5.0
    """Processor time after which grading one response is given up and the response counts as wrong."""
    grading_workers: Annotated[int, Field(gt=0), Local] = 2
    """Processes that grade."""

    @field_validator("stop")
    @classmethod
    def _boxes_can_be_finished(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        check_stop(value)
        return value


def pass_rates(store: Store, prompts: Manifest, recipe: PassRateRecipe, start: Start) -> Manifest:
    """The pass rates of the model `start` on `prompts`, measured or found.

    UserError when manifest, recipe and start do not fit together, when a file of the manifest is damaged, or when
    another process holds the run.
    """
    check_name(recipe.name, recipe.version)
    folder = check_prompts(store, prompts, recipe.template, recipe.max_new_tokens, start)
    parent, inputs = (None, checksums(start)) if isinstance(start, Path) else (start, None)
    run = open_run(store, "pass-rate", [prompts], recipe, BACKEND, parent, inputs)
    if run.status != "done":
        with run.running():
            _measure(run, prompts, recipe, folder)
            run.finish(_summary(run))
    return _frozen(store, prompts, recipe, run)


def _measure(run: RunDirectory, prompts: Manifest, recipe: PassRateRecipe, folder: Path) -> None:
    """Fill the ledger `rollouts` with the batches that it does not hold yet; a batch is its step, from 1."""
    rows, size = prompts.read("prompts").to_pylist(), recipe.batch_prompts
    kept = run.table("rollouts")
    known = set(kept["prompt_id"].to_pylist()) if kept else set()
    step = max(kept["step"].to_pylist()) if kept else 0
    missing = [row for row in rows if row["prompt_id"] not in known]
    if not missing:
        return
    model, tokenizer = load_model(folder)
    grader = Grader(recipe.grading_workers, recipe.grading_seconds)
    with grader, progress("rl: pass rate", len(missing)) as advance:
        for first in range(0, len(missing), size):
            step, batch = step + 1, missing[first : first + size]
            found = _responses(batch, model, tokenizer, grader, recipe)
            run.append("rollouts", pa.Table.from_pylist([row | {"step": step} for row in found], ROLLOUTS.schema))
            advance(len(batch))


def _responses(batch: Sequence[Row], model: Any, tokenizer: Any, grader: Grader, recipe: PassRateRecipe) -> list[Row]:
    """Rows of `rollouts` but for their step; a prompt draws from the stream of its position."""
    texts = [render(recipe.template, row["question"]) for row in batch]
    params = SamplingParams(recipe.max_new_tokens, recipe.temperature, recipe.samples, recipe.stop, recipe.seed)
    groups = sample(model, tokenizer, texts, params, streams=[row["position"] for row in batch])
    each = [
        (row, text, number, completion)
        for row, text, group in zip(batch, texts, groups, strict=True)
        for number, completion in enumerate(group)
    ]
    grader.check([row["answer"] for row in batch])
    said = [with_thought(recipe.template, one[3].text) for one in each]
    grades = grader.grade_all(said, [one[0]["answer"] for one in each], RULE)
    return [
        {
            **{name: row[name] for name in ("prompt_id", "doc_id", "source")},
            "sample": number,
            "prompt": text if recipe.rollout_texts else None,
            "response": completion.text if recipe.rollout_texts else None,
            "tokens": completion.tokens,
            "truncated": completion.truncated,
            "stopped_by": completion.stopped_by,
            "verdict": grade.verdict.value,
            "extracted": grade.extracted,
            "reason": None if grade.verdict is Verdict.CORRECT else grade.reason,
            "reward": None if grade.verdict is Verdict.ERROR else float(grade.verdict is Verdict.CORRECT),
            "repetition": repeats(completion.text),
        }
        for (row, text, number, completion), grade in zip(each, grades, strict=True)
    ]


def _summary(run: RunDirectory) -> Row:
    ledger = run.table("rollouts")
    assert ledger is not None
    return {"responses": ledger.num_rows, "pass_rate": pc.mean(ledger["reward"]).as_py()}


def _frozen(store: Store, prompts: Manifest, recipe: PassRateRecipe, run: RunDirectory) -> Manifest:
    """The manifest of a run that is done."""
    identity = semantic(recipe) | {"run": run.id}
    key = build_key("pass_rates", identity, [prompts])
    found = find_built(store, key, "pass_rates", identity, [prompts])
    return called(store, found or _written(store, prompts, recipe, run, identity, key), recipe)


def _written(
    store: Store, prompts: Manifest, recipe: PassRateRecipe, run: RunDirectory, identity: dict[str, Any], key: str
) -> Manifest:
    draft = Draft(store, "pass_rates", identity, [prompts])
    rates = _rates(run, prompts)
    draft.write("pass_rates", [rates], PASS_RATES.schema)
    counts = {"prompts": len(rates), "responses": pc.sum(rates["responses"]).as_py()}
    return draft.commit(recipe.name, recipe.version, counts, key, recipe.model_dump(mode="json"))


def _rates(run: RunDirectory, prompts: Manifest) -> pa.Table:
    """One row per prompt, in the order of the manifest."""
    ledger = run.table("rollouts")
    assert ledger is not None
    columns = {
        "prompt_id": ledger["prompt_id"],
        "ruled": pc.is_valid(ledger["reward"]).cast(pa.int64()),
        "correct": pc.fill_null(ledger["reward"], 0.0).cast(pa.int64()),
        "truncated": ledger["truncated"].cast(pa.float64()),
        "tokens": ledger["tokens"],
    }
    sums = [("ruled", "sum"), ("correct", "sum"), ("truncated", "mean"), ("tokens", "mean")]
    found = pa.table(columns).group_by("prompt_id").aggregate(sums)
    order = prompts.read("prompts", ["prompt_id", "doc_id", "source"])
    found = found.take(pc.index_in(order["prompt_id"], value_set=found["prompt_id"].combine_chunks()))
    ruled = pc.if_else(pc.equal(found["ruled_sum"], 0), None, found["ruled_sum"]).cast(pa.float64())
    rates = {
        "responses": found["ruled_sum"],
        "correct": found["correct_sum"],
        "pass_rate": pc.divide(found["correct_sum"].cast(pa.float64()), ruled),
        "truncated_share": found["truncated_mean"],
        "length_mean": found["tokens_mean"],
    }
    return pa.table({name: order[name] for name in order.column_names} | rates).select(PASS_RATES.schema.names)
