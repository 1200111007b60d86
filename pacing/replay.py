"""Repeats a recorded pacing, decision by decision, and tells the first bit that differs.

The same version of this package, Python, numpy and scipy on the same kind of processor gives the same bits; where a
replay differs, one of them does, or the recording is not complete.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pacing.journal import (
    Abridged,
    Checkpoint,
    Decided,
    Entry,
    Told,
    decision_digest,
    restored,
    state_text,
    text_digest,
)
from pacing.pacer import Pacer
from pacing.types import DialDecision


@dataclass(frozen=True, slots=True)
class Replayed:
    """
    Attributes:
        entry: what the recording has.
        decision: what the replay came to; None for a checkpoint.
        differences: in words; empty: the same to the last bit.
    """

    entry: Decided | Checkpoint
    decision: DialDecision | None
    differences: tuple[str, ...]


def replay(entries: Iterable[Entry]) -> Iterator[Replayed]:
    """
    Repeat all decisions, from the first whole checkpoint on; after each difference it goes on with its own results.

    Raises ValueError when a checkpoint was written by another version of the pacing.
    """
    pacer: Pacer | None = None
    for entry in entries:
        match entry:
            case Checkpoint():
                if pacer is not None:
                    yield Replayed(entry, None, _state_differences(state_text(pacer), entry))
                if entry.text is not None:
                    pacer = restored(entry.target, entry.text, entry.max_wait_s)
            case Told(method, arguments) if pacer is not None:
                getattr(pacer, method)(*arguments)
            case Decided() if pacer is not None:
                decision = pacer.decide(entry.snapshot)
                yield Replayed(entry, decision, differences(entry.decision, decision))
            case _:
                pacer = None  # a gap, or another file: what is known is not what was known


def _state_differences(text: str, recorded: Checkpoint) -> tuple[str, ...]:
    if text_digest(text) == recorded.digest:
        return ()
    return (f"what was learnt up to decision {recorded.number} differs",)


def differences(recorded: DialDecision | Abridged, repeated: DialDecision) -> tuple[str, ...]:
    """What of a decision is not the same to the last bit, in words."""
    found = []
    if (recorded.launch, recorded.because) != (repeated.launch, repeated.because):
        found.append(
            f"launched {recorded.launch} ({recorded.because}), now {repeated.launch} ({repeated.because})",
        )
    if tuple(recorded.release) != tuple(repeated.release):
        found.append(f"gave up {list(recorded.release)}, now {list(repeated.release)}")
    if isinstance(recorded, Abridged):
        if recorded.digest != decision_digest(repeated) and not found:
            found.append("launch and reason are the same, inputs or prediction are not; the recording has their digest")
        return tuple(found)
    before, after = _figures(recorded), _figures(repeated)
    found += [
        f"{name} was {before.get(name)}, now {after.get(name)}"
        for name in dict.fromkeys((*before, *after))
        if before.get(name) != after.get(name)
    ]
    return tuple(found)


def _figures(decision: DialDecision) -> dict[str, str]:
    """By name, as text: two that are not a number are the same, 0.0 and -0.0 are not."""
    figures = {"predicted_overdial_ratio": decision.predicted_overdial_ratio} | decision.inputs
    return {name: repr(float(value)) for name, value in figures.items()}
