"""The control port while the database is away, its answers are lost, clients go away, or the daemon is killed.

Whatever was answered by 200 is on disk; whatever was refused has changed nothing. One exception: a Do-Not-Call holds
at once, and comes to the disk when there is one.
"""

import json
import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

import pytest

from ocsd.model.enums import CallResult, GroupCampStatus, RecordStatus, RecordType
from tests.e2e.database_link import DatabaseLink, database_link
from tests.e2e.records_world import NAMES, NEVER, ZONE, Numbers, World, world
from tests.e2e.wire import RawHttp, Reply

pytestmark = pytest.mark.e2e

R, S, T = CallResult, RecordStatus, RecordType
LIST = NAMES[NEVER]
FORBIDDEN = (T.NO_CALL, S.UPDATED, R.DO_NOT_CALL)
LATER = "12/01/2035 13:00"
LATER_S = int(datetime(2035, 12, 1, 13, 0, tzinfo=ZoneInfo(ZONE)).timestamp())
ADDED = ("+13125550901", "+13125550902", "+13125550903", "+13125550904", "+13125550905", "+13125550906", "+13125550907",
         "+13125550908")  # fmt: skip
AWAY_RECORD, LOST_ANSWER, LOST_COMMIT, HALF_SENT, NOT_AWAITED, ANSWERED, SURPRISE_RECORD, LAST_RECORD = ADDED

RING_S = 30
"""Until a call that nobody answers is given up: longer than an outage of these tests."""

numbers = Numbers()
UPDATE, PROCESS, REJECT, CANCEL, FORBID, RESCHEDULE, MOVE, CHAINED = RINGING = [numbers.ringing() for _ in range(8)]
NEXT_FORBIDDEN, NEXT_CUSTOMER, NEXT_FREE = (numbers.busy() for _ in range(3))
TALKS = [numbers.person(120.0) for _ in range(2)]
RINGS = [numbers.ringing() for _ in range(3)]
SURPRISED = [numbers.ringing() for _ in range(5)]


class Ask:
    """One request to be sent, on a connection of its own."""

    def __init__(self, port: int, target: str, record: dict[str, Any]) -> None:
        body = json.dumps(record)
        self.text = (
            f"POST {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-type: application/json\r\n"
            f"Content-length: {len(body)}\r\n\r\n{body}"
        )
        self.http = RawHttp(port)

    def send(self) -> None:
        self.http.send(self.text)

    def reply(self) -> Reply:
        with self.http:
            return self.http.reply()


def answers(here: World, *asked: tuple[str, dict[str, Any]]) -> list[tuple[int, int | None]]:
    """Status and Warning of requests that are under way at the same time."""
    requests = [Ask(here.site.http_port, *each) for each in asked]
    for request in requests:
        request.send()
    replies = [request.reply() for request in requests]
    for (target, _), reply in zip(asked, replies, strict=True):
        print(target, reply.status_line, reply.body.decode())
    return [(reply.status, reply.warning) for reply in replies]


def about(here: World, number: str, req: str, **record: Any) -> tuple[str, dict[str, Any]]:
    return f"/records/{handle(here, number)}?req={req}", record


def adding(phone: str, **record: Any) -> tuple[str, dict[str, Any]]:
    pairs = {"GSW_CAMPAIGN_NAME": LIST, "GSW_PHONE": phone, "GSW_TZ_NAME": "EST", "batch": LIST}
    return f"/lists/{quote(LIST)}?req=AddRecord", pairs | record


def everywhere(resource: str, identifier: str, req: str) -> tuple[str, dict[str, Any]]:
    return f"/{resource}/{quote(identifier)}?req={req}", {"GSW_TENANT_NAME": "Environment"}


def handle(here: World, number: str) -> int:
    """Of its attempt; asked once, as the database may be away later."""
    if number not in HANDLES:
        query = "SELECT attempt_id FROM ocsd.attempt WHERE phone = %s"
        HANDLES[number] = int(here.until(f"a call to {number}", lambda: here.site.query(query, number))[0][0])
    return HANDLES[number]


HANDLES: dict[str, int] = {}


def rows_of(here: World, *wanted: str) -> list[tuple[Any, ...]]:
    return here.site.query("SELECT * FROM {list} WHERE contact_info = ANY(%s) ORDER BY record_id", list(wanted))


