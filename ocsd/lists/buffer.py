"""
The record buffer of one campaign group: claimed chains waiting for their turn. Pure.

Watermarks are the manual's: refill to ``opt_rec_buff_size`` x agents when fewer than ``min_rec_buff_size`` x agents
are left. Chains of several lists are taken in proportion to their shares; an empty list's share goes to the others.
Within a list chains of a more urgent record type come first.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ocsd.model.enums import RecordType
from ocsd.model.records import Chain

SMALL: Final = 1e-9
"""Credits below it are rounding errors."""


@dataclass(frozen=True, slots=True)
class Refill:
    """Claim up to ``limit`` chains from the list."""

    list_dbid: int
    limit: int


class RecordBuffer:
    """
    ``shares``: weight of each active list, by DBID. Chains of a list without a share are kept too, and taken when no
    other list has any.
    """

    def __init__(self, shares: Mapping[int, int], min_per_agent: int, opt_per_agent: int) -> None:
        self._shares = dict(shares)
        self._min_per_agent = min_per_agent
        self._opt_per_agent = opt_per_agent
        self._queues: dict[int, dict[int, deque[Chain]]] = {}  # by list, then by priority; no queue is empty
        self._credit: dict[int, float] = {}
        """What a filled list is owed, in chains; the sum is 0 between takes."""

    def set_marks(self, min_per_agent: int, opt_per_agent: int) -> None:
        """Other watermarks from the next refill on."""
        self._min_per_agent, self._opt_per_agent = min_per_agent, opt_per_agent

    def set_shares(self, shares: Mapping[int, int]) -> None:
        """Other lists and weights from now on; chains of lists that are gone stay until they are taken out."""
        self._shares = dict(shares)

    def __len__(self) -> int:
        return sum(len(queue) for levels in self._queues.values() for queue in levels.values())

    def chains(self) -> Iterator[Chain]:
        """Everything in the buffer, list by list, in the order of each."""
        for list_dbid in self._queues:
            yield from self._of_list(list_dbid)

    def refills(self, agents: int, exhausted: frozenset[int]) -> list[Refill]:
        """
        Return what to claim now, nothing while the buffer is above its low mark.

        Args:
            agents: logged-in agents; at least one is assumed so that a list can be prepared before log-in.
            exhausted: lists whose last claim came back short; their share goes to the others.
        """
        agents = max(1, agents)
        held = len(self)
        if held >= self._min_per_agent * agents:
            return []
        missing = self._opt_per_agent * agents - held
        open_lists = [list_dbid for list_dbid in self._shares if list_dbid not in exhausted]
        weights = self._weights(open_lists)
        return [Refill(list_dbid, max(1, round(missing * weights[list_dbid]))) for list_dbid in open_lists]

    def put(self, list_dbid: int, chains: Sequence[Chain], priority: Mapping[RecordType, int] | None = None) -> None:
        """Add chains behind those of the same priority; ``priority``: by type of the record to dial, highest first."""
        for chain in chains:
            level = priority.get(chain.record.record_type, 0) if priority is not None else 0
            self._queues.setdefault(list_dbid, {}).setdefault(level, deque()).append(chain)
        if chains:
            self._credit.setdefault(list_dbid, 0.0)

    def front(self, count: int, admits: Callable[[Chain], bool] | None = None) -> list[Chain]:
        """What `take` would return; nothing is changed."""
        twin = RecordBuffer(self._shares, self._min_per_agent, self._opt_per_agent)
        twin._queues = {
            list_dbid: {level: deque(queue) for level, queue in levels.items()}
            for list_dbid, levels in self._queues.items()
        }
        twin._credit = dict(self._credit)
        return twin.take(count, admits)

    def take(self, count: int, admits: Callable[[Chain], bool] | None = None) -> list[Chain]:
        """
        Up to ``count`` chains, from the lists by their shares, the most urgent of each list first.

        As long as the same lists are filled, what each has been given differs from its share by less than one chain:
        the next chain of a list may go when its share has begun to cover it, and of those that may the one goes whose
        share covers it first (earliest deadline first; Baruah et al. 1996, "Proportionate progress").

        Args:
            admits: chains that it does not admit are passed over and stay where they are; a list that has only such
                ones does not count as filled.
        """
        ready = self._queues if admits is None else self._admitted(admits)
        taken: list[Chain] = []
        while len(taken) < count and ready:
            weights = self._weights(ready)
            for list_dbid, weight in weights.items():
                self._credit[list_dbid] += weight
            served = [dbid for dbid, weight in weights.items() if weight > 0.0]
            # None is due for a moment when shares have just changed.
            due = [dbid for dbid in served if self._credit[dbid] > SMALL] or served
            best = min(due, key=lambda dbid: (1.0 - self._credit[dbid]) / weights[dbid])
            self._credit[best] -= 1.0
            levels = ready[best]
            urgent = max(levels)
            chain = levels[urgent].popleft()
            taken.append(chain)
            if ready is not self._queues:
                self._queues[best][urgent].remove(chain)
                if not levels[urgent]:
                    del levels[urgent]
                if not levels:
                    del ready[best]
            self._tidy(best)
        return taken

    def _admitted(self, admits: Callable[[Chain], bool]) -> dict[int, dict[int, deque[Chain]]]:
        found: dict[int, dict[int, deque[Chain]]] = {}
        for list_dbid, levels in self._queues.items():
            for level, queue in levels.items():
                if chosen := deque(chain for chain in queue if admits(chain)):
                    found.setdefault(list_dbid, {})[level] = chosen
        return found

    def drop(self, keys: Collection[tuple[int, int]]) -> list[Chain]:
        """Remove and return the chains with these (list DBID, chain_id)."""
        dropped: list[Chain] = []
        for list_dbid in {list_dbid for list_dbid, _ in keys} & self._queues.keys():
            for level, queue in self._queues[list_dbid].items():
                found = [chain for chain in queue if chain.key in keys]
                if found:
                    dropped += found
                    self._queues[list_dbid][level] = deque(chain for chain in queue if chain.key not in keys)
            self._tidy(list_dbid)
        return dropped

    def replace(self, chain: Chain) -> bool:
        """Put ``chain`` in the place of the one with its key (it has lost a record); False: it is not here."""
        for queue in self._queues.get(chain.list_dbid, {}).values():
            for place, other in enumerate(queue):
                if other.key == chain.key:
                    queue[place] = chain
                    return True
        return False

    def empty_list(self, list_dbid: int) -> list[Chain]:
        """Remove and return everything of one list, to be given back to it."""
        chains = self._of_list(list_dbid)
        if chains:
            self._queues[list_dbid].clear()
            self._tidy(list_dbid)
        return chains

    def empty(self) -> list[Chain]:
        """Remove and return everything, to be given back to the lists."""
        return [chain for list_dbid in list(self._queues) for chain in self.empty_list(list_dbid)]

    def _of_list(self, list_dbid: int) -> list[Chain]:
        levels = self._queues.get(list_dbid, {})
        return [chain for level in sorted(levels, reverse=True) for chain in levels[level]]

    def _weights(self, list_dbids: Collection[int]) -> dict[int, float]:
        """Shares of these lists, with the sum 1; equal ones when none of them has a share."""
        shares = {list_dbid: max(0, self._shares.get(list_dbid, 0)) for list_dbid in list_dbids}
        total = sum(shares.values())
        return {dbid: share / total if total else 1.0 / len(shares) for dbid, share in shares.items()}

    def _tidy(self, list_dbid: int) -> None:
        """A list that has run empty leaves the round; what it was owed or owes goes to the others by their shares."""
        levels = self._queues[list_dbid]
        for level in [level for level, queue in levels.items() if not queue]:
            del levels[level]
        if not levels:
            del self._queues[list_dbid]
            credit = self._credit.pop(list_dbid)
            for other, weight in self._weights(self._queues).items():
                self._credit[other] += credit * weight
