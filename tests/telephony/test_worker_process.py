"""The worker's loop with a scripted SIP stack: real Unix sockets, no SIP. `Worker.run` runs in a thread."""

import itertools
import math
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import pytest

from telephony.contract import (
    MAX_FRAME_BYTES,
    CommandFailed,
    FrameDecoder,
    HangUp,
    Hello,
    LegAnswered,
    LegEnded,
    LegPlaced,
    LegState,
    Ping,
    PlaceCall,
    Pong,
    Protect,
    WorkerEvent,
    WorkerSnapshot,
    encode_frame,
)
from telephony.leg import Answered, Failed, Released
from telephony.procs import listen_unix
from telephony.sdp import MediaAddress
from telephony.worker import process, roster
from telephony.worker.pj import CallNotPlaced
from telephony.worker.process import Worker

HANG_LIMIT_S = 20.0
MEDIA = MediaAddress("192.0.2.1", 4000)


class ScriptedStack:
    """``placed`` and ``hung_up`` say what the worker ordered; `far_end` says what happened. ``busy`` slots refuse."""

    capacity = 2
    timer_in_s: float | None = None

    def __init__(self) -> None:
        self.placed: list[str] = []
        self.hung_up: list[str] = []
        self.busy = 0
        self.asked: list = []
        self.releasing = self.in_a_hurry = False
        self._events: list = []
        self._wake, ear = socket.socketpair()
        ear.setblocking(False)
        self._ear = ear
        self.sip_fd = ear.fileno()

    def place(self, command, local) -> None:
        if self.busy:
            self.busy -= 1
            raise CallNotPlaced("too many calls", retryable=True)
        self.placed.append(command.leg_id)

    def reinvite(self, command) -> None:
        self.asked.append(command)

    refer = register = probe = reinvite

    def renew(self, registration_id) -> None:
        self.asked.append(("renew", registration_id))

    def release(self, registration_id) -> None:
        self.asked.append(("release", registration_id))

    def hang_up(self, leg_id, reason) -> None:
        self.hung_up.append(leg_id)
        self.far_end(leg_id, Released(time.monotonic()))

    def far_end(self, leg_id, event) -> None:
        self._events.append((leg_id, event))
        self._wake.send(b"x")

    def poll(self):
        with suppress(BlockingIOError):
            self._ear.recv(100)
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        self._wake.close()
        self._ear.close()


class Daemon:
    """A blocking peer of the worker."""

    def __init__(self, path: Path, hello: msgspec.Struct | None = None) -> None:
        self.stream = socket.socket(socket.AF_UNIX)
        self.stream.settimeout(HANG_LIMIT_S)
        self.stream.connect(str(path))
        self._decoder = FrameDecoder(WorkerEvent)
        self._messages: list[msgspec.Struct] = []
        self.say(hello or Hello("daemon"))

    def say(self, message: msgspec.Struct) -> None:
        self.stream.sendall(encode_frame(message))

    def hear(self, kind: type) -> msgspec.Struct:
        """The next message of this kind; EOFError when the worker has hung up on us."""
        while True:
            while self._messages:
                message = self._messages.pop(0)
                if isinstance(message, kind):
                    return message
            data = self.stream.recv(65536)
            if not data:
                raise EOFError
            self._messages += self._decoder.feed(data)

    def hears_the_end(self) -> bool:
        try:
            while self.stream.recv(65536):
                pass
        except ConnectionResetError:
            pass
        return True

    def __enter__(self) -> "Daemon":
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()


@contextmanager
def a_worker(
    path: Path, recycle_after: int = 1000, timer_in_s: float | None = None
) -> Iterator[tuple[ScriptedStack, Worker, threading.Thread]]:
    stack = ScriptedStack()
    stack.timer_in_s = timer_in_s
    listener = listen_unix(path)
    worker = Worker(stack, listener, "worker-0", recycle_after)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield stack, worker, thread
    finally:
        worker.stop()
        thread.join(HANG_LIMIT_S)
        listener.close()
        stack.close()
        assert not thread.is_alive()


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "worker-0.sock"


def a_call(leg_id: str, no_answer_s: float = 20.0) -> PlaceCall:
    return PlaceCall(leg_id, "sip:x@y", "sip:z@y", "192.0.2.9", 4000, no_answer_s)


def eventually(condition) -> None:
    until_s = time.monotonic() + HANG_LIMIT_S
    while not condition():
        assert time.monotonic() < until_s, "never happened"
        time.sleep(0.005)


@pytest.mark.parametrize(
    "data",
    [
        encode_frame(Hello("daemon", version=99)),
        encode_frame(Hello("worker")),
        encode_frame(Ping(1)),
        b"\x00\x00\x00\x03abc",
        (MAX_FRAME_BYTES + 1).to_bytes(4, "big"),
    ],
)
def test_given_a_peer_that_breaks_the_contract_when_it_connects_then_only_it_is_dropped(path, data):
    with a_worker(path), Daemon(path) as good:
        good.hear(WorkerSnapshot)
        with socket.socket(socket.AF_UNIX) as bad:
            bad.settimeout(HANG_LIMIT_S)
            bad.connect(str(path))
            bad.sendall(data)
            while bad.recv(1000):
                pass
        good.say(Ping(5))
        assert good.hear(Pong) == Pong(5)


