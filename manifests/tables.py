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
    "One row per document, kept or dropped, ordered by source and doc_id; with --append-to the older ones first.",
    ("doc_id", TEXT, "128-bit identity of the document as hex, from its content alone"),
    ("source", TEXT, "name of the source in the recipe"),
    ("role", TEXT, "web, qa, long_cot, instruct, code, general or rl"),
    ("url?", TEXT, "address of the document, as the source gives it"),
    ("license?", TEXT, "SPDX name, or the licence in the source's own words"),
    ("n_chars", LONG, "Unicode characters of the normalised text"),
    ("n_tokens", LONG, "tokens of the normalised text, counted by the recipe's tokenizer, without EOS"),
    ("text_digest", TEXT, "128-bit digest of the normalised text as hex; equal texts are exact duplicates"),
    ("drop_reason?", TEXT, "why the document was dropped, see Drop reasons; NULL when it was kept"),
    (
        "drop_evidence?",
        TEXT,
        "JSON: the basis of the decision (keeper and similarity, benchmark item and coverage, value and limit)",
    ),
    (
        "cluster_id?",
        TEXT,
        "near-duplicate cluster, named by the smallest doc_id in it; NULL for a document without near-duplicates",
    ),
    ("keeper_id?", TEXT, "the document that was kept instead of this duplicate"),
    (
        "text_share?",
        REAL,
        "for an HTML page: characters of its main text / all characters that it shows, menus included",
    ),
    ("formulas_lost?", LONG, "for an HTML page: number of its formulas that could not be read at all"),
    open=True,
    more="""the scores `words`, `boilerplate`, `symbol_ratio`, `repetition`, `loop`, `math_density` of the quality rules
(docs/recipes.md); `contamination`, the coverage of the benchmark item that a document holds; a classifier's score; and,
where the recipe asks for them, `language` (in the form of the model's labels, `und` for a text without words),
`language_score`, and `boilerplate_chars`, the characters of boilerplate lines taken out""",
)
TEXTS = _table(
    "texts",
    "The text of each document, in the same row order as `documents`.",
    ("doc_id", TEXT, "as in documents"),
    ("text", TEXT, "normalised text, on which a model is trained"),
    ("question?", TEXT, "question of a qa, long_cot or rl document; first turn of a dialogue"),
    ("response?", TEXT, "worked answer of a qa or long_cot document; the reply to that turn"),
    ("answer?", TEXT, "the bare answer that can be verified"),
)
ORIGINS = _table(
    "origins",
    "Where each document was read: provenance, not part of the identity. In the same row order as `documents`.",
    ("doc_id", TEXT, "as in documents"),
    ("file", TEXT, "file, relative to the path of its source"),
    ("position", LONG, "line or row in the file, from 0"),
    (
        "native_id?",
        TEXT,
        "identifier given by the source; for a text that a language model wrote, doc_id of the annotated document",
    ),
)
QUARANTINE = _table(
    "quarantine",
    "Input records that could not be read as documents.",
    ("source", TEXT, "name of the source in the recipe"),
    ("file", TEXT, "file, relative to the path of its source"),
    ("position?", LONG, "line or row in the file, from 0; NULL for the whole file"),
    ("reason", TEXT, "what is wrong, one of a fixed list"),
    ("detail", TEXT, "the first characters of the error"),
)
LEAKS = _table(
    "leaks",
    "The benchmark items that documents contain, with positions. In a document the highest coverage comes first.",
    ("doc_id", TEXT, "as in documents"),
    ("benchmark", TEXT, "name of the benchmark"),
    ("item_id", TEXT, "as in items"),
    ("part", TEXT, "the contained part of the item: question, answer (its worked solution), or question and answer"),
    ("coverage", REAL, "1 - edits / words of that part of the item; the higher one if both parts are contained"),
    (
        "span_start?",
        LONG,
        "first character of the passage in the text, from 0: substr(text, span_start + 1, span_length)",
    ),
    (
        "span_length?",
        LONG,
        "characters of the passage; both NULL if it cannot be located, and beyond the first 100 items of a document",
    ),
)
DOUBTS = _table(
    "doubts",
    "Early drop reasons: known before anything is measured, and the drop reason unless the document is contaminated.",
    ("doc_id", TEXT, "as in documents"),
    (
        "reason",
        TEXT,
        f"{', '.join(EARLY[:-1])} or {EARLY[-1]}, or the verdict on a text that a language model wrote",
    ),
    ("evidence", TEXT, "JSON: the basis of the reason"),
)
TWINS = _table(
    "twins",
    "ID collisions: documents equal in source, url, identifier and texts, which a number distinguishes.",
    ("doc_id", TEXT, "as in documents"),
    ("base_id", TEXT, "doc_id of the first of these documents"),
    ("ordinal", LONG, "number of this document among them, from 1"),
)
INPUTS = _table(
    "inputs",
    "The files that were read: provenance, not part of the identity.",
    ("source", TEXT, "name of the source in the recipe"),
    ("file", TEXT, "file, relative to the path of its source"),
    ("format", TEXT, "format of the file without its compression: jsonl, json, csv, tsv, parquet, arrow, html or warc"),
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
    ("subject?", TEXT, "subject, if the benchmark names one"),
    ("level?", TEXT, "difficulty, if the benchmark names one"),
    ("solution?", TEXT, "worked solution, if the benchmark has one"),
)
COMPONENTS = _table(
    "components",
    "The components of a mixture: wanted and available documents, tokens, sequences and epochs.",
    ("component", TEXT, "name of the component in the recipe"),
    ("corpus", TEXT, "ID of the corpus manifest from which the documents are selected"),
    ("where", TEXT, "SQL condition over documents"),
    ("weight", REAL, "weight as written in the recipe"),
    ("max_epochs", REAL, "limit on how often documents may be read"),
    ("available_documents", LONG, "documents that satisfy the condition"),
    ("available_tokens", LONG, "tokens of these documents, with one EOS per document"),
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
    ("n_tokens", LONG, "tokens of the document in the file, including EOS"),
    ("token_start", LONG, "position of its first token in the file"),
)
SEQUENCES = _table(
    "sequences",
    "The order of a mixture: which window of which component is read as the n-th sequence.",
    ("sequence", LONG, "position in the mixture, from 0"),
    ("component", TEXT, "name of the component"),
    ("index", LONG, "window of the component, from 0, counted across epochs"),
    ("epoch", pa.int32(), "epoch in which the window begins, from 0"),
)
HELD_OUT = _table(
    "held_out",
    "The documents that a mixture or a set of prompts sets aside (`hold_out`), with their near-duplicates.",
    ("corpus", TEXT, "ID of the corpus manifest"),
    ("doc_id", TEXT, "as in documents"),
    ("source", TEXT, "source of the document"),
    ("role", TEXT, "role of the document"),
    ("n_tokens", LONG, "tokens of the document as the corpus counted them, without EOS"),
    ("cluster_id?", TEXT, "near-duplicate cluster, as in documents"),
    (
        "measured",
        FLAG,
        "whether the loss is measured on it; false for a document that was dropped, or set aside as a near-duplicate "
        "of one in another corpus",
    ),
)
PROMPTS = _table(
    "prompts",
    "The prompts of a prompts manifest, in order.",
    ("position", LONG, "position in the manifest, from 0"),
    ("prompt_id", TEXT, "stable identity of the prompt"),
    ("doc_id", TEXT, "document from which the prompt was made"),
    ("source", TEXT, "source of the document"),
    ("corpus", TEXT, "ID of the corpus manifest"),
    ("question", TEXT, "the problem as asked"),
    ("answer", TEXT, "the reference answer"),
)

