"""Designs lie inside their caps, sum to one and are the same by seed; caps that nothing can meet are refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.errors import UserError
from mixtures.designs import Caps, candidates, caps, d_optimal, dirichlet, sobol, terms


@st.composite
def some_caps(draw):
    """Caps that some mixture meets, of one to twelve components, tight and loose."""
    n = draw(st.integers(1, 12))
    inside = np.array(draw(st.lists(st.floats(0.001, 1), min_size=n, max_size=n)))
    inside /= inside.sum()
    down = np.array(draw(st.lists(st.floats(0, 1), min_size=n, max_size=n)))
    up = np.array(draw(st.lists(st.floats(0, 1), min_size=n, max_size=n)))
    names = tuple(f"c{i}" for i in range(n))
    return Caps(names, inside * down, np.minimum(1.0, inside + (1 - inside) * up))


@settings(max_examples=50)
@given(some_caps(), st.integers(1, 40), st.integers(0, 1000))
def test_every_design_is_inside_its_caps(inside, n, seed):
    for design in (dirichlet(inside, n, seed), sobol(inside, n, seed), candidates(inside, seed)[:100]):
        assert inside.hold(design)
    assert np.array_equal(dirichlet(inside, n, seed), dirichlet(inside, n, seed))
    assert np.array_equal(sobol(inside, n, seed), sobol(inside, n, seed))


@pytest.mark.parametrize("model", ["linear", "quadratic"])
@pytest.mark.parametrize("bounds", [{}, {"c0": (0.2, 0.5), "c1": (0, 0.3)}, {"c0": (0.1, 0.4), "c1": (0.1, 0.4)}])
def test_d_optimal_designs_are_inside_without_repetition_and_better_than_random(model, bounds):
    inside = caps(["c0", "c1", "c2"], bounds)
    design = d_optimal(inside, 12, 0, model)
    assert inside.hold(design) and len(np.unique(design.round(9), axis=0)) == 12
    assert np.array_equal(design, d_optimal(inside, 12, 0, model))

    def information(weights):
        rows = terms(weights, model)
        return np.linalg.slogdet(rows.T @ rows)[1]

    others = [f(inside, 12, seed) for f in (dirichlet, sobol) for seed in range(20)]
    assert information(design) > max(map(information, others))


def test_a_quadratic_design_without_caps_has_corners_and_middles():
    design = d_optimal(caps(["a", "b", "c"]), 6, 0, "quadratic")
    wanted = [*np.eye(3), *(np.ones((3, 3)) - np.eye(3)) / 2]  # the simplex lattice {3, 2} of Scheffé
    assert sorted(map(tuple, design.round(6))) == sorted(map(tuple, wanted))


def test_without_caps_the_draws_have_the_dirichlet_distribution():
    inside = caps(["a", "b", "c", "d"])
    centre = np.array([0.4, 0.3, 0.2, 0.1])
    even, near = dirichlet(inside, 20_000, 0), dirichlet(inside, 20_000, 0, centre, 20.0)
    assert even.mean(0) == pytest.approx(0.25, abs=0.01)
    assert even.var(0) == pytest.approx(0.25 * 0.75 / 5, rel=0.05)
    assert near.mean(0) == pytest.approx(centre, abs=0.01)
    assert near.var(0) == pytest.approx(centre * (1 - centre) / 21, rel=0.05)


def test_sobol_fills_more_evenly_than_chance():
    inside = caps(["a", "b", "c"])

    def largest_gap(weights):
        grid = dirichlet(inside, 2000, 99)
        return np.sqrt(((grid[:, None] - weights[None]) ** 2).sum(2)).min(1).max()

    gaps = [np.mean([largest_gap(f(inside, 32, seed)) for seed in range(10)]) for f in (sobol, dirichlet)]
    assert gaps[0] < gaps[1]


def test_caps_follow_from_epochs():
    found = caps(["web", "cot"], {"web": (0.1, 0.9)}, {"web": 1e9, "cot": 1e6}, {"cot": 4}, 1e7)
    assert found.low.tolist() == [0.1, 0.0] and found.high.tolist() == [0.9, 0.4]


@pytest.mark.parametrize(
    ("bounds", "said"),
    [
        ({"a": (0, 0.3), "b": (0, 0.3)}, "the largest weights sum to 0.6, less than 1: a 0.3, b 0.3"),
        ({"a": (0.7, 1), "b": (0.7, 1)}, "the least weights sum to 1.4, more than 1"),
        ({"a": (0.7, 0.5)}, "a: no weight lies between 0.7 and 0.5"),
        ({"a": (-0.1, 0.5)}, "a: no weight lies between -0.1 and 0.5"),
        ({"a": (0.5, 1.5)}, "a: no weight lies between 0.5 and 1.5"),
    ],
)
def test_caps_that_no_mixture_meets_are_refused_in_one_line(bounds, said):
    with pytest.raises(UserError) as error:
        caps(["a", "b"], bounds)
    assert error.value.what == said
