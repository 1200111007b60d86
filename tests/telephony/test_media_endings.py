"""Ends of recordings and channels: told to the next daemon, and again while it may not have written them."""

from telephony.contract import ChannelClosed, PromptFinished, RecordingFinished
from telephony.media.endings import MOST_RECORDINGS, TELL_AGAIN_S, Endings
from telephony.media_endings import MOST_KEPT, Ends

RECORDING = RecordingFinished("c", "cpd/a.wav", 1.0, "ab", 44)
CHANNEL = ChannelClosed("c", 10, 11, 0, 0)


def test_given_ends_that_nobody_heard_when_a_daemon_comes_hours_later_then_it_is_told():
    endings = Endings()
    endings.note([RECORDING, PromptFinished("c", "x"), CHANNEL], 1.0, told=False)

    assert endings.lately(36_000.0) == ((RECORDING,), (CHANNEL,))


def test_given_ends_that_were_told_when_another_daemon_comes_then_it_is_told_for_a_minute_and_not_for_ever():
    endings = Endings()
    endings.note([RECORDING, CHANNEL], 1.0, told=True)

    assert endings.lately(1.0 + TELL_AGAIN_S) == ((RECORDING,), (CHANNEL,))
    # Told just then, it counts from there: this daemon, too, may be killed before it writes.
    assert endings.lately(1.0 + 2 * TELL_AGAIN_S) == ((RECORDING,), (CHANNEL,))
    assert endings.lately(1.1 + 3 * TELL_AGAIN_S) == ((), ())
    assert endings.lately(1.1 + 3 * TELL_AGAIN_S) == ((), ())


def test_given_more_ends_than_are_kept_when_told_then_the_latest_are():
    endings = Endings()
    many = [RecordingFinished("c", f"{number}.wav") for number in range(MOST_RECORDINGS + 5)]
    endings.note(many, 1.0, told=False)

    assert endings.lately(2.0)[0] == tuple(many[5:])


def test_given_an_end_that_is_told_twice_when_taken_then_it_comes_once():
    ends: Ends[ChannelClosed] = Ends()
    for told in (CHANNEL, CHANNEL, ChannelClosed("d", 1, 1, 0, 0)):
        if ends.news(told):
            ends.keep(told)

    assert [one.channel_id for one in ends.take()] == ["c", "d"]
    assert ends.take() == []
    assert not ends.news(CHANNEL)


def test_given_very_many_ends_when_noted_then_memory_is_bounded():
    ends: Ends[RecordingFinished] = Ends()
    for number in range(MOST_KEPT + 1):
        assert ends.news(RecordingFinished("c", f"{number}.wav"))

    assert ends.news(RecordingFinished("c", "0.wav"))  # the oldest is forgotten
    assert not ends.news(RecordingFinished("c", f"{MOST_KEPT}.wav"))
