"""What workers drop before the stack sees it, as text, and at real workers: one datagram ends no call of others."""

import time

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from telephony.client import open_telephony
from telephony.contract import LegAnswered, LegEnded, LegProgress
from telephony.procs import ProcessIdentity
from telephony.sdp import flaw_of_description
from telephony.sip import parse_message
from telephony.worker.sieve import ENDED_KEPT_S, MAX_REMEMBERED, TELL_EVERY_S, Sieve
from tests.telephony.played_peer import SDP, PlayedPeer, Reply, played_peer
from tests.telephony.test_workers_with_sipp import (
    HANG_LIMIT_S,
    a_call,
    all_connected,
    event_of,
    events_until_end,
    telephony_pool,
)


def request(method: str, call_id: str = "call", branch: str = "z9hG4bKa", cseq: str = "", to: str = "", body="") -> str:
    content = "Content-Type: application/sdp\r\n" if body else ""
    return (
        f"{method} sip:us@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch={branch}\r\n"
        f"From: <sip:far@x>;tag=far\r\nTo: <sip:us@y>{to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq or f'1 {method}'}\r\n"
        f"{content}\r\n{body}"
    )


def response(status: int, call_id: str = "call", to: str = ";tag=far", body: str = "", method: str = "INVITE") -> str:
    content = "Content-Type: application/sdp\r\n" if body else ""
    return (
        f"SIP/2.0 {status} X\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKPj\r\nFrom: <sip:us@y>;tag=us\r\n"
        f"To: <sip:far@x>{to}\r\nCall-ID: {call_id}\r\nCSeq: 5 {method}\r\n{content}\r\n{body}"
    )


def a_sieve(*, answered: bool = True) -> Sieve:
    sieve = Sieve()
    sieve.call_begins("call")
    if answered:
        assert not sieve.holds_back(response(200, body=SDP))
    return sieve


@pytest.mark.parametrize(
    "method", ["INVITE", "BYE", "UPDATE", "PRACK", "INFO", "OPTIONS", "NOTIFY", "REFER", "MESSAGE"]
)
def test_given_an_answered_call_when_its_far_end_sends_what_it_may_then_it_passes(method):
    assert not a_sieve().holds_back(request(method, to=";tag=us", body=SDP if method == "INVITE" else ""))


@pytest.mark.parametrize("status", [100, 180, 183, 200, 302, 401, 422, 486, 503])
def test_given_a_call_when_answers_come_then_they_pass(status):
    assert not a_sieve(answered=False).holds_back(response(status, body=SDP if status in (183, 200) else ""))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\r\n\r\n",
        "GARBAGE",
        request("INVITE", cseq="1 ACK"),  # the start line says another method than CSeq
        request("INVITE", cseq="99999999999 INVITE"),
        request("INVITE", cseq="x INVITE"),
        request("INVITE").replace("Via:", "X-Via:"),
        request("INVITE").replace("Call-ID: call", "Call-ID: call\r\nCall-ID: other"),
        request("INVITE").replace("From:", "X-From:"),
        response(200, body=SDP.replace("c=IN IP4 127.0.0.1", f"c=IN IP4 {'h' * 260}")),
        response(200, body=f"{SDP}a=rtcp:6001 IN IP4 {'h' * 260}\r\n"),
        response(183, body=SDP.replace("s=-\r\n", "s=-\rm=audio 0 RTP/AVP 0\r\n")),
        response(422, method="ACK"),
        response(200, body=SDP, method="ack"),
        response(183, body="v=0\r\n"),
        response(183, to=";tag="),
        response(183, body=SDP.replace("IP4 127.0.0.1", "IP6 ::1")),
    ],
)
def test_given_what_no_peer_sends_when_it_comes_in_a_call_then_it_is_dropped_and_counted(text):
    sieve = a_sieve()
    assert sieve.holds_back(text)
    assert sum(sieve.dropped.values()) == 1


