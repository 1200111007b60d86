"""G.711 u-law and A-law as lookup tables (ITU-T G.711, 1988).

Decoding and encoding are one table gather each. Encoding a decoded value gives the same octet back (except that the
two u-law zeros fall together), so audio that passes through as linear samples is not degraded.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

Octets = npt.NDArray[np.uint8]
Samples = npt.NDArray[np.int16]

SAMPLE_RATE_HZ: Final = 8000
ULAW_SILENCE: Final = 0xFF
ALAW_SILENCE: Final = 0xD5


def _ulaw_decode_table() -> Samples:
    octet = ~np.arange(256, dtype=np.uint8)
    exponent = (octet >> 4) & 7
    mantissa = (octet & 15).astype(np.int32)
    magnitude = (((mantissa << 3) + 0x84) << exponent) - 0x84
    return np.where(octet & 0x80, -magnitude, magnitude).astype(np.int16)


def _alaw_decode_table() -> Samples:
    octet = np.arange(256, dtype=np.uint8) ^ 0x55
    exponent = ((octet >> 4) & 7).astype(np.int32)
    mantissa = (octet & 15).astype(np.int32)
    magnitude = np.where(exponent == 0, (mantissa << 4) + 8, ((mantissa << 4) + 0x108) << np.maximum(exponent - 1, 0))
    return np.where(octet & 0x80, magnitude, -magnitude).astype(np.int16)


def _encode_table(decode: Samples) -> Octets:
    """Nearest code for each of the 65,536 sample values, indexed by the sample seen as uint16."""
    order = np.argsort(decode, kind="stable")
    values = decode[order].astype(np.int32)
    edges = (values[1:] + values[:-1]) / 2
    samples = np.arange(-32768, 32768)
    codes = order[np.searchsorted(edges, samples, side="right")].astype(np.uint8)
    table = np.empty(65536, dtype=np.uint8)
    table[samples.astype(np.int16).view(np.uint16)] = codes
    return table


ULAW_TO_LINEAR: Final = _ulaw_decode_table()
ALAW_TO_LINEAR: Final = _alaw_decode_table()
LINEAR_TO_ULAW: Final = _encode_table(ULAW_TO_LINEAR)
LINEAR_TO_ALAW: Final = _encode_table(ALAW_TO_LINEAR)
LINEAR_TO_ULAW[0] = ULAW_SILENCE  # both u-law zeros are nearest; the positive one is what the wire calls silence


def ulaw_to_linear(octets: Octets) -> Samples:
    """u-law octets of any shape to int16 samples of that shape."""
    return ULAW_TO_LINEAR[octets]


def alaw_to_linear(octets: Octets) -> Samples:
    """A-law octets of any shape to int16 samples of that shape."""
    return ALAW_TO_LINEAR[octets]


def linear_to_ulaw(samples: Samples) -> Octets:
    """int16 samples of any shape to u-law octets."""
    return LINEAR_TO_ULAW[samples.view(np.uint16)]


def linear_to_alaw(samples: Samples) -> Octets:
    """int16 samples of any shape to A-law octets."""
    return LINEAR_TO_ALAW[samples.view(np.uint16)]
