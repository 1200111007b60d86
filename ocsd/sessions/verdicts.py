"""What call progress analysis says of a call, kept for those who ask later: every verdict, when it came, and its price.

The price is time. A person who answers waits from the end of the greeting: first for the verdict, then for an agent.
When nobody came in time, `lost_waiting_for` says which of the two took the larger part.
"""

from collections import Counter, deque
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b
from typing import Final

from ocsd.model.enums import CallResult
from ocsd.sessions.attempt_steps import AttemptSteps
from ocsd.sessions.outcome import PEOPLE, result_of_verdict
from telephony.contract import Verdict, VerdictKind

MOST_VERDICTS: Final = 24
"""Kept of one call: a network that rings and plays music for three minutes says so again and again."""

RECENT: Final = 1000
"""Verdicts that the running percentiles are taken of: minutes at a large site, a morning at a small one."""


class LostWaiting(StrEnum):
    """What somebody who answered was waiting for when the call was lost."""

    AGENT = "agent"
    ANALYSIS = "analysis"
    WRONG_VERDICT = "wrong verdict"
    """Nobody was lost: what had been taken for a person showed itself to be none, too late to take it back."""


def chosen(identity: str, purpose: str, ratio: float) -> bool:
    """
    Whether a call is among a share of all calls: decided by its identity, so the same after a restart.

    Args:
        purpose: shares for different purposes are independent of each other.
        ratio: 0..1.
    """
    if ratio <= 0.0:
        return False
    digest = blake2b(f"{purpose}:{identity}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < ratio * 2.0**64


@dataclass(slots=True)
class VerdictLog:
    """The verdicts of one call in the order in which they came."""

    verdicts: list[Verdict] = field(default_factory=list)
    left_out: int = 0

    def note(self, verdict: Verdict) -> None:
        """Information has MOST_VERDICTS places, what decides has more: a long ringing must not hide who answered."""
        if any((known.kind, known.at_s) == (verdict.kind, verdict.at_s) for known in self.verdicts):
            return  # told again at a restart
        information = result_of_verdict(verdict.kind) is None
        if len(self.verdicts) < (MOST_VERDICTS if information else 2 * MOST_VERDICTS):
            self.verdicts.append(verdict)
        else:
            self.left_out += 1

    def document(self, machine: AttemptSteps) -> dict[str, object]:
        """
        For the journal, JSON-safe; empty when nothing was said.

        Times are seconds after the answer, or after the dial of what was heard before it.
        """
        if not self.verdicts:
            return {}
        answered_s = machine.marks.get("answered")
        found: dict[str, object] = {
            "verdicts": [_told(verdict, machine.started_s, answered_s) for verdict in self.verdicts]
        }
        decided = machine.verdict or machine.early_verdict
        if decided is not None:
            found["decided"] = str(decided)
            why = next((verdict.cause for verdict in reversed(self.verdicts) if verdict.kind is decided), "")
            found["cause"] = why or "the time for the analysis was over"
        if (latency_s := verdict_latency_s(machine)) is not None:
            found["latency_s"] = round(latency_s, 3)
        if self.left_out:
            found["left_out"] = self.left_out
        return found


def _told(verdict: Verdict, started_s: float, answered_s: float | None) -> dict[str, object]:
    after_answer = verdict.connected and answered_s is not None
    zero_s = answered_s if after_answer and answered_s is not None else started_s
    told: dict[str, object] = {
        "kind": str(verdict.kind),
        "phase": "post" if after_answer else "pre",
        "at_s": round(verdict.at_s - zero_s, 3),
        "cause": verdict.cause,
    }
    if verdict.speech_end_s > 0.0:
        told["speech_end_s"] = round(verdict.speech_end_s - zero_s, 3)
    if verdict.revises:
        told["revises"] = True
    return told | {"figures": {name: round(value, 4) for name, value in verdict.evidence.items()}}


def verdict_latency_s(machine: AttemptSteps) -> float | None:
    """
    From the end of the greeting, or from the answer where nobody spoke, to the verdict; None: there was none.

    It is what a called person hears as silence before anything can happen.
    """
    marks = machine.marks
    if "answered" not in marks or "cpd_completed" not in marks:
        return None
    return max(0.0, marks["cpd_completed"] - marks.get("speech_end", marks["answered"]))


def lost_waiting_for(machine: AttemptSteps, log: VerdictLog) -> LostWaiting | None:
    """
    Why a call that was answered was lost; None: it was not, or no analysis and no agent had a part in it.

    Somebody who hangs up before any verdict waited for the analysis, person or not. Of an abandoned person the larger
    part of the wait decides, the time until the verdict or the time after it.
    """
    marks = machine.marks
    if machine.designated_agent is not None or "answered" not in marks:
        return None
    if "abandoned" not in marks:
        gone = machine.result == CallResult.REMOTE_RELEASE and machine.verdict is None and machine.said is None
        return LostWaiting.ANALYSIS if gone and machine.rules.analysis else None
    if any(
        verdict.connected and verdict.revises and verdict.kind not in PEOPLE and verdict.at_s >= marks["cpd_completed"]
        for verdict in log.verdicts
        if "cpd_completed" in marks and verdict.kind is not VerdictKind.BEEP
    ):
        return LostWaiting.WRONG_VERDICT
    in_analysis_s = verdict_latency_s(machine) or 0.0
    for_agent_s = max(0.0, marks["abandoned"] - marks.get("cpd_completed", marks["answered"]))
    return LostWaiting.ANALYSIS if in_analysis_s > for_agent_s else LostWaiting.AGENT


@dataclass(slots=True)
class VerdictTally:
    """Running figures of a dialing session about its verdicts, since the group was loaded."""

    kinds: Counter[VerdictKind] = field(default_factory=Counter)
    revised: int = 0
    unmasked: int = 0
    """Machines that agents were given for people, as far as the analysis has noticed."""
    taken: int = 0
    lost: Counter[LostWaiting] = field(default_factory=Counter)
    _latencies_s: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))

    def ended(self, machine: AttemptSteps, log: VerdictLog) -> None:
        """Count an attempt that has ended."""
        decided = machine.verdict or machine.early_verdict
        if decided is not None:
            self.kinds[decided] += 1
        self.unmasked += machine.unmasked
        self.taken += machine.taken
        self.revised += any(verdict.revises for verdict in log.verdicts)
        if (latency_s := verdict_latency_s(machine)) is not None:
            self._latencies_s.append(latency_s)
        if (lost := lost_waiting_for(machine, log)) is not None:
            self.lost[lost] += 1

    def figures(self) -> dict[str, float | int | None]:
        """By the names under which live figures are published; seconds, counts."""
        ordered = sorted(self._latencies_s)
        return {
            **{f"verdict_{kind.value}": count for kind, count in sorted(self.kinds.items())},
            "verdicts_revised": self.revised,
            "machines_after_connect": self.unmasked,
            "machines_taken_from_agents": self.taken,
            "verdict_latency_p50_s": _quantile(ordered, 0.50),
            "verdict_latency_p95_s": _quantile(ordered, 0.95),
            "lost_waiting_for_agent": self.lost[LostWaiting.AGENT],
            "lost_waiting_for_analysis": self.lost[LostWaiting.ANALYSIS],
            "lost_by_wrong_verdict": self.lost[LostWaiting.WRONG_VERDICT],
        }


def _quantile(ordered: list[float], share: float) -> float | None:
    """The smallest value that at least this share of all does not exceed."""
    if not ordered:
        return None
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]
