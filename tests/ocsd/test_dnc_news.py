"""Requests not to be called that come from elsewhere: told once, and carried out in all that the daemon holds."""

import uuid
from contextlib import asynccontextmanager
from datetime import timedelta

import numpy as np
import psycopg
import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from ocsd.dnc import news as news_module
from ocsd.dnc import table
from ocsd.dnc.contract import DncEntry
from ocsd.dnc.mapped import registry_path, write_registry
from ocsd.dnc.news import Heard, NewsBox
from ocsd.dnc.service import open_dnc
from ocsd.lists.memory import MemoryListStore
from ocsd.lists.pool import open_database
from ocsd.model.enums import CallResult, RecordStatus, RecordType
from ocsd.model.errors import StoreUnavailable
from ocsd.model.records import Selector, Withdrawal
from ocsd.sessions.attempt import AttemptState
from ocsd.sessions.clock import SystemClock
from ocsd.sessions.dnc_news import obey_news
from tests.ocsd.desk_world import LIST, NOON, RINGS, TALKER, number, world
from tests.ocsd.test_dnc_service import ADA, ALAN, GRACE, HANG_LIMIT_S, MINE, THEIRS, configuration

R, T = RecordStatus, RecordType
NO_CALL = (R.UPDATED, T.NO_CALL, CallResult.DO_NOT_CALL)
SAME = "+12125559999"


def entry(phone=None, customer_id=None, tenant_dbid=1, **more):
    return DncEntry(tenant_dbid, phone, customer_id, more.pop("requested_at", NOON), **more)


@asynccontextmanager
async def site(tmp_path, scripts=None, **more):
    """A world and its daemon, which listens to the news as ocsd.daemon has it."""
    async with world(tmp_path, scripts, **more) as w, w.daemon() as daemon:
        daemon.nursery.start_soon(obey_news, w.dnc, daemon.desks.records, w.clock)
        yield w, daemon


@asynccontextmanager
async def with_all_kinds(tmp_path):
    """Record 1 in a conversation, 2 ringing, 3 buffered, 4 on a desktop; all but the first have the number SAME."""
    scripts = {SAME: RINGS, number(1): TALKER}
    async with site(tmp_path, scripts, options=["predictive_callback = false"]) as (w, daemon):
        w.add(1, contact_info=number(1))
        w.add(2, contact_info=SAME)
        w.add(3, contact_info=SAME)
        w.add_callback(4, 5.0, "agent3", contact_info=SAME)
        await daemon.log_in("agent1")
        await daemon.log_in("agent3", ready=False)
        await daemon.start()
        await daemon.until_talking("agent1")
        await daemon.scheduled("agent3")
        await daemon.log_in("agent2")
        await daemon.until(lambda: w.dialed().count(SAME) == 1)
        yield w, daemon


async def assert_nothing_is_left(w, daemon):
    await daemon.until(lambda: len(daemon.session.attempts) == 1)  # the conversation with somebody else
    await daemon.until(lambda: not daemon.session.on_desk)
    assert len(daemon.desktops["agent3"].all("RecordCancel")) == 1
    assert daemon.desktops["agent3"].last("RecordCancel")["GSW_PHONE"] == SAME
    assert not daemon.desktops["agent1"].has("RecordCancel")
    assert daemon.session.supply.in_memory() == []
    await trio.sleep(120.0)
    assert w.dialed().count(SAME) == 1
    assert [w.state(n) for n in (2, 3, 4)] == [NO_CALL] * 3
    assert {key[1] for key in w.database.claims} <= {1}


async def test_given_ringing_buffered_and_desktop_records_when_others_forbid_the_number_then_all_of_them_end(
    autojump_clock, tmp_path
):
    async with with_all_kinds(tmp_path) as (w, daemon):
        (request_id,) = w.dnc.hear([entry(SAME)])
        await daemon.until(lambda: w.dnc.applied)
        heard_at = w.clock.utc()

        assert w.dnc.applied[0][::2] == ((request_id,), 3)
        assert heard_at - w.dnc.applied[0][1] <= timedelta(seconds=1)
        await assert_nothing_is_left(w, daemon)
        assert len(w.dnc.applied) == 1


async def test_given_an_import_when_nobody_is_told_of_single_numbers_then_what_is_in_memory_is_looked_through(
    autojump_clock, tmp_path
):
    async with with_all_kinds(tmp_path) as (w, daemon):
        w.dnc.hear([entry(SAME)], one_by_one=False)
        await assert_nothing_is_left(w, daemon)
        assert w.dnc.applied == []


