"""Calls that a fax machine, a modem or a paging terminal answers."""

from typing import Final

import numpy as np
from scipy import signal

from telephony.cpa.corpus import noises
from telephony.cpa.corpus.national_tones import faded
from telephony.cpa.corpus.scene import POST, Canvas, Scene, chance, db, pick
from telephony.cpa.corpus.speech import RATE_HZ, Samples

HDLC_FLAG: Final = (0, 1, 1, 1, 1, 1, 1, 0)


def sine(rng: np.random.Generator, hz: float, seconds: float) -> Samples:
    """A steady tone, RMS 1.0."""
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return faded(np.sqrt(2) * np.sin(2 * np.pi * hz * t + rng.uniform(0, 6)))


def fsk(bits: np.ndarray, baud: float, one_hz: float, zero_hz: float) -> Samples:
    """Frequency shift keying with continuous phase, RMS 1.0."""
    n = int(len(bits) / baud * RATE_HZ)
    index = np.minimum((np.arange(n) * baud / RATE_HZ).astype(int), len(bits) - 1)
    hz = np.where(bits[index] == 1, one_hz, zero_hz)
    out: Samples = np.sqrt(2) * np.sin(2 * np.pi * np.cumsum(hz) / RATE_HZ)
    return out


def psk(rng: np.random.Generator, carrier_hz: float, baud: float, seconds: float) -> Samples:
    """Scrambled data by four phases, as V.22 and Bell 212 send them: noise around a carrier; RMS 1.0."""
    n = round(seconds * RATE_HZ)
    symbols = np.exp(0.5j * np.pi * np.cumsum(rng.integers(0, 4, int(seconds * baud) + 2)))
    index = (np.arange(n) * baud / RATE_HZ).astype(int)
    low = signal.butter(4, baud * 0.6, fs=RATE_HZ, output="sos")
    smooth = signal.sosfilt(low, symbols[index].real) + 1j * signal.sosfilt(low, symbols[index].imag)
    wave = np.real(smooth * np.exp(2j * np.pi * carrier_hz * np.arange(n) / RATE_HZ))
    return noises.to_rms_one(np.asarray(wave))


def v21_preamble(rng: np.random.Generator, seconds: float) -> Samples:
    """HDLC flags in channel 2 of V.21 (1 is 1650 Hz, 0 is 1850 Hz, 300 bd), then a frame of random bits."""
    flags = np.tile(HDLC_FLAG, int(seconds * 300 / 8) + 1)
    data = rng.integers(0, 2, int(rng.uniform(60, 200)))
    return fsk(np.concatenate([flags, data]), 300.0, 1650.0, 1850.0)


def answer_tone_am(rng: np.random.Generator, hz: float, seconds: float, *, reversals: bool, am: bool) -> Samples:
    """ANS with phase reversals every 450 ms (V.25), or ANSam: modulated by 15 Hz to 20 % as well (V.8)."""
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    phase = 2 * np.pi * hz * t
    if reversals:
        phase = phase + np.pi * np.floor(t / (0.45 + rng.uniform(-0.025, 0.025)))
    wave = np.sqrt(2) * np.sin(phase)
    if am:
        wave *= 1 + rng.uniform(0.18, 0.22) * np.sin(2 * np.pi * (15 + rng.uniform(-0.1, 0.1)) * t)
    return faded(wave)


