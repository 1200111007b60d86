"""What strangers can make a worker write into its log."""

from hypothesis import given
from hypothesis import strategies as st

from telephony.worker.stack_log import MAX_CHARS, MAX_LINES, MINUTE_S, StackLog, fit_for_log

PACKET = "12:00:00 sip_transport.c  Error processing 181 bytes packet from UDP 192.0.2.1:5060 to +4915112345678:\r\n%s"


class Written:
    """A log with a clock that is set by hand."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.now_s = 100.0
        self.log = StackLog(self.lines.append, lambda: self.now_s)


def test_given_a_packet_in_an_entry_when_said_then_one_line_without_it_and_without_the_number():
    written = Written()
    written.log.say(PACKET % "INVITE sip:+4915112345678@192.0.2.1 SIP/2.0\r\nVia: x")
    (line,) = written.lines
    assert "INVITE" not in line
    assert "+491***78" in line
    assert "192.0.2.1:5060" in line


def test_given_a_number_in_other_spellings_when_said_then_masked():
    for spelled in ("sip:0049151123456@x", "tel:+1-415-555-0123", "<sip:4155550123>"):
        assert "***" in fit_for_log(spelled)
        assert not any(part in fit_for_log(spelled) for part in ("151123", "555"))


def test_given_a_flood_when_it_goes_on_then_so_many_lines_a_minute_and_the_rest_is_counted():
    written = Written()
    for _ in range(10_000):
        written.log.say("Dropping 20 bytes packet")
    assert len(written.lines) == MAX_LINES
    written.now_s += MINUTE_S
    written.log.settle()
    assert f"{10_000 - MAX_LINES} more lines" in written.lines[-1]
    written.log.settle()
    written.log.say("again")
    assert len(written.lines) == MAX_LINES + 2


def test_given_an_exception_with_a_message_inside_when_told_then_one_masked_line_that_says_where():
    written = Written()
    try:
        raise ValueError("not a SIP start line: 'INVITE sip:+4915112345678@x'\nVia: y")
    except ValueError:
        written.log.exception("call")
    (line,) = written.lines
    assert line.startswith("Traceback in a call: ValueError: not a SIP start line")
    assert "test_stack_log.py" in line
    assert "4915112345678" not in line
    assert line.count("\n") == 1


@given(st.text())
def test_given_any_text_when_made_fit_then_one_printable_line_of_bounded_length_that_can_be_written(text):
    line = fit_for_log(text)
    assert len(line) <= MAX_CHARS
    assert len(line.splitlines()) <= 1
    assert "\x1b" not in line
    line.encode()
