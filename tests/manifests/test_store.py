"""A file is seen whole or not at all, and of two writers of one name one wins; on a folder and on S3."""

import hashlib
import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import pytest

from manifests.errors import UserError
from manifests.store import Store


def test_what_was_put_is_read_listed_replaced_and_deleted(store: Store):
    store.put("manifests/a/1.json", b"one")
    store.put("manifests/ab/1.json", b"other")
    store.put("manifests/a/1.json", b"two")
    assert store.read("manifests/a/1.json") == b"two"
    assert store.size("manifests/a/1.json") == 3
    assert store.list("manifests/a") == ["manifests/a/1.json"]
    assert store.list("manifests") == ["manifests/a/1.json", "manifests/ab/1.json"]
    assert store.list("nothing") == []
    with store.open("manifests/a/1.json") as file:
        assert file.read() == b"two"
    store.delete("manifests/a/1.json")
    assert not store.exists("manifests/a/1.json")
    with pytest.raises(FileNotFoundError):
        store.read("manifests/a/1.json")
    with pytest.raises(FileNotFoundError):
        store.size("manifests/a/1.json")


def test_an_object_is_named_by_its_checksum_and_a_file_is_moved(store: Store, tmp_path: Path):
    source = tmp_path / "tokens.ds"
    source.write_bytes(b"tokens" * 100)
    blob = store.put_object(source, ".ds")
    digest = hashlib.sha256(b"tokens" * 100).hexdigest()
    assert (blob.path, blob.sha256, blob.bytes) == (f"objects/{digest[:2]}/{digest}.ds", digest, 600)
    assert not source.exists()
    assert store.sha256(blob.path) == digest
    assert store.local(blob.path).read_bytes() == b"tokens" * 100
    assert store.put_object(b"tokens" * 100, ".ds") == blob


def test_putting_an_object_again_repairs_it(store: Store):
    blob = store.put_object(b"content", "")
    store.put(blob.path, b"c0ntent")
    assert store.put_object(b"content", "") == blob
    assert store.read(blob.path) == b"content"


def test_a_link_to_a_file_is_copied_not_moved(folder: Store, tmp_path: Path):
    (tmp_path / "cache").write_bytes(b"shared")
    (tmp_path / "link").symlink_to(tmp_path / "cache")
    blob = folder.put_object(tmp_path / "link", "")
    assert not Path(folder.full(blob.path)).is_symlink()
    assert (tmp_path / "cache").read_bytes() == folder.read(blob.path) == b"shared"


def test_links_to_folders_are_not_followed(folder: Store, tmp_path: Path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "precious").write_bytes(b"")
    (folder.scratch("build") / "input").symlink_to(tmp_path / "data")
    assert folder.list("work") == []


def test_a_local_copy_of_a_damaged_object_is_refused(s3_store: Store):
    blob = s3_store.put_object(b"content", ".bin")
    s3_store.put(blob.path, b"c0ntent")
    with pytest.raises(UserError, match="checksum differs"):
        s3_store.local(blob.path)


def test_of_many_writers_at_once_one_wins(store: Store):
    for attempt in range(5):
        path = f"manifests/m/{attempt}.json"
        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(lambda i, path=path: store.put_once(path, b"%d" % i), range(8)))
        assert won.count(True) == 1
        assert store.read(path) == b"%d" % won.index(True)


def _race(url: str, writer: int, barrier, results) -> None:
    store = Store(url)
    for attempt in range(20):
        barrier.wait()
        results.put((attempt, writer, store.put_once(f"manifests/m/{attempt}.json", b"%d" % writer)))


def test_of_two_processes_one_wins(folder: Store):
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(2), context.Queue()
    writers = [context.Process(target=_race, args=(folder.url, i, barrier, results)) for i in range(2)]
    for writer in writers:
        writer.start()
    outcomes = [results.get(timeout=30) for _ in range(40)]
    for writer in writers:
        writer.join()
    winners = {attempt: writer for attempt, writer, won in outcomes if won}
    assert sum(won for *_, won in outcomes) == len(winners) == 20
    assert all(folder.read(f"manifests/m/{attempt}.json") == b"%d" % writer for attempt, writer in winners.items())
    assert folder.list("tmp") == []


def test_a_file_system_that_only_looks_before_it_writes_gets_no_records(tmp_path: Path):
    class Naive(fsspec.AbstractFileSystem):
        protocol = "naive"

    store = Store(tmp_path)
    store.fs, store.is_local = Naive(), False
    with pytest.raises(UserError, match="cannot create a file exclusively"):
        store.put_once("manifests/m/1.json", b"")


def test_a_refusal_that_names_no_condition_is_still_a_lost_race(s3_store: Store, monkeypatch: pytest.MonkeyPatch):
    """As some S3-compatible stores answer: 412 without saying which condition failed, or 409 while another writes."""
    answers = ["ConditionalRequestConflict", "PreconditionFailed"]

    def refuse(*_: object, **__: object) -> None:
        error = OSError("refused")
        error.__cause__ = Exception()
        error.__cause__.response = {"Error": {"Code": answers.pop(0)}}  # type: ignore[attr-defined]
        raise error

    monkeypatch.setattr(s3_store.fs, "pipe_file", refuse)
    assert s3_store.put_once("manifests/m/1.json", b"") is False
    assert answers == []


def test_a_working_folder_stays_and_a_temporary_one_goes(store: Store):
    (store.scratch("build") / "half").write_text("done")
    assert (store.scratch("build") / "half").read_text() == "done"
    with store.temporary() as folder:
        (folder / "part").write_text("")
    assert not folder.exists()


def test_the_store_is_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OCTO_STORE", str(tmp_path / "s"))
    assert Store.default().url == str(tmp_path / "s")
    monkeypatch.delenv("OCTO_STORE")
    monkeypatch.chdir(tmp_path)
    assert Store.default().url == str(tmp_path / "store")


def test_a_crash_point_ends_the_process_and_leaves_no_half_file(tmp_path: Path):
    program = "import sys; from manifests.store import Store; Store(sys.argv[1]).put('runs/r/x', b'12345678')"
    for point in range(1, 10):
        command = [sys.executable, "-c", program, str(tmp_path)]
        environment = os.environ | {"OCTO_CRASH_AT": str(point), "PYTHONPATH": str(Path(__file__).parents[2])}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        written = Store(tmp_path).list("runs")
        if done.returncode == 0:
            break
        assert done.returncode == 86
        assert done.stderr.startswith(f"crash point {point}: ")
        assert not written or Store(tmp_path).read("runs/r/x") == b"12345678"
    assert (point, done.returncode) == (5, 0)


def test_of_two_that_build_the_same_one_is_told(store: Store):
    with store.alone("build") as folder:
        (folder / "part").write_text("1")
        with pytest.raises(UserError, match="another process is building the same"), store.alone("build"):
            pass
        with store.alone("other"):
            pass
    with store.alone("build") as folder:
        assert (folder / "part").read_text() == "1"
