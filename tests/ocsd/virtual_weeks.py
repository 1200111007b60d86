"""
Two simulated weeks of three calling lists, one around each change of the clocks, against an independent oracle.

The world (`weeks_world`): lists with shares 10/30/60 on tables of their own, chains of one to three numbers in twelve
zones, every treatment action, attempt caps by number and by customer, the zones of the numbers, holidays, callbacks
kept, missed and refused, requests not to be called and cancellations at any moment. The oracle (`weeks_model`) keeps
each row as it must be. Compared with it are each claim, each dial (`weeks_watch`), all rows of a chain after each
event, and at the end every row of the tables; from time to time, that nothing that could be dialed is left waiting.

    python -m tests.ocsd.virtual_weeks --records 100000
    python -m tests.ocsd.virtual_weeks --records 2000 --days 3 --postgres
"""

import argparse
import gc
import logging
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
import trio

from ocsd.config.objects import Configuration
from ocsd.dnc.contract import DncEntry
from ocsd.dnc.memory import MemoryDoNotCall
from ocsd.model.enums import CallResult, RecordStatus, RecordType
from ocsd.model.records import Chain, ChainChange, ChainSettlement, Selector, Withdrawal
from ocsd.treatments.callback import reject_change
from tests.ocsd.record_run import Dial, RecordRun, VirtualClock
from tests.ocsd.weeks_model import GENERAL, LIVE, PERSONAL_CALLBACK, PERSONAL_RESCHEDULED, STALE, UPDATED, Model, Row
from tests.ocsd.weeks_report import report, svg
from tests.ocsd.weeks_stores import MemoryTables, Tables, TemporaryServer, postgres_tables
from tests.ocsd.weeks_watch import Watch, WatchedStore, WatchedSupply
from tests.ocsd.weeks_world import AGENTS, OUTCOMES, SHARES, WEEKS, configuration, new_rows

LOOK_EVERY_S = 2 * 3600
"""Between two looks at whole lists: does a claim take the best, has anything been forgotten?"""
LOOK_WHEN_FREE_S = 1800.0
"""The same while capacity has been free for long enough to tell who is forgotten."""
PATIENCE_TICKS, PATIENCE_S = 3, 360.0
"""A chain that could be dialed for so long, with capacity free, is forgotten: the greater of the two."""
HURRY_PART = 0.3
"""In the last part of a week twice as many are dialed: what has piled up is cleared, and capacity is free for hours."""
REFILLS_PER_TICK = 60
"""A daemon looks every second or so; ticks are longer."""
KEPT_S = 300.0
"""treatment_sched_threshold: chains due within it stay in memory."""
WITHDRAWALS_PER_HOUR = 12
UNLOADS_PER_DAY = 4
"""After each the campaign is loaded again at once."""
R = CallResult


@dataclass
class Figures:
    start: datetime
    records: int
    dials: Counter = field(default_factory=Counter)
    """By list."""
    by_hour: dict[int, Counter] = field(default_factory=lambda: {dbid: Counter() for dbid in SHARES})
    """Dials by list and hour of the run."""
    results: Counter = field(default_factory=Counter)
    shares_seen: list[tuple[int, ...]] = field(default_factory=list)
    """Turns of the lists in each stretch in which all of them had chains waiting."""
    treatments: Counter = field(default_factory=Counter)
    """How often each action was taken."""
    counts: Counter = field(default_factory=Counter)
    """What was checked, and what happened, by name."""
    late_s: list[float] = field(default_factory=list)
    """From due to dialed or delivered."""
    wall_s: float = 0.0


