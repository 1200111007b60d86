"""Frames and links over real Unix sockets."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from telephony import link as link_module
from telephony.contract import (
    MAX_FRAME_BYTES,
    OLDEST_VERSION,
    PROTOCOL_VERSION,
    ContractError,
    FrameDecoder,
    HangUp,
    Hello,
    LegProgress,
    Ping,
    Pong,
    WorkerCommand,
    WorkerEvent,
    WorkerSnapshot,
    encode_frame,
)
from telephony.link import LinkLost, open_link

HANG_LIMIT_S = 20.0
Play = Callable[[trio.SocketStream], Awaitable[None]]


@asynccontextmanager
async def a_server(path: Path, play: Play, connections: int = 1) -> AsyncIterator[None]:
    """Serve one connection at ``path`` with ``play``, or several one after the other."""
    with trio.socket.socket(trio.socket.AF_UNIX) as sock:
        await sock.bind(os.fspath(path))
        sock.listen(1)

        async def serve() -> None:
            for _ in range(connections):
                stream, _ = await sock.accept()
                async with trio.SocketStream(stream) as connection:
                    await play(connection)

        with trio.fail_after(HANG_LIMIT_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(serve)
                try:
                    yield
                finally:
                    nursery.cancel_scope.cancel()


def a_link(path: Path):
    return open_link(path, "worker", WorkerEvent, WorkerSnapshot)


GREETING = encode_frame(Hello("worker", pid=5)) + encode_frame(WorkerSnapshot(4, ()))


async def test_given_a_worker_when_connected_then_hello_snapshot_events_in_order_and_pings_answered(tmp_path):
    heard = []

    async def play(stream):
        decoder = FrameDecoder(WorkerCommand)
        whole = GREETING + encode_frame(LegProgress("a", 180, 1.0)) + encode_frame(Ping(7))
        for index in range(len(whole)):  # byte by byte: frames arrive in pieces
            await stream.send_all(whole[index : index + 1])
        while len(heard) < 3:
            heard.extend(decoder.feed(await stream.receive_some(100)))

    async with a_server(tmp_path / "s", play), a_link(tmp_path / "s") as link:
        assert (link.hello.pid, link.snapshot.capacity) == (5, 4)
        assert await link.events.receive() == LegProgress("a", 180, 1.0)
        await link.send(HangUp("a"))
        assert [event async for event in link.events] == []

    assert heard[0] == Hello("daemon", pid=os.getpid())
    assert sorted(heard[1:], key=repr) == [HangUp("a"), Pong(7)]
    assert "closed" in link.lost


@pytest.mark.parametrize("says_hello_first", [True, False], ids=["as_media_servers", "as_workers"])
async def test_given_a_server_of_the_release_before_when_connected_then_the_daemon_comes_again_with_its_version(
    tmp_path, says_hello_first
):
    heard = []

    async def old_server(stream):
        decoder = FrameDecoder(WorkerCommand)
        if says_hello_first:
            await stream.send_all(encode_frame(Hello("worker", OLDEST_VERSION)))
        while not (greeting := decoder.feed(await stream.receive_some(100))):
            pass
        heard.extend(greeting)
        if not says_hello_first:
            await stream.send_all(encode_frame(Hello("worker", OLDEST_VERSION)))
        if greeting[0].version == OLDEST_VERSION:  # it refuses any other
            await stream.send_all(encode_frame(WorkerSnapshot(4, ())))
            await trio.sleep_forever()

    async with a_server(tmp_path / "s", old_server, connections=2), a_link(tmp_path / "s") as link:
        assert link.snapshot.capacity == 4

    assert heard == [Hello("daemon", version, os.getpid()) for version in (PROTOCOL_VERSION, OLDEST_VERSION)]


async def test_given_a_new_snapshot_when_it_arrives_then_the_link_shows_it(tmp_path):
    async def play(stream):
        await stream.send_all(GREETING + encode_frame(WorkerSnapshot(0, ())) + encode_frame(LegProgress("a", 180, 1.0)))
        await trio.sleep_forever()

    async with a_server(tmp_path / "s", play), a_link(tmp_path / "s") as link:
        await link.events.receive()
        assert link.snapshot.capacity == 0


@pytest.mark.parametrize(
    ("greeting", "why"),
    [
        (
            encode_frame(Hello("worker", PROTOCOL_VERSION + 1, 7, "worker-0")),
            r"worker-0 \(pid 7\) is of a newer release",
        ),
        (encode_frame(Hello("worker", OLDEST_VERSION - 1)), "of an older release.*Upgrade the daemon first"),
        (encode_frame(Hello("media")), "expected a worker"),
        (encode_frame(Ping(1)), "expected Hello"),
        (encode_frame(Hello("worker")) + encode_frame(Ping(1)), "expected a snapshot"),
        (b"\x00\x00\x00\x03abc", "malformed"),
        (b"\x00\x00\x00\x01\x80", "malformed"),
        ((MAX_FRAME_BYTES + 1).to_bytes(4, "big"), "limit"),
    ],
)
async def test_given_a_peer_that_breaks_the_contract_when_connecting_then_contract_error(tmp_path, greeting, why):
    async def play(stream):
        await stream.send_all(greeting)
        await trio.sleep_forever()

    async with a_server(tmp_path / "s", play):
        with pytest.raises(ContractError, match=why):
            async with a_link(tmp_path / "s"):
                pass


@pytest.mark.parametrize("frame", [b"\x00\x00\x00\x03abc", b"\xff\xff\xff\xff", encode_frame(Hello("worker"))])
async def test_given_a_link_when_the_peer_breaks_the_contract_then_the_link_ends_and_says_why(tmp_path, frame):
    async def play(stream):
        await stream.send_all(GREETING)
        await stream.receive_some(1000)  # the Hello, so that the frame meets a link that stands
        await met.wait()
        await stream.send_all(frame)
        await trio.sleep_forever()

    met = trio.Event()
    async with a_server(tmp_path / "s", play), a_link(tmp_path / "s") as link:
        met.set()
        assert [event async for event in link.events] == []
        assert link.lost
        with pytest.raises(LinkLost):
            await link.send(HangUp("a"))
        assert not link.send_nowait(HangUp("a"))


async def test_given_nobody_when_connecting_then_link_lost_says_that_nobody_listens(tmp_path):
    with pytest.raises(LinkLost) as caught:
        async with a_link(tmp_path / "s"):
            pass
    assert caught.value.nobody_listens


async def test_given_a_peer_that_neither_reads_nor_speaks_when_the_queue_is_full_then_the_link_is_lost(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(link_module, "HEARTBEAT_S", 0.05)
    monkeypatch.setattr(link_module, "SILENCE_LIMIT_S", 0.2)
    done = trio.Event()

    async def play(stream):
        await stream.send_all(GREETING)
        await done.wait()

    async with a_server(tmp_path / "w", play):
        async with a_link(tmp_path / "w") as link:
            while link.send_nowait(HangUp("x" * 1000)):
                await trio.lowlevel.checkpoint()
            while link.send_nowait(HangUp("x" * 1000)):
                pass  # what the writer took meanwhile
            assert [event async for event in link.events] == []
            assert "silent" in link.lost
        done.set()


async def test_given_a_peer_that_speaks_by_itself_when_time_passes_then_it_is_pinged_only_once_it_falls_silent(
    tmp_path, autojump_clock
):
    said, heard = trio.Event(), trio.Event()
    while_speaking: list[object] = []

    async def play(stream):
        decoder = FrameDecoder(WorkerCommand)
        await stream.send_all(GREETING)
        decoder.feed(await stream.receive_some(1000))  # its Hello
        for seq in range(6):
            await trio.sleep(0.75 * link_module.HEARTBEAT_S)
            await stream.send_all(encode_frame(Ping(seq)))
            while_speaking.extend(decoder.feed(await stream.receive_some(1000)))
        said.set()
        assert decoder.feed(await stream.receive_some(1000)) == [Ping(1)]
        heard.set()

    async with a_server(tmp_path / "w", play), a_link(tmp_path / "w"):
        await said.wait()
        assert while_speaking == [Pong(seq) for seq in range(6)]
        await heard.wait()


async def test_given_a_link_when_it_is_left_then_queued_commands_still_arrive(tmp_path):
    heard = []
    done = trio.Event()

    async def play(stream):
        await stream.send_all(GREETING)
        decoder = FrameDecoder(WorkerCommand)
        while data := await stream.receive_some(100):
            heard.extend(decoder.feed(data))
        done.set()

    async with a_server(tmp_path / "s", play):
        with trio.CancelScope() as scope:
            async with a_link(tmp_path / "s") as link:
                for n in range(100):
                    assert link.send_nowait(HangUp(str(n)))
                scope.cancel()
        await done.wait()

    assert heard[1:] == [HangUp(str(n)) for n in range(100)]


def test_given_a_message_above_the_limit_when_encoded_then_contract_error():
    with pytest.raises(ContractError):
        encode_frame(HangUp("a", "x" * (MAX_FRAME_BYTES + 1)))


@given(st.binary(max_size=200), st.integers(1, 50))
def test_given_any_bytes_when_decoded_then_messages_or_contract_error(data, step):
    decoder = FrameDecoder(WorkerCommand)
    try:
        for index in range(0, len(data), step):
            decoder.feed(data[index : index + step])
    except ContractError:
        pass
