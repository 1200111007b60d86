"""The wire constants of the Outbound Contact manual, with exactly its numbers.

Source: Outbound Contact 8.1 Reference Manual, chapters "Defined Constants" (call results, record
types and statuses, contact information types) and "Communication DN API" (GSW_CM_* enumerations).
Values that the manual skips (record statuses 7 and 9, dial modes 6, 7 and 10) are listed as reserved by
the vendor's tools and are never written by ocsd.
"""

from enum import Enum, IntEnum


class CallResult(IntEnum):
    """Final outcome of one attempt, column ``call_result``, key ``GSW_CALL_RESULT``."""

    OK = 0
    TRANSFERRED = 1
    CONFERENCED = 2
    GENERAL_ERROR = 3
    SYSTEM_ERROR = 4
    REMOTE_RELEASE = 5
    BUSY = 6
    NO_ANSWER = 7
    SIT_DETECTED = 8
    ANSWERING_MACHINE = 9
    ALL_TRUNKS_BUSY = 10
    SIT_INVALID_NUM = 11
    SIT_VACANT_CODE = 12
    SIT_INTERCEPT = 13
    SIT_UNKNOWN = 14
    SIT_NO_CIRCUIT = 15
    SIT_REORDER = 16
    FAX = 17
    QUEUE_FULL = 18
    CLEARED = 19
    OVERFLOWED = 20
    ABANDONED = 21
    REDIRECTED = 22
    FORWARDED = 23
    CONSULT = 24
    PICKED_UP = 25
    DROPPED = 26
    DROPPED_ON_NO_ANSWER = 27
    UNKNOWN = 28
    COVERED = 29
    CONVERSE_ON = 30
    BRIDGED = 31
    SILENCE = 32
    ANSWER = 33
    NU_TONE = 34
    NO_DIAL_TONE = 35
    NO_PROGRESS = 36
    NO_RINGBACK = 37
    NO_ESTABLISHED = 38
    PAGER = 39
    WRONG_PARTY = 40
    DIAL_ERROR = 41
    CALL_DROP_ERROR = 42
    SWITCH_ERROR = 43
    NO_PORT_AVAILABLE = 44
    TRANSFER_ERROR = 45
    STALE = 46
    AGENT_CALLBACK_ERROR = 47
    GROUP_CALLBACK_ERROR = 48
    DEAFENED = 49
    HELD = 50
    DO_NOT_CALL = 51
    CANCEL_RECORD = 52
    WRONG_NUMBER = 53

    @property
    def title(self) -> str:
        """The manual's display name, e.g. ``Answering Machine Detected``."""
        return CALL_RESULT_TITLES[self]


