"""Conversations with a tone each way while the daemon is stopped, or killed, and started again, time after time.

    python -m tests.e2e.restarts            # the figures of docs/plane.md
    python -m tests.e2e.restarts --times 50

What is measured is what the two simulated parties of each conversation received: RTP packets that never came, frames of
20 ms in which the other's tone was not there, and the seconds in which it was recognised as the other's.
"""

import argparse
import json
import signal
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any, Final

from ocsd.demo.processes import end
from ocsd.model.enums import CallResult
from telephony.simworld.idtone import AGENT_CODES
from tests.e2e.campaign import AGENTS, Campaign, Outcome, Truth, campaign
from tests.e2e.site import GROUP, eventually

CONVERSATIONS: Final = 4
LONGER_THAN_ANY_RUN_S: Final = 3600.0
FRAME_MS: Final = 20
SIDES: Final = 2
WINDOW_S: Final = 1.0
"""Of audio, in which a party decodes whose tone it hears."""
BETWEEN_S: Final = 0.3
"""Of audio with the daemon there, before it goes again."""
COMING_AND_GOING_S: Final = 3.0
"""Of each conversation, in which its tones are not recognised for sure: its first and last windows."""


@dataclass(frozen=True, slots=True)
class Side:
    """What one party of a conversation heard of the other, from the first stop of the daemon to the last start."""

    party: str
    missing_frames: int
    longest_gap_ms: int
    recognised_s: float
    """Seconds of the whole conversation in which the tone was recognised; of ``talked_s``."""
    talked_s: float
    strangers_s: float
    """The same of anybody else's tone."""


@dataclass(frozen=True, slots=True)
class Restarts:
    """
    Attributes:
        killed, stopped: how often the daemon got SIGKILL, and SIGTERM.
        without_daemon_s: for how long nobody was there, each time: from the signal until the next one was ready.
        sides: both parties of every conversation that was there all the time.
        complete: of these conversations, attempts with their result, agent and all times on record.
        adopted: conversations taken over, over all starts.
        resumed: how often a desktop found its call again.
    """

    killed: int
    stopped: int
    without_daemon_s: tuple[float, ...]
    conversations: int
    sides: tuple[Side, ...]
    complete: int
    adopted: int
    resumed: int
    faults: tuple[str, ...]

    @property
    def missing_frames(self) -> int:
        return sum(side.missing_frames for side in self.sides)

    @property
    def longest_gap_ms(self) -> int:
        return max((side.longest_gap_ms for side in self.sides), default=0)


def restart(times: int) -> Restarts:
    """Have people talk, take the daemon away ``times`` times, by SIGKILL and SIGTERM in turn, and hear both sides."""
    with campaign(talk_s=LONGER_THAN_ANY_RUN_S, lines=1.0) as run:
        run.await_conversations(CONVERSATIONS, in_middle=CONVERSATIONS)
        run.site.client.stop(GROUP)  # no call rings any more: what a stop waits for otherwise
        eventually("nobody is being called", lambda: _under_way(run) == run.figure("agents_talking"))
        began_s, away_s = time.monotonic(), []
        for number in range(times):
            gone_s = time.monotonic()
            if number % 2 == 0:
                run.kill_daemon()
            else:
                assert run.site.stop_daemon() == 0
            run.site.start_daemon()
            away_s.append(time.monotonic() - gone_s)
            time.sleep(BETWEEN_S)  # audio to be heard; nothing waits for it
        ended_s = time.monotonic()
        eventually("each desktop is back", lambda: _logged_in(run) == AGENTS)
        time.sleep(WINDOW_S)  # a pause is noted when the sound comes back
        end(run.agents)  # every desktop releases its call and processes the record, as at the end of a shift
        outcome = run.finish()
        outcome.assert_nothing_lost_or_doubled()
        return _judged(run, outcome, began_s, ended_s, tuple(away_s))


def _under_way(run: Campaign) -> int:
    return run.count("SELECT count(*) FROM ocsd.attempt WHERE finished_at IS NULL")


def _logged_in(run: Campaign) -> int:
    """Agents at the latest daemon."""
    return run.site.log_text().rpartition('"daemon.ready"')[2].count('"agent.logged_in"')


