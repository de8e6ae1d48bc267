"""Curation from recipe to corpus manifest: read, normalise, annotate, decontaminate, sign, find copies, freeze.

`curate` annotates and deletes nothing: each record of the input is one row of `documents`, with the reason if it was
dropped, or one row of `quarantine`. Promises. The ID depends on the records and the recipe, not on files' names, order
or number, nor on workers, and finished work is found by its key. A build that was killed resumes with the files that it
had finished. `plan` shows what would happen and writes nothing.

    config → sources → shards → steps (tasks: local, slurm, on_ray) → duplicates → assemble, append (build) → manifest
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, assert_never

from curation.config import (
    MANIFEST_SCHEME,
    SAMPLE_SCHEME,
    CurateRecipe,
    LanguageRecipe,
    ScoreRecipe,
    SourceRecipe,
)
from curation.corpus.append import added, check_addable, check_compared, check_free
from curation.corpus.refilter import changes, check_thresholds, files_of, refilter
from curation.execution import slurm
from curation.execution.build import Build, scratch_name
from curation.execution.local import run_tasks
from curation.execution.shards import cpu_seconds, estimate
from curation.known_sources import KNOWN
from curation.measures.classifier import DEFAULT, Classifier, model_path
from curation.measures.decontaminate import ItemIndex
from curation.measures.language import Identifier
from curation.measures.vocabulary import Vocabulary
from curation.reading.files import InputFile, Listing, checksum, first_words, list_files, on_hub, resolve
from curation.reading.hub import commit, refuse_unpinned, unpinned
from curation.reading.records import Bad, check_columns, first_record
from curation.sample.write import write_sample
from curation.tasks import RULES_VERSION, Job
from evaluation.benchmarks import folder_files, freeze_benchmark
from evaluation.config import BenchmarkRecipe
from evaluation.formats import bare, filesystem
from manifests.errors import UserError
from manifests.manifest import (
    Draft,
    File,
    Manifest,
    build_key,
    called,
    check_launch,
    check_name,
    find_built,
    load_all,
    refuse_taken,
)
from manifests.manifest import resolve as resolve_manifest
from manifests.places.place import PlaceName
from manifests.progress import progress, warn
from manifests.recipe import semantic
from manifests.runs import RunDirectory
from manifests.store import Store, file_sha256, try_lock


@dataclass(frozen=True)
class PlanRow:
    """One line of a plan: a stage, what it works on, how many files and bytes (None where that is not known yet), and
    what the authors of a known source on the hub say of its size."""

    stage: str
    what: str
    files: int | None = None
    bytes: int | None = None
    documents: int | None = None
    tokens: int | None = None


def curate(
    store: Store,
    recipe: CurateRecipe,
    workers: int = 1,
    base: Manifest | None = None,
    onto: Manifest | None = None,
    on: PlaceName = "local",
) -> Manifest:
    """The corpus manifest of `recipe`, built with `workers` processes, on Slurm or on Ray, or found.

    With `base`, a corpus whose recipe differs only in limits, no source is read: its documents are re-filtered (see
    `curation.corpus.refilter`), and the manifest is that of a full run over the files of `base`. With `onto`, only
    files that this corpus lacks are read and appended to it (see `curation.corpus.append`). Raises UserError for an
    error in the recipe: a path without files, a column that no file has, a tokenizer or benchmark that cannot be read,
    a name@version with other content; for a worker that was killed, tasks that failed as often as `place` allows, a
    field that requires a full run instead of `base`, or files that cannot be appended to `onto`."""
    with _asked(store, recipe, base, onto) as asked:
        manifest = asked.built()
        if not manifest:
            asked.refuse_taken()
        if not manifest and base:
            manifest = refilter(asked.draft, base, recipe, asked.benchmarks, asked.key)
        if not manifest or _is_left_open(store, asked.key):
            manifest = _built(asked, workers, on)
    return called(store, manifest, recipe)


def submit(store: Store, recipe: CurateRecipe, onto: Manifest | None = None) -> Manifest | RunDirectory:
    """Submit the build of `recipe` to Slurm and return the run, or the manifest if it already exists."""
    with _asked(store, recipe, None, onto) as asked:
        if (manifest := asked.built()) and not _is_left_open(store, asked.key):
            return manifest
        asked.refuse_taken()
        with store.alone(scratch_name(asked.key)) as folder:
            build = _begun(asked, folder)
            slurm.submit(build)
            return build.run


@dataclass(frozen=True)
class _Inputs:
    """Everything that a recipe names besides sources and benchmarks, resolved once for `plan` and for a build, and the
    resulting identity."""

    vocabulary: Vocabulary
    model: "_Model | None"
    language: "_Model | None"
    identity: dict[str, Any]

    @classmethod
    def of(cls, store: Store, recipe: CurateRecipe, base: Manifest | None, onto: Manifest | None) -> "_Inputs":
        """UserError for what cannot be read, and if `base` or `onto` was made with other rules."""
        vocabulary = Vocabulary.load(recipe.tokenizer)
        model = _model(store, recipe.classifier) if recipe.classifier else None
        language = _language_model(recipe.language) if recipe.language else None
        identity = _identity(recipe, vocabulary, model, language)
        if base:
            check_thresholds(base, identity)
        if onto:
            check_addable(onto, identity)
        return cls(vocabulary, model, language, identity)


@dataclass(frozen=True)
class _Asked:
    """A resolved request: the recipe and everything that it names."""

    store: Store
    recipe: CurateRecipe
    inputs: _Inputs
    sample: Path | None
    files: tuple[InputFile, ...]
    left_out: dict[str, dict[str, int]]
    benchmarks: list[Manifest]
    training: tuple[Manifest, ...]
    parents: list[Manifest]
    key: str
    draft: Draft
    onto: Manifest | None

    def built(self) -> Manifest | None:
        """The corpus, if this store has built it."""
        return find_built(self.store, self.key, self.draft.kind, self.draft.recipe, self.draft.parents)

    def refuse_taken(self) -> None:
        """UserError where the name of the corpus stands for another manifest: better now than after the work."""
        if self.onto:
            check_free(self.store, self.recipe.name, self.recipe.version)
        refuse_taken(self.store, self.recipe, self.draft.kind, self.draft.recipe, self.draft.parents)


@contextmanager
def _asked(store: Store, recipe: CurateRecipe, base: Manifest | None, onto: Manifest | None) -> Iterator[_Asked]:
    check_name(recipe.name, recipe.version)
    if not base:
        _refuse_broken(recipe.sources)
        refuse_unpinned(recipe.sources)
    inputs = _Inputs.of(store, recipe, base, onto)
    with _sample(store, recipe, benchmarks_alone=base is not None) as sample:
        annotations = _annotations(store, recipe)
        files, left_out = (files_of(base), {}) if base else _inputs_of(recipe, sample, annotations, onto)
        benchmarks, training = _benchmarks(store, recipe, sample), _training(store, recipe)
        if onto:
            check_compared(onto, benchmarks, training)
            files = added(onto, files)
        model, identity = inputs.model, inputs.identity
        scorer = [model.manifest] if model and model.manifest else []
        grown = [onto] if onto else []
        all_parents = (*benchmarks, *annotations.values(), *scorer, *training, *grown)
        parents = list({parent.id: parent for parent in all_parents}.values())
        key = build_key("corpus", identity, parents, _contents(files))
        draft = Draft(store, "corpus", identity, parents)
        yield _Asked(store, recipe, inputs, sample, files, left_out, benchmarks, training, parents, key, draft, onto)


def plan(
    store: Store, recipe: CurateRecipe, base: Manifest | None = None, onto: Manifest | None = None
) -> list[PlanRow]:
    """What `curate` would do, stage by stage. Writes nothing, not even the built-in sample, and sends no request to the
    hub: their sizes are unknown, or those in the table of known sources. Lists what `curate` would refuse to read
    because a commit is missing. With `base` it raises the errors of `curate` for a field that cannot be re-filtered,
    with `onto` for a recipe with other rules; new files are recognised by name and size, and in `curate` by
    checksum."""
    _refuse_broken(recipe.sources)
    inputs = _Inputs.of(store, recipe, base, onto)
    benchmarks = [_planned_benchmark(store, benchmark) for benchmark in _wanted_benchmarks(recipe, None)]
    freeze = PlanRow("freeze", f"{recipe.name}@{recipe.version} in {store.url}")
    if base:
        return [*benchmarks, *_planned_again(base, inputs.identity), *_decisions(recipe), freeze]
    if onto:
        check_free(store, recipe.name, recipe.version)
    annotations = _annotations(store, recipe)
    return [
        *([PlanRow("keep", f"{onto.ref}, {onto.id}", len(_files(onto)), onto.bytes)] if onto else []),
        *(
            row
            for place, source in enumerate(recipe.sources)
            for row in _planned_source(place, source, annotations.get(source.name), onto)
        ),
        *_about_the_hub(recipe.sources),
        *benchmarks,
        *_left_out_of(recipe.decontaminate.folder),
        *([PlanRow("identify", f"language by {found.model or 'py3langid'}")] if (found := recipe.language) else []),
        _planned_tasks(store, recipe, inputs.vocabulary),
        *([_planned_score(recipe.classifier, inputs.model)] if recipe.classifier and inputs.model else []),
        *_decisions(recipe),
        freeze,
        *([] if onto else _shorter(store, recipe, inputs.identity)),
    ]


def scripts(store: Store, recipe: CurateRecipe) -> list[tuple[str, str]]:
    """What `submit` would give to sbatch: titles with the dependencies, and scripts. The number of elements is
    approximate if files would be split."""
    return slurm.scripts(recipe.place, estimate(_listed(store, recipe), recipe.place.task_bytes)[1])


def _listed(store: Store, recipe: CurateRecipe) -> tuple[InputFile, ...]:
    """The files that can be known without asking the hub or making the sample."""
    annotations = _annotations(store, recipe)
    read = [
        (place, source)
        for place, source in enumerate(recipe.sources)
        if not on_hub(source) and not source.path.startswith(SAMPLE_SCHEME)
    ]
    return tuple(
        file for place, source in read for file in _listing(place, source, None, annotations.get(source.name)).files
    )


def _decisions(recipe: CurateRecipe) -> list[PlanRow]:
    if recipe.rules == "none":
        return [PlanRow("keep", "every document: no rule is applied")]
    quality, near, held = recipe.quality.model_dump(), recipe.near_duplicates, recipe.decontaminate
    numbers = f"another text where over {near.numbers_differ:.1%} of its words are numbers that moved"
    if isinstance(near.numbers_differ, bool):
        numbers = "other numbers make another text" if near.numbers_differ else "numbers do not count"
    return [
        PlanRow("decontaminate", f"runs of {held.ngram} words, coverage {held.coverage}, numbers {held.numbers}"),
        PlanRow("quality", ", ".join(f"{name} {value}" for name, value in quality.items())),
        PlanRow("copies", f"exact; near: {near.bands} bands of {near.rows}, verified at {near.similarity}, {numbers}"),
    ]


def _planned_source(
    place: int, source: SourceRecipe, annotations: Manifest | None, onto: Manifest | None
) -> list[PlanRow]:
    carried = ", ".join([*(source.scores or {}), *(source.metadata or ())])
    what = f"{source.name} ({source.role}): {source.path}{', with ' if carried else ''}{carried}"
    if source.path.startswith(SAMPLE_SCHEME):
        return [PlanRow("read", f"{what}, made from a seed")]
    if on_hub(source):
        at = "needs revision=<commit>" if unpinned(source) else f"at {commit(source)}"
        size = KNOWN[source.known] if source.known and KNOWN[source.known].path == source.path else None
        return [PlanRow("read", f"{what} {at}", None, None, size and size.documents, size and size.tokens)]
    known = {(file.name, file.bytes) for file in files_of(onto) if file.source == source.name} if onto else set()
    listing = _listing(place, source, None, annotations, bool(known))
    files = [file for file in listing.files if (file.name, file.bytes) not in known]
    there = len(listing.files)
    what += f"; {there - len(files)} of {there} files are in the corpus" if known else ""
    row = PlanRow("read", what, sum(len(file.files) for file in files), sum(file.bytes for file in files))
    return [row, *([PlanRow("leave out", f"{source.name}: {listing.said}")] if listing.said else [])]


def _planned_benchmark(store: Store, benchmark: BenchmarkRecipe | str) -> PlanRow:
    if isinstance(benchmark, str):
        known = resolve_manifest(store, benchmark)
        return PlanRow("keep out", f"{known.ref}, {known.id}", len(known.files("items")), known.bytes)
    size = None
    if benchmark.path and not benchmark.path.startswith(SAMPLE_SCHEME):
        fs, path = filesystem(benchmark.path)
        size = fs.size(path) if fs.exists(path) else None
    return PlanRow("freeze benchmark", f"{benchmark.name}: {benchmark.path or 'the hub'}", 1, size)


def _planned_score(settings: ScoreRecipe, model: "_Model") -> PlanRow:
    roles = ", ".join(settings.roles)
    cut = "drops none" if settings.min is None else f"under {settings.min} {roles} are low_score"
    what = f"{settings.column} by {settings.model} ({model.digest[:12]}), label {settings.label}; {cut}"
    return PlanRow("score", what, 1, model.path.stat().st_size if model.path else None)


def _planned_tasks(store: Store, recipe: CurateRecipe, vocabulary: Vocabulary) -> PlanRow:
    files = _listed(store, recipe)
    tasks, jobs = estimate(files, recipe.place.task_bytes)
    work = f"{_cpu_time(cpu_seconds(files))} in {_counted(tasks, 'task')}, {_counted(jobs, 'job')} on Slurm or Ray"
    what = f"normalise, score, count tokens ({vocabulary.size:,} in the vocabulary)"
    return PlanRow("annotate", f"{what}; about {work}" if files else what, len(files) or None)


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _cpu_time(seconds: float) -> str:
    """Processor time in the unit that people would give it in."""
    if seconds < 1:
        return "less than 1 CPU-second"
    for size, unit in ((3600, "CPU-hour"), (60, "CPU-minute")):
        if seconds >= 2 * size:
            return _counted(round(seconds / size), unit)
    return _counted(round(seconds), "CPU-second")


def _planned_again(base: Manifest, identity: dict[str, Any]) -> list[PlanRow]:
    """What is taken from `base`, and each limit that changes."""
    return [
        PlanRow("reselect", f"{base.ref}, {base.id}; sources are not read", len(_files(base)), base.bytes),
        *(PlanRow("change", str(change)) for change in changes(base, identity)),
    ]


def _files(manifest: Manifest) -> list[File]:
    return [file for family in manifest.families for file in manifest.files(family)]


def _shorter(store: Store, recipe: CurateRecipe, identity: dict[str, Any]) -> list[PlanRow]:
    """The corpus of the recipe's name that could be re-filtered instead, with the fewest changes."""
    named = [base for base in load_all(store)[0] if base.kind == "corpus" and base.name == recipe.name]
    found = [(base, changes(base, identity)) for base in named if base.counts.get("rules") == RULES_VERSION]
    possible = [(base, some) for base, some in found if all(change.possible for change in some)]
    if not possible:
        return []
    base, some = min(possible, key=lambda pair: len(pair[1]))
    said = ", ".join(map(str, some)) or "the order of sources at most"
    return [PlanRow("or", f"--refilter {base.ref}, without reading sources: {said}")]


