"""The SQL that picks chains and claims them; every dynamic part goes through `psycopg.sql`.

A claim has two steps. The *search* is read-only and locks nothing, and runs in a READ ONLY transaction under a role
that can only read (`reader`), because it contains the operator's filter text: it walks the ready index and returns
record ids, best first, and the rows of their chains that the filter admits. The *claim* is one statement: it locks
those records that are still free (SKIP LOCKED), checks their gates again on the locked version, inserts the claims and
sets the chains' rows to Retrieved. The primary key of ``ocsd.claim`` decides between two claimers, whatever lists and
filters they come from; locks only keep them from waiting for each other.

How the search stays fast: the ready index (`tables.ready_index`) begins with type, zone, window, whether the treatment
state holds the row back, and its attempts. So the few distinct combinations ("buckets") are found by a loose index
scan; those whose window is closed, whose rows wait for another record of their chain, or whose attempts are used up
cost nothing however many rows they hold. Each open bucket is read from its front, a few rows first, and on only
where better rows may follow (`merging`); rows scheduled for later are never reached.

Rows that wait for a record which is not Ready any more may be dialed after all. They are looked for by walking a small
index of waiting rows, a bounded piece at each claim, round and round.

A filter's ``order_by`` is an order of the operator's own: without an index that begins with it, PostgreSQL sorts all
admitted General rows at each search.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, LiteralString

from psycopg import sql

from ocsd.config.objects import CallingList, Configuration, Filter
from ocsd.lists.arrays import int_array
from ocsd.lists.gates import local_times
from ocsd.lists.tables import columns_of, held_expression, named_expression, table_of
from ocsd.model.columns import MANDATORY_NAMES

RECORD_COLUMNS: Final = (
    "record_id", "contact_info", "contact_info_type", "record_type", "call_result", "attempt", "dial_sched_time",
    "call_time", "daily_from", "daily_till", "tz_dbid", "chain_id", "chain_n", "agent_id", "treatments",
)  # fmt: skip
"""The mandatory columns that become fields of CallingRecord, in the order of the claim's result."""

# Gates on a row {r}; the twin of gates.why_not_dialable. `zones` and `local_seconds` tell the second of the day of
# every known zone, below 0 where nothing may be dialed at all (gates.SHUT).
_WINDOW: Final = (
    "CASE WHEN {r}.daily_from <= {r}.daily_till"
    " THEN {local} >= {r}.daily_from AND {local} < {r}.daily_till"
    " ELSE {local} >= {r}.daily_from OR {local} < {r}.daily_till END"
)
_LOCAL: Final = (
    "coalesce((%(local_seconds)s::int[])[array_position(%(zones)s::int[], {r}.tz_dbid)], %(fallback_s)s::int)"
)
_READY: Final = "{r}.record_status = 1 AND {r}.record_type BETWEEN 2 AND 6"
"""The status and the types of the manual's table that may be dialed."""

_FREE: Final = (
    "(SELECT k.chain_id FROM ocsd.claim AS k WHERE k.table_name = %(table)s AND k.chain_id = {r}.chain_id LIMIT 1)"
    " IS NULL AND NOT {r}.chain_id = ANY(%(skip)s::int[])"
)
"""A scalar subquery: an anti-join may be planned, by statistics minutes old, as a scan of all claims per row. (So might
this one, but for `claiming.BY_INDEX`.)"""

_FREE_OF_MANY: Final = (
    "NOT {r}.chain_id IN (SELECT k.chain_id FROM ocsd.claim AS k WHERE k.table_name = %(table)s)"
    " AND NOT {r}.chain_id = ANY(%(skip)s::int[])"
)
"""The same in a statement that may look at all rows: the claims are read once and kept as a hash."""

_AGENTS: Final = "(%(agents)s::text[] IS NULL OR {r}.agent_id = ANY(%(agents)s::text[]))"


def _composed(template: LiteralString, /, **parts: sql.Composable) -> sql.Composed:
    return sql.SQL(template).format(**parts)


def local_second(alias: str) -> sql.Composed:
    """Second of the day in the row's zone; NULL when that is unknown."""
    return _composed(_LOCAL, r=sql.Identifier(alias))


def window_open(alias: str) -> sql.Composed:
    return _composed(
        "coalesce({local} >= 0 AND (" + _WINDOW + "), false)", r=sql.Identifier(alias), local=local_second(alias)
    )


def ready_to_dial(alias: str) -> sql.Composed:
    return _composed(_READY, r=sql.Identifier(alias))


def _due_now(alias: str) -> sql.Composed:
    """Attempts left (callbacks need none), schedule due, window open."""
    return _composed(
        "({r}.attempt < %(max_attempts)s OR {r}.record_type IN (5, 6))"
        " AND coalesce({r}.dial_sched_time, 0) <= %(now_s)s AND {window}",
        r=sql.Identifier(alias),
        window=window_open(alias),
    )


