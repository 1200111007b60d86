"""A validation server with real sockets on 127.0.0.1, as good or bad as a test wants it."""

import json
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import h11
import trio


@dataclass(frozen=True, slots=True)
class Reply:
    """``raw``: instead of an answer, these bytes and the end of the connection; ``delay_s`` inf: never."""

    status: int = 200
    body: bytes = b""
    delay_s: float = 0.0
    headers: tuple[tuple[str, str], ...] = ()
    raw: bytes | None = None
    close_after: bool = False

    @staticmethod
    def refusal(**pairs: Any) -> "Reply":
        return Reply(409, json.dumps(pairs).encode(), headers=(("Content-Type", "application/json"),))


OK = Reply()
NEVER = Reply(delay_s=math.inf)


@dataclass
class RulesServer:
    """
    Attributes:
        requests: the bodies, as they came.
        heads: method, target and headers (lower case) of each.
        most_at_once: requests under way at the same time.
    """

    answer: Callable[[dict[str, Any]], Reply]
    requests: list[dict[str, Any]] = field(default_factory=list)
    heads: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    connections: int = 0
    under_way: int = 0
    most_at_once: int = 0
    port: int = 0

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}/may-dial?token=secret"

    async def serve(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        connection = h11.Connection(h11.SERVER)
        try:
            async with stream:
                while await self._one(stream, connection):
                    connection.start_next_cycle()
        except (trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError):
            pass  # the client has gone, as it may

    async def _one(self, stream: trio.SocketStream, connection: h11.Connection) -> bool:
        content = b""
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await stream.receive_some())
            elif isinstance(event, h11.Request):
                headers = {name.decode().lower(): value.decode() for name, value in event.headers}
                self.heads.append((event.method.decode(), event.target.decode(), headers))
            elif isinstance(event, h11.Data):
                content += event.data
            elif isinstance(event, h11.EndOfMessage):
                break
            else:
                return False
        self.requests.append(json.loads(content))
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        try:
            reply = self.answer(self.requests[-1])
            await trio.sleep(reply.delay_s)
        finally:
            self.under_way -= 1
        if reply.raw is not None:
            await stream.send_all(reply.raw)
            return False
        headers = [*reply.headers, ("Content-Length", str(len(reply.body)))]
        await stream.send_all(
            (connection.send(h11.Response(status_code=reply.status, headers=headers)) or b"")
            + (connection.send(h11.Data(data=reply.body)) or b"")
            + (connection.send(h11.EndOfMessage()) or b"")
        )
        return not reply.close_after and connection.states[h11.SERVER] is not h11.MUST_CLOSE


@asynccontextmanager
async def rules_server(answer: Callable[[dict[str, Any]], Reply]) -> AsyncIterator[RulesServer]:
    server = RulesServer(answer)
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, server.serve, 0, host="127.0.0.1"))
        server.port = listeners[0].socket.getsockname()[1]
        yield server
        nursery.cancel_scope.cancel()
