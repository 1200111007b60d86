"""The customer's leg and channel of an attempt: what is heard of them, told to its machine."""

from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from ocsd.sessions import attempt_events as machine_events
from ocsd.sessions.agent_legs import referred
from ocsd.sessions.attempt_faults import heard_nobody
from ocsd.sessions.call_control_events import KeysSent
from ocsd.sessions.second_leg import follow_media
from telephony.api import Channel, ChannelLost, Leg, LegLost
from telephony.contract import (
    ChannelFailed,
    DigitPressed,
    DigitsSent,
    LegAnswered,
    LegEnded,
    LegInfo,
    LegProgress,
    PromptFinished,
    RecordingFinished,
    Referred,
    Verdict,
    VerdictKind,
)

if TYPE_CHECKING:
    from ocsd.sessions.attempt_task import AttemptTask

log = structlog.get_logger()

RINGS: Final = 180
"""RFC 3261 21.1.2. Other provisional responses do not say whether a phone rings."""


async def follow_customer(task: "AttemptTask", leg: Leg) -> None:
    """Tell the machine of a leg to the customer."""
    async for event in leg.events:
        match event:
            case LegProgress():
                task.gateway.response(event.headers)
                task.placing.progressed()
                if event.remote_rtp_port and task.channel is not None:
                    await follow_media(task.channel, event)
                task.post(machine_events.Progress(bool(event.remote_rtp_port), event.sip_status == RINGS))
            case LegAnswered():
                task.gateway.response(event.headers)
                task.placing.progressed()
                if task.channel is not None:
                    await follow_media(task.channel, event)
                task.post(machine_events.Answered(event.at_s))
            case LegEnded() if await task.placing.goes_on(event):
                return  # over another trunk, or nobody was called
            case LegEnded():
                task.customer_gone = True
                task.context.evidence.update(
                    {"ended_by": event.ended_by, "reason": event.reason_text}
                    | ({"redirect_to": event.redirect_to} if event.redirect_to else {})
                )
                if task.channel is not None and not task.channel.reachable and heard_nobody(task.machine):
                    _media_failed(task, "who had answered left while the media server was away")
                task.post(
                    machine_events.CustomerEnded(
                        event.sip_status, event.q850_cause, no_answer=event.no_answer, lost=task.media_lost
                    )
                )
                await _audio_over(task)
            case LegInfo():
                task.gateway.info(event)
            case Referred():
                if not task.host.session.transfer_out.referred(task, event):
                    referred(task, event)
            case LegLost():
                task.customer_gone = True
                task.context.evidence["ended_by"] = "lost worker"
                task.post(machine_events.CustomerEnded(lost=True))
                await _audio_over(task)


async def follow_channel(task: "AttemptTask", channel: Channel) -> None:
    """Tell the machine of the customer's channel."""
    async for event in channel.events:
        match event:
            case Verdict():
                # What an adopted channel heard before the answer was early media, whatever the report says.
                connected = event.connected and event.at_s >= task.machine.marks.get("answered", 0.0)
                task.context.heard.note(msgspec.structs.replace(event, connected=connected))
                # Reached while the media server was out of reach, it comes late and without the greeting's end:
                # the person has waited since the verdict at least.
                since_s = event.at_s if event.kind is VerdictKind.HUMAN else 0.0
                task.post(machine_events.Heard(event.kind, connected, event.speech_end_s or since_s))
            case PromptFinished() if event.prompt != task.prompt and task.voice is None:
                pass  # it made place for the one that plays now
            case PromptFinished():
                if event.error:
                    log.error("attempt.prompt_not_played", prompt=event.prompt, why=event.error)
                    task.context.evidence["prompt_error"] = event.error
                task.post(machine_events.PromptFinished(event.error, event.prompt))
            case DigitPressed():
                task.post(machine_events.KeyPressed(event.digit))
            case RecordingFinished():
                await task.recording.finished(event)
            case DigitsSent():
                task.post(KeysSent(event.error))
            case ChannelFailed():
                log.warning("attempt.media_command_failed", why=event.why)
            case ChannelLost() if task.direct.outlives_media():
                log.warning("attempt.media_not_needed", why=event.why)
            case ChannelLost():
                # The media server stayed away: nobody hears anybody. A conversation ends as one, the rest is cut.
                _media_failed(task, event.why)
                if task.leg is not None:
                    await task.leg.hang_up("media lost")
            case _:
                pass


async def _audio_over(task: "AttemptTask") -> None:
    """The record may be on a desk for long: meanwhile nothing is sent where somebody else may listen by then."""
    if task.channel is not None:
        await task.channel.close()


def _media_failed(task: "AttemptTask", why: str) -> None:
    log.warning("attempt.media_lost", why=why)
    task.media_lost = True
    task.context.evidence["our_fault"] = f"media lost: {why}"
    task.post(machine_events.MediaFailed())
