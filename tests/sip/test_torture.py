"""RFC 4475 at the simulated carrier, message by message, and all of it at a real worker with a call on it."""

import re
import socket
import time

import pytest

from telephony.client import open_telephony
from telephony.contract import LegAnswered, LegEnded
from telephony.procs import ProcessIdentity
from telephony.simworld.sip import Uas
from telephony.simworld.sipcall import Invited
from tests.sip.torture import CASES, message
from tests.telephony.sip_fuzz import udp_ports_of
from tests.telephony.sipp_peer import sipp_uas
from tests.telephony.test_workers_with_sipp import a_call, all_connected, event_of, events_until_end, telephony_pool

ME, SENDER = ("127.0.0.1", 5060), ("127.0.0.1", 5999)
ANSWER_LIMIT_S = 10.0


def tortured(name):
    """What the carrier answers to one message; it accepts and rings every call."""
    numbers = iter(range(10_000))
    uas = Uas(*ME, lambda: f"token{next(numbers)}")
    for event in uas.receive(message(name, "{}:{}".format(*SENDER), "{}:{}".format(*ME)), SENDER, 0.0):
        if isinstance(event, Invited):
            event.call.media_host, event.call.media_port = "127.0.0.1", 40000
            uas.ring(event.call)
    return tuple(int(data.split()[1]) for data, _ in uas.take_outbox())


@pytest.mark.parametrize("name", CASES)
def test_given_a_torture_message_when_the_carrier_gets_it_then_the_answer_is_one_that_the_rfc_allows(name):
    answers = tortured(name)

    assert set(answers) <= set(CASES[name].answers)
    assert bool(answers) == bool(CASES[name].answers)


def test_given_the_rfc_when_counted_then_each_of_its_messages_is_here():
    sections = {case.section for case in CASES.values()}

    assert len(CASES) == 49
    assert {section for section in sections if section.startswith("3.1.1.")} == {f"3.1.1.{n}" for n in range(1, 14)}
    assert {section for section in sections if section.startswith("3.1.2.")} == {f"3.1.2.{n}" for n in range(1, 20)}
    assert {section for section in sections if section.startswith("3.3.")} == {f"3.3.{n}" for n in range(1, 16)}
    assert {"3.2.1", "3.4.1"} <= sections


async def test_given_a_worker_in_a_call_when_it_gets_all_torture_messages_then_it_lives_and_the_call_stays(tmp_path):
    with telephony_pool(tmp_path, 4), sipp_uas("answer", tmp_path) as peer:
        async with open_telephony(tmp_path) as telephony:
            await all_connected(telephony, 1)
            leg = await telephony.place_call(a_call(peer.uri()))
            await event_of(leg, LegAnswered)
            worker = ProcessIdentity.read(tmp_path / "worker-0.lock")
            assert worker is not None
            (port,) = udp_ports_of([worker.pid])
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.bind(("127.0.0.1", 0))
                via = f"127.0.0.1:{sock.getsockname()[1]}"
                for name in CASES:
                    sock.sendto(message(name, via, f"127.0.0.1:{port}"), ("127.0.0.1", port))
                # What it says to a plain question behind all that shows that it has taken everything in.
                sock.sendto(
                    message("lwsdisp", via, f"127.0.0.1:{port}").replace(b"lwsdisp", b"last"), ("127.0.0.1", port)
                )
                answers = answers_until(sock, "last@")

            assert worker.alive
            assert ProcessIdentity.read(tmp_path / "worker-0.lock") == worker
            assert 200 in answers["last"]
            assert not {name for name, statuses in answers.items() if any(status == 500 for status in statuses)}
            await leg.hang_up()
            ended = (await events_until_end(leg))[-1]
            assert isinstance(ended, LegEnded)
            assert (ended.ended_by, ended.was_answered) == ("local", True)


def answers_until(sock: socket.socket, call_id: str) -> dict[str, list[int]]:
    """Final statuses by the name in Call-ID, up to the answer to this call."""
    found: dict[str, list[int]] = {}
    until_s = time.monotonic() + ANSWER_LIMIT_S
    while time.monotonic() < until_s:
        sock.settimeout(ANSWER_LIMIT_S)
        text = sock.recv(65535).decode(errors="replace")
        name = re.search(r"(?mi)^(?:Call-ID|i)\s*:\s*([A-Za-z0-9]+)", text)
        found.setdefault(name[1] if name else "", []).append(int(text.split()[1]))
        if f"\nCall-ID: {call_id}" in text:
            return found
    raise AssertionError(f"no answer: {found}")
