"""Fits to planted truths: coefficients are found and covered, errors without a mixture are those of refitting."""

import math

import numpy as np
import pytest

from mixtures.designs import caps, d_optimal, sobol
from mixtures.lessons import MODELS, learn, said
from mixtures.surface import fit, noise, observations, precision

NAMES = ("web", "qa", "cot", "instruct")
SLOPES = np.array([0.0, 0.2, 0.7, 0.4])


def study(generator, truth, mixtures, stems=3, ratio=25.0, largest=0.2, per_stem=0.0, missing=0.0):
    """A simulated study: every mixture with every stem, noise growing with the first component `ratio`-fold, effects
    that may differ by stem, runs that may fail."""
    first = mixtures[:, 0]
    spread = largest * np.exp(math.log(ratio) * (first - first.max()) / np.ptp(first))
    weights, block = np.repeat(mixtures, stems, 0), np.tile(np.arange(stems), len(mixtures))
    slopes = per_stem * generator.normal(size=(stems, mixtures.shape[1]))
    outcome = truth(weights) + (weights * slopes[block]).sum(1) + generator.normal(0, 0.3, stems)[block]
    outcome = outcome + generator.normal(size=len(weights)) * np.repeat(spread, stems)
    outcome[generator.random(len(outcome)) < missing] = math.nan
    return observations(NAMES[: mixtures.shape[1]], weights, list(block), outcome)


def linear(weights):
    return weights @ SLOPES[: weights.shape[1]]


def curved(weights):
    return linear(weights) + 2.0 * weights[:, 1] * weights[:, 2]


def true_effects(seen):
    """Of the linear truth, towards each component at the expense of the others in proportion."""
    centre, n = seen.mixtures.mean(0), len(seen.names)
    return [SLOPES[:n] @ (np.eye(n)[i] - centre) / (1 - centre[i]) for i in range(n)]


def coverage(draws, mixtures, **how):
    generator, held = np.random.default_rng(18), []
    for _ in range(draws):
        seen = study(generator, linear, mixtures, **how)
        effects = fit(seen, "linear").effects()
        held += [
            one.per_unit.low <= truth <= one.per_unit.high
            for one, truth in zip(effects, true_effects(seen), strict=True)
        ]
    return np.mean(np.reshape(held, (draws, -1)), 0)


def test_effects_are_covered_at_25_fold_noise():
    covered = coverage(2_000, sobol(caps(NAMES[:3]), 12, 1))
    assert ((covered >= 0.93) & (covered <= 0.97)).all(), covered


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arms", "how"),
    [
        (24, {}),
        (24, {"ratio": 1.0}),
        (24, {"missing": 0.1}),
        (24, {"stems": 5}),
        (24, {"per_stem": 0.3, "ratio": 1.0}),
    ],
)
def test_effects_are_covered(arms, how):
    covered = coverage(2_000, sobol(caps(NAMES), arms, 1), **how)
    assert ((covered >= 0.93) & (covered <= 0.97)).all(), covered


def test_a_planted_truth_is_found_exactly_without_noise():
    generator = np.random.default_rng(0)
    mixtures = sobol(caps(NAMES), 14, 0)
    seen = study(generator, curved, mixtures, largest=1e-9, ratio=1.0)
    model = fit(seen, "quadratic")
    shift = seen.outcome.mean() - curved(seen.weights).mean()
    fresh = sobol(caps(NAMES), 8, 5)
    assert model.values(fresh) == pytest.approx(curved(fresh) + shift, abs=1e-6)
    assert [
        one.per_unit.value for one in fit(study(generator, linear, mixtures, largest=1e-9), "linear").effects()
    ] == (pytest.approx(true_effects(seen), abs=1e-6))


def test_the_log_linear_model_multiplies():
    generator = np.random.default_rng(0)
    seen = study(generator, linear, sobol(caps(NAMES), 12, 0), largest=1e-3)
    grown = observations(NAMES, seen.weights, list(seen.blocks), np.exp(seen.outcome))
    model = fit(grown, "log-linear")
    centre = grown.mixtures.mean(0)
    assert model.predict(centre).low < float(model.values(centre)) < model.predict(centre).high
    wanted = float(model.values(centre)) * np.array(true_effects(seen))
    assert [one.per_unit.value for one in model.effects()] == pytest.approx(wanted, rel=0.05)
    with pytest.raises(ValueError, match="above 0"):
        fit(seen, "log-linear") if (seen.outcome <= 0).any() else fit(
            study(generator, lambda w: -linear(w), seen.mixtures), "log-linear"
        )


