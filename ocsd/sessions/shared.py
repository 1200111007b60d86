"""The sessions that share agents, trunks and legs: who is in whose part, and who is held back by what others use."""

from collections.abc import Mapping, Set
from typing import TYPE_CHECKING

from ocsd.model.enums import PREDICTIVE_MODES
from ocsd.sessions.attempt_events import AttemptState
from ocsd.sessions.roster import AT_WORK, NO_FURTHER_CALL, AgentSeat, Ranks, Roster
from ocsd.sessions.sharing import AgentParts, Claim, FairPlaces, overlapping
from pacing import DialDecision, GroupSnapshot

if TYPE_CHECKING:
    from ocsd.sessions.attempt_task import AttemptTask
    from ocsd.sessions.session import Session

RECORDS_MEMORY_S = 5.0
"""A group whose buffer is empty keeps its part for so long: the next portion may be under way."""
LIMITED_MEMORY_S = 1.0
"""A group that ports or call starts have just held back needs no more agents than its calls under way."""
LEGS_PERIOD_S = 0.5
"""How old the count of other groups' agents may be: it costs a look at each of them."""

UNDER_WAY = frozenset(
    {
        AttemptState.DIALING,
        AttemptState.ALERTING,
        AttemptState.ANALYSING,
        AttemptState.WAITING,
        AttemptState.CONNECTING,
    }
)
"""Calls whose person may still need an agent."""


