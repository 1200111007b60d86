"""The far ends of `bench.media`: a process of its own that talks to all channels and times what comes back.

A few sockets stand for a carrier's gateways: each sends to many channels with `sendmmsg` from packets laid out
beforehand, and the kernel stamps what arrives, so the generator costs a small part of what it loads. The far ends are
spread over the 20 ms, as those of real calls are.

Each payload begins with the number of its packet, in digits that survive G.711 both ways.
"""

import ctypes
import os
import socket
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Final

import numpy as np

from telephony.media import batch_io
from telephony.media.g711 import linear_to_ulaw

GATEWAYS: Final = 8
SLICES: Final = 10
PACKET_BYTES: Final = 172
BASE: Final = 100
"""Digits are the u-law octets 0x10.., all of them loud, none of them a zero."""

_sendmmsg = ctypes.PyDLL(None).sendmmsg
_sendmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)


@dataclass(frozen=True)
class Heard:
    """What came back: how late packets left the server, and how long audio took from far end to far end. In ms."""

    packets: int
    missing: int
    late_p50_ms: float
    late_p99_ms: float
    late_p999_ms: float
    late_max_ms: float
    transit_p50_ms: float
    transit_p999_ms: float
    generator_cores: float


class _Gateway:
    """Packets of one socket to ``ports``, laid out for one system call."""

    def __init__(self, ports: list[int], ssrc: int) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
        batch_io.stamp_arrivals(self.sock)
        count = len(ports)
        self.packets = np.zeros((count, PACKET_BYTES), dtype=np.uint8)
        self.packets[:, 0] = 0x80
        self.packets[:, 8:12] = (ssrc + np.arange(count)).astype(">u4").view(np.uint8).reshape(-1, 4)
        names = np.zeros(count, dtype=np.dtype(batch_io._Source))
        names["family"] = int.from_bytes(socket.AF_INET.to_bytes(2, "little"), "big")
        names["host"], names["port"] = 0x7F000001, ports
        vectors = np.zeros(count, dtype=np.dtype(batch_io._IoVector))
        at = np.arange(count, dtype=np.uint64)
        vectors["base"] = self.packets.ctypes.data + at * np.uint64(PACKET_BYTES)
        vectors["length"] = PACKET_BYTES
        headers = np.zeros(count, dtype=np.dtype(batch_io._Received))
        headers["header"]["name"] = names.ctypes.data + at * np.uint64(names.itemsize)
        headers["header"]["name_length"] = names.itemsize
        headers["header"]["vectors"] = vectors.ctypes.data + at * np.uint64(vectors.itemsize)
        headers["header"]["vector_count"] = 1
        self._kept = names, vectors, headers
        self._step = headers.itemsize

    def send(self, first: int, last: int) -> None:
        pointer = ctypes.c_void_p(self._kept[2].ctypes.data + first * self._step)
        _sendmmsg(self.sock.fileno(), pointer, last - first, 0)


def speech() -> np.ndarray:
    """(frames, 160) u-law: syllables of 200 ms every 300 ms, as many level changes as real speech."""
    rng = np.random.default_rng(1)
    t = np.arange(8000 * 3) / 8000
    voice = sum(np.sin(2 * np.pi * 140 * k * t) / k for k in range(1, 12)) * (t % 0.3 < 0.2) * 1500
    return linear_to_ulaw((voice + rng.normal(0, 20, len(t))).astype(np.int16)).reshape(-1, 160)


