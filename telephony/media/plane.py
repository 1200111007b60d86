"""The media plane: channels with sockets, the mixer and the analyser, driven by commands and by ticks.

Single-threaded; nothing here blocks. The caller owns time and the daemon's connection: it feeds `command`, calls
`tick` every 20 ms, and sends on the events that both return.
"""

import os
from collections.abc import Collection
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from telephony import contract as wire
from telephony.cpa import Analyser
from telephony.cpa.analyser import VerdictData
from telephony.cpa.listener import INFORMATION, REVISABLE
from telephony.media import rtp
from telephony.media.audio import SPARE_RECORDINGS, ChannelAudio
from telephony.media.channels import Channel, ChannelError, PortPool, bind_pair, parse_remote
from telephony.media.conversation import ConversationError
from telephony.media.echo import EchoGate
from telephony.media.endings import Endings
from telephony.media.mixer import Mixer
from telephony.media.network import TICK_S as TICK_S
from telephony.media.network import Network
from telephony.media.prompts import DROP, PromptLibrary
from telephony.media.recording import Recorder
from telephony.media.sources import Learn

DEAD_BRIDGE_S: Final = 60.0  # without a daemon, a conversation from which nothing came for so long is over
DIRECT_BRIDGE_S: Final = 14400.0  # ... and one whose people send to each other: nothing is to come from it
PERSON_WAITS_S: Final = 2.0  # longest silence for a called person, 16 CFR 310.4(b)(4)(iii)


