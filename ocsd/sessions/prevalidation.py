"""
Pre-dial validation of one session: records are asked about before they are needed.

Theory of operation. An answer may take seconds, and the pacing wants calls now. So the chains that will be dialed in
the next `AHEAD_S` seconds are asked about while they wait in the buffer, where everything that happens to waiting
chains finds them (withdrawals, Do-Not-Call, reload, unload); what is kept here are answers, not chains:

    in the buffer --asked--> 200: admitted for validation-answer-lifetime; the supply takes only admitted chains
                             409: out of the buffer, treated as the result of the answer demands, never dialed
                             nothing: the same with validation-timeout-call-result
                             nothing, from a validator that is away: stays, not admitted

An answer is good for the very record that was asked about, as it was: when another record of the chain is to be dialed,
or the row has changed, it is asked about anew. The last gate before the INVITE asks `why_not` once more.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

import structlog
import trio

from ocsd.config.addresses import origin_of
from ocsd.config.objects import Configuration, FormatField
from ocsd.lists.numbers import NumberRefused, normaliser
from ocsd.model.errors import DesktopRequestError
from ocsd.model.records import CallingRecord, Chain, ChainSettlement
from ocsd.protocols.attached_data import AttachedRecord, Message, user_data
from ocsd.protocols.desktop_pairs import Pairs
from ocsd.protocols.desktop_updates import column_updates, take_changes
from ocsd.sessions.bell import Bell
from ocsd.sessions.clock import Clock
from ocsd.sessions.desk_record import DeskRecord
from ocsd.sessions.group import DialSettings
from ocsd.sessions.planner import Planner, ValidationRules
from ocsd.sessions.settling import kept_in_memory
from ocsd.treatments.contract import Decision
from ocsd.validation import Answer, Cleared, Question, Refused, Unanswered, Validator, judge

if TYPE_CHECKING:
    from ocsd.sessions.supply import RecordSupply

log = structlog.get_logger()

AHEAD_S: Final = 3.0
"""Chains that will be dialed within this time, and the time an answer takes, are asked about."""
WANTED_S: Final = 2.0
"""How long a wish of the pacing counts, when it is greater than what the rate of dialing asks for."""
REST_S: Final = 60.0
"""A record on which a probe has failed is not the next probe: it may be what the validator stumbles over."""
LOOK_PERIOD_S: Final = 0.5
LOOK_REST_S: Final = 0.02
SMOOTHING: Final = 0.2
"""Weight of the latest answer in the mean time of answers."""

Key = tuple[int, int]
"""(list DBID, record_id)"""


class ValidationHost(Protocol):
    """What is needed of a session."""

    config: Configuration
    planner: Planner
    settings: DialSettings
    supply: "RecordSupply"
    clock: Clock

    @property
    def dials(self) -> bool: ...

    @property
    def wants_records(self) -> bool: ...

    @property
    def starts_per_s(self) -> float: ...

    def treat(self, chain: Chain, record: CallingRecord, call_result: int) -> Decision: ...

    async def settle_chain(self, settlement: ChainSettlement) -> bool: ...

    async def give_back(self, chains: list[Chain]) -> None: ...

    def wake(self) -> None: ...


class Nobody:
    """The validator of a daemon that has none: where validation is on, nothing is dialed."""

    pool_size = 1

    def away(self, uri: str) -> bool:
        return True

    def may_ask(self, uri: str) -> bool:
        return False

    async def ask(self, question: Question) -> Answer:
        await trio.lowlevel.checkpoint()
        return Answer(error="there is no validator", spared=True)


@dataclass(frozen=True, slots=True)
class _Known:
    """``admitted`` False: a failed probe; not asked again before ``until_s``. ``asked_at``: the request was sent."""

    record: CallingRecord
    uri: str
    until_s: float
    admitted: bool
    asked_at: datetime


@dataclass(slots=True)
class Figures:
    """Counts since the group was loaded."""

    asked: int = 0
    cleared: int = 0
    refused: int = 0
    unanswered: int = 0


class Prevalidation:
    """
    `run` lives as long as the session; without validation configured it has nothing to do.

    Attributes:
        figures: for statistics.
    """

    def __init__(self, host: ValidationHost, validator: Validator | None) -> None:
        self._host = host
        self._validator: Validator = validator if validator is not None else Nobody()
        self._bell = Bell(LOOK_REST_S, LOOK_PERIOD_S)
        self._known: dict[Key, _Known] = {}
        self._asking: set[Key] = set()
        self._wanted = 0
        self._wanted_until_s = -math.inf
        self._answer_s = 0.0
        """Mean time of answers."""
        self.figures = Figures()
        self.reconfigure()

    # --- what the session asks ------------------------------------------------------------------------------------

    @property
    def active(self) -> bool:
        """Whether any list of the group is validated."""
        return bool(self._uris())

    def reconfigure(self) -> None:
        """Obey the planner of now. At once: nothing is dialed by an answer to another address."""
        self._host.supply.admits = self.admits if self.active else None
        self._bell.ring()

    def wants(self, count: int) -> None:
        """The pacing would start ``count`` calls now."""
        now_s = self._host.clock.now_s()
        if count >= self._wanted or now_s > self._wanted_until_s:
            self._wanted, self._wanted_until_s = count, now_s + WANTED_S
        self._bell.ring()

    def admits(self, chain: Chain) -> bool:
        """Whether the chain's next record may be dialed now, as far as validation goes."""
        rules = self._host.planner.validation(chain.list_dbid)
        return rules is None or self._state(chain, rules) is True

    def asked_at(self, chain: Chain) -> datetime | None:
        """When the question was sent whose answer lets the chain's next record through; None: none is needed."""
        rules = self._host.planner.validation(chain.list_dbid)
        return self._known[_key(chain)].asked_at if rules is not None and self._state(chain, rules) is True else None

    def why_not(self, chain: Chain) -> str | None:
        """What keeps the chain's next record from being dialed; None: nothing, or validation is off."""
        rules = self._host.planner.validation(chain.list_dbid)
        if rules is None or self._state(chain, rules) is True:
            return None
        if self._validator.away(rules.uri):
            return f"pre-dial validation: {origin_of(rules.uri)} does not answer"
        if _key(chain) in self._asking:
            return "pre-dial validation: being asked"
        return "pre-dial validation: not asked yet, or too long ago"

    def dialable(self, buffered: int) -> int:
        """How many of the buffered chains the pacing may count on."""
        if not any(self._validator.away(uri) for uri in self._uris()):
            return buffered  # the others are asked about soon
        return sum(map(self.admits, self._host.supply.waiting()))

    def statistics(self) -> dict[str, int]:
        """Nothing where validation is off."""
        if not self.active:
            return {}
        return {
            "validation_asked": self.figures.asked,
            "validation_cleared": self.figures.cleared,
            "validation_refused": self.figures.refused,
            "validation_unanswered": self.figures.unanswered,
            "validation_waiting": len(self._asking),
            "validation_ahead": sum(map(self.admits, self._host.supply.waiting())),
            "validators_away": sum(self._validator.away(uri) for uri in self._uris()),
        }

    def _uris(self) -> set[str]:
        planner = self._host.planner
        found = (planner.validation(list_dbid) for list_dbid in planner.shares())
        return {rules.uri for rules in found if rules is not None}

    def _state(self, chain: Chain, rules: ValidationRules) -> bool | None:
        """True: admitted; False: left in peace for a while after a failed probe; None: not known."""
        known = self._known.get(_key(chain))
        if known is None or known.uri != rules.uri or self._host.clock.now_s() >= known.until_s:
            return None
        return known.admitted if known.record is chain.record or known.record == chain.record else None

    # --- asking ahead ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Ask about the chains at the front of the buffer, for ever."""
        async with trio.open_nursery() as nursery:
            while True:
                await self._bell.wait()
                for chain, rules in self.next_questions():
                    self._asking.add(_key(chain))
                    nursery.start_soon(self._asked_about, chain, rules)

    async def _asked_about(self, chain: Chain, rules: ValidationRules) -> None:
        try:
            await self.ask_about(chain, rules)
        except Exception:
            # A bug ends the smallest thing: this question. The group's calls and conversations go on.
            log.exception("validation.failed", record_id=chain.record.record_id)

    def next_questions(self) -> list[tuple[Chain, ValidationRules]]:
        """The chains to ask about now, in the order in which they will be dialed."""
        now_s = self._host.clock.now_s()
        self._known = {key: known for key, known in self._known.items() if known.until_s > now_s}
        if not self._host.dials or not self.active:
            return []
        ahead = math.ceil(self._host.starts_per_s * (AHEAD_S + self._answer_s))
        if now_s <= self._wanted_until_s:
            ahead = max(ahead, self._wanted)
        free = self._validator.pool_size - len(self._asking)
        if free <= 0:
            return []
        found: list[tuple[Chain, ValidationRules]] = []
        away = [uri for uri in sorted(self._uris()) if self._validator.away(uri)]
        # One at least, so that the first call does not wait.
        for chain in self._host.supply.front(max(1, ahead), self._is_answered if away else None):
            rules = self._host.planner.validation(chain.list_dbid)
            if rules is not None and len(found) < free and self._is_open(chain, rules):
                found.append((chain, rules))
        for uri in away:
            if self._validator.may_ask(uri):
                found += self._probe(uri)
        return found

    def _is_answered(self, chain: Chain) -> bool:
        """Chains of a validator that is away do not stand in the way of others."""
        rules = self._host.planner.validation(chain.list_dbid)
        return rules is None or not self._validator.away(rules.uri) or self._state(chain, rules) is True

    def _is_open(self, chain: Chain, rules: ValidationRules) -> bool:
        return _key(chain) not in self._asking and self._state(chain, rules) is None

    def _probe(self, uri: str) -> list[tuple[Chain, ValidationRules]]:
        def may_probe(chain: Chain) -> bool:
            rules = self._host.planner.validation(chain.list_dbid)
            return rules is not None and rules.uri == uri and self._is_open(chain, rules)

        chains = self._host.supply.front(1, may_probe)
        return [(chain, rules) for chain in chains if (rules := self._host.planner.validation(chain.list_dbid))]

    async def ask_about(self, chain: Chain, rules: ValidationRules) -> None:
        """Ask about a buffered chain's next record, and do what follows."""
        key = _key(chain)
        self._asking.add(key)
        asked_at = self._host.clock.utc()
        try:
            verdict = await self._ask(chain.record, rules)
        finally:
            self._asking.discard(key)
        match verdict:
            case Cleared():
                self._admit(chain, rules, asked_at)
                self._host.wake()
            case Unanswered(spared=True):
                until_s = self._host.clock.now_s() + REST_S
                self._known[key] = _Known(chain.record, rules.uri, until_s, False, asked_at)
            case Refused() | Unanswered():
                await self._close(chain, rules, verdict)
        self._bell.ring()

    def _admit(self, chain: Chain, rules: ValidationRules, asked_at: datetime) -> None:
        until_s = self._host.clock.now_s() + rules.lifetime_s
        self._known[_key(chain)] = _Known(chain.record, rules.uri, until_s, True, asked_at)

    async def _ask(
        self, record: CallingRecord, rules: ValidationRules, handle: int | None = None
    ) -> Cleared | Refused | Unanswered:
        begun_s = self._host.clock.now_s()
        self.figures.asked += 1
        answer = await self._validator.ask(Question(rules.uri, properties(self._host, record, handle), rules.limit_s))
        self._answer_s += SMOOTHING * (self._host.clock.now_s() - begun_s - self._answer_s)
        verdict = judge(answer)
        match verdict:
            case Cleared():
                self.figures.cleared += 1
                # From now on only the others are asked: a validator that is back may be asked about failed probes too.
                self._known = {key: known for key, known in self._known.items() if known.admitted}
            case Refused():
                self.figures.refused += 1
                if verdict.fault:
                    log.warning("validation.malformed", at=origin_of(rules.uri), fault=verdict.fault)
            case Unanswered():
                self.figures.unanswered += 1
        return verdict

    # --- refused --------------------------------------------------------------------------------------------------

    async def _close(self, asked: Chain, rules: ValidationRules, verdict: Refused | Unanswered) -> None:
        """The treatment of the result, without a call; no attempt is counted."""
        host = self._host
        chain = host.supply.remove(asked)
        if chain is None:
            return  # withdrawn, given back or changed meanwhile
        record = chain.record
        because, result = in_words(verdict), result_of(verdict, rules)
        decision = host.treat(chain, record, result)
        if host.wants_records:
            decision = kept_in_memory(host.planner, decision, chain.list_dbid, host.clock.utc())
        settlement = ChainSettlement(
            list_dbid=chain.list_dbid,
            chain_id=chain.chain_id,
            record_id=record.record_id,
            change=decision.change,
            because=f"{because}: {decision.because}",
            call_result=result,
            updates=_updates(host, record, verdict, rules),
            statements=decision.statements,
            requests=decision.requests,
            evidence=evidence_of(verdict, rules),
        )
        log.info("record.not_validated", record_id=record.record_id, because=because, result=result)
        empty = await host.supply.settle(chain, decision, partial(host.settle_chain, settlement))
        if decision.change.keep_claim and not host.wants_records:
            empty = [*empty, *host.supply.let_go(chain)]  # unloaded while it was written
        await host.give_back(empty)
        host.wake()

    # --- desktops -------------------------------------------------------------------------------------------------

    async def why_not_from_desk(self, desk: DeskRecord, chain: Chain) -> str | None:
        """
        Ask about a record that an agent is about to call; ``chain``: with the number as corrected. None: call.

        A refused record stays on its desktop, with the result, the changed fields and the rule: it is the agent who
        closes it.
        """
        rules = self._host.planner.validation(chain.list_dbid)
        if rules is None:
            return None
        asked_at = self._host.clock.utc()
        verdict = await self._ask(chain.record, rules, desk.handle)
        if isinstance(verdict, Cleared):
            self._admit(chain, rules, asked_at)
            return None
        if not (isinstance(verdict, Unanswered) and verdict.spared):
            desk.call_result = result_of(verdict, rules)
            desk.updates.update(_updates(self._host, chain.record, verdict, rules))
            desk.evidence = evidence_of(verdict, rules)
        return in_words(verdict)


