"""Options of what others do with a call's audio or with the call itself: direct media, analysis by the gateway, queues
of a PBX."""

from typing import Final

from ocsd.config.option import ACG, ACGT, Level, Option, TakesEffect

_AT: Final = frozenset({Level.APPLICATION, Level.TRUNK})

MEDIA_SERVER: Final = "media_server"
GATEWAY: Final = "gateway"

DIRECT_MEDIA: Final = Option(
    "direct-media", False, ACGT, TakesEffect.NEXT_ATTEMPT,
    "yes: once agent and customer are connected, and while nothing needs the audio, both are asked by re-INVITE to "
    "send to each other, past the media server (docs/direct-media.md). Phones of agents that cannot be reached from "
    "the trunk are left out by direct_media = false in their [agents.phone] table. no, because it is for networks in "
    "which trunk and phones reach each other, and nobody there translates addresses.",
    ours=True,
)  # fmt: skip
CPA: Final = Option(
    "cpa", MEDIA_SERVER, _AT, TakesEffect.NEXT_ATTEMPT,
    "Who tells people from machines on calls over a trunk. media_server: our analysis; gateway: the trunk's gateway, "
    "asked by X-Detect in the INVITE, which reports by INFO (docs/gateways.md). A gateway whose answer does not "
    "promise it is not waited for: the call is analysed here, and that is logged once.",
    choices=(MEDIA_SERVER, GATEWAY), ours=True,
)  # fmt: skip

AGENTS: Final = "agents"
REFER: Final = "refer"
REINVITE: Final = "reinvite"

DISTRIBUTION: Final = Option(
    "distribution", AGENTS, ACG, TakesEffect.NEXT_ATTEMPT,
    "Who gets a person that was found. agents: those of the agent group; refer: the queue transfer_destination, to "
    "which the customer's side is sent by REFER, so that the call leaves ocsd; reinvite: the same queue, called as a "
    "second leg that the customer is bridged to, or with direct-media connected to by re-INVITE.",
    choices=(AGENTS, REFER, REINVITE), ours=True,
)  # fmt: skip
TRANSFER_DESTINATION: Final = Option(
    "transfer_destination", "", ACG, TakesEffect.NEXT_ATTEMPT,
    "SIP URI of the PBX's queue for distribution refer and reinvite, for example sip:7000@pbx.example.",
    maximum=255, ours=True,
)  # fmt: skip
TRANSFER_DATA: Final = Option(
    "transfer-data", "none", ACG, TakesEffect.NEXT_ATTEMPT,
    "How attached data goes to that queue. uui: User-to-User in hexadecimal (RFC 7433); headers: one X- header each; "
    "none: it does not.",
    choices=("none", "uui", "headers"), ours=True,
)  # fmt: skip
TRANSFER_ATTRIBUTES: Final = Option(
    "transfer-attributes", "GSW_CALL_ATTEMPT_GUID,GSW_CALLING_LIST,GSW_CAMPAIGN_NAME,GSW_PHONE", ACG,
    TakesEffect.NEXT_ATTEMPT,
    "Names of the attached data that transfer-data sends, separated by commas: those that desktops get, user fields by "
    "their send_attribute included. User-to-User holds about 120 characters of them; what does not fit is left out "
    "from the end.",
    maximum=1000, ours=True,
)  # fmt: skip
TRANSFER_LINES: Final = Option(
    "transfer-lines", 1, ACG, TakesEffect.IMMEDIATELY,
    "Under distribution refer and reinvite: calls that the queue takes at once, as long as nobody reports its free "
    "places (InboundCalls request about the agent group, with free). The pacing dials for as many people as there are "
    "places, and never more.",
    unit="calls", minimum=1, maximum=10_000, ours=True,
)  # fmt: skip

MEDIA_OPTIONS: Final[tuple[Option[bool] | Option[int] | Option[float] | Option[str], ...]] = (
    CPA,
    DIRECT_MEDIA,
    DISTRIBUTION,
    TRANSFER_ATTRIBUTES,
    TRANSFER_DATA,
    TRANSFER_DESTINATION,
    TRANSFER_LINES,
)
