"""
What carries out the voice application of one attempt: its steps here, or a VoiceXML media server on a second leg.

`VoiceRun` belongs to an `AttemptTask` and runs in its event loop: while the steps have the call, ends of prompts, keys
and the clock go to the application's machine (`ocsd.voice.machine`), and what that wants of the attempt goes into the
attempt's machine as an event.
"""

from collections import Counter
from typing import TYPE_CHECKING, Final

import structlog

from ocsd.config.dialog_address import dialog_uri
from ocsd.config.voice_objects import spoken
from ocsd.sessions import attempt_events as events
from ocsd.sessions.attempt_events import AttemptState, Event
from ocsd.sessions.clock import utc_of
from ocsd.sessions.second_leg import LegEvents, LegPlan, channel_of
from ocsd.voice import machine as steps
from ocsd.voice.machine import VoiceMachine
from ocsd.voice.vxml import user_data_headers
from telephony.media.prompts import MUSIC

if TYPE_CHECKING:
    from ocsd.config.voice_objects import VoiceApplication
    from ocsd.sessions.attempt_task import AttemptTask

log = structlog.get_logger()

DIALOG_EVENTS: Final = LegEvents(
    events.DestinationAnswered(), events.DestinationEnded(), events.DestinationEnded(placed=False)
)

FIRST_PARAMETERS: Final = ("GSW_RECORD_HANDLE", "GSW_RECORD_URI", "GSW_CALL_RESULT", "GSW_CALL_ATTEMPT_GUID")
"""Of the record's attributes those without which a dialog can report nothing: they go into the Request-URI first."""


class VoiceRun:
    """One run of a voice application of steps."""

    def __init__(self, task: "AttemptTask", application: "VoiceApplication") -> None:
        self._task = task
        self._now_s = task.host.clock.now_s
        self._machine = VoiceMachine(application)
        self._until_s = self._now_s() + application.limit_s
        record = task.context.record
        chosen = record.user_fields.get(application.language_field) if application.language_field else None
        self._language = str(chosen) if chosen not in (None, "") else application.language
        self._due: Counter[str] = Counter()
        """Prompts whose end has not been told yet, by name: each one that was begun has one."""

    async def start(self) -> None:
        if (channel := self._task.channel) is not None:
            await channel.stop_analysis()
        await self._listen()
        await self._carry_out(self._machine.start(self._now_s()))

    async def take(self, event: Event) -> bool:
        """Whether the event was the application's."""
        now_s, task = self._now_s(), self._task
        match event:
            case events.PromptFinished(prompt=prompt):
                self.prompt_over(prompt)
                if prompt != task.prompt or self._due[prompt] > 0:
                    return True  # it made place for the one that plays now
                done = self._machine.spoken(now_s)
            case events.KeyPressed(key):
                done = self._machine.pressed(key, now_s)
            case events.DeadlinePassed() if now_s >= self._until_s:
                log.warning("voice.limit_passed", application=self._machine.application.name)
                done = (steps.HangUp(),)
            case events.DeadlinePassed():
                done = self._machine.time_up(now_s)
            case _:
                return False
        await self._carry_out(done)
        return True

    def prompt_over(self, prompt: str) -> None:
        """A prompt that was begun is told to have ended; also one that was cut short while somebody else was sought."""
        self._due[prompt] -= 1

    async def goes_on(self) -> None:
        """Nobody took the call."""
        await self._listen()
        await self._carry_out(self._machine.came_back(self._now_s()))

    async def _carry_out(self, done: tuple[steps.ToDo, ...]) -> None:
        task = self._task
        for each in done:
            match each:
                case steps.Say(prompts):
                    if files := spoken(prompts, self._task.context.record.user_fields):
                        await self._play(files)
                    else:  # no digit in the column: nothing to wait for
                        await self._carry_out(self._machine.spoken(self._now_s()))
                case steps.StopSaying():
                    task.prompt = ""  # nobody waits for its end any more
                    if task.channel is not None:
                        await task.channel.stop_playing()
                case steps.Note():
                    self._note(each)
                case steps.FindAgent():
                    await self._find_agent(each)
                case steps.CallOut(destination, refer):
                    await self._listen(False)
                    uri = task.host.session.voice.uri(task.context, destination)
                    await task.handle_now(events.CalledOut(uri, refer))
                case steps.HangUp():
                    await task.handle_now(events.ApplicationDone())
        task.context.evidence["application"] = {
            "name": self._machine.application.name,
            "path": list(self._machine.path),
            "keys": self._machine.keys,
        }
        if task.machine.state is AttemptState.IN_APPLICATION:
            task.machine.deadline_s = min(self._machine.deadline_s, self._until_s)

    async def _listen(self, enabled: bool = True) -> None:
        """For keys, as long as the application has the call."""
        if (channel := self._task.channel) is not None:
            await channel.detect_digits(enabled, inband=True)

    async def _play(self, prompts: tuple[str, ...], *, loop: bool = False) -> None:
        channel = self._task.channel
        if channel is None:
            return  # the machine of the attempt will hear of that
        first, *rest = prompts
        self._due[first] += 1
        self._task.prompt = first
        await channel.play(first, self._language, then=tuple(rest), loop=loop)

    def _note(self, note: steps.Note) -> None:
        task = self._task
        task.context.updates.update(note.fields)
        if note.result is not None:
            task.machine.correct(int(note.result))
        if note.do_not_call:
            task.host.session.listener.on_opted_out(task.host.session, task)

    async def _find_agent(self, wish: steps.FindAgent) -> None:
        task = self._task
        await self._listen(False)
        task.context.attached.update(wish.attach)
        task.host.session.voice.lead_to(task.context.attempt_id, wish.agent_group)
        await self._play(spoken(wish.prompts, task.context.record.user_fields) or (MUSIC,), loop=True)
        await task.handle_now(events.WantsAgent(wish.wait_s))


