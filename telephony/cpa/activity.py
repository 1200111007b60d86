"""Where speech is: level against an adaptive noise floor and the speaker's own peak, with hysteresis and hangover.

State is arrays over channels. A talk spurt begins after two active frames in a row (a click is one) and ends after
four quiet ones (stops in the middle of words last up to 80 ms); its times are those of the first and last active
frame.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

FULL_SCALE: Final = 32768.0
QUIET_DBFS: Final = -80.0
START_FLOOR_DBFS: Final = (-70.0, -32.0)  # the first frame may be speech already, so it is not believed above this
MUTED_FLOOR_DBFS: Final = -45.0  # the same after half a second of digital silence: what then begins is rarely noise
MUTED_FRAMES: Final = 25
DIGITAL_SILENCE_DBFS: Final = -79.0
"""Lost packets and lines without comfort noise are digitally silent; that says nothing about the noise floor."""

FLOOR_FALL_RATIO: Final = 0.35
FLOOR_RISE_DB: Final = 0.06  # per frame, 3 dB/s: a vowel cannot lift it, a ventilator that starts does
PEAK_FALL_DB: Final = 0.03  # per frame
START_PEAK_DBFS: Final = -34.0
ABOVE_FLOOR_DB: Final = 9.0
BELOW_PEAK_DB: Final = 14.0
LOWEST_SPEECH_DBFS: Final = -46.0
HYSTERESIS_DB: Final = 3.0
ONSET_FRAMES: Final = 2
HANGOVER_FRAMES: Final = 4
TAIL_BELOW_PEAK_DB: Final = 26.0
TAIL_ABOVE_FLOOR_DB: Final = 5.0
"""The last sound of a word is softer than what counts as talking: it is followed down to here for the spurt's end."""

STRONG_BELOW_PEAK_DB: Final = 9.0
WEAK_FRAMES: Final = 20
"""A speaker reaches within `STRONG_BELOW_PEAK_DB` of the own peak in every 400 ms (a stressed vowel). What goes on
longer without is somebody else in the room: the spurt ended at its last strong frame, and from then on only strong
frames count."""

CALM_FRAMES: Final = 15
CALM_BELOW_PEAK_DB: Final = 30.0
CALM_ABOVE_FLOOR_DB: Final = 6.0
"""Others in the room would not have been so quiet for 300 ms: then it was the speaker's own voice that fell."""

STRONG_TAIL_FRAMES: Final = 4  # from the last strong frame of a word to its end
LOUDER_DB: Final = 10.0
"""Who speaks so much louder than all before is the one who holds the telephone: what was before is forgotten."""

LOUDER_FRAMES: Final = 3
BACKGROUND_FRAMES: Final = 15  # so much must have been heard before, or it is the soft beginning of the same words
USUAL_RISE_RATIO: Final = 0.15

Floats = npt.NDArray[np.float32]
Frames = npt.NDArray[np.int32]
Indices = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]


def level_dbfs(frames: Floats) -> Floats:
    """RMS of each row of (n, samples) float32, its mean removed, in dB below a full-scale square wave."""
    power = np.maximum(np.einsum("ij,ij->i", frames, frames) / frames.shape[1] - np.square(frames.mean(axis=1)), 1e-2)
    level: Floats = np.maximum(10 * np.log10(power / FULL_SCALE**2), QUIET_DBFS).astype(np.float32)
    return level


@dataclass(frozen=True, slots=True)
class Spurt:
    """One talk spurt, in frames since the start of analysis; ``end`` is exclusive.

    ``tail_end`` is where its last sound died away: the soft end of a word, below the threshold that counts as talking.
    """

    start: int
    end: int
    tail_end: int = -1


@dataclass(frozen=True, slots=True)
class Activity:
    """
    One frame of several channels, one element per row.

    ``active``: this frame is speech; ``talking``: a spurt is under way; ``begun`` and ``stopped``: it has just been
    found to begin or end; ``start``: first frame of the latest spurt; ``quiet``: frames since the last active one.
    ``alone``: the spurt that now begins is so much louder that all before was background.
    """

    level_dbfs: Floats
    active: Mask
    talking: Mask
    begun: Mask
    stopped: Mask
    in_tone: Mask
    start: Frames
    quiet: Frames
    alone: Mask


