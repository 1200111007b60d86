"""Tones of other networks than the plan's, judged by what the plans of all countries say of them.

A call rings or is busy with the tones of wherever it got to: abroad, at a roaming mobile, at an exchange or gateway of
a company. When nothing of the plan fits what is heard, for two cycles, the other plans vote:

    all plans that have this tone agree ---------------------> that kind
    they do not, or none has it, but on and off are equal,
      and short --------------------------------------------> what most of them say, busy when in doubt
      burst of 0.4 to 2 s, pause of 1.9 s or more -----------> ringback: there is no other tone with such pauses

Continuous tones are left alone: what is "number unobtainable" here is a dial tone there.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from telephony.contract import VerdictKind
from telephony.cpa.bursts import Burst
from telephony.cpa.cadence import elements_of, error_of, matches_frequency
from telephony.cpa.finding import Judgement
from telephony.cpa.tones import GENERIC_PLAN, TONE_PLANS, Cadence, Tone, TonePlan

TONE_HZ: Final = (340.0, 640.0)
"""Call progress tones are between these; recording tones, pagers and terminals mostly above."""

LEAST_SPAN_S: Final = 1.5
LEAST_BURSTS: Final = 3
"""Of a tone that ends the analysis; a ringback's long pause, closed by its next burst, takes two."""

ANSWERED_SPAN_S: Final = 3.0
ANSWERED_BURSTS: Final = 6
"""The same after the answer, where machines beep: rows of recording tones are shorter."""

MAJORITY: Final = 0.6
UNKNOWN_BURSTS: Final = 5
"""A cadence that no plan has is heard for longer."""

EVEN_S: Final = (0.12, 0.6)
EVEN_RATIO: Final = 0.12
EVEN_STEP_S: Final = 0.03
RING_BURST_S: Final = (0.4, 2.2)
RING_PAUSE_S: Final = (1.9, 6.5)
RING_EVEN_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class _Known:
    """One frequency (or sum, or modulation) of the world: its cadences, each with the plans' votes for kinds."""

    tone: Tone
    cadences: tuple[tuple[Cadence, Counter[VerdictKind]], ...]


def _known() -> tuple[_Known, ...]:
    votes: dict[tuple[tuple[float, ...], float], dict[Cadence, Counter[VerdictKind]]] = {}
    first: dict[tuple[tuple[float, ...], float], Tone] = {}
    for plan in {plan.tones: plan for plan in TONE_PLANS.values() if plan.name != GENERIC_PLAN}.values():
        said: set[tuple[tuple[float, ...], float, Cadence]] = set()
        for tone in plan.tones:
            key = (tone.hz, tone.modulated_hz)
            # Where busy and congestion share a cadence, the plan's first one counts.
            if tone.cadence_s and (*key, tone.cadence_s) not in said:
                said.add((*key, tone.cadence_s))
                first.setdefault(key, tone)
                votes.setdefault(key, {}).setdefault(tone.cadence_s, Counter())[tone.kind] += 1
    return tuple(_Known(first[key], tuple(cadences.items())) for key, cadences in votes.items())


KNOWN: Final = _known()


def judge(
    plan: TonePlan, bursts: Sequence[Burst], sounding: Burst | None, first_cut: bool, answered: bool
) -> Judgement | None:
    """
    Judge bursts that no tone of ``plan`` explains; None when the plan may still, or when no kind is sure.

    Args:
        bursts: those that have ended.
        sounding: the one that goes on now.
        first_cut: the first burst may have begun before the analysis did.
        answered: the call is answered, so recording tones and pagers may be heard too.
    """
    if len(bursts) < 2:
        return None
    latest = sounding or bursts[-1]
    if not TONE_HZ[0] <= latest.hz <= TONE_HZ[1]:
        return None
    known = [one for one in KNOWN if matches_frequency(one.tone, latest)]
    if not known:
        return None
    run: list[Burst] = []
    for burst in reversed(bursts):
        if not any(matches_frequency(one.tone, burst) for one in known):
            break
        run.insert(0, burst)
    for begin in range(len(run) - 1):
        part = run[begin:]
        cut = first_cut and len(part) == len(bursts)
        elements = elements_of(part, sounding)
        if _plan_may_have_it(plan, part, elements, cut):
            return None
        fitting = [one for one in known if all(matches_frequency(one.tone, burst) for burst in part)]
        kind, plans = _vote(fitting, elements, cut)
        if kind is None:
            kind, plans = _shape(elements[1:] if cut and begin == 0 else elements), 0
        if kind is not None and _is_long_enough(kind, part, elements, answered):
            return Judgement(kind, f"{kind} tone of another network", _evidence(part[-1], elements, plans))
    return None


