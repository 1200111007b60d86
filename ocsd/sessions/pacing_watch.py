"""The pacing of one campaign group for people and consoles: the last decision in words, predicted against actual, and
the last hour as columns for a plot. Pure: it is told what the recorder is told."""

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Final

from pacing import DialDecision, GroupSnapshot, PacingTarget
from pacing.calibration import QUANTITIES, Calibrator, calibration
from pacing.journal import Decided, Recorded
from pacing.words import reason, told

POINT_EVERY_S: Final = 10.0
POINTS: Final = 360
"""An hour of points: some 40 kB in an answer."""
SAMPLES: Final = 120
"""About the last hour: decisions are compared a horizon of half a minute apart."""
COLUMNS: Final = (
    "idle",
    "talking",
    "wrapping",
    "ringing",
    "analysing",
    "people_waiting",
    "people",
    "abandoned",
    "busy_factor",
    "agent_wait_s",
    "hit_ratio",
    "theta",
    "expected_people",
    "expected_abandoned",
    "expected_freed",
)
"""Of `DialDecision.inputs`; null where a decision has no such figure."""


class PacingWatch:
    """Owned by a session; `take` is called with every entry of its recorder."""

    def __init__(self) -> None:
        self._last: Decided | None = None
        self._calibrator = Calibrator(keep=SAMPLES)
        self._points: deque[dict[str, Any]] = deque(maxlen=POINTS)
        self._launched = 0

    def take(self, entry: Recorded) -> None:
        self._calibrator.take(entry)
        if not isinstance(entry, Decided) or not isinstance(entry.decision, DialDecision):
            return
        self._last = entry
        self._launched += entry.decision.launch
        now_s = entry.snapshot.now_s
        if not self._points or now_s - self._points[-1]["at_s"] >= POINT_EVERY_S:
            inputs = entry.decision.inputs
            self._points.append(
                {"at_s": now_s, "launched": self._launched, "because": entry.decision.because}
                | {name: inputs.get(name) for name in COLUMNS}
            )
            self._launched = 0

    def shown(self, target: PacingTarget, now_s: float, utc: datetime) -> dict[str, object]:
        """For GET ?req=pacing; ``utc`` is the time of day at ``now_s``. Figures that cannot be told are None."""

        def at(at_s: float) -> str:
            return (utc - timedelta(seconds=now_s - at_s)).isoformat(timespec="milliseconds")

        columns = ("launched", "because", *COLUMNS)
        return {
            "target": _plain(asdict(target)),
            "decision": None if self._last is None else self._decision(self._last, target, at),
            "legal": None if self._last is None else _legal(self._last.snapshot),
            "calibration": {quantity: self._calibration(quantity) for quantity in QUANTITIES},
            "recent": {
                "at": [at(point["at_s"]) for point in self._points],
                **{name: [_finite(point[name]) for point in self._points] for name in columns},
            },
        }

    @staticmethod
    def _decision(last: Decided, target: PacingTarget, at: Any) -> dict[str, object]:
        decision = last.decision
        assert isinstance(decision, DialDecision)
        return {
            "number": last.number,
            "at": at(last.snapshot.now_s),
            "launch": decision.launch,
            "because": decision.because,
            "reason": reason(decision),
            "words": told(decision, target, last.snapshot.legal),
            "predicted_overdial_ratio": _finite(decision.predicted_overdial_ratio),
            "inputs": {name: _finite(float(value)) for name, value in decision.inputs.items()},
        }

    def _calibration(self, quantity: str) -> dict[str, object]:
        found = calibration(self._calibrator.samples, quantity)
        return {
            "samples": found.samples,
            "expected": _finite(found.expected),
            "actual": found.actual,
            "ratio": _finite(found.ratio),
            "ratio_error": _finite(found.ratio_error),
            "covered_ratio": _finite(found.covered_ratio),
        }


def _legal(snapshot: GroupSnapshot) -> dict[str, object] | None:
    return None if snapshot.legal is None else _plain(asdict(snapshot.legal))


def _plain(values: Mapping[str, Any]) -> dict[str, object]:
    return {name: value.value if isinstance(value, Enum) else _finite(value) for name, value in values.items()}


def _finite(value: Any) -> Any:
    """JSON knows no infinity and no NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
