"""
Requests for records, phones, customer_ids and lists over HTTP (Reference Manual, "OCS Support for the HTTP Protocol").

They are those of the desktop protocol, with less to say: the URI names the record, phone, customer or list, the
application is the one that is asked, and a handle says which campaign and list it is of. Where the manual is silent:

- What the URI says stands before the body, and before what would otherwise decide: ``phones`` and ``customer_ids`` pass
  over the other two of handle, phone and customer ID, ``lists`` passes over a handle. Without an identifier in the URI
  the body's one counts.
- A handle in the URI that no record can have (no number, past 2^31-1) is an unknown handle: 112.
- Desktop pairs in the body are taken: GSW_APPLICATION_ID must be ours, GSW_AGENT_REQ_TYPE must be the request.
- RecordReschedule without GSW_CALLBACK_TYPE, as orchestration sends it, is a Campaign callback.
- GSW_CAMPAIGN is GSW_CAMPAIGN_NAME: the chapter uses both.
- A callback or treatment that is Personal belongs to the agent who has the record; where nobody has it, GSW_AGENT_ID
  says whose it is. Else that attribute changes nothing: it is attached data too.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final, Protocol, TypeAlias

from ocsd.model.enums import GswError
from ocsd.model.errors import DesktopRequestError
from ocsd.model.services import CampaignRequest
from ocsd.protocols.add_record import MAX_AGENT_ID_CHARS, AddRecord, add_record
from ocsd.protocols.desktop import RefusedRequest
from ocsd.protocols.desktop_pairs import Pairs, ReferenceId, missing
from ocsd.protocols.desktop_records import RECORD_REQUESTS, CallbackType, RecordRequest
from ocsd.protocols.keyvalue import MAX_INT, integer, printable, storable


class Resource(Enum):
    """Resources whose requests are those of the desktop protocol."""

    RECORDS = "records"
    PHONES = "phones"
    CUSTOMER_IDS = "customer_ids"
    LISTS = "lists"


@dataclass(frozen=True, slots=True)
class TenantName:
    """GSW_TENANT_DBID and GSW_TENANT_NAME as given; "the DBID takes precedence over the name"."""

    dbid: int | None = None
    name: str | None = None


AnyRequest: TypeAlias = RecordRequest | AddRecord


@dataclass(frozen=True, slots=True)
class HttpRecordRequest:
    """
    Attributes:
        request: of the desktop protocol, with what the URI says put in its place (handle, phone, customer ID or list);
            campaign and list names only as far as the body gave them.
        tenant: None: the body names none (never for phones and customer_ids).
        agent_id: login ID of whose a personal callback or treatment is to be, as far as the body says.
    """

    resource: Resource
    request: AnyRequest
    tenant: TenantName | None = None
    agent_id: str | None = None


class RecordControl(Protocol):
    """What the control port asks of the sessions."""

    async def carry_out(self, request: HttpRecordRequest) -> None:
        """
        Carry out one request; returns when what it has changed is on disk.

        RecordReschedule and ScheduledRecordReschedule are final here (over the desktop protocol RecordProcessed has to
        follow). Raises TargetNotFound, DesktopRequestError with the manual's number; nothing has been changed then, but
        for a Do-Not-Call that the database did not take in time (113): it holds already.
        """
        ...


_PARSERS: Final[Mapping[str, Callable[[Pairs], AnyRequest]]] = MappingProxyType(
    {"AddRecord": add_record, **RECORD_REQUESTS}
)
REQUESTS: Final[Mapping[Resource, tuple[str, ...]]] = MappingProxyType(
    {
        Resource.RECORDS: (*RECORD_REQUESTS, "AddRecord"),
        Resource.PHONES: ("DoNotCall", "RequestRecordCancel"),
        Resource.CUSTOMER_IDS: ("DoNotCall", "RequestRecordCancel"),
        Resource.LISTS: ("AddRecord",),
    }
)
"""Values of ``req``, in any case. ScheduledRecordReschedule is ours: "there is no difference" to RecordReschedule."""

KEY_OF: Final[Mapping[Resource, str]] = MappingProxyType(
    {
        Resource.RECORDS: "GSW_RECORD_HANDLE",
        Resource.PHONES: "GSW_PHONE",
        Resource.CUSTOMER_IDS: "GSW_CUSTOMER_ID",
        Resource.LISTS: "GSW_CALLING_LIST",
    }
)
"""What the URI's identifier is in the body."""

_PASSED_OVER: Final[Mapping[Resource, tuple[str, ...]]] = MappingProxyType(
    {
        Resource.RECORDS: (),
        Resource.PHONES: ("GSW_RECORD_HANDLE", "GSW_CUSTOMER_ID"),
        Resource.CUSTOMER_IDS: ("GSW_RECORD_HANDLE", "GSW_PHONE"),
        Resource.LISTS: ("GSW_RECORD_HANDLE",),
    }
)
_HANDLE: Final = re.compile(r"[0-9]{1,10}", re.ASCII)