class Weeks:
    """One week with its own lists; `run` raises AssertionError at the first thing that the oracle refuses."""

    def __init__(
        self, config: Configuration, tables: Tables, clock: VirtualClock, *, records: int, seed: int,
        dials_per_hour: int, tick_s: float,
    ) -> None:  # fmt: skip
        self.tables, self.clock, self.tick_s = tables, clock, tick_s
        self.random = random.Random(seed)
        self.start = clock.now
        self.patience_s = max(PATIENCE_S, PATIENCE_TICKS * tick_s)
        self.dials_per_tick = max(1, round(dials_per_hour * tick_s / 3600))
        self.hurry_at: datetime | None = None
        self.dnc = MemoryDoNotCall()
        group = config.campaign_groups[0]
        self.model = Model(
            self.start,
            {entry.dbid: config.treatments_of(entry) for entry in config.calling_lists},
            predictive_callback=bool(group.options["predictive_callback"]),
        )
        self.watch = Watch(self.model, tables, clock.utc)
        self.store = WatchedStore(tables.store, self.watch)
        self.world = RecordRun(config, group, self.store, self.dnc, clock, WatchedSupply)
        self.supply: WatchedSupply = self.world.supply
        self.supply.start_watching(self.watch, self.store)
        self.action_of = {t.dbid: t.record_action for t in config.treatments}
        self.figures = Figures(self.start, records, counts=self.watch.counts)
        self.open: list[tuple[float, int, Dial]] = []
        self.free_since_s = self.start.timestamp()
        self._looked_s = 0.0
        self._stretch: Counter = Counter()
        rows = list(new_rows(records, self.random, self.start))
        tables.load(rows)
        for row in rows:
            self.model.add(row)
        self._all_rows = list(self.model.rows.values())

    async def run(self, days: float, tell: Callable[[str], None] = lambda _: None) -> Figures:
        began = time.monotonic()
        end = self.start + timedelta(days=days)
        self.hurry_at = end - timedelta(days=days * HURRY_PART)
        look_at = self.start
        while self.clock.now < end:
            if look := self.clock.now >= look_at:
                look_at += timedelta(seconds=LOOK_EVERY_S)
            await self._tick(look)
            if (self.clock.now - self.start).total_seconds() % 86_400 < self.tick_s:
                tell(f"{self.clock.now}: {sum(self.figures.dials.values())} dials, {time.monotonic() - began:.0f} s")
            self.clock.pass_s(self.tick_s)
        self._look_for_forgotten()
        while self.open:
            await self._end_first()
        self._close_stretch()
        await self.world.unload()
        self._compare_everything()
        self.figures.wall_s = time.monotonic() - began
        return self.figures

    async def _tick(self, look: bool) -> None:
        tick = self.clock.now
        if self.random.random() < UNLOADS_PER_DAY * self.tick_s / 86_400:
            await self.world.unload()
            self._close_stretch()
        self.watch.whole_claims = look
        self.store.short.clear()
        for _ in range(REFILLS_PER_TICK):
            self.store.full = False
            await self.world.refill(AGENTS)
            self.watch.whole_claims = False
            if not self.store.full or self.supply.buffered >= self.world.group.min_rec_buff_size * AGENTS:
                break
        if not (more := self.store.full) and self.supply.buffered < self.world.group.min_rec_buff_size * AGENTS:
            assert self.store.short >= SHARES.keys(), f"not asked for more: {SHARES.keys() - self.store.short}"
        self.watch.whole_claims = look
        await self._deliver_callbacks()
        self.watch.whole_claims = False
        await self._withdraw_some()
        waiting = Counter(chain.list_dbid for chain in self.supply.waiting())
        self.supply.turns.clear()
        hurry = self.hurry_at is not None and tick >= self.hurry_at
        dials = await self.world.dial(self.dials_per_tick * (2 if hurry else 1))
        for dial in dials:
            self._check_dial(dial)
            end_s = tick.timestamp() + self.random.uniform(5, 3 * self.tick_s)
            self.open.append((end_s, dial.attempt_id, dial))
        if all(waiting[dbid] > self.supply.turns[dbid] for dbid in SHARES):
            self._stretch += self.supply.turns
        else:
            self._close_stretch()
        if more or self.supply.got == self.supply.asked:
            self.free_since_s = tick.timestamp() + self.tick_s
        else:
            self.figures.counts["ticks with free capacity"] += 1
        self.figures.counts["ticks"] += 1
        free = self.free_since_s <= tick.timestamp() - self.patience_s
        if look or (free and tick.timestamp() - self._looked_s >= LOOK_WHEN_FREE_S):
            self._look_for_forgotten()
        self.open.sort(key=lambda entry: entry[:2])
        while self.open and self.open[0][0] < tick.timestamp() + self.tick_s:
            await self._end_first()
        self.clock.now = tick

    # --- checks ---------------------------------------------------------------------------------------------------

    def _check_dial(self, dial: Dial) -> None:
        """Whatever it is dialed by: it may be, now, and of its chain it is the one whose turn it is."""
        at_s = dial.at.timestamp()
        row, record_type = self._check_turn(dial.chain, at_s)
        what = f"{row} at {dial.at}"
        assert record_type not in self.model.delivered, f"it goes to a desktop: {what}"
        assert row.chain.calling is None, f"already on the line: {what}"
        row.chain.calling = row.record_id
        self.figures.dials[row.list_dbid] += 1
        self.figures.by_hour[row.list_dbid][int(at_s - self.start.timestamp()) // 3600] += 1

    def _check_turn(self, chain: Chain, at_s: float) -> tuple[Row, int]:
        row = self.model.rows[chain.list_dbid, chain.record.record_id]
        assert row.chain.claimed, f"not claimed: {row}"
        reason = self.model.why_not(row, at_s, with_caps=False)  # the attempt's own look at the caps is watched
        assert reason is None, f"{reason} forbids {row} at {at_s}"
        first = next(each for each in row.chain.candidates() if self.model.why_not(each, at_s, with_caps=False) is None)
        assert row is first, f"{row} was dialed at {at_s}, not {first}"
        if row.record_type != GENERAL and row.dial_sched_time is not None:
            self.figures.late_s.append(at_s - row.dial_sched_time)
        return row, row.record_type

    def _close_stretch(self) -> None:
        """Chains that a gate refuses at the last moment have had their turn too."""
        if self._stretch.total() >= 20:
            self.figures.shares_seen.append(tuple(self._stretch[dbid] for dbid in SHARES))
            whole, weight = self._stretch.total(), sum(SHARES.values())
            for dbid, share in SHARES.items():
                # Never further than one chain from the share, wherever a stretch begins and ends.
                assert abs(self._stretch[dbid] - whole * share / weight) < 2, f"{share} of {whole}: {self._stretch}"
        self._stretch = Counter()

    def _look_for_forgotten(self) -> None:
        now_s = self._looked_s = self.clock.now.timestamp()
        for row, why in self.model.forgotten(now_s, self.free_since_s, self.patience_s):
            raise AssertionError(f"at {self.clock.now}: {why}: {row}")
        self.figures.counts["looks for forgotten chains"] += 1
        self.figures.counts["of them with free capacity"] += self.free_since_s <= now_s - self.patience_s

    def _compare_everything(self) -> None:
        for chain in self.model.chains.values():
            chain.claimed = False
        assert self.tables.claims() == 0
        for list_dbid in SHARES:
            wanted = {row.record_id: row.values() for row in self._all_rows if row.list_dbid == list_dbid}
            found = self.tables.all(list_dbid)
            for record_id in wanted.keys() | found.keys():
                assert found.get(record_id) == wanted.get(record_id), f"in the end: {list_dbid}/{record_id}"

    # --- what happens in a week -----------------------------------------------------------------------------------

    async def _end_first(self) -> None:
        at_s, _, dial = self.open.pop(0)
        self.clock.now = datetime.fromtimestamp(at_s, UTC)
        now_s = self.clock.now.timestamp()
        row = self.model.rows[dial.record.list_dbid, dial.record.record_id]
        result, ending = self._outcome(row, now_s)
        self._expect(row, dial, result, ending, now_s)
        decision = await self.world.end(dial, result, **ending)
        kept = row.chain.claimed and row.status == LIVE
        assert decision.change.keep_claim == kept, f"kept in memory: {decision}, not {kept} of {row}"
        self.watch.compare(row.chain, f"after {R(result).name} of {row.record_id}, {ending}")
        self.figures.results[result] += 1
        self.figures.counts["kept in memory"] += decision.change.keep_claim

    def _outcome(self, row: Row, now_s: float) -> tuple[int, dict]:
        """A call result, and the further arguments of `Ending`."""
        pick = self.random
        everybody = {"result_for_all": self.world.planner.result_for_all(row.list_dbid)}
        if (what := pick.random()) < 0.005:
            return int(R.ALL_TRUNKS_BUSY), {"record_status": RecordStatus.READY, "counted": False}
        if what < 0.01:
            return int(R.STALE), {"record_status": RecordStatus.STALE}
        result = int(pick.choices(list(OUTCOMES), weights=list(OUTCOMES.values()))[0])
        if result != R.ANSWER:
            return result, everybody
        ending = {"handled": True, "agent_id": pick.choice(("ada", "grace"))} | everybody
        if (what := pick.random()) < 0.2:
            kind = pick.choice((RecordType.PERSONAL_CALLBACK, RecordType.CAMPAIGN_CALLBACK))
            due_s = int(now_s) + pick.randrange(600, pick.choice((7200, 3 * 86_400)))
            if (free_s := self.model.calls.refused_until_s(row, now_s)) is not None and pick.random() < 0.9:
                due_s = free_s - pick.randrange(300) - int(self.tick_s)  # found due a moment before a cap lets go
            ending["callback"] = (kind, datetime.fromtimestamp(due_s, UTC))
        elif what < 0.4:
            result = int(R.WRONG_PARTY)
            ending["treatment"] = pick.choice(("campaign", "personal"))
        return result, ending

    def _expect(self, row: Row, dial: Dial, result: int, ending: dict, now_s: float) -> None:
        """Carry the end of a call over to the model, before it happens to the rows."""
        model, chain, agent = self.model, row.chain, ending.get("agent_id")
        chain.calling, chain.claimed = None, False
        if ending.get("counted", True):
            row.attempt += 1
        else:
            model.calls.never_left(row, dial.at.timestamp(), dial.attempt_id)
        row.agent_id = agent or row.agent_id
        if row.status != LIVE:
            # Whoever withdrew it may have told the attempt, or not. The rest of its chain goes back as it was.
            ending["withdrawn"] = self.random.random() < 0.5
            chain.since_s = now_s
            self.figures.counts["calls whose record was withdrawn meanwhile"] += 1
            return
        row.call_result = result
        everybody = result if ending.get("result_for_all") else None
        if ending.get("record_status") is RecordStatus.READY:
            chain.since_s = now_s
        elif ending.get("record_status") is RecordStatus.STALE:
            model.end(row, STALE, rest=STALE)
        elif "callback" in ending:
            kind, due = ending["callback"]
            asked_s = int(due.timestamp())
            due_s = model.clocks.opens_s(row, asked_s)
            self.figures.counts["callbacks asked for"] += 1
            self.figures.counts["callbacks asked for outside the window"] += due_s != asked_s
            model.go_on(
                chain, int(kind), asked_s if due_s is None else due_s, f"0@0@{row.chain_n}@1", row.record_id, now_s
            )
        elif ending.get("handled") and "treatment" not in ending:
            model.end(row, UPDATED, everybody)
        else:
            told = model.treat(
                row, result, now_s, result_for_all=everybody is not None, by_agent="treatment" in ending,
                agent_id=agent if ending.get("treatment") == "personal" else None,
            )  # fmt: skip
            self._count(told)
            kept = told.place is not None and told.treatment and told.record_type not in model.delivered
            chain.claimed = bool(kept) and told.at_s - now_s <= KEPT_S
        if agent is not None and row.status == LIVE and row.record_type in (PERSONAL_CALLBACK, PERSONAL_RESCHEDULED):
            for each in chain.live:
                each.agent_id = agent

    def _count(self, told) -> None:
        self.figures.treatments[self.action_of.get(told.treatment, "none")] += 1
        for effect in told.effects:
            self.figures.treatments[self.action_of[effect]] += 1

    async def _deliver_callbacks(self) -> None:
        for chain in await self.supply.callbacks():
            now_s = self.clock.now.timestamp()
            row, kind = self._check_turn(chain, now_s)
            assert kind in self.model.delivered, f"it is to be dialed: {row}"
            assert self.model.calls.refused_until_s(row, now_s) is None, f"over its cap: {row}"
            assert kind not in (PERSONAL_CALLBACK, PERSONAL_RESCHEDULED) or row.agent_id, f"of nobody: {row}"
            what = self.random.random()
            if what < 0.5:  # the agent is there, and closes it
                name, row.agent_id, row.call_result = "kept", "ada", int(R.ANSWER)
                self.model.end(row, UPDATED)
                change = ChainChange(RecordStatus.UPDATED, RecordType(kind))
                await self._settle(chain, change, call_result=int(R.ANSWER), agent_id="ada")
            elif what < 0.6:
                name = "refused"
                self.model.go_on(row.chain, GENERAL, None, None, None, now_s)
                await self._settle(chain, reject_change())
            else:
                name = "missed"
                result = int(
                    R.AGENT_CALLBACK_ERROR
                    if kind in (PERSONAL_CALLBACK, PERSONAL_RESCHEDULED)
                    else R.GROUP_CALLBACK_ERROR
                )
                self._count(self.model.treat(row, result, now_s))
                await self.world.miss(chain, result)
            self.watch.compare(row.chain, f"callback {name}")
            self.figures.counts[f"delivered and {name}: {RecordType(kind).name}"] += 1

    async def _settle(self, chain: Chain, change: ChainChange, **more) -> None:
        settlement = ChainSettlement(*chain.key, chain.record.record_id, change, "on the desktop", **more)
        assert await self.world.store.settle_chain(settlement)

    async def _withdraw_some(self) -> None:
        """Not to be called, or cancelled: a number, a customer, one record or its chain; often during its call."""
        pick = self.random
        if pick.random() > WITHDRAWALS_PER_HOUR * self.tick_s / 3600:
            return
        row = pick.choice(self._all_rows)
        if self.open and pick.random() < 0.5:
            dial = pick.choice(self.open)[2]
            row = self.model.rows[dial.record.list_dbid, dial.record.record_id]
            if pick.random() < 0.5:
                row = pick.choice(row.chain.rows)
        withdrawal, all_chain = pick.choice(list(Withdrawal)), pick.random() < 0.5
        selector = Selector(phone=row.contact_info, all_chain=all_chain)
        if row.customer is not None and pick.random() < 0.3:
            selector = Selector(customer_id=row.customer, all_chain=all_chain)
        elif pick.random() < 0.3:
            selector = Selector(record=(row.list_dbid, row.record_id), all_chain=all_chain)
        if withdrawal is Withdrawal.DO_NOT_CALL and selector.record is None:
            self.model.forbidden.add(selector.phone or selector.customer_id or "")
            await self.dnc.add([DncEntry(1, selector.phone, selector.customer_id, self.clock.now)])
            if pick.random() < 0.3:
                self.figures.counts["put on Do-Not-Call without a word"] += 1
                return  # by a registry, say: the gates must find it
        rows = await self.store.withdraw(list(SHARES), selector, withdrawal)
        await self.store.give_back(self.supply.forget(rows))


def options_of(records: int) -> dict:
    """A rate at which capacity is short for days."""
    return {"records": records, "dials_per_hour": max(30, round(records / 110)), "tick_s": 60.0}


async def week_in_memory(number: int, *, days: float = 7.0, seed: int = 3, tell=lambda _: None, **options) -> Figures:
    """Week 0 delivers campaign callbacks to desktops, week 1 dials them."""
    config, clock = configuration(predictive_callback=bool(number % 2)), VirtualClock(WEEKS[number])
    return await Weeks(config, MemoryTables(config, clock.utc), clock, seed=seed + number, **options).run(days, tell)


async def week_on_postgres(
    number: int, dsn: str, *, days: float, seed: int = 3, skip_days: float = 0.0, tell=lambda _: None, **options
) -> Figures:
    """``skip_days``: begin so much later, nearer to the change of the clocks."""
    config = configuration(dsn, predictive_callback=bool(number % 2))
    clock = VirtualClock(WEEKS[number] + timedelta(days=skip_days))
    figures: Figures | None = None
    async with postgres_tables(config) as tables:
        figures = await Weeks(config, tables, clock, seed=seed + number, **options).run(days, tell)
    assert figures is not None
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=100_000, help="records in the three lists together")
    parser.add_argument("--days", type=float, default=7.0, help="of each week")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--dials-per-hour", type=int, default=0, help="0: as many as fit the number of records")
    parser.add_argument("--tick", type=float, default=0.0, help="seconds between two looks of the daemon")
    parser.add_argument("--postgres", action="store_true", help="on a real server, in a temporary folder")
    parser.add_argument("--plot", type=Path, help="SVG file: dials per hour around the changes of the clocks")
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    options = options_of(given.records)
    options |= {"dials_per_hour": given.dials_per_hour} if given.dials_per_hour else {}
    options |= {"tick_s": given.tick} if given.tick else {}
    options |= {"days": given.days, "seed": given.seed, "tell": lambda text: print(text, file=sys.stderr)}
    gc.set_threshold(200_000, 20, 100)  # a million objects stay, and next to none is garbage
    found: list[Figures] = []

    async def both(server: TemporaryServer | None) -> None:
        for number in range(len(WEEKS)):
            if server is None:
                found.append(await week_in_memory(number, **options))
            else:
                skip = max(0.0, min(2.5, 7.0 - given.days))
                found.append(await week_on_postgres(number, server.database(), skip_days=skip, **options))

    if given.postgres:
        with TemporaryServer() as server:
            trio.run(both, server)
    else:
        trio.run(both, None)
    print(report(found))
    print(f"load average {os.getloadavg()}, {os.cpu_count()} cores")
    if given.plot is not None:
        given.plot.write_text(svg(found))


if __name__ == "__main__":
    main()
