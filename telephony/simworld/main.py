"""``ocsd-simworld``: the simulated carrier, the agents' phones and the agents' desktops in one process.

    ocsd-simworld --agents 20 --desktop-url ws://127.0.0.1:8081/desktop --seed 7 --truth truth.jsonl

Only loopback addresses are used. SIGTERM or SIGINT: every call is hung up, the logs are complete, a summary (JSON) is
printed. Carrier and agents can run as two processes (``--agents 0`` and ``--no-carrier``) with the same seed.
"""

import argparse
import gc
import json
import os
import resource
import signal
import sys
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

# One matrix product a second and leg is small: a second BLAS thread would only take the other core's time.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import trio

from telephony.simworld import sound
from telephony.simworld.carrier import Carrier
from telephony.simworld.desks import Desks
from telephony.simworld.desktop import Habits
from telephony.simworld.digest import DigestGuard
from telephony.simworld.endpoint import Clockwork, SipApplication, SipSocket, bind_sip, token_source
from telephony.simworld.media import MediaEngine
from telephony.simworld.phones import Phones
from telephony.simworld.plan import MIXES, Behaviour, Mix, NumberClass, Script, ScriptError, parse_mix, parse_script
from telephony.simworld.registration import Registrations
from telephony.simworld.sip import Uas
from telephony.simworld.truth import TruthLog

