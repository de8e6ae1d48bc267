"""Recipe of a corpus: which sources, which quality limits, what counts as a copy, which benchmarks to keep out.

Also the recipes of a classifier and of annotations by a language model. Loads neither torch nor datatrove. Paths, names
and the version are local: they say where, and the identity does not hold them. What a path held does enter it, through
the documents, the tokenizer's digest and the IDs of benchmarks and annotations.
"""

from typing import Annotated, Any, Literal

from pydantic import AnyHttpUrl, Field, ValidationError, field_validator, model_validator

from curation.known_sources import KNOWN
from curation.prompts import PROMPTS
from evaluation.config import BenchmarkRecipe
from manifests.paths import FileName
from manifests.recipe import Amount, Local, Recipe

ScoreName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*_score$")]
Role = Literal["web", "qa", "long_cot", "instruct", "code", "general", "rl"]
Format = Literal["jsonl", "jsonl.zst", "parquet", "html", "warc"]
Adapter = Literal[
    "columns", "text", "html", "gsm8k", "boxed", "numina", "openr1", "distilled", "chat", "simplerl", "annotation"
]
ANSWERED: tuple[Role, ...] = ("qa", "long_cot")
"""Roles whose text is made of a question and a response."""
PROSE: tuple[Role, ...] = ("web", "general")
"""Roles that quality rules for pages apply to."""
SAMPLE_SCHEME = "sample://"
HUB_SCHEME = "hf://"
MANIFEST_SCHEME = "manifest://"


def _as_text(value: object) -> object:
    """`version: 1` and `version: 2026.11` are what people write."""
    return str(value) if isinstance(value, int | float) else value


class Columns(Recipe):
    """Which column of the input holds which part of a document. Columns not named here are not read."""

    text: str = "text"
    """The text of a page; read for the roles web, general, instruct and code."""
    question: str = "question"
    """The question; read for qa, long_cot and rl."""
    response: str = "response"
    """The worked answer; read for qa and long_cot."""
    answer: str = "answer"
    """The bare final answer; required for rl, optional for qa and long_cot."""
    url: str = "url"
    """Where the document comes from; optional."""
    id: str = "id"
    """The source's own identifier; optional. It enters doc_id."""
    messages: str = "messages"
    """The turns of a dialogue, each with `role` and `content`; read by the adapters chat and distilled."""