def _about_the_hub(sources: tuple[SourceRecipe, ...]) -> list[PlanRow]:
    """One line on sources that were not examined, if there are any."""
    remote = [source for source in sources if on_hub(source)]
    missing = [source.name for source in remote if unpinned(source)]
    said = "the hub was not asked: documents and tokens are the authors' numbers"
    refused = f"; no commit is pinned yet for {', '.join(missing)}" if missing else ""
    return [PlanRow("note", said + refused)] if remote else []


# -- what goes in ----------------------------------------------------------------------------------------------------


def _identity(
    recipe: CurateRecipe, vocabulary: Vocabulary, model: "_Model | None", language: "_Model | None"
) -> dict[str, Any]:
    """The semantic part of `recipe`, with digests for what its paths hold."""
    identity: dict[str, Any] = semantic(recipe) | {"tokenizer": vocabulary.digest}
    if model:
        identity["classifier"] = {"model": model.digest} | identity["classifier"]
    if language:
        identity["language"] = {"model": language.digest} | identity["language"]
    return identity


@contextmanager
def _sample(store: Store, recipe: CurateRecipe, benchmarks_alone: bool) -> Iterator[Path | None]:
    """A folder with the built-in sample, gone afterwards, if a path of the recipe asks for it."""
    paths = [item.path or "" for item in recipe.decontaminate.benchmarks if isinstance(item, BenchmarkRecipe)]
    paths += [] if benchmarks_alone else [source.path for source in recipe.sources]
    if not any(path.startswith(SAMPLE_SCHEME) for path in paths):
        yield None
        return
    with store.temporary() as folder:
        with progress("curate: sample"):
            write_sample(folder, recipe.sample.seed, recipe.sample.documents)
        yield folder


