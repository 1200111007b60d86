"""The pairs of a desktop's message, taken one by one: what every request's parser is made of."""

from collections.abc import Mapping
from typing import Final, TypeAlias

from ocsd.model.enums import GswError
from ocsd.model.errors import DesktopRequestError
from ocsd.protocols.keyvalue import MAX_INT, integer, json_type, printable

ReferenceId: TypeAlias = int | str | None
"""As the desktop sent it: the answer carries "same key and same value", so a digit string stays a string."""

MAX_PHONE_CHARS: Final = 128
"""contact_info is varchar(128) in the manual's default format."""
MAX_NAME_CHARS: Final = 255

ATTACHED_KEYS: Final = frozenset(
    {
        "GSW_ABANDONED",
        "GSW_ACW_COMPLETED",
        "GSW_AGENT_ANSWERED",
        "GSW_AGENT_ID",
        "GSW_AGENT_RELEASED",
        "GSW_ATTEMPTS",
        "GSW_CALL_ATTEMPT_GUID",
        "GSW_CAMPAIGN_DESCRIPTION",
        "GSW_CAMPAIGN_GROUP_DBID",
        "GSW_CAMPAIGN_GROUP_DESCRIPTION",
        "GSW_CHAIN_ID",
        "GSW_CHAIN_N",
        "GSW_CPD_COMPLETED",
        "GSW_DIALING",
        "GSW_OPTIMIZE_BY",
        "GSW_OPTIMIZE_GOAL",
        "GSW_RECORD_URI",
        "GSW_RELEASED",
        "GSW_SCHEDULED_TIME",
        "GSW_START_PROCESSING",
        "GSW_SWITCH_DBID",
        "GSW_TENANT_NAME",
        "GSW_TZ_NAME",
        "GSW_TZ_OFFSET",
        "InteractionSubtype",
        "InteractionType",
    }
)
"""Keys that ocsd attaches and nobody may change: a desktop that sends a call's user data back may include them."""


def whole(attribute: str, value: object, lowest: int, highest: int) -> int:
    """Return an Int of the manual, also one written as decimal digits; DesktopRequestError 103 otherwise."""
    number = integer(value, digits=True)
    if number is None or not lowest <= number <= highest:
        limits = f"{lowest} to {highest}" if highest < MAX_INT else f"{lowest} or more"
        raise DesktopRequestError(
            GswError.INVALID_ATTRIBUTE_VALUE, f"{attribute} must be an integer, {limits}, not {printable(value)}"
        )
    return number


def text(attribute: str, value: object, longest: int, *, empty: bool = False) -> str:
    """Return a String of the manual of at most ``longest`` characters; DesktopRequestError 103 otherwise."""
    if not isinstance(value, str):
        raise DesktopRequestError(
            GswError.INVALID_ATTRIBUTE_VALUE, f"{attribute} must be a string, not {json_type(value)}"
        )
    if not empty and not value.strip():
        raise DesktopRequestError(GswError.INVALID_ATTRIBUTE_VALUE, f"{attribute} must not be empty")
    if len(value) > longest:
        raise DesktopRequestError(
            GswError.INVALID_ATTRIBUTE_VALUE, f"{attribute} has {len(value)} characters, at most {longest} are allowed"
        )
    return value


def missing(attribute: str) -> DesktopRequestError:
    return DesktopRequestError(GswError.ATTRIBUTE_NOT_FOUND, f"{attribute} is missing")


def unknown(attribute: str) -> DesktopRequestError:
    return DesktopRequestError(
        GswError.INVALID_ATTRIBUTE_VALUE, f"{printable(attribute)} is no attribute of this request"
    )


class Pairs:
    """
    The pairs of one message; what nobody took is unknown.

    ``names_needed``: campaign and list must be named although a handle says them, as the desktop protocol wants it.
    """

    def __init__(self, pairs: Mapping[str, object], *, names_needed: bool = True) -> None:
        self.left = dict(pairs)
        self._names_needed = names_needed

    def whole(self, attribute: str, lowest: int = 1, highest: int = MAX_INT) -> int:
        return whole(attribute, self._needed(attribute), lowest, highest)

    def optional_whole(self, attribute: str, lowest: int = 1, highest: int = MAX_INT) -> int | None:
        return self.whole(attribute, lowest, highest) if attribute in self.left else None

    def text(self, attribute: str, longest: int = MAX_NAME_CHARS) -> str:
        return text(attribute, self._needed(attribute), longest)

    def optional_text(self, attribute: str, longest: int = MAX_NAME_CHARS) -> str | None:
        return self.text(attribute, longest) if attribute in self.left else None

    def name(self, attribute: str) -> str | None:
        """GSW_CAMPAIGN_NAME or GSW_CALLING_LIST of a record that has a handle."""
        return self.text(attribute) if self._names_needed else self.optional_text(attribute)

    def optional_name(self, attribute: str, longest: int = MAX_NAME_CHARS) -> str | None:
        """A String that some of the manual's tables type Int (GSW_CUSTOMER_ID): an integer is taken as its digits."""
        value = self.left.get(attribute)
        if type(value) is int:
            self.left[attribute] = str(value)
        return self.optional_text(attribute, longest)

    def one_of(self, attribute: str, values: tuple[str, ...]) -> str:
        value = self._needed(attribute)
        if not isinstance(value, str) or value not in values:
            raise DesktopRequestError(
                GswError.INVALID_ATTRIBUTE_VALUE,
                f"{attribute} must be {' or '.join(values)}, not {printable(value)}",
            )
        return value

    def optional_one_of(self, attribute: str, values: tuple[str, ...]) -> str | None:
        return self.one_of(attribute, values) if attribute in self.left else None

    def reference(self, attribute: str) -> ReferenceId:
        value = self.left.pop(attribute, None)
        if value is None:
            return None
        whole(attribute, value, -MAX_INT - 1, MAX_INT)
        return value if isinstance(value, str | int) else None

    def pass_over_attached(self) -> None:
        """Leave out what a desktop copies from the attached data of the record."""
        for attribute in ATTACHED_KEYS & self.left.keys():
            del self.left[attribute]

    def _needed(self, attribute: str) -> object:
        try:
            return self.left.pop(attribute)
        except KeyError:
            raise missing(attribute) from None

    def finish(self) -> None:
        for attribute in self.left:
            raise unknown(attribute)
