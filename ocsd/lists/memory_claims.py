"""Claims of chains in a MemoryDatabase, with the same answers as `selection` gives on PostgreSQL."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from heapq import merge
from itertools import islice

from ocsd.config.objects import CallingList
from ocsd.lists.gates import DIALED_TYPES, LocalTimes, dialable_position, local_times, why_not_dialable, window_open
from ocsd.lists.memory_database import Criteria, MemoryClaim, MemoryDatabase, MemoryRow, MemoryTable, SortKey
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
            records = tuple(replace(member, list_dbid=list_dbid) for member in members)
            found.append(Chain(list_dbid, record.chain_id, records, position))
        for chain in found:
            db.claims[name, chain.chain_id] = MemoryClaim(list_dbid, campaign_group_dbid, owner, lease_until)
            for member in chain.records:
                db.set_status(name, member.record_id, RecordStatus.RETRIEVED)
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
        if bucket.record_type is not record_type or bucket.attempt >= max_attempts or (bucket.held and not held):
            continue
        local_s = times.of(bucket.tz_dbid)
        if local_s is not None and window_open(local_s, bucket.daily_from_s, bucket.daily_till_s):
            parts.append(islice(places, bisect_right(places, end)))
    return (table.rows[record_id] for _, record_id in merge(*parts))
