"""Claims and withdrawals on a large table while results are written, and the memory of the client.

Usage: ``python -m bench.records --rows 10000000``

A claimer takes portions of 120 chains in the three types, as a session with twenty agents does, while a writer begins
and finishes 200 attempts a second through the same store, a third of which goes back into the list for later. Then
records are withdrawn by number and by customer, beside the same writer; and many more chains are claimed, dialed and
finished as fast as it goes, to see whether the client's memory stays flat.

Every claim slower than the target is looked into: how much of the machine others had during it, and what the server was
busy with. The table is that of `bench.record_table`.
"""

import argparse
import json
import os
import random
import resource
import time
from array import array
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import psycopg
import trio

from bench.record_table import (
    CAMPAIGN,
    GROUP,
    LIST,
    NOON,
    CpuMeter,
    configuration,
    customer_of,
    machine_cpu_ms,
    percentiles,
    phone_of,
    rss_mb,
    site,
    stop_on_sigterm,
)
from ocsd.config.objects import Configuration
from ocsd.lists.postgres import PostgresListStore, open_store
from ocsd.model.enums import CallResult, RecordStatus, RecordType
from ocsd.model.records import (
    AttemptTimes,
    Chain,
    ChainChange,
    FinishedAttempt,
    NewAttempt,
    Portion,
    Selector,
    Withdrawal,
)

PORTION: Final = 120
PORTIONS: Final = (
    Portion(RecordType.CAMPAIGN_CALLBACK, limit=12),
    Portion(RecordType.CAMPAIGN_RESCHEDULED, limit=36),
    Portion(RecordType.GENERAL),
)
"""With limits (dialing_priority), so that every claim takes chains of all three types for as long as there are any."""

RESULTS_PER_S: Final = 200.0
LOW_MARK: Final = 5 * PORTION
"""Chains that the session keeps in its buffer, so that its portions are claimed at the pace of its dialing."""

TARGET_MS: Final = 20.0
WORST_TOLD: Final = 8
"""Of the claims beyond the target, the slowest are told one by one."""

UNDISTURBED_CORES: Final = 0.15
"""Used by other programs on the machine: below it a claim is told as undisturbed."""

CLAIMS_ALONE: Final = 20
"""Claims before the writer begins, to tell what a claim costs by itself."""

WARM_UP_S: Final = 3.0
RETRIED_RATIO: Final = 0.3
"""Of the results: the chain goes on later."""

BUSY_TASKS: Final = 200
"""Attempts under way at a time when many are made as fast as it goes."""

LOOP_PAUSE_S: Final = 0.01


class Dialing:
    """A session's use of the store: claims on one side, results of what was claimed on the other."""

    def __init__(self, store: PostgresListStore) -> None:
        self.store = store
        self.finish_ms = array("d")  # 8 bytes each, as the memory is looked at
        self.measures = True
        self.finished = 0
        self.claimed_rows = 0
        self._chains: deque[Chain] = deque()
        self._low = trio.Event()

    async def claim(self) -> float:
        """One portion; returns how long it took, in milliseconds."""
        began_s = time.perf_counter()
        chains = await self.store.claim_chains(LIST, GROUP, PORTION, NOON, PORTIONS)
        took_ms = (time.perf_counter() - began_s) * 1000
        if len(chains) < PORTION:
            raise RuntimeError(f"only {len(chains)} chains were left to claim")
        self.claimed_rows += sum(len(chain.records) for chain in chains)
        self._chains.extend(chains)
        return took_ms

    async def low(self) -> None:
        """Until the buffer has fallen below its low mark."""
        if len(self._chains) >= LOW_MARK:
            self._low = trio.Event()
            await self._low.wait()

    async def write(self, per_s: float) -> None:
        """Until cancelled: attempts begin and end at this rate."""
        next_s = trio.current_time()
        async with trio.open_nursery() as nursery:
            while True:
                next_s = max(next_s + 1.0 / per_s, trio.current_time() - 1.0)
                await trio.sleep_until(next_s)
                if self._chains:
                    nursery.start_soon(self._attempt, self._chains.popleft())
                if len(self._chains) < LOW_MARK:
                    self._low.set()

    async def refill(self) -> None:
        """Until cancelled: portions as the buffer empties."""
        while True:
            await self.low()
            await self.claim()

    async def soak(self, chains: int) -> float:
        """Claim, dial and finish so many chains as fast as it goes; returns the seconds that it took."""
        began_s = time.monotonic()
        left = chains
        self.measures = False

        async def work() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                while not self._chains:
                    async with claiming:
                        if not self._chains:
                            await self.claim()
                await self._attempt(self._chains.popleft())

        claiming = trio.Lock()
        async with trio.open_nursery() as nursery:
            for _ in range(BUSY_TASKS):
                nursery.start_soon(work)
        return time.monotonic() - began_s

    async def _attempt(self, chain: Chain) -> None:
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
            customer_id=str(record.user_fields["customer_no"]),
        )
        if await self.store.begin_attempts([attempt]):
            await self.store.give_back([chain])  # withdrawn meanwhile
            return
        again = attempt_id % 100 < RETRIED_RATIO * 100
        change = ChainChange(
            record_status=RecordStatus.READY if again else RecordStatus.UPDATED,
            record_type=RecordType.CAMPAIGN_RESCHEDULED if again else record.record_type,
            sibling_status=RecordStatus.READY if again else RecordStatus.UPDATED,
            dial_sched_time=int(NOON.timestamp()) + 3600 if again else None,
            treatments=f"7@1@{record.chain_n}@1" if again else None,
        )
        began_s = time.perf_counter()
        await self.store.finish_attempt(
            FinishedAttempt(
                attempt_id=attempt_id,
                list_dbid=LIST,
                record_id=record.record_id,
                chain_id=chain.chain_id,
                call_result=int(CallResult.BUSY if again else CallResult.ANSWER),
                change=change,
                finished_at=NOON,
                times=AttemptTimes(dialing_at=NOON),
            )
        )
        if self.measures:
            self.finish_ms.append((time.perf_counter() - began_s) * 1000)
        self.finished += 1


