"""What a voice sounds like so far: running figures of every channel, in arrays, and the features made of them.

The model that tells persons from machines (`telephony.cpa.forest`) sees nothing but `FEATURES`. They are figures that
any recording of a call gives, in any language: how long and how evenly somebody talks, how levels and the noise behind
the voice behave, how pitch moves. Per frame of 20 ms the cost is one gather, a few dozen operations on rows, and one
scatter; spectrum and pitch are measured only where somebody talks.
"""

from enum import IntEnum, auto
from itertools import pairwise
from typing import Final

import numpy as np

from telephony.cpa.activity import DIGITAL_SILENCE_DBFS, Activity, Floats, Frames, Indices, Mask

FRAME_S: Final = 0.02
WINDOW_SAMPLES: Final = 320
BIN_HZ: Final = 25.0
BAND_EDGES_HZ: Final = (150, 400, 800, 1300, 2000, 2800, 3600)
BANDS: Final = len(BAND_EDGES_HZ) - 1
PITCH_BINS: Final = slice(5, 41)  # 125..1000 Hz: harmonics of the voice, above mains hum
PITCH_LAGS: Final = tuple(range(20, 115))  # 400 down to 70 Hz at 8 kHz
VOICED_RATIO: Final = 0.6
OCTAVE_RATIO: Final = 0.85
LOWEST_LEVEL_DBFS: Final = -70.0  # digital silence counts as this in means
SETTLED_FRAMES: Final = 5  # after the last active one; before lies the decay of the voice in its room
WAIT_FRAMES: Final = 40  # 0.8 s: longer than the pauses between the sentences of most recordings
SWING_DB: Final = 3.0
"""A rise and fall of the smoothed level by this much is one syllable."""


class _Column(IntEnum):
    """Rows of the state matrix; frames count from the start of analysis, sums run over frames of speech."""

    ORIGIN = 0
    FIRST_START = auto()
    SPURT_START = auto()
    SPURT_END = auto()
    SPURTS = auto()
    TALK = auto()  # frames of finished spurts
    FIRST_LENGTH = auto()
    LAST_LENGTH = auto()
    LONGEST = auto()
    FIRST_PAUSE = auto()
    LONGEST_PAUSE = auto()
    PAUSES = auto()
    WAITS = auto()  # pauses in which a person waits for an answer
    TALK_BEFORE_WAIT = auto()
    LEVELS = auto()
    LEVEL = auto()
    LEVEL_SQUARE = auto()
    FIRST_LEVEL = auto()  # of the first half second of speech
    FIRST_LEVELS = auto()
    RECENT_LEVEL = auto()
    LEAD = auto()  # level before the first spurt
    LEADS = auto()
    LEAD_MUTED = auto()
    REST = auto()  # level in pauses and after speech
    RESTS = auto()
    REST_MUTED = auto()
    DECAY = auto()
    DECAYS = auto()
    ENVELOPE = auto()
    EXTREME = auto()
    RISING = auto()
    SYLLABLES = auto()
    SPECTRA = auto()
    VOICED = auto()
    PITCH = auto()
    PITCH_SQUARE = auto()
    RECENT_PITCH = auto()
    FLUX = auto()
    FLUXES = auto()
    FRESH = auto()  # 1 when the frame before was speech too, so that BAND holds its neighbour


C = _Column
BAND: Final = len(_Column)  # shares of the latest frame in dB, then their sums and squares
BAND_SUM: Final = BAND + BANDS
BAND_SQUARE: Final = BAND_SUM + BANDS
SIZE: Final = BAND_SQUARE + BANDS

FEATURES: Final = (
    "onset_s",
    "span_s",
    "talk_s",
    "pause_s",
    "spurts",
    "first_s",
    "last_s",
    "longest_s",
    "first_pause_s",
    "longest_pause_s",
    "pauses_s",
    "waits",
    "talk_since_wait_s",
    "fill_ratio",
    "level_spread_db",
    "level_drift_db",
    "recent_level_db",
    "over_rest_db",
    "lead_rest_db",
    "lead_muted_ratio",
    "rest_muted_ratio",
    "decay_db",
    "syllables",
    "syllables_hz",
    "voiced_ratio",
    "pitch_octaves",
    "pitch_spread_octaves",
    "pitch_end_octaves",
    "flux_db",
    "timbre_spread_db",
    "low_share_db",
    "high_share_db",
)
"""Names of the features in the order of `VoiceTracker.features`; NaN where a figure cannot be known yet."""


