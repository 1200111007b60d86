import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telephony.simworld.digest import DigestGuard, digest_response, parse_authorization
from telephony.simworld.sip import T1_S, T2_S, TIMEOUT_S, Uas
from telephony.simworld.sipcall import (
    Acked,
    CallState,
    Cancelled,
    HungUp,
    Invited,
    MediaChanged,
    NeverAcked,
    reason_header,
)
from tests.telephony.simworld_uac import Caller, audio_port_of, header_of, offer, status_of, to_tag_of

SOURCE = ("127.0.0.1", 5999)


@pytest.fixture
def uas():
    numbers = itertools.count(1)
    return Uas("127.0.0.1", 5060, lambda: f"tok{next(numbers)}")


def sent(uas):
    return [data for data, _ in uas.take_outbox()]


def statuses(uas):
    return [status_of(data) for data in sent(uas)]


def invited(uas, caller, now_s=0.0, **more):
    """Deliver the INVITE; the call, with its 100 taken out of the outbox."""
    (event,) = uas.receive(caller.invite(**more), SOURCE, now_s)
    assert isinstance(event, Invited)
    call = event.call
    call.media_host, call.media_port = "127.0.0.1", 30000
    assert statuses(uas) == [100]
    return call


def answered(uas, caller, now_s=0.0):
    call = invited(uas, caller, now_s)
    uas.answer(call, now_s)
    (ok,) = sent(uas)
    caller.to_tag = to_tag_of(ok)
    return call


def confirmed(uas, caller, now_s=0.0):
    call = answered(uas, caller, now_s)
    assert uas.receive(caller.ack_2xx(), SOURCE, now_s) == [Acked(call)]
    return call


def repetitions(uas, from_s, to_s):
    """Times at which the timers put something into the outbox, stepping from deadline to deadline."""
    times, events = [], []
    while uas.next_deadline_s is not None and uas.next_deadline_s <= to_s:
        at_s = uas.next_deadline_s
        events += uas.expire(at_s)
        times += [at_s - from_s] * len(sent(uas))
    return times, events


EXPECTED_G = list(itertools.accumulate([0.5, 1.0, 2.0] + [4.0] * 7))


def test_given_an_invite_when_received_then_it_is_tried_rung_answered_and_confirmed(uas):
    caller = Caller(number="+12125552000")
    call = invited(uas, caller)
    assert (call.number, call.from_user, call.call_id) == ("+12125552000", "dialer", caller.call_id)
    assert (call.remote_audio.host, call.remote_audio.port, call.remote_audio.payload_type) == ("127.0.0.1", 40000, 0)

    uas.ring(call)
    uas.ring(call, 183, with_sdp=True)
    ringing, progress = sent(uas)
    assert (status_of(ringing), status_of(progress)) == (180, 183)
    assert audio_port_of(progress) == 30000
    assert to_tag_of(ringing) == to_tag_of(progress) == call.local_tag
    assert header_of(ringing, "Contact") == "<sip:127.0.0.1:5060>"

    uas.answer(call, 1.0)
    (ok,) = sent(uas)
    assert status_of(ok) == 200
    assert audio_port_of(ok) == 30000
    caller.to_tag = to_tag_of(ok)
    assert uas.receive(caller.ack_2xx(), SOURCE, 1.1) == [Acked(call)]
    assert call.state is CallState.CONFIRMED
    assert repetitions(uas, 1.0, 100.0) == ([], [])


def test_given_a_repeated_invite_when_received_then_the_last_response_is_repeated_and_no_second_call_begins(uas):
    caller = Caller()
    call = invited(uas, caller)
    uas.ring(call)
    sent(uas)
    assert uas.receive(caller.invite(), SOURCE, 0.5) == []
    assert statuses(uas) == [180]
    uas.reject(call, 486, 1.0)
    sent(uas)
    assert uas.receive(caller.invite(), SOURCE, 1.2) == []
    assert statuses(uas) == [486]
    uas.receive(caller.ack_failure(call.local_tag), SOURCE, 1.3)
    assert uas.receive(caller.invite(), SOURCE, 1.4) == []
    assert statuses(uas) == []


def test_given_a_repeated_invite_when_answered_then_it_is_absorbed(uas):
    caller = Caller()
    answered(uas, caller)
    assert uas.receive(caller.invite(), SOURCE, 0.1) == []
    assert statuses(uas) == []