async def test_given_rows_that_the_other_daemon_has_withdrawn_when_heard_then_memory_lets_go_of_them_too(
    autojump_clock, tmp_path
):
    async with with_all_kinds(tmp_path) as (w, daemon):
        rows = await MemoryListStore(w.database).withdraw([LIST], Selector(phone=SAME), Withdrawal.DO_NOT_CALL)
        assert len(rows) == 3
        w.dnc.hear([entry(SAME)])
        await daemon.until(lambda: w.dnc.applied)
        await assert_nothing_is_left(w, daemon)


async def test_given_a_conversation_when_its_number_is_forbidden_elsewhere_then_it_goes_on_and_the_agent_is_told(
    autojump_clock, tmp_path
):
    async with site(tmp_path) as (w, daemon):
        w.add(1)
        desktop = await daemon.log_in("agent1")
        await daemon.start()
        await daemon.until_talking("agent1")

        w.dnc.hear([entry(number(1))])
        await daemon.until(lambda: desktop.has("RecordCancel"))
        w.dnc.hear([], one_by_one=False)  # whoever looks again finds nothing more to tell
        await trio.sleep(5.0)

        assert [task.machine.state for task in daemon.session.attempts.values()] == [AttemptState.TALKING]
        await daemon.until(lambda: not daemon.session.attempts)
        assert w.state(1) == NO_CALL
        assert len(desktop.all("RecordCancel")) == 1
        assert w.database.claims == {}


async def test_given_rows_that_nobody_has_claimed_when_heard_then_single_requests_mark_them_and_imports_leave_them(
    autojump_clock, tmp_path
):
    async with site(tmp_path) as (w, daemon):
        for record_id in range(1, 31):
            w.add(record_id)
        await daemon.start()  # without agents: the buffer is filled
        await daemon.until(lambda: daemon.session.supply.buffered)
        waiting = [n for n in range(1, 31) if w.state(n)[0] is R.READY]
        assert len(waiting) > 10

        w.dnc.hear([entry(number(waiting[0])), entry(number(waiting[1]), tenant_dbid=None)])
        await daemon.until(lambda: w.dnc.applied)
        w.dnc.hear([entry(number(waiting[2]))], one_by_one=False)
        await trio.sleep(1.0)

        assert [w.state(n)[1] for n in waiting[:4]] == [T.NO_CALL, T.NO_CALL, T.GENERAL, T.GENERAL]
        ((ids, _, rows),) = w.dnc.applied
        assert (len(ids), rows) == (2, 1)  # each has withdrawn one row


async def test_given_requests_that_do_not_hold_here_when_heard_then_nothing_is_withdrawn_and_that_is_noted(
    autojump_clock, tmp_path
):
    async with site(tmp_path) as (w, daemon):
        w.add(1)
        await daemon.start()
        await daemon.until(lambda: daemon.session.supply.buffered)

        w.dnc.hear(
            [
                entry(number(1), tenant_dbid=2),  # another tenant's
                entry(number(1), expires_at=NOON - timedelta(seconds=1)),  # over before we heard of it
                entry(number(2)),
            ]
        )
        await daemon.until(lambda: w.dnc.applied)

        assert w.state(1) == (R.RETRIEVED, T.GENERAL, 28)
        assert daemon.session.supply.buffered == 1
        ((ids, _, rows),) = w.dnc.applied
        assert (len(ids), rows) == (3, 0)


async def test_given_a_customer_when_forbidden_elsewhere_then_the_records_with_that_id_end(autojump_clock, tmp_path):
    async with site(tmp_path) as (w, daemon):
        w.add(1, customer_no="C-1")
        w.add(2, customer_no="C-2")
        w.add(3, customer_no="C-1", chain_id=2, chain_n=1)
        await daemon.start()
        await daemon.until(lambda: daemon.session.supply.buffered == 2)

        w.dnc.hear([entry(customer_id="C-1"), entry(number(9), "C-1")])
        await daemon.until(lambda: w.dnc.applied)

        assert [w.state(n)[1] for n in (1, 2, 3)] == [T.NO_CALL, T.GENERAL, T.NO_CALL]
        assert [[r.record_id for r in c.records] for c in daemon.session.supply.in_memory()] == [[2]]
        assert w.dnc.applied[0][2] == 2


