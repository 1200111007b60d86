"""How the calls of one campaign group are placed: options, trunks, caller IDs, the per-second limit. Pure."""

import uuid
from collections.abc import Iterable
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


class Planner:
    """Everything about a group's calls that follows from its configuration."""

    def __init__(self, config: Configuration, group: CampaignGroup) -> None:
        self.config = config
        self.group = group
        self.campaign: Campaign = config.campaign(group.campaign)
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

    def context(self, attempt_id: int, chain: Chain, trunk: Trunk) -> AttemptContext:
        """How to call the first record of a chain over this trunk."""
        record = chain.record
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
        return why_not_dialable(chain.record, calling_list.max_attempts, times, now)
