"""Claims on a large table: time to claim a portion while results are written, memory of the client.

Usage: ``python -m bench.records --rows 10000000``

A table of chains of one to three records in twelve zones with two daily windows each; most chains General, some
rescheduled or called back, a few with a treatment state that names their second record. A claimer takes portions of 120
chains in the three types, as a session does, while a writer finishes 200 attempts a second through the same store, a
third of which goes back into the list for later.
"""

import argparse
import json
import os
import resource
import shutil
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final

import psycopg
import trio
from psycopg import sql

from ocsd.config.objects import CallingList, Configuration, Database, Format, FormatField, TableAccess, TimeZoneObject
from ocsd.demo.run import process_tree
from ocsd.lists.embedded import EmbeddedPostgres
from ocsd.lists.migrate import migrate
from ocsd.lists.postgres import PostgresListStore, open_store
from ocsd.lists.store import DEFAULT_PORTIONS
from ocsd.lists.tables import create_table, ready_index, ready_index_name, waiting_index, waiting_index_name
from ocsd.model.enums import CallResult, RecordStatus, RecordType
from ocsd.model.records import AttemptTimes, Chain, ChainChange, FinishedAttempt, NewAttempt

ZONES: Final = (
    "America/New_York", "America/Chicago", "America/Denver", "America/Los_Angeles", "America/Phoenix",
    "America/Halifax", "America/Anchorage", "Pacific/Honolulu", "America/Sao_Paulo", "Europe/London", "Europe/Berlin",
    "Asia/Kolkata",
)  # fmt: skip
NOON: Final = datetime(2026, 3, 3, 17, 0, 0, tzinfo=UTC)
"""12:00 in New York: open in the Americas, closed in Asia."""

LIST, GROUP, CAMPAIGN = 301, 501, 401
TABLE: Final = "bench_records"
PORTION: Final = 120
RESULTS_PER_S: Final = 200.0
LOW_MARK: Final = 5 * PORTION
"""Chains that the session keeps in its buffer, so that its portions are claimed at the pace of its dialing."""

CLAIMS_ALONE: Final = 10
"""Claims before the writer begins, to tell what a claim costs by itself."""

WARM_UP_S: Final = 3.0
RETRIED_RATIO: Final = 0.3
"""Of the results: the chain goes on later."""

# Chain c has 1 + c % 3 records. Of a hundred chains two are campaign callbacks, ten rescheduled (half of them due, a
# third with a state that names their second record), one is a personal callback, one has used up its attempts.
_FILL: Final = """
INSERT INTO {table} (contact_info, record_type, attempt, dial_sched_time, daily_from, daily_till, tz_dbid, chain_id,
  chain_n, agent_id, treatments, customer_name)
SELECT '+1' || (2000000000 + c * 3 + n), k.type, CASE WHEN c %% 100 = 14 THEN 10 WHEN k.type = 3 THEN c %% 4 + 1 ELSE 0
  END, CASE WHEN k.type <> 2 THEN %(now_s)s - 43200 + (c %% 86400) END, CASE WHEN c %% 2 = 0 THEN 28800 ELSE 32400 END,
  CASE WHEN c %% 2 = 0 THEN 72000 ELSE 64800 END, 1 + (c / 7 + n) %% %(zones)s, c, n,
  CASE WHEN k.type = 5 THEN '5001' END, CASE WHEN k.type = 3 AND c %% 3 = 2 THEN '7@1@1@1' END, 'Customer ' || c
FROM generate_series(%(first)s::int, %(last)s::int) AS c
CROSS JOIN LATERAL generate_series(0, c %% 3) AS n
CROSS JOIN LATERAL (SELECT CASE WHEN c %% 100 < 2 THEN 6 WHEN c %% 100 < 12 THEN 3 WHEN c %% 100 < 13 THEN 5 ELSE 2 END
  AS type) AS k
"""


def configuration(dsn: str) -> Configuration:
    return Configuration(
        database=Database(dsn=dsn),
        time_zones=tuple(
            TimeZoneObject(dbid=number, name=zone, zone=zone) for number, zone in enumerate(ZONES, start=1)
        ),
        formats=(Format(dbid=1, name="Customers", fields=(FormatField(name="customer_name", length=64),)),),
        table_accesses=(TableAccess(dbid=1, name="Customers", table=TABLE, format="Customers"),),
        calling_lists=(CallingList(dbid=LIST, name="Customers", table_access="Customers", time_zone=ZONES[0]),),
    )


