"""Special information tones: three rising segments that say why a call failed.

North American form (Telcordia SR-2275): first segment 913.8 or 985.2 Hz, second 1370.6 or 1428.5 Hz, third 1776.7 Hz;
276 ms (short) or 380 ms (long) each. The two frequencies and the duration of the second segment are enough to tell
all causes apart, which matters because the beginning of the first segment is often cut off by the cut-through of
audio. The ITU form (E.180: 950/1400/1800 Hz with up to 50 Hz off, 330 ms each) carries no cause.

The two forms overlap: 1370.6 and 1428.5 Hz are ITU's 1400 Hz to within its tolerance. What tells them apart is that the
American tones are exact: each segment stands near its own frequency, and all are off by the same ratio.
"""

from itertools import pairwise
from types import MappingProxyType
from typing import Final

from telephony.contract import VerdictKind
from telephony.cpa.bursts import Burst

FIRST_HZ: Final = (885.0, 1015.0)
SECOND_HZ: Final = (1335.0, 1468.0)
THIRD_HZ: Final = (1730.0, 1862.0)
FIRST_TONES_HZ: Final = (913.8, 985.2)
SECOND_TONES_HZ: Final = (1370.6, 1428.5)
THIRD_TONE_HZ: Final = 1776.7
EXACT_RATIO: Final = 0.016
"""Exchanges keep 0.5 to 1.5 %; ITU's nominal 1400 Hz is 2 % from either of North America's, its 950 Hz 4 %."""

LONG_S: Final = 0.328  # halfway between 276 and 380 ms
UNSURE_S: Final = 0.025
"""So near to that limit the length of the first segment, which may be clipped, decides."""

ITU_LENGTH_S: Final = (0.305, 0.348)
"""Two segments of one length between North America's two are ITU's, whatever their frequencies."""

EQUAL_S: Final = 0.025
THIRD_S: Final = 0.38
AGREEMENT_RATIO: Final = 0.007
"""The segments of one exchange are off by the same ratio."""
MAX_GAP_S: Final = 0.25  # ITU allows 30 ms; packets lost at the seam add their own
SEAM_S: Final = 0.05  # a longer gap hides the end of one segment or the beginning of the next
MISSING_GAP_S: Final = 0.5  # between first and third, where the second was lost
PARTIAL_GAP_S: Final = 0.5
SEGMENT_S: Final = (0.12, 0.5)
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


def _hz(burst: Burst) -> float:
    return burst.lines[0].hz if burst.lines else burst.hz


def _within(burst: Burst, band: tuple[float, float]) -> bool:
    return burst.is_one_line and band[0] <= _hz(burst) <= band[1]


def is_third_segment(burst: Burst) -> bool:
    """Whether a burst may be the last segment of a SIT."""
    return _within(burst, THIRD_HZ)


def may_be_segment(burst: Burst) -> bool:
    """Whether a finished burst may be the first or second segment."""
    return (_within(burst, FIRST_HZ) or _within(burst, SECOND_HZ)) and burst.duration_s <= SEGMENT_S[1]


def classify(before: list[Burst], third: Burst) -> VerdictKind | None:
    """
    Judge the bursts that ended before the running ``third`` segment; None when this is no SIT at all.

    Without a first or without a second segment it is a SIT of unknown cause. ``third`` has ``ended_s`` when it is over:
    where a lost packet hides the end of the second segment, only then is its cause known.
    """
    if not is_third_segment(third):
        return None
    second = first = None
    next_begin_s = third.begin_s
    for burst in reversed(before[-3:]):
        gap_s = next_begin_s - burst.finish_s
        if gap_s > (MISSING_GAP_S if second is None and _within(burst, FIRST_HZ) else MAX_GAP_S):
            break
        if second is None and first is None and _within(burst, SECOND_HZ):
            second = burst
        elif first is None and _within(burst, FIRST_HZ):
            first = burst
            break
        else:
            break
        next_begin_s = burst.begin_s
    lengths_s = [b.duration_s for b in (second, first) if b is not None]
    if not lengths_s or lengths_s[0] < SEGMENT_S[0] or max(lengths_s) > SEGMENT_S[1]:
        return None
    hidden_s = third.begin_s - second.finish_s if second is not None else 0.0
    open_seam = third.ended_s < 0.0 and hidden_s > SEAM_S
    if second is not None and open_seam and second.duration_s < LONG_S <= second.duration_s + hidden_s:
        return None  # the end of the third segment will tell how long the second was
    return _cause(first, second, third)


