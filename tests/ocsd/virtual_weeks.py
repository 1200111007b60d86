"""
Two simulated weeks of three calling lists, one around each change of the clocks, against an independent oracle.

The world: lists with shares 10/30/60 on tables of their own, chains of one to three numbers in twelve zones, every
treatment action, callbacks kept and missed, requests not to be called and cancellations at any moment. The oracle
(`treatment_oracle`, and wall clocks read through zoneinfo) knows each chain's past and says what the next dial of it
must be; each dial, and every row after each result, is compared with it.

    python -m tests.ocsd.virtual_weeks --records 100000
"""

import argparse
import logging
import random
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import structlog
import trio

from ocsd.config.objects import (
    AgentGroup,
    CallingList,
    Campaign,
    CampaignGroup,
    CampaignList,
    Configuration,
    Format,
    FormatField,
    TableAccess,
    Tenant,
    TimeZoneObject,
    Treatment,
    Trunk,
)
from ocsd.dnc.contract import DncEntry
from ocsd.dnc.memory import MemoryDoNotCall
from ocsd.lists.memory import MemoryDatabase, MemoryListStore
from ocsd.model.enums import CallResult, RecordAction, RecordStatus, RecordType
from ocsd.model.records import ChainChange, ChainSettlement, Selector, Withdrawal
from tests.ocsd.record_run import Dial, RecordRun, VirtualClock
from tests.ocsd.treatment_oracle import oracle_next

ZONES = (
    "America/New_York", "America/Chicago", "America/Denver", "America/Los_Angeles", "America/Phoenix",
    "America/Halifax", "America/St_Johns", "America/Havana", "America/Sao_Paulo", "Europe/London", "Asia/Kathmandu",
    "Australia/Sydney",
)  # fmt: skip
SHARES = {301: 10, 302: 30, 303: 60}
SIZES = {301: 0.2, 302: 0.3, 303: 0.5}
"""Part of the records in each list: none runs dry long before the others."""
MAX_ATTEMPTS = {301: 6, 302: 8, 303: 10}
WEEKS = (datetime(2026, 3, 5, 5, 0, tzinfo=UTC), datetime(2026, 10, 29, 5, 0, tzinfo=UTC))
"""Clocks change on 2026-03-08 and 2026-11-01 in North America (Havana too)."""
TICK_S = 60.0
AGENTS = 10
R, A = CallResult, RecordAction

