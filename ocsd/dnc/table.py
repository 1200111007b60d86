"""SQL of Do-Not-Call: the table ``gsw_donotcall_list``, the requests with their times, and the version.

Everything here is a plain function on a psycopg connection inside a transaction, run in a thread by the service or by
the command line. Times in the table are Unix seconds (``int``). A row whose tenant is missing or below 1 holds for
every tenant; its campaign and calling list tell where it came from and do not narrow it.
"""

import json
import math
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, Final

import numpy as np
import psycopg
from numpy.typing import NDArray

from ocsd.dnc.contract import DncEntry
from ocsd.dnc.forms import Plan, every_number
from ocsd.dnc.index import NEVER_ENDS, U32, U64, NumberIndex, TextIndex, hash_of, plain
from ocsd.model.errors import ConfigError

Connection = psycopg.Connection[Any]

COLUMNS: Final = (
    "phone",
    "customer_id",
    "dnc_message",
    "tenant_dbid",
    "campaign_dbid",
    "list_dbid",
    "is_internal",
    "time_stamp",
    "expires_at",
)
MESSAGE_LENGTH: Final = 255
LAST_SECOND: Final = 2**31 - 1
"""Greatest ``expires_at int``. A later one is stored as NULL, never: nobody is called earlier than was asked for."""

E164: Final = r"^\+[1-9][0-9]{0,14}$"
_UNTIL: Final = (
    f"CASE WHEN coalesce(expires_at, 0) <= 0 THEN {NEVER_ENDS} ELSE least(expires_at, {NEVER_ENDS}) END::bigint"
)
_TENANT: Final = "greatest(coalesce(tenant_dbid, 0), 0)::bigint"

_ROWS_AT_A_TIME: Final = 50_000


@dataclass(frozen=True, slots=True)
class TableSet:
    """What the table forbids to one tenant, or to all: phones, phones that are no number, customer ids."""

    numbers: NumberIndex
    texts: TextIndex
    customers: TextIndex


@dataclass(frozen=True, slots=True)
class Loaded:
    """
    The table as it was in one snapshot.

    Attributes:
        sets: by tenant; None: every tenant.
        snapshot: PostgreSQL's, as text; requests that it does not show are `new_requests`.
        version: of ``ocsd.dnc_version``.
        rows: with a phone or a customer id.
    """

    sets: dict[int | None, TableSet]
    snapshot: str
    version: int
    rows: int


@dataclass(frozen=True, slots=True)
class Request:
    """An entry on its way into the table. ``expires_at``: Unix seconds, or NEVER_ENDS."""

    entry: DncEntry
    request_id: uuid.UUID
    in_force_at: datetime
    expires_at: int


@dataclass(frozen=True, slots=True)
class Effect:
    """Requests of which buffers, lists and desktops know."""

    request_ids: tuple[uuid.UUID, ...]
    applied_at: datetime
    rows: int


def until_of(expires_at: datetime | None) -> int:
    """Unix seconds as the table holds them, rounded up; NEVER_ENDS for None and for what it cannot hold."""
    if expires_at is None:
        return NEVER_ENDS
    seconds = math.ceil(expires_at.timestamp())
    return seconds if seconds <= LAST_SECOND else NEVER_ENDS


def request_of(entry: DncEntry, in_force_at: datetime) -> Request:
    """The same entry has the same id, so that writing it again after a lost answer changes nothing."""
    told = (
        entry.tenant_dbid,
        entry.phone,
        entry.customer_id,
        entry.message,
        entry.campaign_dbid,
        entry.list_dbid,
        entry.expires_at and entry.expires_at.timestamp(),
        entry.requested_at.timestamp(),
    )
    digest = blake2b(json.dumps(told).encode(), digest_size=16).digest()
    return Request(entry, uuid.UUID(bytes=digest, version=5), in_force_at, until_of(entry.expires_at))


def check_table(conn: Connection) -> None:
    """ConfigError when ``gsw_donotcall_list`` lacks a column."""
    found = {
        row[0]
        for row in conn.execute(
            "SELECT column_name FROM information_schema.columns"
            " WHERE table_schema = 'public' AND table_name = 'gsw_donotcall_list'"
        )
    }
    if missing := [name for name in COLUMNS if name not in found]:
        raise ConfigError([f"table gsw_donotcall_list has no column {name}" for name in missing])


class _Gathered:
    """Keys and expiries of one tenant, piece by piece; 12 bytes a row until they are sorted."""

    __slots__ = ("keys", "untils")

    def __init__(self) -> None:
        self.keys: list[U64] = []
        self.untils: list[U32] = []

    def add(self, keys: U64, untils: U32) -> None:
        self.keys.append(keys)
        self.untils.append(untils)

    def arrays(self) -> tuple[U64, U32]:
        keys = np.concatenate(self.keys) if self.keys else np.empty(0, np.uint64)
        untils = np.concatenate(self.untils) if self.untils else np.empty(0, np.uint32)
        self.keys, self.untils = [], []
        return keys, untils


