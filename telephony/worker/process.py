"""One SIP worker: a Unix socket for the daemon and a SIP socket, served by one thread in one select loop.

It needs no daemon to live. Whoever connects and says Hello gets a snapshot of all legs, replaces an earlier daemon,
and is dropped when silent. Without one, conversations (`contract.Protect`) go on, everything else is hung up after
`contract.ORPHAN_GRACE_S`.

A worker that has placed many calls recycles itself when idle (memory of ended transactions): it announces capacity 0,
waits until the daemon has read that and the ends of all its legs, and exits; the pool forks a fresh one.
"""

import os
import random
import select
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from telephony.contract import (
    HEARTBEAT_S,
    CommandFailed,
    ContractError,
    Drain,
    HangUp,
    Hello,
    LegEnded,
    LegInfo,
    LegPlaced,
    Ping,
    PlaceCall,
    Pong,
    Probe,
    Probed,
    Protect,
    Refer,
    Referred,
    Register,
    Registered,
    Reinvite,
    Shutdown,
    Unregister,
    WorkerSnapshot,
    check_hello,
)
from telephony.leg import HangUp as HangUpEvent
from telephony.leg import LegEvent, SendHangUp
from telephony.procs import LockFile, listen_unix
from telephony.sdp import LocalAudio
from telephony.sip import SipStatus
from telephony.worker.connection import Connection
from telephony.worker.pj import CallNotPlaced, SipStack
from telephony.worker.pj_call import StackEvent
from telephony.worker.roster import Roster
from telephony.worker.stack import Stack
from telephony.worker.trunk_side import Effect as TrunkEffect
from telephony.worker.trunk_side import Release, Renew, TrunkSide
from telephony.worker.under_way import Order, ReinviteAnswered, Told, UnderWay

LONGEST_WAIT_S: Final = 1.0
"""Between two polls of the stack. What arrives wakes us at once; the rest are timers of pjsua, which run only when it
is polled, and it tells when the next one is due. With few calls a worker there are many workers, of which each turn for
nothing counts."""
LIVE_TICK_S: Final = 0.1
"""The same while there are legs, where the stack does not tell: no timer is shorter than the first retransmission's
500 ms (RFC 3261 17.1.1.1)."""
IDLE_TICK_S: Final = 0.2
"""The same without legs."""
SLOT_TICK_S: Final = 0.02
"""The same while a call waits for a slot that is just being freed, or while the worker stops."""
SILENCE_LIMIT_S: Final = 4 * HEARTBEAT_S
HELLO_LIMIT_S: Final = 5.0
MAX_STRANGERS: Final = 4
"""Connections that have not said Hello yet."""
SLOT_RETRY_S: Final = 1.0
"""pjsua may need a moment to free the slot of an ended call."""
BEAT_S: Final = 2.0
"""How often the pool is shown that the loop turns."""
STOP_LIMIT_S: Final = 3.0
RELEASE_LIMIT_S: Final = 1.0
STOP_LINGER_S: Final = 0.3
"""After the last BYE or CANCEL, so that the far end's answer is acknowledged."""


@dataclass(slots=True)
class _Waiting:
    command: PlaceCall
    until_s: float


