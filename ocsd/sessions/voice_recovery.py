"""What start-up does about a call that a voice application had when the daemon before ended.

what is found                                        what becomes of it
a VoiceXML dialog, bridged                           IN_DIALOG: it has gone on all the time
the called party alone, in an application of steps   the application begins anew: nobody knows what was heard of it
connected, and nobody is there any more              WRAP_UP where RecordProcessed has to close the record, else
                                                     settled as Answer
"""

import math
from typing import TYPE_CHECKING

from ocsd.model.enums import CallAction, CallResult
from ocsd.sessions.attempt_events import AttemptState, CallPlan, Do
from ocsd.sessions.outcome import result_of_verdict
from telephony.contract import LegState, VerdictKind

if TYPE_CHECKING:
    from ocsd.model.records import OpenAttempt
    from ocsd.sessions.attempt_task import AttemptTask
    from ocsd.sessions.remains import Remains
    from ocsd.sessions.session import Session
    from telephony.api import Media, Telephony


def adopt_application(
    task: "AttemptTask",
    attempt: "OpenAttempt",
    remains: "Remains",
    session: "Session",
    telephony: "Telephony",
    media: "Media",
    connected_s: float,
) -> bool:
    """
    Put the attempt's machine into the state that its call is in; False: no application had it.

    ``connected_s``: when the application got the call (monotonic), as far as the journal knows.
    """
    machine, context = task.machine, task.context
    dialog = remains.talking and _is_dialog(remains, context.dialog_leg_id)
    alone = attempt.connected_at is not None and not attempt.agent_id and remains.agent_id is None
    if not dialog and not alone:
        return False
    verdict = remains.verdict
    found = result_of_verdict(verdict) if verdict is not None else None
    machine.verdict = verdict if verdict is not None else VerdictKind.HUMAN
    machine.result = attempt.desktop_result if attempt.desktop_result is not None else (found or CallResult.ANSWER)
    machine.sip_status = 200
    answered_s = remains.leg.answered_at_s if remains.leg is not None else None
    machine.marks["answered"] = answered_s if answered_s is not None else connected_s
    if machine.found_person:
        machine.person_at_s = machine.marks["answered"]
    machine.marks["applied"] = connected_s
    machine.plan = session.voice.plan(CallResult(found or CallResult.ANSWER), None)
    if dialog:
        _adopt_dialog(task, remains, telephony, media, connected_s)
        if attempt.connected_at is None:
            task.first = (Do.BRIDGE_DIALOG,)
        return True
    up = remains.leg is not None and remains.leg.state is LegState.ANSWERED and remains.channel is not None
    steps = machine.plan is not None and not machine.plan.dialog
    if up and steps:
        assert remains.channel is not None
        machine.state, machine.deadline_s = AttemptState.IN_APPLICATION, math.inf
        task.leg, task.channel = telephony.adopt(context.leg_id), media.adopt(remains.channel.channel_id)
        task.first = (Do.RUN_APPLICATION,)
        return True
    if machine.rules.record_processed and not machine.processed:
        now_s = session.clock.now_s()
        machine.state, machine.deadline_s = AttemptState.WRAP_UP, now_s + machine.rules.stale_s
        machine.marks["released"] = now_s
        return True
    return False


def _is_dialog(remains: "Remains", dialog_leg_id: str) -> bool:
    return remains.agent_leg is not None and remains.agent_leg.leg_id.startswith(f"{dialog_leg_id}-")


def _adopt_dialog(
    task: "AttemptTask", remains: "Remains", telephony: "Telephony", media: "Media", connected_s: float
) -> None:
    assert remains.channel is not None
    assert remains.agent_leg is not None
    assert remains.agent_channel is not None
    machine = task.machine
    machine.state = AttemptState.IN_DIALOG
    if machine.plan is None:  # the application is not configured any more
        machine.plan = CallPlan(CallAction.NONE, application="?", dialog=True)
    machine.deadline_s = connected_s + machine.plan.limit_s
    task.leg, task.channel = telephony.adopt(task.context.leg_id), media.adopt(remains.channel.channel_id)
    task.agent_leg = telephony.adopt(remains.agent_leg.leg_id)
    task.agent_channel = media.adopt(remains.agent_channel.channel_id)
