"""The daemon's side of the SIP workers: `open_telephony` finds them, keeps the connections, spreads the calls.

A connection is not a worker. When one breaks, the worker may live on with its legs: the client reconnects, and a
worker with the same pid tells in its snapshot what became of each leg. Only when nobody listens any more, another pid
answers, or the worker stays out of reach for `LOST_AFTER_S`, its legs end with `LegLost`.

Tasks: one that scans the run folder, one per socket. All state is changed without awaiting, so between choosing a
worker and taking its slot nobody comes between.
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec
import structlog
import trio

from telephony.api import CallRefused, LegLost, LegReport, NoCapacity, WorkerLost
from telephony.contract import (
    CommandFailed,
    ContractError,
    HangUp,
    LegAnswered,
    LegEnded,
    LegPlaced,
    LegProgress,
    LegSnapshot,
    LegState,
    PlaceCall,
    Protect,
    WorkerEvent,
    WorkerSnapshot,
)
from telephony.link import Link, LinkLost, open_link

RESCAN_S: Final = 0.5
FIRST_SCAN_LIMIT_S: Final = 6.0
FIRST_BACKOFF_S: Final = 0.05
LONGEST_BACKOFF_S: Final = 2.0
LOST_AFTER_S: Final = 12.0
"""Longer than it takes either side to notice a silent link (8 s), shorter than contract.ORPHAN_GRACE_S."""
EVENTS_BOUND: Final = 64
"""Per leg. Progress is dropped above `PROGRESS_BOUND`, so that an answer and the end always fit."""
PROGRESS_BOUND: Final = 48

log = structlog.get_logger(__name__)


class WorkerLeg:
    """A leg at a worker; satisfies `telephony.api.Leg`."""

    def __init__(self, worker: "_Worker", leg_id: str) -> None:
        self.leg_id = leg_id
        self._sender, self.events = trio.open_memory_channel[LegReport](EVENTS_BOUND)
        self._worker = worker
        self._hang_up: HangUp | None = None
        self._protected = False
        self.ended = False
        self.answered = False
        self.settled = trio.Event()
        """Set once it is known whether the INVITE left; then ``refusal`` is None or says why it did not."""
        self.refusal: CommandFailed | None = None

    async def hang_up(self, reason: str = "") -> None:
        """CANCEL or BYE; `LegEnded` follows. While the worker is out of reach the wish is kept for its return."""
        if not self.ended:
            self._hang_up = HangUp(self.leg_id, reason)
            await self._send(self._hang_up)
        else:
            await trio.lowlevel.checkpoint()

    async def protect(self, protected: bool = True) -> None:
        self._protected = protected
        await self._send(Protect(self.leg_id, protected))

    async def aclose(self) -> None:
        """Stop listening; hangs up unless the leg is protected or gone."""
        if not self._protected:
            await self.hang_up("closed")
        self.events.close()

    async def _send(self, command: msgspec.Struct) -> None:
        link = self._worker.link
        if link is None:
            await trio.lowlevel.checkpoint()
            return
        with suppress(LinkLost):  # `rejoined` repeats what is still wanted
            await link.send(command)

    def abandon(self) -> None:
        """The caller of place_call was cancelled: nobody will ever hear of this leg."""
        self.events.close()
        self._hang_up = HangUp(self.leg_id, "cancelled")
        if self._worker.link is not None:
            self._worker.link.send_nowait(self._hang_up)

    def rejoined(self, link: Link[WorkerSnapshot], snapshot: LegSnapshot) -> None:
        """The connection is back: catch up, and repeat what the worker may not have heard."""
        self.settled.set()
        self.catch_up(snapshot)
        if not self.ended:
            if self._hang_up is not None:
                link.send_nowait(self._hang_up)
            if self._protected != snapshot.protected:
                link.send_nowait(Protect(self.leg_id, self._protected))

    def adopted(self, snapshot: LegSnapshot) -> None:
        self.settled.set()
        self._protected = snapshot.protected
        self.catch_up(snapshot)

    def catch_up(self, snapshot: LegSnapshot) -> None:
        """Report what a snapshot tells beyond what was reported."""
        if snapshot.answered_at_s is not None and not self.answered:
            host, port = snapshot.remote_rtp_host, snapshot.remote_rtp_port
            kinds = snapshot.payload_type, snapshot.event_payload_type
            self.report(LegAnswered(self.leg_id, snapshot.answered_at_s, host, port, *kinds))
        if snapshot.state is LegState.ENDED:
            self.report(_ended_of(snapshot))

    def report(self, event: LegReport) -> None:
        """Hand an event to whoever holds the leg; nothing after the last one."""
        if self.ended:
            return
        if isinstance(event, LegProgress) and self._sender.statistics().current_buffer_used >= PROGRESS_BOUND:
            return
        self.answered |= isinstance(event, LegAnswered)
        with suppress(trio.BrokenResourceError, trio.WouldBlock):  # closed by its holder
            self._sender.send_nowait(event)
        if isinstance(event, (LegEnded, LegLost)):
            self.ended = True
            self._sender.close()

    def lose(self, why: str) -> None:
        self.report(LegLost(self.leg_id, time.monotonic(), why, self.answered))
        self.settled.set()


class _Worker:
    """One socket and what is known of the legs behind it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.pid = 0
        self.link: Link[WorkerSnapshot] | None = None
        self.legs: dict[str, WorkerLeg] = {}
        self.unclaimed: dict[str, LegSnapshot] = {}
        self.tried = trio.Event()

    @property
    def capacity(self) -> int:
        return self.link.snapshot.capacity if self.link is not None else 0

    @property
    def in_use(self) -> int:
        found = sum(leg.state is not LegState.ENDED for leg in self.unclaimed.values())
        return len(self.legs) + found

    def attach(self, link: Link[WorkerSnapshot]) -> None:
        if self.pid not in (0, link.hello.pid):
            self.lose_legs("the worker was replaced by another process")
        self.pid, self.link = link.hello.pid, link
        known = {leg.leg_id: leg for leg in link.snapshot.legs}
        for leg_id, leg in list(self.legs.items()):
            if leg_id in known:
                leg.rejoined(link, known[leg_id])
            elif leg.settled.is_set():
                leg.lose("the worker no longer knows the leg")
            else:  # the command never arrived
                leg.refusal = CommandFailed(leg_id, "the connection broke", retryable=True)
                leg.settled.set()
            if leg.ended or leg.refusal:
                del self.legs[leg_id]
        self.unclaimed = {leg_id: leg for leg_id, leg in known.items() if leg_id not in self.legs}

    def lose_legs(self, why: str) -> None:
        if self.legs or self.unclaimed:
            leg_ids = [*self.legs, *self.unclaimed]
            log.warning("worker.lost", worker=self.path.stem, pid=self.pid, why=why, leg_ids=leg_ids)
        for leg in self.legs.values():
            leg.lose(why)
        self.legs.clear()
        self.unclaimed.clear()

    def hang_up_unclaimed(self, link: Link[WorkerSnapshot]) -> int:
        """End what nobody adopted; how many legs were alive."""
        alive = [leg_id for leg_id, found in self.unclaimed.items() if found.state is not LegState.ENDED]
        self.unclaimed = {leg_id: self.unclaimed[leg_id] for leg_id in alive}
        for leg_id in alive:
            log.info("leg.unclaimed", leg_id=leg_id, worker=self.path.stem)
            link.send_nowait(HangUp(leg_id, "unclaimed"))
        return len(alive)

    def handle(self, event: msgspec.Struct) -> None:
        leg_id: str = getattr(event, "leg_id", "")
        leg = self.legs.get(leg_id)
        if leg is None:
            self._update_unclaimed(leg_id, event)
            return
        match event:
            case LegPlaced():
                leg.settled.set()
            case CommandFailed():
                if not leg.settled.is_set():
                    leg.refusal = event
                    leg.settled.set()
                    del self.legs[leg_id]
            case LegProgress() | LegAnswered() | LegEnded():
                leg.report(event)
                if leg.ended:
                    del self.legs[leg_id]

    def _update_unclaimed(self, leg_id: str, event: msgspec.Struct) -> None:
        found = self.unclaimed.get(leg_id)
        if found is None:
            return
        replace = msgspec.structs.replace
        match event:
            case LegAnswered():
                host, port = event.remote_rtp_host, event.remote_rtp_port
                self.unclaimed[leg_id] = replace(
                    found,
                    state=LegState.ANSWERED,
                    answered_at_s=event.at_s,
                    remote_rtp_host=host,
                    remote_rtp_port=port,
                )
            case LegEnded():
                self.unclaimed[leg_id] = replace(
                    found,
                    state=LegState.ENDED,
                    sip_status=event.sip_status,
                    q850_cause=event.q850_cause,
                    ended_by=event.ended_by,
                    no_answer=event.no_answer,
                    ended_at_s=event.at_s,
                    redirect_to=event.redirect_to,
                )