def parse_http(
    resource: Resource, identifier: str | None, req: str, pairs: Mapping[str, object], application_dbid: int
) -> HttpRecordRequest:
    """
    Return the typed request.

    Args:
        identifier: of the URI, decoded; None where it ends with the resource.
        req: the value of the parameter, in any case.
        pairs: the object in the body.

    Raises RefusedRequest with the manual's number and the body's GSW_REFERENCE_ID.
    """
    reference = readable_reference(pairs)
    try:
        name = _request_name(resource, req)
        taken = Pairs(pairs, names_needed=False)
        _take_form(taken, name, application_dbid)
        tenant = _tenant(taken)
        if tenant is None and resource in (Resource.PHONES, Resource.CUSTOMER_IDS):
            raise missing("GSW_TENANT_DBID or GSW_TENANT_NAME")
        _put_identifier(taken, resource, identifier, needed=name != "AddRecord")
        if name == "RecordReschedule":
            taken.left.setdefault("GSW_CALLBACK_TYPE", CallbackType.CAMPAIGN.value)
        agent_id = _agent(taken, name)
        request = _PARSERS[name](taken)
        taken.finish()
        if isinstance(request, AddRecord) and request.record_handle is None and request.campaign_name is None:
            raise missing("GSW_CAMPAIGN_NAME")
    except DesktopRequestError as error:
        raise RefusedRequest(error.error, error.description, request=req, reference_id=reference) from None
    return HttpRecordRequest(resource, request, tenant, agent_id)


def readable_reference(pairs: Mapping[str, object]) -> ReferenceId:
    """The body's GSW_REFERENCE_ID as it was sent; None when it is no integer (which refuses the request)."""
    reference = pairs.get("GSW_REFERENCE_ID")
    if isinstance(reference, int | str) and integer(reference, digits=True) is not None:
        return reference
    return None


def _request_name(resource: Resource, req: str) -> str:
    for name in REQUESTS[resource]:
        if name.lower() == req.lower():
            return name
    known = ", ".join(REQUESTS[resource])
    elsewhere = [each.value for each, names in REQUESTS.items() if req.lower() in (name.lower() for name in names)]
    if req.lower() in (request.value.lower() for request in CampaignRequest):
        elsewhere = ["campaigngroups"]
    why = f"is a request for {' and '.join(elsewhere)}" if elsewhere else "is no known request"
    raise DesktopRequestError(GswError.INVALID_REQUEST, f"req {printable(req)} {why}; {resource.value} knows {known}")


def _take_form(pairs: Pairs, name: str, application_dbid: int) -> None:
    """What the desktop protocol wants and the URI has said: brought into its form, or held against it."""
    asked = pairs.left.pop("GSW_AGENT_REQ_TYPE", name)
    if not isinstance(asked, str) or asked.lower() != name.lower():
        raise DesktopRequestError(
            GswError.INVALID_REQUEST, f"GSW_AGENT_REQ_TYPE {printable(asked)} is not the req {name}"
        )
    application = pairs.optional_whole("GSW_APPLICATION_ID")
    if application not in (None, application_dbid):
        raise DesktopRequestError(
            GswError.INVALID_ATTRIBUTE_VALUE, f"GSW_APPLICATION_ID {application} is another one than {application_dbid}"
        )
    pairs.left["GSW_APPLICATION_ID"] = application_dbid
    if "GSW_CAMPAIGN" in pairs.left:
        campaign = pairs.text("GSW_CAMPAIGN")
        if pairs.left.setdefault("GSW_CAMPAIGN_NAME", campaign) != campaign:
            raise DesktopRequestError(
                GswError.INVALID_ATTRIBUTE_VALUE, "GSW_CAMPAIGN and GSW_CAMPAIGN_NAME name different campaigns"
            )


def _tenant(pairs: Pairs) -> TenantName | None:
    dbid, name = pairs.optional_whole("GSW_TENANT_DBID"), pairs.optional_text("GSW_TENANT_NAME")
    return TenantName(dbid, name) if dbid is not None or name is not None else None


def _agent(pairs: Pairs, name: str) -> str | None:
    """Of requests that may make the record an agent's; to others it is attached data that nobody may change."""
    if name not in ("RecordProcessed", "RecordReschedule", "ScheduledRecordReschedule"):
        return None
    return pairs.optional_name("GSW_AGENT_ID", MAX_AGENT_ID_CHARS)


def _put_identifier(pairs: Pairs, resource: Resource, identifier: str | None, *, needed: bool) -> None:
    for key in _PASSED_OVER[resource]:
        pairs.left.pop(key, None)
    key = KEY_OF[resource]
    if identifier is None:
        if key not in pairs.left and needed:
            raise missing(key)
    elif resource is Resource.RECORDS:
        pairs.left[key] = _handle(identifier)
    elif storable(identifier):
        pairs.left[key] = identifier
    else:
        raise DesktopRequestError(
            GswError.INVALID_ATTRIBUTE_VALUE, f"{key} in the URI holds a character that is no text"
        )


def _handle(identifier: str) -> int:
    if not _HANDLE.fullmatch(identifier) or not 1 <= int(identifier) <= MAX_INT:
        raise DesktopRequestError(GswError.NO_CALL_FOUND)
    return int(identifier)
