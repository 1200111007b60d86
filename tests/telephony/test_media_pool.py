"""Several media servers: where calls go, and what one that dies or is drained costs. Scripted servers and real ones."""

import inspect
import os
import signal
import socket
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from telephony import media_client, media_pool
from telephony.api import ChannelLost, Media, MediaLost, NoCapacity
from telephony.contract import ChannelClosed, ChannelSnapshot, CloseChannel, GetStats, MediaSnapshot, MediaStats
from telephony.launcher import ensure_running, server_pids, stop
from telephony.media.server import main as server_main
from telephony.media.server import portion
from telephony.media_pool import MediaPool, load, open_media_servers, room_for_calls
from telephony.procs import is_listening
from tests.telephony.media_peer import free_port_range
from tests.telephony.test_media_client import FakeServer

HANG_LIMIT_S = 30.0


class Scripted(FakeServer):
    """``media-<number>.sock``, with a figure for its work."""

    def __init__(self, folder: Path, number: int, capacity: int = 20, work_p99_ms: float = 1.0, channels=()) -> None:
        super().__init__(folder / f"media-{number}.sock", capacity, 30000 + 1000 * number, channels)
        self.work_p99_ms = work_p99_ms

    async def _obey(self, command: msgspec.Struct) -> None:
        if isinstance(command, GetStats):
            count, work = len(self.channels), self.work_p99_ms
            await self.say(MediaStats(command.seq, count, 1, 0, 0.1, 0.2, work / 2, work, 3.0))
        else:
            await super()._obey(command)


async def until(true) -> None:
    with trio.fail_after(HANG_LIMIT_S):
        while not true():  # noqa: ASYNC110 - a poll is all a reader of properties has
            await trio.sleep(0.005)


async def open_calls(pool: MediaPool, count: int, prefix: str = "call") -> Counter[int]:
    """Open that many first legs; how many each server got."""
    names = [f"{prefix}-{place}" for place in range(count)]
    for name in names:
        await pool.open_channel(name)
    return Counter(pool.server_of(name) for name in names)


# --- the rule -------------------------------------------------------------------------------------------------------


@given(
    st.integers(0, 500),
    st.integers(1, 500),
    st.floats(0.0, 40.0, allow_nan=False),
    st.floats(0.0, 40.0, allow_nan=False),
)
def test_given_any_server_when_judged_then_more_channels_or_more_work_never_make_it_lighter(
    in_use, capacity, work_ms, more_ms
):
    assert load(in_use + 1, capacity, work_ms) > load(in_use, capacity, work_ms)
    assert load(in_use, capacity, work_ms + more_ms) >= load(in_use, capacity, work_ms)
    assert load(in_use, capacity, 0.0) == in_use / capacity


def test_given_a_capacity_when_filled_with_calls_then_a_tenth_is_left_for_second_legs():
    assert room_for_calls(0, 500) == 450
    assert room_for_calls(450, 500) == 0
    assert room_for_calls(0, 1) == 1, "the smallest server takes a call"
    assert room_for_calls(3, 0) < 0, "a drained one takes none"


@given(st.integers(1024, 60000), st.integers(1, 4000), st.integers(1, 64))
def test_given_a_port_range_when_divided_then_portions_are_equal_even_and_do_not_touch(first, size, parts):
    last = first + size
    try:
        portions = [portion(first, last, part, parts) for part in range(parts)]
    except ValueError:
        assert (last - first) // 2 < parts
        return
    pairs = [range(low, high + 1, 2) for low, high in portions]
    ports = [port for pair in pairs for port in pair]
    assert len(set(ports)) == len(ports)
    assert all(port % 2 == 0 and first <= port <= last for port in ports)
    assert len({len(pair) for pair in pairs}) == 1
    assert (last - first + 2) // 2 - len(ports) < parts + 1


def test_given_the_protocol_when_compared_then_a_pool_offers_all_of_it_with_the_same_arguments():
    methods = [name for name, kind in vars(Media).items() if not name.startswith("_") and callable(kind)]
    assert "open_channel" in methods
    for name in methods:
        wanted = list(inspect.signature(getattr(Media, name)).parameters)
        assert list(inspect.signature(getattr(MediaPool, name)).parameters) == wanted, name


# --- scripted servers -----------------------------------------------------------------------------------------------