def fill(conn: psycopg.Connection[Any], rows: int) -> None:
    """About ``rows`` rows in chains of one to three; indexes are built afterwards, which is faster."""
    name = sql.Identifier(TABLE)
    with conn.transaction():
        for index in (ready_index_name(TABLE), waiting_index_name(TABLE)):
            conn.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(index)))
        step = 500_000
        for first in range(1, rows // 2 + 1, step):
            conn.execute(
                sql.SQL(_FILL).format(table=name),
                {
                    "first": first,
                    "last": min(first + step - 1, rows // 2),
                    "now_s": int(NOON.timestamp()),
                    "zones": len(ZONES),
                },
            )
        conn.execute("SET LOCAL maintenance_work_mem = '512MB'")
        conn.execute(ready_index(TABLE))
        conn.execute(waiting_index(TABLE))
    conn.execute(sql.SQL("VACUUM ANALYZE {}").format(name))
    conn.execute("CHECKPOINT")


def rss_mb() -> float:
    """Resident memory of this process now (proc(5), statm)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)


def used_cpu_ms(server_pid: int) -> float:
    """CPU time of this process and of the server's processes so far (proc(5), schedstat: nanoseconds)."""
    pids = [os.getpid(), *process_tree(server_pid)]
    threads = [path for pid in pids for path in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    return sum(int(path.read_text().split()[0]) for path in threads) / 1e6


def percentiles(values: list[float]) -> dict[str, float]:
    ranked = sorted(values)
    return {
        "p50": round(ranked[len(ranked) // 2], 2),
        "p99": round(ranked[min(len(ranked) - 1, int(0.99 * len(ranked)))], 2),
        "max": round(ranked[-1], 2),
    }


class Dialing:
    """A session's use of the store: claims on one side, results of what was claimed on the other."""

    def __init__(self, store: PostgresListStore) -> None:
        self.store = store
        self.claim_ms: list[float] = []
        self.finish_ms: list[float] = []
        self.finished = 0
        self.claimed_rows = 0
        self._chains: deque[Chain] = deque()
        self._low = trio.Event()
        self._serial = 0

    async def claim(self) -> None:
        """One portion."""
        began_s = time.perf_counter()
        chains = await self.store.claim_chains(LIST, GROUP, PORTION, NOON, DEFAULT_PORTIONS)
        self.claim_ms.append((time.perf_counter() - began_s) * 1000)
        if len(chains) < PORTION:
            raise RuntimeError(f"only {len(chains)} chains were left to claim")
        self.claimed_rows += sum(len(chain.records) for chain in chains)
        self._chains.extend(chains)

    async def refill(self, claims: int) -> None:
        """This many portions, each when the buffer has fallen below its low mark."""
        for _ in range(claims):
            if len(self._chains) >= LOW_MARK:
                self._low = trio.Event()
                await self._low.wait()
            await self.claim()

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

    async def _attempt(self, chain: Chain) -> None:
        self._serial += 1
        serial, record = self._serial, chain.record
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
        )
        await self.store.begin_attempts([attempt])
        again = serial % 100 < RETRIED_RATIO * 100
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
        self.finish_ms.append((time.perf_counter() - began_s) * 1000)
        self.finished += 1


async def measure_claims(config: Configuration, claims: int, server_pid: int) -> dict[str, Any]:
    async with open_store(config, node="bench") as store:
        dialing = Dialing(store)
        for _ in range(3):  # connections and caches
            await dialing.claim()
        cpu_ms = used_cpu_ms(server_pid)
        for _ in range(CLAIMS_ALONE):
            await dialing.claim()
        alone_ms, cpu_ms = dialing.claim_ms[3:], used_cpu_ms(server_pid) - cpu_ms
        before_mb = rss_mb()
        dialing.claim_ms.clear()
        dialing.claimed_rows = 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(dialing.write, RESULTS_PER_S)
            await trio.sleep(WARM_UP_S)
            began_s, finished_before = time.monotonic(), dialing.finished
            cpu_before = time.process_time()
            await dialing.refill(claims)
            seconds = time.monotonic() - began_s
            figures = {
                "claims": claims,
                "claim_ms": percentiles(dialing.claim_ms),
                "claim_alone_ms": percentiles(alone_ms),
                "claim_alone_cpu_ms": round(cpu_ms / CLAIMS_ALONE, 1),
                "rows_per_claim": round(dialing.claimed_rows / claims, 1),
                "results_per_s": round((dialing.finished - finished_before) / seconds, 1),
                "finish_ms": percentiles(dialing.finish_ms),
                "client_cpu_cores": round((time.process_time() - cpu_before) / seconds, 3),
                "rss_before_mb": before_mb,
                "rss_after_mb": rss_mb(),
                "load_average_1min": round(os.getloadavg()[0], 2),
            }
            nursery.cancel_scope.cancel()
    return figures


def measure(sizes: list[int], claims: int, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """The figures at each table size, each on a server of its own."""
    found = []
    for rows in sizes:
        with ExitStack() as stack:
            folder = Path(mkdtemp(prefix="ocsd-bench-"))
            folder.chmod(0o755)  # PostgreSQL runs as an unprivileged user when we are root
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            server = EmbeddedPostgres(folder / "postgres")
            dsn = server.start()
            stack.callback(server.stop)
            server_pid = server.server_pid()
            assert server_pid is not None
            config = configuration(dsn)
            began_s = time.monotonic()
            with psycopg.connect(dsn, autocommit=True) as conn:
                migrate(conn)
                create_table(conn, config, config.calling_lists[0])
                fill(conn, rows)
                row = conn.execute(
                    sql.SQL("SELECT count(*), pg_table_size({0}), pg_indexes_size({0}) FROM {1}").format(
                        sql.Literal(TABLE), sql.Identifier(TABLE)
                    )
                ).fetchone()
            assert row is not None
            say(f"{row[0]} rows in {time.monotonic() - began_s:.0f} s")
            figures = trio.run(measure_claims, config, claims, server_pid)
            found.append(
                {
                    "rows": row[0],
                    "table_mb": round(row[1] / 2**20),
                    "indexes_mb": round(row[2] / 2**20),
                    **figures,
                    "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
                }
            )
            say(json.dumps(found[-1]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000], help="table sizes")
    parser.add_argument("--claims", type=int, default=200)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    arguments = parser.parse_args()
    figures = measure(arguments.rows, arguments.claims, lambda text: print(text, flush=True))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures), encoding="utf-8")


if __name__ == "__main__":
    main()
