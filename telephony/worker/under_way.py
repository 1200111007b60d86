"""What goes on in answered legs beside their life and death: re-INVITEs, transfers, INFO. Pure: time comes in."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from telephony.contract import LegInfo, Refer, Referred, Reinvite, Reinvited
from telephony.leg import Failed, LegEvent, LegMachine, Phase, Released
from telephony.sdp import MediaAddress
from telephony.sip import SipStatus
from telephony.worker.renegotiation import Renegotiation, glare_wait_s

REFER_SILENCE_S: Final = 120.0
"""No NOTIFY for so long: the far end tells nothing. A phone rings for a minute before somebody gives up."""
MAX_INFO_BYTES: Final = 4096
MAX_INFO_PER_S: Final = 20

Told: TypeAlias = Reinvited | Referred | LegInfo
Order: TypeAlias = Reinvite | Refer
"""To be sent by the stack."""


@dataclass(frozen=True, slots=True)
class ReinviteAnswered:
    """The stack: the final response to our re-INVITE. ``media`` from its session description, None without one."""

    at_s: float
    status: int
    media: MediaAddress | None = None
    reason_text: str = ""


@dataclass(slots=True)
class _Infos:
    second: int = 0
    seen: int = 0


class UnderWay:
    """By leg. ``random_ratio`` gives 0..1, for the wait after a glare."""

    def __init__(self, random_ratio: Callable[[], float]) -> None:
        self._random_ratio = random_ratio
        self._renegotiations: dict[str, Renegotiation] = {}
        self._referring: dict[str, float] = {}
        """Until when a NOTIFY must come, monotonic."""
        self._accepted: set[str] = set()
        """Legs whose far end has said that it will call the target."""
        self._infos: dict[str, _Infos] = {}

    def reinvite(self, leg: LegMachine | None, command: Reinvite, now_s: float) -> tuple[Told | Order, ...]:
        if leg is None or leg.phase is not Phase.ANSWERED:
            status, why = (0, "there is no such leg") if leg is None else (_not_now(leg), "the leg is not answered")
            return (Reinvited(command.leg_id, command.seq, status, now_s, reason_text=why),)
        return self._step(command.leg_id, lambda one: one.ask(command, now_s))

    def reinvite_answered(self, leg_id: str, event: ReinviteAnswered) -> tuple[Told | Order, ...]:
        if leg_id not in self._renegotiations:
            return ()  # the leg has ended meanwhile
        wait_s = glare_wait_s(self._random_ratio())
        return self._step(
            leg_id, lambda one: one.answered(event.status, event.media, event.reason_text, event.at_s, wait_s)
        )

    def refer(self, leg: LegMachine | None, command: Refer, now_s: float) -> tuple[Told | Order, ...]:
        if leg is None:
            return ()  # `LegEnded` is on its way, or was told
        if leg.phase is not Phase.ANSWERED or command.leg_id in self._referring:
            why = "the leg is not answered" if leg.phase is not Phase.ANSWERED else "a transfer is under way"
            return (Referred(command.leg_id, SipStatus.REQUEST_PENDING.value, True, now_s, why),)
        self._referring[command.leg_id] = now_s + REFER_SILENCE_S
        return (command,)

    def referred(self, event: Referred) -> tuple[Told, ...]:
        """News of a transfer; nothing after its end (pjsua tells that the subscription is over once more)."""
        if event.leg_id not in self._referring:
            return ()
        if event.final:
            self._refer_over(event.leg_id)
        else:
            self._referring[event.leg_id] = event.at_s + REFER_SILENCE_S
            self._accepted.add(event.leg_id)
        return (event,)

    def _refer_over(self, leg_id: str) -> bool:
        """Nothing more will be told of it; whether the far end had accepted it."""
        del self._referring[leg_id]
        accepted = leg_id in self._accepted
        self._accepted.discard(leg_id)
        return accepted

    def info(self, event: LegInfo) -> tuple[Told, ...]:
        """An INFO as it may be passed on: cut, and not too many a second."""
        infos = self._infos.setdefault(event.leg_id, _Infos())
        if int(event.at_s) != infos.second:
            infos.second, infos.seen = int(event.at_s), 0
        infos.seen += 1
        if infos.seen > MAX_INFO_PER_S:
            return ()
        body = event.body.encode()[:MAX_INFO_BYTES].decode(errors="ignore")
        return (LegInfo(event.leg_id, event.content_type[:100], body, event.at_s),)

    def due(self, now_s: float) -> tuple[Told | Order, ...]:
        """Waits that are over."""
        effects: list[Told | Order] = []
        for leg_id, one in list(self._renegotiations.items()):
            if one.next_due_s <= now_s:
                effects += self._step(leg_id, lambda each: each.due(now_s))
        for leg_id in [leg_id for leg_id, until_s in self._referring.items() if until_s <= now_s]:
            if self._refer_over(leg_id):
                effects.append(Referred(leg_id, 202, True, now_s, "accepted, and nothing more was heard"))
            else:
                timed_out = SipStatus.REQUEST_TIMEOUT.value
                effects.append(Referred(leg_id, timed_out, True, now_s, "the transfer was not answered"))
        return tuple(effects)

    @property
    def next_due_s(self) -> float:
        waits = [one.next_due_s for one in self._renegotiations.values()]
        return min((*waits, *self._referring.values()), default=float("inf"))

    def leg_ends(self, leg_id: str, event: LegEvent) -> tuple[Told, ...]:
        """What is to be told before the end itself: ``event`` is what ended the leg."""
        renegotiation = self._renegotiations.pop(leg_id, Renegotiation())
        self._infos.pop(leg_id, None)
        status = event.status if isinstance(event, (Failed, Released)) else 0
        told: list[Told] = [*renegotiation.ended(status, event.at_s, "the leg has ended")]
        # Many phones hang up as soon as the new call stands, and never say so. Who hangs up before it has accepted was
        # not transferred: a person who has lost patience, of whom the end of the leg says enough.
        if leg_id in self._referring and self._refer_over(leg_id):
            told.append(Referred(leg_id, 202, True, event.at_s, "the leg ended before the transfer was told of"))
        return tuple(told)

    def _step(
        self,
        leg_id: str,
        change: Callable[[Renegotiation], tuple[Renegotiation, tuple[Reinvite | Reinvited, ...]]],
    ) -> tuple[Told | Order, ...]:
        renegotiation, effects = change(self._renegotiations.get(leg_id, Renegotiation()))
        self._renegotiations[leg_id] = renegotiation
        return effects


def _not_now(leg: LegMachine) -> int:
    """Of a leg that is not answered: 491 when it may be yet, 0 when it is about to end."""
    return SipStatus.REQUEST_PENDING.value if leg.phase in (Phase.CALLING, Phase.EARLY) else 0
