"""Manifests: immutable records of exactly one set of rows in exactly one order.

A `Draft` takes families of rows (Parquet) and opaque files, hashes their logical content as they stream by, stores the
files by checksum, and at `commit` writes the record, last and once. A `Manifest` is what such a record says.

Promises. A record is visible completely or not at all, and the files that it names exist. The ID is a digest of content
(see `manifests.identity`); equal content has an equal ID wherever and however it was built. `verify` finds any flipped
byte of the record or of a file; `check_launch` is the first step of every launch. Leaves out deletion: a record is
never removed; `collect_garbage` removes only what no record names.
"""

import json
import random
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from manifests.errors import UserError, in_one_line
from manifests.identity import VERSION as ENCODING
from manifests.identity import TableDigest, canonical_json, json_digest, schema_names
from manifests.paths import NAME, as_file_name
from manifests.provenance import provenance
from manifests.recipe import NamedRecipe
from manifests.record import KINDS, complaint, digest_of_parts
from manifests.store import ASIDE, OBJECT, Store, file_sha256

SUFFIX = re.compile(r"(?:\.[A-Za-z0-9_-]+)*$")
"""The end of a logical name that its object keeps: `.ds.index` of `web pages.ds.index`."""

FORMAT = 1
"""Format of the record; a record of another format is refused."""

CHECKPOINT_FILE = re.compile(r"runs/run-[0-9a-f]{12}/checkpoints/")

RECORD_BYTES = 64 << 20
"""Largest record that is read: that of a manifest with 200,000 files, some 50 TB of rows."""

ROWS_PER_BLOCK = 4096
ROWS_PER_GROUP, BYTES_PER_GROUP = 30 * ROWS_PER_BLOCK, 64 << 20
ROWS_PER_FILE, BYTES_PER_FILE = 1_000_000, 256 << 20
"""Sizes at which row groups and files end, in rows and bytes of memory. They depend on content only, so equal rows give
equal files."""

LAUNCH_HASH_BYTES = 4 << 30
"""A launch computes checksums of up to this many bytes (some 2 s per 4 GiB and core), and checks the sizes of all other
files."""


@dataclass(frozen=True)
class File:
    """One file of a family: logical name (raw files only), place in the store, checksum, bytes, rows."""

    name: str
    path: str
    sha256: str
    bytes: int
    rows: int


@dataclass(frozen=True)
class Part:
    """Rows of a family that were written together: how many of its files hold them, and the digest of each column."""

    files: int
    columns: dict[str, str]


