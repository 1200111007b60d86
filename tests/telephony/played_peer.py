"""A SIP peer played by the test, over a real UDP socket: what it answers is told request by request.

SIPp plays what a scenario file can say; this one is for what it cannot: many dialogs whose order a test decides, a
REGISTER with digest, datagrams that are no SIP.
"""

import re
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from telephony.sip import SipMessage, parse_message

LIMIT_S = 20.0
SDP = (
    "v=0\r\no=far 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 6000 RTP/AVP 0 101\r\n"
    "a=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n"
)


@dataclass(frozen=True)
class Reply:
    """``status`` 0: none at all. ``headers`` are lines. ``then``: called with the request once it is sent."""

    status: int = 200
    headers: tuple[str, ...] = ()
    body: str = ""
    then: Callable[[SipMessage], None] | None = None


class PlayedPeer:
    """Answers on a thread. ``replies[method]``: what comes next, one after the other; then 200 (202 to REFER)."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.1)
        self.port = self._socket.getsockname()[1]
        self.received: list[SipMessage] = []
        self.texts: list[str] = []
        self.replies: dict[str, deque[Reply]] = {}
        self.errors: list[BaseException] = []
        self._worker = ("", 0)
        self._invite: SipMessage | None = None
        self._cseq = 100
        self._running = True
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        self._running = False
        self._thread.join(LIMIT_S)
        self._socket.close()

    @property
    def uri(self) -> str:
        return f"sip:callee@127.0.0.1:{self.port}"

    def will(self, method: str, *replies: Reply) -> None:
        self.replies.setdefault(method, deque()).extend(replies)

    def requests(self, method: str) -> list[SipMessage]:
        return [one for one in self.received if one.method == method]

    def responses(self, method: str) -> list[SipMessage]:
        return [one for one in self.received if not one.method and one.cseq_method == method]

    def wait(self, condition: Callable[[], object]) -> None:
        until_s = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < until_s, self.texts
            time.sleep(0.01)

    def request(self, method: str, *headers: str, body: str = "", invite: SipMessage | None = None) -> None:
        """A request of ours inside the dialog of the (last) INVITE."""
        invite = invite or self._invite
        assert invite is not None
        self._cseq += method != "ACK"  # which has the number of its INVITE
        lines = [
            f"{method} {invite.contact_uri} SIP/2.0",
            f"Via: SIP/2.0/UDP 127.0.0.1:{self.port};branch=z9hG4bK-{self._cseq}-{time.monotonic_ns()}",
            "Max-Forwards: 70",
            f"From: {self._to(invite)}",
            f"To: {invite.header('from')}",
            f"Call-ID: {invite.header('call-id')}",
            f"CSeq: {self._cseq} {method}",
            f"Contact: <{self.uri}>",
            *headers,
            f"Content-Length: {len(body.encode())}",
        ]
        self.send("\r\n".join(lines) + "\r\n\r\n" + body)

    def notify(self, status_line: str, terminated: bool) -> None:
        state = "terminated;reason=noresource" if terminated else "active;expires=60"
        self.request(
            "NOTIFY",
            "Event: refer",
            f"Subscription-State: {state}",
            "Content-Type: message/sipfrag;version=2.0",
            body=status_line + "\r\n",
        )

    def send(self, text: str | bytes, to: tuple[str, int] | None = None) -> None:
        self._socket.sendto(text.encode() if isinstance(text, str) else text, to or self._worker)

    def reply(self, request: SipMessage, reply: Reply) -> None:
        if reply.status:
            self.send(self.made(request, reply))

    def made(self, request: SipMessage, reply: Reply) -> str:
        """The text of a response."""
        body = reply.body or (SDP if request.method == "INVITE" and reply.status == 200 else "")
        lines = [f"SIP/2.0 {reply.status} Played"]
        lines += [f"Via: {value}" for name, value in request.headers if name == "via"]
        lines += [f"From: {request.header('from')}", f"To: {self._to(request)}"]
        lines += [f"Call-ID: {request.header('call-id')}", f"CSeq: {request.header('cseq')}"]
        if request.method != "REGISTER":
            lines.append(f"Contact: <{self.uri}>")
        lines += reply.headers
        if body:
            lines.append("Content-Type: application/sdp")
        lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join(lines) + "\r\n\r\n" + body

    def _to(self, request: SipMessage) -> str:
        value = request.header("to")
        return value if "tag=" in value else f"{value};tag=played"

    def _run(self) -> None:
        while self._running:
            try:
                data, sender = self._socket.recvfrom(65536)
            except TimeoutError:
                continue
            try:
                self._handle(data.decode(errors="replace"), sender)
            except BaseException as error:  # shown by the test that waits
                self.errors.append(error)

    def _handle(self, text: str, sender: tuple[str, int]) -> None:
        if not text.strip():
            return
        message = parse_message(text)
        self._worker = sender
        self.texts.append(text)
        if message.method == "INVITE" and "tag=" not in message.header("to"):
            self._invite = message
        self.received.append(message)
        if not message.method or message.method == "ACK":
            return
        waiting = self.replies.get(message.method)
        reply = waiting.popleft() if waiting else Reply(202 if message.method == "REFER" else 200)
        self.reply(message, reply)
        if reply.then is not None:
            reply.then(message)


@contextmanager
def played_peer() -> Iterator[PlayedPeer]:
    peer = PlayedPeer()
    try:
        yield peer
    finally:
        peer.close()
        assert not peer.errors, peer.errors


def sdp_line(message: SipMessage, start: str) -> str:
    """The first line of a session description that begins so."""
    found = re.search(rf"(?m)^{re.escape(start)}.*$", message.body)
    return found.group().strip() if found else ""
