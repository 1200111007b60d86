"""The synchronous client."""

from datetime import datetime
from types import TracebackType
from typing import Any, Self, Unpack

import httpx

from ocsd.client import calls, shells
from ocsd.client.calls import Call, Naming, T_co
from ocsd.client.targets import NO_FIELDS, CustomFields, NewRecord, RecordHandle, Withdrawable
from ocsd.model.enums import CallbackType, CallResult, ChainAttr, ContactInfoType, DialMode, OptimizeBy, RecordTreatment
from ocsd.model.services import CampaignRequest, DialParameters


class ControlClient:
    """
    A persistent connection to the control port (more of them when threads share the client).

    Args:
        base_url: like ``http://127.0.0.1:8080``; ValueError when it is no such address. A user and password in it are
            sent along and shown nowhere.
        limit_s: longest wait for one answer, seconds.

    Every call raises ControlError when refused and ControlUnavailable when nobody answers; ValueError for arguments
    that cannot be written as the manual has them. No request is ever sent a second time: after ControlUnavailable with
    ``sent`` the caller decides. Proxies of the environment are not used: the port is on this machine or on one nearby.
    """

    def __init__(self, base_url: str, limit_s: float = 30.0) -> None:
        self.base_url, settings = shells.settings(base_url, limit_s)
        self._http = httpx.Client(**settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    # --- records -----------------------------------------------------------------------------------------------

    def update_call_completion_stats(
        self,
        record: RecordHandle,
        *,
        call_result: CallResult | int | None = None,
        phone: str | None = None,
        phone_type: ContactInfoType | None = None,
        daily_from_s: int | None = None,
        daily_till_s: int | None = None,
        custom: CustomFields = NO_FIELDS,
        **naming: Unpack[Naming],
    ) -> None:
        """
        UpdateCallCompletionStats: change fields of a record that somebody still works with.

        Args:
            call_result: GSW_CALL_RESULT; sites may have numbers of their own past the manual's.
            phone, phone_type: GSW_PHONE, GSW_PHONE_TYPE.
            daily_from_s, daily_till_s: GSW_FROM, GSW_UNTIL, seconds from midnight in the record's zone.
            custom: custom fields by ``send_attribute``.
            naming: see `Naming`.
        """
        self.carry_out(
            calls.update_call_completion_stats(
                record,
                naming,
                call_result=call_result,
                phone=phone,
                phone_type=phone_type,
                daily_from_s=daily_from_s,
                daily_till_s=daily_till_s,
                custom=custom,
            )
        )

    def record_processed(
        self,
        record: RecordHandle,
        *,
        treatment: RecordTreatment | None = None,
        agent_id: str | None = None,
        call_result: CallResult | int | None = None,
        phone: str | None = None,
        phone_type: ContactInfoType | None = None,
        daily_from_s: int | None = None,
        daily_till_s: int | None = None,
        custom: CustomFields = NO_FIELDS,
        **naming: Unpack[Naming],
    ) -> None:
        """
        RecordProcessed: the record is done; its handle ends.

        Args:
            treatment: GSW_TREATMENT; None: no treatment is applied.
            agent_id: GSW_AGENT_ID, login of whose it becomes if the treatment is personal and no agent has the record.

        The others as in `update_call_completion_stats`.
        """
        self.carry_out(
            calls.record_processed(
                record,
                naming,
                treatment=treatment,
                agent_id=agent_id,
                call_result=call_result,
                phone=phone,
                phone_type=phone_type,
                daily_from_s=daily_from_s,
                daily_till_s=daily_till_s,
                custom=custom,
            )
        )

    def record_reject(self, record: RecordHandle, **naming: Unpack[Naming]) -> None:
        """RecordReject: not now; the record becomes General and Ready again, its handle ends."""
        self.carry_out(calls.record_reject(record, naming))

    def record_reschedule(
        self,
        record: RecordHandle,
        at: datetime,
        *,
        callback_type: CallbackType | None = None,
        agent_id: str | None = None,
        **naming: Unpack[Naming],
    ) -> None:
        """
        RecordReschedule: call back; over HTTP this is final, the handle ends.

        Args:
            at: GSW_DATE_TIME, naive, on the clocks of the record's zone, whole minutes.
            callback_type: GSW_CALLBACK_TYPE; None: for any agent of the campaign group.
            agent_id: GSW_AGENT_ID, login of whose a personal one is; needed where no agent has the record.
        """
        self.carry_out(calls.record_reschedule(record, at, naming, callback_type=callback_type, agent_id=agent_id))

    def scheduled_record_reschedule(
        self,
        record: RecordHandle,
        at: datetime,
        *,
        callback_type: CallbackType | None = None,
        agent_id: str | None = None,
        phone: str | None = None,
        **naming: Unpack[Naming],
    ) -> None:
        """
        ScheduledRecordReschedule: move a callback that is being worked with; final as `record_reschedule`.

        Args:
            callback_type: None: it stays what it is.
            agent_id: as in `record_reschedule`.
            phone: GSW_PHONE, another number to call; None: the same.
        """
        self.carry_out(
            calls.scheduled_record_reschedule(
                record, at, naming, callback_type=callback_type, agent_id=agent_id, phone=phone
            )
        )

    def request_record_cancel(
        self, target: Withdrawable, *, chain_attr: ChainAttr | None = None, **naming: Unpack[Naming]
    ) -> None:
        """
        RequestRecordCancel: a record, or all records of a number or customer, are not to be called.

        Args:
            chain_attr: GSW_CHAIN_ATTR; None: the whole chain.
            naming: with `campaign_name` a number or customer is cancelled in that campaign only.
        """
        self.carry_out(calls.request_record_cancel(target, naming, chain_attr=chain_attr))

    def do_not_call(
        self,
        target: Withdrawable,
        *,
        chain_attr: ChainAttr | None = None,
        message: str | None = None,
        duration_s: int | None = None,
        **naming: Unpack[Naming],
    ) -> None:
        """
        DoNotCall: nobody may call the number or customer any more.

        Args:
            chain_attr: GSW_CHAIN_ATTR; None: the whole chain.
            message: GSW_MESSAGE, kept with the entry.
            duration_s: GSW_DURATION; None: for ever.
        """
        self.carry_out(calls.do_not_call(target, naming, chain_attr=chain_attr, message=message, duration_s=duration_s))

    # --- lists -------------------------------------------------------------------------------------------------

    def add_record(self, to: str | RecordHandle | None, record: NewRecord, **naming: Unpack[Naming]) -> None:
        """
        AddRecord: add a record to a calling list of a loaded campaign.

        Args:
            to: name of the list; or the handle of a record that somebody works with, which says campaign group and
                list; None: `calling_list`, else the only list of the campaign.
            naming: `campaign_name` must be loaded; needed unless a handle says it.
        """
        self.carry_out(calls.add_record(to, record, naming))

    def preflight(self, calling_list: str) -> dict[str, Any]:
        """What a list would do on a start: rows, chains, what is ready and what is held back by which reason."""
        return self.carry_out(calls.preflight(calling_list))

    def why(self, calling_list: str, record_id: int) -> dict[str, Any]:
        """Why a record is dialed or not: every gate with its inputs and verdict."""
        return self.carry_out(calls.why(calling_list, record_id))

    # --- campaign groups ---------------------------------------------------------------------------------------

    def load(self, dbid: int, parameters: DialParameters | None = None) -> None:
        """Load: open the lists and read records ahead."""
        self.request(dbid, CampaignRequest.LOAD, parameters)

    def start(
        self,
        dbid: int,
        mode: DialMode,
        by: OptimizeBy | None = None,
        goal: int | None = None,
        *,
        auto_completion: bool | None = None,
    ) -> None:
        """StartDialing; predictive modes need ``by`` and ``goal`` (percent, or seconds of wait time)."""
        self.request(dbid, CampaignRequest.START_DIALING, DialParameters(mode, by, goal, auto_completion))

    def set_mode(self, dbid: int, mode: DialMode, by: OptimizeBy | None = None, goal: int | None = None) -> None:
        """SetDialingMode; as in `start`."""
        self.request(dbid, CampaignRequest.SET_DIALING_MODE, DialParameters(mode, by, goal))

    def launch(self, dbid: int, mode: DialMode, by: OptimizeBy | None = None, goal: int | None = None) -> None:
        """Launch: load and start dialing; as in `start`."""
        self.request(dbid, CampaignRequest.LAUNCH, DialParameters(mode, by, goal))

    def stop(self, dbid: int) -> None:
        """StopDialing: calls in progress go on."""
        self.request(dbid, CampaignRequest.STOP_DIALING)

    def unload(self, dbid: int) -> None:
        """Unload once the calls in progress have ended."""
        self.request(dbid, CampaignRequest.UNLOAD)

    def force_unload(self, dbid: int) -> None:
        """ForceUnload: at once."""
        self.request(dbid, CampaignRequest.FORCE_UNLOAD)

    def stage(self, dbid: int) -> None:
        """Stage: load, as automated flows ask for it."""
        self.request(dbid, CampaignRequest.STAGE)

    def complete(self, dbid: int) -> None:
        """Complete: stop dialing if need be, and unload."""
        self.request(dbid, CampaignRequest.COMPLETE)

    def request(self, dbid: int, request: CampaignRequest, parameters: DialParameters | None = None) -> None:
        """Send any request of the campaigngroups resource; returns when the server has accepted it."""
        self.carry_out(calls.campaign(dbid, request, parameters or DialParameters()))

    def status(self, dbid: int) -> dict[str, Any]:
        """The manual's status object of one campaign group (GSW_CM_AttrGroupCampStatus and so on)."""
        return self.carry_out(calls.group_status(dbid))

    def statuses(self) -> dict[str, dict[str, Any]]:
        """The status objects of all campaign groups, by name."""
        return self.carry_out(calls.group_statuses())

    def statistics(self, dbid: int) -> dict[str, Any]:
        """Live figures of one campaign group; null means that a figure cannot be told yet."""
        return self.carry_out(calls.statistics(dbid))

    def pacing(self, dbid: int) -> dict[str, Any]:
        """The pacing of one campaign group: last decision, predicted against actual, the last hour; {}: not loaded."""
        return self.carry_out(calls.pacing(dbid))

    def feedback(self, dbid: int) -> dict[str, Any]:
        """How often the analysis of its campaign's calls is right, by what agents said of test calls (30 days)."""
        return self.carry_out(calls.feedback(dbid))

    def live_calls(self, dbid: int) -> list[dict[str, Any]]:
        """The calls of one campaign group that are under way, oldest first; none while it is not loaded."""
        return list(self.carry_out(calls.live_calls(dbid))["calls"])

    def why_group(self, dbid: int) -> dict[str, Any]:
        """Why a campaign group dials or not: every gate with its inputs and verdict."""
        return self.carry_out(calls.why_group(dbid))

    def report_inbound(self, agent_group_dbid: int, queued: int, ringing: int) -> None:
        """Tell of an agent group's inbound calls, waiting and about to need an agent; repeat it within 30 seconds."""
        self.carry_out(calls.inbound(agent_group_dbid, queued, ringing))

    def dbid_of(self, group: str) -> int:
        """The DBID of a campaign group given by DBID or name; ConfigError when the daemon knows no such name."""
        if group.isascii() and group.isdigit():
            return int(group)
        return shells.dbid_in(self.health(), group)

    # --- the daemon --------------------------------------------------------------------------------------------

    def trunks(self) -> list[dict[str, Any]]:
        """All trunks: their calls, whether they take more, and what keeps calls off."""
        return list(self.carry_out(calls.trunks())["trunks"])

    def health(self) -> dict[str, Any]:
        """State of the daemon, with names and DBIDs of its campaign groups."""
        return self.carry_out(calls.health())

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document of the port."""
        return self.carry_out(calls.openapi())

    def carry_out(self, call: Call[T_co]) -> T_co:
        """Send one request of `ocsd.client.calls` and return its result."""
        try:
            response = self._http.request(**shells.outgoing(call))
        except httpx.HTTPError as error:
            raise shells.unavailable(self.base_url, call, error) from error
        return shells.incoming(call, response)
