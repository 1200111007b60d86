"""
The customer's call leaves: over a trunk that works, and over the next one when the first has failed.

A try ends the attempt unless it failed by its trunk's fault before any phone rang. Then the same attempt goes on over
another trunk, under a leg id of its own; ``evidence["tries"]`` lists the failed ones, and the record's result is the
last one's. Where no trunk is left, nobody has been called: the record is Ready again, no attempt counts, no treatment
applies (`NotPlaced`), and the breakers say when trunks are tried again.

One case is the number's, not the trunk's: one that has been failed before, by a trunk that has worked for others
since, or that is refused again and again where nobody else can tell. Then the result stands as any other, or the record
would be dialed for ever. In between, a number that was refused rests for half a minute.

A redirect (3xx) is followed once, where the trunk's ``redirects`` says so, to a number at a configured trunk, which
passes Do-Not-Call, calling hours and attempt caps as a number of its own. It is written with the attempt before it is
called, so that caps count it from then on.
"""

import re
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import structlog
import trio

from ocsd.config.objects import Trunk
from ocsd.model.enums import CallResult
from ocsd.model.errors import StoreUnavailable
from ocsd.model.records import CallingRecord
from ocsd.sessions import attempt_events as machine_events
from ocsd.sessions.attempt_events import AttemptState
from ocsd.sessions.attempt_steps import SAFETY_MARGIN_S
from ocsd.sessions.number_format import written
from ocsd.sessions.second_leg import channel_of
from ocsd.sessions.trunk_health import UNREACHED, Blame, why_failed
from ocsd.sessions.trunk_keeper import SUSPICION_S
from ocsd.sessions.trunk_use import START_WAIT_S
from ocsd.sessions.trunks import REFUSED_REST_S
from telephony.api import CallRefused, Leg, TelephonyError
from telephony.contract import LegEnded, PlaceCall

if TYPE_CHECKING:
    from ocsd.sessions.attempt_task import AttemptTask
    from ocsd.sessions.session import Session

log = structlog.get_logger()

NEXT_TRUNK_WAIT_S: Final = 1.5
"""How long a call whose trunk has failed may wait for the call start of another one."""
NEXT_TRUNK_POLL_S: Final = 0.1

SILENT: Final = "trunk is silent"
"""Reason of the hang-up of a call that nothing was heard of, when its trunk is found to be gone."""

CONTACT: Final = re.compile(
    r"<?\s*sip:(?P<user>\+?[0-9*#]{1,30})(;[^@]*)?@(?P<host>\[[^\]]*\]|[^:;>?\s]+)(:(?P<port>\d+))?"
)


