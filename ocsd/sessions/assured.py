"""Records for assured connections: an agent is reserved and engaged before their customer is dialed."""

from typing import TYPE_CHECKING

import structlog

from ocsd.lists.store import ClaimLost
from ocsd.model.errors import StoreUnavailable
from ocsd.model.records import Chain
from ocsd.sessions.attempt import AttemptMachine
from ocsd.sessions.dialing import begin
from ocsd.sessions.figures import start_left
from ocsd.sessions.seizing_plan import is_assured

if TYPE_CHECKING:
    from ocsd.sessions.session import Session

log = structlog.get_logger()


async def serve_assured(session: "Session") -> None:
    """
    Dial what the pacing would have dialed had it needed no agent first, one for each agent who is free.

    Nobody waits then: whoever did would have got that agent. The pacing counts each record that is due as a person who
    waits, so that no call is started for the same agent. Ports and call starts bound these calls as they do the others;
    they count when the agent has answered and the customer is called (`trunk_use`).
    """
    due = session.seizing.due
    while due and session.dials and start_left(session) and (agent_id := free_agent(session)) is not None:
        now_s = session.clock.now_s()
        session.roster.reserve(agent_id, 0, now_s)
        launched = False
        try:
            launched = await _launch(session, agent_id)
        finally:
            if not launched:
                session.roster.back_to_ready(agent_id, session.clock.now_s())
        if not launched:
            return


def free_agent(session: "Session") -> str | None:
    """Who has waited longest; None: nobody is free."""
    seats, now_s = session.roster.seats, session.clock.now_s()
    return min(
        (agent_id for agent_id in session.roster.free(session.group.dbid) if now_s >= seats[agent_id].rests_until_s),
        key=lambda agent_id: (seats[agent_id].free_since_s(), agent_id),
        default=None,
    )


async def _launch(session: "Session", agent_id: str) -> bool:
    """False: nothing was dialed, and the agent is free again."""
    due, planner = session.seizing.due, session.planner
    chains: list[Chain] = []
    try:
        chains = await session.supply.take(
            1, lambda chain: chain.key in due and is_assured(session.planner, chain.record)
        )
        if not chains:
            due.clear()  # withdrawn, or held back by a gate
            return False
        due.pop(chains[0].key, None)
        started = await begin(session, chains, later=True)
    except StoreUnavailable as error:
        log.warning("group.take_failed", error=str(error))
        return False
    except ClaimLost as error:
        log.error("group.claim_lost", chains=len(chains), error=str(error))
        await session.give_back(chains)
        return False
    if not started:
        return False
    (context,) = started
    now_s = session.clock.now_s()
    session.roster.seats[agent_id].attempt_id = context.attempt_id
    rules = planner.rules(context.record.list_dbid, context.trunk)
    machine = AttemptMachine(rules, now_s, agent_id=agent_id, assured=True)
    session.launch(session.new_attempt(context, machine))
    return True
