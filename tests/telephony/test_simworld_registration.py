"""Registrations of the simulated phones: the machine event by event, and the socket against a registrar of the test."""

import itertools
import re

import trio

from telephony.simworld.digest import DigestGuard
from telephony.simworld.registration import EXPIRES_S, RETRY_S, Binding, Registrant, Registrations
from telephony.simworld.sip import T1_S, TIMEOUT_S
from telephony.simworld.sipmsg import Message, parse, response_headers, serialise

PASSWORD = "s3cret"
HANG_LIMIT_S = 20.0


def registrant():
    numbers = itertools.count(1)
    return Registrant(
        "1001", ("127.0.0.1", 5060), ("127.0.0.1", 7000), PASSWORD, lambda: f"token{next(numbers):08d}",
        ("127.0.0.1", 7001),
    )  # fmt: skip


def answer(request, status, *headers):
    return parse(
        serialise(Message(status=status, headers=(*response_headers(request, ("127.0.0.1", 7001), "tag"), *headers)))
    )


def granted(request, seconds):
    return answer(request, 200, ("contact", f"{request.get('contact')};expires={seconds}"))


def test_given_a_phone_when_registered_then_it_refreshes_at_half_of_what_was_granted():
    phone = registrant()

    first = parse(phone.step(10.0))
    assert (first.method, first.uri, first.get("expires")) == ("REGISTER", "sip:127.0.0.1:5060", str(EXPIRES_S))
    assert first.get("contact") == "<sip:1001@127.0.0.1:7000>"
    assert phone.received(granted(first, 60), 10.1) is None
    assert phone.state is Binding.HELD
    assert phone.step(39.0) is None
    again = parse(phone.step(40.2))
    assert (again.call_id, again.cseq) == (first.call_id, (2, "REGISTER"))


def test_given_a_challenge_when_answered_then_the_digest_is_right_and_a_second_one_gives_up_for_now():
    phone, guard = registrant(), DigestGuard("1001", PASSWORD, realm="pbx")
    first = parse(phone.step(0.0))

    second = parse(phone.received(answer(first, 401, ("www-authenticate", guard.challenge(""))), 0.1))
    assert second.cseq == (2, "REGISTER")
    assert guard.accepts("REGISTER", second.get("authorization"))
    assert phone.received(answer(second, 401, ("www-authenticate", guard.challenge(""))), 0.2) is None
    assert (phone.state, phone.refused_with, phone.deadline_s) == (Binding.IDLE, 401, 0.2 + RETRY_S)


def test_given_a_proxys_challenge_without_qop_when_answered_then_the_old_form_goes_to_its_header():
    phone, guard = registrant(), DigestGuard("1001", PASSWORD)
    first = parse(phone.step(0.0))
    challenge = guard.challenge("").replace(', qop="auth"', "")

    second = parse(phone.received(answer(first, 407, ("proxy-authenticate", challenge)), 0.1))

    assert "qop" not in second.get("proxy-authorization")
    assert guard.accepts("REGISTER", second.get("proxy-authorization"))


def test_given_silence_when_time_passes_then_repeated_with_doubled_intervals_and_given_up():
    phone = registrant()
    sent = [phone.step(0.0)]
    while phone.state is Binding.TRYING:
        at_s = phone.deadline_s
        sent.append(phone.step(at_s))

    assert at_s == TIMEOUT_S
    assert set(sent[:-1]) == {sent[0]}
    assert len(sent) - 2 == 10  # timer E: 0.5, 1.5, 3.5, 7.5, 11.5 ... 31.5 s (RFC 3261 17.1.2.2)
    assert phone.deadline_s == TIMEOUT_S + RETRY_S
    assert phone.step(TIMEOUT_S + RETRY_S) != sent[0]


def test_given_a_binding_when_the_phone_leaves_then_it_expires_at_once_also_after_a_challenge():
    phone, guard = registrant(), DigestGuard("1001", PASSWORD)
    phone.received(granted(parse(phone.step(0.0)), 60), 0.0)

    leaving = parse(phone.leave(1.0))
    assert leaving.get("expires") == "0"
    again = parse(phone.received(answer(leaving, 401, ("www-authenticate", guard.challenge(""))), 1.1))
    assert again.get("expires") == "0"
    phone.received(answer(again, 200), 1.2)
    assert phone.state is Binding.GONE
    assert phone.step(1000.0) is None


def test_given_a_response_to_an_earlier_request_when_it_comes_late_then_nothing_changes():
    phone = registrant()
    first = parse(phone.step(0.0))
    phone.received(granted(first, 60), 0.1)
    phone.step(30.2)

    assert phone.received(answer(first, 403), 30.3) is None
    assert phone.state is Binding.TRYING
    assert phone.deadline_s == 30.2 + T1_S


async def test_given_a_registrar_when_the_phones_start_and_stop_then_all_bindings_come_and_go():
    bindings: dict[str, int] = {}
    guards: dict[str, DigestGuard] = {}

    async def serve(sock):
        while True:
            data, source = await sock.recvfrom(65535)
            request = parse(data)
            extension = re.search(r"sip:(\d+)@", request.get("to"))[1]
            guard = guards.setdefault(extension, DigestGuard(extension, PASSWORD))
            if guard.accepts("REGISTER", request.get("authorization")):
                bindings[extension] = int(request.get("expires"))
                rows = (("contact", f"{request.get('contact')};expires=60"),)
                reply = Message(status=200, headers=(*response_headers(request, source, "t"), *rows))
            else:
                rows = (("www-authenticate", guard.challenge("")),)
                reply = Message(status=401, headers=(*response_headers(request, source, "t"), *rows))
            await sock.sendto(serialise(reply), source)

    with trio.fail_after(HANG_LIMIT_S), trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as sock:
        await sock.bind(("127.0.0.1", 0))
        phones = Registrations(["1001", "1002"], sock.getsockname()[:2], ("127.0.0.1", 7000), PASSWORD)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve, sock)
            await nursery.start(phones.run)
            await phones.all_held()
            assert phones.held == 2
            assert bindings == {"1001": EXPIRES_S, "1002": EXPIRES_S}
            await phones.leave()
            assert bindings == {"1001": 0, "1002": 0}
            nursery.cancel_scope.cancel()
