"""What call control is told: requests of desktops, and news of the third party's and of supervisors' legs."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ocsd.protocols.desktop_calls import MonitorMode
from ocsd.protocols.desktop_pairs import ReferenceId

if TYPE_CHECKING:
    from ocsd.sessions.call_talk import Request


@dataclass(frozen=True, slots=True)
class ControlEvent:
    """Common to all: the attempt machine itself never sees them."""


@dataclass(frozen=True, slots=True)
class Requested(ControlEvent):
    """An agent's desktop asks for something."""

    agent_id: str
    request: "Request"


@dataclass(frozen=True, slots=True)
class ThirdRings(ControlEvent):
    """The phone of the ``number``-th third party of the call has been dialed."""

    number: int


@dataclass(frozen=True, slots=True)
class ThirdAnswered(ControlEvent):
    number: int


@dataclass(frozen=True, slots=True)
class ThirdEnded(ControlEvent):
    """Its leg is gone, or was never placed."""

    number: int


@dataclass(frozen=True, slots=True)
class KeysSent(ControlEvent):
    """The keys that were sent to the customer last; ``error``: why not."""

    error: str


@dataclass(frozen=True, slots=True)
class MonitorAsked(ControlEvent):
    """A supervisor takes part in this call, or does so in another way from now on."""

    supervisor_id: str
    mode: MonitorMode


@dataclass(frozen=True, slots=True)
class MonitorCancelled(ControlEvent):
    """The supervisor leaves. ``is_release``: by RequestReleaseCall, which the event of that answers."""

    supervisor_id: str
    reference_id: ReferenceId = None
    is_release: bool = False


@dataclass(frozen=True, slots=True)
class MonitorAnswered(ControlEvent):
    """The supervisor's phone was answered."""

    supervisor_id: str


@dataclass(frozen=True, slots=True)
class MonitorEnded(ControlEvent):
    """The supervisor's leg is gone, or was never placed."""

    supervisor_id: str


@dataclass(frozen=True, slots=True)
class PassedOn:
    """
    Somebody else has the call now; of these events the only one for the attempt machine.

    ``agent_id``: an agent of the campaign group, with whom the record goes; None: somebody outside.
    """

    agent_id: str | None