def input_files(
    recipe: CurateRecipe,
    sample: Path | None,
    annotations: dict[str, Manifest] | None = None,
    onto: Manifest | None = None,
) -> tuple[InputFile, ...]:
    """Every input file with its checksum. `annotations` are the manifests that sources read, by source. A source of the
    corpus `onto` need not have any."""
    return _inputs_of(recipe, sample, annotations, onto)[0]


def _inputs_of(
    recipe: CurateRecipe, sample: Path | None, annotations: dict[str, Manifest] | None, onto: Manifest | None
) -> tuple[tuple[InputFile, ...], dict[str, dict[str, int]]]:
    """The input files, and how many files each source leaves out, by the reason."""
    held = {source["name"] for source in onto.recipe["sources"]} if onto else set()
    found: list[tuple[SourceRecipe, InputFile]] = []
    refused: list[UserError] = []
    left_out: dict[str, dict[str, int]] = {}
    for place, source in enumerate(recipe.sources):
        try:
            listing = _listing(place, source, sample, (annotations or {}).get(source.name), source.name in held)
        except UserError as error:
            refused.append(error)
            continue
        found += [(source, file) for file in listing.files]
        if listing.said:
            warn(f"source {source.name}: {listing.said}")
            left_out[source.name] = listing.reasons
    if refused:
        raise _together(refused)
    summed: list[InputFile] = []
    with progress("curate: checksums", len(found)) as advance:
        for source, file in found:
            summed.append(replace(file, sha256=checksum(file, source)))
            advance(1)
    return tuple(summed), left_out


