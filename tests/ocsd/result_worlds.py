"""What the tests of results, withdrawals and caps share: lists with customers and subjects, two tables, two tenants."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from ocsd.config.objects import (
    AttemptCap,
    CallingList,
    Campaign,
    CampaignList,
    Configuration,
    Format,
    FormatField,
    TableAccess,
    Tenant,
)
from ocsd.model.enums import RecordStatus, RecordType
from ocsd.model.records import Chain, ChainChange, ChainSettlement, NewAttempt, Statement
from tests.ocsd.list_worlds import GROUP, LIST, NOON_UTC, MemoryWorld, PostgresWorld, attempt_for, configuration

OTHER_LIST, PLAIN_LIST = 303, 304
"""On a table of its own, with customers as numbers; on the same table, without customers."""

CAMPAIGN, SECOND_CAMPAIGN, FOREIGN_CAMPAIGN = 401, 402, 403

World = MemoryWorld | PostgresWorld


def result_configuration(caps: Iterable[AttemptCap] = (), **changes: Any) -> Configuration:
    caps = tuple(caps)
    fields = (FormatField(name="customer_name", length=40), FormatField(name="score", type="int"))
    named = FormatField(name="customer_no", length=20)
    subject = FormatField(name="debt", length=20)
    own: dict[str, Any] = {
        "time_zone": "EST",
        "daily_from": 0,
        "daily_till": 86400,
        "subject_field": "debt",
        "attempt_caps": tuple(cap.name for cap in caps),
    }
    settings: dict[str, Any] = {
        "tenants": (Tenant(dbid=1, name="Ours"), Tenant(dbid=2, name="Theirs")),
        "formats": (
            Format(dbid=201, name="Customers", fields=(*fields, named, subject)),
            Format(dbid=202, name="Others", fields=(*fields, FormatField(name="customer_no", type="int"), subject)),
        ),
        "table_accesses": (
            TableAccess(dbid=211, name="Customers", table="customers", format="Customers"),
            TableAccess(dbid=212, name="Others", table="others", format="Others"),
        ),
        "filters": (),
        "attempt_caps": caps,
        "calling_lists": (
            CallingList(dbid=LIST, name="Customers", table_access="Customers", customer_id_field="customer_no", **own),
            CallingList(dbid=OTHER_LIST, name="Others", table_access="Others", customer_id_field="customer_no", **own),
            CallingList(dbid=PLAIN_LIST, name="Plain", table_access="Others", **own),
        ),
        "campaigns": tuple(
            Campaign(dbid=dbid, name=f"Campaign{dbid}", tenant=tenant, lists=(CampaignList(calling_list="Customers"),))
            for dbid, tenant in ((CAMPAIGN, "Ours"), (SECOND_CAMPAIGN, "Ours"), (FOREIGN_CAMPAIGN, "Theirs"))
        ),
    }
    return configuration(**(settings | changes))


async def chain_of(store: Any, chain_id: int, list_dbid: int = LIST) -> Chain:
    """Claim everything and return the chain."""
    chains = await store.claim_chains(list_dbid, GROUP, 100, NOON_UTC)
    return next(chain for chain in chains if chain.chain_id == chain_id)


async def dialed(store: Any, chain: Chain, place: int = 0, **changes: Any) -> NewAttempt:
    (attempt_id,) = await store.next_attempt_ids(1)
    attempt = replace(attempt_for(chain, attempt_id, place), **changes)
    assert await store.begin_attempts([attempt]) == {}
    return attempt


def goes_on(**changes: Any) -> dict[str, Any]:
    """A change that dials the chain again, as arguments of `result_of` or `ChainChange`."""
    return {
        "record_status": RecordStatus.READY,
        "record_type": RecordType.CAMPAIGN_RESCHEDULED,
        "sibling_type": RecordType.CAMPAIGN_RESCHEDULED,
        "dial_sched_time": int(NOON_UTC.timestamp()) + 600,
        "treatments": "9@1@0@1",
    } | changes


def settlement_of(chain: Chain, change: ChainChange, place: int = 0, **changes: Any) -> ChainSettlement:
    record = chain.records[place]
    values: dict[str, Any] = {"because": "a gate said no"} | changes
    return ChainSettlement(chain.list_dbid, chain.chain_id, record.record_id, change, **values)


def statement(text: str, treatment_dbid: int = 7, **parameters: object) -> Statement:
    return Statement(treatment_dbid, text, parameters)