def test_given_strangers_when_they_send_then_options_and_a_whole_invite_transaction_and_nothing_else():
    sieve = a_sieve()
    assert not sieve.holds_back(request("OPTIONS", "other", "z9hG4bKo"))
    assert not sieve.holds_back(request("INVITE", "other", "z9hG4bKi", body=SDP))
    assert not sieve.holds_back(request("ACK", "other", "z9hG4bKi", to=";tag=refused"))
    assert not sieve.holds_back(request("CANCEL", "other", "z9hG4bKi"))

    for method in ("ACK", "CANCEL", "BYE", "REGISTER", "SUBSCRIBE", "NOTIFY", "MESSAGE", "REFER", "PRACK", "FOO"):
        assert sieve.holds_back(request(method, "other", f"z9hG4bK{method}")), method
    assert sieve.holds_back(request("INVITE", "third", "z9hG4bKt", to=";tag=guessed"))
    assert sieve.holds_back(request("INVITE", "third", "z9hG4bKt", body="v=0\r\nm=audio 0 RTP/AVP 0\r\n"))


def test_given_a_branch_when_another_method_uses_it_then_it_is_dropped():
    sieve = a_sieve()
    assert not sieve.holds_back(request("INFO", branch="z9hG4bKx"))
    assert sieve.holds_back(request("REFER", branch="z9hG4bKx"))
    assert not sieve.holds_back(request("INFO", branch="z9hG4bKx"))  # a retransmission


def test_given_a_call_that_is_not_answered_when_the_far_end_says_bye_then_it_is_dropped():
    sieve = a_sieve(answered=False)
    assert sieve.holds_back(request("BYE"))
    assert not sieve.holds_back(response(200, body=SDP))
    assert not sieve.holds_back(request("BYE", branch="z9hG4bKb"))


def test_given_a_call_that_is_not_answered_when_the_far_end_sends_invite_then_it_is_dropped():
    sieve = a_sieve(answered=False)
    assert sieve.holds_back(request("INVITE", to=";tag=us", body=SDP))
    assert not sieve.holds_back(request("UPDATE", branch="z9hG4bKu", to=";tag=us", body=SDP))
    assert not sieve.holds_back(response(200, body=SDP))
    assert not sieve.holds_back(request("INVITE", branch="z9hG4bKi", to=";tag=us", body=SDP))


def test_given_a_cancel_in_a_call_when_it_is_of_no_invite_of_the_far_end_then_it_is_dropped():
    sieve = a_sieve()
    assert sieve.holds_back(request("CANCEL", branch="z9hG4bKn"))
    assert not sieve.holds_back(request("INVITE", branch="z9hG4bKn", to=";tag=us", body=SDP))
    assert not sieve.holds_back(request("CANCEL", branch="z9hG4bKn", to=";tag=us"))


def test_given_a_refer_when_it_is_of_no_dialog_that_stands_then_it_is_dropped():
    assert a_sieve(answered=False).holds_back(request("REFER"))
    assert a_sieve().holds_back(request("REFER").replace("tag=far", "tag=fork"))
    assert not a_sieve().holds_back(request("REFER"))


def test_given_a_call_that_has_ended_when_messages_still_come_then_only_those_that_end_transactions_pass():
    sieve = a_sieve()
    sieve.call_ends("call", 100.0)
    for method in ("BYE", "ACK"):
        assert not sieve.holds_back(request(method, branch=f"z9hG4bK{method}"))
    for method in ("INVITE", "REFER", "INFO", "UPDATE"):
        assert sieve.holds_back(request(method, branch=f"z9hG4bK{method}"))
    assert sieve.holds_back(response(422))
    assert sieve.holds_back(response(200, body=SDP))
    assert sieve.holds_back(response(486))  # of the INVITE that was answered
    assert not sieve.holds_back(response(488).replace("CSeq: 5", "CSeq: 6"))  # of a re-INVITE: an ACK is due
    assert not sieve.holds_back(response(200, method="BYE"))

    sieve.call_begins("cancelled")
    sieve.call_ends("cancelled", 101.0)
    assert not sieve.holds_back(response(200, "cancelled", body=SDP))  # it crossed our CANCEL: ACK and BYE are due
    assert sieve.holds_back(response(200, "cancelled", body=SDP.replace("6000", "0")))


@pytest.mark.parametrize("status", [401, 407, 422])
def test_given_a_call_that_has_ended_when_a_request_of_it_is_wanted_again_then_it_is_not_sent(status):
    sieve = a_sieve()
    sieve.call_ends("call", 100.0)
    for method in ("BYE", "UPDATE", "REFER", "PRACK", "CANCEL", "INFO"):
        assert sieve.holds_back(response(status, method=method)), method
    assert sieve.holds_back(response(status).replace("CSeq: 5", "CSeq: 6"))  # of a re-INVITE

    sieve.call_begins("cancelled")
    sieve.call_ends("cancelled", 101.0)
    assert sieve.holds_back(response(status, "cancelled", method="CANCEL"))
    assert sieve.holds_back(response(status, "cancelled")) == (status == 422)  # else it ends the cancelled INVITE


