"""Taking records out of the lists for good (cancel, Do-Not-Call), in one transaction over several tables.

A withdrawal means rows with status Ready or Retrieved, whatever filter a list has. By record handle with AllChain it
means the chain as it was loaded: while the chain is claimed, its live rows, those added to it since and the row itself,
so that rows which a filter has left out stay (Deployment Guide, "Filters that Break a Chain of Records"); by number or
customer, whose request does not come from a loaded chain, all of the chain.

Locks: claims lock a row of a chain first, then the claim, then the other rows; results lock the claim, then rows. A
withdrawal fits into neither order, so it never waits while it holds a row: it locks all rows of the chains that are
free, and when one of them was busy, it lets go of all, waits for that one alone, and begins again.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import psycopg
from psycopg import sql

from ocsd.config.objects import CallingList, Configuration
from ocsd.lists.arrays import array, int_array
from ocsd.lists.tables import columns_of, table_of
from ocsd.model.enums import CallResult, RecordStatus, RecordType
from ocsd.model.records import Selector, Withdrawal, Withdrawn

Connection = psycopg.Connection[Any]

LOCK_TRIES: Final = 50
"""Rounds of "lock all that is free"; past them we wait like everybody else, and the server sorts out a deadlock."""

OPEN: Final = (RecordStatus.READY, RecordStatus.RETRIEVED)

_INTEGER: Final = re.compile(r"-?[0-9]{1,20}", re.ASCII)
"""What an integer column may be compared with; leading zeros are read, as everywhere."""


@dataclass(frozen=True, slots=True)
class OpenRow:
    """
    A row that could be withdrawn.

    ``seed``: the selector means this row itself, not only its chain; ``added``: since its chain was claimed.
    """

    record_id: int
    chain_id: int
    record_status: RecordStatus
    phone: str
    seed: bool
    added: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What a withdrawal does to the rows of one chain, by record_id."""

    withdrawn: tuple[int, ...]
    updated: tuple[int, ...] = ()
    """Siblings that end as Updated, because a single record of the chain was cancelled."""


def plan(rows: Sequence[OpenRow], selector: Selector, withdrawal: Withdrawal, *, claimed: bool) -> Plan:
    """Pure: ``rows`` are the open rows of one chain, ``claimed`` says whether a daemon holds it."""
    # By handle, a chain is what was loaded of it.
    loaded = [
        row
        for row in rows
        if row.seed
        or row.added
        or not claimed
        or selector.record is None
        or row.record_status is RecordStatus.RETRIEVED
    ]
    if selector.all_chain:
        return Plan(tuple(row.record_id for row in loaded))
    seeds = tuple(row.record_id for row in loaded if row.seed)
    if withdrawal is Withdrawal.CANCEL and seeds:
        return Plan(seeds, tuple(row.record_id for row in loaded if not row.seed))
    return Plan(seeds)


def withdraw(
    conn: Connection,
    config: Configuration,
    list_dbids: Sequence[int],
    selector: Selector,
    withdrawal: Withdrawal,
    spare_claimed: bool = False,
) -> list[Withdrawn]:
    """See ListStore.withdraw."""
    by_table, conditions = _where(config, list_dbids, selector)
    found: list[Withdrawn] = []
    for table, rows in _lock(conn, conditions).items():
        found += _withdraw_rows(conn, table, by_table[table], rows, selector, withdrawal, spare_claimed)
    return found


def is_anything_open(conn: Connection, config: Configuration, list_dbids: Sequence[int], selector: Selector) -> bool:
    """
    Whether `withdraw` might find anything. Most numbers that are put on Do-Not-Call are in no list, and a look is much
    cheaper than a transaction; a row that comes right after it would have come right after that as well.
    """
    _, conditions = _where(config, list_dbids, selector)
    return any(_members(conn, table, condition, wanted) for table, (condition, wanted) in conditions.items())


def _where(
    config: Configuration, list_dbids: Sequence[int], selector: Selector
) -> tuple[Mapping[str, list[CallingList]], Mapping[str, tuple[sql.Composable, Any]]]:
    """The lists by table, and what the selector means in each table."""
    wanted = [entry for entry in config.calling_lists if entry.dbid in set(list_dbids)]
    if selector.record is not None:
        wanted = [entry for entry in wanted if entry.dbid == selector.record[0]]
    by_table: dict[str, list[CallingList]] = defaultdict(list)
    for calling_list in wanted:
        by_table[table_of(config, calling_list)].append(calling_list)
    conditions = {
        table: condition
        for table, lists in sorted(by_table.items())
        if (condition := _seeds(config, lists, selector)) is not None
    }
    return by_table, conditions


