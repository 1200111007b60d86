"""
A second, plain reading of docs/adr/0008: one function, seconds instead of datetimes, shares no code with the engine.

`oracle_next` answers for one result; a caller that replays whole lives of chains keeps the rows itself.
"""

import calendar
from datetime import datetime, timedelta
from typing import NamedTuple

READY, UPDATED, AGENT_ERROR, MISSED_CALLBACK = 1, 3, 6, 8
GENERAL, CAMPAIGN_RESCHEDULED, PERSONAL_RESCHEDULED, PERSONAL_CALLBACK, CAMPAIGN_CALLBACK = 2, 3, 4, 5, 6
END_OF_COLUMN_S = 2147483647


class Next(NamedTuple):
    """
    What must be true afterwards.

    Attributes:
        place: index in the chain of the record to dial; None: the chain ends.
        at_s: UTC seconds to dial at.
        status, record_type: of the record decided about.
        state: column ``treatments``.
        treatment: DBID of the one applied, 0: none.
        effects: DBIDs of the SQL and HTTP treatments done on the way, in order.
        result_for_chain: the siblings get the call result too.
    """

    place: int | None
    at_s: int | None
    status: int
    record_type: int
    state: str | None
    treatment: int
    effects: tuple[int, ...]
    result_for_chain: bool


