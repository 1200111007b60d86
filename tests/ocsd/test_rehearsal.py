"""Rehearsals: the session's own rules hold in virtual time, runs repeat to the last digit, figures add up."""

import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from statistics import median

import pytest
import structlog
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from ocsd.config.objects import AttemptCap, Treatment
from ocsd.model.enums import CallAction, CallResult, DialMode, RecordAction
from ocsd.model.errors import ConfigError, InvariantError
from ocsd.model.records import AbandonmentBucket
from ocsd.rehearsal import session as rehearsed
from ocsd.rehearsal.agents import Breaks, Rota, Shift
from ocsd.rehearsal.clock import finish
from ocsd.rehearsal.compare import compare, goal_of, settings_for, variants_of, whole_time
from ocsd.rehearsal.copying import Forbidden
from ocsd.rehearsal.run import group_named, rehearse, with_seats
from ocsd.rehearsal.session import rhythm_for
from ocsd.rehearsal.world import Course, Party, Spread
from ocsd.sessions.attempt_events import Do
from ocsd.sessions.roster import AgentState
from tests.ocsd.rehearsal_worlds import (
    EASTERN,
    LIST,
    NOON,
    PACIFIC,
    PREDICTIVE,
    PROGRESSIVE,
    QUICK,
    configuration,
    row,
    scene,
    variant,
)

HANG_LIMIT_S = 300.0


@pytest.fixture(autouse=True)
def quiet():
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.reset_defaults()


class Watched:
    """A world that notes every call; ``of`` gives the course."""

    def handling(self, course, agent_id):
        return course.talk_s, course.wrap_up_s

    def __init__(self, of) -> None:
        self.calls: list[tuple[float, int, int]] = []
        self._of = of

    def course(self, record, zone, at_s):
        self.calls.append((at_s, record.record_id, record.attempt))
        return self._of(record, zone, at_s)

    @property
    def dialed(self) -> Counter:
        return Counter(record_id for _, record_id, _ in self.calls)


def busy(*_):
    return Course(rings_s=float("inf"), ended_s=1.0, sip_status=486, q850_cause=17)


# --- the same run -----------------------------------------------------------------------------------------------------


def test_given_the_same_seed_when_rehearsed_twice_then_the_runs_are_the_same_to_the_last_digit():
    at = scene(minutes=6)

    first, second = rehearse(at, variant(), 7), rehearse(at, variant(), 7)

    assert first.fingerprint() == second.fingerprint()
    assert first.total.people > 20


def test_given_another_seed_when_rehearsed_then_another_run_comes_out():
    at = scene(minutes=3)

    assert rehearse(at, variant(), 7).fingerprint() != rehearse(at, variant(), 8).fingerprint()


REPEATED = """
from tests.ocsd.rehearsal_worlds import *
from ocsd.rehearsal.run import rehearse
import structlog
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
print(repr(rehearse(scene(minutes=4), variant(), 3).fingerprint()))
"""


def test_given_other_hash_seeds_when_rehearsed_in_other_processes_then_the_run_is_the_same():
    root = Path(__file__).parents[2]

    def printed(hash_seed: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", REPEATED],
            cwd=root,
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            timeout=HANG_LIMIT_S,
            check=True,
        ).stdout

    assert printed("1") == printed("4711") != ""


# --- figures ----------------------------------------------------------------------------------------------------------


def test_given_a_run_when_it_is_over_then_every_call_and_every_chain_is_accounted_for():
    run = rehearse(scene(rows=300, minutes=12), variant(minutes=12), 1)
    total = run.total

    assert total.attempts == sum(run.results.values())
    assert total.people == total.connected + total.abandoned
    assert total.people == run.results[CallResult.ANSWER] + run.results.get(CallResult.DROPPED, 0) + run.results.get(
        CallResult.ABANDONED, 0
    )
    assert run.drained.touched == total.attempts == 300  # without treatments each is dialed once
    assert run.drained.final == 300
    assert run.left == 0
    assert run.exhausted_s is not None
    assert sum(run.because.values()) == total.attempts


