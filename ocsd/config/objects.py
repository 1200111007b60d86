"""The configuration object tree (design, section 4), validated by pydantic.

Every object has a DBID and a name, unique among its kind; references are by name. Names of objects, fields and
options follow the Outbound Contact manual. `loader` reads TOML into a `Configuration` and reports all faults at once.
"""

from datetime import datetime
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, field_validator

from ocsd.config.voice_objects import Place, VoiceApplication
from ocsd.model.enums import CallAction, CallResult, DialMode, OptimizeBy, RecordAction

Dbid = Annotated[int, Field(ge=1, le=2**31 - 1)]
Name = Annotated[str, Field(min_length=1, max_length=255)]
Port = Annotated[int, Field(ge=0, le=65535)]
OptionMap = dict[str, str | int | float | bool]
NumberFormat = Literal["as_is", "e164", "national", "international_prefix"]
SQL_NAME = r"^[a-z_][a-z0-9_]{0,62}$"


class _Object(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_enum_values=False)


class Application(_Object):
    """The OCS application object; its options are the weakest level of the look-up."""

    name: Name = "OCS"
    dbid: Dbid = 101
    version: str = ""
    """Shown in the Server header; empty means ocsd's own version."""
    options: OptionMap = {}


class HttpListener(_Object):
    """The HTTP control port. Loopback by default: the port has no authentication of its own yet."""

    host: str = "127.0.0.1"
    port: Port = 8080
    public_host: str = ""
    """Host put into GSW_RECORD_URI; empty means ``host``."""
    ignore_connection_close: bool = True
    max_connections: Annotated[int, Field(ge=1)] = 1024
    max_header_bytes: Annotated[int, Field(ge=256)] = 16384
    max_body_bytes: Annotated[int, Field(ge=256)] = 65536
    header_timeout_s: Annotated[float, Field(gt=0)] = 10.0
    """Longest time from the first byte of a request to its end."""
    idle_timeout_s: Annotated[float, Field(gt=0)] = 3600.0


class DesktopListener(_Object):
    host: str = "127.0.0.1"
    port: Port = 8081
    max_connections: Annotated[int, Field(ge=1)] = 2048
    max_message_bytes: Annotated[int, Field(ge=256)] = 65536


class Database(_Object):
    """Empty ``dsn``: the embedded PostgreSQL in ``data_dir``/postgres."""

    dsn: str = ""
    pool_size: Annotated[int, Field(ge=2, le=64)] = 6
    statement_timeout_s: Annotated[float, Field(gt=0)] = 30.0
    lease_s: Annotated[float, Field(ge=5)] = 60.0


class Telephony(_Object):
    """SIP workers and media servers. ``embedded``: started by the daemon when nobody listens in ``run_dir``."""

    embedded: bool = True
    run_dir: str = ""
    """Folder of the Unix sockets; empty means ``data_dir``/run."""
    max_legs: Annotated[int, Field(ge=2)] = 120
    """Legs (customers plus agents) the pool is sized for."""
    sip_host: str = "127.0.0.1"
    media_host: str = "127.0.0.1"
    rtp_port_first: Annotated[int, Field(ge=1024, le=65000)] = 20000
    rtp_port_last: Annotated[int, Field(ge=1026, le=65534)] = 23998
    media_servers: Annotated[int, Field(ge=1, le=64)] = 1
    """Media server processes. Each takes an equal portion of the RTP ports, and calls go where there is most room."""
    media_capacity: Annotated[int, Field(ge=2)] = 500
    """Most channels (legs) of one of them."""
    prompt_dir: str = ""
    """Folder of the announcements that treatments play (``.wav``, ``.ulaw``, ``.alaw``; see docs/media.md), as the
    media server sees it; a server that is not ``embedded`` gets it by ``--prompt-dir``. Empty: none."""
    recording_dir: str = ""
    """Folder into which the media server records, as it sees it; one that is not ``embedded`` gets it by
    ``--recording-dir``. Empty means ``data_dir``/recordings."""
    idle_noise_dbfs: Annotated[float, Field(ge=-90.0, le=0.0)] = 0.0
    """Comfort noise that people hear who hear nobody, such as those who wait for an agent: -90 to -30; 0: silence. A
    server that is not ``embedded`` gets it by ``--idle-noise-dbfs``."""

    @field_validator("idle_noise_dbfs")
    @classmethod
    def _quiet(cls, value: float) -> float:
        if value > -30.0 and value != 0.0:
            raise ValueError("must be from -90 to -30, or 0 for silence")
        return value


