"""Requests about records in any order, from several desktops, through outages: what must hold whatever happens."""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from trio.testing import MockClock

from ocsd.dnc.contract import DncEntry
from ocsd.model.enums import GroupCampStatus, RecordStatus, RecordType
from ocsd.model.services import CampaignRequest
from ocsd.sessions.dnc_news import obey_news
from telephony.fake import CallScript
from tests.ocsd.desk_world import NAMES, PERSON, RINGS, Daemon, World, number, world

AGENTS = ("agent1", "agent2")
FINAL_ANSWERS = (
    "RecordProcessedAcknowledge",
    "RecordRejectAcknowledge",
    "RecordCancelAcknowledge",
    "DoNotCallAcknowledge",
)
OPERATIONS = (
    "update",
    "processed",
    "treat",
    "reject",
    "cancel_all",
    "cancel_one",
    "cancel_phone",
    "dnc_all",
    "dnc_one",
    "dnc_phone",
    "dnc_news",
    "dnc_import",
    "reschedule",
    "make_call",
    "log_out",
    "log_in",
    "lose",
    "outage",
    "force",
)


@dataclass
class Story:
    world: World
    daemon: Daemon
    forbidden: dict[str, int] = field(default_factory=dict)
    """Number -> how many dials of it there had been when its Do-Not-Call was acknowledged."""

    def handle_of(self, agent_id: str, which: int) -> int | None:
        """A handle that this agent's desktop has heard of."""
        known = [
            data["GSW_RECORD_HANDLE"]
            for message in self.daemon.desktops[agent_id].messages
            if "GSW_RECORD_HANDLE" in (data := message.get("UserData", message))
            and message.get("GSW_USER_EVENT", "ScheduledCall") == "ScheduledCall"
        ]
        return known[which % len(known)] if known else None

    async def carry_out(self, operation: str, agent_id: str, which: int) -> None:
        desktop, daemon = self.daemon.desktops[agent_id], self.daemon
        handle = self.handle_of(agent_id, which)
        about = {"GSW_RECORD_HANDLE": handle} | NAMES
        logged_in = agent_id in daemon.desks._connection_of
        match operation:
            case "log_in":
                await daemon.log_in(agent_id)
                return
            case "outage":
                self.world.database.available = not self.world.database.available
                return
            case "dnc_news" | "dnc_import":  # somebody else's
                entry = DncEntry(1, number(1 + which), None, self.world.clock.utc())
                self.world.dnc.hear([entry], one_by_one=operation == "dnc_news")
                self.note_forbidden()
                return
            case "force":
                if which == 0 and daemon.status is GroupCampStatus.RUNNING:
                    await daemon.request(CampaignRequest.FORCE_UNLOAD)
                return
            case _ if not logged_in:
                return
            case "log_out":
                await daemon.log_out(agent_id)
            case "lose":
                daemon.desks.disconnected(desktop)
            case "cancel_phone":
                await desktop.gsw("RequestRecordCancel", GSW_APPLICATION_ID=101, GSW_PHONE=number(1 + which))
            case "dnc_phone":
                await desktop.gsw("DoNotCall", GSW_APPLICATION_ID=101, GSW_PHONE=number(1 + which))
            case _ if handle is None:
                return
            case "update":
                await desktop.gsw("UpdateCallCompletionStats", **about, GSW_CALL_RESULT=40)
            case "processed":
                await desktop.gsw("RecordProcessed", **about)
            case "treat":
                await desktop.gsw("RecordProcessed", **about, GSW_TREATMENT="RecordTreatPersonal")
            case "reject":
                await desktop.gsw("RecordReject", **about)
            case "cancel_all" | "cancel_one":
                attr = "AllChain" if operation == "cancel_all" else "RecordOnly"
                await desktop.gsw("RequestRecordCancel", **about, GSW_CHAIN_ATTR=attr)
            case "dnc_all" | "dnc_one":
                attr = "AllChain" if operation == "dnc_all" else "RecordOnly"
                await desktop.gsw("DoNotCall", **about, GSW_CHAIN_ATTR=attr)
            case "reschedule":
                del about["GSW_CALLING_LIST"]
                await desktop.gsw(
                    "RecordReschedule", **about, GSW_CALLBACK_TYPE="Personal", GSW_DATE_TIME="03/05/2026 12:00"
                )
            case "make_call":
                if self.world.database.available:  # it waits for the attempt to be on disk, and the desktop with it
                    await desktop.ask(Request="RequestMakeCall", RecordHandle=handle)

    def note_forbidden(self) -> None:
        dialed = self.world.dialed()
        for entry in self.world.dnc.entries:
            assert entry.phone is not None
            self.forbidden.setdefault(entry.phone, dialed.count(entry.phone))

    def check(self) -> None:
        w = self.world
        assert w.database.claims == {}
        assert [a for a in w.database.attempts.values() if a.finished is None] == []
        assert w.telephony.machines == {}
        rows = w.database.rows(142)
        assert RecordStatus.RETRIEVED not in {row.record_status for row in rows.values()}
        dialed = w.dialed()
        for phone, before in self.forbidden.items():
            assert dialed.count(phone) == before, "dialed although forbidden"
            for row in rows.values():
                if row.record.contact_info == phone and row.record_status is RecordStatus.READY:
                    # Only rows that were no longer in the lists' reach at the request may be left; the gate stops them.
                    assert w.dnc.forbidden(1, [phone], w.clock.utc()) == [True]
                if row.record.record_type is RecordType.NO_CALL:
                    assert row.record_status is not RecordStatus.READY
        for agent_id, desktop in self.daemon.desktops.items():
            finals: dict[int, int] = {}
            for message in desktop.messages:
                if message.get("GSW_USER_EVENT") in FINAL_ANSWERS and "GSW_RECORD_HANDLE" in message:
                    finals[message["GSW_RECORD_HANDLE"]] = finals.get(message["GSW_RECORD_HANDLE"], 0) + 1
            assert all(count == 1 for count in finals.values()), (agent_id, finals)


