"""Attempts over the in-memory plane in virtual time: call actions of treatments, designated agents, withdrawals."""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
import structlog
import trio

from ocsd.config.analysis import AnalysisPlan
from ocsd.config.objects import Configuration, Trunk
from ocsd.model.enums import CallAction, CallResult, RecordStatus, RecordType
from ocsd.model.records import CallingRecord, Chain, ChainChange, CpdRecording, FinishedAttempt
from ocsd.sessions.attempt import (
    AgentReserved,
    AttemptMachine,
    AttemptRules,
    AttemptState,
    CallPlan,
    Cancelled,
    RecordProcessed,
    ReleaseRequested,
    Withdrawn,
)
from ocsd.sessions.attempt_result import finished_attempt
from ocsd.sessions.attempt_task import AttemptContext, AttemptTask, DialPlan
from ocsd.sessions.phones import PLAIN_PHONE, PhonePlan
from ocsd.sessions.trunks import TrunkBoard
from telephony.contract import AnalysisSettings, Verdict, VerdictKind
from telephony.fake import CallScript, FakeMedia, FakeTelephony, open_fake_plane

CUSTOMER = "sip:+12125550001@carrier:5060"
PHONE = "sip:1001@phones"
DESTINATION = "sip:queue@elsewhere"
OVER_TRUNK = "sip:0800@carrier:5060"
NOON = datetime(2026, 3, 3, 17, 0, tzinfo=UTC)
HANG_LIMIT_S = 1000.0
"""Virtual seconds; only catches hangs."""

MACHINE = CallScript(verdict=VerdictKind.MACHINE, prompt_s=7.0)


def plan(action: CallAction, **more) -> CallPlan:
    return CallPlan(action, treatment_dbid=77, **more)


class VirtualClock:
    def __init__(self) -> None:
        self._begin_s = trio.current_time()

    def now_s(self) -> float:
        return trio.current_time()

    def utc(self) -> datetime:
        return NOON + timedelta(seconds=trio.current_time() - self._begin_s)


@dataclass
class FakeStore:
    marks: list[tuple] = field(default_factory=list)

    async def mark_answered(self, attempt_id: int, _at: datetime) -> None:
        self.marks.append(("answered", attempt_id))

    async def mark_connected(self, attempt_id: int, _at: datetime, agent_id: str) -> None:
        self.marks.append(("connected", attempt_id, agent_id))


class FakeSession:
    """What attempts look up in the whole session: one trunk that works, no gateway, no queue, no third parties."""

    def __init__(self, clock: VirtualClock) -> None:
        trunk = Trunk(dbid=3, name="t", tenant="x", host="carrier")
        self.clock = clock
        self.config = Configuration(trunks=(trunk,))
        self.group = SimpleNamespace(trunks=("t",), dbid=1)
        self.trunk_board = TrunkBoard([trunk], clock.now_s())
        self.trunk_keeper = None
        self.trunk_use = SimpleNamespace(is_counted=lambda _attempt_id: True)
        self.without_gateway_cpa: set[str] = set()
        self.transfer_out = SimpleNamespace(referred=lambda _task, _event: False)
        self.voice = SimpleNamespace(wanted_headers=lambda _task, _agent_id: ())