def _together(errors: list[UserError]) -> UserError:
    """All problems of sources in one line, so that the next attempt does not fail at the second one."""
    if len(errors) == 1:
        return errors[0]
    said = "; ".join(error.what for error in errors)
    hint = "`--plan --check` looks at each source. Correct them in the recipe, or remove them"
    return UserError(f"{len(errors)} sources cannot be read: {said}", hint)


def _listing(
    place: int, source: SourceRecipe, sample: Path | None, annotations: Manifest | None, gone: bool = False
) -> Listing:
    """What is at the path of the recipe's source number `place`, and has the columns that its role needs."""
    if annotations is None:
        listing = list_files(source, sample, gone)
        check_columns(source, listing.files, f"sources.{place}")
        return listing
    return Listing(
        [
            InputFile(
                source.name, f"{number}.parquet", annotations.store.uri(file.path), "parquet", file.bytes, file.sha256
            )
            for number, file in enumerate(annotations.files("annotations"))
        ]
    )


def _refuse_broken(sources: tuple[SourceRecipe, ...], first: int = 0) -> None:
    """UserError that names every known source that cannot be curated as published on the hub, and the lines to
    remove."""
    broken = {}
    for place, source in enumerate(sources, first):
        known = KNOWN.get(source.known or "")
        as_known = known and source.path == known.path and source.revision == known.revision
        if known and known.broken and as_known:
            broken[f"sources.{place} (known: {known.name})"] = known.broken
    if broken:
        reasons = "; ".join(dict.fromkeys(broken.values()))
        hint = f"Drop {', '.join(broken)} from the recipe, and components that name it from mixtures; or give it a path"
        raise UserError(reasons, f"{hint} with the text")


