"""The gates of the campaign group that dials: in a campaign, loaded, running, agents, lines, pacing, its turn. Pure."""

from collections.abc import Iterator, Mapping
from typing import Final

from ocsd.config.objects import CallingList, CampaignGroup, Configuration
from ocsd.explain.contract import GateVerdict, Reach
from ocsd.explain.live import LegalWindow, Live, LiveGroup
from ocsd.model.enums import GVP_MODES, GroupCampStatus, RecordType
from pacing.words import REASONS

TAKES_CALLS: Final = frozenset({"ready", "reserved", "talking", "wrap_up"})
"""States of agents for whom calls are started, now or ahead of time."""

NO_DAEMON: Final = "only a running daemon knows; none was asked"
ASK: Final = "start the daemon, or give its control port with --url"


def group_gates(
    config: Configuration,
    group: CampaignGroup | None,
    live: Live | None,
    *,
    calling_list: CallingList | None = None,
    kind: RecordType | None = None,
    agent_id: str | None = None,
    ahead: int | None = None,
) -> Iterator[GateVerdict]:
    """
    Every gate of the group; with ``calling_list`` and ``kind`` also those of a record of that list and type.

    Args:
        agent_id: for a record that goes to this agent's desktop; empty: to any agent's; None: it is dialed.
        ahead: chains of the list that go first.
    """
    if calling_list is not None:
        yield _campaign(config, calling_list)
    if group is None:
        return
    known = None if live is None else live.groups.get(group.dbid, LiveGroup(group.dbid, group.name))
    if known is None:
        for gate, of in (
            ("loaded", "whether it is loaded"),
            ("running", "whether it dials"),
            ("agents", "who is ready"),
            *((("lines", "which ports are free"), ("pacing", "what the pacing decides")) if agent_id is None else ()),
        ):
            yield _verdict(gate, None, f'{of}, {NO_DAEMON} (campaign group "{group.name}")', {}, ASK)
        if calling_list is not None:
            yield _turn(config, group, None, calling_list, kind, ahead)
        return
    yield _loaded(known)
    yield _running(known)
    yield _agents(known, agent_id)
    if agent_id is None:
        yield _lines(known)
        if known.legal is not None:
            yield _legal(known.legal)
        yield _pacing(known)
    if calling_list is not None:
        yield _turn(config, group, known, calling_list, kind, ahead)
    else:
        yield _records(config, group, known)


def _verdict(gate: str, passed: bool | None, why: str, inputs: Mapping[str, object], remedy: str = "") -> GateVerdict:
    return GateVerdict(gate, passed, why, Reach.GROUP, inputs, remedy="" if passed else remedy)


def _campaign(config: Configuration, calling_list: CallingList) -> GateVerdict:
    entries = [
        (campaign, entry)
        for campaign in config.campaigns
        for entry in campaign.lists
        if entry.calling_list == calling_list.name
    ]
    active = {campaign.name: entry.share for campaign, entry in entries if entry.active}
    groups = [group.name for group in config.campaign_groups if group.campaign in active]
    inputs = {"campaigns": active, "campaign_groups": groups}
    if groups:
        return _verdict("campaign", True, f"list {calling_list.name} is dialed by {', '.join(groups)}", inputs)
    if active:
        why = f"no campaign group is configured for campaign {', '.join(active)}, which has the list"
        return _verdict("campaign", False, why, inputs, "add a campaign group of that campaign")
    if entries:
        why = f"list {calling_list.name} is not active in campaign {', '.join(c.name for c, _ in entries)}"
        return _verdict("campaign", False, why, inputs, "set active = true in the campaign's lists and reload")
    why = f"list {calling_list.name} is in no campaign"
    return _verdict("campaign", False, why, inputs, "put the list into a campaign")


def _loaded(group: LiveGroup) -> GateVerdict:
    status = group.status
    inputs = {"campaign_group": group.name, "status": int(status)}
    if status in (GroupCampStatus.ACTIVE, GroupCampStatus.RUNNING):
        return _verdict("loaded", True, f"{group.name} is loaded", inputs)
    if group.loaded:
        return _verdict("loaded", False, f"{group.name} is being unloaded", inputs, f'ocsd ctl load "{group.name}"')
    return _verdict("loaded", False, f"{group.name} is not loaded", inputs, f'ocsd ctl load "{group.name}"')


