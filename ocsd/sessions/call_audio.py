"""What everybody in a conversation hears, made so at the media server: nobody who talks hears nothing in between."""

from typing import TYPE_CHECKING

from ocsd.sessions.call_talk import AUDIO_OF, Audio, Talk, Who
from ocsd.sessions.hold_signalling import HoldSignalling
from telephony.api import Channel

if TYPE_CHECKING:
    from ocsd.sessions.attempt_task import AttemptTask


class CallAudio:
    """The audio of one attempt's conversation; runs in the attempt's task."""

    def __init__(self, task: "AttemptTask") -> None:
        self.signalled = HoldSignalling(task)
        self.knows_who_it_is = False
        """The agent has done something with the call: nobody listens any more for what may have answered."""
        self._task = task
        self._heard = AUDIO_OF[Talk.TALKING]
        self._muted: Channel | None = None

    def adopt(self, state: Talk) -> None:
        """It was left so by an earlier run of the daemon."""
        self._heard = AUDIO_OF[state]
        self.knows_who_it_is = state is not Talk.TALKING
        self.signalled.adopt(held=Who.CUSTOMER in self._heard.music)

    def adopt_muted(self) -> None:
        """The agent was muted."""
        self._muted = self._task.second.channel

    async def passed_on(self) -> None:
        """The third party has taken the agent's place, and talks with the customer."""
        self._heard = AUDIO_OF[Talk.TALKING]
        await self.unmute()

    async def unmute(self) -> None:
        """Whoever was muted is heard again: a standing leg may have another call soon."""
        if self._muted is not None:
            muted, self._muted = self._muted, None
            await muted.mute(False)

    def channel(self, who: Who) -> Channel | None:
        """Where this party is heard; None: it is not there."""
        match who:
            case Who.CUSTOMER:
                return self._task.channel
            case Who.AGENT:
                return self._task.second.channel
            case Who.THIRD:
                third = self._task.control.third
                return third.channel if third is not None else None

    async def sound(self, wanted: Audio) -> None:
        """Bring everybody's audio from what it is to what is wanted."""
        before, self._heard = self._heard, wanted
        if wanted == before:
            return
        await self._listen_no_more()
        leaving = before.talk - wanted.talk
        together = sorted(wanted.talk, key=lambda who: who.value)
        if wanted.talk and wanted.talk < before.talk:
            for who in leaving:  # the others go on as they are
                await self.each(who, "unbridge")
        elif wanted.talk and wanted.talk != before.talk:
            await self._connect(together, before)
        elif not wanted.talk and before.talk:
            await self.each(Who.CUSTOMER if Who.CUSTOMER in before.talk else Who.AGENT, "unbridge")
        for who in (before.music | before.ringback) - wanted.music - wanted.ringback - wanted.talk:
            await self.each(who, "stop_playing")
        for who in wanted.music - before.music:
            await self.music(who)
        for who in wanted.ringback - before.ringback:
            if (channel := self.channel(who)) is not None:
                await channel.play("ringback")
        if (Who.CUSTOMER in wanted.music) != (Who.CUSTOMER in before.music):
            self.signalled.tell(held=Who.CUSTOMER in wanted.music)

    async def _listen_no_more(self) -> None:
        """
        End the analysis after the connect (cpa-after-connect). What is heard from here on is not the called party's
        alone, and breaks off where the far end is put on hold, so that a verdict would take the call from people.
        """
        if not self.knows_who_it_is:
            self.knows_who_it_is = True
            if self._task.channel is not None:
                await self._task.channel.stop_analysis()

    async def each(self, who: Who, command: str) -> None:
        """``unbridge`` or stop the playing of one party's channel, where there is one."""
        if (channel := self.channel(who)) is not None:
            await (channel.unbridge() if command == "unbridge" else channel.stop_playing())

    async def _connect(self, together: list[Who], before: Audio) -> None:
        """Two are bridged; a third joins the two who talk already, or is joined last."""
        if len(together) > 2 and before.talk:
            first, joins = next(iter(before.talk)), [who for who in together if who not in before.talk]
        else:
            first, joins = together[0], together[2:]
            one, other = self.channel(together[0]), self.channel(together[1])
            if one is not None and other is not None:
                await one.bridge(other)
        middle = self.channel(first)
        for who in joins:
            channel = self.channel(who)
            if channel is not None and middle is not None:
                await channel.join(middle)

    async def music(self, who: Who) -> None:
        """Have this party hear the music on hold."""
        channel = self.channel(who)
        prompt = str(self._task.host.session.planner.option("hold-music", self._task.context.record.list_dbid))
        if channel is not None and prompt:
            await channel.play(prompt, loop=True)

    async def mute(self, muted: bool) -> None:
        """The agent is heard by nobody, or again."""
        channel = self._task.second.channel
        if channel is not None:
            self._muted = channel if muted else None
            await channel.mute(muted)
