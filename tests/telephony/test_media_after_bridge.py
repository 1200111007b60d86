"""Analysis that goes on while an agent talks with the called party: what it hears, what it must not, when it ends."""

from itertools import zip_longest

import numpy as np
import pytest

from telephony import contract as wire
from telephony.contract import VerdictKind
from telephony.cpa.beep import is_in_call_tone
from telephony.cpa.bursts import Burst
from telephony.cpa.spectrum import SINGLE_TONE
from telephony.media.channels import PortPool
from telephony.media.echo import HANGOVER_FRAMES, EchoGate
from telephony.media.plane import MediaPlane
from telephony.media.prompts import PromptLibrary
from tests.telephony.media_peer import Phone, free_port_range
from tests.telephony.signals import cadence, clip, silence, tone

LISTENS_ON = wire.AnalysisSettings(after_bridge_ms=12000)
QUIET = np.zeros(160)
GREETING = np.concatenate([silence(0.4), clip("human_hello_f"), silence(1.0)])
RECORDING_TONE = np.concatenate([silence(0.4), tone(0.4, 1000.0), silence(1.5)])


def in_one_breath(samples):
    """Without its pauses."""
    whole = samples[: len(samples) // 160 * 160].reshape(-1, 160)
    return whole[np.abs(whole).max(axis=1) > 400].ravel()


MESSAGE = in_one_breath(np.concatenate([clip("machine_reached"), clip("machine_away")]))


def frames(*parts):
    whole = np.concatenate(parts)
    return [whole[at : at + 160] for at in range(0, len(whole) - 159, 160)]


class Plane:
    """A called party, an agent and a third one; time only moves by `run`."""

    def __init__(self):
        first, last = (int(p) for p in free_port_range(3).split("-"))
        self.plane = MediaPlane("127.0.0.1", PortPool(first, last), 3, PromptLibrary())
        self.now_s = 1000.0
        self.phones, self.heard = {}, ["customer", "agent"]
        for name in ("customer", "agent", "third"):
            (opened,) = self.plane.command(wire.OpenChannel(name), self.now_s)
            self.phones[name] = Phone(opened.port)
            self.command(wire.SetRemote(name, "127.0.0.1", self.phones[name].port))

    def command(self, command):
        assert self.plane.command(command, self.now_s) == []

    def run(self, said, agent=()):
        """What the two say in the meantime; who has nothing more to say is silent."""
        events = []
        for mine, theirs in zip_longest(said, agent, fillvalue=QUIET):
            self.phones["customer"].send(mine)
            self.phones["agent"].send(theirs)
            self.now_s += 0.02
            events += self.plane.tick(self.now_s)
            for name in self.heard:
                self.phones[name].hear()
        return events

    def connect(self, settings=LISTENS_ON):
        """A person is found, and an agent is connected."""
        self.command(wire.StartAnalysis("customer", True, settings))
        assert [event.kind for event in self.run(frames(GREETING))] == [VerdictKind.HUMAN]
        self.command(wire.Bridge("agent", "customer"))

    @property
    def analysing(self):
        return self.plane.counts()[1]

    def close(self):
        self.plane.close()
        for phone in self.phones.values():
            phone.close()


@pytest.fixture
def world():
    made = Plane()
    yield made
    made.close()


def kinds(events):
    return [event.kind for event in events if isinstance(event, wire.Verdict)]


def test_given_an_agent_on_the_line_when_the_person_turns_out_a_machine_then_it_is_told_and_its_tone_too(world):
    world.connect()

    events = world.run(frames(MESSAGE, RECORDING_TONE))

    assert kinds(events) == [VerdictKind.MACHINE, VerdictKind.BEEP]
    assert (events[0].revises, events[0].connected) == (True, True)
    customer = next(c for c in world.plane.snapshot().channels if c.channel_id == "customer")
    assert (customer.verdict, customer.verdict_at_s, customer.beep_at_s) == (
        VerdictKind.MACHINE,
        events[0].at_s,
        events[1].at_s,
    )


@pytest.mark.parametrize(
    "sound",
    [
        RECORDING_TONE,
        np.concatenate([tone(0.2, 1400.0), silence(4.0), tone(0.2, 1400.0), silence(1.0)]),
        cadence((440.0, 480.0), (2.0, 4.0), 7.0),
    ],
)
def test_given_an_agent_who_is_put_through_or_on_hold_when_tones_follow_then_they_end_no_message(world, sound):
    world.connect()

    assert kinds(world.run(frames(silence(1.5), clip("human_name_f"), silence(0.5), sound))) in (
        [],
        [VerdictKind.RINGBACK],
    )


CALL_WAITING = np.concatenate([silence(0.3), tone(0.3, 440.0), silence(1.5)])
RECORDED_CALL = np.concatenate([silence(0.3), tone(0.4, 1400.0), silence(1.5)])


@pytest.mark.parametrize(
    ("said", "sound"),
    [
        ("human_name_f", CALL_WAITING),
        ("human_name_f", RECORDED_CALL),
        ("human_de", CALL_WAITING),
        ("human_de", RECORDED_CALL),
    ],
)
def test_given_a_person_who_leaves_no_long_pause_when_something_beeps_then_the_conversation_is_not_cut_off(
    world, sound, said
):
    world.connect()
    turns = [clip("human_yes"), silence(0.7), clip(said), silence(0.9), clip("human_yes")]

    assert kinds(world.run(frames(silence(0.6), *turns, sound))) == []


@pytest.mark.parametrize(
    ("row", "is_one"),
    [
        ([(440.0, 0.3)], True),
        ([(425.0, 0.2), (425.0, 0.2)], True),
        ([(1400.0, 0.4)], True),
        ([(1000.0, 0.3)], False),
        ([(440.0, 1.0)], False),
        ([(440.0, 0.2), (1000.0, 0.2)], False),
    ],
)
def test_given_bursts_when_they_are_as_networks_have_them_in_conversations_then_so_they_are_known(row, is_one):
    bursts = [Burst(SINGLE_TONE, hz, 10, 10 + round(duration_s / 0.02)) for hz, duration_s in row]

    assert is_in_call_tone(bursts) is is_one


def test_given_an_agent_on_the_line_when_a_fax_calls_then_fax(world):
    world.connect()

    assert kinds(world.run(frames(silence(0.5), tone(3.0, 2100.0), silence(0.3)))) == [VerdictKind.FAX]


def test_given_a_person_in_conversation_when_talking_and_pressing_keys_then_nothing_is_said(world):
    world.connect()
    pressed = ((697, 1209), (770, 1336), (852, 1477))
    keys = [part for low, high in pressed for part in (tone(0.2, low, high), silence(0.2))]
    turns = [clip("human_name_f"), silence(1.2), clip("human_yes"), silence(0.8), *keys, silence(1.5), clip("human_de")]

    assert kinds(world.run(frames(silence(1.5), *turns, silence(1.0)))) == []


@pytest.mark.parametrize(
    "agent", [clip("machine_reached"), RECORDING_TONE, np.concatenate([tone(0.2, 1400.0), silence(2.0)])]
)
def test_given_a_line_with_an_echo_when_the_agent_talks_or_a_tone_is_played_then_the_called_party_said_none_of_it(
    world, agent
):
    world.connect()
    delay_s, loss_db = 0.12, 14.0
    echo = np.concatenate([silence(delay_s), agent * 10 ** (-loss_db / 20)])
    world.phones["agent"].packets.clear()

    assert kinds(world.run(frames(echo, silence(1.0)), frames(agent))) == []

    assert world.analysing == 1
    heard = world.phones["agent"].heard().astype(float)
    assert np.abs(heard).max() > 0.8 * np.abs(echo).max()  # the agent hears the line as it is


def test_given_the_same_sound_when_it_comes_without_the_agent_then_it_is_heard(world):
    """The echoes above are silent because they are echoes."""
    world.connect()

    assert kinds(world.run(frames(clip("machine_reached") * 0.5, RECORDING_TONE * 0.2)))[-1:] == [VerdictKind.BEEP]


def test_given_nothing_to_hear_when_its_time_is_over_then_the_analysis_ends(world):
    world.connect(wire.AnalysisSettings(after_bridge_ms=3000))

    world.run(frames(silence(2.9)))
    assert world.analysing == 1
    world.run(frames(silence(0.2)))
    assert world.analysing == 0
    assert kinds(world.run(frames(RECORDING_TONE))) == []


@pytest.mark.parametrize(
    "command",
    [
        wire.Join("third", "agent", wire.Role.MEMBER),
        wire.Join("third", "agent", wire.Role.LISTEN),
        wire.Join("third", "customer", wire.Role.BARGE),
        wire.Bridge("third", "agent"),
    ],
)
def test_given_a_conversation_when_somebody_else_joins_it_or_takes_it_over_then_the_analysis_of_it_is_over(
    world, command
):
    world.connect()

    world.command(command)

    still = wire.Bridge("third", "agent") == command  # the called party is left alone, and is still listened to
    assert world.analysing == int(still)


def test_given_an_agent_who_has_left_when_the_tone_comes_later_then_it_is_heard(world):
    world.connect()
    assert kinds(world.run(frames(MESSAGE))) == []

    world.plane.command(wire.CloseChannel("agent"), world.now_s)
    world.heard.remove("agent")

    assert kinds(world.run(frames(RECORDING_TONE))) == [VerdictKind.MACHINE, VerdictKind.BEEP]


@pytest.mark.parametrize("settings", [wire.AnalysisSettings(), LISTENS_ON])
def test_given_no_wish_to_listen_on_or_no_person_when_bridged_then_the_analysis_ends(world, settings):
    world.command(wire.StartAnalysis("customer", True, settings))
    if settings is LISTENS_ON:
        assert kinds(world.run(frames(silence(0.5), MESSAGE))) == [VerdictKind.MACHINE]
    else:
        assert kinds(world.run(frames(GREETING))) == [VerdictKind.HUMAN]

    world.command(wire.Bridge("agent", "customer"))

    assert world.analysing == 0


def test_given_levels_when_gated_then_only_what_is_so_much_weaker_than_what_was_sent_lately_is_replaced():
    gate = EchoGate(4, np.random.default_rng(1))
    rows = np.array([1, 3])
    loud, weak, none = (np.full((2, 160), level, dtype=np.int16) for level in (8000, 1600, 0))
    floor = np.array([-70.0, -80.0], dtype=np.float32)

    assert gate.gated(rows, weak, none, floor) is weak
    assert gate.gated(rows, loud, loud, floor) is loud
    for _ in range(HANGOVER_FRAMES - 1):
        gated = gate.gated(rows, weak, none, floor)
        assert 5 < np.std(gated[0]) < 20  # -70 dBFS
        assert np.abs(gated).max() < 100
    assert gate.gated(rows, weak, none, floor) is weak
    gate.gated(rows, weak, loud, floor)
    gate.begin(1)
    assert (gate.gated(rows, weak, none, floor)[0] == weak[0]).all()