def _plan_may_have_it(plan: TonePlan, part: list[Burst], elements: list[float], cut: bool) -> bool:
    return any(
        tone.cadence_s
        and error_of(tone.cadence_s, elements, cut) <= 1.0
        and all(matches_frequency(tone, burst) for burst in part)
        for tone in plan.tones
    )


def _vote(known: list[_Known], elements: list[float], cut: bool) -> tuple[VerdictKind | None, int]:
    """The kind that all plans agree on, or most where that is safe, and how many said so; None without such a one."""
    votes: Counter[VerdictKind] = Counter()
    for one in known:
        for cadence_s, kinds in one.cadences:
            # Two full cycles; the last pause is closed by nothing when it is a ringback's.
            needed = 2 * len(cadence_s) - (VerdictKind.RINGBACK in kinds)
            if len(elements) >= needed and error_of(cadence_s, elements, cut) <= 1.0:
                votes.update(kinds)
    if not votes:
        return None, 0
    kind, number = votes.most_common(1)[0]
    if len(votes) == 1:
        return kind, number
    if VerdictKind.RINGBACK in votes or not _is_even(elements):
        return None, 0
    if number < MAJORITY * votes.total():
        return VerdictKind.BUSY, votes[VerdictKind.BUSY]
    return kind, number


def _is_even(elements: list[float]) -> bool:
    """Whether on and off are equal, and short: the whole world's way to say that a call cannot be put through."""
    low, high = min(elements), max(elements)
    return EVEN_S[0] <= low and high <= EVEN_S[1] and high - low <= max(2 * EVEN_STEP_S, 2 * EVEN_RATIO * high)


def _shape(elements: list[float]) -> VerdictKind | None:
    """The kind of a cadence that no plan has, when its shape alone tells."""
    ons, offs = elements[::2], elements[1::2]
    if len(ons) >= UNKNOWN_BURSTS and _is_even(elements):
        steady = max(max(ons) - min(ons), max(offs) - min(offs)) <= 2 * EVEN_STEP_S
        return VerdictKind.BUSY if steady else None
    rings = all(RING_BURST_S[0] <= on <= RING_BURST_S[1] for on in ons) and max(ons) - min(ons) <= 2 * RING_EVEN_S
    pauses = all(RING_PAUSE_S[0] <= off <= RING_PAUSE_S[1] for off in offs) and len(offs) > 0
    if rings and pauses and len(ons) >= LEAST_BURSTS and max(offs) - min(offs) <= 2 * RING_EVEN_S:
        return VerdictKind.RINGBACK
    return None


def _is_long_enough(kind: VerdictKind, part: list[Burst], elements: list[float], answered: bool) -> bool:
    if answered:
        ringing = kind is VerdictKind.RINGBACK
        return sum(elements) >= ANSWERED_SPAN_S and len(part) >= (LEAST_BURSTS if ringing else ANSWERED_BURSTS)
    if kind is VerdictKind.RINGBACK:
        return True
    return sum(elements) >= LEAST_SPAN_S and (len(part) >= LEAST_BURSTS or sum(elements) >= 2 * LEAST_SPAN_S)


def _evidence(burst: Burst, elements: list[float], plans: int) -> dict[str, float]:
    heard = {
        "foreign": 1.0,
        "plans": float(plans),
        "hz": burst.lines[0].hz if burst.lines else burst.hz,
        "tone_s": elements[-2] if len(elements) % 2 == 0 else elements[-1],
        "pause_s": elements[-1] if len(elements) % 2 == 0 else elements[-2],
    }
    if len(burst.lines) > 1 and not burst.is_one_line:
        heard["second_hz"] = burst.lines[1].hz
    return heard
