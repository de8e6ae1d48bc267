"""Runs: what happened, with the manifest it was launched from and a ledger that grows while it goes on.

    runs/<id>/run.json                  the record, replaced whole at each change of status
    runs/<id>/<table>.parquet/<first>-<last>-<part>.parquet
                                        a ledger: one part per append, first and last step in its name
    runs/<id>/checkpoints/<step>/…      files, then complete.json with their sizes and checksums, last

Promises. The ID comes from what a run was launched with, so the same launch finds the same run. A part of a ledger and
a checkpoint are there whole or not at all; a torn checkpoint is never listed, and no flipped byte of one is loaded.
`truncate(step)` forgets what came after a checkpoint, so that a resumed ledger equals an uninterrupted one. Only one
process at a time may hold a run of a local store (a lock the kernel drops when the process dies). Leaves out: processes
and scheduling, see `training.launch`; locking in a remote store; checksums of ledgers, which are not identity.
"""

import contextlib
import io
import json
import math
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel

from manifests.errors import UserError
from manifests.identity import canonical_json, json_digest
from manifests.manifest import Manifest
from manifests.paths import refuse_links_out
from manifests.provenance import now, provenance
from manifests.recipe import semantic
from manifests.record import Run, complaint
from manifests.store import Store, file_sha256, try_lock

RunKind = Literal["curate", "train", "rl", "eval", "pass-rate"]
RunStatus = Literal["created", "running", "done", "failed", "stopped"]
UNDER_WAY: tuple[RunStatus, ...] = ("created", "running")
"""Of a run that may still change by itself."""
RUN_ID = re.compile(r"run-[0-9a-f]{12}")
LEDGER_PART = re.compile(
    r"runs/(?P<run>run-[0-9a-f]{12})/(?P<table>[a-z][a-z0-9_]*)\.parquet/(?P<first>\d+)-(?P<last>\d+)-\d+\.parquet",
    re.A,
)
"""The path of one part of a ledger. Anything else that lies in the folder of a ledger is not read."""


