"""Sessions over the in-memory plane and store, in virtual time: the life of calls, groups, and daemons that die."""

import math
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
import trio

from ocsd.config.loader import load_configuration
from ocsd.config.objects import Configuration
from ocsd.demo.options import DemoOptions
from ocsd.demo.world import CAMPAIGN_GROUP_DBID, write_configuration
from ocsd.dnc.memory import MemoryDoNotCall
from ocsd.lists.memory import MemoryDatabase, MemoryListStore
from ocsd.model.enums import CallResult, DialMode, GroupCampStatus, RecordStatus, RecordType
from ocsd.model.errors import StoreUnavailable
from ocsd.model.records import Selector, TypePriority, Withdrawal
from ocsd.model.services import CampaignRequest, DialParameters
from ocsd.protocols.desktop import (
    RecordProcessed,
    RequestAgentLogin,
    RequestAgentLogout,
    RequestAgentReady,
    RequestReleaseCall,
    UpdateCallCompletionStats,
)
from ocsd.protocols.desktop_records import CallbackType, RecordReschedule
from ocsd.sessions.attempt import AttemptState
from ocsd.sessions.campaigns import Campaigns
from ocsd.sessions.desks import Desks
from ocsd.sessions.group import DialSettings
from ocsd.sessions.pacing_keeping import PacingKeeping
from ocsd.sessions.recovery import Recovered, recover
from ocsd.sessions.roster import AgentState
from ocsd.sessions.session import Session
from ocsd.validation import Validator
from telephony.contract import VerdictKind
from telephony.fake import CallScript, FakeMedia, FakeTelephony, Script, open_fake_plane

LIST = 142
CAMPAIGN = "Demo"
NOON = datetime(2026, 3, 3, 17, 0, tzinfo=UTC)
HANG_LIMIT_S = 3600.0
"""Virtual seconds; only catches hangs."""

PERSON = CallScript(ring_s=4.0, talk_s=30.0, verdict_s=1.0)
PHONE = CallScript(ring_s=0.2)
"""An agent's phone."""


class VirtualClock:
    def now_s(self) -> float:
        return trio.current_time()

    def utc(self) -> datetime:
        return NOON + timedelta(seconds=trio.current_time() - self._begin_s)

    def __init__(self) -> None:
        self._begin_s = trio.current_time()


@dataclass
class Memory:
    """SessionMemory whose database can go away."""

    available: bool = True
    states: dict[int, tuple[GroupCampStatus, DialSettings]] = field(default_factory=dict)

    async def remember(self, dbid: int, status: GroupCampStatus, settings: DialSettings) -> None:
        await trio.lowlevel.checkpoint()
        if not self.available:
            raise StoreUnavailable("switched off")
        self.states[dbid] = (status, settings)

    async def recall(self) -> dict[int, tuple[GroupCampStatus, DialSettings]]:
        await trio.lowlevel.checkpoint()
        return dict(self.states)


class MortalStore(MemoryListStore):
    """After `die` nothing that its daemon still tries reaches the database. ``lose_next_answer``: see the tests."""

    dead = False
    lose_next_answer = False

    async def _reach(self) -> None:
        if self.dead:
            await trio.sleep_forever()
        await super()._reach()

    async def begin_attempts(self, attempts):
        refused = await super().begin_attempts(attempts)
        if self.lose_next_answer:
            self.lose_next_answer = False
            raise StoreUnavailable("committed, but nobody was told")
        return refused


class Desktop:
    """A desktop connection that keeps what it is sent."""

    peer = "test"

    def __init__(self) -> None:
        self.messages: list[dict] = []

    def send(self, message) -> None:
        self.messages.append(dict(message))

    def close(self) -> None:
        pass

    def events(self) -> list[str]:
        return [str(m.get("Event") or m.get("GSW_USER_EVENT")) for m in self.messages]

    def last(self, event: str) -> dict:
        return next(m for m in reversed(self.messages) if event in (m.get("Event"), m.get("GSW_USER_EVENT")))


@dataclass
class Daemon:
    """One run of the daemon; `World.daemon` makes it."""

    world: "World"
    campaigns: Campaigns
    desks: Desks
    store: MortalStore
    nursery: trio.Nursery
    recovered: Recovered | None = None
    desktops: dict[str, Desktop] = field(default_factory=dict)

    @property
    def session(self) -> Session:
        return self.campaigns.sessions[CAMPAIGN_GROUP_DBID]

    @property
    def status(self) -> GroupCampStatus:
        found = self.campaigns.status(CAMPAIGN_GROUP_DBID)
        assert found is not None
        return found.status

    def states(self) -> list[AttemptState]:
        return [task.machine.state for task in self.session.attempts.values()]

    def seat(self, agent_id: str):
        return self.campaigns.seats[agent_id]

    async def log_in(self, agent_id: str, *, ready: bool = True) -> Desktop:
        desktop = self.desktops[agent_id] = Desktop()
        await self.desks.received(desktop, RequestAgentLogin(agent_id))
        if ready:
            await self.desks.received(desktop, RequestAgentReady())
        return desktop

    async def request(self, request: CampaignRequest, **parameters) -> None:
        await self.campaigns.request(CAMPAIGN_GROUP_DBID, request, DialParameters(**parameters))

    async def dial(self, *agents: str, **parameters) -> None:
        """Load, log agents in, start."""
        await self.request(CampaignRequest.LOAD)
        for agent_id in agents:
            await self.log_in(agent_id)
        await self.request(CampaignRequest.START_DIALING, dial_mode=DialMode.PROGRESSIVE, **parameters)

    async def until(self, check: Callable[[], object]) -> None:
        """In virtual time this costs nothing."""
        while not check():  # noqa: ASYNC110
            await trio.sleep(0.05)

    async def processed(self, agent_id: str, attempt_id: int, **changes) -> None:
        request = RecordProcessed(101, attempt_id, CAMPAIGN, "Demo List", changes=changes)
        await self.desks.received(self.desktops[agent_id], request)

    def kill(self) -> None:
        """
        Like SIGKILL: nothing that this daemon still does has an effect; a new one may be started.

        Its tasks take their final-write limit (10 virtual seconds) to give up: that long the site has no daemon.
        """
        self.store.dead = True
        self.world.telephony.restart_daemon()
        self.world.media.restart_daemon()
        self.nursery.cancel_scope.cancel()


