"""Two carriers over real SIP, one of which fails in mid-campaign: it refuses, falls silent, and comes back."""

import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ocsd.model.enums import CallResult, DialMode, RecordStatus
from telephony.simworld.numbers import number_for
from tests.e2e.site import GROUP, eventually, site

pytestmark = pytest.mark.e2e

RECORDS = 400
MOVED_WITHIN_S = 2.0
"""From the first failure that is seen until every further call goes elsewhere."""


class Carrier:
    """A SIP far end on one UDP port. ``mode``: busy (486 to every call), refuse (503), or gone (it says nothing)."""

    def __init__(self) -> None:
        self.mode = "busy"
        self.invites: list[tuple[float, str, str]] = []
        """Time, Call-ID and caller of each call, retransmissions not counted."""
        self.refused_at_s: list[float] = []
        self.options = 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port: int = self.socket.getsockname()[1]
        self.stopping = False
        self._known: set[str] = set()

    def run(self) -> None:
        while not self.stopping:
            data, source = self.socket.recvfrom(65_536)
            if b"SIP/2.0" in data:
                self._receive(data.decode(errors="replace"), source)

    def _receive(self, text: str, source: tuple[str, int]) -> None:
        method = text.partition(" ")[0]
        call_id = re.search(r"(?im)^(?:call-id|i):\s*(\S+)", text)
        assert call_id is not None
        if method == "INVITE" and call_id[1] not in self._known:
            self._known.add(call_id[1])
            caller = re.search(r"(?im)^P-Asserted-Identity: <sip:([^@]*)@", text)
            self.invites.append((time.monotonic(), call_id[1], caller[1] if caller else ""))
        if self.mode == "gone" or method not in ("INVITE", "OPTIONS"):
            return
        if method == "OPTIONS":
            self.options += 1
            self._answer(text, source, "200 OK")
        elif self.mode == "refuse":
            self.refused_at_s.append(time.monotonic())
            self._answer(text, source, "503 Service Unavailable")
        else:
            self._answer(text, source, "486 Busy Here")

    def _answer(self, text: str, source: tuple[str, int], status: str) -> None:
        kept = re.findall(r"(?im)^((?:via|v|from|f|call-id|i|cseq):[^\r\n]*)", text)
        to = re.search(r"(?im)^((?:to|t):[^\r\n]*)", text)
        assert to is not None
        lines = [f"SIP/2.0 {status}", *kept, f"{to[1]};tag=carrier", "Content-Length: 0"]
        self.socket.sendto(("\r\n".join(lines) + "\r\n\r\n").encode(), source)


@contextmanager
def carriers(count: int) -> Iterator[list[Carrier]]:
    found = [Carrier() for _ in range(count)]
    threads = [threading.Thread(target=one.run) for one in found]
    for thread in threads:
        thread.start()
    try:
        yield found
    finally:
        for one, thread in zip(found, threads, strict=True):
            one.stopping = True
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
                waker.sendto(b"stop", ("127.0.0.1", one.port))
            thread.join(5.0)
            one.socket.close()


def two_trunks(port: int):
    def edit(text: str) -> str:
        text = text.replace(
            'caller_id = "+12025550100"',
            'caller_id = "+12025550100"\nprobe_interval_s = 1.0\nheaders = { X-Campaign = "{campaign}/{guid}" }',
        )
        text = text.replace('trunks = ["Simulated Carrier"]', 'trunks = ["Simulated Carrier", "Second Carrier"]')
        second = f"""
            [[trunks]]
            dbid = 205
            name = "Second Carrier"
            tenant = "Environment"
            host = "127.0.0.1"
            port = {port}
            caller_id = "+13105550100"
            priority = 2

            [[time_zones]]"""
        return text.replace("\n[[time_zones]]", second, 1)

    return edit


def state(here, name: str) -> dict:
    return next(one for one in here.client.trunks() if one["name"] == name)


@pytest.mark.parametrize("failure", ["refuse", "gone"])
def test_given_a_carrier_that_fails_in_mid_campaign_when_dialed_then_traffic_moves_and_comes_back(failure):
    with carriers(2) as (first, second), site(first.port, agents=4, edit=two_trunks(second.port)) as here:
        here.add_records([(number_for(index), "x") for index in range(RECORDS)])
        here.start_daemon()
        here.start_agents(4)
        here.client.load(GROUP)
        eventually("agents", lambda: here.client.statistics(GROUP)["agents_ready"] == 4)
        eventually("probes", lambda: first.options)
        here.client.start(GROUP, DialMode.PROGRESSIVE)
        eventually("calls", lambda: len(first.invites) >= 20)
        assert second.invites == []

        first.mode = failure
        eventually("the circuit open", lambda: state(here, "Simulated Carrier")["circuit"] == "open")
        opened_at_s = time.monotonic()
        eventually("calls over the other trunk", lambda: len(second.invites) >= 20)
        shown = state(here, "Simulated Carrier")
        assert shown["failed"] >= 1
        assert shown["moved"] >= 1
        if failure == "refuse":
            # Refused by the first carrier, the very call is on the second one; both within moments of the first 503.
            assert second.invites[0][0] - first.refused_at_s[0] <= MOVED_WITHIN_S
        later = [at_s for at_s, _, _ in first.invites if at_s > opened_at_s + MOVED_WITHIN_S]
        assert len(later) <= 4  # trials: pauses of 5, 10, 20 and 40 s are more than is waited for the 20 calls above

        first.mode = "busy"
        eventually("the circuit closed", lambda: state(here, "Simulated Carrier")["circuit"] == "closed", 90.0)
        back = len(first.invites)
        eventually("calls over the first trunk", lambda: len(first.invites) >= back + 10)
        here.client.complete(GROUP)
        eventually("no call", lambda: not state(here, "Simulated Carrier")["calls"])
        eventually("all settled", lambda: not here.query("SELECT 1 FROM ocsd.attempt WHERE finished_at IS NULL"))
        assert {caller for _, _, caller in second.invites} == {"+13105550100"}
        rows = Counter(here.query("SELECT record_status, call_result, attempt FROM {list}"))
        phones = here.query("SELECT phone, count(*) FROM ocsd.attempt WHERE call_result = 6 GROUP BY phone")
        assert here.stop_daemon() == 0

    busy = (int(RecordStatus.UPDATED), int(CallResult.BUSY), 1)
    # Whoever was called was called once, and nobody was charged an attempt that a carrier failed.
    assert all(attempt == 0 for status, _, attempt in rows if status == RecordStatus.READY)
    assert all(row == busy for row in rows if row[0] == RecordStatus.UPDATED)
    assert all(count == 1 for _, count in phones)
