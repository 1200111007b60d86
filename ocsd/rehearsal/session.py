"""
The shell of one rehearsed session: the daemon's own session, with a heap of coming events in place of tasks.

`Session` decides, selects, treats and counts as it does live. What is replaced: time passes by itself, the store is in
memory and never waits, attempts are `RehearsedAttempt`, agents come and go and wrap up by plan, and the dialing loop
(`Session._keep_dialing`, `Bell`) is the event `_decide`, with the same rhythm.
"""

import heapq
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, Final, cast
from zoneinfo import ZoneInfo

import trio

from ocsd.config.objects import CampaignGroup, Configuration
from ocsd.dnc.contract import DoNotCall
from ocsd.model.enums import GroupCampStatus
from ocsd.model.records import CallingRecord
from ocsd.rehearsal.agents import Turn
from ocsd.rehearsal.attempt import RehearsedAttempt
from ocsd.rehearsal.clock import VirtualClock, finish
from ocsd.rehearsal.lists import RehearsalStore
from ocsd.rehearsal.world import Course, World
from ocsd.sessions import attempt_events as machine_events
from ocsd.sessions.attempt import AttemptMachine
from ocsd.sessions.attempt_context import AttemptContext
from ocsd.sessions.attempt_events import AttemptState
from ocsd.sessions.attempt_task import AttemptTask
from ocsd.sessions.claims import REFILL_PERIOD_S
from ocsd.sessions.group import DialSettings, Effect, Step
from ocsd.sessions.guarding import CampaignGuard
from ocsd.sessions.listener import SessionListener
from ocsd.sessions.roster import AgentSeat, AgentState, Roster
from ocsd.sessions.score import Score
from ocsd.sessions.session import PACING_PERIOD_S, PACING_REST_S, Session
from ocsd.sessions.trunks import TrunkBoard
from pacing import Pacer
from telephony.api import Media, Telephony


@dataclass(frozen=True, slots=True)
class Delays:
    """
    What the daemon and its surroundings take, in seconds.

    Attributes:
        launch_s: from a decision to the INVITE.
        teardown_s: from a hang-up to the port's release.
        ready_s: from the end of wrap-up to the next call that the agent may get.
        engage_s: from an engaging call to its answer, in a seizing mode.
    """

    launch_s: float = 0.02
    teardown_s: float = 0.05
    ready_s: float = 0.02
    engage_s: float = 0.3


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often the pacing is asked: at least every ``period_s``, and after an event no sooner than ``rest_s``."""

    period_s: float = PACING_PERIOD_S
    rest_s: float = PACING_REST_S

    def __post_init__(self) -> None:
        if not 0.0 < self.rest_s <= self.period_s < math.inf:
            raise ValueError("the pacing's rest must be more than 0 and no longer than its period")

    def finer(self) -> "Rhythm":
        """Three times as fast, but no faster than the daemon's."""
        rest_s = max(min(self.rest_s, PACING_REST_S), self.rest_s / 3.0)
        return Rhythm(max(rest_s, min(self.period_s, max(PACING_PERIOD_S, self.period_s / 3.0))), rest_s)


PACING_STEPS_PER_CALL: Final = 120.0

GUARD_PERIOD_S: Final = 60.0
"""Between two readings of the ledger."""


def rhythm_for(handle_s: float) -> Rhythm:
    """
    The daemon's rhythm, or a slower one where calls are long: a 120th of the time an agent spends on a call.

    Asking is most of what a rehearsal costs. A predictive pacing starts its calls ahead of need anyway; in progressive
    mode an agent waits for the next question, so there it is asked three times as often (`Rhythm.finer`).
    """
    rest_s = max(PACING_REST_S, handle_s / PACING_STEPS_PER_CALL)
    return Rhythm(max(PACING_PERIOD_S, rest_s), rest_s)


