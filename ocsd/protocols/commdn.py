"""The Communication DN protocol's campaign-group part, as HTTP carries it (pure codec).

Source: Reference Manual, "HTTP Requests for the campaigngroups Resource" and "Communication DN API".

Which request takes what (the manual says "must have additional parameters in the body" and leaves the rest open):

=====================================  ==============================================================================
Load                                   all attributes optional: the manual's example has no body
StartDialing, SetDialingMode, Launch   DialMode always; OptimizeBy and OptimizeGoal too in the predictive modes (1, 5),
                                       the only modes that have a goal ("Available for predictive dialing modes only")
the others                             none: an attribute that would change nothing is refused
=====================================  ==============================================================================

Load, StartDialing, SetDialingMode and Launch also take ``dialing_priority`` in GSW_CM_AttrProperties: in which order
record types are dialed, and how many of each per claim.

Every fault is GSW_CM_AttrError 10 (invalid parameter) and names the attribute. A key with the reserved prefix ``GSW_``
that is unknown here is refused, because a misspelt parameter must not pass for an absent one; keys without the prefix
belong to the client and are left alone.
"""

from collections.abc import Iterable, Mapping
from typing import Final, TypeVar

from ocsd.model.enums import CmError, CmMessageType, DialMode, GroupCampStatus, OptimizeBy, RecordType
from ocsd.model.errors import CampaignRequestError
from ocsd.model.records import TypePriority
from ocsd.model.services import CampaignRequest, DialParameters, GroupStatus
from ocsd.protocols.keyvalue import MAX_INT, integer, json_type, printable

DIAL_MODE: Final = "GSW_CM_AttrDialMode"
OPTIMIZE_BY: Final = "GSW_CM_AttrOptimizeBy"
OPTIMIZE_GOAL: Final = "GSW_CM_AttrOptimizeGoal"
AUTO_COMPLETION: Final = "GSW_AUTO_COMPLETION"
PROPERTIES: Final = "GSW_CM_AttrProperties"
DIALING_PRIORITY: Final = "dialing_priority"

PRIORITY_TYPES: Final[Mapping[str, RecordType]] = {
    "General": RecordType.GENERAL,
    "CampaignRescheduled": RecordType.CAMPAIGN_RESCHEDULED,
    "CampaignCallBack": RecordType.CAMPAIGN_CALLBACK,
}
MAX_PRIORITY: Final = 100
MAX_N_RECORDS: Final = 1_000_000

# The table of BODY attributes spells it "OptimizedBy", every example "OptimizeBy".
_SPELLINGS: Final = {"GSW_CM_AttrOptimizedBy": OPTIMIZE_BY}
_ATTRIBUTES: Final = frozenset({DIAL_MODE, OPTIMIZE_BY, OPTIMIZE_GOAL, AUTO_COMPLETION})

NEED_PARAMETERS: Final = frozenset(
    {CampaignRequest.START_DIALING, CampaignRequest.SET_DIALING_MODE, CampaignRequest.LAUNCH}
)
TAKE_PARAMETERS: Final = NEED_PARAMETERS | {CampaignRequest.LOAD}
MODES_WITH_GOAL: Final = frozenset({DialMode.PREDICTIVE, DialMode.PREDICTIVE_AND_SEIZE})

GOAL_RANGES: Final[Mapping[OptimizeBy, tuple[int, int, str]]] = {
    OptimizeBy.BUSY_FACTOR: (1, 100, "percent"),
    OptimizeBy.OVERDIAL_RATE: (1, 100, "percent"),
    OptimizeBy.WAIT_TIME: (1, MAX_INT, "seconds"),
}
"""Lowest and highest OptimizeGoal and its unit. The manual allows 0 as well, but no pacing can reach it."""

_E = TypeVar("_E", DialMode, OptimizeBy)


def _invalid(message: str) -> CampaignRequestError:
    return CampaignRequestError(CmError.INVALID_PARAMETER, message)


