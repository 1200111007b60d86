"""The three services of the control port in memory, and a raw HTTP client that shows every byte."""

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache, partial

import trio

from ocsd.config.objects import Application, HttpListener
from ocsd.cpa.feedback import CallsOfOneKind, Feedback
from ocsd.explain.contract import Explanation, GroupExplanation, Preflight
from ocsd.http.answers import Services
from ocsd.http.server import serve_http
from ocsd.model.enums import CmError, DialMode, GroupCampStatus, GswError, OptimizeBy
from ocsd.model.errors import CampaignRequestError, TargetNotFound
from ocsd.model.services import CampaignRequest, DialParameters, GroupStatus
from ocsd.protocols.http_records import HttpRecordRequest
from ocsd.sessions.pacing_watch import PacingWatch
from pacing.journal import Recorder
from tests.pacing.journal_world import DEFAULT_TARGET, Group

HANG_LIMIT_S = 20.0
"""Only catches hangs."""

LOADED = GroupStatus(
    dbid=115,
    name="Campaign_Group_2@Agent_Group_2",
    campaign_dbid=139,
    group_dbid=234,
    status=GroupCampStatus.RUNNING,
    dial_mode=DialMode.PREDICTIVE,
    optimize_by=OptimizeBy.BUSY_FACTOR,
    optimize_goal=80,
    switch_dbid=105,
    version=6,
)


@cache
def feedback_figures() -> dict[str, object]:
    """As `Explaining.feedback` has it: one trunk with enough calls, and one with too few."""
    known, unknown = Feedback("Campaign", "Carrier"), Feedback("Campaign", "Other")
    for verdict, result, count in (("human", 33, 90), ("human", 9, 10), ("machine", 9, 19), ("machine", 33, 1)):
        known.add(CallsOfOneKind(1, 1, verdict, True, True, result, count))
    unknown.add(CallsOfOneKind(1, 2, "machine", True, False, None, 3))
    return {
        "campaign": "Campaign",
        "since": "2026-02-04T12:00:00+00:00",
        "until": "2026-03-06T12:00:00+00:00",
        "trunks": [known.document(), unknown.document()],
    }


def pacing_figures() -> dict[str, object]:
    """What a session with five agents shows after a minute."""
    watch = PacingWatch()
    recorder = Recorder(DEFAULT_TARGET, sink=watch.take)
    group = Group(recorder, 5, seed=1)
    group.run(60.0)
    shown = watch.shown(DEFAULT_TARGET, group.now_s, datetime(2026, 3, 6, 15, 30, tzinfo=UTC))
    return shown | {"journal": {"file": "20260306T152900-1.jsonl.gz", "entries_lost": 0}}


FIGURES = {"agents_ready": 3, "busy_factor": 0.81, "overdial_rate": None, "hit_ratio": float("nan")}


def not_loaded(dbid: int, name: str, campaign_dbid: int, group_dbid: int) -> GroupStatus:
    return replace(
        LOADED,
        dbid=dbid,
        name=name,
        campaign_dbid=campaign_dbid,
        group_dbid=group_dbid,
        status=GroupCampStatus.NOT_LOADED,
        dial_mode=None,
        optimize_by=None,
        optimize_goal=None,
        version=1,
    )


