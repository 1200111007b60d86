"""The shell of one attempt: owns its legs, channels and deadlines, and does what the machine says."""

import math
from contextlib import suppress
from dataclasses import replace
from functools import partial

import structlog
import trio

from ocsd.model.enums import CallAction
from ocsd.model.records import (
    AttemptTimes,
)
from ocsd.sessions import attempt_events as machine_events
from ocsd.sessions.agent_legs import AGENT_EVENTS, dial_agent, merged
from ocsd.sessions.analysis_recording import AnalysisRecording
from ocsd.sessions.attempt import OUTLIVES_DAEMON, AttemptMachine
from ocsd.sessions.attempt_context import AttemptContext, AttemptHost, DialPlan
from ocsd.sessions.attempt_events import AttemptState, CallPlan, Do, Event
from ocsd.sessions.attempt_result import final_result
from ocsd.sessions.call_control_task import CallControlTask
from ocsd.sessions.clock import utc_of
from ocsd.sessions.customer_line import follow_channel, follow_customer
from ocsd.sessions.direct_media import DirectMedia
from ocsd.sessions.gateway_analysis import GatewayAnalysis
from ocsd.sessions.placing import Placing
from ocsd.sessions.second_leg import LegEvents, LegPlan, SecondLeg, channel_of
from ocsd.sessions.verdicts import lost_waiting_for, verdict_latency_s
from ocsd.sessions.voice_task import DIALOG_EVENTS, VoiceRun, mark_applied, run_application, voice_takes
from telephony.api import (
    Channel,
    Leg,
    LegLost,
)
from telephony.contract import (
    LegEnded,
)

log = structlog.get_logger()

FINAL_WRITE_LIMIT_S = 10.0
"""A cancelled attempt still gets this long to write its result; start-up settles what is left."""

LEG_END_LIMIT_S = 4.0
"""How long to wait for the far end to confirm a hang-up before the attempt's ports count as free."""

EVENT_QUEUE = 64
"""Bound of an attempt's event queue; legs and channels send a handful of events each."""

DESTINATION_EVENTS = LegEvents(
    machine_events.DestinationAnswered(),
    machine_events.DestinationEnded(),
    machine_events.DestinationEnded(placed=False),
)


