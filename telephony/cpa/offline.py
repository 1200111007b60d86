"""Recordings through the analyser, as if they were calls: frame by frame, many at once, no look ahead.

A verdict has the time at which it was made while the audio came in, so it says what a live call would have seen. A
recording that ends before the analyser is sure is followed by quiet at its own noise floor, because that is what a
media server hears when the far end falls silent; `Heard.appended_s` says how much of it was listened to.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from telephony.contract import AnalysisSettings, VerdictKind
from telephony.cpa.activity import DIGITAL_SILENCE_DBFS, FULL_SCALE, QUIET_DBFS, level_dbfs
from telephony.cpa.analyser import Analyser, VerdictData
from telephony.cpa.bursts import FRAME_S
from telephony.cpa.finding import INFORMATION
from telephony.cpa.spectrum import FRAME_SAMPLES
from telephony.media.g711 import Samples

BLOCK_FRAMES: Final = 50
SETTLED_TAIL_S: Final = 1.0
"""Quiet after a recording whose verdict stands: long enough for a tone at its very end to be judged."""

EARLY_TAIL_S: Final = 2.0
"""Quiet after early media in which something was heard: a last burst may need its pause."""

SILENT_TAIL_S: Final = 12.0
"""Longest quiet after a recording without a verdict in which nothing was heard: it is up to the analyser to say so."""

LOUDEST_FLOOR_DBFS: Final = -45.0
FLOOR_PERCENTILE: Final = 10.0
SOUND_DBFS: Final = -48.0
"""A recording whose every frame is quieter was silent."""

NOISE_SEED: Final = 0


@dataclass(frozen=True, slots=True)
class Call:
    """
    One recording and what is known of its call.

    Attributes:
        samples: (n,) int16 at 8 kHz.
        answered_s: when it was answered, in seconds of the recording: 0.0 for one that begins with the answer, None
            for early media of a call that never was.
    """

    samples: Samples
    settings: AnalysisSettings
    answered_s: float | None = 0.0


@dataclass(frozen=True, slots=True)
class Heard:
    """
    What the analyser said of one recording. All times are seconds since its beginning.

    Attributes:
        verdicts: in the order in which they were made; later ones may revise earlier ones.
        appended_s: quiet listened to after the end of the recording.
        floor_dbfs: noise floor of the recording, which the quiet has too.
        loudest_dbfs: its loudest frame of 20 ms.
    """

    verdicts: tuple[VerdictData, ...]
    length_s: float
    appended_s: float
    floor_dbfs: float
    loudest_dbfs: float


class _Track:
    """One recording under analysis: what is left of it, and how long to go on after it."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.frames = -(-len(call.samples) // FRAME_SAMPLES)
        whole = len(call.samples) // FRAME_SAMPLES * FRAME_SAMPLES
        levels = level_dbfs(call.samples[:whole].reshape(-1, FRAME_SAMPLES).astype(np.float32))
        self.floor_dbfs = float(np.percentile(levels, FLOOR_PERCENTILE)) if len(levels) else QUIET_DBFS
        self.loudest_dbfs = float(levels.max()) if len(levels) else QUIET_DBFS
        quiet = self.floor_dbfs < DIGITAL_SILENCE_DBFS
        self.noise = 0.0 if quiet else FULL_SCALE * 10 ** (min(self.floor_dbfs, LOUDEST_FLOOR_DBFS) / 20)
        self.verdicts: list[VerdictData] = []
        self.ended_at: int | None = None  # frame after the last one that was listened to

    def tail_frames(self) -> int:
        """How much quiet to listen to after the recording, given what has been said of it so far."""
        if any(verdict.kind not in INFORMATION for verdict in self.verdicts):
            return round(SETTLED_TAIL_S / FRAME_S)
        if self.call.answered_s is not None:  # the analyser's own time guard ends it
            settings = self.call.settings
            # What rings holds the guard, for nobody knows when such a recording was answered: it may just have been.
            rang = any(verdict.kind is VerdictKind.RINGBACK for verdict in self.verdicts)
            from_s = self.frames * FRAME_S if rang and not self.call.answered_s else self.call.answered_s
            longest_s = from_s + (settings.timeguard_ms + settings.initial_silence_ms) / 1000 + 1.0
            return max(round(SETTLED_TAIL_S / FRAME_S), round(longest_s / FRAME_S) - self.frames)
        heard = self.verdicts or self.loudest_dbfs > SOUND_DBFS
        return round((EARLY_TAIL_S if heard else SILENT_TAIL_S) / FRAME_S)


