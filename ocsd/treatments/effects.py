"""What "Execute SQL statement" and "Send HTTP request" are given: the record as columns, and as JSON-safe values."""

import math
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time

from ocsd.config.objects import Treatment
from ocsd.model.columns import MANDATORY_NAMES
from ocsd.model.enums import RecordAction, RecordStatus
from ocsd.model.records import HttpRequest, Statement
from ocsd.treatments.contract import Situation

SIDE_EFFECTS = frozenset({RecordAction.EXECUTE_SQL, RecordAction.SEND_HTTP})


def columns(situation: Situation) -> dict[str, object]:
    """
    The record by column name, as it was when dialed, with the call result of this attempt.

    Columns that a record does not carry (campaign_id, switch_id...) are None unless ``facts`` has them.
    """
    record = situation.record
    given: dict[str, object] = dict.fromkeys(MANDATORY_NAMES)
    given |= record.user_fields
    given |= {
        "record_id": record.record_id,
        "contact_info": record.contact_info,
        "contact_info_type": int(record.contact_info_type),
        "record_type": int(record.record_type),
        "record_status": int(RecordStatus.RETRIEVED),
        "attempt": record.attempt,
        "dial_sched_time": record.dial_sched_time,
        "call_time": record.call_time,
        "daily_from": record.daily_from_s,
        "daily_till": record.daily_till_s,
        "tz_dbid": record.tz_dbid,
        "agent_id": situation.agent_id or record.agent_id,
        "chain_id": record.chain_id,
        "chain_n": record.chain_n,
        "treatments": record.treatments,
    }
    return given | dict(situation.facts) | {"call_result": int(situation.call_result)}


def statements(situation: Situation, done: Iterable[Treatment]) -> tuple[Statement, ...]:
    return tuple(
        Statement(treatment.dbid, treatment.sql, columns(situation))
        for treatment in done
        if treatment.record_action is RecordAction.EXECUTE_SQL
    )


def requests(situation: Situation, done: Iterable[Treatment], because: str) -> tuple[HttpRequest, ...]:
    """
    Bodies hold the record's columns and, over user columns of the same names, ``treatment`` (its name) and
    ``because`` (what becomes of the record, in words).
    """
    return tuple(
        HttpRequest(
            treatment.dbid,
            treatment.url,
            _json_safe(columns(situation)) | {"treatment": treatment.name, "because": because},
        )
        for treatment in done
        if treatment.record_action is RecordAction.SEND_HTTP
    )


def _json_safe(values: Mapping[str, object]) -> dict[str, object]:
    return {name: _json_value(value) for name, value in values.items()}


def _json_value(value: object) -> object:
    match value:
        case None | bool() | str():
            return value
        case int():
            return int(value)  # an enumeration's number, not its name
        case float():
            return value if math.isfinite(value) else None
        case datetime() | date() | time():
            return value.isoformat()
        case _:
            return str(value)
