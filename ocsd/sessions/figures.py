"""A session in figures: as the pacing sees it, and as supervisors do."""

from typing import TYPE_CHECKING

from ocsd.sessions.attempt import AttemptState
from ocsd.sessions.roster import AgentState
from ocsd.sessions.supply import Gate
from pacing import GroupSnapshot

if TYPE_CHECKING:
    from ocsd.sessions.session import Session


def snapshot(session: "Session") -> GroupSnapshot:
    """The group as the pacing sees it now."""
    now_s = session.clock.now_s()
    dialing, analysing = [], []
    customers = 0
    for task in session.attempts.values():
        state = task.machine.state
        if task.machine.designated_agent is not None:
            pass  # whoever answers has an agent
        elif state in (AttemptState.DIALING, AttemptState.ALERTING):
            dialing.append(now_s - task.machine.started_s)
        elif state is AttemptState.ANALYSING:
            analysing.append(now_s - task.machine.marks["answered"])
        if state is not AttemptState.WRAP_UP:
            customers += 1
    seats = session.roster.seats.values()
    on_phone = sum(seat.state in (AgentState.RESERVED, AgentState.TALKING) for seat in seats)
    logged_in = sum(seat.state is not AgentState.LOGGED_OUT for seat in seats)
    # Every agent who may be needed keeps a leg in reserve.
    legs_free = session.telephony.capacity - session.telephony.in_use - (logged_in - on_phone)
    ports = min(
        session.group.num_of_channels - customers, session.trunk_board.free_ports(session.group.trunks), legs_free
    )
    starts = min(
        session.bucket.allowed(float(session.planner.option("dialing_rate_limit")), now_s),
        session.trunk_board.starts_allowed(session.group.trunks, now_s),
    )
    return GroupSnapshot(
        now_s=now_s,
        agents_idle_s=tuple(now_s - seat.since_s for seat in seats if seat.state is AgentState.READY),
        agents_talking_s=tuple(
            now_s - seat.since_s if seat.state is AgentState.TALKING else 0.0
            for seat in seats
            if seat.state in (AgentState.TALKING, AgentState.RESERVED)
        ),
        agents_wrapping_s=tuple(
            (seat.talked_s, now_s - seat.since_s) for seat in seats if seat.state is AgentState.WRAP_UP
        ),
        attempts_age_s=tuple(dialing),
        analysing_age_s=tuple(analysing),
        people_waiting=session.roster.people_waiting,
        ports_free=max(0, ports),
        records_ready=session.prevalidation.dialable(session.supply.buffered),
        starts_allowed=starts,
    )


def statistics(session: "Session") -> dict[str, float | int | None]:
    """Live figures for GET ...?req=statistics and ``ocsd ctl status``."""
    now_s = session.clock.now_s()
    states = [task.machine.state for task in session.attempts.values()]
    figures: dict[str, float | int | None] = {
        "agents_logged_in": sum(s.state is not AgentState.LOGGED_OUT for s in session.roster.seats.values()),
        "agents_ready": len(session.roster.in_state(AgentState.READY)),
        "agents_reserved": len(session.roster.in_state(AgentState.RESERVED)),
        "agents_talking": len(session.roster.in_state(AgentState.TALKING)),
        "agents_wrap_up": len(session.roster.in_state(AgentState.WRAP_UP)),
        "calls_dialing": sum(s in (AttemptState.DIALING, AttemptState.ALERTING) for s in states),
        "calls_analysing": states.count(AttemptState.ANALYSING),
        "people_waiting": session.roster.people_waiting,
        "attempts": session.score.tally.attempts,
        "answered": session.score.tally.people,
        "connected": session.score.tally.connected,
        "abandoned": session.score.tally.abandoned,
        "overdial_rate": session.score.tally.overdial_ratio,
        "busy_factor": session.score.tally.busy_ratio(session.roster, now_s),
        "mean_wait_s": session.score.tally.mean_wait_s,
        "call_starts_per_s": session.score.tally.starts_per_s(now_s),
        "records_in_buffer": session.supply.buffered,
        "records_held": session.supply.held,
        **{f"held_back_{gate.value}": session.supply.refused[gate] for gate in Gate},
    }
    figures |= session.prevalidation.statistics()
    figures |= {f"result_{code}": count for code, count in sorted(session.score.tally.results.items())}
    return figures
