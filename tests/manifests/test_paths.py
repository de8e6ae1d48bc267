"""Names from data: every string field of every record given hostile names, and the one function that makes paths."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from manifests.catalog import Catalog
from manifests.errors import UserError
from manifests.exports.exchange import copy
from manifests.identity import canonical_json, json_digest
from manifests.manifest import _parse_family as parse_family
from manifests.manifest import (
    collect_garbage,
    content_digest,
    find_built,
    id_of,
    load_all,
    parse_record,
    record_bytes,
    resolve,
    verify,
)
from manifests.paths import FileName, Name, below, fault, refuse_links_out
from manifests.record import complaint
from manifests.runs import load_runs, open_run
from manifests.store import Store

HOSTILE = [
    "..", ".", "", "/", "//", "../x", "../../../../home/.bashrc", "/etc/passwd", "a/../../b", "a/b", "a\\b", "..\\x",
    "C:\\x\\y", "x\0y", "x\ny", "x\x1b[2Jy", "\x7f", "x\u2028y", "x\x85y", "a" * 300, "é" * 200, "~/../..", "./x", "x/",
    "..//x", "\ud800",
]  # fmt: skip
PART = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=12), st.text("./\\~\0 a", min_size=1, max_size=9))


@given(st.lists(PART, max_size=4))
def test_every_path_is_below_its_root_or_refused(names: list[str]):
    root = "/nonexistent/root"
    try:
        path = below(root, *names)
    except UserError as error:
        assert "\n" not in str(error) and len(str(error)) < 400
        assert any(map(fault, names))
        return
    assert Path(os.path.normpath(path)) == path and path.parts[: len(names) + 3][3:] == tuple(names)
    assert os.path.commonpath([root, os.path.normpath(path)]) == root


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_refused_everywhere(name: str, tmp_path: Path):
    store = Store(tmp_path / "store")
    with pytest.raises(UserError):
        below(tmp_path, name)
    for made in (f"runs/{name}/x", f"objects/{name}", f"{name}/x") if name != "a/b" else ():
        for use in (store.full, store.uri, store.exists, store.read, store.list, store.local, store.delete):
            with pytest.raises(UserError):
                use(made)
        for write in (lambda path: store.put(path, b"x"), lambda path: store.put_once(path, b"x")):
            with pytest.raises(UserError):
                write(made)
    with pytest.raises(UserError):
        store.scratch(name)
    for kind in (Name, FileName):
        with pytest.raises((ValidationError, UnicodeEncodeError)):
            TypeAdapter(kind).validate_python(name)
    assert list(tmp_path.rglob("*")) == []


def test_honest_names_are_taken(tmp_path: Path):
    for name in ("finemath", "web pages", "Français", "数学", "a.b-c_d", ".hidden", "x..y", "finemath[4+]"):
        assert below(tmp_path, "data", name) == tmp_path / "data" / name
        assert TypeAdapter(FileName).validate_python(name) == name


def test_a_link_out_of_the_root_is_not_followed(tmp_path: Path):
    store, outside = Store(tmp_path / "store"), tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    store.put("runs/real/x", b"x")
    root = Path(store.root)
    (root / "runs/out").symlink_to(outside)
    (root / "runs/real/file").symlink_to(outside / "secret")
    (root / "runs/real/new").symlink_to(outside / "new")
    (root / "runs/loop").symlink_to(root / "runs/loop")
    (root / "runs/within").symlink_to(root / "runs/real")
    assert store.read("runs/within/x") == b"x"
    for path in ("runs/out/secret", "runs/out/new", "runs/real/file", "runs/real/new", "runs/loop", "runs/loop/x"):
        for use in (store.read, store.open, store.local, store.delete, store.exists, store.size):
            with pytest.raises(UserError, match="symbolic link"):
                use(path)
        with pytest.raises(UserError, match="symbolic link"):
            store.put(path, b"overwritten")
        with pytest.raises(UserError, match="symbolic link"):
            store.put_once(path, b"overwritten")
    assert {path.name: path.read_bytes() for path in outside.iterdir()} == {"secret": b"secret"}
    with pytest.raises(UserError, match="leads out"):
        refuse_links_out(root, root / "runs")
    (root / "tmp").rename(root / "elsewhere")
    (root / "tmp").symlink_to(outside)
    with pytest.raises(UserError, match="symbolic link"):
        store.put("runs/r/x", b"x")


@pytest.fixture
def spread(tmp_path: Path) -> Iterator[Store]:
    """A store whose `objects` and `runs` are links to folders on another file system, where there is one."""
    store = Store(tmp_path / "store")
    Path(store.root).mkdir()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as disk:
        for name in ("objects", "runs"):
            (Path(disk) / f"big-{name}").mkdir()
            (Path(store.root) / name).symlink_to(Path(disk) / f"big-{name}")
        yield store


def test_objects_and_runs_may_lie_on_another_disk(spread: Store, corpus, tmp_path: Path):
    made = corpus(spread)
    assert verify(spread, made) == []
    run = open_run(spread, "train", [made], {}, "torch")

    def write(folder: Path) -> None:
        assert (
            folder.parent == Path(spread.root) / "runs" / "tmp"
        )  # checkpoints never pass through the store's own disk
        (folder / "model").write_text("x")

    run.save_checkpoint(5, write)
    assert spread.free_bytes("runs") == pytest.approx(
        shutil.disk_usage(os.path.realpath(spread.full("runs"))).free, rel=0.5
    )
    run.append("steps", pa.table({"step": [1], "loss": [2.0]}))
    again = open_run(spread, "train", [made], {}, "torch")
    assert again.checkpoints() == [5] and again.checkpoint(5).joinpath("model").read_text() == "x"
    with Catalog(spread) as catalog:
        assert catalog.query("SELECT count(*) AS n FROM documents").to_pylist()[0]["n"] > 0
        assert catalog.query("SELECT run, loss FROM steps").to_pylist() == [{"run": run.id, "loss": 2.0}]
    assert spread.put_once("runs/x", b"1") and not spread.put_once("runs/x", b"2")
    other = Store(tmp_path / "other")
    copy(spread, made.ref, other)
    assert verify(other, resolve(other, made.ref)) == []
    assert collect_garbage(spread, 0) == []


def test_a_link_below_a_linked_folder_may_not_lead_out(spread: Store, corpus, tmp_path: Path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    run = open_run(spread, "train", [corpus(spread)], {}, "torch")
    (Path(spread.root) / "objects" / "out").symlink_to(tmp_path)
    (run.path / "engine").symlink_to(tmp_path)
    for use in (spread.read, spread.delete, spread.exists, lambda path: spread.put(path, b"x")):
        with pytest.raises(UserError, match="symbolic link"):
            use("objects/out/secret")
    with pytest.raises(UserError, match="leads out of"):
        open_run(spread, "train", [corpus(spread)], {}, "torch")
    with Catalog(spread) as catalog, pytest.raises(UserError, match="Cannot access file"):
        catalog.query(f"FROM read_text('{secret}')")
    (run.path / "engine").unlink()
    (run.path / "data").symlink_to(Path(spread.root) / "objects")
    assert open_run(spread, "train", [corpus(spread)], {}, "torch").id == run.id
    assert secret.read_text() == "secret"


def test_garbage_collection_leaves_what_lay_in_a_linked_folder(spread: Store, corpus):
    corpus(spread)
    theirs = ("objects/thesis.txt", "objects/ab/notes.txt", "objects/tmp/notes", "runs/llama/checkpoints/1/model")
    for path in theirs:
        Path(spread.full(path)).parent.mkdir(parents=True, exist_ok=True)
        Path(spread.full(path)).write_text("theirs")
    left = [f"objects/tmp/{'0' * 32}", "runs/tmp/octo-abc/model", "runs/tmp/octo-abc/more/model"]
    for path in left:
        Path(spread.full(path)).parent.mkdir(parents=True, exist_ok=True)
        Path(spread.full(path)).write_text("half")
    orphan = spread.put_object(b"orphan", ".bin").path
    assert collect_garbage(spread, 0) == sorted([*left, orphan])
    assert all(spread.exists(path) for path in theirs)


@pytest.mark.parametrize("name", ["objects", "runs"])
def test_a_linked_folder_that_is_not_mounted_is_an_error_of_one_line(name: str, tmp_path: Path):
    store = Store(tmp_path / "store")
    Path(store.root).mkdir()
    (Path(store.root) / name).symlink_to(tmp_path / "not mounted")
    for use in (store.list, store.exists, lambda path: store.put(f"{path}/x", b"x")):
        with pytest.raises(UserError, match=r"not mounted, where there is no folder"):
            use(name)
    assert not (tmp_path / "not mounted").exists()


@pytest.mark.parametrize("name", ["manifests", "tmp", "work"])
def test_other_folders_of_a_store_are_no_links(name: str, tmp_path: Path):
    store, outside = Store(tmp_path / "store"), tmp_path / "outside"
    for folder in (store.root, outside):
        Path(folder).mkdir()
    (Path(store.root) / name).symlink_to(outside)
    with pytest.raises(UserError, match="symbolic link"):
        store.full(f"{name}/x")
    with pytest.raises(UserError, match="symbolic link"):
        store.list(name)


def test_a_working_folder_with_a_link_out_is_not_built_in(folder: Store, tmp_path: Path):
    (folder.scratch("mix-1") / "web.ds").symlink_to(tmp_path / ".bashrc")
    with pytest.raises(UserError, match="leads out of"), folder.alone("mix-1"):
        pass
    assert not (tmp_path / ".bashrc").exists()


def test_what_is_no_regular_file_is_not_read(folder: Store, corpus):
    """A pipe in a store that somebody else packed would be read for ever."""
    corpus(folder)
    os.mkfifo(folder.full("manifests/math/2.json"))
    assert load_all(folder)[1] == ["manifests/math/2.json"]
    with pytest.raises(UserError, match="no manifest math@2"):
        resolve(folder, "math@2")


def test_a_record_of_several_gigabytes_is_not_read(folder: Store, corpus):
    corpus(folder)
    path = Path(folder.full("manifests/math/2.json"))
    path.touch()
    os.truncate(path, 8 << 30)
    with pytest.raises(UserError, match="larger than"):
        resolve(folder, "math@2")
    assert load_all(folder)[1] == ["manifests/math/2.json"]


def test_an_empty_record_is_damaged(store: Store, corpus):
    corpus(store)
    store.put("manifests/math/2.json", b"")
    assert [m.ref for m in load_all(store)[0]] == ["math@1"] and load_all(store)[1] == ["manifests/math/2.json"]


# -- every field of every record -------------------------------------------------------------------------------------


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """Every place in a JSON value."""
    yield path
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(item, (*path, key))


def replaced(value: Any, path: tuple, new: Any) -> Any:
    """`value` with what stands at `path` replaced; of a dictionary's key with another key."""
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(copy[path[0]], path[1:], new)
    return copy