def test_given_a_long_run_when_measured_then_the_shares_are_those_of_the_mix():
    run = rehearse(scene(rows=2500, minutes=18), variant(30, minutes=18), 1)
    n = run.total.attempts

    assert n > 700
    for result, party in (
        (CallResult.ANSWERING_MACHINE, Party.MACHINE),
        (CallResult.BUSY, Party.BUSY),
        (CallResult.SIT_INVALID_NUM, Party.SIT),
    ):
        share = QUICK.shares[party]
        assert abs(run.results[result] / n - share) < 4 * (share * (1 - share) / n) ** 0.5 + 0.01
    assert abs(run.total.people / n - 0.30) < 0.04


def test_given_exhausted_lists_when_measured_then_sitting_afterwards_does_not_count_as_waiting():
    short, long = (rehearse(scene(rows=100, minutes=minutes), variant(minutes=minutes), 1) for minutes in (10, 14))

    assert short.exhausted_s == long.exhausted_s
    assert short.total.busy_ratio == pytest.approx(long.total.busy_ratio)


def test_given_agents_when_measured_then_their_time_is_what_they_were_there_for():
    run = rehearse(scene(minutes=10), variant(8), 1)

    assert run.total.agents == pytest.approx(8.0, rel=1e-6)
    assert [part.agents for part in run.by(150.0)] == pytest.approx([8.0] * 4, rel=1e-6)


def test_given_parts_of_a_run_when_added_then_they_are_the_whole():
    run = rehearse(scene(minutes=8), variant(), 2)
    parts = run.by(180.0)

    assert sum(part.attempts for part in parts) == run.samples[-1].attempts
    assert sum(part.abandoned for part in parts) == run.samples[-1].abandoned
    assert parts[-1].until_s == 480.0


# --- the rules of the session -----------------------------------------------------------------------------------------


def test_given_progressive_mode_when_rehearsed_then_nobody_is_abandoned():
    run = rehearse(scene(minutes=20), variant(settings=PROGRESSIVE, minutes=20), 5)

    assert run.total.people > 50
    assert run.total.abandoned == 0


def test_given_predictive_mode_when_rehearsed_then_agents_are_busier_than_in_progressive():
    at = scene(rows=2000, minutes=25)

    progressive = rehearse(at, variant(settings=PROGRESSIVE, minutes=25), 5).total
    predictive = rehearse(at, variant(minutes=25), 5).total

    assert predictive.busy_ratio > progressive.busy_ratio + 0.05
    assert predictive.overdial_ratio < 0.06


@pytest.mark.parametrize("predictive", [False, True])
def test_given_a_seizing_mode_when_rehearsed_then_who_gets_an_agent_gets_one_at_once(predictive):
    mode = DialMode.PREDICTIVE_AND_SEIZE if predictive else DialMode.PROGRESSIVE_AND_SEIZE
    at = scene(rows=2000, minutes=25)
    plain = rehearse(at, variant(settings=PREDICTIVE if predictive else PROGRESSIVE, minutes=25), 5)
    seizing = rehearse(at, variant(settings=replace(PREDICTIVE, dial_mode=mode), minutes=25), 5)

    assert seizing.total.people > 50
    # From the end of the greeting: what is left is the analysis, no phone that has to be answered.
    assert median(seizing.waits_s) < median(plain.waits_s)
    assert seizing.total.busy_ratio > plain.total.busy_ratio - 0.05
    assert seizing.total.overdial_ratio < (0.06 if predictive else 0.001)


