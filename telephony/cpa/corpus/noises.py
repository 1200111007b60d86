"""Noises of rooms and lines, coughs, breaths and handsets; all with RMS 1.0 unless said otherwise."""

import numpy as np
from scipy import signal

from telephony.cpa.corpus import people
from telephony.cpa.corpus.scene import pick
from telephony.cpa.corpus.speech import RATE_HZ, Manner, Samples, Voice, draw_manner, say


def to_rms_one(samples: Samples) -> Samples:
    out: Samples = samples / max(float(np.sqrt(np.mean(np.square(samples)))), 1e-9)
    return out


def coloured(rng: np.random.Generator, n: int, slope_db_per_octave: float) -> Samples:
    """Gaussian noise whose spectrum falls by ``slope_db_per_octave``: 0 white, 3 pink, 6 brown; nothing below 50 Hz."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    hz = np.fft.rfftfreq(n, 1 / RATE_HZ)
    shape = np.zeros(len(hz))
    kept = hz > 50
    shape[kept] = (hz[kept] / 1000.0) ** (-slope_db_per_octave / 6.02)
    return to_rms_one(np.fft.irfft(spectrum * shape, n))


def room(rng: np.random.Generator, n: int) -> Samples:
    """Ventilators, traffic: coloured noise that swells slowly by a few decibels."""
    noise = coloured(rng, n, float(rng.uniform(2, 7)))
    swell = np.interp(np.arange(n), np.linspace(0, n, 12), rng.uniform(-3, 3, 12))
    return to_rms_one(noise * 10 ** (swell / 20))


def mains(rng: np.random.Generator, n: int) -> Samples:
    """Hum of 50 or 60 Hz with odd harmonics, of which the telephone band leaves the upper ones."""
    base = pick(rng, (50.0, 60.0)) * (1 + rng.uniform(-0.002, 0.002))
    t = np.arange(n) / RATE_HZ
    hum = np.zeros(n)
    for k in range(1, 16):
        hum += np.sin(2 * np.pi * base * k * t + rng.uniform(0, 2 * np.pi)) / k ** (0.8 if k % 2 else 1.4)
    return to_rms_one(hum)


def babble(rng: np.random.Generator, n: int, voices: tuple[Voice, ...], language: str, talkers: int) -> Samples:
    """``talkers`` people talking about other things at once, each beginning in the middle of a sentence."""
    sentences = people.CHATTER.get(language.split("-")[0], people.CHATTER["en"])
    spoken = language if language.split("-")[0] in people.CHATTER else "en-us"
    out = np.zeros(n)
    for _ in range(talkers):
        voice = pick(rng, tuple(v for v in voices if v.language == "*"))
        said = say(voice, spoken, pick(rng, sentences), Manner(round(rng.uniform(15, 20)) * 10))
        looped = np.tile(said, n // len(said) + 2)
        start = int(rng.integers(len(said)))
        out += looped[start : start + n] * rng.uniform(0.5, 1.0)
    return to_rms_one(out)


def cough(rng: np.random.Generator) -> Samples:
    """One to three bursts of noise with a sharp attack: a cough or a throat being cleared; peak RMS about 1."""
    parts = []
    for _ in range(int(rng.integers(1, 4))):
        n = round(rng.uniform(0.12, 0.3) * RATE_HZ)
        envelope = np.exp(-np.arange(n) / (n * rng.uniform(0.2, 0.4))) * np.minimum(1, np.arange(n) / 60)
        centre = rng.uniform(500, 1400)
        sos = signal.butter(2, [centre * 0.5, centre * 1.7], "bandpass", fs=RATE_HZ, output="sos")
        burst = signal.sosfilt(sos, rng.standard_normal(n)) * envelope
        parts += [burst / max(np.abs(burst).max(), 1e-9) * 3.0, np.zeros(round(rng.uniform(0.05, 0.25) * RATE_HZ))]
    return np.concatenate(parts)


def breath(rng: np.random.Generator) -> Samples:
    """A long breath into the microphone."""
    n = round(rng.uniform(0.3, 0.9) * RATE_HZ)
    out: Samples = coloured(rng, n, 1.0) * np.sin(np.linspace(0, np.pi, n)) ** 2
    return out


def handset(rng: np.random.Generator) -> Samples:
    """Rattle of a telephone being picked up: a few clicks of some milliseconds with ringing plastic."""
    n = round(rng.uniform(0.15, 0.6) * RATE_HZ)
    out = np.zeros(n)
    for _ in range(int(rng.integers(2, 7))):
        at = int(rng.integers(max(n - 400, 1)))
        length = min(400, n - at)
        t = np.arange(length) / RATE_HZ
        ring = np.exp(-t * rng.uniform(80, 400)) * np.sin(2 * np.pi * rng.uniform(300, 2500) * t)
        out[at : at + length] += ring * rng.uniform(0.5, 3.0)
    return out


def draw_speaker(rng: np.random.Generator, voices: tuple[Voice, ...], language: str) -> tuple[Voice, Manner]:
    """A voice that speaks ``language`` and its manner now."""
    spoken = language.split("-")[0]
    fitting = tuple(voice for voice in voices if voice.language in ("*", spoken))
    # The few voices that are not espeak-ng's are the better speakers: half of the calls in their language are theirs.
    others = tuple(voice for voice in fitting if voice.engine != "espeak-ng")
    voice = pick(rng, others) if others and rng.random() < 0.4 else pick(rng, fitting)
    return voice, draw_manner(rng)