def _withdraw_rows(
    conn: Connection,
    table: str,
    lists: Sequence[CallingList],
    rows: Sequence[OpenRow],
    selector: Selector,
    withdrawal: Withdrawal,
    spare_claimed: bool,
) -> list[Withdrawn]:
    chains: dict[int, list[OpenRow]] = defaultdict(list)
    for row in rows:
        chains[row.chain_id].append(row)
    # No lock: with their rows in our hands, chains cannot be claimed, and a claim that ends waits for us.
    claims: dict[int, int] = {}
    added: set[int] = set()
    for chain_id, list_dbid, since in conn.execute(
        "SELECT chain_id, list_dbid, added FROM ocsd.claim WHERE table_name = %s AND chain_id = ANY(%s)",
        (table, list(chains)),
    ):
        claims[chain_id] = list_dbid
        added.update(since or ())
    found: list[Withdrawn] = []
    withdrawn: list[int] = []
    updated: list[int] = []
    for chain_id, members in sorted(chains.items()):
        claimed = chain_id in claims
        members = [replace(row, added=row.record_id in added) for row in members] if claimed else members
        planned = plan(members, selector, withdrawal, claimed=claimed)
        if not (claimed and spare_claimed):
            withdrawn += planned.withdrawn
            updated += planned.updated
        found += [
            Withdrawn(claims.get(chain_id, lists[0].dbid), row.record_id, chain_id, row.phone, claimed)
            for row in members
            if row.record_id in planned.withdrawn or row.record_id in planned.updated
        ]
    if withdrawn:
        values = new_values(withdrawal)
        conn.execute(
            sql.SQL("UPDATE {} SET {} WHERE record_id = ANY(%s)").format(
                sql.Identifier(table),
                sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in values),
            ),
            [*values.values(), withdrawn],
        )
    if updated:
        conn.execute(
            sql.SQL("UPDATE {} SET record_status = %s WHERE record_id = ANY(%s)").format(sql.Identifier(table)),
            (int(RecordStatus.UPDATED), updated),
        )
    changed = {*withdrawn, *updated}
    _note(conn, table, [row for row in found if row.record_id in changed], selector)
    return found


def _note(conn: Connection, table: str, rows: Sequence[Withdrawn], selector: Selector) -> None:
    """Write down what has become of the rows, for their history."""
    if not rows:
        return
    named_by = "record" if selector.record is not None else "phone" if selector.phone is not None else "customer_id"
    conn.execute(
        sql.SQL(
            "INSERT INTO ocsd.withdrawal (table_name, list_dbid, record_id, chain_id, phone, named_by, all_chain,"
            " claimed, call_result, record_status, record_type)"
            " SELECT %s, w.list_dbid, t.record_id, t.chain_id, t.contact_info, %s, %s, w.claimed, t.call_result,"
            " t.record_status, t.record_type"
            " FROM unnest(%s::int[], %s::int[], %s::boolean[]) AS w (record_id, list_dbid, claimed)"
            " JOIN {} AS t USING (record_id) ORDER BY t.record_id"
        ).format(sql.Identifier(table)),
        (
            table,
            named_by,
            selector.all_chain,
            int_array(row.record_id for row in rows),
            int_array(row.list_dbid for row in rows),
            array(row.claimed for row in rows),
        ),
    )


def new_values(withdrawal: Withdrawal) -> Mapping[str, int]:
    """Columns of a withdrawn row."""
    if withdrawal is Withdrawal.CANCEL:
        return {"record_status": int(RecordStatus.CANCELED), "call_result": int(CallResult.CANCEL_RECORD)}
    return {
        "record_type": int(RecordType.NO_CALL),
        "record_status": int(RecordStatus.UPDATED),
        "call_result": int(CallResult.DO_NOT_CALL),
    }


# -- which rows ------------------------------------------------------------------------------------------------------


def _seeds(
    config: Configuration, lists: Sequence[CallingList], selector: Selector
) -> tuple[sql.Composable, Any] | None:
    """The condition on a row ``t`` that the selector means, with its parameter; None: this table has none."""
    if selector.record is not None:
        return sql.SQL("t.record_id = %(wanted)s"), selector.record[1]
    if selector.phone is not None:
        return sql.SQL("t.contact_info = %(wanted)s::varchar"), selector.phone
    assert selector.customer_id is not None, "a selector names a record, a phone or a customer"
    fields = {
        (entry.customer_id_field, column.sql_type)
        for entry in lists
        for column in columns_of(config, entry)
        if column.name == entry.customer_id_field
    }
    conditions = [
        found for name, kind in sorted(fields) if (found := is_value(name, kind, selector.customer_id)) is not None
    ]
    return (sql.SQL("({})").format(sql.SQL(" OR ").join(conditions)), selector.customer_id) if conditions else None


