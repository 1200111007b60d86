"""The ledger of people and abandoned people in SQL. Functions run in one transaction of their caller.

`add` belongs into the transaction that ends the attempts: an attempt ends once, so its person is counted once, and a
daemon that is killed has done both or neither.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import psycopg

from ocsd.model.records import AbandonmentBucket, AbandonmentCounts, PersonFound

Connection = psycopg.Connection[Any]

BUCKET_S: Final = 900
"""As the pacing's guard counts (`pacing.guard.BUCKET_S`)."""

_ADD: Final = """
    INSERT INTO ocsd.abandonment AS l (campaign_dbid, bucket_at, node, people, abandoned, late)
    SELECT c, to_timestamp(b), %s, p, a, t
    FROM unnest(%s::int[], %s::bigint[], %s::int[], %s::int[], %s::int[]) AS n (c, b, p, a, t)
    ON CONFLICT (campaign_dbid, bucket_at, node) DO UPDATE
    SET people = l.people + excluded.people, abandoned = l.abandoned + excluded.abandoned, late = l.late + excluded.late
    """


def node_of(owner: str) -> str:
    """The node in the name of a daemon's run."""
    return owner.rpartition("/")[0] or owner


def bucket_s(person: PersonFound) -> int:
    return int(person.at.timestamp()) // BUCKET_S * BUCKET_S


def add(conn: Connection, owner: str, people: Iterable[tuple[int, PersonFound]]) -> None:
    """Count people, each with the DBID of the campaign."""
    found, abandoned, late = Counter[tuple[int, int]](), Counter[tuple[int, int]](), Counter[tuple[int, int]]()
    for campaign_dbid, person in people:
        key = campaign_dbid, bucket_s(person)
        found[key] += 1
        abandoned[key] += person.abandoned
        late[key] += person.late
    if not found:
        return
    keys = sorted(found)  # everybody locks in the same order
    conn.execute(
        _ADD,
        (
            node_of(owner),
            [campaign_dbid for campaign_dbid, _ in keys],
            [start_s for _, start_s in keys],
            [found[key] for key in keys],
            [abandoned[key] for key in keys],
            [late[key] for key in keys],
        ),
    )


def counts(
    conn: Connection, campaign_dbid: int, since: datetime, group_dbids: Sequence[int] = (), owner: str = ""
) -> AbandonmentCounts:
    """
    What all nodes have counted from ``since`` on.

    Args:
        group_dbids: campaign groups of the campaign; those of them that another run than ``owner`` dials are `others`.
    """
    row = conn.execute(
        "SELECT extract(epoch FROM min(bucket_at))::bigint FROM ocsd.abandonment WHERE campaign_dbid = %s",
        (campaign_dbid,),
    ).fetchone()
    assert row is not None
    rows = conn.execute(
        "SELECT extract(epoch FROM bucket_at)::bigint, sum(people)::int, sum(abandoned)::int, sum(late)::int"
        " FROM ocsd.abandonment WHERE campaign_dbid = %s AND bucket_at >= %s GROUP BY 1 ORDER BY 1",
        (campaign_dbid, since),
    ).fetchall()
    others = conn.execute(
        "SELECT count(*) FROM (SELECT DISTINCT owner, campaign_group_dbid FROM ocsd.claim"
        " WHERE campaign_group_dbid = ANY(%s::int[]) AND owner <> %s AND lease_until > now()) AS o",
        (list(group_dbids), owner),
    ).fetchone()
    assert others is not None
    return AbandonmentCounts(row[0], tuple(AbandonmentBucket(*found) for found in rows), others[0])
