"""Do-Not-Call on a real PostgreSQL: what forbids whom, requests at once in force and then on disk, re-reads, kills."""

import os
import signal
import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import psycopg
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from ocsd.config.objects import Application, Configuration, Tenant, Trunk
from ocsd.dnc import service as service_module
from ocsd.dnc import table
from ocsd.dnc.contract import DncEntry
from ocsd.dnc.mapped import map_registry, registry_path, write_registry
from ocsd.dnc.memory import MemoryDoNotCall
from ocsd.dnc.schedule import is_due, times_of_day
from ocsd.dnc.service import DncService, open_dnc
from ocsd.dnc.view import ONE_BY_ONE
from ocsd.lists.pool import open_database
from ocsd.model.errors import ConfigError, StoreUnavailable

HANG_LIMIT_S = 60.0
NOW = datetime(2026, 3, 3, 17, 0, tzinfo=UTC)
MINE, THEIRS = 101, 102
ADA, ALAN, GRACE = "+12125550101", "+12125550102", "+12125550103"


def configuration(country="US", **options):
    return Configuration(
        application=Application(options=options),
        tenants=(Tenant(dbid=MINE, name="Mine"), Tenant(dbid=THEIRS, name="Theirs")),
        trunks=(Trunk(dbid=1, name="Trunk", tenant="Mine", host="127.0.0.1", country=country),),
    )


def entry(phone=None, customer_id=None, tenant_dbid=MINE, **more):
    return DncEntry(tenant_dbid, phone, customer_id, more.pop("requested_at", NOW), **more)


class Line:
    """The pool, with a line that can be cut, and a place to stop before or after a commit."""

    def __init__(self, database):
        self._database = database
        self.cut = False
        self.before = self.after = None
        self.transactions = 0

    async def transaction(self, fn, *, read_only=False):
        self.transactions += 1
        if self.cut:
            raise StoreUnavailable("the line is cut")
        if self.before is not None and not read_only:
            await self.before()
        result = await self._database.transaction(fn, read_only=read_only)
        if self.after is not None:
            await self.after(read_only)
        return result


class Site:
    """A database, a data folder and services on them, as daemons that come and go."""

    def __init__(self, dsn, folder):
        self.dsn = dsn
        self.folder = folder
        self.conn = psycopg.connect(dsn, autocommit=True)
        self.now = NOW

    @asynccontextmanager
    async def service(self, **options):
        with trio.fail_after(HANG_LIMIT_S):
            async with open_database(lambda: self.dsn, size=3, statement_timeout_s=20) as database:
                line = Line(database)
                config = configuration(**options)
                async with open_dnc(config, line, self.folder, utc_now=lambda: self.now) as dnc:
                    dnc.line = line
                    yield dnc

    def insert(self, **columns):
        names = ", ".join(columns)
        places = ", ".join(["%s"] * len(columns))
        self.conn.execute(f"INSERT INTO gsw_donotcall_list ({names}) VALUES ({places})", list(columns.values()))

    def rows(self, columns="phone, customer_id"):
        return self.conn.execute(f"SELECT {columns} FROM gsw_donotcall_list ORDER BY 1, 2").fetchall()

    def told(self):
        """Raise the version, as the command line does."""
        table.raise_version(self.conn)


@pytest.fixture
def site(database, tmp_path):
    site = Site(database, tmp_path)
    yield site
    site.conn.close()


def phones_of(dnc, *phones, tenant=MINE, now=NOW):
    return dnc.forbidden(tenant, phones, now)


# -- what forbids whom -----------------------------------------------------------------------------------------------


async def test_given_rows_of_the_table_when_checked_then_tenants_are_apart_and_missing_ones_hold_for_all(site):
    site.insert(phone=ADA, tenant_dbid=MINE, campaign_dbid=7, list_dbid=8, dnc_message="asked")
    site.insert(phone=ALAN, tenant_dbid=THEIRS)
    site.insert(phone=GRACE)
    site.insert(customer_id="C-1", tenant_dbid=MINE)
    site.insert(customer_id=" C-2 ", tenant_dbid=0)
    site.insert(phone="", customer_id="")
    site.insert(tenant_dbid=MINE)
    async with site.service() as dnc:
        assert phones_of(dnc, ADA, ALAN, GRACE, "+12125550199", "") == [True, False, True, False, False]
        assert phones_of(dnc, ADA, ALAN, GRACE, tenant=THEIRS) == [False, True, True]
        assert phones_of(dnc, ADA, ALAN, GRACE, tenant=103) == [False, False, True]
        assert dnc.customers_forbidden(MINE, ["C-1", "C-2 ", "c-1", "", ADA], NOW) == [True, True, False, False, False]
        assert dnc.customers_forbidden(THEIRS, ["C-1", "C-2"], NOW) == [False, True]


