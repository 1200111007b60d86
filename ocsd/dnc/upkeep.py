"""The operator's side of the table ``gsw_donotcall_list``: look up, remove, import, export. Plain SQL functions."""

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import psycopg
from psycopg import sql

from ocsd.dnc.forms import Plan, every_number
from ocsd.dnc.index import U64, number_of, plain
from ocsd.dnc.table import COLUMNS, E164, LAST_SECOND

Connection = psycopg.Connection[Any]

IMPORTED: Final = "imported"
"""``dnc_message`` of imported rows; ``is_internal`` is 0 there and 1 in rows that a request has made."""

_COPY_ROWS: Final = 100_000

# Everything that could be the number: a plain E.164 text by comparison, other texts by their digits. The digits of a
# national form are the end of the number's, so the caller's look at each such row decides.
_CANDIDATES: Final = sql.SQL(
    "(phone = ANY(%(exact)s) OR (phone !~ {} AND right(regexp_replace(phone, '[^0-9]', '', 'g'), 5) = %(last)s))"
).format(sql.Literal(E164))
_TENANT: Final = sql.SQL("(coalesce(tenant_dbid, 0) < 1 OR %(tenant)s::bigint IS NULL OR tenant_dbid = %(tenant)s)")
_EXACT_TENANT: Final = sql.SQL("nullif(greatest(coalesce(tenant_dbid, 0), 0), 0) IS NOT DISTINCT FROM %(tenant)s")


@dataclass(frozen=True, slots=True)
class TableRow:
    """A row that forbids. Times are aware UTC; None: not known, or never."""

    phone: str | None
    customer_id: str | None
    message: str
    tenant_dbid: int | None
    campaign_dbid: int | None
    list_dbid: int | None
    since: datetime | None
    expires_at: datetime | None

    def in_force(self, now: datetime) -> bool:
        return self.expires_at is None or self.expires_at > now


def _time(seconds: int | None) -> datetime | None:
    return datetime.fromtimestamp(int(seconds), UTC) if seconds and seconds > 0 else None


def _row(found: tuple[Any, ...]) -> TableRow:
    phone, customer_id, message, tenant, campaign, calling_list, time_stamp, expires_at = found
    return TableRow(
        phone=phone,
        customer_id=customer_id,
        message=message or "",
        tenant_dbid=int(tenant) if tenant is not None and tenant >= 1 else None,
        campaign_dbid=int(campaign) if campaign is not None else None,
        list_dbid=int(calling_list) if calling_list is not None else None,
        since=_time(time_stamp),
        expires_at=_time(expires_at),
    )


def _means(text: str | None, wanted: str, plans: tuple[Plan, ...]) -> bool:
    """Whether a stored phone forbids ``wanted`` (plain), as the check has it."""
    stored = plain(text)
    number = number_of(wanted)
    if not number:
        return stored == wanted or bool(set(every_number(wanted, plans)) & set(_numbers(stored, plans)))
    return number in _numbers(stored, plans)


def _numbers(stored: str, plans: tuple[Plan, ...]) -> tuple[int, ...]:
    number = number_of(stored)
    return (number,) if number else every_number(stored, plans)


def _found(
    conn: Connection, phone: str, tenant: sql.SQL | sql.Composed, tenant_dbid: int | None, plans: tuple[Plan, ...]
) -> list[tuple[str, TableRow]]:
    """Rows that forbid a phone, each with its ctid."""
    phone = plain(phone)
    number = number_of(phone)
    meanings = (number,) if number else every_number(phone, plans)
    lasts = {str(meaning)[-5:] for meaning in meanings} or {""}
    rows: dict[str, TableRow] = {}
    for last in lasts:
        query = sql.SQL(
            "SELECT ctid::text, phone, customer_id, dnc_message, tenant_dbid, campaign_dbid, list_dbid, time_stamp,"
            " expires_at FROM public.gsw_donotcall_list WHERE ({} OR phone = %(phone)s) AND {}"
        ).format(_CANDIDATES, tenant)
        values = {
            "exact": [f"+{meaning}" for meaning in meanings],
            "last": last,
            "phone": phone,
            "tenant": tenant_dbid,
        }
        for ctid, *columns in conn.execute(query, values):
            row = _row(tuple(columns))
            if _means(row.phone, phone, plans):
                rows[ctid] = row
    return list(rows.items())


def rows_of_phone(
    conn: Connection, phone: str, tenant_dbid: int | None, plans: tuple[Plan, ...] = ()
) -> list[TableRow]:
    """Rows that forbid ``phone`` to a tenant (None: to anyone), expired ones too."""
    return [row for _ctid, row in _found(conn, phone, _TENANT, tenant_dbid, plans)]


def rows_of_customer(conn: Connection, customer_id: str, tenant_dbid: int | None) -> list[TableRow]:
    """Rows that forbid a customer to a tenant (None: to anyone), expired ones too."""
    query = sql.SQL(
        "SELECT phone, customer_id, dnc_message, tenant_dbid, campaign_dbid, list_dbid, time_stamp, expires_at"
        " FROM public.gsw_donotcall_list WHERE btrim(customer_id) = %(customer)s AND {}"
    ).format(_TENANT)
    found = conn.execute(query, {"customer": plain(customer_id), "tenant": tenant_dbid})
    return [_row(row) for row in found.fetchall()]