@dataclass
class World:
    config: Configuration
    clock: VirtualClock
    database: MemoryDatabase
    memory: Memory
    telephony: FakeTelephony
    media: FakeMedia
    dnc: MemoryDoNotCall = field(default_factory=MemoryDoNotCall)
    validator: Validator | None = None
    keeping: PacingKeeping = field(default_factory=PacingKeeping)

    @asynccontextmanager
    async def daemon(self) -> AsyncIterator[Daemon]:
        """A start of the daemon as in ocsd.daemon, without its ports."""
        store = MortalStore(self.database)
        async with trio.open_nursery() as nursery:
            campaigns = Campaigns(
                self.config,
                nursery,
                store=store,
                dnc=self.dnc,
                memory=self.memory,
                telephony=self.telephony,
                media=self.media,
                clock=self.clock,
                validator=self.validator,
                keeping=self.keeping,
            )
            daemon = Daemon(self, campaigns, Desks(self.config, campaigns, "localhost"), store, nursery)
            with campaigns.nothing_dialed():
                await campaigns.resume()
                daemon.recovered = await recover(campaigns, self.telephony, self.media)
            with trio.fail_after(HANG_LIMIT_S):
                yield daemon
            nursery.cancel_scope.cancel()

    def row(self, record_id: int):
        return self.database.rows(LIST)[record_id]

    def result(self, record_id: int) -> tuple[RecordStatus, int]:
        row = self.row(record_id)
        return row.record_status, row.record.call_result

    def dialed(self) -> list[str]:
        """Customers' numbers in the order of their INVITEs."""
        return [c.uri.removeprefix("sip:").partition("@")[0] for c in self.telephony.placed if "-customer" in c.leg_id]

    def assert_consistent(self) -> None:
        """What must hold when nothing is under way: no number twice, every attempt ended, every claim returned."""
        assert len(set(self.dialed())) == len(self.dialed())
        assert [a for a in self.database.attempts.values() if a.finished is None] == []
        assert RecordStatus.RETRIEVED not in {row.record_status for row in self.database.rows(LIST).values()}
        assert self.database.claims == {}
        assert self.telephony.machines == {}
        assert self.media.channels == {}


def number(record_id: int) -> str:
    return f"+1212555{2000 + record_id}"


@asynccontextmanager
async def world(
    tmp_path,
    customers: Iterable[CallScript] = (PERSON,),
    phones: CallScript = PHONE,
    options: str = "",
    agents: int = 2,
    legs: int = 1000,
    edit: Callable[[str], str] = lambda text: text,
) -> AsyncIterator[World]:
    """``customers``: what the records 1, 2, ... of the list do; ``options`` are added to the application's."""
    path = tmp_path / "ocsd.toml"
    write_configuration(
        path,
        DemoOptions(agents=agents, mode="progressive"),
        data_dir=tmp_path,
        http_port=1,
        desktop_port=2,
        carrier_port=5060,
        phones_port=5070,
    )
    text = path.read_text().replace("record_processed = true", "record_processed = false")
    if options:
        text = text.replace("stale_clean_timeout = 5", f"stale_clean_timeout = 5, {options}")
    path.write_text(edit(text))
    config = load_configuration(path)
    clock = VirtualClock()
    database = MemoryDatabase(config, now=clock.utc)
    scripts = list(customers)
    for record_id in range(1, len(scripts) + 1):
        database.add_record(LIST, contact_info=number(record_id), customer_name=f"Customer {record_id}")
    by_number = {number(index): script for index, script in enumerate(scripts, start=1)}

    def script(command):
        called = command.uri.removeprefix("sip:").partition("@")[0]
        return by_number.get(called, phones)

    wanted: Script = script
    async with open_fake_plane(wanted, legs=legs) as (telephony, media):
        yield World(config, clock, database, Memory(), telephony, media)


PROCESSED = "record_processed = true"


def with_record_processed(text: str) -> str:
    return text.replace("record_processed = false", PROCESSED)


# --- the life of a call --------------------------------------------------------------------------------------------


async def test_given_a_person_and_a_ready_agent_when_dialed_then_they_are_bridged_and_the_record_is_answered(
    autojump_clock, tmp_path
):
    async with world(tmp_path) as w, w.daemon() as daemon:
        await daemon.dial("agent1")
        await daemon.until(lambda: AttemptState.TALKING in daemon.states())
        desktop = daemon.desktops["agent1"]
        assert daemon.seat("agent1").state is AgentState.TALKING
        assert desktop.last("EventEstablished")["UserData"]["customer_name"] == "Customer 1"
        bridged = [c for c in w.media.channels.values() if c.bridged_to]
        assert len(bridged) == 2
        assert [c.beside for c in bridged] == ["", bridged[0].channel_id], "both in one media server"
        await daemon.until(lambda: not daemon.session.attempts)
        assert "EventReleased" in desktop.events()
        assert daemon.seat("agent1").state is AgentState.WRAP_UP
        assert w.result(1) == (RecordStatus.UPDATED, CallResult.ANSWER)
        assert w.row(1).record.agent_id == "agent1"
        await daemon.request(CampaignRequest.COMPLETE)
        await daemon.until(lambda: daemon.status is GroupCampStatus.NOT_LOADED)
        w.assert_consistent()


