"""Values that go into and come out of a pacing decision. Counts, seconds, ratios (0..1); all times are ages."""

from dataclasses import dataclass, field
from enum import Enum


class Goal(Enum):
    """What the operator asks for (manual: OptimizeBy). The overdial bound holds under every goal."""

    BUSY_FACTOR = "busy_factor"
    OVERDIAL_RATE = "overdial_rate"
    WAIT_TIME = "wait_time"


class Mode(Enum):
    PREDICTIVE = "predictive"
    PROGRESSIVE = "progressive"


class Algorithm(Enum):
    """The vendor's ``predictive_algorithm``; what each means here is told in docs/pacing.md."""

    CLASSICAL = "classical"
    SMALL_GROUP = "small_group"
    ADVANCED_SMALL_GROUP = "advanced_small_group"
    TIME_OPTIMIZED_ODR = "time_optimized_odr"


@dataclass(frozen=True, slots=True)
class PacingTarget:
    """``value``: busy factor or overdial rate as a ratio in (0, 1], wait time in seconds (> 0).

    Attributes:
        max_overdial_ratio: bounds the share of answered people without an agent, whatever the goal.
        lines_per_agent: the progressive multiplier m.
        algorithm: ``predictive_algorithm``; it matters with an overdial rate as goal.
        history_length: outcomes of calls before predictions are trusted; until then one call per ready agent.
        small_group_size: the small-group algorithms apply up to so many agents who work or wait.
        min_overdial_ratio: under ``time_optimized_odr`` with an overdial goal, what the loop still aims at while it
            makes up for an excess, over the last ``min_overdial_calls`` answered people. The guards stay above it.
        hard_limits: calls start one to one from the moment the goal is exceeded until it is met again.
        least_ring_s: calls that have rung so long may be given up when nobody will be free to talk to whoever answers
            (see :mod:`pacing.release`); None: no call is ever given up.
    """

    mode: Mode
    goal: Goal = Goal.OVERDIAL_RATE
    value: float = 0.03
    max_overdial_ratio: float = 0.03
    lines_per_agent: float = 1.0
    algorithm: Algorithm = Algorithm.TIME_OPTIMIZED_ODR
    history_length: int = 30
    small_group_size: int = 30
    min_overdial_ratio: float = 0.0
    min_overdial_calls: int = 100
    hard_limits: bool = False
    least_ring_s: float | None = None


@dataclass(frozen=True, slots=True)
class LegalRoom:
    """What the guard over the legal window leaves (see :mod:`pacing.guard`).

    Attributes:
        pace_ratio: share of answered people that may be abandoned from now on; the pacing aims at no more than this.
        abandoned_allowed: how many more people may be abandoned as of now. Calls start one to one while what the calls
            under way are expected to add would use it up.
        stop: start no call at all.
        because: the rule and the figure that bind, for people.
    """

    pace_ratio: float
    abandoned_allowed: float
    stop: bool = False
    because: str = ""


@dataclass(frozen=True, slots=True)
class GroupSnapshot:
    """One campaign group at one instant. No agent is in two of the tuples.

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
        agents_ready_in_s: for each agent who announced it (ReadyTime), seconds until it will be ready, 0 when overdue.
        inbound_waiting: inbound calls queued for these agents; they take agents before people we have called.
        inbound_ringing: inbound calls that will need one of these agents within seconds.
        agents_kept_back: ready agents held back for inbound calls; they stay in ``agents_idle_s``.
        legal: what the guard leaves; None: no legal window is watched.
        attempts_rung_s: for each attempt of ``attempts_age_s``, in its order, seconds since it began to ring, 0 when it
            does not ring yet; () when unknown, and then no call is given up.

    Agents who will take no further call (asked to log out, or to be not ready) are in none of the tuples; one who still
    takes a call that comes until then is in ``agents_idle_s`` and in ``agents_leaving``.

        agents_leaving: agents of ``agents_idle_s`` who serve calls under way but for whom no new call is started.
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
    agents_ready_in_s: tuple[float, ...] = ()
    inbound_waiting: int = 0
    inbound_ringing: int = 0
    agents_kept_back: int = 0
    agents_leaving: int = 0
    legal: LegalRoom | None = None
    attempts_rung_s: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class DialDecision:
    """``launch`` calls to start now; ``because`` names the binding reason; ``inputs`` hold every figure used.

    Among ``inputs`` of a predictive decision: ``expected_people``, ``expected_abandoned`` and ``expected_freed``: the
    people whom all calls then under way will bring within ``horizon_s`` from now, those of them who find nobody, and
    the busy agents who come free, for calibration against what then happens.

    ``release``: places in the snapshot's ``attempts_age_s`` of calls to give up, longest ring first. Each one that ends
    so is told to the pacer as ``ended(age, Outcome.RELEASED)``.
    """

    launch: int
    because: str
    predicted_overdial_ratio: float
    inputs: dict[str, float] = field(default_factory=dict)
    release: tuple[int, ...] = ()
