"""Manifests: committed once, found by every name, verified, launched only when whole, copied, collected."""

import json
import os
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import manifests.manifest
from manifests import tables
from manifests.errors import UserError
from manifests.manifest import (
    Draft,
    build_key,
    check_launch,
    collect_garbage,
    copy_manifest,
    find_built,
    load,
    load_all,
    record_bytes,
    resolve,
    tag,
    verify,
)
from manifests.runs import open_run
from manifests.store import Store


def test_a_manifest_reads_back_as_it_was_committed(store: Store, corpus):
    made = corpus(store)
    read = resolve(store, "math@1")
    assert read.id == made.id == f"corpus-{made.digest[:12]}"
    assert record_bytes(read) == record_bytes(made)
    assert read.read("documents")["doc_id"].to_pylist() == ["a1", "a2", "a3", "b1", "b2"]
    assert read.read("documents").schema.equals(tables.DOCUMENTS.schema)
    assert read.read("texts", ["text"]).column_names == ["text"]
    assert pa.Table.from_batches(read.scan("documents")).equals(read.read("documents").combine_chunks())
    assert [file.rows for file in read.files("documents")] == [3, 2]
    assert {name: path.read_bytes() for name, path in read.local("tokenizer").items()} == {
        "tokenizer.json": b'{"a": 1}',
        "merges": b"a b",
    }
    assert read.files("nothing") == ()
    assert verify(store, read) == []
    check_launch(store, read)


def test_a_family_without_rows_keeps_its_schema(folder: Store):
    draft = Draft(folder, "corpus", {})
    draft.write("quarantine", [], tables.QUARANTINE.schema)
    empty = draft.commit("empty", "1")
    assert empty.read("quarantine").schema.equals(tables.QUARANTINE.schema)
    assert verify(folder, empty) == []


