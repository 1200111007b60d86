"""What requests about records are held against, over the desktop protocol and over HTTP alike."""

from types import MappingProxyType
from typing import Final

from ocsd.config.objects import Configuration, FormatField
from ocsd.lists.chains import PERSONAL
from ocsd.lists.numbers import NumberRefused, normaliser
from ocsd.model.enums import GswError, RecordType
from ocsd.model.errors import DesktopRequestError
from ocsd.model.records import CallingRecord
from ocsd.protocols import desktop_records as requests
from ocsd.protocols.desktop_updates import column_updates
from ocsd.protocols.keyvalue import printable
from ocsd.sessions.campaigns import Campaigns
from ocsd.sessions.held import Held, RecordsInHand

CALLBACK_TYPE_OF: Final = MappingProxyType(
    {
        requests.CallbackType.PERSONAL: RecordType.PERSONAL_CALLBACK,
        requests.CallbackType.CAMPAIGN: RecordType.CAMPAIGN_CALLBACK,
        None: None,
    }
)
TREATMENT_OF: Final = MappingProxyType(
    {requests.RecordTreatment.PERSONAL: "personal", requests.RecordTreatment.CAMPAIGN: "campaign", None: None}
)


class RecordChecks:
    def __init__(self, campaigns: Campaigns, in_hand: RecordsInHand) -> None:
        self._campaigns = campaigns
        self._in_hand = in_hand

    @property
    def _config(self) -> Configuration:
        return self._campaigns.config

    def named(self, request: requests.RecordRequest, handle: int, *, agent_id: str | None = None) -> Held:
        """
        The record, if the names in the request are those of its campaign, group and list.

        Args:
            agent_id: of the desktop that asks: records of others are as unknown to it as those that are not there.
        """
        held = self._in_hand.find(handle, agent_id=agent_id)
        session = held.session
        if request.campaign_name not in (None, session.campaign.name):
            raise DesktopRequestError(
                GswError.INVALID_ATTRIBUTE_VALUE,
                f"GSW_CAMPAIGN_NAME {request.campaign_name!r}: the record belongs to {session.campaign.name!r}",
            )
        if request.campaign_group_name not in (None, session.group.name):
            raise DesktopRequestError(
                GswError.CAMPAIGN_GROUP_NOT_FOUND,
                f"GSW_CAMPAIGN_GROUP_NAME {request.campaign_group_name!r}: the record is of {session.group.name!r}",
            )
        calling_list = self.list_name(held)
        if request.calling_list not in (None, calling_list):
            raise DesktopRequestError(
                GswError.INVALID_ATTRIBUTE_VALUE,
                f"GSW_CALLING_LIST {request.calling_list!r}: the record is of {calling_list!r}",
            )
        return held

    def correction(self, request: requests.CorrectingRequest, held: Held) -> tuple[int | None, dict[str, object]]:
        """The call result and the columns that the request sets."""
        updates = column_updates(request, self.fields(held.record), held.as_corrected)
        if "contact_info" in updates:
            updates["contact_info"] = self.number(str(updates["contact_info"]), held)
        result = updates.pop("call_result", None)
        return (int(str(result)) if result is not None else None), updates

    def new_number(self, request: requests.RescheduleRequest, held: Held) -> str | None:
        """Another number to call, E.164; None: the record's own."""
        phone = request.phone if isinstance(request, requests.ScheduledRecordReschedule) else None
        if phone is None or phone == held.record.contact_info:  # sent back as it is
            return None
        number = self.number(phone, held)
        return None if number == held.record.contact_info else number

    def number(self, phone: str, held: Held) -> str:
        """GSW_PHONE as rows hold it; what a list has that is no number of its country may be sent back as it is."""
        if phone == held.as_corrected.contact_info:
            return phone
        country = self._config.calling_list_by_dbid(held.chain.list_dbid).country
        try:
            return normaliser(country)(phone).number
        except NumberRefused as refusal:
            raise DesktopRequestError(GswError.INVALID_ATTRIBUTE_VALUE, f"GSW_PHONE: {refusal}") from None

    def owner(self, held: Held, agent_id: str | None, *, personal: bool) -> str | None:
        """
        Whose the record becomes: who has it; else the agent who is named, or whose callback it already is.

        Args:
            agent_id: GSW_AGENT_ID of a request that comes from nobody's desktop.
            personal: a personal callback or treatment is asked for, which needs an agent (102, 103).
        """
        if held.agent_id is not None or not personal:
            return held.agent_id
        own = held.record.agent_id if held.record.record_type in PERSONAL else None
        if agent_id is not None and agent_id not in self._campaigns.seats:
            raise DesktopRequestError(
                GswError.INVALID_ATTRIBUTE_VALUE, f"GSW_AGENT_ID: no agent has the login ID {printable(agent_id)}"
            )
        if (found := agent_id or own) is None:
            raise DesktopRequestError(
                GswError.ATTRIBUTE_NOT_FOUND,
                "GSW_AGENT_ID is missing: no agent has the record, and it would be no one's",
            )
        return found

    def list_name(self, held: Held) -> str:
        return self._config.calling_list_by_dbid(held.chain.list_dbid).name

    def fields(self, record: CallingRecord) -> tuple[FormatField, ...]:
        return self._config.format_of_list(self._config.calling_list_by_dbid(record.list_dbid)).fields
