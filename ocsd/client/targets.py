"""What requests of the control port are about: a record, a phone number, a customer, a record to be added."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from types import MappingProxyType
from typing import Final, Self, TypeAlias
from urllib.parse import unquote, urlsplit

from ocsd.model.enums import CallResult, ContactInfoType, RecordStatus, RecordType

FieldValue: TypeAlias = str | int | float | datetime | date
"""Value of a custom field; an aware datetime is stored as UTC."""
CustomFields: TypeAlias = Mapping[str, FieldValue]
"""Custom fields by their ``send_attribute``."""
NO_FIELDS: Final[CustomFields] = MappingProxyType({})
Tenant: TypeAlias = int | str
"""A tenant by DBID (GSW_TENANT_DBID) or by name (GSW_TENANT_NAME)."""

MAX_HANDLE: Final = 2**31 - 1


@dataclass(frozen=True, slots=True)
class RecordHandle:
    """
    A record in somebody's hands, by GSW_RECORD_HANDLE.

    Attributes:
        server: where it was issued, like ``http://127.0.0.1:8080``; empty when only the number is known. A handle means
            nothing to another server, and a client does not look at it: ``ControlClient(handle.server)`` does.

    >>> RecordHandle.of("http://127.0.0.1:8080/records/15")
    RecordHandle(number=15, server='http://127.0.0.1:8080')
    """

    number: int
    server: str = ""

    def __post_init__(self) -> None:
        if not 1 <= self.number <= MAX_HANDLE:
            raise ValueError(f"{self.number} is no record handle")

    @classmethod
    def of(cls, uri: str) -> Self:
        """The handle in a GSW_RECORD_URI, or in its own digits; ValueError for anything else."""
        if uri.isascii() and uri.isdigit():
            return cls(int(uri))
        parts = urlsplit(uri)
        resource, _, number = parts.path.rpartition("/records/")
        number = unquote(number.removesuffix("/"))
        if parts.scheme not in ("http", "https") or not parts.netloc or not (number.isascii() and number.isdigit()):
            raise ValueError("a record is named by its handle or by a URI like http://127.0.0.1:8080/records/15")
        return cls(int(number), f"{parts.scheme}://{parts.netloc}{resource}")


@dataclass(frozen=True, slots=True)
class Phone:
    """All records with a phone number (GSW_PHONE), in the lists of one tenant."""

    number: str
    tenant: Tenant


@dataclass(frozen=True, slots=True)
class CustomerId:
    """All records of a customer (GSW_CUSTOMER_ID), in the lists of one tenant."""

    customer_id: str
    tenant: Tenant


Withdrawable: TypeAlias = RecordHandle | Phone | CustomerId


@dataclass(frozen=True, slots=True)
class NewRecord:
    """
    The row of an AddRecord; what is None is left to the server, whose defaults are the manual's.

    Attributes:
        phone: GSW_PHONE.
        tz_name: GSW_TZ_NAME, a time zone object of the configuration.
        chain_id: GSW_CHAIN_ID of an existing chain; None: a new one.
        chain_n: GSW_CHAIN_N; None: the next free place.
        at: GSW_DATE_TIME, naive, on the clocks of the record's zone, whole minutes.
        daily_from_s, daily_till_s: GSW_FROM and GSW_UNTIL, seconds from midnight.
        attempts: GSW_ATTEMPTS made so far.
        call_time: GSW_CALL_TIME, when it was called last, UTC seconds since 1970.
        agent_id: GSW_AGENT_ID, login of the agent who worked with it last, or whose callback it is.
    """

    phone: str
    tz_name: str
    chain_id: int | None = None
    chain_n: int | None = None
    record_type: RecordType | None = None
    record_status: RecordStatus | None = None
    phone_type: ContactInfoType | None = None
    at: datetime | None = None
    daily_from_s: int | None = None
    daily_till_s: int | None = None
    call_result: CallResult | int | None = None
    attempts: int | None = None
    call_time: int | None = None
    agent_id: str | None = None
    custom: CustomFields = field(default_factory=dict)
