"""A session in figures: as the pacing sees it, and as supervisors do."""

from collections.abc import Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ocsd.sessions.attempt import AttemptState
from ocsd.sessions.roster import NO_FURTHER_CALL, AgentSeat, AgentState, Roster
from ocsd.sessions.supply import Gate
from pacing import GroupSnapshot
from pacing.ports import as_engaged

if TYPE_CHECKING:
    from ocsd.sessions.attempt_task import AttemptTask
    from ocsd.sessions.session import Session


DIALING, ALERTING, ANALYSING = AttemptState.DIALING, AttemptState.ALERTING, AttemptState.ANALYSING
READY, RESERVED, TALKING, WRAP_UP = AgentState.READY, AgentState.RESERVED, AgentState.TALKING, AgentState.WRAP_UP


def snapshot(session: "Session") -> GroupSnapshot:
    """The group as the pacing sees it now."""
    now_s = session.clock.now_s()
    dialing, analysing, rung = [], [], []
    gives_up = session.score.pacer.target.least_ring_s is not None
    customers = 0
    for task in session.attempts.values():
        machine = task.machine
        state = machine.state
        if machine.has_agent:
            pass  # whoever answers has an agent
        elif state is ALERTING or state is DIALING:
            dialing.append(now_s - machine.started_s)
            if gives_up:
                rung.append(now_s - machine.marks.get("alerting", now_s))
        elif state is ANALYSING:
            analysing.append(now_s - machine.marks["answered"])
        if state is not AttemptState.WRAP_UP:
            customers += 1
    inbound_waiting, inbound_ringing = session.roster.inbound.current(now_s)
    elsewhere = session.sharing.in_others_parts(session, now_s)
    seizes = session.seizing.active
    agents = agents_seen(session.roster, elsewhere, now_s, seizes=seizes)
    seen = GroupSnapshot(
        now_s=now_s,
        agents_idle_s=tuple(agents.idle_s),
        agents_talking_s=tuple(agents.talking_s),
        agents_wrapping_s=tuple(agents.wrapping_s),
        attempts_age_s=tuple(dialing),
        analysing_age_s=tuple(analysing),
        people_waiting=session.roster.people_waiting + len(session.seizing.due),
        ports_free=max(0, _ports_free(session, customers, now_s)),
        records_ready=session.prevalidation.dialable(session.supply.buffered),
        starts_allowed=_starts_allowed(session, now_s),
        agents_ready_in_s=tuple(agents.ready_in_s),
        inbound_waiting=inbound_waiting,
        inbound_ringing=inbound_ringing,
        agents_kept_back=min(session.planner.kept_back(session.settings), len(agents.idle_s)),
        agents_leaving=agents.leaving,
        legal=session.guard.room(session.group.dbid, expected_abandoned(session), spends=session.dials),
        attempts_rung_s=tuple(rung),
    )
    if session.voice.active:
        return session.voice.as_seen(seen)
    if session.transfer_out.active:
        return session.transfer_out.as_seen(seen)
    return as_engaged(seen, session.seizing.engaged(agents.engaged_s, agents.engaging, now_s)) if seizes else seen


def ringing(session: "Session") -> list["AttemptTask"]:
    """The attempts of the snapshot's ``attempts_age_s``, in its order, as long as nothing has happened since."""
    return [
        task
        for task in session.attempts.values()
        if not task.machine.has_agent and task.machine.state in (DIALING, ALERTING)
    ]


def expected_abandoned(session: "Session") -> float:
    """People whom the calls under way were expected to lose when the pacing decided last."""
    return 0.0 if session.decided is None else session.decided.inputs.get("expected_abandoned", 0.0)


@dataclass(slots=True)
class AgentsSeen:
    """The agents of a group as its pacing counts them: each at most once. The lists are those of the snapshot."""

    idle_s: list[float] = field(default_factory=list)
    talking_s: list[float] = field(default_factory=list)
    wrapping_s: list[tuple[float, float]] = field(default_factory=list)
    ready_in_s: list[float] = field(default_factory=list)
    leaving: int = 0
    engaged_s: list[float] = field(default_factory=list)
    """In a seizing mode: of ready agents whose phone is up, who are not in ``idle_s`` then."""
    engaging: list[AgentSeat] = field(default_factory=list)
    """Ready agents whose phone rings."""


def agents_seen(roster: Roster, elsewhere: Set[str], now_s: float, *, seizes: bool = False) -> AgentsSeen:
    """
    Agents who will take a further call, by what they do.

    Whoever has asked to be not ready or logged out after the call does not come free, and whoever is leaving comes free
    for nobody: counting them would start calls that nobody takes.

    Args:
        elsewhere: agents who count for other groups' pacing.
        seizes: the group is in a seizing mode. Elsewhere whoever's nailed-up phone is down counts for nothing.
    """
    seen = AgentsSeen()
    left, leaving = roster.left, roster.leaving
    # Each decision looks at every agent: the order and the form of these questions is most of what that costs.
    for agent_id, seat in roster.seats.items():
        state, since_s = seat.state, seat.since_s
        if (seat.wants is not None and seat.wants in NO_FURTHER_CALL) or agent_id in left or agent_id in elsewhere:
            continue
        if state is READY and seizes and (seat.engaged_s is not None or seat.phone_rings):
            if agent_id in leaving:
                pass  # there for calls under way; nobody is dialed ahead for one who leaves
            elif seat.engaged_s is not None:
                seen.engaged_s.append(now_s - seat.free_since_s())
            else:
                seen.engaging.append(seat)
        elif state is READY and not seat.can_take(seizes=False):
            pass
        elif agent_id in leaving:
            if state is READY:
                seen.idle_s.append(now_s - since_s)
                seen.leaving += 1
        elif seat.ready_at_s is not None and (ready_in_s := seat.ready_in_s(now_s)) is not None:
            seen.ready_in_s.append(ready_in_s)
        elif state is TALKING:
            seen.talking_s.append(now_s - since_s)
        elif state is WRAP_UP:
            seen.wrapping_s.append((seat.talked_s, now_s - since_s))
        elif state is READY:
            seen.idle_s.append(now_s - since_s)
        elif state is RESERVED:
            seen.talking_s.append(0.0)
    return seen


