"""What a rehearsal found, for programs and for people. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from ocsd.model.enums import CallResult
from ocsd.rehearsal.compare import FIGURES, Outcome
from ocsd.rehearsal.figures import Interval, Stretch
from ocsd.rehearsal.run import Run, Scene
from ocsd.rehearsal.world import Mix, Spread

HOUR_S: Final = 3600.0
OWN: Final = "assumed"
"""Source of figures that nobody has measured."""


@dataclass(frozen=True, slots=True)
class Telling:
    """``mix``: the world's; None: it is not drawn from one. ``notes``: what the reader must know, in sentences."""

    scene: Scene
    mix: Mix | None
    outcomes: Sequence[Outcome]
    notes: tuple[str, ...] = ()


def told(telling: Telling) -> dict[str, Any]:
    """For programs: figures with the inputs that led to them. Ratios are 0..1, times seconds."""
    scene = telling.scene
    return {
        "campaign_group": scene.group.name,
        "start": scene.start.isoformat(timespec="seconds"),
        "hours": scene.duration_s / HOUR_S,
        "seeds": [run.seed for run in telling.outcomes[0].runs] if telling.outcomes else [],
        "inputs": inputs(scene, telling.mix),
        "variants": [_variant(outcome) for outcome in telling.outcomes],
        "notes": [*telling.notes, *notes_of(telling)],
    }


def inputs(scene: Scene, mix: Mix | None) -> dict[str, Any]:
    """Everything that a rehearsal rests on."""
    delays, rhythm, group = scene.delays, scene.rhythm, scene.group
    return {
        "lists": {
            "source": scene.lists.source,
            "chains": scene.lists.chains,
            "part_rehearsed": round(scene.lists.part, 6),
        },
        "delays_s": {"launch": delays.launch_s, "teardown": delays.teardown_s, "ready": delays.ready_s},
        "pacing_period_s": rhythm.period_s,
        "pacing_rest_s": rhythm.rest_s,
        "num_of_channels": group.num_of_channels,
        "max_legs": scene.config.telephony.max_legs,
        "mix": _mix(mix) if mix is not None else None,
    }


def _mix(mix: Mix) -> dict[str, Any]:
    def value(name: str) -> Any:
        found = getattr(mix, name)
        if isinstance(found, Spread):
            return {"mean_s": round(found.mean_s, 3), "cv": round(found.cv, 3)}
        if isinstance(found, Mapping):
            return {str(key): round(part, 5) for key, part in found.items()}
        return [round(part, 5) for part in found] if isinstance(found, tuple) else found

    names = [name for name in Mix.__dataclass_fields__ if name != "sources"]
    return {name: {"value": value(name), "source": mix.sources.get(name, OWN)} for name in names}


def _interval(found: Interval | None) -> dict[str, float | int] | None:
    if found is None:
        return None
    return {"mean": round(found.mean, 6), "ci95": round(found.half, 6), "seeds": found.count}


def _variant(outcome: Outcome) -> dict[str, Any]:
    variant, first = outcome.variant, outcome.runs[0]
    found: dict[str, Any] = {
        "name": variant.name,
        "dial_mode": variant.settings.dial_mode.name.lower(),
        "optimize_by": variant.settings.optimize_by.name.lower(),
        "optimize_goal": variant.settings.optimize_goal,
        "agents": variant.rota.seats,
        "figures": {name: _interval(outcome.over(figure)) for name, _, figure, _ in FIGURES},
        "by_hour": hours(outcome),
        "calls_by_result": {
            title_of(result): round(sum(run.results.get(result, 0) for run in outcome.runs) / len(outcome.runs), 2)
            for result in sorted({result for run in outcome.runs for result in run.results})
        },
        "calls_started_because": dict(sorted(first.because.items())),
        "held_back": dict(sorted(first.held_back.items())),
        "lists_exhausted_after_s": _interval(outcome.over(lambda run: run.exhausted_s)),
        "chains_left": _interval(outcome.over(lambda run: float(run.left))),
        "cpu_s": round(sum(run.cpu_s for run in outcome.runs), 3),
        "times_faster_than_real": round(mean_speed(outcome.runs)),
    }
    if first.window is not None:
        found["legal_window"] = {
            "rule": first.window.rule,
            "limit": first.window.limit_ratio,
            "kept_in_runs": sum(run.window is not None and run.window.kept for run in outcome.runs),
            "runs": len(outcome.runs),
            "people": first.window.people,
            "abandoned": first.window.abandoned,
            "bound_ratio": round(first.window.bound_ratio, 4),
        }
    return found


