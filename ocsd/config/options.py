"""The options that ocsd supports: their meaning, range and default, and the look-up over levels.

An option stands in the ``options`` table of an object and is looked up from the most specific object to the least:
calling list, campaign group, campaign, trunk, application, built-in default. Names are the Outbound Contact manual's;
defaults are ours, because the manual gives few. The vendor's section names (``default``, ``OCServer``, ...) have no
counterpart in TOML: an object has one options table.

An option that nobody knows, one that the manual knows but this version does not act upon, and one at a level where it
may not stand are errors: an option that is accepted is obeyed.
"""

import difflib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, TypeAlias, overload

from ocsd.config.call_options import CALL_OPTIONS
from ocsd.config.cpa_options import CPA_OPTIONS
from ocsd.config.media_options import MEDIA_OPTIONS
from ocsd.config.objects import Application, CallingList, Campaign, CampaignGroup, Configuration, Trunk
from ocsd.config.option import AC, ACG, ACGL, A, Level, Option, T, TakesEffect
from ocsd.config.seizing_options import SEIZING_OPTIONS
from ocsd.config.trunk_options import CPN_DIGITS as CPN_DIGITS
from ocsd.config.trunk_options import TRUNK_OPTIONS
from ocsd.config.voice_options import VOICE_OPTIONS

