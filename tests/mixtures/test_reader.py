"""Reading: equal to a slow reading that is plainly right, exact in its counts, the same however it is batched."""

from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from manifests.errors import UserError
from manifests.manifest import Manifest
from manifests.store import Store
from mixtures.config import MixRecipe
from mixtures.mix import mix
from mixtures.order import document_keys, permutation
from mixtures.reader import Batch, MixtureReader

LENGTH = 16


def naive_stream(manifest: Manifest, component: str, epochs: int) -> list[tuple[int, int, dict]]:
    """(token, epoch, member) of every token of a component, document by document."""
    members = manifest.read("members").filter(np.array(manifest.read("members")["component"]) == component)
    texts, seed = np.fromfile(manifest.local("tokens")[f"{component}.ds"], np.uint16), manifest.recipe["seed"]
    rows, stream = members.to_pylist(), []
    for epoch in range(epochs):
        order = range(len(rows)) if not epoch else permutation(document_keys(members["doc_id"]), seed, component, epoch)
        for row in (rows[i] for i in order):
            tokens = texts[row["token_start"] : row["token_start"] + row["n_tokens"]]
            stream += [(int(token), epoch, {**row, "place": place}) for place, token in enumerate(tokens)]
    return stream


def test_reading_equals_the_plain_way(store: Store, mixture: Manifest) -> None:
    reader = MixtureReader(store, mixture)
    streams = {name: naive_stream(mixture, name, 3) for name in ("web", "qa")}
    batch = reader.batch(np.arange(reader.n_sequences))
    spans = batch.spans.to_pylist()
    for row in mixture.read("sequences").to_pylist():
        n, at = row["sequence"], row["index"] * LENGTH
        window = streams[row["component"]][at : at + LENGTH + 1]
        assert batch.tokens[n].tolist() == [token for token, _, _ in window]
        assert row["epoch"] == window[0][1]
        runs = [(epoch, member["ordinal"]) for _, epoch, member in window]
        changes = np.cumsum([0] + [a != b for a, b in pairwise(runs)])
        assert batch.segment[n].tolist() == changes.tolist()
        counted = Counter((epoch, member["doc_id"]) for _, epoch, member in window[:LENGTH])
        held = [span for span in spans if span["sequence"] == n]
        assert {(span["epoch"], span["doc_id"]): span["length"] for span in held} == dict(counted)
        assert held[0]["start"] == window[0][2]["place"]
        assert all(span["start"] == 0 for span in held[1:])


def test_documents_are_whole_texts_with_one_end_each(
    store: Store, mixture: Manifest, toy: Manifest, tokenizer: Path
) -> None:
    texts = {row["doc_id"]: row["text"] for row in toy.read("texts").to_pylist()}
    decode = Tokenizer.from_file(f"{tokenizer}/tokenizer.json").decode
    stream = naive_stream(mixture, "qa", 1)
    ends = [i for i, (token, _, _) in enumerate(stream) if token == mixture.recipe["eos_id"]]
    assert len(ends) == 25
    for begin, end in zip([0, *[end + 1 for end in ends]], ends, strict=False):
        assert decode([token for token, _, _ in stream[begin:end]]) == texts[stream[begin][2]["doc_id"]]


def test_every_token_is_an_input_at_most_once_per_epoch_and_documents_at_most_max_epochs(
    store: Store, mixture: Manifest
) -> None:
    spans = MixtureReader(store, mixture).batch(np.arange(280)).spans.to_pylist()
    inputs = Counter(
        (span["component"], span["epoch"], span["doc_id"], token)
        for span in spans
        for token in range(span["start"], span["start"] + span["length"])
    )
    assert set(inputs.values()) == {1} and sum(inputs.values()) == 280 * LENGTH
    uses = Counter((component, doc_id) for component, _, doc_id in {key[:3] for key in inputs})
    assert max(n for (component, _), n in uses.items() if component == "web") == 1
    assert max(n for (component, _), n in uses.items() if component == "qa") == 3


def test_each_epoch_has_its_own_order(store: Store, mixture: Manifest) -> None:
    spans = MixtureReader(store, mixture).batch(np.arange(280)).spans.to_pylist()
    orders = [
        list(dict.fromkeys(s["doc_id"] for s in spans if s["component"] == "qa" and s["epoch"] == epoch))
        for epoch in (0, 1)
    ]
    assert orders[0] != orders[1] and sorted(orders[0]) == sorted(orders[1])


