"""What is written of an attempt that has ended: its result, its times, and what they rest on."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ocsd.model.enums import CallResult
from ocsd.model.records import ChainChange, FinishedAttempt, HttpRequest, Statement
from ocsd.sessions.attempt import AttemptMachine
from ocsd.sessions.people import person_of
from ocsd.sessions.verdicts import lost_waiting_for

if TYPE_CHECKING:
    from ocsd.sessions.attempt_task import AttemptTask


def final_result(machine: AttemptMachine) -> int:
    """The call result to write; an attempt that ended without one is Stale."""
    return int(machine.result if machine.result is not None else CallResult.STALE)


def finished_attempt(
    task: "AttemptTask",
    change: ChainChange,
    *,
    treatment_dbid: int | None = None,
    because: str = "",
    statements: Sequence[Statement] = (),
    requests: Sequence[HttpRequest] = (),
) -> FinishedAttempt:
    """What the store is told of an attempt that has a result; ``change`` is what becomes of its chain."""
    context, machine = task.context, task.machine
    verdict = machine.verdict or machine.early_verdict
    return FinishedAttempt(
        attempt_id=context.attempt_id,
        list_dbid=context.record.list_dbid,
        record_id=context.record.record_id,
        chain_id=context.record.chain_id,
        call_result=final_result(machine),
        change=change,
        finished_at=task.host.clock.utc(),
        times=task.times(),
        sip_status=machine.sip_status,
        q850_cause=machine.q850_cause,
        cpa_verdict=str(verdict) if verdict is not None else None,
        agent_id=machine.agent_id,
        owner=context.owner,
        switch_dbid=context.switch_dbid,
        interrupted=machine.interrupted,
        count_attempt=machine.count_attempt,
        updates=context.updates,
        evidence=evidence_of(task),
        treatment_dbid=treatment_dbid,
        because=because,
        statements=tuple(statements),
        requests=tuple(requests),
        person=person_of(machine, task.host.clock),
        verified=machine.verified,
        agent_result=machine.said,
        lost_waiting_for=lost_waiting_for(machine, context.heard),
    )


def evidence_of(task: "AttemptTask") -> dict[str, object]:
    """What the result rests on: of the signalling, of the analysis, of the pacing. JSON-safe."""
    context, machine = task.context, task.machine
    found = dict(context.evidence)
    if heard := context.heard.document(machine):
        settings = context.analysis.settings
        found["cpa"] = heard | {
            "recognition": context.analysis.recognition,
            **({} if settings is None else {"tone_plan": settings.tone_plan}),
        }
    if machine.let_go:
        found["given_up_by"] = "pacing"
    return found