class Tenant(_Object):
    dbid: Dbid
    name: Name


class Trunk(_Object):
    """A switch that leads to a SIP carrier."""

    dbid: Dbid
    name: Name
    tenant: Name
    host: str
    port: Port = 5060
    transport: Literal["udp"] = "udp"
    username: str = ""
    password: str = Field(default="", repr=False)
    caller_id: str = ""
    """Digits of the From user when no CPNDigits option applies."""
    max_calls: Annotated[int, Field(ge=1)] = 30
    calls_per_second: Annotated[float, Field(ge=0)] = 0.0
    """0: no limit."""
    tone_plan: str = "US"
    """Country whose network tones are heard; ``dialed``: that of each number, ``country`` for numbers of none."""
    country: Annotated[str, Field(pattern=r"^[A-Z]{2}$")] = "US"
    dial_prefix: str = ""
    priority: Annotated[int, Field(ge=1, le=1000)] = 1
    """A campaign group's calls take its trunks with the lowest number, others when those fail or are full."""
    weight: Annotated[int, Field(ge=1, le=1000)] = 10
    """Share of the calls among trunks of one priority."""
    number_format: NumberFormat = "as_is"
    """How called numbers are written: as_is, e164 (``+`` and all digits), national (as dialed in ``country``),
    international_prefix (as dialed from ``country`` to another one). ``dial_prefix`` goes before."""
    caller_id_format: NumberFormat = "as_is"
    """The same for caller IDs."""
    identity: Literal["pai", "ppi", "none"] = "pai"
    """What tells the carrier the caller ID besides From (RFC 3325): P-Asserted-Identity, P-Preferred-Identity."""
    headers: dict[str, str] = {}
    """Headers of each INVITE: templates with the fields that docs/trunks.md lists, such as ``{campaign}``."""
    redirects: Literal["refuse", "follow"] = "refuse"
    """A 3xx answer: refused, or followed once to a number at this trunk's host or another configured trunk's."""
    registrar: str = ""
    """``host`` or ``host:port`` to stay registered at as ``username``; without a registration no calls are placed."""
    registration_s: Annotated[int, Field(ge=60, le=86_400)] = 300
    probe_interval_s: Annotated[float, Field(ge=0, le=3600)] = 0.0
    """OPTIONS to the trunk this often; 0: never."""
    session_expires_s: Annotated[int, Field(ge=0, le=86_400)] = 0
    """Session timer of its calls (RFC 4028), at least 90; 0: none."""
    options: OptionMap = {}

    @field_validator("session_expires_s")
    @classmethod
    def _long_enough(cls, value: int) -> int:
        if 0 < value < 90:
            raise ValueError("must be 0 or at least 90 (RFC 4028, section 5)")
        return value


class CallerIdSet(_Object):
    """
    A pool of caller IDs, which the option ``caller-id-sets`` names (the manual's Script object of that kind).

    ``calls_per_hour``, ``calls_per_day``: most calls that show one of the numbers; then it rests. 0: no limit.
    """

    dbid: Dbid
    name: Name
    numbers: Annotated[tuple[Annotated[str, Field(pattern=r"^\+?[0-9]{3,15}$")], ...], Field(min_length=1)]
    calls_per_hour: Annotated[int, Field(ge=0, le=100_000)] = 0
    calls_per_day: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    match_prefix: bool = False
    """Prefer the numbers that share the longest beginning with the called one, beyond the country code."""