def test_given_a_failure_response_when_no_ack_comes_then_it_is_repeated_by_timer_g_until_timer_h(uas):
    call = invited(uas, Caller())
    uas.reject(call, 486, 0.0, (("reason", reason_header(17)),))
    (busy,) = sent(uas)
    assert header_of(busy, "Reason") == "Q.850;cause=17"
    times, events = repetitions(uas, 0.0, 200.0)
    assert times == pytest.approx([t for t in EXPECTED_G if t < TIMEOUT_S])
    assert events == []
    assert uas.counters["never_acked"] == 1


def test_given_a_failure_response_when_acked_then_it_is_not_repeated(uas):
    caller = Caller()
    call = invited(uas, caller)
    uas.reject(call, 404, 0.0)
    (refusal,) = sent(uas)
    assert uas.receive(caller.ack_failure(to_tag_of(refusal)), SOURCE, 0.2) == []
    assert repetitions(uas, 0.0, 100.0) == ([], [])
    assert call.state is CallState.ENDED


def test_given_an_answer_when_no_ack_comes_then_it_is_repeated_and_then_bye_ends_the_call(uas):
    call = answered(uas, Caller())
    times, events = [], []
    while uas.next_deadline_s <= TIMEOUT_S:
        at_s = uas.next_deadline_s
        events += uas.expire(at_s)
        out = sent(uas)
        times += [(at_s, data.split(b" ")[0]) for data in out]
    assert [t for t, start in times if start == b"SIP/2.0"] == pytest.approx([t for t in EXPECTED_G if t < TIMEOUT_S])
    assert [start for _, start in times][-1] == b"BYE"
    assert events == [NeverAcked(call)]
    assert call.state is CallState.ENDED


def test_given_a_ringing_call_when_cancelled_then_200_and_487_and_the_ack_ends_it(uas):
    caller = Caller()
    call = invited(uas, caller)
    uas.ring(call)
    sent(uas)
    assert uas.receive(caller.cancel(), SOURCE, 1.0) == [Cancelled(call)]
    to_cancel, to_invite = sent(uas)
    assert (status_of(to_cancel), header_of(to_cancel, "CSeq")) == (200, "1 CANCEL")
    assert (status_of(to_invite), header_of(to_invite, "CSeq")) == (487, "1 INVITE")
    assert to_tag_of(to_cancel) == to_tag_of(to_invite) == call.local_tag
    assert uas.receive(caller.cancel(), SOURCE, 1.1) == []
    assert statuses(uas) == [200]
    uas.receive(caller.ack_failure(call.local_tag), SOURCE, 1.2)
    uas.answer(call, 1.3)
    uas.ring(call)
    assert repetitions(uas, 0.0, 100.0) == ([], [])


def test_given_an_answered_call_when_cancelled_then_the_cancel_is_answered_without_effect(uas):
    caller = Caller()
    call = answered(uas, caller)
    assert uas.receive(caller.cancel(), SOURCE, 0.1) == []
    assert statuses(uas) == [200]
    assert call.state is CallState.ANSWERED


def test_given_no_invite_when_cancel_or_bye_arrives_then_481(uas):
    caller = Caller()
    assert uas.receive(caller.cancel(), SOURCE, 0.0) == []
    caller.to_tag = "nobody"
    assert uas.receive(caller.bye(), SOURCE, 0.0) == []
    assert statuses(uas) == [481, 481]


def test_given_a_conversation_when_the_caller_hangs_up_then_bye_is_answered_again_when_repeated(uas):
    caller = Caller()
    call = confirmed(uas, caller)
    bye = caller.bye(headers=('Reason: SIP;cause=200, Q.850;cause=16;text="x"', "Reason: Q.850;cause=16"))
    assert uas.receive(bye, SOURCE, 5.0) == [HungUp(call, 16)]
    assert statuses(uas) == [200]
    assert uas.receive(bye, SOURCE, 5.5) == []
    assert statuses(uas) == [200]
    assert call.state is CallState.ENDED


def test_given_a_ringing_call_when_bye_arrives_then_200_and_487(uas):
    caller = Caller()
    call = invited(uas, caller)
    caller.to_tag = call.local_tag
    assert uas.receive(caller.bye(), SOURCE, 1.0) == [Cancelled(call)]
    assert statuses(uas) == [200, 487]


