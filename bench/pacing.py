"""CPU time of pacing: one decision by size of the group, and many groups side by side, in CPU milliseconds.

The groups live in the pacing simulator: calls ring, people answer and agents talk as they would, and the pacer decides
on what it has learnt from them. Only time inside the pacer counts.

    python -m bench.pacing [--agents 10 30 100 300 1000 3000 10000] [--groups 200] [--plot docs/pacing-scaling.svg]

* One decision by number of agents, decided every second in a group in its stride.
* The same at 300 agents with a hit ratio so low that about 1,000 attempts are in flight.
* ``--groups`` groups of 50 agents in one process, each decided five times a second, as the daemon does: the share of
  one core that decisions and events take. The groups' lives are recorded first and then played side by side, so that
  each decision finds the caches as 199 other groups left them.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pacing import GroupSnapshot, Mode, Outcome, Pacer, PacingTarget
from pacing.sim import Scenario, simulate_policy
from pacing.sim.engine import pacer_for
from pacing.sim.plots import pyplot
from pacing.types import DialDecision

SETTLED_S = 300.0
"""Start of a run that is not measured: agents who all began at once are spread over their calls by then."""
GROUP_AGENTS = 50
GROUP_PERIOD_S = 0.2
RECORDINGS = 4
TARGET_P99_MS = 2.0


class Timed:
    """A pacer whose decisions are timed."""

    def __init__(self, pacer: Pacer, settled_s: float) -> None:
        self._pacer, self._settled_s = pacer, settled_s
        self.spent_ms: list[float] = []
        self.in_flight: list[int] = []
        self.launched = 0
        self.answered: Callable[[float], None] = pacer.answered
        self.ended: Callable[[float, Outcome, float | None], None] = pacer.ended
        self.person: Callable[[float], None] = pacer.person
        self.bridged: Callable[[float], None] = pacer.bridged
        self.abandoned: Callable[[], None] = pacer.abandoned
        self.handled: Callable[[float, float], None] = pacer.handled

    def decide(self, snapshot: GroupSnapshot) -> DialDecision:
        began_s = time.process_time()
        decision = self._pacer.decide(snapshot)
        spent_s = time.process_time() - began_s
        if snapshot.now_s >= self._settled_s:
            self.spent_ms.append(1000.0 * spent_s)
            self.in_flight.append(len(snapshot.attempts_age_s) + len(snapshot.analysing_age_s))
            self.launched += decision.launch
        return decision


def decisions(mode: Mode, scenario: Scenario, count: int, seed: int = 1) -> dict[str, Any]:
    """CPU time of the last ``count`` decisions in one group."""
    made: list[Timed] = []

    def policy(found: Scenario) -> Timed:
        made.append(Timed(pacer_for(found, PacingTarget(mode)), scenario.duration_s - count))
        return made[-1]

    simulate_policy(scenario, policy, seed)
    spent_ms = made[0].spent_ms
    p50, p99 = np.percentile(spent_ms, (50, 99))
    return {
        "case": scenario.name,
        "mode": mode.value,
        "agents": scenario.agents,
        "attempts_in_flight": round(float(np.mean(made[0].in_flight))),
        "decisions": len(spent_ms),
        "mean_launch": round(made[0].launched / len(spent_ms), 2),
        "cpu_p50_ms": round(float(p50), 3),
        "cpu_p99_ms": round(float(p99), 3),
        "cpu_max_ms": round(max(spent_ms), 3),
        "decisions_per_cpu_s": round(1000.0 / max(float(np.mean(spent_ms)), 1e-6)),
    }


class Recorder(Pacer):
    """A pacer that notes what it is told before each decision."""

    def __init__(self, target: PacingTarget, max_wait_s: float) -> None:
        super().__init__(target, max_wait_s)
        self.steps: list[tuple[list[tuple[str, tuple[Any, ...]]], GroupSnapshot]] = []
        self._told: list[tuple[str, tuple[Any, ...]]] = []

    def answered(self, age_s: float) -> None:
        self._told.append(("answered", (age_s,)))
        super().answered(age_s)

    def ended(self, age_s: float, outcome: Outcome, after_answer_s: float | None = None) -> None:
        self._told.append(("ended", (age_s, outcome, after_answer_s)))
        super().ended(age_s, outcome, after_answer_s)

    def person(self, delay_s: float) -> None:
        self._told.append(("person", (delay_s,)))
        super().person(delay_s)

    def bridged(self, wait_s: float) -> None:
        self._told.append(("bridged", (wait_s,)))
        super().bridged(wait_s)

    def abandoned(self) -> None:
        self._told.append(("abandoned", ()))
        super().abandoned()

    def handled(self, talk_s: float, wrap_up_s: float) -> None:
        self._told.append(("handled", (talk_s, wrap_up_s)))
        super().handled(talk_s, wrap_up_s)

    def decide(self, snapshot: GroupSnapshot) -> DialDecision:
        self.steps.append((self._told, snapshot))
        self._told = []
        return super().decide(snapshot)


def side_by_side(groups: int, seconds: float) -> dict[str, Any]:
    """Share of one core that so many groups of :data:`GROUP_AGENTS` agents take."""
    scenario = Scenario(
        "group",
        GROUP_AGENTS,
        duration_s=SETTLED_S + seconds,
        decide_every_s=GROUP_PERIOD_S,
        analysed=True,
        connect_s=0.3,
    )
    target = PacingTarget(Mode.PREDICTIVE)
    recorded: list[Recorder] = []

    def policy(found: Scenario) -> Recorder:
        recorded.append(Recorder(target, found.max_wait_s - found.connect_s))
        return recorded[-1]

    for seed in range(1, RECORDINGS + 1):
        simulate_policy(scenario, policy, seed)
    lives = [recording.steps for recording in recorded]
    first = int(SETTLED_S / GROUP_PERIOD_S)
    pacers: list[tuple[Pacer, list[tuple[list[tuple[str, tuple[Any, ...]]], GroupSnapshot]]]] = []
    for group in range(groups):
        # All of them learn before the clock runs; only then are they played in turn.
        life = lives[group % RECORDINGS]
        pacer = Pacer.from_state(
            target, _learnt(target, life[:first], scenario), scenario.max_wait_s - scenario.connect_s
        )
        pacers.append((pacer, life))
    spent_ms, began_s = [], time.process_time()
    for step in range(first, min(len(life) for life in lives)):
        step_s = time.process_time()
        for pacer, life in pacers:
            told, snapshot = life[step]
            for name, values in told:
                getattr(pacer, name)(*values)
            pacer.decide(snapshot)
        spent_ms.append(1000.0 * (time.process_time() - step_s))
    spent_s = time.process_time() - began_s
    steps = len(spent_ms)
    return {
        "case": "groups side by side",
        "mode": target.mode.value,
        "groups": groups,
        "agents": GROUP_AGENTS,
        "period_s": GROUP_PERIOD_S,
        "simulated_s": round(steps * GROUP_PERIOD_S, 1),
        "cpu_share": round(spent_s / (steps * GROUP_PERIOD_S), 4),
        "cpu_per_decision_ms": round(1000.0 * spent_s / steps / groups, 4),
        "round_p50_ms": round(float(np.percentile(spent_ms, 50)), 1),
        "round_p99_ms": round(float(np.percentile(spent_ms, 99)), 1),
    }


_learnt_of: dict[int, dict[str, Any]] = {}


def _learnt(target: PacingTarget, life: list[tuple[Any, GroupSnapshot]], scenario: Scenario) -> dict[str, Any]:
    """What a pacer knows after that part of a life; each recording is played once only."""
    key = id(life[0][1])
    if key not in _learnt_of:
        pacer = Pacer(target, scenario.max_wait_s - scenario.connect_s)
        for told, snapshot in life:
            for name, values in told:
                getattr(pacer, name)(*values)
            pacer.decide(snapshot)
        _learnt_of[key] = pacer.state()
    return _learnt_of[key]


def plot(found: list[dict[str, Any]], path: Path) -> None:
    """CPU time per decision by number of agents, both axes logarithmic."""
    plt = pyplot()
    cases = [case for case in found if case["case"].startswith("by size") and case["mode"] == Mode.PREDICTIVE.value]
    agents = [case["agents"] for case in cases]
    figure, axis = plt.subplots(figsize=(7.0, 4.5), constrained_layout=True)
    for name, label in (("cpu_p50_ms", "median"), ("cpu_p99_ms", "99th percentile")):
        axis.loglog(agents, [case[name] for case in cases], marker="o", label=label)
    axis.axhline(TARGET_P99_MS, color="grey", linestyle=":", label="target for the 99th percentile at 300 agents")
    axis.set_xlabel("agents of the group")
    axis.set_ylabel("CPU ms per decision")
    axis.set_title("Cost of a pacing decision (python -m bench.pacing --plot)", fontsize="medium")
    axis.grid(which="both", alpha=0.3)
    axis.legend(fontsize="small")
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, nargs="+", default=[10, 30, 100, 300, 1000, 3000, 10000])
    parser.add_argument("--decisions", type=int, default=600, help="measured per case")
    parser.add_argument("--groups", type=int, default=200, help="of 50 agents side by side; 0: leave that out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the time by number of agents")
    options = parser.parse_args()
    found = []

    def keep(figures: dict[str, Any]) -> None:
        found.append(figures)
        print(json.dumps(figures), flush=True)

    duration_s = SETTLED_S + options.decisions
    # At three people in a hundred calls it takes longer until the lines are full.
    crowded_s = 4 * SETTLED_S + options.decisions
    for mode in Mode:
        for agents in options.agents:
            keep(decisions(mode, Scenario(f"by size, {agents}", agents, duration_s=duration_s), options.decisions))
    crowded = Scenario("1000 attempts in flight", 300, hit_ratio=0.033, duration_s=crowded_s)
    keep(decisions(Mode.PREDICTIVE, crowded, options.decisions))
    analysed = replace(crowded, name="1000 attempts in flight, analysed", analysed=True, hit_ratio=0.04)
    keep(decisions(Mode.PREDICTIVE, analysed, options.decisions))
    if options.groups:
        keep(side_by_side(options.groups, min(options.decisions * GROUP_PERIOD_S, 60.0)))
    if options.json is not None:
        options.json.write_text(json.dumps(found), encoding="utf-8")
    if options.plot is not None:
        plot(found, options.plot)


if __name__ == "__main__":
    main()
