"""Treatments and results: decisions of the pure engine, and what the journal and the lists take per second.

Usage: ``python -m bench.results --rows 1000000``

Of twenty results ten go on: five busy (redialed later), three without an answer (the next number of the chain at once,
so that the chain stays in memory, or the first one later), two machines (an HTTP request, then later again); ten end,
one of them a fax machine with an SQL statement. Decisions are made as a session makes them (`ocsd.sessions.settling`),
with windows in the records' zones; attempts and results go through the store into PostgreSQL.

All is measured without attempt caps and with two of them (3 calls to a number in a day, 7 to a customer in a week) over
a journal that tells of earlier calls to a third of the people.
"""

import argparse
import json
import os
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import psycopg
import trio

from bench.record_table import (
    CAMPAIGN,
    GROUP,
    LIST,
    NOON,
    CpuMeter,
    Site,
    configuration,
    machine_cpu_ms,
    percentiles,
    site,
    stop_on_sigterm,
)
from ocsd.config.objects import AttemptCap, Treatment
from ocsd.lists.postgres import PostgresListStore, open_store
from ocsd.model.enums import CallResult, RecordAction, RecordStatus, RecordType
from ocsd.model.records import (
    AttemptTimes,
    CallingRecord,
    Chain,
    ChainSettlement,
    FinishedAttempt,
    NewAttempt,
    Refusal,
)
from ocsd.sessions.planner import Planner
from ocsd.sessions.settling import Ending, as_it_was, kept_in_memory, settle
from ocsd.treatments.contract import Decision

Item = TypeVar("Item")

TREATMENTS: Final = (
    Treatment(
        dbid=11,
        name="Busy",
        call_result=CallResult.BUSY,
        record_action=RecordAction.REDIAL,
        cycle_attempts=3,
        interval_min=30,
        increment_min=10,
    ),
    Treatment(dbid=12, name="Still busy", number=2, call_result=CallResult.BUSY, record_action=RecordAction.RESCHEDULE),
    Treatment(
        dbid=13,
        name="No answer",
        call_result=CallResult.NO_ANSWER,
        record_action=RecordAction.NEXT_IN_CHAIN,
        cycle_attempts=2,
        interval_min=120,
    ),
    Treatment(
        dbid=14,
        name="Machine, told",
        call_result=CallResult.ANSWERING_MACHINE,
        record_action=RecordAction.SEND_HTTP,
        url="http://127.0.0.1:9/machine",
    ),
    Treatment(
        dbid=15,
        name="Machine, later",
        number=2,
        call_result=CallResult.ANSWERING_MACHINE,
        record_action=RecordAction.RETRY_IN,
        interval_min=240,
    ),
    Treatment(
        dbid=16,
        name="Fax, noted",
        call_result=CallResult.FAX,
        record_action=RecordAction.EXECUTE_SQL,
        sql="UPDATE bench_records SET customer_name = 'Fax machine' WHERE record_id = %(record_id)s",
    ),
    Treatment(dbid=17, name="Fax", number=2, call_result=CallResult.FAX, record_action=RecordAction.UPDATE_ALL),
)
CAPS: Final = (
    AttemptCap(dbid=1, name="Number, day", max_attempts=3, period_h=24),
    AttemptCap(dbid=2, name="Customer, week", max_attempts=7, period_h=168, per="customer_id"),
)

_BUSY, _ANSWER, _NONE = CallResult.BUSY, CallResult.ANSWER, CallResult.NO_ANSWER
_MACHINE, _FAX = CallResult.ANSWERING_MACHINE, CallResult.FAX
RESULTS: Final = (
    _ANSWER, _BUSY, _ANSWER, _NONE, _ANSWER, _BUSY, _ANSWER, _MACHINE, _ANSWER, _BUSY,
    _ANSWER, _NONE, _FAX, _BUSY, _ANSWER, _MACHINE, _ANSWER, _BUSY, _ANSWER, _NONE,
)  # fmt: skip

RESULTS_PER_S: Final = 200.0
TASKS: Final = 200
"""Attempts under way at a time when it goes as fast as it can."""

PORTION: Final = 500
LOW_MARK: Final = 1000
WARM_UP_S: Final = 2.0

