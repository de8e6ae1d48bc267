"""Copies between stores: whole, the same ID, only what is missing, nothing where it cannot end well."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from loopback_hub import Hub, served

import manifests
from manifests.errors import UserError
from manifests.exports.exchange import copy, lacking
from manifests.manifest import load_all, tag, verify
from manifests.store import CRASH_EXIT, Store

ROOT = Path(manifests.__file__).parents[1]


def test_a_manifest_goes_there_and_back(store: Store, corpus, tmp_path: Path):
    made, other, third = corpus(store), Store(tmp_path / "other"), Store(tmp_path / "third")
    (copied,) = copy(store, "math@1", other)
    assert (copied.manifest.id, copied.files, copied.bytes) == (made.id, len(store.list("objects")), made.bytes)
    assert verify(other, copied.manifest) == []
    (back,) = copy(other, made.id, store)
    assert (back.manifest.id, back.files, back.bytes) == (made.id, 0, 0)
    assert copy(store, made.id[:12], third)[0].manifest.id == made.id


def test_only_what_is_missing_is_copied(folder: Store, corpus, tmp_path: Path):
    corpus(folder)
    other = Store(tmp_path / "other")
    copy(folder, "math@1", other)
    corpus(folder, "2", [("z1", "web", 3, None)])
    (copied,) = copy(folder, "math@2", other)
    shared = set(other.list("objects"))
    assert copied.files < len({*shared}) and verify(other, copied.manifest) == []
    lost = copied.manifest.files("texts")[0]
    other.put(lost.path, b"cut")
    assert copy(folder, "math@2", other)[0].files == 1
    assert verify(other, copied.manifest) == []


def test_parents_come_first_and_under_every_name(folder: Store, corpus, mixture, tmp_path: Path):
    source = corpus(folder)
    tag(folder, source.id, "nicknamed", "7")
    made = mixture(folder, source, [("a1", "web", 11)])
    alone, whole = Store(tmp_path / "alone"), Store(tmp_path / "whole")
    assert lacking(copy(folder, made.ref, alone)[-1].manifest) == [source.id]
    copied = copy(folder, made.ref, whole, parents=True)
    assert [one.manifest.ref for one in copied] == ["math@1", "nicknamed@7", "mix@1"]
    assert lacking(copied[-1].manifest) == []
    with pytest.raises(UserError, match=r"is not in .*alone"):
        copy(alone, made.ref, Store(tmp_path / "third"), parents=True)


def test_a_name_that_is_taken_is_told_before_anything_is_copied(folder: Store, corpus, tmp_path: Path):
    other = Store(tmp_path / "other")
    corpus(other, rows=[("z1", "web", 3, None)])
    before = other.list("objects")
    corpus(folder)
    with pytest.raises(UserError, match="octo manifest tag"):
        copy(folder, "math@1", other)
    assert other.list("objects") == before


@pytest.mark.parametrize("point", [1, 3, 4, 9])
def test_a_copy_that_was_killed_goes_on(point: int, folder: Store, corpus, tmp_path: Path):
    made, other = corpus(folder), Store(tmp_path / "other")
    command = [sys.executable, "-m", "octo", "publish", "math@1", other.root, "--store", folder.root]
    environment = os.environ | {"OCTO_CRASH_AT": str(point), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, timeout=120)
    assert done.returncode == CRASH_EXIT
    assert load_all(other) == ([], [])
    kept = len(other.list("objects"))
    (copied,) = copy(folder, "math@1", other)
    assert copied.files == len(folder.list("objects")) - kept
    assert verify(other, copied.manifest) == [] and copied.manifest.id == made.id


def test_what_cannot_be_a_target_is_said_at_once(folder: Store, corpus, s3_endpoint):
    corpus(folder)
    with pytest.raises(UserError, match="cannot reach s3://no-such-bucket/store"):
        copy(folder, "math@1", Store("s3://no-such-bucket/store"))


def octo(*arguments: str, store: Store, **environment: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: the hub's client reads its settings once."""
    settings = {
        "PYTHONPATH": str(ROOT),
        "OCTO_STORE": store.url,
        "NO_PROXY": "127.0.0.1",
        "HF_HOME": f"{store.root}/hf",
        "HF_HUB_DISABLE_XET": "1",
    }
    command = [sys.executable, "-m", "octo", *arguments]
    return subprocess.run(command, env=os.environ | settings | environment, capture_output=True, text=True, timeout=120)


