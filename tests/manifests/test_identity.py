"""The digest stands for logical content: blind to every encoding of it, and to nothing else."""

import enum
import hashlib
import io
import itertools
import math
import struct

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.identity import TableDigest, canonical_json, schema_names, table_digest, type_name
from manifests.manifest import Draft
from manifests.store import Store

TYPES = {
    pa.string(): st.text(max_size=6),
    pa.binary(): st.binary(max_size=6),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.int32(): st.integers(-(2**31), 2**31 - 1),
    pa.uint8(): st.integers(0, 255),
    pa.float64(): st.floats(allow_nan=False),
    pa.bool_(): st.booleans(),
    pa.timestamp("us", "UTC"): st.integers(0, 2**50),
    pa.list_(pa.string()): st.lists(st.none() | st.text(max_size=3), max_size=3),
    pa.list_(pa.int64()): st.lists(st.none() | st.integers(0, 9), max_size=3),
    pa.struct([("x", pa.string()), ("y", pa.float64())]): st.fixed_dictionaries(
        {"x": st.none() | st.text(max_size=3), "y": st.none() | st.floats(allow_nan=False)}
    ),
}


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    kinds = draw(st.lists(st.sampled_from(list(TYPES)), min_size=1, max_size=4))
    rows = draw(st.integers(0, 12))
    columns = {
        f"c{i}": pa.array(draw(st.lists(st.none() | TYPES[kind], min_size=rows, max_size=rows)), kind)
        for i, kind in enumerate(kinds)
    }
    return pa.table(columns)


def digest(table: pa.Table) -> dict[str, str]:
    return table_digest([table], table.schema)


def column(values: list, kind: pa.DataType | None = None) -> str:
    return digest(pa.table({"c": pa.array(values, kind)}))["c"]


@settings(max_examples=150, deadline=None)
@given(tables(), st.lists(st.integers(0, 12), max_size=4))
def test_how_rows_are_cut_leaves_no_trace(table: pa.Table, cuts: list[int]):
    bounds = [0, *sorted(min(cut, table.num_rows) for cut in cuts), table.num_rows]
    pieces = [table.slice(low, high - low) for low, high in itertools.pairwise(bounds)]
    assert table_digest(pieces, table.schema) == digest(table)
    if pieces:
        assert digest(pa.concat_tables(pieces)) == digest(table)


@settings(max_examples=60, deadline=None)
@given(tables(), st.sampled_from(["zstd", "snappy", "none"]), st.integers(1, 12), st.booleans(), st.integers(1, 3))
def test_parquet_in_any_form_gives_the_same_digest(table, compression, group, dictionary, files):
    step = max(1, math.ceil(table.num_rows / files))
    read = []
    for start in range(0, max(table.num_rows, 1), step):
        sink = io.BytesIO()
        piece = table.slice(start, step)
        pq.write_table(piece, sink, compression=compression, row_group_size=group, use_dictionary=dictionary)
        read.extend(pq.ParquetFile(sink).iter_batches(batch_size=3))
    assert table_digest([pa.Table.from_batches([batch]) for batch in read], table.schema) == digest(table)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.none() | st.text(max_size=5), max_size=10))
def test_encodings_of_strings_share_one_digest(values: list[str | None]):
    plain = pa.array(values, pa.string())
    expected = column(plain)
    for kind in (pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())):
        other = plain.dictionary_encode() if pa.types.is_dictionary(kind) else plain.cast(kind)
        assert column(other) == expected
        assert schema_names(pa.schema([("c", kind)])) == {"c": "string"}
    binary = pa.array([None if value is None else value.encode() for value in values], pa.binary())
    assert column(binary.cast(pa.large_binary())) == column(binary)
    if any(value is not None for value in values):
        assert column(binary) != expected


@pytest.mark.parametrize("kind", [pa.large_list(pa.int8()), pa.list_(pa.int8(), 2)])
def test_encodings_of_lists_share_one_digest(kind: pa.DataType):
    values = [[1, 2], None, [3, None]]
    assert column(pa.array(values, kind)) == column(pa.array(values, pa.list_(pa.int8())))
    assert column(pa.array(values, kind)[1:]) == column(pa.array(values[1:], pa.list_(pa.int8())))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_every_changed_value_changes_the_digest(data: st.DataObject):
    kind = data.draw(st.sampled_from(list(TYPES)))
    values = data.draw(st.lists(st.none() | TYPES[kind], min_size=1, max_size=8))
    place = data.draw(st.integers(0, len(values) - 1))
    other = data.draw(st.none() | TYPES[kind])
    changed = [*values[:place], other, *values[place + 1 :]]
    held = pa.array([other, values[place]], kind).to_pylist()  # the keys of a struct in one order
    same = repr(held[0]) == repr(held[1])  # repr tells 0.0 from -0.0
    assert (column(changed, kind) == column(values, kind)) == same


