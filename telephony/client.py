"""The daemon's side of the SIP workers: `open_telephony` finds them, keeps the connections, spreads the calls.

A connection is not a worker. When one breaks, the worker may live on with its legs: the client reconnects, and a
worker with the same pid tells in its snapshot what became of each leg. Only when nobody listens any more, another pid
answers, or the worker stays out of reach for `LOST_AFTER_S`, its legs end with `LegLost`.

Tasks: one that scans the run folder, one per socket. All state is changed without awaiting, so between choosing a
worker and taking its slot nobody comes between.
"""

import itertools
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

import msgspec
import structlog
import trio

from telephony.api import CallRefused, NoCapacity, WorkerLost
from telephony.contract import (
    CommandFailed,
    ContractError,
    Drain,
    HangUp,
    LegAnswered,
    LegEnded,
    LegInfo,
    LegPlaced,
    LegProgress,
    LegSnapshot,
    LegState,
    PlaceCall,
    Probe,
    Probed,
    Referred,
    Register,
    Registered,
    Reinvited,
    WorkerEvent,
    WorkerSnapshot,
)
from telephony.link import Link, LinkLost, open_link
from telephony.registrations import Registrations
from telephony.worker_leg import UNDER_WAY_VERSION
from telephony.worker_leg import WorkerLeg as WorkerLeg

RESCAN_S: Final = 0.5
FIRST_SCAN_LIMIT_S: Final = 6.0
FIRST_BACKOFF_S: Final = 0.05
LONGEST_BACKOFF_S: Final = 2.0
LOST_AFTER_S: Final = 12.0
"""Longer than it takes either side to notice a silent link (8 s), shorter than contract.ORPHAN_GRACE_S."""
PROBE_MARGIN_S: Final = 1.0
"""How much longer than the limit of a probe its worker may take to say that nothing came."""

log = structlog.get_logger(__name__)


