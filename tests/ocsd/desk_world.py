"""Sessions, desktops and callbacks over the in-memory plane, store and Do-Not-Call, in virtual time."""

import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import trio

from ocsd.config.loader import load_configuration
from ocsd.config.objects import Configuration
from ocsd.demo.options import DemoOptions
from ocsd.demo.world import CAMPAIGN_GROUP_DBID, write_configuration
from ocsd.dnc.forms import plan_of
from ocsd.dnc.memory import MemoryDoNotCall
from ocsd.lists.memory import MemoryDatabase, MemoryListStore
from ocsd.model.enums import DialMode, GroupCampStatus, RecordStatus, RecordType
from ocsd.model.errors import StoreUnavailable
from ocsd.model.services import CampaignRequest, DialParameters
from ocsd.protocols.desktop import RequestAgentLogin, RequestAgentLogout, RequestAgentReady, parse
from ocsd.sessions.campaigns import Campaigns
from ocsd.sessions.desks import Desks
from ocsd.sessions.group import DialSettings
from ocsd.sessions.recovery import recover
from ocsd.sessions.roster import AgentState
from ocsd.sessions.session import Session
from ocsd.validation import Validator
from telephony.fake import CallScript, FakeMedia, FakeTelephony, open_fake_plane

LIST = 142
NOON = datetime(2026, 3, 3, 17, 0, tzinfo=UTC)
"""Noon in New York, the zone of the list."""
HANG_LIMIT_S = 3600.0
"""Virtual seconds; only catches hangs."""

PERSON = CallScript(ring_s=4.0, talk_s=30.0, verdict_s=1.0)
TALKER = CallScript(ring_s=4.0, talk_s=600.0, verdict_s=1.0)
RINGS = CallScript(ring_s=20.0, talk_s=30.0, verdict_s=1.0)
PHONE = CallScript(ring_s=0.2)

NAMES = {"GSW_APPLICATION_ID": 101, "GSW_CAMPAIGN_NAME": "Demo", "GSW_CALLING_LIST": "Demo List"}


OTHERS = """
[[tenants]]
dbid = 2
name = "Other Tenant"

[[campaigns]]
dbid = 150
name = "Idle"
tenant = "Environment"
lists = [{ calling_list = "Demo List" }]

[[campaign_groups]]
dbid = 151
name = "Idle@Demo Agents"
campaign = "Idle"
group = "Demo Agents"
trunks = ["Simulated Carrier"]
num_of_channels = 2

[[campaigns]]
dbid = 152
name = "Other"
tenant = "Other Tenant"
lists = []
"""
"""A second tenant, and campaigns that nobody loads: one of the demo's list, one of that tenant."""


def number(record_id: int) -> str:
    return f"+1212555{2000 + record_id}"


class VirtualClock:
    def __init__(self) -> None:
        self._begin_s = trio.current_time()

    def now_s(self) -> float:
        return trio.current_time()

    def utc(self) -> datetime:
        return NOON + timedelta(seconds=trio.current_time() - self._begin_s)


class Memory:
    def __init__(self) -> None:
        self.states: dict[int, tuple[GroupCampStatus, DialSettings]] = {}

    async def remember(self, dbid: int, status: GroupCampStatus, settings: DialSettings) -> None:
        await trio.lowlevel.checkpoint()
        self.states[dbid] = (status, settings)

    async def recall(self) -> dict[int, tuple[GroupCampStatus, DialSettings]]:
        await trio.lowlevel.checkpoint()
        return dict(self.states)


class PatientStore(MemoryListStore):
    """As the real one: results and marks of attempts wait through an outage, everything else raises."""

    async def finish_attempt(self, finished) -> bool:
        while True:
            try:
                return await super().finish_attempt(finished)
            except StoreUnavailable:
                await trio.sleep(0.5)

    async def mark_answered(self, attempt_id, answered_at) -> None:
        with suppress(StoreUnavailable):  # queued, and of no use to anybody but a restart
            await super().mark_answered(attempt_id, answered_at)

    async def mark_connected(self, attempt_id, connected_at, agent_id) -> None:
        with suppress(StoreUnavailable):
            await super().mark_connected(attempt_id, connected_at, agent_id)


class Desktop:
    """A desktop that keeps what it is sent, and speaks JSON as a real one does."""

    peer = "test"

    def __init__(self, desks: Desks) -> None:
        self._desks = desks
        self.messages: list[dict] = []

    def send(self, message) -> None:
        self.messages.append(dict(message))

    async def ask(self, **pairs) -> None:
        await self._desks.received(self, parse(json.dumps(pairs)))

    async def gsw(self, name: str, **pairs) -> None:
        await self.ask(GSW_AGENT_REQ_TYPE=name, **pairs)

    async def about(self, name: str, handle: int, **pairs) -> None:
        """A request about a record by its handle, with the names that go with it."""
        await self.gsw(name, GSW_RECORD_HANDLE=handle, **NAMES, **pairs)

    def all(self, event: str) -> list[dict]:
        return [m for m in self.messages if event in (m.get("Event"), m.get("GSW_USER_EVENT"))]

    def has(self, event: str) -> bool:
        return bool(self.all(event))

    def last(self, event: str) -> dict:
        return self.all(event)[-1]

    @property
    def errors(self) -> list[int]:
        return [m.get("GSW_ERROR_NUMBER", m.get("ErrorCode")) for m in self.messages if "Error" in str(m)]