async def run_application(task: "AttemptTask") -> None:
    """Begin what the attempt's plan names; without a free port the machine is told so."""
    session, plan = task.host.session, task.machine.plan
    assert plan is not None
    application = session.voice.application(plan.application)
    if application is None or not session.voice.take_port(task.context.attempt_id):
        log.warning("voice.no_port", application=plan.application)
        await task.handle_now(events.ApplicationFailed())
        return
    if application.is_vxml:
        await _dial_dialog(task, application)
        return
    task.voice = VoiceRun(task, application)
    await mark_applied(task)
    await task.voice.start()


async def mark_applied(task: "AttemptTask") -> None:
    """The journal says that the application has the call: after a restart it is as good as a conversation."""
    at = utc_of(task.host.clock, task.machine.marks["applied"])
    assert at is not None
    await task.host.store.mark_connected(task.context.attempt_id, at, "")


async def voice_takes(task: "AttemptTask", event: Event) -> bool:
    """Hand the event to the application if it has the call; whether it did."""
    if task.voice is None:
        return False
    if task.machine.state is not AttemptState.IN_APPLICATION:
        if isinstance(event, events.PromptFinished):
            task.voice.prompt_over(event.prompt)
        return False
    return await task.voice.take(event)


async def _dial_dialog(task: "AttemptTask", application: "VoiceApplication") -> None:
    assert task.nursery is not None
    context, host = task.context, task.host
    data = host.session.listener.user_data(host.session, task)
    first = [(key, str(data[key])) for key in FIRST_PARAMETERS if data.get(key) is not None]
    parameters = [*first[:2], *application.parameters.items(), *first[2:]]
    plan = LegPlan(
        leg_id=context.new_dialog_leg_id(host.clock.now_s()),
        uri=dialog_uri(application.media_server, application.url, parameters),
        from_uri=context.plan.from_uri,
        no_answer_s=application.answer_s,
        display_name=context.record.contact_info,
        headers=(("X-Call-Attempt-GUID", context.guid), *user_data_headers(data)),
        beside=channel_of(context.leg_id),
    )
    if task.channel is not None:
        await task.channel.stop_analysis()
    task.nursery.start_soon(task.second.ring, plan, DIALOG_EVENTS, lambda: None)