@dataclass
class FakeHost:
    """A session of one attempt: one agent, who is ready or not."""

    telephony: FakeTelephony
    media: FakeMedia
    clock: VirtualClock
    plans: dict[CallResult, CallPlan] = field(default_factory=dict)
    agent: str | None = "a1"
    store: FakeStore = field(default_factory=FakeStore)
    agent_from_uri: str = "sip:ocsd@here"
    dialable: bool = True
    settled: list[FinishedAttempt] = field(default_factory=list)
    settled_in: list[AttemptState] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    asked: list[CallResult] = field(default_factory=list)
    recordings: list[CpdRecording] = field(default_factory=list)
    parties: None = None

    def __post_init__(self) -> None:
        self.session = FakeSession(self.clock)

    def agent_phone(self, agent_id: str) -> PhonePlan:
        return PLAIN_PHONE

    def standing_leg(self, task: AttemptTask, agent_id: str) -> None:
        return None

    def keeps_from_dialing(self, task: AttemptTask) -> str | None:
        return None if self.dialable else "dialing has stopped"

    def call_action(self, task: AttemptTask, call_result: CallResult) -> CallPlan | None:
        self.asked.append(call_result)
        return self.plans.get(call_result)

    async def settle(self, task: AttemptTask) -> None:
        await trio.lowlevel.checkpoint()
        self.settled_in.append(task.machine.state)
        self.settled.append(finished_attempt(task, ChainChange(task.machine.record_status, RecordType.GENERAL)))

    async def note_recording(self, recording: CpdRecording) -> None:
        await trio.lowlevel.checkpoint()
        self.recordings.append(recording)

    def seek_agent(self, task: AttemptTask) -> None:
        self.told.append("seek")
        if self.agent is not None:
            task.post(AgentReserved(self.agent))

    def stop_seeking(self, task: AttemptTask) -> None:
        self.told.append("stop_seeking")

    def is_reserved(self, task: AttemptTask, agent_id: str) -> bool:
        return True

    def agent_dn(self, agent_id: str) -> str:
        return PHONE

    def agent_ringing(self, task: AttemptTask) -> None:
        self.told.append("ringing")

    def agent_connected(self, task: AttemptTask) -> None:
        self.told.append("connected")

    def agent_released(self, task: AttemptTask) -> None:
        self.told.append("released")

    def agent_failed(self, task: AttemptTask, agent_id: str) -> None:
        self.told.append("failed")

    def agent_back(self, task: AttemptTask, agent_id: str) -> None:
        self.told.append("back")

    def attempt_changed(self, task: AttemptTask) -> None:
        pass

    def attempt_finished(self, task: AttemptTask) -> None:
        self.told.append("finished")


@dataclass
class World:
    host: FakeHost
    nursery: trio.Nursery
    task: AttemptTask | None = None

    @property
    def telephony(self) -> FakeTelephony:
        return self.host.telephony

    @property
    def machine(self) -> AttemptMachine:
        assert self.task is not None
        return self.task.machine

    @property
    def customer(self):
        """The customer's channel."""
        assert self.task is not None
        return self.host.media.channels[f"{self.task.context.leg_id}-rtp"]

    def dial(self, designated: str | None = None, **rules) -> None:
        record = CallingRecord(1, 5, "+12125550001", 1, RecordType.GENERAL, 28, 0, None, None, 0, 86400, 0, 9, 0)
        context = AttemptContext(
            attempt_id=42,
            guid="0123456789abcdef",
            chain=Chain(1, 9, (record,)),
            record=record,
            plan=DialPlan(CUSTOMER, "sip:5551@here", username="ours", password="secret", headers=(("X-A", "1"),)),
            trunk="t",
            switch_dbid=3,
            analysis=AnalysisPlan("positive_am_detection", AnalysisSettings()),
        )
        machine = AttemptMachine(AttemptRules(**rules), self.host.clock.now_s(), designated_agent=designated)
        self.task = AttemptTask(self.host, context, machine)
        self.nursery.start_soon(self.task.run)

    async def until(self, state: AttemptState) -> None:
        while self.machine.state is not state:  # noqa: ASYNC110
            await trio.sleep(0.05)

    async def end(self) -> FinishedAttempt:
        """Wait for the end; nothing may be left behind."""
        while "finished" not in self.host.told:  # noqa: ASYNC110
            await trio.sleep(0.05)
        assert self.telephony.machines == {}
        assert self.host.media.channels == {}
        (finished,) = self.host.settled
        return finished

    def dialed(self) -> list[str]:
        return [command.uri for command in self.telephony.placed]


@asynccontextmanager
async def world(customer: CallScript, plans: dict[CallResult, CallPlan] | None = None, **other) -> AsyncIterator[World]:
    scripts = {CUSTOMER: customer, PHONE: CallScript(ring_s=0.2, talk_s=math.inf)} | other.pop("scripts", {})
    async with open_fake_plane(scripts) as (telephony, media):
        async with trio.open_nursery() as nursery:
            host = FakeHost(telephony, media, VirtualClock(), plans or {}, **other)
            with trio.fail_after(HANG_LIMIT_S):
                yield World(host, nursery)
            nursery.cancel_scope.cancel()


