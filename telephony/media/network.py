"""How packets come and go: the sockets of all channels, whose packets count, reports, quality.

The mixer knows only audio; this is what stands between it and the network. One call each per tick: `receive`, `send`,
`report`. Sources are judged by `sources`, streams by `reception`, both before a packet reaches the jitter buffer.
"""

import select
import socket
import time
from dataclasses import dataclass
from typing import Final

import numpy as np

from telephony.media import batch_io, quality, rtcp, rtp
from telephony.media.channels import Address, Channel
from telephony.media.jitter import FRAME_SAMPLES
from telephony.media.mixer import Mixer
from telephony.media.reception import Reception
from telephony.media.sources import RELEARN_AFTER_S, Learn

TICK_S: Final = 0.02
BACKLOG_PACKETS: Final = 64
BACKLOG_ROUNDS: Final = 8
"""Where more lies in a socket than one call reads, so much more is read in the same tick: about what a socket holds."""

MOST_OWN: Final = 32
"""Packets of a far end in one tick, beyond the first call's; more than the jitter buffer holds is a flood."""

CATCH_UP_ROUNDS: Final = MOST_OWN // batch_io.PER_SOCKET
MOST_FLOODED: Final = 4
"""Channels that a flood fills at a time; where more sockets are full, it was we who did not read them."""

REPORT_TICKS: Final = round(rtcp.REPORT_S / TICK_S)
FENCE_AFTER: Final = 200
"""Strangers' packets to a living stream before the kernel is told to refuse them: a flood must not fill the socket's
buffer, where it would take the place of the far end's packets. A few are only counted."""

PACKET_S: Final = 0.02
FAR_BUFFER_S: Final = 0.04
"""What the jitter buffer of a far end holds that does not tell us; added to twice the jitter it reports."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Quality of both directions of a channel; 0.0 where nothing is known. See `telephony.contract.ChannelClosed`."""

    jitter_ms: float
    loss_ratio: float
    gaps: int
    mos: float
    rtt_ms: float
    remote_jitter_ms: float
    remote_loss_ratio: float
    remote_mos: float