class _Tenants:
    """Phones, texts and customers of every tenant while the table is read."""

    def __init__(self) -> None:
        self.numbers: dict[int, _Gathered] = {}
        self.texts: dict[int, _Gathered] = {}
        self.customers: dict[int, _Gathered] = {}

    def sets(self) -> dict[int | None, TableSet]:
        nothing = _Gathered()
        made: dict[int | None, TableSet] = {}
        for tenant in sorted({*self.numbers, *self.texts, *self.customers}):
            made[tenant or None] = TableSet(
                NumberIndex.build(*self.numbers.get(tenant, nothing).arrays()),
                TextIndex(*self.texts.get(tenant, nothing).arrays()),
                TextIndex(*self.customers.get(tenant, nothing).arrays()),
            )
        return made


def load(conn: Connection, plans: tuple[Plan, ...]) -> Loaded:
    """
    The whole table in one snapshot, in pieces; at most some 45 bytes a row while it is sorted.

    Must be the first statement of its transaction. It has no time limit but the caller's.

    Args:
        plans: of the countries in which hand-written phones without a country code may lie.
    """
    conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    conn.execute("SET LOCAL statement_timeout = 0")
    check_table(conn)
    head = conn.execute("SELECT pg_current_snapshot()::text, version FROM ocsd.dnc_version").fetchone()
    if head is None:
        raise ConfigError(["ocsd.dnc_version is empty; insert one row with version 1"])
    gathered = _Tenants()
    rows = 0
    for found in _fetched_numbers(conn):
        rows += len(found)
        _by_tenant(gathered.numbers, *found.T)
    rows += _load_texts(conn, plans, gathered)
    return Loaded(gathered.sets(), head[0], head[1], rows)


def _fetched_numbers(conn: Connection) -> Iterator[NDArray[np.int64]]:
    """``(n, 3)`` tenant, number and expiry of the rows whose phone is an E.164 number, as the server tells them."""
    # A cursor and not COPY, which hands over every row by itself: three times as slow.
    query = (
        f"SELECT {_TENANT}, substr(phone, 2)::bigint, {_UNTIL} FROM public.gsw_donotcall_list"  # noqa: S608 - constants
        f" WHERE phone ~ '{E164}'"
    )
    with conn.cursor(name="ocsd_donotcall", binary=True) as cursor:
        cursor.execute(query.encode())
        while found := cursor.fetchmany(_ROWS_AT_A_TIME):
            yield np.array(found, np.int64)


def _by_tenant(into: dict[int, _Gathered], tenants: Any, keys: Any, untils: Any) -> None:
    for tenant in np.unique(tenants):
        of_tenant = tenants == tenant
        into.setdefault(int(tenant), _Gathered()).add(
            keys[of_tenant].astype(np.uint64), untils[of_tenant].astype(np.uint32)
        )


def _load_texts(conn: Connection, plans: tuple[Plan, ...], gathered: _Tenants) -> int:
    """Customer ids, and phones that are written otherwise; returns how many rows had no E.164 phone."""
    query = (
        f"SELECT {_TENANT}, CASE WHEN phone !~ '{E164}' THEN phone END, customer_id, {_UNTIL},"  # noqa: S608 - constants
        f" phone ~ '{E164}'"
        f" FROM public.gsw_donotcall_list WHERE phone !~ '{E164}' OR customer_id IS NOT NULL"
    )
    rows = 0
    with conn.cursor(name="ocsd_donotcall_texts") as cursor:
        cursor.execute(query.encode())
        while found := cursor.fetchmany(_ROWS_AT_A_TIME):
            numbers: list[tuple[int, int, int]] = []
            texts: list[tuple[int, int, int]] = []
            customers: list[tuple[int, int, int]] = []
            for tenant, phone, customer_id, until, counted in found:
                rows += not counted
                if phone := plain(phone):
                    texts.append((tenant, hash_of(phone), until))
                    numbers += [(tenant, number, until) for number in every_number(phone, plans)]
                if customer_id := plain(customer_id):
                    customers.append((tenant, hash_of(customer_id), until))
            for into, keys in ((gathered.numbers, numbers), (gathered.texts, texts), (gathered.customers, customers)):
                if keys:
                    columns = [np.array(column, np.uint64) for column in zip(*keys, strict=True)]
                    _by_tenant(into, *columns)
    return rows


def version(conn: Connection) -> int:
    """The version that daemons compare with the one they have read."""
    row = conn.execute("SELECT version FROM ocsd.dnc_version").fetchone()
    return int(row[0]) if row else 0


