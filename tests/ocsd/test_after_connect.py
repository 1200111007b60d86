"""What an agent was connected to as a person, and turned out to be none: told, corrected, taken from the agent."""

import itertools
import math

import pytest
import trio

from ocsd.model.enums import CallAction, CallResult, RecordStatus, RecordType
from ocsd.sessions.attempt import (
    AgentAnswered,
    AgentGone,
    AgentReserved,
    Answered,
    AttemptMachine,
    AttemptRules,
    AttemptState,
    CallPlan,
    Cancelled,
    CustomerEnded,
    Do,
    Heard,
    PromptFinished,
    RecordProcessed,
    RecordUpdated,
    ReleaseRequested,
)
from ocsd.sessions.attempt_events import AfterConnect
from ocsd.sessions.people import person_of
from ocsd.sessions.roster import AgentState
from telephony.contract import VerdictKind
from telephony.fake import CallScript
from tests.ocsd.test_call_actions_in_sessions import CONNECTED, RETRIED_AFTER_MESSAGE
from tests.ocsd.test_session import restarted, world

HUMAN = Heard(VerdictKind.HUMAN, connected=True, speech_end_s=2.0)
MACHINE = Heard(VerdictKind.MACHINE, connected=True)
BEEP = Heard(VerdictKind.BEEP, connected=True)
FAX = Heard(VerdictKind.FAX, connected=True)
CONNECT = CallPlan(CallAction.CONNECT)
PLAY = CallPlan(CallAction.PLAY_MESSAGE, message="m.wav")
TAKEN = (Do.HANG_UP_AGENT, Do.AGENT_FREED)
GONE = (Do.HANG_UP_CUSTOMER, Do.CLOSE_RECORD, Do.FINISH)


def talking(rule=AfterConnect.BEEP, plan=None, **rules):
    """A machine whose agent has just been connected, at 5 s; the plan is that of everything but people."""
    machine = AttemptMachine(AttemptRules(after_connect=rule, **rules), 0.0)
    machine.plan_of = lambda result: None if result is CallResult.ANSWER else plan
    for at_s, event in enumerate((Answered(), HUMAN, AgentReserved("a1"), AgentAnswered()), start=1):
        machine.on(event, float(at_s))
    assert machine.state is AttemptState.TALKING
    return machine


class UtcClock:
    def utc(self):
        from datetime import UTC, datetime

        return datetime(2026, 3, 3, tzinfo=UTC)

    def now_s(self):
        return 10.0


@pytest.mark.parametrize(
    ("rule", "event", "done"),
    [
        (AfterConnect.NO, MACHINE, ()),
        (AfterConnect.NO, FAX, ()),
        (AfterConnect.REPORT, MACHINE, (Do.TELL_AGENT,)),
        (AfterConnect.REPORT, FAX, (Do.TELL_AGENT,)),
        (AfterConnect.BEEP, MACHINE, (Do.TELL_AGENT,)),
        (AfterConnect.BEEP, FAX, (Do.TELL_AGENT, *TAKEN, *GONE)),
        (AfterConnect.BEEP, HUMAN, ()),
        (AfterConnect.BEEP, BEEP, ()),
    ],
)
def test_given_an_agent_on_the_line_when_no_person_is_heard_then_as_the_option_says(rule, event, done):
    assert talking(rule).on(event, 6.0) == done


def test_given_the_default_when_a_machine_talks_and_then_beeps_then_it_is_told_first_and_taken_at_the_tone():
    machine = talking()

    assert machine.on(MACHINE, 7.0) == (Do.TELL_AGENT,)
    assert (machine.state, machine.result) == (AttemptState.TALKING, CallResult.ANSWERING_MACHINE)
    assert machine.on(BEEP, 12.0) == (*TAKEN, *GONE)
    assert (machine.result, machine.marks["agent_released"]) == (CallResult.ANSWERING_MACHINE, 12.0)
    assert person_of(machine, UtcClock()) is None


def test_given_a_message_for_machines_when_the_tone_was_heard_then_it_plays_at_once():
    machine = talking(plan=PLAY)
    machine.on(MACHINE, 7.0)

    assert machine.on(BEEP, 12.0) == (*TAKEN, Do.PLAY_MESSAGE)
    assert machine.on(PromptFinished(), 20.0) == GONE
    assert machine.result == CallResult.ANSWERING_MACHINE


def test_given_a_record_that_the_desktop_must_process_when_its_call_is_taken_then_it_stays_until_it_is_processed():
    machine = talking(plan=PLAY, record_processed=True, stale_s=60.0)
    machine.on(MACHINE, 7.0)

    assert machine.on(BEEP, 12.0) == (Do.HANG_UP_AGENT, Do.AGENT_TO_WRAP_UP, Do.PLAY_MESSAGE)
    assert machine.on(PromptFinished(), 20.0) == (Do.HANG_UP_CUSTOMER,)
    assert (machine.state, machine.deadline_s) == (AttemptState.WRAP_UP, 80.0)
    assert machine.on(RecordProcessed(None), 25.0) == (Do.CLOSE_RECORD, Do.FINISH)
    assert machine.result == CallResult.ANSWERING_MACHINE


