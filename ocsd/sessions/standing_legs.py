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

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import structlog
import trio

from ocsd.sessions.clock import Clock
from ocsd.sessions.roster import AgentSeat, AgentState
from ocsd.sessions.standing_leg import Hold as Hold
from ocsd.sessions.standing_leg import Standing as Standing
from ocsd.sessions.standing_leg import StandingLeg as StandingLeg
from ocsd.sessions.standing_leg import agent_of as agent_of
from ocsd.sessions.standing_leg import leg_id_of
from ocsd.sessions.standing_leg import leg_of as leg_of
from telephony.api import CallRefused, ChannelLost, LegLost, Media, Telephony, TelephonyError
from telephony.contract import LegAnswered, LegEnded, LegProgress, LegSnapshot, LegState, PlaceCall

log = structlog.get_logger()

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
        free = found is not None and found.state in (Standing.HELD, Standing.RINGING) and not found.is_taken
        return found if free else None

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
        """A session is over: its engaging calls end; one that an attempt has taken ends when that gives it back."""
        for standing in self.of_group(group):
            if standing.is_taken:
                standing.let_go = True
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
                    standing.failed = True
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
        standing.over(ours=ours or standing.failed)
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

    def adopt_taken(self, leg: LegSnapshot, channel_id: str, kept: Callable[[int], Hold | None]) -> StandingLeg | None:
        """The standing leg of a conversation that outlived the daemon; None: it is gone, or none of ours."""
        return self._adopt(leg, channel_id, kept)

    def adopt_held(self, legs: Iterable[LegSnapshot], kept: Callable[[int], Hold | None]) -> int:
        """
        Take over the legs that hold nobody but their agent; how many. Conversations must have been adopted.

        ``kept``: None for a campaign group that wants none; they are left to be hung up.
        """
        channels = {each.channel_id: each for each in self.media.live_channels()}
        adopted = 0
        for leg in list(legs):
            channel = next((c for name, c in channels.items() if leg_of(name) == leg.leg_id), None)
            if leg.state is not LegState.ANSWERED or channel is None:
                continue
            if (standing := self._adopt(leg, channel.channel_id, kept)) is not None:
                adopted += 1
                if standing.let_go:
                    standing.release()
                log.info("standing_leg.adopted", agent_id=standing.agent_id, leg_id=standing.leg_id)
        return adopted

    def _adopt(self, leg: LegSnapshot, channel_id: str, kept: Callable[[int], Hold | None]) -> StandingLeg | None:
        whose = agent_of(leg.leg_id)
        if whose is None or whose[0] not in self._seats or whose[0] in self._legs:
            return None
        agent_id, group = whose
        seat, now_s = self._seats[agent_id], self._clock.now_s()
        if (hold := kept(group)) is None:
            return None
        standing = StandingLeg(agent_id, leg.leg_id, hold)
        standing.leg, standing.channel = self.telephony.adopt(leg.leg_id), self.media.adopt(channel_id)
        if standing.leg is None or standing.channel is None:
            return None
        standing.state, standing.adopted_s = Standing.HELD, now_s
        standing.let_go = not group and not seat.phone.nailed_up  # the configuration has changed meanwhile
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