def test_given_a_conversation_when_we_hang_up_then_bye_is_repeated_until_answered(uas):
    caller = Caller()
    call = confirmed(uas, caller)
    uas.expire(9.0)
    uas.hang_up(call, 10.0, 16)
    ((bye, to),) = uas.take_outbox()
    assert to == (caller.host, caller.port)
    assert bye.startswith(b"BYE sip:dialer@127.0.0.1:5999 SIP/2.0\r\n")
    assert header_of(bye, "To") == f"<sip:dialer@127.0.0.1>;tag={caller.tag}"
    assert to_tag_of(bye) == caller.tag
    assert f"tag={call.local_tag}" in header_of(bye, "From")
    assert header_of(bye, "Reason") == "Q.850;cause=16"
    assert uas.busy
    assert uas.next_deadline_s == pytest.approx(10.0 + T1_S)
    uas.expire(10.0 + T1_S)
    assert sent(uas) == [bye]
    reply = b"SIP/2.0 200 OK\r\n" + bye.split(b"\r\n", 1)[1]
    assert uas.receive(reply, SOURCE, 11.0) == []
    assert not uas.busy
    assert repetitions(uas, 0.0, 200.0) == ([], [])


def test_given_our_bye_when_nobody_answers_then_it_is_given_up_after_timer_f(uas):
    call = confirmed(uas, Caller())
    uas.hang_up(call, 0.0)
    sent(uas)
    times, _ = repetitions(uas, 0.0, 300.0)
    assert times == pytest.approx([t for t in EXPECTED_G if t < TIMEOUT_S])
    assert max(b - a for a, b in itertools.pairwise(times)) <= T2_S
    assert not uas.busy
    assert uas.counters["bye_unanswered"] == 1


def test_given_an_answer_without_ack_when_we_hang_up_then_the_bye_waits_for_the_ack(uas):
    caller = Caller()
    call = answered(uas, caller)
    uas.hang_up(call, 0.1)
    assert sent(uas) == []
    assert uas.receive(caller.ack_2xx(), SOURCE, 0.2) == []
    (bye,) = sent(uas)
    assert bye.startswith(b"BYE ")


def test_given_record_routes_when_we_hang_up_then_the_bye_follows_them(uas):
    caller = Caller()
    routes = ("Record-Route: <sip:127.0.0.1:7001;lr>, <sip:127.0.0.1:7002;lr>",)
    (event,) = uas.receive(caller.invite(headers=routes), SOURCE, 0.0)
    call = event.call
    call.media_host, call.media_port = "127.0.0.1", 30000
    uas.answer(call, 0.0)
    ok = sent(uas)[-1]
    assert ok.count(b"Record-Route:") == 2
    caller.to_tag = call.local_tag
    uas.receive(caller.ack_2xx(), SOURCE, 0.1)
    uas.hang_up(call, 1.0)
    ((bye, to),) = uas.take_outbox()
    assert to == ("127.0.0.1", 7001)
    assert bye.startswith(b"BYE sip:dialer@127.0.0.1:5999 ")
    assert bye.count(b"\r\nRoute:") == 2


def test_given_a_strict_router_when_we_hang_up_then_it_becomes_the_request_uri(uas):
    caller = Caller()
    (event,) = uas.receive(caller.invite(headers=("Record-Route: <sip:127.0.0.1:7001>",)), SOURCE, 0.0)
    call = event.call
    call.media_host, call.media_port = "127.0.0.1", 30000
    uas.answer(call, 0.0)
    caller.to_tag = call.local_tag
    uas.receive(caller.ack_2xx(), SOURCE, 0.1)
    uas.hang_up(call, 1.0)
    bye = sent(uas)[-1]
    assert bye.startswith(b"BYE sip:127.0.0.1:7001 ")
    assert header_of(bye, "Route") == "<sip:dialer@127.0.0.1:5999>"


def test_given_a_conversation_when_a_reinvite_moves_the_media_then_it_is_answered_and_reported(uas):
    caller = Caller()
    call = confirmed(uas, caller)
    again = caller.invite(body=offer(41000, "8"), cseq=2, branch="z9hG4bKre1")
    assert uas.receive(again, SOURCE, 3.0) == [MediaChanged(call)]
    (ok,) = sent(uas)
    assert status_of(ok) == 200
    assert b"RTP/AVP 8\r\n" in ok
    assert (call.remote_audio.port, call.remote_audio.payload_type) == (41000, 8)
    ack = caller.request("ACK", cseq=2, branch="z9hG4bKre1ack")
    assert uas.receive(ack, SOURCE, 3.1) == []
    assert repetitions(uas, 0.0, 40.0) == ([], [])
    late = caller.invite(cseq=2, branch="z9hG4bKre2")
    assert uas.receive(late, SOURCE, 4.0) == []
    assert statuses(uas) == [500]


