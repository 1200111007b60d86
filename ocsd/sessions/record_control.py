"""
Requests for records, phones, customer_ids and lists over HTTP: typed requests to `RecordService` and `RecordAdding`.

What differs from the desktop protocol, where an agent asks:

- a record is anybody's who knows its handle; a request may name its tenant, and that must be the record's;
- RecordReschedule and ScheduledRecordReschedule are final, as if RecordProcessed had followed;
- a personal callback or treatment of a record that no agent has must say whose it is (GSW_AGENT_ID);
- phones and customer IDs are looked for in the loaded campaigns of one tenant;
- the answer follows when what was changed is on disk. While the database is away nothing is begun (113), except a
  Do-Not-Call: that holds at once, and is answered 113 when it has not reached the disk within `DNC_LIMIT_S`.

What was begun is finished: a request runs in a task beside the sessions, and a client that goes away ends only the
waiting.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Final

import structlog
import trio

from ocsd.config.objects import Campaign, Configuration
from ocsd.model.enums import GroupCampStatus, GswError
from ocsd.model.errors import DesktopRequestError, StoreUnavailable
from ocsd.protocols import desktop_records as requests
from ocsd.protocols.add_record import AddRecord
from ocsd.protocols.http_records import HttpRecordRequest, TenantName
from ocsd.protocols.keyvalue import printable
from ocsd.sessions.adding import RecordAdding
from ocsd.sessions.campaigns import Campaigns
from ocsd.sessions.held import Held
from ocsd.sessions.record_checks import CALLBACK_TYPE_OF, TREATMENT_OF, RecordChecks
from ocsd.sessions.records import PERSONAL_TYPES, RecordService, scheduled_type
from ocsd.sessions.withdrawals import Target

log = structlog.get_logger()

DNC_LIMIT_S: Final = 5.0


class RecordControl:
    """Implements the protocol of that name; the configuration is that of ``campaigns``, so a reload reaches it."""

    def __init__(self, campaigns: Campaigns, records: RecordService) -> None:
        self._campaigns = campaigns
        self._records = records
        self._checks = RecordChecks(campaigns, records.in_hand)
        self._adding = RecordAdding(campaigns, records.in_hand)

    @property
    def _config(self) -> Configuration:
        return self._campaigns.config

    async def carry_out(self, request: HttpRecordRequest) -> None:
        """See the protocol. A cancel ends only the waiting."""
        handle = request.request.record_handle
        if handle is not None:
            self._records.find(handle)  # most that is refused is refused here, without a task of its own
        ended = trio.Event()
        failures: list[Exception] = []
        self._campaigns.start_soon(partial(self._run, request, failures, ended))
        with trio.move_on_after(
            DNC_LIMIT_S if isinstance(request.request, requests.DoNotCall) else math.inf
        ) as waiting:
            await ended.wait()
        if waiting.cancelled_caught:
            raise DesktopRequestError(GswError.DB_ERROR, "it is in force, and not on disk yet: the database is away")
        if failures:
            raise failures[0]

    async def _run(self, request: HttpRecordRequest, failures: list[Exception], ended: trio.Event) -> None:
        try:
            await self._carry_out(request)
        except StoreUnavailable as error:
            log.warning("record.request_refused", request=type(request.request).__name__, error=str(error))
            failures.append(DesktopRequestError(GswError.DB_ERROR, error.said))
        except Exception as error:  # raised where the answer is made, if anybody still waits for it
            if not isinstance(error, DesktopRequestError):
                log.exception("record.request_failed", request=type(request.request).__name__)
            failures.append(error)
        except trio.Cancelled:
            failures.append(DesktopRequestError(GswError.DB_ERROR, "the server is being stopped"))
            raise
        finally:
            ended.set()

    async def _carry_out(self, asked: HttpRecordRequest) -> None:
        match asked.request:
            case AddRecord() as request:
                tenant_dbid = self._tenant(asked.tenant) if asked.tenant is not None else None
                await self._adding.add(request, tenant_dbid=tenant_dbid)()
            case requests.RequestRecordCancel(record_handle=None) as request:
                await self._cancel_everywhere(request, asked.tenant)
            case requests.DoNotCall(record_handle=None) as request:
                await self._do_not_call(request, self._tenant(asked.tenant) if asked.tenant is not None else None)
            case request:
                assert request.record_handle is not None
                held = self._checks.named(request, request.record_handle)
                self._check_tenant(held, asked.tenant)
                await self._about_record(request, held, asked.agent_id)

    # --- records --------------------------------------------------------------------------------------------------

    async def _about_record(self, request: requests.RecordRequest, held: Held, agent_id: str | None) -> None:
        """
        No checkpoint before the record is changed: it is still what the checks have seen.

        ``agent_id``: GSW_AGENT_ID.
        """
        records, handle = self._records, held.handle
        match request:
            case requests.DoNotCall():
                await self._do_not_call(request, None)
            case requests.RequestRecordCancel():
                self._reach()
                await records.cancel(Target(handle), request.chain_attr)()
            case requests.UpdateCallCompletionStats():
                correction = self._checks.correction(request, held)
                self._reach()
                on_disk = await records.update(handle, *correction)
                await on_disk()
            case requests.RecordProcessed():
                correction = self._checks.correction(request, held)
                treatment = TREATMENT_OF[request.treatment]
                owner = self._checks.owner(held, agent_id, personal=treatment == "personal")
                self._reach()
                on_disk = await records.processed(handle, *correction, treatment, owner)
                await on_disk()
            case requests.RecordReject():
                self._reach()
                on_disk = await records.reject(handle, held.agent_id)
                await on_disk()
            case requests.RecordReschedule() | requests.ScheduledRecordReschedule():
                phone, kind = self._checks.new_number(request, held), CALLBACK_TYPE_OF[request.callback_type]
                personal = (kind if kind is not None else scheduled_type(held)) in PERSONAL_TYPES
                owner = self._checks.owner(held, agent_id, personal=personal)
                self._reach()
                on_disk = await records.reschedule_finally(handle, kind, request.local_time, phone, owner)
                await on_disk()

    async def _do_not_call(self, request: requests.DoNotCall, tenant_dbid: int | None) -> None:
        target = Target(request.record_handle, request.phone, request.customer_id)
        await self._records.do_not_call(
            target,
            request.chain_attr,
            message=request.message,
            duration_s=request.duration_s,
            tenant_dbid=tenant_dbid,
        )()

    def _reach(self) -> None:
        if not self._campaigns.store.available:
            raise DesktopRequestError(GswError.DB_ERROR, "the database is away")

    # --- phones and customer IDs ------------------------------------------------------------------------------------

    async def _cancel_everywhere(self, request: requests.RequestRecordCancel, tenant: TenantName | None) -> None:
        """Records of loaded campaigns of the tenant, of those that the request names if it names any."""
        tenant_dbid = self._tenant(tenant) if tenant is not None else None
        campaigns = self._named_campaigns(request, tenant_dbid)
        lists = self._named_list(request, campaigns)
        names = {campaign.name for campaign in campaigns}
        sessions = [
            session
            for session in self._campaigns.sessions.values()
            if session.status is not GroupCampStatus.NOT_LOADED
            and session.campaign.name in names
            and request.campaign_group_name in (None, session.group.name)
        ]
        if not sessions:
            raise DesktopRequestError(GswError.NO_ACTIVE_CAMPAIGNS, "none of the campaigns is loaded")
        self._reach()
        target = Target(None, request.phone, request.customer_id)
        # Records on desktops may have been left alone (cancel-on-desktop); HTTP has no answer that says so.
        await self._records.cancel(target, request.chain_attr, sessions=sessions, lists=lists)()

    def _named_campaigns(self, request: requests.RequestRecordCancel, tenant_dbid: int | None) -> Sequence[Campaign]:
        """Campaigns of the tenant: the one of the group that is named, else the one that is named, else all."""
        config = self._config
        found: Sequence[Campaign] = config.campaigns
        if (name := request.campaign_group_name) is not None:
            group = next((group for group in config.campaign_groups if group.name == name), None)
            if group is None:
                raise _wrong(f"GSW_CAMPAIGN_GROUP_NAME: there is no campaign group {printable(name)}")
            found = [config.campaign(group.campaign)]
        elif (name := request.campaign_name) is not None:
            found = [campaign for campaign in config.campaigns if campaign.name == name]
            if not found:
                raise _wrong(f"GSW_CAMPAIGN_NAME: there is no campaign {printable(name)}")
        own = [campaign for campaign in found if tenant_dbid in (None, config.tenant_dbid_of(campaign))]
        if found is not config.campaigns and not own:
            raise _wrong(f"the campaign {found[0].name!r} belongs to another tenant")
        return own

    def _named_list(
        self, request: requests.RequestRecordCancel, campaigns: Sequence[Campaign]
    ) -> frozenset[int] | None:
        if (name := request.calling_list) is None:
            return None
        found = next((entry for entry in self._config.calling_lists if entry.name == name), None)
        if found is None:
            raise _wrong(f"GSW_CALLING_LIST: there is no calling list {printable(name)}")
        if not any(entry.calling_list == name for campaign in campaigns for entry in campaign.lists):
            raise _wrong(f"GSW_CALLING_LIST {printable(name)} is no list of the campaigns meant")
        return frozenset({found.dbid})

    # --- tenants --------------------------------------------------------------------------------------------------

    def _tenant(self, named: TenantName) -> int:
        """Its DBID; the DBID "takes precedence over the name"."""
        for tenant in self._config.tenants:
            if tenant.dbid == named.dbid or (named.dbid is None and tenant.name == named.name):
                return tenant.dbid
        if named.dbid is not None:
            raise _wrong(f"GSW_TENANT_DBID: there is no tenant {named.dbid}")
        raise _wrong(f"GSW_TENANT_NAME: there is no tenant {printable(named.name)}")

    def _check_tenant(self, held: Held, named: TenantName | None) -> None:
        if named is not None and self._tenant(named) != held.session.planner.tenant_dbid:
            raise _wrong("the record belongs to another tenant")


def _wrong(text: str) -> DesktopRequestError:
    return DesktopRequestError(GswError.INVALID_ATTRIBUTE_VALUE, text)
