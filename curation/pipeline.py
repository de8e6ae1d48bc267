"""Curation from recipe to corpus manifest: read, normalise, annotate, decontaminate, sign, find copies, freeze.

`curate` annotates and deletes nothing: each record of the input is one row of `documents`, with the reason if it was
dropped, or one row of `quarantine`. Promises. The ID depends on the records and the recipe: not on files' names, order
or number, nor on workers, and work that is done already is found by its key. A build that was killed goes on with the
files that it had finished. `plan` says what would happen and writes nothing.

    config → sources → steps (one task per file; tasks, worker) → duplicates → assemble → manifest
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from curation.assemble import Assembly, write_families
from curation.classifier import Classifier, model_path
from curation.config import MANIFEST_SCHEME, SAMPLE_SCHEME, CurateRecipe, ScoreRecipe, SourceRecipe
from curation.decontaminate import ItemIndex
from curation.hub import commit
from curation.sample import write_sample
from curation.sources import InputFile, check_columns, checksum, find_files, on_hub, resolve
from curation.tasks import RULES_VERSION, Job, run_tasks
from curation.vocabulary import Vocabulary
from evaluation.benchmarks import freeze_benchmark
from evaluation.config import BenchmarkRecipe
from manifests.errors import UserError
from manifests.manifest import Draft, Manifest, build_key, check_name, find_built, tag
from manifests.manifest import resolve as resolve_manifest
from manifests.progress import progress
from manifests.recipe import semantic
from manifests.store import Store, file_sha256

ITEM_COLUMNS = ["benchmark", "item_id", "question"]


@dataclass(frozen=True)
class PlanRow:
    """One line of a plan: a stage, what it works on, how many files and bytes (None where that is not known yet)."""

    stage: str
    what: str
    files: int | None = None
    bytes: int | None = None


def curate(store: Store, recipe: CurateRecipe, workers: int = 1) -> Manifest:
    """The corpus manifest of `recipe`, built with `workers` processes or found.

    Raises UserError for what the recipe gets wrong: a path with nothing there, a column that no file has, a tokenizer
    or benchmark that cannot be read, a name@version that stands for other content, or a worker that was killed.
    """
    check_name(recipe.name, recipe.version)
    vocabulary = Vocabulary.load(recipe.tokenizer)
    model = _model(store, recipe.classifier) if recipe.classifier else None
    sample = _sample(store, recipe)
    annotations = _annotations(store, recipe)
    files = input_files(recipe, sample, annotations)
    parents = [*_benchmarks(store, recipe, sample), *annotations.values()]
    identity: dict[str, Any] = semantic(recipe) | {"tokenizer": vocabulary.digest}
    if model:
        identity["classifier"] = identity["classifier"] | {"model": model.digest}
    parents = list({parent.id: parent for parent in parents}.values())
    key = build_key("corpus", identity, parents, _contents(files))
    manifest = find_built(store, key)
    if not manifest:
        job = Job(store.scratch(f"curate-{key[:16]}"), recipe, vocabulary.path, files, model.digest if model else None)
        if model:
            _take_model(model, job.classifier)
        manifest = _build(job, Draft(store, "corpus", identity, parents), parents, key, workers)
    if sample:
        shutil.rmtree(sample)
    named = manifest.ref == f"{recipe.name}@{recipe.version}"
    return manifest if named else tag(store, manifest.id, recipe.name, recipe.version)


def plan(store: Store, recipe: CurateRecipe) -> list[PlanRow]:
    """What `curate` would do, stage by stage. Writes nothing, not even the built-in sample, and asks the hub nothing:
    the size of either is unknown."""
    vocabulary = Vocabulary.load(recipe.tokenizer)
    annotations = _annotations(store, recipe)
    rows = [_planned_source(source, annotations.get(source.name)) for source in recipe.sources]
    rows += [PlanRow("freeze benchmark", _benchmark_name(benchmark)) for benchmark in _wanted_benchmarks(recipe, None)]
    near = recipe.near_duplicates
    return [
        *rows,
        PlanRow("annotate", f"normalise, score, count tokens ({vocabulary.size} in the vocabulary)"),
        *([PlanRow("score", f"{settings.column} by {settings.model}")] if (settings := recipe.classifier) else []),
        PlanRow(
            "decontaminate", f"runs of {recipe.decontaminate.ngram} words, coverage {recipe.decontaminate.coverage}"
        ),
        PlanRow("copies", f"exact; near: {near.bands} bands of {near.rows}, verified at {near.similarity}"),
        PlanRow("freeze", f"{recipe.name}@{recipe.version} in {store.url}"),
    ]


def _planned_source(source: SourceRecipe, annotations: Manifest | None) -> PlanRow:
    what = f"{source.name} ({source.role}): {source.path}"
    if source.path.startswith(SAMPLE_SCHEME):
        return PlanRow("read", f"{what}, made from a seed")
    if on_hub(source):
        return PlanRow("read", f"{what} at {commit(source)}, not looked at")
    files = _files_of(source, None, annotations)
    return PlanRow("read", what, len(files), sum(file.bytes for file in files))


# -- what goes in ----------------------------------------------------------------------------------------------------


def _sample(store: Store, recipe: CurateRecipe) -> Path | None:
    """The folder of the built-in sample, written if a path of the recipe asks for it."""
    benchmarks = [item.path for item in recipe.decontaminate.benchmarks if isinstance(item, BenchmarkRecipe)]
    paths = [*(source.path for source in recipe.sources), *benchmarks]
    if not any(path.startswith(SAMPLE_SCHEME) for path in paths):
        return None
    folder = store.scratch(f"sample-{recipe.sample.seed}-{recipe.sample.documents}")
    with progress("curate: sample"):
        write_sample(folder, recipe.sample.seed, recipe.sample.documents)
    return folder


def input_files(
    recipe: CurateRecipe, sample: Path | None, annotations: dict[str, Manifest] | None = None
) -> tuple[InputFile, ...]:
    """Every input file with its checksum. `annotations` are the manifests that sources read, by source."""
    found: list[tuple[SourceRecipe, InputFile]] = []
    for source in recipe.sources:
        files = _files_of(source, sample, (annotations or {}).get(source.name))
        found += [(source, file) for file in files]
    summed: list[InputFile] = []
    with progress("curate: checksums", len(found)) as advance:
        for source, file in found:
            summed.append(replace(file, sha256=checksum(file, source)))
            advance(1)
    return tuple(summed)


def _files_of(source: SourceRecipe, sample: Path | None, annotations: Manifest | None) -> list[InputFile]:
    if annotations is None:
        files = find_files(source, sample)
        check_columns(source, files)
        return files
    return [
        InputFile(
            source.name, f"{number}.parquet", annotations.store.uri(file.path), "parquet", file.bytes, file.sha256
        )
        for number, file in enumerate(annotations.files("annotations"))
    ]


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
        hint = f"Give it a role of {', '.join(fitting)}" if fitting else "Scores are for `octo classifier`"
        raise UserError(f"source {source.name}: {manifest.ref} ({task}) makes no document of role {source.role}", hint)
    return manifest


def _contents(files: tuple[InputFile, ...]) -> list[tuple[str, str]]:
    """What the build key knows of the input: contents per source and the version of the rules, no file names."""
    return [(f"{file.source}:{file.format}", file.sha256) for file in files] + [("rules", str(RULES_VERSION))]


def _wanted_benchmarks(recipe: CurateRecipe, sample: Path | None) -> Iterator[BenchmarkRecipe | str]:
    for item in recipe.decontaminate.benchmarks:
        if isinstance(item, BenchmarkRecipe) and sample:
            item = item.model_copy(update={"path": resolve(item.path, sample)})
        yield item
    if recipe.decontaminate.folder:
        for path in _benchmark_files(recipe.decontaminate.folder):
            yield BenchmarkRecipe(name=Path(path).stem, path=path)


@dataclass(frozen=True)
class _Model:
    """A classifier's file and the SHA-256 of what it held when it was looked at."""

    path: Path
    digest: str


