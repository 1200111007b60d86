"""Do-Not-Call as it is at one moment, for commands that ask once and end; the daemon's own is `service`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from ocsd.config.objects import Configuration
from ocsd.dnc import table
from ocsd.dnc.forms import Plan
from ocsd.dnc.index import NEVER_ENDS
from ocsd.dnc.lookup import plans_of
from ocsd.dnc.mapped import Registry, map_registries
from ocsd.dnc.overlay import Overlay
from ocsd.dnc.view import Source, View
from ocsd.model.errors import ConfigError


@dataclass(slots=True)
class DncSnapshot:
    """The checks of `DoNotCall`, over the table and the registries as they were read."""

    loaded: table.Loaded
    registries: tuple[Registry, ...]
    plans: tuple[Plan, ...]
    _views: dict[int, View] = field(default_factory=dict)

    def forbidden(self, tenant_dbid: int, phones: Sequence[str], now: datetime) -> list[bool]:
        """Which of the numbers must not be called at ``now`` (aware)."""
        return self._view(tenant_dbid).forbidden(phones, now.timestamp())

    def customers_forbidden(self, tenant_dbid: int, customer_ids: Sequence[str], now: datetime) -> list[bool]:
        """Which of the customers must not be called at ``now`` (aware)."""
        return self._view(tenant_dbid).customers_forbidden(customer_ids, now.timestamp())

    def _view(self, tenant_dbid: int) -> View:
        view = self._views.get(tenant_dbid)
        if view is None:
            tenants = (tenant_dbid, None)
            sets = [found for tenant in tenants if (found := self.loaded.sets.get(tenant)) is not None]
            registries = [registry for registry in self.registries if registry.tenant_dbid in tenants]
            view = self._views[tenant_dbid] = View(
                fresh=(Overlay(self.plans).fresh(None),),
                numbers=(
                    *(Source(found.numbers, NEVER_ENDS) for found in sets if len(found.numbers)),
                    *(Source(registry.index, registry.until) for registry in registries if len(registry.index)),
                ),
                texts=tuple(Source(found.texts, NEVER_ENDS) for found in sets if len(found.texts)),
                customers=tuple(Source(found.customers, NEVER_ENDS) for found in sets if len(found.customers)),
                plans=self.plans,
            )
        return view


def read_snapshot(conn: table.Connection, config: Configuration, folder: Path) -> DncSnapshot:
    """
    Read the table in a transaction of its own, and map the registries below ``folder`` (the daemon's data folder).

    Raises ConfigError when the table or a registry file cannot be used: an answer without it would be a wrong one.
    """
    plans = plans_of(config)
    with conn.transaction():
        loaded = table.load(conn, plans)
    registries, problems = map_registries(folder)
    if problems:
        raise ConfigError(problems)
    return DncSnapshot(loaded, registries, plans)