def analyse_calls(calls: Sequence[Call], progress: Callable[[float], object] = lambda _done_ratio: None) -> list[Heard]:
    """
    Analyse recordings, each on a channel of its own, all at once.

    Args:
        progress: called with the share of the longest recording that is done.

    Raises ValueError for settings that the analyser refuses.
    """
    if not calls:
        return []
    tracks = [_Track(call) for call in calls]
    analyser = Analyser(len(calls))
    answers: dict[int, list[int]] = {}
    for channel, call in enumerate(calls):
        # A recording that is said to begin with the answer may begin with the ringing: strangers' files often do.
        known = bool(call.answered_s)
        analyser.start(channel, call.settings, connected=call.answered_s == 0.0, answer_known=known)
        if call.answered_s:
            answers.setdefault(round(call.answered_s / FRAME_S), []).append(channel)
    noise = np.random.default_rng(NOISE_SEED)
    alive = np.ones(len(calls), dtype=np.bool_)
    ends = np.array([track.frames for track in tracks])
    longest = int(ends.max())
    frame = 0
    while alive.any():
        block = _block(tracks, alive, frame, noise)
        for i in range(BLOCK_FRAMES):
            for channel in answers.get(frame, ()):
                if analyser.analysing[channel]:  # a final tone has ended it already
                    analyser.start(channel, calls[channel].settings, connected=True)
            for channel, verdict in analyser.step(
                block[:, i * FRAME_SAMPLES : (i + 1) * FRAME_SAMPLES], alive, round((frame + 1) * FRAME_S, 6)
            ):
                tracks[channel].verdicts.append(verdict)
            frame += 1
            for channel in np.nonzero(alive & ((frame >= ends) | ~analyser.analysing))[0].tolist():
                track = tracks[channel]
                if not analyser.analysing[channel] or frame >= track.frames + track.tail_frames():
                    track.ended_at = frame
                    alive[channel] = False
            if not alive.any():
                break
        progress(min(1.0, frame / longest))
    return [_heard(track) for track in tracks]


def _block(
    tracks: list[_Track], alive: npt.NDArray[np.bool_], first_frame: int, noise: np.random.Generator
) -> npt.NDArray[np.int16]:
    """The next second of every recording that goes on, with quiet where it has ended."""
    size = BLOCK_FRAMES * FRAME_SAMPLES
    block = np.zeros((len(tracks), size), dtype=np.int16)
    # The same noise for all: what is said of a recording must not depend on those beside it.
    white = noise.standard_normal(size)
    start = first_frame * FRAME_SAMPLES
    for channel in np.nonzero(alive)[0].tolist():
        track = tracks[channel]
        part = track.call.samples[start : start + size]
        block[channel, : len(part)] = part
        if len(part) < size and track.noise:
            block[channel, len(part) :] = np.rint(track.noise * white[len(part) :])
    return block


def _heard(track: _Track) -> Heard:
    length_s = len(track.call.samples) / FRAME_SAMPLES * FRAME_S
    ended_s = (track.ended_at or track.frames) * FRAME_S
    return Heard(
        verdicts=tuple(track.verdicts),
        length_s=round(length_s, 3),
        appended_s=round(max(0.0, ended_s - length_s), 3),
        floor_dbfs=round(track.floor_dbfs, 1),
        loudest_dbfs=round(track.loudest_dbfs, 1),
    )


def final_verdict(verdicts: Sequence[VerdictData]) -> VerdictData | None:
    """The verdict that stands in the end; None when there was only information, such as ringback."""
    final = [verdict for verdict in verdicts if verdict.kind not in INFORMATION]
    return final[-1] if final else None


def informed(verdicts: Sequence[VerdictData]) -> VerdictData | None:
    """
    What early media without a final tone was: the last of music, announcements and ringback, else silence.

    Music and announcements often begin after some ringing; where the ringing is known after somebody spoke, they spoke
    behind it, or the network rings now. Not so after music: it has notes of its own.
    """
    music = any(verdict.kind is VerdictKind.CRBT for verdict in verdicts)
    sounds = {VerdictKind.CRBT, VerdictKind.ANNOUNCEMENT}
    for kinds in (
        sounds if music else sounds | {VerdictKind.RINGBACK},
        {VerdictKind.NO_RINGBACK},
    ):
        for verdict in reversed(verdicts):
            if verdict.kind in kinds:
                return verdict
    return None
