"""The gates of one record, from its row to its place in the chain: each with its inputs and verdict. Pure.

All of them are asked, also behind the first that is closed, in the order of a claim (`selection`), the sift behind it
(`RecordSupply`) and the dial. What a gate decides is decided by the code that dials; here it is put into words.
"""

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

from ocsd.explain.analysis_words import analysis_words
from ocsd.explain.audio_words import audio_words
from ocsd.explain.choice import Choice, choice, in_force, waits_for
from ocsd.explain.claim_gates import claim_gate, open_attempt_gate, stamp
from ocsd.explain.contract import GateVerdict
from ocsd.explain.facts import PastAttempt, RecordFacts
from ocsd.explain.history import blocking_rule
from ocsd.explain.live import Live
from ocsd.lists.gates import DIALED_TYPES, STATUS_TYPES, used_up
from ocsd.model.enums import CALL_RESULT_TITLES, CallResult, RecordStatus, RecordType
from ocsd.rules.hours import ConditionKind, ConditionVerdict
from ocsd.rules.numbers import number_zones

_FINISHED: Final[Mapping[int, tuple[str, str]]] = {
    RecordStatus.UPDATED: ("it is finished", "to call it again, set record_status to 1 (Ready)"),
    RecordStatus.STALE: (
        "what became of its last attempt is not known, so nobody dials it again blindly",
        "decide whether it may ring again; if so, set record_status to 1 (Ready)",
    ),
    RecordStatus.CANCELED: ("somebody has cancelled it", "to call it all the same, set record_status to 1 (Ready)"),
    RecordStatus.AGENT_ERROR: (
        "a treatment has marked it as Agent Error",
        "look for the agent's mistake; to call it again, set record_status to 1 (Ready)",
    ),
    RecordStatus.MISSED_CALLBACK: (
        "its callback was missed and no treatment gives it to anybody else",
        "set record_status to 1 (Ready), and give the list a treatment for call result 47 or 48",
    ),
}

_FORBIDDEN: Final = (
    "a Do-Not-Call request has ended it",
    "`ocsd dnc check` says who asked; only if that was an error set record_type and record_status anew",
)


def record_gates(facts: RecordFacts, live: Live | None) -> Iterator[GateVerdict]:
    """Every gate of the record; ``live`` None: no daemon was asked."""
    made = choice(facts, facts.at)
    yield _row(facts)
    yield _status(facts)
    yield _type(facts)
    yield claim_gate(facts, live)
    yield open_attempt_gate(facts)
    yield _filter(facts)
    yield _attempts(facts)
    yield _schedule(facts)
    yield from _hours(facts)
    yield from _do_not_call(facts)
    yield from _caps(facts)
    yield _chain(facts, made)
    yield _validation(facts)


def name_of(kind: type[RecordStatus] | type[RecordType], number: int) -> str:
    """``Campaign Rescheduled (3)``; a number that the manual does not know stays one."""
    try:
        word = kind(number).name.replace("_", " ").title()
    except ValueError:
        return str(number)
    return f"{word.replace('Nocall', 'NoCall')} ({number})"


def _row(facts: RecordFacts) -> GateVerdict:
    record = facts.record
    return GateVerdict(
        "row",
        True,
        f"record {record.record_id} stands in table {facts.table}: number {record.contact_info}, "
        f"place {record.chain_n} of chain {record.chain_id} ({len(facts.chain)} rows)",
        inputs={
            "table": facts.table,
            "contact_info": record.contact_info,
            "chain_id": record.chain_id,
            "chain_n": record.chain_n,
            "rows_of_chain": len(facts.chain),
            "call_result": record.call_result,
        },
    )


def _status(facts: RecordFacts) -> GateVerdict:
    status, kind = facts.row.status, facts.row.kind
    inputs = {"record_status": status, "record_type": kind}
    words = f"record status {name_of(RecordStatus, status)}"
    if kind not in STATUS_TYPES.get(status, frozenset()):
        return GateVerdict(
            "status",
            False,
            f"{words} and record type {name_of(RecordType, kind)} do not go together, so the row is left alone",
            inputs=inputs,
            remedy="correct record_status and record_type (manual: Record Status and Record Type Combinations)",
        )
    if status in (RecordStatus.READY, RecordStatus.RETRIEVED):
        if status == RecordStatus.RETRIEVED and facts.claim is None:
            return GateVerdict(
                "status",
                False,
                f"{words}, but nobody has claimed its chain: it was set so from outside",
                inputs=inputs,
                remedy="set record_status to 1 (Ready)",
            )
        said = "ready to be claimed" if status == RecordStatus.READY else "its chain is claimed"
        return GateVerdict("status", True, f"{words}: {said}", inputs=inputs)
    because, remedy = _FINISHED[status] if kind != RecordType.NO_CALL else _FORBIDDEN
    if record_result := result_title(facts.record.call_result):
        because += f"; call result {record_result}"
    return GateVerdict("status", False, f"{words}: {because}", inputs=inputs, remedy=remedy)


