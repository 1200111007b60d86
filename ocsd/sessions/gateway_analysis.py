"""
Call progress analysis by the trunk's gateway, for one attempt: asked for in the INVITE, taken from INFO.

The attempt goes on as with our own analysis; only the verdicts come from elsewhere, and the limit of the analysis is
the machine's to keep. A gateway that does not promise to tell people from machines (`gateway_cpa.promised`) is not
waited for: our media server listens then, and the log says so once for each trunk. What was promised is remembered by
the SIP worker over a restart of the daemon.
"""

from typing import TYPE_CHECKING, Final

import structlog

from ocsd.config.media_options import CPA, GATEWAY
from ocsd.config.options import lookup
from ocsd.sessions import attempt_events as machine_events
from telephony.contract import LegInfo, Verdict, VerdictKind
from telephony.gateway_cpa import ENOUGH, HEADER, REQUEST, Finding, findings, promised

if TYPE_CHECKING:
    from ocsd.sessions.attempt_task import AttemptTask

log = structlog.get_logger()

LATE_S: Final = 5.0
"""The end of speech that belongs to a verdict came no longer before it."""


class GatewayAnalysis:
    """Runs in the attempt's task."""

    def __init__(self, task: "AttemptTask") -> None:
        self._task = task
        self._promised: frozenset[str] | None = None
        self._listening = False
        self._speech_end_s = 0.0

    @property
    def asked(self) -> bool:
        """The trunk of this call has a gateway that analyses."""
        session, name = self._task.host.session, self._task.context.trunk
        trunk = next((trunk for trunk in session.config.trunks if trunk.name == name), None)
        by = lookup(session.config, CPA, trunk=trunk)
        return by == GATEWAY and self._task.machine.rules.analysis

    def headers(self) -> tuple[tuple[str, str], ...]:
        """For the INVITE; what the gateway of another trunk had promised before is void."""
        self._promised = None
        return (REQUEST,) if self.asked else ()

    def wanted_headers(self) -> tuple[str, ...]:
        """Of the responses to it."""
        return (HEADER,) if self.asked else ()

    def response(self, headers: tuple[tuple[str, str], ...]) -> None:
        """A provisional or final response has come."""
        found = promised(headers)
        if found is not None and self.asked:
            self._promised = found

    async def begins(self, *, connected: bool) -> bool:
        """The analysis is to begin; False: it is ours to do."""
        task = self._task
        if not self.asked:
            return False
        if self._promised is not None and ENOUGH in self._promised:
            if connected:
                task.context.evidence["cpa_by"] = GATEWAY
                task.machine.keep_timeguard()
                if self._listening and task.channel is not None:  # to what came before the promise
                    await task.channel.stop_analysis()
            return True
        self._listening = True
        name, told = task.context.trunk, task.host.session.without_gateway_cpa
        if connected and name not in told:
            told.add(name)
            log.warning(
                "trunk.gateway_does_not_analyse",
                trunk=name,
                promised=sorted(self._promised) if self._promised is not None else None,
            )
        return False

    def info(self, event: LegInfo) -> None:
        """What the far end has sent in the call; only findings of a gateway that was asked count."""
        if not self.asked:
            return
        for finding in findings(event.content_type, event.body):
            if finding.begins_speech:
                self._speech_end_s = 0.0
            elif finding.ends_speech:
                self._speech_end_s = event.at_s
            if (kind := finding.verdict) is not None:
                self._verdict(kind, finding, event.at_s)

    def _too_late(self, at_s: float) -> bool:
        """
        An agent has talked with the called party for longer than anybody listens (cpa-after-connect-time): a tone is
        the network's by now, after a conversation that was one.
        """
        bridged_s = self._task.machine.marks.get("agent_answered")
        settings = self._task.context.analysis.settings
        listens_s = settings.after_bridge_ms / 1000.0 if settings is not None else 0.0
        return bridged_s is not None and at_s > bridged_s + listens_s

    def _verdict(self, kind: VerdictKind, finding: Finding, at_s: float) -> None:
        task = self._task
        if self._too_late(at_s):
            return
        connected = at_s >= task.machine.marks.get("answered", float("inf"))
        speech_end_s = 0.0
        if kind is VerdictKind.HUMAN:
            recent = connected and at_s - self._speech_end_s < LATE_S
            # Without the end of the greeting a person has waited since the verdict at least.
            speech_end_s = self._speech_end_s if recent and self._speech_end_s else at_s
        cause = f"the gateway: {finding.kind} {finding.detail}"
        channel_id = task.channel.channel_id if task.channel is not None else ""
        task.context.heard.note(Verdict(channel_id, kind, cause, at_s, connected, speech_end_s))
        task.post(machine_events.Heard(kind, connected, speech_end_s))
