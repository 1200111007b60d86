"""The SIP stack: one pjsua2 Endpoint per process, signalling only. The one module that imports pjsua2.

pjsua2 does the transactions, dialogs, authentication and timers of SIP. It never touches audio: the media transport is
a loop, there is no sound device, and each session description is replaced by one that points at the media server.

Rules that keep the process alive:

- One thread owns everything: `SipStack.poll` runs the stack, callbacks fire inside it (or inside `place`) and only
  copy values into a queue. No object of the stack outlives its callback. Callbacks catch everything, because an
  exception that leaves one is swallowed or aborts the process later.
- A live ``Call`` must stay referenced (losing it sends CANCEL or BYE) and a dead one must not be destroyed inside its
  own callback: `_calls` and `_graveyard`.
- Calls and accounts go before ``libDestroy``; after `close` the process should leave with ``os._exit``.
"""

import os
import re
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import pjsua2

from telephony.contract import PlaceCall
from telephony.leg import Answered, AnswerUnusable, Failed, HangUp, LegEvent, MediaMoved, Provisional, Released
from telephony.leg import RemoteBye as RemoteByeEvent
from telephony.sdp import MediaAddress, check_media_address, parse_address, remote_audio, steer
from telephony.sip import SipMessage, SipStatus, parse_message

PJ_ETOOMANY: Final = 70010
MAX_ACCOUNTS: Final = 7
"""pjsua holds 8 accounts (PJSUA_MAX_ACC); one stays spare while another is being replaced."""

MAX_EVENTS_PER_POLL: Final = 500
"""So that a flood of SIP cannot keep the worker from its daemon."""

_TOKEN: Final = re.compile(r"[A-Za-z0-9.!%*_+`'~-]+\Z")  # RFC 3261 25.1
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_UNREADABLE: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_PROXY: Final = re.compile(r"[A-Za-z0-9.\-\[\]:]+\Z")
_CODECS: Final = ("PCMU/8000", "PCMA/8000")


class CallNotPlaced(Exception):
    """No INVITE left. ``retryable``: this stack has no room just now, another one (or a later try) may have."""

    def __init__(self, why: str, retryable: bool) -> None:
        super().__init__(why)
        self.retryable = retryable


def discover_capacity() -> int:
    """Calls one process can hold with the installed build of pjsua; starts nothing, so a parent may ask and fork."""
    return int(pjsua2.EpConfig().uaConfig.maxCalls)