def result_title(call_result: int | None) -> str:
    if call_result is None:
        return ""
    try:
        return f"{CALL_RESULT_TITLES[CallResult(call_result)]} ({call_result})"
    except ValueError:
        return str(call_result)


def _type(facts: RecordFacts) -> GateVerdict:
    kind, agent_id = facts.row.kind, facts.record.agent_id
    words = f"record type {name_of(RecordType, kind)}"
    inputs: dict[str, object] = {"record_type": kind, "agent_id": agent_id}
    if kind == RecordType.NO_CALL:
        return GateVerdict(
            "type",
            False,
            f"{words}: a Do-Not-Call request has taken it out of the list for good",
            inputs=inputs,
            remedy=_FORBIDDEN[1],
        )
    if kind not in DIALED_TYPES:
        return GateVerdict(
            "type",
            False,
            f"{words} is dialed by nobody",
            inputs=inputs,
            remedy="set record_type to 2 (General)",
        )
    goes_to = "desktop" if kind in facts.delivered else "dialer"
    inputs["goes_to"] = goes_to
    if goes_to == "dialer":
        return GateVerdict("type", True, f"{words} is dialed", inputs=inputs)
    if kind == RecordType.CAMPAIGN_CALLBACK:
        whom = "an agent of the group (predictive_callback is off)"
    else:
        whom = f"agent {agent_id}" if agent_id else "nobody: it names no agent, and counts as missed"
    return GateVerdict("type", True, f"{words} is not dialed: when due it goes to the desktop of {whom}", inputs=inputs)


def _filter(facts: RecordFacts) -> GateVerdict:
    name, criteria = facts.calling_list.filter, facts.criteria
    if not name:
        return GateVerdict("filter", True, "the list has no filter")
    inputs = {"filter": name, "criteria": criteria}
    if facts.filter_problem:
        return GateVerdict(
            "filter",
            False,
            f'filter "{name}" does not work: {facts.filter_problem}',
            inputs=inputs,
            remedy="correct the filter in the configuration and reload; until then nothing of the list is dialed",
        )
    said = f'filter "{name}" ({criteria or "an order only"})'
    if facts.row.admitted:
        return GateVerdict("filter", True, f"{said} admits it", inputs=inputs)
    return GateVerdict(
        "filter",
        False,
        f"{said} excludes it",
        inputs=inputs,
        remedy="change the row or the filter, if the record belongs to this list",
    )


# --- attempts, schedule, hours ----------------------------------------------------------------------------------------


def _attempts(facts: RecordFacts) -> GateVerdict:
    record, limit = facts.record, facts.calling_list.max_attempts
    inputs: dict[str, object] = {"attempt": record.attempt, "max_attempts": limit}
    if facts.attempts:
        inputs["last_attempts"] = [_told(attempt) for attempt in facts.attempts]
    if facts.decision is not None:
        inputs["last_decision"] = {"at": facts.decision.decided_at, "because": facts.decision.because}
    last = _last(facts)
    if used_up(RecordType(record.record_type), record.attempt, limit):
        return GateVerdict(
            "attempts",
            False,
            f"attempt {record.attempt} of at most {limit} used up{last}",
            inputs=inputs,
            remedy="raise max_attempts of the list, or set the row's attempt lower",
        )
    if record.attempt >= limit:
        said = f"{record.attempt} attempts of at most {limit}, but a callback is kept however many there were"
    else:
        said = f"{record.attempt} of at most {limit} attempts made"
    return GateVerdict("attempts", True, said + last, inputs=inputs)


def _told(attempt: PastAttempt) -> dict[str, object]:
    return {
        "started_at": attempt.started_at,
        "call_result": attempt.call_result,
        "agent_id": attempt.agent_id,
        "because": attempt.because,
        **({"heard": heard} if (heard := analysis_words(attempt.evidence)) else {}),
        **({"audio": audio} if (audio := audio_words(attempt.evidence)) else {}),
    }


def _last(facts: RecordFacts) -> str:
    """What came of the row last: of an attempt, or of a decision behind it."""
    attempt = next((attempt for attempt in facts.attempts if attempt.finished_at is not None), None)
    decision = facts.decision
    if decision is not None and (
        attempt is None or attempt.finished_at is None or decision.decided_at > attempt.finished_at
    ):
        return f"; last decision, {stamp(decision.decided_at)}: {decision.because}"
    if attempt is None:
        return ""
    because = f" ({attempt.because})" if attempt.because else ""
    heard = "".join(f", {words}" for told in (analysis_words, audio_words) if (words := told(attempt.evidence)))
    return f"; last result, {stamp(attempt.started_at)}: {result_title(attempt.call_result)}{because}{heard}"