class TimeZoneObject(_Object):
    dbid: Dbid
    name: Name
    zone: str
    """IANA name, e.g. ``America/New_York``."""

    @field_validator("zone")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except Exception as error:
            raise ValueError(f"{value!r} is no IANA time zone (for example America/New_York)") from error
        return value


class Phone(_Object):
    """
    How an agent's phone is reached and answers, where it is more than a SIP address.

    ``auto_answer``: the header that makes the phone answer by itself: ``answer-mode`` (RFC 5373, Answer-Mode: Auto),
    ``call-info`` (Call-Info with answer-after=0: Polycom, Cisco, Linksys, Snom) or ``alert-info`` (Alert-Info with
    info=alert-autoanswer: Yealink, Grandstream, Aastra).
    """

    auto_answer: Literal["none", "alert-info", "call-info", "answer-mode"] = "none"
    proxy: str = ""
    """``host`` or ``host:port`` of the PBX or proxy that calls to the phone go through; empty: that of ``dn``."""
    username: str = ""
    password: str = Field(default="", repr=False)
    """For the digest authentication of that proxy."""
    direct_media: bool = True
    """The phone may exchange its audio with a trunk that has direct-media; false: it cannot be reached from there."""
    nailed_up: bool = False
    """The phone is called at login and stays on the line until logout; customers are bridged to it, with a beep."""


class Agent(_Object):
    """A person. ``dn`` is the SIP URI of the phone that is dialed when a customer is to be connected."""

    dbid: Dbid
    login_id: Name
    name: str = ""
    dn: str
    phone: Phone = Phone()
    supervises: tuple[Name, ...] = ()
    """Agent groups whose agents' calls this one may listen to, whisper in and barge into (RequestMonitorNextCall)."""


class AgentGroup(_Object):
    dbid: Dbid
    name: Name
    agents: tuple[Name, ...] = ()
    """Login IDs."""
    places: tuple[Name, ...] = ()
    """Names of places, in an IVR group."""
    ivr_group: bool = False
    """The places are ports of an IVR: virtual agents, available whenever no call is on them."""


class FormatField(_Object):
    """A column beyond the manual's 23. ``send_attribute`` is the key under which it goes to desktops."""

    name: Annotated[str, Field(pattern=SQL_NAME)]
    type: Literal["int", "float", "char", "varchar", "datetime"] = "varchar"
    length: Annotated[int, Field(ge=1, le=65535)] = 255
    send_attribute: str = ""


class Format(_Object):
    dbid: Dbid
    name: Name
    fields: tuple[FormatField, ...] = ()


class TableAccess(_Object):
    dbid: Dbid
    name: Name
    table: Annotated[str, Field(pattern=SQL_NAME)]
    format: Name


class Filter(_Object):
    """A dialing filter: SQL fragments that only the operator writes."""

    dbid: Dbid
    name: Name
    criteria: str = ""
    order_by: str = ""


class Treatment(_Object):
    """
    What follows a call result (manual: Treatment object; "Apply to Record", "Apply to Call").

    All treatments of a list with the same call result (or the same disposition code) form a sequence in the order of
    their ``number``. docs/adr/0008 says how each action uses the fields.
    """

    dbid: Dbid
    name: Name
    call_result: CallResult | None = None
    disposition: Annotated[str, Field(max_length=255)] = ""
    """Value of the list's ``disposition_field``; a sequence for it goes before the one of the call result."""
    number: Annotated[int, Field(ge=1, le=10_000)] = 1
    record_action: RecordAction = RecordAction.UPDATE_RECORD
    call_action: CallAction = CallAction.NONE
    cycle_attempts: Annotated[int, Field(ge=0, le=1000)] = 0
    interval_min: Annotated[int, Field(ge=0, le=527_040)] = 0
    """Minutes between the attempt and the next one; in files also ``interval = "days:hours:minutes"``."""
    increment_min: Annotated[int, Field(ge=0, le=527_040)] = 0
    """Minutes added to the interval at every further attempt."""
    date: datetime | None = None
    """For the actions at a date; without an offset it is read in the record's time zone."""
    destination: str = ""
    """Where transfer, mute transfer and route lead: a SIP URI, or digits dialed over the group's trunks."""
    message: str = ""
    """What "play message" plays: name of a prompt in the media server's prompt folder."""
    sql: str = ""
    """For "execute SQL statement": one statement; columns of the record as ``%(column)s``."""
    url: str = Field(default="", repr=False)
    """For "send HTTP request": http or https."""


