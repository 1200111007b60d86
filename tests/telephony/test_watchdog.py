"""Servers that live and do nothing, where the daemon started them itself."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trio

from telephony import link, media_client
from telephony.launcher import ensure_running, server_pids, stop
from telephony.media_pool import open_media_servers
from telephony.procs import ProcessIdentity, SignOfLife
from telephony.watchdog import MEDIA_HUNG_S, POOL_HUNG_S, STOOD_STILL_S, Patience, Watchdog, pool_sign
from tests.ports import free_ports

HANG_LIMIT_S = 30.0


@contextmanager
def server(run_dir: Path, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that the launcher would take for a server it has started."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        identity = ProcessIdentity.of(process.pid)
        assert identity is not None
        (run_dir / f"{name}.pid").write_text(identity.text)
        try:
            yield process
        finally:
            process.kill()


def look(watchdog: Watchdog, from_s: float, until_s: float, silent_s=lambda _now_s: {}) -> dict[str, float]:
    """As the daemon does, every second of a time that passes quickly; ends with the first that it kills."""
    while from_s < until_s:
        if killed := watchdog.kill_hung(from_s, silent_s(from_s)):
            return killed
        from_s += 1.0
    return {}


def test_given_a_look_every_second_when_none_is_late_then_silence_may_be_judged():
    patience = Patience(6.0, 3.0, 100.0)

    assert all(patience.is_over(100.0 + second) for second in range(10))


def test_given_who_looks_when_he_stood_still_himself_then_everybody_gets_the_whole_limit_anew():
    patience = Patience(6.0, 3.0, 100.0)

    assert not patience.is_over(103.1)
    assert [patience.is_over(second) for second in (105.0, 107.0, 109.0, 109.1)] == [False, False, False, True]


def test_given_a_media_server_that_says_nothing_when_its_limit_is_over_then_it_is_killed_and_the_others_are_not(
    tmp_path,
):
    with server(tmp_path, "media-0") as hung, server(tmp_path, "media-1") as well:
        watchdog = Watchdog(tmp_path, 100.0)

        def silent(now_s: float) -> dict[int, float]:
            return {0: now_s - 100.0, 1: 1.9}

        assert look(watchdog, 100.0, 100.0 + MEDIA_HUNG_S + 0.5, silent) == {}
        killed = look(watchdog, 100.0 + MEDIA_HUNG_S + 0.6, 108.0, silent)

        assert killed.keys() == {"media-0"}
        assert hung.wait(HANG_LIMIT_S) == -signal.SIGKILL
        assert well.poll() is None


def test_given_a_daemon_that_stood_still_when_it_goes_on_then_no_server_is_killed_for_what_it_did_not_hear(tmp_path):
    with server(tmp_path, "media-0") as process:
        watchdog = Watchdog(tmp_path, 100.0)
        look(watchdog, 100.0, 120.0)
        late_s = 120.0 + STOOD_STILL_S + 2.0

        assert watchdog.kill_hung(late_s, {0: late_s - 118.0}) == {}
        assert look(watchdog, late_s, late_s + MEDIA_HUNG_S, lambda now_s: {0: now_s - 118.0}) == {}
        assert process.poll() is None
        assert look(watchdog, late_s + MEDIA_HUNG_S, late_s + 10.0, lambda now_s: {0: now_s - 118.0})


def test_given_a_new_server_in_the_place_of_a_hung_one_when_looked_at_then_it_has_its_whole_limit(tmp_path):
    watchdog = Watchdog(tmp_path, 100.0)
    with server(tmp_path, "media-0"):
        assert look(watchdog, 100.0, 120.0, lambda now_s: {0: now_s - 90.0})
    with server(tmp_path, "media-0") as fresh:
        assert look(watchdog, 108.0, 108.0 + MEDIA_HUNG_S, lambda now_s: {0: now_s - 90.0}) == {}
        assert fresh.poll() is None


def test_given_a_parent_of_workers_without_a_sign_of_life_when_its_limit_is_over_then_it_is_killed(tmp_path):
    with server(tmp_path, "telephony") as process:
        pool_sign(tmp_path).give(100.0)
        watchdog = Watchdog(tmp_path, 100.0)

        assert look(watchdog, 100.0, 100.0 + POOL_HUNG_S + 0.5) == {}
        assert look(watchdog, 100.0 + POOL_HUNG_S + 0.6, 130.0).keys() == {"telephony"}
        assert process.wait(HANG_LIMIT_S) == -signal.SIGKILL


def test_given_a_parent_of_a_release_without_signs_when_looked_at_then_it_is_left_alone(tmp_path):
    with server(tmp_path, "telephony") as process:
        assert look(Watchdog(tmp_path, 100.0), 100.0, 200.0) == {}
        assert process.poll() is None


def test_given_a_sign_of_life_when_read_then_its_age_is_told_and_none_is_no_silence(tmp_path):
    sign = SignOfLife(tmp_path / "alive")
    assert sign.silent_s(1000.0) == 0.0
    sign.give(990.0)
    assert sign.silent_s(1000.0) == 10.0
    sign.give(1000.0)
    assert sign.silent_s(1000.0) == 0.0


async def test_given_a_media_server_that_is_stopped_when_asked_then_its_silence_grows_with_its_connection_and_without(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(link, "SILENCE_LIMIT_S", 2.5)
    monkeypatch.setattr(link, "CONNECT_LIMIT_S", 0.5)
    ensure_running(tmp_path, legs=1, rtp_ports=free_ports(8))
    try:
        with trio.fail_after(HANG_LIMIT_S):
            async with open_media_servers(tmp_path) as pool:
                assert pool.silent_s_by_server()[0] < media_client.RESPONDS_WITHIN_S
                os.kill(server_pids(tmp_path)["media-0"], signal.SIGSTOP)
                while pool.servers_connected:  # noqa: ASYNC110
                    await trio.sleep(0.02)
                assert pool.silent_s_by_server()[0] > link.SILENCE_LIMIT_S
                while pool.silent_s_by_server()[0] <= MEDIA_HUNG_S:  # noqa: ASYNC110 - it listens, and says nothing
                    await trio.sleep(0.02)

                os.kill(server_pids(tmp_path)["media-0"], signal.SIGKILL)
                while pool.silent_s_by_server().get(0, 0.0) > 1.5:  # noqa: ASYNC110 - nobody listens: that is no silence
                    await trio.sleep(0.02)
    finally:
        stop(tmp_path)
