"""Variants beside each other: the same worlds for each, over one or more seeds, and what that says."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from ocsd.model.enums import PREDICTIVE_MODES, SEIZING_MODES, DialMode, OptimizeBy
from ocsd.model.errors import ConfigError
from ocsd.rehearsal.agents import Rota, Shift
from ocsd.rehearsal.figures import Interval, Sample, interval
from ocsd.rehearsal.run import Run, Scene, Variant, rehearse
from ocsd.sessions.group import DialSettings

GOAL_OF: Final = {
    "overdial": OptimizeBy.OVERDIAL_RATE,
    "busy": OptimizeBy.BUSY_FACTOR,
    "wait": OptimizeBy.WAIT_TIME,
}
UNIT_OF: Final = {OptimizeBy.OVERDIAL_RATE: "%", OptimizeBy.BUSY_FACTOR: "%", OptimizeBy.WAIT_TIME: " s"}
NAME_OF: Final = {goal: name for name, goal in GOAL_OF.items()}


def goal_of(text: str) -> tuple[OptimizeBy, int] | None:
    """``overdial=3``, ``busy=85``, ``wait=20``; ``progressive``: None. ValueError says what is allowed."""
    word, equals, number = text.strip().lower().partition("=")
    if word == "progressive" and not equals:
        return None
    if word not in GOAL_OF or not number.isdigit():
        raise ValueError(f"{text!r} is no goal: overdial=3 (%), busy=85 (%), wait=20 (s), or progressive")
    goal, value = GOAL_OF[word], int(number)
    most = 3600 if goal is OptimizeBy.WAIT_TIME else 100
    if not 1 <= value <= most:
        raise ValueError(f"{text!r}: the goal must be within 1 and {most}")
    return goal, value


def settings_for(base: DialSettings, goal: tuple[OptimizeBy, int] | None) -> DialSettings:
    """``base`` with this goal in predictive mode; None: progressive. With seizing where ``base`` has it."""
    seizes = base.dial_mode in SEIZING_MODES
    if goal is None:
        return replace(base, dial_mode=DialMode.PROGRESSIVE_AND_SEIZE if seizes else DialMode.PROGRESSIVE)
    mode = DialMode.PREDICTIVE_AND_SEIZE if seizes else DialMode.PREDICTIVE
    return replace(base, dial_mode=mode, optimize_by=goal[0], optimize_goal=goal[1])


def named(settings: DialSettings) -> str:
    """A goal as `goal_of` reads it."""
    if settings.dial_mode not in PREDICTIVE_MODES:
        return "progressive"
    return f"{NAME_OF[settings.optimize_by]}={settings.optimize_goal}"


def variants_of(
    base: DialSettings, goals: Sequence[str], agents: Sequence[int], rota: Callable[[int], Rota]
) -> list[Variant]:
    """Every goal with every number of agents; ``base``: the group's own, when no goal is named."""
    found = []
    for goal in goals or (None,):
        settings = settings_for(base, goal_of(goal)) if goal is not None else base
        for number in agents:
            name = named(settings) + (f", {number} agents" if len(agents) > 1 else "")
            found.append(Variant(name, settings, rota(number)))
    return found


def whole_time(agents: int, duration_s: float) -> tuple[Shift, ...]:
    """Everybody is there from the beginning to the end."""
    if agents < 1:
        raise ConfigError(["a rehearsal needs at least one agent"])
    return (Shift(0.0, duration_s, agents),)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A variant over its seeds."""

    variant: Variant
    runs: tuple[Run, ...]

    def over(self, figure: Callable[[Run], float | None]) -> Interval | None:
        """Mean and 95 % confidence interval of a figure over the seeds."""
        return interval([figure(run) for run in self.runs])

    def at(self, figure: Callable[[Sample], float]) -> list[float]:
        """Mean over the seeds of a figure of each sample."""
        rows = zip(*(run.samples for run in self.runs), strict=True)
        return [sum(figure(sample) for sample in row) / len(row) for row in rows]


Figure = tuple[str, Callable[[Run], float | None], str]
"""Name for programs, what it is, and how it is written: a format with ``{}``; ratios are written as percent."""

FIGURES: Final[tuple[tuple[str, str, Callable[[Run], float | None], str], ...]] = (
    ("busy_factor", "busy factor", lambda run: run.total.busy_ratio, "%"),
    ("overdial_rate", "overdial rate", lambda run: run.total.overdial_ratio, "%"),
    (
        "worst_window_overdial_rate",
        "worst 15 minutes",
        lambda run: run.worst.overdial_ratio if run.worst is not None else None,
        "%",
    ),
    ("agent_wait_s", "agents' wait for a call", lambda run: run.total.agent_wait_s, "s"),
    ("people_wait_s", "people's wait for an agent", lambda run: run.total.people_wait_s, "s"),
    ("people_wait_p95_s", "95 % of them wait less than", lambda run: quantile(run.waits_s, 0.95), "s"),
    ("attempts", "attempts", lambda run: float(run.total.attempts), ""),
    ("people", "people", lambda run: float(run.total.people), ""),
    ("connected", "conversations", lambda run: float(run.total.connected), ""),
    ("abandoned", "abandoned", lambda run: float(run.total.abandoned), ""),
    ("hit_ratio", "people per attempt", lambda run: run.total.hit_ratio, "%"),
    ("chains_dialed", "records dialed (chains)", lambda run: float(run.total.touched), ""),
    ("chains_final", "of them finished", lambda run: float(run.total.final), ""),
)
"""Name for programs, for people, the figure, and its unit (% of a ratio, s, or none)."""


def quantile(values: Sequence[float], share: float) -> float | None:
    """The value that ``share`` of the values do not exceed; None: there are none."""
    if not values:
        return None
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]


def compare(
    scene: Scene,
    variants: Sequence[Variant],
    seeds: Sequence[int],
    *,
    progress: Callable[[float], object] | None = None,
) -> list[Outcome]:
    """
    Rehearse every variant with every seed.

    Args:
        progress: called with the share that is done of everything, 0..1.
    """
    whole, done = len(variants) * len(seeds), 0
    found = []
    for variant in variants:
        runs = []
        for seed in seeds:
            told = None
            if progress is not None:
                told = _part(progress, done, whole)
            runs.append(rehearse(scene, variant, seed, progress=told))
            done += 1
        found.append(Outcome(variant, tuple(runs)))
    return found


def _part(progress: Callable[[float], object], done: int, whole: int) -> Callable[[float], object]:
    return lambda share: progress((done + share) / whole)
