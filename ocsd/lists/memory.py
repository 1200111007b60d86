"""`ListStore` in memory, for tests of sessions and for runs in virtual time; the contract tests hold it to `postgres`.

`MemoryDatabase` plays the server and outlives the stores that use it: a test "kills" a daemon by forgetting its
`MemoryListStore` and opening another one on the same database. Nothing waits here except checkpoints.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import trio

from ocsd.config.objects import CallingList
from ocsd.lists import memory_claims
from ocsd.lists.gates import TYPE_ORDER, LocalTimes, local_times, why_not_dialable
from ocsd.lists.memory_database import MemoryAttempt, MemoryDatabase, MemoryRow
from ocsd.lists.store import DEFAULT_PORTIONS, ClaimLost, ListCounts
from ocsd.lists.tables import table_of
from ocsd.model.enums import RecordStatus
from ocsd.model.errors import StoreUnavailable
from ocsd.model.records import CallingRecord, Chain, FinishedAttempt, NewAttempt, OpenAttempt, Portion


class MemoryListStore:
    """
    ``owner`` and ``node`` as in PostgresListStore. Filters are SQL and need a real database (ConfigError), unless
    ``MemoryDatabase.filters`` has them in Python.
    """

    def __init__(self, database: MemoryDatabase, *, node: str = "node") -> None:
        self.node = node
        self.owner = f"{node}/{uuid.uuid4().hex[:12]}"
        self.database = database
        self.finished: list[FinishedAttempt] = []
        """Results written through this store, in order."""
        database.nodes[self.owner] = node

    async def claim_chains(
        self,
        list_dbid: int,
        campaign_group_dbid: int,
        limit: int,
        now: datetime,
        portions: Sequence[Portion] = DEFAULT_PORTIONS,
    ) -> list[Chain]:
        await self._reach()
        return memory_claims.claim(self.database, self.owner, list_dbid, campaign_group_dbid, limit, now, portions)

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
            self.database.open_attempt(table, attempt)

    async def mark_answered(self, attempt_id: int, answered_at: datetime) -> None:
        await self._reach()
        self.database.mark_attempt(attempt_id, answered_at=answered_at)

    async def mark_connected(self, attempt_id: int, connected_at: datetime, agent_id: str) -> None:
        await self._reach()
        self.database.mark_attempt(attempt_id, connected_at=connected_at, agent_id=agent_id)

    async def note_correction(self, attempt_id: int, call_result: int | None, updates: Mapping[str, object]) -> None:
        await self._reach()
        if (attempt := self.database.attempts.get(attempt_id)) is not None:
            result = call_result if call_result is not None else attempt.open.desktop_result
            known = dict(attempt.open.desktop_updates)
            self.database.mark_attempt(attempt_id, desktop_result=result, desktop_updates=known | dict(updates))

    async def finish_attempt(self, finished: FinishedAttempt) -> bool:
        await self._reach()
        attempt = self.database.close_attempt(finished)
        if attempt is None:
            return False
        db, table, change = self.database, attempt.table, finished.change
        row = db.table(table).rows.get(finished.record_id)
        if row is not None:
            self._write_result(row, attempt, finished)
        if not change.keep_claim:
            for other in db.live_rows(table, finished.chain_id):
                if other.record.record_id != finished.record_id:
                    result = other.record.call_result if change.sibling_result is None else change.sibling_result
                    db.update_row(
                        table, other.record.record_id, record_status=change.sibling_status, call_result=result
                    )
            db.claims.pop((table, finished.chain_id), None)
        self.finished.append(finished)
        return True

    async def open_attempts(self) -> list[OpenAttempt]:
        await self._reach()
        return [attempt.open for attempt in self.database.open_attempts()]

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
        return why_not_dialable(row.record, calling_list.max_attempts, times, now, types=TYPE_ORDER) is None

    def _release(self, table: str, chain_id: int) -> bool:
        if self.database.has_open_attempt(table, chain_id):
            return False
        del self.database.claims[table, chain_id]
        for row in self.database.live_rows(table, chain_id):
            self.database.set_status(table, row.record.record_id, RecordStatus.READY)
        return True

    def _write_result(self, row: MemoryRow, attempt: MemoryAttempt, finished: FinishedAttempt) -> None:
        record, change = row.record, finished.change
        changes: dict[str, Any] = {
            "record_status": change.record_status,
            "campaign_id": attempt.open.campaign_dbid,
            "switch_id": finished.switch_dbid if finished.switch_dbid is not None else row.switch_id,
            "record_type": change.record_type,
            "call_result": int(finished.call_result),
            "dial_sched_time": change.dial_sched_time,
            "agent_id": finished.agent_id if finished.agent_id is not None else record.agent_id,
            "treatments": change.treatments if change.treatments is not None else record.treatments,
        }
        if finished.count_attempt:
            dialed_at = finished.times.dialing_at or attempt.open.started_at
            changes |= {"attempt": record.attempt + 1, "call_time": round(dialed_at.timestamp())}
        self.database.update_row(attempt.table, record.record_id, **(changes | dict(finished.updates)))


__all__ = ["MemoryDatabase", "MemoryListStore"]
