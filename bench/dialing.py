"""Sustained call starts per second and live channels with everything on this machine.

Dials a made-up list through the real product (daemon, SIP workers, media server, PostgreSQL) against the simulated
carrier and agents, at a rate held by dialing_rate_limit, and reports what happened in the steady window: starts as the
carrier saw them, live channels (legs of customers and agents), verdicts of call progress analysis missed or late,
results against the carrier's truth, lateness of the media server's ticks and of the daemon's loop, CPU by part.

    python -m bench.dialing                 # 20 starts/s for 60 s
    python -m bench.dialing --sweep         # 5, 10, 20, 30, ... starts/s until a rate is not held
    python -m bench.dialing --quick         # 20 starts/s for 15 s

A rate is held when at least 97 % of it was reached, no call was refused a port, no verdict was missed, and none on a
person came later than the two seconds in which an agent should be there.
"""

import argparse
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.rig import Load, Observed, rig
from ocsd.demo import report as reporting
from ocsd.model.enums import CallResult

HELD_RATIO = 0.97
TOO_LATE_S = 2.0
"""After the end of the greeting, 16 CFR 310.4(b)(4)(iii): a later verdict is of no use."""
TARGET_PER_S = 20.0
SWEEP_PER_S = (5.0, 10.0, TARGET_PER_S, 30.0, 40.0, 50.0, 60.0, 80.0, 100.0)


def percentiles(values: Sequence[float], unit: float = 1.0) -> dict[str, float | int | None]:
    if not values:
        return {"count": 0, "p50": None, "p99": None, "max": None}
    p50, p99 = np.percentile(values, (50, 99))
    return {
        "count": len(values),
        "p50": round(float(p50) * unit, 1),
        "p99": round(float(p99) * unit, 1),
        "max": round(max(values) * unit, 1),
    }


def concurrency(calls: Iterable[tuple[float, float]], began_s: float, ended_s: float) -> tuple[float, int]:
    """Mean and highest number of calls that lived at once within the window."""
    changes: list[tuple[float, int]] = []
    lived_s = 0.0
    for start_s, end_s in calls:
        start_s, end_s = max(start_s, began_s), min(end_s, ended_s)
        if end_s > start_s:
            lived_s += end_s - start_s
            changes += [(start_s, 1), (end_s, -1)]
    most = now = 0
    for _, step in sorted(changes):
        now += step
        most = max(most, now)
    return lived_s / (ended_s - began_s), most


def verdicts(observed: Observed) -> dict[str, Any]:
    """What analysis made of the calls answered within the window."""
    truths = {truth["number"].lstrip("+"): truth for truth in observed.truths}
    answered = 0
    missed: Counter[str] = Counter()
    late_s: list[float] = []
    agent_after_s: list[float] = []
    for attempt in observed.attempts:
        answered_s = attempt["answered_at_s"]
        truth = truths.get(attempt["phone"].lstrip("+"))
        if truth is None or answered_s is None or not observed.began_s <= answered_s < observed.ended_s:
            continue
        answered += 1
        # Who hangs up before there can be a verdict does not count: that is the class's course, not a miss.
        gone = attempt["cpa_verdict"] is None and truth.get("ended_by") == "callee"
        if attempt["cpa_verdict"] in (None, "timeguard") and not gone:
            heard = attempt["evidence"] and "cpa" in attempt["evidence"]
            why = "time guard of analysis" if heard else "no verdict came"
            missed[f"{truth['class']}: {why}"] += 1
        greeting_end_s = truth.get("greeting_ended_at_s")
        if truth["class"] in ("human", "music") and attempt["cpa_verdict"] == "human" and greeting_end_s is not None:
            late_s.append(attempt["cpd_completed_at_s"] - greeting_end_s)
            if attempt["agent_answered_at_s"] is not None:
                agent_after_s.append(attempt["agent_answered_at_s"] - greeting_end_s)
    return {
        "answered": answered,
        "verdicts_missed": sum(missed.values()),
        "missed_by_class": dict(missed.most_common()),
        "verdicts_too_late": sum(late > TOO_LATE_S for late in late_s),
        "human_verdict_after_greeting_ms": percentiles(late_s, 1000.0),
        "agent_connected_after_greeting_ms": percentiles(agent_after_s, 1000.0),
    }


