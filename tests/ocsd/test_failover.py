"""Calls whose trunk fails, over the in-memory plane in virtual time: what moves, what waits, what is charged."""

import itertools
import math
from collections import Counter
from contextlib import asynccontextmanager

import pytest
import trio

from ocsd.dnc.contract import DncEntry
from ocsd.model.enums import CallResult, RecordStatus
from ocsd.model.services import CampaignRequest
from ocsd.sessions.attempt import AttemptState
from ocsd.sessions.figures import port_left
from ocsd.sessions.supply import Gate
from ocsd.sessions.trunk_health import Circuit
from ocsd.sessions.trunks import REFUSED_REST_S
from telephony.fake import CallScript

from .test_seizing import ASSURED, flag, with_vip
from .test_session import LIST, NOON, PERSON, PHONE, number, world

FIRST, SECOND = "Simulated Carrier", "Second Carrier"
BUSY = CallScript(ring_s=0.5, status=486)
REFUSES = CallScript(ring_s=0.05, ringing_status=0, status=503)
SILENT = CallScript(ring_s=32.0, ringing_status=0, responds=False)

SECOND_TRUNK = """
[[trunks]]
dbid = 205
name = "Second Carrier"
tenant = "Environment"
host = "127.0.0.2"
port = 5062
caller_id = "+13105550100"
priority = 2
"""


def two_trunks(first="", second="", group=""):
    def edit(text):
        text = text.replace('caller_id = "+12025550100"', f'caller_id = "+12025550100"\n{first}')
        text = text.replace('trunks = ["Simulated Carrier"]', f'trunks = ["{FIRST}", "{SECOND}"]\n{group}')
        return text.replace("[[time_zones]]", f"{SECOND_TRUNK}{second}\n[[time_zones]]", 1)

    return edit


def trunk_of(command):
    return SECOND if command.uri.endswith("@127.0.0.2:5062") else FIRST


class Carriers:
    """What each trunk does to customers' calls; may be changed while they run."""

    def __init__(self, first=BUSY, second=BUSY):
        self.of = {FIRST: first, SECOND: second}

    def __call__(self, command):
        return self.of[trunk_of(command)] if "-customer" in command.leg_id else PHONE


@asynccontextmanager
async def carriers_of(tmp_path, over_first, over_second=BUSY, records=4, agents=2, keeper=False, options="", **edits):
    async with world(tmp_path, [PERSON] * records, agents=agents, options=options, edit=two_trunks(**edits)) as at:
        carriers = at.telephony._script = Carriers(over_first, over_second)
        async with at.daemon() as daemon:
            if keeper:
                daemon.nursery.start_soon(daemon.campaigns.trunk_keeper.run)
            yield at, daemon, carriers


def customers(at):
    return [command for command in at.telephony.placed if "-customer" in command.leg_id]


def finished(at):
    """What has come to an end by itself; calls under way at the end of a test are cut."""
    ended = [attempt.finished for attempt in at.database.attempts.values() if attempt.finished is not None]
    return [one for one in ended if not one.interrupted]


def circuit(daemon, name):
    return daemon.campaigns.trunk_board.state(name, daemon.campaigns.clock.now_s()).circuit


async def test_given_a_trunk_that_answers_503_when_dialed_then_the_same_attempt_goes_on_over_the_next(
    autojump_clock, tmp_path
):
    async with carriers_of(tmp_path, REFUSES, PERSON, records=1) as (at, daemon, _):
        await daemon.dial("agent1")
        await daemon.until(lambda: daemon.states() == [AttemptState.TALKING])

        first, second = customers(at)
        assert (trunk_of(first), trunk_of(second)) == (FIRST, SECOND)
        assert second.leg_id == f"{first.leg_id}-2-205"
        assert second.from_uri.startswith("sip:+13105550100@")  # the second carrier's own number
        assert len(at.database.attempts) == 1
        assert found(daemon.desktops["agent1"].last("EventEstablished"), "GSW_SWITCH_DBID") == 205
        await daemon.until(lambda: at.row(1).record_status is RecordStatus.UPDATED)

    (ended,) = finished(at)
    assert ended.call_result == CallResult.ANSWER
    assert ended.count_attempt
    assert ended.switch_dbid == 205
    (failed,) = ended.evidence["tries"]
    assert (failed["trunk"], failed["sip_status"], failed["leg_id"]) == (FIRST, 503, first.leg_id)
    assert at.media.channels == {}


