"""One outgoing call leg as a pure, total, table-driven machine: events of the SIP stack in, orders and reports out.

Theory of operation. A leg lives from the INVITE until the stack has let go of it. The phases refine
`contract.LegState` by what *we* have asked for meanwhile:

    phase        public state   what happened
    CALLING      calling        INVITE sent, at most 100 came back
    EARLY        early          a provisional response above 100 came back
    CANCELLING   calling/early  we want the leg to end before it was answered; CANCEL goes out as soon as it may
    ANSWERED     answered       2xx with usable SDP received, ACK sent
    HANGING_UP   answered       BYE sent
    ENDED        ended          reported once with `LegEnded`; nothing is reported after it

               Provis.  Answered    Unusable  Failed  MediaMoved  HangUp      NoAnswer    RemoteBye  Released
    CALLING    EARLY    ANSWERED    ENDED     ENDED   .           CANCELLING  CANCELLING  ENDED      ENDED
    EARLY      EARLY    ANSWERED    ENDED     ENDED   EARLY       CANCELLING  CANCELLING  ENDED      ENDED
    CANCELLING .        HANGING_UP  ENDED     ENDED   .           .           .           ENDED      ENDED
    ANSWERED   .        .           .         ENDED   ANSWERED    HANGING_UP  .           ENDED      ENDED
    HANGING_UP .        .           .         ENDED   .           .           .           ENDED      ENDED
    ENDED      .        .           .         .       .           .           .           .          .

(. = ignored: a retransmission, a late or a crossing message. MediaAgreed, the answer to our own re-INVITE, matters in
ANSWERED only, which it leaves as it is.) The table itself is `TRANSITIONS`.

The CANCEL/200 race (RFC 3261 9.1): a 2xx that crosses our CANCEL has to be acknowledged and the dialog ended with a
BYE. Nobody is told of an answer, because whoever asked for the end has stopped listening: the leg ends as "local".
Most stacks, pjsua among them, settle that race behind `Released`; the machine is right for those that do not.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from types import MappingProxyType
from typing import Final, TypeAlias

from telephony.contract import DialogId, LegAnswered, LegEnded, LegProgress, LegSnapshot, LegState
from telephony.sdp import MediaAddress
from telephony.sip import SipStatus, speaks_of_called_party


class Phase(Enum):
    CALLING = "calling"
    EARLY = "early"
    CANCELLING = "cancelling"
    ANSWERED = "answered"
    HANGING_UP = "hanging_up"
    ENDED = "ended"


Headers: TypeAlias = tuple[tuple[str, str], ...]
"""Those of a message that `contract.PlaceCall` wanted."""

MAX_SNAPSHOT_HEADERS: Final = 1024
MAX_ENDED_HEADERS: Final = 256
"""Characters in the snapshot of a leg: a worker tells of up to a thousand live ones and some thousand that have ended
in one frame (`contract.MAX_FRAME_BYTES`)."""


# --- events: what the stack or the worker says; at_s is monotonic -------------------------------------------------


@dataclass(frozen=True, slots=True)
class Provisional:
    """A provisional response; ``media`` when the leg has a remote RTP address now. 100 tells only that one came."""

    at_s: float
    status: int
    media: MediaAddress | None = None
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class Answered:
    """2xx with usable SDP, acknowledged."""

    at_s: float
    media: MediaAddress
    headers: Headers = ()
    dialog: DialogId | None = None


@dataclass(frozen=True, slots=True)
class AnswerUnusable:
    """2xx whose SDP is missing, malformed or fits nothing we offered; the stack has ended the dialog."""

    at_s: float
    why: str


@dataclass(frozen=True, slots=True)
class Failed:
    """A final response of 300 or more from the far end."""

    at_s: float
    status: int
    q850_cause: int | None = None
    reason_text: str = ""
    redirect_to: str = ""
    retry_after_s: float = 0.0
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class MediaMoved:
    """The far end changed its RTP address by re-INVITE, UPDATE or a further provisional response."""

    at_s: float
    media: MediaAddress


@dataclass(frozen=True, slots=True)
class MediaAgreed:
    """The far end answered our own re-INVITE: `contract.Reinvited` tells, so that no report is due."""

    at_s: float
    media: MediaAddress


@dataclass(frozen=True, slots=True)
class HangUp:
    """The daemon wants the leg to end."""

    at_s: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class NoAnswerLimit:
    """The no-answer limit ran out."""

    at_s: float


@dataclass(frozen=True, slots=True)
class RemoteBye:
    """BYE from the far end."""

    at_s: float
    q850_cause: int | None = None
    reason_text: str = ""
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class Released:
    """The stack let go of the leg without a message of the far end: our own request is settled, a transaction timed
    out (``status`` 408) or sending failed (503), RFC 3261 8.1.3.1."""

    at_s: float
    status: int = 0
    why: str = ""


LegEvent: TypeAlias = (
    Provisional
    | Answered
    | AnswerUnusable
    | Failed
    | MediaMoved
    | MediaAgreed
    | HangUp
    | NoAnswerLimit
    | RemoteBye
    | Released
)


_OF_THE_FAR_END: Final = (Provisional, Answered, AnswerUnusable, Failed, RemoteBye)


@dataclass(frozen=True, slots=True)
class SendHangUp:
    """Order to the stack: CANCEL or BYE, whichever fits, with this reason phrase."""

    reason: str


Effect: TypeAlias = SendHangUp | LegProgress | LegAnswered | LegEnded


@dataclass(frozen=True, slots=True)
class LegMachine:
    """The leg as it is. ``deadline_s``: monotonic time of `NoAnswerLimit`, infinity when it no longer applies.

    ``responded``: has any message of the far end come? ``dialog``: how others name the leg, once it is answered.
    """

    leg_id: str
    placed_at_s: float
    deadline_s: float
    phase: Phase = Phase.CALLING
    was_early: bool = False
    answered_at_s: float | None = None
    media: MediaAddress | None = None
    protected: bool = False
    no_answer: bool = False
    stop_reason: str = ""
    responded: bool = False
    dialog: DialogId | None = None
    headers: Headers = ()
    """Of the latest response that had some."""
    ended: LegEnded | None = None

    @property
    def state(self) -> LegState:
        match self.phase:
            case Phase.CANCELLING:
                return LegState.EARLY if self.was_early else LegState.CALLING
            case Phase.HANGING_UP:
                return LegState.ANSWERED if self.answered_at_s is not None else LegState.EARLY
            case _:
                return LegState(self.phase.value)

    @property
    def stopping(self) -> bool:
        """Have we asked for the end already?"""
        return self.phase in (Phase.CANCELLING, Phase.HANGING_UP)

    def on(self, event: LegEvent) -> tuple["LegMachine", tuple[Effect, ...]]:
        """Total: every event is allowed in every phase."""
        leg = self
        if isinstance(event, _OF_THE_FAR_END) and not self.responded:
            leg = replace(self, responded=True)
        transition = TRANSITIONS.get((leg.phase, type(event)))
        return (leg, ()) if transition is None else transition(leg, event)

    def snapshot(self) -> LegSnapshot:
        ended = self.ended
        return LegSnapshot(
            leg_id=self.leg_id,
            state=self.state,
            placed_at_s=self.placed_at_s,
            answered_at_s=self.answered_at_s,
            remote_rtp_host=self.media.host if self.media else "",
            remote_rtp_port=self.media.port if self.media else 0,
            protected=self.protected,
            sip_status=ended.sip_status if ended else 0,
            q850_cause=ended.q850_cause if ended else None,
            ended_by=ended.ended_by if ended else "",
            no_answer=self.no_answer,
            ended_at_s=ended.at_s if ended else None,
            redirect_to=ended.redirect_to if ended else "",
            payload_type=self.media.payload_type if self.media else 0,
            event_payload_type=self.media.event_payload_type if self.media else 101,
            dialog=self.dialog,
            retry_after_s=ended.retry_after_s if ended else 0.0,
            responded=self.responded,
            rang=self.was_early or self.answered_at_s is not None,
            headers=_fitting(self.headers, MAX_SNAPSHOT_HEADERS) if ended is None else (),
            ended_headers=_fitting(ended.headers, MAX_ENDED_HEADERS) if ended is not None else (),
        )


def _fitting(headers: Headers, limit: int) -> Headers:
    """The first ones that together have no more characters."""
    total, fitting = 0, []
    for name, value in headers:
        total += len(name) + len(value)
        if total > limit:
            break
        fitting.append((name, value))
    return tuple(fitting)


Step: TypeAlias = tuple[LegMachine, tuple[Effect, ...]]


def _end(
    leg: LegMachine,
    at_s: float,
    status: int,
    ended_by: str,
    q850_cause: int | None = None,
    reason_text: str = "",
    redirect_to: str = "",
    retry_after_s: float = 0.0,
    headers: Headers = (),
) -> Step:
    answered = leg.answered_at_s is not None
    ended = LegEnded(
        leg_id=leg.leg_id,
        at_s=at_s,
        sip_status=SipStatus.OK.value if answered else status,
        ended_by=ended_by,
        was_answered=answered,
        no_answer=leg.no_answer,
        q850_cause=q850_cause,
        reason_text=reason_text,
        redirect_to=redirect_to,
        retry_after_s=retry_after_s,
        responded=leg.responded,
        headers=headers,
    )
    return replace(leg, phase=Phase.ENDED, deadline_s=math.inf, ended=ended), (ended,)


def _progress(leg: LegMachine, at_s: float, status: int, headers: Headers = ()) -> LegProgress:
    media = leg.media
    if media is None:
        return LegProgress(leg.leg_id, status, at_s, headers=headers)
    return LegProgress(
        leg.leg_id, status, at_s, media.host, media.port, media.payload_type, media.event_payload_type, headers
    )


def _on_provisional(leg: LegMachine, event: LegEvent) -> Step:
    assert isinstance(event, Provisional)
    if event.status <= SipStatus.TRYING:
        return leg, ()
    media, headers = event.media or leg.media, event.headers or leg.headers
    leg = replace(leg, phase=Phase.EARLY, was_early=True, media=media, headers=headers)
    if event.media is not None:
        return leg, (_progress(leg, event.at_s, event.status, event.headers),)
    return leg, (LegProgress(leg.leg_id, event.status, event.at_s, headers=event.headers),)


def _on_answered(leg: LegMachine, event: LegEvent) -> Step:
    assert isinstance(event, Answered)
    media = event.media
    leg = replace(
        leg,
        phase=Phase.ANSWERED,
        answered_at_s=event.at_s,
        media=media,
        deadline_s=math.inf,
        dialog=event.dialog,
        headers=event.headers or leg.headers,
    )
    kinds = media.payload_type, media.event_payload_type
    return leg, (
        LegAnswered(leg.leg_id, event.at_s, media.host, media.port, *kinds, headers=event.headers, dialog=event.dialog),
    )


def _on_answered_after_cancel(leg: LegMachine, event: LegEvent) -> Step:
    return replace(leg, phase=Phase.HANGING_UP), (SendHangUp("answered after CANCEL"),)


def _on_unusable(leg: LegMachine, event: LegEvent) -> Step:
    assert isinstance(event, AnswerUnusable)
    by = "local" if leg.phase is Phase.CANCELLING else "error"
    return _end(leg, event.at_s, SipStatus.OK.value, by, reason_text=event.why)


def _on_failed(leg: LegMachine, event: LegEvent) -> Step:
    assert isinstance(event, Failed)
    # What speaks of the called party crossed our CANCEL, and is what really happened. Anything else is its echo: 487
    # (RFC 3261 9.2), or what gateways send in its place (408, 500, 503), which is no failure of theirs.
    crossed = leg.phase is Phase.CANCELLING and speaks_of_called_party(event.status, event.q850_cause)
    by = "local" if leg.stopping and not crossed else "remote"
    if by == "remote":
        leg = replace(leg, no_answer=False)
    return _end(
        leg,
        event.at_s,
        event.status,
        by,
        event.q850_cause,
        event.reason_text,
        event.redirect_to,
        event.retry_after_s,
        event.headers,
    )


def _on_media_moved(leg: LegMachine, event: LegEvent) -> Step:
    assert isinstance(event, MediaMoved)
    if event.media == leg.media:
        return leg, ()
    leg = replace(leg, media=event.media)
    status = SipStatus.OK if leg.phase is Phase.ANSWERED else SipStatus.SESSION_PROGRESS
    return leg, (_progress(leg, event.at_s, status.value),)


def _on_media_agreed(leg: LegMachine, event: LegEvent) -> Step:
    assert isinstance(event, MediaAgreed)
    return replace(leg, media=event.media), ()


def _on_hang_up(leg: LegMachine, event: LegEvent) -> Step:
    assert isinstance(event, HangUp)
    phase = Phase.HANGING_UP if leg.phase is Phase.ANSWERED else Phase.CANCELLING
    return replace(leg, phase=phase, deadline_s=math.inf, stop_reason=event.reason), (SendHangUp(event.reason),)


def _on_no_answer(leg: LegMachine, event: LegEvent) -> Step:
    leg = replace(leg, phase=Phase.CANCELLING, no_answer=True, deadline_s=math.inf, stop_reason="no answer")
    return leg, (SendHangUp("no answer"),)


def _on_remote_bye(leg: LegMachine, event: LegEvent) -> Step:
    assert isinstance(event, RemoteBye)
    by = "local" if leg.phase in (Phase.CANCELLING, Phase.HANGING_UP) else "remote"
    # A BYE in an early dialog (RFC 3261 15) leaves the INVITE without a final response of its own: 487.
    status = SipStatus.REQUEST_TERMINATED.value
    return _end(leg, event.at_s, status, by, event.q850_cause, event.reason_text, headers=event.headers)


def _on_released(leg: LegMachine, event: LegEvent) -> Step:
    assert isinstance(event, Released)
    if leg.phase in (Phase.CANCELLING, Phase.HANGING_UP):
        return _end(leg, event.at_s, SipStatus.REQUEST_TERMINATED.value, "local", reason_text=leg.stop_reason)
    return _end(leg, event.at_s, event.status, "error", reason_text=event.why)


TRANSITIONS: Final = MappingProxyType[tuple[Phase, type], Callable[[LegMachine, LegEvent], Step]](
    {
        (Phase.CALLING, Provisional): _on_provisional,
        (Phase.CALLING, Answered): _on_answered,
        (Phase.CALLING, AnswerUnusable): _on_unusable,
        (Phase.CALLING, Failed): _on_failed,
        (Phase.CALLING, HangUp): _on_hang_up,
        (Phase.CALLING, NoAnswerLimit): _on_no_answer,
        (Phase.CALLING, RemoteBye): _on_remote_bye,
        (Phase.CALLING, Released): _on_released,
        (Phase.EARLY, Provisional): _on_provisional,
        (Phase.EARLY, Answered): _on_answered,
        (Phase.EARLY, AnswerUnusable): _on_unusable,
        (Phase.EARLY, Failed): _on_failed,
        (Phase.EARLY, MediaMoved): _on_media_moved,
        (Phase.EARLY, HangUp): _on_hang_up,
        (Phase.EARLY, NoAnswerLimit): _on_no_answer,
        (Phase.EARLY, RemoteBye): _on_remote_bye,
        (Phase.EARLY, Released): _on_released,
        (Phase.CANCELLING, Answered): _on_answered_after_cancel,
        (Phase.CANCELLING, AnswerUnusable): _on_unusable,
        (Phase.CANCELLING, Failed): _on_failed,
        (Phase.CANCELLING, RemoteBye): _on_remote_bye,
        (Phase.CANCELLING, Released): _on_released,
        (Phase.ANSWERED, Failed): _on_failed,
        (Phase.ANSWERED, MediaMoved): _on_media_moved,
        (Phase.ANSWERED, MediaAgreed): _on_media_agreed,
        (Phase.ANSWERED, HangUp): _on_hang_up,
        (Phase.ANSWERED, RemoteBye): _on_remote_bye,
        (Phase.ANSWERED, Released): _on_released,
        (Phase.HANGING_UP, Failed): _on_failed,
        (Phase.HANGING_UP, RemoteBye): _on_remote_bye,
        (Phase.HANGING_UP, Released): _on_released,
    }
)
"""What may follow what; a pair that is not here is ignored."""
