"""Run time of one pacing decision, by size of the group, in CPU milliseconds.

A pacer is taught with a made-up history (30 % of the calls reach a person), then asked again and again about a group in
its stride: half the agents talk, a tenth is idle, the rest wraps up; calls ring and are analysed in proportion.

    python -m bench.pacing [--agents 10 50 200 1000] [--decisions 200]
"""

import argparse
import json
import random
import time
from pathlib import Path
from typing import Any

import numpy as np

from pacing import Goal, GroupSnapshot, Mode, Outcome, Pacer, PacingTarget

TALK_S, WRAP_S, RING_S = 150.0, 30.0, 12.0


def taught(mode: Mode, rng: random.Random, calls: int) -> Pacer:
    pacer = Pacer(PacingTarget(mode, Goal.OVERDIAL_RATE, 0.03), max_wait_s=0.8)
    for _ in range(calls):
        if rng.random() < 0.5:
            pacer.answered(rng.gammavariate(4.0, RING_S / 4.0))
            if rng.random() < 0.6:
                pacer.person(rng.uniform(0.8, 2.5))
                pacer.bridged(rng.uniform(0.0, 0.5))
                pacer.handled(rng.gammavariate(2.0, TALK_S / 2.0), rng.gammavariate(2.0, WRAP_S / 2.0))
            else:
                pacer.ended(RING_S, Outcome.MACHINE, rng.uniform(2.0, 4.0))
        else:
            pacer.ended(rng.uniform(1.0, 25.0), Outcome.NO_ANSWER)
    return pacer


def snapshot(agents: int, now_s: float, rng: random.Random) -> GroupSnapshot:
    talking, idle = agents * 6 // 10, max(1, agents // 10)
    wrapping = agents - talking - idle
    ringing = agents // 2
    return GroupSnapshot(
        now_s=now_s,
        agents_idle_s=tuple(rng.uniform(0.0, 20.0) for _ in range(idle)),
        agents_talking_s=tuple(rng.uniform(0.0, 2.0 * TALK_S) for _ in range(talking)),
        agents_wrapping_s=tuple((rng.uniform(10.0, 300.0), rng.uniform(0.0, 60.0)) for _ in range(wrapping)),
        attempts_age_s=tuple(rng.uniform(0.0, 25.0) for _ in range(ringing)),
        analysing_age_s=tuple(rng.uniform(0.0, 3.0) for _ in range(agents // 20)),
        people_waiting=0,
        ports_free=10 * agents,
        records_ready=10 * agents,
    )


def measure(mode: Mode, agents: int, decisions: int, seed: int = 1) -> dict[str, Any]:
    """CPU time per decision; between two decisions 0.2 s pass and a call ends, so tables are renewed as in life."""
    rng = random.Random(seed)
    pacer = taught(mode, rng, 20 * agents)
    spent_ms, launched = [], 0
    for step in range(decisions + 10):
        asked = snapshot(agents, 100.0 + 0.2 * step, rng)
        pacer.answered(rng.gammavariate(4.0, RING_S / 4.0))
        pacer.person(rng.uniform(0.8, 2.5))
        pacer.bridged(0.1)
        began_s = time.process_time()
        launched += pacer.decide(asked).launch
        spent_ms.append(1000.0 * (time.process_time() - began_s))
    p50, p99 = np.percentile(spent_ms[10:], (50, 99))
    return {
        "mode": mode.value,
        "agents": agents,
        "decisions": decisions,
        "mean_launch": round(launched / (decisions + 10), 2),
        "cpu_p50_ms": round(float(p50), 3),
        "cpu_p99_ms": round(float(p99), 3),
        "decisions_per_cpu_s": round(1000.0 / max(float(np.mean(spent_ms[10:])), 1e-6)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, nargs="+", default=[10, 50, 200, 1000])
    parser.add_argument("--decisions", type=int, default=200)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    options = parser.parse_args()
    found = []
    for mode in Mode:
        for agents in options.agents:
            found.append(measure(mode, agents, options.decisions))
            print(json.dumps(found[-1]), flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