class SourceRecipe(Recipe):
    """Files that hold documents of one kind. The order of sources in a recipe is their rank among copies."""

    known: Annotated[str | None, Local] = None
    """A source that `octo sources` lists: it gives every field that the recipe does not. With a `path` of your own it
    is read from there."""
    name: FileName
    """Name of the source in every table."""
    path: Annotated[str, Field(min_length=1), Local]
    """A file, a folder or a glob; local or any fsspec URL; `hf://datasets/ORG/NAME@COMMIT/FOLDER` on the hub;
    `sample://web` is a folder of the built-in sample; `manifest://NAME@VERSION` is what `octo annotate` made: rewritten
    texts for the roles of pages, question-answer pairs for qa."""
    revision: Annotated[str | None, Local] = None
    """Commit of the hub's repository, for a path of the hub that names none. Branches are refused: they move."""
    format: Format | None = None
    """Format of the files; by default told by their suffix: .jsonl, .jsonl.zst, .parquet, .html, .htm, .warc or
    .warc.gz. A page of html or warc gives its main text, with mathematics as LaTeX, and its address as `url`."""
    role: Role
    """What the documents are for; see `docs/sql.md`."""
    license: str | None = None
    """SPDX name or the source's own words; recorded with every document."""
    adapter: Adapter = "columns"
    """How a record becomes a document; see `curation.adapters`. `columns` takes the columns that the role asks for,
    `text` the text alone, `html` the main text of a page whose HTML is in that column, the others read the shape of a
    data set: gsm8k, boxed (MATH), numina, openr1, distilled (<think> and answer), chat (User: and Assistant: turns),
    simplerl. A path manifest:// means `annotation`."""
    columns: Columns = Columns()
    """Column names, where they differ from the defaults."""
    only: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Quality rule of the source: column to shell patterns. A record none of whose patterns matches is dropped as
    `excluded`; {model: [gpt-4*]} keeps what GPT-4 wrote."""
    scores: dict[ScoreName, str] | None = None
    """Numbers that the source brings: column of `documents` to column of the source; {finemath_score: score}. NULL for
    documents of other sources; a value that is no number sends its record to quarantine."""
    metadata: tuple[str, ...] | None = None
    """Further columns of the source, kept as one JSON object in the column `metadata` of `documents`; [crawl] is
    `metadata->>'crawl'` in SQL."""

    @model_validator(mode="before")
    @classmethod
    def _annotated(cls, data: Any) -> Any:
        """How the rows of an annotations manifest are read; a document's native ID is that of the one it came from."""
        if not isinstance(data, dict) or not str(data.get("path")).startswith(MANIFEST_SCHEME):
            return data
        if data.get("adapter", "annotation") != "annotation":
            raise ValueError("a path manifest:// is read by the adapter annotation")
        columns = {"id": "doc_id", "response": "solution"}
        given = data.get("columns", {})
        return data | {"adapter": "annotation"} | ({"columns": columns | given} if isinstance(given, dict) else {})

    @model_validator(mode="before")
    @classmethod
    def _filled_in(cls, data: Any) -> Any:
        """The fields of a known source under those that are given."""
        if not isinstance(data, dict) or data.get("known") is None:
            return data
        if data["known"] not in KNOWN:
            raise ValueError(f"no known source {data['known']!r}; `octo sources` lists them")
        row = KNOWN[data["known"]].recipe()
        given = data.get("columns", {})
        columns = {"columns": row["columns"] | given} if isinstance(given, dict) else {}
        return row | data | columns


class SampleRecipe(Recipe):
    """The built-in sample, for sources and benchmarks whose path begins with sample://."""

    seed: int = 1
    """Seed of the sample."""
    documents: Annotated[Amount, Field(ge=100)] = 5000
    """About how many documents it holds, over all its sources."""


class QualityRecipe(Recipe):
    """Limits of the quality rules; see `curation.quality` for what each measures."""

    min_words: int = Field(default=20, ge=0)
    """Pages with fewer words are `too_short`."""
    max_boilerplate: float = Field(default=0.05, ge=0)
    """Phrases of menus and notices per word, above which a page is `boilerplate`."""
    max_symbol_ratio: float = Field(default=0.25, ge=0)
    """Symbols outside of mathematics per word, above which a page is `symbols`."""
    max_repetition: float = Field(default=0.6, ge=0, le=1)
    """Share of 5-word runs that occurred before in the text, above which any document is `repetition`."""
    max_loop: float = Field(default=0.2, ge=0, le=1)
    """Share of the words that go on repeating one passage five times or more, above which any document is `loop`."""
    min_math_density: float = Field(default=0.04, ge=0)
    """Mathematical words per word, below which a document of role web is `not_mathematical`."""


class NearDuplicatesRecipe(Recipe):
    """Near-duplicates: candidates by MinHash bands, then verified. 20 bands of 6 rows find a pair of Jaccard similarity
    0.8 with probability 0.998 and one of 0.7 with 0.92."""

    bands: int = Field(default=20, gt=0)
    """Bands of the signature."""
    rows: int = Field(default=6, gt=0)
    """Values per band."""
    shingle: int = Field(default=5, gt=0)
    """Words per shingle."""
    similarity: float = Field(default=0.7, gt=0, le=1)
    """Exact Jaccard similarity of the shingles from which a verified pair counts as near-duplicates."""
    numbers_differ: bool = True
    """Whether texts whose shingles differ only in numbers or operators are different documents (templated problems)."""


