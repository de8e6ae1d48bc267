"""Every table the project writes: column, Arrow type, meaning. The one place where a column is documented.

`docs/sql.md` is generated from here, writers take their Arrow schema from here, and the catalog serves an empty view of
these columns where a store holds no rows yet. A `?` after a name means that the column may be NULL. Tables with
`open=True` may carry further columns (scores of documents, metrics of RL steps).
"""

from dataclasses import dataclass

import pyarrow as pa

from manifests.drop_reasons import EARLY

TEXT, LONG, REAL, FLAG = pa.string(), pa.int64(), pa.float64(), pa.bool_()


@dataclass(frozen=True)
class TableSpec:
    """A documented table. `schema` is its Arrow schema; `docs` maps a column to its meaning."""

    name: str
    meaning: str
    schema: pa.Schema
    docs: dict[str, str]
    open: bool = False
    more: str = "scores of documents, metrics of RL steps"
    """What the further columns of an open table are."""


def _table(name: str, meaning: str, *columns: tuple[str, pa.DataType, str], open: bool = False, **more) -> TableSpec:
    fields = [pa.field(column.rstrip("?"), kind, nullable=column.endswith("?")) for column, kind, _ in columns]
    return TableSpec(name, meaning, pa.schema(fields), {c.rstrip("?"): doc for c, _, doc in columns}, open, **more)


# -- families of a corpus manifest ---------------------------------------------------------------------------------

DOCUMENTS = _table(
    "documents",
    "One row per document read, dropped ones too, ordered by source and doc_id; with --onto the older ones first.",
    ("doc_id", TEXT, "128-bit identity of the document as hex, from its content alone"),
    ("source", TEXT, "name of the source in the recipe"),
    ("role", TEXT, "web, qa, long_cot, instruct, code, general or rl"),
    ("url?", TEXT, "where the source says it comes from"),
    ("license?", TEXT, "SPDX name or the source's own words"),
    ("n_chars", LONG, "Unicode characters of the normalised text"),
    ("n_tokens", LONG, "tokens of the normalised text by the recipe's tokenizer, without EOS"),
    ("text_digest", TEXT, "128-bit digest of the normalised text as hex; equal texts are exact duplicates"),
    ("drop_reason?", TEXT, "why the document was dropped, see Drop reasons; NULL when it was kept"),
    (
        "drop_evidence?",
        TEXT,
        "JSON: what the decision rests on (keeper and similarity, benchmark item and coverage, value and limit)",
    ),
    ("cluster_id?", TEXT, "near-duplicate cluster: the smallest doc_id in it; NULL when alone"),
    ("keeper_id?", TEXT, "the document kept in place of this duplicate"),
    ("text_share?", REAL, "of an HTML page: characters of its main text / those that it shows, menus and all"),
    ("formulas_lost?", LONG, "of an HTML page: its formulas of which nothing could be read"),
    open=True,
    more="""the scores `words`, `boilerplate`, `symbol_ratio`, `repetition`, `loop`, `math_density` of the quality rules
(docs/recipes.md); `contamination`, the coverage of the benchmark item that a document holds; a classifier's score; and,
where the recipe asks for them, `language` (as the model's labels write it, `und` for a text without words),
`language_score`, and `boilerplate_chars`, the characters of boilerplate lines taken out""",
)
TEXTS = _table(
    "texts",
    "The text of each document, row for row beside `documents`.",
    ("doc_id", TEXT, "as in documents"),
    ("text", TEXT, "normalised text; what a model is trained on"),
    ("question?", TEXT, "question of a qa, long_cot or rl document; first turn of a dialogue"),
    ("response?", TEXT, "worked answer of a qa or long_cot document; the reply to that turn"),
    ("answer?", TEXT, "the bare answer that can be verified"),
)
ORIGINS = _table(
    "origins",
    "Where each document was read; provenance, no part of the identity. Row for row beside `documents`.",
    ("doc_id", TEXT, "as in documents"),
    ("file", TEXT, "file, relative to the path of its source"),
    ("position", LONG, "line or row in the file, from 0"),
    ("native_id?", TEXT, "identifier that the source gave; doc_id of the annotated document for what a model wrote"),
)
QUARANTINE = _table(
    "quarantine",
    "Input that could not become a document.",
    ("source", TEXT, "name of the source in the recipe"),
    ("file", TEXT, "file, relative to the path of its source"),
    ("position?", LONG, "line or row in the file, from 0; NULL for the whole file"),
    ("reason", TEXT, "what was wrong, from a fixed vocabulary"),
    ("detail", TEXT, "the first characters of the error"),
)
LEAKS = _table(
    "leaks",
    "The benchmark items that documents hold, and where; of one document the item that it covers most comes first.",
    ("doc_id", TEXT, "as in documents"),
    ("benchmark", TEXT, "name of the benchmark"),
    ("item_id", TEXT, "as in items"),
    ("part", TEXT, "what of the item is held: question, answer (its worked solution), or question and answer"),
    ("coverage", REAL, "1 - edits / words of that part of the item; of both the higher"),
    (
        "span_start?",
        LONG,
        "first character of the passage in the text, from 0: substr(text, span_start + 1, span_length)",
    ),
    (
        "span_length?",
        LONG,
        "characters of the passage; both NULL where words cannot be placed, and beyond a document's first 100 items",
    ),
)
DOUBTS = _table(
    "doubts",
    "What speaks against a document before anything is measured; its drop reason unless it is contaminated.",
    ("doc_id", TEXT, "as in documents"),
    (
        "reason",
        TEXT,
        f"{', '.join(EARLY[:-1])} or {EARLY[-1]}, or what speaks against a text that a language model wrote",
    ),
    ("evidence", TEXT, "JSON: what it rests on"),
)
TWINS = _table(
    "twins",
    "Documents that are like another in source, url, identifier and texts, so that a number tells them apart.",
    ("doc_id", TEXT, "as in documents"),
    ("base_id", TEXT, "doc_id of the first of them"),
    ("ordinal", LONG, "number of this one, from 1"),
)
INPUTS = _table(
    "inputs",
    "The files that were read; provenance, no part of the identity.",
    ("source", TEXT, "name of the source in the recipe"),
    ("file", TEXT, "file, relative to the path of its source"),
    ("format", TEXT, "jsonl, json, csv, tsv, parquet, arrow, html or warc; compression aside"),
    ("bytes", LONG, "size"),
    ("sha256", TEXT, "checksum of its bytes, as hex"),
)