# -- classifier manifest -------------------------------------------------------------------------------------------

LABELS = _table(
    "labels",
    "The documents used to train and test a classifier, ordered by source and doc_id.",
    ("doc_id", TEXT, "as in documents of the corpus from which the labels come"),
    ("source", TEXT, "source of the document"),
    ("domain", TEXT, "domain of the document; either all documents of a domain are held out or none"),
    ("label", TEXT, "positive or negative"),
    ("held_out", FLAG, "not used for training, but for the measurements in the report"),
    ("score?", REAL, "probability of positive; NULL for a training document"),
)
THRESHOLDS = _table(
    "thresholds",
    "The effect of each threshold of a classifier on the held-out documents.",
    ("threshold", REAL, "a document is selected when its score is at least this"),
    ("selected", LONG, "documents selected"),
    ("precision?", REAL, "share of the selected documents that are positive; NULL if none is selected"),
    ("recall", REAL, "share of the positive documents that are selected"),
)
FEATURES = _table(
    "features",
    "The words with the largest weights in a classifier, 50 for each label.",
    ("label", TEXT, "positive or negative: the label that the word supports"),
    ("rank", LONG, "rank among the words for this label, from 1"),
    ("word", TEXT, "the word as the classifier reads it: lower-case, digits replaced by 0"),
    ("weight", REAL, "change of the log-odds of positive for a text that consists of this word"),
    ("count", LONG, "occurrences in the training documents"),
)

