"""What a desktop's callback requests make of a chain (docs/adr/0008, "Callbacks")."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from ocsd.model.enums import RecordStatus, RecordType
from ocsd.model.records import CallingRecord, ChainChange
from ocsd.treatments.contract import Opening
from ocsd.treatments.engine import LATEST_S
from ocsd.treatments.state import TreatmentState, format_state


def callback_change(
    record: CallingRecord,
    chain: Sequence[CallingRecord],
    callback_type: RecordType,
    due: datetime,
    opening: Opening,
) -> ChainChange:
    """
    The chain becomes a callback to ``record`` (RecordReschedule, ScheduledRecordReschedule).

    Args:
        record: the one on the desktop. When it is no longer live, the first live row is called back instead.
        chain: the live rows.
        callback_type: Personal CallBack or Campaign CallBack; a rescheduled record may keep its type
            (ScheduledRecordReschedule without GSW_CALLBACK_TYPE). Anything else: ValueError.
        due: when the agent promised to call (aware); outside the record's window it moves to the next opening. When
            there is none it stays: the gates still hold the record, and can say why.
    """
    if callback_type in (RecordType.GENERAL, RecordType.NO_CALL, RecordType.NO_RECORD_TYPE, RecordType.UNKNOWN):
        raise ValueError(f"{callback_type.name} is no type of a callback")
    live = {row.record_id for row in chain}
    to_dial = record if record.record_id in live or not chain else chain[0]
    due_s = -((datetime(1970, 1, 1, tzinfo=UTC) - due) // timedelta(seconds=1))
    opens = opening(to_dial, due)
    if opens is not None:
        due_s = -((datetime(1970, 1, 1, tzinfo=UTC) - opens) // timedelta(seconds=1))
    return ChainChange(
        record_status=RecordStatus.READY,
        record_type=callback_type,
        sibling_status=RecordStatus.READY,
        sibling_type=callback_type,
        dial_sched_time=min(due_s, LATEST_S),
        treatments=format_state(TreatmentState(0, 0, to_dial.chain_n, 1)),
    )


def reject_change() -> ChainChange:
    """The agent rejects a callback: the chain is General and Ready again, "a brand-new record" (manual)."""
    return ChainChange(
        record_status=RecordStatus.READY,
        record_type=RecordType.GENERAL,
        sibling_status=RecordStatus.READY,
        sibling_type=RecordType.GENERAL,
    )
