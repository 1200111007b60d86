"""Trio shells around the pure parts: the UDP socket of a `Uas`, and the clock that drives the media engine."""

import itertools
import secrets
import time
from collections.abc import Callable, Iterable
from typing import Final, Protocol

import trio

from telephony.simworld.media import MAX_CATCH_UP_TICKS, TICK_S, MediaEngine
from telephony.simworld.sip import Uas
from telephony.simworld.sipcall import SipEvent
from telephony.simworld.sipmsg import Address
from telephony.simworld.truth import TruthLog

RECEIVE_BUFFER_BYTES: Final = 4 * 1024 * 1024
"""A burst of INVITEs must survive a tick of media work."""
STOP_LIMIT_S: Final = 3.0
"""How long a clean stop waits for the answers to our BYEs."""


def token_source() -> Callable[[], str]:
    """Unique tags and branches: a random prefix per process and a counter."""
    prefix, numbers = secrets.token_hex(4), itertools.count(1)
    return lambda: f"{prefix}{next(numbers):x}"


class SipApplication(Protocol):
    """A carrier or a bank of phones: what uses a `Uas`."""

    uas: Uas

    def on_event(self, event: SipEvent, now_s: float) -> None: ...

    def step(self, now_s: float) -> None:
        """Every 20 ms, between the reading and the sending of RTP."""
        ...

    def stop(self, now_s: float) -> None:
        """Hang up everything."""
        ...


class SipSocket:
    """One bound UDP socket; carries datagrams between the network and the application's `Uas`, noted in ``wire``."""

    def __init__(self, sock: trio.socket.SocketType, wire: TruthLog | None = None) -> None:
        self._sock = sock
        self._wire = wire
        self.send_errors = 0

    @property
    def port(self) -> int:
        port: int = self._sock.getsockname()[1]
        return port

    async def serve(self, application: SipApplication) -> None:
        """Feed datagrams to the application until cancelled."""
        while True:
            data, source = await self._sock.recvfrom(65_535)
            self._note("in", data, source[1])
            self._feed(application, data, (source[0], source[1]))
            await self.flush(application)

    @staticmethod
    def _feed(application: SipApplication, data: bytes, source: Address) -> None:
        now_s = time.monotonic()
        for event in application.uas.receive(data, source, now_s):
            application.on_event(event, now_s)

    async def flush(self, application: SipApplication) -> None:
        """Send what has gathered in the outbox."""
        for data, to in application.uas.take_outbox():
            self._note("out", data, to[1])
            try:
                await self._sock.sendto(data, to)
            except OSError:
                self.send_errors += 1  # the peer's port is closed: our timers repeat or give up

    def _note(self, direction: str, data: bytes, peer_port: int) -> None:
        if self._wire is not None:
            self._wire.write({
                "at_s": time.monotonic(), "at": direction, "port": self.port, "peer_port": peer_port,
                "sip": data.decode(errors="replace"),
            })  # fmt: skip

    def close(self) -> None:
        self._sock.close()


async def bind_sip(host: str, port: int, wire: TruthLog | None = None) -> SipSocket:
    """Bind UDP ``host:port`` (0: any free port). Raises OSError when it is taken. ``wire`` gets every message."""
    sock = trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)
    try:
        sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        await sock.bind((host, port))
    except BaseException:
        sock.close()
        raise
    return SipSocket(sock, wire)


class Clockwork:
    """The 20 ms beat of one process: RTP in, applications, RTP out, SIP timers."""

    def __init__(self, engine: MediaEngine, parts: Iterable[tuple[SipSocket, SipApplication]]) -> None:
        self._engine = engine
        self._parts = tuple(parts)
        self.late_max_s = 0.0
        self.skipped_ticks = 0
        self._settled: trio.Event | None = None

    async def run(self) -> None:
        """Beat until cancelled."""
        due_s = time.monotonic() + TICK_S
        while True:
            now_s = time.monotonic()
            # At least one checkpoint a tick, also when late: the SIP sockets must get their turn.
            await trio.sleep(max(0.0, due_s - now_s))
            now_s = time.monotonic()
            self.late_max_s = max(self.late_max_s, now_s - due_s)
            behind = int((now_s - due_s) / TICK_S)
            if behind > MAX_CATCH_UP_TICKS:
                self._engine.skip(behind)
                self.skipped_ticks += behind
                due_s += behind * TICK_S
            await self.beat(now_s)
            due_s += TICK_S

    async def beat(self, now_s: float) -> None:
        """One tick."""
        self._engine.receive(now_s)
        for sip_socket, application in self._parts:
            application.step(now_s)
            for event in application.uas.expire(now_s):
                application.on_event(event, now_s)
            await sip_socket.flush(application)
        self._engine.send()
        if self._settled is not None and not any(application.uas.busy for _, application in self._parts):
            self._settled.set()

    async def wind_down(self, limit_s: float = STOP_LIMIT_S) -> None:
        """Hang up everything and wait, at most ``limit_s``, for the peers' answers. `run` must go on meanwhile."""
        for sip_socket, application in self._parts:
            application.stop(time.monotonic())
            await sip_socket.flush(application)
        self._settled = trio.Event()
        with trio.move_on_after(limit_s):
            await self._settled.wait()
