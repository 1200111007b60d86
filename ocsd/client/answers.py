"""Answers of the control port -> results, or ControlError (pure)."""

import html
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from ocsd.client.errors import ERROR_MEANINGS, ControlError

T = TypeVar("T")

_TAG: Final = re.compile(r"<[^<>]*>")
_STATUS_LINE: Final = re.compile(r"\d{3} [A-Za-z '-]+ : ", re.ASCII)
_NUMBERED: Final = re.compile(r"GSW_(?:CM_AttrError|ERROR) \d+: |-?\d{1,10} ", re.ASCII)
"""Before the words: for campaign groups attribute and number, else the request's GSW_REFERENCE_ID or 0."""


@dataclass(frozen=True, slots=True)
class ControlAnswer:
    """One answer as received; ``warning`` is the header's text, empty without one."""

    status: int
    reason: str
    warning: str
    content_type: str
    content: bytes


def result(answer: ControlAnswer, read: Callable[[ControlAnswer], T]) -> T:
    """What ``read`` makes of a positive answer; raises ControlError for a negative one."""
    if answer.status == 200:
        return read(answer)
    number = answer.warning
    warning = int(number) if number.isascii() and number.isdigit() else None
    meaning = ERROR_MEANINGS.get(warning or 0) or f"{answer.status} {answer.reason}"
    raise ControlError(answer.status, warning, _words(answer) or meaning)


def _words(answer: ControlAnswer) -> str:
    """The words of a negative answer, without status, reference and number, which the error has apart."""
    text = answer.content.decode("utf-8", "replace").strip()
    if answer.content_type.partition(";")[0].strip().lower() == "text/html":
        text = html.unescape(_TAG.sub("", text)).strip()
    bare = _STATUS_LINE.sub("", text, count=1)
    if bare != text:  # written by this server, so what follows is known too
        bare = _NUMBERED.sub("", bare, count=1) if answer.warning else bare
    return bare


def nothing(_answer: ControlAnswer) -> None:
    """Positive answers to POST have no body."""


def json_object(answer: ControlAnswer) -> dict[str, Any]:
    try:
        document = json.loads(answer.content)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise ControlError(answer.status, None, "the server's answer is no JSON object")
    return document


def campaign_groups(answer: ControlAnswer) -> dict[str, dict[str, Any]]:
    groups = json_object(answer).get("CampaignGroups")
    if not isinstance(groups, dict):
        raise ControlError(answer.status, None, "the server's answer has no CampaignGroups")
    return groups
