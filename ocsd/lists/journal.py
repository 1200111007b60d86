"""The journal in SQL: attempts, results, decisions without a call. Functions run in one transaction of their caller.

A batch is written in the order in which it was handed in, as far as one chain is concerned; all else of it together.
Locks are taken in one order by everybody: attempts, claims (ascending), rows, as `chains` says.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg import sql

from ocsd.lists import abandonment, outbox
from ocsd.lists.arrays import array, int_array
from ocsd.lists.caps import Caps, call_of, lock_called, past_calls
from ocsd.lists.chains import Writing, change_chains, lock_claims
from ocsd.lists.jsontext import json_text
from ocsd.lists.outbox import Posted
from ocsd.lists.statements import run_statements
from ocsd.lists.store import ClaimLost
from ocsd.model.enums import RecordStatus, RecordType
from ocsd.model.records import (
    AttemptTimes,
    ChainSettlement,
    FinishedAttempt,
    NewAttempt,
    OpenAttempt,
    PersonFound,
    Refusal,
    Statement,
)

Connection = psycopg.Connection[Any]

ATTEMPT_COLUMNS: Final = (
    ("attempt_id", "bigint"), ("guid", "text"), ("list_dbid", "int"), ("record_id", "int"), ("chain_id", "int"),
    ("campaign_dbid", "int"), ("campaign_group_dbid", "int"), ("phone", "text"), ("leg_id", "text"),
    ("started_at", "timestamptz"), ("customer_id", "text"), ("subject", "text"),
    ("switch_dbid", "int"), ("caller_id", "text"),
)  # fmt: skip
OPEN_COLUMNS: Final = (
    "attempt_id", "guid", "list_dbid", "record_id", "chain_id", "campaign_dbid", "campaign_group_dbid", "phone",
    "leg_id", "started_at", "answered_at", "connected_at", "agent_id", "desktop_result", "desktop_updates",
    "desktop_asks", "switch_dbid", "caller_id",
)  # fmt: skip
TIME_COLUMNS: Final = tuple(AttemptTimes.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class Mark:
    """An answer (``agent_id`` None) or a connection of an attempt under way."""

    attempt_id: int
    at: datetime
    agent_id: str | None


@dataclass(frozen=True, slots=True)
class Correction:
    """What a desktop has set in a record that is still open."""

    attempt_id: int
    call_result: int | None
    updates: Mapping[str, object]
    asks: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Decided:
    """A settlement on its way to the disk; the key makes sure that it is made once, however often it is written."""

    key: UUID
    table: str
    settlement: ChainSettlement
    decided_at: datetime


Item = Mark | Correction | FinishedAttempt | Decided
Ending = FinishedAttempt | Decided


# -- attempts --------------------------------------------------------------------------------------------------------


def insert_attempt_groups(
    conn: Connection,
    owner: str,
    tables: Mapping[int, str],
    groups: Sequence[Sequence[NewAttempt]],
    caps: Caps,
) -> list[ClaimLost | dict[int, Refusal]]:
    """
    Insert the attempts of several callers, whose chains ``owner`` must have claimed.

    A caller that has lost a claim gets ClaimLost and none of its rows; the others get what is refused, by attempt id:
    by a cap, or because the record was cancelled or marked NoCall. An id that is in the journal already counts as
    inserted (a repeated call). ``tables``: table name by list DBID.
    """
    wanted = [attempt for group in groups for attempt in group]
    lock_called(conn, caps, [call_of(attempt) for attempt in wanted])
    known = _known(conn, owner, wanted)
    held = _held(conn, owner, tables, wanted)
    new = [attempt for attempt in wanted if attempt.attempt_id not in known]
    lost = {
        attempt.attempt_id
        for attempt in wanted
        if not known.get(attempt.attempt_id, (tables[attempt.list_dbid], attempt.chain_id) in held)
    }
    answers: list[ClaimLost | dict[int, Refusal]] = []
    unwanted: set[int] = set()
    for group in groups:
        chains = sorted({attempt.chain_id for attempt in group if attempt.attempt_id in lost})
        if chains:
            answers.append(ClaimLost(f"chains {chains} are not claimed by {owner}"))
            unwanted.update(attempt.attempt_id for attempt in group)
        else:
            answers.append({})
    new = [attempt for attempt in new if attempt.attempt_id not in unwanted]
    refused = _withdrawn(conn, tables, new)
    refused |= _capped(conn, caps, [attempt for attempt in new if attempt.attempt_id not in refused])
    _insert(conn, owner, tables, [attempt for attempt in new if attempt.attempt_id not in refused])
    if repeated := [attempt_id for attempt_id in unwanted if attempt_id in known]:
        conn.execute("DELETE FROM ocsd.attempt WHERE attempt_id = ANY(%s) AND finished_at IS NULL", (repeated,))
    for group, answer in zip(groups, answers, strict=True):
        if not isinstance(answer, ClaimLost):
            answer.update((a.attempt_id, refused[a.attempt_id]) for a in group if a.attempt_id in refused)
    return answers


def _known(conn: Connection, owner: str, attempts: Sequence[NewAttempt]) -> dict[int, bool]:
    """Attempts that are in the journal already; True for those that are open and ours."""
    return {
        row[0]: row[1]
        for row in conn.execute(
            "SELECT attempt_id, owner = %s AND finished_at IS NULL FROM ocsd.attempt"
            " WHERE attempt_id = ANY(%s::bigint[])",
            (owner, int_array(attempt.attempt_id for attempt in attempts)),
        )
    }


def _held(
    conn: Connection, owner: str, tables: Mapping[int, str], attempts: Sequence[NewAttempt]
) -> set[tuple[str, int]]:
    """Our claims on the chains, kept until the end of the transaction."""
    # FOR SHARE: whoever wants to take over such a claim waits until the attempt can be seen.
    return {
        (row[0], row[1])
        for row in conn.execute(
            "SELECT k.table_name, k.chain_id FROM ocsd.claim AS k"
            " WHERE (k.table_name, k.chain_id) IN (SELECT * FROM unnest(%s::text[], %s::int[])) AND k.owner = %s"
            " ORDER BY 1, 2 FOR SHARE OF k",
            (
                array(tables[attempt.list_dbid] for attempt in attempts),
                int_array(attempt.chain_id for attempt in attempts),
                owner,
            ),
        )
    }


def _withdrawn(conn: Connection, tables: Mapping[int, str], attempts: Sequence[NewAttempt]) -> dict[int, Refusal]:
    """Attempts on rows that are not to be dialed any more: whatever the caller knows, the table decides."""
    by_table: dict[str, list[NewAttempt]] = defaultdict(list)
    for attempt in attempts:
        by_table[tables[attempt.list_dbid]].append(attempt)
    refused: dict[int, Refusal] = {}
    for table, chosen in by_table.items():
        state = {
            row[0]: (row[1], row[2])
            for row in conn.execute(_states(table), (int_array(attempt.record_id for attempt in chosen),))
        }
        for attempt in chosen:
            status, record_type = state.get(attempt.record_id, (None, None))
            if status != RecordStatus.RETRIEVED or record_type == RecordType.NO_CALL:
                refused[attempt.attempt_id] = not_live(status, record_type)
    return refused


@cache
def _states(table: str) -> bytes:
    return (
        sql.SQL("SELECT record_id, record_status, record_type FROM {} WHERE record_id = ANY(%s::int[])")
        .format(sql.Identifier(table))
        .as_bytes(None)
    )


def not_live(status: int | None, record_type: int | None) -> Refusal:
    """Why a row of a claimed chain is not dialed any more."""
    if status is None or record_type is None:
        return Refusal("record is gone from its table")
    return Refusal(f"record was withdrawn: status {status}, type {record_type}")


def _capped(conn: Connection, caps: Caps, attempts: Sequence[NewAttempt]) -> dict[int, Refusal]:
    calls = [call_of(attempt) for attempt in attempts]
    history = past_calls(conn, caps, calls)
    refused: dict[int, Refusal] = {}
    for call in calls:
        if (found := history.refusal(call)) is not None:
            refused[call.attempt_id] = found
        else:
            history.add(call)  # the next one of this batch must count it
    return refused


def _insert(conn: Connection, owner: str, tables: Mapping[int, str], attempts: Sequence[NewAttempt]) -> None:
    if not attempts:
        return
    columns = [array(getattr(attempt, name) for attempt in attempts) for name, _ in ATTEMPT_COLUMNS]
    named = array(tables[attempt.list_dbid] for attempt in attempts)
    conn.execute(_INSERT, [*columns, named, array([owner] * len(attempts))])


_INSERT: Final = (
    sql.SQL(
        "INSERT INTO ocsd.attempt ({names}, table_name, owner)"
        " SELECT * FROM unnest({types}, %s::text[], %s::text[]) ON CONFLICT (attempt_id) DO NOTHING"
    )
    .format(
        names=sql.SQL(", ").join(sql.Identifier(name) for name, _ in ATTEMPT_COLUMNS),
        types=sql.SQL(", ").join(sql.SQL(f"%s::{kind}[]") for _, kind in ATTEMPT_COLUMNS),
    )
    .as_bytes(None)
)


def open_attempts(conn: Connection) -> list[OpenAttempt]:
    rows = conn.execute(
        sql.SQL("SELECT {} FROM ocsd.attempt WHERE finished_at IS NULL ORDER BY attempt_id").format(
            sql.SQL(", ").join(map(sql.Identifier, OPEN_COLUMNS))
        )
    )
    found = [dict(zip(OPEN_COLUMNS, row, strict=True)) for row in rows]
    return [
        OpenAttempt(**attempt | {name: attempt[name] or {} for name in ("desktop_updates", "desktop_asks")})
        for attempt in found
    ]


def caller_ids_used(conn: Connection, since: datetime, most: int) -> dict[str, list[datetime]]:
    """See `ListStore.caller_ids_used`."""
    rows = conn.execute(
        "SELECT caller_id, array_agg(started_at ORDER BY started_at) FROM ("
        "SELECT caller_id, started_at, row_number() OVER (PARTITION BY caller_id ORDER BY started_at DESC) AS place"
        " FROM ocsd.attempt WHERE started_at > %s AND caller_id IS NOT NULL) AS used"
        " WHERE place <= %s GROUP BY caller_id",
        (since, most),
    )
    return {caller_id: list(started) for caller_id, started in rows}


# -- results and decisions -------------------------------------------------------------------------------------------


def write_results(conn: Connection, owner: str, items: Sequence[Item]) -> list[bool]:
    """
    Write marks, corrections, then results and decisions in the order given.

    True per item; False for a result that is there already, and for a decision on a chain that ``owner`` has not
    claimed or that has an open attempt.
    """
    done: set[int] = set()
    people: list[tuple[int, PersonFound]] = []
    _write_marks(conn, [item for item in items if isinstance(item, Mark)])
    _write_corrections(conn, [item for item in items if isinstance(item, Correction)])
    for wave in _waves(
        (place, item) for place, item in enumerate(items) if isinstance(item, FinishedAttempt | Decided)
    ):
        done.update(_write_wave(conn, owner, wave, people))
    abandonment.add(conn, owner, people)
    return [not isinstance(item, FinishedAttempt | Decided) or place in done for place, item in enumerate(items)]


Places = Sequence[tuple[int, Ending]]


def _waves(items: Iterable[tuple[int, Ending]]) -> list[list[tuple[int, Ending]]]:
    """Split so that no chain stands twice in one wave: UPDATE ... FROM would apply only one of two."""
    waves: list[list[tuple[int, Ending]]] = []
    depth: dict[object, int] = {}
    for place, item in items:
        keys: tuple[object, ...]
        if isinstance(item, FinishedAttempt):
            keys = ((item.list_dbid, item.chain_id), item.attempt_id)
        else:
            keys = ((item.settlement.list_dbid, item.settlement.chain_id), item.key)
        wave = max(depth.get(key, 0) for key in keys)
        for key in keys:
            depth[key] = wave + 1
        if wave == len(waves):
            waves.append([])
        waves[wave].append((place, item))
    return waves


def _write_wave(conn: Connection, owner: str, wave: Places, people: list[tuple[int, PersonFound]]) -> set[int]:
    """Places of the items that are written, now or by an earlier call; ``people`` of calls that end now are added."""
    results = [(place, item) for place, item in wave if isinstance(item, FinishedAttempt)]
    decisions = [(place, item) for place, item in wave if isinstance(item, Decided)]
    ended = _end_attempts(conn, [item for _, item in results])
    by_table: dict[str, list[tuple[int, Ending, Writing]]] = defaultdict(list)
    for place, item in results:
        if (attempt := ended.get(item.attempt_id)) is not None:
            people += [] if item.person is None else [(attempt.campaign_dbid, item.person)]
            by_table[attempt.table].append((place, item, _writing_of_result(item, attempt)))
    for place, decided in decisions:
        by_table[decided.table].append((place, decided, _writing_of_decision(decided.settlement)))
    done: set[int] = set()
    written: list[tuple[int, Ending]] = []
    for table in sorted(by_table):
        chosen = by_table[table]
        claims = lock_claims(conn, table, [writing.chain_id for _, _, writing in chosen])
        owners = {chain_id: claim.owner for chain_id, claim in claims.items()}
        allowed, repeated = _decidable(
            conn, owner, owners, [(place, item) for place, item, _ in chosen if isinstance(item, Decided)]
        )
        chosen = [entry for entry in chosen if isinstance(entry[1], FinishedAttempt) or entry[0] in allowed]
        change_chains(conn, table, [_ours(writing, owners, owner) for _, _, writing in chosen], claims)
        done.update(repeated)
        written += [(place, item) for place, item, _ in chosen]
    written.sort(key=lambda entry: entry[0])
    _write_decisions(conn, owner, [item for _, item in written if isinstance(item, Decided)])
    outbox.insert(conn, [posted for _, item in written for posted in _posted(item)])
    run_statements(conn, [statement for _, item in written for statement in _statements(item)])
    done.update(place for place, _ in written)
    return done


def _ours(writing: Writing, owners: Mapping[int, str], owner: str) -> Writing:
    """Nobody keeps a claim that another daemon has taken over: it would wait for an attempt that has ended."""
    if writing.change.keep_claim and owners.get(writing.chain_id) != owner:
        return replace(writing, change=replace(writing.change, keep_claim=False))
    return writing


def _decidable(conn: Connection, owner: str, owners: Mapping[int, str], decisions: Places) -> tuple[set[int], set[int]]:
    """Places of the decisions that can be made, and of those that were made by an earlier call."""
    chosen = [(place, item) for place, item in decisions if isinstance(item, Decided)]
    if not chosen:
        return set(), set()
    made = {
        row[0]
        for row in conn.execute(
            "SELECT key FROM ocsd.decision WHERE key = ANY(%s)", ([item.key for _, item in chosen],)
        )
    }
    dialed = {
        row[0]
        for row in conn.execute(
            "SELECT chain_id FROM ocsd.attempt WHERE table_name = %s AND chain_id = ANY(%s) AND finished_at IS NULL",
            (chosen[0][1].table, [item.settlement.chain_id for _, item in chosen]),
        )
    }
    allowed = {
        place
        for place, item in chosen
        if item.key not in made
        and owners.get(item.settlement.chain_id) == owner
        and item.settlement.chain_id not in dialed
    }
    return allowed, {place for place, item in chosen if item.key in made}


def _writing_of_result(item: FinishedAttempt, attempt: "_Ended") -> Writing:
    return Writing.of_result(item, campaign_dbid=attempt.campaign_dbid, dialed_s=attempt.dialed_s)


def _writing_of_decision(settlement: ChainSettlement) -> Writing:
    return Writing(
        chain_id=settlement.chain_id,
        record_id=settlement.record_id,
        change=settlement.change,
        call_result=settlement.call_result,
        agent_id=settlement.agent_id,
        updates=settlement.updates,
    )


def _statements(item: Ending) -> tuple[Statement, ...]:
    return item.statements if isinstance(item, FinishedAttempt) else item.settlement.statements


def _posted(item: Ending) -> list[Posted]:
    if isinstance(item, FinishedAttempt):
        return [Posted(request, attempt_id=item.attempt_id) for request in item.requests]
    return [Posted(request, decision_key=item.key) for request in item.settlement.requests]


def _write_decisions(conn: Connection, owner: str, decisions: Sequence[Decided]) -> None:
    if not decisions:
        return
    rows = [
        (
            decided.key, owner, decided.table, settlement.list_dbid, settlement.record_id, settlement.chain_id,
            decided.decided_at, _plain(settlement.call_result), int(settlement.change.record_status),
            int(settlement.change.record_type), settlement.change.dial_sched_time, settlement.change.treatments,
            settlement.agent_id, settlement.because, json_text(settlement.evidence) if settlement.evidence else None,
        )
        for decided in decisions
        for settlement in (decided.settlement,)
    ]  # fmt: skip
    conn.execute(
        "INSERT INTO ocsd.decision (key, owner, table_name, list_dbid, record_id, chain_id, decided_at, call_result,"
        " record_status, record_type, dial_sched_time, treatments, agent_id, because, evidence)"
        " SELECT * FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::int[], %s::int[], %s::int[], %s::timestamptz[],"
        " %s::int[], %s::int[], %s::int[], %s::int[], %s::text[], %s::text[], %s::text[], %s::jsonb[])",
        [list(column) for column in zip(*rows, strict=True)],
    )


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
            " desktop_updates = coalesce(desktop_updates, '{}') || %s::jsonb,"
            " desktop_asks = coalesce(desktop_asks, '{}') || %s::jsonb"
            " WHERE attempt_id = %s AND finished_at IS NULL",
            (
                correction.call_result,
                json_text(correction.updates),
                json_text(correction.asks),
                correction.attempt_id,
            ),
        )


_END_COLUMNS: Final = (
    ("finished_at", "timestamptz"), ("call_result", "int"), ("sip_status", "int"), ("q850_cause", "int"),
    ("cpa_verdict", "text"), ("switch_dbid", "int"), ("interrupted", "boolean"), ("treatment_dbid", "int"),
    ("because", "text"), ("verified", "boolean"), ("agent_result", "int"), ("lost_waiting_for", "text"),
)  # fmt: skip

_END: Final = (
    sql.SQL(
        """
    UPDATE ocsd.attempt AS a SET {set}, record_status = f.record_status, record_type = f.record_type,
      counted = f.counted, evidence = f.evidence::jsonb, agent_id = coalesce(f.agent_id, a.agent_id), {times}
    FROM unnest(%s::bigint[], {types}, %s::int[], %s::int[], %s::boolean[], %s::text[], %s::text[], {time_types})
      AS f (attempt_id, {names}, record_status, record_type, counted, evidence, agent_id, {time_names})
    WHERE a.attempt_id = f.attempt_id AND a.finished_at IS NULL
    RETURNING a.attempt_id, a.table_name, a.campaign_dbid, extract(epoch FROM coalesce(a.dialing_at, a.started_at))::int
    """
    )
    .format(
        set=sql.SQL(", ").join(sql.SQL("{0} = f.{0}").format(sql.Identifier(name)) for name, _ in _END_COLUMNS),
        times=sql.SQL(", ").join(
            sql.SQL("{0} = coalesce(f.{0}, a.{0})").format(sql.Identifier(n)) for n in TIME_COLUMNS
        ),
        types=sql.SQL(", ").join(sql.SQL(f"%s::{kind}[]") for _, kind in _END_COLUMNS),
        time_types=sql.SQL(", ").join(sql.SQL("%s::timestamptz[]") for _ in TIME_COLUMNS),
        names=sql.SQL(", ").join(sql.Identifier(name) for name, _ in _END_COLUMNS),
        time_names=sql.SQL(", ").join(map(sql.Identifier, TIME_COLUMNS)),
    )
    .as_bytes(None)
)


@dataclass(frozen=True, slots=True)
class _Ended:
    """What the journal knows of an attempt that has just ended; ``dialed_s``: UTC seconds."""

    table: str
    campaign_dbid: int
    dialed_s: int


def _end_attempts(conn: Connection, items: Sequence[FinishedAttempt]) -> dict[int, _Ended]:
    """End the attempts that are open, and return those, by id."""
    if not items:
        return {}
    rows = conn.execute(
        _END,
        [
            int_array(item.attempt_id for item in items),
            *(array(getattr(item, name) for item in items) for name, _ in _END_COLUMNS),
            array(item.change.record_status for item in items),
            array(item.change.record_type for item in items),
            array(item.count_attempt for item in items),
            array(json_text(item.evidence) if item.evidence else None for item in items),
            array(item.agent_id for item in items),
            *(array(getattr(item.times, name) for item in items) for name in TIME_COLUMNS),
        ],
    )
    return {row[0]: _Ended(row[1], row[2], row[3]) for row in rows}


def _plain(value: Any) -> Any:
    """Enums of the manual as plain integers; psycopg would send their names."""
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else value