def test_given_windows_in_two_zones_when_rehearsed_then_each_record_is_dialed_in_its_own():
    rows = [row(n, daily_from_s=9 * 3600, daily_till_s=10 * 3600, tz_dbid=zone) for n, zone in
            enumerate([EASTERN] * 50 + [PACIFIC] * 50, 1)]  # fmt: skip
    world = Watched(busy)
    start = datetime(2026, 3, 3, 13, 30, tzinfo=UTC)  # 8:30 in New York, 5:30 in Los Angeles

    rehearse(scene(rows=rows, minutes=60, start=start, world=lambda _seed: world), variant(minutes=60), 1)

    assert set(world.dialed) == set(range(1, 51))
    opens_s = datetime(2026, 3, 3, 14, 0, tzinfo=UTC).timestamp()
    assert all(at_s >= opens_s for at_s, _, _ in world.calls)


def test_given_forbidden_numbers_and_customers_when_rehearsed_then_nobody_calls_them():
    rows = [row(n, user_fields={"customer": f"c{n}"}) for n in range(1, 41)]
    world = Watched(busy)
    dnc = Forbidden(frozenset({rows[0].contact_info, rows[7].contact_info}), frozenset({"c20"}))

    run = rehearse(scene(rows=rows, minutes=10, world=lambda _seed: world, dnc=dnc), variant(), 1)

    assert set(world.dialed) == set(range(1, 41)) - {1, 8, 20}
    assert run.held_back["do_not_call"] == 3


def test_given_a_redial_treatment_when_rehearsed_then_the_record_is_dialed_again_after_the_interval():
    treatments = (
        Treatment(
            dbid=1, name="busy", call_result=CallResult.BUSY, record_action=RecordAction.REDIAL, cycle_attempts=2,
            interval_min=3,
        ),
    )  # fmt: skip
    world = Watched(busy)

    run = rehearse(scene(configuration(treatments=treatments), 30, minutes=20, world=lambda _seed: world), variant(), 1)

    assert set(world.dialed.values()) == {3}
    times = sorted(at_s for at_s, record_id, _ in world.calls if record_id == 1)
    assert all(later - earlier >= 180.0 for earlier, later in pairwise(times))
    assert sorted(attempt for _, record_id, attempt in world.calls if record_id == 1) == [0, 1, 2]
    assert run.drained.touched == 30
    assert run.left == 0


def test_given_a_chain_when_its_first_number_is_busy_then_the_next_one_is_dialed():
    treatments = (
        Treatment(dbid=1, name="busy", call_result=CallResult.BUSY, record_action=RecordAction.NEXT_IN_CHAIN,
                  cycle_attempts=1),
    )  # fmt: skip
    rows = [row(10 * chain + n, chain_id=chain, chain_n=n) for chain in range(1, 21) for n in range(2)]
    world = Watched(busy)

    run = rehearse(
        scene(configuration(treatments=treatments), rows, minutes=10, world=lambda _seed: world), variant(), 1
    )

    assert set(world.dialed) == {r.record_id for r in rows}
    assert run.drained.touched == run.drained.final == 20


def test_given_an_attempt_cap_and_earlier_calls_when_rehearsed_then_the_cap_counts_both():
    from ocsd.lists.caps import Call

    cap = AttemptCap(dbid=9, name="two a day", max_attempts=2, period_h=24)
    treatments = (
        Treatment(dbid=1, name="busy", call_result=CallResult.BUSY, record_action=RecordAction.REDIAL,
                  cycle_attempts=4, interval_min=1),
    )  # fmt: skip
    world = Watched(busy)
    at = scene(configuration(caps=(cap,), treatments=treatments), 10, minutes=20, world=lambda _seed: world)
    past = Call(1, row(1).contact_info, None, None, 139, LIST, NOON - timedelta(hours=1))
    at = replace(at, lists=replace(at.lists, past=(past,)))

    rehearse(at, variant(), 1)

    assert world.dialed == Counter({1: 1} | dict.fromkeys(range(2, 11), 2))