# -- annotations manifest ------------------------------------------------------------------------------------------

ANNOTATIONS = _table(
    "annotations",
    "Answers of a language model about documents: one row per document, or one per question-answer pair found in it.",
    ("doc_id", TEXT, "as in documents of the annotated corpus"),
    ("source", TEXT, "source of the document"),
    ("url?", TEXT, "url of the document"),
    ("task", TEXT, "score, rewrite or questions"),
    ("ordinal", LONG, "index of the pair in the document, from 0; 0 for other tasks"),
    ("response?", TEXT, "the answer as received, in the row with ordinal 0; NULL if there was none"),
    ("score?", LONG, "task score: 0 to 5"),
    ("text?", TEXT, "task rewrite: the rewritten text"),
    ("question?", TEXT, "task questions: the question"),
    ("solution?", TEXT, "task questions: the worked answer"),
    ("answer?", TEXT, "task questions: the final answer alone"),
    (
        "verdict",
        TEXT,
        "ok, or why the row is not usable: endpoint_error, source_too_long, truncated, refusal, unparsable, no_score, "
        "no_pairs, too_short, too_long, repetition, numbers_lost, formulae_lost",
    ),
    ("evidence?", TEXT, "JSON: the basis of the verdict; NULL for ok"),
    ("length_ratio?", REAL, "task rewrite: characters of the text per character of the original"),
    ("repetition?", REAL, "tasks rewrite and questions: share of 5-grams of words that occurred before"),
    ("numbers_kept?", REAL, "task rewrite: share of the original's numbers found in the text; NULL if it has none"),
    ("formulae_kept?", REAL, "task rewrite: share of the original's formulae found in the text; NULL if it has none"),
    ("prompt_tokens", LONG, "tokens of the request, as counted by the server; 0 beyond ordinal 0"),
    ("completion_tokens", LONG, "tokens of the answer, as counted by the server; 0 beyond ordinal 0"),
)

# -- pass_rates manifest -------------------------------------------------------------------------------------------

PASS_RATES = _table(
    "pass_rates",
    "How often a model solved each prompt (`octo rl pass-rate`), in the order of the prompts.",
    ("prompt_id", TEXT, "as in prompts"),
    ("doc_id", TEXT, "document from which the prompt was made"),
    ("source", TEXT, "source of that document"),
    ("responses", LONG, "responses with a verdict other than ERROR"),
    ("correct", LONG, "responses with a right answer in a box"),
    ("pass_rate?", REAL, "correct / responses; NULL if the grader failed on every response"),
    ("truncated_share", REAL, "share of all responses that were truncated at the length cap"),
    ("length_mean", REAL, "mean length of all responses, in tokens"),
)