def title_of(result: int) -> str:
    """The manual's name of a result; its number when the manual has none."""
    try:
        return CallResult(result).title
    except ValueError:
        return str(result)


def mean_speed(runs: Sequence[Run]) -> float:
    """Virtual time over CPU time, of all runs together."""
    cpu_s = sum(run.cpu_s for run in runs)
    return sum(run.samples[-1].at_s for run in runs) / cpu_s if cpu_s > 0.0 else 0.0


def hours(outcome: Outcome) -> list[dict[str, Any]]:
    """Figures of each hour, means over the seeds."""
    return [
        {
            "from_h": round(parts[0].from_s / HOUR_S, 4),
            "agents": _mean(parts, "agents", 2),
            "busy_factor": _mean(parts, "busy_ratio", 5),
            "overdial_rate": _mean(parts, "overdial_ratio", 5),
            "agent_wait_s": _mean(parts, "agent_wait_s", 2),
            "people_wait_s": _mean(parts, "people_wait_s", 3),
            "hit_ratio": _mean(parts, "hit_ratio", 5),
            "attempts": _mean(parts, "attempts", 1),
            "people": _mean(parts, "people", 1),
            "abandoned": _mean(parts, "abandoned", 2),
            "chains_dialed": _mean(parts, "touched", 1),
            "chains_final": _mean(parts, "final", 1),
        }
        for parts in zip(*(run.by(HOUR_S) for run in outcome.runs), strict=True)
    ]


def _mean(parts: Sequence[Stretch], name: str, digits: int) -> float | None:
    known = [value for part in parts if (value := getattr(part, name)) is not None]
    return round(sum(known) / len(known), digits) if known else None


def written(found: Interval | None, unit: str) -> str:
    """A figure for people, with its confidence interval where there is more than one seed."""
    if found is None:
        return "-"
    factor, digits, after = {"%": (100.0, 2, " %"), "s": (1.0, 2, " s")}.get(unit, (1.0, 0, ""))
    if unit == "" and found.mean != round(found.mean):
        digits = 1
    text = f"{factor * found.mean:.{digits}f}"
    if found.count > 1:
        text += f" ± {factor * found.half:.{max(1, digits)}f}"
    return text + after


