"""``ocsd ctl record``: what becomes of a record that somebody works with."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from ocsd.cli.control_common import (
    DEFAULT_URL,
    Agent,
    ApplicationDbid,
    At,
    Attempts,
    CallingList,
    CallTime,
    Campaign,
    CampaignGroup,
    Chain,
    ChainId,
    ChainN,
    Duration,
    Fields,
    From,
    Message,
    NewPhone,
    OptionalAt,
    OptionalTenant,
    Phone,
    PhoneType,
    Reference,
    Result,
    Status,
    Type,
    Until,
    Zone,
    asked,
    fields,
    group_of_commands,
    naming_of,
)
from ocsd.cli.errors import EXIT_CODES
from ocsd.cli.output import JSON_OPTION

if TYPE_CHECKING:
    from ocsd.client import ControlClient, RecordHandle

record_app = group_of_commands(
    "Say what becomes of a record that somebody works with.\n\n\b\n"
    "Example:\n  ocsd ctl record 15 processed --call-result answer"
)


class TreatmentName(StrEnum):
    CAMPAIGN = "campaign"
    PERSONAL = "personal"


class CallbackName(StrEnum):
    CAMPAIGN = "campaign"
    PERSONAL = "personal"


UrlOfRecord: TypeAlias = Annotated[
    str | None, typer.Option("--url", help=f"The daemon's control port; default: the URI's, OCSD_URL, {DEFAULT_URL}.")
]
Callback: TypeAlias = Annotated[
    CallbackName | None, typer.Option("--callback", help="For any agent of the campaign group, or for this agent.")
]


@record_app.callback()
def record(
    ctx: typer.Context,
    handle: Annotated[str, typer.Argument(metavar="HANDLE|URI", help="GSW_RECORD_HANDLE or GSW_RECORD_URI.")],
) -> None:
    ctx.obj = handle


@dataclass(frozen=True)
class _Record:
    ocs: "ControlClient"
    handle: "RecordHandle"


@contextmanager
def _about_record(ctx: typer.Context, url: str | None, request: str, as_json: bool) -> Iterator[_Record]:
    from ocsd.client import RecordHandle

    try:
        handle = RecordHandle.of(ctx.obj)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="HANDLE|URI") from None
    where = url or handle.server or os.environ.get("OCSD_URL") or DEFAULT_URL
    with asked(where, request, f"record {handle.number}", as_json) as ocs:
        yield _Record(ocs, handle)


@record_app.command(epilog=EXIT_CODES)
def processed(
    ctx: typer.Context,
    treatment: Annotated[
        TreatmentName | None, typer.Option(help="Apply the treatment of the result; default: none is applied.")
    ] = None,
    agent: Agent = None,
    call_result: Result = None,
    phone: Phone = None,
    phone_type: PhoneType = None,
    from_: From = None,
    until: Until = None,
    field: Fields = None,
    campaign: Campaign = None,
    group: CampaignGroup = None,
    calling_list: CallingList = None,
    tenant: OptionalTenant = None,
    application: ApplicationDbid = None,
    reference: Reference = None,
    url: UrlOfRecord = None,
    as_json: JSON_OPTION = False,
) -> None:
    """RecordProcessed: the record is done.

    \b
    Example:
      ocsd ctl record 15 processed --call-result answer --field CUSTOMER_CODE=22
    """
    from ocsd.client import RecordTreatment

    with _about_record(ctx, url, "RecordProcessed", as_json) as it:
        it.ocs.record_processed(
            it.handle,
            treatment=RecordTreatment[treatment.name] if treatment else None,
            agent_id=agent,
            call_result=call_result,
            phone=phone,
            phone_type=phone_type,
            daily_from_s=from_,
            daily_till_s=until,
            custom=fields(field),
            **naming_of(campaign, group, calling_list, tenant, reference, application),
        )


@record_app.command(epilog=EXIT_CODES)
def update(
    ctx: typer.Context,
    call_result: Result = None,
    phone: Phone = None,
    phone_type: PhoneType = None,
    from_: From = None,
    until: Until = None,
    field: Fields = None,
    campaign: Campaign = None,
    group: CampaignGroup = None,
    calling_list: CallingList = None,
    tenant: OptionalTenant = None,
    application: ApplicationDbid = None,
    reference: Reference = None,
    url: UrlOfRecord = None,
    as_json: JSON_OPTION = False,
) -> None:
    """UpdateCallCompletionStats: change fields; the record stays with whoever has it.

    \b
    Example:
      ocsd ctl record 15 update --call-result wrong-number --field NOTE="moved house"
      ocsd ctl record http://127.0.0.1:8080/records/15 update --call-result wrong-number
    """
    with _about_record(ctx, url, "UpdateCallCompletionStats", as_json) as it:
        it.ocs.update_call_completion_stats(
            it.handle,
            call_result=call_result,
            phone=phone,
            phone_type=phone_type,
            daily_from_s=from_,
            daily_till_s=until,
            custom=fields(field),
            **naming_of(campaign, group, calling_list, tenant, reference, application),
        )


@record_app.command(epilog=EXIT_CODES)
def reject(
    ctx: typer.Context,
    campaign: Campaign = None,
    group: CampaignGroup = None,
    calling_list: CallingList = None,
    tenant: OptionalTenant = None,
    application: ApplicationDbid = None,
    reference: Reference = None,
    url: UrlOfRecord = None,
    as_json: JSON_OPTION = False,
) -> None:
    """RecordReject: not now; the record becomes General and Ready again.

    \b
    Example:
      ocsd ctl record 15 reject
    """
    with _about_record(ctx, url, "RecordReject", as_json) as it:
        it.ocs.record_reject(it.handle, **naming_of(campaign, group, calling_list, tenant, reference, application))


@record_app.command(epilog=EXIT_CODES)
def reschedule(
    ctx: typer.Context,
    at: At,
    callback: Callback = None,
    agent: Agent = None,
    campaign: Campaign = None,
    group: CampaignGroup = None,
    calling_list: CallingList = None,
    tenant: OptionalTenant = None,
    application: ApplicationDbid = None,
    reference: Reference = None,
    url: UrlOfRecord = None,
    as_json: JSON_OPTION = False,
) -> None:
    """RecordReschedule: call back then; this is final.

    \b
    Example:
      ocsd ctl record 15 reschedule --at "2031-12-01 13:00" --callback personal
    """
    from ocsd.client import CallbackType

    assert at is not None
    with _about_record(ctx, url, "RecordReschedule", as_json) as it:
        it.ocs.record_reschedule(
            it.handle,
            at,
            callback_type=CallbackType[callback.name] if callback else None,
            agent_id=agent,
            **naming_of(campaign, group, calling_list, tenant, reference, application),
        )


@record_app.command("move-callback", epilog=EXIT_CODES)
def move_callback(
    ctx: typer.Context,
    at: At,
    callback: Callback = None,
    agent: Agent = None,
    phone: Phone = None,
    campaign: Campaign = None,
    group: CampaignGroup = None,
    calling_list: CallingList = None,
    tenant: OptionalTenant = None,
    application: ApplicationDbid = None,
    reference: Reference = None,
    url: UrlOfRecord = None,
    as_json: JSON_OPTION = False,
) -> None:
    """ScheduledRecordReschedule: move a callback to another time, or to another number; this is final.

    \b
    Example:
      ocsd ctl record 15 move-callback --at "2031-12-01 13:00" --phone +12125550124
    """
    from ocsd.client import CallbackType

    assert at is not None
    with _about_record(ctx, url, "ScheduledRecordReschedule", as_json) as it:
        it.ocs.scheduled_record_reschedule(
            it.handle,
            at,
            callback_type=CallbackType[callback.name] if callback else None,
            agent_id=agent,
            phone=phone,
            **naming_of(campaign, group, calling_list, tenant, reference, application),
        )


@record_app.command("cancel", epilog=EXIT_CODES)
def cancel_record(
    ctx: typer.Context,
    chain: Chain = None,
    campaign: Campaign = None,
    group: CampaignGroup = None,
    calling_list: CallingList = None,
    tenant: OptionalTenant = None,
    application: ApplicationDbid = None,
    reference: Reference = None,
    url: UrlOfRecord = None,
    as_json: JSON_OPTION = False,
) -> None:
    """RequestRecordCancel: the record, or its chain, is not to be called.

    \b
    Example:
      ocsd ctl record 15 cancel --chain-attr record-only
    """
    with _about_record(ctx, url, "RequestRecordCancel", as_json) as it:
        it.ocs.request_record_cancel(
            it.handle,
            chain_attr=chain.chain_attr if chain else None,
            **naming_of(campaign, group, calling_list, tenant, reference, application),
        )


@record_app.command("do-not-call", epilog=EXIT_CODES)
def do_not_call_record(
    ctx: typer.Context,
    chain: Chain = None,
    message: Message = None,
    duration: Duration = None,
    campaign: Campaign = None,
    group: CampaignGroup = None,
    calling_list: CallingList = None,
    tenant: OptionalTenant = None,
    application: ApplicationDbid = None,
    reference: Reference = None,
    url: UrlOfRecord = None,
    as_json: JSON_OPTION = False,
) -> None:
    """DoNotCall: nobody may call the record's number any more.

    \b
    Example:
      ocsd ctl record 15 do-not-call --message "asked on the phone"
    """
    with _about_record(ctx, url, "DoNotCall", as_json) as it:
        it.ocs.do_not_call(
            it.handle,
            chain_attr=chain.chain_attr if chain else None,
            message=message,
            duration_s=duration,
            **naming_of(campaign, group, calling_list, tenant, reference, application),
        )


@record_app.command("add", epilog=EXIT_CODES)
def add_beside(
    ctx: typer.Context,
    phone: NewPhone,
    zone: Zone,
    chain: ChainId = None,
    chain_n: ChainN = None,
    type_: Type = None,
    status: Status = None,
    phone_type: PhoneType = None,
    at: OptionalAt = None,
    from_: From = None,
    until: Until = None,
    call_result: Result = None,
    attempts: Attempts = None,
    call_time: CallTime = None,
    agent: Agent = None,
    field: Fields = None,
    tenant: OptionalTenant = None,
    application: ApplicationDbid = None,
    reference: Reference = None,
    url: UrlOfRecord = None,
    as_json: JSON_OPTION = False,
) -> None:
    """AddRecord: add a record to the list, with --chain to the chain, of the one that somebody works with.

    \b
    Example:
      ocsd ctl record 15 add --phone +12125550124 --zone EST --chain 7
    """
    from ocsd.client import NewRecord

    new = NewRecord(
        phone, zone, chain, chain_n, type_, status, phone_type, at, from_, until, call_result, attempts, call_time,
        agent, fields(field),
    )  # fmt: skip
    with _about_record(ctx, url, "AddRecord", as_json) as it:
        it.ocs.add_record(it.handle, new, **naming_of(tenant=tenant, reference=reference, application=application))