class SpeechTracker:
    """Talk spurts of ``n`` channels."""

    def __init__(self, n: int) -> None:
        self.floor_dbfs = np.full(n, np.nan, dtype=np.float32)
        self.peak_dbfs = np.full(n, START_PEAK_DBFS, dtype=np.float32)
        self._muted = np.zeros(n, dtype=np.int32)
        self._talking = np.zeros(n, dtype=np.bool_)
        self._run = np.zeros(n, dtype=np.int32)
        self._quiet = np.zeros(n, dtype=np.int32)
        self._start = np.zeros(n, dtype=np.int32)
        self._tail = np.zeros(n, dtype=np.int32)
        self._weak = np.zeros(n, dtype=np.int32)  # frames since the last strong one
        self._behind = np.zeros(n, dtype=np.bool_)  # others talk in the background
        self._calm = np.zeros(n, dtype=np.int32)  # frames in a row in which nobody does
        self._usual = np.full(n, QUIET_DBFS, dtype=np.float32)  # loudness of all speech so far
        self._talked = np.zeros(n, dtype=np.int32)  # frames of it
        self._louder = np.zeros(n, dtype=np.int32)
        self._previous = np.full(n, QUIET_DBFS, dtype=np.float32)

    def reset(self, channel: int) -> None:
        self.floor_dbfs[channel] = np.nan
        self._muted[channel] = 0
        self.peak_dbfs[channel] = START_PEAK_DBFS
        self._previous[channel] = QUIET_DBFS
        self._behind[channel] = False
        self._calm[channel] = 0
        self._talked[channel] = 0
        self.silence(channel)

    def floor(self, channel: int) -> float:
        """Noise floor in dBFS; QUIET_DBFS while nothing but digital silence was heard."""
        return float(np.nan_to_num(self.floor_dbfs[channel], nan=QUIET_DBFS))

    def silence(self, channel: int) -> None:
        """Forget the spurt under way: it was the beginning of a tone."""
        self._talking[channel] = False
        self._run[channel] = 0
        self._quiet[channel] = 0
        self._weak[channel] = 0
        self._louder[channel] = 0

    def start_of_spurt(self, channel: int) -> int | None:
        """First frame of the spurt under way, None when nobody talks."""
        return int(self._start[channel]) if self._talking[channel] else None

    def step(
        self, rows: Indices, frame: Frames, level: Floats, in_tone: Mask
    ) -> tuple[list[int], list[tuple[int, Spurt]], Activity]:
        """
        Take one frame's levels (dBFS) of the channels ``rows``; rows ``in_tone`` are neither speech nor noise.

        Returns (channels that began to talk, (channel, spurt) of those that stopped, all of it as arrays).
        """
        floor = self.floor_dbfs[rows]
        muted = level < DIGITAL_SILENCE_DBFS
        highest = np.where(self._muted[rows] >= MUTED_FRAMES, MUTED_FLOOR_DBFS, START_FLOOR_DBFS[1])
        floor = np.where(np.isnan(floor) & ~muted, np.minimum(level, highest), floor)
        self._muted[rows] += muted
        fall = floor + FLOOR_FALL_RATIO * (level - floor)
        floor = np.where(in_tone | muted, floor, np.where(level < floor, fall, floor + FLOOR_RISE_DB))
        floor = np.maximum(floor, START_FLOOR_DBFS[0])  # NaN until the first sound
        self.floor_dbfs[rows] = floor

        steady = np.minimum(level, self._previous[rows])  # a click of one frame is no peak
        self._previous[rows] = level
        peak = np.maximum(self.peak_dbfs[rows] - PEAK_FALL_DB, START_PEAK_DBFS)
        peak = np.where(in_tone, peak, np.maximum(peak, steady))
        self.peak_dbfs[rows] = peak

        talking, behind = self._talking[rows], self._behind[rows]
        known_floor = np.nan_to_num(floor, nan=QUIET_DBFS)
        threshold = np.maximum(np.maximum(known_floor + ABOVE_FLOOR_DB, peak - BELOW_PEAK_DB), LOWEST_SPEECH_DBFS)
        deep = (level < known_floor + CALM_ABOVE_FLOOR_DB) & (level < peak - CALM_BELOW_PEAK_DB) & ~in_tone
        calm = np.where(deep, self._calm[rows] + 1, 0)
        self._calm[rows] = calm
        heard_again = behind & (calm >= CALM_FRAMES)
        behind = behind & ~heard_again
        strong = (level > np.maximum(threshold, peak - STRONG_BELOW_PEAK_DB)) & ~in_tone
        active = np.where(behind, strong, level > threshold - HYSTERESIS_DB * talking) & ~in_tone
        weak = np.where(strong | heard_again, 0, self._weak[rows] + 1)  # or they would fade again at once
        self._weak[rows] = weak
        run = np.where(active, self._run[rows] + 1, 0)
        fades = talking & (weak >= WEAK_FRAMES) & active & ~behind
        self._behind[rows] = behind | fades
        active &= ~fades
        run[fades] = 0
        quiet = np.where(active, 0, np.where(fades, weak - STRONG_TAIL_FRAMES, self._quiet[rows] + 1))
        self._run[rows], self._quiet[rows] = run, quiet
        soft = level > np.maximum(known_floor + TAIL_ABOVE_FLOOR_DB, peak - TAIL_BELOW_PEAK_DB)
        tail = np.where(active, 0, np.where(soft & (self._tail[rows] == quiet - 1) & ~in_tone, quiet, self._tail[rows]))
        tail[fades] = 0
        self._tail[rows] = tail
        begins = ~talking & (run >= ONSET_FRAMES)
        stops = talking & (quiet >= HANGOVER_FRAMES)
        usual, talked = self._usual[rows], self._talked[rows]
        louder = np.where(
            active & (steady > usual + LOUDER_DB) & (talked >= BACKGROUND_FRAMES), self._louder[rows] + 1, 0
        )
        alone = louder >= LOUDER_FRAMES
        usual = np.where(active & (steady > usual), usual + USUAL_RISE_RATIO * (steady - usual), usual)
        usual = np.where(active & ((talked == 0) | alone), steady, usual)
        self._usual[rows], self._louder[rows] = usual, np.where(alone, 0, louder)
        self._talked[rows] = np.where(alone, LOUDER_FRAMES, talked + active)
        begins |= alone
        begun, stopped = rows[begins], rows[stops]
        self._start[begun] = frame[begins] - ONSET_FRAMES + 1
        self._start[rows[alone]] = frame[alone] - LOUDER_FRAMES + 1
        ends = frame[stops] - quiet[stops] + 1
        tails = ends + np.minimum(tail[stops], HANGOVER_FRAMES)
        talking = (talking | begins) & ~stops
        self._talking[rows] = talking
        starts = self._start[rows]
        spurts = [
            (int(c), Spurt(int(s), int(e), int(t)))
            for c, s, e, t in zip(stopped, starts[stops], ends, tails, strict=True)
        ]
        activity = Activity(level, active, talking, begins, stops, in_tone, starts, quiet, alone)
        return [int(c) for c in begun], spurts, activity