CALL_WAIT_CONNECTED_TIMEOUT: Final = Option(
    "call_wait_connected_timeout", 25, ACG, TakesEffect.NEXT_ATTEMPT,
    "How long a called number may ring before the call is given up as No Answer. At least 15 s (four rings), as the "
    "United States' Telemarketing Sales Rule demands (16 CFR 310.4(b)(4)(ii)).",
    unit="s", minimum=15, maximum=180,
)  # fmt: skip
CALL_WAIT_IN_QUEUE_TIMEOUT: Final = Option(
    "call_wait_in_queue_timeout", 2.0, ACG, TakesEffect.NEXT_ATTEMPT,
    "How long an answered person may wait for an agent before the announcement is played and the call is dropped. "
    "More than 2 s counts as abandoned under 16 CFR 310.4(b)(1)(iv).",
    unit="s", minimum=0.5, maximum=60,
)  # fmt: skip
CALL_WAIT_AGENT_CONNECTED_TIMEOUT: Final = Option(
    "call_wait_agent_connected_timeout", 5.0, ACG, TakesEffect.NEXT_ATTEMPT,
    "How long an agent's phone may take to answer; then the agent becomes not ready.",
    unit="s", minimum=0.5, maximum=60,
)  # fmt: skip
CPN_DISPLAY_NAME: Final = Option(
    "CPNDisplayName", "", ACG, TakesEffect.NEXT_ATTEMPT,
    "Caller name shown to the called person. Empty: none is sent.",
    maximum=64,
)  # fmt: skip
DIALING_RATE_LIMIT: Final = Option(
    "dialing_rate_limit", 0.0, frozenset({Level.APPLICATION, Level.CAMPAIGN_GROUP}), TakesEffect.IMMEDIATELY,
    "Most calls that one campaign group starts in a second; 0: no limit. A trunk's calls_per_second holds besides.",
    unit="calls/s", minimum=0, maximum=10_000,
)  # fmt: skip
PROGRESSIVE_DIAL_FACTOR: Final = Option(
    "progressive_dial_factor", 1.0, ACG, TakesEffect.IMMEDIATELY,
    "Lines per agent in Progressive mode; 1 can leave nobody without an agent.",
    unit="lines per ready agent", minimum=1, maximum=10,
)  # fmt: skip
PREDICTIVE_ALGORITHM: Final = Option(
    "predictive_algorithm", "time_optimized_odr", ACG, TakesEffect.IMMEDIATELY,
    "How Predictive mode reaches an overdial rate; the goals busy factor and wait time always use classical. "
    "classical: as much as the prediction of answers and of agents coming free allows; small_group: in small groups, "
    "no call is started until every call under way has ended; advanced_small_group: the same without that wait; "
    "time_optimized_odr: at any size, and an excess is made up for over time. The vendor's default is small_group; "
    "ours keeps agents busier at the same overdial rate, in small groups too.",
    choices=("classical", "small_group", "advanced_small_group", "time_optimized_odr"),
)  # fmt: skip
SMALL_GROUP_SIZE: Final = Option(
    "small_group_size", 30, ACG, TakesEffect.IMMEDIATELY,
    "The two small-group algorithms apply up to so many agents who work or wait; above it, classical does.",
    unit="agents", minimum=0, maximum=10_000,
)  # fmt: skip
HISTORY_LENGTH: Final = Option(
    "history_length", 30, ACG, TakesEffect.IMMEDIATELY,
    "Outcomes of calls that Predictive mode needs before it trusts its prediction; until then one call per ready agent "
    "is started. Ours knows after 30 what the vendor's is remembered to need 100 for: the error of a small sample is "
    "part of the prediction.",
    unit="calls", minimum=0, maximum=100_000,
)  # fmt: skip
PREDICTIVE_MIN_OVERDIAL_RATE: Final = Option(
    "predictive_min_overdial_rate", 0.0, ACG, TakesEffect.IMMEDIATELY,
    "Under time_optimized_odr with an overdial rate as goal: what is still aimed at while an excess is made up for, "
    "instead of nothing at all. max_overdial_rate and the guard over the legal window stay above it.",
    unit="percent", minimum=0, maximum=100,
)  # fmt: skip
PREDICTIVE_MIN_OVERDIAL_RATE_CALLS: Final = Option(
    "predictive_min_overdial_rate_calls", 100, ACG, TakesEffect.IMMEDIATELY,
    "Over how many answered people predictive_min_overdial_rate is measured.",
    unit="people", minimum=1, maximum=1_000,
)  # fmt: skip
PREDICTIVE_HARD_LIMITS: Final = Option(
    "predictive_hard_limits", False, ACG, TakesEffect.IMMEDIATELY,
    "yes: from the moment the goal is exceeded until it is met again, no call is started ahead of a ready agent; no: "
    "the excess is made up for over time.",
)  # fmt: skip
PREDICTIVE_LEAST_RING: Final = Option(
    "predictive-least-ring", 0.0, ACG, TakesEffect.IMMEDIATELY,
    "How long a call must have rung before Predictive mode may give it up as No Answer because nobody would be free to "
    "talk to whoever answers; 0: it never does. 15 keeps agents busier at the same overdial rate, by about half a "
    "point in groups of ten or with short calls and by nothing in large groups, at the price of one or two calls more "
    "in a hundred. No value from 1 to 14: a phone must ring for 15 s or four times (16 CFR 310.4(b)(4)(ii)).",
    unit="s", minimum=0, maximum=180, ours=True,
)  # fmt: skip
PROGRESSIVE_BLENDING_RESERVED_AGENTS: Final = Option(
    "progressive_blending_reserved_agents", 0, ACG, TakesEffect.IMMEDIATELY,
    "Ready agents for whom Progressive mode starts no call, so that inbound calls find one. A called person who waits "
    "is still given to any of them.",
    unit="agents", minimum=0, maximum=10_000,
)  # fmt: skip
SHARING_WEIGHT: Final = Option(
    "sharing-weight", 1.0, frozenset({Level.APPLICATION, Level.CAMPAIGN_GROUP}), TakesEffect.IMMEDIATELY,
    "The group's part of what it shares with others that dial at the same time: agents who are in several agent "
    "groups, calls on a trunk, legs of the telephony. Twice the weight, twice the part. What one does not need is the "
    "others'.",
    minimum=0.01, maximum=1000, ours=True,
)  # fmt: skip
HISTORY_RETENTION: Final = Option(
    "history-retention", 400, A, TakesEffect.IMMEDIATELY,
    "How long attempts, decisions without a call and withdrawals are kept for `ocsd history`; older ones are deleted "
    "once a day. What attempt caps of the configured lists still count is kept in any case. 0: for ever.",
    unit="days", minimum=0, maximum=36_500, ours=True,
)  # fmt: skip
LEGAL_RULE: Final = Option(
    "legal_rule", "campaign", AC, TakesEffect.IMMEDIATELY,
    "The rule about abandoned calls that is kept over its whole window, restarts included (`ocsd guard presets` tells "
    "each; docs/guard.md). campaign: the lowest max_overdial_rate of the campaign's groups, over successive periods of "
    "30 days; none: no window is watched.",
    choices=("campaign", "us-tsr", "us-tcpa", "strict-1", "uk", "uk-2010", "none"), ours=True,
)  # fmt: skip
LEGAL_LIMIT_RATE: Final = Option(
    "legal_limit_rate", -1.0, AC, TakesEffect.IMMEDIATELY,
    "Of the people who answer within the window, this share may be abandoned; 0: nobody; -1: as the rule says. It may "
    "not be higher than the rule's.",
    unit="percent", minimum=-1, maximum=99, ours=True,
)  # fmt: skip
LEGAL_WINDOW: Final = Option(
    "legal_window", "rule", AC, TakesEffect.IMMEDIATELY,
    "Kind of the window. successive: periods one after the other from the campaign's first answered person; calendar: "
    "from midnight in legal_window_zone, whole days; rolling: whatever lies no further back; rule: as the rule says.",
    choices=("rule", "successive", "calendar", "rolling"), ours=True,
)  # fmt: skip
LEGAL_WINDOW_DAYS: Final = Option(
    "legal_window_days", 0.0, AC, TakesEffect.IMMEDIATELY,
    "Length of the window, in quarters of an hour: 0.25 is six hours. 0: as the rule says.",
    unit="days", minimum=0, maximum=366, ours=True,
)  # fmt: skip
LEGAL_WINDOW_ZONE: Final = Option(
    "legal_window_zone", "", AC, TakesEffect.IMMEDIATELY,
    "Time zone (IANA name) whose midnight begins a calendar window. Empty: as the rule says.",
    maximum=64, ours=True,
)  # fmt: skip
LEGAL_CONFIDENCE: Final = Option(
    "legal_confidence", 99.0, AC, TakesEffect.IMMEDIATELY,
    "With this confidence what the guard leaves is not overrun: it sizes the reserve that is kept of the allowance and "
    "the pace that is aimed at.",
    unit="percent", minimum=50, maximum=99.999, ours=True,
)  # fmt: skip
LEGAL_HARD_STOP: Final = Option(
    "legal_hard_stop", False, AC, TakesEffect.IMMEDIATELY,
    "yes: from 1,000 people on, nothing at all is dialed while one more abandoned person would pass the limit, until "
    "the window ends; no: calls start one for each free agent then, which wins the room back.",
    ours=True,
)  # fmt: skip
MAX_OVERDIAL_RATE: Final = Option(
    "max_overdial_rate", 3.0, ACG, TakesEffect.IMMEDIATELY,
    "Hard bound on the share of answered people who find no agent, whatever goal the group optimizes for. 3 % is the "
    "safe harbour of 16 CFR 310.4(b)(4)(i).",
    unit="percent", minimum=0.1, maximum=100, ours=True,
)  # fmt: skip
PACING_JOURNAL: Final = Option(
    "pacing-journal", True, ACG, TakesEffect.NEXT_LOAD,
    "yes: every decision of the pacing is recorded in the data folder, under `pacing/` and the DBID of the campaign "
    "group, for `ocsd pacing`. It holds times and counts, no telephone numbers and no names of agents.",
    ours=True,
)  # fmt: skip
PACING_JOURNAL_SIZE: Final = Option(
    "pacing-journal-size", 200, ACG, TakesEffect.NEXT_LOAD,
    "How much of the disk the pacing journal of one campaign group may take; the oldest file goes first. An hour "
    "takes about 1 MB with 50 agents and 4 MB with 300.",
    unit="MB", minimum=1, maximum=1_000_000, ours=True,
)  # fmt: skip
RECORD_PROCESSED: Final = Option(
    "record_processed", False, ACGL, TakesEffect.NEXT_ATTEMPT,
    "true: a record that reached an agent is finished only by the desktop's RecordProcessed; false: it is finished "
    "when the call is released, unless the desktop has finished it before.",
)  # fmt: skip
STALE_CLEAN_TIMEOUT: Final = Option(
    "stale_clean_timeout", 30, ACG, TakesEffect.NEXT_ATTEMPT,
    "How long a record may wait for its RecordProcessed before it becomes Stale; requests about it then answer with "
    "error 112.",
    unit="minutes", minimum=1, maximum=1440,
)  # fmt: skip
CAMPAIGNGROUP_AUTO_COMPLETE: Final = Option(
    "campaigngroup-auto-complete", False, frozenset({Level.CAMPAIGN_GROUP}), TakesEffect.IMMEDIATELY,
    "yes: dialing stops and the group is unloaded when every record is finished, unless a request says otherwise by "
    "GSW_AUTO_COMPLETION.",
)  # fmt: skip
UPDATE_ALL_RECORDS: Final = Option(
    "update_all_records", False, frozenset({Level.APPLICATION, Level.CALLING_LIST}), TakesEffect.NEXT_ATTEMPT,
    "yes: the call result is written to every record of the chain, not only to the one that was dialed.",
)  # fmt: skip
AGENT_LOGOUT_PREVIEW_CALL_RESULT: Final = Option(
    "agent_logout_preview_call_result", -1, ACG, TakesEffect.IMMEDIATELY,
    "Call result written to the records that an agent still has on the desktop when the agent logs out; -1: they keep "
    "their own.",
    minimum=-1, maximum=53,
)  # fmt: skip
CANCEL_ON_DESKTOP: Final = Option(
    "cancel-on-desktop", False, A, TakesEffect.IMMEDIATELY,
    "yes: a cancel by phone number or customer ID also cancels records that are on desktops, which are told by "
    "RecordCancel; no: those records stay, and the answer says that processing is incomplete.",
)  # fmt: skip
CHECK_DNC_LIST: Final = Option(
    "check_dnc_list", True, ACG, TakesEffect.NEXT_ATTEMPT,
    "yes: a record is compared with the Do-Not-Call list when it is taken from its list and once more right before it "
    "is dialed; no: only when it is taken. A request that arrives meanwhile withdraws the records it names anyway.",
)  # fmt: skip
CHECK_DNC_CALLBACK: Final = Option(
    "check_dnc_callback", True, ACG, TakesEffect.NEXT_ATTEMPT,
    "The same for callbacks, right before they are dialed or delivered to a desktop.",
)  # fmt: skip
DNC_REREAD_AT: Final = Option(
    "dnc_reread_at", "", A, TakesEffect.IMMEDIATELY,
    "Times of day (UTC) at which the Do-Not-Call list is read again, for sites that change its table by other means. "
    "Empty: only on command.",
    times=True, ours=True,
)  # fmt: skip
PREDICTIVE_CALLBACK: Final = Option(
    "predictive_callback", True, ACG, TakesEffect.NEXT_CLAIM,
    "yes: campaign callbacks are dialed like other records, in the order of their priority; no: they are delivered to "
    "the desktop of an agent of the group as ScheduledCall.",
)  # fmt: skip
TREATMENT_SCHED_THRESHOLD: Final = Option(
    "treatment_sched_threshold", 5, frozenset({Level.APPLICATION, Level.CALLING_LIST}), TakesEffect.NEXT_TREATMENT,
    "A treatment that dials again sooner than this keeps the record in memory; a longer wait writes it back to its "
    "list, to be taken again when it is due. 0: it is always written back.",
    unit="minutes", minimum=0, maximum=1440,
)  # fmt: skip
DEFAULT_GENERAL_PRIORITY: Final = Option(
    "default_general_priority", 1, ACG, TakesEffect.NEXT_CLAIM,
    "Priority of records of type General: the type with the highest number is dialed first.",
    minimum=0, maximum=100,
)  # fmt: skip
DEFAULT_CAMPAIGNRESCHEDULED_PRIORITY: Final = Option(
    "default_campaignrescheduled_priority", 2, ACG, TakesEffect.NEXT_CLAIM,
    "Priority of records of type Campaign Rescheduled (those that a treatment dials again).",
    minimum=0, maximum=100,
)  # fmt: skip
DEFAULT_CAMPAIGNCALLBACK_PRIORITY: Final = Option(
    "default_campaigncallback_priority", 3, ACG, TakesEffect.NEXT_CLAIM,
    "Priority of records of type Campaign CallBack.",
    minimum=0, maximum=100,
)  # fmt: skip
GENERAL_N_RECORDS: Final = Option(
    "general_n_records", 0, ACG, TakesEffect.NEXT_CLAIM,
    "Most chains of type General in one portion taken from a list (n_records of the manual's dialing_priority); the "
    "rest of the portion goes to types of lower priority. 0: no limit.",
    unit="chains", minimum=0, maximum=1_000_000, ours=True,
)  # fmt: skip
CAMPAIGNRESCHEDULED_N_RECORDS: Final = Option(
    "campaignrescheduled_n_records", 0, ACG, TakesEffect.NEXT_CLAIM,
    "The same for type Campaign Rescheduled.",
    unit="chains", minimum=0, maximum=1_000_000, ours=True,
)  # fmt: skip
CAMPAIGNCALLBACK_N_RECORDS: Final = Option(
    "campaigncallback_n_records", 0, ACG, TakesEffect.NEXT_CLAIM,
    "The same for type Campaign CallBack.",
    unit="chains", minimum=0, maximum=1_000_000, ours=True,
)  # fmt: skip
PRE_DIAL_VALIDATION: Final = Option(
    "pre-dial-validation", False, ACGL, TakesEffect.NEXT_ATTEMPT,
    "yes: the server of validation-uri is asked about every record before it is dialed. It answers 200: the record is "
    "dialed; 409: it is not, and the treatment of the result that the answer names is applied.",
)  # fmt: skip
VALIDATION_URI: Final = Option(
    "validation-uri", "", ACGL, TakesEffect.NEXT_ATTEMPT,
    "Where pre-dial validation asks.",
    maximum=2048, web=True,
)  # fmt: skip
VALIDATION_TIMEOUT_CALL_RESULT: Final = Option(
    "validation-timeout-call-result", 3, ACGL, TakesEffect.NEXT_ATTEMPT,
    "Call result of a record about which pre-dial validation got no answer within http-response-timeout, or neither "
    "200 nor 409; its treatment is applied without dialing. 3 is General Error.",
    minimum=0, maximum=53,
)  # fmt: skip
VALIDATION_REFUSAL_CALL_RESULT: Final = Option(
    "validation-refusal-call-result", 52, ACGL, TakesEffect.NEXT_ATTEMPT,
    "Call result of a record that pre-dial validation refuses (409) without naming one; its treatment is applied "
    "without dialing. 52 is Cancel Record.",
    minimum=0, maximum=53, ours=True,
)  # fmt: skip
VALIDATION_ANSWER_LIFETIME: Final = Option(
    "validation-answer-lifetime", 30, ACGL, TakesEffect.NEXT_ATTEMPT,
    "How long a record may be dialed after pre-dial validation has allowed it; later it is asked about again. Records "
    "are asked about some seconds ahead, so that dialing does not wait for the answers.",
    unit="s", minimum=5, maximum=3600, ours=True,
)  # fmt: skip
HTTP_RESPONSE_TIMEOUT: Final = Option(
    "http-response-timeout", 5, A, TakesEffect.NEXT_ATTEMPT,
    "How long an answer to pre-dial validation may take.",
    unit="s", minimum=1, maximum=120,
)  # fmt: skip
HTTP_CONNECTION_POOL_SIZE: Final = Option(
    "http-connection-pool-size", 20, A, TakesEffect.IMMEDIATELY,
    "Most requests of pre-dial validation under way at once, each on a connection of its own that is kept. It bounds "
    "the calls that can be started: with 20 and answers in 0.1 s, 200 in a second.",
    unit="connections", minimum=1, maximum=1000,
)  # fmt: skip

