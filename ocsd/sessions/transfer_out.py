"""
Calls that are given to a queue of another switch: option distribution, refer or reinvite.

Theory of operation. A person who was found is transferred at once, as a treatment's transfer does it: the machine goes
from ANALYSING to TRANSFERRING, and its record is closed when somebody at the queue has the call. With ``reinvite`` the
queue is a second leg, bridged (and with direct-media connected past us). With ``refer`` the customer's side is asked to
call the queue itself; ringback plays until it has, then the customer's leg is released: no signalling and no audio of
the call goes through ocsd any more. A far end that hangs up after it has accepted the REFER has taken the call along:
many say no more. One that refuses, or a queue that does not answer, leaves the person with us, who hears the
announcement and is Dropped.

The agents are the other switch's, so the pacing counts places instead: those that the queue's own system reports
(InboundCalls of the agent group with ``free``), each good for one person, or else ``transfer-lines``, less the
people on their way there and, with ``reinvite``, those who talk.

Source: Reference Manual, "Outbound Contact with Cisco Unified Communications Manager" (Transfer mode).
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import structlog

from ocsd.config.media_options import (
    AGENTS,
    DISTRIBUTION,
    REFER,
    TRANSFER_ATTRIBUTES,
    TRANSFER_DATA,
    TRANSFER_DESTINATION,
    TRANSFER_LINES,
)
from ocsd.model.enums import CallAction, CallResult
from ocsd.protocols.attached_data import AttachedRecord, Message, user_data
from ocsd.sessions import attempt_events as machine_events
from ocsd.sessions.attempt_events import AttemptState, CallPlan
from ocsd.sessions.call_plan import destination_uri
from ocsd.sessions.transfer_data import chosen, headers_for, names_of
from pacing import GroupSnapshot
from telephony.contract import Referred
from telephony.sip import SipStatus

if TYPE_CHECKING:
    from ocsd.sessions.attempt_task import AttemptTask
    from ocsd.sessions.session import Session

log = structlog.get_logger()

TAKING: Final = frozenset({AttemptState.TRANSFERRING, AttemptState.TRANSFERRED})
ACTIONS_TO_REPLACE: Final = frozenset({CallAction.NONE, CallAction.CONNECT})
"""A treatment that connects the call connects it with the queue; every other action goes before it."""


class TransferOut:
    """What a session does about the queue of another switch."""

    def __init__(self, session: "Session") -> None:
        self._session = session
        self.handed_over = 0
        """People whom the queue has taken."""
        self._counted: set[int] = set()
        self._since_report: tuple[float, int] = (0.0, 0)
        """When the queue's places were reported last, and how many people have gone there since."""

    @property
    def active(self) -> bool:
        return bool(self._session.planner.option(DISTRIBUTION.name) != AGENTS)

    def plan(self, task: "AttemptTask", call_result: CallResult, plan: CallPlan | None) -> CallPlan | None:
        """What becomes of a call on which this was found; ``plan``: what a treatment says."""
        if not self.active or task.machine.has_agent or (plan is not None and plan.action not in ACTIONS_TO_REPLACE):
            return plan
        connected = plan is not None and plan.action is CallAction.CONNECT
        if call_result is not CallResult.ANSWER and not connected:
            return plan
        planner, config = self._session.planner, self._session.config
        destination = destination_uri(str(planner.option(TRANSFER_DESTINATION.name)), config.trunk(task.context.trunk))
        return CallPlan(
            CallAction.TRANSFER,
            destination,
            treatment_dbid=plan.treatment_dbid if plan is not None else 0,
            to_queue=True,
            refer=planner.option(DISTRIBUTION.name) == REFER,
        )

    # --- one call -------------------------------------------------------------------------------------------------

    def headers(self, task: "AttemptTask") -> tuple[tuple[str, str], ...]:
        """Attached data, for the INVITE that reaches the queue."""
        planner = self._session.planner
        names = names_of(str(planner.option(TRANSFER_ATTRIBUTES.name)))
        how = str(planner.option(TRANSFER_DATA.name))
        guid = ("X-Call-Attempt-GUID", task.context.guid)
        return (guid, *headers_for(how, chosen(self._attached(task), names)))

    def _attached(self, task: "AttemptTask") -> Message:
        session, context = self._session, task.context
        offset = session.clock.utc().astimezone(session.planner.zone(context.record)).utcoffset()
        record, calling_list = context.record, session.config.calling_list_by_dbid(context.record.list_dbid)
        return dict(context.attached) | user_data(
            AttachedRecord(
                application_dbid=session.config.application.dbid,
                tenant_name=session.campaign.tenant,
                campaign_name=session.campaign.name,
                campaign_description=session.campaign.description,
                campaign_group_dbid=session.group.dbid,
                campaign_group_name=session.group.name,
                campaign_group_description=session.group.description,
                calling_list=calling_list.name,
                switch_dbid=context.switch_dbid,
                record=record,
                record_handle=context.attempt_id,
                record_uri="",
                attempt_guid=context.guid,
                tz_offset_s=int(offset.total_seconds()) if offset is not None else 0,
                call_result=int(CallResult.ANSWER),
                cpn_digits=context.caller_id.digits,
                cpn_digits_set=context.caller_id.of_set,
                fields=session.config.format_of_list(calling_list).fields,
            )
        )

    async def refer(self, task: "AttemptTask") -> None:
        """Ask the customer's side to call the queue."""
        plan = task.machine.plan
        assert plan is not None
        if task.leg is None:
            task.post(machine_events.DestinationEnded(placed=False))
            return
        headers = self.headers(task)
        task.context.evidence["transfer"] = {"method": "refer", "sip_status": 0}
        await task.leg.refer(plan.destination, headers=headers, target_headers=headers)

    def referred(self, task: "AttemptTask", event: Referred) -> bool:
        """How that goes; False: the REFER was another one."""
        plan = task.machine.plan
        if plan is None or not plan.refer:
            return False
        task.context.evidence["transfer"] = {"method": "refer", "sip_status": event.sip_status}
        if event.sip_status < 300:
            task.machine.refer_accepted = True
        if event.final:
            task.machine.refer_open = False
            taken = 200 <= event.sip_status < 300
            if not taken:
                log.warning("attempt.not_transferred", sip_status=event.sip_status, reason=event.reason_text)
            presumed = event.sip_status == SipStatus.ACCEPTED
            task.post(machine_events.HandedOver(presumed) if taken else machine_events.DestinationEnded())
        return True

    # --- the pacing -----------------------------------------------------------------------------------------------

    def changed(self, task: "AttemptTask") -> None:
        """Called after each event of an attempt: counts who has gone to the queue, once each."""
        attempt_id, machine = task.context.attempt_id, task.machine
        plan = machine.plan
        if plan is None or not plan.to_queue or "transferred" not in machine.marks or attempt_id in self._counted:
            return
        self._counted.add(attempt_id)
        self.handed_over += 1
        at_s, gone = self._since_report
        self._since_report = at_s, gone + 1
        if machine.person_at_s is not None or machine.found_person:
            since_s = machine.person_at_s or machine.marks.get("speech_end") or machine.marks["answered"]
            self._session.score.handed_over(attempt_id, max(0.0, machine.marks["transferred"] - since_s))

    def ended(self, task: "AttemptTask") -> None:
        """The attempt is over: a transfer that ended it is counted now."""
        self.changed(task)
        self._counted.discard(task.context.attempt_id)

    def places(self, now_s: float) -> int:
        """People whom the queue can still take, besides those on their way."""
        session = self._session
        on_the_way = sum(task.machine.state is AttemptState.TRANSFERRING for task in session.attempts.values())
        report = session.roster.inbound.free(now_s)
        if report is not None:
            free, at_s = report
            if at_s > self._since_report[0]:
                self._since_report = at_s, 0
            return max(0, free - self._since_report[1] - on_the_way)
        there = sum(task.machine.state in TAKING for task in session.attempts.values())
        return max(0, int(session.planner.option(TRANSFER_LINES.name)) - there)

    def as_seen(self, seen: GroupSnapshot) -> GroupSnapshot:
        """The group with the queue's places instead of agents."""
        return replace(
            seen,
            agents_idle_s=(0.0,) * self.places(seen.now_s),
            agents_talking_s=(),
            agents_wrapping_s=(),
            agents_ready_in_s=(),
            agents_kept_back=0,
            agents_leaving=0,
            people_waiting=0,
            inbound_waiting=0,
            inbound_ringing=0,
        )

    def figures(self, now_s: float) -> dict[str, int]:
        """For the live statistics."""
        return {"queue_places": self.places(now_s), "calls_handed_over": self.handed_over} if self.active else {}
