"""What a destination of the in-memory telephony plane does; see `telephony.fake`."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from telephony.contract import PlaceCall, VerdictKind


@dataclass(frozen=True, slots=True)
class CallScript:
    """What one destination does. Durations in seconds of the running clock.

    Attributes:
        ring_s: from the INVITE to the final response; infinity rings for ever.
        status: final response; 200 answers.
        ringing_status: provisional response sent at once; 0 for none. ``early_media``: with SDP.
        talk_s: the far end hangs up so long after answering; infinity never does.
        verdict: what analysis after the answer hears, ``verdict_s`` after it was started; None: nothing.
        early_verdict: what analysis of early media hears, ``verdict_s`` after it was started.
        after_bridge: what analysis hears so long after a bridge (seconds), where it listens on.
        prompt_s: how long a prompt plays to this destination.
        refuse: place_call raises CallRefused with this text.
        worker_dies_s: the worker dies so long after the INVITE (LegLost).
        responds: False: no message at all comes back; the leg ends with 408 after ``ring_s``.
        retry_after_s: Retry-After of a refusal.
        cancel_status: final response after our CANCEL.
        headers: of the final response and of the BYE; the leg's events carry those that `contract.PlaceCall` wants.
        reinvite_statuses: how re-INVITEs are answered, one after the other; the last one stays. 408 and 481 end the
            leg.
        reinvite_s: how long that takes.
        refer: what the far end says of a REFER: status, and how long after the one before; the last is final.
    """

    ring_s: float = 2.0
    status: int = 200
    ringing_status: int = 180
    early_media: bool = False
    talk_s: float = math.inf
    q850_cause: int | None = None
    reason_text: str = ""
    redirect_to: str = ""
    verdict: VerdictKind | None = VerdictKind.HUMAN
    verdict_s: float = 1.0
    early_verdict: VerdictKind | None = None
    after_bridge: tuple[tuple[VerdictKind, float], ...] = ()
    prompt_s: float = 3.0
    refuse: str = ""
    worker_dies_s: float = math.inf
    responds: bool = True
    retry_after_s: float = 0.0
    cancel_status: int = 487
    headers: tuple[tuple[str, str], ...] = ()
    reinvite_statuses: tuple[int, ...] = (200,)
    reinvite_s: float = 0.0
    refer: tuple[tuple[int, float], ...] = ((100, 0.0), (180, 0.1), (200, 1.0))


Script = Mapping[str, CallScript] | Callable[[PlaceCall], CallScript]
"""By request URI (others get `CallScript()`), or a function of the command."""