# --- without a treatment -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "result"), [(VerdictKind.HUMAN, CallResult.ANSWER), (VerdictKind.MACHINE, CallResult.ANSWERING_MACHINE)]
)
async def test_given_no_call_action_when_answered_then_people_get_agents_and_machines_are_hung_up(
    autojump_clock, kind, result
):
    async with world(CallScript(verdict=kind, talk_s=20.0)) as w:
        w.dial()
        finished = await w.end()
        assert w.host.asked == [result]
        assert finished.call_result == result
        assert ("connected" in w.host.told) is (kind is VerdictKind.HUMAN)
        assert (PHONE in w.dialed()) is (kind is VerdictKind.HUMAN)


# --- connect and drop ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [VerdictKind.MACHINE, VerdictKind.FAX, VerdictKind.SILENCE])
async def test_given_connect_for_a_machine_when_it_answers_then_an_agent_gets_it_with_the_result_found(
    autojump_clock, kind
):
    plans = dict.fromkeys((CallResult.ANSWERING_MACHINE, CallResult.FAX, CallResult.SILENCE), plan(CallAction.CONNECT))
    async with world(CallScript(verdict=kind, talk_s=30.0), plans) as w:
        w.dial()
        await w.until(AttemptState.TALKING)
        found = w.host.asked[0]
        assert w.machine.result == found
        assert w.customer.bridged_to.endswith("-rtp")
        finished = await w.end()
        assert finished.call_result == found
        assert finished.agent_id == "a1"
        assert finished.evidence["call_action"] == {"action": "CONNECT", "treatment_dbid": 77}


async def test_given_connect_for_a_machine_when_no_agent_comes_then_it_is_hung_up_without_a_word(autojump_clock):
    plans = {CallResult.ANSWERING_MACHINE: plan(CallAction.CONNECT)}
    async with world(MACHINE, plans, agent=None) as w:
        w.dial(max_wait_s=3.0)
        await w.until(AttemptState.WAITING)
        channel, begin_s = w.customer, trio.current_time()
        finished = await w.end()
        assert trio.current_time() - begin_s == pytest.approx(3.0, abs=0.1)  # virtual seconds
        assert channel.prompts == []
        assert finished.call_result == CallResult.ANSWERING_MACHINE
        assert finished.times.abandoned_at is None


async def test_given_drop_for_a_person_when_it_answers_then_the_announcement_is_heard_and_the_result_stays(
    autojump_clock,
):
    async with world(CallScript(), {CallResult.ANSWER: plan(CallAction.DROP)}) as w:
        w.dial()
        await w.until(AttemptState.ANNOUNCING)
        channel = w.customer
        finished = await w.end()
        assert channel.prompts == ["drop"]
        assert finished.call_result == CallResult.ANSWER
        assert finished.times.abandoned_at is not None
        assert w.dialed() == [CUSTOMER]


# --- play message --------------------------------------------------------------------------------------------------


MESSAGE = plan(CallAction.PLAY_MESSAGE, message="sorry.wav")


async def test_given_a_message_for_a_machine_when_its_tone_comes_then_the_message_is_played_and_the_call_ends(
    autojump_clock,
):
    async with world(MACHINE, {CallResult.ANSWERING_MACHINE: MESSAGE}) as w:
        w.dial()
        await w.until(AttemptState.AWAITING_BEEP)
        channel = w.customer
        await trio.sleep(6.0)
        assert channel.prompts == []
        now_s = trio.current_time()
        channel.report(Verdict(channel.channel_id, VerdictKind.BEEP, "tone", now_s, True))
        finished = await w.end()
        assert channel.prompts == ["sorry.wav"]
        assert trio.current_time() - now_s == pytest.approx(7.0, abs=0.1)  # virtual seconds: all of it
        assert finished.call_result == CallResult.ANSWERING_MACHINE