class SipStack:
    """Everything the worker needs of SIP. Not thread-safe; create it after the fork, once per process.

    Attributes:
        capacity: calls this build of pjsua can hold at once (4 on the wheel).
        sip_fd: the UDP socket, to be waited for; call `poll` when it is readable and on time-out.
        host, port: where it listens.
    """

    def __init__(self, host: str, port: int = 0, log_level: int = 1) -> None:
        self._endpoint = pjsua2.Endpoint()
        _quietly(self._endpoint.libCreate)
        config = pjsua2.EpConfig()
        self.capacity = discover_capacity()
        config.uaConfig.threadCnt = 0
        config.uaConfig.mainThreadOnly = True
        config.uaConfig.userAgent = "ocsd"
        config.medConfig.threadCnt = 0
        config.medConfig.hasIoqueue = False
        config.logConfig.level = config.logConfig.consoleLevel = log_level
        config.logConfig.msgLogging = 0
        self._endpoint.libInit(config)
        transport = pjsua2.TransportConfig()
        transport.boundAddress = host
        transport.port = port
        before = _descriptors()
        self._transport_id = self._endpoint.transportCreate(pjsua2.PJSIP_TRANSPORT_UDP, transport)
        (self.sip_fd,) = _descriptors() - before
        self._endpoint.libStart()
        # setNullDev, not setNoDev: without a device the conference bridge never frees its ports and after some 250
        # calls answers are dropped with 488.
        self._endpoint.audDevManager().setNullDev()
        for codec in self._endpoint.codecEnum2():
            wanted = codec.codecId.startswith(_CODECS)
            self._endpoint.codecSetPriority(codec.codecId, 128 if wanted else 0)
        address = parse_address(self._endpoint.transportGetInfo(self._transport_id).localName)
        if address is None:
            raise RuntimeError("the SIP transport has no local address")
        self.host, self.port = address.host, address.port
        self._accounts: dict[tuple[str, str, str], _Account] = {}
        self._calls: dict[str, _Call] = {}
        self._graveyard: list[Any] = []
        self._strangers: list[Any] = []
        self._events: list[tuple[str, LegEvent]] = []

    def place(self, command: PlaceCall, local: MediaAddress) -> None:
        """Send the INVITE, with audio to ``local``. Raises CallNotPlaced when none was sent."""
        call_id = command.leg_id if _TOKEN.match(command.leg_id) else command.leg_id.encode().hex()
        self._check(command, local)
        account = self._account(command)
        call = _Call(account, command.leg_id, local, self._note)
        parameters = pjsua2.CallOpParam(True)
        parameters.opt.audioCount = 1
        parameters.opt.videoCount = 0
        parameters.opt.customCallId = call_id
        parameters.txOption.localUri = _name_addr(command.display_name, command.from_uri)
        for name, value in command.headers:
            parameters.txOption.headers.append(_header(name, value))
        self._calls[command.leg_id] = call
        mark = len(self._events)
        try:
            call.makeCall(command.uri, parameters)
        except pjsua2.Error as error:
            self._bury(command.leg_id)
            del self._events[mark:]  # what the stack said of a call that never was
            busy = error.status == PJ_ETOOMANY
            raise CallNotPlaced(f"{error.reason} ({error.status})", retryable=busy) from error

    def hang_up(self, leg_id: str, reason: str) -> None:
        """CANCEL or BYE, whichever fits; `Released` follows. Nothing happens when the call is gone."""
        call = self._calls.get(leg_id)
        if call is None:
            return
        parameters = pjsua2.CallOpParam()
        text = re.sub(r'[^ -~]|["\\]', "", reason)[:60]
        if text:
            parameters.txOption.headers.append(_header("Reason", f'Q.850;cause=16;text="{text}"'))
        try:
            call.hangup(parameters)
        except pjsua2.Error as error:
            # 171140: already terminated, the callback is on its way. Anything else must not leave the leg hanging.
            if not call.isActive():
                self._note(leg_id, Released(time.monotonic(), why=f"{error.reason} ({error.status})"))

    def poll(self) -> list[tuple[str, LegEvent]]:
        """Let the stack work off what has arrived, without waiting; what it said of which leg, in order."""
        for _ in range(MAX_EVENTS_PER_POLL):
            handled = self._endpoint.libHandleEvents(0)
            if self._strangers:
                self._refuse_strangers()
            if handled <= 0:
                break
        events, self._events = self._events, []
        for leg_id, event in events:
            if isinstance(event, AnswerUnusable):
                self.hang_up(leg_id, event.why)  # a 2xx that pjsua itself found good enough
            if isinstance(event, (Failed, AnswerUnusable, RemoteByeEvent, Released)):
                self._bury(leg_id)
        self._graveyard.clear()
        return events

    def close(self) -> None:
        """Drop what is left and end the stack. No other method may follow."""
        self._calls.clear()
        self._strangers.clear()
        self._graveyard.clear()
        for account in self._accounts.values():
            account.shutdown()
        self._accounts.clear()
        # Without waiting a second for the network: whoever stops us has let the last transactions end.
        self._endpoint.libDestroy(pjsua2.PJSUA_DESTROY_NO_NETWORK)

    def _refuse_strangers(self) -> None:
        """Nobody calls a dialer's worker: 403, so that no stranger holds a slot."""
        strangers, self._strangers[:] = list(self._strangers), []
        for call in strangers:
            self._graveyard.append(call)
            refusal = pjsua2.CallOpParam()
            refusal.statusCode = SipStatus.FORBIDDEN.value
            try:
                call.hangup(refusal)
            except pjsua2.Error:
                continue  # cancelled meanwhile, or refused by the stack itself

    def _note(self, leg_id: str, event: LegEvent) -> None:
        self._events.append((leg_id, event))

    def _bury(self, leg_id: str) -> None:
        call = self._calls.pop(leg_id, None)
        if call is not None:
            self._graveyard.append(call)
            call.account.legs.discard(leg_id)

    def _check(self, command: PlaceCall, local: MediaAddress) -> None:
        texts = [command.uri, command.from_uri, command.display_name, command.username, command.password]
        texts += [text for header in command.headers for text in header]
        if any(_CONTROL.search(text) for text in texts):
            raise CallNotPlaced("control character in a URI, name or header", retryable=False)
        for what, uri in (("request URI", command.uri), ("From URI", command.from_uri)):
            if self._endpoint.utilVerifySipUri(uri) != 0 or "<" in uri:
                raise CallNotPlaced(f"{what} is not a SIP URI", retryable=False)
        if command.proxy and not _PROXY.match(command.proxy):
            raise CallNotPlaced("proxy is not host:port", retryable=False)
        if bad := next((name for name, _ in command.headers if not _TOKEN.match(name)), None):
            raise CallNotPlaced(f"header name {bad!r} is not a token", retryable=False)
        try:
            check_media_address(local)
        except ValueError as error:
            raise CallNotPlaced(f"media address: {error}", retryable=False) from error

    def _account(self, command: PlaceCall) -> "_Account":
        """The account for these credentials and proxy; From is set per call."""
        key = (command.username, command.password, command.proxy)
        account = self._accounts.pop(key, None)
        if account is None:
            if len(self._accounts) >= MAX_ACCOUNTS:
                idle = next((old for old, kept in self._accounts.items() if not kept.legs), None)
                if idle is None:
                    raise CallNotPlaced("too many different credentials in use", retryable=True)
                self._accounts.pop(idle).shutdown()
            account = _Account(self._strangers)
            account.create(self._account_config(*key), not self._accounts)
        self._accounts[key] = account  # to the end: the first is the least recently used
        account.legs.add(command.leg_id)
        return account

    def _account_config(self, username: str, password: str, proxy: str) -> Any:
        config = pjsua2.AccountConfig()
        host = f"[{self.host}]" if ":" in self.host else self.host
        config.idUri = f"sip:ocsd@{host}:{self.port}"
        config.sipConfig.transportId = self._transport_id
        config.mediaConfig.useLoopMedTp = True  # no RTP sockets, no stray RTCP
        config.mediaConfig.lockCodecEnabled = False  # no re-INVITE of the stack's own
        if username:
            # Realm "*": whatever realm the carrier names. The challenge is answered once (RFC 3261 22.2).
            config.sipConfig.authCreds.append(pjsua2.AuthCredInfo("digest", "*", username, 0, password))
        if proxy:
            config.sipConfig.proxies.append(f"sip:{proxy};lr")
        return config