class _Worker:
    """One socket and what is known of the legs behind it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.pid = 0
        self.link: Link[WorkerSnapshot] | None = None
        self.legs: dict[str, WorkerLeg] = {}
        self.unclaimed: dict[str, LegSnapshot] = {}
        self.probes: dict[str, _OpenProbe] = {}
        self.tried = trio.Event()

    @property
    def capacity(self) -> int:
        return self.link.snapshot.capacity if self.link is not None else 0

    @property
    def in_use(self) -> int:
        found = sum(leg.state is not LegState.ENDED for leg in self.unclaimed.values())
        return len(self.legs) + found

    @property
    def speaks_of_trunks(self) -> bool:
        """Does it know registrations, probes and draining?"""
        return self.link is not None and not self.link.lost and self.link.hello.version >= UNDER_WAY_VERSION

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

    def detach(self) -> None:
        """The connection is gone; so are the answers to probes, which others may find out."""
        self.link = None
        for probe in self.probes.values():
            probe.settled.set()

    def handle(self, event: msgspec.Struct) -> None:
        if isinstance(event, Probed):
            if event.probe_id in self.probes:
                self.probes[event.probe_id].settle(event)
            return
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
            case Reinvited():
                leg.reinvited(event)
            case LegProgress() | LegAnswered() | LegInfo() | Referred() | LegEnded():
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
                    payload_type=event.payload_type,
                    event_payload_type=event.event_payload_type,
                    dialog=event.dialog,
                    headers=event.headers or found.headers,
                )
            case LegProgress() if not event.remote_rtp_port:
                self.unclaimed[leg_id] = replace(found, headers=event.headers or found.headers)
            case LegProgress():
                # Early media, or moved by a re-INVITE. The state stays: an answer is told as such.
                self.unclaimed[leg_id] = replace(
                    found,
                    headers=event.headers or found.headers,
                    remote_rtp_host=event.remote_rtp_host,
                    remote_rtp_port=event.remote_rtp_port,
                    payload_type=event.payload_type,
                    event_payload_type=event.event_payload_type,
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
                    retry_after_s=event.retry_after_s,
                    responded=event.responded,
                    headers=(),
                    ended_headers=event.headers,
                )


class _OpenProbe:
    """A probe that somebody waits for."""

    def __init__(self, command: Probe) -> None:
        self.command = command
        self.settled = trio.Event()
        self.answer: Probed | None = None
        """None: the worker itself has not said anything, which says nothing about the trunk."""

    def settle(self, answer: Probed) -> None:
        if not self.settled.is_set():
            self.answer = answer
            self.settled.set()


class TelephonyClient:
    """All workers of one run folder; satisfies `telephony.api.Telephony`. Made by `open_telephony`."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._workers: dict[Path, _Worker] = {}
        self._claimed = False
        """Start-up has adopted what it knows; legs that turn up later belong to nobody."""
        self._registrations = Registrations[Path]()
        self._probe_numbers = itertools.count(1)

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

    async def probe(self, uri: str, *, timeout_s: float = 2.0, proxy: str = "") -> Probed:
        """See `telephony.api.Telephony.probe`."""
        able = [worker for worker in self._workers.values() if worker.speaks_of_trunks]
        # Those that are about to exit last: their answers may be cut off.
        able.sort(key=lambda worker: (worker.capacity == 0, len(worker.probes)))
        command = Probe(f"probe-{next(self._probe_numbers)}", uri, timeout_s, proxy)
        for worker in able:
            if worker.link is None:
                continue  # lost while another one was asked
            probe = worker.probes[command.probe_id] = _OpenProbe(command)
            try:
                if not worker.link.send_nowait(command):
                    continue
                with trio.move_on_after(timeout_s + PROBE_MARGIN_S) as waited:
                    await probe.settled.wait()
                if probe.answer is not None:
                    return probe.answer
                if waited.cancelled_caught:
                    break  # who asked has waited long enough
            finally:
                del worker.probes[command.probe_id]
        await trio.lowlevel.checkpoint()
        raise NoCapacity(f"no SIP worker in {self._run_dir} could probe a trunk")

    def keep_registered(self, wanted: Sequence[Register]) -> None:
        """See `telephony.api.Telephony.keep_registered`."""
        self._registrations.want(wanted)
        self._settle_registrations()

    def registered(self, registration_id: str) -> Registered | None:
        return self._registrations.status(registration_id)

    def _settle_registrations(self) -> None:
        """Have somebody hold each registration. Called whenever a worker comes or goes, and now and then."""
        able = {path: worker.capacity > 0 for path, worker in self._workers.items() if worker.speaks_of_trunks}
        for order in self._registrations.settle(able):
            self._send(order.worker, order.command)

    def _send(self, path: Path, command: msgspec.Struct) -> None:
        link = self._workers[path].link
        if link is not None:
            link.send_nowait(command)  # in vain when it breaks: `Registrations.found` sees it when it is back

    async def drain(self) -> int:
        """See `telephony.api.Telephony.drain`. A worker that does so already takes no notice."""
        asked = 0
        for worker in list(self._workers.values()):
            if worker.speaks_of_trunks and worker.link is not None:
                with suppress(LinkLost):
                    await worker.link.send(Drain())
                    asked += 1
        await trio.lowlevel.checkpoint()
        return asked

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
            for path in self._new_sockets():
                worker = self._workers[path] = _Worker(path)
                nursery.start_soon(self._serve, worker)
            if not started:
                with trio.move_on_after(FIRST_SCAN_LIMIT_S):
                    for worker in list(self._workers.values()):
                        await worker.tried.wait()
                started = True
                task_status.started()
            self._settle_registrations()  # a worker that will exit soon only says so in its snapshot
            await trio.sleep(RESCAN_S)

    def _new_sockets(self) -> list[Path]:
        """Of workers that are not known yet. By name: there may be hundreds, and each look makes no path of them."""
        known = {path.name for path in self._workers}
        try:
            names = [name for name in os.listdir(self._run_dir) if name not in known]
        except OSError:  # not there yet
            return []
        return sorted(self._run_dir / name for name in names if fnmatch(name, "worker-*.sock"))

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
                    if worker.pid not in (0, link.hello.pid):
                        self._registrations.gone(worker.path)
                    worker.attach(link)
                    for order in self._registrations.found(worker.path, link.snapshot.registrations):
                        self._send(order.worker, order.command)
                    self._settle_registrations()
                    if self._claimed:
                        worker.hang_up_unclaimed(link)
                    worker.tried.set()
                    backoff_s, refused = FIRST_BACKOFF_S, ""
                    async for event in link.events:
                        if isinstance(event, Registered):
                            self._registrations.said(worker.path, event)
                            if event.no_room:
                                self._settle_registrations()
                        else:
                            worker.handle(event)
                    why = link.lost
                    worker.detach()
                    reachable_s = trio.current_time()
            except LinkLost as error:
                why, dead = str(error), error.nobody_listens
            except ContractError as error:
                why = str(error)
                if why != refused:  # said once, not every second
                    bound.error("worker.refused", why=why)
                    refused = why
            finally:
                worker.detach()
                worker.tried.set()
            bound.debug("worker.unreachable", why=why)
            if dead or trio.current_time() - reachable_s > LOST_AFTER_S:
                worker.lose_legs(why)
                self._registrations.gone(worker.path)
                self._settle_registrations()
            if dead and not worker.path.exists():
                del self._workers[worker.path]  # the scan begins anew when it comes back
                return
            await trio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, LONGEST_BACKOFF_S)


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
