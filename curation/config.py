"""Recipe of a corpus: which sources, which quality limits, what counts as a copy, which benchmarks to keep out.

Loads neither torch nor datatrove. Paths, names and the version are local: they say where, and the identity does not
hold them. What a path held does enter it, through the documents, the tokenizer's digest and the IDs of benchmarks and
annotations.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from curation.known_sources import KNOWN
from curation.places import PlaceRecipe
from curation.roles import PROSE, Adapter, Format, Role, Structure
from evaluation.config import BenchmarkRecipe
from evaluation.formats import named
from manifests.paths import FileName
from manifests.recipe import Amount, Local, NamedRecipe, Recipe

ScoreName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*_score$")]
SAMPLE_SCHEME = "sample://"
HUB_SCHEME = "hf://"
MANIFEST_SCHEME = "manifest://"


class Columns(Recipe):
    """Which column of the input holds which part of a document. Columns not named here are not read. A dot selects
    within a column: `content.text` is the field text of the object content, `messages.0.value` a field of the first
    item of a list."""

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
    """The turns of a dialogue, each with `role` and `content` (or `from` and `value`); read by the adapters chat and
    distilled."""


class SourceRecipe(Recipe):
    """Files that hold documents of one kind. The order of sources in a recipe is their rank among copies."""

    known: Annotated[str | None, Local] = None
    """A source that `octo sources` lists: it gives every field that the recipe does not. With a `path` of your own it
    is read from there."""
    name: FileName
    """Name of the source in every table."""
    path: Annotated[str, Field(min_length=1), Local]
    """A file, a folder or a glob, where `{a,b}`, `{00..13}` and `~` work as in a shell; local or any fsspec URL;
    `hf://datasets/ORG/NAME@COMMIT/FOLDER` on the hub; `sample://web` is a folder of the built-in sample;
    `manifest://NAME@VERSION` is an annotations manifest of `octo annotate`: rewritten texts for the roles of pages,
    question-answer pairs for qa."""
    revision: Annotated[str | None, Local] = None
    """Commit of the hub repository, for a path on the hub that names none. Branches are refused, because they
    change."""
    format: Annotated[Format | None, BeforeValidator(named)] = None
    """Format of the files; by default recognised by their suffix, in any case: .jsonl, .ndjson or .jl (a record a
    line), .json (a list, or a record after the other), .csv and .tsv (a header first), .parquet, .arrow or .feather,
    .html or .htm, .warc. All but Parquet and Arrow may be compressed (.gz, .zst, .bz2, .xz; recognised by the first
    bytes if the name does not show it). Files of other names and hidden ones are left out; --plan names them. For html
    and warc the main text of a page is extracted, with mathematics as LaTeX, and its address is the `url`."""
    role: Role
    """What the documents are for; see `docs/sql.md`."""
    license: str | None = None
    """SPDX name or the source's own words; recorded with every document."""
    adapter: Adapter = "columns"
    """How a record becomes a document; see `curation.reading.adapters`. `columns` takes the columns that the role asks
    for, `text` the text alone, `html` the main text of a page whose HTML is in that column, the others read the shape
    of a data set: gsm8k, boxed (MATH), numina, openr1, distilled (<think> and answer), chat (User: and Assistant:
    turns), simplerl. A path manifest:// means `annotation`."""
    columns: Columns = Columns()
    """Column names, where they differ from the defaults."""
    structure: Structure | None = None
    """How the text of a page is laid out: `markdown` keeps headings (#), items of lists (- and 1.) and fences around
    preformatted text. By default headings are lines like others, and items begin with •."""
    only: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Quality rule of the source: column to shell patterns. A record none of whose patterns matches is dropped as
    `excluded`; {model: [gpt-4*]} keeps what GPT-4 wrote."""
    scores: dict[ScoreName, str] | None = None
    """Numeric columns of the source to keep: column of `documents` to column of the source; {finemath_score: score}.
    NULL for documents of other sources; a record with a value that is not a number goes to quarantine."""
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
    """Limits of the quality rules; see `curation.measures.quality` for what each measures."""

    # a new limit has the default None: any other renames every corpus (tests/test_identity_pins.py)

    min_words: int = Field(default=20, ge=0)
    """Pages with fewer words are `too_short`."""
    max_boilerplate: float = Field(default=0.05, ge=0)
    """Phrases of menus and notices per word, above which a page is `boilerplate`."""
    max_symbol_ratio: float = Field(default=0.25, ge=0)
    """Symbols outside of mathematics per word, above which a page is `symbols`."""
    max_repetition: float = Field(default=0.6, ge=0, le=1)
    """Share of 5-word runs that occurred before in the text, above which any document is `repetition`."""
    max_loop: float = Field(default=0.2, ge=0, le=1)
    """Share of the words in passages repeated five times or more without a break, above which any document is
    `loop`."""
    min_math_density: float = Field(default=0.02, ge=0)
    """Share of mathematics, below which a document of role web is `not_mathematical`. Of ordinary pages (news, recipes,
    shops) 0.02 lets 4 in 100 pass and of mathematical ones 99 in 100, on sites that were not used to choose it."""


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
    numbers_differ: bool | Annotated[float, Field(ge=0, le=1)] = 0.01
    """When other numbers or operators in the same places make another document (templated problems). A share, the
    default: where more of them moved than this share of the words; or any of them in mathematics (beside an operator,
    before a question, in a sentence that says find, solve, sum, …); or any at all in a document of role qa, long_cot,
    instruct or rl. What a page records of itself (dates, ©, counts of views and comments, versions) does not count, so
    that a page fetched twice is a copy. `true`: any number, in any document. `false`: never."""


class DecontaminateRecipe(Recipe):
    """Documents that hold a benchmark's item are dropped, with the item as evidence."""

    ngram: int = Field(default=6, gt=1)
    """Words per n-gram; items with fewer words must occur whole."""
    coverage: float = Field(default=0.7, gt=0, le=1)
    """Minimum of 1 - edits / words of the item, where edits is the smallest number of word changes that turn the item
    into a passage of the document; above it the document contains the item."""
    numbers: float = Field(default=0.9, ge=0, le=1)
    """Share of an item's numbers and operators that must match: other numbers make another problem."""
    benchmarks: Annotated[tuple[BenchmarkRecipe | str, ...], Local] = ()
    """Benchmarks to decontaminate against: files, which are frozen first, or references to benchmark manifests."""
    training: Annotated[tuple[str, ...], Local] = ()
    """Corpus manifests that models are trained on. A prompt (role rl) that a kept document of theirs holds is dropped
    as `in_training`, with that document as evidence. Their IDs enter the identity."""
    folder: Annotated[str | None, Local] = None
    """A folder whose every file of items is a benchmark as well, named after the file up to the first dot: JSON Lines,
    JSON, CSV, Parquet or Arrow, recognised like the files of a source."""


