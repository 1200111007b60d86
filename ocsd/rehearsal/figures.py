"""
What a rehearsal measures: samples of running totals, minute by minute, and what follows from them. Pure.

A sample holds totals since the start, so that the figures of any stretch are the difference of two samples.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

SAMPLE_S: Final = 60.0
WINDOW_S: Final = 900.0
"""The worst quarter of an hour: any that begins on a minute."""
WINDOW_PEOPLE: Final = 10
"""A quarter of an hour with fewer people says nothing: one of three is 33 %."""


@dataclass(frozen=True, slots=True)
class Sample:
    """
    Running totals at ``at_s`` (seconds since the start).

    Attributes:
        busy_s: agents' time in talk and wrap-up; ready_s: waiting for a call or being connected to one.
        agents: logged in at this moment.
        wait_total_s: of people who got an agent, from the end of their greeting.
        touched, final: chains that were dialed at least once, and that have ended.
    """

    at_s: float
    attempts: int = 0
    answered: int = 0
    people: int = 0
    connected: int = 0
    abandoned: int = 0
    wait_total_s: float = 0.0
    busy_s: float = 0.0
    ready_s: float = 0.0
    agents: int = 0
    touched: int = 0
    final: int = 0


@dataclass(frozen=True, slots=True)
class Stretch:
    """Figures between two samples; ratios are None where their denominator is 0."""

    from_s: float
    until_s: float
    attempts: int
    people: int
    connected: int
    abandoned: int
    busy_ratio: float | None
    overdial_ratio: float | None
    agent_wait_s: float | None
    """Mean time that an agent waits for a call, being connected included."""
    people_wait_s: float | None
    """Mean wait of connected people, from the end of their greeting."""
    hit_ratio: float | None
    """People per attempt."""
    agents: float
    """Mean number who talked, wrapped up or waited."""
    touched: int
    """Chains dialed at least once, by the end of the stretch."""
    final: int
    """Chains that have ended by then."""


def stretch(before: Sample, after: Sample) -> Stretch:
    """What happened from ``before`` to ``after``."""
    attempts, people = after.attempts - before.attempts, after.people - before.people
    connected, abandoned = after.connected - before.connected, after.abandoned - before.abandoned
    busy_s, ready_s = after.busy_s - before.busy_s, after.ready_s - before.ready_s
    waited_s, length_s = after.wait_total_s - before.wait_total_s, after.at_s - before.at_s
    return Stretch(
        from_s=before.at_s,
        until_s=after.at_s,
        attempts=attempts,
        people=people,
        connected=connected,
        abandoned=abandoned,
        busy_ratio=busy_s / (busy_s + ready_s) if busy_s + ready_s > 0.0 else None,
        overdial_ratio=abandoned / people if people > 0 else None,
        agent_wait_s=ready_s / connected if connected > 0 else None,
        people_wait_s=waited_s / connected if connected > 0 else None,
        hit_ratio=people / attempts if attempts > 0 else None,
        agents=(busy_s + ready_s) / length_s if length_s > 0.0 else 0.0,
        touched=after.touched,
        final=after.final,
    )


def by(samples: Sequence[Sample], length_s: float) -> list[Stretch]:
    """Figures of each ``length_s`` since the start; the last stretch may be shorter."""
    found: list[Stretch] = []
    if not samples:
        return found
    before, edge_s = samples[0], samples[0].at_s + length_s
    for sample in samples[1:]:
        if sample.at_s >= edge_s - 1e-6:
            found.append(stretch(before, sample))
            before, edge_s = sample, edge_s + length_s
    if samples[-1].at_s > before.at_s:
        found.append(stretch(before, samples[-1]))
    return found


def worst_window(samples: Sequence[Sample], window_s: float = WINDOW_S) -> Stretch | None:
    """
    The window with the highest overdial rate, of those that begin at a sample and have `WINDOW_PEOPLE` people.

    A run shorter than the window is one window. None: nowhere were there so many people.
    """
    worst: Stretch | None = None
    end = 0
    for place, before in enumerate(samples):
        while end < len(samples) - 1 and samples[end].at_s < before.at_s + window_s - 1e-6:
            end += 1
        if samples[end].at_s < before.at_s + window_s - 1e-6 and place > 0:
            break
        seen = stretch(before, samples[end])
        ratio = seen.overdial_ratio
        if ratio is None or seen.people < WINDOW_PEOPLE:
            continue
        if worst is None or worst.overdial_ratio is None or ratio > worst.overdial_ratio:
            worst = seen
    return worst


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over seeds, and the half-width of its 95 % confidence interval (0 for one seed: nothing is known)."""

    mean: float
    half: float
    count: int


T_975: Final = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
    2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045,
)  # fmt: skip
"""97.5 % quantiles of Student's t for 1, 2, ... degrees of freedom; above them 1.96 is near enough."""


def interval(values: Sequence[float | None]) -> Interval | None:
    """Of those that are known; None: none is."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    mean = math.fsum(known) / len(known)
    if len(known) == 1:
        return Interval(mean, 0.0, 1)
    variance = math.fsum((value - mean) ** 2 for value in known) / (len(known) - 1)
    quantile = T_975[len(known) - 2] if len(known) - 2 < len(T_975) else 1.96
    return Interval(mean, quantile * math.sqrt(variance / len(known)), len(known))
