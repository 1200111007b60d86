"""``ocsd list preflight``: a calling list before a start, and a forecast of how it will go."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ocsd.cli.database import open_connection
from ocsd.cli.errors import EXIT_REFUSED
from ocsd.cli.lists import Config, ListName, _calling_list, _load
from ocsd.cli.output import JSON_OPTION, out, print_json, print_table

if TYPE_CHECKING:
    from ocsd.explain.contract import Preflight
    from ocsd.explain.preflight import Progress


def preflight(
    name: ListName,
    config: Config,
    dials_per_hour: Annotated[
        float | None, typer.Option(min=0.001, metavar="N", help="Forecast at this pace, for this list alone.")
    ] = None,
    agents: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Forecast at the pace that keeps so many agents busy.")
    ] = None,
    handle_s: Annotated[
        float, typer.Option(min=1, metavar="S", help="Seconds that an agent needs for a call, wrap-up included.")
    ] = 180.0,
    mix: Annotated[
        str | None,
        typer.Option(
            metavar="RESULT=SHARE,...",
            help="Results of dials: names or numbers of call results, with weights. Default: those of this list in the "
            "last 30 days when there are at least 500, else no_answer=45, answering_machine=25, answer=20, busy=5, "
            "sit_invalid_num=3, abandoned=1, dropped=1.",
        ),
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M"],
            metavar="DATE",
            help="UTC; the forecast ends then. Default: 60 days.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same sample and the same runs.")] = 1,
    sample: Annotated[
        int, typer.Option(min=100, help="Chains that are run; larger lists are forecast by a sample of so many.")
    ] = 5000,
    runs: Annotated[int, typer.Option(min=1, max=100, help="Runs, for the range.")] = 5,
    plot: Annotated[Path | None, typer.Option(dir_okay=False, help="Draw the forecast (SVG).")] = None,
    as_json: JSON_OPTION = False,
) -> None:
    """Look at a calling list before a start: what could be dialed, what holds the others back, and what to know.

    With a pace also how it will go: when it is finished under windows, caps and treatments, and what is left. Nothing
    is changed, and nothing is dialed. The exit code is 1 when nothing could be dialed, neither now nor at any full hour
    of the next 24.

    \b
    Example:
      ocsd list preflight "Example List" --config /etc/ocsd/ocsd.toml
      ocsd list preflight "Example List" --dials-per-hour 1200 --plot forecast.svg
      ocsd list preflight "Example List" --agents 20 --mix "no_answer=50,answering_machine=25,answer=20,busy=5"
    """
    from ocsd.cli.forecast import Asked, forecast_of, print_forecast, told_of_forecast
    from ocsd.dnc.snapshot import read_snapshot
    from ocsd.explain.preflight import preflight as look
    from ocsd.lists.embedded import data_folder

    now = datetime.now(UTC)
    asked = Asked.of(dials_per_hour, agents, handle_s, mix, until, now, seed, sample, runs)
    if asked is None and plot is not None:
        raise typer.BadParameter("a plot needs a pace: --dials-per-hour or --agents", param_hint="--plot")
    configuration = _load(config)
    calling_list = _calling_list(configuration, name)
    forecast = None
    with open_connection(configuration) as connection:
        dnc = read_snapshot(connection, configuration, data_folder(configuration.data_dir))
        with row_progress(f"looking at {name}") as progress:
            found = look(connection, configuration, calling_list, now, dnc, progress=progress)
        if asked is not None:
            with row_progress("forecast") as progress:
                forecast = forecast_of(connection, configuration, calling_list, dnc, asked, progress)
    if forecast is not None and plot is not None:
        from ocsd.explain.plotting import plot as draw

        draw(forecast, plot)
    if as_json:
        print_json(told_of(found) | ({"forecast": told_of_forecast(forecast)} if forecast is not None else {}))
    else:
        _print(found)
        if forecast is not None:
            print_forecast(forecast)
    if not any(hour.chains for hour in found.ready_by_hour):
        raise typer.Exit(EXIT_REFUSED)


def told_of(found: "Preflight") -> dict[str, Any]:
    """For programs; times are ISO 8601 in UTC."""
    return {
        "calling_list": found.calling_list,
        "at": _iso(found.at),
        "rows": found.rows,
        "chains": found.chains,
        "ready_now": found.ready_now,
        "ready_rows": found.ready_rows,
        "for_agents": found.for_agents,
        "held_back": dict(found.held_back),
        "on_do_not_call": found.on_do_not_call,
        "ready_by_hour": [{"at": _iso(hour.at), "chains": hour.chains} for hour in found.ready_by_hour],
        "zones": [
            {
                "zone": zone.zone,
                "rows": zone.rows,
                "ready": zone.ready,
                "closed": zone.closed,
                "opens_at": _iso(zone.opens_at),
            }
            for zone in found.zones
        ],
        "warnings": list(found.warnings),
    }


def _iso(at: datetime | None) -> str | None:
    return at.astimezone(UTC).isoformat(timespec="seconds") if at is not None else None


def _print(found: "Preflight") -> None:
    rows: list[tuple[object, ...]] = [
        ("records", found.rows),
        ("chains", found.chains),
        ("chains ready now", found.ready_now),
        ("chains ready now for the desktop of their agent", found.for_agents),
        ("records that no gate holds back", found.ready_rows),
        ("records that wait, and are on Do-Not-Call", found.on_do_not_call),
    ]
    rows += [(f"not dialed now: {reason}", count) for reason, count in found.held_back.items()]
    print_table(("", found.calling_list), rows)
    print_table(
        ("time zone", "records that wait", "ready now", "closed now", "next opening (UTC)"),
        [
            (
                zone.zone,
                zone.rows,
                zone.ready,
                zone.closed,
                f"{zone.opens_at:%Y-%m-%d %H:%M}" if zone.opens_at else None,
            )
            for zone in found.zones
        ],
    )
    most = max((hour.chains for hour in found.ready_by_hour), default=0)
    print_table(
        ("UTC", "chains ready if nothing were dialed", ""),
        [(f"{hour.at:%a %H:%M}", hour.chains, _bar(hour.chains, most)) for hour in found.ready_by_hour],
    )
    for warning in found.warnings:
        out(f"warning: {warning}")


def _bar(count: int, most: int) -> str:
    return "#" * -(-30 * count // most) if most else ""


@contextmanager
def row_progress(title: str) -> Iterator["Progress"]:
    """A progress bar on standard error where that is a terminal, else nothing."""
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=None)

        def seen(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield seen
