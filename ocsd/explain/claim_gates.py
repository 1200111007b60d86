"""The gates of a claimed chain: who has it, where it is, and whether an attempt of it is open. Pure."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from ocsd.explain.contract import GateVerdict
from ocsd.explain.facts import RecordFacts
from ocsd.explain.live import Live, Place, Whereabouts

ASK_THE_DAEMON: Final = "ask the daemon that has it (--url)"


def claim_gate(facts: RecordFacts, live: Live | None) -> GateVerdict:
    claim = facts.claim
    if claim is None:
        return GateVerdict("claim", True, "nobody has claimed its chain")
    group = next((g.name for g in facts.config.campaign_groups if g.dbid == claim.campaign_group_dbid), "")
    by_whom = f'campaign group "{group}"' if group else f"campaign group {claim.campaign_group_dbid}"
    inputs: dict[str, object] = {
        "owner": claim.owner,
        "node": claim.node,
        "campaign_group": group or claim.campaign_group_dbid,
        "list_dbid": claim.list_dbid,
        "claimed_at": claim.claimed_at,
        "lease_until": claim.lease_until,
    }
    if live is not None and live.owner == claim.owner:
        where = live.chain or Whereabouts(Place.ELSEWHERE)
        inputs |= {"place": where.place.value, "queue_place": where.queue_place}
        return _with_us(facts, where, by_whom, inputs)
    held_by = f"its chain is claimed for {by_whom} by {claim.owner}"
    if claim.lease_until <= facts.at or claim.stopped_at is not None:
        return GateVerdict(
            "claim",
            False,
            f"{held_by}, which is gone: lease until {stamp(claim.lease_until)}",
            inputs=inputs,
            remedy="the next start of a daemon on that node, or of any once the lease has run out, gives it back",
        )
    if live is not None:
        return GateVerdict(
            "claim",
            False,
            f"{held_by}, another daemon (lease until {stamp(claim.lease_until)})",
            inputs=inputs,
            remedy="ask that daemon; if it is dead, its lease runs out by itself",
        )
    return GateVerdict(
        "claim",
        None,
        f"{held_by} (lease until {stamp(claim.lease_until)}); only that daemon knows how far it is",
        inputs=inputs,
        remedy=ASK_THE_DAEMON,
    )


def _with_us(facts: RecordFacts, where: Whereabouts, by_whom: str, inputs: Mapping[str, object]) -> GateVerdict:
    ours = where.record_id in (None, facts.record.record_id)
    which = "it" if ours else f"record {where.record_id} of its chain"
    match where.place:
        case Place.BUFFER:
            why = f"its chain is in the buffer of {by_whom}, place {where.queue_place} of its list"
            return GateVerdict("claim", True, why, inputs=inputs)
        case Place.HELD:
            until = where.until
            why = f"its chain is held in memory for {by_whom} until {stamp(until) if until else 'its time'}"
            return GateVerdict(
                "claim", False, why, inputs=inputs, opens_at=until, remedy="none needed: it goes on then"
            )
        case Place.ATTEMPT:
            agent = f", with agent {where.agent_id}" if where.agent_id else ""
            why = f"{which} is being called: attempt {where.guid}, {where.state.lower().replace('_', ' ')}{agent}"
            return GateVerdict("claim", False, why, inputs=inputs, remedy="wait for its result")
        case Place.DESKTOP:
            why = f"{which} is on the desktop of agent {where.agent_id}"
            return GateVerdict(
                "claim", False, why, inputs=inputs, remedy="the agent has to process it (stale_clean_timeout ends it)"
            )
        case Place.VALIDATING:
            why = f"its chain is in the buffer of {by_whom}, not let through yet: {where.state}"
            return GateVerdict("claim", False, why, inputs=inputs, remedy="ask again in a moment")
        case Place.SIFTING:
            why = f"its chain has just been claimed for {by_whom}, and its gates are being asked"
            return GateVerdict("claim", False, why, inputs=inputs, remedy="ask again in a moment")
        case Place.ELSEWHERE:
            why = f"its chain is claimed for {by_whom} and on its way through this daemon"
            return GateVerdict("claim", None, why, inputs=inputs, remedy="ask again in a moment")


def open_attempt_gate(facts: RecordFacts) -> GateVerdict:
    if not facts.open_attempts:
        return GateVerdict("open_attempt", True, "no attempt of its chain is open")
    attempt = facts.open_attempts[-1]
    which = "its" if attempt.record_id == facts.record.record_id else f"record {attempt.record_id}'s"
    return GateVerdict(
        "open_attempt",
        False,
        f"{which} attempt {attempt.guid} of {stamp(attempt.started_at)} has no result yet",
        inputs={
            "attempt_id": attempt.attempt_id,
            "guid": attempt.guid,
            "record_id": attempt.record_id,
            "started_at": attempt.started_at,
            "owner": attempt.owner,
        },
        remedy="a daemon that is at work finishes it; else the next start settles it",
    )


def stamp(at: datetime) -> str:
    """``2026-03-03 17:00 UTC``."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
