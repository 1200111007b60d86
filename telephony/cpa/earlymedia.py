"""What sounds beside the tones of the network: before the answer music or somebody speaking, after it only music.

Every frame's spectrum is compared with that of 100 ms before. Notes stand still for longer than that, be it between
the beats of a drum, and music goes on without a pause; the voice glides from sound to sound, its level jumps, and it
takes breath. Noise does neither: its spectra are never as alike as those of a held note, and its level does not move.

State is arrays over channels; only channels in early media, or answered and not decided, are followed.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import scipy.fft

from telephony.cpa.spectrum import WINDOW_SAMPLES

LAG_FRAMES: Final = 5
BINS: Final = slice(10, 140)  # 250 .. 3500 Hz: neither hum nor what the line cuts off
MEMORY_FRAMES: Final = 150
JUDGE_FRAMES: Final = 20  # asked this often
EARLIEST_FRAMES: Final = 90
LOUDEST_PERCENTILE: Final = 90.0
LOWEST_DBFS: Final = -46.0
QUIET_DB: Final = 18.0  # below the loud frames: a pause
SOUND_DB: Final = 15.0
CLIP_DB: Final = 30.0
STEADY_DB: Final = 1.2  # spread of the level of noise while there is any; words vary by 4 dB
HELD_COSINE: Final = 0.9
LEAST_HELD: Final = 0.1  # of music's frames: held notes; noise has none, whatever its colour, and speech few
CHANGE_PERCENTILE: Final = 4.0
CHANGED_COSINE: Final = 0.8  # from one note to the next, which hum lacks
MOST_PAUSES: Final = 0.6  # of music: a chime alone is none
MOST_LIKENESS: Final = 0.72
"""Of speech. Spectra of noise are alike to pi/4, whatever its colour; what pauses but stands still is tones."""

LEAST_SOUND_FRAMES: Final = 35
OVER_DB: Final = 12.0
OVER_FRAMES: Final = 60
RECENT_FRAMES: Final = 25
TONE_FRAMES: Final = 6  # before a tone shows itself
FRAME_S: Final = 0.02

LULL_FRAMES: Final = 20
LULL_DB: Final = 8.0
"""A pause of 0.4 s so little below the loudest sounds is none: something plays on."""

LULL_LIKENESS: Final = 0.63  # of music; between words others in the room are less alike
NOISE_DB: Final = 1.5
HUM_DB: Final = 0.5
"""What moves less may be noise, and is if no notes are held in it; hum moves still less."""

LIKENESS: Final = (0.65, 4.5)  # (neutral value, weight) of each feature in the score; music above 0, speech below
PAUSES: Final = (0.15, -4.8)
JUMPS_DB: Final = (1.9, -0.5)
HELD: Final = (0.165, 15.0)
MOST_HELD: Final = 0.4  # more says no more
"""Logistic regression on voices, recorded and synthetic, over poor lines, and on synthetic music of many kinds: held
chords, melodies, plucked strings, drums."""

SURE: Final = ((90, 2.8), (150, 1.5), (220, 0.6))
"""(frames since the sound began, score needed either way)."""

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Sound:
    """
    What was heard in the last seconds. ``score`` is above 0 for music, below for speech.

    ``likeness`` is the mean of the cosines between spectra 100 ms apart, ``held_ratio`` the share of those near 1,
    ``pauses_ratio`` that of quiet frames, ``jumps_db`` the mean change of level from frame to frame; ``goes_on``: there
    was sound within the last half second.
    """

    score: float
    likeness: float
    held_ratio: float
    pauses_ratio: float
    jumps_db: float
    heard_s: float
    goes_on: bool


class SoundTracker:
    """Follows the sound of ``n`` channels."""

    def __init__(self, n: int) -> None:
        self._hann = np.hanning(WINDOW_SAMPLES + 1)[:-1].astype(np.float32)
        width = BINS.stop - BINS.start
        self._shape = np.zeros((n, LAG_FRAMES, width), dtype=np.float32)
        self._level = np.full((n, MEMORY_FRAMES), -90.0, dtype=np.float32)
        self._likeness = np.zeros((n, MEMORY_FRAMES), dtype=np.float32)
        self._count = np.zeros(n, dtype=np.int32)
        self._peak_dbfs = np.full(n, -90.0)

    def reset(self, channel: int) -> None:
        self._count[channel] = 0
        self._peak_dbfs[channel] = -90.0
        self._shape[channel] = 0.0

    def begun(self, rows: Indices) -> npt.NDArray[np.bool_]:
        """Per row whether something is followed already: its pauses count as well."""
        return np.asarray(self._count[rows] > 0)

    def follow(self, rows: Indices, window: Floats) -> None:
        """Take the windows (len(rows), 320) of channels in which something other than a tone of the network sounds."""
        spectrum = scipy.fft.rfft(window * self._hann, axis=1)[:, BINS]
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        total = power.sum(axis=1)
        shape = np.sqrt(power / np.maximum(total, np.float32(1e-3))[:, None])
        count = self._count[rows]
        slot = count % LAG_FRAMES
        at = count % MEMORY_FRAMES
        self._likeness[rows, at] = np.einsum("ij,ij->i", shape, self._shape[rows, slot])
        self._shape[rows, slot] = shape
        # Parseval, and a Hann window's mean power of 3/8
        self._level[rows, at] = 10 * np.log10(
            np.maximum(total * 2 / (WINDOW_SAMPLES**2 * 0.375), np.float32(1e-2)) / np.float32(32768.0**2)
        )
        self._count[rows] = count + 1

    def heard_s(self, channel: int) -> float:
        """How long something has been followed."""
        return int(self._count[channel]) * FRAME_S

    def retract(self, channel: int) -> None:
        """The latest frames were the beginning of a tone."""
        self._count[channel] = max(0, int(self._count[channel]) - TONE_FRAMES)

    def due(self, rows: Indices) -> npt.NDArray[np.bool_]:
        """Per row whether it is time to judge."""
        count = self._count[rows]
        return np.asarray((count >= EARLIEST_FRAMES) & (count % JUDGE_FRAMES == EARLIEST_FRAMES % JUDGE_FRAMES))

    def plays_on(self, channel: int) -> bool:
        """Whether the last 0.4 s were about as loud as all before, and moved as held notes do: nobody fell silent."""
        count = int(self._count[channel])
        if count < LULL_FRAMES + LAG_FRAMES:
            return False
        order = np.arange(max(LAG_FRAMES, count - MEMORY_FRAMES), count) % MEMORY_FRAMES
        level, likeness = self._level[channel, order], self._likeness[channel, order]
        loud_dbfs, lull = float(np.percentile(level, LOUDEST_PERCENTILE)), level[-LULL_FRAMES:]
        sounding = likeness[level > loud_dbfs - SOUND_DB]
        loud = float(np.median(lull)) >= max(loud_dbfs - LULL_DB, LOWEST_DBFS)
        if not loud or float(sounding.mean()) < LULL_LIKENESS:
            return False
        moves_db, held = float(lull.std()), float((sounding > HELD_COSINE).mean())
        return moves_db >= NOISE_DB or (moves_db >= HUM_DB and held >= LEAST_HELD)

    def judge(self, channel: int) -> Sound | None:
        """What sounds in the channel; None when it is noise or nothing, or when that is not sure yet."""
        count = int(self._count[channel])
        order = np.arange(max(LAG_FRAMES, count - MEMORY_FRAMES), count) % MEMORY_FRAMES
        level, likeness = self._level[channel, order], self._likeness[channel, order]
        loud_dbfs = float(np.percentile(level, LOUDEST_PERCENTILE))
        self._peak_dbfs[channel] = max(loud_dbfs, float(self._peak_dbfs[channel]))
        sounding = level > loud_dbfs - SOUND_DB
        over = loud_dbfs < self._peak_dbfs[channel] - OVER_DB or not sounding[-OVER_FRAMES:].any()
        if loud_dbfs < LOWEST_DBFS or over:
            return None
        clipped = np.maximum(level, loud_dbfs - CLIP_DB)
        alike = float(likeness[sounding].mean())
        if int(sounding.sum()) < LEAST_SOUND_FRAMES:
            return None
        held = float((likeness[sounding] > HELD_COSINE).mean())
        pauses = float((level < loud_dbfs - QUIET_DB).mean())
        jumps = float(np.abs(np.diff(clipped)).mean())
        score = sum(
            weight * (value - neutral)
            for (neutral, weight), value in zip(
                (LIKENESS, PAUSES, JUMPS_DB, HELD), (alike, pauses, jumps, min(held, MOST_HELD)), strict=True
            )
        )
        steady = float(level[sounding].std()) < STEADY_DB
        changes = not steady or float(np.percentile(likeness[sounding], CHANGE_PERCENTILE)) < CHANGED_COSINE
        spoken = alike <= MOST_LIKENESS and not steady
        played = held >= LEAST_HELD and pauses <= MOST_PAUSES and changes
        if not (played if score > 0.0 else spoken):
            return None
        needed = next((sure for frames, sure in reversed(SURE) if count >= frames), SURE[0][1])
        if abs(score) < needed:
            return None
        return Sound(score, alike, held, pauses, jumps, count * FRAME_S, bool(sounding[-RECENT_FRAMES:].any()))
