"""A manifest as files of the field: a Hugging Face folder, JSON lines, WebDataset tars, Croissant, verl's prompts.

    FOLDER/data/<part>/train-00000-of-00002.parquet      or .jsonl.zst, .tar; a part is a source or a component
    FOLDER/README.md, FOLDER/croissant.json              hf; croissant (which is hf and this file)
    FOLDER/train.parquet                                 verl

Of a corpus the kept documents with their text are written, of any other kind the rows that it is named for. Promises.
The manifest is checked before it is read. Memory is some row groups, however large the manifest. The folder is written
aside and renamed: it is there whole or not at all, and a folder that holds anything is refused. Leaves out what was
dropped and the evidence (they stay in the store), and mixtures, whose export is `mixtures.export`.
"""

import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Literal, assert_never, get_args

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from manifests.catalog import MAIN_FAMILY
from manifests.errors import UserError
from manifests.exports.card import write_card
from manifests.exports.croissant import write_croissant
from manifests.exports.files import Files, JsonLines, Pieces, RowGroups, Samples
from manifests.manifest import ROWS_PER_BLOCK, Manifest, check_launch, in_blocks
from manifests.record import Kind

RowsFormat = Literal["hf", "croissant", "jsonl", "webdataset"]
"""Formats that hold the rows of any manifest."""
Format = Literal[RowsFormat, "nanoset", "verl"]
FORMATS: tuple[Format, ...] = get_args(Format)
ONLY: dict[Format, Kind] = {"nanoset": "mixture", "verl": "prompts"}
"""Formats that hold one kind of manifest; the others hold any."""
NOT_OF_THE_KEPT = ("drop_reason", "drop_evidence", "keeper_id")
"""Columns of documents that are NULL for every kept one."""
MISSHAPEN = (LookupError, ValueError, TypeError, AttributeError, ArithmeticError, RuntimeError, pa.ArrowException)
MISSHAPEN += (duckdb.Error, IsADirectoryError, FileExistsError)
"""What is raised over a manifest that does not hold what its kind promises."""


def export_rows(manifest: Manifest, format: str, folder: Path) -> Path:
    """Write `manifest` into `folder`, which must not be there or be empty. UserError for a format that does not hold
    its kind, a folder that holds something, or a manifest that is not what its ID names."""
    known = checked_format(manifest, format)
    with whole_folder(folder) as aside, in_one_line(manifest, known):
        check_launch(manifest.store, manifest)
        match known:
            case "verl":
                write_verl(manifest, aside / "train.parquet")
            case "nanoset":
                raise AssertionError("holds mixtures alone, which `mixtures.export` writes")
            case _:
                write_rows(manifest, rows_of(manifest), known, aside)
    return folder


def checked_format(manifest: Manifest, format: str) -> Format:
    """`format`, if it is one and holds manifests of this kind; otherwise UserError."""
    if format not in FORMATS:
        raise UserError(f"there is no format {format!r}", f"Use one of {', '.join(FORMATS)}")
    if ONLY.get(format, manifest.kind) != manifest.kind:
        fitting = ", ".join(name for name in FORMATS if ONLY.get(name, manifest.kind) == manifest.kind)
        raise UserError(
            f"the format {format} holds {_plural(ONLY[format])}; {manifest.ref} is {_a(manifest.kind)}",
            f"Use one of {fitting}",
        )
    return format


def _plural(kind: str) -> str:
    return kind if kind.endswith("s") else f"{kind}s"


def _a(kind: str) -> str:
    """`kind` with its article, where it is one thing and not several."""
    return kind if kind.endswith("s") else f"a {kind}"


@contextmanager
def in_one_line(manifest: Manifest, format: str) -> Iterator[None]:
    """A UserError for whatever a manifest raises that does not hold what its kind promises: a column that is not there
    or of another type, tables that do not belong together. Its digest says nothing of that, and its maker may be a
    stranger."""
    try:
        yield
    except MISSHAPEN as error:
        said = " ".join(str(error).split())[:200]
        what = f"{manifest.ref} cannot be written as {format}: it does not hold what a {manifest.kind} holds"
        hint = f"See `octo manifest verify {manifest.ref}`; build it again, or tell whoever published it"
        raise UserError(f"{what} ({type(error).__name__}: {said})", hint) from error


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder beside `folder` that takes its place at the end, or is gone after an error."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is there and not empty", "Name a folder that is not there yet")
    aside = folder.absolute().with_name(f"{folder.absolute().name}.{uuid.uuid4().hex[:8]}.part")
    aside.mkdir(parents=True)
    try:
        yield aside
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


