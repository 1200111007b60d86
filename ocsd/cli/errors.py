"""What an error becomes on the command line: lines on standard error and an exit code."""

from collections.abc import Iterator
from typing import Any, Final

import typer
from typer.core import TyperGroup

from ocsd.cli.output import err
from ocsd.model.errors import ConfigError, DependencyError, InvariantError, OcsdError

EXIT_REFUSED: Final = 1
EXIT_USAGE: Final = 2  # click's own
EXIT_UNREACHABLE: Final = 3
EXIT_CODES: Final = (
    "Exit codes: 0 done; 1 refused, or problems found; 2 wrong usage; 3 server or database cannot be reached."
)


class OcsdGroup(TyperGroup):
    """Turns errors that the operator can do something about into messages; lets all others through."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            causes = list(_leaves(error))
            if not all(_is_for_operator(cause) for cause in causes):
                raise
            for line in dict.fromkeys(line for cause in causes for line in _lines(cause)):
                err(f"ocsd: {line}")
            code = EXIT_UNREACHABLE if all(isinstance(cause, DependencyError) for cause in causes) else EXIT_REFUSED
            raise typer.Exit(code) from None


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """Nurseries wrap what goes wrong inside into groups; the message is about what did."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _is_for_operator(error: BaseException) -> bool:
    from telephony.api import TelephonyError  # here, because it is only needed when something went wrong

    # OSError at this level is a port that is taken, a file that may not be read, a disk that is full. A reader that
    # went away (`| head`) is click's to handle, and a broken invariant is our bug.
    told = isinstance(error, OcsdError | OSError | TelephonyError)
    return told and not isinstance(error, BrokenPipeError | InvariantError)


def _lines(error: BaseException) -> list[str]:
    if isinstance(error, ConfigError):
        return error.problems
    return [" ".join(str(error).split()) or type(error).__name__]
