"""`ListStore` in memory, for tests of sessions and for runs in virtual time; the contract tests hold it to `postgres`.

`MemoryDatabase` plays the server and outlives the stores that use it: a test "kills" a daemon by forgetting its
`MemoryListStore` and opening another one on the same database. Nothing waits here except checkpoints.
"""

import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import trio

from ocsd.lists import memory_claims, memory_results
from ocsd.lists.memory_database import MemoryDatabase
from ocsd.lists.store import DEFAULT_PORTIONS, NOTHING, ListCounts
from ocsd.lists.tables import table_of
from ocsd.lists.verified import is_given_machine
from ocsd.model.enums import RecordStatus, RecordType
from ocsd.model.errors import StoreUnavailable
from ocsd.model.records import (
    AbandonmentCounts,
    AddedRecord,
    CallingRecord,
    Chain,
    ChainSettlement,
    CpdRecording,
    FinishedAttempt,
    NewAttempt,
    NewRecord,
    OpenAttempt,
    Portion,
    Refusal,
    Selector,
    Withdrawal,
    Withdrawn,
)


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

    async def release_group(self, campaign_group_dbid: int) -> int:
        await self._reach()
        held = [key for key, claim in self.database.claims.items() if claim.owner == self.owner]
        ours = [key for key in held if self.database.claims[key].campaign_group_dbid == campaign_group_dbid]
        return sum(self._release(*key) for key in ours)

    async def settle_chain(self, settlement: ChainSettlement) -> bool:
        await self._reach()
        return memory_results.settle(self.database, self.owner, settlement)

    async def refused_by_caps(
        self, list_dbid: int, campaign_dbid: int, records: Sequence[CallingRecord], now: datetime
    ) -> dict[int, Refusal]:
        await self._reach()
        return memory_results.refused_by_caps(self.database, list_dbid, campaign_dbid, records, now)

    async def begin_attempts(self, attempts: Sequence[NewAttempt]) -> Mapping[int, Refusal]:
        await self._reach()
        return memory_results.begin(self.database, self.owner, attempts)

    async def redirect_attempt(
        self, attempt_id: int, record: CallingRecord, campaign_dbid: int, now: datetime
    ) -> Refusal | None:
        await self._reach()
        return memory_results.redirect(self.database, attempt_id, record, campaign_dbid, now)

    async def withdraw(
        self, list_dbids: Sequence[int], selector: Selector, withdrawal: Withdrawal, *, spare_claimed: bool = False
    ) -> list[Withdrawn]:
        await self._reach()
        return memory_results.withdraw(self.database, list_dbids, selector, withdrawal, spare_claimed)

    async def add_record(self, record: NewRecord) -> AddedRecord:
        await self._reach()
        return memory_results.add(self.database, record)

    @property
    def available(self) -> bool:
        return self.database.available

    async def mark_answered(self, attempt_id: int, answered_at: datetime) -> None:
        await self._reach()
        self.database.mark_attempt(attempt_id, answered_at=answered_at)

    async def mark_connected(self, attempt_id: int, connected_at: datetime, agent_id: str) -> None:
        await self._reach()
        self.database.mark_attempt(attempt_id, connected_at=connected_at, agent_id=agent_id)

    async def note_correction(
        self,
        attempt_id: int,
        call_result: int | None,
        updates: Mapping[str, object],
        asks: Mapping[str, object] = NOTHING,
    ) -> Callable[[], Awaitable[None]]:
        await self._reach()
        if (attempt := self.database.attempts.get(attempt_id)) is not None:
            result = call_result if call_result is not None else attempt.open.desktop_result
            known = dict(attempt.open.desktop_updates)
            asked = dict(attempt.open.desktop_asks) | dict(asks)
            self.database.mark_attempt(
                attempt_id, desktop_result=result, desktop_updates=known | dict(updates), desktop_asks=asked
            )
        return trio.lowlevel.checkpoint

    async def note_recording(self, recording: CpdRecording) -> None:
        await self._reach()
        known = self.database.journal.recordings.setdefault(recording.path, recording)
        if not known.sha256 and recording.sha256:
            self.database.journal.recordings[recording.path] = replace(recording, began_at=known.began_at)

    async def finish_attempt(self, finished: FinishedAttempt) -> bool:
        await self._reach()
        if not memory_results.finish(self.database, self.owner, finished):
            return False
        self.finished.append(finished)
        return True

    async def open_attempts(self) -> list[OpenAttempt]:
        await self._reach()
        return [attempt.open for attempt in self.database.open_attempts()]

    async def caller_ids_used(self, since: datetime, most: int) -> dict[str, list[datetime]]:
        await self._reach()
        used: dict[str, list[datetime]] = {}
        for new in sorted((attempt.new for attempt in self.database.attempts.values()), key=lambda new: new.started_at):
            if new.caller_id is not None and new.started_at > since:
                used.setdefault(new.caller_id, []).append(new.started_at)
        return {caller_id: started[-most:] for caller_id, started in used.items()}

    async def records(self, list_dbid: int, record_ids: Sequence[int]) -> dict[int, CallingRecord]:
        await self._reach()
        rows = self.database.rows(list_dbid)
        return {key: replace(rows[key].record, list_dbid=list_dbid) for key in record_ids if key in rows}

    async def chain(self, list_dbid: int, chain_id: int) -> tuple[CallingRecord, ...]:
        await self._reach()
        db = self.database
        rows = db.live_rows(db.table_name(list_dbid), chain_id)
        _, sort_key = memory_claims.filter_of(db, db.config.calling_list_by_dbid(list_dbid))
        records = [replace(row.record, list_dbid=list_dbid) for row in rows]
        if sort_key is not None:
            records.sort(key=lambda record: (sort_key(record), record.chain_n))
        return tuple(records)

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
        return memory_claims.count_rows(self.database, list_dbid, now)

    async def abandonment(
        self, campaign_dbid: int, since: datetime, group_dbids: Sequence[int] = ()
    ) -> AbandonmentCounts:
        await self._reach()
        others = {
            (claim.owner, claim.campaign_group_dbid)
            for claim in self.database.claims.values()
            if claim.owner != self.owner
            and claim.campaign_group_dbid in group_dbids
            and claim.lease_until > self.database.now()
        }
        return self.database.journal.abandonment(campaign_dbid, since, len(others))

    async def machines_given(self, campaign_group_dbid: int, since: datetime) -> list[datetime]:
        await self._reach()
        ended = (
            attempt.finished
            for attempt in self.database.attempts.values()
            if attempt.finished is not None and attempt.open.campaign_group_dbid == campaign_group_dbid
        )
        at = (one.times.cpd_completed_at or one.times.dialing_at for one in ended if is_given_machine(one))
        return sorted(each for each in at if each is not None and each >= since)

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

    def _release(self, table: str, chain_id: int) -> bool:
        if self.database.has_open_attempt(table, chain_id):
            return False
        del self.database.claims[table, chain_id]
        for row in self.database.live_rows(table, chain_id):
            dialable = row.record.record_type != RecordType.NO_CALL
            status = RecordStatus.READY if dialable else RecordStatus.UPDATED
            self.database.set_status(table, row.record.record_id, status)
        return True


__all__ = ["MemoryDatabase", "MemoryListStore"]
