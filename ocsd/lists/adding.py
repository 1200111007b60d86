"""New rows (AddRecord), many in one transaction; functions run in one transaction of their caller.

A row of a new chain is only inserted. A row of an existing chain joins it: it takes over what the chain's live rows
share. While the chain is claimed it is Ready and noted in the claim (``added``), so that a change of the chain reaches
it too: with a callback agreed on meanwhile it waits for that time, with a chain that ends it stays to be dialed.

Locks: for a claimed chain the claim, as results do; else all rows of the chain, all or none and without ever waiting
(claims lock rows first and then the claim). A chain in somebody else's hands at that moment is answered `Busy` and
tried again a moment later, so that the others of its batch need not wait.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, Final

import psycopg
import trio
from psycopg import sql

from ocsd.config.objects import Configuration
from ocsd.lists.arrays import array, int_array
from ocsd.lists.chains import lock_claims
from ocsd.lists.pool import Database
from ocsd.lists.store import AddRefused, ChainMissing, RecordExists
from ocsd.lists.tables import columns_of, table_of
from ocsd.model.enums import RecordStatus, RecordType
from ocsd.model.errors import OcsdError, StoreUnavailable
from ocsd.model.records import AddedRecord, NewRecord

Connection = psycopg.Connection[Any]

BUSY_FIRST_S: Final = 0.01
BUSY_LAST_S: Final = 0.25
"""Pauses while a chain changes hands, doubling from first to last: it takes milliseconds."""

BUSY_LIMIT_S: Final = 5.0
"""Whoever holds a row for longer works on the table by hand."""

DOUBT_LIMIT_S: Final = 5.0
"""How long the server is asked what became of a commit whose answer was lost; past it the caller is told that nobody
knows, by StoreUnavailable."""

DOUBT_PAUSE_S: Final = 0.2

KEPT_STATEMENTS: Final = 256
"""Statements of a few kB. Of twenty custom fields a peer can name a million different sets."""

LARGEST: Final = 2**31 - 1
"""chain_n is a 32-bit integer in the manual's default format."""


@dataclass(frozen=True, slots=True)
class Busy:
    """The chain changes hands right now: it is being claimed, withdrawn, or joined by another daemon."""


Answer = AddedRecord | RecordExists | ChainMissing | AddRefused | Busy


@dataclass(frozen=True, slots=True)
class Member:
    """A row of an existing chain."""

    record_id: int
    chain_n: int
    record_status: int
    record_type: int
    dial_sched_time: int | None
    agent_id: str | None
    treatments: str | None


@dataclass(frozen=True, slots=True)
class Joined:
    """A row ready to be inserted: its place is settled, and so is what it takes over from its chain."""

    record: NewRecord
    chain_n: int
    treatments: str | None = None


def join(record: NewRecord, members: Sequence[Member]) -> Joined:
    """
    The row as a member of its chain. Pure; raises RecordExists, AddRefused.

    Only a Ready row takes over type, schedule, agent and treatment state; one that is final already stays as it is.
    """
    taken = {member.chain_n for member in members}
    chain_n = record.chain_n if record.chain_n is not None else max(taken, default=-1) + 1
    if chain_n in taken:
        raise RecordExists(f"chain {record.chain_id} has a record {chain_n}")
    if chain_n > LARGEST:
        raise AddRefused(f"chain {record.chain_id} has no place left behind its last record")
    live = [
        member
        for member in members
        if member.record_status in (RecordStatus.READY, RecordStatus.RETRIEVED)
        and member.record_type != RecordType.NO_CALL
    ]
    if not live or record.record_status is not RecordStatus.READY:
        return Joined(record, chain_n)
    # What a daemon holds says what the chain is; Ready rows beside it were left out by a filter.
    model = min(live, key=lambda member: (member.record_status != RecordStatus.RETRIEVED, member.chain_n))
    taken_over = replace(
        record,
        record_type=RecordType(model.record_type),
        dial_sched_time=model.dial_sched_time,
        agent_id=model.agent_id,
    )
    return Joined(taken_over, chain_n, model.treatments)


