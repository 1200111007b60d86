"""How the calls of one campaign group are placed: options, trunks, caller IDs, the per-second limit. Pure."""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import cached_property, partial
from typing import Final
from zoneinfo import ZoneInfo

from ocsd.config.analysis import AnalysisPlan, analysis_plan, plan_for, recognition
from ocsd.config.cpa_options import (
    AM_BEEP_DETECTION,
    CALL_TIMEGUARD_TIMEOUT,
    CPA_AFTER_CONNECT,
    CPD_ON_CONNECT,
    NO_PROGRESS_DETECTION,
)
from ocsd.config.media_options import DIRECT_MEDIA
from ocsd.config.objects import Campaign, CampaignGroup, Configuration, Treatment, Trunk
from ocsd.config.option import Option, T
from ocsd.config.options import lookup
from ocsd.lists.gates import DIALED_TYPES, refusal
from ocsd.lists.tables import time_zone_dbid
from ocsd.model.enums import AHEAD_MODES, DialMode, OptimizeBy, RecordType
from ocsd.model.records import CallingRecord, Chain, NewAttempt, Portion, Refusal, TypePriority
from ocsd.rules.contract import Hours
from ocsd.rules.hours import ListHours
from ocsd.sessions.attempt import AttemptRules
from ocsd.sessions.attempt_context import AttemptContext
from ocsd.sessions.attempt_events import AfterConnect
from ocsd.sessions.caller_ids import NO_CALLER_ID, CallerId, CallerIds, sets_named
from ocsd.sessions.dial_plan import dial_plan
from ocsd.sessions.group import DialSettings
from pacing import Algorithm, Goal, Mode, PacingTarget

SILENCE_NOTICED_S: Final = 0.2
"""Measured: the end of speech is known some frames late, and the verdict travels."""

_GOALS: Final = {
    OptimizeBy.BUSY_FACTOR: Goal.BUSY_FACTOR,
    OptimizeBy.OVERDIAL_RATE: Goal.OVERDIAL_RATE,
    OptimizeBy.WAIT_TIME: Goal.WAIT_TIME,
}


@dataclass(frozen=True, slots=True)
class ValidationRules:
    """
    Attributes:
        limit_s: longest time for an answer.
        lifetime_s: how long an answer allows the dial.
        refusal_result: call result of a refusal that names none.
        timeout_result: call result when there is no answer.
    """

    uri: str
    limit_s: float
    lifetime_s: float
    refusal_result: int
    timeout_result: int


