"""
Which trunk each attempt of a session uses, and when its call counts there.

A call counts when it starts: it has a port from then on, and has used one of the calls per second. Where an agent's
phone comes first (a seized agent, a call from the desktop), that is not when the attempt is written but when the agent
has answered. The trunk is only chosen at first, and the call takes its start then, before those of the pacing: an agent
is on the line for it. When its own trunk takes no call by then, another one of the group may.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import structlog
import trio

from ocsd.config.objects import Trunk
from ocsd.model.records import OpenAttempt
from ocsd.sessions.attempt_context import AttemptContext, last_try

if TYPE_CHECKING:
    from ocsd.sessions.session import Session

log = structlog.get_logger()

START_WAIT_S: Final = 5.0
"""How long an agent on the line may wait for the start of the customer's call; at one call per second several others
may be due before it."""


START_POLL_S: Final = 0.1


class TrunkUse:
    """Of one session. `leave` may be asked more than once for an attempt."""

    def __init__(self, session: "Session") -> None:
        self._session = session
        self._of: dict[int, str | None] = {}
        """The trunk of each attempt; None: chosen, and not counted yet."""

    def take(self, attempt_id: int, *, later: bool) -> Trunk:
        """The trunk of a new attempt. ``later``: its call starts some time from now, and `start` counts it."""
        session = self._session
        board, now_s, dbid = session.trunk_board, session.clock.now_s(), session.group.dbid
        weight, names = session.planner.sharing_weight, session.group.trunks
        trunk = (board.choose if later else board.take)(names, now_s, dbid, weight)
        self._begin(attempt_id, None if later else trunk.name)
        return trunk

    def adopt(self, attempt: OpenAttempt, leg_ids: Collection[str]) -> tuple[Trunk, int]:
        """Of an attempt of an earlier daemon: its trunk, and which of its tries is under way."""
        session = self._session
        tries, dbid = last_try(attempt.leg_id, leg_ids, [trunk.dbid for trunk in session.trunk_board.trunks])
        dbid = dbid if dbid is not None else attempt.switch_dbid
        trunk = session.trunk_board.adopt(dbid, session.group.trunks[0], session.group.dbid)
        self._begin(attempt.attempt_id, trunk.name)
        return trunk, tries

    def _begin(self, attempt_id: int, trunk: str | None) -> None:
        self._session.sharing.legs.take(self._session.group.dbid)
        self._of[attempt_id] = trunk

    def is_counted(self, attempt_id: int) -> bool:
        """Whether its trunk knows of the call (or did)."""
        return self._of.get(attempt_id, "") is not None

    @property
    def uncounted(self) -> int:
        """Attempts whose calls will start when an agent has answered."""
        return sum(trunk is None for trunk in self._of.values())

    def start(self, context: AttemptContext, *, paced: bool) -> Trunk | None:
        """
        The call of an attempt that `take` was asked for with ``later`` starts now; None: no trunk admits it yet.

        ``paced``: the group's own limit per second counts too.
        """
        session = self._session
        now_s, group = session.clock.now_s(), session.group
        rate = float(session.planner.option("dialing_rate_limit"))
        if paced and session.bucket.allowed(rate, now_s) <= 0:
            return None
        trunk = session.trunk_board.take_start(context.trunk, group.trunks, now_s, group.dbid)
        if trunk is not None:
            self._of[context.attempt_id] = trunk.name
            session.bucket.take()
        return trunk

    @contextmanager
    def going_first(self) -> Iterator[None]:
        """Within it, the pacing leaves a port and a call start for a call that waits for them."""
        with self._session.trunk_board.going_first(self._session.group.trunks):
            yield

    async def turn(self, trunk: str) -> bool:
        """
        The start of a further call that an agent makes amid a conversation, over a trunk whose port it has.

        Returns when the trunk admits it, which is then counted; False: it does not within START_WAIT_S.
        """
        board, now_s = self._session.trunk_board, self._session.clock.now_s
        if not board.admits(trunk, now_s()):
            with board.going_first((trunk,)), trio.move_on_after(START_WAIT_S):
                while not board.admits(trunk, now_s()):  # noqa: ASYNC110 - tokens come with time
                    await trio.sleep(START_POLL_S)
        if not board.admits(trunk, now_s()):
            log.warning("trunk.start_not_admitted", trunk=trunk, waited_s=START_WAIT_S)
            return False
        board.placed_again(trunk)
        return True

    def move(self, attempt_id: int, trunk: str) -> None:
        """The customer's call goes on over another trunk, which has counted it."""
        board, dbid = self._session.trunk_board, self._session.group.dbid
        if attempt_id not in self._of:
            board.release(trunk, dbid)  # it has ended meanwhile
        elif (name := self._of[attempt_id]) != trunk:
            if name is not None:
                board.release(name, dbid)
            self._of[attempt_id] = trunk

    def leave(self, attempt_id: int) -> None:
        """The customer's leg is gone (or never was)."""
        if attempt_id in self._of:
            name = self._of.pop(attempt_id)
            if name is not None:
                self._session.trunk_board.release(name, self._session.group.dbid)
            self._session.sharing.legs.release(self._session.group.dbid)