class DecontaminateRecipe(Recipe):
    """Documents that hold a benchmark's item are dropped, with the item as evidence."""

    ngram: int = Field(default=6, gt=1)
    """Words per n-gram; items with fewer words must occur whole."""
    coverage: float = Field(default=0.7, gt=0, le=1)
    """1 - edits / words of the item, for the fewest words to be changed until the item stands in the document, from
    which the document holds the item."""
    numbers: float = Field(default=0.9, ge=0, le=1)
    """Share of an item's numbers and operators that must match: other numbers make another problem."""
    benchmarks: Annotated[tuple[BenchmarkRecipe | str, ...], Local] = ()
    """Benchmarks to keep out: files to freeze first, or references to benchmark manifests."""
    training: Annotated[tuple[str, ...], Local] = ()
    """Corpus manifests that models are trained on. A prompt (role rl) that a kept document of theirs holds is dropped
    as `in_training`, with that document as evidence. Their IDs enter the identity."""
    folder: Annotated[str | None, Local] = None
    """A folder whose every .jsonl file is a benchmark as well, called by its stem."""


class ScoreRecipe(Recipe):
    """A fastText classifier whose score becomes a column of `documents`. The model's digest enters the identity."""

    model: Annotated[str, Local]
    """A classifier manifest (name@version or ID; it becomes a parent of the corpus), a model file (.bin), or `default`:
    the small model that comes with the project, which knows the built-in sample and little else."""
    label: str = "positive"
    """The label whose probability is the score; models of other projects call it `__label__hq` or the like: say hq."""
    column: ScoreName = "math_score"
    """Name of the column."""
    min: float | None = Field(default=None, ge=0, le=1)
    """Score below which a document of `roles` is `low_score`; by default none is dropped, and the cut is made in SQL
    when documents are selected."""
    roles: tuple[Role, ...] = ("web",)
    """Roles that `min` applies to; documents of every role are scored."""


class LanguageRecipe(Recipe):
    """The language of every document, as the columns `language` and `language_score`; see `curation.language`."""

    model: Annotated[str | None, Local] = None
    """A fastText model with a label per language: lid.176.bin or .ftz, GlotLID or one of your own. Its digest enters
    the identity. By default py3langid, whose model comes with the package."""
    keep: tuple[str, ...] = ()
    """Languages to keep, as the model's labels write them ([en] for lid.176 and py3langid); other documents of `roles`
    are dropped as `other_language`. By default none is dropped, and the choice is made in SQL."""
    min_score: float = Field(default=0.65, ge=0, le=1)
    """Score below which a document in a language to keep is dropped all the same; 0.65 is FineWeb's and MegaMath's."""
    roles: tuple[Role, ...] = PROSE
    """Roles that `keep` applies to; documents of every role are labelled."""


TIME = r"(\d+-)?\d{1,2}:\d{2}:\d{2}"


class StageRecipe(Recipe):
    """What one process of a stage may use."""

    time: str = Field(default="02:00:00", pattern=TIME)
    """Limit of time: hours:minutes:seconds, or days-hours:minutes:seconds. A Slurm job of several small tasks has it
    for all of them."""
    memory_gb: float = Field(default=4, gt=0)
    """Memory in GiB."""
    cpus: int = Field(default=1, gt=0)
    """CPUs."""

    @property
    def seconds(self) -> int:
        """`time` in seconds."""
        days, _, clock = self.time.rpartition("-")
        hours, minutes, seconds = map(int, clock.split(":"))
        return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds


class FinishRecipe(StageRecipe):
    """What the process may use that ends a build: one for all tasks."""

    time: str = Field(default="12:00:00", pattern=TIME)
    """Limit of time."""
    memory_gb: float = Field(default=16, gt=0)
    """Memory in GiB: 3 and some 0.8 KB a document."""
    cpus: int = Field(default=4, gt=0)
    """CPUs."""