def classify_partial(bursts: list[Burst]) -> VerdictKind | None:
    """
    Judge finished bursts that no third segment followed in time, or whose seams were lost; None when this is no SIT.

    Two segments in rising order within a second are a SIT: no recording beeps like that.
    """
    bands = (FIRST_HZ, SECOND_HZ, THIRD_HZ)
    found: list[tuple[int, Burst]] = []
    for burst in bursts[-3:]:
        band = next((i for i, limits in enumerate(bands) if _within(burst, limits)), None)
        if band is not None and SEGMENT_S[0] <= burst.duration_s <= SEGMENT_S[1]:
            found.append((band, burst))
    for (band, first), (next_band, second) in pairwise(found):
        if band < next_band and second.begin_s - first.finish_s <= PARTIAL_GAP_S:
            return _cause(first, second, None) if (band, next_band) == (0, 1) else VerdictKind.SIT_UNKNOWN
    return None


def _cause(first: Burst | None, second: Burst | None, third: Burst | None) -> VerdictKind:
    if second is None:
        return VerdictKind.SIT_UNKNOWN
    off = [_deviation(burst, tones) for burst, tones in _tones_of(first, second, third)]
    if max(off) - min(off) > AGREEMENT_RATIO or max(map(abs, off)) > EXACT_RATIO:
        return VerdictKind.SIT_UNKNOWN
    second_high = _high(_hz(second), SECOND_TONES_HZ)
    if second_high is None:
        return VerdictKind.SIT_UNKNOWN
    second_s = _second_length_s(second, third)
    second_long = second_s >= LONG_S
    if first is not None and abs(second_s - LONG_S) < UNSURE_S:
        lengths_s = first.duration_s, second_s
        if abs(lengths_s[0] - lengths_s[1]) < EQUAL_S and all(ITU_LENGTH_S[0] < s < ITU_LENGTH_S[1] for s in lengths_s):
            return VerdictKind.SIT_UNKNOWN
        mixed = _high(_hz(first), FIRST_TONES_HZ) != second_high  # the causes with mixed tones have mixed lengths
        second_long = lengths_s[1] > lengths_s[0] if mixed else sum(lengths_s) > 2 * LONG_S
    if first is None:
        # Only IO has a short high second segment; every other one leaves two causes.
        return VerdictKind.SIT_INEFFECTIVE if second_high and not second_long else VerdictKind.SIT_UNKNOWN
    first_high = _high(_hz(first), FIRST_TONES_HZ)
    if first_high is None:
        return VerdictKind.SIT_UNKNOWN
    return CAUSE_OF_TONES.get((first_high, second_high, second_long), VerdictKind.SIT_UNKNOWN)


def _second_length_s(second: Burst, third: Burst | None) -> float:
    """
    Length of the second segment; where lost packets hide its end, from the end of the third, which is always long.
    """
    if third is None or third.begin_s - second.finish_s <= SEAM_S:
        return second.duration_s
    if third.ended_s >= 0.0:
        return third.ended_s - THIRD_S - second.begin_s
    return second.duration_s + (third.begin_s - second.finish_s) / 2


def _tones_of(first: Burst | None, second: Burst, third: Burst | None) -> list[tuple[Burst, tuple[float, ...]]]:
    heard = [(first, FIRST_TONES_HZ), (second, SECOND_TONES_HZ), (third, (THIRD_TONE_HZ,))]
    return [(burst, tones) for burst, tones in heard if burst is not None]


def _deviation(burst: Burst, tones_hz: tuple[float, ...]) -> float:
    """By what ratio a segment is off the nearest of the North American tones."""
    hz = _hz(burst)
    near = min(tones_hz, key=lambda tone: abs(hz - tone))
    return hz / near - 1.0


def _exact(hz: float, wanted: float) -> bool:
    return abs(hz - wanted) <= EXACT_RATIO * wanted


def _high(hz: float, tones_hz: tuple[float, float]) -> bool | None:
    """True for the high, False for the low tone of North America, None for neither (the ITU tone)."""
    near = min(tones_hz, key=lambda tone: abs(hz - tone))
    return near == tones_hz[1] if _exact(hz, near) else None
