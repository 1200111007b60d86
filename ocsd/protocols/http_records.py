"""Requests for records, phones, customer_ids and lists over HTTP (Reference Manual, "OCS Support for HTTP")."""

from dataclasses import dataclass
from enum import Enum
from typing import Protocol, TypeAlias

from ocsd.protocols.add_record import AddRecord
from ocsd.protocols.desktop_records import RecordRequest


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
    """

    resource: Resource
    request: AnyRequest
    tenant: TenantName | None = None


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
