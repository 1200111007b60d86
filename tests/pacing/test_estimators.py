import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacing.estimators import (
    AGE_BINS,
    STEP_S,
    AgeHistogram,
    AnswerAnalysis,
    HandlingTimes,
    HitRatio,
    ResidualLife,
    answer_prior,
    ending_prior,
    kaplan_meier_weights,
    lognormal_mass,
)


def _feed(ratio, outcomes, start=0):
    for index, hit in enumerate(outcomes):
        ratio.observe(bool(hit), start + index)
        ratio.advance(start + index)


def test_given_outcomes_when_lag_is_not_over_then_they_do_not_count():
    ratio = HitRatio()
    ratio.observe(True, 10.0)
    ratio.advance(9.9)

    assert ratio.total == 0
    ratio.advance(10.0)
    assert ratio.total == 1


@pytest.mark.parametrize("truth", [0.1, 0.3, 0.6])
def test_given_a_steady_ratio_when_estimated_then_within_four_standard_errors(truth):
    ratio = HitRatio()
    _feed(ratio, np.random.default_rng(1).random(4000) < truth)

    mean, error = ratio.estimate()
    assert abs(mean - truth) < 4 * error + 0.02
    assert error < 0.02


def test_given_a_jump_when_estimated_then_followed_within_two_hundred_calls_where_the_slow_average_is_not():
    random = np.random.default_rng(2)
    ratio = HitRatio()
    _feed(ratio, random.random(3000) < 0.2)
    _feed(ratio, random.random(200) < 0.5, start=3000)

    assert ratio.estimate()[0] > 0.38  # the slow average alone would be at 0.24


def test_given_overdue_calls_when_estimated_then_they_count_by_their_posterior():
    ratio = HitRatio(prior_ratio=0.5, prior_calls=2.0)
    _feed(ratio, [1, 1, 0, 0, 0, 0, 0, 0])

    assert ratio.estimate()[0] == pytest.approx(0.3)
    assert ratio.estimate(10, 0.0)[0] == pytest.approx(3 / 20)
    assert ratio.estimate(10, 3.0)[0] == pytest.approx(0.3)


def test_given_a_ratio_when_loaded_then_lags_go_on():
    ratio = HitRatio()
    _feed(ratio, [1, 0, 1])
    ratio.observe(True, 12.0)
    copy = HitRatio()
    copy.load(ratio.state(now_s=2.0))
    copy.advance(9.5)
    assert copy.estimate() == ratio.estimate()
    copy.advance(10.0)
    assert copy.total == 4


def test_given_samples_of_a_known_law_when_histogram_then_density_is_close():
    truth = lognormal_mass(10.0, 0.45, 1.0)
    sigma = np.log1p(0.45**2) ** 0.5
    histogram = AgeHistogram(answer_prior())
    for age_s in np.random.default_rng(4).lognormal(np.log(10.0) - sigma**2 / 2, sigma, 4000):
        histogram.add(float(age_s))

    assert np.abs(np.cumsum(histogram.density()) - np.cumsum(truth)).max() < 0.04
    assert histogram.quantile_s(0.5) == pytest.approx(9.1, abs=0.8)


def test_given_a_change_when_histogram_then_the_old_law_is_forgotten():
    histogram = AgeHistogram(answer_prior(), memory=100)
    for age_s in [5.0] * 500 + [15.0] * 500:
        histogram.add(age_s)

    assert histogram.density()[int(15.0 / STEP_S)] > 0.98


@given(st.lists(st.floats(-5.0, 1e6, allow_nan=False), max_size=40))
def test_given_any_ages_when_histogram_then_a_distribution(ages):
    histogram = AgeHistogram(ending_prior())
    for age_s in ages:
        histogram.add(age_s)

    density = histogram.density()
    assert density.shape == (AGE_BINS,)
    assert density.min() >= 0
    assert density.sum() == pytest.approx(1.0)


