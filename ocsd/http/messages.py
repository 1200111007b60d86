"""Answers of the control port and their bytes (pure).

h11 reads requests; answers are written here, because their exact shape is part of the contract: the manual's header
names in its own spelling and order, nothing added (no Date), and no ``Connection: close`` on a connection that stays
open although the client asked to close it, which h11 would insist on.
"""

import html
import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from ocsd.model.enums import GSW_ERROR_NAMES, GswError
from ocsd.protocols.desktop_pairs import ReferenceId

_FIELD_VALUE: Final = re.compile(r"[\x20-\x7e]*", re.ASCII)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_NOT_A_TOKEN: Final = re.compile(r"[^A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. ``headers`` come between Server and Content-length; ``content_type`` is empty without a body."""

    status: HTTPStatus
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = ""
    body: bytes = b""


OK: Final = Answer(HTTPStatus.OK)
"""Positive answers to POST "do not contain any message body"."""


def negative(status: HTTPStatus, text: str, *, warning: int | None = None, allow: str = "") -> Answer:
    """
    A negative answer with its number in ``Warning`` and a body of one line of plain text.

    Args:
        warning: GSW_CM_AttrError, for campaign groups; None where the manual has no number (an unknown resource, our
            own fault).
        allow: value of Allow, for 405.
    """
    numbered = f"GSW_CM_AttrError {warning}: " if warning is not None else ""
    line = f"{status.value} {status.phrase} : {numbered}{text}"
    headers = (("Warning", str(warning)),) if warning is not None else ()
    if allow:
        headers = (*headers, ("Allow", allow))
    # "text/plain" without a charset is ASCII; what clients sent may come back in the text.
    return Answer(status, headers, "text/plain", line.encode("ascii", "backslashreplace"))


def gsw_refusal(status: HTTPStatus, error: GswError, description: str, reference_id: ReferenceId) -> Answer:
    """
    A negative answer of records, phones, customer_ids and lists, in the form of the manual's example.

    Args:
        description: more than the GSW_ERROR text says; empty: there is no more to say.
        reference_id: GSW_REFERENCE_ID of the request; the example's 0 is that of a request without one.
    """
    text = f"{GSW_ERROR_NAMES[error]}: {description}" if description else GSW_ERROR_NAMES[error]
    line = f"{status.value} {status.phrase} : {reference_id or 0} {text}"
    shown = html.escape(_CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", line), quote=False)
    # A body without a charset is ASCII: other characters become character references.
    body = f"<HTML><body>{shown}</body></HTML>".encode("ascii", "xmlcharrefreplace")
    return Answer(status, (("Warning", str(int(error))),), "text/html", body)


def bare_conflict(warning: int) -> Answer:
    """The manual's example of a negative answer: 409 with Warning and ``Content-length: 0``."""
    return Answer(HTTPStatus.CONFLICT, (("Warning", str(warning)),))


def server_header(application_name: str, version: str) -> str:
    """Value of Server, like ``OCS/8.1.000.07``: the application's name and version, other characters become ``_``."""
    return f"{_NOT_A_TOKEN.sub('_', application_name) or 'OCS'}/{_NOT_A_TOKEN.sub('_', version) or '0'}"


def serialise(answer: Answer, server: str, *, close: bool = False, head: bool = False) -> bytes:
    """
    Return the answer's bytes.

    Args:
        close: announce that the server closes the connection after it.
        head: the request was HEAD, so the body is left out (its length is still told).
    """
    lines = [f"HTTP/1.1 {answer.status.value} {answer.status.phrase}", f"Server: {server}"]
    for name, value in answer.headers:
        if not _FIELD_VALUE.fullmatch(value):
            raise ValueError(f"{value!r} cannot be the value of {name}")
        lines.append(f"{name}: {value}")
    if answer.content_type:
        lines.append(f"Content-type: {answer.content_type}")
    if answer.status is not HTTPStatus.NOT_MODIFIED:
        lines.append(f"Content-length: {len(answer.body)}")
    if close:
        lines.append("Connection: close")
    return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + (b"" if head else answer.body)
