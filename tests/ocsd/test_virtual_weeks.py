"""The virtual weeks at a size for every day; `python -m tests.ocsd.virtual_weeks` runs them at any other."""

import pytest
import structlog
import trio

from ocsd.model.enums import RecordAction
from tests.ocsd.virtual_weeks import Figures, week_in_memory, week_on_postgres
from tests.ocsd.weeks_report import report, svg
from tests.ocsd.weeks_world import SHARES, WEEKS

HANG_LIMIT_S = 300.0


@pytest.fixture(autouse=True)
def quiet():
    """Thousands of events a second are captured at a price, and nobody reads them."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory(), processors=[_drop])
    yield
    structlog.reset_defaults()


def _drop(*_: object) -> None:
    raise structlog.DropEvent


def saw_everything(figures: Figures) -> None:
    """A run in which something did not happen proves nothing about it."""
    seen = figures.counts
    assert all(figures.dials[dbid] > 20 for dbid in SHARES)
    assert figures.shares_seen
    for name in (
        "callbacks asked for outside the window", "refused by a cap", "put off: hours", "kept in memory",
        "put on Do-Not-Call without a word", "claims compared with the whole list", "looks for forgotten chains",
        "calls whose record was withdrawn meanwhile", "withdrawn CANCEL alone during a call",
    ):  # fmt: skip
        assert seen[name] > 0, f"{name}: {seen}"


@pytest.mark.parametrize("number", range(len(WEEKS)))
async def test_given_a_week_of_a_clock_change_when_run_in_virtual_time_then_every_dial_and_row_is_right(number):
    with trio.fail_after(HANG_LIMIT_S):
        figures = await week_in_memory(number, records=4000, dials_per_hour=36, tick_s=300.0)

    saw_everything(figures)
    assert figures.counts["of them with free capacity"] > 0
    # Where campaign callbacks go to desktops too, there are enough of them for this to happen.
    assert number or figures.counts["put off for a moment, to be delivered"] > 0
    never = {*RecordAction} - {RecordAction.NONE, *figures.treatments}
    assert not never, f"no treatment was {never}"
    assert "treatments" in report([figures])
    assert svg([figures]).startswith("<svg")


@pytest.mark.parametrize("number", range(len(WEEKS)))
async def test_given_postgresql_when_the_clocks_change_then_every_dial_and_row_is_right(number, database):
    with trio.fail_after(HANG_LIMIT_S):
        figures = await week_on_postgres(
            number, database, days=1.0, skip_days=2.5, records=700, dials_per_hour=40, tick_s=600.0
        )  # fmt: skip

    saw_everything(figures)
