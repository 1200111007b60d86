"""The world of the virtual weeks: its configuration, its rows, and what calls lead to; no rules, no checks."""

import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ocsd.config.objects import (
    AgentGroup,
    AttemptCap,
    CallingList,
    Campaign,
    CampaignGroup,
    CampaignList,
    Configuration,
    Database,
    Format,
    FormatField,
    StatDay,
    StatTable,
    TableAccess,
    Tenant,
    TimeZoneObject,
    Treatment,
    Trunk,
)
from ocsd.model.enums import CallResult, RecordAction

ZONES = (
    "America/New_York", "America/Chicago", "America/Denver", "America/Los_Angeles", "America/Phoenix",
    "America/Halifax", "America/St_Johns", "America/Havana", "America/Sao_Paulo", "Europe/London", "Asia/Kathmandu",
    "Australia/Sydney",
)  # fmt: skip
FIRST_ZONE_DBID = 30
SHARES = {301: 10, 302: 30, 303: 60}
SIZES = {301: 0.2, 302: 0.3, 303: 0.5}
"""Part of the records in each list: none runs dry long before the others."""
STRICT_LIST, CAPPED_LIST, TABLED_LIST = 301, 302, 303
"""With the zones of the numbers; with attempt caps; with a holiday and a weekday table."""
MAX_ATTEMPTS = {301: 4, 302: 5, 303: 6}
WEEKS = (datetime(2026, 3, 5, 5, 0, tzinfo=UTC), datetime(2026, 10, 29, 5, 0, tzinfo=UTC))
"""Clocks change on 2026-03-08 and 2026-11-01 in North America (Havana too, an hour before the others)."""
AGENTS = 10

PHONE_CAP = (2, 2 * 3600)
CUSTOMER_CAP = (4, 24 * 3600)
"""Calls, and the seconds in which there may be no more: tight, so that they often hold back, and let go soon."""

WEEKDAY_HOURS = {0: (0, 24), 1: (0, 24), 2: (0, 24), 3: (0, 24), 4: (0, 24), 5: (8, 20)}
"""Business hours of the list with tables by weekday; none on Sundays but those in `HOLIDAY_HOURS`."""
HOLIDAY_HOURS = {"2026-03-08": (1, 15), "11-01": (0, 12), "2026-03-10": (0, 0), "2026-11-03": (10, 13)}

WINDOWS = ((28_800, 64_800), (28_800, 64_800), (32_400, 75_600), (0, 86_400), (3_600, 12_600), (79_200, 7_200))
"""Seconds since midnight; all edges, like all changes of clocks here, lie on quarters of an hour of UTC."""

AREAS = {
    "+1212": 0, "+1312": 1, "+1303": 2, "+1213": 3, "+1602": 4, "+1902": 5, "+1709": 6, "+1305": 0, "+1808": 3,
    "+1800": 0, "+1208": 2, "+44207": 9, "+6128": 11, "+55113": 8, "+97714": 10, "+5378": 7,
}  # fmt: skip
"""Beginnings of numbers (of one area, of an area in two zones, of none: toll-free), and where in ZONES most of their
owners live."""

R, A = CallResult, RecordAction

