"""A session dials: the pacing says how many, the supply which, and no INVITE leaves before its attempt is on disk."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import structlog

from ocsd.lists.store import ClaimLost
from ocsd.model.errors import StoreUnavailable
from ocsd.model.records import Chain, Refusal
from ocsd.sessions.attempt import AttemptMachine, GivenUp
from ocsd.sessions.attempt_task import AttemptContext
from ocsd.sessions.figures import ringing
from ocsd.sessions.patience import through_outages

if TYPE_CHECKING:
    from ocsd.sessions.session import Session

log = structlog.get_logger()


async def dial(session: "Session", count: int) -> None:
    """Start up to ``count`` calls; those that a gate holds back are dealt with."""
    chains: list[Chain] = []
    try:
        others, chosen = session.seizing.others(count)
        chains = await session.supply.take(others, chosen)
        started = await begin(session, chains) if chains else []
    except StoreUnavailable as error:
        log.warning("group.take_failed", error=str(error))
        return
    except ClaimLost as error:
        # Somebody else may dial one of them: none is dialed by us, and what is still ours goes back.
        log.error("group.claim_lost", chains=len(chains), error=str(error))
        await session.give_back(chains)
        return
    now_s = session.clock.now_s()
    session.bucket.take(len(started))
    session.score.tally.launched(len(started), now_s)
    for context in started:
        machine = AttemptMachine(session.planner.rules(context.record.list_dbid, context.trunk), now_s)
        session.launch(session.new_attempt(context, machine))


def give_up(session: "Session", places: Sequence[int]) -> None:
    """Hang up on calls that have rung long enough, by their places in the snapshot just decided upon."""
    rings = ringing(session)
    for place in places:
        rings[place].post(GivenUp())
    log.info("pacing.gave_up", calls=len(places))


async def begin(session: "Session", chains: list[Chain], *, later: bool = False) -> list[AttemptContext]:
    """
    Write the attempt rows; returns only when they are on disk. ``later``: see `Session.context_for`.

    While the database is away the very same rows are tried again: a write whose answer was lost may have been
    committed, and a second set of rows would later settle a record that was dialed under the other id.
    """
    ids = await through_outages(
        "group.attempts_not_begun", partial(session.store.next_attempt_ids, len(chains)), chains=len(chains)
    )
    contexts = [
        session.context_for(attempt_id, chain, later=later) for attempt_id, chain in zip(ids, chains, strict=True)
    ]
    refused = await write_begun(session, contexts)
    for context in contexts:
        if (refusal := refused.get(context.attempt_id)) is not None:
            if refusal.until is None:  # the record is not ours to dial any more; the rest of its chain goes back
                await session.give_back([context.chain])
            else:
                await _postpone(session, context.chain, refusal)
    return [context for context in contexts if context.attempt_id not in refused]


async def write_begun(session: "Session", contexts: list[AttemptContext]) -> Mapping[int, Refusal]:
    """Attempts that are not begun (refused by a cap, ClaimLost) leave their trunk."""
    attempts = session.planner.new_attempts(contexts, session.clock.utc())
    refused: Mapping[int, Refusal] = dict.fromkeys((context.attempt_id for context in contexts), Refusal("not begun"))
    try:
        refused = await through_outages(
            "group.attempts_not_begun", partial(session.store.begin_attempts, attempts), chains=len(contexts)
        )
    finally:
        for attempt_id in refused:
            session.trunk_use.leave(attempt_id)
    return refused


async def _postpone(session: "Session", chain: Chain, refusal: Refusal) -> None:
    try:
        await session.supply.postpone(chain, refusal)
    except StoreUnavailable:
        await session.give_back([chain])  # the gates will say it again