class MediaPlane:
    """
    Args:
        host: address for SDP, which the far ends reach us at; ``bind_host`` is what the sockets bind.
        ports: where channels get their ports from.
        capacity: most channels at once; bounded by the port range.
        learn: hosts that a far end's source may be learned from, see `sources`.
        recording_folder: where recordings go; None: there are none. Raises OSError when their writer cannot start.
        idle_dbfs: comfort noise of channels that hear nobody, -90..-30 dBFS; 0: digital silence.
    """

    def __init__(
        self,
        host: str,
        ports: PortPool,
        capacity: int,
        prompts: PromptLibrary,
        bind_host: str | None = None,
        learn: Learn = Learn.HOST,
        recording_folder: Path | None = None,
        idle_dbfs: float = 0.0,
    ) -> None:
        self.host = host
        self.capacity = min(capacity, ports.pairs)
        self._bind_host = bind_host or host
        self._ports = ports
        self._prompts = prompts
        rng = np.random.default_rng(int.from_bytes(os.urandom(16)))
        self._mixer = Mixer(self.capacity, rng)
        self._analyser = Analyser(self.capacity)
        self._echo = EchoGate(self.capacity, rng)
        self._listening_on = np.zeros(self.capacity, dtype=np.bool_)  # bridged, and still under analysis
        self._rows: list[Channel | None] = [None] * self.capacity
        self._free_rows = list(range(self.capacity - 1, -1, -1))
        self._by_id: dict[str, Channel] = {}
        self._network = Network(self._mixer, self.capacity, host, learn)
        self.endings = Endings()
        self.recorder = Recorder(recording_folder, self.capacity + SPARE_RECORDINGS)
        self.audio = ChannelAudio(self._mixer, prompts, self.recorder, self._channel, self._rows.__getitem__, idle_dbfs)

    def close(self) -> None:
        """Close all sockets, finish recordings; nobody is told."""
        for channel in self._by_id.values():
            channel.close()
        self._network.close()
        self.recorder.close()

    # --- commands -----------------------------------------------------------------------------------------------

    def command(self, message: msgspec.Struct, now_s: float) -> list[msgspec.Struct]:
        """Carry out one command about a channel. What cannot be done is answered by ChannelFailed."""
        channel_id = getattr(message, "channel_id", "")
        try:
            return self._carry_out(message, now_s)
        except (ChannelError, ConversationError, ValueError) as error:
            return [wire.ChannelFailed(channel_id, str(error))]

    def _carry_out(self, message: msgspec.Struct, now_s: float) -> list[msgspec.Struct]:
        match message:
            case wire.OpenChannel(channel_id, local_port):
                return self._open(channel_id, local_port, now_s)
            case wire.CloseChannel(channel_id):
                return self._close(self._channel(channel_id), now_s)
            case wire.SetRemote(channel_id):
                self._set_remote(self._channel(channel_id), message, now_s)
            case wire.StartAnalysis(channel_id, connected, settings):
                channel = self._channel(channel_id)
                if self._mixer.conversations.takes_part(channel.row):
                    raise ChannelError("the channel is bridged: people are talking")
                # A daemon that took over asks again: what has been heard of the greeting must not be forgotten.
                if not (connected and self._analyser.hears_connected(channel.row)):
                    self._analyser.start(channel.row, settings, connected)
            case wire.StopAnalysis(channel_id):
                self._analyser.stop(self._channel(channel_id).row)
            case wire.Bridge(channel_id, other_channel_id):
                self._bridge(self._channel(channel_id), self._channel(other_channel_id), now_s)
            case wire.Unbridge(channel_id):
                self._mixer.unbridge(self._channel(channel_id).row)
            case wire.Join(channel_id, other_channel_id, role):
                self._join(self._channel(channel_id), self._channel(other_channel_id), role, now_s)
            case _:
                return self.audio.command(message, now_s)
        return []

    def _channel(self, channel_id: str) -> Channel:
        channel = self._by_id.get(channel_id)
        if channel is None:
            raise ChannelError("no such channel")
        return channel

    def _open(self, channel_id: str, local_port: int, now_s: float) -> list[msgspec.Struct]:
        if not channel_id:
            raise ChannelError("channel_id is empty")
        known = self._by_id.get(channel_id)
        if known is not None:
            if local_port not in (0, known.port):
                raise ChannelError(f"already open on port {known.port}")
            return [wire.ChannelOpened(channel_id, self.host, known.port)]
        if not self._free_rows:
            raise ChannelError(f"all {self.capacity} channels are in use")
        if local_port:
            if local_port % 2 or not 1024 <= local_port < 65535:
                raise ChannelError(f"port {local_port} is not an even port in 1024..65534")
            try:
                pair = bind_pair(self._bind_host, local_port)
            except OSError as error:
                raise ChannelError(f"port {local_port} cannot be bound: {error.strerror}") from error
            self._ports.reserve(local_port)
        else:
            pair = self._ports.open_pair(self._bind_host)
        row = self._free_rows.pop()
        channel = Channel(channel_id, row, *pair, port=pair[0].getsockname()[1])
        self._rows[row] = self._by_id[channel_id] = channel
        self._mixer.open_row(row, now_s)
        self._network.add(channel)
        self.audio.opened(channel)
        return [wire.ChannelOpened(channel_id, self.host, channel.port)]

    def _close(self, channel: Channel, now_s: float) -> list[msgspec.Struct]:
        row, mixer = channel.row, self._mixer
        self._analyser.stop(row)
        self._listening_on[row] = False  # the next call in this row may be analysed before the next tick
        quality = self._network.totals(channel)
        self._network.remove(channel, now_s)
        mixer.close_row(row)
        del self._by_id[channel.channel_id]
        channel.close()
        self._ports.give_back(channel.port)
        self._rows[row] = None
        self._free_rows.append(row)
        totals = wire.ChannelClosed(
            channel.channel_id,
            packets_in=int(mixer.packets_in[row]),
            packets_out=int(mixer.packets_out[row]),
            lost=int(mixer.jitter.lost[row]),
            bridged_frames_in=int(mixer.bridged_in[row]),
            dropped=dict(channel.dropped),
            jitter_ms=quality.jitter_ms,
            loss_ratio=quality.loss_ratio,
            gaps=quality.gaps,
            mos=quality.mos,
            rtt_ms=quality.rtt_ms,
            remote_jitter_ms=quality.remote_jitter_ms,
            remote_loss_ratio=quality.remote_loss_ratio,
            remote_mos=quality.remote_mos,
            payload_type=int(mixer.payload_type[row]),
            at_s=now_s,
        )
        return self.audio.closed(channel, totals, now_s)

    def _set_remote(self, channel: Channel, command: wire.SetRemote, now_s: float) -> None:
        kind, event_kind = command.payload_type, command.event_payload_type
        if kind not in (rtp.PCMU, rtp.PCMA):
            raise ChannelError(f"payload type {kind} is neither 0 (PCMU) nor 8 (PCMA)")
        if event_kind and not 96 <= event_kind <= 127:
            raise ChannelError(f"payload type {event_kind} of telephone events is neither 0 nor in 96..127")
        self._network.set_remote(channel, parse_remote(command.host, command.port), now_s)
        self._mixer.payload_type[channel.row] = kind
        self._mixer.event_type[channel.row] = event_kind

    def _bridge(self, channel: Channel, other: Channel, now_s: float) -> None:
        if channel is other:
            raise ChannelError("a channel cannot be bridged to itself")
        self._mixer.bridge(channel.row, other.row)
        listens_on = [row for row in (channel.row, other.row) if self._analyser.bridged(row)]
        self._talks_now(channel.row, now_s, listens_on)

    def _join(self, channel: Channel, other: Channel, role: wire.Role, now_s: float) -> None:
        self._mixer.join(channel.row, other.row, role)
        if role is wire.Role.MEMBER:
            self._talks_now(channel.row, now_s)
        else:
            # From now on a third party may be heard: what is said is not the called party's greeting any more.
            for one in (channel.row, *self._mixer.conversations.members(other.row)):
                self._analyser.stop(one)

    def _talks_now(self, row: int, now_s: float, listens_on: Collection[int] = ()) -> None:
        """People talk to each other: nobody waits for an agent, and the analysis ends but for those named."""
        for one in self._mixer.conversations.members(row):
            if one in listens_on:
                self._listening_on[one] = True
                self._echo.begin(one)
            else:
                self._analyser.stop(one)
            self.audio.forget_prompt(one)
            self._mixer.last_rtp_s[one] = max(self._mixer.last_rtp_s[one], now_s)
            if (member := self._rows[one]) is not None:
                member.person_since_s, member.talked = None, True

    # --- ticks --------------------------------------------------------------------------------------------------

    def tick(self, now_s: float) -> list[msgspec.Struct]:
        """Read what came, move 20 ms on, send. Returns verdicts, finished prompts, keys, finished recordings."""
        self._network.receive(now_s)
        self._mixer.jitter.set_clock(now_s)
        rows, finished = self._mixer.tick()
        events: list[msgspec.Struct] = []
        for row, data in self._analyse(now_s):
            channel = self._rows[row]
            if channel is None:
                continue
            if data.kind is wire.VerdictKind.BEEP:
                channel.beep_at_s = data.at_s
            if data.kind not in INFORMATION:
                channel.verdict, channel.verdict_at_s = data.kind, data.at_s
                waits = data.kind in REVISABLE  # HUMAN and TIMEGUARD: somebody is on the line
                channel.person_since_s = (data.speech_end_s or data.at_s) if waits else None
            events.append(
                wire.Verdict(
                    channel.channel_id,
                    data.kind,
                    data.cause,
                    data.at_s,
                    data.connected,
                    data.speech_end_s,
                    data.revises,
                    data.evidence,
                )
            )
        self._network.send(rows)
        self._network.report(now_s)
        for row, prompt in finished:
            if (channel := self._rows[row]) is not None:
                events.append(wire.PromptFinished(channel.channel_id, prompt))
        return events + self.audio.tick(now_s)

    def _analyse(self, now_s: float) -> list[tuple[int, VerdictData]]:
        """One step of the analysis, which must hear nothing of the agents that called people talk with."""
        mixer = self._mixer
        self._listening_on &= self._analyser.analysing
        rows = np.nonzero(self._listening_on & mixer.open)[0]
        if not len(rows):
            return self._analyser.step(mixer.frames, mixer.open, now_s)
        heard = mixer.frames[rows]
        sent = mixer.sent[np.searchsorted(mixer.sent_rows, rows)]
        mixer.frames[rows] = self._echo.gated(rows, heard, sent, self._analyser.floor_dbfs(rows))
        found = self._analyser.step(mixer.frames, mixer.open, now_s)
        mixer.frames[rows] = heard  # recordings have all of it
        return found

    # --- without a daemon ---------------------------------------------------------------------------------------

    def look_after_orphans(self, now_s: float, orphaned_since_s: float) -> list[str]:
        """
        What happens while no daemon is connected; call it about ten times a second.

        Somebody who waits for an agent hears the drop announcement at 2 s; unbridged channels close after
        ORPHAN_GRACE_S; conversations stay until nothing came from either side for 60 s, those that flow past us for
        hours. So do people of a conversation who are alone: on hold, or with somebody on hold; whoever hears music may
        have been told to send nothing. Returns the closed channels.
        """
        closing: list[Channel] = []
        conversations = self._mixer.conversations
        for channel in self._by_id.values():
            row = channel.row
            supervised = conversations.supervised(row)
            members = conversations.members(supervised[0] if supervised is not None else row)
            if len(members) > 1:
                heard_s = max(float(self._mixer.last_rtp_s[one]) for one in members)
                direct = any(self._mixer.standing_by[one] for one in members)
                if now_s - max(heard_s, orphaned_since_s) > (DIRECT_BRIDGE_S if direct else DEAD_BRIDGE_S):
                    closing.append(channel)
                continue
            if channel.person_since_s is not None and now_s - channel.person_since_s >= PERSON_WAITS_S:
                channel.person_since_s = None
                self._mixer.start_prompt(row, DROP, self._prompts.samples(DROP))
            since_s, kept_s = orphaned_since_s, wire.ORPHAN_GRACE_S
            if channel.talked:
                since_s = max(float(self._mixer.last_rtp_s[row]), orphaned_since_s)
                kept_s = DIRECT_BRIDGE_S if self._mixer.players.repeats(row) else DEAD_BRIDGE_S
            if now_s - since_s > kept_s:
                closing.append(channel)
        for channel in closing:
            self.endings.note(self._close(channel, now_s), now_s, told=False)
        return [channel.channel_id for channel in closing]

    # --- what is ------------------------------------------------------------------------------------------------

    def snapshot(self) -> wire.MediaSnapshot:
        """All channels as they are now."""
        channels = tuple(self.audio.describe(c, self._describe(c)) for c in self._by_id.values())
        return wire.MediaSnapshot(self.host, self.capacity, channels)

    def _describe(self, channel: Channel) -> wire.ChannelSnapshot:
        other = int(self._mixer.partner[channel.row])
        partner = self._rows[other] if other >= 0 else None
        host, port = channel.target or ("", 0)
        return wire.ChannelSnapshot(
            channel.channel_id,
            channel.port,
            host,
            port,
            partner.channel_id if partner is not None else "",
            bool(self._analyser.analysing[channel.row]),
            channel.verdict,
            channel.verdict_at_s,
            payload_type=int(self._mixer.payload_type[channel.row]),
            event_payload_type=int(self._mixer.event_type[channel.row]),
            analysing_connected=self._analyser.hears_connected(channel.row),
            beep_at_s=channel.beep_at_s,
        )

    def counts(self) -> tuple[int, int, int]:
        """Channels open, under analysis, in a conversation."""
        bridged = int(self._mixer.conversations.talks[self._mixer.open].sum())
        return len(self._by_id), int(self._analyser.analysing.sum()), bridged

    def mos_percentiles(self) -> tuple[float, float]:
        """MOS of the channels that are heard: the median, and what 5 % of them are below; 0.0 when none is."""
        known = self._network.mos[self._mixer.open & (self._network.mos > 0)]
        if not len(known):
            return 0.0, 0.0
        middle, low = np.percentile(known, (50, 5))
        return float(middle), float(low)
