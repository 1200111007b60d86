"""What goes wrong with a request, and the manual's words for its numbers."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ocsd.model.enums import GSW_ERROR_NAMES, CmError, GswError
from ocsd.model.errors import DependencyError, OcsdError

ERROR_MEANINGS: Final[Mapping[int, str]] = MappingProxyType(
    {
        CmError.CAMPAIGN_NOT_FOUND: "the campaign is not in the configuration",
        CmError.CAMPAIGN_NOT_LOADED: "the campaign group is not loaded",
        CmError.CAMPAIGN_ALREADY_LOADED: "the campaign group is already loaded",
        CmError.CAMPAIGN_NOT_STARTED: "dialing has not been started",
        CmError.CAMPAIGN_ALREADY_STARTED: "dialing has already been started",
        CmError.GROUP_NOT_FOUND: "the group is not in the configuration",
        CmError.GROUP_CAMP_NOT_FOUND: "the campaign group is not in the configuration",
        CmError.INVALID_PARAMETER: "invalid parameter",
        CmError.INVALID_CAMPAIGN_MODE: "the mode is not possible for the running campaign group",
        CmError.INVALID_CAMPAIGN_SCHEDULE: "wrong campaign sequence",
        CmError.CAMPAIGN_SCHEDULE_NOT_FOUND: "campaign sequence not found",
        CmError.INVALID_CAMPAIGN_SCHEDULE_MODE: "the mode is not possible for the running campaign sequence",
        CmError.LICENSE_VIOLATION: "the dial mode is not supported",
    }
)
"""In words what a GSW_CM_AttrError says; some answers consist of the number alone."""


def error_of(warning: int | None) -> CmError | GswError | None:
    """The manual's error for the number in Warning; those of the two protocols do not overlap."""
    for kind in (CmError, GswError):
        for member in kind:
            if member.value == warning:
                return member
    return None


class ControlError(OcsdError):
    """
    The server refused.

    Attributes:
        status: HTTP status.
        warning: number in the header Warning, None without one.
        error: what that number is: a GSW_ERROR for records, phones, customers and lists, a GSW_CM_AttrError for
            campaign groups; None for a number that the manual does not have.
        message: the server's words, or ours where it sent only the number.
    """

    def __init__(self, status: int, warning: int | None, message: str) -> None:
        numbered = f" (error {warning})" if warning is not None else ""
        super().__init__(f"{message}{numbered}")
        self.status = status
        self.warning = warning
        self.message = message
        self.error = error_of(warning)

    @property
    def error_name(self) -> str:
        """Like ``NO_CALL_FOUND``; empty without a number."""
        return self.error.name if self.error is not None else ""

    @property
    def error_text(self) -> str:
        """GSW_ERROR of the number (``No call found for the record handle``), or what the GSW_CM_AttrError means."""
        if isinstance(self.error, GswError):
            return GSW_ERROR_NAMES[self.error]
        return ERROR_MEANINGS.get(self.warning or 0, "")


class ControlUnavailable(DependencyError):
    """
    Nobody answers at the address, or not in time.

    ``sent``: the request, or a part of it, may have arrived, so it may have been carried out. A client never sends it
    again by itself.
    """

    def __init__(self, message: str, *, sent: bool = False) -> None:
        super().__init__(message)
        self.sent = sent