# -- benchmark, mixture and prompts manifests ----------------------------------------------------------------------

ITEMS = _table(
    "items",
    "The items of a benchmark.",
    ("item_id", TEXT, "stable within the benchmark"),
    ("benchmark", TEXT, "name of the benchmark"),
    ("split", TEXT, "train, validation or test"),
    ("question", TEXT, "the problem as asked"),
    ("answer", TEXT, "the reference answer"),
    ("choices?", TEXT, "JSON list of options for multiple choice"),
    ("subject?", TEXT, "subject where the benchmark names one"),
    ("level?", TEXT, "difficulty where the benchmark names one"),
    ("solution?", TEXT, "worked solution where the benchmark has one"),
)
COMPONENTS = _table(
    "components",
    "What a mixture is made of: wanted and possible, in documents, tokens, sequences and epochs.",
    ("component", TEXT, "name of the component in the recipe"),
    ("corpus", TEXT, "ID of the corpus manifest it is selected from"),
    ("where", TEXT, "SQL condition over documents"),
    ("weight", REAL, "weight as written in the recipe"),
    ("max_epochs", REAL, "how often a document may be used"),
    ("available_documents", LONG, "documents that satisfy the condition"),
    ("available_tokens", LONG, "their tokens, with one EOS each"),
    ("sequences", LONG, "whole sequences apportioned"),
    ("tokens", LONG, "sequences × sequence length"),
    ("epochs", REAL, "tokens / available_tokens"),
    ("share_wanted", REAL, "weight / sum of weights"),
    ("share", REAL, "sequences / all sequences"),
)
MEMBERS = _table(
    "members",
    "The documents of each component, in the order of its token file.",
    ("component", TEXT, "name of the component"),
    ("ordinal", LONG, "position in the component's token file, from 0"),
    ("doc_id", TEXT, "as in documents"),
    ("source", TEXT, "source of the document"),
    ("corpus", TEXT, "ID of the corpus manifest"),
    ("n_tokens", LONG, "tokens in the file, EOS included"),
    ("token_start", LONG, "offset of its first token in the file"),
)
SEQUENCES = _table(
    "sequences",
    "The order of a mixture: which window of which component is read as the n-th sequence.",
    ("sequence", LONG, "position in the mixture, from 0"),
    ("component", TEXT, "name of the component"),
    ("index", LONG, "window of the component, from 0, counted through its epochs"),
    ("epoch", pa.int32(), "epoch in which the window begins, from 0"),
)
PROMPTS = _table(
    "prompts",
    "The prompts of a prompts manifest, in order.",
    ("position", LONG, "position in the manifest, from 0"),
    ("prompt_id", TEXT, "stable identity of the prompt"),
    ("doc_id", TEXT, "document it comes from"),
    ("source", TEXT, "source of the document"),
    ("corpus", TEXT, "ID of the corpus manifest"),
    ("question", TEXT, "the problem as asked"),
    ("answer", TEXT, "the reference answer"),
)

