"""Values that go into and come out of a pacing decision. Counts, seconds, ratios (0..1); all times are ages."""

from dataclasses import dataclass
from enum import Enum


class Goal(Enum):
    """What the operator asks for (manual: OptimizeBy). The overdial bound holds under every goal."""

    BUSY_FACTOR = "busy_factor"
    OVERDIAL_RATE = "overdial_rate"
    WAIT_TIME = "wait_time"


class Mode(Enum):
    PREDICTIVE = "predictive"
    PROGRESSIVE = "progressive"


@dataclass(frozen=True, slots=True)
class PacingTarget:
    """``value``: busy factor or overdial rate as a ratio in (0, 1], wait time in seconds (> 0).

    ``max_overdial_ratio`` bounds the share of answered people without an agent, whatever the goal.
    ``lines_per_agent`` is the progressive multiplier m.
    """

    mode: Mode
    goal: Goal = Goal.OVERDIAL_RATE
    value: float = 0.03
    max_overdial_ratio: float = 0.03
    lines_per_agent: float = 1.0


@dataclass(frozen=True, slots=True)
class GroupSnapshot:
    """One campaign group at one instant.

    Attributes:
        now_s: monotonic time of the snapshot.
        agents_idle_s: for each agent who is ready and not reserved, seconds since becoming ready.
        agents_talking_s: for each agent in (or being connected to) a call, seconds since the bridge (0 if connecting).
        agents_wrapping_s: for each agent in after-call work, (seconds talked, seconds of wrap-up so far).
        attempts_age_s: for each attempt launched and not yet answered or ended, seconds since launch.
        analysing_age_s: for each attempt answered and still under call progress analysis, seconds since the answer.
        people_waiting: people found who wait for an agent right now.
        ports_free: calls the trunks and the group may still start.
        records_ready: chains ready to be dialed.
        starts_allowed: calls the per-second limit still admits now.
    """

    now_s: float
    agents_idle_s: tuple[float, ...]
    agents_talking_s: tuple[float, ...]
    agents_wrapping_s: tuple[tuple[float, float], ...]
    attempts_age_s: tuple[float, ...]
    analysing_age_s: tuple[float, ...]
    people_waiting: int
    ports_free: int
    records_ready: int
    starts_allowed: int = 1_000_000


@dataclass(frozen=True, slots=True)
class DialDecision:
    """``launch`` calls to start now; ``because`` names the binding reason; ``inputs`` hold every figure used."""

    launch: int
    because: str
    predicted_overdial_ratio: float
    inputs: dict[str, float]