# -- study manifest ------------------------------------------------------------------------------------------------

STUDY_CELLS = _table(
    "study_cells",
    "The cells of a study, one for each arm, branch and seed: what was made for it, and whether it is complete.",
    ("arm", TEXT, "name of the arm"),
    ("branch", TEXT, "name of the branch that the arm took; empty if the study has none"),
    ("seed", LONG, "seed of the cell; cells of one seed and one stem share a start, the block of the comparison"),
    ("stem", TEXT, "name of the stem; empty if the arm starts from its own random weights"),
    ("status", TEXT, "done, failed, or missing if it was not begun"),
    ("reason?", TEXT, "why it failed"),
    ("stem_run?", TEXT, "run of the stem"),
    ("mixture?", TEXT, "mixture of the arm"),
    ("base?", TEXT, "run from which RL starts: the training run of the arm, or of its branch"),
    ("loss?", TEXT, "measurement of its held-out loss"),
    ("before?", TEXT, "evaluation of that run"),
    ("rl?", TEXT, "RL run"),
    ("after?", TEXT, "evaluation of the RL run"),
)
STUDY_WEIGHTS = _table(
    "study_weights",
    "The mixtures of a study: the weight of each component in each arm.",
    ("arm", TEXT, "name of the arm"),
    ("component", TEXT, "component of the mixture"),
    ("weight", REAL, "weight as a share of the sum; 0 for a component that the arm does not read"),
)
STUDY_OUTCOMES = _table(
    "study_outcomes",
    "The outcomes of a study, one row for each cell and outcome.",
    ("arm", TEXT, "name of the arm"),
    ("branch", TEXT, "name of the branch; empty if the study has none"),
    ("seed", LONG, "seed of the cell"),
    ("outcome", TEXT, "name of the outcome"),
    ("value?", REAL, "its value; NULL if the cell is incomplete or its runs have no such value"),
)

