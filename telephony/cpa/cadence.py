"""Which tone of a plan a sequence of bursts is.

The on and off durations heard so far are laid on each cadence of the plan at every starting point; a tone is found
when enough elements fit one kind and no other kind fits as well. Spain's busy (.2/.2) is thereby told from its
congestion (.2 six times, then .6) as soon as a pause decides.
"""

from typing import Final

from telephony.contract import VerdictKind
from telephony.cpa.bursts import FRAME_S, Burst
from telephony.cpa.spectrum import FIRST_PAIR, SINGLE_TONE
from telephony.cpa.tones import PAIRS_HZ, Tone, TonePlan

TOLERANCE_S: Final = 0.05
TOLERANCE_RATIO: Final = 0.15
FREQUENCY_RATIO: Final = 0.022  # exchanges keep 1-2 %; 420, 425 and 440 are different plans
MIN_ELEMENTS: Final = 3
"""On, off, on: less is one burst, which speech or a beep can imitate."""

SETTLE_ELEMENTS: Final = 9
"""So many elements without a decision: two kinds share the cadence, and the plan's order decides."""


def matches_frequency(tone: Tone, burst: Burst) -> bool:
    """Whether a burst has the frequencies of a tone."""
    if len(tone.hz) == 2:
        return burst.code >= FIRST_PAIR and PAIRS_HZ[burst.code - FIRST_PAIR] == tone.hz
    return burst.code == SINGLE_TONE and abs(burst.hz - tone.hz[0]) <= FREQUENCY_RATIO * tone.hz[0]


def identify(plan: TonePlan, bursts: list[Burst], sounding: Burst | None, first_cut: bool) -> Tone | None:
    """
    Find the tone that the latest bursts are.

    ``bursts`` have ended; ``sounding`` goes on now, so it closes the pause before it but has no duration yet.
    ``first_cut``: the first burst may have begun before analysis did.
    """
    latest = sounding or (bursts[-1] if bursts else None)
    if latest is None:
        return None
    candidates = [tone for tone in plan.tones if matches_frequency(tone, latest)]
    if not candidates:
        return None
    run: list[Burst] = []
    for index in range(len(bursts) - 1, -1, -1):
        if not matches_frequency(candidates[0], bursts[index]):
            break
        run.insert(0, bursts[index])
    cut = first_cut and len(run) == len(bursts)
    # Old bursts are dropped one by one: a clipped first burst must not spoil what follows it for ever.
    for begin in range(max(0, len(run) - 7), len(run)):
        found = _decide(candidates, _elements(run[begin:], sounding), cut and begin == 0)
        if found is not None:
            return found
    return None


def _elements(run: list[Burst], sounding: Burst | None) -> list[float]:
    elements: list[float] = []
    for burst, following in zip(run, [*run[1:], sounding], strict=True):
        elements.append(burst.duration_s)
        if following is not None:
            elements.append((following.start - burst.end) * FRAME_S)
    return elements


def _decide(candidates: list[Tone], elements: list[float], first_cut: bool) -> Tone | None:
    fitting = [tone for tone in candidates if _fits(tone.cadence_s, elements, first_cut)]
    if not fitting:
        return None
    kinds = {tone.kind for tone in fitting}
    best = fitting[0]
    if len(kinds) > 1 and len(elements) < SETTLE_ELEMENTS and len({tone.cadence_s for tone in fitting}) > 1:
        return None
    # The long pause of a ringback, closed by its next burst, is evidence enough.
    needed = 2 if best.kind is VerdictKind.RINGBACK and len(best.cadence_s) == 2 else MIN_ELEMENTS
    return best if len(elements) >= needed else None


def _fits(cadence_s: tuple[float, ...], elements: list[float], first_cut: bool) -> bool:
    for shift in range(0, len(cadence_s), 2):
        for index, heard_s in enumerate(elements):
            expected_s = cadence_s[(shift + index) % len(cadence_s)]
            tolerance_s = max(TOLERANCE_S, TOLERANCE_RATIO * expected_s)
            if first_cut and index == 0 and heard_s <= expected_s + tolerance_s:
                continue
            if abs(heard_s - expected_s) > tolerance_s:
                break
        else:
            return True
    return False
