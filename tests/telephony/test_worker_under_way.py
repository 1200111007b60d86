"""Real workers, real SIP over 127.0.0.1: what happens in answered calls, what trunks say, what registrars are asked."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from telephony.api import CallRefused, LegLost
from telephony.client import TelephonyClient, WorkerLeg, open_telephony
from telephony.contract import Direction, LegAnswered, LegEnded, LegInfo, LegProgress, LegState, Referred, Register
from telephony.procs import ProcessIdentity
from telephony.sip import SipMessage, parse_message
from telephony.worker.stack_log import MAX_LINES
from telephony.worker.under_way import MAX_INFO_BYTES, MAX_INFO_PER_S
from tests.telephony.played_peer import SDP, PlayedPeer, Reply, played_peer, sdp_line
from tests.telephony.test_workers_with_sipp import (
    HANG_LIMIT_S,
    a_call,
    all_connected,
    event_of,
    events_until_end,
    telephony_pool,
)

CHALLENGE = 'WWW-Authenticate: Digest realm="far", nonce="n1", algorithm=MD5'
PROXY_CHALLENGE = 'Proxy-Authenticate: Digest realm="far", nonce="n1", algorithm=MD5'


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("run")
    with telephony_pool(path, 8):
        yield path


@pytest.fixture
def peer() -> Iterator[PlayedPeer]:
    with played_peer() as played:
        yield played


@pytest.fixture
async def telephony(run_dir):
    async with open_telephony(run_dir) as client:
        await all_connected(client, 2)
        with trio.fail_after(HANG_LIMIT_S):
            yield client


async def answered(telephony: TelephonyClient, peer: PlayedPeer, **changes) -> WorkerLeg:
    leg = await telephony.place_call(a_call(peer.uri, **changes))
    await event_of(leg, LegAnswered)
    return leg


async def hung_up(leg: WorkerLeg) -> None:
    await leg.hang_up()
    await events_until_end(leg)


async def until(condition) -> None:
    while not condition():  # noqa: ASYNC110 - sockets and other processes have nothing to wait for
        await trio.sleep(0.01)


# --- re-INVITE ------------------------------------------------------------------------------------------------------


async def test_given_an_answered_leg_when_redirected_then_the_offer_is_the_other_partys_and_the_answer_is_told(
    telephony, peer
):
    leg = await answered(telephony, peer)
    alaw = SDP.replace("6000 RTP/AVP 0 101", "6020 RTP/AVP 8 97").replace("0 PCMU", "8 PCMA").replace(":101", ":97")
    peer.will("INVITE", Reply(body=alaw), Reply(), Reply())

    direct = await leg.redirect("127.0.0.9", 5004, payload_type=8, event_payload_type=97)
    held = await leg.redirect("127.0.0.1", 40000, direction=Direction.SENDONLY)
    back = await leg.redirect("127.0.0.1", 40000)

    assert (direct.sip_status, direct.remote_rtp_port, direct.payload_type, direct.event_payload_type) == (
        200,
        6020,
        8,
        97,
    )
    assert (held.sip_status, back.sip_status, back.remote_rtp_port) == (200, 200, 6000)
    _, first, second, third = peer.requests("INVITE")
    assert [sdp_line(first, start) for start in ("c=", "m=", "a=send")] == [
        "c=IN IP4 127.0.0.9",
        "m=audio 5004 RTP/AVP 8 97",
        "a=sendrecv",
    ]
    # The number of telephone-event stays what was agreed on, for the rest of the session (RFC 3264 8.3.2).
    assert (sdp_line(second, "m="), sdp_line(second, "a=send")) == ("m=audio 40000 RTP/AVP 0 8 97", "a=sendonly")
    assert sdp_line(third, "a=send") == "a=sendrecv"
    versions = [int(sdp_line(one, "o=").split()[2]) for one in (first, second, third)]
    assert versions == sorted(set(versions)), "RFC 3264 8: each change counts the version up"
    await hung_up(leg)


async def test_given_a_refusal_when_redirected_then_nothing_has_changed_and_the_far_end_is_answered_as_before(
    telephony, peer
):
    leg = await answered(telephony, peer)
    peer.will("INVITE", Reply(488))

    refused = await leg.redirect("127.0.0.9", 5004)

    assert (refused.sip_status, refused.remote_rtp_port) == (488, 0)
    peer.request("INVITE", "Content-Type: application/sdp", body=SDP.replace("1 1 IN", "1 2 IN") + "a=sendonly\r\n")
    await until(lambda: any(one.status == 200 for one in peer.responses("INVITE")))
    answer = next(one for one in peer.responses("INVITE") if one.status == 200)
    peer.request("ACK")
    assert [sdp_line(answer, start) for start in ("c=", "m=audio 40000", "a=recvonly")] == [
        "c=IN IP4 127.0.0.1",
        "m=audio 40000 RTP/AVP 0 101",
        "a=recvonly",
    ]
    await hung_up(leg)


async def test_given_glare_when_redirected_then_it_is_tried_again_after_the_wait_of_the_rfc(telephony, peer):
    leg = await answered(telephony, peer)
    peer.will("INVITE", Reply(491), Reply())
    started_s = trio.current_time()

    done = await leg.redirect("127.0.0.9", 5004)

    assert done.sip_status == 200
    assert trio.current_time() - started_s >= 2.1
    assert len(peer.requests("INVITE")) == 3
    await hung_up(leg)


async def test_given_a_challenge_when_redirected_then_credentials_go_along_and_the_last_answer_counts(telephony, peer):
    peer.will("INVITE", Reply(), Reply(401, (CHALLENGE,)), Reply(200))
    leg = await answered(telephony, peer, username="dialer", password="secret")

    done = await leg.redirect("127.0.0.9", 5004)

    assert done.sip_status == 200
    assert "authorization" in dict(peer.requests("INVITE")[-1].headers)
    await hung_up(leg)


@pytest.mark.parametrize("status", [481, 408])
async def test_given_a_far_end_that_lost_the_call_when_redirected_then_its_status_and_the_end(telephony, peer, status):
    leg = await answered(telephony, peer)
    peer.will("INVITE", Reply(status))

    done = await leg.redirect("127.0.0.9", 5004)
    ended = (await events_until_end(leg))[-1]

    assert done.sip_status == status
    assert isinstance(ended, LegEnded)
    assert ended.was_answered
    assert (await leg.redirect("127.0.0.9", 5004)).sip_status == 0


async def test_given_two_redirects_when_the_first_has_no_answer_yet_then_the_second_waits_its_turn(telephony, peer):
    leg = await answered(telephony, peer)
    peer.will("INVITE", Reply(0), Reply())
    results = []

    async def redirect(port: int) -> None:
        results.append((port, (await leg.redirect("127.0.0.9", port)).sip_status))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(redirect, 5004)
        await until(lambda: len(peer.requests("INVITE")) == 2)
        nursery.start_soon(redirect, 5006)
        await trio.sleep(0.1)
        assert results == []
        peer.reply(peer.requests("INVITE")[1], Reply())

    assert sorted(results) == [(5004, 200), (5006, 200)]
    ports = [sdp_line(one, "m=").split()[1] for one in peer.requests("INVITE")]
    assert list(dict.fromkeys(ports)) == ["40000", "5004", "5006"]
    await hung_up(leg)


async def test_given_a_far_end_that_hangs_up_when_a_redirect_waits_then_status_0(telephony, peer):
    leg = await answered(telephony, peer)
    peer.will("INVITE", Reply(0, then=lambda _: peer.request("BYE")))

    done = await leg.redirect("127.0.0.9", 5004)

    assert done.sip_status in (0, 487)  # 487: pjsua settles its own request before it tells of the BYE
    assert isinstance((await events_until_end(leg))[-1], LegEnded)


async def test_given_a_far_end_that_moves_when_direct_then_its_new_address_is_progress_200(telephony, peer):
    leg = await answered(telephony, peer)
    assert (await leg.redirect("127.0.0.9", 5004)).sip_status == 200

    peer.request("INVITE", "Content-Type: application/sdp", body=SDP.replace("6000", "6044"))
    moved = await event_of(leg, LegProgress)

    assert (moved.sip_status, moved.remote_rtp_port) == (200, 6044)
    await until(lambda: any(one.status == 200 for one in peer.responses("INVITE")))
    (answer,) = [one for one in peer.responses("INVITE") if one.status == 200]
    assert sdp_line(answer, "c=") == "c=IN IP4 127.0.0.9"  # still the other party's
    peer.request("ACK")
    await hung_up(leg)


# --- REFER and INFO ------------------------------------------------------------------------------------------------


async def test_given_two_legs_when_one_is_referred_to_the_other_then_refer_to_names_its_dialog(telephony, peer):
    customer = await answered(telephony, peer)
    agent = await answered(telephony, peer)
    peer.will("REFER", Reply(202, then=lambda _: peer.notify("SIP/2.0 100 Trying", False)))

    await agent.refer(
        "sip:customer@127.0.0.1:5070",
        replaces=customer.dialog,
        headers=(("X-Queue", "7"),),
        target_headers=(("User-to-User", "00c8;encoding=hex"),),
    )
    accepted = await event_of(agent, Referred)
    progress = await event_of(agent, Referred)
    peer.notify("SIP/2.0 200 OK", True)
    final = await event_of(agent, Referred)
    while not final.final:
        final = await event_of(agent, Referred)

    assert (accepted.sip_status, accepted.final) == (202, False)
    assert (progress.sip_status, progress.final) == (100, False)
    assert (final.sip_status, final.final) == (200, True)
    (refer,) = peer.requests("REFER")
    assert refer.header("x-queue") == "7"
    assert customer.dialog is not None
    assert refer.header("refer-to") == (
        "<sip:customer@127.0.0.1:5070?"
        f"Replaces={customer.dialog.call_id}%3Bto-tag%3Dplayed%3Bfrom-tag%3D{customer.dialog.local_tag}"
        "&User-to-User=00c8%3Bencoding%3Dhex>"
    )
    invite = peer.requests("INVITE")[0]
    assert (customer.dialog.local_tag, customer.dialog.remote_uri) == (invite.from_tag, peer.uri)
    await hung_up(customer)
    await hung_up(agent)


@pytest.mark.parametrize("status", [501, 603])
async def test_given_a_far_end_that_refuses_when_referred_then_final_with_its_status_and_the_leg_stays(
    telephony, peer, status
):
    leg = await answered(telephony, peer)
    peer.will("REFER", Reply(status))

    await leg.refer("sip:queue@127.0.0.1:5070")

    refused = await event_of(leg, Referred)
    assert (refused.sip_status, refused.final) == (status, True)
    assert (await leg.redirect("127.0.0.1", 40000)).sip_status == 200
    await hung_up(leg)


async def test_given_a_target_that_is_none_when_referred_then_refused_and_nothing_leaves(telephony, peer):
    leg = await answered(telephony, peer)
    for target in ("not a uri", "sip:a@b?Subject=x", "sip:a@b>\r\nX: 1"):
        await leg.refer(target)
        refused = await event_of(leg, Referred)
        assert (refused.sip_status, refused.final) == (400, True)
    assert peer.requests("REFER") == []
    await hung_up(leg)


async def test_given_a_far_end_that_hangs_up_when_it_has_accepted_then_final_before_the_end(telephony, peer):
    leg = await answered(telephony, peer)
    peer.will("REFER", Reply(202, then=lambda _: peer.request("BYE")))

    await leg.refer("sip:queue@127.0.0.1:5070")

    *told, ended = await events_until_end(leg)
    assert isinstance(ended, LegEnded)
    final = [one for one in told if isinstance(one, Referred)][-1]
    assert (final.sip_status, final.final) == (202, True)


async def test_given_a_far_end_that_hangs_up_before_it_has_accepted_then_it_was_not_transferred(telephony, peer):
    leg = await answered(telephony, peer)
    peer.will("REFER", Reply(0))
    await leg.refer("sip:queue@127.0.0.1:5070")
    await until(lambda: peer.requests("REFER"))

    peer.request("BYE")

    *told, ended = await events_until_end(leg)
    assert isinstance(ended, LegEnded)
    assert [one for one in told if isinstance(one, Referred)] == []


async def test_given_a_gateway_that_reports_by_info_when_it_does_then_it_is_told_and_answered_200(telephony, peer):
    leg = await answered(telephony, peer)

    peer.request("INFO", "Content-Type: application/x-detect", body="Type= AMD\r\nSubType= VOICE\r\n")
    info = await event_of(leg, LegInfo)

    assert (info.content_type, info.body) == ("application/x-detect", "Type= AMD\nSubType= VOICE\n")
    await until(lambda: peer.responses("INFO"))
    assert [one.status for one in peer.responses("INFO")] == [200]
    await hung_up(leg)


async def test_given_a_flood_of_info_when_it_comes_then_most_of_it_and_all_that_is_too_long_is_dropped(telephony, peer):
    leg = await answered(telephony, peer)
    floods = 100

    for sent in range(1, floods + 1):
        peer.request("INFO", "Content-Type: text/plain", body="ä" * MAX_INFO_BYTES)
        if sent % 10 == 0:  # more than that the kernel would drop
            await until(lambda sent=sent: len(peer.responses("INFO")) == sent)
    await leg.hang_up()

    infos = [event for event in await events_until_end(leg) if isinstance(event, LegInfo)]
    seconds = {int(info.at_s) for info in infos}
    assert 1 <= len(infos) <= MAX_INFO_PER_S * len(seconds)
    assert all(len(info.body.encode()) <= MAX_INFO_BYTES for info in infos)


# --- what sessions want to know of a trunk ---------------------------------------------------------------------------


async def test_given_a_trunk_that_is_overloaded_when_it_refuses_then_retry_after_and_wanted_headers(telephony, peer):
    peer.will("INVITE", Reply(503, ("Retry-After: 17 (a moment)", "Server: gateway 3.1", "X-Other: 1")))
    leg = await telephony.place_call(a_call(peer.uri, wanted_headers=("Server", "X-Missing")))

    ended = (await events_until_end(leg))[-1]

    assert (ended.sip_status, ended.retry_after_s, ended.responded) == (503, 17.0, True)
    assert ended.headers == (("Server", "gateway 3.1"),)


async def test_given_wanted_headers_when_the_call_goes_on_then_each_message_tells_its_own(telephony, peer):
    peer.will("INVITE", Reply(183, ("X-Detect: Request",), body=SDP))
    leg = await telephony.place_call(a_call(peer.uri, wanted_headers=("x-detect",)))
    progress = await event_of(leg, LegProgress)
    peer.reply(peer.requests("INVITE")[0], Reply(200, ("X-Detect: Response=AMD,CPT",)))
    answer = await event_of(leg, LegAnswered)
    peer.request("BYE", "X-Detect: over")
    ended = (await events_until_end(leg))[-1]

    told = [event.headers for event in (progress, answer, ended)]
    assert told == [(("x-detect", value),) for value in ("Request", "Response=AMD,CPT", "over")]


async def test_given_a_trunk_that_says_nothing_when_we_give_up_then_it_never_responded(telephony, peer):
    peer.will("INVITE", *[Reply(0)] * 10)
    leg = await telephony.place_call(a_call(peer.uri, no_answer_s=1.0))

    ended = (await events_until_end(leg))[-1]

    assert (ended.responded, ended.no_answer) == (False, True)


async def test_given_a_trunk_that_only_says_trying_when_we_give_up_then_it_has_responded(telephony, peer):
    peer.will("INVITE", Reply(100))
    leg = await telephony.place_call(a_call(peer.uri, no_answer_s=1.0))

    ended = (await events_until_end(leg))[-1]

    assert (ended.responded, ended.no_answer) == (True, True)


@pytest.mark.parametrize("credentials", [{}, {"username": "dialer", "password": "wrong"}])
async def test_given_credentials_that_do_not_fit_when_called_then_407_once_and_said_so(telephony, peer, credentials):
    peer.will("INVITE", *[Reply(407, (PROXY_CHALLENGE,))] * 5)
    leg = await telephony.place_call(a_call(peer.uri, **credentials))

    ended = (await events_until_end(leg))[-1]

    assert (ended.sip_status, ended.ended_by) == (407, "remote")
    assert "credentials" in ended.reason_text
    assert len(peer.requests("INVITE")) == 1 + bool(credentials)


@pytest.mark.parametrize(("asked_s", "header"), [(0, ""), (120, "120")])
async def test_given_a_session_timer_when_called_then_it_is_asked_for_or_not(telephony, peer, asked_s, header):
    leg = await answered(telephony, peer, session_expires_s=asked_s)

    assert peer.requests("INVITE")[0].header("session-expires") == header
    await hung_up(leg)


async def test_given_a_reliable_provisional_response_when_it_comes_then_prack(telephony, peer):
    peer.will("INVITE", Reply(183, ("Require: 100rel", "RSeq: 5"), body=SDP))
    leg = await telephony.place_call(a_call(peer.uri))
    progress = await event_of(leg, LegProgress)
    await until(lambda: peer.requests("PRACK"))
    await hung_up(leg)

    assert (progress.sip_status, progress.remote_rtp_port) == (183, 6000)
    assert peer.requests("PRACK")[0].header("rack").startswith("5 ")


# --- probes ----------------------------------------------------------------------------------------------------------


async def test_given_trunks_when_probed_then_any_status_is_somebody_and_silence_is_0_in_time(telephony, peer):
    peer.will("OPTIONS", Reply(200), Reply(503), Reply(401, (CHALLENGE,)), *[Reply(0)] * 10)

    up, sick, strict = [await telephony.probe(peer.uri) for _ in range(3)]
    started_s = trio.current_time()
    silent = await telephony.probe(peer.uri, timeout_s=0.4)

    assert [one.sip_status for one in (up, sick, strict, silent)] == [200, 503, 401, 0]
    assert 0.0 < up.rtt_s < 2.0
    assert silent.why
    assert trio.current_time() - started_s < 20.0  # pjsip itself would take 32 s
    assert (await telephony.probe("no uri")).sip_status == 0


async def test_given_a_carrier_that_probes_us_when_it_does_then_200_and_no_call(telephony, peer):
    leg = await answered(telephony, peer)  # so that the peer knows a worker's address
    there = peer.requests("INVITE")[0].contact_uri.removeprefix("sip:").partition(";")[0].partition("@")[2]
    host, port = there.split(":")

    for method in ("OPTIONS", "INVITE"):
        peer.send(
            f"{method} sip:{there} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{peer.port};branch=z9hG4bK{method}\r\n"
            f"Max-Forwards: 70\r\nFrom: <sip:carrier@127.0.0.1>;tag={method}\r\nTo: <sip:{there}>\r\n"
            f"Call-ID: {method}-{peer.port}\r\nCSeq: 1 {method}\r\nContact: <{peer.uri}>\r\nContent-Length: 0\r\n\r\n",
            (host, int(port)),
        )

    await until(lambda: any(one.status >= 200 for one in peer.responses("OPTIONS")))
    await until(lambda: any(one.status >= 200 for one in peer.responses("INVITE")))
    assert [one.status for one in peer.responses("OPTIONS")] == [200]
    # 486: the worker's calls are all taken, for example by those that were cancelled and get no 487 from this peer.
    assert {one.status for one in peer.responses("INVITE") if one.status >= 200} <= {403, 486}
    await hung_up(leg)


async def test_given_broken_messages_with_numbers_when_they_flood_then_the_log_has_neither(telephony, peer, run_dir):
    leg = await answered(telephony, peer)
    there = peer.requests("INVITE")[0].contact_uri.removeprefix("sip:").partition(";")[0].partition("@")[2]
    host, port = there.split(":")
    log = run_dir / "pool.log"
    before = len(log.read_text())
    for _ in range(200):  # no CSeq: the stack writes of each, with all of it
        peer.send(
            f"INVITE sip:+4915112345678@x SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{peer.port};branch=z9hG4bKlog\r\n"
            f"To: <sip:+4915112345678@{there}>\r\nCall-ID: log\r\n\r\n",
            (host, int(port)),
        )

    await until(lambda: "Error processing" in log.read_text()[before:])
    await hung_up(leg)
    written = log.read_text()[before:]
    assert "15112345678" not in written
    assert written.count("\n") <= 2 * MAX_LINES


# --- transports ------------------------------------------------------------------------------------------------------


def answer_over_tcp(listener: socket.socket, received: list[SipMessage]) -> None:
    """Plays one call: 100, 180 and 200 in one piece, then 200 to what comes."""
    port = listener.getsockname()[1]
    stream, _ = listener.accept()
    with stream:
        while data := stream.recv(65536):
            request = parse_message(data.decode())
            received.append(request)
            statuses = {"INVITE": (100, 180, 200), "BYE": (200,)}.get(request.method, ())
            for status in statuses:
                body = SDP if (request.method, status) == ("INVITE", 200) else ""
                lines = [f"SIP/2.0 {status} Played", f"Via: {request.header('via')}", f"From: {request.header('from')}"]
                to = request.header("to")
                lines += [f"To: {to}" if "tag=" in to or status == 100 else f"To: {to};tag=tcp"]
                lines += [f"Call-ID: {request.header('call-id')}", f"CSeq: {request.header('cseq')}"]
                lines += [f"Contact: <sip:callee@127.0.0.1:{port};transport=tcp>"]
                lines += ["Content-Type: application/sdp"] if body else []
                text = "\r\n".join([*lines, f"Content-Length: {len(body)}"]) + "\r\n\r\n" + body
                stream.sendall(text.encode())
            if request.method == "BYE":
                return


async def test_given_a_trunk_over_tcp_when_called_then_everything_goes_over_tcp(telephony):
    received: list[SipMessage] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        uri = f"sip:callee@127.0.0.1:{listener.getsockname()[1]};transport=tcp"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, answer_over_tcp, listener, received)
            leg = await telephony.place_call(a_call(uri))
            answer = await event_of(leg, LegAnswered)
            await hung_up(leg)

    assert answer.remote_rtp_port == 6000
    assert [one.method for one in received] == ["INVITE", "ACK", "BYE"]
    assert all("SIP/2.0/TCP" in one.header("via") for one in received)


@pytest.mark.parametrize("uri", ["sips:a@127.0.0.1", "sip:a@127.0.0.1;transport=TLS", "sip:a@127.0.0.1;transport=ws"])
async def test_given_a_transport_that_is_not_spoken_when_called_then_refused_with_the_reason(telephony, uri):
    with pytest.raises(CallRefused, match="not spoken"):
        await telephony.place_call(a_call(uri))
    assert "not spoken" in (await telephony.probe(uri)).why


# --- registrations ----------------------------------------------------------------------------------------------------


def a_registration(peer: PlayedPeer, password: str = "secret") -> Register:
    return Register("trunk", f"sip:127.0.0.1:{peer.port}", "sip:dialer@carrier.test", "dialer", password, 60)


def accept_registrations(peer: PlayedPeer) -> None:
    peer.will("REGISTER", *[Reply(401, (CHALLENGE,)), Reply(200, ("Expires: 60",))] * 10)


async def test_given_a_registrar_when_kept_then_registered_with_digest_and_taken_back_when_not_wanted(telephony, peer):
    accept_registrations(peer)

    telephony.keep_registered([a_registration(peer)])
    await until(lambda: telephony.registered("trunk") is not None and telephony.registered("trunk").good)
    telephony.keep_registered([])
    await until(lambda: any(one.header("expires") == "0" for one in peer.requests("REGISTER")))

    assert telephony.registered("trunk") is None
    first, second, *_ = peer.requests("REGISTER")
    assert first.header("authorization") == ""
    assert 'username="dialer"' in second.header("authorization")
    assert "secret" not in "".join(peer.texts)
    await until(lambda: "authorization" in dict(peer.requests("REGISTER")[-1].headers))  # its challenge is answered


async def test_given_a_registrar_that_refuses_when_kept_then_told_and_tried_again(telephony, peer):
    peer.will("REGISTER", Reply(403), Reply(200, ("Expires: 60",)))

    telephony.keep_registered([a_registration(peer)])
    await until(lambda: telephony.registered("trunk") is not None and telephony.registered("trunk").sip_status == 403)
    assert not telephony.registered("trunk").good

    await until(lambda: telephony.registered("trunk").good)
    telephony.keep_registered([])
    await until(lambda: peer.requests("REGISTER")[-1].header("expires") == "0")


async def test_given_a_registrar_that_grants_other_times_when_kept_then_it_is_asked_so_and_again_before_they_end(
    telephony, peer
):
    """RFC 3261 10.2.8 (423), 10.2.4 (refreshing)."""
    asked_s: list[float] = []

    def note(_request: SipMessage) -> None:
        asked_s.append(time.monotonic())

    peer.will(
        "REGISTER", Reply(423, ("Min-Expires: 90",), then=note), Reply(200, ("Expires: 7",), then=note),
        Reply(403, then=note),
    )  # fmt: skip

    telephony.keep_registered([a_registration(peer)])
    await until(lambda: telephony.registered("trunk") is not None and telephony.registered("trunk").good)
    await until(lambda: telephony.registered("trunk").sip_status == 403)

    assert not telephony.registered("trunk").good, "a binding that is not renewed is none"
    asked = peer.requests("REGISTER")
    assert [one.header("expires") for one in asked[:3]] == ["60", "90", "90"]
    assert len({one.header("call-id") for one in asked[:3]}) == 1
    assert asked_s[2] - asked_s[1] < 7.0
    await until(lambda: telephony.registered("trunk").good)
    telephony.keep_registered([])
    await until(lambda: peer.requests("REGISTER")[-1].header("expires") == "0")


async def test_given_a_daemon_that_restarts_when_it_is_back_then_it_is_still_registered_and_nothing_was_sent(
    run_dir, peer
):
    accept_registrations(peer)
    with trio.fail_after(HANG_LIMIT_S):
        async with open_telephony(run_dir) as first:
            await all_connected(first, 2)
            first.keep_registered([a_registration(peer)])
            await until(lambda: first.registered("trunk") is not None and first.registered("trunk").good)
        sent = len(peer.requests("REGISTER"))
        async with open_telephony(run_dir) as second:
            await all_connected(second, 2)
            second.keep_registered([a_registration(peer)])
            await until(lambda: second.registered("trunk") is not None and second.registered("trunk").good)
            assert len(peer.requests("REGISTER")) == sent
            second.keep_registered([])
            await until(lambda: peer.requests("REGISTER")[-1].header("expires") == "0")


async def test_given_the_worker_that_holds_it_when_killed_then_another_one_registers_at_once(tmp_path, peer):
    accept_registrations(peer)
    with telephony_pool(tmp_path, 8), trio.fail_after(HANG_LIMIT_S):
        async with open_telephony(tmp_path) as telephony:
            await all_connected(telephony, 2)
            telephony.keep_registered([a_registration(peer)])
            await until(lambda: telephony.registered("trunk") is not None and telephony.registered("trunk").good)
            contact = peer.requests("REGISTER")[-1].contact_uri
            sip_port = int(contact.partition(";")[0].rpartition(":")[2])

            holder = next(one for one in workers_of(tmp_path) if listens_on_udp(one.pid, sip_port))
            killed_s = trio.current_time()
            holder.send_signal(signal.SIGKILL)

            await until(lambda: peer.requests("REGISTER")[-1].contact_uri != contact)
            took_s = trio.current_time() - killed_s
            await until(lambda: telephony.registered("trunk") is not None and telephony.registered("trunk").good)
            assert took_s < 5.0  # "at once"; the binding itself would last for a minute


# --- draining ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["command", "signal"])
async def test_given_a_conversation_when_drained_then_it_goes_on_and_then_all_workers_are_new(tmp_path, peer, by):
    with telephony_pool(tmp_path, 8) as pool, trio.fail_after(HANG_LIMIT_S):
        async with open_telephony(tmp_path) as telephony:
            await all_connected(telephony, 2)
            leg = await answered(telephony, peer)
            before = {one.pid for one in workers_of(tmp_path)}

            if by == "command":
                assert await telephony.drain() == 2
            else:
                os.kill(pool.pid, signal.SIGUSR1)
            await until(lambda: len({one.pid for one in workers_of(tmp_path)} & before) == 1)  # the idle one is new
            assert (await leg.redirect("127.0.0.1", 40000)).sip_status == 200
            (old,) = {one.pid for one in workers_of(tmp_path)} & before
            # By a signal to the pool fresh ones serve beside those that finish; by command each makes place first.
            await until(lambda: telephony.capacity == (4 if by == "command" else 8))

            other = await answered(telephony, peer)  # there is room at the new one
            await hung_up(leg)
            await until(lambda: old not in {one.pid for one in workers_of(tmp_path)})
            await until(lambda: telephony.capacity == 8)
            await other.hang_up()
            ended = (await events_until_end(other))[-1]

    assert not isinstance(ended, LegLost)


async def test_given_a_leg_that_was_redirected_when_the_daemon_is_another_then_its_dialog_is_known(run_dir, peer):
    with trio.fail_after(HANG_LIMIT_S):
        async with open_telephony(run_dir) as first:
            leg = await answered(first, peer)
            await leg.protect()
            peer.will("INVITE", Reply(body=SDP.replace("6000", "6060")))
            assert (await leg.redirect("127.0.0.9", 5004)).remote_rtp_port == 6060
            dialog = leg.dialog
        async with open_telephony(run_dir) as second:
            await until(lambda: any(one.leg_id == leg.leg_id for one in second.live_legs()))
            (snapshot,) = [one for one in second.live_legs() if one.leg_id == leg.leg_id]
            adopted = second.adopt(leg.leg_id)
            assert adopted is not None
            assert (snapshot.state, snapshot.remote_rtp_port) == (LegState.ANSWERED, 6060)
            assert adopted.dialog == dialog is not None
            assert (await adopted.redirect("127.0.0.1", 40000)).sip_status == 200
            await hung_up(adopted)


def workers_of(run_dir: Path) -> list[ProcessIdentity]:
    found = [ProcessIdentity.read(lock) for lock in run_dir.glob("worker-*.lock")]
    return [one for one in found if one is not None and one.alive]


def listens_on_udp(pid: int, port: int) -> bool:
    inodes = {
        fields[9]
        for fields in (line.split() for line in Path("/proc/net/udp").read_text().splitlines()[1:])
        if int(fields[1].partition(":")[2], 16) == port
    }
    links = (os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir())
    return any(link == f"socket:[{inode}]" for link in links for inode in inodes)
