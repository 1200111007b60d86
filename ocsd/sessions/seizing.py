"""
Seizing modes and assured connections of one session: whose phone is called ahead, and for how long it is held.

Theory of operation
-------------------
In Progressive with Seizing every agent who is ready is engaged: the phone is called, and held in quiet
(`standing_legs`). In Predictive with Seizing as many are as the people who are expected while a phone rings will need,
99 times in 100: whoever is engaged can do nothing else. Only engaged agents count as ready for the pacing; those who
ring, or could be called, count as coming (`pacing.ports`).

So a person who is found is bridged at once, with the agent who has been engaged longest; nobody waits for a phone to
ring. A person for whom nobody is engaged is overdialed (GSW_ASM_OVERDIAL), waits as any other, and hears
``asm_drop_announcement_data`` in the end.

Agents are engaged while there is something to dial: after IDLE_S without a record and without a call the phones are
hung up, and at the end of dialing at once. ``asm_channel_num`` bounds the engaging calls.

A record for an assured connection waits in the buffer until an agent is free whom no person waits for. That agent is
reserved and engaged for it; only then is the customer dialed (`assured`, `attempt_seizing`).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import structlog

from ocsd.config.seizing_options import ASSURED_CONNECT
from ocsd.model.enums import SEIZING_MODES, CallAction, CallResult, DialMode
from ocsd.model.records import Chain
from ocsd.sessions.attempt_events import CallPlan
from ocsd.sessions.attempt_steps import SEEKING
from ocsd.sessions.roster import AgentSeat, AgentState
from ocsd.sessions.seizing_plan import EngagingPlan, SeizingPlan, engaging_plan, is_assured, seizing_plan
from ocsd.sessions.shared import UNDER_WAY
from ocsd.sessions.standing_legs import Hold, Standing, StandingLeg, StandingLegs
from pacing.ports import Engaged, poisson_quantile
from telephony.contract import LegSnapshot

if TYPE_CHECKING:
    from ocsd.sessions.attempt_task import AttemptTask
    from ocsd.sessions.session import Session

log = structlog.get_logger()

IDLE_S: Final = 5.0
"""Without a record to dial agents are engaged no longer than this: the next portion may be under way."""
USUAL_RING_S: Final = 2.0
"""How long a phone takes to be answered, until the group's own have told."""
PERIOD_S: Final = 1.0
"""Engaging is thought of anew several times in it: whoever comes meanwhile is expected too."""
MISSED_RATIO: Final = 0.01
"""How likely it may be that more people come than agents are engaged."""
RING_MEMORY: Final = 0.2
"""Weight of the last phone that was answered among all before it."""
HELD_STATES: Final = frozenset({AgentState.READY, AgentState.RESERVED, AgentState.TALKING, AgentState.WRAP_UP})
"""An agent who asks to be not ready is hung up on; one in after-call work keeps what is kept."""