def barren(corpus: Manifest) -> list[str]:
    """A line for each source of `corpus` all of whose records are in quarantine."""
    bad = corpus.read("quarantine", ["source", "reason"]).group_by(["source", "reason"]).aggregate([([], "count_all")])
    lines = []
    for name, counts in corpus.counts["inputs"].items():
        reasons = {row["reason"]: row["count_all"] for row in bad.to_pylist() if row["source"] == name}
        if counts["records"] and sum(reasons.values()) >= counts["records"]:
            said = ", ".join(f"{count:,} {reason}" for reason, count in sorted(reasons.items()))
            ask = f"octo sql \"SELECT * FROM quarantine WHERE manifest = '{corpus.id}' AND source = '{name}' LIMIT 9\""
            lines.append(
                f"source {name}: no record could be read, all {counts['records']:,} are in quarantine ({said}). {ask}"
            )
    return lines


# -- looking at one record of each -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class CheckRow:
    """What one look at a source found: its files, where the first record stands, what it is, or why there is none."""

    source: str
    files: int | None
    bytes: int | None
    file: str | None
    found: str | None
    problem: str | None


def check(store: Store, recipe: CurateRecipe) -> list[CheckRow]:
    """One record of each source, read from where it lies; asks the hub. A source that cannot be read is a row with its
    problem, and the other sources are still examined."""
    return [_checked(store, recipe, place, source) for place, source in enumerate(recipe.sources)]


