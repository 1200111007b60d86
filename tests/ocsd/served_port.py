"""The real control port, its three services in memory, in a thread of its own: for callers that are synchronous."""

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import trio
from structlog.testing import capture_logs

from ocsd.client import ControlClient
from ocsd.config.objects import Application, HttpListener
from ocsd.http.server import serve_http
from tests.ocsd.http_fakes import FakeCampaigns, FakeExplainer, FakeRecords, services

HANG_LIMIT_S = 20.0
APPLICATION_DBID = 398


@dataclass
class ServedPort:
    url: str = ""
    campaigns: FakeCampaigns = field(default_factory=FakeCampaigns)
    records: FakeRecords = field(default_factory=FakeRecords)
    explainer: FakeExplainer = field(default_factory=FakeExplainer)

    def client(self) -> ControlClient:
        return ControlClient(self.url, limit_s=HANG_LIMIT_S)

    def asked(self):
        """The only request that has come for records, phones, customers or lists."""
        (request,) = self.records.requests
        return request


@contextmanager
def served_port() -> Iterator[ServedPort]:
    port = ServedPort()
    started: queue.Queue[tuple[int, trio.lowlevel.TrioToken, trio.CancelScope]] = queue.Queue()

    async def serve() -> None:
        application = Application(name="OCS", dbid=APPLICATION_DBID, version="8.1.000.12")
        async with trio.open_nursery() as nursery:
            offered = services(port.campaigns, port.records, port.explainer)
            ports = await nursery.start(serve_http, HttpListener(port=0), application, offered)
            started.put((ports[0], trio.lowlevel.current_trio_token(), nursery.cancel_scope))

    thread = threading.Thread(target=trio.run, args=(serve,))
    with capture_logs():  # the server's: in one process they would stand among what the caller prints
        thread.start()
        number, token, scope = started.get(timeout=HANG_LIMIT_S)
        port.url = f"http://127.0.0.1:{number}"
        try:
            yield port
        finally:
            token.run_sync_soon(scope.cancel)
            thread.join(timeout=HANG_LIMIT_S)
            assert not thread.is_alive(), f"the port did not stop within {HANG_LIMIT_S} s"