@dataclass
class FakeCampaigns:
    """Groups by DBID; Load, Start, Stop and Unload change their state, and `refuse` or `fail` override everything."""

    groups: dict[int, GroupStatus] = field(
        default_factory=lambda: {
            106: not_loaded(106, "Campaign_Group_1@Agent_Group_1", 146, 234),
            115: LOADED,
            120: not_loaded(120, "Campaign_Group_3@Agent_Group_3", 138, 162),
        }
    )
    requests: list[tuple[int, CampaignRequest, DialParameters]] = field(default_factory=list)
    inbound: list[tuple[int, int, int]] = field(default_factory=list)
    refuse: CmError | None = None
    fail: Exception | None = None

    async def request(self, dbid: int, request: CampaignRequest, parameters: DialParameters) -> None:
        await trio.lowlevel.checkpoint()
        self.requests.append((dbid, request, parameters))
        if self.fail is not None:
            raise self.fail
        if self.refuse is not None:
            raise CampaignRequestError(self.refuse, f"refused with {self.refuse.name}")
        group = self.groups[dbid]
        loaded = group.status is not GroupCampStatus.NOT_LOADED
        running = group.status is GroupCampStatus.RUNNING
        match request:
            case CampaignRequest.LOAD if loaded:
                raise CampaignRequestError(CmError.CAMPAIGN_ALREADY_LOADED, "already loaded")
            case CampaignRequest.LOAD:
                self._change(dbid, GroupCampStatus.ACTIVE, DialParameters(DialMode.PROGRESSIVE))
            case _ if not loaded:
                raise CampaignRequestError(CmError.CAMPAIGN_NOT_LOADED, "not loaded")
            case CampaignRequest.START_DIALING if running:
                raise CampaignRequestError(CmError.CAMPAIGN_ALREADY_STARTED, "already started")
            case CampaignRequest.START_DIALING:
                self._change(dbid, GroupCampStatus.RUNNING, parameters)
            case CampaignRequest.SET_DIALING_MODE | CampaignRequest.STOP_DIALING if not running:
                raise CampaignRequestError(CmError.CAMPAIGN_NOT_STARTED, "not started")
            case CampaignRequest.SET_DIALING_MODE:
                self._change(dbid, GroupCampStatus.RUNNING, parameters)
            case CampaignRequest.STOP_DIALING:
                self._change(dbid, GroupCampStatus.ACTIVE, DialParameters(group.dial_mode))
            case _:
                self._change(dbid, GroupCampStatus.NOT_LOADED, DialParameters())

    def report_inbound(self, agent_group_dbid: int, queued: int, ringing: int) -> None:
        if self.fail is not None:
            raise self.fail
        if agent_group_dbid not in {group.group_dbid for group in self.groups.values()}:
            raise CampaignRequestError(CmError.GROUP_NOT_FOUND, f"no agent group has DBID {agent_group_dbid}")
        self.inbound.append((agent_group_dbid, queued, ringing))

    def _change(self, dbid: int, status: GroupCampStatus, parameters: DialParameters) -> None:
        group = self.groups[dbid]
        self.groups[dbid] = replace(
            group,
            status=status,
            dial_mode=parameters.dial_mode,
            optimize_by=parameters.optimize_by,
            optimize_goal=parameters.optimize_goal,
            version=group.version + 1,
        )

    def status(self, dbid: int) -> GroupStatus | None:
        return self.groups.get(dbid)

    def statuses(self) -> list[GroupStatus]:
        return list(self.groups.values())

    def statistics(self, dbid: int) -> dict[str, float | int | None]:
        return FIGURES if dbid == LOADED.dbid else {}

    def calls(self, dbid: int) -> dict[str, object]:
        call = {
            "record_handle": 15, "conn_id": f"{15:016x}", "number": "...0123", "trunk": "Carrier", "state": "held",
            "age_s": 61.5, "agent_id": "agent1", "talking_s": 31.0, "muted": False,
            "third_party": {"agent_id": None, "number": "...8750"},
            "supervisors": [{"agent_id": "chief", "mode": "coach"}],
        }  # fmt: skip
        return {"calls": [call] if dbid == LOADED.dbid else []}

    def trunks(self) -> list[dict[str, object]]:
        return [
            {
                "dbid": 105, "name": "Carrier", "priority": 1, "weight": 10, "calls": 3, "max_calls": 30,
                "circuit": "open", "takes_calls": False, "why": "503 Service Unavailable", "again_in_s": 4.5,
                "registered": None, "started": 120, "failed": 3, "moved": 2, "rtt_s": None,
            }
        ]  # fmt: skip

    def pacing(self, dbid: int) -> dict[str, object]:
        return pacing_figures() if dbid == LOADED.dbid else {}


@dataclass
class FakeRecords:
    """Keeps every request that arrives; ``fail`` is raised instead of carrying it out."""

    requests: list[HttpRecordRequest] = field(default_factory=list)
    fail: Exception | None = None

    async def carry_out(self, request: HttpRecordRequest) -> None:
        await trio.lowlevel.checkpoint()
        self.requests.append(request)
        if self.fail is not None:
            raise self.fail


