"""A copy of the group's calling lists in memory, and the store that rehearses on it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from ocsd.config.objects import Configuration
from ocsd.lists.gates import DIALED_TYPES
from ocsd.lists.memory import MemoryListStore
from ocsd.lists.memory_database import MemoryDatabase, MemoryRow, MemoryTable
from ocsd.model.enums import RecordStatus
from ocsd.model.records import CallingRecord, ChainSettlement, FinishedAttempt, NewAttempt, Refusal

OPEN: Final = (RecordStatus.READY, RecordStatus.RETRIEVED)


@dataclass(frozen=True, slots=True)
class ListCopy:
    """
    The rows of one calling list that can still be dialed.

    Attributes:
        rows: whole chains. Where the list has an order of its own (its filter's ORDER BY), in that order, which record
            ids then follow.
        chains: of the whole list, of which ``rows`` are a part (`part`), when it is large.
    """

    list_dbid: int
    rows: tuple[CallingRecord, ...]
    chains: int
    part: float = 1.0

    @property
    def sampled(self) -> bool:
        return self.part < 1.0


@dataclass(frozen=True, slots=True)
class ListCopies:
    """
    Everything that a rehearsal knows about the group's lists. One value serves any number of runs.

    ``source``: where it comes from, in words; ``forbidden``: record ids on Do-Not-Call, by list DBID.
    """

    lists: tuple[ListCopy, ...]
    source: str
    notes: tuple[str, ...] = ()
    _tables: dict[str, MemoryTable] = field(default_factory=dict, repr=False)

    @property
    def chains(self) -> int:
        """Of all lists, in full."""
        return sum(copy.chains for copy in self.lists)

    def database(self, config: Configuration) -> MemoryDatabase:
        """A fresh database with these rows; ``config``: the same at each call, but for options and goals."""
        database = MemoryDatabase(config)
        for entry in config.calling_lists:
            if entry.filter:  # the rows have passed it, and stand in its order
                database.filters[entry.filter] = (_admitted, None)
        if not self._tables:
            made: dict[str, MemoryTable] = {}
            for copy in self.lists:
                table = made.setdefault(database.table_name(copy.list_dbid), MemoryTable())
                for record in copy.rows:
                    table.insert(MemoryRow(record, RecordStatus.READY))
            self._tables.update(made)
        database.tables = {name: table.copy() for name, table in self._tables.items()}
        return database


def _admitted(_record: CallingRecord) -> bool:
    return True


def in_order(chains: Iterable[Sequence[CallingRecord]]) -> tuple[CallingRecord, ...]:
    """The rows of chains in the order in which they are to be dialed, with record ids that say so."""
    rows = (row for chain in chains for row in chain)
    return tuple(replace(row, record_id=place) for place, row in enumerate(rows, 1))


class RehearsalStore(MemoryListStore):
    """The store in memory without the checkpoints, and with an eye on how far the lists have got."""

    def __init__(self, database: MemoryDatabase) -> None:
        super().__init__(database, node="rehearsal")
        self.owner = "rehearsal"  # the same in every run
        self.touched: set[tuple[int, int]] = set()
        """(list DBID, chain_id) of chains that were dialed."""
        self.final = 0
        """Chains that have ended."""
        self.attempted = 0

    async def _reach(self) -> None:
        pass

    async def begin_attempts(self, attempts: Sequence[NewAttempt]) -> dict[int, Refusal]:
        refused = dict(await super().begin_attempts(attempts))
        for attempt in attempts:
            if attempt.attempt_id not in refused:
                self.attempted += 1
                self.touched.add((attempt.list_dbid, attempt.chain_id))
        return refused

    async def finish_attempt(self, finished: FinishedAttempt) -> bool:
        written = await super().finish_attempt(finished)
        self.finished.clear()
        if written and not finished.change.goes_on:
            self._ended(finished.list_dbid, finished.chain_id)
        if written and not self.database.journal.caps(self.database.config).rules(finished.list_dbid):
            del self.database.attempts[finished.attempt_id]  # nobody will ask about it
        return written

    async def settle_chain(self, settlement: ChainSettlement) -> bool:
        written = await super().settle_chain(settlement)
        self.database.journal.decisions.clear()
        if written and not settlement.change.goes_on:
            self._ended(settlement.list_dbid, settlement.chain_id)
        return written

    async def mark_answered(self, attempt_id: int, answered_at: datetime) -> None:
        pass  # only start-up after a crash asks for it

    def _ended(self, list_dbid: int, chain_id: int) -> None:
        rows = self.database.rows_of_chain(self.database.table_name(list_dbid), chain_id)
        if not any(row.record_status in OPEN and row.record.record_type in DIALED_TYPES for row in rows):
            self.final += 1

    def left(self) -> int:
        """Chains that may still be dialed, now or later."""
        return sum(
            len(
                {
                    row.record.chain_id
                    for row in table.rows.values()
                    if row.record_status in OPEN and row.record.record_type in DIALED_TYPES
                }
            )
            for table in self.database.tables.values()
        )
