"""Sets of phone numbers and texts for Do-Not-Call, small enough for a national registry and fast enough for a dial.

A phone number in E.164 is an integer of at most 15 digits. `NumberIndex` keeps a sorted set of them in two levels, as
Roaring bitmaps do (Lemire et al., 2016, array containers): the sorted keys ``n >> 16``, where each key's run begins,
and the low 16 bits of every number, sorted inside their run. A dense set costs little more than 2 bytes a number.

Texts (customer ids, and phones that are no E.164 number) are kept by `TextIndex` as keyed 64-bit hashes. A text that is
not in the set is taken for one of ``n`` texts with probability ``n / 2**64``: for ten million texts 5e-13. The key is
drawn at start, so nobody can construct such a text; and it would only keep somebody from being called.

Both answer with the time until which something is forbidden, in Unix seconds: 0 is "not in the set", `NEVER_ENDS` is
"without end". Arrays may be memory-mapped (`ocsd.dnc.mapped`); everything here is immutable after construction.
"""

import secrets
from bisect import bisect_left
from collections.abc import Iterator
from hashlib import blake2b
from typing import Final, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

U64: TypeAlias = NDArray[np.uint64]
U32: TypeAlias = NDArray[np.uint32]
U16: TypeAlias = NDArray[np.uint16]
I64: TypeAlias = NDArray[np.int64]

MAX_DIGITS: Final = 15
"""ITU-T E.164, 6.1: country code and national number together."""

NEVER_ENDS: Final = 0xFFFF_FFFF
"""In the place of an expiry. Later than any ``expires_at int`` of the table, which ends in 2038."""

CHUNK: Final = 1 << 22
"""Numbers worked on at a time where a copy of everything would cost memory."""

LOW_BITS: Final = np.uint64(16)
LOW_MASK: Final = np.uint64(0xFFFF)

TEXT_LENGTH: Final = 64
"""Texts are told apart by as many characters as the table's columns hold; longer ones that begin alike are one."""

_HASH_KEY: Final = secrets.token_bytes(16)


class Forbids(Protocol):
    """What both indexes offer; ``key`` is a number or a hash."""

    def until(self, key: int) -> int:
        """Until when ``key`` is forbidden (Unix seconds); 0: it is not in the set."""
        ...

    def until_many(self, keys: U64) -> U32:
        """`until` for ``(n,)`` keys."""
        ...

    def __len__(self) -> int: ...


def number_of(text: str) -> int:
    """The integer of an E.164 number written as ``+`` and digits (``contact_info``); 0 for every other text."""
    # Called for each number of each check: conditions in the order that decides soonest.
    if text[:1] == "+" and 2 <= len(text) <= MAX_DIGITS + 1 and text.isascii():
        digits = text[1:]
        if digits.isdigit() and digits[0] != "0":
            return int(digits)
    return 0


def plain(text: str | None) -> str:
    """A text as it is stored and compared: without surrounding blanks, at most `TEXT_LENGTH` characters, no NUL."""
    if not text:
        return ""
    return text.replace("\0", "").strip()[:TEXT_LENGTH].encode("utf-8", "replace").decode().strip()


def hash_of(text: str) -> int:
    """The key of a text (`plain` is applied), different in every process."""
    return int.from_bytes(blake2b(plain(text).encode(), digest_size=8, key=_HASH_KEY).digest(), "little")


def sorted_distinct(keys: U64, expiries: U32 | None) -> tuple[U64, U32 | None]:
    """Sorted copies without repetitions; of several expiries of one key the latest holds."""
    if expiries is None:
        return np.unique(keys), None
    order = np.argsort(keys, kind="stable")
    keys, expiries = keys[order], expiries[order]
    if not len(keys):
        return keys, expiries
    begins = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
    return keys[begins], np.maximum.reduceat(expiries, begins)


def containers(numbers: U64) -> tuple[U64, I64]:
    """Keys ``(k,)`` and begins ``(k + 1,)`` of the runs in sorted distinct numbers, without a copy of them."""
    keys: list[U64] = []
    begins: list[I64] = []
    before: int | None = None
    for start in range(0, len(numbers), CHUNK):
        high = numbers[start : start + CHUNK] >> LOW_BITS
        at = np.flatnonzero(high[1:] != high[:-1]) + 1
        if before is None or int(high[0]) != before:
            at = np.concatenate(([0], at))
        keys.append(high[at])
        begins.append(at.astype(np.int64) + start)
        before = int(high[-1])
    ends = np.array([len(numbers)], np.int64)
    if not keys:
        return np.empty(0, np.uint64), ends
    return np.concatenate(keys), np.concatenate([*begins, ends])


