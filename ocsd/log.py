"""Structured logging: JSON lines for services, colours on a terminal; numbers masked, secrets never shown."""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

_NUMBER = re.compile(r"(?<![\w.])(\+?\d{3})\d{3,}(\d{2})(?![\w.])")
_MASKED_KEYS = frozenset({"phone", "contact_info", "uri", "from_uri", "number", "called", "redirect_to"})
_SECRET_KEYS = frozenset({"password", "dsn", "authorization", "token"})


def mask_number(text: str) -> str:
    """Keep the first three and the last two digits: enough to recognise, too little to call."""
    return _NUMBER.sub(r"\1***\2", text)


def _mask(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if key in _SECRET_KEYS:
            event[key] = "***"
        elif key in _MASKED_KEYS and isinstance(value, str):
            event[key] = mask_number(value)
    return event


def configure_logging(level: str = "info", *, json_lines: bool | None = None) -> None:
    """
    Set up structlog on standard error.

    Args:
        level: debug, info, warning or error.
        json_lines: None chooses JSON unless standard error is a terminal.
    """
    as_json = not sys.stderr.isatty() if json_lines is None else json_lines
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _mask,
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info if as_json else structlog.dev.set_exc_info,
            structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
