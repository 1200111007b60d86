"""
AddRecord: where the record goes, what it says checked against the list, and the row.

The campaign group is found by the handle of a record in somebody's hands, else by its name, else by the campaign's;
one of the campaign's groups must be loaded (manual: "only to a running or loaded Campaign/Campaign group").

A number on Do-Not-Call may be added: a list is told who is to be called, the gates decide who is. The row becomes
NoCall when it is claimed, as every other. The list's filter may leave the row out; it is not asked.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final
from zoneinfo import ZoneInfo

import structlog

from ocsd.config.objects import CallingList, Campaign, Configuration, TimeZoneObject
from ocsd.lists.gates import STATUS_TYPES
from ocsd.lists.numbers import NumberRefused, normaliser
from ocsd.lists.store import AddRefused, ChainMissing, RecordExists
from ocsd.lists.tables import table_of
from ocsd.model.enums import CallResult, GroupCampStatus, GswError, RecordStatus, RecordType
from ocsd.model.errors import DesktopRequestError, StoreUnavailable, TargetNotFound
from ocsd.model.records import AddedRecord, CallingRecord, NewRecord
from ocsd.protocols.add_record import AddRecord
from ocsd.protocols.desktop_updates import column_updates
from ocsd.protocols.keyvalue import printable
from ocsd.sessions.appointments import appointment
from ocsd.sessions.campaigns import Campaigns
from ocsd.sessions.held import OnDisk, RecordsInHand
from ocsd.sessions.session import Session

log = structlog.get_logger()

TAKES_RECORDS: Final = frozenset({GroupCampStatus.ACTIVE, GroupCampStatus.RUNNING})
"""Loaded, or dialing; what is being unloaded takes nothing new."""

PERSONAL_TYPES: Final = frozenset({RecordType.PERSONAL_CALLBACK, RecordType.PERSONAL_RESCHEDULED})

_NUMBER_OF: Final[Mapping[type[Exception], GswError]] = MappingProxyType(
    {
        RecordExists: GswError.RECORD_ALREADY_EXISTS,
        ChainMissing: GswError.CHAINED_RECORDS_NOT_FOUND,
        AddRefused: GswError.ADD_RECORD_ERROR,
    }
)


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a record goes: the list, and the loaded groups of the campaign that may dial it."""

    campaign: Campaign
    calling_list: CallingList
    sessions: tuple[Session, ...]


@dataclass(frozen=True, slots=True)
class _Custom:
    """The custom pairs as `column_updates` takes them."""

    custom: Mapping[str, object]
    changes: Mapping[str, int | str] = field(default_factory=dict)


