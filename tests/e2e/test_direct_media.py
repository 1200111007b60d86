"""
Direct media over real SIP and RTP: what each party hears of the other's tone when the audio leaves the media server,
comes back, and when server and daemon die meanwhile.

A party's pauses are frames of 20 ms in which no tone was there, lost or silent.
"""

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.records_world import NAMES, NEVER, Desk, Numbers, World, world

pytestmark = pytest.mark.e2e

LIST = NAMES[NEVER]
ALICE = "agent1"
EXTENSION = "1001"
TALKS_ON_S = 120.0
HEARD_S = 1.0
CHANGES = 4
"""Twice away, twice back."""
MOST_FRAMES = 4
"""The media server's jitter buffer delays what it relays; audio that comes back through it is so much later, once."""

LATE_FRAMES = 2
FRAME_S = 0.02

numbers = Numbers()
MOVED, KILLED = (numbers.person(TALKS_ON_S) for _ in range(2))


def direct(text: str) -> str:
    assert text.count("options = { call_wait_connected_timeout = 60,") == 1
    return text.replace(
        "options = { call_wait_connected_timeout = 60,",
        'options = { direct-media = true, cpa-after-connect = "no", call_wait_connected_timeout = 60,',
    )


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("world"), numbers, "http://127.0.0.1:9/", direct) as made:
        made.site.start_daemon()
        yield made


def a_while(here: World) -> None:
    """People say something."""
    until_s = time.monotonic() + HEARD_S
    here.until("everybody has been heard", lambda: time.monotonic() > until_s)


def times(here: World, event: str) -> int:
    return here.site.log_text().count(f'"direct_media.{event}"')


def left(here: World, count: int) -> float:
    here.until("the audio flows past the media server", lambda: times(here, "left") >= count)
    return time.monotonic()


def conversation(here: World, number: str) -> tuple[Desk, float]:
    here.add(LIST, [number])
    alice = here.log_in(ALICE, ready=True)
    here.start(NEVER)
    alice.established()
    talking_s = time.monotonic()
    here.site.client.stop(NEVER)
    return alice, talking_s


def one_call(here: World, calls: Any) -> dict[str, Any]:
    found = here.until("the call is over for the far end too", calls)
    assert len(found) == 1, found
    return dict(found[0])


def missing(truth: dict[str, Any], *spans: tuple[float, float]) -> list[int]:
    """Frames that were missing at once, of pauses that ended within the spans."""
    return [frames for at_s, frames in truth["pauses"] if any(one <= at_s <= other for one, other in spans)]


def test_given_two_people_when_their_audio_leaves_and_comes_back_for_a_hold_then_nobody_hears_a_gap(here):
    with here.loaded(NEVER):
        alice, talking_s = conversation(here, MOVED)
        left(here, 1)
        a_while(here)
        alice.agent("RequestHoldCall", "EventHeld", ConnID=alice.conn_id)
        held_s = time.monotonic()
        assert times(here, "returned") == 1, "back before the music"
        a_while(here)
        alice.agent("RequestRetrieveCall", "EventRetrieved", ConnID=alice.conn_id)
        retrieved_s = time.monotonic()
        a_while(here)
        left(here, 2)
        a_while(here)
        # The supervisor's way, without the hold: both go on talking while the audio is brought back.
        alice.agent("RequestSendDTMF", "EventDtmfSent", ConnID=alice.conn_id, DTMFDigits="5")
        assert times(here, "returned") == 2
        a_while(here)
        ended_s = time.monotonic()
        alice.hang_up()
        alice.record("RecordProcessed", alice.data)
        of_agent = one_call(here, lambda: here.calls_of(EXTENSION))
        of_customer = one_call(here, lambda: here.calls_to(MOVED))
    spans = (talking_s + 0.5, held_s - 0.1), (retrieved_s + 0.5, ended_s)
    gaps = {"customer": missing(of_customer, *spans), "agent": missing(of_agent, *spans)}
    print("frames of 20 ms missing at once", gaps)
    for party, frames in gaps.items():
        assert max(frames, default=0) <= MOST_FRAMES, (party, frames)
        assert len(frames) <= CHANGES, (party, frames)
    assert list(of_customer["heard_codes"]) == [str(of_agent["own_code"])]
    assert list(of_agent["heard_codes"]) == [str(of_customer["own_code"])]


def test_given_audio_that_is_away_when_media_server_and_daemon_are_killed_then_the_people_talk_on(here):
    before, had_left = len(here.calls_of(EXTENSION)), times(here, "left")
    with here.loaded(NEVER):
        alice, _ = conversation(here, KILLED)
        left(here, had_left + 1)
        a_while(here)
        began_s = time.monotonic()
        connected = here.site.log_text().count('"media.connected"')
        os.kill(here.site.media_pid(), signal.SIGKILL)
        here.until(
            "another media server has the call's ports",
            lambda: here.site.log_text().count('"media.connected"') > connected,
        )
        a_while(here)
        here.kill_and_restart()
        alice = here.log_in_again(alice)
        a_while(here)
        ended_s = time.monotonic()
        assert not here.calls_of(EXTENSION)[before:]
        alice.hang_up()
        alice.record("RecordProcessed", alice.data)
        of_agent = one_call(here, lambda: here.calls_of(EXTENSION)[before:])
        of_customer = one_call(here, lambda: here.calls_to(KILLED))
    gaps = missing(of_customer, (began_s, ended_s)), missing(of_agent, (began_s, ended_s))
    print("frames of 20 ms missing at once", gaps)
    # The simulated parties have no jitter buffer: a packet that is a tick late counts as a frame missing.
    for frames in gaps:
        assert max(frames, default=0) <= LATE_FRAMES, gaps
        assert sum(frames) * FRAME_S < 0.05 * (ended_s - began_s), gaps