def test_given_few_ports_when_rehearsed_then_no_more_calls_run_at_once():
    most = 0
    running: list[tuple[float, float]] = []

    def rings(_record, _zone, at_s):
        nonlocal most
        running.append((at_s, at_s + 25.0))
        most = max(most, sum(end_s > at_s for _, end_s in running))
        return Course(rings_s=1.0)

    rehearse(scene(configuration(channels=6), minutes=10, world=lambda _seed: Watched(rings)), variant(20), 1)

    assert most == 6


def test_given_the_legal_window_is_used_up_when_rehearsed_then_the_guard_is_heard():
    start_s = int(NOON.timestamp()) - 4 * 900
    at = scene(minutes=20)
    at = replace(at, lists=replace(at.lists, answered=(AbandonmentBucket(start_s, 1000, 60, 0),)))

    run = rehearse(at, variant(), 1)

    assert run.window is not None
    assert run.window.people == 1000 + run.total.people
    assert not run.window.kept
    assert run.window.bound_ratio > 0.9
    assert run.total.abandoned <= 1


def test_given_a_campaign_that_began_before_what_was_read_when_rehearsed_then_its_window_is_the_guards():
    month_s, noon_s = 30 * 86_400, int(NOON.timestamp())
    at = scene(minutes=5)
    before = (AbandonmentBucket(noon_s - 4 * 900, 1000, 60, 0),)
    # The second period of 30 days began half an hour ago: nobody of an hour ago is in it.
    at = replace(at, lists=replace(at.lists, answered=before, began_s=noon_s - 1800 - month_s))

    run = rehearse(at, variant(), 1)

    assert run.window is not None
    assert run.window.people == run.total.people


def test_given_a_machine_that_is_to_hear_a_message_when_rehearsed_then_no_agent_gets_it():
    treatments = (
        Treatment(dbid=1, name="message", call_result=CallResult.ANSWERING_MACHINE,
                  record_action=RecordAction.UPDATE_RECORD, call_action=CallAction.PLAY_MESSAGE, message="tone"),
    )  # fmt: skip
    mix = replace(QUICK, shares={Party.MACHINE: 1.0}, machine_ring=Spread(5.0, 0.2))

    run = rehearse(scene(configuration(treatments=treatments), 100, mix=mix, minutes=20), variant(), 1)

    assert run.results == {CallResult.ANSWERING_MACHINE: 100}
    assert run.total.connected == 0


def test_given_errors_of_the_analysis_when_rehearsed_then_they_show_in_the_results():
    mix = replace(QUICK, shares={Party.PERSON: 0.5, Party.MACHINE: 0.5}, person_as_machine_ratio=0.3,
                  machine_as_person_ratio=0.2)  # fmt: skip

    run = rehearse(scene(rows=2000, mix=mix, minutes=15), variant(30, minutes=15), 1)
    n = run.total.attempts

    # Of all calls 35 % are people seen as such, 10 % machines taken for people.
    assert abs(run.total.people / n - 0.45) < 0.05
    assert abs(run.results[CallResult.ANSWERING_MACHINE] / n - 0.55) < 0.06


def test_given_nobody_talks_to_a_person_when_it_waits_too_long_then_it_hears_the_announcement():
    def person(*_):
        from telephony.contract import VerdictKind

        return Course(rings_s=1.0, answered_s=2.0, verdict=VerdictKind.HUMAN, verdict_s=1.5, speech_end_s=1.0,
                      gone_s=30.0, connect_s=60.0)  # fmt: skip

    at = scene(rows=20, minutes=10, world=lambda _seed: Watched(person))

    run = rehearse(at, variant(settings=PROGRESSIVE), 1)

    assert run.total.connected == 0
    assert run.results == {CallResult.DROPPED: 20}
    assert run.total.abandoned == 20


# --- agents -----------------------------------------------------------------------------------------------------------


def test_given_two_shifts_when_rehearsed_then_each_hour_has_its_agents():
    rota = Rota((Shift(0.0, 600.0, 6), Shift(300.0, 900.0, 4)))
    at = scene(rows=4000, minutes=15)

    run = rehearse(at, replace(variant(), rota=rota), 1)

    assert [run.samples[minute].agents for minute in (2, 6, 9, 13)] == [6, 10, 10, 4]
    assert rota.seats == 10


