"""Music made of chords, bass, melody and drums: what callers hear instead of ringing, and before some mailboxes."""

from typing import Final

import numpy as np
from scipy import signal

from telephony.cpa.corpus.noises import to_rms_one
from telephony.cpa.corpus.scene import chance, pick
from telephony.cpa.corpus.speech import RATE_HZ, Samples

SCALES: Final = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 4, 7, 9), (0, 3, 5, 7, 10))
PROGRESSIONS: Final = ((0, 4, 5, 3), (0, 3, 4, 0), (5, 3, 0, 4), (0, 5, 3, 4), (0, 0, 3, 4))


def _note(rng: np.random.Generator, hz: float, seconds: float, timbre: int, decay_s: float) -> Samples:
    t = np.arange(max(round(seconds * RATE_HZ), 1)) / RATE_HZ
    vibrato = 1 + (0.004 * np.sin(2 * np.pi * 5.5 * t) if timbre == 2 else 0.0)
    phase = 2 * np.pi * np.cumsum(np.full(len(t), hz) * vibrato) / RATE_HZ
    out = np.zeros(len(t))
    for k in range(1, 9):
        if hz * k > 3700:
            break
        weight = (1 / k, 1 / k**2 if k % 2 else 0.0, 1 / k**1.2, np.exp(-k / 2.5))[timbre]
        out += weight * np.sin(k * phase + rng.uniform(0, 6))
    attack = np.minimum(1, t / (0.005 if timbre != 2 else 0.06))
    release = np.minimum(1, (t[-1] - t) / 0.02)
    shaped: Samples = out * attack * release * np.exp(-t / decay_s)
    return shaped


VOWELS_HZ: Final = ((730.0, 1090.0, 2440.0), (530.0, 1840.0, 2480.0), (300.0, 870.0, 2240.0), (570.0, 840.0, 2410.0))


def _sung(rng: np.random.Generator, hz: float, seconds: float) -> Samples:
    """One note of a singer: glottal pulses with vibrato through the formants of a vowel."""
    n = max(round(seconds * RATE_HZ), 80)
    t = np.arange(n) / RATE_HZ
    pitch = hz * (1 + 0.012 * np.minimum(1, t / 0.3) * np.sin(2 * np.pi * rng.uniform(4.8, 6.2) * t))
    phase = np.cumsum(pitch) / RATE_HZ
    pulses = np.exp(-((phase % 1.0) * 8.0)) - 0.12
    out = np.zeros(n)
    for formant_hz in pick(rng, VOWELS_HZ):
        b, a = signal.iirpeak(formant_hz * rng.uniform(0.93, 1.1), 7.0, fs=RATE_HZ)
        out += np.asarray(signal.lfilter(b, a, pulses))
    ramp = np.minimum(1, np.minimum(t / 0.04, (t[-1] - t) / 0.06))
    return to_rms_one(out * ramp)


def music(rng: np.random.Generator, seconds: float) -> Samples:
    """``seconds`` of a piece that nobody wrote, RMS 1.0: its key, tempo, instruments, drums and voices are drawn."""
    n = round(seconds * RATE_HZ)
    out = np.zeros(n + 4 * RATE_HZ)
    beat_s = 60 / rng.uniform(70, 150)
    root = 110 * 2 ** (rng.integers(0, 12) / 12)
    scale = pick(rng, SCALES)
    chords = pick(rng, PROGRESSIONS)
    with_drums, with_chords, sung = chance(rng, 0.6), chance(rng, 0.85), chance(rng, 0.3)
    melody_timbre, chord_timbre = int(rng.integers(4)), int(rng.integers(4))
    legato = rng.uniform(0.5, 1.5)
    at_s = -rng.uniform(0, 4 * beat_s)  # it begins anywhere in the bar

    def degree(step: int) -> float:
        octave, index = divmod(step, len(scale))
        return float(root * 2 ** (octave + scale[index] / 12))

    def lay(when_s: float, wave: Samples, gain: float) -> None:
        start = round(when_s * RATE_HZ)
        if start < 0:
            wave, start = wave[-start:], 0
        end = min(start + len(wave), len(out))
        if end > start:
            out[start:end] += gain * wave[: end - start]

    step = int(rng.integers(len(scale), 3 * len(scale)))
    bar = 0
    while at_s < seconds:
        chord = chords[bar % len(chords)]
        if with_chords:
            for voice in (0, 2, 4):
                lay(at_s, _note(rng, 2 * degree(chord + voice), 4 * beat_s, chord_timbre, 2.5), 0.35)
        lay(at_s, _note(rng, degree(chord), 2 * beat_s, 0, 0.8), 0.5)
        lay(at_s + 2 * beat_s, _note(rng, degree(chord), 2 * beat_s, 0, 0.8), 0.5)
        position = 0.0
        while position < 4:
            length = pick(rng, (0.5, 0.5, 1.0, 1.0, 2.0))
            if chance(rng, 0.85):
                step = int(np.clip(step + rng.integers(-3, 4), len(scale), 3 * len(scale)))
                if sung:
                    note = 0.5 * _sung(rng, degree(step - len(scale)), length * beat_s * min(legato, 1.0))
                else:
                    note = _note(rng, degree(step), length * beat_s * legato, melody_timbre, 1.2)
                lay(at_s + position * beat_s, note, 0.8)
            position += length
        if with_drums:
            for eighth in range(8):
                hit = rng.standard_normal(round(0.1 * RATE_HZ)) * np.exp(-np.arange(round(0.1 * RATE_HZ)) / 160)
                lay(at_s + eighth * beat_s / 2, hit, 0.35 if eighth % 4 == 2 else 0.08)
        at_s += 4 * beat_s
        bar += 1
    band = signal.butter(1, 250, "highpass", fs=RATE_HZ, output="sos")
    return to_rms_one(np.asarray(signal.sosfilt(band, out))[:n])
