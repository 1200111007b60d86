"""Mutated SIP and RTP against SIP workers, a media server and the simulated carrier, while calls run through them.

    python -m tests.telephony.sip_fuzz --frames 100000 [--seed 1]

Four calls of the simulated carrier are up the whole time, bridged in pairs; they must not notice anything. Strangers
send damaged messages to every port there is. Besides, the workers call a far end of ours again and again that answers
and speaks within the call in damaged messages which name the dialog rightly: what a broken or hostile carrier does.
In the end all slots of all workers must be usable. Everything but the order of arrival is drawn from one seed.
"""

import argparse
import contextlib
import json
import os
import re
import socket
import struct
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import trio

from ocsd.demo.processes import json_file, wait_for
from telephony.api import ChannelLost, LegLost, TelephonyError
from telephony.client import TelephonyClient, open_telephony
from telephony.contract import ChannelClosed, LegAnswered, LegEnded
from telephony.media_client import MediaClient, open_media
from telephony.procs import ProcessIdentity
from telephony.simworld.numbers import number_for
from telephony.worker_leg import WorkerLeg
from tests.e2e.site import outside_world
from tests.telephony.media_fuzz import rtcp_frames, rtp_frames
from tests.telephony.media_peer import Server, free_port_range
from tests.telephony.sip_mutation import Dialog, SipMutator
from tests.telephony.test_workers_with_sipp import a_call, all_connected, telephony_pool

WORKERS = 4
LEGS = 4 * WORKERS
LIVE_CALLS = 4
VICTIMS = 6
"""Calls at a time to the far end that speaks in damaged messages; the other slots stay free for what lingers."""
BUSY = "12125559999"
KINDS_OF_CALLS = ({}, {"username": "us", "password": "secret"}, {"session_expires_s": 90})
FRAMES_A_TURN = 40
TURN_S = 0.02
DEATH = re.compile(r"Assertion|SIGABRT|SIGSEGV|signal|Fatal Python|terminate called")
SLOTS_FREE_LIMIT_S = 60.0
"""A BYE or an INVITE that nobody answers holds a slot for 32 s (timers B and F, RFC 3261 17.1)."""


@dataclass
class Footprint:
    """Resident memory in MB: what the part holds for itself, shared pages left out."""

    workers_mb: float
    media_mb: float
    carrier_mb: float


@dataclass
class Result:
    frames: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    victims: Counter[str] = field(default_factory=Counter)
    """How the calls to the damaged far end ended."""
    workers_died: int = 0
    live_ended: list[str] = field(default_factory=list)
    live_gaps: list[int] = field(default_factory=list)
    live_mos: list[float] = field(default_factory=list)
    live_packets: list[int] = field(default_factory=list)
    legs_left: int = 0
    """With the live ones, after all attackers have hung up."""
    slots_usable: int = 0
    slots_free_after_s: float = 0.0
    media_channels_left: int = 0
    before: Footprint | None = None
    midway: Footprint | None = None
    after: Footprint | None = None
    media_exit: int | None = None
    carrier_exit: int | None = None
    tracebacks: int = 0


