"""What an explanation looks at: everything the database says of one record, by a few indexed statements.

Synchronous, on a psycopg connection: run in a thread of the daemon's pool, or by the command line. `gates` judges.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import psycopg
from psycopg import sql

from ocsd.config.objects import CallingList, Campaign, CampaignGroup, Configuration
from ocsd.config.options import lookup
from ocsd.dnc.lookup import Found, look_up, plans_of
from ocsd.dnc.mapped import Registry
from ocsd.lists.arrays import int_array
from ocsd.lists.caps import Caps, History, past_calls
from ocsd.lists.claiming import chains_of
from ocsd.lists.reader import become_reader, can_read, let_read
from ocsd.lists.selection import (
    RECORD_COLUMNS,
    Selection,
    criteria_of,
    order_of,
    parameters,
    ready_to_dial,
    selection_of,
    window_open,
)
from ocsd.lists.streams import EVIDENCE_WITH_STREAMS
from ocsd.lists.tables import held_expression, table_of
from ocsd.model.enums import GswError, RecordType
from ocsd.model.errors import TargetNotFound
from ocsd.model.records import CallingRecord, Portion
from ocsd.rules.hours import ListHours

Connection = psycopg.Connection[Any]

LAST_ATTEMPTS: Final = 3
"""How many of the row's latest attempts are told."""

AHEAD_LIMIT_S: Final = 2.0
"""Longest look for the chains that go first: it reads every open row of the list. Past it their number is unknown."""

_PRIORITY_NAMES: Final = {
    RecordType.CAMPAIGN_CALLBACK: "campaigncallback",
    RecordType.CAMPAIGN_RESCHEDULED: "campaignrescheduled",
    RecordType.GENERAL: "general",
}
_TYPES: Final = frozenset(map(int, RecordType))


@dataclass(frozen=True, slots=True)
class Row:
    """
    A row of the record's chain.

    Attributes:
        status, kind: record_status and record_type as they stand there, known to the manual or not.
        admitted: by the list's filter; None: the filter does not work.
        forbidden: Do-Not-Call entries on its number and customer, expired ones too.
    """

    record: CallingRecord
    status: int
    kind: int
    admitted: bool | None = None
    forbidden: tuple[tuple[str, Found], ...] = ()


@dataclass(frozen=True, slots=True)
class Claim:
    """Who has claimed the chain. ``stopped_at``: when that run of a daemon ended in order; None: it has not."""

    owner: str
    node: str
    list_dbid: int
    campaign_group_dbid: int
    claimed_at: datetime
    lease_until: datetime
    stopped_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class PastAttempt:
    """A row of ``ocsd.attempt``; ``finished_at`` None: it is open. ``evidence``: what its result rests on."""

    attempt_id: int
    guid: str
    record_id: int
    owner: str
    started_at: datetime
    finished_at: datetime | None
    call_result: int | None
    agent_id: str | None
    because: str | None
    evidence: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class PastDecision:
    """A row of ``ocsd.decision``: what a gate or a missed callback came to, without a call."""

    record_id: int
    decided_at: datetime
    because: str
    evidence: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class RecordFacts:
    """
    Attributes:
        group: the campaign group that would dial the record, for whose tenant and options it is judged; None: no
            campaign has the list.
        groups: every campaign group in whose campaign the list is active.
        chain: its chain's rows, itself among them, in the order in which they are dialed.
        criteria: the filter's condition, empty without one; ``filter_problem``: why it does not work.
        decision: the row's last one; ``refused``: the last of pre-dial validation.
        history: calls that attempt caps count, of every row of the chain.
        ahead: chains of the list that go before it; None: unknown.
    """

    config: Configuration
    calling_list: CallingList
    at: datetime
    row: Row
    chain: tuple[Row, ...]
    hours: ListHours
    caps: Caps
    history: History
    group: CampaignGroup | None = None
    groups: tuple[CampaignGroup, ...] = ()
    claim: Claim | None = None
    attempts: tuple[PastAttempt, ...] = ()
    open_attempts: tuple[PastAttempt, ...] = ()
    decision: PastDecision | None = None
    refused: PastDecision | None = None
    criteria: str = ""
    filter_problem: str = ""
    ahead: int | None = None
    table: str = ""

    @property
    def record(self) -> CallingRecord:
        return self.row.record

    @property
    def campaign(self) -> Campaign | None:
        return None if self.group is None else self.config.campaign(self.group.campaign)

    @property
    def campaign_dbid(self) -> int:
        """0: no campaign; caps then count the calls of every tenant."""
        return 0 if self.campaign is None else self.campaign.dbid

    def option(self, name: str) -> str | int | float | bool:
        value: str | int | float | bool = lookup(
            self.config, name, campaign=self.campaign, group=self.group, calling_list=self.calling_list
        )
        return value

    @property
    def dials_callbacks(self) -> bool:
        """predictive_callback, as it stands on application, campaign and group."""
        return bool(lookup(self.config, "predictive_callback", campaign=self.campaign, group=self.group))

    @property
    def delivered(self) -> frozenset[RecordType]:
        """Types that go to desktops; the twin of `Planner.delivered_portions`."""
        kinds = {RecordType.PERSONAL_CALLBACK, RecordType.PERSONAL_RESCHEDULED}
        return frozenset(kinds if self.dials_callbacks else kinds | {RecordType.CAMPAIGN_CALLBACK})

    def portions(self) -> tuple[Portion, ...]:
        """What is claimed, the most urgent first: what is dialed, then what is delivered."""
        dialed = [kind for kind in _PRIORITY_NAMES if kind not in self.delivered]
        ranked = sorted(dialed, key=lambda kind: (-self.priority(kind), -int(kind)))
        return tuple(map(Portion, (*ranked, *sorted(self.delivered))))

    def priorities(self) -> dict[RecordType, int]:
        """As configured; a request may have set others in the daemon."""
        return {kind: self.priority(kind) for kind in _PRIORITY_NAMES}

    def priority(self, kind: RecordType) -> int:
        """Of a type that is dialed: higher goes first."""
        name = f"default_{_PRIORITY_NAMES[kind]}_priority"
        return int(lookup(self.config, name, campaign=self.campaign, group=self.group))


