"""What the treatments of a list do to an answered call, ready to be carried out. Pure."""

from dataclasses import replace
from datetime import datetime

from ocsd.config.objects import Trunk
from ocsd.model.enums import CallResult
from ocsd.model.records import Chain
from ocsd.sessions.attempt_context import AttemptContext
from ocsd.sessions.attempt_events import CallPlan
from ocsd.sessions.planner import Planner
from ocsd.treatments.contract import Situation
from ocsd.treatments.engine import call_action


def call_plan(
    planner: Planner, chain: Chain, context: AttemptContext, call_result: CallResult, now: datetime
) -> CallPlan | None:
    """
    The call action for this result, by the treatments as they are configured now; None: none applies.

    ``chain``: its live rows. The attempt under way counts, as it will when its result is treated.
    """
    record = context.record
    dialed = replace(record, attempt=record.attempt + 1)
    situation = Situation(
        call_result=int(call_result),
        record=dialed,
        chain=tuple(dialed if row.record_id == record.record_id else row for row in chain.records),
        now=now,
        disposition=planner.disposition(record, context.updates),
    )
    treatment = call_action(
        situation,
        planner.treatments(record.list_dbid),
        max_attempts=planner.max_attempts(record.list_dbid),
        opening=planner.hours(record.list_dbid).opening,
        timezone_of=planner.zone,
    )
    if treatment is None:
        return None
    trunk = next(trunk for trunk in planner.config.trunks if trunk.name == context.trunk)
    return CallPlan(
        action=treatment.call_action,
        destination=destination_uri(treatment.destination, trunk),
        message=treatment.message,
        treatment_dbid=treatment.dbid,
    )


def destination_uri(destination: str, trunk: Trunk) -> str:
    """A treatment's destination as a request URI; digits go over the trunk that the customer was called on."""
    wanted = destination.strip()
    if not wanted or wanted.lower().startswith(("sip:", "sips:")):
        return wanted
    return f"sip:{trunk.dial_prefix}{wanted}@{trunk.host}:{trunk.port}"