class Worker:
    """
    The loop. ``recycle_after``: calls after which an idle worker exits to be replaced; ``beat`` is told the time every
    `BEAT_S`, as long as the loop turns.
    """

    def __init__(
        self,
        stack: Stack,
        listener: socket.socket,
        name: str,
        recycle_after: int,
        beat: Callable[[float], None] = lambda _now_s: None,
    ) -> None:
        self._stack = stack
        self._listener = listener
        self._name = name
        self._recycle_after = recycle_after
        self._beat = beat
        self._beat_at_s = 0.0
        self._roster = Roster(stack.capacity)
        self._under_way = UnderWay(random.random)
        self._trunk_side = TrunkSide()
        self._waiting: deque[_Waiting] = deque()
        self._daemon: Connection | None = None
        self._strangers: list[Connection] = []
        self._alone_since_s = time.monotonic()
        self._leaving = False
        self._leave_ping = 0
        self._confirmed_ping = 0
        self._released_by_s: float | None = None
        """Until when registrars may take to answer that our bindings are taken back; None: they still stand."""
        self._stop_at_s: float | None = None
        self.stop_requested = False
        self.drain_requested = False
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        """Wakes the loop; negative once that has ended."""

    def stop(self) -> None:
        """Have `run` hang up and return. From a signal handler or another thread."""
        self.stop_requested = True
        self._wake()

    def drain(self) -> None:
        """Have `run` take no more calls and return after the last one. From a signal handler or another thread."""
        self.drain_requested = True
        self._wake()

    def _wake(self) -> None:
        if self._bell >= 0:
            os.eventfd_write(self._bell, 1)

    def run(self) -> None:
        """Serve until told to stop or recycled."""
        while not self._may_exit(time.monotonic()):
            self._turn()
        if self._daemon is not None:
            try:
                self._daemon.stream.settimeout(STOP_LINGER_S)
                self._daemon.flush()
            except OSError:
                pass
            self._daemon.stream.close()
        bell, self._bell = self._bell, -1
        os.close(bell)

    def _turn(self) -> None:
        connections = [*self._strangers, *([self._daemon] if self._daemon else [])]
        reading: list[Any] = [self._stack.sip_fd, self._listener, self._bell, *(each.stream for each in connections)]
        writing = [each.stream for each in connections if each.wants_to_send]
        readable, writable, _ = select.select(reading, writing, [], self._wait_s(time.monotonic()))
        now_s = time.monotonic()
        if self._bell in readable:
            os.eventfd_read(self._bell)
        self._take_all(self._stack.poll())
        if self._listener in readable:
            self._accept(now_s)
        for connection in connections:
            if connection.stream in readable or connection.stream in writable:
                self._serve(connection, now_s)
        self._take(self._roster.due(now_s))
        self._do(self._under_way.due(now_s))
        self._serve_trunks(self._trunk_side.due(now_s))
        self._retry_waiting(now_s)
        self._keep_time(now_s)

    def _wait_s(self, now_s: float) -> float:
        leaving = self._stop_at_s is not None or self._released_by_s is not None
        calm_s = self._stack.timer_in_s
        if calm_s is None:
            calm_s = LIVE_TICK_S if self._roster.live else IDLE_TICK_S
        tick_s = min(SLOT_TICK_S if self._waiting or leaving or self._stack.in_a_hurry else LONGEST_WAIT_S, calm_s)
        due_s = min(self._roster.next_deadline_s, self._under_way.next_due_s, self._trunk_side.next_due_s)
        return max(0.0, min(tick_s, due_s - now_s))

    # --- the daemon ---------------------------------------------------------------------------------------------

    def _accept(self, now_s: float) -> None:
        try:
            stream, _ = self._listener.accept()
        except OSError:  # gone already, or no descriptor is left: no reason to end with our calls
            return
        if len(self._strangers) >= MAX_STRANGERS:
            self._strangers.pop(0).stream.close()
        self._strangers.append(Connection(stream, now_s))

    def _serve(self, connection: Connection, now_s: float) -> None:
        if connection is not self._daemon and connection not in self._strangers:
            return  # dropped earlier in this turn
        try:
            connection.flush()
            for message in connection.receive(now_s):
                if connection is self._daemon:
                    self._obey(message, now_s)
                elif connection in self._strangers:
                    self._greet(connection, message)
                else:
                    return  # replaced by what it sent before
        except (EOFError, ConnectionResetError):
            self._drop(connection, "")
        except (OSError, ContractError) as error:
            self._drop(connection, str(error))

    def _greet(self, connection: Connection, message: msgspec.Struct) -> None:
        # Our Hello goes first, so that a daemon of another version can say which one it met.
        connection.send(Hello(role="worker", pid=os.getpid(), name=self._name))
        check_hello(message, "daemon")
        if self._daemon is not None:
            self._drop(self._daemon, "replaced by a new daemon")
        self._strangers.remove(connection)
        self._daemon = connection
        self._confirmed_ping = 0
        self._send_snapshot()

    def _send_snapshot(self) -> None:
        if self._daemon is not None:
            capacity = 0 if self._leaving else self._roster.capacity
            legs = self._roster.snapshot(self._daemon.next_ping)
            self._daemon.send(WorkerSnapshot(capacity, legs, self._trunk_side.registrations))
            self._ping(time.monotonic())

    def _drop(self, connection: Connection, why: str) -> None:
        connection.stream.close()
        if connection in self._strangers:
            self._strangers.remove(connection)
        elif connection is self._daemon:
            self._daemon = None
            self._alone_since_s = time.monotonic()
            self._roster.daemon_lost()
        if why:
            _log(f"{self._name}: connection closed: {why}")

    def _tell(self, message: msgspec.Struct) -> None:
        if self._daemon is None:
            return
        try:
            self._daemon.send(message)
        except ContractError as error:
            self._drop(self._daemon, str(error))

    def _ping(self, now_s: float) -> None:
        if self._daemon is None:
            return
        try:
            self._leave_ping = self._daemon.ping(now_s)
        except ContractError as error:
            self._drop(self._daemon, str(error))

    def _obey(self, message: msgspec.Struct, now_s: float) -> None:
        match message:
            case PlaceCall():
                self._place(message, now_s)
            case HangUp():
                self._hang_up(message, now_s)
            case Protect():
                self._roster.protect(message.leg_id, message.protected)
            case Reinvite():
                self._do(self._under_way.reinvite(self._roster.live.get(message.leg_id), message, now_s))
            case Refer():
                self._do(self._under_way.refer(self._roster.live.get(message.leg_id), message, now_s))
            case Register():
                self._serve_trunks(self._trunk_side.register(message, now_s))
            case Unregister():
                self._serve_trunks(self._trunk_side.unregister(message.registration_id))
            case Probe():
                self._serve_trunks(self._trunk_side.probe(message, now_s))
            case Drain():
                self.drain_requested = True
            case Ping():
                self._tell(Pong(message.seq))
            case Pong():
                self._confirmed_ping = message.seq
                self._roster.confirmed(message.seq)
            case Shutdown():
                self.stop_requested = True
            case _:
                raise ContractError(f"unexpected {type(message).__name__}")

    # --- legs ---------------------------------------------------------------------------------------------------

    def _place(self, command: PlaceCall, now_s: float) -> None:
        if self._roster.knows(command.leg_id) or any(w.command.leg_id == command.leg_id for w in self._waiting):
            self._tell(CommandFailed(command.leg_id, "there is such a leg already"))
        elif self._leaving:
            self._tell(CommandFailed(command.leg_id, "the worker is about to exit", retryable=True))
        elif not self._roster.has_room or self._waiting:
            self._tell(CommandFailed(command.leg_id, "no free slot", retryable=True))
        else:
            self._try_to_place(_Waiting(command, now_s + SLOT_RETRY_S), now_s)

    def _try_to_place(self, waiting: _Waiting, now_s: float) -> None:
        command = waiting.command
        # Known before the INVITE leaves: the stack may report while it sends.
        self._roster.place(command, now_s)
        try:
            self._stack.place(command, LocalAudio(command.rtp_host, command.rtp_port))
        except CallNotPlaced as failure:
            self._roster.forget(command.leg_id)
            if failure.retryable and now_s < waiting.until_s:
                self._waiting.append(waiting)
            else:
                self._tell(CommandFailed(command.leg_id, str(failure), failure.retryable))
        else:
            self._tell(LegPlaced(command.leg_id, now_s))

    def _retry_waiting(self, now_s: float) -> None:
        for _ in range(len(self._waiting)):
            self._try_to_place(self._waiting.popleft(), now_s)

    def _hang_up(self, command: HangUp, now_s: float) -> None:
        for waiting in [w for w in self._waiting if w.command.leg_id == command.leg_id]:
            self._waiting.remove(waiting)
            self._tell(CommandFailed(command.leg_id, "hung up before the INVITE left"))
        self._take([(command.leg_id, HangUpEvent(now_s, command.reason))])

    def _take_all(self, events: Iterable[tuple[str, StackEvent]]) -> None:
        """What the stack told, in order."""
        for name, event in events:
            match event:
                case ReinviteAnswered():
                    self._do(self._under_way.reinvite_answered(name, event))
                case Referred():
                    self._do(self._under_way.referred(event))
                case LegInfo():
                    self._do(self._under_way.info(event))
                case Registered():
                    self._serve_trunks(self._trunk_side.registered(event))
                case Probed():
                    now_s = time.monotonic()
                    self._serve_trunks(self._trunk_side.probe_answered(name, event.sip_status, now_s, event.why))
                case _:
                    self._take([(name, event)])

    def _do(self, effects: Iterable[Told | Order]) -> None:
        """Of legs under way: send what is to be sent, tell the rest."""
        for effect in effects:
            try:
                match effect:
                    case Reinvite():
                        self._stack.reinvite(effect)
                    case Refer():
                        self._stack.refer(effect)
                    case _:
                        self._tell(effect)
            except CallNotPlaced as failure:
                now_s = time.monotonic()
                # Not now is a glare on our side of the wire; not at all is what a far end would say to such an offer.
                busy = SipStatus.REQUEST_PENDING if failure.retryable else SipStatus.NOT_ACCEPTABLE_HERE
                if isinstance(effect, Reinvite):
                    answer = ReinviteAnswered(now_s, busy.value, None, str(failure))
                    self._do(self._under_way.reinvite_answered(effect.leg_id, answer))
                elif isinstance(effect, Refer):
                    status = SipStatus.BAD_REQUEST.value
                    self._do(self._under_way.referred(Referred(effect.leg_id, status, True, now_s, str(failure))))

    def _serve_trunks(self, effects: Iterable[TrunkEffect]) -> None:
        for effect in effects:
            try:
                match effect:
                    case Register():
                        self._stack.register(effect)
                    case Renew():
                        self._stack.renew(effect.registration_id)
                    case Release():
                        self._stack.release(effect.registration_id)
                    case Probe():
                        self._stack.probe(effect)
                    case _:
                        self._tell(effect)
            except CallNotPlaced as failure:
                now_s, why = time.monotonic(), str(failure)
                if isinstance(effect, Register):
                    status = SipStatus.SERVICE_UNAVAILABLE if failure.retryable else SipStatus.BAD_REQUEST
                    said = Registered(effect.registration_id, status.value, 0, now_s, why)
                    self._serve_trunks(self._trunk_side.not_made(said))
                elif isinstance(effect, Probe):
                    self._serve_trunks(self._trunk_side.probe_answered(effect.probe_id, 0, now_s, why))

    def _take(self, events: Iterable[tuple[str, LegEvent]]) -> None:
        """Step the machines; obey their orders, pass on their reports."""
        for leg_id, event in events:
            next_ping = self._daemon.next_ping if self._daemon else None
            for effect in self._roster.on(leg_id, event, next_ping):
                if isinstance(effect, SendHangUp):
                    self._stack.hang_up(leg_id, effect.reason)
                else:
                    if isinstance(effect, LegEnded):
                        self._do(self._under_way.leg_ends(leg_id, event))
                    self._tell(effect)
                    if isinstance(effect, LegEnded) and self._daemon is None:
                        self._roster.daemon_lost()  # lost while being told
                    elif isinstance(effect, LegEnded) and self._leaving:
                        self._ping(time.monotonic())  # do not wait for the next heartbeat to learn that it was read

    # --- time ---------------------------------------------------------------------------------------------------

    def _keep_time(self, now_s: float) -> None:
        if now_s - self._beat_at_s >= BEAT_S:
            self._beat_at_s = now_s
            self._beat(now_s)
        for stranger in [each for each in self._strangers if now_s - each.since_s > HELLO_LIMIT_S]:
            self._drop(stranger, "no Hello")
        if self._daemon is not None:
            if now_s - self._daemon.heard_s > SILENCE_LIMIT_S:
                self._drop(self._daemon, f"daemon silent for {SILENCE_LIMIT_S:.0f} s")
            elif now_s - self._daemon.pinged_s >= HEARTBEAT_S:
                self._ping(now_s)
        if self._daemon is None:
            self._take(self._roster.orphans(now_s - self._alone_since_s, now_s))
        self._roster.expire(now_s)
        if self.stop_requested and self._stop_at_s is None:
            had_legs = bool(self._roster.live)
            self._stop_at_s = now_s + (STOP_LINGER_S if had_legs else 0.0)
            for waiting in self._waiting:
                self._tell(CommandFailed(waiting.command.leg_id, "the worker is about to exit", retryable=True))
            self._waiting.clear()
            self._take(self._roster.hang_up_all(now_s, "shutdown"))
            self._leave()
        elif self.drain_requested and not self._leaving:
            _log(f"{self._name}: draining, {len(self._roster.live)} calls go on")
            self._leave()
        elif not self._leaving and self._roster.placed_total >= self._recycle_after and self._idle:
            self._leave()

    @property
    def _idle(self) -> bool:
        return not self._roster.live and not self._waiting

    def _leave(self) -> None:
        self._leaving = True
        try:
            self._send_snapshot()
        except ContractError as error:
            if self._daemon is not None:
                self._drop(self._daemon, str(error))

    def _bindings_released(self, now_s: float) -> bool:
        """Take the registrations back, once, and give the registrars a moment."""
        if self._released_by_s is None:
            self._released_by_s = now_s + RELEASE_LIMIT_S
            self._serve_trunks(self._trunk_side.unregister_all())
        return not self._stack.releasing or now_s > self._released_by_s

    def _may_exit(self, now_s: float) -> bool:
        return self._done(now_s) and self._bindings_released(now_s)

    def _done(self, now_s: float) -> bool:
        if not self._leaving or not self._idle:
            # A far end that never answers our BYE must not keep a worker that was told to stop.
            return self._stop_at_s is not None and now_s > self._stop_at_s + STOP_LIMIT_S
        if self._stop_at_s is not None and now_s < self._stop_at_s:
            return False
        if self._daemon is None:
            return not self._roster.ended or self._stop_at_s is not None
        read = self._confirmed_ping >= self._leave_ping and not self._roster.ended
        return read or (self._stop_at_s is not None and now_s > self._stop_at_s + STOP_LIMIT_S)


def run_worker(run_dir: Path, slot: int, sip_host: str, recycle_after: int) -> int:
    """Serve one slot until stopped; the exit status. Call it in a freshly forked process.

    The slot's lock makes sure that no two processes serve one slot, whoever started them.
    """
    lock = LockFile(run_dir / f"worker-{slot}.lock")
    if not lock.acquire():
        _log(f"worker-{slot}: another process serves this slot")
        return 0
    stack = SipStack(sip_host)
    listener = listen_unix(run_dir / f"worker-{slot}.sock")
    worker = Worker(stack, listener, f"worker-{slot}", recycle_after, lock.beat)

    def stop(_number: int, _frame: object) -> None:
        worker.stop()

    def drain(_number: int, _frame: object) -> None:
        worker.drain()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGUSR1, drain)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the pool decides
    worker.run()
    listener.close()
    (run_dir / f"worker-{slot}.sock").unlink(missing_ok=True)
    stack.close()
    return 0


def _log(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
