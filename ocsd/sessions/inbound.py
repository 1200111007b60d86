"""Inbound calls for an agent group, as a telephony system outside reports them: ocsd has no queue of its own."""

import structlog

log = structlog.get_logger()

INBOUND_LIFETIME_S = 30.0
"""A report counts for so long. Calls in a queue change within seconds; a reporter that is gone must not hold dialing
back for ever."""


class InboundCalls:
    """The last report of one agent group. Time is passed in."""

    def __init__(self, agent_group: str) -> None:
        self._agent_group = agent_group
        self._queued = 0
        self._ringing = 0
        self._at_s: float | None = None

    def report(self, queued: int, ringing: int, now_s: float) -> None:
        """
        Take note of what is so now; it replaces the last report.

        Args:
            queued: calls that wait for one of the agents.
            ringing: calls that will need one within seconds: ringing at the entry, or with an announcement.
        """
        self._queued, self._ringing, self._at_s = queued, ringing, now_s

    def current(self, now_s: float) -> tuple[int, int]:
        """Calls queued and ringing; none when nobody has reported for INBOUND_LIFETIME_S."""
        if self._at_s is not None and now_s - self._at_s > INBOUND_LIFETIME_S:
            if self._queued or self._ringing:
                log.warning(
                    "inbound.report_expired",
                    agent_group=self._agent_group,
                    queued=self._queued,
                    ringing=self._ringing,
                    lifetime_s=INBOUND_LIFETIME_S,
                )
            self._queued, self._ringing, self._at_s = 0, 0, None
        return self._queued, self._ringing
