"""Tones with which mailboxes ask for the message."""

import numpy as np

from telephony.cpa.corpus.scene import chance, pick
from telephony.cpa.corpus.speech import RATE_HZ, Samples

COMMON_HZ: tuple[float, ...] = (425.0, 440.0, 480.0, 500.0, 620.0, 660.0, 750.0, 800.0, 850.0, 880.0, 950.0, 1000.0)
HIGHER_HZ: tuple[float, ...] = (1020.0, 1050.0, 1100.0, 1200.0, 1330.0, 1400.0, 1477.0, 1500.0, 1750.0, 1850.0, 1980.0)


def draw_beep(rng: np.random.Generator, *, repeated: bool = True) -> tuple[Samples, dict[str, object]]:
    """
    A recording beep, RMS 1.0 while it is on, and what it is: Hz and shape.

    ``repeated`` False leaves out rows of short beeps, which with nothing else would be a pager.
    """
    low_s, high_s = pick(rng, ((0.1, 0.3), (0.3, 0.7), (0.7, 1.6)), (3, 5, 2))
    length_s = float(rng.uniform(low_s, high_s))
    first = pick(rng, COMMON_HZ + HIGHER_HZ) * rng.uniform(0.99, 1.01)
    if chance(rng, 0.25):
        first = float(rng.uniform(400, 2000))
    shape = pick(
        rng, ("single", "dual", "harmonics", "steps", "repeated", "decaying"), (60, 12, 10, 6, 7 * repeated, 5)
    )
    hz = [first]
    t = np.arange(round(length_s * RATE_HZ)) / RATE_HZ
    if shape == "dual":
        hz.append(float(min(first * rng.uniform(1.15, 1.9), 2000.0) if first < 1500 else first * rng.uniform(0.5, 0.8)))
        wave = np.sin(2 * np.pi * hz[0] * t) + db_ratio(rng) * np.sin(2 * np.pi * hz[1] * t)
    elif shape == "harmonics":  # an answering machine's buzzer, or a tone that was recorded too loud
        wave = np.tanh(rng.uniform(1.5, 4.0) * np.sin(2 * np.pi * first * t))
    elif shape == "steps":
        hz.append(float(np.clip(first * rng.choice([0.75, 0.84, 1.19, 1.33]), 400, 2000)))
        half = len(t) // 2
        wave = np.concatenate([np.sin(2 * np.pi * hz[0] * t[:half]), np.sin(2 * np.pi * hz[1] * t[half:])])
    elif shape == "repeated":
        one = np.sin(2 * np.pi * first * t[: max(round(0.12 * RATE_HZ), len(t) // 3)])
        gap = np.zeros(round(rng.uniform(0.08, 0.2) * RATE_HZ))
        wave = np.concatenate([_fade(one), gap, _fade(one), gap, _fade(one)][: 3 if chance(rng, 0.6) else 5])
    elif shape == "decaying":
        wave = np.sin(2 * np.pi * first * t) * np.exp(-t / length_s * 1.5)
    else:
        wave = np.sin(2 * np.pi * first * t + rng.uniform(0, 6))
    wave = _fade(wave)
    loud = np.abs(wave) > 0.05
    return wave / np.sqrt(np.mean(np.square(wave[loud]))), {"beep_hz": [round(one, 1) for one in hz], "beep": shape}


def db_ratio(rng: np.random.Generator) -> float:
    """Level of a second tone against the first: within 6 dB."""
    return float(10 ** (rng.uniform(-6, 6) / 20))


def _fade(wave: Samples) -> Samples:
    out = wave.copy()
    n = min(40, len(out) // 2)
    edge = np.linspace(0, 1, n)
    out[:n] *= edge
    out[len(out) - n :] *= edge[::-1]
    return out
