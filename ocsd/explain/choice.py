"""Which record of a chain a claim and the sift behind it would dial at an instant. Pure; no rule is written here.

The gates are production's (`gates.dialable_position`, `gates.refusal`, `History`, Do-Not-Call entries); their order is
that of `ListStore.claim_chains` and `RecordSupply`. The tests compare the two on random chains.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ocsd.dnc.lookup import Found
from ocsd.explain.facts import RecordFacts, Row
from ocsd.lists.gates import DIALED_TYPES, dialable_position, local_times, named_chain_n, refusal
from ocsd.model.enums import RecordStatus
from ocsd.model.records import CallingRecord, Chain, Refusal
from ocsd.treatments.state import turn


@dataclass(frozen=True, slots=True)
class Choice:
    """
    Attributes:
        chosen: record_id of the record that would be dialed (or delivered); None: none of the chain.
        considered: record_ids of those that may be dialed next once the chain is claimed; empty: it is not claimed.
    """

    chosen: int | None = None
    considered: frozenset[int] = frozenset()


def in_force(entries: tuple[tuple[str, Found], ...], at: datetime) -> list[tuple[str, Found]]:
    """The Do-Not-Call entries that forbid at ``at``."""
    return [(kind, entry) for kind, entry in entries if entry.expires_at is None or entry.expires_at > at]


def forbidden_until(row: Row, at: datetime) -> Refusal | None:
    """Do-Not-Call; ``until``: when the last entry that is in force expires."""
    if not (found := in_force(row.forbidden, at)):
        return None
    ends = [entry.expires_at for _, entry in found if entry.expires_at is not None]
    return Refusal("Do-Not-Call", max(ends) if len(ends) == len(found) else None)


def capped(facts: RecordFacts, record: CallingRecord, at: datetime) -> Refusal | None:
    return facts.history.refusal(facts.caps.call(record, facts.campaign_dbid, at))


def claimable(row: Row) -> bool:
    """Ready, of a type that is dialed or delivered, admitted by the filter."""
    return row.status == RecordStatus.READY and row.kind in DIALED_TYPES and bool(row.admitted)


def as_claimed(facts: RecordFacts) -> tuple[CallingRecord, ...]:
    """The records that a claim of the chain takes, or has taken, in the order of dialing."""
    if facts.claim is None:
        return tuple(row.record for row in facts.chain if claimable(row))
    return tuple(row.record for row in facts.chain if row.status == RecordStatus.RETRIEVED and row.kind in DIALED_TYPES)


def choice(facts: RecordFacts, at: datetime) -> Choice:
    """
    What would be taken of the chain at ``at``, were nobody dialing it meanwhile. A chain that is claimed is judged as
    if it had just been taken.
    """
    records = as_claimed(facts)
    times = local_times(facts.config, facts.calling_list, at)
    rows = {row.record.record_id: row for row in facts.chain}
    for types in (DIALED_TYPES - facts.delivered, facts.delivered):
        for portion in facts.portions():
            position = dialable_position(
                records, facts.calling_list.max_attempts, times, at, (portion.record_type,), portion.agents
            )
            if portion.record_type not in types or position is None:
                continue
            chain = Chain(facts.calling_list.dbid, records[0].chain_id, records, position)
            records = tuple(record for record in records if forbidden_until(rows[record.record_id], at) is None)
            if places := turn(chain, records, types):
                return _sifted(facts, records, places, at)
            break  # given back, without what is forbidden: it is the other claim's turn
    return Choice()


def _sifted(facts: RecordFacts, left: Sequence[CallingRecord], places: Sequence[int], at: datetime) -> Choice:
    considered = frozenset(left[place].record_id for place in places)
    for place in places:
        record = left[place]
        if (
            refusal(record, facts.calling_list.max_attempts, facts.hours, at) is None
            and capped(facts, record, at) is None
        ):
            return Choice(record.record_id, considered)
    return Choice(None, considered)


def queues(facts: RecordFacts) -> bool:
    """Whether only its group and the chains that go first stand between the record and its call: they are counted."""
    return facts.group is not None and facts.claim is None and choice(facts, facts.at).chosen == facts.record.record_id


def waits_for(facts: RecordFacts) -> CallingRecord | None:
    """The record of its chain that the treatment state names instead, if that is there to be dialed."""
    named = named_chain_n(facts.record)
    if named is None or named == facts.record.chain_n:
        return None
    return next((record for record in as_claimed(facts) if record.chain_n == named), None)