async def test_given_a_machine_without_a_tone_when_the_greeting_limit_passes_then_the_message_is_played_all_the_same(
    autojump_clock,
):
    async with world(MACHINE, {CallResult.ANSWERING_MACHINE: MESSAGE}) as w:
        w.dial()
        await w.until(AttemptState.PLAYING)
        assert w.customer.prompts == ["sorry.wav"]
        assert (await w.end()).call_result == CallResult.ANSWERING_MACHINE


async def test_given_a_message_for_a_person_when_found_then_it_is_played_at_once(autojump_clock):
    async with world(CallScript(verdict_s=1.0), {CallResult.ANSWER: MESSAGE}) as w:
        w.dial()
        await w.until(AttemptState.PLAYING)
        channel = w.customer
        finished = await w.end()
        assert channel.prompts == ["sorry.wav"]
        assert finished.call_result == CallResult.ANSWER


@pytest.mark.parametrize(
    ("kind", "heard", "result"),
    [
        (VerdictKind.SILENCE, ["sorry.wav"], CallResult.SILENCE),
        (VerdictKind.HUMAN, ["sorry.wav", "drop"], CallResult.ANSWER),
    ],
)
async def test_given_a_message_that_cannot_be_played_when_asked_then_the_call_ends_and_a_person_is_told(
    autojump_clock, kind, heard, result
):
    plans = dict.fromkeys((CallResult.SILENCE, CallResult.ANSWER), MESSAGE)
    async with world(CallScript(verdict=kind), plans) as w:
        w.host.media.missing_prompts.add("sorry.wav")
        with structlog.testing.capture_logs() as logs:
            w.dial()
            await w.until(AttemptState.ANALYSING)
            channel = w.customer
            finished = await w.end()
        assert channel.prompts == heard
        assert finished.call_result == result
        assert finished.evidence["prompt_error"] == "no prompt 'sorry.wav'"
        assert [entry["prompt"] for entry in logs if entry["event"] == "attempt.prompt_not_played"] == ["sorry.wav"]


# --- transfers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "prompts"),
    [(CallAction.TRANSFER, ["ringback"]), (CallAction.ROUTE, ["ringback"]), (CallAction.MUTE_TRANSFER, [])],
)
@pytest.mark.parametrize(
    ("kind", "result"), [(VerdictKind.HUMAN, CallResult.ANSWER), (VerdictKind.MACHINE, CallResult.ANSWERING_MACHINE)]
)
async def test_given_a_transfer_when_the_destination_answers_then_both_talk_and_the_record_is_closed_at_once(
    autojump_clock, action, prompts, kind, result
):
    scripts = {DESTINATION: CallScript(ring_s=3.0, talk_s=math.inf)}
    customer = CallScript(verdict=kind, talk_s=60.0)
    async with world(customer, {result: plan(action, destination=DESTINATION)}, scripts=scripts) as w:
        w.dial(agent_answer_s=5.0)
        await w.until(AttemptState.TRANSFERRING)
        channel = w.customer
        assert channel.bridged_to == ""
        await w.until(AttemptState.TRANSFERRED)
        await trio.sleep(0.1)
        assert channel.prompts == prompts
        assert "-destination-" in channel.bridged_to
        assert w.host.settled_in == [AttemptState.TRANSFERRED]
        assert all(machine.protected for machine in w.telephony.machines.values())
        command = w.telephony.placed[-1]
        assert (command.uri, command.from_uri, command.password) == (DESTINATION, "sip:ocsd@here", "")
        finished = await w.end()
        assert finished.call_result == result
        assert finished.agent_id is None
        assert not w.machine.bridged


async def test_given_a_transfer_over_the_customers_trunk_when_dialed_then_with_its_account_and_caller_id(
    autojump_clock,
):
    scripts = {OVER_TRUNK: CallScript(ring_s=0.5, talk_s=8.0)}
    plans = {CallResult.ANSWER: plan(CallAction.TRANSFER, destination=OVER_TRUNK)}
    async with world(CallScript(), plans, scripts=scripts) as w:
        w.dial()
        await w.end()  # the destination hangs up, and the customer is released
        command = w.telephony.placed[-1]
        assert (command.username, command.from_uri, command.headers) == ("ours", "sip:5551@here", (("X-A", "1"),))