async def test_given_a_trunk_that_fails_in_mid_campaign_when_seen_then_traffic_moves_at_once_and_comes_back(
    autojump_clock, tmp_path
):
    async with carriers_of(tmp_path, BUSY, records=200) as (at, daemon, carriers):
        await daemon.dial("agent1", "agent2")
        await daemon.until(lambda: len(customers(at)) >= 20)
        assert {trunk_of(command) for command in customers(at)} == {FIRST}

        carriers.of[FIRST] = REFUSES
        await daemon.until(lambda: SECOND in {trunk_of(command) for command in customers(at)})
        failed_at_s, seen = trio.current_time(), len(customers(at))
        await daemon.until(lambda: circuit(daemon, FIRST) is Circuit.OPEN)
        assert trio.current_time() - failed_at_s <= 2.0
        await daemon.until(lambda: len(customers(at)) >= seen + 20)
        tried = Counter(trunk_of(command) for command in customers(at)[seen:])
        assert tried[FIRST] <= 6  # three in a row open it, those under way, and one trial after five seconds

        carriers.of[FIRST] = BUSY
        await daemon.until(lambda: circuit(daemon, FIRST) is Circuit.CLOSED)
        back = len(customers(at))
        await daemon.until(lambda: len(customers(at)) >= back + 10)
        assert {trunk_of(command) for command in customers(at)[back + 1 :]} == {FIRST}

    assert {(ended.count_attempt, ended.call_result) for ended in finished(at)} == {(True, CallResult.BUSY)}
    assert Counter(attempt.new.record_id for attempt in at.database.attempts.values()).most_common(1)[0][1] == 1


@pytest.mark.parametrize("script", [REFUSES, SILENT, CallScript(ring_s=0.1, ringing_status=0, status=403)])
async def test_given_no_trunk_left_when_calls_fail_then_records_are_ready_and_nothing_is_charged(
    autojump_clock, tmp_path, script
):
    async with carriers_of(tmp_path, script, script, records=10) as (at, daemon, carriers):
        await daemon.dial("agent1", "agent2")
        await daemon.until(lambda: circuit(daemon, FIRST) is Circuit.OPEN and circuit(daemon, SECOND) is Circuit.OPEN)
        begun = len(customers(at))
        before_s = trio.current_time()
        await trio.sleep(300.0)

        # Two trunks, each tried again after 5, 10, 20, 40, then every 60 s: a dead carrier is not hammered.
        assert len(customers(at)) - begun <= 2 * 10
        figures = daemon.session.statistics()
        assert figures["trunks"] == 2
        assert not port_left(daemon.session) or figures["trunks_out"] < 2
        assert trio.current_time() - before_s < 301.0
        assert all(row.record.attempt == 0 for row in at.database.rows(LIST).values())
        assert {ended.count_attempt for ended in finished(at)} == {False}
        assert RecordStatus.UPDATED not in {row.record_status for row in at.database.rows(LIST).values()}

        carriers.of = {FIRST: BUSY, SECOND: BUSY}
        await daemon.until(
            lambda: all(r.record_status is RecordStatus.UPDATED for r in at.database.rows(LIST).values())
        )
        assert all(row.record.attempt == 1 for row in at.database.rows(LIST).values())


async def test_given_a_number_that_a_working_trunk_refuses_twice_when_dialed_then_the_result_stands(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [REFUSES, *[BUSY] * 8], agents=1) as at, at.daemon() as daemon:
        await daemon.dial("agent1")
        await daemon.until(lambda: at.row(1).record_status is RecordStatus.UPDATED)

    assert at.result(1) == (RecordStatus.UPDATED, CallResult.ALL_TRUNKS_BUSY)
    of_it = [attempt.finished for attempt in at.database.attempts.values() if attempt.new.record_id == 1]
    assert [ended.count_attempt for ended in of_it] == [False, True]
    assert at.row(1).record.attempt == 1