@dataclass
class FakeExplainer:
    """Explanations by list and record, preflights by list; ``fail`` is raised instead of answering."""

    explanations: dict[tuple[str, int], Explanation] = field(default_factory=dict)
    preflights: dict[str, Preflight] = field(default_factory=dict)
    groups: dict[int, GroupExplanation] = field(default_factory=dict)
    fail: Exception | None = None

    async def why(self, calling_list: str, record_id: int) -> Explanation:
        await trio.lowlevel.checkpoint()
        if self.fail is not None:
            raise self.fail
        try:
            return self.explanations[calling_list, record_id]
        except KeyError:
            raise TargetNotFound(GswError.RECORD_NOT_FOUND, f"{calling_list} has no record {record_id}") from None

    async def preflight(self, calling_list: str) -> Preflight:
        await trio.lowlevel.checkpoint()
        if self.fail is not None:
            raise self.fail
        try:
            return self.preflights[calling_list]
        except KeyError:
            raise TargetNotFound(GswError.INVALID_ATTRIBUTE_VALUE, f"no calling list {calling_list}") from None

    async def feedback(self, campaign_group_dbid: int) -> dict[str, object]:
        await trio.lowlevel.checkpoint()
        if self.fail is not None:
            raise self.fail
        return feedback_figures()

    async def why_group(self, campaign_group_dbid: int) -> GroupExplanation:
        await trio.lowlevel.checkpoint()
        if self.fail is not None:
            raise self.fail
        return self.groups[campaign_group_dbid]


def services(campaigns=None, records=None, explainer=None) -> Services:
    return Services(campaigns or FakeCampaigns(), records or FakeRecords(), explainer or FakeExplainer())


@dataclass(frozen=True)
class RawAnswer:
    status_line: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def status(self) -> int:
        return int(self.status_line.split()[1])

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)


class RawClient:
    """One TCP connection; what is sent and received is bytes, header names keep their case."""

    def __init__(self, stream: trio.abc.HalfCloseableStream) -> None:
        self.stream = stream
        self._buffer = b""

    async def ask(self, request: bytes | str) -> RawAnswer:
        await self.stream.send_all(request.encode() if isinstance(request, str) else request)
        return await self.answer()

    async def _until(self, length_of) -> bytes:
        while (length := length_of(self._buffer)) is None or len(self._buffer) < length:
            data = await self.stream.receive_some(65536)
            if not data:
                raise EOFError(self._buffer)
            self._buffer += data
        taken, self._buffer = self._buffer[:length], self._buffer[length:]
        return taken

    async def answer(self) -> RawAnswer:
        def head_length(data: bytes) -> int | None:
            end = data.find(b"\r\n\r\n")
            return None if end < 0 else end + 4

        head = (await self._until(head_length)).decode("ascii")
        status_line, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
        headers = tuple((line.split(": ", 1)[0], line.split(": ", 1)[1]) for line in lines)
        length = int(next((value for name, value in headers if name == "Content-length"), "0"))
        return RawAnswer(status_line, headers, await self._until(lambda _: length))

    async def is_closed(self) -> bool:
        """Wait for the server's end of the connection; False when it sends something more instead."""
        try:
            return not self._buffer and await self.stream.receive_some(1) == b""
        except trio.BrokenResourceError:
            return True


@asynccontextmanager
async def http_server(service=None, application=None, *, records=None, explainer=None, **options):
    """A control port on the loopback; yields (campaigns, connect) and closes everything at the end."""
    service = service or FakeCampaigns()
    config = HttpListener(port=0, **options)
    finished = False
    application = application or Application(name="OCS", dbid=398, version="8.1.000.12")
    async with AsyncExitStack() as clients, trio.open_nursery() as nursery:
        nursery.cancel_scope.deadline = trio.current_time() + HANG_LIMIT_S
        (port,) = await nursery.start(partial(serve_http, config, application, services(service, records, explainer)))

        async def connect() -> RawClient:
            return RawClient(await clients.enter_async_context(await trio.open_tcp_stream("127.0.0.1", port)))

        connect.port = port
        yield service, connect
        finished = True
        nursery.cancel_scope.cancel()
    # The nursery swallows the Cancelled of its own deadline, and with it the rest of the test.
    assert finished, f"the test hung for {HANG_LIMIT_S} s"
