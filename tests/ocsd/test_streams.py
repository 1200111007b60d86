"""How calls sounded: from the end of a channel to the journal, the live figures, the warning and the history."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
import trio
from structlog.testing import capture_logs

from ocsd.explain.audio_words import audio_words
from ocsd.explain.history import Wanted, attempts_of_list, history, told
from ocsd.lists import streams
from ocsd.lists.retention import KINDS, forget
from ocsd.lists.streams import StreamRows
from ocsd.model.errors import StoreUnavailable
from ocsd.model.records import KeptStream, StreamTotals
from ocsd.sessions.streams import BAD_MOS, LEAST_PACKETS, WARN_EVERY_S, BadStreams, StreamTally, totals_of
from ocsd.streams import MOST_AT_ONCE, MOST_WAITING, StreamKeeping
from telephony.contract import ChannelClosed
from telephony.fake import CallScript
from tests.ocsd.list_worlds import PostgresWorld
from tests.ocsd.result_worlds import result_configuration
from tests.ocsd.test_session import world
from tests.ocsd.test_verification import over

NOW = datetime(2026, 3, 6, 12, 0, tzinfo=UTC)
CUSTOMER = "a7-0123abcd-customer-rtp"


class StoppedClock:
    def __init__(self):
        self.s = 1000.0

    def now_s(self):
        return self.s

    def utc(self):
        return NOW + timedelta(seconds=self.s - 1000.0)


def closed(channel_id=CUSTOMER, **more):
    figures = {
        "packets_in": 500, "packets_out": 501, "lost": 3, "bridged_frames_in": 400, "dropped": {"late": 2, "jump": 1},
        "jitter_ms": 3.14159, "loss_ratio": 0.0123456, "gaps": 5, "mos": 4.3251, "rtt_ms": 41.26,
        "remote_jitter_ms": 2.0, "remote_loss_ratio": 0.5, "remote_mos": 1.6, "payload_type": 8, "at_s": 990.0,
    }  # fmt: skip
    return ChannelClosed(channel_id, **figures | more)


def kept(answered=True, group=1, **more):
    figures = {"leg": "customer", "packets_in": 500, "packets_out": 500, "mos": 4.0} | more
    totals = StreamTotals(7, CUSTOMER, figures.pop("leg"), NOW, "PCMU", **figures)
    return KeptStream(totals, group, answered)


# --- what a media server says ---------------------------------------------------------------------------------------


def test_given_the_end_of_a_channel_when_taken_in_then_every_figure_is_there():
    assert totals_of(closed(), StoppedClock()) == StreamTotals(
        7, CUSTOMER, "customer", NOW - timedelta(seconds=10), "PCMA", 500, 501, 3, 2, 5, 0.0123, 3.1, 4.33, 41.3, 1.6,
        0.5, 2.0,
    )  # fmt: skip


def test_given_a_far_end_that_never_reported_and_was_never_heard_when_taken_in_then_that_is_not_known():
    told_ = totals_of(closed(packets_in=0, mos=0.0, rtt_ms=0.0, remote_mos=0.0), StoppedClock())

    assert (told_.mos, told_.rtt_ms, told_.remote_mos, told_.remote_loss_ratio, told_.remote_jitter_ms) == (None,) * 5


@pytest.mark.parametrize(
    ("channel_id", "leg"),
    [
        ("a12-0123abcd-customer-rtp", "customer"),
        ("a12-0123abcd-agent-agent-1-123.456-rtp", "agent"),
        ("a12-0123abcd-destination-99.000-rtp", "destination"),
        ("a12-0123abcd-supervisor-rtp", None),
        ("a12-0123abcd-customer", None),
        ("b12-0123abcd-customer-rtp", None),
        ("a" + "9" * 40 + "-0123abcd-customer-rtp", None),
        ("", None),
    ],
)
def test_given_a_channel_when_its_name_is_read_then_attempt_and_leg_are_known_or_it_is_no_calls(channel_id, leg):
    found = totals_of(closed(channel_id), StoppedClock())

    assert (None if found is None else (found.attempt_id, found.leg)) == (None if leg is None else (12, leg))


def test_given_a_channel_without_a_packet_when_it_ends_then_there_is_nothing_to_keep():
    assert totals_of(closed(packets_in=0, packets_out=0), StoppedClock()) is None


# --- live figures and the warning -----------------------------------------------------------------------------------


def test_given_streams_when_counted_then_the_median_the_worst_and_the_share_that_is_not_satisfying_are_told():
    tally = StreamTally()
    for number in range(40):
        tally.note(kept(mos=2.0 + number / 20))
    tally.note(kept(mos=1.0, packets_in=LEAST_PACKETS - 1))  # too short to tell
    tally.note(kept(mos=1.0, leg="agent"))
    tally.note(kept(mos=None, packets_in=0))

    assert tally.figures() == {
        "mos_p50": 3.0, "mos_p5": 2.1, "mos_below_3_6_ratio": 0.8, "answered_unheard": 1,
    }  # fmt: skip


def test_given_no_streams_when_asked_then_nothing_is_known():
    assert StreamTally().figures() == {
        "mos_p50": None, "mos_p5": None, "mos_below_3_6_ratio": None, "answered_unheard": 0,
    }  # fmt: skip


def test_given_bad_streams_when_they_go_on_then_one_line_a_minute_counts_them_and_tells_the_worst():
    bad = BadStreams()
    good, poor, worse = kept(), kept(mos=2.5), kept(mos=4.2, remote_mos=1.2)

    assert bad.note([good], 0.0) is None
    first = bad.note([poor, worse], 1.0)
    assert (first["streams"], first["remote_mos"], first["attempt_id"]) == (2, 1.2, 7)
    assert bad.note([poor], 2.0) is None
    assert bad.note([poor, good], 1.0 + WARN_EVERY_S - 0.1) is None
    second = bad.note([], 1.0 + WARN_EVERY_S)
    assert (second["streams"], second["mos"]) == (2, 2.5)
    assert bad.note([], 1000.0) is None


@pytest.mark.parametrize(
    ("one", "warned"),
    [
        (kept(mos=BAD_MOS), False),
        (kept(mos=BAD_MOS - 0.01), True),
        (kept(mos=1.0, packets_in=LEAST_PACKETS - 1), False),
        (kept(mos=None, packets_in=0), True),
        (kept(mos=None, packets_in=0, answered=False), False),  # nobody has to be heard before the answer
        (kept(mos=None, packets_in=0, packets_out=LEAST_PACKETS - 1), False),
        (kept(mos=None, packets_in=0, leg="agent"), False),  # a phone that is on mute sends nothing
    ],
)
def test_given_a_stream_when_it_is_bad_enough_for_long_enough_then_somebody_is_warned(one, warned):
    assert (BadStreams().note([one], 0.0) is not None) is warned


# --- keeping --------------------------------------------------------------------------------------------------------


class Rows:
    def __init__(self):
        self.noted = []
        self.known = set()
        self.away = False

    async def note(self, told):
        await trio.lowlevel.checkpoint()
        if self.away:
            raise StoreUnavailable("away")
        fresh = [one for one in told if one.channel_id not in self.known]
        self.known |= {one.channel_id for one in fresh}
        self.noted += fresh
        return [KeptStream(one, 1, True) for one in fresh]


class Media:
    def __init__(self):
        self.closed = []

    def take_closed(self):
        taken, self.closed = self.closed, []
        return taken


async def test_given_a_database_that_is_away_when_streams_end_then_they_are_written_when_it_is_back(autojump_clock):
    media, rows, heard = Media(), Rows(), []
    keeping = StreamKeeping(media, rows, StoppedClock(), heard.append)
    rows.away = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeping.run)
        media.closed = [closed(f"a{number}-0123abcd-customer-rtp") for number in range(MOST_AT_ONCE + 1)]
        await trio.sleep(5)
        assert (rows.noted, heard) == ([], [])
        rows.away = False
        await trio.sleep(2)
        assert len(rows.noted) == len(heard) == MOST_AT_ONCE + 1
        nursery.cancel_scope.cancel()


async def test_given_the_end_of_the_daemon_when_a_server_tells_of_the_last_calls_then_they_are_written(autojump_clock):
    media, rows = Media(), Rows()
    keeping = StreamKeeping(media, rows, StoppedClock(), lambda _: None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeping.run)
        await trio.sleep(0.5)
        media.closed = [closed()]
        nursery.cancel_scope.cancel()

    assert [one.attempt_id for one in rows.noted] == [7]


async def test_given_an_outage_without_end_when_streams_end_then_memory_is_bounded_and_the_loss_is_said():
    media, rows = Media(), Rows()
    rows.away = True
    keeping = StreamKeeping(media, rows, StoppedClock(), lambda _: None)
    media.closed = [closed(f"a{number}-0123abcd-customer-rtp") for number in range(MOST_WAITING + 3)]
    with capture_logs() as logs:
        await keeping.keep()
    rows.away = False
    await keeping.keep()

    assert [(line["event"], line["streams"]) for line in logs] == [("streams.not_kept", 3)]
    assert len(rows.noted) == MOST_WAITING
    assert rows.noted[0].attempt_id == 3


async def test_given_a_call_that_sounds_bad_when_it_ends_then_the_group_counts_it_and_the_log_warns(
    autojump_clock, tmp_path
):
    person = CallScript(ring_s=2.0, talk_s=20.0, verdict_s=1.0)
    async with world(tmp_path, [person]) as w, w.daemon() as daemon:
        w.media.packets, w.media.mos = (500, 500), 1.5
        await daemon.dial("agent1")
        await over(daemon)
        taken = w.media.take_closed()
        assert sorted(totals_of(one, w.clock).leg for one in taken) == ["agent", "customer"]
        w.media.closed = taken
        group = daemon.session.group.dbid

        class GroupRows(Rows):
            async def note(self, told):
                return [KeptStream(one.totals, group, True) for one in await super().note(told)]

        with capture_logs() as logs:
            await StreamKeeping(w.media, GroupRows(), w.clock, daemon.campaigns.stream_ended).keep()

        assert daemon.campaigns.statistics(group)["mos_p50"] == 1.5
        assert daemon.campaigns.statistics(group)["mos_below_3_6_ratio"] == 1.0
        assert [line["log_level"] for line in logs if line["event"] == "streams.bad"] == ["warning"]


# --- the database ---------------------------------------------------------------------------------------------------


def insert_attempt(conn, attempt_id=7, answered=True):
    conn.execute(
        "INSERT INTO ocsd.attempt (attempt_id, guid, owner, table_name, list_dbid, record_id, chain_id, campaign_dbid,"
        " campaign_group_dbid, phone, leg_id, started_at, answered_at, finished_at, call_result, counted, evidence)"
        " VALUES (%s, 'g', 'o', 'customers', 301, 1, 1, 401, 11, '+12125550123', 'l', %s, %s, %s, 33, true, %s)",
        (attempt_id, NOW, NOW if answered else None, NOW, '{"ended_by": "remote"}'),
    )


async def test_given_streams_when_kept_then_each_once_with_its_group_and_those_of_no_attempt_not(database):
    lists = PostgresWorld(database, result_configuration())
    insert_attempt(lists.conn)
    insert_attempt(lists.conn, 8, answered=False)
    clock = StoppedClock()
    legs = ((7, "customer", 991.0), (7, "agent-x-1.0", 990.0), (8, "customer", 0.0), (9, "customer", 0.0))
    both = [totals_of(closed(f"a{attempt}-0123abcd-{leg}-rtp", at_s=at_s), clock) for attempt, leg, at_s in legs]
    async with lists.store() as store:
        rows = StreamRows(store.database)
        assert await rows.note([]) == []
        first = await rows.note(both)
        assert await rows.note(both) == []

    assert sorted(first, key=lambda one: both.index(one.totals)) == [
        KeptStream(both[0], 11, True), KeptStream(both[1], 11, True), KeptStream(both[2], 11, False),
    ]  # fmt: skip
    row = lists.conn.execute("SELECT * FROM ocsd.stream WHERE leg = 'customer' AND attempt_id = 7").fetchone()
    assert {name: pytest.approx(value) if isinstance(value, float) else value for name, value in row.items()} == {
        name: getattr(both[0], name) for name in row
    }
    lists.conn.close()


async def test_given_streams_that_the_database_refuses_when_kept_then_they_are_logged_and_the_others_are_kept(database):
    lists = PostgresWorld(database, result_configuration())
    legs = [f"a7-0123abcd-agent-{number}-rtp" for number in range(7)]
    insert_attempt(lists.conn)
    told = [totals_of(closed(leg), StoppedClock()) for leg in legs]
    told[2] = replace(told[2], lost=2**40)
    told[5] = replace(told[5], codec="\0")
    media, heard = Media(), []
    async with lists.store() as store:
        keeping = StreamKeeping(media, StreamRows(store.database), StoppedClock(), heard.append)
        keeping._waiting = told
        with capture_logs() as logs:
            await keeping.keep()
        assert keeping._waiting == []
        media.closed = [closed()]
        await keeping.keep()  # goes on

    assert [one.totals.channel_id for one in heard] == [*legs[:2], *legs[3:5], legs[6], CUSTOMER]
    refused = [line for line in logs if line["event"] == "row.refused"]
    assert [(line["log_level"], line["row"]) for line in refused] == [("error", legs[2]), ("error", legs[5])]
    assert lists.conn.execute("SELECT count(*) AS n FROM ocsd.stream").fetchone()["n"] == 6
    lists.conn.close()


async def test_given_a_database_that_takes_no_streams_at_all_when_they_end_then_the_daemon_goes_on(autojump_clock):
    class Broken(Rows):
        broken = True

        async def note(self, told):
            if self.broken:
                raise psycopg.errors.UndefinedTable('relation "ocsd.stream" does not exist')
            return await super().note(told)

    media, rows = Media(), Broken()
    keeping = StreamKeeping(media, rows, StoppedClock(), lambda _: None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeping.run)
        with capture_logs() as logs:
            media.closed = [closed("a1-0123abcd-customer-rtp"), closed("a2-0123abcd-customer-rtp")]
            await trio.sleep(5)
        rows.broken = False
        media.closed = [closed("a3-0123abcd-customer-rtp")]
        await trio.sleep(2)
        nursery.cancel_scope.cancel()

    assert [(line["event"], line["log_level"], line["streams"]) for line in logs] == [("streams.not_kept", "error", 2)]
    assert [one.attempt_id for one in rows.noted] == [3]


def test_given_streams_when_history_is_asked_then_they_are_evidence_and_words_and_they_go_with_their_attempt(database):
    config, clock = result_configuration(), StoppedClock()
    with psycopg.connect(database, autocommit=True) as conn:
        insert_attempt(conn)
        insert_attempt(conn, 8)
        agent = closed(
            "a7-0123abcd-agent-x-1.0-rtp", loss_ratio=0.0, jitter_ms=0.2, mos=4.41, remote_mos=0.0, at_s=995.0
        )
        streams.note(conn, [totals_of(agent, clock), totals_of(closed(), clock)])
        found = [one for one in history(conn, config, Wanted(("+12125550123",)), NOW) if one["event"] == "attempt"]
        listed = list(attempts_of_list(conn, config, config.calling_lists[0], None, None))
        forget(conn, KINDS[0], NOW + timedelta(days=1), 0, 100)
        left = conn.execute("SELECT count(*) FROM ocsd.stream").fetchone()

    with_streams, without = sorted(found, key=lambda one: one["attempt_id"])
    assert without["evidence"] == {"ended_by": "remote"}
    assert with_streams["evidence"]["ended_by"] == "remote"
    first, second = with_streams["evidence"]["streams"]
    assert (first["leg"], first["mos"], first["codec"], first["remote_loss_ratio"]) == ("customer", 4.33, "PCMA", 0.5)
    assert (second["leg"], "remote_mos" in second, "attempt_id" in second) == ("agent", False, False)
    assert (
        "audio of the customer MOS 4.3 (1.2 % lost, jitter 3 ms), of us there MOS 1.6 (50.0 % lost, jitter 2 ms); "
        "of the agent MOS 4.4"
    ) in told(with_streams)
    assert [one["evidence"] for one in listed] == [with_streams["evidence"], without["evidence"]]
    assert left == (0,)


@pytest.mark.parametrize("evidence", [None, {}, {"streams": 3}, {"streams": []}, {"streams": [3]}, [1]])
def test_given_evidence_without_streams_when_told_then_there_are_no_words(evidence):
    assert audio_words(evidence) == ""


def test_given_a_leg_that_was_never_heard_when_told_then_it_says_so():
    evidence = {"streams": [{"leg": "customer", "packets_in": 0, "packets_out": 900}]}

    assert audio_words(evidence) == "audio of the customer never heard"