BLOCKED = CallScript(ring_s=0.05, ringing_status=0, status=403)


async def test_given_a_list_full_of_blocked_numbers_when_others_get_through_then_the_trunk_stays_and_they_are_charged(
    autojump_clock, tmp_path
):
    scripts = [BUSY if index % 4 == 0 else BLOCKED for index in range(80)]
    async with world(tmp_path, scripts) as at, at.daemon() as daemon:
        changes: list[str] = []
        daemon.campaigns.trunk_board.on_change = changes.append
        await daemon.dial("agent1", "agent2")
        await daemon.until(
            lambda: all(r.record_status is RecordStatus.UPDATED for r in at.database.rows(LIST).values())
        )
        assert changes == [], "no circuit opened"

    tries = Counter(attempt.new.record_id for attempt in at.database.attempts.values())
    assert {tries[index] for index in range(1, 81) if scripts[index - 1] is BUSY} == {1}
    assert {tries[index] for index in range(1, 81) if scripts[index - 1] is BLOCKED} <= {2, 3}
    assert all(row.record.attempt == 1 for row in at.database.rows(LIST).values())


async def test_given_a_few_blocked_numbers_and_nobody_else_when_dialed_then_each_has_its_chances_and_is_charged(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [BLOCKED] * 3) as at, at.daemon() as daemon:
        began_s = trio.current_time()
        await daemon.dial("agent1", "agent2")
        await daemon.until(
            lambda: all(r.record_status is RecordStatus.UPDATED for r in at.database.rows(LIST).values())
        )
        assert trio.current_time() - began_s > 2 * REFUSED_REST_S
        assert circuit(daemon, FIRST) is Circuit.CLOSED
        assert daemon.session.supply.refused[Gate.TRUNKS] > 0

    assert Counter(attempt.new.record_id for attempt in at.database.attempts.values()) == {1: 3, 2: 3, 3: 3}
    assert all(row.record.attempt == 1 for row in at.database.rows(LIST).values())


@pytest.mark.parametrize("status", [486, 603, 404, 480])
async def test_given_what_the_callee_answers_when_dialed_then_no_other_trunk_is_tried(autojump_clock, tmp_path, status):
    async with carriers_of(tmp_path, CallScript(ring_s=0.2, ringing_status=0, status=status)) as (at, daemon, _):
        await daemon.dial("agent1")
        await daemon.until(
            lambda: all(r.record_status is RecordStatus.UPDATED for r in at.database.rows(LIST).values())
        )
        assert circuit(daemon, FIRST) is Circuit.CLOSED

    assert {trunk_of(command) for command in customers(at)} == {FIRST}


@pytest.mark.parametrize("status", [500, 503, 408])
async def test_given_our_cancel_when_a_gateway_answers_it_with_an_error_then_no_trunk_is_charged(
    autojump_clock, tmp_path, status
):
    async with carriers_of(tmp_path, CallScript(ring_s=math.inf, cancel_status=status)) as (at, daemon, _):
        await daemon.dial("agent1")
        await daemon.until(
            lambda: all(r.record_status is RecordStatus.UPDATED for r in at.database.rows(LIST).values())
        )
        assert circuit(daemon, FIRST) is Circuit.CLOSED

    assert {trunk_of(command) for command in customers(at)} == {FIRST}
    assert {(one.call_result, one.count_attempt) for one in finished(at)} == {(CallResult.NO_ANSWER, True)}


async def test_given_a_phone_that_has_rung_when_the_trunk_fails_then_it_is_not_called_again(autojump_clock, tmp_path):
    async with carriers_of(tmp_path, CallScript(ring_s=3.0, status=503), records=1) as (at, daemon, _):
        await daemon.dial("agent1")
        await daemon.until(lambda: at.row(1).record_status is RecordStatus.UPDATED)

    assert len(customers(at)) == 1
    assert at.row(1).record.attempt == 1