# --- pure ---------------------------------------------------------------------------------------------------------


def properties(host: ValidationHost, record: CallingRecord, handle: int | None = None) -> Message:
    """
    The record's properties as they would be attached to its call.

    What only a call has (GSW_CALL_ATTEMPT_GUID, the audit times) is left out, as are handle and URI while it has none.
    """
    config, planner = host.config, host.planner
    calling_list = config.calling_list_by_dbid(record.list_dbid)
    zone = next((zone for zone in config.time_zones if zone.dbid == record.tz_dbid), None)
    offset = host.clock.utc().astimezone(planner.zone(record)).utcoffset()
    attached = user_data(
        AttachedRecord(
            application_dbid=config.application.dbid,
            tenant_name=planner.campaign.tenant,
            campaign_name=planner.campaign.name,
            campaign_description=planner.campaign.description,
            campaign_group_dbid=planner.group.dbid,
            campaign_group_name=planner.group.name,
            campaign_group_description=planner.group.description,
            calling_list=calling_list.name,
            switch_dbid=config.trunk(planner.group.trunks[0]).dbid,
            record=record,
            record_handle=handle or 0,
            record_uri="",
            attempt_guid="",
            tz_offset_s=int(offset.total_seconds()) if offset is not None else 0,
            tz_name=zone.name if zone is not None else "",
            dial_mode=host.settings.dial_mode,
            optimize_by=host.settings.optimize_by,
            optimize_goal=host.settings.optimize_goal,
            processing_at=host.clock.utc(),
            fields=config.format_of_list(calling_list).fields,
        )
    )
    unknown = {"GSW_RECORD_URI", "GSW_CALL_ATTEMPT_GUID"}
    if handle is None:
        unknown.add("GSW_RECORD_HANDLE")
    if len(planner.group.trunks) > 1:
        unknown.add("GSW_SWITCH_DBID")  # chosen when it is dialed
    return {key: value for key, value in attached.items() if key not in unknown}


