"""The command line: ``ocsd check | run | demo | list ... | rules ... | ctl ...``.

Only what every command needs is imported here; each command imports its own parts when it runs, so that ``ocsd --help``
answers at once. Errors that are meant for the operator become one line per problem on standard error and an exit code
(`ocsd.cli.errors`); everything else is our bug and shows its traceback.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

import ocsd
from ocsd.cli import control, cpa, cpa_export, dnc, guard, history, lists, preflight, rehearse, release, rules, why
from ocsd.cli import pacing as pacing_commands
from ocsd.cli.errors import EXIT_CODES, EXIT_REFUSED, OcsdGroup
from ocsd.cli.output import JSON_OPTION, err, out, print_json
from ocsd.log import configure_logging

app = typer.Typer(
    cls=OcsdGroup,
    name="ocsd",
    help="ocsd: an outbound contact server.\n\n\b\nExample:\n  ocsd demo --seconds 60",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help, the same on a terminal and in a pipe
    pretty_exceptions_enable=False,
)
lists.app.command("preflight", epilog=EXIT_CODES)(preflight.preflight)
lists.app.command("release", epilog=EXIT_CODES)(release.release)
app.add_typer(lists.app, name="list")
app.add_typer(dnc.app, name="dnc")
app.add_typer(rules.app, name="rules")
app.add_typer(control.app, name="ctl")
app.add_typer(pacing_commands.app, name="pacing")
app.add_typer(guard.app, name="guard")
cpa.app.command("feedback", epilog=EXIT_CODES)(cpa_export.feedback)
cpa.app.command("export", epilog=EXIT_CODES)(cpa_export.export)
app.add_typer(cpa.app, name="cpa")
app.command(epilog=EXIT_CODES)(history.history)
app.command("why", epilog=EXIT_CODES)(why.why)
app.command("rehearse", epilog=EXIT_CODES)(rehearse.rehearse)


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class DemoMix(StrEnum):
    DEMO = "demo"
    ALL = "all"


class DemoMode(StrEnum):
    PREDICTIVE = "predictive"
    PROGRESSIVE = "progressive"


def _version(asked: bool) -> None:
    if asked:
        out(f"ocsd {ocsd.__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


@app.command(epilog=EXIT_CODES)
def check(
    config: Annotated[Path, typer.Argument(help="TOML file, or folder of *.toml files.")],
    as_json: JSON_OPTION = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Also show what follows which call result, list by list.")
    ] = False,
) -> None:
    """Check a configuration and name every problem in it.

    \b
    Example:
      ocsd check /etc/ocsd/ocsd.toml
    """
    from ocsd.config.ladder import ladder
    from ocsd.config.loader import load_configuration
    from ocsd.model.errors import ConfigError
    from ocsd.rules.checks import preset_problems

    try:
        loaded = load_configuration(config)
        if problems := preset_problems(loaded):
            raise ConfigError(problems)
    except ConfigError as error:
        if as_json:
            print_json({"ok": False, "problems": error.problems})
        else:
            for problem in error.problems:
                err(problem)
            err(f"{len(error.problems)} problem{'s' * (len(error.problems) != 1)} in {config}.")
        raise typer.Exit(EXIT_REFUSED) from None
    counts = {
        "agents": len(loaded.agents),
        "trunks": len(loaded.trunks),
        "calling_lists": len(loaded.calling_lists),
        "treatments": len(loaded.treatments),
        "campaigns": len(loaded.campaigns),
        "campaign_groups": len(loaded.campaign_groups),
    }
    if as_json:
        print_json({"ok": True, "problems": [], "objects": counts})
    else:
        words = ", ".join(f"{name.replace('_', ' ')}: {count}" for name, count in counts.items())
        out(f"{config} is in order ({words})")
        for calling_list in loaded.calling_lists if verbose else ():
            out(f"{calling_list.name}: treatments, at most {calling_list.max_attempts} attempts a record")
            for line in ladder(loaded, calling_list):
                out(f"  {line}")


@app.command(epilog=EXIT_CODES)
def run(
    config: Annotated[
        Path, typer.Option("--config", "-c", envvar="OCSD_CONFIG", help="TOML file, or folder of *.toml files.")
    ],
    log_level: Annotated[LogLevel, typer.Option(help="Least important messages to be logged.")] = LogLevel.INFO,
) -> None:
    """Run the daemon until SIGTERM or Ctrl-C.

    \b
    Example:
      ocsd run --config /etc/ocsd/ocsd.toml
    """
    from ocsd import daemon

    daemon.run(config, log_level.value)


@app.command(epilog=EXIT_CODES)
def demo(
    seconds: Annotated[
        int | None,
        typer.Option(min=1, help="How long the campaign dials at most; default: 90, an hour with --attempts."),
    ] = None,
    attempts: Annotated[int | None, typer.Option(min=1, help="End after so many calls.")] = None,
    mix: Annotated[
        DemoMix, typer.Option(help="What is called: a consumer list, or everything there is on lines of every quality.")
    ] = DemoMix.DEMO,
    media_servers: Annotated[int, typer.Option(min=1, max=16, help="Media server processes.")] = 1,
    agents: Annotated[int, typer.Option(min=1, max=500, help="Simulated agents.")] = 20,
    records: Annotated[
        int | None, typer.Option(min=1, help="Records in the calling list; default: 2000, or as many as --attempts.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same called parties and agents.")] = 1,
    http_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Control port; 0 lets the system choose a free one.")
    ] = 8080,
    report: Annotated[Path | None, typer.Option(dir_okay=False, help="Write the results here, as JSON.")] = None,
    mode: Annotated[DemoMode, typer.Option(help="Dialing mode.")] = DemoMode.PREDICTIVE,
    data_dir: Annotated[
        Path | None, typer.Option(file_okay=False, help="Keep all data here; default: a folder that is removed.")
    ] = None,
    screenshot: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Save a picture (SVG) of the live view here.")
    ] = None,
    with_rehearsal: Annotated[
        bool, typer.Option("--rehearse", help="Rehearse the same campaign in virtual time too, and compare.")
    ] = False,
) -> None:
    """Run a whole simulated contact centre on this machine: carrier, called people, agents, and a campaign.

    \b
    Example:
      ocsd demo --seconds 120 --agents 20 --records 5000 --seed 7 --report demo.json
      ocsd demo --attempts 2000 --mix all --report analysis.json
    """
    from ocsd.demo import DemoOptions, run

    if with_rehearsal and (attempts is not None or mix is not DemoMix.DEMO):
        raise typer.BadParameter("the rehearsal knows the mix 'demo' and a time only", param_hint="--rehearse")
    code = run(
        DemoOptions(
            seconds=seconds if seconds is not None else 90 if attempts is None else 3600,
            attempts=attempts,
            mix=mix.value,
            media_servers=media_servers,
            agents=agents,
            records=records or attempts or 2000,
            seed=seed,
            http_port=http_port,
            report=report,
            mode=mode.value,
            data_dir=data_dir,
            screenshot=screenshot,
            rehearse=with_rehearsal,
        )
    )
    raise typer.Exit(code)


def main() -> None:
    """Console script ``ocsd``."""
    # Standard output belongs to what was asked for; `run` says again how much it logs.
    configure_logging("warning")
    app(prog_name="ocsd")