PROPOSALS = _table(
    "proposals",
    "Mixtures to run next, with what is predicted of them, frozen before the run: a row for each component.",
    ("arm", TEXT, "name of the mixture"),
    ("component", TEXT, "component of the mixture"),
    ("weight", REAL, "its weight"),
    ("why", TEXT, "best predicted, or most informative"),
    ("outcome", TEXT, "outcome that is predicted"),
    ("runs", LONG, "number of runs whose mean is predicted"),
    ("predicted?", REAL, "predicted mean of the outcome"),
    ("low_80?", REAL, "lower end of the 80% prediction interval"),
    ("high_80?", REAL, "upper end of the 80% prediction interval"),
    ("low_95?", REAL, "lower end of the 95% prediction interval"),
    ("high_95?", REAL, "upper end of the 95% prediction interval"),
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
    more="""of an RL run `reward` and `accuracy` (means over the responses whose verdict is not ERROR),
`accuracy_by_source` (a map: `accuracy_by_source['gsm8k']`), `stopped_share` (a map: share of the responses
ended by each stop string), `length_mean`, `length_p95`, `length_ratio` (mean length / cap), `cap` (the length
cap of the step in tokens), `truncated_share`, `boxed_share` (responses with a complete box), `repetition_share`
(responses with a passage five times in a row), `zero_spread_share` (groups whose rewards are all equal),
`clip_share` (tokens whose ratio was clipped), `entropy` (nats per token), `kl_to_start` (nats per token,
estimated), and `prompts_read`, counted from the start of the run""",
)
CONSUMPTION = _table(
    "consumption",
    "Exactly what a run consumed: one row per step, component and source.",
    ("step", LONG, "optimizer step, from 1"),
    ("component", TEXT, "component of the mixture"),
    ("source", TEXT, "source of the documents"),
    ("sequences", LONG, "sequences of the step with at least one token of this source"),
    ("tokens", LONG, "input tokens of this source in the step"),
)
LOSSES = _table(
    "losses",
    "The loss on each document, if a training run records it (`document_losses: true`).",
    ("step", LONG, "optimizer step, from 1"),
    ("sequence", LONG, "position in the stage's mixture, from 0"),
    ("component", TEXT, "component of the mixture"),
    ("source", TEXT, "source of the document"),
    ("doc_id", TEXT, "as in documents"),
    ("epoch", LONG, "epoch of the document, from 0"),
    ("start", LONG, "first token of the document in the sequence, counted in the document from 0"),
    ("length", LONG, "tokens of the document in the sequence"),
    ("labels", LONG, "number of these tokens that predict a token of the same document"),
    ("loss?", REAL, "mean loss over the labels, before the update; NULL if there are no labels"),
)
ROLLOUTS = _table(
    "rollouts",
    "One row per sampled response of an RL run.",
    ("step", LONG, "RL step, from 1"),
    ("prompt_id", TEXT, "as in prompts"),
    ("doc_id", TEXT, "document from which the prompt was made"),
    ("source", TEXT, "source of that document"),
    ("sample", LONG, "index of the response in its group, from 0"),
    ("prompt?", TEXT, "the prompt as the model saw it; NULL if the recipe keeps no texts"),
    ("response?", TEXT, "the response of the model; NULL if the recipe keeps no texts"),
    ("tokens", LONG, "tokens of the response"),
    ("truncated", FLAG, "whether the response was truncated at the length cap"),
    (
        "stopped_by?",
        TEXT,
        "stop string that ended the response; NULL if none did, or if the sampler does not report it",
    ),
    ("verdict", TEXT, "CORRECT, INCORRECT, UNPARSED, or ERROR if the grader or the reference failed"),
    ("extracted?", TEXT, "the answer extracted from the response"),
    ("reason?", TEXT, "why the verdict is not CORRECT; too_hard: not decided within the limits, and counted as wrong"),
    ("reward?", REAL, "reward of the response; NULL if the grader failed"),
    ("advantage?", REAL, "advantage within the group; NULL if the grader failed"),
    ("repetition?", FLAG, "whether a passage occurs five times in a row"),
    ("used?", FLAG, "whether it entered an update; false in a group that dynamic sampling set aside"),
)
ALARMS = _table(
    "alarms",
    "Alarms of the collapse watch of an RL run, and the action taken.",
    ("step", LONG, "RL step after which the alarm was raised"),
    ("signal", TEXT, "column of steps that is watched"),
    ("value", REAL, "value of the signal in that step"),
    ("above?", REAL, "limit that the value exceeded"),
    ("below?", REAL, "limit that the value fell below"),
    ("steps", LONG, "number of steps in a row beyond the limit"),
    ("action", TEXT, "warn, stop or fall_back"),
    ("checkpoint?", LONG, "step whose weights the run returned to; 0 for its start; NULL if the weights were kept"),
)
SAMPLES = _table(
    "samples",
    "One row per graded response of an evaluation.",
    ("step", LONG, "index of the item in the evaluation, from 0"),
    ("benchmark", TEXT, "name of the benchmark"),
    ("item_id", TEXT, "as in items"),
    ("sample", LONG, "index of the response to the item, from 0"),
    ("prompt", TEXT, "the prompt as the model saw it"),
    ("response", TEXT, "the response of the model"),
    ("extracted?", TEXT, "the answer extracted from the response"),
    ("verdict", TEXT, "CORRECT, INCORRECT, UNPARSED, or ERROR if the grader or the reference failed"),
    ("reason?", TEXT, "why the verdict is not CORRECT; too_hard: not decided within the limits, and counted as wrong"),
    ("tokens", LONG, "tokens of the response"),
    ("truncated", FLAG, "whether the response was truncated at the length cap"),
    (
        "stopped_by?",
        TEXT,
        "stop string that ended the response; NULL if none did, or if the sampler does not report it",
    ),
    ("reference", TEXT, "the reference answer"),
    ("reward?", REAL, "1 if the answer in \\boxed{} is right, else 0; NULL if the grader failed"),
    (
        "other_verdict?",
        TEXT,
        "verdict under the other rules (the paper's harness, or ours under its protocol); NULL if it lacks the task",
    ),
)
SCORES = _table(
    "scores",
    "Scores of an evaluation, with intervals.",
    (
        "step",
        LONG,
        "checkpoint of the parent run that was evaluated, or RL step that was validated; 0 for a model folder",
    ),
    ("benchmark", TEXT, "name of the benchmark; `mean` for the unweighted mean over several"),
    (
        "metric",
        TEXT,
        "accuracy, accuracy_without_leaked, reward, length, truncated, unparsed, errors, pass@8, maj@8, …",
    ),
    ("value", REAL, "the score"),
    ("low?", REAL, "lower end of the 95% interval"),
    ("high?", REAL, "upper end of the 95% interval"),
    ("n", LONG, "number of items or responses behind the score"),
    ("method", TEXT, "how the interval was computed: wilson, bootstrap, combined or none"),
)
STUDY_NODES = _table(
    "study_nodes",
    "What became of the nodes of a study (run of kind study): a row when one begins and a row when it ends.",
    ("step", LONG, "number of the node in the study, from 0"),
    ("node", TEXT, "name of the node, such as W.s1.train"),
    ("verb", TEXT, "mix, train, rl, eval or loss"),
    ("arm?", TEXT, "arm to which it belongs; NULL for what arms share"),
    ("seed?", LONG, "seed to which it belongs; NULL for what seeds share"),
    ("status", TEXT, "running, done or failed"),
    ("id?", TEXT, "ID of the manifest or run that it made or found"),
    ("reason?", TEXT, "why it failed"),
    ("found?", FLAG, "whether it was there already, from this study or another"),
    ("seconds?", REAL, "wall time of the node"),
    ("cpu_seconds?", REAL, "processor time of the node, with its child processes"),
    ("units?", REAL, "size of the work: sequences to mix, tokens to train on, responses to sample"),
    ("work", TEXT, "digest of the verb and its recipe without the seed: equal work takes equal time"),
    ("kind_of_work", TEXT, "digest of what sets the time per unit of work: without the seed and the length"),
    ("written_at", REAL, "time of the row, in seconds since 1970"),
)
LOSSES_HELD_OUT = _table(
    "losses_held_out",
    "Loss on texts that are not trained on: of `octo eval --loss`, and of `validation.loss` on the way.",
    ("step", LONG, "step of the measured run; 0 for the weights it started from, and for a model folder"),
    ("model?", TEXT, "run whose weights were measured: the run itself on the way; NULL for a model folder"),
    ("checkpoint", FLAG, "whether the weights are those of a checkpoint or a model folder"),
    ("manifest", TEXT, "ID of the manifest whose texts were measured"),
    (
        "texts",
        TEXT,
        "held_out (documents set aside), documents (of a corpus), answers (to prompts) or solutions (of a benchmark); "
        "of the latter two only the answer or solution counts, given the problem",
    ),
    ("digest", TEXT, "digest of the texts: rows of equal digest and slice measured the same texts"),
    ("slice", TEXT, "all, source, role or benchmark"),
    ("name", TEXT, "the source, role or benchmark; `all` for slice all"),
    ("n_documents", LONG, "documents, answers or solutions"),
    ("n_trained_on?", LONG, "of these, read in training by the run or one it started from; NULL for a model folder"),
    ("n_tokens", LONG, "tokens that were predicted; the first of each window is not"),
    ("n_bytes", LONG, "UTF-8 bytes of these tokens"),
    ("loss", REAL, "nats per token"),
    ("loss_error?", REAL, "standard error of loss over documents; NULL for a single document"),
    ("bits_per_byte", REAL, "bits per byte: comparable between tokenizers"),
    ("bits_per_byte_error?", REAL, "standard error of bits_per_byte over documents; NULL for a single document"),
)
LEDGERS = (STEPS, CONSUMPTION, LOSSES, LOSSES_HELD_OUT, ROLLOUTS, ALARMS, SAMPLES, SCORES, STUDY_NODES)