@pytest.mark.parametrize("over_by", [response(200, method="BYE"), request("BYE", branch="z9hG4bKb", to=";tag=us")])
def test_given_a_bye_that_is_due_when_it_is_challenged_then_it_is_sent_once_more_unless_the_call_is_over(over_by):
    sieve = a_sieve()
    sieve.call_ends("call", 100.0, bye_due=True)
    assert not sieve.holds_back(response(407, method="BYE"))
    assert sieve.holds_back(response(407, method="BYE"))

    sieve = a_sieve()
    sieve.call_ends("call", 100.0, bye_due=True)
    assert not sieve.holds_back(over_by)
    assert sieve.holds_back(response(407, method="BYE"))


@pytest.mark.parametrize(
    ("line", "over_tcp", "fine"),
    [
        ("Contact: <sip:far@192.0.2.1:5070;transport=udp>", False, True),
        ("Contact: sip:far@192.0.2.1", False, True),
        ("Contact: <sip:far@192.0.2.1;transport=TCP>", True, True),
        ("Contact: <sip:far@192.0.2.1;transport=tcp>", False, False),
        ("Contact: <sip:far@192.0.2.1;%74ransport=t%63p>", False, False),
        ("Contact: <sip:far@192.0.2.1;transport=tls>", True, False),
        ("Contact: <sips:far@192.0.2.1>", False, False),
        ("Contact: <tel:+12125550100>", False, False),
        ("Record-Route: <sip:192.0.2.9;lr>\r\nContact: <sip:far@10.0.0.1;transport=tcp>", False, True),
        ("Record-Route: <sip:192.0.2.8;transport=tcp;lr>, <sip:192.0.2.9;lr>", False, True),
        ("Record-Route: <sip:192.0.2.9;lr>, <sip:192.0.2.8;transport=tcp;lr>", False, False),
        ("Record-Route: <tel:+1>, <sip:192.0.2.9;lr>", False, False),
    ],
)
def test_given_an_answer_when_its_ack_could_not_be_sent_then_it_is_dropped(line, over_tcp, fine):
    """The stack aborts the process where the ACK finds no transport."""
    sieve = Sieve()
    sieve.call_begins("call", over_tcp=over_tcp)
    answer = response(200, body=SDP).replace("CSeq:", f"{line}\r\nCSeq:")
    assert sieve.holds_back(answer) != fine
    sieve.call_ends("call", 1.0)
    late = answer.replace("CSeq: 5", "CSeq: 6")
    assert sieve.holds_back(late) != fine


def test_given_a_recorded_route_when_a_target_in_the_call_asks_for_tcp_then_only_the_route_counts():
    moved = request("INVITE", to=";tag=us", body=SDP).replace(
        "\r\n\r\n", "\r\nContact: <sip:x@y;transport=tcp>\r\n\r\n"
    )
    assert a_sieve().holds_back(moved)
    sieve = Sieve()
    sieve.call_begins("call")
    assert not sieve.holds_back(response(200, body=SDP).replace("CSeq:", "Record-Route: <sip:192.0.2.9;lr>\r\nCSeq:"))
    assert not sieve.holds_back(moved)


def test_given_responses_when_they_are_of_another_call_or_of_none_then_they_are_dropped():
    sieve = a_sieve(answered=False)
    sieve.call_begins("other")
    sieve.invite_sent(parse_message(request("INVITE", "other", "z9hG4bKPj")))
    assert sieve.holds_back(response(200, body=SDP))
    assert not sieve.holds_back(response(200, "other", body=SDP))
    assert sieve.holds_back(response(200, "nobody", body=SDP))
    assert not sieve.holds_back(response(200, "probe", method="OPTIONS"))


