"""The daemon's side of the SIP workers against a worker that is played by the test, over real Unix sockets."""

import os
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
import trio

from telephony.api import NoCapacity
from telephony.client import open_telephony
from telephony.contract import (
    PROTOCOL_VERSION,
    FrameDecoder,
    HangUp,
    Hello,
    LegAnswered,
    LegEnded,
    LegProgress,
    LegSnapshot,
    LegState,
    Ping,
    Pong,
    Probe,
    Probed,
    Referred,
    Register,
    Reinvited,
    WorkerCommand,
    WorkerSnapshot,
    encode_frame,
)

HANG_LIMIT_S = 30.0
TALKING = LegSnapshot("talking", LegState.ANSWERED, 1.0, 2.0, "127.0.0.1", 4000, protected=True)
RINGING = LegSnapshot("ringing", LegState.EARLY, 1.0)
OVER = LegSnapshot("over", LegState.ENDED, 1.0, sip_status=486, ended_at_s=3.0)


class PlayedWorker:
    """Greets each daemon with the given legs, obeys hang-ups, and remembers them."""

    def __init__(self, *legs: LegSnapshot, version: int = PROTOCOL_VERSION) -> None:
        self.legs = {leg.leg_id: leg for leg in legs}
        self.hung_up: list[str] = []
        self.unknown: list = []
        """What else was asked for."""
        self._version = version
        self._stream: trio.SocketStream | None = None

    def hang_up_on_the_daemon(self) -> None:
        assert self._stream is not None
        self._stream.socket.shutdown(trio.socket.SHUT_RDWR)

    async def say(self, message) -> None:
        assert self._stream is not None
        await self._stream.send_all(encode_frame(message))

    async def serve(self, path: Path, task_status=trio.TASK_STATUS_IGNORED) -> None:
        with trio.socket.socket(trio.socket.AF_UNIX) as listener:
            await listener.bind(os.fspath(path))
            listener.listen()
            task_status.started()
            async with trio.open_nursery() as nursery:
                while True:
                    stream, _ = await listener.accept()
                    nursery.start_soon(self._serve, trio.SocketStream(stream))

    async def _serve(self, stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):  # a daemon that speaks a newer version goes, and comes again
            await self._talk(stream)

    async def _talk(self, stream: trio.SocketStream) -> None:
        decoder = FrameDecoder(WorkerCommand)
        async with stream:
            self._stream = stream
            await stream.send_all(encode_frame(Hello("worker", self._version, os.getpid())))
            await stream.send_all(encode_frame(WorkerSnapshot(8, tuple(self.legs.values()))))
            async for data in stream:
                for message in decoder.feed(data):
                    if isinstance(message, Ping):
                        await stream.send_all(encode_frame(Pong(message.seq)))
                    elif isinstance(message, HangUp):
                        self.hung_up.append(message.leg_id)
                        self.legs.pop(message.leg_id)
                        await stream.send_all(encode_frame(LegEnded(message.leg_id, 9.0, 487, "local", False)))
                    elif not isinstance(message, (Hello, Pong)):
                        self.unknown.append(message)


@pytest.fixture(autouse=True)
async def hang_limit():
    with trio.fail_after(HANG_LIMIT_S):
        yield


async def until(check) -> None:
    while not check():  # noqa: ASYNC110
        await trio.sleep(0.01)


async def test_given_legs_of_a_dead_daemon_when_some_are_adopted_then_only_the_others_are_hung_up(tmp_path):
    worker = PlayedWorker(TALKING, RINGING, OVER)
    async with trio.open_nursery() as nursery:
        await nursery.start(worker.serve, tmp_path / "worker-0.sock")
        async with open_telephony(tmp_path) as telephony:
            assert {leg.leg_id for leg in telephony.live_legs()} == {"talking", "ringing", "over"}
            assert telephony.adopt("talking") is not None
            assert await telephony.hang_up_unclaimed() == 1
            await until(lambda: worker.hung_up)
            assert worker.hung_up == ["ringing"]
            assert telephony.in_use >= 1
        nursery.cancel_scope.cancel()


async def test_given_headers_in_a_snapshot_when_its_legs_are_adopted_then_their_events_carry_them(tmp_path):
    promised, left = (("x-detect", "Response=AMD"),), (("x-data", "7"),)
    answered = msgspec.structs.replace(TALKING, headers=promised)
    over = msgspec.structs.replace(OVER, ended_headers=left)
    worker = PlayedWorker(answered, over)
    async with trio.open_nursery() as nursery:
        await nursery.start(worker.serve, tmp_path / "worker-0.sock")
        async with open_telephony(tmp_path) as telephony:
            talking, gone = telephony.adopt("talking"), telephony.adopt("over")
            assert (await talking.events.receive()).headers == promised
            ended = await gone.events.receive()
            assert isinstance(ended, LegEnded)
            assert ended.headers == left
        nursery.cancel_scope.cancel()


