"""Treatments: which fields an action takes, what may follow which result, and whether a list can follow them.

docs/adr/0008 says what the actions do; the table of fields is the vendor's (its administration help on treatments).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Final

from ocsd.config import objects as o
from ocsd.config.addresses import is_http_url, is_sip_uri
from ocsd.config.located import Located, Objects, reference, repeated, valid
from ocsd.config.sqltext import statement_problem
from ocsd.model.columns import MANDATORY_NAMES
from ocsd.model.enums import CallAction, CallResult, RecordAction
from telephony.media.prompts import DROP, SUFFIXES, TONE

ANSWERED: Final = (
    CallResult.ANSWER,
    CallResult.ANSWERING_MACHINE,
    CallResult.FAX,
    CallResult.SILENCE,
    CallResult.PAGER,
)
"""Results of answered calls: only then is there a call to do something to."""

MISSED_CALLBACK: Final = (CallResult.AGENT_CALLBACK_ERROR, CallResult.GROUP_CALLBACK_ERROR)
AFTER_MISSED_CALLBACK: Final = (
    RecordAction.ASSIGN_TO_GROUP,
    RecordAction.MARK_AS_AGENT_ERROR,
    RecordAction.REDIAL,
    RecordAction.RETRY_IN,
    RecordAction.RETRY_AT_DATE,
)
NOT_TREATED: Final[Mapping[CallResult, str]] = MappingProxyType(
    {
        CallResult.OK: "it says nothing about the call",
        CallResult.UNKNOWN: "it says that there is no result yet",
        CallResult.STALE: "a stale record is left as it is, since it may have been called",
    }
)
FORBIDDEN_TO_CALL: Final = (CallResult.DO_NOT_CALL, CallResult.CANCEL_RECORD)
WITHOUT_DIALING: Final = (
    RecordAction.NONE,
    RecordAction.UPDATE_RECORD,
    RecordAction.UPDATE_ALL,
    RecordAction.MARK_AS_AGENT_ERROR,
    RecordAction.EXECUTE_SQL,
    RecordAction.SEND_HTTP,
)
ENDS_CHAIN: Final = (RecordAction.UPDATE_RECORD, RecordAction.UPDATE_ALL, RecordAction.MARK_AS_AGENT_ERROR)
"""Actions that always can be applied and after which nothing is left to treat."""

CALL_ACTIONS: Final = (
    CallAction.CONNECT,
    CallAction.DROP,
    CallAction.MUTE_TRANSFER,
    CallAction.TRANSFER,
    CallAction.ROUTE,
    CallAction.PLAY_MESSAGE,
)
"""Those that this version carries out."""
NEEDS_DESTINATION: Final = (CallAction.MUTE_TRANSFER, CallAction.TRANSFER, CallAction.ROUTE)

BUILT_IN_PROMPTS: Final = (DROP, TONE)
"""Ringback is one too, but it never ends."""
MAX_WAIT_MIN: Final = 527_040
"""366 days: a longer wait would be a slip of the pen, and the schedule is a 32-bit number of seconds."""
YEARS: Final = range(2000, 2038)
"""``dial_sched_time`` is a 32-bit integer column in UTC seconds; it ends in January 2038."""

_DIGITS: Final = re.compile(r"\+?[0-9*#]{1,30}")


@dataclass(frozen=True, slots=True)
class _Takes:
    """Fields of an action: those it needs, and those it may have."""

    needs: tuple[str, ...] = ()
    may_have: tuple[str, ...] = ()

    @property
    def in_words(self) -> str:
        return ", ".join((*self.needs, *self.may_have)) or "none"


_WAIT: Final = ("interval_min", "increment_min")
_FIELDS: Final[Mapping[RecordAction, _Takes]] = MappingProxyType(
    {
        RecordAction.NONE: _Takes(),
        RecordAction.UPDATE_RECORD: _Takes(),
        RecordAction.UPDATE_ALL: _Takes(),
        RecordAction.REDIAL: _Takes(("cycle_attempts",), _WAIT),
        RecordAction.RETRY_IN: _Takes(("interval_min",), ("increment_min",)),
        RecordAction.RETRY_AT_DATE: _Takes(("date",)),
        RecordAction.NEXT_IN_CHAIN: _Takes(("cycle_attempts",), _WAIT),
        RecordAction.NEXT_IN_CHAIN_AFTER: _Takes(("cycle_attempts", "interval_min"), ("increment_min",)),
        RecordAction.NEXT_IN_CHAIN_AT_DATE: _Takes(("cycle_attempts", "date")),
        RecordAction.ASSIGN_TO_GROUP: _Takes(),
        RecordAction.MARK_AS_AGENT_ERROR: _Takes(),
        RecordAction.RESCHEDULE: _Takes(),
        RecordAction.EXECUTE_SQL: _Takes(("sql",)),
        RecordAction.SEND_HTTP: _Takes(("url",)),
    }
)
_ASKS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "cycle_attempts": "how many times it may be applied, at least 1",
        "interval_min": "how long it waits, at least 1 minute",
        "date": "the date and time",
        "sql": "the statement",
        "url": "where the request goes",
    }
)


def named(*values: RecordAction | CallAction | CallResult) -> str:
    """``"busy" (6), "no_answer" (7)``, as configurations write them."""
    return ", ".join(f'"{value.name.lower()}" ({int(value)})' for value in values)


def problems(objects: Objects) -> Iterable[str]:
    """Every problem of treatments, by themselves and in the lists that use them."""
    for located, treatment in valid(objects, "treatments", o.Treatment):
        yield from _trigger(located, treatment)
        yield from _fields(located, treatment)
        yield from _call_action(located, treatment)
    treatments = {treatment.name: treatment for _, treatment in valid(objects, "treatments", o.Treatment)}
    for located, calling_list in valid(objects, "calling_lists", o.CallingList):
        for index, name in enumerate(calling_list.treatments):
            yield from reference(located, f"treatments[{index}]", name, "treatments", objects)
        yield from repeated(located, "treatments", calling_list.treatments)
        used = [treatments[name] for name in dict.fromkeys(calling_list.treatments) if name in treatments]
        yield from _list_fields(located, calling_list, used, objects)
        yield from _sequences(located, calling_list, used)


# --- a treatment by itself --------------------------------------------------------------------------------------


def _trigger(located: Located, treatment: o.Treatment) -> Iterable[str]:
    result, disposition, action = treatment.call_result, treatment.disposition, treatment.record_action
    if result is None and not disposition:
        yield located.problem("call_result", "is required, unless a disposition is given")
    if result in MISSED_CALLBACK and disposition:
        yield located.problem(
            "disposition", f"does not count for {named(*MISSED_CALLBACK)}: it tells of an earlier call"
        )
    if disposition != disposition.strip():
        yield located.problem("disposition", f"must not begin or end with blanks, got {disposition!r}")
    if action is RecordAction.NONE and treatment.call_action is CallAction.NONE:
        yield located.problem("record_action", "is required, unless a call_action is given")
    if result is not None:
        wrong = _pairing(result, action)
        if wrong is not None:
            yield located.problem(*wrong)
    elif disposition and action is RecordAction.ASSIGN_TO_GROUP:
        yield located.problem("record_action", _assign_to_group_only())


def _assign_to_group_only() -> str:
    return f"{named(RecordAction.ASSIGN_TO_GROUP)} is for missed callbacks only: {named(*MISSED_CALLBACK)}"


def _pairing(result: CallResult, action: RecordAction) -> tuple[str, str] | None:
    """Key and sentence when the action cannot follow the result."""
    if result in NOT_TREATED:
        return "call_result", f"{named(result)} is not treated: {NOT_TREATED[result]}"
    if result in MISSED_CALLBACK:
        if action not in AFTER_MISSED_CALLBACK:
            return "record_action", f"{named(result)} accepts only {named(*AFTER_MISSED_CALLBACK)}, got {named(action)}"
    elif action is RecordAction.ASSIGN_TO_GROUP:
        return "record_action", _assign_to_group_only()
    elif result in FORBIDDEN_TO_CALL and action not in WITHOUT_DIALING:
        return "record_action", f"after {named(result)} nobody is called again; it accepts {named(*WITHOUT_DIALING)}"
    return None


def _fields(located: Located, treatment: o.Treatment) -> Iterable[str]:
    action = treatment.record_action
    takes = _FIELDS[action]
    for name, asks in _ASKS.items():
        if name in takes.needs and not getattr(treatment, name):
            yield located.problem(_key(located, name), f"is required for {named(action)}: {asks}")
    for name in ("cycle_attempts", "interval_min", "increment_min", "date", "sql", "url"):
        if getattr(treatment, name) and name not in (*takes.needs, *takes.may_have):
            yield located.problem(
                _key(located, name), f"does not belong to {named(action)}; of these fields it takes: {takes.in_words}"
            )
    if treatment.date is not None and treatment.date.year not in YEARS:
        yield located.problem(
            "date", f"must lie in the years {YEARS[0]} to {YEARS[-1]}, got {treatment.date.isoformat()}"
        )
    if action is RecordAction.EXECUTE_SQL and treatment.sql:
        wrong = statement_problem(treatment.sql)
        if wrong is not None:
            yield located.problem("sql", wrong)
    if action is RecordAction.SEND_HTTP and treatment.url and not is_http_url(treatment.url):
        # Not the address itself: it may hold a password or a token.
        yield located.problem("url", "must be an http or https address, for example https://crm.example.net/outcomes")


def _key(located: Located, name: str) -> str:
    """The key as the operator wrote it."""
    return "interval" if name == "interval_min" and "interval" in located.raw else name


def _call_action(located: Located, treatment: o.Treatment) -> Iterable[str]:
    action, result = treatment.call_action, treatment.call_result
    if treatment.destination and action not in NEEDS_DESTINATION:
        yield located.problem("destination", f"belongs to call_action {named(*NEEDS_DESTINATION)} only")
    if treatment.message and action is not CallAction.PLAY_MESSAGE:
        yield located.problem("message", f"belongs to call_action {named(CallAction.PLAY_MESSAGE)} only")
    if action is CallAction.NONE:
        return
    if action not in CALL_ACTIONS:
        yield located.problem(
            "call_action", f"{named(action)} is not supported by this version; supported are {named(*CALL_ACTIONS)}"
        )
    elif treatment.disposition:
        yield located.problem("call_action", "is not possible for a disposition, which is set when the call is over")
    elif result is not None and result not in ANSWERED:
        yield located.problem(
            "call_action", f"is not possible for {named(result)}, only for answered calls: {named(*ANSWERED)}"
        )
    if action in NEEDS_DESTINATION:
        yield from _destination(located, action, treatment.destination)
    elif action is CallAction.PLAY_MESSAGE:
        yield from _message(located, treatment.message)


def _destination(located: Located, action: CallAction, destination: str) -> Iterable[str]:
    if not destination:
        yield located.problem("destination", f"is required for {named(action)}: a SIP URI, or digits to dial")
    elif not is_sip_uri(destination) and not _DIGITS.fullmatch(destination):
        yield located.problem(
            "destination",
            f"must be a SIP URI (sip:user@host or sip:user@host:port) or at most 30 digits, got {destination!r}",
        )


def _message(located: Located, message: str) -> Iterable[str]:
    built_in = " or ".join(f'"{name}"' for name in BUILT_IN_PROMPTS)
    if not message:
        yield located.problem("message", f"is required for {named(CallAction.PLAY_MESSAGE)}: the name of a prompt")
    elif message not in BUILT_IN_PROMPTS and not is_prompt_file(message):
        yield located.problem(
            "message",
            f"must be the name of a {' or '.join(SUFFIXES)} file in the prompt folder, or {built_in}, got {message!r}",
        )


def is_prompt_file(message: str) -> bool:
    """Whether ``message`` can be a file of the prompt folder."""
    parts = message.split("/")
    return message.endswith(SUFFIXES) and message.isprintable() and ".." not in parts and "" not in parts


# --- the treatments of a list -----------------------------------------------------------------------------------


def _list_fields(
    located: Located, calling_list: o.CallingList, used: Sequence[o.Treatment], objects: Objects
) -> Iterable[str]:
    """Columns that the list and its treatments name exist in its format."""
    for treatment in used:
        if treatment.disposition and not calling_list.disposition_field:
            yield located.problem(
                "disposition_field", f'is required: treatment "{treatment.name}" goes by the disposition'
            )
    form = _format_of(calling_list, objects)
    if form is None:  # a reference on the way is wrong, and reported
        return
    fields = tuple(field.name for field in form.fields)
    for key in ("disposition_field", "customer_id_field", "subject_field"):
        column = getattr(calling_list, key)
        if column and column not in fields:
            known = ", ".join(fields) or "none"
            yield located.problem(key, f'format "{form.name}" has no field "{column}"; its fields are: {known}')
    columns = MANDATORY_NAMES.union(fields)
    for treatment in used:
        if treatment.sql and statement_problem(treatment.sql) is None:
            wrong = statement_problem(treatment.sql, columns)
            if wrong is not None:
                yield located.problem("treatments", f'sql of treatment "{treatment.name}": {wrong}')


def _format_of(calling_list: o.CallingList, objects: Objects) -> o.Format | None:
    accesses = {access.name: access.format for _, access in valid(objects, "table_accesses", o.TableAccess)}
    formats = {form.name: form for _, form in valid(objects, "formats", o.Format)}
    return formats.get(accesses.get(calling_list.table_access, ""))


def _sequences(located: Located, calling_list: o.CallingList, used: Sequence[o.Treatment]) -> Iterable[str]:
    told: set[str] = set()
    for what, sequence in _in_sequences(used):
        for sentence in (*_order(what, sequence), *_longest_waits(calling_list, sequence)):
            if sentence not in told:  # a disposition's treatment stands in the sequences of several results
                told.add(sentence)
                yield located.problem("treatments", sentence)


def _in_sequences(used: Sequence[o.Treatment]) -> Iterable[tuple[str, list[o.Treatment]]]:
    """Every sequence of treatments, with what it is for in words."""
    ordered = sorted(used, key=lambda found: (found.number, found.dbid))
    for result in dict.fromkeys(found.call_result for found in ordered if not found.disposition):
        if result is not None:
            yield named(result), [found for found in ordered if (found.call_result, found.disposition) == (result, "")]
    for disposition in dict.fromkeys(found.disposition for found in ordered if found.disposition):
        own = [found for found in ordered if found.disposition == disposition]
        for result in dict.fromkeys(found.call_result for found in own):
            yield f'disposition "{disposition}"', [found for found in own if found.call_result in (None, result)]


def _order(what: str, sequence: Sequence[o.Treatment]) -> Iterable[str]:
    for earlier, later in pairwise(sequence):
        if earlier.number == later.number:
            yield (
                f'"{earlier.name}" and "{later.name}" are both number {later.number} of the sequence for {what}; the '
                "numbers give the order, so each needs its own"
            )
        elif earlier.record_action in ENDS_CHAIN:
            yield (
                f'"{later.name}" would never be applied: before it in the sequence for {what} stands '
                f'"{earlier.name}", which ends the chain'
            )


def _longest_waits(calling_list: o.CallingList, sequence: Sequence[o.Treatment]) -> Iterable[str]:
    for treatment in sequence:
        times = treatment.cycle_attempts
        if treatment.record_action is RecordAction.RETRY_IN:
            times = calling_list.max_attempts if treatment is sequence[-1] else 1
        longest_min = treatment.interval_min + max(0, times - 1) * treatment.increment_min
        if longest_min > MAX_WAIT_MIN:
            yield (
                f'treatment "{treatment.name}" would wait {longest_min // 1440} days when applied for the last of '
                f"{times} times; {MAX_WAIT_MIN // 1440} days are the most"
            )
