# mypy: disable-error-code="no-untyped-call,misc,no-any-return"
"""One call of the stack: turns what pjsua2 calls back into values. See `telephony.worker.pj` for the rules it keeps."""

import re
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, TypeAlias

import pjsua2

from telephony.contract import DialogId, LegInfo, PlaceCall, Probed, Referred, Registered
from telephony.leg import (
    Answered,
    AnswerUnusable,
    Failed,
    HangUp,
    LegEvent,
    MediaAgreed,
    MediaMoved,
    Provisional,
    Released,
    RemoteBye,
)
from telephony.sdp import LocalAudio, MediaAddress, is_answerable, parse_address, remote_audio, steer
from telephony.sip import SipMessage, SipStatus, parse_message
from telephony.worker.pj_native import find_responder, load_library
from telephony.worker.stack_log import FAULTS
from telephony.worker.under_way import ReinviteAnswered

StackEvent: TypeAlias = LegEvent | ReinviteAnswered | Referred | LegInfo | Registered | Probed
"""What `pj.SipStack.poll` tells, of the leg, registration or probe it is named with. Round trips are not known here."""

_UNREADABLE: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_UNSPECIFIED: Final = ("0.0.0.0", "::")  # how RFC 2543 held a call


class StackCall(pjsua2.Call):
    """One call. ``account`` is the `pj` account that it was placed with."""

    def __init__(
        self,
        account: Any,
        command: PlaceCall,
        local: LocalAudio,
        note: Callable[[str, StackEvent], None],
        invite_sent: Callable[[SipMessage], None],
    ) -> None:
        super().__init__(account)
        self.account = account
        self._leg_id = command.leg_id
        self._wanted = command.wanted_headers
        self._uri = command.uri
        self._local = local
        self._offered: LocalAudio | None = None
        """Of a re-INVITE of ours that has no final response yet; it becomes ``_local`` with a 2xx."""
        self._invite_cseq = 0
        """Of our latest INVITE: the stack answers some refusals with another one (401, 407, 422)."""
        self._note = note
        self._invite_sent = invite_sent
        self._media: MediaAddress | None = None
        self._described: MediaAddress | None = None
        """As the far end's last description had it: the stack tells where it wants RTP, but not all payload types."""
        self._answered: SipMessage | None = None
        self._confirmed = False

    def offer(self, local: LocalAudio) -> None:
        """Send a re-INVITE; `ReinviteAnswered` follows. Raises pjsua2.Error when none was sent."""
        parameters = pjsua2.CallOpParam(True)
        parameters.opt.audioCount = 1
        parameters.opt.videoCount = 0
        self._offered = local
        try:
            self.reinvite(parameters)
        except pjsua2.Error:
            self._offered = None
            raise

    def onCallSdpCreated(self, parameters: Any) -> None:
        try:
            parameters.sdp.wholeSdp = steer(parameters.sdp.wholeSdp, self._offered or self._local)
        except Exception as error:
            # The stack's own description goes out, whose loop address leads nowhere: end the leg.
            self._note(self._leg_id, HangUp(time.monotonic(), f"cannot write SDP: {error}"))

    def onCallRxOffer(self, parameters: Any) -> None:
        """
        A re-INVITE or UPDATE of the far end. pjsua aborts the process on an offer that it cannot answer because of what
        was agreed on before, and on some others; 488 leaves everything as it was.
        """
        try:
            ip_version = "6" if ":" in self._local.host else "4"
            if self._media is None or not is_answerable(parameters.offer.wholeSdp, ip_version):
                parameters.statusCode = SipStatus.NOT_ACCEPTABLE_HERE.value
        except Exception:
            parameters.statusCode = SipStatus.NOT_ACCEPTABLE_HERE.value
            FAULTS.exception("call")

    def onCallMediaState(self, parameters: Any) -> None:
        try:
            media = parse_address(self.getStreamInfo(0).remoteRtpAddress)
        except pjsua2.Error:
            self._media = self._media if self._confirmed else None
            return  # no active audio stream: refused, or the session is ending
        except Exception:
            FAULTS.exception("call")
            return
        if media is None or media == self._media or media.host in _UNSPECIFIED:
            return
        self._media = media
        if self._confirmed and self._offered is None:  # the answer to our own offer is told as such
            self._note(self._leg_id, MediaMoved(time.monotonic(), self._as_described(media)))

    def _read_description(self, message: SipMessage | None) -> None:
        if message is not None and message.cseq_method == "INVITE" and message.body.strip():
            self._described = remote_audio(message.body) or self._described

    def _as_described(self, media: MediaAddress) -> MediaAddress:
        if self._described is None:
            return media
        kinds = self._described
        return replace(media, payload_type=kinds.payload_type, event_payload_type=kinds.event_payload_type)

    def onCallRedirected(self, parameters: Any) -> int:
        # Where a carrier sends us is for the daemon to judge (Do-Not-Call, toll fraud); pjsua then says 487, so the
        # real status is read from the message.
        return int(pjsua2.PJSIP_REDIRECT_STOP)

    def onCallTransferRequest(self, parameters: Any) -> None:
        # pjsua's own answer is 202 and a call of its own to wherever the far end likes: a number that nobody has
        # checked, in a call that nobody has written down.
        parameters.statusCode = SipStatus.DECLINE.value

    def onCallReplaceRequest(self, parameters: Any) -> None:
        parameters.statusCode = SipStatus.DECLINE.value

    def onCallTransferStatus(self, parameters: Any) -> None:
        try:
            final = bool(parameters.finalNotify)
            status, why = int(parameters.statusCode), readable(parameters.reason)
            self._note(self._leg_id, Referred(self._leg_id, status, final, time.monotonic(), why))
            parameters.cont = not final
        except Exception:
            FAULTS.exception("call")

    def onCallTsxState(self, parameters: Any) -> None:
        try:
            message = received(parameters.e)
            if message is None:
                sent = _sent_invite(parameters.e)
                if sent is not None:
                    self._invite_cseq = sent.cseq_number
                    self._invite_sent(sent)
                return
            if message.method in ("INFO", "OPTIONS"):
                _accept(parameters.e)
            if message.method == "INFO":
                content_type = message.header("content-type")
                self._note(self._leg_id, LegInfo(self._leg_id, content_type, message.body, time.monotonic()))
                return
            if not message.method and message.cseq_method == "REFER":
                if SipStatus.OK <= message.status < SipStatus.MULTIPLE_CHOICES:
                    # The stack tells of NOTIFYs only; a far end that hangs up without one has taken the call along.
                    now_s = time.monotonic()
                    self._note(self._leg_id, Referred(self._leg_id, message.status, False, now_s, message.phrase))
                return
            self._read_description(message)
            if message.method or message.cseq_method != "INVITE":
                return
            if self._confirmed:
                self._on_reinvite_response(message)
            else:
                self._on_response(message)
        except Exception:
            FAULTS.exception("call")

    def _on_response(self, message: SipMessage) -> None:
        now_s = time.monotonic()
        if message.status < SipStatus.OK:
            # With SDP, onCallMediaState fired just before; the text is the fallback for a stream it refused.
            media = (self._media or remote_audio(message.body)) if message.body.strip() else None
            media = self._as_described(media) if media is not None else None
            self._note(self._leg_id, Provisional(now_s, message.status, media, message.picked(self._wanted)))
        elif message.status < SipStatus.MULTIPLE_CHOICES:
            # A usable answer has reached CONFIRMED by now. pjsua has sent its BYE and would tell us only when
            # that is answered, which may take 32 s.
            self._note(self._leg_id, AnswerUnusable(now_s, "answer without usable SDP"))

    def _on_reinvite_response(self, message: SipMessage) -> None:
        if self._offered is None or message.status < SipStatus.OK:
            return  # a refresh of the session timer, which is the stack's own
        if message.cseq_number < self._invite_cseq:
            return  # refused, and tried again with what was missing
        now_s = time.monotonic()
        if message.status < SipStatus.MULTIPLE_CHOICES:
            media = remote_audio(message.body)
            self._local = self._offered
            if media is not None and media.host not in _UNSPECIFIED:
                self._media = MediaAddress(media.host, media.port)
                self._note(self._leg_id, MediaAgreed(now_s, media))
            self._note(self._leg_id, ReinviteAnswered(now_s, message.status, media, message.phrase))
        else:
            self._note(self._leg_id, ReinviteAnswered(now_s, message.status, None, message.reason_text))
        self._offered = None

    def onCallState(self, parameters: Any) -> None:
        try:
            info = self.getInfo()
            if info.state == pjsua2.PJSIP_INV_STATE_CONNECTING:
                self._answered = received(parameters.e)  # the 2xx; CONFIRMED follows without it
                self._read_description(self._answered)
            if info.state == pjsua2.PJSIP_INV_STATE_CONFIRMED and not self._confirmed:
                self._confirmed = True
                if self._media is not None:
                    self._note(self._leg_id, self._as_answered(self._media))
                else:
                    self._note(self._leg_id, AnswerUnusable(time.monotonic(), "answered without audio"))
            elif info.state == pjsua2.PJSIP_INV_STATE_DISCONNECTED:
                why = readable(info.lastReason)
                self._note(self._leg_id, _ending(received(parameters.e), info.lastStatusCode, why, self._wanted))
        except Exception as error:
            FAULTS.exception("call")
            self._note(self._leg_id, HangUp(time.monotonic(), f"worker error: {error}"))

    def _as_answered(self, media: MediaAddress) -> Answered:
        message = self._answered
        if message is None:
            return Answered(time.monotonic(), self._as_described(media))
        dialog = DialogId(message.header("call-id"), message.from_tag, message.to_tag, message.contact_uri or self._uri)
        return Answered(time.monotonic(), self._as_described(media), message.picked(self._wanted), dialog)