@pytest.mark.parametrize(
    ("destination", "person_result"),
    [
        (CallScript(ring_s=math.inf), CallResult.DROPPED),
        (CallScript(ring_s=0.3, status=486), CallResult.DROPPED),
        (CallScript(refuse="bad URI"), CallResult.TRANSFER_ERROR),
    ],
)
@pytest.mark.parametrize("kind", [VerdictKind.HUMAN, VerdictKind.MACHINE])
async def test_given_a_transfer_when_nobody_takes_it_then_the_result_is_that_of_the_mapping_table(
    autojump_clock, destination, person_result, kind
):
    to_there = plan(CallAction.TRANSFER, destination=DESTINATION)
    plans = dict.fromkeys((CallResult.ANSWER, CallResult.ANSWERING_MACHINE), to_there)
    async with world(CallScript(verdict=kind), plans, scripts={DESTINATION: destination}) as w:
        w.dial(agent_answer_s=4.0)
        await w.until(AttemptState.ANALYSING)
        channel = w.customer
        finished = await w.end()
        if kind is VerdictKind.HUMAN:
            assert finished.call_result == person_result
            assert channel.prompts == ["ringback", "drop"]
            assert (finished.times.released_at - finished.times.abandoned_at).total_seconds() >= 3.0  # heard to its end
        else:
            assert finished.call_result == CallResult.ANSWERING_MACHINE
            assert channel.prompts == ["ringback"]


@pytest.mark.parametrize(
    ("kind", "result"),
    [(VerdictKind.HUMAN, CallResult.ABANDONED), (VerdictKind.MACHINE, CallResult.ANSWERING_MACHINE)],
)
async def test_given_a_transfer_when_the_customer_leaves_first_then_the_destination_stops_ringing(
    autojump_clock, kind, result
):
    to_there = plan(CallAction.TRANSFER, destination=DESTINATION)
    plans = dict.fromkeys((CallResult.ANSWER, CallResult.ANSWERING_MACHINE), to_there)
    customer = CallScript(verdict=kind, talk_s=3.0)
    async with world(customer, plans, scripts={DESTINATION: CallScript(ring_s=math.inf)}) as w:
        w.dial(agent_answer_s=30.0)
        assert (await w.end()).call_result == result


async def test_given_a_transferred_call_when_the_daemon_stops_then_the_conversation_stays(autojump_clock):
    scripts = {DESTINATION: CallScript(ring_s=0.5, talk_s=math.inf)}
    plans = {CallResult.ANSWER: plan(CallAction.TRANSFER, destination=DESTINATION)}
    async with world(CallScript(), plans, scripts=scripts) as w:
        w.dial()
        await w.until(AttemptState.TRANSFERRED)
        await trio.sleep(0.1)
        w.nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await trio.sleep(30.0)
            assert len(w.telephony.machines) == 2
            assert sum(bool(channel.bridged_to) for channel in w.host.media.channels.values()) == 2
            assert len(w.host.settled) == 1


# --- designated agents ---------------------------------------------------------------------------------------------


async def test_given_a_designated_agent_when_its_phone_answers_then_the_customer_is_dialed_and_nothing_analysed(
    autojump_clock,
):
    async with world(CallScript(ring_s=4.0, talk_s=20.0)) as w:
        w.dial("a1")
        await w.until(AttemptState.RINGING_AGENT)
        await trio.sleep(0.1)
        assert w.dialed() == [PHONE]
        await w.until(AttemptState.ALERTING)
        await trio.sleep(0.1)
        agent_channel = next(c for c in w.host.media.channels.values() if "-agent-" in c.channel_id)
        assert agent_channel.prompts == ["ringback"]
        await w.until(AttemptState.TALKING)
        customer = w.customer
        await w.until(AttemptState.WRAP_UP)
        assert "start_analysis" not in customer.commands
        assert w.host.told == ["ringing", "connected", "released"]
        assert w.host.store.marks == [("answered", 42), ("connected", 42, "a1")]
        w.task.post(RecordProcessed(None, "campaign"))
        finished = await w.end()
        assert finished.call_result == CallResult.ANSWER
        assert w.task.context.treatment == "campaign"