def figures(observed: Observed) -> dict[str, Any]:
    """One run as figures; nothing is judged but whether the rate was held."""
    began_s, ended_s = observed.began_s, observed.ended_s
    window_s = ended_s - began_s
    starts_s = sorted(t["invited_at_s"] for t in observed.truths if began_s <= t["invited_at_s"] < ended_s)
    customers = [(t["invited_at_s"], t["ended_at_s"]) for t in observed.truths]
    agents = [(t["invited_at_s"], t["ended_at_s"]) for t in observed.phone_truths]
    live_mean, live_max = concurrency(customers + agents, began_s, ended_s)
    rows = [
        reporting.AttemptRow(
            a["attempt_id"], a["phone"], a["call_result"], a["connected"], a["finished"], a["agent_id"]
        )
        for a in observed.attempts
    ]
    match = reporting.match_truth(rows, observed.truths)
    audio = reporting.audio_verdicts(rows, observed.truths, observed.phone_truths)
    in_window = [a for a in observed.attempts if a["dialing_at_s"] and began_s <= a["dialing_at_s"] < ended_s]
    results = Counter(reporting.title_of(a["call_result"]) for a in in_window)
    people = sum(a["connected"] or a["call_result"] in reporting.PEOPLE_WITHOUT_AGENT for a in in_window)
    classes = {truth["number"].lstrip("+"): str(truth["class"]) for truth in observed.truths}
    without_agent = [
        classes.get(a["phone"].lstrip("+"), "unknown")
        for a in in_window
        if a["call_result"] in reporting.PEOPLE_WITHOUT_AGENT
    ]
    starts = len(starts_s)
    found = verdicts(observed)
    starts_per_s = starts / window_s
    no_port = sum(a["call_result"] == CallResult.NO_PORT_AVAILABLE for a in in_window)
    return {
        "wanted_per_s": observed.load.rate_per_s,
        "starts_per_s": round(starts_per_s, 2),
        "held": starts_per_s >= HELD_RATIO * observed.load.rate_per_s
        and not (found["verdicts_missed"] or found["verdicts_too_late"] or no_port),
        "no_port": no_port,
        "window_s": round(window_s, 2),
        "agents": observed.load.agents,
        "live_channels_mean": round(live_mean, 1),
        "live_channels_max": live_max,
        **found,
        "truth_match_signalling": match["signalling"],
        "truth_match_cpa": match["cpa"],
        "misses": summed(match["misses"]),
        "audio_ok": audio["ok"],
        "people": people,
        "people_without_agent": len(without_agent),
        "without_agent_by_class": dict(Counter(without_agent)),
        "double_dialed": reporting.double_dialed(observed.truths),
        "unfinished": sum(not a["finished"] for a in observed.attempts),
        "results": dict(results.most_common()),
        "loop_late_ms": worst(observed, "loop_late_p50_ms", "loop_late_p99_ms", "loop_late_max_ms"),
        "tick_late_ms": worst(observed, "tick_late_p50_ms", "tick_late_p99_ms"),
        "tick_work_ms": worst(observed, "tick_work_p50_ms", "tick_work_p99_ms"),
        "world_tick_late_max_ms": observed.world.get("tick_late_max_ms"),
        "world_skipped_ticks": observed.world.get("skipped_ticks"),
        "cpu_s": observed.cpu_s,
        "cpu_cores": {part: round(spent / window_s, 3) for part, spent in observed.cpu_s.items()},
        "cpu_ms_per_call": {part: round(1000 * spent / max(1, starts), 1) for part, spent in observed.cpu_s.items()},
        "others_cpu_cores": round(observed.others_cpu_s / window_s, 2),
        "cores": os.cpu_count(),
    }