@pytest.mark.parametrize("data", [b"\x00\x00\x00\x03abc", b"\xff\xff\xff\xff", encode_frame(Hello("daemon"))])
def test_given_a_daemon_that_breaks_the_contract_when_connected_then_dropped_and_its_legs_stay(path, data):
    with a_worker(path) as (stack, _, _):
        with Daemon(path) as daemon:
            daemon.say(a_call("a"))
            daemon.hear(LegPlaced)
            daemon.stream.sendall(data)
            assert daemon.hears_the_end()
        with Daemon(path) as daemon:
            assert [leg.leg_id for leg in daemon.hear(WorkerSnapshot).legs] == ["a"]
        assert stack.hung_up == []


def test_given_a_daemon_when_another_connects_then_it_is_replaced_and_the_new_one_has_the_legs(path):
    with a_worker(path) as (stack, _, _), Daemon(path) as first:
        first.say(a_call("a"))
        first.hear(LegPlaced)
        stack.far_end("a", Answered(5.0, MEDIA))
        first.hear(LegAnswered)
        with Daemon(path) as second:
            (leg,) = second.hear(WorkerSnapshot).legs
            assert first.hears_the_end()
            second.say(HangUp("a"))
            assert second.hear(LegEnded).ended_by == "local"
    assert (leg.state, leg.answered_at_s, leg.remote_rtp_port) == (LegState.ANSWERED, 5.0, 4000)


def test_given_a_busy_slot_when_a_call_is_placed_then_it_is_tried_again_until_it_leaves(path):
    with a_worker(path) as (stack, _, _), Daemon(path) as daemon:
        stack.busy = 3
        daemon.say(a_call("a"))
        assert daemon.hear(LegPlaced).leg_id == "a"
        assert stack.placed == ["a"]


def test_given_a_slot_that_stays_busy_when_the_limit_is_over_then_a_retryable_failure(path, monkeypatch):
    monkeypatch.setattr(process, "SLOT_RETRY_S", 0.05)
    with a_worker(path) as (stack, _, _), Daemon(path) as daemon:
        stack.busy = 10**9
        daemon.say(a_call("a"))
        failed = daemon.hear(CommandFailed)
        assert (failed.leg_id, failed.retryable, stack.placed) == ("a", True, [])


def test_given_a_call_waiting_for_a_slot_when_hung_up_then_no_invite_ever_leaves(path):
    with a_worker(path) as (stack, _, _), Daemon(path) as daemon:
        stack.busy = 10**9
        daemon.say(a_call("a"))
        daemon.say(HangUp("a"))
        failed = daemon.hear(CommandFailed)
        stack.busy = 0
        daemon.say(a_call("b"))
        daemon.hear(LegPlaced)
        assert (failed.leg_id, failed.retryable, stack.placed) == ("a", False, ["b"])


def test_given_a_leg_id_used_before_when_placed_again_then_refused_for_good(path):
    with a_worker(path) as (stack, _, _), Daemon(path) as daemon:
        for _ in range(2):
            daemon.say(a_call("a"))
        failed = daemon.hear(CommandFailed)
        assert (failed.retryable, stack.placed) == (False, ["a"])


def test_given_full_slots_when_placed_then_a_retryable_failure(path):
    with a_worker(path) as (_, _, _), Daemon(path) as daemon:
        for leg_id in "abc":
            daemon.say(a_call(leg_id))
        failed = daemon.hear(CommandFailed)
        assert (failed.leg_id, failed.retryable) == ("c", True)


def test_given_no_daemon_when_the_grace_is_over_then_conversations_stay_and_the_rest_is_hung_up(path, monkeypatch):
    monkeypatch.setattr(roster, "ORPHAN_GRACE_S", 0.1)
    with a_worker(path) as (stack, _, _):
        with Daemon(path) as daemon:
            daemon.say(a_call("talking"))
            daemon.say(Protect("talking", True))
            daemon.say(a_call("ringing"))
            daemon.hear(LegPlaced)
        eventually(lambda: stack.hung_up)
        with Daemon(path) as daemon:
            legs = {leg.leg_id: leg for leg in daemon.hear(WorkerSnapshot).legs}
            assert (legs["ringing"].state, legs["ringing"].ended_by) == (LegState.ENDED, "local")
            assert legs["talking"].state is LegState.CALLING
        assert stack.hung_up == ["ringing"]


def test_given_an_end_that_was_read_when_another_daemon_connects_then_it_is_not_told_again(path, monkeypatch):
    monkeypatch.setattr(process, "HEARTBEAT_S", 0.3)
    with a_worker(path) as (stack, _, _):
        with Daemon(path) as daemon:
            daemon.say(a_call("a"))
            daemon.say(a_call("b"))
            for _ in range(2):
                daemon.hear(LegPlaced)
            stack.far_end("a", Failed(time.monotonic(), 486))
            daemon.hear(LegEnded)
            daemon.say(Pong(daemon.hear(Ping).seq))  # the heartbeat after the end: everything before it was read
            stack.far_end("b", Failed(time.monotonic(), 486))
            daemon.hear(LegEnded)
        with Daemon(path) as daemon:
            assert [leg.leg_id for leg in daemon.hear(WorkerSnapshot).legs] == ["b"]


