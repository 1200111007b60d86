"""The parent of the SIP workers: exchanging everything under calls, workers that hang, and what systemd is told."""

import os
import signal
import socket
import subprocess
import sys
import time

import trio

from telephony.client import open_telephony
from telephony.contract import LegAnswered, LegEnded
from telephony.procs import LockFile, ProcessIdentity
from telephony.worker import pool as pool_module
from telephony.worker.pool import HUNG_S, Pool
from tests.telephony.sipp_peer import sipp_uas
from tests.telephony.test_workers_with_sipp import (
    HANG_LIMIT_S,
    a_call,
    all_connected,
    event_of,
    events_until_end,
    telephony_pool,
    wait_until,
)

HOLDER = """
import sys, time
from pathlib import Path
from telephony.procs import LockFile
assert LockFile(Path(sys.argv[1])).acquire()
print(flush=True)
time.sleep(60)
"""


def workers(run_dir) -> set[int]:
    found = [ProcessIdentity.read(lock) for lock in run_dir.glob("worker-*.lock")]
    return {one.pid for one in found if one is not None and one.alive}


def look(pool: Pool, from_s: float, until_s: float) -> None:
    """As its loop does, every second of a time that passes quickly."""
    while from_s < until_s:
        pool._kill_hung(from_s)
        from_s += 1.0


async def test_given_a_call_when_everything_is_exchanged_then_it_goes_on_and_there_is_room_for_all_others(tmp_path):
    with sipp_uas("answer", tmp_path) as peer, telephony_pool(tmp_path, 8) as pool:
        async with open_telephony(tmp_path) as telephony:
            await all_connected(telephony, 2)
            old = workers(tmp_path)
            leg = await telephony.place_call(a_call(peer.uri()))
            await event_of(leg, LegAnswered)

            os.kill(pool.pid, signal.SIGUSR1)
            with trio.fail_after(HANG_LIMIT_S):
                while telephony.capacity < 8 or len(workers(tmp_path) & old) != 1:  # noqa: ASYNC110
                    await trio.sleep(0.02)
            assert "executes itself anew" in (tmp_path / "pool.log").read_text()
            assert pool.poll() is None, "the parent is the same process"
            assert len(workers(tmp_path)) == 3, "two take calls, one finishes its own"

            await leg.hang_up("done")
            ended = (await events_until_end(leg))[-1]
            with trio.fail_after(HANG_LIMIT_S):
                while workers(tmp_path) & old:  # noqa: ASYNC110
                    await trio.sleep(0.02)
            assert len(workers(tmp_path)) == 2
    assert isinstance(ended, LegEnded)
    assert (ended.ended_by, ended.sip_status) == ("local", 200)


async def test_given_a_parent_that_is_killed_amid_an_exchange_when_the_next_one_comes_then_it_goes_on_with_it(tmp_path):
    with sipp_uas("answer", tmp_path) as peer, telephony_pool(tmp_path, 8) as pool:
        async with open_telephony(tmp_path) as telephony:
            await all_connected(telephony, 2)
            old = workers(tmp_path)
            leg = await telephony.place_call(a_call(peer.uri()))
            await event_of(leg, LegAnswered)
            os.kill(pool.pid, signal.SIGUSR1)
            with trio.fail_after(HANG_LIMIT_S):
                while telephony.capacity < 8 or len(workers(tmp_path) & old) != 1:  # noqa: ASYNC110
                    await trio.sleep(0.02)

            pool.kill()
            pool.wait()
            os.kill(min(workers(tmp_path) - old), signal.SIGKILL)  # a place that the next parent has to fill
            with telephony_pool(tmp_path, 8):
                with trio.fail_after(HANG_LIMIT_S):
                    while len(workers(tmp_path) - old) < 2:  # noqa: ASYNC110
                        await trio.sleep(0.02)
                assert len(workers(tmp_path) & old) == 1, "it still has its call"
                await leg.hang_up("done")
                ended = (await events_until_end(leg))[-1]
                with trio.fail_after(HANG_LIMIT_S):
                    while workers(tmp_path) & old:  # noqa: ASYNC110
                        await trio.sleep(0.02)
                assert len(workers(tmp_path)) == 2
    assert isinstance(ended, LegEnded)
    assert (ended.ended_by, ended.sip_status) == ("local", 200)


def test_given_marks_of_an_exchange_when_its_parent_was_killed_before_it_told_anybody_then_the_next_one_does(tmp_path):
    handler = "import signal; signal.signal(signal.SIGUSR1, lambda *_: sys.exit(0)); print(flush=True)"
    drainable = HOLDER.replace("print(flush=True)", handler)
    with subprocess.Popen(
        [sys.executable, "-c", drainable, str(tmp_path / "worker-0.lock")], stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        Pool(tmp_path, LockFile(tmp_path / "telephony.lock"), 1, "127.0.0.1", 5000)._mark_leaving()
        following = Pool(tmp_path, LockFile(tmp_path / "telephony.lock"), 1, "127.0.0.1", 5000)

        following._drain()

        assert [slot.leaving for slot in following._slots] == [True, False]
        assert holder.wait(HANG_LIMIT_S) == 0


def test_given_a_mark_of_a_worker_that_is_gone_when_another_is_in_its_slot_then_that_one_serves_on(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "worker-0.lock")], stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        (tmp_path / "worker-0.leaving").write_text(ProcessIdentity(holder.pid, 1).text)
        pool = Pool(tmp_path, LockFile(tmp_path / "telephony.lock"), 1, "127.0.0.1", 5000)

        pool._drain()

        assert [slot.leaving for slot in pool._slots] == [False, False]
        assert holder.poll() is None
        holder.kill()