class _Account(pjsua2.Account):
    def __init__(self, strangers: list[Any]) -> None:
        super().__init__()
        self.legs: set[str] = set()
        self._strangers = strangers

    def onIncomingCall(self, parameters: Any) -> None:
        """Only noted: a call without an offer that is hung up in here aborts the process (pjsua still needs it)."""
        try:
            self._strangers.append(pjsua2.Call(self, parameters.callId))
        except Exception:
            traceback.print_exc()


class _Call(pjsua2.Call):
    """One call; turns callbacks into leg events."""

    def __init__(
        self, account: _Account, leg_id: str, local: MediaAddress, note: Callable[[str, LegEvent], None]
    ) -> None:
        super().__init__(account)
        self.account = account
        self._leg_id = leg_id
        self._local = local
        self._note = note
        self._media: MediaAddress | None = None
        self._described: MediaAddress | None = None
        """As the far end's last description had it: the stack tells where it wants RTP, but not all payload types."""
        self._confirmed = False

    def onCallSdpCreated(self, parameters: Any) -> None:
        try:
            parameters.sdp.wholeSdp = steer(parameters.sdp.wholeSdp, self._local)
        except Exception as error:
            # The stack's own description goes out, whose loop address leads nowhere: end the leg.
            self._note(self._leg_id, HangUp(time.monotonic(), f"cannot write SDP: {error}"))

    def onCallMediaState(self, parameters: Any) -> None:
        try:
            media = parse_address(self.getStreamInfo(0).remoteRtpAddress)
        except pjsua2.Error:
            return  # no active audio stream: refused, or the session is ending
        except Exception:
            traceback.print_exc()
            return
        if media is None or media == self._media:
            return
        self._media = media
        if self._confirmed:
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

    def onCallTsxState(self, parameters: Any) -> None:
        try:
            message = _received(parameters.e)
            self._read_description(message)
            if message is None or message.cseq_method != "INVITE" or self._confirmed:
                return
            if SipStatus.TRYING < message.status < SipStatus.OK:
                # With SDP, onCallMediaState fired just before; the text is the fallback for a stream it refused.
                media = (self._media or remote_audio(message.body)) if message.body.strip() else None
                media = self._as_described(media) if media is not None else None
                self._note(self._leg_id, Provisional(time.monotonic(), message.status, media))
            elif SipStatus.OK <= message.status < SipStatus.MULTIPLE_CHOICES:
                # A usable answer has reached CONFIRMED by now. pjsua has sent its BYE and would tell us only when
                # that is answered, which may take 32 s.
                self._note(self._leg_id, AnswerUnusable(time.monotonic(), "answer without usable SDP"))
        except Exception:
            traceback.print_exc()

    def onCallState(self, parameters: Any) -> None:
        try:
            info = self.getInfo()
            if info.state == pjsua2.PJSIP_INV_STATE_CONNECTING:
                self._read_description(_received(parameters.e))  # the 2xx; CONFIRMED follows without it
            if info.state == pjsua2.PJSIP_INV_STATE_CONFIRMED and not self._confirmed:
                self._confirmed = True
                if self._media is not None:
                    self._note(self._leg_id, Answered(time.monotonic(), self._as_described(self._media)))
                else:
                    self._note(self._leg_id, AnswerUnusable(time.monotonic(), "answered without audio"))
            elif info.state == pjsua2.PJSIP_INV_STATE_DISCONNECTED:
                why = _readable(info.lastReason)
                self._note(self._leg_id, _ending(_received(parameters.e), info.lastStatusCode, why))
        except Exception as error:
            traceback.print_exc()
            self._note(self._leg_id, HangUp(time.monotonic(), f"worker error: {error}"))


