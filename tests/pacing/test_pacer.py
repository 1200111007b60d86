import json
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pacing import Algorithm, Goal, GroupSnapshot, LegalRoom, Mode, Outcome, Pacer, PacingTarget
from pacing.evidence import STARTING_LAG_S, STARTING_S
from pacing.pacer import MOST_AHEAD
from pacing.progressive import agents_to_dial_for, one_to_one_launches
from tests.pacing.worlds import PREDICTIVE, snapshot, snapshots, trained

TARGETS = [
    PREDICTIVE,
    PacingTarget(Mode.PREDICTIVE, Goal.BUSY_FACTOR, 0.85),
    PacingTarget(Mode.PREDICTIVE, Goal.WAIT_TIME, 10.0),
    PacingTarget(Mode.PREDICTIVE, algorithm=Algorithm.CLASSICAL),
    PacingTarget(Mode.PREDICTIVE, algorithm=Algorithm.SMALL_GROUP, small_group_size=12),
    PacingTarget(Mode.PREDICTIVE, algorithm=Algorithm.ADVANCED_SMALL_GROUP, hard_limits=True),
    PacingTarget(Mode.PREDICTIVE, min_overdial_ratio=0.01, history_length=0),
    PacingTarget(Mode.PROGRESSIVE, lines_per_agent=1.5),
]

STATES = {target: trained(target).state() for target in TARGETS}


@st.composite
def groups(draw):
    """Snapshots with every field in use."""
    group = draw(snapshots())
    legal = st.builds(
        LegalRoom, st.floats(0.0, 1.0), st.floats(-5.0, 50.0), st.booleans(), st.just("one rule or another")
    )
    return replace(
        group,
        agents_ready_in_s=tuple(draw(st.lists(st.floats(0.0, 100.0), max_size=4))),
        inbound_waiting=draw(st.integers(0, 3)),
        inbound_ringing=draw(st.integers(0, 3)),
        agents_kept_back=draw(st.integers(0, len(group.agents_idle_s))),
        agents_leaving=draw(st.integers(0, len(group.agents_idle_s))),
        legal=draw(st.none() | legal),
    )


@settings(max_examples=120, deadline=None)
@given(groups(), st.sampled_from(TARGETS))
def test_given_any_group_and_goal_when_decided_then_within_ports_starts_and_records(group, target):
    for pacer in (Pacer(target), Pacer.from_state(target, STATES[target])):
        decision = pacer.decide(group)

        assert 0 <= decision.launch <= min(group.ports_free, group.records_ready, group.starts_allowed)
        assert 0.0 <= decision.predicted_overdial_ratio <= 1.0
        assert decision.because
        assert all(math.isfinite(value) for value in decision.inputs.values())
        if group.legal is not None and group.legal.stop:
            assert decision.launch == 0
        if group.legal is not None and group.legal.abandoned_allowed < 1.0:
            assert decision.launch <= one_to_one_launches(group)


@settings(max_examples=40, deadline=None)
@given(groups())
def test_given_nothing_learnt_when_decided_then_one_to_one(group):
    decision = Pacer(PREDICTIVE).decide(replace(group, legal=None))

    rooms = (group.ports_free, group.records_ready, group.starts_allowed)
    assert decision.launch == min(one_to_one_launches(group), *rooms)


def test_given_hundreds_of_idle_agents_when_decided_then_a_call_for_each():
    assert Pacer(PREDICTIVE).decide(snapshot(idle=300)).launch == 300


def test_given_quick_failures_when_their_lag_is_not_over_then_still_learning():
    pacer = Pacer(PREDICTIVE)
    pacer.decide(snapshot(now_s=0.0, idle=5))
    for _ in range(PREDICTIVE.history_length):
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
        people.answered(8.0)
        people.person(0.0)
        machines.answered(8.0)
        machines.ended(8.0, Outcome.MACHINE, after_answer_s=0.0)

    assert machines.decide(group).launch > people.decide(group).launch


def test_given_people_waiting_when_decided_then_fewer_launches():
    group = snapshot(now_s=200.0, idle=8, talking=[20.0] * 30)

    assert trained().decide(replace(group, people_waiting=5)).launch < trained().decide(group).launch


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

    assert pacer.decide(snapshot(now_s=200.0, idle=1)).inputs["theta"] == Pacer(PREDICTIVE)._control.theta(PREDICTIVE)


