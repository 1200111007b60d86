"""The second leg of an attempt, with its channel: an agent's phone or a transfer's destination. One at a time."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

import structlog
import trio

from ocsd.sessions.attempt_events import Event, MediaFailed
from ocsd.sessions.standing_legs import Standing, StandingLeg
from telephony.api import CallRefused, Channel, ChannelLost, Leg, LegLost, Media, Telephony, TelephonyError
from telephony.contract import LegAnswered, LegEnded, LegProgress, PlaceCall

log = structlog.get_logger()

Post = Callable[[Event], None]
Turn = Callable[[], Awaitable[bool]]
"""Returns when a call may start; False: it may not."""


@dataclass(frozen=True, slots=True)
class LegEvents:
    """
    What the machine is told about the leg.

    ``not_placed``: our plane could not call; ``refused``: nobody could, as the address is (None: as ``not_placed``).
    ``lost``: our plane has failed a leg that was placed (None: as ``ended``).
    """

    answered: Event
    ended: Event
    not_placed: Event
    refused: Event | None = None
    lost: Event | None = None

    def failed(self, error: TelephonyError) -> Event:
        """A call that has not left."""
        return self.refused if isinstance(error, CallRefused) and self.refused is not None else self.not_placed


@dataclass(frozen=True, slots=True)
class LegPlan:
    """Everything of PlaceCall that does not depend on the channel."""

    leg_id: str
    uri: str
    from_uri: str
    no_answer_s: float
    display_name: str = ""
    username: str = ""
    password: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    proxy: str = ""
    wanted_headers: tuple[str, ...] = ()
    beside: str = ""
    """The channel that this leg's is to be bridged to (`telephony.api.Media.open_channel`)."""


AdoptedLeg: TypeAlias = StandingLeg | tuple[Leg, Channel]
"""A leg that an earlier run of the daemon had, in the hands of this one."""


def channel_of(leg_id: str) -> str:
    """Id of the channel of a leg."""
    return f"{leg_id}-rtp"


async def follow_media(channel: Channel, event: LegProgress | LegAnswered) -> None:
    """Send the channel's audio and keys where the far end wants them, and as it wants them."""
    await channel.set_remote(event.remote_rtp_host, event.remote_rtp_port, event.payload_type, event.event_payload_type)


