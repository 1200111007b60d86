"""Telling the service manager how we are: sd_notify(3)."""

from typing import Final

import sdnotify

WAIT_S: Final = 0.5
"""A manager that reads nothing (it is being restarted, say) must not hold up calls."""


def service_notifier(wait_s: float = WAIT_S) -> sdnotify.SystemdNotifier:
    """To the service manager, if there is one; a message that it does not take within ``wait_s`` is not sent."""
    notifier = sdnotify.SystemdNotifier()
    if notifier.socket is not None:
        notifier.socket.settimeout(wait_s)
    return notifier
