"""The client for trio: the methods of `ControlClient`, awaited."""

from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import httpx

from ocsd.client import calls, shells
from ocsd.client.calls import Call, Naming, T_co
from ocsd.client.control import ControlClient
from ocsd.client.targets import NO_FIELDS, CustomFields, NewRecord, RecordHandle, Withdrawable
from ocsd.model.enums import CallbackType, CallResult, ChainAttr, ContactInfoType, DialMode, OptimizeBy, RecordTreatment
from ocsd.model.services import CampaignRequest, DialParameters

C = TypeVar("C")


def _documented_as(model: type) -> Callable[[type[C]], type[C]]:
    """Give public methods the docstrings of the methods of the same name of ``model``."""

    def document(documented: type[C]) -> type[C]:
        for name, method in vars(documented).items():
            if not name.startswith("_"):
                method.__doc__ = getattr(model, name).__doc__
        return documented

    return document


@_documented_as(ControlClient)
class AsyncControlClient:
    """
    `ControlClient` for trio: the same methods, awaited; ``async with`` closes its connections.

    Tasks may share it. Cancelling a call closes its connection; whether the request was carried out is not known then.
    """

    def __init__(self, base_url: str, limit_s: float = 30.0) -> None:
        self.base_url, settings = shells.settings(base_url, limit_s)
        self._http = httpx.AsyncClient(**settings)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    # --- records -----------------------------------------------------------------------------------------------

    async def update_call_completion_stats(
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
        await self.carry_out(
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

    async def record_processed(
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
        await self.carry_out(
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

    async def record_reject(self, record: RecordHandle, **naming: Unpack[Naming]) -> None:
        await self.carry_out(calls.record_reject(record, naming))

    async def record_reschedule(
        self,
        record: RecordHandle,
        at: datetime,
        *,
        callback_type: CallbackType | None = None,
        agent_id: str | None = None,
        **naming: Unpack[Naming],
    ) -> None:
        await self.carry_out(
            calls.record_reschedule(record, at, naming, callback_type=callback_type, agent_id=agent_id)
        )

    async def scheduled_record_reschedule(
        self,
        record: RecordHandle,
        at: datetime,
        *,
        callback_type: CallbackType | None = None,
        agent_id: str | None = None,
        phone: str | None = None,
        **naming: Unpack[Naming],
    ) -> None:
        await self.carry_out(
            calls.scheduled_record_reschedule(
                record, at, naming, callback_type=callback_type, agent_id=agent_id, phone=phone
            )
        )

    async def request_record_cancel(
        self, target: Withdrawable, *, chain_attr: ChainAttr | None = None, **naming: Unpack[Naming]
    ) -> None:
        await self.carry_out(calls.request_record_cancel(target, naming, chain_attr=chain_attr))

    async def do_not_call(
        self,
        target: Withdrawable,
        *,
        chain_attr: ChainAttr | None = None,
        message: str | None = None,
        duration_s: int | None = None,
        **naming: Unpack[Naming],
    ) -> None:
        await self.carry_out(
            calls.do_not_call(target, naming, chain_attr=chain_attr, message=message, duration_s=duration_s)
        )

    # --- lists -------------------------------------------------------------------------------------------------

    async def add_record(self, to: str | RecordHandle | None, record: NewRecord, **naming: Unpack[Naming]) -> None:
        await self.carry_out(calls.add_record(to, record, naming))

    async def preflight(self, calling_list: str) -> dict[str, Any]:
        return await self.carry_out(calls.preflight(calling_list))

    async def why(self, calling_list: str, record_id: int) -> dict[str, Any]:
        return await self.carry_out(calls.why(calling_list, record_id))

    # --- campaign groups ---------------------------------------------------------------------------------------

    async def load(self, dbid: int, parameters: DialParameters | None = None) -> None:
        await self.request(dbid, CampaignRequest.LOAD, parameters)

    async def start(
        self,
        dbid: int,
        mode: DialMode,
        by: OptimizeBy | None = None,
        goal: int | None = None,
        *,
        auto_completion: bool | None = None,
    ) -> None:
        await self.request(dbid, CampaignRequest.START_DIALING, DialParameters(mode, by, goal, auto_completion))

    async def set_mode(self, dbid: int, mode: DialMode, by: OptimizeBy | None = None, goal: int | None = None) -> None:
        await self.request(dbid, CampaignRequest.SET_DIALING_MODE, DialParameters(mode, by, goal))

    async def launch(self, dbid: int, mode: DialMode, by: OptimizeBy | None = None, goal: int | None = None) -> None:
        await self.request(dbid, CampaignRequest.LAUNCH, DialParameters(mode, by, goal))

    async def stop(self, dbid: int) -> None:
        await self.request(dbid, CampaignRequest.STOP_DIALING)

    async def unload(self, dbid: int) -> None:
        await self.request(dbid, CampaignRequest.UNLOAD)

    async def force_unload(self, dbid: int) -> None:
        await self.request(dbid, CampaignRequest.FORCE_UNLOAD)

    async def stage(self, dbid: int) -> None:
        await self.request(dbid, CampaignRequest.STAGE)

    async def complete(self, dbid: int) -> None:
        await self.request(dbid, CampaignRequest.COMPLETE)

    async def request(self, dbid: int, request: CampaignRequest, parameters: DialParameters | None = None) -> None:
        await self.carry_out(calls.campaign(dbid, request, parameters or DialParameters()))

    async def status(self, dbid: int) -> dict[str, Any]:
        return await self.carry_out(calls.group_status(dbid))

    async def statuses(self) -> dict[str, dict[str, Any]]:
        return await self.carry_out(calls.group_statuses())

    async def statistics(self, dbid: int) -> dict[str, Any]:
        return await self.carry_out(calls.statistics(dbid))

    async def pacing(self, dbid: int) -> dict[str, Any]:
        return await self.carry_out(calls.pacing(dbid))

    async def feedback(self, dbid: int) -> dict[str, Any]:
        return await self.carry_out(calls.feedback(dbid))

    async def live_calls(self, dbid: int) -> list[dict[str, Any]]:
        return list((await self.carry_out(calls.live_calls(dbid)))["calls"])

    async def why_group(self, dbid: int) -> dict[str, Any]:
        return await self.carry_out(calls.why_group(dbid))

    async def report_inbound(self, agent_group_dbid: int, queued: int, ringing: int) -> None:
        await self.carry_out(calls.inbound(agent_group_dbid, queued, ringing))

    async def dbid_of(self, group: str) -> int:
        if group.isascii() and group.isdigit():
            return int(group)
        return shells.dbid_in(await self.health(), group)

    # --- the daemon --------------------------------------------------------------------------------------------

    async def trunks(self) -> list[dict[str, Any]]:
        return list((await self.carry_out(calls.trunks()))["trunks"])

    async def health(self) -> dict[str, Any]:
        return await self.carry_out(calls.health())

    async def openapi(self) -> dict[str, Any]:
        return await self.carry_out(calls.openapi())

    async def carry_out(self, call: Call[T_co]) -> T_co:
        try:
            response = await self._http.request(**shells.outgoing(call))
        except httpx.HTTPError as error:
            raise shells.unavailable(self.base_url, call, error) from error
        return shells.incoming(call, response)