@dataclass(frozen=True)
class Family:
    """A table (`format` parquet) or a set of opaque files (`raw`) of a manifest.

    A table that was extended has `parts`, and the digest of a column is computed from the parts' digests, so that
    existing rows need not be read again.
    """

    format: str
    identity: bool
    rows: int
    schema: dict[str, str]
    columns: dict[str, str]
    files: tuple[File, ...]
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """An immutable record. `id` and `digest` identify the content; `name@version` is its name for people."""

    store: Store = field(repr=False, compare=False)
    name: str
    version: str
    kind: str
    id: str
    digest: str
    parents: tuple[str, ...]
    recipe: dict[str, Any] = field(repr=False)
    families: dict[str, Family] = field(repr=False)
    counts: dict[str, Any] = field(repr=False)
    build_key: str = field(repr=False)
    provenance: dict[str, Any] = field(repr=False)

    @property
    def ref(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def bytes(self) -> int:
        return sum(file.bytes for family in self.families.values() for file in family.files)

    def files(self, family: str) -> tuple[File, ...]:
        """Files of `family` in order; empty when the manifest has no such family."""
        return self.families[family].files if family in self.families else ()

    def local(self, family: str) -> dict[str, Path]:
        """Local paths of a raw family by logical name."""
        return {file.name: self.store.local(file.path) for file in self.files(family)}

    def scan(self, family: str, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Rows of `family` in order, in batches, memory bounded by one row group."""
        self._require_table(family)
        for file in self.files(family):
            with self.store.open(file.path) as source:
                yield from pq.ParquetFile(source).iter_batches(batch_size=1 << 16, columns=columns)

    def read(self, family: str, columns: list[str] | None = None) -> pa.Table:
        """All rows of `family` in order, as one table."""
        self._require_table(family)
        return pa.concat_tables(self.store.read_table(file.path, columns) for file in self.files(family))

    def take(self, family: str, columns: list[str], rows: np.ndarray) -> Iterator[pa.RecordBatch]:
        """`columns` of `rows` (ascending) in order, in batches. Row groups that hold none of them are not read."""
        self._require_table(family)
        start = 0
        for file in self.files(family):
            here = rows[np.searchsorted(rows, start) : np.searchsorted(rows, start + file.rows)] - start
            if len(here):
                with self.store.open(file.path) as source:
                    yield from _rows_of(pq.ParquetFile(source), columns, here)
            start += file.rows

    def _require_table(self, family: str) -> None:
        tables = [name for name, known in self.families.items() if known.format == "parquet"]
        if family not in tables:
            raise UserError(f"{self.ref} ({self.kind}) has no {family}", f"It has {', '.join(tables) or 'no tables'}")


def _rows_of(file: pq.ParquetFile, columns: list[str], rows: np.ndarray) -> Iterator[pa.RecordBatch]:
    """The `rows` of one file; each row group is read up to the last wanted row."""
    start = 0
    for group in range(file.num_row_groups):
        end = start + file.metadata.row_group(group).num_rows
        here = rows[np.searchsorted(rows, start) : np.searchsorted(rows, end)]
        for batch in file.iter_batches(ROWS_PER_BLOCK, row_groups=[group], columns=columns) if len(here) else ():
            chosen = here[np.searchsorted(here, start) : np.searchsorted(here, start + len(batch))] - start
            if len(chosen):
                yield batch.take(pa.array(chosen))
            start += len(batch)
            if here[-1] < start:
                break
        start = end


# -- building ------------------------------------------------------------------------------------------------------


class Draft:
    """A manifest being written. Families are written in any order; nothing is visible before `commit`."""

    def __init__(self, store: Store, kind: str, recipe: dict[str, Any], parents: Iterable[Manifest] = ()):
        if kind not in KINDS:
            raise ValueError(f"unknown kind {kind!r}")
        self.store, self.kind, self.recipe = store, kind, recipe
        self.parents = tuple(parent.id for parent in parents)
        self.families: dict[str, Family] = {}
        canonical_json(recipe)  # raises now rather than after the work

    def write(
        self,
        family: str,
        tables: Iterable[pa.Table | pa.RecordBatch],
        schema: pa.Schema,
        identity: bool = True,
        rows_per_file: int = ROWS_PER_FILE,
    ) -> None:
        """Stream `tables` (cast to `schema`) into Parquet files of `family`, in order, hashing the logical content.

        `identity=False` keeps a family out of the digest: provenance, or data that can be recomputed. Memory: one file,
        at most BYTES_PER_FILE plus one block. ValueError for a type that Parquet does not preserve.
        """
        self._refuse_twice(family)
        _refuse_unstorable(schema)
        digest = TableDigest(schema)
        with self.store.temporary("objects") as folder:
            files = tuple(self._parquet_files(folder, tables, schema, digest, rows_per_file))
        self.families[family] = Family("parquet", identity, digest.rows, schema_names(schema), digest.columns(), files)

    def keep(self, manifest: Manifest, family: str) -> None:
        """The unchanged family of another manifest of this store: the same files, nothing is read or written."""
        self._refuse_twice(family)
        self.families[family] = manifest.families[family]

    def extend(
        self, manifest: Manifest, family: str, tables: Iterable[pa.Table | pa.RecordBatch], schema: pa.Schema
    ) -> None:
        """The family of another manifest of this store, followed by `tables`: its files unchanged, and new ones.
        ValueError when the columns differ. The digest differs from that of the same rows written at once.
        """
        known = manifest.families[family]
        if known.schema != schema_names(schema):
            raise ValueError(f"{family} of {manifest.ref} has columns {known.schema}, not {schema_names(schema)}")
        self.write(family, tables, schema, known.identity)
        self.families[family] = _joined(known, self.families[family])

    def write_raw(self, family: str, sources: dict[str, Path | bytes], identity: bool = True) -> None:
        """Store opaque files under their logical names; their bytes are their content. A Path is moved. ValueError for
        a name that cannot be a file name."""
        self._refuse_twice(family)
        files = []
        for name in sources:
            as_file_name(name)
        for name, source in sources.items():
            blob = self.store.put_object(source, SUFFIX.findall(name)[0])
            files.append(File(name, blob.path, blob.sha256, blob.bytes, 0))
        columns = {file.name: file.sha256 for file in files}
        self.families[family] = Family("raw", identity, 0, {}, columns, tuple(files))

    def _parquet_files(
        self,
        folder: Path,
        tables: Iterable[pa.Table | pa.RecordBatch],
        schema: pa.Schema,
        digest: TableDigest,
        rows_per_file: int,
    ) -> Iterator[File]:
        blocks = in_blocks(tables, schema, min(ROWS_PER_BLOCK, rows_per_file))
        gathered = _gather(blocks, min(ROWS_PER_GROUP, rows_per_file), BYTES_PER_GROUP)
        groups = (pa.concat_tables(group) for group in gathered)
        for number, group in enumerate(_gather(groups, rows_per_file, BYTES_PER_FILE)):
            path = folder / f"{number}.parquet"
            with pq.ParquetWriter(path, schema, compression="zstd", write_page_index=True) as writer:
                for table in group:
                    digest.update(table)
                    writer.write_table(table, row_group_size=max(1, table.num_rows))
            blob = self.store.put_object(path, ".parquet")
            yield File("", blob.path, blob.sha256, blob.bytes, sum(table.num_rows for table in group))

    def _refuse_twice(self, family: str) -> None:
        if family in self.families:
            raise ValueError(f"family {family} was already written")

    def digest(self) -> str:
        return content_digest(self.kind, self.parents, self.recipe, self.families)

    def commit(
        self,
        name: str,
        version: str,
        counts: dict[str, Any] | None = None,
        build_key: str = "",
        settings: dict[str, Any] | None = None,
    ) -> Manifest:
        """Write the record. Of two writers of one `name@version` one wins; the other gets UserError, or this manifest
        when the content is the same. `settings` is the recipe with its local fields, kept for `manifest rebuild`."""
        check_name(name, version)
        digest = self.digest()
        manifest = Manifest(
            self.store,
            name,
            str(version),
            self.kind,
            id_of(self.kind, digest),
            digest,
            self.parents,
            self.recipe,
            self.families,
            counts or {},
            build_key,
            provenance() | ({"settings": settings} if settings else {}),
        )
        return put_record(manifest)


def _joined(known: Family, added: Family) -> Family:
    """One family of the rows of both, in parts."""
    parts = (*(known.parts or (Part(len(known.files), known.columns),)), Part(len(added.files), added.columns))
    rows, files = known.rows + added.rows, known.files + added.files
    columns = digest_of_parts([part.columns for part in parts])
    return replace(known, rows=rows, files=files, columns=columns, parts=parts)


def in_blocks(tables: Iterable[pa.Table | pa.RecordBatch], schema: pa.Schema, rows: int) -> Iterator[pa.Table]:
    """The rows cast to `schema`, in tables of `rows` rows (the last may have fewer), however the input was batched; at
    least one table."""
    held, count = [schema.empty_table()], 0
    for table in tables:
        table = pa.Table.from_batches([table]) if isinstance(table, pa.RecordBatch) else table
        held.append(table.select(schema.names).cast(schema))
        count += table.num_rows
        if count > rows:
            whole = pa.concat_tables(held)
            ready = (count - 1) // rows * rows  # something always stays, so that the last block is never an empty one
            yield from (whole.slice(start, rows).combine_chunks() for start in range(0, ready, rows))
            held, count = [whole.slice(ready)], count - ready
    yield pa.concat_tables(held).combine_chunks()


def _gather(tables: Iterable[pa.Table], rows: int, bytes_: int) -> Iterator[list[pa.Table]]:
    """Runs of consecutive tables, as many as fit `rows`, cut after the one that reaches `bytes_`."""
    held: list[pa.Table] = []
    for table in tables:
        full = sum(t.num_rows for t in held) + table.num_rows > rows or sum(t.nbytes for t in held) >= bytes_
        if held and full:
            yield held
            held = []
        held.append(table)
    if held:
        yield held


def _refuse_unstorable(schema: pa.Schema) -> None:
    """ValueError for a type that Parquet does not preserve: its digest could never be verified."""
    sink = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), sink)
    stored = schema_names(pq.read_schema(pa.BufferReader(sink.getvalue())))
    changed = [
        f"{name} ({kind} → {stored[name]})" for name, kind in schema_names(schema).items() if stored[name] != kind
    ]
    if changed:
        raise ValueError(f"Parquet does not keep the type of {', '.join(changed)}")


def check_name(name: str, version: str) -> None:
    """Refuse a name or version that could not be a file name or a reference."""
    for part in (name, str(version)):
        if not NAME.fullmatch(part):
            raise UserError(
                f"{part[:80]!r} cannot name a manifest", "Use at most 128 letters, digits, '.', '_' and '-'"
            )


def content_digest(kind: str, parents: Iterable[str], recipe: dict[str, Any], families: dict[str, Family]) -> str:
    """The digest that makes an ID: kind, parents, semantic recipe, and content of the families that enter the
    identity."""
    content = {
        name: {"rows": family.rows, "schema": list(family.schema.items()), "columns": family.columns}
        for name, family in families.items()
        if family.identity
    }
    return json_digest(
        {"encoding": ENCODING, "kind": kind, "parents": list(parents), "recipe": recipe, "content": content}
    )


def id_of(kind: str, digest: str) -> str:
    """The ID that people see: the kind and the first 48 bits of the digest."""
    return f"{kind}-{digest[:12]}"


def build_key(
    kind: str, recipe: dict[str, Any], parents: Iterable[Manifest | str], inputs: Iterable[tuple[str, str]] = ()
) -> str:
    """A key for "the same work": kind, semantic recipe, parents and (name, checksum) of each input file."""
    ids = [parent.id if isinstance(parent, Manifest) else parent for parent in parents]
    return json_digest([kind, recipe, ids, sorted([name, checksum] for name, checksum in inputs)])


# -- records -------------------------------------------------------------------------------------------------------


def record_path(name: str, version: str) -> str:
    return f"manifests/{name}/{version}.json"


def put_record(manifest: Manifest) -> Manifest:
    """Write the record of `manifest` if its name@version is free; see `Draft.commit`. A record that could not be read
    again is not written."""
    path, data = record_path(manifest.name, manifest.version), record_bytes(manifest)
    parse_record(manifest.store, data, path)
    if manifest.store.put_once(path, data):
        return manifest
    winner = load(manifest.store, manifest.name, manifest.version)
    if winner.digest == manifest.digest:
        return winner
    raise UserError(
        f"{manifest.ref} already names {winner.id}; this build made {manifest.id}",
        "A version is never replaced: give the recipe another version",
    )


def record_bytes(manifest: Manifest) -> bytes:
    """The canonical JSON of a record, including a checksum over all other fields."""
    plain = {
        "format": FORMAT,
        "name": manifest.name,
        "version": manifest.version,
        "kind": manifest.kind,
        "id": manifest.id,
        "digest": manifest.digest,
        "parents": list(manifest.parents),
        "recipe": manifest.recipe,
        "families": {name: _family_json(family) for name, family in manifest.families.items()},
        "counts": manifest.counts,
        "build_key": manifest.build_key,
        "provenance": manifest.provenance,
    }
    return canonical_json(plain | {"checksum": json_digest(plain)})


def _family_json(family: Family) -> dict[str, Any]:
    # the schema is a list of pairs: canonical JSON sorts the keys of an object, and the order of columns is content
    plain = vars(family) | {"schema": list(family.schema.items()), "files": [vars(file) for file in family.files]}
    parts = [vars(part) for part in plain.pop("parts")]
    return plain | {"parts": parts} if parts else plain  # so that the record of a family in one piece stays as it was


def parse_record(store: Store, data: bytes, where: str) -> Manifest:
    """The manifest in the record bytes `data` read from the path `where`.

    UserError when they are not exactly what was once written there, when they hold what no record may say (see
    `manifests.record`), or claim a digest that is not that of their recipe, parents and columns.
    """
    try:
        plain = json.loads(data)
        checksum = plain.pop("checksum")
        intact = checksum == json_digest(plain) and canonical_json(plain | {"checksum": checksum}) == data
        written = plain.pop("format")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(where) from error
    if intact and written != FORMAT:
        raise UserError(
            f"record {where} has format {str(written)[:20]}; this octothinker reads format {FORMAT}",
            "Use a newer octothinker",
        )
    if not intact:
        raise _damaged(where)
    if wrong := complaint(plain):
        raise _damaged(where, wrong)
    if where != record_path(plain["name"], plain["version"]):
        raise _damaged(where, f"it is that of {plain['name']}@{plain['version']}")
    families = {name: _parse_family(family) for name, family in plain.pop("families").items()}
    manifest = Manifest(store, **plain | {"parents": tuple(plain["parents"]), "families": families})
    if manifest.digest != (actual := manifest_digest(manifest)):
        raise _damaged(where, f"digest {manifest.digest[:12]}, content {actual[:12]}")
    return manifest


def _damaged(where: str, why: str = "") -> UserError:
    said = f"record {where} is damaged{': ' + why if why else ''}"
    return UserError(said, "It is not used. Restore it from a backup or another store")


def manifest_digest(manifest: Manifest) -> str:
    """The digest computed from the record of `manifest`; it is that of the content if the record is true (`verify`)."""
    return content_digest(manifest.kind, manifest.parents, manifest.recipe, manifest.families)


def _parse_family(plain: dict[str, Any]) -> Family:
    parts = tuple(Part(**part) for part in plain.get("parts", ()))
    files = tuple(File(**file) for file in plain["files"])
    return Family(**plain | {"schema": dict(plain["schema"]), "files": files, "parts": parts})


def load(store: Store, name: str, version: str) -> Manifest:
    """The manifest called name@version; UserError when there is none, naming the versions there are."""
    path = record_path(name, version)
    try:
        data = _record_data(store, path)
    except FileNotFoundError as error:
        versions = [Path(found).stem for found in store.list(f"manifests/{name}")]
        hint = f"{name} has versions {', '.join(versions)}" if versions else "See `octo manifest list`"
        raise UserError(f"no manifest {name}@{version} in {store.url}", hint) from error
    return parse_record(store, data, path)


def _record_data(store: Store, path: str) -> bytes:
    """The bytes of a record; UserError for one of a size that no record has."""
    data = store.read(path, RECORD_BYTES + 1)
    if len(data) > RECORD_BYTES:
        raise _damaged(path, f"it is larger than {RECORD_BYTES:,} bytes")
    return data


def load_all(store: Store) -> tuple[list[Manifest], list[str]]:
    """Every manifest by name and version, and the paths of damaged records."""
    whole, damaged = [], []
    for path in store.list("manifests"):
        try:
            whole.append(parse_record(store, _record_data(store, path), path))
        except (UserError, FileNotFoundError):  # what is listed and cannot be found is a pipe, or a link to nowhere
            damaged.append(in_one_line(path))
    return whole, damaged


def resolve(store: Store, ref: str) -> Manifest:
    """The manifest that `ref` names: name@version, an ID, or a unique prefix of an ID (with or without the kind)."""
    if "@" in ref:
        name, _, version = ref.partition("@")
        check_name(name, version)
        return load(store, name, version)
    manifests, damaged = load_all(store)
    found = [m for m in manifests if ref and (m.id.startswith(ref) or m.digest.startswith(ref))]
    ids = sorted({manifest.id for manifest in found})
    if len(ids) > 1:
        raise UserError(f"{ref} could be {', '.join(ids)}", "Give more of the ID")
    if len(digests := sorted({manifest.digest for manifest in found})) > 1:
        raise UserError(f"{ref} is the ID of {len(digests)} manifests", f"Give a digest: {', '.join(digests)}")
    if not found:
        named = [manifest.ref for manifest in manifests if manifest.name == ref]
        hint = f"Give name@version or an ID{': ' + ', '.join(named) if named else '; see `octo manifest list`'}"
        lost = f" ({len(damaged)} damaged records left aside)" if damaged else ""
        raise UserError(f"no manifest {ref!r} in {store.url}{lost}", hint)
    return found[0]


def find_built(
    store: Store, key: str, kind: str, recipe: dict[str, Any], parents: Iterable[Manifest | str]
) -> Manifest | None:
    """A manifest that this store has built from the same work, if there is one.

    No digest covers the key (a copy from another store has none), so the manifest found must also have this kind, these
    parents and this recipe, which its digest covers. A build may add fields to the recipe.
    """
    ids = tuple(parent.id if isinstance(parent, Manifest) else parent for parent in parents)
    asked = json.loads(canonical_json(recipe))

    def is_asked(found: Manifest) -> bool:
        return (found.kind, found.parents) == (kind, ids) and asked == {
            name: value for name, value in found.recipe.items() if name in asked
        }

    return next((one for one in load_all(store)[0] if one.build_key == key and is_asked(one)), None)


def refuse_taken(
    store: Store, asked: NamedRecipe, kind: str, recipe: dict[str, Any], parents: Iterable[Manifest | str]
) -> None:
    """UserError, before any work, where the name and version of `asked` are those of a manifest that this build cannot
    give: of another kind, another recipe, or other parents. `Draft.commit` refuses what only the rows tell apart."""
    if not store.exists(record_path(asked.name, asked.version)):
        return
    named, ids = load(store, asked.name, asked.version), tuple(getattr(one, "id", one) for one in parents)
    wanted = json.loads(canonical_json(recipe))
    if named.kind != kind:
        other = f"a {named.kind}"
    elif differs := [name for name in wanted if named.recipe.get(name) != wanted[name]]:
        other = f"made by a recipe with other {', '.join(differs)}"
    elif named.parents != ids:
        other = "made from other manifests"
    else:
        return
    hint = "A version is never replaced: give the recipe another version, or add version=…"
    raise UserError(f"{named.ref} already names {named.id}, {other}", hint)


def tag(store: Store, ref: str, name: str, version: str) -> Manifest:
    """Give the content of `ref` another name@version. Names are never moved, only added."""
    check_name(name, version)
    known = resolve(store, ref)
    return put_record(replace(known, name=name, version=str(version)))


def called(store: Store, manifest: Manifest, recipe: NamedRecipe) -> Manifest:
    """`manifest` under the recipe's name and version, which it is given if it has another."""
    is_so = manifest.ref == f"{recipe.name}@{recipe.version}"
    return manifest if is_so else tag(store, manifest.id, recipe.name, recipe.version)


# -- checking ------------------------------------------------------------------------------------------------------


def verify(store: Store, manifest: Manifest) -> list[str]:
    """All problems of the record and files of `manifest`, with checksums and content recomputed; empty when there are
    none."""
    problems = [problem for file in _all_files(manifest) if (problem := _file_problem(store, file, hashed=True))]
    if problems:
        return problems
    return content_problems(store, manifest) + _record_problems(store, manifest)


def content_problems(store: Store, manifest: Manifest) -> list[str]:
    """The families whose rows in `store` do not match the digest of `manifest`."""
    there = replace(manifest, store=store)
    found = ((name, _content_problem(there, name)) for name in there.families)
    return [f"family {name}: {problem}" for name, problem in found if problem]


def _content_problem(manifest: Manifest, name: str) -> str | None:
    family = manifest.families[name]
    if family.format != "parquet":
        return None  # its checksums are the content
    try:
        columns = _recomputed(manifest, name)
    except (ValueError, TypeError, ArithmeticError, OSError, pa.ArrowException) as error:
        return f"it cannot be read: {' '.join(str(error).split())[:200]}"
    return None if columns == family.columns else "content differs from the recorded digest"


def _recomputed(manifest: Manifest, family: str) -> dict[str, str]:
    files, parts = iter(manifest.files(family)), manifest.families[family].parts
    schema = manifest.families[family].schema
    if not parts:
        return _columns_of(manifest, files, schema)
    return digest_of_parts([_columns_of(manifest, islice(files, part.files), schema) for part in parts])


def _columns_of(manifest: Manifest, files: Iterable[File], schema: dict[str, str]) -> dict[str, str]:
    """The digest of each column over `files`. ValueError for a file of other columns or rows than are recorded."""
    digest = None
    for file in files:
        with manifest.store.open(file.path) as source:
            parquet = pq.ParquetFile(source)
            if list(schema_names(parquet.schema_arrow).items()) != list(schema.items()):
                raise ValueError(f"{file.path} has other columns than the record says")
            if parquet.metadata.num_rows != file.rows:
                raise ValueError(f"{file.path} has {parquet.metadata.num_rows} rows, recorded are {file.rows}")
            digest = digest or TableDigest(parquet.schema_arrow)
            for batch in parquet.iter_batches(batch_size=1 << 16):
                digest.update(pa.Table.from_batches([batch]))
    return digest.columns() if digest else {}


def _record_problems(store: Store, manifest: Manifest) -> list[str]:
    path = record_path(manifest.name, manifest.version)
    try:
        stored = parse_record(store, _record_data(store, path), path)
    except FileNotFoundError:
        return [f"record {path} is missing"]
    except UserError as error:
        return [error.what]
    if record_bytes(stored) != record_bytes(manifest):
        return [f"record {path} has changed since it was read: it names {stored.id}"]
    return []


def _all_files(manifest: Manifest) -> list[File]:
    return [file for family in manifest.families.values() for file in family.files]


def _file_problem(store: Store, file: File, hashed: bool) -> str | None:
    try:
        size = store.size(file.path)
        if size != file.bytes:
            return f"{file.path}: {size} bytes, not {file.bytes}"
        if hashed and store.sha256(file.path) != file.sha256:
            return f"{file.path}: checksum differs"
    except FileNotFoundError:
        return f"{file.path}: missing"
    return None


def check_launch(store: Store, manifest: Manifest, hash_bytes: int = LAUNCH_HASH_BYTES) -> None:
    """What every launch does first: the record's digest, every file's size, and checksums of up to `hash_bytes`.

    If there are more bytes, a random sample of files is checked, a different one at each launch. Raises UserError with
    the differences; nothing is launched on a manifest whose content does not match its ID.
    """
    files = _all_files(manifest)
    chosen = set()
    budget = hash_bytes
    for file in random.sample(files, len(files)):
        if file.bytes <= budget:
            chosen.add(file.path)
            budget -= file.bytes
    problems = _record_problems(store, manifest)
    problems += [found for file in files if (found := _file_problem(store, file, file.path in chosen))]
    if problems:
        raise UserError(
            f"{manifest.ref} does not have the content that its ID {manifest.id} names: {'; '.join(problems[:3])}",
            f"Nothing was launched. See `octo manifest verify {manifest.ref}`; rebuild it or restore its files",
        )


# -- keeping house -------------------------------------------------------------------------------------------------


def collect_garbage(store: Store, older_than_seconds: float = 86_400.0, dry_run: bool = False) -> list[str]:
    """Remove files that no record names: objects, incomplete checkpoints, files under tmp/ and work/. Returns what was
    removed. Recent files stay, because a build in progress has stored objects that no record names yet; a working
    folder stays complete while any file in it is recent. Files that are not named as a store names them stay too: in a
    folder that a link leads to they may be anybody's. Refuses while a record is damaged, because the files that it
    names are unknown.
    """
    manifests, damaged = load_all(store)
    if damaged:
        raise UserError(f"damaged records: {', '.join(damaged)}", "Repair or remove them before collecting garbage")
    used = {file.path for manifest in manifests for file in _all_files(manifest)}
    together = [[path] for path in store.list("objects") if path not in used and OBJECT.fullmatch(path)]
    together += [*_by_folder(store.list("tmp"), 2), *_by_folder(store.list("work"), 2), *_torn_checkpoints(store)]
    for top in store.moved():
        together += _by_folder([path for path in store.list(f"{top}/tmp") if ASIDE.fullmatch(path)], 3)
    removed = []
    for paths in together:
        if _age(store, paths) < older_than_seconds:
            continue
        for path in [] if dry_run else paths:
            store.delete(path)
        removed += paths
    return sorted(removed)


def _age(store: Store, paths: list[str]) -> float:
    """Seconds since the youngest of `paths` was written; 0 when one has just gone, for then somebody works there."""
    try:
        return time.time() - max(map(store.modified, paths))
    except FileNotFoundError:
        return 0.0


def _by_folder(paths: list[str], depth: int) -> list[list[str]]:
    """`paths` that share their first `depth` parts, together."""
    folders: dict[str, list[str]] = {}
    for path in paths:
        folders.setdefault("/".join(path.split("/")[:depth]), []).append(path)
    return list(folders.values())


def _torn_checkpoints(store: Store) -> list[list[str]]:
    """Files of checkpoints (runs/<id>/checkpoints/<step>/…) whose last file was never written."""
    paths = [path for path in store.list("runs") if CHECKPOINT_FILE.match(path)]
    folders = _by_folder(paths, 4)
    return [files for files in folders if not any(path.split("/")[4:] == ["complete.json"] for path in files)]


def copy_manifest(manifest: Manifest, target: Store, advance: Callable[..., None] = lambda _: None) -> Manifest:
    """Copy `manifest` to another store: the files that are missing there, then the record. UserError for a damaged
    file. `advance` is called with the bytes of each copied file. The copy has no build key: it never counts as a build
    of the target."""
    copy_files(manifest, target, advance)
    return put_record(as_copy(manifest, target))


def as_copy(manifest: Manifest, target: Store) -> Manifest:
    """`manifest` as it is recorded in another store."""
    return replace(manifest, store=target, build_key="")


def copy_files(manifest: Manifest, target: Store, advance: Callable[..., None] = lambda _: None) -> None:
    """The files of `copy_manifest`."""
    for file in missing_files(manifest, target):
        if problem := _file_problem(manifest.store, file, hashed=False):
            raise UserError(f"{problem} in {manifest.store.url}", "It is damaged there, and was not copied")
        with target.temporary("objects") as folder:
            manifest.store.fs.get_file(manifest.store.full(file.path), str(folder / "copy"))
            if file_sha256(folder / "copy") != file.sha256:
                raise UserError(
                    f"{file.path} in {manifest.store.url} is damaged",
                    "Nothing was published. See `octo manifest verify`",
                )
            target.put(file.path, folder / "copy")
        advance(file.bytes)


def missing_files(manifest: Manifest, target: Store) -> list[File]:
    """The files of `manifest` that another store lacks, or has at another size."""
    return [file for file in _all_files(manifest) if _file_problem(target, file, hashed=False)]
