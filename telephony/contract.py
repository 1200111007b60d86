"""What the daemon, the SIP workers and the media server say to each other.

Both kinds of server listen on Unix stream sockets in a run folder: ``worker-<n>.sock`` (one per SIP worker)
and ``media-<n>.sock``. A frame is a 4-byte big-endian length followed by one msgpack map of a tagged msgspec struct.
The first frame in each direction is `Hello`; the server's second frame is its snapshot. A server that speaks another
version than the daemon says so in its Hello and closes the connection; the daemon may come again with that one. A
server accepts one daemon connection at a time: a new one replaces the old one (a daemon that was killed leaves a
half-open socket). Either side may vanish at any instant; the server then keeps its legs and channels (see
ORPHAN_GRACE_S).

Times are CLOCK_MONOTONIC seconds (``time.monotonic()``), which on one Linux host is the same clock in all processes.
Identifiers (``leg_id``, ``channel_id``) are chosen by the daemon and are unique for ever.
"""

from enum import StrEnum
from typing import Final, TypeAlias

import msgspec

from telephony.contract_audio import Comfort as Comfort
from telephony.contract_audio import DetectDigits as DetectDigits
from telephony.contract_audio import DigitPressed as DigitPressed
from telephony.contract_audio import DigitsSent as DigitsSent
from telephony.contract_audio import Join as Join
from telephony.contract_audio import Layout as Layout
from telephony.contract_audio import Mute as Mute
from telephony.contract_audio import Play as Play
from telephony.contract_audio import RecordingFinished as RecordingFinished
from telephony.contract_audio import RecordingSnapshot as RecordingSnapshot
from telephony.contract_audio import Role as Role
from telephony.contract_audio import SendDigits as SendDigits
from telephony.contract_audio import StandBy as StandBy
from telephony.contract_audio import StartRecording as StartRecording
from telephony.contract_audio import StopPlaying as StopPlaying
from telephony.contract_audio import StopRecording as StopRecording
from telephony.contract_media import AnalysisSettings as AnalysisSettings
from telephony.contract_media import ChannelClosed as ChannelClosed
from telephony.contract_media import MediaStats as MediaStats
from telephony.contract_media import StartAnalysis as StartAnalysis
from telephony.contract_media import StopAnalysis as StopAnalysis
from telephony.contract_media import Verdict as Verdict
from telephony.contract_media import VerdictKind as VerdictKind
from telephony.contract_sip import DialogId as DialogId
from telephony.contract_sip import Direction as Direction
from telephony.contract_sip import Drain as Drain
from telephony.contract_sip import LegInfo as LegInfo
from telephony.contract_sip import Probe as Probe
from telephony.contract_sip import Probed as Probed
from telephony.contract_sip import Refer as Refer
from telephony.contract_sip import Referred as Referred
from telephony.contract_sip import Register as Register
from telephony.contract_sip import Registered as Registered
from telephony.contract_sip import Reinvite as Reinvite
from telephony.contract_sip import Reinvited as Reinvited
from telephony.contract_sip import Unregister as Unregister

PROTOCOL_VERSION: Final = 3
"""Raised whenever the contract changes."""
OLDEST_VERSION: Final = 1
"""A daemon also speaks with servers of so old a release: it is upgraded first, they follow when their calls are over.

What such a server does not know it ignores (version 1: ``after_bridge_ms``), what it does not say has its default.
"""
MAX_FRAME_BYTES: Final = 4 * 1024 * 1024
HEARTBEAT_S: Final = 2.0
"""Both sides send `Ping` this often; a peer silent for four of them is taken for dead."""

ORPHAN_GRACE_S: Final = 20.0
"""How long a server without a daemon keeps legs that are not conversations before it hangs them up."""


class ContractError(Exception):
    """The peer broke the contract: wrong version, unknown message, oversized or malformed frame."""


# --- both directions --------------------------------------------------------------------------------------------


class Hello(msgspec.Struct, frozen=True, tag=True):
    """First frame each way. ``role`` is "daemon", "worker" or "media"."""

    role: str
    version: int = PROTOCOL_VERSION
    pid: int = 0
    name: str = ""


class Ping(msgspec.Struct, frozen=True, tag=True):
    seq: int


class Pong(msgspec.Struct, frozen=True, tag=True):
    seq: int


# --- SIP worker: commands ---------------------------------------------------------------------------------------


