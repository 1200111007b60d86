"""Figures of one calling list (`ocsd list stats`, supervisors): one pass over its rows, so not for every second."""

from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql

from ocsd.config.objects import CallingList, Configuration
from ocsd.lists.selection import criteria_of, parameters, selection_of
from ocsd.lists.store import ListCounts
from ocsd.lists.tables import table_of


def stats(conn: psycopg.Connection[Any], config: Configuration, calling_list: CallingList, now: datetime) -> ListCounts:
    """Count the rows that the list's filter admits; ``now`` (aware) decides which windows are open."""
    dialing_filter = config.filter(calling_list.filter) if calling_list.filter else None
    figures = parameters(config, calling_list, now)
    by_status: dict[tuple[int, int], int] = {}
    by_result: dict[int, int] = {}
    with conn.transaction():
        for status, kind, result, count in conn.execute(
            sql.SQL(
                "SELECT t.record_status, t.record_type, t.call_result, count(*) FROM {} AS t WHERE {} GROUP BY 1, 2, 3"
            ).format(sql.Identifier(table_of(config, calling_list)), criteria_of(dialing_filter)),
            figures,
        ):
            by_status[status, kind] = by_status.get((status, kind), 0) + count
            by_result[result] = by_result.get(result, 0) + count
        ready = conn.execute(selection_of(config, calling_list).ready, figures).fetchone()
    assert ready is not None
    return ListCounts(by_status, by_result, ready[0], ready[1])
