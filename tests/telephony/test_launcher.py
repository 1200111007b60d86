import os
import signal
import subprocess
import sys

import pytest

from telephony.launcher import MEDIA_NICENESS, StartFailed, ensure_running, server_pids, stop
from telephony.procs import LockFile, ProcessIdentity, is_listening, listen_unix
from tests.ports import free_ports


def test_given_nothing_when_ensured_then_it_listens_detached_and_stop_ends_exactly_that(tmp_path):
    ports = free_ports(40)
    try:
        ensure_running(tmp_path, legs=5, rtp_ports=ports)
        pool = ProcessIdentity.read(tmp_path / "telephony.pid")
        workers = [ProcessIdentity.read(tmp_path / f"worker-{n}.lock") for n in range(2)]
        assert all(worker.alive for worker in workers)
        assert is_listening(tmp_path / "media-0.sock")
        assert os.getsid(pool.pid) != os.getsid(0)

        ensure_running(tmp_path, legs=5, rtp_ports=ports)
        assert ProcessIdentity.read(tmp_path / "telephony.pid") == pool
    finally:
        stop(tmp_path)

    assert not any(process.alive for process in (pool, *workers))
    assert not is_listening(tmp_path / "media-0.sock")
    stop(tmp_path)  # nothing left: nothing happens


def niceness_allowed(niceness: int) -> bool:
    """May this account lower its niceness so far? Asked of another process, as it is hard to undo."""
    code = f"import os; os.setpriority(os.PRIO_PROCESS, 0, {niceness})"
    return subprocess.run([sys.executable, "-c", code], stderr=subprocess.DEVNULL, check=False).returncode == 0


def test_given_an_account_that_may_when_ensured_then_the_media_server_goes_first_and_others_as_we_do(tmp_path):
    try:
        ensure_running(tmp_path, legs=1, rtp_ports=free_ports(8))
        pids = server_pids(tmp_path)
        niceness = {name: os.getpriority(os.PRIO_PROCESS, pid) for name, pid in pids.items()}
    finally:
        stop(tmp_path)

    ours = os.getpriority(os.PRIO_PROCESS, 0)
    assert niceness == {"telephony": ours, "media-0": MEDIA_NICENESS if niceness_allowed(MEDIA_NICENESS) else ours}


def test_given_ports_that_do_not_exist_when_ensured_then_start_failed_with_the_log_and_nothing_left(tmp_path):
    with pytest.raises(StartFailed, match=r"media-0 ended: [\s\S]*ports"):
        ensure_running(tmp_path, legs=1, rtp_ports=(70000, 70010), start_limit_s=10.0)


def test_given_a_sip_host_that_is_not_ours_when_ensured_then_start_failed_with_the_log_and_nothing_left(tmp_path):
    with pytest.raises(StartFailed, match=r"telephony does not get ready: [\s\S]*worker-0"):
        ensure_running(tmp_path, legs=1, sip_host="192.0.2.250", rtp_ports=free_ports(10), start_limit_s=1.5)

    assert not LockFile(tmp_path / "telephony.lock").held
    assert not (tmp_path / "telephony.pid").exists()


def test_given_a_pid_file_of_a_reused_pid_when_stopped_then_the_stranger_lives(tmp_path):
    me = ProcessIdentity.of(os.getpid())
    (tmp_path / "telephony.pid").write_text(ProcessIdentity(me.pid, me.start_ticks - 1).text)

    stop(tmp_path)

    assert me.alive  # and this line is reached
    assert not ProcessIdentity(me.pid, me.start_ticks - 1).send_signal(signal.SIGTERM)


def test_given_a_lock_when_held_then_nobody_else_gets_it_and_it_names_the_holder(tmp_path):
    path = tmp_path / "x.lock"
    assert not LockFile(path).held
    lock = LockFile(path)
    assert lock.acquire()
    assert not LockFile(path).acquire()
    assert LockFile(path).held
    assert ProcessIdentity.read(path) == ProcessIdentity.of(os.getpid())
    lock.leave_to_parent()
    assert not LockFile(path).held


def test_given_a_socket_path_too_long_when_listening_then_a_clear_error(tmp_path):
    with pytest.raises(ValueError, match="longer than 107 bytes"):
        listen_unix(tmp_path / ("x" * 120))
