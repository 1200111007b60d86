import json
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from trio.testing import memory_stream_pair
from trio_websocket import ConnectionClosed, connect_websocket, wrap_client_stream

from ocsd.config.objects import Application, DesktopListener
from ocsd.http.desktops import (
    HANDSHAKE_LIMIT_S,
    MAX_MALFORMED,
    OUTGOING_MESSAGES,
    PING_INTERVAL_S,
    PONG_LIMIT_S,
    DesktopEndpoint,
    serve_desktops,
)
from ocsd.model.enums import GswError
from ocsd.model.errors import DesktopRequestError, StoreUnavailable
from ocsd.protocols import desktop_events as events
from ocsd.protocols.desktop import RecordProcessed, RequestAgentLogin, RequestAgentReady
from tests.ocsd.http_fakes import HANG_LIMIT_S

APPLICATION = Application(dbid=101)
LOGIN = {"Request": "RequestAgentLogin", "AgentID": "a1", "ReferenceID": 1}
READY = {"Request": "RequestAgentReady", "ReferenceID": 2}
PROCESSED = {
    "GSW_AGENT_REQ_TYPE": "RecordProcessed",
    "GSW_APPLICATION_ID": 101,
    "GSW_RECORD_HANDLE": 15,
    "GSW_CAMPAIGN_NAME": "Camp",
    "GSW_CALLING_LIST": "List",
    "GSW_REFERENCE_ID": 3,
}


@dataclass
class FakeDesks:
    """Answers login and ready, acknowledges records, fails on request; records what happens."""

    fail: Exception | None = None
    connections: list = field(default_factory=list)
    happened: list = field(default_factory=list)
    came: trio.Event = field(default_factory=trio.Event)
    left: trio.Event = field(default_factory=trio.Event)

    def connected(self, connection):
        self.connections.append(connection)
        self.happened.append("connected")
        self.came.set()

    async def received(self, connection, message):
        await trio.lowlevel.checkpoint()
        self.happened.append(message)
        if self.fail is not None:
            raise self.fail
        match message:
            case RequestAgentLogin(agent_id, reference):
                connection.send(events.agent_event(events.DesktopEvent.AGENT_LOGIN, agent_id, reference))
            case RequestAgentReady(_, reference):
                connection.send(events.agent_event(events.DesktopEvent.AGENT_READY, "a1", reference))
            case RecordProcessed():
                connection.send(events.acknowledgement(message, 101, message.calling_list, message.campaign_name))

    def disconnected(self, connection):
        self.connections.remove(connection)
        self.happened.append("disconnected")
        self.left.set()


@asynccontextmanager
async def desktop_server(service=None, **options):
    """A desktop endpoint on the loopback; yields (service, connect); connect gives a WebSocket client."""
    service, finished = service or FakeDesks(), False
    async with AsyncExitStack() as clients, trio.open_nursery() as nursery:
        nursery.cancel_scope.deadline = trio.current_time() + HANG_LIMIT_S
        serve = partial(serve_desktops, DesktopListener(port=0, **options), APPLICATION, service)
        (port,) = await nursery.start(serve)

        async def connect(path="/desktop", headers=()):
            opened = await connect_websocket(
                nursery, "127.0.0.1", port, path, use_ssl=False, extra_headers=list(headers), max_message_size=10**7
            )
            # aclose() of a connection that the server has closed leaves the socket open.
            clients.push_async_callback(opened._stream.aclose)
            clients.push_async_callback(opened.aclose)
            return opened

        connect.port = port
        yield service, connect
        await clients.aclose()
        finished = True
        nursery.cancel_scope.cancel()
    # The nursery swallows the Cancelled of its own deadline, and with it the rest of the test.
    assert finished, f"the test hung for {HANG_LIMIT_S} s"


async def ask(client, message):
    await client.send_message(message if isinstance(message, str | bytes) else json.dumps(message))
    return json.loads(await client.get_message())


