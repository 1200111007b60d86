"""Pacing of modes that do not wait for ready agents: by ports and calls per minute, and with agents engaged first.

**Power GVP** needs no agents: a called person hears a voice application on the port that dialed. The operator asks for
a utilisation of the ports (the manual's OptimizeGoal in this mode, percent) or for calls per minute, and bounds what
may be submitted to the voice platform without having been taken (its queue). :class:`PortPacer` holds either over time.

**Progressive GVP** has a fixed number of voice ports apart from those that dial, and dials m lines for each free one:
the vendor's progressive rule with voice ports for agents (:func:`voice_launches`).

**Seizing modes** call the agent first and keep the line open (an engaging call, then an engaged agent); a person who
answers is merged with an engaged agent at once. For the pacing an engaged agent is an idle agent, and one who could be
engaged becomes one when the engaging call would be answered: :func:`as_engaged` makes of a group the snapshot that
:class:`pacing.Pacer` decides on, in Predictive and Progressive mode alike. :func:`engage` says how many agents to call
now. A person whom nobody could be merged with in time is *overdialed*: the call carries GSW_ASM_OVERDIAL, and the
pacer is told :meth:`pacing.Pacer.abandoned` (:func:`merge`).

Sources: Reference Manual, "Call Flows" (ASM mode) and GSW_ASM_OVERDIAL; the vendor's published progressive formula.
Pure: no clock; time is what the snapshots say.
"""

import math
from dataclasses import dataclass, replace
from enum import Enum

from pacing.types import GroupSnapshot

CREDIT_S = 5.0
"""Utilisation may be made up for over so many seconds at the ceiling of the goal: a pause is no reason for a burst."""
TOLERANCE = 1e-9
"""Keeps 0.7 x 10 from becoming 6 by binary rounding."""


@dataclass(frozen=True, slots=True)
class PortTarget:
    """
    What Power GVP aims at. At least one of the first two is given; with both, whichever admits fewer calls binds.

    Attributes:
        utilisation_ratio: share of the ports in use over time, in (0, 1].
        calls_per_minute: call starts, evenly spaced, > 0.
        max_queue: calls dialed or waiting for the voice application at most; None: no limit.
    """

    utilisation_ratio: float | None = None
    calls_per_minute: float | None = None
    max_queue: int | None = None

    def __post_init__(self) -> None:
        if self.utilisation_ratio is None and self.calls_per_minute is None:
            raise ValueError("a utilisation or calls per minute must be given")
        if self.utilisation_ratio is not None and not 0.0 < self.utilisation_ratio <= 1.0:
            raise ValueError(f"utilisation_ratio must be within (0, 1], is {self.utilisation_ratio}")
        if self.calls_per_minute is not None and not self.calls_per_minute > 0.0:
            raise ValueError(f"calls_per_minute must be above 0, is {self.calls_per_minute}")
        if self.max_queue is not None and self.max_queue < 0:
            raise ValueError(f"max_queue must not be negative, is {self.max_queue}")


@dataclass(frozen=True, slots=True)
class PortSnapshot:
    """
    A group without agents at one instant.

    Attributes:
        now_s: monotonic time.
        ports: calls that may be up at once, dialed or in the voice application.
        dialing: calls launched and not answered by anybody.
        queued: answered calls that wait for the voice application.
        served: calls in the voice application.
        records_ready: chains ready to be dialed.
        starts_allowed: calls the per-second limit still admits now.
    """

    now_s: float
    ports: int
    dialing: int
    queued: int
    served: int
    records_ready: int
    starts_allowed: int = 1_000_000

    @property
    def in_use(self) -> int:
        return self.dialing + self.queued + self.served


@dataclass(frozen=True, slots=True)
class PortDecision:
    """``launch`` calls to start now; ``because`` names what binds; ``utilisation_ratio`` is in use after it."""

    launch: int
    because: str
    utilisation_ratio: float


