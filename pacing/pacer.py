"""The public class: tell it what happens, ask it how many calls to start.

    pacer = Pacer(PacingTarget(Mode.PREDICTIVE))
    pacer.answered(6.2)            # a call was answered 6.2 s after its launch
    pacer.person(1.4)              # ... and analysis said "person" 1.4 s later (leave out if nothing is analysed)
    pacer.bridged(0.3)             # ... who got an agent after 0.3 s; or pacer.abandoned()
    pacer.ended(27.0, Outcome.NO_ANSWER)
    pacer.handled(151.0, 22.0)     # an agent talked 151 s and wrapped up 22 s
    decision = pacer.decide(snapshot)

No clock: time is what the snapshots say. The pacer is meant to be asked a few times a second, also when nothing
happened. It is not thread-safe; one task owns it.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from typing import Any, Self

from pacing.control import MINIMUM_CALLS_MOST, ThetaControl, overdial_limit
from pacing.estimators import HORIZON_STEPS, STEP_S
from pacing.evidence import Evidence
from pacing.limits import BURST_RISK, AbandonmentCount, bounded, legal_reason
from pacing.predictive import Prediction, outlook
from pacing.progressive import agents_to_dial_for, one_to_one_launches, progressive_launches
from pacing.release import calls_to_release
from pacing.types import Algorithm, DialDecision, Goal, GroupSnapshot, Mode, PacingTarget

RAMP = 1.0
"""Calls under way beyond one per agent, by outcome known: the hit ratio of few calls, all of one kind perhaps, is not
trusted with ten times as many."""
GOVERNING_MEMORY_S = 60.0
MOST_AHEAD = 4000
"""Calls that one decision may launch; the next one is near."""
STATE_VERSION = 2


class Outcome(Enum):
    """How an attempt ended without a person."""

    NO_ANSWER = "no_answer"
    BUSY = "busy"
    FAILED = "failed"
    MACHINE = "machine"
    FAX = "fax"
    HUNG_UP = "hung_up"
    RELEASED = "released"
    """Given up by a decision's ``release``: whether it would have been answered nobody knows."""


