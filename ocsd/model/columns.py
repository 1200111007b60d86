"""The 23 mandatory columns of a calling list in the manual's default format, with its names and types.

Source: Reference Manual, "Outbound Contact Mandatory Fields in the Default Format".
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Column:
    """One column; ``length`` is 0 for types without one. ``required``: NOT NULL."""

    name: str
    type: str
    length: int = 0
    required: bool = False

    @property
    def sql_type(self) -> str:
        return f"{self.type}({self.length})" if self.length else self.type


MANDATORY_COLUMNS: Final = (
    Column("record_id", "integer", required=True),
    Column("contact_info", "varchar", 128, required=True),
    Column("contact_info_type", "integer", required=True),
    Column("record_type", "integer", required=True),
    Column("record_status", "integer", required=True),
    Column("call_result", "integer", required=True),
    Column("attempt", "integer", required=True),
    Column("dial_sched_time", "integer"),
    Column("call_time", "integer"),
    Column("daily_from", "integer", required=True),
    Column("daily_till", "integer", required=True),
    Column("tz_dbid", "integer", required=True),
    Column("campaign_id", "integer"),
    Column("agent_id", "varchar", 32),
    Column("chain_id", "integer", required=True),
    Column("chain_n", "integer", required=True),
    Column("group_id", "integer"),
    Column("app_id", "integer"),
    Column("treatments", "varchar", 255),
    Column("media_ref", "integer"),
    Column("email_subject", "varchar", 255),
    Column("email_template_id", "integer"),
    Column("switch_id", "integer"),
)
MANDATORY_NAMES: Final = frozenset(column.name for column in MANDATORY_COLUMNS)
