"""A campaign in which every process is killed, stopped or exchanged at random for minutes; seeded.

    python -m tests.e2e.chaos --minutes 5 --seed 3

What must be true at the end, whatever happened: every attempt has an end, no record is held by anybody, nobody was
called a second time but for a fault of ours that left the record as it was (System Error, no port), no leg and no
channel is left, and nobody has logged a traceback.
"""

import argparse
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ocsd.model.enums import CallResult, RecordStatus
from telephony import launcher
from tests.e2e.campaign import Campaign, Outcome, campaign
from tests.e2e.site import GROUP, eventually

EVERYTHING: Final = {"human": 0.6, "machine": 0.15, "no_answer": 0.05, "busy_sip": 0.1, "busy_inband": 0.1}
RECORDS: Final = 3000
TALK_S: Final = 6.0
PAUSE_S: Final = (0.3, 4.0)
"""Between two blows: some fall into the recovery from the one before."""
LEAVES_THE_RECORD: Final = frozenset(
    {CallResult.SYSTEM_ERROR, CallResult.NO_PORT_AVAILABLE, CallResult.DIAL_ERROR, CallResult.UNKNOWN}
)
"""Results of attempts after which the record may be dialed again: nobody was called, or the fault was ours."""


@dataclass
class Chaos:
    """One run."""

    run: Campaign
    chance: random.Random
    blows: Counter[str] = field(default_factory=Counter)

    def strike(self) -> None:
        """One blow. What has no parent of its own left to bring it back is brought back at once."""
        blow: Callable[[], None] = self.chance.choice(
            [
                self.daemon_killed,
                self.daemon_stopped,
                self.worker_killed,
                self.worker_killed,
                self.pool_killed,
                self.pool_exchanged,
                self.media_killed,
                self.media_drained,
                self.writer_killed,
                self.postgres_killed,
                self.power_lost,
            ]
        )
        self.blows[blow.__name__] += 1
        blow()

    def daemon_killed(self) -> None:
        self.run.kill_daemon()
        self.run.site.start_daemon()

    def daemon_stopped(self) -> None:
        assert self.run.site.stop_daemon() == 0
        self.run.site.start_daemon()

    def worker_killed(self) -> None:
        if workers := self.run.all_worker_pids():
            _signal(self.chance.choice(workers), signal.SIGKILL)

    def pool_killed(self) -> None:
        self._part("telephony", signal.SIGKILL)

    def pool_exchanged(self) -> None:
        self._part("telephony", signal.SIGUSR1)

    def media_killed(self) -> None:
        self._part(self._media(), signal.SIGKILL)

    def media_drained(self) -> None:
        self._part(self._media(), signal.SIGUSR1)

    def writer_killed(self) -> None:
        """The child of a media server that writes recordings."""
        pid = launcher.server_pids(self._run_dir).get(self._media())
        for child in _children(pid) if pid is not None else ():
            _signal(child, signal.SIGKILL)

    def postgres_killed(self) -> None:
        if (pid := self.run.site.postgres.server_pid()) is not None:
            _signal(pid, signal.SIGKILL)

    def power_lost(self) -> None:
        """Everything of ours at once, as the host goes down; the phones and the carrier notice nothing."""
        self.run.kill_daemon()
        parts = launcher.server_pids(self._run_dir).values()
        writers = [child for pid in parts for child in _children(pid)]
        for pid in [*parts, *writers, *self.run.all_worker_pids()]:
            _signal(pid, signal.SIGKILL)
        self.postgres_killed()
        self.run.site.start_daemon()

    @property
    def _run_dir(self) -> Path:
        return self.run.folder / "run"

    def _media(self) -> str:
        return self.chance.choice(["media-0", "media-1"])

    def _part(self, name: str, number: signal.Signals) -> None:
        if (pid := launcher.server_pids(self._run_dir).get(name)) is not None:
            _signal(pid, number)


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return  # an earlier blow's


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def doubled(outcome: Outcome) -> list[str]:
    """Numbers that were called again although an earlier attempt had told, or may have told, how they are."""
    calls = Counter(truth["number"].lstrip("+") for truth in outcome.truths)
    found = []
    for number, count in calls.items():
        attempts = [attempt for attempt in outcome.attempts if attempt.phone.lstrip("+") == number]
        binding = [attempt for attempt in attempts if attempt.call_result not in LEAVES_THE_RECORD]
        if len(binding) > 1 or count > len(attempts):
            found.append(f"{number}: {count} calls, results {[attempt.call_result for attempt in attempts]}")
    return found


