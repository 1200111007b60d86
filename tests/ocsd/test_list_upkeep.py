"""Daily upkeep of the outbox, in virtual time."""

from datetime import UTC, datetime, timedelta

import trio
from structlog.testing import capture_logs

from ocsd.lists.upkeep import AT_ONCE, KEPT, PERIOD_S, RETRY_S, keep_tidy
from ocsd.model.errors import StoreUnavailable

NOON = datetime(2026, 3, 3, 12, 0, tzinfo=UTC)


class Outbox:
    """``delivered_at``: of the items that are left."""

    def __init__(self, delivered_at):
        self.delivered_at = sorted(delivered_at)
        self.away_until = NOON
        self.portions = []

    async def forget(self, before, limit):
        await trio.lowlevel.checkpoint()
        if now() < self.away_until:
            raise StoreUnavailable("away")
        gone = [at for at in self.delivered_at if at < before][:limit]
        self.delivered_at = self.delivered_at[len(gone) :]
        self.portions.append((now(), len(gone)))
        return len(gone)


def now():
    return NOON + timedelta(seconds=trio.current_time() - START[0])


START = [0.0]


async def run(outbox, for_s):
    START[0] = trio.current_time()
    with trio.move_on_after(for_s):
        await keep_tidy(outbox, now)


async def test_given_delivered_requests_when_a_week_has_passed_then_they_go_at_the_start_and_once_a_day(autojump_clock):
    hour = timedelta(hours=1)
    outbox = Outbox([NOON - KEPT - hour, NOON - KEPT + hour, NOON - KEPT + 30 * hour, NOON])
    with capture_logs() as logs:
        await run(outbox, 2.5 * PERIOD_S)

    assert outbox.portions == [(NOON, 1), (NOON + timedelta(days=1), 1), (NOON + timedelta(days=2), 1)]
    assert outbox.delivered_at == [NOON]
    assert [line["requests"] for line in logs if line["event"] == "outbox.forgotten"] == [1, 1, 1]


async def test_given_more_than_one_portion_when_forgotten_then_all_of_them_go_with_rests_between(autojump_clock):
    outbox = Outbox([NOON - 2 * KEPT] * (2 * AT_ONCE + 5))
    await run(outbox, 60.0)

    assert [count for _, count in outbox.portions] == [AT_ONCE, AT_ONCE, 5]
    assert outbox.portions[0][0] < outbox.portions[1][0] < outbox.portions[2][0]


async def test_given_an_outage_when_the_database_is_back_then_it_does_not_take_a_day_to_try_again(autojump_clock):
    outbox = Outbox([NOON - 2 * KEPT])
    outbox.away_until = NOON + timedelta(seconds=1.5 * RETRY_S)
    with capture_logs() as logs:
        await run(outbox, 3 * RETRY_S)

    assert outbox.portions == [(NOON + timedelta(seconds=2 * RETRY_S), 1)]
    assert len([line for line in logs if line["event"] == "outbox.upkeep_waits"]) == 2