class RecordAdding:
    def __init__(self, campaigns: Campaigns, in_hand: RecordsInHand) -> None:
        self._campaigns = campaigns
        self._in_hand = in_hand

    @property
    def _config(self) -> Configuration:
        return self._campaigns.config

    def add(
        self, request: AddRecord, *, agent_id: str | None = None, tenant_dbid: int | None = None
    ) -> OnDisk[Destination]:
        """
        Check the request now, and add the record when what is returned is awaited.

        Args:
            agent_id: of the desktop that asks: it must be in a group of the campaign, and a handle must be its own.
            tenant_dbid: whose campaign it must be; None: anybody's.

        Raises TargetNotFound for names that are not configured, DesktopRequestError with the manual's number: 106 when
        the campaign is not loaded, 113 when the database is away. Awaiting it raises 113 to 116 when the database is
        away or the list does not take the record.
        """
        where = self._destination(request, agent_id)
        if tenant_dbid is not None and self._config.tenant_dbid_of(where.campaign) != tenant_dbid:
            raise _wrong(f"the campaign {where.campaign.name!r} belongs to another tenant")
        record = self._new_record(request, where)
        if not self._campaigns.store.available:
            raise DesktopRequestError(GswError.DB_ERROR, "the database is away")

        async def added() -> Destination:
            try:
                written = await self._campaigns.store.add_record(record)
            except StoreUnavailable as error:
                log.warning("record.not_added", error=str(error))
                raise DesktopRequestError(GswError.DB_ERROR, error.said) from None
            except (RecordExists, ChainMissing, AddRefused) as error:
                raise DesktopRequestError(_NUMBER_OF[type(error)], str(error)) from None
            self._added(where, record, written)
            return where

        return added

    def _added(self, where: Destination, record: NewRecord, added: AddedRecord) -> None:
        tenant, now = self._config.tenant_dbid_of(where.campaign), self._campaigns.clock.utc()
        log.info(
            "record.added",
            calling_list=where.calling_list.name,
            record_id=added.record_id,
            chain_id=added.chain_id,
            chain_n=added.chain_n,
            do_not_call=self._campaigns.dnc.forbidden(tenant, [record.contact_info], now)[0],
        )
        # Whoever found nothing to claim in that table need not wait before it looks again.
        table = table_of(self._config, where.calling_list)
        for session in self._campaigns.running:
            for list_dbid in session.planner.shares():
                if table_of(self._config, self._config.calling_list_by_dbid(list_dbid)) == table:
                    session.supply.look_again(list_dbid)

    # --- where ----------------------------------------------------------------------------------------------------

    def _destination(self, request: AddRecord, agent_id: str | None) -> Destination:
        config = self._config
        if request.record_handle is not None:
            held = self._in_hand.find(request.record_handle, agent_id=agent_id)
            if request.chain_id not in (None, held.chain.chain_id):
                raise _wrong(f"GSW_CHAIN_ID {request.chain_id} is not the chain of the record, {held.chain.chain_id}")
            campaign, calling_list = held.session.campaign, config.calling_list_by_dbid(held.chain.list_dbid)
            sessions = [held.session]
        else:
            campaign, group_name = self._campaign(request)
            calling_list = self._calling_list(request, campaign)
            sessions = [
                session
                for session in self._campaigns.sessions.values()
                if session.campaign.dbid == campaign.dbid and group_name in (None, session.group.name)
            ]
        loaded = tuple(session for session in sessions if session.status in TAKES_RECORDS)
        if not loaded:
            raise DesktopRequestError(GswError.NO_ACTIVE_CAMPAIGNS, f"campaign {campaign.name!r} is not loaded")
        if agent_id is not None and not any(agent_id in session.roster.seats for session in loaded):
            raise DesktopRequestError(
                GswError.AGENT_NOT_FOUND, f"agent {agent_id!r} is in no loaded group of campaign {campaign.name!r}"
            )
        return Destination(campaign, calling_list, loaded)

    def _campaign(self, request: AddRecord) -> tuple[Campaign, str | None]:
        """The campaign, and the name of the group when that decides."""
        config = self._config
        if (name := request.campaign_group_name) is not None:
            group = next((group for group in config.campaign_groups if group.name == name), None)
            if group is None:
                raise TargetNotFound(GswError.CAMPAIGN_GROUP_NOT_FOUND, f"there is no campaign group {printable(name)}")
            return config.campaign(group.campaign), name
        if request.campaign_name is None:
            raise DesktopRequestError(GswError.ATTRIBUTE_NOT_FOUND, "GSW_CAMPAIGN_NAME is missing")
        found = next((campaign for campaign in config.campaigns if campaign.name == request.campaign_name), None)
        if found is None:
            raise TargetNotFound(
                GswError.INVALID_ATTRIBUTE_VALUE, f"there is no campaign {printable(request.campaign_name)}"
            )
        return found, None

    def _calling_list(self, request: AddRecord, campaign: Campaign) -> CallingList:
        config, names = self._config, [entry.calling_list for entry in campaign.lists]
        if request.calling_list is None:
            if len(names) != 1:
                raise DesktopRequestError(
                    GswError.ATTRIBUTE_NOT_FOUND,
                    f"GSW_CALLING_LIST is missing, and campaign {campaign.name!r} has {len(names)} lists",
                )
            return config.calling_list(names[0])
        found = next((entry for entry in config.calling_lists if entry.name == request.calling_list), None)
        if found is None:
            raise TargetNotFound(
                GswError.INVALID_ATTRIBUTE_VALUE, f"there is no calling list {printable(request.calling_list)}"
            )
        if found.name not in names:
            raise _wrong(f"GSW_CALLING_LIST {found.name!r} is no list of campaign {campaign.name!r}")
        return found

    # --- what -----------------------------------------------------------------------------------------------------

    def _new_record(self, request: AddRecord, where: Destination) -> NewRecord:
        """The row; DesktopRequestError 102, 103 or 110 for what the list cannot take."""
        calling_list = where.calling_list
        zone = self._zone(request.tz_name)
        if request.record_type not in STATUS_TYPES.get(request.record_status, frozenset()):
            raise _wrong(
                f"GSW_RECORD_STATUS {request.record_status:d} does not go with GSW_RECORD_TYPE {request.record_type:d}"
            )
        if request.record_status is RecordStatus.RETRIEVED:
            raise _wrong("GSW_RECORD_STATUS 2 (Retrieved) is of records that are being dialed")
        if request.record_type in PERSONAL_TYPES:
            self._check_agent(request.agent_id)
        try:
            number = normaliser(calling_list.country)(request.phone).number
        except NumberRefused as refusal:
            raise _wrong(f"GSW_PHONE: {refusal}") from None
        due = None
        if request.local_time is not None:
            hours = where.sessions[0].hours(calling_list.dbid)
            as_row = _as_row(request, calling_list, number, zone)
            now = self._campaigns.clock.utc()
            instant = appointment(as_row, request.local_time, ZoneInfo(zone.zone), hours, now, may_have_passed=True)
            due = int(instant.timestamp())
        return NewRecord(
            list_dbid=calling_list.dbid,
            contact_info=number,
            contact_info_type=request.phone_type,
            record_type=request.record_type,
            record_status=request.record_status,
            daily_from_s=request.daily_from_s,
            daily_till_s=request.daily_till_s,
            tz_dbid=zone.dbid,
            call_result=int(CallResult.UNKNOWN) if request.call_result is None else request.call_result,
            attempt=request.attempts,
            dial_sched_time=due,
            call_time=request.call_time,
            agent_id=request.agent_id,
            chain_id=request.chain_id,
            chain_n=request.chain_n,
            user_fields=column_updates(_Custom(request.custom), self._config.format_of_list(calling_list).fields),
        )

    def _zone(self, name: str) -> TimeZoneObject:
        found = next((zone for zone in self._config.time_zones if zone.name == name), None)
        if found is None:
            raise _wrong(f"GSW_TZ_NAME: there is no time zone {printable(name)}")
        return found

    def _check_agent(self, agent_id: str | None) -> None:
        if agent_id is None:
            raise DesktopRequestError(
                GswError.ATTRIBUTE_NOT_FOUND, "GSW_AGENT_ID is missing: a personal record belongs to an agent"
            )
        if agent_id not in self._campaigns.seats:
            raise _wrong(f"GSW_AGENT_ID: no agent has the login ID {printable(agent_id)}")


def _as_row(request: AddRecord, calling_list: CallingList, number: str, zone: TimeZoneObject) -> CallingRecord:
    """What the hours of the list ask of a record."""
    return CallingRecord(
        list_dbid=calling_list.dbid,
        record_id=0,
        contact_info=number,
        contact_info_type=request.phone_type,
        record_type=request.record_type,
        call_result=int(CallResult.UNKNOWN),
        attempt=request.attempts,
        dial_sched_time=None,
        call_time=request.call_time,
        daily_from_s=request.daily_from_s,
        daily_till_s=request.daily_till_s,
        tz_dbid=zone.dbid,
        chain_id=request.chain_id or 0,
        chain_n=request.chain_n or 0,
    )


def _wrong(text: str) -> DesktopRequestError:
    return DesktopRequestError(GswError.INVALID_ATTRIBUTE_VALUE, text)
