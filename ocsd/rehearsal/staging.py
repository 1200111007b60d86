"""What a rehearsal is made of, gathered: the group, its lists, its world."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, time, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import psycopg

from ocsd.config.legal import guard_of
from ocsd.config.objects import CallingList, CampaignGroup, Configuration
from ocsd.config.options import lookup
from ocsd.explain.preflight import Forbids
from ocsd.lists import abandonment
from ocsd.model.enums import GVP_MODES
from ocsd.model.errors import ConfigError
from ocsd.rehearsal.copying import NOBODY_FORBIDDEN, Forbidden, copy_lists
from ocsd.rehearsal.lists import ListCopies, ListCopy
from ocsd.rehearsal.mixes import MadeUpList, made_up_rows
from ocsd.rehearsal.run import Scene, without_outside
from ocsd.rehearsal.session import Delays, rhythm_for
from ocsd.rehearsal.world import Mix, MixWorld
from ocsd.sessions.group import SUPPORTED_MODES, DialSettings
from ocsd.sessions.guarding import KEPT_OPEN
from ocsd.sessions.planner import Planner

ATTEMPTS_AHEAD = 1.5
"""A part of a large list holds so many times the chains that can be dialed in the time."""
LEAST_SAMPLE = 5_000


def active_lists(config: Configuration, group: CampaignGroup) -> list[CallingList]:
    """ConfigError: the group's campaign has none."""
    lists = [config.calling_list_by_dbid(dbid) for dbid in Planner(config, group).shares()]
    if not lists:
        raise ConfigError([f"campaign {group.campaign!r} has no active calling list, so there is nothing to rehearse"])
    return lists


def settings_of(config: Configuration, group: CampaignGroup) -> DialSettings:
    """As the group is configured; ConfigError for a mode that this version does not dial in."""
    if group.dial_mode not in SUPPORTED_MODES - GVP_MODES:
        raise ConfigError([f"campaign group {group.name!r}: mode {group.dial_mode.campaign_mode} is not rehearsed"])
    if config.agent_group(group.group).ivr_group:
        raise ConfigError([f"campaign group {group.name!r}: the ports of an IVR group are not rehearsed"])
    auto = bool(lookup(config, "campaigngroup-auto-complete", group=group))
    return DialSettings(group.dial_mode, group.optimize_by, group.optimize_goal, auto)


def next_morning(config: Configuration, group: CampaignGroup, now: datetime) -> datetime:
    """The next 9:00 of a weekday in the zone of the campaign's first list (aware, UTC)."""
    zones = {zone.name: ZoneInfo(zone.zone) for zone in config.time_zones}
    zone = zones.get(active_lists(config, group)[0].time_zone, ZoneInfo("UTC"))
    day = now.astimezone(zone).date()
    while True:
        at = datetime.combine(day, time(9), zone)
        if at > now and day.weekday() < 5:
            return at.astimezone(UTC)
        day += timedelta(days=1)


def made_up_lists(config: Configuration, group: CampaignGroup, made_up: MadeUpList, seed: int) -> ListCopies:
    """Lists that nobody has, for sites without any."""
    copies = tuple(
        ListCopy(entry.dbid, rows, len({row.chain_id for row in rows}))
        for entry, rows in made_up_rows(config, active_lists(config, group), made_up, seed)
    )
    return ListCopies(copies, f"{made_up.records} made-up records that were never dialed")


def enough_chains(mix: Mix, agents: int, duration_s: float) -> int:
    """So many chains that a part of a list lasts for the whole rehearsal, whatever the pacing does."""
    per_call_s = mix.talk.mean_s + mix.wrap_up.mean_s
    attempts = agents * duration_s / max(per_call_s, 1.0) / max(mix.person_share, 0.01)
    return max(LEAST_SAMPLE, int(ATTEMPTS_AHEAD * attempts))


def read_lists(
    conn: psycopg.Connection[Any],
    config: Configuration,
    group: CampaignGroup,
    dnc: Forbids,
    start: datetime,
    *,
    sample: int,
    seed: int,
    progress: Callable[[int, int], object] | None = None,
) -> tuple[ListCopies, Forbidden]:
    """The campaign's lists as they are, and what is known of the people who answered it before."""
    planner = Planner(config, group)
    active_lists(config, group)
    copied = copy_lists(conn, config, planner, dnc, start, sample=sample, seed=seed, progress=progress)
    guard = guard_of(config, planner.campaign)
    if guard is None:
        return copied.lists, copied.forbidden
    since = start - timedelta(seconds=guard.rule.window_s) - KEPT_OPEN
    counts = abandonment.counts(conn, planner.campaign.dbid, since)
    lists = ListCopies(copied.lists.lists, copied.lists.source, copied.lists.past, counts.buckets, counts.started_s)
    return lists, copied.forbidden


def scene_of(
    config: Configuration,
    group: CampaignGroup,
    lists: ListCopies,
    mix: Mix,
    start: datetime,
    duration_s: float,
    *,
    forbidden: Forbidden = NOBODY_FORBIDDEN,
    delays: Delays | None = None,
) -> Scene:
    """Everything that the variants of a rehearsal share."""
    return Scene(
        config=without_outside(config),
        group=group,
        lists=lists,
        world=partial(MixWorld, mix),
        start=start,
        duration_s=duration_s,
        delays=delays if delays is not None else Delays(),
        rhythm=rhythm_for(mix.talk.mean_s + mix.wrap_up.mean_s),
        dnc=forbidden,
    )


def assumptions(config: Configuration, group: CampaignGroup, lists: Sequence[CallingList]) -> list[str]:
    """What a rehearsal leaves out, because nobody can know it or nobody may be asked."""
    planner, found = Planner(config, group), []
    if any(planner.validation(entry.dbid) is not None for entry in lists):
        found.append("pre-dial validation counts as passed: nobody outside is asked")
    if not planner.ocs_dials_callbacks:
        found.append("callbacks that go to desktops take no agent's time")
    if any(treatment.disposition.strip() for entry in lists for treatment in planner.treatments(entry.dbid)):
        found.append("treatments by disposition are not used: nobody knows the codes of calls that were not made")
    others = [
        other.name
        for other in config.campaign_groups
        if other.dbid != group.dbid and set(other.trunks) & set(group.trunks)
    ]
    if others:
        found.append(f"trunks are not shared with {', '.join(others)} meanwhile")
    found.append("no new records, requests not to be called, or cancellations come in")
    return found
