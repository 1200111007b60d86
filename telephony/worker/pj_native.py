"""What pjsua2 leaves out of its Python, taken from the C library it is linked with: a look at every message before the
stack, and an answer to any request inside a dialog.

Every name is looked up, and every layout that is relied upon is checked before it is used: a build that hides the names
or has another layout does without.

Sources: pjsip/include/pjsip/sip_module.h (struct pjsip_module), sip_transport.h (struct pjsip_rx_data),
pj/include/pj/ioqueue.h (pj_ioqueue_op_key_t), all unchanged since long before 2.15.
"""

import ctypes
import os
import re
import sys
from collections.abc import Callable
from typing import Any, Final

from telephony.worker.stack_log import FAULTS

BEFORE_ALL_LAYERS: Final = 4
"""The transport layer's own module has 8 (PJSIP_MOD_PRIORITY_TRANSPORT_LAYER); lower comes first."""
PACKET_OFFSET: Final = 320
"""Of pkt_info.packet in pjsip_rx_data: three pointers, an operation's key of 34 and one more, a time of two longs."""
MAX_PACKET: Final = 4000
"""PJSIP_MAX_PKT_LEN: so long is the array, and a zero follows."""
TEXT_OFFSET: Final = 4424
"""Of msg_info.msg_buf, a pointer, and the length after it: over TCP several messages may lie in one packet."""
_STARTS_LIKE_SIP: Final = re.compile(rb"(?:SIP/2\.0 |[A-Za-z0-9.!%*_+`'~-]{1,32} \S)")
_POINTER: Final = ctypes.c_void_p
_Callback: Final = ctypes.CFUNCTYPE(ctypes.c_int, _POINTER)


class _Module(ctypes.Structure):
    """struct pjsip_module."""

    _fields_ = (
        ("prev", _POINTER),
        ("next", _POINTER),
        ("name", ctypes.c_char_p),
        ("name_length", ctypes.c_ssize_t),
        ("id", ctypes.c_int),
        ("priority", ctypes.c_int),
        ("load", _POINTER),
        ("start", _POINTER),
        ("stop", _POINTER),
        ("unload", _POINTER),
        ("on_rx_request", _Callback),
        ("on_rx_response", _Callback),
        ("on_tx_request", _POINTER),
        ("on_tx_response", _POINTER),
        ("on_tsx_state", _POINTER),
    )


def load_library(package: str) -> Any:
    """The C library behind the imported pjsua2; None where it cannot be found."""
    try:
        return ctypes.CDLL(sys.modules[f"{package}._pjsua2"].__file__)
    except (KeyError, OSError):
        return None


def find_responder(library: Any) -> Callable[[int, int], None] | None:
    """A function that answers 200 to a request, given its transaction and message; None where that is not possible."""
    try:
        respond = library.pjsip_dlg_respond
        dialog_of_message, dialog_of = library.pjsip_rdata_get_dlg, library.pjsip_tsx_get_dlg
        transaction_of = library.pjsip_rdata_get_tsx
    except AttributeError:
        return None
    for look_up in (dialog_of_message, dialog_of, transaction_of):
        look_up.restype, look_up.argtypes = _POINTER, [_POINTER]
    respond.restype, respond.argtypes = ctypes.c_int, [_POINTER, _POINTER, ctypes.c_int, _POINTER, _POINTER, _POINTER]

    def respond_ok(transaction: int, message: int) -> None:
        dialog = dialog_of(transaction)
        # All three belong together, or pjsip aborts the process.
        if dialog and dialog_of_message(message) == dialog and transaction_of(message) == transaction:
            respond(dialog, message, 200, None, None, None)

    return respond_ok


def look_at_messages(library: Any, holds_back: Callable[[str], bool]) -> object | None:
    """
    Have ``holds_back`` look at the text of every message that arrives, before the stack does; True drops it.

    Call it when the endpoint is there. Returns what must live as long as the endpoint; None where it is not possible.
    """
    try:
        endpoint_of, register = library.pjsua_get_pjsip_endpt, library.pjsip_endpt_register_module
    except AttributeError:
        return None
    endpoint_of.restype, endpoint_of.argtypes = _POINTER, []
    register.restype, register.argtypes = ctypes.c_int, [_POINTER, _POINTER]

    def look(message: int) -> int:
        try:
            text = _text_of(message).lstrip(b"\r\n")
            if not _STARTS_LIKE_SIP.match(text):
                return 0  # not what lies there in this build: the stack has parsed a message
            # As everywhere else: bytes that are no UTF-8 must not make us fail.
            return int(holds_back(text.decode(errors="replace")))
        except Exception:
            FAULTS.exception("sieve")
            return 0

    name = b"mod-sieve"
    module = _Module(name=name, name_length=len(name), id=-1, priority=BEFORE_ALL_LAYERS)
    module.on_rx_request = module.on_rx_response = _Callback(look)
    if register(endpoint_of(), ctypes.addressof(module)) != 0:
        return None
    return module


def _text_of(message: int) -> bytes:
    """The text of a struct pjsip_rx_data. Both places lie within it, whatever a build makes of them."""
    packet = message + PACKET_OFFSET
    begin = ctypes.c_void_p.from_address(message + TEXT_OFFSET).value or 0
    length = ctypes.c_int.from_address(message + TEXT_OFFSET + ctypes.sizeof(_POINTER)).value
    if packet <= begin < packet + MAX_PACKET and 0 < length <= packet + MAX_PACKET - begin:
        return ctypes.string_at(begin, length)
    return ctypes.string_at(packet, MAX_PACKET).partition(b"\x00")[0]


def open_sockets() -> set[int]:
    """The sockets this process has open (listing the folder opens one descriptor more, which is none)."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                found.add(int(name))
        except OSError:
            continue
    return found


def quietly(action: Callable[[], Any]) -> None:
    """libCreate logs to stdout before any log level can be set."""
    kept = os.dup(1)
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 1)
        action()
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(null)