def _checked(store: Store, recipe: CurateRecipe, place: int, source: SourceRecipe) -> CheckRow:
    if source.path.startswith(SAMPLE_SCHEME):
        return CheckRow(source.name, None, None, None, "made from a seed", None)
    try:
        _refuse_broken((source,), place)
        listing = _listing(place, source, None, _annotations(store, recipe).get(source.name))
        size = sum(file.bytes for file in listing.files)
        file, record = first_record(listing.files, source, recipe.max_record_bytes)
    except UserError as error:
        return CheckRow(source.name, None, None, None, None, str(error))
    except Exception as error:  # whatever a file system or the network raises is one line, and the next source's turn
        return CheckRow(source.name, None, None, None, None, f"{type(error).__name__}: {first_words(error)}")
    problem = f"{record.reason}: {record.detail}" if isinstance(record, Bad) else None
    found = None if isinstance(record, Bad) else record.said
    left = f" ({listing.said})" if listing.said else ""
    return CheckRow(source.name, len(listing.files), size, file, found and found + left, problem)


def _annotations(store: Store, recipe: CurateRecipe) -> dict[str, Manifest]:
    """The annotations manifest of each source that names one."""
    return {
        source.name: _annotations_of(resolve_manifest(store, source.path.removeprefix(MANIFEST_SCHEME)), source)
        for source in recipe.sources
        if source.path.startswith(MANIFEST_SCHEME)
    }