def _model(store: Store, settings: ScoreRecipe) -> _Model:
    """The classifier that the recipe names, loaded once so that a file that is none is told before any work."""
    path = Path(settings.model)
    if not path.is_file():
        if "/" in settings.model or path.suffix == ".bin":  # no reference looks like that
            raise UserError(f"no classifier at {path}", "Give a model file (.bin) or a classifier manifest")
        path = model_path(resolve_manifest(store, settings.model))
    return _Model(path, Classifier.load(path, settings.label).digest)


def _take_model(model: _Model, place: Path) -> None:
    """Copy the model to `place`, where nobody trains; UserError if it has changed meanwhile."""
    shutil.copyfile(model.path, place)
    if file_sha256(place) != model.digest:
        raise UserError(f"{model.path} changed while it was read", "Run the command again")


def _benchmark_files(folder: str) -> list[str]:
    fs, root = fsspec.url_to_fs(folder)
    found = [fs.unstrip_protocol(name) for name in sorted(fs.glob(f"{root}/*.jsonl"))]
    if not found:
        raise UserError(f"decontaminate.folder: no .jsonl file in {folder}", "Give a folder of benchmark files")
    return found


def _benchmark_name(benchmark: BenchmarkRecipe | str) -> str:
    return benchmark if isinstance(benchmark, str) else f"{benchmark.name}: {benchmark.path}"


def _benchmarks(store: Store, recipe: CurateRecipe, sample: Path | None) -> list[Manifest]:
    """Manifests of the benchmarks to keep out, frozen where they are files; in order of their IDs, each once."""
    found: dict[str, Manifest] = {}
    for item in _wanted_benchmarks(recipe, sample):
        manifest = resolve_manifest(store, item) if isinstance(item, str) else freeze_benchmark(store, item)
        if manifest.kind != "benchmark":
            raise UserError(
                f"{manifest.ref} is a {manifest.kind}, no benchmark", "Name benchmark manifests to decontaminate"
            )
        found[manifest.id] = manifest
    return [found[identity] for identity in sorted(found)]


# -- building --------------------------------------------------------------------------------------------------------


def _build(job: Job, draft: Draft, parents: list[Manifest], key: str, workers: int) -> Manifest:
    items = [manifest.read("items", ITEM_COLUMNS) for manifest in parents if manifest.kind == "benchmark"]
    empty = pa.schema([(name, pa.string()) for name in ITEM_COLUMNS]).empty_table()
    pq.write_table(pa.concat_tables([empty, *(table.cast(empty.schema) for table in items)]), job.items)
    index = ItemIndex(pq.read_table(job.items), job.recipe.decontaminate)
    run_tasks(job, workers)
    counts = write_families(draft, Assembly.of(job), job.recipe)
    counts["items"] = {"all": len(index.items), "unmatchable": index.unmatchable}
    manifest = draft.commit(job.recipe.name, job.recipe.version, counts, key, job.recipe.model_dump(mode="json"))
    shutil.rmtree(job.folder)
    return manifest