_PLAN: dict[int, tuple[tuple, ...]] = {
    301: (
        (R.BUSY, A.REDIAL, {"cycle_attempts": 3, "interval_min": 2, "increment_min": 3}),
        (R.BUSY, A.RETRY_IN, {"interval_min": 60, "increment_min": 45}),
        (R.NO_ANSWER, A.NEXT_IN_CHAIN, {"cycle_attempts": 4, "interval_min": 120, "increment_min": 60}),
        (R.NO_ANSWER, A.RESCHEDULE, {}),
        (R.ANSWERING_MACHINE, A.RETRY_IN, {"interval_min": 180}),
        (R.ANSWERING_MACHINE, A.NEXT_IN_CHAIN_AFTER, {"cycle_attempts": 1, "interval_min": 30}),
        (R.SIT_VACANT_CODE, A.UPDATE_ALL, {}),
        (R.GENERAL_ERROR, A.UPDATE_RECORD, {}),
        (R.ABANDONED, A.RETRY_IN, {"interval_min": 4}),
        (R.WRONG_PARTY, A.NEXT_IN_CHAIN, {"cycle_attempts": 1}),
        (R.AGENT_CALLBACK_ERROR, A.ASSIGN_TO_GROUP, {}),
        (R.GROUP_CALLBACK_ERROR, A.RETRY_IN, {"interval_min": 30, "increment_min": 15}),
    ),
    302: (
        (R.BUSY, A.NEXT_IN_CHAIN_AFTER, {"cycle_attempts": 2, "interval_min": 3, "increment_min": 15}),
        (R.NO_ANSWER, A.REDIAL, {"cycle_attempts": 2, "interval_min": 30, "increment_min": 30}),
        (R.NO_ANSWER, A.NEXT_IN_CHAIN, {"cycle_attempts": 1}),
        (R.NO_ANSWER, A.RETRY_AT_DATE, {"date": datetime(2026, 3, 8, 2, 30)}),  # noqa: DTZ001 - in the record's zone
        (R.NO_ANSWER, A.RETRY_AT_DATE, {"date": datetime(2026, 11, 1, 1, 30)}),  # noqa: DTZ001
        (R.ANSWERING_MACHINE, A.NEXT_IN_CHAIN_AT_DATE, {"cycle_attempts": 2, "date": WEEKS[0] + timedelta(days=4)}),
        (R.ANSWERING_MACHINE, A.NEXT_IN_CHAIN_AT_DATE, {"cycle_attempts": 2, "date": WEEKS[1] + timedelta(days=4)}),
        (R.FAX, A.EXECUTE_SQL, {"sql": "SELECT 1"}),
        (R.FAX, A.NEXT_IN_CHAIN, {"cycle_attempts": 1}),
        (R.DROPPED, A.REDIAL, {"cycle_attempts": 1}),
        (R.WRONG_PARTY, A.RETRY_IN, {"interval_min": 90}),
        (R.AGENT_CALLBACK_ERROR, A.MARK_AS_AGENT_ERROR, {}),
        (R.GROUP_CALLBACK_ERROR, A.MARK_AS_AGENT_ERROR, {}),
    ),
    303: (
        (R.BUSY, A.REDIAL, {"cycle_attempts": 2, "interval_min": 1, "increment_min": 1}),
        (R.BUSY, A.SEND_HTTP, {"url": "http://127.0.0.1:1/busy"}),
        (R.BUSY, A.NEXT_IN_CHAIN, {"cycle_attempts": 3, "interval_min": 10, "increment_min": 10}),
        (R.NO_ANSWER, A.RETRY_IN, {"interval_min": 20 * 60, "increment_min": 4 * 60}),
        (R.ANSWERING_MACHINE, A.RESCHEDULE, {}),
        (R.ANSWERING_MACHINE, A.REDIAL, {"cycle_attempts": 2, "interval_min": 45}),
        (R.SILENCE, A.REDIAL, {"cycle_attempts": 1, "interval_min": 5}),
        (R.DROPPED, A.RETRY_IN, {"interval_min": 72 * 60}),
        (R.WRONG_PARTY, A.NEXT_IN_CHAIN_AFTER, {"cycle_attempts": 2, "interval_min": 6}),
        (R.AGENT_CALLBACK_ERROR, A.ASSIGN_TO_GROUP, {}),
        (R.AGENT_CALLBACK_ERROR, A.RETRY_IN, {"interval_min": 45}),
        (R.GROUP_CALLBACK_ERROR, A.REDIAL, {"cycle_attempts": 2, "interval_min": 20}),
    ),
}
OUTCOMES = {
    R.BUSY: 17, R.NO_ANSWER: 33, R.ANSWERING_MACHINE: 16, R.ANSWER: 20, R.SIT_VACANT_CODE: 3, R.GENERAL_ERROR: 2,
    R.SILENCE: 2, R.FAX: 2, R.ABANDONED: 2, R.DROPPED: 3,
}  # fmt: skip


def _treatments() -> Iterator[tuple[int, Treatment]]:
    for list_dbid, plan in _PLAN.items():
        for number, (result, action, more) in enumerate(plan, 1):
            named = {"dbid": list_dbid * 100 + number, "name": f"{list_dbid} {number} {result.name} {action.name}"}
            yield list_dbid, Treatment(**named, call_result=result, number=number, record_action=action, **more)


