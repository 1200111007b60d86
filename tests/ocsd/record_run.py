"""
The records engine without telephony: supply, gates, treatments and store, driven by hand in virtual time.

What a session does with a chain around its call is done here by the same code (`RecordSupply`, `settling`), so what
these runs prove about records holds for the daemon.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from ocsd.config.objects import CampaignGroup, Configuration
from ocsd.dnc.contract import DoNotCall
from ocsd.lists.store import ListStore
from ocsd.model.enums import DialMode, OptimizeBy, RecordStatus, RecordType
from ocsd.model.records import (
    AttemptTimes,
    CallingRecord,
    Chain,
    ChainSettlement,
    FinishedAttempt,
    NewAttempt,
)
from ocsd.sessions.group import DialSettings
from ocsd.sessions.planner import Planner
from ocsd.sessions.prevalidation import Prevalidation
from ocsd.sessions.settling import Ending, kept_in_memory, settle, treat
from ocsd.sessions.supply import RecordSupply
from ocsd.treatments.contract import Decision, Situation
from ocsd.validation import Validator

SETTINGS = DialSettings(DialMode.PROGRESSIVE, OptimizeBy.BUSY_FACTOR, 80)


@dataclass(slots=True)
class VirtualClock:
    now: datetime = datetime(2026, 3, 3, 12, 0, tzinfo=UTC)

    def utc(self) -> datetime:
        return self.now

    def now_s(self) -> float:
        return self.now.timestamp()

    def pass_s(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass(frozen=True, slots=True)
class Dial:
    """An attempt whose row is on disk: from here an INVITE may have left."""

    attempt_id: int
    chain: Chain
    at: datetime

    @property
    def record(self) -> CallingRecord:
        return self.chain.record


@dataclass(slots=True)
class RecordRun:
    """One daemon with one campaign group."""

    config: Configuration
    group: CampaignGroup
    store: ListStore
    dnc: DoNotCall
    clock: VirtualClock
    supply_type: type[RecordSupply] = RecordSupply
    validator: Validator | None = None
    planner: Planner = field(init=False)
    supply: RecordSupply = field(init=False)
    prevalidation: Prevalidation = field(init=False)
    settings: DialSettings = SETTINGS
    dials: bool = True
    wants_records: bool = True
    starts_per_s: float = 10.0

    def __post_init__(self) -> None:
        self.planner = Planner(self.config, self.group)
        self.supply = self.supply_type(self.planner, store=self.store, dnc=self.dnc, utc=self.clock.utc)
        self.prevalidation = Prevalidation(self, self.validator)

    async def refill(self, agents: int) -> int:
        return await self.supply.refill(agents)

    async def validate(self) -> None:
        """Pre-dial validation of the chains that are next, one after the other."""
        for chain, rules in self.prevalidation.next_questions():
            await self.prevalidation.ask_about(chain, rules)

    def treat(self, chain: Chain, record: CallingRecord, call_result: int) -> Decision:
        live = self.supply.live(chain) or chain
        return treat(self.planner, Situation(call_result, record, live.records, self.clock.utc()))

    async def settle_chain(self, settlement: ChainSettlement) -> bool:
        return await self.store.settle_chain(settlement)

    async def give_back(self, chains: list[Chain]) -> None:
        await self.store.give_back(chains)

    def wake(self) -> None:
        pass

    async def dial(self, count: int, *, before_begin: Callable[[Chain], None] | None = None) -> list[Dial]:
        """Take chains that may be dialed now and write their attempts; those that a cap refuses are put off."""
        chains = await self.supply.take(count)
        if not chains:
            return []
        now = self.clock.utc()
        if before_begin is not None:
            for chain in chains:
                before_begin(chain)
        ids = await self.store.next_attempt_ids(len(chains))
        attempts = [
            NewAttempt(
                attempt_id=attempt_id,
                guid=f"guid-{attempt_id}",
                list_dbid=chain.list_dbid,
                record_id=chain.record.record_id,
                chain_id=chain.chain_id,
                campaign_dbid=self.planner.campaign.dbid,
                campaign_group_dbid=self.group.dbid,
                phone=chain.record.contact_info,
                leg_id=f"leg-{attempt_id}",
                started_at=now,
                customer_id=self.planner.customer_id(chain.record),
                subject=self.planner.subject(chain.record),
            )
            for attempt_id, chain in zip(ids, chains, strict=True)
        ]
        refused = await self.store.begin_attempts(attempts)
        dialed = []
        for attempt_id, chain in zip(ids, chains, strict=True):
            if (refusal := refused.get(attempt_id)) is not None and refusal.until is None:
                await self.store.give_back([chain])
            elif refusal is not None:
                await self.supply.postpone(chain, refusal)
            else:
                dialed.append(Dial(attempt_id, chain, now))
        return dialed

    async def end(
        self,
        dial: Dial,
        call_result: int,
        *,
        updates: Mapping[str, Any] | None = None,
        answered_s: float | None = None,
        **ending: Any,
    ) -> Decision:
        """The attempt ends now with this result; further arguments as in `Ending`."""
        now = self.clock.utc()
        live = self.supply.live(dial.chain)
        if live is None:
            ending = ending | {"withdrawn": True}
        chain = live or dial.chain
        how = Ending(call_result=call_result, **({"record_status": RecordStatus.UPDATED} | ending))
        decision = settle(self.planner, chain, dial.record, how, updates or {}, now)
        decision = kept_in_memory(self.planner, decision, chain.list_dbid, now)
        handled_at = dial.at + timedelta(seconds=answered_s) if answered_s is not None else None
        finished = FinishedAttempt(
            attempt_id=dial.attempt_id,
            list_dbid=chain.list_dbid,
            record_id=dial.record.record_id,
            chain_id=chain.chain_id,
            call_result=call_result,
            change=decision.change,
            finished_at=now,
            times=AttemptTimes(dialing_at=dial.at, answered_at=handled_at, agent_answered_at=handled_at),
            agent_id=how.agent_id,
            count_attempt=how.counted,
            interrupted=how.record_status is RecordStatus.STALE,
            updates=updates or {},
            treatment_dbid=decision.treatment_dbid or None,
            because=decision.because,
            statements=decision.statements,
            requests=decision.requests,
        )
        await self.store.give_back(await self.supply.conclude(chain, finished, decision))
        return decision

    async def miss(self, chain: Chain, call_result: int) -> Decision:
        """A due callback that finds no agent: result 47 or 48 and what follows from it."""
        live = self.supply.live(chain) or chain
        decision = treat(self.planner, Situation(call_result, live.record, live.records, self.clock.utc()))
        await self.store.settle_chain(
            ChainSettlement(
                chain.list_dbid,
                chain.chain_id,
                live.record.record_id,
                decision.change,
                decision.because,
                call_result=call_result,
                statements=decision.statements,
                requests=decision.requests,
            )
        )
        return decision

    async def unload(self) -> None:
        await self.store.give_back(self.supply.empty())
        await self.store.release_group(self.group.dbid)


def personal(record: CallingRecord) -> bool:
    return record.record_type in (RecordType.PERSONAL_CALLBACK, RecordType.PERSONAL_RESCHEDULED)
