"""Recipes for evaluation: which benchmark file to freeze, and how to evaluate a model. Loads no engine."""

from typing import Annotated, Literal

from pydantic import Field

from evaluation.protocols.released import ProtocolName
from evaluation.protocols.templates import FEW_SHOT, Asked
from manifests.recipe import Amount, Local, Recipe

Stop = Annotated[str, Field(min_length=1)]
"""A string that ends a response."""


class BenchmarkRecipe(Recipe):
    """A benchmark file made into a manifest whose items never change."""

    name: Annotated[str, Local]
    """Name of the benchmark, in every row of its items, and name of the manifest."""
    version: Annotated[str, Local] = "1"
    """Version of the manifest; a name with a version is given only once."""
    path: Annotated[str | None, Local] = None
    """File of items (JSON Lines, JSON, CSV, Parquet or Arrow), local or any fsspec URL, plain or compressed; by default
    the files of the known benchmark on the hub."""
    revision: Annotated[str | None, Local] = None
    """Commit on the hub, 40 digits, if no path is given."""
    adapter: str | None = None
    """Shape of the file: the name of a known benchmark, or `plain` for {question, answer} rows. By default the
    shape of the benchmark called `name` if it is known, else `plain`."""
    split: str | None = None
    """Split of the items; by default that of the known benchmark, else `test`."""
    bad_rows: Literal["refuse", "quarantine"] = "refuse"
    """What happens to a row without question or answer: `refuse` stops with an error, `quarantine` keeps the row
    separately, with the reason."""


class EndpointRecipe(Recipe):
    """A server with an OpenAI-compatible completions API."""

    url: str
    """Base URL, such as http://localhost:8000/v1; /completions is appended."""
    model: str
    """Name of the model on the server."""
    key_variable: Annotated[str | None, Local] = None
    """Environment variable with the API key, if the server needs one."""
    concurrency: Annotated[int, Field(gt=0), Local] = 64
    """Number of concurrent requests."""
    retries: Annotated[int, Field(ge=0), Local] = 6
    """Retries after a temporary failure of a request, after 0.5 s, 1 s, 2 s, …"""
    timeout: Annotated[float, Field(gt=0), Local] = 600.0
    """Time limit for one request, in seconds."""


class EvalRecipe(Recipe):
    """How a model is evaluated. The benchmarks themselves are manifests."""

    benchmarks: Annotated[tuple[str, ...], Local] = ()
    """Benchmark manifests to run if the command names none: name@version, ID, or unique prefix of an ID."""
    template: Asked = "cpt_base"
    """Prompt template: cpt_base, ua_base, orz_base, icl_base or base_0221 (see evaluation/protocols/templates.py), or
    few_shot, which uses the prompt of each benchmark's task (evaluation/tasks.py)."""
    shots: Annotated[int, Field(ge=0)] | None = None
    """Worked examples in a few-shot prompt; at most, and by default, as many as the task has."""
    protocol: ProtocolName | None = None
    """`paper` uses the prompts and rulings of the paper's harness (evaluation/grading/paper.py lists what is
    reproduced), `lm-eval` uses the prompts of lm-evaluation-harness; by default prompts and rules are our own. Few-shot
    scores show the results of both rulings."""
    max_new_tokens: Annotated[Amount, Field(gt=0)] = 1024
    """Maximum length of a response, in tokens."""
    temperature: Annotated[float, Field(ge=0)] = 0.0
    """Sampling temperature; 0 selects the most likely token at each step."""
    samples: Annotated[int, Field(ge=1)] = 1
    """Responses per item; more than one needs a temperature above 0."""
    stop: tuple[Stop, ...] = ()
    """Strings that end a response; for few-shot prompts the default is those of the task."""
    pass_at: tuple[Annotated[int, Field(gt=0)], ...] | None = None
    """Values of k for pass@k and maj@k; by default the powers of two up to `samples`, and `samples`."""
    seed: Annotated[int, Field(ge=0)] = 42
    """Seed of the sampling; each item and response has its own random stream."""
    limit: int | None = Field(default=None, gt=0)
    """Number of items to evaluate, from the start of each benchmark; by default all."""
    batch_items: Annotated[int, Field(gt=0), Local] = 256
    """Maximum number of items that are graded and written together."""
    flush_seconds: Annotated[float, Field(ge=0), Local] = 5.0
    """Seconds after which finished answers are graded and written at the latest: the most that a killed run loses."""
    endpoint: EndpointRecipe | None = None
    """Server for `--sampler endpoint`."""
    grading_seconds: Annotated[float, Field(gt=0), Local] = 5.0
    """Processor time limit for grading one response, in seconds; a response that exceeds it counts as wrong."""
    grading_workers: Annotated[int, Field(gt=0), Local] = 2
    """Number of grading processes."""

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