class PlaceCall(msgspec.Struct, frozen=True, tag=True):
    """Send an INVITE. The media address is that of an open channel of the media server.

    ``uri`` is the request URI (``sip:+15550100@host:port``), ``from_uri`` the From address (caller ID inside).
    ``proxy`` is the SIP host:port to send through when it differs from the URI's; empty for none.
    ``headers`` are extra headers (P-Asserted-Identity, X-...). ``no_answer_s``: CANCEL after this many seconds.
    ``session_expires_s``: ask for a session timer (RFC 4028) of so many seconds, 90 at least; 0: none.
    ``wanted_headers``: names of response headers that the leg's events are to carry.
    """

    leg_id: str
    uri: str
    from_uri: str
    rtp_host: str
    rtp_port: int
    no_answer_s: float
    display_name: str = ""
    proxy: str = ""
    username: str = ""
    password: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    session_expires_s: int = 0
    wanted_headers: tuple[str, ...] = ()


class HangUp(msgspec.Struct, frozen=True, tag=True):
    """CANCEL or BYE, whichever fits the state; harmless when the leg is gone."""

    leg_id: str
    reason: str = ""


class Protect(msgspec.Struct, frozen=True, tag=True):
    """Mark a leg as part of a conversation: it outlives a lost daemon (see `ORPHAN_GRACE_S`)."""

    leg_id: str
    protected: bool


class Shutdown(msgspec.Struct, frozen=True, tag=True):
    """Hang everything up and exit cleanly."""


# --- SIP worker: events -----------------------------------------------------------------------------------------


class LegState(StrEnum):
    CALLING = "calling"  # INVITE sent, nothing but 100 back
    EARLY = "early"  # 18x received
    ANSWERED = "answered"  # 200 received, ACK sent
    ENDED = "ended"


class LegSnapshot(msgspec.Struct, frozen=True, tag=True):
    """One leg as it is now; also a leg that ended while no daemon listened (state ENDED, kept 10 minutes)."""

    leg_id: str
    state: LegState
    placed_at_s: float
    answered_at_s: float | None = None
    remote_rtp_host: str = ""
    remote_rtp_port: int = 0
    protected: bool = False
    sip_status: int = 0
    q850_cause: int | None = None
    ended_by: str = ""
    no_answer: bool = False
    ended_at_s: float | None = None
    redirect_to: str = ""
    payload_type: int = 0
    event_payload_type: int = 101
    dialog: DialogId | None = None
    retry_after_s: float = 0.0
    responded: bool = True
    """Both as in `LegEnded`."""
    rang: bool = True
    """A provisional response above 100 has come, or may have: older workers do not say."""
    headers: tuple[tuple[str, str], ...] = ()
    """Of a live leg: what `PlaceCall` wanted of the latest response to it that had any of it."""
    ended_headers: tuple[tuple[str, str], ...] = ()
    """As in `LegEnded`. Of both, what would make the snapshot too long is left out."""


class WorkerSnapshot(msgspec.Struct, frozen=True, tag=True):
    """Second frame of a worker. ``capacity`` is the number of legs it can hold at once.

    Sent again with capacity 0 by a worker that is about to exit (recycling, draining, SIGTERM): place no more calls
    there.
    """

    capacity: int
    legs: tuple[LegSnapshot, ...]
    registrations: tuple[Registered, ...] = ()


class LegPlaced(msgspec.Struct, frozen=True, tag=True):
    """The INVITE has left: the other possible answer to `PlaceCall` beside `CommandFailed`."""

    leg_id: str
    at_s: float


class LegProgress(msgspec.Struct, frozen=True, tag=True):
    """A provisional response above 100. ``remote_rtp_port`` is 0 when it carried no SDP.

    A far end that moves its RTP address in an answered leg (re-INVITE, UPDATE) is reported with ``sip_status`` 200.
    ``payload_type`` and ``event_payload_type`` are what the far end wants to be sent; see `SetRemote`.
    ``headers``: those of the response that `PlaceCall` wanted, 16 at most, each value cut at 1 KiB.
    """

    leg_id: str
    sip_status: int
    at_s: float
    remote_rtp_host: str = ""
    remote_rtp_port: int = 0
    payload_type: int = 0
    event_payload_type: int = 101
    headers: tuple[tuple[str, str], ...] = ()