class PortPacer:
    """
    Power GVP of one campaign group. Ask it a few times a second; one task owns it.

    A goal between two whole numbers of ports is met by alternating between them: 50 % of 5 ports is 2 for half of the
    time and 3 for the other.
    """

    def __init__(self, target: PortTarget) -> None:
        self._target = target
        self._before: PortSnapshot | None = None
        self._owed_port_s = 0.0
        """Port-seconds that the ports in use are behind the goal; negative: ahead of it."""
        self._starts = 1.0
        """Calls that the rate admits; one to begin with."""

    def set_target(self, target: PortTarget) -> None:
        """Change the goal; what was owed under the old one is forgotten."""
        self._target, self._owed_port_s = target, 0.0

    def decide(self, snapshot: PortSnapshot) -> PortDecision:
        """How many calls to start now, and what binds."""
        self._elapse(snapshot)
        rooms = {
            "ports": snapshot.ports - snapshot.in_use,
            "records": snapshot.records_ready,
            "start_rate": snapshot.starts_allowed,
        }
        target = self._target
        if target.utilisation_ratio is not None:
            rooms["utilisation"] = self._wanted_ports(target.utilisation_ratio, snapshot.ports) - snapshot.in_use
        if target.calls_per_minute is not None:
            rooms["calls_per_minute"] = math.floor(self._starts + TOLERANCE)
        if target.max_queue is not None:
            rooms["queue"] = target.max_queue - snapshot.dialing - snapshot.queued
        because = min(rooms, key=lambda name: rooms[name])
        launch = max(0, rooms[because])
        self._starts -= launch
        self._before = replace(snapshot, dialing=snapshot.dialing + launch)
        in_use = snapshot.in_use + launch
        return PortDecision(launch, because, in_use / snapshot.ports if snapshot.ports > 0 else 0.0)

    def _wanted_ports(self, ratio: float, ports: int) -> int:
        exact = ratio * ports
        return math.floor(exact + TOLERANCE) if self._owed_port_s <= 0.0 else math.ceil(exact - TOLERANCE)

    def _elapse(self, snapshot: PortSnapshot) -> None:
        if self._before is None:
            return
        seconds = max(0.0, snapshot.now_s - self._before.now_s)
        if self._target.calls_per_minute is not None:
            per_s = self._target.calls_per_minute / 60.0
            # A second of starts at most, or one: after a pause calls go on at their rate, not in a burst.
            # What is left over of one start counts towards the next, or a slow rhythm would slow the rate.
            most_starts, starts = max(1.0, per_s), self._starts + per_s * seconds
            self._starts = starts if starts < most_starts + 1.0 else most_starts
        if self._target.utilisation_ratio is not None:
            # Between two decisions calls only end: the mean of both ends is closer than either.
            used = (self._before.in_use + snapshot.in_use) / 2.0
            self._owed_port_s += (self._target.utilisation_ratio * snapshot.ports - used) * seconds
            most = CREDIT_S * max(1.0, float(snapshot.ports))
            self._owed_port_s = min(max(self._owed_port_s, -most), most)


def voice_launches(voice_ports_free: int, queued: int, dialing: int, lines_per_port: float, ports_free: int) -> int:
    """
    Progressive GVP: floor(m x (free - queued - ceil(dialing / m))) calls, never below 0 nor above ``ports_free``.

    Args:
        voice_ports_free: ports of the voice application without a call.
        queued: answered calls that wait for one.
        dialing: calls launched and not answered, or under analysis.
        lines_per_port: m > 0; at most 1 nobody waits for a voice port.
    """
    if lines_per_port <= 0.0:
        raise ValueError(f"lines_per_port must be above 0, is {lines_per_port}")
    taken = math.ceil(dialing / lines_per_port - TOLERANCE)
    wanted = math.floor(lines_per_port * (voice_ports_free - queued - taken) + TOLERANCE)
    return max(0, min(wanted, ports_free))


# --- seizing -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Engaged:
    """
    Agents of a seizing mode. Those of ``agents_idle_s`` in the group's snapshot are ready and not called yet.

    Attributes:
        engaged_s: for each agent on an open line, waiting to be merged, seconds since it answered.
        engaging_s: for each engaging call not answered yet, seconds since it was started.
        channels_free: engaging calls that may still be started (asm_channel_num, legs).
        engage_takes_s: how long an agent's phone takes to answer, mean.
    """

    engaged_s: tuple[float, ...]
    engaging_s: tuple[float, ...]
    channels_free: int
    engage_takes_s: float = 2.0