class TelephonyClient:
    """All workers of one run folder; satisfies `telephony.api.Telephony`. Made by `open_telephony`."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._workers: dict[Path, _Worker] = {}
        self._claimed = False
        """Start-up has adopted what it knows; legs that turn up later belong to nobody."""

    @property
    def capacity(self) -> int:
        return sum(worker.capacity for worker in self._workers.values())

    @property
    def in_use(self) -> int:
        return sum(worker.in_use for worker in self._workers.values())

    @property
    def workers_connected(self) -> int:
        return sum(worker.link is not None for worker in self._workers.values())

    async def place_call(self, command: PlaceCall) -> WorkerLeg:
        """See `telephony.api.Telephony.place_call`."""
        if any(command.leg_id in worker.legs for worker in self._workers.values()):
            raise CallRefused(f"there is a leg {command.leg_id!r} already")
        tried: set[Path] = set()
        while (worker := self._freest(tried)) is not None:
            tried.add(worker.path)
            leg = WorkerLeg(worker, command.leg_id)
            assert worker.link is not None
            if not worker.link.send_nowait(command):
                continue
            worker.legs[command.leg_id] = leg
            try:
                await leg.settled.wait()
            except trio.Cancelled:
                leg.abandon()
                raise
            if leg.refusal is None:
                return leg  # with `LegLost` inside when the worker died: the INVITE may have left
            if not leg.refusal.retryable:
                raise CallRefused(leg.refusal.why)
        await trio.lowlevel.checkpoint()
        if self.workers_connected == 0:
            raise WorkerLost(f"no SIP worker is connected in {self._run_dir}")
        raise NoCapacity(f"{self.in_use} of {self.capacity} legs in use on {self.workers_connected} workers")

    def _freest(self, tried: set[Path]) -> _Worker | None:
        """The worker with most room, so that the death of one costs as few calls as possible."""
        candidates = [
            worker for worker in self._workers.values() if worker.path not in tried and worker.in_use < worker.capacity
        ]
        return max(candidates, key=lambda worker: worker.capacity - worker.in_use, default=None)

    def live_legs(self) -> list[LegSnapshot]:
        return [leg for worker in self._workers.values() for leg in worker.unclaimed.values()]

    def adopt(self, leg_id: str) -> WorkerLeg | None:
        for worker in self._workers.values():
            snapshot = worker.unclaimed.pop(leg_id, None)
            if snapshot is not None:
                leg = WorkerLeg(worker, leg_id)
                leg.adopted(snapshot)
                if not leg.ended:
                    worker.legs[leg_id] = leg
                return leg
        return None

    async def hang_up_unclaimed(self) -> int:
        """
        End the legs nobody adopted; how many were alive.

        From now on so it goes with every leg that a worker brings to light later: one that could not be reached at the
        start, or was out of reach for so long that its legs were given up.
        """
        self._claimed = True
        alive = sum(
            worker.hang_up_unclaimed(worker.link) for worker in self._workers.values() if worker.link is not None
        )
        await trio.lowlevel.checkpoint()
        return alive

    async def _scan(self, nursery: trio.Nursery, task_status: trio.TaskStatus[None]) -> None:
        started = False
        while True:
            for path in sorted(self._run_dir.glob("worker-*.sock")):
                if path not in self._workers:
                    worker = self._workers[path] = _Worker(path)
                    nursery.start_soon(self._serve, worker)
            if not started:
                with trio.move_on_after(FIRST_SCAN_LIMIT_S):
                    for worker in list(self._workers.values()):
                        await worker.tried.wait()
                started = True
                task_status.started()
            await trio.sleep(RESCAN_S)

    async def _serve(self, worker: _Worker) -> None:
        """Hold the connection to one socket; ends when the socket is gone for good."""
        bound = log.bind(worker=worker.path.stem)
        backoff_s = FIRST_BACKOFF_S
        reachable_s = trio.current_time()
        refused = ""
        while True:
            why, dead = "", False
            try:
                async with open_link(worker.path, "worker", WorkerEvent, WorkerSnapshot) as link:
                    bound.info("worker.connected", pid=link.hello.pid, capacity=link.snapshot.capacity)
                    worker.attach(link)
                    if self._claimed:
                        worker.hang_up_unclaimed(link)
                    worker.tried.set()
                    backoff_s, refused = FIRST_BACKOFF_S, ""
                    async for event in link.events:
                        worker.handle(event)
                    why = link.lost
                    worker.link = None
                    reachable_s = trio.current_time()
            except LinkLost as error:
                why, dead = str(error), error.nobody_listens
            except ContractError as error:
                why = str(error)
                if why != refused:  # said once, not every second
                    bound.error("worker.refused", why=why)
                    refused = why
            finally:
                worker.link = None
                worker.tried.set()
            bound.debug("worker.unreachable", why=why)
            if dead or trio.current_time() - reachable_s > LOST_AFTER_S:
                worker.lose_legs(why)
            if dead and not worker.path.exists():
                del self._workers[worker.path]  # the scan begins anew when it comes back
                return
            await trio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, LONGEST_BACKOFF_S)


def _ended_of(snapshot: LegSnapshot) -> LegEnded:
    return LegEnded(
        leg_id=snapshot.leg_id,
        at_s=snapshot.ended_at_s if snapshot.ended_at_s is not None else time.monotonic(),
        sip_status=snapshot.sip_status,
        ended_by=snapshot.ended_by,
        was_answered=snapshot.answered_at_s is not None,
        no_answer=snapshot.no_answer,
        q850_cause=snapshot.q850_cause,
        redirect_to=snapshot.redirect_to,
    )


@asynccontextmanager
async def open_telephony(run_dir: Path) -> AsyncIterator[TelephonyClient]:
    """Connect to every worker of ``run_dir`` and keep at it; inside, the first scan is complete.

    Leaving closes the connections and hangs nothing up: the legs are the workers'.
    """
    client = TelephonyClient(run_dir)
    async with trio.open_nursery() as nursery:
        await nursery.start(client._scan, nursery)
        try:
            yield client
        finally:
            nursery.cancel_scope.cancel()
