"""G.711 by look-up tables (ITU-T G.711 tables 1a, 2a), written apart from the media server's: each checks the other.

Linear samples are int16 at full 16-bit scale: 0 dBFS is a sine of amplitude 32767.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

SAMPLE_RATE_HZ: Final = 8000
FRAME_SAMPLES: Final = 160
"""20 ms, the packetisation of every RTP stream here."""

PCMU: Final = 0
PCMA: Final = 8
ULAW_SILENCE: Final = 0xFF

I16 = npt.NDArray[np.int16]
U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]


def _ulaw_decode_table() -> I16:
    code = ~np.arange(256, dtype=np.int32) & 0xFF
    exponent, mantissa = (code >> 4) & 7, code & 0x0F
    magnitude = (((mantissa << 3) + 0x84) << exponent) - 0x84
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


def _alaw_decode_table() -> I16:
    code = np.arange(256, dtype=np.int32) ^ 0x55
    exponent, mantissa = (code >> 4) & 7, code & 0x0F
    # The lowest segment is linear; the others carry an implicit leading one.
    base = (mantissa << 4) + 8
    magnitude = np.where(exponent == 0, base, (base + 0x100) << np.maximum(exponent - 1, 0))
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)


def _encode_table(decode: I16) -> U8:
    """Nearest-level encoder for every int16, indexed by the sample viewed as uint16."""
    order = np.argsort(decode, kind="stable")
    levels = decode[order].astype(np.int32)
    samples = np.arange(-32768, 32768, dtype=np.int32)
    right = np.clip(np.searchsorted(levels, samples), 1, len(levels) - 1)
    nearer_left = samples - levels[right - 1] <= levels[right] - samples
    chosen = order[np.where(nearer_left, right - 1, right)].astype(np.uint8)
    return np.roll(chosen, 32768)  # index 0 is sample 0, index 32768 is sample -32768


ULAW_TO_LINEAR: Final = _ulaw_decode_table()
ALAW_TO_LINEAR: Final = _alaw_decode_table()
_LINEAR_TO_ULAW: Final = _encode_table(ULAW_TO_LINEAR)
_LINEAR_TO_ALAW: Final = _encode_table(ALAW_TO_LINEAR)


def decode(payload: U8, payload_type: int = PCMU) -> I16:
    """Codes (any shape, uint8) to samples of the same shape."""
    return (ULAW_TO_LINEAR if payload_type == PCMU else ALAW_TO_LINEAR)[payload]


def encode(samples: I16, payload_type: int = PCMU) -> U8:
    """Samples (any shape, int16) to codes of the same shape."""
    return (_LINEAR_TO_ULAW if payload_type == PCMU else _LINEAR_TO_ALAW)[samples.view(np.uint16)]


def ulaw_bytes(samples: npt.NDArray[np.floating]) -> bytes:
    """Float samples in [-1, 1] (clipped beyond) as mu-law bytes."""
    scaled = np.clip(samples * 32767.0, -32768, 32767).astype(np.int16)
    return encode(scaled).tobytes()


def level_dbfs(samples: I16) -> float:
    """RMS level of the samples in dB relative to a full-scale sine (0 dBFS); -120 for digital silence."""
    mean_square = float(np.mean(np.square(samples.astype(np.float64)))) if samples.size else 0.0
    if mean_square <= 0.0:
        return -120.0
    return max(-120.0, 10.0 * float(np.log10(mean_square / (32767.0**2 / 2.0))))
