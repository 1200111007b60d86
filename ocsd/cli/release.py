"""``ocsd list release``: records that nobody finished go back to be dialed."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import typer

from ocsd.cli.database import open_connection
from ocsd.cli.lists import Config, ListName, _calling_list, _load
from ocsd.cli.output import JSON_OPTION, err, out, print_json

AGE: Final = re.compile(r"([0-9]{1,5})(min|h|d)")
"""Up to 273 years."""
UNITS: Final = {"min": "minutes", "h": "hours", "d": "days"}


def release(
    name: ListName,
    config: Config,
    stale: Annotated[
        bool,
        typer.Option(
            "--stale",
            help="Records of status Stale: their desktop or daemon never said what became of the call, so the person "
            "may have been talked to.",
        ),
    ] = False,
    older_than: Annotated[
        str | None,
        typer.Option(metavar="AGE", help="Only those of which nothing was heard for so long: 90min, 12h, 3d."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JSON_OPTION = False,
) -> None:
    """Make records Ready again that wait for a decision of yours.

    Records whose chain a daemon holds and those of type NoCall stay as they are. Attempts, schedule and treatment state
    stay too, and every gate is asked again before a record is dialed. `ocsd history` shows the release.

    \b
    Example:
      ocsd list release "Example List" --stale --older-than 12h --config /etc/ocsd/ocsd.toml
    """
    from ocsd.lists.stale import count_stale, release_stale

    if not stale:
        raise typer.BadParameter("say which records: --stale", param_hint="--stale")
    if as_json and not yes:
        raise typer.BadParameter("a program is not asked: give --yes too", param_hint="--json")
    before = None if older_than is None else datetime.now(UTC) - _age(older_than)
    configuration = _load(config)
    calling_list = _calling_list(configuration, name)
    released = 0
    with open_connection(configuration) as connection:
        count = count_stale(connection, configuration, calling_list, before)
        if count:
            if not yes:
                err(f"{name}: {count} Stale record{'s' * (count != 1)} will be dialed again")
                typer.confirm("Release?", abort=True, err=True)
            released = release_stale(connection, configuration, calling_list, before)
    if as_json:
        print_json({"calling_list": name, "released": released})
    else:
        out(f"{name}: {released} records are Ready again")


def _age(text: str) -> timedelta:
    if (found := AGE.fullmatch(text)) is None:
        raise typer.BadParameter(f"must be a number with min, h or d, got {text!r}", param_hint="--older-than")
    return timedelta(**{UNITS[found[2]]: int(found[1])})
