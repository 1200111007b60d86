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
from enum import Enum
from typing import Any, Self

from pacing.control import ThetaControl, overdial_limit
from pacing.estimators import (
    HORIZON_STEPS,
    SLOW_CALLS,
    STEP_S,
    AgeHistogram,
    AnswerAnalysis,
    HandlingTimes,
    HitRatio,
    ResidualLife,
    answer_prior,
    ending_prior,
)
from pacing.limits import AbandonmentLedger, bounded, burst_risk, guard_reason, slack
from pacing.predictive import CallTables, Prediction, call_tables, outlook, pending_answer_ratio
from pacing.progressive import one_to_one_launches, progressive_launches
from pacing.types import DialDecision, GroupSnapshot, Mode, PacingTarget

LEARNING_OUTCOMES = 30
"""Outcomes of whole launch cohorts before prediction is trusted; until then one call per agent."""
LAG_QUANTILE = 0.9
"""An outcome counts once this share of answers would have come; the rest is estimated from the calls' ages."""
MOST_AHEAD = 64
"""Calls that one decision may launch ahead of idle agents; it bounds its run time, and the next decision is near."""
STATE_VERSION = 1


class Outcome(Enum):
    """How an attempt ended without a person."""

    NO_ANSWER = "no_answer"
    BUSY = "busy"
    FAILED = "failed"
    MACHINE = "machine"
    FAX = "fax"
    HUNG_UP = "hung_up"


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
        self._patience = int(max_wait_s / STEP_S)
        self._hits = HitRatio()
        self._answers = AgeHistogram(answer_prior())
        self._endings = AgeHistogram(ending_prior())
        self._analysis = AnswerAnalysis()
        self._handling = HandlingTimes()
        self._ledger = AbandonmentLedger()
        self._control = ThetaControl()
        self._outcomes = dict.fromkeys(Outcome, 0)
        self._verdicts = 0
        self._theta_governs = False
        self._running_s = 0.0
        self._before: GroupSnapshot | None = None
        self._tables: tuple[CallTables, ResidualLife, ResidualLife] | None = None
        self._tables_at = (0, 0.0)

    @property
    def target(self) -> PacingTarget:
        return self._target

    def set_target(self, target: PacingTarget) -> None:
        """Change mode, goal or bounds; everything learnt stays."""
        self._target = _checked(target)

    # What happened ----------------------------------------------------------------------------------------------

    def answered(self, age_s: float) -> None:
        """A call was answered, by whomever, ``age_s`` seconds after its launch."""
        self._answers.add(age_s)
        self._observe(hit=True, age_s=age_s)

    def ended(self, age_s: float, outcome: Outcome, after_answer_s: float | None = None) -> None:
        """An attempt ended without a person, ``age_s`` seconds after its launch.

        ``after_answer_s``: None when it was never answered (or :meth:`answered` was not called for it); else the
        seconds from answer to the verdict, for example of a machine.
        """
        self._outcomes[outcome] += 1
        if after_answer_s is not None:
            self._analysis.other(after_answer_s)
            return
        self._endings.add(age_s)
        self._observe(hit=False, age_s=age_s)

    def person(self, delay_s: float) -> None:
        """Analysis found a person ``delay_s`` seconds after the answer; follows :meth:`answered`.

        Without analysis never call it: :meth:`bridged` and :meth:`abandoned` then stand for it.
        """
        self._verdicts += 1
        self._analysis.person(delay_s)

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
        self._handling.add(talk_s, wrap_up_s)

    def _observe(self, *, hit: bool, age_s: float) -> None:
        self._hits.observe(hit, self._running_s + max(0.0, self._lag_s() - age_s))

    def _person_settled(self, *, abandoned: bool) -> None:
        if not self._verdicts:
            self._analysis.person(0.0)
        self._ledger.add(abandoned=abandoned)
        self._control.answered_person(
            self._ledger.count(),
            overdial_limit(self._target),
            abandoned=abandoned,
            governed=self._theta_governs and self._control.overdial_binds,
        )

    def _lag_s(self) -> float:
        return self._answers.quantile_s(LAG_QUANTILE)

    # What to do -------------------------------------------------------------------------------------------------

    def decide(self, snapshot: GroupSnapshot) -> DialDecision:
        """How many calls to start now, why, what overdial rate to expect, and every figure that led there."""
        self._elapse(snapshot)
        if self._target.mode is Mode.PROGRESSIVE:
            self._theta_governs = False
            wanted = progressive_launches(snapshot, self._target.lines_per_agent)
            launch, bound = bounded(wanted, snapshot)
            return DialDecision(launch, bound or "progressive", 0.0, self._inputs(snapshot) | {"wanted": wanted})
        return self._predictive(snapshot)

    def _elapse(self, snapshot: GroupSnapshot) -> None:
        if self._before is not None:
            seconds = max(0.0, snapshot.now_s - self._before.now_s)
            self._running_s += seconds
            self._control.elapse(seconds, self._before, self._target)
        self._before = snapshot
        self._hits.advance(self._running_s)

    def _predictive(self, snapshot: GroupSnapshot) -> DialDecision:
        tables, talk, wrap_up = self._current_tables(snapshot)
        hit = self._hit_ratio(snapshot, tables)
        person_ratio = self._analysis.person_ratio
        count, limit = self._ledger.count(), overdial_limit(self._target)

        hold_s = self._control.hold_s(self._target)
        held = sum(idle_s < hold_s for idle_s in snapshot.agents_idle_s)
        idle = len(snapshot.agents_idle_s) - held
        view = outlook(snapshot, tables, talk, wrap_up, hit, person_ratio, self._patience, idle)
        prediction = Prediction(view)
        people, abandoned = prediction.expected(0)
        room = slack(count, limit, abandoned)
        theta = self._control.theta(self._target, count, abandoned)

        most = bounded(1_000_000, snapshot)[0]
        one_to_one = max(0, one_to_one_launches(snapshot) - held)
        guard = guard_reason(count, limit, people, abandoned)
        if self._hits.total < LEARNING_OUTCOMES:
            wanted, because = one_to_one, "learning"
        elif guard is not None:
            wanted, because = one_to_one, guard
        else:
            allowed = max(0, math.floor(slack(count, limit)))
            plan = prediction.plan(theta, min(most, MOST_AHEAD), burst_risk(count.people), allowed)
            wanted, because = max((plan.launch, "risk"), (one_to_one, "one_to_one"), key=lambda choice: choice[0])
        launch, bound = bounded(wanted, snapshot)
        if bound is None and because == "risk" and launch == most:
            bound = _tightest(snapshot)
        self._theta_governs = (bound or because) in ("risk", "one_to_one")
        expected_people, expected_abandoned = prediction.expected(launch)
        inputs = self._inputs(snapshot) | {
            "wanted": wanted,
            "hit_ratio": hit[0],
            "hit_ratio_error": hit[1],
            "person_ratio": person_ratio,
            "theta": theta,
            "hold_s": hold_s,
            "held": held,
            "slack": room,
            "spare_now": view.spare_now,
            "risk": prediction.risk(launch - 1) if launch else 0.0,
            "next_risk": prediction.risk(launch),
            "expected_people": expected_people,
            "expected_abandoned": expected_abandoned,
            "max_overdial_ratio": limit,
        }
        ratio = expected_abandoned / expected_people if expected_people > 1e-9 else 0.0
        return DialDecision(launch, bound or because, min(ratio, 1.0), inputs)

    def _hit_ratio(self, snapshot: GroupSnapshot, tables: CallTables) -> tuple[float, float]:
        lag_s = self._lag_s()
        overdue = tuple(age_s for age_s in snapshot.attempts_age_s if age_s >= lag_s)
        if not overdue:
            return self._hits.estimate()
        guess = self._hits.estimate()[0]
        for _ in range(3):  # the estimate is in its own posterior; three rounds settle it to well under one percent
            hits = float(pending_answer_ratio(tables, overdue, guess).sum())
            guess = self._hits.estimate(len(overdue), hits)[0]
        return self._hits.estimate(len(overdue), hits)

    def _current_tables(self, snapshot: GroupSnapshot) -> tuple[CallTables, ResidualLife, ResidualLife]:
        events = self._answers.count + self._endings.count + self._analysis.count + 4 * self._handling.count
        built_events, built_s = self._tables_at
        # One percent of new evidence changes no decision; while little is known every second one may.
        stale = events - built_events > min(events, SLOW_CALLS) // 100
        if self._tables is None or (stale and self._running_s - built_s >= 0.5):
            steps = HORIZON_STEPS + self._patience
            talk, wrap_up = self._handling.tables(snapshot.agents_talking_s, steps)
            calls = call_tables(
                self._answers.density(),
                self._endings.density(),
                self._analysis.person_delay.density(),
                self._analysis.other_delay.density(),
                talk.released((0.0,))[0],
                self._patience,
            )
            self._tables = (calls, talk, wrap_up)
            self._tables_at = (events, self._running_s)
        return self._tables

    def _inputs(self, snapshot: GroupSnapshot) -> dict[str, float]:
        count = self._ledger.count()
        return {
            "now_s": snapshot.now_s,
            "idle": len(snapshot.agents_idle_s),
            "talking": len(snapshot.agents_talking_s),
            "wrapping": len(snapshot.agents_wrapping_s),
            "ringing": len(snapshot.attempts_age_s),
            "analysing": len(snapshot.analysing_age_s),
            "people_waiting": snapshot.people_waiting,
            "ports_free": snapshot.ports_free,
            "records_ready": snapshot.records_ready,
            "starts_allowed": snapshot.starts_allowed,
            "people": count.people,
            "abandoned": count.abandoned,
            "outcomes": self._hits.total,
            "busy_factor": self._control.busy_factor(),
            "agent_wait_s": self._control.wait_s(),
        }

    # Keeping what was learnt ------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything learnt as a plain dict (fit for JSON): after a restart :meth:`from_state` goes on with it."""
        self._tables = None  # so that this pacer and its copy rebuild the same tables
        return {
            "version": STATE_VERSION,
            "hits": self._hits.state(self._running_s),
            "answers": self._answers.state(),
            "endings": self._endings.state(),
            "analysis": self._analysis.state(),
            "handling": self._handling.state(),
            "ledger": self._ledger.state(),
            "control": self._control.state(),
            "outcomes": {outcome.value: number for outcome, number in self._outcomes.items()},
            "verdicts": self._verdicts,
        }

    @classmethod
    def from_state(cls, target: PacingTarget, state: dict[str, Any], max_wait_s: float = 2.0) -> Self:
        """A pacer that knows what ``state`` holds; ValueError when another version wrote it."""
        if state.get("version") != STATE_VERSION:
            raise ValueError(f"pacer state has version {state.get('version')!r}, expected {STATE_VERSION}")
        pacer = cls(target, max_wait_s)
        pacer._hits.load(state["hits"])
        pacer._answers.load(state["answers"])
        pacer._endings.load(state["endings"])
        pacer._analysis.load(state["analysis"])
        pacer._handling.load(state["handling"])
        pacer._ledger.load(state["ledger"])
        pacer._control.load(state["control"])
        pacer._outcomes = {outcome: int(state["outcomes"].get(outcome.value, 0)) for outcome in Outcome}
        pacer._verdicts = int(state["verdicts"])
        return pacer


def _checked(target: PacingTarget) -> PacingTarget:
    if not 0.0 <= target.max_overdial_ratio <= 1.0:
        raise ValueError(f"max_overdial_ratio must be within 0..1, is {target.max_overdial_ratio}")
    if target.value <= 0.0:
        raise ValueError(f"the goal's value must be above 0, is {target.value}")
    if target.lines_per_agent <= 0.0:
        raise ValueError(f"lines_per_agent must be above 0, is {target.lines_per_agent}")
    return target


def _tightest(snapshot: GroupSnapshot) -> str:
    rooms = {
        "ports": snapshot.ports_free,
        "records": snapshot.records_ready,
        "start_rate": snapshot.starts_allowed,
    }
    return min(rooms, key=lambda name: rooms[name])