def _schedule(facts: RecordFacts) -> GateVerdict:
    due_s = facts.record.dial_sched_time or 0
    inputs = {"dial_sched_time": facts.record.dial_sched_time}
    if not due_s:
        return GateVerdict("schedule", True, "it is scheduled for no particular time", inputs=inputs)
    due = datetime.fromtimestamp(due_s, UTC)
    if due_s <= facts.at.timestamp():
        return GateVerdict("schedule", True, f"due since {stamp(due)}", inputs=inputs)
    return GateVerdict(
        "schedule",
        False,
        f"scheduled for {stamp(due)}",
        inputs=inputs,
        opens_at=due,
        remedy="none needed: it is due then (dial_sched_time says when)",
    )


_GATE_NAMES: Final = {
    ConditionKind.WINDOW: ("window", "the row's daily_from and daily_till say when it may be called"),
    ConditionKind.LEGAL_HOURS: ("legal_hours", "none: the law says when (calling_hours of the list)"),
    ConditionKind.BUSINESS_HOURS: ("business_hours", "weekday_table and holiday_table of the list say when"),
}


def _hours(facts: RecordFacts) -> Iterator[GateVerdict]:
    record = facts.record
    zone = facts.hours.zone_of(record)
    inputs: dict[str, object] = {"tz_dbid": record.tz_dbid, "zone": None if zone is None else zone.key}
    if facts.calling_list.strictest_zone:
        inputs["number_zones"] = list(number_zones(record.contact_info))
    if zone is None:
        yield GateVerdict(
            "time_zone",
            False,
            f"time zone {record.tz_dbid} is unknown and the list has none",
            inputs=inputs,
            remedy="set the row's tz_dbid to a time zone object, or give the list a time_zone",
        )
        return
    known = any(entry.dbid == record.tz_dbid for entry in facts.config.time_zones)
    whose = "its own" if known else f"the list's, as time zone {record.tz_dbid} is unknown"
    local = facts.at.astimezone(zone)
    yield GateVerdict("time_zone", True, f"it is {local:%A %H:%M} in {zone.key} ({whose} time zone)", inputs=inputs)
    for condition in facts.hours.conditions(record, facts.at):
        yield _condition(condition)


def _condition(condition: ConditionVerdict) -> GateVerdict:
    gate, remedy = _GATE_NAMES[condition.kind]
    if condition.by_number and condition.kind is ConditionKind.WINDOW:
        gate, remedy = "number_zone", "strictest_zone of the list asks for it: the number may lie in that zone"
    never = "" if condition.is_open or condition.opening else "; it does not open within 400 days"
    return GateVerdict(
        gate,
        condition.is_open,
        condition.why + never,
        inputs={
            "zone": condition.zone,
            "by_number": condition.by_number,
            "local_time": f"{condition.local:%Y-%m-%dT%H:%M:%S%z}",
            "hours": condition.hours,
            **({"preset": condition.preset} if condition.preset else {}),
        },
        opens_at=condition.opening,
        remedy="" if condition.is_open else remedy,
    )


# --- Do-Not-Call, caps, chain -----------------------------------------------------------------------------------------


def _do_not_call(facts: RecordFacts) -> Iterator[GateVerdict]:
    name = facts.calling_list.customer_id_field
    customer_id = facts.record.user_fields.get(name) if name else None
    asked: list[tuple[str, str, str]] = [("phone", "number", facts.record.contact_info)]
    if customer_id not in (None, ""):
        asked.append(("customer_id", "customer", str(customer_id)))
    for kind, word, value in asked:
        found = [entry for entry_kind, entry in in_force(facts.row.forbidden, facts.at) if entry_kind == kind]
        inputs: dict[str, object] = {
            kind: value,
            "entries": [
                {
                    "registry": entry.registry,
                    "tenant_dbid": entry.tenant_dbid,
                    "since": entry.since,
                    "expires_at": entry.expires_at,
                    "message": entry.message,
                }
                for entry_kind, entry in facts.row.forbidden
                if entry_kind == kind
            ],
        }
        if not found:
            yield GateVerdict("do_not_call", True, f"{word} {value} is not on Do-Not-Call", inputs=inputs)
            continue
        ends = [entry.expires_at for entry in found if entry.expires_at is not None]
        until = max(ends) if len(ends) == len(found) else None
        entry = found[0]
        tier = "in the table" if entry.registry is None else f'in registry "{entry.registry}"'
        since = f" since {stamp(entry.since)}" if entry.since is not None else ""
        said = f', "{entry.message}"' if entry.message else ""
        end = f" until {stamp(until)}; a claim before then makes it NoCall for good" if until is not None else ""
        yield GateVerdict(
            "do_not_call",
            False,
            f"{word} {value} is on Do-Not-Call, {tier}{since}{said}{end}",
            inputs=inputs,
            opens_at=until,
            remedy="only if the entry is an error: ocsd dnc remove",
        )


