"""Do-Not-Call requests since the table was last read, by tenant: dictionaries, because they change all the time."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

from ocsd.dnc.forms import Plan, every_number
from ocsd.dnc.index import hash_of, number_of, plain
from ocsd.dnc.table import Request


@dataclass(slots=True)
class Fresh:
    """Until when (Unix seconds) phones, phones that are no number, and customer ids of one tenant are forbidden."""

    numbers: dict[int, int] = field(default_factory=dict)
    texts: dict[int, int] = field(default_factory=dict)
    customers: dict[int, int] = field(default_factory=dict)

    def put(self, request: Request, plans: tuple[Plan, ...]) -> None:
        """Of several requests about the same the latest end holds."""
        if phone := plain(request.entry.phone):
            number = number_of(phone)
            numbers = (number,) if number else every_number(phone, plans)
            for number in numbers:
                self.numbers[number] = max(request.expires_at, self.numbers.get(number, 0))
            if not number_of(phone):
                key = hash_of(phone)
                self.texts[key] = max(request.expires_at, self.texts.get(key, 0))
        if customer_id := plain(request.entry.customer_id):
            key = hash_of(customer_id)
            self.customers[key] = max(request.expires_at, self.customers.get(key, 0))


@dataclass(slots=True)
class _Kept:
    request: Request
    durable: bool


class Overlay:
    """
    Requests by id, each with whether it is known to be in the table; `fresh` has what they forbid.

    A request leaves only when the table was read after it had become durable.
    """

    def __init__(self, plans: tuple[Plan, ...]) -> None:
        self._plans = plans
        self._kept: dict[UUID, _Kept] = {}
        self._fresh: dict[int | None, Fresh] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, request_id: UUID) -> bool:
        return request_id in self._kept

    def fresh(self, tenant_dbid: int | None) -> Fresh:
        """The tenant's own; the same object for ever, filled as requests come."""
        return self._fresh.setdefault(tenant_dbid, Fresh())

    def put(self, request: Request, *, durable: bool) -> bool:
        """In force from now on. False: it was known already (and is durable if either says so)."""
        if (kept := self._kept.get(request.request_id)) is not None:
            kept.durable |= durable
            return False
        self._kept[request.request_id] = _Kept(request, durable)
        self.fresh(_tenant(request)).put(request, self._plans)
        return True

    def durable(self, request_ids: Iterable[UUID]) -> None:
        """The requests are in the table."""
        for request_id in request_ids:
            if (kept := self._kept.get(request_id)) is not None:
                kept.durable = True

    @property
    def durable_ones(self) -> int:
        """How many could leave with the next reading of the table."""
        return sum(kept.durable for kept in self._kept.values())

    def all_durable(self) -> frozenset[UUID]:
        return frozenset(request_id for request_id, kept in self._kept.items() if kept.durable)

    def drop(self, request_ids: frozenset[UUID]) -> None:
        """Forget requests that what was read from the table contains."""
        self._kept = {request_id: kept for request_id, kept in self._kept.items() if request_id not in request_ids}
        self._rebuild()

    def use(self, plans: tuple[Plan, ...]) -> None:
        """Read phones without a country code in these countries from now on."""
        self._plans = plans
        self._rebuild()

    def _rebuild(self) -> None:
        for fresh in self._fresh.values():
            fresh.numbers.clear()
            fresh.texts.clear()
            fresh.customers.clear()
        for kept in self._kept.values():
            self.fresh(_tenant(kept.request)).put(kept.request, self._plans)


def _tenant(request: Request) -> int | None:
    """As the table is read: what is no DBID holds for every tenant."""
    tenant = request.entry.tenant_dbid
    return tenant if tenant is not None and tenant >= 1 else None
