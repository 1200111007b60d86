"""A large calling list on a server of its own, for the benches of records; and what they measure with.

Chains of one to three records in twelve zones with two daily windows each, spread as in life: most people live in few
zones, numbers and customers are scattered over their indexes. Of a hundred chains two are campaign callbacks, ten
rescheduled (half of them due, a third with a state that names their second record, most of them tried once), one is a
personal callback, one has used up its attempts, the others are General.
"""

import os
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final

import psycopg
from psycopg import sql

from ocsd.config.objects import (
    AgentGroup,
    AttemptCap,
    CallingList,
    Campaign,
    CampaignGroup,
    CampaignList,
    Configuration,
    Database,
    Format,
    FormatField,
    TableAccess,
    Tenant,
    TimeZoneObject,
    Treatment,
)
from ocsd.demo.processes import process_tree
from ocsd.lists.embedded import EmbeddedPostgres
from ocsd.lists.migrate import migrate
from ocsd.lists.tables import create_table

ZONES: Final = {
    "America/New_York": 40, "America/Chicago": 24, "America/Los_Angeles": 14, "America/Denver": 6, "America/Phoenix": 3,
    "America/Sao_Paulo": 3, "America/Halifax": 2, "America/Anchorage": 1, "Pacific/Honolulu": 1, "Europe/London": 3,
    "Europe/Berlin": 2, "Asia/Kolkata": 1,
}  # fmt: skip
"""Records in a hundred."""

NOON: Final = datetime(2026, 3, 3, 17, 0, 0, tzinfo=UTC)
"""12:00 in New York: open in the Americas, closed in Asia."""

LIST, GROUP, CAMPAIGN = 301, 501, 401
TABLE: Final = "bench_records"

SCATTER: Final = 1_618_033_989
"""Has no divisor in common with the powers of ten, so that ``k * SCATTER % 10**n`` takes every place once."""

FILL_STEP: Final = 500_000

# phone_of and customer_of say the same in Python.
_FILL: Final = """
INSERT INTO {table} (contact_info, record_type, attempt, dial_sched_time, daily_from, daily_till, tz_dbid, chain_id,
  chain_n, agent_id, treatments, customer_no, customer_name)
SELECT '+1' || (2000000000 + (c * 3 + n) * %(scatter)s::bigint %% 8000000000), k.type,
  CASE WHEN c %% 100 = 14 THEN 10 WHEN k.type = 3 THEN (%(attempts)s::int[])[1 + c / 100 %% 8] ELSE 0 END,
  CASE WHEN k.type <> 2 THEN %(now_s)s - 43200 + (c * 7919 %% 86400) END,
  CASE WHEN c %% 2 = 0 THEN 28800 ELSE 32400 END, CASE WHEN c %% 2 = 0 THEN 72000 ELSE 64800 END,
  (%(zones)s::int[])[1 + (c / 7 * 37 + n) %% 100], c, n,
  CASE WHEN k.type = 5 THEN '5001' END, CASE WHEN k.type = 3 AND c %% 3 = 2 THEN '7@1@1@1' END,
  'C' || lpad((c * %(scatter)s::bigint %% 10000000000)::text, 10, '0'), 'Customer ' || c
FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS c
CROSS JOIN LATERAL generate_series(0, c %% 3) AS n
CROSS JOIN LATERAL (SELECT CASE WHEN c %% 100 < 2 THEN 6 WHEN c %% 100 < 12 THEN 3 WHEN c %% 100 < 13 THEN 5 ELSE 2 END
  AS type) AS k
"""


def phone_of(chain_id: int, chain_n: int = 0) -> str:
    return f"+1{2_000_000_000 + (chain_id * 3 + chain_n) * SCATTER % 8_000_000_000}"


def customer_of(chain_id: int) -> str:
    return f"C{chain_id * SCATTER % 10**10:010d}"


def configuration(dsn: str, treatments: tuple[Treatment, ...] = (), caps: tuple[AttemptCap, ...] = ()) -> Configuration:
    return Configuration(
        database=Database(dsn=dsn),
        tenants=(Tenant(dbid=101, name="Bench"),),
        agent_groups=(AgentGroup(dbid=201, name="Agents", agents=()),),
        time_zones=tuple(
            TimeZoneObject(dbid=number, name=zone, zone=zone) for number, zone in enumerate(ZONES, start=1)
        ),
        formats=(
            Format(
                dbid=1,
                name="Customers",
                fields=(FormatField(name="customer_no", length=16), FormatField(name="customer_name", length=64)),
            ),
        ),
        table_accesses=(TableAccess(dbid=1, name="Customers", table=TABLE, format="Customers"),),
        treatments=treatments,
        attempt_caps=caps,
        calling_lists=(
            CallingList(
                dbid=LIST,
                name="Customers",
                table_access="Customers",
                time_zone=next(iter(ZONES)),
                customer_id_field="customer_no",
                treatments=tuple(treatment.name for treatment in treatments),
                attempt_caps=tuple(cap.name for cap in caps),
            ),
        ),
        campaigns=(
            Campaign(dbid=CAMPAIGN, name="Bench", tenant="Bench", lists=(CampaignList(calling_list="Customers"),)),
        ),
        campaign_groups=(CampaignGroup(dbid=GROUP, name="Bench@Agents", campaign="Bench", group="Agents", trunks=()),),
    )