@pytest.mark.parametrize("rows", [[], [0], [5], [0, 3, 4, 9], [2, 3], list(range(10))])
def test_some_rows_are_read_from_the_groups_that_hold_them(folder: Store, monkeypatch, rows: list[int]):
    monkeypatch.setattr(manifests.manifest, "ROWS_PER_BLOCK", 2)
    monkeypatch.setattr(manifests.manifest, "ROWS_PER_GROUP", 2)
    draft, read = Draft(folder, "corpus", {}), []
    table = pa.table({"n": range(10), "text": [f"text {n}" for n in range(10)]})
    draft.write("rows", [table], table.schema, rows_per_file=6)
    made = draft.commit("rows", "1")
    batches_of = pq.ParquetFile.iter_batches

    def watched(file, size, row_groups, columns):
        read.extend(row_groups)
        return batches_of(file, size, row_groups=row_groups, columns=columns)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", watched)
    batches = list(made.take("rows", ["n"], np.array(rows, np.int64)))
    assert [row for batch in batches for row in batch["n"].to_pylist()] == rows
    assert len(read) == len({row // 2 for row in rows})


def test_a_family_is_kept_as_it_is(store: Store, corpus):
    made = corpus(store)
    before = store.list("objects")
    draft = Draft(store, "corpus", {"seed": 2})
    for family in ("documents", "texts"):
        draft.keep(made, family)
    again = draft.commit("kept", "1")
    assert again.files("texts") == made.files("texts") and store.list("objects") == before
    assert again.id != made.id and verify(store, again) == []
    with pytest.raises(ValueError, match="already written"):
        draft.keep(made, "texts")


def test_a_raw_file_may_have_any_name_that_is_one_part_of_a_path(store: Store):
    draft = Draft(store, "mixture", {})
    for name in ("a/b.ds", "../b.ds", "/b.ds", "a\\b.ds", "", ".", "..", "a\0b", "x" * 129):
        with pytest.raises(ValueError, match="cannot name a file"):
            draft.write_raw("tokens", {name: b""})
    names = ["web pages.v1 ü.ds.index", "no suffix", ".hidden", "dot.", "x.é"]
    draft.write_raw("tokens", {name: name.encode() for name in names})
    draft.commit("odd", "1")
    read = resolve(store, "odd@1").local("tokens")
    assert {name: path.read_bytes().decode() for name, path in read.items()} == {name: name for name in names}


@pytest.mark.parametrize("family", ["tokenizer", "nothing"])
def test_a_family_that_is_no_table_is_named(folder: Store, corpus, family: str):
    with pytest.raises(UserError, match=f"math@1 .corpus. has no {family}. It has documents, texts, quarantine"):
        corpus(folder).read(family)
    with pytest.raises(UserError, match="has no"):
        list(corpus(folder).scan(family))


def test_committing_the_same_content_again_is_success(store: Store, corpus):
    first, second = corpus(store), corpus(store)
    assert record_bytes(first) == record_bytes(second)
    assert len(store.list("manifests")) == 1


def test_another_content_under_a_taken_name_is_refused(store: Store, corpus):
    first = corpus(store)
    with pytest.raises(UserError, match=f"math@1 already names {first.id}; this build made corpus-.* another version"):
        corpus(store, seed=2)
    assert resolve(store, "math@1").id == first.id


def test_a_manifest_is_found_by_name_id_and_unique_prefix(store: Store, corpus):
    one, two = corpus(store, "1"), corpus(store, "2", seed=2)
    for ref in ("math@1", one.id, one.id[:-4], one.digest[:8], one.digest):
        assert resolve(store, ref).id == one.id
    assert find_built(store, "key of 2", "corpus", two.recipe, []) == resolve(store, two.id)
    assert find_built(store, "another", "corpus", two.recipe, []) is None
    with pytest.raises(UserError, match=f"corpus- could be {min(one.id, two.id)}, {max(one.id, two.id)}"):
        resolve(store, "corpus-")
    with pytest.raises(UserError, match=r"no manifest math@3 .*math has versions 1, 2"):
        resolve(store, "math@3")
    with pytest.raises(UserError, match=r"no manifest 'math' .*: math@1, math@2"):
        resolve(store, "math")
    with pytest.raises(UserError, match="octo manifest list"):
        resolve(store, "")


def test_a_build_key_is_a_claim_and_held_against_what_is_asked_for(folder: Store, corpus):
    made = corpus(folder)
    key = made.build_key
    assert find_built(folder, key, "corpus", {"seed": 1}, []) == made
    assert find_built(folder, key, "corpus", {}, []) == made  # a build may add to the recipe what it worked out
    assert find_built(folder, key, "corpus", {"seed": 2}, []) is None
    assert find_built(folder, key, "corpus", {"seed": 1, "more": 1}, []) is None
    assert find_built(folder, key, "mixture", {"seed": 1}, []) is None
    assert find_built(folder, key, "corpus", {"seed": 1}, [made]) is None


def test_two_contents_that_share_an_id_are_told_apart(folder: Store, corpus, monkeypatch):
    one, two = corpus(folder), corpus(folder, "2", seed=2)
    monkeypatch.setattr(manifests.manifest, "load_all", lambda _: ([one, replace(two, id=one.id)], []))
    with pytest.raises(UserError, match="is the ID of 2 manifests"):
        resolve(folder, one.id)
    assert resolve(folder, one.digest) == one


@pytest.mark.parametrize("ref", ["../x@1", "x@../1", "x@", "@1", "a/b@1", "x@1/2", ".x@1", "x\n@1"])
def test_a_name_that_could_leave_its_folder_is_refused(folder: Store, ref: str):
    with pytest.raises(UserError, match="cannot name a manifest"):
        resolve(folder, ref)
    name, _, version = ref.partition("@")
    with pytest.raises(UserError, match="cannot name a manifest"):
        Draft(folder, "corpus", {}).commit(name, version)


def test_a_tag_adds_a_name_and_moves_none(store: Store, corpus):
    one, two = corpus(store, "1"), corpus(store, "2", seed=2)
    assert tag(store, one.id, "paper", "final").id == one.id
    assert tag(store, "math@1", "paper", "final").ref == "paper@final"
    with pytest.raises(UserError, match="already names"):
        tag(store, two.ref, "paper", "final")
    assert verify(store, resolve(store, "paper@final")) == []


def rewrite(store: Store, ref: str, **changes: object) -> None:
    """Forge a record whose own checksum is right."""
    manifest = resolve(store, ref)
    path = f"manifests/{manifest.name}/{manifest.version}.json"
    plain = json.loads(record_bytes(manifest))
    plain.pop("checksum")
    from manifests.identity import canonical_json, json_digest

    plain |= changes
    store.put(path, canonical_json(plain | {"checksum": json_digest(plain)}))


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "corpus-000000000000"},
        {"name": "other"},
        {"version": "2"},
        {"format": 2},
        {"families": {"t": {"format": "raw", "identity": True, "rows": 0, "schema": [], "columns": {}, "files": [
            {"name": "x", "path": "../../etc/passwd", "sha256": "0" * 64, "bytes": 1, "rows": 0}]}}},
    ],
)  # fmt: skip
def test_a_record_that_could_not_have_been_written_there_is_refused(folder: Store, corpus, changes: dict):
    corpus(folder)
    rewrite(folder, "math@1", **changes)
    with pytest.raises(UserError, match=r"is damaged|format 2"):
        resolve(folder, "math@1")


