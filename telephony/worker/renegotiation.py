"""Re-INVITEs of one answered leg: one at a time, the last one counts, glare is waited out. Pure.

A dialog has one INVITE transaction at a time (RFC 3261 14.1). What is asked for meanwhile waits, and a later wish takes
the place of one that has not left yet, which is answered with 491: nobody wants audio where it was to be a moment ago.

    on the wire   waiting    event        then
    nothing       nothing    ask          it leaves
    one           any        ask          it waits, one that waited is overtaken
    one           nothing    491          it waits for the time of RFC 3261 14.1, three times at most
    one           one        491          it is overtaken; the waiting one leaves after that time
    one           any        other final  it is told; the waiting one leaves
    one           any        silence      both are told 504 after `SILENCE_S`, and whoever asks from then on
    any           any        leg ended    all are told

Silence is that of a far end that said 100 and nothing more: its transaction never ends by itself (RFC 3261 17.1.1.2),
and until it does the dialog has room for no other INVITE. The call goes on as it was.
"""

import math
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from telephony.contract import Reinvite, Reinvited
from telephony.sdp import MediaAddress
from telephony.sip import SipStatus

GLARE_TRIES: Final = 3
SILENCE_S: Final = 40.0
"""Longer than the 32 s after which the stack itself gives up a request that has no answer at all."""
UNANSWERED: Final = "no final response to a re-INVITE"
OVERTAKEN: Final = "overtaken by a later re-INVITE"

Effect: TypeAlias = Reinvite | Reinvited
"""A `Reinvite` is to be sent, a `Reinvited` to be told."""


def glare_wait_s(random_ratio: float) -> float:
    """How long to wait after 491: we chose the Call-ID, so 2.1 to 4 s in steps of 10 ms (RFC 3261 14.1)."""
    return 2.1 + round(random_ratio * 190) / 100


@dataclass(frozen=True, slots=True)
class Renegotiation:
    """
    ``again_at_s``: monotonic end of the wait after a glare, ``silent_at_s``: of that for a final response; infinity
    when there is none. ``given_up``: what is on the wire has been told of, and may still be answered.
    """

    on_wire: Reinvite | None = None
    waiting: Reinvite | None = None
    again_at_s: float = math.inf
    tries: int = 0
    last: Reinvited | None = None
    silent_at_s: float = math.inf
    given_up: bool = False

    @property
    def next_due_s(self) -> float:
        return min(self.again_at_s, self.silent_at_s)

    @property
    def busy(self) -> bool:
        return self.on_wire is not None or self.waiting is not None

    def ask(self, command: Reinvite, now_s: float) -> tuple["Renegotiation", tuple[Effect, ...]]:
        """The daemon wants this. One that it repeats, because its connection broke, is not sent twice."""
        if self.last is not None and self.last.seq == command.seq:
            return self, (self.last,)
        if any(one is not None and one.seq == command.seq for one in (self.on_wire, self.waiting)):
            return self, ()
        if self.given_up:
            answer = _unanswered(command, now_s)
            return replace(self, last=answer), (answer,)
        if not self.busy:
            return replace(self, on_wire=command, tries=1, silent_at_s=now_s + SILENCE_S), (command,)
        overtaken = _overtaken(self.waiting, now_s)
        return replace(self, waiting=command, tries=self.tries if self.on_wire else 0), overtaken

    def answered(
        self, status: int, media: MediaAddress | None, reason_text: str, now_s: float, wait_s: float
    ) -> tuple["Renegotiation", tuple[Effect, ...]]:
        """The final response to what is on the wire; ``wait_s`` to wait if it is a glare, see `glare_wait_s`."""
        command = self.on_wire
        if command is None:
            return self, ()
        if self.given_up:
            return Renegotiation(last=self.last), ()
        if status == SipStatus.REQUEST_PENDING and (self.waiting is not None or self.tries < GLARE_TRIES):
            next_one, tries = (self.waiting, 0) if self.waiting is not None else (command, self.tries)
            told = _overtaken(command if self.waiting is not None else None, now_s)
            return replace(
                self, on_wire=None, waiting=next_one, again_at_s=now_s + wait_s, tries=tries, silent_at_s=math.inf
            ), told
        answer = _reinvited(command, status, now_s, media, reason_text)
        done = replace(self, on_wire=None, tries=0, last=answer, silent_at_s=math.inf)
        if self.waiting is None or status in (SipStatus.REQUEST_TIMEOUT, SipStatus.CALL_TRANSACTION_DOES_NOT_EXIST):
            return done, (answer,)  # after these two the dialog is gone (RFC 3261 12.2.1.2): the leg ends next
        leaves = replace(done, on_wire=self.waiting, waiting=None, tries=1, silent_at_s=now_s + SILENCE_S)
        return leaves, (answer, self.waiting)

    def due(self, now_s: float) -> tuple["Renegotiation", tuple[Effect, ...]]:
        """Time passes; what waited for the end of a glare leaves."""
        if self.silent_at_s <= now_s and self.on_wire is not None:
            told = tuple(_unanswered(one, now_s) for one in (self.on_wire, self.waiting) if one is not None)
            given_up = replace(self, waiting=None, silent_at_s=math.inf, given_up=True, last=told[-1])
            return given_up, told
        if self.again_at_s > now_s or self.waiting is None:
            return self, ()
        command, tries = self.waiting, self.tries + 1
        silent_at_s = now_s + SILENCE_S
        leaves = replace(self, on_wire=command, waiting=None, again_at_s=math.inf, tries=tries, silent_at_s=silent_at_s)
        return leaves, (command,)

    def ended(self, status: int, now_s: float, reason_text: str) -> tuple[Reinvited, ...]:
        """The leg is gone; what is on the wire had this outcome (0: none), the rest none."""
        told: list[Reinvited] = []
        if self.on_wire is not None and not self.given_up:
            told.append(_reinvited(self.on_wire, status, now_s, None, reason_text))
        if self.waiting is not None:
            told.append(_reinvited(self.waiting, 0, now_s, None, reason_text))
        return tuple(told)


def _unanswered(command: Reinvite, now_s: float) -> Reinvited:
    return _reinvited(command, SipStatus.SERVER_TIMEOUT.value, now_s, None, UNANSWERED)


def _overtaken(command: Reinvite | None, now_s: float) -> tuple[Reinvited, ...]:
    if command is None:
        return ()
    return (_reinvited(command, SipStatus.REQUEST_PENDING.value, now_s, None, OVERTAKEN),)


def _reinvited(command: Reinvite, status: int, now_s: float, media: MediaAddress | None, reason_text: str) -> Reinvited:
    if media is None:
        return Reinvited(command.leg_id, command.seq, status, now_s, reason_text=reason_text)
    kinds = media.payload_type, media.event_payload_type
    return Reinvited(command.leg_id, command.seq, status, now_s, media.host, media.port, *kinds, reason_text)