def fill(conn: psycopg.Connection[Any], rows: int) -> None:
    """About ``rows`` rows in chains of one to three; indexes are built afterwards, which is faster."""
    name = sql.Identifier(TABLE)
    zones = [dbid for dbid, share in enumerate(ZONES.values(), start=1) for _ in range(share)]
    with conn.transaction():
        indexes = conn.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = %s AND indexdef LIKE 'CREATE INDEX%%'",
            (TABLE,),
        ).fetchall()
        for index, _ in indexes:
            conn.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(index)))
        for first in range(1, rows // 2 + 1, FILL_STEP):
            conn.execute(
                sql.SQL(_FILL).format(table=name),
                {
                    "first": first,
                    "last": min(first + FILL_STEP - 1, rows // 2),
                    "now_s": int(NOON.timestamp()),
                    "zones": zones,
                    "scatter": SCATTER,
                    "attempts": [1, 1, 1, 1, 1, 2, 2, 3],
                },
            )
        conn.execute("SET LOCAL maintenance_work_mem = '512MB'")
        for _, definition in indexes:
            conn.execute(definition)
    conn.execute(sql.SQL("VACUUM ANALYZE {}").format(name))
    conn.execute("CHECKPOINT")


def stop_on_sigterm() -> None:
    """End on SIGTERM as on Ctrl-C, so that the server and its folder go too."""
    signal.signal(signal.SIGTERM, lambda _number, _frame: signal.raise_signal(signal.SIGINT))


@dataclass(frozen=True, slots=True)
class Site:
    """A filled table on a running server."""

    dsn: str
    server_pid: int
    rows: int
    table_mb: int
    indexes_mb: int
    fill_s: float


@contextmanager
def site(rows: int) -> Iterator[Site]:
    """A server of its own with the table; both are gone afterwards."""
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
        fill_s = round(time.monotonic() - began_s, 1)
        yield Site(dsn, server_pid, row[0], round(row[1] / 2**20), round(row[2] / 2**20), fill_s)


def rss_mb() -> float:
    """Resident memory of this process now (proc(5), statm)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)


@dataclass(frozen=True, slots=True)
class Spent:
    """CPU milliseconds of this process and of the server, and how long their threads waited for a processor."""

    own_ms: float
    server_ms: float
    waited_ms: float

    @property
    def cpu_ms(self) -> float:
        return self.own_ms + self.server_ms


class CpuMeter:
    """What this process and the server have used since it was made (proc(5), schedstat: nanoseconds)."""

    def __init__(self, server_pid: int) -> None:
        self._server_pid = server_pid
        self._before = self._figures()

    def spent(self) -> Spent:
        """Processes that have ended meanwhile are left out, new ones count in full."""
        own_ms = server_ms = waited_ms = 0.0
        for pid, (running, waiting) in self._figures().items():
            before = self._before.get(pid, (0, 0))
            if pid == os.getpid():
                own_ms += (running - before[0]) / 1e6
            else:
                server_ms += (running - before[0]) / 1e6
            waited_ms += (waiting - before[1]) / 1e6
        return Spent(own_ms, server_ms, waited_ms)

    def _figures(self) -> dict[int, tuple[int, int]]:
        found: dict[int, tuple[int, int]] = {}
        for pid in (os.getpid(), *process_tree(self._server_pid)):
            running = waiting = 0
            for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
                try:
                    fields = path.read_text().split()
                except (FileNotFoundError, ProcessLookupError):  # ended meanwhile
                    continue
                running, waiting = running + int(fields[0]), waiting + int(fields[1])
            found[pid] = running, waiting
        return found


def machine_cpu_ms() -> float:
    """CPU time of all processes of the machine, stolen time included (proc(5), /proc/stat: in steps of 10 ms)."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) * 1000.0 / os.sysconf("SC_CLK_TCK")


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Of none: empty."""
    if not values:
        return {}
    ranked = sorted(values)
    return {
        "p50": round(ranked[len(ranked) // 2], 2),
        "p99": round(ranked[min(len(ranked) - 1, int(0.99 * len(ranked)))], 2),
        "max": round(ranked[-1], 2),
    }