async def test_given_limits_of_the_second_trunk_when_the_first_fails_then_they_hold(autojump_clock, tmp_path):
    edits = {"second": "max_calls = 2\ncalls_per_second = 1.0"}
    async with carriers_of(tmp_path, REFUSES, CallScript(ring_s=6.0, status=486), records=30, agents=8, **edits) as (
        at,
        daemon,
        _,
    ):
        await daemon.dial(*(f"agent{n}" for n in range(1, 9)))
        starts, most = [], 0
        seen = 0
        for _ in range(600):
            await trio.sleep(0.1)
            placed = [command for command in customers(at) if trunk_of(command) == SECOND]
            starts += [trio.current_time()] * (len(placed) - seen)
            seen = len(placed)
            most = max(most, sum(command.leg_id in at.telephony.machines for command in placed))

    assert seen >= 10
    assert most == 2
    assert all(later - earlier >= 0.85 for earlier, later in itertools.pairwise(starts))


async def test_given_a_call_that_waits_for_another_trunk_when_dialing_stops_then_it_is_not_placed(
    autojump_clock, tmp_path
):
    """Its own trunk has failed while the attempt was being written."""
    async with carriers_of(tmp_path, BUSY, records=1, second="calls_per_second = 1.0") as (at, daemon, _):
        board = daemon.campaigns.trunk_board
        board.may_place = lambda name, now_s: name != FIRST
        board.placed_again(SECOND)  # the next start is due in a second
        await daemon.dial("agent1")
        await daemon.until(lambda: daemon.session.attempts)
        await daemon.request(CampaignRequest.STOP_DIALING)
        await trio.sleep(5.0)
        assert not daemon.session.attempts

    assert customers(at) == []
    (ended,) = finished(at)
    assert (ended.call_result, ended.count_attempt) == (CallResult.UNKNOWN, False)
    assert ended.evidence["not_dialed"] == "dialing has stopped"


async def test_given_trunks_of_one_priority_when_dialed_then_their_weights_divide_the_calls(autojump_clock, tmp_path):
    edit = {"first": "weight = 30", "second": "weight = 10"}
    async with carriers_of(tmp_path, BUSY, records=40, **edit) as (at, daemon, _):
        second = daemon.campaigns.config.trunk(SECOND)
        board = daemon.campaigns.trunk_board
        board.reconfigure([daemon.campaigns.config.trunk(FIRST), second.model_copy(update={"priority": 1})])
        await daemon.dial("agent1", "agent2")
        await daemon.until(lambda: len(customers(at)) == 40)

    assert Counter(trunk_of(command) for command in customers(at)) == {FIRST: 30, SECOND: 10}


async def test_given_a_trunk_that_drops_off_the_network_when_probed_then_calls_leave_it_within_seconds(
    autojump_clock, tmp_path
):
    async with carriers_of(tmp_path, BUSY, records=60, keeper=True, first="probe_interval_s = 10") as (
        at,
        daemon,
        carriers,
    ):
        await trio.sleep(1.0)
        await daemon.dial("agent1", "agent2")
        await daemon.until(lambda: len(customers(at)) >= 10)
        carriers.of[FIRST] = SILENT
        at.telephony.trunks["sip:127.0.0.1:5060"] = (0, 0.0)
        gone_s, before = trio.current_time(), len(customers(at))
        await daemon.until(lambda: SECOND in {trunk_of(command) for command in customers(at)})
        assert trio.current_time() - gone_s <= 4.0  # the next call, a second of silence, and a probe of one second
        await daemon.until(lambda: len(customers(at)) >= before + 15)

        carriers.of[FIRST] = BUSY
        at.telephony.trunks["sip:127.0.0.1:5060"] = (200, 0.01)
        back_s = trio.current_time()
        await daemon.until(lambda: circuit(daemon, FIRST) is Circuit.CLOSED)
        assert trio.current_time() - back_s <= 10.0

    assert {(ended.count_attempt, ended.call_result) for ended in finished(at)} == {(True, CallResult.BUSY)}