async def test_given_a_designated_agent_when_the_network_sends_media_then_the_agent_hears_it_before_the_answer(
    autojump_clock,
):
    async with world(CallScript(ring_s=4.0, early_media=True)) as w:
        w.dial("a1")
        await w.until(AttemptState.ALERTING)
        await trio.sleep(0.1)
        assert "-agent-" in w.customer.bridged_to
        assert not w.machine.bridged
        await w.until(AttemptState.TALKING)
        assert w.machine.bridged
        w.task.post(ReleaseRequested())
        w.task.post(RecordProcessed(CallResult.WRONG_PARTY))
        assert (await w.end()).call_result == CallResult.WRONG_PARTY


@pytest.mark.parametrize(
    ("customer", "result", "counted"),
    [
        (CallScript(status=486), CallResult.BUSY, True),
        (CallScript(ring_s=math.inf), CallResult.NO_ANSWER, True),
        (CallScript(worker_dies_s=1.0), CallResult.GENERAL_ERROR, True),
        (CallScript(refuse="bad number"), CallResult.DIAL_ERROR, False),
    ],
)
async def test_given_a_designated_call_without_an_answer_when_it_ends_then_the_record_waits_on_the_desk(
    autojump_clock, customer, result, counted
):
    async with world(customer) as w:
        w.dial("a1", stale_s=600.0)
        await w.until(AttemptState.WRAP_UP)
        assert w.host.settled == []
        await trio.sleep(300.0)
        assert not any("agent" in leg for leg in w.telephony.machines)
        assert w.machine.result == result
        w.task.post(RecordProcessed(None))
        finished = await w.end()
        assert (finished.call_result, finished.count_attempt) == (result, counted)
        assert w.machine.record_status is RecordStatus.UPDATED
        assert w.host.told == ["ringing", "released", "finished"]


async def test_given_a_designated_agent_whose_phone_fails_when_dialed_then_the_customer_is_not_called(autojump_clock):
    async with world(CallScript(), scripts={PHONE: CallScript(status=486)}) as w:
        w.dial("a1", stale_s=60.0)
        await w.until(AttemptState.WRAP_UP)
        assert w.dialed() == [PHONE]
        finished = await w.end()  # nobody processes the record
        assert not finished.count_attempt
        assert w.machine.record_status is RecordStatus.STALE
        assert w.host.told == ["ringing", "failed", "finished"]


async def test_given_a_record_that_may_not_be_dialed_any_more_when_the_agent_answers_then_nobody_is_called(
    autojump_clock,
):
    async with world(CallScript(), dialable=False) as w:
        w.dial("a1", stale_s=60.0)
        await w.until(AttemptState.WRAP_UP)
        assert w.dialed() == [PHONE]
        assert not w.machine.count_attempt
        await w.end()


# --- withdrawals ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "result"), [(Withdrawn(), CallResult.DO_NOT_CALL), (Cancelled(), CallResult.CANCEL_RECORD)]
)
async def test_given_a_ringing_call_when_its_record_is_withdrawn_then_it_is_hung_up(autojump_clock, event, result):
    async with world(CallScript(ring_s=20.0)) as w:
        w.dial()
        await w.until(AttemptState.ALERTING)
        w.task.post(event)
        finished = await w.end()
        assert finished.call_result == result
        assert w.task.context.withdrawn
        assert finished.times.answered_at is None


async def test_given_a_conversation_when_its_record_is_withdrawn_then_it_goes_on_and_no_record_processed_is_needed(
    autojump_clock,
):
    async with world(CallScript(talk_s=40.0)) as w:
        w.dial(record_processed=True)
        await w.until(AttemptState.TALKING)
        w.task.post(Withdrawn())
        await trio.sleep(20.0)
        assert w.machine.state is AttemptState.TALKING
        finished = await w.end()
        assert finished.call_result == CallResult.ANSWER
        assert w.task.context.withdrawn
