"""The check: whether numbers and customers are forbidden to one tenant, over everything that holds for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ocsd.dnc.forms import Plan, every_number
from ocsd.dnc.index import Forbids, hash_of, number_of, plain
from ocsd.dnc.overlay import Fresh

ONE_BY_ONE: Final = 32
"""Up to so many numbers one look-up each is faster than numpy for all (measured with 250 million numbers)."""


@dataclass(frozen=True, slots=True)
class Source:
    """A set and the Unix second at which it ends as a whole."""

    index: Forbids
    until: int


@dataclass(frozen=True, slots=True)
class View:
    """
    Everything that holds for a tenant: its own and what holds for all.

    Attributes:
        fresh: requests since the table was read.
        numbers: of the table and the registries.
        texts, customers: of the table.
        plans: for phones that are not E.164.
    """

    fresh: tuple[Fresh, ...]
    numbers: tuple[Source, ...]
    texts: tuple[Source, ...]
    customers: tuple[Source, ...]
    plans: tuple[Plan, ...]

    def forbidden(self, phones: Sequence[str], now_s: float) -> list[bool]:
        """Which phones are forbidden at ``now_s`` (Unix seconds)."""
        keys = [number_of(phone) for phone in phones]
        if len(keys) <= ONE_BY_ONE:
            return [self._number(key, phone, now_s) for key, phone in zip(keys, phones, strict=True)]
        array = np.array(keys, np.uint64)
        found = np.zeros(len(keys), np.bool_)
        for source in self.numbers:
            if source.until > now_s and len(source.index):
                found |= source.index.until_many(array) > now_s
        result: list[bool] = found.tolist()
        for fresh in self.fresh:
            if fresh.numbers:
                get = fresh.numbers.get
                result = [known or get(key, 0) > now_s for known, key in zip(result, keys, strict=True)]
        if 0 in keys:
            for place, key in enumerate(keys):
                if not key:
                    result[place] = self._other_text(phones[place], now_s)
        return result

    def customers_forbidden(self, customer_ids: Sequence[str], now_s: float) -> list[bool]:
        """Which customers are forbidden at ``now_s``; an empty id is nobody."""
        return [bool(plain(text)) and self._hash(text, now_s, customers=True) for text in customer_ids]

    def _number(self, key: int, phone: str, now_s: float) -> bool:
        if not key:
            return self._other_text(phone, now_s)
        for fresh in self.fresh:
            if fresh.numbers.get(key, 0) > now_s:
                return True
        for source in self.numbers:  # noqa: SIM110 - a generator would cost as much as the look-up
            if source.index.until(key) > now_s and source.until > now_s:
                return True
        return False

    def _other_text(self, phone: str, now_s: float) -> bool:
        """A phone that is not E.164 is forbidden as it is written, and with every number that it may mean."""
        if not plain(phone):
            return False
        if self._hash(phone, now_s, customers=False):
            return True
        return any(self._number(number, "", now_s) for number in every_number(phone, self.plans))

    def _hash(self, text: str, now_s: float, *, customers: bool) -> bool:
        key = hash_of(text)
        for fresh in self.fresh:
            if (fresh.customers if customers else fresh.texts).get(key, 0) > now_s:
                return True
        sources = self.customers if customers else self.texts
        return any(source.index.until(key) > now_s for source in sources)