async def test_given_expiries_when_checked_then_they_hold_at_the_time_of_the_check_and_the_latest_wins(site):
    second = int(NOW.timestamp())
    site.insert(phone=ADA, expires_at=second + 60)
    site.insert(phone=ALAN, expires_at=second)
    site.insert(phone=GRACE, expires_at=second)
    site.insert(phone=GRACE, expires_at=second + 5)
    site.insert(phone="+12125550104", expires_at=0)
    site.insert(phone="+12125550105", expires_at=second)
    site.insert(phone="+12125550105", expires_at=None)
    site.insert(customer_id="C-1", expires_at=second + 60)
    phones = (ADA, ALAN, GRACE, "+12125550104", "+12125550105")
    async with site.service() as dnc:
        assert phones_of(dnc, *phones) == [True, False, True, True, True]
        assert phones_of(dnc, *phones, now=NOW + timedelta(seconds=60)) == [False, False, False, True, True]
        for later, held in ((59.9, [True]), (60.0, [False])):
            assert dnc.customers_forbidden(MINE, ["C-1"], NOW + timedelta(seconds=later)) == held
        await dnc.add([entry("+12125550106", expires_at=NOW + timedelta(seconds=9.5))])
        assert phones_of(dnc, "+12125550106", now=NOW + timedelta(seconds=9.9)) == [True]  # rounded up
        assert phones_of(dnc, "+12125550106", now=NOW + timedelta(seconds=10)) == [False]


async def test_given_phones_written_by_hand_when_checked_then_every_number_they_may_mean_is_forbidden(site):
    site.insert(phone="(212) 555-0101")
    site.insert(phone="12125550102")
    site.insert(phone="+1 212 555 0103", tenant_dbid=MINE)
    site.insert(phone="sip:bob@example.com")
    async with site.service() as dnc:
        assert phones_of(dnc, ADA, ALAN, GRACE) == [True, True, True]
        assert phones_of(dnc, "sip:bob@example.com", "sip:eve@example.com", "2125550101") == [True, False, True]
        await dnc.add([entry("2125550104"), entry("sip:eve@example.com")])
        assert phones_of(dnc, "+12125550104", "sip:eve@example.com", "+12125550105") == [True, True, False]


async def test_given_registries_when_checked_then_they_hold_for_their_tenant_until_their_end(site):
    end = NOW + timedelta(days=31)
    write_registry(registry_path(site.folder, None, "us"), np.array([12125550101], np.uint64))
    write_registry(
        registry_path(site.folder, MINE, "mine"), np.array([12125550102], np.uint64), until=int(end.timestamp())
    )
    async with site.service() as dnc:
        assert phones_of(dnc, ADA, ALAN, GRACE) == [True, True, False]
        assert phones_of(dnc, ADA, ALAN, GRACE, tenant=THEIRS) == [True, False, False]
        assert phones_of(dnc, ADA, ALAN, GRACE, now=end) == [True, False, False]
        assert dnc.customers_forbidden(MINE, [ADA], NOW) == [False]