async def test_given_a_trunk_that_must_register_when_the_registrar_refuses_then_no_call_is_placed_over_it(
    autojump_clock, tmp_path
):
    first = 'registrar = "127.0.0.9:5060"\nusername = "ocsd"\npassword = "secret"'
    async with carriers_of(tmp_path, BUSY, records=40, keeper=True, first=first) as (at, daemon, _):
        at.telephony.registrars["sip:127.0.0.9:5060"] = 403
        await trio.sleep(1.0)
        (wanted,) = at.telephony.wanted_registrations.values()
        assert (wanted.aor, wanted.username, wanted.password) == ("sip:ocsd@127.0.0.9", "ocsd", "secret")
        await daemon.dial("agent1")
        await daemon.until(lambda: len(customers(at)) >= 5)
        assert {trunk_of(command) for command in customers(at)} == {SECOND}
        assert "not registered: 403" in daemon.campaigns.trunk_board.why(FIRST)

        at.telephony.registrars["sip:127.0.0.9:5060"] = 200
        await trio.sleep(1.0)
        back = len(customers(at))
        await daemon.until(lambda: len(customers(at)) >= back + 5)
        assert {trunk_of(command) for command in customers(at)[back + 1 :]} == {FIRST}


REDIRECTS = CallScript(ring_s=0.1, ringing_status=0, status=302, redirect_to="<sip:+12125559999@127.0.0.2:5062>")


async def test_given_a_redirect_when_the_trunk_follows_then_the_other_number_is_called_once(autojump_clock, tmp_path):
    async with carriers_of(tmp_path, REDIRECTS, REDIRECTS, records=1, first='redirects = "follow"') as (at, daemon, _):
        await daemon.dial("agent1")
        await daemon.until(lambda: at.row(1).record_status is RecordStatus.UPDATED)

    assert [command.uri for command in customers(at)] == [
        f"sip:{number(1)}@127.0.0.1:5060",
        "sip:+12125559999@127.0.0.2:5062",
    ]


@pytest.mark.parametrize(
    ("to", "dnc", "options"),
    [
        ("<sip:+12125559999@198.51.100.1>", "", ""),  # no trunk of ours
        ("<sip:+12125559999@127.0.0.2:5062>", "+12125559999", ""),
        ("<sip:2125559999@127.0.0.2:5062>", "+12125559999", ""),  # as it is dialed within the trunk's country
        ("<sip:+12125559999@127.0.0.2:5062>", "+12125559999", "check_dnc_list = false"),  # no claim has asked for it
        ("<tel:+12125559999>", "", ""),
    ],
)
async def test_given_a_redirect_that_must_not_be_followed_when_dialed_then_it_is_the_result(
    autojump_clock, tmp_path, to, dnc, options
):
    script = CallScript(ring_s=0.1, ringing_status=0, status=302, redirect_to=to)
    more = {"first": 'redirects = "follow"', "options": options}
    async with carriers_of(tmp_path, script, BUSY, records=1, **more) as (at, daemon, _):
        if dnc:
            await at.dnc.add([DncEntry(None, dnc, None, NOON)])
        await daemon.dial("agent1")
        await daemon.until(lambda: at.row(1).record_status is RecordStatus.UPDATED)

    assert len(customers(at)) == 1
    assert finished(at)[0].evidence["redirect_refused"]


@asynccontextmanager
async def redirected_to(tmp_path, to, records=1, rules="", caps=""):
    """Every number of the first trunk is redirected to this one; it is noon in New York, 7 o'clock on Hawaii."""
    contact = f"<sip:{to}@127.0.0.2:5062>"
    script = CallScript(ring_s=0.1, ringing_status=0, status=302, redirect_to=contact)
    trunks = two_trunks(first='redirects = "follow"')

    def edit(text):
        text = trunks(text)
        i = text.index("\n", text.index("[[calling_lists]]"))
        return f"{caps}\n{text[:i]}\n{rules}{text[i:]}"

    async with world(tmp_path, [PERSON] * records, edit=edit) as at:
        at.telephony._script = Carriers(script, BUSY)
        async with at.daemon() as daemon:
            await daemon.dial("agent1")
            await daemon.until(
                lambda: all(r.record_status is RecordStatus.UPDATED for r in at.database.rows(LIST).values())
            )
            yield at


