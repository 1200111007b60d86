"""How an attempt gets its agent on the line: by calling the phone, or by taking a leg that stands already."""

from functools import partial
from typing import TYPE_CHECKING, Final

import structlog
import trio

from ocsd.sessions import attempt_events as machine_events
from ocsd.sessions.second_leg import LegEvents, LegPlan, channel_of
from telephony.api import Leg
from telephony.contract import DialogId, Referred
from telephony.media.prompts import TONE

if TYPE_CHECKING:
    from ocsd.sessions.attempt_task import AttemptTask

log = structlog.get_logger()

AGENT_EVENTS: Final = LegEvents(
    machine_events.AgentAnswered(),
    machine_events.AgentEnded(),
    not_placed=machine_events.AgentEnded(ours=True),
    refused=machine_events.AgentEnded(),
    lost=machine_events.AgentEnded(ours=True),
)


def dial_agent(task: "AttemptTask", nursery: trio.Nursery) -> None:
    """Call the phone of the machine's agent; nothing rings where its leg stands."""
    context, machine, host = task.context, task.machine, task.host
    assert machine.agent_id is not None
    beside = channel_of(context.leg_id)
    standing = host.standing_leg(task, machine.agent_id)
    if standing is not None:
        nursery.start_soon(task.second.take, standing, AGENT_EVENTS, beside if task.channel is not None else "")
        return
    phone = host.agent_phone(machine.agent_id)
    plan = LegPlan(
        leg_id=context.new_agent_leg_id(machine.agent_id, host.clock.now_s()),
        uri=host.agent_dn(machine.agent_id),
        from_uri=host.agent_from_uri,
        no_answer_s=machine.rules.agent_answer_s,
        display_name=context.record.contact_info,
        username=phone.username,
        password=phone.password,
        headers=(("X-Call-Attempt-GUID", context.guid), *phone.headers),
        proxy=phone.proxy,
        wanted_headers=host.session.voice.wanted_headers(task, machine.agent_id),
        beside=beside,
    )
    nursery.start_soon(task.second.ring, plan, AGENT_EVENTS, partial(host.agent_ringing, task))


async def merged(task: "AttemptTask", nursery: trio.Nursery) -> None:
    """
    Customer and agent hear each other. An agent whose phone did not ring hears a tone, mixed into what the customer
    says: nobody waits for it.
    """
    standing, channel, seizing = task.second.standing, task.second.channel, task.context.seizing
    if standing is None or channel is None:
        return
    standing.merged = True
    if seizing.beep:
        await channel.play(TONE, mix=True)
    dialog = standing.leg.dialog if standing.leg is not None else None
    if seizing.by_transfer and task.leg is not None:
        if dialog is None:
            log.warning("attempt.not_transferred", why="the engaging call has no dialog that could be replaced")
            return
        nursery.start_soon(_hand_over, task, task.leg, task.host.agent_dn(standing.agent_id), dialog)


async def _hand_over(task: "AttemptTask", customer: Leg, uri: str, engaging: DialogId) -> None:
    """Ask the customer's side to take the engaging call's place; what is bridged stays so unless it does."""
    guid = ("X-Call-Attempt-GUID", task.context.guid)
    # The phone's own Contact may be an address behind its proxy; its DN is where a switch finds it.
    await customer.refer(uri, replaces=engaging, target_headers=(guid,))


def referred(task: "AttemptTask", event: Referred) -> None:
    """How the customer's side gets on with it."""
    task.context.evidence["merge"] = {"method": "transfer", "sip_status": event.sip_status}
    if not event.final:
        return
    if 200 <= event.sip_status < 300:
        task.post(machine_events.HandedOver())
    else:
        log.warning("attempt.not_transferred", why="refused", sip_status=event.sip_status, reason=event.reason_text)
