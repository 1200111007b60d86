"""Re-INVITEs of one answered leg: one at a time, the last one counts, glare is waited out. Pure.

A dialog has one INVITE transaction at a time (RFC 3261 14.1). What is asked for meanwhile waits, and a later wish takes
the place of one that has not left yet, which is answered with 491: nobody wants audio where it was to be a moment ago.

    on the wire   waiting    event        then
    nothing       nothing    ask          it leaves
    one           any        ask          it waits, one that waited is overtaken
    one           nothing    491          it waits for the time of RFC 3261 14.1, three times at most
    one           one        491          it is overtaken; the waiting one leaves after that time
    one           any        other final  it is told; the waiting one leaves
    any           any        leg ended    all are told
"""

import math
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from telephony.contract import Reinvite, Reinvited
from telephony.sdp import MediaAddress
from telephony.sip import SipStatus

GLARE_TRIES: Final = 3
OVERTAKEN: Final = "overtaken by a later re-INVITE"

Effect: TypeAlias = Reinvite | Reinvited
"""A `Reinvite` is to be sent, a `Reinvited` to be told."""


def glare_wait_s(random_ratio: float) -> float:
    """How long to wait after 491: we chose the Call-ID, so 2.1 to 4 s in steps of 10 ms (RFC 3261 14.1)."""
    return 2.1 + round(random_ratio * 190) / 100


@dataclass(frozen=True, slots=True)
class Renegotiation:
    """``again_at_s``: monotonic end of the wait after a glare, infinity when there is none."""

    on_wire: Reinvite | None = None
    waiting: Reinvite | None = None
    again_at_s: float = math.inf
    tries: int = 0
    last: Reinvited | None = None

    @property
    def busy(self) -> bool:
        return self.on_wire is not None or self.waiting is not None

    def ask(self, command: Reinvite, now_s: float) -> tuple["Renegotiation", tuple[Effect, ...]]:
        """The daemon wants this. One that it repeats, because its connection broke, is not sent twice."""
        if self.last is not None and self.last.seq == command.seq:
            return self, (self.last,)
        if any(one is not None and one.seq == command.seq for one in (self.on_wire, self.waiting)):
            return self, ()
        if not self.busy:
            return replace(self, on_wire=command, tries=1), (command,)
        overtaken = _overtaken(self.waiting, now_s)
        return replace(self, waiting=command, tries=self.tries if self.on_wire else 0), overtaken

    def answered(
        self, status: int, media: MediaAddress | None, reason_text: str, now_s: float, wait_s: float
    ) -> tuple["Renegotiation", tuple[Effect, ...]]:
        """The final response to what is on the wire; ``wait_s`` to wait if it is a glare, see `glare_wait_s`."""
        command = self.on_wire
        if command is None:
            return self, ()
        if status == SipStatus.REQUEST_PENDING and (self.waiting is not None or self.tries < GLARE_TRIES):
            next_one, tries = (self.waiting, 0) if self.waiting is not None else (command, self.tries)
            told = _overtaken(command if self.waiting is not None else None, now_s)
            return replace(self, on_wire=None, waiting=next_one, again_at_s=now_s + wait_s, tries=tries), told
        answer = _reinvited(command, status, now_s, media, reason_text)
        done = replace(self, on_wire=None, tries=0, last=answer)
        if self.waiting is None or status in (SipStatus.REQUEST_TIMEOUT, SipStatus.CALL_TRANSACTION_DOES_NOT_EXIST):
            return done, (answer,)  # after these two the dialog is gone (RFC 3261 12.2.1.2): the leg ends next
        return replace(done, on_wire=self.waiting, waiting=None, tries=1), (answer, self.waiting)

    def due(self, now_s: float) -> tuple["Renegotiation", tuple[Effect, ...]]:
        """Time passes; what waited for the end of a glare leaves."""
        if self.again_at_s > now_s or self.waiting is None:
            return self, ()
        command = self.waiting
        return replace(self, on_wire=command, waiting=None, again_at_s=math.inf, tries=self.tries + 1), (command,)

    def ended(self, status: int, now_s: float, reason_text: str) -> tuple[Reinvited, ...]:
        """The leg is gone; what is on the wire had this outcome (0: none), the rest none."""
        told = [_reinvited(self.on_wire, status, now_s, None, reason_text)] if self.on_wire is not None else []
        if self.waiting is not None:
            told.append(_reinvited(self.waiting, 0, now_s, None, reason_text))
        return tuple(told)


def _overtaken(command: Reinvite | None, now_s: float) -> tuple[Reinvited, ...]:
    if command is None:
        return ()
    return (_reinvited(command, SipStatus.REQUEST_PENDING.value, now_s, None, OVERTAKEN),)


def _reinvited(command: Reinvite, status: int, now_s: float, media: MediaAddress | None, reason_text: str) -> Reinvited:
    if media is None:
        return Reinvited(command.leg_id, command.seq, status, now_s, reason_text=reason_text)
    kinds = media.payload_type, media.event_payload_type
    return Reinvited(command.leg_id, command.seq, status, now_s, media.host, media.port, *kinds, reason_text)
