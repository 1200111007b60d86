"""A SIP user agent server for hundreds of calls in one process, without I/O: datagrams and time in, datagrams out.

Why our own: the SIP library of the product holds four calls a process, and a carrier in tests must be able to do what
a library would not, such as stay silent or answer late. Transport is UDP on one socket.

Theory of operation. An INVITE becomes a `SipCall` plus one INVITE server transaction (RFC 3261 17.2.1). The
application moves the call on (`ring`, `answer`, `reject`, `hang_up`) and hears of the peer through events:

    INVITED --ring--> INVITED --answer--> ANSWERED --ACK--> CONFIRMED --BYE either way--> ENDED
       |  CANCEL or BYE: 487                  | no ACK for 64 T1: BYE
       +--reject / CANCEL--> ENDED <----------+

ENDED means that the application is done with the call; its transactions live on here until their timers have run out:
final responses to INVITE are repeated until the ACK (2xx by the rules of 13.3.1.4, others by timers G and H), repeated
requests get the same response again, our BYE is repeated until it is answered (timers E and F).
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final
from zlib import crc32

from telephony.simworld import sdp
from telephony.simworld.digest import DigestGuard
from telephony.simworld.sipcall import (
    Acked,
    CallState,
    Cancelled,
    HungUp,
    Invited,
    MediaChanged,
    NeverAcked,
    SipCall,
    SipEvent,
    destination,
    q850_cause,
    reason_header,
    transaction_key,
    user_of,
)
from telephony.simworld.sipmsg import (
    Address,
    Header,
    Message,
    SipSyntaxError,
    name_addr,
    parse,
    parse_uri,
    parse_via,
    reply_address,
    response_headers,
    serialise,
)

T1_S: Final = 0.5
T2_S: Final = 4.0
T4_S: Final = 5.0
TIMEOUT_S: Final = 64 * T1_S
"""Timers F, H and J."""

ALLOW: Final = "INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE"
_DIALOG_METHODS: Final = frozenset({"BYE", "UPDATE"})


@dataclass(slots=True, eq=False)
class _InviteTx:
    key: tuple[str, ...]
    call: SipCall | None
    request: Message
    reply_to: Address
    cseq: int
    last: bytes = b""
    status: int = 0
    acked: bool = False
    interval_s: float = T1_S
    give_up_at_s: float = 0.0


@dataclass(slots=True, eq=False)
class _ByeTx:
    data: bytes
    to: Address
    interval_s: float
    give_up_at_s: float


@dataclass(slots=True)
class Uas:
    """
    The user agent. Call `receive` with each datagram and `expire` when `next_deadline_s` has passed; both return
    events. After any call, send what `take_outbox` returns.

    ``new_token`` yields unique strings for tags and branches (a counter with a random prefix, usually).
    """

    host: str
    port: int
    new_token: Callable[[], str]
    guard: DigestGuard | None = None
    product: str = "simworld"
    counters: Counter[str] = field(default_factory=Counter)
    _outbox: list[tuple[bytes, Address]] = field(default_factory=list)
    _timers: list[tuple[float, int, Callable[[float], list[SipEvent]]]] = field(default_factory=list)
    _timer_seq: int = 0
    _invites: dict[tuple[str, ...], _InviteTx] = field(default_factory=dict)
    _callers: dict[tuple[str, str, int], tuple[str, ...]] = field(default_factory=dict)
    _answered: dict[tuple[str, ...], tuple[bytes, Address]] = field(default_factory=dict)
    _accepted: dict[tuple[str, str, int], _InviteTx] = field(default_factory=dict)
    _dialogs: dict[tuple[str, str, str], SipCall] = field(default_factory=dict)
    _byes: dict[str, _ByeTx] = field(default_factory=dict)

    # --- what the shell does ---------------------------------------------------------------------------------

    def take_outbox(self) -> list[tuple[bytes, Address]]:
        out, self._outbox = self._outbox, []
        return out

    @property
    def next_deadline_s(self) -> float | None:
        return self._timers[0][0] if self._timers else None

    @property
    def busy(self) -> bool:
        """Whether a BYE of ours or a final response still waits for its answer (a clean stop waits for these)."""
        return bool(self._byes) or any(tx.status >= 200 and not tx.acked for tx in self._invites.values())

    def expire(self, now_s: float) -> list[SipEvent]:
        events: list[SipEvent] = []
        while self._timers and self._timers[0][0] <= now_s:
            _, _, action = heapq.heappop(self._timers)
            events += action(now_s)
        return events

    def receive(self, data: bytes, source: Address, now_s: float) -> list[SipEvent]:
        """Take one datagram. Malformed requests are answered 400 when their headers suffice, else dropped; counted."""
        if not data.strip():
            return []  # CRLF keep-alive
        try:
            message = parse(data)
        except SipSyntaxError as error:
            self.counters["malformed"] += 1
            self._refuse_malformed(error.partial, source)
            return []
        if message.status:
            return self._on_response(message)
        if message.reason.upper() != "SIP/2.0":
            self._reply(message, source, 505)
            return []
        handler = {"INVITE": self._on_invite, "ACK": self._on_ack, "CANCEL": self._on_cancel}.get(message.method)
        if handler is not None:
            return handler(message, source, now_s)
        return self._on_other(message, source, now_s)

    # --- what the application does ---------------------------------------------------------------------------

    def ring(self, call: SipCall, status: int = 180, *, with_sdp: bool = False) -> None:
        """Send a provisional response; no effect once the call has a final one."""
        tx = self._initial_tx(call)
        if tx is None or tx.status >= 200:
            return
        self._send_response(tx, status, (), self._local_sdp(call) if with_sdp else b"")

    def answer(self, call: SipCall, now_s: float) -> None:
        """Send 200 with SDP and repeat it until the ACK; no effect once the call has a final response."""
        tx = self._initial_tx(call)
        if tx is None or tx.status >= 200:
            return
        call.state = CallState.ANSWERED
        self._final(tx, 200, (), self._local_sdp(call), now_s)

    def reject(self, call: SipCall, status: int, now_s: float, headers: Iterable[Header] = ()) -> None:
        """Send a final response of 300 or more; no effect once the call has one."""
        if not 300 <= status <= 699:
            raise ValueError(f"a rejection is 300..699, got {status}")
        tx = self._initial_tx(call)
        if tx is None or tx.status >= 200:
            return
        self._end(call, now_s)
        self._final(tx, status, tuple(headers), b"", now_s)

    def hang_up(self, call: SipCall, now_s: float, q850_cause: int = 16) -> None:
        """Send BYE and repeat it until answered. Before the ACK too: a UAS may not, so the BYE waits for the ACK
        or its absence (RFC 3261 15). No effect on a call that is not answered."""
        if call.state is CallState.ANSWERED:
            self._end(call, now_s)
            call.bye_when_acked = q850_cause
        elif call.state is CallState.CONFIRMED:
            self._end(call, now_s)
            self._send_bye(call, now_s, q850_cause)

    # --- requests --------------------------------------------------------------------------------------------

    def _on_invite(self, request: Message, source: Address, now_s: float) -> list[SipEvent]:
        key = transaction_key(request)
        if (known := self._invites.get(key)) is not None:
            self.counters["invite_repeated"] += 1
            # A repeated 2xx is left to its own timer (RFC 6026: the Accepted state absorbs).
            if known.last and not known.acked and not 200 <= known.status < 300:
                self._outbox.append((known.last, known.reply_to))
            return []
        number, _ = request.cseq
        tx = _InviteTx(key, None, request, reply_address(request, source), number)
        self._invites[key] = tx
        if request.to_tag:
            return self._on_reinvite(tx, request, now_s)
        caller = (request.call_id, request.from_tag, number)
        if caller in self._callers:
            self._final(tx, 482, (), b"", now_s)  # the same call by another path (8.2.2.2)
            return []
        if refusal := self._refusal(request):
            self._final(tx, refusal[0], refusal[1], b"", now_s)
            return []
        uri = parse_uri(request.uri)
        try:
            audio = self._offered(request)
        except sdp.SdpError:
            self.counters["bad_sdp"] += 1
            self._final(tx, 488, (), b"", now_s)
            return []
        call = SipCall(
            call_id=request.call_id,
            number=uri.user,
            from_user=user_of(request.get("from")),
            invite=request,
            source=source,
            local_tag=self.new_token(),
            remote_tag=request.from_tag,
            remote_cseq=number,
            remote_audio=audio,
            route_set=tuple(request.all("record-route")),
            remote_target=name_addr(request.get("contact"))[0],
        )
        tx.call = call
        self._callers[caller] = key
        self._dialogs[call.call_id, call.local_tag, call.remote_tag] = call
        self._outbox.append((self._trying(request, source), tx.reply_to))
        return [Invited(call)]

    def _refusal(self, request: Message) -> tuple[int, tuple[Header, ...]] | None:
        try:
            uri = parse_uri(request.uri)
        except SipSyntaxError:
            return (400, ()) if request.uri.lower().startswith("sip:") else (416, ())
        if uri.scheme == "sips":
            return 416, ()
        required = request.all("require")
        if required:
            return 420, (("unsupported", ", ".join(required)),)
        if request.body and request.get("content-type").partition(";")[0].strip().lower() != "application/sdp":
            return 415, (("accept", "application/sdp"),)
        try:
            name_addr(request.get("contact"))
            for route in request.all("record-route"):
                parse_uri(name_addr(route)[0])
        except SipSyntaxError:
            return 400, ()
        if self.guard is not None:
            credentials = request.get("proxy-authorization")
            if not self.guard.accepts("INVITE", credentials):
                self.counters["challenged"] += 1
                return 407, (("proxy-authenticate", self.guard.challenge(credentials)),)
        return None

    def _on_reinvite(self, tx: _InviteTx, request: Message, now_s: float) -> list[SipEvent]:
        call = self._dialog_of(request)
        if call is None:
            self._final(tx, 481, (), b"", now_s)
            return []
        tx.call = call
        initial = self._initial_tx(call)
        if tx.cseq <= call.remote_cseq or (initial is not None and initial.status < 200):
            self._final(tx, 500, (("retry-after", "1"),), b"", now_s)
            return []
        call.remote_cseq = tx.cseq
        try:
            audio = self._offered(request)
        except sdp.SdpError:
            self._final(tx, 488, (), b"", now_s)
            return []
        if request.get("contact"):
            try:
                call.remote_target = name_addr(request.get("contact"))[0]
            except SipSyntaxError:
                self._final(tx, 400, (), b"", now_s)
                return []
        if audio is not None:
            call.remote_audio = audio
        self._final(tx, 200, (), self._local_sdp(call, changed=True, late=audio is None), now_s)
        return [MediaChanged(call)] if audio is not None else []

    def _on_ack(self, request: Message, _source: Address, now_s: float) -> list[SipEvent]:
        tx = self._invites.get(transaction_key(request))
        if tx is not None and tx.status >= 300:
            if not tx.acked:
                tx.acked = True
                self._after(now_s + T4_S, lambda _: self._forget_invite(tx))  # timer I
            return []
        call = self._dialog_of(request)
        if call is None:
            self.counters["orphan_ack"] += 1
            return []
        accepted = self._accepted.get((call.call_id, call.local_tag, request.cseq[0]))
        if accepted is None or accepted.acked:
            return []
        accepted.acked = True
        self._after(now_s + TIMEOUT_S, lambda _: self._forget_invite(accepted))
        return self._confirmed(call, request, now_s)

    def _confirmed(self, call: SipCall, ack: Message, now_s: float) -> list[SipEvent]:
        events: list[SipEvent] = []
        if ack.body and ack.get("content-type").lower().startswith("application/sdp"):
            try:
                call.remote_audio = sdp.parse_audio(ack.body)
                events.append(MediaChanged(call))
            except sdp.SdpError:
                self.counters["bad_sdp"] += 1
        if call.bye_when_acked is not None:
            cause, call.bye_when_acked = call.bye_when_acked, None
            self._send_bye(call, now_s, cause)
            return []
        if call.state is CallState.ANSWERED:
            call.state = CallState.CONFIRMED
            return [Acked(call), *events]
        return events

    def _on_cancel(self, request: Message, source: Address, now_s: float) -> list[SipEvent]:
        if self._repeat(request):
            return []
        tx = self._invites.get(transaction_key(request))
        if tx is None or tx.call is None:
            self._respond_once(request, source, 481, now_s)
            return []
        self._respond_once(request, source, 200, now_s, to_tag=tx.call.local_tag)
        if tx.status >= 200:
            return []
        self._end(tx.call, now_s)
        self._final(tx, 487, (), b"", now_s)
        return [Cancelled(tx.call)]

    def _on_other(self, request: Message, source: Address, now_s: float) -> list[SipEvent]:
        if self._repeat(request):
            return []
        if request.method == "OPTIONS":
            self._respond_once(request, source, 200, now_s, headers=(("allow", ALLOW), ("accept", "application/sdp")))
            return []
        if request.method not in _DIALOG_METHODS:
            self._respond_once(request, source, 405, now_s, headers=(("allow", ALLOW),))
            return []
        call = self._dialog_of(request)
        if call is None or (call.state is CallState.ENDED and call.bye_when_acked is None):
            # Also when both sides hang up at once: their BYE is answered, ours too.
            self._respond_once(request, source, 481 if call is None else 200, now_s)
            return []
        if request.cseq[0] < call.remote_cseq:
            self._respond_once(request, source, 500, now_s)
            return []
        call.remote_cseq = request.cseq[0]
        if request.method == "UPDATE":
            return self._on_update(call, request, source, now_s)
        self._respond_once(request, source, 200, now_s)
        call.bye_when_acked = None
        was_ended = call.state is CallState.ENDED
        self._end(call, now_s)
        tx = self._initial_tx(call)
        if tx is not None and tx.status < 200:
            self._final(tx, 487, (), b"", now_s)
            return [Cancelled(call)]
        if tx is not None:
            tx.acked = True  # the caller knows the answer: stop repeating it
            self._after(now_s + TIMEOUT_S, lambda _: self._forget_invite(tx))
        return [] if was_ended else [HungUp(call, q850_cause(request.all("reason")))]

    def _on_update(self, call: SipCall, request: Message, source: Address, now_s: float) -> list[SipEvent]:
        try:
            audio = self._offered(request)
        except sdp.SdpError:
            self._respond_once(request, source, 488, now_s)
            return []
        if audio is None:
            self._respond_once(request, source, 200, now_s)
            return []
        call.remote_audio = audio
        self._respond_once(request, source, 200, now_s, body=self._local_sdp(call, changed=True))
        return [MediaChanged(call)]

    def _on_response(self, response: Message) -> list[SipEvent]:
        try:
            branch = parse_via(response.get("via")).branch
        except SipSyntaxError:
            branch = ""
        if branch in self._byes:
            if response.status >= 200:
                del self._byes[branch]  # 481 and 408 end the call just as well
        else:
            self.counters["stray_response"] += 1
        return []

    # --- responses -------------------------------------------------------------------------------------------

    def _send_response(self, tx: _InviteTx, status: int, headers: tuple[Header, ...], body: bytes) -> None:
        tag = tx.call.local_tag if tx.call is not None else self.new_token()
        # The reply address stands in for the source: its host is the packet's, which is what Via must tell.
        message = self._response(tx.request, tx.reply_to, status, headers, body, tag, dialog=tx.call is not None)
        tx.last, tx.status = serialise(message), status
        self._outbox.append((tx.last, tx.reply_to))

    def _final(self, tx: _InviteTx, status: int, headers: tuple[Header, ...], body: bytes, now_s: float) -> None:
        self._send_response(tx, status, headers, body)
        tx.give_up_at_s = now_s + TIMEOUT_S
        if status < 300 and tx.call is not None:
            self._accepted[tx.call.call_id, tx.call.local_tag, tx.cseq] = tx
        self._after(now_s + tx.interval_s, lambda at_s: self._repeat_final(tx, at_s))

    def _repeat_final(self, tx: _InviteTx, now_s: float) -> list[SipEvent]:
        if tx.acked:
            return []
        if now_s >= tx.give_up_at_s:
            self.counters["never_acked"] += 1
            tx.acked = True
            events: list[SipEvent] = []
            call = tx.call
            if call is not None and 200 <= tx.status < 300:
                if call.state is not CallState.ENDED:
                    self._end(call, now_s)
                    events = [NeverAcked(call)]
                call.bye_when_acked = None
                self._send_bye(call, now_s, 102)  # recovery on timer expiry
            return events + self._forget_invite(tx)
        self._outbox.append((tx.last, tx.reply_to))
        self.counters["final_repeated"] += 1
        tx.interval_s = min(2 * tx.interval_s, T2_S)
        self._after(min(now_s + tx.interval_s, tx.give_up_at_s), lambda at_s: self._repeat_final(tx, at_s))
        return []

    def _response(
        self,
        request: Message,
        source: Address,
        status: int,
        headers: tuple[Header, ...],
        body: bytes,
        to_tag: str,
        *,
        dialog: bool = False,
    ) -> Message:
        rows = response_headers(request, source, to_tag)
        if dialog and 101 <= status < 300:
            rows += [("record-route", value) for value in request.all("record-route")]
            rows.append(("contact", f"<sip:{self.host}:{self.port}>"))
            rows.append(("allow", ALLOW))
        rows += [*headers, ("server", self.product)]
        if body:
            rows.append(("content-type", "application/sdp"))
        return Message(status=status, headers=tuple(rows), body=body)

    def _trying(self, request: Message, source: Address) -> bytes:
        return serialise(self._response(request, source, 100, (), b"", ""))

    def _respond_once(
        self,
        request: Message,
        source: Address,
        status: int,
        now_s: float,
        *,
        headers: tuple[Header, ...] = (),
        body: bytes = b"",
        to_tag: str = "",
    ) -> None:
        """Answer a request other than INVITE and keep the answer for its repetitions (timer J)."""
        tag = to_tag or self.new_token()
        data = serialise(self._response(request, source, status, headers, body, tag, dialog=bool(body)))
        to = reply_address(request, source)
        key = (*transaction_key(request), request.method)
        self._answered[key] = (data, to)
        self._outbox.append((data, to))
        self._after(now_s + TIMEOUT_S, lambda _: self._forget_answer(key))

    def _repeat(self, request: Message) -> bool:
        known = self._answered.get((*transaction_key(request), request.method))
        if known is None:
            return False
        self.counters["request_repeated"] += 1
        self._outbox.append(known)
        return True

    def _reply(self, request: Message, source: Address, status: int) -> None:
        """Stateless answer, for requests that deserve no transaction."""
        if request.method != "ACK":
            data = serialise(self._response(request, source, status, (), b"", self.new_token()))
            self._outbox.append((data, reply_address(request, source)))

    def _refuse_malformed(self, partial: Message | None, source: Address) -> None:
        if partial is None or partial.status or partial.method == "ACK":
            return
        if any(not partial.get(name) for name in ("via", "from", "to", "call-id", "cseq")):
            return
        try:
            self._reply(partial, source, 400)
        except SipSyntaxError:
            return
        self.counters["answered_400"] += 1

    # --- our own BYE -----------------------------------------------------------------------------------------

    def _send_bye(self, call: SipCall, now_s: float, q850_cause: int) -> None:
        call.local_cseq += 1
        branch = "z9hG4bK" + self.new_token()
        target, routes = call.remote_target, list(call.route_set)
        next_hop = target
        if routes:
            first, _ = name_addr(routes[0])
            next_hop = first
            if parse_uri(first).param("lr") is None:  # a strict router wants itself as the request URI (12.2.1.1)
                routes = [*routes[1:], f"<{target}>"]
                target = first
        headers: list[Header] = [
            ("via", f"SIP/2.0/UDP {self.host}:{self.port};branch={branch};rport"),
            ("max-forwards", "70"),
            *(("route", value) for value in routes),
            ("from", f"{call.invite.get('to')};tag={call.local_tag}"),
            ("to", call.invite.get("from")),
            ("call-id", call.call_id),
            ("cseq", f"{call.local_cseq} BYE"),
            ("reason", reason_header(q850_cause)),
            ("user-agent", self.product),
        ]
        data = serialise(Message(method="BYE", uri=target, headers=tuple(headers)))
        bye = _ByeTx(data, destination(next_hop, call.source), T1_S, now_s + TIMEOUT_S)
        self._byes[branch] = bye
        self._outbox.append((bye.data, bye.to))
        self._after(now_s + T1_S, lambda at_s: self._repeat_bye(branch, at_s))

    def _repeat_bye(self, branch: str, now_s: float) -> list[SipEvent]:
        bye = self._byes.get(branch)
        if bye is None:
            return []
        if now_s >= bye.give_up_at_s:
            self.counters["bye_unanswered"] += 1
            del self._byes[branch]
            return []
        self._outbox.append((bye.data, bye.to))
        self.counters["bye_repeated"] += 1
        bye.interval_s = min(2 * bye.interval_s, T2_S)
        self._after(min(now_s + bye.interval_s, bye.give_up_at_s), lambda at_s: self._repeat_bye(branch, at_s))
        return []

    # --- bookkeeping -----------------------------------------------------------------------------------------

    def _after(self, at_s: float, action: Callable[[float], list[SipEvent]]) -> None:
        self._timer_seq += 1
        heapq.heappush(self._timers, (at_s, self._timer_seq, action))

    def _end(self, call: SipCall, now_s: float) -> None:
        call.state = CallState.ENDED
        # The dialog stays for what may still arrive: a repeated BYE, the ACK that our own BYE waits for.
        self._after(now_s + 2 * TIMEOUT_S, lambda _: self._forget_dialog(call))

    def _initial_tx(self, call: SipCall) -> _InviteTx | None:
        return self._invites.get(transaction_key(call.invite))

    def _dialog_of(self, request: Message) -> SipCall | None:
        return self._dialogs.get((request.call_id, request.to_tag, request.from_tag))

    def _forget_invite(self, tx: _InviteTx) -> list[SipEvent]:
        self._invites.pop(tx.key, None)
        call = tx.call
        if call is not None:
            self._callers.pop((call.call_id, call.remote_tag, tx.cseq), None)
            self._accepted.pop((call.call_id, call.local_tag, tx.cseq), None)
        return []

    def _forget_answer(self, key: tuple[str, ...]) -> list[SipEvent]:
        self._answered.pop(key, None)
        return []

    def _forget_dialog(self, call: SipCall) -> list[SipEvent]:
        self._dialogs.pop((call.call_id, call.local_tag, call.remote_tag), None)
        return []

    def _offered(self, request: Message) -> sdp.Audio | None:
        return sdp.parse_audio(request.body) if request.body else None

    def _local_sdp(self, call: SipCall, *, changed: bool = False, late: bool = False) -> bytes:
        if not call.media_port:
            raise ValueError("the call has no media address yet")
        if changed:
            call.sdp_version += 1
        session_id = crc32(call.local_tag.encode())
        if call.remote_audio is None or late:
            return sdp.offer(call.media_host, call.media_port, session_id, call.sdp_version)
        return sdp.answer(call.remote_audio, call.media_host, call.media_port, session_id, call.sdp_version)