def nan(payload: int) -> float:
    return struct.unpack("<d", struct.pack("<Q", 0x7FF8000000000000 | payload))[0]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (pa.array(["", "x"]), pa.array([None, "x"])),
        (pa.array(["ab", "c"]), pa.array(["a", "bc"])),
        (pa.array(["ab", ""]), pa.array(["a", "b"])),
        (pa.array(["a", "b"]), pa.array(["b", "a"])),
        (pa.array(["a"]), pa.array(["a", None])),
        (pa.array([None, "a"]), pa.array(["a", None])),
        (pa.array([0.0]), pa.array([-0.0])),
        (pa.array([0, 1]), pa.array([None, 1])),
        (pa.array([False]), pa.array([None], pa.bool_())),
        (pa.array([1], pa.int32()), pa.array([1], pa.int64())),
        (pa.array([1], pa.int64()), pa.array([1.0])),
        (pa.array(np.array([nan(1)])), pa.array(np.array([nan(2)]))),
        (pa.array([None, None], pa.string()), pa.array([None], pa.string())),
        (pa.array([None], pa.null()), pa.array([None], pa.string())),
        (pa.array([[1], [2, 3]]), pa.array([[1, 2], [3]])),
        (pa.array([[], [1]], pa.list_(pa.int64())), pa.array([None, [1]], pa.list_(pa.int64()))),
        (pa.array([[None]], pa.list_(pa.int64())), pa.array([[]], pa.list_(pa.int64()))),
        (pa.array([[["a"], []]]), pa.array([[["a"]]])),
        (pa.array([{"x": None}], pa.struct([("x", pa.int8())])), pa.array([None], pa.struct([("x", pa.int8())]))),
        (pa.array([{"x": 1}]), pa.array([{"y": 1}])),
        (pa.array([{"x": 1, "y": 1}]), pa.array([{"y": 1, "x": 1}], pa.struct([("y", pa.int64()), ("x", pa.int64())]))),
        (
            pa.array([], pa.struct([("a:string,b", pa.string()), ("c", pa.string())])),
            pa.array([], pa.struct([("a", pa.string()), ("b:string,c", pa.string())])),
        ),
    ],
)
def test_what_differs_has_another_digest(left: pa.Array, right: pa.Array):
    assert column(left) != column(right)


def test_values_under_a_null_are_not_content():
    data = pa.py_buffer(np.array([1, 7], np.int64).tobytes())
    other = pa.py_buffer(np.array([1, 9], np.int64).tobytes())
    mask = pa.py_buffer(b"\x01")
    left, right = (pa.Array.from_buffers(pa.int64(), 2, [mask, buffer]) for buffer in (data, other))
    assert column(left) == column(right) == column([1, None], pa.int64())
    offsets = pa.py_buffer(np.array([0, 1, 3], np.int32).tobytes())
    text = pa.Array.from_buffers(pa.string(), 2, [mask, offsets, pa.py_buffer(b"axy")])
    assert column(text) == column(["a", None], pa.string())


def reference(values: list, kind: pa.DataType) -> str:
    """The encoding as the module's docstring has it, one value at a time."""
    present = [value for value in values if value is not None]
    valid = bytes(value is not None for value in values)
    shape, body, children = valid, b"", []
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        encoded = [value.encode() if isinstance(value, str) else value for value in values]
        shape = b"".join(struct.pack("<q", -1 if value is None else len(value)) for value in encoded)
        body = b"".join(value for value in encoded if value is not None)
    elif pa.types.is_list(kind):
        shape = b"".join(struct.pack("<q", -1 if value is None else len(value)) for value in values)
        children = [reference([item for value in present for item in value], kind.value_type)]
    elif pa.types.is_struct(kind):
        children = [reference([value and value[f.name] for value in values], f.type) for f in kind.fields]
    elif pa.types.is_boolean(kind):
        shape, body = b"", bytes(2 if value is None else value for value in values)
    else:
        code = {pa.int64(): "q", pa.int32(): "i", pa.uint8(): "B", pa.float64(): "d"}.get(kind, "q")
        body = b"".join(struct.pack(f"<{code}", 0 if value is None else value) for value in values)
    parts = [type_name(kind), str(len(values)), hashlib.sha256(shape).hexdigest(), hashlib.sha256(body).hexdigest()]
    return hashlib.sha256(canonical_json(parts + children)).hexdigest()


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_the_encoding_is_the_documented_one(data: st.DataObject):
    kind = data.draw(st.sampled_from(list(TYPES)))
    values = data.draw(st.lists(st.none() | TYPES[kind], max_size=8))
    assert column(values, kind) == reference(values, kind)


@pytest.mark.parametrize(
    "kind", [pa.map_(pa.string(), pa.string()), pa.month_day_nano_interval(), pa.list_view(pa.int8()), pa.uuid()]
)
def test_a_type_without_an_encoding_is_refused(kind: pa.DataType):
    with pytest.raises(TypeError, match="no canonical encoding"):
        TableDigest(pa.schema([("c", kind)]))


def test_two_columns_of_one_name_are_refused():
    with pytest.raises(ValueError, match="share a name"):
        schema_names(pa.schema([("c", pa.int8()), ("c", pa.int8())]))


