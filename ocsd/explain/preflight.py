"""A calling list before a start: what could be dialed, what holds the others back, and what an operator should know."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final, Protocol

import psycopg
from psycopg import sql

from ocsd.config.objects import CallingList, Campaign, Configuration
from ocsd.explain import cautions
from ocsd.explain.contract import Preflight, ReadyAt, ZoneReadiness
from ocsd.explain.listed import ListReader, snapshot
from ocsd.explain.readiness import (
    FORBIDDEN_CUSTOMER,
    FORBIDDEN_NUMBER,
    Readiness,
    Readings,
    hourly,
)
from ocsd.lists import counting
from ocsd.lists.caps import Caps, refused_records
from ocsd.lists.gates import DIALED_TYPES
from ocsd.lists.selection import criteria_of, ready_to_dial
from ocsd.model.enums import RecordStatus
from ocsd.model.records import CallingRecord, Refusal

Progress = Callable[[int, int], object]
"""Called with the rows read so far, and all of them."""

FINISHED: Final = "finished ({})"
"""Rows with a status from which nothing is dialed any more."""

NOBODY: Final = 0
"""DBID of no campaign and no tenant: what holds for everybody holds all the same."""


class Forbids(Protocol):
    """The checks of `ocsd.dnc.contract.DoNotCall`."""

    def forbidden(self, tenant_dbid: int, phones: Sequence[str], now: datetime) -> list[bool]: ...

    def customers_forbidden(self, tenant_dbid: int, customer_ids: Sequence[str], now: datetime) -> list[bool]: ...


def preflight(
    conn: psycopg.Connection[Any],
    config: Configuration,
    calling_list: CallingList,
    now: datetime,
    dnc: Forbids,
    *,
    progress: Progress | None = None,
) -> Preflight:
    """
    Count everything once, in one snapshot, with flat memory: rows are read in blocks.

    Args:
        conn: idle, or in a transaction that has read nothing yet.
        now: aware.
        progress: called after each block.

    Raises ConfigError when the list's filter, its caps or its hours do not work.
    """
    campaign = campaign_of(config, calling_list)
    instants = hourly(now)
    with snapshot(conn, config, calling_list) as reader:
        by_status, excluded = _statuses(reader)
        waiting = sum(n for (status, kind), n in by_status.items() if _waits(status, kind))
        readiness = Readiness(
            config,
            calling_list,
            instants,
            forbidden=partial(forbidden_records, config, calling_list, campaign, dnc, now),
            capped=_capped(reader, campaign, now),
        )
        done = 0
        for block in reader.blocks():
            readiness.add(block)
            done += sum(len(listed.chain.records) for listed in block)
            if progress is not None:
                progress(done, waiting)
        chains = _chains(reader)
        found = readiness.found
        warnings = cautions.warnings(reader, campaign, found, instants)
    return _told(calling_list, instants, by_status, excluded, chains, found, warnings)


def campaign_of(config: Configuration, calling_list: CallingList) -> Campaign | None:
    """The first campaign in which the list is active: whose tenant's Do-Not-Call holds, whose calls caps count."""
    return next(
        (
            campaign
            for campaign in config.campaigns
            if any(entry.calling_list == calling_list.name and entry.active for entry in campaign.lists)
        ),
        None,
    )


def forbidden_records(
    config: Configuration,
    calling_list: CallingList,
    campaign: Campaign | None,
    dnc: Forbids,
    now: datetime,
    records: Sequence[CallingRecord],
) -> Mapping[int, str]:
    """Which records are on Do-Not-Call at ``now``, and whether by number or by customer, by record_id."""
    tenant = config.tenant_dbid_of(campaign) if campaign is not None else NOBODY
    found: dict[int, str] = {}
    if field := calling_list.customer_id_field:
        named = [
            (record.record_id, str(value))
            for record in records
            if (value := record.user_fields.get(field)) not in (None, "")
        ]
        verdicts = dnc.customers_forbidden(tenant, [customer_id for _, customer_id in named], now) if named else []
        found |= {record_id: FORBIDDEN_CUSTOMER for (record_id, _), bad in zip(named, verdicts, strict=True) if bad}
    verdicts = dnc.forbidden(tenant, [record.contact_info for record in records], now)
    found |= {record.record_id: FORBIDDEN_NUMBER for record, bad in zip(records, verdicts, strict=True) if bad}
    return found


