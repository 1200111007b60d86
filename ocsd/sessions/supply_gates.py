"""The gates of a claimed record that need more than the record: attempt caps, and Do-Not-Call."""

from collections.abc import Sequence
from datetime import datetime

from ocsd.dnc.contract import DoNotCall
from ocsd.lists.store import ListStore
from ocsd.model.records import CallingRecord, Chain, Refusal
from ocsd.sessions.planner import Planner

Key = tuple[int, int]
"""List (DBID) and record_id."""


async def capped(planner: Planner, store: ListStore, chains: Sequence[Chain], now: datetime) -> dict[Key, Refusal]:
    """Records of the chains that an attempt cap holds back. Raises StoreUnavailable."""
    found: dict[Key, Refusal] = {}
    for list_dbid in {chain.list_dbid for chain in chains}:
        if not planner.has_caps(list_dbid):
            continue
        records = [record for chain in chains if chain.list_dbid == list_dbid for record in chain.records]
        refusals = await store.refused_by_caps(list_dbid, planner.campaign.dbid, records, now)
        found |= {(list_dbid, record_id): refusal for record_id, refusal in refusals.items()}
    return found


def forbidden(
    planner: Planner, dnc: DoNotCall, records: Sequence[tuple[int, CallingRecord]], now: datetime
) -> set[Key]:
    """Which of the records (each with its list's DBID) are on Do-Not-Call, by number or customer id."""
    tenant = planner.tenant_dbid
    verdicts = dnc.forbidden(tenant, [record.contact_info for _, record in records], now)
    found = {(dbid, record.record_id) for (dbid, record), bad in zip(records, verdicts, strict=True) if bad}
    named = [
        (dbid, record, customer_id)
        for dbid, record in records
        if (customer_id := planner.customer_id(record)) is not None
    ]
    if named:
        verdicts = dnc.customers_forbidden(tenant, [customer_id for _, _, customer_id in named], now)
        found |= {(dbid, record.record_id) for (dbid, record, _), bad in zip(named, verdicts, strict=True) if bad}
    return found