def as_engaged(group: GroupSnapshot, engaged: Engaged) -> GroupSnapshot:
    """
    The group as the pacer has to see it: engaged agents are idle, others can be engaged or come free later.

    Agents who cannot be engaged for want of a channel can serve nobody, and are left out.
    """
    soon = tuple(max(0.0, engaged.engage_takes_s - age_s) for age_s in engaged.engaging_s)
    later = (engaged.engage_takes_s,) * engage_one_to_one(group, engaged)
    return replace(
        group,
        agents_idle_s=engaged.engaged_s,
        agents_ready_in_s=(*group.agents_ready_in_s, *soon, *later),
        agents_kept_back=0,
        agents_leaving=0,
    )


def engage(group: GroupSnapshot, engaged: Engaged, expected_people: float, risk: float = 0.01) -> int:
    """
    Agents to call now, so that a person hardly ever meets an agent who is still being called.

    An engaged agent can do nothing else, so no more are engaged than people may come while a phone is answered: the
    smallest number that a Poisson number of ``expected_people`` exceeds with probability ``risk`` at most. Agents who
    are leaving or kept back for inbound calls are not engaged.

    Args:
        expected_people: people whom the calls under way, and those started with them, will bring within
            ``engage_takes_s``, and those who wait already.
        risk: in (0, 1).
    """
    if not 0.0 < risk < 1.0:
        raise ValueError(f"risk must be within (0, 1), is {risk}")
    wanted = poisson_quantile(max(0.0, expected_people), 1.0 - risk)
    missing = wanted - len(engaged.engaged_s) - len(engaged.engaging_s)
    ready = len(group.agents_idle_s) - group.agents_kept_back - group.agents_leaving
    return max(0, min(missing, ready, engaged.channels_free))


def engage_one_to_one(group: GroupSnapshot, engaged: Engaged) -> int:
    """Progressive with seizing: every ready agent who may be called is, and only engaged agents are dialed for."""
    ready = len(group.agents_idle_s) - group.agents_kept_back - group.agents_leaving
    return max(0, min(ready, engaged.channels_free))


def poisson_quantile(mean: float, probability: float) -> int:
    """Smallest n with P(N <= n) >= ``probability`` for N Poisson with ``mean``; the sum is exact up to mean 500."""
    if mean > 500.0:  # exp(-mean) would leave the range of floats; the normal is within one of it here
        return math.ceil(mean + _normal_quantile(probability) * math.sqrt(mean) + 0.5)
    number, term = 0, math.exp(-mean)
    total = term
    while total < probability and number < mean + 50.0 * math.sqrt(mean + 1.0):
        number += 1
        term *= mean / number
        total += term
    return number


def _normal_quantile(probability: float) -> float:
    """Abramowitz and Stegun 26.2.23, absolute error below 4.5e-4."""
    tail = min(probability, 1.0 - probability)
    t = math.sqrt(-2.0 * math.log(tail))
    above = t - (2.515517 + 0.802853 * t + 0.010328 * t * t) / (1.0 + 1.432788 * t + 0.189269 * t * t + 0.001308 * t**3)
    return above if probability >= 0.5 else -above


class Merge(Enum):
    """What becomes of a person in a seizing mode."""

    MERGED = "merged"
    WAITS = "waits"
    OVERDIALED = "overdialed"
    """Nobody was engaged in time: GSW_ASM_OVERDIAL 1, the drop announcement, and an abandoned person."""


def merge(waited_s: tuple[float, ...], engaged: int, max_wait_s: float) -> tuple[Merge, ...]:
    """
    What becomes of each person found, longest waiting first.

    Args:
        waited_s: seconds since each person was found, in any order; the answer is in the same order.
        engaged: agents on an open line.
    """
    order = sorted(range(len(waited_s)), key=lambda index: -waited_s[index])
    outcome = [Merge.WAITS] * len(waited_s)
    for place, index in enumerate(order):
        if waited_s[index] > max_wait_s:
            outcome[index] = Merge.OVERDIALED
        elif place - sum(waited_s[other] > max_wait_s for other in order[:place]) < engaged:
            outcome[index] = Merge.MERGED
    return tuple(outcome)
