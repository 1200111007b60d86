"""Third parties of calls: where an OtherDN leads, whose seat it takes, over which trunk it goes; and who is told."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import structlog

from ocsd.model.enums import GswError
from ocsd.model.errors import DesktopRequestError
from ocsd.protocols.desktop_calls import CallNews
from ocsd.sessions.call_talk import Destination, Refused
from ocsd.sessions.dial_plan import dial_plan
from ocsd.sessions.phones import PhonePlan
from ocsd.sessions.roster import ON_A_CALL, AgentSeat, AgentState, Roster
from ocsd.sessions.standing_legs import StandingLeg, StandingLegs

if TYPE_CHECKING:
    from ocsd.sessions.attempt_task import AttemptTask
    from ocsd.sessions.session import Session

log = structlog.get_logger()

NUMBER: Final = re.compile(r"\+?[0-9]{2,18}")
"""What is dialed: E.164 has 15 digits at most, a prefix may come before them; short codes have two."""
WRITTEN: Final = re.compile(r"[ ()./-]")
"""How people group the digits of a number."""


def allowed_number(number: str, patterns: str) -> bool:
    """Whether an option like ``+49*, 110`` allows the number: each entry is one, or the beginning of many (``*``)."""
    entries = [entry.strip() for entry in patterns.split(",") if entry.strip()]
    return any(number.startswith(each[:-1]) if each.endswith("*") else number == each for each in entries)


class CallParties:
    """
    Attributes:
        tell: brings an event to an agent's desktop, if there is one; ``refused``: that something came to nothing.
    """

    def __init__(self, seats: Mapping[str, AgentSeat], standing: StandingLegs) -> None:
        self._everybody = Roster(list(seats.values()))
        self._standing = standing
        self._adopted: set[str] = set()
        """Agents who have been in a call since an earlier run of the daemon; what they were before nobody knows."""
        self.tell: Callable[[Session, AttemptTask, CallNews], None] = lambda _session, _task, _news: None
        self.refused: Callable[[Refused], None] = lambda _refused: None
        self.left: Callable[[Session, str], None] = lambda _session, _agent_id: None
        """An agent is free again."""
        self.monitored: Callable[[str], None] = lambda _supervisor_id: None
        """A supervisor has left a call."""
        self.has_call: Callable[[AttemptTask, str], None] = lambda _task, _agent_id: None
        """An agent has been given a customer by another one."""

    # --- where ----------------------------------------------------------------------------------------------------

    def agent(self, dn: str) -> AgentSeat | None:
        """The agent whom a login ID or a phone means; None: nobody of ours."""
        seats = self._everybody.seats
        return seats.get(dn) or next((seat for seat in seats.values() if seat.dn == dn), None)

    def phone(self, agent_id: str) -> PhonePlan:
        """How the agent's phone is called."""
        return self._everybody.seats[agent_id].phone

    def standing_leg(self, agent_id: str) -> StandingLeg | None:
        """A leg to the agent's phone that is up already; None: the phone is to be called."""
        return self._standing.ready_for_attempt(agent_id)

    def destination(self, session: "Session", task: "AttemptTask", other_dn: str) -> Destination:
        """Whom to call. DesktopRequestError when that is nobody, may not be, or cannot be now."""
        seat = self.agent(other_dn.strip())
        if seat is not None:
            self.check_free(seat)
            return Destination(seat.dn, seat.dn, seat.agent_id, member=seat.agent_id in session.roster.seats)
        number = WRITTEN.sub("", other_dn)
        if not NUMBER.fullmatch(number):
            raise DesktopRequestError(
                GswError.INVALID_ATTRIBUTE_VALUE, f"OtherDN {other_dn!r} is neither an agent nor a number"
            )
        allowed = str(session.planner.option("outside-destinations", task.context.record.list_dbid))
        if not allowed_number(number, allowed):
            raise DesktopRequestError(
                GswError.INVALID_REQUEST, f"{number} is not among the outside-destinations that agents may call"
            )
        names = (task.context.trunk, *(name for name in session.group.trunks if name != task.context.trunk))
        now_s = session.clock.now_s()
        name = next((name for name in names if session.trunk_board.ports_left((name,), now_s) > 0), None)
        if name is None:
            raise DesktopRequestError(GswError.INVALID_REQUEST, "no port of the campaign group's trunks is free")
        plan = dial_plan(
            session.planner,
            replace(task.context.record, contact_info=number),
            session.config.trunk(name),
            task.context.caller_id,
            task.context.attempt_id,
            task.context.guid,
            "" if number.startswith("+") else number,  # a short code, or as the agent knows it: nothing to rewrite
        )
        return Destination(number, plan.uri, trunk=name, plan=plan)

    def check_free(self, seat: AgentSeat) -> None:
        """DesktopRequestError when the agent cannot be called now."""
        if seat.state in ON_A_CALL or seat.state is AgentState.LOGGED_OUT:
            raise DesktopRequestError(GswError.INVALID_REQUEST, f"agent {seat.agent_id} is {seat.state.value}")

    # --- seats and trunks -------------------------------------------------------------------------------------------

    def begin(self, session: "Session", attempt_id: int, destination: Destination) -> None:
        """Somebody is being called."""
        if destination.agent_id is not None:
            self._everybody.reserve(destination.agent_id, attempt_id, session.clock.now_s())
        if destination.trunk:
            session.trunk_board.take_port(destination.trunk, session.group.dbid)  # `TrunkUse.turn` counts its start

    def adopt(self, session: "Session", attempt_id: int, destination: Destination) -> None:
        """Somebody has been in a call since an earlier run of the daemon, before the desktop is back."""
        if destination.agent_id is not None:
            self._everybody.adopt(destination.agent_id, attempt_id, session.clock.now_s())
            self._adopted.add(destination.agent_id)
        if destination.trunk:
            session.trunk_board.take_port(destination.trunk, session.group.dbid)

    def adopt_recordless(self, agent_id: str, attempt_id: int, now_s: float) -> None:
        """Somebody has been in a call whose record is closed; nobody else is to be given to that agent meanwhile."""
        if agent_id in self._everybody.seats:
            self._everybody.adopt(agent_id, attempt_id, now_s)

    def left_recordless(self, sessions: Iterable["Session"], agent_id: str, attempt_id: int, now_s: float) -> None:
        """The agent has left that call, with nothing to write up: not ready, unless asked for meanwhile."""
        seat = self._everybody.seats.get(agent_id)
        if seat is None or (seat.state, seat.attempt_id) != (AgentState.TALKING, attempt_id):
            return
        if seat.wants is None:
            seat.wants = AgentState.NOT_READY
        self._everybody.wrap_up(agent_id, now_s)
        for session in sessions:
            session.match_agents()
            session.wake()

    def answered(self, session: "Session", destination: Destination) -> None:
        """Somebody has answered."""
        if destination.agent_id is not None:
            self._everybody.bridged(destination.agent_id, session.clock.now_s())

    def end(self, session: "Session", attempt_id: int, destination: Destination, *, had_the_call: bool = False) -> None:
        """
        The leg is gone, or has come to nothing.

        Who was only asked for advice has nothing to write up, and is what he was before; who ``had_the_call`` has.
        """
        if destination.trunk:
            session.trunk_board.release(destination.trunk, session.group.dbid)
        if (agent_id := destination.agent_id) is None:
            return
        seat, now_s = self._everybody.seats[agent_id], session.clock.now_s()
        if seat.attempt_id != attempt_id:
            return
        if agent_id in self._adopted:
            self._adopted.discard(agent_id)
            if seat.wants is None and not had_the_call:  # logged in anew meanwhile, and has not said to be ready
                seat.wants = AgentState.NOT_READY
        if seat.state is AgentState.TALKING:
            if not had_the_call:
                self._everybody.free_of_wrap_up(agent_id)
            self._everybody.wrap_up(agent_id, now_s)
        elif seat.state is AgentState.RESERVED:
            self._everybody.back_to_ready(agent_id, now_s)
        self.left(session, agent_id)
        session.match_agents()
        session.wake()
