"""The treatment state of a chain, as it stands in the column ``treatments`` (docs/adr/0008)."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

from ocsd.model.enums import RecordType
from ocsd.model.records import CallingRecord, Chain

STATEFUL_TYPES: Final = frozenset(
    {
        RecordType.CAMPAIGN_RESCHEDULED,
        RecordType.PERSONAL_RESCHEDULED,
        RecordType.PERSONAL_CALLBACK,
        RecordType.CAMPAIGN_CALLBACK,
    }
)
"""Types whose state is read back. What a General record has there is left over from an earlier life and ignored."""

_FORM: Final = re.compile(r"([0-9]{1,10})@([0-9]{1,10})@(-?[0-9]{1,10})@([0-9]{1,10})")
_GREATEST: Final = 2**31 - 1
"""DBIDs and chain numbers are 32-bit integers; what is greater comes from nobody who knows them."""


@dataclass(frozen=True, slots=True)
class TreatmentState:
    """
    Where a chain is.

    Attributes:
        treatment_dbid: the treatment applied last; 0: none, the record is due all the same (a callback).
        attempt: how many times in a row it has been applied, from 1; 0 without a treatment.
        chain_n: the record to dial next.
        cycle: number of the pass through the chain, from 1.
    """

    treatment_dbid: int
    attempt: int
    chain_n: int
    cycle: int


def format_state(state: TreatmentState) -> str:
    """``<treatment DBID>@<attempt>@<chain_n to dial>@<cycle>``, the vendor's form."""
    return f"{state.treatment_dbid}@{state.attempt}@{state.chain_n}@{state.cycle}"


def parse_state(text: str | None) -> TreatmentState | None:
    """The state; None when there is none, and for anything that is not one (tables may come from elsewhere)."""
    found = _FORM.fullmatch(text.strip()) if text else None
    if found is None:
        return None
    treatment_dbid, attempt, chain_n, cycle = (int(part) for part in found.groups())
    in_range = max(treatment_dbid, attempt, abs(chain_n), cycle) <= _GREATEST
    if not in_range or cycle < 1 or (treatment_dbid == 0) != (attempt == 0):
        return None
    return TreatmentState(treatment_dbid, attempt, chain_n, cycle)


def state_of(record: CallingRecord) -> TreatmentState | None:
    """The state of the record's chain; None for the types that have none."""
    return parse_state(record.treatments) if record.record_type in STATEFUL_TYPES else None


def candidates(chain: Chain) -> Sequence[int]:
    """Places of the records that may be dialed next: of the one that the treatment state names, if it is there."""
    state = state_of(chain.record)
    named = [place for place, r in enumerate(chain.records) if state is not None and r.chain_n == state.chain_n]
    return named or range(len(chain.records))


def turn(chain: Chain, left: Sequence[CallingRecord], types: Collection[RecordType]) -> Sequence[int]:
    """
    Places in ``left`` of the records that may come next of a chain that was claimed for its record.

    Args:
        left: records of the chain that are still there.
        types: those of records that go where the claimed one goes, to the dialer or to a desktop. Others of the chain
            are for the claim of their own kind. Empty, when none of ``types`` may come next: it is their turn.
    """
    if chain.record in left and chain.record.record_type in types:  # else what it was claimed for has gone
        own = left.index(chain.record)
        # What the claim has taken the chain for may come next, whatever its state names of the other kind.
        return _of_types(chain, left, own, types) or [own]
    for place, record in enumerate(left):
        if record.record_type in types and (places := _of_types(chain, left, place, types)):
            return places
    return ()


def _of_types(chain: Chain, left: Sequence[CallingRecord], position: int, types: Collection[RecordType]) -> list[int]:
    places = candidates(replace(chain, records=tuple(left), position=position))
    return [place for place in places if left[place].record_type in types]
