"""What the two clients share: how a call goes to httpx and an answer or an error comes back."""

import json
from collections.abc import Mapping
from typing import Any, Final, TypedDict
from urllib.parse import urlsplit, urlunsplit

import httpx

from ocsd.client.answers import ControlAnswer, result
from ocsd.client.calls import Call, T_co
from ocsd.client.errors import ControlUnavailable
from ocsd.model.errors import ConfigError

MAX_CONNECTIONS: Final = 16
"""Connections of one client; more calls at once wait for a free one. The server answers in milliseconds."""

_UNSENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)
"""Nothing has left this machine yet."""


class Settings(TypedDict):
    base_url: str
    auth: tuple[str, str] | None
    timeout: float
    trust_env: bool
    limits: httpx.Limits
    follow_redirects: bool
    verify: bool


class _Request(TypedDict):
    method: str
    url: str
    content: bytes | None
    headers: Mapping[str, str]


def settings(base_url: str, limit_s: float) -> tuple[str, Settings]:
    """
    Return the address as it may be shown, and what httpx is told; ValueError for an address that is none.

    A user and password in the address go into the Authorization header (for a proxy in front of the port) and nowhere
    else.
    """
    shown, auth = _without_password(base_url)
    return shown, Settings(
        base_url=shown,
        auth=auth,
        timeout=limit_s,
        trust_env=False,
        # Never closed for being idle: "the client should not close the connection to the HTTP Server at will".
        limits=httpx.Limits(
            max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS, keepalive_expiry=None
        ),
        # A redirected POST would be sent a second time.
        follow_redirects=False,
        # The list of authorities takes a tenth of a second to read; over plain HTTP nobody looks at it.
        verify=shown.startswith("https:"),
    )


def _without_password(base_url: str) -> tuple[str, tuple[str, str] | None]:
    try:
        parts = urlsplit(base_url)
        host, _port = parts.hostname, parts.port
        httpx.URL(base_url)
    except (ValueError, httpx.InvalidURL):
        host = None
    if not host or parts.scheme not in ("http", "https") or parts.query or parts.fragment:
        raise ValueError("the address of a control port is like http://127.0.0.1:8080")
    credentials, _, netloc = parts.netloc.rpartition("@")
    shown = urlunsplit((parts.scheme, netloc, parts.path, "", ""))
    if not credentials:
        return shown, None
    url = httpx.URL(base_url)
    return shown, (url.username, url.password)


def outgoing(call: Call[Any]) -> _Request:
    body = json.dumps(call.body, ensure_ascii=False, allow_nan=False).encode() if call.body else None
    headers = {"Content-Type": "application/json"} if body is not None else {}
    return _Request(method=call.method, url=call.target, content=body, headers=headers)


def incoming(call: Call[T_co], response: httpx.Response) -> T_co:
    """The result of ``call``; raises ControlError."""
    answer = ControlAnswer(
        response.status_code,
        response.reason_phrase,
        response.headers.get("Warning", ""),
        response.headers.get("Content-Type", ""),
        response.content,
    )
    return result(answer, call.read)


def unavailable(shown: str, call: Call[Any], error: httpx.HTTPError) -> ControlUnavailable:
    sent = not isinstance(error, _UNSENT)
    doubt = "; whether the request was carried out is not known" if sent and call.method == "POST" else ""
    if isinstance(error, httpx.TimeoutException):
        return ControlUnavailable(f"{shown} did not answer in time{doubt}", sent=sent)
    said = str(error) or type(error).__name__
    return ControlUnavailable(f"{shown} cannot be reached: {said}{doubt}", sent=sent)


def dbid_in(health: Mapping[str, Any], group: str) -> int:
    """The DBID of a campaign group by name; ConfigError when the daemon knows no such name."""
    groups: dict[str, int] = health["campaign_groups"]
    if group not in groups:
        known = ", ".join(f'"{name}"' for name in groups) or "none"
        raise ConfigError([f'no campaign group is called "{group}"; configured are: {known}'])
    return groups[group]
