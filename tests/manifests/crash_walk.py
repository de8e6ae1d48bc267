"""Started by test_crash.py: `python crash_walk.py URL STRIDE` dies at every STRIDE-th crash point of one piece of work.

The work: commit a second manifest, train a run (ledger, checkpoints, cutting back), collect garbage. Each attempt is a
process of its own, forked from this one, which opens no store itself and so forks no client of one. After each death:
the first manifest is readable and verifies, nothing torn is listed, a second try ends where an undisturbed run ends,
and garbage collection leaves only what is named. Prints the number of deaths.
"""

import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import fsspec
import pyarrow as pa

from manifests import store as stores
from manifests.manifest import Draft, Manifest, collect_garbage, load_all, resolve, verify
from manifests.provenance import provenance
from manifests.runs import load_run, load_runs, open_run
from manifests.store import CRASH_EXIT, Store

SCHEMA = pa.schema([("doc_id", pa.string()), ("n", pa.int64())])
STEPS = 4


def build(store: Store, version: str, rows: int) -> Manifest:
    draft = Draft(store, "corpus", {"rows": rows})
    table = pa.table({"doc_id": [f"d{i}" for i in range(rows)], "n": list(range(rows))}, SCHEMA)
    draft.write("documents", [table], SCHEMA, rows_per_file=4)
    draft.write_raw("tokens", {"a.ds": b"\1\2\3" * rows})
    return draft.commit("m", version)


def train(store: Store, manifest: Manifest) -> str:
    """A loop as a backend would write it: resume from the newest checkpoint, forget what came after it."""
    run = open_run(store, "train", [manifest], {"steps": STEPS}, "torch")
    if run.status == "done":
        return run.id
    run.start()
    done = max(run.checkpoints(), default=0)
    run.truncate(done)
    for step in range(done + 1, STEPS + 1):
        run.append("steps", pa.table({"step": pa.array([step], pa.int64()), "loss": [1 / step]}))
        if step > 1:
            run.save_checkpoint(step, lambda at, step=step: (at / "model").write_text(str(step)) and None, keep=2)
    run.append("steps", pa.table({"step": pa.array([STEPS + 1, STEPS + 2], pa.int64()), "loss": [0.0, 0.0]}))
    run.truncate(STEPS + 1)  # rewrites a part
    run.truncate(STEPS)  # removes one
    run.finish({"loss": 1 / STEPS})
    return run.id


def work(store: Store) -> tuple[str, str]:
    manifest = build(store, "2", 9)
    run = train(store, manifest)
    collect_garbage(store, 0)
    return manifest.id, run


def prepare(url: str) -> None:
    store = Store(url)
    build(store, "1", 5)
    store.put_object(b"orphan", ".bin")


def crash(url: str, point: int) -> None:
    prepare(url)
    stores._points_passed = 0
    os.environ["OCTO_CRASH_AT"] = str(point)
    work(Store(url))


def undisturbed(url: str, answer: str) -> None:
    prepare(url)
    Path(answer).write_text(json.dumps(work(Store(url))))


def check(url: str, expected: list[str]) -> None:
    """What must hold after a death, and then after a second try."""
    store = Store(url)
    assert verify(store, resolve(store, "m@1")) == []
    manifests, damaged = load_all(store)
    assert not damaged
    assert [problem for manifest in manifests for problem in verify(store, manifest)] == []
    for record in load_runs(store):
        run = load_run(store, record["id"])
        for step in run.checkpoints():
            assert (run.checkpoint(step) / "model").read_text() == str(step)
        run.table("steps")
    ids = work(store)
    assert [*ids] == expected
    assert resolve(store, "m@2").id == ids[0]
    run = load_run(store, ids[1])
    table = run.table("steps")
    assert table is not None
    assert table["step"].to_pylist() == [*range(1, STEPS + 1)]
    assert run.checkpoints()[-2:] == [
        STEPS - 1,
        STEPS,
    ]  # one more if death came between writing one and removing another
    collect_garbage(store, 0)
    named = {file.path for m in load_all(store)[0] for family in m.families for file in m.files(family)}
    named |= {"manifests/m/1.json", "manifests/m/2.json"}
    left = {path for path in store.list("") if path.split("/")[0] != "runs"}
    assert left == named, left ^ named
    kept = {f"runs/{run.id}/checkpoints/{n}/{name}" for n in run.checkpoints() for name in ("model", "complete.json")}
    assert {path for path in store.list("runs") if "/checkpoints/" in path} == kept


def forked(function: Callable[..., None], *arguments: object) -> int:
    """Exit status of `function` run in a process of its own."""
    sys.stdout.flush()
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    try:
        function(*arguments)
        status = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


def main(url: str, stride: int) -> int:
    provenance()  # done here once what each attempt would else do again: this, and imports by pyarrow and fsspec
    pa.table({"a": [1]})
    fsspec.get_filesystem_class(url.partition("://")[0] if "://" in url else "file")
    with tempfile.NamedTemporaryFile() as answer:
        assert forked(undisturbed, f"{url}/0", answer.name) == 0
        expected = json.loads(answer.read())
    point, deaths, status = 1, -1, CRASH_EXIT
    while status == CRASH_EXIT:
        here = f"{url}/{point}"
        status = forked(crash, here, point)
        assert status in (0, CRASH_EXIT), f"point {point}: exit {status}"
        assert forked(check, here, expected) == 0, f"after point {point}"
        point, deaths = point + stride, deaths + 1
    return deaths


if __name__ == "__main__":
    print(main(sys.argv[1], int(sys.argv[2])), "deaths", flush=True)
    os._exit(0)  # all is said; after many forks, threads of native libraries may abort the interpreter's own exit
