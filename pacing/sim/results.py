"""Figures of one run."""

from dataclasses import dataclass

import numpy as np

from pacing.sim.spread import Floats

MINUTE_S = 60.0
WORST_WINDOW_MIN = 15


@dataclass(frozen=True, slots=True)
class Minute:
    """What one minute of a run added; ``*_agent_s`` are agent seconds, the others are counts."""

    busy_agent_s: float
    staffed_agent_s: float
    launched: int
    people: int
    abandoned: int
    bridged: int
    waited_s: float


@dataclass(frozen=True, slots=True)
class RunResult:
    """Figures of one run.

    Attributes:
        attempts: calls launched.
        people: calls in which the dialer found a person; abandoned: those who got no agent in time, or hung up before.
        busy_ratio: talk, wrap-up and connecting over staffed agent time, while calls may start and records are left.
        worst_window_ratio: highest share abandoned within any quarter of an hour that starts on the minute.
        wait_s: mean seconds from being found to being connected.
        agent_wait_s: idle agent seconds per connected call, inbound ones included.
        decisions: how often pacing was asked.
        lost_people: people whom analysis took for machines.
        inbound_wait_s: mean seconds an inbound call queued.
        cpu_s: CPU seconds of the run, pacing and world; not compared, as it differs from run to run.
        minutes: the course of the run.
    """

    attempts: int
    people: int
    abandoned: int
    busy_ratio: float
    worst_window_ratio: float
    wait_s: float
    agent_wait_s: float
    decisions: int
    lost_people: int
    inbound_wait_s: float
    minutes: tuple[Minute, ...]

    @property
    def abandoned_ratio(self) -> float:
        return self.abandoned / self.people if self.people else 0.0

    def after(self, settled_s: float) -> "Settled":
        """The figures from ``settled_s`` seconds on, rounded down to a minute."""
        minutes = self.minutes[int(settled_s / MINUTE_S) :]
        staffed_s, busy_s = sum(m.staffed_agent_s for m in minutes), sum(m.busy_agent_s for m in minutes)
        people = sum(m.people for m in minutes)
        return Settled(
            busy_ratio=busy_s / staffed_s if staffed_s else 0.0,
            agent_wait_s=(staffed_s - busy_s) / max(sum(m.bridged for m in minutes), 1),
            abandoned_ratio=sum(m.abandoned for m in minutes) / people if people else 0.0,
        )


@dataclass(frozen=True, slots=True)
class Settled:
    """Figures of a part of a run; see :class:`RunResult`."""

    busy_ratio: float
    agent_wait_s: float
    abandoned_ratio: float


def worst_window_ratio(minutes: tuple[Minute, ...]) -> float:
    """Highest share abandoned within :data:`WORST_WINDOW_MIN` successive minutes; of all when there are fewer."""
    people: Floats = np.cumsum([0.0, *(m.people for m in minutes)])
    abandoned: Floats = np.cumsum([0.0, *(m.abandoned for m in minutes)])
    span = min(WORST_WINDOW_MIN, len(minutes))
    inside = people[span:] - people[: len(people) - span]
    gone = abandoned[span:] - abandoned[: len(abandoned) - span]
    return float((gone / np.maximum(inside, 1.0)).max())