def forbidden(here: World) -> set[tuple[str | None, str | None]]:
    return set(here.site.query("SELECT phone, customer_id FROM public.gsw_donotcall_list"))


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, DatabaseLink]]:
    with ExitStack() as stack:
        made = stack.enter_context(world(tmp_path_factory.mktemp("world"), numbers, "http://127.0.0.1:9/"))
        config = made.site.config_path
        its_list = f'filter = "{LIST}"\n'
        text = config.read_text()
        assert text.count(its_list) == 1
        fields = 'fields = [{ name = "batch" }'
        assert text.count(fields) == 1
        text = text.replace(its_list, f'{its_list}customer_id_field = "customer_name"\n')
        group = f'name = "{LIST}@agents"\n'
        indent = " " * 12
        assert text.count(group) == 1
        text = text.replace(group, f"{group}{indent}min_rec_buff_size = 10\n{indent}opt_rec_buff_size = 12\n")
        patience = "call_wait_connected_timeout = 60"
        assert text.count(patience) == 1
        text = text.replace(patience, f"call_wait_connected_timeout = {RING_S}")
        config.write_text(text.replace(fields, 'fields = [{ name = "batch", send_attribute = "batch" }'))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ocsd-e2e-link-")))
        link = stack.enter_context(database_link(made.site, folder))
        made.execute("CREATE INDEX ON demo_list (customer_name)")
        made.site.start_daemon()
        yield made, link


def test_given_the_database_is_away_when_the_port_is_asked_then_113_and_nothing_is_changed_but_do_not_call(started):
    here, _ = started
    http = here.site.client
    here.add(LIST, *([number] for number in RINGING))
    with ExitStack() as stack:
        stack.enter_context(here.loaded(NEVER))
        here.log_in("agent1", ready=True)
        here.start(NEVER)
        for number in RINGING:
            handle(here, number)
        here.log_in("agent2", ready=True)  # for those who ring no agent is kept, and so there are lines for others
        http.stop(NEVER)
        here.add(LIST, [NEXT_CUSTOMER], customer_name="C-7")
        here.add(LIST, [NEXT_FORBIDDEN], [NEXT_FREE])
        here.until("they are in the buffer", lambda: here.row(NEXT_FREE)["record_status"] == S.RETRIEVED)
        before = rows_of(here, *RINGING, NEXT_FREE)

        stack.callback(here.site.postgres.start)  # also when this test fails
        assert here.site.postgres.stop()
        ordinary = [
            about(here, UPDATE, "UpdateCallCompletionStats", GSW_CALL_RESULT=int(R.WRONG_PARTY)),
            about(here, PROCESS, "RecordProcessed", GSW_CALL_RESULT=int(R.WRONG_PARTY)),
            about(here, REJECT, "RecordReject"),
            about(here, CANCEL, "RequestRecordCancel"),
            about(here, RESCHEDULE, "RecordReschedule", GSW_DATE_TIME=LATER),
            about(here, MOVE, "ScheduledRecordReschedule", GSW_DATE_TIME=LATER, GSW_CALLBACK_TYPE="Campaign"),
            everywhere("phones", NEXT_FREE, "RequestRecordCancel"),
            everywhere("customer_ids", "C-8", "RequestRecordCancel"),
        ]
        adds = [about(here, CHAINED, "AddRecord", **adding(AWAY_RECORD)[1]), adding(AWAY_RECORD)]
        prohibitions = [
            about(here, FORBID, "DoNotCall"),
            everywhere("phones", NEXT_FORBIDDEN, "DoNotCall"),
            everywhere("customer_ids", "C-7", "DoNotCall"),
        ]
        assert answers(here, adding(AWAY_RECORD)) == [(409, 113)], "also by the first request after the loss"
        assert answers(here, *ordinary, *adds) == [(500, 113)] * len(ordinary) + [(409, 113)] * len(adds)
        assert answers(here, *prohibitions) == [(500, 113)] * len(prohibitions)
        here.start(NEVER)
        here.site.postgres.start()

        here.until("the free one is called", lambda: here.ended(NEXT_FREE))
        for number in (FORBID, NEXT_FORBIDDEN, NEXT_CUSTOMER):
            here.await_state(number, *FORBIDDEN)
        http.stop(NEVER)
        assert forbidden(here) == {(FORBID, None), (NEXT_FORBIDDEN, None), (None, "C-7")}
        assert here.calls_to(NEXT_FORBIDDEN) == here.journal(NEXT_FORBIDDEN) == []
        assert here.calls_to(NEXT_CUSTOMER) == here.journal(NEXT_CUSTOMER) == []
        assert rows_of(here, AWAY_RECORD) == []
        asked = [number for number in RINGING if number != FORBID]
        untouched = [row for row in before if set(row) & set(asked)]
        assert rows_of(here, *asked) == untouched
        # Nor was anything half done in memory: each handle still takes its request.
        assert answers(here, *ordinary[:6], adds[0]) == [(200, None)] * 7
        assert len(rows_of(here, AWAY_RECORD)) == 1
        assert here.state(CANCEL)[1:] == (S.CANCELED, R.CANCEL_RECORD)
        assert answers(here, everywhere("phones", AWAY_RECORD, "RequestRecordCancel")) == [(200, None)]
        here.complete(NEVER)
    assert here.state(UPDATE)[1:] == (S.UPDATED, R.WRONG_PARTY)
    assert here.state(PROCESS)[1:] == (S.UPDATED, R.WRONG_PARTY)
    assert here.state(REJECT)[:2] == (T.GENERAL, S.READY)
    for number in (RESCHEDULE, MOVE):
        assert here.state(number)[:2] == (T.CAMPAIGN_CALLBACK, S.READY)
        assert here.row(number)["dial_sched_time"] == LATER_S
    assert all(len(here.calls_to(number)) == 1 for number in RINGING)
    _retire(here)


