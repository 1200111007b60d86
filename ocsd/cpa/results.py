"""What a recording was: the analyser's verdicts as one result, the manual's call result and the evidence for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from ocsd.model.enums import CallResult
from ocsd.sessions.outcome import result_of_verdict
from telephony.contract import VerdictKind
from telephony.cpa.analyser import VerdictData
from telephony.cpa.finding import INFORMATION
from telephony.cpa.listener import SPOKE
from telephony.cpa.offline import Call, Heard, final_verdict, informed

RESULTS: Final = (
    "human",
    "machine",
    "fax",
    "modem",
    "busy",
    "reorder",
    "ringback",
    "sit_ic",
    "sit_vc",
    "sit_ro",
    "sit_nc",
    "sit_io",
    "sit",
    "crbt",
    "announcement",
    "silence",
    "unknown",
)
"""Everything that a result can be."""

COARSER: Final = MappingProxyType(
    {
        VerdictKind.PAGER: "machine",
        VerdictKind.NU_TONE: "reorder",
        VerdictKind.NO_RINGBACK: "silence",
        VerdictKind.TIMEGUARD: "human",
    }
)
"""Kinds of verdict that have no result of their own; all others are results by their own names."""

LABEL_KINDS: Final = MappingProxyType({kind: str(kind) for kind in (VerdictKind.PAGER, VerdictKind.NU_TONE)})
"""Those of them that the manual has a call result for, by the names that labels have."""

RESULT_OF_INFORMATION: Final = MappingProxyType({VerdictKind.NO_RINGBACK: CallResult.NO_RINGBACK})
"""The manual's result of a call of which nothing but information is known. NO_ANSWER for all others, as if the ring
limit had ended the call: a recording says nothing about its signalling."""

ANALYSIS_BEEP: Final = "beep_at_s"
ANALYSIS_BEEP_END: Final = "beep_end_s"
"""Both since the analysis began: with its recording, so this is the recording's time too."""


@dataclass(frozen=True, slots=True)
class Analysed:
    """
    One recording, judged.

    Attributes:
        kind: of the verdict that stands in the end; None when there was none.
        result: one of RESULTS.
        call_result: by the manual.
        decision_time_s: from the beginning of the recording: when that verdict was made; without one, when listening
            ended.
        beep_time_s: beginning of the recording tone, or None.
        speech_end_s: end of the greeting as the analyser heard it, or None.
        first: the first verdict that was no mere information: a live call is acted upon at that moment.
        evidence: for people and programs, as JSON.
    """

    kind: VerdictKind | None
    result: str
    call_result: CallResult
    decision_time_s: float
    beep_time_s: float | None
    speech_end_s: float | None
    first: str | None
    evidence: dict[str, Any]

    def told(self, file: str) -> dict[str, Any]:
        """The line that ``ocsd cpa analyze`` prints."""
        return {
            "file": file,
            "result": self.result,
            "call_result": self.call_result.title,
            "decision_time_s": self.decision_time_s,
            "beep_time_s": self.beep_time_s,
            "evidence": self.evidence,
        }


def result_of(verdict: VerdictData) -> str:
    """One of RESULTS."""
    return COARSER.get(verdict.kind, str(verdict.kind))


def judged(call: Call, heard: Heard) -> Analysed:
    """The result of a recording that was listened to."""
    answered = call.answered_s is not None
    final = final_verdict(heard.verdicts)
    standing = final or (None if answered else informed(heard.verdicts))
    only_rang = (standing is None or standing.kind is VerdictKind.TIMEGUARD) and _only_rang(heard.verdicts)
    if only_rang:
        standing = informed(heard.verdicts)
    if standing is None or _nobody_spoke(standing):
        result, call_result = "unknown", CallResult.UNKNOWN
    else:
        result = result_of(standing)
        call_result = result_of_verdict(standing.kind) or RESULT_OF_INFORMATION.get(standing.kind, CallResult.NO_ANSWER)
    decided_s = standing.at_s if standing is not None else heard.length_s + heard.appended_s
    first = next((verdict for verdict in heard.verdicts if verdict.kind not in INFORMATION), None)
    # The last one: a tone after which somebody spoke on was none to record after.
    beep = next((verdict for verdict in reversed(heard.verdicts) if verdict.kind is VerdictKind.BEEP), None)
    ends_s = [verdict.speech_end_s for verdict in heard.verdicts if verdict.speech_end_s > 0.0]
    return Analysed(
        kind=standing.kind if standing is not None else None,
        result=result,
        call_result=call_result,
        decision_time_s=round(decided_s, 3),
        beep_time_s=round(beep.evidence[ANALYSIS_BEEP], 3) if beep is not None else None,
        speech_end_s=round(ends_s[0], 3) if ends_s else None,
        first=result_of(first) if first is not None else None,
        evidence=_evidence(call, heard, standing, beep, ends_s, decided_s),
    )


def _nobody_spoke(verdict: VerdictData) -> bool:
    """
    Whether the time guard ran out over tones that nobody knows, and no voice.

    A live call goes to an agent then, and so `Analysed.first` says; but nobody can say that it was a person.
    """
    return verdict.kind is VerdictKind.TIMEGUARD and verdict.evidence.get(SPOKE) == 0.0


def _only_rang(verdicts: Sequence[VerdictData]) -> bool:
    rang = any(verdict.kind is VerdictKind.RINGBACK for verdict in verdicts)
    return rang and all(verdict.speech_end_s == 0.0 for verdict in verdicts)


def _evidence(
    call: Call,
    heard: Heard,
    standing: VerdictData | None,
    beep: VerdictData | None,
    ends_s: Sequence[float],
    decided_s: float,
) -> dict[str, Any]:
    evidence: dict[str, Any] = {
        "cause": standing.cause if standing is not None else "nothing that is known was heard",
        "phase": "pre" if call.answered_s is None else "post",
        "tone_plan": call.settings.tone_plan,
        "length_s": heard.length_s,
        "floor_dbfs": heard.floor_dbfs,
        "loudest_dbfs": heard.loudest_dbfs,
        "speech_end_s": round(ends_s[0], 3) if ends_s else None,
        "beep_end_s": round(beep.evidence[ANALYSIS_BEEP_END], 3) if beep is not None else None,
        "figures": dict(standing.evidence) if standing is not None else {},
        "verdicts": [
            {
                "kind": str(verdict.kind),
                "at_s": round(verdict.at_s, 3),
                "cause": verdict.cause,
                "revises": verdict.revises,
                **({"figures": dict(verdict.evidence)} if verdict is not standing else {}),
            }
            for verdict in heard.verdicts
        ],
    }
    if call.answered_s:
        evidence["answered_s"] = call.answered_s
    if decided_s > heard.length_s:
        evidence["note"] = (
            f"the recording ended {decided_s - heard.length_s:.2f} s before the decision; "
            "quiet at its own noise floor was added"
        )
    return evidence
