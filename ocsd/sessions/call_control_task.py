"""The shell of call control: owns the third party's leg and the supervisors', makes the audio what the state says.

Runs in the attempt's task. What everybody hears follows from `CallControl.audio`; this module only brings the media
server there, with no step in which somebody who talks hears nothing.
"""

from functools import partial
from typing import TYPE_CHECKING, Final

import structlog
import trio

from ocsd.model.enums import GswError
from ocsd.model.errors import DesktopRequestError, StoreUnavailable
from ocsd.protocols.desktop_calls import CallEvent, CallNews
from ocsd.protocols.desktop_pairs import ReferenceId
from ocsd.sessions import attempt_events as machine_events
from ocsd.sessions.attempt_events import AttemptState, Event
from ocsd.sessions.call_audio import CallAudio
from ocsd.sessions.call_control import CallControl
from ocsd.sessions.call_control_events import (
    ControlEvent,
    KeysSent,
    MonitorAnswered,
    MonitorAsked,
    MonitorCancelled,
    MonitorEnded,
    PassedOn,
    Requested,
    ThirdAnswered,
    ThirdEnded,
    ThirdRings,
)
from ocsd.sessions.call_monitors import Monitors
from ocsd.sessions.call_parties import CallParties
from ocsd.sessions.call_talk import Act, Destination, Refused, SendKeys, Step, Talk, Third, Who
from ocsd.sessions.second_leg import AdoptedLeg, LegEvents, LegPlan, SecondLeg, channel_of

if TYPE_CHECKING:
    from ocsd.sessions.attempt_task import AttemptTask

log = structlog.get_logger()

MASKED_DIGITS: Final = 4
"""What a log shows of a number's end."""
STOPPING: Final = "the server is being stopped"
CONTROLLED: Final = frozenset({AttemptState.TALKING, AttemptState.TRANSFERRED})


