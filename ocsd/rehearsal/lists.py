"""A copy of the group's calling lists in memory, and the store that rehearses on it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Final

from ocsd.config.objects import Configuration
from ocsd.lists.caps import Call
from ocsd.lists.gates import DIALED_TYPES
from ocsd.lists.memory import MemoryListStore
from ocsd.lists.memory_database import MemoryDatabase, MemoryRow, MemoryTable
from ocsd.model.enums import RecordStatus
from ocsd.model.records import (
    AbandonmentBucket,
    AbandonmentCounts,
    CallingRecord,
    ChainSettlement,
    FinishedAttempt,
    NewAttempt,
    Refusal,
)

OPEN: Final = (RecordStatus.READY, RecordStatus.RETRIEVED)


@dataclass(frozen=True, slots=True)
class ListCopy:
    """
    The rows of one calling list that can still be dialed.

    Attributes:
        rows: whole chains; where the list has an order of its own, in that order.
        chains: of the whole list, of which ``rows`` are a part (``part``), when it is large.
        ordered: the list's filter has an ORDER BY.
    """

    list_dbid: int
    rows: tuple[CallingRecord, ...]
    chains: int
    part: float = 1.0
    ordered: bool = False


@dataclass(frozen=True, slots=True)
class ListCopies:
    """
    Everything that a rehearsal knows about the group's lists. One value serves any number of runs.

    Attributes:
        source: where it comes from, in words.
        past: earlier calls that attempt caps of these lists count.
        answered: people who answered calls of the campaign before, and whom of them nobody took.
        began_s: the campaign's first quarter of an hour (UTC second), which may lie before ``answered``.
    """

    lists: tuple[ListCopy, ...]
    source: str
    past: tuple[Call, ...] = ()
    answered: tuple[AbandonmentBucket, ...] = ()
    began_s: int | None = None
    _tables: dict[str, MemoryTable] = field(default_factory=dict, repr=False, compare=False)

    @property
    def chains(self) -> int:
        """Of all lists, in full."""
        return sum(copy.chains for copy in self.lists)

    @property
    def part(self) -> float:
        """Share of the chains that is here."""
        here = math.fsum(copy.chains * copy.part for copy in self.lists)
        return here / self.chains if self.chains else 1.0

    def database(self, config: Configuration) -> MemoryDatabase:
        """A fresh database with these rows; ``config``: the same at each call, but for options and goals."""
        database = MemoryDatabase(config)
        for entry in config.calling_lists:
            if entry.filter:  # its SQL has chosen the rows
                users = frozenset(other.dbid for other in config.calling_lists if other.filter == entry.filter)
                database.filters[entry.filter] = (partial(_is_of, users), None)
        if not self._tables:
            self._tables.update(_tables_of(database, self.lists))
        database.tables = {name: table.copy() for name, table in self._tables.items()}
        for number, call in enumerate(self.past, 1):
            _remember(database, call, -number)  # ids of the journal are positive
        return database


def _is_of(list_dbids: frozenset[int], record: CallingRecord) -> bool:
    return record.list_dbid in list_dbids


def _tables_of(database: MemoryDatabase, lists: Sequence[ListCopy]) -> dict[str, MemoryTable]:
    by_table: dict[str, list[ListCopy]] = {}
    for copy in lists:
        by_table.setdefault(database.table_name(copy.list_dbid), []).append(copy)
    tables: dict[str, MemoryTable] = {}
    for name, copies in by_table.items():
        table = tables[name] = MemoryTable()
        # Claims go by record_id where nothing else says more: that is how an order of the list's own is kept.
        renumbered = any(copy.ordered for copy in copies)
        for number, record in enumerate((row for copy in copies for row in copy.rows), 1):
            table.insert(MemoryRow(replace(record, record_id=number) if renumbered else record, RecordStatus.READY))
    return tables


def _remember(database: MemoryDatabase, call: Call, attempt_id: int) -> None:
    """A call of the past, for attempt caps: neither open nor of any row."""
    attempt = NewAttempt(
        attempt_id=attempt_id,
        guid="",
        list_dbid=call.list_dbid,
        record_id=0,
        chain_id=0,
        campaign_dbid=call.campaign_dbid,
        campaign_group_dbid=0,
        phone=call.phone,
        leg_id="",
        started_at=call.started_at,
        customer_id=call.customer_id,
        subject=call.subject,
    )
    table = ""
    database.open_attempt(table, attempt)
    database.mark_attempt(attempt_id, connected_at=call.connected_at)
    database.journal.note(attempt)


class RehearsalStore(MemoryListStore):
    """The store in memory without the checkpoints, and with an eye on how far the lists have got."""

    def __init__(
        self, database: MemoryDatabase, answered: Sequence[AbandonmentBucket] = (), began_s: int | None = None
    ) -> None:
        """``answered``, ``began_s``: as in `ListCopies`."""
        super().__init__(database, node="rehearsal")
        self._answered = tuple(answered)
        self._began_s = began_s if began_s is not None else min((b.start_s for b in self._answered), default=None)
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

    async def abandonment(
        self, campaign_dbid: int, since: datetime, group_dbids: Sequence[int] = ()
    ) -> AbandonmentCounts:
        found = await super().abandonment(campaign_dbid, since, group_dbids)
        before = tuple(bucket for bucket in self._answered if bucket.start_s >= since.timestamp())
        starts = [start_s for start_s in (self._began_s, found.started_s) if start_s is not None]
        return replace(found, started_s=min(starts, default=None), buckets=before + found.buckets)

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