def private_mb(pid: int) -> float:
    """Of one process, shared pages left out; 0 when it is gone."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0.0
    return sum(int(found) for found in re.findall(r"^Private_\w+:\s+(\d+) kB", text, re.MULTILINE)) / 1024.0


def worker_pids(run_dir: Path) -> dict[str, int]:
    found = {lock.stem: ProcessIdentity.read(lock) for lock in run_dir.glob("worker-*.lock")}
    return {name: identity.pid for name, identity in found.items() if identity is not None and identity.alive}


class BrokenFarEnd:
    """A called party of ours: knows the dialogs of the calls it got, and damages what it says in them."""

    def __init__(self, mutator: SipMutator) -> None:
        self.mutator = mutator
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.setblocking(False)
        self.port = self.sock.getsockname()[1]
        self.dialogs: list[tuple[Dialog, tuple[str, int]]] = []
        self.sent: deque[tuple[int, bytes]] = deque(maxlen=3000)
        """What went to which port, the latest last."""
        self.last: bytes = b"x"

    def take_in(self) -> int:
        """Read what has come; answers to it are counted."""
        sent = 0
        with contextlib.suppress(BlockingIOError):
            for _ in range(200):
                data, source = self.sock.recvfrom(65535)
                text = data.decode(errors="replace")
                if text.startswith("INVITE "):
                    sent += self._invited(text, source)
                elif not text.startswith(("SIP/2.0", "ACK ")):
                    sent += self._asked(text, source)
        return sent

    def _invited(self, text: str, source: tuple[str, int]) -> int:
        rng = self.mutator.random
        dialog = Dialog(
            call_id=_header(text, "Call-ID"),
            local=_tagged(_header(text, "To"), f"far{rng.getrandbits(32):x}"),
            remote=_header(text, "From"),
            target=f"sip:ocsd@127.0.0.1:{source[1]}",
            via=_header(text, "Via"),
            cseq=int(_header(text, "CSeq").split()[0]),
        )
        self.dialogs = [*self.dialogs[-30:], (dialog, source)]
        sent = 0
        for status in rng.choice(((100, 200), (180, 200), (183, 200), (183,), (180, 486), (200,), (302,), (None,), ())):
            self.send(self.mutator.response(dialog, status), source)
            sent += 1
        return sent

    def _asked(self, text: str, source: tuple[str, int]) -> int:
        """A request within a dialog: mostly answered, so that slots come free."""
        rng = self.mutator.random
        names = ("Via", "From", "To", "Call-ID", "CSeq")
        lines = ["SIP/2.0 200 OK", *(f"{name}: {_header(text, name)}" for name in names), "Content-Length: 0", "", ""]
        data = "\r\n".join(lines).encode()
        if rng.random() < 0.3:
            self.sock.sendto(self.mutator.damage(data, self.last), source)
        self.sock.sendto(data, source)
        if text.startswith("CANCEL "):
            self.sock.sendto(data.replace(b"200 OK", b"487 Gone", 1).replace(b" CANCEL", b" INVITE"), source)
        return 1

    def send(self, data: bytes, to: tuple[str, int]) -> None:
        """Damaged, three times in four."""
        rng = self.mutator.random
        said = self.mutator.damage(data, self.last) if rng.random() < 0.75 else data
        self.sock.sendto(said, to)
        self.sent.append((to[1], said))
        self.last = data

    def speak(self) -> None:
        """Something in one of the latest calls."""
        rng = self.mutator.random
        if self.dialogs:
            dialog, source = rng.choice(self.dialogs)
            made = self.mutator.request(dialog) if rng.random() < 0.6 else self.mutator.response(dialog)
            self.send(made, source)


def _header(text: str, name: str) -> str:
    found = re.search(rf"(?mi)^{name}:\s*(.*?)\r?$", text)
    return found[1] if found else ""


def _tagged(value: str, tag: str) -> str:
    return value if ";tag=" in value else f"{value};tag={tag}"


class Fuzz:
    """One run; `run` returns what was found."""

    def __init__(self, folder: Path, seed: int, deaths: Path | None = None) -> None:
        """``deaths``: folder for what each worker that fell was told last."""
        self.folder = folder
        self.mutator = SipMutator(seed)
        self.random = self.mutator.random
        self.result = Result()
        self.far_end = BrokenFarEnd(self.mutator)
        self.strangers = []
        for host in ("127.0.0.1", "127.0.0.1", "127.0.0.7"):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.bind((host, 0))
            self.strangers.append(sock)
        self.rtp_ports: list[int] = []
        self.carrier_rtp_ports: list[int] = []
        self.sip_ports: list[int] = []
        self.attacking = True
        self.legs = 0
        self.deaths = deaths

    async def run(self, frames: int, use_all_slots: bool = True) -> Result:
        """``use_all_slots``: show in the end that every slot takes a call; the stack may hold some for 32 s more."""
        with ExitStack() as stack:
            stack.enter_context(telephony_pool(self.folder, LEGS))
            media = Server(self.folder, free_port_range(LEGS + 8), "--capacity", str(LEGS + 8))
            stack.callback(media.kill)
            ready, script = self.folder / "ready.json", self.folder / "script.json"
            script.write_text(json.dumps({"numbers": [{"digits": BUSY, "class": "busy_sip", "ring_s": 0.1}]}))
            mix = self.folder / "mix.json"
            mix.write_text(json.dumps({"mix": {"human": 1.0}}))
            log = self.folder / "carrier.log"
            arguments = ["telephony.simworld.main", f"--ready-file={ready}", f"--script={script}", f"--mix={mix}"]
            arguments += ["--patience-s=99999", "--ring-scale=0.05", "--talk-mean-s=99999", "--customer-ends-share=0"]
            carrier = stack.enter_context(outside_world(arguments, log))
            port = wait_for("the carrier", lambda: json_file(ready), carrier, log)["carrier_port"]
            for sock in (self.far_end.sock, *self.strangers):
                stack.callback(sock.close)
            async with self._clients() as (telephony, media_client):
                await self._attack(telephony, media_client, port, frames, media.process.pid, carrier.pid, use_all_slots)
            self.result.media_exit = media.stop()
            carrier.terminate()
            self.result.carrier_exit = carrier.wait(30)
            pool_log = (self.folder / "pool.log").read_text(errors="replace")
            self.result.tracebacks = pool_log.count("Traceback") + log.read_text(errors="replace").count("Traceback")
        return self.result

    @asynccontextmanager
    async def _clients(self) -> AsyncIterator[tuple[TelephonyClient, MediaClient]]:
        async with open_telephony(self.folder) as telephony, open_media(self.folder) as media:
            await all_connected(telephony, WORKERS)
            await media.reachable()
            yield telephony, media

    async def _attack(
        self,
        telephony: TelephonyClient,
        media: MediaClient,
        port: int,
        frames: int,
        media_pid: int,
        carrier_pid: int,
        use_all_slots: bool,
    ) -> None:
        result = self.result
        pids = worker_pids(self.folder)
        # Learned before the attack: the SIP ports of the workers are where they send from.
        self.sip_ports = udp_ports_of(pids.values())
        ports = {pid: port for pid in pids.values() for port in udp_ports_of([pid])}

        def footprint() -> Footprint:
            workers_mb = sum(private_mb(pid) for pid in worker_pids(self.folder).values())
            return Footprint(round(workers_mb, 1), round(private_mb(media_pid), 1), round(private_mb(carrier_pid), 1))

        async with trio.open_nursery() as nursery:
            channels = [await self._live_call(telephony, media, port, index, nursery) for index in range(LIVE_CALLS)]
            for left, right in zip(channels[::2], channels[1::2], strict=True):
                await left.bridge(right)
            victims = [nursery.start_soon(self._victims, telephony) for _ in range(VICTIMS)]
            assert len(victims) == VICTIMS
            began_s, next_s = time.monotonic(), time.monotonic()
            while (sent := result.frames.total()) < frames:
                for _ in range(FRAMES_A_TURN):
                    self._send_one(port)
                result.frames["worker_dialog"] += self.far_end.take_in()
                if result.before is None and sent > 0.1 * frames:
                    result.before = footprint()  # caches and transactions in flight are there now
                if result.midway is None and sent > 0.55 * frames:
                    result.midway = footprint()
                self._note_deaths(ports)
                next_s = max(next_s + TURN_S, time.monotonic() - 0.2)
                await trio.sleep(max(0.0, next_s - time.monotonic()))
            result.seconds = round(time.monotonic() - began_s, 1)
            self.attacking = False
            await self._settle(telephony)
            result.after = footprint()
            result.workers_died = sum(worker_pids(self.folder).get(name) != pid for name, pid in pids.items())
            result.legs_left = telephony.in_use
            if use_all_slots:
                await self._use_all_slots(telephony, port)
            for channel in channels:
                await channel.close()
                async for event in channel.events:
                    if isinstance(event, (ChannelClosed, ChannelLost)):
                        break
                if isinstance(event, ChannelClosed):
                    result.live_gaps.append(event.gaps)
                    result.live_mos.append(round(event.mos, 2))
                    result.live_packets.append(event.packets_in)
                else:
                    result.live_ended.append(f"channel: {event}")
            result.media_channels_left = (await media.stats()).channels
            nursery.cancel_scope.cancel()

    async def _live_call(
        self, telephony: TelephonyClient, media: MediaClient, port: int, index: int, nursery: trio.Nursery
    ):
        channel = await media.open_channel(f"live-{index}-{self.random.getrandbits(64):x}")
        number = number_for(index).lstrip("+")
        command = a_call(
            f"sip:{number}@127.0.0.1:{port}", leg_id=f"live-{self.random.getrandbits(96):x}", rtp_host=channel.host,
            rtp_port=channel.port, no_answer_s=60.0,
        )  # fmt: skip
        leg = await telephony.place_call(command)
        async for event in leg.events:
            if isinstance(event, LegAnswered):
                break
        await channel.set_remote(event.remote_rtp_host, event.remote_rtp_port)
        self.rtp_ports.append(channel.port)
        self.carrier_rtp_ports.append(event.remote_rtp_port)

        async def watch() -> None:
            async for event in leg.events:
                if isinstance(event, (LegEnded, LegLost)):
                    self.result.live_ended.append(str(event))

        nursery.start_soon(watch)
        return channel

    async def _victims(self, telephony: TelephonyClient) -> None:
        """One call after the other to the broken far end."""
        while self.attacking:
            self.legs += 1
            # How long a call is left alone decides how deep an attack gets into it.
            patience_s = self.random.choice((0.05, 0.3, 1.0))
            command = a_call(
                f"sip:{BUSY}@127.0.0.1:{self.far_end.port}", no_answer_s=1.5, **self.random.choice(KINDS_OF_CALLS)
            )
            try:
                leg = await telephony.place_call(command)
            except TelephonyError as error:
                self.result.victims[type(error).__name__] += 1
                await trio.sleep(0.1)
                continue
            end = ""
            async with trio.open_nursery() as nursery:
                with trio.move_on_after(patience_s):
                    end = await _end_of(leg, nursery, self.random.random())
                if not end:
                    await leg.hang_up()
                    end = await _end_of(leg)
                nursery.cancel_scope.cancel()
            self.result.victims[end] += 1

    def _send_one(self, carrier_port: int) -> None:
        rng = self.random
        kind = rng.choices(
            ("worker_dialog", "worker", "carrier", "media_rtp", "media_rtcp", "carrier_rtp"), (30, 15, 25, 15, 5, 10)
        )[0]
        self.result.frames[kind] += 1
        if kind == "worker_dialog":
            self.far_end.speak()
            return
        sock = rng.choice(self.strangers)
        if kind in ("worker", "carrier"):
            port = carrier_port if kind == "carrier" else rng.choice(self.sip_ports)
            data = self._strangers_message(port)
        else:
            ports = self.carrier_rtp_ports if kind == "carrier_rtp" else self.rtp_ports
            port = rng.choice(ports) + (kind == "media_rtcp")
            ssrc = rng.getrandbits(32)
            made = rtcp_frames(ssrc, 1) if kind == "media_rtcp" else rtp_frames(rng.getrandbits(16), 5, ssrc)
            data = self.mutator.mutate(rng.choice(made), rng.choice(made))
        with contextlib.suppress(ConnectionRefusedError):
            sock.sendto(data, ("127.0.0.1", port))

    def _strangers_message(self, port: int) -> bytes:
        rng = self.random
        one = f"{rng.getrandbits(40):x}"
        dialog = Dialog(
            call_id=one,
            local=f"<sip:attack@127.0.0.1>;tag={one}",
            remote=f"<sip:{BUSY}@127.0.0.1:{port}>" + rng.choice(("", ";tag=nobody")),
            target=f"sip:{BUSY}@127.0.0.1:{port}",
        )
        made = self.mutator.request(dialog) if rng.random() < 0.8 else self.mutator.response(dialog)
        return self.mutator.damage(made, self.far_end.last) if rng.random() < 0.9 else made

    def _note_deaths(self, ports: dict[int, int]) -> None:
        """Keep what a worker heard before it fell: its last calls, oldest first."""
        if self.deaths is None:
            return
        for pid in [pid for pid in ports if not _says(pid)]:
            port = ports.pop(pid)
            told = [data for to, data in self.far_end.sent if to == port][-40:]
            self.deaths.mkdir(exist_ok=True)
            (self.deaths / f"worker-{pid}.txt").write_bytes(b"\n=====\n".join(told))

    async def _settle(self, telephony: TelephonyClient) -> None:
        """Wait until only the live calls hold slots; the far end goes on answering BYE."""
        began_s = time.monotonic()
        with trio.move_on_after(SLOTS_FREE_LIMIT_S):
            while telephony.in_use > LIVE_CALLS - len(self.result.live_ended):
                self.far_end.take_in()
                await trio.sleep(0.02)
        self.result.slots_free_after_s = round(time.monotonic() - began_s, 1)

    async def _use_all_slots(self, telephony: TelephonyClient, port: int) -> None:
        """Every slot that is not a live call's takes a call at the same time."""
        legs = []
        with trio.move_on_after(SLOTS_FREE_LIMIT_S):
            while len(legs) < LEGS - LIVE_CALLS:
                try:
                    number = number_for(100 + len(legs)).lstrip("+")
                    legs.append(await telephony.place_call(a_call(f"sip:{number}@127.0.0.1:{port}", no_answer_s=60.0)))
                except TelephonyError:
                    # The stack's own slot outlives the leg while a BYE is unanswered.
                    self.far_end.take_in()
                    await trio.sleep(0.1)
            for leg in legs:
                async for event in leg.events:
                    if isinstance(event, LegAnswered):
                        self.result.slots_usable += 1
                        break
        for leg in legs:
            await leg.hang_up()


