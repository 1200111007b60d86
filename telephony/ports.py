"""Ports for sites that come and go, several of them at a time on one machine: demos and tests.

A media server that comes back opens the ports that its conversations had. A stranger on one of them costs a
conversation, and the system hands a port that it has "found free" to the next who asks (`client_ports`). So nothing
here is found by asking the system: a site leases a stretch of ports for as long as it lives. The stretches lie below
the ports that Linux gives to clients, and leave out the product's default, which belongs to the machine's real site.

The lease is a Unix socket in the abstract namespace (unix(7)), which is that of the network as well: no file is left
behind, and whoever dies has given back.
"""

import contextlib
import errno
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

BLOCK_PORTS: Final = 500
AREAS: Final = (range(10000, 20000, BLOCK_PORTS), range(24000, 32000, BLOCK_PORTS))
"""First ports of the blocks; 20000 to 23998 is the default of `rtp_port_first` and `rtp_port_last`."""

CLIENT_PORTS_FILE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
CLIENT_PORTS: Final = range(32768, 61000)
"""Of a Linux that nobody has changed (ip(7))."""


def client_ports() -> range:
    """Ports that the system gives to sockets which ask for none: any of them may be a stranger's at any time."""
    try:
        first, last = CLIENT_PORTS_FILE.read_text(encoding="ascii").split()
        return range(int(first), int(last) + 1)
    except (OSError, ValueError):
        return CLIENT_PORTS


class PortsExhausted(Exception):
    """Others have leased so much that no stretch of the wanted length is left."""


@contextlib.contextmanager
def leased(ports: int) -> Iterator[range]:
    """
    Consecutive ports that no other holder of a lease has while the block lasts; as many as asked for, or more.

    Args:
        ports: at least 1.

    Raises:
        PortsExhausted: there is no such stretch.
    """
    if ports < 1:
        raise ValueError(f"at least one port, not {ports}")
    blocks = -(-ports // BLOCK_PORTS)
    for area in AREAS:
        with contextlib.ExitStack() as held:
            count = 0
            for first in area:
                claim = _claim(first)
                if claim is None:
                    held.close()  # what was held so far leads nowhere
                    count = 0
                    continue
                held.callback(claim.close)
                count += 1
                if count == blocks:
                    end = first + BLOCK_PORTS
                    yield range(end - blocks * BLOCK_PORTS, end)
                    return
    raise PortsExhausted(f"no {ports} consecutive ports are left for another site on this machine")


def _claim(first: int) -> socket.socket | None:
    """Hold the block that begins with this port; None: somebody has it."""
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(f"\0ocsd-ports-{first}")
    except OSError as error:
        claim.close()
        if error.errno != errno.EADDRINUSE:
            raise
        return None
    return claim