async def test_given_a_conversation_when_the_desktop_releases_it_then_the_customer_is_hung_up(autojump_clock, tmp_path):
    async with world(tmp_path, [CallScript(talk_s=math.inf)]) as w, w.daemon() as daemon:
        await daemon.dial("agent1")
        await daemon.until(lambda: AttemptState.TALKING in daemon.states())
        call = daemon.desktops["agent1"].last("EventEstablished")["ConnID"]
        await daemon.desks.received(daemon.desktops["agent1"], RequestReleaseCall(call))
        await daemon.until(lambda: not daemon.session.attempts)
        assert w.result(1) == (RecordStatus.UPDATED, CallResult.ANSWER)
        assert w.telephony.machines == {}


async def test_given_no_agent_left_when_a_person_answers_then_after_two_seconds_the_announcement_plays(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [CallScript(talk_s=60.0)]) as w, w.daemon() as daemon:
        await daemon.dial("agent1")
        await daemon.until(lambda: AttemptState.ANALYSING in daemon.states())
        await daemon.desks.received(daemon.desktops["agent1"], RequestAgentLogout())
        await daemon.until(lambda: AttemptState.WAITING in daemon.states())
        waits_since_s = trio.current_time()
        await daemon.until(lambda: AttemptState.ANNOUNCING in daemon.states())
        assert trio.current_time() - waits_since_s == pytest.approx(2.0, abs=0.15)  # virtual seconds
        (channel,) = w.media.channels.values()
        assert channel.prompts == ["drop"]
        await daemon.until(lambda: not daemon.session.attempts)
        assert w.result(1) == (RecordStatus.UPDATED, CallResult.DROPPED)


@pytest.mark.parametrize(
    ("script", "result"),
    [
        (CallScript(status=486), CallResult.BUSY),
        (CallScript(ring_s=math.inf), CallResult.NO_ANSWER),
        (CallScript(verdict=VerdictKind.MACHINE), CallResult.ANSWERING_MACHINE),
        (CallScript(status=487, early_media=True, early_verdict=VerdictKind.BUSY, ring_s=20.0), CallResult.BUSY),
        (CallScript(refuse="bad number"), CallResult.DIAL_ERROR),
        (CallScript(worker_dies_s=1.0), CallResult.STALE),
    ],
)
async def test_given_a_call_without_a_person_when_it_ends_then_the_record_says_how(
    autojump_clock, tmp_path, script, result
):
    async with world(tmp_path, [script]) as w, w.daemon() as daemon:
        await daemon.dial("agent1")
        await daemon.until(lambda: w.result(1)[1] != CallResult.UNKNOWN)
        status = RecordStatus.STALE if result is CallResult.STALE else RecordStatus.UPDATED
        assert w.result(1) == (status, result)
        await daemon.until(lambda: not daemon.session.attempts)
        assert w.telephony.machines == {}


async def test_given_a_phone_that_rejects_when_a_person_waits_then_the_next_agent_gets_the_call(
    autojump_clock, tmp_path
):
    async with world(tmp_path) as w, w.daemon() as daemon:
        rejects, phones = CallScript(status=486, ring_s=0.1), w.telephony._script
        w.telephony._script = lambda command: rejects if "1001@" in command.uri else phones(command)
        await daemon.dial("agent1", "agent2")
        await daemon.until(lambda: AttemptState.TALKING in daemon.states())
        assert daemon.seat("agent2").state is AgentState.TALKING
        assert daemon.seat("agent1").state is AgentState.NOT_READY


# --- records on desktops -------------------------------------------------------------------------------------------


async def test_given_record_processed_is_wanted_when_the_call_ends_then_the_desktop_closes_the_record(
    autojump_clock, tmp_path
):
    async with world(tmp_path, edit=with_record_processed) as w, w.daemon() as daemon:
        await daemon.dial("agent1")
        await daemon.until(lambda: AttemptState.WRAP_UP in daemon.states())
        (attempt_id,) = daemon.session.attempts
        assert w.result(1)[0] is RecordStatus.RETRIEVED
        await daemon.processed("agent1", attempt_id, call_result=int(CallResult.WRONG_NUMBER))
        await daemon.until(lambda: not daemon.session.attempts)
        assert w.result(1) == (RecordStatus.UPDATED, CallResult.WRONG_NUMBER)
        assert "RecordProcessedAcknowledge" in daemon.desktops["agent1"].events()


async def test_given_the_store_is_away_when_a_record_is_processed_then_it_is_acknowledged_only_once_written(
    autojump_clock, tmp_path
):
    async with world(tmp_path, edit=with_record_processed) as w, w.daemon() as daemon:
        await daemon.dial("agent1")
        await daemon.until(lambda: AttemptState.WRAP_UP in daemon.states())
        (attempt_id,) = daemon.session.attempts
        w.database.available = False
        patient = daemon.store.finish_attempt

        async def finish(finished):
            while True:  # the real store waits through an outage
                try:
                    return await patient(finished)
                except StoreUnavailable:
                    await trio.sleep(0.5)

        daemon.store.finish_attempt = finish
        await daemon.processed("agent1", attempt_id)
        await trio.sleep(30.0)
        assert "RecordProcessedAcknowledge" not in daemon.desktops["agent1"].events()
        w.database.available = True
        await daemon.until(lambda: "RecordProcessedAcknowledge" in daemon.desktops["agent1"].events())
        assert w.result(1) == (RecordStatus.UPDATED, CallResult.ANSWER)