def _lived(pacer, start_s, story):
    """Decisions while ``story`` (events by place) happens, twice a second from ``start_s`` on."""
    decisions = []
    for step, event in enumerate(story):
        match event:
            case 0:
                pacer.answered(4.0 + step % 9)
            case 1:
                pacer.ended(2.0 + 3.0 * (step % 9), Outcome.NO_ANSWER)
            case 2:
                pacer.bridged(0.5)
            case 3:
                pacer.abandoned()
            case 4:
                pacer.handled(20.0 + 5.0 * (step % 11), 3.0)
            case 5:
                pacer.ended(9.0, Outcome.MACHINE, after_answer_s=2.5)
            case 6:
                pacer.person(1.0 + step % 3)
            case 7:
                pacer.ended(16.0, Outcome.RELEASED)
        group = snapshot(
            now_s=start_s + 0.5 * step,
            idle=step % 4,
            talking=[3.0 * agent for agent in range(20 + step % 3)],
            wrapping=[(40.0, 2.0)] * (step % 5),
            ringing=[step % 7 + 2.0 * call for call in range(9)],
            analysing=[0.5] * (step % 2),
        )
        decisions.append(pacer.decide(group))
    return decisions


def _without_clock(decision):
    return replace(decision, inputs={name: each for name, each in decision.inputs.items() if name != "now_s"})


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(0, 7), max_size=40), st.lists(st.integers(0, 7), min_size=1, max_size=40), st.integers(0, 4096)
)
def test_given_a_state_through_json_when_restored_then_decisions_are_the_same_to_the_last_bit(before, after, start):
    pacer = Pacer.from_state(PREDICTIVE, STATES[PREDICTIVE])
    _lived(pacer, 0.0, before)
    copy = Pacer.from_state(PREDICTIVE, json.loads(json.dumps(pacer.state())))
    # Restored at once; the pause that a restart makes is no running time, so it begins with a decision.
    pause = snapshot(now_s=0.5 * max(len(before) - 1, 0))
    pacer.decide(pause)
    copy.decide(replace(pause, now_s=float(start)))

    ours = _lived(pacer, pause.now_s + 0.5, after)
    theirs = _lived(copy, start + 0.5, after)
    assert [_without_clock(each) for each in ours] == [_without_clock(each) for each in theirs]
    assert pacer.state() == copy.state()


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
        replace(PREDICTIVE, min_overdial_ratio=-0.1),
        replace(PREDICTIVE, min_overdial_ratio=1.1),
        replace(PREDICTIVE, history_length=-1),
        replace(PREDICTIVE, least_ring_s=-1.0),
        replace(PREDICTIVE, least_ring_s=math.nan),
    ],
)
def test_given_an_impossible_target_when_set_then_refused(target):
    with pytest.raises(ValueError, match=r"must (not )?be"):
        Pacer(PREDICTIVE).set_target(target)


def test_given_a_clock_that_stands_or_jumps_back_when_decided_then_nothing_breaks():
    pacer = trained()

    for now_s in (200.0, 200.0, 150.0, 1e9):
        assert pacer.decide(snapshot(now_s=now_s, idle=2, talking=[5.0] * 10)).launch >= 0


# What the target asks for ---------------------------------------------------------------------------------------------

CROWD = snapshot(now_s=200.0, idle=2, talking=[5.0 * agent for agent in range(40)])
FEW = snapshot(now_s=200.0, idle=1, talking=[5.0 * agent for agent in range(9)], ringing=[3.0])


def _launch(target, group=CROWD, pacer=None):
    pacer = pacer or trained()
    pacer.set_target(target)
    return pacer.decide(group)


def test_given_a_history_length_when_fewer_outcomes_are_known_then_one_to_one_and_then_predictions():
    pacer = trained()
    known = pacer.decide(CROWD).inputs["outcomes"]

    pacer.set_target(replace(PREDICTIVE, history_length=int(known) + 1))
    learning = pacer.decide(CROWD)
    pacer.set_target(replace(PREDICTIVE, history_length=int(known)))
    assert (learning.because, learning.launch) == ("learning", 2)
    assert pacer.decide(CROWD).because == "risk"
    assert Pacer(replace(PREDICTIVE, history_length=0)).decide(CROWD).because != "learning"


def test_given_small_group_when_calls_are_under_way_then_the_next_batch_waits_until_all_have_ended():
    small = replace(PREDICTIVE, algorithm=Algorithm.SMALL_GROUP)
    quiet = replace(FEW, attempts_age_s=())

    for under_way in (FEW, replace(quiet, analysing_age_s=(1.0,))):
        assert (_launch(small, under_way).launch, _launch(small, under_way).because) == (0, "batch")
    assert _launch(small, quiet).because == "risk"
    assert _launch(small, quiet).launch == _launch(PREDICTIVE, quiet).launch > 0