def _ending(message: SipMessage | None, status: int, why: str) -> LegEvent:
    """Why the stack reached DISCONNECTED, from the message that caused it (None: a timer or our own request)."""
    now_s = time.monotonic()
    if message is None:
        return Released(now_s, status, why)
    if message.method == "BYE":
        return RemoteByeEvent(now_s, message.q850_cause, message.reason_text)
    if message.cseq_method == "INVITE" and message.status >= SipStatus.MULTIPLE_CHOICES:
        redirected = message.status < SipStatus.BAD_REQUEST
        redirect_to = message.contact_uri if redirected else ""
        return Failed(now_s, message.status, message.q850_cause, message.reason_text, redirect_to)
    return Released(now_s, status, why)


def _received(event: Any) -> SipMessage | None:
    """The message behind a callback; None when it is not about a received one (reading others would crash)."""
    if event.type != pjsua2.PJSIP_EVENT_TSX_STATE or event.body.tsxState.type != pjsua2.PJSIP_EVENT_RX_MSG:
        return None
    try:
        return parse_message(_readable(event.body.tsxState.src.rdata.wholeMsg))
    except ValueError:
        return None  # the stack is more lenient about start lines than we are; it tells status and reason itself


def _readable(text: str) -> str:
    """
    Text of the far end as it may be passed on: pjsua2 hands over bytes that are no UTF-8 (a reason phrase in Latin-1)
    as lone surrogates, which no frame can carry, and a database stores no NUL.
    """
    return _UNREADABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def _name_addr(display_name: str, uri: str) -> str:
    quoted = display_name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}" <{uri}>' if display_name else f"<{uri}>"


def _header(name: str, value: str) -> Any:
    header = pjsua2.SipHeader()
    header.hName, header.hValue = name, value
    return header


def _descriptors() -> set[int]:
    """The sockets this process has open (listing the folder opens one descriptor more, which is none)."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                found.add(int(name))
        except OSError:
            continue
    return found


def _quietly(action: Callable[[], Any]) -> None:
    """libCreate logs to stdout before any log level can be set."""
    kept = os.dup(1)
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 1)
        action()
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(null)
