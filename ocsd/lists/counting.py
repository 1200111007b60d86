"""Figures of one calling list (`ocsd list stats`, supervisors): passes over its rows, so not for every second."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import psycopg
from psycopg import sql

from ocsd.config.objects import CallingList, Configuration
from ocsd.lists.claiming import preflight, refused
from ocsd.lists.gates import SHUT, STATUS_TYPES, TYPE_ORDER
from ocsd.lists.reader import let_read, reading
from ocsd.lists.selection import criteria_of, local_second, parameters, ready_to_dial, selection_of, window_open
from ocsd.lists.store import ListCounts
from ocsd.lists.tables import held_expression, named_expression, table_of
from ocsd.model.enums import RecordStatus, RecordType

WRONG_COMBINATION: Final = "record status and type do not go together"
NO_CALL: Final = "type NoCall (Do-Not-Call)"
RETRIEVED: Final = "claimed (Retrieved)"
CLAIMED: Final = "chain is claimed"
NO_AGENT: Final = "personal, without an agent"
USED_UP: Final = "attempts used up"
LATER: Final = "scheduled for later"
NO_ZONE: Final = "time zone unknown"
SHUT_HOURS: Final = "outside legal or business hours"
CLOSED: Final = "daily window closed"
WAITING: Final = "waits for another record of its chain"
EXCLUDED: Final = "excluded by the filter"

_READY: Final = """
WITH ready AS MATERIALIZED (
  SELECT t.chain_id, t.chain_n, t.record_type, CASE WHEN {held} = 1 THEN {named} END AS named,
    CASE
      WHEN EXISTS (SELECT FROM ocsd.claim AS k WHERE k.table_name = %(table)s AND k.chain_id = t.chain_id)
        THEN %(claimed)s
      WHEN t.record_type IN (4, 5) AND coalesce(t.agent_id, '') = '' THEN %(no_agent)s
      WHEN t.attempt >= %(max_attempts)s AND t.record_type NOT IN (5, 6) THEN %(used_up)s
      WHEN coalesce(t.dial_sched_time, 0) > %(now_s)s THEN %(later)s
      WHEN {local} IS NULL THEN %(no_zone)s
      WHEN {local} = %(shut)s THEN %(shut_hours)s
      WHEN NOT {open} THEN %(closed)s
    END AS reason
  FROM {table} AS t WHERE {ready} AND {criteria}
), judged AS (
  SELECT r.chain_id, r.record_type = ANY(%(types)s::int[]) AS anybody,
    coalesce(r.reason, CASE WHEN n.chain_id IS NOT NULL THEN %(waiting)s END) AS reason
  FROM ready AS r LEFT JOIN (SELECT chain_id, chain_n FROM ready) AS n
    ON n.chain_id = r.chain_id AND n.chain_n = r.named
)
SELECT GROUPING(j.reason) = 1 AS total, j.reason, count(*), count(DISTINCT j.chain_id) FILTER (WHERE j.anybody),
  count(DISTINCT j.chain_id) FILTER (WHERE j.anybody AND j.reason IS NULL)
FROM judged AS j GROUP BY GROUPING SETS ((), (j.reason))
"""
"""Of the rows that are Ready: how many each gate holds back (the first of gates.why_not_dialable), chains in all."""


def stats(conn: psycopg.Connection[Any], config: Configuration, calling_list: CallingList, now: datetime) -> ListCounts:
    """
    Count the rows that the list's filter admits; ``now`` (aware) decides which windows are open.

    Raises ConfigError when the filter does not work. Reads only, unless the reader still lacks its right to the table.
    """
    table = table_of(config, calling_list)
    if conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
        let_read(conn, table)
    dialing_filter = config.filter(calling_list.filter) if calling_list.filter else None
    criteria = criteria_of(dialing_filter)
    figures = parameters(config, calling_list, now) | {
        "types": [int(record_type) for record_type in TYPE_ORDER],
        "claimed": CLAIMED,
        "no_agent": NO_AGENT,
        "used_up": USED_UP,
        "later": LATER,
        "no_zone": NO_ZONE,
        "shut": SHUT,
        "shut_hours": SHUT_HOURS,
        "closed": CLOSED,
        "waiting": WAITING,
    }
    name = sql.Identifier(table)
    by_status: dict[tuple[int, int], int] = {}
    by_result: dict[int, int] = {}
    by_reason: dict[str, int] = {}
    ready_chains = ready_in_window = 0
    try:
        with reading(conn, table):
            preflight(conn, selection_of(config, calling_list), calling_list)
            for status, kind, result, count in conn.execute(
                sql.SQL(
                    "SELECT t.record_status, t.record_type, t.call_result, count(*) FROM {} AS t WHERE {}"
                    " GROUP BY 1, 2, 3"
                ).format(name, criteria),
                figures,
            ):
                by_status[status, kind] = by_status.get((status, kind), 0) + count
                by_result[result] = by_result.get(result, 0) + count
            statement = sql.SQL(_READY).format(
                table=name,
                held=held_expression("t"),
                named=named_expression("t"),
                local=local_second("t"),
                open=window_open("t"),
                ready=ready_to_dial("t"),
                criteria=criteria,
            )
            for total, reason, rows, chains, dialable in conn.execute(statement, figures):
                if total:
                    ready_chains, ready_in_window = chains, dialable
                elif reason is not None:
                    by_reason[reason] = rows
            if dialing_filter is not None:
                row = conn.execute(
                    sql.SQL("SELECT count(*) FROM {} AS t WHERE {} AND {} IS NOT TRUE").format(
                        name, ready_to_dial("t"), criteria
                    ),
                    figures,
                ).fetchone()
                by_reason |= {EXCLUDED: row[0]} if row is not None and row[0] else {}
    except (psycopg.ProgrammingError, psycopg.DataError, psycopg.errors.ReadOnlySqlTransaction) as error:
        raise refused(calling_list, "counted", error) from error
    return ListCounts(by_status, by_result, ready_chains, ready_in_window, by_reason | by_combination(by_status))


def by_combination(by_status_and_type: Mapping[tuple[int, int], int]) -> dict[str, int]:
    """Rows held back by their status and type alone, by reason."""
    found: dict[str, int] = {}
    for (status, kind), count in by_status_and_type.items():
        if kind not in STATUS_TYPES.get(status, frozenset()):
            reason = WRONG_COMBINATION
        elif kind == RecordType.NO_CALL:
            reason = NO_CALL
        elif status == RecordStatus.RETRIEVED:
            reason = RETRIEVED
        else:
            continue
        found[reason] = found.get(reason, 0) + count
    return found
