"""``ocsd ctl``: campaign groups of a running daemon, over its HTTP control port; records: `control_records`."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, TypeAlias

import typer

from ocsd.cli import control_lists, control_records
from ocsd.cli.control_common import DEFAULT_URL, Url
from ocsd.cli.control_common import client as _client
from ocsd.cli.errors import EXIT_CODES
from ocsd.cli.output import JSON_OPTION, out, print_json, print_table
from ocsd.model.enums import AHEAD_MODES, DialMode, GroupCampStatus, OptimizeBy

app = typer.Typer(
    help="Control the campaign groups and the records of a running daemon.\n\n\b\nExample:\n  ocsd ctl status",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(control_records.record_app, name="record")
app.add_typer(control_lists.phone_app, name="phone")
app.add_typer(control_lists.customer_app, name="customer")
app.add_typer(control_lists.list_app, name="list")


class ModeName(StrEnum):
    """Dial modes that this version carries out."""

    PREDICTIVE = "predictive"
    PROGRESSIVE = "progressive"
    PROGRESSIVE_AND_SEIZE = "progressive-and-seize"
    PREDICTIVE_AND_SEIZE = "predictive-and-seize"
    PROGRESSIVE_GVP = "progressive-gvp"
    POWER_GVP = "power-gvp"

    @property
    def dial_mode(self) -> DialMode:
        return DialMode[self.name]


class GoalName(StrEnum):
    BUSY_FACTOR = "busy-factor"
    OVERDIAL_RATE = "overdial-rate"
    WAIT_TIME = "wait-time"

    @property
    def optimize_by(self) -> OptimizeBy:
        return OptimizeBy[self.name]


Group: TypeAlias = Annotated[str, typer.Argument(help="Campaign group: its DBID or its name.")]


def _goal_name(text: str) -> GoalName:
    """``overdial-rate`` as well as the configuration's ``overdial_rate``."""
    try:
        return GoalName(text.lower().replace("_", "-"))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not one of {', '.join(GoalName)}") from None


By: TypeAlias = Annotated[
    GoalName | None,
    typer.Option(
        "--by", "--optimize-by", parser=_goal_name, metavar=f"[{'|'.join(GoalName)}]", help="What to optimize for."
    ),
]
Goal: TypeAlias = Annotated[int | None, typer.Option(min=1, help="Percent; for wait-time seconds.")]


def _check_goal(mode: ModeName, by: GoalName | None, goal: int | None) -> None:
    ahead = mode.dial_mode in AHEAD_MODES
    if ahead and (by is None or goal is None):
        name = "predictive" if mode.dial_mode is not DialMode.POWER_GVP else mode
        raise typer.BadParameter(f"{name} mode needs --by and --goal", param_hint="--mode")
    if not ahead and (by is not None or goal is not None):
        raise typer.BadParameter("progressive mode has no goal", param_hint="--mode")


@app.command(epilog=EXIT_CODES)
def load(group: Group, url: Url = DEFAULT_URL) -> None:
    """Load a campaign group: its lists are opened and records are read ahead.

    \b
    Example:
      ocsd ctl load "Example@Example Agents"
    """
    with _client(url) as ocs:
        ocs.load(ocs.dbid_of(group))
    out(f"{group}: loaded")


@app.command(epilog=EXIT_CODES)
def start(
    group: Group,
    mode: Annotated[ModeName | None, typer.Option(help="Default: what the group was loaded with.")] = None,
    by: By = None,
    goal: Goal = None,
    auto_complete: Annotated[
        bool | None,
        typer.Option("--auto-complete/--no-auto-complete", help="Unload when all is done; default: as configured."),
    ] = None,
    url: Url = DEFAULT_URL,
) -> None:
    """Start dialing, in the mode the group was loaded with or in another one.

    \b
    Example:
      ocsd ctl start "Example@Example Agents"
      ocsd ctl start 1 --mode predictive --by overdial-rate --goal 3
    """
    if mode is not None:
        _check_goal(mode, by, goal)
    elif by is not None or goal is not None:
        raise typer.BadParameter("--by and --goal need --mode", param_hint="--mode")
    with _client(url) as ocs:
        dbid = ocs.dbid_of(group)
        if mode is not None:
            asked = (mode.dial_mode, by.optimize_by if by else None, goal)
        else:
            asked = _loaded_with(ocs.status(dbid))
        ocs.start(dbid, *asked, auto_completion=auto_complete)
    out(f"{group}: dialing in {asked[0].campaign_mode} mode")