async def test_given_two_servers_when_calls_come_then_they_are_shared_out_and_second_legs_go_beside_the_first(tmp_path):
    one, two = Scripted(tmp_path, 0), Scripted(tmp_path, 1)
    async with one.serve(), two.serve(), open_media_servers(tmp_path) as pool:
        assert (pool.capacity, pool.servers_connected) == (40, 2)
        assert await open_calls(pool, 8) == {0: 4, 1: 4}
        for place in range(8):
            agent = await pool.open_channel(f"agent-{place}", beside=f"call-{place}")
            assert pool.server_of(agent.channel_id) == pool.server_of(f"call-{place}")
        assert pool.in_use_by_server() == {0: 8, 1: 8}
        with pytest.raises(NoCapacity, match="already"):
            await pool.open_channel("call-0")


async def test_given_servers_of_different_size_when_calls_come_then_the_share_in_use_is_what_counts(tmp_path):
    large, small = Scripted(tmp_path, 0, capacity=30), Scripted(tmp_path, 1, capacity=10)
    async with large.serve(), small.serve(), open_media_servers(tmp_path) as pool:
        assert await open_calls(pool, 12) == {0: 9, 1: 3}


async def test_given_a_server_that_has_no_time_left_when_calls_come_then_they_go_to_the_other(tmp_path):
    slow, quick = Scripted(tmp_path, 0, work_p99_ms=18.0), Scripted(tmp_path, 1)
    async with slow.serve(), quick.serve(), open_media_servers(tmp_path) as pool:
        assert set(await pool.stats_by_server()) == {0, 1}
        assert await open_calls(pool, 14) == {1: 14}


async def test_given_two_servers_when_asked_for_figures_then_they_are_told_as_one(tmp_path):
    slow, quick = Scripted(tmp_path, 0, work_p99_ms=12.0), Scripted(tmp_path, 1)
    async with slow.serve(), quick.serve(), open_media_servers(tmp_path) as pool:
        await open_calls(pool, 5)
        stats = await pool.stats()
    assert (stats.channels, stats.analysing, stats.cpu_s) == (5, 2, 6.0)
    assert stats.tick_work_p99_ms == 12.0


async def test_given_a_full_server_when_a_second_leg_comes_then_the_reserve_serves_it_and_new_calls_are_refused(
    tmp_path,
):
    server = Scripted(tmp_path, 0, capacity=10)
    async with server.serve(), open_media_servers(tmp_path) as pool:
        await open_calls(pool, 9)
        with pytest.raises(NoCapacity):
            await pool.open_channel("one-too-many")
        await pool.open_channel("agent", beside="call-0")
        with pytest.raises(NoCapacity, match="full"):
            await pool.open_channel("another agent", beside="call-1")


async def test_given_a_server_that_is_drained_when_calls_come_then_only_second_legs_of_its_calls_go_there(tmp_path):
    one, two = Scripted(tmp_path, 0), Scripted(tmp_path, 1)
    async with one.serve(), two.serve(), open_media_servers(tmp_path) as pool:
        await open_calls(pool, 2)
        await one.say(MediaSnapshot("127.0.0.1", 0, ()))
        await until(lambda: pool.capacity == 20)
        assert await open_calls(pool, 5, "later") == {1: 5}
        await pool.open_channel("agent", beside="call-0")
        assert pool.server_of("agent") == 0


async def test_given_a_server_that_is_away_when_calls_come_then_the_other_takes_them_until_it_is_back(tmp_path):
    one, two = Scripted(tmp_path, 0), Scripted(tmp_path, 1)
    async with two.serve(), open_media_servers(tmp_path) as pool:
        async with one.serve():
            await until(lambda: pool.servers_connected == 2)
            kept = await pool.open_channel("kept")
            assert pool.server_of("kept") == 0
        await until(lambda: pool.servers_connected == 1)
        assert await open_calls(pool, 4) == {1: 4}
        assert kept.ended is False
        async with one.serve():
            await until(lambda: pool.servers_connected == 2)
            assert pool.server_of("kept") == 0
            assert await open_calls(pool, 2, "later") == {0: 2}


