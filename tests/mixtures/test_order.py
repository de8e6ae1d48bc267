"""The global order: any prefix within one sequence of its share, and any position without walking there."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixtures.order import Continued, Order, document_keys, permutation

counts = st.one_of(
    st.lists(st.integers(0, 60), min_size=1, max_size=30),
    # a few heavy components among many that come once or twice: here a largest-deficit rule breaks the promise
    st.tuples(
        st.lists(st.integers(1, 3), min_size=1, max_size=40), st.lists(st.integers(20, 200), min_size=1, max_size=6)
    ).map(lambda pair: pair[0] + pair[1]),
    st.integers(1, 9).flatmap(lambda n: st.lists(st.integers(n, n + 1), min_size=2, max_size=40)),
    st.lists(st.sampled_from([1, 2, 3, 5, 7, 11, 13, 50, 97, 128]), min_size=2, max_size=40),
).filter(any)
blocks = st.sampled_from([1, 2, 3, 5, 8, 16, 33, 64, 4096])


def largest_deviation(component: np.ndarray, given_counts: list[int]) -> int:
    """max over prefixes p and components i of |N·countᵢ(p) - p·nᵢ|; the promise is that it is below N."""
    n = len(component)
    held = np.cumsum(component[:, None] == np.arange(len(given_counts)), axis=0)
    return int(np.abs(n * held - np.arange(1, n + 1)[:, None] * np.array(given_counts)).max())


@settings(max_examples=400, deadline=None)
@given(counts, blocks)
def test_every_prefix_holds_every_component_within_one_of_its_share(given_counts: list[int], block: int) -> None:
    order = Order(given_counts, block)
    component, index = order.at(np.arange(order.n_sequences))
    assert largest_deviation(component, given_counts) < order.n_sequences
    for i, n in enumerate(given_counts):
        assert index[component == i].tolist() == list(range(n))


def test_a_largest_deficit_rule_would_not_do() -> None:
    """The planted fault: the rule that other loaders use fails the same measure on the same counts."""
    given_counts = [2] * 7 + [6] * 5
    n = sum(given_counts)
    held, order = np.zeros(len(given_counts), np.int64), []
    for p in range(1, n + 1):
        order.append(int(np.argmax(np.array(given_counts) * p - held * n)))
        held[order[-1]] += 1
    assert largest_deviation(np.array(order), given_counts) >= n
    assert largest_deviation(Order(given_counts).at(np.arange(n))[0], given_counts) < n


@settings(max_examples=60, deadline=None)
@given(counts, blocks, st.data())
def test_positions_may_be_asked_in_any_order_and_grouping(
    given_counts: list[int], block: int, data: st.DataObject
) -> None:
    order = Order(given_counts, block)
    whole = order.at(np.arange(order.n_sequences))
    asked = np.array(data.draw(st.lists(st.integers(0, order.n_sequences - 1), min_size=1, max_size=20)))
    fresh = Order(given_counts, block).at(asked.reshape(1, -1))
    for everything, some in zip(whole, fresh, strict=True):
        assert some.shape == (1, len(asked))
        assert (everything[asked] == some).all()


@settings(max_examples=100, deadline=None)
@given(counts, blocks, st.data())
def test_places_and_prefixes_are_found_without_walking(
    given_counts: list[int], block: int, data: st.DataObject
) -> None:
    order = Order(given_counts, block)
    component, index = order.at(np.arange(order.n_sequences))
    asked = data.draw(st.lists(st.integers(0, order.n_sequences - 1), min_size=1, max_size=20))
    fresh = Order(given_counts, block)
    for position in asked:
        assert fresh.positions(int(component[position]), index[position : position + 1]).tolist() == [position]
    for position in (*asked, order.n_sequences):
        before = np.bincount(component[:position], minlength=len(given_counts))
        assert fresh.counts_before(position).tolist() == before.tolist()
    with pytest.raises(IndexError):
        order.positions(0, np.array([given_counts[0]]))


more = st.lists(st.integers(0, 40), max_size=3)


@settings(max_examples=150, deadline=None)
@given(counts, st.lists(st.tuples(st.floats(0, 1), st.lists(st.integers(0, 60), max_size=40), more), max_size=3))
def test_a_continued_order_begins_with_the_old_one_and_skips_and_repeats_nothing(
    given_counts: list[int], parts: list[tuple[float, list[int], list[int]]]
) -> None:
    order: Order | Continued = Order(given_counts)
    for share, again, new in parts:
        old, read = order, int(share * order.n_sequences)
        counts = [*(again + [0] * len(old.counts))[: len(old.counts)], *new]
        order = Continued(old, read, counts)
        positions = np.arange(order.n_sequences)
        component, index = order.at(positions)
        assert [part[:read].tolist() for part in (component, index)] == [
            part.tolist() for part in old.at(np.arange(read))
        ]
        assert order.n_sequences == read + sum(counts)
        for i, n in enumerate(order.counts):
            assert index[component == i].tolist() == list(range(n))
            assert (order.positions(i, np.arange(n)) == positions[component == i]).all()
        if sum(counts):
            assert largest_deviation(component[read:], counts) < sum(counts)
        for p in {0, read, order.n_sequences // 2, order.n_sequences}:
            assert order.counts_before(p).tolist() == np.bincount(component[:p], minlength=len(counts)).tolist()


def test_a_step_far_into_a_long_stream_stands_by_itself() -> None:
    """10⁹ sequences of 100 components: counts around the step say that the promise holds there too."""
    weights = np.random.default_rng(0).dirichlet(np.full(100, 0.3))
    given_counts = np.floor(weights * 10**9).astype(np.int64)
    n = int(given_counts.sum())
    order = Order(given_counts.tolist())
    positions = np.arange(n // 3, n // 3 + 512)
    component, index = order.at(positions)
    # sequence `index` (from 0) of a component at position p: `index` before it, and one more after it
    share = given_counts[component].astype(object)
    assert all(abs(n * int(i) - int(p) * s) < n for i, p, s in zip(index, positions, share, strict=True))
    assert all(abs(n * (int(i) + 1) - (int(p) + 1) * s) < n for i, p, s in zip(index, positions, share, strict=True))


@pytest.mark.parametrize("position", [-1, 10])
def test_positions_outside_are_refused(position: int) -> None:
    with pytest.raises(IndexError):
        Order([4, 6]).at(np.array([position]))


def ids(n: int) -> pa.Array:
    return pa.array([f"{i * 0x9E3779B97F4A7C15 % 2**64:016x}{i:016x}" for i in range(n)])


def test_keys_are_the_first_half_of_the_id() -> None:
    assert document_keys(ids(50)).tolist() == [int(text[:16], 16) for text in ids(50).to_pylist()]


def test_permutations_differ_by_seed_component_and_epoch_and_are_fair() -> None:
    keys = document_keys(ids(2000))
    orders = [permutation(keys, *which) for which in ((0, "a", 0), (1, "a", 0), (0, "b", 0), (0, "a", 1))]
    for i, order in enumerate(orders):
        assert sorted(order.tolist()) == list(range(2000))
        for other in orders[:i]:
            assert abs(np.corrcoef(np.argsort(order), np.argsort(other))[0, 1]) < 0.1


def test_more_documents_leave_the_rest_in_their_order() -> None:
    few, many = (permutation(document_keys(ids(n)), 3, "web", 1) for n in (500, 800))
    assert few.tolist() == [i for i in many.tolist() if i < 500]


def test_permutations_never_change_between_versions() -> None:
    """A frozen value: another hash would change every mixture's ID."""
    assert permutation(document_keys(ids(8)), 7, "web", 0).tolist() == [0, 6, 1, 4, 3, 7, 2, 5]
