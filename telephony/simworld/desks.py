"""The WebSocket shell of the desktops: one connection per agent, reconnecting for as long as the world runs."""

import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

import trio
import trio_websocket
from trio_websocket import WebSocketConnection

from telephony.simworld.desktop import Desk, Habits, Json
from telephony.simworld.truth import TruthLog

CONNECT_LIMIT_S: Final = 5.0
CLOSE_LIMIT_S: Final = 1.0
FIRST_BACKOFF_S: Final = 0.2
LAST_BACKOFF_S: Final = 2.0
"""A restarted server should find its agents back within about this time."""

_AWAY: Final = (
    trio_websocket.HandshakeError,
    trio_websocket.ConnectionClosed,
    trio.BrokenResourceError,
    trio.TooSlowError,
    OSError,
)
"""What a server that is down, starting or going away looks like."""


@dataclass(slots=True)
class Desks:
    """
    The desktops of agents ``<prefix>1`` to ``<prefix><count>``.

    ``log`` gets every change of an agent's state, ``wire`` (if there is one) every message.
    """

    url: str
    count: int
    habits: Habits
    seed: int
    log: TruthLog
    prefix: str = "agent"
    wire: TruthLog | None = None
    desks: list[Desk] = field(init=False)
    reconnections: int = 0
    malformed: int = 0
    _open: dict[str, WebSocketConnection] = field(default_factory=dict)
    _host: str = field(init=False)
    _port: int = field(init=False)
    _resource: str = field(init=False)

    def __post_init__(self) -> None:
        """Raises ValueError for anything but a ws:// URL with a port."""
        parts = urlsplit(self.url)
        if parts.scheme != "ws" or not parts.hostname or not parts.port:
            raise ValueError(f"desktop URL must look like ws://127.0.0.1:8081/desktop, not {self.url!r}")
        self._host, self._port, self._resource = parts.hostname, parts.port, parts.path or "/"
        names = [f"{self.prefix}{i}" for i in range(1, self.count + 1)]
        self.desks = [Desk(name, self.habits, random.Random(f"desk|{self.seed}|{name}")) for name in names]

    async def run(self) -> None:
        """Keep all desktops connected until cancelled."""
        async with trio.open_nursery() as nursery:
            for desk in self.desks:
                nursery.start_soon(self._keep_connected, desk)

    async def log_out(self, limit_s: float = CLOSE_LIMIT_S) -> None:
        """Send each agent's leave-taking; the connections are closed by cancelling `run` afterwards."""
        with trio.move_on_after(limit_s):
            for desk in self.desks:
                connection = self._open.get(desk.agent_id)
                if connection is not None:
                    try:
                        await self._send(connection, desk, desk.log_out())
                    except _AWAY:
                        continue

    async def _keep_connected(self, desk: Desk) -> None:
        backoff_s = FIRST_BACKOFF_S
        jitter = random.Random(f"backoff|{desk.agent_id}")
        while True:
            was_online = False
            try:
                async with trio.open_nursery() as nursery:
                    with trio.fail_after(CONNECT_LIMIT_S):
                        stream = await trio.open_tcp_stream(self._host, self._port)
                    # The stream is ours: the library leaves it open when the server's TCP ends without a close frame.
                    async with stream:
                        with trio.fail_after(CONNECT_LIMIT_S):
                            connection = await trio_websocket.wrap_client_stream(
                                nursery, stream, f"{self._host}:{self._port}", self._resource
                            )
                        was_online, backoff_s = True, FIRST_BACKOFF_S
                        self._open[desk.agent_id] = connection
                        await self._converse(connection, desk)
            except* _AWAY:
                pass
            finally:
                self._open.pop(desk.agent_id, None)
            if was_online:
                self.reconnections += 1
                desk.disconnected(time.monotonic())
                self._write_changes(desk)
            # Spread out, or all agents would knock at a restarted server in the same instant.
            await trio.sleep(backoff_s * jitter.uniform(0.5, 1.0))
            backoff_s = min(2 * backoff_s, LAST_BACKOFF_S)

    async def _converse(self, connection: WebSocketConnection, desk: Desk) -> None:
        await self._send(connection, desk, desk.connected(time.monotonic()))
        while True:
            text: str | bytes | None = None
            # inf is allowed and means: until a message comes. A deadline in the past still makes one checkpoint.
            with trio.move_on_after(max(0.0, desk.deadline_s - time.monotonic())):
                text = await connection.get_message()
            now_s = time.monotonic()
            await self._send(connection, desk, self._take(desk, text, now_s) if text is not None else desk.step(now_s))

    def _take(self, desk: Desk, text: str | bytes, now_s: float) -> Sequence[Json]:
        try:
            message = json.loads(text)
        except ValueError:
            message = None
        if not isinstance(message, dict):
            self.malformed += 1
            return ()
        self._note("in", desk, message)
        return [*desk.received(message, now_s), *desk.step(now_s)]

    async def _send(self, connection: WebSocketConnection, desk: Desk, messages: Sequence[Json]) -> None:
        self._write_changes(desk)
        for message in messages:
            self._note("out", desk, message)
            await connection.send_message(json.dumps(message))

    def _note(self, direction: str, desk: Desk, message: Json) -> None:
        if self.wire is not None:
            self.wire.write({"at_s": time.monotonic(), "at": direction, "agent": desk.agent_id, "desktop": message})

    def _write_changes(self, desk: Desk) -> None:
        for at_s, state, conn_id in desk.take_changes():
            self.log.write({"at_s": at_s, "agent": desk.agent_id, "state": state.value, "conn_id": conn_id})
