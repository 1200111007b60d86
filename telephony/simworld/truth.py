"""What really happened in a call, as one JSON object a line: the yardstick for results and for the audio path."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, TextIO

from telephony.simworld.kinds import IN_BAND, NumberClass, Plan, decided_by
from telephony.simworld.media import Heard
from telephony.simworld.party import RANG_OUT, CalledParty

HEARABLE_S: Final = 0.5
"""In-band tones cut off sooner by the caller's CANCEL tell nothing."""

CANCELLED: Final = "cancelled"
"""Class of a call that its caller gave up before there was anything to know."""


def class_in_the_end(party: CalledParty) -> tuple[str, str]:
    """
    (class, decided_by) of a call that has ended: the planned class, unless the caller gave up before it showed.

    A number that was still ringing when the CANCEL came is ``no_answer``, whatever it would have become.
    """
    plan = party.plan
    if party.answered_at_s is not None or party.why not in ("cancel", "stop", "rang_out"):
        return plan.number_class.value, decided_by(plan.number_class)
    if party.rang_at_s is None or party.ended_at_s is None:
        return CANCELLED, "signalling"
    if plan.number_class in IN_BAND:
        if party.ended_at_s - party.rang_at_s >= HEARABLE_S:
            return plan.number_class.value, "cpa"
        return CANCELLED, "signalling"
    return NumberClass.NO_ANSWER.value, "signalling"


def q850_cause_in_the_end(party: CalledParty) -> int | None:
    """The cause that went with a refusal; None without one."""
    return {"refused": party.plan.q850_cause, "rang_out": RANG_OUT[1]}.get(party.why)


def sip_status_in_the_end(party: CalledParty) -> int:
    """The final response to the INVITE."""
    if party.answered_at_s is not None:
        return 200
    if party.why == "stop":
        return 503
    if party.why == "rang_out":
        return RANG_OUT[0]
    return 487 if party.ended_by == "caller" else party.plan.status


def heard_fields(heard: Heard, codes: Mapping[int, int]) -> dict[str, object]:
    """
    The audio part of a line: codes as strings (JSON keys) with the seconds in which each was heard; pauses of the sound
    as [time of its return, frames of 20 ms that were quiet or lost].
    """
    return {
        "packets_in": heard.packets,
        "packets_lost": heard.lost,
        "heard_sound_s": round(heard.loud_s, 2),
        "heard_codes": {str(code): seconds for code, seconds in sorted(codes.items())},
        "pauses": [[round(at_s, 3), frames] for at_s, frames in heard.pauses],
    }


def plan_fields(plan: Plan) -> dict[str, object]:
    """The plan of a call as far as it explains the rest of the line."""
    return {
        "planned_class": plan.number_class.value,
        "planned_ring_s": round(plan.ring_s, 3) if plan.ring_s < 1e6 else None,
        "early": plan.early,
        "answer": plan.answer,
        "country": plan.country,
        "level_db": round(plan.level_db, 1),
        "noise_dbfs": round(plan.noise_dbfs, 1),
        "loss_ratio": round(plan.loss_ratio, 4),
        "late_ratio": round(plan.late_ratio, 4),
    }


class TruthLog:
    """Appends JSON lines to a file and flushes each, so a kill loses no finished call. ``None``: writes nothing."""

    def __init__(self, path: Path | None) -> None:
        self._file: TextIO | None = path.open("a", encoding="utf-8") if path is not None else None
        self.lines = 0

    def write(self, entry: Mapping[str, object]) -> None:
        self.lines += 1
        if self._file is not None:
            self._file.write(json.dumps(entry, ensure_ascii=False) + "\n")
            self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> "TruthLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