@pytest.mark.parametrize("model", ["linear", "quadratic"])
@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_errors_of_left_out_mixtures_are_those_of_refitting(model, missing):
    seen = study(np.random.default_rng(3), curved, sobol(caps(NAMES), 16, 0), missing=missing)
    quick = fit(seen, model).left_out()
    for arm in range(len(seen.runs)):
        mine = seen.arms == arm
        refitted = fit(seen.without(arm), model)
        effects = refitted.coefficients[refitted.design.shape[1] - 2 :]
        of_block = np.array([*effects, -effects.sum()])
        predicted = refitted.values(seen.weights[mine]) + of_block[seen.blocks[mine]]
        assert quick[arm] == pytest.approx((seen.outcome[mine] - predicted).mean())


def test_noise_is_estimated_for_each_mixture_and_its_trend_found():
    mixtures = sobol(caps(NAMES), 24, 1)
    found = [noise(study(np.random.default_rng(seed), linear, mixtures)) for seed in range(100)]
    first = mixtures[:, 0]
    spread = 0.2 * np.exp(math.log(25) * (first - first.max()) / np.ptp(first))
    loud = spread > 0.03
    assert np.mean([one.variance for one in found], 0)[loud] == pytest.approx(spread[loud] ** 2, rel=0.4)
    trends = np.exp(np.mean([np.log(one.at(mixtures)) for one in found], 0) / 2)
    assert trends[loud] == pytest.approx(spread[loud], rel=0.4)


def test_predictions_of_new_runs_are_covered():
    generator, inside = np.random.default_rng(2), caps(NAMES)
    mixtures, fresh = sobol(inside, 24, 1), sobol(inside, 6, 77)
    held = []
    for _ in range(60):
        everything = study(generator, curved, np.concatenate([mixtures, fresh]), ratio=3.0)
        known = everything.arms < 24
        seen = observations(NAMES, everything.weights[known], list(everything.blocks[known]), everything.outcome[known])
        model = fit(seen, "quadratic")
        for arm in range(24, 30):
            told = model.predict(everything.mixtures[arm], 0.8, runs=3)
            held.append(told.low <= everything.outcome[everything.arms == arm].mean() <= told.high)
    assert 0.76 <= np.mean(held) <= 0.92


def test_a_stem_that_learned_nothing_is_not_averaged_away():
    """Field case: the third stem stays at chance whatever the mixture. Three stems then say little about new stems."""
    generator, mixtures = np.random.default_rng(0), sobol(caps(NAMES), 24, 0)
    alive = study(generator, linear, mixtures, ratio=1.0, largest=0.05)
    outcome = np.where(alive.blocks == 2, 0.1 + 0.05 * generator.normal(size=len(alive.outcome)), alive.outcome)
    dead = observations(NAMES, alive.weights, list(alive.blocks), outcome)
    widths = [one.effects()[2].per_unit for one in (fit(alive, "linear"), fit(dead, "linear"))]
    assert widths[0].low > 0 and widths[1].degrees == pytest.approx(2)
    assert widths[1].high - widths[1].low > 4 * (widths[0].high - widths[0].low)


def test_a_component_that_never_varies_has_no_effect_to_tell():
    mixtures = np.array([[w, 0.8 - w, 0.2] for w in np.linspace(0, 0.8, 9)])
    effects = fit(study(np.random.default_rng(0), linear, mixtures), "linear").effects()
    assert effects[2].per_unit.value is None and "do not vary" in effects[2].per_unit.why
    assert effects[2].p_holm is None


@pytest.mark.parametrize(
    ("weights", "outcome", "said"),
    [
        ([[0.5, 0.4]] * 4, [1, 2, 3, 4], "sum to 1"),
        ([[1.5, -0.5]] * 4, [1, 2, 3, 4], "at least 0"),
        ([[0.5, 0.5], [0.2, 0.8]] * 2, [1, 2, 3, 4], "fewer than three mixtures"),
        ([[0.5, 0.5], [0.2, 0.8], [0.1, 0.9]], [1, 2, None], "fewer than three mixtures"),
        ([[0.5, 0.5]], [1, 2], "weights for 2 outcomes"),
    ],
)
def test_what_is_no_study_is_refused(weights, outcome, said):
    with pytest.raises(ValueError, match=said):
        observations(["a", "b"], np.array(weights), [0] * len(weights), outcome)


