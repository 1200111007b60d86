"""The attempt machine, event by event."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocsd.model.enums import CallAction, CallResult, RecordStatus
from ocsd.model.errors import InvariantError
from ocsd.sessions.attempt import (
    AgentAnswered,
    AgentEnded,
    AgentGone,
    AgentReserved,
    Answered,
    AttemptMachine,
    AttemptRules,
    AttemptState,
    CallPlan,
    Cancelled,
    CustomerEnded,
    DeadlinePassed,
    DestinationAnswered,
    DestinationEnded,
    Do,
    Forced,
    Heard,
    NotPlaced,
    Progress,
    PromptFinished,
    RecordProcessed,
    RecordUpdated,
    ReleaseRequested,
    Withdrawn,
)
from telephony.contract import VerdictKind

RULES = AttemptRules()
HUMAN = Heard(VerdictKind.HUMAN, connected=True, speech_end_s=6.0)


def drive(*events, rules=RULES, start_s=0.0, step_s=1.0):
    machine = AttemptMachine(rules, start_s)
    done = []
    for index, event in enumerate(events, start=1):
        done.append(machine.on(event, start_s + index * step_s))
    return machine, done


def test_given_a_person_when_an_agent_answers_then_they_are_bridged_and_the_result_is_answer():
    machine, done = drive(
        Progress(has_media=False), Answered(), HUMAN, AgentReserved("a1"), AgentAnswered(), CustomerEnded(200)
    )

    assert done[1] == (Do.MARK_ANSWERED, Do.START_ANALYSIS)
    assert done[2] == (Do.SEEK_AGENT,)
    assert done[3] == (Do.DIAL_AGENT,)
    assert done[4] == (Do.BRIDGE, Do.MARK_CONNECTED)
    assert done[5] == (Do.HANG_UP_AGENT, Do.AGENT_TO_WRAP_UP, Do.CLOSE_RECORD, Do.FINISH)
    assert machine.result == CallResult.ANSWER
    assert machine.record_status is RecordStatus.UPDATED


def test_given_record_processed_is_demanded_when_the_call_ends_then_the_record_waits_for_the_desktop():
    rules = AttemptRules(record_processed=True, stale_s=60.0)
    machine, done = drive(
        Answered(),
        HUMAN,
        AgentReserved("a1"),
        AgentAnswered(),
        ReleaseRequested(),
        RecordUpdated(CallResult.WRONG_NUMBER),
        RecordProcessed(None),
        rules=rules,
    )

    assert done[4] == (Do.HANG_UP_CUSTOMER, Do.HANG_UP_AGENT, Do.AGENT_TO_WRAP_UP)
    assert done[6] == (Do.CLOSE_RECORD, Do.FINISH)
    assert machine.result == CallResult.WRONG_NUMBER


def test_given_a_record_left_on_a_desktop_when_the_stale_limit_passes_then_it_is_stale():
    rules = AttemptRules(record_processed=True, stale_s=60.0)
    machine, _ = drive(Answered(), HUMAN, AgentReserved("a1"), AgentAnswered(), AgentEnded(), rules=rules)

    done = machine.on(DeadlinePassed(), machine.deadline_s)

    assert done == (Do.CLOSE_RECORD, Do.FINISH)
    assert machine.result == CallResult.STALE
    assert machine.record_status is RecordStatus.STALE


def test_given_record_processed_during_the_talk_when_the_call_ends_then_no_wrap_up_is_waited_for():
    rules = AttemptRules(record_processed=True)
    machine, done = drive(
        Answered(),
        HUMAN,
        AgentReserved("a1"),
        AgentAnswered(),
        RecordProcessed(CallResult.WRONG_PARTY),
        CustomerEnded(200),
        rules=rules,
    )

    assert done[4] == ()
    assert Do.CLOSE_RECORD in done[5]
    assert machine.result == CallResult.WRONG_PARTY


@pytest.mark.parametrize(
    "then",
    [
        (CustomerEnded(486),),
        (Answered(), Heard(VerdictKind.MACHINE, connected=True)),
        (Answered(), HUMAN, AgentReserved("a1"), AgentAnswered(), CustomerEnded(200)),
    ],
)
def test_given_record_processed_while_it_rings_when_the_call_ends_somehow_then_the_result_said_stays(then):
    machine, _ = drive(RecordProcessed(CallResult.WRONG_PARTY), *then)

    assert machine.record_closed
    assert machine.result == CallResult.WRONG_PARTY


def test_given_a_result_said_while_it_rings_when_the_record_is_withdrawn_then_that_is_its_result():
    machine, _ = drive(RecordProcessed(CallResult.WRONG_PARTY), Cancelled())

    assert machine.result == CallResult.CANCEL_RECORD


def test_given_a_person_without_an_agent_when_two_seconds_are_over_then_the_announcement_plays():
    machine, _ = drive(Answered(), Heard(VerdictKind.HUMAN, connected=True, speech_end_s=1.4))

    assert machine.deadline_s == pytest.approx(3.4)
    assert machine.on(DeadlinePassed(), 3.4) == (Do.STOP_SEEKING, Do.PLAY_DROP)
    assert machine.on(PromptFinished(), 9.0) == (Do.HANG_UP_CUSTOMER, Do.CLOSE_RECORD, Do.FINISH)
    assert machine.result == CallResult.DROPPED


def test_given_an_agent_still_ringing_when_two_seconds_are_over_then_the_agent_is_freed():
    machine, _ = drive(
        Answered(), Heard(VerdictKind.HUMAN, connected=True, speech_end_s=1.9), AgentReserved("a1"), step_s=0.9
    )

    done = machine.on(DeadlinePassed(), machine.deadline_s)

    assert done == (Do.HANG_UP_AGENT, Do.AGENT_BACK_TO_READY, Do.PLAY_DROP)
    assert machine.agent_id is None


def test_given_a_person_who_hangs_up_while_waiting_when_it_happens_then_abandoned():
    machine, done = drive(Answered(), HUMAN, CustomerEnded(200))

    assert done[2] == (Do.STOP_SEEKING, Do.CLOSE_RECORD, Do.FINISH)
    assert machine.result == CallResult.ABANDONED


def test_given_an_agent_phone_that_fails_when_it_does_then_another_agent_is_sought():
    machine, done = drive(Answered(), HUMAN, AgentReserved("a1"), AgentEnded(), AgentReserved("a2"), AgentAnswered())

    assert done[3] == (Do.AGENT_NOT_READY, Do.SEEK_AGENT)
    assert machine.agent_id == "a2"
    assert machine.state is AttemptState.TALKING


@pytest.mark.parametrize(
    ("kind", "result"),
    [
        (VerdictKind.MACHINE, CallResult.ANSWERING_MACHINE),
        (VerdictKind.FAX, CallResult.FAX),
        (VerdictKind.SILENCE, CallResult.SILENCE),
        (VerdictKind.BUSY, CallResult.BUSY),
        (VerdictKind.SIT_NO_CIRCUIT, CallResult.SIT_NO_CIRCUIT),
    ],
)
def test_given_no_person_after_connect_when_heard_then_the_call_is_released_with_its_result(kind, result):
    machine, done = drive(Answered(), Heard(kind, connected=True))

    assert done[1] == (Do.HANG_UP_CUSTOMER, Do.CLOSE_RECORD, Do.FINISH)
    assert machine.result == result


def test_given_a_verdict_revised_to_machine_when_the_agent_still_rings_then_the_agent_is_spared():
    machine, done = drive(Answered(), HUMAN, AgentReserved("a1"), Heard(VerdictKind.MACHINE, connected=True))

    assert done[3] == (
        Do.HANG_UP_AGENT,
        Do.AGENT_BACK_TO_READY,
        Do.HANG_UP_CUSTOMER,
        Do.CLOSE_RECORD,
        Do.FINISH,
    )
    assert machine.result == CallResult.ANSWERING_MACHINE


def test_given_a_tone_in_early_media_when_heard_then_the_call_is_cancelled_with_that_result():
    machine, done = drive(Progress(has_media=True), Heard(VerdictKind.SIT_VACANT, connected=False))

    assert done[0] == (Do.START_EARLY_ANALYSIS,)
    assert done[1] == (Do.HANG_UP_CUSTOMER, Do.CLOSE_RECORD, Do.FINISH)
    assert machine.result == CallResult.SIT_VACANT_CODE


def test_given_cpd_on_connect_when_early_media_comes_then_nobody_listens_before_the_answer():
    """TMakePredictiveCall extension cpd-on-connect: an odd ringback tone is not taken for anything."""
    _, done = drive(Progress(has_media=True), Answered(), rules=AttemptRules(early_analysis=False))

    assert done[0] == ()
    assert Do.START_ANALYSIS in done[1]


def test_given_ringback_in_early_media_when_heard_then_nothing_happens():
    machine, done = drive(Progress(has_media=True), Heard(VerdictKind.RINGBACK, connected=False))

    assert done[1] == ()
    assert machine.state is AttemptState.ALERTING


def test_given_a_silent_media_server_when_the_guard_passes_then_the_call_counts_as_answered():
    machine, _ = drive(Answered())

    done = machine.on(DeadlinePassed(), machine.deadline_s)

    assert done == (Do.SEEK_AGENT,)
    assert machine.verdict is VerdictKind.TIMEGUARD


def test_given_a_worker_that_died_when_the_call_was_dialing_then_it_is_stale_and_never_redialed():
    machine, done = drive(CustomerEnded(lost=True))

    assert machine.result == CallResult.STALE
    assert machine.record_status is RecordStatus.STALE
    assert machine.interrupted
    assert done[0] == (Do.CLOSE_RECORD, Do.FINISH)


@pytest.mark.parametrize(
    ("before", "result"),
    [((), CallResult.NO_RINGBACK), ((Progress(has_media=False),), CallResult.NO_ANSWER)],
)
def test_given_our_ring_limit_when_it_ran_out_then_a_silent_trunk_is_told_from_a_person_who_did_not_answer(
    before, result
):
    machine, _ = drive(*before, CustomerEnded(487, no_answer=True))

    assert machine.result == result


def test_given_no_port_when_nothing_left_the_house_then_the_record_is_ready_again_and_uncounted():
    machine, _ = drive(NotPlaced(CallResult.NO_PORT_AVAILABLE))

    assert machine.record_status is RecordStatus.READY
    assert not machine.count_attempt


def test_given_a_useless_number_when_refused_then_the_record_is_final():
    machine, _ = drive(NotPlaced(CallResult.DIAL_ERROR, useless=True))

    assert machine.record_status is RecordStatus.UPDATED


def test_given_a_conversation_when_the_group_is_forced_down_then_only_the_record_is_closed():
    machine, done = drive(Answered(), HUMAN, AgentReserved("a1"), AgentAnswered(), Forced(), CustomerEnded(200))

    assert done[4] == (Do.CLOSE_RECORD,)
    assert done[5] == (Do.HANG_UP_AGENT, Do.AGENT_TO_WRAP_UP, Do.FINISH)
    assert machine.record_status is RecordStatus.STALE


@pytest.mark.parametrize("before", [(), (Answered(),), (Answered(), HUMAN), (Answered(), HUMAN, AgentReserved("a"))])
def test_given_no_conversation_yet_when_forced_then_the_call_is_released_as_stale(before):
    machine, done = drive(*before, Forced())

    assert Do.HANG_UP_CUSTOMER in done[-1]
    assert done[-1][-2:] == (Do.CLOSE_RECORD, Do.FINISH)
    assert machine.result == CallResult.STALE


def test_given_a_record_in_wrap_up_when_the_agent_logs_out_then_it_is_closed_as_it_is():
    rules = AttemptRules(record_processed=True)
    machine, done = drive(
        Answered(), HUMAN, AgentReserved("a"), AgentAnswered(), CustomerEnded(200), AgentGone(), rules=rules
    )

    assert done[-1] == (Do.CLOSE_RECORD, Do.FINISH)
    assert machine.result == CallResult.ANSWER


def test_given_an_agent_reserved_for_nobody_when_it_happens_then_it_is_a_bug():
    with pytest.raises(InvariantError):
        drive(AgentReserved("a"))


EVENTS = st.sampled_from(
    [
        Progress(has_media=False),
        Progress(has_media=True),
        Answered(),
        *(Heard(kind, connected=c) for kind, c in itertools.product(VerdictKind, (False, True))),
        CustomerEnded(486),
        CustomerEnded(480, no_answer=True),
        CustomerEnded(lost=True),
        AgentAnswered(),
        AgentEnded(),
        DestinationAnswered(),
        DestinationEnded(),
        DestinationEnded(placed=False),
        PromptFinished(),
        PromptFinished("no such prompt"),
        DeadlinePassed(),
        ReleaseRequested(),
        RecordUpdated(53),
        RecordProcessed(None),
        AgentGone(),
        Forced(),
        Withdrawn(),
        Cancelled(),
    ]
)
PLANS = st.dictionaries(
    st.sampled_from([CallResult.ANSWER, CallResult.ANSWERING_MACHINE, CallResult.FAX, CallResult.SILENCE]),
    st.builds(CallPlan, st.sampled_from(CallAction), destination=st.just("sip:d@x"), message=st.just("m.wav")),
)
HUNG_UP_AT_LAST = {
    AttemptState.WRAP_UP: DeadlinePassed(),
    AttemptState.ANNOUNCING: DeadlinePassed(),
    AttemptState.RINGING_AGENT: DeadlinePassed(),
}


@given(st.lists(EVENTS, max_size=30), st.booleans(), st.booleans(), PLANS)
def test_given_any_events_when_driven_then_the_record_is_closed_exactly_once_and_nobody_is_left_behind(
    events, demanded, designated, plans
):
    """
    The roster's part is played truthfully: an agent is reserved when one is sought. Whoever is dialed is hung up, has
    ended, or has been handed to the other side.
    """
    rules = AttemptRules(record_processed=demanded, stale_s=10.0)
    machine = AttemptMachine(rules, 0.0, designated_agent="a1" if designated else None, plan_of=plans.get)
    now_s, closed, finished, reserved, destinations = 0.0, 0, 0, int(designated), 0
    queue = list(events)
    while queue or machine.state is not AttemptState.FINISHED:
        if queue:
            event = queue.pop(0)
            now_s += 0.3
        else:
            event, now_s = HUNG_UP_AT_LAST.get(machine.state, CustomerEnded(200)), now_s + 0.3
        if isinstance(event, DeadlinePassed):
            now_s = max(now_s, machine.deadline_s if math.isfinite(machine.deadline_s) else now_s)
        if isinstance(event, DestinationEnded) and machine.state is AttemptState.TRANSFERRED:
            destinations -= 1
        done = machine.on(event, now_s)
        for do in done:
            closed += do is Do.CLOSE_RECORD
            finished += do is Do.FINISH
            reserved -= do in (Do.AGENT_BACK_TO_READY, Do.AGENT_NOT_READY, Do.AGENT_TO_WRAP_UP)
            destinations += (do is Do.DIAL_DESTINATION) - (do is Do.HANG_UP_DESTINATION)
            if do is Do.SEEK_AGENT:
                machine.on(AgentReserved("a1"), now_s)
                reserved += 1

    assert closed == 1
    assert finished == 1
    assert reserved == 0
    assert destinations == 0
    assert machine.result is not None
    assert machine.on(Forced(), now_s) == ()
