"""The records engine against the world: what becomes of records, by real calls, desktops, SQL and the command line.

All tests share a site; each has campaign group, lists and numbers of its own. One group dials beside the others the
whole time: its record waits for a minute, over three kills of the daemon (the last test).
"""

import itertools
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from ocsd.model.enums import CallResult, GroupCampStatus, RecordStatus, RecordType
from telephony.simworld.idtone import agent_code, customer_code
from telephony.simworld.plan import canonical
from tests.e2e.campaign import Truth
from tests.e2e.records_world import (
    ALSO_CAPPED,
    CALLBACK,
    CAPPED,
    FILTERED,
    LATER,
    LATER_AGENT,
    MESSAGE_S,
    NAMES,
    NEVER,
    TREATED,
    UNLOADED,
    ZONE,
    Numbers,
    World,
    filter_text,
    world,
)
from tests.e2e.site import processes_in
from tests.ports import free_port

pytestmark = pytest.mark.e2e

R, S, T = CallResult, RecordStatus, RecordType
FORBIDDEN = (T.NO_CALL, S.UPDATED, R.DO_NOT_CALL)
TALK_S = 4.0
"""Long enough for several of the windows of a second in which identifying tones are decoded."""
TALKS_ON_S = 120.0
"""Until the agent hangs up."""

numbers = Numbers()
BUSY, SECOND, FIRST = numbers.busy(ring_s=2.0), numbers.unanswered(), numbers.unanswered()
MACHINE = numbers.machine()
WRONG, DECLINED = numbers.new("sip_404"), numbers.new("sip_603", ring_s=0.5)
LISTED, NOT_LISTED = numbers.person(TALK_S), numbers.busy()
TALKER, OTHER_PHONE = numbers.person(TALKS_ON_S), numbers.ringing()
BY_COMMAND, RINGS_MEANWHILE = numbers.person(TALK_S), numbers.ringing()
TWICE = numbers.busy()
PERSONAL, CAMPAIGN = numbers.person(TALK_S), numbers.person(TALK_S)
OLD, NEW = [numbers.busy() for _ in range(3)], [numbers.busy() for _ in range(2)]
CLOSED = numbers.busy()
BUFFERED = [numbers.busy() for _ in range(3)]
TALKING, RINGING = numbers.person(TALKS_ON_S), numbers.ringing()
LATER_NUMBER = numbers.busy(ring_s=1.0)


