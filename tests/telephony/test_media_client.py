"""The media client against a tiny scripted server on a real Unix socket."""

import math
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio

from telephony import media_client
from telephony.api import ChannelLost, MediaLost, NoCapacity
from telephony.contract import (
    AnalysisSettings,
    Bridge,
    ChannelClosed,
    ChannelFailed,
    ChannelOpened,
    ChannelSnapshot,
    CloseChannel,
    FrameDecoder,
    GetStats,
    Hello,
    MediaCommand,
    MediaSnapshot,
    MediaStats,
    OpenChannel,
    Ping,
    Play,
    Pong,
    PromptFinished,
    RecordingFinished,
    SetRemote,
    StartAnalysis,
    StopAnalysis,
    StopPlaying,
    Unbridge,
    Verdict,
    VerdictKind,
    encode_frame,
)
from telephony.media_client import MediaClient, open_media

HANG_LIMIT_S = 20.0


class FakeServer:
    """Answers like a media server; keeps its channels as long as the object lives, so `serve` may be left and
    entered again (a broken link), while a new object is a restarted server."""

    def __init__(self, path: Path, capacity: int = 10, first_port: int = 30000, channels=()) -> None:
        self.path = path
        self.capacity = capacity
        self.next_port = first_port
        self.channels: dict[str, ChannelSnapshot] = {each.channel_id: each for each in channels}
        self.commands: list[msgspec.Struct] = []
        self.refuse_ports: set[int] = set()
        self.recorded: tuple[RecordingFinished, ...] = ()
        self.closed: tuple[ChannelClosed, ...] = ()
        self._stream: trio.SocketStream | None = None
        self._seen = trio.Condition()

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[None]:
        self.path.unlink(missing_ok=True)
        with trio.socket.socket(trio.socket.AF_UNIX) as sock:
            await sock.bind(os.fspath(self.path))
            sock.listen(1)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._accept, sock)
                try:
                    yield
                finally:
                    nursery.cancel_scope.cancel()

    async def _accept(self, sock) -> None:
        while True:
            stream, _ = await sock.accept()
            async with trio.SocketStream(stream) as self._stream:
                await self.say(Hello("media", pid=1))
                channels = tuple(self.channels.values())
                await self.say(MediaSnapshot("127.0.0.1", self.capacity, channels, self.recorded, self.closed))
                decoder = FrameDecoder(MediaCommand)
                try:
                    while data := await self._stream.receive_some(4096):
                        for command in decoder.feed(data):
                            await self._obey(command)
                except trio.BrokenResourceError:
                    continue

    async def say(self, message: msgspec.Struct) -> None:
        await self._stream.send_all(encode_frame(message))

    async def _obey(self, command: msgspec.Struct) -> None:
        match command:
            case OpenChannel(channel_id=channel_id, local_port=port):
                if len(self.channels) >= self.capacity or port in self.refuse_ports:
                    await self.say(ChannelFailed(channel_id, "full"))
                else:
                    port, self.next_port = port or self.next_port, self.next_port + 2
                    self.channels[channel_id] = ChannelSnapshot(channel_id, port)
                    await self.say(ChannelOpened(channel_id, "127.0.0.1", port))
            case CloseChannel(channel_id=channel_id) if channel_id in self.channels:
                del self.channels[channel_id]
                await self.say(ChannelClosed(channel_id, 1, 2, 0, 0))
            case GetStats(seq=seq):
                await self.say(MediaStats(seq, len(self.channels), 0, 0, 0.0, 0.0, 0.0, 0.0, 0.0))
            case Ping(seq=seq):
                await self.say(Pong(seq))
        if not isinstance(command, Hello | Ping | Pong):
            async with self._seen:
                self.commands.append(command)
                self._seen.notify_all()

    async def heard(self, count: int) -> list[msgspec.Struct]:
        """The commands, once there are so many."""
        with trio.fail_after(HANG_LIMIT_S):
            async with self._seen:
                while len(self.commands) < count:
                    await self._seen.wait()
        return list(self.commands)


async def lost_link(media: MediaClient) -> None:
    with trio.fail_after(HANG_LIMIT_S):
        while media.connected:  # noqa: ASYNC110 - a poll is all a reader of the property has
            await trio.sleep(0.005)


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "media-0.sock"


