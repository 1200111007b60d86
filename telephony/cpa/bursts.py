"""Frames become bursts: a tone that holds its frequency for some frames, with a beginning and an end.

State is arrays over channels; Python runs per channel only where a burst begins or ends. There the kept audio is looked
at as a whole: what the burst is made of (`lines`) and where exactly it begins and ends, to a few milliseconds.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from telephony.cpa.activity import FULL_SCALE
from telephony.cpa.history import History, Samples
from telephony.cpa.lines import Line, band_power, count_parts, edge_samples, find_lines
from telephony.cpa.spectrum import DUAL_TONE, FSK, SAMPLE_RATE_HZ, SINGLE_TONE, ToneMeasure

FRAME_S: Final = 0.02
MIN_BURST_FRAMES: Final = 5
"""A burst is announced at its fifth frame: vowels are pure for three or four now and then; few tones are that short.
One that is pure and higher than vowels are is announced a frame earlier."""

GAP_FRAMES: Final = 3
"""A shorter hole does not end a burst: a lost packet spoils two or three windows; tones pause 100 ms or more."""

STEADY_HZ: Final = 22.0
STEADY_RATIO: Final = 0.012
"""A single tone stays within this of its own mean; the first two SIT tones and the gliding voice do not."""

SPREAD_HZ: Final = 6.0
CALM_SPREAD_HZ: Final = 2.5
CLEAN_PURITY: Final = 0.95
FILL_RATIO: Final = 0.6
"""A burst is announced when its frequency is calm, or scatters a little more but is very pure (a lost packet shifts two
windows), and when so many of its frames are tonal. Vowels and nasals glide and flicker; a tone stands within 1 Hz."""

MIXED_SPREAD_HZ: Final = 9.0
HIGHEST_MIXED_HZ: Final = 670.0
"""The centre of two call progress frequencies wavers with their beat; so much is let pass here when they are those of
the call's tone plan."""

ONE_LINE_SHARE: Final = 0.8
BROAD_LINE_SHARE: Final = 0.7
BROAD_LINE_HZ: Final = 40.0
"""A packet repeated out of phase, or a codec of low rate, spreads a line that far. There are no pairs so close together
above `HIGHEST_MIXED_HZ`."""

TORN_RATIO: Final = 0.18
TORN_HZ: Final = 30.0
NOTE_DB: Final = 6.0
NOTE_SHARE: Final = 0.9
NOTE_FRAMES: Final = 6
FADED_RATIO: Final = 0.06  # in power, 12 dB below the loudest frame of the burst
ROUGH_SPREAD_HZ: Final = 9.0
ROUGH_PURITY: Final = 0.83
ROUGH_FRAMES: Final = 7
DUAL_SHARE: Final = 0.78
PAIR_APART_HZ: Final = 100.0
PAIR_FRAMES: Final = 10
PAIR_SHARE: Final = 0.93
RETRY_FRAMES: Final = 3
EDGE_FRAMES: Final = 4

Indices = npt.NDArray[np.intp]
Frames = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Burst:
    """
    One tone burst. ``code`` as in `spectrum`; frames count from the start of analysis; ``end`` is exclusive.

    ``purity`` (mean), ``spread_hz`` (standard deviation) and ``fill`` (share of pure frames) tell how tone-like it is.
    ``lines`` are those of its whole audio (of the last half second, if longer); ``onset_s`` and ``ended_s`` are its
    edges in seconds since the start of analysis, to a few ms; -1.0 where only the frames are known. ``rise_db`` and
    ``fall_db`` are its level against that just before and just after it, ``level_dbfs`` is its own; ``parts`` counts
    the bursts it was made of where their pauses were too short to end it.
    """

    code: int
    hz: float
    start: int
    end: int
    purity: float = 1.0
    spread_hz: float = 0.0
    fill: float = 1.0
    lines: tuple[Line, ...] = ()
    onset_s: float = -1.0
    ended_s: float = -1.0
    rise_db: float = 99.0
    fall_db: float = 99.0
    parts: int = 1
    level_dbfs: float = 0.0

    @property
    def begin_s(self) -> float:
        """Beginning in seconds since the start of analysis, as exact as known."""
        return self.onset_s if self.onset_s >= 0.0 else max(0.0, (self.start - 0.5) * FRAME_S)

    @property
    def finish_s(self) -> float:
        """End in seconds since the start of analysis, as exact as known."""
        return self.ended_s if self.ended_s >= 0.0 else (self.end - 0.5) * FRAME_S

    @property
    def duration_s(self) -> float:
        return self.finish_s - self.begin_s

    @property
    def is_one_line(self) -> bool:
        """Whether one frequency alone makes it up."""
        return self.code == SINGLE_TONE and (not self.lines or self.line_share >= ONE_LINE_SHARE)

    @property
    def line_share(self) -> float:
        """Share of the energy that its strongest line has, spread by lost packets and codecs; 0.0 without lines."""
        if not self.lines:
            return 0.0
        first = self.lines[0]
        if self.hz <= HIGHEST_MIXED_HZ:
            return sum(line.share for line in self.lines if line is first or is_torn_off(line, first))
        broad = sum(line.share for line in self.lines if abs(line.hz - first.hz) <= BROAD_LINE_HZ)
        return max(first.share, broad + ONE_LINE_SHARE - BROAD_LINE_SHARE if broad >= BROAD_LINE_SHARE else 0.0)