def test_given_a_conversation_when_an_update_moves_the_media_then_it_is_answered(uas):
    caller = Caller()
    call = confirmed(uas, caller)
    update = caller.request("UPDATE", cseq=2, branch="z9hG4bKup", body=offer(42000))
    assert uas.receive(update, SOURCE, 2.0) == [MediaChanged(call)]
    (ok,) = sent(uas)
    assert audio_port_of(ok) == 30000
    assert call.remote_audio.port == 42000


def test_given_an_invite_without_sdp_when_answered_then_we_offer_and_the_ack_answers(uas):
    caller = Caller()
    call = invited(uas, caller, body="")
    assert call.remote_audio is None
    uas.answer(call, 0.0)
    (ok,) = sent(uas)
    assert b"RTP/AVP 0 8 101" in ok
    caller.to_tag = call.local_tag
    assert uas.receive(caller.ack_2xx(body=offer(43000, "8")), SOURCE, 0.1) == [Acked(call), MediaChanged(call)]
    assert call.remote_audio.port == 43000


def test_given_the_same_call_by_another_path_when_received_then_482(uas):
    caller = Caller()
    invited(uas, caller)
    assert uas.receive(caller.invite(branch="z9hG4bKother"), SOURCE, 0.0) == []
    assert statuses(uas) == [482]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"uri": "mailto:somebody@example.com"}, 416),
        ({"uri": "sips:1@127.0.0.1"}, 416),
        ({"headers": ("Require: 100rel",)}, 420),
        ({"body": "v=0\r\nm=audio 4000 RTP/AVP 18\r\n"}, 488),
        ({"body": "no SDP at all"}, 488),
        ({"to_tag": "unknown"}, 481),
        ({"headers": ("Record-Route: nonsense",)}, 400),
    ],
)
def test_given_an_invite_that_cannot_be_served_when_received_then_it_is_refused(uas, change, status):
    assert uas.receive(Caller().invite(**change), SOURCE, 0.0) == []
    assert statuses(uas)[-1] == status


def test_given_other_requests_when_received_then_options_is_answered_and_the_rest_refused(uas):
    assert uas.receive(Caller().request("OPTIONS"), SOURCE, 0.0) == []
    (ok,) = sent(uas)
    assert status_of(ok) == 200
    assert "INVITE" in header_of(ok, "Allow")
    for method, status in (("SUBSCRIBE", 405), ("REGISTER", 405)):
        uas.receive(Caller().request(method), SOURCE, 0.0)
        assert statuses(uas) == [status]


def test_given_no_rport_when_answering_then_the_via_port_is_used_and_received_is_told(uas):
    data = Caller(host="10.9.8.7", port=5555).request("OPTIONS").replace(b";rport", b"")
    uas.receive(data, ("127.0.0.1", 6001), 0.0)
    ((reply, to),) = uas.take_outbox()
    assert to == ("127.0.0.1", 5555)
    assert header_of(reply, "Via").endswith(";received=127.0.0.1")


def test_given_rport_when_answering_then_the_source_port_is_used(uas):
    uas.receive(Caller().request("OPTIONS"), ("127.0.0.1", 6001), 0.0)
    ((reply, to),) = uas.take_outbox()
    assert to == ("127.0.0.1", 6001)
    assert ";rport=6001" in header_of(reply, "Via")


def test_given_a_trunk_with_credentials_when_invited_then_only_the_right_answer_passes(uas):
    uas.guard = DigestGuard("trunk", "secret", new_nonce=iter(["n1", "n2", "n3"]).__next__)
    caller = Caller()

    def try_with(password, nonce, branch):
        caller.cseq += 1
        fields = {"realm": "simworld", "nonce": nonce, "uri": "sip:x", "qop": "auth", "nc": "00000001", "cnonce": "c"}
        response = digest_response("trunk", password, "INVITE", fields)
        value = ", ".join(f'{k}="{v}"' for k, v in fields.items())
        header = f'Proxy-Authorization: Digest username="trunk", {value}, response="{response}"'
        return uas.receive(caller.invite(headers=(header,), branch=branch), SOURCE, 0.0)

    assert uas.receive(caller.invite(), SOURCE, 0.0) == []
    (challenge,) = sent(uas)
    assert status_of(challenge) == 407
    assert parse_authorization(header_of(challenge, "Proxy-Authenticate"))["nonce"] == "n1"
    assert try_with("wrong", "n1", "z9hG4bKa") == []
    assert try_with("secret", "never given", "z9hG4bKb") == []
    third = sent(uas)[-1]
    assert parse_authorization(header_of(third, "Proxy-Authenticate"))["stale"] == "true"
    assert isinstance(try_with("secret", "n1", "z9hG4bKc")[0], Invited)


