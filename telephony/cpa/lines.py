"""What a burst is made of, measured once per burst on its whole audio: lines, exact edges, phase reversals, modulation.

A second of audio tells frequencies of a few Hz apart, which the frames of 40 ms cannot: 440+480 from 400+450 Hz, one
tone from two, a modulated tone from its carrier.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
import scipy.fft

from telephony.cpa.spectrum import FRAME_SAMPLES, ODD_HARMONICS, SAMPLE_RATE_HZ

Samples = npt.NDArray[np.float64]

FFT_SAMPLES: Final = 4096
MOST_LINES: Final = 5
WEAKEST_LINE: Final = 0.04  # of the strongest, in power: 14 dB below
LOWEST_HZ: Final = 175.0
HUM_HZ: Final = 325.0
HUM_MARGIN: Final = 4.0
CLIPPED_HZ: Final = (340.0, 650.0)
HARMONIC_HZ: Final = 12.0
EDGE_SAMPLES: Final = 80  # 10 ms: the envelope's resolution
BEAT_SAMPLES: Final = 200  # 25 ms: one period of the slowest beat of a pair that frames take for one tone
EDGE_SEARCH_FRAMES: Final = 3
EDGE_LEVEL: Final = 0.5  # of the amplitude inside


@dataclass(frozen=True, slots=True)
class Line:
    """One spectral line; ``share`` is its part of the energy above 175 Hz."""

    hz: float
    share: float


@lru_cache(maxsize=128)
def _hann(n: int) -> Samples:
    """The window of ``n`` samples; bursts are whole frames long, so the same lengths come again and again."""
    window: Samples = np.hanning(n)
    window.flags.writeable = False
    return window


def band_power(samples: Samples) -> float:
    """Mean square of what lies above hum and direct current; 0.0 without samples."""
    if not len(samples):
        return 0.0
    spectrum = scipy.fft.rfft((samples - samples.mean()) * _hann(len(samples)))
    spectrum[: round(HUM_HZ * len(samples) / SAMPLE_RATE_HZ)] = 0.0
    return float(np.sum(spectrum.real**2 + spectrum.imag**2)) * 2 / (0.375 * len(samples) ** 2)


def find_lines(samples: Samples, hum_power: float = 0.0) -> tuple[Line, ...]:
    """
    The lines of a burst's audio, the strongest first; no more than five, none 14 dB below the strongest.

    ``hum_power`` is the mean square of the line's hum: no more than that below 325 Hz is no part of the burst.
    """
    samples = samples[-FFT_SAMPLES:]
    if len(samples) < FRAME_SAMPLES:
        return ()
    spectrum = scipy.fft.rfft(samples * _hann(len(samples)), FFT_SAMPLES)
    density = spectrum.real**2 + spectrum.imag**2
    bin_hz = SAMPLE_RATE_HZ / FFT_SAMPLES
    density[: round(LOWEST_HZ / bin_hz)] = 0.0
    low = density[: round(HUM_HZ / bin_hz)]
    if low.sum() * 2 / (0.375 * FFT_SAMPLES * len(samples)) <= HUM_MARGIN * hum_power:
        low[:] = 0.0
    total = float(density.sum())
    if total <= 0.0:
        return ()
    lobe = int(np.ceil(2.0 * FFT_SAMPLES / len(samples))) + 1
    found: list[Line] = []
    for _ in range(MOST_LINES):
        peak = int(density.argmax())
        low, high = max(0, peak - lobe), peak + lobe + 1
        part = density[low:high]
        energy = float(part.sum())
        if energy <= 0.0 or (found and energy < WEAKEST_LINE * found[0].share * total):
            break
        found.append(Line(float(part @ np.arange(low, low + len(part))) / energy * bin_hz, energy / total))
        density[low:high] = 0.0
    return _without_harmonics(found) if found else ()


def _without_harmonics(lines: list[Line]) -> tuple[Line, ...]:
    """The lines, the odd harmonics of a clipped call progress tone counted as the tone."""
    first = lines[0]
    orders = [line.hz / first.hz for line in lines[1:]]
    even = any(abs(order - 2.0) * first.hz <= HARMONIC_HZ for order in orders)
    if even or not CLIPPED_HZ[0] <= first.hz <= CLIPPED_HZ[1]:
        return tuple(lines)
    odd = [any(abs(order - k) * first.hz <= HARMONIC_HZ for k in ODD_HARMONICS) for order in orders]
    share = first.share + sum(line.share for line, is_odd in zip(lines[1:], odd, strict=True) if is_odd)
    return (Line(first.hz, share), *(line for line, is_odd in zip(lines[1:], odd, strict=True) if not is_odd))


def _envelope(samples: Samples, hz: float | None) -> Samples:
    """Amplitude over time: of the tone at ``hz``, or of everything, smoothed over its beats, when None."""
    if hz is None:
        power = np.concatenate([[0.0], np.cumsum(samples**2)])
        return np.asarray(np.sqrt((power[BEAT_SAMPLES:] - power[:-BEAT_SAMPLES]) / BEAT_SAMPLES))
    turned = samples * np.exp(-2j * np.pi * hz / SAMPLE_RATE_HZ * np.arange(len(samples)))
    total = np.concatenate([[0.0], np.cumsum(turned)])
    return np.asarray(np.abs(total[EDGE_SAMPLES:] - total[:-EDGE_SAMPLES]) / EDGE_SAMPLES)


def edge_samples(samples: Samples, hz: float | None, rising: bool) -> float | None:
    """
    Where a tone begins (``rising``) or ends in ``samples``, in samples from their start; None when it does not.

    ``hz`` is the tone's frequency, None for one of several frequencies.
    """
    width = BEAT_SAMPLES if hz is None else EDGE_SAMPLES
    samples = samples - samples.mean() if len(samples) else samples
    if len(samples) < 2 * width:
        return None
    envelope = _envelope(samples, hz)
    inside = float(np.percentile(envelope, 80))
    if inside <= 0.0:
        return None
    above = envelope > EDGE_LEVEL * inside
    if rising:
        below = np.nonzero(~above[: int(above.argmax()) + 1])[0]
        if not above.any() or not len(below):
            return None
        return float(above.argmax() + width / 2)
    last = len(above) - 1 - int(above[::-1].argmax())
    return None if not above.any() or last == len(above) - 1 else float(last + width / 2)


HOLE_LEVEL: Final = 0.3  # of the amplitude inside
HOLE_SAMPLES: Final = 280  # 35 ms: two packets lost in a row make one of 40 ms, but not again and again


def count_parts(samples: Samples, hz: float) -> int:
    """How many bursts a tone of ``hz`` consists of, whose pauses are too short to be seen frame by frame."""
    if len(samples) < 4 * EDGE_SAMPLES:
        return 1
    envelope = _envelope(samples, hz)
    quiet = envelope < HOLE_LEVEL * float(np.percentile(envelope, 80))
    edges = np.nonzero(np.diff(np.concatenate([[0], quiet.astype(np.int8), [0]])))[0]
    begins, ends = edges[::2], edges[1::2]
    inner = (begins > 0) & (ends < len(quiet)) & (ends - begins >= HOLE_SAMPLES - EDGE_SAMPLES)
    return 1 + int(inner.sum())


@dataclass(frozen=True, slots=True)
class AnswerTone:
    """How an answer tone behaves: ``reversals`` of its phase, and the depth of its modulation by 15 Hz (0..1)."""

    reversals: int
    modulation_ratio: float


MODULATION_HZ: Final = 15.0  # ITU-T V.8: ANSam, +-0.1 Hz, (0.8..1.2) times its mean amplitude
BESIDE_HZ: Final = (8.0, 22.0, 29.0)
STANDS_OUT: Final = 1.5
"""A tone that a codec of low rate has torn is modulated by everything, by 15 Hz no more than by these."""

MOST_REVERSALS: Final = 2  # in less than a second; more are a torn tone's
REVERSAL_STEPS: Final = 8  # 80 ms on either side of a reversal; the next is 425 ms away at least
REVERSAL_COSINE: Final = -0.5
COHERENT_RATIO: Final = 0.6
"""Of the amplitude, in the mean over such 80 ms: less where a packet was lost, or amid a reversal."""


def measure_answer_tone(samples: Samples, hz: float) -> AnswerTone:
    """Phase reversals and modulation of a tone of ``hz``; ``samples`` hold nothing else, for half a second or more."""
    n = len(samples) // EDGE_SAMPLES
    turned = samples * np.exp(-2j * np.pi * hz / SAMPLE_RATE_HZ * np.arange(len(samples)))
    steps = turned[: n * EDGE_SAMPLES].reshape(n, EDGE_SAMPLES).mean(axis=1)
    size = np.abs(steps)
    middle = float(np.median(size))
    if n < 12 or middle <= 0.0:
        return AnswerTone(0, 0.0)
    good = np.nonzero(size > 0.6 * middle)[0]
    turn = np.angle(steps[good[1:]] * np.conj(steps[good[:-1]]))[np.diff(good) == 1]
    per_step = float(np.median(turn)) if len(turn) else 0.0
    still = steps * np.exp(-1j * per_step * np.arange(n))  # turns no more, but where the phase is reversed
    sums = np.concatenate([[0.0], np.cumsum(still)])
    parts = sums[REVERSAL_STEPS:] - sums[:-REVERSAL_STEPS]
    before, after = parts[:-REVERSAL_STEPS], parts[REVERSAL_STEPS:]
    least = COHERENT_RATIO * REVERSAL_STEPS * middle
    coherent = (np.abs(before) > least) & (np.abs(after) > least)
    cosine = np.real(np.conj(before) * after) / np.maximum(np.abs(before) * np.abs(after), 1e-9)
    reversed_at = coherent & (cosine < REVERSAL_COSINE)
    jumps = np.count_nonzero(reversed_at[1:] & ~reversed_at[:-1]) + int(reversed_at[:1].any())
    t = good * EDGE_SAMPLES / SAMPLE_RATE_HZ
    wave = np.exp(-2j * np.pi * np.outer((MODULATION_HZ, *BESIDE_HZ), t))
    swing = np.abs(wave @ (size[good] - size[good].mean())) * 2 / len(good) / max(float(size[good].mean()), 1e-9)
    stands_out = swing[0] >= STANDS_OUT * swing[1:].mean()
    return AnswerTone(int(jumps) if jumps <= MOST_REVERSALS else 0, float(swing[0]) if stands_out else 0.0)