@pytest.mark.parametrize("first", [RecordProcessed(None), AgentGone()])
def test_given_nobody_left_to_process_the_record_when_the_message_ends_then_it_is_closed(first):
    machine = talking(plan=PLAY, record_processed=True)
    machine.on(MACHINE, 7.0)
    machine.on(BEEP, 12.0)

    machine.on(first, 15.0)

    assert machine.on(PromptFinished(), 20.0) == GONE


def test_given_a_taken_call_when_its_record_is_cancelled_then_it_ends_at_once():
    machine = talking(plan=PLAY, record_processed=True)
    machine.on(MACHINE, 7.0)
    machine.on(BEEP, 12.0)

    assert machine.on(Cancelled(), 15.0) == GONE
    assert machine.result == CallResult.CANCEL_RECORD


def test_given_a_desktop_that_is_done_with_the_record_when_the_tone_is_heard_then_no_message_is_left():
    machine = talking(plan=PLAY)
    machine.on(MACHINE, 7.0)
    machine.on(RecordProcessed(None), 8.0)

    assert machine.on(BEEP, 12.0) == (
        Do.HANG_UP_CUSTOMER, Do.HANG_UP_AGENT, Do.AGENT_TO_WRAP_UP, Do.CLOSE_RECORD, Do.FINISH,
    )  # fmt: skip


@pytest.mark.parametrize("says_first", [True, False])
def test_given_an_agent_who_says_that_it_is_a_person_when_a_tone_is_heard_then_the_agent_knows_better(says_first):
    machine = talking()
    said = RecordUpdated(CallResult.ANSWER)
    events = (said, MACHINE, BEEP) if says_first else (MACHINE, said, BEEP)

    for event in events:
        machine.on(event, 7.0)

    assert machine.state is AttemptState.TALKING
    machine.on(ReleaseRequested(), 30.0)
    assert machine.result == CallResult.ANSWER


def test_given_a_test_call_when_it_shows_to_be_a_machine_then_its_agent_keeps_it_to_say_so():
    machine = talking()
    machine.verified = True

    assert machine.on(MACHINE, 7.0) == (Do.TELL_AGENT,)
    assert machine.on(BEEP, 9.0) == ()
    assert machine.state is AttemptState.TALKING


def test_given_machines_that_agents_are_to_get_when_one_shows_late_then_it_stays_with_the_agent():
    machine = talking(plan=CONNECT)

    assert machine.on(MACHINE, 7.0) == (Do.TELL_AGENT,)
    assert machine.on(BEEP, 9.0) == ()

    known = AttemptMachine(AttemptRules(), 0.0)
    known.plan_of = lambda _result: CONNECT
    for at_s, event in enumerate((Answered(), MACHINE, AgentReserved("a1"), AgentAnswered()), start=1):
        known.on(event, float(at_s))
    assert known.on(BEEP, 9.0) == ()
    assert known.state is AttemptState.TALKING


def test_given_any_order_of_what_is_heard_and_said_when_the_call_is_over_then_the_record_is_closed_exactly_once():
    news = (MACHINE, BEEP, FAX, RecordUpdated(CallResult.ANSWER), RecordProcessed(None), AgentGone(), Cancelled())
    for rule, demanded, plan in itertools.product(AfterConnect, (False, True), (None, PLAY, CONNECT)):
        for events in itertools.permutations(news, 4):
            machine = talking(rule, plan, record_processed=demanded)
            done = []
            for event in (*events, CustomerEnded(200), RecordProcessed(None)):
                done += machine.on(event, 7.0)
            assert machine.state is AttemptState.FINISHED
            assert math.isinf(machine.deadline_s)
            assert done.count(Do.CLOSE_RECORD) == done.count(Do.FINISH) == 1
            assert done.count(Do.AGENT_FREED) + done.count(Do.AGENT_TO_WRAP_UP) == 1


# --- in sessions ----------------------------------------------------------------------------------------------------

LATE_MACHINE = CallScript(
    ring_s=4.0, talk_s=60.0, verdict_s=1.0, after_bridge=((VerdictKind.MACHINE, 3.0), (VerdictKind.BEEP, 6.0))
)


def finished(w, record_id=1):
    (attempt,) = [a for a in w.database.attempts.values() if a.open.record_id == record_id]
    assert attempt.finished is not None
    return attempt.finished


async def over(daemon):
    await daemon.until(lambda: daemon.session.score.tally.attempts and not daemon.session.attempts)


