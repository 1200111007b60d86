"""Call progress analysis: audio frames in, verdicts out. Pure numpy; no I/O, no clock.

`Analyser` is the door. Behind it: `spectrum` measures tones in every channel at once, `bursts` and `lines` look at a
whole tone, `activity` finds speech. `tones` and `tone_table` hold the tone plans as data; `sit`, `cadence` and
`carriers` name sequences of tones; `earlymedia` tells music from speech before the answer. `progress` judges network
and device tones, `beep` the recording tone, `greeting` whether a person or a machine speaks; `listener` is the decision
for one call, made of these three.
"""

from telephony.cpa.analyser import Analyser
from telephony.cpa.finding import Finding
from telephony.cpa.tones import TONE_PLANS, TonePlan, plan_of_number, tone_plan

__all__ = ["TONE_PLANS", "Analyser", "Finding", "TonePlan", "plan_of_number", "tone_plan"]
