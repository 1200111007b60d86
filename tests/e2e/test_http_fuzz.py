"""Twenty thousand requests, good and bad, while a campaign dials: nothing breaks, nothing is lost or doubled."""

import itertools
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ocsd.model.enums import RecordStatus
from telephony.simworld.numbers import number_for
from tests.e2e.campaign import Truth, campaign, json_lines
from tests.e2e.http_requests import FuzzRequest, requests
from tests.e2e.wire import Ended, RawHttp, Reply

pytestmark = pytest.mark.e2e

AT_ONCE = 50
EXAMPLES = 400
RECORDS = 400
FIRST_ADDED = 1000
"""Index of the first number that is not in the list."""
CONNECTIONS = 4
MIX = {"human": 0.7, "machine": 0.1, "busy_sip": 0.1, "no_answer": 0.1}


class Port:
    """A few persistent connections, asked at the same time."""

    def __init__(self, port: int, stack: ExitStack) -> None:
        self._port, self._stack = port, stack
        self._open = [self._connect() for _ in range(CONNECTIONS)]

    def _connect(self) -> RawHttp:
        return self._stack.enter_context(RawHttp(self._port))

    def ask(self, asked: list[FuzzRequest]) -> Iterator[tuple[FuzzRequest, Reply]]:
        for first in range(0, len(asked), CONNECTIONS):
            group = asked[first : first + CONNECTIONS]
            for connection, request in zip(self._open, group, strict=False):
                connection.send(request.wire)
            for place, request in enumerate(group):
                try:
                    reply = self._open[place].reply()
                except Ended:
                    raise AssertionError(f"no answer to {request.wire!r}") from None
                yield request, reply
                if dict(reply.headers).get("Connection") == "close":
                    self._open[place] = self._connect()


@dataclass
class Accepted:
    """What the daemon has promised by 200."""

    added: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    """Numbers that were to be added, and were not."""
    rejected: set[int] = field(default_factory=set)
    """Handles of records that go back to the list, to be dialed again."""
    withdrawn: list[tuple[FuzzRequest, float]] = field(default_factory=list)
    """Do-Not-Call for ever and cancelled records, and when (monotonic) it was acknowledged."""

    def note(self, request: FuzzRequest, reply: Reply) -> None:
        ok = reply.status == 200
        if request.adds:
            (self.added if ok else self.refused).append(request.adds)
        if ok and request.req == "RecordReject":
            self.rejected.add(int(request.identifier))
        if ok and request.req in ("DoNotCall", "RequestRecordCancel") and b"GSW_DURATION" not in request.wire:
            self.withdrawn.append((request, time.monotonic()))


def test_given_a_campaign_that_dials_when_twenty_thousand_requests_come_then_nothing_is_broken_lost_or_doubled():
    numbers = (number_for(index) for index in itertools.count(FIRST_ADDED))
    accepted, statuses = Accepted(), Counter[int]()
    with campaign(mix=MIX, talk_s=3.0, lines=2.0, records=RECORDS) as run, ExitStack() as stack:
        port = Port(run.site.http_port, stack)
        run.await_calls(5)
        before = run.attempts_begun()

        @settings(
            max_examples=EXAMPLES,
            phases=[Phase.generate],
            derandomize=True,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(st.lists(requests(lambda: next(numbers)), min_size=AT_ONCE, max_size=AT_ONCE))
        def bombard(asked: list[FuzzRequest]) -> None:
            for request, reply in port.ask(asked):
                statuses[reply.status] += 1
                accepted.note(request, reply)
                assert reply.status < 500, (request.wire, reply)

        bombard()
        assert run.is_running
        dialed_meanwhile = run.attempts_begun() - before
        run.await_calls(run.attempts_begun() + 3)
        outcome = run.finish()
        rows = run.site.query("SELECT contact_info, record_status FROM {list}")
        attempts = run.site.query("SELECT attempt_id, record_id, phone FROM ocsd.attempt ORDER BY attempt_id")
        truths = json_lines(run.folder / "carrier.jsonl")
        complaints = [
            line for line in run.site.log_text().splitlines() if '"level": "error"' in line or "Traceback" in line
        ]

    print(f"{sum(statuses.values())} requests, answered {dict(sorted(statuses.items()))};", end=" ")
    print(f"{dialed_meanwhile} attempts meanwhile; {len(accepted.added)} records added,", end=" ")
    print(f"{len(accepted.rejected)} rejected, {len(accepted.withdrawn)} withdrawn")
    assert sum(statuses.values()) >= 20_000
    assert dialed_meanwhile > 0
    assert min(len(accepted.added), len(accepted.rejected), len(accepted.withdrawn)) > 0, (
        "the fuzz reaches what it is for"
    )
    assert complaints == []
    assert all(attempt.finished for attempt in outcome.attempts)
    _assert_rows(rows, accepted)
    _assert_calls(attempts, truths, accepted)


def _assert_rows(rows: list[tuple[str, int]], accepted: Accepted) -> None:
    """Every record that was there or promised is there once, and none that was refused."""
    found = Counter(phone for phone, _ in rows)
    expected = Counter([number_for(index) for index in range(RECORDS)]) + Counter(accepted.added)
    assert found == expected
    assert RecordStatus.RETRIEVED not in {status for _, status in rows}


def _assert_calls(attempts: list[tuple[int, int, str]], truths: list[Truth], accepted: Accepted) -> None:
    """Calls and attempts are the same; none is a second one that nobody asked for; no withdrawn one rang."""
    calls = Counter(truth["number"].lstrip("+") for truth in truths)
    journal = Counter(phone.lstrip("+") for _, _, phone in attempts)
    assert calls <= journal, calls - journal
    again: dict[int, int] = {}
    for attempt_id, record_id, phone in attempts:
        last = again.get(record_id)
        assert last is None or last in accepted.rejected, f"{phone} was dialed again after attempt {last}"
        again[record_id] = attempt_id
    phone_of = {str(attempt_id): phone for attempt_id, _, phone in attempts}
    until = {}
    for request, at_s in accepted.withdrawn:
        number = phone_of.get(request.identifier) if request.resource == "records" else request.identifier
        if number is not None:
            until.setdefault(number.lstrip("+"), at_s)
    late = [truth["number"] for truth in truths if truth["invited_at_s"] > until.get(truth["number"].lstrip("+"), 1e18)]
    assert late == [], "withdrawn numbers rang"
