"""`ListStore` in memory, for tests of sessions and for runs in virtual time; the contract tests hold it to `postgres`.

`MemoryDatabase` plays the server and outlives the stores that use it: a test "kills" a daemon by forgetting its
`MemoryListStore` and opening another one on the same database. Nothing waits here except checkpoints.
"""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import trio

from ocsd.config.objects import CallingList, Configuration
from ocsd.lists.gates import TYPE_ORDER, LocalTimes, local_times, why_not_dialable
from ocsd.lists.store import ClaimLost, ListCounts
from ocsd.lists.tables import columns_of, table_of, time_zone_dbid
from ocsd.model.columns import MANDATORY_COLUMNS
from ocsd.model.enums import CallResult, RecordStatus, RecordType
from ocsd.model.errors import ConfigError, InvariantError, StoreUnavailable
from ocsd.model.records import CallingRecord, Chain, FinishedAttempt, NewAttempt, OpenAttempt


@dataclass(slots=True)
class MemoryRow:
    """One row of a table: the record and the columns that CallingRecord leaves out."""

    record: CallingRecord
    record_status: RecordStatus
    campaign_id: int | None = None
    switch_id: int | None = None


@dataclass(slots=True)
class MemoryClaim:
    list_dbid: int
    campaign_group_dbid: int
    owner: str
    lease_until: datetime


@dataclass(slots=True)
class MemoryAttempt:
    table: str
    open: OpenAttempt
    finished: FinishedAttempt | None = None


@dataclass(slots=True)
class MemoryDatabase:
    """
    Attributes:
        now: the server's clock, for leases.
        available: set it to False and every call raises StoreUnavailable.
    """

    config: Configuration
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    available: bool = True
    tables: dict[str, dict[int, MemoryRow]] = field(default_factory=dict)
    claims: dict[tuple[str, int], MemoryClaim] = field(default_factory=dict)
    attempts: dict[int, MemoryAttempt] = field(default_factory=dict)
    nodes: dict[str, str] = field(default_factory=dict)
    attempt_ids: "count[int]" = field(default_factory=lambda: count(1))

    def rows(self, list_dbid: int) -> dict[int, MemoryRow]:
        """The list's table by record_id."""
        return self.tables.setdefault(table_of(self.config, self.config.calling_list_by_dbid(list_dbid)), {})

    def add_record(self, list_dbid: int, **columns: Any) -> int:
        """Insert a row by column names, with the defaults of a real table; returns its record_id."""
        calling_list = self.config.calling_list_by_dbid(list_dbid)
        rows = self.rows(list_dbid)
        given = {
            "record_id": max(rows, default=0) + 1,
            "contact_info_type": 0,
            "record_type": RecordType.GENERAL,
            "record_status": RecordStatus.READY,
            "call_result": CallResult.UNKNOWN,
            "attempt": 0,
            "dial_sched_time": None,
            "call_time": None,
            "daily_from": calling_list.daily_from,
            "daily_till": calling_list.daily_till,
            "tz_dbid": time_zone_dbid(self.config, calling_list),
            "chain_id": max((row.record.chain_id for row in rows.values()), default=0) + 1,
            "chain_n": 0,
            "agent_id": None,
            "treatments": None,
        } | columns
        own = {name: given.pop(name) for name in ("campaign_id", "switch_id") if name in given}
        user_names = [column.name for column in columns_of(self.config, calling_list)[len(MANDATORY_COLUMNS) :]]
        user_fields = {name: given.pop(name, None) for name in user_names}
        status = RecordStatus(given.pop("record_status"))
        record = CallingRecord(
            list_dbid=list_dbid,
            daily_from_s=given.pop("daily_from"),
            daily_till_s=given.pop("daily_till"),
            record_type=RecordType(given.pop("record_type")),
            user_fields=user_fields,
            **given,
        )
        keys = {(row.record.chain_id, row.record.chain_n) for row in rows.values()}
        if record.record_id in rows or (record.chain_id, record.chain_n) in keys:
            raise ValueError(f"record_id {record.record_id} or its place in chain {record.chain_id} is taken")
        rows[record.record_id] = MemoryRow(record, status, **own)
        return record.record_id


_RECORD_FIELDS = tuple(CallingRecord.__dataclass_fields__)


