"""The telephony plane as sessions see it: protocols that the real clients and their in-memory twins both satisfy.

`telephony.client` and `telephony.media_client` speak to processes, `telephony.fake` plays them under any clock.

Exceptions of `Telephony.place_call` and `Media.open_channel` mean that nothing was sent: the record may be dialed
again. From the moment a leg is handed out an INVITE may have left, and everything that happens, a dead worker
included, comes as an event; the last one is always a `LegEnded` or a `LegLost`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import trio

from telephony.contract import (
    AnalysisSettings,
    ChannelClosed,
    ChannelFailed,
    ChannelSnapshot,
    DialogId,
    DigitPressed,
    DigitsSent,
    Direction,
    Layout,
    LegAnswered,
    LegEnded,
    LegInfo,
    LegProgress,
    LegSnapshot,
    MediaStats,
    PlaceCall,
    Probed,
    PromptFinished,
    RecordingFinished,
    Referred,
    Register,
    Registered,
    Reinvited,
    Role,
    SetRemote,
    Verdict,
)


class TelephonyError(Exception):
    """Something about workers or media that the caller may handle."""


class NoCapacity(TelephonyError):
    """No worker is connected that has a free slot, or the media server is full. Nothing was sent."""


class CallRefused(TelephonyError):
    """No worker will place this call as it stands (bad URI, bad header...). Nothing was sent; retrying is useless."""


class WorkerLost(NoCapacity):
    """No worker is connected at all: the case of NoCapacity that an operator has to look at. Nothing was sent."""


class MediaLost(TelephonyError):
    """The connection to the media server is gone and did not come back in time."""


@dataclass(frozen=True, slots=True)
class LegLost:
    """The worker died with the leg, or is out of reach: the far end's state is unknown. Last event of its leg.

    ``at_s`` monotonic; ``was_answered``: as far as we had heard.
    """

    leg_id: str
    at_s: float
    why: str
    was_answered: bool = False


@dataclass(frozen=True, slots=True)
class ChannelLost:
    """The media server went away with this channel and it could not be opened again. Last event of its channel."""

    channel_id: str
    at_s: float
    why: str


LegReport: TypeAlias = LegProgress | LegAnswered | LegInfo | Referred | LegEnded | LegLost
ChannelReport: TypeAlias = (
    Verdict
    | PromptFinished
    | DigitPressed
    | DigitsSent
    | RecordingFinished
    | ChannelFailed
    | ChannelClosed
    | ChannelLost
)


class Leg(Protocol):
    """One call leg. ``events`` ends after `LegEnded` or `LegLost`."""

    @property
    def leg_id(self) -> str: ...
    @property
    def events(self) -> trio.MemoryReceiveChannel[LegReport]: ...

    async def hang_up(self, reason: str = "") -> None:
        """CANCEL or BYE; returns at once, `LegEnded` follows. Harmless when the leg is gone."""
        ...

    async def protect(self, protected: bool = True) -> None:
        """Part of a conversation: outlives a lost daemon."""
        ...

    @property
    def dialog(self) -> DialogId | None:
        """How a third party names this leg, for `refer` of another one; None before the answer."""
        ...

    async def redirect(
        self,
        host: str,
        port: int,
        *,
        payload_type: int = -1,
        event_payload_type: int = 101,
        direction: Direction = Direction.SENDRECV,
    ) -> Reinvited:
        """
        Re-INVITE: have the far end send its audio to another address, or hold it. See `contract.Reinvite`.

        Returns the final response; its status is 0 when the leg ended meanwhile. Cancelled, the re-INVITE goes on.
        """
        ...

    async def refer(
        self,
        target: str,
        *,
        replaces: DialogId | None = None,
        headers: tuple[tuple[str, str], ...] = (),
        target_headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """Hand the far end over to ``target``; returns at once, `Referred` events follow. See `contract.Refer`."""
        ...

    async def aclose(self) -> None:
        """Stop listening to the leg, and hang it up unless it is protected or gone."""
        ...


class Telephony(Protocol):
    @property
    def capacity(self) -> int:
        """Legs that the connected workers can hold."""
        ...

    @property
    def in_use(self) -> int:
        """Legs alive on them, unclaimed ones included."""
        ...

    async def place_call(self, command: PlaceCall) -> Leg:
        """Returns when the INVITE has left, or may have. Raises NoCapacity or CallRefused: none has left.

        Cancelled meanwhile, it hangs up what it may have started.
        """
        ...

    async def probe(self, uri: str, *, timeout_s: float = 2.0, proxy: str = "") -> Probed:
        """
        OPTIONS to a trunk; silence is status 0.

        Raises NoCapacity when no worker can send it, or those that did were lost: that says nothing about the trunk.
        """
        ...

    def keep_registered(self, wanted: Sequence[Register]) -> None:
        """From now on exactly these registrations are held, by whatever worker there is; survives lost workers."""
        ...

    def registered(self, registration_id: str) -> Registered | None:
        """What the registrar said last; None: nothing yet, or the worker that held it is gone."""
        ...

    async def drain(self) -> int:
        """Have every worker finish its calls and be replaced by a fresh one; how many were asked."""
        ...

    def live_legs(self) -> list[LegSnapshot]:
        """Legs found at the workers that nobody has adopted yet, ended ones with their result included."""
        ...

    def adopt(self, leg_id: str) -> Leg | None:
        """Take over a leg of `live_legs`; None when it is unknown. Of an ended leg the first event is `LegEnded`;
        of an answered one it is `LegAnswered`."""
        ...

    async def hang_up_unclaimed(self) -> int:
        """End the legs nobody adopted; how many were alive."""
        ...


class Channel(Protocol):
    """One RTP channel of the media server, addressed by ``host`` and ``port`` in SDP.

    Commands never fail: the client remembers what is wanted and makes it so again after a media-server restart.
    """

    @property
    def channel_id(self) -> str: ...
    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def events(self) -> trio.MemoryReceiveChannel[ChannelReport]: ...
    @property
    def reachable(self) -> bool:
        """Is its server there now? While it is not, nobody hears anybody."""
        ...

    @property
    def far_end(self) -> SetRemote | None:
        """Where the far end wants its audio, as far as we know; None before anybody said so."""
        ...

    async def set_remote(self, host: str, port: int, payload_type: int = 0, event_payload_type: int = 101) -> None: ...
    async def start_analysis(self, connected: bool, settings: AnalysisSettings | None = None) -> None: ...
    async def stop_analysis(self) -> None: ...
    async def bridge(self, other: "Channel") -> None: ...

    async def join(self, other: "Channel", role: Role = Role.MEMBER) -> None:
        """Take part in the other's conversation: conference, listen, whisper or barge. See `contract.Join`.

        Both must be at one media server (``beside`` of `Media.open_channel`).
        """
        ...

    async def unbridge(self) -> None:
        """Leave the bridge, the conference or the supervised channel."""
        ...

    async def play(
        self,
        prompt: str,
        language: str = "",
        *,
        then: tuple[str, ...] = (),
        loop: bool = False,
        mix: bool = False,
        everybody: bool = False,
    ) -> None:
        """`PromptFinished` ends it. See `contract.Play`."""
        ...

    async def stop_playing(self) -> None: ...

    async def mute(self, muted: bool = True) -> None:
        """Let nobody hear what the far end says. See `contract.Mute`."""
        ...

    async def stand_by(self, standing_by: bool = True) -> None:
        """Relay, but send nothing of our own: the far end hears somebody else. See `contract.StandBy`."""
        ...

    async def comfort(self, level_dbfs: float) -> None:
        """Noise instead of digital silence; 0: silence. See `contract.Comfort`."""
        ...

    async def detect_digits(self, enabled: bool = True, *, inband: bool = False) -> None:
        """Have keys reported as `DigitPressed`. See `contract.DetectDigits`."""
        ...

    async def send_digits(self, digits: str, *, tone_ms: int = 100, gap_ms: int = 60, inband: bool = False) -> None:
        """Press keys; `DigitsSent` ends it. See `contract.SendDigits`."""
        ...

    async def start_recording(
        self, path: str, layout: Layout = Layout.STEREO, *, consent_tone_s: float = 0.0, max_s: float = 14400.0
    ) -> None:
        """`RecordingFinished` ends it, with an ``error`` where it could not begin. See `contract.StartRecording`."""
        ...

    async def stop_recording(self, path: str = "") -> None:
        """End one recording, or all of this channel; `RecordingFinished` follows for each."""
        ...

    async def close(self) -> None:
        """Release the port. Recordings are finished first; `ChannelClosed` with the totals is the last event."""
        ...


class Media(Protocol):
    async def open_channel(self, channel_id: str, local_port: int = 0, beside: str = "") -> Channel:
        """
        Raises NoCapacity when the server refuses, MediaLost when there is none.

        ``beside``: id of a channel that this one is to be bridged to: both are then in one media server.
        """
        ...

    def together(self, channel_id: str, other_id: str) -> bool:
        """Whether both channels are at one media server, so that they can be bridged."""
        ...

    def live_channels(self) -> Sequence[ChannelSnapshot]:
        """Channels found at the server that nobody has adopted."""
        ...

    def adopt(self, channel_id: str) -> Channel | None: ...

    async def close_unclaimed(self) -> int: ...

    def take_recorded(self) -> list[RecordingFinished]:
        """Recordings that ended while nobody who knows their channel listened; each is told once."""
        ...

    def take_closed(self) -> list[ChannelClosed]:
        """The totals of all channels that have ended since the last time, whoever held them, or nobody did."""
        ...

    async def stats(self) -> MediaStats:
        """Raises MediaLost."""
        ...
