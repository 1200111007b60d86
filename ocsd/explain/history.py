"""Everything that happened to a number or a customer, and all attempts of a list: for operators and audits.

Sources: the journal of attempts and of decisions without a call, rows that requests have taken out of the lists,
Do-Not-Call requests with their times, what stands in the Do-Not-Call table, HTTP requests of treatments, and the rows
of the calling lists as they are now. All of one answer comes from one snapshot. docs/history.md explains the columns.

Attempts carry their number; decisions and withdrawals carry their record, so those of all records are looked for that
have the number now or had it when they were dialed.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import psycopg
from psycopg import sql

from ocsd.config.objects import CallingList, Configuration
from ocsd.dnc.lookup import plans_of
from ocsd.dnc.upkeep import TableRow, rows_of_customer, rows_of_phone
from ocsd.explain.analysis_words import analysis_words
from ocsd.explain.audio_words import audio_words
from ocsd.lists.numbers import NumberRefused, normaliser
from ocsd.lists.streams import EVIDENCE_WITH_STREAMS
from ocsd.lists.tables import columns_of, table_of
from ocsd.lists.withdrawing import is_value
from ocsd.model.enums import CallResult, RecordStatus, RecordType
from ocsd.model.errors import StoreUnavailable

Connection = psycopg.Connection[Any]
Event = dict[str, Any]
"""Values by the names of `COLUMNS`; what does not apply is missing. Times are aware UTC."""

TIMES: Final = (
    "started_at", "dialing_at", "answered_at", "cpd_completed_at", "connected_at", "agent_answered_at",
    "agent_released_at", "released_at", "acw_completed_at", "abandoned_at", "finished_at",
)  # fmt: skip

_ATTEMPT: Final = (
    "at", "event", "calling_list", "campaign", "record_id", "chain_id", "phone", "customer_id", "agent_id",
    "call_result", "result", "record_status", "record_type", "treatment", "because", "sip_status", "q850_cause",
    "cpa_verdict", "evidence", *TIMES, "counted", "interrupted", "subject", "desktop_result", "desktop_updates",
    "desktop_asks", "attempt_id", "guid",
)  # fmt: skip
_ANALYSIS: Final = (
    "speech_end_at", "lost_waiting_for", "verified", "agent_result", "recording", "recording_sha256",
)  # fmt: skip

ATTEMPT_COLUMNS: Final = (*_ATTEMPT, *_ANALYSIS)
"""Of an attempt, in the order of the CSV; stable, new ones go to the end."""

COLUMNS: Final = (
    *_ATTEMPT,
    "scheduled_for", "tenant", "message", "expires_at", "requested_at", "in_force_at", "durable_at", "applied_at",
    "effect_s", "rows", "named_by", "url", "tries", "error", *_ANALYSIS,
)  # fmt: skip
"""Of any event."""

FETCHED_ROWS: Final = 1000


@dataclass(frozen=True, slots=True)
class Wanted:
    """
    Attributes:
        phones: in every form that may stand in the tables (`phone_forms`).
        customer_ids: added to what the phones find, not narrowing it.
        calling_list: only of this list, except Do-Not-Call, which holds for all of them; None: all lists.
        since, until: aware; from the first, before the second.
    """

    phones: tuple[str, ...] = ()
    customer_ids: tuple[str, ...] = ()
    calling_list: CallingList | None = None
    since: datetime | None = None
    until: datetime | None = None

    def admits(self, at: datetime | None) -> bool:
        return at is None or ((self.since is None or at >= self.since) and (self.until is None or at < self.until))


def phone_forms(config: Configuration, calling_list: CallingList | None, text: str) -> tuple[str, ...]:
    """
    E.164 as people in the country of the list, or of any list, read the text; then the text itself.

    A list may hold what is no valid number, so a text that means nothing anywhere is still looked for.
    """
    lists = config.calling_lists if calling_list is None else (calling_list,)
    forms: dict[str, None] = {}
    for country in dict.fromkeys(entry.country for entry in lists):
        try:
            forms[normaliser(country)(text).number] = None
        except NumberRefused:
            continue
    return (*forms, *(() if text in forms else (text,)))


def history(conn: Connection, config: Configuration, wanted: Wanted, now: datetime) -> list[Event]:
    """What happened, in order of time; records as they are now come last. Raises StoreUnavailable."""
    try:
        with conn.transaction():
            conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            return _Search(conn, config, wanted, now).run()
    except psycopg.OperationalError as error:
        raise StoreUnavailable(f"history given up: {error}") from error


def attempts_of_list(
    conn: Connection,
    config: Configuration,
    calling_list: CallingList,
    since: datetime | None,
    until: datetime | None,
) -> Iterator[Event]:
    """All attempts of a list in the order of their beginning, streamed. Raises StoreUnavailable."""
    words = _Words(config)
    try:
        with conn.transaction(), conn.cursor("ocsd_history") as cursor:
            conn.execute("SET LOCAL statement_timeout = 0")
            cursor.itersize = FETCHED_ROWS
            cursor.execute(
                sql.SQL(
                    "SELECT {} FROM ocsd.attempt AS a WHERE a.list_dbid = %(list)s"
                    " AND (%(since)s::timestamptz IS NULL OR a.started_at >= %(since)s)"
                    " AND (%(until)s::timestamptz IS NULL OR a.started_at < %(until)s)"
                    " ORDER BY a.started_at, a.attempt_id"
                ).format(_ATTEMPT_FIELDS),
                {"list": calling_list.dbid, "since": since, "until": until},
            )
            for row in cursor:
                yield words.attempt(dict(zip(_ATTEMPT_NAMES, row, strict=True)))
    except psycopg.OperationalError as error:
        raise StoreUnavailable(f"history given up: {error}") from error


_ATTEMPT_NAMES: Final = (
    "attempt_id", "guid", "table_name", "list_dbid", "record_id", "chain_id", "campaign_dbid", "phone", "customer_id",
    "subject", *TIMES, "agent_id", "call_result", "record_status", "record_type", "sip_status", "q850_cause",
    "cpa_verdict", "evidence", "interrupted", "counted", "treatment_dbid", "because", "desktop_result",
    "desktop_updates", "desktop_asks", "speech_end_at", "lost_waiting_for", "verified", "agent_result",
    "recording", "recording_sha256",
)  # fmt: skip
_OF_RECORDING: Final = {
    "recording": sql.SQL("(SELECT r.path {})"),
    "recording_sha256": sql.SQL("(SELECT r.sha256 {})"),
}
_ATTEMPT_FIELDS: Final = sql.SQL(", ").join(
    _OF_RECORDING[name].format(
        sql.SQL("FROM ocsd.cpd_recording AS r WHERE r.attempt_id = a.attempt_id AND r.error = '' LIMIT 1")
    )
    if name in _OF_RECORDING
    else EVIDENCE_WITH_STREAMS
    if name == "evidence"
    else sql.Identifier("a", name)
    for name in _ATTEMPT_NAMES
)


class _Words:
    """Numbers of the configuration and of the manual as names; what is not known stays a number."""

    def __init__(self, config: Configuration) -> None:
        self._lists = {entry.dbid: entry.name for entry in config.calling_lists}
        self._campaigns = {entry.dbid: entry.name for entry in config.campaigns}
        self._treatments = {entry.dbid: entry.name for entry in config.treatments}
        self._tenants = {entry.dbid: entry.name for entry in config.tenants}

    def attempt(self, row: Event) -> Event:
        row |= {
            "at": row["started_at"],
            "event": "attempt",
            "campaign": self._campaigns.get(row["campaign_dbid"], str(row["campaign_dbid"])),
            "treatment": _named(self._treatments, row["treatment_dbid"]),
        }
        return self.record(row)

    def record(self, row: Event) -> Event:
        """Adds the names that every event about a record has."""
        result = row.get("call_result")
        row["calling_list"] = self.calling_list(row["list_dbid"])
        row["result"] = None if result is None else _title(result)
        row["record_status"] = _word(RecordStatus, row.get("record_status"))
        row["record_type"] = _word(RecordType, row.get("record_type"))
        return row

    def calling_list(self, dbid: int | None) -> str | None:
        return _named(self._lists, dbid)

    def campaign(self, dbid: int | None) -> str | None:
        return _named(self._campaigns, dbid)

    def treatment(self, dbid: int | None) -> str | None:
        return _named(self._treatments, dbid)

    def tenant(self, dbid: int | None) -> str:
        return _named(self._tenants, dbid) or "every tenant"


def _named(names: Mapping[int, str], dbid: int | None) -> str | None:
    return None if dbid is None else names.get(dbid, str(dbid))


def _word(kind: type[RecordStatus] | type[RecordType], number: int | None) -> str | None:
    return None if number is None else next((m.name.lower() for m in kind if m.value == number), str(number))


def _title(number: int) -> str:
    return next((result.title for result in CallResult if result.value == number), str(number))


@dataclass(slots=True)
class _Search:
    conn: Connection
    config: Configuration
    wanted: Wanted
    now: datetime

    def run(self) -> list[Event]:
        words = _Words(self.config)
        attempts = [words.attempt(row) for row in self._attempts()]
        records = [words.record(row) for row in self._records()]
        keys = sorted({(row["table_name"], row["record_id"]) for row in (*attempts, *records)})
        decisions = [words.record(row) for row in self._decisions(keys)]
        for decision in decisions:
            decision["because"] = decision.pop("why")
        posted = self._posted(
            {row["attempt_id"]: row for row in attempts}, {row["key"]: row for row in decisions}, words
        )
        withdrawals = [words.record(row) for row in self._withdrawals(keys)]
        found = [*attempts, *decisions, *posted, *withdrawals, *self._requests(words), *self._entries(words)]
        dated = [event for event in found if self.wanted.admits(event["at"])]
        first = datetime.min.replace(tzinfo=UTC)
        return [*sorted(dated, key=lambda event: event["at"] or first), *records]

    def _select(self, statement: sql.SQL | sql.Composed, names: Sequence[str], **figures: Any) -> Iterator[Event]:
        for row in self.conn.execute(statement, figures, prepare=False):
            yield dict(zip(names, row, strict=True))

    def _attempts(self) -> Iterable[Event]:
        # One index for those that caps count, another for the rest.
        parts = [
            sql.SQL(
                "SELECT {fields} FROM ocsd.attempt AS a WHERE a.{key} = ANY(%({key})s::text[]) AND {counted}"
            ).format(fields=_ATTEMPT_FIELDS, key=sql.SQL(key), counted=sql.SQL(counted))
            for key in ("phone", "customer_id")
            for counted in (
                "a.counted IS NOT FALSE",
                "a.counted IS FALSE AND a.customer_id IS NOT NULL" if key == "customer_id" else "a.counted IS FALSE",
            )
        ]
        found = {
            row["attempt_id"]: row
            for part in parts
            for row in self._select(
                part, _ATTEMPT_NAMES, phone=list(self.wanted.phones), customer_id=list(self.wanted.customer_ids)
            )
        }
        return (row for row in found.values() if self._in_list(row))

    def _in_list(self, row: Event) -> bool:
        calling_list = self.wanted.calling_list
        return calling_list is None or row["list_dbid"] == calling_list.dbid

    def _records(self) -> Iterator[Event]:
        """The rows of the lists with the number or customer, as they are now."""
        seen: set[tuple[str, int]] = set()
        names = ("record_id", "chain_id", "phone", "agent_id", "call_result", "record_status", "record_type",
                 "sched", "attempts", "customer_id")  # fmt: skip
        lists = self.config.calling_lists if self.wanted.calling_list is None else (self.wanted.calling_list,)
        for calling_list in lists:
            table, customer = table_of(self.config, calling_list), calling_list.customer_id_field
            if not self._exists(table):
                continue
            for row in self._select(
                sql.SQL(
                    "SELECT t.record_id, t.chain_id, t.contact_info, t.agent_id, t.call_result, t.record_status,"
                    " t.record_type, t.dial_sched_time, t.attempt, {customer} FROM {table} AS t WHERE {condition}"
                    " ORDER BY t.record_id"
                ).format(
                    customer=sql.SQL("t.{}::text").format(sql.Identifier(customer)) if customer else sql.SQL("NULL"),
                    table=sql.Identifier(table),
                    condition=self._is_wanted(calling_list),
                ),
                names,
                phones=list(self.wanted.phones),
                **{f"customer_{place}": value for place, value in enumerate(self.wanted.customer_ids)},
            ):
                # Lists may share a table; each of its rows is told once, under the first of them.
                if (table, row["record_id"]) in seen:
                    continue
                seen.add((table, row["record_id"]))
                sched = row.pop("sched")
                attempts = row.pop("attempts")
                yield row | {
                    "at": self.now,
                    "event": "record",
                    "table_name": table,
                    "list_dbid": calling_list.dbid,
                    "scheduled_for": datetime.fromtimestamp(sched, UTC) if sched else None,
                    "because": f"as it is now, after {attempts} attempt{'s' * (attempts != 1)}",
                }

    def _is_wanted(self, calling_list: CallingList) -> sql.Composable:
        conditions: list[sql.Composable] = [sql.SQL("t.contact_info = ANY(%(phones)s::varchar[])")]
        for column in columns_of(self.config, calling_list):
            if column.name == calling_list.customer_id_field:
                conditions += [
                    found
                    for place, value in enumerate(self.wanted.customer_ids)
                    if (found := is_value(column.name, column.sql_type, value, f"customer_{place}")) is not None
                ]
        return sql.SQL("({})").format(sql.SQL(" OR ").join(conditions))

    def _exists(self, table: str) -> bool:
        return self.conn.execute("SELECT to_regclass(%s)", (f'"{table}"',)).fetchone() != (None,)

    def _decisions(self, keys: Sequence[tuple[str, int]]) -> list[Event]:
        names = ("key", "table_name", "list_dbid", "record_id", "chain_id", "at", "call_result", "record_status",
                 "record_type", "sched", "agent_id", "why", "evidence")  # fmt: skip
        rows = self._select(
            sql.SQL(
                "SELECT d.key, d.table_name, d.list_dbid, d.record_id, d.chain_id, d.decided_at, d.call_result,"
                " d.record_status, d.record_type, d.dial_sched_time, d.agent_id, d.because, d.evidence"
                " FROM unnest(%(tables)s::text[], %(records)s::int[]) AS w (table_name, record_id)"
                " JOIN ocsd.decision AS d USING (table_name, record_id)"
            ),
            names,
            tables=[table for table, _ in keys],
            records=[record for _, record in keys],
        )
        return [
            row
            | {
                "event": "decision",
                "scheduled_for": datetime.fromtimestamp(row["sched"], UTC) if row["sched"] else None,
            }
            for row in rows
            if self._in_list(row)
        ]

    def _withdrawals(self, keys: Sequence[tuple[str, int]]) -> list[Event]:
        names = ("withdrawal_id", "table_name", "list_dbid", "record_id", "chain_id", "phone", "at", "named_by",
                 "all_chain", "claimed", "call_result", "record_status", "record_type")  # fmt: skip
        fields = sql.SQL(
            "v.withdrawal_id, v.table_name, v.list_dbid, v.record_id, v.chain_id, v.phone, v.withdrawn_at, v.named_by,"
            " v.all_chain, v.claimed, v.call_result, v.record_status, v.record_type"
        )
        rows = self._select(
            sql.SQL(
                "SELECT {0} FROM unnest(%(tables)s::text[], %(records)s::int[]) AS w (table_name, record_id)"
                " JOIN ocsd.withdrawal AS v USING (table_name, record_id)"
                " UNION SELECT {0} FROM ocsd.withdrawal AS v WHERE v.phone = ANY(%(phones)s::text[])"
            ).format(fields),
            names,
            tables=[table for table, _ in keys],
            records=[record for _, record in keys],
            phones=list(self.wanted.phones),
        )
        return [
            row
            | {
                "event": "withdrawal",
                "because": f"a request named its {row['named_by'].replace('_', ' ')}"
                + (" and meant the whole chain" if row["all_chain"] else "")
                + ("; a daemon held it" if row["claimed"] else ""),
            }
            for row in rows
            if self._in_list(row)
        ]

    def _posted(self, attempts: Mapping[int, Event], decisions: Mapping[Any, Event], words: _Words) -> list[Event]:
        """HTTP requests of treatments; delivered ones are forgotten after a week."""
        names = ("attempt_id", "key", "treatment_dbid", "url", "at", "tries", "error", "done_at", "given_up_at")
        rows = self._select(
            sql.SQL(
                "SELECT o.attempt_id, o.decision_key, o.treatment_dbid, o.url, o.created_at, o.tries, o.last_error,"
                " o.done_at, o.given_up_at FROM ocsd.outbox AS o"
                " WHERE o.attempt_id = ANY(%(attempts)s::bigint[]) OR o.decision_key = ANY(%(keys)s::uuid[])"
            ),
            names,
            attempts=list(attempts),
            keys=list(decisions),
        )
        events = []
        for row in rows:
            cause = attempts[row["attempt_id"]] if row["attempt_id"] is not None else decisions[row["key"]]
            state = "delivered" if row["done_at"] else "given up" if row["given_up_at"] else "on its way"
            events.append(
                {name: cause.get(name) for name in ("list_dbid", "calling_list", "record_id", "chain_id", "phone")}
                | {name: row[name] for name in ("at", "attempt_id", "url", "tries", "error")}
                | {"event": "http_request", "treatment": words.treatment(row["treatment_dbid"]), "because": state}
                | {"applied_at": row["done_at"]}
            )
        return events

    def _requests(self, words: _Words) -> Iterator[Event]:
        names = ("tenant_dbid", "phone", "customer_id", "message", "campaign_dbid", "list_dbid", "expires",
                 "requested_at", "in_force_at", "durable_at", "applied_at", "rows")  # fmt: skip
        for row in self._select(
            sql.SQL(
                "SELECT tenant_dbid, phone, customer_id, dnc_message, campaign_dbid, list_dbid, expires_at,"
                " requested_at, in_force_at, durable_at, applied_at, rows FROM ocsd.dnc_request"
                " WHERE phone = ANY(%(phones)s::text[]) OR customer_id = ANY(%(customers)s::text[])"
            ),
            names,
            phones=list(self.wanted.phones),
            customers=list(self.wanted.customer_ids),
        ):
            applied, requested = row["applied_at"], row["requested_at"]
            yield {name: value for name, value in row.items() if name != "expires"} | {
                "at": requested,
                "event": "do_not_call_request",
                "tenant": words.tenant(row["tenant_dbid"]),
                "campaign": words.campaign(row["campaign_dbid"]),
                "calling_list": words.calling_list(row["list_dbid"]),
                "expires_at": datetime.fromtimestamp(row["expires"], UTC) if row["expires"] else None,
                "effect_s": None if applied is None else (applied - requested).total_seconds(),
            }

    def _entries(self, words: _Words) -> Iterator[Event]:
        """What stands in the Do-Not-Call table, whoever has put it there."""
        plans = plans_of(self.config)
        found: dict[TableRow, None] = {}
        for phone in self.wanted.phones:
            found |= dict.fromkeys(rows_of_phone(self.conn, phone, None, plans))
        for customer_id in self.wanted.customer_ids:
            found |= dict.fromkeys(rows_of_customer(self.conn, customer_id, None))
        for entry in found:
            over = entry.expires_at is not None and entry.expires_at <= self.now
            yield {
                "at": entry.since,
                "event": "do_not_call_entry",
                "phone": entry.phone,
                "customer_id": entry.customer_id,
                "tenant": words.tenant(entry.tenant_dbid),
                "campaign": words.campaign(entry.campaign_dbid),
                "calling_list": words.calling_list(entry.list_dbid),
                "message": entry.message or None,
                "expires_at": entry.expires_at,
                "because": "stands in the Do-Not-Call table" + (", but has expired" if over else ""),
            }


def told(event: Event) -> str:
    """One line about an event, for people."""
    parts: list[str] = []
    if event.get("result") is not None and event["event"] != "record":
        parts.append(event["result"])
    for name, word in (
        ("sip_status", "SIP"), ("q850_cause", "Q.850"), ("cpa_verdict", "CPA"), ("agent_id", "agent"),
        ("treatment", "treatment"), ("message", "message"), ("tenant", "for"), ("url", "to"), ("error", "error"),
    ):  # fmt: skip
        if event.get(name) not in (None, ""):
            parts.append(f"{word} {event[name]}")
    for name, word in (
        ("answered_at", "answered"), ("connected_at", "connected"), ("abandoned_at", "abandoned"),
        ("released_at", "released"), ("scheduled_for", "scheduled for"), ("expires_at", "until"),
    ):  # fmt: skip
        if event.get(name) is not None:
            parts.append(f"{word} {stamp(event[name])}")
    if rule := blocking_rule(event.get("evidence")):
        parts.append(rule)
    if heard := analysis_words(event.get("evidence")):
        parts.append(heard)
    if audio := audio_words(event.get("evidence")):
        parts.append(audio)
    if event.get("lost_waiting_for"):
        parts.append(_lost(event["lost_waiting_for"]))
    if event.get("verified"):
        said = event.get("agent_result")
        parts.append("test call" + (f", the agent says {_title(said)}" if said is not None else ""))
    if event.get("recording"):
        parts.append(f"recording {event['recording']}")
    if event.get("effect_s") is not None:
        parts.append(f"in effect after {event['effect_s']:.3f} s")
    if event.get("record_status") is not None:
        parts.append(f"record {event['record_status']}, {event['record_type']}")
    if event["event"] == "attempt" and event.get("finished_at") is None:
        parts.append("not finished")
    if event.get("because"):
        parts.append(f"because {event['because']}" if event["event"] in ("attempt", "decision") else event["because"])
    return "; ".join(parts)


def _lost(waiting_for: str) -> str:
    return "lost by a wrong verdict" if waiting_for == "wrong verdict" else f"lost waiting for the {waiting_for}"


def blocking_rule(evidence: object) -> str:
    """By which rule pre-dial validation refused a record: ``rule "Holidays" (type 2)``; empty: it named none."""
    if not isinstance(evidence, Mapping):
        return ""
    rule, kind = evidence.get("GSW_BLOCKING_RULE"), evidence.get("GSW_BLOCKING_RULE_TYPE")
    words = "" if rule is None else f'rule "{rule}"'
    return " ".join([*([words] if words else []), *([f"(type {kind})"] if kind is not None else [])])


def stamp(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"