@pytest.mark.parametrize(("to", "dialed"), [("+18085559999", 1), ("+12125559999", 2)])
async def test_given_a_redirect_to_another_zone_when_it_is_too_early_there_then_it_is_not_followed(
    autojump_clock, tmp_path, to, dialed
):
    rules = 'calling_hours = ["us-federal"]\nstrictest_zone = true'
    async with redirected_to(tmp_path, to, rules=rules) as at:
        assert len(customers(at)) == dialed
        (ended,) = finished(at)
        assert ("08:00" in str(ended.evidence.get("redirect_refused"))) is (dialed == 1)


async def test_given_a_number_that_two_are_redirected_to_when_a_cap_allows_one_call_then_it_is_called_once(
    autojump_clock, tmp_path
):
    caps, rules = (
        'attempt_caps = [{ dbid = 1, name = "one", max_attempts = 1, period_h = 24 }]',
        'attempt_caps = ["one"]',
    )
    async with redirected_to(tmp_path, "+12125559999", records=2, rules=rules, caps=caps) as at:
        called = [command.uri for command in customers(at)]
        assert sorted(uri.partition("@")[0] for uri in called) == [
            "sip:+12125552001", "sip:+12125552002", "sip:+12125559999"
        ]  # fmt: skip
        assert list(at.database.journal.redirected.values()) == ["+12125559999"]
        (refused,) = [one for one in finished(at) if "redirect_refused" in one.evidence]
        assert "one" in refused.evidence["redirect_refused"]
        (followed,) = [one for one in finished(at) if "redirected_to" in one.evidence]
        assert followed.evidence["redirected_to"] == "+12125559999"


async def test_given_a_redirect_to_the_same_trunk_when_followed_then_it_is_a_call_start_of_that_trunk(
    autojump_clock, tmp_path
):
    again = CallScript(ring_s=0.1, ringing_status=0, status=302, redirect_to="<sip:+12125559999@127.0.0.1:5060>")
    limited = 'redirects = "follow"\ncalls_per_second = 1.0'
    async with carriers_of(tmp_path, again, records=6, first=limited, group="") as (at, daemon, carriers):
        carriers.of[SECOND] = REFUSES
        await daemon.dial("agent1", "agent2")
        began_s = trio.current_time()
        await daemon.until(lambda: sum(trunk_of(command) == FIRST for command in customers(at)) >= 9)

    assert trio.current_time() - began_s >= 6.0, "9 INVITEs at one a second"


async def test_given_a_redirect_when_the_trunk_refuses_them_then_it_is_the_result(autojump_clock, tmp_path):
    async with carriers_of(tmp_path, REDIRECTS, records=1) as (at, daemon, _):
        await daemon.dial("agent1")
        await daemon.until(lambda: at.row(1).record_status is RecordStatus.UPDATED)

    assert len(customers(at)) == 1
    assert finished(at)[0].evidence["redirect_to"] == REDIRECTS.redirect_to


async def test_given_a_call_on_its_second_trunk_when_the_daemon_is_killed_then_the_next_one_adopts_it(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [PERSON], edit=two_trunks()) as at:
        at.telephony._script = Carriers(REFUSES, PERSON)
        async with at.daemon() as daemon:
            await daemon.dial("agent1")
            await daemon.until(lambda: daemon.states() == [AttemptState.TALKING])
            daemon.kill()
        async with at.daemon() as daemon:
            assert daemon.recovered.adopted == 1
            (task,) = daemon.session.attempts.values()
            assert (task.context.tries, task.context.trunk) == (2, SECOND)
            assert at_trunks(daemon) == {FIRST: 0, SECOND: 1}
            await daemon.until(lambda: at.row(1).record_status is RecordStatus.UPDATED)

    assert at.result(1) == (RecordStatus.UPDATED, CallResult.ANSWER)