def sealed(plain: dict[str, Any], honest: bool) -> bytes:
    """A record of `plain` with a right checksum, and with the digest and ID that belong to what it says if `honest`."""
    if honest:
        families = {name: parse_family(family) for name, family in plain["families"].items()}
        plain = plain | {"digest": content_digest(plain["kind"], plain["parents"], plain["recipe"], families)}
        plain |= {"id": id_of(plain["kind"], plain["digest"])}
    return canonical_json(plain | {"checksum": json_digest(plain)})


def test_every_string_field_of_a_record_refuses_or_is_never_a_path(folder: Store, corpus, mixture):
    records = [corpus(folder), mixture(folder, corpus(folder), [("a1", "web", 11)])]
    seen = 0
    for manifest in records:
        plain = json.loads(record_bytes(manifest))
        plain.pop("checksum")
        for number, place in enumerate(places(plain)):
            for name in HOSTILE[number % 9 : -1 : 9]:  # others at the next place
                for forged in forgeries(plain, place, name):
                    seen += 1
                    check_harmless(folder, forged, name)
    assert seen > 500


def forgeries(plain: dict[str, Any], place: tuple, name: str) -> Iterator[bytes]:
    value = plain
    for key in place:
        value = value[key]
    changed = []
    if isinstance(value, str | None):
        changed.append(replaced(plain, place, name))
    if isinstance(value, dict) and value:
        changed.append(replaced(plain, place, {name: next(iter(value.values()))}))
    for new in changed:
        yield sealed(new, honest=False)
        try:
            yield sealed(new, honest=True)
        except (KeyError, TypeError, ValueError, AttributeError):
            continue