async def test_given_a_channel_when_used_then_every_command_arrives_in_order(path):
    server = FakeServer(path)
    async with server.serve(), open_media(path.parent) as media:
        a, b = await media.open_channel("a"), await media.open_channel("b", local_port=31000)
        assert (a.host, a.port, b.port) == ("127.0.0.1", 30000, 31000)
        await a.set_remote("192.0.2.1", 4000, 8)
        await a.start_analysis(connected=False)
        await a.stop_analysis()
        await a.play("drop")
        await a.stop_playing()
        await a.bridge(b)
        await a.unbridge()
        await a.close()
        commands = await server.heard(10)
        assert [event async for event in a.events] == [ChannelClosed("a", 1, 2, 0, 0)]
        assert (media.in_use, media.capacity) == (1, 10)

    assert commands == [
        OpenChannel("a"),
        OpenChannel("b", 31000),
        SetRemote("a", "192.0.2.1", 4000, 8),
        StartAnalysis("a", False, AnalysisSettings()),
        StopAnalysis("a"),
        Play("a", "drop"),
        StopPlaying("a"),
        Bridge("a", "b"),
        Unbridge("a"),
        CloseChannel("a"),
    ]


async def test_given_a_full_server_when_a_channel_is_opened_then_no_capacity(path):
    server = FakeServer(path, capacity=0)
    async with server.serve(), open_media(path.parent) as media:
        with pytest.raises(NoCapacity, match="full"):
            await media.open_channel("a")
        assert media.in_use == 0


async def test_given_no_server_when_a_channel_is_opened_then_media_lost(path, autojump_clock):
    async with open_media(path.parent) as media:
        with pytest.raises(MediaLost):
            await media.open_channel("a")
        with pytest.raises(MediaLost):
            await media.stats()


async def test_given_channels_that_ended_when_taken_then_each_once_whoever_held_them_and_however_often_told(path):
    server = FakeServer(path)
    earlier, held, nobodys = (ChannelClosed(name, 5, 5, 0, 0) for name in ("earlier", "held", "nobodys"))
    server.closed = (earlier,)
    async with open_media_after(server) as (media, leave):
        channel = await media.open_channel("held")
        for event in (held, nobodys, held):
            await server.say(event)
        assert await channel.events.receive() == held
        await media.stats()
        assert media.take_closed() == [earlier, held, nobodys]
        await leave()
        await lost_link(media)
        server.channels.clear()
        server.closed = (earlier, held, nobodys, last := ChannelClosed("last", 5, 5, 0, 0))
        async with server.serve():
            await media.reachable()
            assert media.take_closed() == [last]
            assert media.take_closed() == []


async def test_given_events_when_the_server_sends_them_then_the_channel_has_them_and_a_complaint_does_not_end_it(path):
    server = FakeServer(path)
    told = [
        Verdict("a", VerdictKind.MACHINE, "long greeting", 5.0, True, evidence={"greeting_s": 3.2}),
        ChannelFailed("a", "no such prompt"),
        PromptFinished("a", "drop"),
    ]
    async with server.serve(), open_media(path.parent) as media:
        a = await media.open_channel("a")
        for event in told:
            await server.say(event)
        assert [await a.events.receive() for _ in told] == told
        assert (await media.stats()).channels == 1


async def test_given_two_bridged_and_one_analysed_channel_when_the_server_restarts_then_all_is_as_before(path):
    first, second = FakeServer(path), FakeServer(path, first_port=39000)
    async with open_media_after(first) as (media, leave_first):
        a, b, c = [await media.open_channel(name) for name in "abc"]
        await a.set_remote("192.0.2.1", 4000)
        await a.bridge(b)
        await c.start_analysis(connected=True, settings=AnalysisSettings(timeguard_ms=500))
        await first.heard(6)
        await leave_first()
        await lost_link(media)
        await b.set_remote("192.0.2.2", 4002)  # while nobody is there
        async with second.serve():
            commands = await second.heard(7)
            assert [channel.port for channel in (a, b, c)] == [30000, 30002, 30004]
            await second.say(Verdict("c", VerdictKind.HUMAN, "hello", math.inf, True))
            assert (await c.events.receive()).kind is VerdictKind.HUMAN

    assert sorted(commands[:-1], key=repr) == sorted(
        [
            OpenChannel("a", 30000),
            SetRemote("a", "192.0.2.1", 4000),
            OpenChannel("b", 30002),
            SetRemote("b", "192.0.2.2", 4002),
            OpenChannel("c", 30004),
            StartAnalysis("c", True, AnalysisSettings(timeguard_ms=500)),
        ],
        key=repr,
    )
    assert commands[-1] == Bridge("a", "b")


