"""
A call goes on to another number (SIP 3xx): that number is called too, so caps hold it back and count it.

Asked and written in one transaction, as the attempt itself was (`journal.begin`), before the INVITE leaves. Whoever
asks about that number later finds the call by it (`caps.past_calls`).
"""

from typing import Any

import psycopg

from ocsd.lists.caps import Call, Caps, lock_called, past_calls
from ocsd.model.records import Refusal

Connection = psycopg.Connection[Any]


def redirect(conn: Connection, caps: Caps, call: Call) -> Refusal | None:
    """See ListStore.redirect_attempt; ``call``: the attempt's, with the other number."""
    lock_called(conn, caps, [call])
    refused = past_calls(conn, caps, [call]).refusal(call)
    if refused is None:
        conn.execute("UPDATE ocsd.attempt SET redirected_to = %s WHERE attempt_id = %s", (call.phone, call.attempt_id))
    return refused
