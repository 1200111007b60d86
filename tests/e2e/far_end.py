"""A far end on one UDP port: it takes calls, sends a tone and keys, hears what it is sent, and hangs up when told.

It stands for what the simulated world has not: people who press keys, VoiceXML media servers, ports of an IVR.
"""

import math
import random
import re
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from telephony.media.dtmf import DIGITS
from telephony.media.g711 import linear_to_ulaw, ulaw_to_linear
from tests.ladder import Ladder, SipText

FRAME_S = 0.02
FRAME = 160
RATE_HZ = 8000
PCMU, EVENTS = 0, 101
KEY_FRAMES = 6
"""120 ms, as a thumb does."""


@dataclass
class FarCall:
    """
    One call. ``keys``: to be pressed; ``heard``: the payloads of the frames that came; ``tone_hz``: what it sends.
    """

    invite: SipText
    peer: tuple[str, int]
    tag: str
    rtp: socket.socket
    remote: tuple[str, int]
    uri: str
    answered: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    keys: list[str] = field(default_factory=list)
    heard: list[bytes] = field(default_factory=list)
    tone_hz: float = 0.0
    sequence: int = 1
    cseq: int = 100

    @property
    def call_id(self) -> str:
        return self.invite.headers["call-id"]

    def level(self, hz: float) -> float:
        """Share of the energy heard in the last 0.4 s that is at this frequency; 0 when it is silent."""
        payload = b"".join(self.heard[-20:])
        samples = ulaw_to_linear(np.frombuffer(payload, np.uint8)).astype(float)
        energy = float(np.sum(samples**2))
        if len(samples) < 5 * FRAME or energy < len(samples) * 50.0**2:
            return 0.0
        turn = np.exp(-2j * math.pi * hz * np.arange(len(samples)) / RATE_HZ)
        return float(abs(np.sum(samples * turn)) ** 2 * 2.0 / len(samples) / energy)