def configuration(dsn: str = "", *, predictive_callback: bool = False) -> Configuration:
    treatments = tuple(_treatments())
    names = defaultdict(tuple)
    for list_dbid, treatment in treatments:
        names[list_dbid] += (treatment.name,)
    more = {
        STRICT_LIST: {"strictest_zone": True, "customer_id_field": "customer"},
        CAPPED_LIST: {
            "customer_id_field": "customer", "attempt_caps": ("number", "customer"),
            "options": {"update_all_records": True},
        },
        TABLED_LIST: {"holiday_table": "special days", "weekday_table": "weekdays"},
    }  # fmt: skip
    days = [
        StatDay(dbid=600 + n, name=f"weekday {n}", weekday=n, start_min=60 * begins, end_min=60 * ends)
        for n, (begins, ends) in WEEKDAY_HOURS.items()
    ]
    special = [
        StatDay(dbid=620 + n, name=date, date=date, start_min=60 * begins, end_min=60 * ends)
        for n, (date, (begins, ends)) in enumerate(HOLIDAY_HOURS.items())
    ]
    return Configuration(
        database=Database(dsn=dsn),
        tenants=(Tenant(dbid=1, name="T"),),
        trunks=(Trunk(dbid=21, name="trunk", tenant="T", host="127.0.0.1"),),
        time_zones=tuple(
            TimeZoneObject(dbid=FIRST_ZONE_DBID + place, name=zone, zone=zone) for place, zone in enumerate(ZONES)
        ),
        agent_groups=(AgentGroup(dbid=51, name="G"),),
        formats=(Format(dbid=201, name="F", fields=(FormatField(name="customer", length=20),)),),
        table_accesses=tuple(
            TableAccess(dbid=dbid + 100, name=f"Table {dbid}", table=f"list_{dbid}", format="F") for dbid in SHARES
        ),
        treatments=tuple(treatment for _, treatment in treatments),
        attempt_caps=(
            AttemptCap(dbid=71, name="number", max_attempts=PHONE_CAP[0], period_h=PHONE_CAP[1] / 3600),
            AttemptCap(
                dbid=72, name="customer", max_attempts=CUSTOMER_CAP[0], period_h=CUSTOMER_CAP[1] / 3600,
                per="customer_id",
            ),
        ),
        stat_days=(*days, *special),
        stat_tables=(
            StatTable(dbid=81, name="special days", days=tuple(day.name for day in special), country="US"),
            StatTable(dbid=82, name="weekdays", days=tuple(day.name for day in days)),
        ),
        calling_lists=tuple(
            CallingList(
                dbid=dbid, name=f"List {dbid}", table_access=f"Table {dbid}", time_zone=ZONES[0],
                max_attempts=MAX_ATTEMPTS[dbid], treatments=names[dbid], **more[dbid],
            )
            for dbid in SHARES
        ),
        campaigns=(
            Campaign(
                dbid=401,
                name="C",
                tenant="T",
                lists=tuple(CampaignList(calling_list=f"List {dbid}", share=share) for dbid, share in SHARES.items()),
            ),
        ),
        campaign_groups=(
            CampaignGroup(
                dbid=501, name="C@G", campaign="C", group="G", trunks=("trunk",), min_rec_buff_size=6,
                opt_rec_buff_size=12, options={"predictive_callback": predictive_callback},
            ),
        ),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class NewRow:
    """One row of a list as it is loaded."""

    list_dbid: int
    record_id: int
    contact_info: str
    chain_id: int
    chain_n: int
    tz_dbid: int
    daily_from: int
    daily_till: int
    customer: str | None
    dial_sched_time: int | None
    attempt: int


def new_rows(records: int, pick: random.Random, start: datetime) -> Iterator[NewRow]:
    """
    The rows of all lists; some chains are to be dialed from a time of their own only, some records have been dialed
    as often as they may be, or nearly so. The list with caps shares some of its numbers, and its customers, with the
    strict one; some customers have several chains.
    """
    strict_phones: list[str] = []
    customers = max(1, records // 4)
    for list_dbid, part in SIZES.items():
        left, chain_id, record_id = round(records * part), 0, 0
        while left > 0:
            chain_id += 1
            due_s = int(start.timestamp()) + pick.randrange(3 * 86_400) if pick.random() < 0.05 else None
            for chain_n in range(min(left, pick.choice((1, 1, 1, 2, 2, 3)))):
                record_id, left = record_id + 1, left - 1
                zone = pick.randrange(len(ZONES))
                if list_dbid == STRICT_LIST:
                    area = pick.choice(tuple(AREAS))
                    phone = _number(area, record_id)
                    zone = AREAS[area] if pick.random() < 0.75 else zone
                    strict_phones.append(phone)
                elif list_dbid == CAPPED_LIST and pick.random() < 0.1:
                    phone = pick.choice(strict_phones)
                else:
                    phone = f"+{list_dbid}{10_000_000 + record_id}"
                customer = f"C{pick.randrange(customers)}" if list_dbid != TABLED_LIST and pick.random() < 0.9 else None
                daily_from, daily_till = pick.choice(WINDOWS)
                most = MAX_ATTEMPTS[list_dbid]
                attempt = pick.choice((most - 1, most)) if pick.random() < 0.05 else 0
                yield NewRow(
                    list_dbid, record_id, phone, chain_id, chain_n, FIRST_ZONE_DBID + zone, daily_from, daily_till,
                    customer, due_s, attempt,
                )  # fmt: skip


def _number(area: str, n: int) -> str:
    """The n-th number of an area, of the length that its country has."""
    digits = {"+1": 11, "+44": 12, "+612": 11, "+551": 12, "+977": 11, "+53": 10}
    length = next(digits[begin] for begin in sorted(digits, key=len, reverse=True) if area.startswith(begin))
    rest = length - (len(area) - 1)
    return f"{area}{2 * 10 ** (rest - 1) + n:0{rest}}"
