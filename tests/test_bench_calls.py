"""What the bench of calls takes for a rate that is held."""

import pytest

from bench.calls import Figures


def figures(**changes: object) -> Figures:
    found = Figures(50.0, 20.0, started=1000, answered=1000, starts_per_s=50.0, late_p99_ms=5.0)
    for name, value in changes.items():
        setattr(found, name, value)
    return found


def test_given_calls_that_all_went_well_when_asked_then_the_rate_is_held():
    assert figures().holds
    assert figures(answered=996).holds


@pytest.mark.parametrize(
    "changes",
    [
        {"failed": {"cut: LegEnded": 6}},
        {"failed": {"lost at the end": 6}},
        {"answered": 994},
        {"legs_left": 1},
        {"channels_left": 1},
        {"late_p99_ms": 21.0},
        {"starts_per_s": 48.0},
        {"started": 0, "answered": 0},
    ],
)
def test_given_calls_that_were_cut_or_left_behind_when_asked_then_the_rate_is_not_held(changes):
    assert not figures(**changes).holds