class StatDay(_Object):
    """
    A statistical day: a weekday (0 Monday .. 6 Sunday) or a date of one year or of every year.

    ``start_min`` to ``end_min``: business hours, minutes since midnight (local); equal: none on that day.
    """

    dbid: Dbid
    name: Name
    weekday: Annotated[int, Field(ge=0, le=6)] | None = None
    date: Annotated[str, Field(pattern=r"^(\d{4}-)?\d{2}-\d{2}$")] | None = None
    """``2026-12-25``, or ``12-25`` for every year."""
    start_min: Annotated[int, Field(ge=0, le=1440)] = 0
    end_min: Annotated[int, Field(ge=0, le=1440)] = 0


class StatTable(_Object):
    """A statistical table of special days. ``country`` (ISO 3166) adds that country's public holidays."""

    dbid: Dbid
    name: Name
    days: tuple[Name, ...] = ()
    country: Annotated[str, Field(pattern=r"^([A-Z]{2}(-[A-Z0-9]{1,3})?)?$")] = ""


class AttemptCap(_Object):
    """
    At most ``max_attempts`` calls in ``period_h`` hours to one person about one subject, across lists and campaigns.

    Attributes:
        per: whom the calls are counted for: the number, or the value of the list's ``customer_id`` field.
        subject: all calls of the tenant, those of the campaign or list, or those with the same value in the list's
            ``subject_field`` (a debt, a policy).
        after_conversation: count only calls in which an agent talked ("no call within 7 days after a conversation" is
            at most 1 in 168 h, counted so and not refused before the first).
    """

    dbid: Dbid
    name: Name
    max_attempts: Annotated[int, Field(ge=1, le=1000)]
    period_h: Annotated[float, Field(gt=0, le=8784)]
    per: Literal["phone", "customer_id"] = "phone"
    subject: Literal["all", "campaign", "calling_list", "subject_field"] = "all"
    after_conversation: bool = False


class CallingList(_Object):
    """
    ``daily_from``/``daily_till`` (seconds since midnight) are given to rows that lack a window.

    Attributes:
        treatments: names; those of one call result form a sequence.
        disposition_field, customer_id_field, subject_field: columns of the format with the disposition code, the
            customer's identifier (Do-Not-Call, cancel, caps), and what the call is about (caps).
        calling_hours: presets of legal calling hours (`ocsd rules list`) that hold besides the record's window.
        attempt_caps: names of attempt caps, or of presets.
        strictest_zone: a number's own zones (by its area) must be inside the window too.
        holiday_table, weekday_table: statistical tables; with either set, records are dialed in business hours only.
    """

    dbid: Dbid
    name: Name
    table_access: Name
    filter: str = ""
    time_zone: str = ""
    """Time zone object for rows whose zone can be inferred in no other way; empty: such rows are rejected."""
    country: Annotated[str, Field(pattern=r"^[A-Z]{2}$")] = "US"
    daily_from: Annotated[int, Field(ge=0, le=86400)] = 8 * 3600
    daily_till: Annotated[int, Field(ge=0, le=86400)] = 18 * 3600
    max_attempts: Annotated[int, Field(ge=1)] = 10
    treatments: tuple[Name, ...] = ()
    disposition_field: str = ""
    customer_id_field: str = ""
    subject_field: str = ""
    calling_hours: tuple[Name, ...] = ()
    attempt_caps: tuple[Name, ...] = ()
    strictest_zone: bool = False
    holiday_table: str = ""
    weekday_table: str = ""
    options: OptionMap = {}


