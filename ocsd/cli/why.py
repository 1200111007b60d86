"""``ocsd why``: why is a record, or a whole campaign group, not dialed?"""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ocsd.cli.errors import EXIT_REFUSED
from ocsd.cli.output import JSON_OPTION, err, out, print_json, print_table
from ocsd.model.errors import ConfigError

if TYPE_CHECKING:
    from ocsd.config.objects import Configuration
    from ocsd.explain.contract import Explanation, GroupExplanation

VERDICTS: Final = {True: "open", False: "closed", None: "?"}
_COLOURS: Final = {True: "green", False: "bold red", None: "yellow"}
_LIMIT_S: Final = 10.0


def why(
    list_name: Annotated[str | None, typer.Option("--list", "-l", help="Name of a calling list.")] = None,
    record_id: Annotated[int | None, typer.Option("--record", "-r", metavar="ID", help="record_id of its row.")] = None,
    group: Annotated[str | None, typer.Option("--group", "-g", help="A campaign group instead, by name.")] = None,
    at: Annotated[
        str | None,
        typer.Option(help="ISO 8601, e.g. 2026-03-08T09:00; without an offset in the record's zone. Default: now."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", envvar="OCSD_CONFIG", help="TOML file, or folder of *.toml files.")
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(envvar="OCSD_URL", help="The daemon's control port. Default: that of --config on this machine."),
    ] = None,
    as_json: JSON_OPTION = False,
) -> None:
    """Say why a record is not dialed: every gate on its way with what it looked at, and when all are open together.

    The running daemon is asked. When none answers, the database of --config says what it can: everything about the
    record, nothing about agents, trunks and pacing. With --at it is always the database, as the daemon knows only now.

    The exit code is 1 when something holds the record (or the group) back.

    \b
    Example:
      ocsd why --list "Example List" --record 4711 --config /etc/ocsd/ocsd.toml
      ocsd why --list "Example List" --record 4711 --at 2026-03-09T08:00
      ocsd why --group "Example@Example Agents"
    """
    from ocsd.config.loader import load_configuration

    if (group is None) is (list_name is None or record_id is None) or (group is not None and list_name is not None):
        raise typer.BadParameter("give --list and --record, or --group", param_hint="--list")
    if group is not None and at is not None:
        raise typer.BadParameter("a group can be asked only about now", param_hint="--at")
    moment = None if at is None else _instant(at)
    configuration = None if config is None else load_configuration(config)
    document = (
        None
        if moment is not None
        else _from_daemon(_url(url, configuration), configuration, list_name, record_id, group)
    )
    if document is None:
        if configuration is None:
            raise typer.BadParameter("the database is asked, so a configuration is needed", param_hint="--config")
        document = _from_database(configuration, list_name, record_id, group, moment)
    if as_json:
        print_json(document)
    else:
        _print(document)
    # What only a daemon knows is not held against the record.
    if any(gate["passed"] is False for gate in document["gates"]):
        raise typer.Exit(EXIT_REFUSED)


def _url(url: str | None, configuration: "Configuration | None") -> str:
    from ocsd.cli.control_common import DEFAULT_URL

    if url is not None:
        if not url.startswith(("http://", "https://")):
            raise typer.BadParameter(f"must begin with http:// or https://, got {url!r}", param_hint="--url")
        return url
    if configuration is None:
        return DEFAULT_URL
    host = configuration.http.host
    host = "127.0.0.1" if host in ("", "0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    return f"http://{host}:{configuration.http.port}"


def _from_daemon(
    url: str, configuration: "Configuration | None", list_name: str | None, record_id: int | None, group: str | None
) -> dict[str, Any] | None:
    """What the daemon says; None (and a line on standard error) when none answers and there is a database to ask."""
    from ocsd.client import ControlClient, ControlUnavailable

    try:
        with ControlClient(url, _LIMIT_S) as ocs:
            if group is not None:
                return ocs.why_group(ocs.dbid_of(group))
            assert list_name is not None
            assert record_id is not None
            return ocs.why(list_name, record_id)
    except ControlUnavailable as error:
        if configuration is None:
            raise
        err(f"ocsd: {error}; the database is asked, and what only the daemon knows is left open")
        return None


def _from_database(
    configuration: "Configuration", list_name: str | None, record_id: int | None, group: str | None, at: datetime | None
) -> dict[str, Any]:
    from ocsd.explain.documents import document

    if group is not None:
        return document(_group(configuration, group))
    assert list_name is not None
    assert record_id is not None
    return document(_record(configuration, list_name, record_id, at))


def _group(configuration: "Configuration", name: str) -> "GroupExplanation":
    from ocsd.cli.database import open_connection
    from ocsd.explain.trunks import trunk_calls
    from ocsd.explain.why import explain_group
    from ocsd.model.errors import StoreUnavailable

    for group in configuration.campaign_groups:
        if name in (group.name, str(group.dbid)):
            now = datetime.now(UTC)
            if not configuration.database.dsn:  # an embedded one runs with its daemon
                return explain_group(configuration, group, None, now)
            switches = [configuration.trunk(name).dbid for name in group.trunks]
            try:
                with open_connection(configuration) as connection:
                    trunks = trunk_calls(connection, switches, now)
            except StoreUnavailable as error:
                err(f"ocsd: {error}")
                return explain_group(configuration, group, None, now)
            return explain_group(configuration, group, None, now, trunks)
    known = ", ".join(f'"{group.name}"' for group in configuration.campaign_groups) or "none"
    raise ConfigError([f'no campaign group is called "{name}"; defined are: {known}.'])


def _record(configuration: "Configuration", list_name: str, record_id: int, at: datetime | None) -> "Explanation":
    from ocsd.cli.database import open_connection
    from ocsd.cli.dnc_common import registries_of
    from ocsd.explain.choice import queues
    from ocsd.explain.facts import gather, list_named, with_ahead
    from ocsd.explain.why import explain

    calling_list = list_named(configuration, list_name)
    moment = at or datetime.now(UTC)
    registries = registries_of(configuration)
    with open_connection(configuration) as connection:
        if moment.tzinfo is None:
            now = datetime.now(UTC)
            first = gather(connection, configuration, calling_list, record_id, now, registries=registries)
            moment = moment.replace(tzinfo=first.hours.zone_of(first.record) or UTC)
        facts = gather(connection, configuration, calling_list, record_id, moment, registries=registries)
        if queues(facts):
            facts = with_ahead(connection, facts, facts.priorities())
    return explain(facts, None)


def _instant(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"must be like 2026-03-08T09:00, got {text!r}", param_hint="--at") from None


def _print(document: dict[str, Any]) -> None:
    if "record_id" in document:
        what = f"{document['calling_list']}, record {document['record_id']} (chain {document['chain_id']})"
    else:
        what = str(document["campaign_group"])
    out(f"{what} at {_time(document['at'])}")
    out(document["summary"])
    headings = ("", "gate", "why", "opens", "what to do")
    if not sys.stdout.isatty():
        print_table(headings, [_row(gate) for gate in document["gates"]])
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*headings)
    for gate in document["gates"]:
        verdict, *rest = _row(gate)
        table.add_row(Text(verdict, style=_COLOURS[gate["passed"]]), *(Text(cell or "") for cell in rest))
    Console().print(table)


def _row(gate: dict[str, Any]) -> tuple[str, str, str, str | None, str | None]:
    opens = None if gate["opens_at"] is None else _time(gate["opens_at"])
    return VERDICTS[gate["passed"]], gate["gate"], gate["why"], opens, gate["remedy"] or None


def _time(text: str) -> str:
    return f"{datetime.fromisoformat(text).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
