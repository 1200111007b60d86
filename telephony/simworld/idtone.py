"""Identifying tone pairs: each side of a conversation hums its own code, so the other can prove whom it hears.

A code is one of 16 low and one of 8 high frequencies. Agents use the lower half of the low group and customers the
upper half, so hearing one's own echo is never taken for hearing the other. All frequencies lie above 2.2 kHz: speech
is weak there, and the beep, ringback, busy, SIT, CED and DTMF detectors of call progress analysis end below it.
They are whole numbers of Hz, so each tone repeats after exactly one second (50 frames) without a seam.
"""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

import numpy as np
import numpy.typing as npt

from telephony.simworld.g711 import FRAME_SAMPLES, I16, SAMPLE_RATE_HZ

LOW_HZ: Final = tuple(2290 + 46 * i for i in range(16))
HIGH_HZ: Final = tuple(3026 + 46 * i for i in range(8))
CODES: Final = len(LOW_HZ) * len(HIGH_HZ)
AGENT_CODES: Final = CODES // 2
"""Codes 0..63 belong to agents, 64..127 to called numbers."""

PAIR_LEVEL_DBFS: Final = -20.0
"""Level of the pair: well above speech leftovers in its band, far from clipping when added to speech at -20 dBFS."""

SEGMENT_SAMPLES: Final = 1600
"""200 ms: 5 Hz bins; powers of several segments are averaged, so a lost packet spoils only its own segment."""
WINDOW_SAMPLES: Final = SAMPLE_RATE_HZ
MIN_TONE_DBFS: Final = -38.0
"""A single tone leaves at -23 dBFS; 15 dB of loss on the way is more than any path here has."""
MIN_LEAD_DB: Final = 9.0
"""The winner of each group must stand this far above the runner-up, or it is speech or noise."""
MAX_TWIST_DB: Final = 8.0


def agent_code(extension: str) -> int:
    """Code of an agent's phone, 0..63: extensions that follow each other get different codes."""
    return int(extension) % AGENT_CODES if extension.isdigit() else _hash(extension) % AGENT_CODES


def customer_code(number: str) -> int:
    """Code of a called number (canonical digits), 64..127."""
    return AGENT_CODES + _hash(number) % AGENT_CODES


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


def tone_pair(code: int, samples: int = SAMPLE_RATE_HZ) -> npt.NDArray[np.float64]:
    """The pair as floats in [-1, 1], starting at phase 0."""
    if not 0 <= code < CODES:
        raise ValueError(f"code must be in 0..{CODES - 1}, got {code}")
    low, high = divmod(code, len(HIGH_HZ))
    t = np.arange(samples) / SAMPLE_RATE_HZ
    # Two equal sines of amplitude a have the level of one sine of amplitude a * sqrt(2).
    amplitude = 10 ** (PAIR_LEVEL_DBFS / 20) / np.sqrt(2)
    wave: npt.NDArray[np.float64] = amplitude * (
        np.sin(2 * np.pi * LOW_HZ[low] * t) + np.sin(2 * np.pi * HIGH_HZ[high] * t)
    )
    return wave


def tone_frames(code: int) -> I16:
    """(50, 160) int16: one second of the pair in frames."""
    return (tone_pair(code) * 32767).astype(np.int16).reshape(-1, FRAME_SAMPLES)


def _bank(frequencies: Iterable[int]) -> npt.NDArray[np.float32]:
    t = np.arange(SEGMENT_SAMPLES) / SAMPLE_RATE_HZ
    window = np.hanning(SEGMENT_SAMPLES)
    window /= window.sum() / 2  # a full-scale sine gives magnitude 1
    columns = [f(2 * np.pi * hz * t) * window for hz in frequencies for f in (np.cos, np.sin)]
    return np.stack(columns, axis=1).astype(np.float32)


_BANK: Final = _bank(LOW_HZ + HIGH_HZ)


def decode_code(samples: I16) -> int | None:
    """
    Which code is in these samples (int16, at least one segment; the tail that fills no segment is ignored)?

    The single-frequency DFT of every tone (what Goertzel computes, here as one matrix product) is averaged in power
    over 200 ms segments. None when no pair stands out.
    """
    segments = len(samples) // SEGMENT_SAMPLES
    if segments == 0:
        return None
    frames = samples[: segments * SEGMENT_SAMPLES].reshape(segments, SEGMENT_SAMPLES).astype(np.float32) / 32767.0
    parts = np.square(frames @ _BANK).mean(axis=0)
    power_db = 10 * np.log10(parts[0::2] + parts[1::2] + 1e-12)
    low, high = power_db[: len(LOW_HZ)], power_db[len(LOW_HZ) :]
    best_low, best_high = int(low.argmax()), int(high.argmax())
    if min(low[best_low], high[best_high]) < MIN_TONE_DBFS or abs(low[best_low] - high[best_high]) > MAX_TWIST_DB:
        return None
    if low[best_low] - np.partition(low, -2)[-2] < MIN_LEAD_DB:
        return None
    if high[best_high] - np.partition(high, -2)[-2] < MIN_LEAD_DB:
        return None
    return best_low * len(HIGH_HZ) + best_high