AnyOption: TypeAlias = Option[bool] | Option[int] | Option[float] | Option[str]

_ALL: Final[tuple[AnyOption, ...]] = (
    *CALL_OPTIONS,
    *CPA_OPTIONS,
    *MEDIA_OPTIONS,
    *SEIZING_OPTIONS,
    *TRUNK_OPTIONS,
    *VOICE_OPTIONS,
    AGENT_LOGOUT_PREVIEW_CALL_RESULT,
    CALL_WAIT_AGENT_CONNECTED_TIMEOUT,
    CALL_WAIT_CONNECTED_TIMEOUT,
    CALL_WAIT_IN_QUEUE_TIMEOUT,
    CAMPAIGNCALLBACK_N_RECORDS,
    CAMPAIGNGROUP_AUTO_COMPLETE,
    CAMPAIGNRESCHEDULED_N_RECORDS,
    CANCEL_ON_DESKTOP,
    CHECK_DNC_CALLBACK,
    CHECK_DNC_LIST,
    CPN_DISPLAY_NAME,
    DEFAULT_CAMPAIGNCALLBACK_PRIORITY,
    DEFAULT_CAMPAIGNRESCHEDULED_PRIORITY,
    DEFAULT_GENERAL_PRIORITY,
    DIALING_RATE_LIMIT,
    DNC_REREAD_AT,
    GENERAL_N_RECORDS,
    HISTORY_LENGTH,
    HISTORY_RETENTION,
    HTTP_CONNECTION_POOL_SIZE,
    HTTP_RESPONSE_TIMEOUT,
    LEGAL_CONFIDENCE,
    LEGAL_HARD_STOP,
    LEGAL_LIMIT_RATE,
    LEGAL_RULE,
    LEGAL_WINDOW,
    LEGAL_WINDOW_DAYS,
    LEGAL_WINDOW_ZONE,
    MAX_OVERDIAL_RATE,
    PACING_JOURNAL,
    PACING_JOURNAL_SIZE,
    PREDICTIVE_ALGORITHM,
    PREDICTIVE_CALLBACK,
    PREDICTIVE_HARD_LIMITS,
    PREDICTIVE_LEAST_RING,
    PREDICTIVE_MIN_OVERDIAL_RATE,
    PREDICTIVE_MIN_OVERDIAL_RATE_CALLS,
    PRE_DIAL_VALIDATION,
    PROGRESSIVE_BLENDING_RESERVED_AGENTS,
    PROGRESSIVE_DIAL_FACTOR,
    RECORD_PROCESSED,
    SHARING_WEIGHT,
    SMALL_GROUP_SIZE,
    STALE_CLEAN_TIMEOUT,
    TREATMENT_SCHED_THRESHOLD,
    UPDATE_ALL_RECORDS,
    VALIDATION_ANSWER_LIFETIME,
    VALIDATION_REFUSAL_CALL_RESULT,
    VALIDATION_TIMEOUT_CALL_RESULT,
    VALIDATION_URI,
)
OPTIONS: Final[Mapping[str, AnyOption]] = MappingProxyType({option.name: option for option in _ALL})

