import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pacing.estimators import HORIZON_STEPS, STEP_S, AgeHistogram, answer_prior, ending_prior, lognormal_mass
from pacing.predictive import (
    DEEPEST,
    Outlook,
    Prediction,
    call_tables,
    needs_of_analysed,
    needs_of_calls,
    pending_answer_ratio,
    poisson_binomial,
)

HORIZONS = HORIZON_STEPS + 1
_ratio = st.floats(0.0, 1.0)


def _constant(values):
    return np.repeat(np.asarray(values, dtype=np.float64).reshape(-1, 1), HORIZONS, axis=1)


def _view(spare, released, needs, fresh=0.3, error=0.0, ringing=None):
    arrival = np.zeros(HORIZONS)
    arrival[10:20] = 0.1
    count = len(needs) if ringing is None else ringing
    return Outlook(spare, _constant(released), _constant(needs), count, _constant([fresh])[0], arrival, error)


def _brute_shortage(spare, released, needs, depth):
    total = 0.0
    for outcome in itertools.product((0, 1), repeat=len(released) + len(needs)):
        chances = [p if o else 1 - p for p, o in zip([*released, *needs], outcome, strict=True)]
        spare_then = spare + sum(outcome[: len(released)]) - sum(outcome[len(released) :])
        if spare_then <= -depth:
            total += float(np.prod(chances))
    return total


@given(st.lists(_ratio, max_size=9))
def test_given_trials_when_poisson_binomial_then_equal_to_brute_force(chances):
    brute = np.zeros(len(chances) + 1)
    for outcome in itertools.product((0, 1), repeat=len(chances)):
        brute[sum(outcome)] += np.prod([p if o else 1 - p for p, o in zip(chances, outcome, strict=True)])

    assert poisson_binomial(np.array(chances)) == pytest.approx(brute, abs=1e-12)


@settings(max_examples=40)
@given(
    st.integers(-2, 4), st.lists(_ratio, max_size=4), st.lists(_ratio, max_size=4), st.integers(0, 2), st.integers(0, 3)
)
def test_given_few_terms_when_shortage_then_equal_to_brute_force(spare, released, needs, launched, depth):
    prediction = Prediction(_view(spare, released, needs))

    brute = _brute_shortage(spare, released, [*needs, *[0.3] * launched], depth)
    assert prediction.short(launched)[depth, 7] == pytest.approx(brute, abs=1e-9)


def test_given_many_terms_when_shortage_then_normal_is_close_to_exact():
    random = np.random.default_rng(7)
    released, needs = random.uniform(0.02, 0.5, 40), random.uniform(0.05, 0.6, 24)
    spare = 3
    prediction = Prediction(_view(spare, released, needs, fresh=0.25))

    for launched in (0, 3):
        terms = np.concatenate([released, 1 - needs, [0.75] * launched])
        exact = np.cumsum(poisson_binomial(terms))
        for depth in range(4):
            below = int(len(needs) + launched - spare - depth)
            assert prediction.short(launched)[depth, 0] == pytest.approx(exact[below], abs=0.004)


@given(st.integers(0, 6), st.lists(_ratio, max_size=40), st.lists(_ratio, max_size=20), st.floats(0.0, 0.3))
def test_given_any_group_when_shortage_then_deeper_is_rarer_and_probabilities_stay_such(spare, released, needs, error):
    short = Prediction(_view(spare, released, needs, error=error)).short(2)

    assert short.shape == (DEEPEST + 1, HORIZONS)
    assert short.min() >= 0.0
    assert short.max() <= 1.0


@settings(max_examples=60)
@given(
    st.integers(0, 30),
    st.lists(_ratio, max_size=30),
    st.lists(st.floats(0.0, 0.6), max_size=20),
    st.floats(1e-4, 0.4),
    st.floats(1e-4, 0.4),
    st.integers(0, 40),
)
def test_given_a_larger_theta_when_planned_then_never_fewer_launches(spare, released, needs, one, other, most):
    low, high = sorted((one, other))
    prediction = Prediction(_view(spare, released, needs))

    few, many = prediction.plan(low, most), prediction.plan(high, most)
    assert 0 <= few.launch <= many.launch <= most
    assert few.risk <= low
    assert few.launch == most or few.next_risk > low
    assert prediction.plan(high, most, burst=0.01, allowed=0).launch <= many.launch


