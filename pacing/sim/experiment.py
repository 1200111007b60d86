"""Runs of many scenarios, contenders and seeds in several processes, and a store of what has been run already."""

import ast
import hashlib
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from pacing.sim.contenders import CONTENDERS, ENGINE, FLOOR, HELD, RELEASING
from pacing.sim.engine import simulate_policy
from pacing.sim.scenarios import Scenario

_Item = TypeVar("_Item")
_Found = TypeVar("_Found")

LIMIT_RATIO = 0.03
_WORLD_CODE = ("sim.engine", "sim.draws", "sim.results", "sim.spread")
_TUNING_STEPS = 8
_TUNING_AGENT_HOURS = 300.0
BAR_CELLS = 30


@dataclass(frozen=True, slots=True)
class Job:
    """One run: picklable, and complete, so that its result does not depend on the process it runs in."""

    scenario: Scenario
    contender: str
    knob: float
    seed: int


@dataclass(frozen=True, slots=True)
class Run:
    """Figures of one job that tables need; see :class:`pacing.sim.results.RunResult`."""

    seed: int
    knob: float
    attempts: int
    people: int
    abandoned: int
    busy_ratio: float
    worst_window_ratio: float
    wait_s: float
    agent_wait_s: float
    lost_people: int
    inbound_wait_s: float
    cpu_s: float

    @property
    def abandoned_ratio(self) -> float:
        return self.abandoned / self.people if self.people else 0.0


_FIELDS = [field.name for field in fields(Run)]


def run_job(job: Job) -> Run:
    """Do it."""
    contender = CONTENDERS[job.contender]
    began_s = time.process_time()
    found = simulate_policy(job.scenario, lambda scenario: contender.make(scenario, job.knob), job.seed)
    return Run(
        seed=job.seed,
        knob=job.knob,
        attempts=found.attempts,
        people=found.people,
        abandoned=found.abandoned,
        busy_ratio=round(found.busy_ratio, 6),
        worst_window_ratio=round(found.worst_window_ratio, 6),
        wait_s=round(found.wait_s, 4),
        agent_wait_s=round(found.agent_wait_s, 4),
        lost_people=found.lost_people,
        inbound_wait_s=round(found.inbound_wait_s, 4),
        cpu_s=round(time.process_time() - began_s, 3),
    )


class Progress:
    """A bar on standard error while that is a terminal."""

    def __init__(self, total: int) -> None:
        self._total, self._done = total, 0

    def step(self, label: str) -> None:
        self._done += 1
        if sys.stderr.isatty():
            cells = BAR_CELLS * self._done // max(self._total, 1)
            end = "\n" if self._done >= self._total else ""
            bar = f"\r[{'#' * cells}{'.' * (BAR_CELLS - cells)}] {self._done}/{self._total} {label:<40.40}"
            print(bar, end=end, file=sys.stderr, flush=True)  # noqa: T201


def fingerprint(scenario: Scenario, contender: str) -> str:
    """Changes with the scenario and with any code that decides about the result, not with comments and docstrings."""
    digest = hashlib.sha256(repr(scenario).encode())
    own = CONTENDERS[contender].modules
    for module in (*_WORLD_CODE, *(_reached("pacer") if contender in (ENGINE, RELEASING) else own)):
        digest.update(_code(_path(module)).encode())
    return digest.hexdigest()[:16]


def _path(module: str) -> Path:
    spec = find_spec(f"pacing.{module}")
    if spec is None or spec.origin is None:
        raise ValueError(f"no module pacing.{module}")
    return Path(spec.origin)


def _reached(module: str) -> list[str]:
    """The module of ``pacing`` and those that it imports, and so on, in order of name."""
    found, to_read = {module}, [module]
    while to_read:
        for node in ast.walk(ast.parse(_path(to_read.pop()).read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module is not None and node.module.startswith("pacing."):
                name = node.module.removeprefix("pacing.")
                if name not in found:
                    found.add(name)
                    to_read.append(name)
    return sorted(found)


_code_of: dict[Path, str] = {}


def _code(path: Path) -> str:
    if path not in _code_of:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list):
                body[:] = [
                    line for line in body if not (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant))
                ]
        _code_of[path] = ast.dump(tree)
    return _code_of[path]