def _annotations_of(manifest: Manifest, source: SourceRecipe) -> Manifest:
    """`manifest`, if it holds what the role of `source` needs."""
    if manifest.kind != "annotations":
        raise UserError(f"source {source.name}: {manifest.ref} is a {manifest.kind}", "Name an annotations manifest")
    task = manifest.recipe["task"]
    fitting = {"questions": ("qa", "rl"), "rewrite": ("web", "general", "code", "instruct")}.get(task, ())
    if source.role not in fitting:
        hint = f"Give it a role of {', '.join(fitting)}" if fitting else "Scores are for `octo curate train-classifier`"
        raise UserError(f"source {source.name}: {manifest.ref} ({task}) makes no document of role {source.role}", hint)
    return manifest


def _contents(files: tuple[InputFile, ...]) -> list[tuple[str, str]]:
    """What the build key knows of the input: contents per source and the version of the rules, no file names."""
    return [(f"{file.source}:{file.format}", file.sha256) for file in files] + [("rules", str(RULES_VERSION))]


def _wanted_benchmarks(recipe: CurateRecipe, sample: Path | None) -> Iterator[BenchmarkRecipe | str]:
    for item in recipe.decontaminate.benchmarks:
        if isinstance(item, BenchmarkRecipe) and sample and item.path:
            item = item.model_copy(update={"path": resolve(item.path, sample)})
        yield _called_otherwise(item, recipe)
    if folder := recipe.decontaminate.folder:
        for name in _benchmark_files(folder):
            called = bare(name).replace("/", "-").split(".")[0]
            yield _called_otherwise(BenchmarkRecipe(name=called, path=f"{folder.rstrip('/')}/{name}"), recipe)


def _called_otherwise(item: BenchmarkRecipe | str, recipe: CurateRecipe) -> BenchmarkRecipe | str:
    """`item`; UserError when the benchmark would be frozen under the name of the corpus itself."""
    if isinstance(item, BenchmarkRecipe) and (item.name, item.version) == (recipe.name, recipe.version):
        name = f"{item.name}@{item.version}"
        hint = "Give the recipe another name, or rename the benchmark"
        raise UserError(f"{name} would name both the corpus and the benchmark {item.path or item.name}", hint)
    return item


@dataclass(frozen=True)
class _Model:
    """A model's file, the SHA-256 of what it held when it was looked at (name and version of one without a file), and
    its manifest if it has one."""

    path: Path | None
    digest: str
    manifest: Manifest | None


def _model(store: Store, settings: ScoreRecipe) -> _Model:
    """The classifier that the recipe names, loaded once, so that a wrong file is an error before any work."""
    path, manifest = DEFAULT if settings.model == "default" else Path(settings.model), None
    if not path.is_file():
        if "/" in settings.model or path.suffix == ".bin":  # no reference looks like that
            raise UserError(f"no classifier at {path}", "Give a model file (.bin) or a classifier manifest")
        manifest = resolve_manifest(store, settings.model)
        path = model_path(manifest)
    return _Model(path, Classifier.load(path, settings.label).digest, manifest)


def _language_model(settings: LanguageRecipe) -> _Model:
    """The language identifier, loaded once, so that a wrong file or an unknown language is an error before any work."""
    path = Path(settings.model) if settings.model else None
    identifier = Identifier.load(path)
    identifier.check(settings.keep)
    return _Model(path, identifier.digest, None)


def _take_model(model: _Model | None, place: Path | None) -> None:
    """Copy the model's file, if it has one, to `place`, where nothing overwrites it; UserError if it has changed in the
    meantime."""
    if model and model.path and place and not place.exists():
        aside = place.with_suffix(".new")  # an earlier launch may have tasks at work that read it
        shutil.copyfile(model.path, aside)
        aside.rename(place)
        if file_sha256(place) != model.digest:
            place.unlink()
            raise UserError(f"{model.path} changed while it was read", "Run the command again")


