"""
Whether a trunk works: whose fault a call's end was, and a circuit breaker per trunk. Pure: time is passed in.

Theory of operation
-------------------
            failures in a row, a share of the window, Retry-After
    CLOSED ---------------------------------------------------------> OPEN
       ^                                                               | its time is over,
       | a call gets through                                           | or a probe is answered
       +----------------------- HALF_OPEN <----------------------------+
                                    | the one call fails: OPEN again, for twice as long
                                    +-----------------------------------^

Only what the trunk itself did wrong counts. What the called party answers through it (busy, declined, unknown number)
shows that the trunk works, and closes the circuit. A lost registration keeps calls off besides, whatever the state.

A refusal may speak of either: a carrier says 403 or 500 of one number that it blocks or has no route to, and of all of
them when the account is closed. It is an answer, so the trunk is there; whether it is good for anything the other
numbers tell. When many different ones in a row are refused for a while, and no call gets through between, it is not.

Sources: RFC 3261 21.5.4 and 20.33 (503, Retry-After), 8.1.3.1 (no response is a 408), 16.7; RFC 3398 8.2.6 (ISUP
causes); Nygard, "Release It!", chapter "Circuit Breaker".
"""

import math
from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Final

from telephony.contract import LegEnded
from telephony.sip import CAUSES_OF_CALLED_PARTY

SILENT_S: Final = 4.0
"""An INVITE over UDP has been sent four times by then (RFC 3261 17.1.1.2: 0, 0.5, 1.5, 3.5 s): who has not even said
100 Trying is not there."""

FAILURES_IN_A_ROW: Final = 3
WINDOW_S: Final = 30.0
WINDOW_CALLS: Final = 10
"""Fewer ended calls in the window say nothing about a share."""
WINDOW_RATIO: Final = 0.5
"""A trunk that fails every other call is worse than the next one."""

FIRST_OPEN_S: Final = 5.0
REFUSED_NUMBERS: Final = 10
"""Different numbers that are refused one after the other: where half of a list is blocked, that is once in a thousand
calls, and at more than a call per second never for as long as REFUSED_S."""
REFUSED_S: Final = 10.0
MAX_OPEN_S: Final = 60.0
"""Each trial that fails doubles the pause, up to this: a dead carrier is asked once a minute."""
MAX_RETRY_AFTER_S: Final = 300.0
"""A Retry-After of days is a slip of somebody's configuration; the next trial will tell."""
TRIAL_S: Final = 10.0
"""A trial call that nobody has heard of for so long has said nothing (given up, withdrawn): another one may go."""

OF_THE_NETWORK: Final = frozenset({34, 38, 41, 42, 44, 47})
"""Q.850: no circuit, network out of order, temporary failure, congestion, requested circuit unavailable, resources."""
OF_THE_TRUNK: Final = frozenset({401, 407, 503})
"""Our credentials are not taken, or it serves nobody now (RFC 3261 21.5.4)."""
OF_EITHER: Final = frozenset({403, 482, 483})
"""Refused, or sent in circles: this number or any (RFC 3261 21.4.4, 16.3). Besides them every other 5xx, which is about
"the request" (21.5), and what gateways make of causes that they have no status for (RFC 3398 8.2.6.1)."""
SAYS_NOTHING: Final = frozenset({400, 405, 406, 415, 420, 481, 487, 488, 606})
"""Neither the trunk's health nor the called party: our own request, or our own CANCEL."""


class Blame(Enum):
    """What the end of a call says of its trunk."""

    TRUNK = "trunk"
    """Its fault: the called party has not been reached."""
    CALLEE = "callee"
    """It works: what came back is the called party's answer."""
    UNCLEAR = "unclear"
    """The called party has not been reached; the number's fault or the trunk's, as other numbers will tell."""
    NOBODY = "nobody"
    """Says nothing."""


UNREACHED: Final = frozenset({Blame.TRUNK, Blame.UNCLEAR})
"""The call may go on over another trunk."""