def _running(group: LiveGroup) -> GateVerdict:
    mode = group.dial_mode.campaign_mode.lower() if group.dial_mode is not None else None
    inputs = {"campaign_group": group.name, "dial_mode": mode, "stopping": group.stopping}
    if group.stopping:
        why = "the daemon is stopping or still recovering: nothing new is dialed"
        return _verdict("running", False, why, inputs, "wait for its next start")
    if group.status is GroupCampStatus.RUNNING:
        return _verdict("running", True, f"{group.name} is dialing, {mode}", inputs)
    return _verdict("running", False, f"{group.name} is not dialing", inputs, f'ocsd ctl start "{group.name}"')


def _agents(group: LiveGroup, agent_id: str | None) -> GateVerdict:
    states = sorted(set(group.agents.values()))
    counts = {state: sum(other == state for other in group.agents.values()) for state in states}
    inputs: dict[str, object] = {"agents": counts}
    words = ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in counts.items()) or "none configured"
    if agent_id:
        inputs |= {"agent_id": agent_id, "state": group.agents.get(agent_id)}
        if agent_id not in group.agents:
            why = f"agent {agent_id} does not belong to {group.name}: the callback counts as missed when due"
            return _verdict("agents", False, why, inputs, "put the agent into the agent group, or change agent_id")
        if group.agents[agent_id] == "logged_out":
            why = f"agent {agent_id} is logged out: the callback counts as missed when due"
            return _verdict("agents", False, why, inputs, "the agent has to log in")
        return _verdict("agents", True, f"agent {agent_id} is {group.agents[agent_id].replace('_', ' ')}", inputs)
    if agent_id is not None:  # to anybody's desktop
        there = any(state != "logged_out" for state in group.agents.values())
        return _verdict("agents", there, f"agents of {group.name}: {words}", inputs, "agents have to log in")
    if (places := group.queue_places) is not None:
        inputs = {"queue_places": places}
        why = f"{group.name} gives calls to a queue of another switch, which can take {places or 'nobody'}"
        return _verdict("agents", places > 0, why, inputs, "report free places, or raise transfer-lines")
    if any(state in TAKES_CALLS for state in group.agents.values()):
        return _verdict("agents", True, f"agents of {group.name}: {words}", inputs)
    if group.dial_mode in GVP_MODES:
        return _verdict("agents", True, f"{group.name} needs no agents: its calls run a voice application", inputs)
    why = f"no agent of {group.name} takes calls: {words}"
    return _verdict("agents", False, why, inputs, "agents have to log in and become ready")


def _lines(group: LiveGroup) -> GateVerdict:
    trunks = ", ".join(f"{trunk.name} {trunk.calls} of {trunk.max_calls}" for trunk in group.trunks)
    inputs = {
        "ports_free": group.ports_free,
        "starts_allowed": group.starts_allowed,
        "trunks": {
            trunk.name: {"calls": trunk.calls, "max_calls": trunk.max_calls, "out": trunk.out} for trunk in group.trunks
        },
    }
    out = [trunk for trunk in group.trunks if trunk.out]
    if group.loaded and out and len(out) == len(group.trunks):
        why = "no trunk takes calls: " + "; ".join(f"{trunk.name} {trunk.out}" for trunk in out)
        return _verdict(
            "lines", False, why, inputs, "none needed once a carrier is back: each is tried again by itself"
        )
    if group.loaded and group.ports_free <= 0:
        remedy = "wait for calls to end, or raise num_of_channels, max_calls of the trunks, or max_legs"
        return _verdict("lines", False, f"no port is free (calls on trunks: {trunks})", inputs, remedy)
    if group.loaded and group.starts_allowed <= 0:
        why = f"no call may start this very moment: calls per second are used up (calls on trunks: {trunks})"
        return _verdict("lines", False, why, inputs, "none needed: within a second the next may start")
    free = f"{group.ports_free} ports free" if group.loaded else "not in use by this group"
    return _verdict("lines", True, f"{free} (calls on trunks: {trunks})", inputs)


