"""``ocsd rehearse``: a campaign in virtual time, before the first call."""

import math
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ocsd.cli.database import open_connection
from ocsd.cli.errors import EXIT_REFUSED
from ocsd.cli.lists import _load
from ocsd.cli.output import JSON_OPTION, err, out, print_json, print_table
from ocsd.log import configure_logging

if TYPE_CHECKING:
    from ocsd.config.objects import CampaignGroup, Configuration
    from ocsd.rehearsal.agents import Breaks, Rota, Shift
    from ocsd.rehearsal.copying import Forbidden
    from ocsd.rehearsal.lists import ListCopies
    from ocsd.rehearsal.mixes import MixFile
    from ocsd.rehearsal.report import Telling
    from ocsd.rehearsal.world import Mix


def rehearse(
    config: Annotated[
        Path, typer.Option("--config", "-c", envvar="OCSD_CONFIG", help="TOML file, or folder of *.toml files.")
    ],
    group: Annotated[str, typer.Option(help="Campaign group, by name or DBID.")],
    hours: Annotated[float, typer.Option(min=0.02, max=744, help="How long the campaign dials.")] = 8.0,
    agents: Annotated[
        list[int] | None,
        typer.Option(min=1, metavar="N", help="Agents at work; repeat it to compare. Default: all of the group."),
    ] = None,
    goal: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GOAL",
            help="overdial=3 (%), busy=85 (%), wait=20 (s) or progressive; repeat it to compare. Default: the group's.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same run.")] = 1,
    seeds: Annotated[
        int, typer.Option(min=1, max=1000, metavar="N", help="Run so many seeds, and give confidence intervals.")
    ] = 1,
    start: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%dT%H:%M"],
            metavar="TIME",
            help="UTC. Default: now; for made-up records the next 9:00 of a weekday where they live.",
        ),
    ] = None,
    shift: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FROM-TO=N",
            help="N agents from one hour after the start to another, e.g. 0-4=30; instead of --agents.",
        ),
    ] = None,
    breaks: Annotated[
        str | None, typer.Option(metavar="MIN/MIN", help="Break and work between breaks in minutes, e.g. 10/90.")
    ] = None,
    mix: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            metavar="FILE",
            help="What calls come to, where it differs from the list's own calls (TOML).",
        ),
    ] = None,
    hit: Annotated[
        float | None, typer.Option(min=0, max=100, metavar="PERCENT", help="Dials that a person answers.")
    ] = None,
    talk_s: Annotated[float | None, typer.Option(min=0.1, metavar="S", help="Mean conversation.")] = None,
    wrap_up_s: Annotated[float | None, typer.Option(min=0, metavar="S", help="Mean wrap-up.")] = None,
    made_up: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="N made-up records instead of the lists in the database.")
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(min=100, metavar="N", help="Chains read of each list. Default: enough for the whole time."),
    ] = None,
    plot: Annotated[Path | None, typer.Option(dir_okay=False, help="Draw it (.svg, .png or .pdf).")] = None,
    as_json: JSON_OPTION = False,
) -> None:
    """Rehearse a campaign group in virtual time: its own lists, gates, treatments and pacing, and simulated calls.

    Nothing is changed in the database, and nobody is called. What calls come to is taken from the calls of these lists
    in the last 30 days when there are at least 500, else assumed; --mix and the options beside it say it otherwise. The
    exit code is 1 when nothing could be dialed.

    \b
    Example:
      ocsd rehearse --config /etc/ocsd/ocsd.toml --group "Demo@Agents" --hours 8 --agents 40
      ocsd rehearse --group "Demo@Agents" --goal overdial=3 --goal busy=85 --agents 40 --agents 50 --seeds 5
      ocsd rehearse --group "Demo@Agents" --made-up 20000 --hit 25 --shift 0-4=30 --shift 2-8=30 --plot day.svg
    """
    from ocsd.rehearsal.compare import compare, variants_of
    from ocsd.rehearsal.plotting import format_of
    from ocsd.rehearsal.report import Telling, told
    from ocsd.rehearsal.run import group_named
    from ocsd.rehearsal.staging import active_lists, assumptions, next_morning, scene_of, settings_of

    if plot is not None:
        format_of(plot)
    configure_logging("critical")  # what a session says in a rehearsal is for nobody's log
    configuration = _load(config)
    found = group_named(configuration, group)
    settings = settings_of(configuration, found)
    duration_s = 3600.0 * hours
    file = _mix_file(mix)
    made = file.made_up if file is not None else None
    made_up_only = made_up is not None or made is not None
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    if start is not None:
        begins = start.replace(tzinfo=UTC)
    else:
        begins = next_morning(configuration, found, now) if made_up_only else now
    numbers = agents or [max(1, len(configuration.agent_group(found.group).agents))]
    shifts = [_shift(text, duration_s) for text in shift or ()]
    if shifts and agents:
        raise typer.BadParameter("give shifts or a number of agents, not both", param_hint="--shift")
    rota = _rota(shifts, _breaks(breaks), duration_s)
    try:
        variants = variants_of(settings, goal or (), numbers if not shifts else [sum(s.agents for s in shifts)], rota)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--goal") from None
    most = max(variant.rota.seats for variant in variants)
    changes = _Changes(file, str(mix), hit, talk_s, wrap_up_s)
    if made_up_only:
        lists, forbidden, world = _made_up(configuration, found, file, made_up, seed, changes)
    else:
        lists, forbidden, world = _from_database(configuration, found, begins, sample, seed, most, duration_s, changes)
    scene = scene_of(configuration, found, lists, world, begins, duration_s, forbidden=forbidden)
    with share_progress("rehearsing") as progress:
        outcomes = compare(scene, variants, range(seed, seed + seeds), progress=progress)
    telling = Telling(
        scene, world, outcomes, tuple(assumptions(configuration, found, active_lists(configuration, found)))
    )
    if plot is not None:
        from ocsd.rehearsal.plotting import plot as draw

        draw(outcomes, scene, plot)
    if as_json:
        print_json(told(telling))
    else:
        _print(telling)
    if not any(run.total.attempts for outcome in outcomes for run in outcome.runs):
        raise typer.Exit(EXIT_REFUSED)