def test_the_hub_is_a_source_and_a_target_of_one_commit(folder: Store, corpus, mixture, tmp_path: Path):
    made, hub = mixture(folder, corpus(folder), [("a1", "web", 11)]), Hub({"README.md": b"of others"})
    here, there = Store(tmp_path / "here"), "hf://datasets/org/name/store"
    with served(hub) as endpoint:
        published = octo("publish", "mix@1", there, "--parents", store=folder, HF_ENDPOINT=endpoint)
        again = octo("publish", "mix@1", there, "--json", store=folder, HF_ENDPOINT=endpoint)
        pinned = f"hf://datasets/org/name@{hub.head}/store"
        pulled = octo("pull", made.id[:12], pinned, "--parents", store=here, HF_ENDPOINT=endpoint)
        refused = octo("publish", "mix@1", pinned, store=folder, HF_ENDPOINT=endpoint)
    assert published.returncode == 0, published.stderr
    assert published.stdout.splitlines()[-1] == made.id
    assert len(hub.commits) == 2 and "README.md" in hub.commits[hub.head]
    assert again.returncode == 0 and [one["copied"] for one in json.loads(again.stdout)["copied"]] == [0]
    assert pulled.returncode == 0, pulled.stderr
    assert all(verify(here, manifests.open(name, here)) == [] for name in ("math@1", "mix@1"))
    assert refused.returncode == 1 and "names a commit, which cannot be changed" in refused.stderr
    offline = octo("pull", "math@1", there, store=here, HF_ENDPOINT="http://127.0.0.1:9")
    assert offline.returncode == 1 and len(offline.stderr.strip().splitlines()) == 1
    assert offline.stderr.startswith("octo: cannot reach hf://datasets/org/name")


def test_of_two_who_publish_to_the_hub_at_once_one_is_told_and_sends_nothing_twice(folder: Store, corpus):
    made, hub = corpus(folder), Hub({})
    there = "hf://datasets/org/name/store"
    with served(hub) as endpoint:
        hub.meanwhile = lambda: hub.advance({"other": b"came first"})
        beaten = octo("publish", "math@1", there, store=folder, HF_ENDPOINT=endpoint)
        assert beaten.returncode == 1 and "received another commit in the meantime" in beaten.stderr
        assert len(beaten.stderr.strip().splitlines()) == 1
        uploads, hub.meanwhile = dict(hub.uploads), lambda: None
        assert not [path for path in hub.commits[hub.head] if path.startswith("store/")]
        won = octo("publish", "math@1", there, store=folder, HF_ENDPOINT=endpoint)
    assert won.returncode == 0 and won.stdout.splitlines()[-1] == made.id
    assert {"other", "store/manifests/math/1.json"} <= hub.commits[hub.head].keys()
    assert hub.uploads == uploads


def test_a_damaged_file_is_not_sent_to_the_hub(folder: Store, corpus):
    made, hub = corpus(folder), Hub({})
    path = made.files("texts")[0].path
    folder.put(path, folder.read(path)[:-1] + b"x")
    with served(hub) as endpoint:
        refused = octo("publish", "math@1", "hf://datasets/org/name", store=folder, HF_ENDPOINT=endpoint)
    assert refused.returncode == 1 and f"{path} in" in refused.stderr and "is damaged" in refused.stderr
    assert len(hub.commits) == 1
