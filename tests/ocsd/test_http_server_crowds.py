"""Many and bad clients at once, over real sockets: none of them may hold up the others."""

import ctypes
import socket
import struct
from functools import partial

import pytest
import trio
from structlog.testing import capture_logs

from ocsd.http import server
from ocsd.http.server import HttpEndpoint
from ocsd.model.enums import DialMode
from ocsd.model.services import CampaignRequest, DialParameters
from tests.ocsd.http_fakes import FakeCampaigns, RawClient, http_server
from tests.ocsd.test_http_server import SET_MODE_BODY, get, post

SET_MODE = post("/campaigngroups/115?req=SetDialingMode", SET_MODE_BODY).encode()
STATUS = get("/campaigngroups/115").encode()

SO_ATTACH_FILTER = 26
"""socket(7); the socket module has no name for it."""


def go_dark(stream: trio.SocketStream) -> None:
    """From now on the client's kernel drops what arrives, unacknowledged: like a host that lost its power."""
    drop_all = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # BPF: keep 0 bytes of the packet
    stream.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", 1, ctypes.addressof(drop_all)))


class Ends:
    """Counts connections of which the server has let go."""

    def __init__(self, monkeypatch) -> None:
        self.count = 0
        self._changed = trio.Event()
        handle = HttpEndpoint.handle

        async def counted(endpoint, stream):
            try:
                await handle(endpoint, stream)
            finally:
                self.count += 1
                self._changed.set()
                self._changed = trio.Event()

        monkeypatch.setattr(HttpEndpoint, "handle", counted)

    async def reach(self, count: int) -> None:
        while self.count < count:
            await self._changed.wait()


@pytest.fixture
def ends(monkeypatch):
    return Ends(monkeypatch)


async def is_served(client: RawClient) -> bool:
    return (await client.ask(STATUS)).status == 200


async def test_given_200_clients_amid_their_requests_when_another_asks_then_it_is_served_and_they_are_later():
    async with http_server(header_timeout_s=3600.0) as (service, connect):
        slow = [await connect() for _ in range(200)]
        quick = await connect()
        for index, byte in enumerate(SET_MODE[:-1]):
            for client in slow[:: 1 if index < 3 else 40]:  # all begin; every 40th goes on byte by byte
                await client.stream.send_all(bytes([byte]))
            assert index % 16 or await is_served(quick)
        assert service.requests == []

        for index, client in enumerate(slow):
            await client.stream.send_all(SET_MODE[-1:] if index % 40 == 0 else SET_MODE[3:])
        answers = [await client.answer() for client in slow]

        assert {answer.status for answer in answers} == {200}
        assert len(service.requests) == 200


async def test_given_100_clients_that_never_read_when_another_asks_then_it_is_served_and_they_are_cut_off(
    monkeypatch, ends
):
    monkeypatch.setattr(server, "ANSWER_LIMIT_S", 0.5)
    async with http_server() as (_, connect):
        quick = await connect()

        async def ask_on(client: RawClient) -> None:
            with pytest.raises(trio.BrokenResourceError):  # noqa: PT012 - the server cuts it off
                while True:
                    await client.stream.send_all(STATUS * 50)

        with capture_logs() as logs:
            async with trio.open_nursery() as nursery:
                for _ in range(100):
                    client = await connect()
                    client.stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                    nursery.start_soon(ask_on, client)
                assert await is_served(quick)
            await ends.reach(100)

        assert await is_served(quick)
        assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == ["http.answer_untaken"] * 100


async def test_given_idle_clients_that_vanish_when_they_answer_no_probe_then_their_places_are_free(monkeypatch, ends):
    shorten_patience(monkeypatch)
    async with http_server(max_connections=100) as (_, connect):
        clients = [await connect() for _ in range(100)]
        for client in clients:
            assert await is_served(client)
            go_dark(client.stream)

        await ends.reach(100)

        again = [await connect() for _ in range(100)]
        assert all([await is_served(client) for client in again])


async def test_given_clients_that_vanish_before_the_answer_when_nobody_takes_it_then_their_places_are_free(
    monkeypatch, ends
):
    shorten_patience(monkeypatch)
    service = Waiting()
    async with http_server(service) as (_, connect):
        clients = [await connect() for _ in range(10)]
        for client in clients:
            await client.stream.send_all(SET_MODE)
        await service.all_wait(10)
        for client in clients:
            go_dark(client.stream)
        service.go_on.set()

        await ends.reach(10)

        assert await is_served(await connect())


def shorten_patience(monkeypatch) -> None:
    for name in ("KEEPALIVE_IDLE_S", "KEEPALIVE_INTERVAL_S", "KEEPALIVE_PROBES"):
        monkeypatch.setattr(server, name, 1)


