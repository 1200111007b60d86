"""The SQL that picks chains and claims them; every dynamic part goes through `psycopg.sql`.

A claim has two steps. The *search* is read-only and locks nothing, and runs in a READ ONLY transaction because it
contains the operator's filter text: it walks the ready index and returns record ids, best first. The *claim* is one
statement: it locks those rows that are still free (SKIP LOCKED), checks their gates again on the locked version,
inserts the claims and sets the chains' rows to Retrieved. The primary key of ``ocsd.claim`` decides between two
claimers; locks only keep them from waiting for each other.

How the search stays fast: the ready index begins with (type, zone, window), so the few distinct combinations
("buckets") are found by a loose index scan, those whose window is closed cost nothing however many rows they hold, and
each open bucket is read from its front until the limit.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, LiteralString

from psycopg import sql

from ocsd.config.objects import CallingList, Configuration, Filter
from ocsd.lists.gates import TYPE_ORDER, local_times
from ocsd.lists.tables import columns_of, table_of
from ocsd.model.columns import MANDATORY_NAMES

SEARCH_FACTOR: Final = 2
"""Rows searched per chain wanted: room for chains of several rows and for those that another claimer takes."""

RECORD_COLUMNS: Final = (
    "record_id", "contact_info", "contact_info_type", "record_type", "call_result", "attempt", "dial_sched_time",
    "call_time", "daily_from", "daily_till", "tz_dbid", "chain_id", "chain_n", "agent_id", "treatments",
)  # fmt: skip
"""The mandatory columns that become fields of CallingRecord, in the order of the claim's result."""

# Gates on a row {r}; the twin of gates.why_not_dialable. `zone` holds the second of the day of every known zone.
_WINDOW: Final = (
    "CASE WHEN {r}.daily_from <= {r}.daily_till"
    " THEN {local} >= {r}.daily_from AND {local} < {r}.daily_till"
    " ELSE {local} >= {r}.daily_from OR {local} < {r}.daily_till END"
)
_LOCAL: Final = (
    "coalesce((%(local_seconds)s::int[])[array_position(%(zones)s::int[], {r}.tz_dbid)], %(fallback_s)s::int)"
)
_GATES: Final = (
    "{r}.record_status = 1 AND {r}.record_type = ANY(%(types)s::int[]) AND {r}.attempt < %(max_attempts)s"
    " AND coalesce({r}.dial_sched_time, 0) <= %(now_s)s AND coalesce({window}, false)"
)


def _composed(template: LiteralString, /, **parts: sql.Composable) -> sql.Composed:
    return sql.SQL(template).format(**parts)


def _gates(alias: str) -> sql.Composed:
    row = sql.Identifier(alias)
    window = _composed(_WINDOW, r=row, local=_composed(_LOCAL, r=row))
    return _composed(_GATES, r=row, window=window)


def _operator_text(text: str, with_parameters: bool = True) -> sql.SQL:
    """SQL written by the operator; percent signs are data here, and a comment at its end must not eat what follows."""
    return sql.SQL((text.replace("%", "%%") if with_parameters else text) + "\n")


@dataclass(frozen=True, slots=True)
class Selection:
    """The statements of one calling list; parameters as given by `parameters`."""

    table: str
    user_columns: tuple[str, ...]
    search: sql.Composed
    claim: sql.Composed
    check_filter: sql.Composed
    ready: sql.Composed


def selection_of(config: Configuration, calling_list: CallingList) -> Selection:
    table = table_of(config, calling_list)
    dialing_filter = config.filter(calling_list.filter) if calling_list.filter else None
    user_columns = tuple(
        column.name for column in columns_of(config, calling_list) if column.name not in MANDATORY_NAMES
    )
    return Selection(
        table=table,
        user_columns=user_columns,
        search=_search(table, dialing_filter),
        claim=_claim(table, user_columns),
        check_filter=_composed(
            "SELECT 1 FROM {table} AS t WHERE {criteria} ORDER BY {order} LIMIT 0",
            table=sql.Identifier(table),
            criteria=criteria_of(dialing_filter),
            order=_order(dialing_filter),
        ),
        ready=_composed(
            "SELECT count(DISTINCT t.chain_id), count(DISTINCT t.chain_id) FILTER (WHERE {gates}) FROM {table} AS t"
            " WHERE t.record_status = 1 AND t.record_type = ANY(%(types)s::int[]) AND {criteria}",
            table=sql.Identifier(table),
            gates=_gates("t"),
            criteria=criteria_of(dialing_filter),
        ),
    )


def parameters(config: Configuration, calling_list: CallingList, now: datetime) -> dict[str, Any]:
    """Parameters shared by the statements: the gates' figures at ``now`` (aware)."""
    times = local_times(config, calling_list, now)
    return {
        "zones": list(times.by_tz_dbid.keys()),
        "local_seconds": list(times.by_tz_dbid.values()),
        "fallback_s": times.fallback_s,
        "types": [int(record_type) for record_type in TYPE_ORDER],
        "max_attempts": calling_list.max_attempts,
        "now_s": int(now.timestamp()),
    }


def criteria_of(dialing_filter: Filter | None, *, with_parameters: bool = True) -> sql.Composable:
    """The filter's condition; ``with_parameters`` False: for a statement that is sent without any."""
    if dialing_filter is None or not dialing_filter.criteria.strip():
        return sql.SQL("true")
    return _composed("({text})", text=_operator_text(dialing_filter.criteria, with_parameters))


