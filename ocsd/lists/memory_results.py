"""Attempts, results, decisions and withdrawals on a MemoryDatabase, with the answers that PostgreSQL gives.

The twin of `journal`, `chains`, `caps`, `withdrawing` and `outbox`. Statements of operators are only noted: here is
nobody to run them.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import trio

from ocsd.lists.adding import Joined, Member, join
from ocsd.lists.caps import Call, History, call_of
from ocsd.lists.chains import Writing
from ocsd.lists.journal import not_live
from ocsd.lists.memory_database import MemoryAttempt, MemoryDatabase, MemoryRow, MemoryTable
from ocsd.lists.memory_journal import MemoryDecision, MemoryItem
from ocsd.lists.outbox import LEASE_S, OutboxItem
from ocsd.lists.store import ChainMissing, ClaimLost
from ocsd.lists.withdrawing import OPEN, OpenRow, new_values, plan
from ocsd.model.enums import RecordStatus, RecordType
from ocsd.model.errors import StoreUnavailable
from ocsd.model.records import (
    AddedRecord,
    CallingRecord,
    ChainSettlement,
    FinishedAttempt,
    HttpRequest,
    NewAttempt,
    NewRecord,
    Refusal,
    Selector,
    Statement,
    Withdrawal,
    Withdrawn,
)

# -- attempts --------------------------------------------------------------------------------------------------------


def begin(db: MemoryDatabase, owner: str, attempts: Sequence[NewAttempt]) -> dict[int, Refusal]:
    """See ListStore.begin_attempts."""
    known = {
        attempt.attempt_id: found.finished is None
        for attempt in attempts
        if (found := db.attempts.get(attempt.attempt_id)) is not None
    }
    tables = [db.table_name(attempt.list_dbid) for attempt in attempts]
    lost = sorted(
        attempt.chain_id
        for attempt, table in zip(attempts, tables, strict=True)
        if not known.get(attempt.attempt_id, _holds(db, owner, table, attempt.chain_id))
    )
    if lost:
        raise ClaimLost(f"chains {lost} are not claimed by {owner}")
    new = [(attempt, table) for attempt, table in zip(attempts, tables, strict=True) if attempt.attempt_id not in known]
    history = _history(db, [call_of(attempt) for attempt, _ in new])
    refused: dict[int, Refusal] = {}
    for attempt, table in new:
        row = db.table(table).rows.get(attempt.record_id)
        if row is None:
            refusal: Refusal | None = not_live(None, None)
        elif row.record_status is not RecordStatus.RETRIEVED or row.record.record_type == RecordType.NO_CALL:
            refusal = not_live(int(row.record_status), int(row.record.record_type))
        else:
            refusal = history.refusal(call_of(attempt))
        if refusal is not None:
            refused[attempt.attempt_id] = refusal
            continue
        history.add(call_of(attempt))
        db.open_attempt(table, attempt)
        db.journal.note(attempt)
    return refused


def refused_by_caps(
    db: MemoryDatabase, list_dbid: int, campaign_dbid: int, records: Sequence[CallingRecord], now: datetime
) -> dict[int, Refusal]:
    """See ListStore."""
    caps = db.journal.caps(db.config)
    if not caps.rules(list_dbid):
        return {}
    calls = {record.record_id: caps.call(record, campaign_dbid, now) for record in records}
    history = _history(db, list(calls.values()))
    return {record_id: found for record_id, call in calls.items() if (found := history.refusal(call)) is not None}


def redirect(
    db: MemoryDatabase, attempt_id: int, record: CallingRecord, campaign_dbid: int, now: datetime
) -> Refusal | None:
    """See ListStore.redirect_attempt."""
    caps = db.journal.caps(db.config)
    call = replace(caps.call(record, campaign_dbid, now), attempt_id=attempt_id)
    refused = _history(db, [call]).refusal(call)
    if refused is None:
        db.journal.redirect(attempt_id, call.phone, db.attempts[attempt_id].new)
    return refused


def _history(db: MemoryDatabase, calls: Sequence[Call]) -> History:
    caps = db.journal.caps(db.config)
    capped = [call for call in calls if caps.rules(call.list_dbid)]
    past = []
    for attempt in db.journal.attempts_to(capped):
        kept = db.attempts[attempt.attempt_id]
        if kept.finished is None or kept.finished.count_attempt:
            past.append(replace(call_of(attempt), connected_at=kept.open.connected_at))
    return History(caps, past)


# -- results and decisions -------------------------------------------------------------------------------------------


def finish(db: MemoryDatabase, owner: str, finished: FinishedAttempt) -> bool:
    """See ListStore.finish_attempt."""
    attempt = db.close_attempt(finished)
    if attempt is None:
        return False
    change_chain(
        db,
        owner,
        attempt.table,
        Writing.of_result(finished, campaign_dbid=attempt.open.campaign_dbid, dialed_s=_dialed_s(attempt, finished)),
    )
    _note(db, finished.statements, finished.requests)
    if finished.person is not None:
        db.journal.count_person(attempt.open.campaign_dbid, finished.person)
    return True


def settle(db: MemoryDatabase, owner: str, settlement: ChainSettlement) -> bool:
    """See ListStore.settle_chain."""
    table = db.table_name(settlement.list_dbid)
    if not _holds(db, owner, table, settlement.chain_id) or db.has_open_attempt(table, settlement.chain_id):
        return False
    change_chain(
        db,
        owner,
        table,
        Writing(
            chain_id=settlement.chain_id,
            record_id=settlement.record_id,
            change=settlement.change,
            call_result=settlement.call_result,
            agent_id=settlement.agent_id,
            updates=settlement.updates,
        ),
    )
    db.journal.decisions.append(MemoryDecision(owner, table, settlement, db.now()))
    _note(db, settlement.statements, settlement.requests)
    return True


def change_chain(db: MemoryDatabase, owner: str, table: str, writing: Writing) -> None:
    """The twin of `chains.change_chains`."""
    if writing.change.keep_claim and not _holds(db, owner, table, writing.chain_id):
        writing = replace(writing, change=replace(writing.change, keep_claim=False))
    claim = db.claims.get((table, writing.chain_id))
    for row in db.rows_of_chain(table, writing.chain_id):
        if claim is not None and row.record.record_id in claim.added:
            _take_along(db, table, writing, row)
            continue
        about = row.record.record_id == writing.record_id
        if about or row.record_status is RecordStatus.RETRIEVED:
            columns = _columns(writing, row, about=about)
            if columns:
                db.update_row(table, row.record.record_id, **columns)
    if not db.live_rows(table, writing.chain_id):
        db.claims.pop((table, writing.chain_id), None)


def _take_along(db: MemoryDatabase, table: str, writing: Writing, row: MemoryRow) -> None:
    """The twin of `chains._take_along`."""
    change, record = writing.change, row.record
    ready = row.record_status is RecordStatus.READY and record.record_type is not RecordType.NO_CALL
    if not ready or not change.goes_on:
        return
    columns: dict[str, Any] = {"dial_sched_time": change.dial_sched_time, "treatments": change.treatments}
    if change.sibling_type is not None:
        columns["record_type"] = change.sibling_type
    if writing.agent_for_all and writing.agent_id is not None:
        columns["agent_id"] = writing.agent_id
    db.update_row(table, record.record_id, **columns)


def _columns(writing: Writing, row: MemoryRow, *, about: bool) -> dict[str, Any]:
    """What becomes of one row; ``about``: the record that the writing is about."""
    change, record = writing.change, row.record
    columns: dict[str, Any] = {}
    live = row.record_status is RecordStatus.RETRIEVED and record.record_type != RecordType.NO_CALL
    if live:
        columns["record_status"] = writing.record_status if about else writing.sibling_status
        record_type = change.record_type if about else change.sibling_type
        call_result = writing.call_result if about else change.sibling_result
        if record_type is not None:
            columns["record_type"] = record_type
        if call_result is not None:
            columns["call_result"] = call_result
        if change.goes_on:
            columns |= {"dial_sched_time": change.dial_sched_time, "treatments": change.treatments}
    elif row.record_status is RecordStatus.RETRIEVED:
        columns["record_status"] = RecordStatus.UPDATED
    if writing.agent_id is not None and (about or (live and writing.agent_for_all)):
        columns["agent_id"] = writing.agent_id
    if about:
        if writing.campaign_dbid is not None:
            columns["campaign_id"] = writing.campaign_dbid
        if writing.switch_dbid is not None:
            columns["switch_id"] = writing.switch_dbid
        if writing.dialed_s is not None:
            columns |= {"attempt": record.attempt + 1, "call_time": writing.dialed_s}
        no_call = RecordType.NO_CALL in (record.record_type, columns.get("record_type"))
        columns |= writing.updates
        if no_call:
            columns["record_type"] = RecordType.NO_CALL
    return columns


def _dialed_s(attempt: MemoryAttempt, finished: FinishedAttempt) -> int:
    return round((finished.times.dialing_at or attempt.open.started_at).timestamp())


def _note(db: MemoryDatabase, statements: Sequence[Statement], requests: Sequence[HttpRequest]) -> None:
    db.journal.statements += statements
    for request in requests:
        item_id = len(db.journal.outbox) + 1
        item = OutboxItem(item_id, uuid4(), request.treatment_dbid, request.url, dict(request.body), db.now(), 0)
        db.journal.outbox[item_id] = MemoryItem(item, db.now())


def _holds(db: MemoryDatabase, owner: str, table: str, chain_id: int) -> bool:
    claim = db.claims.get((table, chain_id))
    return claim is not None and claim.owner == owner


def add(db: MemoryDatabase, record: NewRecord) -> AddedRecord:
    """See ListStore.add_record."""
    table = db.table_name(record.list_dbid)
    joined, claim = Joined(record, record.chain_n or 0), None
    if record.chain_id is not None:
        members = [
            Member(
                row.record.record_id,
                row.record.chain_n,
                row.record_status,
                row.record.record_type,
                row.record.dial_sched_time,
                row.record.agent_id,
                row.record.treatments,
            )
            for row in db.rows_of_chain(table, record.chain_id)
        ]
        if not members:
            raise ChainMissing(f"there is no chain {record.chain_id}")
        joined, claim = join(record, members), db.claims.get((table, record.chain_id))
    new = joined.record
    columns = {
        name: getattr(new, name)
        for name in ("contact_info", "contact_info_type", "record_type", "record_status", "call_result", "attempt",
                     "dial_sched_time", "call_time", "tz_dbid", "agent_id")
    }  # fmt: skip
    if new.chain_id is not None:
        columns["chain_id"] = new.chain_id
    record_id = db.add_record(
        new.list_dbid,
        chain_n=joined.chain_n,
        treatments=joined.treatments,
        daily_from=new.daily_from_s,
        daily_till=new.daily_till_s,
        **columns,
        **new.user_fields,
    )
    added = db.table(table).rows[record_id].record
    if claim is not None and new.record_status is RecordStatus.READY:
        claim.added.append(record_id)
    return AddedRecord(record_id, added.chain_id, added.chain_n)


# -- withdrawals -----------------------------------------------------------------------------------------------------


def withdraw(
    db: MemoryDatabase, list_dbids: Sequence[int], selector: Selector, withdrawal: Withdrawal, spare_claimed: bool
) -> list[Withdrawn]:
    """See ListStore.withdraw."""
    found: list[Withdrawn] = []
    tables: dict[str, list[int]] = defaultdict(list)
    for list_dbid in (entry.dbid for entry in db.config.calling_lists if entry.dbid in set(list_dbids)):
        if selector.record is None or selector.record[0] == list_dbid:
            tables[db.table_name(list_dbid)].append(list_dbid)
    for table, lists in sorted(tables.items()):
        fields = {db.config.calling_list_by_dbid(list_dbid).customer_id_field for list_dbid in lists} - {""}
        seeds = {
            row.record.record_id: row.record.chain_id
            for row in _meant(db.table(table), selector, fields)
            if selector.record is not None or row.record_status in OPEN
        }
        for chain_id in sorted(set(seeds.values())):
            claim = db.claims.get((table, chain_id))
            members = [
                OpenRow(
                    row.record.record_id,
                    chain_id,
                    row.record_status,
                    row.record.contact_info,
                    row.record.record_id in seeds,
                    claim is not None and row.record.record_id in claim.added,
                )
                for row in sorted(db.rows_of_chain(table, chain_id), key=lambda row: row.record.record_id)
                if row.record_status in OPEN
            ]
            planned = plan(members, selector, withdrawal, claimed=claim is not None)
            for member in members:
                if member.record_id not in planned.withdrawn + planned.updated:
                    continue
                list_dbid = claim.list_dbid if claim is not None else lists[0]
                found.append(Withdrawn(list_dbid, member.record_id, chain_id, member.phone, claim is not None))
                if claim is not None and spare_claimed:
                    continue
                if member.record_id in planned.withdrawn:
                    db.update_row(table, member.record_id, **new_values(withdrawal))
                else:
                    db.set_status(table, member.record_id, RecordStatus.UPDATED)
    return found


def _meant(table: MemoryTable, selector: Selector, fields: set[str]) -> Iterator[MemoryRow]:
    if selector.record is not None:
        if (row := table.rows.get(selector.record[1])) is not None:
            yield row
    elif selector.phone is not None:
        yield from (table.rows[record_id] for record_id in table.with_phone(selector.phone))
    elif selector.customer_id is not None:
        found = {record_id for name in fields for record_id in table.with_value(name, selector.customer_id)}
        yield from (table.rows[record_id] for record_id in sorted(found))


# -- outbox ----------------------------------------------------------------------------------------------------------


class MemoryOutbox:
    """The twin of `outbox.Outbox`."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    async def take(self, limit: int) -> list[OutboxItem]:
        await self._reach()
        now = self._database.now()
        due = [
            kept
            for kept in self._database.journal.outbox.values()
            if kept.done_at is None and kept.given_up_at is None and kept.next_try_at <= now
        ]
        taken = sorted(due, key=lambda kept: (kept.next_try_at, kept.item.item_id))[:limit]
        for kept in taken:
            kept.item = replace(kept.item, tries=kept.item.tries + 1)
            kept.next_try_at = now + timedelta(seconds=LEASE_S)
        return sorted((kept.item for kept in taken), key=lambda item: item.item_id)

    async def delivered(self, item_id: int) -> None:
        await self._reach()
        kept = self._database.journal.outbox[item_id]
        kept.done_at, kept.last_error = self._database.now(), None

    async def failed(self, item_id: int, error: str, retry_at: datetime | None) -> None:
        await self._reach()
        kept = self._database.journal.outbox[item_id]
        if kept.done_at is None:
            kept.last_error = error
            kept.next_try_at = retry_at or kept.next_try_at
            kept.given_up_at = self._database.now() if retry_at is None else None

    async def _reach(self) -> None:
        await trio.lowlevel.checkpoint()
        if not self._database.available:
            raise StoreUnavailable("memory database switched off")