class Waiting(FakeCampaigns):
    """Carries requests out when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = trio.Event()
        self._waiting = 0
        self._came = trio.Event()

    async def request(self, dbid: int, request: CampaignRequest, parameters: DialParameters) -> None:
        self._waiting += 1
        self._came.set()
        self._came = trio.Event()
        await self.go_on.wait()
        await super().request(dbid, request, parameters)

    async def all_wait(self, count: int) -> None:
        while self._waiting < count:
            await self._came.wait()


async def test_given_requests_that_wait_for_the_service_when_others_ask_then_they_are_answered():
    service = Waiting()
    async with http_server(service) as (_, connect):
        waiting = [await connect() for _ in range(50)]
        for client in waiting:
            await client.stream.send_all(SET_MODE)
        await service.all_wait(50)

        assert await is_served(await connect())
        service.go_on.set()
        assert [(await client.answer()).status for client in waiting] == [200] * 50


async def test_given_a_request_carried_out_for_longer_than_every_limit_when_done_then_it_is_answered(monkeypatch):
    monkeypatch.setattr(server, "ANSWER_LIMIT_S", 0.01)
    service = Waiting()
    async with http_server(service, header_timeout_s=0.01, idle_timeout_s=0.01) as (_, connect):
        client, later = await connect(), trio.current_time() + 0.1
        await client.stream.send_all(SET_MODE)
        await service.all_wait(1)
        while trio.current_time() < later:
            await trio.lowlevel.checkpoint()
        service.go_on.set()

        assert (await client.answer()).status == 200
        assert service.groups[115].dial_mode is DialMode.PREDICTIVE


async def test_given_a_thousand_connections_when_one_after_the_other_asks_twice_then_each_is_served():
    async with http_server(max_connections=1000) as (_, connect):
        clients = [await connect() for _ in range(1000)]

        for _ in range(2):
            for client in clients:
                await client.stream.send_all(STATUS)
            assert {(await client.answer()).status for client in clients} == {200}

        assert (await (await connect()).answer()).status == 503


async def test_given_a_storm_past_the_bound_when_it_is_over_then_there_is_room_and_the_log_is_short(ends):
    outcomes = []

    async def come(connect) -> None:
        try:
            client = await connect()
            answer = await client.ask(STATUS)
            outcomes.append(answer.status)
            await client.stream.aclose()
        except (EOFError, trio.BrokenResourceError):
            outcomes.append(None)  # dropped without a word

    async with http_server(max_connections=20) as (_, connect):
        with capture_logs() as logs:
            held = [await connect() for _ in range(20)]
            assert all([await is_served(client) for client in held])
            async with trio.open_nursery() as nursery:
                for _ in range(400):
                    nursery.start_soon(come, connect)
            await ends.reach(400)
        assert {*outcomes} <= {503, None}
        assert 503 in outcomes
        assert len([entry for entry in logs if entry["event"] == "http.connection_refused"]) <= 3
        assert all([await is_served(client) for client in held])

        for client in held:
            await client.stream.aclose()
        await ends.reach(420)
        outcomes.clear()
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(come, connect)
        assert outcomes == [200] * 20


async def test_given_a_long_pipeline_when_another_client_asks_meanwhile_then_it_does_not_wait_for_its_end():
    service = Counting()
    async with http_server(service) as (_, connect):
        greedy, other = await connect(), await connect()
        assert await is_served(other)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(greedy.stream.send_all, SET_MODE * 2000)
            await service.reach(1)
            assert await is_served(other)
            assert len(service.requests) < 2000

            assert {(await greedy.answer()).status for _ in range(2000)} == {200}


class Counting(FakeCampaigns):
    async def reach(self, count: int) -> None:
        while len(self.requests) < count:
            await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("cut", [1, 30, -1])
async def test_given_a_pipelined_request_in_two_pieces_when_the_rest_comes_then_both_are_answered(cut):
    async with http_server() as (service, connect):
        client = await connect()
        await client.stream.send_all(SET_MODE + SET_MODE[:cut])
        first = await client.answer()
        await client.stream.send_all(SET_MODE[cut:])

        assert (first.status, (await client.answer()).status) == (200, 200)
        assert len(service.requests) == 2


async def test_given_an_open_connection_when_served_then_the_kernel_watches_it(monkeypatch):
    seen = []
    handle = HttpEndpoint.handle

    async def look(endpoint, stream):
        options = partial(stream.socket.getsockopt, socket.IPPROTO_TCP)
        seen.append((stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), options(socket.TCP_KEEPIDLE)))
        seen.append((options(socket.TCP_KEEPINTVL), options(socket.TCP_KEEPCNT), options(socket.TCP_USER_TIMEOUT)))
        await handle(endpoint, stream)

    monkeypatch.setattr(HttpEndpoint, "handle", look)
    async with http_server() as (_, connect):
        assert await is_served(await connect())

    assert seen == [(1, 60), (10, 3, 90_000)]
