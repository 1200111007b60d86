"""Datagrams of many sockets into preallocated arrays, with their sources and the kernel's arrival times.

`recvmmsg` (Linux, through ctypes) writes the bytes, the source address and the time of arrival of up to `PER_SOCKET`
datagrams of one socket into memory that numpy sees, so no Python object is made for a packet, and jitter is measured
from when a packet arrived and not from when our tick came to read it. Sockets need `SO_TIMESTAMPNS`
(`stamp_arrivals`); without it packets count as having arrived when they are read.

Sending is left to `socket.send`: each channel sends one packet a tick from a socket of its own, and `sendmmsg` only
gathers packets of one socket.
"""

import ctypes
import socket
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

PER_SOCKET: Final = 4
"""Datagrams read from one socket in one call; packets of 10 ms come two a tick, two more ride over a late tick."""

OLDEST_ARRIVAL_S: Final = 1.0
"""The wall clock of the kernel's stamps may be set meanwhile; nothing lies in a socket for longer than this."""

LEAST_WIDTH: Final = 172
"""Columns of a batch whatever it holds: header and 20 ms of G.711, so readers need not look before they slice."""

NEWEST_ARRIVAL_S: Final = 0.1
"""Packets that come while we read are newer than the tick."""

SO_TIMESTAMPNS: Final = 35  # asm-generic/socket.h; the socket module does not name it

Octets = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

_CONTROL_BYTES: Final = 64


class _IoVector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_size_t), ("length", ctypes.c_size_t))


class _MessageHeader(ctypes.Structure):
    """``struct msghdr`` of recvmsg(2)."""

    _fields_ = (
        ("name", ctypes.c_size_t),
        ("name_length", ctypes.c_uint32),
        ("vectors", ctypes.c_size_t),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_size_t),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Received(ctypes.Structure):
    """``struct mmsghdr`` of recvmmsg(2)."""

    _fields_ = (("header", _MessageHeader), ("length", ctypes.c_uint))


class _Source(ctypes.BigEndianStructure):
    """``struct sockaddr_in``; the family comes first and is not looked at: the sockets are IPv4."""

    _fields_ = (
        ("family", ctypes.c_uint16),
        ("port", ctypes.c_uint16),
        ("host", ctypes.c_uint32),
        ("zero", ctypes.c_uint64),
    )


class _Stamp(ctypes.Structure):
    """The control message of SO_TIMESTAMPNS: ``struct cmsghdr``, then ``struct timespec``."""

    _fields_ = (
        ("length", ctypes.c_size_t),
        ("level", ctypes.c_int),
        ("kind", ctypes.c_int),
        ("seconds", ctypes.c_long),
        ("nanoseconds", ctypes.c_long),
    )


# PyDLL: the call does not block (MSG_DONTWAIT) and there is no other thread, so the interpreter's lock is kept.
_recvmmsg = ctypes.PyDLL(None).recvmmsg
_recvmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)
_recvmmsg.restype = ctypes.c_int


def stamp_arrivals(sock: socket.socket) -> None:
    """Ask the kernel to note when each datagram arrived."""
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)


def source_key(host: str, port: int) -> int:
    """An IPv4 address and port as one number, as in `Arrivals.source`."""
    return int.from_bytes(socket.inet_aton(host), "big") << 16 | port


def source_address(key: int) -> tuple[str, int]:
    """The (host, port) of a `source_key`."""
    return socket.inet_ntoa((key >> 16).to_bytes(4, "big")), key & 0xFFFF


@dataclass(frozen=True, slots=True)
class Arrivals:
    """
    At most one datagram of each socket.

    ``which`` (k,) indexes the file descriptors that were read, ``packets`` (k, width) uint8 holds ``lengths[i]`` bytes
    in row i, and is as wide as the longest, ``source`` is a `source_key`, ``at_s`` the arrival on the caller's clock.
    """

    which: Indices
    packets: Octets
    lengths: Ints
    source: Ints
    at_s: Floats

    def only(self, i: int) -> "Arrivals":
        """The i-th of them alone."""
        one = slice(i, i + 1)
        return Arrivals(self.which[one], self.packets[one], self.lengths[one], self.source[one], self.at_s[one])


