"""The log line about keeping up, on the fake telephony plane in virtual time."""

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from ocsd.load import REPORT_S, SAMPLE_S, report_load
from telephony.fake import open_fake_plane

MEDIA_FIELDS = {"channels", "analysing", "bridged", "tick_late_p99_ms", "tick_work_p99_ms", "media_cpu_s"}


@pytest.fixture
def clock() -> trio.testing.MockClock:
    return trio.testing.MockClock(autojump_threshold=0.0)


async def lines_after(seconds: float, *, media_there: bool) -> list[dict]:
    with capture_logs() as logs:
        async with open_fake_plane() as (telephony, media), trio.open_nursery() as nursery:
            media.available = media_there
            nursery.start_soon(report_load, telephony, media)
            await trio.sleep(seconds)
            nursery.cancel_scope.cancel()
    return [line for line in logs if line["event"] == "daemon.load"]


async def test_given_an_idle_loop_when_three_periods_pass_then_three_lines_say_it_was_never_late(clock):
    lines = await lines_after(3.5 * REPORT_S, media_there=True)

    assert len(lines) == 3
    assert all(line["loop_late_max_ms"] == 0.0 for line in lines)
    assert all(line.keys() >= MEDIA_FIELDS for line in lines)


async def test_given_no_media_server_when_a_period_ends_then_the_loop_is_still_reported(clock):
    lines = await lines_after(1.5 * REPORT_S, media_there=False)

    assert len(lines) == 1
    assert not lines[0].keys() & MEDIA_FIELDS


async def test_given_a_loop_that_was_blocked_when_the_period_ends_then_the_lateness_shows(clock):
    async def block() -> None:
        await trio.sleep(0.5 * REPORT_S)
        clock.jump(0.3)  # time passes and no task runs

    with capture_logs() as logs:
        async with open_fake_plane() as (telephony, media), trio.open_nursery() as nursery:
            nursery.start_soon(report_load, telephony, media)
            nursery.start_soon(block)
            await trio.sleep(1.5 * REPORT_S)
            nursery.cancel_scope.cancel()

    (line,) = [line for line in logs if line["event"] == "daemon.load"]
    assert 300.0 - 1000.0 * SAMPLE_S <= line["loop_late_max_ms"] <= 300.0
    assert line["loop_late_p50_ms"] == 0.0