def at_trunks(daemon):
    return {name: daemon.campaigns.trunk_board.calls(name) for name in (FIRST, SECOND)}


async def test_given_a_call_on_the_second_trunk_when_the_daemon_is_killed_then_the_next_one_books_it_there(
    autojump_clock, tmp_path
):
    """It was its first try: the first trunk was full."""
    async with world(tmp_path, [CallScript(ring_s=1.0, talk_s=1000.0)], edit=two_trunks()) as at:
        async with at.daemon() as daemon:
            board = daemon.campaigns.trunk_board
            board.reconfigure([one.model_copy(update={"max_calls": 1}) for one in board.trunks])
            board.take((FIRST,), 0.0, group=999)
            await daemon.dial("agent1")
            await daemon.until(lambda: daemon.states() == [AttemptState.TALKING])
            assert at_trunks(daemon) == {FIRST: 1, SECOND: 1}
            daemon.kill()
        async with at.daemon() as daemon:
            assert at_trunks(daemon) == {FIRST: 0, SECOND: 1}
            assert daemon.campaigns.trunk_board.state(SECOND, 0.0).started == 0, "no call start of now"
            (task,) = daemon.session.attempts.values()
            at.telephony.legs[task.leg.leg_id].far_end_hangs_up()
            await daemon.until(lambda: not daemon.session.attempts)
            assert at_trunks(daemon) == {FIRST: 0, SECOND: 0}

    assert [ended.switch_dbid for ended in finished(at)] == [205]


RINGS_THEN_FAILS = CallScript(ring_s=2.0, status=503)


@pytest.mark.parametrize("after_s", [2.0, 13.0])
@pytest.mark.parametrize(("status", "responds"), [(503, True), (408, False)])
async def test_given_a_trunk_that_fails_around_a_kill_when_the_daemon_is_back_then_nothing_is_charged(
    autojump_clock, tmp_path, status, responds, after_s
):
    """``after_s``: the trunk fails while there is no daemon (for ten seconds), or when the next one has the call."""
    script = CallScript(ring_s=after_s, ringing_status=0, status=status, responds=responds)
    async with world(tmp_path, [PERSON], edit=two_trunks()) as at:
        at.telephony._script = carriers = Carriers(script, script)
        async with at.daemon() as daemon:
            await daemon.dial("agent1")
            await daemon.until(lambda: customers(at))
            daemon.kill()
        carriers.of = {FIRST: BUSY, SECOND: BUSY}
        async with at.daemon() as daemon:
            recovered = daemon.recovered
            await daemon.log_in("agent1")
            await daemon.until(lambda: at.row(1).record_status is RecordStatus.UPDATED)

    assert (recovered.adopted, recovered.settled) == ((0, 1) if after_s < 10.0 else (1, 0))
    first, second = finished(at)
    assert (first.call_result, first.count_attempt) == (CallResult.ALL_TRUNKS_BUSY, False)
    assert (second.call_result, second.count_attempt) == (CallResult.BUSY, True)
    assert at.row(1).record.attempt == 1


@pytest.mark.parametrize("assured", [False, True])
async def test_given_a_call_on_its_second_trunk_when_the_group_is_not_loaded_after_a_kill_then_it_has_its_true_end(
    autojump_clock, tmp_path, assured
):
    options, edit = (ASSURED, lambda text: with_vip(two_trunks()(text))) if assured else ("", two_trunks())
    rings = CallScript(ring_s=5.0, status=486)
    async with world(tmp_path, [PERSON], options=options, edit=edit) as at:
        if assured:
            flag(at, 1)
        at.telephony._script = Carriers(REFUSES, rings)
        async with at.daemon() as daemon:
            await daemon.dial("agent1")
            await daemon.until(lambda: AttemptState.ALERTING in daemon.states())
            daemon.kill()
        at.memory.states.clear()
        async with at.daemon() as daemon:
            assert (daemon.recovered.adopted, daemon.recovered.settled) == (0, 1)

    (attempt,) = at.database.attempts.values()
    ended = attempt.finished
    assert (ended.call_result, ended.interrupted, ended.switch_dbid) == (CallResult.BUSY, False, 205)
    assert at.row(1).record_status is RecordStatus.UPDATED


