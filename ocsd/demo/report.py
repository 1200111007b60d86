"""The demo's report: what the database says, held against what carrier and phones know. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ocsd.model.enums import CallResult, RecordStatus
from telephony.simworld.idtone import agent_code
from telephony.simworld.plan import NumberClass
from telephony.simworld.truth import CANCELLED

PERSON = frozenset({CallResult.ANSWER, CallResult.ABANDONED, CallResult.DROPPED})
MACHINE = frozenset({CallResult.ANSWERING_MACHINE})

EXPECTED: Mapping[NumberClass, frozenset[CallResult]] = {
    NumberClass.HUMAN: PERSON,
    NumberClass.MUSIC: PERSON,
    NumberClass.MACHINE: MACHINE,
    NumberClass.NO_ANSWER: frozenset({CallResult.NO_ANSWER}),
    NumberClass.BUSY_SIP: frozenset({CallResult.BUSY}),
    NumberClass.BUSY_INBAND: frozenset({CallResult.BUSY}),
    NumberClass.BUSY_ANSWERED: frozenset({CallResult.BUSY}),
    NumberClass.REORDER_INBAND: frozenset({CallResult.ALL_TRUNKS_BUSY}),
    NumberClass.SIT_IC: frozenset({CallResult.SIT_INTERCEPT}),
    NumberClass.SIT_VC: frozenset({CallResult.SIT_VACANT_CODE}),
    NumberClass.SIT_RO: frozenset({CallResult.SIT_REORDER}),
    NumberClass.SIT_NC: frozenset({CallResult.SIT_NO_CIRCUIT}),
    NumberClass.SIT_IO: frozenset({CallResult.SIT_UNKNOWN}),
    NumberClass.SIP_302: frozenset({CallResult.GENERAL_ERROR}),
    NumberClass.SIP_404: frozenset({CallResult.SIT_INVALID_NUM}),
    NumberClass.SIP_408: frozenset({CallResult.NO_ANSWER}),
    NumberClass.SIP_480: frozenset({CallResult.NO_ANSWER}),
    NumberClass.SIP_484: frozenset({CallResult.SIT_INVALID_NUM}),
    NumberClass.SIP_503: frozenset({CallResult.ALL_TRUNKS_BUSY}),
    NumberClass.SIP_603: frozenset({CallResult.REMOTE_RELEASE}),
    NumberClass.SIP_604: frozenset({CallResult.SIT_INVALID_NUM}),
    NumberClass.FAX: frozenset({CallResult.FAX}),
    NumberClass.SILENT: frozenset({CallResult.SILENCE}),
    # Hangs up in or just after the greeting: gone before the verdict, or a person who gave up.
    NumberClass.HANGUP_EARLY: PERSON | {CallResult.REMOTE_RELEASE},
    NumberClass.HUMAN_BUSINESS: PERSON,
    NumberClass.HUMAN_SLOW: PERSON,
    NumberClass.HUMAN_AGAIN: PERSON,
    NumberClass.MACHINE_SHORT: MACHINE,
    NumberClass.MACHINE_LONG: MACHINE,
    NumberClass.MACHINE_PAUSE: MACHINE,
    NumberClass.MACHINE_BEEP: MACHINE,
    NumberClass.MUSIC_MACHINE: MACHINE,
    NumberClass.FAX_V21: frozenset({CallResult.FAX}),
    # The manual has one result for whatever answers with data.
    NumberClass.MODEM_ANSAM: frozenset({CallResult.FAX}),
    NumberClass.MODEM_BELL: frozenset({CallResult.FAX}),
    NumberClass.PAGER: frozenset({CallResult.PAGER}),
    NumberClass.REORDER_ANSWERED: frozenset({CallResult.ALL_TRUNKS_BUSY}),
    NumberClass.SIT_VC_ANSWERED: frozenset({CallResult.SIT_VACANT_CODE}),
    NumberClass.SIT_ITU: frozenset({CallResult.SIT_DETECTED}),
    NumberClass.NU_INBAND: frozenset({CallResult.NU_TONE}),
    NumberClass.NO_RINGBACK: frozenset({CallResult.NO_RINGBACK, CallResult.NO_ANSWER}),
    # What is said is information; the status that follows it decides.
    NumberClass.ANNOUNCED: frozenset({CallResult.SIT_INVALID_NUM}),
}
"""What the results table should say for each class of number, when the call was allowed to take its course."""

PEOPLE_WITHOUT_AGENT = frozenset({CallResult.ABANDONED, CallResult.DROPPED})

REFUSED: Mapping[str, frozenset[CallResult]] = {
    "trunk_full": frozenset({CallResult.ALL_TRUNKS_BUSY}),
    "no_number": frozenset({CallResult.SIT_INVALID_NUM}),
}
"""Calls that the carrier did not even take."""

NOT_JUDGED = frozenset({CallResult.STALE, CallResult.UNKNOWN, CallResult.NO_PORT_AVAILABLE})
"""The dialer ended these itself (forced unload, crash) or had no port for them: the number showed nothing."""


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """
    One row of the attempt journal. Times in seconds since 1970; None: it did not come to that.

    ``decided_s``: when the verdict was there. ``lost_waiting_for``: `ocsd.sessions.verdicts.LostWaiting`, of a call
    lost after its answer. ``verdicts``: whatever the analysis said, in order (`VerdictLog.document`).
    """

    attempt_id: int
    phone: str
    call_result: int | None
    connected: bool
    finished: bool
    agent_id: str | None
    decided_s: float | None = None
    lost_waiting_for: str | None = None
    verdicts: Sequence[Mapping[str, Any]] | None = None


def expected_results(truth: Mapping[str, Any]) -> frozenset[CallResult]:
    """The right results for one call of the carrier's truth log."""
    refused = REFUSED.get(truth["class"])
    return refused if refused is not None else EXPECTED[NumberClass(truth["class"])]


