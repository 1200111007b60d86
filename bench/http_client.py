"""Clients for measurements of the control port: plain sockets in one loop, so that little of what they see is theirs.

- `closed_loop`: each connection asks again as soon as it is answered: what the server can do.
- `open_loop`: requests leave by a schedule whatever became of the ones before, and latency counts from the scheduled
  instant; a server that stands still for a second is charged for everything that was to be asked in it.
- `Crowd`: holds connections of many kinds: good ones that ask now and then, slow senders, dead ones, such that never
  read.
"""

import ctypes
import random
import selectors
import socket
import struct
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

Asked: TypeAlias = tuple[str, bytes]
"""Kind of a request, and its bytes."""

ANSWER_LIMIT_S = 30.0
TURNS_PER_S = 20
"""Those that do something once a second do not all do it at the same time."""
DEAF_BYTES_PER_S = 1024
"""About 10 requests a second, once the buffers are full."""
DEAF_BUFFER_BYTES = 4096
OVERTIME_S = 5.0
"""How long after the last request answers are still waited for."""
SO_ATTACH_FILTER = 26
"""socket(7); the socket module has no name for it."""


def request(method: str, target: str, body: bytes = b"") -> bytes:
    head = f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\nAccept: */*\r\n"
    if method == "POST":
        head += f"Content-type: application/json\r\nContent-length: {len(body)}\r\n"
    return f"{head}\r\n".encode() + body


def go_dark(connection: socket.socket) -> None:
    """From now on our kernel drops what arrives, unacknowledged: like a host that lost its power."""
    drop_all = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # BPF: keep 0 bytes of the packet
    connection.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", 1, ctypes.addressof(drop_all)))


def milliseconds(latencies_s: Iterable[float]) -> dict[str, float | int | None]:
    values = list(latencies_s)
    if not values:
        return {"count": 0, "p50": None, "p99": None, "max": None}
    p50, p99 = np.percentile(values, (50, 99)) * 1000.0
    return {
        "count": len(values),
        "p50": round(float(p50), 2),
        "p99": round(float(p99), 2),
        "max": round(max(values) * 1000, 2),
    }


def answer_length(data: bytes | bytearray) -> int | None:
    """Bytes of the first answer in ``data``; None while its header is not complete."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    at = data.find(b"\r\nContent-length: ", 0, end + 2)
    return end + 4 + (int(data[at + 18 : data.index(b"\r", at + 18)]) if at >= 0 else 0)


class Line:
    """One persistent connection with at most one request under way."""

    def __init__(self, port: int, buffer_bytes: int = 0) -> None:
        self.socket = socket.socket()
        if buffer_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer_bytes)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.kind = ""
        self.due_s = 0.0
        self._data = bytearray()

    def ask(self, asked: Asked, due_s: float) -> None:
        self.kind, self.due_s = asked[0], due_s
        self.socket.sendall(asked[1])

    def take(self) -> int | None:
        """Read; the status when the answer is whole, 0 when the server has closed."""
        data = self.socket.recv(65536)
        if not data:
            return 0
        self._data += data
        length = answer_length(self._data)
        if length is None or len(self._data) < length:
            return None
        status = int(self._data[9:12])
        del self._data[:length]
        return status


@dataclass(slots=True)
class Seen:
    """Latencies by kind in seconds, and how many of each status by kind."""

    latencies_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    statuses: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    late_s: list[float] = field(default_factory=list)
    """How much later than scheduled a request left."""

    def take(self, line: Line, status: int, now_s: float) -> None:
        if status == 0:
            raise ConnectionError(f"the server closed a connection instead of answering {line.kind}")
        self.latencies_s[line.kind].append(now_s - line.due_s)
        self.statuses[line.kind][status] += 1

    def figures(self) -> dict[str, Any]:
        return {
            "all_ms": milliseconds(value for values in self.latencies_s.values() for value in values),
            "by_kind_ms": {kind: milliseconds(values) for kind, values in sorted(self.latencies_s.items())},
            "statuses": {kind: dict(sorted(count.items())) for kind, count in sorted(self.statuses.items())},
            "left_late_ms": milliseconds(self.late_s),
        }


def closed_loop(port: int, requests: Iterator[Asked], connections: int, seconds: float) -> dict[str, Any]:
    """Ask as fast as answers come; figures with ``requests_per_s``."""
    seen, selector = Seen(), selectors.DefaultSelector()
    lines = [Line(port) for _ in range(connections)]
    for line in lines:
        selector.register(line.socket, selectors.EVENT_READ, line)
    began_s = time.perf_counter()
    until_s, open_lines = began_s + seconds, 0
    for line in lines:
        line.ask(next(requests), time.perf_counter())
        open_lines += 1
    while open_lines:
        events = selector.select(ANSWER_LIMIT_S)
        if not events:
            raise TimeoutError(f"no answer within {ANSWER_LIMIT_S} s")
        for key, _ in events:
            line = key.data
            status = line.take()
            if status is None:
                continue
            now_s = time.perf_counter()
            seen.take(line, status, now_s)
            if now_s < until_s:
                line.ask(next(requests), now_s)
            else:
                open_lines -= 1
    took_s = time.perf_counter() - began_s
    for line in lines:
        line.socket.close()
    answered = sum(map(len, seen.latencies_s.values()))
    rate = round(answered / took_s)
    return {"requests_per_s": rate, "asked": answered, "connections": connections, **seen.figures()}


def open_loop(
    port: int, requests: Iterator[Asked], per_s: float, connections: int, seconds: float, seed: int
) -> dict[str, Any]:
    """Ask ``per_s`` times a second in the mean, with exponential times between two; figures."""
    seen, drawn = Seen(), random.Random(seed)
    # select(2) waits for microseconds; epoll_wait(2), in whole milliseconds, would make every request late.
    selector = selectors.SelectSelector()
    idle = [Line(port) for _ in range(connections)]
    for line in idle:
        selector.register(line.socket, selectors.EVENT_READ, line)
    waiting: deque[float] = deque()
    under_way = 0
    began_s = time.perf_counter()
    due_s, until_s = began_s + drawn.expovariate(per_s), began_s + seconds
    while due_s < until_s or waiting or under_way:
        now_s = time.perf_counter()
        if now_s >= until_s + OVERTIME_S:
            break
        while due_s <= now_s and due_s < until_s:
            waiting.append(due_s)
            due_s += drawn.expovariate(per_s)
        while waiting and idle:
            line, scheduled_s = idle.pop(), waiting.popleft()
            seen.late_s.append(time.perf_counter() - scheduled_s)
            line.ask(next(requests), scheduled_s)
            under_way += 1
        wake_s = due_s if due_s < until_s else until_s + OVERTIME_S
        events = selector.select(max(0.0, wake_s - time.perf_counter()))
        now_s = time.perf_counter()
        for key, _ in events:
            line = key.data
            if (status := line.take()) is not None:
                seen.take(line, status, now_s)
                idle.append(line)
                under_way -= 1
    # What was not answered has waited until now at least.
    for scheduled_s in waiting:
        seen.latencies_s["unanswered"].append(now_s - scheduled_s)
    for key in selector.get_map().values():
        if key.data not in idle:
            seen.latencies_s["unanswered"].append(now_s - key.data.due_s)
            seen.statuses["unanswered"][0] += 1
        key.data.socket.close()
    return {"requests_per_s": round(len(seen.late_s) / seconds, 1), "connections": connections, **seen.figures()}


class Stream:
    """A connection on which one request follows the other whatever comes back; ``place``: where it is in one."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.place = 0

    def send(self, asked: bytes, size: int) -> int:
        """Send up to ``size`` bytes of requests; how many went out."""
        rest = (asked[self.place :] + asked * (size // len(asked) + 1))[:size]
        sent = self.line.socket.send(rest)
        self.place = (self.place + sent) % len(asked)
        return sent


@dataclass(frozen=True, slots=True)
class Guests:
    """How many connections of which kind; ``asks_every_s``: how often a good one asks."""

    good: int = 800
    slow: int = 100
    dead: int = 50
    deaf: int = 50
    asks_every_s: float = 10.0

    @property
    def total(self) -> int:
        return self.good + self.slow + self.dead + self.deaf


class Crowd:
    """
    Connections of many kinds, held by one loop. Connections that the server closes are opened again, but dead ones.

    A slow client sends a byte a second; a deaf one asks for more and more and reads nothing; a dead one has asked
    once and its host is gone.
    """

    def __init__(self, port: int, guests: Guests, asked: bytes) -> None:
        self._port, self._guests, self._asked = port, guests, asked
        self._selector = selectors.DefaultSelector()
        self.counts: Counter[str] = Counter()
        self.latencies_s: list[float] = []
        self._turn = 0
        self._good = [self._line() for _ in range(guests.good)]
        self._asking: set[Line] = set()
        self._slow = {line: Stream(line) for line in (self._line() for _ in range(guests.slow))}
        self._deaf = [self._deaf_one() for _ in range(guests.deaf)]
        for deaf in self._deaf:
            with suppress(BlockingIOError):
                while True:
                    self.counts["unread_bytes_asked"] += deaf.send(asked, DEAF_BUFFER_BYTES)
        self._dead: list[Line] = []
        for _ in range(guests.dead):
            dead = self._line()
            dead.socket.sendall(asked)
            while dead.take() is None:
                pass
            self._selector.unregister(dead.socket)
            go_dark(dead.socket)
            self._dead.append(dead)

    def _line(self) -> Line:
        line = Line(self._port)
        self._selector.register(line.socket, selectors.EVENT_READ, line)
        return line

    def _deaf_one(self) -> Stream:
        deaf = Stream(Line(self._port, DEAF_BUFFER_BYTES))
        deaf.line.socket.setblocking(False)
        return deaf

    def run(self, seconds: float, stop: Any = None) -> None:
        """Hold everything for ``seconds``, or until ``stop`` (a Connection) has something to read."""
        began_s = time.perf_counter()
        every_s = self._guests.asks_every_s / max(1, self._guests.good)
        next_good_s = next_slow_s = began_s
        turn = 0
        while (now_s := time.perf_counter()) < began_s + seconds and not (stop is not None and stop.poll()):
            while self._good and next_good_s <= now_s:
                line = self._good[turn % len(self._good)]
                turn += 1
                next_good_s += every_s
                if line not in self._asking:
                    self._asking.add(line)
                    self.counts["asked"] += 1
                    line.ask(("good", self._asked), time.perf_counter())
            if next_slow_s <= now_s:
                next_slow_s += 1.0 / TURNS_PER_S
                self._drip()
                self._shout()
                self._turn = (self._turn + 1) % TURNS_PER_S
            for key, _ in self._selector.select(max(0.0, min(next_good_s, next_slow_s) - time.perf_counter())):
                self._hear(key.data)

    def _hear(self, line: Line) -> None:
        try:
            status = line.take()
        except ConnectionError:
            status = 0
        if status is None:
            return
        if line in self._asking:
            self._asking.discard(line)
            self.counts["answered" if status == 200 else f"answered_{status}"] += 1
            self.latencies_s.append(time.perf_counter() - line.due_s)
        elif status:
            self.counts[f"slow_answered_{status}"] += 1
        if status == 0:
            self._selector.unregister(line.socket)
            line.socket.close()
            if line in self._good:
                self.counts["good_cut_off"] += 1
                self._good[self._good.index(line)] = self._line()
            elif self._slow.pop(line, None) is not None:
                self.counts["slow_cut_off"] += 1
                again = self._line()
                self._slow[again] = Stream(again)

    def _drip(self) -> None:
        for slow in list(self._slow.values())[self._turn :: TURNS_PER_S]:
            with suppress(OSError):  # cut off; its end is about to be heard
                slow.send(self._asked, 1)

    def _shout(self) -> None:
        for place in range(self._turn, len(self._deaf), TURNS_PER_S):
            deaf = self._deaf[place]
            try:
                self.counts["unread_bytes_asked"] += deaf.send(self._asked, DEAF_BYTES_PER_S)
            except BlockingIOError:
                pass
            except OSError:
                deaf.line.socket.close()
                self.counts["deaf_cut_off"] += 1
                self._deaf[place] = self._deaf_one()

    def figures(self) -> dict[str, Any]:
        return {"connections": self._guests.total, **self.counts, "good_ms": milliseconds(self.latencies_s)}

    def close(self) -> None:
        for line in (*self._good, *self._dead, *self._slow, *(deaf.line for deaf in self._deaf)):
            line.socket.close()


def mixed(shares: Mapping[str, float], sources: Mapping[str, Iterator[bytes]], seed: int) -> Iterator[Asked]:
    """Requests of several kinds, drawn by their shares."""
    drawn = random.Random(seed)
    kinds, weights = list(shares), list(shares.values())
    while True:
        (kind,) = drawn.choices(kinds, weights)
        yield kind, next(sources[kind])
