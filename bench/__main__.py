"""All measurements of this machine, one after the other: a table at the end and everything in a JSON file.

    make bench                          # about half an hour; needs 4 GB of disk in the temporary folder
    make bench ARGS=--quick             # three and a half minutes: smaller tables, no search for the highest rate
    make bench ARGS="--only dialing"

Figures are reported as measured and nothing is judged. Only loopback is used; every process is ended. On a machine that
does other work too, compare CPU seconds rather than rates and latencies.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.calls import NOT_HELD

STOP_LIMIT_S = 90.0
"""For a measurement that was interrupted to take its processes down."""

Row = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Section:
    """
    ``limit_s`` bounds the whole section; ``rows`` makes table rows (what, figure) of the JSON that it wrote; ``needs``
    names a program that it cannot do without.
    """

    name: str
    arguments: tuple[str, ...]
    quick_arguments: tuple[str, ...]
    limit_s: float
    rows: Callable[[Any], list[Row]]
    needs: str = ""


def dialing_rows(runs: list[Mapping[str, Any]]) -> list[Row]:
    held = [run for run in runs if run["held"]]
    rows: list[Row] = []
    for run in runs:
        late, ticks, cores = run["human_verdict_after_greeting_ms"], run["tick_late_ms"], run["cpu_cores"]
        rows.append(
            (
                f"dialing at {run['wanted_per_s']:g} starts/s wanted",
                f"{run['starts_per_s']} starts/s, {run['live_channels_mean']} live channels (max "
                f"{run['live_channels_max']}), {run['verdicts_missed']} of {run['answered']} verdicts missed, "
                f"{run['verdicts_too_late']} too late, {run['no_port']} calls without port: "
                + ("held" if run["held"] else "not held"),
            )
        )
        rows.append(
            (
                "",
                f"verdict p50 {late['p50']} p99 {late['p99']} ms after the greeting; truth: signalling "
                f"{run['truth_match_signalling']}, CPA {run['truth_match_cpa']}; audio {run['audio_ok']}; media ticks "
                f"late p50 {ticks['p50']} p99 {ticks['p99']} ms; loop late p99 {run['loop_late_ms']['p99']} ms",
            )
        )
        parts = ", ".join(f"{part} {spent:.2f}" for part, spent in cores.items())
        rows.append(
            (
                "",
                f"cores used {sum(cores.values()):.2f} of {run['cores']} ({parts}); by others "
                f"{run['others_cpu_cores']:.2f}; CPU ms a call {sum(run['cpu_ms_per_call'].values()):.0f}",
            )
        )
    if len(runs) > 1 and held:
        best = max(held, key=lambda run: float(run["starts_per_s"]))
        rows.append(
            ("highest rate held", f"{best['starts_per_s']} starts/s with {best['live_channels_mean']} live channels")
        )
    return rows


def http_rows(found: Mapping[str, Any]) -> list[Row]:
    rows: list[Row] = []
    for kind, case in found["idle"].items():
        if not isinstance(case, Mapping):
            continue
        times, cores = case["all_ms"], case["cpu_cores"]
        rows.append(
            (
                f"HTTP, idle daemon, {kind}",
                f"{case['requests_per_s']} requests/s over {case['connections']} connections, p50 {times['p50']} p99 "
                f"{times['p99']} max {times['max']} ms, daemon {cores['daemon']} cores, database {cores['postgres']}; "
                f"{case['requests_per_daemon_cpu_s']} requests per CPU second of the daemon",
            )
        )
    for phase, title in (("dialing", "HTTP while dialing"), ("crowd", "the same among 1000 connections")):
        case = found[phase]
        times, late = case["all_ms"], case["left_late_ms"]
        kinds = ", ".join(f"{kind} {of_kind['p50']}/{of_kind['p99']}" for kind, of_kind in case["by_kind_ms"].items())
        rows += [
            (
                title,
                f"{case['requests_per_s']} requests/s by schedule: p50 {times['p50']} p99 {times['p99']} max "
                f"{times['max']} ms (left late p99 {late['p99']} ms); daemon {case['cpu_cores']['daemon']} cores, load "
                f"{case['load_average_1min']}",
            ),
            ("", f"p50/p99 ms by kind: {kinds}"),
        ]
    crowd = found["crowd"]["crowd"]
    rows.append(
        (
            "the thousand",
            f"{crowd.get('answered', 0)} of {crowd.get('asked', 0)} requests of good ones answered, p99 "
            f"{crowd['good_ms']['p99']} ms, {crowd.get('good_cut_off', 0)} of them cut off, "
            f"{crowd.get('slow_cut_off', 0)} slow and {crowd.get('deaf_cut_off', 0)} deaf ones; "
            f"{found['idle']['memory_kb_per_connection']} kB of the daemon's memory a connection",
        )
    )
    return rows


def import_rows(found: Mapping[str, Any]) -> list[Row]:
    return [
        (
            "list import",
            f"{found['rows_per_s']} rows/s ({found['rows']} rows, {found['rejected']} rejected), CPU {found['cpu_s']} s"
            f" in {found['seconds']} s, memory {found['peak_rss_before_mb']} -> {found['peak_rss_mb']} MB",
        )
    ]


def media_rows(found: list[Mapping[str, Any]]) -> list[Row]:
    rows = []
    for case in found:
        if case["case"] == "process per call":
            text = f"{case['cpu_cores']} cores and {case['peak_mb']} MB each: {case['per_core']} calls on one core"
            rows.append(("media, one process per call, same analysis", text))
        elif case["case"] == "parts":
            steps = "receive", "mix", "analyse", "send", "report", "all"
            text = ", ".join(f"{step} {case.get(step, 0.0)}" for step in steps)
            rows.append((f"media server, {case['channels']} channels analysed, CPU ms of a tick", text))
        else:
            rows.append(
                (
                    f"media server, {case['channels']} channels {case['case']}",
                    f"{case['cpu_cores']} cores, late p99 {case['late_p99_ms']} p99.9 {case['late_p999_ms']} ms, "
                    f"{case['missing']} missing, work p50 {case['tick_work_p50_ms']} p99 {case['tick_work_p99_ms']} ms "
                    "of a 20 ms tick",
                )
            )
    return rows


def concealment_rows(found: list[Mapping[str, Any]]) -> list[Row]:
    return [
        (
            f"loss concealment, {case['loss']:.0%} lost in bursts of {case['burst']:g}",
            f"{case['distance_db']['ours']} dB from what was lost (silence {case['distance_db']['silence']}, one frame "
            f"repeated {case['distance_db']['repeated']}), {case['energy']['ours']:.0%} of its energy",
        )
        for case in found
    ]


def pacing_rows(found: list[Mapping[str, Any]]) -> list[Row]:
    return [
        (
            f"pacing, {case['groups']} groups of {case['agents']} agents, decided every {case['period_s']} s",
            f"{case['cpu_share']:.1%} of one core, {case['cpu_per_decision_ms']} CPU ms a decision",
        )
        if "groups" in case
        else (
            f"pacing decision, {case['mode']}, {case['agents']} agents, {case['attempts_in_flight']} calls ringing",
            f"p50 {case['cpu_p50_ms']} p99 {case['cpu_p99_ms']} CPU ms",
        )
        for case in found
    ]


def cpa_rows(found: Mapping[str, Any]) -> list[Row]:
    classes = ", ".join(f"{name} {share:.3f}" for name, share in found["by_class"].items())
    return [("call progress analysis, right verdicts", f"{found['all']:.3f} of {found['items']} calls: {classes}")]


def records_rows(found: list[Mapping[str, Any]]) -> list[Row]:
    rows: list[Row] = []
    for case in found:
        slow, times, alone_ms = case["slow"], case["claim_ms"], case["claim_alone_ms"]
        size = f"{case['rows']:,}".replace(",", " ")
        by_phone, by_customer = case["withdraw_by_phone_ms"], case["withdraw_by_customer_id_ms"]
        rows += [
            (
                f"claiming 120 chains of {size} records",
                f"p50 {times['p50']} p99 {times['p99']} max {times['max']} ms beside {case['results_per_s']} "
                f"results/s; {slow['within_target_ratio']:.1%} within {slow['target_ms']:g} ms; alone p50 "
                f"{alone_ms['p50']} p99 {alone_ms['p99']} ms, CPU {case['claim_alone_cpu_ms']} ms",
            ),
            *(
                [
                    (
                        "",
                        f"the {slow['undisturbed']} with the machine to themselves: p50 {quiet['p50']} p99 "
                        f"{quiet['p99']} max {quiet['max']} ms",
                    )
                ]
                if (quiet := slow["undisturbed_ms"])
                else []
            ),
            (
                "",
                f"of {slow['beyond_target']} slower ones {slow['beside_others_on_half_a_core']} beside others on half "
                f"a core or more, {slow['beside_vacuum_or_checkpoint']} beside a vacuum or checkpoint; cores used by "
                f"all {case['machine_cpu_cores']}, load {case['load_average_1min']}",
            ),
            *(
                (
                    "" if place else "slowest claims",
                    f"{worst['ms']} ms, CPU of client and server meanwhile {worst['our_cpu_ms']} ms, wait for "
                    f"it {worst['our_wait_for_cpu_ms']} ms; others on {worst['others_cores']} cores"
                    + "".join(f", {work}" for work in worst["server"]),
                )
                for place, worst in enumerate(slow["worst"][:3])
            ),
            (
                f"withdrawals, {size} records",
                f"by number p50 {by_phone['p50']} p99 {by_phone['p99']} ms, by customer p50 {by_customer['p50']} p99 "
                f"{by_customer['p99']} ms",
            ),
            (
                "client memory",
                f"{case['rss_before_mb']} MB before, {case['rss_after_mb']} after {case['claims']} claims, "
                f"{case['rss_after_soak_mb']} after {case['soak_chains']} chains dialed at "
                f"{case['soak_results_per_s']} results/s",
            ),
        ]
    return rows


def results_rows(found: Mapping[str, Any]) -> list[Row]:
    engine = found["engine"]
    rows = [
        (
            "treatments, decisions",
            f"{engine['decisions_per_cpu_s']} per CPU second, p50 {engine['decision_cpu_us']['p50']} p99 "
            f"{engine['decision_cpu_us']['p99']} CPU us",
        )
    ]
    for case in found["store"]:
        rows += [
            (
                f"results, {case['caps'] or 'no'} attempt caps",
                f"{case['results_per_s']} results/s with treatments, {case['attempts_per_s']} attempts/s begun; CPU ms "
                f"of client and server {case['results_client_cpu_ms']} + {case['results_server_cpu_ms']} a result, "
                f"{case['attempts_client_cpu_ms']} + {case['attempts_server_cpu_ms']} an attempt",
            ),
            (
                "",
                f"at {case['paced_results_per_s']}/s: result p50 {case['paced_finish_ms']['p50']} p99 "
                f"{case['paced_finish_ms']['p99']} ms, attempt p50 {case['paced_begin_ms']['p50']} p99 "
                f"{case['paced_begin_ms']['p99']} ms; of {case['finished']} results {case['went_on']} went on, "
                f"{case['kept_in_memory']} in memory, {case['http_requests']} HTTP requests, {case['sql_statements']} "
                f"SQL statements, {case['refused']} refused by caps; load {case['load_average_1min']}",
            ),
        ]
    return rows


def dnc_rows(found: Mapping[str, Any]) -> list[Row]:
    imported, checks, read, times = found["import"], found["checks"], found["table"], found["checks"]["times"]
    each = ", ".join(
        f"{batch}: {times[f'hit_batch_{batch}_cpu_us']} / {times[f'miss_batch_{batch}_cpu_us']}"
        for batch in (1, 20, 100, 10_000)
    )
    return [
        (
            f"Do-Not-Call, import of {imported['numbers']} numbers",
            f"{imported['seconds']} s, peak memory {imported['peak_rss_mb']} MB, file {imported['file_mb']} MB "
            f"({imported['bytes_per_number']} bytes a number)",
        ),
        (
            "Do-Not-Call, checks",
            f"ready in {checks['mapped_load_s']} s, {checks['after_mb']['resident']} MB resident after "
            f"{checks['random_checks']} random checks ({checks['wrong']} wrong), {checks['after_mb']['own']} MB of it "
            "not shared",
        ),
        ("", f"CPU us a number in a batch of (hit / miss): {each}"),
        (
            f"Do-Not-Call, table of {read['rows']} rows",
            f"read at {read['rows_per_s']} rows/s, {read['kept_bytes_per_row']} bytes a row kept, "
            f"{read['requests_per_s']} requests/s written",
        ),
    ]


def preflight_rows(found: Mapping[str, Any]) -> list[Row]:
    cases = (("never_dialed", "never dialed"), ("again", "again"), ("with_attempts", "a fifth called today"))
    return [
        (
            f"preflight of {found[name]['rows']} rows, {title}" if not place else f"the same, {title}",
            f"{found[name]['took_s']} s, {found[name]['ready_now']} chains ready, memory "
            f"{found[name]['rss_before_mb']} -> {found[name]['rss_most_mb']} MB",
        )
        for place, (name, title) in enumerate(cases)
    ]


def calls_rows(found: list[Mapping[str, Any]]) -> list[Row]:
    rows = []
    for run in found:
        cores = ", ".join(f"{part} {share:.2f}" for part, share in run["cpu_cores"].items())
        grown = {
            part: round(after - run["memory_quarter_mb"].get(part, after), 1)
            for part, after in run["memory_after_mb"].items()
        }
        name = f"{run['rate_per_s']:g} calls/s held for {run['hold_s']:g} s, {run['started']} calls"
        rows += [
            (
                name,
                f"{'holds' if run['holds'] else 'does not hold'}: {run['starts_per_s']}/s, {run['held_most']} at once, "
                f"{run['started'] - run['answered']} not answered, media ticks {run['late_p99_ms']} ms late (p99)",
            ),
            ("  processor cores", cores),
            ("  processor ms per call", ", ".join(f"{part} {ms}" for part, ms in run["cpu_ms_per_call"].items())),
            ("  memory per call, KB", ", ".join(f"{part} {kb}" for part, kb in run["memory_per_call_kb"].items())),
            (
                "  left behind",
                f"{run['legs_left']} legs, {run['channels_left']} channels; MB grown since a quarter: {grown}",
            ),
        ]
    return rows


SECTIONS = (
    Section(
        "calls",
        ("--rates", "12.5", "25", "37.5", "50", "--seconds", "60", "--long", "600", "--soak", "50000"),
        ("--rates", "5", "--hold", "4", "--seconds", "15"),
        5400.0,
        calls_rows,
    ),
    Section("dialing", ("--sweep", "--seconds", "60"), ("--quick",), 2400.0, dialing_rows),
    Section("http_records", (), ("--quick",), 600.0, http_rows),
    Section("import_rows", (), ("--rows", "100000"), 300.0, import_rows),
    Section(
        "records",
        (),
        ("--rows", "200000", "--claims", "30", "--withdrawals", "50", "--soak", "5000"),
        1800.0,
        records_rows,
    ),
    Section(
        "results",
        (),
        ("--rows", "100000", "--decisions", "20000", "--results", "3000", "--seconds", "5"),
        600.0,
        results_rows,
    ),
    Section("preflight", (), ("--rows", "50000", "--registry", "1000000"), 900.0, preflight_rows),
    Section(
        "media",
        ("--channels", "100", "500", "1000", "--parts"),
        ("--channels", "200", "--seconds", "4"),
        600.0,
        media_rows,
    ),
    Section("concealment", (), (), 120.0, concealment_rows),
    Section("pacing", (), ("--decisions", "50", "--agents", "10", "100", "1000"), 600.0, pacing_rows),
    Section("dnc", (), ("--numbers", "5000000", "--rows", "200000", "--checks", "1000000"), 1200.0, dnc_rows),
    Section("cpa", (), ("--items", "100"), 300.0, cpa_rows, needs="espeak-ng"),
)


def run(section: Section, quick: bool, folder: Path) -> tuple[Any, bool]:
    """
    The section's figures, and whether they are what it asks for; RuntimeError when it failed. Interrupted, it is given
    time to take its processes down.
    """
    file = folder / f"{section.name}.json"
    arguments = section.quick_arguments if quick else section.arguments
    command = [sys.executable, "-m", f"bench.{section.name}", *arguments, "--json", str(file)]
    root = Path(__file__).parent.parent
    process = subprocess.Popen(
        command, cwd=root, env=os.environ | {"OPENBLAS_NUM_THREADS": "1"}, start_new_session=True
    )
    try:
        code = process.wait(section.limit_s)
    except subprocess.TimeoutExpired:
        code = None
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    if code not in (0, NOT_HELD):
        raise RuntimeError(f"took longer than {section.limit_s:.0f} s" if code is None else f"ended with code {code}")
    return json.loads(file.read_text(encoding="utf-8")), code == 0


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [section.name for section in SECTIONS]
    parser.add_argument("--quick", action="store_true", help="short windows, no search for the highest rate")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--out", type=Path, default=Path("bench.json"), help="default: %(default)s")
    options = parser.parse_args()

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    table = Table(title="ocsd on this machine", show_lines=False)
    table.add_column("what", no_wrap=True)
    table.add_column("measured")
    everything: dict[str, Any] = {
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "kernel": platform.release()},
        "quick": options.quick,
    }
    failed = False
    try:
        with tempfile.TemporaryDirectory(prefix="ocsd-bench-") as folder:
            for section in SECTIONS:
                if section.name not in options.only:
                    continue
                if section.needs and shutil.which(section.needs) is None:
                    table.add_row(section.name, f"not measured: {section.needs} is not installed")
                    continue
                print(f"== {section.name}", flush=True)
                began_s = time.monotonic()
                try:
                    found, good = run(section, options.quick, Path(folder))
                except RuntimeError as error:
                    failed = True
                    table.add_row(section.name, f"not measured: {error}")
                    everything[section.name] = {"failed": str(error)}
                    continue
                failed |= not good
                everything[section.name] = {"took_s": round(time.monotonic() - began_s, 1), "figures": found}
                for row in section.rows(found):
                    table.add_row(*row)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        failed = True
    options.out.write_text(json.dumps(everything, indent=2) + "\n", encoding="utf-8")
    Console(width=max(120, Console().width)).print(table)
    print(f"All figures: {options.out}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
