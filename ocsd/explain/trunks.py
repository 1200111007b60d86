"""What became of the last calls over each trunk, out of the journal: does the network answer at all?"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import psycopg

from ocsd.explain.contract import GateVerdict, Reach

LOOK_BACK: Final = timedelta(minutes=10)
LAST_ATTEMPTS: Final = 1000
"""How many of the latest attempts are read, by their primary key; a busy site makes them in a minute."""

FEW: Final = 3
"""A trunk that failed less often has proved nothing."""

UNREACHED: Final = frozenset({None, 408, 503})
"""No final response; Request Timeout, which our own stack reports when nobody answers (RFC 3261 8.1.3.1); Service
Unavailable, its word for a connection that fails and a gateway's for one without lines (21.5.4)."""

UNKNOWN: Final = "what became of the last calls over its trunks, only the database knows; it was not asked"


@dataclass(frozen=True, slots=True)
class TrunkCalls:
    """
    The ended calls of the last minutes over one trunk.

    Attributes:
        statuses: how often each final SIP status came; None: none did.
        first_at: begin of the earliest of these calls.
        answered_at: begin of the last one to which the network had a final answer of its own; None: to none.
    """

    statuses: Mapping[int | None, int] = field(default_factory=dict)
    first_at: datetime | None = None
    answered_at: datetime | None = None

    @property
    def dead(self) -> bool:
        """Calls were made, and none was answered by the network."""
        return self.answered_at is None and sum(self.statuses.values()) >= FEW


def trunk_calls(conn: psycopg.Connection[Any], switch_dbids: Sequence[int], at: datetime) -> dict[int, TrunkCalls]:
    """Of each trunk (DBID) what its last calls came to, those of other campaign groups too."""
    rows = conn.execute(
        "SELECT a.switch_dbid, a.sip_status, a.started_at FROM ("
        "SELECT switch_dbid, sip_status, started_at, finished_at, counted, interrupted FROM ocsd.attempt"
        " ORDER BY attempt_id DESC LIMIT %s) AS a"
        " WHERE a.finished_at IS NOT NULL AND a.counted IS NOT FALSE AND a.interrupted IS NOT TRUE"
        " AND a.started_at BETWEEN %s AND %s AND a.switch_dbid = ANY(%s::int[]) ORDER BY a.started_at",
        (LAST_ATTEMPTS, at - LOOK_BACK, at, list(switch_dbids)),
        prepare=False,
    ).fetchall()
    return {dbid: calls_of([(status, started) for of, status, started in rows if of == dbid]) for dbid in switch_dbids}


def calls_of(calls: Sequence[tuple[int | None, datetime]]) -> TrunkCalls:
    """``calls``: final status and begin, the earliest first."""
    answered = [started for status, started in calls if status not in UNREACHED]
    return TrunkCalls(
        Counter(status for status, _ in calls),
        calls[0][1] if calls else None,
        answered[-1] if answered else None,
    )


def trunks_gate(names: Mapping[int, str], found: Mapping[int, TrunkCalls] | None, at: datetime) -> GateVerdict:
    """
    Closed when the network answers none of the calls over any trunk of the group.

    Args:
        names: of the trunks, by DBID.
        found: None: the database was not asked.
    """
    if found is None:
        return GateVerdict("trunks", None, UNKNOWN, Reach.GROUP, remedy="ask a daemon, or give a configuration")
    inputs = {
        name: {
            "sip_statuses": {str(status or "none"): count for status, count in _listed(found[dbid])},
            "answered_at": found[dbid].answered_at,
            "since": found[dbid].first_at,
        }
        for dbid, name in names.items()
    }
    why = "; ".join(f"{name}: {_told(found[dbid], at)}" for dbid, name in names.items())
    dead = all(found[dbid].dead for dbid in names)
    remedy = "look at the trunk: its address, the network on the way, the carrier's status; SIP says what it answered"
    return GateVerdict("trunks", not dead, why, Reach.GROUP, inputs, remedy=remedy if dead else "")


def _listed(calls: TrunkCalls) -> list[tuple[int | None, int]]:
    """The most frequent first."""
    return sorted(calls.statuses.items(), key=lambda entry: (-entry[1], entry[0] or 0))


def _told(calls: TrunkCalls, at: datetime) -> str:
    if not calls.statuses:
        return f"no call has ended within {LOOK_BACK // timedelta(minutes=1)} minutes"
    counts = ", ".join(f"{count} x {'no answer' if status is None else status}" for status, count in _listed(calls))
    said = f"last SIP statuses {counts}"
    if not calls.dead:
        return said
    assert calls.first_at is not None
    minutes = max(1, (at - calls.first_at) // timedelta(minutes=1))
    return f"no call over it has been answered by the network for {minutes} minute{'s' * (minutes != 1)} ({said})"