class RunDirectory:
    """A run and its files. Get one from `open_run` or `load_run`."""

    def __init__(self, store: Store, record: dict[str, Any]):
        self.store, self.record = store, record
        self.id: str = record["id"]
        self._lock: IO[str] | None = None

    def __repr__(self) -> str:
        return f"RunDirectory({self.id!r}, {self.status})"

    @property
    def status(self) -> RunStatus:
        return self.record["status"]

    @property
    def path(self) -> Path:
        """A local folder of the run: its own in a local store, a scratch folder otherwise."""
        if not self.store.is_local:
            return self.store.scratch(self.id)
        folder = Path(self.store.full(self._at("")))
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _at(self, name: str) -> str:
        return f"runs/{self.id}/{name}".rstrip("/")

    # -- status ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Take the run for this process and mark it running; UserError when another process holds it."""
        self._take_lock()
        self.reload()  # another process may have held it since it was opened
        self._update(status="running", started=self.record.get("started") or now(), reason=None)

    def finish(self, summary: dict[str, Any]) -> None:
        """Mark the run done; `summary` is plain JSON and is kept in run.json."""
        self._update(status="done", finished=now(), summary=summary)
        self.release()

    def fail(self, reason: str) -> None:
        """Mark the run failed, with the reason people will read."""
        self._update(status="failed", finished=now(), reason=reason)
        self.release()

    def reload(self) -> RunStatus:
        """Read the record again, which another process may have changed; returns the status."""
        self.record = _load_record(self.store, self.id)
        return self.status

    def note(self, **facts: Any) -> None:
        """Keep `facts`, plain JSON, in the record."""
        self._update(**facts)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """`start`, and whatever ends the block but `finish` is written down: an interrupt as stopped, an error as
        failed. Either way the same launch goes on from what is stored."""
        self.start()
        try:
            yield
        except KeyboardInterrupt:
            self._update(status="stopped", finished=now(), reason="interrupted")
            self.release()
            raise
        except BaseException as error:
            self.fail(str(error) or type(error).__name__)
            raise

    def release(self) -> None:
        """Give the run up without a change of status, as the end of the process would."""
        if self._lock:
            self._lock.close()
            self._lock = None

    def _update(self, **changes: Any) -> None:
        self.record = self.record | changes
        self.store.put(self._at("run.json"), _record_bytes(self.record))

    def _take_lock(self) -> None:
        if not self.store.is_local or self._lock:
            return
        self._lock = try_lock(self.path / "lock")
        if not self._lock:
            raise UserError(f"{self.id} is held by another process", "Wait until it ends, or stop it, then try again")

    def lines(self, name: str, folder: str) -> list[dict[str, Any]]:
        """The JSON lines of the file `name`, or, while it is not there, those of the files in `folder`."""
        paths = [self._at(name)] if self.store.exists(self._at(name)) else self.store.list(self._at(folder))
        return [json.loads(line) for path in paths for line in self.store.read(path).splitlines()]

    # -- ledgers ---------------------------------------------------------------------------------------------------

    def append(self, table: str, rows: pa.Table) -> None:
        """Add `rows` (with an int64 column `step`, ascending over appends) as one part file, whole or not at all."""
        if not rows.num_rows:
            return
        steps = rows["step"].to_numpy()
        first, last = int(steps.min()), int(steps.max())
        part = len(self._parts(table))
        self.store.put(self._at(f"{table}.parquet/{first:010d}-{last:010d}-{part:06d}.parquet"), _parquet(rows))

    def truncate(self, step: int) -> None:
        """Forget every ledger row after `step`, the newest first, so that a crash leaves no hole."""
        for path in reversed(self.store.list(self._at(""))):
            if not (part := LEDGER_PART.fullmatch(path)):
                continue
            first, last = int(part["first"]), int(part["last"])
            if first > step:
                self.store.delete(path)
            elif last > step:
                self.store.put(path, _parquet(self.store.read_table(path).filter(pc.field("step") <= step)))

    def table(self, table: str) -> pa.Table | None:
        """All rows of a ledger in order; None when nothing was appended."""
        parts = [self.store.read_table(path) for path in self._parts(table)]
        return pa.concat_tables(parts, promote_options="default") if parts else None

    def _parts(self, table: str) -> list[str]:
        return [path for path in self.store.list(self._at(f"{table}.parquet")) if LEDGER_PART.fullmatch(path)]

    # -- checkpoints -----------------------------------------------------------------------------------------------

    def save_checkpoint(
        self, step: int, write: Callable[[Path], None], keep: int = 3, spare: Collection[int] = ()
    ) -> None:
        """Let `write(folder)` fill a folder, then make it checkpoint `step`; the `keep` newest are kept (0: all), and
        those of the steps in `spare`."""
        with self.store.temporary() as aside:
            write(aside)
            self._store_folder(self._at(f"checkpoints/{step}"), aside)
        for old in self.checkpoints()[:-keep] if keep else []:
            if old not in spare:
                self._remove(self._at(f"checkpoints/{old}"))

    def _store_folder(self, target: str, aside: Path) -> None:
        """Move the files of `aside` below `target`, durable, and write complete.json last."""
        files = {str(path.relative_to(aside)): path for path in sorted(aside.rglob("*")) if path.is_file()}
        stored = {name: {"bytes": path.stat().st_size, "sha256": file_sha256(path)} for name, path in files.items()}
        self._remove(target)  # the remains of an attempt that was killed
        for name, path in files.items():
            self.store.put(f"{target}/{name}", path)
        self.store.put(f"{target}/complete.json", canonical_json({"files": stored, "checksum": json_digest(stored)}))

    def checkpoints(self) -> list[int]:
        """Steps of the complete checkpoints, ascending."""
        parts = [path.split("/")[3:] for path in self.store.list(self._at("checkpoints"))]
        steps = [step for step, *name in parts if name == ["complete.json"]]
        return sorted(int(step) for step in steps if re.fullmatch(r"[0-9]{1,18}", step))

    @property
    def last_step(self) -> int:
        """Step of the last checkpoint; 0 without one."""
        return max(self.checkpoints(), default=0)

    def checkpoint(self, step: int) -> Path:
        """A local folder with the files of checkpoint `step`, checksums verified; UserError for a damaged one."""
        target = self._at(f"checkpoints/{step}")
        for name, sha256 in self._checkpoint_files(step).items():
            damaged = UserError(f"{self.id}: {name} of checkpoint {step} is damaged", "Use an earlier checkpoint")
            try:
                if file_sha256(self.store.local(f"{target}/{name}")) != sha256:
                    raise damaged
            except FileNotFoundError as error:
                raise damaged from error
        return self.store.local(f"{target}/complete.json").parent

    def _checkpoint_files(self, step: int) -> dict[str, str]:
        """Checksum of each file of checkpoint `step` by its name."""
        try:
            data = self.store.read(self._at(f"checkpoints/{step}/complete.json"))
        except FileNotFoundError as error:
            known = ", ".join(map(str, self.checkpoints())) or "none"
            raise UserError(f"{self.id} has no checkpoint {step}", f"It has {known}") from error
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
            plain = json.loads(data)
            if plain["checksum"] == json_digest(plain["files"]) and canonical_json(plain) == data:
                return {name: file["sha256"] for name, file in plain["files"].items()}
        raise UserError(f"{self.id}: the list of files of checkpoint {step} is damaged", "Use an earlier checkpoint")

    def _remove(self, checkpoint: str) -> None:
        """Remove the files below `checkpoint`, complete.json first, so that no half checkpoint is ever listed."""
        last = f"{checkpoint}/complete.json"
        for path in sorted(self.store.list(checkpoint), key=lambda path: path != last):
            self.store.delete(path)
        if self.store.is_local:
            shutil.rmtree(self.store.full(checkpoint), ignore_errors=True)


