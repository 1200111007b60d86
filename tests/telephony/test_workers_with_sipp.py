"""Real workers, real SIP over 127.0.0.1, SIPp as the called party."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from telephony.api import CallRefused, LegLost, LegReport, NoCapacity, WorkerLost
from telephony.client import TelephonyClient, WorkerLeg, open_telephony
from telephony.contract import LegAnswered, LegEnded, LegProgress, LegState, PlaceCall
from telephony.procs import ProcessIdentity, is_listening
from tests.telephony.sipp_peer import SippPeer, sipp_uas

HANG_LIMIT_S = 30.0
_numbers = iter(range(1, 10_000))


@contextmanager
def telephony_pool(run_dir: Path, legs: int, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """``ocsd-telephony`` as a child, its workers listening; afterwards none of them is left."""
    command = [sys.executable, "-m", "telephony.worker.pool", "--run-dir", str(run_dir), "--legs", str(legs), *options]
    with (run_dir / "pool.log").open("ab") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        wait_until(lambda: is_listening(run_dir / f"worker-{-(-legs // 4) - 1}.sock") or process.poll() is not None)
        yield process
    finally:
        process.terminate()
        process.wait(20)
        for lock in run_dir.glob("worker-*.lock"):  # workers of a killed parent
            if (holder := ProcessIdentity.read(lock)) is not None:
                holder.send_signal(signal.SIGKILL)


def wait_until(condition, limit_s: float = HANG_LIMIT_S) -> None:
    until_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < until_s, "never happened"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("run")
    with telephony_pool(path, 8):
        yield path


def a_call(uri: str, **changes) -> PlaceCall:
    command = {
        "leg_id": f"leg-{os.getpid()}-{next(_numbers)}",
        "uri": uri,
        "from_uri": "sip:+15550001@dialer.test",
        "rtp_host": "127.0.0.1",
        "rtp_port": 40000,
        "no_answer_s": 20.0,
    }
    return PlaceCall(**(command | changes))


async def events_until_end(leg: WorkerLeg) -> list[LegReport]:
    with trio.fail_after(HANG_LIMIT_S):
        return [event async for event in leg.events]


async def event_of(leg: WorkerLeg, kind: type) -> LegReport:
    with trio.fail_after(HANG_LIMIT_S):
        async for event in leg.events:
            if isinstance(event, kind):
                return event
    raise AssertionError(f"no {kind.__name__}")


async def outcome(telephony: TelephonyClient, peer: SippPeer, **changes) -> tuple[list[LegReport], LegEnded]:
    """Place one call that the far end settles."""
    events = await events_until_end(await telephony.place_call(a_call(peer.uri(), **changes)))
    assert isinstance(events[-1], LegEnded), events
    return events, events[-1]


async def all_connected(telephony: TelephonyClient, workers: int) -> None:
    with trio.fail_after(HANG_LIMIT_S):
        while telephony.workers_connected < workers:  # noqa: ASYNC110 - a poll is all a reader of the property has
            await trio.sleep(0.02)


def threads_of(lock: Path) -> set[str]:
    """The names of the threads of the process that holds this lock."""
    holder = ProcessIdentity.read(lock)
    assert holder is not None
    return {path.read_text().strip() for path in Path(f"/proc/{holder.pid}/task").glob("*/comm")}


async def finished(peer: SippPeer) -> int:
    return await trio.to_thread.run_sync(peer.finish)


async def test_given_an_answering_party_when_we_hang_up_then_the_leg_ends_locally(run_dir, tmp_path):
    with sipp_uas("answer", tmp_path) as peer:
        async with open_telephony(run_dir) as telephony:
            leg = await telephony.place_call(
                a_call(peer.uri(), display_name='Acme "1"', headers=(("P-Asserted-Identity", "<sip:1@a.test>"),))
            )
            ringing = await event_of(leg, LegProgress)
            answered = await event_of(leg, LegAnswered)
            await leg.hang_up("done")
            ended = (await events_until_end(leg))[-1]
        assert await finished(peer) == 0, peer.errors

    assert (ringing.sip_status, ringing.remote_rtp_port) == (180, 0)
    assert (answered.remote_rtp_host, answered.remote_rtp_port) == ("127.0.0.1", 6000)
    assert (ended.ended_by, ended.sip_status, ended.was_answered, ended.reason_text) == ("local", 200, True, "done")
    assert [line.split()[0] for line in peer.received] == ["INVITE", "ACK", "BYE"]
    assert 'From: "Acme \\"1\\"" <sip:+15550001@dialer.test>' in peer.trace
    assert "P-Asserted-Identity: <sip:1@a.test>" in peer.trace
    assert "m=audio 40000 RTP/AVP 0 8 101" in peer.trace


async def test_given_more_calls_than_the_stacks_bridge_has_ports_when_one_worker_takes_them_then_all_are_answered(
    tmp_path,
):
    calls = 320  # the bridge holds 254, and frees none unless it is turned
    statuses: list[int] = []

    async def some(telephony: TelephonyClient, uri: str) -> None:
        for _ in range(calls // 2):
            leg = await telephony.place_call(a_call(uri))
            await event_of(leg, LegAnswered)
            await leg.hang_up()
            statuses.extend(event.sip_status for event in await events_until_end(leg) if isinstance(event, LegEnded))

    with sipp_uas("answer", tmp_path, calls=calls) as peer, telephony_pool(tmp_path, 4):
        async with open_telephony(tmp_path) as telephony:
            await all_connected(telephony, 1)
            async with trio.open_nursery() as nursery:
                for _ in range(2):
                    nursery.start_soon(some, telephony, peer.uri())
        threads = threads_of(tmp_path / "worker-0.lock")

    assert statuses == [200] * calls
    assert "clock" not in threads, "nothing beats in a worker where nobody hears it"


@pytest.mark.parametrize(
    ("scenario", "kinds"), [("answer", (0, 101)), ("answer_alaw", (8, 97)), ("answer_no_events", (8, 0))]
)
async def test_given_an_answer_when_it_names_payload_types_then_those_are_told(run_dir, tmp_path, scenario, kinds):
    with sipp_uas(scenario, tmp_path) as peer:
        async with open_telephony(run_dir) as telephony:
            leg = await telephony.place_call(a_call(peer.uri()))
            answered = await event_of(leg, LegAnswered)
            await leg.hang_up()
            await events_until_end(leg)
        assert await finished(peer) == 0, peer.errors

    assert (answered.payload_type, answered.event_payload_type) == kinds


async def test_given_an_answered_leg_when_the_far_end_says_bye_then_cause_and_side_are_told(run_dir, tmp_path):
    with sipp_uas("answer_far_bye", tmp_path) as peer:
        async with open_telephony(run_dir) as telephony:
            events, ended = await outcome(telephony, peer)
        assert await finished(peer) == 0, peer.errors

    assert [type(event) for event in events] == [LegProgress, LegAnswered, LegEnded]
    assert (ended.ended_by, ended.was_answered, ended.q850_cause) == ("remote", True, 16)


async def test_given_a_ringing_party_when_the_limit_runs_out_then_cancel_and_no_answer(run_dir, tmp_path):
    with sipp_uas("no_answer", tmp_path) as peer:
        async with open_telephony(run_dir) as telephony:
            _, ended = await outcome(telephony, peer, no_answer_s=0.5)
        assert await finished(peer) == 0, peer.errors

    assert (ended.ended_by, ended.no_answer, ended.was_answered, ended.sip_status) == ("local", True, False, 487)
    assert [line.split()[0] for line in peer.received] == ["INVITE", "CANCEL", "ACK"]


async def test_given_our_cancel_when_the_200_crosses_it_then_ack_and_bye_follow_and_nobody_hears_of_an_answer(
    run_dir, tmp_path
):
    with sipp_uas("cancel_crosses_answer", tmp_path) as peer:
        async with open_telephony(run_dir) as telephony:
            leg = await telephony.place_call(a_call(peer.uri()))
            await event_of(leg, LegProgress)
            await leg.hang_up()
            events = await events_until_end(leg)
        assert await finished(peer) == 0, peer.errors

    assert [(type(event), event.ended_by, event.was_answered) for event in events] == [(LegEnded, "local", False)]
    assert [line.split()[0] for line in peer.received] == ["INVITE", "CANCEL", "ACK", "BYE"]


async def test_given_early_media_when_the_answer_moves_it_then_both_addresses_are_told(run_dir, tmp_path):
    with sipp_uas("early_media", tmp_path) as peer:
        async with open_telephony(run_dir) as telephony:
            leg = await telephony.place_call(a_call(peer.uri()))
            early = await event_of(leg, LegProgress)
            answered = await event_of(leg, LegAnswered)
            await leg.hang_up()
            await events_until_end(leg)
        assert await finished(peer) == 0, peer.errors

    assert (early.sip_status, early.remote_rtp_host, early.remote_rtp_port) == (183, "127.0.0.1", 6000)
    assert answered.remote_rtp_port == 6002


async def test_given_an_answered_leg_when_the_far_end_moves_its_audio_then_progress_200_tells_where(run_dir, tmp_path):
    with sipp_uas("reinvite_moves_media", tmp_path) as peer:
        async with open_telephony(run_dir) as telephony:
            leg = await telephony.place_call(a_call(peer.uri()))
            await event_of(leg, LegAnswered)
            moved = await event_of(leg, LegProgress)
            await leg.hang_up()
            await events_until_end(leg)
        assert await finished(peer) == 0, peer.errors

    assert (moved.sip_status, moved.remote_rtp_port) == (200, 6010)
    offer, answer = [part for part in peer.trace.split("UDP message received") if "m=audio 40000 RTP/AVP" in part]
    assert "INVITE sip:+15550100" in offer
    assert "SIP/2.0 200 OK" in answer


async def test_given_a_proxy_when_called_then_the_invite_goes_there_with_the_request_uri_untouched(run_dir, tmp_path):
    with sipp_uas("busy_486", tmp_path) as peer:
        async with open_telephony(run_dir) as telephony:
            leg = await telephony.place_call(a_call("sip:+15550100@pbx.invalid", proxy=f"127.0.0.1:{peer.port}"))
            ended = (await events_until_end(leg))[-1]
        assert await finished(peer) == 0, peer.errors

    assert ended.sip_status == 486
    assert peer.received[0] == "INVITE sip:+15550100@pbx.invalid SIP/2.0"


@pytest.mark.parametrize(
    ("scenario", "status"),
    [
        ("not_found_404", 404),
        ("timeout_408", 408),
        ("unavailable_480", 480),
        ("busy_486", 486),
        ("decline_603", 603),
        ("proxy_auth_407_only", 407),
    ],
)
async def test_given_a_refusing_party_when_called_then_its_status_is_told(run_dir, tmp_path, scenario, status):
    with sipp_uas(scenario, tmp_path) as peer:
        async with open_telephony(run_dir) as telephony:
            _, ended = await outcome(telephony, peer)
        assert await finished(peer) == 0, peer.errors

    assert (ended.sip_status, ended.ended_by, ended.was_answered) == (status, "remote", False)
    assert ended.q850_cause is None


async def test_given_a_reason_header_when_refused_then_the_q850_cause_is_told(run_dir, tmp_path):
    with sipp_uas("unavailable_503_q850", tmp_path) as peer:
        async with open_telephony(run_dir) as telephony:
            _, ended = await outcome(telephony, peer)

    assert (ended.sip_status, ended.q850_cause) == (503, 34)
    assert ended.reason_text == "No circuit, channel; available"


async def test_given_a_302_when_called_then_it_is_reported_and_not_followed(run_dir, tmp_path):
    with sipp_uas("redirect_302", tmp_path) as peer:
        async with open_telephony(run_dir) as telephony:
            _, ended = await outcome(telephony, peer)
        assert await finished(peer) == 0, peer.errors

    assert (ended.sip_status, ended.redirect_to) == (302, "sip:+15550199@192.0.2.77:5070")


@pytest.mark.parametrize("scenario", ["proxy_auth_407", "auth_401"])
async def test_given_credentials_when_challenged_then_the_call_is_answered(run_dir, tmp_path, scenario):
    with sipp_uas(scenario, tmp_path) as peer:
        async with open_telephony(run_dir) as telephony:
            leg = await telephony.place_call(a_call(peer.uri(), username="dialer", password="secret"))
            await event_of(leg, LegAnswered)
            await leg.hang_up()
            await events_until_end(leg)
        assert await finished(peer) == 0, peer.errors


async def test_given_wrong_credentials_when_challenged_then_the_refusal_is_told(run_dir, tmp_path):
    with sipp_uas("auth_401", tmp_path) as peer:
        async with open_telephony(run_dir) as telephony:
            _, ended = await outcome(telephony, peer, username="dialer", password="wrong")

    assert (ended.sip_status, ended.ended_by) == (403, "remote")


async def test_given_an_answer_with_malformed_sdp_when_called_then_the_leg_ends_in_error(run_dir, tmp_path):
    with sipp_uas("malformed_sdp", tmp_path) as peer:
        async with open_telephony(run_dir) as telephony:
            _, ended = await outcome(telephony, peer)
        assert await finished(peer) == 0, peer.errors

    assert (ended.ended_by, ended.was_answered, ended.sip_status) == ("error", False, 200)


@pytest.mark.parametrize(
    "changes",
    [
        {"uri": "tel:+15550100"},
        {"uri": "sip:a@127.0.0.1\r\nX-Evil: 1"},
        {"from_uri": "nonsense"},
        {"rtp_host": "no.address"},
        {"rtp_port": 0},
        {"headers": (("Bad Name", "x"),)},
        {"headers": (("X-A", "x\r\nX-B: y"),)},
        {"proxy": "host;lr>evil"},
    ],
)
async def test_given_a_command_no_worker_can_carry_out_when_placed_then_it_is_refused_and_workers_live(
    run_dir, changes
):
    async with open_telephony(run_dir) as telephony:
        with pytest.raises(CallRefused):
            await telephony.place_call(
                a_call("sip:1@127.0.0.1:9", **{k: v for k, v in changes.items() if k != "uri"})
                if "uri" not in changes
                else a_call(changes["uri"])
            )
        assert (telephony.in_use, telephony.capacity, telephony.workers_connected) == (0, 8, 2)


async def test_given_all_slots_in_use_when_one_more_is_placed_then_no_capacity_and_afterwards_room_again(
    run_dir, tmp_path
):
    with sipp_uas("answer", tmp_path, calls=9) as peer:
        async with open_telephony(run_dir) as telephony:
            legs = [await telephony.place_call(a_call(peer.uri())) for _ in range(8)]
            for leg in legs:
                await event_of(leg, LegAnswered)
            assert telephony.in_use == telephony.capacity == 8
            with pytest.raises(NoCapacity):
                await telephony.place_call(a_call(peer.uri()))
            await legs[3].hang_up()
            await events_until_end(legs[3])
            legs[3] = await telephony.place_call(a_call(peer.uri()))
            await event_of(legs[3], LegAnswered)
            for leg in legs:
                await leg.aclose()
        assert await finished(peer) == 0, peer.errors


async def test_given_no_worker_when_a_call_is_placed_then_worker_lost_which_is_a_kind_of_no_capacity(tmp_path):
    async with open_telephony(tmp_path) as telephony:
        with pytest.raises(WorkerLost) as caught:
            await telephony.place_call(a_call("sip:1@127.0.0.1:9"))
    assert isinstance(caught.value, NoCapacity)


async def test_given_a_leg_when_the_daemon_restarts_then_it_is_adopted_and_a_missed_end_is_told(run_dir, tmp_path):
    with sipp_uas("answer", tmp_path) as stays, sipp_uas("answer_far_bye", tmp_path) as leaves:
        async with open_telephony(run_dir) as telephony:
            leg = await telephony.place_call(a_call(stays.uri()))
            await leg.protect()
            await event_of(leg, LegAnswered)
            other = await telephony.place_call(a_call(leaves.uri()))
        assert await finished(leaves) == 0, leaves.errors

        async with open_telephony(run_dir) as telephony:
            found = {each.leg_id: each for each in telephony.live_legs()}
            assert found[leg.leg_id].state is LegState.ANSWERED
            assert found[leg.leg_id].protected
            assert found[other.leg_id].state is LegState.ENDED
            missed = await events_until_end(telephony.adopt(other.leg_id))
            adopted = telephony.adopt(leg.leg_id)
            assert telephony.adopt(leg.leg_id) is None
            answered = await event_of(adopted, LegAnswered)
            await adopted.hang_up()
            ended = (await events_until_end(adopted))[-1]
        assert await finished(stays) == 0, stays.errors

    assert [type(event) for event in missed] == [LegAnswered, LegEnded]
    assert (missed[-1].ended_by, missed[-1].q850_cause) == ("remote", 16)
    assert answered.remote_rtp_port == 6000
    assert ended.ended_by == "local"


async def test_given_unclaimed_legs_when_hung_up_then_the_far_end_gets_bye(run_dir, tmp_path):
    with sipp_uas("answer", tmp_path) as peer:
        async with open_telephony(run_dir) as telephony:
            leg = await telephony.place_call(a_call(peer.uri()))
            await event_of(leg, LegAnswered)
        async with open_telephony(run_dir) as telephony:
            assert await telephony.hang_up_unclaimed() == 1
            assert await finished(peer) == 0, peer.errors


async def test_given_a_second_daemon_when_it_connects_then_the_first_loses_its_links(run_dir):
    async with open_telephony(run_dir) as first:
        links = [worker.link for worker in first._workers.values()]
        async with open_telephony(run_dir) as second:
            assert second.workers_connected == 2
            with trio.fail_after(HANG_LIMIT_S):
                for link in links:
                    async for _ in link.events:
                        pass
        assert all(link.lost for link in links)


async def test_given_a_killed_worker_when_it_held_a_leg_then_leg_lost_and_a_new_worker_takes_calls(tmp_path):
    with telephony_pool(tmp_path, 4), sipp_uas("answer", tmp_path, calls=2) as peer:
        async with open_telephony(tmp_path) as telephony:
            leg = await telephony.place_call(a_call(peer.uri()))
            await event_of(leg, LegAnswered)
            victim = ProcessIdentity.read(tmp_path / "worker-0.lock")
            assert victim.send_signal(signal.SIGKILL)
            lost = (await events_until_end(leg))[-1]
            await all_connected(telephony, 1)
            again = await telephony.place_call(a_call(peer.uri()))
            await event_of(again, LegAnswered)
            await again.hang_up()
            await events_until_end(again)

    assert isinstance(lost, LegLost)
    assert lost.was_answered


async def test_given_a_killed_parent_when_a_new_one_starts_then_workers_and_their_legs_stay(tmp_path):
    with sipp_uas("answer", tmp_path) as peer:
        with telephony_pool(tmp_path, 8) as parent:
            async with open_telephony(tmp_path) as telephony:
                leg = await telephony.place_call(a_call(peer.uri()))
                await event_of(leg, LegAnswered)
                pids = {lock: ProcessIdentity.read(lock) for lock in tmp_path.glob("worker-*.lock")}
                victim, survivor = sorted(pids, key=lambda lock: lock.name == f"{_slot_of(telephony, leg)}.lock")
                parent.kill()
                parent.wait()
                # One worker dies while nobody looks after it: the new parent has exactly that one to start.
                assert pids[victim].send_signal(signal.SIGKILL)
                with telephony_pool(tmp_path, 8):
                    await trio.to_thread.run_sync(
                        wait_until, lambda: ProcessIdentity.read(victim) not in (None, pids[victim])
                    )
                    assert ProcessIdentity.read(survivor) == pids[survivor]
                    await leg.hang_up()
                    assert isinstance((await events_until_end(leg))[-1], LegEnded)
                # The second parent was told to stop: it stops the worker it did not fork, too.
                assert not pids[survivor].alive
        assert await trio.to_thread.run_sync(peer.finish) == 0, peer.errors


def _slot_of(telephony: TelephonyClient, leg: WorkerLeg) -> str:
    return next(path.stem for path, worker in telephony._workers.items() if leg.leg_id in worker.legs)


async def test_given_sigterm_when_a_leg_is_up_then_bye_is_sent_and_no_process_stays(tmp_path):
    with sipp_uas("answer", tmp_path) as peer:
        with telephony_pool(tmp_path, 4) as parent:
            async with open_telephony(tmp_path) as telephony:
                leg = await telephony.place_call(a_call(peer.uri()))
                await event_of(leg, LegAnswered)
                worker = ProcessIdentity.read(tmp_path / "worker-0.lock")
                parent.send_signal(signal.SIGTERM)
                ended = (await events_until_end(leg))[-1]
                assert await trio.to_thread.run_sync(parent.wait, HANG_LIMIT_S) == 0
        assert await trio.to_thread.run_sync(peer.finish) == 0, peer.errors

    assert (ended.ended_by, ended.reason_text) == ("local", "shutdown")
    assert not worker.alive
    assert not list(tmp_path.glob("worker-*.sock"))


async def test_given_a_recycling_limit_when_a_worker_is_idle_then_it_is_replaced_and_no_call_fails(tmp_path):
    calls = 6
    with telephony_pool(tmp_path, 4, "--recycle-after", "2"), sipp_uas("busy_486", tmp_path, calls=calls) as peer:
        pids = set()
        async with open_telephony(tmp_path) as telephony:
            for _ in range(calls):
                with trio.fail_after(HANG_LIMIT_S):
                    while True:
                        try:
                            leg = await telephony.place_call(a_call(peer.uri()))
                            break
                        except NoCapacity:
                            await trio.sleep(0.02)
                pids.add(ProcessIdentity.read(tmp_path / "worker-0.lock"))
                assert (await events_until_end(leg))[-1].sip_status == 486
        assert await trio.to_thread.run_sync(peer.finish) == 0, peer.errors

    assert len(pids) == 3


async def test_given_garbage_and_a_strangers_invite_when_a_worker_gets_them_then_403_and_it_works_on(run_dir, tmp_path):
    with sipp_uas("answer", tmp_path, calls=2) as peer:
        async with open_telephony(run_dir) as telephony:
            leg = await telephony.place_call(a_call(peer.uri()))
            await event_of(leg, LegAnswered)
            port = int(re.search(r"Contact: <sip:ocsd@127\.0\.0\.1:(\d+)", peer.trace).group(1))
            sdp = "v=0\r\no=x 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n"
            with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as stranger:
                await stranger.bind(("127.0.0.1", 0))
                own = stranger.getsockname()[1]
                for garbage in (
                    b"",
                    b"\x00" * 1400,
                    b"INVITE",
                    b"SIP/2.0 200 OK\r\n\r\n",
                    b"BYE sip:x SIP/2.0\r\n\r\n",
                ):
                    await stranger.sendto(garbage, ("127.0.0.1", port))
                invite = (
                    f"INVITE sip:ocsd@127.0.0.1:{port} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{own};branch=z9hG4bKx\r\n"
                    "Max-Forwards: 70\r\nFrom: <sip:x@y>;tag=1\r\nTo: <sip:ocsd@z>\r\nCall-ID: stranger\r\n"
                    f"CSeq: 1 INVITE\r\nContact: <sip:x@127.0.0.1:{own}>\r\nContent-Type: application/sdp\r\n"
                    f"Content-Length: {len(sdp)}\r\n\r\n{sdp}"
                )
                await stranger.sendto(invite.encode(), ("127.0.0.1", port))
                with trio.fail_after(HANG_LIMIT_S):
                    statuses = []
                    while not statuses or statuses[-1] < 200:
                        statuses.append(int((await stranger.recvfrom(4096))[0].split()[1]))
            again = await telephony.place_call(a_call(peer.uri()))
            await event_of(again, LegAnswered)
            for each in (leg, again):
                await each.hang_up()
                assert (await events_until_end(each))[-1].ended_by == "local"
        assert await finished(peer) == 0, peer.errors

    assert statuses[-1] == 403