def summed(misses: Iterable[dict[str, Any]]) -> dict[str, int]:
    return dict(Counter(f"{miss['class']} -> {miss['result']}" for miss in misses).most_common())


def worst(observed: Observed, *names: str) -> dict[str, float | None]:
    """The worst of the ten-second reports within the window (the median of the p50 ones)."""
    out: dict[str, float | None] = {}
    for name in names:
        values = [line[name] for line in observed.load_lines if name in line]
        short = name.split("_")[-2]
        out[short] = (float(np.median(values)) if short == "p50" else max(values)) if values else None
    return out


def measure(load: Load) -> dict[str, Any]:
    with rig(load) as running:
        observed = running.measure()
    return figures(observed)


def sweep(rates: Sequence[float], steady_s: float, seed: int) -> list[dict[str, Any]]:
    """
    Rates in turn until one is not held; a rate that was not held gets a second chance (others use the machine).

    The window is ``steady_s`` at the target and half of it at the other rates.
    """
    found: list[dict[str, Any]] = []
    for rate in rates:
        window_s = steady_s if rate == TARGET_PER_S else 0.5 * steady_s
        found.append(measure(Load(rate, steady_s=window_s, seed=seed)))
        show(found[-1])
        if not found[-1]["held"]:
            found.append(measure(Load(rate, steady_s=window_s, seed=seed + 1)))
            show(found[-1])
        if not found[-1]["held"]:
            break
    return found


def show(run: dict[str, Any]) -> None:
    late, agent = run["human_verdict_after_greeting_ms"], run["agent_connected_after_greeting_ms"]
    total = sum(run["cpu_cores"].values())
    print(
        f"{run['wanted_per_s']:g}/s wanted: {run['starts_per_s']} starts/s, live channels {run['live_channels_mean']} "
        f"(max {run['live_channels_max']}), answered {run['answered']}, verdicts missed "
        f"{run['verdicts_missed']}, too late {run['verdicts_too_late']}, without port {run['no_port']}, "
        f"{'held' if run['held'] else 'not held'}\n"
        f"  verdict after greeting p50 {late['p50']} p99 {late['p99']} ms; agent p50 {agent['p50']} p99 {agent['p99']} "
        f"ms; truth {run['truth_match_signalling']} signalling, {run['truth_match_cpa']} CPA; audio {run['audio_ok']}; "
        f"{run['people_without_agent']} of {run['people']} people without agent\n"
        f"  loop late {run['loop_late_ms']} ticks late {run['tick_late_ms']} work {run['tick_work_ms']} ms, simulated "
        f"world late max {run['world_tick_late_max_ms']} ms\n"
        f"  cores used {total:.2f} of {run['cores']} (others {run['others_cpu_cores']}): {run['cpu_cores']}\n"
        f"  CPU ms per call: {run['cpu_ms_per_call']}",
        flush=True,
    )
    for title in ("missed_by_class", "without_agent_by_class", "misses"):
        if run[title]:
            print(f"  {title}: {run[title]}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=TARGET_PER_S, help="call starts per second")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the steady window")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sweep", action="store_true", help="find the highest rate that is held")
    parser.add_argument("--quick", action="store_true", help="a window of 15 s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the site is taken down then, too
    steady_s = 15.0 if options.quick else options.seconds
    began_s = time.monotonic()
    if options.sweep:
        runs = sweep(SWEEP_PER_S, steady_s, options.seed)
    else:
        runs = [measure(Load(options.rate, steady_s=steady_s, seed=options.seed))]
        show(runs[0])
    print(f"took {time.monotonic() - began_s:.0f} s")
    if options.json is not None:
        options.json.write_text(json.dumps(runs, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