class Pacer:
    """Pacing of one campaign group.

    Args:
        target: mode, goal and bounds; :meth:`set_target` changes them while running.
        max_wait_s: seconds an answered person may wait for an agent before counting as abandoned, 0..10. Subtract
            what connecting an agent takes.
    """

    def __init__(self, target: PacingTarget, max_wait_s: float = 2.0) -> None:
        if not 0.0 <= max_wait_s <= 10.0:
            raise ValueError(f"max_wait_s must be within 0..10, is {max_wait_s}")
        self._target = _checked(target)
        self._known = Evidence(max_wait_s)
        self._count = AbandonmentCount()
        self._control = ThetaControl()
        self._outcomes = dict.fromkeys(Outcome, 0)
        self._governs = 0.0
        """Share of the decisions of the last minute or so for which theta was asked."""
        self._limit_ratio = overdial_limit(self._target)
        self._before: GroupSnapshot | None = None
        self._apart_s = 0.0

    @property
    def target(self) -> PacingTarget:
        return self._target

    def set_target(self, target: PacingTarget) -> None:
        """Change mode, goal or bounds; everything learnt stays."""
        self._target = _checked(target)

    # What happened ----------------------------------------------------------------------------------------------

    def answered(self, age_s: float) -> None:
        """A call was answered, by whomever, ``age_s`` seconds after its launch."""
        self._known.answered(age_s)

    def ended(self, age_s: float, outcome: Outcome, after_answer_s: float | None = None) -> None:
        """An attempt ended without a person, ``age_s`` seconds after its launch.

        ``after_answer_s``: None when it was never answered (or :meth:`answered` was not called for it); else the
        seconds from answer to the verdict, for example of a machine.
        """
        self._outcomes[outcome] += 1
        if outcome is Outcome.RELEASED:
            self._known.gave_up(age_s)
        elif after_answer_s is not None:
            self._known.not_a_person(age_s, after_answer_s)
        else:
            self._known.ended(age_s)

    def person(self, delay_s: float) -> None:
        """Analysis found a person ``delay_s`` seconds after the answer; follows :meth:`answered`.

        Without analysis never call it: :meth:`bridged` and :meth:`abandoned` then stand for it.
        """
        self._known.person(delay_s)

    def bridged(self, wait_s: float) -> None:
        """A person got an agent ``wait_s`` seconds after being found."""
        if wait_s < 0.0:
            raise ValueError(f"wait_s must not be negative, is {wait_s}")
        self._control.bridged()
        self._person_settled(abandoned=False)

    def abandoned(self) -> None:
        """A person got no agent in time, or hung up while waiting for one."""
        self._person_settled(abandoned=True)

    def handled(self, talk_s: float, wrap_up_s: float) -> None:
        """An agent finished a call: seconds talked, seconds of after-call work."""
        self._known.handled(talk_s, wrap_up_s)

    def _person_settled(self, *, abandoned: bool) -> None:
        self._known.person_settled()
        self._count.add(abandoned=abandoned)
        self._control.answered_person(
            self._limit_ratio,
            self._known.running_s,
            abandoned=abandoned,
            governed=self._governs,
        )

    # What to do -------------------------------------------------------------------------------------------------

    def decide(self, snapshot: GroupSnapshot) -> DialDecision:
        """How many calls to start now, why, what overdial rate to expect, and every figure that led there."""
        self._elapse(snapshot)
        decision = self._decided(snapshot)
        if decision.launch:
            self._known.launched()
        return decision

    def _decided(self, snapshot: GroupSnapshot) -> DialDecision:
        if self._target.mode is Mode.PREDICTIVE:
            return self._predictive(snapshot)
        self._bound_by_theta(False)
        wanted, because = progressive_launches(snapshot, self._target.lines_per_agent), "progressive"
        one_to_one = one_to_one_launches(snapshot)
        if (legal := legal_reason(snapshot.legal, 0.0)) is not None:
            wanted, because = (0, legal) if legal == "legal_stop" else min((wanted, because), (one_to_one, legal))
        launch, bound = bounded(wanted, snapshot)
        return DialDecision(launch, bound or because, 0.0, self._inputs(snapshot) | {"wanted": wanted})

    def _elapse(self, snapshot: GroupSnapshot) -> None:
        if self._before is not None:
            seconds = self._apart_s = max(0.0, snapshot.now_s - self._before.now_s)
            self._known.running_s += seconds
            self._control.elapse(seconds, self._known.running_s, self._before, self._target)
        self._before = snapshot
        self._known.advance(snapshot)

    def _predictive(self, snapshot: GroupSnapshot) -> DialDecision:
        target = self._pace(snapshot)
        limit = self._limit_ratio = overdial_limit(target)
        talk, wrap_up = self._known.releases(snapshot)
        calls = self._known.calls(talk)
        hit = self._known.hit_estimate(snapshot, calls)
        small = self._small_group(snapshot)
        hold_s = self._control.hold_s(target, sum(self._known.handling.mean_s()))
        held = sum(idle_s < hold_s for idle_s in snapshot.agents_idle_s) if hold_s else 0
        spare = agents_to_dial_for(snapshot) - held - snapshot.people_waiting
        view = outlook(
            snapshot,
            calls,
            talk,
            wrap_up,
            hit,
            spare,
            exact=small,
            hints=small,
            release_relative_error=self._known.handling.relative_error,
        )
        prediction = Prediction(view)
        theta = self._control.theta(target)

        room = bounded(1_000_000, snapshot)[0]
        most = min(room, MOST_AHEAD)
        wanted, because, plan = self._wanted(snapshot, target, prediction, theta, most, held)
        launch, bound = bounded(wanted, snapshot)
        if bound is None and because == "risk" and launch == room:
            bound = _tightest(snapshot)
        self._bound_by_theta(because in ("risk", "one_to_one") and self._control.overdial_binds)
        if because == "risk" and target.goal is not Goal.OVERDIAL_RATE:
            because = "overdial_bound" if self._control.overdial_binds else "goal"
        release: tuple[int, ...] = ()
        if launch == 0 and target.least_ring_s is not None:
            release, view = calls_to_release(snapshot, view, prediction, calls, hit, target.least_ring_s)
            prediction = Prediction(view) if release else prediction
        people, abandoned = prediction.expected(launch)
        window_people, window_abandoned, window_brake = self._control.window(limit)
        inputs = self._inputs(snapshot) | {
            "wanted": wanted,
            "planned": plan,
            "hit_ratio": hit.ratio,
            "hit_ratio_error": hit.relative_error * hit.ratio,
            "person_ratio": hit.person_ratio,
            "theta": theta,
            "hold_s": hold_s,
            "held": held,
            "spare_now": view.spare_now,
            "risk": prediction.risk(launch - 1) if launch else 0.0,
            "next_risk": prediction.risk(launch),
            "expected_people": people,
            "expected_abandoned": abandoned,
            "expected_freed": view.freed,
            "horizon_s": HORIZON_STEPS * STEP_S,
            "max_overdial_ratio": limit,
            "window_people": window_people,
            "window_abandoned": window_abandoned,
            "window_brake": window_brake,
        }
        ratio = abandoned / people if people > 1e-9 else 0.0
        return DialDecision(launch, bound or because, min(ratio, 1.0), inputs, release)

    def _wanted(
        self,
        snapshot: GroupSnapshot,
        target: PacingTarget,
        prediction: Prediction,
        theta: float,
        most: int,
        held: int,
    ) -> tuple[int, str, int]:
        """Launches before the rooms are looked at, why, and how many the risk alone allows."""
        one_to_one = max(0, one_to_one_launches(snapshot) - held)
        if self._known.hits.total < target.history_length:
            why = legal_reason(snapshot.legal, 0.0)
            return (0, why, 0) if why == "legal_stop" else (one_to_one, why or "learning", 0)
        expected = prediction.expected(0)[1] if snapshot.legal is not None else 0.0
        if (why := legal_reason(snapshot.legal, expected)) is not None:
            return (0 if why == "legal_stop" else one_to_one), why, 0
        if target.hard_limits and self._count.over(overdial_limit(target)):
            return one_to_one, "hard_limit", 0
        if self._waits_for_batch(snapshot):
            return 0, "batch", 0
        under_way = len(snapshot.attempts_age_s) + len(snapshot.analysing_age_s)
        trusted = int(_agents(snapshot) + RAMP * self._known.hits.total) - under_way
        plan = prediction.launches(theta, min(most, max(trusted, 0)))
        if plan <= one_to_one:
            return one_to_one, ("one_to_one" if plan < one_to_one else "risk"), plan
        because = "learning" if trusted < most and plan == trusted else "risk"
        if snapshot.legal is not None:
            allowed = int(snapshot.legal.abandoned_allowed)
            fitting = _most_within(one_to_one, plan, lambda n: prediction.shortfall(n, allowed) <= BURST_RISK)
            if fitting < plan:
                return fitting, "legal_guard", plan
        return plan, because, plan

    def _bound_by_theta(self, governs: bool) -> None:
        keep = math.exp(-self._apart_s / GOVERNING_MEMORY_S)
        self._governs = self._governs * keep + governs * (1.0 - keep)

    def _pace(self, snapshot: GroupSnapshot) -> PacingTarget:
        """The target, with the overdial bound that the legal window asks for."""
        legal = snapshot.legal
        if legal is None or legal.pace_ratio >= self._target.max_overdial_ratio:
            return self._target
        return replace(self._target, max_overdial_ratio=max(legal.pace_ratio, 0.0))

    def _small_group(self, snapshot: GroupSnapshot) -> bool:
        """Whether single agents and announced times are looked at; the vendor's algorithms differ in that."""
        match self._target.algorithm:
            case Algorithm.CLASSICAL if self._target.goal is Goal.OVERDIAL_RATE:
                return False
            case Algorithm.SMALL_GROUP | Algorithm.ADVANCED_SMALL_GROUP if self._target.goal is Goal.OVERDIAL_RATE:
                return _agents(snapshot) <= self._target.small_group_size
            case _:
                return True

    def _waits_for_batch(self, snapshot: GroupSnapshot) -> bool:
        """small_group: the next calls start only when all dialed ones have ended."""
        return (
            self._target.algorithm is Algorithm.SMALL_GROUP
            and self._target.goal is Goal.OVERDIAL_RATE
            and _agents(snapshot) <= self._target.small_group_size
            and bool(snapshot.attempts_age_s or snapshot.analysing_age_s)
        )

    def _inputs(self, snapshot: GroupSnapshot) -> dict[str, float]:
        count = self._count
        return {
            "now_s": snapshot.now_s,
            "idle": len(snapshot.agents_idle_s),
            "talking": len(snapshot.agents_talking_s),
            "wrapping": len(snapshot.agents_wrapping_s),
            "ringing": len(snapshot.attempts_age_s),
            "analysing": len(snapshot.analysing_age_s),
            "people_waiting": snapshot.people_waiting,
            "kept_back": snapshot.agents_kept_back,
            "leaving": snapshot.agents_leaving,
            "ready_soon": len(snapshot.agents_ready_in_s),
            "inbound_waiting": snapshot.inbound_waiting,
            "inbound_ringing": snapshot.inbound_ringing,
            "ports_free": snapshot.ports_free,
            "records_ready": snapshot.records_ready,
            "starts_allowed": snapshot.starts_allowed,
            "people": count.people,
            "abandoned": count.abandoned,
            "outcomes": self._known.hits.total,
            "busy_factor": self._control.busy_factor(),
            "agent_wait_s": self._control.wait_s(),
        }

    # Keeping what was learnt ------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything learnt as a plain dict (fit for JSON): after a restart :meth:`from_state` goes on with it."""
        return {
            "version": STATE_VERSION,
            **self._known.state(),
            "count": self._count.state(),
            "control": self._control.state() | {"recent": self._control.recent(self._known.running_s)},
            "outcomes": {outcome.value: number for outcome, number in self._outcomes.items()},
            "governs": self._governs,
            "limit_ratio": self._limit_ratio,
        }

    @classmethod
    def from_state(cls, target: PacingTarget, state: dict[str, Any], max_wait_s: float = 2.0) -> Self:
        """A pacer that knows what ``state`` holds; ValueError when another version wrote it."""
        if state.get("version") != STATE_VERSION:
            raise ValueError(f"pacer state has version {state.get('version')!r}, expected {STATE_VERSION}")
        pacer = cls(target, max_wait_s)
        pacer._known.load(state)
        pacer._count.load(state["count"])
        pacer._control.load(state["control"])
        pacer._outcomes = {outcome: int(state["outcomes"].get(outcome.value, 0)) for outcome in Outcome}
        pacer._governs, pacer._limit_ratio = float(state["governs"]), float(state["limit_ratio"])
        return pacer


