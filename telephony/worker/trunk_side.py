"""Registrations and probes of one worker: what is kept, when it is tried again, when a probe is over. Pure."""

from dataclasses import dataclass
from typing import Final, TypeAlias

from telephony.contract import Probe, Probed, Register, Registered

FIRST_RETRY_S: Final = 2.0
LONGEST_RETRY_S: Final = 60.0
"""After a refusal or silence the next REGISTER comes so much later, twice as much each time."""
LONGEST_PROBE_S: Final = 30.0
MAX_PROBES: Final = 64
MAX_REGISTRATIONS: Final = 3
"""A worker's accounts are eight (PJSUA_MAX_ACC); the calls need the others."""


@dataclass(frozen=True, slots=True)
class Renew:
    """Order to the stack: send REGISTER again."""

    registration_id: str


@dataclass(frozen=True, slots=True)
class Release:
    """Order to the stack: take the binding back and forget the registration."""

    registration_id: str


Effect: TypeAlias = Register | Renew | Release | Probe | Registered | Probed
"""`Registered` and `Probed` are to be told, the others to be obeyed by the stack."""


@dataclass(slots=True)
class _Kept:
    command: Register
    said: Registered
    retry_after_s: float = 0.0
    retry_at_s: float = float("inf")
    made: bool = True
    """The stack knows it, and may be told to renew it."""


@dataclass(slots=True)
class _OpenProbe:
    sent_s: float
    until_s: float


class TrunkSide:
    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}
        self._probes: dict[str, _OpenProbe] = {}

    @property
    def registrations(self) -> tuple[Registered, ...]:
        """For the snapshot."""
        return tuple(one.said for one in self._kept.values())

    def register(self, command: Register, now_s: float) -> tuple[Effect, ...]:
        """Hold it. Asked for again as it is, only its state is told."""
        kept = self._kept.get(command.registration_id)
        if kept is not None and kept.command == command:
            return (kept.said,)
        if kept is None and len(self._kept) >= MAX_REGISTRATIONS:
            why = f"the worker holds {MAX_REGISTRATIONS} registrations already"
            return (Registered(command.registration_id, 503, 0, now_s, why, no_room=True),)
        self._kept[command.registration_id] = _Kept(command, Registered(command.registration_id, 0, 0, now_s))
        return (Release(command.registration_id), command) if kept is not None else (command,)

    def unregister(self, registration_id: str) -> tuple[Effect, ...]:
        return (Release(registration_id),) if self._kept.pop(registration_id, None) is not None else ()

    def unregister_all(self) -> tuple[Effect, ...]:
        """Before the worker exits: another one has taken over, or nobody will."""
        released = tuple(Release(registration_id) for registration_id in self._kept)
        self._kept.clear()
        return released

    def registered(self, event: Registered) -> tuple[Effect, ...]:
        """What the registrar said, or the stack of one that says nothing (408, 503)."""
        kept = self._kept.get(event.registration_id)
        if kept is None:
            return ()
        kept.said = event
        if event.good:
            kept.retry_after_s, kept.retry_at_s = 0.0, float("inf")  # the stack renews it in time
        else:
            kept.retry_after_s = min(max(kept.retry_after_s * 2, FIRST_RETRY_S), LONGEST_RETRY_S)
            kept.retry_at_s = event.at_s + kept.retry_after_s
        return (event,)

    def not_made(self, event: Registered) -> tuple[Effect, ...]:
        """The stack could not take the registration, so that there is nothing to renew: it is asked again."""
        if (kept := self._kept.get(event.registration_id)) is not None:
            kept.made = False
        return self.registered(event)

    def probe(self, command: Probe, now_s: float) -> tuple[Effect, ...]:
        if command.probe_id in self._probes:
            return ()
        if len(self._probes) >= MAX_PROBES:
            return (Probed(command.probe_id, 0, 0.0, "too many probes at once"),)
        limit_s = min(max(command.timeout_s, 0.0), LONGEST_PROBE_S)
        self._probes[command.probe_id] = _OpenProbe(now_s, now_s + limit_s)
        return (command,)

    def probe_answered(self, probe_id: str, status: int, at_s: float, why: str = "") -> tuple[Effect, ...]:
        """A response, or with status 0 why nothing could be sent; one that comes too late is dropped."""
        probe = self._probes.pop(probe_id, None)
        return () if probe is None else (Probed(probe_id, status, at_s - probe.sent_s if status else 0.0, why),)

    def due(self, now_s: float) -> tuple[Effect, ...]:
        """Waits that are over."""
        effects: list[Effect] = []
        for probe_id in [each for each, probe in self._probes.items() if probe.until_s <= now_s]:
            del self._probes[probe_id]
            effects.append(Probed(probe_id, 0, 0.0, "no answer in time"))
        for registration_id, kept in self._kept.items():
            if kept.retry_at_s <= now_s:
                kept.retry_at_s = float("inf")
                effects.append(Renew(registration_id) if kept.made else kept.command)
                kept.made = True
        return tuple(effects)

    @property
    def next_due_s(self) -> float:
        times = [probe.until_s for probe in self._probes.values()]
        times += [kept.retry_at_s for kept in self._kept.values()]
        return min(times, default=float("inf"))