def _free(alias: str) -> sql.Composed:
    return _composed(_FREE, r=sql.Identifier(alias))


def _operator_text(text: str, with_parameters: bool = True) -> sql.SQL:
    """SQL written by the operator; percent signs are data here, and a comment at its end must not eat what follows."""
    return sql.SQL((text.replace("%", "%%") if with_parameters else text) + "\n")


@dataclass(frozen=True, slots=True)
class Selection:
    """
    The statements of one calling list, composed once; parameters as given by `parameters`.

    Attributes:
        search: the first rows of every bucket of one type; see `_search`.
        search_on: the next rows of some of them; see `_search_on`.
        search_ordered: (record_id, chain_id) of dialable General records in the filter's order; None: it has none.
        waiting: what a piece of the waiting rows holds; see `_waiting`.
        members: (record_id, chain_id) of the rows that a claim of ``%(chains)s`` takes, in the order of each chain.
        check_filter: fails when the operator's text does not work; reads nothing.
    """

    table: str
    user_columns: tuple[str, ...]
    search: bytes
    search_on: bytes
    search_ordered: bytes | None
    waiting: bytes
    members: bytes
    claim: bytes
    check_filter: bytes


def selection_of(config: Configuration, calling_list: CallingList) -> Selection:
    table = table_of(config, calling_list)
    dialing_filter = config.filter(calling_list.filter) if calling_list.filter else None
    order = order_of(dialing_filter)
    user_columns = tuple(
        column.name for column in columns_of(config, calling_list) if column.name not in MANDATORY_NAMES
    )
    criteria, name = criteria_of(dialing_filter), sql.Identifier(table)
    return Selection(
        table=table,
        user_columns=user_columns,
        search=_search(name, criteria).as_bytes(None),
        search_on=_search_on(name, criteria).as_bytes(None),
        search_ordered=None if order is None else _ordered_search(name, criteria, order).as_bytes(None),
        waiting=_waiting(name, criteria).as_bytes(None),
        members=_composed(
            "SELECT t.record_id, t.chain_id FROM {table} AS t"
            " WHERE t.chain_id = ANY(%(chains)s::int[]) AND {ready} AND {criteria}"
            " ORDER BY t.chain_id, {order} t.chain_n",
            table=name,
            ready=ready_to_dial("t"),
            criteria=criteria,
            order=order or sql.SQL(""),
        ).as_bytes(None),
        claim=_claim(name, user_columns).as_bytes(None),
        check_filter=_composed(
            "SELECT 1 FROM {table} AS t WHERE {criteria} ORDER BY {order} t.record_id LIMIT %(rows)s",
            table=name,
            criteria=criteria,
            order=order or sql.SQL(""),
        ).as_bytes(None),
    )


def parameters(config: Configuration, calling_list: CallingList, now: datetime) -> dict[str, Any]:
    """Parameters shared by the statements: the gates' figures at ``now`` (aware)."""
    times = local_times(config, calling_list, now)
    return {
        "table": table_of(config, calling_list),
        "zones": int_array(times.by_tz_dbid.keys()),
        "local_seconds": int_array(times.by_tz_dbid.values()),
        "fallback_s": times.fallback_s,
        "max_attempts": calling_list.max_attempts,
        "now_s": int(now.timestamp()),
    }


def criteria_of(dialing_filter: Filter | None, *, with_parameters: bool = True) -> sql.Composable:
    """The filter's condition; ``with_parameters`` False: for a statement that is sent without any."""
    if dialing_filter is None or not dialing_filter.criteria.strip():
        return sql.SQL("true")
    return _composed("({text})", text=_operator_text(dialing_filter.criteria, with_parameters))


def order_of(dialing_filter: Filter | None) -> sql.Composable | None:
    """The filter's order, with a comma behind it for what decides between equals; None: it has none."""
    if dialing_filter is None or not dialing_filter.order_by.strip():
        return None
    return _composed("{text}, ", text=_operator_text(dialing_filter.order_by))