@dataclass(frozen=True, slots=True)
class _Changes:
    """What the user says of the world, strongest last."""

    file: "MixFile | None"
    file_name: str
    hit_percent: float | None
    talk_s: float | None
    wrap_up_s: float | None

    def applied(self, mix: "Mix") -> "Mix":
        from dataclasses import replace

        from ocsd.rehearsal.mixes import with_hit_ratio
        from ocsd.rehearsal.world import Spread

        if self.file is not None:
            mix = self.file.applied(mix, self.file_name)
        if self.hit_percent is not None:
            mix = with_hit_ratio(mix, self.hit_percent / 100.0, "--hit")
        if self.talk_s is not None:
            spread = Spread(self.talk_s, mix.talk.cv)
            mix = replace(mix, talk=spread, sources=dict(mix.sources) | {"talk": "--talk-s"})
        if self.wrap_up_s is not None:
            spread = Spread(self.wrap_up_s, mix.wrap_up.cv)
            mix = replace(mix, wrap_up=spread, sources=dict(mix.sources) | {"wrap_up": "--wrap-up-s"})
        return mix


def _mix_file(path: Path | None) -> "MixFile | None":
    from ocsd.model.errors import ConfigError
    from ocsd.rehearsal.mixes import parse_mix_file

    if path is None:
        return None
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path}: {error}"]) from None
    try:
        return parse_mix_file(data)
    except ConfigError as error:
        raise ConfigError([f"{path}: {problem}" for problem in error.problems]) from None


def _shift(text: str, duration_s: float) -> "Shift":
    from ocsd.rehearsal.agents import Shift

    span, equals, number = text.partition("=")
    begins, dash, ends = span.partition("-")
    try:
        if not equals or not dash:
            raise ValueError("it needs two hours and a number")
        shift = Shift(3600.0 * float(begins), 3600.0 * float(ends), int(number))
        if not math.isfinite(shift.until_s):
            raise ValueError("it must end")
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no shift such as 0-4=30: {error}", param_hint="--shift") from None
    if shift.from_s >= duration_s:
        raise typer.BadParameter(f"{text!r} begins after the rehearsal ends", param_hint="--shift")
    return shift


def _breaks(text: str | None) -> "Breaks | None":
    from ocsd.rehearsal.agents import Breaks

    if text is None:
        return None
    length, slash, every = text.partition("/")
    try:
        if not slash:
            raise ValueError("it needs two numbers")
        return Breaks(60.0 * float(length), 60.0 * float(every))
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no pair such as 10/90: {error}", param_hint="--breaks") from None


