"""Manifests: immutable records of exactly one set of rows in exactly one order.

A `Draft` takes families of rows (Parquet) and opaque files, hashes their logical content as they stream by, stores the
files by checksum, and at `commit` writes the record, last and once. A `Manifest` is what such a record says.

Promises. A record is seen whole or not at all, and what it names is there. The ID is a digest of content (see
`manifests.identity`); equal content has an equal ID wherever and however it was built. `verify` finds any flipped byte
of the record or of a file; `check_launch` is what a launch runs first. Leaves out deletion: a record is never taken
back; `collect_garbage` removes only what no record names.
"""

import json
import random
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from manifests.errors import UserError
from manifests.identity import VERSION as ENCODING
from manifests.identity import TableDigest, canonical_json, json_digest, schema_names
from manifests.provenance import provenance
from manifests.store import Blob, Store, crash_point, file_sha256

KINDS = ("corpus", "mixture", "prompts", "benchmark")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
ROWS_PER_FILE = 1_000_000
BYTES_PER_FILE = 256 << 20
LAUNCH_HASH_BYTES = 4 << 30
"""A launch checksums files up to this many bytes (some 2 s per 4 GiB and core) and the sizes of the rest."""


@dataclass(frozen=True)
class File:
    """One file of a family: logical name (raw files only), place in the store, checksum, bytes, rows."""

    name: str
    path: str
    sha256: str
    bytes: int
    rows: int


@dataclass(frozen=True)
class Family:
    """A table (`format` parquet) or a set of opaque files (`raw`) of a manifest."""

    format: str
    identity: bool
    rows: int
    schema: dict[str, str]
    columns: dict[str, str]
    files: tuple[File, ...]