class Legs:
    """Counts legs, as the worker pool does."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.in_use = 0


class RehearsedSession(Session):
    """
    A session that lives in virtual time; `run_until` moves it on.

    ``seats``: agents of the group, in the order in which they are seated.
    """

    telephony: Any

    def __init__(
        self,
        config: Configuration,
        group: CampaignGroup,
        settings: DialSettings,
        *,
        store: RehearsalStore,
        dnc: DoNotCall,
        clock: VirtualClock,
        seats: list[AgentSeat],
        world: World,
        delays: Delays,
        rhythm: Rhythm,
    ) -> None:
        self.delays, self.rhythm = delays, rhythm
        self._world = world
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._decide_at_s = math.inf
        self._decided_s = -math.inf
        self.decisions = 0
        self.because: Counter[str] = Counter()
        """Calls started, by what bound their number."""
        self.waits_s: list[float] = []
        """Of people who got an agent, from the end of their greeting."""
        self.exhausted_s: float | None = None
        """When the lists had nothing more to give, now or ever."""
        listener = SessionListener(
            on_status=lambda _session, _effect: None,
            on_ringing=lambda _session, _task: None,
            on_established=self._established,
            on_released=self._released,
            on_agent_changed=lambda _session, _agent_id: None,
        )
        super().__init__(
            config,
            group,
            settings,
            store=store,
            dnc=dnc,
            telephony=cast(Telephony, Legs(config.telephony.max_legs)),
            media=cast(Media, None),
            clock=clock,
            roster=Roster(seats),
            listener=listener,
            gate=trio.Event(),
            trunk_board=TrunkBoard(config.trunks, clock.now_s()),
            guard=CampaignGuard(config, config.campaign(group.campaign).dbid, store, clock),
        )
        # Nobody will replay it: without the recorder around it, the pacer costs less.
        self.score = Score(Pacer(self.pacing.recorder.target, self.pacing.recorder.max_wait_s))
        self.clock: VirtualClock = clock
        self.store: RehearsalStore = store
        self._seats = seats
        self._zones = {zone.dbid: ZoneInfo(zone.zone) for zone in config.time_zones}

    # --- time -----------------------------------------------------------------------------------------------------

    def at(self, at_s: float, do: Callable[[], None]) -> None:
        """Do something at a time; what is planned for the same time is done in the order in which it was planned."""
        heapq.heappush(self._heap, (at_s, next(self._order), do))

    def after(self, delay_s: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (self.clock.seconds + delay_s, next(self._order), do))

    def run_until(self, end_s: float) -> None:
        """Let everything happen that happens before ``end_s``."""
        heap, clock, pop = self._heap, self.clock, heapq.heappop
        while heap and heap[0][0] < end_s:
            at_s, _, do = pop(heap)
            if at_s > clock.seconds:
                clock.seconds = at_s
            do()
        clock.seconds = end_s

    # --- life -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Load, fill the buffer, and dial."""
        self.obey(Step(GroupCampStatus.RUNNING, (Effect.OPEN, Effect.START)))
        self._read_ledger()
        self._fill()
        self._ask_at(self.clock.seconds)

    def _read_ledger(self) -> None:
        """`CampaignGuard.keep_read`, less often: nobody else spends, and what we spend ourselves it knows at once."""
        if self.guard.guard is not None:
            finish(self.guard.read())
            self.after(GUARD_PERIOD_S, self._read_ledger)

    def stop(self) -> None:
        """Dial nothing more; calls under way go on."""
        self.obey(Step(GroupCampStatus.ACTIVE, (Effect.STOP,)))
        self._decide_at_s = math.inf

    def _fill(self) -> None:
        if self.wants_records:
            finish(self.claims.refill())
            self.after(max(REFILL_PERIOD_S, self.rhythm.period_s), self._fill)

    def wake(self) -> None:
        self._ask_at(max(self.clock.seconds, self._decided_s + self.rhythm.rest_s))

    def _ask_at(self, at_s: float) -> None:
        if at_s < self._decide_at_s and self.status is GroupCampStatus.RUNNING:
            self._decide_at_s = at_s
            self.at(at_s, partial(self._decide, at_s))

    def _decide(self, at_s: float) -> None:
        if at_s != self._decide_at_s:
            return  # asked sooner, meanwhile
        self._decide_at_s = math.inf
        self._decided_s = self.clock.seconds
        self.decisions += 1
        self.seizing.keep()
        before = self.score.tally.attempts
        finish(self._dial())
        if launched := self.score.tally.attempts - before:
            self.because[self.decided.because if self.decided is not None else ""] += launched
        elif not self.attempts and self.exhausted_s is None and self.supply.all_exhausted() and not self.store.left():
            self.exhausted_s = self._decided_s
        self._ask_at(self._decided_s + self.rhythm.period_s)

    def new_attempt(self, context: AttemptContext, machine: AttemptMachine) -> RehearsedAttempt:
        return RehearsedAttempt(self, context, machine)

    def launch(self, task: AttemptTask) -> None:
        assert isinstance(task, RehearsedAttempt)
        self.attempts[task.context.attempt_id] = task
        self.score.begin(task.context.attempt_id, task.machine)
        task.begin()

    def course_of(self, record: CallingRecord) -> Course:
        """What the call that is placed now will come to."""
        return self._world.course(record, self._zone_of(record), self.clock.start_utc_s + self.clock.seconds)

    def _zone_of(self, record: CallingRecord) -> ZoneInfo | None:
        if (zone := self._zones.get(record.tz_dbid)) is not None:
            return zone
        found = self.planner.zone(record)
        return found if isinstance(found, ZoneInfo) else None

    # --- agents ---------------------------------------------------------------------------------------------------

    def turn(self, seat_number: int, turn: Turn) -> None:
        """Somebody comes or goes, as the desktop's requests do it (`Desks`)."""
        seat, now_s = self._seats[seat_number], self.clock.seconds
        match turn:
            case Turn.COMES:
                seat.log_in(now_s)
                self._becomes_ready(seat)
            case Turn.RETURNS:
                if seat.state is AgentState.NOT_READY or seat.wants is AgentState.NOT_READY:
                    self._becomes_ready(seat)
            case Turn.PAUSES:
                seat.engaged_s = None if seat.state is AgentState.READY else seat.engaged_s
                if seat.state is AgentState.WRAP_UP:
                    seat.wants = AgentState.NOT_READY  # the paperwork first
                else:
                    seat.ask_for(AgentState.NOT_READY, now_s)
            case Turn.GOES:
                seat.engaged_s = None if seat.state is AgentState.READY else seat.engaged_s
                seat.ask_for(AgentState.LOGGED_OUT, now_s)
                for task in list(self.attempts.values()):
                    if task.machine.agent_id == seat.agent_id:
                        task.post(machine_events.AgentGone())
                self.wake()

    def _becomes_ready(self, seat: AgentSeat) -> None:
        now_s = self.clock.seconds
        self._engage(seat)
        if seat.state is AgentState.WRAP_UP:
            self.handled(seat.talked_s, now_s - seat.since_s)
        seat.ask_for(AgentState.READY, now_s)
        self.agent_ready(seat.agent_id)

    def _engage(self, seat: AgentSeat) -> None:
        """In a seizing mode, call the phone of an agent who is, or is about to be, ready."""
        if self.seizing.active and seat.engaged_s is None and not seat.phone_rings:
            seat.phone_rings = True
            self.after(self.delays.engage_s, partial(self._engaged, seat))

    def _engaged(self, seat: AgentSeat) -> None:
        """The phone was answered; whoever is not ready any more hangs up at once, and is engaged anew then."""
        seat.phone_rings = False
        if seat.state is AgentState.READY:
            seat.engaged_s = self.clock.seconds
            self.agent_ready(seat.agent_id)

    def _established(self, _session: Session, task: AttemptTask) -> None:
        assert isinstance(task, RehearsedAttempt)
        machine = task.machine
        if machine.person_at_s is not None:
            self.waits_s.append(self.clock.seconds - machine.person_at_s)
        assert machine.agent_id is not None
        task.course.talk_s, task.course.wrap_up_s = self._world.handling(task.course, machine.agent_id)
        self.after(task.course.talk_s, partial(task.handle, machine_events.ReleaseRequested()))

    def _released(self, _session: Session, task: AttemptTask, agent_id: str) -> None:
        assert isinstance(task, RehearsedAttempt)
        seat = self.roster.seats[agent_id]
        if task.machine.bridged or seat.state is not AgentState.READY:
            seat.engaged_s = None  # the engaging call ends with the conversation
            if seat.state is AgentState.READY:
                self._engage(seat)
        if seat.state is AgentState.WRAP_UP:
            self.after(task.course.wrap_up_s, partial(self._wrapped_up, task, seat, seat.since_s))
        elif task.machine.bridged and seat.state in (AgentState.NOT_READY, AgentState.LOGGED_OUT):
            self.after(task.course.wrap_up_s, partial(self._processed, task))

    def _processed(self, task: RehearsedAttempt) -> None:
        if task.machine.state is AttemptState.WRAP_UP:
            task.handle(machine_events.RecordProcessed(None))

    def _wrapped_up(self, task: RehearsedAttempt, seat: AgentSeat, since_s: float) -> None:
        self._processed(task)
        if seat.state is not AgentState.WRAP_UP or seat.since_s != since_s:
            return  # logged out meanwhile
        if seat.wants is AgentState.NOT_READY:
            seat.wants = None
            self.handled(seat.talked_s, self.clock.seconds - seat.since_s)
            seat.ask_for(AgentState.NOT_READY, self.clock.seconds)
        else:
            self.after(self.delays.ready_s, partial(self._back, seat, since_s))

    def _back(self, seat: AgentSeat, since_s: float) -> None:
        if seat.state is AgentState.WRAP_UP and seat.since_s == since_s:
            self._becomes_ready(seat)
