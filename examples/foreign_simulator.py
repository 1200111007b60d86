"""The pacing class driven from somebody else's simulator.

    python examples/foreign_simulator.py

``TOLD`` says what its events are called here, :func:`drive` (20 lines) does the rest: tell the pacer what happened,
show it the group, start what it decides.
``Toy`` stands for the foreign simulator; it knows nothing of pacing and has a clock, states and names of its own.
"""

import random
from collections.abc import Iterator
from functools import partial
from typing import Any

from pacing import GroupSnapshot, Mode, Outcome, Pacer, PacingTarget

TOLD = {
    "picked up": Pacer.answered,
    "no use": partial(Pacer.ended, outcome=Outcome.NO_ANSWER),
    "connected": Pacer.bridged,
    "hung up": Pacer.abandoned,
    "served": Pacer.handled,
}


def drive(toy: "Toy", seconds: int) -> None:
    """Let the toy run under the pacer."""
    pacer = Pacer(PacingTarget(Mode.PREDICTIVE), max_wait_s=toy.PATIENCE_S)
    for now_s in range(seconds):
        for happened, *values in toy.second(now_s):
            TOLD[happened](pacer, *values)
        seen = GroupSnapshot(
            now_s=now_s,
            agents_idle_s=tuple(now_s - since for since in toy.ready),
            agents_talking_s=tuple(now_s - since for _, since in toy.talks),
            agents_wrapping_s=tuple((talked, now_s - since) for _, since, talked in toy.notes),
            attempts_age_s=tuple(now_s - since for _, since, _ in toy.rings),
            analysing_age_s=(),
            people_waiting=len(toy.queue),
            ports_free=1000,
            records_ready=1000,
        )
        toy.dial(now_s, pacer.decide(seen).launch)


class Toy:
    """A call centre, second by second; entries begin with the time at which they end."""

    PATIENCE_S = 2

    def __init__(self, agents: int, seed: int) -> None:
        self.random = random.Random(seed)
        self.ready: list[float] = [0.0] * agents
        self.talks: list[tuple[float, float]] = []
        self.notes: list[tuple[float, float, float]] = []
        self.rings: list[tuple[float, float, bool]] = []
        self.queue: list[float] = []
        self.people = self.gone = self.busy_s = self.staffed_s = 0

    def dial(self, now: float, calls: int) -> None:
        for _ in range(calls):
            person = self.random.random() < 0.3
            ring = self.random.gammavariate(5.0, 2.4) if person else self.random.choice([4.0, 20.0, 30.0])
            self.rings.append((now + ring, now, person))

    def second(self, now: float) -> Iterator[tuple[Any, ...]]:
        for ring in [ring for ring in self.rings if ring[0] <= now]:
            self.rings.remove(ring)
            yield ("picked up" if ring[2] else "no use"), now - ring[1]
            self.queue += [now] if ring[2] else []
        for talk in [talk for talk in self.talks if talk[0] <= now]:
            self.talks.remove(talk)
            self.notes.append((now + self.random.gammavariate(3.0, 10.0), now, now - talk[1]))
        for note in [note for note in self.notes if note[0] <= now]:
            self.notes.remove(note)
            self.ready.append(now)
            yield "served", note[2], now - note[1]
        while self.queue and (self.ready or now - self.queue[0] >= self.PATIENCE_S):
            self.people += 1
            if self.ready:
                self.talks.append((now + self.random.gammavariate(2.0, 75.0), now))
                self.ready.pop(0)
                yield "connected", now - self.queue.pop(0)
            else:
                self.gone += 1
                self.queue.pop(0)
                yield ("hung up",)
        self.busy_s += len(self.talks) + len(self.notes)
        self.staffed_s += len(self.talks) + len(self.notes) + len(self.ready)


if __name__ == "__main__":
    centre = Toy(agents=20, seed=1)
    drive(centre, 4 * 3600)
    print(  # noqa: T201
        f"busy {centre.busy_s / centre.staffed_s:.1%}, {centre.gone / centre.people:.2%} of {centre.people} abandoned"
    )
