"""
Who calls, in SIP: From, P-Asserted-Identity, Privacy. Pure.

Sources: RFC 3261 8.1.1.3 and 20.20 (From), RFC 3323 4.1.1.3 and 4.2 (anonymous From, Privacy), RFC 3325 9 (P-Asserted-
Identity and P-Preferred-Identity).
"""

from typing import Final

ANONYMOUS: Final = "sip:anonymous@anonymous.invalid"
"""RFC 3323 4.1.1.3."""


def caller(
    digits: str, host: str, display_name: str, *, identity: str, trunk_host: str, restricted: bool
) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    """
    From URI, display name and headers that tell who calls.

    Args:
        digits: caller ID; empty: none.
        host: of our own SIP address. ``trunk_host``: host and port of the trunk, whose numbers they are.
        identity: ``pai``, ``ppi`` or ``none``.
        restricted: the called person must not see the number; the carrier still gets it, where ``identity`` says so.
    """
    headers: list[tuple[str, str]] = []
    if digits and identity != "none":
        name = "P-Asserted-Identity" if identity == "pai" else "P-Preferred-Identity"
        headers.append((name, f"<sip:{digits}@{trunk_host}>"))
    if restricted:
        headers.append(("Privacy", "id"))
        return ANONYMOUS, "Anonymous", tuple(headers)
    return f"sip:{digits or 'anonymous'}@{host}", display_name, tuple(headers)
