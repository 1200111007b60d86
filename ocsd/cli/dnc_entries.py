"""``ocsd dnc check | add | remove``: single numbers and customers."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ocsd.cli.database import open_connection
from ocsd.cli.dnc_common import (
    Config,
    Country,
    Customers,
    Expires,
    Numbers,
    TenantName,
    app,
    data_dir,
    end_of,
    iso,
    load,
    no_registry,
    phone_of,
    plan_for,
    registries_of,
    tenant_dbid_of,
    tenant_name,
)
from ocsd.cli.errors import EXIT_CODES, EXIT_REFUSED
from ocsd.cli.output import JSON_OPTION, err, out, print_json, print_table

if TYPE_CHECKING:
    import psycopg

    from ocsd.config.objects import Configuration
    from ocsd.dnc.lookup import Found, Kind


@app.command(epilog=EXIT_CODES)
def check(
    config: Config,
    numbers: Numbers = None,
    customers: Customers = None,
    tenant: Annotated[
        str | None,
        typer.Option("--tenant", metavar="NAME", help="What holds for this tenant; default: for any tenant."),
    ] = None,
    country: Country = None,
    as_json: JSON_OPTION = False,
) -> None:
    """Say whether numbers and customers may be called, and who said so: table or registry, since when, until when.

    \b
    Example:
      ocsd dnc check +12125550123 --config /etc/ocsd/ocsd.toml
      ocsd dnc check "(212) 555-0123" --country US --customer C-17 --tenant "Example Ltd" --json
    """
    if not numbers and not customers:
        raise typer.BadParameter("give a number or --customer", param_hint="NUMBER")
    plan = plan_for(country)
    configuration = load(config)
    tenant_dbid = tenant_dbid_of(configuration, tenant)
    asked: list[tuple[Kind, str]] = [("phone", phone_of(text, plan, must=False)) for text in numbers or ()]
    asked += [("customer_id", text) for text in customers or ()]
    with open_connection(configuration) as connection:
        found = _look_up(configuration, connection, asked, tenant_dbid)
    if as_json:
        print_json(
            [
                {
                    kind: text,
                    "forbidden": any(entry.in_force for entry in entries),
                    "found": [_entry_json(configuration, entry) for entry in entries],
                }
                for (kind, text), entries in zip(asked, found, strict=True)
            ]
        )
        return
    rows: list[tuple[object, ...]] = []
    for (_kind, text), entries in zip(asked, found, strict=True):
        if not any(entry.in_force for entry in entries):
            rows.append((text, "may be called", *[None] * 5))
        rows += [
            (
                text,
                "forbidden" if entry.in_force else "expired",
                _where(entry),
                tenant_name(configuration, entry.tenant_dbid),
                iso(entry.since),
                iso(entry.expires_at),
                entry.message or None,
            )
            for entry in entries
        ]
    print_table(("number", "", "where", "tenant", "since", "until", "message"), rows)


def _entry_json(configuration: "Configuration", entry: "Found") -> dict[str, object]:
    return {
        "tier": "table" if entry.registry is None else "registry",
        "registry": entry.registry,
        "tenant": tenant_name(configuration, entry.tenant_dbid),
        "phone": entry.phone,
        "customer_id": entry.customer_id,
        "since": iso(entry.since),
        "expires_at": iso(entry.expires_at),
        "message": entry.message,
        "in_force": entry.in_force,
    }


def _look_up(
    configuration: "Configuration",
    connection: "psycopg.Connection[Any]",
    asked: "list[tuple[Kind, str]]",
    tenant_dbid: int | None,
) -> "list[list[Found]]":
    """For each number or customer what forbids it, expired entries too."""
    from ocsd.dnc.lookup import look_up, plans_of

    registries, plans, now = registries_of(configuration), plans_of(configuration), datetime.now(UTC)
    return [look_up(connection, registries, plans, kind, text, tenant_dbid, now) for kind, text in asked]


def _where(entry: "Found") -> str:
    return "table" if entry.registry is None else f'registry "{entry.registry}"'


@app.command(epilog=EXIT_CODES)
def add(
    config: Config,
    numbers: Numbers = None,
    customers: Customers = None,
    tenant: TenantName = None,
    country: Country = None,
    message: Annotated[str, typer.Option(help="Why, for those who look it up.")] = "",
    expires: Expires = None,
    as_json: JSON_OPTION = False,
) -> None:
    """Forbid numbers and customers; running daemons obey within seconds.

    \b
    Example:
      ocsd dnc add +12125550123 --message "asked by letter" --config /etc/ocsd/ocsd.toml
      ocsd dnc add --customer C-17 --tenant "Example Ltd" --expires 2027-01-01
    """
    from ocsd.dnc import table as sql
    from ocsd.dnc.contract import DncEntry

    if not numbers and not any(text.strip() for text in customers or ()):
        raise typer.BadParameter("give a number or --customer", param_hint="NUMBER")
    plan = plan_for(country)
    ends = end_of(expires, in_table=True)
    configuration = load(config)
    tenant_dbid = tenant_dbid_of(configuration, tenant)
    now = datetime.now(UTC)
    pairs: list[tuple[str | None, str | None]] = [(phone_of(text, plan, must=True), None) for text in numbers or ()]
    pairs += [(None, text) for text in customers or () if text.strip()]
    requests = [
        # In force is what the database has: that is where daemons look.
        sql.request_of(DncEntry(tenant_dbid, phone, customer_id, now, message, expires_at=ends), now)
        for phone, customer_id in dict.fromkeys(pairs)
    ]
    with open_connection(configuration) as connection, connection.transaction():
        sql.write(connection, requests)
    if as_json:
        print_json({"added": len(requests)})
    else:
        out(f"{len(requests)} added for {tenant_name(configuration, tenant_dbid)}")


@app.command(epilog=EXIT_CODES)
def remove(
    config: Config,
    numbers: Numbers = None,
    customers: Customers = None,
    tenant: TenantName = None,
    registry: Annotated[
        str | None, typer.Option("--registry", metavar="NAME", help="Remove this registry as a whole instead.")
    ] = None,
    country: Country = None,
    as_json: JSON_OPTION = False,
) -> None:
    """Take numbers and customers out of the table (of a tenant, or what holds for every tenant), or a whole registry.

    What another entry still forbids stays forbidden, and is told. The exit code is 1 when there was nothing to remove.

    \b
    Example:
      ocsd dnc remove +12125550123 --tenant "Example Ltd" --config /etc/ocsd/ocsd.toml
      ocsd dnc remove --registry us
    """
    from ocsd.dnc import table as sql
    from ocsd.dnc.lookup import plans_of
    from ocsd.dnc.mapped import registry_path, remove_registry
    from ocsd.dnc.upkeep import remove_customer, remove_phone

    if bool(registry) is bool(numbers or customers):
        raise typer.BadParameter("give numbers or customers, or --registry NAME", param_hint="NUMBER")
    plan = plan_for(country)
    configuration = load(config)
    tenant_dbid = tenant_dbid_of(configuration, tenant)
    whom = tenant_name(configuration, tenant_dbid)
    if registry:
        path = registry_path(data_dir(configuration), tenant_dbid, registry)
        if not path.exists():
            raise no_registry(configuration, registry, tenant_dbid)
        remove_registry(path)
        with open_connection(configuration) as connection:
            sql.raise_version(connection)
        print_json({"removed_registry": registry}) if as_json else out(f'registry "{registry}" of {whom} removed')
        return
    asked: list[tuple[Kind, str]] = [("phone", phone_of(text, plan, must=False)) for text in numbers or ()]
    asked += [("customer_id", text) for text in customers or ()]
    plans = plans_of(configuration)
    with open_connection(configuration) as connection:
        with connection.transaction():
            removed = 0
            for kind, text in asked:
                if kind == "phone":
                    removed += remove_phone(connection, text, tenant_dbid, plans)
                else:
                    removed += remove_customer(connection, text, tenant_dbid)
            if removed:
                sql.raise_version(connection)
        found = _look_up(configuration, connection, asked, None)
    still = [
        (text, f"{_where(entry)} of {tenant_name(configuration, entry.tenant_dbid)}")
        for (_kind, text), entries in zip(asked, found, strict=True)
        for entry in entries
        if entry.in_force
    ]
    if as_json:
        print_json({"removed": removed, "still_forbidden": [{"what": text, "by": by} for text, by in still]})
    else:
        out(f"{removed} removed for {whom}")
        for text, by in still:
            err(f"{text} is still forbidden: {by}")
    if not removed:
        raise typer.Exit(EXIT_REFUSED)