def test_given_breaks_when_rehearsed_then_agents_are_there_for_less_time():
    rota = Rota((Shift(0.0, 1500.0, 10),), Breaks(60.0, 180.0))
    at = scene(rows=1500, minutes=25, rhythm=rehearsed.Rhythm(2.0, 1.0))

    run = rehearse(at, replace(variant(), rota=rota), 1)

    assert run.total.agents == pytest.approx(10 * 180 / 240, rel=0.12)


def test_given_agents_who_leave_when_their_shift_ends_in_a_call_then_they_finish_it():
    mix = replace(QUICK, shares={Party.PERSON: 1.0}, talk=Spread(400.0, 0.0))
    rota = Rota((Shift(0.0, 300.0, 5),))

    run = rehearse(scene(rows=100, mix=mix, minutes=20), replace(variant(settings=PROGRESSIVE), rota=rota), 1)

    assert run.total.connected == 5
    assert run.results[CallResult.ANSWER] == 5
    assert run.samples[-1].agents == 0
    assert run.samples[-1].busy_s == pytest.approx(5 * 400.0)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.builds(
            lambda a, b, n: Shift(float(min(a, b)), float(max(a, b)) + 1.0, n),
            st.integers(0, 500), st.integers(0, 500), st.integers(1, 5),
        ),
        min_size=1, max_size=5,
    ),
    st.none() | st.builds(Breaks, st.floats(1.0, 50.0), st.floats(1.0, 100.0)),
    st.integers(0, 1000),
)  # fmt: skip
def test_given_any_shifts_when_planned_then_everybody_comes_once_and_goes_once_per_shift(shifts, breaks, seed):
    rota = Rota(tuple(shifts), breaks)
    turns = rota.turns(seed)

    from ocsd.rehearsal.agents import Turn

    counts = Counter(turn for _, _, turn in turns)
    assert counts[Turn.COMES] == counts[Turn.GOES] == sum(shift.agents for shift in shifts)
    assert {seat for _, seat, _ in turns} <= set(range(rota.seats))
    here: dict[int, bool] = {}
    for _, seat, turn in turns:
        if turn is Turn.COMES:
            assert not here.get(seat)
            here[seat] = True
        elif turn is Turn.GOES:
            assert here[seat]
            here[seat] = False
        else:
            assert here[seat]


# --- variants ---------------------------------------------------------------------------------------------------------


def test_given_more_agents_when_compared_then_they_take_more_calls():
    outcomes = compare(
        scene(rows=2000, minutes=400 / 60), variants_of(PREDICTIVE, (), (5, 20), lambda n: Rota(whole_time(n, 400.0))),
        (1,),
    )  # fmt: skip

    connected = [outcome.over(lambda run: float(run.total.connected)).mean for outcome in outcomes]
    assert connected == sorted(connected)
    assert connected[1] > 3 * connected[0]
    assert [outcome.variant.name for outcome in outcomes] == [
        "overdial=3, 5 agents",
        "overdial=3, 20 agents",
    ]


@pytest.mark.parametrize(
    "text", ["overdial", "busy=", "wait=0", "busy=101", "speed=3", "overdial=3.5", "progressive=1"]
)
def test_given_no_goal_when_read_then_it_says_what_is_allowed(text):
    with pytest.raises(ValueError, match="goal"):
        goal_of(text)


def test_given_goals_when_read_then_they_set_mode_and_goal():
    from ocsd.model.enums import DialMode, OptimizeBy

    busy_85 = settings_for(PROGRESSIVE, goal_of("busy=85"))

    assert (busy_85.dial_mode, busy_85.optimize_by, busy_85.optimize_goal) == (
        DialMode.PREDICTIVE,
        OptimizeBy.BUSY_FACTOR,
        85,
    )
    assert settings_for(busy_85, goal_of("progressive")).dial_mode is DialMode.PROGRESSIVE


