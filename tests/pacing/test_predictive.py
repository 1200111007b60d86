import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pacing.estimators import (
    HORIZON_STEPS,
    STEP_S,
    AgeHistogram,
    HandlingTimes,
    answer_prior,
    ending_prior,
    lognormal_mass,
)
from pacing.exact import poisson_binomial
from pacing.predictive import (
    EXACT_SPARE,
    EXACT_TERMS,
    HitEstimate,
    Outlook,
    Prediction,
    announced,
    call_tables,
    outlook,
    pending_answer_ratio,
    release_tables,
)
from tests.pacing.worlds import snapshot

HORIZONS = HORIZON_STEPS + 1
PATIENCE = 4
_ratio = st.floats(0.0, 1.0)
_some = st.floats(0.02, 0.6)


def _constant(values):
    return np.repeat(np.asarray(values, dtype=np.float64).reshape(-1, 1), HORIZONS, axis=1)


def _rising(values, at=20):
    """Chances that grow evenly to their value, from horizon 0 to ``at``."""
    return _constant(values) * np.minimum(np.arange(HORIZONS) / at, 1.0)


def _view(spare, released, needs, fresh=0.3, error=0.0, ringing=None, exact=True, shape=_constant):
    """An outlook of single agents and calls; ``fresh``: chance that a call launched now needs an agent."""
    released, needs, fresh = shape(released), shape(needs), shape([fresh])[0]
    arrival = np.zeros(HORIZONS)
    arrival[10:20] = 0.1
    rows = ringing if ringing is not None else len(needs)
    third = [(p * (1 - p) * (1 - 2 * p)).sum(axis=0) for p in (released, needs)]
    return Outlook(
        spare_now=spare,
        mean=spare + released.sum(axis=0) - needs.sum(axis=0),
        variance=(released * (1 - released)).sum(axis=0) + (needs * (1 - needs)).sum(axis=0),
        third=third[0] - third[1],
        ringing=needs[:rows].sum(axis=0),
        fresh=fresh,
        arrival=arrival,
        free_by=released.sum(axis=0),
        hit_relative_error=error,
        fresh_people=float(fresh.max()),
        people=float(needs.max(axis=1, initial=0.0).sum()),
        freed=float(released.sum(axis=0)[-1]),
        released=released if exact else None,
        needs=needs if exact else None,
        ringing_rows=rows,
    )


def _brute_shortage(spare, released, needs, depth):
    total = 0.0
    for outcome in itertools.product((0, 1), repeat=len(released) + len(needs)):
        chances = [p if o else 1 - p for p, o in zip([*released, *needs], outcome, strict=True)]
        spare_then = spare + sum(outcome[: len(released)]) - sum(outcome[len(released) :])
        if spare_then <= -depth:
            total += float(np.prod(chances))
    return total


# The distribution of the agents to spare ------------------------------------------------------------------------------


@given(st.lists(_ratio, max_size=9))
def test_given_trials_when_poisson_binomial_then_equal_to_brute_force(chances):
    brute = np.zeros(len(chances) + 1)
    for outcome in itertools.product((0, 1), repeat=len(chances)):
        brute[sum(outcome)] += np.prod([p if o else 1 - p for p, o in zip(chances, outcome, strict=True)])

    assert poisson_binomial(np.array(chances)) == pytest.approx(brute, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(-2, 4), st.lists(_ratio, max_size=4), st.lists(_ratio, max_size=4), st.integers(0, 2), st.integers(0, 3)
)
def test_given_few_terms_when_shortage_then_equal_to_brute_force(spare, released, needs, launched, depth):
    prediction = Prediction(_view(spare, released, needs))

    brute = _brute_shortage(spare, released, [*needs, *[0.3] * launched], depth)
    assert prediction.short(launched, depth)[7] == pytest.approx(brute, abs=1e-9)


