"""The desktop protocol's requests about records: typed requests to `RecordService`, and its outcome to answers."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

import structlog
import trio

from ocsd.config.objects import Configuration
from ocsd.model.enums import ChainAttr, GswError
from ocsd.model.errors import DesktopRequestError
from ocsd.model.services import DesktopConnection
from ocsd.protocols import desktop_events as events
from ocsd.protocols import desktop_records as requests
from ocsd.protocols.add_record import AddRecord
from ocsd.protocols.attached_data import Message
from ocsd.protocols.desktop_times import local_text
from ocsd.sessions.adding import RecordAdding
from ocsd.sessions.campaigns import Campaigns
from ocsd.sessions.desk_record import DeskRecord
from ocsd.sessions.held import Held, OnDisk, at_once
from ocsd.sessions.record_checks import CALLBACK_TYPE_OF, TREATMENT_OF, RecordChecks
from ocsd.sessions.records import RecordService
from ocsd.sessions.session import Session
from ocsd.sessions.withdrawals import Target

log = structlog.get_logger()

T = TypeVar("T")


class RecordRequests:
    """
    Has a request carried out, and answers when it is on disk. Answers may overtake each other; requests of one
    connection do not. A desktop may use handles of records that are on it, or in a call of its agent; numbers and
    customer IDs may be anybody's.
    """

    def __init__(self, config: Configuration, campaigns: Campaigns, records: RecordService) -> None:
        self.config = config
        self._campaigns = campaigns
        self._records = records
        self._checks = RecordChecks(campaigns, records.in_hand)
        self._adding = RecordAdding(campaigns, records.in_hand)
        self._dbid = config.application.dbid

    async def received(
        self, connection: DesktopConnection, request: requests.RecordRequest | AddRecord, agent_id: str
    ) -> None:
        """Raises DesktopRequestError; the caller answers with it."""
        if request.application_dbid != self._dbid:
            return  # addressed to another OCS (manual: only the matching one responds)
        match request:
            case requests.UpdateCallCompletionStats():
                held = self._checks.named(request, request.record_handle, agent_id=agent_id)
                on_disk = await self._records.update(request.record_handle, *self._checks.correction(request, held))
                self._answer(connection, on_disk, lambda _: self._acknowledgement(request, held))
            case requests.RecordProcessed():
                held = self._checks.named(request, request.record_handle, agent_id=agent_id)
                call_result, updates = self._checks.correction(request, held)
                treatment = TREATMENT_OF[request.treatment]
                on_disk = await self._records.processed(
                    request.record_handle, call_result, updates, treatment, agent_id
                )
                self._answer(connection, on_disk, lambda _: self._acknowledgement(request, held))
            case requests.RecordReject():
                held = self._checks.named(request, request.record_handle, agent_id=agent_id)
                on_disk = await self._records.reject(request.record_handle, agent_id)
                self._answer(connection, on_disk, lambda _: self._acknowledgement(request, held))
            case requests.RequestRecordCancel():
                self._cancel(connection, request, agent_id)
            case requests.DoNotCall():
                self._do_not_call(connection, request, agent_id)
            case requests.RecordReschedule() | requests.ScheduledRecordReschedule():
                await self._reschedule(connection, request, agent_id)
            case AddRecord():
                self._add(connection, request, agent_id)

    async def make_call(self, request: requests.RequestMakeCall, agent_id: str) -> Session:
        """RequestMakeCall: call the customer of a record on this agent's desktop; returns where its attempt is now."""
        held = self._records.in_hand.find(request.record_handle, agent_id=agent_id)
        if held.desk is None:
            raise DesktopRequestError(GswError.INVALID_REQUEST, "the record has a call already")
        number = held.as_corrected.contact_info
        if request.other_dn not in (None, number):
            raise DesktopRequestError(GswError.INVALID_ATTRIBUTE_VALUE, f"OtherDN is not the record's number {number}")
        session, desk = held.session, held.desk
        failures: list[BaseException] = []
        ended = trio.Event()

        async def called() -> None:
            try:
                await session.call_from_desk(desk, agent_id)
            except (Exception, trio.Cancelled) as error:
                failures.append(error)
                if not isinstance(error, Exception):
                    raise
            finally:
                ended.set()

        # Beside the sessions: cut off with its desktop's connection, it would leave an attempt on disk that nobody
        # carries out, the record closed to everybody, and the agent reserved for ever.
        self._campaigns.start_soon(called)
        await ended.wait()
        if failures:
            if isinstance(failures[0], Exception):
                raise failures[0]
            raise DesktopRequestError(GswError.INVALID_REQUEST, "the server is being stopped")
        return session

    # --- one request each -----------------------------------------------------------------------------------------

    def _cancel(self, connection: DesktopConnection, request: requests.RequestRecordCancel, agent_id: str) -> None:
        sessions = None
        if request.record_handle is not None:
            self._checks.named(request, request.record_handle, agent_id=agent_id)
        else:
            sessions = self._named_sessions(request, self._loaded_for(agent_id))
        target = Target(request.record_handle, request.phone, request.customer_id)
        on_disk = self._records.cancel(target, request.chain_attr, sessions=sessions)
        self._answer(
            connection,
            on_disk,
            lambda done: events.withdrawal_acknowledgement(request, self._dbid, incomplete=done.incomplete),
        )

    def _do_not_call(self, connection: DesktopConnection, request: requests.DoNotCall, agent_id: str) -> None:
        tenant_dbid = None
        if request.record_handle is not None:
            self._checks.named(request, request.record_handle, agent_id=agent_id)
        else:
            tenant_dbid = self._tenant_of(agent_id)
        on_disk = self._records.do_not_call(
            Target(request.record_handle, request.phone, request.customer_id),
            request.chain_attr,
            message=request.message,
            duration_s=request.duration_s,
            tenant_dbid=tenant_dbid,
        )
        self._answer(connection, on_disk, lambda _: events.withdrawal_acknowledgement(request, self._dbid))

    async def _reschedule(
        self, connection: DesktopConnection, request: requests.RescheduleRequest, agent_id: str
    ) -> None:
        held = self._checks.named(request, request.record_handle, agent_id=agent_id)
        kind, phone = CALLBACK_TYPE_OF[request.callback_type], self._checks.new_number(request, held)
        agreed, on_disk = await self._records.reschedule(request.record_handle, kind, request.local_time, phone)
        acknowledgement = events.reschedule_acknowledgement(
            request,
            self._dbid,
            self._checks.list_name(held),
            held.session.campaign.name,
            callback_type=events.callback_type_of(agreed.callback_type),
            date_time=local_text(agreed.due, agreed.zone),
        )
        self._answer(connection, on_disk, lambda _: acknowledgement)

    def _add(self, connection: DesktopConnection, request: AddRecord, agent_id: str) -> None:
        on_disk = self._adding.add(request, agent_id=agent_id)

        async def added() -> Message:
            try:
                where = await on_disk()
            except DesktopRequestError as error:
                return events.gsw_error(self._dbid, error.error, error.description, request.reference_id)
            return events.add_record_acknowledgement(request, self._dbid, where.calling_list.name, where.campaign.name)

        self._records.in_hand.in_background(added, connection.send)

    # --- notifications --------------------------------------------------------------------------------------------

    def scheduled_call(self, session: Session, desk: DeskRecord) -> Message:
        """ScheduledCall for a record that has come to a desktop."""
        record = desk.record
        zone = session.planner.zone(record)
        now = self._campaigns.clock.utc()
        due = datetime.fromtimestamp(record.dial_sched_time, UTC) if record.dial_sched_time else now
        offset = now.astimezone(zone).utcoffset()
        return events.scheduled_call(
            self._dbid,
            self.config.calling_list_by_dbid(record.list_dbid).name,
            session.campaign.name,
            record,
            desk.handle,
            date_time=local_text(due, zone),
            tz_offset_s=int(offset.total_seconds()) if offset is not None else 0,
            fields=self._checks.fields(record),
        )

    def record_cancel(self, held: Held, chain_attr: ChainAttr) -> Message:
        """RecordCancel for a record that somebody else has withdrawn."""
        column = self.config.calling_list_by_dbid(held.record.list_dbid).customer_id_field
        return events.record_cancel(
            self._dbid,
            self._checks.list_name(held),
            held.session.campaign.name,
            held.record,
            held.handle,
            chain_attr=chain_attr,
            customer_id=held.record.user_fields.get(column) if column else None,
        )

    # --- helpers --------------------------------------------------------------------------------------------------

    def _answer(self, connection: DesktopConnection, on_disk: OnDisk[T], answer: Callable[[T], Message]) -> None:
        """Answer when it is on disk: a desktop that hears nothing asks again, also the next daemon after a crash."""

        if on_disk is at_once:
            connection.send(answer(None))  # type: ignore[arg-type]
        else:
            self._records.in_hand.in_background(on_disk, lambda outcome: connection.send(answer(outcome)))

    def _acknowledgement(
        self,
        request: requests.UpdateCallCompletionStats | requests.RecordProcessed | requests.RecordReject,
        held: Held,
    ) -> Message:
        return events.acknowledgement(request, self._dbid, self._checks.list_name(held), held.session.campaign.name)

    def _loaded_for(self, agent_id: str) -> list[Session]:
        """
        Loaded campaigns of the agent's tenants. An agent "must be a member of an Agent Group or Place Group assigned to
        the Campaign" (manual, example 2): one who is in none that is loaded has no campaign to cancel records of.
        """
        loaded = list(self._campaigns.sessions.values())
        tenants = {s.planner.tenant_dbid for s in loaded if agent_id in s.roster.seats}
        if not tenants:
            raise DesktopRequestError(GswError.NO_ACTIVE_CAMPAIGNS, f"no campaign of agent {agent_id!r} is loaded")
        return [session for session in loaded if session.planner.tenant_dbid in tenants]

    def _named_sessions(self, request: requests.RequestRecordCancel, loaded: list[Session]) -> list[Session]:
        """Only the campaign, group and list that the request names, if it names any."""
        if request.campaign_group_name is not None:
            loaded = [session for session in loaded if session.group.name == request.campaign_group_name]
            if not loaded:
                raise DesktopRequestError(
                    GswError.CAMPAIGN_GROUP_NOT_FOUND,
                    f"GSW_CAMPAIGN_GROUP_NAME {request.campaign_group_name!r} is not loaded",
                )
        elif request.campaign_name is not None:
            loaded = [session for session in loaded if session.campaign.name == request.campaign_name]
            if not loaded:
                raise DesktopRequestError(
                    GswError.INVALID_ATTRIBUTE_VALUE, f"GSW_CAMPAIGN_NAME {request.campaign_name!r} is not loaded"
                )
        return loaded

    def _tenant_of(self, agent_id: str) -> int | None:
        """The tenant whose campaigns the agent works for; None (every tenant) when there is not exactly one."""
        groups = {group.name for group in self.config.agent_groups if agent_id in group.agents}
        tenants = {
            self.config.tenant_dbid_of(self.config.campaign(group.campaign))
            for group in self.config.campaign_groups
            if group.group in groups
        }
        return tenants.pop() if len(tenants) == 1 else None
