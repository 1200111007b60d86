"""Import speed: generates a CSV file, imports it into a fresh embedded PostgreSQL, prints rows/s and peak memory.

Usage: ``python -m bench.import_rows --rows 500000 [--duplicates skip]``

With ``--duplicates`` the list already holds as many rows, and one row in ten of the file is one of them.
"""

import argparse
import json
import os
import random
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

from ocsd.config.objects import CallingList, Configuration, Format, FormatField, TableAccess, TimeZoneObject
from ocsd.lists.duplicates import DuplicateRule
from ocsd.lists.embedded import EmbeddedPostgres
from ocsd.lists.importer import ImportOptions, import_csv
from ocsd.lists.keys import Action
from ocsd.lists.migrate import migrate
from ocsd.lists.tables import create_table

AREA_CODES = ("212", "646", "312", "773", "303", "206", "415", "213", "617", "404", "713", "305", "416", "604")
ZONES = ("America/New_York", "America/Chicago", "America/Denver", "America/Los_Angeles")


def configuration() -> Configuration:
    fields = (FormatField(name="customer_name", length=64), FormatField(name="balance", type="float"))
    return Configuration(
        time_zones=tuple(
            TimeZoneObject(dbid=number, name=zone, zone=zone) for number, zone in enumerate(ZONES, start=1)
        ),
        formats=(Format(dbid=1, name="Customers", fields=fields),),
        table_accesses=(TableAccess(dbid=1, name="Customers", table="customers", format="Customers"),),
        calling_lists=(CallingList(dbid=1, name="Customers", table_access="Customers"),),
    )


def people(seed: int) -> Iterator[tuple[str, int, int]]:
    """Area code, exchange and line of one person after the other."""
    source = random.Random(seed)
    while True:
        yield source.choice(AREA_CODES), source.randint(200, 999), source.randint(0, 9999)


def write_file(path: Path, rows: int, seed: int, known_seed: int | None = None) -> None:
    """Numbers in the usual notations; one in a hundred is no number, one in ten is of the file of ``known_seed``."""
    notation = random.Random(seed)
    persons = zip(people(seed), people(seed if known_seed is None else known_seed), strict=True)
    with path.open("w", encoding="utf-8") as file:
        file.write("phone,customer_name,balance\n")
        for row, (new, known) in zip(range(rows), persons, strict=False):
            area, exchange, line = known if row % 10 == 1 else new
            form = notation.choice(("{}{}{:04d}", "+1{}{}{:04d}", "({}) {}-{:04d}", "{}-{}-{:04d}"))
            phone = form.format(area, exchange, line) if row % 100 else "12345"
            file.write(f"{phone},Customer {row},{notation.randint(0, 10**6) / 100}\n")


def measure(rows: int, seed: int, action: Action = Action.KEEP) -> dict[str, float]:
    """Rows per second of wall clock and of our own CPU, and our peak resident memory before and after."""
    with tempfile.TemporaryDirectory(prefix="ocsd-bench-") as name:
        folder = Path(name)
        os.chmod(folder, 0o755)
        config = configuration()
        calling_list = config.calling_lists[0]
        path = folder / "customers.csv"
        server = EmbeddedPostgres(folder / "postgres")
        try:
            with psycopg.connect(server.start(), autocommit=True) as conn:
                migrate(conn)
                create_table(conn, config, calling_list)
                if action is not Action.KEEP:
                    write_file(path, rows, seed + 1)
                    import_csv(conn, config, calling_list, path)
                write_file(path, rows, seed, seed + 1 if action is not Action.KEEP else None)
                before = resource.getrusage(resource.RUSAGE_SELF)
                started_s = time.monotonic()
                options = ImportOptions(duplicates=DuplicateRule(action))
                result = import_csv(conn, config, calling_list, path, options=options)
                took_s = time.monotonic() - started_s
                after = resource.getrusage(resource.RUSAGE_SELF)
        finally:
            server.stop()
    return {
        "rows": result.rows,
        "imported": result.imported,
        "rejected": result.rejected,
        "duplicates": result.duplicates,
        "updated": result.updated,
        "seconds": round(took_s, 2),
        "rows_per_s": round(rows / took_s),
        "cpu_s": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 2),
        "peak_rss_before_mb": round(before.ru_maxrss / 1024, 1),
        "peak_rss_mb": round(after.ru_maxrss / 1024, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--duplicates", type=Action, choices=list(Action), default=Action.KEEP)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    arguments = parser.parse_args()
    figures = measure(arguments.rows, arguments.seed, arguments.duplicates)
    print(json.dumps(figures, indent=2))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures), encoding="utf-8")


if __name__ == "__main__":
    main()