UNSUPPORTED_OPTIONS: Final = frozenset(
    """
    action-queue-quota agent-assignment agent-assignment-max-num agent-assignment-min-num agent-assignment-priority
    agent-reassignment-if-waiting-ports agent-reassignment-if-waiting-ports-timeout
    agent-reassignment-if-waiting-records agent-reassignment-if-waiting-records-timeout agent_preview_mode_start
    am-detection-map am-drop-field call_transfer_type
    call_wait_original_establish_timeout callback-observe-campaign callback-observe-group campaign-callback-distr
    campaign_name_field campaigngroup-preload-uri campaigngroup-states-interval campaigngroup-states-uri
    channel_num contact-processed-notification contact-processed-notification-uri conversion
    CPNPlan CPNScreening CPNType criteria customer_id db-stat-recalc-interval
    desktop-chains-limit dial_log_buffer dial_log_delimiter dial_log_destination dialer-num-attempts dialer-ttl
    digital-dialer-uri digits-detection expire inbound_agent_assignment_support ivr_group
    log_call_stats order_by outbound_answer_action outbound_contact_server outbound_release_action
    report_procedure segment send-campaigngroup-states send_attribute treatment-holiday-stattable
    treatment-preferred-contact-field treatment-uri treatment-weekday-stattable
    """.split()  # noqa: SIM905 - eighty names read better so
)
"""Options of the vendor's product that this version does not act upon. Some stand elsewhere in our configuration
(`INSTEAD`)."""