async def test_given_a_phone_that_has_rung_when_its_trunk_fails_while_no_daemon_listens_then_it_is_not_called_again(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [PERSON], edit=two_trunks()) as at:
        at.telephony._script = Carriers(RINGS_THEN_FAILS, RINGS_THEN_FAILS)
        async with at.daemon() as daemon:
            await daemon.dial("agent1")
            await daemon.until(lambda: AttemptState.ALERTING in daemon.states())
            daemon.kill()
        async with at.daemon() as daemon:
            await daemon.log_in("agent1")
            await daemon.until(lambda: at.row(1).record_status is RecordStatus.UPDATED)

    assert len(customers(at)) == 1
    assert finished(at)[0].count_attempt


CALLER_IDS = """
[[caller_id_sets]]
dbid = 900
name = "West"
numbers = ["+13105550110", "+13105550111"]
calls_per_day = 1
"""


async def test_given_a_caller_id_set_when_calls_are_made_then_it_is_shown_and_told_to_desktops(
    autojump_clock, tmp_path
):
    def edit(text):
        text = text.replace(
            'trunks = ["Simulated Carrier"]', f'trunks = ["{FIRST}"]\noptions = {{ caller-id-sets = "West" }}'
        )
        return text.replace("[[time_zones]]", f"{CALLER_IDS}\n[[time_zones]]", 1)

    async with world(tmp_path, [PERSON] * 3, agents=3, edit=edit) as at, at.daemon() as daemon:
        await daemon.dial("agent1", "agent2", "agent3")
        await daemon.until(lambda: daemon.states().count(AttemptState.TALKING) == 3)
        attached = [desktop.last("EventEstablished") for desktop in daemon.desktops.values()]

    shown = [command.from_uri.removeprefix("sip:").partition("@")[0] for command in customers(at)]
    # The third call finds both at rest, and shows the trunk's own number.
    assert sorted(shown) == ["+12025550100", "+13105550110", "+13105550111"]
    pairs = {(found(one, "GSW_CPN_DIGITS"), found(one, "GSW_CPN_DIGITS_SET")) for one in attached}
    assert pairs == {("+12025550100", None), ("+13105550110", "West"), ("+13105550111", "West")}


async def test_given_caller_ids_that_have_had_their_calls_when_the_daemon_is_killed_then_they_rest_on(
    autojump_clock, tmp_path
):
    def edit(text):
        group = f'trunks = ["{FIRST}"]\noptions = {{ caller-id-sets = "West" }}'
        text = text.replace('trunks = ["Simulated Carrier"]', group)
        return text.replace("[[time_zones]]", f"{CALLER_IDS}\n[[time_zones]]", 1)

    talks = CallScript(ring_s=1.0, talk_s=1000.0)
    async with world(tmp_path, [talks, PERSON, PERSON], agents=3, edit=edit) as at:
        async with at.daemon() as daemon:
            await daemon.dial("agent1")
            await daemon.until(lambda: daemon.states() == [AttemptState.TALKING])
            shown = next(iter(daemon.session.attempts.values())).context.caller_id
            daemon.kill()
        async with at.daemon() as daemon:
            (task,) = daemon.session.attempts.values()
            assert task.context.caller_id == shown
            assert shown.of_set == "West"
            await daemon.log_in("agent2")
            await daemon.log_in("agent3")
            await daemon.until(lambda: len(customers(at)) == 3)

    callers = [command.from_uri.removeprefix("sip:").partition("@")[0] for command in customers(at)]
    assert sorted(callers) == ["+12025550100", "+13105550110", "+13105550111"], "one call a day each, then the trunk's"


def found(message, key):
    """The value of a key, at any depth."""
    for name, value in message.items():
        if name == key:
            return value
        if isinstance(value, dict) and (inner := found(value, key)) is not None:
            return inner
    return None
