"""Known sources: the location of each on the hub, its commit, and how it becomes documents.

`known: NAME` in a recipe fills in the fields of a source from its row here. Every claim that may be wrong carries a
mark: P read in the repository, its card or a paper; S by one reader of the paper; M from memory, not checked. A commit
is one that others have used and published, or the head of the main branch on the card from which the row was read; if
none was checked it is None, not a guess: such a source is refused until the recipe gives `revision`. Unknown still: the
commits of DCLM, OpenWebMath, OpenMathInstruct-2, Tulu 3, WildChat, UltraChat, GSM8K, MATH, DAPO and
AM-DeepSeek-Distilled, and the licence of the last. Leaves out gated access (log in with `hf auth login`), and files not
listed here: any path can be given in the recipe.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from manifests.errors import UserError

if TYPE_CHECKING:
    from curation.roles import Adapter, Role

Mark = Literal["P", "S", "M"]


@dataclass(frozen=True)
class Source:
    """A data set of the hub, or the part of one that is curated as one source.

    `folder` is a folder or glob in the repository, "" for all of it; `documents` and `tokens` count what its authors
    count, in their tokenizer; `columns` is the real schema as far as it is known; `mapping` says which column is which
    part of a document where names differ from ours; `only` is the default of the recipe's quality rule; `scores` and
    `metadata` are what else is carried into `documents`. `note` is what else a user should know; `broken` says why the
    source cannot be curated as it is published, and what to do.
    """

    name: str
    hub_id: str
    folder: str
    role: "Role"
    columns: tuple[str, ...]
    config: str = "default"
    split: str = "train"
    revision: str | None = None
    license: str | None = None
    documents: int | None = None
    tokens: int | None = None
    size_mark: Mark = "P"
    license_mark: Mark = "M"
    folder_mark: Mark = "M"
    adapter: "Adapter" = "columns"
    mapping: dict[str, str] = field(default_factory=dict)
    only: dict[str, tuple[str, ...]] = field(default_factory=dict)
    scores: dict[str, str] | None = None
    metadata: tuple[str, ...] | None = None
    note: str | None = None
    broken: str | None = None

    @property
    def path(self) -> str:
        """Where it lies, without the commit."""
        return f"hf://datasets/{self.hub_id}/{self.folder}".rstrip("/")

    def summary(self) -> dict[str, Any]:
        """One line of `octo sources`; a mark follows the value that it belongs to."""
        return {
            "name": self.name,
            "role": self.role,
            "hub": self.hub_id,
            "revision": self.revision,
            "license": f"{self.license} {self.license_mark}" if self.license else None,
            "documents": self.documents,
            "tokens": self.tokens,
            "mark": self.size_mark if self.documents or self.tokens else None,
            "adapter": self.adapter,
        }

    def recipe(self) -> dict[str, Any]:
        """The fields of a recipe's source that `known` fills in."""
        return {
            "name": self.name,
            "path": self.path,
            "revision": self.revision,
            "role": self.role,
            "license": self.license,
            "adapter": self.adapter,
            "columns": self.mapping,
            "only": self.only,
            "scores": self.scores,
            "metadata": self.metadata,
        }


MEGAMATH_WEB = (
    "text", "id", "cc-path", "domain", "finemath_score", "lang", "lang_score", "timestamp", "url", "math_score",
)  # fmt: skip
FINEMATH = (
    "url", "fetch_time", "content_mime_type", "warc_filename", "warc_record_offset", "warc_record_length", "text",
    "token_count", "char_count", "metadata", "score", "int_score", "crawl", "snapshot_type", "language",
    "language_score",
)  # fmt: skip
MEGAMATH_SCORES = {
    "megamath_math_score": "math_score",
    "megamath_finemath_score": "finemath_score",
    "megamath_lang_score": "lang_score",
}
"""Called after who made them: MegaMath's finemath_score goes from 0 to 1, FineMath's own score from 0 to 5."""


def _megamath(
    part: str,
    role: "Role",
    documents: float,
    tokens: float,
    adapter: "Adapter" = "columns",
    columns: tuple[str, ...] = ("text",),
    **more: Any,
) -> Source:
    """A part of MegaMath; documents in millions, tokens (Llama-2) in billions, as its paper has them. Columns differ by
    part; that of the text is all that is known of parts other than web."""
    return Source(
        f"megamath-{part}",
        "LLM360/MegaMath",
        f"megamath-{part}",
        role,
        columns,
        config=f"megamath-{part}",
        revision="3cbc646",
        license="odc-by",
        documents=round(documents * 10**6),
        tokens=round(tokens * 10**9),
        folder_mark="P",
        adapter=adapter,
        **more,
    )


