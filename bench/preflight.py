"""Preflight of a large list: how long it takes, and whether memory stays flat.

Usage: ``python -m bench.preflight --rows 1000000 --registry 50000000``

Three looks at the table of `bench.record_table`, with a Do-Not-Call registry of random numbers and an attempt cap: at a
site that has never dialed, the same again, and with an attempt in the journal for a fifth of the chains.
"""

import argparse
import json
import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psycopg
from psycopg import sql

from bench.record_table import CAMPAIGN, GROUP, LIST, NOON, TABLE, configuration, rss_mb, site, stop_on_sigterm
from ocsd.config.objects import AttemptCap, Configuration
from ocsd.dnc.mapped import registry_path, write_registry
from ocsd.dnc.snapshot import DncSnapshot, read_snapshot
from ocsd.explain.preflight import preflight

TARGET_S = 60.0
"""For a million rows."""


def look(conn: psycopg.Connection[Any], config: Configuration, dnc: DncSnapshot) -> dict[str, Any]:
    before_mb, most_mb = rss_mb(), 0.0

    def progress(_done: int, _total: int) -> None:
        nonlocal most_mb
        most_mb = max(most_mb, rss_mb())

    began_s = time.monotonic()
    found = preflight(conn, config, config.calling_lists[0], NOON, dnc, progress=progress)
    return {
        "took_s": round(time.monotonic() - began_s, 1),
        "rss_before_mb": before_mb,
        "rss_most_mb": most_mb,
        "rows": found.rows,
        "ready_now": found.ready_now,
        "held_back": dict(found.held_back),
    }


def add_attempts(conn: psycopg.Connection[Any]) -> int:
    """One call three hours ago for a fifth of the chains; returns how many."""
    cursor = conn.execute(
        sql.SQL(
            "INSERT INTO ocsd.attempt (attempt_id, guid, table_name, list_dbid, record_id, chain_id, campaign_dbid,"
            " campaign_group_dbid, phone, leg_id, started_at, owner, counted, finished_at)"
            " SELECT record_id, 'g', {name}, {of_list}, record_id, chain_id, {campaign}, {group}, contact_info, 'l',"
            " {now}::timestamptz - interval '3 h', 'bench', true, now() FROM {table} WHERE chain_id % 5 = 0"
        ).format(
            name=TABLE, of_list=LIST, campaign=CAMPAIGN, group=GROUP, now=NOON.isoformat(), table=sql.Identifier(TABLE)
        )
    )
    conn.execute("ANALYZE ocsd.attempt")
    return cursor.rowcount


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--registry", type=int, default=50_000_000, help="numbers on Do-Not-Call; 0: none")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    given = parser.parse_args()
    stop_on_sigterm()
    told: dict[str, Any] = {
        "cores": os.cpu_count(),
        "registry_numbers": given.registry,
        "target_s_per_million": TARGET_S,
    }
    with TemporaryDirectory() as folder, site(given.rows) as filled:
        if given.registry:
            numbers = np.random.default_rng(1).integers(12_000_000_000, 20_000_000_000, given.registry, dtype=np.uint64)
            write_registry(registry_path(Path(folder), None, "bench"), numbers)
            del numbers
        cap = AttemptCap(dbid=1, name="three a day", max_attempts=3, period_h=24)
        config = configuration(filled.dsn, caps=(cap,))
        with psycopg.connect(filled.dsn, autocommit=True) as conn:
            dnc = read_snapshot(conn, config, Path(folder))
            told["never_dialed"] = look(conn, config, dnc)
            told["again"] = look(conn, config, dnc)
            told["attempts"] = add_attempts(conn)
            told["with_attempts"] = look(conn, config, dnc)
    told["load_average"] = os.getloadavg()
    print(json.dumps(told, indent=2))
    if given.json is not None:
        given.json.write_text(json.dumps(told), encoding="utf-8")


if __name__ == "__main__":
    main()