def raise_version(conn: Connection) -> int:
    """Tell running daemons to read everything again; returns the new version."""
    row = conn.execute("UPDATE ocsd.dnc_version SET version = version + 1 RETURNING version").fetchone()
    if row is None:
        raise ConfigError(["ocsd.dnc_version is empty; insert one row with version 1"])
    return int(row[0])


def news(conn: Connection, snapshot: str) -> tuple[str, int, list[Request]]:
    """A new snapshot, the version, and the requests that the old snapshot did not show, whoever wrote them."""
    found = conn.execute(
        "SELECT pg_current_snapshot()::text, v.version, r.request_id, r.tenant_dbid, r.phone, r.customer_id,"
        " r.dnc_message, r.campaign_dbid, r.list_dbid, r.expires_at, r.requested_at, r.in_force_at"
        " FROM ocsd.dnc_version v LEFT JOIN ocsd.dnc_request r"
        # The first condition finds them by the index, the second leaves out those seen beside a long transaction.
        " ON r.txid >= pg_snapshot_xmin(%(old)s::pg_snapshot)"
        " AND NOT pg_visible_in_snapshot(r.txid, %(old)s::pg_snapshot)",
        {"old": snapshot},
    ).fetchall()
    requests = []
    for _snapshot, _version, request_id, *values, expires_at, requested_at, in_force_at in found:
        if request_id is not None:
            tenant, phone, customer_id, message, campaign, calling_list = values
            until = expires_at or NEVER_ENDS
            entry = DncEntry(
                tenant, phone, customer_id, requested_at, message or "", campaign, calling_list,
                None if until == NEVER_ENDS else datetime.fromtimestamp(until, UTC),
            )  # fmt: skip
            requests.append(Request(entry, request_id, in_force_at, until))
    if not found:
        raise ConfigError(["ocsd.dnc_version is empty; insert one row with version 1"])
    return found[0][0], found[0][1], requests


def load_and_news(conn: Connection, plans: tuple[Plan, ...], snapshot: str) -> tuple[Loaded, list[Request]]:
    """`load`, and those `news` since ``snapshot`` (empty: none are asked for) that the table as read contains."""
    loaded = load(conn, plans)
    return loaded, news(conn, snapshot)[2] if snapshot else []


def write(conn: Connection, requests: Sequence[Request], effects: Sequence[Effect] = ()) -> None:
    """Put requests into the table, and their times beside it; what is there already stays as it is."""
    if requests:
        conn.execute(
            "WITH fresh AS (INSERT INTO ocsd.dnc_request (request_id, tenant_dbid, phone, customer_id, dnc_message,"
            " campaign_dbid, list_dbid, expires_at, requested_at, in_force_at, durable_at)"
            " SELECT *, clock_timestamp() FROM unnest(%s::uuid[], %s::bigint[], %s::text[], %s::text[], %s::text[],"
            " %s::bigint[], %s::bigint[], %s::int[], %s::timestamptz[], %s::timestamptz[])"
            " ON CONFLICT (request_id) DO NOTHING RETURNING *)"
            " INSERT INTO public.gsw_donotcall_list (phone, customer_id, dnc_message, tenant_dbid, campaign_dbid,"
            " list_dbid, is_internal, time_stamp, expires_at) SELECT phone, customer_id, dnc_message, tenant_dbid,"
            " campaign_dbid, list_dbid, 1,"
            " least(extract(epoch FROM requested_at), 2147483647)::int, expires_at FROM fresh",
            [list(column) for column in zip(*map(_columns, requests), strict=True)],
        )
    if effects:
        noted = [(one, effect.applied_at, effect.rows) for effect in effects for one in effect.request_ids]
        conn.execute(
            # Of several daemons each has its own lists and calls: the last of them counts, and the rows of all. Writing
            # the same again after a lost answer changes nothing.
            "UPDATE ocsd.dnc_request AS r SET applied_at = greatest(r.applied_at, e.at),"
            " rows = coalesce(r.rows, 0) + e.rows FROM (SELECT id, max(at) AS at, sum(rows)::int AS rows"
            " FROM unnest(%s::uuid[], %s::timestamptz[], %s::int[]) AS u (id, at, rows) GROUP BY id) AS e"
            " WHERE r.request_id = e.id AND r.applied_at IS DISTINCT FROM e.at",
            [list(column) for column in zip(*noted, strict=True)],
        )


def _columns(request: Request) -> tuple[object, ...]:
    entry = request.entry
    return (
        request.request_id,
        entry.tenant_dbid,
        plain(entry.phone) or None,
        plain(entry.customer_id) or None,
        _message(entry.message),
        entry.campaign_dbid,
        entry.list_dbid,
        None if request.expires_at == NEVER_ENDS else request.expires_at,
        entry.requested_at,
        request.in_force_at,
    )


def _message(text: str) -> str | None:
    return text.replace("\0", "").encode("utf-8", "replace").decode()[:MESSAGE_LENGTH] or None
