"""RTP packets in batches (RFC 3550), strict about what is let in.

A batch is a (k, size) uint8 array of received datagrams with their lengths. Validation is array work; only packets
with CSRCs, a header extension or padding, and those that do not hold exactly 20 ms, are handled one by one.
"""

from dataclasses import dataclass, fields
from typing import Final

import numpy as np
import numpy.typing as npt

HEADER_BYTES: Final = 12
MAX_PACKET_BYTES: Final = 1500
MAX_PAYLOAD_BYTES: Final = 960
"""120 ms of G.711: no sane sender packs more, and the jitter buffer holds little more."""

PCMU: Final = 0
PCMA: Final = 8
TELEPHONE_EVENT: Final = 101  # as in our SDP; RFC 4733
COMFORT_NOISE: Final = 13  # RFC 3389: sent by some gateways in pauses although nobody offered it

Octets = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ParsedBatch:
    """
    Fields of k datagrams; rows that are not `valid` hold nothing meaningful.

    ``reason`` is why a row was refused (index into `REASONS`), 0 for valid ones. ``start``, ``end`` bound the payload.
    """

    valid: Mask
    reason: npt.NDArray[np.uint8]
    payload_type: npt.NDArray[np.uint8]
    marker: Mask
    seq: Ints
    timestamp: Ints
    ssrc: Ints
    start: Ints
    end: Ints

    def select(self, rows: Mask) -> "ParsedBatch":
        """Only the rows where the mask is True."""
        return ParsedBatch(*(getattr(self, one.name)[rows] for one in fields(self)))


REASONS: Final = ("", "short", "bad_version", "bad_length", "unknown_payload", "bad_padding")
_SHORT, _VERSION, _LENGTH, _PAYLOAD, _PADDING = range(1, len(REASONS))


def parse(packets: Octets, lengths: Ints) -> ParsedBatch:
    """Validate and take apart ``packets`` (k, >= 12) uint8, of which row i holds ``lengths[i]`` bytes."""
    head = packets[:, :HEADER_BYTES].astype(np.int64)
    first = head[:, 0]
    payload_type = (head[:, 1] & 0x7F).astype(np.uint8)
    start = HEADER_BYTES + 4 * (first & 0x0F)
    end = lengths.astype(np.int64)

    for row in np.nonzero((first & 0x30).astype(bool) & (lengths >= HEADER_BYTES))[0].tolist():
        start[row], end[row] = _bounds(packets[row], int(lengths[row]), int(start[row]))

    known = (
        (payload_type == PCMU)
        | (payload_type == PCMA)
        | (payload_type == TELEPHONE_EVENT)
        | (payload_type == COMFORT_NOISE)
    )
    size = end - start
    reason = np.zeros(len(packets), dtype=np.uint8)
    reason[(size <= 0) | (size > MAX_PAYLOAD_BYTES) | (lengths > MAX_PACKET_BYTES)] = _LENGTH
    reason[(payload_type == TELEPHONE_EVENT) & (size < 4)] = _LENGTH
    reason[end < 0] = _PADDING
    reason[~known] = _PAYLOAD
    reason[(first >> 6) != 2] = _VERSION
    reason[lengths < HEADER_BYTES] = _SHORT
    return ParsedBatch(
        reason == 0,
        reason,
        payload_type,
        (head[:, 1] & 0x80).astype(bool),
        head[:, 2] << 8 | head[:, 3],
        head[:, 4] << 24 | head[:, 5] << 16 | head[:, 6] << 8 | head[:, 7],
        head[:, 8] << 24 | head[:, 9] << 16 | head[:, 10] << 8 | head[:, 11],
        start,
        end,
    )


def _bounds(packet: Octets, length: int, start: int) -> tuple[int, int]:
    """Payload bounds of a packet with header extension or padding (RFC 3550 section 5.1); end -1: bad padding."""
    end = length
    if packet[0] & 0x10:
        if start + 4 > length:
            return start, start  # no payload: refused by its length
        words = int(packet[start + 2]) << 8 | int(packet[start + 3])
        start += 4 + 4 * words
        if start >= length:
            return start, start
    if packet[0] & 0x20:
        padding = int(packet[length - 1])
        if padding == 0 or padding > length - start:
            return start, -1
        end -= padding
    return start, end


def write_headers(packets: Octets, payload_type: Octets, marker: Mask, seq: Ints, timestamp: Ints, ssrc: Ints) -> None:
    """Fill the first 12 bytes of each row of ``packets`` (n, >= 12) uint8."""
    packets[:, 0] = 0x80
    packets[:, 1] = payload_type | (marker.astype(np.uint8) << 7)
    packets[:, 2] = seq >> 8 & 0xFF
    packets[:, 3] = seq & 0xFF
    for column, shift in enumerate((24, 16, 8, 0)):
        packets[:, 4 + column] = timestamp >> shift & 0xFF
        packets[:, 8 + column] = ssrc >> shift & 0xFF