@pytest.mark.parametrize(
    "change",
    [
        {"algorithm": Algorithm.ADVANCED_SMALL_GROUP},
        {"algorithm": Algorithm.TIME_OPTIMIZED_ODR},
        {"algorithm": Algorithm.CLASSICAL},
        {"algorithm": Algorithm.SMALL_GROUP, "small_group_size": 9},
        {"algorithm": Algorithm.SMALL_GROUP, "goal": Goal.BUSY_FACTOR, "value": 0.9},
    ],
)
def test_given_another_algorithm_or_goal_or_a_larger_group_when_calls_ring_then_no_batch_is_waited_for(change):
    assert _launch(replace(PREDICTIVE, **change), FEW).because != "batch"


def test_given_small_group_when_agents_are_counted_then_all_who_work_or_wait():
    small = replace(PREDICTIVE, algorithm=Algorithm.SMALL_GROUP, small_group_size=12)
    ten = replace(FEW, agents_wrapping_s=(), agents_ready_in_s=())

    assert _launch(small, replace(ten, agents_wrapping_s=((1.0, 1.0),) * 2)).because == "batch"
    assert _launch(small, replace(ten, agents_wrapping_s=((1.0, 1.0),) * 3)).because != "batch"
    assert _launch(small, replace(ten, agents_ready_in_s=(1.0,) * 3)).because != "batch"


def test_given_announced_times_when_the_algorithm_is_classical_then_they_are_not_looked_at():
    soon = snapshot(now_s=200.0, talking=[5.0] * 10, agents_ready_in_s=(1.0,) * 6)
    later = replace(soon, agents_ready_in_s=(80.0,) * 6)

    def launches(algorithm):
        return [_launch(replace(PREDICTIVE, algorithm=algorithm), group).launch for group in (soon, later)]

    assert launches(Algorithm.CLASSICAL)[0] == launches(Algorithm.CLASSICAL)[1]
    assert launches(Algorithm.TIME_OPTIMIZED_ODR)[0] > launches(Algorithm.TIME_OPTIMIZED_ODR)[1]


def test_given_hard_limits_when_the_goal_is_exceeded_then_one_to_one_until_it_is_met_again():
    pacer = trained(replace(PREDICTIVE, hard_limits=True), people=100, abandoned=4)
    closed = pacer.decide(CROWD)
    assert (closed.because, closed.launch) == ("hard_limit", 2)
    pacer.set_target(PREDICTIVE)
    assert pacer.decide(CROWD).because != "hard_limit"
    pacer.set_target(replace(PREDICTIVE, hard_limits=True))
    for _ in range(33):
        pacer.bridged(0.1)
    assert pacer.decide(CROWD).because == "hard_limit"  # 4 of 133
    pacer.bridged(0.1)

    assert pacer.decide(CROWD).because != "hard_limit"  # 4 of 134 are 2.99 %


def test_given_lines_per_agent_when_progressive_then_so_many_and_without_effect_when_predictive():
    progressive = replace(PREDICTIVE, mode=Mode.PROGRESSIVE, lines_per_agent=3.0)

    assert _launch(progressive, snapshot(now_s=200.0, idle=4)).launch == 12
    assert _launch(replace(PREDICTIVE, lines_per_agent=3.0)).launch == _launch(PREDICTIVE).launch


def test_given_a_smaller_goal_when_decided_then_fewer_calls():
    launches = [
        _launch(replace(PREDICTIVE, value=value), replace(CROWD, agents_idle_s=(1.0,) * 12)).launch
        for value in (0.0001, 0.003, 0.03)
    ]

    assert launches == sorted(set(launches))


# What the snapshot says -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "taken",
    [
        {"agents_kept_back": 4},
        {"agents_leaving": 4},
        {"inbound_waiting": 4},
        {"inbound_ringing": 4},
        {"inbound_waiting": 2, "inbound_ringing": 2},
        {"inbound_waiting": 3, "agents_kept_back": 4},
        {"agents_leaving": 2, "agents_kept_back": 2},
        {"people_waiting": 4},
    ],
)
@pytest.mark.parametrize("mode", list(Mode))
def test_given_idle_agents_who_are_not_for_new_calls_when_decided_then_as_if_they_were_not_there(taken, mode):
    target = PacingTarget(mode)
    ten = snapshot(now_s=200.0, idle=10, talking=[20.0] * 30)

    with_them, without = _launch(target, replace(ten, **taken)), _launch(target, replace(ten, agents_idle_s=(5.0,) * 6))
    assert with_them.launch == without.launch
    assert with_them.launch < _launch(target, ten).launch


