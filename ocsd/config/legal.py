"""The guard over a campaign's legal window, as its options ask for it."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ocsd.config import options as opt
from ocsd.config.objects import Campaign, Configuration
from ocsd.config.options import lookup
from ocsd.model.records import AbandonmentBucket
from pacing.guard import BUCKET_S, DAY_S, PRESETS, Guard, Ledger, Rule, WindowKind, with_changes

OWN_RULE: Final = "campaign"
"""The rule whose limit is the campaign's ``max_overdial_rate``."""


KEPT_OPEN: Final = timedelta(days=8)
"""How much more than the window of the ledger is read: the people to expect are those of the last week."""


def ledger_of(rule: Rule, buckets: Iterable[AbandonmentBucket], started_s: int | None) -> Ledger:
    """The ledger as the rule counts."""
    return Ledger(
        ((b.start_s, b.people, b.abandoned + (b.late if rule.late_counts else 0)) for b in buckets), started_s
    )


def guard_of(configuration: Configuration, campaign: Campaign) -> Guard | None:
    """The guard in force; None: no window is watched. ValueError when the options do not fit together."""
    name = lookup(configuration, opt.LEGAL_RULE, campaign=campaign)
    if name == "none":
        return None
    rule = PRESETS[name]
    limit_ratio: float | None = None
    if name == OWN_RULE:
        limit_ratio = own_limit_ratio(configuration, campaign)
    asked_rate = lookup(configuration, opt.LEGAL_LIMIT_RATE, campaign=campaign)
    if asked_rate >= 0.0:
        allowed = rule.limit_ratio if limit_ratio is None else limit_ratio
        if asked_rate / 100.0 > allowed + 1e-12:
            raise ValueError(f"legal_limit_rate {asked_rate:g} is above the {100 * allowed:g} percent of rule {name}")
        limit_ratio = asked_rate / 100.0
    days = lookup(configuration, opt.LEGAL_WINDOW_DAYS, campaign=campaign)
    kind = lookup(configuration, opt.LEGAL_WINDOW, campaign=campaign)
    zone = lookup(configuration, opt.LEGAL_WINDOW_ZONE, campaign=campaign)
    if zone:
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError):
            raise ValueError(f"legal_window_zone {zone!r} is no time zone like Europe/London") from None
    try:
        changed = with_changes(
            rule,
            limit_ratio=limit_ratio,
            window_s=max(BUCKET_S, round(days * DAY_S / BUCKET_S) * BUCKET_S) if days else None,
            window=None if kind == "rule" else WindowKind(kind),
            zone=zone or None,
        )
    except ValueError as error:
        raise ValueError(f"the legal window of rule {name} does not work: {error}") from None
    return Guard(
        changed,
        lookup(configuration, opt.LEGAL_CONFIDENCE, campaign=campaign) / 100.0,
        lookup(configuration, opt.LEGAL_HARD_STOP, campaign=campaign),
    )


def own_limit_ratio(configuration: Configuration, campaign: Campaign) -> float:
    """The lowest ``max_overdial_rate`` among the campaign's groups; the campaign's own when it has none."""
    groups = [group for group in configuration.campaign_groups if group.campaign == campaign.name]
    rates = [lookup(configuration, opt.MAX_OVERDIAL_RATE, group=group) for group in groups]
    rates = rates or [lookup(configuration, opt.MAX_OVERDIAL_RATE, campaign=campaign)]
    return min(*rates, 99.0) / 100.0


def legal_problems(configuration: Configuration) -> list[str]:
    """What is wrong with the guards of a configuration, one sentence for each campaign."""
    problems = []
    for campaign in configuration.campaigns:
        try:
            guard_of(configuration, campaign)
        except ValueError as error:
            problems.append(f'campaign "{campaign.name}": {error}')
    return problems