class NumberIndex:
    """
    An immutable set of phone numbers.

    Args:
        keys: ``(k,) uint64``, ascending: the numbers' bits above the lowest 16.
        begins: ``(k + 1,) int64``: where each key's run begins in ``lows``, and the end.
        lows: ``(n,) uint16``, ascending inside a run.
        expiries: ``(n,) uint32``, Unix seconds or NEVER_ENDS; None: nothing expires.
    """

    __slots__ = ("_begins_view", "_keys_view", "_lows_view", "begins", "expiries", "keys", "lows")

    def __init__(self, keys: U64, begins: I64, lows: U16, expiries: U32 | None = None) -> None:
        self.keys = keys
        self.begins = begins
        self.lows = lows
        self.expiries = expiries
        # A look-up of one number through numpy costs its overhead five times; bisect on memory views does not.
        self._keys_view = keys.data
        self._begins_view = begins.data
        self._lows_view = lows.data

    @classmethod
    def build(cls, numbers: U64, expiries: U32 | None = None) -> "NumberIndex":
        """From numbers in any order, with repetitions; needs several times their memory (registries: `mapped`)."""
        numbers, expiries = sorted_distinct(numbers, expiries)
        keys, begins = containers(numbers)
        return cls(keys, begins, (numbers & LOW_MASK).astype(np.uint16), expiries)

    def __len__(self) -> int:
        return len(self.lows)

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays, mapped or not."""
        expiries = 0 if self.expiries is None else self.expiries.nbytes
        return self.keys.nbytes + self.begins.nbytes + self.lows.nbytes + expiries

    def until(self, key: int) -> int:
        keys = self._keys_view
        high = key >> 16
        container = bisect_left(keys, high)
        if container == len(keys) or keys[container] != high:
            return 0
        begin, end = self._begins_view[container], self._begins_view[container + 1]
        low = key & 0xFFFF
        at = bisect_left(self._lows_view, low, begin, end)
        if at == end or self._lows_view[at] != low:
            return 0
        return NEVER_ENDS if self.expiries is None else int(self.expiries[at])

    def until_many(self, keys: U64) -> U32:
        at, found = self._positions(keys)
        if self.expiries is None:
            return np.where(found, np.uint32(NEVER_ENDS), np.uint32(0))
        return np.where(found, self.expiries[at], np.uint32(0)) if len(self) else np.zeros(len(keys), np.uint32)

    def contains_many(self, numbers: U64) -> NDArray[np.bool_]:
        """Which of ``(n,)`` numbers are in the set."""
        return self._positions(numbers)[1]

    def _positions(self, numbers: U64) -> tuple[I64, NDArray[np.bool_]]:
        """Places in ``lows`` and whether the number stands there: a binary search in all runs at once."""
        if not len(self):
            return np.zeros(len(numbers), np.int64), np.zeros(len(numbers), np.bool_)
        high = numbers >> LOW_BITS
        low = (numbers & LOW_MASK).astype(np.uint16)
        container = np.minimum(np.searchsorted(self.keys, high), len(self.keys) - 1)
        found = self.keys[container] == high
        first, after = self.begins[container], self.begins[container + 1]
        last = after - 1
        lengths = last - first
        # Invariant: the first place with a low half >= ours is in [first, last], or there is none in the run. Every
        # round halves what is between; a search that is over (first == last) stays where it is.
        for _ in range(int(lengths.max(initial=0)).bit_length()):
            middle = (first + last) >> 1
            right = self.lows[middle] < low
            first = np.where(right, np.minimum(middle + 1, last), first)
            last = np.where(right, last, middle)
        return first, found & (self.lows[first] == low)

    def numbers(self) -> Iterator[U64]:
        """All numbers, ascending, in arrays of about `CHUNK`."""
        for start in range(0, len(self), CHUNK):
            end = min(start + CHUNK, len(self))
            places = np.arange(start, end)
            high = self.keys[np.searchsorted(self.begins, places, side="right") - 1]
            yield (high << LOW_BITS) | self.lows[start:end].astype(np.uint64)


class TextIndex:
    """An immutable set of hashed texts with expiries; ``(n,)`` keys in any order, repetitions allowed."""

    __slots__ = ("_view", "expiries", "keys")

    def __init__(self, keys: U64, expiries: U32) -> None:
        distinct, latest = sorted_distinct(keys, expiries)
        assert latest is not None
        self.keys, self.expiries = distinct, latest
        self._view = self.keys.data

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def nbytes(self) -> int:
        return self.keys.nbytes + self.expiries.nbytes

    def until(self, key: int) -> int:
        at = bisect_left(self._view, key)
        return int(self.expiries[at]) if at < len(self._view) and self._view[at] == key else 0

    def until_many(self, keys: U64) -> U32:
        if not len(self):
            return np.zeros(len(keys), np.uint32)
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[at] == keys, self.expiries[at], np.uint32(0))
