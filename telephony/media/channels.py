"""One channel's sockets and its far end: port pairs, symmetric RTP, drop counters.

Learning the far end's address: SDP names an address, but behind a translator packets come from another port. The first
valid packet from the negotiated host is taken for the far end, and from then on nobody else is: whoever guesses a port
must not be able to inject audio or to draw ours away. A packet from exactly the negotiated address always wins,
because late packets of the call that used the port before may come first; a learned source that stays silent gives
way to the next one that fits.
"""

import contextlib
import ipaddress
import socket
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Final

from telephony.contract import VerdictKind

RECEIVE_BUFFER_BYTES: Final = 256 * 1024
RELEARN_AFTER_S: Final = 3.0
"""A learned source silent for so long may be replaced; a moved far end sends 50 packets a second."""

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
    negotiated: Address | None = None
    learned: Address | None = None
    dropped: Counter[str] = field(default_factory=Counter)
    verdict: VerdictKind | None = None
    verdict_at_s: float = 0.0
    person_since_s: float | None = None
    last_sr: int = 0
    last_sr_at_s: float = 0.0

    @property
    def target(self) -> Address | None:
        """Where our packets go."""
        return self.learned or self.negotiated

    def set_remote(self, remote: Address | None) -> bool:
        """Take a negotiated address; True when it is a new one, which ends what was learned."""
        if remote == self.negotiated:
            return False
        self.negotiated, self.learned = remote, None
        return True

    def learn(self, source: Address, silent_s: float) -> str:
        """
        Judge a valid packet from a source that is not the learned one.

        ``silent_s``: time since the last packet that counted. Returns "" when the source is now the learned one,
        else the reason to drop the packet.
        """
        if self.negotiated is None:
            return "no_remote"
        if source[0] != self.negotiated[0]:
            return "unknown_source"
        if self.learned is None or source == self.negotiated or silent_s > RELEARN_AFTER_S:
            self.learned = source
            return ""
        return "unknown_source"

    def close(self) -> None:
        """Close both sockets."""
        self.rtp.close()
        self.rtcp.close()
