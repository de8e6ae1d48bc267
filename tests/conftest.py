"""What tests of several floors share: settings of hypothesis, an object store on loopback, a store as a folder and as
an S3 bucket, and small manifests to put into it."""

import logging
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, settings

from manifests import tables
from manifests.manifest import Draft, Manifest
from manifests.store import Store

Build = Callable[..., Manifest]

# How long an example takes says how busy the machine is, not whether the code is right. CI always draws the same ones.
settings.register_profile("project", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("project"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "project")


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """An S3 server of this process, found by every client through the usual environment variables."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line a request would drown what a failing test says
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        patch.setenv("AWS_ENDPOINT_URL", endpoint)
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield endpoint
    server.stop()


@pytest.fixture
def new_bucket(s3_endpoint: str) -> Callable[[], str]:
    """Makes an empty bucket and returns its URL."""

    def make() -> str:
        bucket = f"octo-{uuid.uuid4().hex}"
        fsspec.filesystem("s3", use_listings_cache=False).mkdir(bucket)  # the client that every Store here shares
        return f"s3://{bucket}"

    return make


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty store; every test that takes it runs on both kinds."""
    monkeypatch.setenv("OCTO_SCRATCH", str(tmp_path / "scratch"))
    return Store(tmp_path / "store") if request.param == "folder" else _bucket(request)


@pytest.fixture
def s3_store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("OCTO_SCRATCH", str(tmp_path / "scratch"))
    return _bucket(request)


@pytest.fixture
def folder(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def _bucket(request: pytest.FixtureRequest) -> Store:
    return Store(f"{request.getfixturevalue('new_bucket')()}/store")


def documents(rows: list[tuple]) -> pa.Table:
    """Rows of (doc_id, source, n_tokens, drop_reason) as a documents table."""
    return pa.Table.from_pylist(
        [
            {
                "doc_id": doc_id,
                "source": source,
                "role": "web",
                "n_chars": 4 * n_tokens,
                "n_tokens": n_tokens,
                "text_digest": doc_id * 2,
                "drop_reason": reason,
                "cluster_id": "c1" if reason == "near_duplicate" else None,
            }
            for doc_id, source, n_tokens, reason in rows
        ],
        schema=tables.DOCUMENTS.schema,
    )


ROWS = [
    ("a1", "web", 10, None),
    ("a2", "web", 20, "short"),
    ("a3", "web", 30, "near_duplicate"),
    ("b1", "qa", 5, None),
    ("b2", "qa", 7, None),
]


@pytest.fixture
def corpus() -> Build:
    """Builds and commits a small corpus: three families in Parquet, two files each, and a raw one."""

    def build(
        store: Store, version: str = "1", rows: list[tuple] = ROWS, name: str = "math", **recipe: object
    ) -> Manifest:
        draft = Draft(store, "corpus", {"seed": 1, **recipe})
        table = documents(rows)
        texts = [{"doc_id": row[0], "text": f"text of {row[0]} " * 20} for row in rows]
        bad = [{"source": "web", "file": "x.jsonl", "position": 3, "reason": "not_json", "detail": "line 4"}]
        draft.write("documents", [table], tables.DOCUMENTS.schema, rows_per_file=3)
        draft.write("texts", [pa.Table.from_pylist(texts, tables.TEXTS.schema)], tables.TEXTS.schema, rows_per_file=3)
        draft.write("quarantine", [pa.Table.from_pylist(bad, tables.QUARANTINE.schema)], tables.QUARANTINE.schema)
        draft.write_raw("tokenizer", {"tokenizer.json": b'{"a": 1}', "merges": b"a b"})
        inputs = {}
        for _, source, n_tokens, _ in rows:
            seen = inputs.setdefault(source, {"records": 0, "tokens": 0})
            seen["records"] += 1
            seen["tokens"] += n_tokens
        inputs.setdefault("web", {"records": 0, "tokens": 0})["records"] += 1
        return draft.commit(name, version, {"inputs": inputs}, build_key=f"key of {version}")

    return build


@pytest.fixture
def mixture() -> Build:
    """Builds and commits a small mixture of a corpus."""

    def build(store: Store, parent: Manifest, members: list[tuple], sequences: int = 4, version: str = "1") -> Manifest:
        draft = Draft(store, "mixture", {"sequence_length": 8, "sequences": sequences}, [parent])
        component = {name: 0 for name in tables.COMPONENTS.schema.names} | {
            "component": "all",
            "corpus": parent.id,
            "where": "true",
            "sequences": sequences,
            "tokens": 8 * sequences,
        }
        rows = [
            {
                "component": "all",
                "ordinal": i,
                "doc_id": d,
                "source": s,
                "corpus": parent.id,
                "n_tokens": n,
                "token_start": 0,
            }
            for i, (d, s, n) in enumerate(members)
        ]
        order = [{"sequence": i, "component": "all", "index": i, "epoch": 0} for i in range(sequences)]
        for spec, content in ((tables.COMPONENTS, [component]), (tables.MEMBERS, rows), (tables.SEQUENCES, order)):
            draft.write(spec.name, [pa.Table.from_pylist(content, spec.schema)], spec.schema)
        draft.write_raw("tokens", {"all.ds": b"\x01\x00" * 40, "all.ds.index": b"\x02" * 16})
        return draft.commit("mix", version)

    return build