def _retire(here: World) -> None:
    """What is left Ready is not for the other tests."""
    here.execute("UPDATE demo_list SET record_status = 3 WHERE record_status = 1")


def test_given_commits_that_nobody_hears_of_when_records_are_added_then_each_is_there_once_or_not_at_all(started):
    here, link = started
    with here.loaded(NEVER):
        link.lose_commit(LOST_ANSWER, forward=True)
        assert answers(here, adding(LOST_ANSWER)) == [(200, None)]
        assert link.lost.is_set()
        assert len(rows_of(here, LOST_ANSWER)) == 1

        link.lose_commit(LOST_COMMIT, forward=False)
        assert answers(here, adding(LOST_COMMIT)) == [(409, 113)]
        assert link.lost.is_set()
        assert rows_of(here, LOST_COMMIT) == []
        here.complete(NEVER)


def test_given_clients_that_go_away_when_they_have_sent_half_or_all_then_nothing_is_half_done(started):
    here, _ = started
    with here.loaded(NEVER):
        half, whole = Ask(here.site.http_port, *adding(HALF_SENT)), Ask(here.site.http_port, *adding(NOT_AWAITED))
        with half.http:
            half.http.send(half.text[:-20])
        with whole.http:
            whole.send()
        here.until("what was sent is done", lambda: rows_of(here, NOT_AWAITED))
        assert answers(here, everywhere("phones", NOT_AWAITED, "RequestRecordCancel")) == [(200, None)]
        assert rows_of(here, HALF_SENT) == []
        assert here.state(NOT_AWAITED)[1:] == (S.CANCELED, R.CANCEL_RECORD)
        here.complete(NEVER)


