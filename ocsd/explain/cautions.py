"""What an operator should know before a list is started, one sentence each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from psycopg import sql

from ocsd.config.objects import CallingList, Campaign, CampaignGroup, Configuration
from ocsd.dnc.mapped import SUFFIX, map_registry
from ocsd.explain.listed import ListReader
from ocsd.explain.readiness import Readings
from ocsd.lists import counting
from ocsd.lists.embedded import data_folder
from ocsd.lists.selection import criteria_of, order_of
from ocsd.lists.tables import table_differences
from ocsd.model.enums import CallResult, DialMode, RecordAction, RecordType
from ocsd.model.errors import ConfigError
from ocsd.model.records import CallingRecord
from ocsd.rules.caps import CapRule, rules_of
from ocsd.treatments.contract import Situation
from ocsd.treatments.engine import decide

WITHOUT_AGENTS: Final = frozenset({DialMode.PROGRESSIVE_GVP, DialMode.POWER_GVP})

SORTED_ROWS: Final = 10_000
"""Rows that may be sorted at each claim without anybody noticing."""

PLANNED_ATTEMPTS: Final = 200
"""Attempts on one record that are looked at to see how close together treatments plan them."""


def warnings(
    reader: ListReader, campaign: Campaign | None, found: Readings, instants: Sequence[datetime]
) -> tuple[str, ...]:
    """In the order in which they matter."""
    config, calling_list = reader.config, reader.calling_list
    return (
        *_hours(found, instants),
        *_campaigns(config, calling_list, campaign),
        *_rows(found, calling_list),
        *_caps(config, calling_list, instants[0]),
        *_registries(config, instants[0]),
        *_table(reader),
    )


def _hours(found: Readings, instants: Sequence[datetime]) -> Iterator[str]:
    openings = [zone.opens_at for zone in found.zones.values() if zone.opens_at is not None]
    soon = instants[0] + timedelta(days=1)
    if not found.rows:
        yield "Nothing waits to be dialed: no row is Ready that the list's filter admits."
    elif not any(found.ready_at(place) for place in range(len(instants))) and not any(at <= soon for at in openings):
        first = min(openings, default=None)
        when = (
            f"the first one opens at {first.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if first else "none is known to open"
        )
        yield f"No chain can be dialed within a day; of those that only hours hold back, {when}."


def _campaigns(config: Configuration, calling_list: CallingList, campaign: Campaign | None) -> Iterator[str]:
    if campaign is None:
        idle = [c.name for c in config.campaigns if any(e.calling_list == calling_list.name for e in c.lists)]
        more = f" It is there, but not active, in {', '.join(map(repr, idle))}." if idle else ""
        yield (
            f"The list is active in no campaign, so nothing dials it, and only what holds for every tenant was asked "
            f"of Do-Not-Call.{more}"
        )
        return
    active = [
        c
        for c in config.campaigns
        if any(entry.calling_list == calling_list.name and entry.active for entry in c.lists)
    ]
    if len({c.tenant for c in active}) > 1:
        yield (
            f"Campaigns of several tenants have the list; Do-Not-Call and caps were asked for {campaign.tenant!r}, the "
            f"tenant of {campaign.name!r}."
        )
    groups = [group for group in config.campaign_groups if group.campaign in {c.name for c in active}]
    if not groups:
        yield f"Campaign {campaign.name!r} has no campaign group, so nobody can load it."
    for group in groups:
        yield from _group(config, group)


def _group(config: Configuration, group: CampaignGroup) -> Iterator[str]:
    agents = next((entry.agents for entry in config.agent_groups if entry.name == group.group), ())
    if not agents and group.dial_mode not in WITHOUT_AGENTS:
        yield f"Campaign group {group.name!r}: agent group {group.group!r} has no agents."
    if not group.trunks:
        yield f"Campaign group {group.name!r} has no trunk, so no call can leave."
    known = {trunk.name for trunk in config.trunks}
    for name in group.trunks:
        if name not in known:
            yield f"Campaign group {group.name!r}: trunk {name!r} is not configured."


def _rows(found: Readings, calling_list: CallingList) -> Iterator[str]:
    if count := found.held_back[counting.NO_ZONE]:
        yield (
            f"{count} rows have a time zone that is not configured (tz_dbid), and the list has none of its own: they "
            f"are never dialed."
        )
    if found.unreadable:
        yield (
            f"{found.unreadable} rows have a number that is not in E.164 form (+ and digits): they are dialed as they "
            f"are written, and attempt caps and the zones of numbers cannot know them."
        )
    if count := found.held_back[counting.NO_AGENT]:
        yield f"{count} personal callbacks or rescheduled records name no agent: nobody gets them."


# --- caps against treatments ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Plan:
    """Attempts on one record that the treatments of one result would make if nothing else happened, in seconds."""

    result: CallResult
    at_s: tuple[int, ...]


def _caps(config: Configuration, calling_list: CallingList, now: datetime) -> Iterator[str]:
    rules = [rule for rule in rules_of(config, calling_list) if not rule.after_conversation]
    if not rules:
        return
    plans = [_plan(config, calling_list, result, now) for result in _treated(config, calling_list)]
    for rule in rules:
        worst = max(((_within(plan, rule), plan) for plan in plans), key=lambda entry: entry[0], default=None)
        if worst is not None and worst[0] > rule.max_attempts:
            count, plan = worst
            yield (
                f"Treatments plan up to {count} attempts on a record whose result is always {plan.result.title!r} "
                f"where {rule}; the rest waits until the cap lets go."
            )


def _treated(config: Configuration, calling_list: CallingList) -> list[CallResult]:
    """Results with a treatment that dials the same record again."""
    again = {RecordAction.REDIAL, RecordAction.RETRY_IN, RecordAction.RESCHEDULE}
    return sorted(
        {
            entry.call_result
            for entry in config.treatments_of(calling_list)
            if entry.call_result is not None and entry.record_action in again and not entry.disposition.strip()
        }
    )


def _plan(config: Configuration, calling_list: CallingList, result: CallResult, now: datetime) -> _Plan:
    record = CallingRecord(
        list_dbid=calling_list.dbid, record_id=1, contact_info="", contact_info_type=0,
        record_type=RecordType.GENERAL, call_result=int(CallResult.UNKNOWN), attempt=0, dial_sched_time=None,
        call_time=None, daily_from_s=0, daily_till_s=86_400, tz_dbid=0, chain_id=1, chain_n=0,
    )  # fmt: skip
    treatments = config.treatments_of(calling_list)
    at = now
    made = [int(at.timestamp())]
    while len(made) < PLANNED_ATTEMPTS:
        record = replace(record, attempt=record.attempt + 1)
        change = decide(
            Situation(int(result), record, (record,), at),
            treatments,
            max_attempts=calling_list.max_attempts,
            opening=lambda _record, after: after,
            timezone_of=lambda _record: UTC,
        ).change
        if not change.goes_on:
            break
        record = replace(record, record_type=change.record_type, treatments=change.treatments)
        at = datetime.fromtimestamp(change.dial_sched_time or 0, UTC)
        made.append(int(at.timestamp()))
    return _Plan(result, tuple(made))


def _within(plan: _Plan, rule: CapRule) -> int:
    """Most of the plan's attempts in one stretch of the rule's period."""
    return max(sum(first <= at < first + rule.period_s for at in plan.at_s) for first in plan.at_s)


# --- Do-Not-Call files ------------------------------------------------------------------------------------------------


def _registries(config: Configuration, now: datetime) -> Iterator[str]:
    folder: Path = data_folder(config.data_dir) / "dnc"
    for path in sorted(folder.glob(f"*/*{SUFFIX}")):
        if path.name.startswith("."):
            continue
        try:
            registry = map_registry(path, None)
        except (ConfigError, OSError) as error:
            yield f"Do-Not-Call registry {path.stem!r} cannot be used: {' '.join(str(error).split())}"
            continue
        if registry.until <= now.timestamp():
            ended = datetime.fromtimestamp(registry.until, UTC)
            yield (
                f"Do-Not-Call registry {path.stem!r} ({len(registry.index)} numbers) ended at {ended:%Y-%m-%d %H:%M} "
                f"UTC and forbids nobody any more: import a new one."
            )


# --- the table --------------------------------------------------------------------------------------------------------


def _table(reader: ListReader) -> Iterator[str]:
    for problem in table_differences(reader.conn, reader.config, reader.calling_list):
        yield f"{problem[:1].upper()}{problem[1:]}."
    row = reader.conn.execute(
        "SELECT c.reltuples, pg_stat_get_live_tuples(c.oid) FROM pg_class AS c WHERE c.oid = to_regclass(%s)",
        (f'"{reader.table}"',),
    ).fetchone()
    if row is not None and row[0] < 0:
        yield (
            f"PostgreSQL has no statistics of table {reader.table!r} yet: searches may be slow until autovacuum has "
            f"run; ANALYZE {sql.Identifier(reader.table).as_string(reader.conn)} makes them."
        )
    if (rows := _sorted_rows(reader)) > SORTED_ROWS:
        yield (
            f"The order of filter {reader.calling_list.filter!r} has no index that begins with it: some {rows} rows "
            f"are sorted at each claim."
        )


def _sorted_rows(reader: ListReader) -> int:
    """Rows that a search in the filter's order sorts when every window is open, as PostgreSQL estimates them."""
    calling_list = reader.calling_list
    dialing_filter = reader.config.filter(calling_list.filter) if calling_list.filter else None
    if (order := order_of(dialing_filter)) is None:
        return 0
    query = sql.SQL(
        "EXPLAIN (FORMAT JSON) SELECT t.record_id FROM {} AS t"
        " WHERE t.record_status = 1 AND t.record_type = 2 AND {} ORDER BY {} t.record_id LIMIT 60"
    ).format(sql.Identifier(reader.table), criteria_of(dialing_filter), order)
    with reader.reading():
        row = reader.conn.execute(query, {}, prepare=False).fetchone()
    return _sorts(row[0][0]["Plan"]) if row is not None else 0


def _sorts(plan: dict[str, Any]) -> int:
    """An Incremental Sort has an index that begins with the order, and is fine."""
    inner = plan.get("Plans", [])
    if plan["Node Type"] == "Sort":
        return max(int(below["Plan Rows"]) for below in inner)
    return max((_sorts(below) for below in inner), default=0)
