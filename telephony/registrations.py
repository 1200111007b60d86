"""Which worker holds which registration: pure, the client obeys.

One worker holds a registration, because a registrar knows a binding by its contact, and every worker has its own. When
that worker is gone or about to go, another one takes over; the binding that is left behind runs out, or is taken back
by the worker that leaves.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from telephony.contract import Register, Registered, Unregister

WorkerT = TypeVar("WorkerT")


@dataclass(frozen=True, slots=True)
class Order(Generic[WorkerT]):
    """Send this command to that worker."""

    worker: WorkerT
    command: Register | Unregister


class Registrations(Generic[WorkerT]):
    """What is wanted, who holds it, what the registrars said. Workers are any hashable values."""

    def __init__(self) -> None:
        self._wanted: dict[str, Register] | None = None
        self._held: dict[str, WorkerT] = {}
        self._said: dict[str, Registered] = {}
        self._asked: dict[str, Register] = {}
        self._refused: dict[str, set[WorkerT]] = {}
        """Workers without room for it, as far as is known: nothing has left them since."""

    def want(self, wanted: Iterable[Register]) -> None:
        """From now on exactly these."""
        self._wanted = {one.registration_id: one for one in wanted}
        self._refused = {each: workers for each, workers in self._refused.items() if each in self._wanted}

    def said(self, worker: WorkerT, event: Registered) -> None:
        """
        A registrar answered a worker, or the worker has no room: then `settle` finds another one.

        What one says that no longer holds the registration counts for nothing.
        """
        if self._held.get(event.registration_id) != worker:
            return
        if event.no_room:
            self._forget(event.registration_id)
            self._refused.setdefault(event.registration_id, set()).add(worker)
        self._said[event.registration_id] = event

    def found(self, worker: WorkerT, registrations: Iterable[Registered]) -> list[Order[WorkerT]]:
        """
        A worker has been reached and tells what it holds.

        What no other one holds stays with it, and is asked for anew: whoever held it may have had other credentials.
        """
        self._has_room(worker)
        told = {one.registration_id: one for one in registrations}
        for registration_id in [each for each, holder in self._held.items() if holder == worker and each not in told]:
            self._forget(registration_id)  # asked for, and never arrived
        orders: list[Order[WorkerT]] = []
        for registration_id, event in told.items():
            if self._held.setdefault(registration_id, worker) == worker:
                self._said[registration_id] = event
                self._asked.pop(registration_id, None)
            else:
                orders.append(Order(worker, Unregister(registration_id)))
        return orders

    def _has_room(self, worker: WorkerT) -> None:
        """It may have: what was refused is tried there again."""
        for refused in self._refused.values():
            refused.discard(worker)

    def gone(self, worker: WorkerT) -> None:
        """The worker has died, or been out of reach for too long."""
        self._has_room(worker)
        for registration_id in [each for each, holder in self._held.items() if holder == worker]:
            self._forget(registration_id)

    def settle(self, workers: Mapping[WorkerT, bool]) -> list[Order[WorkerT]]:
        """
        What to send so that all that is wanted is held; nothing when it is.

        Args:
            workers: those that can be spoken to, and whether they stay (False: about to exit).
        """
        if self._wanted is None:
            return []
        orders: list[Order[WorkerT]] = []
        for registration_id, holder in list(self._held.items()):
            if holder in workers and registration_id not in self._wanted:
                orders.append(Order(holder, Unregister(registration_id)))
                self._forget(registration_id)
                self._has_room(holder)
        staying = [worker for worker, stays in workers.items() if stays]
        for registration_id, wanted in self._wanted.items():
            holder_now = self._held.get(registration_id)
            if holder_now is not None and (holder_now not in workers or workers[holder_now]):
                if holder_now in workers and self._asked.get(registration_id) != wanted:
                    orders.append(Order(holder_now, wanted))
                    self._asked[registration_id] = wanted
                continue
            refused = self._refused.get(registration_id, set())
            load = {worker: 0 for worker in staying if worker not in refused}
            if not load:
                continue
            for holder in self._held.values():
                if holder in load:
                    load[holder] += 1
            chosen = min(load, key=lambda worker: load[worker])
            if holder_now is not None:
                orders.append(Order(holder_now, Unregister(registration_id)))
            self._said.pop(registration_id, None)
            self._held[registration_id] = chosen
            self._asked[registration_id] = wanted
            orders.append(Order(chosen, wanted))
        return orders

    def status(self, registration_id: str) -> Registered | None:
        """What the registrar said last to the worker that holds it."""
        return self._said.get(registration_id)

    def _forget(self, registration_id: str) -> None:
        self._held.pop(registration_id, None)
        self._said.pop(registration_id, None)
        self._asked.pop(registration_id, None)