def test_given_agents_kept_back_when_inbound_calls_come_then_those_take_them_first():
    group = replace(snapshot(idle=10), agents_kept_back=3)

    dial_for = [agents_to_dial_for(replace(group, inbound_waiting=waiting)) for waiting in range(6)]
    assert dial_for == [7, 7, 7, 7, 6, 5]


def test_given_announced_times_when_they_are_near_then_calls_start_ahead():
    def launched(*ready_in_s):
        return _launch(PREDICTIVE, snapshot(now_s=200.0, talking=[1.0] * 6, agents_ready_in_s=ready_in_s)).launch

    launches = [launched(*(seconds,) * 5) for seconds in (60.0, 12.0, 0.0)]
    assert launches == sorted(launches)
    assert launches[0] < launches[-1]


def test_given_calls_under_analysis_when_decided_then_fewer_launches():
    group = replace(CROWD, agents_idle_s=(1.0,) * 8)

    assert _launch(PREDICTIVE, replace(group, analysing_age_s=(0.5,) * 5)).launch < _launch(PREDICTIVE, group).launch


def test_given_more_calls_wanted_than_one_decision_may_launch_when_decided_then_no_room_is_blamed():
    decision = _launch(PREDICTIVE, snapshot(now_s=200.0, idle=5000, **dict.fromkeys(ROOMS, 100_000)))

    assert (decision.launch, decision.because) == (5000, "one_to_one")
    assert decision.inputs["planned"] == MOST_AHEAD


ROOMS = ("ports_free", "records_ready", "starts_allowed")


# What the law leaves --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", TARGETS)
def test_given_a_legal_stop_when_decided_then_no_call_in_any_mode_even_while_learning(target):
    stop = replace(CROWD, legal=LegalRoom(0.03, 10.0, stop=True))

    for pacer in (Pacer(target), Pacer.from_state(target, STATES[target])):
        decision = pacer.decide(stop)
        assert (decision.launch, decision.because) == (0, "legal_stop")


def test_given_no_room_for_one_more_when_decided_then_one_to_one():
    for target in (PREDICTIVE, PacingTarget(Mode.PROGRESSIVE, lines_per_agent=3.0)):
        decision = _launch(target, replace(CROWD, legal=LegalRoom(0.03, 0.9)))
        assert (decision.launch, decision.because) == (2, "legal_guard")
    assert Pacer(PREDICTIVE).decide(replace(CROWD, legal=LegalRoom(0.03, 0.9))).because == "legal_guard"


def test_given_room_when_what_calls_under_way_may_add_would_use_it_up_then_one_to_one():
    overdialed = snapshot(now_s=200.0, idle=1, talking=[1.0] * 30, ringing=[6.0] * 25)
    expected = _launch(PREDICTIVE, overdialed).inputs["expected_abandoned"]
    assert expected > 1.0

    tight, ample = [
        _launch(PREDICTIVE, replace(overdialed, legal=LegalRoom(0.03, expected + room))) for room in (0.99, 1.01)
    ]
    assert tight.because == "legal_guard"
    assert ample.because != "legal_guard"


def test_given_a_smaller_pace_when_decided_then_it_bounds_the_goal_and_a_larger_one_does_not():
    def limit(pace):
        return _launch(PREDICTIVE, replace(CROWD, legal=LegalRoom(pace, 100.0))).inputs["max_overdial_ratio"]

    assert [limit(pace) for pace in (0.0, 0.01, 0.03, 0.5)] == [0.0, 0.01, 0.03, 0.03]
    slow, free = (_launch(PREDICTIVE, replace(CROWD, legal=LegalRoom(pace, 100.0))) for pace in (0.001, 0.03))
    assert slow.launch < free.launch == _launch(PREDICTIVE).launch


def test_given_few_more_allowed_when_a_burst_could_cost_more_then_it_is_made_smaller():
    bold = replace(PREDICTIVE, value=0.5, max_overdial_ratio=0.5)
    group = replace(CROWD, agents_idle_s=(1.0,) * 10)

    def decided(allowed):
        return _launch(bold, replace(group, legal=LegalRoom(0.5, allowed)))

    launches = [decided(allowed).launch for allowed in (1.2, 2.0, 3.0, 5.0, 8.0, 100.0)]
    assert decided(1.2).because == "legal_guard"
    assert decided(100.0).because == "risk"
    assert launches == sorted(launches)
    assert launches[0] < launches[-1] == _launch(bold, group).launch


