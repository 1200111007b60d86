"""Where the last sound of a greeting died away, to 10 ms: looked for once, when the pause after it is long enough.

`activity` follows speech frame by frame with a floor from the past. That floor cannot be sharp: it must hold through
a greeting. Here the pause itself tells how the line sounds without speech, right now; so soft consonants after a
closure ("stop", "six") and the fading of a vowel are found some dB above the noise, and a television is not.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from telephony.cpa.bursts import FRAME_S
from telephony.cpa.history import Samples

LOOK_FRAMES: Final = 22
"""440 ms after the last frame that counted as talking; just before the shortest silence that makes a person."""

BEFORE_FRAMES: Final = 20  # of speech looked at: its peak, and how fast it falls

HOP_SAMPLES: Final = 80
HOPS: Final = 2  # in a frame
HOP_FRAMES: Final = 1 / HOPS
NOISE_HOPS: Final = 16  # the end of the pause: 160 ms
ABOVE_NOISE_DB: Final = 3.0
ABOVE_LOUDEST_NOISE_DB: Final = 2.5
BELOW_PEAK_DB: Final = 34.0
"""What is softer than this under the loudest syllable is not heard as part of a word, however quiet the line."""

GAP_HOPS: Final = 10
"""A plosive closes the mouth for up to 100 ms before it bursts; what comes later is a breath or a handset."""

REACH_HOPS: Final = 34  # no word ends so softly for longer
BACK_HOPS: Final = 6  # the hangover of `activity` may have counted a noise peak

REVERB_BELOW_PEAK_DB: Final = 24.0
REVERB_DROP_DB: Final = 18.0
REVERB_RANGE_DB: Final = 25.0
DROP_HOPS: Final = 5
LOUD_DB: Final = 15.0
"""In a room no level falls fast: where nothing in the last words fell by `REVERB_DROP_DB` within 50 ms from a loud
moment, though the noise lies deep enough to let it, what follows the last word is its echo."""

Floats = npt.NDArray[np.float64]


def tail_end(samples: Samples, talk_end: int) -> float:
    """
    End of the last sound.

    Args:
        samples: (n,) full scale 32768, speech and the whole pause after it until now, in whole frames.
        talk_end: frame of ``samples`` after the last that counted as talking.

    Returns: in frames of ``samples``, in steps of half a frame.
    """
    end = talk_end * HOPS
    if end <= 0 or len(samples) <= end * HOP_SAMPLES:
        return float(talk_end)
    single = _powers(samples)
    levels = _decibels(np.concatenate([single[:, :1], (single[:, 1:] + single[:, :-1]) / 2], axis=1))
    loudest = levels[:, : end + 1].max(axis=1)
    noise = levels[:, -min(NOISE_HOPS, levels.shape[1] - end) :]
    quiet, noisiest = np.median(noise, axis=1), noise.max(axis=1)
    below = REVERB_BELOW_PEAK_DB if _reverberates(levels[0], float(loudest[0]), float(quiet[0])) else BELOW_PEAK_DB
    threshold = np.maximum(np.maximum(quiet + ABOVE_NOISE_DB, noisiest + ABOVE_LOUDEST_NOISE_DB), loudest - below)
    # Two hops together are steadier than one, but go on for a hop too long.
    over = (np.minimum(levels, _decibels(single)) > threshold[:, None]).any(axis=0)
    heard = np.flatnonzero(over[: end + REACH_HOPS])
    before = heard[heard < end]
    last = max(end - BACK_HOPS, int(before[-1]) + 1 if len(before) else 0)
    for hop in heard[heard >= end].tolist():
        if hop - last < GAP_HOPS:
            last = hop + 1
    return last * HOP_FRAMES


def _powers(samples: Samples) -> Floats:
    """(2, hops): of the sound, and of its difference, in which consonants stand out."""
    sound = samples - samples.mean()
    edges = np.diff(sound, prepend=sound[:1])
    powers: Floats = np.stack([np.square(x).reshape(-1, HOP_SAMPLES).mean(axis=1) for x in (sound, edges)])
    return powers


def _decibels(powers: Floats) -> Floats:
    levels: Floats = 10 * np.log10(np.maximum(powers, 1.0))
    return levels


def _reverberates(levels: Floats, loudest_db: float, quiet_db: float) -> bool:
    drops = (levels[:-DROP_HOPS] - levels[DROP_HOPS:])[levels[:-DROP_HOPS] > loudest_db - LOUD_DB]
    return loudest_db - quiet_db > REVERB_RANGE_DB and float(drops.max(initial=0.0)) < REVERB_DROP_DB


def look_frames(shortest_silence_ms: int) -> int:
    """How long a pause must be before its beginning is looked for; ``shortest_silence_ms`` may end the greeting."""
    return max(1, min(LOOK_FRAMES, round(shortest_silence_ms / 1000 / FRAME_S) - 1))
