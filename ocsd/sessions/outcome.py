"""
One table from SIP status, Q.850 cause and call-progress verdict to the manual's call result.

Order of evidence: a tone heard in band (SIT, busy, reorder, fax) is more specific than the status that follows it; a
Q.850 cause in a Reason header is more specific than the SIP status that carries it; then the SIP status.
An unmapped status is GENERAL_ERROR and is logged: "no answer" would hide a broken trunk behind polite redials.

Sources: RFC 3261 section 21, RFC 3398 section 8.2.6 (ISUP causes to SIP), ITU-T Q.850, manual "Call Result Types".
"""

from types import MappingProxyType
from typing import Final

import structlog

from ocsd.model.enums import CallResult
from pacing import Outcome
from telephony.contract import VerdictKind

log = structlog.get_logger()

RESULT_OF_STATUS: Final = MappingProxyType(
    {
        # The number exists but the person is elsewhere: follow-up is the operator's choice, we do not follow redirects.
        301: CallResult.SIT_INTERCEPT,
        302: CallResult.GENERAL_ERROR,
        400: CallResult.GENERAL_ERROR,
        401: CallResult.GENERAL_ERROR,  # our credentials, not the callee
        403: CallResult.GENERAL_ERROR,
        404: CallResult.SIT_INVALID_NUM,  # 21.4.5; ISUP 1
        405: CallResult.GENERAL_ERROR,
        406: CallResult.GENERAL_ERROR,
        407: CallResult.GENERAL_ERROR,
        408: CallResult.NO_ANSWER,  # 21.4.9: the callee could not be located in time; ISUP 102
        410: CallResult.SIT_INTERCEPT,  # 21.4.11: gone, the number was changed; ISUP 22
        415: CallResult.GENERAL_ERROR,
        420: CallResult.GENERAL_ERROR,
        480: CallResult.NO_ANSWER,  # 21.4.18: reached, currently unavailable; ISUP 18, 19
        481: CallResult.GENERAL_ERROR,
        482: CallResult.GENERAL_ERROR,
        483: CallResult.GENERAL_ERROR,
        484: CallResult.SIT_INVALID_NUM,  # 21.4.22; ISUP 28
        485: CallResult.SIT_INVALID_NUM,
        486: CallResult.BUSY,
        # We ask for it only at our ring limit (`no_answer`): otherwise somebody else gave the call up, or our own stack
        # did over an answer that it could not read.
        487: CallResult.GENERAL_ERROR,
        488: CallResult.GENERAL_ERROR,
        500: CallResult.GENERAL_ERROR,
        501: CallResult.GENERAL_ERROR,
        502: CallResult.GENERAL_ERROR,
        503: CallResult.ALL_TRUNKS_BUSY,  # the trunk, not the callee
        504: CallResult.GENERAL_ERROR,
        513: CallResult.GENERAL_ERROR,
        600: CallResult.BUSY,
        603: CallResult.REMOTE_RELEASE,  # 21.6.2: reached and declined; no contact with the called party
        604: CallResult.SIT_INVALID_NUM,
        606: CallResult.GENERAL_ERROR,
        607: CallResult.REMOTE_RELEASE,  # RFC 8197, unwanted
        608: CallResult.REMOTE_RELEASE,  # RFC 8688, rejected by an intermediary
    }
)

RESULT_OF_CAUSE: Final = MappingProxyType(
    {
        1: CallResult.SIT_INVALID_NUM,
        3: CallResult.GENERAL_ERROR,
        17: CallResult.BUSY,
        18: CallResult.NO_ANSWER,
        19: CallResult.NO_ANSWER,
        20: CallResult.NO_ANSWER,  # subscriber absent
        21: CallResult.REMOTE_RELEASE,
        22: CallResult.SIT_INTERCEPT,
        27: CallResult.GENERAL_ERROR,
        28: CallResult.SIT_INVALID_NUM,
        34: CallResult.ALL_TRUNKS_BUSY,
        38: CallResult.ALL_TRUNKS_BUSY,
        41: CallResult.ALL_TRUNKS_BUSY,
        42: CallResult.ALL_TRUNKS_BUSY,
        44: CallResult.ALL_TRUNKS_BUSY,
        47: CallResult.ALL_TRUNKS_BUSY,
        102: CallResult.NO_ANSWER,
    }
)
"""Causes 16 (normal clearing), 31 and 127 say nothing and are left to the SIP status."""