def test_given_requests_answered_by_200_when_the_daemon_is_killed_right_after_then_each_is_on_disk(started):
    here, _ = started
    talking = dict(zip(("agent1", "agent2"), TALKS, strict=True))
    here.add(LIST, *([number] for number in (*TALKS, *RINGS)))
    with here.loaded(NEVER):
        desks = [here.log_in(agent_id, ready=True) for agent_id in talking]
        here.start(NEVER)
        processed, rescheduled = (desk.established()["GSW_PHONE"] for desk in desks)
        cancelled, forbidden_one, updated = RINGS
        asked = [
            about(here, processed, "RecordProcessed", GSW_CALL_RESULT=int(R.WRONG_PARTY), customer_name="done"),
            about(here, rescheduled, "RecordReschedule", GSW_DATE_TIME=LATER),
            about(here, cancelled, "RequestRecordCancel"),
            about(here, forbidden_one, "DoNotCall"),
            about(here, updated, "UpdateCallCompletionStats", customer_name="changed"),
            adding(ANSWERED, GSW_RECORD_TYPE=int(T.CAMPAIGN_CALLBACK), GSW_DATE_TIME=LATER),
        ]
        here.site.client.stop(NEVER)
        assert answers(here, *asked) == [(200, None)] * len(asked)

        here.site.kill_daemon()
        assert (forbidden_one, None) in forbidden(here)
        assert here.state(cancelled)[1:] == (S.CANCELED, R.CANCEL_RECORD)
        assert here.state(forbidden_one) == FORBIDDEN
        assert here.state(ANSWERED)[:2] == (T.CAMPAIGN_CALLBACK, S.READY)
        assert here.row(ANSWERED)["dial_sched_time"] == LATER_S

        for agent_id in talking:
            here.leave(agent_id)
        here.site.start_daemon()
        assert here.status(NEVER) == GroupCampStatus.ACTIVE
        again = [here.log_in_again(desk) for desk in desks]
        for desk in again:
            desk.established()
            desk.hang_up()
        assert answers(here, about(here, updated, "RequestRecordCancel")) == [(200, None)]
        # What was final before stays so: nobody says it again.
        here.await_state(processed, T.GENERAL, S.UPDATED, R.WRONG_PARTY)
        here.await_state(rescheduled, T.CAMPAIGN_CALLBACK, S.READY, R.ANSWER)
        assert here.row(rescheduled)["dial_sched_time"] == LATER_S
        assert here.site.query("SELECT customer_name FROM {list} WHERE contact_info = %s", processed) == [("done",)]
        here.complete(NEVER)
    assert here.site.query("SELECT customer_name FROM {list} WHERE contact_info = %s", updated) == [("changed",)]
    assert [len(here.calls_to(number)) for number in (*TALKS, *RINGS)] == [1] * 5
    assert here.calls_to(ANSWERED) == []


def test_given_a_postgresql_killed_under_the_requests_when_it_is_back_then_each_is_done_or_was_refused(started):
    """Nobody has noticed the loss yet: what was begun waits for the database and is done, else nothing is."""
    here, _ = started
    here.add(LIST, *([number] for number in SURPRISED))
    processed, rescheduled, cancelled, updated, rejected = SURPRISED
    with here.loaded(NEVER):
        here.log_in("agent1", ready=True)
        here.start(NEVER)
        asked = {
            processed: about(here, processed, "RecordProcessed", GSW_CALL_RESULT=int(R.WRONG_PARTY)),
            rescheduled: about(here, rescheduled, "RecordReschedule", GSW_DATE_TIME=LATER),
            cancelled: about(here, cancelled, "RequestRecordCancel"),
            updated: about(here, updated, "UpdateCallCompletionStats", customer_name="new"),
            rejected: about(here, rejected, "RecordReject"),
            SURPRISE_RECORD: adding(SURPRISE_RECORD, GSW_RECORD_TYPE=int(T.CAMPAIGN_CALLBACK), GSW_DATE_TIME=LATER),
        }
        here.site.client.stop(NEVER)
        requests = {number: Ask(here.site.http_port, *each) for number, each in asked.items()}
        os.kill(here.site.postgres.server_pid() or 0, signal.SIGKILL)
        for request in requests.values():
            request.send()
        here.until("it is gone", lambda: here.site.postgres.server_pid() is None)
        here.site.postgres.start()
        said = {number: request.reply().warning for number, request in requests.items()}
        print(said)
        assert set(said.values()) <= {None, 113}
        done = {number for number, warning in said.items() if warning is None}
        here.until("records are taken again", lambda: answers(here, adding(LAST_RECORD))[0][0] == 200)
        assert answers(here, everywhere("phones", LAST_RECORD, "RequestRecordCancel")) == [(200, None)]
        assert len(rows_of(here, LAST_RECORD)) == 1
        assert len(rows_of(here, SURPRISE_RECORD)) == (SURPRISE_RECORD in done)
        # The handles that were refused are as they were: each takes its request now.
        left = [number for number in SURPRISED if number not in done]
        assert answers(here, *(asked[number] for number in left)) == [(200, None)] * len(left)
        here.complete(NEVER)
    assert here.state(processed)[1:] == (S.UPDATED, R.WRONG_PARTY)
    assert here.state(rescheduled)[:2] == (T.CAMPAIGN_CALLBACK, S.READY)
    assert here.row(rescheduled)["dial_sched_time"] == LATER_S
    assert here.state(cancelled)[1:] == (S.CANCELED, R.CANCEL_RECORD)
    assert here.state(rejected)[:2] == (T.GENERAL, S.READY)
    assert here.site.query("SELECT customer_name FROM {list} WHERE contact_info = %s", updated) == [("new",)]
    assert [len(here.calls_to(number)) for number in SURPRISED] == [1] * len(SURPRISED)
    _retire(here)