def test_given_verdicts_when_analysed_then_share_and_delays_follow():
    analysis = AnswerAnalysis()
    for index in range(400):
        if index % 4:
            analysis.person(1.2)
        else:
            analysis.other(3.2)

    assert analysis.person_ratio == pytest.approx(0.75, abs=0.01)
    assert analysis.person_delay.quantile_s(0.5) == 1.5  # upper edge of its bin
    assert analysis.other_delay.quantile_s(0.5) == 3.5


def test_given_exponential_times_when_residual_life_then_age_does_not_matter():
    random = np.random.default_rng(5)
    stage = random.exponential(20.0, 6000)
    table = ResidualLife(stage, np.zeros_like(stage), np.ones_like(stage), 20.0, 1.0, 56)

    truth = -np.expm1(-np.arange(57) * STEP_S / 20.0)
    assert np.abs(table.released((0.0, 5.0, 20.0, 40.0)) - truth).max() < 0.05


def test_given_fixed_times_when_residual_life_then_release_is_when_due():
    stage, rest = np.full(400, 30.0), np.full(400, 5.0)
    table = ResidualLife(stage, rest, np.ones(400), 30.0, 0.01, 56)

    row = table.released((25.0,))[0]
    assert row[int(9.0 / STEP_S)] < 0.01
    assert row[int(11.0 / STEP_S)] > 0.99


def test_given_no_rest_when_residual_life_then_the_same_as_a_rest_of_nothing():
    stage = np.random.default_rng(8).exponential(9.0, 300)
    weights = np.linspace(0.5, 1.5, 300)
    ages = np.linspace(0.0, 60.0, 50)

    alone = ResidualLife(stage, None, weights, 20.0, 1.0, 60).released(ages)
    paired = ResidualLife(stage, np.zeros(300), weights, 20.0, 1.0, 60).released(ages)
    assert alone == pytest.approx(paired)


@given(st.lists(st.tuples(st.floats(0, 300), st.floats(0, 60)), max_size=30), st.lists(st.floats(0, 400), max_size=9))
def test_given_any_pairs_when_tables_then_rows_are_distribution_functions(pairs, ages):
    times = HandlingTimes()
    for pair in pairs:
        times.add(*pair)

    for table in times.tables(ages, 60):
        rows = table.released(ages)
        assert rows.shape == (len(ages), 61)
        assert rows.min(initial=0.0) >= 0.0
        assert rows.max(initial=0.0) <= 1.0 + 1e-9
        assert np.all(np.diff(rows, axis=1) >= -1e-9)


def test_given_nobody_under_way_when_kaplan_meier_then_all_weigh_one():
    weights, tail = kaplan_meier_weights(np.array([3.0, 1.0, 2.0]), np.zeros(0))

    assert weights == pytest.approx([1.0, 1.0, 1.0])
    assert tail == pytest.approx(0.0)


def test_given_one_under_way_when_kaplan_meier_then_the_longer_ones_inherit_its_weight():
    weights, tail = kaplan_meier_weights(np.array([1.0, 3.0, 4.0]), np.array([2.0]))

    assert weights == pytest.approx([1.0, 1.5, 1.5])
    assert tail == pytest.approx(0.0)


def test_given_talks_under_way_when_tables_then_the_short_ones_do_not_mislead():
    random = np.random.default_rng(6)
    talks = random.exponential(100.0, 100)
    ended, under_way = talks[talks < 30.0], np.full((talks >= 30.0).sum(), 30.0)
    times = HandlingTimes()
    for talk_s in ended:
        times.add(float(talk_s), 0.0)

    naive = times.tables((), 56)[0].released((5.0,))[0, 20]
    censored = times.tables(tuple(under_way), 56)[0].released((5.0,))[0, 20]
    truth = -np.expm1(-10.0 / 100.0)
    assert naive > 0.3
    assert abs(censored - truth) < 0.07
