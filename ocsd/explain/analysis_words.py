"""What call progress analysis said of a call, in words: from the evidence that the journal keeps of an attempt."""

from collections.abc import Mapping
from typing import Any, Final

PHASES: Final = {"pre": "after the dial", "post": "after the answer"}
MOST_TOLD: Final = 6
LAST_TOLD: Final = 3


def analysis_words(evidence: object) -> str:
    """
    E.g. ``heard ringback 1.5 s after the dial; human 0.9 s after the answer (short greeting), 0.6 s after speech``.

    Empty when nothing was heard, or for an attempt of a version that kept less.
    """
    if not isinstance(evidence, Mapping) or not isinstance(cpa := evidence.get("cpa"), Mapping):
        return ""
    verdicts = cpa.get("verdicts")
    if not isinstance(verdicts, list) or not verdicts:
        return ""
    told = [_told(verdict) for verdict in verdicts if isinstance(verdict, Mapping)]
    more = max(0, len(told) - MOST_TOLD) + int(cpa.get("left_out", 0))
    if more:  # a long ringing: what decided the call comes last
        told = [*told[:-LAST_TOLD][: MOST_TOLD - LAST_TOLD], f"{more} more", *told[-LAST_TOLD:]]
    return "heard " + "; ".join(told)


def _told(verdict: Mapping[str, Any]) -> str:
    at_s, speech_end_s = verdict.get("at_s"), verdict.get("speech_end_s")
    words = f"{'then ' if verdict.get('revises') else ''}{verdict.get('kind')}"
    if isinstance(at_s, int | float):
        words += f" {at_s:.1f} s {PHASES.get(str(verdict.get('phase')), '')}".rstrip()
    if verdict.get("cause"):
        words += f" ({verdict['cause']})"
    if isinstance(at_s, int | float) and isinstance(speech_end_s, int | float):
        words += f", {max(0.0, at_s - speech_end_s):.1f} s after speech"
    return words
