"""Claims of chains in a MemoryDatabase, with the same answers as `selection` gives on PostgreSQL."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from heapq import merge
from itertools import islice

from ocsd.config.objects import CallingList
from ocsd.lists import counting
from ocsd.lists.gates import (
    DIALED_TYPES,
    SHUT,
    TYPE_ORDER,
    LocalTimes,
    dialable_position,
    local_times,
    named_chain_n,
    used_up,
    why_not_dialable,
    window_open,
)
from ocsd.lists.memory_database import Criteria, MemoryClaim, MemoryDatabase, MemoryRow, MemoryTable, SortKey
from ocsd.lists.store import ListCounts
from ocsd.model.enums import RecordStatus, RecordType
from ocsd.model.errors import ConfigError
from ocsd.model.records import CallingRecord, Chain, Portion


def claim(
    db: MemoryDatabase,
    owner: str,
    list_dbid: int,
    campaign_group_dbid: int,
    limit: int,
    now: datetime,
    portions: Sequence[Portion],
) -> list[Chain]:
    """See ListStore.claim_chains."""
    calling_list = db.config.calling_list_by_dbid(list_dbid)
    admits, sort_key = filter_of(db, calling_list)
    times = local_times(db.config, calling_list, now)
    name = db.table_name(list_dbid)
    table = db.table(name)
    lease_until = db.now() + timedelta(seconds=db.config.database.lease_s)
    taken: list[Chain] = []
    for portion in portions:
        if portion.record_type not in DIALED_TYPES:
            continue
        wanted = limit - len(taken) if portion.limit is None else min(limit - len(taken), portion.limit)
        types = frozenset({portion.record_type})
        candidates = _due(table, portion.record_type, calling_list.max_attempts, times, now, held=admits is not None)
        if sort_key is not None and portion.record_type is RecordType.GENERAL:
            due = [row.record for row in candidates if admits is None or admits(row.record)]
            due.sort(key=lambda record: (sort_key(record), record.record_id))
            candidates = iter([table.rows[record.record_id] for record in due])
        found: list[Chain] = []
        seen: set[int] = set()
        while len(found) < wanted and (row := next(candidates, None)) is not None:
            record = row.record
            if record.chain_id in seen or (name, record.chain_id) in db.claims:
                continue
            if portion.agents is not None and record.agent_id not in portion.agents:
                continue
            if admits is not None and not admits(record):
                continue
            members = _members(table, record.chain_id, admits, sort_key)
            gates = calling_list.max_attempts, times, now
            if why_not_dialable(record, *gates, types=types, agents=portion.agents, chain=members) is not None:
                continue
            position = dialable_position(members, *gates, types, portion.agents)
            assert position is not None  # at least that of `record`
            seen.add(record.chain_id)
            records = tuple(
                member if member.list_dbid == list_dbid else replace(member, list_dbid=list_dbid) for member in members
            )
            found.append(Chain(list_dbid, record.chain_id, records, position))
        for chain in found:
            db.claims[name, chain.chain_id] = MemoryClaim(list_dbid, campaign_group_dbid, owner, lease_until)
            db.set_statuses(name, [member.record_id for member in chain.records], RecordStatus.RETRIEVED)
        taken += found
    return taken


def filter_of(db: MemoryDatabase, calling_list: CallingList) -> tuple[Criteria | None, SortKey | None]:
    """The list's filter as Python; ConfigError when it has one in SQL only."""
    if not calling_list.filter:
        return None, None
    try:
        return db.filters[calling_list.filter]
    except KeyError:
        raise ConfigError(
            [f"calling list {calling_list.name!r}: filter {calling_list.filter!r} needs PostgreSQL"]
        ) from None


def _members(
    table: MemoryTable, chain_id: int, admits: Criteria | None, sort_key: SortKey | None
) -> list[CallingRecord]:
    """The rows that a claim of the chain takes, in order."""
    members = [
        row.record
        for row in table.rows_of_chain(chain_id)
        if row.record_status is RecordStatus.READY
        and row.record.record_type in DIALED_TYPES
        and (admits is None or admits(row.record))
    ]
    if sort_key is not None:
        members.sort(key=lambda record: (sort_key(record), record.chain_n))
    return members


def _due(
    table: MemoryTable, record_type: RecordType, max_attempts: int, times: LocalTimes, now: datetime, *, held: bool
) -> Iterator[MemoryRow]:
    """
    Ready rows of the type that are due with their window open, by schedule, then record_id.

    ``held``: those whose state names another Ready record too: a filter may exclude that one.
    """
    end = (int(now.timestamp()), float("inf"))
    parts = []
    for bucket, places in table.ready.items():
        if bucket.record_type is not record_type or (bucket.held and not held):
            continue
        if used_up(record_type, bucket.attempt, max_attempts):
            continue
        local_s = times.of(bucket.tz_dbid)
        if local_s is not None and window_open(local_s, bucket.daily_from_s, bucket.daily_till_s):
            parts.append(islice(places, bisect_right(places, end)))
    return (table.rows[record_id] for _, record_id in merge(*parts))


def count_rows(db: MemoryDatabase, list_dbid: int, now: datetime) -> ListCounts:
    """See ListStore.counts."""
    calling_list = db.config.calling_list_by_dbid(list_dbid)
    admits, _ = filter_of(db, calling_list)
    times = local_times(db.config, calling_list, now)
    name = db.table_name(list_dbid)
    table = db.table(name)
    by_status: Counter[tuple[int, int]] = Counter()
    by_result: Counter[int] = Counter()
    by_reason: Counter[str] = Counter()
    ready: set[int] = set()
    in_window: set[int] = set()
    for row in table.rows.values():
        record = row.record
        is_ready = row.record_status is RecordStatus.READY and record.record_type in DIALED_TYPES
        if admits is not None and not admits(record):
            by_reason[counting.EXCLUDED] += is_ready
            continue
        by_status[int(row.record_status), int(record.record_type)] += 1
        by_result[record.call_result] += 1
        if not is_ready:
            continue
        chain = [] if named_chain_n(record) is None else _members(table, record.chain_id, admits, None)
        reason = _held_back(record, (name, record.chain_id) in db.claims, calling_list.max_attempts, times, now, chain)
        if reason is not None:
            by_reason[reason] += 1
        if record.record_type in TYPE_ORDER:
            ready.add(record.chain_id)
            if reason is None:
                in_window.add(record.chain_id)
    held_back = {reason: count for reason, count in by_reason.items() if count} | counting.by_combination(by_status)
    return ListCounts(dict(by_status), dict(by_result), len(ready), len(in_window), held_back)


def _held_back(
    record: CallingRecord,
    claimed: bool,
    max_attempts: int,
    times: LocalTimes,
    now: datetime,
    chain: Sequence[CallingRecord],
) -> str | None:
    if claimed:
        return counting.CLAIMED
    if record.record_type in (RecordType.PERSONAL_RESCHEDULED, RecordType.PERSONAL_CALLBACK) and not record.agent_id:
        return counting.NO_AGENT
    if used_up(record.record_type, record.attempt, max_attempts):
        return counting.USED_UP
    if (record.dial_sched_time or 0) > now.timestamp():
        return counting.LATER
    local_s = times.of(record.tz_dbid)
    if local_s is None:
        return counting.NO_ZONE
    if local_s == SHUT:
        return counting.SHUT_HOURS
    if not window_open(local_s, record.daily_from_s, record.daily_till_s):
        return counting.CLOSED
    if why_not_dialable(record, max_attempts, times, now, chain=chain) is not None:
        return counting.WAITING
    return None