class LegAnswered(msgspec.Struct, frozen=True, tag=True):
    leg_id: str
    at_s: float
    remote_rtp_host: str
    remote_rtp_port: int
    payload_type: int = 0
    event_payload_type: int = 101
    headers: tuple[tuple[str, str], ...] = ()
    dialog: DialogId | None = None


class LegEnded(msgspec.Struct, frozen=True, tag=True):
    """The leg is gone. ``sip_status`` is the final response to the INVITE, or 200 for a leg that was answered.

    ``ended_by`` is "local" (our CANCEL, BYE or no-answer limit), "remote" (their BYE or failure response) or "error"
    (no transaction: could not send, malformed SDP...). ``no_answer`` is True when the no-answer limit ran out.
    ``redirect_to`` holds the Contact of a 3xx, which is not followed. ``q850_cause`` is from a Reason header.
    ``retry_after_s``: Retry-After of a refusal (RFC 3261 20.33), 0: none. ``responded``: whether the far end ever said
    anything, 100 Trying included; a trunk that says nothing is no rude customer.
    """

    leg_id: str
    at_s: float
    sip_status: int
    ended_by: str
    was_answered: bool
    no_answer: bool = False
    q850_cause: int | None = None
    reason_text: str = ""
    redirect_to: str = ""
    retry_after_s: float = 0.0
    responded: bool = True
    headers: tuple[tuple[str, str], ...] = ()


class CommandFailed(msgspec.Struct, frozen=True, tag=True):
    """The command had no effect at all: no INVITE left. ``retryable`` when another worker may do it."""

    leg_id: str
    why: str
    retryable: bool = False


WorkerCommand: TypeAlias = (
    Hello
    | Ping
    | Pong
    | PlaceCall
    | HangUp
    | Protect
    | Reinvite
    | Refer
    | Register
    | Unregister
    | Probe
    | Drain
    | Shutdown
)
WorkerEvent: TypeAlias = (
    Hello
    | Ping
    | Pong
    | WorkerSnapshot
    | LegPlaced
    | LegProgress
    | LegAnswered
    | LegEnded
    | Reinvited
    | Referred
    | LegInfo
    | Registered
    | Probed
    | CommandFailed
)


# --- media server: commands -------------------------------------------------------------------------------------


class OpenChannel(msgspec.Struct, frozen=True, tag=True):
    """Bind an RTP/RTCP socket pair. ``local_port`` 0 lets the server choose (even port of its range)."""

    channel_id: str
    local_port: int = 0


class CloseChannel(msgspec.Struct, frozen=True, tag=True):
    channel_id: str


class SetRemote(msgspec.Struct, frozen=True, tag=True):
    """Where the far end wants its RTP (from SDP); the real source is learned from the first fitting packet.

    Outgoing packets use ``payload_type`` (0 PCMU, 8 PCMA), outgoing key presses ``event_payload_type`` (96..127; 0: the
    far end negotiated no telephone-event). Incoming ones use the number of our own SDP.
    """

    channel_id: str
    host: str
    port: int
    payload_type: int = 0
    event_payload_type: int = 101


class Bridge(msgspec.Struct, frozen=True, tag=True):
    """Join the audio of two channels both ways; stops prompts on both. Ends when either closes or `Unbridge`."""

    channel_id: str
    other_channel_id: str


class Unbridge(msgspec.Struct, frozen=True, tag=True):
    """Leave the bridge or the conference, or stop supervising (`Join`). Supervisors of the channel stay with it."""

    channel_id: str


class GetStats(msgspec.Struct, frozen=True, tag=True):
    seq: int


# --- media server: events ---------------------------------------------------------------------------------------


class ChannelSnapshot(msgspec.Struct, frozen=True, tag=True):
    channel_id: str
    local_port: int
    remote_host: str = ""
    remote_port: int = 0
    bridged_to: str = ""
    analysing: bool = False
    verdict: VerdictKind | None = None
    verdict_at_s: float = 0.0
    joined_to: str = ""
    """The other channel of a `Join`; of a conference any other member, and then ``role`` is MEMBER."""
    role: Role = Role.MEMBER
    recordings: tuple[RecordingSnapshot, ...] = ()
    digits: DetectDigits | None = None
    comfort_dbfs: float = 0.0
    payload_type: int = 0
    event_payload_type: int = 101
    """Both as in `SetRemote`."""
    prompt: str = ""
    """The prompt that is being played, or is still being read."""
    analysing_connected: bool = False
    """The analysis under way listens to the answered call, not to early media."""
    beep_at_s: float = 0.0
    """When the latest recording tone was told (monotonic); 0: none was."""
    muted: bool = False
    """As in `Mute`."""
    standing_by: bool = False
    """As in `StandBy`."""