# -- rows ----------------------------------------------------------------------------------------------------------


def rows_of(manifest: Manifest) -> Pieces:
    """The kept documents of a corpus with their texts, by source; the rows of any other kind, as one part."""
    family = MAIN_FAMILY[manifest.kind]
    if manifest.kind == "corpus":
        yield from _kept_documents(manifest)
        return
    for batch in manifest.scan(family):
        yield family, pa.Table.from_batches([batch])


def _kept_documents(manifest: Manifest) -> Pieces:
    """Documents and texts stand row for row beside each other, and in the order of sources."""
    documents = aligned(manifest, "documents", manifest.scan("documents"))
    for rows, texts in zip(documents, aligned(manifest, "texts", manifest.scan("texts")), strict=True):
        kept = pc.is_null(rows["drop_reason"])
        table = with_texts(rows.drop_columns(list(NOT_OF_THE_KEPT)), texts).filter(kept)
        for source in pc.unique(table["source"]).to_pylist():
            yield source, table.filter(pc.equal(table["source"], source))


def aligned(
    manifest: Manifest, family: str, batches: Iterable[pa.RecordBatch], columns: list[str] | None = None
) -> Iterator[pa.Table]:
    """Rows of a family, or `columns` of them, in tables of ROWS_PER_BLOCK, however its files are cut."""
    with manifest.store.open(manifest.files(family)[0].path) as source:
        schema = pq.read_schema(source)
    return in_blocks(batches, pa.schema([schema.field(name) for name in columns or schema.names]), ROWS_PER_BLOCK)


def with_texts(rows: pa.Table, texts: pa.Table) -> pa.Table:
    """`rows` with the columns of `texts` behind doc_id, the text first."""
    if not rows["doc_id"].equals(texts["doc_id"]):
        raise UserError("documents and texts do not stand beside each other", "See `octo manifest verify`")
    for place, name in enumerate(name for name in texts.column_names if name != "doc_id"):
        rows = rows.add_column(place + 1, texts.schema.field(name), texts[name])
    return rows


# -- formats -------------------------------------------------------------------------------------------------------


def write_rows(manifest: Manifest, pieces: Pieces, format: RowsFormat, folder: Path) -> None:
    """The files of all parts under `data/`, and what describes them. UserError when there is no row."""
    number, split = count(), "test" if manifest.kind == "benchmark" else "train"
    match format:
        case "jsonl":
            files = Files(folder, split, "jsonl.zst", lambda path, _: JsonLines(path))
        case "webdataset":
            files = Files(folder, split, "tar", lambda path, _: Samples(path, number))
        case "hf" | "croissant":
            files = Files(folder, split, "parquet", RowGroups)
        case _:
            assert_never(format)
    parts = files.write(pieces)
    if not parts:
        raise UserError(f"{manifest.ref} has no row to export", "See `octo manifest funnel`")
    if format in ("hf", "croissant"):
        write_card(manifest, parts, folder)
    if format == "croissant":
        write_croissant(manifest, parts, folder)


def write_verl(manifest: Manifest, path: Path) -> None:
    """Prompts as verl's `data.train_files` takes them: the question as the user's turn, the answer for a rule to check.

    The columns are those of verl 0.9's examples; `extra_info.index` is the position in the manifest."""
    writer = None
    for batch in manifest.scan("prompts"):
        table = _as_verl(batch.to_pylist(), manifest.id)
        writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
        writer.write_table(table)
    if writer is None:
        raise UserError(f"{manifest.ref} has no prompt", "See `octo mix`")
    writer.close()


def _as_verl(prompts: list[dict[str, Any]], manifest: str) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {
                "data_source": row["source"],
                "prompt": [{"role": "user", "content": row["question"]}],
                "ability": "math",
                "reward_model": {"style": "rule", "ground_truth": row["answer"]},
                "extra_info": {"split": "train", "index": row["position"], "prompt_id": row["prompt_id"]}
                | {"doc_id": row["doc_id"], "manifest": manifest},
            }
            for row in prompts
        ]
    )
