"""One record from two sides: its agent's desktop and the HTTP port ask at the same time, and exactly one is obeyed."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from ocsd.model.enums import CallResult, RecordStatus, RecordType
from tests.e2e.records_world import NAMES, NEVER, ZONE, Desk, Numbers, World, world
from tests.e2e.wire import RawHttp, Reply

pytestmark = pytest.mark.e2e

R, S, T = CallResult, RecordStatus, RecordType
LIST = NAMES[NEVER]
NO_SUCH_CALL = 112
BY_DESK, BY_HTTP = R.WRONG_PARTY, R.WRONG_NUMBER
LATER = "12/01/2035 13:00"
LATER_S = int(datetime(2035, 12, 1, 13, 0, tzinfo=ZoneInfo(ZONE)).timestamp())

numbers = Numbers()
TALKS_ON_S = 120.0
BOTH = [numbers.person(TALKS_ON_S) for _ in range(4)]
AGAINST_CANCEL = [numbers.person(TALKS_ON_S) for _ in range(4)]
HUNG_UP = [numbers.person(TALKS_ON_S) for _ in range(2)]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("world"), numbers, "http://127.0.0.1:9/") as made:
        made.site.start_daemon()
        yield made


def post(req: str, handle: int, **record: Any) -> str:
    body = json.dumps(record)
    return (
        f"POST /records/{handle}?req={req} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-type: application/json\r\n"
        f"Content-length: {len(body)}\r\n\r\n{body}"
    )


def of_desk(desk: Desk, request: str, reference: int, **pairs: Any) -> dict[str, Any]:
    named = ("GSW_APPLICATION_ID", "GSW_CAMPAIGN_NAME", "GSW_CALLING_LIST", "GSW_RECORD_HANDLE")
    return {"GSW_AGENT_REQ_TYPE": request, "GSW_REFERENCE_ID": reference} | {k: desk.data[k] for k in named} | pairs


def said(here: World, desk: Desk, reference: int) -> str:
    """What the desktop is answered: the event's name."""

    def found() -> str | None:
        for place, message in enumerate(desk.unread):
            if message.get("GSW_REFERENCE_ID") == reference:
                answer = desk.unread.pop(place)
                if answer["GSW_USER_EVENT"] == "Error":
                    assert answer["GSW_ERROR_NUMBER"] == NO_SUCH_CALL, answer
                return str(answer["GSW_USER_EVENT"])
        return None

    return str(here.until(f"an answer to {reference}", found))


def at_once(
    here: World, http: RawHttp, desk: Desk, message: dict[str, Any], wire: str, *, http_first: bool
) -> tuple[str, Reply]:
    """Both requests before either answer is read."""
    if http_first:
        http.send(wire)
        desk.socket.send(message)
    else:
        desk.socket.send(message)
        http.send(wire)
    return said(here, desk, message["GSW_REFERENCE_ID"]), http.reply()


def talking(here: World, batch: list[str]) -> list[tuple[str, Desk]]:
    """Two conversations; which agent has which number is the daemon's choice."""
    here.add(LIST, *([number] for number in batch))
    for desk in here.desks.values():
        desk.ready()
    here.start(NEVER)
    found = [(str(desk.established()["GSW_PHONE"]), desk) for desk in here.desks.values()]
    here.site.client.stop(NEVER)
    assert sorted(number for number, _ in found) == sorted(batch)
    return found


def leave(desk: Desk) -> None:
    desk.not_ready()
    desk.hang_up()


def assert_called_once(here: World, *wanted: str) -> None:
    for number in wanted:
        assert len(here.calls_to(number)) == len(here.journal(number)) == 1
        assert here.row(number)["attempt"] == 1


