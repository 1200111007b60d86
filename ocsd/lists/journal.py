"""Attempts, claims and results in SQL: synchronous functions that run inside one transaction of their caller."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import psycopg
import structlog
from psycopg import sql

from ocsd.lists.store import ClaimLost
from ocsd.model.records import AttemptTimes, FinishedAttempt, NewAttempt, OpenAttempt

log = structlog.get_logger(__name__)

Connection = psycopg.Connection[Any]

ATTEMPT_COLUMNS: Final = (
    "attempt_id", "guid", "list_dbid", "record_id", "chain_id", "campaign_dbid", "campaign_group_dbid", "phone",
    "leg_id", "started_at",
)  # fmt: skip
OPEN_COLUMNS: Final = (
    *ATTEMPT_COLUMNS, "answered_at", "connected_at", "agent_id", "desktop_result", "desktop_updates",
)  # fmt: skip
TIME_COLUMNS: Final = tuple(AttemptTimes.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class Mark:
    """An answer (``agent_id`` None) or a connection of an attempt under way."""

    attempt_id: int
    at: datetime
    agent_id: str | None


# -- attempts --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Correction:
    """What a desktop has set in a record that is still open."""

    attempt_id: int
    call_result: int | None
    updates: Mapping[str, object]


def insert_attempts(
    conn: Connection, owner: str, tables: Mapping[int, str], attempts: Sequence[NewAttempt]
) -> set[int]:
    """
    Insert attempts whose chain is claimed by ``owner`` and return the ids that are now in the journal.

    An id that is there already counts as inserted (a repeated call). ``tables``: table name by list DBID.
    """
    columns = [[getattr(attempt, name) for attempt in attempts] for name in ATTEMPT_COLUMNS]
    written = {
        row[0]
        for row in conn.execute(
            # FOR SHARE: whoever wants to take over this claim waits until the attempt can be seen.
            """
            WITH held AS (
              SELECT n.* , k.table_name FROM unnest(
                %s::bigint[], %s::text[], %s::int[], %s::int[], %s::int[], %s::int[], %s::int[], %s::text[],
                %s::text[], %s::timestamptz[], %s::text[]
              ) AS n (attempt_id, guid, list_dbid, record_id, chain_id, campaign_dbid, campaign_group_dbid, phone,
                leg_id, started_at, wanted_table)
              JOIN ocsd.claim AS k
                ON k.table_name = n.wanted_table AND k.chain_id = n.chain_id AND k.owner = %s
              ORDER BY k.table_name, k.chain_id FOR SHARE OF k
            )
            INSERT INTO ocsd.attempt (attempt_id, guid, owner, table_name, list_dbid, record_id, chain_id,
              campaign_dbid, campaign_group_dbid, phone, leg_id, started_at)
            SELECT attempt_id, guid, %s, table_name, list_dbid, record_id, chain_id,
              campaign_dbid, campaign_group_dbid, phone, leg_id, started_at FROM held
            ON CONFLICT (attempt_id) DO NOTHING RETURNING attempt_id
            """,
            [*columns, [tables[attempt.list_dbid] for attempt in attempts], owner, owner],
        )
    }
    missing = [attempt.attempt_id for attempt in attempts if attempt.attempt_id not in written]
    if missing:
        written |= {
            row[0]
            for row in conn.execute(
                "SELECT attempt_id FROM ocsd.attempt WHERE attempt_id = ANY(%s) AND owner = %s AND finished_at IS NULL",
                (missing, owner),
            )
        }
    return written


def insert_attempt_groups(
    conn: Connection, owner: str, tables: Mapping[int, str], groups: Sequence[Sequence[NewAttempt]]
) -> list[ClaimLost | None]:
    """Insert the attempts of several callers; a caller that has lost a claim gets ClaimLost and none of its rows."""
    written = insert_attempts(conn, owner, tables, [attempt for group in groups for attempt in group])
    results: list[ClaimLost | None] = []
    unwanted: list[int] = []
    for group in groups:
        lost = sorted({attempt.chain_id for attempt in group if attempt.attempt_id not in written})
        results.append(ClaimLost(f"chains {lost} are not claimed by {owner}") if lost else None)
        if lost:
            unwanted += [attempt.attempt_id for attempt in group]
    if unwanted:
        conn.execute("DELETE FROM ocsd.attempt WHERE attempt_id = ANY(%s) AND finished_at IS NULL", (unwanted,))
    return results


def open_attempts(conn: Connection) -> list[OpenAttempt]:
    rows = conn.execute(
        sql.SQL("SELECT {} FROM ocsd.attempt WHERE finished_at IS NULL ORDER BY attempt_id").format(
            sql.SQL(", ").join(map(sql.Identifier, OPEN_COLUMNS))
        )
    )
    found = [dict(zip(OPEN_COLUMNS, row, strict=True)) for row in rows]
    return [OpenAttempt(**attempt | {"desktop_updates": attempt["desktop_updates"] or {}}) for attempt in found]


# -- results ---------------------------------------------------------------------------------------------------------


def write_results(conn: Connection, items: Sequence[Mark | Correction | FinishedAttempt]) -> list[bool]:
    """Write marks, corrections, then results in the order given; True per item, False for a result already there."""
    done: set[int] = set()
    _write_marks(conn, [item for item in items if isinstance(item, Mark)])
    _write_corrections(conn, [item for item in items if isinstance(item, Correction)])
    finished = [(place, item) for place, item in enumerate(items) if isinstance(item, FinishedAttempt)]
    for wave in _waves(finished):
        ended = _end_attempts(conn, [item for _, item in wave])
        done.update(place for place, item in wave if item.attempt_id in ended)
        by_table: dict[str, list[tuple[FinishedAttempt, int, int]]] = defaultdict(list)
        for _, item in wave:
            if (attempt := ended.get(item.attempt_id)) is not None:
                table, campaign_dbid, dialed_s = attempt
                by_table[table].append((item, campaign_dbid, dialed_s))
        for table, rows in by_table.items():
            _update_records(conn, table, rows)
            _settle_siblings(conn, table, [item for item, _, _ in rows])
            _update_user_fields(conn, table, [item for item, _, _ in rows])
    return [not isinstance(item, FinishedAttempt) or place in done for place, item in enumerate(items)]


def _waves(
    items: Iterable[tuple[int, FinishedAttempt]],
) -> list[list[tuple[int, FinishedAttempt]]]:
    """Split so that no chain stands twice in one wave: UPDATE ... FROM would apply only one of two."""
    waves: list[list[tuple[int, FinishedAttempt]]] = []
    depth: dict[object, int] = {}
    for place, item in items:
        keys = (("chain", item.list_dbid, item.chain_id), ("attempt", item.attempt_id))
        wave = max(depth.get(key, 0) for key in keys)
        for key in keys:
            depth[key] = wave + 1
        if wave == len(waves):
            waves.append([])
        waves[wave].append((place, item))
    return waves


def _write_marks(conn: Connection, marks: Sequence[Mark]) -> None:
    for column, chosen in (
        ("answered_at", [mark for mark in marks if mark.agent_id is None]),
        ("connected_at", [mark for mark in marks if mark.agent_id is not None]),
    ):
        if chosen:
            conn.execute(
                sql.SQL(
                    "UPDATE ocsd.attempt AS a SET {column} = m.at, agent_id = coalesce(m.agent_id, a.agent_id)"
                    " FROM unnest(%s::bigint[], %s::timestamptz[], %s::text[]) AS m (attempt_id, at, agent_id)"
                    " WHERE a.attempt_id = m.attempt_id AND a.finished_at IS NULL"
                ).format(column=sql.Identifier(column)),
                ([m.attempt_id for m in chosen], [m.at for m in chosen], [m.agent_id for m in chosen]),
            )


def _write_corrections(conn: Connection, corrections: Sequence[Correction]) -> None:
    # One by one: UPDATE ... FROM would apply only one of several to the same attempt, and people type slowly.
    for correction in corrections:
        conn.execute(
            "UPDATE ocsd.attempt SET desktop_result = coalesce(%s, desktop_result),"
            " desktop_updates = coalesce(desktop_updates, '{}') || %s::jsonb"
            " WHERE attempt_id = %s AND finished_at IS NULL",
            (correction.call_result, json.dumps(dict(correction.updates), default=str), correction.attempt_id),
        )


_END_COLUMNS: Final = (
    ("finished_at", "timestamptz"), ("call_result", "int"), ("sip_status", "int"), ("q850_cause", "int"), ("cpa_verdict", "text"), ("switch_dbid", "int"),
    ("interrupted", "boolean"),
)  # fmt: skip

_END: Final = sql.SQL(
    """
    UPDATE ocsd.attempt AS a SET {set}, record_status = f.record_status, record_type = f.record_type, counted = f.counted, evidence = f.evidence::jsonb,
      agent_id = coalesce(f.agent_id, a.agent_id), {times}
    FROM unnest(%s::bigint[], {types}, %s::int[], %s::int[], %s::boolean[], %s::text[], %s::text[], {time_types})
      AS f (attempt_id, {names}, record_status, record_type, counted, evidence, agent_id, {time_names})
    WHERE a.attempt_id = f.attempt_id AND a.finished_at IS NULL
    RETURNING a.attempt_id, a.table_name, a.campaign_dbid, extract(epoch FROM coalesce(a.dialing_at, a.started_at))::int
    """
).format(
    set=sql.SQL(", ").join(sql.SQL("{0} = f.{0}").format(sql.Identifier(name)) for name, _ in _END_COLUMNS),
    times=sql.SQL(", ").join(sql.SQL("{0} = coalesce(f.{0}, a.{0})").format(sql.Identifier(n)) for n in TIME_COLUMNS),
    types=sql.SQL(", ").join(sql.SQL(f"%s::{kind}[]") for _, kind in _END_COLUMNS),
    time_types=sql.SQL(", ").join(sql.SQL("%s::timestamptz[]") for _ in TIME_COLUMNS),
    names=sql.SQL(", ").join(sql.Identifier(name) for name, _ in _END_COLUMNS),
    time_names=sql.SQL(", ").join(map(sql.Identifier, TIME_COLUMNS)),
)


def _end_attempts(conn: Connection, items: Sequence[FinishedAttempt]) -> dict[int, tuple[str, int, int]]:
    """End the attempts that are open; returns table, campaign DBID and dial time (UTC seconds) of those, by id."""
    rows = conn.execute(
        _END,
        [
            [item.attempt_id for item in items],
            *([_plain(getattr(item, name)) for item in items] for name, _ in _END_COLUMNS),
            [int(item.change.record_status) for item in items],
            [int(item.change.record_type) for item in items],
            [item.count_attempt for item in items],
            [_json(item.evidence) for item in items],
            [item.agent_id for item in items],
            *([getattr(item.times, name) for item in items] for name in TIME_COLUMNS),
        ],
    )
    return {row[0]: (row[1], row[2], row[3]) for row in rows}


def _update_records(conn: Connection, table: str, rows: Sequence[tuple[FinishedAttempt, int, int]]) -> None:
    # An attempt that never left us (no port) does not count as processing the record.
    conn.execute(
        sql.SQL(
            """
            UPDATE {table} AS t SET record_status = f.record_status, record_type = f.record_type,
              call_result = f.call_result, dial_sched_time = f.dial_sched_time, campaign_id = f.campaign_id,
              attempt = t.attempt + f.counted::int,
              call_time = CASE WHEN f.counted THEN f.dialed_s ELSE t.call_time END,
              agent_id = coalesce(f.agent_id, t.agent_id), switch_id = coalesce(f.switch_id, t.switch_id),
              treatments = coalesce(f.treatments, t.treatments)
            FROM unnest(%s::int[], %s::int[], %s::int[], %s::int[], %s::int[], %s::int[], %s::boolean[], %s::int[],
                %s::text[], %s::int[], %s::text[])
              AS f (record_id, record_status, record_type, call_result, dial_sched_time, campaign_id, counted, dialed_s,
                agent_id, switch_id, treatments)
            WHERE t.record_id = f.record_id
            """
        ).format(table=sql.Identifier(table)),
        (
            [item.record_id for item, _, _ in rows],
            [int(item.change.record_status) for item, _, _ in rows],
            [int(item.change.record_type) for item, _, _ in rows],
            [int(item.call_result) for item, _, _ in rows],
            [item.change.dial_sched_time for item, _, _ in rows],
            [campaign_dbid for _, campaign_dbid, _ in rows],
            [item.count_attempt for item, _, _ in rows],
            [dialed_s for _, _, dialed_s in rows],
            [item.agent_id for item, _, _ in rows],
            [item.switch_dbid for item, _, _ in rows],
            [item.change.treatments for item, _, _ in rows],
        ),
    )


def _settle_siblings(conn: Connection, table: str, items: Sequence[FinishedAttempt]) -> None:
    """Give the other claimed rows of finished chains their status and end the claims."""
    ended = [item for item in items if not item.change.keep_claim]
    if not ended:
        return
    chains = [item.chain_id for item in ended]
    conn.execute(
        sql.SQL(
            """
            UPDATE {table} AS t SET record_status = f.record_status,
              call_result = coalesce(f.call_result, t.call_result)
            FROM unnest(%s::int[], %s::int[], %s::int[], %s::int[])
              AS f (chain_id, record_id, record_status, call_result)
            WHERE t.chain_id = f.chain_id AND t.record_id <> f.record_id AND t.record_status = 2
            """
        ).format(table=sql.Identifier(table)),
        (
            chains,
            [item.record_id for item in ended],
            [int(item.change.sibling_status) for item in ended],
            [_plain(item.change.sibling_result) for item in ended],
        ),
    )
    conn.execute("DELETE FROM ocsd.claim WHERE table_name = %s AND chain_id = ANY(%s)", (table, chains))


def _update_user_fields(conn: Connection, table: str, items: Sequence[FinishedAttempt]) -> None:
    for item in items:
        if not item.updates:
            continue
        try:
            with conn.transaction():
                conn.execute(
                    sql.SQL("UPDATE {} SET {} WHERE record_id = %s").format(
                        sql.Identifier(table),
                        sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in item.updates),
                    ),
                    [*item.updates.values(), item.record_id],
                )
        except (psycopg.DataError, psycopg.ProgrammingError) as error:
            # They were validated before; still, no field of a desktop may keep the result of a call from the disk.
            log.error("record.update_refused", record_id=item.record_id, columns=[*item.updates], reason=str(error))


def _plain(value: Any) -> Any:
    """Enums of the manual as plain integers; psycopg would send their names."""
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _json(evidence: Mapping[str, object]) -> str | None:
    if not evidence:
        return None
    # JSON has no NaN; a figure that could not be computed is null.
    text = json.dumps(evidence, default=str)
    return json.dumps(json.loads(text, parse_constant=lambda _: None)) if "NaN" in text or "Infinity" in text else text


# -- claims ----------------------------------------------------------------------------------------------------------

_WITHOUT_ATTEMPT: Final = (
    " AND NOT EXISTS (SELECT FROM ocsd.attempt AS a"
    " WHERE a.table_name = k.table_name AND a.chain_id = k.chain_id AND a.finished_at IS NULL)"
)


def _release(conn: Connection, chosen: sql.Composable, params: Sequence[Any]) -> int:
    """Make the rows of the claims that fit ``chosen`` Ready again, unless an attempt is open; returns how many."""
    # Two statements: the locks come first, so that the second one's snapshot sees attempts committed meanwhile.
    locked = conn.execute(
        sql.SQL("SELECT k.table_name, k.chain_id FROM ocsd.claim AS k WHERE {} ORDER BY 1, 2 FOR UPDATE").format(
            chosen
        ),
        params,
    ).fetchall()
    by_table: dict[str, list[int]] = defaultdict(list)
    for table, chain_id in locked:
        by_table[table].append(chain_id)
    released = 0
    for table, chains in by_table.items():
        freed = [
            row[0]
            for row in conn.execute(
                sql.SQL(
                    "DELETE FROM ocsd.claim AS k"
                    " WHERE k.table_name = %s AND k.chain_id = ANY(%s){} RETURNING k.chain_id"
                ).format(sql.SQL(_WITHOUT_ATTEMPT)),
                (table, chains),
            )
        ]
        released += len(freed)
        if freed and conn.execute("SELECT to_regclass(%s)", (f'"{table}"',)).fetchone() != (None,):
            conn.execute(
                sql.SQL("UPDATE {} SET record_status = 1 WHERE chain_id = ANY(%s) AND record_status = 2").format(
                    sql.Identifier(table)
                ),
                (freed,),
            )
    return released


def give_back(conn: Connection, owner: str, chains: Mapping[str, Sequence[int]]) -> int:
    """``chains``: chain ids by table; those not claimed by ``owner`` or with an open attempt are left alone."""
    return sum(
        _release(
            conn,
            sql.SQL("k.owner = %s AND k.table_name = %s AND k.chain_id = ANY(%s)"),
            (owner, table, list(chain_ids)),
        )
        for table, chain_ids in chains.items()
    )


def give_back_batches(conn: Connection, owner: str, batches: Sequence[UUID]) -> int:
    """Undo claim calls whose outcome was lost."""
    return _release(conn, sql.SQL("k.owner = %s AND k.batch = ANY(%s)"), (owner, list(batches)))


def give_back_all(conn: Connection, owner: str) -> int:
    return _release(conn, sql.SQL("k.owner = %s"), (owner,))


def recover(conn: Connection, owner: str, node: str, lease_s: float) -> int:
    """
    Give back the chains of dead owners (earlier runs on ``node``, expired leases) and return how many.

    Claims of this node's earlier runs with an open attempt pass to ``owner``, who adopts or settles the attempt.
    """
    dead = sql.SQL(
        "k.owner <> %s AND (k.lease_until < now()"
        " OR EXISTS (SELECT FROM ocsd.instance AS i WHERE i.owner = k.owner AND i.node = %s))"
    )
    released = _release(conn, dead, (owner, node))
    conn.execute(
        "UPDATE ocsd.claim AS k SET owner = %s, lease_until = now() + make_interval(secs => %s)"
        " FROM ocsd.instance AS i WHERE i.owner = k.owner AND i.node = %s AND k.owner <> %s",
        (owner, lease_s, node, owner),
    )
    return released


def renew_leases(conn: Connection, owner: str, lease_s: float) -> None:
    conn.execute("UPDATE ocsd.instance SET heartbeat_at = now() WHERE owner = %s", (owner,))
    conn.execute(
        "UPDATE ocsd.claim SET lease_until = now() + make_interval(secs => %s) WHERE owner = %s", (lease_s, owner)
    )
