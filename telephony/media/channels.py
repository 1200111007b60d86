"""One channel's sockets and what is known of its far end; the pool of port pairs."""

import contextlib
import ipaddress
import socket
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Final

from telephony.contract import VerdictKind
from telephony.media import batch_io
from telephony.media.rtcp import Reception
from telephony.media.sources import SourceGate

RECEIVE_BUFFER_BYTES: Final = 256 * 1024

Address = tuple[str, int]


class ChannelError(Exception):
    """A command that cannot be carried out; the text goes back to the daemon."""


class PortPool:
    """Even RTP ports of a range (each with the odd one above it for RTCP); the longest free one is used first."""

    def __init__(self, first: int, last: int) -> None:
        """``first``..``last`` inclusive, both usable. Raises ValueError for a range without a pair in 1024..65535."""
        if not 1024 <= first <= last <= 65535:
            raise ValueError(f"RTP ports must lie in 1024..65535, got {first}-{last}")
        self._ports = range(first + first % 2, last + 1, 2)
        if not self._ports or self._ports[-1] + 1 > 65535:
            raise ValueError(f"no pair of an even and an odd port in {first}-{last}")
        self._free = deque(self._ports)

    @property
    def pairs(self) -> int:
        """How many channels the range holds."""
        return len(self._ports)

    def open_pair(self, host: str) -> tuple[socket.socket, socket.socket]:
        """Bind the next free pair. Raises ChannelError when none of the range can be bound."""
        for _ in range(len(self._free)):
            port = self._free.popleft()
            try:
                return bind_pair(host, port)
            except OSError:
                self._free.append(port)  # somebody else's now; perhaps free next time
        raise ChannelError("no free port pair in the RTP port range")

    def reserve(self, port: int) -> None:
        """Take one given port out of the pool, where it is in it."""
        with contextlib.suppress(ValueError):
            self._free.remove(port)

    def give_back(self, port: int) -> None:
        """A pair was closed."""
        if port in self._ports:
            self._free.append(port)


def bind_pair(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """Non-blocking UDP sockets on ``port`` and ``port + 1``. Raises OSError."""
    with contextlib.ExitStack() as undo:
        pair = []
        for one in (port, port + 1):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            undo.callback(sock.close)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
            batch_io.stamp_arrivals(sock)
            sock.bind((host, one))
            pair.append(sock)
        undo.pop_all()
    return pair[0], pair[1]


def parse_remote(host: str, port: int) -> Address | None:
    """
    The far end of an SDP; None when it wants no media (port 0 or 0.0.0.0: on hold).

    Raises ChannelError for anything but an IPv4 address that a single host can have.
    """
    try:
        address = ipaddress.IPv4Address(host)
    except ValueError:
        raise ChannelError(f"remote host {host!r} is not an IPv4 address") from None
    if not 0 <= port <= 65535:
        raise ChannelError(f"remote port {port} is not in 0..65535")
    if port == 0 or address.is_unspecified:
        return None
    if address.is_multicast or address == ipaddress.IPv4Address("255.255.255.255"):
        raise ChannelError(f"remote host {host} is not a single host")
    return str(address), port


@dataclass(slots=True)
class Channel:
    """One RTP leg. ``row`` addresses it in the arrays; ``person_since_s``: somebody waits for an agent since then."""

    channel_id: str
    row: int
    rtp: socket.socket
    rtcp: socket.socket
    port: int
    gate: SourceGate = field(default_factory=SourceGate)
    target: Address | None = None
    """Where our packets go: the latched source, or the negotiated address before one is."""
    rtcp_source: Address | None = None
    strangers: int = 0
    fenced: bool = False
    """The kernel takes packets from ``target`` only: strangers were flooding the port."""
    dropped: Counter[str] = field(default_factory=Counter)
    verdict: VerdictKind | None = None
    verdict_at_s: float = 0.0
    beep_at_s: float = 0.0
    person_since_s: float | None = None
    talked: bool = False
    """It has been part of a conversation: alone now, it is on hold, or has somebody on hold."""
    last_sr: int = 0
    last_sr_at_s: float = 0.0
    far: Reception | None = None
    """What the far end last said of our stream."""
    rtt_s: float = 0.0

    def set_remote(self, remote: Address | None, now_s: float) -> bool:
        """Take a negotiated address; True when it is a new one, which ends what was learned."""
        if not self.gate.negotiate(batch_io.source_key(*remote) if remote is not None else None, now_s):
            return False
        self.fence(False)
        self.target, self.rtcp_source, self.strangers = remote, None, 0
        return True

    def latch(self) -> None:
        """Send to the source that the gate has just latched."""
        assert self.gate.latched is not None
        self.fence(False)
        self.target = batch_io.source_address(self.gate.latched)

    def fence(self, up: bool) -> None:
        """Let the kernel refuse everybody but ``target``, or nobody any more."""
        if up == self.fenced or (up and self.target is None):
            return
        if batch_io.connect(self.rtp, self.target if up else None):
            self.fenced = up
        self.strangers = 0

    def close(self) -> None:
        """Close both sockets."""
        self.rtp.close()
        self.rtcp.close()
