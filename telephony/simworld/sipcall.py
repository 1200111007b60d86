"""Values around one SIP call: the call itself, the events of a `sip.Uas`, and pure readings of header values."""

import ipaddress
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from telephony.simworld import sdp
from telephony.simworld.sipmsg import Address, Message, SipSyntaxError, name_addr, parse_uri, parse_via


class CallState(Enum):
    INVITED = "invited"
    ANSWERED = "answered"
    CONFIRMED = "confirmed"
    ENDED = "ended"


@dataclass(slots=True, eq=False)
class SipCall:
    """One incoming call. The application reads it and sets ``media_host`` and ``media_port`` before any SDP is due."""

    call_id: str
    number: str
    """User part of the request URI."""
    from_user: str
    invite: Message
    source: Address
    local_tag: str
    remote_tag: str
    remote_cseq: int
    state: CallState = CallState.INVITED
    remote_audio: sdp.Audio | None = None
    """Where the caller wants RTP; None until the ACK when the INVITE carried no SDP."""
    media_host: str = ""
    media_port: int = 0
    local_cseq: int = 0
    bye_when_acked: int | None = None
    """Q.850 cause of a BYE that waits for the ACK of our 200."""
    sdp_version: int = 0
    route_set: tuple[str, ...] = ()
    remote_target: str = ""


@dataclass(frozen=True, slots=True)
class Invited:
    call: SipCall


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The caller gave up before the answer; 487 has been sent."""

    call: SipCall


@dataclass(frozen=True, slots=True)
class Acked:
    """The 200 was acknowledged: the conversation is confirmed."""

    call: SipCall


@dataclass(frozen=True, slots=True)
class MediaChanged:
    """A re-INVITE, an UPDATE or a late answer moved the caller's RTP; already answered."""

    call: SipCall


@dataclass(frozen=True, slots=True)
class HungUp:
    """BYE from the caller. ``q850_cause`` from its Reason header, if any."""

    call: SipCall
    q850_cause: int | None


@dataclass(frozen=True, slots=True)
class NeverAcked:
    """No ACK for our 200 within 64 T1: BYE has been sent, the call is over (13.3.1.4)."""

    call: SipCall


SipEvent: TypeAlias = Invited | Cancelled | Acked | MediaChanged | HungUp | NeverAcked


def reason_header(q850_cause: int, text: str = "") -> str:
    """Value of a Reason header (RFC 3326) with a Q.850 cause."""
    return f"Q.850;cause={q850_cause}" + (f';text="{text}"' if text else "")


def q850_cause(values: list[str]) -> int | None:
    for value in values:
        protocol, _, params = value.partition(";")
        if protocol.strip().upper() == "Q.850":
            for param in params.split(";"):
                name, _, number = param.strip().partition("=")
                if name.lower() == "cause" and number.isascii() and number.isdigit():
                    return int(number[:4])
    return None


def transaction_key(request: Message) -> tuple[str, ...]:
    """17.2.3: branch and sent-by; without the magic cookie the older fields (RFC 2543) stand in."""
    via = parse_via(request.get("via"))
    if via.branch.startswith("z9hG4bK"):
        return via.branch, via.host, str(via.port)
    return request.call_id, request.from_tag, str(request.cseq[0]), via.text


def user_of(value: str) -> str:
    try:
        return parse_uri(name_addr(value)[0]).user
    except SipSyntaxError:
        return ""


def destination(uri: str, fallback: Address) -> Address:
    """UDP address of a next hop. Names are not resolved: the simulated world talks to numeric hosts only."""
    try:
        parsed = parse_uri(uri)
        ipaddress.IPv4Address(parsed.host)
    except (SipSyntaxError, ValueError):
        return fallback
    return parsed.host, parsed.port or 5060