@pytest.mark.parametrize("scale", [0.3, 1.0])
@pytest.mark.parametrize("launched", [0, 3])
def test_given_many_terms_when_shortage_then_normal_is_close_to_exact(launched, scale):
    random = np.random.default_rng(7)
    released, needs = random.uniform(0.02, 0.5 * scale, 40), random.uniform(0.05, 0.6 * scale, 24)
    prediction = Prediction(_view(3, released, needs, fresh=0.25, exact=False))

    exact = np.cumsum(poisson_binomial(np.concatenate([released, 1 - needs, [0.75] * launched])))
    for depth in range(6):
        below = len(needs) + launched - 3 - depth
        assert prediction.short(launched, depth)[0] == pytest.approx(exact[below], abs=0.004)


def test_given_rare_answers_when_shortage_then_skewness_brings_the_normal_law_nearer():
    needs = [0.04] * 30
    view = _view(2, [], needs, exact=False)

    exact = 1.0 - poisson_binomial(np.array(needs))[:2].sum()
    with_skewness = abs(Prediction(view).short(0)[0] - exact)
    without = abs(Prediction(replace(view, third=np.zeros(HORIZONS))).short(0)[0] - exact)
    assert with_skewness < without / 3


def test_given_far_more_launches_than_a_plan_when_shortage_then_close_to_the_exact_law():
    far = Prediction(_view(40, [], [], fresh=0.5, exact=False)).short(76)[0]  # 38 of 76 need one of 40 agents

    assert far == pytest.approx(np.cumsum(poisson_binomial(np.full(76, 0.5))[::-1])[36], abs=0.005)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(-3, 6),
    st.lists(_ratio, max_size=12),
    st.lists(_ratio, max_size=12),
    st.floats(0.0, 0.3),
    st.integers(0, 9),
    st.booleans(),
)
def test_given_any_group_when_shortage_then_deeper_is_rarer_and_probabilities_stay_such(
    spare, released, needs, error, launched, exact
):
    prediction = Prediction(_view(spare, released, needs, error=error, exact=exact))

    rows = np.array([prediction.short(launched, depth) for depth in range(5)])
    assert rows.shape == (5, HORIZONS)
    assert rows.min() >= 0.0
    assert rows.max() <= 1.0 + 1e-12
    assert (np.diff(rows, axis=0) <= (1e-12 if exact else 0.2)).all()  # the correction for skewness is at most 0.1
    assert prediction.shortfall(launched, 2) == rows[3].max()


def test_given_an_uncertain_hit_ratio_when_planned_then_fewer_launches_exact_or_normal():
    for agents, exact in ((12, True), (12, False), (40, False)):
        launches = [
            Prediction(_view(agents // 2, [0.3] * agents, [0.4] * (agents // 4), error=error, exact=exact)).launches(
                0.03, 200
            )
            for error in (0.0, 0.1, 0.3)
        ]
        assert launches == sorted(launches, reverse=True)
        assert launches[-1] < launches[0]


def test_given_an_uncertain_hit_ratio_when_calls_are_analysed_then_only_ringing_ones_share_it():
    ringing = Prediction(_view(2, [], [0.5] * 4, error=0.4)).short(0)[0]
    analysed = Prediction(_view(2, [], [0.5] * 4, error=0.4, ringing=0)).short(0)[0]

    assert analysed == pytest.approx(Prediction(_view(2, [], [0.5] * 4)).short(0)[0])
    assert ringing != pytest.approx(analysed, abs=0.005)


# How many calls -------------------------------------------------------------------------------------------------------


def _simple_loop(prediction, theta, most):
    launched = 0
    while launched < most and prediction.risk(launched) <= theta:
        launched += 1
    return launched


@settings(max_examples=150, deadline=None)
@given(
    st.integers(-2, 60),
    st.lists(_some, max_size=14),
    st.lists(_some, max_size=10),
    st.floats(0.02, 0.7),
    st.floats(0.0, 0.3),
    st.floats(1e-4, 0.4),
    st.integers(0, 500),
    st.booleans(),
)
def test_given_any_group_when_launches_then_the_first_whose_risk_is_above_theta(
    spare, released, needs, fresh, error, theta, most, exact
):
    exact = exact and spare <= EXACT_SPARE
    view = _view(spare, released, needs, fresh=fresh, error=error, exact=exact, shape=_rising)

    assert Prediction(view).launches(theta, most) == _simple_loop(Prediction(view), theta, most)


@pytest.mark.parametrize("spare", [10, 33, 60, 115, 300, 900])
def test_given_hundreds_of_launches_when_counted_in_strides_then_none_is_left_out(spare):
    view = _view(spare, [], [], fresh=0.3, exact=False)
    found = Prediction(view).launches(0.03, 4000)

    assert Prediction(view).risk(found - 1) <= 0.03 < Prediction(view).risk(found)
    for most in (found - 1, found, found + 1):
        assert Prediction(view).launches(0.03, most) == min(most, found)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 30),
    st.lists(_ratio, max_size=12),
    st.lists(st.floats(0.0, 0.6), max_size=12),
    st.floats(1e-4, 0.4),
    st.floats(1e-4, 0.4),
    st.integers(0, 40),
    st.booleans(),
)
def test_given_a_larger_theta_when_planned_then_never_fewer_launches(spare, released, needs, one, other, most, exact):
    low, high = sorted((one, other))
    prediction = Prediction(_view(spare, released, needs, exact=exact))

    assert 0 <= prediction.launches(low, most) <= prediction.launches(high, most) <= most


