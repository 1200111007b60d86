"""Whom a session tells of what happens in it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ocsd.sessions.attempt_task import AttemptTask
from ocsd.sessions.group import Effect

if TYPE_CHECKING:
    from ocsd.sessions.session import Session


@dataclass(frozen=True, slots=True)
class SessionListener:
    """Where the session reports: campaign notifications and desktop events."""

    on_status: Callable[["Session", Effect], None]
    on_ringing: Callable[["Session", AttemptTask], None]
    on_established: Callable[["Session", AttemptTask], None]
    on_released: Callable[["Session", AttemptTask, str], None]
    on_agent_changed: Callable[["Session", str], None]
    on_unmasked: Callable[["Session", AttemptTask], None] = lambda _session, _task: None
    """An agent talks with what is no person."""
    on_opted_out: Callable[["Session", AttemptTask], None] = lambda _session, _task: None
    """Whoever was called has asked a voice application not to be called again."""
    user_data: Callable[["Session", AttemptTask], Mapping[str, object]] = lambda _session, _task: {}
    """The attributes of the record as attached data."""