def check_harmless(store: Store, data: bytes, name: str) -> None:
    plain = json.loads(data)
    try:
        manifest = parse_record(store, data, f"manifests/{plain.get('name')}/{plain.get('version')}.json")
    except UserError as error:
        assert "\n" not in str(error) and "\x1b" not in str(error)
        return
    named = [manifest.name, manifest.version, manifest.kind, manifest.id, *manifest.parents, *manifest.families]
    named += [file.name for family in manifest.families.values() for file in family.files if file.name]
    assert name not in named
    for family in manifest.families.values():
        for file in family.files:
            assert below(store.root, *file.path.split("/"))


@pytest.mark.parametrize("number", [-1, 2**63, 1.5, True, "1", None, [], 10**400])
@pytest.mark.parametrize("field", ["bytes", "rows", "family rows", "records", "free"])
def test_counts_are_whole_and_not_negative(folder: Store, corpus, field: str, number: Any):
    plain = json.loads(record_bytes(corpus(folder)))
    [plain.pop(name) for name in ("checksum", "format")]
    file = plain["families"]["documents"]["files"][0]
    match field:
        case "bytes" | "rows":
            file[field] = number
        case "family rows":
            plain["families"]["documents"]["rows"] = number
        case "records":
            plain["counts"]["inputs"]["web"]["records"] = number
        case "free":
            plain["counts"]["anything"] = {"deep": [number]}
    allowed = field == "free" and (number in (1.5, "1", None, []) or number is True)
    assert (complaint(plain) is None) == allowed