class Store:
    """Results by scenario and contender, in a JSON file; only those of the present code count.

    ``path`` None: in memory only. ``whatever_code``: results of earlier code count as well; ``older`` names them.
    """

    def __init__(self, path: Path | None, whatever_code: bool = False) -> None:
        self._path, self._whatever_code = path, whatever_code
        self.older: set[str] = set()
        self._found: dict[str, dict[str, Any]] = {}
        if path is not None and path.exists():
            kept = json.loads(path.read_text(encoding="utf-8"))
            if kept["fields"] == _FIELDS:
                self._found = kept["results"]

    def runs(self, scenario: Scenario, contender: str) -> dict[int, Run]:
        """By seed."""
        entry = self._found.get(f"{scenario.name}/{contender}")
        if entry is None:
            return {}
        if entry["fingerprint"] != fingerprint(scenario, contender):
            if not self._whatever_code:
                return {}
            self.older.add(contender)
        return {run.seed: run for run in (Run(*values) for values in entry["runs"])}

    def keep(self, scenario: Scenario, contender: str, runs: Iterable[Run]) -> None:
        """Replace what is known about the pair and write the file."""
        self._found[f"{scenario.name}/{contender}"] = {
            "fingerprint": fingerprint(scenario, contender),
            "runs": [list(astuple(run)) for run in sorted(runs, key=lambda run: run.seed)],
        }
        if self._path is not None:
            rows = [f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in sorted(self._found.items())]
            head = f'{{"fields": {json.dumps(_FIELDS)}, "results": {{\n'
            self._path.write_text(head + ",\n".join(rows) + "\n}}\n", encoding="utf-8")


def kept_runs(scenario: Scenario, contender: str, seeds: Sequence[int], store: Store) -> list[Run] | None:
    """The runs of every seed, or None when the store lacks one. A floor within the limit has nothing to be held to."""
    if contender == HELD:
        floor = kept_runs(scenario, FLOOR, seeds, store)
        if floor is not None and sum(run.abandoned for run in floor) <= LIMIT_RATIO * sum(run.people for run in floor):
            return floor
    known = store.runs(scenario, contender)
    return [known[seed] for seed in seeds] if set(seeds) <= set(known) else None


class Laboratory:
    """Runs jobs, in this process or in ``jobs`` others; a context manager."""

    def __init__(self, jobs: int) -> None:
        self._pool = (
            # Fresh interpreters: what a run computes must not depend on what this process has done before.
            # They are nice: a laboratory takes every core, but waits for whoever else needs one.
            ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), os.nice, (5,)) if jobs > 1 else None
        )

    def __enter__(self) -> "Laboratory":
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def map(self, work: Callable[[_Item], _Found], items: Sequence[_Item]) -> Iterator[_Found]:
        """Results of a function of a module, in the order of ``items``."""
        return map(work, items) if self._pool is None else self._pool.map(work, items)

    def runs(self, jobs: Sequence[Job]) -> Iterator[Run]:
        """Results in the order of ``jobs``."""
        return self.map(run_job, jobs)

    def tuned(self, scenario: Scenario, contender: str, seeds: Sequence[int]) -> float:
        """The boldest knob found by bisection that keeps all people of all seeds together within the limit."""
        bounds = CONTENDERS[contender].knob
        if bounds is None:
            return 0.0
        low, high = bounds
        hours = scenario.agents * scenario.duration_s / 3600.0
        some = seeds[: max(1, min(len(seeds), round(_TUNING_AGENT_HOURS / hours)))]

        def within(knob: float, tried: Sequence[int]) -> bool:
            runs = list(self.runs([Job(scenario, contender, knob, seed) for seed in tried]))
            return sum(run.abandoned for run in runs) <= LIMIT_RATIO * sum(run.people for run in runs)

        for _ in range(_TUNING_STEPS):
            middle = (low + high) / 2.0
            low, high = (middle, high) if within(middle, some) else (low, middle)
        knob = low
        while len(some) < len(seeds) and knob > bounds[0] and not within(knob, seeds):
            knob = max(bounds[0], knob - 0.02 * (bounds[1] - bounds[0]))
        return knob

    def results(self, scenario: Scenario, contender: str, seeds: Sequence[int], store: Store) -> list[Run]:
        """Runs of every seed, from the store as far as it has them."""
        found = kept_runs(scenario, contender, seeds, store)
        if found is None and contender == HELD:
            self.results(scenario, FLOOR, seeds, store)
            found = kept_runs(scenario, contender, seeds, store)
        if found is not None:
            return found
        known = store.runs(scenario, contender)
        missing = [seed for seed in seeds if seed not in known]
        if missing:
            if CONTENDERS[contender].knob is None:
                knob = 0.0
            else:
                missing, known = list(seeds), {}  # another set of seeds asks for another knob
                knob = self.tuned(scenario, contender, seeds)
            known |= {run.seed: run for run in self.runs([Job(scenario, contender, knob, seed) for seed in missing])}
            store.keep(scenario, contender, known.values())
        return [known[seed] for seed in seeds]
