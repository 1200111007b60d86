"""The pool of SIP workers: a small clean parent that forks one process per few calls and keeps them alive.

The parent imports pjsua2, creates no thread and no endpoint, and so can fork workers cheaply for ever. It holds no
call: killed, its workers go on, and the next parent finds them by the locks of their slots and forks only those
missing. Under systemd that needs ``KillMode=process``, or a restart of the unit ends conversations.

SIGUSR1 exchanges everything without a call lost: the parent executes itself anew (so it is of the release that is
installed now), tells each worker to take no more calls and to exit when its last one is over, and forks a fresh one
for each at once. Until the last old one is gone there are up to twice as many as wanted: the calls of the one half need
room for their second legs, and the campaign goes on in the other.

A worker whose loop has not turned for `HUNG_S` is killed and replaced: its calls are lost, as they were already.

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

from telephony.notify import service_notifier
from telephony.procs import LockFile, ProcessIdentity, is_listening
from telephony.watchdog import Patience, pool_sign
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
GENERATIONS: Final = 2
"""Of workers, side by side: those that finish their calls, and those that take new ones."""
HUNG_S: Final = 30.0
"""Longer than the resolver of the stack takes for a name whose servers are silent."""
STOOD_STILL_S: Final = 5.0
"""Ten times what lies between two looks: the parent itself was not allowed to run."""
DRAINING: Final = "OCSD_POOL_DRAINS"
"""Set in the environment by a parent that executes itself anew: those who serve now are to finish."""
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
    leaving: bool = False
    """Told to finish its calls; a fresh one serves in another slot."""

    @property
    def busy(self) -> bool:
        """A process is in it."""
        return self.pid != 0 or self.lock.held


class Pool:
    """``workers`` that take calls, in twice as many slots of a run folder. Single-threaded."""

    def __init__(self, run_dir: Path, lock: LockFile, workers: int, sip_host: str, recycle_after: int) -> None:
        self._run_dir = run_dir
        self._lock = lock
        self._sip_host = sip_host
        self._recycle_after = recycle_after
        self._wanted = workers
        self._slots = [
            _Slot(n, LockFile(run_dir / f"worker-{n}.lock"), run_dir / f"worker-{n}.sock")
            for n in range(GENERATIONS * workers)
        ]
        self._stopping = False
        self._anew = False
        self._patience = Patience(HUNG_S, STOOD_STILL_S, time.monotonic())
        self._sign = pool_sign(run_dir)

    def run(self, drain: bool = False) -> bool:
        """
        Serve until SIGTERM or SIGINT, which end the workers too, or until SIGUSR1; then True: execute the program anew.

        ``drain``: whoever serves now is to finish its calls.
        """
        notifier = service_notifier()
        ready_file = self._run_dir / "telephony.ready"
        ready_file.unlink(missing_ok=True)
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        if drain:
            self._mark_leaving()
        self._drain()
        self._start_missing(time.monotonic())
        ready = False
        ready_by_s = time.monotonic() + READY_LIMIT_S
        while not self._stopping and not self._anew:
            notifier.notify("WATCHDOG=1")
            self._sign.give(time.monotonic())
            if not ready:
                listening = sum(is_listening(slot.socket) for slot in self._slots if not slot.leaving)
                # One slot that cannot start must not hold up the others for ever.
                enough = 1 if time.monotonic() > ready_by_s else self._wanted
                if listening >= enough:
                    ready = True
                    notifier.notify("READY=1")
                    me = ProcessIdentity.of(os.getpid())
                    ready_file.write_text(me.text if me else "")
                    _log(f"{listening} of {self._wanted} workers ready")
            self._wait(TICK_S if ready else 0.05)
            self._reap()
            if not self._stopping:
                self._kill_hung(time.monotonic())
                self._start_missing(time.monotonic())
        ready_file.unlink(missing_ok=True)
        if self._anew and not self._stopping:
            self._mark_leaving()
            return True
        notifier.notify("STOPPING=1")
        self._stop()
        return False

    def _wait(self, limit_s: float) -> None:
        received = signal.sigtimedwait(_SIGNALS, limit_s)
        if received is not None and received.si_signo in (signal.SIGTERM, signal.SIGINT):
            self._stopping = True
        elif received is not None and received.si_signo == signal.SIGUSR1:
            self._anew = True

    def _mark_leaving(self) -> None:
        """
        Put down who is to finish its calls, before anybody is told: a parent that is killed amid the exchange is
        followed by one that goes on with it, and takes none of them for one that serves.
        """
        for slot in self._slots:
            if (holder := self._holder(slot)) is not None:
                self._leaving_mark(slot).write_text(holder.text, encoding="ascii")

    def _leaving_mark(self, slot: _Slot) -> Path:
        """Names a process, so that whoever is later in the slot is not meant."""
        return self._run_dir / f"worker-{slot.number}.leaving"

    def _drain(self) -> None:
        """Have those who are marked finish their calls, as far as they know how to. To be told twice does nothing."""
        for slot in self._slots:
            holder = self._holder(slot)
            if holder is None or ProcessIdentity.read(self._leaving_mark(slot)) != holder:
                continue
            if holder.catches(signal.SIGUSR1):
                slot.leaving = holder.send_signal(signal.SIGUSR1)
            else:  # of a release that would die of it, with its calls
                _log(f"worker-{slot.number} (pid {holder.pid}) cannot be drained: it is left as it is")

    def _kill_hung(self, now_s: float) -> None:
        """Not who has just been forked and has yet to write over the last sign of the worker before."""
        if not self._patience.is_over(now_s):
            return
        for slot in self._slots:
            silent = min(slot.lock.silent_s(now_s), now_s - slot.started_s) > HUNG_S
            holder = self._holder(slot) if silent else None
            if holder is not None and holder.send_signal(signal.SIGKILL):
                _log(f"worker-{slot.number} (pid {holder.pid}) gave no sign of life for {HUNG_S:.0f} s: killed")

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
        """Fork as many as there are too few. A slot that waits for its next try counts: no other takes its turn."""
        free: list[_Slot] = []
        serving = 0
        for slot in self._slots:
            if not slot.busy:
                slot.leaving = False
                if slot.start_at_s <= now_s:
                    free.append(slot)
                    continue
            serving += not slot.leaving
        for slot in free[: max(0, self._wanted - serving)]:
            slot.started_s = now_s
            slot.pid = self._fork(slot.number)

    def _fork(self, number: int) -> int:
        sys.stdout.flush()
        sys.stderr.flush()
        # Before the fork, so that there is no moment in which a new worker could not be told to leave. We wait for the
        # signal with `sigtimedwait`, and never come to run the handler.
        signal.signal(signal.SIGUSR1, _leave_without_calls)
        pid = os.fork()
        if pid != 0:
            return pid
        # The child: never returns into the parent's stack.
        status = 70
        try:
            for each in _SIGNALS:
                if each is not signal.SIGUSR1:
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


def _leave_without_calls(_number: int, _frame: object) -> None:
    """Of a worker that is told to drain before it serves anybody; `run_worker` puts another handler in this place."""
    os._exit(0)


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
    drain = os.environ.pop(DRAINING, "") == "1"
    if Pool(options.run_dir, pool_lock, workers, options.sip_host, options.recycle_after).run(drain):
        _log("executes itself anew")
        os.environ[DRAINING] = "1"
        # The lock is let go with the old program; workers stay our children. Signals that come meanwhile wait.
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _log(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
