"""The bounds on every decision, applied last: ports, call starts, records, and what the legal window leaves."""

from dataclasses import dataclass
from typing import Any

from pacing.types import GroupSnapshot, LegalRoom

BURST_RISK = 0.01
"""Accepted probability that the people lost at one go are more than the legal window allows."""


@dataclass(slots=True)
class AbandonmentCount:
    """People who answered over the run (which a restart continues), and those of them who got no agent in time."""

    people: int = 0
    abandoned: int = 0

    def add(self, *, abandoned: bool) -> None:
        self.people += 1
        self.abandoned += abandoned

    def over(self, limit_ratio: float) -> bool:
        """More were abandoned than the limit allows; a single one is never told from bad luck."""
        return self.abandoned > max(1.0, limit_ratio * self.people)

    def state(self) -> dict[str, Any]:
        return {"people": self.people, "abandoned": self.abandoned}

    def load(self, state: dict[str, Any]) -> None:
        self.people, self.abandoned = int(state["people"]), int(state["abandoned"])


def legal_reason(legal: LegalRoom | None, expected_abandoned: float) -> str | None:
    """Why the legal window lets no call start, or calls only one to one; None: neither.

    ``expected_abandoned``: what the calls under way are expected to add; nobody is abandoned by halves, so less than
    one person's room is none.
    """
    if legal is None:
        return None
    if legal.stop:
        return "legal_stop"
    return "legal_guard" if legal.abandoned_allowed - expected_abandoned < 1.0 else None


def bounded(wanted: int, snapshot: GroupSnapshot) -> tuple[int, str | None]:
    """``wanted`` cut to what ports, records and the start rate allow, and the name of the bound that cut it."""
    launch, reason = max(wanted, 0), None
    for room, name in (
        (snapshot.ports_free, "ports"),
        (snapshot.records_ready, "records"),
        (snapshot.starts_allowed, "start_rate"),
    ):
        if launch > max(room, 0):
            launch, reason = max(room, 0), name
    return launch, reason