def test_given_an_answer_that_can_only_harm_later_ones_when_risk_then_the_worst_moment_from_it_on_counts():
    view = _view(1, [], [0.5] * 3, exact=False)
    early = np.zeros(HORIZONS)
    early[30:] = 1.0  # a shortage threatens only from 15 s on, after all answers (5 to 10 s)
    view = replace(view, mean=np.where(early, -1.0, 9.0), variance=np.full(HORIZONS, 0.5), third=np.zeros(HORIZONS))
    past = replace(view, mean=np.where(np.arange(HORIZONS) < 5, -1.0, 9.0))

    assert Prediction(view).risk(0) > 0.9
    assert Prediction(past).risk(0) < 0.001  # over before the first answer


# Whom nobody is there for ---------------------------------------------------------------------------------------------


def test_given_calls_that_all_come_at_once_when_expected_then_the_mean_shortage():
    view = _view(1, [], [0.5, 0.5, 0.5], fresh=0.0)
    people, abandoned = Prediction(view).expected(0)

    assert people == pytest.approx(1.5)
    assert abandoned == pytest.approx(3 / 8 * 1 + 1 / 8 * 2)  # two or three come to one agent


def test_given_people_who_wait_for_nobody_when_expected_then_they_are_lost():
    assert Prediction(_view(-2, [], [])).expected(0) == (0.0, pytest.approx(2.0))
    assert Prediction(_view(-2, [], [], exact=False)).expected(0)[1] == pytest.approx(2.0, abs=0.01)


def test_given_two_shortages_in_a_row_when_expected_then_both_count():
    steps = np.arange(HORIZONS)
    needs = np.stack([(steps >= 10) * 1.0, (steps >= 40) * 1.0])
    released = ((steps >= 25) & (steps < 40))[None, :] * 1.0  # back at 25, to an inbound call at 40
    view = replace(
        _view(0, [0.0], [0.0, 0.0]), released=released, needs=needs, free_by=released.sum(axis=0), people=2.0
    )

    assert Prediction(view).expected(0)[1] == pytest.approx(2.0, abs=0.51)
    assert Prediction(view).expected(0)[1] >= 2.0 - 1e-9


