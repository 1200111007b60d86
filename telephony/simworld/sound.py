"""What simulated parties play, written as small scores: ``"silence:400 clip:human_03 silence:600 tone:beep"``.

A score is a row of parts separated by blanks. ``|`` marks where it starts over when it ends; without one it ends in
silence. Parts: ``silence:<ms>``, ``clip:<name>`` (a file of `audio`), ``tone:<name>`` (see `TONES`). Scores are plain
text so that a plan can be logged, compared and written in a script file; `render` turns one into 20 ms frames.

Tones are those of the US plan (Bellcore precise tones; SIT durations and frequencies per segment).
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
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


TONES: Final[dict[str, Callable[[], Samples]]] = {
    "ringback": lambda: np.concatenate([_sine((440, 480), 2000, -19), _silence(4000)]),
    "busy": lambda: np.concatenate([_sine((480, 620), 500, -24), _silence(500)]),
    "reorder": lambda: np.concatenate([_sine((480, 620), 250, -24), _silence(250)]),
    "sit_ic": lambda: _sit("L", "L", "SS"),
    "sit_vc": lambda: _sit("H", "L", "LS"),
    "sit_ro": lambda: _sit("L", "H", "SL"),
    "sit_nc": lambda: _sit("H", "H", "LL"),
    "sit_io": lambda: _sit("L", "H", "LS"),
    "ced": lambda: _sine((2100,), 3000, -12),
    "v21": _v21_preamble,
    "beep": lambda: _sine((1000,), 400, -12),
    "beep_low": lambda: _sine((440,), 700, -13),
    "beep_high": lambda: _sine((1400,), 250, -12),
    "music": _music,
}


@lru_cache(maxsize=256)
def _part(text: str) -> I16:
    kind, _, name = text.partition(":")
    if kind == "silence" and name.isascii() and name.isdigit() and len(name) <= 6:
        return np.zeros(round(int(name) * SAMPLE_RATE_HZ / 1000), np.int16)
    if kind == "tone" and name in TONES:
        return np.clip(TONES[name]() * 32767.0, -32768, 32767).astype(np.int16)
    if kind == "clip" and name in clip_index():
        raw = resources.files(_AUDIO).joinpath(f"{name}.ulaw").read_bytes()
        return g711.decode(np.frombuffer(raw, np.uint8))
    raise ValueError(f"unknown part {text!r}: silence:<ms>, clip:<name of {_AUDIO}> or tone:<{'|'.join(TONES)}>")


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
