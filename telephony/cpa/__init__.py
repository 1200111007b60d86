"""Call progress analysis: audio frames in, verdicts out. Pure numpy; no I/O, no clock.

`Analyser` is the door. Behind it: `spectrum` measures tones in every channel at once, `activity` finds speech,
`tones` holds the tone plans as data, `sit` and `cadence` name sequences of tone bursts. `progress` judges network and
device tones, `beep` the recording tone, `greeting` whether a person or a machine speaks; `listener` is the decision
for one call, made of these three.
"""

from telephony.cpa.analyser import Analyser
from telephony.cpa.finding import Finding
from telephony.cpa.tones import TONE_PLANS, TonePlan, tone_plan

__all__ = ["TONE_PLANS", "Analyser", "Finding", "TonePlan", "tone_plan"]
