"""
The mix of a campaign's own calls: shares, times, and how much likelier people answer at some hours and in some zones.

Read from the journal of attempts by four aggregate queries; nothing but counts, means and deviations leaves the
database. Hours and zones with few calls are drawn towards the whole, as if each had `PRIOR_CALLS` more calls with the
ratio of all: ten calls at eight in the evening, nine of them answered, are luck.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, LiteralString

import psycopg
from psycopg import sql

from ocsd.config.objects import Configuration
from ocsd.lists.tables import table_of, time_zone_dbid
from ocsd.model.enums import CallResult
from ocsd.rehearsal.world import Mix, Party, Spread

DAYS: Final = 30
ENOUGH_CALLS: Final = 500
"""Fewer results say too little about shares and hours."""
ENOUGH_TIMES: Final = 50
"""Fewer measured times of one kind say too little about their spread."""
PRIOR_CALLS: Final = 200.0
CV_RANGE: Final = (0.05, 3.0)
"""Of what is taken over: a single call left open over night must not spread talk times over hours."""

_R = CallResult
PARTY_OF: Final[Mapping[int, Party]] = MappingProxyType(
    {
        _R.ANSWER: Party.PERSON, _R.ABANDONED: Party.PERSON, _R.DROPPED: Party.PERSON,
        _R.ANSWERING_MACHINE: Party.MACHINE, _R.SILENCE: Party.MACHINE, _R.PAGER: Party.MACHINE,
        _R.NO_ANSWER: Party.NO_ANSWER, _R.NO_ESTABLISHED: Party.NO_ANSWER, _R.NO_PROGRESS: Party.NO_ANSWER,
        _R.NO_RINGBACK: Party.NO_ANSWER,
        _R.BUSY: Party.BUSY, _R.FAX: Party.FAX,
        _R.SIT_INVALID_NUM: Party.SIT, _R.SIT_VACANT_CODE: Party.SIT, _R.SIT_INTERCEPT: Party.SIT,
        _R.SIT_UNKNOWN: Party.SIT, _R.SIT_DETECTED: Party.SIT,
    }
)  # fmt: skip
"""Other results are failures, unless an agent had the call: then it was a person."""

_COUNTED: Final = sql.SQL(
    "a.list_dbid = ANY(%(lists)s) AND a.started_at > %(now)s::timestamptz - make_interval(days => %(days)s)"
    " AND a.started_at <= %(now)s AND a.finished_at IS NOT NULL AND a.call_result IS NOT NULL"
    " AND a.counted IS NOT FALSE AND a.interrupted IS NOT TRUE"
)

_TIMES: Final[Mapping[str, tuple[LiteralString, LiteralString]]] = {
    "person_ring": ("answered_at - dialing_at", "cpa_verdict = 'human'"),
    "machine_ring": ("answered_at - dialing_at", "cpa_verdict = 'machine'"),
    "machine_verdict": ("cpd_completed_at - answered_at", "cpa_verdict = 'machine'"),
    "busy_s": ("released_at - dialing_at", "answered_at IS NULL AND call_result <> 7"),
    "talk": ("agent_released_at - agent_answered_at", "agent_released_at IS NOT NULL"),
    "wrap_up": ("acw_completed_at - agent_released_at", "acw_completed_at IS NOT NULL"),
    "person_verdict": ("cpd_completed_at - answered_at", "cpa_verdict = 'human'"),
}
"""Each figure's time and the calls it is measured on. Ring times are from the INVITE: the set-up is taken off."""


def observed_mix(
    conn: psycopg.Connection[Any], config: Configuration, list_dbids: Sequence[int], now: datetime, base: Mix
) -> Mix:
    """
    ``base`` with what the last `DAYS` days of calls of these lists say; ``base`` itself where they say too little.

    The result's ``sources`` name each figure that was taken over, and how many calls it rests on.
    """
    given = {"lists": list(list_dbids), "now": now, "days": DAYS}
    counts: Counter[Party] = Counter()
    query = sql.SQL(
        "SELECT a.call_result, a.connected_at IS NOT NULL, count(*) FROM ocsd.attempt AS a WHERE {} GROUP BY 1, 2"
    ).format(_COUNTED)
    for result, connected, count in conn.execute(query, given):
        counts[party_of(result, connected)] += count
    changes: dict[str, Any] = {}
    sources: dict[str, str] = {}
    if (calls := counts.total()) >= ENOUGH_CALLS and counts[Party.PERSON] > 0:
        changes["shares"] = MappingProxyType({party: float(count) for party, count in counts.items()})
        sources["shares"] = f"{calls} calls of these lists in the last {DAYS} days"
        changes |= _levels(conn, config, list_dbids, given, sources)
    for name, (count, mean_s, deviation_s) in _times(conn, given).items():
        if count < ENOUGH_TIMES or mean_s <= 0.0:
            continue
        cv = min(max(deviation_s / mean_s, CV_RANGE[0]), CV_RANGE[1])
        if name in ("person_ring", "machine_ring"):  # measured from the INVITE
            ring_s = max(1.0, mean_s - sum(base.setup_s) / 2.0)
            changes[name] = Spread(ring_s, min(cv * mean_s / ring_s, CV_RANGE[1]))
        elif name == "person_verdict":  # the greeting and the decision, of which the second is ours
            changes["greeting"] = Spread(max(0.2, mean_s - base.person_verdict.mean_s), min(cv, 1.0))
            name = "greeting"
        else:
            changes[name] = Spread(mean_s, cv)
        sources[name] = f"{count} calls of these lists in the last {DAYS} days"
    return replace(base, **changes, sources=dict(base.sources) | sources) if changes else base


