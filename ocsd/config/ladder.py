"""What follows which call result in a calling list, for people: the treatments' sequences in words. Pure."""

from collections.abc import Iterator
from typing import Final

from ocsd.config.objects import CallingList, Configuration, Treatment
from ocsd.model.enums import CallAction, CallResult, RecordAction

_ACTIONS: Final = {
    RecordAction.NONE: "",
    RecordAction.UPDATE_RECORD: "ends; the record is Updated",
    RecordAction.UPDATE_ALL: "ends; all records of the chain are Updated with this result",
    RecordAction.REDIAL: "same record again",
    RecordAction.RETRY_IN: "same record again",
    RecordAction.RETRY_AT_DATE: "same record again",
    RecordAction.NEXT_IN_CHAIN: "next record of the chain at once; past the end the first again",
    RecordAction.NEXT_IN_CHAIN_AFTER: "next record of the chain, and past the end the first again,",
    RecordAction.NEXT_IN_CHAIN_AT_DATE: "next record of the chain, and past the end the first again,",
    RecordAction.ASSIGN_TO_GROUP: "goes to any agent of the group",
    RecordAction.MARK_AS_AGENT_ERROR: "ends as agent error or missed callback",
    RecordAction.RESCHEDULE: "same record again on its next day",
    RecordAction.EXECUTE_SQL: "runs an SQL statement",
    RecordAction.SEND_HTTP: "sends an HTTP request",
}
_CYCLES: Final = frozenset(
    {RecordAction.NEXT_IN_CHAIN, RecordAction.NEXT_IN_CHAIN_AFTER, RecordAction.NEXT_IN_CHAIN_AT_DATE}
)


def ladder(configuration: Configuration, calling_list: CallingList) -> Iterator[str]:
    """Lines: each result or disposition, then its treatments in their order, indented."""
    sequences: dict[tuple[str, CallResult | None], list[Treatment]] = {}
    for treatment in configuration.treatments_of(calling_list):
        sequences.setdefault((treatment.disposition, treatment.call_result), []).append(treatment)
    for (disposition, result), sequence in sorted(sequences.items(), key=lambda found: (found[0][0], found[0][1] or 0)):
        about = [f'disposition "{disposition}"'] if disposition else []
        about += [f"{result.title} ({int(result)})"] if result is not None else []
        yield ", ".join(about)
        for treatment in sequence:
            yield f'  {treatment.number}. "{treatment.name}": {in_words(treatment)}'
    yield "any other result: ends; the record is Updated"


def in_words(treatment: Treatment) -> str:
    """One treatment, e.g. ``same record again after 10 min and 10 min more each time, at most 3 times``."""
    parts: list[str] = []
    if treatment.call_action is not CallAction.NONE:
        of = treatment.destination or treatment.message
        parts.append(f"the call: {treatment.call_action.name.lower().replace('_', ' ')}{f' {of}' if of else ''}")
    if treatment.record_action is not RecordAction.NONE:
        parts.append(_ACTIONS[treatment.record_action] + _when(treatment))
    if treatment.cycle_attempts:
        unit = "cycle" if treatment.record_action in _CYCLES else "time"
        parts.append(f"at most {treatment.cycle_attempts} {unit}{'s' * (treatment.cycle_attempts != 1)}")
    return ", ".join(parts)


def _when(treatment: Treatment) -> str:
    if treatment.date is not None:
        where = "" if treatment.date.tzinfo else " in the record's zone"
        return f" at {treatment.date.isoformat(' ', 'minutes')}{where}"
    wait = [_span(treatment.interval_min)] if treatment.interval_min else []
    wait += [f"{_span(treatment.increment_min)} more each time"] if treatment.increment_min else []
    return f" after {' and '.join(wait)}" if wait else ""


def _span(minutes: int) -> str:
    """``90`` as ``1 h 30 min``."""
    days, rest = divmod(minutes, 1440)
    hours, rest = divmod(rest, 60)
    parts = [f"{count} {unit}" for count, unit in ((days, "d"), (hours, "h"), (rest, "min")) if count]
    return " ".join(parts)