def _capped(
    reader: ListReader, campaign: Campaign | None, now: datetime
) -> Callable[[Sequence[CallingRecord]], Mapping[int, Refusal]]:
    caps = Caps(reader.config)
    if not caps.rules(reader.calling_list.dbid) or not any_attempts(reader.conn):
        return lambda _records: {}
    return partial(refused_records, reader.conn, caps, campaign.dbid if campaign is not None else NOBODY, now=now)


def any_attempts(conn: psycopg.Connection[Any]) -> bool:
    """A site that has never dialed need not be asked how often it has."""
    return conn.execute("SELECT EXISTS (SELECT FROM ocsd.attempt)").fetchone() == (True,)


# --- counts by SQL ----------------------------------------------------------------------------------------------------


def _waits(status: int, kind: int) -> bool:
    return status == RecordStatus.READY and kind in DIALED_TYPES


def _statuses(reader: ListReader) -> tuple[dict[tuple[int, int], int], int]:
    """Rows by status and type; Ready rows that the filter excludes."""
    name, criteria = _parts(reader)
    with reader.reading():
        rows = reader.conn.execute(
            sql.SQL("SELECT t.record_status, t.record_type, count(*) FROM {} AS t WHERE {} GROUP BY 1, 2").format(
                name, criteria
            ),
            {},
        ).fetchall()
        excluded = 0
        if reader.calling_list.filter:
            row = reader.conn.execute(
                sql.SQL("SELECT count(*) FROM {} AS t WHERE {} AND {} IS NOT TRUE").format(
                    name, ready_to_dial("t"), criteria
                ),
                {},
            ).fetchone()
            excluded = row[0] if row is not None else 0
    return {(status, kind): count for status, kind, count in rows}, excluded


def _chains(reader: ListReader) -> int:
    """Chains with any row that the filter admits, finished ones too."""
    name, criteria = _parts(reader)
    with reader.reading():
        row = reader.conn.execute(
            sql.SQL("SELECT count(*) FROM (SELECT DISTINCT t.chain_id FROM {} AS t WHERE {}) AS c").format(
                name, criteria
            ),
            {},
        ).fetchone()
    return int(row[0]) if row is not None else 0


def _parts(reader: ListReader) -> tuple[sql.Identifier, sql.Composable]:
    calling_list = reader.calling_list
    dialing_filter = reader.config.filter(calling_list.filter) if calling_list.filter else None
    return sql.Identifier(reader.table), criteria_of(dialing_filter)


# --- telling ----------------------------------------------------------------------------------------------------------


def _told(
    calling_list: CallingList,
    instants: Sequence[datetime],
    by_status: Mapping[tuple[int, int], int],
    excluded: int,
    chains: int,
    found: Readings,
    warnings: Sequence[str],
) -> Preflight:
    held_back = Counter(counting.by_combination(by_status)) + found.held_back
    held_back[counting.EXCLUDED] += excluded
    for (status, kind), count in by_status.items():
        if not _waits(status, kind) and not counting.by_combination({(status, kind): count}):
            held_back[FINISHED.format(RecordStatus(status).name.lower().replace("_", " "))] += count
    zones = sorted(found.zones.items(), key=lambda entry: (-entry[1].rows, entry[0]))
    return Preflight(
        calling_list=calling_list.name,
        at=instants[0],
        rows=sum(by_status.values()),
        chains=chains,
        ready_now=found.ready_at(0),
        held_back={reason: count for reason, count in sorted(held_back.items()) if count},
        warnings=tuple(warnings),
        ready_rows=found.ready_rows,
        for_agents=found.for_agents_at(0),
        on_do_not_call=found.on_do_not_call,
        ready_by_hour=tuple(ReadyAt(at, found.ready_at(place)) for place, at in enumerate(instants)),
        zones=tuple(ZoneReadiness(name, z.rows, z.ready, z.closed, z.opens_at) for name, z in zones),
    )