# --- the shell --------------------------------------------------------------------------------------------------------


def test_given_something_that_waits_when_run_in_virtual_time_then_it_is_refused():
    async def waits():
        await trio.sleep_forever()

    async def returns():
        return 42

    assert finish(returns()) == 42
    with pytest.raises((InvariantError, RuntimeError)):
        finish(waits())


def test_given_every_command_of_the_machine_when_rehearsed_then_it_is_obeyed_or_only_heard():
    """A new command must be looked at here: does it take time, an agent or a port?"""
    from ocsd.rehearsal.attempt import NEVER_HERE, ONLY_HEARD

    obeyed = {
        Do.DIAL_CUSTOMER, Do.START_EARLY_ANALYSIS, Do.START_ANALYSIS, Do.SEEK_AGENT, Do.STOP_SEEKING, Do.DIAL_AGENT,
        Do.BRIDGE, Do.MARK_CONNECTED, Do.PLAY_DROP, Do.PLAY_MESSAGE, Do.HANG_UP_CUSTOMER, Do.HANG_UP_AGENT,
        Do.HANG_UP_DESTINATION, Do.DIAL_DESTINATION, Do.BRIDGE_DESTINATION, Do.AGENT_BACK_TO_READY, Do.AGENT_NOT_READY,
        Do.AGENT_NOT_REACHED, Do.AGENT_TO_WRAP_UP, Do.AGENT_FREED, Do.CLOSE_RECORD,
    }  # fmt: skip
    assert obeyed | ONLY_HEARD | NEVER_HERE == set(Do)
    assert not obeyed & ONLY_HEARD
    assert not NEVER_HERE & (obeyed | ONLY_HEARD)


def test_given_calls_of_three_minutes_when_the_rhythm_is_chosen_then_it_is_slower_and_short_calls_keep_the_daemons():
    from ocsd.sessions.session import PACING_PERIOD_S, PACING_REST_S

    assert (rhythm_for(6.0).rest_s, rhythm_for(6.0).period_s) == (PACING_REST_S, PACING_PERIOD_S)
    assert rhythm_for(180.0).rest_s == 1.5
    assert rhythm_for(180.0).finer() == rehearsed.Rhythm(0.5, 0.5)
    assert rhythm_for(15.0).finer().period_s == PACING_PERIOD_S


def test_given_a_slower_rhythm_when_rehearsed_in_progressive_mode_then_agents_wait_a_little_longer():
    mix = replace(QUICK, talk=Spread(60.0, 0.6), wrap_up=Spread(20.0, 0.4))
    at = scene(rows=1500, mix=mix, minutes=30)

    fast, slow = (
        rehearse(replace(at, rhythm=rehearsed.Rhythm(*both)), variant(20, PROGRESSIVE, minutes=30), 1).total
        for both in ((0.2, 0.05), (1.5, 1.5))  # the slower one becomes (0.5, 0.5)
    )

    assert fast.busy_ratio - 0.03 < slow.busy_ratio < fast.busy_ratio + 0.01
    assert fast.agent_wait_s < slow.agent_wait_s < fast.agent_wait_s + 5.0


def test_given_more_seats_than_agents_when_seated_then_the_rest_is_made_up():
    config = configuration(agents=2)

    seats = with_seats(config, config.campaign_groups[0], 4)

    assert [seat.agent_id for seat in seats] == ["agent1", "agent2", "rehearsal1", "rehearsal2"]
    assert all(seat.state is AgentState.LOGGED_OUT for seat in seats)


def test_given_an_unknown_group_when_asked_for_then_the_known_ones_are_named():
    with pytest.raises(ConfigError) as refused:
        group_named(configuration(), "nobody")

    assert "Calls@Agents" in refused.value.problems[0]
    assert group_named(configuration(), "106").name == "Calls@Agents"
