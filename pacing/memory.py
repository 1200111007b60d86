"""What of a pacer's knowledge is still true after a while.

How long people ring, how greetings sound and how long conversations last are properties of the list and of the agents'
work, and hold for weeks. Who is at home changes with the hour: a hit ratio of this morning would launch bursts tonight,
and so would the feedback that was settled with it. So a restart within `ALL_S` goes on as if nothing had happened;
later, until `LASTING_S`, the durations stay, and hit ratio and feedback begin anew (one call per agent for some tens of
outcomes); older knowledge is dropped.
"""

import json
from typing import Final

from pacing.pacer import Pacer
from pacing.types import PacingTarget

ALL_S: Final = 3_600.0
LASTING_S: Final = 14 * 86_400.0
LASTING: Final = ("answers", "other_answers", "endings", "analysis", "handling")
"""Parts of `Pacer.state` that hold for weeks."""


def aged(text: str, age_s: float, target: PacingTarget) -> str | None:
    """
    What is left after ``age_s`` of a state written by `pacing.journal.state_text`; None: nothing.

    Raises ValueError when the text is none, or of another version.
    """
    if age_s > LASTING_S:
        return None
    state, fresh = json.loads(text), Pacer(target).state()
    if not isinstance(state, dict) or state.get("version") != fresh["version"]:
        raise ValueError(f"not a pacer state of version {fresh['version']}")
    if age_s <= ALL_S:
        return text
    return json.dumps(fresh | {name: state[name] for name in LASTING if name in state}, separators=(",", ":"))
