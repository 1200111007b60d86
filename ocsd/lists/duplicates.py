"""Who is in the list already: duplicates of an import, found by a key in its temporary table (`staging`).

A row is a duplicate when an earlier row of the file has its key, or a row of the list's table, whatever its status and
whatever filter admits it (lists that share a table share their people), or a row of another list that is looked at too.
Rows without a value of the key (a customer without an id) are nobody's duplicate. What becomes of a duplicate:

- *skip*: it is left out. Of its chain the other rows are imported, with their own ``chain_n``.
- *update*: the rows of the list with its key take over its user fields and its daily window (the columns that the file
  has), but only rows that wait: Ready, and no daemon holds their chain. All others stay as they are, and so do rows of
  other lists. The first row of the file counts; later ones with its key are left out.
- *refuse*: nothing of the file is imported when there is one.

Rows that some daemon holds at that moment are passed over, never waited for: an import does not stand in the way of
claims, nor claims in its way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import sql

from ocsd.config.objects import CallingList, Configuration
from ocsd.lists.keys import Action, Key
from ocsd.lists.tables import columns_of, table_differences, table_of
from ocsd.model.columns import MANDATORY_NAMES, Column
from ocsd.model.errors import ConfigError

Connection = psycopg.Connection[Any]

HOLDERS: Final = "ocsd_import_holder"
"""Temporary table of staged rows whose key stands in a list: line_number, table_name, record_id (the lowest)."""

REPEATED: Final = "ocsd_import_repeated"
"""Temporary table of staged rows whose key stands in an earlier row of the file: line_number, first."""

UPDATED: Final = "ocsd_import_updated"
"""Temporary table of rows of the list that are updated: record_id, line_number."""

WINDOW: Final = ("daily_from", "daily_till", "tz_dbid")


@dataclass(frozen=True, slots=True)
class DuplicateRule:
    """
    Attributes:
        also: other lists whose tables are looked at too.
    """

    action: Action = Action.KEEP
    key: Key = Key.PHONE
    also: tuple[CallingList, ...] = ()

    def __bool__(self) -> bool:
        return self.action is not Action.KEEP


@dataclass(frozen=True, slots=True)
class Finder:
    """
    A rule applied to one list and the columns of one file.

    Attributes:
        tables: with the names of the key's columns there; the list's own first.
        update: columns that an update takes over.
    """

    rule: DuplicateRule
    columns: tuple[str, ...]
    tables: tuple[tuple[str, tuple[str, ...]], ...]
    update: tuple[str, ...]

    def find(self, conn: Connection) -> None:
        """Fill `HOLDERS`; the staged rows are complete."""
        conn.execute(
            f"CREATE TEMPORARY TABLE {HOLDERS} (line_number bigint, table_name text, record_id bigint) ON COMMIT DROP;"
            f"CREATE TEMPORARY TABLE {REPEATED} (line_number bigint, first bigint) ON COMMIT DROP;"
            f"CREATE TEMPORARY TABLE {UPDATED} (record_id bigint, line_number bigint) ON COMMIT DROP"
        )
        for table, columns in self.tables:
            conn.execute(
                sql.SQL(
                    "INSERT INTO {holders} SELECT s.line_number, {name}, min(t.record_id) FROM {stage} AS s"
                    " JOIN {table} AS t ON {same} WHERE {known}{unseen} GROUP BY s.line_number"
                ).format(
                    holders=sql.Identifier(HOLDERS),
                    name=sql.Literal(table),
                    stage=sql.Identifier(STAGE),
                    table=sql.Identifier(table),
                    same=_same(self.columns, "s", columns, "t"),
                    known=_known(self.columns, "s"),
                    unseen=sql.SQL("")
                    if table == self.tables[0][0]
                    else sql.SQL(" AND NOT EXISTS (SELECT FROM {} AS h WHERE h.line_number = s.line_number)").format(
                        sql.Identifier(HOLDERS)
                    ),
                )
            )
        conn.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(HOLDERS)))

    def find_repeated(self, conn: Connection) -> None:
        """Fill `REPEATED`; rows that are rejected have left the staged ones."""
        keys = sql.SQL(", ").join(sql.Identifier("s", name) for name in self.columns)
        conn.execute(
            sql.SQL(
                "WITH firsts AS (SELECT {keys}, min(s.line_number) AS first FROM {stage} AS s WHERE {known}"
                " GROUP BY {keys} HAVING count(*) > 1)"
                " INSERT INTO {repeated} SELECT s.line_number, f.first FROM {stage} AS s JOIN firsts AS f ON {same}"
                " WHERE s.line_number > f.first"
            ).format(
                keys=keys,
                stage=sql.Identifier(STAGE),
                repeated=sql.Identifier(REPEATED),
                known=_known(self.columns, "s"),
                same=_same(self.columns, "s", self.columns, "f"),
            )
        )
        conn.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(REPEATED)))

    def lock_updates(self, conn: Connection) -> int:
        """Fill `UPDATED` with the rows that wait, and lock those; returns how many rows of the file bring them news."""
        table, columns = self.tables[0]
        # Locked rows are passed over: two who wait for each other's rows would both lose.
        conn.execute(
            sql.SQL(
                "WITH locked AS (SELECT t.record_id, s.line_number FROM {holders} AS h"
                " JOIN {stage} AS s USING (line_number) JOIN {table} AS t ON {same}"
                " WHERE h.table_name = {name} AND t.record_status = 1"
                " AND NOT EXISTS (SELECT FROM {repeated} AS r WHERE r.line_number = h.line_number)"
                " AND NOT EXISTS (SELECT FROM ocsd.claim AS k WHERE k.table_name = {name} AND k.chain_id = t.chain_id)"
                " FOR UPDATE OF t SKIP LOCKED)"
                " INSERT INTO {updated} SELECT record_id, line_number FROM locked"
            ).format(
                holders=sql.Identifier(HOLDERS),
                stage=sql.Identifier(STAGE),
                table=sql.Identifier(table),
                same=_same(self.columns, "s", columns, "t"),
                name=sql.Literal(table),
                repeated=sql.Identifier(REPEATED),
                updated=sql.Identifier(UPDATED),
            )
        )
        conn.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(UPDATED)))
        return _count(conn, sql.SQL("SELECT count(DISTINCT line_number) FROM {}").format(sql.Identifier(UPDATED)))

    def apply_updates(self, conn: Connection) -> None:
        """Write what the file brings to the rows of `UPDATED`."""
        conn.execute(
            sql.SQL(
                "UPDATE {table} AS t SET {new} FROM {updated} AS u JOIN {stage} AS s USING (line_number)"
                " WHERE t.record_id = u.record_id"
            ).format(
                table=sql.Identifier(self.tables[0][0]),
                new=sql.SQL(", ").join(sql.SQL("{0} = s.{0}").format(sql.Identifier(name)) for name in self.update),
                updated=sql.Identifier(UPDATED),
                stage=sql.Identifier(STAGE),
            )
        )

    def count(self, conn: Connection) -> int:
        """How many rows of the file are duplicates."""
        return _count(
            conn,
            sql.SQL(
                "SELECT count(*) FROM (SELECT line_number FROM {} UNION SELECT line_number FROM {}) AS found"
            ).format(sql.Identifier(HOLDERS), sql.Identifier(REPEATED)),
        )

    def report(self) -> sql.Composed:
        """Query of (line_number, what became of it and why), in the order of the file."""
        nothing = {
            Action.REFUSE: "'nothing is imported'",
            Action.SKIP: "'left out'",
            Action.UPDATE: (
                "CASE WHEN h.line_number IS NULL OR r.line_number IS NOT NULL THEN 'left out'"
                f" WHEN h.table_name <> {sql.Literal(self.tables[0][0]).as_string(None)} THEN 'left out'"
                " ELSE 'left as it is: finished, or on its way to be dialed' END"
            ),
            Action.KEEP: "NULL",
        }[self.rule.action]
        return sql.SQL(
            "SELECT line_number, coalesce('updated record_id ' || u.record_ids, {nothing}) || '; same {key} as '"
            " || coalesce('line ' || r.first || ' of the file', 'record_id ' || h.record_id || ' of ' || h.table_name)"
            " FROM {holders} AS h FULL JOIN {repeated} AS r USING (line_number)"
            " LEFT JOIN (SELECT line_number, string_agg(record_id::text, ', ' ORDER BY record_id) AS record_ids"
            "   FROM {updated} GROUP BY line_number) AS u USING (line_number) ORDER BY line_number"
        ).format(
            nothing=sql.SQL(nothing),
            key=sql.SQL(self.rule.key.value),
            holders=sql.Identifier(HOLDERS),
            repeated=sql.Identifier(REPEATED),
            updated=sql.Identifier(UPDATED),
        )


STAGE: Final = "ocsd_import_stage"
"""Temporary table with the rows of the file: line_number, then the columns that the file fills."""

NOT_DUPLICATE: Final = sql.SQL(
    " AND NOT EXISTS (SELECT FROM {holders} AS h WHERE h.line_number = s.line_number)"
    " AND NOT EXISTS (SELECT FROM {repeated} AS r WHERE r.line_number = s.line_number)"
).format(holders=sql.Identifier(HOLDERS), repeated=sql.Identifier(REPEATED))
"""Condition on a staged row ``s``."""


def finder_of(
    conn: Connection,
    config: Configuration,
    calling_list: CallingList,
    rule: DuplicateRule,
    columns: Sequence[str],
    filled: Sequence[str],
) -> Finder:
    """
    ConfigError when the rule cannot be applied to the file.

    Args:
        columns: those that the file has.
        filled: those of the staged rows; the window may be filled in.
    """
    problems: list[str] = []
    key = _key_columns(config, calling_list, rule.key, problems)
    problems += [
        f"duplicates by {rule.key}: column {column.name!r} is not in the file"
        for column in key
        if column.name not in columns
    ]
    own = table_of(config, calling_list)
    tables = {own: tuple(column.name for column in key)}
    for other in rule.also:
        if rule.key is Key.PHONE_AND_CHAIN:
            problems.append(f"duplicates by {rule.key}: the chains of {other.name!r} have nothing to do with this list")
        elif (table := table_of(config, other)) not in tables:
            problems += table_differences(conn, config, other)
            theirs = _key_columns(config, other, rule.key, problems)
            problems += [
                f"duplicates by {rule.key}: {other.name!r} has {hers.name} {hers.sql_type},"
                f" {calling_list.name!r} has {ours.name} {ours.sql_type}"
                for ours, hers in zip(key, theirs, strict=False)
                if ours.type != hers.type
            ]
            tables[table] = tuple(column.name for column in theirs)
    user = [column.name for column in columns_of(config, calling_list) if column.name not in MANDATORY_NAMES]
    key_names = {column.name for column in key}
    update = [name for name in columns if name in (*user, *WINDOW) and name not in key_names]
    if {"daily_from", "daily_till"} & set(update) and {"daily_from", "daily_till"} <= set(filled):
        # As a pair, which has been checked: one of them with the row's other one might never open.
        update = [*dict.fromkeys((*update, "daily_from", "daily_till"))]
    if rule.action is Action.UPDATE and not update:
        problems.append("duplicates cannot be updated: the file has neither user fields nor a daily window")
    if problems:
        raise ConfigError(problems)
    return Finder(rule, tuple(column.name for column in key), tuple(tables.items()), tuple(update))


def _key_columns(config: Configuration, calling_list: CallingList, key: Key, problems: list[str]) -> list[Column]:
    found: list[Column] = []
    for part in key.value.split("+"):
        name = calling_list.customer_id_field if part == "customer_id" else part
        if not name:
            problems.append(f"duplicates by {key}: calling list {calling_list.name!r} has no customer_id_field")
            continue
        found += [column for column in columns_of(config, calling_list) if column.name == name]
    return found


def _same(left: Sequence[str], left_alias: str, right: Sequence[str], right_alias: str) -> sql.Composed:
    return sql.SQL(" AND ").join(
        sql.SQL("{} = {}").format(sql.Identifier(left_alias, one), sql.Identifier(right_alias, other))
        for one, other in zip(left, right, strict=True)
    )


def _known(columns: Sequence[str], alias: str) -> sql.Composed:
    """Every part of the key has a value."""
    return sql.SQL(" AND ").join(
        sql.SQL("coalesce({}::text, '') <> ''").format(sql.Identifier(alias, name)) for name in columns
    )


def _count(conn: Connection, statement: sql.Composed) -> int:
    row = conn.execute(statement).fetchone()
    assert row is not None
    return int(row[0])