async def test_given_a_record_that_nobody_processes_when_its_time_is_over_then_it_is_stale(autojump_clock, tmp_path):
    async with world(tmp_path, edit=with_record_processed) as w, w.daemon() as daemon:
        await daemon.dial("agent1")
        await daemon.until(lambda: AttemptState.WRAP_UP in daemon.states())
        await daemon.until(lambda: not daemon.session.attempts)
        assert w.result(1) == (RecordStatus.STALE, CallResult.STALE)


# --- the life of a group -------------------------------------------------------------------------------------------


async def test_given_a_running_group_when_completed_then_calls_end_by_themselves_and_the_rest_is_ready_again(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [PERSON] * 6) as w, w.daemon() as daemon:
        await daemon.dial("agent1", "agent2")
        await daemon.until(lambda: daemon.states().count(AttemptState.TALKING) == 2)
        await daemon.request(CampaignRequest.COMPLETE)
        assert daemon.status is GroupCampStatus.WAITING_UNLOAD
        await daemon.until(lambda: daemon.status is GroupCampStatus.NOT_LOADED)
        assert [w.result(i)[1] for i in (1, 2)] == [CallResult.ANSWER] * 2
        assert [w.result(i) for i in (3, 4, 5, 6)] == [(RecordStatus.READY, CallResult.UNKNOWN)] * 4
        w.assert_consistent()


async def test_given_ringing_and_talking_when_force_unloaded_then_the_ringing_is_stale_and_the_talking_goes_on(
    autojump_clock,
    tmp_path,
):
    scripts = [PERSON, CallScript(ring_s=20.0)]
    async with world(tmp_path, scripts) as w, w.daemon() as daemon:
        await daemon.dial("agent1", "agent2")
        await daemon.until(lambda: AttemptState.TALKING in daemon.states())
        await daemon.request(CampaignRequest.FORCE_UNLOAD)
        await daemon.until(lambda: daemon.status is GroupCampStatus.NOT_LOADED)
        assert w.result(2) == (RecordStatus.STALE, CallResult.STALE)
        assert w.result(1)[0] is RecordStatus.STALE
        assert sum(bool(c.bridged_to) for c in w.media.channels.values()) == 2
        await daemon.until(lambda: not w.telephony.machines)
        await daemon.until(lambda: not w.media.channels)
        w.assert_consistent()


async def test_given_a_force_unloaded_conversation_when_the_desktop_releases_it_then_the_call_ends(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [CallScript(talk_s=math.inf)]) as w, w.daemon() as daemon:
        await daemon.dial("agent1")
        await daemon.until(lambda: AttemptState.TALKING in daemon.states())
        call = daemon.desktops["agent1"].last("EventEstablished")["ConnID"]
        await daemon.request(CampaignRequest.FORCE_UNLOAD)
        await daemon.until(lambda: daemon.status is GroupCampStatus.NOT_LOADED)
        await daemon.desks.received(daemon.desktops["agent1"], RequestReleaseCall(call))
        await daemon.until(lambda: not w.telephony.machines)
        assert daemon.desktops["agent1"].last("EventReleased")["ConnID"] == call


async def test_given_auto_completion_when_every_record_is_dialed_then_the_group_unloads_itself(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [CallScript(status=486)] * 3) as w, w.daemon() as daemon:
        await daemon.dial("agent1", auto_completion=True)
        await daemon.until(lambda: daemon.status is GroupCampStatus.NOT_LOADED)
        assert [w.result(i)[1] for i in (1, 2, 3)] == [CallResult.BUSY] * 3
        await trio.sleep(1.0)
        assert w.memory.states[CAMPAIGN_GROUP_DBID][0] is GroupCampStatus.NOT_LOADED
        w.assert_consistent()


async def test_given_no_free_leg_when_the_worker_refuses_then_the_record_is_ready_again_and_not_counted(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [PERSON, PERSON], legs=3) as w, w.daemon() as daemon:
        place, refused = w.telephony.place_call, []

        async def full(command):
            if not refused:
                refused.append(command.leg_id)
                w.telephony.capacity = 0
                try:
                    return await place(command)
                finally:
                    w.telephony.capacity = 3
            return await place(command)

        w.telephony.place_call = full
        await daemon.dial("agent1")
        await daemon.until(
            lambda: refused and not any(t.context.leg_id in refused for t in daemon.session.attempts.values())
        )
        (first,) = [a for a in w.database.attempts.values() if a.open.leg_id == refused[0]]
        assert first.finished.call_result == CallResult.NO_PORT_AVAILABLE
        assert not first.finished.count_attempt
        await daemon.until(lambda: AttemptState.TALKING in daemon.states())
        assert len(set(w.dialed())) == len(w.dialed())


async def test_given_a_rate_limit_when_many_agents_wait_then_calls_start_no_faster(autojump_clock, tmp_path):
    scripts = [CallScript(ring_s=60.0)] * 12
    async with world(tmp_path, scripts, options="dialing_rate_limit = 2", agents=12) as w, w.daemon() as daemon:
        begin_s = trio.current_time()
        await daemon.dial(*(f"agent{i}" for i in range(1, 13)))
        await daemon.until(lambda: len(w.dialed()) == 10)
        assert trio.current_time() - begin_s >= 4.0  # virtual seconds: one at once, then two a second
        assert trio.current_time() - begin_s <= 6.5


# --- the database goes away ----------------------------------------------------------------------------------------


async def test_given_the_store_is_away_when_there_is_room_then_nothing_is_dialed_until_it_is_back(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [PERSON] * 3) as w, w.daemon() as daemon:
        await daemon.request(CampaignRequest.LOAD)
        await daemon.until(lambda: daemon.session.supply.buffered)
        w.database.available = False
        await daemon.log_in("agent1")
        await daemon.request(CampaignRequest.START_DIALING, dial_mode=DialMode.PROGRESSIVE)
        await trio.sleep(30.0)
        assert w.dialed() == []
        w.database.available = True
        await daemon.until(lambda: w.dialed())
        assert len(w.database.attempts) == len(w.dialed())


