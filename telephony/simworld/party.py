"""The called party of one call as a machine: a plan, the clock and what it hears in; what it does next out. Pure.

    DIALED -> RINGING -> refused: ENDED
                  |
               answered -> PLAYING (machine, fax, tone, silence) ------------------> ENDED
                  +------> GREETING -> WAITING (nobody speaks yet) -> TALKING -----> ENDED
    Any state: CANCEL or BYE of the caller -> ENDED.

A person who has greeted listens. Nobody speaks for ``hello_again_s``: "hello?" once more; nobody for ``patience_s``:
hang-up. The first sound begins the conversation: from then on the person hums the number's code, says something every
few seconds, and leaves after ``talk_s`` or when the line has gone dead. What nobody answers rings for `LONGEST_RING_S`
at most.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, TypeAlias

from telephony.simworld import sound
from telephony.simworld.plan import Plan

DEAD_AIR_HELLO_S: Final = 8.0
DEAD_AIR_HANG_UP_S: Final = 15.0
"""In a conversation the agent's tone never stops, so this much silence means that the line is broken."""
LONGEST_TALK_S: Final = 3600.0
LONGEST_RING_S: Final = 180.0
"""A network gives up on a call that is not answered (timer C, RFC 3261 16.6); else a caller that was killed without a
CANCEL would leave its calls ringing for ever, until the trunk is full of them."""
RANG_OUT: Final = (480, 19)
"""SIP status and Q.850 cause of the network that gave up: no answer from the user."""
TURN_PAUSE_S: Final = (1.5, 5.0)

CAUSE_NORMAL: Final = 16


class PartyState(Enum):
    DIALED = "dialed"
    RINGING = "ringing"
    PLAYING = "playing"
    GREETING = "greeting"
    WAITING = "waiting"
    TALKING = "talking"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Ring:
    """Send 180, or 183 with SDP and start media when there is a score."""

    score: str


@dataclass(frozen=True, slots=True)
class Answer:
    """Send 200 and play the score."""

    score: str


@dataclass(frozen=True, slots=True)
class Refuse:
    status: int
    q850_cause: int | None
    redirect_to: str


@dataclass(frozen=True, slots=True)
class Say:
    score: str


@dataclass(frozen=True, slots=True)
class Listen:
    """The greeting is over: what is heard counts from here."""


@dataclass(frozen=True, slots=True)
class Hum:
    """Start the identifying tone."""


@dataclass(frozen=True, slots=True)
class HangUp:
    q850_cause: int = CAUSE_NORMAL


Command: TypeAlias = Ring | Answer | Refuse | Say | Listen | Hum | HangUp


