"""ReadyTime and Smart Logout of the desktop protocol: what an agent announces, and what it is answered (pure).

Source: Reference Manual, "ReadyTime Request" and "Smart Logout". The table of LogOutTime gives its GSW_USER_EVENT the
value ``LogOut``; that is what is sent.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, TypeAlias

from ocsd.protocols.desktop_pairs import Pairs, ReferenceId

Message: TypeAlias = dict[str, object]


@dataclass(frozen=True, slots=True)
class ReadyTime:
    """The agent will be ready in ``ready_in_s`` seconds, when done with the record."""

    application_dbid: int
    record_handle: int
    ready_in_s: int
    reference_id: ReferenceId = None


@dataclass(frozen=True, slots=True)
class LogOut:
    """The agent wants to leave a campaign that dials; without a group's name whichever of its groups does."""

    application_dbid: int
    campaign_name: str
    campaign_group_name: str | None = None
    reference_id: ReferenceId = None


AnnouncingRequest: TypeAlias = ReadyTime | LogOut


def _ready_time(pairs: Pairs) -> AnnouncingRequest:
    request = ReadyTime(
        application_dbid=pairs.whole("GSW_APPLICATION_ID"),
        record_handle=pairs.whole("GSW_RECORD_HANDLE"),
        ready_in_s=pairs.whole("GSW_READY_TIME"),
        reference_id=pairs.reference("GSW_REFERENCE_ID"),
    )
    pairs.left.clear()  # "Any other pairs will be ignored by OCS"
    return request


def _log_out(pairs: Pairs) -> AnnouncingRequest:
    request = LogOut(
        application_dbid=pairs.whole("GSW_APPLICATION_ID"),
        campaign_name=pairs.text("GSW_CAMPAIGN_NAME"),
        campaign_group_name=pairs.optional_text("GSW_CAMPAIGN_GROUP_NAME"),
        reference_id=pairs.reference("GSW_REFERENCE_ID"),
    )
    pairs.pass_over_attached()
    return request


ANNOUNCING_REQUESTS: Final[Mapping[str, Callable[[Pairs], AnnouncingRequest]]] = MappingProxyType(
    {"ReadyTime": _ready_time, "LogOut": _log_out}
)


def ready_time_acknowledgement(request: ReadyTime, application_dbid: int) -> Message:
    """ReadyTimeAcknowledge."""
    message: Message = {
        "GSW_USER_EVENT": "ReadyTimeAcknowledge",
        "GSW_APPLICATION_ID": application_dbid,
        "GSW_RECORD_HANDLE": request.record_handle,
    }
    return _with_reference(message, request.reference_id)


def log_out_time(request: LogOut, application_dbid: int, campaign_name: str, time_s: int) -> Message:
    """LogOutTime: how many seconds until the agent may go; 0: LogOutAcknowledge follows at once."""
    message: Message = {
        "GSW_USER_EVENT": "LogOut",
        "GSW_APPLICATION_ID": application_dbid,
        "GSW_CAMPAIGN_NAME": campaign_name,
        "GSW_LOGOUT_TIME": time_s,
    }
    return _with_reference(message, request.reference_id)


def log_out_acknowledgement(application_dbid: int, campaign_name: str) -> Message:
    """LogOutAcknowledge: the agent gets no call of this campaign any more. An event of its own, without reference."""
    return {
        "GSW_USER_EVENT": "LogOutAcknowledge",
        "GSW_APPLICATION_ID": application_dbid,
        "GSW_CAMPAIGN_NAME": campaign_name,
    }


def _with_reference(message: Message, reference_id: ReferenceId) -> Message:
    if reference_id is not None:
        message["GSW_REFERENCE_ID"] = reference_id
    return message