def _rota(shifts: "list[Shift]", breaks: "Breaks | None", duration_s: float) -> "Callable[[int], Rota]":
    from ocsd.rehearsal.agents import Rota
    from ocsd.rehearsal.compare import whole_time

    return lambda agents: Rota(tuple(shifts) or whole_time(agents, duration_s), breaks)


def _made_up(
    configuration: "Configuration",
    group: "CampaignGroup",
    file: "MixFile | None",
    records: int | None,
    seed: int,
    changes: _Changes,
) -> "tuple[ListCopies, Forbidden, Mix]":
    from dataclasses import replace

    from ocsd.rehearsal.copying import NOBODY_FORBIDDEN
    from ocsd.rehearsal.mixes import MadeUpList
    from ocsd.rehearsal.staging import made_up_lists
    from ocsd.rehearsal.world import REFERENCE

    made = file.made_up if file is not None and file.made_up is not None else MadeUpList()
    if records is not None:
        made = replace(made, records=records)
    return made_up_lists(configuration, group, made, seed), NOBODY_FORBIDDEN, changes.applied(REFERENCE)


def _from_database(
    configuration: "Configuration",
    group: "CampaignGroup",
    begins: datetime,
    sample: int | None,
    seed: int,
    agents: int,
    duration_s: float,
    changes: _Changes,
) -> "tuple[ListCopies, Forbidden, Mix]":
    from ocsd.cli.preflight import row_progress
    from ocsd.dnc.snapshot import read_snapshot
    from ocsd.lists.embedded import data_folder
    from ocsd.model.errors import StoreUnavailable
    from ocsd.rehearsal.history import observed_mix
    from ocsd.rehearsal.staging import active_lists, enough_chains, read_lists
    from ocsd.rehearsal.world import REFERENCE

    folder = data_folder(configuration.data_dir)
    if not configuration.database.dsn and not (folder / "postgres").exists():
        raise StoreUnavailable(f"there is no database in {folder} yet. {NO_DATABASE}")
    try:
        with open_connection(configuration) as connection:
            dnc = read_snapshot(connection, configuration, folder)
            dbids = [entry.dbid for entry in active_lists(configuration, group)]
            world = changes.applied(observed_mix(connection, configuration, dbids, datetime.now(UTC), REFERENCE))
            chains = sample or enough_chains(world, agents, duration_s)
            with row_progress("reading lists") as progress:
                lists, forbidden = read_lists(
                    connection, configuration, group, dnc, begins, sample=chains, seed=seed, progress=progress
                )
    except StoreUnavailable as error:
        raise StoreUnavailable(f"{error}. {NO_DATABASE}") from error
    return lists, forbidden, world


NO_DATABASE = "Without one: --made-up N rehearses with N made-up records, and --mix says what calls come to"


def _print(telling: "Telling") -> None:
    from ocsd.rehearsal.report import hour_table, mean_speed, notes_of, table, world_table

    scene = telling.scene
    part = f", of which {100 * scene.lists.part:.1f} % take part" if scene.lists.part < 1.0 else ""
    out(f"{scene.group.name}: {scene.duration_s / 3600:g} h from {scene.start:%a %Y-%m-%d %H:%M} UTC")
    out(f"lists: {scene.lists.chains} chains{part} ({scene.lists.source})")
    if telling.mix is not None:
        print_table(("the world", "value", "from"), world_table(telling.mix))
    print_table(*table(telling.outcomes))
    for outcome in telling.outcomes:
        if len(telling.outcomes) > 1:
            out(outcome.variant.name)
        print_table(*hour_table(outcome, scene))
    for note in (*telling.notes, *notes_of(telling)):
        out(f"note: {note}")
    runs = [run for outcome in telling.outcomes for run in outcome.runs]
    cpu_s = sum(run.cpu_s for run in runs)
    how_many = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
    err(f"{how_many} in {cpu_s:.1f} CPU-seconds, {mean_speed(runs):.0f} times as fast as real")


@contextmanager
def share_progress(title: str) -> Iterator[Callable[[float], Any]]:
    """A progress bar on standard error where that is a terminal, else nothing."""
    if not sys.stderr.isatty():
        yield lambda _share: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=1.0)
        yield lambda share: bar.update(task, completed=share)