def blame(ended: LegEnded, age_s: float) -> Blame:
    """Whose fault the end of a leg was; ``age_s``: since its INVITE."""
    if ended.was_answered:
        return Blame.CALLEE
    status, cause = ended.sip_status, ended.q850_cause
    if not ended.responded:
        # Given up by us within the first seconds it says nothing; a transport error (ICMP) shows at once.
        failed = ended.no_answer or ended.ended_by == "error" or status == 408 or age_s >= SILENT_S
        return Blame.TRUNK if failed else Blame.NOBODY
    if ended.no_answer:
        return Blame.CALLEE
    if cause in CAUSES_OF_CALLED_PARTY:
        return Blame.CALLEE
    if ended.ended_by == "local":
        return Blame.NOBODY
    if cause in OF_THE_NETWORK or status in OF_THE_TRUNK:
        return Blame.TRUNK
    if status in OF_EITHER or 500 <= status < 600:
        return Blame.UNCLEAR
    if status == 0 or status in SAYS_NOTHING:
        return Blame.NOBODY
    return Blame.CALLEE


def why_failed(ended: LegEnded) -> str:
    """The trunk's failure in a few words, for log, figures and evidence."""
    if not ended.responded:
        return "no response"
    text = f" {ended.reason_text}" if ended.reason_text else ""
    cause = f" (cause {ended.q850_cause})" if ended.q850_cause is not None else ""
    return f"{ended.sip_status}{text}{cause}"


