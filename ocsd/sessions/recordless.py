"""Start-up: conversations that go on although their record was closed (ForceUnload). They are not ours to cut."""

import structlog
import trio

from ocsd.sessions.standing_legs import leg_of
from telephony.api import Channel, Leg, LegLost, Media, Telephony
from telephony.contract import LegEnded, LegState

log = structlog.get_logger()


def conversations_without_record(telephony: Telephony, media: Media) -> list[tuple[Leg, Leg, Channel, Channel]]:
    """Adopt pairs that still talk although their record was closed (ForceUnload): they are not ours to cut."""
    legs = {leg.leg_id: leg for leg in telephony.live_legs() if leg.state is LegState.ANSWERED and leg.protected}
    channels = {channel.channel_id: channel for channel in media.live_channels()}
    pairs: list[tuple[Leg, Leg, Channel, Channel]] = []
    seen: set[str] = set()
    for leg_id in legs:
        channel = channels.get(f"{leg_id}-rtp")
        other_id = leg_of(channel.bridged_to) if channel is not None else ""
        if channel is None or other_id not in legs or channel.bridged_to not in channels or leg_id in seen:
            continue
        seen |= {leg_id, other_id}
        one, other = telephony.adopt(leg_id), telephony.adopt(other_id)
        mine, theirs = media.adopt(channel.channel_id), media.adopt(channel.bridged_to)
        if one is not None and other is not None and mine is not None and theirs is not None:
            pairs.append((one, other, mine, theirs))
    return pairs


async def see_through(one: Leg, other: Leg, channel: Channel, other_channel: Channel) -> None:
    """When one side leaves, the other is released. A cancel leaves both talking, as the last one did."""
    log.info("conversation.without_record", leg_id=one.leg_id, other_leg_id=other.leg_id)

    async def follow(leg: Leg, scope: trio.CancelScope) -> None:
        async for event in leg.events:
            if isinstance(event, LegEnded | LegLost):
                scope.cancel()

    async with trio.open_nursery() as nursery:
        for leg in (one, other):
            nursery.start_soon(follow, leg, nursery.cancel_scope)
    for leg in (one, other):
        await leg.hang_up()
        await leg.protect(False)
        await leg.aclose()
    for each in (channel, other_channel):
        await each.close()
