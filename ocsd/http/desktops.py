"""The desktop endpoint: one WebSocket per agent desktop on a port of its own, path ``/desktop``.

Text messages with one JSON object each go through `ocsd.protocols.desktop` to the DesktopService; whatever cannot
become a request is answered with an error object, and the connection goes on. It is closed

- with 1008 after MAX_MALFORMED messages in a row that hold no request at all (not JSON, binary): nobody's desktop;
- with 1009 when a message is longer than ``max_message_bytes``;
- without a word when OUTGOING_MESSAGES answers wait because the desktop does not read, or when a ping stays without a
  pong: no close frame could get through.

trio-websocket's own `serve_websocket` runs every connection's reader in the server's nursery, where a protocol error
at the wrong moment (its answer meets a reset connection) would end the whole endpoint; `wrap_server_stream` in a
nursery per connection confines it. Its listener also has no bound on connections.
"""

import json
from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from typing import Final

import structlog
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, wrap_server_stream

import ocsd
from ocsd.config.objects import Application, DesktopListener
from ocsd.http.messages import negative, serialise, server_header
from ocsd.http.origin import is_foreign
from ocsd.model.enums import GswError
from ocsd.model.errors import DesktopRequestError, StoreUnavailable
from ocsd.model.services import DesktopService
from ocsd.protocols.desktop import RefusedRequest, parse
from ocsd.protocols.desktop_events import refusal, refusal_of

log = structlog.get_logger(__name__)

PATH: Final = "/desktop"
OUTGOING_MESSAGES: Final = 256
"""Messages waiting for one desktop; a call causes about ten, so a desktop this far behind has stopped reading."""
INCOMING_MESSAGES: Final = 16
HANDSHAKE_LIMIT_S: Final = 10.0
CLOSE_LIMIT_S: Final = 2.0
PING_INTERVAL_S: Final = 20.0
PONG_LIMIT_S: Final = 20.0
MAX_MALFORMED: Final = 10

CLOSE_POLICY_VIOLATION: Final = 1008  # RFC 6455 7.4.1


class _Desktop:
    """The DesktopConnection that the sessions hold."""

    def __init__(self, peer: str, cancel_scope: trio.CancelScope) -> None:
        self.peer = peer
        self._cancel_scope = cancel_scope
        self._outgoing, self.waiting = trio.open_memory_channel[str](OUTGOING_MESSAGES)
        self.drained = trio.Event()

    def send(self, message: Mapping[str, object]) -> None:
        try:
            self._outgoing.send_nowait(json.dumps(message, allow_nan=False))
        except trio.WouldBlock:
            log.warning("desktop.cut_off", peer=self.peer, because="does not read", waiting=OUTGOING_MESSAGES)
            self._outgoing.close()
            self._cancel_scope.cancel()
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            log.debug("desktop.message_dropped", peer=self.peer)  # the connection has just ended

    def finish(self) -> None:
        """Let the messages that wait go out, and take no more."""
        self._outgoing.close()