async def test_given_a_lost_answer_when_an_attempt_was_committed_then_it_is_dialed_under_the_same_id(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [CallScript(status=486)]) as w, w.daemon() as daemon:
        daemon.store.lose_next_answer = True
        await daemon.dial("agent1")
        await daemon.until(lambda: w.result(1)[1] == CallResult.BUSY)
        assert len(w.database.attempts) == 1
        await daemon.request(CampaignRequest.COMPLETE)
        await daemon.until(lambda: daemon.status is GroupCampStatus.NOT_LOADED)
        w.assert_consistent()


async def test_given_the_memory_is_away_when_a_group_is_stopped_then_the_next_start_does_not_dial(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [CallScript(ring_s=60.0)] * 9) as w:
        async with w.daemon() as daemon:
            await daemon.dial("agent1")
            w.memory.available = False
            await daemon.request(CampaignRequest.STOP_DIALING)
            assert w.memory.states[CAMPAIGN_GROUP_DBID][0] is GroupCampStatus.RUNNING
            w.memory.available = True
            await trio.sleep(3.0)
            daemon.kill()
        async with w.daemon() as daemon:
            assert daemon.status is GroupCampStatus.ACTIVE


# --- daemons that stop and die -------------------------------------------------------------------------------------


async def test_given_calls_under_way_when_the_daemon_drains_then_they_get_their_own_results_and_no_new_one(
    autojump_clock, tmp_path
):
    scripts = [PERSON, CallScript(ring_s=6.0, status=486), *[PERSON] * 4]
    async with world(tmp_path, scripts) as w:
        async with w.daemon() as daemon:
            await daemon.dial("agent1", "agent2")
            await daemon.until(lambda: len(w.dialed()) == 2)
            await daemon.campaigns.drain()
            await daemon.campaigns.stop(10.0)
            assert len(w.dialed()) == 2
            assert w.result(2) == (RecordStatus.UPDATED, CallResult.BUSY)
            assert daemon.states() == [AttemptState.TALKING]
            daemon.kill()
        async with w.daemon() as daemon:
            assert daemon.recovered == Recovered(adopted=1, settled=0, claims_returned=0)
            assert daemon.states() == [AttemptState.TALKING]
            assert daemon.status is GroupCampStatus.RUNNING


async def test_given_a_call_that_never_ends_when_the_daemon_stops_then_it_is_hung_up_and_stale(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [CallScript(ring_s=20.0)]) as w, w.daemon() as daemon:
        await daemon.dial("agent1")
        await daemon.until(lambda: w.dialed())
        await daemon.campaigns.stop(10.0)
        assert w.result(1) == (RecordStatus.STALE, CallResult.STALE)
        assert w.telephony.machines == {}


async def restarted(w: World, until: Callable[[Daemon], bool], *agents: str) -> AttemptState:
    """Kill a daemon when ``until`` is true; returns the state of its only attempt then."""
    async with w.daemon() as daemon:
        await daemon.dial(*(agents or ("agent1",)))
        await daemon.until(lambda: until(daemon))
        (state,) = daemon.states()
        daemon.kill()
    return state


async def test_given_a_conversation_when_the_daemon_is_killed_then_the_next_one_adopts_it(autojump_clock, tmp_path):
    async with world(tmp_path) as w:
        await restarted(w, lambda d: AttemptState.TALKING in d.states())
        await trio.sleep(3.0)
        async with w.daemon() as daemon:
            assert daemon.recovered.adopted == 1
            desktop = await daemon.log_in("agent1", ready=False)
            (attempt_id,) = daemon.session.attempts
            established = desktop.last("EventEstablished")
            assert established["ConnID"] == f"{attempt_id:016x}"
            assert established["UserData"]["customer_name"] == "Customer 1"
            await daemon.until(lambda: not daemon.session.attempts)
            assert "EventReleased" in desktop.events()
            assert w.result(1) == (RecordStatus.UPDATED, CallResult.ANSWER)
            assert daemon.seat("agent1").state is AgentState.WRAP_UP
            assert w.dialed() == [number(1)]


@pytest.mark.parametrize(
    ("withdrawal", "state"),
    [(Withdrawal.DO_NOT_CALL, (RecordStatus.UPDATED, CallResult.DO_NOT_CALL)),
     (Withdrawal.CANCEL, (RecordStatus.CANCELED, CallResult.CANCEL_RECORD))],
)  # fmt: skip
async def test_given_a_ringing_record_withdrawn_when_the_daemon_dies_before_the_hang_up_then_the_next_one_hangs_up(
    autojump_clock, tmp_path, withdrawal, state
):
    async with world(tmp_path, [CallScript(ring_s=25.0)]) as w:
        assert await restarted(w, lambda d: AttemptState.ALERTING in d.states()) is AttemptState.ALERTING
        await MortalStore(w.database).withdraw([LIST], Selector(record=(LIST, 1)), withdrawal)
        async with w.daemon() as daemon:
            assert daemon.recovered.adopted == 1
            await daemon.until(lambda: not daemon.session.attempts)
            (attempt,) = w.database.attempts.values()
            assert attempt.finished.call_result == state[1]
            assert attempt.finished.times.answered_at is None
            assert w.result(1) == state
            w.assert_consistent()