def test_given_the_rfc_2617_example_when_computed_then_the_response_is_the_printed_one():
    fields = {
        "realm": "testrealm@host.com", "nonce": "dcd98b7102dd2f0e8b11d0f600bfb0c093", "uri": "/dir/index.html",
        "qop": "auth", "nc": "00000001", "cnonce": "0a4f113b",
    }  # fmt: skip
    assert digest_response("Mufasa", "Circle Of Life", "GET", fields) == "6629fae49393a05397450978507c4ef1"


def test_given_a_long_conversation_when_all_timers_have_run_then_it_can_still_be_ended_and_leaves_nothing(uas):
    caller = Caller()
    call = confirmed(uas, caller)
    repetitions(uas, 0.0, 1000.0)
    assert uas.receive(caller.bye(), SOURCE, 1001.0) == [HungUp(call, None)]
    assert statuses(uas) == [200]
    repetitions(uas, 0.0, 2000.0)
    tables = (uas._invites, uas._callers, uas._answered, uas._dialogs, uas._byes, uas._accepted)
    assert [len(table) for table in tables] == [0] * 6


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x01\x02",
        b"INVITE sip:1@h SIP/2.0\r\n\r\n",
        b"HELLO\r\n\r\n",
        b"INVITE sip:1@h HTTP/1.1\r\nVia: SIP/2.0/UDP h\r\n\r\n",
        Caller().invite().replace(b"CSeq: 1 INVITE", b"CSeq: x INVITE"),
        Caller().invite().replace(b"CSeq: 1 INVITE", b"CSeq: 1 BYE"),
        Caller().invite().replace(b"Content-Length: ", b"Content-Length: 9"),
        Caller().invite().replace(b"Via: SIP/2.0/UDP", b"Via: nothing"),
        Caller().invite().replace(b"Call-ID", b"Call ID"),
        Caller().invite().replace(b"From: <", b"From: <<"),
        Caller().invite()[:150],
    ],
)
def test_given_a_malformed_message_when_received_then_it_is_counted_and_starts_nothing(uas, data):
    assert uas.receive(data, SOURCE, 0.0) == []
    assert uas.counters["malformed"] == 1
    assert all(status == 400 for status in statuses(uas))


def test_given_a_malformed_request_with_readable_headers_when_received_then_400(uas):
    uas.receive(Caller().invite().replace(b"CSeq: 1 INVITE", b"CSeq: 1 BYE"), SOURCE, 0.0)
    assert statuses(uas) == [400]
    assert uas.counters["answered_400"] == 1


def test_given_a_keep_alive_when_received_then_it_is_ignored(uas):
    assert uas.receive(b"\r\n\r\n", SOURCE, 0.0) == []
    assert not uas.counters


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_given_any_damage_to_valid_messages_when_received_then_the_agent_survives(data):
    numbers = itertools.count(1)
    uas = Uas("127.0.0.1", 5060, lambda: f"tok{next(numbers)}")
    caller = Caller(serial=9)
    call = confirmed(uas, caller)
    makers = [caller.invite, caller.cancel, caller.bye, caller.ack_2xx, lambda: caller.request("OPTIONS")]
    for _ in range(3):
        message = bytearray(data.draw(st.sampled_from(makers))())
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.integers(0, len(message) - 1))
            message[at : at + data.draw(st.integers(0, 6))] = data.draw(st.binary(max_size=6))
        for event in uas.receive(bytes(message), SOURCE, 1.0):
            if isinstance(event, Invited):
                uas.reject(event.call, 480, 1.0)
    uas.hang_up(call, 2.0)
    uas.expire(500.0)
    uas.take_outbox()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_given_any_bytes_when_received_then_the_agent_survives(data):
    uas = Uas("127.0.0.1", 5060, lambda: "tok")
    assert all(isinstance(e, Invited) for e in uas.receive(data, SOURCE, 0.0))
