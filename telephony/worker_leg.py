"""One leg at a SIP worker, as the daemon holds it: what was asked for, what was told, what is still owed."""

import itertools
import time
from contextlib import suppress
from typing import Final, Protocol

import msgspec
import trio

from telephony.api import LegLost, LegReport
from telephony.contract import (
    CommandFailed,
    DialogId,
    Direction,
    HangUp,
    LegAnswered,
    LegEnded,
    LegInfo,
    LegProgress,
    LegSnapshot,
    LegState,
    Protect,
    Refer,
    Referred,
    Reinvite,
    Reinvited,
    WorkerSnapshot,
)
from telephony.link import Link, LinkLost
from telephony.sip import SipStatus

EVENTS_BOUND: Final = 64
"""Per leg. What may be missed is dropped above `PROGRESS_BOUND`, so that an answer and the end always fit."""
PROGRESS_BOUND: Final = 48
UNDER_WAY_VERSION: Final = 3
"""Of the contract: workers before it know neither re-INVITE nor REFER, registrations, probes, draining."""
_numbers: Final = itertools.count(time.monotonic_ns() // 1000)
"""Of re-INVITEs. Not from 1: a worker must not take the first of this daemon for one of the daemon before."""


class WorkerSide(Protocol):
    """What a leg needs of its worker: the connection, None while there is none."""

    link: Link[WorkerSnapshot] | None


class WorkerLeg:
    """A leg at a worker; satisfies `telephony.api.Leg`."""

    def __init__(self, worker: WorkerSide, leg_id: str) -> None:
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
        self.dialog: DialogId | None = None
        self._media: tuple[str, int] = ("", 0)
        self._reinvites: dict[int, _Owed] = {}
        self._referring = False

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

    async def redirect(
        self,
        host: str,
        port: int,
        *,
        payload_type: int = -1,
        event_payload_type: int = 101,
        direction: Direction = Direction.SENDRECV,
    ) -> Reinvited:
        """See `telephony.api.Leg.redirect`. While the worker is out of reach the wish is kept for its return."""
        seq = next(_numbers)
        command = Reinvite(self.leg_id, seq, host, port, payload_type, event_payload_type, direction)
        owed = self._reinvites[seq] = _Owed(command)
        try:
            if self.ended:
                self._settle_reinvites()
                await trio.lowlevel.checkpoint()
            elif self._too_old:
                owed.answer = self._not_implemented(seq)
                owed.answered.set()
            else:
                await self._send(command)
            await owed.answered.wait()
        finally:
            self._reinvites.pop(seq, None)
        assert owed.answer is not None
        return owed.answer

    async def refer(
        self,
        target: str,
        *,
        replaces: DialogId | None = None,
        headers: tuple[tuple[str, str], ...] = (),
        target_headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """See `telephony.api.Leg.refer`. A worker that is out of reach just now is a refusal with status 0."""
        link = self._worker.link
        if self.ended:
            await trio.lowlevel.checkpoint()
        elif self._too_old:
            self.report(self._no_referred(SipStatus.NOT_IMPLEMENTED.value, "the worker is of an older release"))
            await trio.lowlevel.checkpoint()
        elif link is None or link.lost:
            self.report(self._no_referred(0, "the worker is out of reach"))
            await trio.lowlevel.checkpoint()
        else:
            self._referring = True
            await self._send(Refer(self.leg_id, target, replaces, headers, target_headers))

    @property
    def _too_old(self) -> bool:
        return self._worker.link is not None and self._worker.link.hello.version < UNDER_WAY_VERSION

    def _not_implemented(self, seq: int) -> Reinvited:
        status = SipStatus.NOT_IMPLEMENTED.value
        return Reinvited(self.leg_id, seq, status, time.monotonic(), reason_text="the worker is of an older release")

    def _no_referred(self, status: int, why: str) -> Referred:
        return Referred(self.leg_id, status, True, time.monotonic(), why)

    def reinvited(self, event: Reinvited) -> None:
        """The worker's answer; one that nobody waits for any more is dropped."""
        if 200 <= event.sip_status < 300 and event.remote_rtp_port:
            self._media = event.remote_rtp_host, event.remote_rtp_port
        owed = self._reinvites.get(event.seq)
        if owed is not None:
            owed.answer = event
            owed.answered.set()

    def _settle_reinvites(self) -> None:
        """The leg is gone: nobody will answer any more."""
        for seq, owed in self._reinvites.items():
            if owed.answer is None:
                owed.answer = Reinvited(self.leg_id, seq, 0, time.monotonic(), reason_text="the leg has ended")
                owed.answered.set()

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
            for seq, owed in self._reinvites.items():  # a worker that has done it already only says so again
                if self._too_old:
                    self.reinvited(self._not_implemented(seq))
                elif owed.answer is None:
                    link.send_nowait(owed.command)
            if self._referring:
                self.report(self._no_referred(0, "the connection to the worker broke meanwhile"))

    def adopted(self, snapshot: LegSnapshot) -> None:
        self.settled.set()
        self._protected = snapshot.protected
        self.catch_up(snapshot)

    def catch_up(self, snapshot: LegSnapshot) -> None:
        """Report what a snapshot tells beyond what was reported."""
        host, port = snapshot.remote_rtp_host, snapshot.remote_rtp_port
        kinds = snapshot.payload_type, snapshot.event_payload_type
        if snapshot.answered_at_s is not None and not self.answered:
            at_s, headers, dialog = snapshot.answered_at_s, snapshot.headers, snapshot.dialog
            self.report(LegAnswered(self.leg_id, at_s, host, port, *kinds, headers=headers, dialog=dialog))
        elif self.answered and snapshot.remote_rtp_port and self._media != (host, port) and not self._reinvites:
            # Moved by the far end while nobody listened.
            at_s = time.monotonic()
            self.report(LegProgress(self.leg_id, SipStatus.OK.value, at_s, host, port, *kinds))
        if snapshot.state is LegState.ENDED:
            self.report(_ended_of(snapshot))

    def report(self, event: LegReport) -> None:
        """Hand an event to whoever holds the leg; nothing after the last one."""
        if self.ended:
            return
        may_be_missed = isinstance(event, (LegProgress, LegInfo)) or (isinstance(event, Referred) and not event.final)
        if isinstance(event, (LegProgress, LegAnswered)) and event.remote_rtp_port:
            self._media = event.remote_rtp_host, event.remote_rtp_port
        if may_be_missed and self._sender.statistics().current_buffer_used >= PROGRESS_BOUND:
            return
        if isinstance(event, LegAnswered):
            self.answered, self.dialog = True, event.dialog
        if isinstance(event, Referred) and event.final:
            self._referring = False
        with suppress(trio.BrokenResourceError, trio.WouldBlock):  # closed by its holder
            self._sender.send_nowait(event)
        if isinstance(event, (LegEnded, LegLost)):
            self.ended = True
            self._sender.close()
            self._settle_reinvites()

    def lose(self, why: str) -> None:
        self.report(LegLost(self.leg_id, time.monotonic(), why, self.answered))
        self.settled.set()


class _Owed:
    """A re-INVITE whose answer somebody waits for."""

    def __init__(self, command: Reinvite) -> None:
        self.command = command
        self.answered = trio.Event()
        self.answer: Reinvited | None = None


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
        retry_after_s=snapshot.retry_after_s,
        responded=snapshot.responded,
        headers=snapshot.ended_headers,
    )