_PAST: Final = """
INSERT INTO ocsd.attempt (attempt_id, guid, owner, table_name, list_dbid, record_id, chain_id, campaign_dbid,
  campaign_group_dbid, phone, customer_id, leg_id, started_at, dialing_at, finished_at, call_result, counted)
SELECT nextval('ocsd.attempt_id'), 'past', 'past', 'bench_records', %(list)s, record_id, chain_id, %(campaign)s,
  %(group)s, contact_info, customer_no, 'past', at, at, at, 6, true
FROM bench_records
CROSS JOIN LATERAL generate_series(1, (%(calls)s::int[])[1 + chain_id %% 20]) AS k
CROSS JOIN LATERAL (SELECT %(noon)s::timestamptz - make_interval(mins => 60 * k + chain_id %% 60) AS at) AS a
"""
PAST_CALLS: Final = [3] + 6 * [1] + 13 * [0]
"""Of twenty people; one has been called as often as a day allows."""


def decided(planner: Planner, chain: Chain, result: CallResult) -> Decision:
    """What a session decides about a call that was dialed at noon."""
    ending = Ending(call_result=int(result), record_status=RecordStatus.UPDATED, handled=result is CallResult.ANSWER)
    return kept_in_memory(planner, settle(planner, chain, chain.record, ending, {}, NOON), LIST, NOON)


def afterwards(chain: Chain, decision: Decision) -> Chain:
    """A chain that goes on, as its rows say then."""
    change = decision.change
    records = tuple(
        replace(
            row,
            attempt=row.attempt + (row.record_id == chain.record.record_id),
            record_type=change.record_type
            if row.record_id == chain.record.record_id
            else change.sibling_type or row.record_type,
            dial_sched_time=change.dial_sched_time,
            treatments=change.treatments,
        )
        for row in chain.records
    )
    position = next(place for place, row in enumerate(records) if row.record_id == decision.next_record_id)
    return replace(chain, records=records, position=position)


# -- the engine alone ------------------------------------------------------------------------------------------------


def measure_engine(decisions: int) -> dict[str, Any]:
    """Decisions about chains of one to three records in twelve zones, each told on until it ends."""
    config = configuration("", TREATMENTS)
    planner = Planner(config, config.campaign_groups[0])
    spent_us: list[float] = []
    went_on = chain_id = 0
    chain: Chain | None = None
    while len(spent_us) < decisions:
        if chain is None:
            chain_id += 1
            chain = made_up(chain_id)
        began_ns = time.thread_time_ns()
        decision = decided(planner, chain, RESULTS[len(spent_us) % len(RESULTS)])
        spent_us.append((time.thread_time_ns() - began_ns) / 1000)
        went_on += decision.change.goes_on
        chain = afterwards(chain, decision) if decision.change.goes_on else None
    return {
        "decisions": decisions,
        "went_on_ratio": round(went_on / decisions, 3),
        "decisions_per_cpu_s": round(decisions / (sum(spent_us) / 1e6)),
        "decision_cpu_us": percentiles(spent_us),
    }


def made_up(chain_id: int) -> Chain:
    records = tuple(
        CallingRecord(
            list_dbid=LIST,
            record_id=chain_id * 3 + chain_n,
            contact_info=f"+1212{chain_id:07d}",
            contact_info_type=0,
            record_type=RecordType.GENERAL,
            call_result=int(CallResult.UNKNOWN),
            attempt=0,
            dial_sched_time=None,
            call_time=None,
            daily_from_s=28_800 if chain_id % 2 else 32_400,
            daily_till_s=72_000 if chain_id % 2 else 64_800,
            tz_dbid=1 + (chain_id + chain_n) % 12,
            chain_id=chain_id,
            chain_n=chain_n,
            user_fields={"customer_no": f"C{chain_id}", "customer_name": f"Customer {chain_id}"},
        )
        for chain_n in range(1 + chain_id % 3)
    )
    return Chain(LIST, chain_id, records)


# -- through the store -----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Told:
    """What has been written, to be compared with what the database says at the end."""

    begun: int = 0
    refused: int = 0
    finished: int = 0
    went_on: int = 0
    kept: int = 0
    requests: int = 0
    statements: int = 0