class SecondLeg:
    """``post`` takes the events of the leg to the machine."""

    def __init__(self, telephony: Telephony, media: Media, post: Post) -> None:
        self.leg: Leg | None = None
        self.channel: Channel | None = None
        self.moved: Callable[[], None] = lambda: None
        """Called when the far end has said where it wants its audio."""
        self._telephony = telephony
        self._media = media
        self._post = post
        self.ended: LegEnded | None = None
        """How the last leg ended that the far end has ended."""
        self._scope: trio.CancelScope | None = None
        self.outlives_media: Callable[[], bool] = lambda: False
        """Asked when its channel is lost: does the conversation go on without one?"""
        self._is_over = False
        self.standing: StandingLeg | None = None
        """The agent's leg was up before the attempt needed it, and lives on by itself."""

    @property
    def channel_id(self) -> str:
        """Id of its channel; "" while there is none."""
        return self.channel.channel_id if self.channel is not None else ""

    @property
    def is_over(self) -> bool:
        """The far end has left, or was lost; the machine may not have heard of it yet."""
        return self.standing.state is Standing.OVER if self.standing is not None else self._is_over

    async def ring(
        self, plan: LegPlan, events: LegEvents, on_ringing: Callable[[], None], turn: Turn | None = None
    ) -> None:
        """Dial, when it is its ``turn``, and follow the leg to its end. `hang_up` cancels it."""
        with trio.CancelScope() as scope:
            # What the end of another leg said is not this one's.
            self._scope, self.ended, self._is_over = scope, None, False
            if turn is not None and not await turn():
                self._post(events.not_placed)
                return
            try:
                self.channel = channel = await self._media.open_channel(channel_of(plan.leg_id), beside=plan.beside)
                leg = await self._telephony.place_call(
                    PlaceCall(
                        leg_id=plan.leg_id,
                        uri=plan.uri,
                        from_uri=plan.from_uri,
                        rtp_host=channel.host,
                        rtp_port=channel.port,
                        no_answer_s=plan.no_answer_s,
                        display_name=plan.display_name,
                        username=plan.username,
                        password=plan.password,
                        headers=plan.headers,
                        proxy=plan.proxy,
                        wanted_headers=plan.wanted_headers,
                    )
                )
            except TelephonyError as error:
                log.warning("attempt.second_leg_not_dialed", leg_id=plan.leg_id, error=str(error))
                self._post(events.failed(error))
                return
            self.leg = leg
            on_ringing()
            await self._follow(leg, events)

    async def take(self, standing: StandingLeg, events: LegEvents, beside: str) -> None:
        """Have a standing leg in place of calling the phone. ``beside``: the channel it is to be bridged to."""
        self.standing = standing
        with trio.CancelScope() as scope:
            self._scope = scope
            await standing.take(self._taken, events.answered, events.ended, self._media, beside, lost=events.lost)

    def _taken(self, event: Event) -> None:
        if self.standing is not None:
            self.leg, self.channel = self.standing.leg, self.standing.channel
            self._post(event)

    def adopt(self, found: AdoptedLeg, events: LegEvents) -> None:
        """A leg that is bridged already, after a restart; `follow_adopted` goes on with it."""
        if isinstance(found, StandingLeg):
            self.standing = found
            self.leg, self.channel = found.leg, found.channel
            found.adopt(self._taken, events.ended, lost=events.lost)
        else:
            self.leg, self.channel = found

    async def follow_adopted(self, events: LegEvents) -> None:
        """Follow a leg that an earlier run of the daemon has dialed; a standing one is followed by its own task."""
        if self.leg is not None and self.standing is None:
            with trio.CancelScope() as scope:
                self._scope = scope
                await self._follow(self.leg, events)

    async def _follow(self, leg: Leg, events: LegEvents) -> None:
        async with trio.open_nursery() as nursery:
            if self.channel is not None:
                nursery.start_soon(self._follow_channel, self.channel, leg)
            await self._follow_leg(leg, events)
            nursery.cancel_scope.cancel()

    async def _follow_channel(self, channel: Channel, leg: Leg) -> None:
        async for event in channel.events:
            if isinstance(event, ChannelLost) and self.leg is leg and not self.outlives_media():
                log.warning("attempt.second_leg_media_lost", leg_id=leg.leg_id, why=event.why)
                self._post(MediaFailed())
                await leg.hang_up("media lost")

    async def _follow_leg(self, leg: Leg, events: LegEvents) -> None:
        async for event in leg.events:
            match event:
                case LegProgress() | LegAnswered():
                    if event.remote_rtp_port and self.channel is not None:
                        await follow_media(self.channel, event)
                        self.moved()
                    if isinstance(event, LegAnswered):
                        self._post(events.answered)
                case LegEnded() | LegLost():
                    if self.leg is leg:
                        self._is_over = True
                        self.ended = event if isinstance(event, LegEnded) else None
                        lost = events.lost if isinstance(event, LegLost) else None
                        self._post(lost if lost is not None else events.ended)
                        if self.channel is not None:
                            await self.channel.close()  # its port is free for another call from here on

    async def hang_up(self) -> None:
        """End the leg, or the dialing, and close its channel; a standing one goes back. Harmless when there is none."""
        leg, channel, standing = self.leg, self.channel, self.standing
        self.leg = self.channel = self.standing = None
        if self._scope is not None:
            self._scope.cancel()
            self._scope = None
        if standing is not None:
            await standing.give_back()
            return
        if leg is not None:
            await leg.hang_up()
            await leg.aclose()
        if channel is not None:
            await channel.close()