INSTEAD: Final[Mapping[str, str]] = MappingProxyType(
    {
        "channel_num": "use num_of_channels of the campaign group and max_calls of the trunk",
        "CPNPlan": "SIP has no numbering plan; use number_format and caller_id_format of the trunk",
        "CPNScreening": "the carrier screens numbers, and tells by STIR (RFC 8224); use identity of the trunk",
        "CPNType": "SIP has no type of number; use caller_id_format of the trunk",
        "criteria": "use criteria of a filter",
        "customer_id": "use customer_id_field of the calling list",
        "ivr_group": "use ivr_group of the agent group",
        "order_by": "use order_by of a filter",
        "send_attribute": "use send_attribute of a format's field",
        "treatment-holiday-stattable": "use holiday_table of the calling list",
        "treatment-weekday-stattable": "use weekday_table of the calling list",
    }
)


def check_option(name: str, value: object, level: Level) -> str | None:
    """Return what is wrong with an option at a level, in words that follow a key path; None when nothing is."""
    option = OPTIONS.get(name)
    if option is None:
        if name in UNSUPPORTED_OPTIONS:
            instead = f"; {INSTEAD[name]}" if name in INSTEAD else ""
            return f"this option of the manual is not supported by this version{instead}"
        return f"unknown option{did_you_mean(name, (*OPTIONS, *UNSUPPORTED_OPTIONS))}"
    if level not in option.levels:
        return f"this option may not stand on a {level.value}; it may stand on: {levels_in_words(option)}"
    try:
        option.parse(value)
    except ValueError as error:
        return str(error)
    return None