def _checked(target: PacingTarget) -> PacingTarget:
    if not 0.0 <= target.max_overdial_ratio <= 1.0:
        raise ValueError(f"max_overdial_ratio must be within 0..1, is {target.max_overdial_ratio}")
    if target.value <= 0.0:
        raise ValueError(f"the goal's value must be above 0, is {target.value}")
    if target.lines_per_agent <= 0.0:
        raise ValueError(f"lines_per_agent must be above 0, is {target.lines_per_agent}")
    if not 0.0 <= target.min_overdial_ratio <= 1.0:
        raise ValueError(f"min_overdial_ratio must be within 0..1, is {target.min_overdial_ratio}")
    if target.least_ring_s is not None and not 0.0 <= target.least_ring_s < float("inf"):
        raise ValueError(f"least_ring_s must not be negative, is {target.least_ring_s}")
    if not 1 <= target.min_overdial_calls <= MINIMUM_CALLS_MOST:
        raise ValueError(f"min_overdial_calls must be within 1..{MINIMUM_CALLS_MOST}, is {target.min_overdial_calls}")
    if target.history_length < 0:
        raise ValueError(f"history_length must not be negative, is {target.history_length}")
    return target


def _tightest(snapshot: GroupSnapshot) -> str:
    rooms = {
        "ports": snapshot.ports_free,
        "records": snapshot.records_ready,
        "start_rate": snapshot.starts_allowed,
    }
    return min(rooms, key=lambda name: rooms[name])


def _agents(snapshot: GroupSnapshot) -> int:
    """Agents who work or wait."""
    return (
        len(snapshot.agents_idle_s)
        + len(snapshot.agents_talking_s)
        + len(snapshot.agents_wrapping_s)
        + len(snapshot.agents_ready_in_s)
    )


def _most_within(low: int, high: int, fits: Callable[[int], bool]) -> int:
    """The greatest n from ``low`` (which is taken for granted) to ``high`` that fits, given that more never fits."""
    while low < high:
        middle = (low + high + 1) // 2
        if fits(middle):
            low = middle
        else:
            high = middle - 1
    return low
