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

import re
import sys
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import pjsua2

from telephony.contract import PlaceCall, Probe, Probed, Refer, Register, Registered, Reinvite
from telephony.leg import AnswerUnusable, Failed, Released, RemoteBye
from telephony.sdp import LocalAudio, check_local_audio, parse_address
from telephony.sip import SipStatus
from telephony.worker.pj_call import LIBRARY, StackCall, StackEvent, readable
from telephony.worker.pj_clock import find_timer, without_clock
from telephony.worker.pj_native import look_at_messages, open_sockets, quietly, silence_spent_sessions
from telephony.worker.requests import (
    UnfitRequest,
    check_place_call,
    check_text,
    name_addr,
    proxy_uri,
    refer_to_value,
    transport_of,
)
from telephony.worker.sieve import Sieve
from telephony.worker.stack_log import FAULTS, LOG

PJ_ETOOMANY: Final = 70010
PJSIP_EBUSY: Final = 171001
MAX_CALL_ACCOUNTS: Final = 4
"""Sets of credentials in use for calls and probes. pjsua holds 8 accounts (PJSUA_MAX_ACC): these, those of
`trunk_side.MAX_REGISTRATIONS`, and one that stays spare while another is being replaced."""

MAX_EVENTS_PER_POLL: Final = 500
"""So that a flood of SIP cannot keep the worker from its daemon."""

_TOKEN: Final = re.compile(r"[A-Za-z0-9.!%*_+`'~-]+\Z")  # RFC 3261 25.1
_CODECS: Final = ("PCMU/8000", "PCMA/8000")
_BRIDGE_HZ: Final = 8000
"""Of the stack's conference bridge, as of the codecs: else each call gets a resampler."""
_BRIDGE_FRAME_MS: Final = 20


class CallNotPlaced(Exception):
    """No INVITE left. ``retryable``: this stack has no room just now, another one (or a later try) may have."""

    def __init__(self, why: str, retryable: bool) -> None:
        super().__init__(why)
        self.retryable = retryable


def discover_capacity() -> int:
    """Calls one process can hold with the installed build of pjsua; starts nothing, so a parent may ask and fork."""
    return int(pjsua2.EpConfig().uaConfig.maxCalls)


class _AccountKey(NamedTuple):
    """What an account is made of; From is set per call."""

    username: str
    password: str
    proxy: str
    session_expires_s: int
    transport: str = "udp"


