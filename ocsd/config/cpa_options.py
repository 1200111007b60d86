"""The options of call progress analysis, of its recordings and of its verification by agents.

Names without a mark are the manual's; it leaves most of the meanings to documents that are not public, so each is said
here in full. A trunk stands for the manual's "dialing DN": its options go before the application's and after those of
campaign and campaign group.
"""

from typing import Final

from ocsd.config.option import ACGT, AGT, A, Option, TakesEffect

NO_PROGRESS_DETECTION: Final = "no_progress_detection"
NO_AM_DETECTION: Final = "no_am_detection"
POSITIVE_AM_DETECTION: Final = "positive_am_detection"
FULL_POSITIVE_AM_DETECTION: Final = "full_positive_am_detection"
ACCURATE_AM_DETECTION: Final = "accurate_am_detection"
TELEPHONY_PRESET: Final = "telephony_preset"

CALL_ANSWER_TYPE_RECOGNITION: Final = Option(
    "call_answer_type_recognition", POSITIVE_AM_DETECTION, ACGT, TakesEffect.NEXT_ATTEMPT,
    "What call progress analysis looks for. no_progress_detection: nothing, who answers is a person; no_am_detection: "
    "tones and fax only, a machine counts as a person; positive_am_detection: also answering machines, and what is not "
    "positively a machine is a person; full_positive_am_detection: the same, but it listens longer before it takes "
    "somebody for a person; accurate_am_detection: longest, for campaigns that would rather wait than connect a "
    "machine; telephony_preset: as the trunk's own option says, else positive_am_detection. docs/analysis.md has what "
    "each costs.",
    choices=(
        NO_PROGRESS_DETECTION, NO_AM_DETECTION, POSITIVE_AM_DETECTION, FULL_POSITIVE_AM_DETECTION,
        ACCURATE_AM_DETECTION, TELEPHONY_PRESET,
    ),
)  # fmt: skip
CALL_TIMEGUARD_TIMEOUT: Final = Option(
    "call_timeguard_timeout", 8000, ACGT, TakesEffect.NEXT_ATTEMPT,
    "Longest call progress analysis after the call is answered; when it runs out the call counts as answered by a "
    "person.",
    unit="ms", minimum=500, maximum=60_000,
)  # fmt: skip
CPD_ON_CONNECT: Final = Option(
    "cpd-on-connect", False, AGT, TakesEffect.NEXT_ATTEMPT,
    "yes: analysis begins when the call is answered, for networks that play music instead of ringing; no: tones "
    "before the answer are recognised too.",
)  # fmt: skip
AM_BEEP_DETECTION: Final = Option(
    "am-beep-detection", True, AGT, TakesEffect.NEXT_ATTEMPT,
    "Where a treatment plays a message to an answering machine. yes: it begins with the recording tone, or 20 s after "
    "the verdict when none is heard; no: at once.",
)  # fmt: skip
CPD_RECORDING: Final = Option(
    "cpd-recording", False, AGT, TakesEffect.NEXT_ATTEMPT,
    "yes: the sound of the call is recorded while call progress analysis listens, from early media until an agent is "
    "connected or the call ends. Called people are heard on it: docs/analysis.md says what to mind.",
)  # fmt: skip
CPD_RECORDING_SHARE: Final = Option(
    "cpd-recording-share", 100.0, AGT, TakesEffect.NEXT_ATTEMPT,
    "Which part of the calls cpd-recording records, chosen at random.",
    unit="percent", minimum=0.01, maximum=100, ours=True,
)  # fmt: skip
CPD_RECORDING_RETENTION: Final = Option(
    "cpd-recording-retention", 30, A, TakesEffect.IMMEDIATELY,
    "How long recordings of call progress analysis are kept; older ones are deleted within an hour.",
    unit="days", minimum=1, maximum=3650, ours=True,
)  # fmt: skip
CALL_RESULT_FEEDBACK: Final = Option(
    "call-result-feedback", 0.0, ACGT, TakesEffect.NEXT_ATTEMPT,
    "Calls in a thousand, chosen at random, that agents verify: they carry GSW_CALL_RESULT_FEEDBACK, an answering "
    "machine among them goes to an agent whatever its treatment says, and the result that the desktop sends back is "
    "held against the analysis by `ocsd cpa feedback`. 0: none.",
    unit="per mille", minimum=0, maximum=1000, ours=True,
)  # fmt: skip
CALL_RESULT_FEEDBACK_MACHINES: Final = Option(
    "call-result-feedback-machines", 6, ACGT, TakesEffect.NEXT_ATTEMPT,
    "Most answering machines that a campaign group gives to its agents within any hour for call-result-feedback. None "
    "is given while a person waits or no agent is ready.",
    unit="calls per hour", minimum=0, maximum=3600, ours=True,
)  # fmt: skip
CPA_AFTER_CONNECT: Final = Option(
    "cpa-after-connect", "beep", ACGT, TakesEffect.NEXT_ATTEMPT,
    "Call progress analysis listens on when an agent is connected to a person, for the machines that sound like people "
    "at first. no: it does not; report: what shows to be a machine or fax is told to the desktop, and is the call "
    "result unless the agent says otherwise; beep: the same, and the call is taken from the agent when a recording "
    "tone, fax or modem was heard, for its treatment's message or to hang up. Calls that agents verify "
    "(call-result-feedback) are not taken from them.",
    choices=("no", "report", "beep"), ours=True,
)  # fmt: skip
CPA_AFTER_CONNECT_TIME: Final = Option(
    "cpa-after-connect-time", 12, ACGT, TakesEffect.NEXT_ATTEMPT,
    "How long it listens on.",
    unit="seconds", minimum=1, maximum=60, ours=True,
)  # fmt: skip
_BY_LEVEL: Final = " -1: as call_answer_type_recognition has it."