def _legal(legal: LegalWindow) -> GateVerdict:
    """Closed only when nothing is dialed at all: one call for each agent is dialing too."""
    return _verdict(
        "legal_window",
        not legal.stopped,
        legal.why,
        {"binds": legal.binds, **legal.inputs},
        "wait for the end of the window (`ocsd guard`), or change legal_hard_stop",
    )


def _pacing(group: LiveGroup) -> GateVerdict:
    decision = group.decision
    if decision is None:
        why = "the pacing has not been asked: the group is not dialing"
        return _verdict("pacing", False, why, {}, f'ocsd ctl start "{group.name}"')
    words = REASONS.get(decision.because, decision.because)
    inputs = {"launch": decision.launch, "because": decision.because, "in_progress": group.in_progress}
    inputs |= dict(decision.inputs)
    why = f"last decision: {decision.launch} calls to start, {group.in_progress} in progress ({words})"
    goes_on = decision.launch > 0 or group.in_progress > 0
    return _verdict("pacing", goes_on, why, inputs, "what the reason names: agents, ports, records, or patience")


def _turn(
    config: Configuration,
    group: CampaignGroup,
    live: LiveGroup | None,
    calling_list: CallingList,
    kind: RecordType | None,
    ahead: int | None,
) -> GateVerdict:
    """Not a gate that is ever closed: it says how long the queue is."""
    shares = {
        config.calling_list(entry.calling_list).dbid: entry.share
        for entry in config.campaign(group.campaign).lists
        if entry.active
    }
    if live is not None and live.shares:
        shares = dict(live.shares)
    share, total = shares.get(calling_list.dbid, 0), sum(shares.values())
    priority = None if live is None or kind is None else live.priorities.get(kind)
    buffered = None if live is None else live.buffered_by_list.get(calling_list.dbid, 0)
    inputs = {
        "share": share,
        "of": total,
        "priority": priority,
        "ahead": ahead,
        "buffered": buffered,
        "min_rec_buff_size": group.min_rec_buff_size,
        "opt_rec_buff_size": group.opt_rec_buff_size,
    }
    said = [f"{share} of {total} chains come from this list" if share else "the list has no share"]
    if ahead is not None:
        said.append(f"about {ahead} chains of it go first" if ahead else "no chain of it goes first")
    if buffered is not None:
        said.append(f"{buffered} of it are in the buffer")
    if priority is not None and kind is not None:
        said.append(f"type {kind.name.replace('_', ' ').title()} has priority {priority}")
    return _verdict("turn", share > 0, "; ".join(said), inputs, "give the list a share in its campaign")


def _records(config: Configuration, group: CampaignGroup, live: LiveGroup) -> GateVerdict:
    """Of a group: what it has to dial."""
    names = {calling_list.dbid: calling_list.name for calling_list in config.calling_lists}
    by_list = {names.get(dbid, str(dbid)): live.buffered_by_list.get(dbid, 0) for dbid in live.shares}
    empty = [name for name, count in by_list.items() if not count]
    inputs = {
        "buffered": live.buffered,
        "held": live.held,
        "buffered_by_list": by_list,
        "held_back": dict(live.held_back),
        "min_rec_buff_size": group.min_rec_buff_size,
        "opt_rec_buff_size": group.opt_rec_buff_size,
    }
    held = ", ".join(f"{count} by {gate}" for gate, count in live.held_back.items() if count)
    why = f"{live.buffered} chains in the buffer, {live.held} held until their time"
    if held:
        why += f"; gates have held back so far: {held}"
    if empty:
        why += f"; nothing in the buffer from {', '.join(empty)}"
    passed = live.buffered > 0 if live.loaded else None
    remedy = "; ".join(f'ocsd list stats "{name}"' for name in empty) or "load the group"
    return _verdict("records", passed, why, inputs, remedy)