def _lost_in_a_world(spare, released_at, needed_at, random, runs=3000):
    """Mean people lost when agents and calls come at random instants and the lost ones go."""
    lost = 0
    for _ in range(runs):
        free = spare
        events = [(at, 1) for at, p in released_at if random.random() < p]
        events += [(at, -1) for at, p in needed_at if random.random() < p]
        for _, step in sorted(events):
            if free + step < 0:
                lost += 1
            else:
                free += step
    return lost / runs


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize(("spare", "agents", "calls"), [(1, 8, 8), (0, 10, 6), (3, 4, 12)])
def test_given_a_world_of_chance_when_expected_then_as_many_are_lost_as_in_it(spare, agents, calls, exact):
    random = np.random.default_rng(11)
    steps = np.arange(HORIZONS)
    when_free, when_needed = random.uniform(2, 54, agents), random.uniform(2, 54, calls)
    chances_free, chances_needed = random.uniform(0.2, 0.9, agents), random.uniform(0.1, 0.6, calls)
    rows = [
        np.stack([p * (steps >= at) for at, p in zip(ats, ps, strict=True)])
        for ats, ps in ((when_free, chances_free), (when_needed, chances_needed))
    ]
    view = _view(spare, [0.0], [0.0], exact=exact)
    released, needs = rows
    moments = [(row * (1 - row)).sum(axis=0) for row in rows]
    third = [(row * (1 - row) * (1 - 2 * row)).sum(axis=0) for row in rows]
    view = replace(
        view,
        mean=spare + released.sum(axis=0) - needs.sum(axis=0),
        variance=moments[0] + moments[1],
        third=third[0] - third[1],
        free_by=released.sum(axis=0),
        people=float(chances_needed.sum()),
        released=released if exact else None,
        needs=needs if exact else None,
        ringing_rows=calls,
    )

    truth = _lost_in_a_world(
        spare,
        list(zip(when_free, chances_free, strict=True)),
        list(zip(when_needed, chances_needed, strict=True)),
        random,
    )
    worst = sum(Prediction(view).short(0, depth) for depth in range(1, 1 + calls)).max()
    expected = Prediction(view).expected(0)[1]
    assert abs(expected - truth) < 0.35 * truth + 0.02
    assert worst < expected


def test_given_a_crowd_that_is_short_for_long_when_expected_then_the_lost_no_longer_count_as_needing_an_agent():
    random, steps = np.random.default_rng(12), np.arange(HORIZONS)
    rates_free, rates_needed = np.full(HORIZONS, 3.0), np.full(HORIZONS, 3.0)
    free_by, need = np.cumsum(rates_free) - 3.0, np.cumsum(rates_needed) - 3.0
    # Poisson streams: a short start, then as many come free as are needed.
    view = replace(
        _view(-10, [], [], exact=False),
        mean=-10 + free_by - need,
        variance=free_by + need + 1e-3,
        third=free_by - need,
        free_by=free_by,
        people=float(need[-1]),
    )
    lost = []
    for _ in range(4000):
        spare, gone = 0, 10
        for step in random.poisson(3.0, len(steps) - 1) - random.poisson(3.0, len(steps) - 1):
            spare += step
            gone += max(-spare, 0)
            spare = max(spare, 0)
        lost.append(gone)

    assert Prediction(view).expected(0)[1] == pytest.approx(np.mean(lost), rel=0.1)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(-3, 6), st.lists(_ratio, max_size=12), st.lists(_ratio, max_size=12), st.integers(0, 9), st.booleans()
)
def test_given_any_group_when_expected_then_no_more_are_lost_than_there_are(spare, released, needs, launched, exact):
    people, abandoned = Prediction(_view(spare, released, needs, exact=exact, shape=_rising)).expected(launched)

    assert 0.0 <= abandoned <= people + max(-spare, 0)


# Single calls and agents ----------------------------------------------------------------------------------------------


def _tables(person_delay=None, released=None, other=None, person=None):
    instant = np.zeros(40)
    instant[0] = 1.0
    delay = instant if person_delay is None else person_delay
    never = np.zeros(HORIZONS + PATIENCE) if released is None else released
    answer = AgeHistogram(lognormal_mass(10.0, 0.45, 1.0)).density() if person is None else person
    ending = AgeHistogram(ending_prior()).density()
    return call_tables(answer, answer if other is None else other, ending, delay, delay, never, PATIENCE)