class MediaSnapshot(msgspec.Struct, frozen=True, tag=True):
    """Second frame of the media server. ``host`` is the address it puts into SDP.

    ``recorded`` and ``closed``: recordings and channels that ended while no daemon listened, or so lately that the one
    that heard of it may not have written it down.
    """

    host: str
    capacity: int
    channels: tuple[ChannelSnapshot, ...]
    recorded: tuple[RecordingFinished, ...] = ()
    closed: "tuple[ChannelClosed, ...]" = ()


class ChannelOpened(msgspec.Struct, frozen=True, tag=True):
    channel_id: str
    host: str
    port: int


class ChannelFailed(msgspec.Struct, frozen=True, tag=True):
    channel_id: str
    why: str


class PromptFinished(msgspec.Struct, frozen=True, tag=True):
    """The prompt was played or stopped; or it could not be played at all, and ``error`` says why."""

    channel_id: str
    prompt: str
    error: str = ""


MediaCommand: TypeAlias = (
    Hello
    | Ping
    | Pong
    | OpenChannel
    | CloseChannel
    | SetRemote
    | StartAnalysis
    | StopAnalysis
    | Bridge
    | Unbridge
    | Play
    | StopPlaying
    | Join
    | Mute
    | StandBy
    | Comfort
    | DetectDigits
    | SendDigits
    | StartRecording
    | StopRecording
    | GetStats
    | Shutdown
)
MediaEvent: TypeAlias = (
    Hello
    | Ping
    | Pong
    | MediaSnapshot
    | ChannelOpened
    | ChannelFailed
    | Verdict
    | PromptFinished
    | DigitPressed
    | DigitsSent
    | RecordingFinished
    | ChannelClosed
    | MediaStats
)

_encoder = msgspec.msgpack.Encoder()


def encode_frame(message: msgspec.Struct) -> bytes:
    """Length prefix plus msgpack. Raises ContractError when the message is longer than MAX_FRAME_BYTES."""
    body = _encoder.encode(message)
    if len(body) > MAX_FRAME_BYTES:
        raise ContractError(f"{type(message).__name__} is {len(body)} bytes, the limit is {MAX_FRAME_BYTES}")
    return len(body).to_bytes(4, "big") + body


class FrameDecoder:
    """Bytes in, messages out; pure. ``FrameDecoder(WorkerEvent)`` decodes what a worker sends, and so on.

    `feed` raises ContractError for an oversized frame or one that is not of the given union.
    """

    def __init__(self, union: object) -> None:
        self._decoder = msgspec.msgpack.Decoder(union)
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[msgspec.Struct]:
        self._buffer += data
        messages: list[msgspec.Struct] = []
        while len(self._buffer) >= 4:
            length = int.from_bytes(self._buffer[:4], "big")
            if length > MAX_FRAME_BYTES:
                raise ContractError(f"frame of {length} bytes, the limit is {MAX_FRAME_BYTES}")
            if len(self._buffer) < 4 + length:
                break
            body = bytes(self._buffer[4 : 4 + length])
            del self._buffer[: 4 + length]
            try:
                messages.append(self._decoder.decode(body))
            # ValidationError is a DecodeError; bytes that are no UTF-8, and maps nested without end, are not.
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise ContractError(f"malformed frame: {error}") from error
        return messages


def check_hello(hello: msgspec.Struct, expected_role: str) -> Hello:
    """Return the peer's Hello; ContractError when it is something else, a version we do not speak or another role."""
    if not isinstance(hello, Hello):
        raise ContractError(f"expected Hello, got {type(hello).__name__}")
    if hello.role != expected_role:
        raise ContractError(f"expected a {expected_role}, got a {hello.role}")
    if not OLDEST_VERSION <= hello.version <= PROTOCOL_VERSION:
        theirs = "an older" if hello.version < OLDEST_VERSION else "a newer"
        who = f"the {hello.role}{' ' + hello.name if hello.name else ''} (pid {hello.pid})"
        raise ContractError(
            f"{who} is of {theirs} release: it speaks version {hello.version} of the contract, we speak "
            f"{OLDEST_VERSION} to {PROTOCOL_VERSION}. Upgrade the daemon first, then its servers (deploy/README.md)"
        )
    return hello