async def write_records(database: Database, config: Configuration, records: Sequence[NewRecord]) -> list["Answer"]:
    """
    Commit the rows that can be; an answer to each, in order. StoreUnavailable: nothing is written, as far as the server
    could be asked.
    """
    if all(record.chain_id is None for record in records):
        try:
            return await _write(database, partial(_add_chains, config=config, records=records))
        except (psycopg.Error, UnicodeError, _NotTaken):
            pass  # nothing is written; now by ways on which one row cannot spoil the others
    return await _write(database, partial(add_records, config=config, records=records))


async def _write(database: Database, add: Callable[[Connection], list["Answer"]]) -> list["Answer"]:
    done: list[tuple[str, list[Answer]]] = []

    def run(conn: Connection) -> None:
        done.clear()
        answers = add(conn)
        row = conn.execute("SELECT pg_current_xact_id()::text").fetchone()
        assert row is not None
        done.append((row[0], answers))

    try:
        await database.transaction(run)
    except StoreUnavailable:
        # Written twice, a record would be dialed twice: when the answer to the commit was lost, the server knows.
        if not done or not await _committed(database, done[0][0]):
            raise
    return done[0][1]


async def until_taken(submit: Callable[[], Awaitable["Answer"]]) -> AddedRecord:
    """Hand the row in, again while its chain changes hands; raises what it was refused with."""
    pause_s, give_up_s = BUSY_FIRST_S, trio.current_time() + BUSY_LIMIT_S
    while isinstance(answer := await submit(), Busy):  # never cut short: nobody would know whether it is written
        if trio.current_time() > give_up_s:
            locked = f"its chain has been locked for {BUSY_LIMIT_S:g} s"
            raise StoreUnavailable(locked, said=locked)
        await trio.sleep(pause_s)
        pause_s = min(2 * pause_s, BUSY_LAST_S)
    if isinstance(answer, OcsdError):
        raise answer
    return answer


async def _committed(database: Database, xid: str) -> bool:
    """False: it was rolled back; StoreUnavailable: the server cannot be asked within `DOUBT_LIMIT_S`."""
    with trio.move_on_after(DOUBT_LIMIT_S):
        while True:
            try:
                status = await database.transaction(
                    lambda conn: conn.execute("SELECT pg_xact_status(%s::xid8)", (xid,)).fetchone(), read_only=True
                )
            except StoreUnavailable:
                status = None
            if status is not None and status[0] != "in progress":
                return bool(status[0] == "committed")
            await trio.sleep(DOUBT_PAUSE_S)
    doubt = "the database went away while the record was committed; nobody knows whether it is there"
    raise StoreUnavailable(doubt, said=doubt)


def add_records(conn: Connection, config: Configuration, records: Sequence[NewRecord]) -> list[Answer]:
    """
    Insert the rows; an answer to each, in order.

    A row that the database refuses (type, length, constraint, trigger) keeps no other from the disk.
    """
    # Else a deferred constraint would fail at the commit, and all rows with it.
    conn.execute("SET CONSTRAINTS ALL IMMEDIATE", prepare=False)
    tables = {
        dbid: table_of(config, config.calling_list_by_dbid(dbid)) for dbid in {record.list_dbid for record in records}
    }
    answers: dict[int, Answer] = {}
    ready: list[tuple[int, Joined]] = []
    of_chains: dict[str, list[tuple[int, NewRecord]]] = defaultdict(list)
    for place, record in enumerate(records):
        if record.chain_id is None:
            ready.append((place, Joined(record, record.chain_n or 0)))
        else:
            of_chains[tables[record.list_dbid]].append((place, record))
    claimed = {table: _claimed(conn, table, of_chains[table]) for table in sorted(of_chains)}
    for table, wanted in sorted(of_chains.items()):
        for place, result in _join_chains(conn, table, wanted, claimed[table]).items():
            if isinstance(result, Joined):
                ready.append((place, result))
            else:
                answers[place] = result
    groups: dict[tuple[int, bool, tuple[str, ...]], list[tuple[int, Joined]]] = defaultdict(list)
    for place, row in sorted(ready, key=lambda entry: entry[0]):
        given = row.record
        groups[given.list_dbid, given.chain_id is not None, tuple(sorted(given.user_fields))].append((place, row))
    for (list_dbid, _, user_columns), rows in groups.items():
        kinds = _user_kinds(config, list_dbid, user_columns)
        answers |= _insert(conn, tables[list_dbid], kinds, rows)
    for table, wanted in sorted(of_chains.items()):
        _note_in_claims(conn, table, wanted, claimed[table], answers)
    return [answers[place] for place in range(len(records))]


