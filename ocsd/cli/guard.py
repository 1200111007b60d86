"""``ocsd guard``: what the legal abandonment window of each campaign leaves, and the rules there are."""

import math
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ocsd.cli.errors import EXIT_CODES
from ocsd.cli.output import JSON_OPTION, out, print_json, print_table
from ocsd.model.errors import ConfigError

if TYPE_CHECKING:
    import psycopg

    from ocsd.config.objects import Campaign, Configuration
    from pacing.guard import Guard, GuardState

app = typer.Typer(epilog=EXIT_CODES, rich_markup_mode=None, no_args_is_help=False)

WORDS: Final = {
    "open": "calls ahead of agents",
    "one_to_one": "one call for each free agent",
    "stopped": "nothing is dialed",
    "off": "no window is watched",
}


@app.callback(invoke_without_command=True)
def guard(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", envvar="OCSD_CONFIG", help="TOML file, or folder of *.toml files.")
    ] = None,
    campaign: Annotated[str | None, typer.Option(metavar="NAME", help="Only this campaign.")] = None,
    as_json: JSON_OPTION = False,
) -> None:
    """Show what the legal window of each campaign leaves: people, abandoned people, ratio, room, and what follows.

    The database is asked: what is written, of every node. Calls under way are not in it.

    \b
    Example:
      ocsd guard --config /etc/ocsd/ocsd.toml
      ocsd guard --campaign Example --json
      ocsd guard presets
    """
    from ocsd.cli.database import open_connection
    from ocsd.cli.lists import _load

    if context.invoked_subcommand is not None:
        return
    if config is None:
        raise typer.BadParameter("the database is asked, so a configuration is needed", param_hint="--config")
    configuration = _load(config)
    chosen = [found for found in configuration.campaigns if campaign in (None, found.name, str(found.dbid))]
    if not chosen:
        known = ", ".join(f'"{found.name}"' for found in configuration.campaigns) or "none"
        raise ConfigError([f'no campaign is called "{campaign}"; defined are: {known}.'])
    now = datetime.now(UTC)
    with open_connection(configuration) as connection:
        documents = [_document(connection, configuration, found, now) for found in chosen]
    if as_json:
        print_json(documents)
        return
    for document in documents:
        _print(document)


@app.command(epilog=EXIT_CODES)
def presets(as_json: JSON_OPTION = False) -> None:
    """Show the rules that the option legal_rule knows, with what they count and where they come from.

    \b
    Example:
      ocsd guard presets
    """
    from pacing.guard import DAY_S, PRESETS

    if as_json:
        print_json([asdict(rule) | {"window": rule.window.value} for rule in PRESETS.values()])
        return
    for rule in PRESETS.values():
        out(f"{rule.name}: {rule.title}")
        out(f"  limit        {rule.limit_ratio:.1%} of: {rule.denominator}")
        out(f"  window       {rule.window_s / DAY_S:g} days, {rule.window.value} (zone {rule.zone})")
        out(f"  clock start  {rule.clock_start}")
        out(f"  source       {rule.source}; {rule.since}")


def _document(
    connection: "psycopg.Connection[Any]", configuration: "Configuration", campaign: "Campaign", now: datetime
) -> dict[str, Any]:
    from ocsd.config.legal import KEPT_OPEN, guard_of, ledger_of
    from ocsd.lists.abandonment import counts

    try:
        found = guard_of(configuration, campaign)
    except ValueError as error:
        raise ConfigError([f'campaign "{campaign.name}": {error}']) from None
    if found is None:
        return {"campaign": campaign.name, "phase": "off"}
    since = now - timedelta(seconds=found.rule.window_s) - KEPT_OPEN
    counted = counts(connection, campaign.dbid, since)
    ledger = ledger_of(found.rule, counted.buckets, counted.started_s)
    return {"campaign": campaign.name, **told(found, found.state(ledger, now.timestamp()))}


def told(found: "Guard", state: "GuardState") -> dict[str, Any]:
    """The guard's state as a JSON document; times are UTC."""
    rule = state.rule
    missing = 1.0 - state.room.abandoned_allowed
    return {
        "rule": rule.name,
        "title": rule.title,
        "limit_ratio": rule.limit_ratio,
        "window": rule.window.value,
        "window_begins": _time(state.begins_s),
        "window_ends": _time(state.ends_s),
        "people": state.count.people,
        "abandoned": state.count.abandoned,
        "abandoned_ratio": state.count.ratio,
        "room": state.slack,
        "reserve": state.reserve,
        "abandoned_allowed": state.room.abandoned_allowed,
        "pace_ratio": state.room.pace_ratio,
        "expected_people": state.expected_people,
        "phase": state.phase.value,
        "because": state.room.because,
        "opens_after_people": (
            None
            if rule.no_allowance or state.phase.value == "stopped"
            else max(0, math.ceil(missing / rule.limit_ratio))
        ),
        "changes_at": None if state.changes_s is None else _time(state.changes_s),
        "confidence": found.confidence,
        "hard_stop": found.hard_stop,
        "source": rule.source,
        "since": rule.since,
        "clock_start": rule.clock_start,
        "denominator": rule.denominator,
    }


def _time(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat()


def _print(document: dict[str, Any]) -> None:
    phase = WORDS[document["phase"]]
    out(f"{document['campaign']}: {phase}")
    if document["phase"] == "off":
        return
    opens = document["opens_after_people"]
    rows = [
        ("rule", f"{document['rule']}, {document['title']}: {document['limit_ratio']:.2%} ({document['source']})"),
        ("window", f"{document['window']}, {document['window_begins']} to {document['window_ends']}"),
        ("people", f"{document['people']}, {document['abandoned']} abandoned: {document['abandoned_ratio']:.3%}"),
        ("room", f"{document['room']:.1f}, of which {document['reserve']:.1f} are kept in reserve"),
        ("pace", f"{document['pace_ratio']:.2%} of the next {document['expected_people']:.0f} people"),
    ]
    if document["because"]:
        rows.append(("because", document["because"]))
    if opens:
        rows.append(("opens", f"after {opens} more people of whom nobody is abandoned"))
    rows.append(("changes", document["changes_at"] or "only with the next people"))
    print_table(("", ""), rows)