EXPLAINED_BY_VOICE: Final = frozenset({487, 500, 504})
"""After an announcement of the network these say only that it has hung up: the reason was spoken, the trunk works, and
the called party was not reached. A status or cause that names a reason of its own stands."""

RESULT_OF_VERDICT: Final = MappingProxyType(
    {
        VerdictKind.HUMAN: CallResult.ANSWER,
        # The manual ends the analysis with call_timeguard_timeout and says no more: in doubt it is a person.
        VerdictKind.TIMEGUARD: CallResult.ANSWER,
        VerdictKind.MACHINE: CallResult.ANSWERING_MACHINE,
        VerdictKind.FAX: CallResult.FAX,
        VerdictKind.MODEM: CallResult.FAX,  # the manual has no result of its own for it
        VerdictKind.PAGER: CallResult.PAGER,
        VerdictKind.NU_TONE: CallResult.NU_TONE,
        VerdictKind.BUSY: CallResult.BUSY,
        VerdictKind.REORDER: CallResult.ALL_TRUNKS_BUSY,
        VerdictKind.SIT_INTERCEPT: CallResult.SIT_INTERCEPT,
        VerdictKind.SIT_VACANT: CallResult.SIT_VACANT_CODE,
        VerdictKind.SIT_REORDER: CallResult.SIT_REORDER,
        VerdictKind.SIT_NO_CIRCUIT: CallResult.SIT_NO_CIRCUIT,
        VerdictKind.SIT_INEFFECTIVE: CallResult.SIT_UNKNOWN,
        VerdictKind.SIT_UNKNOWN: CallResult.SIT_DETECTED,
        VerdictKind.SILENCE: CallResult.SILENCE,
    }
)
"""What is missing here (RINGBACK, CRBT, ANNOUNCEMENT, NO_RINGBACK, BEEP) is information, not a result. Two of them
count in an unanswered call: ANNOUNCEMENT (`EXPLAINED_BY_VOICE`), and NO_RINGBACK when the ring limit runs out and
nothing else was heard or signalled (`AttemptSteps.nothing_rang`)."""

PEOPLE: Final = frozenset({VerdictKind.HUMAN, VerdictKind.TIMEGUARD})

ENDED_AS: Final = MappingProxyType(
    {
        CallResult.NO_ANSWER: Outcome.NO_ANSWER,
        CallResult.BUSY: Outcome.BUSY,
        CallResult.ANSWERING_MACHINE: Outcome.MACHINE,
        CallResult.FAX: Outcome.FAX,
        CallResult.REMOTE_RELEASE: Outcome.HUNG_UP,
    }
)


def ended_as(result: int) -> Outcome:
    """How the pacing sees an attempt that brought no person."""
    try:
        return ENDED_AS.get(CallResult(result), Outcome.FAILED)
    except ValueError:
        return Outcome.FAILED


def result_of_verdict(kind: VerdictKind) -> CallResult | None:
    """None for what is information only."""
    return RESULT_OF_VERDICT.get(kind)


def result_of_failure(
    sip_status: int,
    q850_cause: int | None,
    early_verdict: VerdictKind | None,
    *,
    no_answer: bool,
    announced: bool = False,
) -> CallResult:
    """
    Result of an attempt that was never answered.

    Args:
        sip_status: final response to the INVITE, 0 when there was none (transport failure, lost worker).
        q850_cause: from a Reason header, or None.
        early_verdict: tone heard in early media, or None.
        no_answer: our own ring limit ran out.
        announced: somebody spoke before the answer.
    """
    if early_verdict is not None and (heard := RESULT_OF_VERDICT.get(early_verdict)) is not None:
        return heard
    if no_answer:
        return CallResult.NO_ANSWER
    if q850_cause is not None and q850_cause in RESULT_OF_CAUSE:
        return RESULT_OF_CAUSE[q850_cause]
    if sip_status == 0:
        return CallResult.GENERAL_ERROR
    if announced and sip_status in EXPLAINED_BY_VOICE:
        return CallResult.REMOTE_RELEASE
    try:
        return RESULT_OF_STATUS[sip_status]
    except KeyError:
        log.warning("outcome.unmapped", sip_status=sip_status, q850_cause=q850_cause)
        return CallResult.GENERAL_ERROR
