"""Asterisk's rule for answering machines on the same recordings, to compare with."""

import numpy as np

from ocsd.cpa.manifest import Entry
from ocsd.cpa.results import Analysed
from ocsd.model.enums import CallResult
from telephony.cpa.corpus.asterisk import decide
from telephony.cpa.wavfile import Recording

JUDGED_LABELS = ("human", "machine")
"""The rule knows no others."""

CALL_RESULTS = {"human": CallResult.ANSWER, "machine": CallResult.ANSWERING_MACHINE}


def by_asterisk(recording: Recording) -> Analysed:
    """The verdict of the rule at its sample settings; it has one only, so the first is the last."""
    found = decide(recording.samples.astype(np.float64))
    return Analysed(
        kind=None,
        result=found.result,
        call_result=CALL_RESULTS.get(found.result, CallResult.UNKNOWN),
        decision_time_s=found.decision_time_s,
        beep_time_s=None,
        speech_end_s=None,
        first=found.result,
        evidence={"cause": found.cause},
    )


def is_judged(entry: Entry) -> bool:
    """Whether the rule can say anything of such a recording: an answered call of a person or a machine."""
    return entry.label in JUDGED_LABELS and entry.phase == "post" and not entry.answered_s