class Inbox:
    """Room for ``per_socket`` datagrams of ``sockets`` sockets, each up to ``size`` bytes (longer ones are cut)."""

    def __init__(self, sockets: int, size: int, per_socket: int = PER_SOCKET) -> None:
        stride = -(-size // 16) * 16
        count = sockets * per_socket
        self._per_socket = per_socket
        self._packets = np.zeros((sockets, per_socket, stride), dtype=np.uint8)
        self._names = np.zeros((sockets, per_socket), dtype=np.dtype(_Source))
        self._control = np.zeros((sockets, per_socket, _CONTROL_BYTES), dtype=np.uint8)
        stamp = np.dtype(_Stamp)
        self._stamps = self._control[:, :, : stamp.itemsize].view(stamp)[:, :, 0]
        self._headers = np.zeros((sockets, per_socket), dtype=np.dtype(_Received))
        self._vectors = np.zeros(count, dtype=np.dtype(_IoVector))
        at = np.arange(count, dtype=np.uint64)
        self._vectors["base"] = self._packets.ctypes.data + at * np.uint64(stride)
        self._vectors["length"] = size
        flat = self._headers.reshape(-1)["header"]
        flat["name"] = self._names.ctypes.data + at * np.uint64(self._names.itemsize)
        flat["vectors"] = self._vectors.ctypes.data + at * np.uint64(self._vectors.itemsize)
        flat["vector_count"] = 1
        flat["control"] = self._control.ctypes.data + at * np.uint64(_CONTROL_BYTES)
        self._freshen(sockets)
        row_bytes = per_socket * self._headers.itemsize
        first = self._headers.ctypes.data
        self._pointers = [ctypes.c_void_p(first + i * row_bytes) for i in range(sockets)]

    def _freshen(self, used: int) -> None:
        """What the kernel overwrote is made ready for the next call."""
        self._headers["header"]["name_length"][:used] = self._names.itemsize
        self._headers["header"]["control_length"][:used] = _CONTROL_BYTES

    def receive(self, descriptors: Sequence[int], now_s: float, wall_s: float) -> tuple[list[int], Iterator[Arrivals]]:
        """
        Read up to ``per_socket`` datagrams from each of at most ``sockets`` non-blocking UDP sockets.

        ``now_s`` on the caller's clock and ``wall_s`` (Unix time) are the same instant.

        Returns how many came from each (0 also where the kernel reports errors without end), and an iterator over
        them: first the oldest of each socket, then the second ones, and so on. The arrays are valid until the next
        call.
        """
        pointers, call, flags, most = self._pointers, _recvmmsg, socket.MSG_DONTWAIT, self._per_socket
        counts = [call(fd, pointers[i], most, flags, None) for i, fd in enumerate(descriptors)]
        for i, count in enumerate(counts):
            if count < 0:  # the kernel told of an earlier packet that found nobody, once; what came lies behind that
                counts[i] = max(0, call(descriptors[i], pointers[i], most, flags, None))
        return counts, self._arrivals(np.array(counts, dtype=np.intp), now_s, wall_s)

    def receive_one(self, descriptor: int, now_s: float, wall_s: float) -> Arrivals:
        """As `receive`, from one socket: all of its datagrams together, oldest first, ``which`` is 0 throughout."""
        count = max(0, _recvmmsg(descriptor, self._pointers[0], self._per_socket, socket.MSG_DONTWAIT, None))
        found = self._gather(np.zeros(count, dtype=np.intp), np.arange(count), now_s, wall_s)
        self._control[:1, :, :16] = 0
        self._freshen(1)
        return found

    def _arrivals(self, counts: Indices, now_s: float, wall_s: float) -> Iterator[Arrivals]:
        for nth in range(int(counts.max(initial=0))):
            which = np.nonzero(counts > nth)[0]
            yield self._gather(which, np.full(len(which), nth), now_s, wall_s)
        self._control[: len(counts), :, :16] = 0
        self._freshen(len(counts))

    def _gather(self, which: Indices, nth: Indices, now_s: float, wall_s: float) -> Arrivals:
        names, stamps = self._names[which, nth], self._stamps[which, nth]
        stamped = (stamps["level"] == socket.SOL_SOCKET) & (stamps["kind"] == SO_TIMESTAMPNS)
        age_s = wall_s - stamps["seconds"] - stamps["nanoseconds"] * 1e-9
        lengths = self._headers["length"][which, nth].astype(np.int64)
        # Only as wide as needed: most are 172 bytes, and copying rows of 1500 would cost more than all the rest.
        longest = max(LEAST_WIDTH, int(lengths.max(initial=0)))
        return Arrivals(
            which,
            self._packets[which, nth, :longest],
            lengths,
            names["host"].astype(np.int64) << 16 | names["port"].astype(np.int64),
            now_s - np.where(stamped, np.clip(age_s, -NEWEST_ARRIVAL_S, OLDEST_ARRIVAL_S), 0.0),
        )


def connect(sock: socket.socket, address: tuple[str, int] | None) -> bool:
    """
    Let the kernel refuse datagrams from anyone but ``address``; None: take them from everybody again.

    Returns whether it could be done.
    """
    try:
        if address is None:
            # AF_UNSPEC dissolves the association (connect(2)); the socket module cannot express it.
            unspecified = socket.AF_UNSPEC.to_bytes(2, sys.byteorder)
            done = ctypes.PyDLL(None).connect(sock.fileno(), unspecified + bytes(14), 16)
            return bool(done == 0)
        sock.connect(address)
    except OSError:
        return False
    return True
