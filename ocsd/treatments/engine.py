"""
Classic treatments: what becomes of a chain after a result (docs/adr/0008 says what every action means).

The walk. The treatments for the result stand in a sequence; the chain's state says which of them was applied last, and
how often. From there each treatment is tried in turn and gives one of four verdicts: it *goes on* with a record to
dial, it *ends* the chain, it cannot be applied (a sentence says why), or it has nothing to say about the record (SQL,
HTTP, no record action). The first two stop the walk. No treatment is tried twice in one walk, so it always ends; when
nobody stopped it the sequence is used up and the chain is done.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Final

from ocsd.config.objects import Treatment
from ocsd.model.enums import CallAction, CallResult, RecordAction, RecordStatus, RecordType
from ocsd.model.records import CallingRecord, ChainChange
from ocsd.treatments import effects
from ocsd.treatments.contract import Decision, Opening, Situation
from ocsd.treatments.state import TreatmentState, format_state, state_of

LATEST_S: Final = 2**31 - 1
"""The last second that the column ``dial_sched_time`` (integer) can hold: 2038-01-19."""

MISSED: Final = frozenset({CallResult.AGENT_CALLBACK_ERROR, CallResult.GROUP_CALLBACK_ERROR})
MISSED_ACCEPTS: Final = frozenset(
    {
        RecordAction.ASSIGN_TO_GROUP,
        RecordAction.MARK_AS_AGENT_ERROR,
        RecordAction.REDIAL,
        RecordAction.RETRY_IN,
        RecordAction.RETRY_AT_DATE,
    }
)
UNTREATED: Final = frozenset({CallResult.OK, CallResult.UNKNOWN})
"""Results that the manual excepts from treatment ("Call Results", note)."""

GROUP_TYPE: Final = {
    RecordType.PERSONAL_CALLBACK: RecordType.CAMPAIGN_CALLBACK,
    RecordType.PERSONAL_RESCHEDULED: RecordType.CAMPAIGN_RESCHEDULED,
}
"""Assign to group: what a record that waits for one agent becomes."""

MISSED_STATUS_TYPES: Final = frozenset(
    {RecordType.PERSONAL_RESCHEDULED, RecordType.PERSONAL_CALLBACK, RecordType.CAMPAIGN_CALLBACK}
)
"""Types that may have the status Missed CallBack (manual, "Combining Record Statuses and Record Types")."""

ACTION_NAMES: Final = {
    RecordAction.NONE: "no record action",
    RecordAction.UPDATE_RECORD: "Update record",
    RecordAction.UPDATE_ALL: "Update all records in chain",
    RecordAction.REDIAL: "Redial",
    RecordAction.RETRY_IN: "Retry in",
    RecordAction.RETRY_AT_DATE: "Retry at specified date",
    RecordAction.NEXT_IN_CHAIN: "Next in chain",
    RecordAction.NEXT_IN_CHAIN_AFTER: "Next in chain after",
    RecordAction.NEXT_IN_CHAIN_AT_DATE: "Next in chain at specified date",
    RecordAction.ASSIGN_TO_GROUP: "Assign to group",
    RecordAction.MARK_AS_AGENT_ERROR: "Mark as agent error",
    RecordAction.RESCHEDULE: "Reschedule",
    RecordAction.EXECUTE_SQL: "Execute SQL statement",
    RecordAction.SEND_HTTP: "Send HTTP request",
}

_MOVES_ON: Final = frozenset(
    {RecordAction.NEXT_IN_CHAIN, RecordAction.NEXT_IN_CHAIN_AFTER, RecordAction.NEXT_IN_CHAIN_AT_DATE}
)
_SILENT: Final = effects.SIDE_EFFECTS | {RecordAction.NONE}
_LEADS_AWAY: Final = frozenset({CallAction.TRANSFER, CallAction.MUTE_TRANSFER, CallAction.ROUTE})


@dataclass(frozen=True, slots=True)
class _GoesOn:
    """Dial ``target`` at ``at_s`` (UTC seconds, in its window)."""

    target: CallingRecord
    at_s: int
    words: str
    cycle: int
    record_type: RecordType


@dataclass(frozen=True, slots=True)
class _Ends:
    words: str
    record_status: RecordStatus = RecordStatus.UPDATED
    for_all: bool = False


_Verdict = _GoesOn | _Ends | str | None
"""A string says why the treatment cannot be applied; None: it leaves the record to the next one."""


@dataclass(frozen=True, slots=True)
class _Try:
    """One treatment of the sequence whose turn it is, for the ``attempt``-th time in a row."""

    treatment: Treatment
    attempt: int
    is_last: bool


def decide(
    situation: Situation,
    treatments: Sequence[Treatment],
    *,
    max_attempts: int,
    opening: Opening,
    timezone_of: Callable[[CallingRecord], tzinfo],
    result_for_all: bool = False,
) -> Decision:
    """
    What becomes of the chain after this result.

    Args:
        treatments: all treatments of the list, in any order.
        max_attempts: of the list: a record with as many attempts is not dialed again.
        opening: asked about the record that is to be dialed, with a whole second.
        timezone_of: zone in which a record's dates are read and times are told.
        result_for_all: option update_all_records: the other live rows get the call result too.

    ``change.keep_claim`` is left to the caller, who knows treatment_sched_threshold. The same arguments always give the
    same decision.
    """
    walk = _Walk(situation, max_attempts, opening, timezone_of)
    sequence = sequence_for(situation, treatments)
    done: list[Treatment] = []
    told: list[str] = []
    for turn in walk.turns(sequence):
        treatment = turn.treatment
        name = f"treatment {treatment.name!r} ({ACTION_NAMES[treatment.record_action]})"
        verdict = walk.verdict(turn)
        if verdict is None:
            if treatment.record_action in effects.SIDE_EFFECTS:
                done.append(treatment)
                told.append(name)
            continue
        if isinstance(verdict, str):
            told.append(f"{name} cannot be applied: {verdict}")
            continue
        told.append(f"{name}: {verdict.words}")
        return walk.decision(verdict, turn, done, "; ".join(told), result_for_all)
    told.append("the sequence is used up, the chain is done" if sequence else walk.no_sequence())
    return walk.decision(_Ends(""), None, done, "; ".join(told), result_for_all)


def call_action(
    situation: Situation,
    treatments: Sequence[Treatment],
    *,
    max_attempts: int,
    opening: Opening,
    timezone_of: Callable[[CallingRecord], tzinfo],
) -> Treatment | None:
    """
    The treatment whose call action applies to an answered call with this result; None: none, treat it as usual.

    It is the first one that `decide` applies in the same situation (``now`` is the moment of the answer, ``attempt``
    counts this call). Those that leave the record to the next one are passed over unless they have a call action.
    """
    walk = _Walk(situation, max_attempts, opening, timezone_of)
    for turn in walk.turns(sequence_for(situation, treatments)):
        verdict = walk.verdict(turn)
        if isinstance(verdict, str):
            continue
        if turn.treatment.call_action is not CallAction.NONE:
            return turn.treatment
        if verdict is not None:
            return None
    return None


def sequence_for(situation: Situation, treatments: Sequence[Treatment]) -> tuple[Treatment, ...]:
    """The treatments that apply to this result, in their order; a disposition's take the place of the result's."""
    missed = situation.call_result in MISSED
    disposition = "" if missed else situation.disposition.strip()
    usable = sorted((t for t in treatments if not _lacks_destination(t)), key=lambda t: (t.number, t.dbid))
    if disposition:
        found = tuple(
            t for t in usable if t.disposition.strip() == disposition and t.call_result in (None, situation.call_result)
        )
        if found:
            return found
    if situation.call_result in UNTREATED:
        return ()
    return tuple(
        t
        for t in usable
        if t.call_result == situation.call_result
        and not t.disposition.strip()
        and (not missed or t.record_action in MISSED_ACCEPTS)
    )


def _lacks_destination(treatment: Treatment) -> bool:
    """A call action without its destination: the vendor ignores the whole treatment."""
    if treatment.call_action in _LEADS_AWAY:
        return not treatment.destination.strip()
    return treatment.call_action is CallAction.PLAY_MESSAGE and not treatment.message.strip()


class _Walk:
    """One decision in the making; holds what does not change during it."""

    def __init__(
        self,
        situation: Situation,
        max_attempts: int,
        opening: Opening,
        timezone_of: Callable[[CallingRecord], tzinfo],
    ) -> None:
        self.situation = situation
        self.record = situation.record
        self.record_type = RecordType(situation.record.record_type)
        self.max_attempts = max_attempts
        self.opening = opening
        self.timezone_of = timezone_of
        self.state = state_of(situation.record)
        self.cycle = self.state.cycle if self.state else 1
        # The chain's copy of the record may be older than the one that counts this attempt.
        self.chain = tuple(self.record if row.record_id == self.record.record_id else row for row in situation.chain)
        self.now_s = _ceil_s(situation.now)

    def turns(self, sequence: Sequence[Treatment]) -> Iterator[_Try]:
        """Each treatment from the one whose turn it is to the end of the sequence, once."""
        first, attempt = self._place(sequence)
        for index in range(first, len(sequence)):
            yield _Try(sequence[index], attempt if index == first else 1, index == len(sequence) - 1)

    def _place(self, sequence: Sequence[Treatment]) -> tuple[int, int]:
        """Index of the treatment to begin with, and how often it will have been applied in a row."""
        state = self.state
        if state is None or state.chain_n != self.record.chain_n:
            return 0, 1
        for index, treatment in enumerate(sequence):
            if treatment.dbid == state.treatment_dbid and treatment.record_action not in _MOVES_ON:
                return index, state.attempt + 1
        return 0, 1

    def verdict(self, turn: _Try) -> _Verdict:
        treatment = turn.treatment
        match treatment.record_action:
            case RecordAction.UPDATE_RECORD:
                return _Ends("the record is done, and its chain with it")
            case RecordAction.UPDATE_ALL:
                return _Ends("all records of the chain are done, with this result", for_all=True)
            case RecordAction.MARK_AS_AGENT_ERROR:
                return self._agent_error()
            case RecordAction.REDIAL:
                return self._again_after(turn, treatment.cycle_attempts)
            case RecordAction.RETRY_IN:
                return self._again_after(turn, self._unnumbered(turn))
            case RecordAction.RETRY_AT_DATE:
                date_s = self._date_s(treatment, self.record)
                return date_s if isinstance(date_s, str) else self._again(date_s, "")
            case RecordAction.RESCHEDULE:
                if turn.attempt > self._unnumbered(turn):
                    return _used_up(self._unnumbered(turn))
                return self._again(self._next_day_s(), f"attempt {turn.attempt} of {self._unnumbered(turn)}, ")
            case RecordAction.NEXT_IN_CHAIN | RecordAction.NEXT_IN_CHAIN_AFTER | RecordAction.NEXT_IN_CHAIN_AT_DATE:
                return self._next_in_chain(treatment)
            case RecordAction.ASSIGN_TO_GROUP:
                return self._to_group()
            case RecordAction.EXECUTE_SQL | RecordAction.SEND_HTTP | RecordAction.NONE:
                return None

    def _unnumbered(self, turn: _Try) -> int:
        """How often in a row a treatment without a number of its own may be applied."""
        return self.max_attempts if turn.is_last else 1

    def _agent_error(self) -> _Ends:
        if self.record_type in MISSED_STATUS_TYPES:
            return _Ends("Missed CallBack, the chain is done", RecordStatus.MISSED_CALLBACK)
        return _Ends("Agent Error, the chain is done", RecordStatus.AGENT_ERROR)

    def _again_after(self, turn: _Try, limit: int) -> _Verdict:
        if turn.attempt > limit:
            return _used_up(limit)
        wait_min = turn.treatment.interval_min + (turn.attempt - 1) * turn.treatment.increment_min
        return self._again(self.now_s + 60 * wait_min, f"attempt {turn.attempt} of {limit}, ")

    def _again(self, wanted_s: int, prefix: str) -> _Verdict:
        """The same record again at its first opening from ``wanted_s``."""
        at_s = self._same_record_s(wanted_s)
        if isinstance(at_s, str):
            return at_s
        words = f"{prefix}again at {self._told(self.record, at_s)}"
        return _GoesOn(self.record, at_s, words, self.cycle, self._type_after())

    def _to_group(self) -> _Verdict:
        if self.situation.call_result not in MISSED:
            return "it is for missed callbacks only"
        if self.record_type not in GROUP_TYPE:
            return "the record does not wait for one agent"
        at_s = self._same_record_s(self.now_s)
        if isinstance(at_s, str):
            return at_s
        words = f"for any agent of the group, at {self._told(self.record, at_s)}"
        return _GoesOn(self.record, at_s, words, self.cycle, GROUP_TYPE[self.record_type])

    def _same_record_s(self, wanted_s: int) -> int | str:
        if all(row.record_id != self.record.record_id for row in self.chain):
            return "the record has left its chain"
        if self.record.attempt >= self.max_attempts:
            return f"the record has had its {self.max_attempts} attempts"
        return self._opens_s(self.record, wanted_s)

    def _next_in_chain(self, treatment: Treatment) -> _Verdict:
        """The first record behind this one that can be dialed; else, in the next cycle, the first of all."""
        cycles = max(1, treatment.cycle_attempts)
        why = "there is no further record"
        for row, cycle in self._behind():
            if cycle > cycles:
                return f"{why}, and {cycles} of {cycles} cycles are done"
            if row.attempt >= self.max_attempts:
                continue
            wanted_s = self._step_s(treatment, row, wraps=cycle > self.cycle)
            at_s = wanted_s if isinstance(wanted_s, str) else self._opens_s(row, wanted_s)
            if isinstance(at_s, str):
                why = at_s
                continue
            words = f"record {row.chain_n} of the chain, cycle {cycle} of {cycles}, at {self._told(row, at_s)}"
            return _GoesOn(row, at_s, words, cycle, self._type_after())
        return why

    def _behind(self) -> Iterator[tuple[CallingRecord, int]]:
        """Every live row with the cycle it would be dialed in: first those behind the record, then all in the next."""
        ids = [row.record_id for row in self.chain]
        if self.record.record_id in ids:
            rest = self.chain[ids.index(self.record.record_id) + 1 :]
        else:  # Somebody has withdrawn the record during the call.
            rest = tuple(row for row in self.chain if row.chain_n > self.record.chain_n)
        for row in rest:
            yield row, self.cycle
        for row in self.chain:
            yield row, self.cycle + 1

    def _step_s(self, treatment: Treatment, row: CallingRecord, *, wraps: bool) -> int | str:
        if treatment.record_action is RecordAction.NEXT_IN_CHAIN_AT_DATE:
            return self._date_s(treatment, row)
        wait_min = 0
        if wraps:
            wait_min = treatment.interval_min + (self.cycle - 1) * treatment.increment_min
        elif treatment.record_action is RecordAction.NEXT_IN_CHAIN_AFTER:
            wait_min = treatment.interval_min
        return self.now_s + 60 * wait_min

    def _date_s(self, treatment: Treatment, row: CallingRecord) -> int | str:
        """The treatment's date in UTC seconds; a sentence when it has passed or cannot be told."""
        date = treatment.date
        if date is None:
            return "it has no date"
        if not 1970 < date.year <= 2038:  # Outside, calendar arithmetic may overflow; both ends are decided already.
            return "its date has passed" if date.year <= 1970 else _TOO_LATE
        if date.tzinfo is None:
            date = date.replace(tzinfo=self.timezone_of(row))
        date_s = _ceil_s(date)
        return date_s if date_s > self.now_s else "its date has passed"

    def _next_day_s(self) -> int:
        """When the record's window begins on the next local day; a time that the clocks skip is when they skip it."""
        zone = self.timezone_of(self.record)

        def clock(at_s: int) -> datetime:
            return datetime.fromtimestamp(at_s, zone).replace(tzinfo=None)

        today = datetime.combine(clock(self.now_s), time())
        begins = today + timedelta(days=1, seconds=min(max(self.record.daily_from_s, 0), 86_400))
        early_s, late_s = sorted(_ceil_s(begins.replace(tzinfo=zone, fold=fold)) for fold in (0, 1))
        if clock(early_s) >= begins:
            return early_s
        return early_s + bisect_left(range(early_s, late_s), begins, key=clock)

    def _opens_s(self, row: CallingRecord, wanted_s: int) -> int | str:
        if wanted_s > LATEST_S:
            return _TOO_LATE
        opens = self.opening(row, datetime.fromtimestamp(wanted_s, UTC))
        if opens is None:
            return "the record's window never opens"
        at_s = _ceil_s(opens)
        return at_s if at_s <= LATEST_S else _TOO_LATE

    def _type_after(self) -> RecordType:
        if self.situation.agent_id:
            return RecordType.PERSONAL_RESCHEDULED
        if self.situation.by_agent or self.record_type is RecordType.GENERAL:
            return RecordType.CAMPAIGN_RESCHEDULED
        return self.record_type

    def _told(self, row: CallingRecord, at_s: int) -> str:
        return datetime.fromtimestamp(at_s, self.timezone_of(row)).strftime("%Y-%m-%d %H:%M %Z")

    def no_sequence(self) -> str:
        result = self.situation.call_result
        title = CallResult(result).title if result in CallResult.__members__.values() else "result"
        return f"no treatment for {title} ({int(result)}), the chain is done"

    def decision(
        self, verdict: _GoesOn | _Ends, turn: _Try | None, done: list[Treatment], because: str, result_for_all: bool
    ) -> Decision:
        result = int(self.situation.call_result)
        last = turn.treatment if turn else done[-1] if done else None
        applied = last.dbid if last else 0
        if isinstance(verdict, _GoesOn):
            assert turn is not None
            state = TreatmentState(applied, turn.attempt, verdict.target.chain_n, verdict.cycle)
            change = ChainChange(
                record_status=RecordStatus.READY,
                record_type=verdict.record_type,
                sibling_status=RecordStatus.READY,
                sibling_type=verdict.record_type,
                dial_sched_time=verdict.at_s,
                treatments=format_state(state),
            )
            next_record_id: int | None = verdict.target.record_id
        else:
            change = ChainChange(record_status=verdict.record_status, record_type=self.record_type)
            next_record_id = None
        if result_for_all or (isinstance(verdict, _Ends) and verdict.for_all):
            change = replace(change, sibling_result=result)
        return Decision(
            change=change,
            treatment_dbid=applied,
            next_record_id=next_record_id,
            because=because,
            statements=effects.statements(self.situation, done),
            requests=effects.requests(self.situation, done, because),
        )


_TOO_LATE: Final = "its time is past 2038-01-19, the last that a record can hold"


def _used_up(limit: int) -> str:
    return f"{limit} of {limit} attempts are made"


def _ceil_s(at: datetime) -> int:
    """UTC seconds, the next whole one: a wait is never cut short."""
    return -((datetime(1970, 1, 1, tzinfo=UTC) - at) // timedelta(seconds=1))