async def test_given_start_up_is_over_when_a_worker_comes_to_light_then_its_legs_have_no_owner_and_are_hung_up(
    tmp_path,
):
    worker = PlayedWorker(RINGING, OVER)
    async with trio.open_nursery() as nursery:
        async with open_telephony(tmp_path) as telephony:
            assert await telephony.hang_up_unclaimed() == 0
            await nursery.start(worker.serve, tmp_path / "worker-0.sock")
            await until(lambda: worker.hung_up)
            assert worker.hung_up == ["ringing"]
            await until(lambda: telephony.in_use == 0)
        nursery.cancel_scope.cancel()


async def test_given_a_worker_of_an_older_release_when_asked_for_what_it_does_not_know_then_refused_here(tmp_path):
    worker = PlayedWorker(TALKING, version=2)
    async with trio.open_nursery() as nursery:
        await nursery.start(worker.serve, tmp_path / "worker-0.sock")
        async with open_telephony(tmp_path) as telephony:
            leg = telephony.adopt("talking")
            assert leg is not None
            assert (await leg.redirect("127.0.0.1", 4000)).sip_status == 501
            await leg.refer("sip:a@b")
            answered, refused = await leg.events.receive(), await leg.events.receive()
            assert isinstance(answered, LegAnswered)
            assert isinstance(refused, Referred)
            assert (refused.sip_status, refused.final) == (501, True)
            with pytest.raises(NoCapacity):
                await telephony.probe("sip:a@b")
            telephony.keep_registered([Register("r", "sip:x", "sip:a@x")])
            assert telephony.registered("r") is None
            assert await telephony.drain() == 0
        assert worker.unknown == []
        nursery.cancel_scope.cancel()


async def test_given_a_broken_connection_when_it_is_back_then_an_owed_reinvite_is_asked_for_again(tmp_path):
    worker = PlayedWorker(TALKING)
    async with trio.open_nursery() as nursery:
        await nursery.start(worker.serve, tmp_path / "worker-0.sock")
        async with open_telephony(tmp_path) as telephony:
            leg = telephony.adopt("talking")
            assert leg is not None
            answers = []

            async def redirect() -> None:
                answers.append(await leg.redirect("127.0.0.1", 4000))

            nursery.start_soon(redirect)
            await until(lambda: len(worker.unknown) == 1)
            worker.hang_up_on_the_daemon()
            await until(lambda: len(worker.unknown) == 2)
            assert worker.unknown[0] == worker.unknown[1]
            assert answers == []
            await worker.say(Reinvited("talking", worker.unknown[0].seq, 200, 9.0, "127.0.0.1", 4444))
            await until(lambda: answers)
            assert (answers[0].sip_status, answers[0].remote_rtp_port) == (200, 4444)
        nursery.cancel_scope.cancel()


async def test_given_a_probe_when_the_worker_says_nothing_then_that_says_nothing_about_the_trunk(tmp_path):
    worker = PlayedWorker()
    async with trio.open_nursery() as nursery:
        await nursery.start(worker.serve, tmp_path / "worker-0.sock")
        async with open_telephony(tmp_path) as telephony:
            with pytest.raises(NoCapacity):
                await telephony.probe("sip:a@b", timeout_s=0.1)
            assert [type(one) for one in worker.unknown] == [Probe]
        nursery.cancel_scope.cancel()


async def test_given_a_probe_when_its_worker_is_lost_then_another_one_is_asked(tmp_path):
    workers = [PlayedWorker(), PlayedWorker()]
    async with trio.open_nursery() as nursery:
        for number, worker in enumerate(workers):
            await nursery.start(worker.serve, tmp_path / f"worker-{number}.sock")
        async with open_telephony(tmp_path) as telephony:
            answers = []

            async def probe() -> None:
                answers.append(await telephony.probe("sip:a@b", timeout_s=20.0))

            nursery.start_soon(probe)
            await until(lambda: any(worker.unknown for worker in workers))
            first = next(worker for worker in workers if worker.unknown)
            second = next(worker for worker in workers if worker is not first)
            first.hang_up_on_the_daemon()
            await until(lambda: second.unknown)
            await second.say(Probed(second.unknown[0].probe_id, 200, 0.01))
            await until(lambda: answers)
            assert answers[0].sip_status == 200
        nursery.cancel_scope.cancel()


async def test_given_a_leg_nobody_has_adopted_yet_when_its_audio_moves_then_who_adopts_it_knows_where(tmp_path):
    worker = PlayedWorker(TALKING)
    async with trio.open_nursery() as nursery:
        await nursery.start(worker.serve, tmp_path / "worker-0.sock")
        async with open_telephony(tmp_path) as telephony:
            await worker.say(LegProgress("talking", 200, 9.0, "127.0.0.2", 4242))
            await until(lambda: telephony.live_legs()[0].remote_rtp_port == 4242)
            leg = telephony.adopt("talking")
            assert leg is not None
            answered = await leg.events.receive()
            assert isinstance(answered, LegAnswered)
            assert (answered.remote_rtp_host, answered.remote_rtp_port) == ("127.0.0.2", 4242)
        nursery.cancel_scope.cancel()