def oracle_next(
    treatments, chain, place, result, now_s, *, max_attempts, opens_s, zone_of, disposition="", agent_id=None,
    by_agent=False, result_for_all=False,
):  # fmt: skip
    """
    Args:
        treatments: Treatment objects of the list.
        chain: CallingRecord objects, the live rows in order; the one at ``place`` counts this attempt already.
        now_s: end of the attempt, UTC seconds (may have a fraction).
        opens_s: (record, UTC second) -> first open second at or after it, None: never.
        zone_of: record -> tzinfo.
    """
    row = chain[place]
    missed = result in (47, 48)
    now_s = int(now_s) + (now_s != int(now_s))

    # 1. The sequence.
    whole = []
    for t in sorted(treatments, key=lambda t: (t.number, t.dbid)):
        needs_destination = t.call_action.name in ("TRANSFER", "MUTE_TRANSFER", "ROUTE")
        if (needs_destination and not t.destination) or (t.call_action.name == "PLAY_MESSAGE" and not t.message):
            continue
        whole.append(t)
    by_disposition = [t for t in whole if t.disposition and t.disposition == disposition]
    by_disposition = [t for t in by_disposition if t.call_result is None or t.call_result == result]
    by_result = [t for t in whole if not t.disposition and t.call_result == result and result not in (0, 28)]
    if missed:
        accepted = ("ASSIGN_TO_GROUP", "MARK_AS_AGENT_ERROR", "REDIAL", "RETRY_IN", "RETRY_AT_DATE")
        by_disposition = []
        by_result = [t for t in by_result if t.record_action.name in accepted]
    sequence = by_disposition or by_result

    # 2. Where the chain is in it.
    begin, k, cycle = 0, 1, 1
    if row.record_type in (3, 4, 5, 6) and row.treatments:
        last, times, chain_n, cycle = (int(part) for part in row.treatments.split("@"))
        for index, t in enumerate(sequence):
            if t.dbid == last and chain_n == row.chain_n and "NEXT" not in t.record_action.name:
                begin, k = index, times + 1

    # 3. What every one of them would do, until one does.
    effects = []

    def opening(record, at_s):
        found = opens_s(record, at_s) if at_s <= END_OF_COLUMN_S else None
        return found if found is not None and found <= END_OF_COLUMN_S else None

    def date_of(t, record):
        if t.date is None:
            return 0  # as good as passed
        if t.date.year > 2038:
            return END_OF_COLUMN_S + 1
        aware = t.date if t.date.tzinfo else t.date.replace(tzinfo=zone_of(record))
        return calendar.timegm(aware.utctimetuple()) + (aware.microsecond > 0)

    def ended(status, dbid, for_chain=False):
        return Next(None, None, status, row.record_type, None, dbid, tuple(effects), for_chain or result_for_all)

    def goes_on(t, where, at_s, type_=None, in_cycle=None):
        if type_ is None:
            type_ = CAMPAIGN_RESCHEDULED if row.record_type == GENERAL or by_agent else row.record_type
            type_ = PERSONAL_RESCHEDULED if agent_id else type_
        state = f"{t.dbid}@{k}@{chain[where].chain_n}@{in_cycle or cycle}"
        return Next(where, at_s, READY, type_, state, t.dbid, tuple(effects), result_for_all)

    index = begin
    while index < len(sequence):
        t = sequence[index]
        nothing_follows = index == len(sequence) - 1
        action = t.record_action.name
        may_dial = row.attempt < max_attempts
        wait_s = 60 * (t.interval_min + (k - 1) * t.increment_min)

        if action in ("EXECUTE_SQL", "SEND_HTTP"):
            effects.append(t.dbid)
        elif action == "UPDATE_RECORD":
            return ended(UPDATED, t.dbid)
        elif action == "UPDATE_ALL":
            return ended(UPDATED, t.dbid, for_chain=True)
        elif action == "MARK_AS_AGENT_ERROR":
            callback = row.record_type in (PERSONAL_RESCHEDULED, PERSONAL_CALLBACK, CAMPAIGN_CALLBACK)
            return ended(MISSED_CALLBACK if callback else AGENT_ERROR, t.dbid)
        elif action in ("REDIAL", "RETRY_IN", "RESCHEDULE", "RETRY_AT_DATE", "ASSIGN_TO_GROUP"):
            allowed = {"REDIAL": t.cycle_attempts, "RETRY_AT_DATE": 10**9, "ASSIGN_TO_GROUP": 10**9}.get(
                action, max_attempts if nothing_follows else 1
            )
            at_s, type_ = now_s + wait_s, None
            if action == "RESCHEDULE":
                at_s = next_day_s(row, now_s, zone_of(row))
            if action == "RETRY_AT_DATE":
                at_s = date_of(t, row)
                may_dial = may_dial and at_s > now_s
            if action == "ASSIGN_TO_GROUP":
                at_s = now_s
                type_ = {PERSONAL_CALLBACK: CAMPAIGN_CALLBACK, PERSONAL_RESCHEDULED: CAMPAIGN_RESCHEDULED}.get(
                    row.record_type
                )
                may_dial = may_dial and missed and type_ is not None
            if may_dial and k <= allowed:
                at_s = opening(row, at_s)
                if at_s is not None:
                    return goes_on(t, place, at_s, type_)
        elif action.startswith("NEXT_IN_CHAIN"):
            round_trip = [(i, cycle) for i in range(place + 1, len(chain))]
            round_trip += [(i, cycle + 1) for i in range(len(chain))]
            for where, in_cycle in round_trip:
                if in_cycle > max(1, t.cycle_attempts) or chain[where].attempt >= max_attempts:
                    continue
                if action == "NEXT_IN_CHAIN_AT_DATE":
                    at_s = date_of(t, chain[where])
                    if at_s <= now_s:
                        continue
                elif in_cycle > cycle:
                    at_s = now_s + 60 * (t.interval_min + (cycle - 1) * t.increment_min)
                else:
                    at_s = now_s + (60 * t.interval_min if action == "NEXT_IN_CHAIN_AFTER" else 0)
                at_s = opening(chain[where], at_s)
                if at_s is not None:
                    return goes_on(t, where, at_s, in_cycle=in_cycle)
        index, k = index + 1, 1
    return ended(UPDATED, effects[-1] if effects else 0)


def next_day_s(row, now_s, zone):
    """The record's ``daily_from`` on the next local day; what the clocks skip is the moment of the change."""
    today = datetime.fromtimestamp(now_s, zone).date()
    wanted = datetime.combine(today, datetime.min.time()) + timedelta(days=1, seconds=row.daily_from_s)
    at_s = calendar.timegm(wanted.timetuple()) - 16 * 3600
    for step_s in (1800, 60, 1):
        while datetime.fromtimestamp(at_s + step_s, zone).replace(tzinfo=None) < wanted:
            at_s += step_s
    return at_s + 1
