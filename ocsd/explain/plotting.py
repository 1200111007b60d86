"""A forecast as a drawing (SVG, by matplotlib); beside it, where it is known, what then happened."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path

from ocsd.explain.forecast import HOUR_S, Forecast
from ocsd.model.errors import OcsdError

FORECAST, TRUTH = "#4c72b0", "#dd8452"


def plot(found: Forecast, path: Path, *, happened: tuple[Sequence[float], Mapping[int, int]] | None = None) -> None:
    """
    Chains finished over time above, dials per hour below.

    Args:
        happened: when chains were finished (Unix seconds), and dials by hour since the start.

    Raises OcsdError when matplotlib is not installed.
    """
    try:
        import_module("matplotlib").use("Agg")
    except ImportError:
        raise OcsdError("a plot needs matplotlib: pip install matplotlib") from None
    dates, plt = import_module("matplotlib.dates"), import_module("matplotlib.pyplot")
    start = datetime.fromtimestamp(found.start_s, UTC)
    hours = len(found.finished_by_hour[0])
    times = [start + timedelta(hours=hour) for hour in range(hours + 1)]
    # The same figures give the same file: no time of day in it, no random ids.
    with plt.rc_context({"svg.hashsalt": "ocsd", "svg.fonttype": "none"}):
        figure, (above, below) = plt.subplots(2, 1, sharex=True, figsize=(9, 6), height_ratios=(3, 2))
        low = [0.0, *(min(column) for column in zip(*found.finished_by_hour, strict=True))]
        high = [0.0, *(max(column) for column in zip(*found.finished_by_hour, strict=True))]
        middle = [0.0, *(sorted(column)[len(column) // 2] for column in zip(*found.finished_by_hour, strict=True))]
        above.fill_between(times, low, high, color=FORECAST, alpha=0.3, linewidth=0)
        above.plot(times, middle, color=FORECAST, label=f"forecast, {len(found.finished_by_hour)} runs")
        below.stairs(
            found.dials_by_hour[:hours], dates.date2num(times[: len(found.dials_by_hour[:hours]) + 1]), color=FORECAST
        )
        if happened is not None:
            finished, dials = happened
            counts = [sum(at_s <= found.start_s + HOUR_S * hour for at_s in finished) for hour in range(hours + 1)]
            above.plot(times, counts, color=TRUTH, linestyle="--", label="what then happened")
            below.stairs([dials.get(hour, 0) for hour in range(hours)], dates.date2num(times), color=TRUTH, ls="--")
        if found.end_s is not None:
            for at_s, style in ((found.end_s.low, ":"), (found.end_s.middle, "-"), (found.end_s.high, ":")):
                above.axvline(
                    datetime.fromtimestamp(at_s, UTC),
                    color="black",
                    linestyle=style,
                    linewidth=0.8,
                )
        above.set_ylabel("chains finished")
        above.legend(loc="lower right")
        above.set_title(
            f"{found.calling_list}: {found.chains} chains at {found.dials_per_hour:.0f} dials an hour (UTC)"
        )
        below.set_ylabel("dials per hour")
        below.xaxis.set_major_formatter(dates.ConciseDateFormatter(dates.AutoDateLocator()))
        figure.tight_layout()
        figure.savefig(path, format="svg", metadata={"Date": None})
        plt.close(figure)
