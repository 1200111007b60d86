"""Who hears whom, through the mixer itself: every channel says a number of its own, and sums tell who is heard."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telephony.contract import Role
from telephony.media.conversation import MAX_MEMBERS, ConversationError, Conversations, mix
from telephony.media.jitter import JitterBuffers
from telephony.media.mixer import RELAY_TICKS, Mixer
from telephony.media.players import Prompt

ROWS = 6
UNIT = 16
"""Row r says UNIT * 2**r all the time, so that a sum tells exactly who is in it."""


class Talkers:
    """Stands in for the jitter buffers: everybody talks, all the time."""

    def reset(self, row):
        """Nothing is buffered."""

    def take(self, rows):
        said = (UNIT << np.arange(ROWS)).astype(np.int16)
        return np.repeat(said[rows][:, None], 160, axis=1), np.ones(len(rows), dtype=bool)


def talking_mixer():
    mixer = Mixer(ROWS, np.random.default_rng(1))
    for row in range(ROWS):
        mixer.open_row(row, 0.0)
        mixer.sending[row] = True
    mixer.jitter = Talkers()
    mixer.comfort.observe = lambda rows, frames: None  # noise would blur the sums
    return mixer


def heard(mixer):
    """For each open row the set of rows that it hears."""
    mixer.tick()
    found = {}
    for row, frame in zip(mixer.sent_rows.tolist(), mixer.sent, strict=True):
        assert (frame == frame[0]).all()
        bits, rest = divmod(int(frame[0]), UNIT)
        assert rest == 0
        found[row] = {other for other in range(ROWS) if bits >> other & 1}
    return found


CUSTOMER, AGENT, SUPERVISOR, SECOND, OTHER_CUSTOMER, OTHER_AGENT = range(ROWS)


@pytest.mark.parametrize(
    ("role", "customer_hears", "agent_hears"),
    [
        (Role.LISTEN, {AGENT}, {CUSTOMER}),
        (Role.WHISPER, {AGENT}, {CUSTOMER, SUPERVISOR}),
        (Role.BARGE, {AGENT, SUPERVISOR}, {CUSTOMER, SUPERVISOR}),
    ],
)
def test_given_a_call_when_supervised_then_each_hears_what_the_role_allows(role, customer_hears, agent_hears):
    mixer = talking_mixer()
    mixer.bridge(CUSTOMER, AGENT)
    mixer.join(SUPERVISOR, AGENT, role)

    found = heard(mixer)

    assert found[CUSTOMER] == customer_hears
    assert found[AGENT] == agent_hears
    assert found[SUPERVISOR] == {CUSTOMER, AGENT}


def test_given_a_supervisor_when_the_agent_takes_the_next_call_then_it_follows_and_the_last_customer_hears_nobody():
    mixer = talking_mixer()
    mixer.bridge(CUSTOMER, AGENT)
    mixer.join(SUPERVISOR, AGENT, Role.WHISPER)
    mixer.unbridge(CUSTOMER)
    assert heard(mixer)[SUPERVISOR] == {AGENT}
    assert heard(mixer)[AGENT] == {SUPERVISOR}

    mixer.bridge(OTHER_CUSTOMER, AGENT)

    found = heard(mixer)
    assert found[CUSTOMER] == set()
    assert found[OTHER_CUSTOMER] == {AGENT}
    assert found[AGENT] == {OTHER_CUSTOMER, SUPERVISOR}
    assert found[SUPERVISOR] == {OTHER_CUSTOMER, AGENT}


def test_given_two_supervisors_when_one_whispers_and_one_barges_in_then_the_whisper_stays_with_its_agent():
    mixer = talking_mixer()
    mixer.bridge(CUSTOMER, AGENT)
    mixer.join(SUPERVISOR, AGENT, Role.WHISPER)
    mixer.join(SECOND, CUSTOMER, Role.BARGE)

    found = heard(mixer)

    assert found[CUSTOMER] == {AGENT, SECOND}
    assert found[AGENT] == {CUSTOMER, SECOND, SUPERVISOR}
    assert found[SUPERVISOR] == {CUSTOMER, AGENT, SECOND}
    assert found[SECOND] == {CUSTOMER, AGENT}


def test_given_a_conference_of_three_when_one_leaves_then_the_two_are_a_bridge_again():
    mixer = talking_mixer()
    mixer.bridge(CUSTOMER, AGENT)
    mixer.join(OTHER_AGENT, CUSTOMER, Role.MEMBER)
    assert heard(mixer)[OTHER_AGENT] == {CUSTOMER, AGENT}
    assert mixer.partner[CUSTOMER] == -1

    mixer.close_row(AGENT)

    assert heard(mixer)[CUSTOMER] == {OTHER_AGENT}
    assert mixer.partner[CUSTOMER] == OTHER_AGENT
    assert not len(mixer.conversations.plan().listeners)


def test_given_a_role_when_it_changes_then_no_frame_is_lost():
    mixer = talking_mixer()
    mixer.bridge(CUSTOMER, AGENT)
    for role in (Role.LISTEN, Role.WHISPER, Role.BARGE, Role.LISTEN):
        mixer.join(SUPERVISOR, AGENT, role)
        assert heard(mixer)[SUPERVISOR] == {CUSTOMER, AGENT}
    assert heard(mixer)[CUSTOMER] == {AGENT}


def test_given_a_supervised_channel_when_it_closes_then_the_supervisor_is_free():
    mixer = talking_mixer()
    mixer.bridge(CUSTOMER, AGENT)
    mixer.join(SUPERVISOR, AGENT, Role.BARGE)
    mixer.close_row(AGENT)

    found = heard(mixer)

    assert found[SUPERVISOR] == found[CUSTOMER] == set()
    assert mixer.conversations.supervised(SUPERVISOR) is None


def test_given_what_cannot_be_joined_when_asked_then_refused_and_nothing_changes():
    talks = Conversations(MAX_MEMBERS + 3)
    talks.join(1, 0, Role.LISTEN)
    with pytest.raises(ConversationError, match="itself"):
        talks.join(0, 0, Role.MEMBER)
    with pytest.raises(ConversationError, match="supervisor"):
        talks.join(2, 1, Role.MEMBER)
    for row in range(3, MAX_MEMBERS + 2):
        talks.join(row, 2, Role.MEMBER)
    with pytest.raises(ConversationError, match="32 members"):
        talks.join(MAX_MEMBERS + 2, 2, Role.MEMBER)
    assert len(talks.members(2)) == MAX_MEMBERS
    assert talks.supervised(1) == (0, Role.LISTEN)


def test_given_a_prompt_for_everybody_when_played_then_all_hear_the_same_samples_at_once():
    mixer = talking_mixer()
    mixer.bridge(CUSTOMER, AGENT)
    mixer.join(SUPERVISOR, AGENT, Role.LISTEN)
    sound = np.arange(1, 481, dtype=np.int16)
    mixer.players.start(AGENT, Prompt("notice", sound, everybody=True))
    ended = []
    for i in range(3):
        ended += mixer.tick()[1]
        for row in (CUSTOMER, AGENT, SUPERVISOR):
            assert (mixer.sent[row] == sound[160 * i : 160 * i + 160]).all()
        assert not mixer.sent[OTHER_AGENT].any()
    assert ended == [(AGENT, "notice")]


def test_given_a_mixed_prompt_when_played_then_the_conversation_goes_on_under_it():
    mixer = talking_mixer()
    mixer.bridge(CUSTOMER, AGENT)
    mixer.players.start(CUSTOMER, Prompt("beep", np.full(160, 1000, dtype=np.int16), mix=True))
    mixer.tick()

    assert (mixer.sent[CUSTOMER] == 1000 + (UNIT << AGENT)).all()
    assert (mixer.sent[AGENT] == UNIT << CUSTOMER).all()


def test_given_loud_talkers_when_summed_then_it_bends_and_never_wraps_and_one_alone_is_exact():
    talks = Conversations(4)
    for row in (1, 2):
        talks.join(row, 0, Role.MEMBER)
    talks.join(3, 0, Role.LISTEN)
    ramp = np.linspace(-32768, 32767, 160).astype(np.int16)
    frames = np.repeat(ramp[None], 4, axis=0)

    sums = mix(frames, talks.plan())

    assert (np.diff(sums.astype(int), axis=1) >= 0).all()
    assert sums.max() <= 32767
    quiet = np.abs(ramp.astype(int)) * 3 < 24000
    assert (sums[3][quiet] == 3 * ramp[quiet].astype(int)).all()
    talks.leave(1)
    talks.leave(2)
    plan = talks.plan()
    assert (mix(frames, plan) == ramp).all()
    assert plan.listeners.tolist() == [3]


class Model:
    """The same rules again, in the plainest words."""

    def __init__(self):
        self.groups = []
        self.watch = {}

    def group(self, row):
        return next((one for one in self.groups if row in one), {row})

    def leave(self, row):
        self.watch.pop(row, None)
        self.groups = [one - {row} for one in self.groups]
        self.groups = [one for one in self.groups if len(one) > 1]

    def close(self, row):
        self.leave(row)
        self.watch = {who: what for who, what in self.watch.items() if what[0] != row}

    def together(self, row, other):
        members = self.group(other) | {row}
        self.groups = [one for one in self.groups if other not in one] + [members]

    def hears(self, row):
        found = self.group(row) - {row}
        for who, (target, role) in self.watch.items():
            if role is Role.BARGE and target in self.group(row):
                found.add(who)
            if role is Role.WHISPER and target == row:
                found.add(who)
        if row in self.watch:
            around = self.group(self.watch[row][0])
            found |= around
            found |= {who for who, (target, role) in self.watch.items() if role is Role.BARGE and target in around}
        return found - {row}


rows = st.integers(0, ROWS - 1)
actions = st.lists(
    st.one_of(
        st.tuples(st.just("bridge"), rows, rows),
        st.tuples(st.just("leave"), rows),
        st.tuples(st.just("close"), rows),
        st.tuples(st.just("join"), rows, rows, st.sampled_from(list(Role))),
    ),
    max_size=20,
)


@settings(max_examples=150, deadline=None)
@given(actions)
def test_given_any_history_when_listened_to_then_everybody_hears_exactly_whom_the_rules_allow(history):
    mixer, model = talking_mixer(), Model()
    for action, row, *rest in history:
        if action == "leave":
            mixer.unbridge(row)
            model.leave(row)
        elif action == "close":
            mixer.close_row(row)
            mixer.open_row(row, 0.0)
            mixer.sending[row] = True
            model.close(row)
        elif action == "bridge" and row != rest[0]:
            mixer.bridge(row, rest[0])
            model.leave(row)
            model.leave(rest[0])
            model.together(row, rest[0])
        elif action == "join":
            other, role = rest
            try:
                mixer.join(row, other, role)
            except ConversationError:
                continue
            if role is not Role.MEMBER:
                model.leave(row)
                model.watch[row] = (other, role)
            elif row not in model.group(other):
                model.leave(row)
                model.together(row, other)

    found = heard(mixer)

    assert found == {row: model.hears(row) for row in range(ROWS)}
    for row in range(ROWS):
        assert mixer.conversations.talks[row] == (len(model.group(row)) > 1)


def test_given_a_muted_agent_when_others_come_and_go_then_nobody_hears_that_agent_until_it_is_unmuted():
    mixer = talking_mixer()
    mixer.bridge(CUSTOMER, AGENT)
    mixer.join(SUPERVISOR, AGENT, Role.BARGE)
    mixer.muted[AGENT] = True

    assert heard(mixer)[CUSTOMER] == {SUPERVISOR}
    assert heard(mixer)[SUPERVISOR] == {CUSTOMER}
    assert heard(mixer)[AGENT] == {CUSTOMER, SUPERVISOR}

    mixer.join(SECOND, CUSTOMER, Role.MEMBER)

    assert heard(mixer)[SECOND] == {CUSTOMER, SUPERVISOR}

    mixer.muted[AGENT] = False

    assert heard(mixer)[SECOND] == {CUSTOMER, AGENT, SUPERVISOR}


def test_given_a_muted_channel_when_its_row_is_opened_anew_then_the_next_call_there_is_heard():
    mixer = talking_mixer()
    mixer.muted[AGENT] = True
    mixer.jitter = JitterBuffers(ROWS)

    mixer.close_row(AGENT)
    mixer.open_row(AGENT, 0.0)

    assert not mixer.muted[AGENT]


class Line(Talkers):
    """Rows that are heard here talk; the others send their audio to somebody else."""

    def __init__(self, heard):
        self.heard = set(heard)

    def take(self, rows):
        audio, _ = super().take(rows)
        real = np.isin(rows, list(self.heard))
        audio[~real] = 0
        return audio, real

    def resync(self, row):
        """Nothing is buffered."""


def sent_to(mixer, ticks):
    """The rows that were sent something in each of so many ticks."""
    return [set(mixer.tick()[0]) for _ in range(ticks)]


def test_given_a_bridge_that_stands_by_when_both_talk_past_us_then_nothing_is_sent_and_what_comes_here_is_relayed():
    mixer = talking_mixer()
    mixer.jitter = line = Line({CUSTOMER, AGENT})
    mixer.bridge(CUSTOMER, AGENT)
    mixer.standing_by[[CUSTOMER, AGENT]] = True
    assert all({CUSTOMER, AGENT} <= rows for rows in sent_to(mixer, 10)), "both are heard here still: relayed"

    line.heard = {AGENT}  # the customer sends to the agent now
    assert [CUSTOMER in rows and AGENT not in rows for rows in sent_to(mixer, 10)[RELAY_TICKS + 1 :]] == [True] * 5
    line.heard = set()
    assert not any({CUSTOMER, AGENT} & rows for rows in sent_to(mixer, 30)[RELAY_TICKS + 1 :])
    assert mixer.away[[CUSTOMER, AGENT]].all()

    line.heard = {CUSTOMER}  # back: the agent hears it at once, and the stream begins with the marker
    assert AGENT in sent_to(mixer, 1)[0]
    assert mixer.packets[AGENT, 1] & 0x80
    mixer.standing_by[:] = False
    assert {CUSTOMER, AGENT} <= sent_to(mixer, 1)[0], "from now on a living stream both ways, as ever"


def test_given_a_channel_that_stands_by_when_a_prompt_is_played_then_it_is_sent():
    mixer = talking_mixer()
    mixer.jitter = Line(set())
    mixer.bridge(CUSTOMER, AGENT)
    mixer.standing_by[CUSTOMER] = True
    sent_to(mixer, RELAY_TICKS + 2)
    mixer.start_prompt(CUSTOMER, "tone", np.full(320, 1000, dtype=np.int16))

    assert [CUSTOMER in rows for rows in sent_to(mixer, 3)] == [True, True, False]
