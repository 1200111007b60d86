"""Do-Not-Call at the size of the US registry: import, memory and checks of 250 million numbers, and reading the table.

Numbers are written as the US FTC's files have them (``201,5551234``), scattered over some 350 area codes, none twice.
A process of its own imports them, another one maps the file and checks; both report their peak memory. Needs about 4 GB
of disk in the temporary folder, which is removed.

Usage: ``python -m bench.dnc --numbers 250000000 --rows 2000000``
"""

import argparse
import json
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import psycopg
from numpy.typing import NDArray

from ocsd.dnc import table
from ocsd.dnc.forms import plan_of
from ocsd.dnc.importing import import_registry
from ocsd.dnc.index import NEVER_ENDS
from ocsd.dnc.mapped import map_registries, registry_path
from ocsd.dnc.overlay import Fresh
from ocsd.dnc.view import Source, View
from ocsd.lists.embedded import EmbeddedPostgres
from ocsd.lists.migrate import migrate

U64 = NDArray[np.uint64]

AREAS: Final = np.array([code for code in range(201, 990) if code % 100 not in (11, 0) and code % 9 < 4], np.uint64)
PER_AREA: Final = 8_000_000
"""Numbers NXX-XXXX, N from 2 to 9."""
SPACE: Final = len(AREAS) * PER_AREA
STEP: Final = 1_618_033_989
"""Has no divisor in common with SPACE, so that ``k * STEP % SPACE`` takes every place once before any twice."""

CHUNK: Final = 2_000_000
BATCHES: Final = (1, 20, 100, 10_000)
LINE_BYTES: Final = len("201,5551234\n")


def numbers_between(first: int, after: int) -> Iterator[U64]:
    """The ``first`` to ``after``-th number of the scattered sequence, ten digits each, in chunks."""
    for start in range(first, after, CHUNK):
        places = np.arange(start, min(start + CHUNK, after), dtype=np.uint64) * np.uint64(STEP) % np.uint64(SPACE)
        area, rest = np.divmod(places, np.uint64(PER_AREA))
        yield AREAS[area] * np.uint64(10_000_000) + np.uint64(2_000_000) + rest


def write_file(path: Path, count: int) -> None:
    with path.open("wb") as file:
        for numbers in numbers_between(0, count):
            lines = np.empty((len(numbers), LINE_BYTES), np.uint8)
            lines[:, 3], lines[:, -1] = ord(","), ord("\n")
            rest = numbers.copy()
            for column in (10, 9, 8, 7, 6, 5, 4, 2, 1, 0):
                rest, digit = np.divmod(rest, np.uint64(10))
                lines[:, column] = digit + np.uint64(48)
            file.write(lines.data)