def _benchmark_files(folder: str) -> list[str]:
    found = folder_files(folder)[0]
    if not found:
        hint = "Give a folder of benchmark files: JSON Lines, JSON, CSV, Parquet or Arrow"
        raise UserError(f"decontaminate.folder: no file of items in {folder}", hint)
    names = [bare(name).replace("/", "-").split(".")[0] for name in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"decontaminate.folder: several files are called {', '.join(twice)}", "Rename all but one")
    return found


def _left_out_of(folder: str | None) -> list[PlanRow]:
    """The files of a benchmark folder that hold no items by their names."""
    names = folder_files(folder)[1] if folder else []
    return [PlanRow("leave out", f"{folder}: {', '.join(names)}")] if names else []


def _benchmarks(store: Store, recipe: CurateRecipe, sample: Path | None) -> list[Manifest]:
    """Manifests of the benchmarks to keep out, frozen where they are files; in order of their IDs, each once."""
    found: dict[str, Manifest] = {}
    for row in _left_out_of(recipe.decontaminate.folder):
        warn(f"left out of the benchmarks in {row.what}")
    for item in _wanted_benchmarks(recipe, sample):
        manifest = resolve_manifest(store, item) if isinstance(item, str) else freeze_benchmark(store, item)
        if manifest.kind != "benchmark":
            raise UserError(
                f"{manifest.ref} is a {manifest.kind}, not a benchmark", "Name benchmark manifests to decontaminate"
            )
        found[manifest.id] = manifest
    return [found[identity] for identity in sorted(found)]


def _training(store: Store, recipe: CurateRecipe) -> tuple[Manifest, ...]:
    """The corpora that must not hold a prompt, whole and undamaged; in order of their IDs, each once."""
    found = {
        manifest.id: manifest for manifest in (resolve_manifest(store, ref) for ref in recipe.decontaminate.training)
    }
    for manifest in found.values():
        if manifest.kind != "corpus":
            hint = "Name corpora under decontaminate.training"
            raise UserError(f"{manifest.ref} is a {manifest.kind}, not a corpus", hint)
        check_launch(store, manifest)
    return tuple(found[identity] for identity in sorted(found))


# -- building --------------------------------------------------------------------------------------------------------


def _is_left_open(store: Store, key: str) -> bool:
    """Whether a build froze its manifest and was killed before it had cleaned up."""
    folder = store.scratch_path(scratch_name(key))
    with suppress(FileNotFoundError):
        if lock := try_lock(folder / "lock"):
            lock.close()
            return True
    return False


def _begun(asked: _Asked, folder: Path) -> Build:
    """The build in the scratch folder `folder`, with all that its tasks read."""
    inputs = asked.inputs
    model, language = (found.digest if found and found.path else None for found in (inputs.model, inputs.language))
    job = Job(folder, asked.recipe, inputs.vocabulary.path, asked.files, model, language, left_out=asked.left_out)
    _take_model(inputs.model, job.classifier)
    _take_model(inputs.language, job.language_model)
    index = ItemIndex.of(asked.benchmarks, asked.recipe.decontaminate)
    build = Build.begin(asked.draft, asked.parents, asked.key, job, asked.sample, asked.training, asked.onto)
    return build.save(index.items, index.counts)


def _run_tasks(job: Job, workers: int, on: Literal["local", "ray"]) -> None:
    match on:
        case "local":
            run_tasks(job, workers)
        case "ray":
            from curation.execution import on_ray  # noqa: PLC0415  loads all of Datatrove's executors

            on_ray.run_tasks(job)
        case _:
            assert_never(on)


def _built(asked: _Asked, workers: int, on: PlaceName) -> Manifest:
    store, key = asked.store, asked.key
    with store.alone(scratch_name(key)) as folder:
        build = _begun(asked, folder)
        if manifest := asked.built():
            build.close(manifest)
            return manifest
        if on == "slurm":
            slurm.submit(build)
        else:
            slurm.refuse_while_submitted(build.run)
            with build.run.running():
                _run_tasks(build.job, workers, on)
                return build.finish()
    slurm.wait(build)
    manifest = asked.built()
    assert manifest, "Slurm has frozen it"
    return manifest
