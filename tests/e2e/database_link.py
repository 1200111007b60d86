"""The way between a daemon and its PostgreSQL, in the hands of the test: it can lose the answer to one commit.

The database itself is stopped, killed and started by the site; this is for the one thing that no kill hits reliably.
"""

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psycopg
from psycopg.conninfo import conninfo_to_dict

from tests.e2e.site import Site

SOCKET_NAME: Final = ".s.PGSQL.5432"
COMMIT: Final = b"COMMIT"
RECEIVE_BYTES: Final = 65536


class DatabaseLink:
    """Listens in ``folder``; hands every connection on to ``target``, the folder of the server's socket."""

    def __init__(self, folder: Path, target: Path) -> None:
        self._target = str(target / SOCKET_NAME)
        self._marker: bytes | None = None
        self._forward = True
        self.lost = threading.Event()
        """The commit that was to be lost has come by."""
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / SOCKET_NAME))
        self._listener.listen()
        self._threads: list[threading.Thread] = []
        self._open: list[socket.socket] = []

    def lose_commit(self, marker: str, *, forward: bool) -> None:
        """
        Cut the connection on which ``marker`` was sent when its COMMIT comes by.

        Args:
            forward: whether the server gets the COMMIT, and only its answer is lost.
        """
        self.lost.clear()
        self._marker, self._forward = marker.encode(), forward

    def serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(self._target)
            except OSError:  # the database is away
                client.close()
                server.close()
                continue
            self._open += [client, server]
            thread = threading.Thread(target=self._pass_on, args=(client, server), daemon=True)
            other = threading.Thread(target=self._pass_back, args=(server, client), daemon=True)
            self._threads += [thread, other]
            thread.start()
            other.start()

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        marked = False
        with contextlib.suppress(OSError):
            while data := client.recv(RECEIVE_BYTES):
                marked |= self._marker is not None and self._marker in data
                if marked and COMMIT in data:
                    self._marker = None
                    if self._forward:
                        # The answer must not get through, the commit must: nobody reads on from here for the client.
                        client.shutdown(socket.SHUT_RDWR)
                        server.sendall(data)
                        server.shutdown(socket.SHUT_WR)
                        return self.lost.set()
                    self._end(client, server)
                    return self.lost.set()
                server.sendall(data)
        self._end(client, server)

    def _pass_back(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(RECEIVE_BYTES):
                client.sendall(data)
        self._end(client, server)

    @staticmethod
    def _end(*sockets: socket.socket) -> None:
        for one in sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._end(*self._open)
        for thread in self._threads:
            thread.join()
        for one in self._open:
            one.close()


@contextlib.contextmanager
def database_link(site: Site, folder: Path) -> Iterator[DatabaseLink]:
    """
    A site whose daemon reaches its database over the link, and leaves the server's life to the test.

    ``folder`` must have a short path (a socket lies in it). Before the daemon is started.
    """
    given = conninfo_to_dict(site.dsn)
    link = DatabaseLink(folder, Path(str(given["host"])))
    dsn = psycopg.conninfo.make_conninfo(**{**given, "host": str(folder)})
    with site.config_path.open("a") as file:
        file.write(f'\n[database]\ndsn = "{dsn}"\n')
    accepting = threading.Thread(target=link.serve)
    accepting.start()
    try:
        yield link
    finally:
        link.close()
        accepting.join()
