"""
The daemon: brings the parts up in order, owns the nursery tree, and takes them down from the inside out.

    services        list store, telephony clients, HTTP and desktop listeners, watchdog
      sessions      one nursery per campaign group
        attempts    one task per attempt

A stop (SIGTERM, SIGINT) lets nothing new begin and waits a while for what rings or is under analysis to take its
course; then it hangs up calls that are no conversations and writes their results. What is a conversation stays up in
the SIP workers and the media server; the next start adopts it, and goes on dialing.
"""

import fcntl
import gc
import os
import resource
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import psycopg
import sdnotify
import structlog
import trio

from ocsd.config.cpa_options import CPD_RECORDING_RETENTION
from ocsd.config.loader import load_configuration
from ocsd.config.objects import Configuration
from ocsd.config.options import HTTP_CONNECTION_POOL_SIZE, lookup
from ocsd.config.reload import merge
from ocsd.delivery import deliver
from ocsd.dnc.service import open_dnc
from ocsd.http.answers import Services
from ocsd.http.desktops import serve_desktops
from ocsd.http.server import serve_http
from ocsd.lists.embedded import EmbeddedPostgres, data_folder
from ocsd.lists.migrate import migrate
from ocsd.lists.outbox import Outbox
from ocsd.lists.pacing_memory import load_learnt, save_learnt
from ocsd.lists.pool import Database, connection_string
from ocsd.lists.postgres import open_store
from ocsd.lists.recordings import RecordingRows
from ocsd.lists.retention import Journal, kept_for
from ocsd.lists.session_memory import SessionRow, load_sessions, save_session
from ocsd.lists.streams import StreamRows
from ocsd.lists.tables import create_table, table_differences
from ocsd.lists.upkeep import keep_tidy
from ocsd.load import report_load
from ocsd.log import configure_logging
from ocsd.model.enums import DialMode, GroupCampStatus, OptimizeBy, RecordType
from ocsd.model.errors import ConfigError
from ocsd.model.records import TypePriority
from ocsd.recording_check import keep_agreeing
from ocsd.recordings import keep_retention
from ocsd.rules.checks import preset_problems
from ocsd.sessions.campaigns import Campaigns
from ocsd.sessions.clock import SystemClock
from ocsd.sessions.desks import Desks
from ocsd.sessions.dnc_news import obey_news
from ocsd.sessions.explaining import Explaining
from ocsd.sessions.group import DialSettings
from ocsd.sessions.pacing_keeping import JOURNAL_FOLDER, PacingKeeping
from ocsd.sessions.record_control import RecordControl
from ocsd.sessions.recovery import recover
from ocsd.streams import StreamKeeping
from ocsd.validation import open_validator
from telephony import launcher
from telephony.client import open_telephony
from telephony.media_pool import MediaPool, open_media_servers
from telephony.notify import service_notifier
from telephony.watchdog import Watchdog

log = structlog.get_logger()

GRACE_S = 30.0
"""On a stop: how long calls under way may take their course, so that each gets its own result: the usual ring limit
and the analysis after it. A second SIGTERM or SIGINT cuts it short."""

DRAIN_LIMIT_S = 10.0
"""After that: how long the rest may take to be hung up and their results to be written."""

OTHER_FILES = 512
"""Open files besides connections of clients: database, workers' sockets, mapped registries, logs."""

SWITCH_INTERVAL_S = 0.0005

FULL_COLLECTION_EVERY = 50
"""Collections of the middle generation between two full ones (gc.set_threshold; the interpreter's own value is 10)."""

SERVERS_CHECK_S = 1.0
SERVERS_LIMIT_S = 30.0
"""Longest wait for SIP workers and media servers to listen."""