class Network:
    """Sockets of up to ``capacity`` channels; ``host`` names us in RTCP. ``learn``: see `sources`."""

    def __init__(self, mixer: Mixer, capacity: int, host: str, learn: Learn = Learn.HOST) -> None:
        self._mixer = mixer
        self._learn = learn
        self._cname = f"ocsd@{host}"
        self._channels: list[Channel | None] = [None] * capacity
        self._open = 0
        self._row_of_rtp: dict[int, int] = {}
        self._row_of_rtcp: dict[int, int] = {}
        self._epoll = select.epoll()
        self._inbox = batch_io.Inbox(capacity, rtp.MAX_PACKET_BYTES + 1)
        self._backlog = batch_io.Inbox(1, rtp.MAX_PACKET_BYTES + 1, BACKLOG_PACKETS)
        self._outbox = [row.data for row in mixer.packets]
        self._latched = np.full(capacity, -1, dtype=np.int64)
        self._ticks = 0
        self.reception = Reception(capacity)
        self.mos = np.zeros(capacity, dtype=np.float64)

    def close(self) -> None:
        """Give up the poll descriptor; channels are closed by their owner."""
        self._epoll.close()

    # --- channels -----------------------------------------------------------------------------------------------

    def add(self, channel: Channel) -> None:
        """Begin to read a channel's sockets."""
        row = channel.row
        channel.gate.learn = self._learn
        self._channels[row] = channel
        self._open += 1
        self._row_of_rtp[channel.rtp.fileno()] = self._row_of_rtcp[channel.rtcp.fileno()] = row
        for sock in (channel.rtp, channel.rtcp):
            self._epoll.register(sock, select.EPOLLIN)
        self._latched[row] = -1
        self.reception.reset(row)
        self.mos[row] = 0.0

    def remove(self, channel: Channel, now_s: float) -> None:
        """Say goodbye to the far end and stop reading; the sockets stay open."""
        self._report_one(channel, now_s, goodbye=True)
        for sock in (channel.rtp, channel.rtcp):
            self._epoll.unregister(sock)
        del self._row_of_rtp[channel.rtp.fileno()], self._row_of_rtcp[channel.rtcp.fileno()]
        self._channels[channel.row] = None
        self._open -= 1
        # Counted in arrays while it lived.
        for name, count in (
            ("late", self._mixer.jitter.late),
            ("duplicate", self.reception.duplicates),
            ("jump", self.reception.jumps),
        ):
            if count[channel.row]:
                channel.dropped[name] += int(count[channel.row])

    def set_remote(self, channel: Channel, remote: Address | None, now_s: float) -> None:
        """Take the address of an SDP; None: it wants no media."""
        if channel.set_remote(remote, now_s):
            self._latched[channel.row] = -1
            self.reception.resync(channel.row)
            self._mixer.jitter.resync(channel.row)
        self._mixer.sending[channel.row] = channel.target is not None

    # --- in -----------------------------------------------------------------------------------------------------

    def receive(self, now_s: float) -> None:
        """Take in what lies in the sockets."""
        rtp_fds: list[int] = []
        rtcp_fds: list[int] = []
        wall_s = time.time()
        for fd, _event in self._epoll.poll(0, max(1, 2 * self._open)):
            (rtp_fds if fd in self._row_of_rtp else rtcp_fds).append(fd)
        for _ in range(CATCH_UP_ROUNDS):
            if rtp_fds:
                rtp_fds = self._receive_rtp(rtp_fds, now_s, wall_s)
        if len(rtp_fds) <= MOST_FLOODED:  # else it was a long stall of ours, and the next tick goes on
            for fd in rtp_fds:
                self._read_backlog(np.array([self._row_of_rtp[fd]]), fd, now_s, wall_s, own=0)
        if rtcp_fds:
            _, arrivals = self._inbox.receive(rtcp_fds, now_s, wall_s)
            for batch in arrivals:
                for i in range(len(batch.which)):
                    channel = self._channels[self._row_of_rtcp[rtcp_fds[batch.which[i]]]]
                    if channel is not None:
                        datagram = batch.packets[i, : int(batch.lengths[i])].tobytes()
                        source = batch_io.source_address(int(batch.source[i]))
                        self._take_rtcp(channel, datagram, source, float(batch.at_s[i]), now_s)

    def _receive_rtp(self, descriptors: list[int], now_s: float, wall_s: float) -> list[int]:
        """
        Take in a few packets of each socket; returns those with more of them, all from their far ends.

        After a stall of ours every socket has more: they are taken in together, as at any time, or a tick would cost so
        much that the server never caught up. A crowd of strangers is one channel's, and is dealt with alone.
        """
        rows = np.array([self._row_of_rtp[fd] for fd in descriptors], dtype=np.intp)
        counts, arrivals = self._inbox.receive(descriptors, now_s, wall_s)
        crowded = np.zeros(len(rows), dtype=np.bool_)
        for batch in arrivals:
            crowded[batch.which] |= batch.source != self._latched[rows[batch.which]]
            self._take_in(rows[batch.which], batch, now_s)
        more = np.array(counts) == batch_io.PER_SOCKET
        for i in np.nonzero(more & crowded)[0].tolist():
            self._read_backlog(rows[i : i + 1], descriptors[i], now_s, wall_s)
        return [descriptors[i] for i in np.nonzero(more & ~crowded)[0].tolist()]

    def _read_backlog(
        self, rows: batch_io.Indices, descriptor: int, now_s: float, wall_s: float, own: int = MOST_OWN
    ) -> None:
        """A flood: the far end's packets, ``own`` of them, must not wait behind those of strangers."""
        row, taken = int(rows[0]), [0, 0]  # of others, and of the negotiated source
        channel = self._channels[row]
        if channel is None:
            return
        for _ in range(BACKLOG_ROUNDS):
            batch = self._backlog.receive_one(descriptor, now_s, wall_s)
            # Of those who cannot be learned now nobody needs to look at each packet: a flood must not cost the tick.
            silent_s = now_s - float(self._mixer.last_rtp_s[row])
            foreign = ~channel.gate.candidates(batch.source, now_s, silent_s)
            if foreign.any():
                self._drop_foreign(channel, batch.packets[foreign], batch.lengths[foreign])
                if channel.gate.latched is not None:
                    self._note_strangers(channel, int(foreign.sum()), now_s)
            # Before anybody is heard, too, the address of the SDP does not wait behind a crowd.
            rest = np.nonzero(~foreign)[0]
            for i in rest[np.argsort(batch.source[rest] != channel.gate.negotiated, kind="stable")].tolist():
                by_sdp = bool(batch.source[i] == channel.gate.negotiated)
                taken[by_sdp] += 1
                if taken[by_sdp] <= own:
                    self._take_in(rows, batch.only(i), now_s)
                else:
                    channel.dropped["flood"] += 1
            if len(batch.which) < BACKLOG_PACKETS:
                return

    @staticmethod
    def _drop_foreign(channel: Channel, packets: rtp.Octets, lengths: batch_io.Ints) -> None:
        reason = rtp.parse(packets, lengths).reason
        reports = (reason != 0) & (lengths >= 8) & (packets[:, 0] >> 6 == 2) & (packets[:, 1] >= 192)
        reports &= packets[:, 1] <= 223
        well_formed = "no_remote" if channel.gate.negotiated is None else "unknown_source"
        for code, count in enumerate(np.bincount(reason[~reports])):
            if count:
                channel.dropped[rtp.REASONS[code] or well_formed] += int(count)
        if reports.any():
            channel.dropped["rtcp_unknown_source"] += int(reports.sum())

    def _note_strangers(self, channel: Channel, packets: int, now_s: float) -> None:
        channel.strangers += packets
        silent_s = now_s - float(self._mixer.last_rtp_s[channel.row])
        if channel.strangers > FENCE_AFTER and silent_s < RELEARN_AFTER_S:
            channel.fence(True)

    def _take_in(self, rows: batch_io.Indices, arrived: batch_io.Arrivals, now_s: float) -> None:
        packets, at_s = arrived.packets, arrived.at_s
        self._mixer.normalise_events(rows, packets)
        batch = rtp.parse(packets, arrived.lengths)
        good = batch.valid & (arrived.source == self._latched[rows])
        for i in np.nonzero(~good)[0].tolist():
            good[i] = self._judge(int(rows[i]), arrived, batch, i, now_s)
        if not good.all():
            if not good.any():
                return
            rows, packets, at_s, batch = rows[good], packets[good], at_s[good], batch.select(good)
        audio = batch.payload_type != rtp.TELEPHONE_EVENT
        for row in rows[self._mixer.away[rows]].tolist():
            self.reception.resync(row)
            self._mixer.jitter.resync(row)
            self._mixer.away[row] = False
        believed = self.reception.admit(rows, batch.seq, batch.timestamp, batch.ssrc, audio, at_s)
        if not believed.all():
            rows, packets, at_s, batch = rows[believed], packets[believed], at_s[believed], batch.select(believed)
        for row, datagram in self._mixer.accept(rows, packets, batch, now_s, at_s):
            if (onward := self._channels[row]) is not None:
                self._send_one(onward, onward.rtp, datagram, onward.target)

    def _judge(self, row: int, arrived: batch_io.Arrivals, batch: rtp.ParsedBatch, i: int, now_s: float) -> bool:
        """A packet that is malformed, or not from the source that counts; True when it may go on."""
        channel = self._channels[row]
        if channel is None:
            return False
        source = int(arrived.source[i])
        if channel.gate.latched is not None and source != channel.gate.latched:
            self._note_strangers(channel, 1, now_s)
        if not batch.valid[i]:
            datagram = arrived.packets[i, : int(arrived.lengths[i])].tobytes()
            if rtcp.is_rtcp(datagram):  # a far end that sends both to one port (RFC 5761), though nobody offered it
                if source == self._latched[row]:
                    self._take_rtcp(channel, datagram, None, float(arrived.at_s[i]), now_s)
                else:
                    channel.dropped["rtcp_unknown_source"] += 1
            else:
                channel.dropped[rtp.REASONS[batch.reason[i]]] += 1
            return False
        at_s = float(arrived.at_s[i])
        silent_s = now_s - float(self._mixer.last_rtp_s[row])
        why = channel.gate.judge(source, int(batch.ssrc[i]), int(batch.seq[i]), at_s, silent_s)
        if not why:
            self._latched[row] = source
            channel.latch()
            self.reception.resync(row)
            self._mixer.jitter.resync(row)
            return True
        channel.dropped[why] += 1
        return False

    def _take_rtcp(self, channel: Channel, datagram: bytes, source: Address | None, at_s: float, now_s: float) -> None:
        """A packet from the RTCP socket, or (``source`` None) from the latched source on the RTP socket."""
        if source is not None and (channel.target is None or source[0] != channel.target[0]):
            channel.dropped["rtcp_unknown_source"] += 1
            return
        found = rtcp.read_compound(datagram)
        if found is None:
            channel.dropped["bad_rtcp"] += 1
            return
        # Reports about a stream that we do not hear, or from elsewhere than the first that fitted, are not its own.
        heard = int(self.reception.ssrc[channel.row])
        known = (channel.rtcp_source, (channel.target[0], channel.target[1] + 1)) if channel.target else ()
        if heard not in (-1, found.ssrc) or (source is not None and channel.rtcp_source and source not in known):
            channel.dropped["rtcp_unknown_source"] += 1
            return
        if source is not None:
            channel.rtcp_source = source
        if found.sr_time:
            channel.last_sr, channel.last_sr_at_s = found.sr_time, at_s
        for block in found.blocks:
            if block.ssrc == int(self._mixer.ssrc[channel.row]):
                channel.far = block
                rtt_s = rtcp.round_trip_s(block, rtcp.ntp_middle(time.time() - (now_s - at_s)))
                channel.rtt_s = rtt_s if rtt_s is not None else channel.rtt_s
        if heard >= 0 and heard in found.goodbyes:
            self.reception.ended(channel.row, heard)

    # --- out ----------------------------------------------------------------------------------------------------

    def send(self, rows: list[int]) -> None:
        """Send the mixer's packets of these rows, and those it has beside the audio."""
        outbox, channels = self._outbox, self._channels
        for row in rows:
            channel = channels[row]
            if channel is not None:
                self._send_one(channel, channel.rtp, outbox[row], channel.target)
        for row, datagram in self._mixer.extra:
            channel = channels[row]
            if channel is not None:
                self._send_one(channel, channel.rtp, datagram, channel.target)

    @staticmethod
    def _send_one(channel: Channel, sock: socket.socket, datagram: bytes | memoryview, target: Address | None) -> None:
        if target is None:
            return
        try:
            sock.sendto(datagram, target)
        except BlockingIOError:
            channel.dropped["send_full"] += 1
        except OSError:  # no route, or a firewall says no: the call may recover
            channel.dropped["send_failed"] += 1

    def report(self, now_s: float) -> None:
        """RTCP to every far end each 5 s, spread over the ticks."""
        self._ticks += 1
        for row in range((self._ticks * 7) % REPORT_TICKS, len(self._channels), REPORT_TICKS):
            channel = self._channels[row]
            if channel is None:
                continue
            if channel.fenced and now_s - float(self._mixer.last_rtp_s[row]) > RELEARN_AFTER_S:
                channel.fence(False)
            self._report_one(channel, now_s)
            self.mos[row] = self.totals(channel).mos

    def _report_one(self, channel: Channel, now_s: float, *, goodbye: bool = False) -> None:
        mixer, row, target = self._mixer, channel.row, channel.target
        if target is None or not mixer.packets_out[row]:
            return
        to = channel.rtcp_source or (target[0], target[1] + 1)
        if to[1] > 65535:
            return
        packets_out = int(mixer.packets_out[row])
        report = rtcp.build_report(
            int(mixer.ssrc[row]),
            packets_out,
            packets_out * 160,
            int(mixer.timestamp[row]),
            time.time(),  # the standard wants wall-clock time here, for playing streams in step
            self._cname,
            self.reception.report(row, channel.last_sr, now_s - channel.last_sr_at_s),
            goodbye,
        )
        self._send_one(channel, channel.rtcp, report, to)

    # --- quality ------------------------------------------------------------------------------------------------

    def totals(self, channel: Channel) -> Totals:
        """Quality of a channel so far, by the E-model (`quality`)."""
        row, jitter, far = channel.row, self._mixer.jitter, channel.far
        one_way_s = channel.rtt_s / 2
        received, lost = int(self._mixer.packets_in[row]), int(jitter.lost[row])
        heard = float(self._mixer.samples_in[row]) / FRAME_SAMPLES  # frames: packets may be longer or shorter
        mos = 0.0
        if received and heard > 0:
            # What came too late was received and lost.
            in_time = max(0.0, heard - int(jitter.late[row]) * heard / received)
            hole_ratio = lost / (lost + in_time) if lost else 0.0
            # A lost packet of 10 ms is no lost frame, but heard all the same.
            hole_ratio = max(hole_ratio, self.reception.loss_ratio(row))
            holes = int(jitter.holes[row])
            burst = lost / holes * (1 - hole_ratio) if holes else 1.0
            ours_s = float(jitter.target_s[row]) + TICK_S / 2 + heard / received * TICK_S
            mos = quality.estimate(one_way_s + ours_s, hole_ratio, burst).mos
        if far is None:
            return Totals(
                1000 * float(self.reception.jitter_s[row]),
                self.reception.loss_ratio(row),
                int(jitter.gaps[row]),
                mos,
                1000 * channel.rtt_s,
                0.0,
                0.0,
                0.0,
            )
        sent = int(self._mixer.packets_out[row])
        far_loss = min(1.0, max(0, far.cumulative_lost) / sent) if sent else 0.0
        far_jitter_s = min(1.0, far.jitter / 8000)
        theirs_s = PACKET_S + FAR_BUFFER_S + 2 * far_jitter_s
        return Totals(
            1000 * float(self.reception.jitter_s[row]),
            self.reception.loss_ratio(row),
            int(jitter.gaps[row]),
            mos,
            1000 * channel.rtt_s,
            1000 * far_jitter_s,
            far_loss,
            quality.estimate(one_way_s + theirs_s, far_loss).mos,
        )