def list_named(config: Configuration, name: str) -> CallingList:
    """TargetNotFound when no calling list has this name."""
    for calling_list in config.calling_lists:
        if calling_list.name == name:
            return calling_list
    known = ", ".join(f'"{calling_list.name}"' for calling_list in config.calling_lists) or "none"
    raise TargetNotFound(GswError.INVALID_ATTRIBUTE_VALUE, f'no calling list is called "{name}"; defined are: {known}')


def groups_of(config: Configuration, calling_list: CallingList) -> tuple[CampaignGroup, ...]:
    """The campaign groups in whose campaign the list is active."""
    campaigns = {
        campaign.name
        for campaign in config.campaigns
        if any(entry.active and entry.calling_list == calling_list.name for entry in campaign.lists)
    }
    return tuple(group for group in config.campaign_groups if group.campaign in campaigns)


def gather(
    conn: Connection,
    config: Configuration,
    calling_list: CallingList,
    record_id: int,
    at: datetime,
    *,
    registries: Sequence[Registry] = (),
    forbids: Callable[[int, CallingRecord], bool] | None = None,
    prefer: Sequence[int] = (),
) -> RecordFacts:
    """
    Everything of one record at ``at`` (aware).

    Args:
        registries: of Do-Not-Call.
        forbids: whether a record is on Do-Not-Call for a tenant (DBID), of those who have it in memory: then entries
            are looked for only of such records, because the table has no index. None: of every record of the chain.
        prefer: DBIDs of campaign groups that are at work; of several that may dial the list one of these is taken.

    Raises TargetNotFound when the list has no such record. The last statements run as the reader of lists: nothing else
    may follow in a transaction of the caller's.
    """
    selection = selection_of(config, calling_list)
    table = selection.table
    if conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
        let_read(conn, table)
    rows = _rows(conn, selection, calling_list, record_id)
    chain_id = rows[record_id].record.chain_id
    claim = _claim(conn, table, chain_id)
    groups = groups_of(config, calling_list)
    group = _chosen(config, groups, claim, prefer)
    caps = Caps(config)
    campaign_dbid = 0 if group is None else config.campaign(group.campaign).dbid
    calls = [caps.call(row.record, campaign_dbid, at) for row in rows.values()]
    history = past_calls(conn, caps, calls)
    tenant = None if group is None else config.tenant_dbid_of(config.campaign(group.campaign))
    forbidden = {
        found_id: ()
        if forbids is not None and tenant is not None and not forbids(tenant, row.record)
        else _forbidden(conn, config, calling_list, row.record, tenant, registries, at)
        for found_id, row in rows.items()
    }
    open_attempts, attempts = _attempts(conn, table, chain_id, record_id)
    decision, refused = _decisions(conn, table, record_id)
    dialing_filter = config.filter(calling_list.filter) if calling_list.filter else None
    admitted, problem = _admitted(conn, config, calling_list, chain_id)
    # Without a working filter the order is that of the chain; nothing is claimed then anyway.
    order = list(admitted) or sorted(rows, key=lambda found_id: rows[found_id].record.chain_n)
    chain = tuple(
        replace(rows[found_id], admitted=admitted.get(found_id), forbidden=forbidden[found_id])
        for found_id in order
        if found_id in rows  # else it was added between two looks
    )
    row = next((row for row in chain if row.record.record_id == record_id), None)
    if row is None:
        raise _no_record(calling_list, table, record_id)
    return RecordFacts(
        config=config,
        calling_list=calling_list,
        at=at,
        row=row,
        chain=chain,
        hours=ListHours(config, calling_list),
        caps=caps,
        history=history,
        group=group,
        groups=groups,
        claim=claim,
        attempts=attempts,
        open_attempts=open_attempts,
        decision=decision,
        refused=refused,
        criteria="" if dialing_filter is None else dialing_filter.criteria.strip(),
        filter_problem=problem,
        table=table,
    )