async def test_given_a_callback_promised_while_it_rings_when_the_daemon_dies_then_the_next_one_keeps_it(
    autojump_clock, tmp_path
):
    """Over HTTP RecordReschedule is final, and was answered."""
    async with world(tmp_path, [CallScript(ring_s=25.0)]) as w:
        assert await restarted(w, lambda d: AttemptState.ALERTING in d.states()) is AttemptState.ALERTING
        (attempt,) = w.database.attempts.values()
        due = int((w.clock.utc() + timedelta(hours=2)).timestamp())
        asks = {"callback_type": int(RecordType.PERSONAL_CALLBACK), "callback_due": due, "agent_id": "agent2"}
        await MortalStore(w.database).note_correction(attempt.open.attempt_id, None, {}, asks)
        async with w.daemon() as daemon:
            assert daemon.recovered.adopted == 1
            await daemon.until(lambda: not daemon.session.attempts)
            row = w.database.rows(LIST)[1]
            assert (row.record_status, row.record.record_type) == (RecordStatus.READY, RecordType.PERSONAL_CALLBACK)
            assert row.record.agent_id == "agent2"
            w.assert_consistent()


async def test_given_a_record_withdrawn_in_its_conversation_when_it_is_adopted_then_it_ends_with_the_conversation(
    autojump_clock, tmp_path
):
    """Its desktop cannot finish it any more: it would stand there until it is stale."""
    async with world(tmp_path, edit=with_record_processed) as w:
        assert await restarted(w, lambda d: AttemptState.TALKING in d.states()) is AttemptState.TALKING
        await MortalStore(w.database).withdraw([LIST], Selector(record=(LIST, 1)), Withdrawal.DO_NOT_CALL)
        async with w.daemon() as daemon:
            await daemon.log_in("agent1", ready=False)
            await daemon.until(lambda: AttemptState.TALKING not in daemon.states())
            assert daemon.seat("agent1").state is AgentState.WRAP_UP
            with trio.fail_after(5.0):
                await daemon.until(lambda: not daemon.session.attempts)
            w.assert_consistent()


@pytest.mark.parametrize(
    ("asks", "status"),
    [({"processed": True}, RecordStatus.UPDATED),
     ({"processed": True, "rejected": "always"}, RecordStatus.READY),
     ({"processed": True, "rejected": "unless_answered"}, RecordStatus.UPDATED)],
)  # fmt: skip
async def test_given_a_record_finished_in_its_conversation_when_it_is_adopted_then_it_is_closed_with_the_conversation(
    autojump_clock, tmp_path, asks, status
):
    """RecordProcessed or RecordReject was acknowledged: nobody says it a second time."""
    async with world(tmp_path, edit=with_record_processed) as w:
        assert await restarted(w, lambda d: AttemptState.TALKING in d.states()) is AttemptState.TALKING
        (attempt,) = w.database.attempts.values()
        await MortalStore(w.database).note_correction(attempt.open.attempt_id, None, {}, asks)
        async with w.daemon() as daemon:
            await daemon.log_in("agent1", ready=False)
            await daemon.until(lambda: AttemptState.TALKING not in daemon.states())
            with trio.fail_after(5.0):
                await daemon.until(lambda: not daemon.session.attempts)
            assert attempt.finished.change.record_status is status
            w.assert_consistent()


async def test_given_an_adopted_conversation_when_its_agent_never_comes_back_then_it_is_logged_out_after_it(
    autojump_clock, tmp_path
):
    async with world(tmp_path) as w:
        await restarted(w, lambda d: AttemptState.TALKING in d.states())
        async with w.daemon() as daemon:
            assert daemon.seat("agent1").state is AgentState.TALKING
            await daemon.until(lambda: not daemon.session.attempts)
            assert daemon.seat("agent1").state is AgentState.LOGGED_OUT


async def test_given_an_adopted_conversation_when_the_agent_releases_it_then_both_legs_go(autojump_clock, tmp_path):
    async with world(tmp_path, [CallScript(talk_s=math.inf)]) as w:
        await restarted(w, lambda d: AttemptState.TALKING in d.states())
        async with w.daemon() as daemon:
            desktop = await daemon.log_in("agent1")
            call = desktop.last("EventEstablished")["ConnID"]
            await daemon.desks.received(desktop, RequestReleaseCall(call))
            await daemon.until(lambda: not daemon.session.attempts)
            assert w.telephony.machines == {}
            assert w.media.channels == {}
            assert w.result(1) == (RecordStatus.UPDATED, CallResult.ANSWER)


async def test_given_a_bridge_whose_mark_is_not_on_disk_when_killed_then_the_conversation_is_adopted_all_the_same(
    autojump_clock,
    tmp_path,
):
    async with world(tmp_path) as w:
        async with w.daemon() as daemon:

            async def lost(*_args):
                await trio.lowlevel.checkpoint()

            daemon.store.mark_connected = lost
            await daemon.dial("agent1")
            await daemon.until(lambda: AttemptState.TALKING in daemon.states())
            for leg in list(w.telephony.machines):
                w.telephony.protect(leg, False)  # nor had the workers heard that it is a conversation
            daemon.kill()
        (attempt,) = w.database.attempts.values()
        assert attempt.open.connected_at is None
        async with w.daemon() as daemon:
            assert daemon.states() == [AttemptState.TALKING]
            assert daemon.seat("agent1").state is AgentState.TALKING
            await trio.sleep(0.1)
            assert attempt.open.agent_id == "agent1"
            assert all(machine.protected for machine in w.telephony.machines.values())


@pytest.mark.parametrize("demanded", [False, True])
async def test_given_a_conversation_when_it_ends_before_the_restart_then_it_counts_as_answered(
    autojump_clock, tmp_path, demanded
):
    async with world(tmp_path, edit=with_record_processed if demanded else lambda text: text) as w:
        await restarted(w, lambda d: AttemptState.TALKING in d.states())
        for leg in [leg for leg in w.telephony.unclaimed if "-customer" in leg]:
            w.telephony.adopt(leg).far_end_hangs_up()  # its end is told to a connection that nobody reads
        async with w.daemon() as daemon:
            await daemon.until(lambda: not w.telephony.machines)  # the agent was released as well
            if demanded:
                assert daemon.states() == [AttemptState.WRAP_UP]
                desktop = await daemon.log_in("agent1", ready=False)
                assert "EventReleased" in desktop.events()
                (attempt_id,) = daemon.session.attempts
                await daemon.processed("agent1", attempt_id, call_result=int(CallResult.WRONG_NUMBER))
                await daemon.until(lambda: not daemon.session.attempts)
                assert w.result(1) == (RecordStatus.UPDATED, CallResult.WRONG_NUMBER)
            else:
                assert daemon.session.attempts == {}
                assert w.result(1) == (RecordStatus.UPDATED, CallResult.ANSWER)


