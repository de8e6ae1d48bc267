"""Proposals on planted truths: inside caps, better than natural proportions and RegMix's choice, and worth running."""

import numpy as np
import pytest

from mixtures.designs import candidates, caps, sobol
from mixtures.propose import best, most_informative, propose, regmix
from mixtures.surface import fit, observations

NAMES = ("web", "qa", "cot", "instruct")
PROPORTIONS = np.array([0.7, 0.15, 0.1, 0.05])


def linear(weights):
    return weights @ np.array([0.0, 0.2, 0.7, 0.4])


def curved(weights):
    return linear(weights) + 2.0 * weights[:, 1] * weights[:, 2] - 0.8 * weights[:, 2] ** 2


def study(generator, truth, inside, arms=24, stems=3, spread=0.05):
    """A simulated study with block effects and noise that grows 25-fold with the first component."""
    mixtures = sobol(inside, arms, 1)
    loud = np.exp(np.log(25) * (mixtures[:, 0] - mixtures[:, 0].max()) / np.ptp(mixtures[:, 0]))
    weights, block = np.repeat(mixtures, stems, 0), np.tile(np.arange(stems), arms)
    outcome = truth(weights) + generator.normal(0, 0.2, stems)[block]
    outcome = outcome + generator.normal(size=len(weights)) * np.repeat(loud * spread, stems)
    return observations(inside.names, weights, list(block), outcome)


def regret(truth, inside, weights):
    """How much less than the best inside the caps."""
    return float(truth(candidates(inside, 7)).max() - truth(weights[None, :])[0])


BOUNDS = [{}, {"web": (0.2, 0.9), "cot": (0.0, 0.3)}]


@pytest.mark.parametrize("bounds", BOUNDS)
@pytest.mark.parametrize(("truth", "model"), [(linear, "linear"), (curved, "quadratic")])
def test_the_best_mixture_is_found_inside_the_caps(bounds, truth, model):
    inside = caps(NAMES, bounds)
    found = best(fit(study(np.random.default_rng(0), truth, inside, spread=1e-6), model), inside)
    assert inside.hold(found[None, :]) and regret(truth, inside, found) < 0.002
    worst = best(fit(study(np.random.default_rng(0), truth, inside, spread=1e-6), model), inside, highest=False)
    assert truth(worst[None, :])[0] == pytest.approx(truth(candidates(inside, 7)).min(), abs=0.002)


@pytest.mark.parametrize(
    ("bounds", "truth", "studies"),
    [
        (BOUNDS[0], curved, 1),
        *(pytest.param(bounds, truth, 5, marks=pytest.mark.slow) for bounds in BOUNDS for truth in (linear, curved)),
    ],
)
def test_proposals_beat_natural_proportions_and_regmix(bounds, truth, studies, monkeypatch):
    pytest.importorskip("sklearn"), pytest.importorskip("lightgbm")
    from mixtures.learners import fit_process, fit_trees

    inside = caps(NAMES, bounds)
    ours, process, rival = [], [], []
    if studies == 1:
        monkeypatch.setattr("mixtures.propose.REGMIX_DRAWS", 10_000)
    for seed in range(studies):
        seen = study(np.random.default_rng(seed), truth, inside)
        model = min((fit(seen, name) for name in ("linear", "quadratic")), key=lambda m: (m.left_out() ** 2).mean())
        ours.append(regret(truth, inside, best(model, inside)))
        process.append(regret(truth, inside, best(fit_process(seen), inside)))
        rival.append(regret(truth, inside, regmix(fit_trees(seen), inside, PROPORTIONS)))
    centre = np.clip(PROPORTIONS, inside.low, inside.high)
    assert np.mean(ours) < np.mean(rival) < regret(truth, inside, centre / centre.sum())
    assert np.mean(process) < np.mean(rival)


def test_what_is_most_informative_lowers_the_uncertainty_most():
    inside = caps(NAMES, {"web": (0.1, 1.0)})
    seen = study(np.random.default_rng(1), linear, inside, arms=8)
    model = fit(seen, "linear")
    chosen = most_informative(model, inside, 3, runs=3)
    assert inside.hold(np.array(chosen))
    points = sobol(inside, 256, 3)

    def uncertainty(weights):
        rows = [*seen.weights, *np.repeat(weights, 3, 0)]
        spread = model.run_variance(np.array(rows))
        return np.trace(points @ np.linalg.inv((np.array(rows).T / spread) @ np.array(rows)) @ points.T)

    assert uncertainty(np.array(chosen)) < min(uncertainty(sobol(inside, 3, seed)) for seed in range(30))


def test_a_proposal_says_what_is_predicted_before_it_is_run():
    inside = caps(NAMES)
    seen = study(np.random.default_rng(1), linear, inside)
    first, second = propose(fit(seen, "linear"), inside, 2, runs=3)
    assert (first.why, second.why, first.runs) == ("best predicted", "most informative", 3)
    assert sum(first.weights.values()) == pytest.approx(1) and first.weights["cot"] == pytest.approx(1, abs=1e-6)
    assert first.predicted_95.low < first.predicted_80.low < first.predicted_80.value < first.predicted_80.high
    assert propose(fit(seen, "linear"), inside, 2, runs=3) == [first, second]


def test_a_process_knows_how_far_it_may_be_wrong():
    pytest.importorskip("sklearn"), pytest.importorskip("lightgbm")
    from mixtures.learners import fit_process

    inside, generator = caps(NAMES), np.random.default_rng(5)
    fresh, held = sobol(inside, 12, 77), []
    for _ in range(6):
        model = fit_process(study(generator, curved, inside, spread=0.02))
        shift = model.values(fresh).mean() - curved(fresh).mean()
        told = [model.predict(weights, 0.95) for weights in fresh]
        held += [one.low <= value + shift <= one.high for one, value in zip(told, curved(fresh), strict=True)]
    assert np.mean(held) >= 0.85
    assert np.abs(model.left_out()).mean() < 0.05


def test_processes_and_trees_are_the_same_each_time_and_quick():
    pytest.importorskip("sklearn"), pytest.importorskip("lightgbm")
    from mixtures.learners import fit_process, fit_trees

    inside = caps([f"source {i}" for i in range(20)])
    seen = study(np.random.default_rng(0), lambda w: w[:, 3] - w[:, 7], inside, arms=34, stems=3)
    fresh = sobol(inside, 5, 9)
    for make in (fit_process, fit_trees):
        assert np.array_equal(make(seen).values(fresh), make(seen).values(fresh))
    assert fit_trees(seen).predict(fresh[0]).why == "no error bar can be given: trees have none"