class DesktopEndpoint:
    """Serves connections; `serve_desktops` feeds it with those of a TCP listener."""

    def __init__(self, config: DesktopListener, application: Application, service: DesktopService) -> None:
        self.config = config
        self.application_dbid = application.dbid
        self.service = service
        self.server = server_header(application.name, application.version or ocsd.__version__)
        self.connections = 0

    async def handle(self, stream: trio.abc.Stream) -> None:
        """Serve one connection until either side ends it. Only a cancel passes; a bug of ours costs one connection."""
        try:
            async with stream:
                if self.connections >= self.config.max_connections:
                    await self._turn_away(stream)
                    return
                self.connections += 1
                try:
                    await self._serve(stream)
                finally:
                    self.connections -= 1
        except Exception as error:
            if _is_lost(error):
                log.debug("desktop.connection_lost")
            else:
                log.exception("desktop.connection_failed")

    async def _turn_away(self, stream: trio.abc.Stream) -> None:
        log.warning("desktop.connection_refused", limit=self.config.max_connections)
        text = f"all {self.config.max_connections} desktop connections are in use"
        said = serialise(negative(HTTPStatus.SERVICE_UNAVAILABLE, text), self.server, close=True)
        with trio.move_on_after(CLOSE_LIMIT_S):
            await stream.send_all(said)
            # Read the handshake: closing over it would send a reset that may overtake the answer.
            await stream.receive_some(4096)

    async def _serve(self, stream: trio.abc.Stream) -> None:
        async with trio.open_nursery() as nursery:
            request: WebSocketRequest | None = None
            with trio.move_on_after(HANDSHAKE_LIMIT_S):
                request = await wrap_server_stream(
                    nursery,
                    stream,
                    message_queue_size=INCOMING_MESSAGES,
                    max_message_size=self.config.max_message_bytes,
                )
            if request is None:
                log.debug("desktop.handshake_untimely", limit_s=HANDSHAKE_LIMIT_S)
            elif (refused := self._refuse(request)) is not None:
                status, text = refused
                with trio.move_on_after(CLOSE_LIMIT_S):
                    await request.reject(status, extra_headers=[(b"Content-type", b"text/plain")], body=text)
            else:
                websocket: WebSocketConnection | None = None
                with trio.move_on_after(HANDSHAKE_LIMIT_S):
                    websocket = await request.accept()
                if websocket is not None:
                    await self._converse(websocket)
            nursery.cancel_scope.cancel()

    @staticmethod
    def _refuse(request: WebSocketRequest) -> tuple[int, bytes] | None:
        if request.path.partition("?")[0] != PATH:
            return HTTPStatus.NOT_FOUND.value, b"404 Not Found : desktops connect to " + PATH.encode("ascii")
        origin = next((value.decode("latin-1") for name, value in request.headers if name.lower() == b"origin"), None)
        # wsproto takes Host out of the headers, and trio-websocket has no public way to it.
        if is_foreign(origin, request._event.host):
            log.warning("desktop.connection_refused", origin=origin)
            return HTTPStatus.FORBIDDEN.value, b"403 Forbidden : the request comes from a web page of another host"
        return None

    async def _converse(self, websocket: WebSocketConnection) -> None:
        async with trio.open_nursery() as nursery:
            desktop = _Desktop(str(websocket.remote), nursery.cancel_scope)
            nursery.start_soon(_write, websocket, desktop)
            nursery.start_soon(_keep_alive, websocket, desktop, nursery.cancel_scope)
            self.service.connected(desktop)
            try:
                with structlog.contextvars.bound_contextvars(peer=desktop.peer):
                    if await self._read(websocket, desktop):
                        desktop.finish()
                        with trio.move_on_after(CLOSE_LIMIT_S):
                            await desktop.drained.wait()
                            await websocket.aclose(CLOSE_POLICY_VIOLATION, "too many malformed messages")
            finally:
                self.service.disconnected(desktop)
            nursery.cancel_scope.cancel()

    async def _read(self, websocket: WebSocketConnection, desktop: _Desktop) -> bool:
        """Serve requests until the connection ends; True when it is for us to end it."""
        malformed = 0
        while malformed < MAX_MALFORMED:
            try:
                text = await websocket.get_message()
            except ConnectionClosed:
                return False
            try:
                if not isinstance(text, str):
                    why = "binary messages are not supported: send one JSON object per text message"
                    raise RefusedRequest(GswError.INVALID_REQUEST, why, malformed=True)
                request = parse(text)
            except RefusedRequest as refused:
                malformed = malformed + 1 if refused.malformed else 0
                log.info("desktop.request_refused", request=refused.request, because=refused.description)
                desktop.send(refusal(refused, self.application_dbid))
                continue
            malformed = 0
            try:
                await self.service.received(desktop, request)
            except DesktopRequestError as error:
                self._answer(desktop, refusal_of(request, error, self.application_dbid))
            except Exception as error:
                log.exception("desktop.request_failed", request=type(request).__name__)
                # The manual has a number for a failing database, none for a failing server.
                number = GswError.DB_ERROR if isinstance(error, StoreUnavailable) else GswError.INVALID_REQUEST
                failure = DesktopRequestError(number, "the request failed inside the server and was not carried out")
                self._answer(desktop, refusal_of(request, failure, self.application_dbid))
        return True

    @staticmethod
    def _answer(desktop: _Desktop, message: Mapping[str, object] | None) -> None:
        if message is not None:
            desktop.send(message)


def _is_lost(error: BaseException) -> bool:
    """Whether nothing but the connection's end is in ``error``."""
    if isinstance(error, BaseExceptionGroup):
        return all(_is_lost(part) for part in error.exceptions)
    return isinstance(error, ConnectionClosed | trio.BrokenResourceError | trio.ClosedResourceError)


async def _write(websocket: WebSocketConnection, desktop: _Desktop) -> None:
    try:
        async for text in desktop.waiting:
            await websocket.send_message(text)
    except ConnectionClosed:
        desktop.waiting.close()  # the reader notices too, and ends the connection
    desktop.drained.set()


async def _keep_alive(websocket: WebSocketConnection, desktop: _Desktop, cancel_scope: trio.CancelScope) -> None:
    """Find peers that vanished without a word, which TCP alone may take hours to notice."""
    try:
        while True:
            await trio.sleep(PING_INTERVAL_S)
            with trio.move_on_after(PONG_LIMIT_S) as limit:
                await websocket.ping()
            if limit.cancelled_caught:
                log.warning("desktop.cut_off", peer=desktop.peer, because="no pong", limit_s=PONG_LIMIT_S)
                cancel_scope.cancel()
    except ConnectionClosed:
        pass


async def serve_desktops(
    config: DesktopListener,
    application: Application,
    service: DesktopService,
    *,
    task_status: trio.TaskStatus[tuple[int, ...]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """
    Serve desktops until cancelled; ``nursery.start`` returns the bound ports (one per address of the host).

    Raises OSError when the address cannot be bound. A cancel closes the connections at once.
    """
    endpoint = DesktopEndpoint(config, application, service)
    listeners = await trio.open_tcp_listeners(config.port, host=config.host)
    ports = tuple(listener.socket.getsockname()[1] for listener in listeners)
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(trio.serve_listeners, endpoint.handle, listeners))
        log.info("desktop.listening", host=config.host, ports=ports)
        task_status.started(ports)