class AttemptTask:
    """
    Runs one attempt from the INVITE to the written result. `run` is started in the session's attempts nursery.

    `post` hands an event in from outside (the roster reserved an agent, the desktop released the call).
    """

    def __init__(
        self, host: AttemptHost, context: AttemptContext, machine: AttemptMachine, *, adopted: bool = False
    ) -> None:
        """``adopted``: an attempt of an earlier run of the daemon; it is never dialed, whatever is left of it."""
        self.host = host
        self.adopted = adopted
        self.context = context
        self.machine = machine
        self.machine.plan_of = partial(host.call_action, self)
        # Nothing listens to the calls of designated agents: there is no verdict for them to verify.
        self.machine.verified = context.verified and machine.designated_agent is None
        self.leg: Leg | None = None
        self.channel: Channel | None = None
        self.second = SecondLeg(host.telephony, host.media, self.post)
        self.control = CallControlTask(self)
        self.placing = Placing(self)
        self.direct = DirectMedia(self)
        self.gateway = GatewayAnalysis(self)
        self.second.outlives_media = self.direct.outlives_media
        self.voice: VoiceRun | None = None
        """The steps of a voice application, while they have the call and after."""
        self.recording = AnalysisRecording(context, machine.rules, host.clock, host.note_recording, adopted=adopted)
        self.customer_gone = False
        self.media_lost = False
        self.closed = trio.Event()
        """Set once the result is on disk."""
        self.first: tuple[Do, ...] = ()
        """What an adopted attempt does before it listens to events."""
        self._send, self._receive = trio.open_memory_channel[Event](EVENT_QUEUE)
        self._nursery: trio.Nursery | None = None
        self._reserved_agent: str | None = None
        self.prompt = ""
        """What the customer hears, or heard last."""
        self._failed = False

    @property
    def nursery(self) -> trio.Nursery | None:
        """Where legs of this attempt are followed; None before it runs."""
        return self._nursery

    @property
    def agent_leg(self) -> Leg | None:
        """The agent's leg; start-up puts an adopted one here."""
        return self.second.leg

    @agent_leg.setter
    def agent_leg(self, leg: Leg | None) -> None:
        self.second.leg = leg

    @property
    def agent_channel(self) -> Channel | None:
        """The channel of the agent's leg; start-up puts an adopted one here."""
        return self.second.channel

    @agent_channel.setter
    def agent_channel(self, channel: Channel | None) -> None:
        self.second.channel = channel

    def post(self, event: Event) -> None:
        """Queue an event; a full queue means a bug or a flooding peer, and the event is dropped loudly."""
        try:
            self._send.send_nowait(event)
        except trio.WouldBlock:
            log.error("attempt.queue_full", attempt_id=self.context.attempt_id, event_type=type(event).__name__)
            self.control.unheard(event)
        except trio.BrokenResourceError:
            self.control.unheard(event)  # the attempt is over

    async def run(self) -> None:
        """Dial, and see it through. Cancelling writes the result as interrupted within FINAL_WRITE_LIMIT_S."""
        with structlog.contextvars.bound_contextvars(
            attempt_id=self.context.attempt_id, record_id=self.context.record.record_id
        ):
            try:
                async with trio.open_nursery() as nursery:
                    self._nursery = nursery
                    if self.adopted:
                        await self._take_over(nursery)
                    else:
                        for do in self.machine.start():
                            await self._do(do)
                    await self._loop()
                    nursery.cancel_scope.cancel()
            except Exception:
                self._failed = True
                raise
            finally:
                with trio.move_on_after(FINAL_WRITE_LIMIT_S, shield=True) as final:
                    await self._shut_down()
                if final.cancelled_caught:
                    log.error("attempt.result_unsaved", limit_s=FINAL_WRITE_LIMIT_S)
                with suppress(trio.WouldBlock):
                    while True:
                        self.control.unheard(self._receive.receive_nowait())
                self._receive.close()
                self.host.attempt_finished(self)

    async def _loop(self) -> None:
        while self.machine.state is not AttemptState.FINISHED:
            wait_s = self.machine.deadline_s - self.host.clock.now_s()
            event: Event = machine_events.DeadlinePassed()
            if math.isinf(wait_s):
                event = await self._receive.receive()
            else:
                with trio.move_on_after(max(0.0, wait_s)):
                    event = await self._receive.receive()
            await self._handle(event)

    async def handle_now(self, event: Event) -> None:
        """Take an event out of turn, amid what another one has led to."""
        await self._handle(event)

    async def _handle(self, event: Event) -> None:
        match event:
            case machine_events.AgentReserved(agent_id) if not self.host.is_reserved(self, agent_id):
                return  # given back since: the attempt stopped seeking before it heard of this
            case machine_events.AgentEnded(ours=True):
                missed = self.context.evidence.setdefault("agents_not_reached", [])
                assert isinstance(missed, list)
                missed.append(self.machine.agent_id)
            case machine_events.RecordProcessed(treatment=treatment):
                self.context.treatment = treatment
            case machine_events.Withdrawn() | machine_events.Cancelled():
                self.context.withdrawn = True
            case _:
                pass
        if await voice_takes(self, event):
            self.host.attempt_changed(self)
            return
        self.control.owes(event)
        if not await self.direct.make_room(event):
            self.control.owes(None)
            return
        passed = await self.control.take(event)
        plan = self.machine.plan
        to_do = self.machine.on(passed, self.host.clock.now_s()) if passed is not None else ()
        if self.machine.plan is not None and self.machine.plan is not plan:
            self._note_action(self.machine.plan)
        for do in to_do:
            await self._do(do)
        await self.control.settle()
        self.control.owes(None)
        self.direct.look()
        self.host.attempt_changed(self)

    def _note_action(self, plan: CallPlan) -> None:
        action = CallAction(plan.action).name
        self.context.evidence["call_action"] = {"action": action, "treatment_dbid": plan.treatment_dbid}
        log.info("attempt.call_action", action=action, treatment_dbid=plan.treatment_dbid)

    # --- adopted ones ---------------------------------------------------------------------------------------------

    async def _take_over(self, nursery: trio.Nursery) -> None:
        if self.leg is not None:
            nursery.start_soon(self.follow_customer, self.leg)
        if self.channel is not None:
            nursery.start_soon(self.follow_channel, self.channel)
        if self.second.leg is not None:
            dialog = self.machine.state is AttemptState.IN_DIALOG
            nursery.start_soon(self.second.follow_adopted, DIALOG_EVENTS if dialog else AGENT_EVENTS)
        if self.machine.state in (AttemptState.TALKING, AttemptState.IN_DIALOG):
            await self.control.take_over(nursery)
            await self._protect()  # the kill may have come between the bridge and this
        for do in self.first:
            await self._do(do)

    async def _protect(self) -> None:
        for leg in (self.leg, self.second.leg):
            if leg is not None:
                await leg.protect(True)

    async def follow_customer(self, leg: Leg) -> None:
        """Tell the machine of a leg to the customer."""
        await follow_customer(self, leg)

    async def follow_channel(self, channel: Channel) -> None:
        """Tell the machine of the customer's channel."""
        await follow_channel(self, channel)

    # --- doing what the machine says --------------------------------------------------------------------------------

    async def _do(self, do: Do) -> None:
        context, machine, host = self.context, self.machine, self.host
        match do:
            case Do.START_EARLY_ANALYSIS | Do.START_ANALYSIS:
                if self.channel is not None:
                    connected = do is Do.START_ANALYSIS
                    await self.recording.begin(self.channel)
                    if not await self.gateway.begins(connected=connected):
                        await self.channel.start_analysis(connected, context.analysis.settings)
            case Do.MARK_ANSWERED:
                answered_at = utc_of(host.clock, machine.marks["answered"])
                assert answered_at is not None
                await host.store.mark_answered(context.attempt_id, answered_at)
            case Do.SEEK_AGENT:
                host.seek_agent(self)
            case Do.STOP_SEEKING:
                host.stop_seeking(self)
            case Do.DIAL_AGENT:
                assert self._nursery is not None
                self._reserved_agent = machine.agent_id
                dial_agent(self, self._nursery)
            case Do.DIAL_CUSTOMER:
                await self.placing.place()
            case Do.BRIDGE_EARLY:
                await self._bridge()
            case Do.PLAY_RINGBACK_TO_AGENT:
                if self.second.channel is not None:
                    await self.second.channel.play("ringback")
            case Do.BRIDGE:
                await self._bridge(listens_on=True)
                await self._protect()
                host.agent_connected(self)
                if self._nursery is not None:
                    await merged(self, self._nursery)
            case Do.MARK_CONNECTED:
                connected_at = utc_of(host.clock, machine.marks["agent_answered"])
                assert connected_at is not None
                assert machine.agent_id is not None
                await host.store.mark_connected(context.attempt_id, connected_at, machine.agent_id)
            case Do.PLAY_DROP:
                await self._play(context.seizing.drop_prompt)
            case Do.HANG_UP_CUSTOMER:
                if self.leg is not None:
                    await self.leg.hang_up()
            case Do.HANG_UP_AGENT | Do.HANG_UP_DESTINATION:
                await self.second.hang_up()
            case Do.DIAL_DESTINATION:
                if machine.plan is not None and machine.plan.refer:
                    await host.session.transfer_out.refer(self)
                else:
                    self._dial_destination()
            case Do.BRIDGE_DESTINATION:
                await self._bridge()
                await self._protect()
            case Do.RUN_APPLICATION:
                await run_application(self)
            case Do.APPLICATION_GOES_ON:
                if self.voice is not None:
                    await self.voice.goes_on()
            case Do.BRIDGE_DIALOG:
                await self._bridge()
                await self._protect()
                await mark_applied(self)
            case Do.PLAY_RINGBACK:
                await self._play("ringback")
            case Do.PLAY_MESSAGE:
                assert machine.plan is not None
                await self._play(machine.plan.message)
            case Do.AGENT_BACK_TO_READY:
                agent_id, self._reserved_agent = self._reserved_agent, None
                if agent_id is not None:
                    host.agent_back(self, agent_id)
            case Do.AGENT_NOT_READY | Do.AGENT_NOT_REACHED:
                agent_id, self._reserved_agent = self._reserved_agent, None
                if agent_id is not None:
                    await self.second.hang_up()
                    gone = host.agent_failed if do is Do.AGENT_NOT_READY else host.agent_not_reached
                    gone(self, agent_id)
            case Do.AGENT_TO_WRAP_UP:
                self._reserved_agent = None
                if not self.control.agent_left:
                    self.control.owes(None)  # this is the answer, where it was asked for
                    host.agent_released(self)
            case Do.AGENT_FREED:
                self._reserved_agent = None
                host.agent_freed(self)
            case Do.TELL_AGENT:
                host.agent_told(self)
            case Do.CLOSE_RECORD:
                await self._write_result()
            case Do.FINISH:
                pass

    async def _bridge(self, listens_on: bool = False) -> None:
        """``listens_on``: the media server ends the analysis, at once or when its time is over."""
        if self.channel is not None and self.second.channel is not None:
            await self.recording.end(self.channel)
            if not listens_on or self.machine.verdict is None:
                await self.channel.stop_analysis()
            await self.channel.bridge(self.second.channel)

    def _dial_destination(self) -> None:
        assert self._nursery is not None
        assert self.machine.plan is not None
        context, host, uri = self.context, self.host, self.machine.plan.destination
        # Over the customer's own trunk it is a call like that one: its account, its caller ID. Elsewhere it is ours.
        own_trunk = uri.partition("@")[2] == context.plan.uri.partition("@")[2]
        plan = LegPlan(
            leg_id=context.new_destination_leg_id(host.clock.now_s()),
            uri=uri,
            from_uri=context.plan.from_uri if own_trunk else host.agent_from_uri,
            no_answer_s=self.machine.rules.agent_answer_s,
            display_name=context.plan.display_name if own_trunk else context.record.contact_info,
            username=context.plan.username if own_trunk else "",
            password=context.plan.password if own_trunk else "",
            headers=context.plan.headers if own_trunk else (("X-Call-Attempt-GUID", context.guid),),
            beside=channel_of(context.leg_id),
        )
        if self.machine.plan.to_queue:
            plan = replace(plan, headers=host.session.transfer_out.headers(self))
        self._nursery.start_soon(self.second.ring, plan, DESTINATION_EVENTS, lambda: None)

    async def _play(self, prompt: str) -> None:
        """To the customer. `PromptFinished` follows for it in any case, unless it is the endless ringback."""
        self.prompt = prompt
        if self.channel is None:
            self.post(machine_events.PromptFinished("no channel"))
        else:
            await self.recording.end(self.channel)
            await self.channel.play(prompt)

    # --- the end ----------------------------------------------------------------------------------------------------

    def times(self) -> AttemptTimes:
        marks, clock = self.machine.marks, self.host.clock
        return AttemptTimes(
            dialing_at=utc_of(clock, self.machine.started_s),
            answered_at=utc_of(clock, marks.get("answered")),
            cpd_completed_at=utc_of(clock, marks.get("cpd_completed")),
            agent_answered_at=utc_of(clock, marks.get("agent_answered")),
            agent_released_at=utc_of(clock, marks.get("agent_released")),
            released_at=utc_of(clock, marks.get("released")),
            acw_completed_at=utc_of(clock, marks.get("acw_completed")),
            abandoned_at=utc_of(clock, marks.get("abandoned")),
            speech_end_at=utc_of(clock, marks.get("speech_end")),
        )

    async def _write_result(self) -> None:
        machine = self.machine
        await self.host.settle(self)
        self.closed.set()
        verdict = machine.verdict or machine.early_verdict
        log.info(
            "attempt.finished",
            result=int(final_result(machine)),
            sip_status=machine.sip_status,
            q850_cause=machine.q850_cause,
            verdict=str(verdict) if verdict is not None else None,
            verdict_latency_s=verdict_latency_s(machine),
            lost_waiting_for=lost_waiting_for(machine, self.context.heard),
            agent_id=machine.agent_id,
            interrupted=machine.interrupted,
        )

    async def _force(self) -> None:
        """Close the record, and release everybody: after this nobody looks after the call any more."""
        for event in (machine_events.Forced(), machine_events.ReleaseRequested()):
            try:
                for do in self.machine.on(event, self.host.clock.now_s()):
                    await self._do(do)
            except Exception:
                if not self._failed:
                    raise
                log.exception("attempt.not_released", event_type=type(event).__name__)

    async def _shut_down(self) -> None:
        """
        Release what is still up. A cancelled attempt is settled as forced, except a conversation: that one stays for
        the next daemon. One that failed by a bug of ours is released whatever it was.
        """
        if self.machine.state is not AttemptState.FINISHED:
            if self.machine.state in OUTLIVES_DAEMON and not self._failed:
                self.control.stopped()
                return  # the next daemon adopts the legs and closes the record
            await self._force()
        await self.control.end()
        await self.second.hang_up()
        if self.leg is not None:
            with trio.move_on_after(LEG_END_LIMIT_S):
                if not self.customer_gone:
                    async for event in self.leg.events:
                        if isinstance(event, LegEnded | LegLost):
                            break
            await self.leg.aclose()
        if self.channel is not None:
            await self.channel.close()
            await self.recording.wait(self.channel)


__all__ = ["AttemptContext", "AttemptHost", "AttemptTask", "DialPlan"]
