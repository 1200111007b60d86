import json
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pacing import Goal, Mode, Outcome, Pacer, PacingTarget
from pacing.pacer import LEARNING_OUTCOMES
from pacing.progressive import one_to_one_launches
from tests.pacing.worlds import PREDICTIVE, snapshot, snapshots, trained

TARGETS = [
    PREDICTIVE,
    PacingTarget(Mode.PREDICTIVE, Goal.BUSY_FACTOR, 0.85),
    PacingTarget(Mode.PREDICTIVE, Goal.WAIT_TIME, 10.0),
    PacingTarget(Mode.PROGRESSIVE, lines_per_agent=1.5),
]

STATES = {target: trained(target).state() for target in TARGETS}


@settings(max_examples=60, deadline=None)
@given(snapshots(), st.sampled_from(TARGETS))
def test_given_any_group_and_goal_when_decided_then_within_ports_starts_and_records(group, target):
    for pacer in (Pacer(target), Pacer.from_state(target, STATES[target])):
        decision = pacer.decide(group)

        assert 0 <= decision.launch <= min(group.ports_free, group.records_ready, group.starts_allowed)
        assert 0.0 <= decision.predicted_overdial_ratio <= 1.0
        assert decision.because
        assert all(math.isfinite(value) for value in decision.inputs.values())


@settings(max_examples=40, deadline=None)
@given(snapshots())
def test_given_nothing_learnt_when_decided_then_one_to_one(group):
    decision = Pacer(PREDICTIVE).decide(group)

    rooms = (group.ports_free, group.records_ready, group.starts_allowed)
    assert decision.launch == min(one_to_one_launches(group), *rooms)


def test_given_hundreds_of_idle_agents_when_decided_then_a_call_for_each():
    assert Pacer(PREDICTIVE).decide(snapshot(idle=300)).launch == 300


def test_given_quick_failures_when_their_lag_is_not_over_then_still_learning():
    pacer = Pacer(PREDICTIVE)
    pacer.decide(snapshot(now_s=0.0, idle=5))
    for _ in range(LEARNING_OUTCOMES):
        pacer.ended(1.0, Outcome.BUSY)

    assert pacer.decide(snapshot(now_s=1.0, idle=5)).because == "learning"
    assert pacer.decide(snapshot(now_s=40.0, idle=5)).because != "learning"


def test_given_a_trained_pacer_when_many_talk_then_it_dials_ahead_of_ready_agents():
    group = snapshot(now_s=200.0, idle=1, talking=[60.0] * 40, wrapping=[(30.0, 5.0)] * 10)

    decision = trained().decide(group)
    assert decision.because == "risk"
    assert decision.launch > 1
    assert decision.inputs["risk"] <= decision.inputs["theta"] < decision.inputs["next_risk"]


def test_given_calls_ringing_when_decided_then_their_age_matters():
    pacer = trained()
    fresh = pacer.decide(snapshot(now_s=200.0, idle=6, talking=[20.0] * 20, ringing=[1.0] * 10))
    old = pacer.decide(snapshot(now_s=200.0, idle=6, talking=[20.0] * 20, ringing=[22.0] * 10))

    assert old.launch > fresh.launch


def test_given_machines_when_analysis_tells_them_then_more_is_launched():
    group = snapshot(now_s=200.0, idle=4, talking=[20.0] * 30)
    people, machines = trained(), trained()
    for _ in range(300):
        people.person(1.0)
        machines.ended(9.0, Outcome.MACHINE, after_answer_s=2.5)

    assert machines.decide(group).launch > people.decide(group).launch


def test_given_people_waiting_when_decided_then_fewer_launches():
    group = snapshot(now_s=200.0, idle=8, talking=[20.0] * 30)

    assert trained().decide(replace(group, people_waiting=5)).launch < trained().decide(group).launch