class SipStack:
    """Everything the worker needs of SIP. Not thread-safe; create it after the fork, once per process.

    Attributes:
        capacity: calls this build of pjsua can hold at once (4 on the wheel).
        sip_fd: the UDP socket, to be waited for; call `poll` when it is readable and on time-out.
        host, port: where it listens.
    """

    def __init__(self, host: str, port: int = 0, log_level: int = 1) -> None:
        self._endpoint = pjsua2.Endpoint()
        quietly(self._endpoint.libCreate)
        config = pjsua2.EpConfig()
        self.capacity = discover_capacity()
        config.uaConfig.threadCnt = 0
        config.uaConfig.mainThreadOnly = True
        config.uaConfig.userAgent = "ocsd"
        config.medConfig.threadCnt = 0
        config.medConfig.hasIoqueue = False
        config.medConfig.clockRate, config.medConfig.channelCount = _BRIDGE_HZ, 1
        config.medConfig.audioFramePtime = _BRIDGE_FRAME_MS
        config.logConfig.level = config.logConfig.consoleLevel = log_level
        config.logConfig.msgLogging = 0
        self._log_writer = _LogWriter()
        config.logConfig.writer = self._log_writer
        self._log_writer.__disown__()  # the endpoint deletes it
        self._endpoint.libInit(config)
        transport = pjsua2.TransportConfig()
        transport.boundAddress = host
        transport.port = port
        before = open_sockets()
        self._transport_id = self._endpoint.transportCreate(pjsua2.PJSIP_TRANSPORT_UDP, transport)
        (self.sip_fd,) = open_sockets() - before
        self._endpoint.libStart()
        # Without a device somebody must turn the conference bridge, or it never frees its ports and after some 250
        # calls answers are dropped with 488.
        self._turn_bridge = without_clock(LIBRARY, _BRIDGE_HZ * _BRIDGE_FRAME_MS // 1000)
        if self._turn_bridge is None:
            self._endpoint.audDevManager().setNullDev()
        for codec in self._endpoint.codecEnum2():
            wanted = codec.codecId.startswith(_CODECS)
            self._endpoint.codecSetPriority(codec.codecId, 128 if wanted else 0)
        address = parse_address(self._endpoint.transportGetInfo(self._transport_id).localName)
        if address is None:
            raise RuntimeError("the SIP transport has no local address")
        self.host, self.port = address.host, address.port
        self._timer_in_s = find_timer(LIBRARY)
        self.in_a_hurry = False
        """There are TCP connections, which wake nobody who waits for ``sip_fd``."""
        self.sieve = Sieve("6" if ":" in self.host else "4")
        self._native = (look_at_messages(LIBRARY, self.sieve.holds_back), silence_spent_sessions(LIBRARY))
        """Kept as long as the endpoint."""
        self._accounts: dict[_AccountKey, _Account] = {}
        self._registrations: dict[str, _Account] = {}
        self._releasing: list[_Account] = []
        self._probes: dict[str, Any] = {}
        """What the stack hands back with the answer, by probe: it must live as long as the request."""
        self._calls: dict[str, StackCall] = {}
        self._graveyard: list[Any] = []
        self._strangers: list[Any] = []
        self._events: list[tuple[str, StackEvent]] = []

    def place(self, command: PlaceCall, local: LocalAudio) -> None:
        """Send the INVITE, with audio to ``local``. Raises CallNotPlaced when none was sent."""
        call_id = _call_id(command.leg_id)
        self._check(command, local)
        self._leave_no_ended_call()
        transport = transport_of(command.uri)  # checked before
        key = _AccountKey(command.username, command.password, command.proxy, command.session_expires_s, transport)
        account = self._account(key)
        account.legs.add(command.leg_id)
        call = StackCall(account, command, local, self._note, self.sieve.invite_sent)
        parameters = pjsua2.CallOpParam(True)
        parameters.opt.audioCount = 1
        parameters.opt.videoCount = 0
        parameters.opt.customCallId = call_id
        parameters.txOption.localUri = name_addr(command.display_name, command.from_uri)
        for name, value in command.headers:
            parameters.txOption.headers.append(_header(name, value))
        self._calls[command.leg_id] = call
        self.sieve.call_begins(call_id, over_tcp=transport == "tcp")
        mark = len(self._events)
        try:
            # In brackets: else the parameters of the URI would be those of the To header (RFC 3261 20.10).
            call.makeCall(f"<{command.uri}>", parameters)
        except pjsua2.Error as error:
            self._bury(command.leg_id)
            self.sieve.call_ends(call_id, time.monotonic())
            del self._events[mark:]  # what the stack said of a call that never was
            busy = error.status == PJ_ETOOMANY
            raise CallNotPlaced(f"{error.reason} ({error.status})", retryable=busy) from error

    def _leave_no_ended_call(self) -> None:
        """
        Outside of callbacks. pjsua2's object of a call that is over, when it goes, hangs up whichever call has its
        place by then, and cuts it off from its own object: none may be left when a place is given out.
        """
        for leg_id, event in self._events:
            if isinstance(event, (Failed, RemoteBye, Released)):
                self._bury(leg_id)
        self._graveyard.clear()

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

    def reinvite(self, command: Reinvite) -> None:
        """Send a re-INVITE; `ReinviteAnswered` follows. Raises CallNotPlaced when none was sent."""
        local = LocalAudio(
            command.host, command.port, command.payload_type, command.event_payload_type, command.direction
        )
        call = self._calls.get(command.leg_id)
        if call is None:
            raise CallNotPlaced("the call is gone", retryable=False)
        try:
            check_local_audio(local)
        except ValueError as error:
            raise CallNotPlaced(f"media address: {error}", retryable=False) from error
        try:
            call.offer(local)
        except pjsua2.Error as error:
            # The far end's own re-INVITE, or a refresh of the session timer, is under way.
            raise CallNotPlaced(f"{error.reason} ({error.status})", retryable=True) from error

    def refer(self, command: Refer) -> None:
        """Send REFER; `Referred` events follow. Raises CallNotPlaced when none was sent."""
        call = self._calls.get(command.leg_id)
        if call is None:
            raise CallNotPlaced("the call is gone", retryable=False)
        try:
            check_text(command.headers)
            target = refer_to_value(command.target, command.replaces, command.target_headers)
            if self._endpoint.utilVerifySipUri(command.target) != 0:
                raise UnfitRequest("the target is not a SIP URI")
        except UnfitRequest as error:
            raise CallNotPlaced(str(error), retryable=False) from error
        parameters = pjsua2.CallOpParam()
        for name, value in command.headers:
            parameters.txOption.headers.append(_header(name, value))
        try:
            call.xfer(target, parameters)
        except pjsua2.Error as error:
            raise CallNotPlaced(f"{error.reason} ({error.status})", retryable=False) from error

    def register(self, command: Register) -> None:
        """Send REGISTER and renew it in time; `Registered` follows each answer. Raises CallNotPlaced."""
        try:
            check_text((("", command.aor), ("", command.registrar), ("", command.username), ("", command.password)))
            transport = transport_of(command.registrar)
            key = _AccountKey(command.username, command.password, command.proxy, 0, transport)
            config = self._account_config(key)
        except UnfitRequest as error:
            raise CallNotPlaced(str(error), retryable=False) from error
        if self._endpoint.utilVerifySipUri(command.aor) != 0 or "<" in command.aor:
            raise CallNotPlaced("the address of record is not a SIP URI", retryable=False)
        config.idUri = command.aor
        config.regConfig.registrarUri = command.registrar
        config.regConfig.timeoutSec = command.expires_s
        config.regConfig.retryIntervalSec = 0  # `trunk_side.TrunkSide` keeps the time
        account = _Account(self._strangers, self._note, command.registration_id)
        try:
            account.create(config, False)
        except pjsua2.Error as error:
            raise CallNotPlaced(f"{error.reason} ({error.status})", retryable=True) from error
        self._registrations[command.registration_id] = account

    def renew(self, registration_id: str) -> None:
        """Send REGISTER again; nothing when one is under way."""
        account = self._registrations.get(registration_id)
        try:
            if account is not None:
                account.setRegistration(True)
        except pjsua2.Error as error:
            if error.status != PJSIP_EBUSY:
                why = f"{error.reason} ({error.status})"
                self._note(registration_id, Registered(registration_id, 503, 0, time.monotonic(), why))

    def release(self, registration_id: str) -> None:
        """Take the binding back and forget the registration; `releasing` until the registrar has answered."""
        account = self._registrations.pop(registration_id, None)
        if account is None:
            return
        account.released = True
        try:
            account.setRegistration(False)
            self._releasing.append(account)
        except pjsua2.Error:
            account.shutdown()  # nothing is bound, or a REGISTER is under way: the binding runs out by itself

    @property
    def releasing(self) -> bool:
        """Is a registrar still to answer that a binding is taken back?"""
        return bool(self._releasing)

    def probe(self, command: Probe) -> None:
        """Send OPTIONS; `Probed` follows, at the latest after 32 s. Raises CallNotPlaced."""
        try:
            check_text((("", command.uri),))
            if self._endpoint.utilVerifySipUri(command.uri) != 0 or "<" in command.uri:
                raise UnfitRequest("the trunk's URI is not a SIP URI")
            proxy_uri(command.proxy)
            account = self._account(_AccountKey("", "", command.proxy, 0, transport_of(command.uri)))
        except UnfitRequest as error:
            raise CallNotPlaced(str(error), retryable=False) from error
        parameters = pjsua2.SendRequestParam()
        parameters.method = "OPTIONS"
        parameters.txOption.targetUri = command.uri
        token = pjsua2.SipHeader()
        parameters.userData = token.this
        self._probes[command.probe_id] = token
        account.probes[int(token.this)] = command.probe_id
        try:
            account.sendRequest(parameters)
        except pjsua2.Error as error:
            account.probes.pop(int(token.this), None)  # not there when the stack has said so in between
            self._probes.pop(command.probe_id, None)
            raise CallNotPlaced(f"{error.reason} ({error.status})", retryable=False) from error

    @property
    def timer_in_s(self) -> float | None:
        """When to poll at the latest, seconds from now, infinite without a timer; None: unknown with this build."""
        return self._timer_in_s() if self._timer_in_s is not None else None

    def poll(self) -> list[tuple[str, StackEvent]]:
        """Let the stack work off what has arrived, without waiting; what it said of which leg, in order."""
        handled_any = False
        for _ in range(MAX_EVENTS_PER_POLL):
            handled = self._endpoint.libHandleEvents(0)
            if self._strangers:
                self._refuse_strangers()
            if handled <= 0:
                break
            handled_any = True
        if handled_any and self._turn_bridge is not None:
            self._turn_bridge()  # an answer or an end may have put a port in, or taken one out
        if news := self.sieve.news(time.monotonic()):
            sys.stderr.write(f"SIP messages dropped so far, by reason: {news}\n")
            sys.stderr.flush()
        for each in (LOG, FAULTS):
            each.settle()
        events, self._events = self._events, []
        for leg_id, event in events:
            if isinstance(event, Probed):
                self._probes.pop(leg_id, None)
            if isinstance(event, AnswerUnusable):
                self.hang_up(leg_id, event.why)  # a 2xx that pjsua itself found good enough
            if isinstance(event, (Failed, AnswerUnusable, RemoteBye, Released)):
                self._bury(leg_id)
        self._graveyard.clear()
        for account in [each for each in self._releasing if each.done]:
            self._releasing.remove(account)
            account.shutdown()
        return events

    def close(self) -> None:
        """Drop what is left and end the stack. No other method may follow; the process should leave by os._exit."""
        self._calls.clear()
        self._strangers.clear()
        self._graveyard.clear()
        if self._probes:
            return  # pjsua aborts on a request that outlives its account; the process is about to end anyway
        for account in (*self._registrations.values(), *self._releasing, *self._accounts.values()):
            account.shutdown()
        self._registrations.clear()
        self._releasing.clear()
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

    def _note(self, leg_id: str, event: StackEvent) -> None:
        if isinstance(event, (Failed, RemoteBye, Released)):
            self.sieve.call_ends(_call_id(leg_id), time.monotonic())
        self._events.append((leg_id, event))

    def _bury(self, leg_id: str) -> None:
        call = self._calls.pop(leg_id, None)
        if call is not None:
            # Known already, unless we end it for its answer.
            self.sieve.call_ends(_call_id(leg_id), time.monotonic(), bye_due=True)
            self._graveyard.append(call)
            call.account.legs.discard(leg_id)

    def _check(self, command: PlaceCall, local: LocalAudio) -> None:
        try:
            check_place_call(command)
            transport_of(command.uri)
            for what, uri in (("request URI", command.uri), ("From URI", command.from_uri)):
                if self._endpoint.utilVerifySipUri(uri) != 0 or "<" in uri:
                    raise UnfitRequest(f"{what} is not a SIP URI")
            check_local_audio(local)
        except UnfitRequest as error:
            raise CallNotPlaced(str(error), retryable=False) from error
        except ValueError as error:
            raise CallNotPlaced(f"media address: {error}", retryable=False) from error

    def _account(self, key: _AccountKey) -> "_Account":
        """The account for these credentials and proxy."""
        account = self._accounts.pop(key, None)
        if account is None:
            if len(self._accounts) >= MAX_CALL_ACCOUNTS:
                idle = next((old for old, kept in self._accounts.items() if not kept.legs and not kept.probes), None)
                if idle is None:
                    raise CallNotPlaced("too many different credentials in use", retryable=True)
                self._accounts.pop(idle).shutdown()
            account = _Account(self._strangers, self._note)
            account.create(self._account_config(key), not self._accounts)
        self._accounts[key] = account  # to the end: the first is the least recently used
        return account

    def _open_tcp(self) -> None:
        """Not before somebody needs it: it listens as well."""
        if not self.in_a_hurry:
            transport = pjsua2.TransportConfig()
            transport.boundAddress = self.host
            self._endpoint.transportCreate(pjsua2.PJSIP_TRANSPORT_TCP, transport)
            self.in_a_hurry = True

    def _account_config(self, key: _AccountKey) -> Any:
        config = pjsua2.AccountConfig()
        host = f"[{self.host}]" if ":" in self.host else self.host
        config.idUri = f"sip:ocsd@{host}:{self.port}"
        if key.transport == "tcp":
            self._open_tcp()
        else:
            config.sipConfig.transportId = self._transport_id
        config.mediaConfig.useLoopMedTp = True  # no RTP sockets, no stray RTCP
        config.mediaConfig.lockCodecEnabled = False  # no re-INVITE of the stack's own
        # The stack's own default asks for half an hour in every call.
        config.callConfig.timerUse = pjsua2.PJSUA_SIP_TIMER_INACTIVE
        if key.session_expires_s:
            # Whether the far end has timers or not: then the stack refreshes alone, and notices a peer that is gone.
            config.callConfig.timerUse = pjsua2.PJSUA_SIP_TIMER_ALWAYS
            config.callConfig.timerSessExpiresSec = key.session_expires_s
        if key.username:
            # Realm "*": whatever realm the carrier names. The challenge is answered once (RFC 3261 22.2).
            config.sipConfig.authCreds.append(pjsua2.AuthCredInfo("digest", "*", key.username, 0, key.password))
        if key.proxy:
            config.sipConfig.proxies.append(proxy_uri(key.proxy, key.transport))
        return config


class _LogWriter(pjsua2.LogWriter):
    """Without one pjsua prints, whatever a stranger has written into a message."""

    def write(self, entry: Any) -> None:
        try:
            LOG.say(entry.msg)
        except Exception:  # one that left a callback would end the process
            FAULTS.exception("log")


class _Account(pjsua2.Account):
    """Of calls and probes with the same credentials, or of one registration."""

    def __init__(
        self, strangers: list[Any], note: Callable[[str, StackEvent], None], registration_id: str = ""
    ) -> None:
        super().__init__()
        self.legs: set[str] = set()
        self.probes: dict[int, str] = {}
        self.released = False
        self.done = False
        """Released, and answered."""
        self._strangers = strangers
        self._note = note
        self._registration_id = registration_id

    def onIncomingCall(self, parameters: Any) -> None:
        """Only noted: a call without an offer that is hung up in here aborts the process (pjsua still needs it)."""
        try:
            self._strangers.append(pjsua2.Call(self, parameters.callId))
        except Exception:
            FAULTS.exception("account")

    def onRegState(self, parameters: Any) -> None:
        try:
            if self.released:
                self.done = True
                return
            status, expires_s = int(parameters.code), int(parameters.expiration)
            if not SipStatus.OK <= status < SipStatus.MULTIPLE_CHOICES:
                expires_s = 0
            event = Registered(
                self._registration_id, status, max(expires_s, 0), time.monotonic(), readable(parameters.reason)
            )
            self._note(self._registration_id, event)
        except Exception:
            FAULTS.exception("account")

    def onSendRequest(self, parameters: Any) -> None:
        try:
            probe_id = self.probes.pop(int(parameters.userData), None)
            if probe_id is not None:
                # 408 comes from the stack when nothing did; a far end that says so is there.
                event = parameters.e
                heard = event.body.tsxState.type == pjsua2.PJSIP_EVENT_RX_MSG
                status = int(event.body.tsxState.tsx.statusCode) if heard else 0
                self._note(probe_id, Probed(probe_id, status, 0.0, "" if heard else "no answer"))
        except Exception:
            FAULTS.exception("account")


def _call_id(leg_id: str) -> str:
    """The Call-ID of a leg: its own name where that may stand there."""
    return leg_id if _TOKEN.match(leg_id) else leg_id.encode().hex()


def _header(name: str, value: str) -> Any:
    header = pjsua2.SipHeader()
    header.hName, header.hValue = name, value
    return header
