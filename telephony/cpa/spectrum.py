"""Which tone sounds in each channel, for all channels in a few array operations.

Every 20 ms the last 40 ms (320 samples) are transformed, Hann-windowed, into bins of 25 Hz. A frame is

- a **tone** when one line holds most of the energy, or when the band of the call progress tones (350 to 650 Hz) does:
  two frequencies of 40 Hz apart, or a tone modulated by 25 Hz, cannot be told from one in 40 ms, but the centre of
  their energy stands as still as a single line. What such a tone is made of is measured once per burst, in `lines`;
- a **dual** tone when two lines far apart share the energy (recording tones, DTMF);
- a **keyed** carrier (FSK) when a band of a modem holds the energy, but no single line does.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import scipy.fft

SAMPLE_RATE_HZ: Final = 8000
FRAME_SAMPLES: Final = 160
WINDOW_SAMPLES: Final = 2 * FRAME_SAMPLES
BIN_HZ: Final = SAMPLE_RATE_HZ / WINDOW_SAMPLES

NO_TONE: Final = 0
SINGLE_TONE: Final = 1
DUAL_TONE: Final = 2
FSK: Final = 3
"""Codes of what a frame holds. Call progress tones count as single ones here, whatever they are made of."""

TONE_FLOOR_DBFS: Final = -50.0
SINGLE_PURITY: Final = 0.80  # 10 dB of noise leaves 0.91; voiced speech is above now and then, but never stays
HIGH_PURITY: Final = 0.70  # above 900 Hz, where no harmonic of a voice stands so far out
HIGH_HZ: Final = 900.0
BAND_PURITY: Final = 0.80
DUAL_PURITY: Final = 0.82
DUAL_TWIST_DB: Final = 12.0
EQUAL_RATIO: Final = 0.5  # in power

LOWEST_SINGLE_HZ: Final = 340.0  # below lie pitch and nasals of the voice, but no tone of any network
BAND_BINS: Final = slice(13, 29)  # 325 .. 700 Hz
BAND_PEAK_BINS: Final = (13, 26)  # a line above 650 Hz leaks out of the band

LOWEST_BIN: Final = 7  # 175 Hz: the mains' fundamental and rumble count neither as signal nor as tone
HUM_BINS: Final = slice(LOWEST_BIN, 14)  # .. 325 Hz: harmonics of the mains, beside the voice's pitch
HUM_RISE: Final = 10 ** (0.15 / 10)
HUM_FALL: Final = 10 ** (-1.0 / 10)
"""Per frame, in power: hum is what is always there, a pitch comes and goes."""

HUM_MARGIN: Final = 2.0
HIGHEST_BIN: Final = 144  # 3600 Hz: above there is nothing on a telephone line but quantising noise
ODD_HARMONICS: Final = (3, 5, 7)
LEAST_CLIPPED: Final = 0.6  # the fundamental of a square wave has 0.81 of its energy
EVEN_SHARE: Final = 0.02
"""A tone that was sent too loud is clipped, on both sides alike: it has odd harmonics and hardly any even ones."""

FSK_BANDS: Final = (
    (slice(61, 80), 1750.0, (66, 74)),  # V.21 channel 2: 1650/1850 Hz at 300 bd, with its sidebands
    (slice(76, 95), 2125.0, (81, 89)),  # Bell 103 answering: 2025/2225 Hz
)
FSK_SHARE: Final = 0.88
FSK_SPREAD: Final = 0.93
"""Of the energy in that band a keyed signal has less than this within two bins."""

FSK_PEAK_BINS: Final = 1  # the peak is this near to one of the two lines; a SIT's 1776.7 Hz lies between

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int8]

POWER_OF_DENSITY: Final = np.float32(2 / (WINDOW_SAMPLES**2 * 0.375))
"""Parseval, and a Hann window's mean power of 3/8."""