async def test_given_a_desktop_when_it_logs_in_works_and_leaves_then_the_service_sees_it_all():
    async with desktop_server() as (service, connect):
        client = await connect()

        assert await ask(client, LOGIN) == {"Event": "EventAgentLogin", "AgentID": "a1", "ReferenceID": 1}
        assert await ask(client, READY) == {"Event": "EventAgentReady", "AgentID": "a1", "ReferenceID": 2}
        acknowledged = await ask(client, PROCESSED)
        assert (acknowledged["GSW_USER_EVENT"], acknowledged["GSW_REFERENCE_ID"]) == ("RecordProcessedAcknowledge", 3)
        await client.aclose()
        await service.left.wait()

        assert service.happened == [
            "connected",
            RequestAgentLogin("a1", 1),
            RequestAgentReady(None, 2),
            RecordProcessed(101, 15, "Camp", "List", reference_id=3),
            "disconnected",
        ]


@pytest.mark.parametrize(
    ("message", "number"),
    [
        ("not json", 101),
        (b"\x00\x01", 101),
        ("[]", 101),
        ("{}", 101),
        ('{"GSW_AGENT_REQ_TYPE": "PreviewRecordRequest"}', 101),
        ('{"GSW_AGENT_REQ_TYPE": "RecordProcessed"}', 102),
        (json.dumps(PROCESSED | {"GSW_CALL_RESULT": "x"}), 103),
    ],
)
async def test_given_a_wrong_message_when_received_then_it_is_answered_and_the_connection_goes_on(message, number):
    async with desktop_server() as (service, connect):
        client = await connect()

        answer = await ask(client, message)

        assert (answer["GSW_USER_EVENT"], answer["GSW_ERROR_NUMBER"]) == ("Error", number)
        assert (await ask(client, LOGIN))["Event"] == "EventAgentLogin"
        assert service.happened == ["connected", RequestAgentLogin("a1", 1)]


async def test_given_malformed_messages_in_a_row_when_too_many_then_all_are_answered_and_it_is_closed():
    async with desktop_server() as (service, connect):
        client = await connect()
        for _ in range(MAX_MALFORMED - 1):
            assert (await ask(client, "?"))["GSW_ERROR_NUMBER"] == 101
        await ask(client, LOGIN)  # the count starts again
        for _ in range(MAX_MALFORMED):
            assert (await ask(client, "?"))["GSW_ERROR_NUMBER"] == 101

        with pytest.raises(ConnectionClosed) as closed:
            await client.get_message()

        assert closed.value.reason.code == 1008
        await service.left.wait()


@pytest.mark.parametrize(
    ("failure", "number", "level"),
    [
        (DesktopRequestError(GswError.RECORD_NOT_FOUND, "no record 15"), 109, None),
        (StoreUnavailable("away"), 113, "error"),
        (KeyError("a bug"), 101, "error"),
    ],
)
async def test_given_a_failing_service_when_asked_then_the_desktop_is_told_and_goes_on(failure, number, level):
    async with desktop_server(FakeDesks(fail=failure)) as (service, connect):
        client = await connect()
        with capture_logs() as logs:
            answer = await ask(client, PROCESSED)
            agent_answer = await ask(client, READY)

        assert (answer["GSW_ERROR_NUMBER"], answer["GSW_REFERENCE_ID"]) == (number, 3)
        assert "a bug" not in answer["GSW_ERROR_DESCRIPTION"]
        assert (agent_answer["Event"], agent_answer["ErrorCode"], agent_answer["ReferenceID"]) == (
            "EventError",
            number,
            2,
        )
        failed = [entry["log_level"] for entry in logs if entry["event"] == "desktop.request_failed"]
        assert failed == ([level] * 2 if level else [])
        service.fail = None
        assert (await ask(client, LOGIN))["Event"] == "EventAgentLogin"


async def test_given_a_message_past_the_limit_when_received_then_the_connection_is_closed_with_1009():
    async with desktop_server(max_message_bytes=1000) as (service, connect):
        client = await connect()
        assert (await ask(client, json.dumps(LOGIN).ljust(1000)))["Event"] == "EventAgentLogin"

        await client.send_message("x" * 1001)
        with pytest.raises(ConnectionClosed) as closed:
            await client.get_message()

        assert closed.value.reason.code == 1009
        await service.left.wait()


