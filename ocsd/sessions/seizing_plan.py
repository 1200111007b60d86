"""What the options say about seized agents. Pure."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ocsd.config.seizing_options import (
    ASM_CHANNEL_NUM,
    ASM_DROP_AM_ANNOUNCEMENT_DATA,
    ASM_DROP_ANNOUNCEMENT_DATA,
    ASSURED_CONNECT,
    ASSURED_CONNECT_FIELD,
    BEEP_ON_MERGE,
    ENGAGED_LEGS,
    ENGAGED_PROMPT,
    MERGE_METHOD,
)
from ocsd.model.records import CallingRecord
from telephony.media.prompts import DROP

if TYPE_CHECKING:
    from ocsd.sessions.planner import Planner

NOT_FLAGGED: Final = frozenset({"", "0", "n", "no", "f", "false"})


@dataclass(frozen=True, slots=True)
class SeizingPlan:
    """
    How one customer's call is merged with an agent's phone that is up already.

    Attributes:
        seizes: the group is in a seizing mode.
        beep: the agent hears a tone when the customer is there.
        by_transfer: the customer's side is asked to call the agent's phone itself.
        drop_prompt: announcement for a person whom no agent is free for.
        machine_prompt: message to an answering machine that no treatment acts upon; "": none.
    """

    seizes: bool = False
    beep: bool = True
    by_transfer: bool = False
    drop_prompt: str = DROP
    machine_prompt: str = ""


def seizing_plan(planner: "Planner", *, seizes: bool) -> SeizingPlan:
    """The plan of a call that is placed now."""
    beep, method = bool(planner.option(BEEP_ON_MERGE.name)), str(planner.option(MERGE_METHOD.name))
    if not seizes:
        return SeizingPlan(beep=beep, by_transfer=False)
    return SeizingPlan(
        seizes=True,
        beep=beep,
        by_transfer=method == "transfer",
        drop_prompt=str(planner.option(ASM_DROP_ANNOUNCEMENT_DATA.name)) or DROP,
        machine_prompt=str(planner.option(ASM_DROP_AM_ANNOUNCEMENT_DATA.name)),
    )


@dataclass(frozen=True, slots=True)
class EngagingPlan:
    """How agents of a group are engaged. ``bound``: most engaging calls at once."""

    bound: int
    prompt: str
    kept: bool
    answer_s: float


def engaging_plan(planner: "Planner", agents: int) -> EngagingPlan:
    """``agents``: of the group, the bound where none is configured."""
    return EngagingPlan(
        bound=int(planner.option(ASM_CHANNEL_NUM.name)) or agents,
        prompt=str(planner.option(ENGAGED_PROMPT.name)),
        kept=planner.option(ENGAGED_LEGS.name) == "keep",
        answer_s=float(planner.option("call_wait_agent_connected_timeout")),
    )


def is_assured(planner: "Planner", record: CallingRecord) -> bool:
    """Whether the record is dialed only with an agent on the line (assured-connect)."""
    if not planner.option(ASSURED_CONNECT.name, record.list_dbid):
        return False
    value = record.user_fields.get(str(planner.option(ASSURED_CONNECT_FIELD.name, record.list_dbid)))
    return value is not None and str(value).strip().lower() not in NOT_FLAGGED
