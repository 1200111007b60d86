"""Special information tones: three rising segments that say why a call failed.

North American form (Telcordia SR-2275): first segment 913.8 or 985.2 Hz, second 1370.6 or 1428.5 Hz, third 1776.7 Hz;
276 ms (short) or 380 ms (long) each. The two frequencies and the duration of the second segment are enough to tell
all causes apart, which matters because the beginning of the first segment is often cut off by the cut-through of
audio. The ITU form (E.180: 950/1400/1800 Hz, 330 ms each) carries no cause.
"""

from itertools import pairwise
from types import MappingProxyType
from typing import Final

from telephony.contract import VerdictKind
from telephony.cpa.bursts import Burst
from telephony.cpa.spectrum import SINGLE_TONE

FIRST_HZ: Final = (885.0, 1015.0)
SECOND_HZ: Final = (1340.0, 1465.0)
THIRD_HZ: Final = (1735.0, 1855.0)
FIRST_SPLIT_HZ: Final = (936.0, 964.0)  # between: the ITU tone
SECOND_SPLIT_HZ: Final = (1391.0, 1408.0)
LONG_FRAMES: Final = 16
"""A 276 ms segment fills 12-14 frames, one of 380 ms 17-19."""

MAX_GAP_FRAMES: Final = 9  # ITU allows 30 ms; a packet lost at the seam spoils several windows
PARTIAL_GAP_FRAMES: Final = 25
MIN_SEGMENT_FRAMES: Final = 8
MAX_SEGMENT_FRAMES: Final = 26
CONFIRM_FRAMES: Final = 6
"""The third segment must last this long: then the second is complete, and no chirp is taken for a SIT."""

CAUSE_OF_TONES: Final = MappingProxyType(
    {
        # (first is high, second is high, second is long)
        (False, False, False): VerdictKind.SIT_INTERCEPT,
        (True, False, False): VerdictKind.SIT_VACANT,
        (False, True, True): VerdictKind.SIT_REORDER,
        (True, False, True): VerdictKind.SIT_REORDER,
        (True, True, True): VerdictKind.SIT_NO_CIRCUIT,
        (False, False, True): VerdictKind.SIT_NO_CIRCUIT,
        (False, True, False): VerdictKind.SIT_INEFFECTIVE,
    }
)


def is_third_segment(burst: Burst) -> bool:
    """Whether a burst may be the last segment of a SIT."""
    return burst.code == SINGLE_TONE and THIRD_HZ[0] <= burst.hz <= THIRD_HZ[1]


def may_be_segment(burst: Burst) -> bool:
    """Whether a finished burst may be the first or second segment."""
    in_band = FIRST_HZ[0] <= burst.hz <= FIRST_HZ[1] or SECOND_HZ[0] <= burst.hz <= SECOND_HZ[1]
    return burst.code == SINGLE_TONE and in_band and burst.end - burst.start <= MAX_SEGMENT_FRAMES


def classify(before: list[Burst], third: Burst) -> VerdictKind | None:
    """
    Judge the bursts that ended before the running ``third`` segment; None when this is no SIT at all.

    Without a first or without a second segment it is a SIT of unknown cause.
    """
    if not is_third_segment(third):
        return None
    second = first = None
    next_start = third.start
    for burst in reversed(before[-3:]):
        if burst.code != SINGLE_TONE or next_start - burst.end > MAX_GAP_FRAMES:
            break
        if second is None and first is None and SECOND_HZ[0] <= burst.hz <= SECOND_HZ[1]:
            second = burst
        elif first is None and FIRST_HZ[0] <= burst.hz <= FIRST_HZ[1]:
            first = burst
            break
        else:
            break
        next_start = burst.start
    if second is None and first is None:
        return None
    lengths = [b.end - b.start for b in (second, first) if b is not None]
    if lengths[0] < MIN_SEGMENT_FRAMES or max(lengths) > MAX_SEGMENT_FRAMES:
        return None
    if second is None:
        return VerdictKind.SIT_UNKNOWN
    second_long = second.end - second.start >= LONG_FRAMES
    second_high = _high(second.hz, SECOND_SPLIT_HZ)
    if second_high is None:
        return VerdictKind.SIT_UNKNOWN
    if first is None:
        # Only IO has a short high second segment; every other one leaves two causes.
        return VerdictKind.SIT_INEFFECTIVE if second_high and not second_long else VerdictKind.SIT_UNKNOWN
    first_high = _high(first.hz, FIRST_SPLIT_HZ)
    if first_high is None:
        return VerdictKind.SIT_UNKNOWN
    return CAUSE_OF_TONES.get((first_high, second_high, second_long), VerdictKind.SIT_UNKNOWN)


def classify_partial(bursts: list[Burst]) -> VerdictKind | None:
    """
    Judge finished bursts that no third segment followed in time, or whose seams were lost; None when this is no SIT.

    Two segments in rising order within a second are a SIT: no recording beeps like that.
    """
    bands = (FIRST_HZ, SECOND_HZ, THIRD_HZ)
    found: list[tuple[int, Burst]] = []
    for burst in bursts[-3:]:
        band = next((i for i, (low, high) in enumerate(bands) if low <= burst.hz <= high), None)
        length = burst.end - burst.start
        if burst.code == SINGLE_TONE and band is not None and MIN_SEGMENT_FRAMES <= length <= MAX_SEGMENT_FRAMES:
            found.append((band, burst))
    rising = [(one, other) for one, other in pairwise(found) if one[0] < other[0]]
    close = [(one, other) for one, other in rising if other[1].start - one[1].end <= PARTIAL_GAP_FRAMES]
    if not close:
        return None
    (band, first), (next_band, second) = close[0]
    if (band, next_band) != (0, 1):
        return VerdictKind.SIT_UNKNOWN
    high = _high(first.hz, FIRST_SPLIT_HZ), _high(second.hz, SECOND_SPLIT_HZ)
    if None in high:
        return VerdictKind.SIT_UNKNOWN
    long_second = second.end - second.start >= LONG_FRAMES
    return CAUSE_OF_TONES.get((bool(high[0]), bool(high[1]), long_second), VerdictKind.SIT_UNKNOWN)


def _high(hz: float, split_hz: tuple[float, float]) -> bool | None:
    """True for the high, False for the low tone, None between (the ITU tone)."""
    if hz >= split_hz[1]:
        return True
    return False if hz <= split_hz[0] else None