CALL_RESULT_TITLES: dict[CallResult, str] = {
    CallResult.OK: "OK",
    CallResult.TRANSFERRED: "Transferred",
    CallResult.CONFERENCED: "Conferenced",
    CallResult.GENERAL_ERROR: "General Error",
    CallResult.SYSTEM_ERROR: "System Error",
    CallResult.REMOTE_RELEASE: "RemoteRelease",
    CallResult.BUSY: "Busy",
    CallResult.NO_ANSWER: "No Answer",
    CallResult.SIT_DETECTED: "SIT Detected",
    CallResult.ANSWERING_MACHINE: "Answering Machine Detected",
    CallResult.ALL_TRUNKS_BUSY: "All Trunks Busy",
    CallResult.SIT_INVALID_NUM: "SIT Invalid Num",
    CallResult.SIT_VACANT_CODE: "SIT VC (Vacant Code)",
    CallResult.SIT_INTERCEPT: "SIT IC (Intercept)",
    CallResult.SIT_UNKNOWN: "SIT Unknown Call State",
    CallResult.SIT_NO_CIRCUIT: "SIT NC (No Circuit)",
    CallResult.SIT_REORDER: "SIT RO (Reorder)",
    CallResult.FAX: "Fax Detected",
    CallResult.QUEUE_FULL: "Queue Full",
    CallResult.CLEARED: "Cleared",
    CallResult.OVERFLOWED: "Overflowed",
    CallResult.ABANDONED: "Abandoned",
    CallResult.REDIRECTED: "Redirected",
    CallResult.FORWARDED: "Forwarded",
    CallResult.CONSULT: "Consult",
    CallResult.PICKED_UP: "Pickedup",
    CallResult.DROPPED: "Dropped",
    CallResult.DROPPED_ON_NO_ANSWER: "Dropped on No Answer",
    CallResult.UNKNOWN: "Unknown Call Result",
    CallResult.COVERED: "Covered",
    CallResult.CONVERSE_ON: "Converse-On",
    CallResult.BRIDGED: "Bridged",
    CallResult.SILENCE: "Silence",
    CallResult.ANSWER: "Answer",
    CallResult.NU_TONE: "NU Tone",
    CallResult.NO_DIAL_TONE: "No Dial Tone",
    CallResult.NO_PROGRESS: "No Progress",
    CallResult.NO_RINGBACK: "No RingBack Tone",
    CallResult.NO_ESTABLISHED: "No Established Detected",
    CallResult.PAGER: "Pager Detected",
    CallResult.WRONG_PARTY: "Wrong Party",
    CallResult.DIAL_ERROR: "Dial Error",
    CallResult.CALL_DROP_ERROR: "Call Drop Error",
    CallResult.SWITCH_ERROR: "Switch Error",
    CallResult.NO_PORT_AVAILABLE: "No Port Available",
    CallResult.TRANSFER_ERROR: "Transfer Error",
    CallResult.STALE: "Stale",
    CallResult.AGENT_CALLBACK_ERROR: "Agent Callback Error",
    CallResult.GROUP_CALLBACK_ERROR: "Group CallBack Error",
    CallResult.DEAFENED: "Deafened",
    CallResult.HELD: "Held",
    CallResult.DO_NOT_CALL: "Do Not Call",
    CallResult.CANCEL_RECORD: "Cancel Record",
    CallResult.WRONG_NUMBER: "Wrong Number",
}


class RecordStatus(IntEnum):
    """Column ``record_status``, key ``GSW_RECORD_STATUS``."""

    NO_RECORD_STATUS = 0
    READY = 1
    RETRIEVED = 2
    UPDATED = 3
    STALE = 4
    CANCELED = 5
    AGENT_ERROR = 6
    CHAIN_UPDATED = 7
    MISSED_CALLBACK = 8
    CHAIN_READY = 9


class RecordType(IntEnum):
    """Column ``record_type``, key ``GSW_RECORD_TYPE``."""

    NO_RECORD_TYPE = 0
    UNKNOWN = 1
    GENERAL = 2
    CAMPAIGN_RESCHEDULED = 3
    PERSONAL_RESCHEDULED = 4
    PERSONAL_CALLBACK = 5
    CAMPAIGN_CALLBACK = 6
    NO_CALL = 7


class ContactInfoType(IntEnum):
    """Column ``contact_info_type``, key ``GSW_PHONE_TYPE``."""

    NO_CONTACT_TYPE = 0
    HOME_PHONE = 1
    DIRECT_BUSINESS_PHONE = 2
    BUSINESS_WITH_EXT = 3
    MOBILE = 4
    VACATION_PHONE = 5
    PAGER = 6
    MODEM = 7
    VOICE_MAIL = 8
    PIN_PAGER = 9
    EMAIL_ADDRESS = 10
    INSTANT_MESSAGING = 11


class DialMode(IntEnum):
    """``GSW_CM_AttrDialMode``."""

    PREDICTIVE = 1
    PROGRESSIVE = 2
    PREVIEW = 3
    PROGRESSIVE_AND_SEIZE = 4
    PREDICTIVE_AND_SEIZE = 5
    PUSH_PREVIEW = 8
    PROGRESSIVE_GVP = 9
    POWER_GVP = 11

    @property
    def campaign_mode(self) -> str:
        """The string of ``GSW_CAMPAIGN_MODE`` on desktops."""
        return CAMPAIGN_MODES[self]


CAMPAIGN_MODES: dict[DialMode, str] = {
    DialMode.PREDICTIVE: "Predictive",
    DialMode.PROGRESSIVE: "Progressive",
    DialMode.PREVIEW: "Preview",
    DialMode.PROGRESSIVE_AND_SEIZE: "Progressive with Seizing",
    DialMode.PREDICTIVE_AND_SEIZE: "Predictive with Seizing",
    DialMode.PUSH_PREVIEW: "Push Preview",
    DialMode.PROGRESSIVE_GVP: "Progressive GVP",
    DialMode.POWER_GVP: "Power GVP",
}


