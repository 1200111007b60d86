"""What goes into the attempt machine and what comes out of it: events, states, things to do, limits, call plans."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto

from ocsd.model.enums import CallAction, CallResult, RecordType
from ocsd.sessions.call_control_events import ControlEvent, PassedOn
from telephony.contract import VerdictKind


class AttemptState(Enum):
    """See the diagram in `ocsd.sessions.attempt`."""

    RINGING_AGENT = auto()
    DIALING = auto()
    ALERTING = auto()
    ANALYSING = auto()
    WAITING = auto()
    CONNECTING = auto()
    TALKING = auto()
    WRAP_UP = auto()
    ANNOUNCING = auto()
    AWAITING_BEEP = auto()
    PLAYING = auto()
    TRANSFERRING = auto()
    TRANSFERRED = auto()
    IN_APPLICATION = auto()
    IN_DIALOG = auto()
    FINISHED = auto()


class Do(Enum):
    """What the shell has to do, in this order."""

    DIAL_CUSTOMER = auto()
    START_EARLY_ANALYSIS = auto()
    START_ANALYSIS = auto()
    MARK_ANSWERED = auto()
    SEEK_AGENT = auto()
    STOP_SEEKING = auto()
    DIAL_AGENT = auto()
    BRIDGE = auto()
    BRIDGE_EARLY = auto()  # a designated agent hears the customer's network: ringing, announcements
    PLAY_RINGBACK_TO_AGENT = auto()  # ... or, where it sends nothing, our ringback
    MARK_CONNECTED = auto()
    PLAY_DROP = auto()
    PLAY_MESSAGE = auto()
    PLAY_RINGBACK = auto()  # to the customer
    RUN_APPLICATION = auto()
    APPLICATION_GOES_ON = auto()  # after an agent or a transfer that was not to be had
    BRIDGE_DIALOG = auto()
    DIAL_DESTINATION = auto()
    BRIDGE_DESTINATION = auto()
    HANG_UP_CUSTOMER = auto()
    HANG_UP_AGENT = auto()
    HANG_UP_DESTINATION = auto()
    AGENT_BACK_TO_READY = auto()  # reserved in vain
    AGENT_NOT_READY = auto()  # its phone did not answer: do not pick it again
    AGENT_NOT_REACHED = auto()  # our plane could not reach its phone: ready still, and picked again after a moment
    AGENT_TO_WRAP_UP = auto()
    AGENT_FREED = auto()  # given a machine: ready again, there is nothing to write up
    TELL_AGENT = auto()  # the call has shown to be none with a person
    CLOSE_RECORD = auto()  # write the result; the call may go on
    FINISH = auto()  # nothing is left to do


class AfterConnect(Enum):
    """What follows when a call that an agent has turns out to be no person's (cpa-after-connect)."""

    NO = "no"
    """Nobody listens."""
    REPORT = "report"
    """The agent is told, and the result is corrected."""
    BEEP = "beep"
    """The same, and the call is taken from the agent when a tone has shown it: nobody who talks has one."""


@dataclass(frozen=True, slots=True)
class CallPlan:
    """
    What a treatment does to an answered call ("apply to call").

    Attributes:
        destination: where transfer, mute transfer and route lead: a SIP URI, ready to dial.
        message: name of the prompt that "play message" plays.
        treatment_dbid: whose action it is, for the journal.
        application: name of the voice application that the call runs; the action is none then, or what it asks for.
        dialog: a VoiceXML media server carries it out, which has to answer within ``answer_s``.
        limit_s: longest time in the dialog.
        to_queue: the destination is a queue of another switch that takes the part of the agents.
        refer: the customer's side is asked to call the destination itself.
    """

    action: CallAction
    destination: str = ""
    message: str = ""
    treatment_dbid: int = 0
    application: str = ""
    dialog: bool = False
    answer_s: float = 0.0
    limit_s: float = math.inf
    to_queue: bool = False
    refer: bool = False


PlanOf = Callable[[CallResult], CallPlan | None]
"""The call action for what analysis has found; None: a person gets an agent, everything else is hung up."""


@dataclass(frozen=True, slots=True)
class PendingCallback:
    """
    What RecordReschedule asked for; it takes effect when the record is closed.

    ``callback_type``: Personal or Campaign CallBack; ``due``: aware UTC.
    """

    callback_type: RecordType
    due: datetime


@dataclass(frozen=True, slots=True)
class AttemptRules:
    """Limits in force for one attempt, seconds.

    Attributes:
        no_answer_s: ring limit kept by the SIP worker (16 CFR 310.4(b)(4)(ii): at least 15 s or four rings).
        timeguard_s: longest analysis, kept by the media server.
        max_wait_s: longest wait for an agent: of a person from the end of the greeting, of a machine from the verdict.
        agent_answer_s: longest ringing of the agent's phone, or of a transfer's destination.
        record_processed: the record stays open until the desktop's RecordProcessed.
        stale_s: longest time a record stays on a desktop after the call.
        early_analysis: listen to early media (cpd-on-connect is off).
        analysis: listen after the answer; without, whoever answers is a person (no_progress_detection).
        waits_for_beep: a message to a machine begins with its recording tone (am-beep-detection).
        after_connect: what a verdict may do while an agent talks with the called party.
    """

    no_answer_s: float = 25.0
    timeguard_s: float = 8.0
    max_wait_s: float = 2.0
    agent_answer_s: float = 5.0
    record_processed: bool = False
    stale_s: float = 1800.0
    early_analysis: bool = True
    analysis: bool = True
    waits_for_beep: bool = True
    after_connect: AfterConnect = AfterConnect.BEEP


