"""``ocsd list``: calling lists in the configuration's database."""

import time
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from ocsd.cli.database import open_connection
from ocsd.cli.errors import EXIT_CODES, EXIT_REFUSED
from ocsd.cli.output import JSON_OPTION, byte_progress, out, print_json, print_table
from ocsd.lists.keys import Action, Key
from ocsd.model.enums import CallResult, RecordStatus, RecordType
from ocsd.model.errors import ConfigError

if TYPE_CHECKING:
    import psycopg

    from ocsd.config.objects import CallingList, Configuration

app = typer.Typer(
    help="Create, fill and look at calling lists.\n\n\b\n"
    'Example:\n  ocsd list import "Example List" customers.csv --config /etc/ocsd/ocsd.toml',
    epilog=EXIT_CODES,
    no_args_is_help=True,
    rich_markup_mode=None,
)

ListName: TypeAlias = Annotated[str, typer.Argument(metavar="LIST", help="Name of a calling list.")]
Config: TypeAlias = Annotated[
    Path, typer.Option("--config", "-c", envvar="OCSD_CONFIG", help="TOML file, or folder of *.toml files.")
]


class Retrieved(StrEnum):
    REJECT = "reject"
    READY = "ready"


def _load(config: Path) -> "Configuration":
    from ocsd.config.loader import load_configuration

    return load_configuration(config)


def _calling_list(configuration: "Configuration", name: str) -> "CallingList":
    for calling_list in configuration.calling_lists:
        if calling_list.name == name:
            return calling_list
    known = ", ".join(f'"{calling_list.name}"' for calling_list in configuration.calling_lists) or "none"
    raise ConfigError([f'no calling list is called "{name}"; defined are: {known}.'])


@app.command(epilog=EXIT_CODES)
def create(
    name: Annotated[str | None, typer.Argument(metavar="[LIST]", help="Name of a calling list.")] = None,
    config: Config = ...,  # type: ignore[assignment]
    all_lists: Annotated[bool, typer.Option("--all", help="Every list that has no table yet.")] = False,
    as_json: JSON_OPTION = False,
) -> None:
    """Create the table of a calling list, with the manual's 23 columns and those of its format.

    \b
    Example:
      ocsd list create "Example List" --config /etc/ocsd/ocsd.toml
      ocsd list create --all --config /etc/ocsd/ocsd.toml
    """
    from ocsd.lists.tables import create_table, table_of

    if (name is None) is not all_lists:
        raise typer.BadParameter("give the name of a list, or --all", param_hint="LIST")
    configuration = _load(config)
    wanted = list(configuration.calling_lists) if name is None else [_calling_list(configuration, name)]
    created: dict[str, str] = {}
    with open_connection(configuration) as connection:
        for calling_list in wanted:
            table = table_of(configuration, calling_list)
            if all_lists and _exists(connection, table):
                continue
            create_table(connection, configuration, calling_list)
            created[calling_list.name] = table
    if as_json:
        print_json({"created": created})
    else:
        for made, table in created.items():
            out(f'{made}: table "{table}" created')
        if not created:
            out("every calling list has its table already")


def _exists(connection: "psycopg.Connection[Any]", table: str) -> bool:
    return connection.execute("SELECT to_regclass(%s)", (f'"{table}"',)).fetchone() != (None,)


@app.command("import", epilog=EXIT_CODES)
def import_(
    name: ListName,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CSV file with a header, UTF-8.")],
    config: Config,
    mapping: Annotated[
        list[str] | None,
        typer.Option(
            "--map", metavar="HEADER=COLUMN", help="Column that a header stands for; - leaves it out. Repeatable."
        ),
    ] = None,
    duplicates: Annotated[
        Action,
        typer.Option(
            help="What becomes of rows that are in the list already, or twice in the file. keep: they are not looked "
            "for; skip: left out; update: the list's row takes over user fields and daily window, unless it is finished"
            " or a daemon holds it; refuse: nothing is imported."
        ),
    ] = Action.KEEP,
    by: Annotated[
        Key,
        typer.Option(
            help="When two rows are the same; customer_id is the list's customer_id_field, contact_info+chain_id the "
            "same number twice in one chain."
        ),
    ] = Key.PHONE,
    also: Annotated[
        list[str] | None,
        typer.Option(metavar="LIST", help="A list whose rows count as duplicates too, but never change. Repeatable."),
    ] = None,
    exact: Annotated[
        bool,
        typer.Option(
            "--exact",
            help="For a file of `ocsd list export`: take every value over as it stands, without looking at numbers, "
            "zones, windows and statuses.",
        ),
    ] = False,
    retrieved: Annotated[
        Retrieved,
        typer.Option(
            help="Rows of status Retrieved (2), which some daemon held when the file was written and may have dialed: "
            "reject them, or make them ready again."
        ),
    ] = Retrieved.REJECT,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and report everything, import nothing.")] = False,
    as_json: JSON_OPTION = False,
) -> None:
    """Import a CSV file into a calling list.

    Good rows are kept; bad ones go to FILE.rejected.csv with line number and reason, duplicates to FILE.duplicates.csv
    with what became of them. The exit code is 1 only when no row at all was good, or duplicates are refused.

    An empty value is NULL (or the column's default), a quoted empty one ("") is empty text. Rows of a chain that are
    left out leave the others in their order. Record and chain ids of the file are kept, where they are free.

    \b
    Example:
      ocsd list import "Example List" customers.csv --config /etc/ocsd/ocsd.toml
      ocsd list import "Example List" customers.csv --map "Mobile=contact_info" --map "Notes=-"
      ocsd list import "Example List" customers.csv --duplicates skip --also "Gold List" --dry-run
    """
    from ocsd.lists.duplicates import DuplicateRule
    from ocsd.lists.importer import ImportOptions, import_csv

    columns = dict(_pair(text) for text in mapping or ())
    if duplicates is Action.KEEP and also:
        raise typer.BadParameter("needs --duplicates skip, update or refuse", param_hint="--also")
    configuration = _load(config)
    calling_list = _calling_list(configuration, name)
    rule = DuplicateRule(duplicates, by, tuple(_calling_list(configuration, other) for other in also or ()))
    started_s = time.monotonic()
    with (
        open_connection(configuration) as connection,
        byte_progress(f"importing {file.name}", file.stat().st_size) as seen,
    ):
        result = import_csv(
            connection,
            configuration,
            calling_list,
            file,
            options=ImportOptions(columns, rule, exact, retrieved is Retrieved.READY, dry_run),
            progress=lambda rows, read: seen(read, f"{rows} rows"),
        )
    elapsed_s = time.monotonic() - started_s
    if as_json:
        print_json(
            {
                "calling_list": name,
                "rows": result.rows,
                "imported": result.imported,
                "rejected": result.rejected,
                "rejected_file": _path(result.rejected_path),
                "duplicates": result.duplicates,
                "updated": result.updated,
                "duplicates_file": _path(result.duplicates_path),
                "refused": result.refused,
                "dry_run": dry_run,
                "elapsed_s": round(elapsed_s, 3),
            }
        )
    else:
        done = "would be imported" if dry_run else "imported"
        out(f"{name}: {result.imported} of {result.rows} rows {done} in {elapsed_s:.1f} s")
        if result.rejected_path:
            out(f"{result.rejected} rows rejected: {result.rejected_path} says why")
        if result.duplicates_path:
            fate = f"{result.updated} of them {'would update' if dry_run else 'updated'} rows of the list"
            what = "nothing is imported because of them" if result.refused else fate
            out(f"{result.duplicates} duplicates, {what}: {result.duplicates_path} lists them")
    if result.refused or (result.rows and result.rejected == result.rows):
        raise typer.Exit(EXIT_REFUSED)