def _finemath(config: str, documents: int, tokens: float) -> Source:
    """A threshold of FineMath or InfiWebMath; tokens in billions."""
    return Source(
        config,
        "HuggingFaceTB/finemath",
        config,
        "web",
        FINEMATH,
        config=config,
        revision="e92b25a616738fe95dc186b64dfb19f9c8525594",
        license="odc-by",
        documents=documents,
        tokens=round(tokens * 10**9),
        size_mark="M" if config == "infiwebmath-4plus" else "P",
        scores={"finemath_score": "score", "finemath_int_score": "int_score"},
        metadata=("crawl",),
    )


SOURCES = (
    _megamath("web", "web", 106.5, 263.9, columns=MEGAMATH_WEB, scores=MEGAMATH_SCORES, metadata=("timestamp",)),
    _megamath("web-pro", "web", 15.0, 15.1),
    _megamath("qa", "qa", 22.6, 7.0, adapter="text"),
    _megamath(
        "code", "code", 13.4, 28.1,
        broken="megamath-code holds no text at this commit but descriptions of files: its folder has 1.85 GB where "
        "28.1B tokens would be about 100, and Marin leaves it out for that reason",
    ),
    _megamath("translated-code", "code", 7.4, 7.2),
    _megamath("text-code-block", "code", 50.2, 50.3),
    Source(
        "megamath-web-pro-max", "OctoThinker/MegaMath-Web-Pro-Max", "", "web", MEGAMATH_WEB,
        revision="b5129b6", license="odc-by", license_mark="P", tokens=73_800_000_000, size_mark="S",
        scores=MEGAMATH_SCORES, metadata=("timestamp",),
    ),
    _finemath("finemath-3plus", 21_405_610, 34),
    _finemath("finemath-4plus", 6_699_493, 9.6),
    _finemath("infiwebmath-3plus", 13_900_000, 20.5),
    _finemath("infiwebmath-4plus", 6_300_000, 8.5),
    Source(
        "dclm-baseline", "mlfoundations/dclm-baseline-1.0-parquet", "", "general",
        ("text", "url", "warcinfo", "metadata", "language_id_whole_page_fasttext",
         "bff_contained_ngram_count_before_dedupe", "previous_word_count",
         "fasttext_openhermes_reddit_eli5_vs_rw_v2_bigram_200k_train_prob"),
        license="cc-by-4.0", license_mark="P", documents=3_000_000_000, tokens=4_000_000_000_000,
        scores={"dclm_score": "fasttext_openhermes_reddit_eli5_vs_rw_v2_bigram_200k_train_prob"},
    ),
    Source(
        "openwebmath", "open-web-math/open-web-math", "data", "web", ("url", "text", "date", "metadata"),
        license="odc-by", documents=6_315_233, tokens=14_700_000_000, size_mark="M", metadata=("date",),
    ),
    Source(
        "openr1-math-220k", "open-r1/OpenR1-Math-220k", "data", "long_cot",
        ("problem", "solution", "answer", "problem_type", "question_type", "source", "uuid", "is_reasoning_complete",
         "generations", "correctness_math_verify", "correctness_llama", "finish_reasons", "correctness_count",
         "messages"),
        revision="e4e141e", license="apache-2.0", documents=93_733, adapter="openr1",
        mapping={"question": "problem", "id": "uuid"},
        scores={"openr1_correct_score": "correctness_count"},
        note="The folder data is there from the later commits on (075afe0, e4e141e); earlier ones have default/.",
    ),
    Source(
        "am-deepseek-distilled-40m", "a-m-team/AM-DeepSeek-Distilled-40M", "math_r1_*", "long_cot",
        ("question", "answer", "ground_truth", "ppl", "pass_rate_r1", "verify_score"),
        config="math_r1_1pass … math_r1_4pass", adapter="distilled",  # 40M answers over all parts; not counted by part
        mapping={"response": "answer", "answer": "ground_truth"},
        scores={"am_verify_score": "verify_score", "am_pass_rate_score": "pass_rate_r1"},
    ),
    Source(
        "openmathinstruct-2", "nvidia/OpenMathInstruct-2", "data/train-*.parquet", "qa",
        ("problem", "generated_solution", "expected_answer", "problem_source"),
        license="cc-by-4.0", license_mark="P", documents=13_972_791,
        mapping={"question": "problem", "response": "generated_solution", "answer": "expected_answer"},
    ),
    Source(
        "numinamath-1.5", "AI-MO/NuminaMath-1.5", "data", "qa",
        ("problem", "solution", "answer", "problem_type", "question_type", "problem_is_valid", "solution_is_valid",
         "source", "synthetic"),
        revision="1b05109", license="apache-2.0", documents=896_215, adapter="numina",
        mapping={"question": "problem", "response": "solution"},
    ),
    Source(
        "tulu-3-personas-if", "allenai/tulu-3-sft-personas-instruction-following", "data", "instruct",
        ("id", "prompt", "messages", "constraints"), license="odc-by", documents=29_980, adapter="chat",
    ),
    Source(
        "wildchat-1m", "allenai/WildChat-1M", "data", "instruct",
        ("conversation_hash", "model", "timestamp", "conversation", "turn", "language", "openai_moderation",
         "detoxify_moderation", "toxic", "redacted", "state", "country", "hashed_ip", "header"),
        license="odc-by", documents=837_989, size_mark="M", adapter="chat",
        mapping={"messages": "conversation", "id": "conversation_hash"}, only={"model": ("gpt-4*",)},
        note="odc-by since June 2024; a commit before has other data, under AI2's ImpACT licence. Holds hashed IP "
        "addresses, which are not read.",
    ),
    Source(
        "ultrachat-200k", "HuggingFaceH4/ultrachat_200k", "data/train_sft-*.parquet", "instruct",
        ("prompt", "prompt_id", "messages"), split="train_sft", license="mit", documents=207_865, adapter="chat",
        mapping={"id": "prompt_id"},
    ),
    Source(
        "gsm8k", "openai/gsm8k", "main/train-*.parquet", "qa", ("question", "answer"), config="main", license="mit",
        documents=7_473, size_mark="M", adapter="gsm8k",
    ),
    Source(
        "math", "EleutherAI/hendrycks_math", "*/train-*.parquet", "qa",
        ("problem", "level", "type", "solution"), config="all seven subjects", license="mit", documents=7_500,
        size_mark="M", adapter="boxed", mapping={"question": "problem", "response": "solution"},
    ),
    Source(
        "simplerl-zoo", "hkust-nlp/SimpleRL-Zoo-Data", "simplelr_qwen_level3to5/train.parquet", "rl",
        ("prompt", "question", "gt_answer", "answer", "extra_info", "reward_model"),
        config="simplelr_qwen_level3to5", revision="50ec8f0", license="apache-2.0", license_mark="P",
        documents=8_523, adapter="simplerl",
    ),
    Source(
        "dapo-math-17k", "BytedTsinghua-SIA/DAPO-Math-17k", "data", "rl",
        ("data_source", "prompt", "ability", "reward_model", "extra_info"), license="apache-2.0", size_mark="M",
        adapter="simplerl",
    ),
)  # fmt: skip
KNOWN = {source.name: source for source in SOURCES}


def lookup(name: str) -> Source:
    """The source called `name`. Raises UserError when there is none."""
    if name not in KNOWN:
        raise UserError(f"no known source {name!r}", "See `octo sources`")
    return KNOWN[name]


def recipe_text(name: str) -> str:
    """A recipe, as YAML, that curates the source called `name` alone. If no commit was checked, it holds a placeholder
    that `octo curate` refuses. Raises UserError when there is no such source."""
    source = lookup(name)
    commits = f"https://huggingface.co/datasets/{source.hub_id}/commits/main"
    pin = "" if source.revision else f"    revision: <commit>  # one of {commits}\n"
    return (
        f"# {source.hub_id} ({source.license or 'no licence known'}) as a corpus; `octo sources {name}` says more.\n"
        f'name: {name}\nversion: "1"\n'
        "tokenizer: recipes/quickstart/tokenizer  # that of the model to be trained\n"
        f"sources:\n  - known: {name}\n{pin}"
        "    # path: a folder with a local copy, in place of the hub\n"
        "# decontaminate: {folder: a folder of benchmark files}\n"
    )
