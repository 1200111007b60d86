import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacing import Algorithm, Goal, Mode, PacingTarget
from pacing.control import (
    BIAS_GAIN,
    CREDIT_LOG_MOST,
    FIRST_THETA_RATIO,
    GAIN,
    GAIN_LEAST,
    GAIN_PEOPLE,
    LOG_THETA_MAX,
    LOG_THETA_MIN,
    SET_POINT,
    WINDOW_GAIN,
    WINDOW_NEAR,
    WINDOW_S,
    ThetaControl,
    overdial_limit,
)
from tests.pacing.worlds import PREDICTIVE, snapshot

LIMIT = 0.03
START = math.log(FIRST_THETA_RATIO * LIMIT)
NOTHING = snapshot()


def told(outcomes, control=None, limit=LIMIT, at_s=0.0, governed=True):
    control = control or ThetaControl()
    for abandoned in outcomes:
        control.answered_person(limit, at_s, abandoned=bool(abandoned), governed=governed)
    return control


def log_theta(control, target=PREDICTIVE):
    return math.log(control.theta(target))


def test_given_nobody_answered_when_asked_then_theta_is_in_proportion_to_the_limit():
    assert ThetaControl().theta(PREDICTIVE) == pytest.approx(0.03 * FIRST_THETA_RATIO)
    assert ThetaControl().theta(replace(PREDICTIVE, max_overdial_ratio=0.01)) == pytest.approx(0.01 * FIRST_THETA_RATIO)


def test_given_an_abandoned_person_when_told_then_it_outweighs_thirty_served_ones():
    control = told([True])
    lost = log_theta(control)
    told([False] * 33, control)

    assert lost - START == pytest.approx(GAIN * (SET_POINT * LIMIT - 1), rel=0.001)
    assert log_theta(control) == pytest.approx(START, abs=0.02)


def at_set_point(people):
    """So many people, of whom just as many are abandoned as is aimed at, evenly spread."""
    lost = [math.floor(SET_POINT * LIMIT * person + 0.5) for person in range(people + 1)]
    return [after > before for before, after in itertools.pairwise(lost)]


def test_given_the_set_point_when_it_is_met_for_long_then_theta_is_where_it_began():
    assert sum(at_set_point(10_000)) == pytest.approx(10_000 * SET_POINT * LIMIT, abs=1)
    assert log_theta(told(at_set_point(10_000))) == pytest.approx(START, abs=0.1)


def test_given_people_saved_up_when_told_then_the_credit_is_bounded_and_the_debt_is_not():
    credits = [log_theta(told([False] * people)) - START for people in (90, 290, 5000, 50_000)]
    debt = log_theta(told([True] * 3 + [False] * 30)) - START

    assert credits[1] == pytest.approx(CREDIT_LOG_MOST, abs=0.2)  # and the beginning of a bias
    assert credits == sorted(credits)
    assert credits[-1] <= 2 * CREDIT_LOG_MOST + 1e-9  # as much again may be taken for a bias of the model
    assert debt == pytest.approx(GAIN * (33 * SET_POINT * LIMIT - 3), rel=0.02)


def test_given_an_excess_that_stays_when_many_people_are_told_then_theta_learns_the_bias_and_keeps_it():
    control = told([True] * 2)
    once = log_theta(control)
    told(at_set_point(2040), control)  # about two people too many, all the time
    later = log_theta(control)
    told([False] * 67, control)  # made up for

    people = 2040
    drift = BIAS_GAIN * 2 * people
    debt = GAIN * (GAIN_PEOPLE / people) ** 0.5 * 2
    assert later == pytest.approx(START - drift - debt, abs=0.15)
    assert once == pytest.approx(START - GAIN * 2, abs=0.1)
    assert log_theta(control) == pytest.approx(START - drift, abs=0.15)


def test_given_many_people_when_one_more_is_lost_then_it_weighs_less_than_at_first():
    def weight(people):
        control = told(at_set_point(people))
        before = log_theta(control)
        return before - log_theta(told([True], control))

    assert weight(0) == pytest.approx(GAIN * (1 - SET_POINT * LIMIT), rel=0.001)
    weights = [weight(people) for people in (0, 4 * GAIN_PEOPLE, 16 * GAIN_PEOPLE, 40 * GAIN_PEOPLE)]
    assert weights[0] > weights[1] > weights[2]
    assert weights[1] == pytest.approx(weights[0] / 2, rel=0.1)
    assert weights[2:] == pytest.approx([GAIN_LEAST] * 2, rel=0.1)


def test_given_launches_bounded_by_something_else_when_all_are_served_then_theta_does_not_wind_up():
    assert ThetaControl().theta(PREDICTIVE) == told([False] * 1000, governed=False).theta(PREDICTIVE)