SEIZING_MODES = frozenset({DialMode.PROGRESSIVE_AND_SEIZE, DialMode.PREDICTIVE_AND_SEIZE})
"""Modes in which an agent's phone is up before a customer answers; the manual's ASM modes."""

PREDICTIVE_MODES = frozenset({DialMode.PREDICTIVE, DialMode.PREDICTIVE_AND_SEIZE})
"""Modes that dial ahead of agents."""


GVP_MODES = frozenset({DialMode.PROGRESSIVE_GVP, DialMode.POWER_GVP})
"""Modes in which answered calls run a voice application; they need no agents."""


AHEAD_MODES = PREDICTIVE_MODES | {DialMode.POWER_GVP}
"""Modes in which calls are started before somebody, or a port, is free for whoever answers; they have a goal."""


class OptimizeBy(IntEnum):
    """``GSW_CM_AttrOptimizeBy``."""

    BUSY_FACTOR = 1
    OVERDIAL_RATE = 2
    WAIT_TIME = 3


class GroupCampStatus(IntEnum):
    """``GSW_CM_AttrGroupCampStatus``."""

    NOT_LOADED = 0
    WAITING_UNLOAD = 1
    UNLOAD_IN_PROGRESS = 2
    INACTIVE = 3
    ACTIVE = 4
    RUNNING = 5


class CmError(IntEnum):
    """``GSW_CM_AttrError``."""

    NO = 0
    SERVER_CONNECTED = 1
    REGISTER_CLIENT = 2
    CAMPAIGN_NOT_FOUND = 3
    CAMPAIGN_NOT_LOADED = 4
    CAMPAIGN_ALREADY_LOADED = 5
    CAMPAIGN_NOT_STARTED = 6
    CAMPAIGN_ALREADY_STARTED = 7
    GROUP_NOT_FOUND = 8
    GROUP_CAMP_NOT_FOUND = 9
    INVALID_PARAMETER = 10
    INVALID_CAMPAIGN_MODE = 11
    INVALID_CAMPAIGN_SCHEDULE = 12
    CAMPAIGN_SCHEDULE_NOT_FOUND = 13
    INVALID_CAMPAIGN_SCHEDULE_MODE = 14
    LICENSE_VIOLATION = 15


class CmMessageType(IntEnum):
    """``GSW_CM_MessageType`` (those that ocsd sends or accepts)."""

    REQ_LOAD_CAMPAIGN = 7
    REQ_UNLOAD_CAMPAIGN = 8
    REQ_START_DIALING = 9
    REQ_STOP_DIALING = 10
    REQ_SET_DIALING_MODE = 11
    REQ_GET_CAMPAIGN_STATUS = 12
    EV_CAMPAIGN_LOADED = 19
    EV_CAMPAIGN_UNLOADED = 20
    EV_DIALING_STARTED = 21
    EV_DIALING_STOPPED = 22
    EV_DIALING_MODE_CHANGED = 23
    EV_CAMPAIGN_STATUS = 24
    EV_ERROR = 27
    REQ_FORCE_UNLOAD_CAMPAIGN = 29
    REQ_CANCEL_RECORD = 30
    EV_RECORD_CANCELED = 31
    REQ_DO_NOT_CALL = 32
    EV_DO_NOT_CALL_PROCESSED = 33
    # Not in the manual's table; the value stands in its GET /campaigngroups example.
    EV_ALL_CAMPAIGN_GROUPS = 46


class GswError(IntEnum):
    """``GSW_ERROR_NUMBER`` of the desktop protocol."""

    INVALID_REQUEST = 101
    ATTRIBUTE_NOT_FOUND = 102
    INVALID_ATTRIBUTE_VALUE = 103
    AGENT_NOT_FOUND = 104
    CAMPAIGN_GROUP_NOT_FOUND = 105
    NO_ACTIVE_CAMPAIGNS = 106
    NO_RUNNING_PREVIEW_CAMPAIGNS = 107
    NO_RECORDS_AVAILABLE = 108
    RECORD_NOT_FOUND = 109
    INVALID_TIME = 110
    INVALID_TIME_FORMAT = 111
    NO_CALL_FOUND = 112
    DB_ERROR = 113
    CHAINED_RECORDS_NOT_FOUND = 114
    RECORD_ALREADY_EXISTS = 115
    ADD_RECORD_ERROR = 116
    SCHEDULED_RECORD_NOT_FOUND = 117
    PREVIEW_ALREADY_STARTED = 118
    PREVIEW_NOT_STARTED = 119
    DUPLICATE_REQUEST = 120