# --- events -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Progress:
    """A provisional response; ``has_media`` when it carried an address to listen to, ``rings`` when it was 180."""

    has_media: bool
    rings: bool = True


@dataclass(frozen=True, slots=True)
class Answered:
    """``at_s``: monotonic time of the answer, None when it is this instant."""

    at_s: float | None = None


@dataclass(frozen=True, slots=True)
class Heard:
    """A verdict of call progress analysis. ``speech_end_s``: monotonic end of the greeting, 0 when unknown."""

    kind: VerdictKind
    connected: bool
    speech_end_s: float = 0.0


@dataclass(frozen=True, slots=True)
class CustomerEnded:
    """The customer leg is gone. ``lost``: its worker died, so nobody knows how it ended."""

    sip_status: int = 0
    q850_cause: int | None = None
    no_answer: bool = False
    lost: bool = False


@dataclass(frozen=True, slots=True)
class NotPlaced:
    """Certainly no INVITE left; ``result`` says why. The record is Ready again unless ``useless``: it never will be."""

    result: CallResult
    useless: bool = False


@dataclass(frozen=True, slots=True)
class AgentReserved:
    agent_id: str


@dataclass(frozen=True, slots=True)
class AgentAnswered:
    pass


@dataclass(frozen=True, slots=True)
class AgentEnded:
    """
    The agent leg is gone: rejected, not answered in time, released.

    ``ours``: the telephony plane has failed it (worker or media server lost, no channel). The agent has done nothing.
    """

    ours: bool = False


@dataclass(frozen=True, slots=True)
class DestinationAnswered:
    """The destination of a transfer has answered."""


@dataclass(frozen=True, slots=True)
class DestinationEnded:
    """The destination's leg is gone. ``placed`` False: no INVITE left for it, so the transfer did not even begin."""

    placed: bool = True


@dataclass(frozen=True, slots=True)
class KeyPressed:
    """The far end of a voice application has pressed a key."""

    key: str


@dataclass(frozen=True, slots=True)
class ApplicationDone:
    """The voice application is at its end."""


@dataclass(frozen=True, slots=True)
class ApplicationFailed:
    """Nothing can carry it out: no port is free."""


@dataclass(frozen=True, slots=True)
class WantsAgent:
    """The application leads to an agent, who is waited for ``wait_s`` at most."""

    wait_s: float


@dataclass(frozen=True, slots=True)
class CalledOut:
    """The application leads to another line; ``destination`` is ready to dial. ``refer``: by the far end."""

    destination: str
    refer: bool = False


ApplicationEvent = KeyPressed | ApplicationDone | ApplicationFailed | WantsAgent | CalledOut


@dataclass(frozen=True, slots=True)
class PromptFinished:
    """``error``: why nothing was played, empty when the prompt was heard."""

    error: str = ""
    prompt: str = ""


@dataclass(frozen=True, slots=True)
class DeadlinePassed:
    pass


@dataclass(frozen=True, slots=True)
class ReleaseRequested:
    """The agent's desktop releases the call."""


@dataclass(frozen=True, slots=True)
class MediaFailed:
    """The audio of the call is gone for good: a fault of ours (`ocsd.sessions.attempt_faults`)."""


@dataclass(frozen=True, slots=True)
class GivenUp:
    """The pacing gives the call up: it has rung long enough, and nobody would be free for whoever answers."""


@dataclass(frozen=True, slots=True)
class HandedOver:
    """
    The customer's side has taken the call to the agent's phone (merge-method transfer), or to a queue, by itself.

    ``presumed``: it has accepted the REFER, and then hung up or fallen silent; nobody has said that the call got there.
    """

    presumed: bool = False


@dataclass(frozen=True, slots=True)
class RecordUpdated:
    """UpdateCallCompletionStats: a corrected result, or None when only fields changed."""

    call_result: int | None


@dataclass(frozen=True, slots=True)
class RecordProcessed:
    """``treatment``: GSW_TREATMENT as ``campaign`` or ``personal``; None: the record is not treated."""

    call_result: int | None
    treatment: str | None = None


@dataclass(frozen=True, slots=True)
class AgentGone:
    """The agent logged out; a record on its desktop will get no RecordProcessed."""


@dataclass(frozen=True, slots=True)
class Forced:
    """ForceUnload: release what is not a conversation, close every record as Stale."""


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """Do-Not-Call during the call: the record is closed in the database already."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """RecordCancel during the call: the record is closed in the database already."""


Event = (
    Progress
    | Answered
    | Heard
    | CustomerEnded
    | NotPlaced
    | AgentReserved
    | AgentAnswered
    | AgentEnded
    | DestinationAnswered
    | DestinationEnded
    | PromptFinished
    | KeyPressed
    | ApplicationDone
    | ApplicationFailed
    | WantsAgent
    | CalledOut
    | DeadlinePassed
    | ReleaseRequested
    | GivenUp
    | MediaFailed
    | PassedOn
    | ControlEvent
    | HandedOver
    | RecordUpdated
    | RecordProcessed
    | AgentGone
    | Forced
    | Withdrawn
    | Cancelled
)
