"""What the commands of ``ocsd ctl`` share: the address, the client, how values are written, what an answer becomes."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from enum import Enum, IntEnum, StrEnum
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias, TypeVar

import typer

from ocsd.cli.errors import EXIT_CODES, EXIT_REFUSED
from ocsd.cli.output import err, out, print_json
from ocsd.model.enums import CallResult, ChainAttr, ContactInfoType, RecordStatus, RecordType

if TYPE_CHECKING:
    from ocsd.client import ControlClient, Naming

DEFAULT_URL: Final = "http://127.0.0.1:8080"
Url: TypeAlias = Annotated[str, typer.Option(envvar="OCSD_URL", help="The daemon's control port.")]

_E = TypeVar("_E", bound=Enum)
_CLOCK: Final = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?", re.ASCII)
_DAY_S: Final = 86_400


def client(url: str) -> "ControlClient":
    from ocsd.client import ControlClient

    if not url.startswith(("http://", "https://")):
        raise typer.BadParameter("must begin with http:// or https://", param_hint="--url")
    try:
        return ControlClient(url)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--url") from None


def group_of_commands(help_: str) -> typer.Typer:
    return typer.Typer(help=help_, epilog=EXIT_CODES, no_args_is_help=True, rich_markup_mode=None)


@contextmanager
def asked(url: str, request: str, target: str, as_json: bool) -> Iterator["ControlClient"]:
    """
    A client for one request, and what is printed of its outcome.

    A refusal is left to `ocsd.cli.errors`, which writes it to standard error; with ``as_json`` it is an answer too.
    """
    from ocsd.client import ControlError

    told: dict[str, object] = {"request": request, "target": target}
    try:
        with client(url) as ocs:
            yield ocs
    except ValueError as error:  # an argument that the protocol cannot carry
        raise typer.BadParameter(str(error)) from None
    except ControlError as error:
        if not as_json:
            raise
        refused = {"status": error.status, "warning": error.warning, "error": error.error_text or None}
        print_json({"ok": False, **told, **refused, "message": error.message})
        err(f"ocsd: {error}")
        raise typer.Exit(EXIT_REFUSED) from None
    if as_json:
        print_json({"ok": True, **told})
    else:
        out(f"{target}: {request} done")


# --- values ------------------------------------------------------------------------------------------------------


def word_of(member: Enum) -> str:
    return member.name.lower().replace("_", "-")


def choice(kind: type[_E], *, without: tuple[str, ...] = ()) -> Callable[[str], _E]:
    """A parser of a member's name (``answering-machine``) or, of the manual's enumerations, its number."""

    def parse(text: str) -> _E:
        name = text.strip().upper().replace("-", "_")
        for member in kind:
            number = str(member.value) if isinstance(member, IntEnum) else None
            if member.name not in without and text.strip() and name in (member.name, number):
                return member
        words = ", ".join(word_of(member) for member in kind if member.name not in without)
        raise typer.BadParameter(f"{text!r} is not one of {words}")

    return parse


def seconds_of_day(text: str) -> int:
    """``09:30``, ``09:30:15`` or ``24:00`` as seconds from midnight."""
    found = _CLOCK.fullmatch(text)
    if found is None:
        raise typer.BadParameter(f"{text!r} is no time like 09:30")
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    if minutes > 59 or seconds > 59 or (of_day := hours * 3600 + minutes * 60 + seconds) > _DAY_S:
        raise typer.BadParameter(f"{text!r} is no time of a day")
    return of_day


def fields(written: list[str] | None) -> dict[str, str]:
    """``NAME=VALUE`` texts; the server reads numbers and dates out of the text, by the field's type."""
    found: dict[str, str] = {}
    for text in written or ():
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise typer.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--field")
        if name in found:
            raise typer.BadParameter(f"{name} is given twice", param_hint="--field")
        found[name] = value
    return found


def tenant_of(text: str) -> int | str:
    """A DBID or a name."""
    return int(text) if text.isascii() and text.isdigit() else text


def naming_of(
    campaign: str | None = None,
    group: str | None = None,
    calling_list: str | None = None,
    tenant: str | None = None,
    reference: int | None = None,
    application: int | None = None,
) -> "Naming":
    found: Naming = {}
    if campaign is not None:
        found["campaign_name"] = campaign
    if group is not None:
        found["campaign_group_name"] = group
    if calling_list is not None:
        found["calling_list"] = calling_list
    if tenant is not None:
        found["tenant"] = tenant_of(tenant)
    if reference is not None:
        found["reference_id"] = reference
    if application is not None:
        found["application_dbid"] = application
    return found


# --- options -----------------------------------------------------------------------------------------------------

