"""A site to rehearse: one campaign group, lists in two zones, and short calls, so that runs are quick."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from ocsd.config.objects import (
    Agent,
    AgentGroup,
    AttemptCap,
    CallingList,
    Campaign,
    CampaignGroup,
    CampaignList,
    Configuration,
    Format,
    FormatField,
    TableAccess,
    Telephony,
    Tenant,
    TimeZoneObject,
    Treatment,
    Trunk,
)
from ocsd.model.enums import DialMode, OptimizeBy, RecordType
from ocsd.model.records import CallingRecord
from ocsd.rehearsal.agents import Rota, Shift
from ocsd.rehearsal.lists import ListCopies, ListCopy
from ocsd.rehearsal.run import Scene, Variant
from ocsd.rehearsal.session import Delays, Rhythm
from ocsd.rehearsal.world import REFERENCE, Mix, MixWorld, Spread
from ocsd.sessions.group import DialSettings

LIST, GROUP = 142, 106
EASTERN, PACIFIC = 120, 121
NOON = datetime(2026, 3, 3, 17, 0, tzinfo=UTC)
"""12:00 in New York, 9:00 in Los Angeles."""

QUICK = replace(REFERENCE, talk=Spread(20.0, 0.5), wrap_up=Spread(5.0, 0.4))
PREDICTIVE = DialSettings(DialMode.PREDICTIVE, OptimizeBy.OVERDIAL_RATE, 3)
PROGRESSIVE = DialSettings(DialMode.PROGRESSIVE, OptimizeBy.OVERDIAL_RATE, 3)


def configuration(
    *,
    agents: int = 10,
    channels: int = 60,
    treatments: tuple[Treatment, ...] = (),
    caps: tuple[AttemptCap, ...] = (),
    options: dict[str, Any] | None = None,
    **of_list: Any,
) -> Configuration:
    """``of_list``: fields of the calling list."""
    names = tuple(f"agent{number}" for number in range(1, agents + 1))
    return Configuration(
        tenants=(Tenant(dbid=1, name="Environment"),),
        telephony=Telephony(max_legs=2000),
        trunks=(Trunk(dbid=105, name="Carrier", tenant="Environment", host="127.0.0.1", max_calls=channels),),
        time_zones=(
            TimeZoneObject(dbid=EASTERN, name="EST", zone="America/New_York"),
            TimeZoneObject(dbid=PACIFIC, name="PST", zone="America/Los_Angeles"),
        ),
        agents=tuple(
            Agent(dbid=1000 + place, login_id=name, dn=f"sip:{name}@127.0.0.1") for place, name in enumerate(names)
        ),
        agent_groups=(AgentGroup(dbid=234, name="Agents", agents=names),),
        formats=(Format(dbid=140, name="Format", fields=(FormatField(name="customer"),)),),
        table_accesses=(TableAccess(dbid=141, name="Table", table="people", format="Format"),),
        treatments=treatments,
        attempt_caps=caps,
        calling_lists=(
            CallingList(
                **{
                    "dbid": LIST,
                    "name": "People",
                    "table_access": "Table",
                    "time_zone": "EST",
                    "daily_from": 0,
                    "daily_till": 86400,
                    "max_attempts": 5,
                    "treatments": tuple(treatment.name for treatment in treatments),
                    "attempt_caps": tuple(cap.name for cap in caps),
                    "customer_id_field": "customer",
                }
                | of_list
            ),
        ),
        campaigns=(
            Campaign(dbid=139, name="Calls", tenant="Environment", lists=(CampaignList(calling_list="People"),)),
        ),
        campaign_groups=(
            CampaignGroup(
                dbid=GROUP,
                name="Calls@Agents",
                campaign="Calls",
                group="Agents",
                trunks=("Carrier",),
                num_of_channels=channels,
                options=options or {},
            ),
        ),
    )


def row(record_id: int, **columns: Any) -> CallingRecord:
    """A row that may be dialed at any time; ``columns``: fields of the record."""
    return CallingRecord(
        **{
            "list_dbid": LIST,
            "record_id": record_id,
            "contact_info": f"+999{record_id:09d}",
            "contact_info_type": 1,
            "record_type": RecordType.GENERAL,
            "call_result": 28,
            "attempt": 0,
            "dial_sched_time": None,
            "call_time": None,
            "daily_from_s": 0,
            "daily_till_s": 86_400,
            "tz_dbid": EASTERN,
            "chain_id": record_id,
            "chain_n": 0,
            "user_fields": {"customer": None},
        }
        | columns
    )


def lists(rows: int | Iterable[CallingRecord] = 2000) -> ListCopies:
    """A number makes that many rows; each a chain of its own."""
    found = tuple(row(number) for number in range(1, rows + 1)) if isinstance(rows, int) else tuple(rows)
    return ListCopies((ListCopy(LIST, found, len({r.chain_id for r in found})),), "made here")


def scene(
    config: Configuration | None = None,
    rows: int | Iterable[CallingRecord] = 2000,
    *,
    mix: Mix = QUICK,
    minutes: float = 20.0,
    start: datetime = NOON,
    rhythm: Rhythm | None = None,
    **fields: Any,
) -> Scene:
    """``fields``: further ones of `Scene`."""
    config = config if config is not None else configuration()
    return Scene(
        **{
            "config": config,
            "group": config.campaign_groups[0],
            "lists": lists(rows),
            "world": partial(MixWorld, mix),
            "start": start,
            "duration_s": 60.0 * minutes,
            "delays": Delays(),
            "rhythm": rhythm if rhythm is not None else Rhythm(1.0, 0.5),
        }
        | fields
    )


def variant(
    agents: int = 10, settings: DialSettings = PREDICTIVE, *, minutes: float = 20.0, name: str = "as it is"
) -> Variant:
    """Everybody is there all the time."""
    return Variant(name, settings, Rota((Shift(0.0, 60.0 * minutes, agents),)))
