"""
Legs to agents' phones that live without an attempt: engaging calls, and phones that are nailed up.

Theory of operation
-------------------
    RINGING --answered--> HELD <--taken / given back--> TAKEN
       \\___________________\\______________________________\\____ ended by either side --> OVER

A leg is held in quiet (comfort noise, or a prompt over and over) until an attempt takes it in place of calling the
phone: the customer is bridged to it at once. What becomes of it then is the leg's own affair: it is kept for the next
customer, or hung up. One task per leg follows phone and audio to the end. The seat says what its agent's phone does
(`AgentSeat.engaged_s`, `phone_rings`), so that only agents are chosen who can be talked to.

A held leg is no conversation: without a daemon its worker hangs it up after `telephony.contract.ORPHAN_GRACE_S`, and
a daemon that is back before that adopts it (`adopt_held`). Its id names the agent and the campaign group.
"""

import hashlib
import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

import structlog
import trio

from ocsd.sessions.attempt_events import Event
from ocsd.sessions.clock import Clock
from ocsd.sessions.roster import AgentSeat, AgentState
from telephony.api import CallRefused, Channel, ChannelLost, Leg, LegLost, Media, Telephony, TelephonyError
from telephony.contract import LegAnswered, LegEnded, LegProgress, LegSnapshot, LegState, PlaceCall

log = structlog.get_logger()

COMFORT_DBFS: Final = -60.0
"""What an agent hears who is engaged without a customer: enough to tell that the line is up, too little to tire."""
RETURN_LIMIT_S: Final = 30.0
"""After a restart of the daemon, so long a held leg waits for its agent's desktop to come back."""
REDIAL_S: Final = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Waits before a nailed-up phone is called again: after its leg was lost, after one failure, after two..."""
LOOK_PERIOD_S: Final = 0.2
HANG_UP_LIMIT_S: Final = 2.0
RETRY_S: Final = 1.0
"""Wait before a phone is called again that could not be called, or was cut off, for a reason of ours."""
OUR_FAULT: Final = ""
"""Why a leg ended: the telephony plane failed it."""
NAILED_UP_ANSWER_S: Final = 15.0
"""How long a nailed-up phone may ring: its agent has just logged in, and may have to put on the headset."""
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
        self.adopted_s: float | None = None
        """When a daemon took it over from an earlier one; None: it is this one's own."""
        self.rang_s = 0.0
        """Since when the phone has rung; then how long it did."""
        self.up = trio.Event()
        """The phone was answered, or never will be."""
        self.ended = trio.Event()
        self.scope = trio.CancelScope()
        self._tell: tuple[Taker, Event] | None = None

    @property
    def conn_id(self) -> str:
        return conn_id_of(self.leg_id)

    @property
    def is_taken(self) -> bool:
        """An attempt has it, or will as soon as the phone is answered."""
        return self._tell is not None

    async def take(self, post: Taker, answered: Event, ended: Event, media: Media, beside: str) -> None:
        """
        An attempt has the leg from now on: ``post`` gets ``answered`` once customer and agent can be bridged, and
        ``ended`` when the leg is over.

        ``beside``: the customer's channel, "" while there is none. To be cancelled when the attempt gives it back
        before that.
        """
        self._tell = (post, ended)
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
            return False
        answer = await self.leg.redirect(channel.host, channel.port)
        if not 200 <= answer.sip_status < 300:
            log.warning("standing_leg.not_moved", leg_id=self.leg_id, sip_status=answer.sip_status)
            await channel.close()
            return False
        kinds = answer.payload_type, answer.event_payload_type
        await channel.set_remote(answer.remote_rtp_host, answer.remote_rtp_port, *kinds)
        self.channel = channel
        if before is not None:
            await before.close()
        return True

    def adopt(self, post: Taker, ended: Event) -> None:
        """An attempt of an earlier daemon has it, bridged already."""
        self.state, self.merged, self._tell = Standing.TAKEN, True, (post, ended)

    async def give_back(self) -> None:
        """The attempt needs it no more; unless it is kept, it ends with a conversation."""
        self._tell = None
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

    def over(self) -> None:
        """Whoever has it is told."""
        tell, self._tell, self.state = self._tell, None, Standing.OVER
        self.up.set()
        if tell is not None:
            post, ended = tell
            post(ended)


