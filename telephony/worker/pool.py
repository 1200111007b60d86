"""The pool of SIP workers: a small clean parent that forks one process per few calls and keeps them alive.

The parent imports pjsua2, creates no thread and no endpoint, and so can fork workers cheaply for ever. It holds no
call: killed, its workers go on, and the next parent finds them by the locks of their slots and forks only those
missing. Under systemd that needs ``KillMode=process``, or a restart of the unit ends conversations.

SIGUSR1 drains: each worker takes no more calls, exits when its last one is over, and is replaced by a fresh one. After
the parent was restarted with a new release, that is how workers of the old one are exchanged without a call lost.

    ocsd-telephony --run-dir D --legs 100 --sip-host 127.0.0.1
"""

import argparse
import math
import os
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import sdnotify

from telephony.procs import LockFile, ProcessIdentity, is_listening
from telephony.worker.pj import discover_capacity
from telephony.worker.process import run_worker

TICK_S: Final = 0.5
"""How often slots served by workers of an earlier parent are looked at; our own children report by SIGCHLD."""
READY_LIMIT_S: Final = 30.0
SHORT_LIFE_S: Final = 5.0
"""A worker that dies sooner is started again with growing delays."""
FIRST_BACKOFF_S: Final = 0.5
LONGEST_BACKOFF_S: Final = 30.0
STOP_LIMIT_S: Final = 10.0
RECYCLE_AFTER_CALLS: Final = 5000
"""A worker grows by what its stack keeps of ended calls; an idle one of this many is replaced in milliseconds."""
_SIGNALS: Final = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


@dataclass(slots=True)
class _Slot:
    number: int
    lock: LockFile
    socket: Path
    pid: int = 0  # our child; 0: none, or a worker of an earlier parent
    started_s: float = 0.0
    start_at_s: float = 0.0
    backoff_s: float = field(default=0.0)


