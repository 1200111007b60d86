import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacing.estimators import (
    AGE_BINS,
    CENSORED_TALKS,
    CENSORED_UNTIL,
    HANDLED_KEPT,
    HIT_MEMORIES,
    STEP_S,
    VERDICT_LAST_S,
    VOLUME_CALLS,
    VOLUME_MEMORY_S,
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
    assert abs(mean - truth) < 4 * error
    assert error < 0.03


@pytest.mark.parametrize(("before", "after"), [(0.2, 0.5), (0.5, 0.2), (0.1, 0.25)])
def test_given_a_jump_when_estimated_then_the_short_memory_takes_over_where_the_long_one_lags(before, after):
    random = np.random.default_rng(2)
    ratio = HitRatio()
    _feed(ratio, random.random(3000) < before)
    steady, steady_error = ratio.estimate()
    _feed(ratio, random.random(200) < after, start=3000)
    mean, error = ratio.estimate()

    followed = (mean - before) / (after - before)
    assert abs(steady - before) < 4 * steady_error
    assert followed > 0.6  # the average over 1,600 calls alone would have gone an eighth of the way
    assert error > steady_error  # fewer calls are behind it


def test_given_few_calls_when_estimated_then_the_error_tells():
    ratio = HitRatio()
    errors = []
    for upto in (0, 30, 300, 1200):
        _feed(ratio, [index % 3 == 0 for index in range(ratio.total, upto)])
        errors.append(ratio.estimate()[1])

    assert errors == sorted(errors, reverse=True)
    assert errors[0] == pytest.approx(0.25)  # a prior of four calls at one half
    assert errors[-1] < 0.035


def test_given_half_known_outcomes_when_counted_then_means_move_by_their_chance_and_credit_stays():
    known, half = HitRatio(), HitRatio()
    _feed(known, [1, 0] * 50)
    for index in range(100):
        half.observe(0.5, index)
    half.advance(100.0)

    assert half.total == known.total
    assert half.estimate()[0] == pytest.approx(0.5)
    assert half.state(0.0)["credit"] == [0.0] * len(HIT_MEMORIES)


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
        analysis.answered(index, index - 8.0)
        if index % 4:
            analysis.person(1.2, index + 1.2)
        else:
            analysis.other(3.2, index + 3.2, index - 8.0)
    analysis.advance(1000.0, 30.0)

    share, error = analysis.person_share()
    assert share == pytest.approx(0.75, abs=0.03)
    assert 0.015 < error < 0.05
    assert analysis.person_delay.quantile_s(0.5) == 1.5  # upper edge of its bin
    assert analysis.other_delay.quantile_s(0.5) == 3.5


def test_given_verdicts_when_their_cohort_is_not_whole_then_they_do_not_count_yet():
    analysis = AnswerAnalysis()
    before = analysis.person_share()
    for _ in range(50):
        analysis.answered(8.0, 0.0)
        analysis.person(1.0, 9.0)
    analysis.advance(30.0, 30.0)
    assert analysis.person_share() == before
    analysis.advance(45.0, 30.0)

    assert analysis.person_share()[0] > before[0]


def test_given_answers_at_the_same_time_when_verdicts_come_then_each_finds_its_own_and_the_lost_are_given_up():
    analysis = AnswerAnalysis()
    for answer in ((10.0, 2.0), (10.0, 5.0), (11.0, 5.0), (12.0, 1.0)):
        analysis.answered(*answer)
    analysis.other(3.0, 13.0, 5.0)  # the second; its launch tells it from the first
    analysis.person(2.1, 13.1)  # the third

    assert analysis.state(0.0)["answers"] == [[10.0, 2.0], [12.0, 1.0]]
    assert sorted(analysis.state(0.0)["people"]["immature"]) == [[5.0, 0.0], [5.0, 1.0]]
    analysis.advance(12.0 + VERDICT_LAST_S, 30.0)
    assert analysis.state(0.0)["answers"] == [[12.0, 1.0]]


def test_given_thousands_of_calls_a_minute_when_counted_then_memories_are_longer():
    few, many = HitRatio(), HitRatio()
    random = np.random.default_rng(3)
    for second in range(600):
        for ratio, calls in ((few, 1), (many, 40)):
            for hit in random.random(calls) < 0.3:
                ratio.observe(bool(hit), float(second))
            ratio.advance(float(second))

    assert few.state(0.0)["scale"] == 1.0
    assert many.state(0.0)["scale"] == pytest.approx(40 * VOLUME_MEMORY_S / VOLUME_CALLS, rel=0.02)
    assert many.estimate()[1] < few.estimate()[1] / 2
    for ratio in (few, many):
        mean, error = ratio.estimate()
        assert abs(mean - 0.3) < 3 * error


@given(st.lists(st.tuples(st.integers(0, 80), st.floats(0.0, 0.5), st.integers(0, 30)), max_size=20))
def test_given_any_volumes_when_loaded_from_state_then_the_ratio_is_the_same_at_any_time(story):
    ratio, now_s = HitRatio(), 0.0
    for calls, share, seconds in story:
        now_s += seconds
        for call in range(calls):
            ratio.observe(call < share * calls, now_s - 2.0)
        ratio.advance(now_s)
        ratio.estimate()
        copy = HitRatio()
        copy.load(ratio.state(0.0))
        assert copy.estimate() == ratio.estimate()


@given(st.lists(st.booleans(), min_size=2, max_size=200))
def test_given_one_cohort_when_counted_then_in_whichever_order_its_outcomes_came(hits):
    one, other = HitRatio(), HitRatio()
    for ratio, told in ((one, hits), (other, sorted(hits))):
        for hit in told:
            ratio.observe(hit, 5.0)
        ratio.advance(5.0)

    assert one.estimate() == other.estimate()


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


def test_given_enough_talks_when_tables_then_those_under_way_are_left_out_of_account():
    times = HandlingTimes()
    for talk_s in np.random.default_rng(7).exponential(30.0, CENSORED_UNTIL):
        times.add(float(talk_s), 5.0)

    assert not times.censored
    lonely = times.tables((), 56)[0].released((5.0,))
    crowd = times.tables((100.0,) * (CENSORED_UNTIL // CENSORED_TALKS), 56)[0].released((5.0,))
    assert np.array_equal(lonely, crowd)
    times.tables((1.0,) * (CENSORED_UNTIL // CENSORED_TALKS + 1), 56)
    assert times.censored  # in a crowd that began together the longer half has not been seen


def test_given_pairs_when_handled_then_only_the_last_hours_are_kept_and_more_in_a_crowd():
    few, many = HandlingTimes(), HandlingTimes()
    many.tables((1.0,) * 400, 56)
    for index in range(2000):
        few.add(float(index), 1.0)
        many.add(float(index), 1.0)

    assert [len(each.state()["pairs"]) for each in (few, many)] == [HANDLED_KEPT, 1200]
    assert few.state()["pairs"][-1] == [1999.0, 1.0]
    assert many.relative_error < few.relative_error == pytest.approx(601**-0.5)


@given(st.lists(st.floats(0.0, 200.0), max_size=60), st.integers(0, 40))
def test_given_ages_when_counted_by_bin_then_table_rows_sum_to_those_of_single_ages(ages, pairs):
    random = np.random.default_rng(pairs)
    stage, rest = random.exponential(40.0, pairs), random.exponential(10.0, pairs)
    life = ResidualLife(stage, rest, np.ones(pairs), 50.0, 1.0, 60)

    assert life.counts(ages) @ life.table == pytest.approx(life.released(ages).sum(axis=0), abs=1e-9)
    assert life.counts(ages).sum() == pytest.approx(len(ages))


@given(st.lists(st.tuples(st.floats(0.1, 40.0), st.floats(0.0, 1.0)), max_size=30))
def test_given_observations_cut_short_when_histogram_then_still_a_distribution_and_what_was_ruled_out_loses(cut):
    histogram = AgeHistogram(ending_prior())
    for age_s, weight in cut:
        before = histogram.ahead(age_s)
        histogram.add_censored(age_s, weight)
        assert histogram.ahead(age_s) >= before - 1e-9

    assert histogram.density().min() >= 0.0
    assert histogram.density().sum() == pytest.approx(1.0)
    assert histogram.ahead(0.0) == pytest.approx(1.0)


def test_given_every_ring_cut_at_fifteen_seconds_when_histogram_then_ages_before_are_learnt_and_later_ones_kept():
    random = np.random.default_rng(9)
    histogram, whole = AgeHistogram(answer_prior()), AgeHistogram(answer_prior())
    for age_s in random.lognormal(2.3, 0.45, 3000):
        whole.add(float(age_s))
        if age_s < 15.0:
            histogram.add(float(age_s))
        else:
            histogram.add_censored(15.0, 1.0)

    for age_s in (5.0, 10.0, 15.0):
        assert histogram.ahead(age_s) == pytest.approx(whole.ahead(age_s), abs=0.03)
    later = histogram.density()[30:]
    assert later / later.sum() == pytest.approx(answer_prior()[30:] / answer_prior()[30:].sum(), abs=1e-9)
