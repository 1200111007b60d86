"""The HTTP control port: h11 on trio (shell around `answers`).

Wire behaviour, from the manual's "Guidelines for Client Connections" unless said otherwise:

- Connections are persistent. ``Connection: close`` from the client is ignored (option ``ignore_connection_close``):
  each request gets an h11 parser of its own, so that h11's view of the connection never outlives a request. HTTP/1.0
  clients, who wait for the end of the connection, are always closed.
- Pipelined requests are not promised, but work: they are carried out one after the other.
- Bounds: header bytes (431), body bytes (413), time from a request's first byte to its end (408), time between
  requests (closed without a word), time to take an answer, and connections (503 and closed: a client that is told can
  go elsewhere, one that waits in the accept queue cannot tell us from a dead server).
- Whatever is no HTTP gets 400 with the reason, and the connection is closed: after a broken message the start of the
  next one is anybody's guess. Conflicting lengths are refused by h11, which keeps one client's bytes from becoming
  another one's request behind a proxy.
"""

import logging
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import partial
from http import HTTPStatus
from typing import Final, NoReturn

import h11
import structlog
import trio

import ocsd
from ocsd.config.objects import Application, HttpListener
from ocsd.http.answers import HttpRequest, Services, answer
from ocsd.http.messages import Answer, negative, serialise, server_header

log = structlog.get_logger(__name__)

RECEIVE_BYTES: Final = 16_384
ANSWER_LIMIT_S: Final = 30.0
"""A client that does not take an answer within this time is cut off; answers are small, so only a stuck one is."""
LINGER_LIMIT_S: Final = 1.0
"""How long a closing connection waits for the client's own close: closing over unread bytes would send a reset, and
the reset may overtake the answer that says why."""
LINGER_BYTES: Final = 262_144
MAX_REFUSED_CONNECTIONS: Final = 64
"""Connections past the bound that are being told 503 at once; more are dropped without a word."""
REFUSALS_LOGGED_EVERY_S: Final = 10.0
"""A storm of connections past the bound must not become one of log lines."""

KEEPALIVE_IDLE_S: Final = 60
KEEPALIVE_INTERVAL_S: Final = 10
KEEPALIVE_PROBES: Final = 3
"""A client that vanished without a FIN gives its place back after a minute and a half. The system's own two hours are
longer than the idle limit, which would come first."""
BUFFER_BYTES: Final = 65_536
"""In each direction. The kernel would else keep up to 6 MB of requests (tcp_rmem) and 4 MB of answers (tcp_wmem) for
each client that asks on and never reads."""

_LONG_NUMBER: Final = re.compile(r"[0-9]{5,}(?=[0-9]{2})", re.ASCII)


class _Unacceptable(Exception):
    """The request cannot be read on; answer and close."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status.phrase)
        self.answer = answer


@dataclass(frozen=True, slots=True)
class _Received:
    request: HttpRequest
    last: bool
    """The connection ends with this request's answer."""


class HttpEndpoint:
    """Serves connections; `serve_http` feeds it with those of a TCP listener."""

    def __init__(self, config: HttpListener, application: Application, services: Services) -> None:
        self.config = config
        self.application_dbid = application.dbid
        self.services = services
        self.server = server_header(application.name, application.version or ocsd.__version__)
        self.connections = 0
        self._refused = 0
        self._refusals_untold = 0
        self._refusals_told_at_s = -math.inf

    async def handle(self, stream: trio.abc.HalfCloseableStream) -> None:
        """Serve one connection until either side ends it. Only a cancel passes; a bug of ours costs one connection."""
        try:
            async with stream:
                if self.connections >= self.config.max_connections:
                    await self._turn_away(stream)
                    return
                self.connections += 1
                try:
                    await _Connection(self, stream).run()
                finally:
                    self.connections -= 1
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            log.debug("http.connection_lost")
        except Exception:
            log.exception("http.connection_failed")

    async def _turn_away(self, stream: trio.abc.HalfCloseableStream) -> None:
        self._refusals_untold += 1
        if trio.current_time() - self._refusals_told_at_s >= REFUSALS_LOGGED_EVERY_S:
            log.warning("http.connection_refused", limit=self.config.max_connections, refused=self._refusals_untold)
            self._refusals_told_at_s, self._refusals_untold = trio.current_time(), 0
        if self._refused >= MAX_REFUSED_CONNECTIONS:
            return
        self._refused += 1
        try:
            text = f"all {self.config.max_connections} connections are in use"
            said = serialise(negative(HTTPStatus.SERVICE_UNAVAILABLE, text), self.server, close=True)
            with trio.move_on_after(LINGER_LIMIT_S):
                await stream.send_all(said)
                await _linger(stream)
        finally:
            self._refused -= 1


