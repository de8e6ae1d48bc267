"""Recipes of the evaluation floor: which benchmark file to freeze, and how to evaluate a model. Loads no engine."""

from typing import Annotated, Literal

from pydantic import Field

from manifests.recipe import Amount, Local, Recipe


class BenchmarkRecipe(Recipe):
    """A benchmark file made into a manifest whose items never change."""

    name: Annotated[str, Local]
    """Name of the benchmark; it stands in every row of its items and names the manifest."""
    version: Annotated[str, Local] = "1"
    """Version of the manifest; with the name it is given once and for ever."""
    path: Annotated[str | None, Local] = None
    """File of items (JSONL, JSON, Parquet or CSV), local or any fsspec URL, plain or compressed; by default the files of
    the known benchmark on the hub."""
    revision: Annotated[str | None, Local] = None
    """Commit of the hub, 40 digits, where no path is given."""
    adapter: str | None = None
    """Shape of the file: the name of a known benchmark, or `plain` for {question, answer} rows. By default that of the
    benchmark called `name` if it is known, else `plain`."""
    split: str | None = None
    """Split that the items belong to; by default that of the known benchmark, else `test`."""
    bad_rows: Literal["refuse", "quarantine"] = "refuse"
    """What a row without question or answer does: stops the freezing, or is kept aside with the reason."""


class EvalRecipe(Recipe):
    """How a model is evaluated. Which benchmarks is said by their manifests."""

    benchmarks: Annotated[tuple[str, ...], Local] = ()
    """Benchmark manifests to run when the command names none: name@version, ID, or unique prefix of an ID."""
    template: str = "cpt_base"
    """Prompt template: cpt_base, ua_base or orz_base (see evaluation/templates.py)."""
    max_new_tokens: Annotated[Amount, Field(gt=0)] = 1024
    """Longest response, in tokens."""
    temperature: Annotated[float, Field(ge=0)] = 0.0
    """0 takes the likeliest token at each step."""
    samples: Annotated[int, Field(ge=1)] = 1
    """Responses per item; more than one needs a temperature."""
    stop: tuple[str, ...] = ()
    """Strings that end a response."""
    seed: Annotated[int, Field(ge=0)] = 42
    """Seed of the sampling; each item and response has a stream of its own."""
    limit: int | None = Field(default=None, gt=0)
    """Only the first so many items of each benchmark."""
    batch_items: Annotated[int, Field(gt=0), Local] = 256
    """Items sampled, graded and written together: what a killed evaluation loses at most."""
    grading_seconds: Annotated[float, Field(gt=0), Local] = 5.0
    """Wall time after which grading one response is given up and counted as an error."""
    grading_workers: Annotated[int, Field(gt=0), Local] = 2
    """Processes that grade."""