class Circuit(Enum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class Change:
    """A circuit has changed; ``why`` in words, ``until_s`` monotonic: when an open one is tried again."""

    circuit: Circuit
    why: str
    until_s: float = 0.0


class Breaker:
    """
    The circuit of one trunk.

    `started`, `worked`, `refused` and `failed` tell it of calls; `allowed` says how many may start.
    """

    def __init__(self) -> None:
        self.circuit = Circuit.CLOSED
        self.why = ""
        """The last failure that mattered; empty while closed."""
        self.until_s = 0.0
        self.answers_options = False
        """Whether a probe has ever been answered: only then does silence to the next one mean anything."""
        self.heard = False
        """Whether anything at all has ever come back."""
        self.silent = False
        """Opened because nothing came back; then an answered probe is news."""
        self._in_a_row = 0
        self._refused: set[str] = set()
        """Different numbers refused since the last call that got through; as many as matter."""
        self._refused_since_s = 0.0
        self._refuses = False
        """Opened because it refused everybody; then one refusal more is no news."""
        self._ended: deque[tuple[float, bool]] = deque()
        self._pause_s = FIRST_OPEN_S
        self._trial_at_s = -math.inf

    def allowed(self, now_s: float) -> float:
        """Calls that may start now: infinitely many, one, or none."""
        match self.circuit:
            case Circuit.CLOSED:
                return math.inf
            case Circuit.OPEN if now_s < self.until_s:
                return 0
            case _:
                return 1 if now_s - self._trial_at_s >= TRIAL_S else 0

    def look(self, now_s: float) -> Change | None:
        """An open circuit whose time is over is half-open."""
        if self.circuit is Circuit.OPEN and now_s >= self.until_s:
            return self._half_open("its pause is over")
        return None

    def started(self, now_s: float) -> None:
        """A call has been given to the trunk."""
        if self.circuit is not Circuit.CLOSED:
            self._trial_at_s = now_s

    def worked(self, now_s: float) -> Change | None:
        """Something came back that only a working trunk sends; once for each call."""
        self.heard = True
        self._note(now_s, failed=False)
        self._in_a_row = 0
        self._refused.clear()
        if self.circuit is Circuit.CLOSED:
            return None
        if self.circuit is Circuit.OPEN and now_s < self.until_s and not self.silent:
            return None  # a call from before; the carrier has asked for its pause, or refuses new ones
        return self._close("a call got through")

    def refused(self, now_s: float, number: str, why: str, *, known: bool = False) -> Change | None:
        """
        A call was refused, for the number's sake or the trunk's: the trunk is there, as far as that goes.

        ``known``: it has refused this number before, and got calls of others through since; it is the number's.
        """
        self.heard = True
        if known and (self.circuit is Circuit.CLOSED or self._refuses):
            return None
        if not self._refused:
            self._refused_since_s = now_s
        if len(self._refused) < REFUSED_NUMBERS:
            self._refused.add(number)
        if self.circuit is Circuit.OPEN and now_s < self.until_s and not self.silent:
            return None  # another call from before
        if self.circuit is Circuit.CLOSED:
            self._in_a_row = 0
            everybody = len(self._refused) == REFUSED_NUMBERS and now_s - self._refused_since_s >= REFUSED_S
            if not everybody:
                return None
        elif not self._refuses:
            return self._close(f"calls are answered: {why}")
        else:
            self._pause_s = min(MAX_OPEN_S, 2.0 * self._pause_s)
        change = self._open(now_s, f"{why}, to everybody", 0.0, silent=False)
        self._refuses = True
        return change

    def failed(self, now_s: float, why: str, retry_after_s: float = 0.0, *, silent: bool = False) -> Change | None:
        """A call failed by the trunk's fault; ``retry_after_s`` > 0: it asked to be left alone for so long."""
        if not silent:
            self.heard = True
        self._note(now_s, failed=True)
        self._in_a_row += 1
        if self.circuit is Circuit.OPEN and now_s < self.until_s:
            if retry_after_s > 0.0:
                self.until_s = max(self.until_s, now_s + min(retry_after_s, MAX_RETRY_AFTER_S))
            return None  # another call from before
        if self.circuit is Circuit.CLOSED and retry_after_s <= 0.0 and not self._bad_enough():
            return None
        if self.circuit is not Circuit.CLOSED:
            self._pause_s = min(MAX_OPEN_S, 2.0 * self._pause_s)
        return self._open(now_s, why, retry_after_s, silent=silent)

    def gone(self, now_s: float, why: str) -> Change | None:
        """Nobody answers at all (calls and probes): no more failures are waited for."""
        if self.circuit is Circuit.OPEN and now_s < self.until_s:
            return None
        if self.circuit is not Circuit.CLOSED:
            self._pause_s = min(MAX_OPEN_S, 2.0 * self._pause_s)
        return self._open(now_s, why, 0.0, silent=True)

    def probed(self, now_s: float) -> Change | None:
        """OPTIONS was answered: a trunk that was silent is tried at once. One that refused calls keeps its pause."""
        self.answers_options = self.heard = True
        if self.circuit is Circuit.OPEN and self.silent:
            return self._half_open("OPTIONS is answered again")
        return None

    def _close(self, why: str) -> Change:
        self.circuit, self.why, self.until_s, self.silent = Circuit.CLOSED, "", 0.0, False
        self._pause_s, self._trial_at_s, self._refuses, self._in_a_row = FIRST_OPEN_S, -math.inf, False, 0
        self._ended.clear()
        return Change(Circuit.CLOSED, why)

    def _open(self, now_s: float, why: str, retry_after_s: float, *, silent: bool) -> Change:
        pause_s = min(retry_after_s, MAX_RETRY_AFTER_S) if retry_after_s > 0.0 else self._pause_s
        self.circuit, self.why, self.until_s, self.silent = Circuit.OPEN, why, now_s + pause_s, silent
        self._trial_at_s, self._refuses = -math.inf, False
        return Change(Circuit.OPEN, why, self.until_s)

    def _half_open(self, why: str) -> Change:
        self.circuit, self._trial_at_s = Circuit.HALF_OPEN, -math.inf
        return Change(Circuit.HALF_OPEN, why)

    def _note(self, now_s: float, *, failed: bool) -> None:
        self._ended.append((now_s, failed))
        while self._ended and self._ended[0][0] < now_s - WINDOW_S:
            self._ended.popleft()

    def _bad_enough(self) -> bool:
        if self._in_a_row >= FAILURES_IN_A_ROW:
            return True
        bad = sum(failed for _, failed in self._ended)
        return len(self._ended) >= WINDOW_CALLS and bad >= WINDOW_RATIO * len(self._ended)
