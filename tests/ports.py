"""Ports for what tests start: of a stretch that this process has leased, so that runs beside it have others."""

import functools
import itertools
import socket
from collections.abc import Iterator
from contextlib import ExitStack

from telephony.ports import leased

STOCK_PORTS = 2000
_lease = ExitStack()
"""Held until the process ends, however it does."""


@functools.cache
def _turn() -> tuple[range, Iterator[int]]:
    """The stretch, and where to look next: a port that was given out comes again as late as possible."""
    stretch = _lease.enter_context(leased(STOCK_PORTS))
    return stretch, itertools.cycle(stretch)


def free_ports(count: int) -> tuple[int, int]:
    """First and last of so many consecutive ports, from an even one on, that nobody uses, over UDP or TCP."""
    stretch, turn = _turn()
    for first in itertools.islice(turn, 2 * len(stretch)):
        if first % 2 or first + count > stretch.stop or not all(map(_is_free, range(first, first + count))):
            continue
        for _ in range(count - 1):
            next(turn)
        return first, first + count - 1
    raise AssertionError(f"no {count} consecutive ports of {stretch} are free")


def free_port() -> int:
    return free_ports(1)[0]


def _is_free(port: int) -> bool:
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True
