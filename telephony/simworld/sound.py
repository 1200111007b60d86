"""What simulated parties play, written as small scores: ``"silence:400 clip:human_03 silence:600 tone:beep"``.

A score is a row of parts separated by blanks. ``|`` marks where it starts over when it ends; without one it ends in
silence. Parts: ``silence:<ms>``, ``clip:<name>`` (a file of `audio`), ``tone:<name>`` (see `TONES`). Scores are plain
text so that a plan can be logged, compared and written in a script file; `render` turns one into 20 ms frames.

Tones are those of the US plan (Bellcore precise tones; SIT durations and frequencies per segment), with ``uk_`` before
their names those of the United Kingdom (ITU-T E.180 supplement 2), and the answer tones of fax, modem and pager.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from typing import Final

import numpy as np
import numpy.typing as npt

from telephony.simworld import g711
from telephony.simworld.g711 import FRAME_SAMPLES, I16, SAMPLE_RATE_HZ

Samples = npt.NDArray[np.float64]

_AUDIO: Final = "telephony.simworld.audio"


@dataclass(frozen=True, slots=True)
class Sound:
    """``frames`` is (n, 160) int16; after the last one it goes on at ``loop_from``, or is silent when that is None."""

    frames: I16
    loop_from: int | None

    @property
    def length_s(self) -> float:
        return len(self.frames) * FRAME_SAMPLES / SAMPLE_RATE_HZ


@lru_cache(maxsize=1)
def clip_index() -> dict[str, tuple[str, float]]:
    """Clip name to (kind, length in seconds)."""
    entries = json.loads(resources.files(_AUDIO).joinpath("clips.json").read_text(encoding="utf-8"))
    return {e["file"].removesuffix(".ulaw"): (e["kind"], float(e["length_s"])) for e in entries}


@lru_cache(maxsize=8)
def clips_of(kind: str) -> tuple[str, ...]:
    """Names of all clips of one kind (human, machine, again, agent, customer, wait, sit_ic...), in order."""
    return tuple(sorted(name for name, (k, _) in clip_index().items() if k == kind))


def _sine(hz: tuple[float, ...], ms: float, level_dbfs: float = -13.0) -> Samples:
    """Sum of equal sines, ``level_dbfs`` each, with 2 ms ramps against clicks."""
    n = round(ms * SAMPLE_RATE_HZ / 1000)
    t = np.arange(n) / SAMPLE_RATE_HZ
    wave = 10 ** (level_dbfs / 20) * np.sum([np.sin(2 * np.pi * f * t) for f in hz], axis=0)
    ramp = np.minimum(1.0, np.arange(n) / 16)
    shaped: Samples = wave * ramp * ramp[::-1]
    return shaped


def _steady(hz: tuple[float, ...], level_dbfs: float) -> Samples:
    """One second of whole cycles (``hz`` are whole numbers), so that it repeats without a seam."""
    t = np.arange(SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    wave: Samples = 10 ** (level_dbfs / 20) * np.sum([np.sin(2 * np.pi * f * t) for f in hz], axis=0)
    return wave


def _silence(ms: float) -> Samples:
    return np.zeros(round(ms * SAMPLE_RATE_HZ / 1000))


def _sit(first: str, second: str, durations: str) -> Samples:
    """Frequencies by L or H and durations by S (275 ms) or L (380 ms); the third segment is always 1776.7 Hz, long."""
    ms = {"S": 275.0, "L": 380.0}
    return np.concatenate(
        [
            _sine(({"L": 913.8, "H": 985.2}[first],), ms[durations[0]], -16.0),
            _sine(({"L": 1370.6, "H": 1428.5}[second],), ms[durations[1]], -16.0),
            _sine((1776.7,), 380.0, -16.0),
        ]
    )


def _v21_preamble() -> Samples:
    """One second of HDLC flags in V.21 channel 2: 1650 Hz for a one, 1850 Hz for a zero, 300 bit/s."""
    bits = np.tile([0, 1, 1, 1, 1, 1, 1, 0], 38)[:300]
    hz = np.repeat(np.where(bits == 1, 1650.0, 1850.0), 27)[:SAMPLE_RATE_HZ]
    wave: Samples = 10 ** (-16 / 20) * np.sin(2 * np.pi * np.cumsum(hz) / SAMPLE_RATE_HZ)
    return wave


def _music() -> Samples:
    """Eight seconds of plucked chords: something that is neither speech nor a call progress tone."""
    out = np.zeros(8 * SAMPLE_RATE_HZ)
    chords = ((262, 330, 392), (220, 262, 330), (175, 262, 349), (196, 247, 294))
    for i in range(32):
        chord = chords[(i // 8) % 4]
        hz = chord[i % 3] * (2 if i % 4 == 3 else 1)
        t = np.arange(SAMPLE_RATE_HZ // 2) / SAMPLE_RATE_HZ
        note = np.sin(2 * np.pi * hz * t) + 0.5 * np.sin(4 * np.pi * hz * t) + 0.25 * np.sin(6 * np.pi * hz * t)
        start = i * SAMPLE_RATE_HZ // 4
        note = (note * np.exp(-6 * t) * 0.18)[: len(out) - start]
        out[start : start + len(note)] += note
    return out


def _music_slow() -> Samples:
    """Nine seconds of long, swelling chords: music without the beat by which the other is told from speech."""
    out = np.zeros(9 * SAMPLE_RATE_HZ)
    length = 4 * SAMPLE_RATE_HZ
    t = np.arange(length) / SAMPLE_RATE_HZ
    swell = np.sin(np.pi * np.arange(length) / length)
    for start_s, chord in enumerate(((220.0, 277.2, 329.6), (247.0, 293.7, 370.0), (196.0, 247.0, 293.7))):
        tremolo = 1.0 + 0.15 * np.sin(2 * np.pi * 5.5 * t)
        wave = sum(np.sin(2 * np.pi * k * hz * t) / k for hz in chord for k in (1, 2, 3, 4))
        start = round(2.5 * start_s * SAMPLE_RATE_HZ)
        out[start : start + length] += 0.05 * swell * tremolo * wave
    return out


def _ansam() -> Samples:
    """Four seconds of V.8 ANSam: 2100 Hz, turned by 180 degrees every 450 ms, amplitude modulated by 20 % at 15 Hz."""
    t = np.arange(4 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    turned = np.where((t // 0.45).astype(int) % 2 == 1, -1.0, 1.0)
    wave: Samples = 10 ** (-12 / 20) * turned * (1 + 0.2 * np.sin(2 * np.pi * 15 * t)) * np.sin(2 * np.pi * 2100 * t)
    return wave


def _chirp() -> Samples:
    """A beep that rises from 800 to 1600 Hz within 300 ms."""
    t = np.arange(round(0.3 * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    wave = 10 ** (-13 / 20) * np.sin(2 * np.pi * (800 * t + 800 / 0.6 * t * t))
    ramp = np.minimum(1.0, np.arange(len(t)) / 40)
    shaped: Samples = wave * ramp * ramp[::-1]
    return shaped


TONES: Final[dict[str, Callable[[], Samples]]] = {
    "ringback": lambda: np.concatenate([_sine((440, 480), 2000, -19), _silence(4000)]),
    "busy": lambda: np.concatenate([_sine((480, 620), 500, -24), _silence(500)]),
    "reorder": lambda: np.concatenate([_sine((480, 620), 250, -24), _silence(250)]),
    "sit_ic": lambda: _sit("L", "L", "SS"),
    "sit_vc": lambda: _sit("H", "L", "LS"),
    "sit_ro": lambda: _sit("L", "H", "SL"),
    "sit_nc": lambda: _sit("H", "H", "LL"),
    "sit_io": lambda: _sit("L", "H", "LS"),
    "sit_itu": lambda: np.concatenate([_sine((hz,), 330, -16.0) for hz in (950.0, 1400.0, 1800.0)]),
    "uk_ringback": lambda: np.concatenate(
        [_sine((400, 450), 400, -19), _silence(200), _sine((400, 450), 400, -19), _silence(2000)]
    ),
    "uk_busy": lambda: np.concatenate([_sine((400,), 375, -21), _silence(375)]),
    "uk_reorder": lambda: np.concatenate(
        [_sine((400,), 400, -21), _silence(350), _sine((400,), 225, -21), _silence(525)]
    ),
    "uk_nu": lambda: _steady((400,), -21),
    "ansam": _ansam,
    "bell": lambda: _steady((2225,), -12),
    "v22": lambda: _steady((2250, 2850), -16),
    "pager": lambda: np.concatenate([_sine((1400,), 100, -14), _silence(100)] * 4),
    "ced": lambda: _sine((2100,), 3000, -12),
    "v21": _v21_preamble,
    "beep": lambda: _sine((1000,), 400, -12),
    "beep_low": lambda: _sine((440,), 700, -13),
    "beep_high": lambda: _sine((1400,), 250, -12),
    "beep_short": lambda: _sine((1000,), 150, -12),
    "beep_double": lambda: np.concatenate([_sine((950,), 200, -13), _silence(120), _sine((950,), 200, -13)]),
    "beep_chirp": _chirp,
    "music": _music,
    "music_slow": _music_slow,
}


def _part(text: str) -> I16:
    kind, _, name = text.partition(":")
    if kind == "silence" and name.isascii() and name.isdigit() and len(name) <= 6:
        return np.zeros(round(int(name) * SAMPLE_RATE_HZ / 1000), np.int16)
    if (kind == "tone" and name in TONES) or (kind == "clip" and name in clip_index()):
        return _heard(kind, name)
    raise ValueError(f"unknown part {text!r}: silence:<ms>, clip:<name of {_AUDIO}> or tone:<{'|'.join(TONES)}>")


@cache  # as many as there are clips and tones
def _heard(kind: str, name: str) -> I16:
    if kind == "tone":
        return np.clip(TONES[name]() * 32767.0, -32768, 32767).astype(np.int16)
    raw = resources.files(_AUDIO).joinpath(f"{name}.ulaw").read_bytes()
    return g711.decode(np.frombuffer(raw, np.uint8))


def preload() -> None:
    """Make every clip and tone now, so that no tick of the media engine waits for a file or a synthesis later."""
    for name in clip_index():
        _part(f"clip:{name}")
    for name in TONES:
        _part(f"tone:{name}")


@lru_cache(maxsize=64)
def render(score: str) -> Sound:
    """
    The frames of a score; ValueError names a part that does not exist.

    The part before ``|`` and the part after it are each padded to whole frames.
    """
    before, bar, after = score.partition("|")
    if "|" in after:
        raise ValueError(f"more than one | in {score!r}")
    head = _frames([_part(p) for p in before.split()])
    if not bar:
        return Sound(head, None)
    loop = _frames([_part(p) for p in after.split()])
    if not len(loop):
        raise ValueError(f"nothing to repeat after | in {score!r}")
    return Sound(np.concatenate([head, loop]), len(head))


def _frames(parts: list[I16]) -> I16:
    samples = np.concatenate(parts) if parts else np.zeros(0, np.int16)
    return np.pad(samples, (0, -len(samples) % FRAME_SAMPLES)).reshape(-1, FRAME_SAMPLES)


def length_s(score: str) -> float:
    """Seconds of a score played once."""
    return render(score).length_s