def did_you_mean(name: str, known: tuple[str, ...]) -> str:
    """``; did you mean a or b?`` for names close to ``name``, else nothing. Case, ``-`` and ``_`` do not count."""
    plain = {_plain(candidate): candidate for candidate in known}
    close = difflib.get_close_matches(_plain(name), plain, n=2, cutoff=0.75)
    return f"; did you mean {' or '.join(plain[match] for match in close)}?" if close else ""


def _plain(name: str) -> str:
    return name.lower().replace("-", "_")


def levels_in_words(option: AnyOption) -> str:
    return ", ".join(level.value for level in Level if level in option.levels)


@overload
def lookup(
    configuration: Configuration,
    option: Option[T],
    *,
    group: CampaignGroup | None = None,
    campaign: Campaign | None = None,
    calling_list: CallingList | None = None,
    trunk: Trunk | None = None,
) -> T: ...


@overload
def lookup(
    configuration: Configuration,
    option: str,
    *,
    group: CampaignGroup | None = None,
    campaign: Campaign | None = None,
    calling_list: CallingList | None = None,
    trunk: Trunk | None = None,
) -> Any: ...


def lookup(
    configuration: Configuration,
    option: Any,
    *,
    group: CampaignGroup | None = None,
    campaign: Campaign | None = None,
    calling_list: CallingList | None = None,
    trunk: Trunk | None = None,
) -> Any:
    """
    Return the value of an option where it stands most specifically, in the option's type.

    Args:
        option: one of this module's options (typed result), or a name (``Any``; KeyError when it is not supported).
        group: its campaign is looked at too, unless ``campaign`` names another one.
        trunk: the one that is dialed on.
    """
    found: AnyOption = OPTIONS[option] if isinstance(option, str) else option
    if campaign is None and group is not None:
        campaign = configuration.campaign(group.campaign)
    holders: tuple[CallingList | CampaignGroup | Campaign | Trunk | Application | None, ...] = (
        calling_list,
        group,
        campaign,
        trunk,
        configuration.application,
    )
    for holder in holders:
        if holder is not None and found.name in holder.options:
            return found.parse(holder.options[found.name])
    return found.default