class CallControlTask:
    """Call control of one attempt. ``control`` is None until somebody asks for something."""

    def __init__(self, task: "AttemptTask") -> None:
        self.control: CallControl | None = None
        self.third: SecondLeg | None = None
        self.monitors = Monitors(task)
        self._task = task
        self._audio = CallAudio(task)
        self._passed: tuple[int, Destination] | None = None
        """Which third party has the call now; its leg is the attempt's second one."""
        self._owed: Requested | MonitorCancelled | None = None
        self._keys: list[CallNews] = []
        """Keys under way to the customer."""

    @property
    def agent_left(self) -> bool:
        """The attempt's agent has left a call that went on, and is not the one to be released at its end."""
        return self.control is not None and not self.control.agent_there

    @property
    def parties(self) -> CallParties:
        parties = self._task.host.parties
        assert parties is not None
        return parties

    def begin(self) -> CallControl | None:
        """The conversation as it can be controlled; None: there is none."""
        machine = self._task.machine
        if self.control is None and machine.state is AttemptState.TALKING and machine.agent_id is not None:
            context, host = self._task.context, self._task.host
            customer, dn = context.record.contact_info, host.agent_dn(machine.agent_id)
            self.control = CallControl(context.attempt_id, customer, machine.agent_id, dn)
        return self.control

    # --- events -----------------------------------------------------------------------------------------------------

    async def take(self, event: Event) -> Event | None:
        """What the attempt machine is to hear in place of this event; None: nothing."""
        control = self.begin()
        match event:
            case Requested(agent_id, request):
                return await self._requested(control, agent_id, request)
            case MonitorAsked() | MonitorCancelled() | MonitorAnswered() | MonitorEnded():
                await self.monitors.take(event)
                return None
            case ThirdEnded(number) if self._passed is not None and self._passed[0] == number:
                talking = self._task.machine.state is AttemptState.TALKING
                ended: Event = machine_events.AgentEnded() if talking else machine_events.DestinationEnded()
                return await self.take(ended) if talking else ended
            case ControlEvent() if control is None:
                return None
            case machine_events.Heard() if self._audio.knows_who_it_is:
                return None  # said before the analysis ended
            case ThirdRings(number) | ThirdAnswered(number) | ThirdEnded(number):
                assert control is not None
                if control.third is None or control.third.number != number:
                    return None  # late news of one who has left
                return await self._heard_of_third(control, event)
            case KeysSent(error):
                self._keys_sent(error)
                return None
            case machine_events.AgentEnded() | machine_events.ReleaseRequested() if control is not None:
                if not control.agent_there:
                    return None
                steps = control.agent_ended()
                return await self._carry_out(steps) if steps else event
            case _:
                return event

    async def _requested(self, control: CallControl | None, agent_id: str, request: object) -> Event | None:
        task = self._task
        try:
            if control is None or task.machine.state not in CONTROLLED:
                raise _no_call()
            find = partial(self.parties.destination, task.host.session, task)
            steps = control.request(request, agent_id, find)  # type: ignore[arg-type]
        except DesktopRequestError as error:
            reference_id = getattr(request, "reference_id", None)
            self.owes(None)
            self.parties.refused(Refused(agent_id, error.description, reference_id, error.error))
            return None
        log.info(
            "call_control.requested",
            agent_id=agent_id,
            request=type(request).__name__,
            state=control.state.name.lower(),
        )
        if not steps:  # the agent hangs up on the customer
            return machine_events.ReleaseRequested()
        return await self._carry_out(steps)

    async def _heard_of_third(self, control: CallControl, event: Event) -> Event | None:
        assert control.third is not None
        match event:
            case ThirdRings():
                return await self._carry_out(control.third_rings())
            case ThirdAnswered():
                self.parties.answered(self._task.host.session, control.third.destination)
                if self.third is not None and self.third.leg is not None:
                    await self.third.leg.protect(True)
                return await self._carry_out(control.third_answered())
            case _:
                return await self._carry_out(control.third_ended())

    async def settle(self) -> None:
        """After each event of the attempt: a call that is no conversation any more has nobody but its customer."""
        if self._task.machine.state not in CONTROLLED:
            await self.end()

    def owes(self, event: Event | None) -> None:
        """What is being carried out, and is not answered yet; None: nothing."""
        self._owed = event if isinstance(event, Requested | MonitorCancelled) else None

    def unheard(self, event: Event, why: str = "") -> None:
        """An event that nobody takes any more: whoever asked for something is told."""
        match event:
            case Requested(agent_id, request):
                self._refuse(agent_id, getattr(request, "reference_id", None), why)
            case MonitorCancelled(supervisor_id, reference_id, is_release=True):
                self._refuse(supervisor_id, reference_id, why)
            case _:
                pass

    def _refuse(self, agent_id: str, reference_id: ReferenceId, why: str) -> None:
        if self._task.host.parties is not None:
            error = DesktopRequestError(GswError.INVALID_REQUEST, why) if why else _no_call()
            self.parties.refused(Refused(agent_id, error.description, reference_id, error.error))

    def answer_pending(self, why: str) -> None:
        """Nothing that was accepted will be done any more; a third party that is being called is `CallControl`'s."""
        while self._keys:
            self._keys_sent(why)

    def stopped(self) -> None:
        """The daemon stops, and the conversation goes on without it: what was under way is not done any more."""
        owed = self._owed
        if owed is not None:
            self.unheard(owed, STOPPING)
        self.answer_pending(STOPPING)
        for refused in self.control.pending(STOPPING) if self.control is not None else ():
            if not isinstance(owed, Requested) or getattr(owed.request, "reference_id", None) != refused.reference_id:
                self.parties.refused(refused)

    async def end(self) -> None:
        """Release everybody whom call control has brought in."""
        task, control = self._task, self.control
        await self.monitors.end()
        self.answer_pending("the call is over")
        await self._audio.unmute()
        if control is not None:
            await self._carry_out(control.over())
        if self._passed is not None and task.machine.state not in CONTROLLED:
            (_, destination), self._passed = self._passed, None
            if destination.member:  # the attempt's own agent by now
                destination = Destination(destination.dn, destination.uri, trunk=destination.trunk)
            elif destination.agent_id is not None and control is not None:
                news = CallNews(CallEvent.RELEASED, destination.agent_id, control.main, control.customer_dn)
                self.parties.tell(task.host.session, task, news)
            self.parties.end(task.host.session, task.context.attempt_id, destination, had_the_call=True)

    # --- after a restart --------------------------------------------------------------------------------------------

    def adopt_state(self, state: Talk) -> None:
        """The conversation was left so by an earlier run of the daemon."""
        if (control := self.begin()) is not None:
            control.state = state
            self._audio.adopt(state)

    def adopt_third(self, number: int, agent_id: str | None, dn: str, found: AdoptedLeg | None, state: Talk) -> None:
        """The same, with a third party; ``agent_id`` None: outside, at ``dn``, "" if nobody remembers the number."""
        control, task = self.begin(), self._task
        if control is None or found is None:
            return
        seat = self.parties.agent(agent_id) if agent_id is not None else None
        dn = seat.dn if seat is not None else dn
        member = agent_id in task.host.session.roster.seats
        trunk = task.context.trunk if seat is None else ""
        self._dialed = Destination(dn, dn, agent_id, member=member, trunk=trunk)
        control.third = Third(number, self._dialed, consult=state is not Talk.CONFERENCE, told=True)
        control.thirds = number
        self.third = SecondLeg(task.host.telephony, task.host.media, task.post)
        self.third.adopt(found, _third_events(number))
        self.parties.adopt(task.host.session, task.context.attempt_id, self._dialed)
        self.adopt_state(state)

    def adopt_muted(self) -> None:
        """The agent was muted."""
        if (control := self.begin()) is not None:
            control.muted = True
            self._audio.adopt_muted()

    async def take_over(self, nursery: trio.Nursery) -> None:
        """Follow the legs that were adopted, and have whoever was left with a ringing phone hear music."""
        if self.third is not None and self.control is not None and self.control.third is not None:
            nursery.start_soon(self.third.follow_adopted, _third_events(self.control.third.number))
        self.monitors.take_over(nursery)
        if self.control is None:
            return
        if self.control.state is Talk.HELD:  # the third party that was being called is not called any more
            await self._audio.each(Who.AGENT, "stop_playing")
        for who in self.control.audio.music:  # again, or a media server that is restarted later would not know of it
            await self._audio.music(who)

    # --- steps ------------------------------------------------------------------------------------------------------

    async def _carry_out(self, steps: tuple[Step, ...]) -> Event | None:
        """Do and tell; returns what the attempt machine is to hear."""
        control, task, then = self.control, self._task, None
        assert control is not None
        if Act.HAND_OVER not in steps:
            await self._audio.sound(control.audio)
        for step in steps:
            match step:
                case CallNews():
                    if step.reference_id is not None:
                        self.owes(None)
                    self.parties.tell(task.host.session, task, step)
                case Refused():
                    self.parties.refused(step)
                case SendKeys():
                    await self._send_keys(step)
                case Act.DIAL_THIRD:
                    if control.third is not None and not control.third.consult:
                        self.owes(None)  # answered with the third party's news
                    await self._note_third(control)  # before its phone can be on the line
                    self._dial(control)
                case Act.HANG_UP_THIRD:
                    await self._hang_up_third()
                case Act.MUTE:
                    await self._audio.mute(control.muted)
                case Act.AGENT_LEAVES:
                    await self._agent_leaves()
                case Act.HAND_OVER:
                    then = await self._hand_over(control)
                case Act.END:
                    then = machine_events.ReleaseRequested()
        return then

    def _dial(self, control: CallControl) -> None:
        task, third = self._task, control.third
        assert third is not None
        assert task.nursery is not None
        destination, number, host = third.destination, third.number, task.host
        self.parties.begin(host.session, task.context.attempt_id, destination)
        self.third = leg = SecondLeg(host.telephony, host.media, task.post)
        self._dialed = destination
        events = _third_events(number)
        beside = channel_of(task.context.leg_id)
        log.info(
            "call_control.third_party_called",
            by=control.agent_id,
            agent_id=destination.agent_id,
            number=None if destination.agent_id else f"...{destination.dn[-MASKED_DIGITS:]}",
            trunk=destination.trunk or None,
        )
        task.context.evidence.setdefault("third_parties", [])
        called = task.context.evidence["third_parties"]
        if isinstance(called, list):
            called.append({"by": control.agent_id, "dn": destination.dn, "for": control.state.name.lower()})
        if destination.agent_id is not None:
            standing = self.parties.standing_leg(destination.agent_id)
            if standing is not None:
                task.nursery.start_soon(leg.take, standing, events, beside)
                return
        plan = self._plan(destination, number, beside)
        turn = partial(host.session.trunk_use.turn, destination.trunk) if destination.trunk else None
        task.nursery.start_soon(leg.ring, plan, events, partial(task.post, ThirdRings(number)), turn)

    async def _note_third(self, control: CallControl | None) -> None:
        """For a restart: the leg of a nailed-up phone does not say in whose call it is. None: in nobody's any more."""
        third = control.third if control is not None else None
        note = None
        if third is not None:
            to = third.destination
            note = {"number": third.number, "agent_id": to.agent_id, "dn": to.dn}
        try:
            await self._task.host.store.note_correction(self._task.context.attempt_id, None, {}, {"third_party": note})
        except StoreUnavailable as error:
            log.warning("call_control.third_party_not_noted", error=str(error))

    def _plan(self, destination: Destination, number: int, beside: str) -> LegPlan:
        task, context, host = self._task, self._task.context, self._task.host
        leg_id = context.new_third_leg_id(number, destination.agent_id, host.clock.now_s())
        guid = ("X-Call-Attempt-GUID", context.guid)
        if (plan := destination.plan) is not None:  # outside: a call as the customer's is
            return LegPlan(
                leg_id=leg_id,
                uri=plan.uri,
                from_uri=plan.from_uri,
                no_answer_s=task.machine.rules.no_answer_s,
                display_name=plan.display_name,
                username=plan.username,
                password=plan.password,
                headers=plan.headers,
                beside=beside,
            )
        assert destination.agent_id is not None
        phone = self.parties.phone(destination.agent_id)
        return LegPlan(
            leg_id=leg_id,
            uri=destination.uri,
            from_uri=host.agent_from_uri,
            # Whoever is asked for advice is not waiting for a call: as long as a customer may be let ring.
            no_answer_s=task.machine.rules.no_answer_s,
            display_name=context.record.contact_info,
            username=phone.username,
            password=phone.password,
            headers=(guid, *phone.headers),
            proxy=phone.proxy,
            beside=beside,
        )

    async def _hang_up_third(self) -> None:
        third, self.third = self.third, None
        if third is not None:
            await third.hang_up()
            self.parties.end(self._task.host.session, self._task.context.attempt_id, self._dialed)
            await self._note_third(None)

    async def _agent_leaves(self) -> None:
        """The agent is released; the customer waits for the third party."""
        task = self._task
        await self.monitors.end()
        await task.second.hang_up()
        task.host.agent_released(task)

    async def _hand_over(self, control: CallControl) -> Event:
        task, third, left = self._task, control.third, self.third
        assert third is not None
        assert left is not None
        machine, destination = task.machine, third.destination
        in_conference = control.state is Talk.CONFERENCE
        before, had = task.second, self._passed
        agent_there, agent_id = control.agent_there, control.agent_id
        await self.monitors.end()
        if not in_conference and task.channel is not None and left.channel is not None:
            await task.channel.bridge(left.channel)
            self._audio.signalled.tell(held=False)
        await self._audio.passed_on()
        task.second, self.third = left, None
        left.outlives_media = task.direct.outlives_media
        if left.standing is not None:
            left.standing.merged = True  # with a customer from now on
        if left.leg is not None:
            await left.leg.protect(True)
        await before.hang_up()
        if agent_there:
            task.host.agent_released(task)
        if had is not None and had[1].trunk:
            self.parties.end(task.host.session, task.context.attempt_id, Destination("", "", trunk=had[1].trunk))
        control.handed_over()
        self._passed = third.number, destination
        log.info(
            "call_control.passed_on",
            by=agent_id,
            agent_id=destination.agent_id,
            with_record=destination.member,
            result=int(machine.result) if machine.result is not None else None,
        )
        await self._note_third(None)
        if destination.member and destination.agent_id is not None:
            self.parties.has_call(task, destination.agent_id)
        return PassedOn(destination.agent_id if destination.member else None)

    # --- keys -------------------------------------------------------------------------------------------------------

    async def _send_keys(self, step: SendKeys) -> None:
        channel = self._audio.channel(step.to)
        if channel is None:
            self._refuse_keys(step.news, "there is no audio")
            return
        if step.to is Who.CUSTOMER:
            self.owes(None)
            self._keys.append(step.news)
        await channel.send_digits(step.digits)
        if step.to is not Who.CUSTOMER:  # nobody listens to the third party's channel
            self.owes(None)
            self.parties.tell(self._task.host.session, self._task, step.news)

    def _keys_sent(self, error: str) -> None:
        if not self._keys:
            return
        news = self._keys.pop(0)
        if error:
            self._refuse_keys(news, error)
        else:
            self.parties.tell(self._task.host.session, self._task, news)

    def _refuse_keys(self, news: CallNews, why: str) -> None:
        self.parties.refused(Refused(news.agent_id, f"the keys were not sent: {why}", news.reference_id))


def _third_events(number: int) -> LegEvents:
    return LegEvents(ThirdAnswered(number), ThirdEnded(number), ThirdEnded(number))


def _no_call() -> DesktopRequestError:
    return DesktopRequestError(GswError.NO_CALL_FOUND, "nobody talks in this call now")