@dataclass(frozen=True)
class Manifest:
    """An immutable record. `id` and `digest` stand for the content, `name@version` is what people call it."""

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
        for file in self.files(family):
            with self.store.open(file.path) as source:
                yield from pq.ParquetFile(source).iter_batches(batch_size=1 << 16, columns=columns)

    def read(self, family: str, columns: list[str] | None = None) -> pa.Table:
        """All rows of `family` in order, as one table."""
        if family not in self.families:
            raise UserError(f"{self.ref} ({self.kind}) has no {family}", f"It has {', '.join(self.families)}")
        tables = [pq.read_table(self.store.open(file.path), columns=columns) for file in self.files(family)]
        return pa.concat_tables(tables)


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

        `identity=False` keeps a family out of the digest: provenance, or what can be computed again.
        """
        digest = TableDigest(schema)
        with self.store.temporary() as folder:
            files = tuple(self._parquet_files(folder, tables, schema, digest, rows_per_file))
        self.families[family] = Family(
            "parquet", identity, digest.rows, schema_names(schema), digest.columns(), files
        )

    def write_raw(self, family: str, sources: dict[str, Path | bytes], identity: bool = True) -> None:
        """Store opaque files under their logical names; their bytes are their content. A Path is moved."""
        files = []
        for name, source in sources.items():
            suffix = name[name.index(".") :] if "." in name else ""
            blob = self.store.put_object(source, suffix)
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
        writer, path, rows, size = None, folder / "part.parquet", 0, 0
        for table in tables:
            table = pa.Table.from_batches([table]) if isinstance(table, pa.RecordBatch) else table
            table = table.select(schema.names).cast(schema)
            digest.update(table)
            for start in range(0, table.num_rows, rows_per_file):
                piece = table.slice(start, rows_per_file)
                if writer and (rows + piece.num_rows > rows_per_file or size > BYTES_PER_FILE):
                    writer.close()
                    yield self._parquet_file(path, rows)
                    writer, rows, size = None, 0, 0
                writer = writer or pq.ParquetWriter(path, schema, compression="zstd", write_page_index=True)
                writer.write_table(piece, row_group_size=122_880)
                rows, size = rows + piece.num_rows, size + piece.nbytes
        writer = writer or (pq.ParquetWriter(path, schema) if not digest.rows else None)
        if writer:
            writer.close()
            yield self._parquet_file(path, rows)

    def _parquet_file(self, path: Path, rows: int) -> File:
        blob: Blob = self.store.put_object(path, ".parquet")
        return File("", blob.path, blob.sha256, blob.bytes, rows)

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
            f"{self.kind}-{digest[:12]}",
            digest,
            self.parents,
            self.recipe,
            self.families,
            counts or {},
            build_key,
            provenance() | ({"settings": settings} if settings else {}),
        )
        return put_record(manifest)


def check_name(name: str, version: str) -> None:
    """Refuse a name or version that could not be a file name or a reference."""
    for part in (name, str(version)):
        if not NAME.fullmatch(part):
            raise UserError(f"{part!r} cannot name a manifest", "Use letters, digits, '.', '_' and '-'")


def content_digest(kind: str, parents: Iterable[str], recipe: dict[str, Any], families: dict[str, Family]) -> str:
    """The digest that makes an ID: kind, parents, semantic recipe, and content of the families that bear identity."""
    content = {
        name: {"rows": family.rows, "schema": list(family.schema.items()), "columns": family.columns}
        for name, family in families.items()
        if family.identity
    }
    return json_digest(
        {"encoding": ENCODING, "kind": kind, "parents": list(parents), "recipe": recipe, "content": content}
    )


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
    """Write the record of `manifest` if its name@version is free; see `Draft.commit`."""
    if manifest.store.put_once(record_path(manifest.name, manifest.version), record_bytes(manifest)):
        return manifest
    winner = load(manifest.store, manifest.name, manifest.version)
    if winner.digest == manifest.digest:
        return winner
    raise UserError(
        f"{manifest.ref} already names {winner.id}; this build made {manifest.id}",
        "A version is never replaced: give the recipe another version",
    )


def record_bytes(manifest: Manifest) -> bytes:
    """The canonical JSON of a record, with a checksum over all other fields as its last word on itself."""
    plain = {
        "format": 1,
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
    return vars(family) | {"schema": list(family.schema.items()), "files": [vars(file) for file in family.files]}


def parse_record(store: Store, data: bytes, where: str) -> Manifest:
    """The manifest in the record bytes `data`; UserError when they are not exactly what was once written."""
    damaged = UserError(f"record {where} is damaged", "Restore it from a backup or another store")
    try:
        plain = json.loads(data)
        checksum = plain.pop("checksum")
        intact = checksum == json_digest(plain)
        intact = intact and canonical_json(plain | {"checksum": checksum}) == data
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged from error
    if not intact:
        raise damaged
    families = {name: _parse_family(family) for name, family in plain.pop("families").items()}
    del plain["format"]
    return Manifest(store, **plain | {"parents": tuple(plain["parents"]), "families": families})


def _parse_family(plain: dict[str, Any]) -> Family:
    return Family(**plain | {"schema": dict(plain["schema"]), "files": tuple(File(**file) for file in plain["files"])})


def load(store: Store, name: str, version: str) -> Manifest:
    """The manifest called name@version; UserError when there is none, naming the versions there are."""
    path = record_path(name, version)
    try:
        data = store.read(path)
    except FileNotFoundError as error:
        versions = [Path(found).stem for found in store.list(f"manifests/{name}")]
        hint = f"{name} has versions {', '.join(versions)}" if versions else "See `octo manifest list`"
        raise UserError(f"no manifest {name}@{version} in {store.url}", hint) from error
    return parse_record(store, data, path)


def load_all(store: Store) -> tuple[list[Manifest], list[str]]:
    """Every manifest by name and version, and the paths of damaged records."""
    whole, damaged = [], []
    for path in store.list("manifests"):
        try:
            whole.append(parse_record(store, store.read(path), path))
        except UserError:
            damaged.append(path)
    return whole, damaged


def resolve(store: Store, ref: str) -> Manifest:
    """The manifest that `ref` names: name@version, an ID, or a unique prefix of an ID (with or without the kind)."""
    if "@" in ref:
        name, _, version = ref.partition("@")
        check_name(name, version)
        return load(store, name, version)
    found = [m for m in load_all(store)[0] if m.id.startswith(ref) or m.digest.startswith(ref)] if ref else []
    ids = sorted({manifest.id for manifest in found})
    if len(ids) > 1:
        raise UserError(f"{ref} could be {', '.join(ids)}", "Give more of the ID")
    if not found:
        raise UserError(f"no manifest {ref!r} in {store.url}", "Give name@version or an ID; see `octo manifest list`")
    return found[0]


def find_built(store: Store, key: str) -> Manifest | None:
    """A manifest already built from the same work, if there is one."""
    return next((manifest for manifest in load_all(store)[0] if manifest.build_key == key), None)


def tag(store: Store, ref: str, name: str, version: str) -> Manifest:
    """Give the content of `ref` another name@version. Names are never moved, only added."""
    check_name(name, version)
    known = resolve(store, ref)
    return put_record(Manifest(**vars(known) | {"name": name, "version": version}))


# -- checking ------------------------------------------------------------------------------------------------------


def verify(store: Store, manifest: Manifest) -> list[str]:
    """Everything wrong with the record and files of `manifest`, checksums and content recomputed; empty when sound."""
    problems = [problem for file in _all_files(manifest) if (problem := _file_problem(store, file, hashed=True))]
    if problems:
        return problems
    for name, family in manifest.families.items():
        if family.format == "parquet" and _recomputed(manifest, name) != family.columns:
            problems.append(f"family {name}: content differs from the recorded digest")
    return problems + _record_problems(store, manifest)


def _recomputed(manifest: Manifest, family: str) -> dict[str, str]:
    digest = None
    for file in manifest.files(family):
        with manifest.store.open(file.path) as source:
            parquet = pq.ParquetFile(source)
            digest = digest or TableDigest(parquet.schema_arrow)
            for batch in parquet.iter_batches(batch_size=1 << 16):
                digest.update(pa.Table.from_batches([batch]))
    return digest.columns() if digest else {}


def _record_problems(store: Store, manifest: Manifest) -> list[str]:
    path = record_path(manifest.name, manifest.version)
    try:
        stored = parse_record(store, store.read(path), path)
    except (UserError, FileNotFoundError) as error:
        return [str(error)]
    if stored.digest != manifest.digest:
        return [f"record {path} now says {stored.id}"]
    actual = content_digest(stored.kind, stored.parents, stored.recipe, stored.families)
    return [] if actual == stored.digest else [f"record {path}: digest {stored.digest[:12]}, content {actual[:12]}"]


def _all_files(manifest: Manifest) -> list[File]:
    return [file for family in manifest.families.values() for file in family.files]


def _file_problem(store: Store, file: File, hashed: bool) -> str | None:
    try:
        size = store.size(file.path)
        if size != file.bytes:
            return f"{file.path}: {size} bytes, not {file.bytes}"
        if hashed and _stored_sha256(store, file.path) != file.sha256:
            return f"{file.path}: checksum differs"
    except FileNotFoundError:
        return f"{file.path}: missing"
    return None


def _stored_sha256(store: Store, path: str) -> str:
    if store.is_local:
        return file_sha256(Path(store.full(path)))
    with store.temporary() as folder:  # never from the cache of local copies: the store is what is checked
        copy = folder / "copy"
        store.fs.get_file(store.full(path), str(copy))
        return file_sha256(copy)


def check_launch(store: Store, manifest: Manifest, hash_bytes: int = LAUNCH_HASH_BYTES) -> None:
    """What every launch does first: the record's digest, every file's size, and checksums of up to `hash_bytes`.

    Beyond that many bytes the files to checksum are a random sample, another at each launch. Raises UserError with
    what differs; nothing is launched on a manifest that is not exactly what its ID names.
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
            f"{manifest.ref} is not what {manifest.id} names: {'; '.join(problems[:3])}",
            f"Nothing was launched. See `octo manifest verify {manifest.ref}`; rebuild it or restore its files",
        )