# -- classifier manifest -------------------------------------------------------------------------------------------

LABELS = _table(
    "labels",
    "The documents that a classifier was trained and measured on, ordered by source and doc_id.",
    ("doc_id", TEXT, "as in documents of the corpus it was made from"),
    ("source", TEXT, "source of the document"),
    ("domain", TEXT, "domain of the document; all of a domain is held out or none"),
    ("label", TEXT, "positive or negative"),
    ("held_out", FLAG, "kept out of training, for the report"),
    ("score?", REAL, "probability of positive; NULL where it was trained on"),
)
THRESHOLDS = _table(
    "thresholds",
    "What each threshold of a classifier does to the documents held out.",
    ("threshold", REAL, "a document is selected when its score is at least this"),
    ("selected", LONG, "documents selected"),
    ("precision?", REAL, "share of the selected that are positive; NULL when none is selected"),
    ("recall", REAL, "share of the positive that are selected"),
)
FEATURES = _table(
    "features",
    "The words that weigh most in a classifier, 50 either way.",
    ("label", TEXT, "positive or negative: what the word speaks for"),
    ("rank", LONG, "place among the words for this label, from 1"),
    ("word", TEXT, "the word as prepared: lower-case, digits 0"),
    ("weight", REAL, "what a text of this word alone adds to the log-odds of positive"),
    ("count", LONG, "how often it was seen in training"),
)

# -- annotations manifest ------------------------------------------------------------------------------------------

ANNOTATIONS = _table(
    "annotations",
    "What a language model said of documents: one row per document, or one per question-answer pair found in it.",
    ("doc_id", TEXT, "as in documents of the corpus that was asked about"),
    ("source", TEXT, "source of the document"),
    ("url?", TEXT, "url of the document"),
    ("task", TEXT, "score, rewrite or questions"),
    ("ordinal", LONG, "which pair of the document, from 0; 0 for other tasks"),
    ("response?", TEXT, "the answer as received, in the row of ordinal 0; NULL when there was none"),
    ("score?", LONG, "score: 0 to 5"),
    ("text?", TEXT, "rewrite: the rewritten text"),
    ("question?", TEXT, "questions: the question"),
    ("solution?", TEXT, "questions: the worked answer"),
    ("answer?", TEXT, "questions: the final answer alone"),
    (
        "verdict",
        TEXT,
        "ok, or why the row is not good: endpoint_error, source_too_long, truncated, refusal, unparsable, no_score, "
        "no_pairs, too_short, too_long, repetition, numbers_lost, formulae_lost",
    ),
    ("evidence?", TEXT, "JSON: what the verdict rests on; NULL for ok"),
    ("length_ratio?", REAL, "rewrite: characters of the text per character of its source"),
    ("repetition?", REAL, "rewrite, questions: share of 5-word runs that occurred before"),
    ("numbers_kept?", REAL, "rewrite: share of the source's numbers in the text; NULL when it has none"),
    ("formulae_kept?", REAL, "rewrite: share of the source's formulae in the text; NULL when it has none"),
    ("prompt_tokens", LONG, "tokens of the request, as the server counted; 0 beyond ordinal 0"),
    ("completion_tokens", LONG, "tokens of the answer, as the server counted; 0 beyond ordinal 0"),
)

# -- pass_rates manifest -------------------------------------------------------------------------------------------

PASS_RATES = _table(
    "pass_rates",
    "How often a model solved each prompt (`octo rl pass-rate`), in the order of the prompts.",
    ("prompt_id", TEXT, "as in prompts"),
    ("doc_id", TEXT, "document the prompt comes from"),
    ("source", TEXT, "source of that document"),
    ("responses", LONG, "responses that got a ruling"),
    ("correct", LONG, "of these, right ones, in a box"),
    ("pass_rate?", REAL, "correct / responses; NULL where the grader failed on every response"),
    ("truncated_share", REAL, "share of all responses that were stopped by the length cap"),
    ("length_mean", REAL, "their mean length, in tokens"),
)

# -- ledgers of runs -----------------------------------------------------------------------------------------------

