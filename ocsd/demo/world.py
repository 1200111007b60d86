"""The demo's site: its configuration, its list, and the processes that stand for carrier and agents."""

import csv
import socket
from pathlib import Path

from ocsd.demo.options import DemoOptions
from telephony.simworld.numbers import mixed_numbers, number_for, zone_for

CAMPAIGN_GROUP_DBID = 106
CAMPAIGN_GROUP = "Demo@Demo Agents"
CALLING_LIST = "Demo List"

TALK_MEAN_S = 12.0
TALK_CV = 0.5
WRAP_MEAN_S = 3.0
RING_SCALE = 0.5
"""A conversation of the demo lasts a tenth of a real one, so that two minutes show a campaign in its stride."""

SPARE_PORTS = 50

ZONES = (
    ("EST", "America/New_York"),
    ("CST", "America/Chicago"),
    ("MST", "America/Denver"),
    ("PHX", "America/Phoenix"),
    ("PST", "America/Los_Angeles"),
    ("AKST", "America/Anchorage"),
    ("HST", "Pacific/Honolulu"),
)

BRITISH_ZONE = ("GMT", "Europe/London")

FIRST_NAMES = ("Ada", "Alan", "Grace", "Linus", "Barbara", "Shannon", "Hedy", "Erlang", "Agner", "Edsger")


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def channels_of(options: DemoOptions) -> int:
    """Lines of the campaign group: enough that they never are what it waits for."""
    return options.agents * 3 + 6


def legs_of(options: DemoOptions) -> int:
    """Calls that there may be at once: customers, agents, and a few that are just ending."""
    return channels_of(options) + options.agents + 8


def rtp_ports_for(options: DemoOptions) -> int:
    """How many ports: RTP and RTCP of each leg, and spare ones, as others may sit on some of any stretch."""
    return 2 * legs_of(options) + SPARE_PORTS


def _list(items: list[str]) -> str:
    return "[" + ", ".join(f'"{item}"' for item in items) + "]"


def write_configuration(
    path: Path,
    options: DemoOptions,
    *,
    data_dir: Path,
    http_port: int,
    desktop_port: int,
    carrier_port: int,
    phones_port: int,
    rtp_ports: tuple[int, int] | None = None,
    legal_window: bool = True,
) -> None:
    """
    A complete configuration, as an operator would write it by hand.

    ``rtp_ports``: first and last of the media servers; None: the product's own choice. ``legal_window``: whether a
    guard watches it. The demo does without: a campaign of two minutes has no such window, and the guard would have its
    first 65 people called one to one.
    """
    window = "" if legal_window else ', legal_rule = "none"'
    channels = channels_of(options)
    ports = () if rtp_ports is None else (f"rtp_port_first = {rtp_ports[0]}", f"rtp_port_last = {rtp_ports[1]}")
    lines = [
        "# Written by `ocsd demo`.",
        f'data_dir = "{data_dir}"',
        "",
        "[application]",
        'name = "OCS"',
        "dbid = 101",
        f"options = {{ record_processed = true, stale_clean_timeout = 5{window} }}",
        "",
        "[http]",
        f"port = {http_port}",
        "",
        "[desktop]",
        f"port = {desktop_port}",
        "",
        "[telephony]",
        f"max_legs = {legs_of(options)}",
        f"media_servers = {options.media_servers}",
        *ports,
        "",
        "[[tenants]]",
        "dbid = 1",
        'name = "Environment"',
        "",
        "[[trunks]]",
        "dbid = 105",
        'name = "Simulated Carrier"',
        'tenant = "Environment"',
        'host = "127.0.0.1"',
        f"port = {carrier_port}",
        'caller_id = "+12025550100"',
        f"max_calls = {channels}",
        f'tone_plan = "{"dialed" if options.of_all_kinds else "US"}"',
        'country = "US"',
        "",
    ]
    for index, (name, zone) in enumerate((*ZONES, BRITISH_ZONE) if options.of_all_kinds else ZONES):
        lines += ["[[time_zones]]", f"dbid = {120 + index}", f'name = "{name}"', f'zone = "{zone}"', ""]
    for index in range(1, options.agents + 1):
        lines += [
            "[[agents]]",
            f"dbid = {1000 + index}",
            f'login_id = "agent{index}"',
            f'name = "{FIRST_NAMES[index % len(FIRST_NAMES)]} {index}"',
            f'dn = "sip:{1000 + index}@127.0.0.1:{phones_port}"',
            "",
        ]
    lines += [
        "[[agent_groups]]",
        "dbid = 234",
        'name = "Demo Agents"',
        f"agents = {_list([f'agent{index}' for index in range(1, options.agents + 1)])}",
        "",
        "[[formats]]",
        "dbid = 140",
        'name = "Demo Format"',
        'fields = [{ name = "customer_name", type = "varchar", length = 64, send_attribute = "customer_name" }]',
        "",
        "[[table_accesses]]",
        "dbid = 141",
        'name = "Demo Table"',
        'table = "demo_list"',
        'format = "Demo Format"',
        "",
        "[[calling_lists]]",
        "dbid = 142",
        f'name = "{CALLING_LIST}"',
        'table_access = "Demo Table"',
        'time_zone = "EST"',
        "# A simulated number may be called at night; a real one may not.",
        "daily_from = 0",
        "daily_till = 86400",
        "max_attempts = 3",
        "",
        "[[campaigns]]",
        "dbid = 139",
        'name = "Demo"',
        'tenant = "Environment"',
        'description = "Made-up customers, real calls"',
        f'lists = [{{ calling_list = "{CALLING_LIST}" }}]',
        "",
        "[[campaign_groups]]",
        f"dbid = {CAMPAIGN_GROUP_DBID}",
        f'name = "{CAMPAIGN_GROUP}"',
        'campaign = "Demo"',
        'group = "Demo Agents"',
        'trunks = ["Simulated Carrier"]',
        f"dial_mode = {1 if options.mode == 'predictive' else 2}",
        "optimize_by = 2",
        "optimize_goal = 3",
        f"num_of_channels = {channels}",
        "",
    ]
    path.write_text("\n".join(lines), encoding="utf-8")


def write_customers(path: Path, records: int, *, of_all_kinds: bool = False) -> list[str]:
    """A CSV file of fictitious customers, ``of_all_kinds`` of two countries; returns their numbers in E.164."""
    numbers = mixed_numbers(records) if of_all_kinds else [number_for(index) for index in range(records)]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["phone", "customer_name"])
        for index, number in enumerate(numbers):
            writer.writerow([number, f"{FIRST_NAMES[index % len(FIRST_NAMES)]} of {zone_for(number)}"])
    return numbers