def parse_dial_parameters(request: CampaignRequest, body: Mapping[str, object]) -> DialParameters:
    """
    Return the parameters of ``request`` from the JSON object of its body.

    Raises CampaignRequestError 10 that names the attribute. A goal of 0, or half a pair, in a mode without a goal
    counts as "no goal": clients that fill in a fixed form send it.
    """
    given: dict[str, int] = {}
    for key, value in body.items():
        attribute = _SPELLINGS.get(key, key)
        if key == PROPERTIES and request in TAKE_PARAMETERS:
            continue
        if attribute not in _ATTRIBUTES:
            if key.startswith("GSW_"):
                raise _invalid(f"{printable(key)} is no attribute of {request.value}")
            continue
        if request not in TAKE_PARAMETERS:
            raise _invalid(f"{request.value} takes no {key}")
        number = integer(value, digits=False)
        if number is None:
            shown = printable(value) if type(value) is int else json_type(value)
            raise _invalid(f"{key} must be an integer of 32 bits, not {shown}")
        if given.setdefault(attribute, number) != number:
            raise _invalid(f"{attribute} is given twice with different values")

    dial_mode = _enumeration(DialMode, DIAL_MODE, given)
    if dial_mode is None and request in NEED_PARAMETERS:
        raise _invalid(f"{request.value} needs {DIAL_MODE} in the body")
    if dial_mode is None or dial_mode in MODES_WITH_GOAL:
        optimize_by, goal = _goal(request, dial_mode, given)
    else:
        optimize_by, goal = _goal_without_meaning(given)

    completion = given.get(AUTO_COMPLETION)
    if completion not in (None, 0, 1):
        raise _invalid(f"{AUTO_COMPLETION} must be 0 or 1, not {completion}")
    return DialParameters(
        dial_mode, optimize_by, goal, None if completion is None else completion == 1, _priorities(body.get(PROPERTIES))
    )


def _priorities(properties: object) -> tuple[TypePriority, ...]:
    """dialing_priority: per record type ``priority`` (the highest is dialed first) and ``n_records`` per claim."""
    if properties is None:
        return ()
    where = PROPERTIES
    found: list[TypePriority] = []
    for key, by_type in _object(properties, where).items():
        if key != DIALING_PRIORITY:
            raise _invalid(f"{where}: {printable(key)} is not supported; only {DIALING_PRIORITY} is")
        where = f"{PROPERTIES}.{DIALING_PRIORITY}"
        for name, values in _object(by_type, where).items():
            if name not in PRIORITY_TYPES:
                raise _invalid(f"{where}: {printable(name)} is not one of {', '.join(PRIORITY_TYPES)}")
            pairs = _object(values, f"{where}.{name}")
            if unknown := set(pairs) - {"priority", "n_records"}:
                raise _invalid(f"{where}.{name}: {printable(min(unknown))} is not one of priority, n_records")
            if "priority" not in pairs:
                raise _invalid(f"{where}.{name} needs priority")
            priority = _whole(f"{where}.{name}.priority", pairs["priority"], MAX_PRIORITY)
            n_records = _whole(f"{where}.{name}.n_records", pairs.get("n_records", 0), MAX_N_RECORDS)
            found.append(TypePriority(PRIORITY_TYPES[name], priority, n_records))
    return tuple(found)


