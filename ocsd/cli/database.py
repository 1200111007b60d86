"""The configuration's database, for commands that work on it directly."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ocsd.model.errors import StoreUnavailable

if TYPE_CHECKING:
    import psycopg

    from ocsd.config.objects import Configuration


@contextmanager
def open_connection(configuration: "Configuration") -> Iterator["psycopg.Connection[Any]"]:
    """
    A connection to the configuration's database, migrated; the embedded server is started if it does not run.

    An embedded server that ran before runs on afterwards. Statements have no time limit: an import takes what it takes.
    """
    import psycopg

    from ocsd.lists.embedded import EmbeddedPostgres, data_folder
    from ocsd.lists.migrate import migrate
    from ocsd.lists.pool import connection_string

    server: EmbeddedPostgres | None = None
    dsn = configuration.database.dsn
    if not dsn:
        server = EmbeddedPostgres(data_folder(configuration.data_dir) / "postgres")
        ran_before = server.server_pid() is not None
        dsn = server.start()
    try:
        try:
            connection = psycopg.connect(connection_string(dsn, statement_timeout_s=0), autocommit=True)
        except psycopg.OperationalError as error:
            raise StoreUnavailable(f"the database cannot be reached: {error}") from error
        with connection:
            migrate(connection)
            yield connection
    finally:
        if server is not None and not ran_before:
            server.stop()
