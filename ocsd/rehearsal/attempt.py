"""The shell of one rehearsed attempt: the daemon's machine, with a course in place of legs and channels."""

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final, cast

import trio

from ocsd.model.enums import CallResult
from ocsd.model.errors import InvariantError
from ocsd.model.records import AttemptTimes
from ocsd.rehearsal.clock import finish
from ocsd.rehearsal.world import Course
from ocsd.sessions import attempt_events as machine_events
from ocsd.sessions.attempt import AttemptMachine
from ocsd.sessions.attempt_context import AttemptContext, AttemptHost
from ocsd.sessions.attempt_events import AttemptState, Do, Event
from ocsd.sessions.attempt_steps import no_action
from ocsd.sessions.attempt_task import AttemptTask
from ocsd.sessions.placing import NEXT_TRUNK_POLL_S
from ocsd.sessions.trunk_use import START_WAIT_S
from telephony.contract import VerdictKind

if TYPE_CHECKING:
    from ocsd.rehearsal.session import RehearsedSession

MESSAGE_S: Final = 20.0
"""Length of a message that a treatment plays."""
DROP_S: Final = 6.9
"""Length of the built-in drop announcement."""

ONLY_HEARD: Final = frozenset(
    {Do.MARK_ANSWERED, Do.BRIDGE_EARLY, Do.PLAY_RINGBACK_TO_AGENT, Do.PLAY_RINGBACK, Do.TELL_AGENT, Do.FINISH}
)
"""Commands that take no time, no agent and no port: what somebody hears, and what is kept for a restart."""

NEVER_HERE: Final = frozenset({Do.RUN_APPLICATION, Do.APPLICATION_GOES_ON, Do.BRIDGE_DIALOG})
"""Voice applications: groups in the modes that have them are not rehearsed (`staging.settings_of`)."""

_ANSWERED: Final = machine_events.Answered()
_DEADLINE: Final = machine_events.DeadlinePassed()
_PLAYED: Final = machine_events.PromptFinished()
_RINGS: Final = machine_events.Progress(has_media=False)
_MEDIA: Final = machine_events.Progress(has_media=True)
_OVER: Final = machine_events.CustomerEnded()