def _caps(facts: RecordFacts) -> Iterator[GateVerdict]:
    call = facts.caps.call(facts.record, facts.campaign_dbid, facts.at)
    verdicts = facts.history.by_rule(call)
    if not verdicts:
        yield GateVerdict("attempt_cap", True, "the list has no attempt caps")
    for rule, count, refused in verdicts:
        who = call.customer_id if rule.per == "customer_id" and call.customer_id is not None else call.phone
        inputs: dict[str, object] = {
            "cap": rule.name,
            "count": count,
            "max_attempts": rule.max_attempts,
            "period_s": rule.period_s,
            "per": rule.per,
            "of": who,
            "subject": call.subject if rule.subject == "subject_field" else rule.subject,
            "after_conversation": rule.after_conversation,
        }
        if refused is None:
            yield GateVerdict("attempt_cap", True, f"{count} so far; {rule}", inputs=inputs)
        else:
            free = f", free again {stamp(refused.until)}" if refused.until is not None else ""
            yield GateVerdict(
                "attempt_cap",
                False,
                f"{refused.why}{free}",
                inputs=inputs,
                opens_at=refused.until,
                remedy="none needed: older calls leave the period by themselves",
            )


def _chain(facts: RecordFacts, made: Choice) -> GateVerdict:
    """Which record of the chain is dialed: by treatment state, else the first that may be."""
    record = facts.record
    named = waits_for(facts)
    inputs: dict[str, object] = {
        "chain_n": record.chain_n,
        "treatments": record.treatments,
        "dialed_first": made.chosen,
        "waits_for": None if named is None else named.record_id,
    }
    if made.chosen == record.record_id:
        return GateVerdict("chain", True, "its chain goes on with this record", inputs=inputs)
    if named is not None:
        why = (
            f"it waits for record {named.record_id} (place {named.chain_n}) of its chain, which treatment state "
            f"{record.treatments} names"
        )
        remedy = f"ocsd why --record {named.record_id} tells what holds that one back"
        return GateVerdict("chain", False, why, inputs=inputs, remedy=remedy)
    if made.chosen is not None:
        why = f"record {made.chosen} of its chain is dialed before it"
        return GateVerdict("chain", False, why, inputs=inputs, remedy="the result of that call decides")
    if made.considered and record.record_id not in made.considered:
        others = ", ".join(map(str, sorted(made.considered)))
        if (record.record_type in facts.delivered) != _delivered(facts, made.considered):
            where = "to the dialer" if record.record_type in facts.delivered else "to a desktop"
            why = f"its chain is taken for record {others}, which goes {where}"
            return GateVerdict("chain", False, why, inputs=inputs, remedy=f"ocsd why --record {others} tells more")
        why = f"its chain goes on with record {others}, which treatment state {record.treatments} names"
        return GateVerdict("chain", False, why, inputs=inputs, remedy=f"ocsd why --record {others} tells more")
    return GateVerdict("chain", True, "no other record of its chain goes before it", inputs=inputs)


def _delivered(facts: RecordFacts, record_ids: Collection[int]) -> bool:
    return any(row.record.record_id in record_ids and row.kind in facts.delivered for row in facts.chain)


def _validation(facts: RecordFacts) -> GateVerdict:
    """Asked by the daemon right before the dial; what it said is known of records that it refused."""
    inputs: dict[str, object] = {"pre-dial-validation": bool(facts.option("pre-dial-validation"))}
    last = ""
    if facts.refused is not None:
        evidence = facts.refused.evidence or {}
        inputs["last_refusal"] = {"at": facts.refused.decided_at, "because": facts.refused.because, **evidence}
        rule = blocking_rule(evidence)
        last = f"; last refusal, {stamp(facts.refused.decided_at)}{rule and f', {rule}'}: {facts.refused.because}"
    if not inputs["pre-dial-validation"] or facts.record.record_type in facts.delivered:
        return GateVerdict("validation", True, f"pre-dial validation is not asked about it{last}", inputs=inputs)
    return GateVerdict("validation", True, f"pre-dial validation is asked right before the dial{last}", inputs=inputs)