def test_given_more_allowed_losses_when_planned_then_never_fewer_launches():
    prediction = Prediction(_view(12, [0.2] * 10, [0.3] * 12))

    launches = [prediction.plan(0.3, 50, burst=0.001, allowed=allowed).launch for allowed in range(12)]
    assert launches == sorted(launches)
    assert launches[0] < launches[-1] == prediction.plan(0.3, 50).launch


def test_given_an_uncertain_hit_ratio_when_planned_then_fewer_launches_exact_or_normal():
    for agents in (4, 40):
        sure = Prediction(_view(agents // 2, [0.3] * agents, [0.4] * (agents // 4), error=0.0)).plan(0.03, 200)
        unsure = Prediction(_view(agents // 2, [0.3] * agents, [0.4] * (agents // 4), error=0.3)).plan(0.03, 200)
        assert unsure.launch < sure.launch


def test_given_far_more_launches_than_a_plan_when_shortage_then_close_to_the_exact_law():
    view = _view(40, [], [], fresh=0.5)

    far = Prediction(view).short(76)[0, 0]  # 38 of 76 calls are expected to need one of 40 agents
    exact = np.cumsum(poisson_binomial(np.full(76, 0.5))[::-1])[36]
    assert far == pytest.approx(exact, abs=0.005)


def _tables(person_delay=None, released=None):
    instant = np.zeros(40)
    instant[0] = 1.0
    delay = instant if person_delay is None else person_delay
    never = np.zeros(HORIZONS + 4) if released is None else released
    answer = AgeHistogram(lognormal_mass(10.0, 0.45, 1.0)).density()
    ending = AgeHistogram(ending_prior()).density()
    return call_tables(answer, ending, delay, delay, never, 4)


def test_given_known_hazards_when_calls_age_then_needs_follow_bayes():
    tables = _tables()
    answer, ending = lognormal_mass(10.0, 0.45, 1.0), ending_prior() / ending_prior().sum()
    hit_ratio, age, ahead = 0.3, 16, 20

    need = needs_of_calls(tables, (age * STEP_S,), hit_ratio, 1.0)[0]

    alive = hit_ratio * answer[age:].sum() + 0.7 * ending[age:].sum()
    # Within one bin: an answer becomes a person at mid-bin plus half a bin of analysis.
    truth = hit_ratio * answer[age : age + ahead].sum() / alive
    before = hit_ratio * answer[age : age + ahead - 1].sum() / alive
    assert before - 1e-9 <= need[ahead] <= truth + 1e-9
    assert need[0] == 0.0


def test_given_a_call_past_all_answers_when_asked_then_it_will_hardly_be_answered():
    tables = _tables()

    fresh, old = pending_answer_ratio(tables, (0.0, 27.0), 0.4)
    assert fresh == pytest.approx(0.4)
    assert old < 0.1


def test_given_short_handling_when_needed_then_a_call_that_is_over_needs_nobody():
    quick = np.ones(HORIZONS + 4)
    quick[:8] = 0.0  # every handling takes 4 s

    need = needs_of_calls(_tables(released=quick), (0.0,), 1.0, 1.0)[0]
    assert need.max() < 0.5  # answers spread over more than 4 s
    assert need[-1] < 0.02


def test_given_calls_under_analysis_when_needed_then_machines_that_take_longer_are_told_by_age():
    fast, slow = np.zeros(40), np.zeros(40)
    fast[2:4] = 0.5  # people: 1-2 s
    slow[6:8] = 0.5  # machines: 3-4 s
    density = AgeHistogram(answer_prior()).density()
    tables = call_tables(density, density, fast, slow, np.zeros(HORIZONS + 4), 4)

    fresh, late = needs_of_analysed(tables, (0.0, 2.5), 0.7)[:, 20]
    assert fresh == pytest.approx(0.7)
    assert late == pytest.approx(0.0, abs=1e-6)
