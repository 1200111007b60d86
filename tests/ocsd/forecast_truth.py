"""
A forecast beside what then happened: the records engine in virtual time, with the same capacity and mix of results.

The engine (`RecordRun`) claims, sifts, buffers, counts caps and settles as a session does, on the memory store; the
forecast sees the list as it is before, on a sample of its chains. Neither knows the other's random numbers.

    python -m tests.ocsd.forecast_truth --chains 20000 --sample 5000 --plot docs/forecast.svg
"""

import argparse
import heapq
import logging
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
import trio

from ocsd.config.objects import (
    AgentGroup,
    AttemptCap,
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
from ocsd.explain.forecast import HOUR_S, MILESTONES, Fate, Forecast, Sampler
from ocsd.explain.listed import ListedChain
from ocsd.explain.preflight import forbidden_records
from ocsd.lists.caps import Caps
from ocsd.lists.memory import MemoryDatabase, MemoryListStore
from ocsd.model.enums import CallResult, RecordAction, RecordType
from ocsd.model.records import Chain
from ocsd.sessions.forecasting import Mix, Question, cluster_key, mix_of, run
from ocsd.sessions.planner import Planner
from tests.ocsd.record_run import RecordRun, VirtualClock

LIST = 301
START = datetime(2026, 3, 2, 13, 30, tzinfo=UTC)
"""Monday, 08:30 in New York; the clocks change on the Sunday after."""
TICK_S = 60.0
R, A = CallResult, RecordAction

ZONES = {"America/New_York": 47, "America/Chicago": 29, "America/Denver": 7, "America/Los_Angeles": 17}
WINDOWS = ((32_400, 61_200), (32_400, 61_200), (36_000, 72_000), (61_200, 75_600))
"""By day, by day, longer, in the evening only."""
MAX_ATTEMPTS = 6

TREATMENTS = (
    (R.BUSY, A.REDIAL, {"cycle_attempts": 3, "interval_min": 10, "increment_min": 10}),
    (R.BUSY, A.RETRY_IN, {"interval_min": 240}),
    (R.NO_ANSWER, A.NEXT_IN_CHAIN, {"cycle_attempts": 2, "interval_min": 180}),
    (R.NO_ANSWER, A.RETRY_IN, {"interval_min": 20 * 60}),
    (R.ANSWERING_MACHINE, A.RETRY_IN, {"interval_min": 300, "increment_min": 120}),
    (R.ABANDONED, A.RETRY_IN, {"interval_min": 72 * 60}),
    (R.DROPPED, A.RETRY_IN, {"interval_min": 24 * 60}),
    (R.SIT_INVALID_NUM, A.NEXT_IN_CHAIN, {"cycle_attempts": 1}),
)
SHARES = {
    R.NO_ANSWER: 44.0, R.ANSWERING_MACHINE: 25.0, R.ANSWER: 20.0, R.BUSY: 6.0, R.SIT_INVALID_NUM: 3.0,
    R.ABANDONED: 1.0, R.DROPPED: 1.0,
}  # fmt: skip


def configuration() -> Configuration:
    """Four zones, legal hours, a cap by number and one by customer, chains that go on for days."""
    treatments = tuple(
        Treatment(
            dbid=n, name=f"{n} {result.name} {action.name}", call_result=result, number=n, record_action=action, **more
        )
        for n, (result, action, more) in enumerate(TREATMENTS, 1)
    )  # fmt: skip
    return Configuration(
        tenants=(Tenant(dbid=1, name="T"),),
        trunks=(Trunk(dbid=21, name="trunk", tenant="T", host="127.0.0.1"),),
        time_zones=tuple(TimeZoneObject(dbid=30 + n, name=zone, zone=zone) for n, zone in enumerate(ZONES)),
        agent_groups=(AgentGroup(dbid=51, name="G", agents=("ada",)),),
        formats=(Format(dbid=201, name="F", fields=(FormatField(name="customer", length=20),)),),
        table_accesses=(TableAccess(dbid=211, name="Table", table="customers", format="F"),),
        treatments=treatments,
        attempt_caps=(
            AttemptCap(dbid=71, name="number", max_attempts=2, period_h=24),
            AttemptCap(dbid=72, name="customer", max_attempts=3, period_h=24, per="customer_id"),
        ),
        calling_lists=(
            CallingList(
                dbid=LIST, name="Customers", table_access="Table", time_zone="America/New_York",
                max_attempts=MAX_ATTEMPTS, treatments=tuple(t.name for t in treatments),
                attempt_caps=("number", "customer"), calling_hours=("us-federal",), customer_id_field="customer",
            ),
        ),
        campaigns=(
            Campaign(dbid=401, name="C", tenant="T", lists=(CampaignList(calling_list="Customers"),)),
        ),
        campaign_groups=(
            CampaignGroup(
                dbid=501, name="C@G", campaign="C", group="G", trunks=("trunk",), min_rec_buff_size=4,
                opt_rec_buff_size=6,
            ),
        ),
    )  # fmt: skip


def fill(database: MemoryDatabase, chains: int, pick: random.Random) -> list[str]:
    """Chains of one or two numbers; some are due later, some have been dialed before. Some numbers to be forbidden."""
    zones = list(ZONES)
    forbidden = []
    for chain_id in range(1, chains + 1):
        zone = zones.index(pick.choices(zones, list(ZONES.values()))[0])
        daily_from, daily_till = pick.choice(WINDOWS)
        due = int(START.timestamp()) + pick.randrange(4 * 86_400) if pick.random() < 0.05 else None
        tried = pick.choice((1, 2, MAX_ATTEMPTS)) if pick.random() < 0.06 else 0
        # A customer in ten has several chains.
        customer = pick.randrange(chains // 20 + 1) if pick.random() < 0.1 else 10**9 + chain_id
        for chain_n in range(pick.choice((1, 1, 2))):
            phone = f"+1{2_000_000_000 + 2 * chain_id + chain_n}"
            database.add_record(
                LIST, contact_info=phone, chain_id=chain_id, chain_n=chain_n, tz_dbid=30 + zone, daily_from=daily_from,
                daily_till=daily_till, customer=f"C{customer}", dial_sched_time=due, attempt=tried,
                record_type=RecordType.GENERAL if due is None else RecordType.CAMPAIGN_RESCHEDULED,
            )  # fmt: skip
            if pick.random() < 0.02:
                forbidden.append(phone)
    return forbidden


@dataclass
class Happened:
    """What the engine did."""

    dials_by_hour: Counter = field(default_factory=Counter)
    finished_s: list[float] = field(default_factory=list)
    fates: Counter = field(default_factory=Counter)
    left: int = 0
    wall_s: float = 0.0

    @property
    def dials(self) -> int:
        return self.dials_by_hour.total()

    @property
    def end_s(self) -> float:
        return max(self.finished_s)

    def share_s(self, share: float) -> float:
        return sorted(self.finished_s)[-(-int(share * 1e6) * len(self.finished_s) // 10**6) - 1]


@dataclass
class Truth:
    """A list, its forecast, and what then happened."""

    chains: int
    dials_per_hour: float
    forecast: Forecast
    happened: Happened
    forecast_s: float


class World:
    def __init__(self, chains: int, seed: int) -> None:
        self.config, self.clock, self.seed = configuration(), VirtualClock(START), seed
        self.database = MemoryDatabase(self.config, now=self.clock.utc)
        self.dnc = MemoryDoNotCall()
        self.forbidden = fill(self.database, chains, random.Random(seed))
        self.calling_list = self.config.calling_lists[0]

    async def forbid(self) -> None:
        await self.dnc.add([DncEntry(1, phone, None, START) for phone in self.forbidden])

    def forecast(self, question: Question) -> Forecast:
        planner, caps = Planner(self.config, self.config.campaign_groups[0]), Caps(self.config)
        key = cluster_key(self.calling_list, caps)
        chains: dict[int, list] = {}
        for row in self.database.rows(LIST).values():
            chains.setdefault(row.record.chain_id, []).append(row.record)
        sampler = Sampler(question.sample, len(chains), question.seed)
        for chain_id, rows in chains.items():
            listed = ListedChain(Chain(LIST, chain_id, tuple(rows)), rank=rows[0].record_id)
            sampler.add(listed, key(listed.chain))
        sample = sampler.sample()
        records = [record for listed in sample.chains for record in listed.chain.records]
        gone = forbidden_records(self.config, self.calling_list, planner.campaign, self.dnc, START, records)
        return run(planner, caps, self.calling_list, sample, len(chains), gone.keys(), (), question)

    async def happen(self, mix: Mix, dials_per_hour: float, until: datetime, tick_s: float = TICK_S) -> Happened:
        """The engine, tick by tick, until nothing is left or ``until``."""
        began, found, pick = time.monotonic(), Happened(), random.Random(f"engine {self.seed}")
        world = RecordRun(
            self.config, self.config.campaign_groups[0], MemoryListStore(self.database), self.dnc, self.clock
        )
        weights = [outcome.share for outcome in mix.outcomes]
        per_tick, owed = dials_per_hour * tick_s / HOUR_S, 0.0
        agents = max(1, round(per_tick))
        calls: list = []
        number, quiet = 0, 0
        while self.clock.now < until:
            tick = self.clock.now
            await world.refill(agents)
            owed = min(owed + per_tick, per_tick + 1)
            dials = await world.dial(int(owed))
            owed -= len(dials)
            found.dials_by_hour[int((tick - START).total_seconds()) // HOUR_S] += len(dials)
            for dial in dials:
                outcome = pick.choices(mix.outcomes, weights)[0]
                number += 1
                heapq.heappush(calls, (tick.timestamp() + outcome.lasts_s, number, dial, outcome))
            while calls and calls[0][0] < tick.timestamp() + tick_s:
                end_s, _, dial, outcome = heapq.heappop(calls)
                self.clock.now = datetime.fromtimestamp(end_s, UTC)
                more = {"handled": True, "agent_id": "ada", "answered_s": 1.0} if outcome.handled else {}
                decision = await world.end(dial, outcome.call_result, **more)
                if not decision.change.goes_on:
                    found.finished_s.append(end_s)
                    found.fates[Fate.REACHED if outcome.handled else Fate.DONE] += 1
            self.clock.now = tick + timedelta(seconds=tick_s)
            # Days without anything: what is left will never be dialed.
            quiet = 0 if dials or calls else quiet + 1
            if quiet * tick_s > 6 * 86_400:
                break
        await world.unload()
        ready = {
            row.record.chain_id
            for row in self.database.rows(LIST).values()
            if row.record_status == 1 and row.record.attempt < MAX_ATTEMPTS
        }
        found.left, found.wall_s = len(ready), time.monotonic() - began
        return found


async def compare(
    chains: int, *, sample: int, days: float = 5.0, seed: int = 5, runs: int = 5, tick_s: float = TICK_S
) -> Truth:
    """``days``: about how long the pace needs for the list, were windows always open."""
    world = World(chains, seed)
    await world.forbid()
    dials_per_hour = chains * 2.6 / (days * 9)
    mix = mix_of(SHARES, no_answer_s=25.0, handle_s=180.0, source="the truth's own")
    until = START + timedelta(days=40)
    began = time.monotonic()
    told = world.forecast(Question(dials_per_hour, mix, START, until, seed=seed, runs=runs, sample=sample))
    forecast_s = time.monotonic() - began
    happened = await world.happen(mix, dials_per_hour, until, tick_s)
    return Truth(chains, dials_per_hour, told, happened, forecast_s)


def report(truth: Truth) -> str:
    told, happened = truth.forecast, truth.happened
    lines = [
        f"{truth.chains} chains, {truth.dials_per_hour:.0f} dials an hour from {START:%a %Y-%m-%d %H:%M} UTC; "
        f"{100 * told.part:.0f} % of them forecast in {truth.forecast_s:.1f} s, engine {happened.wall_s:.1f} s",
        _line("", "forecast", "range", "happened", "error"),
    ]

    def when(name: str, spread, at_s: float) -> None:
        if spread is None:
            lines.append(_line(name, "-", "", _clock(at_s), ""))
            return
        lines.append(
            _line(
                name, _clock(spread.middle), f"{_clock(spread.low)} .. {_clock(spread.high)}", _clock(at_s),
                f"{(spread.middle - at_s) / HOUR_S:+.1f} h, "
                f"{100 * (spread.middle - at_s) / (at_s - told.start_s):+.1f} %",
            )
        )  # fmt: skip

    for share in MILESTONES:
        when(f"{100 * share:.0f} % finished", told.milestones[share], happened.share_s(share))
    when("end", told.end_s, happened.end_s)
    lines.append(
        _line(
            "dials", f"{told.dials.middle:.0f}", f"{told.dials.low:.0f} .. {told.dials.high:.0f}", str(happened.dials),
            f"{100 * (told.dials.middle / happened.dials - 1):+.1f} %",
        )
    )  # fmt: skip
    rows = (
        ("chains an agent had", told.total(Fate.REACHED), happened.fates[Fate.REACHED]),
        ("chains finished otherwise", told.total(Fate.DONE) + ended_used_up(told), happened.fates[Fate.DONE]),
    )
    for name, forecast, truth_ in rows:
        error = f"{100 * (forecast / truth_ - 1):+.1f} %" if truth_ else ""
        lines.append(_line(name, f"{forecast:.0f}", "", str(truth_), error))
    lines += [f"  idle, {waits.value}: {hours:.1f} h" for waits, hours in told.idle_h.items()]
    return "\n".join(lines)


def ended_used_up(told: Forecast) -> float:
    """Chains whose last attempt was made in the forecast; those that had none left before were never dialed."""
    return sum(run[-1] for run in told.finished_by_hour) / len(told.finished_by_hour) - sum(
        told.total(fate) for fate in (Fate.REACHED, Fate.DONE)
    )


def _clock(at_s: float) -> str:
    return f"{datetime.fromtimestamp(at_s, UTC):%d %b %H:%M}"


def _line(*cells: str) -> str:
    return "".join(f"{cell:<{width}}" for cell, width in zip(cells, (28, 16, 32, 16, 20), strict=True)).rstrip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chains", type=int, default=20_000)
    parser.add_argument("--sample", type=int, default=5000, help="chains that the forecast looks at")
    parser.add_argument("--days", type=float, default=5.0, help="about how long the list takes")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--plot", type=Path, help="SVG file: forecast and truth, hour by hour")
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))

    async def both() -> Truth:
        return await compare(given.chains, sample=given.sample, days=given.days, seed=given.seed, runs=given.runs)

    truth = trio.run(both)
    print(report(truth))
    if given.plot is not None:
        from ocsd.explain.plotting import plot

        plot(
            truth.forecast, given.plot,
            happened=(truth.happened.finished_s, truth.happened.dials_by_hour),
        )  # fmt: skip


if __name__ == "__main__":
    main()
