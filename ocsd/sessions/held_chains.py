"""Claimed chains that wait in memory for an instant that is soon: a heap by that instant. Pure: time is passed in."""

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from ocsd.model.records import Chain


@dataclass(order=True, slots=True)
class _Held:
    due_s: float
    order: int
    chain: Chain = field(compare=False)


class HeldChains:
    """Those that are due first come first, in the order in which they were held."""

    def __init__(self) -> None:
        self._heap: list[_Held] = []
        self._order = 0

    def __len__(self) -> int:
        return len(self._heap)

    def chains(self) -> Iterator[Chain]:
        """All, in no order."""
        return (held.chain for held in self._heap)

    def hold(self, chain: Chain, due: datetime) -> None:
        """Keep a chain until ``due`` (aware)."""
        self._order += 1
        heapq.heappush(self._heap, _Held(due.timestamp(), self._order, chain))

    def until(self, key: tuple[int, int]) -> datetime | None:
        """Until when the chain (`Chain.key`) is held; None: it is not."""
        return next((datetime.fromtimestamp(held.due_s, UTC) for held in self._heap if held.chain.key == key), None)

    def due(self, now: datetime) -> Iterator[Chain]:
        """Take out what is due, one after the other."""
        while self._heap and self._heap[0].due_s <= now.timestamp():
            yield heapq.heappop(self._heap).chain

    def take(self, chosen: Callable[[Chain], bool]) -> list[Chain]:
        """Take out those that are ``chosen``."""
        out = [held.chain for held in self._heap if chosen(held.chain)]
        self._heap = [held for held in self._heap if not chosen(held.chain)]
        heapq.heapify(self._heap)
        return out

    def change(self, changed: Callable[[Chain], Chain | None]) -> list[Chain]:
        """Put what ``changed`` makes of each chain in its place; returns those of which nothing (None) is left."""
        empty: list[Chain] = []
        kept: list[_Held] = []
        for held in self._heap:
            left = changed(held.chain)
            if left is None:
                empty.append(held.chain)
            else:
                held.chain = left
                kept.append(held)
        self._heap = kept
        heapq.heapify(self._heap)
        return empty
