"""One leg to an agent's phone that lives without an attempt: its state, its name, who has it. See `standing_legs`."""

import hashlib
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

import structlog
import trio

from ocsd.sessions.attempt_events import Event
from telephony.api import Channel, Leg, Media, TelephonyError

log = structlog.get_logger()

COMFORT_DBFS: Final = -60.0
"""What an agent hears who is engaged without a customer: enough to tell that the line is up, too little to tire."""
CLOSE_LIMIT_S: Final = 1.0
PREFIX: Final = "standing-"
CHANNEL: Final = re.compile(r"(?P<leg>.+)-rtp(~[0-9a-f]+)?")
"""Channels of a leg: its first one, and one that it has moved to."""


class Standing(Enum):
    RINGING = auto()
    HELD = auto()
    TAKEN = auto()
    OVER = auto()


@dataclass(frozen=True, slots=True)
class Hold:
    """
    How a leg is held, and what becomes of it.

    Attributes:
        group: DBID of the campaign group that the engaging call is for; 0: nailed up, for whoever has a call.
        prompt: heard over and over without a customer; "": comfort noise.
        kept: it outlives the conversation.
        answer_s: longest ringing.
        assured: handle of the record that the agent is seized for; 0: for whoever is found.
    """

    group: int = 0
    prompt: str = ""
    kept: bool = True
    answer_s: float = 5.0
    assured: int = 0


def leg_id_of(agent_id: str, group: int, now_s: float) -> str:
    """Leg ids are unique for ever; this one tells a later daemon whose phone it is, and for whom."""
    return f"{PREFIX}{group}-{agent_id}-{now_s:.3f}"


def agent_of(leg_id: str) -> tuple[str, int] | None:
    """Agent and campaign group (DBID, 0: none) of a standing leg; None: it is another leg."""
    if not leg_id.startswith(PREFIX):
        return None
    group, _, rest = leg_id.removeprefix(PREFIX).partition("-")
    agent_id = rest.rpartition("-")[0]
    return (agent_id, int(group)) if agent_id and group.isdigit() else None


def leg_of(channel_id: str) -> str:
    """Id of the leg whose channel this is."""
    found = CHANNEL.fullmatch(channel_id)
    return found["leg"] if found is not None else channel_id


def conn_id_of(leg_id: str) -> str:
    """ConnID of an engaging call: 16 hexadecimal digits, never those of an attempt, stable across restarts."""
    digest = int.from_bytes(hashlib.blake2b(leg_id.encode(), digest_size=8).digest())
    return f"{digest | 1 << 63:016x}"


Taker = Callable[[Event], None]
"""Where an attempt hears of the leg that it has taken."""


class StandingLeg:
    """One leg; made by `StandingLegs`, whose task runs it."""

    def __init__(self, agent_id: str, leg_id: str, hold: Hold) -> None:
        self.agent_id = agent_id
        self.leg_id = leg_id
        self.hold = hold
        self.state = Standing.RINGING
        self.leg: Leg | None = None
        self.channel: Channel | None = None
        self.merged = False
        """A customer has been on it since it was last held."""
        self.let_go = False
        """The group that it was called for is over: it ends when whoever has it gives it back."""
        self.adopted_s: float | None = None
        """When a daemon took it over from an earlier one; None: it is this one's own."""
        self.rang_s = 0.0
        """Since when the phone has rung; then how long it did."""
        self.up = trio.Event()
        """The phone was answered, or never will be."""
        self.ended = trio.Event()
        self.scope = trio.CancelScope()
        self.failed = False
        """It is released because our plane has failed it."""
        self._tell: tuple[Taker, Event, Event] | None = None

    @property
    def conn_id(self) -> str:
        return conn_id_of(self.leg_id)

    @property
    def is_taken(self) -> bool:
        """An attempt has it, or will as soon as the phone is answered."""
        return self._tell is not None

    async def take(
        self, post: Taker, answered: Event, ended: Event, media: Media, beside: str, *, lost: Event | None = None
    ) -> None:
        """
        An attempt has the leg from now on: ``post`` gets ``answered`` once customer and agent can be bridged, and
        ``ended`` when the leg is over, or ``lost`` (None: the same) when that is our plane's fault.

        ``beside``: the customer's channel, "" while there is none. To be cancelled when the attempt gives it back
        before that.
        """
        self._tell = post, ended, lost if lost is not None else ended
        await self.up.wait()
        if self.state is Standing.OVER:
            return
        self.state = Standing.TAKEN
        assert self.channel is not None
        if not beside or media.together(self.channel.channel_id, beside) or await self._move(media, beside):
            post(answered)
        else:
            self.release()

    async def _move(self, media: Media, beside: str) -> bool:
        """A bridge joins channels of one media server only: have the phone send its audio to the customer's."""
        assert self.leg is not None
        before = self.channel
        try:
            channel = await media.open_channel(f"{self.leg_id}-rtp~{uuid.uuid4().hex[:8]}", beside=beside)
        except TelephonyError as error:
            log.warning("standing_leg.not_moved", leg_id=self.leg_id, why=str(error))
            self.failed = True
            return False
        try:
            answer = await self.leg.redirect(channel.host, channel.port)
            if not 200 <= answer.sip_status < 300:
                log.warning("standing_leg.not_moved", leg_id=self.leg_id, sip_status=answer.sip_status)
                await channel.close()
                return False
            kinds = answer.payload_type, answer.event_payload_type
            await channel.set_remote(answer.remote_rtp_host, answer.remote_rtp_port, *kinds)
        except trio.Cancelled:
            # The customer has left meanwhile, and nobody knows where the phone sends its audio now.
            self.release()
            with trio.move_on_after(CLOSE_LIMIT_S, shield=True):
                await channel.close()
            raise
        self.channel = channel
        if before is not None:
            await before.close()
        return True

    def adopt(self, post: Taker, ended: Event, *, lost: Event | None = None) -> None:
        """An attempt of an earlier daemon has it, bridged already."""
        self.state, self.merged = Standing.TAKEN, True
        self._tell = post, ended, lost if lost is not None else ended

    async def give_back(self) -> None:
        """The attempt needs it no more; unless it is kept, it ends with a conversation."""
        self._tell = None
        if self.let_go:
            self.release()
            return
        if self.state is not Standing.TAKEN:
            return
        merged, self.merged = self.merged, False
        self.state = Standing.HELD
        if merged and not self.hold.kept:
            self.release()
            return
        if self.leg is not None:
            await self.leg.protect(False)
        if self.channel is not None:
            await self.channel.unbridge()
            await self.channel.stop_playing()
            await self.quiet()

    async def quiet(self) -> None:
        """What the agent hears without a customer."""
        assert self.channel is not None
        if self.hold.prompt:
            await self.channel.play(self.hold.prompt, loop=True)
        else:
            await self.channel.comfort(COMFORT_DBFS)

    def release(self) -> None:
        """Hang up; `ended` is set when that is done."""
        self.scope.cancel()

    def over(self, *, ours: bool = False) -> None:
        """Whoever has it is told; ``ours``: our plane has failed it."""
        tell, self._tell, self.state = self._tell, None, Standing.OVER
        self.up.set()
        if tell is not None:
            post, ended, lost = tell
            post(lost if ours else ended)