_BAND_INDEX: Final = np.arange(BAND_BINS.start, BAND_BINS.stop, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class ToneMeasure:
    """
    Per channel: ``code`` int8; ``hz`` float32, the line, or the centre of a call progress tone, or the stronger line of
    a dual tone (the lower of two like ones), or the centre of an FSK band; ``purity`` float32, the share of the energy
    that is the tone, 0..1; ``power`` float32, the mean square of the window and ``hum`` float32, that of the hum below
    325 Hz in it. Neither direct current nor hum counts in purity and power.
    """

    code: Codes
    hz: Floats
    purity: Floats
    power: Floats
    hum: Floats


class ToneBank:
    """The window, its transform, and the hum of ``n`` channels."""

    def __init__(self, n: int = 0) -> None:
        self._hum = np.zeros((n, HUM_BINS.stop - HUM_BINS.start), dtype=np.float32)
        self._hann = np.hanning(WINDOW_SAMPLES + 1)[:-1].astype(np.float32)
        self._floor = np.float32((32768.0 * 10 ** (TONE_FLOOR_DBFS / 20)) ** 2)

    def reset(self, channel: int) -> None:
        """Forget the hum of a channel."""
        self._hum[channel] = 0.0

    def measure(self, window: Floats, rows: npt.NDArray[np.intp] | None = None) -> ToneMeasure:
        """
        ``window`` is (n, 320) float32 in sample units (full scale 32768), of the channels ``rows``.

        Without ``rows`` the windows are judged each by itself, as if there were no hum.
        """
        n = len(window)
        code, hz, purity = np.zeros(n, np.int8), np.zeros(n, np.float32), np.zeros(n, np.float32)
        hum = np.zeros(n, np.float32)
        power: Floats = np.einsum("ij,ij->i", window, window) / np.float32(WINDOW_SAMPLES)
        loud = np.nonzero(power > self._floor)[0]
        if len(loud):
            density = self._density(window[loud] if len(loud) < n else window)
            if rows is not None:
                hum[loud] = self._remove_hum(rows[loud], density)
            code[loud], hz[loud], purity[loud] = _judge(density)
            power[loud] = density.sum(axis=1) * POWER_OF_DENSITY
        return ToneMeasure(code, hz, purity, power, hum)

    def _density(self, window: Floats) -> Floats:
        spectrum = scipy.fft.rfft(window * self._hann, axis=1)[:, :HIGHEST_BIN]
        density: Floats = np.square(spectrum.real) + np.square(spectrum.imag)
        density[:, :LOWEST_BIN] = 0.0
        return density

    def _remove_hum(self, rows: npt.NDArray[np.intp], density: Floats) -> Floats:
        """Take the hum out of ``density``; returns its mean square per row."""
        low, known = density[:, HUM_BINS], self._hum[rows]
        hum = np.where(low > known, np.minimum(low, known * np.float32(HUM_RISE)), known * np.float32(HUM_FALL))
        hum = np.where(known > 0.0, np.maximum(hum, np.float32(1.0)), low)
        self._hum[rows] = hum
        density[:, HUM_BINS] = np.maximum(low - np.float32(HUM_MARGIN) * hum, np.float32(0.0))
        mean_square: Floats = hum.sum(axis=1) * POWER_OF_DENSITY
        return mean_square


def _judge(density: Floats) -> tuple[Codes, Floats, Floats]:
    rows = np.arange(len(density))
    total = np.maximum(density.sum(axis=1), np.float32(1e-3))
    peak = np.clip(density.argmax(axis=1), LOWEST_BIN, density.shape[1] - 3)
    around = density[rows[:, None], peak[:, None] + np.arange(-2, 3)]
    purity = around.sum(axis=1) / total
    hz = _interpolated(peak, around)
    band = density[:, BAND_BINS]
    in_band = band.sum(axis=1)
    share = in_band / total

    is_band = (share > BAND_PURITY) & (peak >= BAND_PEAK_BINS[0]) & (peak <= BAND_PEAK_BINS[1])
    centre = (band @ _BAND_INDEX) / np.maximum(in_band, np.float32(1e-3)) * np.float32(BIN_HZ)
    _count_harmonics(density, total, peak, purity, share, centre, hz)
    is_band |= (share > BAND_PURITY) & (peak >= BAND_PEAK_BINS[0]) & (peak <= BAND_PEAK_BINS[1])
    needed = np.where(hz > HIGH_HZ, HIGH_PURITY, SINGLE_PURITY)
    is_single = ~is_band & (purity > needed) & (hz > LOWEST_SINGLE_HZ)
    code = np.where(is_band | is_single, SINGLE_TONE, NO_TONE).astype(np.int8)
    hz = np.where(is_band, centre, hz).astype(np.float32)
    purity = np.where(is_band, share, purity).astype(np.float32)

    for bins, centre_hz, lines in FSK_BANDS:
        keyed = density[:, bins].sum(axis=1) / total
        at_line = (np.abs(peak - lines[0]) <= FSK_PEAK_BINS) | (np.abs(peak - lines[1]) <= FSK_PEAK_BINS)
        is_fsk = at_line & ~is_band & (keyed > FSK_SHARE) & (purity < FSK_SPREAD * keyed)
        code[is_fsk], hz[is_fsk], purity[is_fsk] = FSK, centre_hz, keyed[is_fsk]

    maybe = np.nonzero((code == NO_TONE) & (purity > DUAL_PURITY / 2 - 0.1))[0]
    if len(maybe):
        _find_dual(density[maybe], maybe, peak[maybe], hz[maybe], total[maybe], code, hz, purity)
    return code, hz, purity


def _count_harmonics(
    density: Floats,
    total: Floats,
    peak: npt.NDArray[np.intp],
    purity: Floats,
    share: Floats,
    centre: Floats,
    hz: Floats,
) -> None:
    """Count the odd harmonics of clipped call progress tones as theirs: raises ``share`` where there are any."""
    low = (peak >= BAND_PEAK_BINS[0]) & (peak <= BAND_PEAK_BINS[1])
    maybe = np.nonzero(low & (purity > LEAST_CLIPPED) & (share <= BAND_PURITY))[0]
    if not len(maybe):
        return
    beside = np.arange(-2, 3)

    def at(order: int) -> Floats:
        bins = np.rint(hz[maybe] * order / BIN_HZ).astype(np.intp)[:, None] + beside
        lobe: Floats = np.where(bins < HIGHEST_BIN, density[maybe[:, None], np.minimum(bins, HIGHEST_BIN - 1)], 0.0)
        ratio: Floats = lobe.sum(axis=1) / total[maybe]
        return ratio

    whole = purity[maybe] + sum(at(order) for order in ODD_HARMONICS)
    clipped = (whole > BAND_PURITY) & (at(2) < EVEN_SHARE)
    share[maybe[clipped]] = whole[clipped]
    centre[maybe[clipped]] = hz[maybe[clipped]]


def _find_dual(
    density: Floats,
    maybe: npt.NDArray[np.intp],
    peak: npt.NDArray[np.intp],
    peak_hz: Floats,
    total: Floats,
    code: Codes,
    hz: Floats,
    purity: Floats,
) -> None:
    """Fill in the frames ``maybe`` of which two lines make up the energy; ``density`` is theirs."""
    rows = np.arange(len(density))
    lobe = peak[:, None] + np.arange(-2, 3)
    first = density[rows[:, None], lobe].sum(axis=1)
    density = density.copy()
    density[rows[:, None], lobe] = 0.0
    other = np.clip(density.argmax(axis=1), LOWEST_BIN, density.shape[1] - 3)
    around = density[rows[:, None], other[:, None] + np.arange(-2, 3)]
    second = around.sum(axis=1)
    share = (first + second) / total
    other_hz = _interpolated(other, around)
    apart = np.abs(other - peak) > 4
    found = apart & (share > DUAL_PURITY) & (second > first * 10 ** (-DUAL_TWIST_DB / 10))
    found &= np.minimum(peak_hz, other_hz) > LOWEST_SINGLE_HZ
    # The stronger line, which alone may be taken for the tone in some frames; of two like lines the lower one.
    told = np.where(second > EQUAL_RATIO * first, np.minimum(peak_hz, other_hz), peak_hz)
    which = maybe[found]
    code[which], hz[which], purity[which] = DUAL_TONE, told[found], share[found]


def _interpolated(peak: npt.NDArray[np.intp], around: Floats) -> Floats:
    """Frequency of the line at bin ``peak``, from the five bins around it; exact for a Hann window without noise."""
    right = around[:, 3] >= around[:, 1]
    ratio = np.sqrt(np.where(right, around[:, 3], around[:, 1]) / np.maximum(around[:, 2], np.float32(1e-3)))
    offset = np.clip((2 * ratio - 1) / (1 + ratio), -0.5, 0.5)
    hz: Floats = ((peak + np.where(right, offset, -offset)) * BIN_HZ).astype(np.float32)
    return hz