class PlaceRecipe(Recipe):
    """Where a corpus is built: how the input is cut into tasks, and what Slurm or Ray gives them (docs/cluster.md)."""

    task_bytes: Annotated[Amount, Field(gt=0)] = 256_000_000
    """Bytes of input that one task reads, as they lie on disk: some minutes of work. Larger local files of Parquet are
    cut between row groups, of plain JSONL between lines; smaller ones share a job. Fixed at a build's first launch."""
    workers: int | None = Field(default=None, gt=0)
    """Jobs of Slurm or Ray at a time; by default as many as the cluster takes."""
    retries: int = Field(default=2, ge=0)
    """How often Ray, or Slurm with --wait, is asked again for the tasks that are missing when all others have ended."""
    annotate: StageRecipe = StageRecipe()
    """The tasks that read the sources."""
    finish: FinishRecipe = FinishRecipe()
    """The end: copies are found and the manifest is frozen."""
    partition: str | None = None
    """Partition of Slurm; by default the cluster's own default."""
    max_array_size: int | None = Field(default=None, gt=0)
    """Jobs of one Slurm array; by default what the cluster says (MaxArraySize). More are several arrays."""
    venv: str | None = None
    """Virtual environment that a Slurm job activates. By default jobs run the Python that submitted them."""
    env_command: str | None = None
    """Shell command that a Slurm job runs first, in place of `venv`: `module load python; source env/bin/activate`."""
    sbatch: dict[str, str] = Field(default_factory=dict)
    """Further options of sbatch: {account: math, qos: low, exclude: node7}."""
    address: str | None = None
    """Address of a Ray cluster: auto, HOST:PORT or ray://HOST:PORT. By default one is started on this machine."""


class CurateRecipe(Recipe):
    """A corpus: sources in, one manifest out in which every record is a row."""

    name: Annotated[str, Local]
    """Name of the manifest."""
    version: Annotated[str, Local] = "1"
    """Version of the manifest; with the name it is given once and for ever."""
    tokenizer: Annotated[str, Local]
    """A tokenizer.json or a folder with one, relative to the working directory or to the project. Its digest enters the
    identity."""
    sample: SampleRecipe = SampleRecipe()
    """The built-in sample that sample:// paths read."""
    sources: tuple[SourceRecipe, ...] = Field(min_length=1)
    """Sources, best first: among copies the one from the earlier source is kept, of these the one with the higher
    `prefer`, of these the longest, of these the one with the smallest doc_id. So the order in which documents arrived
    is no matter. Only documents without another drop reason compete."""
    prefer: str | None = None
    """Column of `documents` whose higher value is kept among copies from one source: `math_density` (the default),
    `words`, a classifier's score or a score of the sources; a document without one comes last."""
    max_record_bytes: Annotated[Amount, Field(gt=0)] = 1_000_000
    """Longer records go to quarantine unread."""
    rules: Literal["none"] | None = None
    """`none` drops no document, whatever the other fields say: not for its source's rules, its quality or a benchmark,
    nor as a copy. It is measured all the same, so that `--reselect` can apply the rules later. `octo manifest import`
    writes such recipes."""
    boilerplate_lines: Literal["remove"] | None = None
    """`remove` takes lines of menus, share buttons, cookie and copyright notices out of pages (roles web and general)
    and counts the characters taken in the column `boilerplate_chars`. By default text stays as the source has it."""
    language: LanguageRecipe | None = None
    """Identify the language of every document."""
    quality: QualityRecipe = QualityRecipe()
    """Limits of the quality rules."""
    classifier: ScoreRecipe | None = None
    """A classifier that scores every document."""
    near_duplicates: NearDuplicatesRecipe = NearDuplicatesRecipe()
    """What counts as a near-duplicate."""
    decontaminate: DecontaminateRecipe = DecontaminateRecipe()
    """Which benchmarks to keep out."""
    place: Annotated[PlaceRecipe, Local] = PlaceRecipe()
    """Where it is built."""

    _version_as_text = field_validator("version", mode="before")(_as_text)

    @model_validator(mode="after")
    def _names_are_unique(self) -> "CurateRecipe":
        names = [source.name for source in self.sources]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two sources are called {', '.join(twice)}")
        return self

    @model_validator(mode="after")
    def _columns_are_unique(self) -> "CurateRecipe":
        if self.classifier and self.classifier.column in self.source_scores:
            raise ValueError(f"{self.classifier.column} is a source's score: give classifier.column another name")
        return self

    @model_validator(mode="after")
    def _preferred_is_a_score(self) -> "CurateRecipe":
        known = ("math_density", "words", *([self.classifier.column] if self.classifier else []), *self.source_scores)
        if self.prefer is not None and self.prefer not in known:
            raise ValueError(f"prefer: {self.prefer} is none of {', '.join(known)}")
        return self

    @property
    def source_scores(self) -> tuple[str, ...]:
        """Columns of scores that sources bring, sorted: the order of sources is no matter of columns."""
        return tuple(sorted({name for source in self.sources for name in source.scores or {}}))


