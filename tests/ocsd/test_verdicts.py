"""What analysis hears, and what becomes of the call: unanswered calls, no analysis, beeps, test calls, and the cost."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocsd.model.enums import CallAction, CallResult, RecordStatus
from ocsd.sessions.attempt import (
    AgentAnswered,
    AgentReserved,
    Answered,
    AttemptMachine,
    AttemptRules,
    AttemptState,
    CallPlan,
    CustomerEnded,
    DeadlinePassed,
    Do,
    Heard,
    Progress,
    RecordProcessed,
    ReleaseRequested,
)
from ocsd.sessions.outcome import result_of_failure
from ocsd.sessions.verdicts import (
    MOST_VERDICTS,
    LostWaiting,
    VerdictLog,
    VerdictTally,
    chosen,
    lost_waiting_for,
    verdict_latency_s,
)
from telephony.contract import Verdict, VerdictKind

PERSON = Heard(VerdictKind.HUMAN, connected=True, speech_end_s=2.5)
MACHINE = Heard(VerdictKind.MACHINE, connected=True)
BEEP = Heard(VerdictKind.BEEP, connected=True)
PLAY = CallPlan(CallAction.PLAY_MESSAGE, message="m.wav")
MEDIA = Progress(has_media=True, rings=False)
RINGS = Progress(has_media=False, rings=True)
OUR_LIMIT = CustomerEnded(487, no_answer=True)


def early(kind):
    return Heard(kind, connected=False)


def driven(*events, rules=None, plan=None, step_s=1.0):
    machine = AttemptMachine(rules if rules is not None else AttemptRules(), 0.0)
    machine.plan_of = lambda _result: plan
    done = [machine.on(event, index * step_s) for index, event in enumerate(events, start=1)]
    return machine, done


# --- unanswered calls -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("events", "result"),
    [
        ((), CallResult.NO_RINGBACK),
        ((RINGS,), CallResult.NO_ANSWER),
        ((MEDIA,), CallResult.NO_ANSWER),  # nobody said what was in it
        ((MEDIA, early(VerdictKind.NO_RINGBACK)), CallResult.NO_RINGBACK),
        ((RINGS, MEDIA, early(VerdictKind.NO_RINGBACK)), CallResult.NO_ANSWER),
        ((MEDIA, early(VerdictKind.NO_RINGBACK), RINGS), CallResult.NO_ANSWER),
        ((MEDIA, early(VerdictKind.RINGBACK)), CallResult.NO_ANSWER),
        ((MEDIA, early(VerdictKind.NO_RINGBACK), early(VerdictKind.RINGBACK)), CallResult.NO_ANSWER),
        ((MEDIA, early(VerdictKind.NO_RINGBACK), early(VerdictKind.CRBT)), CallResult.NO_ANSWER),
        ((MEDIA, early(VerdictKind.CRBT)), CallResult.NO_ANSWER),
        ((MEDIA, early(VerdictKind.ANNOUNCEMENT)), CallResult.NO_ANSWER),
    ],
)
def test_given_the_ring_limit_when_it_runs_out_then_no_ringback_is_what_was_neither_signalled_nor_heard(events, result):
    machine, _ = driven(*events, OUR_LIMIT)

    assert machine.result == result


@pytest.mark.parametrize(
    ("heard", "ended", "result"),
    [
        (VerdictKind.ANNOUNCEMENT, CustomerEnded(480), CallResult.NO_ANSWER),
        (VerdictKind.ANNOUNCEMENT, CustomerEnded(487), CallResult.REMOTE_RELEASE),
        (VerdictKind.ANNOUNCEMENT, CustomerEnded(500), CallResult.REMOTE_RELEASE),
        (VerdictKind.ANNOUNCEMENT, CustomerEnded(404), CallResult.SIT_INVALID_NUM),
        (VerdictKind.ANNOUNCEMENT, CustomerEnded(487, 1), CallResult.SIT_INVALID_NUM),
        (VerdictKind.ANNOUNCEMENT, CustomerEnded(486), CallResult.BUSY),
        (VerdictKind.ANNOUNCEMENT, CustomerEnded(407), CallResult.GENERAL_ERROR),
        (VerdictKind.CRBT, CustomerEnded(480), CallResult.NO_ANSWER),
        (VerdictKind.CRBT, CustomerEnded(487), CallResult.GENERAL_ERROR),
        (VerdictKind.NO_RINGBACK, CustomerEnded(503), CallResult.ALL_TRUNKS_BUSY),
    ],
)
def test_given_information_before_the_answer_when_the_far_end_ends_the_call_then_its_reason_decides(
    heard, ended, result
):
    machine, _ = driven(MEDIA, early(heard), ended)

    assert machine.result == result


@pytest.mark.parametrize(
    ("kind", "result"),
    [
        (VerdictKind.MODEM, CallResult.FAX),
        (VerdictKind.PAGER, CallResult.PAGER),
        (VerdictKind.NU_TONE, CallResult.NU_TONE),
        (VerdictKind.SIT_NO_CIRCUIT, CallResult.SIT_NO_CIRCUIT),
    ],
)
def test_given_a_device_or_tone_when_it_is_heard_then_the_call_ends_with_its_result(kind, result):
    answered, done = driven(Answered(), Heard(kind, connected=True))
    before, done_before = driven(MEDIA, early(kind))

    assert (answered.result, before.result) == (result, result)
    assert done[-1] == done_before[-1] == (Do.HANG_UP_CUSTOMER, Do.CLOSE_RECORD, Do.FINISH)


@pytest.mark.parametrize("status", [401, 403, 407, 480, 486, 603])
def test_given_an_announcement_when_the_status_says_why_then_it_changes_nothing(status):
    plain = result_of_failure(status, None, None, no_answer=False)

    assert result_of_failure(status, None, None, no_answer=False, announced=True) == plain


# --- no analysis, beeps ---------------------------------------------------------------------------------------------


def test_given_no_progress_detection_when_somebody_answers_then_an_agent_is_sought_from_the_answer_on():
    machine, done = driven(RINGS, Answered(), rules=AttemptRules(analysis=False, early_analysis=False, max_wait_s=2.0))

    assert done[-1] == (Do.MARK_ANSWERED, Do.SEEK_AGENT)
    assert (machine.found_person, machine.verdict) == (True, None)
    assert (machine.person_at_s, machine.deadline_s) == (2.0, 4.0)

    assert Do.PLAY_DROP in machine.on(DeadlinePassed(), 4.0)
    assert machine.result == CallResult.DROPPED


def test_given_no_progress_detection_when_an_agent_answers_then_the_result_is_answer():
    machine, _ = driven(Answered(), AgentReserved("a"), AgentAnswered(), rules=AttemptRules(analysis=False))

    assert (machine.state, machine.result) == (AttemptState.TALKING, CallResult.ANSWER)


def test_given_am_beep_detection_off_when_a_message_is_to_be_played_then_it_begins_at_once():
    machine, done = driven(Answered(), MACHINE, plan=PLAY, rules=AttemptRules(waits_for_beep=False))

    assert (machine.state, done[-1]) == (AttemptState.PLAYING, (Do.PLAY_MESSAGE,))


def test_given_a_recording_tone_before_the_verdict_when_it_is_a_machine_then_the_message_does_not_wait_for_another():
    waiting, _ = driven(Answered(), MACHINE, plan=PLAY)
    machine, done = driven(Answered(), BEEP, MACHINE, plan=PLAY)

    assert waiting.state is AttemptState.AWAITING_BEEP
    assert (machine.state, done[-1]) == (AttemptState.PLAYING, (Do.PLAY_MESSAGE,))


# --- test calls -----------------------------------------------------------------------------------------------------


def verified_talk(*more, rules=None):
    machine = AttemptMachine(rules if rules is not None else AttemptRules(), 0.0)
    machine.verified = True
    events = (Answered(), PERSON, AgentReserved("a"), AgentAnswered(), ReleaseRequested(), *more)
    return machine, [machine.on(event, float(index)) for index, event in enumerate(events, start=1)]


def test_given_a_test_call_when_it_ends_then_its_record_waits_for_the_agents_word():
    machine, done = verified_talk(RecordProcessed(CallResult.ANSWERING_MACHINE))

    assert Do.CLOSE_RECORD not in done[-2]
    assert done[-1] == (Do.CLOSE_RECORD, Do.FINISH)
    assert (machine.result, machine.said) == (CallResult.ANSWERING_MACHINE, CallResult.ANSWERING_MACHINE)


def test_given_a_test_call_when_the_agent_says_nothing_then_the_record_is_closed_as_it_is_and_not_stale():
    machine, _ = verified_talk()
    assert machine.deadline_s < AttemptRules().stale_s

    machine.on(DeadlinePassed(), machine.deadline_s)

    assert (machine.result, machine.said, machine.record_status) == (CallResult.ANSWER, None, RecordStatus.UPDATED)


def test_given_a_test_call_of_a_site_that_demands_record_processed_when_nothing_comes_then_it_is_stale_as_ever():
    machine, _ = verified_talk(rules=AttemptRules(record_processed=True, stale_s=600.0))
    assert machine.deadline_s == 5.0 + 600.0

    machine.on(DeadlinePassed(), machine.deadline_s)

    assert machine.record_status is RecordStatus.STALE


def test_given_a_chosen_call_on_which_nothing_was_heard_when_it_ends_then_no_agent_is_asked():
    # Such as a designated agent's, adopted after a restart.
    machine = AttemptMachine(AttemptRules(analysis=False), 0.0)
    machine.verified = True
    for event in (RINGS, Answered(), AgentReserved("a"), AgentAnswered(), ReleaseRequested()):
        machine.on(event, 2.0)

    assert machine.state is AttemptState.FINISHED


def test_given_a_test_call_when_the_agent_has_spoken_during_it_then_nobody_is_asked_again():
    machine = AttemptMachine(AttemptRules(), 0.0)
    machine.verified = True
    for index, event in enumerate((Answered(), PERSON, AgentReserved("a"), AgentAnswered()), start=1):
        machine.on(event, float(index))
    machine.correct(CallResult.ANSWERING_MACHINE)

    assert Do.CLOSE_RECORD in machine.on(ReleaseRequested(), 9.0)


# --- shares ---------------------------------------------------------------------------------------------------------


@given(st.uuids(), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_given_a_larger_share_when_a_call_was_chosen_then_it_still_is(identity, one, other):
    small, large = sorted((one, other))

    assert chosen(identity.hex, "feedback", large) or not chosen(identity.hex, "feedback", small)
    assert chosen(identity.hex, "feedback", 1.0)
    assert not chosen(identity.hex, "feedback", 0.0)


def test_given_many_calls_when_some_are_chosen_then_it_is_the_share_asked_for_and_purposes_are_independent():
    calls = [f"{number:032x}" for number in range(20_000)]

    heard = {call for call in calls if chosen(call, "feedback", 0.1)}
    recorded = {call for call in calls if chosen(call, "recording", 0.1)}

    # 4.5 standard deviations of a binomial; the digest is fixed, so this never wavers.
    assert len(heard) == pytest.approx(2000, abs=4.5 * math.sqrt(20_000 * 0.09))
    assert len(heard & recorded) == pytest.approx(200, abs=4.5 * math.sqrt(20_000 * 0.0099))


# --- what is kept, and what it cost ---------------------------------------------------------------------------------


def verdict(kind, at_s, *, connected=True, speech_end_s=0.0, revises=False, **evidence):
    return Verdict("c", kind, "because", at_s, connected, speech_end_s, revises, evidence)


def test_given_verdicts_when_they_are_told_then_times_are_after_the_answer_and_before_it_after_the_dial():
    machine, _ = driven(RINGS, Answered(), Heard(VerdictKind.HUMAN, connected=True, speech_end_s=2.5))
    log = VerdictLog()
    log.note(verdict(VerdictKind.RINGBACK, 1.5, connected=False, hz=440.0))
    log.note(verdict(VerdictKind.HUMAN, 2.75, speech_end_s=2.5, p=0.123456))

    found = log.document(machine)

    assert found["decided"] == "human"
    assert found["latency_s"] == 0.5
    assert found["verdicts"] == [
        {"kind": "ringback", "phase": "pre", "at_s": 1.5, "cause": "because", "figures": {"hz": 440.0}},
        {
            "kind": "human",
            "phase": "post",
            "at_s": 0.75,
            "cause": "because",
            "speech_end_s": 0.5,
            "figures": {"p": 0.1235},
        },
    ]


def test_given_nothing_heard_when_it_is_told_then_there_is_nothing_and_too_much_is_counted():
    machine, _ = driven(Answered())
    log = VerdictLog()
    assert log.document(machine) == {}

    for index in range(MOST_VERDICTS + 3):
        log.note(verdict(VerdictKind.RINGBACK, float(index), connected=False))

    assert (len(log.document(machine)["verdicts"]), log.document(machine)["left_out"]) == (MOST_VERDICTS, 3)


def test_given_a_network_that_rings_for_ever_when_somebody_answers_then_who_it_was_is_kept_all_the_same():
    machine, _ = driven(RINGS, Answered(), Heard(VerdictKind.HUMAN, connected=True, speech_end_s=2.5))
    log = VerdictLog()
    for index in range(MOST_VERDICTS + 3):
        log.note(verdict(VerdictKind.RINGBACK, index / 100.0, connected=False))
    log.note(verdict(VerdictKind.HUMAN, 2.75, speech_end_s=2.5))

    found = log.document(machine)

    assert (found["decided"], found["cause"], found["left_out"]) == ("human", "because", 3)


def test_given_a_verdict_that_is_told_again_at_a_restart_when_it_is_noted_then_it_counts_once():
    log = VerdictLog()
    log.note(verdict(VerdictKind.HUMAN, 2.75, speech_end_s=2.5))
    log.note(verdict(VerdictKind.HUMAN, 2.75))

    assert [one.speech_end_s for one in log.verdicts] == [2.5]


@pytest.mark.parametrize(
    ("verdict_at_s", "lost_at_s", "expected"),
    [(2.4, 4.4, LostWaiting.AGENT), (3.9, 4.5, LostWaiting.ANALYSIS), (3.0, 4.0, LostWaiting.AGENT)],
)
def test_given_a_person_who_hangs_up_when_the_wait_is_divided_then_the_larger_part_is_the_cause(
    verdict_at_s, lost_at_s, expected
):
    machine = AttemptMachine(AttemptRules(max_wait_s=10.0), 0.0)
    machine.on(Answered(), 1.0)
    machine.on(Heard(VerdictKind.HUMAN, connected=True, speech_end_s=2.0), verdict_at_s)
    machine.on(CustomerEnded(200), lost_at_s)

    assert machine.result == CallResult.ABANDONED
    assert verdict_latency_s(machine) == pytest.approx(verdict_at_s - 2.0)
    assert lost_waiting_for(machine, VerdictLog()) is expected


def test_given_a_hang_up_before_any_verdict_when_its_cause_is_asked_then_it_waited_for_the_analysis():
    machine, _ = driven(Answered(), CustomerEnded(200))
    unheard, _ = driven(RINGS, CustomerEnded(603))

    assert lost_waiting_for(machine, VerdictLog()) is LostWaiting.ANALYSIS
    assert lost_waiting_for(unheard, VerdictLog()) is None


def test_given_a_dropped_person_who_shows_to_be_a_machine_when_the_cause_is_asked_then_the_verdict_was_wrong():
    machine, _ = driven(Answered(), PERSON, DeadlinePassed(), step_s=3.0)
    log = VerdictLog()
    log.note(verdict(VerdictKind.HUMAN, 6.0))
    assert lost_waiting_for(machine, log) is not LostWaiting.WRONG_VERDICT

    log.note(verdict(VerdictKind.MACHINE, 10.0, revises=True))

    assert machine.state is AttemptState.ANNOUNCING
    assert lost_waiting_for(machine, log) is LostWaiting.WRONG_VERDICT


def test_given_calls_that_ended_when_figures_are_asked_then_kinds_percentiles_and_losses_are_counted():
    tally = VerdictTally()
    assert tally.figures()["verdict_latency_p95_s"] is None

    for tenths in range(1, 21):
        machine = AttemptMachine(AttemptRules(), 0.0)
        machine.on(Answered(), 1.0)
        machine.on(Heard(VerdictKind.HUMAN, connected=True, speech_end_s=2.0), 2.0 + tenths / 10)
        machine.on(CustomerEnded(200), 4.1)
        tally.ended(machine, VerdictLog())
    early_busy, _ = driven(MEDIA, early(VerdictKind.BUSY))
    tally.ended(early_busy, VerdictLog())

    found = tally.figures()
    assert (found["verdict_human"], found["verdict_busy"]) == (20, 1)
    assert found["verdict_latency_p50_s"] == pytest.approx(1.0)
    assert found["verdict_latency_p95_s"] == pytest.approx(1.9)
    assert found["lost_waiting_for_agent"] + found["lost_waiting_for_analysis"] == 20