def test_given_no_call_then_one_then_one_that_waits_for_a_slot_when_the_worker_waits_then_ever_shorter(path):
    stack = ScriptedStack()
    listener = listen_unix(path)
    worker = Worker(stack, listener, "worker-0", 1000)
    now_s = time.monotonic()
    try:
        waits_s = [worker._wait_s(now_s)]
        worker._obey(a_call("a"), now_s)
        waits_s.append(worker._wait_s(now_s))
        stack.busy = 1
        worker._obey(a_call("b"), now_s)
        waits_s.append(worker._wait_s(now_s))
    finally:
        listener.close()
        stack.close()

    assert waits_s == [process.IDLE_TICK_S, process.LIVE_TICK_S, process.SLOT_TICK_S]


@pytest.mark.parametrize(
    ("timer_in_s", "wait_s"),
    [(0.0, 0.0), (0.3, 0.3), (7.0, process.LONGEST_WAIT_S), (math.inf, process.LONGEST_WAIT_S)],
)
def test_given_a_stack_that_tells_its_next_timer_when_the_worker_waits_then_for_that(path, timer_in_s, wait_s):
    stack = ScriptedStack()
    stack.timer_in_s = timer_in_s
    listener = listen_unix(path)
    worker = Worker(stack, listener, "worker-0", 1000)
    now_s = time.monotonic()
    try:
        idle_s = worker._wait_s(now_s)
        worker._obey(a_call("a"), now_s)
        live_s = worker._wait_s(now_s)
        stack.busy = 1
        worker._obey(a_call("b"), now_s)
        slot_s = worker._wait_s(now_s)
    finally:
        listener.close()
        stack.close()

    assert (idle_s, live_s, slot_s) == (wait_s, wait_s, min(wait_s, process.SLOT_TICK_S))


def test_given_a_worker_that_waits_when_it_is_told_to_stop_then_at_once(path, monkeypatch):
    monkeypatch.setattr(process, "LONGEST_WAIT_S", 3600.0)
    with a_worker(path, timer_in_s=3600.0) as (_, worker, thread), Daemon(path) as daemon:
        daemon.hear(WorkerSnapshot)
        worker.stop()
        thread.join(HANG_LIMIT_S)
        assert not thread.is_alive()


def test_given_a_no_answer_limit_when_the_worker_waits_then_not_past_it(path):
    stack = ScriptedStack()
    listener = listen_unix(path)
    worker = Worker(stack, listener, "worker-0", 1000)
    now_s = time.monotonic()
    try:
        worker._obey(a_call("a", no_answer_s=20.0), now_s)
        wait_s = worker._wait_s(now_s + 20.0 - 0.5 * process.LIVE_TICK_S)
    finally:
        listener.close()
        stack.close()

    assert wait_s == pytest.approx(0.5 * process.LIVE_TICK_S)


def test_given_a_silent_daemon_when_four_heartbeats_pass_then_it_is_dropped(path, monkeypatch):
    monkeypatch.setattr(process, "SILENCE_LIMIT_S", 0.1)
    with a_worker(path), Daemon(path) as daemon:
        daemon.hear(WorkerSnapshot)
        assert daemon.hears_the_end()


def test_given_a_stranger_without_hello_when_the_limit_is_over_then_it_is_dropped(path, monkeypatch):
    monkeypatch.setattr(process, "HELLO_LIMIT_S", 0.1)
    with a_worker(path), socket.socket(socket.AF_UNIX) as stranger:
        stranger.settimeout(HANG_LIMIT_S)
        stranger.connect(str(path))
        assert stranger.recv(100) == b""


def test_given_a_recycling_limit_when_idle_then_capacity_0_is_announced_and_it_leaves_once_all_was_read(
    path, monkeypatch
):
    monkeypatch.setattr(process, "HEARTBEAT_S", 0.1)
    with a_worker(path, recycle_after=1) as (stack, _, thread), Daemon(path) as daemon:
        assert daemon.hear(WorkerSnapshot).capacity == 2
        daemon.say(a_call("a"))
        daemon.hear(LegPlaced)
        stack.far_end("a", Failed(time.monotonic(), 486))
        daemon.hear(LegEnded)
        assert daemon.hear(WorkerSnapshot).capacity == 0
        daemon.say(a_call("b"))
        assert daemon.hear(CommandFailed).retryable
        assert thread.is_alive()
        for _ in itertools.count():
            try:
                daemon.say(Pong(daemon.hear(Ping).seq))
            except (EOFError, OSError):
                break
        thread.join(HANG_LIMIT_S)
        assert not thread.is_alive()
        assert stack.placed == ["a"]
