"""Requests that a foreign web page sends through somebody's browser (pure).

The ports stand on the loopback without authentication, and a browser on the same machine would carry any page's POST
or WebSocket to them. A browser names the page in ``Origin``; contact-centre clients send no such header.
"""

from urllib.parse import urlsplit


def is_foreign(origin: str | None, host: str | None) -> bool:
    """
    Tell whether a browser sent this on behalf of a page from another host.

    Args:
        origin, host: values of the headers Origin and Host, None when absent. Ports may differ: the console and the
            desktop endpoint of one daemon share a host, not a port.
    """
    if origin is None:
        return False
    try:
        page, server = urlsplit(origin).hostname, urlsplit(f"//{host or ''}").hostname
    except ValueError:
        return True
    return page is None or page != server
