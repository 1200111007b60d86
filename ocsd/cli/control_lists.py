"""``ocsd ctl phone | customer | list``: all records of a number or a customer, and new records of a list."""

from typing import Annotated, Any

import typer

from ocsd.cli.control_common import (
    DEFAULT_URL,
    Agent,
    Attempts,
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
    PhoneType,
    Reference,
    Result,
    Status,
    TenantOption,
    Type,
    Until,
    Url,
    Zone,
    asked,
    client,
    fields,
    group_of_commands,
    naming_of,
    tenant_of,
)
from ocsd.cli.errors import EXIT_CODES
from ocsd.cli.output import JSON_OPTION, print_json

phone_app = group_of_commands(
    "Cancel, or call no more, all records of a phone number.\n\n\b\n"
    'Example:\n  ocsd ctl phone +12125550123 do-not-call --tenant "Example Ltd"'
)
customer_app = group_of_commands(
    "Cancel, or call no more, all records of a customer.\n\n\b\n"
    'Example:\n  ocsd ctl customer C-17 cancel --tenant "Example Ltd"'
)
list_app = group_of_commands(
    "Add records to a calling list, and ask about it.\n\n\b\n"
    'Example:\n  ocsd ctl list "Example List" add --phone +12125550123 --zone EST --campaign Example'
)


# --- phone and customer ------------------------------------------------------------------------------------------


@phone_app.callback()
def phone_number(
    ctx: typer.Context, number: Annotated[str, typer.Argument(metavar="NUMBER", help="As its records have it.")]
) -> None:
    ctx.obj = number


@customer_app.callback()
def customer_id(
    ctx: typer.Context, id_: Annotated[str, typer.Argument(metavar="ID", help="As its records have it.")]
) -> None:
    ctx.obj = id_


def _withdrawn(ctx: typer.Context, tenant: str) -> tuple[Any, str]:
    from ocsd.client import CustomerId, Phone

    is_phone = ctx.parent is not None and ctx.parent.info_name == "phone"
    kind = Phone if is_phone else CustomerId
    return kind(ctx.obj, tenant_of(tenant)), f"{'phone' if is_phone else 'customer'} {ctx.obj}"


@phone_app.command(epilog=EXIT_CODES)
@customer_app.command(epilog=EXIT_CODES)
def cancel(
    ctx: typer.Context,
    tenant: TenantOption,
    chain: Chain = None,
    campaign: Campaign = None,
    group: CampaignGroup = None,
    reference: Reference = None,
    url: Url = DEFAULT_URL,
    as_json: JSON_OPTION = False,
) -> None:
    """RequestRecordCancel: the records found, or their chains, are not to be called; with --campaign only in that one.

    \b
    Example:
      ocsd ctl phone +12125550123 cancel --tenant "Example Ltd" --campaign Example
      ocsd ctl customer C-17 cancel --tenant 1
    """
    target, words = _withdrawn(ctx, tenant)
    with asked(url, "RequestRecordCancel", words, as_json) as ocs:
        chain_attr = chain.chain_attr if chain else None
        ocs.request_record_cancel(target, chain_attr=chain_attr, **naming_of(campaign, group, reference=reference))


@phone_app.command("do-not-call", epilog=EXIT_CODES)
@customer_app.command("do-not-call", epilog=EXIT_CODES)
def do_not_call(
    ctx: typer.Context,
    tenant: TenantOption,
    chain: Chain = None,
    message: Message = None,
    duration: Duration = None,
    campaign: Campaign = None,
    group: CampaignGroup = None,
    reference: Reference = None,
    url: Url = DEFAULT_URL,
    as_json: JSON_OPTION = False,
) -> None:
    """DoNotCall: nobody of the tenant may call any more.

    \b
    Example:
      ocsd ctl phone +12125550123 do-not-call --tenant "Example Ltd" --message "by letter" --duration 7776000
      ocsd ctl customer C-17 do-not-call --tenant 1
    """
    target, words = _withdrawn(ctx, tenant)
    with asked(url, "DoNotCall", words, as_json) as ocs:
        ocs.do_not_call(
            target,
            chain_attr=chain.chain_attr if chain else None,
            message=message,
            duration_s=duration,
            **naming_of(campaign, group, reference=reference),
        )


# --- list --------------------------------------------------------------------------------------------------------


@list_app.callback()
def list_name(
    ctx: typer.Context, name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the calling list.")]
) -> None:
    ctx.obj = name


@list_app.command(epilog=EXIT_CODES)
def add(
    ctx: typer.Context,
    phone: NewPhone,
    zone: Zone,
    campaign: Campaign = None,
    group: CampaignGroup = None,
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
    reference: Reference = None,
    url: Url = DEFAULT_URL,
    as_json: JSON_OPTION = False,
) -> None:
    """AddRecord: add a record to the list of a campaign that is loaded.

    \b
    Example:
      ocsd ctl list "Example List" add --phone +12125550123 --zone EST --campaign Example
      ocsd ctl list "Example List" add --phone +12125550123 --zone EST --campaign Example \\
          --type campaign-callback --at "2031-12-01 13:00" --field CUSTOMER_CODE=22
    """
    from ocsd.client import NewRecord

    new = NewRecord(
        phone, zone, chain, chain_n, type_, status, phone_type, at, from_, until, call_result, attempts, call_time,
        agent, fields(field),
    )  # fmt: skip
    with asked(url, "AddRecord", f"list {ctx.obj}", as_json) as ocs:
        ocs.add_record(ctx.obj, new, **naming_of(campaign, group, reference=reference))


@list_app.command(epilog=EXIT_CODES)
def preflight(ctx: typer.Context, url: Url = DEFAULT_URL) -> None:
    """Print, as JSON, what the list would come to on a start (`ocsd list preflight` shows it in words).

    \b
    Example:
      ocsd ctl list "Example List" preflight
    """
    with client(url) as ocs:
        print_json(ocs.preflight(ctx.obj))


@list_app.command(epilog=EXIT_CODES)
def why(
    ctx: typer.Context,
    record_id: Annotated[int, typer.Argument(min=1, metavar="RECORD_ID", help="Column record_id.")],
    url: Url = DEFAULT_URL,
) -> None:
    """Print, as JSON, why a record is dialed or not (`ocsd why` shows it in words).

    \b
    Example:
      ocsd ctl list "Example List" why 4711
    """
    with client(url) as ocs:
        print_json(ocs.why(ctx.obj, record_id))
