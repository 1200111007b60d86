"""An attempt ends: its result, and what becomes of its chain, in one write."""

from dataclasses import replace
from typing import TYPE_CHECKING

from ocsd.sessions.attempt_result import finished_attempt
from ocsd.sessions.attempt_task import AttemptTask
from ocsd.sessions.settling import ending_of, kept_in_memory, settle

if TYPE_CHECKING:
    from ocsd.sessions.session import Session


async def conclude(session: "Session", task: AttemptTask) -> None:
    """Write what the attempt came to and what becomes of its chain; go on with the chain when that is soon."""
    context, now = task.context, session.clock.utc()
    session.guard.changed(context.attempt_id, task.machine)
    session.guard.writing(context.attempt_id)
    live, ending = session.supply.live(context.chain), ending_of(task)
    if live is None:  # all of it was withdrawn, and the call ended before anybody told it
        ending = replace(ending, withdrawn=True)
    chain = live or context.chain
    decision = settle(session.planner, chain, context.record, ending, context.updates, now)
    if session.wants_records:
        decision = kept_in_memory(session.planner, decision, chain.list_dbid, now)
    finished = finished_attempt(
        task,
        decision.change,
        treatment_dbid=decision.treatment_dbid or None,
        because=decision.because,
        statements=decision.statements,
        requests=decision.requests,
    )
    empty = await session.supply.conclude(chain, finished, decision)
    if decision.change.keep_claim and not session.wants_records:
        empty = [*empty, *session.supply.let_go(chain)]  # unloaded while the result was written
    await session.give_back(empty)
    session.wake()