# -- of whole manifests --------------------------------------------------------------------------------------------

TABLE = pa.table({"a": ["x", None], "b": [1.5, -0.0]})


def id_of(folder: Store, kind="corpus", recipe=None, parents=(), table=TABLE, family="documents", **other) -> str:
    draft = Draft(folder, kind, {"seed": 1} if recipe is None else recipe, parents)
    draft.write(family, [table], table.schema, **other)
    return draft.digest()


def test_kind_recipe_schema_family_and_order_of_columns_are_identity(folder: Store):
    digests = [
        id_of(folder),
        id_of(folder, kind="prompts"),
        id_of(folder, recipe={"seed": 2}),
        id_of(folder, recipe={"seed": 1, "limit": None}),
        id_of(folder, table=TABLE.select(["b", "a"])),
        id_of(folder, table=TABLE.rename_columns(["a", "c"])),
        id_of(folder, table=TABLE.select(["a"])),
        id_of(folder, family="texts"),
        id_of(folder, table=TABLE.slice(0, 0)),
        id_of(folder, identity=False),
    ]
    assert len(set(digests)) == len(digests)


def test_parents_and_their_order_are_identity(folder: Store):
    one, two = (
        draft.commit(name, "1")
        for name, draft in (("one", Draft(folder, "corpus", {})), ("two", Draft(folder, "prompts", {})))
    )
    digests = {id_of(folder, parents=parents) for parents in ((), (one,), (two,), (one, two), (two, one))}
    assert len(digests) == 5


def test_files_and_name_are_not_identity(folder: Store, tmp_path):
    ids = []
    for place, rows_per_file, version in (("x", 1, "1"), ("y", 100, "2")):
        draft = Draft(Store(tmp_path / place), "corpus", {"seed": 1})
        draft.write("documents", [TABLE], TABLE.schema, rows_per_file=rows_per_file)
        ids.append(draft.commit("m", version, {"n": 1}, build_key=place).id)
    assert ids[0] == ids[1]


def test_how_tables_came_in_leaves_no_trace_in_the_files(folder: Store):
    table = pa.table({"n": list(range(10_000)), "t": [f"text {i}" for i in range(10_000)]})
    files = []
    for batches in ([table], table.to_batches(max_chunksize=7), [table.slice(0, 9_999), table.slice(9_999)]):
        draft = Draft(folder, "corpus", {})
        draft.write("documents", batches, table.schema, rows_per_file=6000)
        files.append(draft.families["documents"].files)
    assert files[0] == files[1] == files[2]
    assert [file.rows for file in files[0]] == [4096, 5904]


def test_golden_digests(folder: Store):
    """Pinned: an ID in somebody's paper must still verify. A change here means a new `identity.VERSION`."""
    table = pa.table(
        {
            "text": pa.array(["Zwölf", "", None]),
            "n": pa.array([1, None, -3], pa.int64()),
            "score": pa.array([0.5, -0.0, None]),
            "flag": pa.array([True, False, None]),
            "tags": pa.array([["a", None], [], None], pa.list_(pa.string())),
            "at": pa.array([{"x": 1}, {"x": None}, None], pa.struct([("x", pa.int32())])),
            "day": pa.array([0, 1, None], pa.date32()),
        }
    )
    assert {name: value[:16] for name, value in digest(table).items()} == GOLDEN
    assert id_of(folder, table=table, recipe={"größe": 1.5, "n": [1, None, True]}) == GOLDEN_MANIFEST


GOLDEN = {
    "text": "270c82444f97a97d",
    "n": "a707230f5da8f973",
    "score": "5c0faefce9223a11",
    "flag": "bb55db5409657fb5",
    "tags": "1ea6e8b8b253497d",
    "at": "2b591536e26c7eeb",
    "day": "0cc9678d0a149c89",
}
GOLDEN_MANIFEST = "00d048a765666e48cc2df65a786460ef212e5753ac970cdfe01f8298ad9ad103"


# -- canonical JSON ------------------------------------------------------------------------------------------------


def test_canonical_json_is_one_text_for_one_value():
    assert canonical_json({"b": 1, "a": [1.0, None, True, "ö"]}) == '{"a":[1.0,null,true,"ö"],"b":1}'.encode()
    assert canonical_json({"a": 1, "b": 2}) == canonical_json({"b": 2, "a": 1})
    assert canonical_json((1, 2)) == canonical_json([1, 2])
    assert canonical_json(enum.StrEnum("Colour", ["RED"]).RED) == b'"red"'
    assert len({canonical_json(value) for value in (1, 1.0, "1", True, None, "", [], {}, [None])}) == 9


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        {1: 2},
        {None: 1},
        {"a": {1, 2}},
        object(),
        b"bytes",
        "\ud800",
        {"\ud800": 1},
        np.int64(1),
        1j,
    ],
)
def test_canonical_json_refuses_what_has_no_one_form(value: object):
    with pytest.raises(TypeError):
        canonical_json([value])