async def _end_of(leg: WorkerLeg, nursery: trio.Nursery | None = None, chance: float = 1.0) -> str:
    """With a nursery something is asked of the far end once it has answered: ``chance``, 0..1, says what."""
    async for event in leg.events:
        if isinstance(event, LegEnded):
            return f"{event.ended_by} {event.sip_status}"
        if isinstance(event, LegLost):
            return "worker lost"
        if isinstance(event, LegAnswered) and nursery is not None:
            if chance < 0.4:
                nursery.start_soon(leg.redirect, "127.0.0.1", 40000)
            elif chance < 0.6:
                nursery.start_soon(leg.refer, "sip:elsewhere@127.0.0.1:9")
    return "worker lost"


def _says(pid: int) -> bytes:
    """Its command line: empty of a zombie."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def udp_ports_of(pids) -> list[int]:
    """Local ports of the UDP sockets that these processes hold (proc(5))."""
    inodes = set()
    for pid in pids:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if (found := re.fullmatch(r"socket:\[(\d+)\]", os.readlink(entry))) is not None:
                    inodes.add(found[1])
    ports = []
    for line in Path("/proc/net/udp").read_text(encoding="ascii").splitlines()[1:]:
        fields = line.split()
        if fields[9] in inodes:
            ports.append(struct.unpack("!H", bytes.fromhex(fields[1].rpartition(":")[2]))[0])
    return ports


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--deaths", type=Path, metavar="FOLDER", help="what each worker that fell was told last")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fuzz = Fuzz(Path(folder), options.seed, options.deaths)
        found = asdict(trio.run(fuzz.run, options.frames))
        lines = (Path(folder) / "pool.log").read_text(errors="replace").splitlines()
    found["frames"], found["victims"] = dict(fuzz.result.frames), dict(fuzz.result.victims)
    for name, value in found.items():
        print(f"{name:20s} {value}")
    if fuzz.result.workers_died or fuzz.result.tracebacks:
        deaths = [place for place, line in enumerate(lines) if DEATH.search(line)]
        print(*(line for place in deaths for line in lines[max(0, place - 12) : place + 2]), sep="\n")
    if options.json is not None:
        options.json.write_text(json.dumps(found), encoding="utf-8")
    result = fuzz.result
    sound = not (result.workers_died or result.live_ended or result.tracebacks) and result.legs_left == LIVE_CALLS
    return 0 if sound and fuzz.result.slots_usable == LEGS - LIVE_CALLS else 1


if __name__ == "__main__":
    sys.exit(main())
