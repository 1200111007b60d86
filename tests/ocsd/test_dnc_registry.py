"""Files of numbers: what a line means, the fast way against the slow one, rejects, compressed files, block edges."""

import csv
import gzip

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ocsd.dnc import registry
from ocsd.dnc.forms import NumberRefused, every_number, interpretations, one_number, plan_of
from ocsd.dnc.registry import Reject, RejectsFile, parse_block, read_numbers

US, GB, DE, IT, RU, FR, JM = map(plan_of, ("US", "GB", "DE", "IT", "RU", "FR", "JM"))


@pytest.mark.parametrize(
    ("text", "plan", "number"),
    [
        ("2125550123", US, 12125550123),
        ("12125550123", US, 12125550123),
        ("+12125550123", US, 12125550123),
        ("+12125550123", None, 12125550123),
        ("212,5550123", US, 12125550123),
        ('"(212) 555-0123"', US, 12125550123),
        ("011442079460018", US, 442079460018),
        ("00442079460018", US, 442079460018),
        ("+442079460018", US, 442079460018),
        ("8765550123", JM, 18765550123),
        ("020 7946 0018", GB, 442079460018),
        ("00442079460018", GB, 442079460018),
        ("442079460018", GB, 442079460018),
        ("030 1234567", DE, 49301234567),
        ("06 6982", IT, 39066982),
        ("+39066982", IT, 39066982),
        ("8 916 123 45 67", RU, 79161234567),
        ("0123456789", FR, 33123456789),
    ],
)
def test_given_a_way_of_writing_when_read_then_it_is_this_number(text, plan, number):
    assert one_number(text, plan) == number
    values, refused, lines = parse_block(text.encode() + b"\n", plan)
    assert (values.tolist(), refused, lines) == ([number], [], 1)


@pytest.mark.parametrize(
    ("text", "plan", "why"),
    [
        ("2125550123", None, "no country was given"),
        ("5550123", US, "7 digits are no number of US"),
        ("1125550123", US, "10 digits"),
        ("11125550123", US, "11 digits"),
        ("+1212555012", US, "no number of US"),
        ("+11125550123", US, "no number of US"),
        ("+4402079460018", GB, "no number of GB"),
        ("212,5550123", GB, "North American"),
        ("2125550123,2024-01-01", US, "no phone number"),
        ("5550123,212", US, "no phone number"),
        ("+212,5550123", US, "no phone number"),
        ("phone", US, "no phone number"),
        ("-", US, "no phone number"),
        ("212+5550123", US, "no phone number"),
        ("+0125550123", US, "no phone number"),
        ("+123456", US, "6 digits"),
        ("+1234567890123456", US, "16 digits"),
        ("21255501232125550199", US, "20 digits"),
        ("4930123456", DE, r"could be \+4930123456 or \+494930123456"),
    ],
)
def test_given_no_number_or_several_when_read_then_it_is_refused_with_the_reason(text, plan, why):
    with pytest.raises(NumberRefused, match=why):
        one_number(text, plan)
    values, refused, _ = parse_block(text.encode() + b"\n", plan)
    assert values.tolist() == []
    assert [(index, line) for index, line, _reason in refused] == [(0, text)]


def test_given_no_country_when_asked_for_a_plan_then_it_is_refused():
    with pytest.raises(ValueError, match="XX"):
        plan_of("XX")


def test_given_a_hand_written_phone_when_all_meanings_are_wanted_then_no_one_is_left_out():
    assert every_number("4155555555", (US,)) == (4155555555, 14155555555)
    assert every_number("(415) 555-5555", (US, GB)) == (4155555555, 14155555555, 444155555555)
    assert every_number("4930123456", (DE,)) == (4930123456, 494930123456)
    assert every_number("14155555555", ()) == (14155555555,)
    assert every_number("anonymous", (US,)) == every_number("", (US,)) == ()


LINES = st.one_of(
    st.text("0123456789", min_size=4, max_size=18),
    st.text('0123456789+, -()\r"x', max_size=16),
    st.from_regex(r"\+?(1|0|00|44|49|7|8)?[0-9]{6,11}", fullmatch=True),
    st.from_regex(r"[0-9]{2,4},[0-9]{6,8}\r?", fullmatch=True),
    st.from_regex(r"\(?[2-9][0-9]{2}\)? ?[0-9]{3}-[0-9]{4}", fullmatch=True),
)