async def test_given_a_chain_when_one_number_is_forbidden_elsewhere_then_the_other_is_dialed(autojump_clock, tmp_path):
    async with site(tmp_path, {number(1): RINGS}) as (w, daemon):
        w.add(1)
        w.add(2, chain_id=1, chain_n=1)
        await daemon.start()
        await daemon.log_in("agent1")
        await daemon.until(lambda: w.dialed() == [number(1)])

        w.dnc.hear([entry(number(1))])
        await daemon.until_talking("agent1")

        assert w.dialed() == [number(1), number(2)]
        assert w.state(1) == NO_CALL


async def test_given_an_outage_when_heard_then_rows_leave_the_list_afterwards_and_nothing_is_dialed_meanwhile(
    autojump_clock, tmp_path
):
    async with site(tmp_path) as (w, daemon):
        w.add(1)
        await daemon.start()
        await daemon.until(lambda: daemon.session.supply.buffered)
        w.database.available = False
        w.dnc.hear([entry(number(1))])
        await daemon.log_in("agent1")
        await trio.sleep(30.0)
        assert w.dnc.applied == []
        w.database.available = True
        await daemon.until(lambda: w.dnc.applied)

        assert w.dialed() == []
        assert w.state(1) == NO_CALL
        assert w.dnc.applied[0][2] == 1


# --- who is told ------------------------------------------------------------------------------------------------------


class Records:
    """Notes what it is asked; fails the first ``faults`` times."""

    def __init__(self, faults=0):
        self.faults = faults
        self.told = []

    async def forbidden_elsewhere(self, entries):
        await trio.lowlevel.checkpoint()
        if self.faults:
            self.faults -= 1
            raise RuntimeError("a bug")
        self.told.append([one.phone for one in entries])
        return [len(self.told)] * len(entries)


class Dnc(NewsBox):
    """``away``: how often the effect cannot be noted."""

    def __init__(self, away=0):
        super().__init__()
        self.away = away
        self.applied = []

    async def news(self):
        return await self.take()

    async def note_applied(self, request_ids, applied_at, rows):
        if self.away:
            self.away -= 1
            raise StoreUnavailable("away")
        self.applied.append((list(request_ids), rows))


def heard(phone):
    return Heard(uuid.uuid4(), entry(phone))


@pytest.mark.parametrize(("faults", "away"), [(1, 0), (0, 1)])
async def test_given_a_bug_or_an_outage_when_it_is_over_then_the_next_news_is_acted_on(autojump_clock, faults, away):
    dnc, records = Dnc(away), Records(faults)
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(obey_news, dnc, records, SystemClock())
            dnc.tell([heard(ADA)])
            await trio.testing.wait_all_tasks_blocked()
            dnc.tell([last := heard(ALAN)])
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

    assert [line["event"] for line in logs] == ["dnc.news_failed" if faults else "dnc.effect_unnoted", "dnc.obeyed"]
    assert dnc.applied == [([last.request_id], len(records.told))]


async def test_given_more_news_than_anybody_takes_when_told_then_the_oldest_are_kept_and_the_rest_is_counted(
    autojump_clock, monkeypatch
):
    monkeypatch.setattr(news_module, "MAX_SINGLE", 3)
    box, all_of_it = NewsBox(), [heard(f"+1212555{n}") for n in range(1000, 1005)]
    with capture_logs() as logs:
        box.tell(all_of_it[:2])
        box.tell(all_of_it[2:])
    assert [(line["event"], line["requests"]) for line in logs] == [("dnc.news_shortened", 2)]
    assert await box.take() == tuple(all_of_it[:3])
    box.tell()
    box.tell(all_of_it[3:])
    assert await box.take() == tuple(all_of_it[3:])
    with trio.move_on_after(10.0) as nothing_more:
        await box.take()
    assert nothing_more.cancelled_caught


# --- on PostgreSQL ----------------------------------------------------------------------------------------------------


