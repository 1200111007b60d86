"""The configuration object tree (design, section 4), validated by pydantic.

Every object has a DBID and a name, unique among its kind; references are by name. Names of objects, fields and
options follow the Outbound Contact manual. `loader` reads TOML into a `Configuration` and reports all faults at once.
"""

from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, field_validator

from ocsd.model.enums import DialMode, OptimizeBy

Dbid = Annotated[int, Field(ge=1, le=2**31 - 1)]
Name = Annotated[str, Field(min_length=1, max_length=255)]
Port = Annotated[int, Field(ge=0, le=65535)]
OptionMap = dict[str, str | int | float | bool]
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
    """SIP workers and the media server. ``embedded``: started by the daemon when nobody listens in ``run_dir``."""

    embedded: bool = True
    run_dir: str = ""
    """Folder of the Unix sockets; empty means ``data_dir``/run."""
    max_legs: Annotated[int, Field(ge=2)] = 120
    """Legs (customers plus agents) the pool is sized for."""
    sip_host: str = "127.0.0.1"
    media_host: str = "127.0.0.1"
    rtp_port_first: Annotated[int, Field(ge=1024, le=65000)] = 20000
    rtp_port_last: Annotated[int, Field(ge=1026, le=65534)] = 23998


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
    country: Annotated[str, Field(pattern=r"^[A-Z]{2}$")] = "US"
    dial_prefix: str = ""


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


class Agent(_Object):
    """A person. ``dn`` is the SIP URI of the phone that is dialed when a customer is to be connected."""

    dbid: Dbid
    login_id: Name
    name: str = ""
    dn: str


class AgentGroup(_Object):
    dbid: Dbid
    name: Name
    agents: tuple[Name, ...] = ()
    """Login IDs."""


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


class CallingList(_Object):
    """``daily_from``/``daily_till`` (seconds since midnight) are given to rows that lack a window."""

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
    time_zones: tuple[TimeZoneObject, ...] = ()
    agents: tuple[Agent, ...] = ()
    agent_groups: tuple[AgentGroup, ...] = ()
    formats: tuple[Format, ...] = ()
    table_accesses: tuple[TableAccess, ...] = ()
    filters: tuple[Filter, ...] = ()
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

    def format_of_list(self, calling_list: CallingList) -> Format:
        return self.format(self.table_access(calling_list.table_access).format)