def result_of(verdict: Refused | Unanswered, rules: ValidationRules) -> int:
    if isinstance(verdict, Unanswered):
        return rules.timeout_result
    return verdict.call_result if verdict.call_result is not None else rules.refusal_result


def in_words(verdict: Refused | Unanswered) -> str:
    if isinstance(verdict, Unanswered):
        return f"pre-dial validation: {verdict.error}"
    return "pre-dial validation: refused" + (f" by {verdict.rule}" if verdict.rule is not None else "")


def evidence_of(verdict: Refused | Unanswered, rules: ValidationRules) -> dict[str, object]:
    """What is kept with the decision."""
    found: dict[str, object] = {"validator": origin_of(rules.uri)}
    if isinstance(verdict, Refused):
        if verdict.rule is not None:
            found["GSW_BLOCKING_RULE"] = verdict.rule
        if verdict.rule_type is not None:
            found["GSW_BLOCKING_RULE_TYPE"] = verdict.rule_type
    return found


@dataclass(frozen=True, slots=True)
class _Correction:
    changes: Mapping[str, int | str] = field(default_factory=dict)
    custom: Mapping[str, object] = field(default_factory=dict)


def changed_columns(
    corrections: Mapping[str, object],
    sent: Mapping[str, object],
    fields: tuple[FormatField, ...],
    record: CallingRecord,
) -> tuple[dict[str, object], list[str]]:
    """
    The columns that an answer changes, checked as a desktop's are; and the attributes that were no such change.

    Pairs that come back as they were ``sent`` are no changes. One wrong pair does not take the others with it; the two
    ends of the window are one.
    """
    changed = {key: value for key, value in corrections.items() if key not in sent or sent[key] != value}
    window: dict[str, object] = {key: changed.pop(key) for key in ("GSW_FROM", "GSW_UNTIL") if key in changed}
    columns: dict[str, object] = {}
    wrong: list[str] = []
    for pairs in [window, *({key: value} for key, value in changed.items())]:
        try:
            columns |= column_updates(_Correction(*take_changes(Pairs(pairs))), fields, record)
        except DesktopRequestError:
            wrong += pairs
    return columns, wrong


def _updates(
    host: ValidationHost, record: CallingRecord, verdict: Refused | Unanswered, rules: ValidationRules
) -> dict[str, object]:
    if isinstance(verdict, Unanswered) or not verdict.corrections:
        return {}
    calling_list = host.config.calling_list_by_dbid(record.list_dbid)
    fields = host.config.format_of_list(calling_list).fields
    columns, wrong = changed_columns(verdict.corrections, properties(host, record), fields, record)
    if "contact_info" in columns:
        try:  # as rows hold it: a number written otherwise would pass Do-Not-Call and attempt caps
            columns["contact_info"] = normaliser(calling_list.country)(str(columns["contact_info"])).number
        except NumberRefused:
            del columns["contact_info"]
            wrong.append("GSW_PHONE")
    if wrong:
        log.warning("validation.fields_refused", at=origin_of(rules.uri), pairs=len(wrong))
    return columns


def _key(chain: Chain) -> Key:
    return chain.list_dbid, chain.record.record_id
