"""Agents' phones: how each is called, and what makes it answer by itself. Pure."""

from dataclasses import dataclass
from typing import Final

from ocsd.config.objects import Agent


@dataclass(frozen=True, slots=True)
class PhonePlan:
    """
    What a call to an agent's phone needs besides its address.

    ``headers``: those that have the phone answer without anybody touching it.
    """

    proxy: str = ""
    username: str = ""
    password: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    nailed_up: bool = False
    direct_media: bool = True


PLAIN_PHONE: Final = PhonePlan()


def phone_plan(agent: Agent, sip_host: str) -> PhonePlan:
    """``sip_host``: our own address; the URIs of the two older headers mean nothing, but must be there."""
    phone = agent.phone
    headers: tuple[tuple[str, str], ...]
    match phone.auto_answer:
        case "answer-mode":  # RFC 5373, 4.1: without Require, a phone that does not know it rings
            headers = (("Answer-Mode", "Auto"),)
        case "call-info":
            headers = (("Call-Info", f"<sip:{sip_host}>;answer-after=0"),)
        case "alert-info":
            headers = (("Alert-Info", f"<http://{sip_host}>;info=alert-autoanswer;delay=0"),)
        case _:
            headers = ()
    direct = phone.direct_media
    return PhonePlan(phone.proxy, phone.username, phone.password, headers, phone.nailed_up, direct)
