"""Whether the machine keeps up: lateness of the daemon's event loop and of the media server's ticks, as a log line."""

import statistics

import structlog
import trio

from telephony.api import Media, MediaLost, Telephony

log = structlog.get_logger()

SAMPLE_S = 0.05
"""An event that arrives waits on average as long as this sleep overshoots."""

REPORT_S = 10.0
STATS_LIMIT_S = 2.0


async def report_load(telephony: Telephony, media: Media) -> None:
    """Log ``daemon.load`` every `REPORT_S` until cancelled. Times in ms; the media server's cover its last 20 s."""
    late_ms: list[float] = []
    while True:
        due_s = trio.current_time() + SAMPLE_S
        await trio.sleep_until(due_s)
        late_ms.append(1000.0 * max(0.0, trio.current_time() - due_s))
        if len(late_ms) * SAMPLE_S < REPORT_S:
            continue
        await _report(sorted(late_ms), telephony, media)
        late_ms.clear()


async def _report(late_ms: list[float], telephony: Telephony, media: Media) -> None:
    figures: dict[str, float] = {
        "loop_late_p50_ms": round(statistics.median(late_ms), 2),
        "loop_late_p99_ms": round(late_ms[int(0.99 * len(late_ms))], 2),
        "loop_late_max_ms": round(late_ms[-1], 2),
        "legs": telephony.in_use,
    }
    with trio.move_on_after(STATS_LIMIT_S):
        try:
            stats = await media.stats()
        except MediaLost:
            pass  # its own log line tells
        else:
            figures |= {
                "channels": stats.channels,
                "analysing": stats.analysing,
                "bridged": stats.bridged,
                "tick_late_p50_ms": round(stats.tick_late_p50_ms, 2),
                "tick_late_p99_ms": round(stats.tick_late_p99_ms, 2),
                "tick_work_p50_ms": round(stats.tick_work_p50_ms, 2),
                "tick_work_p99_ms": round(stats.tick_work_p99_ms, 2),
                "media_cpu_s": round(stats.cpu_s, 2),
            }
    log.info("daemon.load", **figures)