def remove_phone(conn: Connection, phone: str, tenant_dbid: int | None, plans: tuple[Plan, ...] = ()) -> int:
    """Take a phone out of a tenant's rows (None: the rows that hold for all); returns how many rows went."""
    # A row id is good for as long as nobody changes the row, so it is looked up and used under one lock.
    conn.execute("LOCK TABLE public.gsw_donotcall_list IN SHARE ROW EXCLUSIVE MODE")
    ctids = [ctid for ctid, _row in _found(conn, phone, _EXACT_TENANT, tenant_dbid, plans)]
    # A row that names a customer too still forbids that customer.
    conn.execute(
        "UPDATE public.gsw_donotcall_list SET phone = NULL WHERE ctid = ANY(%s::tid[]) AND customer_id IS NOT NULL",
        (ctids,),
    )
    conn.execute("DELETE FROM public.gsw_donotcall_list WHERE ctid = ANY(%s::tid[]) AND customer_id IS NULL", (ctids,))
    return len(ctids)


def remove_customer(conn: Connection, customer_id: str, tenant_dbid: int | None) -> int:
    """Take a customer out of a tenant's rows (None: the rows that hold for all); returns how many rows went."""
    values = {"customer": plain(customer_id), "tenant": tenant_dbid}
    condition = sql.SQL("btrim(customer_id) = %(customer)s AND {}").format(_EXACT_TENANT)
    update = sql.SQL("UPDATE public.gsw_donotcall_list SET customer_id = NULL WHERE {} AND phone IS NOT NULL")
    kept = conn.execute(update.format(condition), values).rowcount
    delete = sql.SQL("DELETE FROM public.gsw_donotcall_list WHERE {}")
    return kept + conn.execute(delete.format(condition), values).rowcount


def import_numbers(
    conn: Connection,
    numbers: U64,
    tenant_dbid: int | None,
    expires_at: int,
    now: datetime,
    progress: Callable[[int], object] = lambda _rows: None,
) -> int:
    """
    Put numbers into the table that are not there for this tenant until then or longer; returns how many were new.

    Args:
        numbers: in any order, with repetitions.
        expires_at: Unix seconds, or NEVER_ENDS.
        progress: called with the rows sent so far.
    """
    until = None if expires_at > LAST_SECOND else expires_at
    conn.execute("CREATE TEMP TABLE dnc_import (phone text) ON COMMIT DROP")
    sent = 0
    with conn.cursor() as cursor, cursor.copy("COPY dnc_import FROM STDIN") as copy:
        distinct = np.unique(numbers)
        for start in range(0, len(distinct), _COPY_ROWS):
            part = distinct[start : start + _COPY_ROWS].tolist()
            copy.write("".join(f"+{number}\n" for number in part))
            sent += len(part)
            progress(sent)
    conn.execute("ANALYZE dnc_import")
    return conn.execute(
        "INSERT INTO public.gsw_donotcall_list (phone, dnc_message, tenant_dbid, is_internal, time_stamp, expires_at)"
        " SELECT i.phone, %(message)s, %(tenant)s::bigint, 0, %(now)s::int, %(until)s::int FROM dnc_import i"
        " WHERE NOT EXISTS (SELECT FROM public.gsw_donotcall_list d WHERE d.phone = i.phone"
        " AND coalesce(d.tenant_dbid, 0) = coalesce(%(tenant)s::bigint, 0)"
        " AND (coalesce(d.expires_at, 0) <= 0 OR d.expires_at >= %(until)s::int))",
        {
            "message": IMPORTED,
            "tenant": tenant_dbid,
            "now": min(int(now.timestamp()), LAST_SECOND),
            "until": until,
        },
    ).rowcount


def export_table(conn: Connection, tenant_dbid: int | None, write: Callable[[bytes], object]) -> int:
    """Write the rows of a tenant (None: all rows) as CSV with a header; returns how many rows there were."""
    header = io.StringIO()
    csv.writer(header, lineterminator="\n").writerow(COLUMNS)
    write(header.getvalue().encode())
    condition = sql.SQL("true") if tenant_dbid is None else sql.SQL("tenant_dbid = {}").format(tenant_dbid)
    query = sql.SQL("COPY (SELECT {} FROM public.gsw_donotcall_list WHERE {}) TO STDOUT (FORMAT CSV)").format(
        sql.SQL(", ").join(map(sql.Identifier, COLUMNS)), condition
    )
    with conn.cursor() as cursor:
        with cursor.copy(query) as copy:
            for data in copy:
                write(bytes(data))
        return max(cursor.rowcount, 0)


def export_numbers(parts: Iterator[U64], write: Callable[[bytes], object]) -> int:
    """Write numbers one a line, with ``+``."""
    count = 0
    for part in parts:
        write("".join(f"+{number}\n" for number in part.tolist()).encode())
        count += len(part)
    return count


def count_rows(conn: Connection) -> dict[int | None, tuple[int, int, int]]:
    """By tenant (None: all): rows with a phone, rows with a customer id, rows that have expired."""
    found = conn.execute(
        "SELECT nullif(greatest(coalesce(tenant_dbid, 0), 0), 0)::bigint AS tenant, count(phone), count(customer_id),"
        " count(*) FILTER (WHERE expires_at > 0 AND expires_at <= extract(epoch FROM now()))"
        " FROM public.gsw_donotcall_list GROUP BY tenant ORDER BY tenant NULLS FIRST"
    )
    return {tenant: (phones, customers, expired) for tenant, phones, customers, expired in found.fetchall()}