CPA_HUMAN_SILENCE: Final = Option(
    "cpa-human-silence", -1, ACGT, TakesEffect.NEXT_ATTEMPT,
    "Silence after a greeting that is needed to take its speaker for a person." + _BY_LEVEL,
    unit="ms", minimum=-1, maximum=5000, ours=True,
)  # fmt: skip
CPA_SURE_SILENCE: Final = Option(
    "cpa-sure-silence", -1, ACGT, TakesEffect.NEXT_ATTEMPT,
    "The same where the model is sure that it hears a person (cpa-sure-probability)." + _BY_LEVEL,
    unit="ms", minimum=-1, maximum=5000, ours=True,
)  # fmt: skip
CPA_UNDECIDED_SILENCE: Final = Option(
    "cpa-undecided-silence", -1, ACGT, TakesEffect.NEXT_ATTEMPT,
    "After so much silence the likelier of person and machine is taken." + _BY_LEVEL,
    unit="ms", minimum=-1, maximum=10_000, ours=True,
)  # fmt: skip
CPA_INITIAL_SILENCE: Final = Option(
    "cpa-initial-silence", -1, ACGT, TakesEffect.NEXT_ATTEMPT,
    "Nothing heard for so long after the answer: the call result is Silence." + _BY_LEVEL,
    unit="ms", minimum=-1, maximum=60_000, ours=True,
)  # fmt: skip
CPA_HUMAN_PROBABILITY: Final = Option(
    "cpa-human-probability", -1.0, ACGT, TakesEffect.NEXT_ATTEMPT,
    "The probability of a machine must be below this to take a greeting for a person's after cpa-human-silence."
    + _BY_LEVEL,
    minimum=-1, maximum=1, ours=True,
)  # fmt: skip
CPA_SURE_PROBABILITY: Final = Option(
    "cpa-sure-probability", -1.0, ACGT, TakesEffect.NEXT_ATTEMPT,
    "Below this probability of a machine the model is sure of a person." + _BY_LEVEL,
    minimum=-1, maximum=1, ours=True,
)  # fmt: skip
CPA_MACHINE_PROBABILITY: Final = Option(
    "cpa-machine-probability", -1.0, ACGT, TakesEffect.NEXT_ATTEMPT,
    "From this probability of a machine on it is one, without waiting for its greeting to end; the one needed after a "
    "long silence rises with it. Higher: fewer people are taken for machines, more machines reach agents; 1.01: before "
    "a verdict only a recording tone makes a machine." + _BY_LEVEL,
    minimum=-1, maximum=1.01, ours=True,
)  # fmt: skip
CPA_REVISE_PROBABILITY: Final = Option(
    "cpa-revise-probability", -1.0, ACGT, TakesEffect.NEXT_ATTEMPT,
    "The same after the verdict was a person and no agent is connected yet: speech that goes on shows a machine. 1.01: "
    "never." + _BY_LEVEL,
    minimum=-1, maximum=1.01, ours=True,
)  # fmt: skip

CPA_OPTIONS: Final = (
    AM_BEEP_DETECTION,
    CALL_ANSWER_TYPE_RECOGNITION,
    CALL_RESULT_FEEDBACK,
    CALL_RESULT_FEEDBACK_MACHINES,
    CALL_TIMEGUARD_TIMEOUT,
    CPA_AFTER_CONNECT,
    CPA_AFTER_CONNECT_TIME,
    CPA_HUMAN_PROBABILITY,
    CPA_HUMAN_SILENCE,
    CPA_INITIAL_SILENCE,
    CPA_MACHINE_PROBABILITY,
    CPA_REVISE_PROBABILITY,
    CPA_SURE_PROBABILITY,
    CPA_SURE_SILENCE,
    CPA_UNDECIDED_SILENCE,
    CPD_ON_CONNECT,
    CPD_RECORDING,
    CPD_RECORDING_RETENTION,
    CPD_RECORDING_SHARE,
)
