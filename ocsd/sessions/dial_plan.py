"""The INVITE to a customer over one trunk: number, caller, headers. Pure."""

from typing import TYPE_CHECKING

from ocsd.config.header_templates import rendered
from ocsd.config.objects import Trunk
from ocsd.model.records import CallingRecord
from ocsd.sessions.attempt_context import DialPlan
from ocsd.sessions.caller_ids import CallerId
from ocsd.sessions.identity import caller
from ocsd.sessions.number_format import written

if TYPE_CHECKING:
    from ocsd.sessions.planner import Planner


def dial_plan(
    planner: "Planner",
    record: CallingRecord,
    trunk: Trunk,
    caller_id: CallerId,
    attempt_id: int,
    guid: str,
    number: str = "",
) -> DialPlan:
    """
    How to reach a record over a trunk.

    Args:
        caller_id: empty digits: the trunk's own number.
        number: of a redirect, dialed as the trunk gave it; empty: the record's.
    """
    host = f"{trunk.host}:{trunk.port}"
    called = number or written(record.contact_info, trunk.number_format, trunk.country)
    digits = written(caller_id.digits or trunk.caller_id, trunk.caller_id_format, trunk.country)
    from_uri, display_name, headers = caller(
        digits,
        planner.config.telephony.sip_host,
        str(planner.option("CPNDisplayName", record.list_dbid)),
        identity=trunk.identity,
        trunk_host=host,
        restricted=str(planner.option("CPNPresentation")) == "restricted",
    )
    if trunk.headers:
        values = {
            "tenant": planner.campaign.tenant,
            "campaign": planner.campaign.name,
            "campaign_group": planner.group.name,
            "calling_list": planner.config.calling_list_by_dbid(record.list_dbid).name,
            "guid": guid,
            "attempt_id": attempt_id,
            "record_id": record.record_id,
            "chain_id": record.chain_id,
            "caller_id": digits,
            "caller_id_set": caller_id.of_set,
            "called": called,
            "trunk": trunk.name,
        }
        headers += tuple((name, rendered(template, values)) for name, template in trunk.headers.items())
    return DialPlan(
        uri=f"sip:{trunk.dial_prefix}{called}@{host}",
        from_uri=from_uri,
        display_name=display_name,
        username=trunk.username,
        password=trunk.password,
        headers=headers,
        session_expires_s=trunk.session_expires_s,
    )