def test_given_a_worker_whose_loop_stands_still_when_its_time_is_over_then_it_is_killed(tmp_path):
    path = tmp_path / "worker-0.lock"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        pool = Pool(tmp_path, LockFile(tmp_path / "telephony.lock"), 1, "127.0.0.1", 5000)
        beaten_s = time.monotonic()

        look(pool, beaten_s, beaten_s + HUNG_S - 1.0)
        assert holder.poll() is None
        pool._kill_hung(beaten_s + HUNG_S + 1.0)

        assert holder.wait(HANG_LIMIT_S) == -signal.SIGKILL


def test_given_a_machine_that_stood_still_when_it_goes_on_then_no_worker_is_killed_for_it(tmp_path):
    path = tmp_path / "worker-0.lock"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        pool = Pool(tmp_path, LockFile(tmp_path / "telephony.lock"), 1, "127.0.0.1", 5000)
        awake_s = time.monotonic() + 3600.0

        look(pool, awake_s, awake_s + HUNG_S - 1.0)
        assert holder.poll() is None, "it has as long as any other to give a sign"
        look(pool, awake_s + HUNG_S - 1.0, awake_s + HUNG_S + 1.0)

        assert holder.wait(HANG_LIMIT_S) == -signal.SIGKILL


def test_given_a_slot_with_an_old_sign_of_life_when_a_worker_is_forked_into_it_then_it_gets_time_to_give_its_own(
    tmp_path,
):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "other.lock")], stdout=subprocess.PIPE
    ) as fresh:
        before = LockFile(tmp_path / "worker-0.lock")
        assert before.acquire()
        before.beat(time.monotonic() - 2 * HUNG_S)
        before.leave_to_parent()
        pool = Pool(tmp_path, LockFile(tmp_path / "telephony.lock"), 1, "127.0.0.1", 5000)
        now_s = time.monotonic()
        look(pool, now_s, now_s + 2 * HUNG_S)
        pool._slots[0].pid, pool._slots[0].started_s = fresh.pid, now_s + 2 * HUNG_S

        pool._kill_hung(now_s + 2 * HUNG_S + 0.1)

        assert fresh.poll() is None
        fresh.kill()


def test_given_a_worker_of_a_release_without_signs_of_life_when_looked_at_then_it_is_left_alone(tmp_path):
    path = tmp_path / "worker-0.lock"
    lock = LockFile(path)
    assert lock.acquire()
    path.write_text(path.read_text())  # as an older release does: the file's time is the calendar's

    assert lock.silent_s(time.monotonic() + 1000.0) == 0.0
    lock.beat(1000.0)
    assert lock.silent_s(1010.0) == 10.0


def test_given_a_process_without_a_handler_when_it_is_to_be_drained_then_it_is_not_signalled(tmp_path):
    path = tmp_path / "worker-0.lock"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        pool = Pool(tmp_path, LockFile(tmp_path / "telephony.lock"), 1, "127.0.0.1", 5000)

        pool._mark_leaving()
        pool._drain()

        assert [slot.leaving for slot in pool._slots] == [False, False]
        me = ProcessIdentity.of(holder.pid)
        assert me is not None
        assert me.alive
        assert me.catches(signal.SIGINT) or signal.getsignal(signal.SIGINT) is signal.SIG_IGN, "Python handles that one"
        assert not me.catches(signal.SIGUSR1)
        holder.kill()


def test_given_a_worker_that_does_not_serve_yet_when_all_are_exchanged_then_it_leaves_too(tmp_path, monkeypatch):
    monkeypatch.setattr(pool_module, "run_worker", lambda *_: time.sleep(HANG_LIMIT_S))
    before = signal.getsignal(signal.SIGUSR1)
    # As the loop does: a signal that a child gets in the very moment of its fork would be forgotten by the interpreter.
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, pool_module._SIGNALS)
    pool = Pool(tmp_path, LockFile(tmp_path / "telephony.lock"), 1, "127.0.0.1", 5000)
    try:
        slot = pool._slots[0]
        slot.pid = pool._fork(0)
        pool._mark_leaving()
        pool._drain()
        assert slot.leaving
        _, status = os.waitpid(slot.pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        signal.signal(signal.SIGUSR1, before)


def test_given_systemd_when_the_pool_serves_then_it_says_so_and_goes_on_to_show_that_it_lives(tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(tmp_path / "notify"))
        notify.settimeout(HANG_LIMIT_S)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        with telephony_pool(tmp_path, 4) as pool:
            said: list[bytes] = []
            while said.count(b"WATCHDOG=1") < 3 or b"READY=1" not in said:
                said.append(notify.recv(100))
            os.kill(pool.pid, signal.SIGUSR1)
            wait_until(lambda: "executes itself anew" in (tmp_path / "pool.log").read_text())
            while notify.recv(100) != b"READY=1":
                pass  # from the same process, executed anew
