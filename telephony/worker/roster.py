"""The legs of one worker and what must be remembered of them. Pure: time comes in, messages and orders come out."""

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Final

from telephony.contract import ORPHAN_GRACE_S, LegEnded, LegSnapshot, PlaceCall
from telephony.leg import Effect, HangUp, LegEvent, LegMachine, NoAnswerLimit

ENDED_KEPT_S: Final = 600.0
"""How long an ended leg waits for a daemon that learns of it (contract.LegSnapshot)."""

MAX_ENDED_KEPT: Final = 5000
"""Bounds memory and keeps the snapshot far below MAX_FRAME_BYTES (about 200 bytes a leg)."""


@dataclass(frozen=True, slots=True)
class _EndedLeg:
    snapshot: LegSnapshot
    ended_at_s: float
    told_before_ping: int | None
    """A daemon that answers this ping has read of the end; None: not told on the present connection."""


class Roster:
    """All legs of one worker: the live ones as machines, the ended ones until a daemon has seen them."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.live: dict[str, LegMachine] = {}
        self.ended: OrderedDict[str, _EndedLeg] = OrderedDict()
        self.placed_total = 0

    def knows(self, leg_id: str) -> bool:
        return leg_id in self.live or leg_id in self.ended

    @property
    def has_room(self) -> bool:
        return len(self.live) < self.capacity

    def place(self, command: PlaceCall, now_s: float) -> None:
        """The INVITE is about to leave."""
        self.live[command.leg_id] = LegMachine(command.leg_id, now_s, now_s + command.no_answer_s)
        self.placed_total += 1

    def forget(self, leg_id: str) -> None:
        """The INVITE did not leave after all."""
        del self.live[leg_id]
        self.placed_total -= 1

    def protect(self, leg_id: str, protected: bool) -> None:
        if leg_id in self.live:
            self.live[leg_id] = replace(self.live[leg_id], protected=protected)

    def on(self, leg_id: str, event: LegEvent, next_ping: int | None) -> tuple[Effect, ...]:
        """One event of one leg; nothing for a leg that is gone. ``next_ping``: the next ping's number if a daemon is
        connected, so that its answer tells that the end was read."""
        leg = self.live.get(leg_id)
        if leg is None:
            return ()
        leg, effects = leg.on(event)
        self.live[leg_id] = leg
        for effect in effects:
            if isinstance(effect, LegEnded):
                del self.live[leg_id]
                self.ended[leg_id] = _EndedLeg(leg.snapshot(), effect.at_s, next_ping)
        return effects

    def due(self, now_s: float) -> list[tuple[str, LegEvent]]:
        """No-answer limits that have run out."""
        return [(leg.leg_id, NoAnswerLimit(now_s)) for leg in self.live.values() if leg.deadline_s <= now_s]

    @property
    def next_deadline_s(self) -> float:
        return min((leg.deadline_s for leg in self.live.values()), default=float("inf"))

    def orphans(self, without_daemon_s: float, now_s: float) -> list[tuple[str, LegEvent]]:
        """What to hang up when no daemon has been connected for so long."""
        if without_daemon_s < ORPHAN_GRACE_S:
            return []
        return [
            (leg.leg_id, HangUp(now_s, "no daemon"))
            for leg in self.live.values()
            if not leg.protected and not leg.stopping
        ]

    def hang_up_all(self, now_s: float, reason: str) -> list[tuple[str, LegEvent]]:
        return [(leg_id, HangUp(now_s, reason)) for leg_id in self.live]

    def snapshot(self, next_ping: int) -> tuple[LegSnapshot, ...]:
        """Live and ended legs for a daemon that has just connected."""
        for leg_id, ended in self.ended.items():
            self.ended[leg_id] = replace(ended, told_before_ping=next_ping)
        return tuple(leg.snapshot() for leg in self.live.values()) + tuple(
            ended.snapshot for ended in self.ended.values()
        )

    def daemon_lost(self) -> None:
        """What was told but not confirmed has to be told again."""
        for leg_id, ended in self.ended.items():
            self.ended[leg_id] = replace(ended, told_before_ping=None)

    def confirmed(self, ping: int) -> None:
        """The daemon answered this ping, so it has read everything before it."""
        for leg_id in [
            leg_id
            for leg_id, ended in self.ended.items()
            if ended.told_before_ping is not None and ended.told_before_ping <= ping
        ]:
            del self.ended[leg_id]

    def expire(self, now_s: float) -> None:
        """Drop ended legs that nobody asked for in time, oldest first."""
        while self.ended:
            oldest = next(iter(self.ended))
            if len(self.ended) <= MAX_ENDED_KEPT and self.ended[oldest].ended_at_s > now_s - ENDED_KEPT_S:
                return
            del self.ended[oldest]