def peak_rss_mb() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def memory_mb() -> dict[str, float]:
    """Resident memory now, and how much of it is this process's alone (not the mapped file)."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {
        name: round(int(fields[field].split()[0]) / 1024, 1)
        for name, field in (("resident", "VmRSS"), ("own", "RssAnon"), ("mapped", "RssFile"))
    }


def measure_import(folder: Path) -> dict[str, float]:
    path = registry_path(folder, None, "us")
    before_mb, began_s = peak_rss_mb(), time.monotonic()
    stages: dict[str, float] = {}

    def reading(_bytes: int, _numbers: int) -> None:
        stages["read_s"] = round(time.monotonic() - began_s, 1)

    imported = import_registry([folder / "us.txt"], path, plan_of("US"), folder / "rejected.csv", progress=reading)
    took_s = time.monotonic() - began_s
    return {
        "numbers": imported.numbers,
        "rejected": imported.rejected,
        "seconds": round(took_s, 1),
        **stages,
        "numbers_per_s": round(imported.numbers / took_s),
        "peak_rss_before_mb": before_mb,
        "peak_rss_mb": peak_rss_mb(),
        "file_mb": round(path.stat().st_size / 1e6, 1),
        "bytes_per_number": round(path.stat().st_size / imported.numbers, 3),
    }


def phones(first: int, count: int) -> list[str]:
    return [f"+1{number}" for part in numbers_between(first, first + count) for number in part.tolist()]


def measure_checks(folder: Path, count: int, checks: int) -> dict[str, Any]:
    """Through the view that sessions use: table, overlay (both empty here) and the registry."""
    before = memory_mb()
    began_s = time.monotonic()
    (registry,), _problems = map_registries(folder)
    load_s = time.monotonic() - began_s
    view = View(
        fresh=(Fresh(), Fresh()), numbers=(Source(registry.index, NEVER_ENDS),), texts=(), customers=(), plans=()
    )
    now_s = time.time()
    random = np.random.default_rng(1)
    wrong = done = 0
    spent_s = 0.0
    while done < checks:
        # Half of them are registered, scattered over the whole file.
        start = int(random.integers(0, count - 5_000))
        asked = [*phones(start, 5_000), *phones(count + start, 5_000)]
        began_s = time.thread_time()
        verdicts = view.forbidden(asked, now_s)
        spent_s += time.thread_time() - began_s
        wrong += verdicts[:5_000].count(False) + verdicts[5_000:].count(True)
        done += len(asked)
    after = memory_mb()
    times = {}
    for kind, first in (("hit", 0), ("miss", count)):
        for batch in BATCHES:
            sample = phones(first + int(random.integers(0, count - 100_000)), 100_000)
            random.shuffle(sample)
            times[f"{kind}_batch_{batch}_cpu_us"] = _us_a_number(view, sample, batch, now_s)
    return {
        "mapped_load_s": round(load_s, 3),
        "random_checks": done,
        "wrong": wrong,
        "random_checks_cpu_us": round(spent_s / done * 1e6, 3),
        "before_mb": before,
        "after_mb": after,
        "times": times,
    }


def _us_a_number(view: View, sample: list[str], batch: int, now_s: float) -> float:
    batches = [sample[start : start + batch] for start in range(0, len(sample), batch)][: max(10, 20_000 // batch)]
    # CPU time: other work on the machine would double it.
    began_s = time.thread_time()
    for asked in batches:
        view.forbidden(asked, now_s)
    return round((time.thread_time() - began_s) / sum(map(len, batches)) * 1e6, 3)


def measure_table(folder: Path, rows: int) -> dict[str, float]:
    """Rows as requests leave them: a phone each, every tenth a customer id, some with an expiry."""
    server = EmbeddedPostgres(folder / "postgres")
    try:
        with psycopg.connect(server.start(), autocommit=True) as conn:
            migrate(conn)
            with (
                conn.cursor() as cursor,
                cursor.copy(
                    "COPY gsw_donotcall_list (phone, customer_id, tenant_dbid, time_stamp, expires_at) FROM STDIN"
                ) as copy,
            ):
                for part in (part for whole in numbers_between(0, rows) for part in np.array_split(whole, 100)):
                    copy.write(
                        "".join(
                            f"+1{n}\t{f'C-{n}' if n % 10 == 0 else chr(92) + 'N'}\t{101 + n % 2}\t1760000000\t"
                            f"{1_900_000_000 if n % 3 == 0 else chr(92) + 'N'}\n"
                            for n in part.tolist()
                        )
                    )
            conn.execute("ANALYZE gsw_donotcall_list")
            before, peak_before_mb = memory_mb()["own"], peak_rss_mb()
            began_s = time.monotonic()
            with conn.transaction():
                loaded = table.load(conn, (plan_of("US"),))
            load_s = time.monotonic() - began_s
            peak_mb = peak_rss_mb()
            after = memory_mb()["own"]
            requests = [
                table.request_of(_entry(number), datetime.now(UTC))
                for part in numbers_between(rows, rows + 20_000)
                for number in part.tolist()
            ]
            began_s = time.monotonic()
            for start in range(0, len(requests), 500):
                with conn.transaction():
                    table.write(conn, requests[start : start + 500])
            write_s = time.monotonic() - began_s
    finally:
        server.stop()
    sets = loaded.sets.values()
    kept = sum(s.numbers.nbytes + s.texts.nbytes + s.customers.nbytes for s in sets)
    return {
        "rows": loaded.rows,
        "seconds": round(load_s, 2),
        "rows_per_s": round(loaded.rows / load_s),
        "kept_bytes_per_row": round(kept / loaded.rows, 1),
        "own_before_mb": before,
        "own_after_mb": after,
        "peak_rss_before_mb": peak_before_mb,
        "peak_rss_mb": peak_mb,
        "requests_per_s": round(len(requests) / write_s),
    }


def _entry(number: int) -> table.DncEntry:
    return table.DncEntry(101, f"+1{number}", None, datetime.now(UTC), "asked the agent")


def _send(work: Callable[..., Any], arguments: tuple[Any, ...], send: Any) -> None:
    send.send(work(*arguments))


def in_process(work: Callable[..., Any], *arguments: Any) -> Any:
    """The result of ``work`` from a process of its own, whose memory is its own."""
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(work, arguments, send))
    process.start()
    send.close()
    try:
        return receive.recv()
    except EOFError:
        raise RuntimeError(f"{work.__name__} failed") from None
    finally:
        process.join()


def measure(count: int, rows: int, checks: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="ocsd-bench-") as name:
        folder = Path(name)
        os.chmod(folder, 0o755)
        load_before = os.getloadavg()[0]
        in_process(write_file, folder / "us.txt", count)
        imported = in_process(measure_import, folder)
        (folder / "us.txt").unlink()
        checked = in_process(measure_checks, folder, count, checks)
        read = in_process(measure_table, folder, rows)
    return {
        "import": imported,
        "checks": checked,
        "table": read,
        "load_average": [round(load_before, 2), round(os.getloadavg()[0], 2)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--numbers", type=int, default=250_000_000)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--checks", type=int, default=10_000_000)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    arguments = parser.parse_args()
    figures = measure(arguments.numbers, arguments.rows, arguments.checks)
    print(json.dumps(figures, indent=2))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures), encoding="utf-8")


if __name__ == "__main__":
    main()