class Ledger:
    """Rows of a run that are not stored yet.

    `schemas` maps tables to their Arrow schemas. `flush` stores them in that order, so the table named last, `steps`,
    never holds a step whose other rows are missing. As a context manager it stores what was added however the block
    ends: the rows before an error are what explains it.
    """

    def __init__(self, run: RunDirectory, schemas: dict[str, pa.Schema]):
        self.run, self.schemas = run, schemas
        self._rows: dict[str, list[pa.Table]] = {table: [] for table in schemas}

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()

    def add(self, table: str, rows: list[dict[str, Any]] | pa.Table) -> None:
        """Keep rows for the next flush."""
        schema = self.schemas[table]
        given = pa.Table.from_pylist(rows, schema=schema) if isinstance(rows, list) else rows
        self._rows[table].append(given.select(schema.names).cast(schema))

    def flush(self) -> None:
        """Store what was added, one part per table."""
        for table, rows in self._rows.items():
            if rows:
                self.run.append(table, pa.concat_tables(rows))
                rows.clear()


def _parquet(rows: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(rows, sink, compression="zstd")
    return sink.getvalue()


def _record_bytes(record: dict[str, Any]) -> bytes:
    plain = without_nan(record)
    return json.dumps(plain, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False).encode()


def without_nan(value: Any) -> Any:
    """`value` with null for NaN and infinities (a diverged loss), which JSON and SQL over it cannot say."""
    match value:
        case float() if not math.isfinite(value):
            return None
        case dict():
            return {key: without_nan(item) for key, item in value.items()}
        case list() | tuple():
            return [without_nan(item) for item in value]
        case _:
            return value


def _load_record(store: Store, run_id: str) -> dict[str, Any]:
    """The record of a run; FileNotFoundError when there is none, UserError when it is not that of this run."""
    path, hint = f"runs/{run_id}/run.json", "Restore it, or remove the folder of the run"
    try:
        record = json.loads(store.read(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged", hint) from error
    if wrong := complaint(record, Run) or (f"it is that of {record['id']}" if record["id"] != run_id else None):
        raise UserError(f"{path} is damaged: {wrong}", hint)
    return record


def open_run(
    store: Store,
    kind: RunKind,
    manifests: Iterable[Manifest],
    config: BaseModel | dict[str, Any],
    backend: str,
    parent: RunDirectory | None = None,
    inputs: dict[str, str] | None = None,
    resume: bool = False,
) -> RunDirectory:
    """The run that this launch is: a new one, or the one begun before by the same launch. With `resume` the latter
    alone, and UserError when there is none.

    The ID covers kind, manifests' digests, the semantic part of `config` (a Recipe, or plain JSON taken whole),
    backend, parent and `inputs` (name → checksum of what is neither manifest nor run, such as a model folder).
    """
    manifests = list(manifests)
    identity = {
        "kind": kind,
        "manifests": [manifest.digest for manifest in manifests],
        "config": semantic(config) if isinstance(config, BaseModel) else config,
        "backend": backend,
        "parent": parent.id if parent else None,
        "inputs": inputs or {},
    }
    run_id = f"run-{json_digest(identity)[:12]}"
    with contextlib.suppress(FileNotFoundError):
        run = RunDirectory(store, _load_record(store, run_id))
        if store.is_local:
            refuse_links_out(store.root, run.path)
        return run
    if resume:
        raise UserError(
            f"nothing to resume: {run_id}, which this launch would be, was never begun in {store.url}",
            "Leave --resume out to begin it, or compare the recipe with that of `octo runs list`",
        )
    record = identity | {
        "id": run_id,
        "status": "created",
        "created": now(),
        "manifests": [{"id": m.id, "ref": m.ref, "digest": m.digest} for m in manifests],
        "config": config.model_dump(mode="json") if isinstance(config, BaseModel) else config,
        "provenance": provenance(),
    }
    run = RunDirectory(store, record)
    run._update()
    return run


def load_run(store: Store, ref: str) -> RunDirectory:
    """The run named by its ID or a unique prefix of it (with or without `run-`)."""
    wanted = ref if ref.startswith("run-") else f"run-{ref}"
    found = [record for record in load_runs(store) if record["id"].startswith(wanted)] if ref else []
    if not found:
        raise UserError(f"no run {ref!r} in {store.url}", "See `octo runs list`")
    if len(found) > 1:
        raise UserError(f"{ref} could be {', '.join(record['id'] for record in found)}", "Give more of the ID")
    return RunDirectory(store, found[0])


def load_runs(store: Store) -> list[dict[str, Any]]:
    """The record of every run, oldest first."""
    ids = [path.split("/")[1] for path in store.list("runs") if path.split("/")[2:] == ["run.json"]]
    records = [_load_record(store, run_id) for run_id in ids if RUN_ID.fullmatch(run_id)]
    return sorted(records, key=lambda record: (record["created"], record["id"]))
