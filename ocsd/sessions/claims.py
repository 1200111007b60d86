"""The records that a session has claimed: claimed anew while it dials, and back in their lists when it does not."""

from functools import partial
from typing import TYPE_CHECKING, Final

import structlog
import trio

from ocsd.model.errors import ConfigError, StoreUnavailable
from ocsd.model.records import Chain
from ocsd.sessions.patience import through_outages
from ocsd.sessions.roster import AgentState

if TYPE_CHECKING:
    from ocsd.sessions.session import Session

log = structlog.get_logger()

REFILL_PERIOD_S: Final = 0.5


class Claims:
    """What goes into the session's supply, and what comes back of it undialed. One claim or return at a time."""

    def __init__(self, session: "Session") -> None:
        self._session = session
        self._changing = trio.Lock()
        self._replan = False

    def plan_changed(self) -> None:
        """The session has another planner: the supply changes over between two of its steps."""
        self._replan = True

    async def keep_filled(self, gate: trio.Event) -> None:
        """Once ``gate`` is open, refill the supply while the session wants records; ends when cancelled."""
        await gate.wait()
        while True:
            async with self._changing:
                if self._session.wants_records:
                    await self.refill()
            await trio.sleep(REFILL_PERIOD_S)

    async def refill(self) -> None:
        """One claim, as large as the agents who are there need; an outage of the database is only logged."""
        session = self._session
        agents = sum(seat.state is not AgentState.LOGGED_OUT for seat in session.roster.seats.values())
        try:
            if self._replan:
                await session.supply.reconfigure(session.planner)
                self._replan = False
            fresh = await session.supply.refill(agents)
        except StoreUnavailable as error:
            log.warning("group.refill_failed", error=str(error))
            return
        if not session.wants_records:
            await self.give_back(session.supply.empty())  # unloaded while the claim was under way
        elif fresh:
            session.wake()

    async def give_back(self, chains: list[Chain]) -> None:
        """Undialed chains back to their lists, through outages of the database."""
        if chains:
            again = partial(self._session.store.give_back, chains)
            await through_outages("group.give_back_waits", again, chains=len(chains))

    async def give_back_all(self) -> None:
        """Nothing stays Retrieved: the supply, and whatever is still claimed for this group without a call."""
        session = self._session
        async with self._changing:  # a claim under way ends first, or its chains would come after us
            await self.give_back(session.supply.empty())
            again = partial(session.store.release_group, session.group.dbid)
            left = await through_outages("group.give_back_waits", again)
            if left:
                log.info("group.claims_released", chains=left)

    async def none_left(self) -> bool:
        """Whether neither supply nor lists hold a chain to dial; False when nobody knows."""
        session = self._session
        if not session.supply.all_exhausted():
            return False
        try:
            for dbid in session.planner.shares():
                if (await session.store.counts(dbid, session.clock.utc())).ready_chains:
                    return False
        except (StoreUnavailable, ConfigError):
            return False
        return True
