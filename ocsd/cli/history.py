"""``ocsd history`` and ``ocsd list history``: what happened to a number, and all attempts of a list."""

import csv
import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Annotated, Any, TypeAlias

import typer

from ocsd.cli.database import open_connection
from ocsd.cli.errors import EXIT_CODES
from ocsd.cli.lists import Config, ListName, _calling_list, _load, app
from ocsd.cli.output import JSON_OPTION, byte_progress, out, print_json, print_table

FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]

Since: TypeAlias = Annotated[
    datetime | None, typer.Option(formats=FORMATS, metavar="TIME", help="UTC; only what happened from then on.")
]
Until: TypeAlias = Annotated[
    datetime | None, typer.Option(formats=FORMATS, metavar="TIME", help="UTC; only what happened before.")
]


def history(
    config: Config,
    phones: Annotated[
        list[str] | None,
        typer.Option("--phone", metavar="NUMBER", help="As people in the country of the list write it. Repeatable."),
    ] = None,
    customers: Annotated[
        list[str] | None,
        typer.Option("--customer", metavar="ID", help="A customer id, besides the numbers. Repeatable."),
    ] = None,
    list_name: Annotated[
        str | None, typer.Option("--list", metavar="LIST", help="Only this calling list; Do-Not-Call holds for all.")
    ] = None,
    since: Since = None,
    until: Until = None,
    file: Annotated[
        Path | None, typer.Option("--csv", dir_okay=False, metavar="FILE", help="Write everything into a CSV file.")
    ] = None,
    as_json: JSON_OPTION = False,
) -> None:
    """Show everything that happened to a number or a customer, in order of time.

    Attempts with their results, agents and treatments, decisions without a call and why, requests that took records out
    of a list, Do-Not-Call requests with the time to their effect, and the records as they are now. Times are UTC. The
    columns of CSV and JSON are those of docs/history.md.

    \b
    Example:
      ocsd history --phone "(212) 555-0123" --config /etc/ocsd/ocsd.toml
      ocsd history --phone +12125550123 --customer C-17 --since 2026-03-01 --csv history.csv
    """
    from ocsd.explain.history import COLUMNS, Wanted, history, phone_forms, stamp, told

    if not phones and not customers:
        raise typer.BadParameter("give --phone or --customer", param_hint="--phone")
    if file is not None and as_json:
        raise typer.BadParameter("give --csv or --json, not both", param_hint="--csv")
    configuration = _load(config)
    calling_list = None if list_name is None else _calling_list(configuration, list_name)
    forms = [form for text in phones or () for form in phone_forms(configuration, calling_list, text)]
    wanted = Wanted(tuple(forms), tuple(customers or ()), calling_list, _utc(since), _utc(until))
    with open_connection(configuration) as connection:
        events = history(connection, configuration, wanted, datetime.now(UTC))
    if file is not None:
        with _appearing(file) as opened:
            writer = csv.writer(opened)
            writer.writerow(COLUMNS)
            writer.writerows(_row(event, COLUMNS) for event in events)
        out(f"{len(events)} events written to {file}")
    elif as_json:
        print_json(
            [{name: _plain(event[name]) for name in COLUMNS if event.get(name) not in (None, "")} for event in events]
        )
    else:
        print_table(
            ("time", "what", "list", "record", "number", ""),
            [
                (
                    stamp(event["at"]) if event.get("at") is not None else None,
                    event["event"].replace("_", " "),
                    event.get("calling_list"),
                    event.get("record_id"),
                    event.get("phone"),
                    told(event),
                )
                for event in events
            ],
        )


@app.command("history", epilog=EXIT_CODES)
def list_history(
    name: ListName,
    file: Annotated[Path, typer.Argument(dir_okay=False, help="CSV file to be written.")],
    config: Config,
    since: Since = None,
    until: Until = None,
    as_json: JSON_OPTION = False,
) -> None:
    """Write all attempts of a calling list as CSV, by the time of their beginning; docs/history.md has the columns.

    \b
    Example:
      ocsd list history "Example List" march.csv --since 2026-03-01 --until 2026-04-01 --config /etc/ocsd/ocsd.toml
    """
    from ocsd.explain.history import ATTEMPT_COLUMNS, attempts_of_list

    configuration = _load(config)
    calling_list = _calling_list(configuration, name)
    rows = 0
    with (
        open_connection(configuration) as connection,
        byte_progress(f"writing {file.name}", None) as seen,
        _appearing(file) as opened,
    ):
        writer = csv.writer(opened)
        writer.writerow(ATTEMPT_COLUMNS)
        for event in attempts_of_list(connection, configuration, calling_list, _utc(since), _utc(until)):
            writer.writerow(_row(event, ATTEMPT_COLUMNS))
            rows += 1
            if rows % 1000 == 0:
                seen(opened.tell(), f"{rows} attempts")
    if as_json:
        print_json({"calling_list": name, "attempts": rows, "file": str(file)})
    else:
        out(f"{name}: {rows} attempts written to {file}")


class _appearing:
    """A text file that is there once it is complete."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._unfinished = path.with_name(f"{path.name}.{os.getpid()}.unfinished")

    def __enter__(self) -> IO[str]:
        self._file = self._unfinished.open("w", encoding="utf-8", errors="replace", newline="")
        return self._file

    def __exit__(self, kind: object, *_: object) -> None:
        self._file.close()
        if kind is None:
            self._unfinished.replace(self._path)
        else:
            self._unfinished.unlink()


def _utc(at: datetime | None) -> datetime | None:
    return None if at is None else at.replace(tzinfo=UTC)


def _row(event: dict[str, Any], columns: Sequence[str]) -> list[Any]:
    return [_cell(event.get(name)) for name in columns]


def _cell(value: Any) -> Any:
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, sort_keys=True)
    if isinstance(value, bool):
        return "true" if value else "false"
    return _plain(value)


def _plain(value: Any) -> Any:
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value