class MemoryListStore:
    """``owner`` and ``node`` as in PostgresListStore; filters are SQL and need a real database (ConfigError)."""

    def __init__(self, database: MemoryDatabase, *, node: str = "node") -> None:
        self.node = node
        self.owner = f"{node}/{uuid.uuid4().hex[:12]}"
        self.database = database
        self.finished: list[FinishedAttempt] = []
        """Results written through this store, in order."""
        database.nodes[self.owner] = node

    async def claim_chains(self, list_dbid: int, campaign_group_dbid: int, limit: int, now: datetime) -> list[Chain]:
        await self._reach()
        db, calling_list = self.database, self.database.config.calling_list_by_dbid(list_dbid)
        if calling_list.filter:
            raise ConfigError([f"calling list {calling_list.name!r}: filters need PostgreSQL"])
        times = local_times(db.config, calling_list, now)
        table = table_of(db.config, calling_list)
        chains: dict[int, list[MemoryRow]] = {}
        for row in db.rows(list_dbid).values():
            if row.record_status is RecordStatus.READY and row.record.record_type in TYPE_ORDER:
                chains.setdefault(row.record.chain_id, []).append(row)
        ranked: list[tuple[tuple[int, int, int], int, list[MemoryRow]]] = []
        for chain_id, rows in chains.items():
            dialable = [row for row in rows if self._dialable(row, calling_list, times, now)]
            if dialable and (table, chain_id) not in db.claims:
                dialable.sort(key=lambda row: row.record.chain_n)
                ranked.append((min(_rank(row.record) for row in dialable), chain_id, dialable))
        taken = []
        lease_until = db.now() + timedelta(seconds=db.config.database.lease_s)
        for _, chain_id, dialable in sorted(ranked, key=lambda entry: entry[0])[:limit]:
            db.claims[table, chain_id] = MemoryClaim(list_dbid, campaign_group_dbid, self.owner, lease_until)
            for row in chains[chain_id]:
                row.record_status = RecordStatus.RETRIEVED
            records = tuple(replace(row.record, list_dbid=list_dbid) for row in dialable)
            taken.append(Chain(list_dbid, chain_id, records))
        return taken

    async def give_back(self, chains: Sequence[Chain]) -> None:
        await self._reach()
        for chain in chains:
            table = table_of(self.database.config, self.database.config.calling_list_by_dbid(chain.list_dbid))
            claim = self.database.claims.get((table, chain.chain_id))
            if claim is not None and claim.owner == self.owner:
                self._release(table, chain.chain_id)

    async def begin_attempts(self, attempts: Sequence[NewAttempt]) -> None:
        await self._reach()
        tables = [
            table_of(self.database.config, self.database.config.calling_list_by_dbid(attempt.list_dbid))
            for attempt in attempts
        ]
        for attempt, table in zip(attempts, tables, strict=True):
            claim = self.database.claims.get((table, attempt.chain_id))
            if claim is None or claim.owner != self.owner:
                raise ClaimLost(f"chain {attempt.chain_id} is not claimed by {self.owner}")
        for attempt, table in zip(attempts, tables, strict=True):
            values = {name: getattr(attempt, name) for name in NewAttempt.__dataclass_fields__}
            opened = OpenAttempt(**values, answered_at=None, connected_at=None, agent_id=None)
            self.database.attempts.setdefault(attempt.attempt_id, MemoryAttempt(table, opened))

    async def mark_answered(self, attempt_id: int, answered_at: datetime) -> None:
        await self._reach()
        self._mark(attempt_id, answered_at=answered_at)

    async def mark_connected(self, attempt_id: int, connected_at: datetime, agent_id: str) -> None:
        await self._reach()
        self._mark(attempt_id, connected_at=connected_at, agent_id=agent_id)

    async def note_correction(self, attempt_id: int, call_result: int | None, updates: Mapping[str, object]) -> None:
        await self._reach()
        if (attempt := self.database.attempts.get(attempt_id)) is not None:
            result = call_result if call_result is not None else attempt.open.desktop_result
            known = dict(attempt.open.desktop_updates)
            self._mark(attempt_id, desktop_result=result, desktop_updates=known | dict(updates))

    async def finish_attempt(self, finished: FinishedAttempt) -> bool:
        await self._reach()
        attempt = self.database.attempts.get(finished.attempt_id)
        if attempt is None or attempt.finished is not None:
            return False
        attempt.finished = finished
        row = self.database.tables[attempt.table].get(finished.record_id)
        if row is not None:
            self._write_result(row, attempt, finished)
        if not finished.change.keep_claim:
            for other in self.database.tables[attempt.table].values():
                if (
                    other.record.chain_id == finished.chain_id
                    and other is not row
                    and other.record_status is RecordStatus.RETRIEVED
                ):
                    other.record_status = finished.change.sibling_status
                    if finished.change.sibling_result is not None:
                        other.record = replace(other.record, call_result=finished.change.sibling_result)
            self.database.claims.pop((attempt.table, finished.chain_id), None)
        self.finished.append(finished)
        return True

    async def open_attempts(self) -> list[OpenAttempt]:
        await self._reach()
        return [self.database.attempts[key].open for key in sorted(self.database.attempts) if self._is_open(key)]

    async def records(self, list_dbid: int, record_ids: Sequence[int]) -> dict[int, CallingRecord]:
        await self._reach()
        rows = self.database.rows(list_dbid)
        return {key: replace(rows[key].record, list_dbid=list_dbid) for key in record_ids if key in rows}

    async def recover_claims(self) -> int:
        await self._reach()
        db = self.database
        released = 0
        for (table, chain_id), claim in list(db.claims.items()):
            if claim.owner == self.owner:
                continue
            same_node = db.nodes.get(claim.owner) == self.node
            if same_node or claim.lease_until < db.now():
                if self._release(table, chain_id):
                    released += 1
                elif same_node:
                    claim.owner = self.owner
                    claim.lease_until = db.now() + timedelta(seconds=db.config.database.lease_s)
        return released

    async def counts(self, list_dbid: int, now: datetime) -> ListCounts:
        await self._reach()
        calling_list = self.database.config.calling_list_by_dbid(list_dbid)
        times = local_times(self.database.config, calling_list, now)
        by_status: dict[tuple[int, int], int] = {}
        by_result: dict[int, int] = {}
        ready: set[int] = set()
        in_window: set[int] = set()
        for row in self.database.rows(list_dbid).values():
            key = (int(row.record_status), int(row.record.record_type))
            by_status[key] = by_status.get(key, 0) + 1
            by_result[row.record.call_result] = by_result.get(row.record.call_result, 0) + 1
            if row.record_status is RecordStatus.READY and row.record.record_type in TYPE_ORDER:
                ready.add(row.record.chain_id)
                if self._dialable(row, calling_list, times, now):
                    in_window.add(row.record.chain_id)
        return ListCounts(by_status, by_result, len(ready), len(in_window))

    async def next_attempt_ids(self, count: int) -> list[int]:
        await self._reach()
        return [next(self.database.attempt_ids) for _ in range(count)]

    def renew_leases(self) -> None:
        """What the heartbeat of the real store does."""
        lease_until = self.database.now() + timedelta(seconds=self.database.config.database.lease_s)
        for claim in self.database.claims.values():
            if claim.owner == self.owner:
                claim.lease_until = lease_until

    async def _reach(self) -> None:
        await trio.lowlevel.checkpoint()
        if not self.database.available:
            raise StoreUnavailable("memory database switched off")

    def _dialable(self, row: MemoryRow, calling_list: CallingList, times: LocalTimes, now: datetime) -> bool:
        return why_not_dialable(row.record, calling_list.max_attempts, times, now) is None

    def _is_open(self, attempt_id: int) -> bool:
        return self.database.attempts[attempt_id].finished is None

    def _release(self, table: str, chain_id: int) -> bool:
        for attempt in self.database.attempts.values():
            if attempt.table == table and attempt.open.chain_id == chain_id and attempt.finished is None:
                return False
        del self.database.claims[table, chain_id]
        for row in self.database.tables[table].values():
            if row.record.chain_id == chain_id and row.record_status is RecordStatus.RETRIEVED:
                row.record_status = RecordStatus.READY
        return True

    def _mark(self, attempt_id: int, **changes: Any) -> None:
        attempt = self.database.attempts.get(attempt_id)
        if attempt is not None and attempt.finished is None:
            attempt.open = replace(attempt.open, **changes)

    def _write_result(self, row: MemoryRow, attempt: MemoryAttempt, finished: FinishedAttempt) -> None:
        record = row.record
        row.record_status = finished.change.record_status
        row.campaign_id = attempt.open.campaign_dbid
        row.switch_id = finished.switch_dbid if finished.switch_dbid is not None else row.switch_id
        changes: dict[str, Any] = {
            "record_type": finished.change.record_type,
            "call_result": int(finished.call_result),
            "dial_sched_time": finished.change.dial_sched_time,
            "agent_id": finished.agent_id if finished.agent_id is not None else record.agent_id,
            "treatments": finished.change.treatments if finished.change.treatments is not None else record.treatments,
        }
        if finished.count_attempt:
            dialed_at = finished.times.dialing_at or attempt.open.started_at
            changes |= {"attempt": record.attempt + 1, "call_time": round(dialed_at.timestamp())}
        row.record = replace(record, **changes)
        row.record = _with_updates(row.record, finished.updates)


def _rank(record: CallingRecord) -> tuple[int, int, int]:
    return TYPE_ORDER.index(record.record_type), record.dial_sched_time or 0, record.record_id


def _with_updates(record: CallingRecord, updates: Mapping[str, object]) -> CallingRecord:
    names = {"daily_from": "daily_from_s", "daily_till": "daily_till_s"}
    fields: dict[str, Any] = {}
    user_fields = dict(record.user_fields)
    for column, value in updates.items():
        if column in user_fields:
            user_fields[column] = value
        elif (name := names.get(column, column)) in _RECORD_FIELDS:
            fields[name] = value
        else:
            raise InvariantError(f"update of column {column!r}, which the list does not have")
    return replace(record, user_fields=user_fields, **fields)
