"""Requests per second of the control port: keep-alive connections from a client process of its own.

    python -m bench.http_requests [--seconds 5] [--connections 8]

Prints one JSON line. The service behind the port is the cheapest possible one, so the figure is that of the port:
``post_per_s`` counts StartDialing with a body of three attributes, ``get_per_s`` the status of one campaign group,
``latency_p99_ms`` is that of POST with all connections busy, ``server_cpu_ratio`` the server's share of a core.
"""

import argparse
import json
import multiprocessing
import os
import socket
import statistics
import time
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import structlog
import trio

from ocsd.config.objects import Application, HttpListener
from ocsd.explain.contract import Explanation, Preflight
from ocsd.http.answers import Services
from ocsd.http.server import serve_http
from ocsd.model.enums import DialMode, GroupCampStatus, GswError, OptimizeBy
from ocsd.model.errors import TargetNotFound
from ocsd.model.services import CampaignRequest, DialParameters, GroupStatus
from ocsd.protocols.http_records import HttpRecordRequest

BODY = b'{"GSW_CM_AttrDialMode": 1, "GSW_CM_AttrOptimizeBy": 2, "GSW_CM_AttrOptimizeGoal": 3}'
POST = (
    b"POST /campaigngroups/106?req=StartDialing HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\n"
    b"Content-type: application/json\r\nContent-length: %d\r\n\r\n" % len(BODY)
) + BODY
GET = b"GET /campaigngroups/106 HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n"


class Accepting:
    """Accepts everything for campaign group 106."""

    group = GroupStatus(
        106,
        "Camp@Group",
        139,
        234,
        GroupCampStatus.RUNNING,
        DialMode.PREDICTIVE,
        OptimizeBy.OVERDIAL_RATE,
        3,
        105,
        1,
        {},
    )

    async def request(self, dbid: int, request: CampaignRequest, parameters: DialParameters) -> None:
        await trio.lowlevel.checkpoint()

    def status(self, dbid: int) -> GroupStatus | None:
        return self.group if dbid == self.group.dbid else None

    def statuses(self) -> list[GroupStatus]:
        return [self.group]


class AcceptingRecords:
    async def carry_out(self, request: HttpRecordRequest) -> None:
        await trio.lowlevel.checkpoint()


class NothingToExplain:
    async def why(self, calling_list: str, record_id: int) -> Explanation:
        raise TargetNotFound(GswError.RECORD_NOT_FOUND)

    async def preflight(self, calling_list: str) -> Preflight:
        raise TargetNotFound(GswError.INVALID_ATTRIBUTE_VALUE)


def exchange(connection: socket.socket, request: bytes) -> None:
    connection.sendall(request)
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(65536)
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise RuntimeError(f"unexpected answer {answer[:80]!r}")
    head, _, body = answer.partition(b"\r\n\r\n")
    missing = int(head.rpartition(b"Content-length: ")[2]) - len(body)
    while missing > 0:
        missing -= len(connection.recv(65536))


def ask_in_turn(port: int, request: bytes, connections: int, seconds: float) -> tuple[float, list[float]]:
    """One thread per connection would measure the client's interpreter lock; a batch per turn keeps the server busy."""
    sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(connections)]
    latencies_s: list[float] = []
    count, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        sent_at = time.perf_counter()
        for connection in sockets[1:]:
            connection.sendall(request)
        exchange(sockets[0], request)
        for connection in sockets[1:]:
            exchange(connection, b"")
        latencies_s.append(time.perf_counter() - sent_at)
        count += connections
    for connection in sockets:
        connection.close()
    return count / elapsed, latencies_s


def client(port: int, seconds: float, connections: int, results: Connection) -> None:
    ask_in_turn(port, POST, connections, min(0.5, seconds))  # warm-up
    post_per_s, latencies_s = ask_in_turn(port, POST, connections, seconds)
    get_per_s, _ = ask_in_turn(port, GET, connections, seconds)
    p99_ms = statistics.quantiles(latencies_s, n=100)[98] * 1000
    results.send({"post_per_s": round(post_per_s), "get_per_s": round(get_per_s), "latency_p99_ms": round(p99_ms, 2)})
    results.close()


async def serve(seconds: float, connections: int) -> dict[str, Any]:
    services = Services(Accepting(), AcceptingRecords(), NothingToExplain())
    async with trio.open_nursery() as nursery:
        (port,) = await nursery.start(partial(serve_http, HttpListener(port=0), Application(), services))
        receiving, sending = multiprocessing.Pipe(duplex=False)
        context = multiprocessing.get_context("spawn")
        process = context.Process(target=client, args=(port, seconds, connections, sending), daemon=True)
        started_s, cpu_s = time.monotonic(), time.process_time()
        process.start()
        sending.close()
        try:
            with trio.fail_after(3 * seconds + 60):
                await trio.lowlevel.wait_readable(receiving.fileno())
            figures: dict[str, Any] = receiving.recv()
        finally:
            process.terminate()
            process.join()
        ratio = (time.process_time() - cpu_s) / (time.monotonic() - started_s)
        nursery.cancel_scope.cancel()
    return figures | {"connections": connections, "server_cpu_ratio": round(ratio, 2), "cores": os.cpu_count()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each of the two measurements")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    figures = trio.run(serve, arguments.seconds, arguments.connections)
    print(json.dumps({"bench": "http_requests"} | figures))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures), encoding="utf-8")


if __name__ == "__main__":
    main()