HOST = "127.0.0.1"
REGISTRATION_LIMIT_S = 5.0
"""Agents log in only then: a phone that is not registered cannot be called."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(
        prog="ocsd-simworld",
        description="Simulated carrier and agents for demo, tests and rehearsal; SIP, RTP and WebSocket on loopback.",
        epilog=f"classes of numbers: {', '.join(NumberClass)}",
    )
    carrier = p.add_argument_group("carrier")
    carrier.add_argument("--no-carrier", action="store_true", help="run agents only")
    carrier.add_argument("--carrier-port", type=int, default=0, metavar="PORT", help="SIP port; 0: any free one")
    carrier.add_argument("--seed", type=int, default=1, help="decides what every number does")
    carrier.add_argument("--mix", default="demo", help=f"{', '.join(MIXES)}, or a TOML or JSON file with a table [mix]")
    carrier.add_argument(
        "--script", type=Path, metavar="FILE", help="TOML or JSON with [[numbers]]: digits, class, ..."
    )
    carrier.add_argument("--ring-scale", type=_positive, default=1.0, help="multiplies ring times (mean 10 s)")
    carrier.add_argument(
        "--patience-s", type=_positive, default=7.0, help="how long an answered person waits for a voice"
    )
    carrier.add_argument("--customer-ends-share", type=_share, default=0.15, help="people who end the talk themselves")
    carrier.add_argument("--impaired", action="store_true", help="lines differ in level, noise, lost and late packets")
    carrier.add_argument("--max-calls", type=int, default=500, help="more calls get 503")
    carrier.add_argument("--username", default="", help="challenge INVITEs (407) and accept only this user")
    carrier.add_argument("--password", default="")
    carrier.add_argument("--truth", type=Path, metavar="FILE", help="JSON lines, one per call")
    agents = p.add_argument_group("agents")
    agents.add_argument("--agents", type=int, default=0, metavar="N", help="agents agent1..agentN, extensions 1001...")
    agents.add_argument("--agent-prefix", default="agent")
    agents.add_argument("--first-extension", type=int, default=1001)
    agents.add_argument("--phones-port", type=int, default=0, metavar="PORT", help="SIP port; 0: any free one")
    agents.add_argument(
        "--registrar", type=_address, metavar="HOST:PORT", help="proxy at which the phones register by digest"
    )
    agents.add_argument("--phone-password", default="", help="of every phone; its user name is the extension")
    agents.add_argument("--phones-truth", type=Path, metavar="FILE", help="JSON lines, one per call of a phone")
    agents.add_argument("--desktop-url", default="", help="ws://host:port/desktop; without it phones only")
    agents.add_argument("--agent-log", type=Path, metavar="FILE", help="JSON lines, one per change of an agent's state")
    agents.add_argument("--talk-mean-s", type=_positive, default=150.0)
    agents.add_argument("--talk-cv", type=_positive, default=0.8)
    agents.add_argument("--wrap-mean-s", type=_positive, default=30.0)
    agents.add_argument("--wrap-cv", type=_positive, default=0.6)
    agents.add_argument("--correct-share", type=_share, default=0.0, help="talks reported as result 53, wrong number")
    p.add_argument(
        "--wire-log", type=Path, metavar="FILE", help="JSON lines, one per SIP or desktop message sent or received"
    )
    p.add_argument("--ready-file", type=Path, metavar="FILE", help="written (JSON with ports) once everything listens")
    return p


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise argparse.ArgumentTypeError(f"{text} is not HOST:PORT")
    return host, int(port)


def load_file(path: Path) -> object:
    """A TOML or JSON file (by its suffix). Raises ScriptError."""
    try:
        text = path.read_text(encoding="utf-8")
        return tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except (OSError, ValueError) as error:
        raise ScriptError(f"{path}: {error}") from error


def load_mix(name: str) -> Mix:
    """A mix of `MIXES` by name, or a file. Raises ScriptError."""
    return MIXES[name] if name in MIXES else parse_mix(load_file(Path(name)))


@dataclass(slots=True)
class World:
    """The parts that run; `summary` is what is printed at the end."""

    engine: MediaEngine
    clockwork: Clockwork
    parts: list[tuple[SipSocket, SipApplication]]
    carrier: Carrier | None
    phones: Phones | None
    desks: Desks | None
    registrations: Registrations | None = None

    def summary(self) -> Mapping[str, object]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        out: dict[str, object] = {
            "cpu_s": round(usage.ru_utime + usage.ru_stime, 2),
            "tick_late_max_ms": round(self.clockwork.late_max_s * 1000, 1),
            "skipped_ticks": self.clockwork.skipped_ticks,
            "rtp_dropped": dict(self.engine.dropped),
        }
        if self.carrier is not None:
            out["calls_by_class"] = dict(sorted(self.carrier.ended_by_class.items()))
            out["carrier_sip"] = dict(self.carrier.uas.counters)
        if self.phones is not None:
            out["agent_calls"] = self.phones.answered
            out["phones_sip"] = dict(self.phones.uas.counters)
        if self.desks is not None:
            out["conversations"] = sum(d.conversations for d in self.desks.desks)
            out["resumed"] = sum(d.resumed for d in self.desks.desks)
            out["reconnections"] = self.desks.reconnections
            out["desktop_errors"] = [e for d in self.desks.desks for e in d.errors][:20]
        return out


async def build(options: argparse.Namespace, stack: ExitStack) -> World:
    """Bind the ports and make the parts; everything opened is closed by ``stack``. Raises OSError, ScriptError."""
    mix = load_mix(options.mix)
    script = parse_script(load_file(options.script)) if options.script is not None else Script()
    sound.preload()
    engine = MediaEngine(HOST, max_legs=options.max_calls + options.agents + 8, seed=options.seed)
    stack.callback(engine.close)
    parts: list[tuple[SipSocket, SipApplication]] = []
    wire = stack.enter_context(TruthLog(options.wire_log)) if options.wire_log is not None else None

    async def user_agent(port: int, guard: DigestGuard | None, product: str) -> tuple[SipSocket, Uas]:
        sip_socket = await bind_sip(HOST, port, wire)
        stack.callback(sip_socket.close)
        return sip_socket, Uas(HOST, sip_socket.port, token_source(), guard, product)

    carrier = phones = desks = registrations = None
    if not options.no_carrier:
        behaviour = Behaviour(
            ring_scale=options.ring_scale,
            talk_mean_s=options.talk_mean_s,
            talk_cv=options.talk_cv,
            customer_ends_share=options.customer_ends_share,
            patience_mean_s=options.patience_s,
            impaired=options.impaired,
        )
        guard = DigestGuard(options.username, options.password) if options.username else None
        sip_socket, uas = await user_agent(options.carrier_port, guard, "simworld-carrier")
        truth = stack.enter_context(TruthLog(options.truth))
        carrier = Carrier(uas, engine, options.seed, mix, behaviour, truth, script, options.max_calls)
        parts.append((sip_socket, carrier))
    if options.agents:
        first = options.first_extension
        extensions = frozenset(str(first + i) for i in range(options.agents))
        sip_socket, uas = await user_agent(options.phones_port, None, "simworld-phone")
        truth = stack.enter_context(TruthLog(options.phones_truth))
        phones = Phones(uas, engine, extensions, options.seed, truth)
        parts.append((sip_socket, phones))
        if options.registrar is not None:
            contact = (HOST, sip_socket.port)
            registrations = Registrations(sorted(extensions), options.registrar, contact, options.phone_password)
        if options.desktop_url:
            habits = Habits(
                options.talk_mean_s, options.talk_cv, options.wrap_mean_s, options.wrap_cv, options.correct_share
            )
            log = stack.enter_context(TruthLog(options.agent_log))
            try:
                desks = Desks(
                    options.desktop_url, options.agents, habits, options.seed, log, options.agent_prefix, wire
                )
            except ValueError as error:
                raise ScriptError(str(error)) from error
    return World(engine, Clockwork(engine, parts), parts, carrier, phones, desks, registrations)


async def run(options: argparse.Namespace) -> Mapping[str, object]:
    """Run until SIGTERM or SIGINT; return the summary."""
    with ExitStack() as stack, trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        world = await build(options, stack)
        async with trio.open_nursery() as nursery:
            for sip_socket, application in world.parts:
                nursery.start_soon(sip_socket.serve, application)
            nursery.start_soon(world.clockwork.run)
            if world.registrations is not None:
                await nursery.start(world.registrations.run)
                with trio.move_on_after(REGISTRATION_LIMIT_S):
                    await world.registrations.all_held()
            if world.desks is not None:
                nursery.start_soon(world.desks.run)
            if options.ready_file is not None:
                _write_ready(options.ready_file, world)
            gc.freeze()  # clips and tables live for ever; a full collection over them would delay a tick
            await anext(aiter(signals))
            registered = world.registrations.held if world.registrations is not None else 0
            if world.desks is not None:
                await world.desks.log_out()
            if world.registrations is not None:
                await world.registrations.leave()
            await world.clockwork.wind_down()
            nursery.cancel_scope.cancel()
        return {**world.summary(), "registered": registered}


def _write_ready(path: Path, world: World) -> None:
    """Atomically, so that who waits for the file never reads half of it."""
    ports: dict[str, int] = {"pid": os.getpid()}
    for sip_socket, application in world.parts:
        ports["carrier_port" if isinstance(application, Carrier) else "phones_port"] = sip_socket.port
    half = path.with_name(path.name + ".part")
    half.write_text(json.dumps(ports), encoding="utf-8")
    half.replace(path)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``ocsd-simworld``; 2 for a wrong option or file, 1 when a port is taken."""
    options = parser().parse_args(argv)
    if options.no_carrier and not options.agents:
        parser().error("--no-carrier without --agents leaves nothing to run")
    if options.desktop_url and not options.agents:
        parser().error("--desktop-url needs --agents")
    if min(options.agents, options.max_calls - 1) < 0:
        parser().error("--agents must be at least 0 and --max-calls at least 1")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # two sockets a call
    try:
        summary = trio.run(run, options)
    except ScriptError as error:
        sys.stderr.write(f"ocsd-simworld: {error}\n")
        return 2
    except OSError as error:
        sys.stderr.write(f"ocsd-simworld: {error}\n")
        return 1
    sys.stdout.write(json.dumps(summary) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