def _search(table: sql.Identifier, criteria: sql.Composable) -> sql.Composed:
    """
    (place, size, due, record_id, chain_id, tz_dbid, daily_from, daily_till, attempt) of dialable records of
    ``%(type)s``: the first ``size`` rows of each bucket, by schedule and record_id.

    From a bucket of which no further row can be dialed the scan leaps to the next one that may have some.
    """
    return _composed(
        """
WITH RECURSIVE bucket AS (
  (SELECT {key_t} FROM {table} AS t
    WHERE t.record_status = 1 AND t.record_type = %(type)s ORDER BY 1, 2, 3, 4, 5 LIMIT 1)
  UNION ALL
  SELECT n.* FROM (
    SELECT *, CASE WHEN b.held > 0 OR NOT {window} THEN 9 ELSE 0 END AS held_after,
      CASE WHEN {left} THEN b.attempt ELSE 32767 END AS attempt_after FROM bucket AS b
  ) AS b CROSS JOIN LATERAL (
    SELECT {key_t} FROM {table} AS t
    WHERE t.record_status = 1 AND t.record_type = %(type)s
      AND (t.tz_dbid, t.daily_from, t.daily_till, {held_t}, t.attempt)
        > (b.tz_dbid, b.daily_from, b.daily_till, b.held_after, b.attempt_after)
    ORDER BY 1, 2, 3, 4, 5 LIMIT 1) AS n
), open_bucket AS MATERIALIZED (
  SELECT b.*, row_number() OVER () AS place FROM bucket AS b
  WHERE b.held = 0 AND {left} AND {window}
), piece AS MATERIALIZED (
  -- What falls to each bucket when rows are spread at random, and three deviations of that.
  SELECT least(%(wanted)s::int, greatest(%(piece)s::int, ceil(n.mean + 3 * sqrt(n.mean))::int)) AS size
  FROM (SELECT %(wanted)s::float8 / greatest(1, count(*)) AS mean FROM open_bucket) AS n
)
SELECT b.place, p.size, c.*, b.tz_dbid, b.daily_from, b.daily_till, b.attempt
FROM piece AS p CROSS JOIN open_bucket AS b CROSS JOIN LATERAL (
  SELECT coalesce(t.dial_sched_time, 0) AS due, t.record_id, t.chain_id FROM {table} AS t
  WHERE {of_bucket} AND coalesce(t.dial_sched_time, 0) <= %(now_s)s AND {wanted}
  ORDER BY coalesce(t.dial_sched_time, 0), t.record_id LIMIT p.size
) AS c
ORDER BY b.place, c.due, c.record_id
""",
        table=table,
        key_t=_composed("t.tz_dbid, t.daily_from, t.daily_till, {held} AS held, t.attempt", held=held_expression("t")),
        held_t=held_expression("t"),
        window=window_open("b"),
        left=sql.SQL("(b.attempt < %(max_attempts)s OR %(type)s IN (5, 6))"),
        of_bucket=_of_bucket(),
        wanted=_wanted(criteria, _FREE),
    )


def _search_on(table: sql.Identifier, criteria: sql.Composable) -> sql.Composed:
    """
    (place, due, record_id, chain_id): the next ``%(size)s`` rows of each of the buckets given in arrays ``%(b_...)s``,
    behind (due, record_id), at most up to ``%(bound_due)s``, ``%(bound_id)s``.
    """
    return _composed(
        """
SELECT b.place, c.* FROM unnest(%(b_zone)s::int[], %(b_from)s::int[], %(b_till)s::int[], %(b_attempt)s::int[],
  %(b_due)s::int[], %(b_record)s::int[]) WITH ORDINALITY
  AS b (tz_dbid, daily_from, daily_till, attempt, due, record_id, place)
CROSS JOIN LATERAL (
  SELECT coalesce(t.dial_sched_time, 0) AS due, t.record_id, t.chain_id FROM {table} AS t
  WHERE {of_bucket} AND (coalesce(t.dial_sched_time, 0), t.record_id) > (b.due, b.record_id)
    AND (coalesce(t.dial_sched_time, 0), t.record_id) <= (%(bound_due)s, %(bound_id)s) AND {wanted}
  ORDER BY coalesce(t.dial_sched_time, 0), t.record_id LIMIT %(size)s
) AS c
ORDER BY b.place, c.due, c.record_id
""",
        table=table,
        of_bucket=_of_bucket(),
        wanted=_wanted(criteria, _FREE),
    )


def _of_bucket() -> sql.Composed:
    """Row ``t`` belongs to bucket ``b``."""
    return _composed(
        "t.record_status = 1 AND t.record_type = %(type)s AND t.tz_dbid = b.tz_dbid AND t.daily_from = b.daily_from"
        " AND t.daily_till = b.daily_till AND {held} = 0 AND t.attempt = b.attempt",
        held=held_expression("t"),
    )


def _wanted(criteria: sql.Composable, free: LiteralString) -> sql.Composed:
    return _composed(
        "{agents} AND {free} AND {criteria}",
        agents=_composed(_AGENTS, r=sql.Identifier("t")),
        free=_composed(free, r=sql.Identifier("t")),
        criteria=criteria,
    )


