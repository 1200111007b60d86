"""The world of `ocsd why`: a configuration with every gate there is, facts by hand, rows in PostgreSQL."""

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from ocsd.config.objects import (
    Agent,
    AgentGroup,
    AttemptCap,
    CallingList,
    Campaign,
    CampaignGroup,
    CampaignList,
    Configuration,
    Database,
    Filter,
    Format,
    FormatField,
    StatDay,
    StatTable,
    TableAccess,
    Tenant,
    TimeZoneObject,
    Trunk,
)
from ocsd.explain.facts import RecordFacts, Row, groups_of
from ocsd.lists.caps import Call, Caps, History
from ocsd.model.enums import RecordType
from ocsd.model.records import CallingRecord
from ocsd.rules.hours import ListHours

LIST, PLAIN_LIST, IDLE_LIST = 301, 302, 303
"""With every rule; with none; in no campaign."""
CAMPAIGN, GROUP, TENANT = 401, 501, 1
NEW_YORK, LOS_ANGELES, LONDON = 11, 12, 13
NOON = datetime(2026, 3, 3, 17, 0, tzinfo=UTC)
"""Tuesday, 12:00 in New York, 09:00 in Los Angeles, 17:00 in London."""
HOUR = 3600


def configuration(dsn: str = "", **changes: Any) -> Configuration:
    settings: dict[str, Any] = {
        "database": Database(dsn=dsn),
        "tenants": (Tenant(dbid=TENANT, name="Example Ltd"),),
        "trunks": (Trunk(dbid=21, name="carrier", tenant="Example Ltd", host="127.0.0.1"),),
        "time_zones": (
            TimeZoneObject(dbid=NEW_YORK, name="Eastern", zone="America/New_York"),
            TimeZoneObject(dbid=LOS_ANGELES, name="Pacific", zone="America/Los_Angeles"),
            TimeZoneObject(dbid=LONDON, name="London", zone="Europe/London"),
        ),
        "agents": (Agent(dbid=1, login_id="ada", dn="sip:1@127.0.0.1"), Agent(dbid=2, login_id="bob", dn="sip:2@x.y")),
        "agent_groups": (AgentGroup(dbid=51, name="Agents", agents=("ada", "bob")),),
        "formats": (
            Format(
                dbid=201,
                name="Customers",
                fields=(
                    FormatField(name="customer", length=20),
                    FormatField(name="account", length=20),
                    FormatField(name="segment", length=10),
                ),
            ),
        ),
        "table_accesses": (TableAccess(dbid=211, name="Customers", table="customers", format="Customers"),),
        "filters": (Filter(dbid=221, name="overdue", criteria="segment = 'overdue'", order_by="customer DESC"),),
        "stat_days": tuple(
            StatDay(dbid=600 + day, name=f"day {day}", weekday=day, start_min=9 * 60, end_min=20 * 60)
            for day in range(5)
        ),
        "stat_tables": (
            StatTable(dbid=81, name="weekdays", days=tuple(f"day {day}" for day in range(5))),
            StatTable(dbid=82, name="holidays", country="US"),
        ),
        "attempt_caps": (
            AttemptCap(dbid=71, name="two an hour", max_attempts=2, period_h=1),
            AttemptCap(dbid=72, name="three a day", max_attempts=3, period_h=24, per="customer_id"),
        ),
        "calling_lists": (
            CallingList(
                dbid=LIST, name="Overdue", table_access="Customers", filter="overdue", time_zone="Eastern",
                max_attempts=3, customer_id_field="customer", subject_field="account",
                calling_hours=("us-federal",), attempt_caps=("two an hour", "three a day"), strictest_zone=True,
                weekday_table="weekdays", holiday_table="holidays",
            ),
            CallingList(dbid=PLAIN_LIST, name="Plain", table_access="Customers"),
            CallingList(dbid=IDLE_LIST, name="Idle", table_access="Customers", time_zone="Eastern"),
        ),
        "campaigns": (
            Campaign(
                dbid=CAMPAIGN, name="Reminders", tenant="Example Ltd",
                lists=(CampaignList(calling_list="Overdue", share=7), CampaignList(calling_list="Plain", share=3)),
            ),
        ),
        "campaign_groups": (
            CampaignGroup(
                dbid=GROUP, name="Reminders@Agents", campaign="Reminders", group="Agents", trunks=("carrier",),
                min_rec_buff_size=90, opt_rec_buff_size=100,
            ),
        ),
    }  # fmt: skip
    return Configuration(**(settings | changes))


def record(**changes: Any) -> CallingRecord:
    """A record that every gate lets through at `NOON`."""
    values: dict[str, Any] = {
        "list_dbid": LIST, "record_id": 1, "contact_info": "+12125550101", "contact_info_type": 2,
        "record_type": RecordType.GENERAL, "call_result": 28, "attempt": 0, "dial_sched_time": None, "call_time": None,
        "daily_from_s": 8 * HOUR, "daily_till_s": 21 * HOUR, "tz_dbid": NEW_YORK, "chain_id": 1, "chain_n": 0,
        "user_fields": {"customer": "C-1", "account": None, "segment": "overdue"},
    }  # fmt: skip
    return CallingRecord(**(values | changes))


def row(status: int = 1, *, admitted: bool | None = True, forbidden: tuple = (), **changes: Any) -> Row:
    of_row = record(**changes)
    return Row(of_row, status, int(of_row.record_type), admitted, forbidden)


def call(started_at: datetime, phone: str = "+12125550101", customer: str | None = "C-1") -> Call:
    return Call(int(started_at.timestamp()), phone, customer, None, CAMPAIGN, LIST, started_at)


def facts(
    *rows: Row, at: datetime = NOON, calls: tuple[Call, ...] = (), config: Configuration | None = None, **changes: Any
) -> RecordFacts:
    """Of the first row; the others are of its chain."""
    config = config or configuration()
    of_chain = rows or (row(),)
    calling_list = config.calling_list_by_dbid(of_chain[0].record.list_dbid)
    caps = Caps(config)
    groups = groups_of(config, calling_list)
    values: dict[str, Any] = {
        "config": config, "calling_list": calling_list, "at": at, "row": of_chain[0],
        "chain": tuple(sorted(of_chain, key=lambda entry: entry.record.chain_n)),
        "hours": ListHours(config, calling_list), "caps": caps, "history": History(caps, calls),
        "group": groups[0] if groups else None, "groups": groups, "table": "customers",
    }  # fmt: skip
    return RecordFacts(**(values | changes))


def was_called(conn: psycopg.Connection[Any], attempt_id: int, started_at: datetime, **columns: Any) -> None:
    """An attempt in the journal, finished unless ``finished_at`` is None."""
    values: dict[str, Any] = {
        "attempt_id": attempt_id, "guid": f"guid-{attempt_id}", "owner": "earlier", "table_name": "customers",
        "list_dbid": LIST, "record_id": 1, "chain_id": 1, "campaign_dbid": CAMPAIGN, "campaign_group_dbid": GROUP,
        "phone": "+12125550101", "leg_id": f"leg-{attempt_id}", "started_at": started_at,
        "finished_at": started_at + timedelta(seconds=30), "call_result": 7, "counted": True,
    } | columns  # fmt: skip
    names = ", ".join(values)
    conn.execute(
        f"INSERT INTO ocsd.attempt ({names}) VALUES ({', '.join(['%s'] * len(values))})", list(values.values())
    )
