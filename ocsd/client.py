"""A small synchronous client of the control port, for `ocsd ctl`, the demo and scripts.

>>> with ControlClient("http://127.0.0.1:8080") as ocs:  # doctest: +SKIP
...     ocs.load(106)
...     ocs.start(106, DialMode.PREDICTIVE, OptimizeBy.OVERDIAL_RATE, 3)
...     ocs.statistics(106)["overdial_rate"]
"""

from collections.abc import Mapping
from types import MappingProxyType, TracebackType
from typing import Any, Final, Self

import httpx

from ocsd.model.enums import CmError, DialMode, OptimizeBy
from ocsd.model.errors import ConfigError, DependencyError, OcsdError
from ocsd.model.services import CampaignRequest, DialParameters

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
"""In words what a Warning number says; some answers consist of the number alone."""


class ControlError(OcsdError):
    """The server refused: ``status`` is the HTTP status, ``warning`` the manual's GSW_CM_AttrError, if it sent one."""

    def __init__(self, status: int, warning: int | None, message: str) -> None:
        numbered = f" (error {warning})" if warning is not None else ""
        super().__init__(f"{message}{numbered}")
        self.status = status
        self.warning = warning
        self.message = message


class ControlUnavailable(DependencyError):
    """Nobody answers at the address, or not in time."""


class ControlClient:
    """
    One persistent connection to the control port.

    Args:
        base_url: like ``http://127.0.0.1:8080``.
        limit_s: longest wait for one answer, seconds.

    Every call raises ControlError when refused and ControlUnavailable when nobody answers. Proxies of the environment
    are not used: the port is on this machine or on one nearby.
    """

    def __init__(self, base_url: str, limit_s: float = 30.0) -> None:
        self.base_url = base_url
        self._http = httpx.Client(base_url=base_url, timeout=limit_s, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def load(self, dbid: int, parameters: DialParameters | None = None) -> None:
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
        self.request(dbid, CampaignRequest.SET_DIALING_MODE, DialParameters(mode, by, goal))

    def launch(self, dbid: int, mode: DialMode, by: OptimizeBy | None = None, goal: int | None = None) -> None:
        self.request(dbid, CampaignRequest.LAUNCH, DialParameters(mode, by, goal))

    def stop(self, dbid: int) -> None:
        self.request(dbid, CampaignRequest.STOP_DIALING)

    def unload(self, dbid: int) -> None:
        self.request(dbid, CampaignRequest.UNLOAD)

    def force_unload(self, dbid: int) -> None:
        self.request(dbid, CampaignRequest.FORCE_UNLOAD)

    def stage(self, dbid: int) -> None:
        self.request(dbid, CampaignRequest.STAGE)

    def complete(self, dbid: int) -> None:
        self.request(dbid, CampaignRequest.COMPLETE)

    def request(self, dbid: int, request: CampaignRequest, parameters: DialParameters | None = None) -> None:
        """Send any request of the campaigngroups resource; returns when the server has accepted it."""
        body = _body(parameters or DialParameters())
        self._exchange("POST", f"/campaigngroups/{dbid}?req={request.value}", body)

    def status(self, dbid: int) -> dict[str, Any]:
        """The manual's status object of one campaign group (GSW_CM_AttrGroupCampStatus and so on)."""
        return self._document(f"/campaigngroups/{dbid}")

    def statuses(self) -> dict[str, dict[str, Any]]:
        """The status objects of all campaign groups, by name."""
        groups = self._document("/campaigngroups").get("CampaignGroups")
        if not isinstance(groups, dict):
            raise ControlError(200, None, f"the answer of {self.base_url} has no CampaignGroups")
        return groups

    def statistics(self, dbid: int) -> dict[str, float | int | None]:
        """Live figures of one campaign group; null means that a figure cannot be told yet."""
        return self._document(f"/campaigngroups/{dbid}?req=statistics")

    def dbid_of(self, group: str) -> int:
        """The DBID of a campaign group given by DBID or name; ConfigError when the daemon knows no such name."""
        if group.isascii() and group.isdigit():
            return int(group)
        groups: dict[str, int] = self.health()["campaign_groups"]
        if group not in groups:
            known = ", ".join(f'"{name}"' for name in groups) or "none"
            raise ConfigError([f'no campaign group is called "{group}"; configured are: {known}'])
        return groups[group]

    def health(self) -> dict[str, Any]:
        return self._document("/health")

    def _document(self, path: str) -> dict[str, Any]:
        answer = self._exchange("GET", path, None)
        try:
            document = answer.json()
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise ControlError(answer.status_code, None, f"the answer of {self.base_url} is no JSON object")
        return document

    def _exchange(self, method: str, path: str, body: dict[str, int] | None) -> httpx.Response:
        try:
            answer = self._http.request(method, path, json=body or None)
        except httpx.TimeoutException as error:
            raise ControlUnavailable(f"{self.base_url} did not answer in time") from error
        except httpx.HTTPError as error:
            raise ControlUnavailable(f"{self.base_url} cannot be reached: {error}") from error
        if answer.status_code == 200:
            return answer
        number = answer.headers.get("Warning", "")
        warning = int(number) if number.isascii() and number.isdigit() else None
        meaning = ERROR_MEANINGS.get(warning or 0, f"{answer.status_code} {answer.reason_phrase}")
        raise ControlError(answer.status_code, warning, answer.text.strip() or meaning)


def _body(parameters: DialParameters) -> dict[str, int]:
    named = {
        "GSW_CM_AttrDialMode": parameters.dial_mode,
        "GSW_CM_AttrOptimizeBy": parameters.optimize_by,
        "GSW_CM_AttrOptimizeGoal": parameters.optimize_goal,
        "GSW_AUTO_COMPLETION": parameters.auto_completion,
    }
    return {name: int(value) for name, value in named.items() if value is not None}
