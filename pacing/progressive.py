"""Progressive pacing by the formula the vendor published, and the strict one-to-one rule."""

import math

from pacing.types import GroupSnapshot


def agents_to_dial_for(snapshot: GroupSnapshot) -> int:
    """Ready agents for whom calls may start: not those kept back for inbound calls, taken by them, or leaving.

    Inbound calls that wait or come take agents first, those kept back before the others.
    """
    inbound = snapshot.inbound_waiting + snapshot.inbound_ringing
    taken = max(inbound, snapshot.agents_kept_back)
    return len(snapshot.agents_idle_s) - snapshot.agents_leaving - taken


def progressive_launches(snapshot: GroupSnapshot, lines_per_agent: float) -> int:
    """floor(m x (ready - queued - ceil(dialed / m))), never below 0, with m = ``lines_per_agent`` > 0.

    ``dialed`` includes answered calls under analysis: each may still turn out to be a person. Published example: m 0.7,
    4 ready, 0 queued, 1 dialed gives 1.
    """
    if lines_per_agent <= 0.0:
        raise ValueError(f"lines_per_agent must be above 0, is {lines_per_agent}")
    ready = agents_to_dial_for(snapshot)
    dialed = len(snapshot.attempts_age_s) + len(snapshot.analysing_age_s)
    # The tolerance keeps 0.7 x 10 from becoming 6 and 3 / 0.3 from becoming 11 by binary rounding.
    busy_lines = math.ceil(dialed / lines_per_agent - 1e-9)
    return max(0, math.floor(lines_per_agent * (ready - snapshot.people_waiting - busy_lines) + 1e-9))


def one_to_one_launches(snapshot: GroupSnapshot) -> int:
    """At most one call per ready agent: nobody can be abandoned for want of an agent."""
    return progressive_launches(snapshot, 1.0)
