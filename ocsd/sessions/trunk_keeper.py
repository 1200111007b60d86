"""Looks after the trunks: registrations, OPTIONS at intervals, and at once where a call meets silence."""

from typing import Final

import structlog
import trio

from ocsd.config.objects import Trunk
from ocsd.sessions.clock import Clock
from ocsd.sessions.trunks import TrunkBoard
from telephony.api import NoCapacity, Telephony
from telephony.contract import Register

log = structlog.get_logger()

PERIOD_S: Final = 0.5
PROBE_TIMEOUT_S: Final = 2.0
SUSPICION_TIMEOUT_S: Final = 0.9
"""Of a probe that follows a call's silence: OPTIONS is sent twice within it, and the INVITE was sent three times by its
end (RFC 3261 17.1.1.2), so that calls leave a trunk within two seconds."""
SUSPICION_S: Final = 0.9
"""A call that nothing was heard of for so long is a reason to probe. Carriers answer 18x later, but they answer."""
SILENT_PROBE_S: Final = 5.0
"""A trunk that has gone silent is probed at least this often."""
UNKNOWN_GRACE_S: Final = 10.0
"""How long a registration stays good while the worker that held it is being replaced."""
NOT_THERE: Final = frozenset({0, 408, 503})
"""Answers to OPTIONS that say that no call will get through: silence, and a proxy whose gateway is down. Any other one
says that somebody is there, who may not like OPTIONS."""


class TrunkKeeper:
    """`run` goes on for the life of the daemon; `suspect` may be asked by any call."""

    def __init__(self, board: TrunkBoard, telephony: Telephony, clock: Clock) -> None:
        self._board = board
        self._telephony = telephony
        self._clock = clock
        self._due_s: dict[str, float] = {}
        self._probing: dict[tuple[str, float], trio.Event] = {}
        """Probes under way, by trunk and timeout: a hasty one does not wait for a patient one."""
        self._missed: dict[str, int] = {}
        self._wanted: tuple[Register, ...] | None = None
        self._good_s: dict[str, float] = {}

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            while True:
                self._registrations()
                for trunk in self._board.trunks:
                    if trunk.probe_interval_s and self._due_s.get(trunk.name, 0.0) <= self._clock.now_s():
                        self._due_s[trunk.name] = self._clock.now_s() + trunk.probe_interval_s
                        nursery.start_soon(self._probe, trunk, PROBE_TIMEOUT_S)
                await trio.sleep(PERIOD_S)

    async def suspect(self, trunk: Trunk) -> None:
        """A call has heard nothing of the trunk: ask now whether it is there. Returns when that is known."""
        if not trunk.probe_interval_s:
            return
        log.info("trunk.suspected", trunk=trunk.name)
        self._missed[trunk.name] = self._missed.get(trunk.name, 0) + 1  # the call is a witness too
        await self._probe(trunk, SUSPICION_TIMEOUT_S)

    async def _probe(self, trunk: Trunk, timeout_s: float) -> None:
        name = trunk.name
        if (running := self._probing.get((name, timeout_s))) is not None:
            await running.wait()
            return
        self._probing[name, timeout_s] = trio.Event()
        began_s = self._clock.now_s()
        try:
            found = await self._telephony.probe(f"sip:{trunk.host}:{trunk.port}", timeout_s=timeout_s)
        except NoCapacity:
            return  # no worker: that says nothing about the trunk
        finally:
            self._probing.pop((name, timeout_s)).set()
        now_s = self._clock.now_s()
        if found.sip_status not in NOT_THERE:
            self._missed[name] = 0
            self._board.probed(name, now_s, found.rtt_s)
            return
        if self._board.has_worked_since(name, began_s):
            self._missed[name] = 0  # phones ring over it: OPTIONS was lost, or late where the machine is busy
            return
        self._missed[name] = self._missed.get(name, 0) + 1
        why = f"OPTIONS: {found.sip_status}" if found.sip_status else "no answer to OPTIONS"
        # One may have been lost, whatever is sent again within it; the second one follows at once.
        if self._missed[name] >= 2 and self._board.unanswered(name, now_s, why):
            self._due_s[name] = now_s + min(trunk.probe_interval_s, SILENT_PROBE_S)
        elif self._missed[name] < 2:
            self._due_s[name] = now_s

    def _registrations(self) -> None:
        wanted = tuple(register(trunk) for trunk in self._board.trunks if trunk.registrar)
        if wanted != self._wanted and (wanted or self._wanted):
            self._telephony.keep_registered(wanted)
        self._wanted = wanted
        now_s = self._clock.now_s()
        for trunk in self._board.trunks:
            if not trunk.registrar:
                self._board.registration(trunk.name, None)
                continue
            said = self._telephony.registered(registration_id(trunk))
            if said is not None and said.good:
                self._good_s[trunk.name] = now_s
                self._board.registration(trunk.name, True)
            elif said is not None and said.sip_status:
                self._board.registration(trunk.name, False, f"{said.sip_status} {said.reason_text}".strip())
            elif now_s - self._good_s.get(trunk.name, -UNKNOWN_GRACE_S) >= UNKNOWN_GRACE_S:
                self._board.registration(trunk.name, False, "the registrar has not answered")


def registration_id(trunk: Trunk) -> str:
    return f"trunk-{trunk.dbid}"


def register(trunk: Trunk) -> Register:
    """What is asked of the registrar."""
    host = trunk.registrar.partition(":")[0] if not trunk.registrar.startswith("[") else trunk.registrar
    return Register(
        registration_id=registration_id(trunk),
        registrar=f"sip:{trunk.registrar}",
        aor=f"sip:{trunk.username}@{host}",
        username=trunk.username,
        password=trunk.password,
        expires_s=trunk.registration_s,
    )
