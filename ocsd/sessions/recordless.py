"""
Start-up: calls that go on although their record was closed (ForceUnload, a transfer). They are not ours to cut.

Nobody controls such a call any more: no desktop finds it by its ConnID. So it is only seen through.

    somebody leaves a call of three                 the others talk on, the customer with whoever is left
    customer and agent, each alone (on hold)        are brought together, for nobody could retrieve the call
    a consultation, the customer on hold            goes on; when one of the two leaves, the other has the customer
    the customer leaves, or nobody else is left     all are released, supervisors too

Legs belong together by their ids, which begin with attempt and identity, and by their channels, which hear each other.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog
import trio

from ocsd.sessions.attempt_events import Event
from ocsd.sessions.call_control_events import MonitorAnswered, MonitorEnded
from ocsd.sessions.call_recovery import FoundLeg, FoundLegs
from ocsd.sessions.second_leg import LegEvents, SecondLeg
from ocsd.sessions.standing_legs import agent_of as standing_agent
from ocsd.sessions.standing_legs import leg_of
from telephony.contract import Role

if TYPE_CHECKING:
    from ocsd.sessions.campaigns import Campaigns
    from telephony.api import Media, Telephony

log = structlog.get_logger()

OF_ATTEMPT: Final = re.compile(
    r"a(?P<attempt>\d+)-(?P<guid>[^-]+)-(agent|third-\d+|monitor|(?P<customer>customer)|destination|dialog)"
    r"(-(?P<agent>.*)-[\d.]+)?.*"
)
"""Ids of `AttemptContext`; ``agent``: who is at the phone, where that is somebody of ours."""
EVENTS_BOUND: Final = 64


@dataclass(slots=True)
class Party:
    """Somebody in the call. ``listens``: a supervisor, without whom it goes on."""

    found: FoundLeg
    leg: SecondLeg
    agent_id: str | None
    is_customer: bool
    listens: bool


def calls_without_record(telephony: "Telephony", media: "Media") -> list[list[FoundLeg]]:
    """The calls among the legs that nobody has adopted: a customer, and at least one who is not merely listening."""
    legs = {leg.leg_id: leg for leg in telephony.live_legs()}
    found = FoundLegs(legs, {channel.channel_id: channel for channel in media.live_channels()})
    ties = [leg_ids for leg_ids in found.of_attempt.values() if len(leg_ids) > 1]
    ties += [list(map(leg_of, together)) for together in set(found.together.values())]
    ties += [[leg_of(channel_id), *leg_ids] for channel_id, leg_ids in found.listening.items()]
    calls: list[list[FoundLeg]] = []
    for names in _joined(ties):
        call = [found.up[leg_id] for leg_id in sorted(names) if leg_id in found.up]
        talking = [each for each in call if each.channel.role is Role.MEMBER]
        heard = any(each.channel.bridged_to or each.channel.joined_to for each in talking)
        if len(talking) > 1 and (heard or any(_is_customer(each.leg.leg_id) for each in talking)):
            calls.append(call)
    return calls


def _joined(ties: Iterable[list[str]]) -> list[set[str]]:
    """Groups of what is tied together, directly or by way of others."""
    groups: list[set[str]] = []
    for tie in ties:
        touched = [group for group in groups if not group.isdisjoint(tie)]
        groups = [group for group in groups if group not in touched] + [set(tie).union(*touched)]
    return groups


def _is_customer(leg_id: str) -> bool:
    match = OF_ATTEMPT.fullmatch(leg_id)
    return match is not None and match["customer"] is not None


def _agent_of(leg_id: str) -> str | None:
    if (standing := standing_agent(leg_id)) is not None:
        return standing[0]
    match = OF_ATTEMPT.fullmatch(leg_id)
    return (match["agent"] or None) if match is not None else None


class RecordlessCall:
    """One call; make it before anything else may adopt its legs, then `see_through`."""

    def __init__(self, campaigns: "Campaigns", found: list[FoundLeg], telephony: "Telephony", media: "Media") -> None:
        self._campaigns = campaigns
        self._send, self._receive = trio.open_memory_channel[tuple[str, Event]](EVENTS_BOUND)
        self._parties: dict[str, Party] = {}
        for each in found:
            if (party := self._adopt(each, telephony, media)) is not None:
                self._parties[each.leg.leg_id] = party
        attempts = [match["attempt"] for name in self._parties if (match := OF_ATTEMPT.fullmatch(name)) is not None]
        self._attempt_id = int(attempts[0]) if attempts else 0
        self._had_customer = any(party.is_customer for party in self._parties.values())

    def _adopt(self, found: FoundLeg, telephony: "Telephony", media: "Media") -> Party | None:
        leg_id, channel_id, standing = found.leg.leg_id, found.channel.channel_id, self._campaigns.standing
        leg = SecondLeg(telephony, media, partial(self._note, leg_id))
        if found.channel.standing_by:  # they hear each other without us
            leg.outlives_media = lambda: True
        taken = standing.adopt_taken(found.leg, channel_id, self._campaigns.hold_of)
        if taken is not None:
            leg.adopt(taken, _events(leg_id))
        else:
            one, channel = telephony.adopt(leg_id), media.adopt(channel_id)
            if one is None or channel is None:
                return None
            leg.adopt((one, channel), _events(leg_id))
        listens = found.channel.role is not Role.MEMBER
        return Party(found, leg, _agent_of(leg_id), _is_customer(leg_id), listens)

    def _note(self, leg_id: str, event: Event) -> None:
        try:
            self._send.send_nowait((leg_id, event))
        except (trio.WouldBlock, trio.BrokenResourceError):
            log.error("conversation.event_dropped", leg_id=leg_id)

    async def see_through(self) -> None:
        """Until all have left. A cancel leaves them talking, as the last daemon did."""
        parties = self._campaigns.parties
        log.info("conversation.without_record", leg_ids=sorted(self._parties))
        for party in self._parties.values():
            if party.agent_id is not None:
                parties.adopt_recordless(party.agent_id, self._attempt_id, self._campaigns.clock.now_s())
        async with trio.open_nursery() as nursery:
            for leg_id, party in self._parties.items():
                nursery.start_soon(party.leg.follow_adopted, _events(leg_id))
            if not any(each.found.channel.bridged_to or each.found.channel.joined_to for each in self._talking()):
                await self._bring_together()
            while self._goes_on():
                leg_id, event = await self._receive.receive()
                if isinstance(event, MonitorEnded) and leg_id in self._parties:
                    gone = self._parties.pop(leg_id)
                    await self._left(gone)
                    if self._goes_on() and not gone.listens and len(self._talking()) == 2:
                        await self._bring_together()
            for leg_id in list(self._parties):
                await self._left(self._parties.pop(leg_id))
            nursery.cancel_scope.cancel()

    def _talking(self) -> list[Party]:
        return [party for party in self._parties.values() if not party.listens]

    def _goes_on(self) -> bool:
        """Whether there are two to talk, and the customer, if there was one, is among them."""
        talking = self._talking()
        return len(talking) > 1 and (not self._had_customer or any(party.is_customer for party in talking))

    async def _bring_together(self) -> None:
        one, other = (party.leg.channel for party in self._talking()[:2])
        if one is not None and other is not None:
            for channel in (one, other):
                await channel.stop_playing()
            await one.bridge(other)

    async def _left(self, party: Party) -> None:
        leg = party.leg.leg
        if leg is not None and party.leg.standing is None:
            await leg.protect(False)
        await party.leg.hang_up()
        if party.agent_id is not None:
            self._campaigns.parties.left_recordless(
                self._campaigns.running, party.agent_id, self._attempt_id, self._campaigns.clock.now_s()
            )


def _events(leg_id: str) -> LegEvents:
    """Only ends are of interest; there is no attempt that would tell one from another."""
    ended = MonitorEnded(leg_id)
    return LegEvents(MonitorAnswered(leg_id), ended, ended)