def match_truth(attempts: Iterable[AttemptRow], truths: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """
    Share of attempts whose result equals the carrier's truth: by class, by who decides (signalling or CPA), and misses.
    """
    by_number: dict[str, Mapping[str, Any]] = {truth["number"].lstrip("+"): truth for truth in truths}
    right: Counter[str] = Counter()
    total: Counter[str] = Counter()
    misses: list[dict[str, Any]] = []
    for attempt in attempts:
        truth = by_number.get(attempt.phone.lstrip("+"))
        if truth is None or attempt.call_result is None or attempt.call_result in NOT_JUDGED:
            continue
        if truth["class"] == CANCELLED:
            continue  # given up before there was anything to know
        number_class = str(truth["class"])
        keys = (f"class:{number_class}", f"decided_by:{truth['decided_by']}")
        good = attempt.call_result in expected_results(truth)
        total.update(keys)
        if good:
            right.update(keys)
        else:
            misses.append(
                {"attempt_id": attempt.attempt_id, "class": number_class, "result": title_of(attempt.call_result)}
            )
    return {
        "by_class": {
            key.removeprefix("class:"): round(right[key] / count, 4)
            for key, count in sorted(total.items())
            if key.startswith("class:")
        },
        "signalling": ratio(right["decided_by:signalling"], total["decided_by:signalling"]),
        "cpa": ratio(right["decided_by:cpa"], total["decided_by:cpa"]),
        "judged": total["decided_by:signalling"] + total["decided_by:cpa"],
        "misses": misses,
    }


def ratio(part: int, whole: int) -> float:
    """1.0 for nothing out of nothing: no call was judged wrongly."""
    return round(part / whole, 4) if whole else 1.0


def title_of(result: int) -> str:
    """The manual's name of a result; its number when the manual has none."""
    try:
        return CallResult(result).title
    except ValueError:
        return str(result)


def by_status_name(statuses: Mapping[int, int]) -> dict[str, int]:
    """Rows of the list by the name of their record status."""
    known = set(RecordStatus)
    return {
        RecordStatus(status).name.replace("_", " ").title() if status in known else str(status): count
        for status, count in sorted(statuses.items())
    }


def audio_verdicts(
    attempts: Iterable[AttemptRow], truths: Sequence[Mapping[str, Any]], phone_truths: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """
    Of the bridged calls long enough to tell: on how many did each side hear the other, and the right other.

    A side is asked for the identifying tones that it heard; the customer must have heard the agent's and nobody
    else's, and the other way round.
    """
    heard_by_phone: dict[str, set[int]] = defaultdict(set)
    for call in phone_truths:
        heard_by_phone[str(call["extension"])] |= {int(code) for code in call["heard_codes"]}
    by_number = {truth["number"].lstrip("+"): truth for truth in truths}
    judged = good = 0
    failures: list[dict[str, Any]] = []
    for attempt in attempts:
        truth = by_number.get(attempt.phone.lstrip("+"))
        if not attempt.connected or truth is None or attempt.agent_id is None:
            continue
        if truth["talk_began_at_s"] is None or truth["ended_at_s"] - truth["talk_began_at_s"] < MIN_CONVERSATION_S:
            continue
        judged += 1
        extension = extension_of(attempt.agent_id)
        customer_heard = {int(code) for code in truth["heard_codes"]} == {agent_code(extension)}
        agent_heard = truth["own_code"] in heard_by_phone[extension]
        if customer_heard and agent_heard:
            good += 1
        else:
            failures.append(
                {"attempt_id": attempt.attempt_id, "customer_heard": customer_heard, "agent_heard": agent_heard}
            )
    return {"judged": judged, "ok": ratio(good, judged), "failures": failures}


MIN_CONVERSATION_S = 2.0
"""The identifying tones are decoded over windows of a second: a shorter conversation proves nothing."""


def extension_of(agent_id: str) -> str:
    """The demo's numbering: agent1 sits at extension 1001."""
    return str(1000 + int(agent_id.removeprefix("agent")))


def double_dialed(truths: Sequence[Mapping[str, Any]]) -> int:
    """
    Calls that the carrier saw to numbers which had had theirs; every record of the demo has its own number.

    A 503 is the trunk's fault and charges nobody: such a number is called once more, and then its result stands.
    """
    calls = Counter(truth["number"].lstrip("+") for truth in truths)
    again = {truth["number"].lstrip("+") for truth in truths if truth["class"] == NumberClass.SIP_503}
    return sum(max(0, count - (2 if number in again else 1)) for number, count in calls.items())


def lost(
    records: int, statuses: Mapping[int, int], attempts: Sequence[AttemptRow], truths: Sequence[Mapping[str, Any]]
) -> int:
    """
    Records that are nowhere: rows missing, still Retrieved after the unload, attempts without an end, and calls that
    the carrier saw but the journal does not know.
    """
    journal = {attempt.phone.lstrip("+") for attempt in attempts}
    unknown_calls = sum(truth["number"].lstrip("+") not in journal for truth in truths)
    unfinished = sum(not attempt.finished for attempt in attempts)
    missing_rows = records - sum(statuses.values())
    return missing_rows + statuses.get(int(RecordStatus.RETRIEVED), 0) + unfinished + unknown_calls
