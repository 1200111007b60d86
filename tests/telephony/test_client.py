"""The daemon's side of the SIP workers against a worker that is played by the test, over real Unix sockets."""

import os
from pathlib import Path

import pytest
import trio

from telephony.client import open_telephony
from telephony.contract import (
    FrameDecoder,
    HangUp,
    Hello,
    LegEnded,
    LegSnapshot,
    LegState,
    Ping,
    Pong,
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

    def __init__(self, *legs: LegSnapshot) -> None:
        self.legs = {leg.leg_id: leg for leg in legs}
        self.hung_up: list[str] = []

    async def serve(self, path: Path, task_status=trio.TASK_STATUS_IGNORED) -> None:
        with trio.socket.socket(trio.socket.AF_UNIX) as listener:
            await listener.bind(os.fspath(path))
            listener.listen()
            task_status.started()
            async with trio.open_nursery() as nursery:
                while True:
                    stream, _ = await listener.accept()
                    nursery.start_soon(self._talk, trio.SocketStream(stream))

    async def _talk(self, stream: trio.SocketStream) -> None:
        decoder = FrameDecoder(WorkerCommand)
        async with stream:
            await stream.send_all(encode_frame(Hello("worker", pid=os.getpid())))
            await stream.send_all(encode_frame(WorkerSnapshot(8, tuple(self.legs.values()))))
            async for data in stream:
                for message in decoder.feed(data):
                    if isinstance(message, Ping):
                        await stream.send_all(encode_frame(Pong(message.seq)))
                    elif isinstance(message, HangUp):
                        self.hung_up.append(message.leg_id)
                        self.legs.pop(message.leg_id)
                        await stream.send_all(encode_frame(LegEnded(message.leg_id, 9.0, 487, "local", False)))


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