def test_a_record_that_is_too_deep_is_damaged(folder: Store):
    deep = b'{"checksum":"x","recipe":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    with pytest.raises(UserError, match="is damaged"):
        parse_record(folder, deep, "manifests/x/1.json")


# -- runs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in HOSTILE if "\ud800" not in name])
@pytest.mark.parametrize("field", ["id", "parent", "manifest"])
def test_a_run_says_no_name_but_its_own(folder: Store, corpus, field: str, name: str):
    run = open_run(folder, "train", [corpus(folder)], {}, "torch")
    record = json.loads(folder.read(f"runs/{run.id}/run.json"))
    if field == "manifest":
        record["manifests"][0]["id"] = name
    else:
        record[field] = name
    folder.put(f"runs/{run.id}/run.json", json.dumps(record).encode())
    with pytest.raises(UserError, match=r"run\.json is damaged"):
        load_runs(folder)


def test_what_does_not_belong_to_a_run_is_not_read_as_its_own(folder: Store, corpus):
    run = open_run(folder, "train", [corpus(folder)], {}, "torch")
    for path in ("../x", "evil"):
        folder.put(f"runs/{run.id}/checkpoints/{path.replace('../', '')}/complete.json", b"{}")
    for step in ("-1", "1_0", "٣", " 5", "1e3"):
        folder.put(f"runs/{run.id}/checkpoints/{step}/complete.json", b"{}")
    folder.put(f"runs/{run.id}/steps.parquet/stray.parquet", b"no parquet")
    folder.put("runs/elsewhere/run.json", b"{}")
    assert run.checkpoints() == [] and run.table("steps") is None
    run.truncate(0)
    assert [record["id"] for record in load_runs(folder)] == [run.id]


@pytest.mark.parametrize("name", ["../../../../secret", "/secret", "a/../../x", "", "x\0"])
def test_a_checkpoint_names_files_of_its_own(folder: Store, corpus, name: str):
    run = open_run(folder, "train", [corpus(folder)], {}, "torch")
    run.save_checkpoint(1, lambda folder: (folder / "weights").write_bytes(b"x") and None)
    files = {name: {"bytes": 1, "sha256": "0" * 64}}
    listed = canonical_json({"files": files, "checksum": json_digest(files)})
    folder.put(f"runs/{run.id}/checkpoints/1/complete.json", listed)
    with pytest.raises(UserError):
        run.checkpoint(1)


def test_a_run_with_a_link_out_of_the_store_is_not_launched(folder: Store, corpus, tmp_path: Path):
    run = open_run(folder, "train", [corpus(folder)], {}, "torch")
    (run.path / "engine").symlink_to(tmp_path)
    with pytest.raises(UserError, match="leads out of"):
        open_run(folder, "train", [corpus(folder)], {}, "torch")


def test_a_key_finds_only_what_was_built_here(folder: Store, corpus, tmp_path: Path):
    from manifests.exports.exchange import copy

    made, other = corpus(folder), Store(tmp_path / "other")
    copied = copy(folder, made.ref, other)[0].manifest
    assert copied.id == made.id and copied.build_key == ""
    assert find_built(folder, made.build_key, "corpus", made.recipe, []) == made
    assert find_built(other, made.build_key, "corpus", made.recipe, []) is None