class Watch:
    """What else went on around each claim; looks at the server only after a slow one."""

    def __init__(self, server_pid: int, conn: psycopg.Connection[Any]) -> None:
        self._server_pid = server_pid
        self._conn = conn
        self.slow: list[dict[str, Any]] = []
        self.undisturbed_ms: list[float] = []
        self.loop_late_ms = array("d")
        self._claim = CpuMeter(server_pid)
        self._mark()

    def _mark(self) -> None:
        self._since_s, self._since_machine_ms = time.monotonic(), machine_cpu_ms()
        self._since = CpuMeter(self._server_pid)

    def begin(self) -> None:
        self._claim = CpuMeter(self._server_pid)

    async def end(self, took_ms: float) -> None:
        spent = self._claim.spent()
        # Of others since the last claim, as the machine's figures come in steps of 10 ms.
        others_ms = machine_cpu_ms() - self._since_machine_ms - self._since.spent().cpu_ms
        others_cores = max(0.0, others_ms) / ((time.monotonic() - self._since_s) * 1000)
        if others_cores < UNDISTURBED_CORES:
            self.undisturbed_ms.append(took_ms)
        if took_ms > TARGET_MS:
            self.slow.append(
                {
                    "ms": round(took_ms, 1),
                    "our_cpu_ms": round(spent.cpu_ms, 1),
                    "our_wait_for_cpu_ms": round(spent.waited_ms, 1),
                    "others_cores": round(others_cores, 2),
                    "server": await trio.to_thread.run_sync(self._server_busy_with),
                }
            )
        self._mark()

    def _server_busy_with(self) -> list[str]:
        """Background work of the server right now."""
        rows = self._conn.execute(
            "SELECT backend_type, coalesce(wait_event, '') FROM pg_stat_activity WHERE (backend_type = 'checkpointer'"
            " AND wait_event IS DISTINCT FROM 'CheckpointerMain') OR backend_type = 'autovacuum worker'"
        )
        return sorted(f"{kind} {event}".strip() for kind, event in rows)

    async def loop(self) -> None:
        """Until cancelled: how late the client's own loop is."""
        while True:
            due_s = trio.current_time() + LOOP_PAUSE_S
            await trio.sleep_until(due_s)
            self.loop_late_ms.append((trio.current_time() - due_s) * 1000)

    def told(self, claims: int) -> dict[str, Any]:
        """In JSON: of the slow claims how many had company, and the worst."""
        slow = sorted(self.slow, key=lambda entry: -entry["ms"])
        return {
            "target_ms": TARGET_MS,
            "within_target_ratio": round(1 - len(slow) / claims, 4),
            "beyond_target": len(slow),
            "undisturbed": len(self.undisturbed_ms),
            "undisturbed_ms": percentiles(self.undisturbed_ms),
            "beside_vacuum_or_checkpoint": sum(bool(entry["server"]) for entry in slow),
            "beside_others_on_half_a_core": sum(entry["others_cores"] >= 0.5 for entry in slow),
            "worst": slow[:WORST_TOLD],
            "loop_late_ms": percentiles(self.loop_late_ms),
        }


