"""A rehearsal as a drawing (SVG or PNG, by matplotlib): what happens over time, for each variant."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from ocsd.model.errors import OcsdError
from ocsd.rehearsal.compare import Outcome
from ocsd.rehearsal.figures import Stretch, stretch
from ocsd.rehearsal.run import Run, Scene

COLOURS: Final = ("#4c72b0", "#dd8452", "#55a868", "#c44e52", "#8172b3", "#937860", "#da8bc3", "#8c8c8c")
FORMATS: Final = ("svg", "png", "pdf")
WINDOW_MIN: Final = 15
"""Each point is the figure of the quarter of an hour before it."""


def format_of(path: Path) -> str:
    """By the ending of the file; OcsdError names those that can be written."""
    kind = path.suffix.removeprefix(".").lower() or "svg"
    if kind not in FORMATS:
        raise OcsdError(f"a plot can be written as .{', .'.join(FORMATS)}, not as .{kind}")
    return kind


def plot(outcomes: Sequence[Outcome], scene: Scene, path: Path) -> None:
    """
    Busy factor, abandoned people with the limit, agents' wait, calls started, and how far the lists have got.

    Lines are means over the seeds. The ending of ``path`` chooses the format.

    Raises OcsdError when matplotlib is not installed, or does not know the format.
    """
    try:
        import_module("matplotlib").use("Agg")
    except ImportError:
        raise OcsdError("a plot needs matplotlib: pip install matplotlib") from None
    dates, plt = import_module("matplotlib.dates"), import_module("matplotlib.pyplot")
    kind = format_of(path)
    # The same figures give the same file: no time of day in it, no random ids.
    with plt.rc_context({"svg.hashsalt": "ocsd", "svg.fonttype": "none"}):
        figure, axes = plt.subplots(5, 1, sharex=True, figsize=(9, 12), height_ratios=(3, 3, 2, 2, 3))
        for number, outcome in enumerate(outcomes):
            _draw(axes, outcome, scene, COLOURS[number % len(COLOURS)])
        limit = 100.0 * limit_of(scene)
        axes[1].axhline(limit, color="black", linewidth=0.8, linestyle=":", label=f"limit {limit:g} %")
        labels = ("busy factor, %", "abandoned, %", "agents' wait, s", "calls started per minute", "chains")
        for axis, label in zip(axes, labels, strict=True):
            axis.set_ylabel(label)
            axis.grid(alpha=0.2)
        axes[0].set_ylim(top=100.0)
        for axis in axes[1:4]:
            axis.set_ylim(bottom=0.0)
        axes[0].legend(loc="lower right", fontsize="small")
        axes[1].legend(loc="upper right", fontsize="small")
        axes[4].legend(loc="upper left", fontsize="small")
        axes[0].set_title(f"{scene.group.name}: {scene.duration_s / 3600:g} h from {scene.start:%Y-%m-%d %H:%M} UTC")
        axes[4].xaxis.set_major_formatter(dates.ConciseDateFormatter(dates.AutoDateLocator()))
        figure.tight_layout()
        figure.savefig(path, format=kind, metadata={"Date": None} if kind == "svg" else None)
        plt.close(figure)


def limit_of(scene: Scene) -> float:
    """The overdial bound of the group, as a ratio."""
    from ocsd.sessions.planner import Planner

    return float(Planner(scene.config, scene.group).option("max_overdial_rate")) / 100.0


def _draw(axes: Any, outcome: Outcome, scene: Scene, colour: str) -> None:
    name = outcome.variant.name
    times, rows = _windows(outcome, scene.start)
    axes[0].plot(times, _line(rows, lambda part: part.busy_ratio, 100.0), color=colour, label=name)
    axes[1].plot(times, _line(rows, lambda part: part.overdial_ratio, 100.0), color=colour)
    axes[2].plot(times, _line(rows, lambda part: part.agent_wait_s), color=colour)
    axes[3].plot(times, _line(rows, lambda part: 60.0 * part.attempts / (part.until_s - part.from_s)), color=colour)
    instants = [scene.start + timedelta(seconds=sample.at_s) for sample in outcome.runs[0].samples]
    axes[4].plot(instants, outcome.at(lambda sample: sample.touched), color=colour, label=f"{name}: dialed")
    axes[4].plot(instants, outcome.at(lambda sample: sample.final), color=colour, ls="--", label=f"{name}: finished")


def _windows(outcome: Outcome, start: datetime) -> tuple[list[datetime], list[list[Stretch]]]:
    """The last quarter of an hour at each minute, of each run; shorter at the beginning."""
    places = range(1, len(outcome.runs[0].samples))

    def seen(run: Run, place: int) -> Stretch:
        return stretch(run.samples[max(0, place - WINDOW_MIN)], run.samples[place])

    times = [start + timedelta(seconds=outcome.runs[0].samples[place].at_s) for place in places]
    return times, [[seen(run, place) for run in outcome.runs] for place in places]


def _line(
    rows: Sequence[Sequence[Stretch]], figure: Callable[[Stretch], float | None], factor: float = 1.0
) -> list[float]:
    """Mean over the runs; a gap (nan) where nothing is known."""
    found = []
    for row in rows:
        known = [value for part in row if (value := figure(part)) is not None]
        found.append(factor * sum(known) / len(known) if known else float("nan"))
    return found
