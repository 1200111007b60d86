"""
The record buffer of one campaign group: claimed chains waiting for their turn. Pure.

Watermarks are the manual's: refill to ``opt_rec_buff_size`` x agents when fewer than ``min_rec_buff_size`` x agents
are left. Chains of several lists are taken in proportion to their shares; an empty list's share goes to the others.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from ocsd.model.records import Chain


@dataclass(frozen=True, slots=True)
class Refill:
    """Claim up to ``limit`` chains from the list."""

    list_dbid: int
    limit: int


class RecordBuffer:
    """``shares``: weight of each active list, by DBID."""

    def __init__(self, shares: dict[int, int], min_per_agent: int, opt_per_agent: int) -> None:
        self._shares = dict(shares)
        self._min_per_agent = min_per_agent
        self._opt_per_agent = opt_per_agent
        self._queues: dict[int, deque[Chain]] = {list_dbid: deque() for list_dbid in shares}
        self._credit: dict[int, float] = dict.fromkeys(shares, 0.0)

    def set_marks(self, min_per_agent: int, opt_per_agent: int) -> None:
        """Other watermarks from the next refill on."""
        self._min_per_agent, self._opt_per_agent = min_per_agent, opt_per_agent

    def __len__(self) -> int:
        return sum(len(queue) for queue in self._queues.values())

    def refills(self, agents: int, exhausted: frozenset[int]) -> list[Refill]:
        """
        Return what to claim now, nothing while the buffer is above its low mark.

        Args:
            agents: logged-in agents; at least one is assumed so that a list can be prepared before log-in.
            exhausted: lists whose last claim came back short; their share goes to the others.
        """
        agents = max(1, agents)
        if len(self) >= self._min_per_agent * agents:
            return []
        missing = self._opt_per_agent * agents - len(self)
        open_lists = [list_dbid for list_dbid in self._shares if list_dbid not in exhausted]
        total = sum(self._shares[list_dbid] for list_dbid in open_lists)
        return [Refill(list_dbid, max(1, round(missing * self._shares[list_dbid] / total))) for list_dbid in open_lists]

    def put(self, list_dbid: int, chains: Sequence[Chain]) -> None:
        self._queues[list_dbid].extend(chains)

    def take(self, count: int) -> list[Chain]:
        """Up to ``count`` chains: smooth weighted round-robin over the lists, each in its claimed order."""
        taken: list[Chain] = []
        while len(taken) < count:
            filled = [list_dbid for list_dbid, queue in self._queues.items() if queue]
            if not filled:
                break
            total = sum(self._shares[list_dbid] for list_dbid in filled)
            for list_dbid in filled:
                self._credit[list_dbid] += self._shares[list_dbid] / total
            best = max(filled, key=lambda list_dbid: self._credit[list_dbid])
            self._credit[best] -= 1.0
            taken.append(self._queues[best].popleft())
        return taken

    def empty(self) -> list[Chain]:
        """Remove and return everything, to be given back to the lists."""
        chains = [chain for queue in self._queues.values() for chain in queue]
        for queue in self._queues.values():
            queue.clear()
        return chains