async def withdrawals(store: PostgresListStore, count: int, chains: int) -> dict[str, Any]:
    """Cancel customers, and put numbers on Do-Not-Call, scattered over the table."""
    rng = random.Random(1)
    found: dict[str, Any] = {}
    ways: tuple[tuple[str, Callable[[int], Selector], Withdrawal], ...] = (
        ("phone", lambda chain_id: Selector(phone=phone_of(chain_id)), Withdrawal.DO_NOT_CALL),
        ("customer_id", lambda chain_id: Selector(customer_id=customer_of(chain_id)), Withdrawal.CANCEL),
    )
    for name, selector_of, withdrawal in ways:
        spent_ms, rows = [], 0
        for _ in range(count):
            selector = selector_of(rng.randrange(1, chains))
            began_s = time.perf_counter()
            rows += len(await store.withdraw([LIST], selector, withdrawal))
            spent_ms.append((time.perf_counter() - began_s) * 1000)
        found[f"withdraw_by_{name}_ms"] = percentiles(spent_ms)
        found[f"withdrawn_by_{name}"] = rows
    return found


async def measure_claims(config: Configuration, server_pid: int, rows: int, options: "Options") -> dict[str, Any]:
    with psycopg.connect(config.database.dsn, autocommit=True) as conn:
        async with open_store(config, node="bench") as store:
            dialing = Dialing(store)
            for _ in range(3):  # connections and caches
                await dialing.claim()
            meter = CpuMeter(server_pid)
            alone_ms = [await dialing.claim() for _ in range(CLAIMS_ALONE)]
            cpu_ms = meter.spent().cpu_ms
            before_mb = rss_mb()
            watch = Watch(server_pid, conn)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(dialing.write, RESULTS_PER_S)
                nursery.start_soon(watch.loop)
                await trio.sleep(WARM_UP_S)
                dialing.claimed_rows, finished_before = 0, dialing.finished
                began_s, cpu_before_s, busy_before_ms = time.monotonic(), time.process_time(), machine_cpu_ms()
                spent_ms = []
                for _ in range(options.claims):
                    await dialing.low()
                    watch.begin()
                    spent_ms.append(await dialing.claim())
                    await watch.end(spent_ms[-1])
                seconds = time.monotonic() - began_s
                figures = {
                    "claims": options.claims,
                    "claim_ms": percentiles(spent_ms),
                    "slow": watch.told(options.claims),
                    "claim_alone_ms": percentiles(alone_ms),
                    "claim_alone_cpu_ms": round(cpu_ms / CLAIMS_ALONE, 1),
                    "rows_per_claim": round(dialing.claimed_rows / options.claims, 1),
                    "results_per_s": round((dialing.finished - finished_before) / seconds, 1),
                    "finish_ms": percentiles(dialing.finish_ms),
                    "client_cpu_cores": round((time.process_time() - cpu_before_s) / seconds, 3),
                    "machine_cpu_cores": round((machine_cpu_ms() - busy_before_ms) / seconds / 1000, 2),
                    "rss_before_mb": before_mb,
                    "rss_after_mb": rss_mb(),
                    "load_average_1min": round(os.getloadavg()[0], 2),
                }
                nursery.start_soon(dialing.refill)
                figures |= await withdrawals(store, options.withdrawals, rows // 2)
                nursery.cancel_scope.cancel()
            finished_before = dialing.finished
            seconds = await dialing.soak(options.soak)
            figures |= {
                "soak_chains": options.soak,
                "soak_results_per_s": round((dialing.finished - finished_before) / seconds, 1),
                "rss_after_soak_mb": rss_mb(),
            }
    return figures


class Options(argparse.Namespace):
    rows: list[int]
    claims: int
    withdrawals: int
    soak: int
    json: Path | None


def measure(options: Options, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """The figures at each table size, each on a server of its own."""
    found = []
    for rows in options.rows:
        with site(rows) as place:
            say(f"{place.rows} rows in {place.fill_s:.0f} s")
            figures = trio.run(measure_claims, configuration(place.dsn), place.server_pid, place.rows, options)
            found.append(
                {
                    "rows": place.rows,
                    "table_mb": place.table_mb,
                    "indexes_mb": place.indexes_mb,
                    **figures,
                    "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
                }
            )
            say(json.dumps(found[-1]))
    return found


def main() -> None:
    stop_on_sigterm()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000], help="table sizes")
    parser.add_argument("--claims", type=int, default=300)
    parser.add_argument("--withdrawals", type=int, default=300, help="of each kind")
    parser.add_argument("--soak", type=int, default=100_000, help="chains dialed afterwards, for the memory")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    options = parser.parse_args(namespace=Options())
    figures = measure(options, lambda text: print(text, flush=True))
    if options.json is not None:
        options.json.write_text(json.dumps(figures), encoding="utf-8")


if __name__ == "__main__":
    main()