def test_given_a_debt_when_something_else_bounds_the_launches_then_it_is_still_paid_back_but_no_further():
    control = told([True])
    told([False] * 1000, control, governed=False)

    assert START <= log_theta(control) <= START + GAIN * SET_POINT * LIMIT


@given(st.lists(st.booleans(), max_size=300), st.sampled_from([0.001, 0.01, 0.03, 0.2, 1.0]))
def test_given_any_history_when_asked_then_theta_stays_within_its_bounds(history, limit):
    control = told(history, limit=limit)

    theta = control.theta(PacingTarget(Mode.PREDICTIVE, value=limit, max_overdial_ratio=limit))
    assert math.exp(LOG_THETA_MIN) * 0.999 <= theta <= math.exp(LOG_THETA_MAX) * 1.001


# The quarter of an hour ---------------------------------------------------------------------------------------------


def test_given_a_quarter_of_an_hour_near_its_own_limit_when_asked_then_theta_shrinks_the_more_the_nearer():
    def brake(abandoned):
        return told([True] * abandoned + [False] * (400 - abandoned)).window(LIMIT)[2]

    assert brake(12) == 0.0  # at the limit, which chance alone reaches in every other quarter
    brakes = [brake(abandoned) for abandoned in range(12, 30)]
    assert brakes == sorted(brakes)
    assert brakes[-1] > 1.5
    # At twice the limit of 12 nothing is left: the whole distance is missing.
    assert brake(24) == pytest.approx(WINDOW_GAIN * WINDOW_NEAR)


def test_given_a_brake_when_theta_is_asked_then_it_is_shrunk_by_just_that():
    control = told(([True] + [False] * 17) * 22)
    braked = log_theta(control)
    brake = control.window(LIMIT)[2]
    control.elapse(1.0, WINDOW_S + 1.0, NOTHING, PREDICTIVE)

    assert control.window(LIMIT) == (0, 0, 0.0)
    assert 0.0 < brake == pytest.approx(log_theta(control) - braked)


def test_given_a_small_group_when_a_quarter_of_an_hour_is_bad_then_its_limit_means_nothing():
    assert told([True] * 3 + [False] * 57).window(LIMIT) == (60, 3, 0.0)


def test_given_people_over_time_when_the_quarter_has_passed_then_they_are_forgotten():
    control = told([True, False], at_s=10.0)
    told([True], control, at_s=500.0)
    control.elapse(1.0, 10.0 + WINDOW_S, NOTHING, PREDICTIVE)
    assert control.window(LIMIT)[:2] == (3, 2)
    control.elapse(1.0, 10.5 + WINDOW_S, NOTHING, PREDICTIVE)

    assert control.window(LIMIT)[:2] == (1, 1)
    assert control.recent(1000.0) == [[-500.0, 1]]


# The least overdial rate aimed at ------------------------------------------------------------------------------------

MINIMUM = PacingTarget(Mode.PREDICTIVE, min_overdial_ratio=0.01, min_overdial_calls=100)


def test_given_a_debt_when_the_last_people_were_below_the_minimum_then_theta_is_no_longer_held_down():
    control = told([True] * 6 + [False] * 100)
    control.elapse(1.0, WINDOW_S + 1.0, NOTHING, MINIMUM)  # no brake

    assert control.theta(MINIMUM) == pytest.approx(math.exp(START), rel=0.1)  # but for the bias
    assert control.theta(PREDICTIVE) < math.exp(START) / 2
    assert control.theta(replace(MINIMUM, min_overdial_calls=106)) == control.theta(PREDICTIVE)


def test_given_a_debt_when_the_last_people_reach_the_minimum_then_it_is_paid_back():
    control = told([True] * 6 + [False] * 98 + [True])  # one of the last hundred: no longer below 1 %

    assert control.theta(MINIMUM) == control.theta(PREDICTIVE)


@pytest.mark.parametrize(
    "other",
    [
        {"algorithm": Algorithm.CLASSICAL},
        {"algorithm": Algorithm.SMALL_GROUP},
        {"algorithm": Algorithm.ADVANCED_SMALL_GROUP},
        {"goal": Goal.BUSY_FACTOR, "value": 0.9},
    ],
)
def test_given_another_algorithm_or_goal_when_there_is_a_minimum_then_it_does_not_apply(other):
    control = told([True] * 6 + [False] * 100)
    target = replace(MINIMUM, **other)

    assert control._overdial(LIMIT, target) == control._overdial(LIMIT, replace(target, min_overdial_ratio=0.0))


# The other goals -----------------------------------------------------------------------------------------------------


