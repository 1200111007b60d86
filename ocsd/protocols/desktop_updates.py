"""What UpdateCallCompletionStats and RecordProcessed change in a row: mandatory fields and custom fields, checked."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final, Protocol

from ocsd.config.objects import FormatField
from ocsd.model.enums import ContactInfoType, GswError
from ocsd.model.errors import DesktopRequestError
from ocsd.model.records import CallingRecord
from ocsd.protocols.desktop_pairs import MAX_PHONE_CHARS, Pairs, text, unknown, whole
from ocsd.protocols.desktop_times import manual_date_time
from ocsd.protocols.keyvalue import MAX_INT, printable

SECONDS_PER_DAY: Final = 86_400


class Correction(Protocol):
    """The two parts of an update: columns with checked values, and custom pairs still to be checked."""

    @property
    def changes(self) -> Mapping[str, int | str]: ...

    @property
    def custom(self) -> Mapping[str, object]: ...


_MODIFIABLE: Final[Mapping[str, tuple[str, int]]] = MappingProxyType(
    {
        # Any call result from 0 up: sites use numbers of their own past the manual's 53.
        "GSW_CALL_RESULT": ("call_result", MAX_INT),
        "GSW_FROM": ("daily_from", SECONDS_PER_DAY),
        "GSW_UNTIL": ("daily_till", SECONDS_PER_DAY),
        "GSW_PHONE_TYPE": ("contact_info_type", max(ContactInfoType)),
    }
)
"""The manual's "Modifiable Mandatory Genesys Fields" of type Int: key -> (column, highest value)."""


def take_changes(pairs: Pairs) -> tuple[Mapping[str, int | str], Mapping[str, object]]:
    """Take the update out of a record request: checked mandatory fields, and custom pairs still to be checked."""
    changes: dict[str, int | str] = {}
    for attribute, (column, highest) in _MODIFIABLE.items():
        if (value := pairs.optional_whole(attribute, 0, highest)) is not None:
            changes[column] = value
    if (phone := pairs.optional_text("GSW_PHONE", MAX_PHONE_CHARS)) is not None:
        changes["contact_info"] = phone
    pairs.left.pop("GSW_CHAIN_ATTR", None)  # "OCS ignores the status of the GSW_CHAIN_ATTR key"
    custom = take_custom(pairs)
    check_window(changes.get("daily_from"), changes.get("daily_till"))
    return MappingProxyType(changes), custom


def take_custom(pairs: Pairs) -> Mapping[str, object]:
    """Take what is left: custom pairs, still to be checked; keys of the manual among them are 103."""
    pairs.pass_over_attached()
    for attribute in pairs.left:
        if attribute.startswith("GSW_"):
            raise unknown(attribute)
    custom = MappingProxyType(dict(pairs.left))
    pairs.left.clear()
    return custom


def check_window(daily_from: int | str | None, daily_till: int | str | None) -> None:
    """GSW_FROM and GSW_UNTIL, where both are known; DesktopRequestError 103 unless the first is less."""
    if isinstance(daily_from, int) and isinstance(daily_till, int) and daily_till <= daily_from:
        raise DesktopRequestError(
            GswError.INVALID_ATTRIBUTE_VALUE, f"GSW_UNTIL {daily_till} must be greater than GSW_FROM {daily_from}"
        )


def column_updates(
    request: Correction, fields: Sequence[FormatField], record: CallingRecord | None = None
) -> dict[str, object]:
    """
    Return every column that ``request`` changes, with its checked value.

    Args:
        fields: the user columns of the record's format; custom pairs are found by ``send_attribute``.
        record: the record as it stands; with it, GSW_FROM or GSW_UNTIL alone is held against the other end of the
            record's window.

    Values: int for int columns, float for float, ``str`` for char and varchar, naive ``datetime`` for datetime.
    Raises DesktopRequestError 103 that names the attribute, also for a pair that belongs to no field: what an agent
    typed must not vanish silently.
    """
    by_attribute = {field_.send_attribute: field_ for field_ in fields if field_.send_attribute}
    updates: dict[str, object] = dict(request.changes)
    if record is not None and ("daily_from" in updates or "daily_till" in updates):
        check_window(
            request.changes.get("daily_from", record.daily_from_s),
            request.changes.get("daily_till", record.daily_till_s),
        )
    for attribute, value in request.custom.items():
        if attribute not in by_attribute:
            raise DesktopRequestError(
                GswError.INVALID_ATTRIBUTE_VALUE,
                f"no field of the calling list has send_attribute {printable(attribute)}",
            )
        column = by_attribute[attribute]
        updates[column.name] = _custom_value(attribute, column, value)
    return updates


def _custom_value(attribute: str, column: FormatField, value: object) -> int | float | str | datetime:
    if column.type == "int":
        return whole(attribute, value, -MAX_INT - 1, MAX_INT)
    if column.type == "float":
        return _number(attribute, value)
    if column.type == "datetime":
        return _date_time(attribute, value)
    if type(value) is int:
        value = str(value)  # the manual's own examples send "CUSTOMER_CODE": 22
    return text(attribute, value, column.length, empty=True)


def _number(attribute: str, value: object) -> float:
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number):
            return number
    raise DesktopRequestError(
        GswError.INVALID_ATTRIBUTE_VALUE, f"{attribute} must be a finite number, not {printable(value)}"
    )


def _date_time(attribute: str, value: object) -> datetime:
    """MM/DD/YY(YYYY) with or without HH:MM (the manual's GSW_DATE_TIME), or ISO 8601; an offset is turned into UTC."""
    written = text(attribute, value, 40)
    try:
        moment = manual_date_time(written) or datetime.fromisoformat(written)
        return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        raise DesktopRequestError(
            GswError.INVALID_ATTRIBUTE_VALUE,
            f"{attribute} must be a date and time like 10/30/2008 13:00 or 2008-10-30T13:00, not {printable(value)}",
        ) from None