async def test_given_a_record_on_a_desktop_when_killed_then_the_next_daemon_takes_its_record_processed(
    autojump_clock, tmp_path
):
    async with world(tmp_path, edit=with_record_processed) as w:
        assert await restarted(w, lambda d: AttemptState.WRAP_UP in d.states()) is AttemptState.WRAP_UP
        async with w.daemon() as daemon:
            (attempt_id,) = daemon.session.attempts
            await daemon.log_in("agent1", ready=False)
            await daemon.processed("agent1", attempt_id)
            await daemon.until(lambda: not daemon.session.attempts)
            assert w.result(1) == (RecordStatus.UPDATED, CallResult.ANSWER)
            assert "RecordProcessedAcknowledge" in daemon.desktops["agent1"].events()
            assert w.dialed() == [number(1)]


async def test_given_a_correction_of_an_open_record_when_killed_then_it_is_not_forgotten(autojump_clock, tmp_path):
    async with world(tmp_path, [CallScript(talk_s=40.0)], edit=with_record_processed) as w:
        async with w.daemon() as daemon:
            await daemon.dial("agent1")
            await daemon.until(lambda: AttemptState.TALKING in daemon.states())
            (attempt_id,) = daemon.session.attempts
            changes = {"call_result": int(CallResult.WRONG_NUMBER)}
            request = UpdateCallCompletionStats(
                101, attempt_id, CAMPAIGN, changes=changes, custom={"customer_name": "Nobody"}
            )
            await daemon.desks.received(daemon.desktops["agent1"], request)
            await trio.sleep(1.0)
            daemon.kill()
        async with w.daemon() as daemon:
            await daemon.log_in("agent1", ready=False)
            await daemon.until(lambda: daemon.states() == [AttemptState.WRAP_UP])
            await daemon.processed("agent1", attempt_id)
            await daemon.until(lambda: not daemon.session.attempts)
            assert w.result(1) == (RecordStatus.UPDATED, CallResult.WRONG_NUMBER)
            assert w.row(1).record.user_fields["customer_name"] == "Nobody"


async def test_given_a_callback_asked_for_when_killed_then_the_next_daemon_keeps_it(autojump_clock, tmp_path):
    async with world(tmp_path, [CallScript(talk_s=40.0)], edit=with_record_processed) as w:
        async with w.daemon() as daemon:
            await daemon.dial("agent1")
            await daemon.until(lambda: AttemptState.TALKING in daemon.states())
            (attempt_id,) = daemon.session.attempts
            local = w.clock.utc().astimezone(daemon.session.planner.zone(w.row(1).record)).replace(tzinfo=None)
            request = RecordReschedule(
                101, attempt_id, CAMPAIGN, callback_type=CallbackType.CAMPAIGN, local_time=local + timedelta(hours=1)
            )
            await daemon.desks.received(daemon.desktops["agent1"], request)
            await trio.sleep(1.0)
            daemon.kill()
        async with w.daemon() as daemon:
            await daemon.log_in("agent1", ready=False)
            await daemon.until(lambda: daemon.states() == [AttemptState.WRAP_UP])
            await daemon.processed("agent1", attempt_id)
            await daemon.until(lambda: not daemon.session.attempts)
            assert w.row(1).record.record_type is RecordType.CAMPAIGN_CALLBACK
            assert w.row(1).record_status in (RecordStatus.READY, RecordStatus.RETRIEVED)


async def test_given_a_record_whose_desktop_was_done_when_killed_then_it_ends_as_answered_and_not_stale(
    autojump_clock, tmp_path
):
    async with world(tmp_path, edit=with_record_processed) as w:
        await restarted(w, lambda d: AttemptState.WRAP_UP in d.states())
        async with w.daemon() as daemon:
            await daemon.until(lambda: not daemon.session.attempts)
            assert w.result(1) == (RecordStatus.UPDATED, CallResult.ANSWER)


async def test_given_a_ringing_call_when_killed_then_it_rings_on_and_finds_an_agent(autojump_clock, tmp_path):
    async with world(tmp_path, [CallScript(ring_s=20.0)]) as w:
        state = await restarted(w, lambda d: AttemptState.ALERTING in d.states())
        assert state is AttemptState.ALERTING
        async with w.daemon() as daemon:
            assert daemon.states() == [AttemptState.ALERTING]
            await daemon.log_in("agent1")
            await daemon.until(lambda: AttemptState.TALKING in daemon.states())
            assert w.dialed() == [number(1)]


async def test_given_a_call_answered_while_no_daemon_ran_when_restarted_then_analysis_begins_and_the_agent_talks(
    autojump_clock,
    tmp_path,
):
    async with world(tmp_path, [CallScript(ring_s=2.0)]) as w:
        await restarted(w, lambda d: AttemptState.ALERTING in d.states())
        await trio.sleep(4.0)
        async with w.daemon() as daemon:
            assert daemon.states() == [AttemptState.ANALYSING]
            await daemon.log_in("agent1")
            await daemon.until(lambda: AttemptState.TALKING in daemon.states())


