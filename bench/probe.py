"""The daemon with a stopwatch in its event loop: which steps of which tasks keep everything else waiting, and why.

    OCSD_BENCH_PROBE=out.json python -m bench.probe run --config ocsd.toml

is ``ocsd run``, and writes its findings to the file when it ends. `bench.http_records --probe` runs the dialing daemon
so. A step is what a task does from one await to the next; nothing else runs meanwhile. Its time is split into CPU of
the loop's thread, waiting for a core (run delay, /proc/self/task/N/schedstat), collections of the garbage collector,
and the rest, which is waiting for the interpreter lock (or for the disk, in a blocking call).
"""

import gc
import json
import os
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import trio

ASKED_BY = "OCSD_BENCH_PROBE"
SLEEP_S = 0.001
LONG_S = 0.002
PLACES_KEPT = 20
PARTS_MS = ("took_ms", "cpu_ms", "waited_for_core_ms", "gc_ms", "waited_otherwise_ms")


def place(task: trio.lowlevel.Task) -> str:
    """Where the task waits now: its innermost frame of ours, below it the name of the task."""
    found = ""
    for frame, line in task.iter_await_frames():
        name = frame.f_code.co_filename
        if "/ocsd/" in name or "/telephony/" in name:
            found = f"{'/'.join(name.rsplit('/', 2)[1:])}:{line} {frame.f_code.co_name}"
    return f"{task.name.rpartition('.')[2]} @ {found}"


class Probe(trio.abc.Instrument):
    """Times every step of every task; `found` tells."""

    def __init__(self) -> None:
        self._schedstat = os.open(f"/proc/self/task/{threading.get_native_id()}/schedstat", os.O_RDONLY)
        self.late: list[tuple[float, float]] = []
        self.long: list[dict[str, Any]] = []
        self.collections: list[tuple[float, int, float, int]] = []
        self._step_s = self._cpu_s = self._delay_s = self._gc_s = self._gc_began_s = 0.0
        self._before = ""

    def run_delay_s(self) -> float:
        """How long the loop's thread has waited for a core."""
        return int(os.pread(self._schedstat, 100, 0).split()[1]) / 1e9

    # --- garbage collector
    def collected(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._gc_began_s = time.perf_counter()
            return
        took_s = time.perf_counter() - self._gc_began_s
        self._gc_s += took_s
        self.collections.append((time.monotonic(), info["generation"], 1000.0 * took_s, info["collected"]))

    # --- trio.abc.Instrument
    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._before = place(task)
        self._gc_s = 0.0
        self._delay_s = self.run_delay_s()
        self._cpu_s = time.thread_time()
        self._step_s = time.perf_counter()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        took_s = time.perf_counter() - self._step_s
        if took_s < LONG_S:
            return
        cpu_s = time.thread_time() - self._cpu_s
        delay_s = self.run_delay_s() - self._delay_s
        self.long.append(
            {
                "at_s": time.monotonic(),
                "took_ms": round(1000 * took_s, 2),
                "cpu_ms": round(1000 * cpu_s, 2),
                "waited_for_core_ms": round(1000 * delay_s, 2),
                "gc_ms": round(1000 * self._gc_s, 2),
                "waited_otherwise_ms": round(1000 * max(0.0, took_s - cpu_s - delay_s), 2),
                "from": self._before,
                "to": place(task),
            }
        )

    async def sleep(self) -> None:
        while True:
            due_s = trio.current_time() + SLEEP_S
            await trio.sleep_until(due_s)
            now_s = time.monotonic()
            self.late.append((now_s, 1000.0 * (trio.current_time() - due_s)))

    def found(self) -> dict[str, Any]:
        """Everything as it was seen; times are CLOCK_MONOTONIC seconds."""
        return {"late": self.late, "long": self.long, "collections": self.collections}


def summary(found: Mapping[str, Any], began_s: float, ended_s: float) -> dict[str, Any]:
    """What a probe has found within a window; ``long_steps`` are the costliest places, ``worst`` single steps."""
    late = sorted(ms for at_s, ms in found["late"] if began_s <= at_s < ended_s)
    long = [step for step in found["long"] if began_s <= step["at_s"] < ended_s]
    places: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for step in long:
        places[step["from"]].append(step)
    generations: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for at_s, generation, took_ms, freed in found["collections"]:
        if began_s <= at_s < ended_s:
            generations[str(generation)].append((took_ms, freed))
    return {
        "loop_late_ms": {
            "p50": round(statistics.median(late), 2),
            "p99": round(late[int(0.99 * len(late))], 2),
            "p999": round(late[int(0.999 * len(late))], 2),
            "max": round(late[-1], 2),
        },
        "long_steps_ms": {key: round(sum(step[key] for step in long), 1) for key in PARTS_MS},
        "long_cpu_steps": sum(step["cpu_ms"] > 1000 * LONG_S for step in long),
        "long_steps": {
            name: {
                "count": len(steps),
                "max_ms": max(step["took_ms"] for step in steps),
                **{key: round(sum(step[key] for step in steps), 1) for key in PARTS_MS},
            }
            for name, steps in sorted(places.items(), key=lambda item: -sum(s["took_ms"] for s in item[1]))[
                :PLACES_KEPT
            ]
        },
        "collections": {
            generation: {
                "count": len(runs),
                "sum_ms": round(sum(took_ms for took_ms, _ in runs), 1),
                "max_ms": round(max(took_ms for took_ms, _ in runs), 2),
                "objects_freed": sum(freed for _, freed in runs),
            }
            for generation, runs in sorted(generations.items())
        },
        "worst_steps": sorted(long, key=lambda step: -step["took_ms"])[:PLACES_KEPT],
    }


def main() -> None:
    probe = Probe()
    gc.callbacks.append(probe.collected)
    plain_run = trio.run

    def watched_run(serve: Callable[..., Awaitable[Any]], *arguments: Any, **options: Any) -> Any:
        async def watched() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(probe.sleep)
                await serve(*arguments)
                nursery.cancel_scope.cancel()

        try:
            plain_run(watched, instruments=[probe], **options)
        finally:
            Path(os.environ[ASKED_BY]).write_text(json.dumps(probe.found()), encoding="utf-8")

    setattr(trio, "run", watched_run)  # noqa: B010 - a type of its own is all that an assignment would have more
    from ocsd.cli import main as ocsd

    ocsd()


if __name__ == "__main__":
    main()