class Planner:
    """Everything about a group's calls that follows from its configuration."""

    def __init__(self, config: Configuration, group: CampaignGroup, priorities: tuple[TypePriority, ...] = ()) -> None:
        """``priorities``: those of a request, which go before the options."""
        self.config = config
        self.asked_priorities = priorities
        self._asked = {entry.record_type: entry for entry in priorities}
        self.group = group
        self.campaign: Campaign = config.campaign(group.campaign)
        self._options: dict[tuple[str, int | None], str | int | float | bool] = {}
        """What was looked up: a planner's configuration never changes, and a dozen options are asked for every call."""
        self._rules: dict[tuple[int, str], AttemptRules] = {}
        self._analyses: dict[tuple[str, str], AnalysisPlan] = {}
        self._lists = {entry.dbid: entry for entry in config.calling_lists}
        self._hours: dict[int, Hours] = {}
        self._validation: dict[int, ValidationRules | None] = {}
        self.agent_from_uri = f"sip:ocsd@{config.telephony.sip_host}"

    def option(self, name: str, list_dbid: int | None = None) -> str | int | float | bool:
        """An option's value for one list, or for the group as a whole."""
        if (found := self._options.get((name, list_dbid))) is None:
            calling_list = self._lists[list_dbid] if list_dbid is not None else None
            found = self._options[name, list_dbid] = lookup(
                self.config, name, campaign=self.campaign, group=self.group, calling_list=calling_list
            )
        return found

    def target(self, settings: DialSettings) -> PacingTarget:
        """The manual's parameters in the pacing's terms; the overdial goal never exceeds ``max_overdial_rate``."""
        bound = float(self.option("max_overdial_rate")) / 100.0
        goal, value = _GOALS[settings.optimize_by], settings.optimize_goal / 100.0
        if goal is Goal.OVERDIAL_RATE:
            value = min(value, bound)
        elif goal is Goal.WAIT_TIME:
            value = float(settings.optimize_goal)
        # A floor above the goal would be no floor: what a request asks for goes before the option.
        least = min(float(self.option("predictive_min_overdial_rate")) / 100.0, bound)
        return PacingTarget(
            mode=Mode.PREDICTIVE if settings.dial_mode in AHEAD_MODES else Mode.PROGRESSIVE,
            goal=goal,
            value=value,
            max_overdial_ratio=bound,
            lines_per_agent=float(self.option("progressive_dial_factor")),
            algorithm=Algorithm(str(self.option("predictive_algorithm"))),
            history_length=int(self.option("history_length")),
            small_group_size=int(self.option("small_group_size")),
            min_overdial_ratio=min(least, value) if goal is Goal.OVERDIAL_RATE else least,
            min_overdial_calls=int(self.option("predictive_min_overdial_rate_calls")),
            hard_limits=bool(self.option("predictive_hard_limits")),
            least_ring_s=float(self.option("predictive-least-ring")) or None,
        )

    def kept_back(self, settings: DialSettings) -> int:
        """Ready agents for whom no call is started, in Progressive mode (progressive_blending_reserved_agents)."""
        progressive = settings.dial_mode in (DialMode.PROGRESSIVE, DialMode.PROGRESSIVE_AND_SEIZE)
        return int(self.option("progressive_blending_reserved_agents")) if progressive else 0

    @property
    def sharing_weight(self) -> float:
        """The group's part of what it shares with others, relative to theirs."""
        return float(self.option("sharing-weight"))

    def rules(self, list_dbid: int, trunk: str = "") -> AttemptRules:
        """Limits of an attempt on a record of this list; ``trunk``: the one dialed on, whose options count too."""
        if (found := self._rules.get((list_dbid, trunk))) is None:
            found = self._rules[list_dbid, trunk] = self._attempt_rules(list_dbid, trunk)
        return found

    def _attempt_rules(self, list_dbid: int, trunk_name: str) -> AttemptRules:
        trunk = self._trunk(trunk_name)
        of_trunk = partial(lookup, self.config, campaign=self.campaign, group=self.group, trunk=trunk)
        analysed = trunk is None or recognition(self.config, self.group, trunk) != NO_PROGRESS_DETECTION
        return AttemptRules(
            no_answer_s=float(self.option("call_wait_connected_timeout", list_dbid)),
            timeguard_s=float(of_trunk(CALL_TIMEGUARD_TIMEOUT)) / 1000.0,
            max_wait_s=float(self.option("call_wait_in_queue_timeout", list_dbid)),
            agent_answer_s=float(self.option("call_wait_agent_connected_timeout", list_dbid)),
            # IVR groups: "OCS finalizes the Record processing immediately after release of a Call on DN".
            record_processed=bool(self.option("record_processed", list_dbid)) and not self._at_ivr,
            stale_s=float(self.option("stale_clean_timeout", list_dbid)) * 60.0,
            early_analysis=analysed and not bool(of_trunk(CPD_ON_CONNECT)),
            analysis=analysed,
            waits_for_beep=bool(of_trunk(AM_BEEP_DETECTION)),
            after_connect=AfterConnect(str(of_trunk(CPA_AFTER_CONNECT))),
        )

    @cached_property
    def _at_ivr(self) -> bool:
        return self.config.agent_group(self.group.group).ivr_group

    def _trunk(self, name: str) -> Trunk | None:
        return next((trunk for trunk in self.config.trunks if trunk.name == name), None)

    def caller_id(self, pools: CallerIds, record: CallingRecord, key: str, now_s: float) -> CallerId:
        """What a call to this record shows; empty digits: its trunk's own number. ``key``: identity of the attempt."""
        sets = sets_named(str(self.option("caller-id-sets")), self.config.caller_id_sets)
        if sets:
            rotation = str(self.option("caller-id-rotation"))
            if (found := pools.choose(sets, rotation, record.contact_info, key, now_s)) is not None:
                return found
        return CallerId(str(self.option("CPNDigits", record.list_dbid)))

    def caller_id_shown(self, record: CallingRecord, digits: str | None) -> CallerId:
        """What a call of an earlier daemon shows. ``digits``: of a caller ID set; None: from elsewhere."""
        if digits is None:
            return CallerId(str(self.option("CPNDigits", record.list_dbid)))
        sets = sets_named(str(self.option("caller-id-sets")), self.config.caller_id_sets)
        return CallerId(digits, next((one.name for one in sets if digits in one.numbers), ""))

    def context(
        self, attempt_id: int, chain: Chain, trunk: Trunk, caller_id: CallerId = NO_CALLER_ID
    ) -> AttemptContext:
        """How to call the first record of a chain over this trunk."""
        record, guid = chain.record, uuid.uuid4().hex
        return AttemptContext(
            attempt_id=attempt_id,
            guid=guid,
            chain=chain,
            record=record,
            plan=dial_plan(self, record, trunk, caller_id, attempt_id, guid),
            caller_id=caller_id if caller_id.digits else CallerId(trunk.caller_id),
            trunk=trunk.name,
            switch_dbid=trunk.dbid,
            analysis=self._analysis(trunk, record.contact_info),
            result_for_all=self.result_for_all(record.list_dbid),
            direct_media=self._of_trunk(DIRECT_MEDIA, trunk),
        )

    def _of_trunk(self, option: Option[T], trunk: Trunk) -> T:
        return lookup(self.config, option, campaign=self.campaign, group=self.group, trunk=trunk)

    def move(self, context: AttemptContext, trunk: Trunk, number: str = "") -> None:
        """Let the attempt go on over another trunk; ``number``: dialed there as it is (of a redirect)."""
        shown = context.caller_id if context.caller_id.digits != self._own_number(context.trunk) else NO_CALLER_ID
        context.caller_id = shown if shown.digits else CallerId(trunk.caller_id)
        context.plan = dial_plan(self, context.record, trunk, shown, context.attempt_id, context.guid, number)
        context.trunk, context.switch_dbid = trunk.name, trunk.dbid
        context.analysis = self._analysis(trunk, number or context.record.contact_info)
        context.direct_media = self._of_trunk(DIRECT_MEDIA, trunk)

    def _own_number(self, trunk_name: str) -> str:
        trunk = self._trunk(trunk_name)
        return trunk.caller_id if trunk is not None else ""

    def _analysis(self, trunk: Trunk, number: str) -> AnalysisPlan:
        # A trunk that reaches every country has as many plans as those have tones.
        key = trunk.name, plan_for(trunk, number)
        if (found := self._analyses.get(key)) is None:
            found = self._analyses[key] = analysis_plan(self.config, self.group, trunk, number)
        return found

    @property
    def verdict_s(self) -> float:
        """
        How long after the end of a greeting the verdict on a person comes, on the slowest of the group's trunks.

        The silence that is waited for, and what it takes to be sure of its beginning and to tell the daemon; of the
        legal two seconds no more than the rest is left for an agent.
        """
        plans = [self._analysis(trunk, "") for trunk in self.config.trunks if trunk.name in self.group.trunks]
        waits = [plan.settings.human_silence_ms / 1000.0 for plan in plans if plan.settings is not None]
        return max(waits) + SILENCE_NOTICED_S if waits else 0.0

    def new_attempts(self, contexts: Iterable[AttemptContext], now: datetime) -> list[NewAttempt]:
        """The rows that are written before the INVITEs leave."""
        return [
            NewAttempt(
                attempt_id=context.attempt_id,
                guid=context.guid,
                list_dbid=context.record.list_dbid,
                record_id=context.record.record_id,
                chain_id=context.record.chain_id,
                campaign_dbid=self.campaign.dbid,
                campaign_group_dbid=self.group.dbid,
                phone=context.record.contact_info,
                leg_id=context.leg_id,
                started_at=now,
                customer_id=self.customer_id(context.record),
                subject=self.subject(context.record),
                switch_dbid=context.switch_dbid,
                caller_id=context.caller_id.digits if context.caller_id.of_set else None,
            )
            for context in contexts
        ]

    def validation(self, list_dbid: int) -> ValidationRules | None:
        """Pre-dial validation of a list's records; None: they are dialed without."""
        if list_dbid not in self._validation:
            self._validation[list_dbid] = self._validation_rules(list_dbid)
        return self._validation[list_dbid]

    def _validation_rules(self, list_dbid: int) -> ValidationRules | None:
        if not self.option("pre-dial-validation", list_dbid):
            return None
        return ValidationRules(
            uri=str(self.option("validation-uri", list_dbid)),
            limit_s=float(self.option("http-response-timeout")),
            lifetime_s=float(self.option("validation-answer-lifetime", list_dbid)),
            refusal_result=int(self.option("validation-refusal-call-result", list_dbid)),
            timeout_result=int(self.option("validation-timeout-call-result", list_dbid)),
        )

    # --- records --------------------------------------------------------------------------------------------------

    def shares(self) -> dict[int, int]:
        """Weight of each active list, by DBID."""
        return {
            self.config.calling_list(entry.calling_list).dbid: entry.share
            for entry in self.campaign.lists
            if entry.active
        }

    def filter_text(self, list_dbid: int) -> tuple[str, str]:
        """The dialing filter of a list: criteria and order."""
        name = self._lists[list_dbid].filter
        found = self.config.filter(name) if name else None
        return (found.criteria, found.order_by) if found is not None else ("", "")

    @cached_property
    def tenant_dbid(self) -> int:
        return self.config.tenant_dbid_of(self.campaign)

    @property
    def ocs_dials_callbacks(self) -> bool:
        """predictive_callback: campaign callbacks are dialed; else they go to desktops."""
        return bool(self.option("predictive_callback"))

    def portions(self) -> tuple[Portion, ...]:
        """What is claimed to be dialed, by priority (options file 4.4; manual, dialing_priority)."""
        return self._portions

    @cached_property
    def _portions(self) -> tuple[Portion, ...]:
        found = []
        for record_type, name in _PRIORITY_NAMES.items():
            if record_type is RecordType.CAMPAIGN_CALLBACK and not self.ocs_dials_callbacks:
                continue
            asked = self._asked.get(record_type)
            priority = self._priority(record_type, name)
            limit = asked.n_records if asked is not None else int(self.option(f"{name}_n_records"))
            found.append((-priority, -int(record_type), Portion(record_type, limit or None)))
        return tuple(portion for _, _, portion in sorted(found, key=lambda entry: entry[:2]))

    def priorities(self) -> Mapping[RecordType, int]:
        """Higher is dialed first. Rescheduled records of an agent, once dialed by us, go as the campaign's do."""
        return self._priorities

    @cached_property
    def _priorities(self) -> Mapping[RecordType, int]:
        found = {kind: self._priority(kind, name) for kind, name in _PRIORITY_NAMES.items()}
        return found | {
            RecordType.PERSONAL_CALLBACK: found[RecordType.CAMPAIGN_CALLBACK],
            RecordType.PERSONAL_RESCHEDULED: found[RecordType.CAMPAIGN_RESCHEDULED],
        }

    def _priority(self, record_type: RecordType, name: str) -> int:
        asked = self._asked.get(record_type)
        return asked.priority if asked is not None else int(self.option(f"default_{name}_priority"))

    def delivered_portions(self) -> tuple[Portion, ...]:
        """What is claimed to be delivered to desktops when due."""
        return self._delivered

    @cached_property
    def _delivered(self) -> tuple[Portion, ...]:
        kinds = [RecordType.PERSONAL_CALLBACK, RecordType.PERSONAL_RESCHEDULED]
        if not self.ocs_dials_callbacks:
            kinds.append(RecordType.CAMPAIGN_CALLBACK)
        return tuple(Portion(kind) for kind in kinds)

    def is_delivered(self, record_type: RecordType) -> bool:
        """Chains of this type go to desktops, and never into the buffer from which we dial."""
        return any(portion.record_type == record_type for portion in self.delivered_portions())

    def goes_with(self, *, delivered: bool) -> frozenset[RecordType]:
        """The types that are dialed, or that go to desktops."""
        return frozenset(kind for kind in DIALED_TYPES if self.is_delivered(kind) == delivered)

    def checks_dnc_at_dial(self, record: CallingRecord) -> bool:
        callback = record.record_type in (RecordType.PERSONAL_CALLBACK, RecordType.CAMPAIGN_CALLBACK)
        return bool(self.option("check_dnc_callback" if callback else "check_dnc_list"))

    def threshold_s(self, list_dbid: int) -> float:
        """treatment_sched_threshold: how long a chain may wait in memory."""
        return float(self.option("treatment_sched_threshold", list_dbid)) * 60.0

    def max_attempts(self, list_dbid: int) -> int:
        return self._lists[list_dbid].max_attempts

    def treatments(self, list_dbid: int) -> tuple[Treatment, ...]:
        return self.config.treatments_of(self._lists[list_dbid])

    def result_for_all(self, list_dbid: int) -> bool:
        """update_all_records: the result goes to every record of the chain."""
        return bool(self.option("update_all_records", list_dbid))

    def has_caps(self, list_dbid: int) -> bool:
        return bool(self._lists[list_dbid].attempt_caps)

    def hours(self, list_dbid: int) -> Hours:
        """When the list's records may be dialed."""
        if (found := self._hours.get(list_dbid)) is None:
            found = self._hours[list_dbid] = ListHours(self.config, self._lists[list_dbid])
        return found

    def zone(self, record: CallingRecord) -> tzinfo:
        """The record's time zone: its own, else its list's, else UTC."""
        calling_list = self._lists[record.list_dbid]
        by_dbid = {zone.dbid: zone.zone for zone in self.config.time_zones}
        name = by_dbid.get(record.tz_dbid) or by_dbid.get(time_zone_dbid(self.config, calling_list))
        return ZoneInfo(name) if name else UTC

    def _field(self, record: CallingRecord, name: str) -> str | None:
        value = record.user_fields.get(name) if name else None
        return str(value) if value not in (None, "") else None

    def customer_id(self, record: CallingRecord) -> str | None:
        return self._field(record, self._lists[record.list_dbid].customer_id_field)

    def subject(self, record: CallingRecord) -> str | None:
        return self._field(record, self._lists[record.list_dbid].subject_field)

    def disposition(self, record: CallingRecord, updates: Mapping[str, object]) -> str:
        """The disposition code that the agent has set for this call; what the row holds tells of an earlier one."""
        name = self._lists[record.list_dbid].disposition_field
        value = updates.get(name) if name else None
        return "" if value is None else str(value)

    def refusal(self, record: CallingRecord, now: datetime) -> Refusal | None:
        """The first gate of attempts, schedule and hours that holds a claimed record back at ``now``; None: dial it."""
        return refusal(record, self.max_attempts(record.list_dbid), self.hours(record.list_dbid), now)


_PRIORITY_NAMES: Final = {
    RecordType.CAMPAIGN_CALLBACK: "campaigncallback",
    RecordType.CAMPAIGN_RESCHEDULED: "campaignrescheduled",
    RecordType.GENERAL: "general",
}