# -- keeping house -------------------------------------------------------------------------------------------------


def collect_garbage(store: Store, older_than_seconds: float = 86_400.0, dry_run: bool = False) -> list[str]:
    """Remove objects that no record names, and left-over files under tmp/ and work/; returns what was removed.

    Young files stay: a build in progress has stored objects that no record names yet. Refuses while a record is
    damaged, since what it names cannot be known.
    """
    manifests, damaged = load_all(store)
    if damaged:
        raise UserError(f"damaged records: {', '.join(damaged)}", "Repair or remove them before collecting garbage")
    used = {file.path for manifest in manifests for file in _all_files(manifest)}
    candidates = [path for folder in ("objects", "tmp", "work") for path in store.list(folder) if path not in used]
    removed = [path for path in candidates if _age(store, path) >= older_than_seconds]
    for path in [] if dry_run else removed:
        crash_point(f"before removing {path}")
        store.delete(path)
    return removed


def _age(store: Store, path: str) -> float:
    """Seconds since `path` was written, by the store's clock as far as it tells one."""
    return time.time() - store.fs.modified(store.full(path)).timestamp()


def copy_manifest(manifest: Manifest, target: Store) -> Manifest:
    """Put `manifest` into another store, files first, only what is missing there."""
    for file in _all_files(manifest):
        if not (target.exists(file.path) and target.size(file.path) == file.bytes):
            target.put_object(manifest.store.read(file.path), file.path[file.path.index(".") :])
    return put_record(Manifest(**vars(manifest) | {"store": target}))