@dataclass(frozen=True, slots=True)
class DatabaseMemory:
    """SessionMemory in PostgreSQL."""

    database: Database

    async def remember(self, dbid: int, status: GroupCampStatus, settings: DialSettings) -> None:
        row = SessionRow(
            dbid,
            int(status),
            int(settings.dial_mode),
            int(settings.optimize_by),
            settings.optimize_goal,
            settings.auto_completion,
            tuple((int(e.record_type), e.priority, e.n_records) for e in settings.priorities),
        )
        await save_session(self.database, row)

    async def recall(self) -> dict[int, tuple[GroupCampStatus, DialSettings]]:
        return {
            row.campaign_group_dbid: (
                GroupCampStatus(row.status),
                DialSettings(
                    DialMode(row.dial_mode),
                    OptimizeBy(row.optimize_by),
                    row.optimize_goal,
                    row.auto_completion,
                    tuple(TypePriority(RecordType(kind), *figures) for kind, *figures in row.dialing_priority),
                ),
            )
            for row in await load_sessions(self.database)
        }


@dataclass(frozen=True, slots=True)
class DatabasePacingMemory:
    """PacingMemory in PostgreSQL."""

    database: Database

    async def save(self, dbid: int, state: str) -> None:
        await save_learnt(self.database, dbid, state)

    async def load(self, dbid: int) -> tuple[str, float] | None:
        return await load_learnt(self.database, dbid)


def run_folder(config: Configuration) -> Path:
    """Where the Unix sockets of the SIP workers and the media server are."""
    return Path(config.telephony.run_dir) if config.telephony.run_dir else data_folder(config.data_dir) / "run"


@contextmanager
def only_one(data_dir: Path) -> Iterator[None]:
    """Hold the lock of the data folder; ConfigError when another daemon has it."""
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / "daemon.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError([f"{data_dir}: another ocsd runs here; give each daemon its own data_dir"]) from error
        yield


def prepare_database(dsn: str, config: Configuration) -> None:
    """Migrate, and make sure that every calling list has its table; ConfigError lists tables that do not fit."""
    with psycopg.connect(connection_string(dsn, config.database.statement_timeout_s), autocommit=True) as conn:
        migrate(conn)
        problems: list[str] = []
        for calling_list in config.calling_lists:
            table = config.table_access(calling_list.table_access).table
            found = conn.execute("SELECT to_regclass(%s)", (f"public.{table}",)).fetchone()
            if found is None or found[0] is None:
                create_table(conn, config, calling_list)
                log.info("list.created", calling_list=calling_list.name, table=table)
            else:
                problems += [
                    f"calling list {calling_list.name!r}: {difference}"
                    for difference in table_differences(conn, config, calling_list)
                ]
        if problems:
            raise ConfigError(problems)


@asynccontextmanager
async def embedded_postgres(config: Configuration) -> AsyncIterator[EmbeddedPostgres | None]:
    """The embedded server when no DSN is configured; stopped at the end unless someone else uses it."""
    if config.database.dsn:
        yield None
        return
    server = EmbeddedPostgres(data_folder(config.data_dir) / "postgres")
    await trio.to_thread.run_sync(server.start)
    try:
        yield server
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(server.stop)


def _ensure_servers(config: Configuration, run_dir: Path) -> None:
    launcher.ensure_running(
        run_dir,
        config.telephony.max_legs,
        sip_host=config.telephony.sip_host,
        media_host=config.telephony.media_host,
        rtp_ports=(config.telephony.rtp_port_first, config.telephony.rtp_port_last),
        start_limit_s=SERVERS_LIMIT_S,
        prompt_dir=Path(config.telephony.prompt_dir) if config.telephony.prompt_dir else None,
        media_servers=config.telephony.media_servers,
        media_capacity=config.telephony.media_capacity,
        recording_dir=Path(config.telephony.recording_dir),
        idle_noise_dbfs=config.telephony.idle_noise_dbfs,
    )


async def _keep_servers(config: Configuration, run_dir: Path, media: MediaPool) -> None:
    """Start workers' pool or a media server again when they die or hang; under systemd their own units do that."""
    wanted = set(launcher.parts_of(config.telephony.media_servers))
    watchdog = Watchdog(run_dir, time.monotonic())
    while True:
        await trio.sleep(SERVERS_CHECK_S)
        for part, silent_s in watchdog.kill_hung(time.monotonic(), media.silent_s_by_server()).items():
            log.error("telephony.hung", part=part, silent_s=round(silent_s, 1), what="killed")
        if wanted <= launcher.server_pids(run_dir).keys():
            continue  # without knocking at their sockets every second
        try:
            await trio.to_thread.run_sync(_ensure_servers, config, run_dir)
        except launcher.StartFailed as error:
            log.error("telephony.not_started", error=str(error))