class Placing:
    """The tries of one attempt."""

    def __init__(self, task: "AttemptTask") -> None:
        self._task = task
        self._tried: list[str] = []
        """Trunks that have failed this call."""
        self._placed_s = 0.0
        self._progressed = False
        self._redirected = False
        self._silenced = False
        """Hung up by us, because its trunk is gone."""

    @property
    def _session(self) -> "Session":
        return self._task.host.session

    async def place(self) -> None:
        """Send the INVITE; `NotPlaced` where nothing left."""
        task, session = self._task, self._session
        if self._kept():  # stopped while the attempt was being written
            await task.handle_now(machine_events.NotPlaced(CallResult.UNKNOWN))
            return
        if not await self._start():
            return
        # Its trunk may have failed since it was chosen, while the attempt was being written.
        name = task.context.trunk
        if not session.trunk_board.may_place(name, session.clock.now_s()):
            self._tried.append(name)
            if not await self._next_trunk(f"{name} {session.trunk_board.why(name)}"):
                task.context.evidence["no_trunk"] = session.trunk_board.why(name)
                await task.handle_now(machine_events.NotPlaced(CallResult.NO_PORT_AVAILABLE))
                return
            if self._kept():  # withdrawn or stopped while the other trunk was waited for
                await task.handle_now(machine_events.NotPlaced(CallResult.UNKNOWN))
                return
        if (failed := await self._send()) is not None:
            await task.handle_now(failed)

    async def _start(self) -> bool:
        """Count the start of a call whose agent came first, as soon as a trunk admits it; False: it is not placed."""
        task, use = self._task, self._session.trunk_use
        context, machine = task.context, task.machine
        if use.is_counted(context.attempt_id):
            return True
        trunk, waited = use.start(context, paced=machine.assured), False
        if trunk is None:
            waited = True
            log.info("attempt.waits_for_start", trunk=context.trunk)
            with use.going_first(), trio.move_on_after(START_WAIT_S):
                while trunk is None and not task.second.is_over and task.host.keeps_from_dialing(task) is None:
                    await trio.sleep(NEXT_TRUNK_POLL_S)
                    trunk = use.start(context, paced=machine.assured)
        result = CallResult.UNKNOWN
        if task.second.is_over:
            context.evidence["not_dialed"] = "the agent has left"
            if machine.seized:
                await task.handle_now(machine_events.AgentEnded())
        elif not self._kept():
            if trunk is not None:
                self._counted(trunk, again=waited)
                return True
            result = CallResult.NO_PORT_AVAILABLE
            context.evidence["no_trunk"] = f"no trunk has admitted the call for {START_WAIT_S:.0f} s"
        log.warning("attempt.not_started", waited=waited)
        await task.handle_now(machine_events.NotPlaced(result))
        return False

    def _counted(self, trunk: Trunk, *, again: bool) -> None:
        """``again``: it has waited, and its time begins only now."""
        session, machine = self._session, self._task.machine
        if trunk.name != self._task.context.trunk:
            self._move(trunk)
        if machine.assured:
            session.score.tally.launched(1, session.clock.now_s())
        if again:
            machine.started_s = session.clock.now_s()
            machine.deadline_s = machine.started_s + machine.rules.no_answer_s + SAFETY_MARGIN_S

    def _kept(self) -> bool:
        """Whether something keeps the call from being placed after all; the evidence says what."""
        why = self._task.host.keeps_from_dialing(self._task)
        if why is not None:
            self._task.context.evidence["not_dialed"] = why
            log.info("attempt.not_dialed", why=why)
        return why is not None

    async def _send(self) -> machine_events.NotPlaced | None:
        """One INVITE, over the context's trunk; None: it has left, or may have."""
        task, context = self._task, self._task.context
        nursery, plan = task.nursery, context.plan
        assert nursery is not None
        try:
            channel = await task.host.media.open_channel(channel_of(context.leg_id), beside=task.second.channel_id)
            task.channel = channel
            leg = task.leg = await task.host.telephony.place_call(
                PlaceCall(
                    leg_id=context.leg_id,
                    uri=plan.uri,
                    from_uri=plan.from_uri,
                    rtp_host=channel.host,
                    rtp_port=channel.port,
                    no_answer_s=task.machine.rules.no_answer_s,
                    display_name=plan.display_name,
                    username=plan.username,
                    password=plan.password,
                    headers=(*plan.headers, *task.gateway.headers()),
                    session_expires_s=plan.session_expires_s,
                    wanted_headers=(*plan.wanted_headers, *task.gateway.wanted_headers()),
                )
            )
        except CallRefused as error:
            log.warning("attempt.refused", error=str(error))
            return machine_events.NotPlaced(CallResult.DIAL_ERROR, useless=True)
        except TelephonyError as error:
            log.warning("attempt.not_placed", error=str(error))
            return machine_events.NotPlaced(CallResult.NO_PORT_AVAILABLE)
        self._placed_s, self._progressed = task.host.clock.now_s(), False
        nursery.start_soon(task.follow_customer, leg)
        nursery.start_soon(task.follow_channel, channel)
        nursery.start_soon(self._watch, leg)
        return None

    async def _watch(self, leg: Leg) -> None:
        """A call that nothing is heard of asks whether its trunk is there, and leaves it when it is not."""
        session, name = self._session, self._task.context.trunk
        keeper = session.trunk_keeper
        if keeper is None:
            return
        await trio.sleep(SUSPICION_S)
        if self._waits(leg):
            await keeper.suspect(session.config.trunk(name))
            if self._waits(leg) and session.trunk_board.is_silent(name):
                self._silenced = True
                await leg.hang_up(SILENT)

    def _waits(self, leg: Leg) -> bool:
        """Nothing has been heard of this try yet."""
        return not self._progressed and self._task.leg is leg and not self._task.customer_gone

    def progressed(self) -> None:
        """It rings, has media, or has been answered: the trunk works."""
        if not self._progressed:
            self._progressed = True
            self._session.trunk_board.progressed(self._task.context.trunk, self._session.clock.now_s())

    async def goes_on(self, ended: LegEnded) -> bool:
        """
        A leg of the customer has ended: whether the call goes on over another trunk, or was never one.

        False: the machine is to be told of the end as it is.
        """
        task, session, context = self._task, self._session, self._task.context
        now_s, name = session.clock.now_s(), context.trunk
        if task.adopted and not self._placed_s:
            self._placed_s = task.machine.started_s
        if ended.was_answered or self._progressed:
            return False
        key = context.record.list_dbid, context.record.record_id
        found = session.trunk_board.ended(name, ended, now_s - self._placed_s, now_s, key, gone=self._silenced)
        self._silenced = False
        if task.machine.state is not AttemptState.DIALING:
            return False
        if self._wanted() and 300 <= ended.sip_status < 400 and ended.redirect_to:
            return await self._redirect(ended)
        if found not in UNREACHED:
            return False
        why = why_failed(ended)
        self._note(why, ended)
        self._tried.append(name)
        may_move = self._wanted() and not (ended.responded and ended.ended_by == "local")
        if may_move and await self._next_trunk(why):
            session.trunk_board.moved(name)
            return await self._go_on()
        if session.trunk_board.refuses_only(key, name, found, now_s):
            return False  # the result is this number's
        if found is Blame.UNCLEAR:
            session.supply.rest(key, session.clock.utc() + timedelta(seconds=REFUSED_REST_S))
        log.warning("attempt.no_trunk", trunk=name, why=why, tried=self._tried)
        task.customer_gone = True
        task.post(machine_events.NotPlaced(CallResult.ALL_TRUNKS_BUSY))
        return True

    def _wanted(self) -> bool:
        """Whether the call may be placed anew; one of an earlier daemon never is, whatever is left of it."""
        return self._task.machine.state is AttemptState.DIALING and not self._task.adopted

    async def _go_on(self) -> bool:
        """Send the next INVITE; the limits of the ring begin anew."""
        task = self._task
        if not self._wanted() or self._kept():
            task.customer_gone = True
            if self._wanted():
                task.post(machine_events.NotPlaced(CallResult.UNKNOWN))
            return True
        leg, channel = task.leg, task.channel
        failed = await self._send()
        if leg is not None:
            await leg.aclose()
        if channel is not None:
            await channel.close()
        if failed is not None:
            task.customer_gone = True
            task.post(failed)
            return True
        if not self._wanted():  # given up meanwhile, when there was no leg to hang up
            assert task.leg is not None
            await task.leg.hang_up("no longer wanted")
        else:
            task.machine.deadline_s = task.host.clock.now_s() + task.machine.rules.no_answer_s + SAFETY_MARGIN_S
        return True

    async def _next_trunk(self, why: str) -> bool:
        """Take another trunk for this call, within its limits; False: there is none."""
        session, context = self._session, self._task.context
        board, names, dbid = session.trunk_board, session.group.trunks, session.group.dbid
        with trio.move_on_after(NEXT_TRUNK_WAIT_S):
            while True:
                now_s = session.clock.now_s()
                trunk = board.take_other(names, self._tried, now_s, dbid)
                if trunk is not None:
                    log.warning("attempt.moves", from_trunk=context.trunk, to_trunk=trunk.name, why=why)
                    self._move(trunk)
                    return True
                if not board.may_yet_take(names, self._tried, now_s):
                    return False
                await trio.sleep(NEXT_TRUNK_POLL_S)
        return False

    def _move(self, trunk: Trunk, number: str = "") -> None:
        """The attempt belongs to another trunk, already counted there; ``number``: of a redirect."""
        session, task, context = self._session, self._task, self._task.context
        if trunk.name != context.trunk:
            session.trunk_use.move(context.attempt_id, trunk.name)
        context.tries += 1
        session.planner.move(context, trunk, number)
        task.machine.rules = session.planner.rules(context.record.list_dbid, trunk.name)

    def _note(self, why: str, ended: LegEnded) -> None:
        tries = self._task.context.evidence.setdefault("tries", [])
        assert isinstance(tries, list)
        context = self._task.context
        tries.append(
            {
                "trunk": context.trunk,
                "leg_id": context.leg_id,
                "sip_status": ended.sip_status,
                "q850_cause": ended.q850_cause,
                "why": why,
                "after_s": round(self._session.clock.now_s() - self._placed_s, 3),
            }
        )

    # --- redirects ------------------------------------------------------------------------------------------------

    async def _redirect(self, ended: LegEnded) -> bool:
        """Follow a 3xx where that is allowed; False: its status is the result."""
        session, context = self._session, self._task.context
        here = session.config.trunk(context.trunk)
        if here.redirects != "follow" or self._redirected:
            return False
        found = self._target(ended.redirect_to, here)
        if found is None:
            return self._not_redirected("its host is no configured trunk")
        trunk, number = found
        # Carriers write numbers as they like (national ones, with 00 or 011); lists and Do-Not-Call hold E.164.
        called = written(number, "e164", trunk.country)
        own = context.record.contact_info
        record = replace(context.record, contact_info=called if own.startswith("+") else called.lstrip("+"))
        if why := self._forbidden(number, called, record):
            return self._not_redirected(why)
        if trunk.name != here.name:
            taken = session.trunk_board.take_other((trunk.name,), (), session.clock.now_s(), session.group.dbid)
            if taken is None:
                return self._not_redirected(f"trunk {trunk.name} takes no calls")
        else:
            session.trunk_board.placed_again(here.name)
        if why := await self._capped(record):
            if trunk.name != here.name:
                session.trunk_board.release(trunk.name, session.group.dbid)
            return self._not_redirected(why)
        self._redirected = True
        context.evidence["redirected_to"] = record.contact_info
        self._note(f"redirected to {trunk.name}", ended)
        self._move(trunk, number)
        return await self._go_on()

    def _not_redirected(self, why: str) -> bool:
        log.warning("attempt.redirect_refused", trunk=self._task.context.trunk, why=why)
        self._task.context.evidence["redirect_refused"] = why
        return False

    def _target(self, contact: str, here: Trunk) -> tuple[Trunk, str] | None:
        """The trunk and the number, without its prefix, of a Contact; None: it leads elsewhere."""
        found = CONTACT.match(contact)
        if found is None:
            return None
        host, port = found["host"].lower(), int(found["port"] or 5060)
        of_group = [self._session.config.trunk(name) for name in self._session.group.trunks]
        for trunk in (here, *of_group):
            if trunk.host.lower() == host and (trunk.port == port or (trunk is here and found["port"] is None)):
                return trunk, found["user"].removeprefix(trunk.dial_prefix) or found["user"]
        return None

    def _forbidden(self, number: str, called: str, record: CallingRecord) -> str:
        """
        Why the number of a redirect must not be called now, in whatever form; empty: it may, as far as caps go.

        ``record``: the attempt's, with that number. Do-Not-Call is asked whatever the options say, and legal hours in
        the zones of that number: no claim has ever compared this number with either.
        """
        session, now = self._session, self._session.clock.utc()
        for form in {number, called, called.lstrip("+")}:
            if session.supply.forbids(replace(record, contact_info=form), now):
                return "Do-Not-Call"
        closed = session.hours(record.list_dbid).closed(record, now)
        return closed.why if closed is not None else ""

    async def _capped(self, record: CallingRecord) -> str:
        """Write the number of a redirect with the attempt, for caps to count; why they do not allow it, or empty."""
        session, context = self._session, self._task.context
        try:
            refused = await session.store.redirect_attempt(
                context.attempt_id, record, session.campaign.dbid, session.clock.utc()
            )
        except StoreUnavailable:
            return "it cannot be written with the attempt"
        return refused.why if refused is not None else ""