def _path(path: Path | None) -> str | None:
    return str(path) if path is not None else None


def _pair(text: str) -> tuple[str, str]:
    header, equals, column = text.rpartition("=")
    if not equals or not header or not column:
        raise typer.BadParameter(f"must be HEADER=COLUMN, got {text!r}", param_hint="--map")
    return header, column


@app.command(epilog=EXIT_CODES)
def export(
    name: ListName,
    file: Annotated[Path, typer.Argument(dir_okay=False, help="CSV file to be written.")],
    config: Config,
    as_json: JSON_OPTION = False,
) -> None:
    """Export the records of a calling list as CSV, which can be imported again.

    \b
    Example:
      ocsd list export "Example List" customers.csv --config /etc/ocsd/ocsd.toml
    """
    from ocsd.lists.exporter import export_csv

    configuration = _load(config)
    calling_list = _calling_list(configuration, name)
    with open_connection(configuration) as connection, byte_progress(f"exporting {file.name}", None) as seen:
        rows = export_csv(connection, configuration, calling_list, file, progress=seen)
    if as_json:
        print_json({"calling_list": name, "rows": rows, "file": str(file)})
    else:
        out(f"{name}: {rows} rows exported to {file}")


@app.command(epilog=EXIT_CODES)
def stats(name: ListName, config: Config, as_json: JSON_OPTION = False) -> None:
    """Count the records of a calling list by status, type and call result, and those held back by reason.

    \b
    Example:
      ocsd list stats "Example List" --config /etc/ocsd/ocsd.toml
    """
    from ocsd.lists.counting import stats as count

    configuration = _load(config)
    calling_list = _calling_list(configuration, name)
    with open_connection(configuration) as connection:
        counts = count(connection, configuration, calling_list, datetime.now(UTC))
    by_status: dict[str, int] = {}
    by_type: dict[str, int] = {}
    for (status, record_type), records in sorted(counts.by_status_and_type.items()):
        for table, word in ((by_status, _word(RecordStatus, status)), (by_type, _word(RecordType, record_type))):
            table[word] = table.get(word, 0) + records
    by_result = {_title(result): records for result, records in sorted(counts.by_call_result.items())}
    total = sum(by_status.values())
    if as_json:
        print_json(
            {
                "calling_list": name,
                "records": total,
                "ready_chains": counts.ready_chains,
                "ready_in_window": counts.ready_in_window,
                "by_status": by_status,
                "by_type": by_type,
                "by_call_result": by_result,
                "held_back": dict(sorted(counts.held_back.items())),
            }
        )
        return
    rows: list[tuple[object, ...]] = [
        ("records", total),
        ("chains ready", counts.ready_chains),
        ("chains ready, window open now", counts.ready_in_window),
    ]
    for heading, table in (("status", by_status), ("type", by_type), ("call result", by_result)):
        rows += [(f"{heading} {word}", records) for word, records in table.items()]
    rows += [(f"not dialed now: {reason}", records) for reason, records in sorted(counts.held_back.items())]
    print_table(("", name), rows)


def _word(kind: type[RecordStatus] | type[RecordType], number: int) -> str:
    """A number of the manual in words; one that it does not know stays a number."""
    return next((member.name.lower() for member in kind if member.value == number), str(number))


def _title(number: int) -> str:
    return next((result.title for result in CallResult if result.value == number), str(number))