def test_given_little_known_yet_when_a_burst_could_cost_more_than_is_allowed_then_the_legal_room_binds_all_the_same():
    bold = replace(PREDICTIVE, value=0.5, max_overdial_ratio=0.5, history_length=0)

    def decided(legal):
        pacer = Pacer(bold)
        for _ in range(3):
            pacer.answered(6.0)
            pacer.ended(3.0, Outcome.BUSY)
        pacer.decide(snapshot(now_s=0.0))
        return pacer.decide(snapshot(now_s=100.0, idle=10, legal=legal))

    free, bound = decided(None), decided(LegalRoom(0.5, 1.2))
    assert free.because == "learning"
    assert bound.because == "legal_guard"
    assert bound.launch < free.launch


def test_given_a_minimum_over_more_people_than_are_kept_when_asked_for_then_refused():
    with pytest.raises(ValueError, match=r"min_overdial_calls must be within 1\.\.1000, is 1001"):
        Pacer(replace(PREDICTIVE, min_overdial_calls=1001))


# What is learnt -------------------------------------------------------------------------------------------------------


def test_given_a_cold_start_when_quick_answers_come_first_then_they_count_only_with_their_cohort():
    pacer = Pacer(PREDICTIVE)
    pacer.decide(snapshot(now_s=0.0))
    for _ in range(300):
        pacer.answered(3.0)
        pacer.ended(2.0, Outcome.BUSY)
    early = pacer.decide(snapshot(now_s=STARTING_LAG_S - 3.5)).inputs["outcomes"]
    late = pacer.decide(snapshot(now_s=45.0)).inputs["outcomes"]

    assert (early, late) == (0, 600)


def test_given_a_restored_pacer_when_outcomes_come_then_they_count_as_if_it_had_not_been_away():
    pacer = Pacer(PREDICTIVE)
    for now_s in (0.0, STARTING_S + 1.0):
        pacer.decide(snapshot(now_s=now_s))
    copy = Pacer.from_state(PREDICTIVE, pacer.state())
    counted = []
    for each, start_s in ((pacer, STARTING_S + 1.0), (copy, 0.0)):
        each.decide(snapshot(now_s=start_s))
        for _ in range(200):
            each.answered(3.0)
            each.ended(4.0, Outcome.BUSY)
        counted.append([each.decide(snapshot(now_s=start_s + step)).inputs["outcomes"] for step in range(40)])

    assert counted[0] == counted[1]
    assert counted[0][20] > 0  # after a cold start all would wait for STARTING_LAG_S


def test_given_calls_that_ring_past_the_lag_when_decided_then_they_lower_the_hit_ratio():
    group = snapshot(now_s=200.0, talking=[5.0] * 20)

    few, many = (trained().decide(replace(group, attempts_age_s=(50.0,) * calls)) for calls in (0, 200))
    assert many.inputs["hit_ratio"] < 0.9 * few.inputs["hit_ratio"]


def test_given_nobody_but_machines_for_hours_when_decided_then_figures_stay_finite():
    pacer = trained()
    for minute in range(60):
        for _ in range(150):
            pacer.answered(6.0)
            pacer.ended(6.0, Outcome.MACHINE, after_answer_s=0.0)
        decision = pacer.decide(replace(CROWD, now_s=200.0 + 60.0 * minute))

    assert decision.inputs["person_ratio"] < 0.002
    assert all(math.isfinite(each) for each in decision.inputs.values())
    assert decision.launch > 40


def test_given_a_long_wait_allowed_when_decided_then_more_calls_start():
    patient, impatient = (Pacer.from_state(PREDICTIVE, STATES[PREDICTIVE], wait_s) for wait_s in (6.0, 0.0))

    assert patient.decide(CROWD).launch > impatient.decide(CROWD).launch
    for wait_s in (-0.1, 10.1):
        with pytest.raises(ValueError, match="max_wait_s"):
            Pacer(PREDICTIVE, wait_s)


def test_given_no_snapshot_field_left_out_when_decided_then_it_is_among_the_inputs():
    counts = {
        "idle": 3, "talking": 2, "wrapping": 1, "ringing": 4, "analysing": 5, "people_waiting": 2, "kept_back": 1,
        "leaving": 1, "ready_soon": 2, "inbound_waiting": 3, "inbound_ringing": 4, "ports_free": 77,
        "records_ready": 88, "starts_allowed": 99, "now_s": 321.0,
    }  # fmt: skip
    group = GroupSnapshot(
        321.0, (1.0,) * 3, (1.0,) * 2, ((1.0, 1.0),), (1.0,) * 4, (1.0,) * 5, 2, 77, 88, 99, (1.0,) * 2, 3, 4, 1, 1
    )

    assert counts.items() <= trained().decide(group).inputs.items()