def test_given_idle_agents_when_the_goal_is_busy_then_theta_rises_to_the_overdial_bound_and_no_further():
    control = ThetaControl()
    control.elapse(600.0, 600.0, snapshot(idle=10), PacingTarget(Mode.PREDICTIVE, Goal.BUSY_FACTOR, 0.9))

    assert control.busy_factor() == 0.0
    assert control.theta(PacingTarget(Mode.PREDICTIVE, Goal.BUSY_FACTOR, 0.9)) == ThetaControl().theta(PREDICTIVE)
    assert control.overdial_binds


def test_given_busier_than_asked_when_steered_then_agents_are_held_back():
    control = ThetaControl()
    target = PacingTarget(Mode.PREDICTIVE, Goal.BUSY_FACTOR, 0.5, 0.03)
    for step in range(60):
        control.elapse(10.0, 10.0 * step, snapshot(talking=[5.0] * 10), target)

    assert control.theta(target) == pytest.approx(math.exp(LOG_THETA_MIN))
    assert not control.overdial_binds
    assert control.hold_s(target, 180.0) > 10.0
    assert control.hold_s(target, 360.0) == pytest.approx(2 * control.hold_s(target, 180.0))
    assert control.hold_s(PREDICTIVE, 180.0) == 0.0


def test_given_a_short_wait_asked_for_when_agents_are_held_then_by_no_more_than_parts_of_it():
    control = ThetaControl()
    target = PacingTarget(Mode.PREDICTIVE, Goal.WAIT_TIME, 2.0, 0.03)
    for step in range(600):
        control.elapse(1.0, float(step), snapshot(talking=[5.0] * 10), target)
        control.bridged()

    assert 0.0 < control.hold_s(target, 600.0) == control.hold_s(target, 6000.0)


def test_given_idle_time_and_calls_when_wait_is_measured_then_by_littles_law():
    control = ThetaControl()
    for second in range(2000):
        control.elapse(1.0, float(second), snapshot(idle=6, talking=[1.0] * 4), PREDICTIVE)
        if second % 2:
            control.bridged()

    assert control.wait_s() == pytest.approx(12.0, rel=0.02)
    assert control.busy_factor() == pytest.approx(0.4)


def test_given_agents_who_wrap_up_or_announced_to_be_ready_when_measured_then_they_are_busy():
    control = ThetaControl()
    control.elapse(
        10.0, 10.0, snapshot(idle=1, talking=[1.0], wrapping=[(5.0, 1.0)], agents_ready_in_s=(3.0,)), PREDICTIVE
    )

    assert control.busy_factor() == pytest.approx(0.75)


def test_given_waits_too_long_or_short_when_steered_then_theta_follows():
    target = PacingTarget(Mode.PREDICTIVE, Goal.WAIT_TIME, 10.0, 0.03)
    thetas = []
    for idle in (2, 20):
        control = ThetaControl()
        for second in range(100):
            control.elapse(1.0, float(second), snapshot(idle=idle, talking=[1.0] * 20), target)
            control.bridged()
        thetas.append(control.theta(target))

    assert thetas[0] < 0.001
    assert thetas[1] > 0.01


def test_given_goals_when_limited_then_the_overdial_bound_is_always_on_top():
    assert overdial_limit(PacingTarget(Mode.PREDICTIVE, Goal.OVERDIAL_RATE, 0.05, 0.03)) == 0.03
    assert overdial_limit(PacingTarget(Mode.PREDICTIVE, Goal.OVERDIAL_RATE, 0.01, 0.03)) == 0.01
    assert overdial_limit(PacingTarget(Mode.PREDICTIVE, Goal.BUSY_FACTOR, 0.85, 0.02)) == 0.02
    assert overdial_limit(PacingTarget(Mode.PREDICTIVE, Goal.WAIT_TIME, 8.0, 0.02)) == 0.02


@given(st.lists(st.booleans(), max_size=200), st.lists(st.booleans(), max_size=50), st.floats(0.0, 2000.0))
def test_given_any_history_when_loaded_from_state_then_it_goes_on_alike(history, later, at_s):
    control = told(history, at_s=at_s)
    target = PacingTarget(Mode.PREDICTIVE, Goal.BUSY_FACTOR, 0.7)
    control.elapse(7.0, at_s, snapshot(idle=2, talking=[3.0] * 5), target)
    copy = ThetaControl()
    copy.load(control.state() | {"recent": control.recent(at_s)})
    for each in (control, copy):
        told(later, each, at_s=at_s + 1.0 if each is control else 1.0)

    for asked in (target, PREDICTIVE, MINIMUM):
        assert copy.theta(asked) == control.theta(asked)
        assert copy.hold_s(asked, 100.0) == control.hold_s(asked, 100.0)
    assert copy.window(LIMIT) == control.window(LIMIT)