def _ending(message: SipMessage | None, status: int, why: str, wanted: tuple[str, ...]) -> LegEvent:
    """Why the stack reached DISCONNECTED, from the message that caused it (None: a timer or our own request)."""
    now_s = time.monotonic()
    if message is None:
        return Released(now_s, status, why)
    if message.method == "BYE":
        return RemoteBye(now_s, message.q850_cause, message.reason_text, message.picked(wanted))
    if message.cseq_method == "INVITE" and message.status >= SipStatus.MULTIPLE_CHOICES:
        redirected = message.status < SipStatus.BAD_REQUEST
        redirect_to = message.contact_uri if redirected else ""
        text = message.reason_text
        if message.status in (SipStatus.UNAUTHORIZED, SipStatus.PROXY_AUTHENTICATION_REQUIRED):
            text = f"the credentials were not accepted, or there are none ({text})"
        retry_after_s, headers = message.retry_after_s, message.picked(wanted)
        return Failed(now_s, message.status, message.q850_cause, text, redirect_to, retry_after_s, headers)
    return Released(now_s, status, why)


def received(event: Any) -> SipMessage | None:
    """The message behind a callback; None when it is not about a received one (reading others would crash)."""
    if event.type != pjsua2.PJSIP_EVENT_TSX_STATE or event.body.tsxState.type != pjsua2.PJSIP_EVENT_RX_MSG:
        return None
    try:
        return parse_message(readable(event.body.tsxState.src.rdata.wholeMsg))
    except ValueError:
        return None  # the stack is more lenient about start lines than we are; it tells status and reason itself