def test_precision_is_what_the_intervals_turn_out_to_be():
    mixtures = sobol(caps(NAMES), 24, 0)
    told = precision(mixtures, 3, 0.15)
    generator = np.random.default_rng(0)
    studies = [
        fit(study(generator, linear, mixtures, ratio=1.0000001, largest=0.15), "linear").effects() for _ in range(60)
    ]
    halves = np.median([[(one.per_unit.high - one.per_unit.low) / 2 for one in effects] for effects in studies], 0)
    assert told == pytest.approx(halves, rel=0.2)
    assert (precision(d_optimal(caps(NAMES), 24, 0, "linear"), 3, 0.15) < told).all()
    assert (precision(mixtures, 1, 0.15) > told).all() and math.isinf(precision(mixtures[:4], 1, 0.15)[0])


def test_lessons_name_the_right_model_and_say_what_can_be_said():
    seen = study(np.random.default_rng(0), curved, sobol(caps(NAMES), 24, 0), largest=0.05, ratio=3.0)
    lessons = learn(seen)
    assert [one.model for one in lessons.models] == list(MODELS)
    assert lessons.best.model in ("quadratic", "Gaussian process")
    assert lessons.noise < lessons.best.error < lessons.nothing / 4
    text = " ".join(said(lessons, "reward_after"))
    assert "More cot raises reward_after: +" in text and "24 mixtures, 72 runs, 3 stems" in text
    assert "weights that were tried" in text


def test_lessons_from_noise_say_that_nothing_can_be_told():
    generator, mixtures = np.random.default_rng(4), sobol(caps(NAMES), 12, 0)
    seen = study(generator, lambda w: 0 * w[:, 0], mixtures, ratio=1.0, stems=1)
    text = " ".join(said(learn(seen), "accuracy"))
    assert "nothing can be told at this power" in text and "All runs share one stem" in text
    assert "No mixture was repeated" in text


def test_a_model_that_cannot_be_fitted_is_a_row_with_a_reason(monkeypatch):
    monkeypatch.setattr("mixtures.lessons.is_installed", lambda name: False)
    seen = study(np.random.default_rng(0), lambda w: -linear(w), sobol(caps(NAMES), 8, 0))
    rows = {one.model: one.row() for one in learn(seen).models}
    assert rows["quadratic"]["note"] == "quadratic needs more than 10 mixtures, and there are 8"
    assert rows["log-linear"]["note"] == "the logarithm needs outcomes above 0"
    assert "octothinker[study]" in rows["Gaussian process"]["note"]
    assert rows["linear"]["note"] is None and rows["linear"]["error_left_out"] > 0


SIX = sobol(caps(NAMES[:3]), 6, 0)


@pytest.mark.parametrize("outcome", [np.zeros(18), np.full(18, 0.1), np.tile([0.1, 0.2, 0.3], 6)])
def test_an_outcome_that_no_mixture_changes_teaches_nothing(outcome):
    seen = observations(NAMES[:3], np.repeat(SIX, 3, 0), [0, 1, 2] * 6, outcome)
    with pytest.raises(ValueError, match="the same for all mixtures"):
        learn(seen)


@pytest.mark.parametrize("blocks", [list(range(18)), [0] * 9 + [1] * 9, list(np.repeat(range(6), 3))])
def test_stems_that_do_not_link_the_mixtures_are_noise(blocks):
    outcome = np.random.default_rng(0).normal(size=18)
    seen = observations(NAMES[:3], np.repeat(SIX, 3, 0), blocks, outcome)
    assert seen.stems == len(set(blocks)) and set(seen.blocks) == {0}
    alone = observations(NAMES[:3], np.repeat(SIX, 3, 0), [0] * 18, outcome)
    assert fit(seen, "linear").effects() == fit(alone, "linear").effects()
    assert "The stems do not link the mixtures" in " ".join(said(learn(seen), "accuracy"))


def test_a_mixture_that_the_others_do_not_determine_has_no_error_of_zero():
    corners = np.repeat(np.eye(3), 3, 0)
    seen = observations(NAMES[:3], corners, [0, 1, 2] * 3, corners @ SLOPES[:3])
    assert fit(seen, "linear").left_out() == pytest.approx([-0.45, -0.15, 0.6])


def test_one_component_is_no_mixture():
    with pytest.raises(ValueError, match="two components"):
        observations(["web"], np.ones((4, 1)), [0] * 4, np.arange(4.0))
