"""Hold as the customer's side sees it: re-INVITEs, sendonly and back (hold-signalling). Audio here is as without."""

from typing import TYPE_CHECKING, Final

import structlog
import trio

from telephony.contract import Direction

if TYPE_CHECKING:
    from ocsd.sessions.attempt_task import AttemptTask
    from telephony.api import Channel, Leg

log = structlog.get_logger()

RETRIEVE_TRIES: Final = 3
RETRIEVE_AGAIN_S: Final = 1.0
"""A hold that is refused is none, and nobody misses it. A far end that was not told of the retrieval sends nothing."""


class HoldSignalling:
    """
    Of one attempt. One re-INVITE at a time; what was wished for meanwhile follows, if it is another state then.

    `tell` runs in the attempt's task, the re-INVITEs beside it.
    """

    def __init__(self, task: "AttemptTask") -> None:
        self._task = task
        self._held = False
        self._told = False
        """What the far end was told last."""
        self._telling = False

    def adopt(self, *, held: bool) -> None:
        """An earlier run of the daemon has left the call so, and has told the far end if that was wanted."""
        self._held = self._told = held and self._wanted

    @property
    def _wanted(self) -> bool:
        task = self._task
        return bool(task.host.session.planner.option("hold-signalling", task.context.record.list_dbid))

    def tell(self, *, held: bool) -> None:
        """The customer is on hold, or is not any more. Who was told of a hold is told of its end in any case."""
        self._held = held and self._wanted
        nursery = self._task.nursery
        if nursery is not None and self._held != self._told and not self._telling:
            self._telling = True
            nursery.start_soon(self._follow)

    async def _follow(self) -> None:
        leg, channel = self._task.leg, self._task.channel
        try:
            tries = 0
            while leg is not None and channel is not None and self._held != self._told:
                held, tries = self._held, tries + 1
                if await self._reinvite(leg, channel, held) or held or tries == RETRIEVE_TRIES:
                    self._told, tries = held, 0
                else:
                    await trio.sleep(RETRIEVE_AGAIN_S)
        finally:
            self._telling = False

    async def _reinvite(self, leg: "Leg", channel: "Channel", held: bool) -> bool:
        """Whether nothing is left to be done about it."""
        direction = Direction.SENDONLY if held else Direction.SENDRECV
        answer = await leg.redirect(channel.host, channel.port, direction=direction)
        if 200 <= answer.sip_status < 300:
            if answer.remote_rtp_port:
                kinds = answer.payload_type, answer.event_payload_type
                await channel.set_remote(answer.remote_rtp_host, answer.remote_rtp_port, *kinds)
            return True
        if answer.sip_status == 0:
            return True  # the leg has ended
        # Where the audio flows past us by now, that re-INVITE has overtaken this one, and has ended the hold.
        done = not held and not self._task.direct.here
        if not done:
            log.warning("call_control.hold_refused", sip_status=answer.sip_status, direction=direction.value)
        return done
