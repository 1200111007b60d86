"""What becomes of the rows of claimed chains, in SQL: the one place where a result or decision reaches a calling list.

Live rows are those with status Retrieved whose type is not NoCall. Rows that somebody cancelled or marked NoCall in
the meantime keep what they were given; of the row that was dialed the attempt is still counted. NoCall is never undone.

`memory_journal.change_chain` is its twin.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from types import MappingProxyType
from typing import Any, Final

import psycopg
import structlog
from psycopg import sql

from ocsd.lists.arrays import array, int_array
from ocsd.model.enums import RecordStatus, RecordType
from ocsd.model.records import ChainChange, FinishedAttempt

log = structlog.get_logger(__name__)

Connection = psycopg.Connection[Any]

PERSONAL: Final = (RecordType.PERSONAL_RESCHEDULED, RecordType.PERSONAL_CALLBACK)
"""Types that belong to an agent: while the chain goes on, all of its rows do."""


@dataclass(frozen=True, slots=True)
class Writing:
    """
    A change and what else is written to the record that it is about.

    Attributes:
        call_result, campaign_dbid, agent_id, switch_dbid: None leaves the row's own.
        dialed_s: call_time (UTC seconds) of an attempt that counts; None: none was made.
        updates: columns set by a desktop.
    """

    chain_id: int
    record_id: int
    change: ChainChange
    call_result: int | None = None
    campaign_dbid: int | None = None
    agent_id: str | None = None
    switch_dbid: int | None = None
    dialed_s: int | None = None
    updates: Mapping[str, object] = field(default_factory=dict)

    @property
    def sibling_status(self) -> RecordStatus:
        """While the chain goes on, all of it does."""
        return self._kept or (RecordStatus.READY if self.change.goes_on else self.change.sibling_status)

    @property
    def record_status(self) -> RecordStatus:
        return self._kept or self.change.record_status

    @property
    def _kept(self) -> RecordStatus | None:
        return RecordStatus.RETRIEVED if self.change.goes_on and self.change.keep_claim else None

    @classmethod
    def of_result(cls, finished: FinishedAttempt, *, campaign_dbid: int | None, dialed_s: int | None) -> "Writing":
        """What an attempt's end writes; ``dialed_s`` counts only when an INVITE left."""
        writing = cls(
            chain_id=finished.chain_id,
            record_id=finished.record_id,
            change=finished.change,
            call_result=int(finished.call_result),
            campaign_dbid=campaign_dbid,
            agent_id=finished.agent_id,
            switch_dbid=finished.switch_dbid,
            dialed_s=dialed_s if finished.count_attempt else None,
            updates=finished.updates,
        )
        if finished.owner is not None and writing.agent_for_all:
            return replace(writing, agent_id=finished.owner)
        return writing

    @property
    def agent_for_all(self) -> bool:
        return self.change.goes_on and self.change.record_type in PERSONAL


_FIELDS: Final = (
    ("chain_id", "int"), ("record_id", "int"), ("goes_on", "boolean"), ("record_status", "int"), ("record_type", "int"),
    ("sibling_status", "int"), ("sibling_type", "int"), ("call_result", "int"), ("sibling_result", "int"),
    ("dial_sched_time", "int"), ("treatments", "text"), ("campaign_dbid", "int"), ("agent_id", "text"),
    ("switch_dbid", "int"), ("dialed_s", "int"), ("agent_for_all", "boolean"),
)  # fmt: skip

_OWN_FIELDS: Final = frozenset(name for name, _ in _FIELDS if hasattr(Writing, name))
"""The others belong to the change."""

_CHANGE: Final = """
UPDATE {table} AS t SET
  record_status = CASE WHEN t.record_status <> 2 THEN t.record_status WHEN t.record_type = 7 THEN 3
    WHEN t.record_id = f.record_id THEN f.record_status ELSE f.sibling_status END,
  record_type = CASE WHEN t.record_status <> 2 OR t.record_type = 7 THEN t.record_type
    WHEN t.record_id = f.record_id THEN f.record_type ELSE coalesce(f.sibling_type, t.record_type) END,
  call_result = CASE WHEN t.record_status <> 2 OR t.record_type = 7 THEN t.call_result
    WHEN t.record_id = f.record_id THEN coalesce(f.call_result, t.call_result)
    ELSE coalesce(f.sibling_result, t.call_result) END,
  dial_sched_time = CASE WHEN t.record_status = 2 AND t.record_type <> 7 AND f.goes_on
    THEN f.dial_sched_time ELSE t.dial_sched_time END,
  treatments = CASE WHEN t.record_status = 2 AND t.record_type <> 7 AND f.goes_on
    THEN f.treatments ELSE t.treatments END,
  agent_id = CASE
    WHEN t.record_id = f.record_id OR (f.agent_for_all AND t.record_status = 2 AND t.record_type <> 7)
    THEN coalesce(f.agent_id, t.agent_id) ELSE t.agent_id END,
  attempt = t.attempt + (t.record_id = f.record_id AND f.dialed_s IS NOT NULL AND t.attempt < 2147483647)::int,
  call_time = CASE WHEN t.record_id = f.record_id THEN coalesce(f.dialed_s, t.call_time) ELSE t.call_time END,
  campaign_id = CASE
    WHEN t.record_id = f.record_id THEN coalesce(f.campaign_dbid, t.campaign_id) ELSE t.campaign_id END,
  switch_id = CASE WHEN t.record_id = f.record_id THEN coalesce(f.switch_dbid, t.switch_id) ELSE t.switch_id END
FROM unnest({types}) AS f ({names})
WHERE t.chain_id = f.chain_id AND (t.record_status = 2 OR t.record_id = f.record_id)
RETURNING t.chain_id, t.record_status
"""


