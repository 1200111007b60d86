"""Why it is not dialing, asked of the daemon itself: what its sessions know joins what the database says."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, Protocol, TypeVar

import trio

from ocsd.config.objects import CallingList, CampaignGroup, Configuration
from ocsd.cpa.feedback import counted, feedback
from ocsd.dnc.lookup import Found
from ocsd.dnc.mapped import Registry
from ocsd.explain.choice import in_force, queues
from ocsd.explain.contract import Explanation, GroupExplanation, Preflight
from ocsd.explain.facts import Connection, RecordFacts, Row, gather, list_named, with_ahead
from ocsd.explain.live import LastDecision, LegalWindow, Live, LiveGroup, Place, TrunkFacts, Whereabouts
from ocsd.explain.preflight import preflight
from ocsd.explain.trunks import trunk_calls
from ocsd.explain.why import explain, explain_group
from ocsd.model.enums import CmError, GroupCampStatus
from ocsd.model.errors import CampaignRequestError
from ocsd.model.records import CallingRecord
from ocsd.sessions.campaigns import Campaigns
from ocsd.sessions.figures import snapshot
from ocsd.sessions.guarding import CampaignGuard
from ocsd.sessions.session import Session
from pacing.guard import Phase

T = TypeVar("T")

FEEDBACK_AGE: Final = timedelta(days=30)
"""Calls that `Explaining.feedback` looks at; `ocsd cpa feedback` looks at any others."""

NEWS: Final = "in force in this daemon, not found in the table or a registry"


class Forbids(Protocol):
    """What is asked of Do-Not-Call (`ocsd.dnc.service.DncService`)."""

    @property
    def registries(self) -> tuple[Registry, ...]: ...

    def forbidden(self, tenant_dbid: int, phones: Sequence[str], now: datetime) -> list[bool]: ...

    def customers_forbidden(self, tenant_dbid: int, customer_ids: Sequence[str], now: datetime) -> list[bool]: ...


class Database(Protocol):
    """What is asked of `ocsd.lists.pool.Database`."""

    async def transaction(self, fn: Callable[[Connection], T], *, read_only: bool = False) -> T: ...


class Explaining:
    """
    Implements Explainer for a running daemon.

    Args:
        owner: the name under which this run of the daemon claims chains (`PostgresListStore.owner`).
    """

    def __init__(self, campaigns: Campaigns, database: Database, dnc: Forbids, owner: str) -> None:
        self._campaigns = campaigns
        self._database = database
        self._dnc = dnc
        self._owner = owner
        # Each takes one connection of the pool at most: those who ask must not keep the dialing from the database.
        self._one_why = trio.Lock()
        self._one_preflight = trio.Lock()

    @property
    def _config(self) -> Configuration:
        return self._campaigns.config

    async def why(self, calling_list: str, record_id: int) -> Explanation:
        """See Explainer."""
        config, of_list, now = self._config, list_named(self._config, calling_list), self._campaigns.clock.utc()
        at_work = [
            dbid
            for dbid, session in sorted(self._campaigns.sessions.items(), key=lambda item: -int(item[1].status))
            if session.status is not GroupCampStatus.NOT_LOADED
        ]
        priorities = {dbid: session.planner.priorities() for dbid, session in self._campaigns.sessions.items()}

        def look(conn: Connection) -> RecordFacts:
            facts = gather(
                conn,
                config,
                of_list,
                record_id,
                now,
                registries=self._dnc.registries,
                forbids=lambda tenant_dbid, record: bool(self._kinds(of_list, tenant_dbid, record, now)),
                prefer=at_work,
            )
            if facts.group is None or not queues(facts):
                return facts
            return with_ahead(conn, facts, priorities.get(facts.group.dbid) or facts.priorities())

        async with self._one_why:
            facts = await self._database.transaction(look, read_only=True)
        # No checkpoint from here on: what the sessions say is of one instant, right after what the database said.
        facts = replace(
            facts,
            row=self._also_fresh(facts, facts.row),
            chain=tuple(self._also_fresh(facts, row) for row in facts.chain),
        )
        return explain(facts, self._live(of_list, facts))

    async def why_group(self, campaign_group_dbid: int) -> GroupExplanation:
        """See Explainer."""
        group = self._campaigns.groups.get(campaign_group_dbid)
        if group is None:
            raise CampaignRequestError(
                CmError.GROUP_CAMP_NOT_FOUND, f"no campaign group with DBID {campaign_group_dbid} is configured"
            )
        config, now = self._config, self._campaigns.clock.utc()
        switches = [config.trunk(name).dbid for name in group.trunks]
        async with self._one_why:
            trunks = await self._database.transaction(lambda conn: trunk_calls(conn, switches, now), read_only=True)
        return explain_group(config, group, Live(self._owner, self._groups()), now, trunks)

    async def feedback(self, campaign_group_dbid: int) -> Mapping[str, object]:
        """See Explainer."""
        group = self._campaigns.groups.get(campaign_group_dbid)
        if group is None:
            raise CampaignRequestError(
                CmError.GROUP_CAMP_NOT_FOUND, f"no campaign group with DBID {campaign_group_dbid} is configured"
            )
        config, until = self._config, self._campaigns.clock.utc()
        since, campaign = until - FEEDBACK_AGE, config.campaign(group.campaign)
        async with self._one_preflight:
            calls = await self._database.transaction(
                lambda conn: counted(conn, since, until, campaign.dbid), read_only=True
            )
        return {
            "campaign": campaign.name,
            "since": since.isoformat(),
            "until": until.isoformat(),
            "trunks": [found.document() for found in feedback(config, calls)],
        }

    async def preflight(self, calling_list: str) -> Preflight:
        """See Explainer."""
        config, of_list, now = self._config, list_named(self._config, calling_list), self._campaigns.clock.utc()

        def look(conn: Connection) -> Preflight:
            return preflight(conn, config, of_list, now, self._dnc)

        async with self._one_preflight:
            return await self._database.transaction(look, read_only=True)

    # --- what the daemon knows --------------------------------------------------------------------------------------

    def _kinds(self, of_list: CallingList, tenant_dbid: int, record: CallingRecord, at: datetime) -> list[str]:
        """By what the record is on Do-Not-Call in this daemon: ``phone``, ``customer_id``."""
        found = ["phone"] if self._dnc.forbidden(tenant_dbid, [record.contact_info], at)[0] else []
        customer_id = record.user_fields.get(of_list.customer_id_field) if of_list.customer_id_field else None
        if customer_id not in (None, "") and self._dnc.customers_forbidden(tenant_dbid, [str(customer_id)], at)[0]:
            found.append("customer_id")
        return found

    def _also_fresh(self, facts: RecordFacts, row: Row) -> Row:
        """A request not to be called is in force here before it is in the table; it counts at once."""
        if facts.campaign is None:
            return row
        tenant_dbid = self._config.tenant_dbid_of(facts.campaign)
        known = {kind for kind, _ in in_force(row.forbidden, facts.at)}
        fresh = [
            (kind, Found(None, tenant_dbid, None, None, True, NEWS))
            for kind in self._kinds(facts.calling_list, tenant_dbid, row.record, facts.at)
            if kind not in known
        ]
        return replace(row, forbidden=(*row.forbidden, *fresh))

    def _live(self, calling_list: CallingList, facts: RecordFacts) -> Live:
        claim = facts.claim
        where = None
        if claim is not None and claim.owner == self._owner:
            where = self._whereabouts((claim.list_dbid, facts.record.chain_id))
        return Live(self._owner, self._groups(), where)

    def _groups(self) -> dict[int, LiveGroup]:
        return {dbid: self._group(group) for dbid, group in self._campaigns.groups.items()}

    def _group(self, group: CampaignGroup) -> LiveGroup:
        roster = self._campaigns.rosters[group.group]
        agents = {seat.agent_id: seat.state.value for seat in roster.seats.values()}
        agents |= dict.fromkeys(roster.left, "smartly_logged_out")
        board, now_s = self._campaigns.trunk_board, self._campaigns.clock.now_s()
        states = [board.state(name, now_s) for name in group.trunks]
        trunks = tuple(
            TrunkFacts(one.name, one.calls, one.max_calls, "" if one.takes_calls else one.why or "is being tried")
            for one in states
        )
        session = self._campaigns.sessions.get(group.dbid)
        if session is None or session.status is GroupCampStatus.NOT_LOADED:
            stopping = not self._campaigns.gate.is_set()
            return LiveGroup(group.dbid, group.name, stopping=stopping, agents=agents, trunks=trunks)
        for agent_id in session.sharing.in_others_parts(session, self._campaigns.clock.now_s()):
            agents[agent_id] = "for_another_group"
        seen = snapshot(session)
        made = session.decided
        return LiveGroup(
            dbid=group.dbid,
            name=group.name,
            status=session.status,
            dial_mode=session.settings.dial_mode,
            stopping=session.held_back or not self._campaigns.gate.is_set(),
            agents=agents,
            trunks=trunks,
            ports_free=seen.ports_free,
            starts_allowed=seen.starts_allowed,
            in_progress=len(session.attempts),
            buffered=session.supply.buffered,
            buffered_by_list=Counter(chain.list_dbid for chain in session.supply.waiting()),
            held=session.supply.held,
            decision=None if made is None else LastDecision(made.launch, made.because, made.inputs),
            shares=session.planner.shares(),
            priorities=session.planner.priorities(),
            held_back={gate.value: count for gate, count in session.supply.refused.items()},
            legal=legal_window(session.guard),
            queue_places=session.transfer_out.places(seen.now_s) if session.transfer_out.active else None,
        )

    def _whereabouts(self, key: tuple[int, int]) -> Whereabouts:
        """Where a chain is that this daemon has claimed."""
        for session in self._campaigns.running:
            if (found := _in_session(session, key)) is not None:
                return found
        return Whereabouts(Place.ELSEWHERE)


def legal_window(guard: CampaignGuard) -> LegalWindow | None:
    """What the campaign's guard says, for people."""
    figures = guard.figures()
    if not figures:
        return None
    state = guard.state()
    count = state.count
    why = state.room.because or (
        f"{state.rule.name}: {count.abandoned} of {count.people} people abandoned ({count.ratio:.2%}), limit "
        f"{state.rule.limit_ratio:.2%}; room for {state.room.abandoned_allowed:.1f} more"
    )
    binds = state.phase is not Phase.OPEN
    if state.phase is Phase.ONE_TO_ONE:
        why += "; calls start one for each free agent"
    return LegalWindow(state.phase is Phase.STOPPED, binds, why, figures)


def _in_session(session: Session, key: tuple[int, int]) -> Whereabouts | None:
    name = session.group.name
    for task in session.attempts.values():
        if task.context.chain.key == key:
            machine = task.machine
            return Whereabouts(
                Place.ATTEMPT,
                task.context.record.record_id,
                name,
                guid=task.context.guid,
                state=machine.state.name,
                agent_id=machine.agent_id,
            )
    for desk in session.on_desk.values():
        if desk.chain.key == key:
            return Whereabouts(Place.DESKTOP, desk.record.record_id, name, agent_id=desk.agent_id)
    place = 0
    for chain in session.supply.waiting():
        place += chain.list_dbid == key[0]
        if chain.key == key:
            refused = session.prevalidation.why_not(chain)
            where = Place.BUFFER if refused is None else Place.VALIDATING
            return Whereabouts(where, chain.record.record_id, name, queue_place=place, state=refused or "")
    if (until := session.supply.held_until(key)) is not None:
        return Whereabouts(Place.HELD, None, name, until=until)
    if any(chain.key == key for chain in session.supply.in_memory()):
        return Whereabouts(Place.SIFTING, None, name)
    return None