def _chosen(
    config: Configuration, groups: Sequence[CampaignGroup], claim: Claim | None, prefer: Sequence[int]
) -> CampaignGroup | None:
    """Whoever has claimed the chain; else a group at work; else the first that may."""
    if claim is not None:
        for group in config.campaign_groups:
            if group.dbid == claim.campaign_group_dbid:
                return group
    for dbid in prefer:
        for group in groups:
            if group.dbid == dbid:
                return group
    return groups[0] if groups else None


def _rows(conn: Connection, selection: Selection, calling_list: CallingList, record_id: int) -> dict[int, Row]:
    """The rows of the record's chain, by record_id."""
    columns = sql.SQL(", ").join(sql.Identifier("t", name) for name in (*RECORD_COLUMNS, *selection.user_columns))
    found = conn.execute(
        sql.SQL(
            "SELECT t.record_status, {columns} FROM {table} AS t"
            " WHERE t.chain_id = (SELECT r.chain_id FROM {table} AS r WHERE r.record_id = %s)"
        ).format(columns=columns, table=sql.Identifier(selection.table)),
        (record_id,),
        prepare=False,
    ).fetchall()
    place = RECORD_COLUMNS.index("record_type") + 1
    rows: dict[int, Row] = {}
    for status, *values in found:
        kind = values[place - 1]
        # A type that the manual does not know is told as it stands, and is dialed by nobody.
        values[place - 1] = kind if kind in _TYPES else int(RecordType.UNKNOWN)
        (chain,) = chains_of(calling_list.dbid, [tuple(values)], selection.user_columns)
        rows[chain.record.record_id] = Row(chain.record, status, kind)
    if record_id not in rows:
        raise _no_record(calling_list, selection.table, record_id)
    return rows


def _no_record(calling_list: CallingList, table: str, record_id: int) -> TargetNotFound:
    where = f'table "{table}" of calling list "{calling_list.name}"'
    return TargetNotFound(GswError.RECORD_NOT_FOUND, f"{where} has no record {record_id}")


def _claim(conn: Connection, table: str, chain_id: int) -> Claim | None:
    row = conn.execute(
        "SELECT k.owner, i.node, k.list_dbid, k.campaign_group_dbid, k.claimed_at, k.lease_until, i.stopped_at"
        " FROM ocsd.claim AS k JOIN ocsd.instance AS i USING (owner) WHERE k.table_name = %s AND k.chain_id = %s",
        (table, chain_id),
    ).fetchone()
    return None if row is None else Claim(*row)


def _attempts(
    conn: Connection, table: str, chain_id: int, record_id: int
) -> tuple[tuple[PastAttempt, ...], tuple[PastAttempt, ...]]:
    """Open attempts of the chain; the last ones of the row, the latest first."""
    select = sql.SQL(
        "SELECT attempt_id, guid, record_id, owner, started_at, finished_at, call_result, agent_id, because, {}"
        " FROM ocsd.attempt AS a WHERE table_name = %s AND "
    ).format(EVIDENCE_WITH_STREAMS)
    open_ones = conn.execute(
        select + sql.SQL("chain_id = %s AND finished_at IS NULL ORDER BY attempt_id"),
        (table, chain_id),
        prepare=False,
    ).fetchall()
    last = conn.execute(
        select + sql.SQL("record_id = %s ORDER BY attempt_id DESC LIMIT %s"),
        (table, record_id, LAST_ATTEMPTS),
        prepare=False,
    ).fetchall()
    return tuple(PastAttempt(*row) for row in open_ones), tuple(PastAttempt(*row) for row in last)


def _decisions(conn: Connection, table: str, record_id: int) -> tuple[PastDecision | None, PastDecision | None]:
    """The last decision about the row, and the last that pre-dial validation has led to."""
    last, refused = (
        conn.execute(
            sql.SQL(
                "SELECT record_id, decided_at, because, evidence FROM ocsd.decision"
                " WHERE table_name = %s AND record_id = %s{} ORDER BY decision_id DESC LIMIT 1"
            ).format(sql.SQL(condition)),
            (table, record_id),
            prepare=False,
        ).fetchone()
        for condition in ("", " AND evidence ? 'validator'")
    )
    return (None if last is None else PastDecision(*last)), (None if refused is None else PastDecision(*refused))