@dataclass(frozen=True, slots=True)
class Claim:
    """``added``: rows that were put into the chain since it was claimed; they are Ready."""

    owner: str
    added: Sequence[int] = ()


def lock_claims(conn: Connection, table: str, chain_ids: Sequence[int]) -> dict[int, Claim]:
    """
    Lock the claims of the chains and return them.

    Every writer takes the claims of its chains first, in ascending order, and rows afterwards: so two writers that
    meet wait for each other in one direction only.
    """
    return {
        row[0]: Claim(row[1], row[2] or ())
        for row in conn.execute(
            "SELECT chain_id, owner, added FROM ocsd.claim WHERE table_name = %s AND chain_id = ANY(%s::int[])"
            " ORDER BY chain_id FOR UPDATE",
            (table, int_array(chain_ids)),
        )
    }


def change_chains(
    conn: Connection, table: str, writings: Sequence[Writing], claims: Mapping[int, Claim] = MappingProxyType({})
) -> None:
    """
    Write changes, one per chain at most, and end the claims that none of them keeps.

    ``claims``: as `lock_claims` gave them. Rows added since a chain was claimed go on with it; when it ends they stay.
    """
    if not writings:
        return
    columns = [array(_value(writing, name) for writing in writings) for name, _ in _FIELDS]
    held = {
        chain_id
        for chain_id, record_status in conn.execute(_change(table), columns)
        if record_status == RecordStatus.RETRIEVED
    }
    _take_along(conn, table, [writing for writing in writings if writing.change.goes_on], claims)
    _update_columns(conn, table, writings)
    ended = [writing.chain_id for writing in writings if writing.chain_id not in held]
    if ended:
        conn.execute(
            "DELETE FROM ocsd.claim WHERE table_name = %s AND chain_id = ANY(%s::int[])", (table, int_array(ended))
        )


def _take_along(conn: Connection, table: str, writings: Sequence[Writing], claims: Mapping[int, Claim]) -> None:
    """Added rows share what the live rows of their chain share, so that nobody dials them before its time."""
    for writing in writings:
        if (claim := claims.get(writing.chain_id)) is None or not claim.added:
            continue
        change = writing.change
        conn.execute(
            sql.SQL(
                "UPDATE {} SET record_type = coalesce(%s, record_type), dial_sched_time = %s, treatments = %s,"
                " agent_id = coalesce(%s, agent_id)"
                " WHERE record_id = ANY(%s) AND chain_id = %s AND record_status = 1 AND record_type <> 7"
            ).format(sql.Identifier(table)),
            (
                _plain(change.sibling_type),
                change.dial_sched_time,
                change.treatments,
                writing.agent_id if writing.agent_for_all else None,
                list(claim.added),
                writing.chain_id,
            ),
        )


@cache
def _change(table: str) -> bytes:
    """Composed once: that costs as much as sending the statement."""
    return (
        sql.SQL(_CHANGE)
        .format(
            table=sql.Identifier(table),
            types=sql.SQL(", ").join(sql.SQL(f"%s::{kind}[]") for _, kind in _FIELDS),
            names=sql.SQL(", ").join(sql.Identifier(name) for name, _ in _FIELDS),
        )
        .as_bytes(None)
    )


def _value(writing: Writing, name: str) -> object:
    return getattr(writing if name in _OWN_FIELDS else writing.change, name)


def _plain(value: Any) -> Any:
    """Enums of the manual as plain integers; psycopg would send their names."""
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _update_columns(conn: Connection, table: str, writings: Sequence[Writing]) -> None:
    for writing in writings:
        if not writing.updates:
            continue
        try:
            with conn.transaction():
                conn.execute(
                    sql.SQL("UPDATE {} SET {} WHERE record_id = %s").format(
                        sql.Identifier(table), sql.SQL(", ").join(map(_assignment, writing.updates))
                    ),
                    [*map(_plain, writing.updates.values()), writing.record_id],
                )
        except psycopg.OperationalError:
            raise
        except psycopg.DatabaseError as error:  # also one of a trigger's own
            # They were validated before; still, no field of a desktop may keep the result of a call from the disk.
            log.error(
                "record.update_refused",
                record_id=writing.record_id,
                columns=[*writing.updates],
                reason=error.diag.message_primary or type(error).__name__,  # details may quote the row, with its number
            )


def _assignment(column: str) -> sql.Composable:
    template = "{0} = CASE WHEN record_type = 7 THEN record_type ELSE %s END" if column == "record_type" else "{0} = %s"
    return sql.SQL(template).format(sql.Identifier(column))
