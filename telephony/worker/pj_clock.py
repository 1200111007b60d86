"""When the stack has to do something: its conference bridge turns only when told to, and it tells when its next
timer is due. Taken from the C library behind pjsua2, as `pj_native` does, where its Python has nothing for it.

Sources: pjmedia/include/pjmedia/frame.h (struct pjmedia_frame), pj/include/pj/types.h (pj_time_val), both unchanged
since long before 2.15.
"""

import ctypes
import math
from collections.abc import Callable
from typing import Any, Final

_POINTER: Final = ctypes.c_void_p


class _Frame(ctypes.Structure):
    """struct pjmedia_frame."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("buffer", _POINTER),
        ("size", ctypes.c_size_t),
        ("timestamp", ctypes.c_uint64),
        ("bit_info", ctypes.c_uint32),
    )


def without_clock(library: Any, samples_per_frame: int) -> Callable[[], None] | None:
    """
    Take the clock from the conference bridge, and return what turns it once; None where that is not possible.

    Call it when the endpoint is there. ``samples_per_frame`` must be the bridge's own, or pjmedia aborts the process.

    Every call has a port in the bridge, whatever becomes of its audio, and a port is put in and taken out only as the
    bridge turns. With a device, a null device too, a thread of the stack turns it 50 times a second: over hundreds of
    workers more work than all their calls.
    """
    try:
        take_clock, pull = library.pjsua_set_no_snd_dev, library.pjmedia_port_get_frame
    except AttributeError:
        return None
    take_clock.restype, take_clock.argtypes = _POINTER, []
    pull.restype, pull.argtypes = ctypes.c_int, [_POINTER, ctypes.POINTER(_Frame)]
    port = take_clock()
    if not port:
        return None
    samples = (ctypes.c_int16 * samples_per_frame)()
    frame = _Frame()

    def turn() -> None:
        # The array is named here so that it lives as long as the frame that points at it.
        frame.buffer, frame.size = ctypes.addressof(samples), ctypes.sizeof(samples)
        frame.timestamp += samples_per_frame
        pull(port, frame)

    return turn


class _TimeVal(ctypes.Structure):
    """pj_time_val."""

    _fields_ = (("seconds", ctypes.c_long), ("milliseconds", ctypes.c_long))


def find_timer(library: Any) -> Callable[[], float] | None:
    """
    What tells in how many seconds the stack has to be polled for its timers: 0 for now, infinite without one.

    None where that is not possible. Call it when the endpoint is there.
    """
    try:
        heap_of, endpoint_of = library.pjsip_endpt_get_timer_heap, library.pjsua_get_pjsip_endpt
        count, earliest, clock = (
            library.pj_timer_heap_count,
            library.pj_timer_heap_earliest_time,
            library.pj_gettickcount,
        )
    except AttributeError:
        return None
    endpoint_of.restype, endpoint_of.argtypes = _POINTER, []
    heap_of.restype, heap_of.argtypes = _POINTER, [_POINTER]
    count.restype, count.argtypes = ctypes.c_size_t, [_POINTER]
    earliest.restype, earliest.argtypes = ctypes.c_int, [_POINTER, ctypes.POINTER(_TimeVal)]
    clock.restype, clock.argtypes = ctypes.c_int, [ctypes.POINTER(_TimeVal)]
    heap = heap_of(endpoint_of())
    if not heap:
        return None
    due, now = _TimeVal(), _TimeVal()

    def due_in_s() -> float:
        # Of an empty heap it may not be asked: pjlib would abort the process.
        if not count(heap) or earliest(heap, due) != 0 or clock(now) != 0:
            return math.inf
        wait_ms = 1000 * (due.seconds - now.seconds) + due.milliseconds - now.milliseconds
        # Both are cut to milliseconds: one more, or we would be back before it is due, and again.
        return 0.001 * (wait_ms + 1) if wait_ms > 0 else 0.0

    return due_in_s
