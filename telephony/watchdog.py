"""Finds servers that live and do nothing, where no service manager watches them: the limits are those of the units.

A media server is told by what the daemon hears of it (each says something every `contract.HEARTBEAT_S`), not by a file
that it touches: a disk that stalls must not hold up its ticks. The parent of the SIP workers has no connection to the
daemon and can wait for a disk: its sign of life is the time of a file. It watches the workers itself.
"""

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from telephony.launcher import POOL, media_part, server_processes
from telephony.procs import ProcessIdentity, SignOfLife

MEDIA_HUNG_S: Final = 6.0
"""Three heartbeats. The people on its calls wait no longer than the 15 s within which they can be heard again."""
POOL_HUNG_S: Final = 20.0
STOOD_STILL_S: Final = 3.0
"""Three times what lies between two looks: whoever looks was not allowed to run, nor perhaps anybody else."""


class Patience:
    """
    Whether silence may be judged. Not for ``limit_s`` after who looks has stood still himself: then the whole machine
    may have (a snapshot, a migration), and the others had no more time to give a sign than he to look for one. Pure.
    """

    def __init__(self, limit_s: float, stood_still_s: float, now_s: float) -> None:
        self._limit_s = limit_s
        self._stood_still_s = stood_still_s
        self._looked_s = self._until_s = now_s

    def is_over(self, now_s: float) -> bool:
        """Asked at every look, whose times it compares."""
        if now_s - self._looked_s > self._stood_still_s:
            self._until_s = now_s + self._limit_s
        self._looked_s = now_s
        return now_s >= self._until_s


def pool_sign(run_dir: Path) -> SignOfLife:
    """Of the parent of the SIP workers that serves a run folder."""
    return SignOfLife(run_dir / f"{POOL}.alive")


class Watchdog:
    """Of the servers that `launcher.ensure_running` started for a run folder. Times are monotonic seconds."""

    def __init__(self, run_dir: Path, now_s: float) -> None:
        self._run_dir = run_dir
        self._pool_patience = Patience(POOL_HUNG_S, STOOD_STILL_S, now_s)
        self._media_patience = Patience(MEDIA_HUNG_S, STOOD_STILL_S, now_s)
        self._since: dict[ProcessIdentity, float] = {}

    def kill_hung(self, now_s: float, media_silent_s: Mapping[int, float]) -> dict[str, float]:
        """
        SIGKILL to every server that gave no sign of life for its limit, those known for less than that excepted.

        Args:
            media_silent_s: of each media server by its number, for how long nothing has come from it although it
                listens; see `media_pool.MediaPool.silent_s_by_server`.

        Returns:
            the silence of those killed (s), by part.
        """
        found = server_processes(self._run_dir)
        self._since = {one: self._since.get(one, now_s) for one in found.values()}
        limits_s: dict[str, float] = {}
        silent_s: dict[str, float] = {}
        if self._pool_patience.is_over(now_s):
            limits_s[POOL], silent_s[POOL] = POOL_HUNG_S, pool_sign(self._run_dir).silent_s(now_s)
        if self._media_patience.is_over(now_s):
            for number, each_s in media_silent_s.items():
                limits_s[media_part(number)], silent_s[media_part(number)] = MEDIA_HUNG_S, each_s
        killed = {}
        for name in found.keys() & limits_s.keys():
            each_s = min(silent_s[name], now_s - self._since[found[name]])
            if each_s > limits_s[name] and found[name].send_signal(signal.SIGKILL):
                killed[name] = each_s
        return killed
