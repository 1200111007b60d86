import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacing import Goal, Mode, PacingTarget
from pacing.control import LOG_THETA_MAX, LOG_THETA_MIN, ThetaControl, comfortable_slack, overdial_limit
from pacing.limits import AbandonmentCount
from tests.pacing.worlds import PREDICTIVE, snapshot

RICH = AbandonmentCount(1000, 0, 100, 0)


def test_given_a_reserve_when_an_abandoned_person_then_it_outweighs_thirty_served_ones():
    control = ThetaControl()
    before = control.theta(PREDICTIVE, RICH, 0.0)
    control.answered_person(RICH, 0.03, abandoned=True, governed=True)
    after_loss = control.theta(PREDICTIVE, RICH, 0.0)
    for _ in range(33):
        control.answered_person(RICH, 0.03, abandoned=False, governed=True)

    assert math.log(after_loss / before) == pytest.approx(0.3 * (0.0291 - 1))
    assert control.theta(PREDICTIVE, RICH, 0.0) == pytest.approx(before, rel=0.02)


def test_given_launches_bounded_by_something_else_when_all_are_served_then_theta_does_not_wind_up():
    control = ThetaControl()
    before = control.theta(PREDICTIVE, RICH, 0.0)
    for _ in range(1000):
        control.answered_person(RICH, 0.03, abandoned=False, governed=False)

    assert control.theta(PREDICTIVE, RICH, 0.0) == before


def test_given_nobody_answered_when_asked_then_theta_starts_well_under_the_limit():
    assert ThetaControl().theta(PREDICTIVE, AbandonmentCount(0, 0, 0, 0), 0.0) < 0.01


@given(st.integers(0, 2000), st.integers(0, 60), st.floats(0.0, 5.0), st.floats(0.0, 5.0))
def test_given_more_expected_losses_when_asked_then_theta_never_grows(people, abandoned, one, other):
    count = AbandonmentCount(people, abandoned, 0, 0)
    few, many = sorted((one, other))

    assert ThetaControl().theta(PREDICTIVE, count, many) <= ThetaControl().theta(PREDICTIVE, count, few)


@given(st.lists(st.booleans(), max_size=300))
def test_given_any_history_when_asked_then_theta_stays_within_its_bounds(history):
    control = ThetaControl()
    for abandoned in history:
        control.answered_person(RICH, 0.03, abandoned=abandoned, governed=True)

    theta = control.theta(PREDICTIVE, RICH, 0.0)
    assert math.exp(LOG_THETA_MIN) * 0.999 <= theta <= math.exp(LOG_THETA_MAX) * 1.001


def test_given_idle_agents_when_the_goal_is_busy_then_theta_rises_to_the_overdial_bound_and_no_further():
    control = ThetaControl()
    target = PacingTarget(Mode.PREDICTIVE, Goal.BUSY_FACTOR, 0.9, 0.03)
    control.elapse(600.0, snapshot(idle=10), target)

    assert control.busy_factor() == 0.0
    assert control.theta(target, RICH, 0.0) == ThetaControl().theta(PREDICTIVE, RICH, 0.0)


def test_given_busier_than_asked_when_steered_then_agents_are_held_back():
    control = ThetaControl()
    target = PacingTarget(Mode.PREDICTIVE, Goal.BUSY_FACTOR, 0.5, 0.03)
    for _ in range(60):
        control.elapse(10.0, snapshot(talking=[5.0] * 10), target)

    assert control.theta(target, RICH, 0.0) == pytest.approx(1e-4)
    assert control.hold_s(target) > 10.0
    assert control.hold_s(PREDICTIVE) == 0.0


def test_given_idle_time_and_calls_when_wait_is_measured_then_by_littles_law():
    control = ThetaControl()
    for _ in range(2000):
        control.elapse(1.0, snapshot(idle=6, talking=[1.0] * 4), PREDICTIVE)
        if _ % 2:
            control.bridged()

    assert control.wait_s() == pytest.approx(12.0, rel=0.02)
    assert control.busy_factor() == pytest.approx(0.4)


def test_given_waits_too_long_or_short_when_steered_then_theta_follows():
    target = PacingTarget(Mode.PREDICTIVE, Goal.WAIT_TIME, 10.0, 0.03)
    thetas = []
    for idle in (2, 20):
        control = ThetaControl()
        for _ in range(100):
            control.elapse(1.0, snapshot(idle=idle, talking=[1.0] * 20), target)
            control.bridged()
        thetas.append(control.theta(target, RICH, 0.0))

    assert thetas[0] < 0.001
    assert thetas[1] > 0.01


def test_given_goals_when_limited_then_the_overdial_bound_is_always_on_top():
    assert overdial_limit(PacingTarget(Mode.PREDICTIVE, Goal.OVERDIAL_RATE, 0.05, 0.03)) == 0.03
    assert overdial_limit(PacingTarget(Mode.PREDICTIVE, Goal.OVERDIAL_RATE, 0.01, 0.03)) == 0.01
    assert overdial_limit(PacingTarget(Mode.PREDICTIVE, Goal.BUSY_FACTOR, 0.85, 0.02)) == 0.02
    assert overdial_limit(PacingTarget(Mode.PREDICTIVE, Goal.WAIT_TIME, 8.0, 0.02)) == 0.02


@given(st.integers(0, 50_000), st.integers(0, 50_000))
def test_given_more_people_when_reserve_then_never_smaller(one, other):
    low, high = sorted((one, other))

    assert 0.0 < comfortable_slack(low) <= comfortable_slack(high)