class CampaignList(_Object):
    calling_list: Name
    share: Annotated[int, Field(ge=1, le=1000)] = 10
    active: bool = True


class Campaign(_Object):
    dbid: Dbid
    name: Name
    tenant: Name
    description: str = ""
    lists: tuple[CampaignList, ...] = ()
    options: OptionMap = {}


class CampaignGroup(_Object):
    """Campaign x agent group; the name is customarily ``Campaign@Group``."""

    dbid: Dbid
    name: Name
    campaign: Name
    group: Name
    trunks: tuple[Name, ...]
    description: str = ""
    dial_mode: DialMode = DialMode.PREDICTIVE
    optimize_by: OptimizeBy = OptimizeBy.OVERDIAL_RATE
    optimize_goal: Annotated[int, Field(ge=0)] = 3
    num_of_channels: Annotated[int, Field(ge=1)] = 10
    """Ports (customer legs) the group may use at once: the manual's "Number of CPD ports"."""
    min_rec_buff_size: Annotated[int, Field(ge=1)] = 4
    opt_rec_buff_size: Annotated[int, Field(ge=1)] = 6
    options: OptionMap = {}


class Configuration(_Object):
    """The whole tree. Cross references are checked by `loader`; the properties look objects up by name."""

    data_dir: str = ""
    """Folder of everything the daemon writes; empty: ``/var/lib/ocsd`` for root, else ``~/.local/share/ocsd``."""
    application: Application = Application()
    http: HttpListener = HttpListener()
    desktop: DesktopListener = DesktopListener()
    database: Database = Database()
    telephony: Telephony = Telephony()
    tenants: tuple[Tenant, ...] = ()
    trunks: tuple[Trunk, ...] = ()
    caller_id_sets: tuple[CallerIdSet, ...] = ()
    time_zones: tuple[TimeZoneObject, ...] = ()
    agents: tuple[Agent, ...] = ()
    places: tuple[Place, ...] = ()
    agent_groups: tuple[AgentGroup, ...] = ()
    voice_applications: tuple[VoiceApplication, ...] = ()
    formats: tuple[Format, ...] = ()
    table_accesses: tuple[TableAccess, ...] = ()
    filters: tuple[Filter, ...] = ()
    treatments: tuple[Treatment, ...] = ()
    stat_days: tuple[StatDay, ...] = ()
    stat_tables: tuple[StatTable, ...] = ()
    attempt_caps: tuple[AttemptCap, ...] = ()
    calling_lists: tuple[CallingList, ...] = ()
    campaigns: tuple[Campaign, ...] = ()
    campaign_groups: tuple[CampaignGroup, ...] = ()

    def calling_list(self, name: str) -> CallingList:
        return next(o for o in self.calling_lists if o.name == name)

    def calling_list_by_dbid(self, dbid: int) -> CallingList:
        return next(o for o in self.calling_lists if o.dbid == dbid)

    def campaign(self, name: str) -> Campaign:
        return next(o for o in self.campaigns if o.name == name)

    def agent_group(self, name: str) -> AgentGroup:
        return next(o for o in self.agent_groups if o.name == name)

    def trunk(self, name: str) -> Trunk:
        return next(o for o in self.trunks if o.name == name)

    def table_access(self, name: str) -> TableAccess:
        return next(o for o in self.table_accesses if o.name == name)

    def format(self, name: str) -> Format:
        return next(o for o in self.formats if o.name == name)

    def filter(self, name: str) -> Filter:
        return next(o for o in self.filters if o.name == name)

    def treatments_of(self, calling_list: CallingList) -> tuple[Treatment, ...]:
        """The list's treatments, in the order of their numbers."""
        named = set(calling_list.treatments)
        return tuple(sorted((o for o in self.treatments if o.name in named), key=lambda o: (o.number, o.dbid)))

    def tenant_dbid_of(self, campaign: Campaign) -> int:
        return next(o.dbid for o in self.tenants if o.name == campaign.tenant)

    def format_of_list(self, calling_list: CallingList) -> Format:
        return self.format(self.table_access(calling_list.table_access).format)