class Pool:
    """Slots 0..n-1 of a run folder. Single-threaded; `run` blocks until SIGTERM or SIGINT."""

    def __init__(self, run_dir: Path, lock: LockFile, workers: int, sip_host: str, recycle_after: int) -> None:
        self._run_dir = run_dir
        self._lock = lock
        self._sip_host = sip_host
        self._recycle_after = recycle_after
        self._slots = [
            _Slot(n, LockFile(run_dir / f"worker-{n}.lock"), run_dir / f"worker-{n}.sock") for n in range(workers)
        ]
        self._notifier = sdnotify.SystemdNotifier()
        self._stopping = False

    def run(self) -> None:
        ready_file = self._run_dir / "telephony.ready"
        ready_file.unlink(missing_ok=True)
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        self._start_missing(time.monotonic())
        ready = False
        ready_by_s = time.monotonic() + READY_LIMIT_S
        while not self._stopping:
            if not ready:
                listening = sum(is_listening(slot.socket) for slot in self._slots)
                # One slot that cannot start must not hold up the others for ever.
                enough = 1 if time.monotonic() > ready_by_s else len(self._slots)
                if listening >= enough:
                    ready = True
                    self._notifier.notify("READY=1")
                    me = ProcessIdentity.of(os.getpid())
                    ready_file.write_text(me.text if me else "")
                    _log(f"{listening} of {len(self._slots)} workers ready")
            self._wait(TICK_S if ready else 0.05)
            self._reap()
            if not self._stopping:
                self._start_missing(time.monotonic())
        ready_file.unlink(missing_ok=True)
        self._notifier.notify("STOPPING=1")
        self._stop()

    def _wait(self, limit_s: float) -> None:
        received = signal.sigtimedwait(_SIGNALS, limit_s)
        if received is not None and received.si_signo in (signal.SIGTERM, signal.SIGINT):
            self._stopping = True
        elif received is not None and received.si_signo == signal.SIGUSR1:
            self._signal_workers(signal.SIGUSR1)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            slot = next((each for each in self._slots if each.pid == pid), None)
            if slot is None:
                continue
            slot.pid = 0
            now_s = time.monotonic()
            code = os.waitstatus_to_exitcode(status)
            if code != 0 and now_s - slot.started_s < SHORT_LIFE_S:
                slot.backoff_s = min(max(slot.backoff_s * 2, FIRST_BACKOFF_S), LONGEST_BACKOFF_S)
            else:
                slot.backoff_s = 0.0
            # The first death is answered at once: a killed worker should be missed for milliseconds.
            slot.start_at_s = now_s + (slot.backoff_s if slot.backoff_s > FIRST_BACKOFF_S else 0.0)
            if code != 0:
                _log(f"worker-{slot.number} (pid {pid}) ended with {code}")

    def _start_missing(self, now_s: float) -> None:
        for slot in self._slots:
            if slot.pid == 0 and slot.start_at_s <= now_s and not slot.lock.held:
                slot.started_s = now_s
                slot.pid = self._fork(slot.number)

    def _fork(self, number: int) -> int:
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid != 0:
            return pid
        # The child: never returns into the parent's stack.
        status = 70
        try:
            for each in _SIGNALS:
                signal.signal(each, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            os.environ.pop("NOTIFY_SOCKET", None)
            self._lock.leave_to_parent()
            status = run_worker(self._run_dir, number, self._sip_host, self._recycle_after)
        except BaseException as error:
            import traceback

            traceback.print_exc()
            _log(f"worker-{number}: {error}")
        finally:
            sys.stderr.flush()
            # Past libDestroy no destructor of the stack may run.
            os._exit(status)

    def _stop(self) -> None:
        """SIGTERM to every worker, an earlier parent's too; SIGKILL to what is left at the limit; all reaped."""
        for number, deadline_s in ((signal.SIGTERM, STOP_LIMIT_S), (signal.SIGKILL, STOP_LIMIT_S)):
            until_s = time.monotonic() + deadline_s
            self._signal_workers(number)
            while any(slot.pid or slot.lock.held for slot in self._slots) and time.monotonic() < until_s:
                signal.sigtimedwait((signal.SIGCHLD,), 0.05)
                self._reap()

    def _signal_workers(self, number: signal.Signals) -> None:
        for slot in self._slots:
            holder = self._holder(slot)
            if holder is not None:
                holder.send_signal(number)

    def _holder(self, slot: _Slot) -> ProcessIdentity | None:
        if slot.pid:
            return ProcessIdentity.of(slot.pid)
        return ProcessIdentity.read(self._run_dir / f"worker-{slot.number}.lock") if slot.lock.held else None


def main(arguments: list[str] | None = None) -> None:
    """Console script ``ocsd-telephony``."""
    parser = argparse.ArgumentParser(
        prog="ocsd-telephony",
        description="SIP workers of ocsd: places calls for the daemon, keeps them when it restarts.",
        epilog="example: ocsd-telephony --run-dir /run/ocsd --legs 100 --sip-host 192.0.2.10",
    )
    parser.add_argument("--run-dir", type=Path, required=True, help="folder of the sockets worker-<n>.sock")
    parser.add_argument("--legs", type=int, required=True, help="calls to be held at once (customers and agents)")
    parser.add_argument("--sip-host", default="127.0.0.1", help="local IP address for SIP over UDP")
    parser.add_argument(
        "--recycle-after",
        type=int,
        default=RECYCLE_AFTER_CALLS,
        help="an idle worker is replaced after so many calls (default %(default)s)",
    )
    options = parser.parse_args(arguments)
    if options.legs < 1 or options.recycle_after < 1:
        parser.error("--legs and --recycle-after must be at least 1")
    options.run_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
    pool_lock = LockFile(options.run_dir / "telephony.lock")
    if not pool_lock.acquire():
        parser.exit(1, f"another ocsd-telephony serves {options.run_dir}\n")
    capacity = discover_capacity()
    workers = math.ceil(options.legs / capacity)
    _log(f"{workers} workers of {capacity} calls each in {options.run_dir}")
    Pool(options.run_dir, pool_lock, workers, options.sip_host, options.recycle_after).run()


def _log(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