def _loaded_with(status: Mapping[str, Any]) -> tuple[DialMode, OptimizeBy | None, int | None]:
    """Mode and goal of a loaded group; of one that is not, a mode with which the server will say so (error 4)."""
    mode = DialMode(status.get("GSW_CM_AttrDialMode", DialMode.PROGRESSIVE))
    by, goal = status.get("GSW_CM_AttrOptimizeBy"), status.get("GSW_CM_AttrOptimizeGoal")
    if mode not in AHEAD_MODES or by is None or goal is None:
        return mode, None, None
    return mode, OptimizeBy(by), goal


@app.command("mode", epilog=EXIT_CODES)
def set_mode(
    group: Group,
    mode: Annotated[ModeName, typer.Argument(help="The new dialing mode.")],
    by: By = None,
    goal: Goal = None,
    url: Url = DEFAULT_URL,
) -> None:
    """Change the dialing mode, or its goal, of a group that is dialing.

    \b
    Example:
      ocsd ctl mode "Example@Example Agents" predictive --by busy-factor --goal 85
      ocsd ctl mode 1 progressive
    """
    _check_goal(mode, by, goal)
    with _client(url) as ocs:
        ocs.set_mode(ocs.dbid_of(group), mode.dial_mode, by.optimize_by if by else None, goal)
    out(f"{group}: dialing in {mode.dial_mode.campaign_mode} mode")


@app.command(epilog=EXIT_CODES)
def stop(group: Group, url: Url = DEFAULT_URL) -> None:
    """Stop dialing; calls in progress go on, the group stays loaded.

    \b
    Example:
      ocsd ctl stop "Example@Example Agents"
    """
    with _client(url) as ocs:
        ocs.stop(ocs.dbid_of(group))
    out(f"{group}: dialing stopped")


@app.command(epilog=EXIT_CODES)
def unload(group: Group, url: Url = DEFAULT_URL) -> None:
    """Unload a group once its calls have ended; records that were read ahead become Ready again.

    \b
    Example:
      ocsd ctl unload "Example@Example Agents"
    """
    with _client(url) as ocs:
        ocs.unload(ocs.dbid_of(group))
    out(f"{group}: unloading")


@app.command("force-unload", epilog=EXIT_CODES)
def force_unload(group: Group, url: Url = DEFAULT_URL) -> None:
    """Unload a group now, whatever is in progress; records of calls under way become Stale.

    \b
    Example:
      ocsd ctl force-unload "Example@Example Agents"
    """
    with _client(url) as ocs:
        ocs.force_unload(ocs.dbid_of(group))
    out(f"{group}: unloaded")


@app.command(epilog=EXIT_CODES)
def launch(
    group: Group,
    mode: Annotated[ModeName, typer.Option(help="Dialing mode.")],
    by: By = None,
    goal: Goal = None,
    url: Url = DEFAULT_URL,
) -> None:
    """Load a group and start dialing, in one request.

    \b
    Example:
      ocsd ctl launch "Example@Example Agents" --mode predictive --by overdial-rate --goal 3
    """
    _check_goal(mode, by, goal)
    with _client(url) as ocs:
        ocs.launch(ocs.dbid_of(group), mode.dial_mode, by.optimize_by if by else None, goal)
    out(f"{group}: launched in {mode.dial_mode.campaign_mode} mode")


@app.command(epilog=EXIT_CODES)
def stage(group: Group, url: Url = DEFAULT_URL) -> None:
    """Load a group, as automated flows ask for it.

    \b
    Example:
      ocsd ctl stage "Example@Example Agents"
    """
    with _client(url) as ocs:
        ocs.stage(ocs.dbid_of(group))
    out(f"{group}: staged")


@app.command(epilog=EXIT_CODES)
def complete(group: Group, url: Url = DEFAULT_URL) -> None:
    """Stop dialing if need be, and unload.

    \b
    Example:
      ocsd ctl complete "Example@Example Agents"
    """
    with _client(url) as ocs:
        ocs.complete(ocs.dbid_of(group))
    out(f"{group}: completing")


