"""
Header templates of a trunk: a closed list of fields, and values that cannot end a header. Pure.

What a template inserts is percent-encoded where it is not plain text, so that no record, campaign or configuration can
end a header and begin another one (RFC 3261 25.1: a header is one line, and no value needs more).
"""

import re
from collections.abc import Mapping
from string import Formatter
from typing import Final
from urllib.parse import quote

FIELDS: Final = frozenset(
    {
        "tenant",
        "campaign",
        "campaign_group",
        "calling_list",
        "guid",
        "attempt_id",
        "record_id",
        "chain_id",
        "caller_id",
        "caller_id_set",
        "called",
        "trunk",
    }
)
"""What a header template may name."""

PLAIN: Final = " !#$&()*+,-./:=?@[]^_|~'"
"""Characters that stay as they are besides letters and digits; the others are percent-encoded UTF-8."""

MAX_VALUE: Final = 512

TOKEN: Final = re.compile(r"[A-Za-z0-9.!%*_+`'~-]{1,64}")
"""RFC 3261 25.1."""

OURS: Final = frozenset(
    """
    accept allow allow-events authorization call-id contact content-disposition content-encoding content-language
    content-length content-type cseq event expires from in-reply-to max-forwards min-expires min-se
    p-asserted-identity p-preferred-identity path privacy proxy-authenticate proxy-authorization proxy-require
    rack reason record-route refer-to referred-by replaces require retry-after route rseq
    service-route session-expires supported to unsupported via warning www-authenticate
    b c d e f i j k l m n o r s t u v x y
    """.split()  # noqa: SIM905 - fifty names read better so
)
"""Headers (and compact forms) that the stack or ocsd writes: a second one would break the request, or contradict it."""


def template_fault(name: str, template: str) -> str | None:
    """What is wrong with a header template of a trunk; None: nothing is."""
    if not TOKEN.fullmatch(name):
        return "is no name of a header"
    if name.lower() in OURS:
        return "is written by ocsd itself"
    if not template.isascii() or not template.isprintable():
        return "must be printable ASCII without line ends"
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        return f"is no template: {error}"
    for _, named, form, conversion in parts:
        if named is not None and (named not in FIELDS or form or conversion):
            return f"knows no {{{named}}}; known: " + ", ".join(sorted(FIELDS))
    return None


def rendered(template: str, values: Mapping[str, object]) -> str:
    """A header's value, at most MAX_VALUE characters."""
    text = "".join(
        literal + (quote(str(values[named]), safe=PLAIN) if named is not None else "")
        for literal, named, _, _ in Formatter().parse(template)
    )
    return text[:MAX_VALUE]
