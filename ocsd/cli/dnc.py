"""``ocsd dnc``: Do-Not-Call, the table of requests and the registry files."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

import ocsd.cli.dnc_entries  # noqa: F401 - adds its commands
from ocsd.cli.database import open_connection
from ocsd.cli.dnc_common import (
    Config,
    Country,
    Expires,
    RegistryName,
    TenantName,
    app,
    data_dir,
    end_of,
    iso,
    load,
    no_registry,
    plan_for,
    registries_of,
    tenant_dbid_of,
    tenant_name,
)
from ocsd.cli.errors import EXIT_CODES
from ocsd.cli.output import JSON_OPTION, byte_progress, out, print_json, print_table

__all__ = ["app"]


@app.command("import", epilog=EXIT_CODES)
def import_(
    files: Annotated[
        list[Path],
        typer.Argument(
            exists=True, dir_okay=False, metavar="FILE...", help="Text, one number a line; *.gz is decompressed."
        ),
    ],
    config: Config,
    tenant: TenantName = None,
    registry: Annotated[
        str | None,
        typer.Option("--registry", metavar="NAME", help="Replace this registry; for lists of any size."),
    ] = None,
    table: Annotated[
        bool, typer.Option("--table", help="Add to the table gsw_donotcall_list; for some million numbers.")
    ] = False,
    country: Country = None,
    expires: Expires = None,
    force: Annotated[
        bool,
        typer.Option(help="Import though many lines were refused, or far fewer numbers come than there were."),
    ] = False,
    as_json: JSON_OPTION = False,
) -> None:
    """Import files of numbers: a national registry, or numbers of your own.

    A line is a number with + and country code, or as it is written in --country (212,5550123 too). Lines that are
    refused go to FILE.rejected.csv with line number and reason. Running daemons read it within seconds.

    \b
    Example:
      ocsd dnc import 2026-03/*.txt.gz --registry us --country US --expires 2026-04-30 --config /etc/ocsd/ocsd.toml
      ocsd dnc import complaints.txt --table --tenant "Example Ltd" --country US
    """
    from ocsd.dnc import table as sql
    from ocsd.dnc.importing import Imported, import_registry, read_checked
    from ocsd.dnc.index import NEVER_ENDS
    from ocsd.dnc.mapped import registry_path
    from ocsd.dnc.upkeep import import_numbers

    if (registry is None) is not table:
        raise typer.BadParameter("give --registry NAME or --table", param_hint="--registry")
    plan = plan_for(country)
    end = end_of(expires, in_table=table)
    until = NEVER_ENDS if end is None else int(end.timestamp())
    configuration = load(config)
    tenant_dbid = tenant_dbid_of(configuration, tenant)
    rejects_path = files[0].with_name(f"{files[0].name}.rejected.csv")
    total_bytes = sum(file.stat().st_size for file in files)
    title = f"reading {files[0].name}" if len(files) == 1 else f"reading {len(files)} files"
    began_s = time.monotonic()
    if registry is not None:
        path = registry_path(data_dir(configuration), tenant_dbid, registry)
        with byte_progress(title, total_bytes) as seen:
            imported = import_registry(
                files,
                path,
                plan,
                rejects_path,
                until=until,
                force=force,
                progress=lambda done, numbers: seen(done, f"{numbers} numbers"),
                writing=lambda done: seen(total_bytes, f"written {done >> 20} MiB"),
            )
        where, what = f'registry "{registry}"', "numbers"
        with open_connection(configuration) as connection:
            sql.raise_version(connection)
    else:
        with byte_progress(title, total_bytes) as seen:
            numbers, counts, rejected_file = read_checked(
                files,
                plan,
                rejects_path,
                force=force,
                progress=lambda done, numbers: seen(done, f"{numbers} numbers"),
            )
        with open_connection(configuration) as connection, connection.transaction():
            new = import_numbers(connection, numbers, tenant_dbid, until, datetime.now(UTC))
            sql.raise_version(connection)
        imported = Imported(counts.lines, counts.rejected, rejected_file, new)
        where, what = "table gsw_donotcall_list", "new numbers"
    elapsed_s = time.monotonic() - began_s
    if as_json:
        print_json(
            {
                "registry": registry,
                "tenant": tenant,
                "lines": imported.lines,
                "rejected": imported.rejected,
                "rejected_file": str(imported.rejects_path) if imported.rejects_path else None,
                "numbers": imported.numbers,
                "elapsed_s": round(elapsed_s, 3),
            }
        )
        return
    whom = tenant_name(configuration, tenant_dbid)
    out(f"{where} of {whom}: {imported.numbers} {what} from {imported.lines} lines in {elapsed_s:.1f} s")
    if imported.rejects_path:
        out(f"{imported.rejected} lines refused: {imported.rejects_path} says why")


@app.command(epilog=EXIT_CODES)
def export(
    config: Config,
    tenant: TenantName = None,
    registry: RegistryName = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", dir_okay=False, help="File; default: standard output.")
    ] = None,
) -> None:
    """Write the table as CSV (all rows, or those of a tenant), or a registry as one number a line.

    \b
    Example:
      ocsd dnc export --tenant "Example Ltd" --output requests.csv --config /etc/ocsd/ocsd.toml
      ocsd dnc export --registry us | grep ^+1212
    """
    from ocsd.dnc.mapped import map_registry, registry_path
    from ocsd.dnc.upkeep import export_numbers, export_table

    configuration = load(config)
    tenant_dbid = tenant_dbid_of(configuration, tenant)
    if registry is not None:
        path = registry_path(data_dir(configuration), tenant_dbid, registry)
        if not path.exists():
            raise no_registry(configuration, registry, tenant_dbid)
        index = map_registry(path, tenant_dbid).index
        with _target(output) as write:
            count = export_numbers(index.numbers(), write)
        words = f"{count} numbers"
    else:
        with open_connection(configuration) as connection, _target(output) as write:
            count = export_table(connection, tenant_dbid, write)
        words = f"{count} rows"
    if output is not None:
        out(f"{words} exported to {output}")


@contextmanager
def _target(output: Path | None) -> Iterator[Any]:
    if output is None:
        yield typer.get_binary_stream("stdout").write
    else:
        with output.open("wb") as file:
            yield file.write


@app.command("list", epilog=EXIT_CODES)
def list_(
    config: Config,
    verify: Annotated[bool, typer.Option("--verify", help="Read all registry files and compare checksums.")] = False,
    as_json: JSON_OPTION = False,
) -> None:
    """List the registries and count the rows of the table.

    \b
    Example:
      ocsd dnc list --config /etc/ocsd/ocsd.toml
    """
    from ocsd.dnc.lookup import time_of
    from ocsd.dnc.upkeep import count_rows

    configuration = load(config)
    registries = registries_of(configuration)
    if verify:
        for registry in registries:
            registry.verify()
    with open_connection(configuration) as connection:
        counts = count_rows(connection)
    now_s = time.time()
    if as_json:
        print_json(
            {
                "registries": [
                    {
                        "name": registry.name,
                        "tenant": tenant_name(configuration, registry.tenant_dbid),
                        "numbers": len(registry.index),
                        "bytes": registry.index.nbytes,
                        "imported_at": iso(time_of(registry.built_at)),
                        "expires_at": iso(time_of(registry.until)),
                        "in_force": registry.until > now_s,
                        "file": str(registry.path),
                    }
                    for registry in registries
                ],
                "table": [
                    {
                        "tenant": tenant_name(configuration, dbid),
                        "phones": phones,
                        "customers": customers,
                        "expired": expired,
                    }
                    for dbid, (phones, customers, expired) in counts.items()
                ],
            }
        )
        return
    rows: list[tuple[object, ...]] = []
    for registry in registries:
        days = int((now_s - registry.built_at) // 86400)
        end = iso(time_of(registry.until))
        state = f"{days} days old" + (f", until {end}" if end else "") + ("" if registry.until > now_s else ", EXPIRED")
        whom = tenant_name(configuration, registry.tenant_dbid)
        rows.append((f'registry "{registry.name}"', whom, len(registry.index), None, state))
    for dbid, (phones, customers, expired) in counts.items():
        gone = f"{expired} expired" if expired else None
        rows.append(("table", tenant_name(configuration, dbid), phones, customers, gone))
    print_table(("where", "tenant", "numbers", "customers", ""), rows)


@app.command(epilog=EXIT_CODES)
def reread(config: Config, as_json: JSON_OPTION = False) -> None:
    """Tell running daemons to read the table and the registry files again, after changes by other means.

    \b
    Example:
      ocsd dnc reread --config /etc/ocsd/ocsd.toml
    """
    from ocsd.dnc import table as sql

    with open_connection(load(config)) as connection:
        version = sql.raise_version(connection)
    print_json({"version": version}) if as_json else out("daemons on this database will read it again")
