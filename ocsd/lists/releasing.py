"""How claims end without a result, and how they pass on: give-back, recovery, leases. SQL for one transaction each."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg import sql

Connection = psycopg.Connection[Any]

_WITHOUT_ATTEMPT: Final = (
    " AND NOT EXISTS (SELECT FROM ocsd.attempt AS a"
    " WHERE a.table_name = k.table_name AND a.chain_id = k.chain_id AND a.finished_at IS NULL)"
)


def _release(conn: Connection, chosen: sql.Composable, params: Sequence[Any]) -> int:
    """
    Make the rows of the claims that fit ``chosen`` Ready again, unless an attempt is open; returns how many chains.

    Schedule and treatment state stay as they are: of a chain that was kept for its next dial they say when that is.
    """
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
                sql.SQL(
                    "UPDATE {} SET record_status = CASE WHEN record_type = 7 THEN 3 ELSE 1 END"
                    " WHERE chain_id = ANY(%s) AND record_status = 2"
                ).format(sql.Identifier(table)),
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


def give_back_group(conn: Connection, owner: str, campaign_group_dbid: int) -> int:
    """Whatever ``owner`` holds for the campaign group, except chains that are being dialed."""
    return _release(conn, sql.SQL("k.owner = %s AND k.campaign_group_dbid = %s"), (owner, campaign_group_dbid))


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