class RehearsedAttempt(AttemptTask):
    """
    Takes the place of `AttemptTask` in a rehearsed session, which asks it for the same things.

    It has no task: the events of its course, and what follows from commands, come from the session's heap.
    """

    def __init__(self, session: "RehearsedSession", context: AttemptContext, machine: AttemptMachine) -> None:
        # Not super().__init__: no channel of events, no second leg.
        self.host = cast(AttemptHost, session)  # its clock and its store are more than that
        self.session = session
        self.adopted = False
        self.context = context
        self.machine = machine
        machine.plan_of = partial(session.call_action, self)
        self.closed = trio.Event()
        self.course = Course(math.inf)
        self.placed_s = math.inf
        """When the INVITE left."""
        self.alarm_s = math.inf
        """The earliest deadline that the heap knows of."""
        self._reserved: str | None = None
        self._ringing = 0
        """Counts phones that were dialed for this attempt: the answer of one that was given up must not count."""
        self._customer_up = False
        self._second_up = False
        self._hung_up = False

    # --- events -------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Dial, after what starting a call takes."""
        self.session.after(self.session.delays.launch_s, self._begin)

    def _begin(self) -> None:
        for do in self.machine.start():
            self._obey(do)
        self._look_at_clock()

    def post(self, event: Event) -> None:
        """Hand an event in from outside; it is taken up after the one under way."""
        self.session.after(0.0, partial(self.handle, event))

    def handle(self, event: Event) -> None:
        machine, session = self.machine, self.session
        if machine.state is AttemptState.FINISHED:
            return
        match event:
            case machine_events.RecordProcessed(treatment=treatment):
                self.context.treatment = treatment
            case machine_events.Withdrawn() | machine_events.Cancelled():
                self.context.withdrawn = True
            case _:
                pass
        for do in machine.on(event, session.clock.seconds):
            self._obey(do)
        session.attempt_changed(self)
        self._look_at_clock()

    def _look_at_clock(self) -> None:
        machine = self.machine
        if machine.state is AttemptState.FINISHED:
            self._leave()
        elif machine.deadline_s < self.alarm_s:
            self.alarm_s = machine.deadline_s
            self.session.at(self.alarm_s, self._alarm)

    def _alarm(self) -> None:
        """The deadline has moved since, as often as not."""
        machine = self.machine
        self.alarm_s = math.inf
        if machine.state is AttemptState.FINISHED:
            return
        if machine.deadline_s > self.session.clock.seconds:
            self._look_at_clock()
        else:
            self.handle(_DEADLINE)

    def _leave(self) -> None:
        """Nothing is left to do; ports are free once the far end has confirmed the hang-up."""
        self.machine.plan_of = no_action  # a circle of references less
        self._drop_second()
        delay_s = self.session.delays.teardown_s if self._hung_up else 0.0
        self.session.after(delay_s, self._gone)

    def _gone(self) -> None:
        self._drop_customer()
        self.session.attempt_finished(self)

    def times(self) -> AttemptTimes:
        """The store in memory keeps no other."""
        return AttemptTimes(dialing_at=self.session.clock.utc_at(self.machine.started_s))

    def _start(self) -> bool:
        """Count the call whose agent came first, now or as soon as a trunk admits it (`Placing`)."""
        session, machine = self.session, self.machine
        if session.trunk_use.start(self.context, paced=True) is not None:
            session.score.tally.launched(1, session.clock.seconds)
            return True
        if session.clock.seconds - machine.started_s < START_WAIT_S:
            session.after(NEXT_TRUNK_POLL_S, self._start_again)
        else:
            self.handle(machine_events.NotPlaced(CallResult.NO_PORT_AVAILABLE))
        return False

    def _start_again(self) -> None:
        if self.machine.state is AttemptState.DIALING:
            self._invite()

    # --- the called side ----------------------------------------------------------------------------------------------

    def _invite(self) -> None:
        session, machine = self.session, self.machine
        if session.keeps_from_dialing(self) is not None:
            self.handle(machine_events.NotPlaced(CallResult.UNKNOWN))
            return
        if not session.trunk_use.is_counted(self.context.attempt_id) and not self._start():
            return
        course = self.course = session.course_of(self.context.record)
        self.placed_s = session.clock.seconds
        self._customer_up = True
        session.telephony.in_use += 1
        limit_s = machine.rules.no_answer_s
        over_s = min(course.answered_s, course.ended_s, limit_s)
        if course.rings_s < over_s:
            session.after(course.rings_s, partial(self.handle, _MEDIA if course.media else _RINGS))
        if course.answered_s <= over_s:
            session.after(over_s, partial(self.handle, _ANSWERED))
            session.after(course.answered_s + course.gone_s, self._far_end_leaves)
        elif course.ended_s <= over_s:
            refused = machine_events.CustomerEnded(course.sip_status, course.q850_cause)
            session.after(over_s, partial(self.handle, refused))
        else:
            given_up = machine_events.CustomerEnded(487, None, no_answer=True)
            session.after(over_s, partial(self.handle, given_up))

    def _far_end_leaves(self) -> None:
        """Unless somebody talks to it."""
        if self.machine.state not in (AttemptState.TALKING, AttemptState.WRAP_UP, AttemptState.TRANSFERRED):
            self.handle(_OVER)

    def _verdict(self, kind: VerdictKind, connected: bool, speech_end_s: float = 0.0) -> Callable[[], None]:
        return partial(self.handle, machine_events.Heard(kind, connected, speech_end_s))

    def _listen(self) -> None:
        """After the answer."""
        course, session = self.course, self.session
        answered_s = self.machine.marks["answered"]
        if course.verdict is not None:
            speech_end_s = answered_s + course.speech_end_s if course.speech_end_s > 0.0 else 0.0
            session.at(answered_s + course.verdict_s, self._verdict(course.verdict, True, speech_end_s))
        if course.revised is not None:
            session.at(answered_s + course.revised_s, self._verdict(course.revised, True))
        if course.beep_s < math.inf and VerdictKind.MACHINE in (course.verdict, course.revised):
            session.at(answered_s + course.beep_s, self._verdict(VerdictKind.BEEP, True))

    # --- commands -----------------------------------------------------------------------------------------------------

    def _obey(self, do: Do) -> None:
        session, machine, course = self.session, self.machine, self.course
        match do:
            case Do.DIAL_CUSTOMER:
                self._invite()
            case Do.START_EARLY_ANALYSIS:
                if course.early is not None:
                    session.at(self.placed_s + course.early_s, self._verdict(course.early, False))
            case Do.START_ANALYSIS:
                self._listen()
            case Do.SEEK_AGENT:
                session.seek_agent(self)
            case Do.STOP_SEEKING:
                session.stop_seeking(self)
            case Do.DIAL_AGENT:
                self._reserved = machine.agent_id
                assert machine.agent_id is not None
                up = session.roster.seats[machine.agent_id].engaged_s is not None
                self._ring_second(machine_events.AgentAnswered(), 0.0 if up else course.connect_s)
            case Do.BRIDGE:
                session.agent_connected(self)
            case Do.MARK_CONNECTED:
                assert machine.agent_id is not None
                finish(session.store.mark_connected(self.context.attempt_id, session.clock.utc(), machine.agent_id))
            case Do.PLAY_DROP:
                session.after(DROP_S, partial(self.handle, _PLAYED))
            case Do.PLAY_MESSAGE:
                session.after(MESSAGE_S, partial(self.handle, _PLAYED))
            case Do.HANG_UP_CUSTOMER:
                self._hung_up = self._customer_up
            case Do.HANG_UP_AGENT | Do.HANG_UP_DESTINATION:
                self._drop_second()
            case Do.DIAL_DESTINATION:
                refer = machine.plan is not None and machine.plan.refer
                answer = machine_events.HandedOver() if refer else machine_events.DestinationAnswered()
                self._ring_second(answer, course.connect_s)
            case Do.BRIDGE_DESTINATION:
                session.after(max(course.talk_s, MESSAGE_S), partial(self.handle, _OVER))
            case Do.AGENT_BACK_TO_READY | Do.AGENT_NOT_REACHED:
                agent_id, self._reserved = self._reserved, None
                if agent_id is not None:
                    session.agent_back(self, agent_id)
            case Do.AGENT_NOT_READY:
                agent_id, self._reserved = self._reserved, None
                if agent_id is not None:
                    self._drop_second()
                    session.agent_failed(self, agent_id)
            case Do.AGENT_TO_WRAP_UP:
                self._reserved = None
                session.agent_released(self)
            case Do.AGENT_FREED:
                self._reserved = None
                session.agent_freed(self)
            case Do.CLOSE_RECORD:
                finish(session.settle(self))
                self.closed.set()
            case Do.RUN_APPLICATION | Do.APPLICATION_GOES_ON | Do.BRIDGE_DIALOG:
                raise InvariantError(f"{do.name} in a rehearsal")
            case _:
                pass  # `ONLY_HEARD`

    def _ring_second(self, answer: Event, delay_s: float) -> None:
        """An agent's phone, or a transfer's destination."""
        self._drop_second()
        self._second_up = True
        self.session.telephony.in_use += 1
        self.session.after(delay_s, partial(self._second_answers, answer, self._ringing))

    def _second_answers(self, answer: Event, ringing: int) -> None:
        if ringing == self._ringing and self._second_up:
            self.handle(answer)

    def _drop_second(self) -> None:
        self._ringing += 1
        if self._second_up:
            self._second_up = False
            self.session.telephony.in_use -= 1

    def _drop_customer(self) -> None:
        if self._customer_up:
            self._customer_up = False
            self.session.telephony.in_use -= 1
