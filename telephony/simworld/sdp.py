"""SDP offers and answers for one G.711 audio stream (RFC 4566, RFC 3264). Pure."""

import ipaddress
from dataclasses import dataclass
from typing import Final

from telephony.simworld.g711 import PCMA, PCMU

CODEC_NAMES: Final = {PCMU: "PCMU/8000", PCMA: "PCMA/8000"}
MAX_SDP_BYTES: Final = 16_384


class SdpError(ValueError):
    """The body is no session description we can answer."""


@dataclass(frozen=True, slots=True)
class Audio:
    """What the far end wants: where its RTP goes and which payload type it prefers among those we speak.

    ``host`` is empty and ``sending`` False for a stream on hold by 0.0.0.0. ``event_payload_type`` is that of
    telephone-event, None when not offered. ``direction`` is the far end's own word.
    """

    host: str
    port: int
    payload_type: int
    event_payload_type: int | None
    direction: str
    media_lines: tuple[str, ...]
    """All m= lines, in order: an answer must have the same number, with refused ones at port 0."""
    audio_index: int


def parse_audio(body: bytes) -> Audio:
    """The first acceptable audio stream; SdpError when there is none."""
    if len(body) > MAX_SDP_BYTES:
        raise SdpError("SDP too long")
    try:
        lines = [line.strip() for line in body.decode("utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise SdpError("SDP is not UTF-8") from error
    if not lines or lines[0] != "v=0":
        raise SdpError("SDP does not begin with v=0")
    session_host: str | None = None
    sections = list[list[str]]()
    session_direction = "sendrecv"
    for line in lines:
        if line.startswith("m="):
            sections.append([line])
        elif sections:
            sections[-1].append(line)
        elif line.startswith("c="):
            session_host = _host(line)
        elif line[2:] in ("sendrecv", "sendonly", "recvonly", "inactive"):
            session_direction = line[2:]
    for index, section in enumerate(sections):
        audio = _audio(section, session_host, session_direction)
        if audio is not None:
            host, port, payload_type, event_type, direction = audio
            media_lines = tuple(s[0] for s in sections)
            return Audio(host, port, payload_type, event_type, direction, media_lines, index)
    raise SdpError("no G.711 audio stream in the SDP")


def _audio(section: list[str], host: str | None, direction: str) -> tuple[str, int, int, int | None, str] | None:
    fields = section[0][2:].split()
    if len(fields) < 4 or fields[0] != "audio" or fields[2].upper() != "RTP/AVP":
        return None
    port_text = fields[1].partition("/")[0]
    if not (port_text.isascii() and port_text.isdigit()) or not 0 < int(port_text) < 65536:
        return None
    maps = dict[str, str]()
    for line in section[1:]:
        if line.startswith("c="):
            host = _host(line)
        elif line.startswith("a=rtpmap:"):
            number, _, name = line[9:].partition(" ")
            maps[number] = name.strip().upper()
        elif line[2:] in ("sendrecv", "sendonly", "recvonly", "inactive"):
            direction = line[2:]
    # Payload types 0 and 8 are static (RFC 3551), so they need no rtpmap; one that contradicts it disqualifies them.
    spoken = [int(f) for f in fields[3:] if f in ("0", "8") and maps.get(f, "PCM").startswith("PCM")]
    if not spoken:
        return None
    if host is None:
        raise SdpError("no c= line for the audio stream")
    event_type = next((int(f) for f in fields[3:] if maps.get(f, "") == "TELEPHONE-EVENT/8000"), None)
    return host, int(port_text), spoken[0], event_type, direction


def _host(line: str) -> str:
    fields = line[2:].split()
    if len(fields) != 3 or fields[0] != "IN" or fields[1] != "IP4":
        raise SdpError(f"bad c= line: {line[:60]!r}")
    host = fields[2].partition("/")[0]
    try:
        ipaddress.IPv4Address(host)
    except ValueError as error:
        raise SdpError(f"no numeric IPv4 address in {line[:60]!r}") from error
    return "" if host == "0.0.0.0" else host


_ANSWER_DIRECTION: Final = {"sendonly": "recvonly", "recvonly": "sendonly", "inactive": "inactive"}


def answer(offer: Audio, host: str, port: int, session_id: int, version: int) -> bytes:
    """The answer: one codec (the offer's first that we speak), telephone-event when offered, other streams refused."""
    media = list[str]()
    for index, line in enumerate(offer.media_lines):
        if index != offer.audio_index:
            fields = line[2:].split()
            media.append(f"m={fields[0]} 0 {' '.join(fields[2:])}" if len(fields) >= 4 else "m=audio 0 RTP/AVP 0")
            continue
        direction = _ANSWER_DIRECTION.get(offer.direction, "sendrecv")
        media += _audio_lines(port, (offer.payload_type,), offer.event_payload_type, direction)
    return _body(host, session_id, version, media)


def offer(host: str, port: int, session_id: int, version: int) -> bytes:
    """An offer of PCMU, PCMA and telephone-event, for an INVITE that came without SDP."""
    return _body(host, session_id, version, _audio_lines(port, (PCMU, PCMA), 101, "sendrecv"))


def _audio_lines(port: int, payload_types: tuple[int, ...], event_type: int | None, direction: str) -> list[str]:
    numbers = [str(p) for p in payload_types] + ([] if event_type is None else [str(event_type)])
    lines = [f"m=audio {port} RTP/AVP {' '.join(numbers)}"]
    lines += [f"a=rtpmap:{p} {CODEC_NAMES[p]}" for p in payload_types]
    if event_type is not None:
        lines += [f"a=rtpmap:{event_type} telephone-event/8000", f"a=fmtp:{event_type} 0-15"]
    return [*lines, "a=ptime:20", f"a={direction}"]


def _body(host: str, session_id: int, version: int, media: list[str]) -> bytes:
    head = ["v=0", f"o=simworld {session_id} {version} IN IP4 {host}", "s=-", f"c=IN IP4 {host}", "t=0 0"]
    return "\r\n".join([*head, *media, ""]).encode()
