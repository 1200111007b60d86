"""Copies of a campaign's calling lists out of the database, with what is forbidden and what was called before."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from ocsd.config.objects import CallingList, Configuration
from ocsd.dnc.contract import DncEntry
from ocsd.explain.forecast import Sampler
from ocsd.explain.listed import snapshot
from ocsd.explain.preflight import Forbids, forbidden_records
from ocsd.explain.readiness import FORBIDDEN_CUSTOMER
from ocsd.lists.caps import Call, Caps
from ocsd.rehearsal.lists import ListCopies, ListCopy
from ocsd.sessions.forecasting import cluster_key, past_of
from ocsd.sessions.planner import Planner


@dataclass(frozen=True, slots=True)
class Forbidden:
    """
    `DoNotCall` as it was when the lists were copied: the rules of matching have been asked for every copied record, so
    that here the values are compared as they stand.
    """

    phones: frozenset[str]
    customers: frozenset[str]

    def forbidden(self, tenant_dbid: int, phones: Sequence[str], now: datetime) -> list[bool]:
        found = self.phones
        return [phone in found for phone in phones]

    def customers_forbidden(self, tenant_dbid: int, customer_ids: Sequence[str], now: datetime) -> list[bool]:
        found = self.customers
        return [customer_id in found for customer_id in customer_ids]

    async def add(self, entries: Sequence[DncEntry]) -> None:
        """Nobody asks not to be called in a rehearsal."""

    async def note_effect(self, entries: Sequence[DncEntry], applied_at: datetime, rows: int) -> None:
        """As `add`."""


NOBODY_FORBIDDEN = Forbidden(frozenset(), frozenset())


@dataclass(frozen=True, slots=True)
class Copied:
    lists: ListCopies
    forbidden: Forbidden


def copy_lists(
    conn: psycopg.Connection[Any],
    config: Configuration,
    planner: Planner,
    dnc: Forbids,
    now: datetime,
    *,
    sample: int,
    seed: int,
    progress: Callable[[int, int], object] | None = None,
) -> Copied:
    """
    Read the campaign's active lists, each in one snapshot; of a list with more than ``sample`` chains a part.

    A part has the same shares of zones, windows and record types as the list. Chains that somebody holds, and records
    that go to desktops, stay where they are.

    Raises ConfigError when a list's filter does not work.
    """
    caps = Caps(config)
    copies: list[ListCopy] = []
    phones: set[str] = set()
    customers: set[str] = set()
    past: dict[int, Call] = {}
    seen: set[tuple[str, int]] = set()
    for dbid in planner.shares():
        calling_list = config.calling_list_by_dbid(dbid)
        key = cluster_key(calling_list, caps)
        with snapshot(conn, config, calling_list) as reader:
            total, whole = 0, reader.chains()
            sampler = Sampler(sample, whole, seed)
            for block in reader.blocks():
                for listed in block:
                    mark = (reader.table, listed.chain.chain_id)
                    if not listed.claimed and mark not in seen:
                        sampler.add(listed, key(listed.chain))
                        total += 1
                if progress is not None:
                    progress(total, whole)
            drawn = sampler.sample()
            ranked = sorted(drawn.chains, key=lambda listed: (listed.rank, listed.chain.chain_id))
            chains = [listed.chain for listed in ranked]
            records = [record for chain in chains for record in chain.records]
            past |= {call.attempt_id: call for call in past_of(conn, caps, planner, records, now)}
            seen |= {(reader.table, chain.chain_id) for chain in chains}
        field = calling_list.customer_id_field
        by_id = {record.record_id: record for record in records}
        for record_id, why in forbidden_records(config, calling_list, planner.campaign, dnc, now, records).items():
            record = by_id[record_id]
            if why == FORBIDDEN_CUSTOMER and field:
                customers.add(str(record.user_fields[field]))
            else:
                phones.add(record.contact_info)
        copies.append(ListCopy(dbid, tuple(records), total, drawn.part, ordered=_has_order(config, calling_list)))
    return Copied(
        ListCopies(tuple(copies), "the lists as they are in the database", tuple(past.values())),
        Forbidden(frozenset(phones), frozenset(customers)),
    )


def _has_order(config: Configuration, calling_list: CallingList) -> bool:
    return bool(calling_list.filter) and bool(config.filter(calling_list.filter).order_by.strip())
