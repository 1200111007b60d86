"""A run as a drawing (SVG or PNG, by matplotlib): busy factor, abandoned share, waits and launches over time."""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from pacing.sim.results import WORST_WINDOW_MIN, RunResult
from pacing.sim.spread import Floats

_SMOOTH_MIN = 5


def _summed(values: list[float], minutes: int) -> Floats:
    """Sum over the last so many minutes, float64 (n,)."""
    total = np.concatenate(([0.0], np.cumsum(values)))
    first = np.maximum(np.arange(1, len(total)) - minutes, 0)
    summed: Floats = total[1:] - total[first]
    return summed


def pyplot() -> Any:
    """matplotlib's pyplot with a backend for files; drawings of the same data are the same bytes."""
    matplotlib = import_module("matplotlib")
    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "ocsd"
    return import_module("matplotlib.pyplot")


def draw_run(result: RunResult, title: str, path: Path) -> None:
    """Write the drawing to ``path``, whose suffix names the format."""
    plt, minutes = pyplot(), result.minutes
    hours = np.arange(1, len(minutes) + 1) / 60.0
    figure, axes = plt.subplots(4, 1, figsize=(9.0, 9.0), sharex=True, constrained_layout=True)
    busy = _summed([m.busy_agent_s for m in minutes], _SMOOTH_MIN)
    staffed = _summed([m.staffed_agent_s for m in minutes], _SMOOTH_MIN)
    axes[0].plot(hours, 100.0 * busy / np.maximum(staffed, 1e-9), label=f"last {_SMOOTH_MIN} min")
    axes[0].axhline(100.0 * result.busy_ratio, color="grey", linestyle=":", label="whole run")
    axes[0].set_ylabel("busy %")
    for span, label in ((WORST_WINDOW_MIN, f"last {WORST_WINDOW_MIN} min"), (len(minutes), "since the start")):
        gone = _summed([m.abandoned for m in minutes], span)
        people = _summed([m.people for m in minutes], span)
        axes[1].plot(hours, 100.0 * gone / np.maximum(people, 1.0), label=label)
    axes[1].set_ylabel("abandoned %")
    bridged = _summed([m.bridged for m in minutes], _SMOOTH_MIN)
    axes[2].plot(hours, (staffed - busy) / np.maximum(bridged, 1.0), label="agents, between calls")
    axes[2].set_ylabel("wait s")
    axes[3].step(hours, [m.launched for m in minutes], where="pre", label="launched")
    axes[3].step(hours, [m.people for m in minutes], where="pre", label="people")
    axes[3].set_ylabel("calls a minute")
    axes[3].set_xlabel("hours")
    for axis in axes:
        axis.grid(alpha=0.3)
        axis.set_ylim(bottom=0.0)
        axis.legend(loc="upper right", fontsize="small")
    figure.suptitle(title)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)