# -- views that the catalog makes ----------------------------------------------------------------------------------

MANIFESTS = _table(
    "manifests",
    "One row per name@version.",
    ("manifest", TEXT, "ID of the manifest"),
    ("name", TEXT, "name, the part before @"),
    ("version", TEXT, "version, the part after @"),
    ("kind", TEXT, "corpus, mixture, prompts, benchmark, classifier, annotations, pass_rates, study or proposals"),
    ("digest", TEXT, "SHA-256 over the logical content, as hex"),
    ("parents", pa.list_(TEXT), "IDs of the manifests from which it was made"),
    ("rows", LONG, "rows of its main family"),
    ("bytes", LONG, "bytes of its files"),
    ("created", TEXT, "UTC time of the commit"),
    ("recipe", TEXT, "JSON: the semantic part of its recipe"),
)
FUNNEL = _table(
    "funnel",
    "What became of the input of a corpus. For each source, the row `in` equals the sum of the others. Rows `not read` "
    "count the files at the path of a source that are in no format or hidden.",
    ("manifest", TEXT, "ID of the corpus manifest"),
    ("source", TEXT, "name of the source"),
    ("outcome", TEXT, "in, kept, dropped, quarantined or not read"),
    ("reason?", TEXT, "drop reason, quarantine reason, or why files are not read"),
    ("documents", LONG, "records"),
    ("tokens", LONG, "tokens of these records; 0 if the text could not be read"),
    ("formulas_lost?", LONG, "formulas that could not be read at all; NULL if no record was an HTML page"),
    ("files?", LONG, "files that are not read; NULL for what became of records"),
)
RUNS = _table(
    "runs",
    "One row per run.",
    ("run", TEXT, "ID of the run"),
    ("kind", TEXT, "curate, train, rl, eval, pass-rate or study"),
    ("status", TEXT, "created, running, stopped (interrupted), failed or done"),
    ("backend", TEXT, "datatrove, torch, nanotron, verl, …"),
    ("manifests", pa.list_(TEXT), "IDs of the manifests it was launched with"),
    ("parent?", TEXT, "run from which it started"),
    ("created", TEXT, "UTC time of the launch"),
    ("finished?", TEXT, "UTC time of the end"),
    ("config", TEXT, "JSON: the resolved configuration"),
    ("summary?", TEXT, "JSON: the results"),
)
LINEAGE = _table(
    "lineage",
    "What was made from what.",
    ("child", TEXT, "ID of a manifest or run"),
    ("parent", TEXT, "ID of a manifest or run"),
    ("relation", TEXT, "made from (manifests), launched with (run from manifest), started from (run from run)"),
)

FAMILY_VIEWS = (DOCUMENTS, TEXTS, ORIGINS, QUARANTINE, LEAKS, DOUBTS, TWINS, INPUTS, ITEMS, COMPONENTS, MEMBERS,
                SEQUENCES, HELD_OUT, PROMPTS, LABELS, THRESHOLDS, FEATURES, ANNOTATIONS, PASS_RATES, STUDY_CELLS,
                STUDY_WEIGHTS, STUDY_OUTCOMES, PROPOSALS)  # fmt: skip
"""Families of manifests served as views; each gets a first column `manifest`."""

VIEWS = (MANIFESTS, *FAMILY_VIEWS, FUNNEL, RUNS, *LEDGERS, LINEAGE)
