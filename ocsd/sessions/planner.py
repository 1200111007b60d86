"""How the calls of one campaign group are placed: options, trunks, caller IDs, the per-second limit. Pure."""

import math
import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime

from ocsd.config.objects import Campaign, CampaignGroup, Configuration, Trunk
from ocsd.config.options import analysis_settings, lookup
from ocsd.lists.gates import local_times, why_not_dialable
from ocsd.model.enums import DialMode, OptimizeBy
from ocsd.model.records import Chain, NewAttempt
from ocsd.sessions.attempt import AttemptRules
from ocsd.sessions.attempt_task import AttemptContext, DialPlan
from ocsd.sessions.group import DialSettings
from pacing import Goal, Mode, PacingTarget

NO_LIMIT = 1_000_000


class Planner:
    """Everything about a group's calls that follows from its configuration."""

    def __init__(self, config: Configuration, group: CampaignGroup) -> None:
        self.config = config
        self.group = group
        self.campaign: Campaign = config.campaign(group.campaign)
        self.trunks: tuple[Trunk, ...] = tuple(config.trunk(name) for name in group.trunks)
        self.agent_from_uri = f"sip:ocsd@{config.telephony.sip_host}"

    def option(self, name: str, list_dbid: int | None = None) -> str | int | float | bool:
        """An option's value for one list, or for the group as a whole."""
        calling_list = self.config.calling_list_by_dbid(list_dbid) if list_dbid is not None else None
        value: str | int | float | bool = lookup(
            self.config, name, campaign=self.campaign, group=self.group, calling_list=calling_list
        )
        return value

    def target(self, settings: DialSettings) -> PacingTarget:
        """The manual's parameters in the pacing's terms; the overdial goal never exceeds ``max_overdial_rate``."""
        mode = Mode.PREDICTIVE if settings.dial_mode is DialMode.PREDICTIVE else Mode.PROGRESSIVE
        bound = float(self.option("max_overdial_rate")) / 100.0
        lines = float(self.option("progressive_dial_factor"))
        match settings.optimize_by:
            case OptimizeBy.BUSY_FACTOR:
                return PacingTarget(mode, Goal.BUSY_FACTOR, settings.optimize_goal / 100.0, bound, lines)
            case OptimizeBy.WAIT_TIME:
                return PacingTarget(mode, Goal.WAIT_TIME, float(settings.optimize_goal), bound, lines)
            case OptimizeBy.OVERDIAL_RATE:
                goal = min(settings.optimize_goal / 100.0, bound)
                return PacingTarget(mode, Goal.OVERDIAL_RATE, goal, bound, lines)

    def rules(self, list_dbid: int) -> AttemptRules:
        """Limits of an attempt on a record of this list."""
        return AttemptRules(
            no_answer_s=float(self.option("call_wait_connected_timeout", list_dbid)),
            timeguard_s=float(self.option("call_timeguard_timeout", list_dbid)) / 1000.0,
            max_wait_s=float(self.option("call_wait_in_queue_timeout", list_dbid)),
            agent_answer_s=float(self.option("call_wait_agent_connected_timeout", list_dbid)),
            record_processed=bool(self.option("record_processed", list_dbid)),
            stale_s=float(self.option("stale_clean_timeout", list_dbid)) * 60.0,
            early_analysis=not bool(self.option("cpd-on-connect", list_dbid)),
        )

    def context(self, attempt_id: int, chain: Chain, calls_by_trunk: Mapping[str, int]) -> AttemptContext:
        """How to call the first record of a chain; ``calls_by_trunk``: calls in progress by name of the trunk."""
        record = chain.records[0]
        trunk = self._trunk_for(attempt_id, calls_by_trunk)
        caller_id = str(self.option("CPNDigits", record.list_dbid)) or trunk.caller_id
        host = f"{trunk.host}:{trunk.port}"
        return AttemptContext(
            attempt_id=attempt_id,
            guid=uuid.uuid4().hex,
            chain=chain,
            record=record,
            plan=DialPlan(
                uri=f"sip:{trunk.dial_prefix}{record.contact_info}@{host}",
                from_uri=f"sip:{caller_id or 'anonymous'}@{self.config.telephony.sip_host}",
                display_name=str(self.option("CPNDisplayName", record.list_dbid)),
                username=trunk.username,
                password=trunk.password,
                headers=((("P-Asserted-Identity", f"<sip:{caller_id}@{host}>"),) if caller_id else ()),
            ),
            trunk=trunk.name,
            switch_dbid=trunk.dbid,
            analysis=analysis_settings(self.config, self.group, trunk.tone_plan),
            result_for_all=bool(self.option("update_all_records", record.list_dbid)),
        )

    def _trunk_for(self, attempt_id: int, calls_by_trunk: Mapping[str, int]) -> Trunk:
        """The trunk with the most free ports; ties by turn."""
        turn = attempt_id % len(self.trunks)
        order = self.trunks[turn:] + self.trunks[:turn]
        return max(order, key=lambda trunk: trunk.max_calls - calls_by_trunk.get(trunk.name, 0))

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
            )
            for context in contexts
        ]

    def why_not(self, chain: Chain, now: datetime) -> str | None:
        """Why the chain's first record may not be dialed at this instant; None: dial it."""
        calling_list = self.config.calling_list_by_dbid(chain.list_dbid)
        times = local_times(self.config, calling_list, now)
        return why_not_dialable(chain.records[0], calling_list.max_attempts, times, now)

    def starts_per_s(self) -> float:
        """The tightest of dialing_rate_limit and the trunks' own limits together; 0: none."""
        limits = [float(self.option("dialing_rate_limit"))]
        per_trunk = [trunk.calls_per_second for trunk in self.trunks]
        if all(per_trunk):
            limits.append(sum(per_trunk))
        return min((limit for limit in limits if limit > 0.0), default=0.0)


class StartBucket:
    """Token bucket of call starts, one second deep, so that a pause is not made up for by a burst."""

    def __init__(self, now_s: float) -> None:
        self._tokens = 1.0
        self._at_s = now_s

    def allowed(self, rate_per_s: float, now_s: float) -> int:
        """Calls that may start now."""
        if rate_per_s <= 0.0:
            return NO_LIMIT
        self._tokens = min(max(1.0, rate_per_s), self._tokens + rate_per_s * (now_s - self._at_s))
        self._at_s = now_s
        return max(0, math.floor(self._tokens))

    def take(self, count: int) -> None:
        self._tokens -= count