@pytest.mark.parametrize(
    "changes", [{"recipe": {"seed": 9}}, {"parents": ["corpus-0123456789ab"]}, {"kind": "prompts"}]
)
def test_a_forged_record_is_not_read_verified_or_launched(folder: Store, corpus, changes: dict):
    original = corpus(folder)
    if "kind" in changes:
        changes = changes | {"id": f"prompts-{original.digest[:12]}"}
    rewrite(folder, "math@1", **changes)
    with pytest.raises(UserError, match=r"record manifests/math/1\.json is damaged: digest .*, content "):
        resolve(folder, "math@1")
    assert load_all(folder) == ([], ["manifests/math/1.json"])
    assert any("digest" in problem for problem in verify(folder, original))
    with pytest.raises(UserError, match="Nothing was launched"):
        check_launch(folder, original)


def test_another_record_in_its_place_does_not_launch(folder: Store, corpus):
    original, other = corpus(folder), corpus(folder, "2", seed=2)
    folder.put("manifests/math/1.json", record_bytes(replace(other, version="1")))
    with pytest.raises(UserError, match="has changed since it was read"):
        check_launch(folder, original)


def test_a_launch_is_refused_with_what_differs(store: Store, corpus):
    manifest = corpus(store)
    file = manifest.files("documents")[0]
    data = store.read(file.path)
    store.put(file.path, data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(UserError, match=f"{file.path}: checksum differs.*octo manifest verify math@1"):
        check_launch(store, manifest)
    store.put(file.path, data[:-1])
    with pytest.raises(UserError, match=f"{file.path}: {file.bytes - 1} bytes, not {file.bytes}"):
        check_launch(store, manifest, hash_bytes=0)
    store.delete(file.path)
    with pytest.raises(UserError, match=f"{file.path}: missing"):
        check_launch(store, manifest)
    store.put(file.path, data)
    check_launch(store, manifest)
    store.delete("manifests/math/1.json")
    with pytest.raises(UserError, match=r"record manifests/math/1\.json is missing"):
        check_launch(store, manifest)


def test_building_again_repairs_a_damaged_file(store: Store, corpus):
    manifest = corpus(store)
    file = manifest.files("documents")[0]
    store.put(file.path, b"\0" * file.bytes)
    assert verify(store, manifest)
    corpus(store)
    assert verify(store, manifest) == []


# -- one flipped byte ----------------------------------------------------------------------------------------------


def flipped(data: bytes, position: int, mask: int) -> bytes:
    return data[:position] + bytes([data[position] ^ mask]) + data[position + 1 :]


def test_one_flipped_byte_anywhere_is_found(store: Store, corpus, mixture, record_property):
    """Every file of every family, records and checkpoints; the first and last byte and random ones of each."""
    source = corpus(store)
    made = mixture(store, source, [("a1", "web", 11), ("b1", "qa", 6)])
    run = open_run(store, "train", [made], {"lr": 1}, "torch")
    run.save_checkpoint(5, lambda at: (at / "model.safetensors").write_bytes(random.Random(0).randbytes(3000)) and None)
    rng, flips = random.Random(7), 0
    paths = [
        path for path in store.list("") if path.split("/")[0] in ("objects", "manifests") or "/checkpoints/" in path
    ]
    assert len(paths) == len(store.list("objects")) + 2 + 2
    for path in paths:
        data = store.read(path)
        chosen = {rng.randrange(len(data)) for _ in range(20 if store.is_local else 1)}
        for position in chosen | ({0, len(data) - 1} if store.is_local else set()):
            store.put(path, flipped(data, position, 1 << rng.randrange(8)))
            flips += 1
            if "/checkpoints/" in path:
                with pytest.raises(UserError, match="damaged"):
                    run.checkpoint(5)
            else:
                broken = next((m for m in (source, made) if verify(store, m)), None)
                assert broken, f"{path}: byte {position} flipped and not found"
                with pytest.raises(UserError, match="Nothing was launched"):
                    check_launch(store, broken)
            if path.startswith("manifests/"):
                with pytest.raises(UserError, match="damaged"):
                    load(store, *path.removesuffix(".json").split("/")[1:])
        store.put(path, data)
    assert verify(store, source) == verify(store, made) == []
    assert run.checkpoint(5).is_dir()
    record_property("flips", flips)
    print(f"{flips} flips over {len(paths)} files")
    assert flips >= (200 if store.is_local else len(paths))


# -- keeping house -------------------------------------------------------------------------------------------------


def test_garbage_collection_takes_orphans_and_nothing_else(store: Store, corpus):
    manifest = corpus(store)
    run = open_run(store, "train", [manifest], {}, "torch")
    run.save_checkpoint(1, lambda at: (at / "model").write_text("x") and None)
    orphan = store.put_object(b"orphan", ".bin").path
    torn = f"runs/{run.id}/checkpoints/2/model"
    store.put(torn, b"half")
    store.put("tmp/left", b"over")
    before = store.list("")
    assert collect_garbage(store) == []
    expected = sorted([orphan, torn, "tmp/left"])
    assert collect_garbage(store, 0, dry_run=True) == expected
    assert store.list("") == before
    assert collect_garbage(store, 0) == expected
    assert sorted({*before} - {*store.list("")}) == expected
    assert verify(store, manifest) == []
    assert run.checkpoints() == [1]


def test_garbage_collection_refuses_while_a_record_is_damaged(store: Store, corpus):
    corpus(store)
    store.put("manifests/math/1.json", b"{}")
    with pytest.raises(UserError, match=r"damaged records: manifests/math/1\.json"):
        collect_garbage(store, 0)
    with pytest.raises(UserError, match="1 damaged record"):
        resolve(store, "corpus")


def test_a_working_folder_stays_while_any_file_in_it_is_young(folder: Store):
    for build, ages in (("live", [100_000, 0]), ("dead", [100_000, 200_000])):
        for number, age in enumerate(ages):
            path = folder.scratch(build) / f"part{number}"
            path.write_text("")
            os.utime(path, (path.stat().st_atime, path.stat().st_mtime - age))
    assert collect_garbage(folder) == ["work/dead/part0", "work/dead/part1"]


def test_a_manifest_is_copied_between_stores(store: Store, corpus, tmp_path: Path):
    manifest, other = corpus(store), Store(tmp_path / "other")
    copied = copy_manifest(manifest, other)
    assert copied.id == manifest.id
    assert verify(other, copied) == []
    assert verify(store, manifest) == []
    assert other.list("objects") == store.list("objects")
    assert copy_manifest(copied, store).id == manifest.id  # and back
    other.delete(manifest.files("texts")[0].path)
    assert verify(other, copy_manifest(manifest, other)) == []


def test_a_damaged_file_is_not_copied(folder: Store, corpus, tmp_path: Path):
    manifest, other = corpus(folder), Store(tmp_path / "other")
    file = manifest.files("texts")[0]
    folder.put(file.path, b"\0" * file.bytes)
    with pytest.raises(UserError, match=r"is damaged\. Nothing was published"):
        copy_manifest(manifest, other)
    assert other.list("manifests") == []


# -- what a draft refuses ------------------------------------------------------------------------------------------


def test_a_draft_refuses_what_could_not_be_verified(folder: Store):
    draft = Draft(folder, "corpus", {})
    with pytest.raises(ValueError, match="Parquet does not keep the type of when"):
        draft.write("documents", [], pa.schema([("when", pa.timestamp("s"))]))
    with pytest.raises(ValueError, match="null"):
        strict = pa.schema([pa.field("a", pa.string(), nullable=False)])
        draft.write("documents", [pa.table({"a": ["x", None]})], strict)
    draft.write("documents", [], tables.DOCUMENTS.schema)
    with pytest.raises(ValueError, match="already written"):
        draft.write("documents", [], tables.DOCUMENTS.schema)
    with pytest.raises(TypeError, match="no canonical form"):
        Draft(folder, "corpus", {"paths": {1, 2}})
    with pytest.raises(ValueError, match="unknown kind"):
        Draft(folder, "thing", {})
    assert folder.list("") == [path for path in folder.list("") if path.startswith("objects/")]


def test_a_build_key_depends_on_inputs_not_on_their_order(folder: Store, corpus):
    parent = corpus(folder)
    keys = {
        build_key("mixture", {}, [parent], [("a", "1"), ("b", "2")]),
        build_key("mixture", {}, [parent.id], [("b", "2"), ("a", "1")]),
    }
    assert len(keys) == 1
    assert build_key("mixture", {}, [parent], [("a", "2"), ("b", "1")]) not in keys