class FarEnd:
    """
    Use it as a context. ``on_answer`` is called, in a thread of its own, for each call that was answered.

    ``tone_hz``: what it sends in all its calls; 0: silence.
    """

    def __init__(
        self, name: str, on_answer: Callable[["FarEnd", FarCall], None] = lambda far, call: None, tone_hz: float = 0.0
    ) -> None:
        self.name = name
        self.tone_hz = tone_hz
        self.calls: dict[str, FarCall] = {}
        self.messages: list[tuple[float, bool, tuple[str, int], SipText]] = []
        """(monotonic seconds, sent by us?, peer, message)."""
        self.said: list[tuple[float, str, str, bool]] = []
        """What else was said about a call: (monotonic seconds, Call-ID, label, by us?)."""
        self.failures: list[BaseException] = []
        self._on_answer = on_answer
        self._sip = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sip.bind(("127.0.0.1", 0))
        self._sip.settimeout(0.1)
        self.port: int = self._sip.getsockname()[1]
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> "FarEnd":
        self._run(self._listen)
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(5.0)
        for call in self.calls.values():
            call.rtp.close()
        self._sip.close()

    def _run(self, target: Callable[..., None], *arguments: object) -> None:
        def guarded() -> None:
            try:
                target(*arguments)
            except BaseException as error:
                self.failures.append(error)

        thread = threading.Thread(target=guarded, daemon=True)
        self._threads.append(thread)
        thread.start()

    def on(
        self, ladder: Ladder, *, show: tuple[str, ...] = (), only: Callable[[SipText], bool] = lambda m: True
    ) -> None:
        """Add its messages to a ladder."""
        for at_s, sent, _peer, message in self.messages:
            if only(message):
                ladder.sip(at_s, *((self.name, "ocsd") if sent else ("ocsd", self.name)), message, show)

    # --- signalling ---------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        while not self._over.is_set():
            try:
                data, peer = self._sip.recvfrom(65535)
            except TimeoutError:
                continue
            message = SipText.parse(data.decode("utf-8", "replace"))
            self.messages.append((time.monotonic(), False, peer, message))
            if not message.status:
                self._request(message, peer)

    def _request(self, message: SipText, peer: tuple[str, int]) -> None:
        call = self.calls.get(message.headers["call-id"])
        match message.method:
            case "INVITE" if call is None:
                self._invited(message, peer)
            case "INVITE":
                assert call is not None
                call.remote = _audio(message.body) or call.remote
                self._answer(message, call.peer, 200, call.tag, _sdp(call.rtp))
            case "ACK" if call is not None and not call.answered.is_set():
                call.answered.set()
                self._run(self._sound, call)
                self._run(self._on_answer, self, call)
            case "ACK":
                pass
            case "BYE" | "CANCEL":
                self._answer(message, peer, 200, call.tag if call is not None else "x")
                if call is not None:
                    call.ended.set()
            case _:
                self._answer(message, peer, 200, call.tag if call is not None else "x")

    def _invited(self, message: SipText, peer: tuple[str, int]) -> None:
        rtp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        rtp.bind(("127.0.0.1", 0))
        rtp.setblocking(False)
        remote = _audio(message.body)
        assert remote is not None
        uri = message.start.split()[1]
        call = FarCall(message, peer, f"{random.getrandbits(32):x}", rtp, remote, uri, tone_hz=self.tone_hz)
        self.calls[call.call_id] = call
        self._answer(message, peer, 180, call.tag)
        self._answer(message, peer, 200, call.tag, _sdp(rtp))

    def _answer(self, request: SipText, peer: tuple[str, int], status: int, tag: str, body: str = "") -> None:
        reason = {180: "Ringing", 200: "OK"}[status]
        to = request.headers["to"]
        lines = [f"SIP/2.0 {status} {reason}", f"Via: {request.headers['via']}", f"From: {request.headers['from']}"]
        lines += [f"To: {to}" + ("" if "tag=" in to else f";tag={tag}"), f"Call-ID: {request.headers['call-id']}"]
        lines += [f"CSeq: {request.headers['cseq']}", f"Contact: <sip:far@127.0.0.1:{self.port}>"]
        self._send(lines, body, peer)

    def hang_up(self, call: FarCall, *headers: str) -> None:
        """BYE, with these headers."""
        if call.ended.is_set():
            return
        call.ended.set()
        call.cseq += 1
        target = re.search(r"<([^>]+)>", call.invite.headers["contact"])
        assert target is not None
        to, own = call.invite.headers["from"], call.invite.headers["to"]
        branch = f"z9hG4bK{random.getrandbits(40):x}"
        lines = [f"BYE {target[1]} SIP/2.0", f"Via: SIP/2.0/UDP 127.0.0.1:{self.port};branch={branch};rport"]
        lines += [f"From: {own};tag={call.tag}", f"To: {to}", f"Call-ID: {call.call_id}", f"CSeq: {call.cseq} BYE"]
        lines += ["Max-Forwards: 70", *headers]
        self._send(lines, "", call.peer)

    def _send(self, lines: list[str], body: str, peer: tuple[str, int]) -> None:
        lines = [*lines, *(["Content-Type: application/sdp"] if body else []), f"Content-Length: {len(body)}"]
        text = "\r\n".join(lines) + "\r\n\r\n" + body
        self.messages.append((time.monotonic(), True, peer, SipText.parse(text)))
        self._sip.sendto(text.encode(), peer)

    # --- audio ----------------------------------------------------------------------------------------------------

    def _sound(self, call: FarCall) -> None:
        begin_s, frame = time.monotonic(), 0
        key, key_frame, key_stamp = "", 0, 0
        while not (call.ended.is_set() or self._over.is_set()):
            stamp = frame * FRAME
            if not key and call.keys:
                key, key_frame, key_stamp = call.keys.pop(0), 0, stamp
            if key:
                key_frame += 1
                over = key_frame >= KEY_FRAMES
                event = struct.pack("!BBH", DIGITS.index(key), (0x80 if over else 0) | 10, key_frame * FRAME)
                for _ in range(3 if over else 1):  # RFC 4733 2.5.1.4
                    self._packet(call, EVENTS, key_stamp, event)
                key = "" if over else key
            else:
                at = (np.arange(FRAME) + stamp) * (2 * math.pi * call.tone_hz / RATE_HZ)
                samples = (np.sin(at) * 6000 if call.tone_hz else np.zeros(FRAME)).astype(np.int16)
                self._packet(call, PCMU, stamp, linear_to_ulaw(samples).tobytes())
            frame += 1
            self._hear(call)
            time.sleep(max(0.0, begin_s + frame * FRAME_S - time.monotonic()))

    def _packet(self, call: FarCall, kind: int, stamp: int, payload: bytes) -> None:
        call.sequence += 1
        header = struct.pack("!BBHII", 0x80, kind, call.sequence & 0xFFFF, stamp & 0xFFFFFFFF, 0x1234)
        call.rtp.sendto(header + payload, call.remote)

    def _hear(self, call: FarCall) -> None:
        while True:
            try:
                data = call.rtp.recv(2048)
            except BlockingIOError:
                return
            if data[1] & 0x7F == PCMU:
                call.heard.append(data[12:])


def _audio(body: str) -> tuple[str, int] | None:
    host, port = re.search(r"c=IN IP4 (\S+)", body), re.search(r"m=audio (\d+)", body)
    return (host[1], int(port[1])) if host and port else None


def _sdp(rtp: socket.socket) -> str:
    lines = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "c=IN IP4 127.0.0.1", "t=0 0"]
    lines += [f"m=audio {rtp.getsockname()[1]} RTP/AVP 0 101", "a=rtpmap:0 PCMU/8000", "a=sendrecv"]
    return "\r\n".join([*lines, "a=rtpmap:101 telephone-event/8000", "a=fmtp:101 0-15", ""])
