"""Clients that speak bytes: the control port over a raw socket, a desktop over a WebSocket. Blocking; one test, one."""

import json
import select
import socket
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)

from tests.e2e.site import PATIENCE_S

RECEIVE_BYTES = 65536


class Ended(Exception):
    """The other side has ended the connection."""


class _Client:
    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.sock.close()

    def _read(self) -> bytes:
        try:
            data = self.sock.recv(RECEIVE_BYTES)
        except ConnectionResetError:
            data = b""
        if not data:
            raise Ended
        return data


@dataclass(frozen=True)
class Reply:
    """An answer as it came over the wire; header names as the server spells them."""

    status_line: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def status(self) -> int:
        return int(self.status_line.split()[1])

    @property
    def warning(self) -> int | None:
        return int(dict(self.headers)["Warning"]) if "Warning" in dict(self.headers) else None

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


class RawHttp(_Client):
    """A connection to the control port."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self._unread = b""

    def send(self, data: str | bytes) -> None:
        self.sock.sendall(data.encode() if isinstance(data, str) else data)

    def ask(self, data: str | bytes) -> Reply:
        """Send bytes and read one answer; Ended when there is none."""
        self.send(data)
        return self.reply()

    def reply(self) -> Reply:
        while b"\r\n\r\n" not in self._unread:
            self._unread += self._read()
        head, _, self._unread = self._unread.partition(b"\r\n\r\n")
        status_line, *lines = head.decode("ascii").split("\r\n")
        headers = tuple((name, value) for name, _, value in (line.partition(": ") for line in lines))
        length = int({name.lower(): value for name, value in headers}.get("content-length", "0"))
        while len(self._unread) < length:
            self._unread += self._read()
        body, self._unread = self._unread[:length], self._unread[length:]
        return Reply(status_line, headers, body)

    def at_end(self) -> bool:
        """Whether the server ends the connection without another byte (waits for either)."""
        try:
            return not self._unread and not self._read()
        except Ended:
            return True


class Refused(Exception):
    """The handshake was answered with ``status`` instead of 101."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"{status} {body!r}")
        self.status = status


class DesktopSocket(_Client):
    """One agent's desktop. ``seen`` is every message received, in order; ``stamped`` those sent too, for a ladder."""

    def __init__(self, port: int, path: str = "/desktop") -> None:
        super().__init__(port)
        self.seen: list[dict[str, Any]] = []
        self.stamped: list[tuple[float, bool, dict[str, Any]]] = []
        """(monotonic seconds, sent by us, message)"""
        self.closed_with: int | None = None
        self._ws = WSConnection(ConnectionType.CLIENT)
        self._waiting: list[Event] = []
        self._text = ""
        try:
            self.sock.sendall(self._ws.send(Request(host=f"127.0.0.1:{port}", target=path)))
            self._shake_hands()
        except BaseException:
            self.sock.close()
            raise

    def _shake_hands(self) -> None:
        match self._event():
            case AcceptConnection():
                pass
            case RejectConnection(status_code=status):
                body = b""
                while isinstance(event := self._event(), RejectData):
                    body += event.data
                    if event.body_finished:
                        break
                raise Refused(status, body)
            case other:
                raise AssertionError(f"unexpected {other!r}")

    def _event(self) -> Event:
        while not self._waiting:
            self._ws.receive_data(self._read())
            self._waiting = list(self._ws.events())
        return self._waiting.pop(0)

    def send(self, message: dict[str, Any] | str | bytes) -> None:
        """An object as JSON, a text as it is, or bytes as a binary message."""
        if isinstance(message, dict):
            self.stamped.append((time.monotonic(), True, message))
        data = json.dumps(message) if isinstance(message, dict) else message
        event = BytesMessage(data=data) if isinstance(data, bytes) else TextMessage(data=data)
        self.sock.sendall(self._ws.send(event))

    def receive(self) -> dict[str, Any]:
        """The next message; Ended when the server closes (`closed_with` tells its code)."""
        while (message := self._message(self._event())) is None:
            pass
        return message

    def poll(self) -> dict[str, Any] | None:
        """The next message if it is here already, else None; answers pings, so that the connection stays."""
        while self._waiting or select.select([self.sock], [], [], 0)[0]:
            if not self._waiting:
                self._ws.receive_data(self._read())
                self._waiting = list(self._ws.events())
            elif (message := self._message(self._waiting.pop(0))) is not None:
                return message
        return None

    def _message(self, event: Event) -> dict[str, Any] | None:
        """What the event completes; None: nothing yet."""
        match event:
            case TextMessage(data=data, message_finished=finished):
                self._text += data
                if finished:
                    self.seen.append(json.loads(self._text))
                    self.stamped.append((time.monotonic(), False, self.seen[-1]))
                    self._text = ""
                    return self.seen[-1]
            case Ping() as ping:
                self.sock.sendall(self._ws.send(ping.response()))
            case CloseConnection(code=code):
                self.closed_with = int(code)
                raise Ended
            case other:
                raise AssertionError(f"unexpected {other!r}")
        return None

    def expect(self, **wanted: Any) -> dict[str, Any]:
        """Read on to the next message with these values."""
        while True:
            message = self.receive()
            if all(message.get(key) == value for key, value in wanted.items()):
                return message

    def ask(self, message: dict[str, Any] | str | bytes) -> dict[str, Any]:
        self.send(message)
        return self.receive()

    def log_in(self, agent_id: str, *, ready: bool = False) -> None:
        self.send({"Request": "RequestAgentLogin", "AgentID": agent_id, "ReferenceID": 1})
        self.expect(Event="EventAgentLogin", AgentID=agent_id, ReferenceID=1)
        if ready:
            self.send({"Request": "RequestAgentReady", "ReferenceID": 2})
            self.expect(Event="EventAgentReady", ReferenceID=2)

    def notifications(self) -> list[str]:
        """Names of the campaign notifications seen so far."""
        return [str(m["GSW_USER_EVENT"]) for m in self.seen if str(m.get("GSW_USER_EVENT", "")).startswith("Campaign")]