def test_given_many_ended_calls_and_strangers_when_remembered_then_so_long_and_so_many():
    sieve = Sieve()
    for n in range(MAX_REMEMBERED + 10):
        sieve.call_begins(str(n))
        sieve.invite_sent(parse_message(request("INVITE", str(n), f"z9hG4bK{n}")))
        sieve.call_ends(str(n), 1.0)
        sieve.holds_back(request("OPTIONS", f"stranger {n}"))
    assert len(sieve._ended) == len(sieve._branches) == len(sieve._invites) == MAX_REMEMBERED
    sieve.call_ends("last", 1.1 + ENDED_KEPT_S)
    assert list(sieve._ended) == ["last"]
    assert not sieve._invites


def test_given_drops_when_told_then_at_once_and_after_that_now_and_then():
    sieve = a_sieve()
    assert sieve.news(0.0) == ""
    sieve.holds_back("GARBAGE")
    assert sieve.news(1.0) == "start line: 1"
    sieve.holds_back("GARBAGE")
    assert sieve.news(2.0) == ""
    assert sieve.news(1.0 + TELL_EVERY_S) == "start line: 2"
    assert sieve.news(1.0 + 2 * TELL_EVERY_S) == ""


@given(st.text(max_size=300))
def test_given_any_text_when_looked_at_then_no_error(text):
    a_sieve().holds_back(text)
    a_sieve().holds_back(request("INVITE", to=text, body=text))
    flaw_of_description(text)


@pytest.mark.parametrize(
    ("change", "fine"),
    [
        (("", ""), True),
        (("RTP/AVP 0 101", "RTP/AVP 0 8 18 101"), True),
        (("a=rtpmap:0 PCMU/8000\r\n", ""), True),  # static payload types need none
        (("a=rtpmap:101 telephone-event/8000", "a=x"), False),
        (("c=IN IP4 127.0.0.1\r\n", ""), False),
        (("c=IN IP4", "c=IN IPX"), False),
        (("t=0 0\r\n", ""), False),
        (("s=-\r\n", ""), False),
        (("s=-\r\n", "s=-\r\nCall-ID: x\r\n"), False),
        (("m=audio 6000", "m=audio 0"), False),
        (("m=audio", "m=video 6002 RTP/AVP 31\r\nm=audio"), False),
        (("RTP/AVP 0 101", "RTP/SAVP 0 101"), False),
        (("RTP/AVP 0 101", "RTP/AVP"), False),
        (("RTP/AVP 0 101", "RTP/AVP 0 200"), False),
        (("RTP/AVP 0 101", "RTP/AVP 18"), False),
    ],
)
def test_given_a_description_when_judged_then_what_the_stack_could_not_use_is_found(change, fine):
    assert (flaw_of_description(SDP.replace(*change)) == "") == fine


# --- at real workers -------------------------------------------------------------------------------------------------


async def heard(peer: PlayedPeer, condition) -> None:
    await trio.to_thread.run_sync(peer.wait, condition)


async def test_given_a_conversation_when_messages_come_that_would_end_the_process_then_it_goes_on(tmp_path):
    """Each of these ended the process before: an assert of pjsip or pjsua."""
    with telephony_pool(tmp_path, 4), played_peer() as peer, trio.fail_after(HANG_LIMIT_S):
        async with open_telephony(tmp_path) as telephony:
            await all_connected(telephony, 1)
            talking = await telephony.place_call(a_call(peer.uri))
            await event_of(talking, LegAnswered)
            there = peer.requests("INVITE")[0].contact_uri.removeprefix("sip:").partition(";")[0].partition("@")[2]
            address = (there.split(":")[0], int(there.split(":")[1]))

            # An ACK of a stranger that asks for something (sip_util.c: a response to ACK).
            for extra in ("Require: foo", "Max-Forwards: 0", "Route: <sip:x;lr>"):
                ack = request("ACK", f"stranger-{time.monotonic_ns()}", f"z9hG4bK{time.monotonic_ns()}")
                peer.send(ack.replace("\r\n\r\n", f"\r\n{extra}\r\nContent-Length: 0\r\n\r\n"), address)
            # Video added to a call (pjsua_call.c: as many media in the answer).
            video = SDP.replace("1 1 IN", "1 2 IN") + "m=video 6002 RTP/AVP 31\r\n"
            peer.request("INVITE", "Content-Type: application/sdp", body=video)
            await heard(peer, lambda: any(one.status == 200 for one in peer.responses("INVITE")))
            peer.request("ACK")
            # A provisional response that describes nothing, then the answer (pjsua_media.c).
            peer.will("INVITE", Reply(183, body="v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"))
            odd = await telephony.place_call(a_call(peer.uri))
            await heard(peer, lambda: len(peer.requests("INVITE")) == 2)
            peer.reply(peer.requests("INVITE")[1], Reply(200))
            await event_of(odd, LegAnswered)
            # BYE before the answer, and then the answer of another call in its place.
            peer.will("INVITE", Reply(183, body=SDP, then=lambda _: peer.request("BYE")))
            rude = await telephony.place_call(a_call(peer.uri))
            await event_of(rude, LegProgress)
            peer.reply(peer.requests("INVITE")[2], Reply(486))
            await event_of(rude, LegEnded)

            assert (await talking.redirect("127.0.0.1", 40000)).sip_status == 200
            for leg in (talking, odd):
                await leg.hang_up()
                assert isinstance((await events_until_end(leg))[-1], LegEnded)