def test_given_a_record_when_both_sides_say_processed_then_one_is_obeyed_and_the_other_hears_112(here):
    obeyed: dict[str, CallResult] = {}
    with here.loaded(NEVER), RawHttp(here.site.http_port) as http:
        for agent_id in ("agent1", "agent2"):
            here.log_in(agent_id)
        for place in range(0, len(BOTH), 2):
            for turn, (number, desk) in enumerate(talking(here, BOTH[place : place + 2])):
                in_wrap_up = place > 0
                if in_wrap_up:
                    leave(desk)
                handle = desk.data["GSW_RECORD_HANDLE"]
                event, reply = at_once(
                    here,
                    http,
                    desk,
                    of_desk(desk, "RecordProcessed", 900 + place + turn, GSW_CALL_RESULT=int(BY_DESK)),
                    post("RecordProcessed", handle, GSW_CALL_RESULT=int(BY_HTTP)),
                    http_first=turn == 0,
                )
                print(number, event, reply.status)
                by_desk = event == "RecordProcessedAcknowledge"
                assert (reply.status, reply.warning) == ((410, NO_SUCH_CALL) if by_desk else (200, None))
                assert by_desk or event == "Error"
                obeyed[number] = BY_DESK if by_desk else BY_HTTP
                if not in_wrap_up:
                    leave(desk)
        here.complete(NEVER)
    assert {number: here.state(number) for number in BOTH} == {
        number: (T.GENERAL, S.UPDATED, result) for number, result in obeyed.items()
    }
    assert_called_once(here, *BOTH)


def test_given_a_record_when_one_side_cancels_what_the_other_finishes_then_the_row_is_as_the_obeyed_one_says(here):
    expected: dict[str, tuple[int, int, int]] = {}
    with here.loaded(NEVER), RawHttp(here.site.http_port) as http:
        for agent_id in ("agent1", "agent2"):
            here.log_in(agent_id)
        for place in range(0, len(AGAINST_CANCEL), 2):
            desk_cancels = place > 0
            for turn, (number, desk) in enumerate(talking(here, AGAINST_CANCEL[place : place + 2])):
                handle, reference = desk.data["GSW_RECORD_HANDLE"], 950 + place + turn
                ask, wire = "RecordProcessed", post("RequestRecordCancel", handle)
                if desk_cancels:
                    ask = "RequestRecordCancel"
                    wire = post("RecordProcessed", handle, GSW_CALL_RESULT=int(BY_HTTP))
                pairs = {} if desk_cancels else {"GSW_CALL_RESULT": int(BY_DESK)}
                message = of_desk(desk, ask, reference, **pairs)
                event, reply = at_once(here, http, desk, message, wire, http_first=turn == 0)
                print(number, event, reply.status)
                by_desk = event != "Error"
                assert (reply.status, reply.warning) == ((410, NO_SUCH_CALL) if by_desk else (200, None))
                if by_desk is desk_cancels:
                    expected[number] = (T.GENERAL, S.CANCELED, R.CANCEL_RECORD)
                else:
                    expected[number] = (T.GENERAL, S.UPDATED, BY_DESK if by_desk else BY_HTTP)
                leave(desk)
        here.complete(NEVER)
    assert {number: here.state(number) for number in AGAINST_CANCEL} == expected
    assert_called_once(here, *AGAINST_CANCEL)


def test_given_a_conversation_when_it_is_hung_up_while_http_reschedules_then_the_callback_stands(here):
    with here.loaded(NEVER), RawHttp(here.site.http_port) as http:
        for agent_id in ("agent1", "agent2"):
            here.log_in(agent_id)
        for turn, (_, desk) in enumerate(talking(here, HUNG_UP)):
            desk.not_ready()
            wire = post("RecordReschedule", desk.data["GSW_RECORD_HANDLE"], GSW_DATE_TIME=LATER)
            release = {"Request": "RequestReleaseCall", "ConnID": desk.conn_id}
            if turn == 0:
                http.send(wire)
                desk.socket.send(release)
            else:
                desk.socket.send(release)
                http.send(wire)
            assert http.reply().status == 200
            desk.expect(Event="EventReleased", ConnID=desk.conn_id)
            desk.socket.send(of_desk(desk, "RecordProcessed", 990 + turn, GSW_CALL_RESULT=int(BY_DESK)))
            assert said(here, desk, 990 + turn) == "Error", "rescheduling over HTTP was final"
        here.complete(NEVER)
    for number in HUNG_UP:
        assert here.state(number) == (T.CAMPAIGN_CALLBACK, S.READY, R.ANSWER)
        assert here.row(number)["dial_sched_time"] == LATER_S
    assert_called_once(here, *HUNG_UP)