class Seizing:
    """What a session does about its agents' phones. Asked at every turn of the dialing loop."""

    def __init__(self, session: "Session", standing: StandingLegs | None) -> None:
        """``standing``: None where there are no phones (a rehearsal, which engages its agents itself)."""
        self._session = session
        self.standing = standing
        self.overdialed = 0
        """People for whom no agent was engaged when they were found."""
        self.due: dict[tuple[int, int], None] = {}
        """Buffered chains (`Chain.key`) for assured connections that would have been dialed, had an agent been free."""
        self._busy_at_s = -IDLE_S
        self._ring_s = USUAL_RING_S

    @property
    def active(self) -> bool:
        """The group is in a seizing mode."""
        return self._session.settings.dial_mode in SEIZING_MODES

    def plan(self) -> SeizingPlan:
        """Of a call that is placed now."""
        return seizing_plan(self._session.planner, seizes=self.active)

    # --- engaging -------------------------------------------------------------------------------------------------

    def keep(self) -> None:
        """Engage whoever is ready, and let go of whom nobody needs."""
        session, standing = self._session, self.standing
        line, dbid = session.roster.line, session.group.dbid
        if self.active:
            line.seizing.add(dbid)
        else:
            line.seizing.discard(dbid)
        if standing is None:
            return
        wanted = self._wanted()
        for leg in standing.of_group(dbid):
            seat = session.roster.seats[leg.agent_id]
            if seat.state is AgentState.RESERVED:
                continue  # an attempt is about to take it
            if not (wanted and self._is_held_for(seat)) and standing.may_release(leg) and not leg.is_taken:
                leg.release()
        if wanted:
            self._engage(standing)

    def _is_held_for(self, seat: AgentSeat) -> bool:
        return seat.state in HELD_STATES and seat.agent_id not in self._session.roster.left

    def _wanted(self) -> bool:
        """Somebody may be found soon, or is being looked for."""
        session = self._session
        if not self.active:
            return False
        calls = any(task.machine.state in UNDER_WAY for task in session.attempts.values())
        if session.dials and (calls or session.supply.buffered > 0):
            self._busy_at_s = session.clock.now_s()
        if not session.dials:
            return calls
        return session.clock.now_s() - self._busy_at_s < IDLE_S

    def _engage(self, standing: StandingLegs) -> None:
        session = self._session
        if not session.dials:
            return
        plan, seats, roster = self._engaging(), session.roster.seats, session.roster
        elsewhere = session.sharing.in_others_parts(session, session.clock.now_s())
        ready = [(seat.since_s, agent_id) for agent_id, seat in roster.ready() if agent_id not in elsewhere]
        there = sum(seats[agent_id].engaged_s is not None or seats[agent_id].phone_rings for _, agent_id in ready)
        wanted = len(ready) - session.planner.kept_back(session.settings)
        if (expected := self._expected()) is not None:
            wanted = min(wanted, max(1, expected))
        most = min(wanted - there, plan.bound - self._used())
        for _, agent_id in sorted(ready):
            if most <= 0:
                return
            seat = seats[agent_id]
            if standing.of(agent_id) is None and not seat.phone.nailed_up and agent_id not in roster.leaving:
                standing.engage(agent_id, self.hold(plan))
                most -= 1

    def _engaging(self) -> EngagingPlan:
        return engaging_plan(self._session.planner, len(self._session.roster.seats))

    def hold(self, plan: EngagingPlan | None = None, assured: int = 0) -> Hold:
        """How an engaging call of this group is held. ``assured``: handle of the record that it is for."""
        plan = plan if plan is not None else self._engaging()
        return Hold(self._session.group.dbid, plan.prompt, plan.kept, plan.answer_s, assured)

    # --- the pacing -----------------------------------------------------------------------------------------------

    def engaged(self, engaged_s: list[float], engaging: list[AgentSeat], now_s: float) -> Engaged:
        """The group's engaged agents for `pacing.ports.as_engaged`; ``engaging``: those whose phone rings."""
        ages = (self._rings_since_s(seat, now_s) for seat in engaging)
        return Engaged(
            engaged_s=tuple(engaged_s),
            engaging_s=tuple(max(0.0, now_s - since_s) for since_s in ages),
            channels_free=max(0, self._engaging().bound - self._used()),
            engage_takes_s=self._ring_s,
        )

    def _rings_since_s(self, seat: AgentSeat, now_s: float) -> float:
        leg = self.standing.of(seat.agent_id) if self.standing is not None else None
        return leg.rang_s if leg is not None and leg.state is Standing.RINGING else now_s

    def _used(self) -> int:
        """Engaging calls of the group's agents, whoever has asked for them."""
        return sum(seat.engaged_s is not None or seat.phone_rings for seat in self._session.roster.seats.values())

    def _expected(self) -> int | None:
        """
        How many engaged agents the people of the next seconds need, as in `pacing.ports.engage`; None: all there are.

        Only Predictive with Seizing knows whom to expect, once it has the history that it predicts from.
        """
        session = self._session
        inputs = session.decided.inputs if session.decided is not None else {}
        if session.settings.dial_mode is not DialMode.PREDICTIVE_AND_SEIZE or "expected_people" not in inputs:
            return None
        soon = min(1.0, (self._ring_s + PERIOD_S) / max(inputs.get("horizon_s", 1.0), 1.0))
        people = inputs["expected_people"] * soon + session.roster.people_waiting
        return poisson_quantile(max(0.0, people), 1.0 - MISSED_RATIO)

    def answered(self, leg: StandingLeg) -> None:
        """The phone of an agent was answered."""
        self._ring_s += RING_MEMORY * (leg.rang_s - self._ring_s)

    # --- calls ----------------------------------------------------------------------------------------------------

    def leg_for(self, task: "AttemptTask", agent_id: str) -> StandingLeg | None:
        """See `AttemptHost.standing_leg`."""
        if self.standing is None:
            return None
        if task.machine.seized:
            self.standing.engage(agent_id, self.hold(assured=task.context.attempt_id))
        return self.standing.ready_for_attempt(agent_id)

    def adopt_taken(self, leg: LegSnapshot, channel_id: str) -> StandingLeg | None:
        """The standing leg of a conversation found at start-up; None: the agent's phone was called for it."""
        if self.standing is None:
            return None
        return self.standing.adopt_taken(leg, channel_id, lambda group: self.hold() if group else Hold())

    def sought(self, task: "AttemptTask") -> None:
        """An agent is looked for; whoever found none engaged is overdialed."""
        if self.active and task.machine.state in SEEKING and task.context.attempt_id in self._session.roster.line:
            self.overdialed += 1
            task.context.evidence["asm_overdial"] = 1

    def machine_plan(self, task: "AttemptTask", call_result: CallResult, plan: CallPlan | None) -> CallPlan | None:
        """asm_drop_am_announcement_data, where no treatment does anything to the machine."""
        message = task.context.seizing.machine_prompt
        acts = plan is not None and plan.action is not CallAction.NONE
        if not message or acts or call_result is not CallResult.ANSWERING_MACHINE:
            return plan
        return CallPlan(CallAction.PLAY_MESSAGE, message=message)

    # --- assured connections --------------------------------------------------------------------------------------

    def others(self, count: int) -> tuple[int, Callable[[Chain], bool] | None]:
        """
        How many of the next ``count`` chains are dialed as any other, and which those are (None: all).

        Those for assured connections among them become due: they wait in the buffer for an agent of their own.
        """
        planner = self._session.planner
        if not any(planner.option(ASSURED_CONNECT.name, list_dbid) for list_dbid in planner.shares()):
            self.due.clear()
            return count, None
        front = [chain for chain in self._session.supply.front(count) if is_assured(planner, chain.record)]
        for chain in front:
            if len(self.due) < len(self._session.roster.seats):
                self.due[chain.key] = None
        return count - len(front), lambda chain: not is_assured(planner, chain.record)

    def figures(self) -> dict[str, int]:
        """For the live statistics."""
        seats = self._session.roster.seats.values()
        return {
            "agents_engaged": sum(seat.engaged_s is not None for seat in seats),
            "agents_engaging": sum(seat.phone_rings for seat in seats),
            "engaged_legs_lost": self.standing.lost[self._session.group.dbid] if self.standing is not None else 0,
            "calls_asm_overdialed": self.overdialed,
            "records_assured_waiting": len(self.due),
        }