def is_value(name: str, kind: str, value: str, parameter: str = "wanted") -> sql.Composable | None:
    """Column of ``t`` equals ``parameter``, in its own type so that its index serves; None: it cannot be ``value``."""
    if kind == "integer":
        plain = value.strip()
        if not _INTEGER.fullmatch(plain) or not -(2**31) <= int(plain) < 2**31:
            return None
        return sql.SQL("t.{} = {}").format(sql.Identifier(name), sql.Literal(int(plain)))
    if kind.startswith("varchar"):
        return sql.SQL("t.{} = {}::varchar").format(sql.Identifier(name), sql.Placeholder(parameter))
    if kind.startswith("char"):
        return sql.SQL("t.{} = {}::bpchar").format(sql.Identifier(name), sql.Placeholder(parameter))
    return sql.SQL("t.{}::text = {}").format(sql.Identifier(name), sql.Placeholder(parameter))


# -- locks -----------------------------------------------------------------------------------------------------------


def _lock(conn: Connection, conditions: Mapping[str, tuple[sql.Composable, Any]]) -> dict[str, list[OpenRow]]:
    """Lock the open rows of the chains that are meant, all or none at a time."""
    for tries_left in reversed(range(LOCK_TRIES)):
        locked: dict[str, list[OpenRow]] = {}
        busy: tuple[str, int] | None = None
        with conn.transaction() as attempt:
            for table, (condition, wanted) in conditions.items():
                members = _members(conn, table, condition, wanted)
                rows = _lock_rows(conn, table, condition, wanted, members, wait=not tries_left)
                missing = sorted(members - {row.record_id for row in rows})
                if missing and (still := _first_open(conn, table, missing)) is not None:
                    busy = table, still
                    break
                locked[table] = rows
            if busy is not None and tries_left:
                raise psycopg.Rollback(attempt)  # lets go of every row
        if busy is None or not tries_left:
            return locked
        _wait_for(conn, *busy)
    raise AssertionError("unreachable")


def _members(conn: Connection, table: str, condition: sql.Composable, wanted: Any) -> set[int]:
    """Ids of the open rows of the chains that are meant."""
    return {
        row[0]
        for row in conn.execute(
            sql.SQL(
                "SELECT c.record_id FROM {table} AS c"
                " WHERE c.chain_id IN (SELECT t.chain_id FROM {table} AS t WHERE {condition} AND {open})"
                " AND c.record_status IN (1, 2)"
            ).format(table=sql.Identifier(table), condition=condition, open=_open_seed(wanted)),
            {"wanted": wanted},
            prepare=False,
        )
    }


def _lock_rows(
    conn: Connection, table: str, condition: sql.Composable, wanted: Any, members: set[int], *, wait: bool
) -> list[OpenRow]:
    if not members:
        return []
    rows = conn.execute(
        sql.SQL(
            "SELECT t.record_id, t.chain_id, t.record_status, t.contact_info, {condition} FROM {table} AS t"
            " WHERE t.record_id = ANY(%(members)s) AND t.record_status IN (1, 2)"
            " ORDER BY t.record_id FOR UPDATE OF t{skip}"
        ).format(table=sql.Identifier(table), condition=condition, skip=sql.SQL("" if wait else " SKIP LOCKED")),
        {"wanted": wanted, "members": sorted(members)},
        prepare=False,
    )
    return [OpenRow(row[0], row[1], RecordStatus(row[2]), row[3], bool(row[4])) for row in rows]


def _open_seed(wanted: Any) -> sql.Composable:
    # A handle means its chain even when the row itself has ended; a number or customer only rows that are open.
    return sql.SQL("true") if isinstance(wanted, int) else sql.SQL("t.record_status IN (1, 2)")


def _first_open(conn: Connection, table: str, record_ids: Sequence[int]) -> int | None:
    row = conn.execute(
        sql.SQL("SELECT min(record_id) FROM {} WHERE record_id = ANY(%s) AND record_status IN (1, 2)").format(
            sql.Identifier(table)
        ),
        (list(record_ids),),
    ).fetchone()
    return None if row is None else row[0]


def _wait_for(conn: Connection, table: str, record_id: int) -> None:
    """Until nobody holds the row; we hold nothing meanwhile, nor afterwards."""
    with conn.transaction() as attempt:
        conn.execute(
            sql.SQL("SELECT FROM {} WHERE record_id = %s FOR UPDATE").format(sql.Identifier(table)), (record_id,)
        )
        raise psycopg.Rollback(attempt)
