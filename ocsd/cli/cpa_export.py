"""``ocsd cpa feedback`` and ``ocsd cpa export``: what agents said of calls, as figures and as labelled recordings."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from ocsd.cli.lists import Config
from ocsd.cli.output import JSON_OPTION, err, out, print_json, print_table
from ocsd.model.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ocsd.cpa.feedback import Estimate, Feedback

CampaignName: TypeAlias = Annotated[
    str | None, typer.Option("--campaign", metavar="NAME", help="Only calls of this campaign.")
]
Days: TypeAlias = Annotated[float, typer.Option("--days", min=0.01, max=36_500.0, help="Only calls of the last days.")]


def feedback(
    config: Config,
    campaign: CampaignName = None,
    trunk: Annotated[str | None, typer.Option(metavar="NAME", help="Only calls over this trunk.")] = None,
    days: Days = 30.0,
    as_json: JSON_OPTION = False,
) -> None:
    """Show how often call progress analysis is right, by what agents said of test calls (call-result-feedback).

    For each campaign and trunk: what the analysis took verified calls for and what they were, and the shares of people
    taken for machines and of machines taken for people, with intervals of 95 %. The shares are of all calls: agents
    verify fewer machines than people, so what they say is weighed.

    \b
    Example:
      ocsd cpa feedback --config /etc/ocsd/ocsd.toml --days 7
      ocsd cpa feedback --campaign Example --trunk Carrier --json
    """
    from ocsd.cli.database import open_connection
    from ocsd.cli.lists import _load
    from ocsd.cpa.feedback import counted
    from ocsd.cpa.feedback import feedback as told_of

    configuration = _load(config)
    campaign_dbid = _dbid("campaign", configuration.campaigns, campaign)
    switch_dbid = _dbid("trunk", configuration.trunks, trunk)
    until = datetime.now(UTC)
    with open_connection(configuration) as connection:
        calls = counted(connection, until - timedelta(days=days), until, campaign_dbid, switch_dbid)
    found = told_of(configuration, calls)
    if as_json:
        print_json([one.document() for one in found])
        return
    if not found:
        out(f"No call has been answered and analysed within {days:g} days.")
    for one in found:
        _print(one)


def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", file_okay=False, help="Where the samples go.")],
    config: Config,
    campaign: CampaignName = None,
    days: Days = 30.0,
    talked_for: Annotated[
        float | None,
        typer.Option(
            "--talked-for",
            metavar="SECONDS",
            min=1.0,
            help="Also take calls of which no agent said anything, but with whom one talked so long, for people.",
        ),
    ] = None,
    as_json: JSON_OPTION = False,
) -> None:
    """Export recordings of the analysis (cpd-recording) with what agents said of them, for `ocsd cpa score`.

    DIR gets the WAV files and a manifest.jsonl, without telephone numbers. A file that is not as it was recorded is
    left out. The folder is for people who may listen to called people: docs/analysis.md.

    \b
    Example:
      ocsd cpa export labelled --campaign Example --days 14 --config /etc/ocsd/ocsd.toml
      ocsd cpa score labelled
    """
    from ocsd.cli.database import open_connection
    from ocsd.cli.lists import _load
    from ocsd.cli.preflight import row_progress
    from ocsd.cpa import export as exporting
    from ocsd.cpa.manifest import MANIFEST

    configuration = _load(config)
    campaign_dbid = _dbid("campaign", configuration.campaigns, campaign)
    if (folder / MANIFEST).exists():
        raise ConfigError([f"{folder} has a {MANIFEST} already; give a folder of its own"])
    until = datetime.now(UTC)
    with open_connection(configuration) as connection:
        found = exporting.labelled(connection, until - timedelta(days=days), until, campaign_dbid, talked_for)
    recordings = Path(configuration.telephony.recording_dir)
    with row_progress("recordings") as progress:
        told = exporting.export(configuration, found, recordings, folder, talked_for, progress)
    if as_json:
        print_json({"folder": str(folder), "labels": dict(told.labels), "left_out": dict(told.left_out)})
        return
    labels = ", ".join(f"{label} {count}" for label, count in sorted(told.labels.items())) or "none"
    out(f"{told.labels.total()} recordings in {folder}: {labels}")
    for why, count in sorted(told.left_out.items()):
        err(f"left out, {why}: {count}")


def _dbid(kind: str, objects: "Iterable[Any]", name: str | None) -> int | None:
    """The DBID of a named object; None where none is named. ConfigError for a name that nobody has."""
    if name is None:
        return None
    known = list(objects)
    for one in known:
        if one.name == name:
            return int(one.dbid)
    names = ", ".join(f'"{one.name}"' for one in known) or "none"
    raise ConfigError([f'no {kind} is called "{name}"; defined are: {names}.'])


def _print(found: "Feedback") -> None:
    from ocsd.cpa.feedback import MACHINE, OTHER, PERSON, UNCLEAR

    out(f"{found.campaign}, trunk {found.trunk}")
    truths = (PERSON, MACHINE, OTHER, UNCLEAR)
    rows = [
        (
            f"taken for {kind}",
            found.calls[kind],
            found.asked[kind],
            *(found.confusion[kind][truth] for truth in truths),
        )
        for kind in (PERSON, MACHINE)
    ]
    print_table(("", "calls", "agents asked", *(f"was {truth}" for truth in truths)), rows)
    for words, estimate in (
        ("people taken for machines", found.estimate(PERSON, MACHINE)),
        ("machines taken for people", found.estimate(MACHINE, PERSON)),
    ):
        out(f"  {words}: {_words(estimate)}")
    if found.calls[OTHER]:
        out(f"  ended otherwise (fax, tones, silence), heard by no agent: {found.calls[OTHER]}")


def _words(estimate: "Estimate | None") -> str:
    if estimate is None:
        return "not known yet, too few calls are verified"
    return f"{estimate.ratio:.2%} ({estimate.low:.2%} to {estimate.high:.2%})"