def table(outcomes: Sequence[Outcome]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headings and rows: figures down, variants across."""
    headings = ("", *(outcome.variant.name for outcome in outcomes))
    rows = [
        (title, *(written(outcome.over(figure), unit) for outcome in outcomes)) for _, title, figure, unit in FIGURES
    ]
    rows.append(("chains left", *(written(o.over(lambda run: float(run.left)), "") for o in outcomes)))
    return headings, rows


def hour_table(outcome: Outcome, scene: Scene) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """Headings and rows of one variant, hour by hour."""
    headings = ("UTC", "agents", "busy", "overdial", "agents wait", "attempts", "people", "hit", "dialed", "finished")
    rows: list[tuple[object, ...]] = []
    for hour in hours(outcome):
        at = scene.start + timedelta(hours=hour["from_h"])
        rows.append(
            (
                f"{at:%a %H:%M}",
                f"{hour['agents']:.0f}",
                _percent(hour["busy_factor"]),
                _percent(hour["overdial_rate"]),
                f"{hour['agent_wait_s']:.1f} s" if hour["agent_wait_s"] is not None else "-",
                f"{hour['attempts']:.0f}",
                f"{hour['people']:.0f}",
                _percent(hour["hit_ratio"]),
                f"{hour['chains_dialed']:.0f}",
                f"{hour['chains_final']:.0f}",
            )
        )
    return headings, rows


def _percent(ratio: float | None) -> str:
    return f"{100.0 * ratio:.2f} %" if ratio is not None else "-"


def notes_of(telling: Telling) -> list[str]:
    """What the figures alone do not say."""
    scene, found = telling.scene, []
    for outcome in telling.outcomes:
        name, runs = outcome.variant.name, outcome.runs
        ended = [run.exhausted_s for run in runs if run.exhausted_s is not None]
        if ended and scene.lists.part >= 1.0:
            at = scene.start + timedelta(seconds=sum(ended) / len(ended))
            found.append(
                f"{name}: the lists are exhausted at about {at:%a %H:%M} UTC ({len(ended)} of {len(runs)} runs)"
            )
        elif ended:
            found.append(
                f"{name}: the rehearsed part of the lists ran dry; take a larger one (--sample), or look at fewer hours"
            )
        if not any(run.total.attempts for run in runs):
            found.append(
                f"{name}: nothing could be dialed in this time; `ocsd list preflight` says what holds records back"
            )
        most = max((max(run.because, key=lambda why: run.because[why], default="") for run in runs), default="")
        if most in ("ports", "start_rate"):
            found.append(f"{name}: most calls were as many as {_LIMITS[most]} let start, not as many as the goal wants")
        windows = [run.window for run in runs if run.window is not None]
        if windows:
            kept, rule = sum(window.kept for window in windows), windows[0]
            closed = 100.0 * sum(window.bound_ratio for window in windows) / len(windows)
            found.append(
                f"{name}: window {rule.rule} ({100 * rule.limit_ratio:g} %) kept in {kept} of {len(windows)} runs,"
                f" with calls started only one to one, or not at all, for {closed:.1f} % of the time"
            )
    return found


_LIMITS: Final = {"ports": "ports and trunks", "start_rate": "the limit of call starts"}


def world_table(mix: Mix) -> list[tuple[str, str, str]]:
    """Name, value and source of every figure of the world."""
    total = sum(mix.shares.values())
    shares = ", ".join(f"{party} {100 * share / total:.1f} %" for party, share in mix.shares.items() if share > 0.0)
    rows = [("calls", shares, mix.sources.get("shares", OWN))]
    for name in Mix.__dataclass_fields__:
        value = getattr(mix, name)
        if isinstance(value, Spread):
            rows.append((name.replace("_", " ").removesuffix(" s"), f"{value.mean_s:.1f} s, cv {value.cv:.2f}",
                         mix.sources.get(name, OWN)))  # fmt: skip
    for name, title in (("setup_s", "set-up"), ("connect_s", "connecting an agent")):
        low, high = getattr(mix, name)
        rows.append((title, f"{low:g} to {high:g} s", mix.sources.get(name, OWN)))
    if any(factor != 1.0 for factor in mix.by_hour):
        best, worst = max(mix.by_hour), min(mix.by_hour)
        rows.append(("people by hour", f"{worst:.2f} to {best:.2f} of the mean", mix.sources.get("by_hour", OWN)))
    if mix.by_zone:
        factors = ", ".join(f"{zone} {factor:.2f}" for zone, factor in sorted(mix.by_zone.items()))
        rows.append(("people by zone", factors, mix.sources.get("by_zone", OWN)))
    for name, title in (("person_as_machine_ratio", "people taken for machines"),
                        ("machine_as_person_ratio", "machines taken for people")):  # fmt: skip
        rows.append((title, f"{100 * getattr(mix, name):.1f} %", mix.sources.get(name, OWN)))
    return rows