@settings(max_examples=400)
@given(st.lists(LINES, max_size=30), st.sampled_from([US, GB, DE, IT, RU, FR, JM, None]))
@example(["212,5550123", "12 ,5550123", "2,1,25550123", "+,", "\r", "1\r2125550123", "2125550123\r"], US)
def test_given_any_lines_when_parsed_many_at_a_time_then_the_result_is_that_of_one_by_one(lines, plan):
    wanted, wrong = [], []
    for place, line in enumerate(lines):
        text = line.strip()
        if text:
            try:
                wanted.append(one_number(text, plan))
            except NumberRefused as error:
                wrong.append((place, text, str(error)))

    values, refused, count = parse_block("".join(f"{line}\n" for line in lines).encode(), plan)

    assert (sorted(values.tolist()), refused, count) == (sorted(wanted), wrong, len(lines))


@given(st.text("0123456789+, -()", max_size=18), st.sampled_from([US, GB, DE, IT, RU, FR, JM]))
def test_given_a_number_when_all_meanings_are_wanted_then_those_of_an_import_are_among_them(text, plan):
    try:
        meanings = interpretations(text, plan)
    except NumberRefused:
        return
    assert set(meanings) <= set(every_number(text, (plan,)))


def read(files, plan=US):
    rejects: list[Reject] = []
    seen: list[tuple[int, int]] = []
    numbers, counts = read_numbers(files, plan, rejects.append, lambda done, found: seen.append((done, found)))
    return numbers.tolist(), counts, rejects, seen


def test_given_files_when_read_then_refused_lines_have_their_place_and_empty_ones_are_skipped(tmp_path):
    first, second = tmp_path / "212.txt", tmp_path / "213.txt"
    first.write_bytes(b"\xef\xbb\xbf212,5550123\r\n\r\nAreaCode,Number\r\n212,5550124")
    second.write_bytes(b"\n213,55501\n213,5550199\n")

    numbers, counts, rejects, seen = read([first, second])

    assert sorted(numbers) == [12125550123, 12125550124, 12135550199]
    assert (counts.lines, counts.rejected) == (5, 2)
    assert [(reject.file, reject.line, reject.text) for reject in rejects] == [
        ("212.txt", 3, "AreaCode,Number"),
        ("213.txt", 2, "213,55501"),
    ]
    assert seen[-1] == (first.stat().st_size + second.stat().st_size, 3)


@pytest.mark.parametrize("block", [1, 7, 12, 13, 64])
def test_given_blocks_of_any_size_when_read_then_no_line_is_lost_and_line_numbers_hold(tmp_path, monkeypatch, block):
    monkeypatch.setattr(registry, "BLOCK_BYTES", block)
    monkeypatch.setattr(registry, "GROWTH", 2)
    file = tmp_path / "numbers.txt.gz"
    lines = [f"+1212555{number:04d}" if number % 10 else "nobody" for number in range(100)]
    file.write_bytes(gzip.compress("\n".join(lines).encode()))

    numbers, counts, rejects, seen = read([file])

    assert sorted(numbers) == [12125550000 + number for number in range(100) if number % 10]
    assert (counts.lines, counts.rejected) == (100, 10)
    assert [reject.line for reject in rejects] == [number + 1 for number in range(0, 100, 10)]
    assert seen[-1][0] <= file.stat().st_size


def test_given_a_file_without_line_ends_when_read_then_it_is_refused_in_bounded_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "BLOCK_BYTES", 8192)
    file = tmp_path / "movie.mp4"
    file.write_bytes(b"2125550123" * 10_000 + b"\n2125550124\n")

    numbers, counts, rejects, _ = read([file])

    assert numbers == [12125550124]
    assert counts.rejected == len(rejects) > 0
    assert all(len(reject.text) <= 80 for reject in rejects)


def test_given_refused_lines_when_written_then_the_file_says_why_and_more_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "MAX_REJECTS_WRITTEN", 2)
    path = tmp_path / "rejected.csv"
    path.write_text("of an earlier import")
    with RejectsFile(path) as rejects:
        assert not path.exists()
        for line in range(5):
            rejects.write(Reject("a.txt", line, 'x,"y', "no phone number"))

    rows = list(csv.reader(path.read_text().splitlines()))
    assert rows[1] == ["a.txt", "0", 'x,"y', "no phone number"]
    assert rows[3:] == [["", "", "", "3 more lines were refused"]]