async def _watch(notifier: sdnotify.SystemdNotifier) -> None:
    """Tell systemd's watchdog that the event loop turns."""
    period_us = int(os.environ.get("WATCHDOG_USEC", "0"))
    while period_us:
        notifier.notify("WATCHDOG=1")
        await trio.sleep(period_us / 2_000_000)


def _share_interpreter() -> None:
    """
    Let threads that have heard from the database go on within half a millisecond, not five.

    A busy event loop keeps the interpreter's lock for the whole switch interval, and each answer of the server waits
    for it: a transaction has four or five. At 20 calls/s and 500 requests/s the writes took a third of the time.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)


def _exempt_from_collections() -> None:
    """
    What is in memory now stays there: let no full collection walk over it again, and let there be fewer of those.

    Modules and configuration are most of the heap; with them a collection stopped everything for 90 to 180 CPU ms,
    without them for 46. What only a full one finds is little: some 700 objects a second at 20 calls/s.
    """
    gc.collect()
    gc.freeze()
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, FULL_COLLECTION_EVERY)


def load_checked(config_path: Path) -> Configuration:
    """The configuration, with every preset that it names known; ConfigError lists all problems."""
    config = load_configuration(config_path)
    if problems := preset_problems(config):
        raise ConfigError(problems)
    return config


async def _reload(config_path: Path, running: Configuration) -> Configuration | None:
    """Read the configuration again; None (and a log line per fault) when it is wrong: the old one stays in force."""
    try:
        read = await trio.to_thread.run_sync(load_checked, config_path)
    except ConfigError as error:
        for problem in error.problems:
            log.error("config.refused", problem=problem)
        return None
    merged, waiting = merge(running, read)
    for sentence in waiting:
        log.warning("config.waits_for_restart", what=sentence)
    log.info("config.reloaded", waiting=len(waiting))
    return merged


async def _cut_short(signals: AsyncIterator[int], grace: trio.CancelScope) -> None:
    """A second signal: no more patience."""
    async for signal_number in signals:
        if signal_number != signal.SIGHUP:
            grace.cancel()


async def serve(config: Configuration, config_path: Path) -> None:
    """
    Run until SIGTERM or SIGINT; SIGHUP reads ``config_path`` again.

    Raises ConfigError, StoreUnavailable, TelephonyError or OSError when it cannot start.
    """
    notifier = service_notifier()
    clock = SystemClock()
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async with AsyncExitStack() as parts:
            postgres = await parts.enter_async_context(embedded_postgres(config))
            dsn = postgres.dsn if postgres is not None else config.database.dsn
            await trio.to_thread.run_sync(prepare_database, dsn, config)
            run_dir = run_folder(config)
            if config.telephony.embedded:
                await trio.to_thread.run_sync(_ensure_servers, config, run_dir)
            store = await parts.enter_async_context(open_store(config, postgres))
            dnc = await parts.enter_async_context(open_dnc(config, store.database, data_folder(config.data_dir)))
            telephony = await parts.enter_async_context(open_telephony(run_dir))
            media = await parts.enter_async_context(open_media_servers(run_dir))
            validator = await parts.enter_async_context(open_validator(lookup(config, HTTP_CONNECTION_POOL_SIZE)))
            async with trio.open_nursery() as services:
                async with trio.open_nursery() as sessions:
                    campaigns = Campaigns(
                        config,
                        sessions,
                        store=store,
                        dnc=dnc,
                        memory=DatabaseMemory(store.database),
                        telephony=telephony,
                        media=media,
                        clock=clock,
                        validator=validator,
                        keeping=PacingKeeping(
                            DatabasePacingMemory(store.database), data_folder(config.data_dir) / JOURNAL_FOLDER
                        ),
                    )
                    desks = Desks(config, campaigns, config.http.public_host or config.http.host)
                    with campaigns.nothing_dialed():
                        await campaigns.resume()
                        recovered = await recover(campaigns, telephony, media)
                    offered = Services(
                        campaigns,
                        RecordControl(campaigns, desks.records),
                        Explaining(campaigns, store.database, dnc, store.owner),
                    )
                    http_ports = await services.start(serve_http, config.http, config.application, offered)
                    desks.http_port = http_ports[0]
                    await services.start(serve_desktops, config.desktop, config.application, desks)
                    services.start_soon(_watch, notifier)
                    services.start_soon(report_load, telephony, media)
                    services.start_soon(campaigns.trunk_keeper.run)
                    services.start_soon(deliver, Outbox(store.database))
                    services.start_soon(
                        keep_tidy,
                        Outbox(store.database),
                        Journal(store.database),
                        clock.utc,
                        lambda: kept_for(campaigns.config),
                    )
                    services.start_soon(
                        keep_retention,
                        Path(config.telephony.recording_dir),
                        RecordingRows(store.database),
                        clock.utc,
                        lambda: timedelta(days=lookup(campaigns.config, CPD_RECORDING_RETENTION)),
                    )
                    recording_dir = Path(config.telephony.recording_dir)
                    services.start_soon(keep_agreeing, recording_dir, RecordingRows(store.database), store.node)
                    streams = StreamKeeping(media, StreamRows(store.database), clock, campaigns.stream_ended)
                    services.start_soon(streams.run)
                    services.start_soon(obey_news, dnc, desks.records, clock)
                    if config.telephony.embedded:
                        services.start_soon(_keep_servers, config, run_dir, media)
                    _exempt_from_collections()
                    log.info(
                        "daemon.ready",
                        adopted=recovered.adopted,
                        settled=recovered.settled,
                        claims_returned=recovered.claims_returned,
                    )
                    notifier.notify("READY=1")
                    async for signal_number in signals:
                        if signal_number != signal.SIGHUP:
                            log.info("daemon.stopping", signal=signal.Signals(signal_number).name)
                            break
                        notifier.notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
                        if (changed := await _reload(config_path, campaigns.config)) is not None:
                            store.reconfigure(changed)
                            campaigns.reconfigure(changed)
                            validator.resize(lookup(changed, HTTP_CONNECTION_POOL_SIZE))
                            desks.reconfigure(changed)
                            dnc.reconfigure(changed)
                        notifier.notify("READY=1")
                    notifier.notify("STOPPING=1")
                    async with trio.open_nursery() as stopping:
                        grace = trio.CancelScope(deadline=trio.current_time() + GRACE_S)
                        stopping.start_soon(_cut_short, signals, grace)
                        with grace:
                            await campaigns.drain()
                        await campaigns.stop(DRAIN_LIMIT_S)
                        stopping.cancel_scope.cancel()
                    sessions.cancel_scope.cancel()
                services.cancel_scope.cancel()
            conversations = telephony.in_use
        if config.telephony.embedded:
            if conversations:
                log.warning("daemon.left_conversations", legs=conversations)
            else:
                await trio.to_thread.run_sync(launcher.stop, run_dir)
    log.info("daemon.stopped")


def allow_connections(config: Configuration) -> None:
    """Raise our limit of open files, often 1024, as far as the system lets us, to what the two ports may need."""
    wanted = config.http.max_connections + config.desktop.max_connections + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < wanted:
        log.warning("daemon.few_files_allowed", allowed=allowed, wanted=wanted)


def run(config_path: Path, log_level: str = "info") -> None:
    """Entry of ``ocsd run``: load the configuration and serve."""
    configure_logging(log_level)
    _share_interpreter()
    config = load_checked(config_path)
    allow_connections(config)
    with only_one(data_folder(config.data_dir)):
        trio.run(partial(serve, config, config_path), strict_exception_groups=True)