async def test_given_a_machine_with_an_agent_when_it_talks_on_and_beeps_then_the_desktop_knows_and_is_free(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [LATE_MACHINE]) as w, w.daemon() as daemon:
        await daemon.dial("agent1")
        await daemon.until(lambda: AttemptState.TALKING in daemon.states())
        await trio.sleep(4.0)
        desktop = daemon.desktops["agent1"]
        assert desktop.last("EventAttachedDataChanged")["UserData"]["GSW_CALL_RESULT"] == CallResult.ANSWERING_MACHINE
        assert daemon.states() == [AttemptState.TALKING]

        await over(daemon)

        assert daemon.session.roster.seats["agent1"].state is AgentState.READY
        assert [m["Event"] for m in desktop.messages if "Event" in m][-2:] == ["EventReleased", "EventAgentReady"]
        ended = finished(w)
        assert (ended.call_result, ended.cpa_verdict, ended.person) == (9, "machine", None)
        assert w.result(1) == (RecordStatus.UPDATED, CallResult.ANSWERING_MACHINE)
        figures = daemon.session.statistics()
        assert (figures["machines_after_connect"], figures["machines_taken_from_agents"]) == (1, 1)
        assert (figures["connected"], figures["answered"], figures["overdial_rate"]) == (0, 0, 0.0)
        assert figures["mean_wait_s"] == 0.0
        kinds = [verdict["kind"] for verdict in ended.evidence["cpa"]["verdicts"]]
        assert kinds == ["human", "machine", "beep"]


async def test_given_a_treatment_when_a_machine_is_taken_from_its_agent_then_it_gets_the_message_and_is_tried_again(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [LATE_MACHINE], edit=RETRIED_AFTER_MESSAGE) as w, w.daemon() as daemon:
        await daemon.dial("agent1")
        await daemon.until(lambda: AttemptState.PLAYING in daemon.states())
        assert daemon.session.roster.seats["agent1"].state is AgentState.READY
        await over(daemon)
        assert w.result(1) == (RecordStatus.READY, CallResult.ANSWERING_MACHINE)
        assert w.row(1).record.record_type is RecordType.CAMPAIGN_RESCHEDULED


@pytest.mark.parametrize(
    ("options", "result"),
    [("cpa-after-connect = 'no'", CallResult.ANSWER), ("cpa-after-connect = 'report'", CallResult.ANSWERING_MACHINE)],
)
async def test_given_a_machine_with_an_agent_when_it_may_only_be_told_or_not_even_that_then_the_agent_hangs_up(
    autojump_clock, tmp_path, options, result
):
    async with world(tmp_path, [LATE_MACHINE], options=options.replace("'", '"')) as w, w.daemon() as daemon:
        await daemon.dial("agent1")
        await daemon.until(lambda: AttemptState.TALKING in daemon.states())
        await trio.sleep(20.0)
        assert daemon.states() == [AttemptState.TALKING]
        await over(daemon)
        assert w.result(1) == (RecordStatus.UPDATED, result)


async def test_given_a_machine_with_an_agent_when_it_beeps_without_a_daemon_then_the_next_one_takes_it(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [LATE_MACHINE]) as w:
        await restarted(w, lambda d: AttemptState.TALKING in d.states())
        await trio.sleep(8.0)
        async with w.daemon() as daemon:
            await daemon.until(lambda: not daemon.session.attempts)
            assert trio.current_time() < 40.0  # long before the machine hangs up
            assert w.result(1) == (RecordStatus.UPDATED, CallResult.ANSWERING_MACHINE)


async def test_given_a_treatment_that_connects_machines_when_a_daemon_adopts_one_then_its_tone_changes_nothing(
    autojump_clock, tmp_path
):
    script = CallScript(verdict=VerdictKind.MACHINE, talk_s=60.0)
    async with world(tmp_path, [script], edit=CONNECTED) as w:
        await restarted(w, lambda d: AttemptState.TALKING in d.states())
        async with w.daemon() as daemon:
            (task,) = daemon.session.attempts.values()
            task.post(BEEP)
            await trio.sleep(1.0)
            assert daemon.states() == [AttemptState.TALKING]


async def test_given_a_daemon_that_dies_between_the_answer_and_its_analysis_when_restarted_then_it_is_begun(
    autojump_clock, tmp_path
):
    # To die takes a daemon 10 s; the analysis must not have come to an end by then.
    async with world(tmp_path, [CallScript(ring_s=2.0, early_media=True, verdict_s=11.5)]) as w:
        await restarted(w, lambda d: AttemptState.ANALYSING in d.states())
        (channel,) = w.media.unclaimed.values()
        channel._analysis.cancel()
        channel.analysing, channel.analysing_connected, channel.verdict = True, False, None  # still that of early media
        async with w.daemon() as daemon:
            assert daemon.states() == [AttemptState.ANALYSING]
            await daemon.log_in("agent1")
            assert "start_analysis" in w.media.channels[channel.channel_id].commands
            await daemon.until(lambda: AttemptState.TALKING in daemon.states())
