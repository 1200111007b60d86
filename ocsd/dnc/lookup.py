"""Who said that a number or a customer must not be called: rows of the table and registries, for people who ask."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from ocsd.config.objects import Configuration
from ocsd.dnc.forms import Plan, every_number, plan_of
from ocsd.dnc.index import NEVER_ENDS, number_of, plain
from ocsd.dnc.mapped import Registry
from ocsd.dnc.upkeep import Connection, rows_of_customer, rows_of_phone

Kind = Literal["phone", "customer_id"]


@dataclass(frozen=True, slots=True)
class Found:
    """
    One entry that forbids, or did.

    Attributes:
        registry: its name; None: a row of the table.
        tenant_dbid: None: every tenant.
        since, expires_at: aware UTC; None: not known, or never. A registry's ``since`` is its import.
        phone, customer_id: as they stand in the row.
    """

    registry: str | None
    tenant_dbid: int | None
    since: datetime | None
    expires_at: datetime | None
    in_force: bool
    message: str = ""
    phone: str | None = None
    customer_id: str | None = None


def plans_of(configuration: Configuration) -> tuple[Plan, ...]:
    """The countries in which phones without a country code are looked for: those of the trunks."""
    return tuple(plan_of(country) for country in sorted({trunk.country for trunk in configuration.trunks}))


def time_of(seconds: int) -> datetime | None:
    """Unix seconds as aware UTC; None for NEVER_ENDS."""
    return None if seconds == NEVER_ENDS else datetime.fromtimestamp(seconds, UTC)


def look_up(
    connection: Connection,
    registries: Sequence[Registry],
    plans: tuple[Plan, ...],
    kind: Kind,
    text: str,
    tenant_dbid: int | None,
    now: datetime,
) -> list[Found]:
    """What forbids ``text`` to a tenant (None: to anyone) at ``now`` or did before; the table first."""
    by_phone = kind == "phone"
    rows = (
        rows_of_phone(connection, text, tenant_dbid, plans)
        if by_phone
        else rows_of_customer(connection, text, tenant_dbid)
    )
    found = [
        Found(
            registry=None,
            tenant_dbid=row.tenant_dbid,
            since=row.since,
            expires_at=row.expires_at,
            in_force=row.in_force(now),
            message=row.message,
            phone=row.phone,
            customer_id=row.customer_id,
        )
        for row in rows
    ]
    if not by_phone:
        return found
    number = number_of(plain(text))
    meanings = (number,) if number else every_number(text, plans)
    return found + [
        Found(
            registry=registry.name,
            tenant_dbid=registry.tenant_dbid,
            since=time_of(registry.built_at),
            expires_at=time_of(registry.until),
            in_force=registry.until > now.timestamp(),
        )
        for registry in registries
        if (tenant_dbid is None or registry.tenant_dbid in (None, tenant_dbid))
        and any(registry.index.until(meaning) for meaning in meanings)
    ]