class Sharing:
    """What the sessions of one daemon know of each other."""

    def __init__(self, rosters: Mapping[str, Roster]) -> None:
        self.rosters = rosters
        """By name of the agent group."""
        self.legs = FairPlaces()
        """Customers' legs of each campaign group."""
        self._tied = overlapping({name: roster.seats for name, roster in rosters.items()})
        self._sessions: dict[str, list[Session]] = {name: [] for name in rosters}
        self._parts: dict[frozenset[str], AgentParts] = {}
        self._legs_kept: dict[frozenset[str], int] = {}
        self._legs_kept_at_s = 0.0
        self._records_at_s: dict[int, float] = {}
        self._limited_at_s: dict[int, float] = {}
        for roster in rosters.values():
            roster.line.ranks = self._ranks

    def enter(self, session: "Session") -> None:
        self._sessions[session.group.group].append(session)

    def leave(self, session: "Session") -> None:
        self._sessions[session.group.group].remove(session)
        for attempt_id in session.attempts:  # of a session that failed: nobody else may be sent their people
            session.roster.stop_seeking(attempt_id)

    def task_of(self, session: "Session", attempt_id: int) -> "AttemptTask":
        """
        An attempt whose person was waiting: the session's own, or that of any other.

        All wait in one line, so whoever has it matched may meet people of groups that share no agent with it.
        """
        if (task := session.attempts.get(attempt_id)) is not None:
            return task
        for others in self._sessions.values():
            for other in others:
                if (task := other.attempts.get(attempt_id)) is not None:
                    return task
        raise KeyError(attempt_id)

    def legs_kept_elsewhere(self, session: "Session", now_s: float) -> int:
        """Legs for agents of other groups that dial: each may need one of the same telephony."""
        tied = self._tied.get(session.group.group, frozenset())
        if not self._legs_kept or now_s - self._legs_kept_at_s >= LEGS_PERIOD_S:
            self._legs_kept = {names: self._off_the_phone(names) for names in set(self._tied.values())}
            self._legs_kept_at_s = now_s
        elsewhere = sum(self._legs_kept.values()) - self._legs_kept.get(tied, 0)
        return elsewhere + (self._off_the_phone(tied, session.roster) if len(tied) > 1 else 0)

    def _off_the_phone(self, names: Set[str], without: Roster | None = None) -> int:
        """Agents of dialing groups who are logged in without a call, each counted once."""
        dialing = [each.roster for name in names for each in self._sessions[name] if each.dials]
        seats = {agent_id: seat for roster in dialing for agent_id, seat in roster.seats.items()}
        own = without.seats if without is not None else {}
        off = (seat.needs_leg() for seat in seats.values())
        return sum(idle for agent_id, idle in zip(seats, off, strict=True) if agent_id not in own)

    def in_others_parts(self, session: "Session", now_s: float) -> frozenset[str]:
        """Agents of the session that count for other groups' pacing now."""
        together = self._tied_to(session)
        if len(together) < 2:
            self._parts.pop(self._tied.get(session.group.group, frozenset()), None)
            return frozenset()
        users: dict[str, set[int]] = {}
        alone: dict[int, int] = {}
        for each in together:
            for seat in each.roster.seats.values():
                if may_take_calls(seat) and seat.agent_id not in each.roster.left:
                    users.setdefault(seat.agent_id, set()).add(each.group.dbid)
        for each in together:
            staying = {agent_id for agent_id in each.roster.seats if agent_id not in each.roster.leaving}
            for agent_id, groups in users.items():
                if each.group.dbid in groups and len(groups) > 1 and agent_id not in staying:
                    groups.discard(each.group.dbid)
        for groups in users.values():
            if len(groups) == 1:
                (dbid,) = groups
                alone[dbid] = alone.get(dbid, 0) + 1
        claims = {each.group.dbid: self._claim(each, alone.get(each.group.dbid, 0), now_s) for each in together}
        shared = {agent_id: groups for agent_id, groups in users.items() if len(groups) > 1}
        parts = self._parts.setdefault(self._tied[session.group.group], AgentParts()).divide(shared, claims)
        mine = session.group.dbid
        return frozenset(
            agent_id
            for agent_id, groups in users.items()
            if agent_id in session.roster.seats and (parts[agent_id] if agent_id in parts else min(groups)) != mine
        )

    def _ranks(self, group: int) -> Ranks:
        """See `WaitingLine`: an agent of the group's own part, else one whom another part can spare, else nobody."""
        spares: dict[int, bool] = {}

        def rank(agent_id: str) -> int | None:
            for parts in self._parts.values():
                owner = parts.of(agent_id)
                if owner is not None and owner != group:
                    if owner not in spares:
                        spares[owner] = self._can_spare(owner, parts)
                    return 1 if spares[owner] else None
            return 0

        return rank

    def _can_spare(self, owner: int, parts: AgentParts) -> bool:
        """Whether more agents are ready in a part than its calls under way can ever need."""
        session = next((s for each in self._sessions.values() for s in each if s.group.dbid == owner), None)
        if session is None:
            return True
        ready = sum(parts.of(agent_id) in (owner, None) for agent_id, _ in session.roster.ready())
        return ready > _under_way(session)

    def decided(self, session: "Session", snapshot: GroupSnapshot, decision: DialDecision) -> None:
        """Remember what the group could use, and what held it back, for the others' parts."""
        dbid, now_s = session.group.dbid, snapshot.now_s
        if snapshot.records_ready > 0 and not (snapshot.legal is not None and snapshot.legal.stop):
            self._records_at_s[dbid] = now_s
        if decision.because not in ("ports", "start_rate"):
            return
        self._limited_at_s[dbid] = now_s
        weight, trunks = session.planner.sharing_weight, session.group.trunks
        if decision.because == "start_rate":
            own_limit = session.bucket.allowed(float(session.planner.option("dialing_rate_limit")), now_s)
            if own_limit > decision.launch:
                session.trunk_board.want_starts(trunks, dbid, weight, now_s)
        elif self.legs.of(dbid) + decision.launch < session.group.num_of_channels:
            session.trunk_board.want_ports(trunks, dbid, weight, now_s)
            self.legs.want(dbid, weight, now_s)

    def _tied_to(self, session: "Session") -> "list[Session]":
        names = self._tied.get(session.group.group, frozenset())
        return [each for name in sorted(names) for each in self._sessions[name]]

    def _claim(self, session: "Session", alone: int, now_s: float) -> Claim:
        """
        ``alone``: agents whom nobody else may use.

        A group that has records and is not held back by ports can always use one more agent; another needs no more
        than its calls.
        """
        dbid, weight = session.group.dbid, session.planner.sharing_weight
        calls = _under_way(session)
        least = max(0.0, calls * _people_ratio(session) - alone)
        supplied = now_s - self._records_at_s.get(dbid, -RECORDS_MEMORY_S - 1.0) <= RECORDS_MEMORY_S
        limited = now_s - self._limited_at_s.get(dbid, -LIMITED_MEMORY_S - 1.0) <= LIMITED_MEMORY_S
        if session.dials and supplied and not limited:
            return Claim(weight, least=least)
        bridged = sum(task.machine.bridged for task in session.attempts.values()) if session.dials else 0
        return Claim(weight, max(least, float(max(0, calls + bridged - alone))), least)


def may_take_calls(seat: AgentSeat) -> bool:
    """The agent is at work, and has not asked to be not ready or logged out after this call."""
    return seat.state in AT_WORK and seat.wants not in NO_FURTHER_CALL


def _under_way(session: "Session") -> int:
    """Calls of the pacing that may still need an agent."""
    tasks = session.attempts.values()
    return sum(task.machine.state in UNDER_WAY for task in tasks if not task.machine.has_agent)


def _people_ratio(session: "Session") -> float:
    """
    Share of the calls that bring a person, at most 1.

    In Progressive mode each call has an agent of its own. Two people that nobody has seen stand for what is not known
    yet: a group that has only begun keeps an agent for each of its calls.
    """
    if session.settings.dial_mode not in PREDICTIVE_MODES:
        return 1.0
    tally = session.score.tally
    over = max(0, tally.attempts - _under_way(session))
    return min(1.0, (tally.people + 2.0) / (over + 2.0))