_AT: Final = typer.Option(
    formats=["%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"],
    metavar='"YYYY-MM-DD HH:MM"',
    help="When to call, on the clocks of the record's zone.",
)
At: TypeAlias = Annotated[datetime, _AT]
OptionalAt: TypeAlias = Annotated[datetime | None, _AT]
Campaign: TypeAlias = Annotated[str | None, typer.Option(metavar="NAME", help="Name of the campaign.")]
CampaignGroup: TypeAlias = Annotated[
    str | None, typer.Option("--group", metavar="NAME", help="Name of the campaign group.")
]
CallingList: TypeAlias = Annotated[str | None, typer.Option("--list", metavar="NAME", help="Name of the calling list.")]
Reference: TypeAlias = Annotated[
    int | None, typer.Option(metavar="NUMBER", help="GSW_REFERENCE_ID; a negative answer repeats it.")
]
TenantOption: TypeAlias = Annotated[
    str, typer.Option("--tenant", metavar="DBID|NAME", help="The tenant whose lists are meant.", show_default=False)
]
OptionalTenant: TypeAlias = Annotated[
    str | None,
    typer.Option("--tenant", metavar="DBID|NAME", help="Refused when the record belongs to another one."),
]
ApplicationDbid: TypeAlias = Annotated[
    int | None,
    typer.Option("--application", min=1, metavar="DBID", help="Refused when the server's application is another one."),
]
Fields: TypeAlias = Annotated[
    list[str] | None, typer.Option("--field", metavar="NAME=VALUE", help="A custom field. Repeatable.")
]


class ChainName(StrEnum):
    ALL_CHAIN = "all-chain"
    RECORD_ONLY = "record-only"

    @property
    def chain_attr(self) -> ChainAttr:
        return ChainAttr[self.name]


def _call_result(text: str) -> int:
    """A result's name, or any number: sites have results of their own past the manual's."""
    return int(text) if text.isascii() and text.isdigit() else choice(CallResult)(text).value


_NOT_ADDABLE_TYPES: Final = ("NO_RECORD_TYPE", "UNKNOWN", "NO_CALL")
_NOT_ADDABLE_STATUSES: Final = (
    "NO_RECORD_STATUS", "RETRIEVED", "STALE", "AGENT_ERROR", "CHAIN_UPDATED", "MISSED_CALLBACK", "CHAIN_READY",
)  # fmt: skip

Result: TypeAlias = Annotated[
    int | None,
    typer.Option("--call-result", parser=_call_result, metavar="NAME|NUMBER", help="Like busy, wrong-number, 33."),
]
Phone: TypeAlias = Annotated[str | None, typer.Option(metavar="NUMBER", help="Another phone number.")]
PhoneType: TypeAlias = Annotated[
    ContactInfoType | None,
    typer.Option(parser=choice(ContactInfoType), metavar="NAME|NUMBER", help="Like home-phone, mobile, 4."),
]
From: TypeAlias = Annotated[
    int | None,
    typer.Option("--from", parser=seconds_of_day, metavar="HH:MM", help="May be called from then, in its zone."),
]
Until: TypeAlias = Annotated[
    int | None, typer.Option("--until", parser=seconds_of_day, metavar="HH:MM", help="May be called until then.")
]
Chain: TypeAlias = Annotated[
    ChainName | None, typer.Option("--chain-attr", help="The whole chain (default), or the one record.")
]
Message: TypeAlias = Annotated[str | None, typer.Option(metavar="TEXT", help="Kept with the Do-Not-Call entry.")]
Duration: TypeAlias = Annotated[
    int | None, typer.Option(min=1, metavar="SECONDS", help="How long it holds; default: for ever.")
]
NewPhone: TypeAlias = Annotated[str, typer.Option("--phone", metavar="NUMBER", help="Phone number.")]
Zone: TypeAlias = Annotated[str, typer.Option(metavar="NAME", help="Time zone object of the configuration.")]
ChainId: TypeAlias = Annotated[
    int | None, typer.Option("--chain", min=1, metavar="ID", help="An existing chain; default: a new one.")
]
ChainN: TypeAlias = Annotated[int | None, typer.Option(min=0, help="Place in the chain; default: the next free one.")]
Type: TypeAlias = Annotated[
    RecordType | None,
    typer.Option(
        "--type",
        parser=choice(RecordType, without=_NOT_ADDABLE_TYPES),
        metavar="TYPE",
        help="general (default), campaign-rescheduled, personal-rescheduled, personal-callback, campaign-callback.",
    ),
]
Status: TypeAlias = Annotated[
    RecordStatus | None,
    typer.Option(
        "--status",
        parser=choice(RecordStatus, without=_NOT_ADDABLE_STATUSES),
        metavar="STATUS",
        help="ready (default), updated, canceled.",
    ),
]
Attempts: TypeAlias = Annotated[int | None, typer.Option(min=0, help="Attempts made so far.")]
CallTime: TypeAlias = Annotated[
    int | None, typer.Option(min=0, metavar="SECONDS", help="When it was called last, UTC seconds since 1970.")
]
Agent: TypeAlias = Annotated[
    str | None, typer.Option(metavar="LOGIN", help="Whose callback it is, or who worked with it last.")
]