def _object(value: object, where: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise _invalid(f"{where} must be an object, not {json_type(value)}")
    return value


def _whole(where: str, value: object, highest: int) -> int:
    number = integer(value, digits=False)
    if number is None or not 0 <= number <= highest:
        raise _invalid(f"{where} must be an integer from 0 to {highest}")
    return number


def _enumeration(kind: type[_E], attribute: str, given: Mapping[str, int]) -> _E | None:
    if attribute not in given:
        return None
    try:
        return kind(given[attribute])
    except ValueError:
        allowed = ", ".join(f"{member.value} {member.name}" for member in kind)
        raise _invalid(f"{attribute} {given[attribute]} is not one of {allowed}") from None


def _goal(
    request: CampaignRequest, dial_mode: DialMode | None, given: Mapping[str, int]
) -> tuple[OptimizeBy | None, int | None]:
    optimize_by = _enumeration(OptimizeBy, OPTIMIZE_BY, given)
    goal = given.get(OPTIMIZE_GOAL)
    # Half a pair would give the other half, taken from configuration, a meaning that nobody chose (3 % becomes 3 s).
    needed = dial_mode is not None and request in NEED_PARAMETERS
    if optimize_by is None and (needed or goal is not None):
        raise _invalid(
            f"{request.value} needs {OPTIMIZE_BY} in the body" + ("" if needed else f" beside {OPTIMIZE_GOAL}")
        )
    if goal is None and optimize_by is not None:
        raise _invalid(f"{request.value} needs {OPTIMIZE_GOAL} in the body beside {OPTIMIZE_BY}")
    if optimize_by is not None and goal is not None:
        lowest, highest, unit = GOAL_RANGES[optimize_by]
        if not lowest <= goal <= highest:
            limits = f"{lowest} to {highest} {unit}" if highest < MAX_INT else f"at least {lowest} {unit}"
            raise _invalid(f"{OPTIMIZE_GOAL} must be {limits} for {OPTIMIZE_BY} {optimize_by.value}, not {goal}")
    return optimize_by, goal


def _goal_without_meaning(given: Mapping[str, int]) -> tuple[OptimizeBy | None, int | None]:
    optimize_by = _enumeration(OptimizeBy, OPTIMIZE_BY, given)
    goal = given.get(OPTIMIZE_GOAL)
    if goal is not None and goal < 0:
        raise _invalid(f"{OPTIMIZE_GOAL} must not be negative, not {goal}")
    if optimize_by is None or not goal:
        return None, None
    lowest, highest, unit = GOAL_RANGES[optimize_by]
    if goal > highest:
        raise _invalid(f"{OPTIMIZE_GOAL} must be {lowest} to {highest} {unit} for {OPTIMIZE_BY} {optimize_by.value}")
    return optimize_by, goal


def _attributes(status: GroupStatus) -> dict[str, object]:
    """The attributes that both GET bodies share, in the order of the manual's examples."""
    result: dict[str, object] = {
        "GSW_CM_AttrCampaignID": status.campaign_dbid,
        "GSW_CM_AttrGroupID": status.group_dbid,
    }
    if status.status is GroupCampStatus.NOT_LOADED:
        return result | {"GSW_CM_AttrGroupCampStatus": int(status.status)}
    if status.dial_mode is not None:
        result[DIAL_MODE] = int(status.dial_mode)
    if status.optimize_by is not None:
        result[OPTIMIZE_BY] = int(status.optimize_by)
    if status.optimize_goal is not None:
        result[OPTIMIZE_GOAL] = status.optimize_goal
    result["GSW_CM_AttrGroupCampStatus"] = int(status.status)
    result["GSW_CM_AttrProperties"] = {"camp_group_data": {}}
    result["GSW_SWITCH_DBID"] = status.switch_dbid
    return result


def group_status_body(status: GroupStatus, application_dbid: int) -> dict[str, object]:
    """Body of GET /campaigngroups/<dbid>: CM_EvCampaignStatus with the keys and the order of the manual's example."""
    return (
        {"GSW_CM_MessageType": int(CmMessageType.EV_CAMPAIGN_STATUS)}
        | _attributes(status)
        | {"GSW_CM_AttrOriginAppID": application_dbid}
    )


def all_statuses_body(statuses: Iterable[GroupStatus], application_dbid: int) -> dict[str, object]:
    """
    Body of GET /campaigngroups: every configured campaign group by name, loaded or not.

    The example shows GSW_CM_AttrReferenceID on the loaded group only, and the manual defines it nowhere; here it is
    the running number of the group's state (`GroupStatus.version`), so that a client can tell old news from new.
    """
    groups: dict[str, object] = {}
    for status in statuses:
        loaded = status.status is not GroupCampStatus.NOT_LOADED
        reference: dict[str, object] = {"GSW_CM_AttrReferenceID": status.version} if loaded else {}
        groups[status.name] = reference | _attributes(status)
    return {
        "GSW_CM_MessageType": int(CmMessageType.EV_ALL_CAMPAIGN_GROUPS),
        "CampaignGroups": groups,
        "GSW_CM_AttrOriginAppID": application_dbid,
    }