def _order(dialing_filter: Filter | None) -> sql.Composable:
    if dialing_filter is None or not dialing_filter.order_by.strip():
        return sql.SQL("record_id")
    return _composed("{text}, record_id", text=_operator_text(dialing_filter.order_by))


def _search(table: str, dialing_filter: Filter | None) -> sql.Composed:
    """
    (record_id, chain_id) of dialable records, best first, at most ``%(wanted)s``: a chain ranks by its best record.

    Ranking by the *first* dialable record of each chain would need a look at its siblings for every row passed over,
    which takes a second when a zone holds only second phones.

    Inside a bucket rows come by schedule, then the filter's order; across buckets of a type they are merged by
    schedule and rank. With the filter's own ``order_by`` the rank of a row inside its bucket keeps the buckets fair;
    without one, record ids are merged exactly.
    """
    has_order = dialing_filter is not None and dialing_filter.order_by.strip()
    return _composed(
        """
WITH RECURSIVE bucket AS (
  (SELECT t.record_type, t.tz_dbid, t.daily_from, t.daily_till FROM {table} AS t
    WHERE t.record_status = 1 ORDER BY 1, 2, 3, 4 LIMIT 1)
  UNION ALL
  SELECT n.* FROM bucket AS b CROSS JOIN LATERAL (
    SELECT t.record_type, t.tz_dbid, t.daily_from, t.daily_till FROM {table} AS t
    WHERE t.record_status = 1
      AND (t.record_type, t.tz_dbid, t.daily_from, t.daily_till)
        > (b.record_type, b.tz_dbid, b.daily_from, b.daily_till)
    ORDER BY 1, 2, 3, 4 LIMIT 1) AS n
), open_bucket AS (
  SELECT b.* FROM bucket AS b WHERE b.record_type = ANY(%(types)s::int[]) AND coalesce({window}, false)
)
SELECT c.record_id, c.chain_id FROM open_bucket AS b CROSS JOIN LATERAL (
  SELECT t.record_id, t.chain_id, coalesce(t.dial_sched_time, 0) AS due, {rank} AS rank FROM {table} AS t
  WHERE t.record_status = 1
    AND t.record_type = b.record_type AND t.tz_dbid = b.tz_dbid
    AND t.daily_from = b.daily_from AND t.daily_till = b.daily_till
    AND coalesce(t.dial_sched_time, 0) <= %(now_s)s AND t.attempt < %(max_attempts)s
    AND {criteria}
    AND NOT EXISTS (SELECT FROM ocsd.claim AS k WHERE k.table_name = %(table)s AND k.chain_id = t.chain_id)
  ORDER BY coalesce(t.dial_sched_time, 0), {order} LIMIT %(wanted)s
) AS c
ORDER BY array_position(%(types)s::int[], b.record_type), c.due, c.rank, c.record_id LIMIT %(wanted)s
""",
        table=sql.Identifier(table),
        window=_composed(_WINDOW, r=sql.Identifier("b"), local=_composed(_LOCAL, r=sql.Identifier("b"))),
        criteria=criteria_of(dialing_filter),
        order=_order(dialing_filter),
        rank=_composed("row_number() OVER (ORDER BY coalesce(t.dial_sched_time, 0), {o})", o=_order(dialing_filter))
        if has_order
        else sql.SQL("0"),
    )


def _claim(table: str, user_columns: tuple[str, ...]) -> sql.Composed:
    """Lock, claim and set to Retrieved in one statement; returns the dialable rows of the chains taken, in order."""
    columns = sql.SQL(", ").join(sql.Identifier("t", name) for name in (*RECORD_COLUMNS, *user_columns))
    return _composed(
        """
WITH candidate AS (
  SELECT c.record_id, c.place FROM unnest(%(record_ids)s::int[]) WITH ORDINALITY AS c (record_id, place)
), locked AS (
  SELECT t.chain_id, c.place FROM candidate AS c JOIN {table} AS t USING (record_id)
  WHERE {gates}
  ORDER BY c.place LIMIT %(limit)s FOR UPDATE OF t SKIP LOCKED
), claimed AS (
  -- By chain_id, so that two claimers that meet wait for each other in one direction only.
  INSERT INTO ocsd.claim (table_name, chain_id, list_dbid, campaign_group_dbid, owner, batch, lease_until)
  SELECT DISTINCT %(table)s, l.chain_id, %(list_dbid)s::int, %(campaign_group_dbid)s::int, %(owner)s, %(batch)s::uuid,
    now() + %(lease)s::interval
  FROM locked AS l ORDER BY l.chain_id
  ON CONFLICT DO NOTHING RETURNING chain_id
), taken AS (
  UPDATE {table} AS t SET record_status = 2 FROM claimed AS k
  WHERE t.chain_id = k.chain_id AND t.record_status = 1 AND t.record_type = ANY(%(types)s::int[])
  RETURNING {columns}, {dialable} AS dialable
)
SELECT t.* FROM taken AS t JOIN (SELECT chain_id, min(place) AS place FROM locked GROUP BY chain_id) AS l
  USING (chain_id)
WHERE t.dialable ORDER BY l.place, t.chain_n
""",
        table=sql.Identifier(table),
        gates=_gates("t"),
        columns=columns,
        # After the update the status is Retrieved; the other gates are those of the claim.
        dialable=_composed(
            "(t.attempt < %(max_attempts)s AND coalesce(t.dial_sched_time, 0) <= %(now_s)s"
            " AND coalesce({window}, false))",
            window=_composed(_WINDOW, r=sql.Identifier("t"), local=_composed(_LOCAL, r=sql.Identifier("t"))),
        ),
    )
