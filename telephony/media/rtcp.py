"""RTCP (RFC 3550 section 6): building SR, SDES and BYE, reading whatever comes. Pure.

Reading checks a compound packet as RFC 3550 A.2 asks before anything of it is believed. Packets of other types
(application-defined, feedback, extended reports) are stepped over.
"""

import struct
from dataclasses import dataclass
from typing import Final

REPORT_S: Final = 5.0
SENDER_REPORT: Final = 200
RECEIVER_REPORT: Final = 201
SOURCE_DESCRIPTION: Final = 202
GOODBYE: Final = 203
OTHER_TYPES: Final = range(192, 224)
"""What a packet of RTCP may be (RFC 5761 section 4): all of its types, old and new, stay in it."""
NTP_OFFSET_S: Final = 2208988800  # 1900 to 1970
FRACTION: Final = 65536  # the middle 32 bits of an NTP time count 1/65536 s
LONGEST_RTT_S: Final = 10.0  # more is nonsense: a forged or damaged report


@dataclass(frozen=True, slots=True)
class Reception:
    """
    A report block: what its sender hears of the stream ``ssrc``.

    ``jitter`` in timestamp units (1/8000 s), ``last_sr`` the middle of the NTP time of the last SR, 0 for none,
    ``cumulative_lost`` signed.
    """

    ssrc: int
    fraction_lost: float
    cumulative_lost: int
    highest_seq: int
    jitter: int = 0
    last_sr: int = 0
    since_last_sr_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Compound:
    """What a compound packet says. ``sr_time``: middle 32 bits of the NTP time of its SR, 0 for none."""

    ssrc: int
    sr_time: int
    blocks: tuple[Reception, ...]
    goodbyes: tuple[int, ...]


def ntp_middle(wall_s: float) -> int:
    """The middle 32 bits of the NTP time of Unix time ``wall_s``, as in LSR."""
    return int((wall_s + NTP_OFFSET_S) * FRACTION) & 0xFFFFFFFF


def build_report(
    ssrc: int,
    packets_out: int,
    octets_out: int,
    rtp_timestamp: int,
    wall_s: float,
    cname: str,
    heard: Reception | None,
    goodbye: bool = False,
) -> bytes:
    """A compound SR + SDES packet, with BYE behind it when ``goodbye``. ``wall_s`` is Unix time."""
    ntp = int((wall_s + NTP_OFFSET_S) * 2**32) & (2**64 - 1)
    block = b""
    if heard is not None:
        lost = max(-(1 << 23), min((1 << 23) - 1, heard.cumulative_lost)) & 0xFFFFFF
        fraction = max(0, min(255, int(heard.fraction_lost * 256)))
        delay = max(0, min(0xFFFFFFFF, int(heard.since_last_sr_s * FRACTION))) if heard.last_sr else 0
        block = struct.pack(
            "!IIIIII",
            heard.ssrc,
            fraction << 24 | lost,
            heard.highest_seq & 0xFFFFFFFF,
            heard.jitter & 0xFFFFFFFF,
            heard.last_sr,
            delay,
        )
    body = struct.pack("!IQIII", ssrc, ntp, rtp_timestamp, packets_out & 0xFFFFFFFF, octets_out & 0xFFFFFFFF) + block
    report = struct.pack("!BBH", 0x80 | (1 if block else 0), SENDER_REPORT, len(body) // 4) + body
    name = cname.encode()[:255]
    item = struct.pack("!IBB", ssrc, 1, len(name)) + name
    item += b"\0" * (4 - len(item) % 4)
    end = struct.pack("!BBHI", 0x81, GOODBYE, 1, ssrc) if goodbye else b""
    return report + struct.pack("!BBH", 0x81, SOURCE_DESCRIPTION, len(item) // 4) + item + end


def is_rtcp(datagram: bytes) -> bool:
    """Whether a datagram on a port shared by RTP and RTCP is the latter (RFC 5761 section 4)."""
    return len(datagram) >= 8 and datagram[0] >> 6 == 2 and 192 <= datagram[1] <= 223


def read_compound(packet: bytes) -> Compound | None:
    """Check and read a received packet; None for a malformed one (RFC 3550 A.2)."""
    if len(packet) < 8 or packet[1] not in (SENDER_REPORT, RECEIVER_REPORT):
        return None
    offset, first_ssrc, sr_time = 0, struct.unpack_from("!I", packet, 4)[0], 0
    blocks: list[Reception] = []
    goodbyes: list[int] = []
    while offset < len(packet):
        if len(packet) - offset < 4:
            return None
        first, kind, words = struct.unpack_from("!BBH", packet, offset)
        size, count = 4 * (words + 1), first & 0x1F
        last = offset + size == len(packet)
        if first >> 6 != 2 or kind not in OTHER_TYPES or size > len(packet) - offset:
            return None
        if first & 0x20 and not last:
            return None  # only the last one may be padded
        fixed = {SENDER_REPORT: 28, RECEIVER_REPORT: 8, GOODBYE: 4}.get(kind, 4)
        each = {SENDER_REPORT: 24, RECEIVER_REPORT: 24, GOODBYE: 4}.get(kind, 0)
        if size < fixed + each * count:
            return None
        at = offset + fixed
        if kind in (SENDER_REPORT, RECEIVER_REPORT):
            if kind == SENDER_REPORT:
                sr_time = struct.unpack_from("!Q", packet, offset + 8)[0] >> 16 & 0xFFFFFFFF
            blocks += [_read_block(packet, at + each * i) for i in range(count)]
        elif kind == GOODBYE:
            goodbyes += struct.unpack_from(f"!{count}I", packet, at)
        offset += size
    return Compound(first_ssrc, sr_time, tuple(blocks), tuple(goodbyes))


def _read_block(packet: bytes, at: int) -> Reception:
    ssrc, loss, highest, jitter, last_sr, delay = struct.unpack_from("!IIIIII", packet, at)
    lost = loss & 0xFFFFFF
    return Reception(
        ssrc, (loss >> 24) / 256, lost - (1 << 24) * (lost >> 23), highest, jitter, last_sr, delay / FRACTION
    )


def round_trip_s(block: Reception, now_middle: int) -> float | None:
    """Round trip by a block about our stream that came at `ntp_middle` ``now_middle`` (RFC 3550 6.4.1); or None."""
    if not block.last_sr:
        return None
    units = (now_middle - block.last_sr - round(block.since_last_sr_s * FRACTION)) & 0xFFFFFFFF
    if units >= 1 << 31:  # negative by a hair: their clock counts coarsely
        units = 0 if units > (1 << 32) - FRACTION // 10 else units
    rtt_s = units / FRACTION
    return rtt_s if rtt_s <= LONGEST_RTT_S else None