async def test_given_a_desktop_that_does_not_read_when_its_queue_is_full_then_it_is_cut_off_and_others_are_not():
    async with desktop_server() as (service, connect):
        stream = await trio.open_tcp_stream("127.0.0.1", connect.port)
        async with stream:
            await stream.send_all(HANDSHAKE)
            assert (await stream.receive_some(4096)).startswith(b"HTTP/1.1 101")
            other = await connect()
            await ask(other, LOGIN)
            slow = service.connections[0]
            with capture_logs() as logs:
                while not service.left.is_set():
                    slow.send({"filler": "x" * 60_000})
                    await trio.lowlevel.checkpoint()
            slow.send({"after": "the end"})  # no error: the sessions may hear of the end only now

            cut_off = [entry for entry in logs if entry["event"] == "desktop.cut_off"]
            assert [(entry["because"], entry["waiting"]) for entry in cut_off] == [("does not read", OUTGOING_MESSAGES)]
            assert (await ask(other, READY))["Event"] == "EventAgentReady"


HANDSHAKE = (
    b"GET /desktop HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/", (), 404),
        ("/commdn", (), 404),
        ("/desktop/x", (), 404),
        ("/desktop", ((b"Origin", b"http://evil.example"),), 403),
    ],
)
async def test_given_a_wrong_path_or_page_when_connecting_then_it_is_rejected_with_a_reason(path, headers, status):
    async with desktop_server() as (service, connect):
        async with await trio.open_tcp_stream("127.0.0.1", connect.port) as stream:
            lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
            await stream.send_all(HANDSHAKE.replace(b"/desktop", path.encode())[:-2] + lines + b"\r\n")
            answer = b"".join([data async for data in stream])

        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert b"\r\n\r\n%d " % status in answer
        own_page = await connect("/desktop?v=1", [(b"Origin", b"http://127.0.0.1:9000")])
        assert (await ask(own_page, LOGIN))["Event"] == "EventAgentLogin"
        assert service.happened == ["connected", RequestAgentLogin("a1", 1)]


@pytest.mark.parametrize(
    "garbage",
    [
        b"hello\r\n\r\n",
        b"GET /desktop HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01" + bytes(60),
        HANDSHAKE + b"\xff\xff\xff\xff",
        HANDSHAKE + b"\x01\x00unmasked",
        HANDSHAKE + b"\x81\x81\x00\x00\x00\x00\xff",  # text that is no UTF-8
        HANDSHAKE + b"\x88\x80\x00\x00\x00\x00" * 3,
        b"",
    ],
)
@pytest.mark.parametrize("reset", [False, True])
async def test_given_bytes_that_are_no_websocket_when_received_then_the_endpoint_goes_on(garbage, reset):
    async with desktop_server() as (_, connect):
        with capture_logs() as logs:
            async with await trio.open_tcp_stream("127.0.0.1", connect.port) as stream:
                await stream.send_all(garbage or b" ")
                if reset:
                    stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
                else:
                    await stream.send_eof()
                    while await stream.receive_some(4096):
                        pass
            client = await connect()
            assert (await ask(client, LOGIN))["Event"] == "EventAgentLogin"

        assert [entry for entry in logs if entry["log_level"] == "error"] == []


async def test_given_all_connections_in_use_when_one_more_comes_then_503_and_room_again_afterwards():
    async with desktop_server(max_connections=1) as (service, connect):
        first = await connect()
        await ask(first, LOGIN)
        async with await trio.open_tcp_stream("127.0.0.1", connect.port) as stream:
            await stream.send_all(HANDSHAKE)
            assert (await stream.receive_some(4096)).startswith(b"HTTP/1.1 503 ")
        await first.aclose()
        await service.left.wait()

        while True:
            async with await trio.open_tcp_stream("127.0.0.1", connect.port) as stream:
                await stream.send_all(HANDSHAKE)
                if (await stream.receive_some(4096)).startswith(b"HTTP/1.1 101"):
                    break


async def test_given_a_port_when_cancelled_then_the_service_hears_that_desktops_left():
    service = FakeDesks()
    async with desktop_server(service) as (_, connect):
        stream = await trio.open_tcp_stream("127.0.0.1", connect.port)
        await stream.send_all(HANDSHAKE)
        await service.came.wait()
    await stream.aclose()

    assert service.happened == ["connected", "disconnected"]


