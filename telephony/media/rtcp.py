"""RTCP sender and receiver reports (RFC 3550 section 6), as small as the standard allows: SR or RR, and a CNAME."""

import struct
from dataclasses import dataclass
from typing import Final

REPORT_S: Final = 5.0
SENDER_REPORT: Final = 200
RECEIVER_REPORT: Final = 201
SOURCE_DESCRIPTION: Final = 202
HIGHEST_TYPE: Final = 207
NTP_OFFSET_S: Final = 2208988800  # 1900 to 1970


@dataclass(frozen=True, slots=True)
class Reception:
    """What we know of the far end's stream. ``last_sr`` is the middle of its last SR's NTP time, 0 for none."""

    ssrc: int
    fraction_lost: float
    cumulative_lost: int
    highest_seq: int
    last_sr: int = 0
    since_last_sr_s: float = 0.0


def build_report(
    ssrc: int, packets_out: int, octets_out: int, rtp_timestamp: int, wall_s: float, cname: str, heard: Reception | None
) -> bytes:
    """A compound SR + SDES packet. ``wall_s`` is Unix time."""
    ntp = int((wall_s + NTP_OFFSET_S) * 2**32) & (2**64 - 1)
    block = b""
    if heard is not None:
        lost = max(-(1 << 23), min((1 << 23) - 1, heard.cumulative_lost)) & 0xFFFFFF
        fraction = max(0, min(255, int(heard.fraction_lost * 256)))
        # Arrival times are only known to a tick of 20 ms, so no jitter is claimed.
        delay = min(0xFFFFFFFF, int(heard.since_last_sr_s * 65536)) if heard.last_sr else 0
        block = struct.pack(
            "!IIIIII", heard.ssrc, fraction << 24 | lost, heard.highest_seq & 0xFFFFFFFF, 0, heard.last_sr, delay
        )
    body = struct.pack("!IQIII", ssrc, ntp, rtp_timestamp, packets_out & 0xFFFFFFFF, octets_out & 0xFFFFFFFF) + block
    report = struct.pack("!BBH", 0x80 | (1 if block else 0), SENDER_REPORT, len(body) // 4) + body
    name = cname.encode()[:255]
    item = struct.pack("!IBB", ssrc, 1, len(name)) + name
    item += b"\0" * (4 - len(item) % 4)
    return report + struct.pack("!BBH", 0x81, SOURCE_DESCRIPTION, len(item) // 4) + item


def read_last_sr(packet: bytes) -> int | None:
    """
    Check a received compound packet.

    Returns the middle 32 bits of the NTP time when it leads with an SR, 0 for another well-formed packet, None for
    a malformed one.
    """
    offset, found = 0, 0
    while offset < len(packet):
        if len(packet) - offset < 4:
            return None
        first, kind, words = struct.unpack_from("!BBH", packet, offset)
        size = 4 * (words + 1)
        if first >> 6 != 2 or not SENDER_REPORT <= kind <= HIGHEST_TYPE or size > len(packet) - offset:
            return None
        if kind == SENDER_REPORT:
            if size < 28:
                return None
            found = int(struct.unpack_from("!Q", packet, offset + 8)[0]) >> 16 & 0xFFFFFFFF
        offset += size
    return found if packet else None