@dataclass(frozen=True, slots=True)
class StandingNews:
    """
    Whom the legs tell of what happens to them.

    Attributes:
        ringing, up, down: of an agent's phone; ``down`` also of one that was never answered.
        lost: the agent is not ready any more, and why: the phone was not answered, or was hung up.
        changed: somebody may be matched, or not any more.
    """

    ringing: Callable[[StandingLeg], None] = lambda _leg: None
    up: Callable[[StandingLeg], None] = lambda _leg: None
    down: Callable[[StandingLeg], None] = lambda _leg: None
    lost: Callable[[str, str], None] = lambda _agent_id, _why: None
    changed: Callable[[], None] = lambda: None


class StandingLegs:
    """All standing legs of the daemon, at most one per agent. Legs live in ``nursery``."""

    def __init__(
        self,
        nursery: trio.Nursery,
        *,
        telephony: Telephony,
        media: Media,
        clock: Clock,
        seats: Mapping[str, AgentSeat],
        from_uri: str,
    ) -> None:
        self.news = StandingNews()
        self.telephony, self.media = telephony, media
        self.lost: Counter[int] = Counter()
        """Legs that were up, and that the agent or the network has ended, by campaign group (DBID; 0: nailed up)."""
        self._closing = False
        self._nursery = nursery
        self._clock = clock
        self._seats = seats
        self._from_uri = from_uri
        self._legs: dict[str, StandingLeg] = {}
        self._failures: dict[str, int] = {}
        self._redial_at_s: dict[str, float] = {}
        if any(seat.phone.nailed_up for seat in seats.values()):
            nursery.start_soon(self._keep_nailed_up)

    def of(self, agent_id: str) -> StandingLeg | None:
        """The agent's leg, in whatever state; None: there is none."""
        return self._legs.get(agent_id)

    def of_group(self, group: int) -> list[StandingLeg]:
        """Engaging calls for a campaign group (DBID)."""
        return [each for each in self._legs.values() if each.hold.group == group]

    def ready_for_attempt(self, agent_id: str) -> StandingLeg | None:
        """The leg that an attempt takes in place of calling the agent's phone, even if that rings still."""
        found = self._legs.get(agent_id)
        return found if found is not None and found.state in (Standing.HELD, Standing.RINGING) else None

    def engage(self, agent_id: str, hold: Hold) -> None:
        """Call the agent's phone, and hold the leg; nothing when there is one, or it failed a moment ago."""
        now_s = self._clock.now_s()
        if agent_id in self._legs or self._closing or now_s < self._redial_at_s.get(agent_id, 0.0):
            return
        standing = StandingLeg(agent_id, leg_id_of(agent_id, hold.group, now_s), hold)
        standing.rang_s = now_s
        self._legs[agent_id] = standing
        self._seats[agent_id].phone_rings = True
        self._nursery.start_soon(self._run, standing)

    def release_group(self, group: int) -> None:
        """A session is over: its engaging calls end; one with a customer ends with the conversation."""
        for standing in self.of_group(group):
            if standing.state is Standing.TAKEN:
                standing.hold = Hold(group, standing.hold.prompt, kept=False)
            else:
                standing.release()

    async def release_held(self) -> None:
        """The plane is about to be taken down: nobody holds a line any more, and no phone is called again."""
        self._closing = True
        held = [each for each in self._legs.values() if each.state in (Standing.HELD, Standing.RINGING)]
        for standing in held:
            standing.release()
        with trio.move_on_after(HANG_UP_LIMIT_S):
            for standing in held:
                await standing.ended.wait()

    # --- the life of a leg ----------------------------------------------------------------------------------------

    async def _run(self, standing: StandingLeg) -> None:
        why = OUR_FAULT
        try:
            with standing.scope:
                why = await self._dial(standing)
                if standing.leg is not None:
                    why = await self._follow(standing)
        except Exception:
            # A bug ends the smallest thing: this leg. Its agent is not ready then, and somebody asks why.
            log.exception("standing_leg.failed", leg_id=standing.leg_id)
        finally:
            await self._end(standing, why)

    async def _dial(self, standing: StandingLeg) -> str:
        """Why it could not be dialed; there is a leg otherwise."""
        seat = self._seats[standing.agent_id]
        try:
            channel = standing.channel = await self.media.open_channel(f"{standing.leg_id}-rtp")
            standing.leg = await self.telephony.place_call(
                PlaceCall(
                    leg_id=standing.leg_id,
                    uri=seat.dn,
                    from_uri=self._from_uri,
                    rtp_host=channel.host,
                    rtp_port=channel.port,
                    no_answer_s=standing.hold.answer_s,
                    proxy=seat.phone.proxy,
                    username=seat.phone.username,
                    password=seat.phone.password,
                    headers=seat.phone.headers,
                )
            )
        except CallRefused as error:
            log.warning("standing_leg.refused", agent_id=standing.agent_id, why=str(error))
            return "the phone cannot be called"
        except TelephonyError as error:
            log.warning("standing_leg.not_dialed", agent_id=standing.agent_id, why=str(error))
            return OUR_FAULT
        self.news.ringing(standing)
        return OUR_FAULT

    async def _follow(self, standing: StandingLeg) -> str:
        """Returns why it ended; OUR_FAULT when its worker is gone."""
        assert standing.leg is not None
        lost = False
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow_channels, standing)
            async for event in standing.leg.events:
                match event:
                    case LegProgress() | LegAnswered():
                        if event.remote_rtp_port and standing.channel is not None:
                            kinds = event.payload_type, event.event_payload_type
                            await standing.channel.set_remote(event.remote_rtp_host, event.remote_rtp_port, *kinds)
                        if isinstance(event, LegAnswered) and standing.state is Standing.RINGING:
                            await standing.quiet()
                            self._is_up(standing)
                    case LegLost():
                        lost = True
                        break
                    case LegEnded():
                        break
                    case _:
                        pass
            nursery.cancel_scope.cancel()
        if lost:
            return OUR_FAULT
        return "the phone did not answer" if standing.state is Standing.RINGING else "the phone was hung up"

    async def _follow_channels(self, standing: StandingLeg) -> None:
        """Take its events, for nobody else does; a leg without its audio is none. It may move to another channel."""
        while (channel := standing.channel) is not None:
            async for event in channel.events:
                if isinstance(event, ChannelLost):
                    log.warning("standing_leg.media_lost", leg_id=standing.leg_id, why=event.why)
                    self._redial_at_s[standing.agent_id] = self._clock.now_s() + RETRY_S
                    standing.release()
            if standing.channel is channel:
                return

    def _is_up(self, standing: StandingLeg) -> None:
        now_s, seat = self._clock.now_s(), self._seats[standing.agent_id]
        standing.state, standing.rang_s = Standing.HELD, now_s - standing.rang_s
        standing.up.set()
        seat.phone_rings, seat.engaged_s = False, now_s
        self._failures.pop(standing.agent_id, None)
        log.info("agent.engaged", agent_id=standing.agent_id, rang_s=round(standing.rang_s, 3), leg_id=standing.leg_id)
        self.news.up(standing)
        self.news.changed()

    async def _end(self, standing: StandingLeg, why: str) -> None:
        """On every way out; a daemon that is being stopped leaves what is up to the next one."""
        stopping = trio.current_effective_deadline() == -float("inf")
        if not stopping:
            self._is_down(standing, why)
            with trio.move_on_after(HANG_UP_LIMIT_S, shield=True):
                if standing.leg is not None:
                    await standing.leg.protect(False)
                    await standing.leg.hang_up()
                    await standing.leg.aclose()
                if standing.channel is not None:
                    await standing.channel.close()
        standing.ended.set()

    def _is_down(self, standing: StandingLeg, why: str) -> None:
        agent_id, seat = standing.agent_id, self._seats[standing.agent_id]
        was, wanted = standing.state, not standing.scope.cancelled_caught
        ours = wanted and why == OUR_FAULT
        if self._legs.get(agent_id) is standing:
            del self._legs[agent_id]
        seat.phone_rings, seat.engaged_s = False, None
        standing.over()
        if standing.leg is not None:
            self.news.down(standing)
        if ours:
            # The agent has done nothing: it stays as it is, and is called again soon.
            log.warning("agent.engagement_failed", agent_id=agent_id, state=was.name)
            self._redial_at_s[agent_id] = self._clock.now_s() + RETRY_S
        elif wanted:
            log.warning("agent.engagement_lost", agent_id=agent_id, why=why, state=was.name)
            self.lost[standing.hold.group] += was is not Standing.RINGING
            self._not_ready(seat, was, why)
        self.news.changed()

    def _not_ready(self, seat: AgentSeat, was: Standing, why: str) -> None:
        """Nobody is given to an agent whose phone is gone; a nailed-up one gets a second chance to be answered."""
        now_s, agent_id = self._clock.now_s(), seat.agent_id
        if seat.phone.nailed_up:
            failures = self._failures[agent_id] = self._failures.get(agent_id, -1) + 1
            self._redial_at_s[agent_id] = now_s + REDIAL_S[min(failures, len(REDIAL_S) - 1)]
            if was is not Standing.RINGING:
                return
        if seat.state is AgentState.READY:
            seat.ask_for(AgentState.NOT_READY, now_s)
            self.news.lost(agent_id, why)

    # --- nailed-up phones -----------------------------------------------------------------------------------------

    async def _keep_nailed_up(self) -> None:
        """Call each at login, again when it is lost, and hang up at logout."""
        while True:
            for agent_id, seat in self._seats.items():
                if not seat.phone.nailed_up:
                    continue
                standing, present = self._legs.get(agent_id), seat.state is not AgentState.LOGGED_OUT
                if standing is None and present:
                    self.engage(agent_id, Hold(answer_s=NAILED_UP_ANSWER_S))
                elif standing is not None and not present and self.may_release(standing):
                    self._redial_at_s.pop(agent_id, None)
                    standing.release()
            await trio.sleep(LOOK_PERIOD_S)

    def may_release(self, standing: StandingLeg) -> bool:
        """No customer is on it, and its agent has had the time to come back after a restart."""
        waits = standing.adopted_s is not None and self._clock.now_s() - standing.adopted_s < RETURN_LIMIT_S
        return standing.state in (Standing.HELD, Standing.RINGING) and not waits

    # --- after a restart ------------------------------------------------------------------------------------------

    def adopt_taken(self, leg: LegSnapshot, channel_id: str, kept: Callable[[int], Hold]) -> StandingLeg | None:
        """The standing leg of a conversation that outlived the daemon; None: it is gone, or none of ours."""
        return self._adopt(leg, channel_id, kept)

    def adopt_held(self, legs: Iterable[LegSnapshot], kept: Callable[[int], Hold]) -> int:
        """Take over the legs that hold nobody but their agent; how many. Conversations must have been adopted."""
        channels = {each.channel_id: each for each in self.media.live_channels()}
        adopted = 0
        for leg in list(legs):
            channel = next((c for name, c in channels.items() if leg_of(name) == leg.leg_id), None)
            if leg.state is not LegState.ANSWERED or channel is None:
                continue
            if (standing := self._adopt(leg, channel.channel_id, kept)) is not None:
                adopted += 1
                log.info("standing_leg.adopted", agent_id=standing.agent_id, leg_id=standing.leg_id)
        return adopted

    def _adopt(self, leg: LegSnapshot, channel_id: str, kept: Callable[[int], Hold]) -> StandingLeg | None:
        whose = agent_of(leg.leg_id)
        if whose is None or whose[0] not in self._seats or whose[0] in self._legs:
            return None
        agent_id, group = whose
        seat, now_s = self._seats[agent_id], self._clock.now_s()
        standing = StandingLeg(agent_id, leg.leg_id, kept(group))
        standing.leg, standing.channel = self.telephony.adopt(leg.leg_id), self.media.adopt(channel_id)
        if standing.leg is None or standing.channel is None:
            return None
        standing.state, standing.adopted_s = Standing.HELD, now_s
        standing.up.set()
        seat.engaged_s = leg.answered_at_s if leg.answered_at_s is not None else now_s
        self._legs[agent_id] = standing
        self._nursery.start_soon(self._run_adopted, standing)
        return standing

    async def _run_adopted(self, standing: StandingLeg) -> None:
        why = OUR_FAULT
        try:
            with standing.scope:
                if standing.state is Standing.HELD and standing.channel is not None:
                    await standing.channel.unbridge()  # from a customer who has left meanwhile
                    await standing.quiet()
                why = await self._follow(standing)
        except Exception:
            log.exception("standing_leg.failed", leg_id=standing.leg_id)
        finally:
            await self._end(standing, why)