class ClassifierRecipe(Recipe):
    """A fastText classifier, trained on labelled rows of a corpus."""

    name: Annotated[str, Local]
    """Name of the manifest."""
    version: Annotated[str, Local] = "1"
    """Version of the manifest; with the name it is given once and for ever."""
    corpus: Annotated[str, Local]
    """Corpus manifest: name@version, an ID or a prefix of one. Its ID enters the identity."""
    annotations: Annotated[str | None, Local] = None
    """Annotations manifest of task score: its good scores, 0 to 5, are the column `llm_score` in the conditions, NULL
    for other documents. Its ID enters the identity."""
    positive: str
    """SQL condition over `documents` for the label positive. Dropped documents are in unless it says otherwise."""
    negative: str
    """SQL condition for the label negative. No document may satisfy both."""
    domain: str = "regexp_extract(url, '^[A-Za-z]+://([^/:?#]+)', 1)"
    """SQL expression for the domain of a document. A domain is held out whole or not at all; a document without one is
    a domain of its own."""
    held_out: float = Field(default=0.1, gt=0, lt=1)
    """Share of the domains that the report is measured on."""
    per_label: Annotated[Amount, Field(gt=0)] = 200_000
    """Documents of each label at most, drawn by the seed. They are in memory, some 2 KB each."""
    seed: int = 1
    """Seed of the split, of the draw and of the order of training."""
    dimensions: int = Field(default=64, ge=4)
    """Length of the vectors. 64 with 200,000 buckets score 20,000 documents a second; MegaMath's 256 with 2M, 3,200."""
    ngrams: int = Field(default=2, ge=2)
    """Words of the longest n-gram."""
    buckets: Annotated[Amount, Field(ge=10_000)] = 200_000
    """Rows that n-grams are hashed to."""
    min_count: int = Field(default=3, ge=1)
    """Words seen less often are left out."""
    learning_rate: float = Field(default=0.1, gt=0)
    """Learning rate at the start; it falls linearly to 0."""
    epochs: int = Field(default=3, ge=1)
    """Passes over the lines."""

    _version_as_text = field_validator("version", mode="before")(_as_text)


AnnotateTask = Literal["score", "rewrite", "questions"]


class ServerRecipe(Recipe):
    """Who answers, and how patiently we ask. No part of the identity: the answers are."""

    engine: Literal["endpoint", "vllm"] = "endpoint"
    """`endpoint` asks an OpenAI-compatible server that runs already; `vllm` starts one on this machine and ends it."""
    url: str | None = None
    """Base URL of the endpoint, as OpenAI's clients take it: http://localhost:8000/v1."""
    key_variable: str | None = None
    """Name of the environment variable that holds the API key. The key itself is written nowhere."""
    model_path: str | None = None
    """Folder or hub name of the weights that vLLM loads; by default `model`."""
    tensor_parallel: int = Field(default=1, ge=1)
    """GPUs that vLLM splits the model over."""
    max_context: Annotated[Amount, Field(gt=0)] = 8192
    """Tokens of prompt and answer together that vLLM makes room for."""
    concurrency: int = Field(default=64, ge=1)
    """Requests under way at once."""
    timeout: float = Field(default=600, gt=0)
    """Seconds after which the request for a document has failed, its retries included."""
    retries: int = Field(default=5, ge=0)
    """How often a request is repeated after a lost connection, a status 429 or 5xx, or an answer that is none; after
    0.5, 1, 2, … seconds, or as the server says."""
    max_failed: float = Field(default=0.01, ge=0, le=1)
    """Share of the documents whose request may fail in the end. These are rows `endpoint_error`; with more, no manifest
    is made, and the next run asks for what is missing."""

    @model_validator(mode="after")
    def _can_be_asked(self) -> "ServerRecipe":
        try:
            url = AnyHttpUrl(self.url or "")
        except ValidationError:
            url = None
        if self.engine == "endpoint" and (url is None or url.username or url.password):
            raise ValueError("url: give the endpoint's http:// or https:// address, without user or password")
        return self


