"""The calls of a session that are under way, for supervisors: ``ocsd ctl calls``."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ocsd.sessions.attempt_events import AttemptState
from ocsd.sessions.call_talk import Talk, conn_id

if TYPE_CHECKING:
    from ocsd.sessions.attempt_task import AttemptTask
    from ocsd.sessions.session import Session

NO_CALL = frozenset({AttemptState.WRAP_UP, AttemptState.FINISHED})


def live_calls(session: "Session") -> list[dict[str, object]]:
    """One entry per call, oldest first. Numbers show their last four digits."""
    tasks = [task for task in session.attempts.values() if task.machine.state not in NO_CALL]
    return [_call(session, task) for task in sorted(tasks, key=lambda task: task.machine.started_s)]


def _call(session: "Session", task: "AttemptTask") -> dict[str, object]:
    machine, context = task.machine, task.context
    now_s = session.clock.now_s()
    talking_s = now_s - machine.marks["agent_answered"] if machine.bridged else None
    control, third = task.control.control, None
    if control is not None and control.third is not None:
        to = control.third.destination
        third = {"agent_id": to.agent_id, "number": None if to.agent_id else _masked(to.dn)}
    return {
        "record_handle": context.attempt_id,
        "conn_id": conn_id(context.attempt_id),
        "number": _masked(context.record.contact_info),
        "trunk": context.trunk,
        "state": _state(machine.state, control.state if control is not None else Talk.TALKING),
        "age_s": round(now_s - machine.started_s, 1),
        "agent_id": machine.agent_id,
        "talking_s": round(talking_s, 1) if talking_s is not None else None,
        "third_party": third,
        "muted": control.muted if control is not None else False,
        "supervisors": [
            {"agent_id": supervisor_id, "mode": monitor.mode.value}
            for supervisor_id, monitor in task.control.monitors.present.items()
        ],
    }


def _state(state: AttemptState, talk: Talk) -> str:
    """That of the conversation, where there is one."""
    return (talk if state is AttemptState.TALKING else state).name.lower()


def _masked(number: str) -> str:
    return f"...{number[-4:]}" if number else ""


def calls_document(session: "Session | None") -> Mapping[str, object]:
    """What GET .../<dbid>?req=calls answers; no calls while the group is not loaded."""
    return {"calls": live_calls(session) if session is not None else []}