@asynccontextmanager
async def open_media_after(server: FakeServer):
    """A client, and a way to take this server away from under it."""
    with trio.fail_after(HANG_LIMIT_S):
        async with trio.open_nursery() as nursery:
            gone, leave = trio.Event(), trio.Event()

            async def serve(task_status=trio.TASK_STATUS_IGNORED) -> None:
                async with server.serve():
                    task_status.started()
                    await leave.wait()
                gone.set()

            async def take_away() -> None:
                leave.set()
                await gone.wait()

            await nursery.start(serve)
            async with open_media(server.path.parent) as media:
                yield media, take_away
            leave.set()


async def test_given_a_channel_whose_old_port_is_taken_when_the_server_restarts_then_channel_lost(path):
    first, second = FakeServer(path), FakeServer(path)
    second.refuse_ports = {30000}
    async with open_media_after(first) as (media, leave_first):
        a, b = await media.open_channel("a"), await media.open_channel("b")
        await leave_first()
        await lost_link(media)
        async with second.serve():
            (event,) = [event async for event in a.events]
            await b.set_remote("192.0.2.2", 4002)
            await second.heard(3)

    assert isinstance(event, ChannelLost)
    assert list(second.channels) == ["b"]


async def test_given_a_server_that_never_returns_when_the_limit_is_over_then_every_channel_is_lost(path, monkeypatch):
    monkeypatch.setattr(media_client, "RECOVERY_LIMIT_S", 0.1)
    server = FakeServer(path)
    async with open_media_after(server) as (media, leave):
        a = await media.open_channel("a")
        await leave()
        events = [event async for event in a.events]
        assert media.in_use == 0

    assert [type(event) for event in events] == [ChannelLost]


async def test_given_a_broken_link_when_the_same_server_is_back_then_only_differences_and_the_missed_verdict(path):
    server = FakeServer(path)
    async with open_media_after(server) as (media, leave):
        a, b = await media.open_channel("a"), await media.open_channel("b")
        await a.set_remote("192.0.2.1", 4000)
        await a.start_analysis(connected=True)
        await server.heard(4)
        await leave()
        await lost_link(media)
        server.channels["a"] = ChannelSnapshot(
            "a", 30000, "192.0.2.1", 4000, verdict=VerdictKind.FAX, verdict_at_s=math.inf
        )
        server.commands.clear()
        await b.bridge(a)
        async with server.serve():
            assert (await a.events.receive()).kind is VerdictKind.FAX
            assert await server.heard(1) == [Bridge("a", "b")]


async def test_given_channels_of_an_earlier_daemon_when_adopted_then_they_are_ours_and_the_rest_can_be_closed(path):
    found = (
        ChannelSnapshot("a", 30000, "192.0.2.1", 4000, bridged_to="b", verdict=VerdictKind.HUMAN, verdict_at_s=3.0),
        ChannelSnapshot("b", 30002, bridged_to="a"),
        ChannelSnapshot("c", 30004),
    )
    server = FakeServer(path, channels=found)
    async with server.serve(), open_media(path.parent) as media:
        assert media.live_channels() == list(found)
        a, b = media.adopt("a"), media.adopt("b")
        assert (a.port, b.port, media.adopt("x"), media.adopt("a")) == (30000, 30002, None, None)
        assert (await a.events.receive()).kind is VerdictKind.HUMAN
        assert await media.close_unclaimed() == 1
        await b.unbridge()
        assert await server.heard(2) == [CloseChannel("c"), Unbridge("b")]


async def test_given_start_up_is_over_when_a_server_comes_with_strange_channels_then_they_are_closed(path):
    server = FakeServer(path)
    async with open_media(path.parent) as media:
        async with server.serve():
            own = await media.open_channel("own")
            assert await media.close_unclaimed() == 0
        await lost_link(media)
        server.channels["stray"] = ChannelSnapshot("stray", 30008)
        server.commands.clear()
        async with server.serve():
            assert await server.heard(1) == [CloseChannel("stray")]
            assert own.port