class VoiceSpectrum:
    """Pitch and bands of frames with speech; the constant matrices, no state."""

    def __init__(self) -> None:
        self._hann = np.hanning(WINDOW_SAMPLES + 1)[:-1].astype(np.float32)
        bins = np.arange(WINDOW_SAMPLES // 2 + 1) * BIN_HZ
        self._bands = np.stack([(bins >= low) & (bins < high) for low, high in pairwise(BAND_EDGES_HZ)], axis=1).astype(
            np.float32
        )
        lags = np.array((0, *PITCH_LAGS))
        cosines = np.cos(2 * np.pi * np.outer(np.arange(len(bins))[PITCH_BINS], lags) / WINDOW_SAMPLES)
        # The window's own autocorrelation falls with the lag; without this every voice would seem high.
        window = np.correlate(self._hann, self._hann, "full")[WINDOW_SAMPLES - 1 :][lags]
        self._autocorrelation = (cosines * (window[0] / window)).astype(np.float32)

    def measure(self, window: Floats) -> tuple[Floats, Floats, Mask]:
        """Of (n, 320) samples: band shares in dB (BANDS, n), log2 of the pitch in Hz (n,), and which are voiced."""
        spectrum = np.fft.rfft(window * self._hann, axis=1)
        density = np.square(spectrum.real) + np.square(spectrum.imag)
        shares = density @ self._bands
        shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1e-3)
        similar = density[:, PITCH_BINS] @ self._autocorrelation
        inner = similar[:, 2:-1]
        peak = (inner >= similar[:, 1:-2]) & (inner >= similar[:, 3:])
        heights = np.where(peak, inner, 0.0)
        # The shortest lag that is nearly as good as the best: twice the period fits every voice just as well.
        best = (heights >= OCTAVE_RATIO * heights.max(axis=1, keepdims=True)).argmax(axis=1)
        height = heights[np.arange(len(heights)), best] / np.maximum(similar[:, 0], 1e-3)
        pitch = np.log2(8000.0 / (best + PITCH_LAGS[1]))
        voiced = height > VOICED_RATIO
        bands: Floats = (10 * np.log10(np.maximum(shares, 1e-4))).T.astype(np.float32)
        return bands, pitch.astype(np.float32), voiced