@dataclass(slots=True)
class CalledParty:
    """One called party. Times are of one monotonic clock; None: has not happened."""

    plan: Plan
    rng: random.Random
    state: PartyState = PartyState.DIALED
    invited_at_s: float = 0.0
    rang_at_s: float | None = None
    answered_at_s: float | None = None
    greeting_ended_at_s: float | None = None
    talk_began_at_s: float | None = None
    ended_at_s: float | None = None
    ended_by: str = ""
    """ "caller" or "callee"."""
    why: str = ""
    """cancel, bye, refused, rang_out, patience, talk_over, dead_air, plan, stop."""
    hellos: int = 0
    deadline_s: float = field(default=math.inf)
    quiet_until_s: float = 0.0
    """While it waits or talks: before then `step` does nothing, unless it has waited and now hears a sound."""
    _next_turn_s: float = field(default=math.inf)

    @property
    def beep_at_s(self) -> float | None:
        """When the machine's beep began; None without one, or when the call was over before."""
        if self.answered_at_s is None or self.plan.beep_s is None:
            return None
        at_s = self.answered_at_s + self.plan.beep_s
        return at_s if self.ended_at_s is None or at_s < self.ended_at_s else None

    def start(self, now_s: float) -> Sequence[Command]:
        """The INVITE is in."""
        self.invited_at_s = now_s
        self.deadline_s = now_s + self.plan.post_dial_s
        return ()

    def caller_left(self, now_s: float, why: str) -> None:
        """CANCEL ("cancel"), BYE ("bye") or a caller that vanished ("never_acked")."""
        if self.state is not PartyState.ENDED:
            self._end(now_s, "caller", why)

    def stop(self, now_s: float) -> Sequence[Command]:
        """The simulated world closes: hang up or refuse, whichever fits."""
        match self.state:
            case PartyState.ENDED:
                return ()
            case PartyState.DIALED | PartyState.RINGING:
                self._end(now_s, "callee", "stop")
                return (Refuse(503, 41, ""),)
            case _:
                return self._hang_up(now_s, "stop")

    def step(self, now_s: float, first_loud_s: float | None, last_loud_s: float | None) -> Sequence[Command]:
        """
        Time has passed. ``first_loud_s``: when the first sound since `Listen` began; ``last_loud_s``: when there last
        was one. Call it every tick or so.
        """
        match self.state:
            case PartyState.WAITING:
                return self._wait(now_s, first_loud_s)
            case PartyState.TALKING:
                return self._talk(now_s, last_loud_s)
            case _ if now_s < self.deadline_s:
                return ()
            case PartyState.DIALED:
                return self._ring(now_s)
            case PartyState.RINGING:
                return self._finish_ringing(now_s)
            case PartyState.GREETING:
                return self._finish_greeting(now_s)
            case PartyState.PLAYING:
                return self._hang_up(now_s, "plan")
            case PartyState.ENDED:
                return ()

    def _ring(self, now_s: float) -> Sequence[Command]:
        if self.plan.ring_s == 0.0:
            return self._finish_ringing(now_s)
        self.state, self.rang_at_s = PartyState.RINGING, now_s
        self.deadline_s = now_s + min(self.plan.ring_s, LONGEST_RING_S)
        return (Ring(self.plan.early),)

    def _finish_ringing(self, now_s: float) -> Sequence[Command]:
        plan = self.plan
        if plan.ring_s > LONGEST_RING_S:
            self._end(now_s, "callee", "rang_out")
            return (Refuse(*RANG_OUT, ""),)
        if plan.status != 200:
            self._end(now_s, "callee", "refused")
            return (Refuse(plan.status, plan.q850_cause, plan.redirect_to),)
        self.answered_at_s = now_s
        if plan.converses:
            self.state = PartyState.GREETING
            self.deadline_s = now_s + min(plan.greeting_end_s, plan.hang_up_s)
        else:
            self.state = PartyState.PLAYING
            self.deadline_s = now_s + plan.hang_up_s
            if plan.greeting_end_s:
                self.greeting_ended_at_s = now_s + plan.greeting_end_s
        return (Answer(plan.answer),)

    def _finish_greeting(self, now_s: float) -> Sequence[Command]:
        assert self.answered_at_s is not None
        if self.plan.hang_up_s <= self.plan.greeting_end_s:
            return self._hang_up(now_s, "plan")
        self.state, self.greeting_ended_at_s = PartyState.WAITING, now_s
        self.deadline_s = min(now_s + self.plan.patience_s, self.answered_at_s + self.plan.hang_up_s)
        return (Listen(),)

    def _wait(self, now_s: float, first_loud_s: float | None) -> Sequence[Command]:
        assert self.greeting_ended_at_s is not None
        if first_loud_s is not None:
            self.state, self.talk_began_at_s = PartyState.TALKING, now_s
            self.deadline_s = now_s + min(self.plan.talk_s, LONGEST_TALK_S)
            self._next_turn_s = now_s + self.rng.uniform(*TURN_PAUSE_S)
            self.hellos = 0
            self.quiet_until_s = 0.0
            return (Hum(),)
        if now_s >= self.deadline_s:
            planned = self.deadline_s < self.greeting_ended_at_s + self.plan.patience_s
            return self._hang_up(now_s, "plan" if planned else "patience")
        hello_at_s = self.greeting_ended_at_s + self.plan.hello_again_s * (self.hellos + 1) + 1.5 * self.hellos
        if now_s >= hello_at_s:
            return self._hello()
        self.quiet_until_s = min(self.deadline_s, hello_at_s)
        return ()

    def _talk(self, now_s: float, last_loud_s: float | None) -> Sequence[Command]:
        assert self.talk_began_at_s is not None
        if now_s >= self.deadline_s:
            return self._hang_up(now_s, "talk_over")
        quiet_from_s = max(last_loud_s or 0.0, self.talk_began_at_s)
        quiet_s = now_s - quiet_from_s
        if quiet_s >= DEAD_AIR_HANG_UP_S:
            return self._hang_up(now_s, "dead_air")
        if quiet_s >= DEAD_AIR_HELLO_S:
            return self._hello() if self.hellos == 0 else ()
        if now_s >= self._next_turn_s:
            clip = self.rng.choice(sound.clips_of("customer"))
            self._next_turn_s = now_s + sound.length_s(f"clip:{clip}") + self.rng.uniform(*TURN_PAUSE_S)
            return (Say(f"clip:{clip}"),)
        # Sound that comes meanwhile makes it later.
        self.quiet_until_s = min(self.deadline_s, self._next_turn_s, quiet_from_s + DEAD_AIR_HELLO_S)
        return ()

    def _hello(self) -> Sequence[Command]:
        self.hellos += 1
        return (Say(f"clip:{self.rng.choice(sound.clips_of('again'))}"),)

    def _hang_up(self, now_s: float, why: str) -> Sequence[Command]:
        self._end(now_s, "callee", why)
        return (HangUp(),)

    def _end(self, now_s: float, by: str, why: str) -> None:
        self.state, self.ended_at_s, self.ended_by, self.why = PartyState.ENDED, now_s, by, why
        self.deadline_s = math.inf
