"""Which tone sounds in each channel, for all channels in a few array operations.

Two measurements over the last 40 ms (320 samples) every 20 ms:

- **Pairs** (ringback, busy...): the window is projected on the span of {cos f1, sin f1, cos f2, sin f2}; the share of
  the energy in that subspace is the purity. Frequencies only 40 Hz apart cannot be told apart by a 25 Hz spectrum, but
  a least-squares fit gives the amplitude of each. All projections are one matrix product.
- **Single tones** (busy in most countries, SIT, fax, beep): a Hann-windowed spectrum; the share of energy within two
  bins of the highest peak is the purity, and the ratio of the two highest bins gives the frequency to a few Hz.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from telephony.cpa.tones import PAIRS_HZ

SAMPLE_RATE_HZ: Final = 8000
FRAME_SAMPLES: Final = 160
WINDOW_SAMPLES: Final = 2 * FRAME_SAMPLES
BIN_HZ: Final = SAMPLE_RATE_HZ / WINDOW_SAMPLES

NO_TONE: Final = 0
SINGLE_TONE: Final = 1
FSK: Final = 2
FIRST_PAIR: Final = 3
"""Codes of what a frame holds; ``FIRST_PAIR + k`` is ``PAIRS_HZ[k]``."""

TONE_FLOOR_DBFS: Final = -48.0
PAIR_PURITY: Final = 0.80  # 10 dB of noise leaves 0.91; speech is far below
SINGLE_PURITY: Final = 0.84
PAIR_TWIST_DB: Final = 10.0
"""Largest level difference within a pair: a single 440 Hz also lies in the span of (440, 480)."""

BETWEEN_HZ: Final = tuple(float(hz) for hz in range(396, 488, 6))
"""One tone between the two of a pair lies nearly in their span (425 Hz in that of 400 and 450): the fit of a single
tone at one of these must then be worse than that of the pair."""

LOWEST_SINGLE_HZ: Final = 340.0  # below lie pitch and nasals of the voice, but no tone of any network
PAIR_LEAD: Final = 0.02

LOWEST_BIN: Final = 7  # 175 Hz: mains hum and rumble count neither as signal nor as tone
FSK_BINS: Final = slice(61, 80)  # V.21 channel 2, 1650/1850 Hz at 300 bd, with its sidebands
FSK_SHARE: Final = 0.90
FSK_SPREAD: Final = 0.97
"""Of the energy in that band a keyed signal has less than this within two bins; a SIT's 1776.7 Hz has all of it."""

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class ToneMeasure:
    """Per channel: ``code`` int8, ``hz`` float32 (single tones only, else 0), ``purity`` float32 0..1."""

    code: Codes
    hz: Floats
    purity: Floats


class ToneBank:
    """The constant matrices; `measure` keeps no state."""

    def __init__(self) -> None:
        t = np.arange(WINDOW_SAMPLES) / SAMPLE_RATE_HZ
        orthonormal, amplitudes = [], []
        between = []
        for hz in BETWEEN_HZ:
            basis = np.stack([np.cos(2 * np.pi * hz * t), np.sin(2 * np.pi * hz * t)], axis=1)
            between.append(np.linalg.qr(basis)[0])
        for pair in PAIRS_HZ:
            basis = np.stack([wave(2 * np.pi * hz * t) for hz in pair for wave in (np.cos, np.sin)], axis=1)
            orthonormal.append(np.linalg.qr(basis)[0])
            amplitudes.append(np.linalg.pinv(basis).T)
        self._matrix = np.concatenate(orthonormal + amplitudes + between, axis=1).astype(np.float32)
        self._hann = np.hanning(WINDOW_SAMPLES + 1)[:-1].astype(np.float32)

    def measure(self, window: Floats) -> ToneMeasure:
        """``window`` is (n, 320) float32 in sample units (full scale 32768)."""
        n, pairs = len(window), len(PAIRS_HZ)
        rows = np.arange(n)
        energy = np.einsum("ij,ij->i", window, window)
        loud = energy > WINDOW_SAMPLES * (32768.0 * 10 ** (TONE_FLOOR_DBFS / 20)) ** 2
        floor = np.maximum(energy, 1e-3)

        projected = window @ self._matrix
        purity = np.square(projected[:, : 4 * pairs]).reshape(n, pairs, 4).sum(axis=2) / floor[:, None]
        power = np.square(projected[:, 4 * pairs : 8 * pairs]).reshape(n, pairs, 2, 2).sum(axis=3)
        weak, strong = power.min(axis=2), power.max(axis=2)
        purity[weak < strong * 10 ** (-PAIR_TWIST_DB / 10)] = 0.0
        singles = np.square(projected[:, 8 * pairs :]).reshape(n, len(BETWEEN_HZ), 2).sum(axis=2) / floor[:, None]
        purity[purity < singles.max(axis=1)[:, None] + PAIR_LEAD] = 0.0
        best = purity.argmax(axis=1)
        pair_purity = purity[rows, best]

        spectrum = np.fft.rfft(window * self._hann, axis=1)
        density = np.square(spectrum.real) + np.square(spectrum.imag)
        density[:, :LOWEST_BIN] = 0.0
        total = np.maximum(density.sum(axis=1), 1e-3)
        peak = np.clip(density.argmax(axis=1), LOWEST_BIN, density.shape[1] - 3)
        around = density[rows[:, None], peak[:, None] + np.arange(-2, 3)]
        single_purity = around.sum(axis=1) / total
        right = around[:, 3] >= around[:, 1]
        ratio = np.sqrt(np.where(right, around[:, 3], around[:, 1]) / np.maximum(around[:, 2], 1e-3))
        offset = np.clip((2 * ratio - 1) / (1 + ratio), -0.5, 0.5)  # exact for a Hann window without noise
        hz = (peak + np.where(right, offset, -offset)) * BIN_HZ
        fsk_share = density[:, FSK_BINS].sum(axis=1) / total

        is_pair = loud & (pair_purity > PAIR_PURITY)
        is_fsk = loud & ~is_pair & (fsk_share > FSK_SHARE) & (single_purity < FSK_SPREAD * fsk_share)
        is_single = loud & ~is_pair & ~is_fsk & (single_purity > SINGLE_PURITY) & (hz > LOWEST_SINGLE_HZ)
        code = np.where(is_pair, FIRST_PAIR + best, np.where(is_single, SINGLE_TONE, np.where(is_fsk, FSK, NO_TONE)))
        return ToneMeasure(
            code.astype(np.int8),
            np.where(is_single, hz, 0.0).astype(np.float32),
            np.where(is_pair, pair_purity, single_purity).astype(np.float32),
        )
