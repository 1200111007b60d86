"""What call progress analysis made of a demo's calls, held against what each of them really was. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from ocsd.demo.report import (
    NOT_JUDGED,
    PEOPLE_WITHOUT_AGENT,
    PERSON,
    AttemptRow,
    expected_results,
    title_of,
)
from ocsd.model.enums import CallResult
from telephony.simworld.plan import IN_BAND, MACHINES, PEOPLE, NumberClass
from telephony.simworld.truth import CANCELLED

Truth = Mapping[str, Any]

ON_TIME_S: Final = 0.8
"""A verdict on a person should be there so long after the end of the greeting: 1.2 s are then left for an agent, of the
two seconds of the United States' rule (16 CFR 310.4(b)(4))."""

CLASSES: Final = frozenset(NumberClass)
"""All others are calls that the carrier did not even take."""

QUANTILES: Final = (0.5, 0.95, 0.99)


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of all does not exceed; ``values`` sorted, not empty."""
    return values[max(0, -int(-share * len(values) // 1) - 1)]


def percentiles(values: Iterable[float]) -> dict[str, float | int]:
    """``count``, ``p50_s``, ``p95_s``, ``p99_s`` and ``max_s``; only ``count`` of nothing."""
    ordered = sorted(values)
    told: dict[str, float | int] = {"count": len(ordered)}
    if ordered:
        told |= {f"p{100 * share:.0f}_s": round(quantile(ordered, share), 3) for share in QUANTILES}
        told["max_s"] = round(ordered[-1], 3)
    return told


def judged(attempts: Iterable[AttemptRow], truths: Sequence[Truth]) -> Iterator[tuple[AttemptRow, Truth]]:
    """Pairs of attempt and call that have something to say; see `NOT_JUDGED` and `CANCELLED` for the others."""
    by_number = {truth["number"].lstrip("+"): truth for truth in truths}
    for attempt in attempts:
        truth = by_number.get(attempt.phone.lstrip("+"))
        if truth is None or attempt.call_result is None or attempt.call_result in NOT_JUDGED:
            continue
        if truth["class"] != CANCELLED:
            yield attempt, truth


def confusion(pairs: Iterable[tuple[AttemptRow, Truth]]) -> dict[str, dict[str, Any]]:
    """Of each class: how many there were, how many got a right result, and how often each result was given."""
    given: dict[str, Counter[str]] = defaultdict(Counter)
    right: Counter[str] = Counter()
    for attempt, truth in pairs:
        assert attempt.call_result is not None
        given[truth["class"]][title_of(attempt.call_result)] += 1
        right[truth["class"]] += attempt.call_result in expected_results(truth)
    return {
        name: {
            "calls": results.total(),
            "right": right[name],
            "truth_match": round(right[name] / results.total(), 4),
            "results": dict(results.most_common()),
        }
        for name, results in sorted(given.items())
    }


def misses(pairs: Iterable[tuple[AttemptRow, Truth]]) -> list[dict[str, Any]]:
    """Every call with a wrong result: what was played on which line, and all that the analysis said of it."""
    return [
        {
            "attempt_id": attempt.attempt_id,
            "class": truth["class"],
            "result": title_of(attempt.call_result),
            **{key: truth[key] for key in PLAYED if key in truth},
            "verdicts": list(attempt.verdicts or ()),
        }
        for attempt, truth in pairs
        if attempt.call_result is not None and attempt.call_result not in expected_results(truth)
    ]


PLAYED: Final = ("number", "country", "early", "answer", "level_db", "noise_dbfs", "loss_ratio", "late_ratio")


def latencies(pairs: Iterable[tuple[AttemptRow, Truth]]) -> dict[str, dict[str, Any]]:
    """
    When verdicts came, by class: ``after_answer``, for people ``after_greeting`` too, and what early media told
    ``after_media`` began. Below 0 it came before the end of the greeting.
    """
    waits: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for attempt, truth in pairs:
        if attempt.decided_s is None or truth["class"] not in CLASSES or "epoch_offset_s" not in truth:
            continue
        at_s = attempt.decided_s - truth["epoch_offset_s"]
        number_class = NumberClass(truth["class"])
        if truth["answered_at_s"] is not None:
            waits[number_class]["after_answer"].append(at_s - truth["answered_at_s"])
            if number_class in PEOPLE and truth["greeting_ended_at_s"] is not None:
                waits[number_class]["after_greeting"].append(at_s - truth["greeting_ended_at_s"])
        elif number_class in IN_BAND and truth["rang_at_s"] is not None:
            waits[number_class]["after_media"].append(at_s - truth["rang_at_s"])
    return {
        name: {kind: percentiles(values) for kind, values in kinds.items()} for name, kinds in sorted(waits.items())
    }


def beeps(pairs: Iterable[tuple[AttemptRow, Truth]]) -> dict[str, float | int]:
    """
    Beeps of machines: how many sounded while the call was up, how many of them were found, and how far their measured
    beginnings are from the true ones (absolute, seconds; ``count`` of them could be compared).

    The demo's dialer hangs up on machines, so that few calls live to hear one. Beginnings are measured from the start
    of the analysis, which is the answer only where there were no early media.
    """
    sounded = found = 0
    off_s: list[float] = []
    for attempt, truth in pairs:
        if truth["class"] not in MACHINES or truth.get("beep_at_s") is None or truth["answered_at_s"] is None:
            continue
        sounded += 1
        heard = next((verdict for verdict in attempt.verdicts or () if verdict["kind"] == "beep"), None)
        if heard is None:
            continue
        found += 1
        begin_s = heard.get("figures", {}).get("beep_at_s")
        if begin_s is not None and not truth["early"]:
            off_s.append(abs(float(begin_s) - (truth["beep_at_s"] - truth["answered_at_s"])))
    return {"sounded": sounded, "found": found} | percentiles(off_s)


def people_lost(pairs: Iterable[tuple[AttemptRow, Truth]]) -> dict[str, Any]:
    """
    Calls counted as abandoned, and people lost without being counted, each by its cause.

    ``waiting_for_agent`` is the dialer's pacing; ``late_verdict`` and ``wrong_verdict`` are the analysis: the person
    waited longer for it than for an agent, or was taken for something else and hung up on. ``no_person``: an abandoned
    call that counts against the dialer though nobody was there, because something had been taken for a person.
    ``left_at_once``: hung up in the greeting or right after it, whatever the dialer did.
    """
    lost: Counter[str] = Counter()
    taken_for: Counter[str] = Counter()
    abandoned = late = 0
    for attempt, truth in pairs:
        assert attempt.call_result is not None
        is_person = truth["class"] in PEOPLE
        counted = attempt.call_result in PEOPLE_WITHOUT_AGENT
        abandoned += counted
        if not is_person:
            lost["no_person"] += counted
            continue
        if (waited_s := after_greeting_s(attempt, truth)) is not None:
            late += waited_s > ON_TIME_S
        if attempt.call_result not in PERSON | {CallResult.REMOTE_RELEASE}:
            lost["wrong_verdict"] += 1
            taken_for[title_of(attempt.call_result)] += 1
        elif truth["class"] == NumberClass.HANGUP_EARLY and attempt.call_result != CallResult.ANSWER:
            lost["left_at_once"] += 1
        elif counted or attempt.call_result == CallResult.REMOTE_RELEASE:
            lost["late_verdict" if attempt.lost_waiting_for == "analysis" else "waiting_for_agent"] += 1
    return {
        "abandoned": abandoned,
        "verdicts_later_than_0.8_s": late,
        **{cause: lost[cause] for cause in CAUSES},
        "taken_for": dict(taken_for.most_common()),
    }


CAUSES: Final = ("waiting_for_agent", "late_verdict", "wrong_verdict", "no_person", "left_at_once")


def after_greeting_s(attempt: AttemptRow, truth: Truth) -> float | None:
    """From the end of a person's greeting to the verdict; None when one of them is missing."""
    ended_s = truth.get("greeting_ended_at_s")
    if attempt.decided_s is None or ended_s is None or "epoch_offset_s" not in truth:
        return None
    return float(attempt.decided_s - truth["epoch_offset_s"] - ended_s)


def analysis_report(attempts: Sequence[AttemptRow], truths: Sequence[Truth]) -> dict[str, Any]:
    """All of the above, for the report file."""
    pairs = list(judged(attempts, truths))
    people = [
        waited_s
        for attempt, truth in pairs
        if truth["class"] in PEOPLE and (waited_s := after_greeting_s(attempt, truth)) is not None
    ]
    return {
        "confusion": confusion(pairs),
        "misses": misses(pairs),
        "latency": latencies(pairs),
        "people_after_greeting": percentiles(people),
        "beeps": beeps(pairs),
        "lost": people_lost(pairs),
    }
