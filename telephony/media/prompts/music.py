"""What people on hold hear where an operator has put nothing else: a quiet broken-chord piece, made here, nobody's."""

from typing import Final

import numpy as np

from telephony.media.g711 import SAMPLE_RATE_HZ, Samples

NOTE_S: Final = 0.5
PEAK: Final = 6000
"""About -18 dBFS at the loudest: that of a talker who is not shouting, so that nobody takes the receiver from the ear.
"""
_CHORDS: Final = ((0, 4, 7, 12), (-3, 0, 4, 9), (-7, -3, 0, 5), (-5, -1, 2, 7))
"""Semitones above middle C: C, A minor, F, G; each is played up and down again."""
_MIDDLE_C_HZ: Final = 261.63


def music() -> Samples:
    """16 s without a seam: the last note has died away when the first begins again."""
    notes = [chord[step] for chord in _CHORDS for step in (0, 1, 2, 3, 2, 1, 2, 3)]
    length = round(NOTE_S * SAMPLE_RATE_HZ)
    t = np.arange(2 * length) / SAMPLE_RATE_HZ  # each note rings on under the next one
    edge = np.minimum(1.0, t / 0.02) * np.exp(-3.0 * t) * np.minimum(1.0, (t[-1] - t) / 0.1)
    tune = np.zeros(length * len(notes))
    for place, semitones in enumerate(notes):
        pitch_hz = _MIDDLE_C_HZ * 2.0 ** (semitones / 12.0)
        note = edge * (np.sin(2 * np.pi * pitch_hz * t) + 0.3 * np.sin(4 * np.pi * pitch_hz * t))
        at = (np.arange(len(t)) + place * length) % len(tune)
        tune[at] += note
    return np.asarray(PEAK / np.abs(tune).max() * tune).astype(np.int16)
