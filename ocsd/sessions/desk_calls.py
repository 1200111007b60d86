"""RequestMakeCall: an agent calls the customer of a record that was delivered to the desktop."""

from dataclasses import replace
from typing import TYPE_CHECKING

from ocsd.lists.store import ClaimLost
from ocsd.model.enums import GswError
from ocsd.model.errors import DesktopRequestError
from ocsd.model.records import Chain, Refusal
from ocsd.sessions.attempt import AttemptMachine
from ocsd.sessions.attempt_task import AttemptTask
from ocsd.sessions.desk_record import DeskRecord
from ocsd.sessions.dialing import write_begun
from ocsd.sessions.figures import port_left
from ocsd.sessions.roster import ON_A_CALL, AgentState

if TYPE_CHECKING:
    from ocsd.sessions.session import Session


async def call_from_desk(session: "Session", desk: DeskRecord, agent_id: str) -> None:
    """
    Call the customer of a record on this agent's desktop; the record becomes an attempt of the same handle.

    DesktopRequestError when the agent, a gate or the ports do not allow it; the record stays on the desk.
    """
    record = replace(desk.record, contact_info=str(desk.updates.get("contact_info", desk.record.contact_info)))
    chain = replace(
        desk.chain, records=tuple(record if r.record_id == record.record_id else r for r in desk.chain.records)
    )
    _check(session, chain, agent_id)
    if (why := await session.prevalidation.why_not_from_desk(desk, chain)) is not None:
        raise DesktopRequestError(GswError.INVALID_REQUEST, f"the record may not be dialed now: {why}")
    if desk.closing or session.on_desk.get(desk.handle) is not desk:
        raise DesktopRequestError(GswError.NO_CALL_FOUND, f"record handle {desk.handle} has been processed meanwhile")
    _check(session, chain, agent_id)
    if (why := session.prevalidation.why_not(chain)) is not None:
        raise DesktopRequestError(GswError.INVALID_REQUEST, f"the record may not be dialed now: {why}")
    desk.closing = True  # no other request finds it while the attempt is being written
    session.roster.reserve(agent_id, desk.handle, session.clock.now_s())
    context = session.context_for(desk.handle, chain, later=True)
    context.updates.update(desk.updates)
    context.callback = desk.callback
    try:
        refused = await write_begun(session, [context])
    except ClaimLost as error:
        refused = {desk.handle: Refusal(str(error))}
    if (refusal := refused.get(desk.handle)) is not None:
        desk.closing = False
        session.roster.back_to_ready(agent_id, session.clock.now_s())
        raise DesktopRequestError(GswError.INVALID_REQUEST, f"the record may not be dialed now: {refusal.why}")
    session.on_desk.pop(desk.handle, None)
    rules = session.planner.rules(chain.list_dbid)
    machine = AttemptMachine(rules, session.clock.now_s(), designated_agent=agent_id)
    session.launch(AttemptTask(session, context, machine))


def _check(session: "Session", chain: Chain, agent_id: str) -> None:
    """The gates that can be asked at once; asked again after whatever took time."""
    seat = session.roster.seats[agent_id]
    if not session.dials:
        raise DesktopRequestError(GswError.INVALID_REQUEST, "the campaign group is not dialing")
    if seat.state in ON_A_CALL or seat.state is AgentState.LOGGED_OUT:
        raise DesktopRequestError(GswError.INVALID_REQUEST, f"agent {agent_id!r} is {seat.state.value}")
    if (why := session.why_closed(chain, session.clock.utc())) is not None:
        raise DesktopRequestError(GswError.INVALID_REQUEST, f"the record may not be dialed now: {why}")
    if not port_left(session):
        raise DesktopRequestError(GswError.INVALID_REQUEST, "no port is free")