def _lives(pairs=()):
    times = HandlingTimes()
    for pair in pairs:
        times.add(*pair)
    return [release_tables(life, PATIENCE) for life in times.tables((), HORIZON_STEPS + PATIENCE)]


def _outlook(group, tables, hit, spare=0, pairs=(), **how):
    return outlook(group, tables, *_lives(pairs), hit, spare, **how)


def test_given_known_hazards_when_calls_age_then_needs_follow_bayes():
    answer, ending = lognormal_mass(10.0, 0.45, 1.0), ending_prior() / ending_prior().sum()
    hit_ratio, age, ahead = 0.3, 16, 20
    view = _outlook(snapshot(ringing=[age * STEP_S]), _tables(), HitEstimate(hit_ratio, 1.0, 0.0))
    need = view.needs[0]

    alive = hit_ratio * answer[age:].sum() + 0.7 * ending[age:].sum()
    # Within one bin: an answer becomes a person at mid-bin plus half a bin of analysis.
    truth = hit_ratio * answer[age : age + ahead].sum() / alive
    before = hit_ratio * answer[age : age + ahead - 1].sum() / alive
    assert before - 1e-9 <= need[ahead] <= truth + 1e-9
    assert need[0] == 0.0


def test_given_a_call_past_all_answers_when_asked_then_it_will_hardly_be_answered():
    fresh, old = pending_answer_ratio(_tables(), (0.0, 27.0), HitEstimate(0.4, 1.0, 0.0))

    assert fresh == pytest.approx(0.4)
    assert old < 0.1


def test_given_machines_that_answer_late_when_calls_ring_on_then_fewer_people_are_among_them():
    early, late = lognormal_mass(8.0, 0.2, 1.0), lognormal_mass(24.0, 0.1, 1.0)
    tables, hit = _tables(person=early, other=late), HitEstimate(0.6, 0.5, 0.0)
    mixed = _tables(person=early, other=early)

    after = [_outlook(snapshot(ringing=[10.0]), each, hit).people for each in (tables, mixed)]
    assert pending_answer_ratio(tables, (10.0,), hit)[0] > 0.5  # the machine is to come
    assert after[0] < 0.7 * after[1]


def test_given_short_handling_when_needed_then_a_call_that_is_over_needs_nobody():
    quick = np.ones(HORIZONS + PATIENCE)
    quick[:8] = 0.0  # every handling takes 4 s

    view = _outlook(snapshot(ringing=[0.0]), _tables(released=quick), HitEstimate(1.0, 1.0, 0.0))
    assert view.needs[0].max() < 0.5  # answers spread over more than 4 s
    assert view.needs[0, -1] < 0.02
    assert view.people == pytest.approx(1.0, abs=0.01)


def test_given_calls_under_analysis_when_needed_then_machines_that_take_longer_are_told_by_age():
    fast, slow = np.zeros(40), np.zeros(40)
    fast[2:4] = 0.5  # people: 1-2 s
    slow[6:8] = 0.5  # machines: 3-4 s
    density = AgeHistogram(answer_prior()).density()
    tables = call_tables(density, density, density, fast, slow, np.zeros(HORIZONS + PATIENCE), PATIENCE)

    view = _outlook(snapshot(analysing=[0.0, 2.5, 15.0]), tables, HitEstimate(0.5, 0.7, 0.0))
    assert view.needs[:, 20] == pytest.approx([0.7, 0.0, 0.7], abs=1e-6)  # past all verdicts: one must be near
    assert view.ringing_rows == 0