class Writer:
    """A session's use of the store, from the claimed chain to the written result."""

    def __init__(self, store: PostgresListStore, planner: Planner) -> None:
        self.store = store
        self.planner = planner
        self.told = Told()
        self.begin_ms: list[float] = []
        self.finish_ms: list[float] = []
        self.chains: deque[Chain] = deque()
        self._serial = 0
        self._claiming = False

    async def claim(self, chains: int) -> None:
        """Until so many are in the buffer."""
        while len(self.chains) < chains:
            found = await self.store.claim_chains(LIST, GROUP, PORTION, NOON)
            if not found:
                raise RuntimeError("the table is too small for so many results")
            self.chains.extend(found)

    async def begin(self, chain: Chain) -> NewAttempt | None:
        """None: a cap refuses it; the chain is back in its list then."""
        record = chain.record
        (attempt_id,) = await self.store.next_attempt_ids(1)
        attempt = NewAttempt(
            attempt_id=attempt_id,
            guid=f"bench-{attempt_id}",
            list_dbid=LIST,
            record_id=record.record_id,
            chain_id=chain.chain_id,
            campaign_dbid=CAMPAIGN,
            campaign_group_dbid=GROUP,
            phone=record.contact_info,
            leg_id=f"leg-{attempt_id}",
            started_at=NOON,
            customer_id=self.planner.customer_id(record),
        )
        began_s = time.perf_counter()
        refused = await self.store.begin_attempts([attempt])
        self.begin_ms.append((time.perf_counter() - began_s) * 1000)
        if not refused:
            self.told.begun += 1
            return attempt
        self.told.refused += 1
        await self._put_off(chain, refused[attempt_id])
        return None

    async def _put_off(self, chain: Chain, refusal: Refusal) -> None:
        until = refusal.until or NOON + timedelta(days=1)
        change = replace(as_it_was(chain.record), dial_sched_time=int(until.timestamp()))
        settlement = ChainSettlement(LIST, chain.chain_id, chain.record.record_id, change, refusal.why)
        if not await self.store.settle_chain(settlement):
            raise RuntimeError(f"chain {chain.chain_id} was not ours to put off")

    async def finish(self, chain: Chain, attempt: NewAttempt) -> None:
        """Decide and write; a chain that stays in memory comes back into the buffer."""
        result = RESULTS[self._serial % len(RESULTS)]
        self._serial += 1
        began_s = time.perf_counter()
        decision = decided(self.planner, chain, result)
        written = await self.store.finish_attempt(
            FinishedAttempt(
                attempt_id=attempt.attempt_id,
                list_dbid=LIST,
                record_id=attempt.record_id,
                chain_id=chain.chain_id,
                call_result=int(result),
                change=decision.change,
                finished_at=NOON,
                times=AttemptTimes(dialing_at=NOON, released_at=NOON),
                sip_status=200 if result is CallResult.ANSWER else 486,
                treatment_dbid=decision.treatment_dbid or None,
                because=decision.because,
                statements=decision.statements,
                requests=decision.requests,
            )
        )
        self.finish_ms.append((time.perf_counter() - began_s) * 1000)
        if not written:
            raise RuntimeError(f"attempt {attempt.attempt_id} had a result already")
        self.told.finished += 1
        self.told.went_on += decision.change.goes_on
        self.told.requests += len(decision.requests)
        self.told.statements += len(decision.statements)
        if decision.change.keep_claim:
            self.told.kept += 1
            self.chains.append(afterwards(chain, decision))

    async def paced(self, seconds: float) -> None:
        """Attempts begin and end at `RESULTS_PER_S`, portions are claimed as the buffer empties."""
        end_s = trio.current_time() + seconds
        next_s = trio.current_time()

        async def attempt(chain: Chain) -> None:
            if (begun := await self.begin(chain)) is not None:
                await self.finish(chain, begun)

        async with trio.open_nursery() as nursery:
            while next_s < end_s:
                next_s = max(next_s + 1.0 / RESULTS_PER_S, trio.current_time() - 1.0)
                await trio.sleep_until(next_s)
                if len(self.chains) < LOW_MARK and not self._claiming:
                    nursery.start_soon(self._refill)
                nursery.start_soon(attempt, self.chains.popleft())

    async def _refill(self) -> None:
        self._claiming = True
        await self.claim(LOW_MARK)
        self._claiming = False


async def many(items: Sequence[Item], work: Callable[[Item], Awaitable[None]]) -> None:
    """``work`` on every item, `TASKS` at a time."""
    left = iter(items)

    async def task() -> None:
        for item in left:
            await work(item)

    async with trio.open_nursery() as nursery:
        for _ in range(TASKS):
            nursery.start_soon(task)


class Stretch:
    """Wall and CPU time of a piece of work."""

    def __init__(self, server_pid: int) -> None:
        self._meter = CpuMeter(server_pid)
        self._began_s = time.monotonic()

    def rate(self, what: str, count: int) -> dict[str, float]:
        seconds, spent = time.monotonic() - self._began_s, self._meter.spent()
        return {
            f"{what}_per_s": round(count / seconds, 1),
            f"{what}_client_cpu_ms": round(spent.own_ms / count, 3),
            f"{what}_server_cpu_ms": round(spent.server_ms / count, 3),
        }