# Time limits, in virtual time over a stream in memory.


async def test_given_a_peer_that_answers_no_ping_when_the_limit_passes_then_it_is_cut_off(autojump_clock, nursery):
    ours, theirs = memory_stream_pair()
    service = FakeDesks()
    nursery.start_soon(DesktopEndpoint(DesktopListener(), APPLICATION, service).handle, theirs)
    await ours.send_all(HANDSHAKE)
    started_s = trio.current_time()

    await service.left.wait()

    assert trio.current_time() - started_s == PING_INTERVAL_S + PONG_LIMIT_S
    await ours.aclose()


async def test_given_a_peer_that_answers_pings_when_idle_for_an_hour_then_it_stays(autojump_clock, nursery):
    ours, theirs = memory_stream_pair()
    service = FakeDesks()
    nursery.start_soon(DesktopEndpoint(DesktopListener(), APPLICATION, service).handle, theirs)
    client = await wrap_client_stream(nursery, ours, "127.0.0.1", "/desktop")

    await trio.sleep(3600.0)

    assert (await ask(client, LOGIN))["Event"] == "EventAgentLogin"
    await client.aclose()
    await service.left.wait()


@pytest.mark.parametrize("sent", [b"", HANDSHAKE[:-2], b"hello\r\n\r\n"])
async def test_given_a_handshake_that_does_not_end_when_the_limit_passes_then_it_is_closed(
    autojump_clock, nursery, sent
):
    ours, theirs = memory_stream_pair()
    endpoint = DesktopEndpoint(DesktopListener(), APPLICATION, FakeDesks())
    nursery.start_soon(endpoint.handle, theirs)
    await ours.send_all(sent)
    started_s = trio.current_time()
    while await ours.receive_some(4096):
        pass

    await trio.sleep(HANDSHAKE_LIMIT_S + 1.0)

    assert trio.current_time() - started_s <= 2 * HANDSHAKE_LIMIT_S + 1.0
    assert endpoint.connections == 0


frames = st.sampled_from(
    [
        b"\x81\x82\x00\x00\x00\x00{}",
        b"\x81\x80\x00\x00\x00\x00",
        b"\x01\x81\x00\x00\x00\x00{",  # the first part of a message
        b"\x80\x81\x00\x00\x00\x00}",  # its last part
        b"\x82\x81\x00\x00\x00\x00\xff",
        b"\x89\x80\x00\x00\x00\x00",  # ping
        b"\x8a\x80\x00\x00\x00\x00",  # pong
        b"\x88\x80\x00\x00\x00\x00",  # close
        b"\x88\x82\x00\x00\x00\x00\x03\xe8",
        b"\xc1\x80\x00\x00\x00\x00",
        b"\x81\xfe\xff\xff\x00\x00\x00\x00",
        b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00",
    ]
)


@settings(max_examples=150, deadline=None)
@given(st.booleans(), st.lists(frames | st.binary(max_size=20), max_size=8))
def test_given_any_bytes_when_sent_then_the_endpoint_never_fails(shakes_hands, parts):
    async def talk():
        service = FakeDesks()
        endpoint = DesktopEndpoint(DesktopListener(max_message_bytes=256), APPLICATION, service)
        ours, theirs = memory_stream_pair()

        async def listen():
            with suppress(trio.BrokenResourceError):
                async for _ in ours:
                    pass

        async with trio.open_nursery() as nursery:
            nursery.start_soon(endpoint.handle, theirs)
            nursery.start_soon(listen)
            with suppress(trio.BrokenResourceError):
                for part in [HANDSHAKE] * shakes_hands + parts:
                    await ours.send_all(part)
                    await trio.testing.wait_all_tasks_blocked()
                await ours.send_eof()
        assert endpoint.connections == 0
        assert service.connections == []

    with capture_logs() as logs:
        trio.run(talk, clock=trio.testing.MockClock(autojump_threshold=0))

    assert [entry for entry in logs if entry["log_level"] == "error"] == []
