"""What pjsua2 leaves out of its Python, taken from the C library it is linked with: a look at every message before the
stack, an answer to any request inside a dialog, and silence from calls that are over.

Every name is looked up, and every layout that is relied upon is checked before it is used: a build that hides the names
or has another layout does without.

Sources: pjsip/include/pjsip/sip_module.h (struct pjsip_module), sip_transport.h (struct pjsip_rx_data),
pj/include/pj/ioqueue.h (pj_ioqueue_op_key_t), all unchanged since long before 2.15; pjsip-ua/sip_inv.h (struct
pjsip_inv_session, struct pjsip_inv_callback) and sip_inv.c (struct mod_inv) of 2.15.
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
SESSION_STATE_OFFSET: Final = 56
SESSION_NOTIFY_OFFSET: Final = 104
SESSION_DIALOG_OFFSET: Final = 120
"""Of state, notify and dlg in pjsip_inv_session, which begins with its name: "inv" and the address of its dialog."""
MAX_SESSION_NAME: Final = 32
STATE_CONFIRMED: Final = 5
STATE_DISCONNECTED: Final = 6
_STARTS_LIKE_SIP: Final = re.compile(rb"(?:(?i:SIP/2\.0) |[A-Za-z0-9.!%*_+`'~-]{1,32} \S)")
_POINTER: Final = ctypes.c_void_p
_Callback: Final = ctypes.CFUNCTYPE(ctypes.c_int, _POINTER)
_StateCallback: Final = ctypes.CFUNCTYPE(None, _POINTER, _POINTER)
_MediaCallback: Final = ctypes.CFUNCTYPE(None, _POINTER, ctypes.c_int)


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


class _InviteModule(ctypes.Structure):
    """struct mod_inv, as far as we need its callbacks."""

    _fields_ = (
        ("base", _Module),
        ("endpoint", _POINTER),
        ("on_state_changed", _POINTER),
        ("on_new_session", _POINTER),
        ("on_tsx_state_changed", _POINTER),
        ("on_rx_offer", _POINTER),
        ("on_rx_offer2", _POINTER),
        ("on_rx_reinvite", _POINTER),
        ("on_create_offer", _POINTER),
        ("on_media_update", _POINTER),
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
    seen_sip = False

    try:
        endpoint_of, register = library.pjsua_get_pjsip_endpt, library.pjsip_endpt_register_module
    except AttributeError:
        return None
    endpoint_of.restype, endpoint_of.argtypes = _POINTER, []
    register.restype, register.argtypes = ctypes.c_int, [_POINTER, _POINTER]

    def look(message: int) -> int:
        nonlocal seen_sip
        try:
            text = _text_of(message).lstrip(b"\r\n")
            seen_sip = seen_sip or _STARTS_LIKE_SIP.match(text) is not None
            if not seen_sip:
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


def silence_spent_sessions(library: Any) -> object | None:
    """
    Have pjsip tell pjsua nothing of an INVITE session that pjsua is no longer prepared for.

    - Nothing more once pjsua has heard of its end. pjsua gives the place of a call to the next one then, but finds the
      place of a session through a pointer that stays. A session may live on for transactions that are still open (an
      INVITE that was cancelled or overtaken by BYE, and is answered later), and what it tells then is taken for news of
      the next call. pjsip itself asks each session whether it is to notify.
    - No further description once one in a provisional response has failed. pjsua has thrown away then what it had
      prepared for the audio, and has asked for a CANCEL, which an answer may cross.

    Otherwise asserts of pjsua_media.c and sip_dialog.c end the process. Call it after libInit. Returns what must live
    as long as the endpoint; None where the layout is another.
    """
    try:
        endpoint_of, instance_of = library.pjsua_get_pjsip_endpt, library.pjsip_inv_usage_instance
    except AttributeError:
        return None
    endpoint_of.restype = instance_of.restype = _POINTER
    endpoint_of.argtypes = instance_of.argtypes = []
    module = _InviteModule.from_address(instance_of())
    if module.base.name is None or module.base.name[: module.base.name_length] != b"mod-invite":
        return None
    if module.endpoint != endpoint_of() or not (module.on_state_changed and module.on_media_update):
        return None
    tell_state, tell_media = _StateCallback(module.on_state_changed), _MediaCallback(module.on_media_update)
    given_up: set[int] = set()
    """Sessions that pjsua has no audio prepared for."""

    def state_changed(session: int, event: int) -> None:
        tell_state(session, event)
        try:
            if _state_of(session) == STATE_DISCONNECTED:
                given_up.discard(session)
                ctypes.c_int.from_address(session + SESSION_NOTIFY_OFFSET).value = 0
        except Exception:
            FAULTS.exception("session")

    def media_updated(session: int, status: int) -> None:
        try:
            if session in given_up:
                return
            if status != 0 and 0 < _state_of(session) < STATE_CONFIRMED:
                given_up.add(session)
        except Exception:
            FAULTS.exception("session")
        tell_media(session, status)

    callbacks = _StateCallback(state_changed), _MediaCallback(media_updated)
    module.on_state_changed, module.on_media_update = (ctypes.cast(each, _POINTER).value for each in callbacks)
    return callbacks


def _state_of(session: int) -> int:
    """The state of a struct pjsip_inv_session that notifies, -1 when it is not one as we know it."""
    dialog = ctypes.c_void_p.from_address(session + SESSION_DIALOG_OFFSET).value or 0
    name = ctypes.string_at(session, MAX_SESSION_NAME).partition(b"\x00")[0]
    if name != f"inv{dialog:#x}".encode() or ctypes.c_int.from_address(session + SESSION_NOTIFY_OFFSET).value != 1:
        return -1
    return ctypes.c_int.from_address(session + SESSION_STATE_OFFSET).value


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
