"""Which tone of a plan a sequence of bursts is.

The on and off durations heard so far are laid on each cadence of the plan at every starting point; a tone is found
when enough elements fit one kind and no other kind fits as well. Spain's busy (.2/.2) is thereby told from its
congestion (.2 six times, then .6) as soon as a pause decides.
"""

from itertools import pairwise
from typing import Final

from telephony.contract import VerdictKind
from telephony.cpa.bursts import Burst, is_torn_off
from telephony.cpa.spectrum import SINGLE_TONE
from telephony.cpa.tones import Tone, TonePlan

TOLERANCE_S: Final = 0.045
TOLERANCE_RATIO: Final = 0.14  # E.180 lets exchanges be 10 % off
FREQUENCY_RATIO: Final = 0.03
LOWEST_TOLERANCE_HZ: Final = 12.0
MAIN_LINE_RATIO: Final = 0.06  # 12 dB below the strongest
SHORT_FRAMES: Final = 9
"""The audio of a shorter burst does not tell lines apart that are 25 Hz from each other."""

MIN_ELEMENTS: Final = 3
"""On, off, on: less is one burst, which speech or a beep can imitate."""

SETTLE_ELEMENTS: Final = 9
"""So many elements without a decision: two kinds share the cadence, and the plan's order decides."""

FLEETING_S: Final = 0.095
"""Of bursts so short, as few as half are seen: whether they are depends on where the frames fall."""

FLEETING_TOLERANCE_S: Final = 0.02
FLEETING_BURSTS: Final = 4
FLEETING_PERIODS: Final = 1.8
OPEN_PAUSE_S: Final = 0.8
"""A ringback that nobody has answered is believed after its first burst and this much silence, if no other tone of
the plan has so long a pause after such a burst."""


def _tolerance(hz: float) -> float:
    return max(LOWEST_TOLERANCE_HZ, FREQUENCY_RATIO * hz)


def near_hz(tone: Tone) -> tuple[float, float]:
    """Lowest and highest centre of the energy that a burst of the tone may have, in Hz."""
    if len(tone.hz) == 1:
        return tone.hz[0] - _tolerance(tone.hz[0]), tone.hz[0] + _tolerance(tone.hz[0])
    low, high = min(tone.hz), max(tone.hz)
    margin = 0.12 * (high - low)  # a difference in level moves the centre: 6 dB by 0.3 of what lies between
    return low + margin, high - margin


def is_near(tone: Tone, burst: Burst) -> bool:
    """Whether the centre of a burst's energy may be that of the tone: all that can be said of a short burst."""
    if burst.code != SINGLE_TONE:
        return False
    low, high = near_hz(tone)
    return low <= burst.hz <= high


def may_become(tone: Tone, burst: Burst) -> bool:
    """Whether a young burst of several lines may be the beginning of the tone."""
    if not is_near(tone, burst) or not burst.lines:
        return False
    low, high = min(tone.hz) - tone.modulated_hz, max(tone.hz) + tone.modulated_hz
    main = [line for line in burst.lines if line.share >= 0.1 * burst.lines[0].share]
    if not all(low - 22.0 <= line.hz <= high + 22.0 for line in main):
        return False
    if high - low >= 80.0:
        return all(any(abs(line.hz - hz) <= 16.0 for line in main) for hz in tone.hz)
    return True


def matches_frequency(tone: Tone, burst: Burst) -> bool:
    """Whether a burst has the frequencies of a tone."""
    if not burst.lines or burst.end - burst.start < SHORT_FRAMES:
        return is_near(tone, burst)
    if burst.code != SINGLE_TONE:
        return False
    strongest = burst.lines[0]
    main = [
        line.hz
        for line in burst.lines
        if line.share >= MAIN_LINE_RATIO * strongest.share and not is_torn_off(line, strongest)
    ]
    if tone.modulated_hz:
        reach = 2.2 * tone.modulated_hz + 4.0
        return is_near(tone, burst) and all(abs(hz - tone.hz[0]) <= reach for hz in main)
    if len(tone.hz) == 1:
        return all(abs(hz - tone.hz[0]) <= _tolerance(tone.hz[0]) for hz in main)
    tolerance = min(_tolerance(tone.hz[0]), 0.45 * abs(tone.hz[1] - tone.hz[0]))
    return all(any(abs(hz - wanted) <= tolerance for hz in main) for wanted in tone.hz) and all(
        any(abs(hz - wanted) <= tolerance for wanted in tone.hz) for hz in main
    )


def identify(
    plan: TonePlan, bursts: list[Burst], sounding: Burst | None, first_cut: bool, pause_s: float | None = None
) -> Tone | None:
    """
    Find the tone that the latest bursts are.

    ``bursts`` have ended; ``sounding`` goes on now, so it closes the pause before it but has no duration yet.
    ``first_cut``: the first burst may have begun before analysis did. ``pause_s``: the silence since the last burst,
    where one burst and the silence after it may be believed (early media); None where they may not.
    """
    if not bursts:
        return None
    latest = sounding or bursts[-1]
    candidates = [tone for tone in plan.tones if tone.cadence_s and matches_frequency(tone, latest)]
    if not candidates:
        return None
    run = _latest_run(candidates, bursts)
    cut = first_cut and len(run) == len(bursts)
    # Old bursts are dropped one by one: a clipped first burst must not spoil what follows it for ever.
    for begin in range(max(0, len(run) - 7), len(run)):
        elements = elements_of(run[begin:], sounding)
        likely = [tone for tone in candidates if all(matches_frequency(tone, burst) for burst in run[begin:])]
        found = _decide(likely, elements, cut and begin == 0)
        if found is None and pause_s is not None and sounding is None:
            found = _decide_open(likely, elements, pause_s, cut and begin == 0)
        if found is not None:
            return found
    return next((tone for tone in candidates if _is_fleeting(tone) and _falls_on(tone, run[-8:])), None)