def fax(rng: np.random.Generator) -> Scene:
    """
    A fax terminal: CED and V.21 flags, flags alone (it was set so, or CED was lost), or a calling fax with CNG.

    T.30: CED 2100 +-15 Hz for 2.6 to 4 s, then 75 ms of silence; CNG 1100 +-38 Hz, 0.5 s on and 3 s off.
    """
    kind = pick(rng, ("ced", "ced_only", "preamble", "cng"), (55, 15, 12, 18))
    canvas = Canvas()
    canvas.wait(float(rng.uniform(0.1, 2.2)))
    if kind in ("ced", "ced_only"):
        canvas.add(sine(rng, 2100 + rng.uniform(-15, 15), float(rng.uniform(2.6, 4.0))))
        canvas.wait(float(rng.uniform(0.055, 0.095)))
    if kind in ("ced", "preamble"):
        for _ in range(int(rng.integers(1, 3))):
            canvas.add(v21_preamble(rng, float(rng.uniform(0.85, 1.15))), db(rng.uniform(-3, 1)))
            canvas.wait(float(rng.uniform(1.5, 3.0)))
    if kind == "cng":
        hz = 1100 + rng.uniform(-38, 38)
        for _ in range(3):
            canvas.add(sine(rng, hz, float(0.5 * rng.uniform(0.86, 1.14))))
            canvas.wait(float(3.0 * rng.uniform(0.86, 1.14)))
    canvas.wait(float(rng.uniform(0.5, 2.0)))
    return Scene(canvas.result(), "fax", POST, source="synthesis", detail={"kind": kind})


def modem(rng: np.random.Generator) -> Scene:
    """
    A modem: ANSam (V.8), ANS with reversals and V.22 data after it, Bell 103/212, carriers of V.21 and V.23.

    Plain 2100 Hz without reversals is no modem here: for the first seconds it is the same as a fax, and labelled so.
    """
    kind = pick(rng, ("ansam", "ans_v22", "bell103", "bell212", "v21", "v23"), (30, 22, 18, 12, 9, 9))
    canvas = Canvas()
    canvas.wait(float(rng.uniform(0.1, 2.2)))
    if kind == "ansam":
        canvas.add(
            answer_tone_am(rng, 2100 + rng.uniform(-1, 1), float(rng.uniform(2.6, 5.0)), reversals=True, am=True)
        )
        canvas.wait(0.075)
        if chance(rng, 0.5):  # JM of V.8, sent as V.21 channel 2
            canvas.add(fsk(rng.integers(0, 2, 300), 300.0, 1650.0, 1850.0), 0.7)
    elif kind == "ans_v22":
        tone = answer_tone_am(rng, 2100 + rng.uniform(-15, 15), float(rng.uniform(2.6, 4.0)), reversals=True, am=False)
        canvas.add(tone)
        canvas.wait(0.075)
        canvas.add(psk(rng, 2400.0, 600.0, float(rng.uniform(2.0, 4.0))))
    elif kind in ("bell103", "bell212"):
        canvas.add(sine(rng, 2225 + rng.uniform(-10, 10), float(rng.uniform(2.5, 6.0) if kind == "bell103" else 2.0)))
        if kind == "bell212":
            canvas.add(psk(rng, 2400.0, 600.0, float(rng.uniform(2.0, 4.0))))
    elif kind == "v21":
        canvas.add(answer_tone_am(rng, 2100 + rng.uniform(-15, 15), 3.3, reversals=True, am=False))
        canvas.wait(0.075)
        canvas.add(sine(rng, 1650 + rng.uniform(-6, 6), float(rng.uniform(2.0, 4.0))))
    else:
        canvas.add(answer_tone_am(rng, 2100 + rng.uniform(-15, 15), 3.3, reversals=True, am=False))
        canvas.wait(0.075)
        canvas.add(sine(rng, 1300 + rng.uniform(-10, 10), float(rng.uniform(2.0, 4.0))))
    canvas.wait(float(rng.uniform(0.5, 1.5)))
    return Scene(canvas.result(), "modem", POST, source="synthesis", detail={"kind": kind})


def pager(rng: np.random.Generator) -> Scene:
    """A paging terminal: three to six short beeps of one pitch, and it waits for digits."""
    canvas = Canvas()
    canvas.wait(float(rng.uniform(0.2, 2.5)))
    hz = float(rng.uniform(900, 2000))
    on_s, off_s = float(rng.uniform(0.08, 0.16)), float(rng.uniform(0.06, 0.16))
    count = int(rng.integers(3, 7))
    for _ in range(count):
        canvas.add(sine(rng, hz, on_s))
        canvas.wait(off_s)
    canvas.wait(float(rng.uniform(4.0, 7.0)))
    return Scene(canvas.result(), "pager", POST, source="synthesis", detail={"hz": round(hz, 1), "beeps": count})
