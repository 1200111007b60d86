"""The services as their units start them: ready, watched, killed, hung, reloaded and started again, with a call."""

import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import trio

from ocsd.demo.options import DemoOptions
from ocsd.demo.world import write_configuration
from telephony.client import TelephonyClient, open_telephony
from telephony.contract import LegAnswered, LegEnded
from telephony.media_pool import open_media_servers
from telephony.procs import ProcessIdentity
from tests.e2e.service_manager import Service
from tests.ports import free_port, free_ports
from tests.telephony.sipp_peer import sipp_uas
from tests.telephony.test_workers_with_sipp import a_call, event_of, events_until_end

pytestmark = pytest.mark.e2e

LIMIT_S = 60.0


@pytest.fixture
def folder() -> Iterator[Path]:
    """As a root folder, that the account of PostgreSQL may enter."""
    with TemporaryDirectory(prefix="ocsd-units-") as name:
        place = Path(name)
        place.chmod(0o755)
        for part in ("run/ocsd", "var/lib/ocsd/recordings", "etc/ocsd"):
            (place / part).mkdir(parents=True)
        for part in ("var", "var/lib", "var/lib/ocsd"):
            (place / part).chmod(0o755)
        yield place


@pytest.fixture
def services(folder: Path) -> Iterator[dict[str, Service]]:
    """Stopped in the order in which systemd would: the daemon first, the audio last."""
    first, last = free_ports(80)
    environment = {"OCSD_RTP_PORTS": f"{first}-{last}", "OCSD_MAX_LEGS": "8", "OCSD_MEDIA_CAPACITY": "20"}
    config = folder / "etc/ocsd/ocsd.toml"
    write_configuration(
        config, DemoOptions(agents=1), data_dir=folder / "var/lib/ocsd", http_port=free_port(),
        desktop_port=free_port(), carrier_port=free_port(), phones_port=free_port(), legal_window=False,
    )  # fmt: skip
    text = re.sub(r"max_legs = \d+", "max_legs = 8", config.read_text())
    plane = f'[telephony]\nembedded = false\nrun_dir = "{folder}/run/ocsd"\n'
    config.write_text(text.replace("[telephony]\n", plane))
    with ExitStack() as stack:
        found = {
            "media": Service("ocsd-media@.service", folder, environment, instance="0"),
            "telephony": Service("ocsd-telephony.service", folder, environment),
            "daemon": Service("ocsd.service", folder, environment),
        }
        for service in found.values():
            stack.callback(service.close)
        yield found
    for lock in (folder / "run/ocsd").glob("worker-*.lock"):  # of a parent that ended without its workers
        if (holder := ProcessIdentity.read(lock)) is not None:
            holder.send_signal(signal.SIGKILL)


def workers(folder: Path) -> set[int]:
    found = [ProcessIdentity.read(lock) for lock in (folder / "run/ocsd").glob("worker-*.lock")]
    return {one.pid for one in found if one is not None and one.alive}


async def until(true) -> None:
    with trio.fail_after(LIMIT_S):
        while not true():  # noqa: ASYNC110
            await trio.sleep(0.02)


async def placed(telephony: TelephonyClient, uri: str):
    leg = await telephony.place_call(a_call(uri))
    await event_of(leg, LegAnswered)
    return leg


async def test_given_the_plane_as_its_units_start_it_when_each_is_killed_or_hangs_then_it_is_back_and_the_call_lives(
    folder, services, tmp_path
):
    media, pool = services["media"], services["telephony"]
    media.start()
    pool.start()
    run_dir = folder / "run/ocsd"
    with sipp_uas("answer", tmp_path) as peer:
        async with open_telephony(run_dir) as telephony, open_media_servers(run_dir) as servers:
            await until(lambda: telephony.capacity == 8 and servers.servers_connected == 1)
            leg = await placed(telephony, peer.uri())
            channel = await servers.open_channel("kept")
            port, before = channel.port, workers(folder)

            assert pool.kill(signal.SIGKILL) == -signal.SIGKILL
            assert workers(folder) == before, "they are not the unit's to kill"
            await trio.to_thread.run_sync(pool.restart)
            assert workers(folder) == before, "the next parent takes them as they are"

            media.process.send_signal(signal.SIGSTOP)
            silent_s = await trio.to_thread.run_sync(media.watch)
            assert silent_s >= media.watchdog_s
            await trio.to_thread.run_sync(media.restart)
            await until(lambda: servers.servers_connected == 1)
            await until(channel.opened.is_set)
            assert (channel.port, channel.ended) == (port, False), "its call is heard again where it was"

            pool.reload()
            await until(lambda: len(workers(folder) & before) == 1 and telephony.capacity == 8)
            await leg.hang_up("done")
            ended = (await events_until_end(leg))[-1]
            await channel.close()
            await until(lambda: not workers(folder) & before)

            media.reload()
            await until(lambda: media.process.poll() == 0)
            await trio.to_thread.run_sync(media.restart)
            await until(lambda: servers.servers_connected == 1)
    assert isinstance(ended, LegEnded)
    assert (ended.ended_by, ended.sip_status) == ("local", 200)
    assert pool.kill(signal.SIGTERM) == 0
    assert workers(folder) == set(), "a stop of the unit takes them along"
    assert media.kill(signal.SIGTERM) == 0


def test_given_all_units_when_the_daemon_is_reloaded_killed_and_stopped_then_it_says_so_and_the_plane_stays(
    folder, services
):
    for service in services.values():
        service.start()
    daemon = services["daemon"]
    plane = {name: services[name].pid for name in ("media", "telephony")}

    daemon.until(lambda: "WATCHDOG=1" in daemon.said)
    daemon.reload()
    daemon.until(lambda: daemon.said.count("READY=1") == 2)
    assert any(line.startswith("MONOTONIC_USEC=") for line in daemon.said)
    assert daemon.kill(signal.SIGKILL) == -signal.SIGKILL
    daemon.restart()
    assert daemon.log.count('"daemon.ready"') == 2
    assert daemon.kill(signal.SIGTERM) == 0

    assert {name: services[name].pid for name in plane} == plane
    assert all(services[name].process.poll() is None for name in plane), "nobody's end but its own"
    assert "Traceback" not in daemon.log
