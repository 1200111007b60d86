"""A recorder around a pacer: everything it was told and asked, so that each decision can be repeated bit for bit.

A pacer decides from what it has learnt and from one snapshot, and deciding moves it on. A recording therefore holds
every call in order, and now and then a checkpoint, from which a replay can start::

    checkpoint  told told decided told decided ...  checkpoint  told decided ...

At a whole checkpoint the recorder goes on with a pacer made from the very text of the recorded state. What the state
leaves out (caches, rounding of running sums) is thus the same in the run and in the replay. The price is what a restart
costs: the time since the decision before is not measured.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from pacing.pacer import Outcome, Pacer
from pacing.types import DialDecision, GroupSnapshot, PacingTarget

CHECKPOINT_EVERY_S: Final = 600.0
"""Seconds between two whole checkpoints: 3,000 decisions at five a second, which a replay repeats in seconds. One
takes some 20 kB on disk."""
DIGEST_BYTES: Final = 6

Argument: TypeAlias = float | int | bool | Outcome | PacingTarget | None


@dataclass(frozen=True, slots=True)
class Told:
    """One call of a method that tells the pacer something."""

    method: str
    arguments: tuple[Argument, ...]


@dataclass(frozen=True, slots=True)
class Decided:
    """``number`` counts the decisions of a recorder from 1. ``decision``: see `Abridged` for what a file may hold."""

    number: int
    snapshot: GroupSnapshot
    decision: "DialDecision | Abridged"


@dataclass(frozen=True, slots=True)
class Abridged:
    """What a file keeps of a decision that is not written in full: enough to see whether a replay comes to the same."""

    launch: int
    because: str
    digest: str
    release: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """
    The pacer was asked for its state, and with ``text`` replaced by one that has this state.

    Attributes:
        number: of the last decision before.
        text: JSON of `Pacer.state`; None where it was kept elsewhere: its digest is there to be compared, and asking
            must be repeated because it may empty caches.
    """

    number: int
    target: PacingTarget
    max_wait_s: float
    digest: str
    text: str | None


@dataclass(frozen=True, slots=True)
class Lost:
    """Entries are missing here; the recording goes on with a checkpoint."""

    entries: int


@dataclass(frozen=True, slots=True)
class Header:
    """Begins a file: what its writer says of itself (group, versions, time of day at ``now_s``)."""

    about: dict[str, Any]


Recorded: TypeAlias = Told | Decided | Checkpoint
Entry: TypeAlias = Recorded | Lost | Header


def state_text(pacer: Pacer) -> str:
    """The pacer's state as JSON; the same state gives the same text. Floats are written so that they read the same."""
    return json.dumps(pacer.state(), separators=(",", ":"))


def text_digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=DIGEST_BYTES).hexdigest()


def decision_digest(decision: DialDecision) -> str:
    """Of every bit of the decision, its inputs included."""
    inputs = [(name, float(value)) for name, value in decision.inputs.items()]
    whole = (decision.launch, decision.because, float(decision.predicted_overdial_ratio), inputs)
    given_up = tuple(int(place) for place in decision.release)
    return text_digest(repr((*whole, given_up) if given_up else whole))


class Recorder:
    """
    A pacer with the methods of `Pacer`, which tells ``sink`` of each call after it was carried out.

    Args:
        target, max_wait_s: of the pacer, see `Pacer`.
        learnt: a text of `state_text` to begin with; None: with nothing. ValueError when it is not of this version.
        sink: gets every entry, in order, on the caller's task; it must be quick and must not call the recorder.
    """

    def __init__(
        self,
        target: PacingTarget,
        max_wait_s: float = 2.0,
        *,
        learnt: str | None = None,
        sink: Callable[[Recorded], None] | None = None,
        checkpoint_every_s: float = CHECKPOINT_EVERY_S,
    ) -> None:
        self._max_wait_s = max_wait_s
        self._sink = sink
        self._every_s = checkpoint_every_s
        self._pacer = Pacer(target, max_wait_s) if learnt is None else restored(target, learnt, max_wait_s)
        self._checkpoint_s: float | None = None
        self._wanted = True
        self.decisions = 0
        """Decisions made so far; the number of the last one."""

    @property
    def target(self) -> PacingTarget:
        return self._pacer.target

    @property
    def max_wait_s(self) -> float:
        return self._max_wait_s

    def want_checkpoint(self) -> None:
        """Begin anew with a whole checkpoint at the next call: what was recorded before may be incomplete."""
        self._wanted = True

    def state_text(self) -> str:
        """What was learnt, to be kept: see `state_text`. The recording notes it as a checkpoint without its text."""
        return self._checkpoint(whole=False)

    # The methods of a pacer -------------------------------------------------------------------------------------

    def set_target(self, target: PacingTarget) -> None:
        self._tell("set_target", target)

    def answered(self, age_s: float) -> None:
        self._tell("answered", age_s)

    def ended(self, age_s: float, outcome: Outcome, after_answer_s: float | None = None) -> None:
        self._tell("ended", age_s, outcome, after_answer_s)

    def person(self, delay_s: float) -> None:
        self._tell("person", delay_s)

    def bridged(self, wait_s: float) -> None:
        self._tell("bridged", wait_s)

    def abandoned(self) -> None:
        self._tell("abandoned")

    def handled(self, talk_s: float, wrap_up_s: float) -> None:
        self._tell("handled", talk_s, wrap_up_s)

    def decide(self, snapshot: GroupSnapshot) -> DialDecision:
        if self._checkpoint_s is None:
            self._checkpoint_s = snapshot.now_s
        elif snapshot.now_s - self._checkpoint_s >= self._every_s:
            self._wanted, self._checkpoint_s = True, snapshot.now_s
        self._begin()
        try:
            decision = self._pacer.decide(snapshot)
        except Exception:
            self._wanted = True  # it may have moved the pacer half-way
            raise
        self.decisions += 1
        self._say(Decided(self.decisions, snapshot, decision))
        return decision

    # ------------------------------------------------------------------------------------------------------------

    def _tell(self, method: str, *arguments: Argument) -> None:
        self._begin()
        try:
            getattr(self._pacer, method)(*arguments)
        except Exception:
            self._wanted = True
            raise
        self._say(Told(method, arguments))

    def _begin(self) -> None:
        if self._wanted and self._sink is not None:
            self._checkpoint(whole=True)

    def _checkpoint(self, *, whole: bool) -> str:
        text = state_text(self._pacer)
        if whole:
            self._pacer = restored(self._pacer.target, text, self._max_wait_s)
            self._wanted = False
        digest = text_digest(text)
        self._say(Checkpoint(self.decisions, self._pacer.target, self._max_wait_s, digest, text if whole else None))
        return text

    def _say(self, entry: Recorded) -> None:
        if self._sink is not None:
            self._sink(entry)


def restored(target: PacingTarget, text: str, max_wait_s: float) -> Pacer:
    """A pacer with that state; ValueError whatever is wrong with the text."""
    try:
        return Pacer.from_state(target, json.loads(text), max_wait_s)
    except (KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
        raise ValueError(f"this is no state of a pacer: {error!r}") from error