def _ordered_search(table: sql.Identifier, criteria: sql.Composable, order: sql.Composable) -> sql.Composed:
    """(record_id, chain_id) of dialable records of ``%(type)s`` in the filter's order, at most ``%(wanted)s``."""
    return _composed(
        """
SELECT t.record_id, t.chain_id FROM {table} AS t
WHERE t.record_status = 1 AND t.record_type = %(type)s AND {due_now} AND {wanted}
ORDER BY {order} t.record_id LIMIT %(wanted)s
""",
        table=table,
        due_now=_due_now("t"),
        wanted=_wanted(criteria, _FREE_OF_MANY),
        order=order,
    )


def _waiting(table: sql.Identifier, criteria: sql.Composable) -> sql.Composed:
    """
    Of the next ``%(look)s`` waiting rows behind record_id ``%(after)s``: the last one's id, how many there were, and
    (record_id, chain_id, due, type, agent_id) of those that may be dialed because the record that they wait for is not
    there to be dialed: not Ready, or not admitted by the filter. One line without a record when there are none.
    """
    return _composed(
        """
WITH waiting AS MATERIALIZED (
  SELECT w.record_id, w.chain_id, {named} AS named FROM {table} AS w
  WHERE w.record_status = 1 AND {held_w} = 1 AND w.record_id > %(after)s ORDER BY w.record_id LIMIT %(look)s
), named AS MATERIALIZED (
  SELECT t.chain_id, t.chain_n FROM {table} AS t
  WHERE (t.chain_id, t.chain_n) IN (SELECT w.chain_id, w.named::int FROM waiting AS w
                                    WHERE w.named BETWEEN 0 AND 2147483647)
    AND {ready} AND {criteria}
), alone AS MATERIALIZED (
  SELECT w.record_id FROM waiting AS w LEFT JOIN named AS n ON n.chain_id = w.chain_id AND n.chain_n = w.named
  WHERE n.chain_id IS NULL
), found AS (
  SELECT t.record_id, t.chain_id, coalesce(t.dial_sched_time, 0) AS due, t.record_type, t.agent_id FROM {table} AS t
  WHERE t.record_id IN (SELECT a.record_id FROM alone AS a) AND {ready} AND {due_now} AND {free} AND {criteria}
)
SELECT s.last, s.seen, f.* FROM (SELECT max(w.record_id) AS last, count(*) AS seen FROM waiting AS w) AS s
LEFT JOIN found AS f ON true ORDER BY f.due, f.record_id
""",
        table=table,
        named=named_expression("w"),
        held_w=held_expression("w"),
        ready=ready_to_dial("t"),
        due_now=_due_now("t"),
        free=_free("t"),
        criteria=criteria,
    )


def _claim(table: sql.Identifier, user_columns: tuple[str, ...]) -> sql.Composed:
    """
    Lock, claim and set to Retrieved in one statement; returns the rows taken, in any order, each with its place among
    ``%(member_ids)s``.
    """
    columns = sql.SQL(", ").join(sql.Identifier("t", name) for name in (*RECORD_COLUMNS, *user_columns))
    return _composed(
        """
WITH candidate AS (
  SELECT c.record_id, c.alone, c.place
  FROM unnest(%(record_ids)s::int[], %(alone)s::bool[]) WITH ORDINALITY AS c (record_id, alone, place)
), locked AS (
  SELECT t.chain_id, c.place FROM candidate AS c JOIN {table} AS t USING (record_id)
  WHERE {ready} AND {due_now} AND (c.alone OR {held} = 0)
    -- Else a row that came and went during the search would give a claim on a chain of which nothing is taken.
    AND t.record_id = ANY(%(member_ids)s::int[])
  ORDER BY c.place FOR UPDATE OF t SKIP LOCKED
), claimed AS (
  -- By chain_id, so that two claimers that meet wait for each other in one direction only.
  INSERT INTO ocsd.claim (table_name, chain_id, list_dbid, campaign_group_dbid, owner, batch, lease_until)
  SELECT DISTINCT %(table)s, l.chain_id, %(list_dbid)s::int, %(campaign_group_dbid)s::int, %(owner)s, %(batch)s::uuid,
    now() + %(lease)s::interval
  FROM locked AS l ORDER BY l.chain_id
  ON CONFLICT DO NOTHING RETURNING chain_id
), taken AS (
  UPDATE {table} AS t SET record_status = 2
  FROM claimed AS k, unnest(%(member_ids)s::int[]) WITH ORDINALITY AS m (record_id, place)
  WHERE t.record_id = m.record_id AND t.chain_id = k.chain_id AND {ready}
  RETURNING {columns}, m.place
)
SELECT * FROM taken
""",
        table=table,
        ready=ready_to_dial("t"),
        due_now=_due_now("t"),
        held=held_expression("t"),
        columns=columns,
    )