class VoiceTracker:
    """Running figures of ``n`` channels."""

    def __init__(self, n: int) -> None:
        self._spectrum = VoiceSpectrum()
        self._state = np.zeros((SIZE, n), dtype=np.float32)

    def reset(self, channel: int, frame: int) -> None:
        """Forget everything: the call was answered at ``frame``."""
        self._state[:, channel] = 0.0
        self._state[C.ORIGIN, channel] = frame

    def retract(self, channel: int) -> None:
        """The spurt under way was the beginning of a tone."""
        state = self._state[:, channel]
        if state[C.SPURTS] <= 1:
            self.reset(channel, int(state[C.ORIGIN]))
        else:
            state[C.SPURTS] -= 1
            state[C.SPURT_END] = state[C.SPURT_START]
            state[C.SPURT_START] -= state[C.LAST_LENGTH]

    def heard(self, rows: Indices) -> Mask:
        """Which of the channels have heard speech at all."""
        return np.asarray(self._state[C.SPURTS, rows] > 0)

    def step(self, rows: Indices, frame: Frames, level: Floats, window: Floats, activity: Activity) -> None:
        """Take one frame of the channels ``rows``: levels in dBFS, the last 40 ms of samples, and who talks."""
        s = self._state[:, rows]
        level = np.maximum(level, np.float32(LOWEST_LEVEL_DBFS))
        muted = activity.level_dbfs < DIGITAL_SILENCE_DBFS
        now = frame.astype(np.float32)
        self._count_spurts(s, now, activity)
        self._follow_levels(s, level, muted, activity)
        self._follow_envelope(s, level, activity)
        self._follow_spectrum(s, window, activity)
        self._state[:, rows] = s

    def _count_spurts(self, s: Floats, now: Floats, activity: Activity) -> None:
        begun, stopped = activity.begun, activity.stopped
        if activity.alone.any():
            fresh = np.zeros_like(s[:, activity.alone])
            fresh[C.ORIGIN] = s[C.ORIGIN, activity.alone]
            s[:, activity.alone] = fresh
        if begun.any():
            start = activity.start[begun].astype(np.float32)
            old = s[:, begun]
            again = old[C.SPURTS] > 0
            pause = np.where(again, start - old[C.SPURT_END], 0.0)
            old[C.FIRST_START] = np.where(again, old[C.FIRST_START], start)
            old[C.FIRST_PAUSE] = np.where(old[C.SPURTS] == 1, pause, old[C.FIRST_PAUSE])
            old[C.LONGEST_PAUSE] = np.maximum(old[C.LONGEST_PAUSE], pause)
            old[C.PAUSES] += pause
            waited = pause >= WAIT_FRAMES
            old[C.WAITS] += waited
            old[C.TALK_BEFORE_WAIT] = np.where(waited, old[C.TALK], old[C.TALK_BEFORE_WAIT])
            old[C.SPURTS] += 1
            old[C.SPURT_START] = start
            s[:, begun] = old
        s[C.SPURT_END] = np.where(activity.active & activity.talking, now + 1, s[C.SPURT_END])
        if stopped.any():
            old = s[:, stopped]
            length = old[C.SPURT_END] - old[C.SPURT_START]
            old[C.TALK] += length
            old[C.FIRST_LENGTH] = np.where(old[C.SPURTS] == 1, length, old[C.FIRST_LENGTH])
            old[C.LAST_LENGTH] = length
            old[C.LONGEST] = np.maximum(old[C.LONGEST], length)
            s[:, stopped] = old

    def _follow_levels(self, s: Floats, level: Floats, muted: Mask, activity: Activity) -> None:
        speech = activity.active & activity.talking
        early = speech & (s[C.FIRST_LEVELS] < 0.5 / FRAME_S)
        s[C.RECENT_LEVEL] += speech * np.where(s[C.LEVELS] == 0, 1.0, 0.06) * (level - s[C.RECENT_LEVEL])
        s[C.LEVELS] += speech
        s[C.LEVEL] += speech * level
        s[C.LEVEL_SQUARE] += speech * level * level
        s[C.FIRST_LEVEL] += early * level
        s[C.FIRST_LEVELS] += early
        idle = ~activity.active & ~activity.in_tone
        lead = idle & (s[C.SPURTS] == 0)
        s[C.LEAD] += lead * level
        s[C.LEADS] += lead
        s[C.LEAD_MUTED] += lead & muted
        rest = idle & (s[C.SPURTS] > 0) & (activity.quiet > SETTLED_FRAMES)
        s[C.REST] += rest * level
        s[C.RESTS] += rest
        s[C.REST_MUTED] += rest & muted
        decay = (activity.quiet == 2) & (s[C.LEVELS] > 0) & ~activity.in_tone
        s[C.DECAY] += decay * (s[C.RECENT_LEVEL] - level)
        s[C.DECAYS] += decay

    def _follow_envelope(self, s: Floats, level: Floats, activity: Activity) -> None:
        s[C.ENVELOPE] += 0.5 * (level - s[C.ENVELOPE])
        envelope, extreme, rising = s[C.ENVELOPE], s[C.EXTREME], s[C.RISING] > 0
        top = rising & (envelope < extreme - SWING_DB)
        bottom = ~rising & (envelope > extreme + SWING_DB)
        s[C.SYLLABLES] += top & activity.talking
        turned = top | bottom
        s[C.RISING] = np.where(turned, bottom, rising)
        further = np.where(rising, np.maximum(extreme, envelope), np.minimum(extreme, envelope))
        s[C.EXTREME] = np.where(turned, envelope, further)

    def _follow_spectrum(self, s: Floats, window: Floats, activity: Activity) -> None:
        speech = activity.active & activity.talking
        s[C.FRESH] = np.where(speech, s[C.FRESH], 0.0)
        if not speech.any():
            return
        bands, pitch, voiced = self._spectrum.measure(window[speech])
        v = s[:, speech]
        change = np.abs(bands - v[BAND:BAND_SUM]).mean(axis=0)
        v[C.FLUX] += v[C.FRESH] * change
        v[C.FLUXES] += v[C.FRESH]
        v[C.FRESH] = 1.0
        v[BAND:BAND_SUM] = bands
        v[BAND_SUM:BAND_SQUARE] += bands
        v[BAND_SQUARE:SIZE] += bands * bands
        v[C.SPECTRA] += 1
        v[C.RECENT_PITCH] += voiced * np.where(v[C.VOICED] == 0, 1.0, 0.2) * (pitch - v[C.RECENT_PITCH])
        v[C.VOICED] += voiced
        v[C.PITCH] += voiced * pitch
        v[C.PITCH_SQUARE] += voiced * pitch * pitch
        s[:, speech] = v

    def features(self, rows: Indices, frame: Frames, activity: Activity, which: Mask) -> Floats:
        """``FEATURES`` of the rows ``which`` of the frame just taken: (count, len(FEATURES)) float32, NaN = unknown."""
        s = self._state[:, rows[which]]
        talking = activity.talking[which]
        now = frame[which].astype(np.float32) + 1
        running = np.where(talking, s[C.SPURT_END] - s[C.SPURT_START], 0.0)
        pause = np.where(talking, 0.0, now - s[C.SPURT_END])
        talk = s[C.TALK] + running
        span = s[C.SPURT_END] - s[C.FIRST_START]
        first_only = talking & (s[C.SPURTS] == 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            mean_level = s[C.LEVEL] / s[C.LEVELS]
            spread = np.sqrt(np.maximum(s[C.LEVEL_SQUARE] / s[C.LEVELS] - mean_level**2, 0.0))
            rest = np.where(s[C.RESTS] >= SETTLED_FRAMES, s[C.REST] / s[C.RESTS], np.nan)
            lead = np.where(s[C.LEADS] >= SETTLED_FRAMES, s[C.LEAD] / s[C.LEADS], np.nan)
            voiced = np.where(s[C.VOICED] >= 3, s[C.VOICED], np.nan)
            pitch = s[C.PITCH] / voiced
            pitch_spread = np.sqrt(np.maximum(s[C.PITCH_SQUARE] / voiced - pitch**2, 0.0))
            band = s[BAND_SUM:BAND_SQUARE] / s[C.SPECTRA]
            timbre = np.sqrt(np.maximum(s[BAND_SQUARE:SIZE] / s[C.SPECTRA] - band**2, 0.0)).mean(axis=0)
            columns = (
                (s[C.FIRST_START] - s[C.ORIGIN]) * FRAME_S,
                span * FRAME_S,
                talk * FRAME_S,
                pause * FRAME_S,
                s[C.SPURTS],
                np.where(first_only, running, s[C.FIRST_LENGTH]) * FRAME_S,
                np.where(talking, running, s[C.LAST_LENGTH]) * FRAME_S,
                np.maximum(s[C.LONGEST], running) * FRAME_S,
                np.where(s[C.SPURTS] > 1, s[C.FIRST_PAUSE] * FRAME_S, np.nan),
                s[C.LONGEST_PAUSE] * FRAME_S,
                s[C.PAUSES] * FRAME_S,
                s[C.WAITS],
                (talk - s[C.TALK_BEFORE_WAIT]) * FRAME_S,
                talk / span,
                spread,
                s[C.RECENT_LEVEL] - s[C.FIRST_LEVEL] / s[C.FIRST_LEVELS],
                s[C.RECENT_LEVEL] - mean_level,
                mean_level - rest,
                lead - rest,
                np.where(s[C.LEADS] >= SETTLED_FRAMES, s[C.LEAD_MUTED] / s[C.LEADS], np.nan),
                np.where(s[C.RESTS] >= SETTLED_FRAMES, s[C.REST_MUTED] / s[C.RESTS], np.nan),
                s[C.DECAY] / s[C.DECAYS],
                s[C.SYLLABLES],
                s[C.SYLLABLES] / (talk * FRAME_S),
                s[C.VOICED] / s[C.SPECTRA],
                pitch,
                pitch_spread,
                s[C.RECENT_PITCH] - pitch,
                s[C.FLUX] / s[C.FLUXES],
                timbre,
                band[0],
                band[-2:].max(axis=0),
            )
            return np.stack(columns, axis=1).astype(np.float32)