def party_of(call_result: int, connected: bool) -> Party:
    """Who was at the other end of a call with this result."""
    return Party.PERSON if connected else PARTY_OF.get(call_result, Party.FAILED)


def _times(conn: psycopg.Connection[Any], given: Mapping[str, Any]) -> dict[str, tuple[int, float, float]]:
    columns = sql.SQL(", ").join(
        sql.SQL(
            "count(*) FILTER ({chosen}), coalesce(avg({time}) FILTER ({chosen}), 0)::float8,"
            " coalesce(stddev_samp({time}) FILTER ({chosen}), 0)::float8"
        ).format(
            time=sql.SQL("extract(epoch FROM {})").format(sql.SQL(time)),
            chosen=sql.SQL("WHERE {} AND {} >= interval '0'").format(sql.SQL(chosen), sql.SQL(time)),
        )
        for time, chosen in _TIMES.values()
    )
    query = sql.SQL("SELECT {} FROM ocsd.attempt AS a WHERE {}").format(columns, _COUNTED)
    row = conn.execute(query, given).fetchone()
    assert row is not None
    return {name: (row[3 * place], row[3 * place + 1], row[3 * place + 2]) for place, name in enumerate(_TIMES)}


def _levels(
    conn: psycopg.Connection[Any],
    config: Configuration,
    list_dbids: Sequence[int],
    given: Mapping[str, Any],
    sources: dict[str, str],
) -> dict[str, Any]:
    """Factors by hour of the called party's day and by zone."""
    zones = {zone.dbid: zone.zone for zone in config.time_zones}
    by_hour: dict[int, list[float]] = defaultdict(lambda: [0.0, 0.0])
    by_zone: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    people = [int(result) for result, party in PARTY_OF.items() if party is Party.PERSON]
    for list_dbid in list_dbids:
        calling_list = config.calling_list_by_dbid(list_dbid)
        own = zones.get(time_zone_dbid(config, calling_list), "UTC")
        query = sql.SQL(
            "SELECT coalesce(z.zone, %(own)s), extract(hour FROM a.started_at AT TIME ZONE coalesce(z.zone, %(own)s)),"
            " count(*), count(*) FILTER (WHERE a.connected_at IS NOT NULL OR a.call_result = ANY(%(people)s))"
            " FROM ocsd.attempt AS a JOIN {table} AS t USING (record_id)"
            " LEFT JOIN unnest(%(dbids)s::int[], %(names)s::text[]) AS z (dbid, zone) ON z.dbid = t.tz_dbid"
            " WHERE {counted} GROUP BY 1, 2"
        ).format(table=sql.Identifier(table_of(config, calling_list)), counted=_COUNTED)
        own_given = dict(given) | {"lists": [list_dbid], "own": own, "people": people,
                                   "dbids": list(zones), "names": list(zones.values())}  # fmt: skip
        for zone, hour, calls, hits in conn.execute(query, own_given):
            for kept in (by_hour[int(hour)], by_zone[str(zone)]):
                kept[0] += calls
                kept[1] += hits
    whole = [math.fsum(kept[place] for kept in by_hour.values()) for place in (0, 1)]
    if whole[1] <= 0.0:
        return {}
    ratio = whole[1] / whole[0]

    def factor(calls: float, hits: float) -> float:
        return (hits + PRIOR_CALLS * ratio) / (calls + PRIOR_CALLS) / ratio

    sources["by_hour"] = sources["by_zone"] = (
        f"{int(whole[0])} calls of these lists in the last {DAYS} days, each hour and zone drawn towards the whole by "
        f"{PRIOR_CALLS:.0f} calls"
    )
    return {
        "by_hour": tuple(factor(*by_hour[hour]) if hour in by_hour else 1.0 for hour in range(24)),
        "by_zone": MappingProxyType({zone: factor(*kept) for zone, kept in sorted(by_zone.items())}),
    }