def test_given_the_limit_is_passed_when_decided_then_one_to_one_until_earned_back():
    pacer = trained(people=100, abandoned=4)
    group = snapshot(now_s=200.0, idle=3, talking=[60.0] * 40)

    closed = pacer.decide(group)
    assert closed.because == "overdial_guard"
    assert closed.launch == 3
    for _ in range(400):
        pacer.bridged(0.1)
    opened = pacer.decide(group)
    assert opened.because == "risk"
    assert opened.launch > 3


def test_given_a_stricter_target_when_set_while_running_then_estimates_stay_and_launches_fall():
    pacer = trained(people=1000, abandoned=0)
    group = snapshot(now_s=200.0, idle=5, talking=[60.0] * 40)
    loose = pacer.decide(group)
    pacer.set_target(replace(PREDICTIVE, max_overdial_ratio=0.0001))
    strict = pacer.decide(group)

    assert strict.inputs["hit_ratio"] == loose.inputs["hit_ratio"]
    assert strict.launch < loose.launch
    pacer.set_target(PacingTarget(Mode.PROGRESSIVE))
    assert pacer.decide(group).because == "progressive"
    assert pacer.target.mode is Mode.PROGRESSIVE


@pytest.mark.parametrize(
    ("room", "because"),
    [({"ports_free": 1}, "ports"), ({"records_ready": 1}, "records"), ({"starts_allowed": 1}, "start_rate")],
)
def test_given_one_room_left_when_decided_then_it_binds_and_is_named(room, because):
    decision = trained().decide(snapshot(now_s=200.0, idle=20, talking=[60.0] * 20, **room))

    assert (decision.launch, decision.because) == (1, because)


def test_given_a_long_progressive_run_when_turned_predictive_then_theta_is_where_it_started():
    pacer = trained(PacingTarget(Mode.PROGRESSIVE), people=0, abandoned=0)
    for _ in range(2000):
        pacer.bridged(0.1)
    pacer.set_target(PREDICTIVE)

    assert pacer.decide(snapshot(now_s=200.0, idle=1)).inputs["theta"] <= 0.03


def test_given_a_state_through_json_when_restored_then_decisions_are_the_same():
    pacer = trained()
    pacer.answered(6.0)  # an outcome whose lag is not over
    copy = Pacer.from_state(PREDICTIVE, json.loads(json.dumps(pacer.state())))
    groups = [
        snapshot(now_s=300.0 + 5 * step, idle=3, talking=[10.0 * step] * 30, ringing=[3.0, 8.0, 26.0])
        for step in range(6)
    ]
    start = groups[0].now_s - 100.0  # the pacer's clock stood at 100 s; the copy's starts with its first snapshot
    pacer.decide(snapshot(now_s=100.0))
    copy.decide(snapshot(now_s=100.0 + start))

    for group in groups:
        ours = pacer.decide(replace(group, now_s=group.now_s - start))
        theirs = copy.decide(group)
        assert theirs.launch == ours.launch
        assert theirs.inputs["hit_ratio"] == pytest.approx(ours.inputs["hit_ratio"])
        assert theirs.inputs["theta"] == pytest.approx(ours.inputs["theta"])
        assert theirs.predicted_overdial_ratio == pytest.approx(ours.predicted_overdial_ratio)


def test_given_a_state_of_another_version_when_restored_then_refused():
    state = Pacer(PREDICTIVE).state() | {"version": 0}

    with pytest.raises(ValueError, match="version 0"):
        Pacer.from_state(PREDICTIVE, state)


@pytest.mark.parametrize(
    "target",
    [
        replace(PREDICTIVE, max_overdial_ratio=1.5),
        replace(PREDICTIVE, value=0.0),
        replace(PREDICTIVE, lines_per_agent=0.0),
    ],
)
def test_given_an_impossible_target_when_set_then_refused(target):
    with pytest.raises(ValueError, match="must be"):
        Pacer(PREDICTIVE).set_target(target)


def test_given_a_clock_that_stands_or_jumps_back_when_decided_then_nothing_breaks():
    pacer = trained()

    for now_s in (200.0, 200.0, 150.0, 1e9):
        assert pacer.decide(snapshot(now_s=now_s, idle=2, talking=[5.0] * 10)).launch >= 0