@dataclass
class Daemon:
    world: "World"
    campaigns: Campaigns
    desks: Desks
    nursery: trio.Nursery
    desktops: dict[str, Desktop] = field(default_factory=dict)

    @property
    def session(self) -> Session:
        return self.campaigns.sessions[CAMPAIGN_GROUP_DBID]

    @property
    def status(self) -> GroupCampStatus:
        found = self.campaigns.status(CAMPAIGN_GROUP_DBID)
        assert found is not None
        return found.status

    async def log_in(self, agent_id: str, *, ready: bool = True) -> Desktop:
        desktop = self.desktops[agent_id] = Desktop(self.desks)
        await self.desks.received(desktop, RequestAgentLogin(agent_id))
        if ready:
            await self.desks.received(desktop, RequestAgentReady())
        return desktop

    async def log_out(self, agent_id: str) -> None:
        await self.desks.received(self.desktops[agent_id], RequestAgentLogout())

    async def request(self, request: CampaignRequest, **parameters) -> None:
        await self.campaigns.request(CAMPAIGN_GROUP_DBID, request, DialParameters(**parameters))

    async def start(self) -> None:
        await self.request(CampaignRequest.LOAD)
        await self.request(CampaignRequest.START_DIALING, dial_mode=DialMode.PROGRESSIVE)

    async def until(self, check: Callable[[], object]) -> None:
        """In virtual time this costs nothing."""
        while not check():  # noqa: ASYNC110
            await trio.sleep(0.05)

    async def until_talking(self, agent_id: str) -> int:
        """Wait for the agent's conversation; returns the record's handle."""
        await self.until(lambda: self.campaigns.seats[agent_id].state is AgentState.TALKING)
        handle = self.desktops[agent_id].last("EventEstablished")["UserData"]["GSW_RECORD_HANDLE"]
        assert isinstance(handle, int)
        return handle

    async def scheduled(self, agent_id: str) -> int:
        """Wait for a ScheduledCall; returns its handle."""
        await self.until(lambda: self.desktops[agent_id].has("ScheduledCall"))
        handle = self.desktops[agent_id].last("ScheduledCall")["GSW_RECORD_HANDLE"]
        assert isinstance(handle, int)
        return handle


@dataclass
class World:
    config: Configuration
    clock: VirtualClock
    database: MemoryDatabase
    dnc: MemoryDoNotCall
    memory: Memory
    telephony: FakeTelephony
    media: FakeMedia
    validator: Validator | None = None

    @asynccontextmanager
    async def daemon(self) -> AsyncIterator[Daemon]:
        async with trio.open_nursery() as nursery:
            campaigns = Campaigns(
                self.config,
                nursery,
                store=PatientStore(self.database),
                dnc=self.dnc,
                memory=self.memory,
                telephony=self.telephony,
                media=self.media,
                clock=self.clock,
                validator=self.validator,
            )
            daemon = Daemon(self, campaigns, Desks(self.config, campaigns, "localhost"), nursery)
            with campaigns.nothing_dialed():
                await campaigns.resume()
                await recover(campaigns, self.telephony, self.media)
            with trio.fail_after(HANG_LIMIT_S):
                yield daemon
            nursery.cancel_scope.cancel()

    def add(self, record_id: int, **columns) -> None:
        self.database.add_record(LIST, **({"contact_info": number(record_id), "record_id": record_id} | columns))

    def add_callback(self, record_id: int, in_s: float, agent_id: str | None, **columns) -> None:
        """A callback due after ``in_s`` seconds of this run."""
        kind = RecordType.PERSONAL_CALLBACK if agent_id is not None else RecordType.CAMPAIGN_CALLBACK
        due = int((self.clock.utc() + timedelta(seconds=in_s)).timestamp())
        self.add(
            record_id,
            **{"record_type": kind, "dial_sched_time": due, "agent_id": agent_id, "call_result": 33, "attempt": 1}
            | columns,
        )

    def row(self, record_id: int):
        return self.database.rows(LIST)[record_id]

    def state(self, record_id: int) -> tuple[RecordStatus, RecordType, int]:
        row = self.row(record_id)
        return row.record_status, RecordType(row.record.record_type), int(row.record.call_result)

    def dialed(self) -> list[str]:
        """Customers' numbers in the order of their INVITEs."""
        return [c.uri.removeprefix("sip:").partition("@")[0] for c in self.telephony.placed if "-customer" in c.leg_id]


@asynccontextmanager
async def world(
    tmp_path,
    scripts: dict[str, CallScript] | None = None,
    *,
    options: Iterable[str] = (),
    list_lines: Iterable[str] = (),
    more: str = "",
    agents: int = 3,
) -> AsyncIterator[World]:
    """``scripts``: what called numbers do (PERSON when not named); phones answer at once."""
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
    text = path.read_text()
    text = text.replace("stale_clean_timeout = 5", ", ".join(["stale_clean_timeout = 5", *options]))
    text = text.replace(
        'name = "customer_name", type = "varchar", length = 64, send_attribute = "customer_name" }',
        'name = "customer_name", type = "varchar", length = 64, send_attribute = "customer_name" }, '
        '{ name = "customer_no", type = "varchar", length = 20, send_attribute = "CUSTOMER_NO" }',
    )
    text = text.replace(
        "max_attempts = 3", "\n".join(["max_attempts = 3", 'customer_id_field = "customer_no"', *list_lines])
    )
    path.write_text(text + "\n" + more)
    config = load_configuration(path)
    clock = VirtualClock()
    wanted = scripts or {}

    def script(command):
        called = command.uri.removeprefix("sip:").partition("@")[0]
        return wanted.get(called, PERSON if "-customer" in command.leg_id else PHONE)

    async with open_fake_plane(script, legs=1000) as (telephony, media):
        yield World(
            config,
            clock,
            MemoryDatabase(config, now=clock.utc),
            MemoryDoNotCall((plan_of("US"),)),
            Memory(),
            telephony,
            media,
        )