async def measure_store(place: Site, caps: tuple[AttemptCap, ...], results: int, seconds: float) -> dict[str, Any]:
    config = configuration(place.dsn, TREATMENTS, caps)
    async with open_store(config, node="bench") as store:
        writer = Writer(store, Planner(config, config.campaign_groups[0]))
        await writer.claim(results)
        todo = [writer.chains.popleft() for _ in range(results)]
        begun: list[tuple[Chain, NewAttempt]] = []

        async def begin(chain: Chain) -> None:
            if (attempt := await writer.begin(chain)) is not None:
                begun.append((chain, attempt))

        async def finish(entry: tuple[Chain, NewAttempt]) -> None:
            await writer.finish(*entry)

        stretch = Stretch(place.server_pid)
        await many(todo, begin)
        figures = stretch.rate("attempts", len(todo))
        stretch = Stretch(place.server_pid)
        await many(begun, finish)
        figures |= stretch.rate("results", len(begun))

        await writer.claim(LOW_MARK)
        await writer.paced(WARM_UP_S)
        writer.begin_ms.clear()
        writer.finish_ms.clear()
        before, began_s, machine_ms = writer.told.finished, time.monotonic(), machine_cpu_ms()
        await writer.paced(seconds)
        took_s = time.monotonic() - began_s
        paced = {
            "paced_results_per_s": round((writer.told.finished - before) / took_s, 1),
            "paced_begin_ms": percentiles(writer.begin_ms),
            "paced_finish_ms": percentiles(writer.finish_ms),
            "machine_cpu_cores": round((machine_cpu_ms() - machine_ms) / took_s / 1000, 2),
        }
        told = writer.told
    return {
        "caps": len(caps),
        **figures,
        **paced,
        "refused": told.refused,
        "finished": told.finished,
        "went_on": told.went_on,
        "kept_in_memory": told.kept,
        "http_requests": told.requests,
        "sql_statements": told.statements,
        "load_average_1min": round(os.getloadavg()[0], 2),
    }


def checked(conn: psycopg.Connection[Any], found: Sequence[dict[str, Any]]) -> None:
    """The database holds what was written, else the figures mean nothing."""
    row = conn.execute(
        "SELECT (SELECT count(*) FROM ocsd.attempt WHERE finished_at IS NOT NULL AND owner <> 'past'),"
        " (SELECT count(*) FROM ocsd.attempt WHERE finished_at IS NULL), (SELECT count(*) FROM ocsd.outbox),"
        " (SELECT count(*) FROM bench_records WHERE customer_name = 'Fax machine'), (SELECT count(*) FROM ocsd.claim)"
    ).fetchone()
    expected = (
        sum(part["finished"] for part in found),
        0,
        sum(part["http_requests"] for part in found),
        sum(part["sql_statements"] for part in found),
        0,
    )
    if row != expected:
        raise RuntimeError(f"finished, open, outbox, statements, claims: {row} instead of {expected}")


def measure(rows: int, decisions: int, results: int, seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    engine = measure_engine(decisions)
    say(json.dumps(engine))
    found = []
    with site(rows) as place:
        with psycopg.connect(place.dsn, autocommit=True) as conn:
            past = conn.execute(
                _PAST, {"list": LIST, "campaign": CAMPAIGN, "group": GROUP, "noon": NOON, "calls": PAST_CALLS}
            ).rowcount
            conn.execute("VACUUM ANALYZE ocsd.attempt")
            say(f"{place.rows} rows, {past} earlier attempts")
            for caps in ((), CAPS):
                found.append(trio.run(measure_store, place, caps, results, seconds))
                say(json.dumps(found[-1]))
            checked(conn, found)
    return {"engine": engine, "rows": place.rows, "earlier_attempts": past, "store": found}


def main() -> None:
    stop_on_sigterm()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the calling list")
    parser.add_argument("--decisions", type=int, default=200_000)
    parser.add_argument("--results", type=int, default=20_000, help="as fast as it goes, in each part")
    parser.add_argument("--seconds", type=float, default=30.0, help="at 200 results a second, in each part")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    options = parser.parse_args()
    figures = measure(
        options.rows, options.decisions, options.results, options.seconds, lambda text: print(text, flush=True)
    )
    if options.json is not None:
        options.json.write_text(json.dumps(figures), encoding="utf-8")


if __name__ == "__main__":
    main()