class ScoreRecipe(Recipe):
    """A fastText classifier whose score becomes a column of `documents`. The model's digest enters the identity."""

    model: Annotated[str, Local]
    """A classifier manifest (name@version or ID; it becomes a parent of the corpus), a model file (.bin), or `default`:
    the small model that comes with the project and distinguishes pages on mathematics from others."""
    label: str = "positive"
    """The label whose probability is the score; for a model of another project with the label `__label__hq`, write
    hq."""
    column: ScoreName = "math_score"
    """Name of the column."""
    min: float | None = Field(default=None, ge=0, le=1)
    """Score below which a document of `roles` is `low_score`; by default none is dropped, and documents are selected by
    score in SQL."""
    roles: tuple[Role, ...] = ("web",)
    """Roles that `min` applies to; documents of every role are scored."""


class LanguageRecipe(Recipe):
    """The language of every document, as the columns `language` and `language_score`; see
    `curation.measures.language`."""

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


class CurateRecipe(NamedRecipe):
    """A corpus: sources in, one manifest out in which every record is a row."""

    tokenizer: Annotated[str, Local]
    """A tokenizer.json or a folder with one, relative to the working directory or to the project. Its digest enters the
    identity."""
    sample: SampleRecipe = SampleRecipe()
    """The built-in sample that sample:// paths read."""
    sources: tuple[SourceRecipe, ...] = Field(min_length=1)
    """Sources, best first: among copies the one from the earlier source is kept, of these the one with the higher
    `prefer`, of these the longest, of these the one with the smallest doc_id. So the order of arrival does not matter.
    Only documents without another drop reason compete."""
    prefer: str | None = None
    """Column of `documents` whose higher value is kept among copies from one source: `math_density` (the default),
    `words`, a classifier's score or a score of the sources; a document without one comes last."""
    max_record_bytes: Annotated[Amount, Field(gt=0)] = 1_000_000
    """Longer records go to quarantine unread."""
    rules: Literal["none"] | None = None
    """`none` drops no document, whatever the other fields say: not for its source's rules, its quality or a benchmark,
    nor as a copy. It is measured all the same, so that `--refilter` can apply the rules later. `octo manifest import`
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
    """Benchmarks to decontaminate against."""
    place: Annotated[PlaceRecipe, Local] = PlaceRecipe()
    """Settings of the place where the corpus is built."""

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
        """Score columns of the sources, sorted, so that the order of sources does not matter."""
        return tuple(sorted({name for source in self.sources for name in source.scores or {}}))
