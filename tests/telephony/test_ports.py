import itertools
import os
import subprocess
import sys

import pytest

from telephony import ports
from telephony.ports import BLOCK_PORTS, PortsExhausted, client_ports, leased
from tests.ports import free_ports

DEFAULT = range(20000, 23999)
HOLDER = """
import sys
from telephony import ports
first = int(sys.argv[1])
ports.AREAS = (range(first, first + 3 * ports.BLOCK_PORTS, ports.BLOCK_PORTS),)
with ports.leased(1) as stretch:
    print(stretch[0], flush=True)
    input()
"""


@pytest.fixture
def first(monkeypatch):
    """Three blocks that nobody else knows, by their numbers: no port is opened here."""
    found = 100_000 + os.getpid() * 10_000
    monkeypatch.setattr(ports, "AREAS", (range(found, found + 3 * BLOCK_PORTS, BLOCK_PORTS),))
    return found


def test_given_the_areas_when_compared_then_neither_clients_nor_the_real_site_have_ports_there():
    offered = {port for area in ports.AREAS for first in area for port in range(first, first + BLOCK_PORTS)}

    assert not offered & set(DEFAULT)
    assert 1024 <= min(offered) < max(offered) < ports.CLIENT_PORTS[0]


def test_given_leases_when_more_are_taken_then_they_are_as_long_as_asked_and_none_overlap(first):
    with leased(1) as one, leased(BLOCK_PORTS + 1) as two:
        assert one == range(first, first + BLOCK_PORTS)
        assert two == range(one.stop, one.stop + 2 * BLOCK_PORTS)
        with pytest.raises(PortsExhausted), leased(1):
            pass
    with leased(3 * BLOCK_PORTS) as everything:
        assert everything[0] == first


def test_given_a_gap_too_short_when_leased_then_it_is_passed_over_and_stays_free(first):
    lower = leased(1)
    lower.__enter__()
    with leased(1):
        lower.__exit__(None, None, None)
        with pytest.raises(PortsExhausted), leased(2 * BLOCK_PORTS):
            pass
        with leased(BLOCK_PORTS) as gap:
            assert gap[0] == first


def test_given_a_holder_when_it_is_killed_then_its_ports_can_be_had_again(first):
    command = [sys.executable, "-c", HOLDER, str(first)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert int(holder.stdout.readline()) == first
        with leased(1) as ours:
            assert ours[0] == first + BLOCK_PORTS
        holder.kill()
        holder.wait()
    with leased(1) as ours:
        assert ours[0] == first


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("32768\t60999\n", range(32768, 61000)),
        ("1024 65535", range(1024, 65536)),
        ("nonsense", ports.CLIENT_PORTS),
        (None, ports.CLIENT_PORTS),
    ],
)
def test_given_what_the_system_says_when_asked_then_the_ports_of_clients(tmp_path, monkeypatch, text, expected):
    monkeypatch.setattr(ports, "CLIENT_PORTS_FILE", tmp_path / "range")
    if text is not None:
        (tmp_path / "range").write_text(text)

    assert client_ports() == expected


@pytest.mark.parametrize("among_clients", [False, True])
def test_given_rtp_ports_among_those_of_clients_when_the_server_starts_then_it_warns(tmp_path, among_clients):
    first, last = client_ports()[10] & ~1, (client_ports()[10] & ~1) + 3
    chosen = f"{first}-{last}" if among_clients else "{}-{}".format(*free_ports(4))
    command = [sys.executable, "-m", "telephony.media.server", "--run-dir", str(tmp_path), "--rtp-ports", chosen]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        said = list(itertools.takewhile(lambda line: "media.started" not in line, server.stderr))
        server.terminate()
        server.communicate()

    warnings = [line for line in said if "media.ports_of_clients" in line]
    assert [chosen in line for line in warnings] == [True] * among_clients


@pytest.mark.parametrize("count", [-1, 0])
def test_given_no_ports_when_leased_then_refused(count):
    with pytest.raises(ValueError, match="at least one"), leased(count):
        pass