class AnswerLimits(Recipe):
    """From where an answer is not good; see `curation.verdicts` for what each measures."""

    min_length: float = Field(default=0.2, ge=0)
    """Characters of a rewritten text per character of its source, under which it is `too_short`."""
    max_length: float = Field(default=2.0, gt=0)
    """The same, above which it is `too_long`."""
    max_repetition: float = Field(default=0.6, ge=0, le=1)
    """Share of 5-word runs that occurred before in the answer, above which it is `repetition`."""
    min_numbers: float = Field(default=0.5, ge=0, le=1)
    """Share of the source's numbers that a rewritten text holds, under which it is `numbers_lost`."""
    min_formulae: float = Field(default=0.5, ge=0, le=1)
    """Share of the source's formulae that a rewritten text holds, under which it is `formulae_lost`."""


class AnnotateRecipe(Recipe):
    """What a language model says of the documents of a corpus: scores, rewritten texts, or question-answer pairs."""

    name: Annotated[str, Local]
    """Name of the manifest."""
    version: Annotated[str, Local] = "1"
    """Version of the manifest; with the name it is given once and for ever."""
    corpus: Annotated[str, Local]
    """Corpus manifest: name@version, an ID or a prefix of one. Its ID enters the identity."""
    where: str = "drop_reason IS NULL"
    """SQL condition over `documents`: which are asked about. IDs are hashes, so `doc_id < '1'` is a random
    sixteenth."""
    task: AnnotateTask
    """`score`: how useful for teaching mathematics, 0 to 5; `rewrite`: the text rewritten; `questions`: question-answer
    pairs found in it."""
    prompt: str | None = None
    """What is asked, with {text} where the document goes; by default that of the task in `curation.prompts`."""
    model: str
    """Name of the model, as the server knows it."""
    temperature: float = Field(default=0.0, ge=0)
    """Temperature of sampling; 0 takes the likeliest token."""
    max_tokens: Annotated[Amount, Field(gt=0)] = 2048
    """Tokens of the longest answer."""
    seed: int = 1
    """Seed of sampling, for servers that heed it."""
    max_chars: Annotated[Amount, Field(gt=0)] = 20_000
    """Characters of the longest document that is asked about. To be scored a longer one is cut there; otherwise it is
    a row `source_too_long`."""
    limits: AnswerLimits = AnswerLimits()
    """From where an answer is not good."""
    server: Annotated[ServerRecipe, Local]
    """Who answers."""

    _version_as_text = field_validator("version", mode="before")(_as_text)

    @model_validator(mode="before")
    @classmethod
    def _default_prompt(cls, data: Any) -> Any:
        """The default prompt as a field like any other: its words enter the identity."""
        if not isinstance(data, dict) or data.get("prompt") is not None:
            return data
        return data | {"prompt": PROMPTS.get(str(data.get("task")))}

    @field_validator("prompt")
    @classmethod
    def _has_a_place(cls, prompt: str | None) -> str | None:
        if prompt is not None and prompt.count("{text}") != 1:
            raise ValueError("write {text} once, where the document goes")
        return prompt