def _judged(run: Campaign, outcome: Outcome, began_s: float, ended_s: float, away_s: tuple[float, ...]) -> Restarts:
    faults: list[str] = []
    sides: list[Side] = []
    complete = 0
    talking = outcome.talking_at(began_s)
    if len(talking) < CONVERSATIONS:
        faults.append(f"only {len(talking)} conversations")
    for truth in talking:
        number = truth["number"]
        if truth["ended_at_s"] < ended_s:
            faults.append(f"{number} ended after {truth['ended_at_s'] - began_s:.1f} s: {truth['why']}")
        phones = [phone for phone in outcome.phones if phone["customer_code"] == truth["own_code"]]
        if len(phones) != 1:
            faults.append(f"{number}: {len(phones)} agents' phones have heard this customer")
            continue
        phone = phones[0]
        sides.append(_side("customer", truth, phone["own_code"], began_s, ended_s, truth["talk_began_at_s"]))
        sides.append(_side("agent", phone, truth["own_code"], began_s, ended_s, phone["answered_at_s"]))
        incomplete = _incomplete(run, outcome, truth)
        faults += [f"{number}: {what}" for what in incomplete]
        complete += not incomplete
    text = run.site.log_text()
    return Restarts(
        killed=run.killed.count("daemon"),
        stopped=len(away_s) - run.killed.count("daemon"),
        without_daemon_s=tuple(round(s, 2) for s in away_s),
        conversations=len(talking),
        sides=tuple(sides),
        complete=complete,
        adopted=text.count('"attempt.adopted"'),
        resumed=int(outcome.summary["resumed"]),
        faults=tuple(faults),
    )


def _side(party: str, heard: Truth, other_code: int, began_s: float, ended_s: float, since_s: float) -> Side:
    frames = [count for at_s, count in heard["pauses"] if began_s <= at_s <= ended_s + WINDOW_S]
    codes = {int(code): float(seconds) for code, seconds in heard["heard_codes"].items()}
    strangers_s = sum(
        seconds
        for code, seconds in codes.items()
        if code != other_code and (code < AGENT_CODES) is (other_code < AGENT_CODES)
    )
    talked_s = heard["ended_at_s"] - since_s
    longest_ms = max(frames, default=0) * FRAME_MS
    return Side(party, sum(frames), longest_ms, codes.get(other_code, 0.0), round(talked_s, 1), strangers_s)


def _incomplete(run: Campaign, outcome: Outcome, truth: Truth) -> list[str]:
    """What is missing of the attempt's record in the database."""
    attempt = outcome.attempt_of(truth)
    if attempt is None:
        return ["no attempt"]
    faults = []
    if attempt.call_result != CallResult.ANSWER:
        faults.append(f"result {attempt.call_result}")
    columns = (
        "finished_at", "answered_at", "connected_at", "agent_answered_at", "agent_released_at", "released_at",
        "agent_id",
    )  # fmt: skip
    row = run.site.query(f"SELECT {', '.join(columns)} FROM ocsd.attempt WHERE attempt_id = %s", attempt.attempt_id)[0]
    faults += [f"{name} is empty" for name, value in zip(columns, row, strict=True) if value is None]
    query = "SELECT count(DISTINCT leg)::integer FROM ocsd.stream WHERE attempt_id = %s"
    # Written a moment after the call, by itself.
    eventually("how both sides sounded is on record", lambda: run.site.query(query, attempt.attempt_id)[0][0] == SIDES)
    return faults


def report(found: Restarts) -> dict[str, Any]:
    """The figures, as JSON."""
    talked_s = sum(side.talked_s for side in found.sides)
    return {
        "daemon_killed": found.killed,
        "daemon_stopped": found.stopped,
        "without_daemon_s": {"each": found.without_daemon_s, "sum": round(sum(found.without_daemon_s), 2)},
        "conversations": found.conversations,
        "talked_s_both_sides": round(talked_s, 1),
        "missing_frames": found.missing_frames,
        "longest_gap_ms": found.longest_gap_ms,
        "recognised_ratio": round(sum(side.recognised_s for side in found.sides) / talked_s, 4) if talked_s else 0.0,
        "strangers_s": sum(side.strangers_s for side in found.sides),
        "records_complete": found.complete,
        "adopted": found.adopted,
        "resumed_at_desktops": found.resumed,
        "faults": found.faults,
        "sides": [asdict(side) for side in found.sides],
    }


def main() -> int:
    """1 when anything was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.restarts", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--times", type=int, default=10, help="restarts of the daemon (default %(default)s)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that everything started is ended
    found = restart(options.times)
    sys.stdout.write(json.dumps(report(found), indent=2) + "\n")
    return 1 if found.faults or found.missing_frames else 0


if __name__ == "__main__":
    sys.exit(main())