STEPS = _table(
    "steps",
    "One row per optimizer step of a run.",
    ("step", LONG, "optimizer step, from 1"),
    ("stage", TEXT, "stage of the recipe"),
    ("loss", REAL, "mean loss per label token"),
    ("grad_norm", REAL, "global norm of the gradient before clipping"),
    ("lr", REAL, "learning rate used in this step"),
    ("tokens", LONG, "tokens consumed in this step"),
    ("seconds", REAL, "wall time of the step"),
    open=True,
    more="""of an RL run `reward` and `accuracy` (means over the responses with a ruling), `accuracy_by_source` (a map:
`accuracy_by_source['gsm8k']`), `stopped_share` (a map: share of the responses that each stop string ended),
`length_mean`, `length_p95`, `length_ratio` (mean to cap), `cap` (tokens of the longest response that the step allowed),
`truncated_share`, `boxed_share` (responses with a whole box), `repetition_share` (with a passage five times in a row),
`zero_spread_share` (groups whose rewards are all equal), `clip_share` (tokens that the clip cut off), `entropy` (nats
per token), `kl_to_start` (nats per token, estimated), and `prompts_read`, counted from
the start of the run""",
)
CONSUMPTION = _table(
    "consumption",
    "What a run consumed, exactly: one row per step, component and source.",
    ("step", LONG, "optimizer step, from 1"),
    ("component", TEXT, "component of the mixture"),
    ("source", TEXT, "source of the documents"),
    ("sequences", LONG, "sequences of the step that hold at least one token of this source"),
    ("tokens", LONG, "input tokens of this source in the step"),
)
LOSSES = _table(
    "losses",
    "The loss on each document, where a training run keeps it (`document_losses: true`).",
    ("step", LONG, "optimizer step, from 1"),
    ("sequence", LONG, "position in the stage's mixture, from 0"),
    ("component", TEXT, "component of the mixture"),
    ("source", TEXT, "source of the document"),
    ("doc_id", TEXT, "as in documents"),
    ("epoch", LONG, "epoch of the document, from 0"),
    ("start", LONG, "first of its tokens that the sequence holds"),
    ("length", LONG, "tokens of it that the sequence holds"),
    ("labels", LONG, "of these, tokens that predict another one of the document"),
    ("loss?", REAL, "mean loss over them, before the step; NULL when there is none"),
)
ROLLOUTS = _table(
    "rollouts",
    "One row per sampled response of an RL run.",
    ("step", LONG, "RL step, from 1"),
    ("prompt_id", TEXT, "as in prompts"),
    ("doc_id", TEXT, "document the prompt comes from"),
    ("source", TEXT, "source of that document"),
    ("sample", LONG, "which response of the group, from 0"),
    ("prompt?", TEXT, "the prompt as the model saw it; NULL where the recipe keeps no texts"),
    ("response?", TEXT, "what the model wrote; NULL where the recipe keeps no texts"),
    ("tokens", LONG, "tokens of the response"),
    ("truncated", FLAG, "stopped by the length cap"),
    ("stopped_by?", TEXT, "stop string that ended the response; NULL where none did, or the sampler cannot tell"),
    ("verdict", TEXT, "CORRECT, INCORRECT, UNPARSED, or ERROR where the grader or the reference failed"),
    ("extracted?", TEXT, "the answer found in the response"),
    ("reason?", TEXT, "why the verdict is not CORRECT; too_hard: not ruled on within the limits, and counted as wrong"),
    ("reward?", REAL, "reward of the response; NULL where the grader failed"),
    ("advantage?", REAL, "its advantage within the group; NULL where the grader failed"),
    ("repetition?", FLAG, "a passage of it stands five times in a row"),
    ("used?", FLAG, "entered an update; false in a group that dynamic sampling set aside"),
)
ALARMS = _table(
    "alarms",
    "What the collapse watch of an RL run saw, and what followed.",
    ("step", LONG, "RL step after which it was met"),
    ("signal", TEXT, "column of steps that is watched"),
    ("value", REAL, "its value in that step"),
    ("above?", REAL, "limit that it was above"),
    ("below?", REAL, "limit that it was below"),
    ("steps", LONG, "steps in a row that it was beyond the limit"),
    ("action", TEXT, "warn, stop or fall_back"),
    ("checkpoint?", LONG, "step whose weights the run went on with; 0 is the start; NULL where it went on as it was"),
)
SAMPLES = _table(
    "samples",
    "One row per graded response of an evaluation.",
    ("step", LONG, "place of the item in the evaluation, from 0"),
    ("benchmark", TEXT, "name of the benchmark"),
    ("item_id", TEXT, "as in items"),
    ("sample", LONG, "which response to the item, from 0"),
    ("prompt", TEXT, "the prompt as the model saw it"),
    ("response", TEXT, "what the model wrote"),
    ("extracted?", TEXT, "the answer found in the response"),
    ("verdict", TEXT, "CORRECT, INCORRECT, UNPARSED, or ERROR where the grader or the reference failed"),
    ("reason?", TEXT, "why the verdict is not CORRECT; too_hard: not ruled on within the limits, and counted as wrong"),
    ("tokens", LONG, "tokens of the response"),
    ("truncated", FLAG, "stopped by the length cap"),
    ("stopped_by?", TEXT, "stop string that ended the response; NULL where none did, or the sampler cannot tell"),
    ("reference", TEXT, "the reference answer"),
    ("reward?", REAL, "1 if the answer in \\boxed{} is right, else 0; NULL where the grader failed"),
    (
        "other_verdict?",
        TEXT,
        "verdict by the other rules: the paper's harness's, or ours under its protocol; NULL where it has no such task",
    ),
)
SCORES = _table(
    "scores",
    "Scores of an evaluation, with intervals.",
    ("step", LONG, "checkpoint of the parent run that was evaluated, or RL step that was validated; 0 for a folder"),
    ("benchmark", TEXT, "name of the benchmark; mean for the unweighted mean over several"),
    (
        "metric",
        TEXT,
        "accuracy, accuracy_without_leaked, reward, length, truncated, unparsed, errors, pass@8, maj@8, …",
    ),
    ("value", REAL, "the score"),
    ("low?", REAL, "lower end of the 95% interval"),
    ("high?", REAL, "upper end of the 95% interval"),
    ("n", LONG, "items or responses it rests on"),
    ("method", TEXT, "how the interval was made: wilson, bootstrap, combined or none"),
)
LEDGERS = (STEPS, CONSUMPTION, LOSSES, ROLLOUTS, ALARMS, SAMPLES, SCORES)

