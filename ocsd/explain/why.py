"""Why is it not dialing: the answer for one record, and for one campaign group. Pure but for the clock it is given."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from ocsd.config.objects import CampaignGroup, Configuration
from ocsd.explain.contract import Explanation, GateVerdict, GroupExplanation
from ocsd.explain.facts import RecordFacts
from ocsd.explain.gates import record_gates
from ocsd.explain.group_gates import group_gates
from ocsd.explain.live import Live
from ocsd.explain.trunks import TrunkCalls, trunks_gate
from ocsd.explain.walk import next_opening, refusals
from ocsd.model.enums import RecordType


def explain(facts: RecordFacts, live: Live | None) -> Explanation:
    """Every gate of the record and of its group at ``facts.at``; ``live`` None: no daemon was asked."""
    record = facts.record
    of_record = tuple(record_gates(facts, live))
    agent_id = None
    if record.record_type in facts.delivered:
        agent_id = "" if record.record_type is RecordType.CAMPAIGN_CALLBACK else record.agent_id or ""
    of_group = tuple(
        group_gates(
            facts.config,
            facts.group,
            live,
            calling_list=facts.calling_list,
            kind=record.record_type,
            agent_id=agent_id,
            ahead=facts.ahead,
        )
    )
    gates = of_record + of_group
    is_open = all(gate.passed is True for gate in of_record)
    held = next((gate.opens_at for gate in of_record if gate.gate == "claim" and gate.opens_at is not None), None)
    next_at = None if is_open else next_opening(facts)
    if next_at is not None and held is not None:
        next_at = max(next_at, held)
    if next_at is not None and (next_at <= facts.at or not _only_time(of_record)):
        next_at = None  # open as far as can be told; or somebody else decides
    return Explanation(
        calling_list=facts.calling_list.name,
        record_id=record.record_id,
        chain_id=record.chain_id,
        at=facts.at,
        dialed_now=all(gate.passed is True for gate in gates),
        summary=_summary(facts, of_record, of_group, next_at),
        gates=gates,
        next_at=next_at,
        ahead=facts.ahead if is_open else None,
    )


def explain_group(
    config: Configuration,
    group: CampaignGroup,
    live: Live | None,
    at: datetime,
    trunks: Mapping[int, TrunkCalls] | None = None,
) -> GroupExplanation:
    """Every gate of a campaign group; ``trunks``: their last calls, by DBID; None: the database was not asked."""
    names = {config.trunk(name).dbid: name for name in group.trunks}
    gates = (*group_gates(config, group, live), trunks_gate(names, trunks, at))
    closed = [gate for gate in gates if gate.passed is False]
    if closed:
        summary = f"{closed[0].why}. What to do: {closed[0].remedy}"
    elif any(gate.passed is None for gate in gates):
        summary = gates[0].why if gates[0].passed is None else "nothing holds it back as far as can be told"
    else:
        summary = f"{group.name} dials: {next(gate.why for gate in gates if gate.gate == 'pacing')}"
    dials = None if live is None else not closed
    return GroupExplanation(group.name, at, dials, summary, gates)


def _only_time(gates: Iterable[GateVerdict]) -> bool:
    """Whether nothing but the clock holds the record back. The chain was looked at for the next instant itself."""
    return all(gate.passed is not False or gate.opens_at is not None or gate.gate == "chain" for gate in gates)


def _summary(
    facts: RecordFacts, of_record: Sequence[GateVerdict], of_group: Sequence[GateVerdict], next_at: datetime | None
) -> str:
    closed = [gate for gate in of_record if gate.passed is False]
    unknown = [gate for gate in of_record if gate.passed is None]
    if next_at is not None:
        zone = facts.hours.zone_of(facts.record)
        local = next_at.astimezone(zone)
        # The gate that holds it longest goes first.
        whys = sorted(closed, key=lambda gate: gate.opens_at or facts.at, reverse=True)
        where = f"{local:%a %Y-%m-%d %H:%M} in {local.tzinfo} ({next_at.astimezone(UTC):%H:%M} UTC)"
        latest = max((gate.opens_at for gate in closed if gate.opens_at is not None), default=next_at)
        then = [] if latest >= next_at else [f"then, {found.why}" for found in refusals(facts, latest)][:1]
        return f"not before {where}: {'; '.join([*(gate.why for gate in whys), *then])}"
    if closed:
        # What only somebody can change goes before what time changes.
        first = next((gate for gate in closed if gate.opens_at is None), closed[0])
        others = len(closed) - 1
        more = f" (and {others} more gate{'s' * (others != 1)} closed)" if others else ""
        verb = "not now" if first.gate in ("claim", "open_attempt", "chain") else "not dialed as things stand"
        return f"{verb}: {first.why}{more}. What to do: {first.remedy}"
    if unknown:
        return f"{unknown[0].why}. What to do: {unknown[0].remedy}"
    shut = [gate for gate in of_group if gate.passed is False]
    if shut:
        return f"nothing holds the record back, but its group does: {shut[0].why}. What to do: {shut[0].remedy}"
    if not of_group or any(gate.passed is None for gate in of_group):
        return "nothing holds the record back; whether its group dials, only a running daemon can tell (--url)"
    what = "it goes to a desktop" if facts.record.record_type in facts.delivered else "it is dialed"
    ahead = f"; about {facts.ahead} chains of its list go first" if facts.ahead else ""
    return f"every gate is open: {what} in its turn{ahead}"
