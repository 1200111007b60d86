"""
Callbacks that come due, brought to desktops as ScheduledCall; records that stay on desktops too long.

A personal callback (and what RecordTreatPersonal has rescheduled) goes to its agent, whatever the agent's state, while
the agent is logged in. A campaign callback that OCS does not dial itself (predictive_callback) goes to the agent who
has been ready longest, else to the logged-in agent with the fewest records on the desktop. Nobody there: call result 47
(personal) or 48 (campaign) and its treatment, at once; the claim has already waited for the record's window.

Callbacks are delivered while the group dials (Running), as are those that OCS dials itself. A record on a desk is a
claim without an attempt: it leaves by a request about it, becomes Stale after stale_clean_timeout, and stays through a
lost connection, after which it is delivered anew under the same handle. When the daemon restarts no handle survives:
the claims go back to Ready with their schedule and are delivered again, under new handles.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog
import trio

from ocsd.model.enums import CallResult, GroupCampStatus, RecordType
from ocsd.model.errors import StoreUnavailable
from ocsd.model.records import CallingRecord, Chain, ChainSettlement
from ocsd.sessions.campaigns import Campaigns
from ocsd.sessions.desk_record import DeskRecord
from ocsd.sessions.patience import through_outages
from ocsd.sessions.records import PERSONAL_TYPES, RecordService
from ocsd.sessions.roster import AgentState
from ocsd.sessions.session import Session

log = structlog.get_logger()

DELIVERY_PERIOD_S: Final = 2.0
"""How often due callbacks are looked for (one search per list); their times are whole minutes."""


@dataclass(frozen=True, slots=True)
class Agent:
    """
    An agent of the group who is logged in.

    Attributes:
        ready_since_s: monotonic; None: not ready.
        records: how many records without a call are on the desktop.
    """

    agent_id: str
    ready_since_s: float | None
    records: int


def recipient(record: CallingRecord, agents: Iterable[Agent]) -> str | None:
    """Who gets the callback; None: nobody is there."""
    present = list(agents)
    if record.record_type in PERSONAL_TYPES:
        return record.agent_id if any(agent.agent_id == record.agent_id for agent in present) else None
    ready = [(agent.ready_since_s, agent.agent_id) for agent in present if agent.ready_since_s is not None]
    if ready:
        return min(ready)[1]
    busy = [(agent.records, agent.agent_id) for agent in present]
    return min(busy)[1] if busy else None


def missed_result(record: CallingRecord) -> CallResult:
    """Agent CallBack Error (47) or Group CallBack Error (48)."""
    personal = record.record_type in PERSONAL_TYPES
    return CallResult.AGENT_CALLBACK_ERROR if personal else CallResult.GROUP_CALLBACK_ERROR


def present_agents(session: Session) -> list[Agent]:
    """Agents of the group with a desktop; one who leaves, or has left, is not there for a new record."""
    leaving = {*session.roster.leaving, *session.roster.left}
    on_desk = [desk.agent_id for desk in session.on_desk.values()]
    return [
        Agent(
            seat.agent_id,
            seat.since_s if seat.state is AgentState.READY else None,
            on_desk.count(seat.agent_id),
        )
        for seat in session.roster.seats.values()
        if seat.state is not AgentState.LOGGED_OUT
        and seat.wants is not AgentState.LOGGED_OUT
        and seat.agent_id not in leaving
    ]


class CallbackDelivery:
    """`run` is started beside the sessions and lives as long as they do."""

    def __init__(self, campaigns: Campaigns, records: RecordService) -> None:
        self._campaigns = campaigns
        self._records = records

    async def run(self) -> None:
        while True:
            await self._campaigns.gate.wait()  # start-up has put every claim in order
            for session in list(self._campaigns.running):
                try:
                    self.expire(session)
                    if self._delivers(session):
                        await self.deliver_due(session)
                except Exception:
                    # A bug ends the smallest thing: this look at this group. What was claimed goes back at its unload.
                    log.exception("callback.failed", campaign_group=session.group.name)
            await trio.sleep(DELIVERY_PERIOD_S)

    def _delivers(self, session: Session) -> bool:
        return session.status is GroupCampStatus.RUNNING and not session.held_back

    def expire(self, session: Session) -> None:
        """stale_clean_timeout for records without a call; those with one are watched by their attempt."""
        now_s = self._campaigns.clock.now_s()
        for desk in list(session.on_desk.values()):
            limit_s = session.planner.rules(desk.chain.list_dbid).stale_s
            if not desk.closing and now_s - desk.since_s >= limit_s:
                log.info("record.stale", record_handle=desk.handle, agent_id=desk.agent_id)
                self._records.in_hand.in_background(self._records.stale(session, desk, "stale_clean_timeout"))

    async def deliver_due(self, session: Session) -> None:
        """Claim what has come due and put it on desktops, or treat it as missed."""
        try:
            chains = await session.supply.callbacks()
        except StoreUnavailable as error:
            log.warning("callback.claim_failed", error=str(error))
            return
        for chain in chains:
            if not self._delivers(session):
                await self._give_back(chain)  # stopped while the claim was under way
                continue
            agent_id = recipient(chain.record, present_agents(session))
            if agent_id is None:
                await self._miss(session, chain)
            else:
                await self._deliver(session, chain, agent_id)

    async def _deliver(self, session: Session, chain: Chain, agent_id: str) -> None:
        try:
            handle = await session.next_handle()
        except StoreUnavailable:
            await self._give_back(chain)
            return
        live = session.supply.live(chain)
        present = any(agent.agent_id == agent_id for agent in present_agents(session))
        if live is None or not present or not self._delivers(session):
            await self._give_back(chain)  # cancelled, left, stopped meanwhile: the next look decides anew
            return
        desk = DeskRecord(handle, live, agent_id, self._campaigns.clock.now_s())
        session.on_desk[handle] = desk
        log.info("callback.delivered", record_handle=handle, record_id=chain.record.record_id, agent_id=agent_id)
        self._records.on_scheduled(session, desk)

    async def _miss(self, session: Session, chain: Chain) -> None:
        record = chain.record
        result = missed_result(record)
        decision = session.treat(chain, record, int(result))
        log.info("callback.missed", record_id=record.record_id, result=int(result), because=decision.because)
        await session.settle_chain(
            ChainSettlement(
                list_dbid=chain.list_dbid,
                chain_id=chain.chain_id,
                record_id=record.record_id,
                change=decision.change,
                because=f"{_name(record)} missed: {decision.because}",
                call_result=int(result),
                statements=decision.statements,
                requests=decision.requests,
            )
        )

    async def _give_back(self, chain: Chain) -> None:
        await through_outages("callback.give_back_waits", partial(self._campaigns.store.give_back, [chain]))


def _name(record: CallingRecord) -> str:
    return RecordType(record.record_type).name.replace("_", " ").lower()