def pin(core: int) -> None:
    """Keep this process on one core, where there are several to choose from."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) > 1:
        os.sched_setaffinity(0, {allowed[core % len(allowed)]})


def run(ports: list[int], pipe: Connection, core: int) -> None:
    """
    Body of the process. Sends the gateways' ports, then obeys: "measure" begins to note what comes, "tell" answers with
    `Heard`, "stop" ends.
    """
    pin(core)
    groups = [ports[i::GATEWAYS] for i in range(GATEWAYS) if ports[i::GATEWAYS]]
    gateways = [_Gateway(group, 1000 * (i + 1)) for i, group in enumerate(groups)]
    pipe.send([gateways[i % len(gateways)].sock.getsockname()[1] for i in range(len(ports))])
    frames = speech()
    inbox = batch_io.Inbox(len(gateways), 1500, 128)
    descriptors = [gateway.sock.fileno() for gateway in gateways]
    sent_s = np.zeros(BASE**3)
    notes: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] | None = None
    number, began_cpu_s, began_s = 0, 0.0, 0.0
    next_s = time.monotonic()
    while True:
        number = (number + 1) % BASE**3
        stamp = number * 160 & 0xFFFFFFFF
        digits = [0x10 + number // BASE**k % BASE for k in range(3)]
        for gateway in gateways:
            packets = gateway.packets
            packets[:, 2:4] = divmod(number & 0xFFFF, 256)
            packets[:, 4:8] = np.frombuffer(stamp.to_bytes(4, "big"), dtype=np.uint8)
            packets[:, 12:] = frames[number % len(frames)]
            packets[:, 12:15] = digits
        sent_s[number] = next_s
        for part in range(SLICES):
            for gateway in gateways:
                count = len(gateway.packets)
                gateway.send(count * part // SLICES, count * (part + 1) // SLICES)
            now_s, wall_s = time.monotonic(), time.time()
            _, arrivals = inbox.receive(descriptors, now_s, wall_s)
            for batch in arrivals:
                if notes is not None:
                    head = batch.packets[:, :15].copy()
                    notes.append((batch.source & 0xFFFF, head, batch.at_s, batch.which))
            if pipe.poll():
                word = pipe.recv()
                if word == "stop":
                    return
                if word == "measure":
                    notes, began_cpu_s, began_s = [], time.process_time(), time.monotonic()
                elif notes is not None:
                    cores = (time.process_time() - began_cpu_s) / (time.monotonic() - began_s)
                    pipe.send(_evaluate(notes, sent_s, cores))
                    notes, next_s = None, time.monotonic()
            next_s += 0.02 / SLICES
            time.sleep(max(0.0, next_s - time.monotonic()))


def _evaluate(notes: list, sent_s: np.ndarray, cores: float) -> Heard:
    port = np.concatenate([note[0] for note in notes])
    head = np.concatenate([note[1] for note in notes]).astype(np.int64)
    at_s = np.concatenate([note[2] for note in notes])
    audio = (head[:, 1] & 0x7F) == 0
    port, head, at_s = port[audio], head[audio], at_s[audio]
    seq = head[:, 2] << 8 | head[:, 3]
    late, missing = [], 0
    by_port = np.argsort(port, kind="stable")
    for mine in np.split(by_port, np.nonzero(np.diff(port[by_port]))[0] + 1):
        order = np.unwrap(seq[mine].astype(float), period=65536)
        missing += int(order.max() - order.min()) + 1 - len(np.unique(order))
        # The schedule that no packet was early for: 20 ms apart from the first.
        behind = at_s[mine] - order * 0.02
        late.append(behind - np.median(behind))
    lateness = np.concatenate(late) * 1000
    digits = head[:, 12:15] - 0x10
    told = ((digits >= 0) & (digits < BASE)).all(axis=1)
    number = np.where(told, digits @ (BASE ** np.arange(3)), 0)
    slot_s = 0.02 / SLICES
    transit = (at_s - sent_s[number])[told & (sent_s[number] > 0)] * 1000
    transit = transit[(transit > 0) & (transit < 1000)] - slot_s
    late_p = np.percentile(lateness, (50, 99, 99.9))
    transit_p = np.percentile(transit, (50, 99.9)) if len(transit) > 1000 else (0.0, 0.0)
    return Heard(
        len(lateness),
        missing,
        round(float(late_p[0]), 2),
        round(float(late_p[1]), 2),
        round(float(late_p[2]), 2),
        round(float(lateness.max()), 2),
        round(float(transit_p[0]), 1),
        round(float(transit_p[1]), 1),
        round(cores, 3),
    )
