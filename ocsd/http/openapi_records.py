"""Requests for records, phones, customer_ids and lists, as OpenAPI has them: attributes, ranges, words, answers.

Ranges are those of the parsers in `ocsd.protocols`; a test holds every attribute against the running server.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

from ocsd.http.openapi_parts import (
    NOT_RESERVED,
    Object,
    body,
    carried_out,
    foreign,
    path_parameter,
    plain,
    ref,
    refused,
    req,
)
from ocsd.model.enums import CallResult, ChainAttr, ContactInfoType, GswError
from ocsd.protocols import add_record as adding
from ocsd.protocols.desktop_pairs import ATTACHED_KEYS, MAX_NAME_CHARS, MAX_PHONE_CHARS
from ocsd.protocols.desktop_records import (
    MAX_CUSTOMER_ID_CHARS,
    MAX_DNC_PHONE_CHARS,
    MAX_MESSAGE_CHARS,
    CallbackType,
    RecordTreatment,
)
from ocsd.protocols.desktop_updates import SECONDS_PER_DAY
from ocsd.protocols.http_records import KEY_OF, REQUESTS, Resource
from ocsd.protocols.keyvalue import MAX_INT

# --- attributes --------------------------------------------------------------------------------------------------


def _int(words: str, lowest: int = 1, highest: int = MAX_INT) -> Object:
    """An Int of the manual; decimal digits in a string are taken too."""
    return {
        "type": ["integer", "string"],
        "minimum": lowest,
        "maximum": highest,
        "pattern": "^-?[0-9]{1,10}$",
        "description": words,
    }


def _text(words: str, longest: int = MAX_NAME_CHARS, shortest: int = 1) -> Object:
    return {"type": "string", "minLength": shortest, "maxLength": longest, "description": words}


def _one_of(kind: type[ChainAttr] | type[CallbackType] | type[RecordTreatment], words: str) -> Object:
    return {"type": "string", "enum": [member.value for member in kind], "description": words}


def _listed(numbers: Mapping[int, str], words: str) -> Object:
    known = ", ".join(f"{number} {name}" for number, name in numbers.items())
    return {
        "type": ["integer", "string"],
        "enum": [*numbers, *map(str, numbers)],
        "description": f"{words}: {known}.",
    }


_DATE_TIME: Final[Object] = {
    "type": "string",
    "pattern": r"^[0-9]{1,2}/[0-9]{1,2}/([0-9]{4}|[0-9]{2})( [0-9]{1,2}:[0-9]{2})?$",
    "description": "MM/DD/YYYY HH:MM on the clocks of the record's zone.",
    "examples": ["12/01/2031 13:00"],
}
_PHONE_TYPES: Final = ", ".join(f"{member.value} {member.name}" for member in ContactInfoType)

NAMES: Final[Mapping[str, Object]] = MappingProxyType(
    {
        "GSW_CAMPAIGN_NAME": _text("Name of the campaign."),
        "GSW_CAMPAIGN": _text("The manual's other spelling of GSW_CAMPAIGN_NAME."),
        "GSW_CAMPAIGN_GROUP_NAME": _text("Name of the campaign group, where a campaign has several."),
        "GSW_CALLING_LIST": _text("Name of the calling list."),
        "GSW_TENANT_DBID": _int("The tenant; takes precedence over GSW_TENANT_NAME."),
        "GSW_TENANT_NAME": _text("The tenant."),
        "GSW_APPLICATION_ID": _int("DBID of the server's application; another one than the server's is refused."),
        "GSW_REFERENCE_ID": {
            **_int("Comes back in the text of a negative answer; null: none.", -MAX_INT - 1),
            "type": ["integer", "string", "null"],
        },
    }
)


def _whom(longest_phone: int, longest_customer_id: int) -> Mapping[str, Object]:
    words = "What the URI says counts; a handle before a number before a customer."
    customer_id = {**_text(words, longest_customer_id), "type": ["string", "integer"]}
    return {"GSW_PHONE": _text(words, longest_phone), "GSW_CUSTOMER_ID": customer_id}


_WHOM: Final[Mapping[str, Mapping[str, Object]]] = {
    "RequestRecordCancel": _whom(MAX_PHONE_CHARS, MAX_NAME_CHARS),
    "DoNotCall": _whom(MAX_DNC_PHONE_CHARS, MAX_CUSTOMER_ID_CHARS),
}
_UPDATES: Final[Mapping[str, Object]] = {
    "GSW_CALL_RESULT": _int(
        f"Call result, {CallResult.OK.value} to {max(CallResult).value} as the manual numbers them, or the site's own.",
        0,
    ),
    "GSW_PHONE": _text("Another phone number.", MAX_PHONE_CHARS),
    "GSW_PHONE_TYPE": _int(f"{_PHONE_TYPES}.", 0, max(ContactInfoType)),
    "GSW_FROM": _int("May be called from then, seconds from midnight; less than GSW_UNTIL.", 0, SECONDS_PER_DAY),
    "GSW_UNTIL": _int("May be called until then, seconds from midnight.", 0, SECONDS_PER_DAY),
}
_CHAIN_ATTR: Final[Mapping[str, Object]] = {"GSW_CHAIN_ATTR": _one_of(ChainAttr, "What is meant; default AllChain.")}
_DO_NOT_CALL: Final[Mapping[str, Object]] = {
    **_CHAIN_ATTR,
    "GSW_MESSAGE": _text("Kept with the entry.", MAX_MESSAGE_CHARS, 0),
    "GSW_DURATION": _int("How long it holds, seconds; default: for ever."),
}
_WHOSE: Final[Object] = {
    "type": ["string", "integer"],
    "minLength": 1,
    "maxLength": adding.MAX_AGENT_ID_CHARS,
    "description": "Login of whose it becomes when it becomes an agent's; needed where no agent has the record.",
}
_RESCHEDULE: Final[Mapping[str, Object]] = {
    "GSW_DATE_TIME": _DATE_TIME,
    "GSW_CALLBACK_TYPE": _one_of(CallbackType, "For this agent, or for any agent of the campaign group (default)."),
    "GSW_AGENT_ID": _WHOSE,
}
_MOVE: Final[Mapping[str, Object]] = {
    "GSW_DATE_TIME": _DATE_TIME,
    "GSW_CALLBACK_TYPE": _one_of(CallbackType, "Default: it stays what it is."),
    "GSW_AGENT_ID": _WHOSE,
    "GSW_PHONE": _text("Another phone number.", MAX_PHONE_CHARS),
}
_ADD: Final[Mapping[str, Object]] = {
    "GSW_PHONE": _text("Phone number.", MAX_PHONE_CHARS),
    "GSW_TZ_NAME": _text("Name of a time zone object of the configuration."),
    "GSW_CHAIN_ID": _int("An existing chain; default: a new one."),
    "GSW_CHAIN_N": _int("Place in that chain; absent or 0: the next free one.", 0),
    "GSW_RECORD_TYPE": _listed(
        {each.value: each.name for each in sorted(adding.ADDABLE_TYPES)},
        "Default GENERAL, which has no GSW_DATE_TIME; callbacks need one",
    ),
    "GSW_RECORD_STATUS": _listed({each.value: each.name for each in sorted(adding.ADDABLE_STATUSES)}, "Default READY"),
    "GSW_PHONE_TYPE": _int(
        f"Default {adding.DEFAULT_PHONE_TYPE}: {_PHONE_TYPES}.", 0, max(ContactInfoType)
    ),
    "GSW_DATE_TIME": _DATE_TIME,
    "GSW_FROM": _int(f"Seconds from midnight, default {adding.DEFAULT_FROM_S}.", 0, SECONDS_PER_DAY),
    "GSW_UNTIL": _int(f"Seconds from midnight, default {adding.DEFAULT_TILL_S}.", 0, SECONDS_PER_DAY),
    "GSW_CALL_RESULT": _int("Call result of the last attempt.", 0),
    "GSW_ATTEMPTS": _int("Attempts made so far.", 0),
    "GSW_CALL_TIME": _int("When it was called last, UTC seconds since 1970.", 0),
    "GSW_AGENT_ID": {
        "type": ["string", "integer"],
        "minLength": 1,
        "maxLength": adding.MAX_AGENT_ID_CHARS,
        "description": "Login of the agent who worked with it last, or whose callback it is.",
    },
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class RequestForm:
    """
    Attributes:
        custom: takes custom fields, by their send_attribute.
        passed_over: attributes, beside `ATTACHED_KEYS`, that are accepted and change nothing.
    """

    summary: str
    attributes: Mapping[str, Object]
    required: tuple[str, ...] = ()
    custom: bool = False
    passed_over: frozenset[str] = frozenset()


_IGNORED_CHAIN: Final = frozenset({"GSW_CHAIN_ATTR"})
FORMS: Final[Mapping[str, RequestForm]] = MappingProxyType(
    {
        "UpdateCallCompletionStats": RequestForm(
            "Change fields of a record that somebody works with.", _UPDATES, custom=True, passed_over=_IGNORED_CHAIN
        ),
        "RecordProcessed": RequestForm(
            "The record is done; with GSW_TREATMENT the treatment of its result is applied.",
            {
                "GSW_TREATMENT": _one_of(RecordTreatment, "Whose the record is that a treatment reschedules."),
                "GSW_AGENT_ID": _WHOSE,
                **_UPDATES,
            },
            custom=True,
            passed_over=_IGNORED_CHAIN,
        ),
        "RecordReject": RequestForm("Not now: the record becomes General and Ready again.", {}),
        "RequestRecordCancel": RequestForm("Not to be called.", {**_CHAIN_ATTR}),
        "DoNotCall": RequestForm("Nobody may call any more.", _DO_NOT_CALL),
        "RecordReschedule": RequestForm(
            "Call back; final over HTTP.", _RESCHEDULE, ("GSW_DATE_TIME",), passed_over=_IGNORED_CHAIN
        ),
        "ScheduledRecordReschedule": RequestForm(
            "Move a callback; final over HTTP.", _MOVE, ("GSW_DATE_TIME",), passed_over=_IGNORED_CHAIN
        ),
        "AddRecord": RequestForm("Add a record to a calling list.", _ADD, ("GSW_PHONE", "GSW_TZ_NAME"), custom=True),
    }
)
_WITHDRAWALS: Final = frozenset({"RequestRecordCancel", "DoNotCall"})


def _identifier(longest: int) -> Object:
    return {"type": "string", "minLength": 1, "maxLength": longest}


PARAMETERS: Final[Mapping[Resource, tuple[str, Object, str]]] = {
    Resource.RECORDS: (
        "handle",
        {"type": "string", "pattern": "^[1-9][0-9]{0,9}$"},
        "GSW_RECORD_HANDLE; whatever else stands there is an unknown one (112).",
    ),
    Resource.PHONES: (
        "phone",
        _identifier(MAX_PHONE_CHARS),
        f"GSW_PHONE; for DoNotCall at most {MAX_DNC_PHONE_CHARS} characters.",
    ),
    Resource.CUSTOMER_IDS: (
        "customer_id",
        _identifier(MAX_NAME_CHARS),
        f"GSW_CUSTOMER_ID; for DoNotCall at most {MAX_CUSTOMER_ID_CHARS} characters.",
    ),
    Resource.LISTS: ("calling_list", _identifier(MAX_NAME_CHARS), "GSW_CALLING_LIST: name of the list."),
}
PASSED_OVER: Final[Mapping[Resource, frozenset[str]]] = {
    Resource.RECORDS: frozenset(),
    Resource.PHONES: frozenset({"GSW_RECORD_HANDLE", "GSW_CUSTOMER_ID"}),
    Resource.CUSTOMER_IDS: frozenset({"GSW_RECORD_HANDLE", "GSW_PHONE"}),
    Resource.LISTS: frozenset({"GSW_RECORD_HANDLE"}),
}


def attributes(resource: Resource, name: str) -> dict[str, Object]:
    """Every attribute that changes something, or is at least checked."""
    key = KEY_OF[resource]
    itself: Object = {"type": "string", "enum": [name], "description": "As the desktop protocol has it; in any case."}
    found = {**NAMES, "GSW_AGENT_REQ_TYPE": itself, **FORMS[name].attributes}
    if name in _WITHDRAWALS:
        found |= _WHOM[name] if resource is Resource.RECORDS else {key: _WHOM[name][key]}
    if resource is Resource.RECORDS:
        found[key] = _int("The record. What the URI says counts.")
    return found


def passed_over(resource: Resource, name: str) -> frozenset[str]:
    """Attributes that are accepted and change nothing: what desktops attach, and what the URI has decided."""
    return (ATTACHED_KEYS | FORMS[name].passed_over | PASSED_OVER[resource]) - attributes(resource, name).keys()


# --- schemas -----------------------------------------------------------------------------------------------------


def schemas() -> Object:
    forms = {_schema_name(each, name): _schema(each, name) for each in Resource for name in REQUESTS[each]}
    return {**NAMES, **forms}


def _schema_name(resource: Resource, name: str) -> str:
    return f"{resource.value}.{name}"


def _schema(resource: Resource, name: str) -> Object:
    form, properties = FORMS[name], attributes(resource, name)
    shown = {key: ref(key) if NAMES.get(key) is value else value for key, value in properties.items()}
    schema: Object = {"type": "object", "properties": shown}
    if form.required:
        schema["required"] = list(form.required)
    alternatives: list[Object] = []
    if resource in (Resource.PHONES, Resource.CUSTOMER_IDS):
        alternatives = [{"required": ["GSW_TENANT_DBID"]}, {"required": ["GSW_TENANT_NAME"]}]
    elif resource is Resource.LISTS:
        alternatives = [{"required": ["GSW_CAMPAIGN_NAME"]}, {"required": ["GSW_CAMPAIGN"]}]
    if alternatives:
        schema["anyOf"] = alternatives
    if name == "AddRecord":
        schema["dependentRequired"] = {"GSW_CHAIN_N": ["GSW_CHAIN_ID"]}
    if form.custom:
        # Custom fields have no reserved prefix; which there are is a matter of the list's format.
        custom = {"type": ["string", "number"], "description": "Custom fields."}
        schema["patternProperties"] = {NOT_RESERVED: custom}
    schema["additionalProperties"] = False
    return schema


# --- paths -------------------------------------------------------------------------------------------------------


def paths() -> Object:
    found: Object = {}
    for resource in Resource:
        parameter, schema, words = PARAMETERS[resource]
        found[f"/{resource.value}"] = {"post": _operation(resource, named=False)}
        found[f"/{resource.value}/{{{parameter}}}"] = {
            "parameters": [path_parameter(parameter, schema, words)],
            "post": _operation(resource, named=True),
        }
    return found


def _operation(resource: Resource, *, named: bool) -> Object:
    """The POST of a resource, of ``/resource/identifier`` or of ``/resource`` with the identifier in the body."""
    names, key = REQUESTS[resource], KEY_OF[resource]
    forms: dict[str, Object] = {}
    for name in names:
        whole = named or name == "AddRecord"
        form = ref(_schema_name(resource, name))
        forms[name] = form if whole else {"allOf": [form, {"required": [key]}]}
    if resource is Resource.RECORDS and not named:
        # Without a handle the campaign says where to.
        campaign = [{"required": [each]} for each in ("GSW_RECORD_HANDLE", "GSW_CAMPAIGN_NAME", "GSW_CAMPAIGN")]
        forms["AddRecord"] = {"allOf": [forms["AddRecord"], {"anyOf": campaign}]}
    answers = {name: _answers(resource, name) for name in names}
    together: dict[HTTPStatus, set[GswError]] = {}
    for by_status in answers.values():
        for status, numbers in by_status.items():
            together.setdefault(status, set()).update(numbers)
    title = resource.value.title().replace("_", "")
    return {
        "operationId": f"control{title}" if named else f"control{title}OfBody",
        "tags": [resource.value],
        "summary": f"Requests for {resource.value}" + ("." if named else f", with {key} in the body."),
        "parameters": [req(list(names))],
        "requestBody": body(forms.values(), required=False),
        "responses": {
            "200": carried_out(),
            "403": foreign(),
            **{str(status.value): _refused(status, numbers) for status, numbers in sorted(together.items())},
        },
        "x-requests": {
            name: {
                "summary": FORMS[name].summary,
                "schema": forms[name],
                "passedOver": sorted(passed_over(resource, name) - ATTACHED_KEYS),
                "warnings": {str(status.value): sorted(map(int, numbers)) for status, numbers in answers[name].items()},
            }
            for name in names
        },
    }


def _answers(resource: Resource, name: str) -> Mapping[HTTPStatus, set[GswError]]:
    """Which numbers come with which status."""
    from ocsd.http.answers import STATUS_OF_ADD_ERROR, STATUS_OF_GSW_ERROR  # here: answers.py serves this document

    adds = name == "AddRecord" or resource is Resource.LISTS
    found: dict[HTTPStatus, set[GswError]] = {}
    for error, status in (STATUS_OF_ADD_ERROR if adds else STATUS_OF_GSW_ERROR).items():
        found.setdefault(status, set()).add(error)
    found.setdefault(HTTPStatus.NOT_FOUND, set()).update(NOT_CONFIGURED)
    found.setdefault(HTTPStatus.INTERNAL_SERVER_ERROR, set())
    return found


NOT_CONFIGURED: Final = frozenset(
    {GswError.INVALID_ATTRIBUTE_VALUE, GswError.CAMPAIGN_GROUP_NOT_FOUND, GswError.RECORD_NOT_FOUND}
)
"""Numbers of 404: the list, campaign or campaign group that is named is not configured."""


def _refused(status: HTTPStatus, numbers: set[GswError]) -> Object:
    content: Object = {"text/html": {"schema": {"type": "string"}}}
    if status is HTTPStatus.INTERNAL_SERVER_ERROR:
        content |= plain()  # our own fault, without a number
    if not numbers:
        return {"description": f"{status.phrase}.", "content": content}
    return refused(status, "GSW_ERROR", numbers, content, always=status is not HTTPStatus.INTERNAL_SERVER_ERROR)