class _Phase(Enum):
    """What a connection waits for, and so what its deadline means."""

    REQUEST = "the first byte of a request"
    REST = "the rest of a request"
    ANSWER = "the client to take an answer"


class _Connection:
    """
    One client. Its task is the only one that touches it.

    One cancel scope serves all waits of the connection: moving its deadline costs a third of entering a new scope, and
    there are two waits to every request. No deadline stands while a request is carried out.
    """

    def __init__(self, endpoint: HttpEndpoint, stream: trio.abc.HalfCloseableStream) -> None:
        self._endpoint = endpoint
        self._config = endpoint.config
        self._stream = stream
        self._limit = trio.CancelScope()
        self._phase = _Phase.REQUEST
        self._unread = b""
        """Bytes of the next request that came with the last one."""

    async def run(self) -> None:
        refused: Answer | None = None
        with self._limit:
            try:
                await self._converse()
            except _Unacceptable as unacceptable:
                refused = unacceptable.answer
        if self._limit.cancelled_caught:
            if self._phase is _Phase.ANSWER:
                log.warning("http.answer_untaken", limit_s=ANSWER_LIMIT_S)
            elif self._phase is _Phase.REST:
                text = f"the request was not complete within {self._config.header_timeout_s:g} s"
                refused = negative(HTTPStatus.REQUEST_TIMEOUT, text)
        if refused is not None:
            log.debug("http.request_refused", status=refused.status.value)
            with trio.move_on_after(ANSWER_LIMIT_S) as limit:
                await self._stream.send_all(serialise(refused, self._endpoint.server, close=True))
                await _linger(self._stream)
            if limit.cancelled_caught:
                log.warning("http.answer_untaken", limit_s=ANSWER_LIMIT_S)

    async def _converse(self) -> None:
        endpoint = self._endpoint
        while (received := await self._receive()) is not None:
            request = received.request
            started_s = trio.current_time()
            answered = await answer(request, endpoint.services, endpoint.application_dbid)
            if log.is_enabled_for(logging.DEBUG):
                log.debug(
                    "http.request_answered",
                    method=request.method,
                    target=_LONG_NUMBER.sub(lambda run: "*" * len(run[0]), request.target),
                    status=answered.status.value,
                    duration_s=round(trio.current_time() - started_s, 6),
                )
            said = serialise(answered, endpoint.server, close=received.last, head=request.method == "HEAD")
            self._wait_for(_Phase.ANSWER, ANSWER_LIMIT_S)
            await self._stream.send_all(said)
            if received.last:
                self._limit.deadline = math.inf
                await _linger(self._stream)
                return

    def _wait_for(self, phase: _Phase, limit_s: float) -> None:
        self._phase = phase
        self._limit.deadline = trio.current_time() + limit_s

    async def _receive(self) -> _Received | None:
        """Read the next request; None when the client has ended the connection."""
        data, self._unread = self._unread, b""
        if not data:
            self._wait_for(_Phase.REQUEST, self._config.idle_timeout_s)
            data = bytes(await self._stream.receive_some(RECEIVE_BYTES))
            if not data:
                return None
        received = await self._receive_rest(data)
        # Past here nothing may be cut off: the service would be left with half a request.
        self._limit.deadline = math.inf
        if self._limit.cancel_called:  # in the instant in which the last byte came
            await trio.lowlevel.checkpoint()
        return received

    async def _receive_more(self) -> bytes:
        if self._phase is not _Phase.REST:  # a request nearly always comes in one piece, and then needs no limit
            self._wait_for(_Phase.REST, self._config.header_timeout_s)
        return bytes(await self._stream.receive_some(RECEIVE_BYTES))

    async def _receive_rest(self, data: bytes) -> _Received | None:
        # RFC 9112 2.2: empty lines before the request line are to be passed over; old clients send one after a body.
        while not (data := data.lstrip(b"\r\n")):
            data = await self._receive_more()
            if not data:
                return None
        parser = h11.Connection(h11.SERVER, max_incomplete_event_size=self._config.max_header_bytes)
        parser.receive_data(data)
        head: h11.Request | None = None
        fields: Mapping[bytes, bytes] = {}
        body = b""
        while True:
            try:
                event = parser.next_event()
            except h11.RemoteProtocolError as error:
                raise _Unacceptable(_malformed(error)) from None
            if event is h11.NEED_DATA:
                if parser.they_are_waiting_for_100_continue:
                    go_on = parser.send(h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue"))
                    await self._stream.send_all(go_on or b"")
                parser.receive_data(await self._receive_more())
            elif isinstance(event, h11.Request):
                head, fields = event, self._fields(event)
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > self._config.max_body_bytes:
                    self._refuse_body()
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                self._unread = bytes(parser.trailing_data[0])
                return self._received(head, fields, body)
            else:
                return None  # the client ended the connection

    def _fields(self, head: h11.Request) -> Mapping[bytes, bytes]:
        """Header values by lower-case name, several of one name joined by commas; refused when there is too much."""
        size = len(head.target)
        fields: dict[bytes, bytes] = {}
        for spelled, value in head.headers.raw_items():
            name = spelled.lower()
            size += len(name) + len(value) + 4
            fields[name] = fields[name] + b"," + value if name in fields else value
        if size > self._config.max_header_bytes:  # h11 itself bounds only headers that come in several pieces
            text = f"the request headers are longer than {self._config.max_header_bytes} bytes"
            raise _Unacceptable(negative(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, text))
        if int(fields.get(b"content-length", b"0")) > self._config.max_body_bytes:
            self._refuse_body()
        return fields

    def _refuse_body(self) -> NoReturn:
        text = f"the request body is longer than {self._config.max_body_bytes} bytes"
        raise _Unacceptable(negative(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text))

    def _received(self, head: h11.Request, fields: Mapping[bytes, bytes], body: bytes) -> _Received:
        last = head.http_version < b"1.1"
        if not last and not self._config.ignore_connection_close:
            last = b"close" in (token.strip() for token in fields.get(b"connection", b"").lower().split(b","))
        request = HttpRequest(
            method=head.method.decode("ascii"),
            target=head.target.decode("ascii"),
            content_type=_text(fields.get(b"content-type")) or "",
            if_none_match=_text(fields.get(b"if-none-match")),
            origin=_text(fields.get(b"origin")),
            host=_text(fields.get(b"host")),
            body=body,
        )
        return _Received(request, last)


def _text(value: bytes | None) -> str | None:
    return value.decode("latin-1") if value is not None else None


def _malformed(error: h11.RemoteProtocolError) -> Answer:
    try:
        status = HTTPStatus(error.error_status_hint)
    except ValueError:
        status = HTTPStatus.BAD_REQUEST
    return negative(status, f"not a valid HTTP request: {error}")


async def _linger(stream: trio.abc.HalfCloseableStream) -> None:
    """Close our direction and read on until the client closes too, within bounds."""
    with trio.move_on_after(LINGER_LIMIT_S):
        await stream.send_eof()
        discarded = 0
        while discarded < LINGER_BYTES:
            data = await stream.receive_some(RECEIVE_BYTES)
            if not data:
                return
            discarded += len(data)


def _bound_clients(listening: trio.socket.SocketType) -> None:
    """Limits that the kernel keeps for us; accepted sockets inherit them (socket(7), tcp(7))."""
    listening.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_KEEPALIVE, 1)
    listening.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, BUFFER_BYTES)
    listening.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_SNDBUF, BUFFER_BYTES)
    listening.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
    listening.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S)
    listening.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_KEEPCNT, KEEPALIVE_PROBES)
    # The same patience with an answer that nobody acknowledges: retransmission would else go on for a quarter hour.
    patience_s = KEEPALIVE_IDLE_S + KEEPALIVE_PROBES * KEEPALIVE_INTERVAL_S
    listening.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_USER_TIMEOUT, 1000 * patience_s)


async def serve_http(
    config: HttpListener,
    application: Application,
    services: Services,
    *,
    task_status: trio.TaskStatus[tuple[int, ...]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """
    Serve the control port until cancelled; ``nursery.start`` returns the bound ports (one per address of the host).

    Raises OSError when the address cannot be bound. A cancel closes the connections at once; what the services
    have been asked by then is theirs to finish.
    """
    endpoint = HttpEndpoint(config, application, services)
    listeners = await trio.open_tcp_listeners(config.port, host=config.host)
    ports = tuple(listener.socket.getsockname()[1] for listener in listeners)

    for listener in listeners:
        _bound_clients(listener.socket)

    async with trio.open_nursery() as nursery:
        await nursery.start(partial(trio.serve_listeners, endpoint.handle, listeners))
        log.info("http.listening", host=config.host, ports=ports)
        task_status.started(ports)