@settings(max_examples=60, deadline=None)
@given(
    talking=st.lists(st.floats(0.0, 90.0), max_size=9),
    wrapping=st.lists(st.tuples(st.floats(0.0, 90.0), st.floats(0.0, 90.0)), max_size=4),
    ringing=st.lists(st.floats(0.0, 59.0), max_size=6),
    analysing=st.lists(st.floats(0.0, 19.0), max_size=3),
    hinted=st.lists(st.floats(0.0, 60.0), max_size=2),
    spare=st.integers(-2, 5),
    pairs=st.integers(0, 12),
)
def test_given_any_small_group_when_counted_by_bin_then_its_moments_are_the_sums_over_single_ones(
    talking, wrapping, ringing, analysing, hinted, spare, pairs
):
    group = snapshot(
        talking=talking, wrapping=wrapping, ringing=ringing, analysing=analysing, agents_ready_in_s=tuple(hinted)
    )
    random = np.random.default_rng(pairs)
    handled = list(zip(random.exponential(50.0, pairs), random.exponential(9.0, pairs), strict=True))
    tables, hit = _tables(), HitEstimate(0.4, 0.8, 0.1)
    single = _outlook(group, tables, hit, spare, handled)
    binned = _outlook(group, tables, hit, spare, handled, exact=False)

    assert single.released is not None
    assert binned.released is None
    for name in ("mean", "ringing", "fresh", "free_by"):
        assert getattr(binned, name) == pytest.approx(getattr(single, name), abs=1e-9), name
    assert binned.people == pytest.approx(single.people)
    assert binned.freed == pytest.approx(single.freed)
    # Between two rows a mean is interpolated and a variance, being concave in it, falls short a little.
    terms = len(single.released) + len(single.needs)
    assert binned.variance == pytest.approx(single.variance, abs=0.02 * terms + 1e-9)
    assert (binned.variance <= single.variance + 1e-9).all()


def test_given_a_group_beyond_the_exact_size_when_outlook_then_no_single_rows():
    hit = HitEstimate(0.4, 1.0, 0.0)
    assert _outlook(snapshot(talking=[5.0] * EXACT_TERMS), _tables(), hit).released is not None
    assert _outlook(snapshot(talking=[5.0] * (EXACT_TERMS + 1)), _tables(), hit).released is None
    assert _outlook(snapshot(talking=[5.0]), _tables(), hit, EXACT_SPARE + 1).released is None


def test_given_announced_times_when_believed_then_agents_come_free_about_then():
    chances = announced((0.0, 10.0), PATIENCE)

    at = [chances[1, round((seconds - PATIENCE * STEP_S) / STEP_S)] for seconds in (7.0, 11.0, 15.0)]
    assert at == [0.0, pytest.approx(0.5), pytest.approx(1.0)]
    assert chances[0, 0] == 1.0  # overdue: at any moment
    assert announced((), PATIENCE).shape == (0, HORIZONS)


def test_given_announced_times_when_not_believed_then_they_count_as_beginning_their_wrap_up():
    hit, handled = HitEstimate(0.4, 1.0, 0.0), [(40.0, 12.0)] * 60
    hinted = snapshot(agents_ready_in_s=(3.0, 3.0))

    believed = _outlook(hinted, _tables(), hit, 0, handled).free_by
    beginning = _outlook(hinted, _tables(), hit, 0, handled, hints=False).free_by
    wrapping = _outlook(snapshot(wrapping=[(0.0, 0.0)] * 2), _tables(), hit, 0, handled).free_by
    assert np.array_equal(beginning, wrapping)
    assert believed[8] > beginning[8]


@given(st.floats(0.0, 0.5), st.booleans())
def test_given_few_handled_calls_when_releases_are_uncertain_then_the_prediction_widens(error, more):
    assume(error > 0.01)
    group, hit = snapshot(talking=[20.0] * 30), HitEstimate(0.4, 1.0, 0.0)
    handled = [(40.0, 5.0)] * 5 + [(90.0, 5.0)] * (9 if more else 5)

    sure = _outlook(group, _tables(), hit, 0, handled)
    unsure = _outlook(group, _tables(), hit, 0, handled, release_relative_error=error)
    assert unsure.variance == pytest.approx(sure.variance + (error * sure.free_by) ** 2)
    assert np.array_equal(unsure.mean, sure.mean)
