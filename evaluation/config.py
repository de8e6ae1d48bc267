"""Recipes of the evaluation floor: which benchmark file to freeze, and how to evaluate a model. Loads no engine."""

from typing import Annotated, Literal

from pydantic import Field

from evaluation.templates import FEW_SHOT, Asked
from manifests.recipe import Amount, Local, Recipe

Stop = Annotated[str, Field(min_length=1)]
"""A string that ends a response."""


class BenchmarkRecipe(Recipe):
    """A benchmark file made into a manifest whose items never change."""

    name: Annotated[str, Local]
    """Name of the benchmark; it stands in every row of its items and names the manifest."""
    version: Annotated[str, Local] = "1"
    """Version of the manifest; with the name it is given once and for ever."""
    path: Annotated[str | None, Local] = None
    """File of items (JSON Lines, JSON, CSV, Parquet or Arrow), local or any fsspec URL, plain or compressed; by default
    the files of the known benchmark on the hub."""
    revision: Annotated[str | None, Local] = None
    """Commit of the hub, 40 digits, where no path is given."""
    adapter: str | None = None
    """Shape of the file: the name of a known benchmark, or `plain` for {question, answer} rows. By default that of the
    benchmark called `name` if it is known, else `plain`."""
    split: str | None = None
    """Split that the items belong to; by default that of the known benchmark, else `test`."""
    bad_rows: Literal["refuse", "quarantine"] = "refuse"
    """What a row without question or answer does: stops the freezing, or is kept aside with the reason."""


class EndpointRecipe(Recipe):
    """A server that speaks OpenAI's completions."""

    url: str
    """Base URL, to which /completions is added: http://localhost:8000/v1."""
    model: str
    """Name of the model there."""
    key_variable: Annotated[str | None, Local] = None
    """Environment variable that holds the key, if one is needed."""
    concurrency: Annotated[int, Field(gt=0), Local] = 64
    """Requests under way at once."""
    retries: Annotated[int, Field(ge=0), Local] = 6
    """Repetitions of a request that may pass, after 0.5 s, 1 s, 2 s, …"""
    timeout: Annotated[float, Field(gt=0), Local] = 600.0
    """Seconds that one request may take."""


class EvalRecipe(Recipe):
    """How a model is evaluated. Which benchmarks is said by their manifests."""

    benchmarks: Annotated[tuple[str, ...], Local] = ()
    """Benchmark manifests to run when the command names none: name@version, ID, or unique prefix of an ID."""
    template: Asked = "cpt_base"
    """Prompt template: cpt_base, ua_base, orz_base, icl_base or base_0221 (see evaluation/templates.py), or few_shot:
    each benchmark as its task says (evaluation/tasks.py)."""
    shots: Annotated[int, Field(ge=0)] | None = None
    """Worked examples in a few-shot prompt, at most as many as the task has; by default as many as it has."""
    protocol: Literal["paper", "lm-eval"] | None = None
    """`paper` asks and rules as the paper's harness did (evaluation/paper.py says what is repeated), `lm-eval` asks as
    lm-evaluation-harness does; by default prompts and rules are ours. Few-shot scores say what either ruling comes
    to."""
    max_new_tokens: Annotated[Amount, Field(gt=0)] = 1024
    """Longest response, in tokens."""
    temperature: Annotated[float, Field(ge=0)] = 0.0
    """0 takes the likeliest token at each step."""
    samples: Annotated[int, Field(ge=1)] = 1
    """Responses per item; more than one needs a temperature."""
    stop: tuple[Stop, ...] = ()
    """Strings that end a response; by default, in few-shot prompts, those of the task."""
    pass_at: tuple[Annotated[int, Field(gt=0)], ...] | None = None
    """k of pass@k and maj@k; by default the powers of two up to `samples`, and `samples`."""
    seed: Annotated[int, Field(ge=0)] = 42
    """Seed of the sampling; each item and response has a stream of its own."""
    limit: int | None = Field(default=None, gt=0)
    """Only the first so many items of each benchmark."""
    batch_items: Annotated[int, Field(gt=0), Local] = 256
    """Items graded and written together, at most."""
    flush_seconds: Annotated[float, Field(ge=0), Local] = 5.0
    """What has been answered is graded and written after so many seconds at the latest: what a kill loses."""
    endpoint: EndpointRecipe | None = None
    """The server that `--sampler endpoint` asks."""
    grading_seconds: Annotated[float, Field(gt=0), Local] = 5.0
    """Processor time after which grading one response is given up and the response counts as wrong."""
    grading_workers: Annotated[int, Field(gt=0), Local] = 2
    """Processes that grade."""

    def contradiction(self) -> tuple[str, str] | None:
        """Why two fields cannot both hold, and what to do; None if all can."""
        if self.samples > 1 and self.temperature == 0:
            return f"{self.samples} samples at temperature 0 are all the same", "Set temperature or samples: 1"
        if too_many := [k for k in self.pass_at or () if k > self.samples]:
            return f"pass@{too_many[0]} needs as many samples", f"Set samples: {too_many[0]}"
        if self.protocol and self.shots is not None:
            return f"`shots` and `protocol: {self.protocol}` both say which examples are shown", "Leave one of them out"
        if self.template != FEW_SHOT and (self.protocol or self.shots):
            field = "protocol" if self.protocol else "shots"
            said = f"`{field}: {getattr(self, field)}` is of few-shot prompts, and `template` is {self.template}"
            return said, "Set template: few_shot, or leave it out"
        return None