def readable(text: str) -> str:
    """
    Text of the far end as it may be passed on: pjsua2 hands over bytes that are no UTF-8 (a reason phrase in Latin-1)
    as lone surrogates, which no frame can carry, and a database stores no NUL.
    """
    return _UNREADABLE.sub("\N{REPLACEMENT CHARACTER}", text)


LIBRARY: Final = load_library(pjsua2.__name__)
_respond_ok: Final = find_responder(LIBRARY)


def _accept(event: Any) -> None:
    """
    Answer 200 to a request inside a dialog. The stack knows of INFO only key presses and video requests, refuses others
    and OPTIONS with 500, and has nothing in its Python that would answer; a gateway that reports what it hears, or asks
    whether the call is still there, should not be told that this failed.
    """
    state = event.body.tsxState
    if _respond_ok is not None and state.tsx.state == pjsua2.PJSIP_TSX_STATE_TRYING:
        _respond_ok(int(state.tsx.pjTransaction), int(state.src.rdata.pjRxData))


def _sent_invite(event: Any) -> SipMessage | None:
    """The INVITE that the stack has just sent; None when the callback is about something else."""
    if event.type != pjsua2.PJSIP_EVENT_TSX_STATE or event.body.tsxState.type != pjsua2.PJSIP_EVENT_TX_MSG:
        return None
    transaction = event.body.tsxState.tsx
    if transaction.method != "INVITE" or transaction.role != pjsua2.PJSIP_ROLE_UAC:
        return None
    return parse_message(readable(event.body.tsxState.src.tdata.wholeMsg))
