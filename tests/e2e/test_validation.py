"""Pre-dial validation of the whole daemon: a real web server says what may ring, and is slow, wrong, and away."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from ocsd.model.enums import CallResult, RecordStatus, RecordType
from tests.e2e.records_world import NAMES, NEVER, Numbers, World, world
from tests.e2e.site import PATIENCE_S, eventually
from tests.ports import free_port

pytestmark = pytest.mark.e2e

R, S, T = CallResult, RecordStatus, RecordType
LIST = NAMES[NEVER]
TIMEOUT_S = 1
"""http-response-timeout."""

numbers = Numbers()
FREE = [numbers.busy() for _ in range(3)]
BARE, WRONG_NUMBER, CORRECTED, GARBAGE = (numbers.busy() for _ in range(4))
SLOW = numbers.busy()
OUTAGE = [numbers.busy() for _ in range(8)]
BACK = [numbers.busy() for _ in range(2)]
HELD = [numbers.busy() for _ in range(3)]
MOVED = [numbers.busy() for _ in range(3)]


class Validator:
    """A web server with an answer of its own for each number; 200 for all others."""

    def __init__(self) -> None:
        self.port = free_port()
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.held: set[str] = set()
        """Numbers that get no answer until they are taken out of here, or the server ends."""
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self._ended = threading.Event()

    def url(self, path: str = "/validate") -> str:
        return f"http://127.0.0.1:{self.port}{path}?key=secret"

    def times_asked(self, number: str) -> int:
        return sum(record["GSW_PHONE"] == number for _, record in list(self.asked))

    @contextmanager
    def listening(self) -> Iterator[None]:
        this = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                record = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                number = record["GSW_PHONE"]
                this.asked.append((self.path.partition("?")[0], record))
                while number in this.held and not this._ended.wait(0.02):
                    pass
                status, body = this.answers.get(number, (200, b""))
                try:
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                except OSError:
                    self.close_connection = True  # whoever asked has gone

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            clients: list[socket.socket] = []  # noqa: RUF012  (one server, one class)

            def get_request(self) -> tuple[socket.socket, Any]:
                client, address = super().get_request()
                self.clients.append(client)
                return client, address

        self._ended.clear()
        with Server(("127.0.0.1", self.port), Handler) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                yield
            finally:
                self._ended.set()
                server.shutdown()
                thread.join()
                for client in server.clients:  # those who ask keep their connections
                    with suppress(OSError):
                        client.shutdown(socket.SHUT_RDWR)


validator, other = Validator(), Validator()


def options(url: str) -> str:
    return f'options = {{ pre-dial-validation = true, validation-uri = "{url}" }}\n'


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("world"), numbers, "http://127.0.0.1:9/") as made:
        text = made.site.config_path.read_text()
        its_list, everybody = f'filter = "{LIST}"\n', "options = { call_wait_connected_timeout = 60,"
        assert text.count(its_list) == text.count(everybody) == 1
        text = text.replace(its_list, its_list + options(validator.url()))
        text = text.replace(everybody, everybody.replace("{", f"{{ http-response-timeout = {TIMEOUT_S},"))
        made.site.config_path.write_text(text)
        made.site.start_daemon()
        yield made


def figures(here: World) -> dict[str, Any]:
    return dict(here.site.client.statistics(NEVER))


def evidence(here: World, number: str) -> list[tuple[Any, ...]]:
    return here.site.query(
        "SELECT call_result, evidence FROM ocsd.decision WHERE record_id = %s ORDER BY decided_at",
        here.row(number)["record_id"],
    )


def never_rang(here: World, *wanted: str) -> None:
    for number in wanted:
        assert here.calls_to(number) == here.journal(number) == [], number


def test_given_answers_of_all_kinds_when_the_group_dials_then_only_cleared_numbers_ring(here):
    wrong = {"GSW_CALL_RESULT": int(R.WRONG_NUMBER), "GSW_BLOCKING_RULE": "moved", "GSW_BLOCKING_RULE_TYPE": 3}
    validator.answers |= {
        BARE: (409, b""),
        WRONG_NUMBER: (409, json.dumps(wrong).encode()),
        CORRECTED: (409, json.dumps(wrong | {"GSW_CALL_RESULT": int(R.BUSY), "customer_name": "New Name"}).encode()),
        GARBAGE: (409, b"<html>no"),
    }
    validator.held.add(SLOW)
    refused = (BARE, WRONG_NUMBER, CORRECTED, GARBAGE)
    here.add(LIST, *([number] for number in (*FREE, *refused, SLOW)))
    with validator.listening(), here.loaded(NEVER):
        here.log_in("agent1", ready=True)
        here.start(NEVER)
        here.until("the free ones have been called", lambda: all(here.ended(number) for number in FREE))
        here.await_state(BARE, T.GENERAL, S.UPDATED, R.CANCEL_RECORD)
        here.await_state(WRONG_NUMBER, T.GENERAL, S.UPDATED, R.WRONG_NUMBER)
        here.await_state(CORRECTED, T.GENERAL, S.UPDATED, R.BUSY)
        here.await_state(GARBAGE, T.GENERAL, S.UPDATED, R.CANCEL_RECORD)
        here.await_state(SLOW, T.GENERAL, S.UPDATED, R.GENERAL_ERROR)
        counted = figures(here)
        here.complete(NEVER)
    never_rang(here, *refused, SLOW)
    assert all(len(here.calls_to(number)) == 1 for number in FREE)
    assert [here.row(number)["attempt"] for number in (*refused, SLOW)] == [0] * 5
    named = here.site.query("SELECT customer_name FROM {list} WHERE contact_info = %s", CORRECTED)
    assert named == [("New Name",)]
    ((result, kept),) = evidence(here, WRONG_NUMBER)
    assert (result, kept["GSW_BLOCKING_RULE"], kept["GSW_BLOCKING_RULE_TYPE"]) == (R.WRONG_NUMBER, "moved", 3)
    assert [counted[f"validation_{what}"] for what in ("cleared", "refused", "unanswered")] == [3, 4, 1]
    assert "secret" not in here.site.log_text() + str(kept)


def test_given_nobody_who_answers_when_the_group_dials_then_nothing_rings_until_somebody_does(here):
    here.add(LIST, *([number] for number in OUTAGE))
    with here.loaded(NEVER):
        here.log_in("agent1", ready=True)
        here.start(NEVER)
        here.until("it is said to be away", lambda: figures(here).get("validators_away") == 1)
        never_rang(here, *OUTAGE)
        waiting = [number for number in OUTAGE if here.row(number)["record_status"] != S.UPDATED]
        asked = next(number for number in waiting if here.row(number)["record_status"] == S.RETRIEVED)
        why = here.site.client.why(LIST, here.row(asked)["record_id"])
        assert "does not answer" in str(why), why
        with validator.listening():
            here.add(LIST, *([number] for number in BACK))
            here.until("the others have been called", lambda: all(here.ended(number) for number in (*waiting, *BACK)))
            assert figures(here)["validators_away"] == 0
            here.complete(NEVER)
    failed = [number for number in OUTAGE if number not in waiting]
    assert len(failed) <= 5, "an outage costs no more records their treatment"
    assert [here.state(number)[1:] for number in failed] == [(S.UPDATED, R.GENERAL_ERROR)] * len(failed)
    never_rang(here, *failed)
    for number in (*waiting, *BACK):
        assert len(here.calls_to(number)) == len(here.journal(number)) == 1


def test_given_questions_that_are_out_when_the_daemon_is_killed_then_nothing_is_lost_or_dialed_twice(here):
    here.add(LIST, *([number] for number in HELD))
    validator.held = set(HELD)
    with validator.listening(), here.loaded(NEVER):
        here.log_in("agent1", ready=True)
        here.start(NEVER)
        eventually("all are asked about", lambda: all(validator.times_asked(number) for number in HELD))
        here.site.kill_daemon()
        never_rang(here, *HELD)
        here.leave("agent1")
        validator.held = set()
        here.site.start_daemon()
        here.log_in("agent1", ready=True)
        here.until("they have been called", lambda: all(here.ended(number) for number in HELD), PATIENCE_S)
        here.complete(NEVER)
    assert [here.state(number)[1:] for number in HELD] == [(S.UPDATED, R.BUSY)] * len(HELD)
    for number in HELD:
        assert validator.times_asked(number) >= 2, "the new daemon has asked for itself"
        assert len(here.calls_to(number)) == len(here.journal(number)) == 1


def test_given_another_address_when_it_is_reloaded_then_that_one_decides_and_old_answers_count_no_more(here):
    first, refused, later = MOVED
    before = here.site.config_path.read_text()
    other.answers[refused] = (409, b'{"GSW_CALL_RESULT": 41}')
    with validator.listening(), other.listening(), here.loaded(NEVER):
        here.add(LIST, [first])
        here.log_in("agent1", ready=True)
        here.start(NEVER)
        here.until("the first is called", lambda: here.ended(first))
        here.site.config_path.write_text(before.replace(validator.url(), other.url("/elsewhere")))
        here.reload()
        here.add(LIST, [refused], [later])
        here.until("the later one is called", lambda: here.ended(later))
        here.await_state(refused, T.GENERAL, S.UPDATED, 41)
        here.complete(NEVER)
    here.site.config_path.write_text(before)
    here.reload()
    assert [validator.times_asked(number) for number in MOVED] == [1, 0, 0]
    assert {path for path, _ in other.asked} == {"/elsewhere"}
    never_rang(here, refused)
    assert len(here.calls_to(first)) == len(here.calls_to(later)) == 1