async def test_given_a_call_under_analysis_when_killed_then_the_verdict_reached_meanwhile_decides(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [CallScript(verdict=VerdictKind.MACHINE, verdict_s=2.0)]) as w:
        assert await restarted(w, lambda d: AttemptState.ANALYSING in d.states()) is AttemptState.ANALYSING
        await trio.sleep(3.0)
        async with w.daemon() as daemon:
            await daemon.until(lambda: not daemon.session.attempts)
            assert w.result(1) == (RecordStatus.UPDATED, CallResult.ANSWERING_MACHINE)


async def test_given_a_person_who_waits_when_killed_then_the_announcement_plays_and_the_call_is_dropped(
    autojump_clock, tmp_path
):
    slow_phone = CallScript(ring_s=60.0)
    async with world(tmp_path, phones=slow_phone) as w:
        assert await restarted(w, lambda d: AttemptState.CONNECTING in d.states()) is AttemptState.CONNECTING
        await trio.sleep(3.0)
        async with w.daemon() as daemon:
            await daemon.until(lambda: not daemon.session.attempts)
            assert w.result(1) == (RecordStatus.UPDATED, CallResult.DROPPED)
            await daemon.until(lambda: not w.telephony.machines)  # the agent's phone has stopped ringing


async def test_given_an_attempt_without_a_leg_when_restarted_then_it_is_stale_and_never_dialed_again(
    autojump_clock, tmp_path
):
    async with world(tmp_path) as w:
        async with w.daemon() as daemon:
            never = trio.Event()

            async def hangs(*_args, **_options):
                await never.wait()

            w.media.open_channel, opens = hangs, w.media.open_channel
            await daemon.dial("agent1")
            await daemon.until(lambda: w.database.attempts)
            daemon.kill()
        w.media.open_channel = opens
        async with w.daemon() as daemon:
            assert daemon.recovered == Recovered(adopted=0, settled=1, claims_returned=0)
            await daemon.log_in("agent1")
            await trio.sleep(60.0)
            assert w.dialed() == []
            assert w.result(1) == (RecordStatus.STALE, CallResult.STALE)


async def test_given_a_group_that_waits_for_its_calls_when_killed_then_it_unloads_after_the_restart(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [PERSON] * 5) as w:
        async with w.daemon() as daemon:
            await daemon.dial("agent1", "agent2")
            await daemon.until(lambda: AttemptState.TALKING in daemon.states())
            await daemon.request(CampaignRequest.COMPLETE)
            daemon.kill()
        async with w.daemon() as daemon:
            assert daemon.status is GroupCampStatus.WAITING_UNLOAD
            await daemon.until(lambda: daemon.status is GroupCampStatus.NOT_LOADED)
            w.assert_consistent()


async def test_given_a_force_unloaded_conversation_when_killed_then_the_people_go_on_talking_to_their_end(
    autojump_clock, tmp_path
):
    async with world(tmp_path) as w:
        async with w.daemon() as daemon:
            await daemon.dial("agent1")
            await daemon.until(lambda: AttemptState.TALKING in daemon.states())
            await daemon.request(CampaignRequest.FORCE_UNLOAD)
            await daemon.until(lambda: daemon.status is GroupCampStatus.NOT_LOADED)
            daemon.kill()
        async with w.daemon() as daemon:
            await trio.sleep(10.0)
            assert len(w.telephony.machines) == 2
            await daemon.until(lambda: not w.telephony.machines and not w.media.channels)
            w.assert_consistent()


async def test_given_buffered_records_when_killed_then_they_are_ready_for_the_next_daemon(autojump_clock, tmp_path):
    async with world(tmp_path, [CallScript(ring_s=math.inf)] * 8) as w:
        async with w.daemon() as daemon:
            await daemon.dial("agent1")
            await daemon.until(lambda: w.dialed() and daemon.session.supply.buffered > 2)
            buffered = daemon.session.supply.buffered
            daemon.kill()
        async with w.daemon() as daemon:
            assert daemon.recovered.claims_returned == buffered
            await daemon.log_in("agent1")
            await daemon.until(lambda: len(w.dialed()) == 8)
            await daemon.request(CampaignRequest.COMPLETE)
            await daemon.until(lambda: daemon.status is GroupCampStatus.NOT_LOADED)
            w.assert_consistent()


async def test_given_a_bug_in_a_conversation_when_it_strikes_then_nobody_is_left_on_a_line_without_an_owner(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [CallScript(talk_s=math.inf)]) as w, w.daemon() as daemon:
        await daemon.dial("agent1")
        await daemon.until(lambda: AttemptState.TALKING in daemon.states())
        (task,) = daemon.session.attempts.values()

        task.post("no event at all")
        await daemon.until(lambda: not w.telephony.machines)
        assert w.result(1)[0] is RecordStatus.STALE
        assert daemon.seat("agent1").state is AgentState.WRAP_UP


async def test_given_a_dialing_priority_when_started_then_that_type_is_dialed_first_also_after_a_restart(
    autojump_clock, tmp_path
):
    first = (TypePriority(RecordType.GENERAL, 9), TypePriority(RecordType.CAMPAIGN_RESCHEDULED, 1))
    async with world(tmp_path, [CallScript(status=486)] * 3) as w:
        w.database.update_row(w.database.table_name(LIST), 1, record_type=RecordType.CAMPAIGN_RESCHEDULED)
        async with w.daemon() as daemon:
            await daemon.request(CampaignRequest.LOAD, priorities=first)
            await daemon.until(lambda: daemon.session.supply.buffered == 3)
            kinds = [chain.record.record_type for chain in await daemon.session.supply.take(3)]
            assert kinds == [RecordType.GENERAL, RecordType.GENERAL, RecordType.CAMPAIGN_RESCHEDULED]
            daemon.kill()
        async with w.daemon() as daemon:
            assert daemon.session.planner.priorities()[RecordType.GENERAL] == 9
