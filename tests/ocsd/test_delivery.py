"""Delivery of treatments' HTTP requests: what follows from which answer, and against a server with real sockets."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from uuid import UUID

import h11
import psycopg
import pytest
import structlog
import trio
from hypothesis import given
from hypothesis import strategies as st

from ocsd.config.addresses import origin_of
from ocsd.delivery import (
    MAX_BODY_BYTES,
    MAX_RETRY_AFTER_S,
    Answer,
    Delivered,
    GivenUp,
    Pace,
    Receivers,
    TryAgain,
    deliver,
    judge,
    pause_s,
)
from ocsd.lists.outbox import Outbox, OutboxItem, Posted, insert
from ocsd.lists.pool import open_database
from ocsd.model.errors import StoreUnavailable
from ocsd.model.records import HttpRequest

HANG_LIMIT_S = 30.0
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
KEYS = st.uuids()
ITEM = OutboxItem(
    item_id=7, key=UUID(int=5), treatment_dbid=3, url="https://crm.example.net/outcomes", body={"a": 1}, created_at=NOW,
    tries=1,
)  # fmt: skip


# --- the decision -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_given_2xx_when_judged_then_it_is_delivered(status):
    assert judge(Answer(status), ITEM, NOW, Pace()) == Delivered()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 422, 451, 499])
def test_given_a_refusal_when_judged_then_it_is_given_up_at_once(status):
    assert judge(Answer(status), ITEM, NOW, Pace()) == GivenUp(f"answered {status}")


@pytest.mark.parametrize("status", [301, 302, 304, 408, 425, 429, 500, 502, 503, 504, 599])
def test_given_an_answer_that_may_change_when_judged_then_it_is_tried_again(status):
    found = judge(Answer(status), ITEM, NOW, Pace())

    assert isinstance(found, TryAgain)
    assert found.error == f"answered {status}"
    assert NOW + timedelta(seconds=1) <= found.at <= NOW + timedelta(seconds=2)


def test_given_no_answer_when_judged_then_it_is_tried_again_and_says_why():
    found = judge(Answer(error="no answer: ConnectError"), ITEM, NOW, Pace())

    assert isinstance(found, TryAgain)
    assert found.error == "no answer: ConnectError"


def test_given_a_request_that_cannot_be_made_when_judged_then_it_is_given_up():
    assert judge(Answer(error="x", hopeless=True), ITEM, NOW, Pace()) == GivenUp("x")


@pytest.mark.parametrize(("asked_s", "waits_s"), [(90, 90), (999_999, MAX_RETRY_AFTER_S)])
def test_given_retry_after_when_judged_then_the_longer_pause_holds_within_bounds(asked_s, waits_s):
    found = judge(Answer(503, retry_after_s=asked_s), ITEM, NOW, Pace())

    assert isinstance(found, TryAgain)
    assert found.at == NOW + timedelta(seconds=waits_s)


def test_given_retry_after_shorter_than_ours_when_judged_then_ours_holds():
    late = replace(ITEM, tries=20)

    assert judge(Answer(503, retry_after_s=0), late, NOW, Pace()) == judge(Answer(503), late, NOW, Pace())


@given(key=KEYS, tries=st.integers(1, 10_000))
def test_given_any_request_when_paused_then_it_is_within_half_and_all_of_the_doubled_pause(key, tries):
    longest_s = min(600.0, 2.0 * 2.0 ** min(tries - 1, 60))

    found_s = pause_s(key, tries, Pace())

    assert longest_s / 2 < found_s <= longest_s
    assert found_s == pause_s(key, tries, Pace())


def test_given_many_requests_that_failed_together_when_paused_then_they_spread():
    pauses = sorted(pause_s(UUID(int=n), 8, Pace()) for n in range(200))

    assert pauses[0] < 1.1 * min(600.0, 256.0) / 2
    assert pauses[-1] > 0.95 * 256.0
    assert max(b - a for a, b in pairwise(pauses)) < 10.0


@given(key=KEYS, step_s=st.floats(0.0, 60.0))
def test_given_a_receiver_that_never_answers_when_tried_on_and_on_then_it_ends_within_a_day(key, step_s):
    now, item = NOW, replace(ITEM, key=key)
    tries_at = []
    while isinstance(found := judge(Answer(500), item, now, Pace()), TryAgain):
        assert found.at > now
        now = found.at + timedelta(seconds=step_s)
        item = replace(item, tries=item.tries + 1)
        tries_at.append(found.at)

    assert found == GivenUp(f"answered 500, after {item.tries} tries")
    assert NOW + timedelta(hours=23) < tries_at[-1] <= NOW + timedelta(hours=24)
    assert 100 < item.tries < 400


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://u:secret@crm.example.net/hooks/secret?token=secret#secret", "https://crm.example.net"),
        ("http://127.0.0.1:8080/secret", "http://127.0.0.1:8080"),
        ("http://secret@[::1]:8080/", "http://[::1]:8080"),
        ("http://[::1/secret", "?"),
    ],
)
def test_given_an_address_when_shown_then_nothing_secret_is_left(url, shown):
    assert origin_of(url) == shown


def test_given_a_silent_receiver_when_asked_then_one_probe_at_a_time_goes_there_and_others_are_free():
    receivers = Receivers(silent=2)
    for _ in range(2):
        assert receivers.admit("a")
        receivers.unanswered("a")

    assert [receivers.admit("a"), receivers.admit("a"), receivers.admit("b")] == [True, False, True]
    receivers.unanswered("a")
    assert [receivers.admit("a"), receivers.admit("a")] == [True, False]
    receivers.answered("a")
    assert [receivers.admit("a"), receivers.admit("a")] == [True, True]


# --- with a server ----------------------------------------------------------------------------------------------


@dataclass
class Queue:
    """An outbox in memory; a request that is to be tried again is due at once, so that no test waits."""

    waiting: list[OutboxItem]
    outcomes: list[tuple[int, str, bool]] = field(default_factory=list)
    """(item, error or "delivered", whether it is tried again)."""
    away: int = 0
    """How many calls still fail as if the database were away."""
    changed: trio.Event = field(default_factory=trio.Event)
    taken: dict[int, OutboxItem] = field(default_factory=dict)
    retries: int = 10**9

    async def take(self, limit: int) -> list[OutboxItem]:
        await self._reach()
        items, self.waiting = self.waiting[:limit], self.waiting[limit:]
        self.taken |= {item.item_id: item for item in items}
        return items

    async def delivered(self, item_id: int) -> None:
        await self._reach()
        self._note(item_id, "delivered", again=False)

    async def failed(self, item_id: int, error: str, retry_at: datetime | None) -> None:
        await self._reach()
        self._note(item_id, error, again=retry_at is not None)
        if retry_at is not None and self.retries > 0:
            self.retries -= 1
            item = self.taken[item_id]
            self.waiting.append(replace(item, tries=item.tries + 1))

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.changed = trio.Event()
            await self.changed.wait()

    def outcomes_of(self, item_id: int) -> list[str]:
        return [error for known, error, _ in self.outcomes if known == item_id]

    def _note(self, item_id: int, error: str, *, again: bool) -> None:
        self.outcomes.append((item_id, error, again))
        self.changed.set()

    async def _reach(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.away > 0:
            self.away -= 1
            self.changed.set()
            raise StoreUnavailable("away")


@dataclass
class World:
    """A receiver that does as the path says. ``requests``: (path, headers, body); ``connections``: how many came."""

    port: int = 0
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    connections: int = 0
    under_way: int = 0
    most_under_way: int = 0
    hold: trio.Event = field(default_factory=trio.Event)
    came: trio.Event = field(default_factory=trio.Event)
    failing: int = 0

    def item(self, item_id: int, path: str) -> OutboxItem:
        url = f"http://user:secret@127.0.0.1:{self.port}{path}?token=secret"
        return OutboxItem(item_id, UUID(int=item_id), 3, url, {"n": item_id, "ü": None}, datetime.now(UTC), 1)

    async def serve(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        conn = h11.Connection(h11.SERVER)
        while True:
            request, body = None, b""
            while True:
                event = conn.next_event()
                if event is h11.NEED_DATA:
                    conn.receive_data(await stream.receive_some())
                elif isinstance(event, h11.Request):
                    request = event
                elif isinstance(event, h11.Data):
                    body += bytes(event.data)
                elif isinstance(event, h11.EndOfMessage):
                    break
                else:
                    return
            path = request.target.decode().split("?")[0]
            headers = {name.decode(): value.decode() for name, value in request.headers}
            self.requests.append((path, headers, body))
            self.came.set()
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
            try:
                if not await self._answer(path, conn, stream):
                    return
            finally:
                self.under_way -= 1
            conn.start_next_cycle()

    async def _answer(self, path: str, conn: h11.Connection, stream: trio.SocketStream) -> bool:
        """False: the connection ends."""
        if path == "/garbage":
            await stream.send_all(b"\x00\xffsecret is no answer\r\n\r\n")
            return False
        if path == "/hang-up":
            return False
        if path == "/never":
            await trio.sleep_forever()
        if path == "/slow":
            await self.hold.wait()
        status = int(path[1:]) if path[1:].isdigit() else 200
        if path == "/busy" and self.failing > 0:
            self.failing -= 1
            status = 503
        unfinished = {"/endless": 2 * MAX_BODY_BYTES, "/stuck": 1}.get(path, 0)
        head = h11.Response(status_code=status, headers=[("Content-Length", "1000000000" if unfinished else "2")])
        await stream.send_all(conn.send(head))
        if unfinished:
            await stream.send_all(b"x" * unfinished)
            await trio.sleep_forever()
        await stream.send_all(conn.send(h11.Data(b"ok")) + conn.send(h11.EndOfMessage()))
        return True


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    here = World()

    async def handle(stream: trio.SocketStream) -> None:
        try:
            async with stream:
                await here.serve(stream)
        except (trio.BrokenResourceError, h11.RemoteProtocolError):
            pass  # the client has gone

    with trio.fail_after(HANG_LIMIT_S):
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(partial(trio.serve_tcp, handle, 0, host="127.0.0.1"))
            here.port = listeners[0].socket.getsockname()[1]
            yield here
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def delivering(queue: Queue, pace: Pace) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(deliver, queue, pace)
        yield
        nursery.cancel_scope.cancel()


FAST_ONCE = Pace(poll_s=0.01)
"""The second try comes later than the test looks."""
FAST = Pace(limit_s=20.0, poll_s=0.001, first_s=0.001, last_s=0.001)


async def test_given_requests_when_delivered_then_each_arrives_once_as_json_with_its_key_and_connections_are_kept():
    async with world() as here:
        queue = Queue([here.item(n, "/hook") for n in range(50)])
        async with delivering(queue, replace(FAST, parallel=4)):
            await queue.until(lambda: len(queue.outcomes) == 50)

        assert {error for _, error, _ in queue.outcomes} == {"delivered"}
        assert sorted(json.loads(body)["n"] for _, _, body in here.requests) == list(range(50))
        for path, headers, body in here.requests:
            assert path == "/hook"
            assert headers["content-type"] == "application/json"
            assert headers["idempotency-key"] == str(UUID(int=json.loads(body)["n"]))
            assert headers["user-agent"].startswith("ocsd/")
        assert here.connections <= 4
        assert here.most_under_way <= 4


async def test_given_a_receiver_that_recovers_when_delivered_then_it_is_tried_until_then_with_one_key():
    async with world() as here:
        here.failing = 3
        queue = Queue([here.item(1, "/busy")])
        async with delivering(queue, FAST):
            await queue.until(lambda: queue.outcomes_of(1)[-1:] == ["delivered"])

        assert queue.outcomes_of(1) == ["answered 503"] * 3 + ["delivered"]
        assert {headers["idempotency-key"] for _, headers, _ in here.requests} == {str(UUID(int=1))}


@pytest.mark.parametrize("status", [400, 404, 410])
async def test_given_a_refusal_when_delivered_then_it_is_sent_once_and_the_log_names_no_secret(status):
    async with world() as here:
        queue = Queue([here.item(1, f"/{status}")])
        with structlog.testing.capture_logs() as logs:
            async with delivering(queue, FAST):
                await queue.until(lambda: bool(queue.outcomes))

        assert queue.outcomes == [(1, f"answered {status}", False)]
        (line,) = [line for line in logs if line["event"] == "delivery.given_up"]
        assert line["log_level"] == "error"
        assert (line["to"], line["treatment_dbid"]) == (f"http://127.0.0.1:{here.port}", 3)
        assert "secret" not in repr(logs)
        assert len(here.requests) == 1


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/garbage", "no answer: RemoteProtocolError"),
        ("/hang-up", "no answer: RemoteProtocolError"),
        ("/500", "answered 500"),
        ("/301", "answered 301"),
    ],
)
async def test_given_a_bad_answer_when_delivered_then_it_is_put_off_without_secrets_in_error_and_log(path, error):
    async with world() as here:
        queue = Queue([here.item(1, path)], retries=1)
        with structlog.testing.capture_logs() as logs:
            async with delivering(queue, FAST):
                await queue.until(lambda: len(queue.outcomes) == 2)

        assert queue.outcomes == [(1, error, True)] * 2
        assert [line["tries"] for line in logs if line["event"] == "delivery.put_off"] == [1, 2]
        assert "secret" not in repr(logs)


async def test_given_nobody_at_the_address_when_delivered_then_it_is_put_off():
    async with world() as here:
        gone = here.item(1, "/hook")
    queue = Queue([gone], retries=0)

    with trio.fail_after(HANG_LIMIT_S):
        async with delivering(queue, FAST):
            await queue.until(lambda: bool(queue.outcomes))

    assert queue.outcomes == [(1, "no answer: ConnectError", True)]


async def test_given_a_receiver_that_never_answers_when_delivered_then_the_try_ends_and_others_are_served():
    async with world() as here:
        queue = Queue([here.item(1, "/never"), *(here.item(n, "/hook") for n in range(2, 20))], retries=0)
        async with delivering(queue, replace(FAST, parallel=2, limit_s=0.5)):
            await queue.until(lambda: len(queue.outcomes) == 19)

        assert queue.outcomes_of(1) == ["no answer within 0.5 s"]
        assert all(queue.outcomes_of(n) == ["delivered"] for n in range(2, 20))


@pytest.mark.parametrize(("path", "drain_limit_s"), [("/endless", 1e6), ("/stuck", 0.05)])
async def test_given_a_body_without_end_when_delivered_then_the_status_counts_and_the_slot_is_freed(
    path, drain_limit_s, monkeypatch
):
    monkeypatch.setattr("ocsd.delivery.DRAIN_LIMIT_S", drain_limit_s)
    async with world() as here:
        queue = Queue([here.item(n, path) for n in range(4)])
        async with delivering(queue, replace(FAST, parallel=1, limit_s=1e6)):
            await queue.until(lambda: len(queue.outcomes) == 4)

        assert {error for _, error, _ in queue.outcomes} == {"delivered"}


async def test_given_a_slow_answer_when_the_daemon_stops_then_the_request_is_not_marked():
    async with world() as here:
        queue = Queue([here.item(1, "/slow")])
        async with delivering(queue, FAST):
            await here.came.wait()
        assert queue.outcomes == []

        here.hold.set()
        queue.waiting = [replace(queue.taken[1], tries=2)]  # its lease has run out
        async with delivering(queue, FAST):
            await queue.until(lambda: bool(queue.outcomes))

        assert queue.outcomes == [(1, "delivered", False)]
        assert [headers["idempotency-key"] for _, headers, _ in here.requests] == [str(UUID(int=1))] * 2


async def test_given_silent_receivers_when_many_requests_are_due_then_they_do_not_hold_up_the_others():
    async with world() as here, world() as dead:
        items = [dead.item(n, "/never") for n in range(40)] + [here.item(n, "/hook") for n in range(40, 60)]
        queue = Queue(items, retries=0)
        async with delivering(queue, replace(FAST, parallel=4, limit_s=0.3, silent=2)):
            await queue.until(lambda: len(queue.outcomes) == 60)

        assert all(queue.outcomes_of(n) == ["delivered"] for n in range(40, 60))
        # Four at first, then one at a time: the rest was put off without a request.
        assert len(dead.requests) < 12
        assert sum("not tried this time" in error for _, error, _ in queue.outcomes) > 28


async def test_given_a_database_that_is_away_when_delivered_then_the_outcome_is_written_when_it_is_back(monkeypatch):
    monkeypatch.setattr("ocsd.delivery.STORE_PAUSES_S", (0.001, 0.001, 0.001))
    async with world() as here:
        queue = Queue([here.item(1, "/hook")], away=2)
        async with delivering(queue, FAST):
            await here.came.wait()
            queue.away = 2
            await queue.until(lambda: bool(queue.outcomes))

        assert queue.outcomes == [(1, "delivered", False)]
        assert len(here.requests) == 1


async def test_given_a_database_that_stays_away_when_delivered_then_the_request_is_left_to_its_lease(monkeypatch):
    monkeypatch.setattr("ocsd.delivery.STORE_PAUSES_S", (0.001,))
    async with world() as here:
        queue = Queue([here.item(1, "/slow")])
        with structlog.testing.capture_logs() as logs:
            async with delivering(queue, FAST):
                await here.came.wait()
                queue.away = 10**9
                here.hold.set()
                await queue.until(lambda: any(line["event"] == "delivery.outcome_unsaved" for line in logs))

        assert queue.outcomes == []


@pytest.mark.parametrize("change", [{"url": "http://[::1"}, {"body": {"a": float("nan")}}, {"body": {"a": {1}}}])
async def test_given_a_request_that_cannot_be_made_when_delivered_then_it_is_given_up(change):
    queue = Queue([replace(ITEM, **change)])

    with trio.fail_after(HANG_LIMIT_S):
        async with delivering(queue, FAST):
            await queue.until(lambda: bool(queue.outcomes))

    ((_, error, again),) = queue.outcomes
    assert error.startswith("the request cannot be made: ")
    assert not again


async def test_given_an_outbox_in_the_database_when_delivered_then_done_put_off_and_given_up_stand_there(database):
    async with world() as here, open_database(lambda: database, size=2, statement_timeout_s=10.0) as opened:
        paths = ("/hook", "/500", "/404")

        def insert_all(conn: psycopg.Connection) -> None:
            items = [here.item(n, path) for n, path in enumerate(paths, start=1)]
            requests = [HttpRequest(item.treatment_dbid, item.url, item.body) for item in items]
            insert(conn, [Posted(request, attempt_id=1) for request in requests])

        await opened.transaction(insert_all)
        outcomes = "SELECT body ->> 'n', tries, last_error, done_at IS NOT NULL, given_up_at IS NOT NULL, key::text"
        outcomes += " FROM ocsd.outbox WHERE done_at IS NOT NULL OR last_error IS NOT NULL ORDER BY item_id"
        found: list[tuple[object, ...]] = []
        async with delivering(Outbox(opened), FAST_ONCE):
            while len(found) < len(paths):
                await trio.sleep(0.01)
                found = await opened.transaction(lambda conn: conn.execute(outcomes).fetchall())

        assert [row[:5] for row in found] == [
            ("1", 1, None, True, False),
            ("2", 1, "answered 500", False, False),
            ("3", 1, "answered 404", False, True),
        ]
        keys = {path: headers["idempotency-key"] for path, headers, _ in here.requests}
        assert [keys[path] for path in paths] == [row[5] for row in found]