_PLAN: dict[int, tuple[tuple, ...]] = {
    301: (
        (R.BUSY, A.REDIAL, {"cycle_attempts": 3, "interval_min": 2, "increment_min": 3}),
        (R.BUSY, A.RETRY_IN, {"interval_min": 60, "increment_min": 45}),
        (R.NO_ANSWER, A.NEXT_IN_CHAIN, {"cycle_attempts": 2, "interval_min": 240, "increment_min": 60}),
        (R.NO_ANSWER, A.RESCHEDULE, {}),
        (R.ANSWERING_MACHINE, A.RETRY_IN, {"interval_min": 180}),
        (R.ANSWERING_MACHINE, A.NEXT_IN_CHAIN_AFTER, {"cycle_attempts": 1, "interval_min": 30}),
        (R.SIT_VACANT_CODE, A.UPDATE_ALL, {}),
        (R.GENERAL_ERROR, A.UPDATE_RECORD, {}),
        (R.ABANDONED, A.RETRY_IN, {"interval_min": 4}),
        (R.WRONG_PARTY, A.NEXT_IN_CHAIN, {"cycle_attempts": 1}),
        (R.AGENT_CALLBACK_ERROR, A.ASSIGN_TO_GROUP, {}),
        (R.GROUP_CALLBACK_ERROR, A.RETRY_IN, {"interval_min": 30, "increment_min": 15}),
    ),
    302: (
        (R.BUSY, A.NEXT_IN_CHAIN_AFTER, {"cycle_attempts": 2, "interval_min": 3, "increment_min": 15}),
        (R.NO_ANSWER, A.REDIAL, {"cycle_attempts": 2, "interval_min": 30, "increment_min": 30}),
        (R.NO_ANSWER, A.NEXT_IN_CHAIN, {"cycle_attempts": 1}),
        (R.NO_ANSWER, A.RETRY_AT_DATE, {"date": datetime(2026, 3, 8, 2, 30)}),  # noqa: DTZ001 - in the record's zone
        (R.NO_ANSWER, A.RETRY_AT_DATE, {"date": datetime(2026, 11, 1, 1, 30)}),  # noqa: DTZ001
        (R.ANSWERING_MACHINE, A.NEXT_IN_CHAIN_AT_DATE, {"cycle_attempts": 2, "date": WEEKS[0] + timedelta(days=4)}),
        (R.ANSWERING_MACHINE, A.NEXT_IN_CHAIN_AT_DATE, {"cycle_attempts": 2, "date": WEEKS[1] + timedelta(days=4)}),
        (R.FAX, A.EXECUTE_SQL, {"sql": "SELECT 1"}),
        (R.FAX, A.NEXT_IN_CHAIN, {"cycle_attempts": 1}),
        (R.DROPPED, A.REDIAL, {"cycle_attempts": 1}),
        (R.WRONG_PARTY, A.RETRY_IN, {"interval_min": 90}),
        (R.AGENT_CALLBACK_ERROR, A.MARK_AS_AGENT_ERROR, {}),
        (R.GROUP_CALLBACK_ERROR, A.MARK_AS_AGENT_ERROR, {}),
    ),
    303: (
        (R.BUSY, A.REDIAL, {"cycle_attempts": 5, "interval_min": 1, "increment_min": 1}),
        (R.BUSY, A.SEND_HTTP, {"url": "http://127.0.0.1:1/busy"}),
        (R.BUSY, A.NEXT_IN_CHAIN, {"cycle_attempts": 3, "interval_min": 10, "increment_min": 10}),
        (R.NO_ANSWER, A.RETRY_IN, {"interval_min": 20 * 60, "increment_min": 4 * 60}),
        (R.ANSWERING_MACHINE, A.RESCHEDULE, {}),
        (R.ANSWERING_MACHINE, A.REDIAL, {"cycle_attempts": 2, "interval_min": 45}),
        (R.SILENCE, A.REDIAL, {"cycle_attempts": 1, "interval_min": 5}),
        (R.DROPPED, A.RETRY_IN, {"interval_min": 72 * 60}),
        (R.WRONG_PARTY, A.NEXT_IN_CHAIN_AFTER, {"cycle_attempts": 2, "interval_min": 6}),
        (R.AGENT_CALLBACK_ERROR, A.RETRY_IN, {"interval_min": 45}),
        (R.GROUP_CALLBACK_ERROR, A.REDIAL, {"cycle_attempts": 2, "interval_min": 20}),
    ),
}
OUTCOMES = {
    R.BUSY: 17, R.NO_ANSWER: 33, R.ANSWERING_MACHINE: 16, R.ANSWER: 20, R.SIT_VACANT_CODE: 3, R.GENERAL_ERROR: 2,
    R.SILENCE: 2, R.FAX: 2, R.ABANDONED: 2, R.DROPPED: 3,
}  # fmt: skip


def configuration(**changes) -> Configuration:
    treatments, names = [], defaultdict(list)
    for list_dbid, plan in _PLAN.items():
        for number, (result, action, more) in enumerate(plan, 1):
            name = f"{list_dbid} {number} {result.name} {action.name}"
            names[list_dbid].append(name)
            treatments.append(
                Treatment(
                    dbid=list_dbid * 100 + number,
                    name=name,
                    call_result=result,
                    number=number,
                    record_action=action,
                    **more,
                )  # fmt: skip
            )
    lists = tuple(
        CallingList(
            dbid=dbid,
            name=f"List {dbid}",
            table_access=f"Table {dbid}",
            time_zone=ZONES[0],
            max_attempts=MAX_ATTEMPTS[dbid],
            treatments=tuple(names[dbid]),
        )
        for dbid in SHARES
    )
    settings = {
        "tenants": (Tenant(dbid=1, name="T"),),
        "trunks": (Trunk(dbid=21, name="trunk", tenant="T", host="127.0.0.1"),),
        "time_zones": tuple(TimeZoneObject(dbid=30 + i, name=zone, zone=zone) for i, zone in enumerate(ZONES)),
        "agent_groups": (AgentGroup(dbid=51, name="G"),),
        "formats": (Format(dbid=201, name="F", fields=(FormatField(name="note"),)),),
        "table_accesses": tuple(
            TableAccess(dbid=dbid + 100, name=f"Table {dbid}", table=f"list_{dbid}", format="F") for dbid in SHARES
        ),
        "treatments": tuple(treatments),
        "calling_lists": lists,
        "campaigns": (
            Campaign(
                dbid=401,
                name="C",
                tenant="T",
                lists=tuple(CampaignList(calling_list=f"List {dbid}", share=share) for dbid, share in SHARES.items()),
            ),
        ),
        "campaign_groups": (
            CampaignGroup(
                dbid=501,
                name="C@G",
                campaign="C",
                group="G",
                trunks=("trunk",),
                min_rec_buff_size=6,
                opt_rec_buff_size=12,
                options={"predictive_callback": False},
            ),  # fmt: skip
        ),
    }
    return Configuration(**(settings | changes))