GSW_ERROR_NAMES: dict[GswError, str] = {
    GswError.INVALID_REQUEST: "Invalid Request",
    GswError.ATTRIBUTE_NOT_FOUND: "Attribute Not Found",
    GswError.INVALID_ATTRIBUTE_VALUE: "Invalid Attribute Value",
    GswError.AGENT_NOT_FOUND: "Agent Not Found",
    GswError.CAMPAIGN_GROUP_NOT_FOUND: "Campaign Group Not Found",
    GswError.NO_ACTIVE_CAMPAIGNS: "No Active Campaigns",
    GswError.NO_RUNNING_PREVIEW_CAMPAIGNS: "No Running Preview Campaigns",
    GswError.NO_RECORDS_AVAILABLE: "No Records Available",
    GswError.RECORD_NOT_FOUND: "Record Not Found",
    GswError.INVALID_TIME: "Invalid Time",
    GswError.INVALID_TIME_FORMAT: "Invalid Time Format",
    GswError.NO_CALL_FOUND: "No call found for the record handle",
    GswError.DB_ERROR: "DB Error",
    GswError.CHAINED_RECORDS_NOT_FOUND: "Chained Records not found",
    GswError.RECORD_ALREADY_EXISTS: "Record Already Exists",
    GswError.ADD_RECORD_ERROR: "Add Record Error",
    GswError.SCHEDULED_RECORD_NOT_FOUND: "Scheduled record not found",
    GswError.PREVIEW_ALREADY_STARTED: "Preview mode has already been started",
    GswError.PREVIEW_NOT_STARTED: "Preview mode has not been started",
    GswError.DUPLICATE_REQUEST: "Duplicate request is not allowed",
}


class RecordAction(IntEnum):
    """What a treatment does to the record ("apply to record"); 12 and 13 are our numbers, the vendor's are unknown."""

    NONE = 0
    UPDATE_RECORD = 1
    UPDATE_ALL = 2
    REDIAL = 3
    RETRY_IN = 4
    RETRY_AT_DATE = 5
    NEXT_IN_CHAIN = 6
    NEXT_IN_CHAIN_AFTER = 7
    NEXT_IN_CHAIN_AT_DATE = 8
    ASSIGN_TO_GROUP = 9
    MARK_AS_AGENT_ERROR = 10
    RESCHEDULE = 11
    EXECUTE_SQL = 12
    SEND_HTTP = 13


class CallAction(IntEnum):
    """What a treatment does to an answered call ("apply to call")."""

    NONE = 0
    CONNECT = 1
    DROP = 2
    MUTE_TRANSFER = 3
    TRANSFER = 4
    ROUTE = 5
    PLAY_MESSAGE = 6
    SEND_FAX = 7
    SEND_PAGE = 8
    SEND_EMAIL = 9


class DayRange(Enum):
    """Where an instant lies in the statistical tables (manual, ocs.daytime_change)."""

    BBH = "BBH"
    BH = "BH"
    ABH = "ABH"
    WEND = "WEND"
    HDAY = "HDAY"


class ChainAttr(Enum):
    """GSW_CHAIN_ATTR of cancel and Do-Not-Call requests."""

    ALL_CHAIN = "AllChain"
    RECORD_ONLY = "RecordOnly"


class RecordTreatment(Enum):
    """GSW_TREATMENT of RecordProcessed: which type a record gets that a treatment reschedules."""

    PERSONAL = "RecordTreatPersonal"
    CAMPAIGN = "RecordTreatCampaign"


class CallbackType(Enum):
    """GSW_CALLBACK_TYPE: for this agent, or for any agent of the campaign group."""

    PERSONAL = "Personal"
    CAMPAIGN = "Campaign"