async def test_given_a_batch_of_any_size_when_checked_then_it_is_as_one_by_one(site):
    end = int(NOW.timestamp()) + 10
    numbers = [f"+1212555{number:04d}" for number in range(300)]
    for place, phone in enumerate(numbers[:90]):
        if place % 3 == 0:
            site.insert(phone=phone, tenant_dbid=(MINE, THEIRS, None)[place % 9 // 3], expires_at=end + place % 2 * 60)
    write_registry(registry_path(site.folder, None, "us"), np.arange(12125550100, 12125550200, 7, dtype=np.uint64))
    write_registry(
        registry_path(site.folder, MINE, "old"), np.arange(12125550100, 12125550300, 5, dtype=np.uint64), until=end
    )
    async with site.service() as dnc:
        await dnc.add([entry(phone, tenant_dbid=None) for phone in numbers[200:230]])
        asked = [*numbers, "2125550000", "", "nobody"]
        for now in (NOW, NOW + timedelta(seconds=30)):
            for tenant in (MINE, THEIRS):
                single = [dnc.forbidden(tenant, [phone], now)[0] for phone in asked]
                assert len(asked) > ONE_BY_ONE
                assert dnc.forbidden(tenant, asked, now) == single
                assert any(single)
                assert not all(single)
        assert dnc.forbidden(MINE, [], NOW) == dnc.customers_forbidden(MINE, [], NOW) == []


async def test_given_more_rows_than_are_read_at_once_when_read_then_none_is_missing(site, monkeypatch):
    monkeypatch.setattr(table, "_ROWS_AT_A_TIME", 7)
    site.conn.execute(
        "INSERT INTO gsw_donotcall_list (phone, customer_id)"
        " SELECT CASE WHEN n % 5 > 0 THEN '+' END || (12125550000 + n), CASE WHEN n % 2 = 0 THEN 'C-' || n END"
        " FROM generate_series(0, 99) n"
    )
    async with site.service() as dnc:
        phones = [f"+{12125550000 + number}" for number in range(101)]
        customers = [f"C-{number}" for number in range(101)]
        assert phones_of(dnc, *phones) == [0 < number < 100 and number % 5 > 0 for number in range(101)]
        assert dnc.customers_forbidden(MINE, customers, NOW) == [
            number < 100 and number % 2 == 0 for number in range(101)
        ]


# -- requests --------------------------------------------------------------------------------------------------------


async def test_given_a_request_when_added_then_it_is_in_force_at_once_and_on_disk_when_it_is_acknowledged(site):
    seen = []
    async with site.service() as dnc:

        async def before_commit():
            seen.append((phones_of(dnc, ADA), dnc.customers_forbidden(MINE, ["C-1"], NOW), site.rows()))

        dnc.line.before = before_commit
        await dnc.add(
            [
                entry(ADA, message="rude\0", campaign_dbid=7, list_dbid=8, expires_at=NOW + timedelta(days=1)),
                entry(customer_id="C-1", tenant_dbid=None),
            ]
        )
        columns = "phone, customer_id, dnc_message, tenant_dbid, campaign_dbid, list_dbid, is_internal, time_stamp"
        second = int(NOW.timestamp())
        assert site.rows(f"{columns}, expires_at") == [
            (ADA, None, "rude", MINE, 7, 8, 1, second, second + 86400),
            (None, "C-1", None, None, None, None, 1, second, None),
        ]
        assert seen == [([True], [True], [])]
        assert dnc.unwritten == 0
    async with site.service() as dnc:
        assert phones_of(dnc, ADA) == [True]
        assert dnc.customers_forbidden(THEIRS, ["C-1"], NOW) == [True]


async def test_given_many_requests_at_once_when_added_then_they_share_transactions(site):
    async with site.service() as dnc:
        before = dnc.line.transactions
        async with trio.open_nursery() as nursery:
            for number in range(200):
                nursery.start_soon(dnc.add, [entry(f"+1212555{number:04d}")])
        assert dnc.line.transactions - before <= 10
    assert len(site.rows()) == 200


async def test_given_a_request_when_its_effect_is_noted_then_the_times_from_request_to_effect_are_on_disk(site):
    site.now = NOW + timedelta(seconds=1)
    done = entry(ADA, requested_at=NOW)
    async with site.service() as dnc:
        await dnc.add([done, entry(ALAN)])
        await dnc.note_effect([done], NOW + timedelta(seconds=2), 3)
        await dnc.note_effect([], NOW, 0)
    found = site.conn.execute(
        "SELECT phone, requested_at, in_force_at, durable_at > in_force_at, applied_at, rows FROM ocsd.dnc_request"
        " ORDER BY phone"
    ).fetchall()
    second = timedelta(seconds=1)
    assert found == [
        (ADA, NOW, NOW + second, True, NOW + 2 * second, 3),
        (ALAN, NOW, NOW + second, True, None, None),
    ]


async def test_given_a_database_that_is_away_when_requested_then_it_stays_in_force_and_is_written_when_it_is_back(site):
    async with site.service() as dnc:
        dnc.line.cut = True
        with pytest.raises(StoreUnavailable):
            await dnc.add([entry(ADA)])
        await dnc.note_effect([entry(ADA)], NOW, 1)  # waits as well, and nobody needs to hear of it
        with pytest.raises(StoreUnavailable):
            await dnc.reread()
        assert phones_of(dnc, ADA) == [True]
        assert (site.rows(), dnc.unwritten) == ([], 2)

        dnc.line.cut = False
        await dnc.reread()  # the table does not have it yet: the re-read must not forget it
        assert phones_of(dnc, ADA) == [True]
        await dnc.add([entry(ALAN)])  # tries at once, and the older go first

        assert site.rows() == [(ADA, None), (ALAN, None)]
        assert dnc.unwritten == 0
        assert site.conn.execute("SELECT count(applied_at) FROM ocsd.dnc_request").fetchone() == (1,)


async def test_given_an_answer_that_was_lost_when_written_again_then_the_row_is_there_once(site):
    async with site.service() as dnc:

        async def lose(read_only):
            if not read_only:
                dnc.line.after = None
                raise StoreUnavailable("connection lost during commit")

        dnc.line.after = lose
        with pytest.raises(StoreUnavailable):
            await dnc.add([entry(ADA)])
        await dnc.add([entry(ALAN)])
    assert site.rows() == [(ADA, None), (ALAN, None)]


async def test_given_requests_that_wait_when_the_daemon_stops_then_they_are_written_first(site):
    async with site.service() as dnc:
        dnc.line.cut = True
        with pytest.raises(StoreUnavailable):
            await dnc.add([entry(ADA)])
        dnc.line.cut = False
    assert site.rows() == [(ADA, None)]


async def test_given_a_database_that_stays_away_when_the_daemon_stops_then_the_loss_is_told(site):
    with capture_logs() as logs:
        async with site.service() as dnc:
            dnc.line.cut = True
            with pytest.raises(StoreUnavailable):
                await dnc.add([entry(ADA)])
    assert [line["unwritten"] for line in logs if line["event"] == "dnc.requests_lost"] == [1]


async def test_given_a_full_queue_when_requested_then_it_is_refused_but_in_force(site, monkeypatch):
    monkeypatch.setattr(service_module, "MAX_UNWRITTEN", 2)
    async with site.service() as dnc:
        dnc.line.cut = True
        with pytest.raises(StoreUnavailable):
            await dnc.add([entry(ADA), entry(ALAN)])
        with pytest.raises(StoreUnavailable, match="repeat"):
            await dnc.add([entry(GRACE)])
        await dnc.note_effect([entry(ADA)], NOW, 0)
        assert phones_of(dnc, ADA, ALAN, GRACE) == [True, True, True]
        assert dnc.unwritten == 2


async def test_given_a_request_that_cannot_be_written_when_others_wait_too_then_those_are_written(site):
    async with site.service() as dnc:
        bad = entry(ADA, campaign_dbid=10**18)  # decimal(18,0) overflows
        with capture_logs() as logs, pytest.raises(psycopg.Error):
            await dnc.add([entry(ALAN), bad, entry(GRACE)])
        await dnc.add([entry("+12125550104")])
        assert phones_of(dnc, ADA) == [True]
    assert [row[0] for row in site.rows()] == [ALAN, GRACE, "+12125550104"]
    assert [line["log_level"] for line in logs if line["event"] == "dnc.request_unwritable"] == ["error"]


async def test_given_neither_phone_nor_customer_when_requested_then_it_is_refused(site):
    async with site.service() as dnc:
        with pytest.raises(ValueError, match="phone or a customer"):
            await dnc.add([entry(ADA), entry(" ", customer_id="")])
        assert phones_of(dnc, ADA) == [False]


async def test_given_odd_texts_when_requested_then_they_are_stored_as_far_as_the_columns_reach(site):
    long = "x" * 80
    async with site.service() as dnc:
        await dnc.add([entry(customer_id=long, message="m" * 300), entry(customer_id="ünï\ud800\0")])
        await dnc.add([entry(ADA, expires_at=datetime(2050, 1, 1, tzinfo=UTC))])  # beyond int: never
        for _ in range(2):
            assert dnc.customers_forbidden(MINE, [long, "ünï\ud800", long[:63]], NOW) == [True, True, False]
            assert phones_of(dnc, ADA, now=datetime(2060, 1, 1, tzinfo=UTC)) == [True]
            await dnc.reread()
    assert site.conn.execute("SELECT max(length(dnc_message)) FROM gsw_donotcall_list").fetchone() == (255,)


CHILD = """
import os, signal, sys, trio
from pathlib import Path
from ocsd.dnc import table
from ocsd.dnc.service import open_dnc
from ocsd.lists.pool import open_database
from tests.ocsd.test_dnc_service import ADA, NOW, MINE, configuration, entry

async def main(dsn, folder, step):
    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    real = table.write

    def write(conn, requests, effects=()):
        if step == "overlay":
            die()
        real(conn, requests, effects)
        if step == "insert":
            die()  # written, not committed

    table.write = write
    async with open_database(lambda: dsn, size=2, statement_timeout_s=20) as database:
        async with open_dnc(configuration(), database, Path(folder)) as dnc:
            await dnc.add([entry(ADA)])
            print("acknowledged", flush=True)
            die()

trio.run(main, *sys.argv[1:])
"""


@pytest.mark.parametrize("step", ["overlay", "insert", "commit"])
async def test_given_a_daemon_killed_after_a_step_when_restarted_then_what_was_acknowledged_is_in_force(site, step):
    run = [sys.executable, "-c", CHILD, site.dsn, str(site.folder), step]
    with trio.fail_after(HANG_LIMIT_S):
        child = await trio.run_process(run, check=False, capture_stdout=True, cwd=os.getcwd())
    assert child.returncode == -signal.SIGKILL
    acknowledged = b"acknowledged" in child.stdout.splitlines()

    async with site.service() as dnc:
        assert (acknowledged, phones_of(dnc, ADA)) == ((True, [True]) if step == "commit" else (False, [False]))


# -- reading again ---------------------------------------------------------------------------------------------------


async def test_given_changes_by_hand_when_told_then_the_next_look_reads_everything_again(site):
    site.insert(phone=ADA)
    async with site.service() as dnc:
        site.conn.execute("DELETE FROM gsw_donotcall_list")
        site.insert(phone=ALAN)
        write_registry(registry_path(site.folder, None, "us"), np.array([12125550103], np.uint64))
        await dnc.poll()
        assert phones_of(dnc, ADA, ALAN, GRACE) == [True, False, False]
        site.told()
        await dnc.poll()
        assert phones_of(dnc, ADA, ALAN, GRACE) == [False, True, True]


async def test_given_a_request_that_was_removed_when_read_again_then_it_is_no_longer_in_force(site):
    async with site.service() as dnc:
        await dnc.add([entry(ADA)])
        site.conn.execute("DELETE FROM gsw_donotcall_list")
        await dnc.poll()
        assert phones_of(dnc, ADA) == [True]
        site.told()
        await dnc.poll()
        assert phones_of(dnc, ADA) == [False]


async def test_given_a_reread_under_way_when_checked_then_the_old_set_holds_until_the_new_one_is_complete(site):
    site.insert(phone=ADA)
    async with site.service() as dnc:
        site.insert(phone=ALAN)
        seen = []

        async def loaded(read_only):
            if read_only:
                dnc.line.after = None
                seen.append(phones_of(dnc, ADA, ALAN))
                await dnc.add([entry(GRACE)])  # committed after the snapshot: the new table does not have it
                seen.append(phones_of(dnc, GRACE))

        dnc.line.after = loaded
        await dnc.reread()
        assert seen == [[True, False], [True]]
        assert phones_of(dnc, ADA, ALAN, GRACE) == [True, True, True]
        await dnc.poll()
        await dnc.reread()
        assert phones_of(dnc, ADA, ALAN, GRACE) == [True, True, True]


async def test_given_a_cancelled_reread_when_checked_then_everything_is_as_before(site):
    site.insert(phone=ADA)
    async with site.service() as dnc:
        site.insert(phone=ALAN)

        async def never(_read_only):
            await trio.sleep_forever()

        dnc.line.after = never
        async with trio.open_nursery() as nursery:
            nursery.start_soon(dnc.reread)
            await trio.testing.wait_all_tasks_blocked(0.05)
            nursery.cancel_scope.cancel()
        dnc.line.after = None
        assert phones_of(dnc, ADA, ALAN) == [True, False]
        await dnc.reread()
        assert phones_of(dnc, ADA, ALAN) == [True, True]


async def test_given_two_daemons_when_one_is_asked_then_the_other_hears_of_it_without_reading_everything(site):
    async with site.service() as first, site.service() as second:
        with capture_logs() as logs:
            await first.add([entry(ADA, expires_at=NOW + timedelta(hours=1)), entry(customer_id="C-1")])
            assert phones_of(second, ADA) == [False]
            for dnc in (first, second, second):
                await dnc.poll()
        assert phones_of(second, ADA) == [True]
        assert phones_of(second, ADA, now=NOW + timedelta(hours=1)) == [False]
        assert second.customers_forbidden(MINE, ["C-1"], NOW) == [True]
        assert [line["requests"] for line in logs if line["event"] == "dnc.heard"] == [2]
        assert not [line for line in logs if line["event"] == "dnc.read"]


async def test_given_a_transaction_that_commits_late_when_polled_before_then_its_request_is_heard_all_the_same(site):
    async with site.service() as dnc:
        with psycopg.connect(site.dsn) as slow, psycopg.connect(site.dsn) as fast:
            for conn, phone in ((slow, ADA), (fast, ALAN)):
                table.write(conn, [table.request_of(entry(phone), NOW)])
            fast.commit()
            await dnc.poll()
            assert phones_of(dnc, ADA, ALAN) == [False, True]
            slow.commit()
        await dnc.poll()
        assert phones_of(dnc, ADA, ALAN) == [True, True]


async def test_given_a_removed_request_and_a_long_transaction_when_polled_then_it_does_not_come_back(site):
    async with site.service() as dnc:
        with psycopg.connect(site.dsn) as long:
            long.execute("CREATE TEMP TABLE long (n int)")  # holds the snapshots' xmin back
            await dnc.add([entry(ADA)])
            site.conn.execute("DELETE FROM gsw_donotcall_list")
            site.told()
            for _ in range(3):
                await dnc.poll()
            assert phones_of(dnc, ADA) == [False]


async def test_given_the_tasks_of_the_service_when_others_write_then_they_look_by_themselves(site, monkeypatch):
    monkeypatch.setattr(service_module, "POLL_S", 0.01)
    async with site.service() as first, site.service() as second:
        second.line.cut = True
        await first.add([entry(ADA)])
        second.line.cut = False
        while phones_of(second, ADA) != [True]:  # noqa: ASYNC110 - nothing tells when
            await trio.sleep(0.01)
        site.insert(phone=ALAN)
        site.told()
        while phones_of(second, ALAN) != [True]:  # noqa: ASYNC110 - nothing tells when
            await trio.sleep(0.01)


async def test_given_many_requests_in_the_overlay_when_polled_then_they_move_into_arrays(site, monkeypatch):
    monkeypatch.setattr(service_module, "OVERLAY_LIMIT", 2)
    async with site.service() as dnc:
        await dnc.add([entry(ADA), entry(ALAN), entry(GRACE)])
        with capture_logs() as logs:
            await dnc.poll()
            await dnc.poll()
        assert [line["overlay"] for line in logs if line["event"] == "dnc.read"] == [0]
        assert phones_of(dnc, ADA, ALAN, GRACE) == [True, True, True]


async def test_given_a_time_of_day_when_it_comes_then_everything_is_read_again_even_if_the_database_was_away(site):
    site.now = datetime(2026, 3, 3, 2, 29, 59, tzinfo=UTC)
    async with site.service(dnc_reread_at="02:30") as dnc:
        site.insert(phone=ADA)
        await dnc.look()
        assert phones_of(dnc, ADA) == [False]
        site.now += timedelta(seconds=2)
        dnc.line.cut = True
        with pytest.raises(StoreUnavailable):
            await dnc.look()
        dnc.line.cut = False
        await dnc.look()
        assert phones_of(dnc, ADA) == [True]
        site.insert(phone=ALAN)
        await dnc.look()
        assert phones_of(dnc, ALAN) == [False]
        dnc.reconfigure(configuration(dnc_reread_at="03:00"))
        site.now += timedelta(minutes=30)
        await dnc.look()
        assert phones_of(dnc, ALAN) == [True]


async def test_given_a_trunk_into_another_country_when_reconfigured_then_hand_written_phones_are_read_for_it(site):
    site.insert(phone="020 7946 0018")
    async with site.service() as dnc:
        await dnc.add([entry("020 7946 0019")])
        assert phones_of(dnc, "+442079460018", "+442079460019") == [False, False]
        dnc.reconfigure(configuration(country="GB"))
        assert phones_of(dnc, "+442079460019") == [True]
        await dnc.look()
        assert phones_of(dnc, "+442079460018", "+442079460019") == [True, True]


async def test_given_a_damaged_registry_when_started_then_it_is_refused_and_when_running_the_old_one_holds(site):
    path = registry_path(site.folder, None, "us")
    write_registry(path, np.array([12125550101], np.uint64))
    async with site.service() as dnc:
        path.unlink()
        path.write_bytes(b"damaged")
        with capture_logs() as logs:
            await dnc.reread()
        assert [line["event"] for line in logs if line["log_level"] == "error"] == ["dnc.registry_refused"]
        assert phones_of(dnc, ADA) == [True]
    with pytest.raises(ConfigError, match="ocsd dnc import"):
        async with site.service():
            raise AssertionError("it must not start")
    path.unlink()
    write_registry(path, np.array([12125550102], np.uint64))
    async with site.service() as dnc:
        path.unlink()
        with capture_logs() as logs:
            await dnc.reread()
        assert "dnc.registry_gone" in [line["event"] for line in logs]
        assert phones_of(dnc, ALAN) == [False]


async def test_given_a_table_without_a_column_when_started_then_it_is_refused(site):
    site.conn.execute("ALTER TABLE gsw_donotcall_list DROP COLUMN expires_at")
    with pytest.raises(ConfigError, match="no column expires_at"):
        async with site.service():
            raise AssertionError("it must not start")


async def test_given_a_registry_replaced_on_disk_when_an_old_mapping_is_asked_then_it_answers_as_before(site):
    path = registry_path(site.folder, None, "us")
    write_registry(path, np.arange(10**10, 10**10 + 100_000, dtype=np.uint64))
    old = map_registry(path, None)
    write_registry(path, np.array([1], np.uint64))
    old.verify()
    assert (len(old.index), len(map_registry(path, None).index)) == (100_000, 1)


# -- the schedule, pure ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["25:00", "2", "02:3", "02:60", "x", "02:30;03:00", "-1:30"])
def test_given_no_time_of_day_when_read_then_it_is_refused(text):
    with pytest.raises(ConfigError, match="dnc_reread_at"):
        times_of_day(text)


@given(
    st.lists(st.times().map(lambda at: at.replace(second=0, microsecond=0)), max_size=4),
    st.timedeltas(timedelta(0), timedelta(days=2)),
    st.timedeltas(timedelta(0), timedelta(days=2)),
    st.integers(1, 50),
)
def test_given_any_looks_when_time_passes_then_each_time_of_day_is_found_once(times, start, span, looks):
    start = NOW + start
    moments = [start + span * place / looks for place in range(looks + 1)]
    text = ",".join(f"{at:%H:%M}" for at in times)

    found = [(since, now) for since, now in pairwise(moments) if is_due(times_of_day(text), since, now)]

    days = [start.date() + timedelta(days=day) for day in range(4)]
    due = [datetime.combine(day, at, UTC) for day in days for at in set(times)]
    wanted = [(s, n) for s, n in pairwise(moments) if any(s < at <= n for at in due)]
    assert found == wanted


# -- the one in memory -----------------------------------------------------------------------------------------------


async def test_given_the_twin_in_memory_when_used_then_it_matches_and_forgets_as_the_service_does():
    dnc = MemoryDoNotCall()
    await dnc.add([entry(ADA, expires_at=NOW + timedelta(hours=1)), entry(customer_id="C-1", tenant_dbid=None)])
    dnc.away = True
    with pytest.raises(StoreUnavailable):
        await dnc.add([entry(ALAN)])
    assert phones_of(dnc, ADA, ALAN, GRACE) == [True, True, False]
    assert phones_of(dnc, ADA, tenant=THEIRS) == phones_of(dnc, ADA, now=NOW + timedelta(hours=1)) == [False]
    assert dnc.customers_forbidden(THEIRS, ["C-1", "C-2"], NOW) == [True, False]
    dnc.restart()
    assert phones_of(dnc, ADA, ALAN) == [True, False]
    with pytest.raises(ValueError, match="phone or a customer"):
        await dnc.add([entry()])
    with pytest.raises(StoreUnavailable):
        await dnc.add([entry(ALAN)])
    dnc.come_back()
    dnc.restart()
    assert phones_of(dnc, ADA, ALAN) == [True, True]
    await dnc.note_effect([entry(ADA)], NOW, 2)
    assert dnc.effects == [((entry(ADA),), NOW, 2)]


def test_given_the_service_and_its_twin_when_compared_with_the_contract_then_they_have_its_methods():
    for kind in (DncService, MemoryDoNotCall):
        for name in ("forbidden", "customers_forbidden", "add", "note_effect"):
            assert callable(getattr(kind, name))
