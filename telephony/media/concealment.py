"""Packet loss concealment after G.711 appendix I (ITU-T, 1999), for many channels at once. Pure array work.

A hole is filled with the last pitch period of what was heard, repeated; after 10 ms with the last two periods, after
20 ms with three, so that long holes do not buzz. The seam of each loop is overlapped by a quarter of the period. The
sound keeps its level for 10 ms, then fades, and is gone after 60 ms. What comes after the hole is blended in.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

SAMPLE_RATE_HZ: Final = 8000
FRAME_SAMPLES: Final = 160
HISTORY_SAMPLES: Final = 480
SHORTEST_PERIOD: Final = 40  # 200 Hz; higher voices are caught at a multiple
LONGEST_PERIOD: Final = 120  # 66 Hz
TEMPLATE_SAMPLES: Final = 160
LONGEST_FRAMES: Final = 3
"""After 60 ms nothing is left of the voice: what came next is anybody's guess."""

BLEND_SAMPLES: Final = 48  # 6 ms

Samples = npt.NDArray[np.int16]
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

_STEP: Final = FRAME_SAMPLES // 2
_GAIN_POINTS: Final = (1.0, 1.0, 0.8, 0.6, 0.4, 0.2, 0.0, 0.0, 0.0)  # at 0, 10, 20... ms
_GAINS: Final = np.interp(
    np.arange(4 * FRAME_SAMPLES), np.arange(len(_GAIN_POINTS)) * _STEP, np.array(_GAIN_POINTS)
).astype(np.float32)
_FADE_IN: Final = ((np.arange(BLEND_SAMPLES) + 0.5) / BLEND_SAMPLES).astype(np.float32)


def find_periods(history: Samples) -> Ints:
    """
    The pitch period in samples of each row of ``history`` (k, 480): the lag of the highest normalised correlation.

    Every second lag is looked at first, at half the rate: a whole trunk may stall at once.
    """
    recent = history[:, -(TEMPLATE_SAMPLES + LONGEST_PERIOD) :].astype(np.float32)
    best = SHORTEST_PERIOD + 2 * _scores(recent[:, ::2] + recent[:, 1::2], SHORTEST_PERIOD // 2).argmax(axis=1)
    # The neighbours at the full rate, of the part that reaches to the longest of each.
    first = np.clip(best - 1, SHORTEST_PERIOD, LONGEST_PERIOD - 2)
    reach = np.arange(TEMPLATE_SAMPLES + 2)
    template = recent[:, -TEMPLATE_SAMPLES:]
    earlier = np.take_along_axis(recent, LONGEST_PERIOD - 2 - first[:, None] + reach, axis=1)
    fine = _normalised(earlier, template)[:, ::-1]  # the longest lag comes first in time
    return np.asarray(first + fine.argmax(axis=1))


def _scores(sound: Floats, shortest: int) -> Floats:
    """Normalised correlation of the template at the end of ``sound`` with what lies ``shortest``... samples before."""
    size = sound.shape[1] * TEMPLATE_SAMPLES // (TEMPLATE_SAMPLES + LONGEST_PERIOD)
    return _normalised(sound[:, : sound.shape[1] - shortest], sound[:, -size:])[:, ::-1]


def _normalised(sound: Floats, template: Floats) -> Floats:
    """Correlation of ``template`` (k, m) with each stretch of ``sound`` (k, n) of its length; (k, n - m + 1)."""
    size = template.shape[1]
    windows = np.lib.stride_tricks.sliding_window_view(sound, size, axis=1)
    product = np.matmul(windows, template[:, :, None])[:, :, 0]
    power = np.cumsum(np.square(sound), axis=1, dtype=np.float64)
    energy = power[:, size - 1 :].copy()
    energy[:, 1:] -= power[:, : sound.shape[1] - size]
    return np.asarray(product / np.sqrt(np.maximum(energy, 1.0)), dtype=np.float32)


def fill(history: Samples, period: Ints, elapsed: Ints) -> Floats:
    """
    The next 20 ms of a hole.

    Args:
        history: (k, 480) int16, what was heard before the hole.
        period: (k,) from `find_periods`.
        elapsed: (k,) frames of the hole filled so far, 0..3.

    Returns (k, 160) float32, faded.
    """
    past = history.astype(np.float32)
    at = elapsed[:, None] * FRAME_SAMPLES + np.arange(FRAME_SAMPLES)[None, :]
    loops = np.minimum(1 + at // _STEP, 3)
    out = _loop(past, period, at, loops)
    # Where another loop takes over, it is blended in over a quarter of the shortest period.
    into = at % _STEP
    changing = (into < SHORTEST_PERIOD // 4) & (at >= _STEP) & (at < 3 * _STEP)
    columns = np.nonzero(changing.any(axis=0))[0]
    if len(columns):
        before = _loop(past, period, at[:, columns], np.maximum(loops[:, columns] - 1, 1))
        weight = (into[:, columns] + 0.5) / (SHORTEST_PERIOD // 4)
        blended = weight * out[:, columns] + (1 - weight) * before
        out[:, columns] = np.where(changing[:, columns], blended, out[:, columns])
    return np.asarray(out * _GAINS[at], dtype=np.float32)


def _loop(past: Floats, period: Ints, at: Ints, loops: Ints) -> Floats:
    """Sample ``at`` of the endless repetition of the last ``loops`` periods of ``past``, its seam overlapped."""
    span = loops * period[:, None]
    place = at % span
    index = HISTORY_SAMPLES - span + place
    sound = np.take_along_axis(past, index, axis=1)
    overlap = (period[:, None] // 4).astype(np.float32)
    tail = place - (span - period[:, None] // 4)  # >= 0 within the last quarter period of the loop
    earlier = np.take_along_axis(past, np.maximum(index - span, 0), axis=1)
    weight = np.clip((tail + 0.5) / overlap, 0.0, 1.0)
    blends = (tail >= 0) & (index - span >= 0)
    return np.asarray(np.where(blends, (1 - weight) * sound + weight * earlier, sound))


def blend_in(frames: Samples, hole: Floats) -> Samples:
    """The first frames after a hole (k, 160), their beginning blended with what would have gone on filling it."""
    out = frames.astype(np.float32)
    out[:, :BLEND_SAMPLES] = _FADE_IN * out[:, :BLEND_SAMPLES] + (1 - _FADE_IN) * hole[:, :BLEND_SAMPLES]
    return np.asarray(np.rint(out), dtype=np.int16)
