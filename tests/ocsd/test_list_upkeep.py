"""Daily upkeep: the outbox in virtual time, the history on a real database too."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest
import trio
from structlog.testing import capture_logs

from ocsd.config.objects import Application, AttemptCap
from ocsd.config.options import HISTORY_RETENTION
from ocsd.lists.caps import LONGEST_RING
from ocsd.lists.postgres import open_store
from ocsd.lists.retention import CLOCKS_APART, KINDS, Journal, Portion, forget, kept_for
from ocsd.lists.upkeep import AT_ONCE, KEPT, PERIOD_S, PORTION_ROWS, RETRY_S, keep_tidy
from ocsd.model.errors import StoreUnavailable
from tests.ocsd.list_worlds import configuration

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


class History:
    """``ages``: of the rows of each table, in days, the oldest first; ids follow their order."""

    def __init__(self, *days):
        self.rows = {
            kind.table: [(number, NOON - timedelta(days=age)) for number, age in enumerate(days, 1)] for kind in KINDS
        }
        self.portions = []

    async def forget(self, kind, before, after, limit):
        await trio.lowlevel.checkpoint()
        seen = [row for row in self.rows[kind.table] if row[0] > after][:limit]
        gone = [row for row in seen if row[1] < before]
        self.rows[kind.table] = [row for row in self.rows[kind.table] if row not in gone]
        self.portions.append((kind.table, len(gone)))
        return Portion(seen[-1][0] if seen else after, len(gone), len(seen) == limit and bool(gone))


def now():
    return NOON + timedelta(seconds=trio.current_time() - START[0])


START = [0.0]


async def run(outbox, for_s, history=None, kept=lambda: None):
    START[0] = trio.current_time()
    with trio.move_on_after(for_s):
        await keep_tidy(outbox, history or History(), now, kept)


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
    assert len([line for line in logs if line["event"] == "upkeep.waits"]) == 2


# -- history ---------------------------------------------------------------------------------------------------------


async def test_given_an_age_when_the_upkeep_runs_then_older_rows_go_each_day_and_for_ever_means_nothing_goes(
    autojump_clock,
):
    history = History(500, 400.5, 399.5, 10)
    with capture_logs() as logs:
        await run(Outbox([]), 1.5 * PERIOD_S, history, lambda: timedelta(days=400))
    assert {table: len(rows) for table, rows in history.rows.items()} == dict.fromkeys(history.rows, 1)
    told = [(line["what"], line["rows"]) for line in logs if line["event"] == "history.forgotten"]
    assert told == [(kind.table, 2) for kind in KINDS] + [(kind.table, 1) for kind in KINDS]

    untouched = History(5000)
    await run(Outbox([]), 1.5 * PERIOD_S, untouched)
    assert untouched.portions == []


async def test_given_many_old_rows_when_they_go_then_in_portions_and_what_is_kept_is_not_read(autojump_clock):
    history = History(*[500] * (2 * PORTION_ROWS + 1), *[1] * (5 * PORTION_ROWS))
    await run(Outbox([]), 60.0, history, lambda: timedelta(days=400))
    assert [count for table, count in history.portions if table == "attempt"] == [PORTION_ROWS, PORTION_ROWS, 1, 0]


def test_given_caps_that_look_back_further_when_history_is_kept_then_as_long_as_they_count():
    def kept(days, *period_h):
        caps = tuple(
            AttemptCap(dbid=number, name=f"cap {number}", max_attempts=1, period_h=hours)
            for number, hours in enumerate(period_h, 1)
        )
        lists = tuple(
            entry.model_copy(update={"attempt_caps": tuple(cap.name for cap in caps)})
            for entry in configuration().calling_lists
        )
        options = {} if days is None else {HISTORY_RETENTION.name: days}
        return kept_for(configuration(attempt_caps=caps, calling_lists=lists, application=Application(options=options)))

    assert kept(None) == timedelta(days=400)
    assert kept(0, 24) is None
    assert kept(30, 24, 24 * 7) == timedelta(days=30)
    assert kept(3, 24, 24 * 7) == timedelta(days=7) + LONGEST_RING + CLOCKS_APART


COLUMNS = "guid, owner, table_name, list_dbid, record_id, chain_id, campaign_dbid, campaign_group_dbid, phone, leg_id"


@pytest.fixture
def conn(database):
    """Rows 1..10 of each table, of which 1..6 are old, and 3 is an open attempt."""
    with psycopg.connect(database, autocommit=True) as conn:
        at = "%s::timestamptz - CASE WHEN n <= 6 THEN interval '401 days' ELSE interval '399 days' END"
        conn.execute(
            f"INSERT INTO ocsd.attempt (attempt_id, {COLUMNS}, started_at, finished_at) SELECT n, '', '', 'customers',"
            f" 1, n, n, 1, 1, '+1', '', {at}, CASE WHEN n <> 3 THEN now() END FROM generate_series(1, 10) AS n",
            (NOON,),
        )
        conn.execute(
            "INSERT INTO ocsd.decision (key, owner, table_name, list_dbid, record_id, chain_id, decided_at,"
            f" record_status, record_type, because) SELECT gen_random_uuid(), '', 'customers', 1, n, n, {at}, 1, 2, ''"
            " FROM generate_series(1, 10) AS n",
            (NOON,),
        )
        conn.execute(
            "INSERT INTO ocsd.withdrawal (table_name, list_dbid, record_id, chain_id, phone, withdrawn_at, named_by,"
            f" all_chain, claimed, record_status, record_type) SELECT 'customers', 1, n, n, '+1', {at}, 'phone', false,"
            " false, 5, 2 FROM generate_series(1, 10) AS n",
            (NOON,),
        )
        yield conn


def left(conn, kind):
    return [row[0] for row in conn.execute(f"SELECT record_id FROM ocsd.{kind.table} ORDER BY 1")]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.table)
def test_given_old_rows_when_portions_of_them_go_then_open_attempts_and_young_rows_stay(conn, kind):
    cutoff = NOON - timedelta(days=400)
    old = [1, 2, 3, 4, 5, 6]
    gone = [n for n in old if kind.table != "attempt" or n != 3]
    first = forget(conn, kind, cutoff, 0, 4)
    second = forget(conn, kind, cutoff, first.last, 4)
    third = forget(conn, kind, cutoff, second.last, 4)
    assert [first, second, third] == [
        Portion(4, len([n for n in gone if n <= 4]), more=True), Portion(8, 2, more=True), Portion(10, 0, more=False),
    ]  # fmt: skip
    assert left(conn, kind) == [n for n in range(1, 11) if n not in gone]
    assert forget(conn, kind, cutoff, third.last, 4) == Portion(10, 0, more=False)


def test_given_a_row_that_somebody_has_locked_when_the_others_go_then_nobody_waits(conn, database):
    attempt = KINDS[0]
    with psycopg.connect(database) as other:
        other.execute("SELECT FROM ocsd.attempt WHERE attempt_id = 2 FOR UPDATE")
        conn.execute("SET lock_timeout = '5s'")  # only catches a hang
        assert forget(conn, attempt, NOON - timedelta(days=400), 0, 100).deleted == 4
    assert left(conn, attempt) == [2, 3, 7, 8, 9, 10]


async def test_given_a_pool_when_the_daemons_journal_forgets_then_it_is_gone_from_the_database(conn, database):
    async with open_store(configuration(dsn=database)) as store:
        portion = await Journal(store.database).forget(KINDS[1], NOON - timedelta(days=400), 0, 1000)
    assert portion == Portion(10, 6, more=False)
    assert left(conn, KINDS[1]) == [7, 8, 9, 10]