def _add_chains(conn: Connection, config: Configuration, records: Sequence[NewRecord]) -> list[Answer]:
    """Insert rows of new chains, all or (raising) none: the usual case, in a third of the round trips."""
    groups: dict[tuple[int, tuple[str, ...]], list[int]] = defaultdict(list)
    for place, record in enumerate(records):
        groups[record.list_dbid, tuple(sorted(record.user_fields))].append(place)
    answers: dict[int, Answer] = {}
    for (list_dbid, user_columns), places in groups.items():
        table = table_of(config, config.calling_list_by_dbid(list_dbid))
        rows = [Joined(records[place], records[place].chain_n or 0) for place in places]
        found = _insert_all(conn, table, _user_kinds(config, list_dbid, user_columns), rows)
        if len(found) != len(rows):
            raise _NotTaken("a trigger of the table has left it out")
        for place, row, (record_id, chain_id) in zip(places, rows, found, strict=True):
            answers[place] = AddedRecord(record_id, chain_id, row.chain_n)
    return [answers[place] for place in range(len(records))]


# -- existing chains -------------------------------------------------------------------------------------------------


def _claimed(conn: Connection, table: str, wanted: Sequence[tuple[int, NewRecord]]) -> set[int]:
    """Those of the chains that are claimed; their claims stay as they are until the end of the transaction."""
    return set(lock_claims(conn, table, sorted({record.chain_id or 0 for _, record in wanted})))


def _join_chains(
    conn: Connection, table: str, wanted: Sequence[tuple[int, NewRecord]], claimed: set[int]
) -> dict[int, Joined | Answer]:
    name = sql.Identifier(table)
    chain_ids = {record.chain_id or 0 for _, record in wanted}
    free = int_array(sorted(chain_ids - claimed))
    locked = {
        row[0]
        for row in conn.execute(
            sql.SQL(
                "SELECT record_id FROM {} WHERE chain_id = ANY(%s::int[]) ORDER BY record_id FOR UPDATE SKIP LOCKED"
            ).format(name),
            (free,),
            prepare=False,
        )
    }
    members: dict[int, list[Member]] = defaultdict(list)
    for chain_id, *columns in conn.execute(
        sql.SQL(
            "SELECT chain_id, record_id, chain_n, record_status, record_type, dial_sched_time, agent_id, treatments"
            " FROM {} WHERE chain_id = ANY(%s::int[]) ORDER BY chain_id, chain_n"
        ).format(name),
        (int_array(sorted(chain_ids)),),
        prepare=False,
    ):
        members[chain_id].append(Member(*columns))
    claimed_since = {
        row[0]
        for row in conn.execute(
            "SELECT chain_id FROM ocsd.claim WHERE table_name = %s AND chain_id = ANY(%s::int[])", (table, free)
        )
    }
    results: dict[int, Joined | Answer] = {}
    for place, record in wanted:
        chain_id = record.chain_id or 0
        chain = members[chain_id]
        ours = chain_id in claimed or (
            chain_id not in claimed_since and all(member.record_id in locked for member in chain if member.record_id)
        )
        if not ours:
            results[place] = Busy()
        elif not chain:
            results[place] = ChainMissing(f"there is no chain {chain_id}")
        else:
            try:
                joined = results[place] = join(record, chain)
            except (RecordExists, AddRefused) as error:
                results[place] = error
            else:
                chain.append(_as_member(joined))  # the next one of this batch must count it
    return results


def _as_member(row: Joined) -> Member:
    new = row.record
    return Member(0, row.chain_n, new.record_status, new.record_type, new.dial_sched_time, new.agent_id, row.treatments)


def _note_in_claims(
    conn: Connection,
    table: str,
    wanted: Sequence[tuple[int, NewRecord]],
    claimed: set[int],
    answers: Mapping[int, Answer],
) -> None:
    added = [
        answer
        for place, record in wanted
        if record.chain_id in claimed
        and record.record_status is RecordStatus.READY
        and isinstance(answer := answers[place], AddedRecord)
    ]
    if added:
        conn.execute(
            "UPDATE ocsd.claim AS k SET added = coalesce(k.added, '{}') || f.ids FROM ("
            " SELECT chain_id, array_agg(record_id) AS ids FROM unnest(%s::int[], %s::int[]) AS u (chain_id, record_id)"
            " GROUP BY chain_id) AS f WHERE k.table_name = %s AND k.chain_id = f.chain_id",
            (int_array(one.chain_id for one in added), int_array(one.record_id for one in added), table),
        )


