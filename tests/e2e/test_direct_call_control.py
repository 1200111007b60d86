"""
Call control where the audio flows past the media server: it is taken back for whatever needs it, leaves again after,
and the people who talk on hear no gap. Over real SIP and RTP; tones tell who heard whom.
"""

import time
from collections.abc import Iterator

import pytest

from telephony.simworld.idtone import agent_code
from tests.e2e.records_world import NAMES, NEVER, Desk, Numbers, World, world
from tests.e2e.test_direct_media import MOST_FRAMES, a_while, direct, left, missing, one_call, times

pytestmark = pytest.mark.e2e

LIST = NAMES[NEVER]
ALICE, BOB = "agent1", "agent2"
TALKS_ON_S = 120.0

numbers = Numbers()
TRANSFERRED, BLINDLY, CONFERENCED = (numbers.person(TALKS_ON_S) for _ in range(3))


def supervising(text: str) -> str:
    assert text.count('login_id = "agent2"') == 1
    return direct(text).replace('login_id = "agent2"', 'login_id = "agent2"\nsupervises = ["Demo Agents"]')


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("world"), numbers, "http://127.0.0.1:9/", supervising) as made:
        made.site.start_daemon()
        yield made


def extension(agent_id: str) -> str:
    return f"100{agent_id[-1]}"


def codes(truth: dict[str, object]) -> set[int]:
    heard = truth["heard_codes"]
    assert isinstance(heard, dict)
    return {int(code) for code in heard}


def away(here: World, number: str) -> tuple[Desk, Desk, int]:
    """Alice talks with the customer past the media server; how often anybody did so before."""
    before = times(here, "left")
    here.add(LIST, [number])
    bob, alice = here.log_in(BOB), here.log_in(ALICE, ready=True)
    here.start(NEVER)
    alice.established()
    here.site.client.stop(NEVER)
    left(here, before + 1)
    a_while(here)
    return alice, bob, before + 1


def ends(here: World, desk: Desk) -> None:
    desk.hang_up()
    desk.record("RecordProcessed", desk.data)


def test_given_audio_that_is_away_when_transferred_after_a_consultation_then_it_leaves_again_with_the_other_agent(here):
    before = {each: len(here.calls_of(extension(each))) for each in (ALICE, BOB)}
    with here.loaded(NEVER):
        alice, bob, had_left = away(here, TRANSFERRED)
        had_returned = times(here, "returned")
        dialing = alice.agent("RequestInitiateTransfer", "EventDialing", ConnID=alice.conn_id, OtherDN=BOB)
        second = dialing["ConnID"]
        assert times(here, "returned") == had_returned + 1, "back before the music"
        alice.expect(Event="EventEstablished", ConnID=second)
        a_while(here)
        alice.agent("RequestCompleteTransfer", "EventReleased", ConnID=alice.conn_id, TransferConnID=second)
        changed = bob.expect(Event="EventPartyChanged")
        bob.conn_id, bob.data = changed["ConnID"], changed["UserData"]
        talking_s = time.monotonic()
        left(here, had_left + 1)
        a_while(here)
        ended_s = time.monotonic()
        ends(here, bob)
        of_bob = one_call(here, lambda: here.calls_of(extension(BOB))[before[BOB] :])
        of_customer = one_call(here, lambda: here.calls_to(TRANSFERRED))
    customer, a, b = of_customer["own_code"], agent_code(extension(ALICE)), agent_code(extension(BOB))
    assert codes(of_bob) >= {a, customer}
    assert codes(of_customer) >= {a, b}
    gaps = [missing(each, (talking_s + 0.5, ended_s)) for each in (of_bob, of_customer)]
    print("frames of 20 ms missing at once", gaps)
    assert max((frames for each in gaps for frames in each), default=0) <= MOST_FRAMES, gaps


def test_given_audio_that_is_away_when_transferred_blindly_then_it_is_direct_with_the_other_agent(here):
    before = len(here.calls_of(extension(BOB)))
    with here.loaded(NEVER):
        alice, bob, had_left = away(here, BLINDLY)
        alice.socket.send(
            {"Request": "RequestSingleStepTransfer", "ConnID": alice.conn_id, "OtherDN": BOB, "ReferenceID": 99}
        )
        alice.expect(Event="EventReleased", ConnID=alice.conn_id)
        established = bob.expect(Event="EventEstablished")
        bob.conn_id, bob.data = established["ConnID"], established["UserData"]
        left(here, had_left + 1)
        a_while(here)
        ends(here, bob)
        of_bob = one_call(here, lambda: here.calls_of(extension(BOB))[before:])
        of_customer = one_call(here, lambda: here.calls_to(BLINDLY))
    assert codes(of_bob) == {of_customer["own_code"]}
    assert agent_code(extension(BOB)) in codes(of_customer)


def test_given_audio_that_is_away_when_a_supervisor_and_a_third_party_come_and_go_then_the_two_hear_no_gap(here):
    before = {each: len(here.calls_of(extension(each))) for each in (ALICE, BOB)}
    with here.loaded(NEVER):
        alice, bob, had_left = away(here, CONFERENCED)
        away_s, had_returned = time.monotonic(), times(here, "returned")
        bob.agent("RequestMonitorNextCall", "EventMonitoringNextCall", OtherDN=ALICE, MonitorMode="mute")
        bob.conn_id = bob.expect(Event="EventEstablished")["ConnID"]
        assert times(here, "returned") == had_returned + 1
        a_while(here)
        bob.hang_up()
        left(here, had_left + 1)
        supervised_s = time.monotonic()
        a_while(here)
        alice.agent("RequestSingleStepConference", "EventPartyAdded", ConnID=alice.conn_id, OtherDN=BOB)
        assert times(here, "returned") == had_returned + 2
        a_while(here)
        alice.agent("RequestDeleteFromConference", "EventPartyDeleted", ConnID=alice.conn_id, OtherDN=BOB)
        left(here, had_left + 2)
        a_while(here)
        ends(here, alice)
        of_alice = one_call(here, lambda: here.calls_of(extension(ALICE))[before[ALICE] :])
        of_customer = one_call(here, lambda: here.calls_to(CONFERENCED))
        of_bob = here.calls_of(extension(BOB))[before[BOB] :]
    customer, a = of_customer["own_code"], agent_code(extension(ALICE))
    assert len(of_bob) == 2
    assert codes(dict(of_bob[0])) <= {customer, a}, "the supervisor heard both, mixed"
    # While three talk two tones at once are none: only the supervisor's time is judged by pauses.
    gaps = [missing(each, (away_s, supervised_s)) for each in (of_alice, of_customer)]
    print("frames of 20 ms missing at once", gaps)
    assert max((frames for each in gaps for frames in each), default=0) <= MOST_FRAMES, gaps
    assert customer in codes(of_alice)
    assert a in codes(of_customer)