def lost(outcome: Outcome) -> list[str]:
    """What has no end, or is nowhere."""
    found = [f"attempt {attempt.attempt_id} has no end" for attempt in outcome.attempts if not attempt.finished]
    if (held := outcome.statuses.get(int(RecordStatus.RETRIEVED), 0)) > 0:
        found.append(f"{held} records are still Retrieved")
    if (rows := sum(outcome.statuses.values())) != outcome.records:
        found.append(f"{rows} of {outcome.records} rows")
    known = {attempt.phone.lstrip("+") for attempt in outcome.attempts}
    unknown = {truth["number"].lstrip("+") for truth in outcome.truths} - known
    return found + [f"{number} was called, and no attempt knows of it" for number in sorted(unknown)]


def _files(pids: dict[str, int]) -> dict[str, int]:
    found = {}
    for name, pid in pids.items():
        try:
            found[name] = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        except FileNotFoundError:
            continue
    return found


def storm(seconds: float, seed: int) -> dict[str, Any]:
    """Run it; figures, and ``faults``, which is empty when all went well."""

    def two_media_servers(text: str) -> str:
        assert "media_servers = 1\n" in text
        return text.replace("media_servers = 1\n", "media_servers = 2\nmedia_capacity = 60\n")

    with campaign(EVERYTHING, seed=seed, talk_s=TALK_S, records=RECORDS, edit=two_media_servers) as run:
        chaos = Chaos(run, random.Random(seed))
        run.await_conversations(2)
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            time.sleep(chaos.chance.uniform(*PAUSE_S))  # the instant is what is random; nothing waits for it
            chaos.strike()
        eventually("the daemon answers", lambda: run.is_running)
        calm_s = time.monotonic()
        # It dials on by itself: more calls than could have been under way.
        run.await_calls(run.attempts_begun() + 20)
        run.site.client.stop(GROUP)  # no more calls
        eventually(
            "every call has ended",
            lambda: run.count("SELECT count(*) FROM ocsd.attempt WHERE finished_at IS NULL") == 0,
        )
        legs = eventually("no leg and no channel is left", lambda: _nothing_left(run))
        daemon = run.site.daemon
        assert daemon is not None
        parts = launcher.server_pids(run.folder / "run") | {"daemon": daemon.pid}
        files = _files(parts)
        outcome = run.finish()
        results = Counter(attempt.call_result for attempt in outcome.attempts)
        late = [truth for truth in outcome.truths if truth["invited_at_s"] > calm_s + 15.0]
        return {
            "seed": seed,
            "seconds": round(seconds),
            "blows": dict(sorted(chaos.blows.items())),
            "calls": len(outcome.truths),
            "attempts": len(outcome.attempts),
            "conversations": len(outcome.conversations()),
            "results": {CallResult(code).name: count for code, count in sorted(results.items())},
            "adopted": run.site.log_text().count('"attempt.adopted"'),
            "settled": run.site.log_text().count('"attempt.settled"'),
            "open_files": files,
            "left": legs,
            "wrong_after_the_storm": outcome.wrong(late),
            "faults": [*doubled(outcome), *lost(outcome), *_tracebacks(run)],
        }


def _nothing_left(run: Campaign) -> dict[str, float] | None:
    """Of legs and channels, as the daemon's own report of its load has them; None while there are some."""
    lines = [line for line in run.site.log_text().splitlines() if '"daemon.load"' in line]
    if not lines:
        return None
    last = json.loads(lines[-1])
    return {"legs": last["legs"], "channels": last["channels"]} if last["legs"] == last["channels"] == 0 else None


def _tracebacks(run: Campaign) -> list[str]:
    """Errors of ours that nobody expects, by the first line that names them."""
    found = []
    for log in (run.folder / "daemon.log", *sorted((run.folder / "run").glob("*.log"))):
        text = log.read_text(errors="replace") if log.exists() else ""
        if (count := text.count("Traceback (most recent call last)")) > 0:
            last = text.rpartition("Traceback (most recent call last)")[2].splitlines()
            found.append(f"{count} tracebacks in {log.name}, the last: {' | '.join(last[-4:])[:400]}")
    return found


def main() -> int:
    """1 when something was lost, doubled, or left behind."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.chaos", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that everything started is ended
    found = storm(options.minutes * 60.0, options.seed)
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    return 1 if found["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