def _ports_free(session: "Session", customers: int, now_s: float) -> int:
    """Calls that the group's ports, its trunks and the telephony's legs still admit."""
    group, sharing, weight = session.group, session.sharing, session.planner.sharing_weight
    legs_free = _legs_free(session, now_s)
    return min(
        group.num_of_channels - customers,
        session.trunk_board.free_ports(group.trunks, group.dbid, weight, now_s),
        sharing.legs.free(group.dbid, weight, sharing.legs.used + legs_free, now_s),
    )


def port_left(session: "Session") -> bool:
    """Whether one more call is possible at all: an agent's own call does not queue for a part with the pacing's."""
    customers = sum(task.machine.state is not AttemptState.WRAP_UP for task in session.attempts.values())
    return (
        customers < session.group.num_of_channels
        and session.trunk_board.ports_left(session.group.trunks, session.clock.now_s()) > session.trunk_use.uncounted
        and _legs_free(session, session.clock.now_s()) > 0
    )


def start_left(session: "Session") -> bool:
    """Whether a call may start now that is placed beside the pacing's: a port, and the per-second limits."""
    return port_left(session) and _starts_allowed(session, session.clock.now_s()) > 0


def _legs_free(session: "Session", now_s: float) -> int:
    """Legs for customers: every agent who may be needed keeps one in reserve."""
    off_phone = sum(seat.needs_leg() for seat in session.roster.seats.values())
    kept = off_phone + session.sharing.legs_kept_elsewhere(session, now_s) + session.voice.legs_kept()
    return session.telephony.capacity - session.telephony.in_use - kept


def _starts_allowed(session: "Session", now_s: float) -> int:
    """Calls that the per-second limits of the group and of its trunks admit now."""
    group, weight = session.group, session.planner.sharing_weight
    return min(
        session.bucket.allowed(float(session.planner.option("dialing_rate_limit")), now_s),
        session.trunk_board.starts_allowed(group.trunks, now_s, group.dbid, weight),
    )


def statistics(session: "Session") -> dict[str, float | int | None]:
    """Live figures for GET ...?req=statistics and ``ocsd ctl status``."""
    now_s = session.clock.now_s()
    states = [task.machine.state for task in session.attempts.values()]
    inbound_waiting, inbound_ringing = session.roster.inbound.current(now_s)
    figures: dict[str, float | int | None] = {
        "agents_logged_in": sum(s.state is not AgentState.LOGGED_OUT for s in session.roster.seats.values()),
        "agents_ready": len(session.roster.in_state(AgentState.READY)),
        "agents_reserved": len(session.roster.in_state(AgentState.RESERVED)),
        "agents_talking": len(session.roster.in_state(AgentState.TALKING)),
        "agents_wrap_up": len(session.roster.in_state(AgentState.WRAP_UP)),
        "agents_leaving": len(session.roster.leaving),
        "calls_dialing": sum(s in (AttemptState.DIALING, AttemptState.ALERTING) for s in states),
        "calls_analysing": states.count(AttemptState.ANALYSING),
        "people_waiting": session.roster.people_waiting,
        "inbound_waiting": inbound_waiting,
        "inbound_ringing": inbound_ringing,
        "attempts": session.score.tally.attempts,
        "answered": session.score.tally.people,
        "connected": session.score.tally.connected,
        "abandoned": session.score.tally.abandoned,
        "calls_given_up": session.score.tally.let_go,
        "overdial_rate": session.score.tally.overdial_ratio,
        "busy_factor": session.score.tally.busy_ratio(session.roster, now_s),
        "mean_wait_s": session.score.tally.mean_wait_s,
        "call_starts_per_s": session.score.tally.starts_per_s(now_s),
        "records_in_buffer": session.supply.buffered,
        "records_held": session.supply.held,
        **{f"held_back_{gate.value}": session.supply.refused[gate] for gate in Gate},
    }
    takes = [session.trunk_board.takes_calls(name, now_s) for name in session.group.trunks]
    figures |= {"trunks": len(takes), "trunks_out": takes.count(False)}
    figures["caller_ids_exhausted"] = session.trunk_board.caller_ids.exhausted
    figures |= session.prevalidation.statistics()
    figures |= session.guard.figures()
    figures |= session.transfer_out.figures(now_s)
    figures |= session.verdicts.figures()
    figures |= session.verification.figures()
    figures |= session.voice.figures()
    figures |= session.seizing.figures()
    figures |= {f"result_{code}": count for code, count in sorted(session.score.tally.results.items())}
    return figures
