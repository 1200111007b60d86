"""The forecast of ``ocsd list preflight``: what is asked, and how it is told."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import typer

from ocsd.cli.output import out, print_table

if TYPE_CHECKING:
    import psycopg

    from ocsd.config.objects import CallingList, Configuration
    from ocsd.explain.forecast import Forecast, Spread
    from ocsd.explain.preflight import Forbids
    from ocsd.model.enums import CallResult
    from ocsd.sessions.forecasting import Mix

DEFAULT_DAYS: Final = 60
NO_ANSWER_S: Final = 25.0
"""Ringing of a call that nobody answers, where the list's group does not say."""


@dataclass(frozen=True, slots=True)
class Asked:
    """``shares``: None: the list's own results, else the default."""

    dials_per_hour: float | None
    agents: int | None
    handle_s: float
    shares: "dict[CallResult, float] | None"
    start: datetime
    until: datetime
    seed: int
    sample: int
    runs: int

    @staticmethod
    def of(
        dials_per_hour: float | None,
        agents: int | None,
        handle_s: float,
        mix: str | None,
        until: datetime | None,
        now: datetime,
        seed: int,
        sample: int,
        runs: int,
    ) -> "Asked | None":
        """None: no forecast is asked for. typer.BadParameter says what is wrong."""
        if dials_per_hour is not None and agents is not None:
            raise typer.BadParameter("give a pace or a number of agents, not both", param_hint="--agents")
        if dials_per_hour is None and agents is None:
            for given, option in ((mix, "--mix"), (until, "--until")):
                if given is not None:
                    raise typer.BadParameter("a forecast needs a pace: --dials-per-hour or --agents", param_hint=option)
            return None
        end = until.replace(tzinfo=UTC) if until is not None else now + timedelta(days=DEFAULT_DAYS)
        if end <= now:
            raise typer.BadParameter("it must lie in the future", param_hint="--until")
        shares = shares_of(mix) if mix is not None else None
        return Asked(dials_per_hour, agents, handle_s, shares, now, end, seed, sample, runs)


def shares_of(text: str) -> "dict[CallResult, float]":
    """``answer=20,busy=5`` or ``33=20,6=5``."""
    from ocsd.model.enums import CallResult

    shares: dict[CallResult, float] = {}
    for part in text.split(","):
        word, equals, number = part.strip().partition("=")
        word = word.strip()
        try:
            result = CallResult(int(word)) if word.isdigit() else CallResult[word.upper().replace(" ", "_")]
            share = float(number)
        except (KeyError, ValueError):
            raise typer.BadParameter(
                f"{part.strip()!r} is no RESULT=SHARE, such as no_answer=45", param_hint="--mix"
            ) from None
        if not equals or not 0.0 <= share < float("inf") or result in shares:
            raise typer.BadParameter(f"{part.strip()!r}: each result once, with a share from 0", param_hint="--mix")
        shares[result] = share
    if sum(shares.values()) <= 0.0:
        raise typer.BadParameter("at least one share must be more than 0", param_hint="--mix")
    return shares


def forecast_of(
    connection: "psycopg.Connection[Any]",
    configuration: "Configuration",
    calling_list: "CallingList",
    dnc: "Forbids",
    asked: Asked,
    progress: Callable[[int, int], object],
) -> "Forecast":
    from ocsd.sessions.forecasting import Question, forecast, pace_of_agents

    mix = _mix(connection, configuration, calling_list, asked)
    if asked.agents is not None:
        try:
            pace = pace_of_agents(asked.agents, mix, asked.handle_s)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--agents") from None
    else:
        assert asked.dials_per_hour is not None
        pace = asked.dials_per_hour
    question = Question(pace, mix, asked.start, asked.until, asked.seed, asked.runs, asked.sample)
    return forecast(connection, configuration, calling_list, dnc, question, progress=progress)


def _mix(
    connection: "psycopg.Connection[Any]", configuration: "Configuration", calling_list: "CallingList", asked: Asked
) -> "Mix":
    from ocsd.sessions.forecasting import DEFAULT_SHARES, group_of, mix_of, observed_mix
    from ocsd.sessions.planner import Planner

    planner = Planner(configuration, group_of(configuration, calling_list))
    no_answer_s = planner.rules(calling_list.dbid).no_answer_s or NO_ANSWER_S
    if asked.shares is not None:
        return mix_of(asked.shares, no_answer_s, asked.handle_s, "the mix that was given")
    observed = observed_mix(connection, calling_list.dbid, asked.start)
    return observed or mix_of(
        DEFAULT_SHARES, no_answer_s, asked.handle_s, "the default mix, which knows nothing of you"
    )


# --- telling ----------------------------------------------------------------------------------------------------------


def told_of_forecast(found: "Forecast") -> dict[str, Any]:
    """For programs; times are ISO 8601 in UTC, numbers of chains are of the whole list."""
    return {
        "dials_per_hour": round(found.dials_per_hour, 3),
        "chains": found.chains,
        "sample_ratio": round(found.part, 6),
        "end": _times(found.end_s),
        "finished": {f"{100 * share:g}%": _times(spread) for share, spread in found.milestones.items()},
        "dials": {"low": round(found.dials.low), "middle": round(found.dials.middle), "high": round(found.dials.high)},
        "idle_h": {waits.name.lower(): round(hours, 2) for waits, hours in found.idle_h.items()},
        "chains_by_fate": {fate.name.lower(): round(found.total(fate), 1) for fate in _fates(found)},
        "zones": {
            zone: {fate.name.lower(): round(count, 1) for (each, fate), count in found.fates.items() if each == zone}
            for zone in found.zones
        },
        "dials_by_hour": [round(dials, 1) for dials in found.dials_by_hour],
        "assumptions": list(found.assumptions),
    }


def _fates(found: "Forecast") -> list[Any]:
    from ocsd.explain.forecast import Fate

    return [fate for fate in Fate if found.total(fate)]


def _times(spread: "Spread | None") -> dict[str, str] | None:
    if spread is None:
        return None
    return {name: _time(at_s).isoformat(timespec="seconds") for name, at_s in _named(spread)}


def _named(spread: "Spread") -> tuple[tuple[str, float], ...]:
    return (("low", spread.low), ("middle", spread.middle), ("high", spread.high))


def _time(at_s: float) -> datetime:
    return datetime.fromtimestamp(at_s, UTC)


def print_forecast(found: "Forecast") -> None:
    rows: list[tuple[object, ...]] = [
        (f"{100 * share:g} % finished", *_cells(spread)) for share, spread in found.milestones.items()
    ]
    rows.append(("all finished", *_cells(found.end_s)))
    dials = found.dials
    rows.append(("dials", f"{dials.middle:.0f}", f"{dials.low:.0f} .. {dials.high:.0f}"))
    print_table(("forecast (UTC)", "expected", "range of the runs"), rows)
    print_table(
        ("capacity idles because", "hours"), [(waits.value, f"{hours:.1f}") for waits, hours in found.idle_h.items()]
    )
    fates = _fates(found)
    print_table(
        ("chains", "all", *found.zones),
        [
            (fate.value, round(found.total(fate)), *(round(found.fates.get((zone, fate), 0.0)) for zone in found.zones))
            for fate in fates
        ],
    )
    for assumption in found.assumptions:
        out(f"assumed: {assumption}")


def _cells(spread: "Spread | None") -> tuple[str, str]:
    if spread is None:
        return ("not before the forecast ends", "")
    return (
        f"{_time(spread.middle):%a %Y-%m-%d %H:%M}",
        f"{_time(spread.low):%d %b %H:%M} .. {_time(spread.high):%d %b %H:%M}",
    )