def is_torn_off(line: Line, strongest: Line) -> bool:
    """Whether a weak line beside the strongest is that one's, whose phase a lost packet has turned."""
    return line.share <= TORN_RATIO * strongest.share and abs(line.hz - strongest.hz) <= TORN_HZ


Admit = Callable[[int, Burst], bool]


def is_resumed(before: Burst, burst: Burst) -> bool:
    """Whether two bursts are one tone that a lost packet, repeated out of phase, cut in two."""
    near = abs(before.hz - burst.hz) < STEADY_HZ
    return before.code == burst.code and near and burst.start - before.end <= GAP_FRAMES


class BurstTracker:
    """
    Burst state of ``n`` channels; ``history`` holds their audio.

    ``admit`` is asked about each burst of several lines before it is announced: such a one is only a tone when the
    call's tone plan has it, else it is somebody's vowel.
    """

    def __init__(self, n: int, history: History, admit: Admit) -> None:
        self._history = history
        self._admit = admit
        self.code = np.zeros(n, dtype=np.int8)
        self._announced = np.zeros(n, dtype=np.bool_)
        self._count = np.zeros(n, dtype=np.int32)
        self._start = np.zeros(n, dtype=np.int32)
        self._last = np.zeros(n, dtype=np.int32)
        # Of the frames after the first, which is half filled and therefore off by some Hz.
        self._measured = np.zeros(n, dtype=np.int32)
        self._sum_hz = np.zeros(n)
        self._sum_hz2 = np.zeros(n)
        self._sum_purity = np.zeros(n)
        self._peak_power = np.zeros(n, dtype=np.float32)
        self._onset_s = np.full(n, -1.0)
        self._rise_db = np.full(n, 99.0)
        self._retry = np.zeros(n, dtype=np.int32)
        self._hum = np.zeros(n, dtype=np.float32)
        self._left = np.full(n, -9, dtype=np.int32)  # end of the latest announced burst
        self._rival_frame = np.full(n, -9, dtype=np.int32)
        self._rival_hz = np.zeros(n, dtype=np.float32)

    def reset(self, channel: int) -> None:
        self._clear(np.array([channel]))
        self._rival_frame[channel] = -9
        self._left[channel] = -9

    def _clear(self, rows: Indices) -> None:
        self.code[rows] = 0
        self._count[rows] = 0
        self._announced[rows] = False
        self._retry[rows] = 0

    def current(self, channel: int) -> Burst | None:
        """The announced burst that still sounds, its lines not measured."""
        return self._burst(channel) if self._announced[channel] else None

    def _burst(self, channel: int, lines: tuple[Line, ...] = (), ended_s: float = -1.0, fall_db: float = 99.0) -> Burst:
        measured = max(int(self._measured[channel]), 1)
        mean_hz = float(self._sum_hz[channel]) / measured
        start, end = int(self._start[channel]), int(self._last[channel]) + 1
        return Burst(
            int(self.code[channel]),
            mean_hz,
            start,
            end,
            float(self._sum_purity[channel]) / measured,
            max(0.0, float(self._sum_hz2[channel]) / measured - mean_hz**2) ** 0.5,
            int(self._count[channel]) / (end - start),
            lines,
            float(self._onset_s[channel]),
            ended_s,
            float(self._rise_db[channel]),
            fall_db,
        )

    def _worth_a_look(self, rows: Indices, frame: Frames) -> Mask:
        measured = np.maximum(self._measured[rows], 1)
        mean = self._sum_hz[rows] / measured
        variance = self._sum_hz2[rows] / measured - np.square(mean)
        full = self._count[rows] >= FILL_RATIO * (frame - self._start[rows] + 1)
        pure = self._sum_purity[rows] / measured > CLEAN_PURITY
        beyond_doubt = pure & (mean > HIGHEST_MIXED_HZ) & (variance < CALM_SPREAD_HZ**2)
        ready = self._count[rows] >= MIN_BURST_FRAMES - beyond_doubt
        ready &= ~self._announced[rows] & (frame >= self._retry[rows])
        calm = (variance < CALM_SPREAD_HZ**2) | (pure & (variance < SPREAD_HZ**2))
        mixed = (mean < HIGHEST_MIXED_HZ) & (variance < MIXED_SPREAD_HZ**2) & (self.code[rows] == SINGLE_TONE)
        calm |= (self.code[rows] == DUAL_TONE) & (variance < SPREAD_HZ**2)
        rough = (self._count[rows] >= ROUGH_FRAMES) & (self._sum_purity[rows] / measured > ROUGH_PURITY)
        rough &= (mean > HIGHEST_MIXED_HZ) & (variance < ROUGH_SPREAD_HZ**2)
        return np.asarray(ready & full & (calm | mixed | rough))

    def step(
        self, rows: Indices, frame: Frames, measure: ToneMeasure
    ) -> tuple[list[tuple[int, Burst]], list[tuple[int, Burst]], Mask]:
        """
        Take one frame of the channels ``rows`` (their frame numbers in ``frame``); the history has it already.

        Returns (ended, begun, sounding): (channel, burst) of each announced burst that ended, of each that has just
        shown itself to be one, and per row whether an announced burst sounds now.
        """
        code, held = measure.code, self.code[rows]
        self._hum[rows] = measure.hum
        mean = self._sum_hz[rows] / np.maximum(self._measured[rows], 1)
        tonal = code > 0
        # What is left when a tone pauses may be noise of its own pitch: it is not the tone.
        loud = measure.power > FADED_RATIO * self._peak_power[rows]
        alike = (code == held) | ((code != FSK) & (held != FSK))  # the weaker of two lines comes and goes in noise
        same = tonal & (held > 0) & alike & _steady(measure.hz, mean) & loud
        other = tonal & ~same & (loud | (held == 0))
        # An announced burst gives way to another tone only at its second frame: a lost packet makes odd single ones.
        again = other & (self._rival_frame[rows] == frame - 1) & _steady(measure.hz, self._rival_hz[rows])
        self._rival_frame[rows[other]] = frame[other]
        self._rival_hz[rows[other]] = measure.hz[other]
        announced = self._announced[rows]
        fresh = other & (again | ~announced)
        over = (held > 0) & ~same & (fresh | (frame - self._last[rows] > GAP_FRAMES))

        ended = [(int(c), self._finished(int(c))) for c in rows[over & announced]]
        left = rows[over & announced]
        self._left[left] = self._last[left] + 1
        self._clear(rows[over])

        new, known = rows[fresh], 1 + again[fresh]
        self.code[new] = code[fresh]
        self._count[new] = known
        self._start[new] = frame[fresh] - known + 1
        self._last[new] = frame[fresh]
        self._measured[new] = 0
        self._peak_power[new] = measure.power[fresh]
        self._onset_s[new] = -1.0
        self._rise_db[new] = 99.0
        self._measure(new, measure, fresh)

        going = rows[same]
        self._measured[going[self._count[going] == 1]] = 0
        self._count[going] += 1
        self._peak_power[going] = np.maximum(self._peak_power[going], measure.power[same])
        self._last[going] = frame[same]
        self._measure(going, measure, same)
        likely = going[self._worth_a_look(going, frame[same])].tolist()
        begun = [(channel, burst) for channel in likely if (burst := self._announce(channel)) is not None]
        return ended, begun, self._announced[rows]

    def _measure(self, rows: Indices, measure: ToneMeasure, which: Mask) -> None:
        hz, purity = measure.hz[which].astype(np.float64), measure.purity[which].astype(np.float64)
        first = self._measured[rows] == 0
        self._sum_hz[rows] = np.where(first, 0.0, self._sum_hz[rows]) + hz
        self._sum_hz2[rows] = np.where(first, 0.0, self._sum_hz2[rows]) + hz**2
        self._sum_purity[rows] = np.where(first, 0.0, self._sum_purity[rows]) + purity
        self._measured[rows] += 1

    # --- the whole burst ----------------------------------------------------------------------------------------

    def _inside(self, start: int, end: int, channel: int) -> Samples:
        """The audio of a burst without its first and last frame, which it may fill only in part."""
        return self._history.frames(channel, start, end - 1)[1]

    def _lines(self, burst: Burst, channel: int) -> tuple[Line, ...]:
        return find_lines(self._inside(burst.start, burst.end, channel), float(self._hum[channel]))

    def _announce(self, channel: int) -> Burst | None:
        """The burst under way when it is a tone; None (and another look some frames later) when it is not."""
        draft = self._burst(channel)
        draft = self._burst(channel, self._lines(draft, channel))
        if not self._is_tone(channel, draft):
            self._retry[channel] = int(self._last[channel]) + RETRY_FRAMES
            return None
        self._announced[channel] = True
        self._onset_s[channel] = self._edge(channel, draft, draft.start - EDGE_FRAMES, draft.end, rising=True)
        self._rise_db[channel] = self._step_db(channel, draft, draft.start - 4, draft.start - 1)
        stepped = abs(self._rise_db[channel]) <= NOTE_DB and draft.hz > HIGHEST_MIXED_HZ
        if stepped and draft.start - self._left[channel] > GAP_FRAMES:
            self._begin_with_note(channel, draft)
        return self._burst(channel, draft.lines)

    def _begin_with_note(self, channel: int, burst: Burst) -> None:
        """Count the note from which a burst has stepped, too short to be a burst itself, as its beginning."""
        before = find_lines(self._history.frames(channel, burst.start - 4, burst.start - 1)[1])
        if not before or before[0].share < NOTE_SHARE or abs(before[0].hz - burst.hz) <= BROAD_LINE_HZ:
            return
        first, samples = self._history.frames(channel, burst.start - NOTE_FRAMES - 2, burst.start)
        at = edge_samples(samples, before[0].hz, rising=True)
        if at is not None:
            self._onset_s[channel] = first * FRAME_S + at / SAMPLE_RATE_HZ
            self._rise_db[channel] = self._step_db(
                channel, burst, burst.start - NOTE_FRAMES - 2, burst.start - NOTE_FRAMES
            )

    def _step_db(self, channel: int, burst: Burst, start: int, end: int) -> float:
        """The level inside a burst against that of the frames from ``start`` to ``end``."""
        inside = self._inside(burst.start, burst.end, channel)
        outside = self._history.frames(channel, start, end)[1]
        if not len(inside) or not len(outside):
            return 99.0
        power = [max(band_power(part), 1.0) for part in (inside, outside)]
        return float(10 * np.log10(power[0] / power[1]))

    def _is_tone(self, channel: int, burst: Burst) -> bool:
        if burst.code == FSK:
            return True
        if burst.code == DUAL_TONE:
            return sum(line.share for line in burst.lines[:2]) >= DUAL_SHARE
        if burst.is_one_line:
            calm = burst.spread_hz < CALM_SPREAD_HZ or (burst.purity > CLEAN_PURITY and burst.spread_hz < SPREAD_HZ)
            return calm or burst.hz > HIGHEST_MIXED_HZ  # a rough one, or it would not have come here
        return _is_pair(burst) or self._admit(channel, burst)

    def _finished(self, channel: int) -> Burst:
        draft = self._burst(channel)
        lines = self._lines(draft, channel)
        draft = self._burst(channel, lines)
        end = draft.end + EDGE_FRAMES - 1
        ended_s = self._edge(channel, draft, draft.end - 1 - EDGE_FRAMES, end, rising=False)
        whole = self._burst(channel, lines, ended_s, self._step_db(channel, draft, draft.end, draft.end + 3))
        power = max(band_power(self._inside(draft.start, draft.end, channel)), 1.0)
        whole = replace(whole, level_dbfs=float(10 * np.log10(power / FULL_SCALE**2)))
        if whole.fill < 1.0 and whole.hz > HIGHEST_MIXED_HZ and lines:
            inside = self._inside(whole.start, whole.end, channel)
            whole = replace(whole, parts=count_parts(inside, lines[0].hz))
        return whole

    def _edge(self, channel: int, burst: Burst, start: int, end: int, rising: bool) -> float:
        """Seconds since the start of analysis; -1.0 when the edge cannot be seen."""
        first, samples = self._history.frames(channel, start, end)
        at = edge_samples(samples, burst.lines[0].hz if burst.is_one_line and burst.lines else None, rising)
        return -1.0 if at is None else first * FRAME_S + at / SAMPLE_RATE_HZ


def _is_pair(burst: Burst) -> bool:
    """Whether two lines far apart make up the burst, and for so long that they are no vowel."""
    if len(burst.lines) < 2 or abs(burst.lines[0].hz - burst.lines[1].hz) < PAIR_APART_HZ:
        return False
    share = burst.lines[0].share + burst.lines[1].share
    if min(line.hz for line in burst.lines[:2]) > HIGHEST_MIXED_HZ:
        return share >= DUAL_SHARE
    long = burst.end - burst.start >= PAIR_FRAMES
    return long and share >= PAIR_SHARE and burst.spread_hz < CALM_SPREAD_HZ


def _steady(hz: npt.NDArray[np.float32], mean_hz: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    return np.asarray(np.abs(hz - mean_hz) < STEADY_HZ + STEADY_RATIO * mean_hz)