def _forbidden(
    conn: Connection,
    config: Configuration,
    calling_list: CallingList,
    record: CallingRecord,
    tenant_dbid: int | None,
    registries: Sequence[Registry],
    at: datetime,
) -> tuple[tuple[str, Found], ...]:
    """(``phone`` or ``customer_id``, entry) of what forbids the record, or did."""
    plans = plans_of(config)
    found = [
        ("phone", entry) for entry in look_up(conn, registries, plans, "phone", record.contact_info, tenant_dbid, at)
    ]
    name = calling_list.customer_id_field
    customer_id = record.user_fields.get(name) if name else None
    if customer_id not in (None, ""):
        found += [
            ("customer_id", entry)
            for entry in look_up(conn, registries, plans, "customer_id", str(customer_id), tenant_dbid, at)
        ]
    return tuple(found)


def _admitted(
    conn: Connection, config: Configuration, calling_list: CallingList, chain_id: int
) -> tuple[dict[int, bool], str]:
    """Which rows of the chain the filter admits, in the order of dialing; why it does not work (then none are told)."""
    dialing_filter = config.filter(calling_list.filter) if calling_list.filter else None
    table = table_of(config, calling_list)
    statement = sql.SQL(
        "SELECT t.record_id, ({criteria}) IS TRUE FROM {table} AS t WHERE t.chain_id = %(chain_id)s"
        " ORDER BY {order} t.chain_n"
    ).format(
        criteria=criteria_of(dialing_filter), table=sql.Identifier(table), order=order_of(dialing_filter) or sql.SQL("")
    )
    try:
        with conn.transaction():
            _as_reader(conn, table)
            return dict(conn.execute(statement, {"chain_id": chain_id}, prepare=False).fetchall()), ""
    except (psycopg.ProgrammingError, psycopg.DataError, psycopg.errors.ReadOnlySqlTransaction) as error:
        return {}, error.diag.message_primary or " ".join(str(error).split())


def _as_reader(conn: Connection, table: str) -> None:
    conn.execute("SET TRANSACTION READ ONLY")
    if can_read(conn, table):
        become_reader(conn)


def with_ahead(conn: Connection, facts: RecordFacts, priorities: Mapping[RecordType, int]) -> RecordFacts:
    """
    The same with the number of chains of its list that would be dialed before it: those with a row that may be dialed
    as far as its list's own gates tell, of a more urgent type or earlier in its order. Unknown for what is delivered.

    Runs as the reader of lists, like the end of `gather`.
    """
    record = facts.record
    if record.record_type not in priorities or record.record_type in facts.delivered:
        return facts
    dialing_filter = facts.config.filter(facts.calling_list.filter) if facts.calling_list.filter else None
    order = order_of(dialing_filter) if record.record_type is RecordType.GENERAL else None
    kinds = [kind for kind in priorities if kind not in facts.delivered]
    name = sql.Identifier(facts.table)
    statement = sql.SQL(
        """
WITH open AS MATERIALIZED (
  SELECT t.chain_id, t.record_id, row_number() OVER (ORDER BY
    (%(priorities)s::int[])[array_position(%(types)s::int[], t.record_type::int)] DESC, t.record_type DESC,
    {order} coalesce(t.dial_sched_time, 0), t.record_id) AS place
  FROM {table} AS t
  WHERE {ready} AND t.record_type = ANY(%(types)s::int[]) AND {held} = 0
    AND (t.attempt < %(max_attempts)s OR t.record_type IN (5, 6)) AND coalesce(t.dial_sched_time, 0) <= %(now_s)s
    AND {window} AND {criteria}
    AND NOT t.chain_id IN (SELECT k.chain_id FROM ocsd.claim AS k WHERE k.table_name = %(table)s)
)
SELECT count(DISTINCT o.chain_id) FROM open AS o
WHERE o.chain_id <> %(chain_id)s AND o.place < (SELECT min(m.place) FROM open AS m WHERE m.chain_id = %(chain_id)s)
"""
    ).format(
        order=order or sql.SQL(""),
        table=name,
        ready=ready_to_dial("t"),
        held=held_expression("t"),
        window=window_open("t"),
        criteria=criteria_of(dialing_filter),
    )
    figures = parameters(facts.config, facts.calling_list, facts.at) | {
        "types": int_array(map(int, kinds)),
        "priorities": int_array(priorities[kind] for kind in kinds),
        "chain_id": record.chain_id,
    }
    try:
        with conn.transaction():
            _as_reader(conn, facts.table)
            conn.execute(f"SET LOCAL statement_timeout = {int(AHEAD_LIMIT_S * 1000)}")
            row = conn.execute(statement, figures, prepare=False).fetchone()
    except (psycopg.errors.QueryCanceled, psycopg.ProgrammingError, psycopg.DataError):
        return facts
    return replace(facts, ahead=None if row is None else int(row[0]))