async def test_given_a_reinvite_without_answer_when_the_call_ends_then_its_late_answer_touches_no_other_call(tmp_path):
    """pjsua takes a late answer for one to whoever has the place of the call by then."""
    with telephony_pool(tmp_path, 4), played_peer() as peer, trio.fail_after(HANG_LIMIT_S):
        async with open_telephony(tmp_path) as telephony:
            await all_connected(telephony, 1)
            first = await telephony.place_call(a_call(peer.uri))
            await event_of(first, LegAnswered)
            peer.will("INVITE", Reply(100))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(first.redirect, "127.0.0.1", 40000)
                await heard(peer, lambda: len(peer.requests("INVITE")) == 2)
                await first.hang_up()
                await events_until_end(first)
                nursery.cancel_scope.cancel()
            late = peer.requests("INVITE")[1]
            assert "tag=" in late.header("to")

            others = []
            while len(others) < 3:
                others.append(await telephony.place_call(a_call(peer.uri)))
                await event_of(others[-1], LegAnswered)
            peer.will("INVITE", Reply(180))
            others.append(await telephony.place_call(a_call(peer.uri)))  # the fourth place is that of the first call
            await event_of(others[-1], LegProgress)
            peer.reply(late, Reply(200))
            await heard(peer, lambda: [one for one in peer.requests("ACK") if one.cseq_number == late.cseq_number])

            peer.reply(peer.requests("INVITE")[-1], Reply(200))
            await event_of(others[-1], LegAnswered)
            for leg in others:
                await leg.hang_up()
                assert (await events_until_end(leg))[-1].ended_by == "local"


MULTIPART = (
    "--part\r\nContent-Type: application/sdp\r\n\r\nv=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"
    "m=audio 6000 RTP/AVP 18\r\nc=IN IP4 127.0.0.1\r\n--part--\r\n"
)


async def test_given_an_answer_whose_contact_nobody_can_call_when_it_comes_then_the_worker_lives(tmp_path):
    with telephony_pool(tmp_path, 4), played_peer() as peer, trio.fail_after(HANG_LIMIT_S):
        async with open_telephony(tmp_path) as telephony:
            await all_connected(telephony, 1)
            worker = ProcessIdentity.read(tmp_path / "worker-0.lock")
            peer.will("INVITE", Reply(180))
            leg = await telephony.place_call(a_call(peer.uri))
            await event_of(leg, LegProgress)
            for target in ("<tel:+12125550100>", "<sips:x@127.0.0.1>", f"<{peer.uri};transport=tcp>"):
                answer = peer.made(peer.requests("INVITE")[0], Reply(200))
                peer.send(answer.replace(f"<{peer.uri}>", target))
            peer.reply(peer.requests("INVITE")[0], Reply(200))
            await event_of(leg, LegAnswered)
            await leg.hang_up()
            await events_until_end(leg)
            assert ProcessIdentity.read(tmp_path / "worker-0.lock") == worker