class Receiver:
    """An HTTP server that takes every POST; nobody listens on its port until `listening`."""

    def __init__(self) -> None:
        self.port = free_port()
        self.posts: list[SimpleNamespace] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/numbers?token=secret"

    @contextmanager
    def listening(self) -> Iterator[None]:
        posts = self.posts

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                posts.append(SimpleNamespace(path=self.path, key=self.headers["Idempotency-Key"], body=body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", self.port), Handler) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            yield
            server.shutdown()
            thread.join()


receiver = Receiver()


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("world"), numbers, receiver.url) as started:
        started.execute("INSERT INTO public.gsw_donotcall_list (phone, dnc_message) VALUES (%s, 'by letter')", LISTED)
        started.execute("CREATE TABLE public.wrong_number (phone text, record integer, result integer)")
        started.site.start_daemon()
        _leave_one_for_later(started)
        yield started
        assert started.site.stop_daemon() == 0
        where = started.site.folder
    assert processes_in(where) == []


def _leave_one_for_later(here: World) -> None:
    """A record whose next dial is kept in memory for a minute, and a daemon killed right after it has been written."""
    here.add(NAMES[LATER], [LATER_NUMBER])
    here.log_in(LATER_AGENT, ready=True)
    here.site.client.load(LATER)
    here.start(LATER)
    here.until("the first call is over", lambda: here.ended(LATER_NUMBER))
    row = here.row(LATER_NUMBER)
    assert row["record_status"] == S.RETRIEVED, "the claim is kept"
    here.kill_and_restart()
    assert here.status(LATER) == GroupCampStatus.RUNNING
    assert here.row(LATER_NUMBER) == row | {"record_status": S.READY}


def test_given_results_when_treatments_apply_then_records_go_where_they_say(here):
    here.add(NAMES[TREATED], [BUSY], [FIRST, SECOND], [MACHINE], [WRONG], [DECLINED])
    with here.loaded(TREATED):
        here.log_in("agent1", ready=True)
        here.start(TREATED)
        here.until("the second call to the busy one", lambda: len(here.journal(BUSY)) == 2)
        between = here.row(BUSY)
        here.until("an attempt at delivery", lambda: _outbox(here)["tries"])
        assert receiver.posts == []
        with receiver.listening():
            here.until("the request is delivered", lambda: _outbox(here)["done"])
        here.until("the machine has been called", lambda: here.ended(MACHINE))
        here.complete(TREATED)

    # Busy, interval 0: at once again under the same chain, then Update.
    assert (between["record_type"], between["record_status"]) == (T.CAMPAIGN_RESCHEDULED, S.RETRIEVED)
    assert (between["call_result"], between["attempt"], between["treatments"]) == (R.BUSY, 1, "1@1@0@1")
    first, second = here.journal(BUSY)
    assert (first["treatment_dbid"], second["treatment_dbid"]) == (1, 2)
    assert first["chain_id"] == second["chain_id"] == between["chain_id"]
    assert between["dial_sched_time"] <= second["started"] < first["finished"] + 30
    assert here.state(BUSY) == (T.CAMPAIGN_RESCHEDULED, S.UPDATED, R.BUSY)
    assert here.row(BUSY)["attempt"] == len(here.calls_to(BUSY)) == 2
    # No answer: the second number of the chain at once, and nobody a second time.
    (one,), (other,) = here.calls_to(FIRST), here.calls_to(SECOND)
    assert one["ended_at_s"] < other["invited_at_s"] < one["ended_at_s"] + 30
    for number in (FIRST, SECOND):
        assert here.state(number)[1:] == (S.UPDATED, R.NO_ANSWER)
    # A machine hears the message after its tone, to the end; then we hang up.
    (call,) = here.calls_to(MACHINE)
    assert MESSAGE_S - 0.3 < call["heard_sound_s"] < MESSAGE_S + 0.5
    assert (call["ended_by"], call["why"]) == ("caller", "bye")
    assert here.state(MACHINE)[1:] == (S.UPDATED, R.ANSWERING_MACHINE)
    # SQL: one row, by a statement that knows the record.
    noted = here.site.query("SELECT phone, record, result FROM public.wrong_number")
    assert noted == [(WRONG, here.row(WRONG)["record_id"], R.SIT_INVALID_NUM)]
    # HTTP: although nobody listened at first.
    outbox = _outbox(here)
    assert {post.key for post in receiver.posts} == {str(outbox["key"])}
    assert outbox["tries"] >= 2
    post = receiver.posts[0]
    assert post.path == "/numbers?token=secret"
    assert (post.body["contact_info"], post.body["call_result"]) == (DECLINED, R.REMOTE_RELEASE)
    assert post.body["treatment"] == "tell it"
    assert "secret" not in here.site.log_text()


def _outbox(here: World) -> dict[str, Any]:
    found = here.site.query("SELECT key, tries, done_at IS NOT NULL FROM ocsd.outbox")
    assert len(found) <= 1
    return dict(zip(("key", "tries", "done"), found[0] if found else (None, 0, False), strict=True))


def test_given_a_number_in_the_table_when_its_record_comes_up_then_it_never_rings(here):
    here.add(NAMES[NEVER], [LISTED], [NOT_LISTED])
    with here.loaded(NEVER):
        here.log_in("agent1", ready=True)
        here.start(NEVER)
        here.until("the other one has been called", lambda: here.ended(NOT_LISTED))
        here.await_state(LISTED, *FORBIDDEN)
        here.complete(NEVER)
    assert here.calls_to(LISTED) == here.journal(LISTED) == []


def test_given_a_conversation_when_its_agent_asks_for_do_not_call_then_a_kill_right_after_forgets_nothing(here):
    """The record's chain names two numbers; another record rings at the second of them."""
    here.add(NAMES[NEVER], [TALKER, OTHER_PHONE], customer_name="talks")
    here.add(NAMES[NEVER], [OTHER_PHONE], customer_name="rings")
    with here.loaded(NEVER):
        desk = here.log_in("agent1", ready=True)
        here.start(NEVER)
        data = desk.established()
        assert data["GSW_PHONE"] == TALKER
        here.until("the other record is called", lambda: here.journal(OTHER_PHONE))

        desk.record("DoNotCall", data, GSW_MESSAGE="asked on the phone")
        here.kill_and_restart()

        listed = here.site.query(
            "SELECT phone FROM public.gsw_donotcall_list WHERE dnc_message = 'asked on the phone' ORDER BY 1"
        )
        assert listed == [(TALKER,), (OTHER_PHONE,)]
        assert _states(here, TALKER, OTHER_PHONE) == [FORBIDDEN] * 3
        (rang,) = here.until("the other call is hung up", lambda: here.calls_to(OTHER_PHONE))
        assert (rang["why"], rang["answered_at_s"]) == ("cancel", None)
        desk = here.log_in("agent1")
        assert desk.established()["GSW_RECORD_HANDLE"] == data["GSW_RECORD_HANDLE"], "the conversation goes on"
        # Whoever asks for one of these numbers again is told so by the new daemon's list.
        here.add(NAMES[NEVER], [TALKER], customer_name="comes later")
        here.until("the new record is refused", lambda: _states(here, TALKER) == [FORBIDDEN] * 2)
        desk.hang_up()
        here.complete(NEVER)
    (talked,) = here.calls_to(TALKER)
    assert talked["ended_by"] == "caller"
    assert [attempt["call_result"] for attempt in here.journal(TALKER)] == [R.ANSWER]
    assert [attempt["call_result"] for attempt in here.journal(OTHER_PHONE)] == [R.DO_NOT_CALL]
    assert _states(here, TALKER, OTHER_PHONE) == [FORBIDDEN] * 4
    (checked,) = here.command("dnc", "check", TALKER)
    assert checked["forbidden"]
    assert [entry["message"] for entry in checked["found"]] == ["asked on the phone"]


def _states(here: World, *wanted: str) -> list[tuple[int, int, int]]:
    """Type, status and result of all rows with these numbers."""
    return here.site.query(
        "SELECT record_type, record_status, call_result FROM {list} WHERE contact_info = ANY(%s)", list(wanted)
    )


def test_given_a_buffered_and_a_ringing_record_when_their_numbers_are_added_by_command_then_the_daemon_obeys(here):
    here.add(NAMES[NEVER], [BY_COMMAND], [RINGS_MEANWHILE])
    with here.loaded(NEVER):
        here.until("they are in the buffer", lambda: here.row(RINGS_MEANWHILE)["record_status"] == S.RETRIEVED)
        here.command("dnc", "add", BY_COMMAND, "--message", "by fax")
        here.await_state(BY_COMMAND, *FORBIDDEN)
        here.log_in("agent1", ready=True)
        here.start(NEVER)
        here.until("the other one is called", lambda: here.journal(RINGS_MEANWHILE))
        here.command("dnc", "add", RINGS_MEANWHILE)
        (rang,) = here.until("it is hung up", lambda: here.calls_to(RINGS_MEANWHILE))
        here.await_state(RINGS_MEANWHILE, *FORBIDDEN)
        here.complete(NEVER)
    assert here.calls_to(BY_COMMAND) == here.journal(BY_COMMAND) == []
    assert (rang["why"], rang["answered_at_s"]) == ("cancel", None)
    assert [attempt["call_result"] for attempt in here.journal(RINGS_MEANWHILE)] == [R.DO_NOT_CALL]
    effects = here.site.query(
        "SELECT rows, applied_at >= requested_at FROM ocsd.dnc_request WHERE phone = ANY(%s)",
        [BY_COMMAND, RINGS_MEANWHILE],
    )
    assert effects == [(1, True)] * 2
    (checked,) = here.command("dnc", "check", BY_COMMAND)
    assert (checked["forbidden"], checked["found"][0]["message"]) == (True, "by fax")


def test_given_one_call_a_day_when_two_lists_have_the_number_then_it_is_called_once_and_the_other_row_says_until_when(
    here,
):
    for batch in (NAMES[CAPPED], ALSO_CAPPED):
        here.add(batch, [TWICE])
    with here.loaded(CAPPED):
        here.log_in("agent1", ready=True)
        here.start(CAPPED)
        here.until("the call is over", lambda: here.ended(TWICE))
        called, other = sorted((NAMES[CAPPED], ALSO_CAPPED), key=lambda batch: -here.row(TWICE, batch)["attempt"])
        here.until("the other one is put off", lambda: here.row(TWICE, other)["dial_sched_time"])
        here.complete(CAPPED)
    (attempt,) = here.journal(TWICE)
    assert len(here.calls_to(TWICE)) == 1
    assert here.state(TWICE, called) == (T.GENERAL, S.UPDATED, R.BUSY)
    row = here.row(TWICE, other)
    assert (row["record_status"], row["attempt"]) == (S.READY, 0)
    assert 0 <= row["dial_sched_time"] - (attempt["started"] + 24 * 3600) <= 1
    because = here.site.query("SELECT because FROM ocsd.decision WHERE record_id = %s", row["record_id"])
    assert "once a day" in because[-1][0]
    assert here.command("list", "stats", other)["held_back"]["scheduled for later"] == 1


def test_given_callbacks_when_they_come_due_then_the_agent_is_called_first_and_a_missed_one_is_an_agent_error(here):
    here.add(NAMES[CALLBACK], [PERSONAL], [CAMPAIGN])
    with here.loaded(CALLBACK):
        desks = {agent_id: here.log_in(agent_id, ready=True) for agent_id in ("agent1", "agent2")}
        here.start(CALLBACK)
        calls = {desk.established()["GSW_PHONE"]: desk for desk in desks.values()}
        owner, other = calls[PERSONAL], calls[CAMPAIGN]
        due = _later()
        for kind, desk in (("Personal", owner), ("Campaign", other)):
            told = desk.record("RecordReschedule", desk.data, GSW_CALLBACK_TYPE=kind, GSW_DATE_TIME=_local(due))
            assert told["GSW_DATE_TIME"] == _local(due)
            desk.hang_up()
        # What has been agreed outlives the daemon.
        here.kill_and_restart()
        owner, other = here.log_in_again(owner), here.log_in_again(other)
        for number, kind, desk in ((PERSONAL, "Personal", owner), (CAMPAIGN, "Campaign", other)):
            desk.record("RecordProcessed", desk.data)
            here.await_state(number, _TYPE_OF[kind], S.READY, R.ANSWER)
            row = here.row(number)
            assert (row["dial_sched_time"], row["attempt"]) == (int(due.timestamp()), 1)
            assert row["treatments"] == "0@0@0@1"
        assert here.row(PERSONAL)["agent_id"] == owner.agent_id

        # Due: the personal one for its agent, the other for whoever is ready.
        other.ready()
        _make_due(here, PERSONAL, CAMPAIGN)
        for number, kind, desk in ((PERSONAL, "Personal", owner), (CAMPAIGN, "Campaign", other)):
            data = desk.scheduled()
            assert (data["GSW_PHONE"], data["GSW_CALLBACK_TYPE"]) == (number, kind)
            desk.agent("RequestMakeCall", "EventDialing", RecordHandle=data["GSW_RECORD_HANDLE"])
        for desk in (owner, other):
            handle = desk.data["GSW_RECORD_HANDLE"]
            assert desk.established()["GSW_RECORD_HANDLE"] == handle
            desk.expect(Event="EventReleased")
        other.record("RecordProcessed", other.data)
        here.await_state(CAMPAIGN, T.CAMPAIGN_CALLBACK, S.UPDATED, R.ANSWER)

        # Again later; but by then the agent has gone.
        due = _later()
        told = owner.record("ScheduledRecordReschedule", owner.data, GSW_DATE_TIME=_local(due))
        assert told["GSW_CALLBACK_TYPE"] == "Personal"
        owner.record("RecordProcessed", owner.data)
        here.await_state(PERSONAL, T.PERSONAL_CALLBACK, S.READY, R.ANSWER)
        owner.log_out()
        _make_due(here, PERSONAL)
        here.await_state(PERSONAL, T.PERSONAL_CALLBACK, S.MISSED_CALLBACK, R.AGENT_CALLBACK_ERROR)
        here.complete(CALLBACK)

    for number, desk in ((PERSONAL, owner), (CAMPAIGN, other)):
        extension = {"agent1": "1001", "agent2": "1002"}[desk.agent_id]
        heard, rang = here.calls_to(number)[1], here.calls_of(extension)[-1]
        assert rang["answered_at_s"] < heard["invited_at_s"], "the agent's phone rings first"
        _assert_they_heard_each_other(number, extension, heard, rang)
        assert here.row(number)["attempt"] == 2
    assert {here.row(number)["agent_id"] for number in (PERSONAL, CAMPAIGN)} == set(desks)


_TYPE_OF = {"Personal": T.PERSONAL_CALLBACK, "Campaign": T.CAMPAIGN_CALLBACK}


def _later() -> datetime:
    """A whole minute, as GSW_DATE_TIME has no seconds."""
    return (datetime.now(UTC) + timedelta(minutes=10)).replace(second=0, microsecond=0)


def _local(instant: datetime) -> str:
    return instant.astimezone(ZoneInfo(ZONE)).strftime("%m/%d/%Y %H:%M")


def _make_due(here: World, *wanted: str) -> None:
    """Nobody wants to wait for the minute: the time is brought forward where it stands."""
    here.execute(
        "UPDATE demo_list SET dial_sched_time = extract(epoch FROM now())::int"
        " WHERE contact_info = ANY(%s) AND record_status = 1",
        list(wanted),
    )


def _assert_they_heard_each_other(number: str, extension: str, customer: Truth, phone: Truth) -> None:
    assert customer["heard_codes"].get(str(agent_code(extension)), 0) >= 1, customer
    assert phone["heard_codes"].get(str(customer_code(canonical(number))), 0) >= 1, phone


def test_given_another_filter_and_a_closed_window_when_it_is_reloaded_then_only_what_is_asked_for_is_dialed(here):
    local = datetime.now(ZoneInfo(ZONE))
    opens = (local.hour * 3600 + 2 * 3600) % 86400
    here.add(NAMES[FILTERED], *([number] for number in OLD), segment="old")
    here.add(NAMES[FILTERED], *([number] for number in NEW), segment="new")
    here.add(NAMES[FILTERED], [CLOSED], segment="new", daily_from=opens, daily_till=(opens + 3600) % 86400)
    before = here.site.config_path.read_text()
    with_old = _with_segment(before, "old")
    with_new = _with_segment(before, "new")
    here.site.config_path.write_text(with_old)
    here.reload()
    with here.loaded(FILTERED):
        here.until("the old ones are buffered", lambda: _retrieved(here) == set(OLD))

        here.site.config_path.write_text(with_new)
        here.reload()

        here.until("the new ones have taken their place", lambda: _retrieved(here) == set(NEW))
        here.log_in("agent1", ready=True)
        here.start(FILTERED)
        here.until("the new ones have been called", lambda: all(here.ended(number) for number in NEW))
        counted = here.command("list", "stats", NAMES[FILTERED])
        here.complete(FILTERED)
    here.site.config_path.write_text(before)
    here.reload()
    assert [here.calls_to(number) for number in (*OLD, CLOSED)] == [[]] * 4
    assert counted["held_back"]["daily window closed"] == 1
    assert counted["held_back"]["excluded by the filter"] >= len(OLD), "other lists' rows too"
    assert [here.state(number)[1] for number in OLD] == [S.READY] * 3
    assert [here.state(number)[1:] for number in NEW] == [(S.UPDATED, R.BUSY)] * 2


def _with_segment(text: str, segment: str) -> str:
    old = filter_text(FILTERED, NAMES[FILTERED])
    assert text.count(old) == 1
    return text.replace(old, filter_text(FILTERED, NAMES[FILTERED], segment))


def _retrieved(here: World) -> set[str]:
    found = here.site.query("SELECT contact_info FROM {list} WHERE batch = %s AND record_status = 2", NAMES[FILTERED])
    return {number for (number,) in found}


def test_given_records_in_all_stages_when_the_group_is_unloaded_then_none_stays_retrieved(here):
    here.add(NAMES[UNLOADED], [TALKING], [RINGING], *([number] for number in BUFFERED))
    everybody = 2 + len(BUFFERED)
    with here.loaded(UNLOADED):
        here.until("all are buffered", lambda: here.statuses(NAMES[UNLOADED]) == [S.RETRIEVED] * everybody)
        here.site.client.unload(UNLOADED)
        here.await_unloaded(UNLOADED)
        assert here.statuses(NAMES[UNLOADED]) == [S.READY] * everybody
        here.assert_nothing_claimed(NAMES[UNLOADED])
    with here.loaded(UNLOADED):  # two ports: the other three stay in the buffer
        desk = here.log_in("agent1", ready=True)
        here.start(UNLOADED)
        desk.established()
        here.until("the other one is called", lambda: here.journal(RINGING))
        here.site.client.force_unload(UNLOADED)
        here.await_unloaded(UNLOADED)
        here.until("the ringing stops", lambda: here.calls_to(RINGING))
        here.await_state(TALKING, T.GENERAL, S.STALE, R.ANSWER)
        here.await_state(RINGING, T.GENERAL, S.STALE, R.STALE)
        assert here.statuses(NAMES[UNLOADED])[2:] == [S.READY] * len(BUFFERED)
        here.assert_nothing_claimed(NAMES[UNLOADED])
        assert here.calls_to(TALKING) == [], "the conversation goes on"
        desk.hang_up()
    (rang,) = here.calls_to(RINGING)
    assert (rang["why"], rang["answered_at_s"]) == ("cancel", None)
    assert list(itertools.chain.from_iterable(map(here.journal, BUFFERED))) == []


def test_given_a_chain_in_memory_when_the_daemon_is_killed_then_it_is_dialed_once_and_at_its_time(here):
    due = here.site.query("SELECT dial_sched_time FROM {list} WHERE contact_info = %s", LATER_NUMBER)[0][0]
    here.until("it has been called again", lambda: len(here.ended(LATER_NUMBER)) == 2, 120)
    first, second = here.journal(LATER_NUMBER)
    assert due >= first["finished"] + 60
    assert due <= second["started"] < due + 30
    here.await_state(LATER_NUMBER, T.CAMPAIGN_RESCHEDULED, S.UPDATED, R.BUSY)
    here.complete(LATER)
    assert len(here.calls_to(LATER_NUMBER)) == len(here.journal(LATER_NUMBER)) == 2
    assert here.site.query("SELECT count(*) FROM {list} WHERE record_status = 2") == [(0,)]
    assert here.site.query("SELECT count(*) FROM ocsd.claim") == [(0,)]
