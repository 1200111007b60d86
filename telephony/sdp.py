"""The little of SDP (RFC 4566, RFC 3264) that steering audio needs: our offer, the far end's address. Pure."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

from telephony.contract_sip import Direction

_ORIGIN: Final = re.compile(r"(?m)^o=(\S+ \d+ \d+ IN IP[46] \S+)\s*$")
_CONNECTION: Final = re.compile(r"c=IN IP[46] (\S+?)(?:/\d+)*$")
_AUDIO: Final = re.compile(r"m=audio ([0-9]{1,5})(?:/[0-9]+)? RTP/AVP\s([0-9 ]*)")
_EVENT: Final = re.compile(r"a=rtpmap:([0-9]{1,3}) telephone-event/8000", re.IGNORECASE)
_MEDIA: Final = re.compile(r"(?m)^m=(\S+) (\d+)((?:/\d+)? \S+ [^\r\n]*)")
_LINE: Final = re.compile(r"[a-z]=|\Z")
_TIME: Final = re.compile(r"t=\d+ \d+$")
_RTPMAP: Final = re.compile(r"a=rtpmap:(\d{1,3}) [A-Za-z0-9._-]+/\d+")
_ADDRESS_LINE: Final = re.compile(r"(?m)^c=([^\r\n]*)")
_AUDIO_LINE: Final = re.compile(r"(?m)^m=audio (\d{1,5})(?:/\d+)? (\S+)([^\r\n]*)")
PCMU: Final = 0
PCMA: Final = 8
OUR_EVENTS: Final = 101
_LAW_NAMES: Final = {PCMU: "PCMU", PCMA: "PCMA"}


@dataclass(frozen=True, slots=True)
class MediaAddress:
    """Where somebody wants RTP. ``port`` 1..65535; ``host`` as the SDP or the stack gives it.

    ``payload_type``: of the two laws (0 PCMU, 8 PCMA) the one to send; ``event_payload_type``: of telephone events, 0
    for none negotiated.
    """

    host: str
    port: int
    payload_type: int = PCMU
    event_payload_type: int = OUR_EVENTS


def parse_address(text: str) -> MediaAddress | None:
    """``"192.0.2.1:4000"`` or ``"[2001:db8::1]:4000"`` as a MediaAddress; None when it is none."""
    host, colon, port = text.rpartition(":")
    host = host.strip("[]")
    if (
        not colon
        or not (port.isascii() and port.isdigit() and len(port) <= 5)
        or not 0 < int(port) <= 65535
        or not host
    ):
        return None
    return MediaAddress(host, int(port))


def remote_audio(sdp: str) -> MediaAddress | None:
    """The address and payload types of the first active audio stream of a session description; None without one.

    A c= line of the stream wins over the session's (RFC 4566 5.7); port 0 is a refused stream (RFC 3264 6).
    """
    session_host = stream_host = ""
    port = 0
    formats: list[int] = []
    events = 0
    in_audio = in_media = False
    for line in sdp.replace("\r\n", "\n").split("\n"):
        line = line.rstrip()
        if line.startswith("m="):
            if port:
                break
            in_media = True
            audio = _AUDIO.match(line + " ")
            in_audio = audio is not None
            port = int(audio.group(1)) if audio else 0
            formats = [int(one) for one in audio.group(2).split()] if audio else []
            stream_host, events = "", 0
        elif found := _CONNECTION.match(line):
            if in_audio:
                stream_host = found.group(1)
            elif not in_media:
                session_host = found.group(1)
        elif in_audio and not events and (event := _EVENT.match(line)) and 96 <= int(event.group(1)) <= 127:
            events = int(event.group(1))
    host = stream_host or session_host
    if not host or not 0 < port <= 65535:
        return None
    # The first that both sides know is the one to send (RFC 3264 section 6.1).
    law = next((one for one in formats if one in (PCMU, PCMA)), PCMU)
    return MediaAddress(host, port, law, events if events in formats else 0)


@dataclass(frozen=True, slots=True)
class LocalAudio:
    """
    What the far end is told of our side: a channel of the media server, or the other party of a direct conversation.

    ``payload_type`` -1: both laws of G.711; ``event_payload_type`` of telephone events, 96..127; 0: none are offered.
    """

    host: str
    port: int
    payload_type: int = -1
    event_payload_type: int = OUR_EVENTS
    direction: Direction = Direction.SENDRECV


def steer(stack_sdp: str, local: LocalAudio) -> str:
    """The session description to send instead of the stack's: our codecs, the address we want audio at.

    The stack's own o= line stays, because the stack counts its version (RFC 3264 8), and so do the media that it
    refuses (port 0): an answer has as many as the offer, or pjsua aborts the process. It also does so on a payload type
    that has no rtpmap.

    Raises:
        ValueError: the o= line is missing, or ``local`` is not valid. Nothing may be handed to the stack.
    """
    origin = _ORIGIN.search(stack_sdp)
    if origin is None:
        raise ValueError("the stack's SDP has no usable o= line")
    address = check_local_audio(local)
    laws = (PCMU, PCMA) if local.payload_type < 0 else (local.payload_type,)
    events = local.event_payload_type
    formats = " ".join(str(one) for one in (*laws, *([events] if events else [])))
    ours = [
        f"m=audio {local.port} RTP/AVP {formats}",
        *(f"a=rtpmap:{law} {_LAW_NAMES[law]}/8000" for law in laws),
    ]
    if events:
        ours += [f"a=rtpmap:{events} telephone-event/8000", f"a=fmtp:{events} 0-15"]
    ours += ["a=ptime:20", f"a={local.direction}"]
    lines = ["v=0", f"o={origin.group(1)}", "s=-", f"c=IN IP{address.version} {address}", "t=0 0"]
    steered = False
    for kind, port, rest in _MEDIA.findall(stack_sdp):
        if kind == "audio" and port != "0" and not steered:
            lines += ours
            steered = True
        else:
            lines.append(f"m={kind} 0{rest}")
    if not steered:
        raise ValueError("the stack's SDP has no audio")
    return "\r\n".join(lines) + "\r\n"


def is_answerable(offer: str, ip_version: str = "4") -> bool:
    """
    Can the stack answer this offer of the far end with `steer`? One active audio stream over plain RTP, with payload
    types of G.711, and otherwise nothing but what can be refused by port 0; all addresses of this kind.
    """
    if any(not line.startswith(f"IN IP{ip_version} ") for line in _ADDRESS_LINE.findall(offer)):
        return False
    active = [(protocol, formats.split()) for port, protocol, formats in _AUDIO_LINE.findall(offer) if int(port)]
    plain = [formats for protocol, formats in active if protocol == "RTP/AVP"]
    return len(active) == 1 and len(plain) == 1 and bool({str(PCMU), str(PCMA)} & set(plain[0]))


def flaw_of_description(sdp: str, ip_version: str = "") -> str:
    """
    Why the stack could not use this description for one audio stream, "" when it could: what pjmedia asks for (version,
    origin, time, an address for each stream, an rtpmap for each dynamic payload type), and audio first.

    ``ip_version`` "4" or "6": addresses of this kind only; "": of any.
    """
    lines = [line.rstrip() for line in re.split(r"\r?\n|\r", sdp)]  # the stack takes each of the three for an end
    if not lines[0].startswith("v=0") or not any(_ORIGIN.match(line) for line in lines):
        return "version or origin"
    if not any(line.startswith("s=") for line in lines) or not any(_TIME.match(line) for line in lines):
        return "subject or time"
    if not all(_LINE.match(line) for line in lines):
        return "a line of no kind"
    streams = [index for index, line in enumerate(lines) if line.startswith("m=")]
    if not streams:
        return "no stream"
    first, following = streams[0], [*streams[1:], len(lines)][0]
    audio = _AUDIO.match(lines[first] + " ")
    if audio is None or not 0 < int(audio.group(1)) <= 65535:
        return "no active audio first"
    own = lines[first:following]
    addresses = [line for line in (*lines[:first], *own) if _CONNECTION.match(line)]
    if not addresses or any(not line.startswith(f"c=IN IP{ip_version}") for line in addresses):
        return "no address"
    formats = audio.group(2).split()
    if not formats or any(int(one) > 127 for one in formats):
        return "payload types"
    mapped = {match.group(1) for line in own if (match := _RTPMAP.match(line))}
    if any(int(one) >= 96 and one not in mapped for one in formats):
        return "payload type without rtpmap"
    return "" if {str(PCMU), str(PCMA)} & set(formats) else "no common codec"


def check_local_audio(local: LocalAudio) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The host as an IP address; ValueError unless everything is what may stand in our session description."""
    if not 0 < local.port <= 65535:
        raise ValueError(f"RTP port {local.port} is not in 1..65535")
    if local.payload_type not in (-1, PCMU, PCMA):
        raise ValueError(f"payload type {local.payload_type} is neither 0 (PCMU) nor 8 (PCMA)")
    if local.event_payload_type != 0 and not 96 <= local.event_payload_type <= 127:
        raise ValueError(f"payload type {local.event_payload_type} of telephone-event is not in 96..127")
    return ipaddress.ip_address(local.host)