@pytest.mark.parametrize("odd", ["in the other case", "in a part of a body"])
async def test_given_a_provisional_description_of_no_use_when_the_answer_follows_then_the_worker_lives(tmp_path, odd):
    """In ways that look unlike the usual one: where the sieve cannot drop it, pjsua must not hear of the answer's."""
    with telephony_pool(tmp_path, 4), played_peer() as peer, trio.fail_after(HANG_LIMIT_S):
        async with open_telephony(tmp_path) as telephony:
            await all_connected(telephony, 1)
            peer.will("INVITE", Reply(0), Reply(200))
            worker = ProcessIdentity.read(tmp_path / "worker-0.lock")
            leg = await telephony.place_call(a_call(peer.uri))
            await heard(peer, lambda: peer.requests("INVITE"))
            (invite,) = peer.requests("INVITE")
            if odd == "in the other case":
                peer.send(peer.made(invite, Reply(183, body=SDP)).swapcase())
            else:
                plain = peer.made(invite, Reply(183, body=MULTIPART))
                peer.send(plain.replace("application/sdp", "multipart/mixed;boundary=part", 1))
            peer.reply(invite, Reply(200))
            if odd == "in the other case":
                await event_of(leg, LegAnswered)
                await leg.hang_up()
            await events_until_end(leg)

            again = await telephony.place_call(a_call(peer.uri))
            await event_of(again, LegAnswered)
            await again.hang_up()
            await events_until_end(again)
            assert ProcessIdentity.read(tmp_path / "worker-0.lock") == worker


CHALLENGE = Reply(401, ('WWW-Authenticate: Digest realm="far", nonce="n", algorithm=MD5',))
SILENT = (Reply(0),) * 20


@pytest.mark.parametrize("method", ["BYE", "INVITE", "REFER", "CANCEL"])
async def test_given_a_call_that_is_over_when_a_request_of_it_is_challenged_then_the_worker_lives(tmp_path, method):
    with telephony_pool(tmp_path, 4), played_peer() as peer, trio.fail_after(HANG_LIMIT_S):
        async with open_telephony(tmp_path) as telephony, trio.open_nursery() as nursery:
            await all_connected(telephony, 1)
            worker = ProcessIdentity.read(tmp_path / "worker-0.lock")
            if method == "CANCEL":
                peer.will("INVITE", Reply(180))
            leg = await telephony.place_call(a_call(peer.uri, username="dialer", password="secret"))
            await event_of(leg, LegProgress if method == "CANCEL" else LegAnswered)
            peer.will(method, *SILENT)
            if method == "INVITE":
                nursery.start_soon(leg.redirect, "127.0.0.1", 40000)
                await heard(peer, lambda: len(peer.requests("INVITE")) > 1)
            elif method == "REFER":
                nursery.start_soon(leg.refer, "sip:other@127.0.0.1")
                await heard(peer, lambda: peer.requests("REFER"))
            else:
                await leg.hang_up()
                await heard(peer, lambda: peer.requests(method))
            if method == "CANCEL":
                peer.reply(peer.requests("INVITE")[0], Reply(487))
                await heard(peer, lambda: peer.requests("ACK"))
            else:
                peer.request("BYE")
                await heard(peer, lambda: peer.responses("BYE"))
            peer.reply(peer.requests(method)[-1], CHALLENGE)

            peer.replies.clear()
            again = await telephony.place_call(a_call(peer.uri))
            await event_of(again, LegAnswered)
            await again.hang_up()
            await events_until_end(again)
            assert ProcessIdentity.read(tmp_path / "worker-0.lock") == worker
            nursery.cancel_scope.cancel()


async def test_given_an_answer_that_names_ack_when_the_call_is_hung_up_then_the_worker_lives(tmp_path):
    with telephony_pool(tmp_path, 4), played_peer() as peer, trio.fail_after(HANG_LIMIT_S):
        async with open_telephony(tmp_path) as telephony:
            await all_connected(telephony, 1)
            worker = ProcessIdentity.read(tmp_path / "worker-0.lock")
            peer.will("INVITE", Reply(180))
            leg = await telephony.place_call(a_call(peer.uri, session_expires_s=90))
            await event_of(leg, LegProgress)
            (invite,) = peer.requests("INVITE")
            answer = peer.made(invite, Reply(422, ("Min-SE: 200",)))
            peer.send(answer.replace(f"CSeq: {invite.cseq_number} INVITE", f"CSeq: {invite.cseq_number} ACK"))
            peer.reply(invite, Reply(180))  # once this has been heard, so has the one before
            await event_of(leg, LegProgress)
            peer.will("CANCEL", Reply(200, then=lambda _: peer.reply(invite, Reply(487))))
            await leg.hang_up()
            assert (await events_until_end(leg))[-1].ended_by == "local"
            assert ProcessIdentity.read(tmp_path / "worker-0.lock") == worker
