"""Predicted against actual as a drawing (SVG, by matplotlib)."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from ocsd.model.errors import OcsdError
from pacing.calibration import Calibration

TITLES = {
    "people": "people answering",
    "abandoned": "people without an agent",
    "freed": "agents coming free",
}
ACTUAL, IDEAL = "#4c72b0", "#999999"


def plot(found: Sequence[Calibration], path: Path) -> None:
    """
    One reliability curve for each quantity: means of equal numbers of samples, with their 95 % confidence bands.

    Raises OcsdError when matplotlib is not installed, or nothing is there to be drawn.
    """
    shown = [each for each in found if each.points]
    if not shown:
        raise OcsdError(
            "there are no predictions to be drawn: a recording of predictive dialing has one in half a minute"
        )
    try:
        import_module("matplotlib").use("Agg")
    except ImportError:
        raise OcsdError("a plot needs matplotlib: pip install matplotlib") from None
    plt = import_module("matplotlib.pyplot")
    # The same figures give the same file: no time of day in it, no random ids.
    with plt.rc_context({"svg.hashsalt": "ocsd", "svg.fonttype": "none"}):
        figure, axes = plt.subplots(1, len(shown), figsize=(4.2 * len(shown), 4.6), squeeze=False)
        for axis, each in zip(axes[0], shown, strict=True):
            expected = [point.expected for point in each.points]
            actual = [point.actual for point in each.points]
            bands = [0.0 if point.half_width != point.half_width else point.half_width for point in each.points]
            most = 1.05 * max([*expected, *(a + b for a, b in zip(actual, bands, strict=True))])
            axis.plot([0.0, most], [0.0, most], color=IDEAL, linestyle="--", linewidth=1.0, label="as predicted")
            axis.errorbar(expected, actual, yerr=bands, color=ACTUAL, marker="o", capsize=3, label="happened, 95 %")
            axis.set_xlim(0.0, most)
            axis.set_ylim(0.0, most)
            axis.set_title(f"{TITLES[each.quantity]}:\n{_ratio(each)}", fontsize=11)
            axis.set_xlabel("expected within the horizon")
        axes[0][0].set_ylabel("mean of what happened")
        axes[0][0].legend(loc="upper left")
        figure.suptitle(f"{shown[0].samples} predictions against what then happened")
        figure.tight_layout()
        figure.savefig(path, format="svg", metadata={"Date": None})
        plt.close(figure)


def _ratio(found: Calibration) -> str:
    if found.ratio is None:
        return "nothing expected"
    error = f" ± {found.ratio_error:.2f}" if found.ratio_error is not None else ""
    return f"{found.ratio:.2f}{error} of expected"