steps = st.lists(
    st.tuples(
        st.sampled_from(OPERATIONS), st.sampled_from(AGENTS), st.integers(0, 3), st.sampled_from((0.0, 3.0, 25.0))
    ),
    min_size=3,
    max_size=14,
)


async def tell(path: Path, story: list[tuple[str, str, int, float]]) -> None:
    scripts = {number(1): PERSON, number(2): RINGS, number(4): CallScript(status=486)}
    async with world(path, scripts, options=["predictive_callback = false"], agents=2) as w, w.daemon() as daemon:
        w.add(1)
        w.add(2, chain_id=1, chain_n=1)
        w.add(3)
        w.add_callback(4, 4.0, "agent1", chain_id=4)
        w.add_callback(5, 4.0, "agent1", chain_id=4, chain_n=1)
        daemon.nursery.start_soon(obey_news, w.dnc, daemon.desks.records, w.clock)
        for agent_id in AGENTS:
            await daemon.log_in(agent_id)
        await daemon.start()
        told = Story(w, daemon)
        await trio.sleep(8.0)
        for operation, agent_id, which, pause_s in story:
            await told.carry_out(operation, agent_id, which)
            await trio.sleep(pause_s)
            told.note_forbidden()
        w.database.available = True
        await trio.sleep(5.0)
        if daemon.status is GroupCampStatus.RUNNING:
            await daemon.request(CampaignRequest.COMPLETE)
        while daemon.status is not GroupCampStatus.NOT_LOADED or daemon.campaigns.running:  # noqa: ASYNC110
            await trio.sleep(5.0)
        await trio.sleep(5.0)
        told.check()


@settings(max_examples=40, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps)
def test_given_requests_in_any_order_when_all_is_over_then_nothing_is_claimed_and_no_forbidden_number_was_dialed(story):
    with tempfile.TemporaryDirectory() as folder, capture_logs() as logs:  # writing them takes longer than the stories
        trio.run(tell, Path(folder), story, clock=MockClock(autojump_threshold=0.0))
    assert not {line["event"] for line in logs} & {"dnc.news_failed", "record.request_failed"}