@app.command(epilog=EXIT_CODES)
def status(
    group: Annotated[str | None, typer.Argument(help="DBID or name; default: all campaign groups.")] = None,
    as_json: JSON_OPTION = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Show the state of all campaign groups, or state and live figures of one.

    \b
    Example:
      ocsd ctl status
      ocsd ctl status 1 --json
    """
    with _client(url) as ocs:
        if group is None:
            groups = ocs.statuses()
            if as_json:
                print_json({"campaign_groups": {name: _state(found) for name, found in groups.items()}})
            else:
                headings = ("campaign group", "state", "mode", "optimize by", "goal")
                print_table(headings, [(name, *_state(found).values()) for name, found in groups.items()])
            return
        dbid = ocs.dbid_of(group)
        state, figures = _state(ocs.status(dbid)), ocs.statistics(dbid)
    if as_json:
        print_json({"dbid": dbid, **state, "statistics": figures})
    else:
        shown = {"campaign group": group, "dbid": dbid, **state, **figures}
        print_table(("", ""), [(name.replace("_", " "), value) for name, value in shown.items()])


@app.command("calls", epilog=EXIT_CODES)
def list_calls(group: Group, as_json: JSON_OPTION = False, url: Url = DEFAULT_URL) -> None:
    """List the calls of a campaign group that are under way: state, agent, third party, supervisors.

    \b
    Example:
      ocsd ctl calls "Example@Example Agents"
    """
    with _client(url) as ocs:
        found = ocs.live_calls(ocs.dbid_of(group))
    if as_json:
        print_json({"calls": found})
        return
    headings = ("handle", "number", "state", "age", "agent", "talking", "third party", "supervisors")
    print_table(headings, [_call_row(call) for call in found])


def _call_row(call: Mapping[str, Any]) -> tuple[str, ...]:
    third, talking_s = call["third_party"], call["talking_s"]
    return (
        str(call["record_handle"]),
        call["number"],
        call["state"] + (", muted" if call["muted"] else ""),
        f"{call['age_s']:.0f} s",
        call["agent_id"] or "",
        f"{talking_s:.0f} s" if talking_s is not None else "",
        (third["agent_id"] or third["number"]) if third else "",
        ", ".join(f"{each['agent_id']} ({each['mode']})" for each in call["supervisors"]),
    )


@app.command(epilog=EXIT_CODES)
def trunks(as_json: JSON_OPTION = False, url: Url = DEFAULT_URL) -> None:
    """Show which trunks take calls, and what keeps calls off the others.

    \b
    Example:
      ocsd ctl trunks
    """
    with _client(url) as ocs:
        found = ocs.trunks()
    if as_json:
        print_json({"trunks": found})
        return
    rows = [
        (
            each["name"],
            each["priority"],
            f"{each['calls']} of {each['max_calls']}",
            {True: "yes", False: "no"}[each["takes_calls"]],
            each["circuit"].replace("_", " "),
            {True: "yes", False: "no", None: ""}[each["registered"]],
            each["failed"],
            each["moved"],
            each["why"] + (f" (again in {each['again_in_s']:.0f} s)" if each["again_in_s"] else ""),
        )
        for each in found
    ]
    headings = ("trunk", "priority", "calls", "takes calls", "circuit", "registered", "failed", "moved", "why")
    print_table(headings, rows)


@app.command(epilog=EXIT_CODES)
def pacing(group: Group, as_json: JSON_OPTION = False, url: Url = DEFAULT_URL) -> None:
    """Tell the last pacing decision of a loaded group in words, and how predictions and reality compare.

    With --json also every figure of the decision, and the last hour as columns for a plot.

    \b
    Example:
      ocsd ctl pacing "Example@Example Agents"
    """
    with _client(url) as ocs:
        found = ocs.pacing(ocs.dbid_of(group))
    if as_json:
        print_json(found)
        return
    if not found:
        out(f"{group}: not loaded")
        return
    decision = found["decision"]
    if decision is None:
        out(f"{group}: no decision yet")
        return
    out(f"decision {decision['number']}, {decision['at']}")
    for sentence in decision["words"]:
        out(f"  {sentence}")
    rows = [
        (quantity, each["samples"], each["expected"], each["actual"], each["ratio"], each["ratio_error"])
        for quantity, each in found["calibration"].items()
    ]
    print_table(("last hour", "samples", "expected", "happened", "ratio", "its error"), rows)


def _state(found: Mapping[str, Any]) -> dict[str, str | int | None]:
    """State, mode and goal of a status object in words; a number that we do not know stays a number."""
    return {
        "state": _word(GroupCampStatus, found.get("GSW_CM_AttrGroupCampStatus")),
        "mode": _word(DialMode, found.get("GSW_CM_AttrDialMode")),
        "optimize_by": _word(OptimizeBy, found.get("GSW_CM_AttrOptimizeBy")),
        "goal": found.get("GSW_CM_AttrOptimizeGoal"),
    }


def _word(kind: type[GroupCampStatus] | type[DialMode] | type[OptimizeBy], number: int | None) -> str | None:
    if number is None:
        return None
    return next((member.name.lower() for member in kind if member.value == number), str(number))