class Database:
    def __init__(self, dsn, folder):
        self.dsn, self.folder = dsn, folder
        self.conn = psycopg.connect(dsn, autocommit=True)

    @asynccontextmanager
    async def service(self):
        with trio.fail_after(HANG_LIMIT_S):
            async with (
                open_database(lambda: self.dsn, size=3, statement_timeout_s=20) as pool,
                open_dnc(configuration(), pool, self.folder, utc_now=lambda: NOON) as dnc,
            ):
                yield dnc

    def write(self, *entries):
        """As `ocsd dnc add`."""
        table.write(self.conn, [table.request_of(one, NOON) for one in entries])

    def effects(self):
        rows = self.conn.execute("SELECT phone, applied_at, rows FROM ocsd.dnc_request ORDER BY phone").fetchall()
        return {phone: (applied_at, count) for phone, applied_at, count in rows}


@pytest.fixture
def stored(database, tmp_path):
    stored = Database(database, tmp_path)
    yield stored
    stored.conn.close()


async def told(dnc):
    """What is there to be taken; None: nothing."""
    taken = None

    async def take():
        nonlocal taken
        taken = await dnc.news()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    return taken


async def test_given_requests_of_others_when_polled_then_they_are_told_once_and_ones_own_never(stored):
    stored.write(entry("+12125550100", tenant_dbid=MINE))
    async with stored.service() as dnc:
        await dnc.poll()
        assert await told(dnc) is None  # what was there at the start is no news
        await dnc.add([entry(ADA, tenant_dbid=MINE)])
        await dnc.poll()
        assert await told(dnc) is None
        stored.write(entry(ALAN, tenant_dbid=THEIRS, message="by letter", expires_at=NOON + timedelta(hours=1.00001)))
        await dnc.poll()
        (one,) = await told(dnc)
        assert (one.entry.phone, one.entry.tenant_dbid, one.entry.message) == (ALAN, THEIRS, "by letter")
        await dnc.poll()
        assert await told(dnc) is None


async def test_given_requests_just_before_a_reread_when_read_then_they_are_told_one_by_one_and_ones_own_never(stored):
    async with stored.service() as dnc:
        await dnc.add([entry(ADA, tenant_dbid=MINE)])
        stored.write(entry(ALAN, tenant_dbid=MINE))
        await dnc.reread()
        assert [one.entry.phone for one in await told(dnc)] == [ALAN]
        await dnc.reread()
        assert await told(dnc) == ()  # the table may have been changed in any other way
        await dnc.poll()
        assert await told(dnc) is None


async def test_given_imports_when_polled_then_nobody_is_told_of_single_numbers(stored):
    async with stored.service() as dnc:
        for number_of_rows in (1, 20_000):
            stored.conn.execute(
                "INSERT INTO gsw_donotcall_list (phone) SELECT '+1212' || 5550000 + n FROM generate_series(1, %s) n",
                (number_of_rows,),
            )
            table.raise_version(stored.conn)
            await dnc.poll()
            assert await told(dnc) == ()
        write_registry(registry_path(stored.folder, None, "us"), np.array([12125550999], np.uint64))
        table.raise_version(stored.conn)
        await dnc.poll()
        assert await told(dnc) == ()
        assert dnc.forbidden(MINE, ["+12125550999"], NOON) == [True]


async def test_given_two_daemons_when_both_have_obeyed_then_the_rows_of_both_and_the_last_of_them_are_on_disk(stored):
    asked = entry(ADA, tenant_dbid=MINE, message="x\0y" * 200, expires_at=NOON + timedelta(seconds=0.4))
    async with stored.service() as first, stored.service() as second:
        await first.add([asked])
        await second.poll()
        (one,) = await told(second)
        await first.note_effect([asked], NOON + timedelta(seconds=1), 3)
        for _ in range(2):  # a lost answer: it is written again
            await second.note_applied([one.request_id], NOON + timedelta(seconds=2), 4)
        while first.unwritten:  # noqa: ASYNC110 - its task writes on, nobody waits for effects
            await trio.sleep(0.01)
        assert stored.effects() == {ADA: (NOON + timedelta(seconds=2), 7)}


async def test_given_the_command_line_when_it_forbids_a_number_then_the_running_daemon_acts_and_notes_it(
    stored, monkeypatch
):
    monkeypatch.setattr("ocsd.dnc.service.POLL_S", 0.01)
    records = Records()
    async with stored.service() as dnc, trio.open_nursery() as nursery:
        nursery.start_soon(obey_news, dnc, records, SystemClock())
        stored.write(entry(GRACE, tenant_dbid=MINE))
        while stored.effects()[GRACE][0] is None:  # noqa: ASYNC110 - nothing tells when
            await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert records.told == [[GRACE]]
    assert stored.effects()[GRACE][1] == 1
