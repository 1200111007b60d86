"""How often an analysis is right, and how fast: confusion matrix, rates with confidence intervals, percentiles."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ocsd.cpa.manifest import Entry
from ocsd.cpa.results import LABEL_KINDS, RESULTS, Analysed
from telephony.contract import VerdictKind

Z_95: Final = 1.959964
BEEP_WITHIN_S: Final = 0.1
PERSON_WITHIN_S: Final = 0.8
"""A verdict on a person so soon after the greeting leaves most of the legal 2 s (16 CFR 310.4(b)(4)(iii))."""

ROUNDING_S: Final = 1e-6
HUMAN: Final = "human"
MACHINE: Final = "machine"
SIT: Final = frozenset(name for name in RESULTS if name == "sit" or name.startswith("sit_"))


@dataclass(frozen=True, slots=True)
class Rate:
    """``count`` of ``of``; the interval is Wilson's (1927) at 95 %. All 0 where ``of`` is."""

    count: int
    of: int
    ratio: float
    low: float
    high: float

    @staticmethod
    def of_counts(count: int, of: int) -> "Rate":
        if of == 0:
            return Rate(0, 0, 0.0, 0.0, 0.0)
        ratio = count / of
        spread = Z_95 * float(np.sqrt(ratio * (1 - ratio) / of + Z_95**2 / (4 * of**2)))
        middle, scale = ratio + Z_95**2 / (2 * of), 1 + Z_95**2 / of
        low = 0.0 if count == 0 else (middle - spread) / scale
        high = 1.0 if count == of else (middle + spread) / scale
        return Rate(count, of, round(ratio, 5), round(low, 5), round(high, 5))


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Seconds; of ``of`` values, None without any."""

    of: int
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None

    @staticmethod
    def of_values(values: Iterable[float]) -> "Percentiles":
        found = np.array(list(values), dtype=np.float64)
        if not len(found):
            return Percentiles(0, None, None, None)
        # The value that so many reach, not one between two: a percentile of few values must be one of them.
        p50, p95, p99 = np.percentile(found, (50, 95, 99), method="higher").tolist()
        return Percentiles(len(found), round(p50, 3), round(p95, 3), round(p99, 3))


@dataclass(frozen=True, slots=True)
class ClassScore:
    label: str
    recall: Rate
    precision: Rate
    decision: Percentiles
    """``decision_time_s`` of recordings of this class that were recognised."""


@dataclass(frozen=True, slots=True)
class People:
    """
    Persons and machines: what people hate about dialers.

    Attributes:
        human_as_machine: persons whose verdict in the end is a machine.
        human_missed: persons whose verdict in the end is anything but a person.
        machine_caught, machine_as_human: of machines.
        first_human_as_machine: persons who were taken for a machine at first, whatever was said later: a live call is
            hung up or given an announcement at that moment.
        first_machine_as_human: machines that an agent would have been given, even if corrected later.
        undecided: both, of which nothing was known when the time guard ran out, or at all. The former count as persons
            above, because that is what becomes of such a call.
    """

    human_as_machine: Rate
    human_missed: Rate
    machine_caught: Rate
    machine_as_human: Rate
    first_human_as_machine: Rate
    first_machine_as_human: Rate
    undecided: Rate


@dataclass(frozen=True, slots=True)
class AfterSpeech:
    """
    From the end of a person's greeting to the verdict, of persons who were recognised.

    Attributes:
        end_from: who tells that end: manifest, analyser.
        delay: negative where a pause inside the greeting was taken for its end.
        within: share decided within 0.8 s, those too early among them.
        early: share decided before the end.
    """

    end_from: str
    delay: Percentiles
    within: Rate
    early: Rate


@dataclass(frozen=True, slots=True)
class Beeps:
    """
    Recording tones, of recordings whose manifest says when there is one.

    Attributes:
        found: share that was heard.
        within: share heard within 100 ms of its beginning.
        error: size of the error, of those that were heard.
        false: heard where the manifest says that there is none.
    """

    found: Rate
    within: Rate
    error: Percentiles
    false: Rate


@dataclass(frozen=True, slots=True)
class Failure:
    file: str
    label: str
    result: str
    first: str | None
    cause: str
    decision_time_s: float
    tone_plan: str
    source: str


@dataclass(frozen=True, slots=True)
class Score:
    """
    Attributes:
        right: recordings whose result is their label.
        special_information: special information tones (labels and results sit, sit_ic, ...) heard as one, whatever
            the cause: a label without a cause and a result with one are not the same, yet no mistake that matters.
        confusion: ``confusion[label][result]``: how many.
    """

    recordings: int
    right: Rate
    special_information: Rate
    confusion: dict[str, dict[str, int]]
    classes: tuple[ClassScore, ...]
    people: People
    after_speech: tuple[AfterSpeech, ...]
    beeps: Beeps
    failures: tuple[Failure, ...]


def named(label: str, analysed: Analysed) -> str:
    """
    What an analysis said, in words of the label.

    A finer label than the results have (pager, number unobtainable) is met by its kind of verdict only; a coarser one
    by every kind that is told as that result.
    """
    return label if label in (analysed.result, _finer(analysed)) else analysed.result


def _finer(analysed: Analysed) -> str:
    return LABEL_KINDS.get(analysed.kind, "") if analysed.kind is not None else ""


def score(judged: Sequence[tuple[Entry, Analysed]]) -> Score:
    """Compare verdicts with the truth."""
    said = [(entry, analysed, named(entry.label, analysed)) for entry, analysed in judged]
    labels = _in_order({entry.label for entry, _, _ in said})
    names = _in_order({name for _, _, name in said} | set(labels))
    counts = Counter((entry.label, name) for entry, _, name in said)
    return Score(
        recordings=len(said),
        right=Rate.of_counts(sum(counts[label, label] for label in labels), len(said)),
        special_information=Rate.of_counts(
            sum(counts[label, name] for label in SIT for name in SIT),
            sum(counts[label, name] for label in SIT for name in names),
        ),
        confusion={label: {name: counts[label, name] for name in names if counts[label, name]} for label in labels},
        classes=tuple(
            ClassScore(
                label,
                Rate.of_counts(counts[label, label], sum(counts[label, name] for name in names)),
                Rate.of_counts(counts[label, label], sum(counts[other, label] for other in labels)),
                Percentiles.of_values(
                    analysed.decision_time_s for entry, analysed, name in said if entry.label == label == name
                ),
            )
            for label in labels
        ),
        people=_people(judged),
        after_speech=_after_speech(judged),
        beeps=_beeps(judged),
        failures=tuple(
            Failure(
                entry.file,
                entry.label,
                name,
                analysed.first,
                str(analysed.evidence.get("cause", "")),
                analysed.decision_time_s,
                entry.tone_plan,
                entry.source,
            )
            for entry, analysed, name in said
            if name != entry.label
        ),
    )


def _in_order(names: Iterable[str]) -> list[str]:
    order = {name: i for i, name in enumerate((*RESULTS, *LABEL_KINDS.values()))}
    return sorted(names, key=lambda name: order[name])


def _people(judged: Sequence[tuple[Entry, Analysed]]) -> People:
    humans = [analysed for entry, analysed in judged if entry.label == HUMAN]
    machines = [analysed for entry, analysed in judged if entry.label == MACHINE]

    def rate(of: list[Analysed], told: Callable[[Analysed], bool]) -> Rate:
        return Rate.of_counts(sum(map(told, of)), len(of))

    return People(
        human_as_machine=rate(humans, lambda one: one.result == MACHINE),
        human_missed=rate(humans, lambda one: one.result != HUMAN),
        machine_caught=rate(machines, lambda one: one.result == MACHINE),
        machine_as_human=rate(machines, lambda one: one.result == HUMAN),
        first_human_as_machine=rate(humans, lambda one: one.first == MACHINE),
        first_machine_as_human=rate(machines, lambda one: one.first == HUMAN),
        undecided=rate(humans + machines, lambda one: one.kind is VerdictKind.TIMEGUARD or one.result == "unknown"),
    )


def _after_speech(judged: Sequence[tuple[Entry, Analysed]]) -> tuple[AfterSpeech, ...]:
    delays: dict[str, list[float]] = {"manifest": [], "analyser": []}
    for entry, analysed in judged:
        if entry.label != HUMAN or analysed.result != HUMAN:
            continue
        if entry.speech_end_s is not None:
            delays["manifest"].append(analysed.decision_time_s - entry.speech_end_s)
        elif analysed.speech_end_s is not None:
            delays["analyser"].append(analysed.decision_time_s - analysed.speech_end_s)
    return tuple(
        AfterSpeech(
            end_from,
            Percentiles.of_values(values),
            Rate.of_counts(sum(value <= PERSON_WITHIN_S + ROUNDING_S for value in values), len(values)),
            Rate.of_counts(sum(value < -ROUNDING_S for value in values), len(values)),
        )
        for end_from, values in delays.items()
        if values
    )


def _beeps(judged: Sequence[tuple[Entry, Analysed]]) -> Beeps:
    errors: list[float] = []
    expected = unexpected = false = 0
    for entry, analysed in judged:
        if entry.beep_s is not None:
            expected += 1
            if analysed.beep_time_s is not None:
                errors.append(abs(analysed.beep_time_s - entry.beep_s))
        elif entry.beep_known or entry.label == HUMAN:
            unexpected += 1
            false += analysed.beep_time_s is not None
    return Beeps(
        found=Rate.of_counts(len(errors), expected),
        within=Rate.of_counts(sum(error <= BEEP_WITHIN_S + ROUNDING_S for error in errors), expected),
        error=Percentiles.of_values(errors),
        false=Rate.of_counts(false, unexpected),
    )