async def test_given_a_server_that_does_not_come_back_when_time_is_up_then_its_channels_are_lost_and_no_others(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(media_client, "RECOVERY_LIMIT_S", 0.1)
    one, two = Scripted(tmp_path, 0), Scripted(tmp_path, 1)
    async with two.serve(), open_media_servers(tmp_path) as pool:
        async with one.serve():
            await until(lambda: pool.servers_connected == 2)
            lost, kept = await pool.open_channel("a"), await pool.open_channel("b")
            assert (pool.server_of("a"), pool.server_of("b")) == (0, 1)
        with trio.fail_after(HANG_LIMIT_S):
            assert [type(event) async for event in lost.events] == [ChannelLost]
        assert pool.server_of("a") is None
        assert kept.ended is False
        assert await open_calls(pool, 2) == {1: 2}
        with pytest.raises(NoCapacity, match="already"):
            await pool.open_channel("b")
        again = await pool.open_channel("a-agent", beside="a")
        assert pool.server_of(again.channel_id) == 1, "beside what is gone there is no place to prefer"


async def test_given_no_server_when_a_call_comes_then_it_waits_for_one_and_not_for_ever(tmp_path, monkeypatch):
    async with open_media_servers(tmp_path) as pool, trio.open_nursery() as nursery:
        opened = []

        async def call() -> None:
            opened.append(await pool.open_channel("first"))

        nursery.start_soon(call)
        await trio.testing.wait_all_tasks_blocked()
        server = Scripted(tmp_path, 3)
        async with server.serve():
            await until(lambda: opened)
            assert pool.server_of("first") == 3
            await opened[0].close()
            await until(lambda: pool.in_use == 0)
        server.path.unlink()
        await until(lambda: pool.in_use_by_server() == {})
        monkeypatch.setattr(media_pool, "CONNECT_WAIT_S", 0.02)
        with pytest.raises(MediaLost, match="no media server"):
            await pool.open_channel("second")


async def test_given_a_daemon_that_starts_again_when_it_connects_then_channels_of_all_servers_are_found(tmp_path):
    found = {0: [ChannelSnapshot("a", 30000, bridged_to="a-agent"), ChannelSnapshot("a-agent", 30002, bridged_to="a")]}
    found[1] = [ChannelSnapshot("b", 31000), ChannelSnapshot("stray", 31002)]
    one, two = (Scripted(tmp_path, number, channels=channels) for number, channels in found.items())
    async with one.serve(), two.serve(), open_media_servers(tmp_path) as pool:
        assert {channel.channel_id for channel in pool.live_channels()} == {"a", "a-agent", "b", "stray"}
        a, b = pool.adopt("a"), pool.adopt("b")
        assert (a.port, b.port, pool.server_of("a"), pool.server_of("b")) == (30000, 31000, 0, 1)
        assert pool.adopt("unknown") is None
        assert await pool.close_unclaimed() == 2
        await until(lambda: pool.in_use == 2)
        third = Scripted(tmp_path, 2, channels=[ChannelSnapshot("late", 32000)])
        async with third.serve():
            await third.heard(1)
            assert third.commands == [CloseChannel("late")], "brought to light after everything was claimed"


# --- real processes -------------------------------------------------------------------------------------------------


class Voice:
    """One side of a call: sends 20 ms packets when told, and counts what it hears."""

    def __init__(self, port: int) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.setblocking(False)
        self.port = self.sock.getsockname()[1]
        self._to = ("127.0.0.1", port)
        self._seq = 0
        self.heard: list[int] = []
        """Numbers of the packets in which the other side spoke."""

    def step(self) -> None:
        self._seq += 1
        head = bytes((0x80, 0)) + self._seq.to_bytes(2, "big") + (160 * self._seq).to_bytes(4, "big") + b"\0\0\0\7"
        self.sock.sendto(head + bytes([0x90 + self._seq % 16]) * 160, self._to)
        try:
            while True:
                # Loud u-law codes are the other side's voice; comfort noise and silence are not.
                payload = np.frombuffer(self.sock.recv(2048)[12:], np.uint8)
                if len(payload) == 160 and ((payload >= 0x90) & (payload < 0xA0)).mean() > 0.9:
                    self.heard.append(self._seq)
        except (BlockingIOError, ConnectionRefusedError):
            pass


def heard_more(voices: list[Voice], frames: int = 25) -> Callable[[], bool]:
    """Has each of them heard half a second of its partner since now?"""
    before = [len(voice.heard) for voice in voices]
    return lambda: all(len(voice.heard) >= count + frames for voice, count in zip(voices, before, strict=True))


async def talk(voices: list[Voice], stopped: trio.Event) -> None:
    while not stopped.is_set():
        for voice in voices:
            voice.step()
        await trio.sleep(0.02)


@pytest.fixture
def two_servers(tmp_path):
    ports = tuple(int(port) for port in free_port_range(16).split("-"))

    def start() -> None:
        ensure_running(tmp_path, legs=1, rtp_ports=ports, media_servers=2, media_capacity=8)

    start()
    yield tmp_path, start
    stop(tmp_path)


async def conversation(pool: MediaPool, name: str) -> list[Voice]:
    customer = await pool.open_channel(name)
    agent = await pool.open_channel(f"{name}-agent", beside=name)
    voices = []
    for channel in (customer, agent):
        voice = Voice(channel.port)
        voices.append(voice)
        await channel.set_remote("127.0.0.1", voice.port)
    await customer.bridge(agent)
    return voices


async def test_given_two_servers_when_one_is_killed_then_others_talk_on_and_its_calls_are_heard_again(two_servers):
    folder, start = two_servers
    with trio.fail_after(HANG_LIMIT_S):
        async with open_media_servers(folder) as pool, trio.open_nursery() as nursery:
            assert pool.servers_connected == 2
            calls = {name: await conversation(pool, name) for name in "abcd"}
            homes = {name: pool.server_of(name) for name in calls}
            assert Counter(homes.values()) == {0: 2, 1: 2}
            stopped = trio.Event()
            nursery.start_soon(talk, [voice for pair in calls.values() for voice in pair], stopped)
            await until(lambda: all(len(voice.heard) > 10 for pair in calls.values() for voice in pair))

            os.kill(server_pids(folder)["media-0"], signal.SIGKILL)
            await until(lambda: pool.servers_connected == 1)
            assert await open_calls(pool, 2) == {1: 2}, "no new call goes to the dead one"
            survivors = [voice for name, pair in calls.items() if homes[name] == 1 for voice in pair]
            await until(heard_more(survivors))  # while the other one is dead
            started = heard_more([voice for pair in calls.values() for voice in pair])
            await trio.to_thread.run_sync(start)
            await until(lambda: pool.servers_connected == 2)
            await until(started)
            stopped.set()

        for pair in calls.values():
            for voice in pair:
                voice.sock.close()


async def test_given_two_servers_when_one_is_drained_then_its_last_call_ends_it_and_a_new_one_takes_over(two_servers):
    folder, start = two_servers
    with trio.fail_after(HANG_LIMIT_S):
        async with open_media_servers(folder) as pool:
            last = await pool.open_channel("last")
            assert pool.server_of("last") == 0
            old = server_pids(folder)["media-0"]
            os.kill(old, signal.SIGUSR1)
            await until(lambda: pool.capacity == 8)
            assert await open_calls(pool, 3) == {1: 3}
            agent = await pool.open_channel("agent", beside="last")
            assert pool.server_of("agent") == 0
            assert is_listening(folder / "media-0.sock"), "it waits for its last call"
            for channel in (agent, last):
                await channel.close()
                assert [type(event) async for event in channel.events] == [ChannelClosed]
            await until(lambda: "media-0" not in server_pids(folder))
            await trio.to_thread.run_sync(start)
            await until(lambda: pool.capacity == 16)
            assert server_pids(folder)["media-0"] != old
            assert await open_calls(pool, 1, "new") == {0: 1}


@pytest.mark.parametrize("part", ["2/2", "1", "-1/2", "a/b", "0/0", "0/2/3"])
def test_given_a_wrong_part_when_started_then_it_is_refused_with_what_is_allowed(part, tmp_path, capsys):
    with pytest.raises(SystemExit) as refused:
        server_main(["--run-dir", str(tmp_path), f"--part={part}"])

    assert refused.value.code == 2
    assert "expected NUMBER/COUNT" in capsys.readouterr().err


def test_given_more_servers_than_ports_when_started_then_it_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        server_main(["--run-dir", str(tmp_path), "--rtp-ports", "20000-20003", "--part", "0/3"])

    assert "too few for 3 media servers" in capsys.readouterr().err