@dataclass
class Expected:
    """What the oracle knows about a chain that goes on."""

    due_s: int = 0
    record_id: int | None = None
    """The record that must be dialed next; None: any that is open, the lowest chain_n first (General)."""
    record_type: int = int(RecordType.GENERAL)
    state: str | None = None


@dataclass
class Figures:
    dials: Counter = field(default_factory=Counter)
    """By list."""
    results: Counter = field(default_factory=Counter)
    shares_seen: list[tuple[int, int, int]] = field(default_factory=list)
    """Dials of the three lists in each stretch in which all of them had chains waiting."""
    treatments: Counter = field(default_factory=Counter)
    """How often each action was taken."""
    kept_in_memory: int = 0
    callbacks: int = 0
    missed: int = 0
    withdrawn: int = 0
    late_s: list[float] = field(default_factory=list)
    wall_s: float = 0.0


class Weeks:
    """One week with its own lists; `run` raises AssertionError at the first dial or row that the oracle refuses."""

    def __init__(self, records: int, start: datetime, seed: int, dials_per_tick: int) -> None:
        self.config = configuration()
        self.clock = VirtualClock(start)
        self.random = random.Random(seed)  # noqa: S311
        self.start = start
        self.dials_per_tick = dials_per_tick
        self.database = MemoryDatabase(self.config, now=self.clock.utc)
        self.dnc = MemoryDoNotCall()
        self.world = RecordRun(
            self.config, self.config.campaign_groups[0], MemoryListStore(self.database), self.dnc, self.clock
        )
        self.zones = {zone.dbid: ZoneInfo(zone.zone) for zone in self.config.time_zones}
        self.treatments = {x.dbid: self.config.treatments_of(x) for x in self.config.calling_lists}
        self.action_of = {t.dbid: t.record_action for t in self.config.treatments}
        self.expected: dict[tuple[int, int], Expected] = {}
        self.forbidden: set[str] = set()
        self.out: set[tuple[int, int]] = set()
        """(list, record_id) cancelled or NoCall."""
        self.phones: dict[str, tuple[int, int]] = {}
        self.figures = Figures()
        self.open: list[tuple[float, int, Dial]] = []
        self._stretch: Counter = Counter()
        self._refused = 0
        self._fill(records)

    def _fill(self, records: int) -> None:
        pick = self.random
        phone = 2_000_000_000
        for list_dbid, part in SIZES.items():
            left, chain_id = round(records * part), 0
            while left > 0:
                chain_id += 1
                for chain_n in range(min(left, pick.choice((1, 1, 1, 2, 2, 3)))):
                    phone, left = phone + 1, left - 1
                    window = pick.choice(
                        (
                            (28_800, 64_800),
                            (28_800, 64_800),
                            (32_400, 75_600),
                            (0, 86_400),
                            (3_600, 12_600),
                            (79_200, 7_200),
                        )
                    )
                    record_id = self.database.add_record(
                        list_dbid, contact_info=f"+{phone}", chain_id=chain_id, chain_n=chain_n,
                        tz_dbid=30 + pick.randrange(len(ZONES)), daily_from=window[0], daily_till=window[1],
                    )  # fmt: skip
                    self.phones[f"+{phone}"] = (list_dbid, record_id)

    def rows_of(self, list_dbid: int, chain_id: int):
        return [row for row in self.database.table(f"list_{list_dbid}").rows_of_chain(chain_id)]

    # --- the oracle -----------------------------------------------------------------------------------------------

    def open_at(self, record, at_s: float) -> bool:
        local = datetime.fromtimestamp(at_s, self.zones[record.tz_dbid])
        second = local.hour * 3600 + local.minute * 60 + local.second
        if record.daily_from_s <= record.daily_till_s:
            return record.daily_from_s <= second < record.daily_till_s
        return second >= record.daily_from_s or second < record.daily_till_s

    def opens_s(self, record, at_s: int) -> int | None:
        """Windows and zone changes of this world lie on half hours."""
        tried_s = at_s
        while not self.open_at(record, tried_s):
            tried_s += 900 - tried_s % 900
            if tried_s > at_s + 10 * 86_400:
                return None
        return tried_s

    def check_dial(self, dial: Dial) -> None:
        record, at_s = dial.record, dial.at.timestamp()
        key = (record.list_dbid, record.chain_id)
        what = f"{key} record {record.record_id} at {dial.at.isoformat()}: {record}"
        assert self.open_at(record, at_s), f"outside its window: {what}"
        assert record.contact_info not in self.forbidden, f"on Do-Not-Call: {what}"
        assert (record.list_dbid, record.record_id) not in self.out, f"withdrawn: {what}"
        assert record.attempt < MAX_ATTEMPTS[record.list_dbid], f"too many attempts: {what}"
        expected = self.expected.get(key)
        rows = self.rows_of(record.list_dbid, record.chain_id)
        if expected is None:
            assert record.record_type is RecordType.GENERAL, f"of a chain that ended or never began: {what}"
        else:
            assert at_s >= expected.due_s, f"{expected.due_s - at_s} s early: {what}"
            assert record.record_type == expected.record_type, f"expected type {expected.record_type}: {what}"
            self.figures.late_s.append(at_s - expected.due_s)
        live = [row.record for row in rows if row.record_status is RecordStatus.RETRIEVED]
        if expected is not None and expected.record_id in [row.record_id for row in live]:
            assert record.record_id == expected.record_id, f"expected record {expected.record_id}: {what}"
        elif expected is None:
            earlier = [row for row in live if row.chain_n < record.chain_n and self.open_at(row, at_s)]
            assert not earlier, f"passed over {[row.chain_n for row in earlier]}: {what}"

    def expect(self, dial: Dial, result: int, ending: dict, now_s: float) -> None:
        """Compare the rows after the end of an attempt with the oracle, and remember what must follow."""
        record = dial.record
        key = (record.list_dbid, record.chain_id)
        before = [row for row in dial.chain.records if (row.list_dbid, row.record_id) not in self.out]
        rows = {row.record.record_id: row for row in self.rows_of(*key)}
        if (key[0], record.record_id) in self.out:
            self.expected.pop(key, None)
            live = [row.record_id for row in before]
            for record_id in live:  # whatever became of it, nothing is left Retrieved without an owner
                row = rows[record_id]
                if row.record_status in (RecordStatus.READY, RecordStatus.RETRIEVED):
                    self.expected[key] = Expected(
                        row.record.dial_sched_time or 0, None, int(row.record.record_type), row.record.treatments
                    )
            return
        chain = [self._counted(row) if row.record_id == record.record_id else row for row in before]
        place = next(i for i, row in enumerate(chain) if row.record_id == record.record_id)
        agent = ending.get("agent_id")
        if "callback" in ending:
            kind, due = ending["callback"]
            due_s = self.opens_s(chain[place], int(due.timestamp()))
            self._check_rows(rows, chain, place, 1, int(kind), due_s, f"0@0@{record.chain_n}@1", None, result)
            self.expected[key] = Expected(due_s, record.record_id, int(kind))
            return
        if ending.get("handled") and "treatment" not in ending:
            self._check_rows(rows, chain, place, 3, int(record.record_type), None, None, None, result)
            self.expected.pop(key, None)
            return
        told = oracle_next(
            self.treatments[key[0]], chain, place, result, now_s, max_attempts=MAX_ATTEMPTS[key[0]],
            opens_s=self.opens_s, zone_of=lambda row: self.zones[row.tz_dbid], by_agent="treatment" in ending,
            agent_id=agent if ending.get("treatment") == "personal" else None,
        )  # fmt: skip
        self.apply(rows, key, chain, place, told, result)

    def apply(self, rows, key, chain, place, told, result) -> None:
        self.figures.treatments[self.action_of.get(told.treatment, "none")] += 1
        for effect in told.effects:
            self.figures.treatments[self.action_of[effect]] += 1
        self._check_rows(
            rows, chain, place, told.status, told.record_type, told.at_s, told.state, told.place, result,
            for_chain=told.result_for_chain,
        )  # fmt: skip
        if told.place is None:
            self.expected.pop(key, None)
        else:
            self.expected[key] = Expected(told.at_s, chain[told.place].record_id, int(told.record_type), told.state)

    def _counted(self, record):
        return replace(record, attempt=record.attempt + 1)

    def _check_rows(self, rows, chain, place, status, kind, at_s, state, next_place, result, *, for_chain=False):
        dialed = rows[chain[place].record_id]
        goes_on = status == RecordStatus.READY
        for place_now, was in enumerate(chain):
            row = rows[was.record_id]
            what = f"{row} after {CallResult(result).name} of {chain[place].record_id}, was {was}"
            if goes_on:
                assert row.record_status in (RecordStatus.READY, RecordStatus.RETRIEVED), what
                assert row.record.record_type == kind, f"type {kind}: {what}"
                assert row.record.dial_sched_time == at_s, f"due {at_s}: {what}"
                assert row.record.treatments == state, f"state {state}: {what}"
            elif place_now == place:
                assert row.record_status == status, f"status {status}: {what}"
            else:
                assert row.record_status is RecordStatus.UPDATED, what
                wanted = result if for_chain else was.call_result
                assert row.record.call_result == wanted, f"result {wanted}: {what}"
            assert row.record.attempt == was.attempt, f"attempts {was.attempt}: {what}"
        assert dialed.record.call_result == result

    # --- the week ---------------------------------------------------------------------------------------------------

    async def run(self, days: float = 7.0) -> Figures:
        began = time.monotonic()
        end = self.start + timedelta(days=days)
        while self.clock.now < end:
            await self._tick()
            self.clock.pass_s(TICK_S)
        while self.open:
            await self._end_first()
        self._close_stretch()
        await self.world.unload()
        self._nothing_left_behind()
        self.figures.wall_s = time.monotonic() - began
        return self.figures

    async def _tick(self) -> None:
        tick = self.clock.now
        await self.world.refill(AGENTS)
        await self._deliver_callbacks()
        await self._withdraw_some()
        waiting = Counter(chain.list_dbid for chain in self.world.supply.waiting())
        refused = self.world.supply.refused.total()
        dials = await self.world.dial(self.dials_per_tick)
        for dial in dials:
            self.check_dial(dial)
            self.figures.dials[dial.record.list_dbid] += 1
            self.open.append((tick.timestamp() + self.random.uniform(5, 180), dial.attempt_id, dial))
        served = Counter(dial.record.list_dbid for dial in dials)
        if all(waiting[dbid] > served[dbid] for dbid in SHARES):
            self._stretch += served
            self._refused += self.world.supply.refused.total() - refused
        else:
            self._close_stretch()
        self.open.sort()
        while self.open and self.open[0][0] < tick.timestamp() + TICK_S:
            await self._end_first()
        self.clock.now = tick

    def _close_stretch(self) -> None:
        if self._stretch.total() >= 50:
            self.figures.shares_seen.append(tuple(self._stretch[dbid] for dbid in SHARES))  # type: ignore[arg-type]
            whole, weight = self._stretch.total(), sum(SHARES.values())
            for dbid, share in SHARES.items():
                # Smooth round robin is never further than one chain from its share, wherever a stretch begins and ends.
                wanted = whole * share / weight
                # A chain that a gate refuses at the last moment has had its turn.
                allowed = 2 + self._refused
                assert abs(self._stretch[dbid] - wanted) <= allowed, f"share {share} of {whole}: {self._stretch}"
        self._stretch, self._refused = Counter(), 0

    async def _end_first(self) -> None:
        at_s, _, dial = self.open.pop(0)
        self.clock.now = datetime.fromtimestamp(at_s, UTC)
        pick = self.random
        result = int(pick.choices(list(OUTCOMES), weights=list(OUTCOMES.values()))[0])
        ending: dict = {}
        if result == R.ANSWER:
            ending = {"handled": True, "agent_id": "ada"}
            what = pick.random()
            if what < 0.1:
                kind = pick.choice((RecordType.PERSONAL_CALLBACK, RecordType.CAMPAIGN_CALLBACK))
                due = datetime.fromtimestamp(int(at_s) + pick.randrange(600, 3 * 86_400), UTC)
                ending["callback"] = (kind, due)
            elif what < 0.2:
                result = int(R.WRONG_PARTY)
                ending["treatment"] = pick.choice(("campaign", "personal"))
        decision = await self.world.end(dial, result, **ending)
        self.figures.results[result] += 1
        self.figures.kept_in_memory += decision.change.keep_claim
        self.expect(dial, result, ending, at_s)

    async def _deliver_callbacks(self) -> None:
        for chain in await self.world.supply.callbacks():
            key, record = chain.key, chain.record
            now_s = self.clock.now.timestamp()
            self.check_dial(Dial(0, chain, self.clock.now))
            rows_before = [row for row in chain.records if (row.list_dbid, row.record_id) not in self.out]
            if self.random.random() < 0.6:  # the agent is there, and closes it
                self.figures.callbacks += 1
                change = ChainChange(RecordStatus.UPDATED, RecordType(record.record_type))
                settlement = ChainSettlement(
                    *key, record.record_id, change, "called back", call_result=int(R.ANSWER), agent_id="ada"
                )
                assert await self.world.store.settle_chain(settlement)
                self.expected.pop(key, None)
                continue
            self.figures.missed += 1
            personal = record.record_type in (RecordType.PERSONAL_CALLBACK, RecordType.PERSONAL_RESCHEDULED)
            result = int(R.AGENT_CALLBACK_ERROR if personal else R.GROUP_CALLBACK_ERROR)
            await self.world.miss(chain, result)
            place = next(i for i, row in enumerate(rows_before) if row.record_id == record.record_id)
            told = oracle_next(
                self.treatments[key[0]], rows_before, place, result, now_s, max_attempts=MAX_ATTEMPTS[key[0]],
                opens_s=self.opens_s, zone_of=lambda row: self.zones[row.tz_dbid],
            )  # fmt: skip
            rows = {row.record.record_id: row for row in self.rows_of(*key)}
            self.apply(rows, key, rows_before, place, told, result)

    async def _withdraw_some(self) -> None:
        """About one request a quarter of an hour: not to be called, or cancelled; by number, one record or its chain."""
        pick = self.random
        if pick.random() > TICK_S / 900:
            return
        phone, (list_dbid, record_id) = (
            pick.choice(list(self.phones.items())) if not self.open else self._dialed_phone()
        )
        withdrawal = pick.choice(list(Withdrawal))
        selector = Selector(phone=phone, all_chain=pick.random() < 0.5)
        if withdrawal is Withdrawal.DO_NOT_CALL:
            self.forbidden.add(phone)
            await self.dnc.add([DncEntry(1, phone, None, self.clock.now)])
        rows = await self.world.store.withdraw(list(SHARES), selector, withdrawal)
        self.figures.withdrawn += len(rows)
        self.out |= {(row.list_dbid, row.record_id) for row in rows}
        for row in rows:
            if row.record_id == record_id and row.list_dbid == list_dbid and selector.all_chain:
                self.expected.pop((row.list_dbid, row.chain_id), None)
        await self.world.store.give_back(self.world.supply.forget(rows))

    def _dialed_phone(self) -> tuple[str, tuple[int, int]]:
        record = self.random.choice(self.open)[2].record
        if self.random.random() < 0.5:
            return self.random.choice(list(self.phones.items()))
        return record.contact_info, (record.list_dbid, record.record_id)

    def _nothing_left_behind(self) -> None:
        assert not self.database.claims
        for list_dbid in SHARES:
            for row in self.database.rows(list_dbid).values():
                assert row.record_status is not RecordStatus.RETRIEVED, f"left Retrieved: {row}"


async def weeks(records: int, seed: int, dials_per_tick: int) -> list[Figures]:
    return [await Weeks(records, start, seed + number, dials_per_tick).run() for number, start in enumerate(WEEKS)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=100_000, help="records in the three lists together")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--dials-per-minute", type=int, default=0, help="0: as many as fit the number of records")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    rate = options.dials_per_minute or max(2, round(options.records / 7000))
    for start, figures in zip(WEEKS, trio.run(weeks, options.records, options.seed, rate), strict=True):
        print(f"week of {start.date()}: {sum(figures.dials.values())} dials checked in {figures.wall_s:.0f} s")
        print(f"  by list {dict(figures.dials)}; stretches with all lists waiting: {len(figures.shares_seen)}, "
              f"{[sum(column) for column in zip(*figures.shares_seen, strict=True)]}")  # fmt: skip
        print("  treatments " + ", ".join(f"{getattr(k, 'name', k)} {n}" for k, n in figures.treatments.most_common()))
        print(f"  kept in memory {figures.kept_in_memory}, callbacks {figures.callbacks} kept and {figures.missed} "
              f"missed, {figures.withdrawn} rows withdrawn")  # fmt: skip


if __name__ == "__main__":
    main()