# -- views that the catalog makes ----------------------------------------------------------------------------------

MANIFESTS = _table(
    "manifests",
    "One row per name@version.",
    ("manifest", TEXT, "ID"),
    ("name", TEXT, "name"),
    ("version", TEXT, "version"),
    ("kind", TEXT, "corpus, mixture, prompts, benchmark, classifier, annotations or pass_rates"),
    ("digest", TEXT, "SHA-256 over the logical content, as hex"),
    ("parents", pa.list_(TEXT), "IDs of the manifests it was made from"),
    ("rows", LONG, "rows of its main family"),
    ("bytes", LONG, "bytes of its files"),
    ("created", TEXT, "UTC time of the commit"),
    ("recipe", TEXT, "JSON: the semantic part of its recipe"),
)
FUNNEL = _table(
    "funnel",
    "Where the input of a corpus went. Per source, the row `in` equals the sum of the others.",
    ("manifest", TEXT, "ID of the corpus manifest"),
    ("source", TEXT, "name of the source"),
    ("outcome", TEXT, "in, kept, dropped or quarantined"),
    ("reason?", TEXT, "drop reason or quarantine reason"),
    ("documents", LONG, "records"),
    ("tokens", LONG, "their tokens; 0 where text could not be read"),
    ("formulas_lost?", LONG, "formulas of their pages of which nothing could be read; NULL where none was HTML"),
)
RUNS = _table(
    "runs",
    "One row per run.",
    ("run", TEXT, "ID"),
    ("kind", TEXT, "curate, train, rl, eval or pass-rate"),
    ("status", TEXT, "created, running, stopped (interrupted), failed or done"),
    ("backend", TEXT, "datatrove, torch, nanotron, verl, …"),
    ("manifests", pa.list_(TEXT), "IDs of the manifests it was launched with"),
    ("parent?", TEXT, "run it started from"),
    ("created", TEXT, "UTC time of the launch"),
    ("finished?", TEXT, "UTC time of the end"),
    ("config", TEXT, "JSON: the resolved configuration"),
    ("summary?", TEXT, "JSON: what it came to"),
)
LINEAGE = _table(
    "lineage",
    "What was made from what.",
    ("child", TEXT, "ID of a manifest or run"),
    ("parent", TEXT, "ID of a manifest or run"),
    ("relation", TEXT, "made from (manifests), launched with (run from manifest), started from (run from run)"),
)

FAMILY_VIEWS = (DOCUMENTS, TEXTS, ORIGINS, QUARANTINE, LEAKS, DOUBTS, TWINS, INPUTS, ITEMS, COMPONENTS, MEMBERS,
                SEQUENCES, PROMPTS, LABELS, THRESHOLDS, FEATURES, ANNOTATIONS, PASS_RATES)  # fmt: skip
"""Families of manifests served as views; each gets a first column `manifest`."""

VIEWS = (MANIFESTS, *FAMILY_VIEWS, FUNNEL, RUNS, *LEDGERS, LINEAGE)