def _is_fleeting(tone: Tone) -> bool:
    return max(tone.cadence_s[::2]) <= FLEETING_S


def _falls_on(tone: Tone, run: list[Burst]) -> bool:
    """Whether all bursts of ``run`` begin where those of the cadence do, though some of these are missing."""
    period_s = sum(tone.cadence_s)
    begins_s = [sum(tone.cadence_s[:index]) for index in range(0, len(tone.cadence_s), 2)]
    if len(run) < FLEETING_BURSTS or run[-1].begin_s - run[0].begin_s < FLEETING_PERIODS * period_s:
        return False
    if any(abs(burst.duration_s - tone.cadence_s[0]) > FLEETING_TOLERANCE_S for burst in run):
        return False
    # From one burst to the next: errors of the exchange's clock do not add up.
    steps_s = [(after.begin_s - burst.begin_s) for burst, after in pairwise(run)]
    return any(_walks(begins_s, period_s, steps_s, at) for at in range(len(begins_s)))


def _walks(begins_s: list[float], period_s: float, steps_s: list[float], at: int) -> bool:
    for step_s in steps_s:
        reached_s = begins_s[at] + step_s
        # Exchanges are off by some percent of what lies between two bursts.
        tolerance_s = FLEETING_TOLERANCE_S + 0.05 * step_s
        off_s, at = min(
            (abs((reached_s - one_s + period_s / 2) % period_s - period_s / 2), index)
            for index, one_s in enumerate(begins_s)
        )
        if off_s > tolerance_s:
            return False
    return True


def _latest_run(candidates: list[Tone], bursts: list[Burst]) -> list[Burst]:
    """The latest bursts that are of one kind of tone."""
    run: list[Burst] = []
    for burst in reversed(bursts):
        if not any(matches_frequency(tone, burst) for tone in candidates):
            break
        run.insert(0, burst)
    return run


def elements_of(run: list[Burst], sounding: Burst | None) -> list[float]:
    """Durations in seconds, on and off in turn, of bursts of which ``sounding`` goes on."""
    elements: list[float] = []
    for burst, following in zip(run, [*run[1:], sounding], strict=True):
        elements.append(burst.duration_s)
        if following is not None:
            elements.append(following.begin_s - burst.finish_s)
    return elements


def _decide(candidates: list[Tone], elements: list[float], first_cut: bool) -> Tone | None:
    fitting = [(error, tone) for tone in candidates if (error := error_of(tone.cadence_s, elements, first_cut)) <= 1.0]
    if not fitting:
        return None
    kinds = {tone.kind for _, tone in fitting}
    best = fitting[0][1]
    if len(kinds) > 1 and len({tone.cadence_s for _, tone in fitting}) > 1:
        if len(elements) < SETTLE_ELEMENTS:
            return None
        best = min(fitting, key=lambda one: one[0])[1]
    # The long pause of a ringback, closed by its next burst, is evidence enough.
    needed = 2 if best.kind is VerdictKind.RINGBACK and len(best.cadence_s) == 2 else MIN_ELEMENTS
    return best if len(elements) >= needed else None


def _decide_open(candidates: list[Tone], elements: list[float], pause_s: float, first_cut: bool) -> Tone | None:
    """The ringback that a burst and the silence after it, which goes on, must be; None when they may be others."""
    if pause_s < OPEN_PAUSE_S or first_cut:
        return None
    fitting = [tone for tone in candidates if error_of(tone.cadence_s, elements, False, pause_s) <= 1.0]
    if not fitting or any(tone.kind is not VerdictKind.RINGBACK for tone in fitting):
        return None
    return fitting[0]


def error_of(
    cadence_s: tuple[float, ...], elements: list[float], first_cut: bool, open_pause_s: float | None = None
) -> float:
    """How far the worst element is off, in tolerances, at the best starting point; above 1 it does not fit."""
    best = float("inf")
    for shift in range(0, len(cadence_s), 2):
        worst = 0.0
        for index, heard_s in enumerate(elements):
            expected_s = cadence_s[(shift + index) % len(cadence_s)]
            tolerance_s = max(TOLERANCE_S, TOLERANCE_RATIO * expected_s)
            if first_cut and index == 0 and heard_s <= expected_s + tolerance_s:
                continue
            worst = max(worst, abs(heard_s - expected_s) / tolerance_s)
        if open_pause_s is not None:
            expected_s = cadence_s[(shift + len(elements)) % len(cadence_s)]
            worst = max(worst, open_pause_s / (expected_s + max(TOLERANCE_S, TOLERANCE_RATIO * expected_s)))
        best = min(best, worst)
    return best