# -- inserting -------------------------------------------------------------------------------------------------------

_FIELDS: Final = (
    ("contact_info", "text"), ("contact_info_type", "int"), ("record_type", "int"), ("record_status", "int"),
    ("call_result", "int"), ("attempt", "int"), ("dial_sched_time", "int"), ("call_time", "int"),
    ("daily_from", "int"), ("daily_till", "int"), ("tz_dbid", "int"), ("agent_id", "text"),
)  # fmt: skip

_RENAMED: Final = {"daily_from": "daily_from_s", "daily_till": "daily_till_s"}
"""Columns whose field of NewRecord carries its unit."""


def _user_kinds(config: Configuration, list_dbid: int, names: Sequence[str]) -> dict[str, str]:
    """Types in which values of user columns travel: text for char and varchar, as a cast to those would cut it off."""
    kinds = {column.name: column for column in columns_of(config, config.calling_list_by_dbid(list_dbid))}
    return {name: "text" if kinds[name].length else kinds[name].type for name in names}


def _insert(
    conn: Connection, table: str, user_kinds: Mapping[str, str], rows: Sequence[tuple[int, Joined]]
) -> dict[int, Answer]:
    """Rows with the same columns, together; when one of them is refused, in halves until it stands alone."""
    try:
        with conn.transaction():
            found = _insert_all(conn, table, user_kinds, [row for _, row in rows])
            if len(found) != len(rows):
                raise _NotTaken("a trigger of the table has left it out")
            return {
                place: AddedRecord(record_id, chain_id, row.chain_n)
                for (place, row), (record_id, chain_id) in zip(rows, found, strict=True)
            }
    except (psycopg.OperationalError, psycopg.InterfaceError):
        raise
    except (psycopg.Error, UnicodeError, _NotTaken) as error:
        if len(rows) == 1:
            # Without the server's detail, which may hold the whole row as its triggers and defaults have made it.
            said = error.diag.message_primary if isinstance(error, psycopg.Error) else None
            return {rows[0][0]: AddRefused(" ".join((said or str(error)).split()))}
    middle = len(rows) // 2
    return _insert(conn, table, user_kinds, rows[:middle]) | _insert(conn, table, user_kinds, rows[middle:])


class _NotTaken(Exception):
    """Fewer rows have been inserted than were given."""


def _insert_all(
    conn: Connection, table: str, user_kinds: Mapping[str, str], rows: Sequence[Joined]
) -> list[tuple[int, int]]:
    """(record_id, chain_id) of each row, in order."""
    values: list[object] = [array(getattr(row.record, _RENAMED.get(name, name)) for row in rows) for name, _ in _FIELDS]
    values += [array(row.treatments for row in rows), int_array(row.chain_n for row in rows)]
    joins = rows[0].record.chain_id is not None
    if joins:
        values.append(array(row.record.chain_id for row in rows))
    values += [[row.record.user_fields[name] for row in rows] for name in user_kinds]
    return conn.execute(_insertion(table, joins, tuple(user_kinds.items())), values).fetchall()


@lru_cache(KEPT_STATEMENTS)
def _insertion(table: str, joins: bool, user_kinds: tuple[tuple[str, str], ...]) -> bytes:
    fields = [
        *_FIELDS,
        ("treatments", "text"),
        ("chain_n", "int"),
        *([("chain_id", "int")] if joins else []),
        *user_kinds,
    ]
    names = sql.SQL(", ").join(sql.Identifier(name) for name, _ in fields)
    # Inserted, and so returned, in the order of the arrays.
    statement = sql.SQL(
        "INSERT INTO {table} ({names}) SELECT {names} FROM unnest({types}) WITH ORDINALITY AS new ({names}, place_)"
        " ORDER BY place_ RETURNING record_id, chain_id"
    ).format(
        table=sql.Identifier(table),
        names=names,
        types=sql.SQL(", ").join(sql.SQL("%s::{}[]").format(sql.SQL(kind)) for _, kind in fields),
    )
    return statement.as_bytes(None)