@pytest.mark.parametrize("size", [1, 7, 64])
def test_batch_size_changes_nothing(store: Store, mixture: Manifest, size: int) -> None:
    whole = MixtureReader(store, mixture).batch(np.arange(280))
    reader, consumed = MixtureReader(store, mixture), Counter()
    for start in range(0, 280, size):
        positions = np.arange(start, min(start + size, 280))
        batch = reader.batch(positions)
        assert (batch.tokens == whole.tokens[positions]).all() and (batch.segment == whole.segment[positions]).all()
        assert batch.spans.to_pylist() == [s for s in whole.spans.to_pylist() if start <= s["sequence"] < start + size]
        assert sum(tokens for *_, tokens in batch.consumption) == len(positions) * LENGTH
        for component, source, _, tokens in batch.consumption:
            consumed[component, source] += tokens
    assert consumed == {(component, source): tokens for component, source, _, tokens in whole.consumption}


def test_ranks_may_read_their_own_positions_in_any_order(store: Store, mixture: Manifest) -> None:
    reader = MixtureReader(store, mixture)
    whole, shuffled = reader.batch(np.arange(280)), np.random.default_rng(0).permutation(280)[:50]
    batch = MixtureReader(store, mixture).batch(shuffled)
    assert (batch.tokens == whole.tokens[shuffled]).all()
    assert list(dict.fromkeys(batch.spans["sequence"].to_pylist())) == shuffled.tolist()


def test_consumption_counts_sequences_that_hold_a_source(store: Store, mixture: Manifest) -> None:
    batch = MixtureReader(store, mixture).batch(np.arange(40))
    spans = batch.spans.to_pylist()
    expected = sorted(
        (component, source, len({s["sequence"] for s in held}), sum(s["length"] for s in held))
        for component, source in {(s["component"], s["source"]) for s in spans}
        for held in [[s for s in spans if (s["component"], s["source"]) == (component, source)]]
    )
    assert sorted(batch.consumption) == expected
    assert {source for component, source, *_ in expected if component == "web"} == {"rl", "web"}


def test_masks_positions_and_boundaries_follow_the_documents(store: Store, mixture: Manifest) -> None:
    batch = MixtureReader(store, mixture).batch(np.arange(280))
    spans = batch.spans.to_pylist()
    for n in range(280):
        lengths = [span["length"] for span in spans if span["sequence"] == n]
        assert batch.positions[n].tolist() == [place for length in lengths for place in range(length)]
        ends = set(np.cumsum(lengths[:-1]).tolist())
        masked = set((np.flatnonzero(~batch.label_mask[n, :-1]) + 1).tolist())
        assert masked == ends
    assert batch.boundaries.tolist() == np.cumsum([0] + [span["length"] for span in spans]).tolist()
    assert batch.boundaries.dtype == np.int32


@given(st.lists(st.integers(0, 3), min_size=2, max_size=30))
def test_positions_begin_again_at_each_document(steps: list[int]) -> None:
    segment = np.cumsum(np.array(steps) > 2)
    counts: dict[int, int] = {}
    expected = [counts.update({n: counts.get(n, -1) + 1}) or counts[n] for n in segment[:-1].tolist()]
    assert Batch(segment[None], segment[None], [], pa.table({})).positions[0].tolist() == expected


def test_only_a_mixture_is_read(store: Store, toy: Manifest) -> None:
    with pytest.raises(UserError, match="toy@1 is a corpus"):
        MixtureReader(store, toy)


def test_a_component_shorter_than_a_sequence_wraps_within_one(
    store: Store, toy: Manifest, recipe: Callable[..., MixRecipe]
) -> None:
    one = [{"name": "one", "manifest": "toy@1", "where": "source = 'qa' AND n_tokens < 15", "max_epochs": 500}]
    made = mix(store, recipe(components=one, budget={"sequences": 3}, sequence_length=300))
    batch = MixtureReader(store, made).batch(np.arange(3))
    stream = naive_stream(made, "one", 500)
    for n in range(3):
        assert batch.tokens[n].tolist() == [token for token, _, _ in stream[n * 300 : n * 300 + 301]]
